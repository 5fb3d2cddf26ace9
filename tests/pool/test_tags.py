"""Tags: letters in memory order, bit 31, blanks, escapes, wildcards."""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.errors import UsageError
from dumpscan.pool.tags import decode_tag, decode_tags, encode_tag, matching_values, printable, tag_matcher


@pytest.mark.parametrize(
    ("stored", "tag"),
    [
        # facts/tags.md: 'IoSe' is bytes 49 6F 53 65; 0xF6697244 is 'Driv' with the protected bit.
        (0x65536F49, "IoSe"),
        (0x20207050, "Pp  "),
        (0xF6697244, "Driv"),
        (0x01027050, r"Pp\x02\x01"),
        (0x41415C41, r"A\x5cAA"),
    ],
)
def test_decode_tag(stored: int, tag: str) -> None:
    assert decode_tag(stored) == tag
    assert encode_tag(tag) == stored & 0x7FFFFFFF


@pytest.mark.parametrize("tag", ["", "Pp", "IoSe ", "\u0394abc"])
def test_encode_tag_refuses_what_is_not_four_characters(tag: str) -> None:
    with pytest.raises(UsageError, match="four characters"):
        encode_tag(tag)


def test_decode_tags_keeps_order_and_repeats() -> None:
    assert decode_tags(np.array([0x20207050, 0x65536F49, 0x20207050], np.uint32)) == ["Pp  ", "IoSe", "Pp  "]


@pytest.mark.parametrize(
    ("pattern", "tag", "hit"),
    [
        ("Pp??", "Pp  ", True),
        ("Pp??", "PpEB", True),
        ("Pp??", "PPTP", False),
        ("Pp", "Pp  ", True),
        ("Pp", "PpEB", False),
        ("Pp*", "PpEB", True),
        ("*", r"Pp\x02\x01", True),
        ("Pp??", r"Pp\x02\x01", True),
        ("I.Se", "IoSe", False),
        (r"Pp\x02\x01", r"Pp\x02\x01", True),
    ],
)
def test_tag_matcher(pattern: str, tag: str, hit: bool) -> None:
    assert tag_matcher([pattern])(tag) is hit


def test_tag_matcher_without_patterns_matches_all() -> None:
    assert tag_matcher([])("IoSe")


def test_matching_values_strips_the_protected_bit() -> None:
    values = np.array([0xF6697244, 0x65536F49], np.uint32)
    assert matching_values(values, ["Driv"]).tolist() == [True, False]


def test_printable_tells_tags_from_addresses() -> None:
    # 0x810E1020 is a process address of an acceptance image, 0xF6697244 a protected tag.
    values = np.array([0x65536F49, 0xF6697244, 0x810E1020, 0], np.uint32)
    assert printable(values).tolist() == [True, True, False, False]
