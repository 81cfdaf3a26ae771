"""A disk in use moves between two host services: what a guest was told, and who owns it."""

import errno
import os
import signal

import nbd

import support
from live_hosts import MIB, SECTOR, FastGuest, LiveHosts, numbered
from nbd_export import wait_for_end


class LiveTest(LiveHosts):
    def test_there_and_back(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.move(self.here, self.there)
        self.assertEqual((job["state"], job["exit"]), ("done", 0))
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        guest.wait_until_fenced()
        self.assertEqual(self.names(self.here), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.there), ["web01.vhdx", "web01.vhdx.owner"])
        self.assert_holds(self.there, guest)
        listed = self.here.command("disk", "list").of_type("disk")
        self.assertEqual([(one["name"], one["state"], one["clients"]) for one in listed],
                         [("web01", "released", 1)])
        arrival = self.there.command("list").of_type("job")[0]
        self.assertEqual(arrival["ownership"], "web01.vhdx: this host, the destination, owns it.")
        # Somebody who still reads the old copy is in the way of the disk that comes back to it.
        guest_there = self.guest(self.there, known=guest.acknowledged, size=4 * MIB)
        outcome = self.there.command("move", "web01", "--to", self.address(self.here))
        self.assertEqual(outcome.code, 5, outcome)
        guest.leave()
        guest_there.write_more()
        back = self.move(self.there, self.here)
        guest_there.wait_until_fenced()
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.here), ["web01.vhdx", "web01.vhdx.owner"])
        self.assert_holds(self.here, guest_there)
        # Only what was written there since, by the cell, and again whenever it was written to.
        report = back["report"]
        live = report["live"]
        again = sum(one["sent_bytes"] for one in live["passes"] if one["pass"] > 1)
        untold = max(0, live["pass"] - len(live["passes"]) - 1)
        self.assertLessEqual(report["bytes_total"] - report["same_bytes"] - again,
                             (1 + untold) * 4 * MIB, report)
        self.assertGreater(report["same_bytes"], 40 * MIB)
        guest_there.leave()
        self.assert_sound(self.here, guest_there)

    def test_a_disk_that_nobody_uses_there_and_back(self):
        self.added(self.here)
        job = self.move(self.here, self.there)
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        self.assertEqual(self.names(self.here), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assertEqual(self.names(self.there), ["web01.vhdx", "web01.vhdx.owner"])
        self.exported(self.there)
        self.assertEqual(self.owners("web01"), [self.there])
        guest = self.guest(self.there, size=4 * MIB)
        guest.stop()
        guest.leave()
        # The export of the copy that was released here is in nobody's way.
        back = self.move(self.there, self.here)
        self.assertEqual(back["ownership"], "web01.vhdx: the destination owns it.")
        self.exported(self.here)
        self.assertEqual(self.owners("web01"), [self.here])
        report = back["report"]
        sent = report["bytes_total"] - report["same_bytes"] - report["zero_bytes"]
        self.assertLessEqual(sent, 4 * MIB, report)
        self.assertEqual(report["same_bytes"], 4 * MIB)
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.released"])
        self.assert_holds(self.here, guest)
        self.assert_sound(self.here, guest)

    def test_the_copy_that_it_left_is_removed_when_nobody_needs_it(self):
        for name in ("web01", "other"):
            self.added(self.here, megabytes=2, name=name)
        outcome = self.here.command("cleanup", "web01.vhdx")
        self.assertEqual(outcome.code, 2, outcome)  # it is this host's
        guest = self.guest(self.here)
        self.move(self.here, self.there)
        guest.wait_until_fenced()
        outcome = self.here.command("cleanup", "web01")
        self.assertEqual(outcome.code, 5, outcome)
        self.assertIn("1 client of web01 still reads", outcome.of_type("error")[0]["message"])
        self.assertIn("web01.vhdx.released", self.names(self.here))
        guest.check(guest.handle)
        guest.leave()
        outcome = self.here.command("cleanup", "web01")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names(self.here), ["other.vhdx"])
        self.assertEqual([one["name"] for one in self.here.command("disk", "list").of_type("disk")], ["other"])
        outcome = self.here.command("cleanup", "web01")
        self.assertEqual(outcome.code, 2, outcome)
        self.assert_holds(self.there, guest)
        # As if it had never been here.
        self.move(self.there, self.here)
        self.assert_holds(self.here, guest)
        # By the name of its file, and whatever the service has forgotten.
        self.move(self.here, self.there, name="other")
        self.here.kill()
        self.here.start()
        outcome = self.here.command("cleanup", "other.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names(self.here), ["web01.vhdx", "web01.vhdx.owner"])

    def test_cancelled_the_guest_goes_on_and_another_job_moves_it(self):
        self.added(self.here, megabytes=24)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--limit", "1M")
        # Before the first byte has arrived there may be nothing at the destination.
        self.wait_for(self.here, job, lambda now: now["progress"].get("written_bytes", 0) > 0)
        guest.write_more()
        outcome = self.here.command("cancel", job)
        self.assertEqual(outcome.code, 0, outcome)
        over = self.wait_for_state(self.here, job, "cancelled")
        self.assertEqual((over["exit"], over["ownership"]), (7, "web01.vhdx: the source owns it."))
        guest.write_more()
        self.assertEqual(self.state_of(self.here), "exported")
        self.assertEqual(self.there.ask("GET", "/v1/disks")[1], {"disks": []})
        self.assertEqual(self.names(self.there), ["web01.vhdx.owner", "web01.vhdx.partial"])
        # Nobody but the service may throw that away, or write to it.
        outcome = support.run("cleanup", "web01.vhdx", "--into", self.there.disks)
        self.assertEqual(outcome.code, 1, outcome)
        partial = self.there.disks / "web01.vhdx.partial"
        outcome = support.run("serve", partial, "--socket", self.folder / "s", "--json")
        self.assertEqual(outcome.code, 1, outcome)
        self.assertIn("not arrived completely", outcome.of_type("error")[0]["message"])
        outcome = self.there.command("cleanup", "web01.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names(self.there), [])
        job = self.move(self.here, self.there)
        self.assertEqual(job["state"], "done")
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_cutover_that_waits_and_what_is_set_meanwhile(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--cutover", "manual", "--max-pause", "1s",
                            "--limit", "400M")
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        for options in (("--max-pause", "2s"), ("--limit", "200M", "--max-pause", "3s"),
                        ("--mode", "plain")):
            outcome = self.here.command("set", job, *options)
            self.assertEqual(outcome.code, 0, outcome)
        for words in (("set", job), ("set", job, "--max-pause", "2m"), ("set", job, "--mode", "fast"),
                      ("set", "none", "--limit", "1M"),
                      ("cutover", "none"), ("resolve", "none"),
                      ("resolve", job, "--force-owner-here")):
            self.assertEqual(self.here.command(*words).code, 2, words)
        self.assertEqual(self.here.command("disk", "remove", "web01", "--force").code, 5)
        # Pausing ends the job's connections; what it has at the destination is compared.
        self.assertEqual(self.here.command("pause", job).code, 0)
        paused = self.wait_for_state(self.here, job, "paused")
        self.assertEqual((paused["max_pause_ms"], paused["limit"], paused["mode"]),
                         (3000, 200 * MIB, "plain"))
        self.assertEqual(self.here.command("resume", job).code, 0)
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        outcome = self.here.command("set", job, "--mode", "compress")
        self.assertEqual(outcome.code, 1, outcome)
        self.assertIn("pause it, set the mode", outcome.of_type("error")[0]["message"])
        outcome = self.here.command("cutover", job)
        self.assertEqual(outcome.code, 0, outcome)
        over = self.wait_for_state(self.here, job, "done")
        live = over["report"]["live"]
        self.assertLessEqual(live["pause_us"], 3_000_000)
        self.assertTrue(live["passes"][-1]["held"])
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        self.assertEqual(self.here.command("cancel", job).code, 1)
        guest.leave()

    def test_the_mover_waits_for_its_disk(self):
        self.added(self.here)
        guest = self.guest(self.here)
        manual = ("--cutover", "manual", "--max-pause", "20s")
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        # It is named already, though nobody has that disk yet.
        other = self.make_disk("other.vhdx", megabytes=1)
        outcome = self.there.command("disk", "add", "web01", other)
        self.assertEqual(outcome.code, 1, outcome)
        # The job ends, and so does the mover; of its own accord, where the service is killed.
        self.assertEqual(self.here.command("cancel", job).code, 0)
        self.wait_for_state(self.here, job, "cancelled")
        wait_for_end(pid)
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        self.there.kill()
        wait_for_end(pid)
        self.wait_for_state(self.here, job, "failed")
        guest.write_more()
        self.there.start()
        # One that is killed is replaced, whenever that is.
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "web01")
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.wait_for_state(self.here, job, "done")
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        self.assertNotEqual(self.exported(self.there)["mover_pid"], pid)
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_guest_that_waits_where_its_disk_is_going(self):
        self.added(self.here)
        still = os.urandom(MIB)
        writer = nbd.NBD()
        writer.connect_uri(self.exported(self.here)["uri"])
        writer.pwrite(still, 48 * MIB)
        writer.shutdown()
        guest = self.guest(self.here, size=32 * MIB)
        manual = ("--cutover", "manual", "--max-pause", "20s")
        # Of one job nothing comes, and who waited for it is sent away.
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        waiting = self.connected_before(self.there)
        self.assertEqual(self.here.command("cancel", job).code, 0)
        self.wait_for_state(self.here, job, "cancelled")
        with self.assertRaises(nbd.Error):
            while True:
                waiting.pread(4096, 0)
        job = self.detached(self.here, self.there, *manual)
        self.wait_for_phase(self.here, job, "ready")
        waiting = self.connected_before(self.there)
        self.assertEqual(waiting.get_size(), self.SIZE)
        self.assertEqual(waiting.pread(MIB, 48 * MIB), still)
        self.assert_refuses(waiting)
        waiting.flush()
        self.assertEqual(self.state_of(self.there), None)
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.wait_for_state(self.here, job, "done")
        guest.wait_until_fenced()
        self.exported(self.there)
        # It is the same connection, and the disk is there.
        guest.check(waiting)
        self.assertEqual(waiting.pread(MIB, 48 * MIB), still)
        waiting.pwrite(numbered(1), 40 * MIB)
        waiting.flush()
        self.assertEqual(self.there.ask("GET", "/v1/disks/web01")[1]["clients"], 1)
        guest.acknowledged[40 * MIB // SECTOR] = 1
        waiting.shutdown()
        guest.leave()
        # And back, where the copy lies that was released.
        guest = self.guest(self.there, size=32 * MIB, known=guest.acknowledged)
        job = self.detached(self.there, self.here, *manual)
        self.wait_for_phase(self.there, job, "ready")
        waiting = self.connected_before(self.here)
        self.assert_refuses(waiting)
        self.assertEqual(self.there.command("cutover", job).code, 0)
        self.wait_for_state(self.there, job, "done")
        guest.wait_until_fenced()
        self.exported(self.here)
        guest.check(waiting)
        waiting.shutdown()
        guest.leave()
        self.assert_sound(self.here, guest)

    def test_a_sparse_disk_of_a_tebibyte(self):
        path = self.here.disks / "huge.vhdx"
        self.assertEqual(support.run("create", path, "--size", "1T").code, 0)
        self.assertEqual(self.here.command("disk", "add", "huge", path).code, 0)
        places = {0: 0xa1, 512 << 30: 0xb2, (1 << 40) - MIB: 0xc3}
        writer = nbd.NBD()
        writer.connect_uri(self.exported(self.here, "huge")["uri"])
        for place, byte in places.items():
            writer.pwrite(bytes([byte]) * MIB, place)
        writer.shutdown()
        guest = self.guest(self.here, "huge", size=16 * MIB, offset=700 << 30)
        over = self.move(self.here, self.there, name="huge")
        self.assertLess(over["report"]["wire_bytes"], 500 * MIB, over)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest, "huge")
        guest.leave()
        self.assertEqual(self.there.command("disk", "remove", "huge").code, 0)
        arrived = self.there.disks / "huge.vhdx"
        self.assertEqual(support.run("check", arrived).code, 0)
        self.assertLess(arrived.stat().st_blocks * 512, 500 * MIB)
        for place, byte in places.items():
            support.tool("qemu-io", "-r", "-f", "vhdx", "-c", f"read -P {byte} {place} {MIB}", arrived)

    # --- guests that write faster than the link -------------------------------------------------
    # However much writes are slowed down, each waits for half a second at most: ten of them write
    # 4 MiB a second and more. The link takes less, and the 7.5 MiB that they write to do not fit
    # the pause. What they have in hand, 2.5 MiB, does, even after as much that is on its way.
    TOO_SLOW = ("--limit", "3M", "--max-pause", "1700ms", "--mode", "plain")

    def fast_guests(self):
        """Each rewrites a part of the disk of its own, all the time, in large writes."""
        path = self.exported(self.here)["uri"]
        share = 3 * FastGuest.PIECE
        guests = [FastGuest(path, number * share, share) for number in range(10)]
        for guest in guests:
            guest.start()
            self.addCleanup(guest.done.set)
        for guest in guests:
            assert guest.round_done.wait(support.PATIENCE_SECONDS)
        return guests

    def test_guests_that_write_faster_than_the_link_converge_by_mirrored_writes(self):
        self.added(self.here, megabytes=4)
        guests = self.fast_guests()
        numbering = self.guest(self.here, size=64 * SECTOR, offset=32 * MIB)
        job = self.detached(self.here, self.there, *self.TOO_SLOW)
        slowed = set()
        told = set()

        def done(now):
            live = now["progress"].get("live", {})
            slowed.add(live.get("throttled_to_bytes_per_second", 0))
            told.add((live.get("mirroring"), now["progress"].get("phase")))
            return now["state"] == "done"
        over = self.wait_for(self.here, job, done)
        self.assertEqual(over["mirror"], "auto")
        self.assertGreaterEqual(len(slowed), 5, "guests were slowed down first")
        self.assertIn((True, "mirrored passes"), told)
        self.assertEqual(over["ownership"], "web01.vhdx: the destination owns it.")
        live = over["report"]["live"]
        self.assertGreater(live["mirrored_writes"], 0, live)
        self.assertGreater(live["mirrored_bytes"], 0, live)
        self.assertFalse(live["mirroring"])
        numbering.wait_until_fenced()
        for guest in guests:
            guest.join(support.PATIENCE_SECONDS)
            self.assertEqual(guest.failure.errnum, errno.EPERM)
        self.assert_holds(self.there, numbering)
        handle = nbd.NBD()
        handle.connect_uri(self.exported(self.there)["uri"])
        for guest in guests:
            guest.check(handle)
            guest.handle.shutdown()
        handle.shutdown()
        numbering.leave()
        said = support.run("watch", job, "--control", self.here.control)
        self.assertEqual(said.code, 0, said)
        self.assertIn(f"{live['mirrored_writes']} writes, ", said.out.decode())
        self.assert_sound(self.there, numbering)

    def test_without_mirrored_writes_that_ends_honestly(self):
        self.added(self.here, megabytes=4)
        guests = self.fast_guests()
        job = self.detached(self.here, self.there, *self.TOO_SLOW, "--mirror", "never")
        over = self.wait_for_state(self.here, job, "failed")
        self.assertEqual((over["mirror"], over["exit"]), ("never", 1))
        self.assertIn("Nothing was handed over", over["message"])
        self.assertEqual(over["ownership"], "web01.vhdx: the source owns it.")
        self.assertEqual(self.state_of(self.here), "exported")
        for guest in guests:
            guest.done.set()
            guest.join(support.PATIENCE_SECONDS)
            self.assertIsNone(guest.failure)
            guest.check(guest.handle)
            guest.handle.shutdown()

    def test_both_hosts_read_again_before_the_hand_over(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--verify")
        over = self.wait_for_state(self.here, job, "done")
        live = over["report"]["live"]
        left_out = live["verify_left_out_bytes"]
        self.assertGreater(live["verified_bytes"], 0, live)
        self.assertEqual(left_out % SECTOR, 0)
        self.assertEqual(over["report"]["disks"][0]["verified"], True)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        # Of a disk that nobody uses nothing is left out, and a person is told so.
        back = support.run("move", "web01", "--to", self.address(self.here), "--verify",
                           "--control", self.there.control)
        self.assertEqual(back.code, 0, back)
        told = back.out.decode()
        self.assertIn("Both hosts read ", told)
        self.assertIn(" again before that, and had the same.\n", told)
        self.assert_sound(self.here, guest)

    def test_every_write_mirrored_if_that_is_asked_for(self):
        self.added(self.here)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--cutover", "manual", "--mirror", "always",
                            "--max-pause", "5s")
        self.wait_for(self.here, job,
                      lambda now: now["progress"].get("live", {}).get("mirrored_writes", 0) > 300)
        self.wait_for_phase(self.here, job, "ready")
        guest.write_more()
        self.assertEqual(self.here.command("cutover", job).code, 0)
        over = self.wait_for_state(self.here, job, "done")
        self.assertEqual(over["report"]["live"]["mirror_stops"], 0, over)
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    # --- what is cut short ----------------------------------------------------------------------


if __name__ == "__main__":
    support.main()
