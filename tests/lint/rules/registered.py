"""Nothing falls out of the build: sources, tests and folders are named in a CMakeLists.txt."""

import re
from pathlib import PurePosixPath

from source_tree import Finding

# Files that are run or built by name: every one must be named.
_REGISTERED = re.compile(r"\.cc$|_(?:test|lint)\.(?:py|sh)$")


def _words(text):
    without_comments = re.sub(r"#[^\n]*", "", text)
    return set(re.findall(r"[^\s()\"]+", without_comments))


def check(tree):
    lists = {str(PurePosixPath(f.path).parent): _words(f.text)
             for f in tree.files if f.path.endswith("CMakeLists.txt")}
    for file in tree.files:
        if _REGISTERED.search(file.path):
            yield from _check_file(file.path, lists)
    yield from _check_folders(lists)
    yield from _check_corpora(tree)


def _names(words, relative):
    """Whether a list names a file: as it is, after a variable such as ${PROJECT_SOURCE_DIR}/, or as
    the word that a loop puts into ${name}_test.py."""
    for word in words:
        if word == relative or word.endswith("}/" + relative):
            return True
        tail = word.rpartition("}")[2] if "}" in word else ""
        if tail and relative.endswith(tail) and relative[:-len(tail)] in words:
            return True
    return False


def _check_file(path, lists):
    full = PurePosixPath(path)
    for folder in full.parents:
        words = lists.get(str(folder))
        if words is not None and (_names(words, str(full.relative_to(folder)))
                                  or _names(words, path)):
            return
    # A helper that all of tests/ shares is named from the root, as ${PROJECT_SOURCE_DIR}/tests/...
    if any(_names(words, path) for words in lists.values()):
        return
    yield Finding(path, 1, "named in no CMakeLists.txt, so it is never built or run")


def _check_folders(lists):
    for folder in lists:
        if folder == ".":
            continue
        parent = PurePosixPath(folder).parent
        while str(parent) not in lists:
            parent = parent.parent
        relative = str(PurePosixPath(folder).relative_to(parent))
        if not _names(lists[str(parent)], relative):
            yield Finding(f"{folder}/CMakeLists.txt", 1,
                          f"{parent}/CMakeLists.txt does not name the folder {relative}")


def _check_corpora(tree):
    for file in tree.files:
        if not file.path.endswith("CMakeLists.txt"):
            continue
        for match in re.finditer(r"^\s*vhdxm_fuzz\(\s*(\w+)", file.text, re.MULTILINE):
            corpus = tree.root / "tests/fuzz/corpus" / match.group(1)
            if not corpus.is_dir() or not any(corpus.iterdir()):
                yield Finding(file.path, file.line_of(match.start()),
                              f"tests/fuzz/corpus/{match.group(1)} holds no inputs to replay")
