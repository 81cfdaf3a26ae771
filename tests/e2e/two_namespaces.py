"""Two network namespaces and a wire between them, for a test."""

import ctypes
import os
import shutil
import threading

import support


class TwoNamespaces:
    """They end with the test, which is skipped where there can be none."""

    def __init__(self, test):
        if os.geteuid() != 0 or shutil.which("ip") is None:
            test.skipTest("network namespaces need root and ip (iproute2)")
        tag = f"vm{os.getpid() % 100000}"
        self.hosts = [f"{tag}a", f"{tag}b"]
        for host in self.hosts:
            support.tool("ip", "netns", "add", host)
            test.addCleanup(support.tool, "ip", "netns", "delete", host)
        self.ends = [f"{tag}x", f"{tag}y"]
        support.tool("ip", "link", "add", self.ends[0], "type", "veth", "peer", "name", self.ends[1])
        for i, (host, end) in enumerate(zip(self.hosts, self.ends)):
            support.tool("ip", "link", "set", end, "netns", host)
            support.tool("ip", "-n", host, "address", "add", f"{self.address(i)}/24", "dev", end)
            support.tool("ip", "-n", host, "link", "set", end, "up")
            support.tool("ip", "-n", host, "link", "set", "lo", "up")

    @staticmethod
    def address(host):
        return f"10.77.0.{host + 1}"

    def on(self, host):
        """Before a command that is to run there."""
        return ("ip", "netns", "exec", self.hosts[host])

    def within(self, host, make):
        """What `make()` gives there: its sockets, and those of threads that it starts, are of that namespace."""
        made = []

        def enter():
            with open(f"/run/netns/{self.hosts[host]}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return made[0]

    def pull(self):
        support.tool("ip", "-n", self.hosts[0], "link", "set", self.ends[0], "down")

    def plug_in(self):
        support.tool("ip", "-n", self.hosts[0], "link", "set", self.ends[0], "up")
