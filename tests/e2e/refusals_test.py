"""What is refused, with which exit code, and that nothing is touched by it."""

import os
import shutil
import socket
import subprocess

import support


class Refusals(support.DiskTest):
    def test_an_identical_disk_is_nothing_to_do(self):
        disk = self.make_disk()
        self.move(disk)
        before = (self.arrivals / "disk.vhdx").stat()
        outcome = self.move(disk)
        after = (self.arrivals / "disk.vhdx").stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
        self.assertIn("identical", outcome.out.decode().lower() + outcome.err.decode().lower())

    def test_another_disk_of_that_name_is_never_overwritten(self):
        disk = self.make_disk()
        other = self.arrivals / "disk.vhdx"
        support.tool("qemu-img", "create", "-q", "-f", "vhdx", other, "64M")
        before = support.digest_of_file(other)
        with self.receiver() as receiver:
            outcome = self.send(disk, receiver)
            self.assertEqual(outcome.code, 3, outcome)
            self.assertIn("--as", outcome.of_type("error")[0]["message"])
            under_another = self.send(disk, receiver, "--as", "other.vhdx")
            self.assertEqual(under_another.code, 0, under_another)
        self.assertEqual(support.digest_of_file(other), before)
        self.assert_complete(disk, self.arrivals / "other.vhdx")

    def test_the_same_disk_with_other_content_is_refused(self):
        disk = self.make_disk()
        self.move(disk)
        arrived = self.arrivals / "disk.vhdx"
        support.tool("qemu-io", "-f", "vhdx", "-c", "write -P 0x5a 1M 4k", arrived)
        before = support.digest_of_file(arrived)
        with self.receiver() as receiver:
            outcome = self.send(disk, receiver)
        self.assertEqual(outcome.code, 3, outcome)
        self.assertEqual(support.digest_of_file(arrived), before)

    def test_a_wrong_key_opens_nothing(self):
        disk = self.make_disk()
        wrong = self.folder / "wrong"
        wrong.write_text("vhdx-migrate:" + "5a" * 32 + "\n")
        wrong.chmod(0o600)
        with self.receiver() as receiver:
            outcome = support.run("send", disk, receiver.address, "--key-file", wrong, "--json")
            self.assertEqual(outcome.code, 4, outcome)
            receiver.wait_for("peer_refused")
            self.assertEqual(self.names(), [])
            good = self.send(disk, receiver)
            self.assertEqual(good.code, 0, good)

    def test_nobody_listens(self):
        disk = self.make_disk(megabytes=1)
        self.key_file.write_text("vhdx-migrate:" + "5a" * 32 + "\n")
        self.key_file.chmod(0o600)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))  # bound, never listening: the port refuses
            outcome = support.run("send", disk, f"127.0.0.1:{free.getsockname()[1]}", "--key-file",
                                  self.key_file, "--json")
        self.assertEqual(outcome.code, 5, outcome)

    def test_a_server_that_is_not_ours(self):
        disk = self.make_disk(megabytes=1)
        self.key_file.write_text("vhdx-migrate:" + "5a" * 32 + "\n")
        self.key_file.chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as server:
            process = subprocess.Popen(
                [support.BINARY, "send", str(disk), "127.0.0.1:%d" % server.getsockname()[1],
                 "--key-file", str(self.key_file)], stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=support.environment())
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
                connection.shutdown(socket.SHUT_WR)
                _, err = process.communicate(timeout=support.PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 5, err.decode())
        self.assertIn("not vhdx-migrate", err.decode())

    def test_too_little_room_is_said_at_the_offer(self):
        if os.geteuid() != 0 or shutil.which("mount") is None:
            self.skipTest("mounting a small tmpfs needs root and mount")
        disk = self.make_disk(megabytes=40)
        support.tool("mount", "-t", "tmpfs", "-o", "size=32M", "tmpfs", self.arrivals)
        self.addCleanup(support.tool, "umount", self.arrivals)
        with self.receiver() as receiver:
            outcome = self.send(disk, receiver)
        self.assertEqual(outcome.code, 3, outcome)
        self.assertIn("free", outcome.of_type("error")[0]["message"])
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    support.main()
