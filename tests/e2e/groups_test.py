"""The disks of a group move together: in one job, at the same instant, whatever crashes."""

import os
import signal

import nbd

import support
from live_hosts import MIB, LiveHosts
from nbd_export import wait_for_end


class GroupsTest(LiveHosts):
    def group(self, count, name="vm", flags=0):
        """Disks of a group at this host, each with a guest, by name."""
        names = [f"{name}-{i}" for i in range(count)]
        for one in names:
            self.added(self.here, megabytes=2, name=one, options=("--group", name))
        return {one: self.guest(self.here, one, flags=flags) for one in names}

    def disks(self, host):
        return {one["name"]: one for one in host.ask("GET", "/v1/disks")[1]["disks"]}

    def assert_all_fenced(self, guests):
        for guest in guests.values():
            guest.wait_until_fenced()

    def assert_owned_by(self, host, guests):
        """That host alone exports them, by one mover, and they have what their guests were told."""
        for name, guest in guests.items():
            self.assert_holds(host, guest, name)
            self.assertEqual(self.owners(name), [host])
        movers = {self.exported(host, name)["mover_pid"] for name in guests}
        self.assertEqual(len(movers), 1, movers)

    def assert_all_sound(self, host, guests):
        for name, guest in guests.items():
            self.assert_sound(host, guest, name)

    def refused(self, outcome, code, *words):
        self.assertEqual(outcome.code, code, outcome)
        for word in words:
            self.assertIn(word, str(outcome.of_type("error")[0]))

    def test_there_and_back_with_other_names(self):
        guests = self.group(3)
        self.added(self.here, name="alone")
        self.assertEqual(len({one["mover_pid"] for one in self.disks(self.here).values()}), 2)
        # Each is its own export, and none of them is the one that nobody named.
        uri = self.disks(self.here)["vm-0"]["uri"]
        with self.assertRaises(nbd.Error):
            nbd.NBD().connect_uri(uri.replace("/vm-0?", "/?"))
        to = ("--to", self.address(self.there))
        self.refused(self.here.command("move", "vm-0", *to), 3, "vm-1", "--group vm")
        self.refused(self.here.command("move", "vm-0", "vm-1", *to), 3, "vm-2")
        self.refused(self.here.command("move", "vm-0", "alone", *to), 3, "not of one group")
        self.refused(self.here.command("move", "--group", "vm", "--as", "a.vhdx", *to), 2, "--map")
        self.refused(self.here.command("move", "--group", "none", *to), 2, "none")
        for bad in ("vm-1=../x.vhdx", "vm-1=/x.vhdx", "vm-1=", "vm-1", "alone=x.vhdx",
                    "vm-1=vm-2.vhdx", "vm-1=a/b/x.vhdx", "vm-1=a/..", "vm-1=/"):
            self.refused(self.here.command("move", "--group", "vm", "--map", bad, *to), 2)
        self.assertEqual(self.here.command("move", "--group", "vm", "vm-0", *to).code, 2)
        self.assertEqual(self.there.ask("GET", "/v1/jobs")[1]["jobs"], [])

        job = self.move(self.here, self.there, "--group", "vm", "--map", "vm-1=other.vhdx",
                        name=None)
        self.assertEqual([(one["disk"], one["as"]) for one in job["disks"]],
                         [("vm-0", ""), ("vm-1", "other.vhdx"), ("vm-2", "")])
        self.assertEqual(len(job["report"]["disks"]), 3)
        self.assert_all_fenced(guests)
        there = {"vm-0": guests["vm-0"], "other": guests["vm-1"], "vm-2": guests["vm-2"]}
        for name, guest in there.items():
            self.assert_holds(self.there, guest, name)
        listed = self.disks(self.there)
        self.assertEqual(len({one["mover_pid"] for one in listed.values()}), 1)
        self.assertEqual({one["group"] for one in listed.values()}, {"vm"})
        self.assertEqual({one["state"] for name, one in self.disks(self.here).items()
                          if name != "alone"}, {"released"})
        for guest in guests.values():
            guest.leave()

        again = {name: self.guest(self.there, name, known=guest.acknowledged)
                 for name, guest in there.items()}
        back = self.move(self.there, self.here, "vm-0", "other", "vm-2", "--map",
                         "other=vm-1.vhdx", name=None)
        self.assertEqual(back["state"], "done")
        self.assert_all_fenced(again)
        back = {"vm-0": again["vm-0"], "vm-1": again["other"], "vm-2": again["vm-2"]}
        self.assert_owned_by(self.here, back)
        self.assertEqual({self.disks(self.here)[name]["group"] for name in back}, {"vm"})
        for guest in again.values():
            guest.leave()
        self.assert_all_sound(self.here, back)

    def test_eight_disks_whose_destination_is_killed_when_it_owns_them(self):
        guests = self.group(8)
        job, proxy = self.cut_off("owned", self.there.kill, "--group", "vm")
        self.wait_for_state(self.here, job, "blocked")
        self.assert_all_fenced(guests)
        self.there.start()
        proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
        outcome = self.here.command("resolve", job)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.here.ask("GET", f"/v1/jobs/{job}")[1]["state"], "done")
        self.assert_owned_by(self.there, guests)
        for guest in guests.values():
            guest.leave()
        self.assert_all_sound(self.there, guests)

    def test_a_source_that_is_killed_in_the_hand_over(self):
        for step in ("prepare", "released"):
            with self.subTest(step):
                def kill(name=f"{step}-0"):
                    pid = self.here.ask("GET", f"/v1/disks/{name}")[1]["mover_pid"]
                    self.here.kill()
                    os.kill(pid, signal.SIGKILL)
                    wait_for_end(pid)
                guests = self.group(3, step, flags=nbd.CMD_FLAG_FUA)
                job, _ = self.cut_off(step, kill, "--group", step)
                for guest in guests.values():
                    guest.join()
                self.here.start()
                over = self.wait_for_state(self.here, job, "interrupted", "done")
                if step == "prepare":
                    self.assertEqual(over["state"], "interrupted", over)
                    self.assert_owned_by(self.here, guests)
                    self.assertEqual(self.here.command("resume", job).code, 0)
                    self.wait_for_phase(self.here, job, "ready")
                    self.assertEqual(self.here.command("cutover", job).code, 0)
                    over = self.wait_for_state(self.here, job, "done")
                self.assertEqual((over["state"], over["exit"]), ("done", 0), over)
                self.assert_owned_by(self.there, guests)
                self.assert_all_sound(self.there, guests)

    def test_cancelled_nothing_of_any_disk_is_left(self):
        guests = self.group(3)
        job = self.detached(self.here, self.there, "--group", "vm", "--cutover", "manual",
                            name=None)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "@vm")
        self.refused(self.here.command("disk", "remove", "vm-1", "--force"), 5, job)
        self.assertEqual(self.here.command("cancel", job).code, 0)
        over = self.wait_for_state(self.here, job, "cancelled")
        self.assertEqual(over["ownership"], "vm-0.vhdx and 2 more disks: the source owns it.")
        wait_for_end(pid)
        for guest in guests.values():
            guest.write_more()
            guest.stop()
        outcome = self.there.command("cleanup", "vm-1.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names(self.there), [])
        self.assert_owned_by(self.here, guests)

    def test_one_disk_of_a_group_is_closed_and_the_others_go_on(self):
        guests = self.group(3)
        self.refused(self.here.command("disk", "remove", "vm-1"), 5, "1 client")
        self.assertEqual(self.here.command("disk", "remove", "vm-1", "--force").code, 0)
        guests["vm-1"].join()
        self.assertIsNotNone(guests["vm-1"].failure)
        self.assertFalse((self.here.run / "disks" / "vm-1.sock").exists())
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", self.here.disks / "vm-1.vhdx")
        for name in ("vm-0", "vm-2"):
            guests[name].write_more()
        # It comes back, behind the same gate.
        path = self.here.disks / "vm-1.vhdx"
        self.refused(self.here.command("disk", "add", "vm-1", path, "--group", "vm", "--read-only"),
                     2, "vm")
        outcome = self.here.command("disk", "add", "vm-1", path, "--group", "vm")
        self.assertEqual(outcome.code, 0, outcome)
        known = {name: guest.acknowledged for name, guest in guests.items()}
        guests["vm-1"] = self.guest(self.here, "vm-1", known=known["vm-1"], size=4 * MIB)
        # The service is another one, and the mover is killed: nothing is lost that was flushed.
        pid = self.exported(self.here, "vm-0")["mover_pid"]
        self.here.kill()
        self.here.start()
        self.assertEqual(self.exported(self.here, "vm-2")["mover_pid"], pid)
        job = self.move(self.here, self.there, "--group", "vm", name=None)
        self.assertEqual(job["state"], "done")
        self.assert_all_fenced(guests)
        self.assert_owned_by(self.there, guests)


if __name__ == "__main__":
    support.main()
