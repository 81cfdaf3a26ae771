"""What breaks in the hand-over of a disk in use, and who owns it then."""

import os
import signal

import nbd

import support
from live_hosts import LiveHosts
from nbd_export import wait_for_end


class HandoverTest(LiveHosts):
    def test_a_connection_that_breaks_in_the_hand_over(self):
        for step in ("prepare", "prepared", "released", "owned"):
            with self.subTest(step):
                guest, job, _ = self.hand_over_until(step, lambda: None, step)
                over = self.wait_for_state(self.here, job, "failed", "blocked")
                if step.startswith("prepare"):
                    self.assertEqual((over["state"], over["exit"]), ("failed", 5), over)
                    guest.write_more()
                    self.assertEqual(self.owners(step), [self.here])
                    self.assertEqual(self.here.command("resume", job).code, 0)
                    self.wait_for_phase(self.here, job, "ready")
                    self.assertEqual(self.here.command("cutover", job).code, 0)
                    self.wait_for_state(self.here, job, "done")
                    guest.wait_until_fenced()
                else:
                    self.assertEqual((over["state"], over["exit"]), ("blocked", 8), over)
                    guest.wait_until_fenced()
                    self.assertNotIn(self.here, self.owners(step))
                    for act in ("resume", "cancel", "pause"):
                        self.assertEqual(self.here.command(act, job).code, 1)
                    self.assertEqual(self.here.command("watch", job).code, 8)
                    self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                guest.leave()
                if step == "released":
                    self.assert_sound(self.there, guest, step)

    def test_a_destination_that_is_killed_in_the_hand_over(self):
        for step in ("released", "owned"):
            with self.subTest(step):
                guest, job, proxy = self.hand_over_until(step, self.there.kill, step)
                self.wait_for_state(self.here, job, "blocked")
                guest.wait_until_fenced()
                self.assertEqual(self.here.command("resolve", job).code, 8)
                self.there.start()
                proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
                self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                guest.leave()
                self.assert_sound(self.there, guest, step)

    def test_a_blocked_job_is_resolved_when_the_destination_is_there_again(self):
        self.here = self.host("impatient", resolve_retry="1ms")
        guest, job, proxy = self.hand_over_until("released", self.there.kill, "web01")
        blocked = self.wait_for_state(self.here, job, "blocked")
        self.assertIn("by itself", blocked["advice"])
        guest.wait_until_fenced()
        # As far as this host knows its copy may be the only one.
        outcome = self.here.command("cleanup", "web01")
        self.assertEqual(outcome.code, 8, outcome)
        self.there.start()
        proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
        over = self.wait_for_state(self.here, job, "done")
        self.assertEqual((over["exit"], over["ownership"]),
                         (0, "web01.vhdx: the destination owns it."))
        log = self.here.log_text()
        self.assertIn(f"job {job}: still blocked: ", log)
        self.assertIn("its destination is asked again in ", log)
        self.assertIn(f"job {job}: resolved: ", log)
        self.assert_holds(self.there, guest)
        self.assertEqual(self.owners("web01"), [self.there])
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_source_that_is_killed_in_the_hand_over(self):
        for step in ("prepare", "released", "owned"):
            with self.subTest(step):
                def kill(name=step):
                    pid = self.here.ask("GET", f"/v1/disks/{name}")[1]["mover_pid"]
                    self.here.kill()
                    os.kill(pid, signal.SIGKILL)
                    wait_for_end(pid)
                # What a guest wrote through to the disk outlives the process that wrote it.
                guest, job, _ = self.hand_over_until(step, kill, step, nbd.CMD_FLAG_FUA)
                guest.join()
                self.here.start()
                # A service that starts asks at once.
                over = self.wait_for_state(self.here, job, "interrupted", "done")
                if step == "prepare":
                    self.assertEqual(over["state"], "interrupted", over)
                    self.assert_holds(self.here, guest, step)
                    self.assertEqual(self.owners(step), [self.here])
                    self.assertEqual(self.here.command("resume", job).code, 0)
                    self.wait_for_phase(self.here, job, "ready")
                    self.assertEqual(self.here.command("cutover", job).code, 0)
                    self.wait_for_state(self.here, job, "done")
                else:
                    self.assertEqual((over["state"], over["exit"]), ("done", 0), over)
                    self.assertNotIn(self.here, self.owners(step))
                    # Whoever was on his way to do that himself is told the same.
                    self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assert_holds(self.there, guest, step)
                self.assertEqual(self.owners(step), [self.there])
                self.assert_sound(self.there, guest, step)

    def test_force_when_the_other_host_is_lost(self):
        guest, job, _ = self.hand_over_until("released", self.there.kill, "web01")
        self.wait_for_state(self.here, job, "blocked")
        guest.wait_until_fenced()
        guest.leave()
        self.assertEqual(self.here.command("resolve", "web01", "--peer-destroyed").code, 2)
        outcome = self.here.command("resolve", "web01", "--force-owner-here", "--peer-destroyed")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.owners_here("web01"), "exported")
        self.assertIn("two copies", self.here.log_text())
        again = self.guest(self.here, known=guest.acknowledged)
        again.stop()
        self.assert_holds(self.here, again)
        again.leave()
        self.assert_sound(self.here, again)
        # And the other one, had it been this one that was lost.
        self.there.start()
        outcome = self.there.command("resolve", "web01.vhdx")
        self.assertEqual(outcome.code, 8, outcome)
        outcome = self.there.command("resolve", "web01.vhdx", "--force-owner-here",
                                     "--peer-destroyed")
        self.assertEqual(outcome.code, 0, outcome)
        self.assert_holds(self.there, guest)

    def owners_here(self, name):
        return self.here.ask("GET", f"/v1/disks/{name}?settled=true")[1]["state"]


if __name__ == "__main__":
    support.main()
