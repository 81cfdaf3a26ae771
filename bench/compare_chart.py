"""Draws the record that compare.sh --json leaves as a bar chart: compare_chart.py RECORD.json OUT.svg

A bar for each contender, as long as its median wall time, with a mark from its fastest to its
slowest run. One self-contained SVG, readable on light and dark pages.
"""

import json
import statistics
import sys
from xml.sax.saxutils import escape

WIDTH, LABELS, ROW, TOP, BOTTOM = 760, 190, 34, 58, 40
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px }
  .small { font-size: 11px; fill: #57606a }
  .bar { fill: #8c959f } .ours { fill: #0969da }
  .range { stroke: #24292f; stroke-width: 1.5 }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 }
    .bar { fill: #656d76 } .ours { fill: #4493f8 } .range { stroke: #e6edf3 }
  }
"""


def row(result, y, scale):
    times = result["wall_s"]
    median = statistics.median(times)
    kind = "ours" if result["name"].startswith("vhdx-migrate") else "bar"
    middle = y + ROW / 2
    fastest, slowest = LABELS + min(times) * scale, LABELS + max(times) * scale
    title = f"{result['name']}: median {median:.2f} s, {min(times):.2f} to {max(times):.2f} s"
    return f"""  <g><title>{escape(title)}</title>
    <text x="{LABELS - 10}" y="{middle + 4.5:.1f}" text-anchor="end">{escape(result['name'])}</text>
    <rect class="{kind}" x="{LABELS}" y="{y + 6}" width="{max(median * scale, 1):.1f}" height="{ROW - 12}" rx="2"/>
    <line class="range" x1="{fastest:.1f}" x2="{slowest:.1f}" y1="{middle}" y2="{middle}"/>
    <text x="{max(slowest, LABELS + median * scale) + 8:.1f}" y="{middle + 4.5:.1f}">{median:.2f} s</text>
  </g>"""


def chart(record):
    results = sorted(record["results"], key=lambda one: statistics.median(one["wall_s"]))
    longest = max(max(one["wall_s"]) for one in results)
    scale = (WIDTH - LABELS - 80) / max(longest, 0.001)
    height = TOP + ROW * len(results) + BOTTOM
    disk = record["disk"]
    about = (f"Seconds, median of {len(results[0]['wall_s'])} runs (shorter is better); "
             f"{disk['virtual_bytes'] >> 20} MiB virtual, {disk['file_mib']} MiB file")
    rows = "\n".join(row(one, TOP + ROW * i, scale) for i, one in enumerate(results))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" \
viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Time to move a disk">
  <style>{STYLE}  </style>
  <rect class="page" width="{WIDTH}" height="{height}"/>
  <text class="title" x="16" y="26">Time to move a disk</text>
  <text class="small" x="16" y="44">{escape(about)}</text>
{rows}
  <text class="small" x="16" y="{height - 14}">{escape(record['machine'])}</text>
</svg>
"""


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: compare_chart.py RECORD.json OUT.svg")
    with open(sys.argv[1], encoding="utf-8") as file:
        record = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(chart(record))


if __name__ == "__main__":
    main()
