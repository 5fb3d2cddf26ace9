"""The chain walk over pages written byte by byte, in both header formats, sound and damaged.

x86 header (facts/pool-structures.md): u16 PreviousSize bits 0-8 and PoolIndex bits 9-15, u16
BlockSize bits 0-8 and PoolType bits 9-15, u32 tag; unit 8 bytes. x64: four bytes PreviousSize,
PoolIndex, BlockSize, PoolType, u32 tag, u64 process; unit 16 bytes.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from dumpscan.pool.chains import Chains, ChainWalker, KeyFormat
from tests.pool.machine import layout

XP, W2003_64, VISTA, VISTA_64 = layout(2600), layout(3790, "x64"), layout(6000), layout(6001, "x64")

IOSE, PP, DRIV = 0x65536F49, 0x20207050, 0xF6697244


def x86(previous: int, index: int, size: int, kind: int, tag: int) -> bytes:
    return struct.pack("<HHI", previous | index << 9, size | kind << 9, tag)


def x64(previous: int, index: int, size: int, kind: int, tag: int) -> bytes:
    return struct.pack("<BBBBIQ", previous, index, size, kind, tag, 0xDEAD)


def page(*blocks: tuple[int, bytes]) -> bytearray:
    """A page with the given headers at the given offsets, 0xCC elsewhere."""
    data = bytearray(b"\xcc" * 4096)
    for offset, header in blocks:
        data[offset : offset + len(header)] = header
    return data


def walk(layout_: object, *pages: bytearray, locate: bool = True) -> Chains:
    data = np.frombuffer(b"".join(bytes(p) for p in pages), np.uint8).reshape(-1, 4096)
    return ChainWalker(layout_, batch=max(len(pages), 1)).walk(data, locate)  # type: ignore[arg-type]


# XP: 120 bytes IoSe paged in use (type 6), 152 bytes freed to a lookaside (2), 8 bytes free fragment
# (0), the rest 3816 bytes 'Driv' paged quota in use (1+8+1 | 4 = 14). 15 + 19 + 1 + 477 = 512 units.
def xp_page() -> bytearray:
    return page(
        (0, x86(0, 3, 15, 6, IOSE)),
        (120, x86(15, 3, 19, 2, PP)),
        (272, x86(19, 3, 1, 0, PP)),
        (280, x86(1, 3, 477, 14, DRIV)),
    )


# Vista x64: 160 bytes Pp nonpaged in use (2), 3936 bytes free: 10 + 246 = 256 units.
def vista64_page() -> bytearray:
    return page((0, x64(0, 0, 10, 2, PP)), (160, x64(10, 0, 246, 0, IOSE)))


def test_x86_page() -> None:
    found = walk(XP, xp_page())
    form = KeyFormat(XP)
    assert found.accepted.tolist() == [True]
    assert found.reach.tolist() == [4096]
    assert found.paged.tolist() == [1]
    assert sorted(zip(found.offset.tolist(), form.tag(found.keys).tolist(), form.size(found.keys).tolist(),
                      form.pool_type(found.keys).tolist(), strict=True)) == [
        (0, IOSE, 120, 6), (280, DRIV, 3816, 14)]


def test_x64_page() -> None:
    found = walk(VISTA_64, vista64_page())
    form = KeyFormat(VISTA_64)
    assert found.accepted.tolist() == [True]
    assert found.paged.tolist() == [0]
    assert form.tag(found.keys).tolist() == [PP]
    assert form.size(found.keys).tolist() == [160]
    assert form.pool_type(found.keys).tolist() == [2]


def test_the_in_use_bit_is_the_version_s() -> None:
    # Type 2: on Vista nonpaged in use, on XP a paged block that was freed. Type 6: on XP paged in use;
    # 2 | 4 is no value that Vista stores.
    whole = page((0, x86(0, 0, 256, 2, IOSE)), (2048, x86(256, 0, 256, 2, PP)))
    assert len(walk(VISTA, whole).keys) == 2
    on_xp = walk(XP, whole)
    assert on_xp.accepted.tolist() == [True]
    assert on_xp.paged.tolist() == [-1]
    assert len(on_xp.keys) == 0
    foreign = page((0, x86(0, 0, 256, 6, IOSE)), (2048, x86(256, 0, 256, 6, PP)))
    assert walk(VISTA, foreign).reach.tolist() == [0]


def test_512_one_unit_blocks() -> None:
    # The longest chain that there can be: 8-byte fragments, free.
    headers = [(8 * i, x86(0 if i == 0 else 1, 0, 1, 0, 0)) for i in range(512)]
    found = walk(XP, page(*headers))
    assert found.accepted.tolist() == [True]
    assert found.paged.tolist() == [-1]


def damaged(offset: int, header: bytes) -> bytearray:
    data = xp_page()
    data[offset : offset + len(header)] = header
    return data


@pytest.mark.parametrize(
    ("what", "broken", "reach"),
    [
        ("zeros", bytearray(4096), 0),
        ("size zero in the middle", damaged(120, x86(15, 3, 0, 2, PP)), 120),
        ("previous size of the first block", damaged(0, x86(1, 3, 15, 6, IOSE)), 0),
        ("previous size wrong", damaged(272, x86(18, 3, 1, 0, PP)), 272),
        ("pool index changes", damaged(272, x86(19, 4, 1, 0, PP)), 272),
        ("type that XP does not store", damaged(120, x86(15, 3, 19, 3, PP)), 120),
        ("last block beyond the page", damaged(280, x86(1, 3, 478, 14, DRIV)), 280),
        ("chain ends early", damaged(280, x86(1, 3, 476, 14, DRIV)), 4088),
    ],
)
def test_damage_is_reported_with_how_far_the_chain_went(what: str, broken: bytearray, reach: int) -> None:
    found = walk(XP, broken)
    assert found.accepted.tolist() == [False], what
    assert found.reach.tolist() == [reach]
    assert len(found.keys) == 0


def test_paged_and_nonpaged_blocks_in_one_page_are_refused() -> None:
    mixed = page((0, x86(0, 0, 256, 5, IOSE)), (2048, x86(256, 0, 256, 6, PP)))
    found = walk(XP, mixed)
    assert found.accepted.tolist() == [False]
    assert len(found.keys) == 0


@pytest.mark.parametrize(
    ("what", "header", "reach"),
    [
        ("previous size", x64(9, 0, 246, 0, IOSE), 160),
        ("index", x64(10, 1, 246, 0, IOSE), 160),
        ("type", x64(10, 0, 246, 0x82, IOSE), 160),
        ("overrun", x64(10, 0, 247, 0, IOSE), 160),
    ],
)
def test_x64_damage(what: str, header: bytes, reach: int) -> None:
    data = vista64_page()
    data[160:176] = header
    found = walk(VISTA_64, data)
    assert found.accepted.tolist() == [False], what
    assert found.reach.tolist() == [reach]


def test_pages_of_a_batch_do_not_touch_each_other() -> None:
    # A chain that overruns its page lands in the next one, whose blocks must not be counted twice.
    overrun = damaged(280, x86(1, 3, 478, 14, DRIV))
    found = walk(XP, xp_page(), overrun, bytearray(4096), xp_page())
    assert found.accepted.tolist() == [True, False, False, True]
    assert sorted(zip(found.page.tolist(), found.offset.tolist(), strict=True)) == [
        (0, 0), (0, 280), (3, 0), (3, 280)]


def test_2003_x64_types() -> None:
    # facts: paged session in use = 1 + 32 + 1 | 4 = 38; nonpaged in use 5.
    paged = page((0, x64(0, 1, 128, 38, IOSE)), (2048, x64(128, 1, 128, 0, 0)))
    assert walk(W2003_64, paged).paged.tolist() == [1]
    nonpaged = page((0, x64(0, 0, 128, 5, PP)), (2048, x64(128, 0, 128, 1, PP)))
    assert walk(W2003_64, nonpaged).paged.tolist() == [0]


def test_without_locate_only_keys_come_back() -> None:
    found = walk(XP, xp_page(), bytearray(4096), locate=False)
    assert sorted(KeyFormat(XP).size(found.keys).tolist()) == [120, 3816]
    assert not len(found.page)
