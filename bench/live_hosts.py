"""Two host services on one machine, a disk that moves between them, and the client that writes to it."""

import json
import pathlib
import subprocess
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
import service  # noqa: E402

PATIENCE_SECONDS = 240


class Hosts:
    """`programs`: the folder that vhdx-migrate and vhdx-migrated are in."""

    def __init__(self, folder, programs):
        self.tool = programs / "vhdx-migrate"
        service.SERVICE = str(programs / "vhdx-migrated")
        self.hosts = []
        for name in ("here", "there"):
            disks = folder / name / "disks"
            disks.mkdir(parents=True)
            host = service.Service(folder / name, "--incoming", "on", "--outgoing", "on", "--into", disks,
                                   "--listen", "127.0.0.1:0", "--key-file", folder / "key")
            host.disks = disks
            host.address = host.ask("GET", "/v1/host")[1]["address"]
            self.hosts.append(host)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.hosts:
            host.__exit__()

    def run(self, *words):
        done = subprocess.run([self.tool, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"live.py: {words[0]} failed: {done.stdout}{done.stderr}")

    def add_disk(self, raw):
        """Of the content of `raw`, at the first host."""
        path = self.hosts[0].disks / "disk.vhdx"
        self.run("import", raw, path, "--block-size", "1M", "--progress", "none")
        status, answer = self.hosts[0].ask("POST", "/v1/disks", {"name": "disk", "path": str(path)})
        if status != 201:
            raise SystemExit(f"live.py: the disk cannot be exported: {answer}")

    def socket(self, host):
        return host.run / "disks" / "disk.sock"

    def begin_move(self, source, target, **wishes):
        status, job = source.ask("POST", "/v1/jobs",
                                 {"to": target.address, "disk": "disk", **wishes})
        if status != 201:
            raise SystemExit(f"live.py: the move cannot begin: {job}")
        return job

    def wait_for(self, host, job, wanted):
        """The job, once `wanted(job)`."""
        while not wanted(job):
            if job["state"] not in ("queued", "running"):
                raise SystemExit(f"live.py: the move is {job['state']}: {job.get('message')}\n"
                                 f"{host.log_text()[-2000:]}")
            target = f"/v1/jobs/{job['id']}?after={job['revision']}&wait=30"
            job = host.ask("GET", target)[1]
        return job

    def wait_exported(self, host):
        begun = time.monotonic()
        while host.ask("GET", "/v1/disks/disk?settled=true")[1].get("state") != "exported":
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise SystemExit(f"live.py: the disk is not exported\n{host.log_text()[-2000:]}")
            time.sleep(0.001)

    def give_up(self, source, target, job):
        """Cancels a move and takes away what came of it."""
        source.ask("POST", f"/v1/jobs/{job['id']}/cancel")
        while job["state"] in ("queued", "running"):
            job = source.ask("GET", f"/v1/jobs/{job['id']}?after={job['revision']}&wait=30")[1]
        begun = time.monotonic()
        while target.ask("DELETE", "/v1/jobs/disk.vhdx")[0] != 200:
            # Its end there follows that here.
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise SystemExit("live.py: what came of a cancelled move cannot be removed")
            time.sleep(0.01)

    def check(self):
        """That the disk is without a fault, closed, where it is."""
        for host in self.hosts:
            state = host.ask("GET", "/v1/disks/disk")[1].get("state")
            if state != "exported":
                continue
            begun = time.monotonic()
            while (answer := host.ask("DELETE", "/v1/disks/disk"))[0] != 200:
                # A client that has gone is counted until its server has heard of it.
                if answer[0] != 409 or time.monotonic() - begun > PATIENCE_SECONDS:
                    raise SystemExit(f"live.py: the disk cannot be closed: {answer}")
                time.sleep(0.01)
            self.run("check", host.disks / "disk.vhdx")
            return
        raise SystemExit("live.py: neither host has the disk")


class Client:
    """bench/live_client.cc"""

    def __init__(self, program, socket, log, seed, depth, other=None, mib=None):
        words = [program, "--socket", socket, "--log", log, "--seed", seed, "--depth", depth]
        words += ["--other", other] if other else []
        words += ["--mib", mib] if mib else []
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.expect("running")

    def expect(self, word):
        line = self.process.stdout.readline().strip()
        if line != word:
            raise SystemExit(f"live.py: the client said '{line}', not '{word}'")

    def stop(self):
        self.say("stop")
        self.expect("stopped")

    def go(self, socket):
        self.say(f"go {socket}")
        self.expect("running")

    def connects(self):
        """To the other socket; False if nobody answers there yet."""
        self.say("connect")
        line = self.process.stdout.readline().strip()
        if line not in ("connected", "nobody"):
            raise SystemExit(f"live.py: the client said '{line}'")
        return line == "connected"

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """It has compared what it wrote; how much that was."""
        self.say("end")
        line = self.process.stdout.readline()
        if self.process.wait() != 0 or not line:
            raise SystemExit("live.py: the disk does not hold what was acknowledged")
        return json.loads(line)

    def kill(self):
        self.process.kill()
        self.process.wait()
