"""Runs vhdx-migrate as a user would, and checks it with other people's programs."""

import bz2
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = os.environ.get("VHDX_MIGRATE_BINARY", "vhdx-migrate")
ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = pathlib.Path(os.environ.get("VHDX_IMAGES", ROOT.parent / "shared" / "images"))
# A hang must fail, not block: no command here takes a tenth of this.
PATIENCE_SECONDS = 240


def environment():
    """Ours without VHDX_MIGRATE_ options that the person who runs the tests may have set."""
    return {k: v for k, v in os.environ.items() if not k.startswith("VHDX_MIGRATE_")}


class Outcome:
    """How a command ended: exit code, both outputs, and its JSON objects."""

    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err

    @property
    def objects(self):
        return [json.loads(line) for line in self.out.decode().splitlines() if line.strip()]

    def of_type(self, kind):
        return [one for one in self.objects if one.get("type") == kind]

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out.decode(errors='replace')}\n--- stderr\n" \
               f"{self.err.decode(errors='replace')}"


def run(*arguments, prefix=()):
    done = subprocess.run([*prefix, BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
                          timeout=PATIENCE_SECONDS, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def tool(*arguments):
    """Another program, which must succeed."""
    done = subprocess.run([str(one) for one in arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE_SECONDS, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout.decode()}")
    return done.stdout.decode()


def digest_of_file(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha.update(piece)
    return sha.hexdigest()


def digest_of_disk(path):
    """SHA-256 of the whole virtual disk, through `export DISK -`."""
    sha = hashlib.sha256()
    process = subprocess.Popen([BINARY, "export", str(path), "-"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment())
    while piece := process.stdout.read(1 << 20):
        sha.update(piece)
    error = process.stderr.read().decode()
    if process.wait(PATIENCE_SECONDS) != 0:
        raise AssertionError(f"export {path}: {error}")
    process.stdout.close()
    process.stderr.close()
    return sha.hexdigest()


def unpack(name, folder):
    """An image of the collection, unpacked into `folder`; skips the test where there is none."""
    for suffix, opener in ((".gz", gzip.open), (".bz2", bz2.open)):
        packed = IMAGES / (name + suffix)
        if packed.exists():
            path = pathlib.Path(folder) / name
            with opener(packed, "rb") as source, open(path, "wb") as target:
                while piece := source.read(1 << 20):
                    # Holes stay holes: the images are mostly zeros.
                    if piece.count(0) == len(piece):
                        target.seek(len(piece), os.SEEK_CUR)
                    else:
                        target.write(piece)
                target.truncate()
            return path
    raise unittest.SkipTest(f"no image {name} in {IMAGES} (VHDX_IMAGES names the folder)")


class Receiver:
    """A running `vhdx-migrate receive --json`; ends with the with-block."""

    def __init__(self, folder, key_file, *options, prefix=(), listen="127.0.0.1:0"):
        self.folder = pathlib.Path(folder)
        self.key_file = key_file
        self.events = []
        self.process = subprocess.Popen(
            [*prefix, BINARY, "receive", "--into", str(folder), "--listen", listen, "--key-file",
             str(key_file), "--json", "--progress", "none", *options], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        first = self.process.stdout.readline()
        if not first:
            error = self.process.stderr.read().decode()
            raise AssertionError(f"receive did not start: {error}")
        listening = json.loads(first)
        assert listening["type"] == "listening", listening
        self.address = listening["address"]

    def wait_for(self, *kinds):
        """The next event of one of these types."""
        while line := self.process.stdout.readline():
            event = json.loads(line)
            self.events.append(event)
            if event["type"] in kinds:
                return event
        raise AssertionError(f"the receiver ended before {kinds}: {self.events[-5:]}")

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        # Both pipes are read to their ends, or a full one would hold the process up.
        self.process.communicate(timeout=PATIENCE_SECONDS)


class DiskTest(unittest.TestCase):
    """A test with a folder of its own, a key, and a folder that disks arrive in."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vhdx-migrate-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.arrivals = self.folder / "arrivals"
        self.arrivals.mkdir()
        self.key_file = self.folder / "key"

    def receiver(self, *options, **keywords):
        return Receiver(self.arrivals, self.key_file, *options, **keywords)

    def send(self, disk, receiver, *options, **keywords):
        return run("send", disk, receiver.address, "--key-file", self.key_file, "--json",
                   "--progress", "none", *options, **keywords)

    def move(self, disk, *options):
        with self.receiver() as receiver:
            outcome = self.send(disk, receiver, *options)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome

    def names(self):
        """What lies in the folder, state of the program's own left out."""
        return sorted(one.name for one in self.arrivals.iterdir() if one.name != ".vhdx-migrate")

    def make_disk(self, name="disk.vhdx", megabytes=24, block="1M", seed=1, virtual="64M"):
        """A dynamic disk with `megabytes` of seeded random content, written by qemu-io."""
        path = self.folder / name
        tool("qemu-img", "create", "-q", "-f", "vhdx", "-o", f"block_size={block}", path, virtual)
        raw = self.folder / (name + ".content")
        with open(raw, "wb") as file:
            block_bytes = hashlib.shake_256(str(seed).encode()).digest(1 << 20)
            for i in range(megabytes):
                file.write(hashlib.sha256(f"{seed} {i}".encode()).digest() + block_bytes[32:])
            file.truncate(64 << 20)
        tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "vhdx", raw, path)
        raw.unlink()
        return path

    def assert_complete(self, source, arrived):
        """The destination is the source, says qemu-img and says our own check."""
        tool("qemu-img", "check", "-q", "-f", "vhdx", arrived)
        tool("qemu-img", "compare", "-q", "-f", "vhdx", "-F", "vhdx", source, arrived)
        checked = run("check", arrived)
        self.assertEqual(checked.code, 0, checked)


def main():
    if shutil.which(BINARY) is None and not os.access(BINARY, os.X_OK):
        sys.exit(f"no program {BINARY}: set VHDX_MIGRATE_BINARY")
    unittest.main()
