"""A running `vhdx-migrate serve`, its clients, and a model of what its disk holds."""

import json
import os
import select
import signal
import subprocess

import nbd  # of python3-libnbd

import support


class Export:
    """`vhdx-migrate serve --json`; ends with the with-block."""

    def __init__(self, disk, socket, *options):
        self.socket = str(socket)
        self.process = subprocess.Popen(
            [support.BINARY, "serve", str(disk), "--socket", self.socket, "--json", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=support.environment())
        first = self.process.stdout.readline()
        self.first = json.loads(first) if first else {}
        if self.first.get("type") != "serving":
            _, err = self.process.communicate(timeout=support.PATIENCE_SECONDS)
            raise AssertionError(f"serve did not start: {self.first} {err.decode()}")
        self.uri = self.first["uri"]
        self.server_pid = self.first["server_pid"]

    def connect(self, strict=True):
        handle = nbd.NBD()
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        if not strict:
            handle.set_strict_mode(0)
        handle.connect_unix(self.socket)
        return handle

    def stop(self, number=signal.SIGTERM):
        """Ends it by a signal; its exit code and outputs."""
        self.process.send_signal(number)
        return self.wait()

    def kill_server(self):
        """kill -9 of nbdkit; what serve makes of it."""
        os.kill(self.server_pid, signal.SIGKILL)
        return self.wait()

    def wait(self):
        out, err = self.process.communicate(timeout=support.PATIENCE_SECONDS)
        return support.Outcome(self.process.returncode, out, err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


def wait_for_end(pid):
    """Until a process that is no child of ours has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([descriptor], [], [], support.PATIENCE_SECONDS)
        assert readable, f"process {pid} goes on"
    finally:
        os.close(descriptor)


def extents_of(handle, offset, length):
    """[(length, flags)] of a range, neighbours joined."""
    found = []

    def note(context, at, entries, _error):
        del at
        if context != nbd.CONTEXT_BASE_ALLOCATION:
            return
        for size, flags in zip(entries[0::2], entries[1::2]):
            if found and found[-1][1] == flags:
                found[-1] = (found[-1][0] + size, flags)
            else:
                found.append((size, flags))

    while (done := sum(size for size, _ in found)) < length:
        handle.block_status(length - done, offset + done, note)
    return found
