"""Two hosts: network namespaces with a wire between them, as real as one machine has."""

import support
from two_namespaces import TwoNamespaces


class Namespaces(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.net = TwoNamespaces(self)
        self.on = self.net.on

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
            self.net.pull()
            outcome = support.run("send", disk, "10.77.0.2", "--key-file", self.key_file, "--json",
                                  prefix=self.on(0))
            self.assertEqual(outcome.code, 5, outcome)
            self.assertEqual(self.names(), [])
            self.net.plug_in()
            again = support.run("send", disk, "10.77.0.2", "--key-file", self.key_file,
                                prefix=self.on(0))
            self.assertEqual(again.code, 0, again)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")


if __name__ == "__main__":
    support.main()
