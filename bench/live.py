#!/usr/bin/env python3
"""What bench/live.sh measures and how it is called stands there."""

import argparse
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import live_hosts
import live_qemu
import live_record
import live_report

ROOT = pathlib.Path(__file__).resolve().parents[1]
MIB = 1 << 20
PAGE_BYTES = 4096
SECOND = 1_000_000_000
# Of the client's writing before anything is measured, and after a move.
SETTLE_SECONDS = 0.3
PARTS = ("pause", "guest", "mirror", "export", "peer")


def make_raw(path, mib, seed):
    content = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(content.randbytes(MIB))
    subprocess.run(["sync", "-f", path], check=True)


def round_trip_us(count=2000):
    """Median of 4 KiB there and a byte back over TCP on this machine, which is the link here."""
    def answer():
        connection, _ = ear.accept()
        with connection:
            while got := connection.recv(PAGE_BYTES, socket.MSG_WAITALL):
                connection.sendall(got[:1])

    with socket.create_server(("127.0.0.1", 0)) as ear:
        thread = threading.Thread(target=answer)
        thread.start()
        times = []
        with socket.create_connection(ear.getsockname()) as end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                begin = time.monotonic_ns()
                end.sendall(bytes(PAGE_BYTES))
                end.recv(1)
                times.append((time.monotonic_ns() - begin) / 1000)
        thread.join()
    return statistics.median(times)


