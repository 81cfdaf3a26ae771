"""Comments and documents name files, headings and issues that exist."""

import re
from pathlib import PurePosixPath

from source_tree import Finding, comments

_FOLDERS = "base|vhdx|compression|transfer|migration|tools|bench|tests|docs|cmake"
_PATH = re.compile(rf"(?<![\w./$}}-])(?:{_FOLDERS})/[\w./-]*\w\.(?:h|cc|md|py|sh|cmake|txt)\b")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
_TRACKED = re.compile(r"\bTODO\((?:perf|limit|spec)\):? .*#\d+")


def check(tree):
    for file in tree.files:
        if file.path.startswith("tests/lint/"):
            continue  # these name bad examples
        if file.suffix == ".md":
            yield from _check_document(tree, file)
        else:
            for line, text in comments(file):
                yield from _check_paths(tree, file, line, text)
        yield from _check_unfinished(file)


def _check_paths(tree, file, line, text):
    for match in _PATH.finditer(text):
        if not tree.exists(match.group()):
            yield Finding(file.path, line, f"names {match.group()}, which does not exist")


def _check_unfinished(file):
    for line, text in enumerate(file.lines, 1):
        if _UNFINISHED.search(text) and not _TRACKED.search(text):
            yield Finding(file.path, line,
                          "unfinished work needs an issue: TODO(perf|limit|spec): what, #number")


def _check_document(tree, file):
    for line, text in enumerate(file.lines, 1):
        yield from _check_paths(tree, file, line, _LINK.sub("", text))
    prose = _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), file.text)
    for match in _LINK.finditer(prose):
        target, _, anchor = match.group(1).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = _resolve(PurePosixPath(file.path).parent / target) if target else file.path
        line = file.line_of(match.start())
        if not tree.exists(path):
            yield Finding(file.path, line, f"links to {path}, which does not exist")
        elif anchor and path.endswith(".md"):
            if anchor not in _anchors((tree.root / path).read_text(encoding="utf-8")):
                yield Finding(file.path, line, f"{path} has no heading #{anchor}")


def _resolve(path):
    parts = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return "../" + str(path)
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."


def _anchors(text):
    """The anchors that GitHub makes of headings."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*?)\s*#*$", _FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        while slug in found:
            slug += "-1"
        found.add(slug)
    return found
