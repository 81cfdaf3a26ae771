"""Every image that other people's software made: read, moved over TCP, read back."""

import re
import subprocess

import support

README = support.IMAGES / "README.md"
ROW = re.compile(r"^\| (\S+\.vhdx)\.(?:gz|bz2) \|.*\| ([0-9a-f]{64}) \((\d+)\) \|$", re.M)


def table():
    """{name: sha256 of the virtual disk}, from the collection's own README."""
    if not README.exists():
        return {}
    return {name: (digest, int(size)) for name, digest, size in ROW.findall(README.read_text())}


# Hashing ten gigabytes of zeros takes its time: the largest disks are hashed once, after the move.
# (The unit tests read every image directly against its digest.)
SMALL = 1 << 30


class Images(support.DiskTest):
    def setUp(self):
        super().setUp()
        self.expected = table()
        if not self.expected:
            self.skipTest(f"no images in {support.IMAGES} (VHDX_IMAGES names the folder)")
        self.sources = self.folder / "sources"
        self.sources.mkdir()

    def test_every_image_reads_moves_and_reads_back(self):
        for name, (digest, size) in self.expected.items():
            with self.subTest(image=name):
                source = support.unpack(name, self.sources)
                if name == "ntfs-differential.vhdx":
                    support.unpack("ntfs-parent.vhdx", self.sources)
                bytes_before = support.digest_of_file(source)
                if size <= SMALL:
                    self.assertEqual(support.digest_of_disk(source), digest, "read directly")
                with self.receiver() as receiver:
                    outcome = self.send(source, receiver, "--verify")
                    self.assertEqual(outcome.code, 0, outcome)
                arrived = self.arrivals / name
                self.assertEqual(support.digest_of_disk(arrived), digest, "read back")
                self.assertEqual(support.digest_of_file(source), bytes_before,
                                 "the source file was changed")
                checked = support.run("check", arrived)
                self.assertEqual(checked.code, 0, checked)
                if name != "ntfs-differential.vhdx":  # QEMU opens no differencing disks
                    support.tool("qemu-img", "check", "-q", arrived)
                self.assertLessEqual(arrived.stat().st_size, source.stat().st_size)
                for arrived_name in self.names():
                    (self.arrivals / arrived_name).unlink()

    def test_qemu_reads_the_moved_images_as_we_read_the_sources(self):
        for name, (digest, size) in self.expected.items():
            if name == "ntfs-differential.vhdx" or size > SMALL:
                continue
            with self.subTest(image=name):
                source = support.unpack(name, self.sources)
                self.move(source)
                raw = self.folder / "qemu.raw"
                subprocess.run(["qemu-img", "convert", "-O", "raw", self.arrivals / name, raw],
                               check=True)
                self.assertEqual(support.digest_of_file(raw), digest)
                raw.unlink()
                (self.arrivals / name).unlink()


if __name__ == "__main__":
    support.main()
