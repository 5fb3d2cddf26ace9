"""Running ``dumpscan batch`` as a process, and looking at its store and at what it leaves behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from tests.batch.archive import Expected

ROOT = Path(__file__).parents[2]
MARK = "DUMPSCAN_TEST_MARK"


def environment(scratch: Path, **more: str) -> dict[str, str]:
    """For a process and its children: a temporary folder of their own, and a mark to know them by."""
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), MARK: str(scratch), **more}


def start(*args: str | Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """``python -m dumpscan batch`` in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "dumpscan", "batch", *map(str, args)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def batch(*args: str | Path, env: dict[str, str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    process = start(*args, env=env)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def marked(scratch: Path) -> list[int]:
    """Processes that were started with :func:`environment`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(scratch) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            pass
    return found


def wait_for_no_process(scratch: Path, seconds: float = 10) -> None:
    """Fail when a process outlives its coordinator."""
    deadline = time.monotonic() + seconds
    while left := marked(scratch):
        assert time.monotonic() < deadline, f"processes left behind: {left}"
        time.sleep(0.02)


def rows(store: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of a store that may be in use."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def recorded(store: Path) -> int:
    """Number of images with a status."""
    try:
        return int(rows(store, "SELECT count(*) FROM images WHERE status IS NOT NULL")[0][0])
    except sqlite3.OperationalError:
        return 0  # Not made yet.


def outcomes(store: Path) -> dict[str, Expected]:
    """What the store holds, as an archive expects it."""
    query = "SELECT path, status, verdict FROM images LEFT JOIN results ON image_id = id"
    return {path: Expected(status, verdict) for path, status, verdict in rows(store, query)}