class Measurement:
    def __init__(self, options, folder):
        self.options = options
        self.folder = pathlib.Path(folder)
        self.tool = options.build / "tools" / "vhdx-migrate"
        self.program = options.build / "bench" / "live_client"
        self.log = self.folder / "log"
        self.begun = time.monotonic()

    def time_is_up(self):
        """Whether a series is to end here, so that others have their turn."""
        limit = self.options.minutes
        return limit is not None and time.monotonic() - self.begun > limit * 60

    def raw(self, mib=None):
        path = self.folder / "disk.raw"
        make_raw(path, mib or self.options.mib, self.options.seed)
        return path

    def client(self, socket, other=None):
        return live_hosts.Client(self.program, socket, self.log, self.options.seed,
                                 self.options.depth, other)

    # --- the pause ------------------------------------------------------------------------------
    def pause(self):
        moves = []
        with live_hosts.Hosts(self.folder, self.options.build / "tools") as both:
            raw = self.raw()
            both.add_disk(raw)
            raw.unlink()
            client = self.client(*(both.socket(host) for host in both.hosts))
            try:
                time.sleep(SETTLE_SECONDS)
                for number in range(self.options.moves):
                    moves.append(self.one_move(both, client, number))
                    if self.time_is_up():
                        break
                checked = client.end()
            finally:
                client.kill()
            both.check()
        record = live_record.Record(self.log)
        if checked["moves"] != len(moves):
            raise SystemExit(f"live.py: the client moved {checked['moves']} times, the disk {len(moves)}")
        return [self.judge_move(record, move) for move in moves]

    def one_move(self, both, client, number):
        source, target = both.hosts[number % 2], both.hosts[1 - number % 2]
        released = self.identity(both.socket(target))
        begin = time.monotonic_ns()
        job = both.begin_move(source, target, max_pause_ms=self.options.max_pause_ms)
        asked = time.monotonic_ns()
        if self.options.connect == "before":
            self.connect_before(client, both, source, target, job, released)
        job = both.wait_for(source, job, lambda now: now["state"] == "done")
        both.wait_exported(target)
        end = time.monotonic_ns()
        time.sleep(SETTLE_SECONDS)
        base = time.monotonic_ns()
        time.sleep(min((end - begin) / SECOND, self.options.base_seconds))
        return {"begin": begin, "asked": asked, "end": end, "base": (base, time.monotonic_ns()),
                "report": job["report"]}

    @staticmethod
    def identity(socket_path):
        """Of what listens there."""
        try:
            status = os.stat(socket_path)
            return status.st_ino, status.st_ctime_ns
        except FileNotFoundError:
            return None

    def connect_before(self, client, both, source, target, job, released):
        """As soon as the disk is arriving; until then that socket is the one of the copy that was `released`."""
        place = both.socket(target)
        while self.identity(place) in (None, released) or not client.connects():
            if source.ask("GET", f"/v1/jobs/{job['id']}")[1]["state"] != "running":
                return
            time.sleep(0.01)

    def judge_move(self, record, move):
        begin, end = move["begin"], move["end"] + int(SETTLE_SECONDS * SECOND)
        live = move["report"]["live"]
        last, refused, first = record.switch(begin, end)
        # The client's gaps while it wrote at the source, and before it was held for good.
        before = record.longest_gap(begin, last)
        base = record.longest_gap(*move["base"])
        ms = lambda ns: round(ns / 1e6, 3)  # noqa: E731
        return {"seconds": round((move["end"] - begin) / SECOND, 3),
                "gap_ms": ms(first - last), "base_gap_ms": ms(base), "pause_ms": ms(first - last - base),
                "held_ms": ms(refused - last), "elsewhere_ms": ms(first - refused),
                "gap_before_ms": ms(before), "told_pause_ms": live["pause_us"] / 1000,
                "holds_failed": live["holds_failed"], "passes": live["pass"],
                "throttled_to": live["throttled_to_bytes_per_second"],
                "writes_per_second": round(record.writes_per_second(begin, last)),
                "writes_per_second_base": round(record.writes_per_second(*move["base"])),
                "again": self.sent_again(record, move, last), "told_passes": live["passes"]}

    def sent_again(self, record, move, held):
        """Pages that passes spoke of, against those that the client's record has written between their borders:
        {"all": of the passes after the first, if all are told of, "later": of those after the second}; empty
        if a hold failed, for then it is not told when that was.

        When the writes were held is in the client's record; the borders before follow from what the job
        says that its passes took. A pass takes a page out of the map at some time after its border, and
        the client knows of a write a little later than the map does: `low` and `high` are the sums with
        all borders but the last a millisecond earlier and later. What the second pass sends was written
        since tracking began, which is not told: between the request for the move (`high`) and the
        beginning of the first pass (`low`, `pages`).
        """
        passes = move["report"]["live"]["passes"]
        if move["report"]["live"]["holds_failed"]:
            return {}
        begins = [held]  # of the passes, the last one first
        for one in reversed(passes[:-1]):
            took = (one["copying_us"] + one["agreeing_us"]) * 1000
            # A short one is followed by a rest until 20 ms are over, unless the writes are held then.
            rest = 0 if len(begins) == 1 or one["pass"] == 1 else max(0, 20_000_000 - took)
            begins.append(begins[-1] - rest - took)
        begins.reverse()
        result = {}
        if passes[0]["pass"] == 1:
            result["all"] = self.compare_passes(record, passes[1:], begins, move["begin"])
        first = next((i for i, one in enumerate(passes) if one["pass"] >= 2), len(passes))
        if first + 1 < len(passes):
            result["later"] = self.compare_passes(record, passes[first + 1:], begins[first:], None)
        return result

    @staticmethod
    def compare_passes(record, passes, edges, earliest):
        """`edges`: the beginnings of the pass before `passes`, and of each of them."""
        sums = {"pages": 0, "low": 0, "high": 0}
        for name, shift in (("pages", 0), ("low", -1_000_000), ("high", 1_000_000)):
            borders = [edges[0]] + [edge + shift for edge in edges[1:-1]] + [edges[-1] + 1]
            if earliest is not None and name == "high":
                borders[0] = earliest
            elif earliest is None:
                borders[0] += shift
            sums[name] = sum(record.unique_pages(*pair) for pair in zip(borders, borders[1:]))
        return {"sent_pages": sum(one["sent_bytes"] for one in passes) // PAGE_BYTES,
                "pages": sums["pages"], "low": min(sums.values()), "high": max(sums.values())}

    # --- what the guest can do meanwhile --------------------------------------------------------
    def guest(self):
        with live_hosts.Hosts(self.folder, self.options.build / "tools") as both:
            raw = self.raw(self.options.copy_mib)
            both.add_disk(raw)
            raw.unlink()
            # Half of what it does alone, or less where the first pass would be over too early.
            fits = int(self.options.copy_mib * MIB / (4 * self.options.seconds))
            limit = min(self.idle_rate(both) // 2, fits)
            windows = self.turns(both, lambda: self.one_copy(both, limit))
        record = live_record.Record(self.log)
        rows = []
        for before, copying in windows:
            row = {"limit": limit, "half": limit < fits}
            for name, window in (("alone", before), ("copying", copying)):
                row[name] = round(record.writes_per_second(*window))
                row[f"{name}_p99_us"] = round(record.latency_us(*window, 0.99))
            rows.append(row)
        return rows

    def mirror(self):
        """The same when each write waits until both hosts have it."""
        trip = round_trip_us()
        with live_hosts.Hosts(self.folder, self.options.build / "tools") as both:
            raw = self.raw()
            both.add_disk(raw)
            raw.unlink()
            windows = self.turns(both, lambda: self.one_mirrored(both))
        record = live_record.Record(self.log)
        rows = []
        for alone, mirrored in windows:
            row = {"round_trip_us": round(trip, 1)}
            for name, window in (("alone", alone), ("mirrored", mirrored)):
                row[name] = round(record.writes_per_second(*window))
                row[f"{name}_p50_us"] = round(record.latency_us(*window, 0.5))
                row[f"{name}_p99_us"] = round(record.latency_us(*window, 0.99))
            rows.append(row)
        return rows

    def turns(self, both, one):
        """What `one()` gives, a few times, while a client writes at the first host."""
        client = self.client(both.socket(both.hosts[0]))
        try:
            time.sleep(SETTLE_SECONDS)
            results = [one() for _ in range(self.options.runs)]
            client.end()
        finally:
            client.kill()
        both.check()
        return results

    def one_mirrored(self, both):
        alone = self.window()
        job = both.begin_move(*both.hosts, cutover="manual", mirror="always", max_pause_ms=5000)
        mirrors = lambda now: (now["progress"].get("live", {}).get("phase") == "ready" and  # noqa: E731
                               now["progress"]["live"].get("mirrored_writes", 0) > 0)
        job = both.wait_for(both.hosts[0], job, mirrors)
        mirrored = self.window()
        job = both.hosts[0].ask("GET", f"/v1/jobs/{job['id']}")[1]
        if job["progress"]["live"]["mirror_stops"]:
            raise SystemExit("live.py: writes were not mirrored all the time")
        both.give_up(*both.hosts, job)
        time.sleep(SETTLE_SECONDS)
        return alone, mirrored

    def window(self):
        begin = time.monotonic_ns()
        time.sleep(self.options.seconds)
        return begin, begin + int(self.options.seconds * SECOND)

    def idle_rate(self, both):
        """Bytes a second of the first pass of a move that nobody disturbs."""
        job = both.begin_move(*both.hosts, cutover="manual")
        passed = lambda now: now["progress"].get("live", {}).get("phase") == "ready"  # noqa: E731
        job = both.wait_for(both.hosts[0], job, passed)
        first = next(one for one in job["progress"]["live"]["passes"] if one["pass"] == 1)
        both.give_up(*both.hosts, job)
        return first["sent_bytes"] * 1_000_000 // first["copying_us"]

    def one_copy(self, both, limit):
        alone = self.window()
        job = both.begin_move(*both.hosts, cutover="manual", limit=limit)
        in_first_pass = lambda now: (now["progress"].get("live", {}).get("phase") == "copying" and  # noqa: E731
                                     now["progress"].get("bytes_done", 0) > 0)
        job = both.wait_for(both.hosts[0], job, in_first_pass)
        copying = self.window()
        job = both.hosts[0].ask("GET", f"/v1/jobs/{job['id']}")[1]
        if job["progress"]["live"]["phase"] != "copying":
            raise SystemExit("live.py: the first pass is over too early: --copy-mib must be larger")
        both.give_up(*both.hosts, job)
        time.sleep(SETTLE_SECONDS)
        return alone, copying

    def export(self):
        """Tracked or not, and nbdkit's file plugin beside it: bench/live_export.py."""
        result = self.folder / "export.json"
        subprocess.run([sys.executable, "-B", ROOT / "bench" / "live_export.py", "--only", "random",
                        "--runs", str(self.options.runs), "--seconds", str(int(self.options.seconds) or 1),
                        "--size-mib", str(self.options.mib), "--dir", self.folder, "--json", result,
                        "--build", self.options.build], check=True, stdout=subprocess.DEVNULL)
        return [{"name": one["name"], "writes_per_second": round(one["iops"])}
                for one in json.loads(result.read_text())]

    # --- QEMU's way -----------------------------------------------------------------------------
    def peer(self):
        moves = []
        raw = self.raw()
        (self.folder / "copy.raw").write_bytes(raw.read_bytes())
        both = [live_qemu.Daemon(self.folder, name, disk)
                for name, disk in (("qa", raw), ("qb", self.folder / "copy.raw"))]
        client = None
        try:
            for daemon in both:
                daemon.start()
            client = self.client(both[0].socket)
            time.sleep(SETTLE_SECONDS)
            for number in range(self.options.peer_moves):
                moves.append(self.one_mirror(client, both[number % 2], both[1 - number % 2]))
                if self.time_is_up():
                    break
            client.end()
        finally:
            if client:
                client.kill()
            for daemon in both:
                daemon.stop()
        record = live_record.Record(self.log)
        rows = []
        for begin, stopped, end, base in moves:
            gap = record.longest_gap(stopped, end + int(SETTLE_SECONDS * SECOND))
            alone = record.longest_gap(*base)
            rows.append({"seconds": round((end - begin) / SECOND, 3), "gap_ms": round(gap / 1e6, 3),
                         "base_gap_ms": round(alone / 1e6, 3), "pause_ms": round((gap - alone) / 1e6, 3),
                         "writes_per_second": round(record.writes_per_second(begin, stopped)),
                         "writes_per_second_base": round(record.writes_per_second(*base))})
        return rows

    def one_mirror(self, client, source, target):
        begin = time.monotonic_ns()
        source.begin_mirror(target, "write-blocking")
        if not source.wait_until_ready(live_hosts.PATIENCE_SECONDS):
            raise SystemExit("live.py: the mirror does not catch up")
        stopped = time.monotonic_ns()
        client.stop()
        source.complete()
        client.go(target.socket)
        end = time.monotonic_ns()
        time.sleep(SETTLE_SECONDS)
        base = time.monotonic_ns()
        time.sleep(min((end - begin) / SECOND, self.options.base_seconds))
        base = (base, time.monotonic_ns())
        source.stop()
        source.start()
        return begin, stopped, end, base


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(PARTS), help="a list of " + ", ".join(PARTS))
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--peer-moves", type=int, default=50)
    parser.add_argument("--minutes", type=float, help="end a series of moves after so long")
    parser.add_argument("--max-pause-ms", type=int, default=20)
    parser.add_argument("--connect", choices=("before", "after"), default="before")
    parser.add_argument("--mib", type=int, default=256, help="of the disk that moves")
    parser.add_argument("--depth", type=int, default=16, help="writes under way")
    parser.add_argument("--base-seconds", type=float, default=2, help="without a move, at most")
    parser.add_argument("--copy-mib", type=int, default=3072, help="of the disk that is copied with a limit")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--show", type=pathlib.Path, nargs="+", metavar="RECORD")
    options = parser.parse_args()
    if unknown := [part for part in options.only.split(",") if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}")
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    return options


def main():
    options = parse()
    if options.show:
        print(live_report.table([json.loads(path.read_text()) for path in options.show]))
        return
    record = {"schema": 1, "machine": live_report.machine(), "seed": options.seed,
              "options": {"depth": options.depth, "mib": options.mib, "max_pause_ms": options.max_pause_ms,
                          "copy_mib": options.copy_mib, "seconds": options.seconds}}
    print(f"seed {options.seed}", file=sys.stderr)
    for part in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=options.dir, prefix="vhdxm-live.") as folder:
            record[part] = getattr(Measurement(options, folder), part)()
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(live_report.table([record]))


if __name__ == "__main__":
    main()
