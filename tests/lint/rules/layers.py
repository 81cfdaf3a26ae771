"""Who may know whom: includes follow the arrows of docs/architecture.md."""

import re

from source_tree import Finding

MAY_INCLUDE = {
    "base": {"base"},
    "vhdx": {"base", "vhdx"},
    "compression": {"base", "compression"},
    "transfer": {"base", "vhdx", "compression", "transfer"},
    "migration": {"base", "vhdx", "compression", "transfer", "migration"},
    "tools": {"base", "vhdx", "compression", "transfer", "migration", "tools"},
}
MAY_USE_ASIO = {"transfer", "migration", "tools", "tests", "bench"}

_QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
_ASIO = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<boost/(?:asio|beast)[./]", re.MULTILINE)
_INSTALLED = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<vhdx_migrate/([^>]+)>", re.MULTILINE)


def check(tree):
    for file in tree.with_suffix(".h", ".cc"):
        allowed = MAY_INCLUDE.get(file.folder)
        for match in _QUOTED.finditer(file.code):
            target = match.group(1)
            line = file.line_of(match.start())
            if not tree.exists(target):
                yield Finding(file.path, line,
                              f'"{target}" is no file of the project; quoted includes start at the root')
            elif allowed is not None and target.split("/")[0] not in allowed:
                yield Finding(file.path, line,
                              f"{file.folder} must not know {target.split('/')[0]}: "
                              f"it may include {', '.join(sorted(allowed))}")
        for match in _INSTALLED.finditer(file.code):
            if not tree.exists(match.group(1)):
                yield Finding(file.path, file.line_of(match.start()),
                              f"<vhdx_migrate/{match.group(1)}> is no header of the project")
        for match in _ASIO.finditer(file.code):
            if file.folder not in MAY_USE_ASIO:
                yield Finding(file.path, file.line_of(match.start()),
                              f"{file.folder} must not use Asio: only "
                              f"{', '.join(sorted(MAY_USE_ASIO))} may")
