"""One worker process that may hang, burst or die without taking anything else along.

Around pebble's process pool, one pool of one worker each: pebble kills a worker whose time is up and
starts the next one. Workers of one pebble pool share a pipe and its locks, which a worker killed at
the wrong moment would keep; with a pool each, that costs only this worker, and a watchdog here
replaces the pool.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from pebble import ProcessExpired, ProcessPool

from dumpscan.batch import worker
from dumpscan.batch.bounds import OUT_OF_MEMORY, mark, read_note, shared_note
from dumpscan.batch.job import Analysis, Failure, Job, Limits, Outcome, Status

_JOBS_PER_PROCESS = 250
"""Then the worker is replaced: what leaks in a library does not add up over a night."""
_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_ATTEMPTS = 3


class IsolatedWorker:
    """Takes one job at a time. Not for use by two threads."""

    def __init__(self, analysis: Analysis, limits: Limits) -> None:
        self._analysis, self._limits = analysis, limits
        self._note = shared_note()
        self._pool: ProcessPool | None = None
        self._job: Job | None = None
        self._future: Future[Outcome] | None = None
        self._started = 0.0
        self._attempt = 0

    @property
    def future(self) -> Future[Outcome] | None:
        """To wait for; None when idle. It may stay undone: ask :meth:`take` from time to time."""
        return self._future

    def give(self, job: Job) -> None:
        """Start on a job."""
        self._job, self._attempt = job, 0
        self._schedule()

    def take(self) -> Outcome | None:
        """The outcome, once it is known; the worker is idle then."""
        if self._future is None or self._job is None:
            return None
        outcome = self._finished() if self._future.done() else self._overdue()
        if outcome is not None:
            self._job = self._future = None
        return outcome

    def run(self, job: Job) -> Outcome:
        """Do one job and wait for it."""
        self.give(job)
        while (outcome := self.take()) is None:
            with contextlib.suppress(Exception):
                if self._future is not None:
                    self._future.exception(timeout=1.0)
        return outcome

    def close(self) -> None:
        """Kill the process, whatever it is doing."""
        self._kill()
        pool: Any = self._pool
        self._pool = None
        if pool is None:
            return
        pool.stop()
        # pebble's threads may wait for what a dead worker will never send: nobody waits for them.
        closing = threading.Thread(target=_join, args=(pool,), daemon=True)
        closing.start()
        closing.join(5.0)

    def _schedule(self) -> None:
        assert self._job is not None
        self._attempt += 1
        self._started = time.monotonic()
        try:
            self._future = self._send(self._job)
        except (RuntimeError, OSError):  # The pool broke while it was idle.
            self._replace()
            self._future = self._send(self._job)

    def _send(self, job: Job) -> Future[Outcome]:
        with _no_interrupt():
            if self._pool is None:
                self._pool = ProcessPool(
                    1,
                    _JOBS_PER_PROCESS,
                    worker.prepare,
                    (self._analysis, self._limits.memory, self._note, os.getpid()),
                    multiprocessing.get_context("spawn"),
                )
            return self._pool.schedule(worker.analyse, (job,), timeout=self._limits.seconds)

    def _finished(self) -> Outcome | None:
        assert self._future is not None
        try:
            outcome = self._future.result()
        except Late:
            return self._timeout()
        except ProcessExpired as error:
            return self._expired(error.exitcode)
        except Exception as error:
            return self._again(error)
        if outcome.status is Status.MEMORY:
            self._replace()  # What it could not free stays with it.
        return outcome

    def _overdue(self) -> Outcome | None:
        """pebble kills what is late. It cannot when a worker died holding the locks of the pipe."""
        elapsed = time.monotonic() - self._started
        if elapsed < self._limits.seconds + _START_SECONDS + _GRACE_SECONDS:
            return None
        seen = self._seen()
        self._replace()
        if seen:
            return self._timeout()
        return self._again(RuntimeError("the worker process does not answer"))

    def _again(self, error: BaseException) -> Outcome | None:
        """The worker failed before it had the job, or the way to it broke: that is not the file's fault."""
        self._replace()
        if self._attempt < _ATTEMPTS:
            self._schedule()
            return None
        reason = f"the worker process could not be started or reached ({error})"
        return self._failed(Status.CRASHED, reason, Failure(type(error).__name__, str(error)))

    def _timeout(self) -> Outcome:
        reason = f"no answer within {self._limits.seconds:g} s"
        return self._failed(Status.TIMEOUT, reason, Failure("Timeout"))

    def _expired(self, code: int | None) -> Outcome:
        if code == OUT_OF_MEMORY:
            reason = "needs more memory than the limit allows"
            return self._failed(Status.MEMORY, reason, Failure("MemoryWatch", exit_code=code))
        return self._failed(Status.CRASHED, _death(code), Failure("WorkerDied", exit_code=code))

    def _failed(self, status: Status, reason: str, failure: Failure) -> Outcome:
        assert self._job is not None
        seen = self._seen()
        doing = f" (during: {seen['doing']})" if seen.get("doing") else ""
        return Outcome(
            self._job,
            status,
            reason + doing,
            seconds=time.monotonic() - self._started,
            content_id=seen.get("content_id"),
            format=seen.get("format"),
            failure=failure,
        )

    def _seen(self) -> dict[str, Any]:
        """What the worker noted about this job."""
        facts = read_note(self._note)
        assert self._job is not None
        return facts if facts.get("job") == mark(self._job.key) else {}

    def _replace(self) -> None:
        self.close()
        self._note = shared_note()

    def _kill(self) -> None:
        """By its own word for its number: pebble's books may be locked. A stale number is a reaped child."""
        pid = read_note(self._note).get("pid")
        children = {child.pid for child in multiprocessing.active_children()}
        if isinstance(pid, int) and pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the worker process ended by itself with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    causes = {
        "SIGKILL": " (by a person, or by the system for lack of memory)",
        "SIGBUS": " (the file became shorter, or its disk failed, while it was read)",
    }
    return f"the worker process was ended by {name}{causes.get(name, '')}"


def _join(pool: Any) -> None:
    with contextlib.suppress(Exception):
        pool.join()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Workers, and pebble's threads that start them, inherit a blocked SIGINT: Ctrl-C is the parent's."""
    if sys.platform == "win32":
        yield
        return
    # The first process that multiprocessing starts brings this helper, and unblocks SIGINT behind it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
