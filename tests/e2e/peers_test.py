"""Peers and networks that do wrong, as the person at either end sees them."""

import socket
import struct
import subprocess

import support
from proxy import Proxy

PREAMBLE = struct.Struct("<8sHB5x16s")


VERSION = 7  # of the protocol


def preamble(version=VERSION, kind=1):
    return PREAMBLE.pack(b"VHDXMIGR", version, kind, bytes(range(16)))


class Peers(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.key_file.write_text("vhdx-migrate:" + "5a" * 32 + "\n")
        self.key_file.chmod(0o600)

    def assert_untouched_after(self, disk, before):
        self.assertEqual(support.digest_of_file(disk), before)
        left = [name for name in self.names() if not name.endswith(".partial")]
        self.assertEqual(left, [])  # a partial is for the next job to go on with

    def start_send(self, disk, address):
        return subprocess.Popen(
            [support.BINARY, "send", str(disk), address, "--key-file", str(self.key_file),
             "--progress", "none"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=support.environment())

    def test_strangers_at_the_receiver(self):
        strangers = [b"", b"V", preamble()[:31], preamble(), preamble() + b"\x16\x03\x01\x40\x00",
                     preamble(kind=3), b"GET / HTTP/1.1\r\nHost: newhost:6600\r\n\r\n",
                     b"\xff" * 100000, preamble() + b"\x16\x03\x01" + b"\xff" * 100000]
        disk = self.make_disk(megabytes=4)
        with self.receiver() as receiver:
            host, port = receiver.address.rsplit(":", 1)
            connections = []
            for words in strangers:
                connection = socket.create_connection((host, int(port)))
                connections.append(connection)
                try:
                    connection.sendall(words)
                except OSError:
                    pass  # closed by the receiver in the middle of it
            self.assertEqual(self.names(), [])
            good = self.send(disk, receiver)  # they are all still there, or were turned away
            self.assertEqual(good.code, 0, good)
            for connection in connections:
                connection.close()
            receiver.wait_for("peer_refused")
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_sender_of_another_version_is_told(self):
        with self.receiver() as receiver:
            host, port = receiver.address.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(preamble(version=VERSION + 5))
                refusal = connection.recv(64, socket.MSG_WAITALL)
            self.assertEqual(refusal, struct.pack("<8sHHB19x", b"VHDXMREF", VERSION, VERSION, 1))
            told = receiver.wait_for("peer_refused")
        self.assertIn("version", told["message"])

    def test_a_receiver_of_another_version_is_exit_three(self):
        disk = self.make_disk(megabytes=1)
        before = support.digest_of_file(disk)
        with socket.create_server(("127.0.0.1", 0)) as server:
            process = self.start_send(disk, "127.0.0.1:%d" % server.getsockname()[1])
            connection, _ = server.accept()
            with connection:
                self.assertEqual(connection.recv(32, socket.MSG_WAITALL)[:11], preamble()[:11])
                connection.sendall(struct.pack("<8sHHB19x", b"VHDXMREF", 8, 9, 1))
                _, err = process.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 3, err.decode())
        self.assertIn(f"versions 8 to 9 of the protocol, this program version {VERSION}", err.decode())
        self.assert_untouched_after(disk, before)

    def test_a_receiver_that_says_nothing_is_exit_five(self):
        disk = self.make_disk(megabytes=1)
        with socket.create_server(("127.0.0.1", 0)) as server:
            process = self.start_send(disk, "127.0.0.1:%d" % server.getsockname()[1])
            connection, _ = server.accept()
            with connection:
                _, err = process.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 5, err.decode())
        self.assertIn("silent", err.decode())

    def test_a_data_stream_that_breaks_is_replaced(self):
        disk = self.make_disk()
        cuts = []

        def cut_once(connection, before, piece):
            if connection == 1 and before + len(piece) > 1 << 20:
                cuts.append(before)
                return None
            return piece

        with self.receiver() as receiver:
            proxy = Proxy(receiver.address, cut_once)
            outcome = support.run("send", disk, proxy.address, "--key-file", self.key_file,
                                  "--json", "--streams", "1")
            proxy.server.close()
        self.assertEqual(outcome.code, 0, outcome)
        self.assertTrue(cuts)
        done = outcome.of_type("done")[0]
        self.assertGreaterEqual(done["streams_replaced"], 1)
        self.assertEqual(done["bytes_done"], done["bytes_total"])
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_control_connection_that_breaks_is_exit_five(self):
        disk = self.make_disk()
        before_send = support.digest_of_file(disk)

        def cut_control(connection, before, piece):
            return None if connection == 0 and before > 800 else piece

        with self.receiver() as receiver:
            proxy = Proxy(receiver.address, cut_control)
            outcome = support.run("send", disk, proxy.address, "--key-file", self.key_file, "--json")
            proxy.server.close()
            self.assertEqual(outcome.code, 5, outcome)
            self.assertIn("again", outcome.of_type("error")[0]["advice"])
            receiver.wait_for("job_failed")
            self.assert_untouched_after(disk, before_send)
            again = self.send(disk, receiver)
            self.assertEqual(again.code, 0, again)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_damaged_frame_is_exit_six(self):
        disk = self.make_disk()
        before_send = support.digest_of_file(disk)
        at = 32 + 68 + 64 + 5000  # preamble, Join, a frame's header, and somewhere in its payload

        def damage(connection, before, piece):
            if connection == 1 and before <= at < before + len(piece):
                flipped = bytearray(piece)
                flipped[at - before] ^= 1
                return bytes(flipped)
            return piece

        with self.receiver("--plaintext-data") as receiver:
            proxy = Proxy(receiver.address, damage)
            outcome = support.run("send", disk, proxy.address, "--key-file", self.key_file,
                                  "--json", "--plaintext-data", "--streams", "1")
            proxy.server.close()
            self.assertEqual(outcome.code, 6, outcome)
            error = outcome.of_type("error")[0]
            self.assertIn("not those that were sent", error["message"])
            self.assertIn("The source still owns", error["ownership"])
            receiver.wait_for("job_failed")
            self.assert_untouched_after(disk, before_send)


if __name__ == "__main__":
    support.main()
