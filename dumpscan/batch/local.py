"""Worker processes on this machine, as many at work as there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from dumpscan.batch.job import Analysis, Job, Limits, Outcome
from dumpscan.batch.process import IsolatedWorker


class Executor(Protocol):
    """Where jobs are done. Every job given yields one outcome."""

    def room(self) -> bool:
        """Whether another job can be given."""

    def busy(self) -> bool:
        """Whether an outcome is still to come."""

    def give(self, job: Job) -> None:
        """Start on a job. Only when there is room."""

    def collect(self, seconds: float) -> Iterator[Outcome]:
        """Outcomes that are known, after waiting up to ``seconds`` for the first."""

    def close(self) -> None:
        """Stop everything at once; what is under way yields no outcome any more."""


class LocalWorkers:
    """An :class:`Executor` of ``count`` isolated worker processes; each is started by its first job."""

    def __init__(self, count: int, analysis: Analysis, limits: Limits) -> None:
        self._idle = [IsolatedWorker(analysis, limits) for _ in range(count)]
        self._busy: list[IsolatedWorker] = []

    def room(self) -> bool:
        """Whether a worker is idle."""
        return bool(self._idle)

    def busy(self) -> bool:
        """Whether a worker is at work."""
        return bool(self._busy)

    def give(self, job: Job) -> None:
        """Hand a job to an idle worker."""
        worker = self._idle.pop()
        worker.give(job)
        self._busy.append(worker)

    def collect(self, seconds: float) -> Iterator[Outcome]:
        """Outcomes of workers that are done."""
        futures: list[Future[Any]] = [worker.future for worker in self._busy if worker.future is not None]
        if futures:
            wait(futures, seconds, FIRST_COMPLETED)
        elif self._busy:
            time.sleep(seconds)
        for worker in list(self._busy):
            outcome = worker.take()
            if outcome is not None:
                self._busy.remove(worker)
                self._idle.append(worker)
                yield outcome

    def close(self) -> None:
        """Kill every worker process."""
        for worker in (*self._busy, *self._idle):
            worker.close()
        self._busy, self._idle = [], []
