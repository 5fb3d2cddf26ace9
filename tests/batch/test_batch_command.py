"""The command: what is recorded, printed and returned; again, interrupted, continued."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.batch.archive import Archive, some
from tests.batch.batches import (
    batch,
    environment,
    marked,
    outcomes,
    recorded,
    rows,
    start,
    wait_for_no_process,
)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "scratch")


def test_an_archive_of_every_kind(archive: Archive, tmp_path: Path, env: dict[str, str]) -> None:
    some(archive)
    store = archive.root / "store.sqlite"  # Inside: it must not find itself.
    run = batch(archive.root, "--store", store, "--workers", "2", "--jsonl", env=env)
    assert run.returncode == 1, run.stderr
    # Before a reader that may not write to it makes WAL files of its own.
    assert [path.name for path in archive.root.glob("store*")] == ["store.sqlite"]
    assert outcomes(store) == archive.expected
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert all(set(line) == {"path", "status", "reason", "seconds", "result"} for line in lines)
    # Members that the listing passes over have no line of their own; here there are none.
    assert {line["path"]: line["status"] for line in lines} == {
        path: expected.status for path, expected in archive.expected.items()
    }
    judged = {line["path"]: line["result"]["verdict"]["code"] for line in lines if line["result"]}
    assert judged == {path: each.verdict for path, each in archive.expected.items() if each.verdict}
    assert f"{len(archive.expected)} recorded in {store}" in run.stderr
    assert "exhibits" in run.stderr
    wait_for_no_process(tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_exit_codes_and_again(archive: Archive, tmp_path: Path, env: dict[str, str]) -> None:
    store = tmp_path / "s.sqlite"
    good, bad = archive.dump("good.dmp"), archive.dump("bad.dmp")
    hooked = {**env, "DUMPSCAN_TEST_HOOK": "raise:bad.dmp"}
    assert batch(good, "--store", store, env=hooked).returncode == 0
    assert batch(archive.root, "--store", store, env=hooked).returncode == 1
    # Nothing is done again, and the failure is still one; without the hook, only on request.
    for arguments, code, attempts in (((), 1, 1), (("--retry-failed",), 0, 2), ((), 0, 2)):
        assert batch(archive.root, "--store", store, *arguments, env=env).returncode == code
        assert rows(store, "SELECT attempts FROM images WHERE path = ?", str(bad)) == [(attempts,)]
    assert rows(store, "SELECT attempts FROM images WHERE path = ?", str(good)) == [(1,)]
    assert batch(good, "--store", store, "--reanalyse", "all", env=env).returncode == 0
    assert rows(store, "SELECT attempts FROM images WHERE path = ?", str(good)) == [(2,)]
    assert rows(store, "SELECT outcome, count(*) FROM runs GROUP BY 1") == [("finished", 6)]


def test_other_rules_count_as_changed(archive: Archive, tmp_path: Path, env: dict[str, str]) -> None:
    store, path = tmp_path / "s.sqlite", archive.dump("a.dmp")
    own = tmp_path / "own.toml"
    own.write_text("[KB950162]\niose_present = 100000\niose_early = 100000\n")
    arguments = ("--store", store, "--reanalyse", "changed", "--thresholds", own)
    assert batch(path, "--store", store, env=env).returncode == 0
    before = outcomes(store)[str(path)]
    assert batch(path, *arguments, env=env).returncode == 0
    assert (before.verdict, outcomes(store)[str(path)].verdict) == ("exhibits", "does-not-exhibit")
    assert batch(path, *arguments, env=env).returncode == 0
    assert rows(store, "SELECT attempts FROM images") == [(2,)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gone.dmp", "--store", "s"), 3, "gone.dmp: no such file or folder"),
        (("@gone.txt", "--store", "s"), 3, "gone.txt: the list cannot be read"),
        ((".", "--store", "note.txt"), 2, "note.txt: not a store of dumpscan"),
        ((".", "--store", "s", "--thresholds", "gone.toml"), 3, "gone.toml: cannot be read"),
        ((".",), 2, "Missing option '--store'"),
        ((".", "--store", "s", "--memory", "1"), 2, "give 128 or more"),
        ((".", "--store", "s", "--memory", "99999999999999"), 2, "not in the range"),
        ((".", "--store", "s", "--timeout", "nan"), 2, "not a number of seconds"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, env: dict[str, str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "note.txt").write_text(
        "not a store, and long enough to be taken for a file with a header " * 3
    )
    given = (str(tmp_path / each) if each in (".", "s", "note.txt") else each for each in arguments)
    run = batch(*given, env=env)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stdout == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_same_command_continues(
    archive: Archive, tmp_path: Path, env: dict[str, str], number: int, code: int
) -> None:
    store = tmp_path / "s.sqlite"
    for index in range(12):
        archive.dump(f"{index}.dmp")
    archive.dump("a-slow.dmp")
    arguments = (archive.root, "--store", store, "--workers", "2")
    process = start(*arguments, env={**env, "DUMPSCAN_TEST_HOOK": "hang:a-slow.dmp"})
    while recorded(store) < 4:
        time.sleep(0.01)
    # As a terminal does, workers included: they must leave it to the coordinator.
    for pid in marked(tmp_path / "scratch"):
        if number == signal.SIGINT or pid == process.pid:
            os.kill(pid, number)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (code, "")
    assert "the same command again continues" in out
    wait_for_no_process(tmp_path / "scratch")
    assert rows(store, "SELECT outcome FROM runs") == [("interrupted",)]
    assert batch(*arguments, env=env).returncode == 0
    assert outcomes(store) == archive.expected
    assert rows(store, "SELECT DISTINCT attempts FROM images") == [(1,)]


def test_a_reader_that_goes_away_ends_the_run(archive: Archive, tmp_path: Path, env: dict[str, str]) -> None:
    for index in range(10):
        archive.dump(f"{index}.dmp")
    process = start(archive.root, "--store", tmp_path / "s.sqlite", "--workers", "1", "--jsonl", env=env)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    process.stderr.close()
    wait_for_no_process(tmp_path / "scratch")
    assert recorded(tmp_path / "s.sqlite") < 10
