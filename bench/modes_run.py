"""Runs the moves of modes.sh, which says what the options are."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import modes_disks
import modes_drop
import modes_link
import modes_report

PATIENCE_SECONDS = 1800  # for one move; a hang must fail
FIXED_LEVELS = range(-7, 13)


def say(text):
    print(f"modes.sh: {text}", file=sys.stderr, flush=True)


def names(text, check, option):
    """A list with commas; check() raises ValueError for what is none of its things."""
    chosen = text.split(",")
    for name in chosen:
        try:
            check(name)
        except ValueError as error:
            sys.exit(f"modes.sh: {option}: {error}")
    return chosen


def check_disk(name):
    if name not in modes_disks.KINDS:
        raise ValueError(f"'{name}' is none of {', '.join(modes_disks.KINDS)}")


def check_mode(name):
    if name in ("plain", "auto", "zstd-adapt"):
        return
    if not re.fullmatch(r"-?[0-9]+", name) or int(name) not in FIXED_LEVELS or int(name) == 0:
        raise ValueError(f"'{name}' is none of plain, auto, zstd-adapt and the levels of zstd, "
                         f"{FIXED_LEVELS[0]} to {FIXED_LEVELS[-1]} without 0")


def check_outputs(options):
    """Before hours of work: that their results can be written."""
    for option, path in (("--dir", options.dir), ("--json", options.json and
                                                  os.path.dirname(options.json) or "."),
                         ("--keep-disks", options.keep_disks or ".")):
        if not os.path.isdir(path) or not os.access(path, os.W_OK):
            sys.exit(f"modes.sh: {option}: {path} is no folder that can be written to")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="modes.sh", allow_abbrev=False, add_help=False)
    parser.add_argument("--disks", default=",".join(modes_disks.KINDS))
    parser.add_argument("--rates", default="100M,1G,2.5G,10G,unlimited")
    parser.add_argument("--modes", default="plain,1,3,6,9,auto,zstd-adapt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=512)
    parser.add_argument("--keep-disks")
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--json")
    parser.add_argument("--svg")
    parser.add_argument("--no-advise", action="store_true")
    parser.add_argument("--drop", action="store_true")
    parser.add_argument("--tool")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.disks = names(options.disks, check_disk, "--disks")
    options.rates = names(options.rates, modes_link.rate_bits, "--rates")
    options.modes = names(options.modes, check_mode, "--modes")
    if options.rounds < 1 or options.size_mib < 8:
        sys.exit("modes.sh: --rounds is 1 or more, --size-mib 8 or more")
    check_outputs(options)
    lacking = [one for one in ("ip", "tc", "qemu-img", "mke2fs") if shutil.which(one) is None]
    if "zstd-adapt" in options.modes:
        lacking += [one for one in ("zstd", "socat") if shutil.which(one) is None]
    if lacking:
        sys.exit(f"modes.sh: missing: {', '.join(lacking)}")
    return options


class Children:
    """Processes of the move that is running; none outlives it."""

    def __init__(self):
        self.running = []

    def start(self, words, **streams):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VHDX_MIGRATE_")}
        child = subprocess.Popen([str(one) for one in words], env=environment,
                                 **{"stdin": subprocess.DEVNULL, **streams})
        self.running.append(child)
        return child

    def finish(self, child):
        """Waits for its good end; returns its CPU seconds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{child.args}: not done after {PATIENCE_SECONDS} s")
            time.sleep(0.002)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.running.remove(child)
        if child.returncode != 0:
            raise RuntimeError(f"{' '.join(child.args)}: exit {child.returncode}")
        return usage.ru_utime + usage.ru_stime

    def end(self):
        for child in self.running:
            child.kill()
        for child in self.running:
            child.wait()
        self.running = []


