"""The record of modes.sh, and what is made of it: a table, and a chart for each disk.

modes_report.py RECORD.json... [FOLDER] prints the table of records that are there already, together,
and draws their charts into FOLDER. So a long series can be measured in parts, each rate with a size
that takes long enough there.
"""

import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from xml.sax.saxutils import escape

import modes_drop
import modes_link

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 430, 64, 130, 62, 74
COLORS = ("#8c959f", "#9a6700", "#1a7f37", "#8250df", "#bf3989", "#0a7ea4", "#57606a", "#a40e26")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px }
  .small { font-size: 11px; fill: #57606a }
  .page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { fill: none; stroke-width: 1.6 } .ours { stroke-width: 3 }
  .cross { stroke: #57606a; stroke-width: 1; stroke-dasharray: 4 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #30363d }
  }
"""


def output_of(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip()


def new_record(options):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    commit = output_of("git", "-C", os.path.dirname(__file__), "rev-parse", "--short", "HEAD")
    filesystem = output_of("df", "--output=fstype", options.dir).splitlines()[-1:]
    machine = (f"{os.cpu_count()} x {(models or ['unknown processor'])[0]}, Linux "
               f"{platform.release()}, {' '.join(filesystem)}, commit {commit or 'unknown'}, "
               f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}")
    return {"schema": 1, "machine": machine, "size_mib": options.size_mib, "rounds": options.rounds,
            "modes": options.modes, "rates": options.rates, "disks": {}, "cells": [], "drops": {}}


def merge(records):
    """One record of several; the same disk and rate in two of them are more rounds of one cell."""
    merged = {**records[0], "modes": [], "rates": [], "disks": {}, "cells": [], "drops": {}}
    cells = {}
    for record in records:
        for key in ("modes", "rates"):
            merged[key] += [one for one in record[key] if one not in merged[key]]
        merged["disks"].update(record["disks"])
        for disk, rates in record.get("drops", {}).items():
            modes = merged["drops"].setdefault(disk, {})
            for mode, windows in rates.items():
                for window, values in windows.items():
                    modes.setdefault(mode, {}).setdefault(window, []).extend(values)
        for cell in record["cells"]:
            size = cell.get("size_mib", record["size_mib"])
            known = cells.setdefault((cell["disk"], cell["rate"], size),
                                     {**cell, "size_mib": size, "runs": {}})
            known["advice"] = known["advice"] or cell["advice"]
            for mode, runs in cell["runs"].items():
                known["runs"].setdefault(mode, []).extend(runs)
    bits = lambda cell: modes_link.rate_bits(cell["rate"]) or math.inf  # noqa: E731
    merged["cells"] = sorted(cells.values(), key=bits)
    merged["rates"].sort(key=lambda rate: modes_link.rate_bits(rate) or math.inf)
    return merged


def ran(cell, mode):
    return bool(cell["runs"].get(mode))


def median_of(cell, mode, field="wall_s"):
    return statistics.median(run[field] for run in cell["runs"][mode])


def fixed_modes(cell):
    """Modes of vhdx-migrate that somebody could have chosen instead of auto."""
    return [mode for mode in cell["runs"] if mode not in ("auto", "zstd-adapt")]


def best_fixed(cell):
    return min(fixed_modes(cell), key=lambda mode: median_of(cell, mode), default=None)


def lost_by_auto(cell):
    """Time of auto over that of the best fixed mode, median of the rounds; None without both."""
    best = best_fixed(cell)
    if best is None or "auto" not in cell["runs"]:
        return None
    pairs = zip(cell["runs"]["auto"], cell["runs"][best])
    return statistics.median(ours["wall_s"] / theirs["wall_s"] for ours, theirs in pairs)


def advised(cell, mode):
    """Seconds that advise predicted for a mode, or None."""
    for row in (cell["advice"] or {}).get("modes", []):
        if row.get("mode") == "compress" and str(row.get("level")) == mode:
            return row["seconds"]
        if row.get("mode") == mode:
            return row["seconds"]
    return None


def span(values, unit):
    low, high = min(values, default=0), max(values, default=0)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def rounds_of(record):
    counts = [len(runs) for cell in record["cells"] for runs in cell["runs"].values()]
    return "one round" if max(counts, default=1) == 1 else f"medians of {span(counts, 'rounds')}"


def sizes_of(record):
    return span([cell.get("size_mib", record["size_mib"]) for cell in record["cells"]], "MiB")


def per_gib(cell, mode):
    """Seconds for a GiB of content: cells of other sizes can be compared."""
    return median_of(cell, mode) * 1024 / cell["size_mib"]


def name_of(mode):
    return f"level {mode}" if mode.lstrip("-").isdigit() else mode


def entry(cell, mode):
    if not ran(cell, mode):
        return "-"
    seconds = median_of(cell, mode)
    said = advised(cell, mode)
    return f"{seconds:.2f}" if said is None else f"{seconds:.2f} ({said:.2f})"


def crossover(record, disk):
    """The rate, in bits a second, from which plain is faster than every level; None if there is
    none within the rates that have a number."""
    points = []
    for cell in (one for one in record["cells"] if one["disk"] == disk):
        bits = modes_link.rate_bits(cell["rate"])
        levels = [mode for mode in fixed_modes(cell) if mode != "plain"]
        if bits is None or not levels or "plain" not in cell["runs"]:
            continue
        level = min(median_of(cell, mode) for mode in levels)
        points.append((math.log(bits), math.log(median_of(cell, "plain") / level)))
    points.sort()
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if y0 > 0 >= y1:
            return math.exp(x0 + (x1 - x0) * y0 / (y0 - y1))
    return None


def advice_summary(record):
    """How far what advise predicted was from what was measured."""
    off = [(advised(cell, mode) / median_of(cell, mode), f"{name_of(mode)}, {cell['disk']} at {cell['rate']}")
           for cell in record["cells"] for mode in cell["runs"] if advised(cell, mode) is not None]
    if not off:
        return "No predictions of advise."
    worst, where = max(off, key=lambda one: abs(math.log(max(one[0], 1e-9))))
    near = {share: sum(abs(ratio - 1) <= share for ratio, _ in off) for share in (0.15, 0.30)}
    return (f"Of {len(off)} predictions of advise, {near[0.15]} are within 15 % and {near[0.30]} "
            f"within 30 % of what was measured; furthest off: {worst:.2f} of it ({where}).")


def table(record):
    modes = record["modes"]
    with_advice = any(cell["advice"] for cell in record["cells"])
    out = [record["machine"],
           f"Seconds, {rounds_of(record)}"
           + (", in brackets what advise said" if with_advice else "")
           + f"; {sizes_of(record)} of content.", ""]
    for disk in record["disks"]:
        out += [f"**{disk}**", "",
                "| link | MiB | " + " | ".join(map(name_of, modes)) + " | best fixed | auto / best |"
                + " auto / zstd-adapt | CPU s at auto: sender, receiver |",
                "|---|---:|" + "---:|" * len(modes) + "---|---:|---:|---:|"]
        for cell in (one for one in record["cells"] if one["disk"] == disk):
            lost, best = lost_by_auto(cell), best_fixed(cell)
            runs = cell["runs"]
            rival = ("-" if "auto" not in runs or "zstd-adapt" not in runs
                     else f"{median_of(cell, 'auto') / median_of(cell, 'zstd-adapt'):.2f}")
            cpu = ("-" if "auto" not in runs else
                   f"{median_of(cell, 'auto', 'sender_cpu_s'):.2f}, "
                   f"{median_of(cell, 'auto', 'receiver_cpu_s'):.2f}")
            out.append(f"| {cell['rate']} | {cell['size_mib']} | " + " | ".join(entry(cell, mode) for mode in modes)
                       + f" | {name_of(best) if best else '-'} | "
                       + ("-" if lost is None else f"{lost:.3f}") + f" | {rival} | {cpu} |")
        rate = crossover(record, disk)
        out += ["", f"Plain is the fastest from {rate / 1e9:.2f} Gbit/s on." if rate
                else "Plain and compression do not change places within these rates.", ""]
    for disk, rates in record.get("drops", {}).items():
        out += modes_drop.table(disk, rates)
    return "\n".join(out + [advice_summary(record)])


class Axes:
    """Rates from left to right, by their logarithm, with unlimited one step behind the last."""

    def __init__(self, record, cells):
        logs = [math.log10(modes_link.rate_bits(cell["rate"])) for cell in cells
                if cell["rate"] != "unlimited"]
        self.low = min(logs, default=9.0)
        self.last = max(logs, default=9.0)
        self.high = max(self.last + 0.5, self.low + 1)
        times = [per_gib(cell, mode) for cell in cells for mode in record["modes"]
                 if ran(cell, mode)]
        self.bottom = math.log10(min(times)) - 0.08
        self.top = math.log10(max(times)) + 0.08

    def x(self, bits):
        value = self.high if bits is None else math.log10(bits)
        return LEFT + (value - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def y(self, seconds):
        share = (math.log10(seconds) - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def grid(axes, cells):
    parts = []
    for exponent in range(math.floor(axes.bottom), math.ceil(axes.top) + 1):
        for digit in (1, 2, 5):
            seconds = digit * 10.0**exponent
            if axes.bottom <= math.log10(seconds) <= axes.top:
                y = axes.y(seconds)
                parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                             f'y2="{y:.1f}"/><text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" '
                             f'text-anchor="end">{seconds:g} s</text>')
    for cell in cells:
        x = axes.x(modes_link.rate_bits(cell["rate"]))
        rate = cell["rate"]
        label = rate if rate == "unlimited" else f"{rate[:-1]} {rate[-1]}bit/s"
        parts.append(f'<text class="small" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" '
                     f'text-anchor="middle">{label}</text>')
    return parts


def label_places(ends):
    """Moves labels apart: from (y, mode), those at which each can be read."""
    places = {}
    free = 0.0
    for y, mode in sorted(ends):
        places[mode] = max(y, free)
        free = places[mode] + 15
    return places


def lines(record, axes, cells):
    cells = sorted(cells, key=lambda cell: axes.x(modes_link.rate_bits(cell["rate"])))
    modes = [mode for mode in record["modes"] if any(ran(cell, mode) for cell in cells)]
    all_cells = cells
    last = {mode: [cell for cell in cells if ran(cell, mode)][-1] for mode in modes}
    places = label_places([(axes.y(per_gib(last[mode], mode)), mode) for mode in modes])
    parts = []
    for number, mode in enumerate(modes):
        cells = [cell for cell in all_cells if ran(cell, mode)]
        kind, color = ("line ours", "#0969da") if mode == "auto" else (
            "line", COLORS[number % len(COLORS)])
        points = [(axes.x(modes_link.rate_bits(cell["rate"])), axes.y(per_gib(cell, mode)))
                  for cell in cells]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{kind}" style="stroke: {color}" points="{path}"/>')
        for (x, y), cell in zip(points, cells):
            told = f"{name_of(mode)} at {cell['rate']}: {per_gib(cell, mode):.2f} s a GiB"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill: {color}">'
                         f'<title>{escape(told)}</title></circle>')
        parts.append(f'<text x="{points[-1][0] + 10:.1f}" y="{places[mode] + 4.5:.1f}" '
                     f'style="fill: {color}">{escape(name_of(mode))}</text>')
    return parts


def chart(record, disk):
    cells = [cell for cell in record["cells"] if cell["disk"] == disk]
    axes = Axes(record, cells)
    parts = grid(axes, cells) + lines(record, axes, cells)
    rate = crossover(record, disk)
    if rate:
        x = axes.x(rate)
        parts.append(f'<line class="cross" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                     f'<text class="small" x="{x + 5:.1f}" y="{TOP + 10}">plain is fastest from '
                     f'{rate / 1e9:.1f} Gbit/s</text>')
    body = "\n  ".join(parts)
    title = f"Time to move the {disk} disk, over the rate of the link"
    about = f"Seconds for a GiB of content, {sizes_of(record)} moved, {rounds_of(record)}; lower is better"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" \
viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">
  <style>{STYLE}  </style>
  <rect class="page" width="{WIDTH}" height="{HEIGHT}"/>
  <text class="title" x="16" y="26">{escape(title)}</text>
  <text class="small" x="16" y="44">{escape(about)}</text>
  {body}
  <text class="small" x="16" y="{HEIGHT - 14}">{escape(record['machine'])}</text>
</svg>
"""


def write_charts(record, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for disk in record["disks"]:
        (folder / f"modes-{disk}.svg").write_text(chart(record, disk), encoding="utf-8")


def main():
    paths = [path for path in sys.argv[1:] if path.endswith(".json")]
    folders = [path for path in sys.argv[1:] if not path.endswith(".json")]
    if not paths or len(folders) > 1:
        sys.exit("usage: modes_report.py RECORD.json... [FOLDER]")
    record = merge([json.loads(pathlib.Path(path).read_text(encoding="utf-8")) for path in paths])
    if folders:
        write_charts(record, pathlib.Path(folders[0]))
    print(table(record))


if __name__ == "__main__":
    main()
