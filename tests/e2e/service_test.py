"""`vhdx-migrated`: disks that outlive it, its control API, and who tries to break that."""

import fcntl
import json
import os
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
                self.wait_until_exported(service, "web01")
                writer.write_more()
            writer.finish()
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

    # --- what arrives ---------------------------------------------------------------------------
    def destination(self, *options, key="key"):
        self.key_file = self.folder / key
        return Service(self.folder / "there", "--incoming", "on", "--into", self.arrivals,
                       "--listen", "127.0.0.1:0", "--key-file", self.key_file, *options)

    def address(self, service):
        return service.ask("GET", "/v1/host")[1]["address"]

    def wait_for_job(self, service, job, *states):
        """The job when it is in one of these states; news are waited for."""
        revision = 0
        while True:
            status, now = service.ask("GET", f"/v1/jobs/{job}?after={revision}&wait=30")
            self.assertEqual(status, 200, now)
            if now["state"] in states:
                return now
            self.assertIn(now["state"], ("queued", "running"), now)
            revision = now["revision"]

    def test_send_to_the_service_is_a_job_that_it_tells_of(self):
        disk = self.make_disk()
        with self.destination() as there:
            outcome = support.run("send", disk, self.address(there), "--key-file", self.key_file)
            self.assertEqual(outcome.code, 0, outcome)
            jobs = there.command("list").of_type("job")
            self.assertEqual([(job["id"], job["kind"], job["disks"]) for job in jobs],
                             [("arrival-1", "arrival", ["disk.vhdx"])])
            self.assertEqual(self.wait_for_job(there, "arrival-1", "done")["exit"], 0)
            self.assertEqual(there.command("watch", "arrival-1").code, 0)
            self.refused(there.command("cancel", "arrival-1"), 1, "other host")
            self.assertIn('vhdx_migrate_arrivals_total{result="done"} 1\n', there.text("/metrics"))
            other = self.folder / "other.key"
            other.write_text("vhdx-migrate:" + "00" * 32 + "\n")
            outcome = support.run("send", disk, self.address(there), "--key-file", other)
            self.assertEqual(outcome.code, 4, outcome)
            self.assertEqual(len(there.command("list").of_type("job")), 1)
            self.assertIn("turned away", there.log_text())
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_receive_on_its_port_is_refused_by_name(self):
        with self.destination() as there:
            self.refused(there.command("receive", "--into", self.arrivals, "--key-file",
                                       self.key_file, "--listen", self.address(there)), 1,
                         "vhdx-migrated", self.address(there).rpartition(":")[2])

    def test_one_more_than_may_arrive_is_told_to_come_back(self):
        disk, second = self.make_disk(), self.make_disk("second.vhdx", seed=2)
        with self.destination("--max-arrivals", "1") as there, \
                self.service("--outgoing", "on", "--key-file", self.key_file) as here:
            job = self.moving(here, disk, there, "--limit", "1M")
            self.wait_for_arrival(there)
            self.refused(support.run("send", second, self.address(there), "--key-file",
                                     self.key_file, "--json"), 5, "1 jobs")
            here.command("cancel", job)
            self.wait_for_job(here, job, "cancelled")

    def wait_for_arrival(self, there):
        revision = 0
        while True:
            status, job = there.ask("GET", f"/v1/jobs/arrival-1?after={revision}&wait=30")
            if status == 200 and job["progress"].get("phase") == "copying":
                return
            revision = job.get("revision", 0)

    # --- what leaves ----------------------------------------------------------------------------
    def moving(self, here, disk, there, *options):
        """The job that moves a disk, which is registered by its file's name if it is not."""
        name = disk.stem
        if name not in [one["name"] for one in here.ask("GET", "/v1/disks")[1]["disks"]]:
            self.added(here, name, disk)
        outcome = here.command("move", name, "--to", self.address(there), "--detach", *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome.of_type("job")[0]["id"]

    def two_hosts(self, *options):
        there = self.destination()
        self.addCleanup(there.__exit__)
        here = self.service("--outgoing", "on", "--key-file", self.key_file, *options)
        self.addCleanup(here.__exit__)
        return here, there

    def assert_moved(self, here, there, disk, arrived=None):
        """One host owns it, and has what the other one had."""
        arrived = self.arrivals / (arrived or disk.name)
        self.assertFalse(disk.exists())
        for host, path in ((here, disk), (there, arrived)):
            for one in host.ask("GET", "/v1/disks")[1]["disks"]:
                if one["path"] == str(path):
                    host.ask("GET", f"/v1/disks/{one['name']}?settled=true")
                    outcome = host.command("disk", "remove", one["name"])
                    self.assertEqual(outcome.code, 0, f"{outcome}\n{host.log_text()}")
        released = disk.with_name(disk.name + ".released")
        self.assert_complete(released, arrived)
        outcome = support.run("serve", released, "--socket", self.folder / "s", "--json")
        self.refused(outcome, 1, "released")

    def test_a_disk_that_nobody_uses_moves_with_its_ownership(self):
        disk = self.make_disk()
        here, there = self.two_hosts()
        before = self.added(here, "web01", disk)
        words = ("move", disk, "--to", self.address(there), "--as", "w.vhdx", "--id", "m",
                 "--progress", "none")
        outcome = here.command(*words)
        self.assertEqual(outcome.code, 0, outcome)
        last = outcome.of_type("job")[-1]
        self.assertEqual((last["state"], last["disk"], last["path"]), ("done", "web01", str(disk)))
        self.assertEqual(last["ownership"], "disk.vhdx: the destination owns it.")
        # Nobody wrote: everything went over once, and no later pass had anything to send.
        passes = last["report"]["live"]["passes"]
        self.assertEqual([one["held"] for one in passes][-2:], [False, True], passes)
        self.assertEqual([one["sent_bytes"] for one in passes if one["sent_bytes"]], [64 * MIB])
        _, now = here.ask("GET", "/v1/disks/web01")
        self.assertEqual((now["state"], now["mover_pid"]), ("released", before["mover_pid"]))
        _, arrived = there.ask("GET", "/v1/disks/w?settled=true")
        self.assertEqual((arrived["state"], arrived["path"]),
                         ("exported", str(self.arrivals / "w.vhdx")))
        # It is that job whenever it is asked for; another one has nothing to move.
        outcome = here.command(*words)
        self.assertEqual((outcome.code, outcome.of_type("job")[-1]["state"]), (0, "done"), outcome)
        error = self.refused(here.command("move", "web01", "--to", self.address(there)), 1, "web01",
                             "another host")
        self.assertIn("does not own", error["ownership"])
        self.assert_moved(here, there, disk, "w.vhdx")

    def test_a_guest_that_comes_while_its_disk_moves_is_served(self):
        print(f"seed {self.seed}")
        disk = self.make_disk(megabytes=2)
        here, there = self.two_hosts()
        exported = self.added(here, "disk", disk)
        job = self.moving(here, disk, there, "--limit", "64K")
        self.wait_for_arrival(there)
        _, now = here.ask("GET", "/v1/disks/disk")
        self.assertEqual((now["state"], now["job"], now["clients"]), ("exported", job, 0))
        writer = NumberingWriter(exported["socket"], 64 * MIB // 4096, self.seed)
        writer.start()
        writer.write_more()
        outcome = here.command("cancel", job)
        self.assertEqual(outcome.code, 0, outcome)
        over = self.wait_for_job(here, job, "cancelled")
        self.assertEqual(over["ownership"], "disk.vhdx: the source owns it.")
        self.assertIn("cleanup disk.vhdx", over["advice"])
        writer.write_more()
        writer.finish()

    def test_a_job_goes_on_when_its_service_is_killed(self):
        disk = self.make_disk()
        here, there = self.two_hosts()
        job = self.moving(here, disk, there, "--limit", "8M", "--id", "j1")
        here.kill()
        with open(here.run / "jobs" / f"{job}.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until its process has ended
        here.start()
        self.assertEqual(self.wait_for_job(here, job, "done")["exit"], 0)
        self.assertEqual(here.command("watch", job).code, 0)
        self.assert_moved(here, there, disk)

    def test_a_job_that_runs_is_adopted_paused_and_resumed(self):
        disk = self.make_disk(megabytes=2)
        here, there = self.two_hosts()
        job = self.moving(here, disk, there, "--limit", "64K")
        self.wait_for_arrival(there)
        here.kill()
        here.start()
        _, now = here.ask("GET", f"/v1/jobs/{job}")
        self.assertEqual(now["state"], "running", now)
        self.assertEqual(here.ask("GET", "/v1/disks/disk")[1]["job"], job)
        self.refused(here.command("disk", "remove", "disk", "--force"), 5, "moved", job)
        self.assertEqual(here.command("pause", job).code, 0)
        self.wait_for_job(here, job, "paused")
        self.assertEqual(self.exported(here, "disk")["clients"], 0)
        self.refused(here.command("watch", job, "--progress", "none"), 5, "paused")
        self.assertEqual(here.command("resume", job).code, 0)
        self.assertEqual(here.command("cancel", job).code, 0)
        self.wait_for_job(here, job, "cancelled")
        self.refused(here.command("watch", job, "--progress", "none"), 7, "cancelled")
        self.refused(here.command("resume", job), 1, "cancelled")
        while here.command("cleanup", job).code != 0:  # it is on its way out
            self.assertEqual(here.ask("GET", f"/v1/jobs/{job}")[0], 200)
        self.assertEqual(here.ask("GET", f"/v1/jobs/{job}")[0], 404)
        self.assertEqual(os.listdir(here.state / "jobs"), [])

    def exported(self, service, name):
        while (disk := service.ask("GET", f"/v1/disks/{name}?settled=true")[1])["state"] != "exported":
            self.assertEqual(disk["state"], "starting", disk)
        return disk

    def test_a_job_whose_mover_was_killed_is_interrupted_and_resumes(self):
        disk = self.make_disk()
        here, there = self.two_hosts()
        job = self.moving(here, disk, there, "--limit", "8M")
        mover = here.ask("GET", "/v1/disks/disk")[1]["mover_pid"]
        os.kill(mover, signal.SIGKILL)
        now = self.wait_for_job(here, job, "interrupted")
        self.assertEqual(now["ownership"], "disk.vhdx: the source owns it.")
        while self.exported(here, "disk")["mover_pid"] == mover:
            pass
        self.assertEqual(here.command("resume", job).code, 0)
        self.wait_for_job(here, job, "done")
        self.assert_moved(here, there, disk)

    def test_ctrl_c_of_move_leaves_the_job_alone(self):
        disk = self.make_disk(megabytes=2)
        here, there = self.two_hosts()
        self.added(here, "disk", disk)
        command = subprocess.Popen(
            [support.BINARY, "move", "disk", "--to", self.address(there), "--control", here.control,
             "--limit", "64K", "--json", "--progress", "none"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.environment())
        job = json.loads(command.stdout.readline())["id"]
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(command.returncode, 130, err)
        self.assertIn("goes on", json.loads(out.splitlines()[-1])["message"])
        self.assertEqual(here.ask("GET", f"/v1/jobs/{job}")[1]["state"], "running")
        here.command("cancel", job)
        self.wait_for_job(here, job, "cancelled")

    def test_jobs_wait_for_room_and_are_one_by_their_id(self):
        disk, second = self.make_disk(megabytes=2), self.make_disk("second.vhdx", megabytes=2)
        here, there = self.two_hosts("--max-migrations", "1")
        self.moving(here, disk, there, "--limit", "64K", "--id", "a")
        self.moving(here, disk, there, "--limit", "64K", "--id", "a")
        self.refused(here.command("move", "disk", "--to", self.address(there), "--id", "a"), 2, "a")
        self.refused(here.command("move", "disk", "--to", self.address(there), "--id", "c"), 1, "a",
                     "running")
        self.moving(here, second, there, "--id", "b")
        states = {job["id"]: job["state"] for job in here.command("list").of_type("job")}
        self.assertEqual(states, {"a": "running", "b": "queued"})
        here.command("cancel", "a")
        self.wait_for_job(here, "b", "done")
        self.assert_moved(here, there, second)
        self.assertEqual(self.exported(here, "disk")["clients"], 0)

    def test_what_cannot_be_moved_is_refused_by_name(self):
        disk = self.make_disk(megabytes=1)
        here, there = self.two_hosts()
        to = ("--to", self.address(there))
        self.refused(here.command("move", "none", *to), 2, "none")
        self.refused(here.command("move", self.folder / "none.vhdx", *to), 1, "none.vhdx")
        # The way out is in the advice.
        error = self.refused(here.command("move", disk, *to), 3, str(disk), "not registered")
        self.assertIn(f"disk add NAME {disk}", error["advice"])
        self.assertIn(f"send {disk} HOST", error["advice"])
        self.added(here, "base", disk, "--read-only")
        error = self.refused(here.command("move", "base", *to), 3, "base", str(disk), "reading only")
        self.assertIn(f"send {disk} HOST", error["advice"])
        child = self.folder / "child.avhdx"
        outcome = support.run("create", child, "--parent", disk)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertTrue(self.added(here, "child", child)["differencing"])
        error = self.refused(here.command("move", "child", *to), 3, "child", "differencing")
        self.assertIn(f"send {child} HOST", error["advice"])
        self.assertIn("--flatten", error["advice"])
        self.assertEqual([job for job in here.command("list").of_type("job")], [])
        disk = self.make_disk("web01.vhdx", megabytes=1)
        self.added(here, "web01", disk)
        self.refused(here.command("move", "web01", "--to", "newhost:99999"), 2, "newhost:99999")
        self.refused(here.command("move", "web01"), 2, "--to")
        self.refused(here.command("move", "web01", *to, "--key-file", self.folder / "nokey"), 1,
                     "nokey")
        for member, value in (("flatten", True), ("live", True), ("verify", 1), ("after", "never")):
            status, answer = here.ask("POST", "/v1/jobs",
                                      {"disk": "web01", "to": to[1], member: value})
            self.assertEqual(status, 400)
            self.assertIn(member, answer["error"]["message"])
        self.refused(here.command("status", "none"), 2, "none")
        with socket.socket() as taken:  # bound, and not listened at
            taken.bind(("127.0.0.1", 0))
            outcome = here.command("move", "web01", "--to", f"127.0.0.1:{taken.getsockname()[1]}",
                                   "--progress", "none")
            error = self.refused(outcome, 5, "127.0.0.1")
            self.assertEqual(error["ownership"], "web01.vhdx: the source owns it.")
        self.assertEqual(self.exported(here, "web01")["clients"], 0)
        with Service(self.folder / "third") as third:
            self.refused(third.command("move", disk, "--to", "127.0.0.1"), 4, "outgoing")


if __name__ == "__main__":
    support.main()
