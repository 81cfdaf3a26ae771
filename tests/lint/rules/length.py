"""A file has one noun: above 600 lines somebody should ask why, 1000 is a defect."""

from source_tree import Finding

LINES_REVIEW = 600
LINES_MAX = 1000
CODE = (".h", ".cc", ".py", ".sh", ".cmake")


def check(tree):
    for file in tree.with_suffix(*CODE):
        count = len(file.lines)
        if count > LINES_MAX:
            yield Finding(file.path, count, f"{count} lines, the limit is {LINES_MAX}: split it")
        elif count > LINES_REVIEW:
            yield Finding(file.path, count, f"{count} lines: has it more than one subject?",
                          is_warning=True)
