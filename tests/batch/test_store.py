"""The store: what is kept, that it is kept once, and that older files become new ones."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from dumpscan.batch import schema
from dumpscan.batch.columns import columns
from dumpscan.batch.job import Failure, Job, Listed, Outcome, Status
from dumpscan.batch.store import Run, key_of, open_store, read_store
from dumpscan.errors import UnreadableFile, UsageError
from tests.report.documents import verdict

# Version 1 as the first dumpscan wrote it: copied out, so that no later edit of the steps changes it.
VERSION_1 = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, heartbeat REAL NOT NULL,
  outcome TEXT NOT NULL, request TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  tool_version TEXT NOT NULL, rules TEXT NOT NULL);
CREATE TABLE images (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER, mtime_ns INTEGER,
  content_id TEXT, format TEXT, status TEXT, reason TEXT NOT NULL DEFAULT '', seconds REAL,
  run_id INTEGER REFERENCES runs(id), analysed TEXT, attempts INTEGER NOT NULL DEFAULT 0,
  tool_version TEXT, rules TEXT);
CREATE TABLE results (image_id INTEGER PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,
  verdict TEXT NOT NULL, summary TEXT NOT NULL, signature_state TEXT, fix_state TEXT, fixed_version TEXT,
  product TEXT, service_pack INTEGER, version TEXT, branch TEXT, arch TEXT, pae INTEGER, bugcheck TEXT,
  system_time TEXT, uptime_seconds REAL, tagging TEXT, paged_bytes INTEGER, paged_fullness REAL,
  nonpaged_bytes INTEGER, nonpaged_fullness REAL, unloads INTEGER, unloaded_most TEXT,
  top_tags TEXT NOT NULL DEFAULT '[]', suspect TEXT, suspect_share REAL,
  suspects TEXT NOT NULL DEFAULT '[]', truncated INTEGER);
CREATE TABLE documents (image_id INTEGER PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,
  document TEXT NOT NULL);
CREATE TABLE errors (id INTEGER PRIMARY KEY,
  image_id INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,
  run_id INTEGER NOT NULL REFERENCES runs(id),
  at TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL,
  reason TEXT NOT NULL, detail TEXT NOT NULL, exit_code INTEGER);
CREATE TABLE timings (image_id INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE, phase TEXT NOT NULL,
  seconds REAL NOT NULL, PRIMARY KEY (image_id, phase)) WITHOUT ROWID;
INSERT INTO runs VALUES (1, 'then', 'later', 0, 'finished', '{}', 'h', 1, '0.1', 'r');
INSERT INTO images VALUES (7, '/a.dmp', 10, 20, 's1:00', 'elf', 'ok', 'fine', 0.5, 1, 'then', 1, '0.1', 'r');
INSERT INTO results (image_id, verdict, summary) VALUES (7, 'exhibits', 'fine');
INSERT INTO documents VALUES (7, '{"old": true}');
PRAGMA application_id = 0x44554D50;
PRAGMA user_version = 1;
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path / "s.sqlite", create=True)) as connection:
        yield connection


def begin(connection: sqlite3.Connection, **request: object) -> Run:
    return Run(connection, request, "1.0", "rules")


def judged(key: str = "/a.dmp", code: str = "exhibits") -> Outcome:
    found = {**columns(verdict()), "verdict": code}
    return Outcome(
        Job(key, key, 10, 20), Status.OK, "seen", 1.5, "s1:00", "elf", '{"a": 1}', found, None, {"open": 0.25}
    )


def failed(key: str = "/a.dmp") -> Outcome:
    failure = Failure("WorkerDied", "what is known", -9)
    return Outcome(Job(key, key, 10, 20), Status.CRASHED, "died", failure=failure)


def one(connection: sqlite3.Connection, query: str) -> tuple[object, ...]:
    (row,) = connection.execute(query).fetchall()
    assert isinstance(row, tuple)
    return row


def test_an_outcome_is_kept_with_everything_that_is_known(store: sqlite3.Connection) -> None:
    run = begin(store)
    run.record(judged())
    image = (
        "path, size, mtime_ns, content_id, format, status, reason, seconds, run_id, attempts, tool_version"
    )
    assert one(store, f"SELECT {image} FROM images") == (
        *("/a.dmp", 10, 20, "s1:00", "elf", "ok", "seen", 1.5, run.id, 1, "1.0"),
    )
    assert one(store, "SELECT verdict, document FROM results NATURAL JOIN documents") == (
        "exhibits",
        '{"a": 1}',
    )
    assert one(store, "SELECT phase, seconds FROM timings") == ("open", 0.25)
    assert one(store, "SELECT count(*) FROM errors") == (0,)


def test_recording_again_replaces_and_keeps_the_history_of_errors(store: sqlite3.Connection) -> None:
    run = begin(store)
    for outcome in (judged(), failed(), failed()):
        run.record(outcome)
    assert one(store, "SELECT status, attempts FROM images") == ("crashed", 3)
    assert one(store, "SELECT count(*) FROM results") == (0,)
    assert one(store, "SELECT count(*) FROM documents") == (0,)
    run.record(judged(code="does-not-exhibit"))
    assert one(store, "SELECT status, verdict FROM verdicts") == ("ok", "does-not-exhibit")
    errors = store.execute(
        "SELECT status, kind, reason, detail, exit_code, status_now FROM failures"
    ).fetchall()
    assert errors == [("crashed", "WorkerDied", "died", "what is known", -9, "ok")] * 2


def test_an_outcome_is_kept_whole_or_not_at_all(store: sqlite3.Connection) -> None:
    run = begin(store)
    broken = judged()
    assert broken.columns is not None
    with pytest.raises(sqlite3.Error):
        run.record(Outcome(broken.job, Status.OK, document="{}", columns={**broken.columns, "verdict": None}))
    assert one(store, "SELECT count(*) FROM images") == (0,)


def test_files_of_a_container(store: sqlite3.Connection) -> None:
    run, job = begin(store), Job("/a.zip", "/a.zip", 10, 20)
    inside = (
        Listed("/a.zip!x", "{}", 5),
        Listed("/a.zip!y", "{}", 6, Status.SKIPPED, "a text"),
        Listed("/a.zip!z", "{}", 7, Status.DAMAGED, "cut off"),
    )
    run.record(Outcome(job, Status.SKIPPED, members=inside))
    members = "SELECT path, size, status, container FROM images WHERE container IS NOT NULL ORDER BY path"
    assert store.execute(members).fetchall() == [
        ("/a.zip!x", 5, None, "/a.zip"),
        ("/a.zip!y", 6, "skipped", "/a.zip"),
        ("/a.zip!z", 7, "damaged", "/a.zip"),
    ]
    assert one(store, "SELECT path, reason FROM failures") == ("/a.zip!z", "cut off")
    run.record(Outcome(job, Status.SKIPPED, members=inside[1:]))
    assert [row[0] for row in store.execute(members)] == ["/a.zip!y", "/a.zip!z"]


def test_an_old_store_is_migrated_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    with closing(open_store(path)) as connection:
        assert schema.version_of(connection) == schema.VERSION
        old = one(connection, "SELECT v.path, v.verdict, d.document FROM verdicts v JOIN documents d")
        assert old == ("/a.dmp", "exhibits", '{"old": true}')
        begin(connection).record(judged("/b.dmp"))
        assert one(connection, "SELECT count(*) FROM verdicts") == (2,)
        migrated = structure(connection)
    with closing(open_store(tmp_path / "new.sqlite", create=True)) as connection:
        assert {name: kind for name, kind in structure(connection).items() if kind != "index"} == {
            name: kind for name, kind in migrated.items() if kind != "index"
        }


def structure(connection: sqlite3.Connection) -> dict[str, str]:
    found = {}
    for name, kind in connection.execute("SELECT name, type FROM sqlite_master"):
        columns_of = connection.execute(f"PRAGMA table_info({name})").fetchall() if kind != "index" else []
        found[name] = kind if kind == "index" else f"{kind} {[column[1:4] for column in columns_of]}"
    return found


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)

    def third(connection: sqlite3.Connection) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, third))
    monkeypatch.setattr(schema, "VERSION", 3)
    with pytest.raises(RuntimeError):
        open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert schema.version_of(connection) == 1
        assert one(connection, "SELECT count(*) FROM sqlite_master WHERE type = 'view'") == (0,)


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no such store"):
        open_store(tmp_path / "missing")
    text = tmp_path / "text"
    text.write_text("not a database, but longer than its header would be " * 9)
    with pytest.raises(UsageError, match="not a store"):
        open_store(text, create=True)
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = other.read_bytes()
    with pytest.raises(UsageError, match="not a store of dumpscan"):
        open_store(other, create=True)
    assert other.read_bytes() == before
    with pytest.raises(UnreadableFile, match="cannot be"):
        open_store(tmp_path / "no" / "folder.sqlite", create=True)


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(open_store(path, create=True)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="newer dumpscan"):
        open_store(path)


def test_one_run_at_a_time(store: sqlite3.Connection) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        begin(store)
        store.execute("UPDATE runs SET pid = ?", (other.pid,))
        with pytest.raises(UsageError, match=f"process {other.pid} on {socket.gethostname()}"):
            begin(store)
        other.kill()
        other.wait()
    begin(store)  # Its process is gone.
    assert [row[0] for row in store.execute("SELECT outcome FROM runs")] == ["killed", "running"]


def test_a_run_elsewhere_counts_while_it_is_heard_of(store: sqlite3.Connection) -> None:
    begin(store)
    store.execute("UPDATE runs SET host = 'elsewhere', pid = 1")
    with pytest.raises(UsageError, match="on elsewhere"):
        begin(store)
    store.execute("UPDATE runs SET heartbeat = heartbeat - 1000")
    begin(store)


def test_a_run_cut_short_is_continued_by_the_same_request(store: sqlite3.Connection) -> None:
    first = begin(store, paths="a")
    first.end("interrupted")
    assert begin(store, paths="a").since == first.id
    other = begin(store, paths="b")
    assert other.since == other.id
    other.end("finished")
    last = begin(store, paths="b")
    assert last.since == last.id


def test_keys_are_text(tmp_path: Path) -> None:
    assert key_of(os.fsdecode(b"/d\xff/\xc3\xa4")) == "/d\\xff/ä"


def test_a_run_that_stood_still_too_long_writes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(open_store(path, create=True)) as one_store, closing(open_store(path)) as other:
        stopped = begin(one_store)
        one_store.execute("UPDATE runs SET heartbeat = heartbeat - 600, pid = 1")
        taking_over = begin(other)
        with pytest.raises(UsageError, match="another run has taken over this store"):
            stopped.record(judged())
        stopped.end("interrupted")
        taking_over.record(judged())
        taking_over.end("finished")
        assert one_store.execute("SELECT outcome FROM runs").fetchall() == [("killed",), ("finished",)]
        assert one(one_store, "SELECT attempts, run_id FROM images") == (1, taking_over.id)


def test_a_store_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s #1?.sqlite"
    with closing(open_store(path, create=True)) as connection:
        begin(connection).record(judged())
    path.chmod(0o444)

    def refused(*_: object, **__: object) -> sqlite3.Connection:
        raise UnreadableFile("the store cannot be used (attempt to write a readonly database)")

    # As root, whom tests may run as, everything can be written.
    monkeypatch.setattr("dumpscan.batch.store.open_store", refused)
    with closing(read_store(path)) as connection:
        assert one(connection, "SELECT path FROM images") == ("/a.dmp",)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM images")
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".sqlite"] == [path.name]
    with pytest.raises(UnreadableFile):
        read_store(tmp_path / "gone.sqlite")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dumpscan.batch import run as module

    def small(path: Path, *, create: bool) -> sqlite3.Connection:
        connection = open_store(path, create=create)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    class Silent:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    for number in range(200):
        (tmp_path / f"{number:0200}.txt").touch()
    monkeypatch.setattr(module, "open_store", small)
    plan = module.Plan((str(tmp_path / "*.txt"),), tmp_path / "s.sqlite")
    with pytest.raises(UnreadableFile, match=r"the store cannot be written \(database or disk is full\)"):
        module.run_batch(plan, cast(Any, Silent()))
