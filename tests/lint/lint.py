#!/usr/bin/env python3
"""Checks one rule of the project: lint.py RULE [ROOT]. Exit 1 if the tree breaks it."""

import importlib
import sys
from pathlib import Path

from source_tree import SourceTree

RULES = sorted(p.stem for p in (Path(__file__).parent / "rules").glob("[a-z]*.py"))


def main(arguments):
    if not arguments or arguments[0] not in RULES:
        print(f"usage: lint.py RULE [ROOT], where RULE is one of {', '.join(RULES)}",
              file=sys.stderr)
        return 2
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parents[2]
    tree = SourceTree(root)
    findings = list(importlib.import_module(f"rules.{arguments[0]}").check(tree))
    for finding in findings:
        print(finding)
    errors = sum(not f.is_warning for f in findings)
    print(f"{arguments[0]}: {len(tree.files)} files, {errors} errors")
    return 1 if errors or not tree.files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
