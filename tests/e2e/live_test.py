"""A disk in use moves between two host services: what a guest was told, and who owns it."""

import errno
import json
import os
import random
import signal
import socket
import threading

import nbd

import support
from nbd_export import wait_for_end
from proxy import Proxy
from service import Service

MIB = 1 << 20
SECTOR = 4096


def numbered(number):
    return number.to_bytes(8, "little") * (SECTOR // 8)


class Guest(threading.Thread):
    """Numbers sectors until a write fails; remembers what was acknowledged, and goes on reading."""

    def __init__(self, uri, size, seed, known=None, flags=0, offset=0):
        super().__init__()
        self.flags = flags
        self.first = offset // SECTOR
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.sectors = size // SECTOR
        self.random = random.Random(seed)
        self.acknowledged = dict(known or {})
        self.count = max(self.acknowledged.values(), default=0)
        self.in_doubt = None  # (sector, number) of the write that failed
        self.failure = None
        self.more = threading.Event()
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            sector = self.first + self.random.randrange(self.sectors)
            self.count += 1
            try:
                self.handle.pwrite(numbered(self.count), sector * SECTOR, self.flags)
                if self.count % 64 == 0:
                    self.handle.flush()
            except nbd.Error as error:
                self.in_doubt = (sector, self.count)
                self.failure = error
                break
            self.acknowledged[sector] = self.count
            if self.count % 64 == 0:
                self.more.set()
        self.more.set()

    def write_more(self):
        """Returns when it has written more; fails if it cannot."""
        for _ in range(2):
            self.more.clear()
            assert self.more.wait(support.PATIENCE_SECONDS)
            assert self.failure is None, self.failure

    def wait_until_fenced(self):
        """Writes end with EPERM, and nothing else; what was acknowledged can be read."""
        self.join(support.PATIENCE_SECONDS)
        assert self.failure is not None, "it goes on writing"
        assert self.failure.errnum == errno.EPERM, self.failure
        self.check(self.handle)

    def stop(self):
        self.done.set()
        self.join()
        assert self.failure is None, self.failure

    def check(self, handle):
        """That `handle` reads what was acknowledged."""
        for sector, number in self.acknowledged.items():
            got = handle.pread(SECTOR, sector * SECTOR)
            assert got == numbered(number), (sector, number, int.from_bytes(got[:8], "little"))

    def leave(self):
        self.handle.shutdown()


class FastGuest(threading.Thread):
    """Rewrites `size` bytes from `begin` on again and again, 256 KiB at a time."""

    PIECE = 256 * 1024

    def __init__(self, uri, begin, size):
        super().__init__()
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.places = range(begin, begin + size, self.PIECE)
        self.acknowledged = {}
        self.failure = None
        self.round_done = threading.Event()
        self.done = threading.Event()

    @classmethod
    def piece(cls, number):
        return os.urandom(16) + number.to_bytes(16, "little") * (cls.PIECE // 16 - 1)

    def run(self):
        number = 0
        while not self.done.is_set():
            for place in self.places:
                number += 1
                piece = self.piece(number)
                try:
                    self.handle.pwrite(piece, place)
                except nbd.Error as error:
                    self.failure = error
                    self.round_done.set()
                    return
                self.acknowledged[place] = piece
            self.round_done.set()

    def check(self, handle):
        for place, piece in self.acknowledged.items():
            assert handle.pread(len(piece), place) == piece, place


class LiveHosts(support.DiskTest):
    """Two hosts, and what a test does with them."""
    SIZE = 64 * MIB

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("VHDXM_TEST_SEED", random.SystemRandom().getrandbits(32)))
        print(f"seed {self.seed}")
        self.random = random.Random(self.seed)
        self.here, self.there = self.host("here"), self.host("there")

    def host(self, name, *options, resolve_retry="86400s", listen="127.0.0.1:0", prefix=(), settings=""):
        """`settings`: more of them, in TOML. Unless told, nothing but `resolve` and the start of the service ends what is blocked."""
        disks = self.folder / name / "disks"
        disks.mkdir(parents=True)
        config = self.folder / name / "host.toml"
        config.write_text(f'resolve_retry = "{resolve_retry}"\n{settings}')
        host = Service(self.folder / name, "--config", config, "--incoming", "on", "--outgoing", "on", "--into", disks,
                       "--listen", listen, "--key-file", self.key_file, *options, prefix=prefix)
        host.disks = disks
        self.addCleanup(host.__exit__)
        return host

    def address(self, host):
        return host.ask("GET", "/v1/host")[1]["address"]

    def names(self, host):
        return sorted(one.name for one in host.disks.iterdir() if one.name != ".vhdx-migrate")

    def added(self, host, megabytes=8, name="web01", options=()):
        path = self.make_disk(f"{name}.vhdx", megabytes=megabytes)
        path = path.rename(host.disks / path.name)
        outcome = host.command("disk", "add", name, path, *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome.of_type("disk_added")[0]

    def guest(self, host, name="web01", known=None, flags=0, size=SIZE, offset=0):
        disk = self.exported(host, name)
        guest = Guest(disk["uri"], size, self.random.getrandbits(32), known, flags, offset)
        guest.start()
        self.addCleanup(guest.done.set)
        guest.write_more()
        return guest

    def exported(self, host, name="web01"):
        while (disk := host.ask("GET", f"/v1/disks/{name}?settled=true")[1]).get("state") != "exported":
            self.assertIn(disk.get("state"), (None, "starting", "released"), disk)
        return disk

    def state_of(self, host, name="web01"):
        return host.ask("GET", f"/v1/disks/{name}")[1].get("state")

    def move(self, host, to, *options, name="web01"):
        """`name`: of a disk; None: the options say which."""
        names = [name] if name else []
        outcome = host.command("move", *names, "--to", self.address(to), "--progress", "none",
                               *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome.of_type("job")[-1]

    def detached(self, host, to, *options, name="web01"):
        to = to if isinstance(to, str) else self.address(to)
        names = [name] if name else []
        outcome = host.command("move", *names, "--to", to, "--detach", *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome.of_type("job")[0]["id"]

    def wait_for(self, host, job, wanted):
        """The job once `wanted(job)` is true; news are waited for."""
        revision = 0
        while True:
            _, now = host.ask("GET", f"/v1/jobs/{job}?after={revision}&wait=30")
            if wanted(now):
                return now
            self.assertIn(now["state"], ("queued", "running", "blocked"),
                          f"{now}\n{self.here.log_text()}\n{self.there.log_text()}")
            revision = now["revision"]

    def wait_for_state(self, host, job, *states):
        return self.wait_for(host, job, lambda now: now["state"] in states)

    def wait_for_phase(self, host, job, *phases):
        return self.wait_for(
            host, job, lambda now: now["progress"].get("live", {}).get("phase") in phases)

    def assert_holds(self, host, guest, name="web01"):
        """The export at `host` has what the guest was told is written."""
        handle = nbd.NBD()
        handle.connect_uri(self.exported(host, name)["uri"])
        guest.check(handle)
        handle.shutdown()

    def assert_sound(self, host, guest, name="web01"):
        """Closed, the file is without a fault, and qemu-img reads what the guest was told."""
        outcome = host.command("disk", "remove", name)
        self.assertEqual(outcome.code, 0, outcome)
        path = host.disks / f"{name}.vhdx"
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", path)
        self.assertEqual(support.run("check", path).code, 0)
        raw = self.folder / "raw"
        support.tool("qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
        with open(raw, "rb") as file:
            for sector, number in guest.acknowledged.items():
                file.seek(sector * SECTOR)
                self.assertEqual(file.read(SECTOR), numbered(number), sector)
        raw.unlink()

    def hand_over_until(self, step, act, name, flags=0):
        """Of one disk with a guest: it, the job and the proxy of cut_off()."""
        self.added(self.here, megabytes=4, name=name)
        guest = self.guest(self.here, name, flags=flags)
        return guest, *self.cut_off(step, act, name=name)

    def cut_off(self, step, act, *options, name=None):
        """A move whose control connection ends at a step of the hand-over, and `act()` is called
        then. The steps by what is not delivered any more: "prepare", "prepared", "released", "owned"."""
        usual, new = set(), []
        armed, cut = threading.Event(), threading.Event()

        def end():
            if not cut.is_set():
                act()
                cut.set()

        def tamper(connection, _before, piece):
            if connection != 0:
                return piece
            if not armed.is_set():
                usual.add(len(piece))
            elif len(piece) not in usual:
                # Each waits for the answer to the one before: Prepare, then Released.
                new.append(len(piece))
                if (step, len(new)) in (("prepare", 1), ("released", 2)):
                    return end()
            return piece

        def tamper_back(connection, _before, piece):
            if connection == 0 and (step, len(new)) in (("prepared", 1), ("owned", 2)):
                return end()
            return piece

        proxy = Proxy(self.address(self.there), tamper, tamper_back)
        job = self.detached(self.here, proxy.address, "--cutover", "manual", "--max-pause", "20s",
                            *options, name=name)
        self.wait_for(self.here, job, lambda now: now["progress"].get("live", {}).get("pass", 0) > 5)
        armed.set()
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.assertTrue(cut.wait(support.PATIENCE_SECONDS))
        proxy.tamper = proxy.tamper_back = None
        return job, proxy

    def owners(self, name):
        """Hosts whose export of the disk lets a client write."""
        return [host for host in (self.here, self.there)
                if host.ask("GET", f"/v1/disks/{name}?settled=true")[1].get("state") == "exported"]

    def resolved(self, job, sentence):
        outcome = self.here.command("resolve", job)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(outcome.of_type("resolved")[0]["ownership"], sentence)
        self.assertEqual(self.here.ask("GET", f"/v1/jobs/{job}")[1]["state"], "done")

    def waiting_mover(self, host, key):
        """What a mover says of itself: there is no disk in it, though clients may connect."""
        self.assertFalse((host.run / "disks" / f"{key}.wait").exists())
        self.assertTrue((host.run / "disks" / f"{key}.sock").is_socket())
        with socket.socket(socket.AF_UNIX) as mover:
            mover.connect(str(host.run / "movers" / f"{key}.sock"))
            mover.sendall(b'{"version":2,"op":"status"}\n')
            status = json.loads(mover.makefile().readline())
        self.assertEqual(status["disks"], [], status)
        return status["pid"]

    def connected_before(self, host, name="web01"):
        """A guest that waits at `host` for a disk that is going there."""
        handle = nbd.NBD()
        handle.connect_uri(f"nbd+unix:///?socket={host.run}/disks/{name}.sock")
        return handle

    def assert_refuses(self, handle):
        for write in (lambda: handle.pwrite(b"x" * 4096, 0), lambda: handle.trim(MIB, 0),
                      lambda: handle.zero(MIB, 0)):
            with self.assertRaises(nbd.Error) as refused:
                write()
            self.assertEqual(refused.exception.errnum, errno.EPERM)


class LiveTest(LiveHosts):
    def test_there_and_back(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.move(self.here, self.there)
        self.assertEqual((job["state"], job["exit"]), ("done", 0))
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        guest.wait_until_fenced()
        self.assertEqual(self.names(self.here), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.there), ["web01.vhdx", "web01.vhdx.owner"])
        self.assert_holds(self.there, guest)
        listed = self.here.command("disk", "list").of_type("disk")
        self.assertEqual([(one["name"], one["state"], one["clients"]) for one in listed],
                         [("web01", "released", 1)])
        arrival = self.there.command("list").of_type("job")[0]
        self.assertEqual(arrival["ownership"], "web01.vhdx: this host, the destination, owns it.")
        # Somebody who still reads the old copy is in the way of the disk that comes back to it.
        guest_there = self.guest(self.there, known=guest.acknowledged, size=4 * MIB)
        outcome = self.there.command("move", "web01", "--to", self.address(self.here))
        self.assertEqual(outcome.code, 5, outcome)
        guest.leave()
        guest_there.write_more()
        back = self.move(self.there, self.here)
        guest_there.wait_until_fenced()
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.here), ["web01.vhdx", "web01.vhdx.owner"])
        self.assert_holds(self.here, guest_there)
        # Only what was written there since, by the cell, and again whenever it was written to.
        report = back["report"]
        live = report["live"]
        again = sum(one["sent_bytes"] for one in live["passes"] if one["pass"] > 1)
        untold = max(0, live["pass"] - len(live["passes"]) - 1)
        self.assertLessEqual(report["bytes_total"] - report["same_bytes"] - again,
                             (1 + untold) * 4 * MIB, report)
        self.assertGreater(report["same_bytes"], 40 * MIB)
        guest_there.leave()
        self.assert_sound(self.here, guest_there)

    def test_a_disk_that_nobody_uses_there_and_back(self):
        self.added(self.here)
        job = self.move(self.here, self.there)
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        self.assertEqual(self.names(self.here), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.there), ["web01.vhdx", "web01.vhdx.owner"])
        self.exported(self.there)
        self.assertEqual(self.owners("web01"), [self.there])
        guest = self.guest(self.there, size=4 * MIB)
        guest.stop()
        guest.leave()
        # The export of the copy that was released here is in nobody's way.
        back = self.move(self.there, self.here)
        self.assertEqual(back["ownership"], "web01.vhdx: the destination owns it.")
        self.exported(self.here)
        self.assertEqual(self.owners("web01"), [self.here])
        report = back["report"]
        sent = report["bytes_total"] - report["same_bytes"] - report["zero_bytes"]
        self.assertLessEqual(sent, 4 * MIB, report)
        self.assertEqual(report["same_bytes"], 4 * MIB)
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assert_holds(self.here, guest)
        self.assert_sound(self.here, guest)

    def test_cancelled_the_guest_goes_on_and_another_job_moves_it(self):
        self.added(self.here, megabytes=24)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--limit", "1M")
        # Before the first byte has arrived there may be nothing at the destination.
        self.wait_for(self.here, job, lambda now: now["progress"].get("written_bytes", 0) > 0)
        guest.write_more()
        outcome = self.here.command("cancel", job)
        self.assertEqual(outcome.code, 0, outcome)
        over = self.wait_for_state(self.here, job, "cancelled")
        self.assertEqual((over["exit"], over["ownership"]), (7, "web01.vhdx: the source owns it."))
        guest.write_more()
        self.assertEqual(self.state_of(self.here), "exported")
        self.assertEqual(self.there.ask("GET", "/v1/disks")[1], {"disks": []})
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.partial"])
        # Nobody but the service may throw that away, or write to it.
        outcome = support.run("cleanup", "web01.vhdx", "--into", self.there.disks)
        self.assertEqual(outcome.code, 1, outcome)
        partial = self.there.disks / "web01.vhdx.partial"
        outcome = support.run("serve", partial, "--socket", self.folder / "s", "--json")
        self.assertEqual(outcome.code, 1, outcome)
        self.assertIn("not arrived completely", outcome.of_type("error")[0]["message"])
        outcome = self.there.command("cleanup", "web01.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names(self.there), [])
        job = self.move(self.here, self.there)
        self.assertEqual(job["state"], "done")
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_cutover_that_waits_and_what_is_set_meanwhile(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--cutover", "manual", "--max-pause", "1s",
                            "--limit", "400M")
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        for options in (("--max-pause", "2s"), ("--limit", "200M", "--max-pause", "3s"),
                        ("--mode", "plain")):
            outcome = self.here.command("set", job, *options)
            self.assertEqual(outcome.code, 0, outcome)
        for words in (("set", job), ("set", job, "--max-pause", "2m"), ("set", job, "--mode", "fast"),
                      ("set", "none", "--limit", "1M"),
                      ("cutover", "none"), ("resolve", "none"),
                      ("resolve", job, "--force-owner-here")):
            self.assertEqual(self.here.command(*words).code, 2, words)
        self.assertEqual(self.here.command("disk", "remove", "web01", "--force").code, 5)
        # Pausing ends the job's connections; what it has at the destination is compared.
        self.assertEqual(self.here.command("pause", job).code, 0)
        paused = self.wait_for_state(self.here, job, "paused")
        self.assertEqual((paused["max_pause_ms"], paused["limit"], paused["mode"]),
                         (3000, 200 * MIB, "plain"))
        self.assertEqual(self.here.command("resume", job).code, 0)
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        outcome = self.here.command("set", job, "--mode", "compress")
        self.assertEqual(outcome.code, 1, outcome)
        self.assertIn("pause it, set the mode", outcome.of_type("error")[0]["message"])
        outcome = self.here.command("cutover", job)
        self.assertEqual(outcome.code, 0, outcome)
        over = self.wait_for_state(self.here, job, "done")
        live = over["report"]["live"]
        self.assertLessEqual(live["pause_us"], 3_000_000)
        self.assertTrue(live["passes"][-1]["held"])
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        self.assertEqual(self.here.command("cancel", job).code, 1)
        guest.leave()

    def test_the_mover_waits_for_its_disk(self):
        self.added(self.here)
        guest = self.guest(self.here)
        manual = ("--cutover", "manual", "--max-pause", "20s")
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        # It is named already, though nobody has that disk yet.
        other = self.make_disk("other.vhdx", megabytes=1)
        outcome = self.there.command("disk", "add", "web01", other)
        self.assertEqual(outcome.code, 1, outcome)
        # The job ends, and so does the mover; of its own accord, where the service is killed.
        self.assertEqual(self.here.command("cancel", job).code, 0)
        self.wait_for_state(self.here, job, "cancelled")
        wait_for_end(pid)
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        self.there.kill()
        wait_for_end(pid)
        self.wait_for_state(self.here, job, "failed")
        guest.write_more()
        self.there.start()
        # One that is killed is replaced, whenever that is.
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.wait_for_state(self.here, job, "done")
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        self.assertNotEqual(self.exported(self.there)["mover_pid"], pid)
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_guest_that_waits_where_its_disk_is_going(self):
        self.added(self.here)
        still = os.urandom(MIB)
        writer = nbd.NBD()
        writer.connect_uri(self.exported(self.here)["uri"])
        writer.pwrite(still, 48 * MIB)
        writer.shutdown()
        guest = self.guest(self.here, size=32 * MIB)
        manual = ("--cutover", "manual", "--max-pause", "20s")
        # Of one job nothing comes, and who waited for it is sent away.
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        waiting = self.connected_before(self.there)
        self.assertEqual(self.here.command("cancel", job).code, 0)
        self.wait_for_state(self.here, job, "cancelled")
        with self.assertRaises(nbd.Error):
            while True:
                waiting.pread(4096, 0)
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        waiting = self.connected_before(self.there)
        self.assertEqual(waiting.get_size(), self.SIZE)
        self.assertEqual(waiting.pread(MIB, 48 * MIB), still)
        self.assert_refuses(waiting)
        waiting.flush()
        self.assertEqual(self.state_of(self.there), None)
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.wait_for_state(self.here, job, "done")
        guest.wait_until_fenced()
        self.exported(self.there)
        # It is the same connection, and the disk is there.
        guest.check(waiting)
        self.assertEqual(waiting.pread(MIB, 48 * MIB), still)
        waiting.pwrite(numbered(1), 40 * MIB)
        waiting.flush()
        self.assertEqual(self.there.ask("GET", "/v1/disks/web01")[1]["clients"], 1)
        guest.acknowledged[40 * MIB // SECTOR] = 1
        waiting.shutdown()
        guest.leave()
        # And back, where the copy lies that was released.
        guest = self.guest(self.there, size=32 * MIB, known=guest.acknowledged)
        job = self.detached(self.there, self.here, *manual)
        self.wait_for_phase(self.there, job, "ready")
        waiting = self.connected_before(self.here)
        self.assert_refuses(waiting)
        self.assertEqual(self.there.command("cutover", job).code, 0)
        self.wait_for_state(self.there, job, "done")
        guest.wait_until_fenced()
        self.exported(self.here)
        guest.check(waiting)
        waiting.shutdown()
        guest.leave()
        self.assert_sound(self.here, guest)

    def test_a_sparse_disk_of_a_tebibyte(self):
        path = self.here.disks / "huge.vhdx"
        self.assertEqual(support.run("create", path, "--size", "1T").code, 0)
        self.assertEqual(self.here.command("disk", "add", "huge", path).code, 0)
        places = {0: 0xa1, 512 << 30: 0xb2, (1 << 40) - MIB: 0xc3}
        writer = nbd.NBD()
        writer.connect_uri(self.exported(self.here, "huge")["uri"])
        for place, byte in places.items():
            writer.pwrite(bytes([byte]) * MIB, place)
        writer.shutdown()
        guest = self.guest(self.here, "huge", size=16 * MIB, offset=700 << 30)
        over = self.move(self.here, self.there, name="huge")
        self.assertLess(over["report"]["wire_bytes"], 500 * MIB, over)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest, "huge")
        guest.leave()
        self.assertEqual(self.there.command("disk", "remove", "huge").code, 0)
        arrived = self.there.disks / "huge.vhdx"
        self.assertEqual(support.run("check", arrived).code, 0)
        self.assertLess(arrived.stat().st_blocks * 512, 500 * MIB)
        for place, byte in places.items():
            support.tool("qemu-io", "-r", "-f", "vhdx", "-c", f"read -P {byte} {place} {MIB}", arrived)

    # --- guests that write faster than the link -------------------------------------------------
    # However much writes are slowed down, each waits for half a second at most: ten of them write
    # 4 MiB a second and more. The link takes less, and the 7.5 MiB that they write to do not fit
    # the pause. What they have in hand, 2.5 MiB, does, even after as much that is on its way.
    TOO_SLOW = ("--limit", "3M", "--max-pause", "1700ms", "--mode", "plain")

    def fast_guests(self):
        """Each rewrites a part of the disk of its own, all the time, in large writes."""
        path = self.exported(self.here)["uri"]
        share = 3 * FastGuest.PIECE
        guests = [FastGuest(path, number * share, share) for number in range(10)]
        for guest in guests:
            guest.start()
            self.addCleanup(guest.done.set)
        for guest in guests:
            assert guest.round_done.wait(support.PATIENCE_SECONDS)
        return guests

    def test_guests_that_write_faster_than_the_link_converge_by_mirrored_writes(self):
        self.added(self.here, megabytes=4)
        guests = self.fast_guests()
        numbering = self.guest(self.here, size=64 * SECTOR, offset=32 * MIB)
        job = self.detached(self.here, self.there, *self.TOO_SLOW)
        slowed = set()
        told = set()

        def done(now):
            live = now["progress"].get("live", {})
            slowed.add(live.get("throttled_to_bytes_per_second", 0))
            told.add((live.get("mirroring"), now["progress"].get("phase")))
            return now["state"] == "done"
        over = self.wait_for(self.here, job, done)
        self.assertEqual(over["mirror"], "auto")
        self.assertGreaterEqual(len(slowed), 5, "guests were slowed down first")
        self.assertIn((True, "mirrored passes"), told)
        self.assertEqual(over["ownership"], "web01.vhdx: the destination owns it.")
        live = over["report"]["live"]
        self.assertGreater(live["mirrored_writes"], 0, live)
        self.assertGreater(live["mirrored_bytes"], 0, live)
        self.assertFalse(live["mirroring"])
        numbering.wait_until_fenced()
        for guest in guests:
            guest.join(support.PATIENCE_SECONDS)
            self.assertEqual(guest.failure.errnum, errno.EPERM)
        self.assert_holds(self.there, numbering)
        handle = nbd.NBD()
        handle.connect_uri(self.exported(self.there)["uri"])
        for guest in guests:
            guest.check(handle)
            guest.handle.shutdown()
        handle.shutdown()
        numbering.leave()
        said = support.run("watch", job, "--control", self.here.control)
        self.assertEqual(said.code, 0, said)
        self.assertIn(f"{live['mirrored_writes']} writes, ", said.out.decode())
        self.assert_sound(self.there, numbering)

    def test_without_mirrored_writes_that_ends_honestly(self):
        self.added(self.here, megabytes=4)
        guests = self.fast_guests()
        job = self.detached(self.here, self.there, *self.TOO_SLOW, "--mirror", "never")
        over = self.wait_for_state(self.here, job, "failed")
        self.assertEqual((over["mirror"], over["exit"]), ("never", 1))
        self.assertIn("Nothing was handed over", over["message"])
        self.assertEqual(over["ownership"], "web01.vhdx: the source owns it.")
        self.assertEqual(self.state_of(self.here), "exported")
        for guest in guests:
            guest.done.set()
            guest.join(support.PATIENCE_SECONDS)
            self.assertIsNone(guest.failure)
            guest.check(guest.handle)
            guest.handle.shutdown()

    def test_both_hosts_read_again_before_the_hand_over(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--verify")
        over = self.wait_for_state(self.here, job, "done")
        live = over["report"]["live"]
        left_out = live["verify_left_out_bytes"]
        self.assertGreater(live["verified_bytes"], 0, live)
        self.assertEqual(left_out % SECTOR, 0)
        self.assertEqual(over["report"]["disks"][0]["verified"], True)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        # Of a disk that nobody uses nothing is left out, and a person is told so.
        back = support.run("move", "web01", "--to", self.address(self.here), "--verify",
                           "--control", self.there.control)
        self.assertEqual(back.code, 0, back)
        told = back.out.decode()
        self.assertIn("Both hosts read ", told)
        self.assertIn(" again before that, and had the same.\n", told)
        self.assert_sound(self.here, guest)

    def test_every_write_mirrored_if_that_is_asked_for(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--cutover", "manual", "--mirror", "always",
                            "--max-pause", "5s")
        self.wait_for(self.here, job,
                      lambda now: now["progress"].get("live", {}).get("mirrored_writes", 0) > 300)
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        self.assertEqual(self.here.command("cutover", job).code, 0)
        over = self.wait_for_state(self.here, job, "done")
        self.assertEqual(over["report"]["live"]["mirror_stops"], 0, over)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    # --- what is cut short ----------------------------------------------------------------------
    def test_a_connection_that_breaks_in_the_hand_over(self):
        for step in ("prepare", "prepared", "released", "owned"):
            with self.subTest(step):
                guest, job, _ = self.hand_over_until(step, lambda: None, step)
                over = self.wait_for_state(self.here, job, "failed", "blocked")
                if step.startswith("prepare"):
                    self.assertEqual((over["state"], over["exit"]), ("failed", 5), over)
                    guest.write_more()
                    self.assertEqual(self.owners(step), [self.here])
                    self.assertEqual(self.here.command("resume", job).code, 0)
                    self.wait_for_phase(self.here, job, "ready")
                    self.assertEqual(self.here.command("cutover", job).code, 0)
                    self.wait_for_state(self.here, job, "done")
                    guest.wait_until_fenced()
                else:
                    self.assertEqual((over["state"], over["exit"]), ("blocked", 8), over)
                    guest.wait_until_fenced()
                    self.assertNotIn(self.here, self.owners(step))
                    for act in ("resume", "cancel", "pause"):
                        self.assertEqual(self.here.command(act, job).code, 1)
                    self.assertEqual(self.here.command("watch", job).code, 8)
                    self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                guest.leave()
                if step == "released":
                    self.assert_sound(self.there, guest, step)

    def test_a_destination_that_is_killed_in_the_hand_over(self):
        for step in ("released", "owned"):
            with self.subTest(step):
                guest, job, proxy = self.hand_over_until(step, self.there.kill, step)
                self.wait_for_state(self.here, job, "blocked")
                guest.wait_until_fenced()
                self.assertEqual(self.here.command("resolve", job).code, 8)
                self.there.start()
                proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
                self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                guest.leave()
                self.assert_sound(self.there, guest, step)

    def test_a_blocked_job_is_resolved_when_the_destination_is_there_again(self):
        self.here = self.host("impatient", resolve_retry="1ms")
        guest, job, proxy = self.hand_over_until("released", self.there.kill, "web01")
        blocked = self.wait_for_state(self.here, job, "blocked")
        self.assertIn("by itself", blocked["advice"])
        guest.wait_until_fenced()
        self.there.start()
        proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
        over = self.wait_for_state(self.here, job, "done")
        self.assertEqual((over["exit"], over["ownership"]),
                         (0, "web01.vhdx: the destination owns it."))
        log = self.here.log_text()
        self.assertIn(f"job {job}: still blocked: ", log)
        self.assertIn("its destination is asked again in ", log)
        self.assertIn(f"job {job}: resolved: ", log)
        self.assert_holds(self.there, guest)
        self.assertEqual(self.owners("web01"), [self.there])
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_source_that_is_killed_in_the_hand_over(self):
        for step in ("prepare", "released", "owned"):
            with self.subTest(step):
                def kill(name=step):
                    pid = self.here.ask("GET", f"/v1/disks/{name}")[1]["mover_pid"]
                    self.here.kill()
                    os.kill(pid, signal.SIGKILL)
                    wait_for_end(pid)
                # What a guest wrote through to the disk outlives the process that wrote it.
                guest, job, _ = self.hand_over_until(step, kill, step, nbd.CMD_FLAG_FUA)
                guest.join()
                self.here.start()
                # A service that starts asks at once.
                over = self.wait_for_state(self.here, job, "interrupted", "done")
                if step == "prepare":
                    self.assertEqual(over["state"], "interrupted", over)
                    self.assert_holds(self.here, guest, step)
                    self.assertEqual(self.owners(step), [self.here])
                    self.assertEqual(self.here.command("resume", job).code, 0)
                    self.wait_for_phase(self.here, job, "ready")
                    self.assertEqual(self.here.command("cutover", job).code, 0)
                    self.wait_for_state(self.here, job, "done")
                else:
                    self.assertEqual((over["state"], over["exit"]), ("done", 0), over)
                    self.assertNotIn(self.here, self.owners(step))
                    # Whoever was on his way to do that himself is told the same.
                    self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                self.assert_sound(self.there, guest, step)

    def test_force_when_the_other_host_is_lost(self):
        guest, job, _ = self.hand_over_until("released", self.there.kill, "web01")
        self.wait_for_state(self.here, job, "blocked")
        guest.wait_until_fenced()
        guest.leave()
        self.assertEqual(self.here.command("resolve", "web01", "--peer-destroyed").code, 2)
        outcome = self.here.command("resolve", "web01", "--force-owner-here", "--peer-destroyed")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.owners_here("web01"), "exported")
        self.assertIn("two copies", self.here.log_text())
        again = self.guest(self.here, known=guest.acknowledged)
        again.stop()
        self.assert_holds(self.here, again)
        again.leave()
        self.assert_sound(self.here, again)
        # And the other one, had it been this one that was lost.
        self.there.start()
        outcome = self.there.command("resolve", "web01.vhdx")
        self.assertEqual(outcome.code, 8, outcome)
        outcome = self.there.command("resolve", "web01.vhdx", "--force-owner-here",
                                     "--peer-destroyed")
        self.assertEqual(outcome.code, 0, outcome)
        self.assert_holds(self.there, guest)

    def owners_here(self, name):
        return self.here.ask("GET", f"/v1/disks/{name}?settled=true")[1]["state"]


if __name__ == "__main__":
    support.main()
