"""Containers that volatility3 reads for us, and physical memory over its layers."""

from __future__ import annotations

import importlib
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, ImageError, UnsupportedImage
from dumpscan.image.physical import FileMemory
from dumpscan.image.recognise import open_image
from dumpscan.image.through_volatility import LayerMemory, memory_of_layer
from tests.image.writers import header32, lime_chunk, page

framework = pytest.importorskip("volatility3.framework", reason="needs volatility3")


def avml(frames: bytes, last: int = 4095) -> bytes:
    return struct.pack("<4sIQQQ", b"AVML", 2, 0, last, 0) + frames + struct.pack("<Q", len(frames))


STREAM_ID = b"\xff\x06\x00\x00sNaPpY"


@pytest.mark.parametrize(
    "content",
    [
        avml(STREAM_ID + b"\x01" + (4 + 100).to_bytes(3, "little") + bytes(104)),
        avml(STREAM_ID),
        avml(STREAM_ID + b"\x55\x10\x00\x00" + bytes(0x10)),
        avml(b"", last=0),
        struct.pack("<4sIQQQ", b"AVML", 2, 4095, 0, 0) + bytes(64),
        b"AVML\x02\x00\x00\x00",
    ],
)
def test_cut_off_avml_images_do_not_run_on(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.avml"
    path.write_bytes(content)
    with pytest.raises(DamagedImage, match="AVML"):
        open_image(path)


def test_an_avml_image_is_read_or_says_what_is_needed(tmp_path: Path) -> None:
    # Stored frames need no decompression, but volatility3 wants its library all the same.
    frames = STREAM_ID + b"".join(b"\x01\x04\x08\x00" + bytes(4) + page(3)[:2048] for _ in range(2))
    path = tmp_path / "a.avml"
    path.write_bytes(avml(frames))
    from volatility3.framework.layers import avml as reader

    if not reader.HAS_SNAPPY:
        with pytest.raises(UnsupportedImage, match="libsnappy"):
            open_image(path)
        return
    memory = open_image(path).memory
    assert memory is not None
    assert memory.read(0, 4096) == page(3)


@pytest.fixture
def closing() -> Iterator[list[Any]]:
    """File layers of volatility3 that a test opened; it leaves their descriptors open."""
    layers: list[Any] = []
    yield layers
    for layer in layers:
        layer.destroy()


def file_layer(path: Path, closing: list[Any]) -> tuple[Any, Any]:
    from volatility3.framework import contexts
    from volatility3.framework.layers import physical

    context = contexts.Context()
    context.config["test.file.location"] = path.as_uri()
    layer = physical.FileLayer(context, "test.file", "file")
    context.add_layer(layer)
    closing.append(layer)
    return context, layer


def stacked(path: Path, module: str, stacker: str, closing: list[Any]) -> Any:
    context, layer = file_layer(path, closing)
    found = getattr(importlib.import_module(f"volatility3.framework.layers.{module}"), stacker)
    top = found.stack(context, layer.name)
    assert top is not None
    context.add_layer(top)
    return top


def crash_dump(tmp_path: Path) -> Path:
    path = tmp_path / "full dump #1.dmp"
    body = b"".join(page(n) for n in (1, 2, 5))
    path.write_bytes(header32(1, runs=[(1, 2), (5, 1)]) + body)
    return path


def test_layers_over_a_plain_file_are_mapped_from_it(tmp_path: Path, closing: list[Any]) -> None:
    for layer in (
        stacked(crash_dump(tmp_path), "crash", "WindowsCrashDumpStacker", closing),
        stacked(lime_file(tmp_path), "lime", "LimeStacker", closing),
    ):
        mapped, slow = memory_of_layer(layer), LayerMemory(layer)
        assert isinstance(mapped, FileMemory)
        for memory in (mapped, slow):
            assert [run.tolist() for run in memory.runs()] == [[1, 5], [2, 1]]
            assert memory.read(2 * 4096 + 8, 16) == page(2)[8:24]
            rows, mask = memory.pages(np.array([5, 3, 1, 2]))
            assert mask.tolist() == [True, False, True, True]
            assert [rows[i].tobytes() for i in (0, 2, 3)] == [page(5), page(1), page(2)]
            with pytest.raises(AbsentMemory):
                memory.read(2 * 4096 + 4000, 200)


def lime_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.lime"
    path.write_bytes(lime_chunk(0x1000, page(1) + page(2)) + lime_chunk(0x5000, page(5)))
    return path


def test_a_bare_file_layer_is_flat(tmp_path: Path, closing: list[Any]) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"".join(page(n) for n in range(40)))
    _, layer = file_layer(path, closing)
    mapped, slow = memory_of_layer(layer), LayerMemory(layer)
    assert isinstance(mapped, FileMemory)
    for memory in (mapped, slow):
        assert memory.read(0, 40 * 4096) == path.read_bytes()
        assert [run.tolist() for run in memory.runs()] == [[0], [40]]


def test_opening_leaves_the_log_level_of_volatility3_alone(tmp_path: Path) -> None:
    logger = logging.getLogger("volatility3")
    before = logger.level
    path = tmp_path / "a.avml"
    path.write_bytes(avml(STREAM_ID + b"\x01" + (4 + 100).to_bytes(3, "little") + bytes(104)))
    with pytest.raises(ImageError):
        open_image(path)
    assert logger.level == before
