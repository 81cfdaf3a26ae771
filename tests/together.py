"""Several test files as one source, for builds whose only use is to be run: together.py OUTPUT FILE...

Half of the time to compile a test goes into the headers that it includes. What a file keeps to itself, in its
anonymous namespace, stays apart: the namespace gets the file's name. Messages name the files and lines as ever.
"""

import re
import sys
from pathlib import Path


def part(path):
    own = "only_in_" + re.sub(r"\W", "_", path.stem)
    begin = f"namespace {own} {{"
    if not path.stem.endswith("_test"):  # what helps tests has more than what it keeps to itself
        begin = f"namespace {own} {{}} using namespace {own}; {begin}"
    text = re.sub(r"^namespace \{$", begin, path.read_text(encoding="utf-8"), flags=re.M)
    return f'#line 1 "{path}"\n{text}'


def main():
    output, *files = map(Path, sys.argv[1:])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(map(part, files)), encoding="utf-8")


main()
