"""Physical memory over volatility3's layers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import FileMemory
from dumpscan.image.through_volatility import LayerMemory, memory_of_layer
from tests.image.writers import header32, lime_chunk, page

framework = pytest.importorskip("volatility3.framework", reason="needs volatility3")


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
