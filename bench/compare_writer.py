#!/usr/bin/env python3
"""Writes VHDX files by VHDX Migrate and by QEMU, in turns, on this machine; prints a table.

  bench/compare_writer.py [--runs 5] [--files-mib 1360] [--dir FOLDER] [--build build/release]

* import: a raw file system of --files-mib into a new dynamic VHDX, synced: `vhdx-migrate import`,
  `qemu-img convert` with a sync, and the same bytes by `dd oflag=direct conv=fsync`.
* allocate: 1000 writes of 4 KiB, each in a block that has no place yet, and a flush at the end, in
  blocks of 1 and 4 MiB: disk_writer_bench, qemu-io on the file, and qemu-io through qemu-nbd. Again
  with a flush after every write.

Figures are medians of wall seconds; contents of the imports are compared with the source. The folder
should be on a disk: --dir (default: TMPDIR or /var/tmp).
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCKS = 1000


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"compare_writer.py: {words[0]} failed: {done.stdout[-800:]}{done.stderr[-800:]}")
    return done.stdout


def seconds(*words, **more):
    begin = time.monotonic()
    run(*words, **more)
    return time.monotonic() - begin


class Comparison:
    def __init__(self, options, folder):
        self.options = options
        self.folder = pathlib.Path(folder)
        self.tool = options.build / "tools" / "vhdx-migrate"
        self.bench = options.build / "bench" / "disk_writer_bench"
        for program in (self.tool, self.bench):
            if not program.exists():
                sys.exit(f"compare_writer.py: {program} is missing: build the release preset first")
        self.figures = {}

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)

    def in_turns(self, contenders):
        for _ in range(self.options.runs):
            names = list(contenders)
            random.shuffle(names)
            for name in names:
                run("sync")
                self.note(name, contenders[name]())

    # --- import ---------------------------------------------------------------------------------
    def make_raw(self):
        files = self.folder / "files"
        files.mkdir()
        run("bash", "-c", f"tar -c --ignore-failed-read /usr/bin /usr/share 2>/dev/null | "
            f"head -c {self.options.files_mib}M > '{files}/archive'")
        self.raw = self.folder / "disk.raw"
        run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-d", files, self.raw, "8G",
            env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"})
        (files / "archive").unlink()
        run("dd", f"if={self.raw}", "of=/dev/null", "bs=4M")  # into the page cache
        self.dense = self.folder / "dense"  # the same bytes, without holes, for dd
        run("dd", "if=/dev/zero", f"of={self.dense}", "bs=1M", f"count={self.options.files_mib}")

    def target(self):
        path = self.folder / "target"
        path.unlink(missing_ok=True)
        return path

    def import_ours(self):
        target = self.target()
        taken = seconds(self.tool, "import", self.raw, target, "--block-size", "4M", "--progress",
                        "none")
        run("qemu-img", "compare", "-f", "raw", "-F", "vhdx", self.raw, target)
        return taken

    def import_qemu(self):
        target = self.target()
        return seconds("bash", "-c", f"qemu-img convert -f raw -O vhdx -o block_size=4M '{self.raw}' "
                       f"'{target}' && sync '{target}'")

    def import_dd(self):
        return seconds("dd", f"if={self.dense}", f"of={self.target()}", "bs=4M", "oflag=direct",
                       "conv=fsync")

    # --- allocate -------------------------------------------------------------------------------
    def allocate_ours(self, block_mib, flush_each):
        name = f"BM_DiskWriter_Allocate/block_mib:{block_mib}/flush_each:{int(flush_each)}/.*"
        out = run(self.bench, f"--benchmark_filter={name}", "--benchmark_format=json",
                  env={**os.environ, "VHDXM_BENCH_DIR": str(self.folder)})
        result = json.loads(out)["benchmarks"][0]
        self.flushes[(block_mib, flush_each)] = result["flushes_per_1000"]
        return result["real_time"] / 1000

    def new_disk(self, block_mib):
        target = self.target()
        run("qemu-img", "create", "-q", "-f", "vhdx", "-o", f"block_size={block_mib}M", target,
            f"{BLOCKS * block_mib}M")
        return target

    @staticmethod
    def writes(block_mib, flush_each):
        words = []
        for block in range(BLOCKS):
            words += ["-c", f"write -q -P 0x5a {block * block_mib}M 4k"]
            if flush_each:
                words += ["-c", "flush"]
        return words + ["-c", "flush"]

    def allocate_qemu_io(self, block_mib, flush_each):
        target = self.new_disk(block_mib)
        return seconds("qemu-io", "-f", "vhdx", "-t", "writeback",
                       *self.writes(block_mib, flush_each), target)

    def allocate_qemu_nbd(self, block_mib, flush_each):
        target = self.new_disk(block_mib)
        socket = self.folder / "nbd.sock"
        socket.unlink(missing_ok=True)
        server = subprocess.Popen(["qemu-nbd", "-f", "vhdx", "--cache=writeback", "-k", str(socket),
                                   str(target)], stdin=subprocess.DEVNULL)
        while not socket.exists():
            time.sleep(0.01)
        taken = seconds("qemu-io", "-f", "raw", *self.writes(block_mib, flush_each),
                        f"nbd+unix:///?socket={socket}")
        server.wait()  # it ends with its only client
        return taken

    # --- all ------------------------------------------------------------------------------------
    def compare(self):
        self.flushes = {}
        self.make_raw()
        self.in_turns({"import: vhdx-migrate": self.import_ours,
                       "import: qemu-img convert": self.import_qemu,
                       "import: dd oflag=direct": self.import_dd})
        for block_mib in (1, 4):
            for flush_each in (False, True):
                what = f"allocate {block_mib} MiB{', flush each' if flush_each else ''}: "
                self.in_turns({
                    what + "vhdx-migrate": lambda: self.allocate_ours(block_mib, flush_each),
                    what + "qemu-io": lambda: self.allocate_qemu_io(block_mib, flush_each),
                    what + "qemu-nbd": lambda: self.allocate_qemu_nbd(block_mib, flush_each)})
        print("| what | wall s, median | times ours |\n|---|---:|---:|")
        for name, values in self.figures.items():
            ours = statistics.median(self.figures[name.split(": ")[0] + ": vhdx-migrate"])
            median = statistics.median(values)
            print(f"| {name} | {median:.3f} | {median / ours:.2f} |")
        for (block_mib, flush_each), count in self.flushes.items():
            print(f"flushes per 1000 allocations, {block_mib} MiB"
                  f"{', flush each' if flush_each else ''}: {count:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files-mib", type=int, default=1360)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="vhdx-migrate-writer.") as folder:
        Comparison(options, folder).compare()


if __name__ == "__main__":
    main()
