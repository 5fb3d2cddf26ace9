"""JSON, JSON Lines, CSV and tables: exact values, contract order, tags with their blanks."""

from __future__ import annotations

import csv
import io
import json as reference
import time

from dumpscan.model import BigUse, Coverage, Pool, Pools, PoolUse, TagUse, Verdict, from_dict
from dumpscan.report import json, table
from tests.report.documents import IMAGE, KERNEL, TAGS, WALKED, pools, verdict


def test_a_verdict_document_has_the_contracts_keys_in_order() -> None:
    text = json.render(verdict())
    document = reference.loads(text)
    contract = "schema image kernel machine pool drivers fix signature suspects verdict tool".split()
    assert [key for key in document if key in contract] == contract
    assert document["schema"] == "dumpscan.verdict/1"
    assert from_dict(Verdict, document) == verdict()


def test_json_is_ascii_and_keeps_tags_and_controls_exactly() -> None:
    tags = (
        TagUse("Pp  ", PoolUse(), PoolUse(), "pages"),
        TagUse("\x1b\x00é\xff", PoolUse(), PoolUse(), "pages"),
    )
    text = json.render(verdict(pool=Pool(tags=tags)))
    assert text.isascii() and "\x1b" not in text and text.endswith("}\n")
    assert [row["tag"] for row in reference.loads(text)["pool"]["tags"]] == ["Pp  ", "\x1b\x00é\xff"]


def test_numbers_beyond_what_scripts_can_hold_are_hexadecimal_strings() -> None:
    huge = TagUse("Huge", PoolUse(outstanding=1, bytes=1 << 60), PoolUse(), "tracker")
    row = reference.loads(json.render(verdict(pool=Pool(tags=(huge,)))))["pool"]["tags"][0]
    assert row["paged"]["bytes"] == "0x1000000000000000"


def test_a_large_document_renders_fast() -> None:
    tags = tuple(TagUse(f"{i:04}", TAGS[0].paged, TAGS[0].nonpaged, "tracker") for i in range(400))
    document = verdict(pool=Pool(tags=tags))
    json.render(document)
    best = min(_seconds(document) for _ in range(5))
    assert best < 0.5  # about 0.02; a guard against quadratic layout, not a benchmark


def _seconds(document: Verdict) -> float:
    begin = time.perf_counter()
    json.render(document)
    return time.perf_counter() - begin


def test_pools_document() -> None:
    document = reference.loads(table.render_pools(pools(), "json"))
    assert document["schema"] == "dumpscan.pools/1" and document["source"] == "tracker"
    assert document["tags"][1]["tag"] == "Pp  " and document["tags"][1]["paged"]["outstanding"] == 52149


def test_csv_has_a_row_for_each_tag_and_pool_in_use() -> None:
    rows = list(csv.DictReader(io.StringIO(table.render_pools(pools(), "csv"))))
    assert [(row["tag"], row["pool"]) for row in rows] == [
        ("IoSe", "paged"),
        ("IoSe", "nonpaged"),
        ("Pp  ", "paged"),
        ("CM35", "paged"),
    ]
    assert rows[2] == {
        "tag": "Pp  ",
        "pool": "paged",
        "allocs": "52286",
        "frees": "137",
        "outstanding": "52149",
        "bytes": "4584976",
        "big_count": "",
        "big_bytes": "",
        "source": "tracker",
        "outstanding_low": "",
        "outstanding_high": "",
        "bytes_low": "",
        "bytes_high": "",
    }


def test_unknown_counters_are_empty_in_csv_null_in_jsonl_and_a_dash_in_the_table() -> None:
    walked = Pools(IMAGE, KERNEL, "pages", WALKED)
    row = next(csv.DictReader(io.StringIO(table.render_pools(walked, "csv"))))
    assert (row["allocs"], row["frees"], row["big_count"], row["big_bytes"]) == ("", "", "2", "8192")
    line = reference.loads(table.render_pools(walked, "jsonl"))
    assert line["allocs"] is None and line["tag"] == "Pp  " and line["big_bytes"] == 8192
    shown = table.render_pools(walked).splitlines()
    assert shown[1].split()[-2:] == ["Big", "bytes"]
    assert shown[2].split() == ["'Pp", "'", "paged", "-", "-", "18,067", "1,588,880", "87", "2", "8,192"]


def test_small_blocks_of_pools_without_a_page_read_are_unknown_not_none() -> None:
    """As of Windows 8 and later: large allocations by their table, of small blocks nothing is known."""
    large = TagUse("VMhg", PoolUse(big=BigUse(0, 0)), PoolUse(big=BigUse(1, 69632)), "pages")
    unread = Pools(IMAGE, KERNEL, "pages", (large,))
    shown = table.render_pools(unread).splitlines()[2].split()
    assert shown == ["VMhg", "nonpaged", "-", "-", "-", "-", "-", "1", "69,632"]
    row = next(csv.DictReader(io.StringIO(table.render_pools(unread, "csv"))))
    assert (row["outstanding"], row["bytes"], row["big_bytes"]) == ("", "", "69632")
    line = reference.loads(table.render_pools(unread, "jsonl"))
    assert line["outstanding"] is None and line["bytes"] is None
    walked = Pools(IMAGE, KERNEL, "pages", (large,), Coverage(nonpaged_pages=0.5))
    assert reference.loads(table.render_pools(walked, "jsonl"))["outstanding"] == 0


def test_control_characters_of_tags_are_escaped_in_tables_and_csv() -> None:
    evil = Pools(IMAGE, KERNEL, "pages", (TagUse("\x1b[2J", PoolUse(outstanding=1), PoolUse(), "pages"),))
    for output in ("csv", "table", "jsonl", "json"):
        assert "\x1b" not in table.render_pools(evil, output)
    assert r"\x1b[2J" in table.render_pools(evil, "csv")


def test_rows_of_any_kind_stream_as_csv_and_jsonl() -> None:
    taken = []

    def rows() -> object:
        for number in range(3):
            taken.append(number)
            yield {"address": hex(0xE1000000 + number), "tag": "Pp  ", "bytes": 128 * number}

    columns = ("address", "tag", "bytes")
    lines = table.render_rows(rows(), columns, "jsonl")  # type: ignore[arg-type]
    assert reference.loads(next(lines)) == {"address": "0xe1000000", "tag": "Pp  ", "bytes": 0}
    assert taken == [0]
    text = "".join(table.render_rows(rows(), columns, "csv"))  # type: ignore[arg-type]
    assert text.splitlines() == [
        "address,tag,bytes",
        "0xe1000000,Pp  ,0",
        "0xe1000001,Pp  ,128",
        "0xe1000002,Pp  ,256",
    ]
    shown = "".join(table.render_rows(rows(), columns, "table")).splitlines()  # type: ignore[arg-type]
    assert shown[0].split() == list(columns) and "'Pp  '" in shown[1]


def test_bytes_of_a_walk_count_big_allocations_in() -> None:
    use = TagUse("MmSt", PoolUse(outstanding=1, bytes=10, big=BigUse(1, 4096)), PoolUse(), "pages")
    tracked = TagUse("MmSt", PoolUse(outstanding=2, bytes=4106, big=BigUse(1, 4096)), PoolUse(), "tracker")
    assert [table.total_bytes(row) for row in table.pool_rows((use, tracked))] == [4106, 4106]
