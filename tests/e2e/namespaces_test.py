"""Two hosts: network namespaces with a wire between them, as real as one machine has."""

import os
import shutil

import support


class Namespaces(support.DiskTest):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0 or shutil.which("ip") is None:
            self.skipTest("network namespaces need root and ip (iproute2)")
        tag = f"vm{os.getpid() % 100000}"
        self.hosts = [f"{tag}a", f"{tag}b"]
        for host in self.hosts:
            support.tool("ip", "netns", "add", host)
            self.addCleanup(support.tool, "ip", "netns", "delete", host)
        ends = [f"{tag}x", f"{tag}y"]
        support.tool("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for i, (host, end) in enumerate(zip(self.hosts, ends)):
            support.tool("ip", "link", "set", end, "netns", host)
            support.tool("ip", "-n", host, "address", "add", f"10.77.0.{i + 1}/24", "dev", end)
            support.tool("ip", "-n", host, "link", "set", end, "up")
            support.tool("ip", "-n", host, "link", "set", "lo", "up")
        self.ends = ends

    def on(self, host):
        return ("ip", "netns", "exec", self.hosts[host])

    def test_a_disk_moves_between_hosts_on_the_default_port(self):
        disk = self.make_disk()
        with self.receiver(prefix=self.on(1), listen="10.77.0.2:6600"):
            outcome = support.run("send", disk, "10.77.0.2", "--key-file", self.key_file,
                                  prefix=self.on(0))
            self.assertEqual(outcome.code, 0, outcome)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_wire_that_is_pulled_ends_in_exit_5_and_runs_again(self):
        disk = self.make_disk()
        with self.receiver(prefix=self.on(1), listen="10.77.0.2:6600"):
            support.tool("ip", "-n", self.hosts[0], "link", "set", self.ends[0], "down")
            outcome = support.run("send", disk, "10.77.0.2", "--key-file", self.key_file, "--json",
                                  prefix=self.on(0))
            self.assertEqual(outcome.code, 5, outcome)
            self.assertEqual(self.names(), [])
            support.tool("ip", "-n", self.hosts[0], "link", "set", self.ends[0], "up")
            again = support.run("send", disk, "10.77.0.2", "--key-file", self.key_file,
                                prefix=self.on(0))
            self.assertEqual(again.code, 0, again)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")


if __name__ == "__main__":
    support.main()
