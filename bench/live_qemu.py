"""QEMU's own way to move a disk in use: blockdev-mirror from one qemu-storage-daemon to another's NBD export."""

import json
import signal
import socket
import subprocess
import time

START_SECONDS_MAX = 30


class Daemon:
    """A qemu-storage-daemon that exports a raw file at a Unix socket, and its QMP."""

    def __init__(self, folder, name, disk):
        self.socket = folder / f"{name}.nbd"
        self.qmp_path = folder / f"{name}.qmp"
        self.disk = disk
        self.process = None
        self.qmp = None

    def start(self):
        for path in (self.socket, self.qmp_path):
            path.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={self.disk}",
             "--blockdev", "driver=raw,node-name=disk,file=file",
             "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
             "--export", "type=nbd,id=export,node-name=disk,name=disk,writable=on",
             "--chardev", f"socket,path={self.qmp_path},server=on,wait=off,id=qmp",
             "--monitor", "chardev=qmp"], stdin=subprocess.DEVNULL)
        begin = time.monotonic()
        while not (self.qmp_path.exists() and self.socket.exists()):
            if self.process.poll() is not None or time.monotonic() - begin > START_SECONDS_MAX:
                raise SystemExit("live.py: qemu-storage-daemon did not start")
            time.sleep(0.01)
        self.qmp = Qmp(self.qmp_path)

    def stop(self):
        if self.process is None:
            return
        if self.qmp is not None:
            self.qmp.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process = self.qmp = None

    def begin_mirror(self, to, copy_mode):
        self.qmp.ask("blockdev-add", {"driver": "nbd", "node-name": "target", "export": "disk",
                                      "server": {"type": "unix", "path": str(to.socket)}})
        self.qmp.ask("blockdev-mirror", {"job-id": "move", "device": "disk", "target": "target",
                                         "sync": "full", "copy-mode": copy_mode})

    def wait_until_ready(self, seconds):
        """False: it did not catch up with the writer in so long."""
        return self.qmp.wait_for("BLOCK_JOB_READY", seconds) is not None

    def complete(self):
        self.qmp.ask("block-job-complete", {"device": "move"})
        done = self.qmp.wait_for("BLOCK_JOB_COMPLETED", 60)
        if done is None or "error" in done["data"]:
            raise SystemExit(f"live.py: the mirror came to nothing: {done}")


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("r")
        self.events = []
        json.loads(self.file.readline())
        self.ask("qmp_capabilities", {})

    def ask(self, command, arguments):
        words = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(words).encode() + b"\n")
        while True:
            answer = json.loads(self.file.readline())
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise SystemExit(f"live.py: QEMU refuses {command}: {answer['error']}")
            elif "return" in answer:
                return answer["return"]
            # Else it greets again: it does where a client came before the monitor was ready.

    def wait_for(self, event, seconds):
        """The event, or None if it does not come in so long."""
        until = time.monotonic() + seconds
        while True:
            for one in self.events:
                if one["event"] == event:
                    self.events.clear()
                    return one
            self.events.clear()
            left = until - time.monotonic()
            if left <= 0:
                return None
            # A line that has begun is read to its end: QEMU writes whole ones.
            self.socket.settimeout(left)
            try:
                self.events.append(json.loads(self.file.readline()))
            except TimeoutError:
                # The reader takes no more after a time-out.
                self.file = self.socket.makefile("r")
            finally:
                self.socket.settimeout(None)

    def close(self):
        self.file.close()
        self.socket.close()
