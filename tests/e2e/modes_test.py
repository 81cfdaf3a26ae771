"""Plain, compressed and auto between two hosts whose wire is slow; and advice before the move."""

import os
import pathlib
import shutil
import subprocess
import sysconfig

import support


def text_disk(folder, name="text.vhdx", megabytes=24):
    """A dynamic disk full of text: Python's own library, over and over with a count between."""
    raw = folder / (name + ".content")
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    with open(raw, "wb") as file:
        while file.tell() < megabytes << 20:
            for source in sources:
                file.write(source.read_bytes() + str(file.tell()).encode())
        file.truncate(64 << 20)
    path = folder / name
    support.tool("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o",
                 "subformat=dynamic,block_size=1M", raw, path)
    raw.unlink()
    return path


class Modes(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.disk = text_disk(self.folder)

    def moved(self, *options):
        outcome = self.move(self.disk, *options)
        self.assert_complete(self.disk, self.arrivals / "text.vhdx")
        (self.arrivals / "text.vhdx").unlink()
        return outcome.of_type("done")[0]

    def test_a_level_makes_it_smaller_and_the_disk_is_the_same(self):
        plain = self.moved("--mode", "plain")
        fast = self.moved("--mode", "compress", "--level=-5")
        strong = self.moved("--mode", "compress", "--level", "9", "--verify")
        self.assertEqual(plain["compressed_bytes"], 0)
        self.assertEqual(plain["compression"]["packed_bytes"], 0)
        self.assertEqual(fast["compression"]["level"], -5)
        self.assertEqual(strong["compression"]["level"], 9)
        self.assertLess(fast["wire_bytes"], plain["wire_bytes"] * 0.8)
        self.assertLess(strong["wire_bytes"], fast["wire_bytes"] * 0.8)

    def test_a_share_of_the_processors_leaves_the_rest_uncompressed(self):
        all_of_it = self.moved("--mode", "compress", "--level", "12")
        little = self.moved("--mode", "compress", "--level", "12", "--cpu-share", "1")
        self.assertGreater(little["compression"]["packed_bytes"], 0)
        self.assertLess(little["compression"]["packed_bytes"],
                        all_of_it["compression"]["packed_bytes"])

    def test_data_that_does_not_compress_goes_as_it_is(self):
        disk = self.make_disk()
        done = self.move(disk, "--mode", "compress", "--level", "3").of_type("done")[0]
        # The disk of support.py is one random MiB over and over, but each extent is new.
        self.assertEqual(done["compression"]["packed_bytes"], 0)
        self.assert_complete(disk, self.arrivals / "disk.vhdx")

    def test_auto_compresses_for_a_slow_link_and_says_why(self):
        outcome = self.move(self.disk, "--limit", "5M")
        done = outcome.of_type("done")[0]
        self.assertEqual(done["mode"], "auto")
        self.assertGreater(done["compression"]["packed_bytes"], 12 << 20)
        self.assertEqual(done["compression"]["bottleneck"], "link")
        self.assert_complete(self.disk, self.arrivals / "text.vhdx")

    def test_a_broken_compressed_move_resumes(self):
        with self.receiver() as receiver:
            process = subprocess.Popen(
                [support.BINARY, "send", str(self.disk), receiver.address, "--key-file",
                 str(self.key_file), "--mode", "compress", "--limit", "2M", "--json"],
                stdout=subprocess.PIPE, env=support.environment())
            for line in process.stdout:
                if b'"copying"' in line and b'"written_bytes":0' not in line:
                    break
            process.kill()
            process.wait()
            process.stdout.close()
            receiver.wait_for("job_failed")
            again = self.send(self.disk, receiver, "--mode", "compress", "--level", "6")
        self.assertEqual(again.code, 0, again)
        self.assertGreater(again.of_type("done")[0]["same_bytes"], 0)
        self.assert_complete(self.disk, self.arrivals / "text.vhdx")


class Advice(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.disk = text_disk(self.folder)

    def advise(self, receiver, *options, prefix=()):
        return support.run("advise", self.disk, receiver.address, "--key-file", self.key_file,
                           *options, prefix=prefix)

    def test_it_names_every_mode_and_keeps_nothing(self):
        with self.receiver() as receiver:
            outcome = self.advise(receiver, "--json")
            self.assertEqual(outcome.code, 0, outcome)
            receiver.wait_for("measured")
            self.assertEqual(self.names(), [])
            advice = outcome.of_type("advice")[0]
            for_people = self.advise(receiver)
            self.assertEqual(for_people.code, 0, for_people)
        self.assertTrue(advice["one_machine"])
        modes = {(one["mode"], one["level"]): one for one in advice["modes"]}
        self.assertIn(("plain", None), modes)
        for level in (-5, -1, 1, 3, 6, 9, 12):
            self.assertIn(("compress", level), modes)
        plain, strong = modes[("plain", None)], modes[("compress", 9)]
        self.assertLess(strong["wire_bytes"], plain["wire_bytes"] / 2)
        self.assertGreater(strong["sender_cpu_seconds"], plain["sender_cpu_seconds"])
        self.assertLessEqual(advice["sample_bytes"], max(advice["payload_bytes"] // 100, 1 << 18))
        self.assertIn("bottleneck", for_people.out.decode())
        self.assertIn("Take ", for_people.out.decode().splitlines()[-1])

    def test_without_a_host_it_predicts_for_a_link(self):
        slow = support.run("advise", self.disk, "--link", "100M", "--cores", "4", "--json")
        self.assertEqual(slow.code, 0, slow)
        advice = slow.of_type("advice")[0]
        self.assertEqual(advice["link_bytes_per_second"], 12_500_000)
        self.assertEqual(advice["recommended"].split()[0], "--mode")
        self.assertNotIn("plain", advice["recommended"])
        plain = advice["modes"][0]
        self.assertEqual(plain["bottleneck"], "link")
        self.assertAlmostEqual(plain["seconds"], plain["wire_bytes"] / 12.5e6, delta=0.2)

    def test_wrong_words_are_exit_two_and_wrong_keys_four(self):
        for words in (["--link", "fast"], ["--link", "1X"], [], ["host", "--link", "1G"],
                      ["host:0"], ["--link", "1G", "--cores", "0"]):
            outcome = support.run("advise", self.disk, *words)
            self.assertEqual(outcome.code, 2, (words, outcome))
        with self.receiver() as receiver:
            other = self.folder / "other"
            other.write_text("vhdx-migrate:" + "5" * 64 + "\n")
            other.chmod(0o600)
            outcome = support.run("advise", self.disk, receiver.address, "--key-file", other)
            self.assertEqual(outcome.code, 4, outcome)
        nobody = support.run("advise", self.disk, receiver.address, "--key-file", self.key_file)
        self.assertEqual(nobody.code, 5, nobody)

    def test_a_real_slow_wire_is_measured(self):
        if os.geteuid() != 0 or shutil.which("tc", path="/sbin:/usr/sbin:/bin:/usr/bin") is None:
            self.skipTest("a slow wire needs root and tc (iproute2)")
        tag = f"vm{os.getpid() % 100000}"
        here, there = f"{tag}c", f"{tag}d"
        for host in (here, there):
            support.tool("ip", "netns", "add", host)
            self.addCleanup(support.tool, "ip", "netns", "delete", host)
        support.tool("ip", "link", "add", f"{tag}v", "type", "veth", "peer", "name", f"{tag}w")
        for host, end, number in ((here, f"{tag}v", 1), (there, f"{tag}w", 2)):
            support.tool("ip", "link", "set", end, "netns", host)
            support.tool("ip", "-n", host, "address", "add", f"10.78.0.{number}/24", "dev", end)
            support.tool("ip", "-n", host, "link", "set", end, "up")
        support.tool("ip", "netns", "exec", here, "tc", "qdisc", "add", "dev", f"{tag}v", "root",
                     "tbf", "rate", "50mbit", "burst", "64kb", "latency", "50ms")
        on_there = ("ip", "netns", "exec", there)
        on_here = ("ip", "netns", "exec", here)
        with self.receiver(prefix=on_there, listen="10.78.0.2:6600") as receiver:
            outcome = self.advise(receiver, "--json", prefix=on_here)
            self.assertEqual(outcome.code, 0, outcome)
            advice = outcome.of_type("advice")[0]
            # 50 Mbit/s less headers; a busy machine may find less of it, never more.
            self.assertIsNotNone(advice["link_bytes_per_second"], advice)
            self.assertLess(advice["link_bytes_per_second"], 6.4e6)
            self.assertGreater(advice["link_bytes_per_second"], 3.0e6)
            self.assertNotIn("plain", advice["recommended"])


if __name__ == "__main__":
    support.main()
