"""What a store holds, as CSV, JSON and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from dumpscan.batch.columns import columns
from dumpscan.batch.export import COLUMNS, write_parquet
from dumpscan.batch.job import Failure, Job, Listed, Outcome, Status
from dumpscan.batch.store import Run, open_store
from dumpscan.errors import UsageError
from dumpscan.records import replace
from dumpscan.report.json import line
from tests.cli.run import run
from tests.report.documents import verdict


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A judged image, a crashed one, a container with a file that is not analysed yet."""
    path = tmp_path / "s.sqlite"
    with closing(open_store(path, create=True)) as connection:
        recording = Run(connection, {}, "1.0", "r")
        job, document = Job("/b, with a comma.dmp", "/b", 10, 20), line(verdict()).rstrip()
        recording.record(Outcome(job, Status.OK, "seen", 0.25, "s1:00", "elf", document, columns(verdict())))
        recording.record(
            Outcome(Job("/a.dmp", "/a"), Status.CRASHED, "died\nof it", 2.0, failure=Failure("WorkerDied"))
        )
        zipped = Job("/c.zip", "/c.zip", 10, 20)
        recording.record(Outcome(zipped, Status.SKIPPED, members=(Listed("/c.zip!x", "{}", 5),)))
        recording.end("finished")
    return path


def test_json_is_the_contract(store: Path) -> None:
    result = run("report", store, "--format", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert list(document) == ["schema", "store", "images"]
    assert (document["schema"], document["store"]) == ("dumpscan.report/1", str(store))
    assert [(image["path"], image["status"], image["reason"]) for image in document["images"]] == [
        ("/a.dmp", "crashed", "died\nof it"),
        ("/b, with a comma.dmp", "ok", "seen"),
        ("/c.zip", "skipped", ""),
    ]
    assert [image["seconds"] for image in document["images"]] == [2.0, 0.25, 0.0]
    assert [image["result"] for image in document["images"]] == [None, json.loads(line(verdict())), None]


def test_csv_has_a_row_for_each_file(store: Path, tmp_path: Path) -> None:
    result = run("report", store)
    heading, *found = list(csv.reader(io.StringIO(result.stdout)))
    assert tuple(heading) == COLUMNS
    by_path = {row[0]: dict(zip(heading, row, strict=True)) for row in found}
    assert sorted(by_path) == ["/a.dmp", "/b, with a comma.dmp", "/c.zip"]
    crashed, judged = by_path["/a.dmp"], by_path["/b, with a comma.dmp"]
    assert (crashed["status"], crashed["verdict"], crashed["size"]) == ("crashed", "", "")
    assert judged["verdict"] == verdict().verdict.code
    assert judged["version"] == verdict().kernel.version
    assert json.loads(judged["top_tags"])[0] == "Pp  "
    output = tmp_path / "out.csv"
    assert run("report", store, "-o", output).stdout == ""
    assert output.read_text(encoding="utf-8") == result.stdout


def test_parquet_has_the_same_rows_and_the_documents(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    assert run("report", store, "--format", "parquet", "-o", output).exit_code == 0
    table = parquet.read_table(output)
    assert tuple(table.column_names) == (*COLUMNS, "document")
    rows = table.to_pylist()
    assert [(row["path"], row["status"], row["size"], row["seconds"]) for row in rows] == [
        ("/a.dmp", "crashed", None, 2.0),
        ("/b, with a comma.dmp", "ok", 10, 0.25),
        ("/c.zip", "skipped", 10, 0.0),
    ]
    assert json.loads(rows[1]["document"]) == json.loads(line(verdict()))
    assert rows[1]["truncated"] is verdict().image.truncated
    assert sorted(os.listdir(tmp_path)) == ["out.parquet", "s.sqlite"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gone",), 3, "no such store"),
        (("s.sqlite", "--format", "parquet"), 2, "name a file with -o"),
        (("s.sqlite", "-o", "s.sqlite"), 2, "is the store itself"),
        (("s.sqlite", "--format", "parquet", "-o", "no/where"), 2, "cannot be written"),
        (("note.txt",), 2, "not a store of dumpscan"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    store: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(store.parent)
    (store.parent / "note.txt").write_text("not a store, and long enough to be taken for one " * 9)
    result = run("report", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_characters_that_are_halves_reach_every_format(tmp_path: Path) -> None:
    """A name in memory may be cut in the middle of a surrogate pair."""
    path = tmp_path / "s.sqlite"
    odd = replace(verdict(), kernel=replace(verdict().kernel, product="half \ud83d"))
    with closing(open_store(path, create=True)) as connection:
        document = line(odd).rstrip()
        outcome = Outcome(Job("/a", "/a"), Status.OK, "half \ud83d", 1.0, None, "elf", document, columns(odd))
        Run(connection, {}, "1.0", "r").record(outcome)
    assert "half \\ud83d" in run("report", path).stdout
    parsed = json.loads(run("report", path, "--format", "json").stdout)
    assert parsed["images"][0]["result"]["kernel"]["product"] == "half \ud83d"
    run("report", path, "--format", "parquet", "-o", tmp_path / "p")
    assert parquet.read_table(tmp_path / "p").to_pylist()[0]["product"] == "half \\ud83d"


def test_the_canned_queries_for_datasette_run_and_use_indices(store: Path) -> None:
    metadata = Path(__file__).parents[2] / "docs" / "datasette.json"
    database = json.loads(metadata.read_text(encoding="utf-8"))["databases"]["dumps"]
    with closing(sqlite3.connect(store)) as connection:
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert set(database["tables"]) <= known
        for name, query in database["queries"].items():
            connection.execute(query["sql"], {"part": "a", "path": "/b, with a comma.dmp"}).fetchall()
            assert query["title"], name
        for name in ("by_verdict", "by_status", "by_product", "by_suspect", "duplicates"):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {database['queries'][name]['sql']}").fetchall()
            assert all("COVERING INDEX" in row[3] for row in plan if row[3].startswith("SCAN")), (name, plan)


def test_parquet_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        closing(open_store(tmp_path / "s.sqlite", create=True)) as connection,
        pytest.raises(UsageError, match="cannot be written"),
    ):
        write_parquet(connection, tmp_path / "file" / "x.parquet")
