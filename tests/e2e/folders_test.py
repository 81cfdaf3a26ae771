"""A host with several storage folders: a disk that moves there is in the one that was named."""

import subprocess

import support
from live_hosts import LiveHosts, numbered
from nbd_export import wait_for_end
from service import SERVICE


class FoldersTest(LiveHosts):
    def host(self, name, *options, **more):
        """With the folders `fast` and `bulk` beside the one that has no name."""
        folders = {one: self.folder / name / one for one in ("fast", "bulk")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        lines = "".join(f'{one} = "{path}"\n' for one, path in folders.items())
        host = super().host(name, *options, settings=f"[folders]\n{lines}", **more)
        host.folders = folders
        return host

    def group(self, file="data.vhdx"):
        """`db` in fast, `logs` in bulk, of one group and one file name, each with a guest."""
        disks = {"db": "fast", "logs": "bulk"}
        for name, folder in disks.items():
            made = self.make_disk(f"{name}.vhdx", megabytes=2)
            path = made.rename(self.here.folders[folder] / file)
            outcome = self.here.command("disk", "add", name, path, "--group", "vm")
            self.assertEqual(outcome.code, 0, outcome)
        return {name: self.guest(self.here, name) for name in disks}

    def names_in(self, host):
        """Of all files of all its folders but the program's own: {folder: [name...]}."""
        folders = {"": host.disks, **host.folders}
        return {name: sorted(one.name for one in folder.iterdir() if one.name != ".vhdx-migrate")
                for name, folder in folders.items()}

    def assert_nothing_at(self, host):
        self.assertEqual(self.names_in(host), {"": [], "fast": [], "bulk": []})

    def assert_sound_at(self, host, name, path, guest):
        """Closed, qemu-img finds no fault, and reads what the guest was told is written."""
        outcome = host.command("disk", "remove", name)
        self.assertEqual(outcome.code, 0, outcome)
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", path)
        raw = self.folder / "raw"
        support.tool("qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
        with open(raw, "rb") as file:
            for sector, number in guest.acknowledged.items():
                file.seek(sector * 4096)
                self.assertEqual(file.read(4096), numbered(number), sector)
        raw.unlink()

    def refused(self, outcome, code, *words):
        self.assertEqual(outcome.code, code, outcome)
        for word in words:
            self.assertIn(word, str(outcome.of_type("error")[0]))

    TO_EACH = ("--map", "db=fast/", "--map", "logs=bulk/data.vhdx")

    def test_two_disks_of_one_name_go_into_two_folders_and_back(self):
        guests = self.group()
        to = ("--to", self.address(self.there))
        self.refused(self.here.command("move", "--group", "vm", *to), 2, "data.vhdx", "FOLDER/")
        self.refused(self.here.command("move", "--group", "vm", "--map", "db=fast/", "--map",
                                       "logs=fast/", *to), 2, "fast/data.vhdx")
        for bad in ("db=fast/../x.vhdx", "db=/srv/x.vhdx", "db=fast//x.vhdx", "db=a/b/x.vhdx",
                    "db=../x.vhdx", "db=/", "db=f.st/x.vhdx"):
            self.refused(self.here.command("move", "--group", "vm", "--map", bad, *to), 2,
                         "--map web01=fast/web01.vhdx")
        status, answer = self.here.ask("POST", "/v1/jobs", {
            "group": "vm", "to": self.address(self.there), "map": {"db": "fast/../x.vhdx"}})
        self.assertEqual(status, 400)
        self.assertIn("fast/web01.vhdx", answer["error"]["message"])
        inodes = {name: (self.here.folders[folder] / "data.vhdx").stat().st_ino
                  for name, folder in (("db", "fast"), ("logs", "bulk"))}

        job = self.move(self.here, self.there, "--group", "vm", *self.TO_EACH, name=None)
        self.assertEqual([(one["disk"], one["folder"], one["as"]) for one in job["disks"]],
                         [("db", "fast", ""), ("logs", "bulk", "data.vhdx")])
        self.assertEqual([one["name"] for one in job["report"]["disks"]],
                         ["fast/data.vhdx", "bulk/data.vhdx"])
        line = support.run("status", job["id"], "--control", self.here.control).out.decode()
        self.assertIn("db as fast/, logs as bulk/data.vhdx to", line)
        self.assertEqual(self.there.ask("GET", "/v1/host")[1]["folders"],
                         {name: str(path) for name, path in self.there.folders.items()})
        arrival = self.there.ask("GET", "/v1/jobs")[1]["jobs"][0]
        self.assertEqual(arrival["disks"], ["fast/data.vhdx", "bulk/data.vhdx"])
        for guest in guests.values():
            guest.wait_until_fenced()
        self.assertEqual(self.names_in(self.there),
                         {"": [], "fast": ["data.vhdx", "data.vhdx.owner"],
                          "bulk": ["data.vhdx", "data.vhdx.owner"]})
        # Registered under their files' name, which both have.
        there = {"data": guests["db"], "data-2": guests["logs"]}
        for name, folder in (("data", "fast"), ("data-2", "bulk")):
            self.assertEqual(self.exported(self.there, name)["path"],
                             str(self.there.folders[folder] / "data.vhdx"))
            self.assert_holds(self.there, there[name], name)
        for guest in guests.values():
            guest.leave()
        # One that is there already is not overwritten.
        self.assertEqual(self.added(self.here, name="data")["name"], "data")
        self.refused(self.here.command("move", "data", "--as", "bulk/", *to), 3, "data.vhdx")

        again = {name: self.guest(self.there, name, known=guest.acknowledged)
                 for name, guest in there.items()}
        back = self.move(self.there, self.here, "--group", "vm", "--map", "data=fast/", "--map",
                         "data-2=bulk/", name=None)
        self.assertEqual(back["state"], "done")
        for guest in again.values():
            guest.wait_until_fenced()
        back = {"db": again["data"], "logs": again["data-2"]}
        for name, folder in (("db", "fast"), ("logs", "bulk")):
            self.assert_holds(self.here, back[name], name)
            # The copy that was released from there is what came back.
            path = self.here.folders[folder] / "data.vhdx"
            self.assertEqual(path.stat().st_ino, inodes[name])
        for guest in again.values():
            guest.leave()
        for name, folder in (("db", "fast"), ("logs", "bulk")):
            self.assert_sound_at(self.here, name, self.here.folders[folder] / "data.vhdx",
                                 back[name])

    def test_a_folder_that_the_destination_does_not_have(self):
        guests = self.group()
        to = ("--to", self.address(self.there), "--progress", "none")
        outcome = self.here.command("move", "--group", "vm", "--map", "db=fast/", "--map",
                                    "logs=slow/", *to)
        self.refused(outcome, 3, "no storage folder 'slow'", "bulk, fast")
        self.assert_nothing_at(self.there)
        for folder in (self.there.disks, *self.there.folders.values()):
            self.assertEqual(list(folder.iterdir()), [])
        job = self.here.ask("GET", "/v1/jobs")[1]["jobs"][0]
        self.assertEqual((job["state"], job["exit"]), ("failed", 3))
        self.assertIn("the source owns it", job["ownership"])
        arrival = self.there.ask("GET", "/v1/jobs")[1]["jobs"][0]
        self.assertEqual((arrival["state"], arrival["exit"]), ("failed", 3))
        for guest in guests.values():
            guest.write_more()
            guest.stop()
        self.assertEqual(self.owners("db"), [self.here])
        self.assertEqual(self.owners("logs"), [self.here])

    def test_a_destination_that_is_killed_when_it_owns_them_finds_both(self):
        guests = self.group()
        job, proxy = self.cut_off("owned", self.there.kill, "--group", "vm", *self.TO_EACH)
        self.wait_for_state(self.here, job, "blocked")
        for guest in guests.values():
            guest.wait_until_fenced()
        self.there.start()
        for name, path in (("data", "fast"), ("data-2", "bulk")):
            self.assertEqual(self.exported(self.there, name)["path"],
                             str(self.there.folders[path] / "data.vhdx"))
        proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
        outcome = self.here.command("resolve", job)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.here.ask("GET", f"/v1/jobs/{job}")[1]["state"], "done")
        for name, guest in (("data", guests["db"]), ("data-2", guests["logs"])):
            self.assert_holds(self.there, guest, name)
            guest.leave()
        for name, folder, guest in (("data", "fast", guests["db"]),
                                    ("data-2", "bulk", guests["logs"])):
            self.assert_sound_at(self.there, name, self.there.folders[folder] / "data.vhdx", guest)

    def test_prepared_there_and_killed_it_takes_both_when_it_is_asked(self):
        """The hand-over ends before the destination hears of it; both of its processes die."""
        guests = self.group()
        job, proxy = self.cut_off("released", self.there.kill, "--group", "vm", *self.TO_EACH)
        self.wait_for_state(self.here, job, "blocked")
        self.there.start()
        self.assertEqual(self.names_in(self.there)["fast"],
                         ["data.vhdx.owner", "data.vhdx.partial"])
        # Both are of one job, however somebody names one of them.
        for name in ("data", "bulk/data.vhdx", "fast/data"):
            self.refused(self.there.command("resolve", name), 8, "waits for the word")
        self.refused(self.there.command("cleanup", "fast/data.vhdx"), 8)
        proxy.target = ("127.0.0.1", int(self.address(self.there).rpartition(":")[2]))
        outcome = self.here.command("resolve", job)
        self.assertEqual(outcome.code, 0, outcome)
        for name, guest in (("data", guests["db"]), ("data-2", guests["logs"])):
            guest.join()
            self.assert_holds(self.there, guest, name)

    def test_a_job_that_is_resumed_goes_to_the_same_place(self):
        guests = self.group()
        job = self.detached(self.here, self.there, "--group", "vm", *self.TO_EACH, "--cutover",
                            "manual", name=None)
        self.wait_for_phase(self.here, job, "ready")
        self.assertEqual(self.here.command("pause", job).code, 0)
        self.wait_for_state(self.here, job, "paused")
        pid = self.exported(self.here, "db")["mover_pid"]
        self.here.kill()
        self.here.start()
        self.assertEqual(self.exported(self.here, "db")["mover_pid"], pid)
        # Asked for once more it is that job; asked for elsewhere it is another one, which cannot be.
        again = ("move", "--group", "vm", "--to", self.address(self.there), "--cutover", "manual",
                 "--id", job, "--detach")
        outcome = self.here.command(*again, *self.TO_EACH)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertNotEqual(self.here.command(*again, "--map", "db=bulk/", "--map",
                                              "logs=fast/").code, 0)
        self.assertEqual(self.here.command("resume", job).code, 0)
        self.wait_for_phase(self.here, job, "ready")
        self.assertEqual(self.here.command("cutover", job).code, 0)
        self.wait_for_state(self.here, job, "done")
        self.assertEqual(self.names_in(self.there),
                         {"": [], "fast": ["data.vhdx", "data.vhdx.owner"],
                          "bulk": ["data.vhdx", "data.vhdx.owner"]})
        for name, guest in (("data", guests["db"]), ("data-2", guests["logs"])):
            guest.wait_until_fenced()
            self.assert_holds(self.there, guest, name)

    def test_cancelled_one_cleanup_takes_what_came_of_all_disks(self):
        guests = self.group()
        job = self.detached(self.here, self.there, "--group", "vm", *self.TO_EACH, "--cutover",
                            "manual", name=None)
        self.wait_for_phase(self.here, job, "ready")
        pid = self.waiting_mover(self.there, "@vm")
        self.refused(self.there.command("cleanup", "fast/data.vhdx"), 5, "received now")
        self.assertEqual(self.here.command("cancel", job).code, 0)
        over = self.wait_for_state(self.here, job, "cancelled")
        self.assertIn("cleanup fast/data.vhdx", over["advice"])
        wait_for_end(pid)
        # Of another job, in the folder that has no name: it stays.
        self.added(self.here, name="data")
        other = self.detached(self.here, self.there, "--cutover", "manual", name="data")
        self.wait_for_phase(self.here, other, "ready")
        self.assertEqual(self.here.command("cancel", other).code, 0)
        self.wait_for_state(self.here, other, "cancelled")
        self.refused(self.there.command("cleanup", "data.vhdx"), 2, "several folders")
        self.refused(self.there.command("cleanup", "slow/data.vhdx"), 2, "slow/data.vhdx")
        outcome = self.there.command("cleanup", "bulk/data.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assertEqual(self.names_in(self.there),
                         {"": ["data.vhdx.owner", "data.vhdx.partial"], "fast": [], "bulk": []})
        outcome = self.there.command("cleanup", "data.vhdx")
        self.assertEqual(outcome.code, 0, outcome)
        self.assert_nothing_at(self.there)
        for guest in guests.values():
            guest.write_more()
            guest.stop()

    def test_a_service_whose_folder_is_missing_says_which_setting(self):
        config = self.folder / "wrong.toml"
        usual = self.folder / "usual"
        usual.mkdir()
        (self.folder / "link").symlink_to(usual)
        for path, words in ((self.folder / "none", ("folders.fast", "none")),
                            (self.folder / "link", ("folders.fast", "same folder", "of folder"))):
            config.write_text(f'incoming = true\nlisten = "127.0.0.1"\nport = 0\nfolder = "{usual}"\n'
                              f'key_file = "{self.key_file}"\n[folders]\nfast = "{path}"\n')
            done = subprocess.run(
                [SERVICE, "--config", config, "--state", self.folder / "s", "--run",
                 self.folder / "r"], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                env=support.environment(), timeout=support.PATIENCE_SECONDS)
            self.assertEqual(done.returncode, 2, done)
            for word in words:
                self.assertIn(word, done.stderr.decode())

    def test_copies_go_into_folders_too(self):
        into, fast = self.folder / "into", self.folder / "quick"
        into.mkdir()
        fast.mkdir()
        disk = self.make_disk("web01.vhdx", megabytes=2)
        with support.Receiver(into, self.key_file, "--folder", f"fast={fast}") as receiver:
            def send(*words):
                return support.run("send", disk, receiver.address, "--key-file", self.key_file,
                                   "--json", "--progress", "none", *words)
            self.refused(send("--as", "slow/"), 3, "no storage folder 'slow'", "there are fast")
            self.refused(send("--as", "../web01.vhdx"), 2, "fast/web01.vhdx")
            self.assertEqual(list(into.iterdir()) + list(fast.iterdir()), [])
            for place in ("fast/", "fast/other.vhdx"):
                outcome = send("--as", place)
                self.assertEqual(outcome.code, 0, outcome)
            arrived = receiver.wait_for("disk_arrived")["disk"]
            self.assertEqual(arrived, "fast/web01.vhdx")
        self.assertEqual([one.name for one in into.iterdir()], [])
        for name in ("web01.vhdx", "other.vhdx"):
            support.tool("qemu-img", "compare", "-f", "vhdx", "-F", "vhdx", disk, fast / name)


if __name__ == "__main__":
    support.main()
