"""``dumpscan pools``: the figures are the writer's, chosen and ordered as asked."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import samples
from tests.cli.conftest import Written
from tests.cli.run import run


def document(image: Written, *options: str) -> dict[str, Any]:
    result = run("pools", "--format", "json", *options, image.path)
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def rows(image: Written, *options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("pools", "--format", "csv", *options, image.path).stdout)))


def test_the_tracker_is_the_writers(hung: Written) -> None:
    shown = document(hung, "--source", "tracker")
    assert (shown["schema"], shown["source"]) == ("dumpscan.pools/1", "tracker")
    counted = {
        tag: (row["np_allocs"], row["np_frees"], row["np_bytes"], row["paged_allocs"], row["paged_frees"])
        for tag, row in hung.truth["tracker"].items()
    }
    found = {
        each["tag"]: (
            each["nonpaged"]["allocs"],
            each["nonpaged"]["frees"],
            each["nonpaged"]["bytes"],
            each["paged"]["allocs"],
            each["paged"]["frees"],
        )
        for each in shown["tags"]
    }
    assert {tag: row for tag, row in counted.items() if any(row)} == {
        tag: row for tag, row in found.items() if any(row)
    }


def test_pages_count_what_lies_in_the_image(hung: Written) -> None:
    (found,) = document(hung, "--source", "pages", "--tag", "IoSe")["tags"]
    valid = hung.truth["small_blocks"]["paged"]["IoSe"]["valid"]  # a kernel dump leaves transition pages out
    assert found["source"] == "pages"
    assert (found["paged"]["outstanding"], found["paged"]["bytes"]) == (valid["allocs"], valid["bytes"])
    assert (found["paged"]["allocs"], found["paged"]["frees"]) == (None, None)


@pytest.mark.parametrize(
    ("globs", "tags"),
    [
        (["IoSe"], {"IoSe"}),
        (["Pp"], {"Pp  "}),
        (["Pp  ", "IoSe"], {"Pp  ", "IoSe"}),
        (["iose"], set()),
    ],
)
def test_tag_patterns(hung: Written, globs: list[str], tags: set[str]) -> None:
    shown = document(hung, *(part for glob in globs for part in ("--tag", glob)))
    assert {each["tag"] for each in shown["tags"]} == tags


def test_a_wildcard_takes_the_family(hung: Written) -> None:
    family = {each["tag"] for each in document(hung, "--tag", "Pp??")["tags"]}
    assert family == {tag for tag in hung.truth["tracker"] if tag.startswith("Pp")}
    assert len(family) > 3


def test_one_pool_alone(hung: Written) -> None:
    assert {row["pool"] for row in rows(hung)} == {"paged", "nonpaged"}
    assert {row["pool"] for row in rows(hung, "--pool", "nonpaged")} == {"nonpaged"}
    tags = {each["tag"] for each in document(hung, "--pool", "nonpaged")["tags"]}
    used = {tag for tag, row in hung.truth["tracker"].items() if row["np_allocs"] or row["np_bytes"]}
    assert tags == used


@pytest.mark.parametrize("key", ["bytes", "outstanding", "allocs", "frees"])
def test_order_by_a_figure(hung: Written, key: str) -> None:
    values = [int(row[key]) for row in rows(hung, "--sort", key)]
    assert len(set(values)) > 10
    assert values == sorted(values, reverse=True)


def test_order_by_tag(hung: Written) -> None:
    tags = [row["tag"] for row in rows(hung, "--sort", "tag")]
    assert tags == sorted(tags)


def test_top(hung: Written) -> None:
    top = rows(hung, "--sort", "allocs", "--pool", "paged", "--top", "3")
    counted = sorted((row["paged_allocs"] for row in hung.truth["tracker"].values()), reverse=True)
    assert [int(row["allocs"]) for row in top] == counted[:3]
    assert len(document(hung, "--top", "3")["tags"]) == 3


def test_a_table_quotes_blanks(hung: Written) -> None:
    table = run("pools", "--tag", "Pp", hung.path).stdout
    assert "\n  'Pp  '  paged" in table


def test_jsonl_has_a_row_for_each_tag_and_pool(hung: Written) -> None:
    lines = run("pools", "--format", "jsonl", hung.path).stdout.splitlines()
    assert [json.loads(line)["tag"] for line in lines] == [row["tag"] for row in rows(hung)]


def test_no_figures_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.cli.conftest import write

    image = write(tmp_path_factory.mktemp("off"), "no-tagging")
    result = run("pools", "--source", "tracker", "--format", "csv", image.path)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert result.stderr.startswith("dumpscan: note: no figures by tag: pool tagging is off")
    assert document(image)["source"] == "pages"


def test_tags_from_two_sources_are_said_to_be_mixed(tmp_path: Path) -> None:
    """The tracker table overflowed: tags that it had no room for come from the pages."""
    machine = samples.build("xpsp3-x86-pae", "leak", seed=7, overflow="ovfl")
    image = Written(samples.write(machine, "crash32-kernel", tmp_path / "full.dmp"), machine.truth)
    shown = document(image)
    assert {each["source"] for each in shown["tags"]} == {"tracker", "pages"}
    assert shown["source"] == "mixed"
    assert document(image, "--source", "pages")["source"] == "pages"
