"""Two host services and guests that use their disks: what tests of moves between them have in common."""

import errno
import json
import os
import random
import socket
import threading

import nbd

import support
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

        proxy = self.relay(self.address(self.there), tamper, tamper_back)
        job = self.detached(self.here, proxy.address, "--cutover", "manual", "--max-pause", "20s",
                            *options, name=name)
        self.wait_for(self.here, job, lambda now: now["progress"].get("live", {}).get("pass", 0) > 5)
        armed.set()
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.assertTrue(cut.wait(support.PATIENCE_SECONDS))
        proxy.tamper = proxy.tamper_back = None
        return job, proxy

    def relay(self, target, tamper, tamper_back):
        return Proxy(target, tamper, tamper_back)

    def owners(self, name):
        """Hosts whose export of the disk lets a client write."""
        return [host for host in (self.here, self.there)
                if host.ask("GET", f"/v1/disks/{name}?settled=true")[1].get("state") == "exported"]

    def resolved(self, job, sentence):
        outcome = self.here.command("resolve", job)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(outcome.of_type("resolved")[0]["ownership"], sentence)
        self.assertEqual(self.here.ask("GET", f"/v1/jobs/{job}")[1]["state"], "done")

    def mover_status(self, host, key):
        with socket.socket(socket.AF_UNIX) as mover:
            mover.connect(str(host.run / "movers" / f"{key}.sock"))
            mover.sendall(b'{"version":2,"op":"status"}\n')
            return json.loads(mover.makefile().readline())

    def waiting_mover(self, host, key):
        """What a mover says of itself: there is no disk in it, though clients may connect."""
        self.assertFalse((host.run / "disks" / f"{key}.wait").exists())
        self.assertTrue((host.run / "disks" / f"{key}.sock").is_socket())
        status = self.mover_status(host, key)
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
