"""Constants and types that a file keeps to itself have names of their own in their folder.

The sanitized builds compile several files of a folder as one, see cmake/VhdxmTargets.cmake.
"""

import re
from pathlib import PurePosixPath

from source_tree import Finding

_FOLDERS = ("base", "vhdx", "compression", "transfer", "migration", "tools")
_ANONYMOUS = re.compile(r"^namespace \{$(.*?)^\}  // namespace$", re.M | re.S)
_NAME = re.compile(r"^(?:constexpr .*?\b(k\w+)(?: =|\{|\[)|(?:class|struct|enum class) (\w+)\b|^using (\w+) =)", re.M)


def check(tree):
    seen = {}
    for file in tree.files:
        folder = str(PurePosixPath(file.path).parent)
        if folder not in _FOLDERS or not file.path.endswith(".cc"):
            continue
        for part in _ANONYMOUS.finditer(file.text):
            for match in _NAME.finditer(part.group(1)):
                name = match.group(1) or match.group(2) or match.group(3)
                line = file.text.count("\n", 0, part.start(1) + match.start()) + 1
                first = seen.setdefault((folder, name), file.path)
                if first != file.path:
                    yield Finding(file.path, line, f"{name}: {first} has one too; give it a name of its own")
