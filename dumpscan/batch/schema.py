"""Tables of a store, their versions, and how an older file becomes a new one. docs/batch.md explains them.

``PRAGMA user_version`` is the version, ``PRAGMA application_id`` marks the file as ours. To change
the schema: append a step to :data:`STEPS`; never edit one that was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress

APPLICATION_ID = 0x44554D50  # "DUMP"

_FIRST = (
    """CREATE TABLE runs (
      id INTEGER PRIMARY KEY,
      started TEXT NOT NULL,
      finished TEXT,
      heartbeat REAL NOT NULL,
      outcome TEXT NOT NULL,
      request TEXT NOT NULL,
      host TEXT NOT NULL,
      pid INTEGER NOT NULL,
      tool_version TEXT NOT NULL,
      rules TEXT NOT NULL
    )""",
    """CREATE TABLE images (
      id INTEGER PRIMARY KEY,
      path TEXT NOT NULL UNIQUE,
      size INTEGER,
      mtime_ns INTEGER,
      content_id TEXT,
      format TEXT,
      status TEXT,
      reason TEXT NOT NULL DEFAULT '',
      seconds REAL,
      run_id INTEGER REFERENCES runs(id),
      analysed TEXT,
      attempts INTEGER NOT NULL DEFAULT 0,
      tool_version TEXT,
      rules TEXT
    )""",
    """CREATE TABLE results (
      image_id INTEGER PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,
      verdict TEXT NOT NULL,
      summary TEXT NOT NULL,
      signature_state TEXT,
      fix_state TEXT,
      fixed_version TEXT,
      product TEXT,
      service_pack INTEGER,
      version TEXT,
      branch TEXT,
      arch TEXT,
      pae INTEGER,
      bugcheck TEXT,
      system_time TEXT,
      uptime_seconds REAL,
      tagging TEXT,
      paged_bytes INTEGER,
      paged_fullness REAL,
      nonpaged_bytes INTEGER,
      nonpaged_fullness REAL,
      unloads INTEGER,
      unloaded_most TEXT,
      top_tags TEXT NOT NULL DEFAULT '[]',
      suspect TEXT,
      suspect_share REAL,
      suspects TEXT NOT NULL DEFAULT '[]',
      truncated INTEGER
    )""",
    """CREATE TABLE documents (
      image_id INTEGER PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,
      document TEXT NOT NULL
    )""",
    """CREATE TABLE errors (
      id INTEGER PRIMARY KEY,
      image_id INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,
      run_id INTEGER NOT NULL REFERENCES runs(id),
      at TEXT NOT NULL,
      status TEXT NOT NULL,
      kind TEXT NOT NULL,
      reason TEXT NOT NULL,
      detail TEXT NOT NULL,
      exit_code INTEGER
    )""",
    """CREATE TABLE timings (
      image_id INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,
      phase TEXT NOT NULL,
      seconds REAL NOT NULL,
      PRIMARY KEY (image_id, phase)
    ) WITHOUT ROWID""",
    "CREATE INDEX images_status ON images(status, run_id)",
    "CREATE INDEX images_content ON images(content_id)",
    "CREATE INDEX results_verdict ON results(verdict, product, service_pack)",
    "CREATE INDEX results_product ON results(product, version, verdict)",
    "CREATE INDEX results_version ON results(version)",
    "CREATE INDEX results_suspect ON results(suspect, verdict)",
    "CREATE INDEX results_fix ON results(fix_state, verdict)",
    "CREATE INDEX errors_image ON errors(image_id)",
)

_VERDICTS = """CREATE VIEW verdicts AS
  SELECT i.id, i.path, i.status, r.verdict, r.summary, r.fix_state, r.product, r.service_pack, r.version,
         r.branch, r.arch, r.paged_fullness, r.nonpaged_fullness, r.unloads, r.unloaded_most, r.top_tags,
         r.suspect, r.system_time, i.reason, i.format, i.size, i.seconds
  FROM images i LEFT JOIN results r ON r.image_id = i.id
  WHERE i.status IS NOT NULL"""

_FAILURES = """CREATE VIEW failures AS
  SELECT i.path, e.status, e.kind, e.reason, e.exit_code, e.at, e.detail, i.status AS status_now
  FROM errors e JOIN images i ON i.id = e.image_id"""


def _first(connection: sqlite3.Connection) -> None:
    for statement in _FIRST:
        connection.execute(statement)


def _second(connection: sqlite3.Connection) -> None:
    """Files inside compressed containers; views for whoever opens the store with a browser."""
    connection.execute("ALTER TABLE images ADD COLUMN container TEXT")
    connection.execute("ALTER TABLE images ADD COLUMN member TEXT")
    connection.execute("CREATE INDEX images_container ON images(container) WHERE container IS NOT NULL")
    connection.execute(_VERDICTS)
    connection.execute(_FAILURES)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first, _second)
"""Step *n* (from 0) turns a file of version *n* into version *n* + 1."""

VERSION = len(STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Version of the file; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the file to :data:`VERSION`, all steps in one transaction; returns the version it had.

    The connection is in autocommit mode (``isolation_level=None``).
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = version_of(connection)
        for step in STEPS[before:]:
            step(connection)
        if before < VERSION:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # A full disk has rolled it back already.
            connection.execute("ROLLBACK")
        raise
    return before
