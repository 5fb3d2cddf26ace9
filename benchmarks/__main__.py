"""``python -m benchmarks [CASE ...] [--record]``: measure, print, and write the record on request."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from benchmarks.cases import CASES, machine_line
from benchmarks.row import Row

RECORD = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- record: begin -->", "<!-- record: end -->"


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | figure | aim | met |", "|---|---|---|---|"]
    for row in rows:
        met = "" if row.good is None else ("yes" if row.good else "**no**")
        lines.append(f"| {row.what} | {row.figure} | {row.aim} | {met} |")
    return "\n".join(lines)


def record(text: str) -> None:
    """Replace the table between the marks of the record file."""
    old = RECORD.read_text(encoding="utf-8")
    before, rest = old.split(_BEGIN, 1)
    after = rest.split(_END, 1)[1]
    RECORD.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def main() -> int:
    """Run the chosen cases; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="which cases; all by default")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.case or CASES:
        for row in CASES[name]():
            print(f"{row.what}: {row.figure}  (aim: {row.aim or 'none'})", file=sys.stderr, flush=True)
            rows.append(row)
    text = f"Measured {date.today().isoformat()} on {machine_line()}, in one run.\n\n{table(rows)}"
    print(text)
    if options.record:
        record(text)
    return 1 if any(row.good is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
