"""A whole run: find, decide what is due, keep workers busy, record each outcome as it comes."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from dumpscan import __version__
from dumpscan.batch.discover import discover
from dumpscan.batch.job import Analysis, Limits, Outcome, Status
from dumpscan.batch.local import Executor, LocalWorkers
from dumpscan.batch.rules import rules_version
from dumpscan.batch.store import Run, key_of, open_store
from dumpscan.batch.todo import Again, Todo
from dumpscan.errors import UnreadableFile

_TICK = 0.2
"""Seconds between two looks at signals and at the clock."""


@dataclass(frozen=True)
class Plan:
    """A request. ``cluster`` is the address of a Dask scheduler; then ``workers`` is not used."""

    paths: tuple[str, ...]
    store: Path
    workers: int = 1
    cluster: str | None = None
    limits: Limits = field(default_factory=Limits)
    analysis: Analysis = field(default_factory=Analysis)
    again: Again = field(default_factory=Again)

    def request(self) -> dict[str, Any]:
        """What makes two runs the same request: what is looked at, how, and what is done again."""
        analysis, paths = self.analysis, self.paths
        return {
            "paths": [os.path.abspath(path) if os.path.lexists(path) else key_of(path) for path in paths],
            "census": analysis.census,
            "thresholds": analysis.thresholds,
            "signatures": analysis.signatures,
            "symbols": analysis.symbols,
            "contents": analysis.contents,
            "retry_failed": self.again.failed,
            "reanalyse": self.again.reanalyse,
        }


class View(Protocol):
    """Who watches a run."""

    def finding(self, count: int) -> None:
        """So many files were found so far."""

    def begin(self, counts: Mapping[tuple[str, str | None], int], due: int) -> None:
        """Work begins: ``counts`` by (status, verdict) are settled from earlier, ``due`` files are not."""

    def more(self, count: int) -> None:
        """So many more files are due."""

    def done(self, outcome: Outcome) -> None:
        """An outcome was recorded."""

    def tick(self) -> None:
        """Time passed."""


@dataclass(frozen=True)
class Summary:
    """What came of a run. ``counts`` by (status, verdict) are over all files that the request names.

    ``signal`` is what interrupted the run, or None.
    """

    found: int
    analysed: int
    counts: Mapping[tuple[str, str | None], int]
    signal: int | None = None

    @property
    def failed(self) -> int:
        """Number of images that were not judged."""
        return sum(number for (status, _), number in self.counts.items() if Status(status).failed)


def run_batch(plan: Plan, view: View) -> Summary:
    """Analyse what is due and return what is known of all files of the request.

    Everything is in the store as soon as ``view`` hears of it. Ctrl-C and SIGTERM end the run early,
    with what was recorded kept; a second one ends the process.

    :raises UnreadableFile: a request names nothing, or the store cannot be used.
    :raises UsageError: the store is none, is in use, or no scheduler answers.
    """
    rules = rules_version(plan.analysis)
    opened = closing(open_store(plan.store, create=True))
    with _usable(plan.store), opened as connection, _interruptible() as stop:
        run = Run(connection, plan.request(), __version__, rules)
        try:
            summary = _work(plan, view, connection, run, stop)
            run.end("finished" if summary.signal is None else "interrupted")
        except BaseException:
            with suppress(sqlite3.Error):
                run.end("interrupted")
            raise
        return summary


@contextmanager
def _usable(store: Path) -> Iterator[None]:
    """The disk may be full, or gone, or another program may hold the store for long."""
    try:
        yield
    except sqlite3.Error as error:
        raise UnreadableFile(
            f"{store}: the store cannot be written ({error}); what was recorded is kept, the same command "
            "again continues"
        ) from error


@dataclass
class _Stop:
    """Set by a signal."""

    signal: int | None = None


def _work(plan: Plan, view: View, connection: sqlite3.Connection, run: Run, stop: _Stop) -> Summary:
    _sweep()
    todo = Todo(connection, run)
    todo.find(_until(discover(plan.paths, _own_files(plan.store)), stop), view.finding)
    todo.choose(plan.again)
    due = todo.size()[1]
    view.begin(todo.counts(settled=True), due)
    analysed = _analyse(plan, view, run, todo, stop) if due and stop.signal is None else 0
    return Summary(todo.size()[0], analysed, todo.counts(), stop.signal)


def _until(found: Iterator[Any], stop: _Stop) -> Iterator[Any]:
    for each in found:
        if stop.signal is not None:
            return
        yield each


def _analyse(plan: Plan, view: View, run: Run, todo: Todo, stop: _Stop) -> int:
    executor, analysed = _executor(plan, stop), 0

    def record(outcome: Outcome) -> None:
        nonlocal analysed
        run.record(outcome)
        analysed += 1
        view.done(outcome)
        if outcome.members:
            view.more(todo.add_members(outcome.job.key))

    try:
        while stop.signal is None:
            _fill(executor, todo, record)
            if not executor.busy():
                break
            for outcome in executor.collect(_TICK):
                record(outcome)
            run.beat()
            view.tick()
    finally:
        executor.close()
    return analysed


def _fill(executor: Executor, todo: Todo, record: Callable[[Outcome], None]) -> None:
    """Give jobs while there are some and workers are idle."""
    while executor.room() and (job := todo.next()) is not None:
        if isinstance(job, Outcome):
            record(job)
        else:
            executor.give(job)


def _executor(plan: Plan, stop: _Stop) -> Executor:
    if plan.cluster is None:
        return LocalWorkers(plan.workers, plan.analysis, plan.limits)
    from dumpscan.batch.cluster import Cluster

    return Cluster(plan.cluster, plan.analysis, plan.limits, lambda: stop.signal is not None)


def _own_files(store: Path) -> list[str]:
    path = os.path.realpath(store)
    return [path, *(path + suffix for suffix in ("-wal", "-shm", "-journal"))]


def _sweep() -> None:
    """Delete what workers of a killed run left in the temporary folder."""
    from dumpscan.image.archive import sweep

    sweep()


@contextmanager
def _interruptible() -> Iterator[_Stop]:
    """The first Ctrl-C or SIGTERM asks to stop; the handlers of before then see the next one."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def asked(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
