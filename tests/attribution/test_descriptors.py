"""Descriptors and access lists, byte by byte as MS-DTYP lays them out."""

from __future__ import annotations

import pytest

from dumpscan.attribution.descriptors import (
    acl_words,
    descriptor_words,
    mask_words,
    parse_acl,
    parse_descriptor,
    parse_sid,
    sid_words,
)

EVERYONE = "01 01 000000000001 00000000"  # revision, one sub-authority, authority 1 (big-endian), 0
SYSTEM = "01 01 000000000005 12000000"  # S-1-5-18
ADMINS = "01 02 000000000005 20000000 20020000"  # S-1-5-32-544
# Revision 2, 0x30 bytes, two entries: allow (0), flags 0, 0x14 bytes, mask, SID.
ACL = f"02 00 3000 0200 0000  00 00 1400 89001200 {EVERYONE}  00 00 1400 ff011f00 {SYSTEM}"
# Revision 1, control 0x8004 (self-relative, DACL present), owner 0x44, group 0x54, no SACL, DACL 0x14.
DESCRIPTOR = f"01 00 0480 44000000 54000000 00000000 14000000  {ACL}  {ADMINS}  {SYSTEM}"


def data(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def test_a_sid_is_read_with_its_big_endian_authority() -> None:
    assert parse_sid(data(ADMINS)) == ("S-1-5-32-544", 16)
    assert parse_sid(data("01 01 0000000000ff 07000000")) == ("S-1-255-7", 12)


@pytest.mark.parametrize(
    "text",
    [
        "02 01 000000000005 12000000",  # revision 2 does not exist
        "01 02 000000000005 12000000",  # two sub-authorities, room for one
        "01 10 000000000005" + " 00000000" * 16,  # at most fifteen
        "01 00",
    ],
)
def test_what_is_no_sid_is_none(text: str) -> None:
    assert parse_sid(data(text)) is None


def test_an_access_list_in_words() -> None:
    acl = parse_acl(data(ACL))
    assert acl is not None and acl.size == 0x30
    assert [(e.kind, e.mask, e.sid) for e in acl.entries] == [
        ("allow", 0x00120089, "S-1-1-0"),
        ("allow", 0x001F01FF, "S-1-5-18"),
    ]
    assert acl_words(acl) == ("allow Everyone: read", "allow SYSTEM: full control")


def test_a_descriptor_in_words() -> None:
    found = parse_descriptor(data(DESCRIPTOR) + bytes(4))
    assert found is not None
    assert (found.owner, found.group, found.sacl, found.size) == ("S-1-5-32-544", "S-1-5-18", None, 0x60)
    assert descriptor_words(found) == (
        "security descriptor, owner Administrators, group SYSTEM, 2 access entries",
        ("allow Everyone: read", "allow SYSTEM: full control"),
    )


def test_a_null_dacl_grants_everything_and_an_empty_one_nothing() -> None:
    null = parse_descriptor(data("01 00 0480 00000000 00000000 00000000 00000000"))
    assert null is not None and descriptor_words(null)[1] == ("no access list: everybody may do everything",)
    empty = parse_acl(data("02 00 0800 0000 0000"))
    assert empty is not None and acl_words(empty) == ("no entry: nobody may do anything",)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 2),  # revision
        (3, 0x00),  # not self-relative: the fields are pointers
        (4, 0x60),  # owner beyond the end
        (16, 0x08),  # DACL inside the header
        (0x14, 9),  # DACL revision
        (0x16, 0xFF),  # DACL longer than the block
        (0x18, 3),  # three entries, room for two
        (0x1E, 0x13),  # length of an entry no multiple of four
    ],
)
def test_a_descriptor_that_contradicts_itself_is_none(place: int, value: int) -> None:
    torn = bytearray(data(DESCRIPTOR))
    torn[place] = value
    assert parse_descriptor(bytes(torn)) is None


def test_accounts_and_masks_without_a_name_stay_numbers() -> None:
    assert sid_words("S-1-5-21-1-2-3-500") == "Administrator (S-1-5-21-1-2-3-500)"
    assert sid_words("S-1-5-21-1-2-3-1104") == "S-1-5-21-1-2-3-1104"
    assert mask_words(0x00010002) == "write data, delete"
    assert mask_words(0x08000001) == "read data, 0x8000000"
    assert mask_words(0) == "nothing"
