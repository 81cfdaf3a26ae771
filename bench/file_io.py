#!/usr/bin/env python3
"""What bench/file_io.sh measures and how it is called stands there."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

MIB = 1 << 20
SIZE_STEP_MIB = 16  # every way divides it evenly: 4 jobs of 4 MiB blocks
EARLY_WRITE_OUT_BLOCKS = 8
FILE_SYSTEMS = {"ext4": ("mkfs.ext4", "-q", "-F", "-E",
                         "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
                "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
                "tmpfs": ()}


class Failed(Exception):
    """Something could not be done here; the text says what and why."""


def say(text):
    print(f"file_io.py: {text}", file=sys.stderr)


def run(*words):
    try:
        done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Failed(f"{words[0]} is missing") from error
    if done.returncode != 0:
        raise Failed(f"{words[0]} failed: {(done.stdout[-400:] + done.stderr[-400:]).strip()}")
    return done.stdout


@dataclasses.dataclass(frozen=True)
class Way:
    """One way of reading or writing; the defaults are the engine's."""
    what: str
    name: str = "as the engine"
    direct: bool = True
    early: bool = False
    cached: bool = False
    engine: str = "psync"
    jobs: int = 4
    depth: int = 1
    block_kib: int = 1024
    allocate: bool = True


def ways_of(what):
    def changed(name, **changes):
        return Way(what, name, **changes)
    through_cache = changed("through the cache", direct=False)
    if what == "write":
        special = [through_cache, changed("through the cache, early write-out", direct=False,
                                          early=True),
                   changed("not preallocated", allocate=False)]
    else:
        special = [through_cache, changed("pages cached", cached=True),
                   changed("through the cache, pages cached", direct=False, cached=True)]
    return ([Way(what)] + special +
            [changed(f"{jobs} thread{'s' if jobs > 1 else ''}", jobs=jobs) for jobs in (1, 2, 8)] +
            [changed(f"io_uring, {depth} under way", engine="io_uring", jobs=1, depth=depth)
             for depth in (1, 4, 16)] +
            [changed(f"blocks of {kib} KiB", block_kib=kib) for kib in (256, 4096)])


