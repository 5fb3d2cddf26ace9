"""``dumpscan allocations``: single blocks as the writer placed them, and their contents as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from dumpscan.cli import extract
from dumpscan.cli.extract import file_name
from samples.contents import default_dacl
from tests.cli.conftest import Written
from tests.cli.run import run

XP_HEADER = 8  # _POOL_HEADER of 32-bit kernels


def rows(image: Written, *options: str | Path) -> list[dict[str, str]]:
    result = run("allocations", "--format", "csv", *options, image.path)
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_every_block_of_a_tag(hung: Written) -> None:
    valid = hung.truth["small_blocks"]["paged"]["IoSe"]["valid"]
    found = rows(hung, "--tag", "IoSe")
    assert (len(found), sum(int(row["bytes"]) for row in found)) == (valid["allocs"], valid["bytes"])
    assert {(row["tag"], row["pool"], row["kind"], row["state"]) for row in found} == {
        ("IoSe", "paged", "small", "valid")
    }
    assert len({row["address"] for row in found}) == len(found)


def test_big_ones_are_those_of_the_table(hung: Written) -> None:
    entries = {(e["va"], e["tag"], e["bytes"], e["pool"]) for e in hung.truth["big_table"]["entries"]}
    found = rows(hung, "--big")
    assert {(row["address"], row["tag"], int(row["bytes"]), row["pool"]) for row in found} == entries
    assert {row["kind"] for row in found} == {"big"}


def test_choice_by_size_and_pool(hung: Written) -> None:
    found = rows(hung, "--min-size", "4096", "--pool", "nonpaged")
    big = sorted(row["address"] for row in found if row["kind"] == "big")
    assert big == sorted(e["va"] for e in hung.truth["big_table"]["entries"] if e["pool"] == "nonpaged")
    assert min(int(row["bytes"]) for row in found) >= 4096


def test_the_largest_first(hung: Written) -> None:
    sizes = [int(row["bytes"]) for row in rows(hung, "--top", "5")]
    assert sizes == sorted((e["bytes"] for e in hung.truth["big_table"]["entries"]), reverse=True)[:5]


def test_json_lines_and_table_show_the_same(hung: Written) -> None:
    options = ("--tag", "Pp", "--top", "4")
    lines = run("allocations", "--format", "jsonl", *options, hung.path).stdout.splitlines()
    table = run("allocations", *options, hung.path).stdout.splitlines()
    assert len(lines) == len(table) - 1 == 4
    addresses = [json.loads(line)["address"] for line in lines]
    assert [row.split()[0] for row in table[1:]] == addresses
    assert all("  'Pp  '  " in row for row in table[1:])


def test_contents_become_files(hung: Written, tmp_path: Path) -> None:
    shown = rows(hung, "--tag", "IoSe", "--top", "200", "--extract", tmp_path / "blocks")
    with (tmp_path / "blocks" / "index.csv").open(encoding="utf-8", newline="") as stream:
        index = list(csv.DictReader(stream))
    assert [row["address"] for row in index] == [row["address"] for row in shown]
    assert sorted(path.name for path in (tmp_path / "blocks").iterdir()) == sorted(
        ["index.csv", *(row["file"] for row in index)]
    )
    leaked = 0
    for row in index:
        content = (tmp_path / "blocks" / row["file"]).read_bytes()
        assert len(content) == int(row["bytes"]) - XP_HEADER == int(row["written_bytes"])
        assert row["missing_bytes"] == "0"
        leaked += content.startswith(default_dacl())
    # A cycle of this leak loses the DACL of a device; a few blocks belong to living devices.
    assert leaked > 150


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("IoSe", "0xe1001000-IoSe.bin"),
        ("Pp  ", "0xe1001000-Pp__.bin"),
        ("../x", "0xe1001000-___x.bin"),
        ("C:\\a", "0xe1001000-C__a.bin"),
        ("\\x00\\x0a..", "0xe1001000-_x00_x0a__.bin"),
        ("äöüß", "0xe1001000-____.bin"),
    ],
)
def test_a_tag_never_names_a_path(tag: str, name: str) -> None:
    assert file_name(0xE1001000, tag) == name


def test_nothing_is_overwritten(hung: Written, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    result = run("allocations", "--tag", "IoSe", "--extract", tmp_path, hung.path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_files_are_bounded_and_say_so(
    hung: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "MOST_FILES", 3)
    result = run("allocations", "--tag", "IoSe", "--extract", tmp_path / "few", hung.path)
    assert result.exit_code == 0
    assert result.stderr.startswith("dumpscan: warning: stopped at 3 files, 3 blocks written")
    assert len(list((tmp_path / "few").iterdir())) == 4
    monkeypatch.setattr(extract, "MOST_BYTES", 1)
    result = run("allocations", "--tag", "IoSe", "--extract", tmp_path / "one", hung.path)
    assert "1 blocks written" in result.stderr


def test_an_unwritable_folder_is_one_line(hung: Written, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("allocations", "--tag", "IoSe", "--extract", tmp_path / "file" / "below", hung.path)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