class Bench:
    def __init__(self, options, link, work):
        self.options = options
        self.link = link
        self.work = work
        self.to = work / "to"
        self.key = work / "key"
        self.children = Children()

    def receive(self, *more):
        """A receiver that listens; returns it and its address."""
        receiver = self.children.start(
            [*self.link.on(modes_link.RECEIVER), self.options.tool, "receive", "--into", self.to,
             "--listen", f"{modes_link.ADDRESSES[modes_link.RECEIVER]}:0", "--key-file", self.key,
             "--json", "--progress", "none", *more],
            stdout=open(self.work / "receive.jsonl", "wb"), stderr=open(self.work / "receive.err", "wb"))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and receiver.poll() is None:
            line = (self.work / "receive.jsonl").read_text(encoding="utf-8").partition("\n")
            if line[1]:
                return receiver, json.loads(line[0])["address"]
            time.sleep(0.01)
        raise RuntimeError("receive does not listen: " + (self.work / "receive.err").read_text())

    def start_move(self, disk, mode, progress, **streams):
        """Receiver and sender of one move by vhdx-migrate, which runs, and when the sender began."""
        receiver, address = self.receive("--once")
        flags = {"plain": ["plain"], "auto": ["auto"]}.get(mode, ["compress", "--level", mode])
        begin = time.monotonic()
        sender = self.children.start(
            [*self.link.on(modes_link.SENDER), self.options.tool, "send", disk, address, "--as",
             "disk.vhdx", "--key-file", self.key, "--json", "--progress", progress, "--mode", *flags],
            **streams)
        return receiver, sender, begin

    def move(self, disk, mode):
        output = self.work / "send.jsonl"
        receiver, sender, begin = self.start_move(disk, mode, "none", stdout=open(output, "wb"))
        sender_cpu_s = self.children.finish(sender)
        wall_s = time.monotonic() - begin
        lines = [json.loads(one) for one in output.read_text(encoding="utf-8").splitlines()]
        return {"wall_s": wall_s, "sender_cpu_s": sender_cpu_s,
                "receiver_cpu_s": self.children.finish(receiver),
                "done": next((one for one in reversed(lines) if one.get("type") == "done"), None)}

    def move_zstd_adapt(self, disk):
        """The file in a pipe, which vhdx-migrate's goals are held against."""
        on_receiver = self.link.on(modes_link.RECEIVER)
        on_sender = self.link.on(modes_link.SENDER)
        address = modes_link.ADDRESSES[modes_link.RECEIVER]
        listener = self.children.start(
            [*on_receiver, "socat", "-u", "TCP-LISTEN:7000,reuseaddr", "STDOUT"],
            stdout=subprocess.PIPE)
        unpacker = self.children.start(["zstd", "-q", "-d", "-f", "-o", self.to / "disk.vhdx"],
                                       stdin=listener.stdout)
        listener.stdout.close()
        begin = time.monotonic()
        packer = self.children.start(["zstd", "-q", "--adapt", f"-T{os.cpu_count()}", "-c", disk],
                                     stdout=subprocess.PIPE)
        pipe = self.children.start([*on_sender, "socat", "-u", "STDIN",
                                    f"TCP:{address}:7000,retry=100,interval=0.05"],
                                   stdin=packer.stdout)
        packer.stdout.close()
        sender_cpu_s = self.children.finish(packer) + self.children.finish(pipe)
        receiver_cpu_s = self.children.finish(listener) + self.children.finish(unpacker)
        subprocess.run(["sync", self.to / "disk.vhdx"], check=True)
        return {"wall_s": time.monotonic() - begin, "sender_cpu_s": sender_cpu_s,
                "receiver_cpu_s": receiver_cpu_s, "done": None}

    def fresh(self, disk):
        shutil.rmtree(self.to, ignore_errors=True)
        self.to.mkdir()
        subprocess.run(["sync", "-f", self.work], check=True)
        with open(disk, "rb") as file:  # into the page cache
            while file.read(1 << 20):
                pass

    def check_copy(self, disk, mode):
        compared = subprocess.run(["qemu-img", "compare", "-q", "-f", "vhdx", "-F", "vhdx", disk,
                                   self.to / "disk.vhdx"], check=False)
        if compared.returncode != 0:
            raise RuntimeError(f"{disk.name} by {mode}: the copy differs from the source")

    def turn(self, disk, mode):
        self.fresh(disk)
        result = self.move_zstd_adapt(disk) if mode == "zstd-adapt" else self.move(disk, mode)
        self.check_copy(disk, mode)
        return result

    def advise(self, disk):
        """What advise predicts, by mode, or nothing if it says nothing."""
        self.fresh(disk)
        receiver, address = self.receive()
        done = subprocess.run(
            [*self.link.on(modes_link.SENDER), self.options.tool, "advise", disk, address,
             "--key-file", self.key, "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=60, check=False)
        receiver.kill()
        receiver.wait()
        self.children.running.remove(receiver)
        if done.returncode != 0:
            told = (done.stderr or done.stdout).decode().strip().splitlines()
            say(f"advise failed, exit {done.returncode}: {told[0] if told else 'it says nothing'}")
            return None
        return json.loads(done.stdout.decode().strip().splitlines()[-1])


def measure_cell(bench, disk, cell):
    options = bench.options
    bench.link.set_rate(modes_link.rate_bits(cell["rate"]))
    if not options.no_advise:
        cell["advice"] = bench.advise(disk)
    count = len(options.modes)
    for number in range(options.rounds):
        for place in range(count):
            mode = options.modes[(number + place) % count]
            result = bench.turn(disk, mode)
            cell["runs"].setdefault(mode, []).append(result)
            say(f"{cell['disk']} at {cell['rate']}, round {number + 1}/{options.rounds}, "
                f"{mode}: {result['wall_s']:.2f} s")


def disk_of(kind, options, work):
    """A disk that is made now, or was before."""
    if options.keep_disks:
        kept = pathlib.Path(options.keep_disks, f"{kind}-{options.size_mib}.vhdx")
        if kept.exists():
            return kept
    say(f"making the {kind} disk, {options.size_mib} MiB ...")
    disk = modes_disks.make(kind, options.size_mib << 20, work)
    return pathlib.Path(shutil.move(disk, kept)) if options.keep_disks else disk


def write_record(record, options):
    """After each cell: what was measured is not lost if the rest is interrupted."""
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run(options, work):
    record = modes_report.new_record(options)
    with modes_link.Link() as link:
        bench = Bench(options, link, work)
        try:
            for kind in options.disks:
                disk = disk_of(kind, options, work)
                record["disks"][kind] = {"file_bytes": disk.stat().st_size}
                for rate in options.rates:
                    cell = {"disk": kind, "rate": rate, "size_mib": options.size_mib,
                            "advice": None, "runs": {}}
                    measure_cell(bench, disk, cell)
                    record["cells"].append(cell)
                    write_record(record, options)
                if options.drop:
                    record["drops"][kind] = modes_drop.run(bench, disk, say)
                    write_record(record, options)
                if not options.keep_disks:
                    disk.unlink()
        finally:
            bench.children.end()
    return record


def main():
    options = parse(sys.argv[1:])
    if options.check:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="vhdx-migrate-modes.", dir=options.dir) as work:
            record = run(options, pathlib.Path(work))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    if options.svg:
        modes_report.write_charts(record, pathlib.Path(options.svg))
    print(modes_report.table(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
