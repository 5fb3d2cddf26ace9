"""Plain LZ77 against the examples of MS-XCA, hand-worked streams and an independent decompressor."""

from __future__ import annotations

import random
import struct

import pytest
from dissect.util.compression import lzxpress

from dumpscan.image import xpress
from dumpscan.image.xpress import XpressError, decompress, decompress_plainly
from samples.xpress import compress

# MS-XCA, section 3.1: the two examples of Plain LZ77.
ALPHABET = bytes.fromhex("3f000000") + b"abcdefghijklmnopqrstuvwxyz"
HUNDRED_ABC = bytes.fromhex("ffffff1f 616263 1700 0f ff 2601")


@pytest.mark.parametrize("how", [decompress, decompress_plainly])
def test_examples_of_the_specification(how: xpress.Decompressor) -> None:
    assert how(ALPHABET, 26) == b"abcdefghijklmnopqrstuvwxyz"
    assert how(HUNDRED_ABC, 300) == b"abc" * 100


def word(*flags: int) -> bytes:
    """A flag word: the first flag is the highest bit, those left over are 1."""
    bits = [*flags, *[1] * (32 - len(flags))]
    return struct.pack("<I", sum(bit << 31 - at for at, bit in enumerate(bits)))


def test_two_long_matches_share_a_byte_of_lengths() -> None:
    # 'a', then 1 back: length 7 + 2 + 3 = 12, low half 2; 'b', then 1 back: 7 + 4 + 3 = 14, high half 4.
    stream = word(0, 1, 0, 1, 0) + b"a" + b"\x07\x00" + b"\x42" + b"b" + b"\x07\x00" + b"c"
    assert decompress_plainly(stream, 29) == b"a" + b"a" * 12 + b"b" + b"b" * 14 + b"c"


def test_lengths_of_one_two_and_four_bytes() -> None:
    byte = word(0, 1) + b"x" + b"\x07\x00" + b"\x0f" + b"\x05"
    assert decompress_plainly(byte, 1 + 5 + 15 + 7 + 3) == b"x" * 31
    two = word(0, 1) + b"x" + b"\x07\x00" + b"\x0f" + b"\xff" + struct.pack("<H", 1000)
    assert decompress_plainly(two, 1004) == b"x" * 1004
    four = word(0, 1) + b"x" + b"\x07\x00" + b"\x0f" + b"\xff\x00\x00" + struct.pack("<I", 70_000)
    assert decompress_plainly(four, 70_004) == b"x" * 70_004


def test_a_match_repeats_its_own_output() -> None:
    assert decompress_plainly(word(0, 0, 1) + b"ab" + struct.pack("<H", 1 << 3 | 2), 7) == b"abababa"


def test_a_word_of_literals_is_followed_by_the_next_word() -> None:
    text = bytes(range(40))
    assert decompress_plainly(bytes(4) + text[:32] + word(*[0] * 8) + text[32:], 40) == text


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (word(1) + b"\x00\x00", 16),  # a match before anything was written
        (word(0, 1) + b"x" + struct.pack("<H", 1 << 3), 16),  # two back, one there
        (word(0, 1) + b"x" + b"\x06\x00", 5),  # nine bytes where four are left
        (word(0, 1) + b"x" + b"\x07\x00\x0f\xff" + struct.pack("<H", 21), 16),  # a length below 22
        (word(0, 1) + b"x" + b"\x07\x00\x0f\xff\x00\x00" + b"\xff" * 4, 16),  # four gigabytes
        (word(0, 1) + b"x" + b"\x07", 16),  # cut inside a match
        (word(0, 1) + b"x" + b"\x07\x00\x0f\xff", 64),  # cut inside a length
        (word(0, 0) + b"x", 16),  # the input ends
        (b"", 16),
        (b"\x00", 16),
    ],
)
def test_damaged_streams_are_refused(stream: bytes, size: int) -> None:
    for how in (decompress, decompress_plainly):
        with pytest.raises(XpressError):
            how(stream, size)


def blocks() -> list[bytes]:
    """Blocks as memory has them: tables of pointers, text, zeros, noise; and one run of a single byte."""
    rng = random.Random(7)
    words = [struct.pack("<I", 0x80000000 + rng.randrange(64) * 8) for _ in range(16384)]
    text = b"".join(rng.choice([b"IoSe", b"Pp  ", b"\\Driver\\", b"\0\0\0\0"]) for _ in range(8000))
    return [
        b"".join(words),
        text[:20480],
        bytes(4096) + rng.randbytes(4096),
        b"\xa5" * 65536,
        rng.randbytes(100),
    ]


@pytest.mark.parametrize("number", range(5))
def test_an_independent_decompressor_agrees(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks()[number]
    stream = compress(block)
    assert lzxpress.decompress(stream) == block
    assert decompress_plainly(stream, len(block)) == block
    assert decompress(stream, len(block)) == block
    monkeypatch.setattr(xpress, "_found", [None])  # as without libfwnt
    assert decompress(stream, len(block)) == block


def test_matches_longer_than_the_library_knows_are_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuses(data: bytes, size: int) -> bytes:
        calls.append(size)
        raise OSError("compression tuple size value out of bounds")

    monkeypatch.setattr(xpress, "_found", [refuses])
    assert decompress(HUNDRED_ABC, 300) == b"abc" * 100
    assert calls == [300]
