"""Differencing disks: the chain goes over, parents first, and resolves where it arrives."""

import support


class Chain(support.DiskTest):
    def test_a_windows_chain_moves_whole(self):
        parent = support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        digest = support.digest_of_disk(child)
        outcome = self.move(child, "--verify")
        self.assertEqual(self.names(), ["ntfs-differential.vhdx", "ntfs-parent.vhdx"])
        self.assertEqual(support.digest_of_disk(self.arrivals / child.name), digest)
        self.assertEqual(support.digest_of_disk(self.arrivals / parent.name),
                         support.digest_of_disk(parent))
        self.assertIn("the source", outcome.out.decode() + outcome.err.decode())

    def test_a_parent_that_is_there_is_skipped(self):
        parent = support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        self.move(parent)
        before = (self.arrivals / parent.name).stat()
        self.move(child)
        after = (self.arrivals / parent.name).stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
        self.assertEqual(support.digest_of_disk(self.arrivals / child.name),
                         support.digest_of_disk(child))

    def test_a_parents_name_taken_by_another_disk_is_refused_with_both_identities(self):
        support.unpack("ntfs-parent.vhdx", self.folder)
        child = support.unpack("ntfs-differential.vhdx", self.folder)
        other = self.arrivals / "ntfs-parent.vhdx"
        support.tool("qemu-img", "create", "-q", "-f", "vhdx", other, "4M")
        before = support.digest_of_file(other)
        with self.receiver() as receiver:
            outcome = self.send(child, receiver)
        self.assertEqual(outcome.code, 3, outcome)
        message = outcome.of_type("error")[0]["message"]
        guids = [word.strip(",;().") for word in message.split() if word.count("-") == 4]
        for disk in (other, self.folder / "ntfs-parent.vhdx"):
            identity = support.run("info", disk, "--json").out.decode().lower()
            self.assertTrue(any(guid in identity for guid in guids), message)
        self.assertEqual(support.digest_of_file(other), before)
        self.assertEqual(self.names(), ["ntfs-parent.vhdx"])

    def test_a_child_made_here_moves_with_its_parent(self):
        base = self.make_disk("base.vhdx", megabytes=8)
        child = self.folder / "child.vhdx"
        made = support.run("create", child, "--parent", base)
        self.assertEqual(made.code, 0, made)
        digest = support.digest_of_disk(child)
        self.assertEqual(digest, support.digest_of_disk(base))
        self.move(child, "--as", "renamed.vhdx")
        self.assertEqual(self.names(), ["base.vhdx", "renamed.vhdx"])
        self.assertEqual(support.digest_of_disk(self.arrivals / "renamed.vhdx"), digest)


if __name__ == "__main__":
    support.main()
