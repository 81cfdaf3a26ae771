"""The source: never changed by a send, and never sent while somebody changes it."""

import json
import subprocess

import support


class Source(support.DiskTest):
    def test_a_source_that_changes_while_it_is_sent_is_refused(self):
        disk = self.make_disk()
        with self.receiver() as receiver:
            process = subprocess.Popen(
                [support.BINARY, "send", str(disk), receiver.address, "--key-file",
                 str(self.key_file), "--json", "--limit", "10M"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.environment())
            for line in process.stdout:
                if json.loads(line).get("phase") == "copying":
                    break
            support.tool("qemu-io", "-f", "vhdx", "-c", "write -P 0x77 2M 64k", disk)
            out, err = process.communicate(timeout=support.PATIENCE_SECONDS)
            self.assertEqual(process.returncode, 1, err.decode())
            self.assertIn("changed", json.loads(out.decode().splitlines()[-1])["message"])
            self.assertTrue(receiver.wait_for("job_failed")["kept"])
            self.assertEqual(self.names(), ["disk.vhdx.partial"])
            # Sent again it resumes, and brings the disk as it is now.
            again = self.send(disk, receiver)
            self.assertEqual(again.code, 0, again)
            self.assertTrue(again.of_type("done")[0]["disks"][0]["resumed"], again)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_a_disk_that_qemu_writes_to_is_refused_at_once(self):
        disk = self.make_disk(megabytes=2)
        writer = subprocess.Popen(["qemu-io", "-f", "vhdx", str(disk)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            writer.stdin.write(b"read 0 512\n")
            writer.stdin.flush()
            while b"read 512" not in writer.stdout.readline():
                pass
            with self.receiver() as receiver:
                outcome = self.send(disk, receiver)
            self.assertEqual(outcome.code, 1, outcome)
            self.assertIn("QEMU", outcome.of_type("error")[0]["message"])
        finally:
            writer.communicate(b"quit\n", timeout=support.PATIENCE_SECONDS)
        self.move(disk)

    def test_a_dirty_log_is_replayed_in_memory_only(self):
        disk = support.unpack("vhdx-log-replay.vhdx", self.folder)
        before = support.digest_of_file(disk)
        disk.chmod(0o400)
        self.move(disk)
        self.assertEqual(support.digest_of_file(disk), before)
        support.tool("qemu-img", "check", "-q", self.arrivals / disk.name)

    def test_several_senders_at_once(self):
        disks = [self.make_disk(f"disk{i}.vhdx", megabytes=6, seed=i) for i in range(5)]
        with self.receiver() as receiver:
            senders = [subprocess.Popen(
                [support.BINARY, "send", str(disk), receiver.address, "--key-file",
                 str(self.key_file)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, env=support.environment()) for disk in disks]
            for sender in senders:
                _, err = sender.communicate(timeout=support.PATIENCE_SECONDS)
                self.assertEqual(sender.returncode, 0, err.decode())
        for disk in disks:
            self.assert_complete(disk, self.arrivals / disk.name)

    def test_a_real_file_system_survives(self):
        tree = self.folder / "tree"
        tree.mkdir()
        for i in range(200):
            (tree / f"file{i}").write_bytes(str(i).encode() * (i * 37))
        raw = self.folder / "fs.raw"
        with open(raw, "wb") as file:
            file.truncate(96 << 20)
        support.tool("mke2fs", "-q", "-t", "ext4", "-d", tree, raw)
        disk = self.folder / "fs.vhdx"
        made = support.run("import", raw, disk)
        self.assertEqual(made.code, 0, made)
        support.tool("qemu-img", "compare", "-q", "-f", "raw", "-F", "vhdx", raw, disk)
        self.move(disk, "--verify")
        back = self.folder / "back.raw"
        exported = support.run("export", self.arrivals / "fs.vhdx", back)
        self.assertEqual(exported.code, 0, exported)
        self.assertEqual(support.digest_of_file(raw), support.digest_of_file(back))
        support.tool("e2fsck", "-fn", back)


if __name__ == "__main__":
    support.main()
