"""What a person and a script see of a batch: progress on stderr, JSON lines, a table at the end.

On a terminal the progress is a bar (rich); elsewhere a plain line now and then, for logs.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from dumpscan.batch.job import Outcome
    from dumpscan.batch.run import Summary

Counts = Mapping[tuple[str, "str | None"], int]

_LINE_SECONDS = 10.0
_BAR = 20
_ORDER = ("exhibits", "unexpected", "inconclusive", "does-not-exhibit")
_MEANING = {
    "exhibits": "show KB950162",
    "unexpected": "show it although the kernel is fixed or not covered",
    "does-not-exhibit": "do not show it",
    "inconclusive": "hold too little to tell",
    "unsupported": "are of a kind that dumpscan does not read",
    "damaged": "are damaged, or no kernel was found in them",
    "timeout": "took too long",
    "memory": "took too much memory",
    "crashed": "ended their worker",
    "error": "could not be read",
    "skipped": "are no memory images",
}


class View:
    """Counts outcomes, writes JSON lines, and tells ``show`` (the bar or the lines) about it."""

    def __init__(self, jsonl: TextIO | None, show: _Show) -> None:
        self._jsonl, self._show = jsonl, show
        self._counts: Counter[str] = Counter()
        self._done, self._total, self._fresh, self._start = 0, 0, 0, time.monotonic()

    def finding(self, count: int) -> None:
        """So many files were found so far."""
        self._show.text(f"looking for images: {count:,} files", 0, 0)

    def begin(self, counts: Counts, due: int) -> None:
        """Files that are settled from earlier count as done."""
        for (status, verdict), number in counts.items():
            self._counts[verdict or status] += number
            self._done += number
        self._total = self._done + due
        self._start = time.monotonic()
        self._show.text(self._line(), self._done, self._total, self._tally())

    def more(self, count: int) -> None:
        """A container brought more work."""
        self._total += count

    def done(self, outcome: Outcome) -> None:
        """An outcome was recorded."""
        from dumpscan.batch.export import line_of

        if self._jsonl is not None:
            self._jsonl.write(line_of(outcome))
            self._jsonl.flush()
        verdict = outcome.columns["verdict"] if outcome.columns else outcome.status.value
        self._counts[verdict] += 1
        self._done += 1
        self._fresh += 1
        self._tell()

    def tick(self) -> None:
        """Time passed."""
        self._tell()

    def _tell(self) -> None:
        if self._show.due():
            self._show.text(self._line(), self._done, self._total, self._tally())

    def _tally(self) -> str:
        return ", ".join(f"{number:,} {name}" for name, number in ordered(self._counts))

    def _line(self) -> str:
        seconds = time.monotonic() - self._start
        rate = self._fresh / seconds if seconds > 0 else 0.0
        left = f", {_clock((self._total - self._done) / rate)} left" if rate else ""
        return f"{self._done:,} of {self._total:,} files, {rate:.1f}/s{left}"


class _Show:
    """Shows nothing."""

    def due(self) -> bool:
        """Whether a new text would be shown."""
        return False

    def text(self, text: str, done: int, total: int, tally: str = "") -> None:
        """Show where the run stands; ``tally`` are the counts by verdict."""


class _Lines(_Show):
    """A line on stderr every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._next = stream, time.monotonic() + _LINE_SECONDS

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def text(self, text: str, done: int, total: int, tally: str = "") -> None:
        if self.due():
            self._next = time.monotonic() + _LINE_SECONDS
            self._stream.write(f"dumpscan: {text}: {tally}\n" if tally else f"dumpscan: {text}\n")
            self._stream.flush()


class _Bar(_Show):
    """A bar at the bottom of the terminal, and the counts below it, in as many lines as they take."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress_bar import ProgressBar

        self._bar = ProgressBar(total=None, width=_BAR)
        self._live = Live(console=Console(file=stream), transient=True, refresh_per_second=10)
        self._next = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def text(self, text: str, done: int, total: int, tally: str = "") -> None:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        self._next = time.monotonic() + 0.1
        self._bar.update(completed=done, total=total or None)
        line: Any = Text(text, overflow="ellipsis", no_wrap=True)
        if self._live.console.width > _BAR + len(text):
            line = Table.grid(padding=(0, 1, 0, 0))
            line.add_row(self._bar, Text(text))
        self._live.update(Group(line, Text(tally)) if tally else line)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Also a Ctrl-C in the middle of its first lines brings the cursor back."""
        try:
            self._live.start()
            yield
        finally:
            self._live.stop()


@contextmanager
def make_view(*, jsonl: TextIO | None, quiet: bool, stream: TextIO | None = None) -> Iterator[View]:
    """The view for this stderr: a bar on a terminal, lines elsewhere, nothing when ``quiet``."""
    stream = stream or sys.stderr
    if quiet:
        yield View(jsonl, _Show())
    elif not stream.isatty():
        yield View(jsonl, _Lines(stream))
    else:
        bar = _Bar(stream)
        with bar.shown():
            yield View(jsonl, bar)


def ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Verdicts in a fixed order, then the other outcomes; those that did not occur are left out."""
    names = [*_ORDER, *(name for name in _MEANING if name not in _ORDER)]
    return [(name, counts[name]) for name in names if counts.get(name)]


def summary_lines(summary: Summary, store: Path) -> Iterator[str]:
    """The table at the end."""
    counts: Counter[str] = Counter()
    for (status, verdict), number in summary.counts.items():
        counts[verdict or status] += number
    recorded = counts.total()
    yield f"{summary.found:,} files, {summary.analysed:,} analysed now, {recorded:,} recorded in {store}"
    for name, number in ordered(counts):
        yield f"  {number:>9,}  {name:<16}  {_MEANING[name]}"
    if summary.failed:
        yield f"{summary.failed:,} images were not judged; the reasons: dumpscan report {store} --format csv"
    if summary.signal is not None:
        yield "interrupted: the same command again continues"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else (f"{minutes} min" if minutes else f"{rest} s")
