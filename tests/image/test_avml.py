"""AVML images written by hand: headers, snappy frames, what is cut off or lies."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, UnsupportedImage
from dumpscan.image.recognise import open_image
from tests.image.writers import page

pytest.importorskip("cramjam", reason="dumpscan[avml] is not installed")

STREAM_ID = b"\xff\x06\x00\x00sNaPpY"


def frame(kind: int, data: bytes) -> bytes:
    """Kind, length with the checksum's four bytes (24 bits), checksum, data."""
    return bytes([kind]) + (len(data) + 4).to_bytes(3, "little") + bytes(4) + data


def stored(*numbers: int) -> bytes:
    return frame(1, b"".join(page(n) for n in numbers))


def packed(number: int) -> bytes:
    """A page of one repeated u32: its four bytes as a literal, then copies from four bytes back.

    Snappy: length 4096 as varint 80 20; literal tag (4 - 1) << 2; copies of 64 bytes with a two-byte
    offset are tag (64 - 1) << 2 | 2 = fe; 4 + 63 * 64 = 4036, so the last one has 60 bytes (ee).
    """
    return frame(0, b"\x80\x20\x0c" + struct.pack("<I", number) + b"\xfe\x04\x00" * 63 + b"\xee\x04\x00")


def block(first: int, frames: bytes, last: int, length: int | None = None) -> bytes:
    trailer = struct.pack("<Q", len(frames) if length is None else length)
    return struct.pack("<4sIQQQ", b"AVML", 2, first, last, 0) + frames + trailer


def opened_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a.avml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("inclusive", [True, False])
def test_stored_and_packed_frames(tmp_path: Path, inclusive: bool) -> None:
    """microsoft/avml writes an inclusive last address; descriptions say exclusive."""
    less = int(inclusive)
    low = block(
        0x1000, STREAM_ID + stored(1, 2) + packed(3) + b"\xfe\x03\x00\x00abc" + packed(4), 0x5000 - less
    )
    high = block(0x100000000, STREAM_ID + packed(0x100000), 0x100001000 - less)
    opened = open_image(opened_file(tmp_path, low + high))
    assert opened.memory is not None
    assert (opened.info.format, opened.info.pages_present, opened.info.truncated) == ("avml", 5, False)
    assert opened.info.pages_expected == 5
    rows, mask = opened.memory.pages(np.array([4, 1, 0, 3, 2, 0x100000, 5]))
    assert mask.tolist() == [True, True, False, True, True, True, False]
    assert [rows[i].tobytes() for i in (0, 1, 3, 4, 5)] == [page(n) for n in (4, 1, 3, 2, 0x100000)]
    assert opened.memory.read(0x1FFC, 0x1008) == page(1)[-4:] + page(2) + page(3)[:4]
    opened.close()
    assert not opened.memory.present(np.array([1]))[0]


def test_a_frame_that_does_not_decompress_is_absent_memory(tmp_path: Path) -> None:
    torn = frame(0, b"\x80\x20\xfe\x04\x00")  # a copy from before the start
    short = frame(0, b"\x80\x20\x0cabcd")  # four bytes of 4096
    image = open_image(
        opened_file(tmp_path, block(0, STREAM_ID + packed(0) + torn + short + packed(3), 0x3FFF))
    )
    memory = image.memory
    assert memory is not None
    rows, mask = memory.pages(np.arange(4))
    assert mask.tolist() == [True, False, False, True]
    assert rows[3].tobytes() == page(3)
    with pytest.raises(AbsentMemory):
        memory.read(0x1000, 4)


def test_an_image_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    whole = block(0, STREAM_ID + packed(0) + packed(1) + stored(2), 0x2FFF)
    for lost, pages in ((4, 3), (100, 2), (4200, 1)):
        opened = open_image(opened_file(tmp_path, whole[:-lost]))
        assert opened.info.truncated and "ends inside" in opened.info.notes[0]
        assert (opened.info.pages_present, opened.info.pages_expected) == (pages, 3)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"AVML\x02\x00\x00\x00", "without memory"),
        (block(0, STREAM_ID, 0xFFF)[:-4], "without memory"),
        (block(0, STREAM_ID + b"\x55\x10\x00\x00" + bytes(0x10), 0xFFF), "unknown frame 0x55"),
        (block(0x1000, STREAM_ID, 0x800), "claims memory"),
        (block(0x800, STREAM_ID, 0x17FF), "claims memory"),
        (block(0, STREAM_ID, 1 << 63), "claims memory"),
        (block(0, STREAM_ID + stored(1), 0xFFF) + b"x" * 64, "no AVML mark"),
        (block(0, STREAM_ID + stored(1), 0xFFF) + block(0, STREAM_ID + stored(2), 0xFFF), "another one has"),
        (block(0, STREAM_ID + frame(0, b"\x80\x80\x80\x80\x08x"), 0xFFF), "has a frame of"),
        (block(0, STREAM_ID + frame(1, b""), 0xFFF), "has a frame of"),
        (block(0, STREAM_ID + b"\x01\x00\x00\x00", 0xFFF), "has a frame of"),
    ],
)
def test_lying_images_are_damage(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(DamagedImage, match=word) as caught:
        open_image(opened_file(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_endless_empty_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dumpscan.image.avml._MAX_FRAMES", 1000)
    with pytest.raises(DamagedImage, match="more than 1000 frames"):
        open_image(opened_file(tmp_path, block(0, b"\xfe\x00\x00\x00" * 1001, 0xFFF)))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (struct.pack("<4sIQQQ", b"AVML", 3, 0, 4095, 0), "version 3"),
        (block(0, STREAM_ID + frame(1, page(3)[:2048]) * 2, 0xFFF), "no whole pages"),
    ],
)
def test_what_is_not_read_is_said(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(UnsupportedImage, match=word):
        open_image(opened_file(tmp_path, content))


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened_file(tmp_path, block(0, STREAM_ID + stored(1), 0xFFF))
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(UnsupportedImage, match=r"pip install 'dumpscan\[avml\]'"):
        open_image(path)


def test_version_1_is_lime(tmp_path: Path) -> None:
    path = opened_file(tmp_path, struct.pack("<4sIQQQ", b"EMiL", 1, 0x1000, 0x1FFF, 0) + page(1))
    assert open_image(path).info.format == "lime"
