"""modes.sh --drop: a link that loses its rate in the middle of a move, and gets it back.

Each mode moves the disk while the link goes from FAST to SLOW, when a quarter of the disk is there,
and back SLOW_SECONDS later. What counts is the rate from SETTLE_SECONDS after each change on: that of
auto against that of the best fixed mode.
"""

import json
import statistics
import subprocess
import time

import modes_link

FAST, SLOW = "10G", "100M"
SLOW_SECONDS = 8
SETTLE_SECONDS = 2
WINDOWS = (SLOW, f"{FAST} again")


def rate_between(samples, begin, end):
    """Bytes a second of the disk between two times, by (time, bytes) samples; None if they do not
    reach over half a second of it."""
    inside = [(when, done) for when, done in samples if begin <= when <= end]
    if len(inside) < 2 or inside[-1][0] - inside[0][0] < 0.5:
        return None
    (first, from_bytes), (last, to_bytes) = inside[0], inside[-1]
    return (to_bytes - from_bytes) / (last - first)


def watch(sender, link, size_bytes):
    """Reads the sender's progress to its end and changes the link; (time, bytes) and the changes."""
    samples, changes = [], []
    for line in sender.stdout:
        report = json.loads(line)
        now = time.monotonic()
        done = report.get("bytes_done")
        if report.get("type") == "progress" and done:
            samples.append((now, done))
        if not samples:
            continue
        if not changes and samples[-1][1] >= size_bytes / 4:
            link.set_rate(modes_link.rate_bits(SLOW))
            changes.append(now)
        elif len(changes) == 1 and now - changes[0] >= SLOW_SECONDS:
            link.set_rate(modes_link.rate_bits(FAST))
            changes.append(now)
    return samples, changes


def move(bench, disk, mode):
    """One move over the changing link: the rate in each window, or None where the disk was done."""
    bench.fresh(disk)
    bench.link.set_rate(modes_link.rate_bits(FAST))
    with open(bench.work / "send.err", "wb") as lines_for_people:
        receiver, sender, _ = bench.start_move(disk, mode, "plain", stdout=subprocess.PIPE,
                                               stderr=lines_for_people)
    samples, changes = watch(sender, bench.link, bench.options.size_mib << 20)
    sender.stdout.close()
    bench.children.finish(sender)
    bench.children.finish(receiver)
    bench.check_copy(disk, mode)
    edges = changes + [float("inf")]
    return {name: rate_between(samples, begin + SETTLE_SECONDS, end)
            for name, begin, end in zip(WINDOWS, edges, edges[1:])}


def run(bench, disk, say):
    """Rates by mode and window, a list with one figure a round."""
    rates = {}
    modes = [mode for mode in bench.options.modes if mode != "zstd-adapt"]
    for number in range(bench.options.rounds):
        for place in range(len(modes)):
            mode = modes[(number + place) % len(modes)]
            result = move(bench, disk, mode)
            for window in WINDOWS:
                rates.setdefault(mode, {}).setdefault(window, []).append(result.get(window))
            say(f"{disk.stem}, a link that drops, round {number + 1}, {mode}: " + ", ".join(
                f"{window} {rate / 1e6:.0f} MB/s" if rate else f"{window} not reached"
                for window, rate in result.items()))
    return rates


def median(rates, mode, window):
    known = [rate for rate in rates[mode][window] if rate]
    return statistics.median(known) if known else None


def table(disk, rates):
    """Lines of the report."""
    modes = list(rates)
    out = [f"**{disk}, a link that drops from {FAST} to {SLOW} and back**: MB/s of the disk from "
           f"{SETTLE_SECONDS} s after each change on", "",
           "| window | " + " | ".join(modes) + " | auto / best fixed |",
           "|---|" + "---:|" * (len(modes) + 1)]
    for window in WINDOWS:
        found = {mode: median(rates, mode, window) for mode in modes}
        fixed = [rate for mode, rate in found.items() if mode != "auto" and rate]
        ratio = f"{found['auto'] / max(fixed):.3f}" if fixed and found.get("auto") else "-"
        out.append(f"| {window} | " + " | ".join(
            f"{rate / 1e6:.0f}" if rate else "-" for rate in found.values()) + f" | {ratio} |")
    if any(rate is None for one in rates.values() for window in one.values() for rate in window):
        out += ["", "-: the disk was done before; a larger --size-mib reaches it."]
    return out + [""]
