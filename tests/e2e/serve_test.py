"""`serve`: a disk in use, by other people's NBD clients, against a model that is no VHDX."""

import errno
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys

import nbd

import support
from nbd_export import Export, extents_of, wait_for_end

MIB = 1 << 20
DATA, HOLE = 0, nbd.STATE_HOLE | nbd.STATE_ZERO
KINDS = list(itertools.product(("dynamic", "fixed", "differencing"), (512, 4096)))


class Serve(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("VHDXM_TEST_SEED", random.SystemRandom().getrandbits(32)))
        self.random = random.Random(self.seed)
        self.socket = self.folder / "s"

    def make(self, kind="dynamic", sector=512, size=24 * MIB, block="1M"):
        """A disk, and its content as bytes."""
        path = self.folder / "disk.vhdx"
        options = ["--size", size, "--block-size", block, "--logical-sector", sector]
        content = bytearray(size)
        if kind == "differencing":
            parent = self.folder / "parent.vhdx"
            self.created("create", parent, *options)
            content[MIB:5 * MIB] = self.random.randbytes(4 * MIB)
            with Export(parent, self.folder / "p") as export:
                handle = export.connect()
                handle.pwrite(bytes(content[MIB:5 * MIB]), MIB)
                handle.shutdown()
            self.created("create", path, "--parent", parent, "--block-size", block)
        else:
            self.created("create", path, *options, *(["--fixed"] if kind == "fixed" else []))
        return path, content

    def created(self, *words):
        outcome = support.run(*words)
        self.assertEqual(outcome.code, 0, outcome)

    def assert_content(self, disk, content, readers=("ours", "qemu")):
        """By our reader of files, which is not the writer, and by QEMU where it knows the disk."""
        raw = self.folder / "content.raw"
        raw.write_bytes(content)
        checked = support.run("check", disk)
        self.assertEqual(checked.code, 0, checked)
        same = support.run("compare", raw, disk, "--format-a", "raw", "--format-b", "vhdx")
        self.assertEqual(same.code, 0, same)
        if "qemu" in readers:
            support.tool("qemu-img", "check", "-q", "-f", "vhdx", disk)
            support.tool("qemu-img", "compare", "-q", "-f", "raw", "-F", "vhdx", raw, disk)

    def readers(self, kind, sector):
        """QEMU knows no parents, and no sectors of 4096 bytes."""
        return ("ours", "qemu") if kind != "differencing" and sector == 512 else ("ours",)

    def assert_log_empty(self, disk, empty=True):
        """By the LogGuid of the current header, [MS-VHDX] 2.2.2."""
        with open(disk, "rb") as file:
            headers = file.read(192 << 10)
        sequence, guid = max((int.from_bytes(headers[at + 8:at + 16], "little"),
                              headers[at + 48:at + 64]) for at in (64 << 10, 128 << 10))
        self.assertEqual(guid == bytes(16), empty, f"header {sequence}")

    # --- what clients see -----------------------------------------------------------------------
    def test_says_what_it_is(self):
        for kind, sector in KINDS:
            with self.subTest(kind=kind, sector=sector, seed=self.seed):
                disk, content = self.make(kind, sector)
                with Export(disk, self.socket) as export:
                    self.assertEqual(export.first["virtual_bytes"], len(content))
                    info = json.loads(support.tool("nbdinfo", "--json", export.uri))["exports"][0]
                    self.assertEqual(info["export-size"], len(content))
                    for what in ("can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero",
                                 "can_fast_zero"):
                        self.assertTrue(info[what], what)
                    self.assertFalse(info["is_read_only"])
                    self.assertEqual(info["block_size_minimum"], sector)
                    self.assertEqual(self.socket.stat().st_mode & 0o777, 0o600)
                self.assertFalse(self.socket.exists())
                for file in self.folder.glob("*.vhdx"):
                    file.unlink()

    def test_random_operations_of_two_connections(self):
        for kind, sector in KINDS:
            with self.subTest(kind=kind, sector=sector, seed=self.seed):
                disk, content = self.make(kind, sector)
                with Export(disk, self.socket) as export:
                    handles = [export.connect(), export.connect()]
                    for _ in range(400):
                        self.one_operation(self.random.choice(handles), content, sector)
                    self.assertEqual(handles[0].pread(len(content), 0), bytes(content))
                    for handle in handles:
                        handle.shutdown()
                    self.assertEqual(export.stop().code, 130)
                self.assert_log_empty(disk)
                self.assert_content(disk, content, self.readers(kind, sector))
                for file in self.folder.glob("*.vhdx"):
                    file.unlink()

    def one_operation(self, handle, content, sector):
        size = len(content)
        length = self.random.choice((1, 2, 8, 16, 256, 2048, 4096)) * sector
        offset = self.random.randrange(size // sector) * sector
        length = min(length, size - offset)
        if self.random.random() < 0.1:  # whole blocks
            offset, length = offset // MIB * MIB, MIB
        what = self.random.random()
        flags = nbd.CMD_FLAG_FUA if self.random.random() < 0.1 else 0
        if what < 0.5:
            data = self.random.randbytes(length)
            handle.pwrite(data, offset, flags)
            content[offset:offset + length] = data
        elif what < 0.65:
            hole = nbd.CMD_FLAG_NO_HOLE if self.random.random() < 0.5 else 0
            handle.zero(length, offset, flags | hole)
            content[offset:offset + length] = bytes(length)
        elif what < 0.8:
            handle.trim(length, offset, flags)
            now = handle.pread(length, offset)
            # Sector by sector what it was, or zero; and stable from here on.
            for at in range(0, length, sector):
                before = content[offset + at:offset + at + sector]
                self.assertIn(now[at:at + sector], (bytes(before), bytes(sector)))
            content[offset:offset + length] = now
        elif what < 0.95:
            self.assertEqual(handle.pread(length, offset), bytes(content[offset:offset + length]))
        else:
            handle.flush()

    def test_extents_are_what_was_written_zeroed_and_trimmed(self):
        disk, _ = self.make()
        with Export(disk, self.socket) as export:
            handle = export.connect()
            self.assertEqual(extents_of(handle, 0, 24 * MIB), [(24 * MIB, HOLE)])
            handle.pwrite(b"x" * 4 * MIB, 2 * MIB)
            self.assertEqual(extents_of(handle, 0, 24 * MIB),
                             [(2 * MIB, HOLE), (4 * MIB, DATA), (18 * MIB, HOLE)])
            handle.trim(MIB, 3 * MIB)
            handle.zero(MIB, 5 * MIB)
            self.assertEqual(extents_of(handle, 0, 24 * MIB),
                             [(2 * MIB, HOLE), (MIB, DATA), (MIB, HOLE), (MIB, DATA),
                              (19 * MIB, HOLE)])
            handle.zero(MIB, 5 * MIB, nbd.CMD_FLAG_NO_HOLE)
            self.assertEqual(extents_of(handle, 4 * MIB, 4 * MIB), [(2 * MIB, DATA), (2 * MIB, HOLE)])
            self.assertEqual(extents_of(handle, 4 * MIB + 512, MIB), [(MIB, DATA)])
            mapped = support.tool("nbdinfo", "--map", "--totals", export.uri)
            self.assertIn("hole,zero", mapped)

    def test_a_child_shows_where_it_and_its_parent_hold_data(self):
        disk, _ = self.make("differencing")
        with Export(disk, self.socket) as export:
            handle = export.connect()
            self.assertEqual(extents_of(handle, 0, 24 * MIB),
                             [(MIB, HOLE), (4 * MIB, DATA), (19 * MIB, HOLE)])
            handle.trim(MIB, MIB)
            handle.pwrite(b"y" * 512, 8 * MIB + 1024)
            self.assertEqual(extents_of(handle, 0, 24 * MIB),
                             [(2 * MIB, HOLE), (3 * MIB, DATA), (3 * MIB + 1024, HOLE),
                              (512, DATA), (16 * MIB - 1536, HOLE)])
            self.assertEqual(handle.pread(MIB, MIB), bytes(MIB))

    def test_fast_zero_is_refused_where_it_is_slow(self):
        disk, _ = self.make("fixed")
        with Export(disk, self.socket) as export:
            with self.assertRaises(nbd.Error) as refused:
                export.connect().zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
            self.assertIn(refused.exception.errnum, (errno.EOPNOTSUPP, errno.ENOTSUP))
        disk.unlink()
        disk, _ = self.make("dynamic")
        with Export(disk, self.socket) as export:
            export.connect().zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)

    def test_parts_of_a_sector_are_read_and_never_written(self):
        disk, _ = self.make(sector=4096)
        with Export(disk, self.socket) as export:
            handle = export.connect(strict=False)
            handle.pwrite(b"z" * 4096, 0)
            self.assertEqual(handle.pread(10, 4090), b"z" * 6 + bytes(4))
            with self.assertRaises(nbd.Error) as refused:
                handle.pwrite(b"a" * 512, 0)
            self.assertEqual(refused.exception.errnum, errno.EINVAL)
            self.assertEqual(handle.pread(4096, 0), b"z" * 4096)

    def test_other_clients_copy_in_and_out(self):
        disk, content = self.make()
        content[3 * MIB:9 * MIB] = self.random.randbytes(6 * MIB)
        raw, back = self.folder / "in.raw", self.folder / "out.raw"
        raw.write_bytes(content)
        with Export(disk, self.socket) as export:
            support.tool("nbdcopy", "--flush", raw, export.uri)
            support.tool("nbdcopy", export.uri, back)
            self.assertEqual(back.read_bytes(), bytes(content))
            support.tool("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, export.uri)
            support.tool("qemu-io", "-f", "raw", "-c", "write -P 0x5a 12M 2M", "-c", "flush", "-c",
                         "write -z -u 13M 1M", "-c", "discard 4M 1M", "-c", "read -P 0x5a 12M 1M",
                         "-c", "read -P 0 13M 1M", export.uri)
            content[12 * MIB:13 * MIB] = b"\x5a" * MIB
            content[4 * MIB:5 * MIB] = bytes(MIB)
            # What nbdsh is, with the Python that has the module.
            support.tool(sys.executable, "-m", "nbd", "--uri", export.uri, "-c",
                         "h.pwrite(b'sh' * 256, 20 << 20)")
            content[20 * MIB:20 * MIB + 512] = b"sh" * 256
        self.assert_content(disk, content)

    def test_fio_verifies_what_it_wrote(self):
        for kind in ("dynamic", "fixed"):
            with self.subTest(kind=kind):
                disk, _ = self.make(kind, size=32 * MIB)
                with Export(disk, self.socket) as export:
                    support.tool("fio", "--name=a", "--ioengine=nbd", f"--uri={export.uri}",
                                 "--rw=randwrite", "--bs=4k", "--size=32M", "--iodepth=16",
                                 "--verify=crc32c", "--verify_state_save=0", "--fsync=64",
                                 "--output-format=terse")
                checked = support.run("check", disk)
                self.assertEqual(checked.code, 0, checked)
                support.tool("qemu-img", "check", "-q", disk)
                disk.unlink()

    # --- crashes --------------------------------------------------------------------------------
    def replayed_by_qemu(self, disk):
        """The content by QEMU, which replays the log of a copy when it opens that for writing."""
        copy, raw = self.folder / "copy.vhdx", self.folder / "copy.raw"
        shutil.copyfile(disk, copy)
        support.tool("qemu-io", "-f", "vhdx", "-c", "read 0 512", copy)
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", copy)
        support.tool("qemu-img", "convert", "-f", "vhdx", "-O", "raw", copy, raw)
        return raw.read_bytes()

    def replayed_by_us(self, disk):
        raw = self.folder / "ours.raw"
        raw.unlink(missing_ok=True)
        outcome = support.run("export", disk, raw, "--progress", "none")
        self.assertEqual(outcome.code, 0, outcome)
        return raw.read_bytes()

    def test_a_flush_of_one_connection_covers_another(self):
        disk, content = self.make()
        with Export(disk, self.socket) as export:
            writer, flusher = export.connect(), export.connect()
            data = self.random.randbytes(3 * MIB)
            writer.pwrite(data, 5 * MIB)
            content[5 * MIB:8 * MIB] = data
            flusher.flush()
            killed = export.kill_server()
            self.assertEqual(killed.code, 1, killed)
            self.assertIn("by signal 9", killed.of_type("error")[0]["message"])
        self.assertEqual(self.replayed_by_qemu(disk), bytes(content))
        self.assertEqual(self.replayed_by_us(disk), bytes(content))

    def test_fua_is_there_after_a_kill(self):
        disk, content = self.make()
        with Export(disk, self.socket) as export:
            handle = export.connect()
            for block in (1, 9, 17):
                data = self.random.randbytes(8192)
                handle.pwrite(data, block * MIB + 4096, nbd.CMD_FLAG_FUA)
                content[block * MIB + 4096:block * MIB + 12288] = data
            export.kill_server()
        self.assert_log_empty(disk, empty=False)
        self.assertEqual(self.replayed_by_qemu(disk), bytes(content))
        self.assertEqual(self.replayed_by_us(disk), bytes(content))

    def test_killed_in_the_middle_of_writes_keeps_all_that_was_flushed(self):
        disk, content = self.make()
        allowed = {}  # sector -> what it may hold, after what content says is durable
        for _ in range(6):
            with self.subTest(seed=self.seed), Export(disk, self.socket) as export:
                handle = export.connect()
                for number in range(self.random.randrange(20, 120)):
                    sector = self.random.randrange(len(content) // 4096)
                    data = self.random.randbytes(4096)
                    handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), sector * 4096)
                    allowed.setdefault(sector, []).append(data)
                    if number % 30 == 29:
                        while handle.aio_in_flight():
                            handle.poll(-1)
                        # Written at once, either of two may have ended last.
                        handle.flush()
                        for one, values in allowed.items():
                            now = handle.pread(4096, one * 4096)
                            self.assertIn(now, values)
                            content[one * 4096:(one + 1) * 4096] = now
                        allowed = {}
                export.kill_server()
                del handle
            # We replay it, the next round writes on; QEMU sees the same in a copy.
            ours = self.replayed_by_us(disk)
            self.assertEqual(self.replayed_by_qemu(disk), ours)
            for sector in range(len(content) // 4096):
                begin, end = sector * 4096, (sector + 1) * 4096
                if ours[begin:end] != bytes(content[begin:end]):
                    # A killed process loses nothing of a page that the kernel has, but a write may
                    # have been cut at any sector.
                    values = [bytes(content[begin:end]), *allowed.get(sector, [])]
                    for at in range(0, 4096, 512):
                        self.assertIn(ours[begin + at:begin + at + 512],
                                      [one[at:at + 512] for one in values])
                    content[begin:end] = ours[begin:end]
            allowed = {}

    def test_nbdkit_ends_cleanly_when_serve_is_killed(self):
        disk, content = self.make()
        with Export(disk, self.socket) as export:
            handle = export.connect()
            handle.pwrite(b"k" * MIB, 0)
            content[:MIB] = b"k" * MIB
            export.process.kill()
            wait_for_end(export.server_pid)
            export.wait()
        self.assert_log_empty(disk)
        self.assert_content(disk, content)
        # The socket that was left is dead, and does not stop the next one.
        self.assertTrue(self.socket.exists())
        with Export(disk, self.socket) as export:
            self.assertEqual(export.connect().pread(MIB, 0), b"k" * MIB)

    def test_ends_by_signals(self):
        disk, _ = self.make()
        for number, code in ((signal.SIGTERM, 130), (signal.SIGINT, 130)):
            with Export(disk, self.socket) as export:
                handle = export.connect()
                handle.pwrite(b"1" * 512, 0)
                ended = export.stop(number)
            self.assertEqual(ended.code, code, ended)
            self.assertIn("is closed", ended.of_type("error")[0]["message"])
            self.assert_log_empty(disk)
        with Export(disk, self.socket) as export:
            os.kill(export.server_pid, signal.SIGTERM)
            self.assertEqual(export.wait().code, 0)
        self.assertFalse(self.socket.exists())

    # --- who may, and who may not ---------------------------------------------------------------
    def test_read_only(self):
        disk, _ = self.make()
        with Export(disk, self.socket) as export:
            export.connect().pwrite(b"r" * MIB, MIB)
        before = support.digest_of_file(disk)
        with Export(disk, self.socket, "--read-only") as export, \
                Export(disk, self.folder / "s2", "--read-only") as second:
            self.assertTrue(export.first["read_only"])
            handle = export.connect(strict=False)
            self.assertTrue(handle.is_read_only())
            for refused in (lambda: handle.pwrite(b"x" * 512, 0), lambda: handle.zero(512, 0),
                            lambda: handle.trim(512, 0)):
                with self.assertRaises(nbd.Error) as error:
                    refused()
                self.assertEqual(error.exception.errnum, errno.EPERM)
            self.assertEqual(handle.pread(MIB, MIB), b"r" * MIB)
            self.assertEqual(extents_of(second.connect(), 0, 3 * MIB),
                             [(MIB, HOLE), (MIB, DATA), (MIB, HOLE)])
            self.refused("uses it", disk)
            qemu = subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write 0 512", str(disk)],
                                  capture_output=True, check=False)
            self.assertIn(b"lock", qemu.stderr + qemu.stdout)
        self.assertEqual(support.digest_of_file(disk), before)

    def refused(self, words, disk, *options, path=None, code=1):
        ended = support.run("serve", disk, "--socket", path or self.folder / "refused", "--json",
                            *options)
        self.assertEqual(ended.code, code, ended)
        error = ended.of_type("error")[0]
        self.assertIn(words, error["message"] + " " + error["advice"])
        self.assertFalse((self.folder / "refused").exists())
        self.assertFalse((self.folder / "refused~").exists())

    def test_a_disk_in_use_is_refused_both_ways(self):
        disk, _ = self.make()
        with Export(disk, self.socket) as export:
            self.refused("open for writing", disk)
            self.refused("open for writing", disk, "--read-only")
            qemu = subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write 0 512", str(disk)],
                                  capture_output=True, check=False)
            self.assertIn(b"lock", qemu.stderr + qemu.stdout)
            export.connect().pwrite(b"o" * 512, 0)
        writer = subprocess.Popen(["qemu-io", "-f", "vhdx", str(disk)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            writer.stdin.write(b"read 0 512\n")
            writer.stdin.flush()
            while b"read 512" not in writer.stdout.readline():
                pass
            self.refused("open for writing", disk)
            self.refused("open for writing", disk, "--read-only")
        finally:
            writer.communicate(b"quit\n", timeout=support.PATIENCE_SECONDS)

    def test_send_refuses_a_disk_that_is_served(self):
        disk = self.make_disk(megabytes=2)
        with self.receiver() as receiver:
            with Export(disk, self.socket):
                outcome = self.send(disk, receiver)
                self.assertEqual(outcome.code, 1, outcome)
                self.assertIn("vhdx-migrate serve", outcome.of_type("error")[0]["message"])
            with Export(disk, self.socket, "--read-only"):
                outcome = self.send(disk, receiver)
                self.assertEqual(outcome.code, 0, outcome)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_send_notices_what_is_written_by_serve_meanwhile(self):
        disk = self.make_disk()
        with self.receiver() as receiver:
            process = subprocess.Popen(
                [support.BINARY, "send", str(disk), receiver.address, "--key-file",
                 str(self.key_file), "--json", "--limit", "10M"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.environment())
            for line in process.stdout:
                if json.loads(line).get("phase") == "copying":
                    break
            with Export(disk, self.socket) as export:
                export.connect().pwrite(b"m" * 4096, 2 * MIB)
            out, err = process.communicate(timeout=support.PATIENCE_SECONDS)
            self.assertEqual(process.returncode, 1, err.decode())
            self.assertIn("changed", json.loads(out.decode().splitlines()[-1])["message"])
        self.assertEqual(self.names(), ["disk.vhdx.partial"])

    def test_what_cannot_be_served_is_said_before_there_is_a_socket(self):
        disk, _ = self.make()
        self.refused("No such file", self.folder / "none.vhdx")
        released = self.folder / "web.vhdx.released"
        shutil.copyfile(disk, released)
        self.refused("released", released)
        broken = self.folder / "broken.vhdx"
        shutil.copyfile(disk, broken)
        with Export(broken, self.socket) as export:
            export.connect().pwrite(b"b" * 2 * MIB, 0)
        with open(broken, "r+b") as file:  # two blocks at one place
            data = file.read(4 * MIB)
            region = data.index(b"regi")
            guid = bytes.fromhex("6677c22d23f600429d64115e9bfd4a08")
            entry = data.index(guid, region)
            bat = int.from_bytes(data[entry + 16:entry + 24], "little")
            file.seek(bat)
            first = file.read(8)
            file.write(first)
        before = support.digest_of_file(broken)
        self.refused("another object stands in the block's place", broken, code=6)
        self.refused("stands there already", broken, "--read-only", code=6)
        self.assertEqual(support.digest_of_file(broken), before)

    def test_socket_paths(self):
        disk, _ = self.make()
        file = self.folder / "file"
        file.write_text("mine")
        self.refused("is no socket", disk, path=file)
        self.assertEqual(file.read_text(), "mine")
        self.refused("too long", disk, path=self.folder / ("n" * 120), code=2)
        missing = support.run("serve", disk, "--json")
        self.assertEqual(missing.code, 2, missing)
        live = self.folder / "live"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(live))
            server.listen()
            self.refused("another server", disk, path=live)
            server.setblocking(False)
            with self.assertRaises(BlockingIOError):  # the question was not seen as a client
                server.accept()
        with Export(disk, live):  # nobody listens there any more
            pass
        self.assertFalse(live.exists())

    def test_without_nbdkit_it_names_the_package(self):
        disk, _ = self.make()
        ended = subprocess.run([support.BINARY, "serve", str(disk), "--socket", str(self.socket)],
                               env={**support.environment(), "PATH": str(self.folder)},
                               capture_output=True, check=False)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(b"apt-get install nbdkit", ended.stderr)

    def test_an_installed_one_finds_its_plugin(self):
        build = os.environ.get("VHDX_MIGRATE_BUILD")
        if build is None:
            self.skipTest("VHDX_MIGRATE_BUILD names no build tree to install from")
        prefix = self.folder / "prefix"
        support.tool("cmake", "--install", build, "--prefix", prefix, "--component", "runtime")
        disk, _ = self.make()
        process = subprocess.Popen([prefix / "bin" / "vhdx-migrate", "serve", disk, "--socket",
                                    self.socket], env=support.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertIn(b"Serving", process.stdout.readline())
        loaded = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        maps = pathlib.Path(f"/proc/{loaded.split()[0]}/maps").read_text()
        self.assertIn(f"{prefix}/lib", maps)
        process.terminate()
        process.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 130)

    def test_the_environment_names_the_socket(self):
        disk, _ = self.make()
        os.environ["VHDX_MIGRATE_SOCKET"] = str(self.socket)
        try:
            process = subprocess.Popen([support.BINARY, "serve", str(disk)], env=dict(os.environ),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        finally:
            del os.environ["VHDX_MIGRATE_SOCKET"]
        line = process.stdout.readline().decode()
        self.assertEqual(line, f"Serving {disk} (24 MiB) at nbd+unix:///?socket={self.socket}\n")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 130)
        self.assertIn(f"stopped; {disk} is closed", err.decode())


if __name__ == "__main__":
    support.main()