class Place:
    """A folder on the file system that is measured."""

    def __init__(self, name, folder, size_bytes):
        self.name = name
        self.file = folder / "disk"
        self.in_memory = run("stat", "-f", "-c", "%T", folder).strip() == "tmpfs"
        self.size_bytes = size_bytes
        self.records = []
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < size_bytes + size_bytes // 16:
            raise Failed(f"{folder} has no room for {size_bytes // MIB} MiB")
        self.filled = False  # the file is the source of all reads
        self.direct_works = self.takes_direct()

    def takes_direct(self):
        self.file.touch()
        try:
            os.close(os.open(self.file, os.O_RDWR | os.O_DIRECT))
            return True
        except OSError:
            return False

    def why_not(self, way):
        if way.direct and not self.direct_works:
            return "no O_DIRECT"
        if self.in_memory and way.cached:
            return "its pages are always cached, in every row"
        return None

    def make(self, way):
        if way.what == "read":
            self.fill()
            return
        self.file.unlink(missing_ok=True)
        with open(self.file, "wb") as file:
            if way.allocate:
                os.posix_fallocate(file.fileno(), 0, self.size_bytes)
            else:
                file.truncate(self.size_bytes)
            os.fsync(file.fileno())
        run("sync", "-f", self.file.parent)

    def fill(self):
        """The source of all reads: written once, then only its pages come and go."""
        if self.filled:
            return
        filling = random.Random(1).randbytes(MIB)
        with open(self.file, "wb") as file:
            for _ in range(self.size_bytes // MIB):
                file.write(filling)
            os.fsync(file.fileno())
        self.filled = True

    def set_cached(self, cached):
        with open(self.file, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while cached and file.read(MIB):
                pass

    def options(self, way):
        block = way.block_kib * 1024
        step = f":{block * (way.jobs - 1)}" if way.jobs > 1 else ""
        out = ["fio", "--output-format=json", "--thread", f"--filename={self.file}",
               f"--rw={way.what}{step}", f"--bs={block}", f"--direct={int(way.direct)}",
               f"--ioengine={way.engine}", f"--iodepth={way.depth}", "--fallocate=none",
               "--invalidate=0", f"--io_size={self.size_bytes // way.jobs}"]
        if way.what == "write":
            out += ["--end_fsync=1", "--overwrite=0"]
        if way.early:
            out.append(f"--sync_file_range=write:{EARLY_WRITE_OUT_BLOCKS}")
        for job in range(way.jobs):  # job n takes the blocks n, n + jobs, ...
            out += [f"--name=job{job}", f"--offset={job * block}",
                    f"--size={self.size_bytes - job * block}"]
        return out

    def measure(self, way):
        self.make(way)
        if way.what == "read":
            self.set_cached(way.cached)
        else:
            self.filled = False
        out = run(*self.options(way))
        jobs = json.loads(out[out.index("{"):])["jobs"]
        done = sum(job[way.what]["io_bytes"] for job in jobs)
        if done != self.size_bytes:
            raise Failed(f"fio moved {done} of {self.size_bytes} bytes")
        seconds = max(1, max(job[way.what]["runtime"] for job in jobs)) / 1000
        cpu_seconds = sum((job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
                          for job in jobs)
        self.records.append({"fs": self.name, **dataclasses.asdict(way), "seconds": seconds,
                             "mib_per_s": self.size_bytes / MIB / seconds,
                             "cpu_s_per_gib": cpu_seconds / (self.size_bytes / (1 << 30))})

    def possible(self, ways):
        out = []
        for way in ways:
            reason = self.why_not(way)
            if reason:
                say(f"{self.name}, {way.what}, {way.name}: left out: {reason}")
            else:
                out.append(way)
        return out

    def measure_all(self, ways, rounds):
        ways = self.possible(ways)
        for _ in range(rounds):
            # All reads together: their source is made once.
            turns = sorted(random.sample(ways, len(ways)), key=lambda way: way.what)
            for way in turns:
                try:
                    self.measure(way)
                except Failed as failure:
                    if way.engine != "io_uring":
                        raise
                    say(f"{self.name}, {way.what}, {way.name}: left out: {failure}")
                    ways.remove(way)
        self.file.unlink(missing_ok=True)
        return ways


def make_image(stack, name, images, size_bytes):
    """Mounts a new file system whose device goes past the cache of the one that holds its image."""
    if os.geteuid() != 0:
        raise Failed("mounting an image takes root; or name a folder on such a file system: --dir")
    image_bytes = size_bytes + size_bytes // 4 + 512 * MIB
    image = images / f"{name}.image"
    zeros = bytes(MIB)
    with open(image, "wb") as file:  # written, so that no room is found for it on the clock
        for _ in range(image_bytes // MIB):
            file.write(zeros)
        os.fsync(file.fileno())
    stack.callback(image.unlink)
    run(*FILE_SYSTEMS[name], image)
    device = run("losetup", "--find", "--show", "--direct-io=on", image).strip()
    stack.callback(run, "losetup", "--detach", device)
    folder = images / name
    folder.mkdir()
    run("mount", "-t", name, device, folder)
    stack.callback(run, "umount", folder)
    return folder


def make_place(stack, name, options):
    size_bytes = options.size_mib * MIB
    if name == "dir":
        folder = tempfile.TemporaryDirectory(dir=options.dir, prefix="vhdx-migrate-io.")
        kind = run("findmnt", "-n", "-o", "FSTYPE", "-T", options.dir).strip()
        return Place(kind or str(options.dir), pathlib.Path(stack.enter_context(folder)), size_bytes)
    if name == "tmpfs":
        folder = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vhdx-migrate-io.")
        place = Place(name, pathlib.Path(stack.enter_context(folder)), size_bytes)
        if not place.in_memory:
            raise Failed("/dev/shm is no tmpfs")
        return place
    folder = tempfile.TemporaryDirectory(dir=options.images, prefix="vhdx-migrate-io.")
    images = pathlib.Path(stack.enter_context(folder))
    return Place(name, make_image(stack, name, images, size_bytes), size_bytes)


def show(fs, ways, records):
    def median(way, figure):
        return statistics.median(one[figure] for one in records
                                 if one["what"] == way.what and one["name"] == way.name)
    for way in ways:
        base = next((other for other in ways if other.what == way.what), way)
        rate = median(way, "mib_per_s")
        print(f"| {fs} | {way.what} | {way.name} | {rate:.0f} "
              f"| {rate / median(base, 'mib_per_s'):.2f} | {median(way, 'cpu_s_per_gib'):.2f} |")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fs", default=",".join(FILE_SYSTEMS))
    parser.add_argument("--what", choices=("read", "write"), help="measure one of the two")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--dir", type=pathlib.Path)
    parser.add_argument("--images", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.places = ["dir"] if options.dir else options.fs.split(",")
    for name in options.places:
        if name != "dir" and name not in FILE_SYSTEMS:
            parser.error(f"--fs: {name} is none of: {', '.join(FILE_SYSTEMS)}")
    if options.size_mib < SIZE_STEP_MIB or options.size_mib % SIZE_STEP_MIB:
        parser.error(f"--size-mib takes a multiple of {SIZE_STEP_MIB}")
    if options.rounds < 1:
        parser.error("--rounds takes a number from 1 up")
    return options


def main():
    options = parse()
    ways = [way for what in ("read", "write") if options.what in (None, what)
            for way in ways_of(what)]
    records, measured = [], []
    for name in options.places:
        with contextlib.ExitStack() as stack:
            try:
                place = make_place(stack, name, options)
            except (Failed, OSError) as failure:
                say(f"{name}: left out: {failure}")
                continue
            measured.append((place.name, place.measure_all(ways, options.rounds), place.records))
            records += place.records
    if not records:
        sys.exit("file_io.py: nothing could be measured here")
    print(f"{options.size_mib} MiB, medians of {options.rounds} rounds; "
          f"{os.cpu_count()} processors, Linux {os.uname().release}")
    print()
    print("| file system | what | how | MiB/s | of the first row | CPU s/GiB |")
    print("|---|---|---|---:|---:|---:|")
    for row in measured:
        show(*row)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"file_io.py: {failed}")
