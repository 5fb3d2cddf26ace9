"""The same work on the workers of a Dask scheduler that is already running.

Images lie on paths that all machines share. In each Dask worker a job runs in an isolated process of
its own, with the same limits of time and memory as on one machine, so no image brings a Dask worker
down. When a Dask worker dies all the same, its process dies with it and the scheduler gives the job
to another one. Results come back to the one store, which this process alone writes.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import queue
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dumpscan import __version__
from dumpscan.batch.job import Analysis, Failure, Job, Limits, Outcome, Status
from dumpscan.errors import UsageError

if TYPE_CHECKING:
    from dumpscan.batch.process import IsolatedWorker

_CONNECT_SECONDS = 10
_PER_THREAD = 2
"""Jobs handed out for each thread of the cluster: one at work, one waiting beside it."""
_RETRIES = 2
_NO_WORKER_SECONDS = 60.0

_idle: dict[tuple[Analysis, Limits], queue.SimpleQueue[IsolatedWorker]] = {}


class Cluster:
    """An :class:`dumpscan.batch.local.Executor` on the scheduler at ``address``.

    :raises UsageError: the extra is not installed, no scheduler answers, it has no workers, or their
        dumpscan is another version.
    """

    def __init__(
        self,
        address: str,
        analysis: Analysis,
        limits: Limits,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """``stopped`` ends the wait for workers."""
        self._address, self._analysis, self._limits = address, analysis, limits
        self._client = _connect(address)
        self._jobs: dict[Any, Job] = {}
        try:
            with self._reached():
                self._check_workers(stopped)
        except BaseException:
            self._client.close()
            raise
        self._threads, self._counted = 1, 0.0

    def room(self) -> bool:
        """Whether fewer jobs are out than the cluster can have at hand."""
        if time.monotonic() - self._counted > 1:
            self._counted = time.monotonic()
            with self._reached():
                self._threads = max(1, sum(self._client.nthreads().values()))
        return len(self._jobs) < self._threads * _PER_THREAD

    def busy(self) -> bool:
        """Whether a job is out."""
        return bool(self._jobs)

    def give(self, job: Job) -> None:
        """Submit a job."""
        # Not pure: a file may have changed since the scheduler last saw a job of this name.
        with self._reached():
            future = self._client.submit(
                analyse_isolated, job, self._analysis, self._limits, pure=False, retries=_RETRIES
            )
        self._jobs[future] = job

    def collect(self, seconds: float) -> Iterator[Outcome]:
        """Outcomes that arrived.

        :raises UsageError: the scheduler is gone.
        """
        from distributed import TimeoutError as Late  # Not the builtin one on Python 3.10.
        from distributed import wait

        try:
            waits: Any = wait
            with self._reached():
                waits(list(self._jobs), timeout=seconds, return_when="FIRST_COMPLETED")
        except Late:
            self._check_alive()
            return
        done = [future for future in self._jobs if future.done()]
        with self._reached():
            results = self._client.gather([each for each in done if each.status == "finished"], errors="skip")
        outcomes = {outcome.job.key: outcome for outcome in results}
        for future in done:
            yield from self._taken(future, outcomes)

    def _taken(self, future: Any, outcomes: dict[str, Outcome]) -> Iterator[Outcome]:
        job = self._jobs[future]
        outcome = outcomes.get(job.key)
        if outcome is None and future.status == "finished":
            return  # Its result was lost with a worker after it was done: the scheduler has it done again.
        del self._jobs[future]
        if outcome is None and future.status != "error":
            self._check_alive()
            self.give(job)  # The scheduler forgot it.
            return
        yield outcome if outcome is not None else _failed(job, future)
        future.release()

    def close(self) -> None:
        """Take back what is not done, and leave the scheduler as it was."""
        with contextlib.suppress(Exception):
            self._client.cancel(list(self._jobs), force=True)
        self._jobs.clear()
        with contextlib.suppress(Exception):  # A scheduler that is gone does not answer to this either.
            self._client.close(timeout=5)

    def _check_workers(self, stopped: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _NO_WORKER_SECONDS
        while not (versions := self._client.run(_version)) and not stopped():
            if time.monotonic() > deadline:
                raise UsageError(f"{self._address}: the scheduler has no workers; start some ('dask worker')")
            time.sleep(0.5)
        for worker, version in versions.items():
            if version != __version__:
                raise UsageError(
                    f"{self._address}: the worker {worker} has dumpscan {version}, this is {__version__}; "
                    "install the same version everywhere"
                )

    def _check_alive(self) -> None:
        # Without the reconnection that Dask tries: the scheduler has forgotten what it was given.
        if self._client.status != "running":
            raise self._gone()

    def _gone(self) -> UsageError:
        return UsageError(f"{self._address}: the Dask scheduler is gone; start it and run again")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Dask shows a lost connection in many ways. :raises UsageError: the scheduler is gone."""
        from distributed import TimeoutError as Late

        try:
            yield
        except (Late, UsageError):
            raise
        except Exception as error:
            if isinstance(error, OSError) or self._client.status != "running":
                raise self._gone() from None
            raise


def _connect(address: str) -> Any:
    try:
        from distributed import Client
        from distributed import TimeoutError as Late
    except ImportError as error:
        raise UsageError("--cluster needs Dask: pip install 'dumpscan[cluster]'") from error
    for name in ("distributed", "distributed.client"):  # Its tracebacks about lost connections.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        connect: Any = Client
        return connect(address, timeout=_CONNECT_SECONDS)
    except (OSError, Late, ValueError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{address}: no Dask scheduler answers there ({why})") from error


def _failed(job: Job, future: Any) -> Outcome:
    """Dask gave up: workers died again and again, or the task itself could not run."""
    error = future.exception()
    reason = f"the cluster could not analyse it ({type(error).__name__}: {error})"
    return Outcome(job, Status.CRASHED, " ".join(reason.split()), failure=Failure(type(error).__name__))


def _version() -> str:
    """Runs in a Dask worker."""
    return __version__


def analyse_isolated(job: Job, analysis: Analysis, limits: Limits) -> Outcome:
    """Runs in a thread of a Dask worker: one job in an isolated process, which is kept for the next."""
    from dumpscan.batch.process import IsolatedWorker

    idle = _idle.setdefault((analysis, limits), queue.SimpleQueue())
    try:
        worker = idle.get_nowait()
    except queue.Empty:
        _allow_children()
        worker = IsolatedWorker(analysis, limits)
        atexit.register(worker.close)
    try:
        return worker.run(job)
    finally:
        idle.put(worker)


def _allow_children() -> None:
    """Dask's nanny starts its workers as daemons, which multiprocessing forbids to have children.

    The rule keeps orphans from being left behind; ours end with their parent (see ``bounds``).
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
