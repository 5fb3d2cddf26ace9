"""What a request found, and what of it is due: temporary tables beside the store, not in memory.

Found are the files, and the files inside containers that are known from earlier. Due is what has no
recorded result, or a file that changed since (by size or time of modification), and what the options
ask for again. A file that is no longer there keeps what was recorded of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from dumpscan.batch.discover import Found
from dumpscan.batch.job import FAILED, Job, Outcome, Status
from dumpscan.batch.store import Run, key_of

_PAGE = 500
_TABLES = (
    "DROP TABLE IF EXISTS temp.found",
    "DROP TABLE IF EXISTS temp.due",
    """CREATE TEMP TABLE found (
      ord INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path BLOB NOT NULL, size INTEGER,
      mtime_ns INTEGER, partner TEXT, member TEXT, status TEXT, reason TEXT)""",
    "CREATE TEMP TABLE due (ord INTEGER PRIMARY KEY)",
)
_INSERT = (
    "INSERT OR IGNORE INTO temp.found (key, path, size, mtime_ns, partner, status, reason)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_MEMBERS = """INSERT OR IGNORE INTO temp.found (key, path, size, mtime_ns, member)
  SELECT i.path, f.path, i.size, i.mtime_ns, i.member
  FROM images i JOIN temp.found f ON f.key = i.container WHERE {condition} ORDER BY i.id"""
_DUE = f"""INSERT INTO temp.due SELECT f.ord FROM temp.found f LEFT JOIN images i ON i.path = f.key
  WHERE i.status IS NULL
     OR (i.run_id < :since AND :retry AND i.status IN ({", ".join(f"'{status}'" for status in FAILED)}))
     OR (f.status IS NULL AND (
          (f.member IS NULL AND f.size IS NOT NULL AND (i.size IS NOT f.size OR i.mtime_ns IS NOT f.mtime_ns))
          OR (i.run_id < :since AND (:all
               OR (:changed AND (i.tool_version IS NOT :tool OR i.rules IS NOT :rules))))))
  ORDER BY f.ord"""
_OUTDATED = """DELETE FROM temp.found WHERE member IS NOT NULL AND EXISTS (
  SELECT 1 FROM images i JOIN images c ON c.path = i.container JOIN temp.found f ON f.key = c.path
  WHERE i.path = temp.found.key AND f.status IS NULL AND f.size IS NOT NULL
    AND (c.size IS NOT f.size OR c.mtime_ns IS NOT f.mtime_ns))"""
_RELISTED = """DELETE FROM temp.found WHERE ord NOT IN (SELECT ord FROM temp.due)
  AND key IN (SELECT path FROM images WHERE container = ? AND status IS NULL)"""
_NEXT = """SELECT f.ord, f.key, f.path, f.size, f.mtime_ns, f.partner, f.member, f.status, f.reason,
    f.partner IS NOT NULL AND EXISTS (SELECT 1 FROM temp.found p WHERE p.key = f.partner)
  FROM temp.due d JOIN temp.found f ON f.ord = d.ord WHERE d.ord > ? ORDER BY d.ord LIMIT ?"""
_COUNTS = """SELECT i.status, r.verdict, count(*) FROM temp.found f JOIN images i ON i.path = f.key
  LEFT JOIN results r ON r.image_id = i.id WHERE i.status IS NOT NULL {condition} GROUP BY 1, 2"""


class Again(NamedTuple):
    """What is to be done again: ``failed`` images, and of all ``reanalyse`` none, changed or all.

    ``changed`` are those that another version of dumpscan, or other rules, judged.
    """

    failed: bool = False
    reanalyse: str = "none"


class Todo:
    """The work of one run. Its jobs can be taken while results are recorded."""

    def __init__(self, connection: sqlite3.Connection, run: Run) -> None:
        self._connection, self._run = connection, run
        self._page: deque[Job | Outcome] = deque()
        self._last = 0
        for statement in _TABLES:
            connection.execute(statement)

    def find(self, found: Iterable[Found], progress: Callable[[int], None]) -> None:
        """Take in what discovery yields; ``progress`` hears of the number so far."""
        count, rows = 0, map(_row, found)
        while page := list(islice(rows, _PAGE)):
            self._connection.execute("BEGIN")
            self._connection.executemany(_INSERT, page)
            self._connection.execute("COMMIT")
            count += len(page)
            self._run.beat()
            progress(count)

    def choose(self, again: Again) -> None:
        """Decide what is due."""
        self._connection.execute(_MEMBERS.format(condition="1"))
        # Files of a container that changed are those of its next listing.
        self._connection.execute(_OUTDATED)
        values = {
            "since": self._run.since,
            "retry": again.failed,
            "all": again.reanalyse == "all",
            "changed": again.reanalyse == "changed",
            "tool": self._run.tool_version,
            "rules": self._run.rules,
        }
        self._connection.execute(_DUE, values)

    def next(self) -> Job | Outcome | None:
        """What is due next; an outcome where nothing is to be done; None when nothing is due (yet)."""
        if not self._page:
            rows = self._connection.execute(_NEXT, (self._last, _PAGE)).fetchall()
            self._last = rows[-1][0] if rows else self._last
            self._page.extend(map(_job, rows))
        return self._page.popleft() if self._page else None

    def add_members(self, container: str) -> int:
        """The files of a container that was just recorded are found; returns how many are due."""
        execute = self._connection.execute
        execute(_RELISTED, (container,))
        before = execute("SELECT coalesce(max(ord), 0) FROM temp.found").fetchone()[0]
        execute(_MEMBERS.format(condition="i.container = :container"), {"container": container})
        return execute(
            "INSERT INTO temp.due SELECT f.ord FROM temp.found f JOIN images i ON i.path = f.key"
            " WHERE f.ord > ? AND i.status IS NULL",
            (before,),
        ).rowcount

    def size(self) -> tuple[int, int]:
        """Number of files found, and of those due."""
        counts = self._connection.execute("SELECT (SELECT count(*) FROM temp.found), count(*) FROM temp.due")
        found, due = counts.fetchone()
        return int(found), int(due)

    def counts(self, *, settled: bool = False) -> dict[tuple[str, str | None], int]:
        """Number of found files by (status, verdict); with ``settled`` only those that are not due."""
        condition = "AND f.ord NOT IN (SELECT ord FROM temp.due)" if settled else ""
        rows = self._connection.execute(_COUNTS.format(condition=condition))
        return {(status, verdict): number for status, verdict, number in rows}


def _row(found: Found) -> tuple[object, ...]:
    partner = None if found.partner is None else key_of(found.partner)
    status = None if found.status is None else found.status.value
    path = os.fsencode(found.path)
    return key_of(found.path), path, found.size, found.mtime_ns, partner, status, found.reason


def _job(row: tuple[object, ...]) -> Job | Outcome:
    _, key, path, size, mtime_ns, partner, member, status, reason, paired = row
    assert isinstance(key, str) and isinstance(path, bytes)
    job = Job(
        key,
        os.fsdecode(path),
        size if isinstance(size, int) else None,
        mtime_ns if isinstance(mtime_ns, int) else None,
        partner if paired and isinstance(partner, str) else None,
        member if isinstance(member, str) else None,
    )
    return job if status is None else Outcome(job, Status(status), str(reason))
