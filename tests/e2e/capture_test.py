"""A capture of the wire shows none of the disk's bytes, unless both sides asked for that."""

import support
from proxy import Proxy

MARKER = b"THIS-IS-SOMEBODYS-COMPANY-" * 64


class Capture(support.DiskTest):
    def marked_disk(self):
        raw = self.folder / "marked.raw"
        with open(raw, "wb") as file:
            for i in range(8):
                file.seek(i << 20)
                file.write(MARKER)
            file.truncate(32 << 20)
        disk = self.folder / "marked.vhdx"
        made = support.run("import", raw, disk)
        self.assertEqual(made.code, 0, made)
        return disk

    def capture_of_a_move(self, *options):
        disk = self.marked_disk()
        with self.receiver(*options) as receiver:
            proxy = Proxy(receiver.address)
            outcome = support.run("send", disk, proxy.address, "--key-file", self.key_file,
                                  "--mode", "plain", *options)  # as they are, bytes would show
            proxy.server.close()
        self.assertEqual(outcome.code, 0, outcome)
        self.assert_complete(disk, self.arrivals / "marked.vhdx")
        return bytes(proxy.captured)

    def test_tls_shows_nothing(self):
        captured = self.capture_of_a_move()
        self.assertGreater(len(captured), 1 << 20)
        self.assertNotIn(MARKER[:24], captured)
        self.assertNotIn(self.key_file.read_bytes()[13:77], captured)
        self.assertNotIn(b"marked.vhdx", captured)

    def test_plaintext_data_shows_data_and_never_control(self):
        captured = self.capture_of_a_move("--plaintext-data")
        self.assertIn(MARKER[:24], captured)
        self.assertNotIn(b"marked.vhdx", captured)

    def test_plaintext_data_needs_both_sides(self):
        disk = self.marked_disk()
        with self.receiver() as receiver:
            refused = self.send(disk, receiver, "--plaintext-data")
        self.assertEqual(refused.code, 4, refused)
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    support.main()
