"""Images that qemu-img writes, in all its options, moved and compared by qemu-img."""

import itertools

import support


class QemuImages(support.DiskTest):
    def test_every_option_of_qemu_img(self):
        options = itertools.product(("dynamic", "fixed"), ("1M", "2M", "8M", "32M", "256M"),
                                    ("1M", "4M"), ("on", "off"))
        for subformat, block, log, zero in options:
            name = f"{subformat}-{block}-{log}-{zero}.vhdx"
            with self.subTest(image=name):
                disk = self.folder / name
                support.tool("qemu-img", "create", "-q", "-f", "vhdx", "-o",
                             f"subformat={subformat},block_size={block},log_size={log},"
                             f"block_state_zero={zero}", disk, "70M")
                support.tool("qemu-io", "-f", "vhdx", "-c", "write -P 0xa5 0 3M", "-c",
                             "write -P 0x5a 33M 64k", disk)
                self.move(disk)
                arrived = self.arrivals / name
                self.assert_complete(disk, arrived)
                # QEMU may let a fixed disk's file end inside its last block, which ours never does.
                block_bytes = int(block[:-1]) << 20
                most = disk.stat().st_size + (block_bytes if subformat == "fixed" else 1 << 20)
                self.assertLessEqual(arrived.stat().st_size, most)
                arrived.unlink()
                disk.unlink()

    def test_every_stream_count_and_extreme(self):
        disk = self.make_disk(megabytes=10)
        for streams in ("1", "2", "3", "8", "16"):
            with self.subTest(streams=streams):
                self.move(disk, "--streams", streams)
                self.assert_complete(disk, self.arrivals / "disk.vhdx")
                (self.arrivals / "disk.vhdx").unlink()
        self.move(disk, "--memory", "8M", "--limit", "100M")
        self.assert_complete(disk, self.arrivals / "disk.vhdx")


if __name__ == "__main__":
    support.main()
