"""A disk in use moves between two network namespaces, and the wire between them is pulled."""

import support
from live_hosts import LiveHosts
from two_namespaces import TwoNamespaces


class PartitionTest(LiveHosts):
    def setUp(self):
        self.net = TwoNamespaces(self)
        super().setUp()

    def host(self, name, *options, **others):
        number = ("here", "there").index(name)
        return super().host(name, *options, listen=f"{self.net.address(number)}:0",
                            prefix=self.net.on(number), **others)

    def test_guests_go_on_when_the_wire_is_pulled_and_the_disk_moves_later(self):
        self.added(self.here)
        guest = self.guest(self.here)
        # Every write waits for the other host, as long as that answers.
        job = self.detached(self.here, self.there, "--cutover", "manual", "--mirror", "always",
                            "--max-pause", "500ms")
        self.wait_for_phase(self.here, job, "ready")
        self.wait_for(self.here, job,
                      lambda now: now["progress"].get("live", {}).get("mirrored_writes", 0) > 100)
        self.net.pull()
        guest.write_more()
        over = self.wait_for_state(self.here, job, "failed")
        self.assertEqual(over["exit"], 5, over)
        self.assertEqual(over["ownership"], "web01.vhdx: the source owns it.")
        guest.write_more()
        self.assertEqual(self.state_of(self.here), "exported")
        self.net.plug_in()
        # The other host has found out by itself that nobody sends any more.
        self.wait_until_over(self.there)
        self.assertNotIn("web01.vhdx", self.names(self.there))
        job = self.move(self.here, self.there)
        self.assertEqual(job["ownership"], "web01.vhdx: the destination owns it.")
        guest.wait_until_fenced()
        self.assert_holds(self.there, guest)
        guest.leave()
        self.assert_sound(self.there, guest)

    def relay(self, *arguments):
        return self.net.within(0, lambda: super(PartitionTest, self).relay(*arguments))

    def test_the_wire_is_pulled_in_the_hand_over(self):
        for step in ("prepared", "released"):
            with self.subTest(step):
                guest, job, _ = self.hand_over_until(step, self.net.pull, step)
                over = self.wait_for_state(self.here, job, "failed", "blocked")
                if step == "prepared":
                    self.assertEqual((over["state"], over["exit"]), ("failed", 5), over)
                    self.assertEqual(over["ownership"], f"{step}.vhdx: the source owns it.")
                    guest.write_more()
                    self.assertEqual(self.owners(step), [self.here])
                else:
                    self.assertEqual((over["state"], over["exit"]), ("blocked", 8), over)
                    guest.wait_until_fenced()
                    self.assertEqual(self.owners(step), [])
                    outcome = self.here.command("resolve", job)
                    self.assertEqual(outcome.code, 8, outcome)
                self.net.plug_in()
                self.wait_until_over(self.there)
                if step == "prepared":
                    self.move(self.here, self.there, name=step)
                    guest.wait_until_fenced()
                else:
                    self.resolved(job, f"{step}.vhdx: the destination owns it.")
                self.assertEqual(self.owners(step), [self.there])
                self.assert_holds(self.there, guest, step)
                guest.leave()
                self.assert_sound(self.there, guest, step)

    def wait_until_over(self, host):
        """What arrives there."""
        while jobs := [one for one in host.ask("GET", "/v1/jobs")[1]["jobs"]
                       if one["state"] == "running"]:
            host.ask("GET", f"/v1/jobs/{jobs[0]['id']}?after={jobs[0]['revision']}&wait=30")


if __name__ == "__main__":
    support.main()
