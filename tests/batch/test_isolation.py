"""A worker that hangs, dies or bursts costs its image only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dumpscan.batch import bounds, hooks
from dumpscan.batch.job import Analysis, Job, Limits, Outcome, Status
from dumpscan.batch.local import LocalWorkers
from dumpscan.batch.process import IsolatedWorker
from tests.batch.archive import Archive
from tests.batch.batches import ROOT

MB = 1 << 20


@pytest.fixture
def worker() -> Iterator[IsolatedWorker]:
    made = IsolatedWorker(Analysis(), Limits(seconds=3, memory=400 * MB))
    yield made
    made.close()


def job(path: Path) -> Job:
    return Job(str(path), str(path), path.stat().st_size)


def pid_of(worker: IsolatedWorker) -> int:
    return int(bounds.read_note(worker._note)["pid"])


@pytest.mark.parametrize(
    ("action", "status", "reason", "seconds"),
    [
        ("hang", Status.TIMEOUT, "no answer within 3 s (during: ", (3, 12)),
        ("stuck", Status.TIMEOUT, "no answer within 3 s (during: ", (3, 20)),
        ("die", Status.CRASHED, "ended by SIGKILL", (0, 10)),
        ("eat", Status.MEMORY, "more memory than the limit", (0, 10)),
        ("raise", Status.ERROR, "internal error of dumpscan (RuntimeError: asked to by a test)", (0, 10)),
    ],
)
def test_a_bad_image_is_recorded_and_the_next_one_is_judged(
    worker: IsolatedWorker,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    status: Status,
    reason: str,
    seconds: tuple[float, float],
) -> None:
    monkeypatch.setenv(hooks.VARIABLE, f"{action}:bad.dmp")
    bad, good = archive.dump("bad.dmp"), archive.dump("good.dmp")
    outcome = worker.run(job(bad))
    assert (outcome.status, outcome.failure is not None) == (status, True)
    assert reason in outcome.reason
    assert seconds[0] <= outcome.seconds <= seconds[1]
    # What was known when it ended: the content id is another one for each file.
    assert (outcome.content_id or "").startswith("s1:")
    assert outcome.format == "crash32"
    after = worker.run(job(good))
    assert (after.status, (after.columns or {})["verdict"]) == (Status.OK, "exhibits")
    assert after.content_id != outcome.content_id


def test_a_worker_is_used_again_and_replaced_when_it_died_idle(
    worker: IsolatedWorker, archive: Archive
) -> None:
    first = archive.dump("a.dmp")
    assert worker.run(job(first)).status is Status.OK
    pid = pid_of(worker)
    assert worker.run(job(first)).status is Status.OK
    assert pid_of(worker) == pid
    psutil.Process(pid).kill()
    time.sleep(0.5)
    assert worker.run(job(first)).status is Status.OK
    assert pid_of(worker) != pid


def test_closing_ends_a_worker_that_is_stuck(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hooks.VARIABLE, "stuck:bad.dmp")
    workers = LocalWorkers(2, Analysis(), Limits(seconds=60))
    for name in ("bad.dmp", "good.dmp"):
        workers.give(job(archive.dump(name)))
    assert not workers.room()
    found: list[Outcome] = []
    while not found:
        found.extend(workers.collect(0.2))
    (stuck,) = workers._busy
    process = psutil.Process(pid_of(stuck))
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 5
    psutil.wait_procs([process], timeout=5)
    assert not process.is_running()
    assert not workers.busy()


def test_a_worker_that_lost_its_pipe_is_given_up(
    worker: IsolatedWorker, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pebble cannot stop a worker while the locks of the pipe are held; the watchdog can."""
    monkeypatch.setattr("dumpscan.batch.process._START_SECONDS", 0.0)
    monkeypatch.setattr("dumpscan.batch.process._GRACE_SECONDS", 1.0)
    monkeypatch.setenv(hooks.VARIABLE, "hang:bad.dmp")
    path = archive.dump("bad.dmp")
    worker.give(job(path))
    while bounds.read_note(worker._note).get("job") != bounds.mark(str(path)):
        time.sleep(0.05)
    pool = worker._pool
    assert pool is not None
    channel = pool._pool_manager.worker_manager.workers_channel
    assert channel is not None
    assert channel.mutex.acquire(timeout=5)
    deadline = time.monotonic() + 15
    while (outcome := worker.take()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert outcome.status is Status.TIMEOUT


def test_an_image_larger_than_the_memory_limit_is_judged(worker: IsolatedWorker, archive: Archive) -> None:
    """What is mapped does not count as memory."""
    path = archive.dump("large.dmp")
    with path.open("r+b") as file:
        file.truncate(600 * MB)
    assert worker.run(job(path)).status is Status.OK


WATCHED = """
import os, sys, psutil
from dumpscan.batch import bounds
import threading
threading.Thread(target=bounds.watch_memory, args=(200 << 20,), daemon=True).start()
eaten = [bytearray(os.urandom(1 << 20)) for _ in range(300)]
threading.Event().wait(20)
"""


def test_the_watch_of_other_systems_ends_a_process_that_takes_too_much() -> None:
    ended = subprocess.run([sys.executable, "-c", WATCHED], cwd=ROOT, timeout=30, check=False)
    assert ended.returncode == bounds.OUT_OF_MEMORY


def test_the_note_is_small_ascii_and_survives_anything() -> None:
    shared = bounds.shared_note()
    note = bounds.Note(shared)
    note.begin("ü" * 5000)
    note.add(format="elf")
    note("walking " * 100, 1, 4)
    facts = bounds.read_note(shared)
    assert facts["pid"] == os.getpid()
    assert facts["doing"].endswith(", 25%")
    shared.value = b'{"torn'
    assert bounds.read_note(shared) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C is not blocked")
def test_the_first_worker_too_starts_with_ctrl_c_blocked() -> None:
    # multiprocessing starts a helper before the first process, and unblocks SIGINT after it.
    code = (
        "import signal; from multiprocessing import resource_tracker as helper\n"
        "from dumpscan.batch.process import _no_interrupt\n"
        "with _no_interrupt():\n"
        "    helper.ensure_running()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"
