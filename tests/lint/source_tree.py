"""The files of the project as the lint rules see them."""

import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

SKIPPED_FOLDERS = {".git", ".cache", "__pycache__", "corpus"}
TEXT_SUFFIXES = {".h", ".cc", ".cmake", ".md", ".py", ".sh", ".txt", ".in"}


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    message: str
    is_warning: bool = False

    def __str__(self):
        kind = "warning" if self.is_warning else "error"
        return f"{self.path}:{self.line}: {kind}: {self.message}"


class SourceFile:
    """One text file. `path` is relative to the root, with forward slashes."""

    def __init__(self, root, path):
        self.path = path
        self.text = (root / path).read_text(encoding="utf-8")

    @property
    def suffix(self):
        return Path(self.path).suffix

    @property
    def folder(self):
        """The top-level folder, or "" for a file of the root."""
        return self.path.split("/")[0] if "/" in self.path else ""

    @cached_property
    def lines(self):
        return self.text.splitlines()

    @cached_property
    def code(self):
        """C++ text with comments and literals blanked out, every other character at its place."""
        return blank_cpp(self.text)

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1


class SourceTree:
    def __init__(self, root):
        self.root = Path(root).resolve()

    @cached_property
    def files(self):
        found = []
        for folder, names, files in os.walk(self.root):
            relative = Path(folder).relative_to(self.root)
            names[:] = sorted(
                n for n in names
                if n not in SKIPPED_FOLDERS
                and not (relative == Path(".") and n.startswith("build")))
            for name in sorted(files):
                if Path(name).suffix in TEXT_SUFFIXES:
                    found.append(SourceFile(self.root, (relative / name).as_posix()))
        return found

    def with_suffix(self, *suffixes):
        return [f for f in self.files if f.suffix in suffixes]

    @lru_cache(maxsize=None)
    def exists(self, path):
        return (self.root / path).exists()


_CPP_TOKEN = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | (?:u8|[uUL])?R"(?P<delimiter>[^()\\\s]*)\(.*?\)(?P=delimiter)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'""",
    re.VERBOSE | re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[^\n]*', re.MULTILINE)


def blank_cpp(text):
    includes = [(m.start(), m.end()) for m in _INCLUDE.finditer(text)]

    def blank(match):
        if any(begin <= match.start() < end for begin, end in includes):
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())

    return _CPP_TOKEN.sub(blank, text)


def comments(file):
    """(line number, text) of every comment of a file, whatever its language."""
    if file.suffix in {".h", ".cc"}:
        for match in _CPP_TOKEN.finditer(file.text):
            if match.group().startswith(("//", "/*")):
                first = file.line_of(match.start())
                for index, line in enumerate(match.group().splitlines()):
                    yield first + index, line
    else:
        for number, line in enumerate(file.lines, 1):
            if "#" in line:
                yield number, line[line.index("#"):]
