"""send --flatten: a chain arrives as one disk, which QEMU reads too."""

import support


class Flatten(support.DiskTest):
    def export(self, disk):
        raw = self.folder / (disk.name + ".raw")
        exported = support.run("export", disk, raw)
        self.assertEqual(exported.code, 0, exported)
        return raw

    def assert_flat(self, disk, name):
        """The destination is one disk with the content that `export` makes of the chain."""
        arrived = self.arrivals / name
        self.assertEqual(self.names(), [name])
        support.tool("qemu-img", "check", "-q", "-f", "vhdx", arrived)
        raw = self.export(disk)
        support.tool("qemu-img", "compare", "-q", "-f", "vhdx", "-F", "raw", arrived, raw)
        raw.unlink()
        checked = support.run("check", arrived)
        self.assertEqual(checked.code, 0, checked)
        info = support.run("info", arrived, "--json").of_type("info")[0]
        self.assertEqual(info["disk_type"], "dynamic")
        self.assertEqual(info["virtual_bytes"],
                         support.run("info", disk, "--json").of_type("info")[0]["virtual_bytes"])
        return arrived

    def child_of(self, name, parent):
        made = support.run("create", self.folder / name, "--parent", parent)
        self.assertEqual(made.code, 0, made)
        return self.folder / name

    def test_a_windows_chain(self):
        support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        digest = support.digest_of_disk(child)
        self.move(child, "--flatten", "--verify")
        arrived = self.assert_flat(child, child.name)
        self.assertEqual(support.digest_of_disk(arrived), digest)

    def test_chains_of_two_and_three_made_here(self):
        base = self.make_disk("base.vhdx", megabytes=8)
        middle = self.child_of("middle.vhdx", base)
        leaf = self.child_of("leaf.vhdx", middle)
        for disk in (middle, leaf):
            with self.subTest(disk=disk.name):
                self.move(disk, "--flatten", "--as", "flat.vhdx")
                arrived = self.assert_flat(disk, "flat.vhdx")
                support.tool("qemu-img", "compare", "-q", "-f", "vhdx", "-F", "vhdx", arrived, base)
                arrived.unlink()

    def test_what_is_there_already_is_not_sent_again(self):
        support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        self.move(child, "--flatten", "--as", "flat.vhdx")
        before = (self.arrivals / "flat.vhdx").stat()
        again = self.move(child, "--flatten", "--as", "flat.vhdx")
        after = (self.arrivals / "flat.vhdx").stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
        self.assertEqual(again.of_type("done")[0]["disks"][0]["outcome"], "identical", again)

    def test_export_shows_the_chain(self):
        support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        raw = self.export(child)
        compared = support.run("compare", child, raw)
        self.assertEqual(compared.code, 0, compared)
        self.assertEqual(support.digest_of_file(raw), support.digest_of_disk(child))


if __name__ == "__main__":
    support.main()
