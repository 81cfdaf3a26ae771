"""`vhdx-migrated`: disks that outlive it, its control API, and who tries to break that."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import threading

import nbd

import support
from nbd_export import wait_for_end
from service import Service

MIB = 1 << 20


class NumberingWriter(threading.Thread):
    """A guest: numbers sectors, flushes now and then, and remembers what was acknowledged."""

    def __init__(self, path, sectors, seed):
        super().__init__()
        self.handle = nbd.NBD()
        self.handle.connect_unix(str(path))
        self.sectors = sectors
        self.random = random.Random(seed)
        self.acknowledged = {}
        self.count = 0
        self.wanted = threading.Event()
        self.done = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.done.is_set():
                sector = self.random.randrange(self.sectors)
                self.count += 1
                self.handle.pwrite(self.count.to_bytes(8, "little") * 512, sector * 4096)
                self.acknowledged[sector] = self.count
                if self.count % 64 == 0:
                    self.handle.flush()
                    self.wanted.set()
        except nbd.Error as error:
            self.failure = error
            self.wanted.set()

    def write_more(self):
        """Returns when at least one more round of writes was flushed."""
        self.wanted.clear()
        assert self.wanted.wait(support.PATIENCE_SECONDS)

    def finish(self):
        self.done.set()
        self.join()
        if self.failure:
            raise self.failure
        for sector, number in self.acknowledged.items():
            got = self.handle.pread(4096, sector * 4096)
            assert got == number.to_bytes(8, "little") * 512, (sector, number, got[:8])
        self.handle.flush()
        self.handle.shutdown()


class ServiceTest(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("VHDXM_TEST_SEED", random.SystemRandom().getrandbits(32)))

    def service(self, *options):
        return Service(self.folder / "service", *options)

    def disk(self, name="disk.vhdx", size=64 * MIB):
        path = self.folder / name
        outcome = support.run("create", path, "--size", size, "--block-size", "1M")
        self.assertEqual(outcome.code, 0, outcome)
        return path

    def added(self, service, name, path, *options):
        outcome = service.command("disk", "add", name, path, *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome.of_type("disk_added")[0]

    def refused(self, outcome, code, *words):
        self.assertEqual(outcome.code, code, outcome)
        error = outcome.of_type("error")[0]
        for word in words:
            self.assertIn(word, error["message"])
        self.assertTrue(error["advice"], error)
        return error

    # --- disks ----------------------------------------------------------------------------------
    def test_a_guest_does_not_notice_that_the_service_is_killed(self):
        print(f"seed {self.seed}")
        path = self.disk()
        with self.service() as service:
            disk = self.added(service, "web01", path)
            writer = NumberingWriter(disk["socket"], 64 * MIB // 4096, self.seed)
            writer.start()
            for _ in range(3):
                writer.write_more()
                service.kill()
                writer.write_more()
                service.start()
                status, now = service.ask("GET", "/v1/disks/web01")
                self.assertEqual(status, 200)
                if now["state"] != "exported":  # it is found while the service is up
                    writer.write_more()
                    outcome = service.command("disk", "add", "web01", path)
                    self.refused(outcome, 1, "web01")
                writer.write_more()
            writer.finish()
            self.wait_until_exported(service, "web01")
            _, now = service.ask("GET", "/v1/disks/web01")
            self.assertEqual(now["mover_pid"], disk["mover_pid"])
            self.assertTrue(now["adopted"])
            outcome = service.command("disk", "remove", "web01")
            self.assertEqual(outcome.code, 0, outcome)
            wait_for_end(disk["mover_pid"])
        raw = self.folder / "raw"
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", path)
        support.tool("qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
        with open(raw, "rb") as file:
            for sector, number in writer.acknowledged.items():
                file.seek(sector * 4096)
                self.assertEqual(file.read(8), number.to_bytes(8, "little"), sector)

    def wait_until_exported(self, service, name):
        """A disk that is asked for is answered for when its mover was found."""
        while service.ask("GET", f"/v1/disks/{name}?settled=true")[1]["state"] != "exported":
            pass

    def test_sigterm_ends_the_service_and_not_its_movers(self):
        path = self.disk()
        with self.service() as service:
            disk = self.added(service, "web01", path)
            handle = nbd.NBD()
            handle.connect_unix(disk["socket"])
            handle.pwrite(b"x" * 4096, 0)
            self.assertEqual(service.stop(), 0)
            self.assertFalse(service.control.exists())
            handle.pwrite(b"y" * 4096, 4096)
            service.start()
            self.assertEqual(handle.pread(8192, 0), b"x" * 4096 + b"y" * 4096)
            handle.shutdown()

    def test_a_mover_that_was_killed_is_started_again(self):
        path = self.disk()
        with self.service() as service:
            disk = self.added(service, "web01", path)
            handle = nbd.NBD()
            handle.connect_unix(disk["socket"])
            handle.pwrite(b"z" * 4096, 0, nbd.CMD_FLAG_FUA)
            os.kill(disk["mover_pid"], signal.SIGKILL)
            wait_for_end(disk["mover_pid"])
            now = disk
            while now["state"] != "exported" or now["mover_pid"] == disk["mover_pid"]:
                _, now = service.ask("GET", "/v1/disks/web01?settled=true")
            again = nbd.NBD()
            again.connect_unix(now["socket"])
            self.assertEqual(again.pread(4096, 0), b"z" * 4096)
            again.shutdown()

    def test_a_disk_in_use_is_not_removed_unless_forced(self):
        path = self.disk()
        with self.service() as service:
            disk = self.added(service, "web01", path)
            handle = nbd.NBD()
            handle.connect_unix(disk["socket"])
            handle.pwrite(b"q" * 4096, 0)
            self.refused(service.command("disk", "remove", "web01"), 5, "web01", "1 client")
            self.assertEqual(handle.pread(4096, 0), b"q" * 4096)
            listed = service.command("disk", "list").of_type("disk")
            self.assertEqual([(one["name"], one["clients"]) for one in listed], [("web01", 1)])
            outcome = service.command("disk", "remove", "web01", "--force")
            self.assertEqual(outcome.code, 0, outcome)
            wait_for_end(disk["mover_pid"])
            with self.assertRaises(nbd.Error):
                handle.pread(4096, 0)
        self.assertEqual(support.run("check", path).code, 0)
        with self.service() as service:
            self.assertEqual(service.ask("GET", "/v1/disks")[1], {"disks": []})

    def test_what_cannot_be_exported_is_refused_by_name(self):
        path = self.disk()
        with self.service() as service:
            self.added(service, "web01", path)
            self.refused(service.command("disk", "add", "web02", path), 1, str(path), "web01")
            self.refused(service.command("disk", "add", "web01", self.disk("b.vhdx")), 1, "web01")
            self.refused(service.command("disk", "add", "../x", path), 2, "../x")
            self.refused(service.command("disk", "add", "n" * 65, path), 2, "n" * 65)
            self.refused(service.command("disk", "add", "none", self.folder / "none.vhdx"), 1,
                         "none.vhdx")
            broken = self.folder / "broken.vhdx"
            broken.write_bytes(b"no disk" * 1000)
            self.refused(service.command("disk", "add", "broken", broken), 1, "broken.vhdx")
            self.refused(service.command("disk", "remove", "web09"), 2, "web09")
            self.assertEqual([one["name"] for one in service.ask("GET", "/v1/disks")[1]["disks"]],
                             ["web01"])
            self.assertEqual(sorted(os.listdir(service.state / "disks")), ["web01.json"])
        self.refused(support.run("disk", "list", "--control", self.folder / "no", "--json"), 1,
                     "no host service", str(self.folder / "no"))

    def test_read_only_leaves_the_file_alone(self):
        path = self.disk()
        before = support.digest_of_file(path)
        with self.service() as service:
            disk = self.added(service, "web01", path, "--read-only")
            handle = nbd.NBD()
            handle.connect_unix(disk["socket"])
            self.assertTrue(handle.is_read_only())
            handle.shutdown()
        self.assertEqual(support.digest_of_file(path), before)

    def test_two_services_do_not_share_a_state_folder(self):
        with self.service() as service:
            second = subprocess.run(
                [os.environ["VHDX_MIGRATED_BINARY"], "--state", service.state, "--run",
                 self.folder / "other"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=support.environment(), timeout=support.PATIENCE_SECONDS, check=False)
            self.assertEqual(second.returncode, 1)
            self.assertIn(str(service.state), second.stdout.decode())

    # --- the control API ------------------------------------------------------------------------
    def test_what_the_service_says_of_itself(self):
        with self.service() as service:
            self.assertEqual(service.text("/healthz"), "ok\n")
            _, host = service.ask("GET", "/v1/host")
            self.assertEqual(host["pid"], service.process.pid)
            self.assertEqual((host["incoming"], host["outgoing"]), (False, False))
            self.added(service, "web01", self.disk())
            self.assertIn('vhdx_migrate_disk_exported{disk="web01"} 1\n', service.text("/metrics"))
            self.assertEqual(service.control.stat().st_mode & 0o777, 0o660)
            by_curl = support.tool("curl", "-sS", "--unix-socket", service.control,
                                   "http://localhost/v1/disks/web01")
            self.assertIn('"state":"exported"', by_curl)

    def test_requests_that_are_wrong_are_named(self):
        with self.service() as service:
            for method, target, body, status, code in (
                    ("GET", "/v1/nothing", None, 404, "no_such_resource"),
                    ("GET", "/", None, 404, "no_such_resource"),
                    ("PUT", "/v1/disks", {}, 405, "no_such_method"),
                    ("GET", "/v1/disks?x=1", None, 400, "unknown_parameter"),
                    ("GET", "/v1/disks/../host", None, 400, "bad_request"),
                    ("GET", "/v1/disks/%zz", None, 400, "bad_request"),
                    ("GET", "/v1/disks/none", None, 404, "not_found"),
                    ("DELETE", "/v1/disks/none", None, 404, "not_found"),
                    ("POST", "/v1/disks", [], 400, "bad_request"),
                    ("POST", "/v1/disks", {"name": "a"}, 400, "bad_request"),
                    ("POST", "/v1/disks", {"name": 1, "path": "/x"}, 400, "bad_request"),
                    ("POST", "/v1/disks", {"name": "a", "path": "/x", "size": 1}, 400,
                     "bad_request"),
                    ("POST", "/v1/disks", {"name": "a", "path": "x"}, 400, "bad_request")):
                with self.subTest(method=method, target=target, body=body):
                    got, answer = service.ask(method, target, body)
                    self.assertEqual((got, answer["error"]["code"]), (status, code), answer)
                    self.assertTrue(answer["error"]["message"])
            self.assertEqual(service.ask("GET", "/v1/disks"), (200, {"disks": []}))

    def raw(self, service, *pieces):
        """What comes back, to the end of the connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(support.PATIENCE_SECONDS)
            connection.connect(str(service.control))
            got = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                while block := connection.recv(65536):
                    got += block
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has had enough
            return got

    def test_hostile_requests_cost_a_connection_and_no_more(self):
        with self.service() as service:
            post = b"POST /v1/disks HTTP/1.1\r\nHost: x\r\n"
            for name, pieces, status in (
                    ("garbage", [os.urandom(64) + b"\r\n\r\n"], b"400"),
                    ("header", [b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n"], b"431"),
                    ("announced", [post + b"Content-Length: 999999999999\r\n\r\n"], b"413"),
                    ("chunked", [post + b"Transfer-Encoding: chunked\r\n\r\n",
                                 *[b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 40], b"413"),
                    ("deep", [post + b"Connection: close\r\nContent-Length: 50000\r\n\r\n" +
                              b"[" * 50000], b"400"),
                    ("zeros", [post + b"Connection: close\r\nContent-Length: 9\r\n\r\n" +
                               bytes(9)], b"400")):
                with self.subTest(name):
                    got = self.raw(service, *pieces)
                    if got:  # a connection that is closed on its sender may lose the answer
                        self.assertIn(status, got.split(b"\r\n")[0], got[:200])
                    self.assertEqual(service.text("/healthz"), "ok\n")

    def test_slow_clients_are_let_go_and_hold_nobody_up(self):
        with self.service() as service:
            slow = []
            for _ in range(100):
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(service.control))
                connection.sendall(b"GET /healthz HT")
                slow.append(connection)
            self.assertEqual(service.text("/healthz"), "ok\n")
            for connection in slow:
                connection.settimeout(support.PATIENCE_SECONDS)
                self.assertEqual(connection.recv(100), b"")  # its patience is over
                connection.close()
            self.assertEqual(service.text("/healthz"), "ok\n")

    # --- settings -------------------------------------------------------------------------------
    def test_settings_that_are_wrong_name_file_line_and_key(self):
        config = self.folder / "host.toml"
        for text, words in (("incoming = true\nmax_migratoins = 3\n", ("host.toml:2", "max_migratoins")),
                            ("port = 70000\n", ("host.toml:1", "port")),
                            ("\n\nauth = \"none\"\n", ("host.toml:3", "auth")),
                            ("incoming = \n", ("host.toml:1",)),
                            ("[peers.a]\nadress = \"b\"\n", ("host.toml:2", "peers.a.adress")),
                            ("incoming = true\n", ("folder",))):
            with self.subTest(text):
                config.write_text(text)
                ended = subprocess.run(
                    [os.environ["VHDX_MIGRATED_BINARY"], "--config", config, "--state",
                     self.folder / "s", "--run", self.folder / "r"], stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, env=support.environment(),
                    timeout=support.PATIENCE_SECONDS, check=False)
                self.assertEqual(ended.returncode, 2, ended.stdout)
                for word in words:
                    self.assertIn(word, ended.stdout.decode())
                self.assertFalse((self.folder / "s").exists())


if __name__ == "__main__":
    support.main()
