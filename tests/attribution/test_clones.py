"""Kinds and clones of rows made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dumpscan.attribution import clones, kinds
from dumpscan.attribution.clones import Collector, Family, distinct
from dumpscan.pool.contents import Contents
from tests.attribution.test_descriptors import ACL, DESCRIPTOR, data

TAG = 0x65536F49


def rows(*contents: bytes, width: int = 104) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    padded = b"".join(content.ljust(width, b"\0") for content in contents)
    return np.frombuffer(padded, np.uint8).reshape(len(contents), width)


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def families(*contents: bytes, width: int = 104, pointer: int = 4, slack: int = 7) -> list[Family]:
    collector = Collector(pointer, slack)
    given = rows(*contents, width=width)
    va = np.arange(len(given), dtype=np.uint64) * np.uint64(0x80) + np.uint64(0xE1000008)
    collector.add(Contents(TAG, True, width + 8, 8, va, given))
    [(key, found)] = collector.families()
    assert key == (TAG, True) and collector.blocks[key] == len(contents)
    return found


def test_each_kind_is_recognised_with_the_bytes_that_it_claims() -> None:
    found, extent = kinds.classify(
        rows(
            data(DESCRIPTOR),
            data(ACL),
            wide("\\Device\\x"),
            bytes(8),
            b"\x01\x00\x00\x00\x07" * 9,
            b"plain ASCII text reads as letters of other scripts",
        )
    )
    assert [kinds.NAMES[kind] for kind in found.tolist()] == [
        "descriptor", "acl", "text", "zeros", "other", "other",
    ]  # fmt: skip
    assert extent.tolist() == [0x60, 0x30, 2 * 9, 0, 104, 104]


def test_rows_too_short_for_a_descriptor_are_looked_at_all_the_same() -> None:
    found, _ = kinds.classify(rows(wide("ROOT"), b"\x02\x00\x08\x00", b"\1" * 8, width=8))
    assert [kinds.NAMES[kind] for kind in found.tolist()] == ["text", "other", "other"]


def test_offsets_that_lead_out_of_the_row_are_no_descriptor() -> None:
    wild = bytearray(data(DESCRIPTOR))
    wild[4:8] = b"\xff\xff\xff\xff"
    found, extent = kinds.classify(rows(bytes(wild)))
    assert (found.tolist(), extent.tolist()) == ([kinds.OTHER], [104])


def test_slack_behind_a_descriptor_does_not_make_another_one() -> None:
    [family] = families(data(DESCRIPTOR), data(DESCRIPTOR) + b"\xaa" * 8, data(DESCRIPTOR) + b"\x55" * 8)
    assert (family.copies, len(family.clones), family.clones[0].copies) == (3, 1, 3)
    assert family.size == 112


def test_structures_that_differ_in_kernel_addresses_are_nearly_identical() -> None:
    one = data("01000000 00000000 80356480 0e020000") + bytes(24)
    other = data("01000000 00000000 8035ab81 0e020000") + bytes(24)
    apart = data("01000000 00000000 80356400 0e020000") + bytes(24)  # 0x00643580 is no kernel address
    found = families(one, one, other, apart, width=40)
    assert [(f.copies, [c.copies for c in f.clones]) for f in found] == [(3, [2, 1]), (1, [1])]


def test_on_64_bits_addresses_are_words_of_eight_bytes() -> None:
    one = data("0100000000000000 38943400 80faffff 0700000000000000")
    other = data("0100000000000000 00103400 00f8ffff 0700000000000000")
    apart = data("0100000000000000 00103400 00f80000 0700000000000000")
    found = families(one, other, apart, width=40, pointer=8, slack=15)
    assert sorted(f.copies for f in found) == [1, 2]


def test_texts_that_differ_in_digits_are_nearly_identical() -> None:
    found = families(
        *[wide(f"ROOT\\XYZ\\{number:04d}") for number in range(5)], wide("ROOT\\ABC\\0000"), width=32
    )
    assert [(f.copies, len(f.clones)) for f in found] == [(5, 5), (1, 1)]


def test_a_second_text_behind_the_first_counts() -> None:
    first, second = wide("PCI\\A\0A\0"), wide("PCI\\A\0B\0")
    found = families(first, second, first, width=64)
    assert [(f.copies, [c.copies for c in f.clones]) for f in found] == [(3, [2, 1])]


def test_what_is_left_over_behind_a_counted_string_is_no_part_of_it() -> None:
    text = "\\Driver\\filedisk"  # 16 letters, 32 bytes; the block has room for four more
    tails = [b"\0\0\0\0\0\0\0\0", b"\xf7\x02\0\0\x50\x1a\xe9\x67", b"\x50\0\xea\0\0\0\0\0"]
    given = [wide(text) + tails[0]] * 12 + [wide(text) + tails[1]] * 9 + [wide(text) + tails[2]]
    [family] = families(*given, width=40)
    assert (family.copies, family.kind) == (22, kinds.TEXT)
    assert [(clone.text, clone.copies) for clone in family.clones] == [(text, 22)]


def test_contents_with_one_hash_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones, "hash_rows", lambda given: np.zeros(len(given), np.uint64))
    given = rows(b"a", b"b", b"a", b"c", width=8)
    first, counts = distinct(given)
    assert sorted(zip(given[first, 0].tolist(), counts.tolist(), strict=True)) == [(97, 2), (98, 1), (99, 1)]


def test_rows_that_differ_only_in_the_order_of_words_have_different_hashes() -> None:
    left, right = clones.hash_rows(rows(b"12345678abcdefgh", b"abcdefgh12345678", width=16)).tolist()
    assert left != right


def test_beyond_the_limit_blocks_are_counted_and_contents_not_kept() -> None:
    collector = Collector(4, 7, most=10)
    contents: Sequence[bytes] = [number.to_bytes(8, "little") for number in range(1, 31)]
    collector.add(Contents(TAG, True, 24, 8, np.zeros(30, np.uint64), rows(*contents, width=16)))
    [(key, found)] = collector.families()
    assert (collector.blocks[key], collector.left_out) == (30, 20)
    assert sum(family.copies for family in found) == 10
