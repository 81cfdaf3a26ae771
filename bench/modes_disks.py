"""Makes the disks of modes.sh: the same content each time, from a seed or from files of /usr.

make(kind, size_bytes, folder) returns the path of a dynamic VHDX with 4 MiB blocks.
"""

import os
import pathlib
import random
import shutil
import sqlite3
import subprocess

KINDS = ("files", "random", "zero", "text", "database")
MIB = 1 << 20
SEED = 1
PAGE = 4096
TEXT_SUFFIXES = (".py", ".h", ".hpp", ".pl", ".pm", ".txt", ".html", ".js", ".css", ".c", ".cc")


def files_of(folders, size_bytes, wanted=lambda path: True):
    """Regular files in a fixed order, with size_bytes of content at most."""
    total = 0
    for folder in folders:
        for where, names, files in os.walk(folder):
            names.sort()
            for name in sorted(files):
                path = pathlib.Path(where, name)
                if not wanted(path) or path.is_symlink() or not os.access(path, os.R_OK):
                    continue
                size = path.stat().st_size
                if size and path.is_file() and total + size <= size_bytes:
                    total += size
                    yield path


def write_files(raw, size_bytes, folder):
    """A file system, as large as its content needs twice, 8 GiB at least."""
    tree = folder / "files"
    for path in files_of(("/usr/bin", "/usr/share"), size_bytes):
        target = tree / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    with open(raw, "wb") as file:
        file.truncate(max(8 << 30, 2 * size_bytes))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, raw], check=True)
    shutil.rmtree(tree)


def write_pieces(raw, size_bytes, make_piece):
    with open(raw, "wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(make_piece())


def write_random(raw, size_bytes, folder):
    del folder
    generator = random.Random(SEED)
    write_pieces(raw, size_bytes, lambda: generator.randbytes(MIB))


def write_zero(raw, size_bytes, folder):
    """In every page a record of up to 200 bytes, so that no extent is zero."""
    del folder
    generator = random.Random(SEED)

    def page():
        record = generator.randbytes(generator.randrange(8, 200))
        return record + bytes(PAGE - len(record))

    write_pieces(raw, size_bytes, lambda: b"".join(page() for _ in range(MIB // PAGE)))


def fill(raw, size_bytes, content):
    """content again and again: what repeats lies further apart than an extent is long."""
    if len(content) < 8 * MIB:
        raise RuntimeError(f"{raw}: only {len(content)} bytes of content could be made")
    with open(raw, "wb") as file:
        while file.tell() < size_bytes:
            file.write(content[:size_bytes - file.tell()])


def write_text(raw, size_bytes, folder):
    del folder
    wanted = lambda path: path.suffix in TEXT_SUFFIXES  # noqa: E731
    pieces = [path.read_bytes() for path in
              files_of(("/usr/include", "/usr/lib/python3", "/usr/share"), size_bytes, wanted)]
    fill(raw, size_bytes, b"".join(pieces))


def write_database(raw, size_bytes, folder):
    """Orders of customers, with an index; 64 MiB at most are different."""
    path = folder / "orders.db"
    generator = random.Random(SEED)
    names = ["".join(generator.choice("abcdefghiklmnoprstuvw") for _ in range(9)) for _ in range(5000)]
    database = sqlite3.connect(path)
    database.execute("PRAGMA page_size = 8192")
    database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, city TEXT, "
                     "placed INTEGER, amount REAL, token BLOB, note TEXT)")
    count = 0
    while path.stat().st_size < min(size_bytes, 64 * MIB):
        rows = [(generator.choice(names), generator.choice(names).title(),
                 1600000000 + (count + i) * 37, generator.random() * 1000, generator.randbytes(16),
                 " ".join(generator.choice(names) for _ in range(generator.randrange(8))))
                for i in range(20000)]
        database.executemany("INSERT INTO orders (customer, city, placed, amount, token, note) "
                             "VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
        count += len(rows)
    database.execute("CREATE INDEX by_customer ON orders (customer, placed)")
    database.commit()
    database.close()
    fill(raw, size_bytes, path.read_bytes())
    path.unlink()


def make(kind, size_bytes, folder):
    raw = folder / f"{kind}.raw"
    {"files": write_files, "random": write_random, "zero": write_zero, "text": write_text,
     "database": write_database}[kind](raw, size_bytes, folder)
    disk = folder / f"{kind}.vhdx"
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "vhdx",
                    "-o", "subformat=dynamic,block_size=4M", raw, disk], check=True)
    raw.unlink()
    return disk
