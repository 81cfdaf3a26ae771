#!/usr/bin/env python3
"""What a large, almost empty disk costs: 1 TiB with 1 GiB of data, beside a disk that is that data and no more.

    bench/sparse.py --tool build/release/tools/vhdx-migrate [--runs 5] [--data-mib 1024] [--dir FOLDER] [--json FILE]

Both disks are dynamic, in blocks of 4 MiB; the large one has its data in 4 MiB pieces all over it. They are moved in
turns over loopback, with TLS and without, in a network namespace of their own (as root),
whose interface says what was on the wire: both directions, and what TCP and IP add. The source is in the page cache,
and the clock is that of the sender's process, whose job ends when the copy is durable. The first copy of each is compared.
Exit 0 if every copy was right.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PIECE = 4 << 20
LARGE = 1 << 40


def make_raw(path, size, pieces, stride):
    with open(path, "wb") as raw:
        raw.truncate(size)
        for index in range(pieces):
            raw.seek(index * stride)
            raw.write(os.urandom(PIECE))


def bytes_on_loopback():
    for line in open("/proc/net/dev"):
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[8])
    raise SystemExit("sparse.py: no loopback interface")


def move(tool, disk, folder, key, plain):
    into = os.path.join(folder, "into")
    shutil.rmtree(into, ignore_errors=True)
    os.mkdir(into)
    subprocess.run(["sync", "-f", folder], check=True)
    with open(disk, "rb") as source:
        while source.read(8 << 20):
            pass
    receive = subprocess.Popen(
        [tool, "receive", "--into", into, "--listen", "127.0.0.1:0", "--once", "--key-file", key, "--json",
         "--progress", "none"] + (["--plaintext-data"] if plain else []), stdout=subprocess.PIPE, text=True)
    try:
        address = json.loads(receive.stdout.readline())["address"]
        before = bytes_on_loopback()
        begin = time.monotonic()
        subprocess.run([tool, "send", disk, address, "--key-file", key, "--progress", "none"] +
                       (["--plaintext-data"] if plain else []), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        wire = bytes_on_loopback() - before
        receive.stdout.read()
        if receive.wait() != 0:
            raise SystemExit("sparse.py: the receiver failed")
    finally:
        if receive.poll() is None:
            receive.kill()
    return {"seconds": seconds, "wire_bytes": wire}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data-mib", type=int, default=1024)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--json")
    options = parser.parse_args()
    if "VHDXM_IN_NAMESPACE" not in os.environ:
        if os.geteuid() != 0:
            raise SystemExit("sparse.py: a network namespace takes root")
        os.environ["VHDXM_IN_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-B", *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tool = os.path.abspath(options.tool)
    folder = tempfile.mkdtemp(prefix="vhdx-migrate-sparse.", dir=options.dir)
    try:
        key = os.path.join(folder, "key")
        pieces = options.data_mib * (1 << 20) // PIECE
        disks = {}
        for name, size, stride in [("1 TiB", LARGE, LARGE // pieces // PIECE * PIECE),
                                   (f"{options.data_mib} MiB", pieces * PIECE, PIECE)]:
            raw = os.path.join(folder, "raw")
            disks[name] = os.path.join(folder, name.replace(" ", "") + ".vhdx")
            make_raw(raw, size, pieces, stride)
            subprocess.run([tool, "import", raw, disks[name], "--block-size", "4M", "--progress", "none"], check=True,
                           stdout=subprocess.DEVNULL)
            os.remove(raw)
        results = []
        for run in range(options.runs):
            names = list(disks) if run % 2 == 0 else list(disks)[::-1]
            for plain in (False, True):
                for name in names:
                    row = {"disk": name, "plain": plain, "run": run, **move(tool, disks[name], folder, key, plain)}
                    results.append(row)
                    if run == 0:
                        copy = os.path.join(folder, "into", os.path.basename(disks[name]))
                        subprocess.run([tool, "compare", disks[name], copy, "--progress", "none"], check=True,
                                       stdout=subprocess.DEVNULL)
        print("| disk | data streams | s | on the wire |\n|---|---|---:|---:|")
        for plain in (False, True):
            median = {}
            for name in disks:
                rows = [row for row in results if row["disk"] == name and row["plain"] == plain]
                median[name] = {key: statistics.median(row[key] for row in rows) for key in ("seconds", "wire_bytes")}
                print(f"| {name} | {'plain' if plain else 'TLS'} | {median[name]['seconds']:.3f} | "
                      f"{median[name]['wire_bytes']:,} |")
            large, small = (median[name] for name in disks)
            print(f"| the large one costs | | {(large['seconds'] / small['seconds'] - 1) * 100:+.1f} % | "
                  f"{(large['wire_bytes'] / small['wire_bytes'] - 1) * 100:+.2f} % |")
        if options.json:
            with open(options.json, "w") as out:
                json.dump({"schema": 1, "results": results}, out, indent=1)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
