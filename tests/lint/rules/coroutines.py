"""What this toolchain gets wrong about coroutines, and what hides failures.

GCC 12 destroys the captures of a lambda twice when the lambda is written inside a co_await
expression. Boost 1.81's channel::close() drops buffered items and leaves blocked senders asleep.
`detached` swallows exceptions. A string_view parameter dangles after the first suspension.
"""

import re

from source_tree import Finding

# "[" that begins a lambda: not an index (after a name, ")" or "]"), not an attribute.
_LAMBDA = re.compile(r"(?<![\w)\]\[])\s*(\[(?!\[)([^\[\]]*)\])\s*(?=[({<]|mutable\b)")
_CHANNEL = re.compile(r"\b(?:concurrent_)?channel\s*<[^;{}]*>\s+(\w+)\s*[;{(]")
_CHANNEL_CLOSE = re.compile(r"\b(\w+)\s*(?:\.|->)\s*close\s*\(")
_DETACHED = re.compile(r"\bdetached\b|(?:\.|->)\s*detach\s*\(\s*\)")
_COROUTINE = re.compile(r"\bawaitable\s*<[^;{}()]*>\s+[\w:~]+\s*\(")


def check(tree):
    for file in tree.with_suffix(".h", ".cc"):
        code = file.code
        for offset in _captures_in_co_await(code):
            yield Finding(file.path, file.line_of(offset),
                          "a capturing lambda inside a co_await expression (GCC 12 destroys its "
                          "captures twice): move it into a local, or use a named coroutine")
        channels = set(_CHANNEL.findall(code))
        for match in _CHANNEL_CLOSE.finditer(code):
            name = match.group(1)
            if name in channels or "channel" in name:
                yield Finding(file.path, file.line_of(match.start()),
                              f"{name}.close() loses what is buffered: end a channel by sending "
                              "error::eof, abort it with cancel()")
        for match in _DETACHED.finditer(code):
            yield Finding(file.path, file.line_of(match.start()),
                          "detached work loses its exceptions: join it, or give it a handler that "
                          "reports")
        for match in _COROUTINE.finditer(code):
            end = _closing(code, match.end() - 1)
            if "string_view" in code[match.end():end]:
                yield Finding(file.path, file.line_of(match.start()),
                              "a coroutine must not take a string_view: it dangles after the first "
                              "suspension")


def _captures_in_co_await(code):
    for match in _LAMBDA.finditer(code):
        if not match.group(2).strip():
            continue
        begin = match.start(1)
        end = _lambda_end(code, match.end(1))
        if end is None:
            continue
        statement = (code[_statement_begin(code, begin):begin] +
                     code[end:_statement_end(code, end)])
        if re.search(r"\bco_await\b", _without_bodies(statement)):
            yield begin


def _closing(code, opening):
    """The offset of the bracket that closes the one at `opening`."""
    depth = 0
    for offset in range(opening, len(code)):
        if code[offset] in "([{":
            depth += 1
        elif code[offset] in ")]}":
            depth -= 1
            if depth == 0:
                return offset
    return len(code)


def _lambda_end(code, offset):
    """Past the body of the lambda whose introducer ends at `offset`; None if it has none."""
    while offset < len(code):
        if code[offset] == "(":
            offset = _closing(code, offset)
        elif code[offset] == "{":
            return _closing(code, offset) + 1
        elif code[offset] in ";)],":
            return None
        offset += 1
    return None


def _statement_begin(code, offset):
    depth = 0
    while offset > 0:
        offset -= 1
        char = code[offset]
        if char in ")]":
            depth += 1
        elif char in "([":
            depth = max(depth - 1, 0)
        elif char == "}":
            if depth == 0 and not re.match(r"\s*[;,.)\-]", code[offset + 1:offset + 80]):
                return offset + 1
            depth += 1
        elif char == "{":
            before = code[max(offset - 200, 0):offset].rstrip()
            is_block = re.search(r"(?:[);{}]|\belse|\bdo|\btry|\bconst|\bnoexcept)$", before)
            if depth == 0 and (is_block or not before):
                return offset + 1
            depth = max(depth - 1, 0)
        elif char == ";" and depth == 0:
            return offset + 1
    return 0


def _statement_end(code, offset):
    depth = 0
    while offset < len(code):
        char = code[offset]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if char == "}" and depth < 0:
                return offset
        elif char == ";" and depth <= 0:
            return offset
        offset += 1
    return offset


def _without_bodies(statement):
    """Drops the bodies of other lambdas: a co_await in there is of another coroutine."""
    while True:
        for match in _LAMBDA.finditer(statement):
            end = _lambda_end(statement, match.end(1))
            if end is not None:
                statement = statement[:match.start(1)] + statement[end:]
                break
        else:
            return statement
