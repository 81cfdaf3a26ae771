#!/usr/bin/env python3
"""What bench/live_export.sh measures and how it is called stands there."""

import argparse
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
START_SECONDS_MAX = 30


def run(*words):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"live_export.py: {words[0]} failed: {done.stdout[-800:]}{done.stderr[-800:]}")
    return done.stdout


class Server:
    """A server on a Unix socket, for as long as the with-block."""

    def __init__(self, socket, *words):
        socket.unlink(missing_ok=True)
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        begin = time.monotonic()
        while not socket.exists():
            if self.process.poll() is not None or time.monotonic() - begin > START_SECONDS_MAX:
                sys.exit(f"live_export.py: {words[0]} did not start")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Comparison:
    def __init__(self, options, folder):
        self.options = options
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "s"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.tool = options.build / "tools" / "vhdx-migrate"
        self.plugin = options.build / "tools" / "nbdkit-vhdx-plugin.so"
        self.records = []

    # --- servers --------------------------------------------------------------------------------
    def nbdkit_file(self, disk):
        return Server(self.socket, "nbdkit", "--foreground", "--unix", self.socket, "file", disk)

    def ours(self, disk):
        return Server(self.socket, self.tool, "serve", disk, "--socket", self.socket)

    def ours_tracking(self, disk):
        return Server(self.socket, "nbdkit", "--foreground", "--unix", self.socket, self.plugin,
                      f"disk={disk}", "tracking=on")

    def qemu_nbd(self, disk):
        return Server(self.socket, "qemu-nbd", "--format=vhdx", "--cache=writeback", "--persistent",
                      "--shared=4", "--socket", self.socket, disk)

    # --- work -----------------------------------------------------------------------------------
    def fio(self, *options):
        out = run("fio", "--name=w", "--ioengine=nbd", f"--uri={self.uri}", "--bs=4k",
                  "--iodepth=16", "--output-format=json", *options)
        write = json.loads(out[out.index("{"):])["jobs"][0]["write"]
        return {"iops": write["iops"], "p99_us": write["clat_ns"]["percentile"]["99.000000"] / 1000,
                "writes": write["total_ios"], "seconds": write["runtime"] / 1000}

    def random_writes(self):
        return self.fio("--rw=randwrite", f"--size={self.options.size_mib}M", "--time_based",
                        f"--runtime={self.options.seconds}", "--norandommap", "--end_fsync=1")

    def allocate(self):
        """Figures with a flush at the end in them, which qemu-io asks for and fio does not time."""
        figures = self.fio("--rw=write:1020k", f"--size={self.options.blocks}M",
                           f"--io_size={self.options.blocks * 4}k")
        if figures["writes"] != self.options.blocks:
            sys.exit(f"live_export.py: fio made {figures['writes']} writes")
        begin = time.monotonic()
        run("qemu-io", "-f", "raw", "-c", "flush", self.uri)
        figures["seconds"] += time.monotonic() - begin
        figures["iops"] = figures["writes"] / figures["seconds"]
        return figures

    def make_raw(self, mib, written):
        raw = self.folder / "disk.raw"
        raw.unlink(missing_ok=True)
        with open(raw, "wb") as file:
            for _ in range(mib if written else 0):
                file.write(self.filling)
            file.truncate(mib * MIB)
            os.fsync(file.fileno())
        return raw

    def make_vhdx(self, mib):
        disk = self.folder / "disk.vhdx"
        disk.unlink(missing_ok=True)
        run(self.tool, "create", disk, "--size", f"{mib}M", "--block-size", "1M")
        return disk

    def make_written_vhdx(self, mib):
        disk = self.folder / "disk.vhdx"
        disk.unlink(missing_ok=True)
        run(self.tool, "import", self.make_raw(mib, True), disk, "--block-size", "1M", "--progress",
            "none")
        (self.folder / "disk.raw").unlink()
        return disk

    def note(self, what, name, serve, disk, work):
        run("sync")
        with serve(disk):
            figures = work()
        if disk.suffix == ".vhdx":
            run(self.tool, "check", disk)
        disk.unlink()
        self.records.append({"what": what, "name": name, **figures})

    def compare(self):
        self.filling = random.Random(1).randbytes(MIB)
        mib, blocks = self.options.size_mib, self.options.blocks
        turns = [("random", "nbdkit file, raw", self.nbdkit_file, lambda: self.make_raw(mib, True)),
                 ("random", "vhdx-migrate", self.ours, lambda: self.make_written_vhdx(mib)),
                 ("random", "vhdx-migrate, tracked", self.ours_tracking,
                  lambda: self.make_written_vhdx(mib)),
                 ("random", "qemu-nbd", self.qemu_nbd, lambda: self.make_written_vhdx(mib)),
                 ("allocate", "nbdkit file, raw", self.nbdkit_file,
                  lambda: self.make_raw(blocks, False)),
                 ("allocate", "vhdx-migrate", self.ours, lambda: self.make_vhdx(blocks)),
                 ("allocate", "vhdx-migrate, tracked", self.ours_tracking,
                  lambda: self.make_vhdx(blocks)),
                 ("allocate", "qemu-nbd", self.qemu_nbd, lambda: self.make_vhdx(blocks))]
        if self.options.only:
            turns = [turn for turn in turns if turn[0] == self.options.only]
        for _ in range(self.options.runs):
            for what, name, serve, make in random.sample(turns, len(turns)):
                self.note(what, name, serve, make(),
                          self.random_writes if what == "random" else self.allocate)
        self.show([(what, name) for what, name, _, _ in turns])

    def median(self, what, name, figure):
        return statistics.median(one[figure] for one in self.records
                                 if one["what"] == what and one["name"] == name)

    def show(self, rows):
        print("| writes | server | writes/s, median | p99 us | of nbdkit file |")
        print("|---|---|---:|---:|---:|")
        for what, name in rows:
            iops = self.median(what, name, "iops")
            base = self.median(what, "nbdkit file, raw", "iops")
            print(f"| {what} | {name} | {iops:.0f} | {self.median(what, name, 'p99_us'):.0f} "
                  f"| {iops / base:.2f} |")
        for what, one, other in (("random", "vhdx-migrate, tracked", "vhdx-migrate"),
                                 ("allocate", "vhdx-migrate", "qemu-nbd")):
            if (what, one) in rows:
                ratio = self.median(what, one, "iops") / self.median(what, other, "iops")
                print(f"{what}, {one} / {other}: {ratio:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=4000, help="blocks that get a place")
    parser.add_argument("--only", choices=("random", "allocate"), help="measure one of the two")
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="vhdx-migrate-live.") as folder:
        comparison = Comparison(options, folder)
        comparison.compare()
    if options.json:
        options.json.write_text(json.dumps(comparison.records, indent=1) + "\n")


if __name__ == "__main__":
    main()
