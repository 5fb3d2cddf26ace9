"""Batch: images a second, resuming a large run, queries on a large store, memory of the coordinator."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.images import image
from benchmarks.measure import run
from benchmarks.row import Row, dumpscan

ROOT = Path(__file__).resolve().parent.parent
_DUMPS = 240
_PAIRS = 3
_FILES = 10_000
_RESULTS = 100_000
_DOCUMENT = json.dumps({"schema": "dumpscan.verdict/1", "pool": {"tags": ["Pp  "] * 2000}})
_QUERY_MS = 200

# What a dashboard asks, beside the queries of docs/datasette.json.
_DASHBOARD = {
    "page of all": "SELECT * FROM verdicts ORDER BY path LIMIT 100",
    "page of one verdict": "SELECT * FROM verdicts WHERE verdict = 'unexpected' ORDER BY path LIMIT 100",
    "one product and version": "SELECT * FROM verdicts WHERE product = 'Windows XP'"
    " AND version = '5.1.2600.5512' ORDER BY path LIMIT 100",
    "suspect": "SELECT * FROM verdicts WHERE suspect = 'MfeL' LIMIT 100",
    "counts of both": "SELECT i.status, r.verdict, count(*) FROM images i LEFT JOIN results r"
    " ON r.image_id = i.id GROUP BY 1, 2",
    "one document": "SELECT document FROM documents WHERE image_id = 77777",
}


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dumpscan-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def batch_speed() -> Iterator[Row]:
    """Kernel dumps of a machine with 128 MB, page cache warm; the whole process, start included."""
    original = image("kernel-128mb")
    with tempfile.TemporaryDirectory(dir=original.parent) as folder:
        for number in range(_DUMPS):
            os.link(original, Path(folder, f"{number:03}.dmp"))
        pairs = [(rate(Path(folder), 1), rate(Path(folder), 2)) for _ in range(_PAIRS)]
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    yield Row("batch, kernel dumps of 128 MB, one worker", f"{one:.1f} a second", ">= 8 a second", one >= 8)
    yield Row("batch, the same with two workers", f"{two:.1f} a second", "", None)
    enough = (os.cpu_count() or 1) >= 2
    figure = f"{ratio:.2f}x"
    yield Row("batch, two workers / one worker", figure, ">= 1.8x", ratio >= 1.8 if enough else None)


def rate(folder: Path, workers: int) -> float:
    """Images a second into a new store."""
    with scratch() as own:
        arguments = ("--store", str(own / "s.sqlite"), "--workers", str(workers), "-q")
        return _DUMPS / run(dumpscan("batch", str(folder), *arguments))


def batch_resume() -> Iterator[Row]:
    """The same command on a finished run."""
    with scratch() as folder:
        files = folder / "files"
        files.mkdir()
        for number in range(_FILES):
            (files / f"{number:05}.dmp").write_bytes(b"x")
        store = folder / "s.sqlite"
        fill(store, files)
        wall = statistics.median(
            run(dumpscan("batch", str(files), "--store", str(store), "-q")) for _ in range(3)
        )
    yield Row("batch, finished run over 10,000 files again", f"{wall:.2f} s", "<= 3 s", wall <= 3)


def fill(store: Path, files: Path) -> None:
    """Record every file as skipped, as a run would."""
    from dumpscan import __version__
    from dumpscan.batch.discover import discover
    from dumpscan.batch.job import Job, Outcome, Status
    from dumpscan.batch.store import Run, open_store

    with closing(open_store(store, create=True)) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # Only here: nobody needs this store to last.
        recording = Run(connection, {}, __version__, "")
        for found in discover([str(files)]):
            job = Job(found.path, found.path, found.size, found.mtime_ns)
            recording.record(Outcome(job, Status.SKIPPED, "too small"))
        recording.end("finished")


def batch_queries() -> Iterator[Row]:
    """Each query of the dashboard and of docs/datasette.json on 100,000 results."""
    metadata = json.loads((ROOT / "docs" / "datasette.json").read_text(encoding="utf-8"))
    canned = {name: query["sql"] for name, query in metadata["databases"]["dumps"]["queries"].items()}
    with scratch() as folder:
        large_store(folder / "s.sqlite")
        with closing(sqlite3.connect(folder / "s.sqlite")) as connection:
            times = {name: query_ms(connection, sql) for name, sql in {**_DASHBOARD, **canned}.items()}
    worst = max(times, key=lambda name: times[name])
    listed = ", ".join(
        f"{name} {ms:.0f}" for name, ms in sorted(times.items(), key=lambda item: -item[1])[:4]
    )
    figure = f"{times[worst]:.0f} ms ({listed})"
    aim = f"<= {_QUERY_MS} ms"
    yield Row(
        f"slowest of {len(times)} queries, {_RESULTS:,} results", figure, aim, times[worst] <= _QUERY_MS
    )


def query_ms(connection: sqlite3.Connection, sql: str) -> float:
    """Median milliseconds to fetch all rows."""
    walls = []
    for _ in range(5):
        start = time.perf_counter()
        connection.execute(sql, {"part": "pc-04", "path": "/dumps/site/pc-077777.dmp"}).fetchall()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls) * 1000


def large_store(path: Path) -> None:
    """100,000 images with results of plausible variety."""
    from dumpscan.batch.store import open_store

    versions = [f"5.1.2600.{revision}" for revision in range(5500, 5600, 4)]
    codes = ("exhibits", "does-not-exhibit", "does-not-exhibit", "unexpected", "inconclusive")
    with closing(open_store(path, create=True)) as connection:
        connection.execute("BEGIN")
        for number in range(1, _RESULTS + 1):
            image_row = (
                number,
                f"/dumps/site/pc-{number:06}.dmp",
                1 << 27,
                f"s1:{number // 2:032x}",
                "ok",
                0.06,
            )
            connection.execute(
                "INSERT INTO images (id, path, size, content_id, status, seconds) VALUES (?, ?, ?, ?, ?, ?)",
                image_row,
            )
            row: tuple[Any, ...] = (
                number,
                codes[number % 5],
                "IoSe and 'Pp  ' hold 71 % of paged pool, paged pool is 98 % full",
                "vulnerable",
                ("Windows XP", "Windows Vista")[number % 2],
                versions[number % len(versions)],
                ("MfeL", "Ntfr", None, None)[number % 4],
                f"driver{number % 300}.sys",
            )
            connection.execute(
                "INSERT INTO results (image_id, verdict, summary, fix_state, product, version, suspect,"
                " unloaded_most) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            connection.execute("INSERT INTO documents VALUES (?, ?)", (number, '{"schema": "x"}'))
        connection.execute("COMMIT")
        connection.execute("PRAGMA optimize")


def batch_memory() -> Iterator[Row]:
    """Memory of the coordinating process after 1,000 and after 10,000 images."""
    with scratch() as folder:
        command = [sys.executable, "-m", "benchmarks.batch_cases", str(folder)]
        early, late = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    growth = (late - early) / (1 << 20)
    figure = f"{early / (1 << 20):.0f} MB, then {late / (1 << 20):.0f} MB"
    yield Row("batch, coordinator after 1,000 and 10,000 images", figure, "flat (<= 5 MB more)", growth <= 5)


def coordinate(folder: Path) -> tuple[int, int]:
    """Run over files that nobody analyses: outcomes are made up here, everything else is real."""
    from dumpscan.batch import run as running
    from dumpscan.cli.batch_view import make_view

    files = folder / "files"
    files.mkdir()
    for number in range(_FILES):
        (files / f"{number:05}.dmp").touch()
    executor = _MadeUp()
    running._executor = lambda plan, stop: executor
    with make_view(jsonl=None, quiet=True) as view:
        running.run_batch(running.Plan((str(files),), folder / "s.sqlite"), view)
    return executor.seen[1000], executor.seen[_FILES]


class _MadeUp:
    """An executor that has every answer at once, and looks at this process's memory now and then."""

    def __init__(self) -> None:
        self._jobs: list[Any] = []
        self._count = 0
        self.seen: dict[int, int] = {}

    def room(self) -> bool:
        return len(self._jobs) < 2

    def busy(self) -> bool:
        return bool(self._jobs)

    def give(self, job: Any) -> None:
        self._jobs.append(job)

    def collect(self, seconds: float) -> Iterator[Any]:
        from dumpscan.batch.job import Outcome, Status

        while self._jobs:
            self._count += 1
            if self._count in (1000, _FILES):
                self.seen[self._count] = resident()
            columns = {"verdict": "exhibits", "summary": "made up"}
            job = self._jobs.pop()
            yield Outcome(job, Status.OK, "made up", 0.1, None, "elf", _DOCUMENT, columns)

    def close(self) -> None:
        pass


def resident() -> int:
    """Bytes of this process that are its own (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    print(json.dumps(coordinate(Path(sys.argv[1]))))
