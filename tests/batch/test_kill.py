"""Three hundred files of every kind, killed ten times and resumed; and the same through a Dask cluster."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from dumpscan.batch import cluster
from dumpscan.batch.job import Analysis, Job, Limits
from dumpscan.errors import UsageError
from tests.batch.archive import HOOK, Archive, many
from tests.batch.batches import batch, environment, outcomes, recorded, rows, start, wait_for_no_process

KILLS = 10
LIMITS = ("--timeout", "20", "--memory", "500")
HOST = ("--host", "127.0.0.1", "--no-dashboard")


class Finished(NamedTuple):
    """The archive, and the store of the run that was killed and resumed."""

    archive: Archive
    store: Path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, originals: Path) -> Archive:
    return many(Archive(tmp_path_factory.mktemp("archive"), originals))


def contents(store: Path) -> list[tuple[object, ...]]:
    """Everything that must not depend on how a run went."""
    query = """SELECT path, size, mtime_ns, content_id, format, status, container, attempts, r.*, document
        FROM images LEFT JOIN results r ON r.image_id = id LEFT JOIN documents d ON d.image_id = id
        ORDER BY path"""
    return [tuple(value for value in row if value != "") for row in without_ids(rows(store, query))]


def without_ids(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [(*row[:8], *row[9:]) for row in found]


def analysed(store: Path) -> dict[str, str]:
    """Path to the time of its record, for what is recorded."""
    return dict(rows(store, "SELECT path, analysed FROM images WHERE status IS NOT NULL"))


@pytest.fixture(scope="module")
def survived(full: Archive, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Killed at ten moments, then left to end."""
    folder = tmp_path_factory.mktemp("killed")
    store, scratch = folder / "s.sqlite", folder / "scratch"
    env, rng = environment(scratch, DUMPSCAN_TEST_HOOK=HOOK), random.Random(20)
    arguments = (full.root, "--store", store, "--workers", "2", "-q", *LIMITS)
    kept: dict[str, str] = {}
    for number in range(KILLS):
        process = start(*arguments, env=env)
        # Twice while it starts, then after some images and a moment more.
        wanted = recorded(store) + rng.randint(1, 20) if number > 1 else 0
        while recorded(store) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2 if number > 1 else 0.6))
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_for_no_process(scratch)
        if store.exists():
            now = analysed(store) if recorded(store) else {}
            assert kept.items() <= now.items(), "something recorded was lost or done again"
            kept = now
    final = batch(*arguments, env=env)
    assert final.returncode == 1, final.stderr
    wait_for_no_process(scratch)
    assert list(scratch.iterdir()) == [], "temporary files are left"
    assert kept.items() <= analysed(store).items()
    return Finished(full, store)


def test_every_image_is_recorded_once_with_the_right_verdict(survived: Finished) -> None:
    assert len(survived.archive.expected) >= 300
    assert outcomes(survived.store) == survived.archive.expected
    assert rows(survived.store, "SELECT DISTINCT attempts FROM images") == [(1,)]
    ends = rows(survived.store, "SELECT outcome FROM runs ORDER BY id")
    assert ends[-1] == ("finished",)
    assert set(ends[:-1]) == {("killed",)}


def test_failures_say_what_is_known(survived: Finished) -> None:
    query = "SELECT status, kind, exit_code FROM failures WHERE path LIKE '%/bad/%' ORDER BY status"
    assert rows(survived.store, query) == [
        ("crashed", "WorkerDied", -signal.SIGKILL),
        ("memory", "MemoryError", None),
        ("timeout", "Timeout", None),
    ]
    (known,) = rows(
        survived.store, "SELECT size > 0, content_id LIKE 's1:%', format FROM images WHERE status = 'timeout'"
    )
    assert known == (1, 1, "crash32")


def test_the_store_is_sound(survived: Finished) -> None:
    assert rows(survived.store, "PRAGMA integrity_check") == [("ok",)]
    assert rows(survived.store, "PRAGMA foreign_key_check") == []
    orphans = "SELECT count(*) FROM {} WHERE image_id NOT IN (SELECT id FROM images WHERE status IS NOT NULL)"
    for table in ("results", "documents", "errors", "timings"):
        assert rows(survived.store, orphans.format(table)) == [(0,)]


class Dask(NamedTuple):
    """A scheduler and its workers on loopback."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    scratch: Path


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """Three workers of one thread: two by themselves, and one under Dask's nanny, which makes it a daemon."""
    folder = tmp_path_factory.mktemp("dask")
    env = environment(folder / "scratch", DUMPSCAN_TEST_HOOK=HOOK)
    said = folder / "scheduler.json"
    started = [dask_process("scheduler", *HOST, "--port", "0", "--scheduler-file", str(said), env=env)]
    try:
        address = address_in(said, started[0])
        own = (*HOST, "--nthreads", "1", "--local-directory", str(folder))
        for nanny in ("--no-nanny", "--no-nanny", "--nanny"):
            started.append(dask_process("worker", address, *own, nanny, env=env))
        yield Dask(address, started[1:], folder / "scratch")
    finally:
        for process in reversed(started):  # The scheduler last: workers take their leave of it.
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address_in(said: Path, scheduler: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while not (said.exists() and said.read_text().endswith("}")):
        assert time.monotonic() < deadline and scheduler.poll() is None
        time.sleep(0.1)
    return str(json.loads(said.read_text())["address"])


def dask_process(*args: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *args]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_cluster_that_loses_a_worker_gives_the_same_store(
    survived: Finished, dask: Dask, tmp_path: Path
) -> None:
    store, scratch = tmp_path / "s.sqlite", tmp_path / "scratch"
    arguments = (survived.archive.root, "--store", store, "-q", *LIMITS, "--cluster", dask.address)
    process = start(*arguments, env=environment(scratch))
    while recorded(store) < 40:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(dask.workers[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert outcomes(store) == survived.archive.expected
    assert contents(store) == contents(survived.store)
    wait_for_no_process(scratch)
    dask.workers[0].wait(5)
    assert dask.workers[1].poll() is None


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    with pytest.raises(UsageError, match="1: no Dask scheduler answers there"):
        cluster.Cluster("tcp://127.0.0.1:1", Analysis(), Limits())


def test_a_scheduler_without_workers_that_goes_away(tmp_path: Path) -> None:
    said, env = tmp_path / "scheduler.json", environment(tmp_path / "scratch")
    scheduler = dask_process("scheduler", *HOST, "--port", "0", "--scheduler-file", str(said), env=env)
    try:
        # Ctrl-C ends the wait for workers: this must not take a minute and fail.
        found = cluster.Cluster(address_in(said, scheduler), Analysis(), Limits(), stopped=lambda: True)
        found.give(Job("/a", "/a"))
    finally:
        scheduler.kill()
        scheduler.wait()
    with pytest.raises(UsageError, match="the Dask scheduler is gone"):
        list(chain.from_iterable(found.collect(0.5) for _ in range(60)))
    found.close()
