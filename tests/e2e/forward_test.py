"""Clients that stay where a disk was go on with it where it is: `move --after forward`."""

import errno
import os
import signal

import nbd

import support
from live_hosts import MIB, SECTOR, Guest, LiveHosts, numbered

FREE = 60 * MIB  # where no guest of these tests writes


class ForwardTest(LiveHosts):
    def forwarded(self, *options, flags=0):
        """A guest whose disk has moved, and who noticed nothing."""
        self.added(self.here)
        guest = self.guest(self.here, flags=flags, size=8 * MIB)
        job = self.move(self.here, self.there, "--after", "forward", *options)
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        guest.write_more()
        return guest

    def client(self, host, name="web01"):
        handle = nbd.NBD()
        handle.connect_uri(self.exported(host, name)["uri"])
        return handle

    def at_old_export(self, name="web01"):
        handle = nbd.NBD()
        handle.connect_uri(f"nbd+unix:///?socket={self.here.run}/disks/{name}.sock")
        return handle

    def restart(self, host):
        """kill -9 of the service, and another one at the same port."""
        address = self.address(host)
        host.kill()
        host.options = [address if before == "--listen" else option
                        for before, option in zip(("", *host.options), host.options)]
        host.start()

    def test_a_client_goes_on_until_one_there_writes(self):
        guest = self.forwarded("--max-pause", "2s")
        disk = self.here.ask("GET", "/v1/disks/web01")[1]
        self.assertEqual((disk["state"], disk["clients"]), ("released", 1))
        self.assertIn("served by it", disk["problem"])
        # All that NBD has, and what is not flushed yet is read back as well.
        old = self.at_old_export()
        old.pwrite(b"\x11" * MIB, FREE, nbd.CMD_FLAG_FUA)
        old.zero(64 * 1024, FREE)
        old.trim(64 * 1024, FREE + 64 * 1024)
        old.flush()
        self.assertEqual(old.pread(MIB, FREE), bytes(128 * 1024) + b"\x11" * (MIB - 128 * 1024))
        for wrong in (lambda: old.pwrite(b"x" * 100, FREE), lambda: old.pwrite(b"x" * SECTOR, 64 * MIB)):
            with self.assertRaises(nbd.Error):
                wrong()
        # Who only reads there is in nobody's way.
        new = self.client(self.there)
        self.assertEqual(new.pread(MIB, FREE), old.pread(MIB, FREE))
        guest.write_more()
        self.assertEqual(self.names(self.here), ["web01.vhdx.owner", "web01.vhdx.released"])
        # A disk that is to come back waits for clients that it is read by.
        outcome = self.there.command("move", "web01", "--to", self.address(self.here))
        self.assertEqual(outcome.code, 5, outcome)
        new.pwrite(b"\x22" * SECTOR, FREE)
        guest.wait_until_fenced()
        self.assert_refuses(old)
        # Not what the disk was when it was handed over.
        self.assertEqual(old.pread(SECTOR, FREE), b"\x22" * SECTOR)
        new.pwrite(b"\x33" * SECTOR, FREE)
        self.assertEqual(old.pread(SECTOR, FREE), b"\x33" * SECTOR)
        for handle in (old, new):
            handle.shutdown()
        guest.leave()
        # Nobody is connected there any more, through whom ever.
        self.assert_sound(self.there, guest)

    def test_every_write_that_waited_for_the_hand_over_is_there(self):
        self.added(self.here)
        guests = [self.guest(self.here, size=2 * MIB, offset=at * 4 * MIB, flags=nbd.CMD_FLAG_FUA)
                  for at in range(4)]
        self.move(self.here, self.there, "--after", "forward", "--max-pause", "2s", "--mirror", "always")
        for guest in guests:
            guest.write_more()
            guest.stop()
            self.assert_holds(self.there, guest)
            guest.leave()

    def test_the_service_there_may_be_killed(self):
        guest = self.forwarded()
        for _ in range(2):
            self.restart(self.there)
            guest.write_more()
        guest.stop()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    def test_a_mover_that_is_started_anew_is_the_end(self):
        guest = self.forwarded(flags=nbd.CMD_FLAG_FUA)
        pid = self.mover_status(self.there, "web01")["pid"]
        os.kill(pid, signal.SIGKILL)
        guest.join(support.PATIENCE_SECONDS)
        self.assertEqual(guest.failure.errnum, errno.EIO, guest.failure)
        # Nothing that it could take for its disk.
        for ask in (lambda: guest.handle.pread(SECTOR, 0), guest.handle.flush):
            with self.assertRaises(nbd.Error) as failed:
                ask()
            self.assertEqual(failed.exception.errnum, errno.EIO)
        while self.mover_pid(self.there) in (None, pid):
            pass
        self.assert_holds(self.there, guest)
        guest.leave()

    def mover_pid(self, host):
        """None while there is none."""
        try:
            return self.mover_status(host, "web01")["pid"]
        except (OSError, ValueError):
            return None

    def test_disks_of_a_group_end_together(self):
        for name in ("os", "data"):
            self.added(self.here, megabytes=4, name=name, options=("--group", "web01"))
        guests = {name: self.guest(self.here, name, size=4 * MIB) for name in ("os", "data")}
        outcome = self.here.command("move", "--group", "web01", "--to", self.address(self.there), "--progress", "none",
                                    "--after", "forward", "--map", "data=data-there.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        for guest in guests.values():
            guest.write_more()
        new = self.client(self.there, "os")
        new.pwrite(b"\x22" * SECTOR, FREE)
        new.shutdown()
        for name, guest in guests.items():
            guest.wait_until_fenced()
            self.assert_holds(self.there, guest, {"data": "data-there"}.get(name, name))
            guest.leave()

    def test_fence_is_what_happens_unless_told(self):
        self.added(self.here)
        guest = self.guest(self.here)
        self.move(self.here, self.there, "--after", "fence")
        guest.wait_until_fenced()
        self.assertIn("may read", self.here.ask("GET", "/v1/disks/web01")[1]["problem"])
        guest.leave()

    def test_a_move_that_was_cancelled_forwards_nothing(self):
        self.added(self.here, megabytes=24)
        guest = self.guest(self.here)
        job = self.detached(self.here, self.there, "--limit", "1M", "--after", "forward")
        self.wait_for(self.here, job, lambda now: now["progress"].get("written_bytes", 0) > 0)
        self.assertEqual(self.here.command("cancel", job).code, 0)
        self.wait_for_state(self.here, job, "cancelled")
        guest.write_more()
        # And the next job is asked anew.
        self.move(self.here, self.there)
        guest.wait_until_fenced()
        guest.leave()

    def test_where_it_goes_on_from_there(self):
        """The destination hands the disk on, to a third host; the first one's client is forwarded twice."""
        third = self.host("third")
        guest = self.forwarded()
        self.move(self.there, third, "--after", "forward", "--max-pause", "2s")
        guest.write_more()
        guest.stop()
        self.assert_holds(third, guest)
        new = self.client(third)
        new.pwrite(b"\x22" * SECTOR, FREE)
        with self.assertRaises(nbd.Error) as refused:
            guest.handle.pwrite(numbered(1), 0)
        self.assertEqual(refused.exception.errnum, errno.EPERM)
        self.assertEqual(guest.handle.pread(SECTOR, FREE), b"\x22" * SECTOR)
        new.shutdown()
        guest.leave()


if __name__ == "__main__":
    support.main()
