"""Tables of what bench/live.py measured."""

import os
import platform
import re
import statistics

GOALS = {"pause_ms": 20, "again": 1.05, "tracked": 0.95, "copying": 0.7, "export": 0.9, "mirrored": 1.2}


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        if found := re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE):
            model = found.group(1)
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def verdict(value, goal, at_most):
    met = value <= goal if at_most else value >= goal
    return f"{'<=' if at_most else '>='} {goal}: {'met' if met else '**missed**'}"


def verdict_between(low, high, goal):
    if low <= goal < high:
        return f"<= {goal}: the client cannot tell"
    return verdict(high, goal, True)


def spread(rows, key):
    values = [row[key] for row in rows]
    return f"{statistics.median(values):.1f} | {max(values):.1f}"


def moves_table(rows, title):
    lines = [f"**{title}, {len(rows)} moves**", "", "| ms | median | worst |", "|---|---:|---:|",
             f"| pause: longest gap over the move, less the longest one without | {spread(rows, 'pause_ms')} |",
             f"| longest gap over the move | {spread(rows, 'gap_ms')} |"]
    if "held_ms" in rows[0]:
        lines += [f"| of that, held at the source until writes were refused | {spread(rows, 'held_ms')} |",
                  f"| of that, until the destination had done one | {spread(rows, 'elsewhere_ms')} |",
                  f"| longest gap before that, in the move | {spread(rows, 'gap_before_ms')} |"]
    lines += [f"| longest gap without a move | {spread(rows, 'base_gap_ms')} |"]
    median = lambda key: statistics.median(row[key] for row in rows)  # noqa: E731
    lines += ["", f"A move took {median('seconds'):.1f} s (median; at most {max(row['seconds'] for row in rows):.1f}); "
              f"{median('writes_per_second'):.0f} writes/s meanwhile, {median('writes_per_second_base'):.0f} without."]
    return lines


def promise(rows, limit_ms):
    """Whether writes were ever held longer than was allowed, by what the client saw."""
    over = [row for row in rows if row["held_ms"] - row["base_gap_ms"] > limit_ms]
    told = max(row["told_pause_ms"] for row in rows)
    return (f"Held at the source longer than {limit_ms} ms and the gap without a move: {len(over)} of {len(rows)}; "
            f"the jobs themselves tell {told:.1f} ms at most. Holds that failed: "
            f"{sum(row['holds_failed'] for row in rows)}; passes: {statistics.median(row['passes'] for row in rows):.0f} "
            f"(median); writes were slowed down in {sum(row['throttled_to'] > 0 for row in rows)}.")


def again(rows):
    lines = []
    for which, words in (("all", "all passes after the first"), ("later", "passes after the second")):
        known = [row["again"][which] for row in rows if which in row["again"]]
        if not known:
            lines.append(f"Sent again, {words}: no move told of enough passes.")
            continue
        sent, low, pages, high = (sum(one[key] for one in known)
                                  for key in ("sent_pages", "low", "pages", "high"))
        lines.append(f"Sent again, {words} (those told of, {len(known)} of {len(rows)} moves), over the unique pages "
                     f"of each by the client's own record: {sent / pages:.3f} ({sent} of {pages} pages; by the errors "
                     f"of their borders between {sent / high:.3f} and {sent / low:.3f}), "
                     f"{verdict_between(sent / high, sent / low, GOALS['again'])}.")
    return lines


def pauses(records):
    lines = []
    by_limit = {}
    for record in records:
        if "pause" in record:
            by_limit.setdefault(record["options"]["max_pause_ms"], []).extend(record["pause"])
    for limit, rows in sorted(by_limit.items()):
        worst = max(row["pause_ms"] for row in rows)
        lines += moves_table(rows, f"VHDX Migrate, --max-pause {limit}ms")
        lines += [promise(rows, limit), *again(rows),
                  f"Worst pause {worst:.1f} ms, {verdict(worst, GOALS['pause_ms'], True)}.", ""]
    return lines


def peers(records):
    rows = [row for record in records for row in record.get("peer", [])]
    if not rows:
        return []
    return moves_table(rows, "qemu-storage-daemon, blockdev-mirror, write-blocking") + [""]


def guests(records):
    rows = [row for record in records for row in record.get("guest", [])]
    if not rows:
        return []
    ratio = statistics.median(row["copying"] / row["alone"] for row in rows)
    median = lambda key: statistics.median(row[key] for row in rows)  # noqa: E731
    half = "half" if all(row.get("half", True) for row in rows) else "less than half"
    return [f"**Writes while a disk is copied with --limit {rows[0]['limit'] >> 20}M, {half} of what it does alone, "
            f"{len(rows)} turns**", "", "| | writes/s, median | p99 us |", "|---|---:|---:|",
            f"| no move | {median('alone'):.0f} | {median('alone_p99_us'):.0f} |",
            f"| copying | {median('copying'):.0f} | {median('copying_p99_us'):.0f} |",
            "", f"Ratio, median of turns: {ratio:.2f}, {verdict(ratio, GOALS['copying'], False)}.", ""]


def mirrored(records):
    rows = [row for record in records for row in record.get("mirror", [])]
    if not rows:
        return []
    median = lambda key: statistics.median(row[key] for row in rows)  # noqa: E731
    ratio = statistics.median(row["mirrored_p99_us"] / (row["alone_p99_us"] + row["round_trip_us"])
                              for row in rows)
    return [f"**Every write mirrored, {len(rows)} turns**", "",
            "| | writes/s, median | p50 us | p99 us |", "|---|---:|---:|---:|",
            *(f"| {words} | {median(name):.0f} | {median(f'{name}_p50_us'):.0f} | {median(f'{name}_p99_us'):.0f} |"
              for name, words in (("alone", "no move"), ("mirrored", "mirrored"))),
            "", f"4 KiB there and a byte back over TCP: {rows[0]['round_trip_us']:.0f} us. p99 mirrored / (p99 without + "
            f"that), median of turns: {ratio:.2f}, {verdict(ratio, GOALS['mirrored'], True)}.", ""]


def exports(records):
    rows = [row for record in records for row in record.get("export", [])]
    if not rows:
        return []
    names = list(dict.fromkeys(row["name"] for row in rows))
    medians = {name: statistics.median(row["writes_per_second"] for row in rows if row["name"] == name)
               for name in names}
    tracked = medians["vhdx-migrate, tracked"] / medians["vhdx-migrate"]
    export = medians["vhdx-migrate"] / medians["nbdkit file, raw"]
    return ["**fio, 4 KiB random writes, 16 under way**", "", "| | writes/s, median |", "|---|---:|",
            *(f"| {name} | {medians[name]:.0f} |" for name in sorted(names)), "",
            f"Tracked / not: {tracked:.2f}, {verdict(tracked, GOALS['tracked'], False)}. "
            f"Not tracked / nbdkit file: {export:.2f}, {verdict(export, GOALS['export'], False)}.", ""]


def table(records):
    """Of one record, or of several that were measured in pieces."""
    seeds = ", ".join(str(record["seed"]) for record in records)
    options = records[0]["options"]
    lines = [f"{records[0]['machine']}; seed {seeds}; a disk of {options['mib']} MiB, "
             f"{options['depth']} writes of 4 KiB under way.", ""]
    return "\n".join(lines + pauses(records) + peers(records) + guests(records) + mirrored(records) + exports(records))
