"""Either side dies, or is stopped, at every stage: what is left is no disk, and the next send resumes it."""

import json
import signal
import subprocess

import support


class Kill(support.DiskTest):
    PHASES = ["connecting", "planning", "copying", "sealing", "verifying", "committing"]

    def start_send(self, disk, receiver, *options):
        return subprocess.Popen(
            [support.BINARY, "send", str(disk), receiver.address, "--key-file", str(self.key_file),
             "--json", "--verify", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=support.environment())

    @staticmethod
    def wait_for_phase(process, phase):
        """Reads progress until `phase` is told; False if the command ended before."""
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] == "progress" and event.get("phase") == phase:
                return True
        return False

    def assert_nothing_looks_complete(self, source):
        """What is left says by its name that it is partial, and opens only if it is whole."""
        for name in self.names():
            self.assertEqual(name, "disk.vhdx.partial")
            left = self.arrivals / name
            opened = support.run("info", left)
            if opened.code == 0:  # sealed: killed after the last byte, before the name
                self.assert_complete(source, left)
            else:
                self.assertEqual(opened.code, 6, opened)

    def assert_resumed(self, again, phase, left):
        """What was there was not sent again; after the last byte had come, nothing was."""
        done = again.of_type("done")[0]
        self.assertEqual(done["partials_replaced"], 0, done)
        if done["disks"][0]["outcome"] == "identical":
            return
        # Every cell that the partial held was believed, after its hash was compared; what is zero
        # may look held, where the file system takes room that was read for data.
        self.assertGreaterEqual(done["same_bytes"] + done["zero_bytes"], done["resumed_bytes"], done)
        if left and phase in ("sealing", "verifying", "committing"):
            self.assertTrue(done["disks"][0]["resumed"], done)
            self.assertLess(done["wire_bytes"], 256 << 10, done)

    def test_killed_in_the_middle_goes_on_there(self):
        """kill -9 while data flows: what was acknowledged as written is not sent a second time."""
        disk = self.make_disk()
        for victim in ("sender", "receiver"):
            with self.subTest(victim=victim):
                with self.receiver() as receiver:
                    process = self.start_send(disk, receiver, "--limit", "10M")
                    for line in process.stdout:
                        written = json.loads(line).get("written_bytes", 0)
                        if written >= 4 << 20:
                            break
                    if victim == "sender":
                        process.kill()
                        receiver.wait_for("job_failed")
                    else:
                        receiver.kill()
                    process.communicate(timeout=support.PATIENCE_SECONDS)
                self.assertEqual(self.names(), ["disk.vhdx.partial"])
                done = self.move(disk).of_type("done")[0]
                self.assertGreaterEqual(done["same_bytes"], written - (1 << 20), done)
                self.assertLessEqual(done["wire_bytes"], (25 << 20) - done["same_bytes"], done)
                self.assert_complete(disk, self.arrivals / "disk.vhdx")
                (self.arrivals / "disk.vhdx").unlink()

    def test_a_source_that_changed_after_the_kill_keeps_what_is_still_true(self):
        """Blocks came, one cell changed: nothing else of what had arrived is on the wire again, whoever dies meanwhile."""
        for victim in ("sender", "receiver"):
            with self.subTest(victim=victim):
                disk = self.make_disk(name=f"{victim}.vhdx")
                kept = 0
                for new_block in (40, 50, 60):
                    with self.receiver() as receiver:
                        process = self.start_send(disk, receiver, "--limit", "10M")
                        written = 0
                        for line in process.stdout:
                            written = json.loads(line).get("written_bytes", 0)
                            if written >= 3 << 20:
                                break
                        (process if victim == "sender" else receiver).kill()
                        if victim == "sender":
                            receiver.wait_for("job_failed")
                        process.communicate(timeout=support.PATIENCE_SECONDS)
                    # The first round brings this much at least; what came later may be in the file that is left.
                    kept = kept or written
                    support.tool("qemu-io", "-f", "vhdx", "-c", f"write -P {new_block} {new_block}M 1M",
                                 "-c", f"write -P {new_block} 1M 4k", disk)
                done = self.move(disk, "--verify").of_type("done")[0]
                self.assertTrue(done["disks"][0]["resumed"], done)
                self.assertEqual(done["partials_replaced"], 0, done)
                self.assertGreaterEqual(done["same_bytes"], kept - (2 << 20), done)
                self.assertLessEqual(done["wire_bytes"], (28 << 20) - done["same_bytes"], done)
                self.assert_complete(disk, self.arrivals / f"{victim}.vhdx")
                self.assertEqual(self.names(), [f"{victim}.vhdx"])
                self.assertEqual(list((self.arrivals / ".vhdx-migrate").iterdir()), [])
                (self.arrivals / f"{victim}.vhdx").unlink()

    def test_sender_killed_at_every_stage(self):
        disk = self.make_disk()
        before = support.digest_of_file(disk)
        for phase in self.PHASES:
            with self.subTest(phase=phase), self.receiver() as receiver:
                process = self.start_send(disk, receiver)
                told = self.wait_for_phase(process, phase)
                process.kill()
                process.communicate(timeout=support.PATIENCE_SECONDS)
                self.assertTrue(told, phase)
                # Where the sender had not said who it is, the receiver has nothing to report.
                if phase not in ("connecting", "planning"):
                    receiver.wait_for("job_failed", "job_done")
                left = "disk.vhdx.partial" in self.names()
                if "disk.vhdx" in self.names():  # the last word was out already
                    self.assertIn(phase, ("committing",))
                    self.assert_complete(disk, self.arrivals / "disk.vhdx")
                    (self.arrivals / "disk.vhdx").unlink()
                else:
                    self.assert_nothing_looks_complete(disk)
                self.assertEqual(support.digest_of_file(disk), before)
                again = self.send(disk, receiver)
                self.assertEqual(again.code, 0, again)
                self.assert_resumed(again, phase, left)
                self.assert_complete(disk, self.arrivals / "disk.vhdx")
                (self.arrivals / "disk.vhdx").unlink()

    def test_receiver_killed_at_every_stage(self):
        disk = self.make_disk()
        before = support.digest_of_file(disk)
        for phase in self.PHASES:
            with self.subTest(phase=phase):
                with self.receiver() as receiver:
                    process = self.start_send(disk, receiver)
                    told = self.wait_for_phase(process, phase)
                    receiver.kill()
                    out, err = process.communicate(timeout=support.PATIENCE_SECONDS)
                self.assertTrue(told, phase)
                self.assertIn(process.returncode, (0, 5), err.decode())
                if process.returncode == 0:
                    self.assertEqual(phase, "committing")
                else:
                    last = json.loads(out.decode().splitlines()[-1])
                    self.assertEqual(last["type"], "error", last)
                    self.assertEqual(last["exit"], 5, last)
                self.assertEqual(support.digest_of_file(disk), before)
                left = "disk.vhdx.partial" in self.names()
                if "disk.vhdx" in self.names():
                    self.assert_complete(disk, self.arrivals / "disk.vhdx")
                    (self.arrivals / "disk.vhdx").unlink()
                else:
                    self.assert_nothing_looks_complete(disk)
                again = self.move(disk)
                self.assert_complete(disk, self.arrivals / "disk.vhdx")
                self.assertEqual(self.names(), ["disk.vhdx"])
                self.assert_resumed(again, phase, left)
                (self.arrivals / "disk.vhdx").unlink()

    def test_interrupt_keeps_what_came_and_cleanup_removes_it(self):
        disk = self.make_disk()
        with self.receiver() as receiver:
            process = self.start_send(disk, receiver, "--limit", "10M")
            self.assertTrue(self.wait_for_phase(process, "copying"))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=support.PATIENCE_SECONDS)
            self.assertEqual(process.returncode, 130, err.decode())
            self.assertTrue(receiver.wait_for("job_failed")["kept"])
            self.assertEqual(self.names(), ["disk.vhdx.partial"])
            self.assertIn("The source still owns", out.decode())
            self.assertIn("it resumes", out.decode())
        removed = support.run("cleanup", "disk.vhdx", "--into", self.arrivals)
        self.assertEqual(removed.code, 0, removed)
        self.assertEqual(self.names(), [])

    def test_stopping_the_receiver_tells_the_sender(self):
        disk = self.make_disk()
        with self.receiver() as receiver:
            process = self.start_send(disk, receiver, "--limit", "10M")
            self.assertTrue(self.wait_for_phase(process, "copying"))
            receiver.process.send_signal(signal.SIGTERM)
            process.communicate(timeout=support.PATIENCE_SECONDS)
            self.assertIn(process.returncode, (5, 7))
        self.assertEqual(self.names(), ["disk.vhdx.partial"])


if __name__ == "__main__":
    support.main()
