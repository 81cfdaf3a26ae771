"""A running `vhdx-migrated` with folders of its own, and its control API."""

import http.client
import json
import os
import pathlib
import select
import signal
import socket
import subprocess

import support

SERVICE = os.environ.get("VHDX_MIGRATED_BINARY", "vhdx-migrated")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=support.PATIENCE_SECONDS)
        self.unix_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix_path)


class Service:
    """Ends with the with-block, and its movers with it. Its log is a file: movers hold it, too.
    `prefix`: of its command, which becomes the service."""

    def __init__(self, folder, *options, prefix=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.run = self.folder / "run"
        self.state = self.folder / "state"
        self.control = self.run / "control.sock"
        self.log = self.folder / "log"
        self.options = options
        self.prefix = prefix
        self.process = None
        self.start()

    def start(self):
        """Until it is ready, by what it tells systemd."""
        notify = self.folder / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, \
                open(self.log, "ab") as log:
            ear.bind(str(notify))
            self.process = subprocess.Popen(
                [*self.prefix, SERVICE, "--state", self.state, "--run", self.run, *map(str, self.options)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**support.environment(), "NOTIFY_SOCKET": str(notify)})
            ended = os.pidfd_open(self.process.pid)
            try:
                readable, _, _ = select.select([ear, ended], [], [], support.PATIENCE_SECONDS)
            finally:
                os.close(ended)
            if ear not in readable:
                self.process.wait(support.PATIENCE_SECONDS)
                raise AssertionError(f"vhdx-migrated did not start: {self.log_text()}")
            assert ear.recv(100) == b"READY=1"

    def log_text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        """kill -9 of the service alone."""
        self.process.kill()
        self.process.wait(support.PATIENCE_SECONDS)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(support.PATIENCE_SECONDS)

    def ask(self, method, target, body=None):
        """Status and object of the answer."""
        connection = UnixConnection(self.control)
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text)
        finally:
            connection.close()

    def text(self, target):
        connection = UnixConnection(self.control)
        try:
            connection.request("GET", target)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def command(self, *words):
        return support.run(*words, "--control", self.control, "--json")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is not None:
            self.start()
        for job in self.ask("GET", "/v1/jobs")[1]["jobs"]:
            if job["kind"] == "move" and job["state"] in ("queued", "running"):
                self.ask("POST", f"/v1/jobs/{job['id']}/cancel")
                self.ask("GET", f"/v1/jobs/{job['id']}?after={1 << 60}&wait=60")
        for disk in self.ask("GET", "/v1/disks")[1]["disks"]:
            self.ask("DELETE", f"/v1/disks/{disk['name']}?force=true")
        self.stop()
