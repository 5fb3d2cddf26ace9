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
from dumpscan.batch.job import Failure, Outcome, Status
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


def read_store(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """A connection for reading; also to a store that one may only read, where it is of the current schema.

    :raises UnreadableFile: missing, or of an older schema and not to be migrated.
    :raises UsageError: not a store.
    """
    try:
        return open_store(path)
    except UnreadableFile:
        if not Path(path).is_file():
            raise
        for mode in ("mode=ro", *(() if _has_log(path) else ("immutable=1",))):
            with suppress(sqlite3.Error):
                return _read_only(path, mode)
        raise


def _has_log(path: str | os.PathLike[str]) -> bool:
    """Whether results lie in the write-ahead log beside the file, which only SQLite can bring together."""
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def _read_only(path: str | os.PathLike[str], mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
    try:
        _check(connection, path)
        if schema.version_of(connection) != schema.VERSION:
            raise UnreadableFile(f"{path}: an older store; copy it to where it can be written")
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
        """Tell other machines, now and then, that this run lives.

        :raises UsageError: another run took over meanwhile.
        """
        if time.time() - self._beat > _SILENT_SECONDS / 8:
            with transaction(self._connection):
                self._own()

    def end(self, outcome: str) -> None:
        """Close the run: ``finished`` or ``interrupted``; one that another took over is closed already."""
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE runs SET outcome = ?, finished = ? WHERE id = ? AND outcome = 'running'",
                (outcome, _now(), self.id),
            )

    def record(self, outcome: Outcome) -> None:
        """Keep what came of one image: one transaction.

        :raises UsageError: another run took over meanwhile.
        """
        with transaction(self._connection):
            self._own()
            changed = self._changed(outcome)
            image = self._image(outcome)
            self._result(image, outcome)
            if outcome.status.failed:
                self._error(image, outcome)
            # A container that could not be listed says nothing about its files: they keep what they have.
            if outcome.job.member is None and (outcome.members or not outcome.status.failed):
                self._members(outcome, changed)

    def _own(self) -> None:
        """Beat. A process that was stopped for minutes was taken for dead, and the store is another's."""
        self._beat = time.time()
        beaten = self._connection.execute(
            "UPDATE runs SET heartbeat = ? WHERE id = ? AND outcome = 'running'", (self._beat, self.id)
        )
        if not beaten.rowcount:
            raise UsageError("another run has taken over this store, since this one stood still for minutes")

    def _changed(self, outcome: Outcome) -> bool:
        """Whether the file is another one than when it was last recorded."""
        job = outcome.job
        query = "SELECT size, mtime_ns FROM images WHERE path = ?"
        known = self._connection.execute(query, (job.key,)).fetchone()
        return known is not None and job.size is not None and known != (job.size, job.mtime_ns)

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

    def _members(self, outcome: Outcome, changed: bool) -> None:
        """Files of a container. Those worth a look that have no status yet are due.

        What is known of the files of a container that did not change stays.
        """
        container, execute = outcome.job, self._connection.execute
        inside = {each.key: each.member for each in outcome.members}
        query = "SELECT id, path, member, status FROM images WHERE container = ?"
        judged = set()
        for number, key, member, status in execute(query, (container.key,)).fetchall():
            if changed or inside.get(key) != member:
                execute("DELETE FROM images WHERE id = ?", (number,))
            elif status == Status.OK.value:
                judged.add(key)
        for listed in outcome.members:
            execute(
                "INSERT INTO images (path, size, mtime_ns, container, member) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (path) DO NOTHING",
                (listed.key, listed.size, container.mtime_ns, container.key, listed.member),
            )
            if listed.status is not None and listed.key not in judged:
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
