"""The SQLite file that keeps what came of every image: one transaction each, safe against any end.

WAL with ``synchronous=FULL``: what was recorded survives a kill and a power cut. An image is one row,
known by its path; recording it again replaces what the row holds, and its history of errors grows.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dumpscan.batch import schema
from dumpscan.batch.addresses import is_url, printable
from dumpscan.batch.columns import storable
from dumpscan.batch.job import Failure, Outcome
from dumpscan.errors import UnreadableFile, UsageError

_BUSY_MS = 30_000
_QUERY_LIMITED_INFORMATION = 0x1000  # winnt.h
_SILENT_SECONDS = 120.0
"""A run that has not been heard of for this long is gone; its process number may be another's by now."""


def key_of(path: str) -> str:
    """A path as the store writes it: text without secrets; bytes that are no UTF-8 appear as ``\\xff``."""
    if is_url(path):
        return printable(path)
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_store(path: str | os.PathLike[str], *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode to a store of the current schema; older ones are migrated.

    :raises UnreadableFile: missing (without ``create``), or its folder cannot be written.
    :raises UsageError: not a store, or one that a newer dumpscan wrote.
    """
    if not create and not Path(path).is_file():
        raise UnreadableFile(f"{path}: no such store; 'dumpscan batch --store {path}' makes it")
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)
    except sqlite3.Error as error:
        raise UnreadableFile(f"{path}: the store cannot be opened ({error})") from error
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        schema.migrate(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        if "not a database" in str(error):
            raise UsageError(f"{path}: not a store of dumpscan; name another file") from error
        raise UnreadableFile(f"{path}: the store cannot be used ({error})") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != schema.APPLICATION_ID and tables:
        raise UsageError(f"{path}: an SQLite file, but not a store of dumpscan; name another file")
    version = schema.version_of(connection)
    if version > schema.VERSION:
        raise UsageError(
            f"{path}: written by a newer dumpscan (schema {version}, this one knows {schema.VERSION}); "
            "update dumpscan"
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


class Run:
    """One run of ``dumpscan batch`` on a store: the only one at a time, and the writer of results."""

    def __init__(
        self, connection: sqlite3.Connection, request: Mapping[str, Any], tool_version: str, rules: str
    ) -> None:
        """:raises UsageError: another run is at work on this store."""
        self._connection = connection
        self.tool_version, self.rules = tool_version, rules
        self._beat = time.time()
        text = json.dumps(request, sort_keys=True)
        with transaction(connection):
            _refuse_second(connection)
            connection.execute("UPDATE runs SET outcome = 'killed' WHERE outcome = 'running'")
            self.since = _first_unfinished(connection, text)
            cursor = connection.execute(
                "INSERT INTO runs (started, heartbeat, outcome, request, host, pid, tool_version, rules)"
                " VALUES (?, ?, 'running', ?, ?, ?, ?, ?)",
                (_now(), self._beat, text, socket.gethostname(), os.getpid(), tool_version, rules),
            )
        self.id = int(cursor.lastrowid or 0)
        self.since = self.since or self.id

    def beat(self) -> None:
        """Tell other machines, now and then, that this run lives."""
        if time.time() - self._beat > _SILENT_SECONDS / 8:
            self._beat = time.time()
            with transaction(self._connection):
                self._connection.execute("UPDATE runs SET heartbeat = ? WHERE id = ?", (self._beat, self.id))

    def end(self, outcome: str) -> None:
        """Close the run: ``finished`` or ``interrupted``."""
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE runs SET outcome = ?, finished = ? WHERE id = ?", (outcome, _now(), self.id)
            )

    def record(self, outcome: Outcome) -> None:
        """Keep what came of one image: one transaction."""
        with transaction(self._connection):
            image = self._image(outcome)
            self._result(image, outcome)
            if outcome.status.failed:
                self._error(image, outcome)
            if outcome.job.member is None:
                self._members(outcome)

    def _image(self, outcome: Outcome) -> int:
        job = outcome.job
        values = {
            "size": job.size,
            "mtime_ns": job.mtime_ns,
            "content_id": outcome.content_id,
            "format": outcome.format,
            "status": outcome.status.value,
            "reason": outcome.reason,
            "seconds": round(outcome.seconds, 6),
            "run_id": self.id,
            "analysed": _now(),
            "tool_version": self.tool_version,
            "rules": self.rules,
        }
        execute = self._connection.execute
        execute("INSERT INTO images (path) VALUES (?) ON CONFLICT (path) DO NOTHING", (job.key,))
        assignments = ", ".join(f"{name} = ?" for name in values)
        execute(
            f"UPDATE images SET {assignments}, attempts = attempts + 1 WHERE path = ?",
            (*map(storable, values.values()), job.key),
        )
        return int(execute("SELECT id FROM images WHERE path = ?", (job.key,)).fetchone()[0])

    def _result(self, image: int, outcome: Outcome) -> None:
        execute = self._connection.execute
        for table in ("results", "documents", "timings"):
            execute(f"DELETE FROM {table} WHERE image_id = ?", (image,))
        if outcome.columns is not None and outcome.document is not None:
            names = ", ".join(outcome.columns)
            marks = ", ".join("?" * len(outcome.columns))
            execute(
                f"INSERT INTO results (image_id, {names}) VALUES (?, {marks})",
                (image, *outcome.columns.values()),
            )
            execute("INSERT INTO documents VALUES (?, ?)", (image, outcome.document))
        rows = ((image, phase, round(seconds, 6)) for phase, seconds in outcome.timings.items())
        self._connection.executemany("INSERT INTO timings VALUES (?, ?, ?)", rows)

    def _error(self, image: int, outcome: Outcome) -> None:
        failure = outcome.failure or Failure(outcome.status.value)
        self._connection.execute(
            "INSERT INTO errors (image_id, run_id, at, status, kind, reason, detail, exit_code)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                image,
                self.id,
                _now(),
                outcome.status.value,
                failure.kind,
                storable(outcome.reason),
                storable(failure.detail),
                failure.exit_code,
            ),
        )

    def _members(self, outcome: Outcome) -> None:
        """Files of a container. Those worth a look have no status yet: they are due."""
        container, execute = outcome.job, self._connection.execute
        execute("DELETE FROM images WHERE container = ?", (container.key,))
        for listed in outcome.members:
            execute(
                "INSERT INTO images (path, size, mtime_ns, container, member) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (path) DO NOTHING",
                (listed.key, listed.size, container.mtime_ns, container.key, listed.member),
            )
            if listed.status is not None:
                job = replace(container, key=listed.key, size=listed.size, member=listed.member)
                passed_over = Outcome(job, listed.status, listed.reason)
                image = self._image(passed_over)
                if listed.status.failed:
                    self._error(image, passed_over)


def _refuse_second(connection: sqlite3.Connection) -> None:
    host = socket.gethostname()
    rows = connection.execute("SELECT host, pid, heartbeat FROM runs WHERE outcome = 'running'").fetchall()
    for other, pid, heartbeat in rows:
        lives = time.time() - heartbeat < _SILENT_SECONDS and (other != host or _lives(pid))
        if lives and not (other == host and pid == os.getpid()):
            raise UsageError(
                f"another run (process {pid} on {other}) is at work on this store; wait for it or end it"
            )


def _lives(pid: int) -> bool:
    if os.name == "nt":  # There, a signal 0 would end the process.
        return _lives_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _lives_on_windows(pid: int) -> bool:
    import ctypes

    kernel32: Any = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid)
    if handle:
        kernel32.CloseHandle(handle)
    return bool(handle)


def _is_zombie(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def _first_unfinished(connection: sqlite3.Connection, request: str) -> int | None:
    """First of the last runs in a row that had this request and were cut short: it is being continued."""
    first = None
    for number, outcome, text in connection.execute("SELECT id, outcome, request FROM runs ORDER BY id DESC"):
        if outcome == "finished" or text != request:
            break
        first = int(number)
    return first


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
