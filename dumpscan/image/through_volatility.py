"""The one module of the core that touches volatility3: physical memory over its layers.

They are what our volatility3 plugins get: :func:`memory_of_layer` makes physical memory of any data
layer, mapped directly from the file where the layer is a plain rearrangement of one. volatility3 is
imported when that is asked for, never before. Our own readers open every container that it knows:
its own index QEMU and Xen pages by one Python object each, and AVML by decompressing the whole image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import I64, U8, Mask, PhysicalMemory, Runs
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import PAGE, Source, map_file

# volatility3 keeps its last 512 reads of every layer class in memory: reads must stay small.
_STRETCH = 16


class LayerMemory:
    """Physical memory over any volatility3 data layer, read through the layer itself.

    ``layer`` is a ``DataLayerInterface``; ``page_size`` in bytes. Which pages exist is asked of the
    layer once, through ``mapping``; a layer without holes has one run.
    """

    def __init__(self, layer: Any, page_size: int = PAGE) -> None:
        self.page_size = page_size
        self._layer = layer
        self._runs = _page_runs(layer, page_size)

    def runs(self) -> Runs:
        """See :meth:`PhysicalMemory.runs`."""
        return self._runs

    def present(self, pfns: NDArray[Any]) -> Mask:
        """See :meth:`PhysicalMemory.present`."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        if not len(self._runs.base_page):
            return np.zeros(wanted.shape, np.bool_)
        slot = np.maximum(np.searchsorted(self._runs.base_page, wanted, side="right") - 1, 0)
        inside = wanted - self._runs.base_page[slot]
        return (inside >= 0) & (inside < self._runs.page_count[slot])

    def read(self, pa: int, n: int) -> bytes:
        """See :meth:`PhysicalMemory.read`."""
        step = _STRETCH * self.page_size
        return b"".join(self._read(pa + at, min(step, n - at)) for at in range(0, n, step))

    def _read(self, pa: int, n: int) -> bytes:
        from volatility3.framework import exceptions

        try:
            return bytes(self._layer.read(pa, n, pad=False))
        except exceptions.InvalidAddressException as error:
            where = error.invalid_address if isinstance(error.invalid_address, int) else pa
            raise AbsentMemory(where, n, physical=True) from None
        except Exception as error:
            # Decoders of damaged containers raise whatever they stumble over.
            why = f"volatility3 cannot decode it: {type(error).__name__}"
            raise AbsentMemory(pa, n, physical=True, why=why) from None

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """See :meth:`PhysicalMemory.pages`; adjacent pages are read in one go."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        if out is None:
            out = np.empty((len(wanted), self.page_size), np.uint8)
        out = out[: len(wanted)]
        mask = self.present(wanted)
        have = np.flatnonzero(mask)
        cuts = np.flatnonzero((np.diff(have) != 1) | (np.diff(wanted[have]) != 1)) + 1
        for adjacent in np.split(have, cuts):
            for at in range(0, len(adjacent), _STRETCH):
                rows = adjacent[at : at + _STRETCH]
                self._fill(out, mask, rows, int(wanted[rows[0]]))
        return out, mask

    def _fill(self, out: U8, mask: Mask, rows: NDArray[np.intp], pfn: int) -> None:
        try:
            data = self.read(pfn * self.page_size, len(rows) * self.page_size)
            out[rows] = np.frombuffer(data, np.uint8).reshape(len(rows), self.page_size)
        except AbsentMemory:
            if len(rows) == 1:
                mask[rows] = False
                return
            # One page of the stretch cannot be decoded: find out which.
            for k in range(len(rows)):
                self._fill(out, mask, rows[k : k + 1], pfn + k)


def memory_of_layer(layer: Any, page_size: int = PAGE) -> PhysicalMemory:
    """Physical memory of a volatility3 layer: mapped from the file when that is possible.

    A crash, ELF, LiME or VMware layer is a rearrangement of a local file; reading the file
    through a map is hundreds of times faster than through the layer.
    """
    from volatility3.framework.layers import physical, segmented

    base = layer
    if isinstance(layer, segmented.SegmentedLayer):
        base = layer.context.layers[layer.config["base_layer"]]
    if not isinstance(base, physical.FileLayer):
        return LayerMemory(layer, page_size)
    source = _plain_file(base)
    if source is None:
        return LayerMemory(layer, page_size)
    spans = [(0, source.size, 0)] if base is layer else [(at, n, to) for at, n, to, _, _ in _mapping(layer)]
    columns = [np.array(column, np.uint64) for column in zip(*spans, strict=True)]
    return (
        memory_of(source, Extents(*columns), page_size, "segment").memory if columns else LayerMemory(layer)
    )


def _plain_file(layer: Any) -> Source | None:
    """The file under a FileLayer, when it is local and not decompressed on the way."""
    location = urlsplit(str(layer.location))
    if location.scheme != "file":
        return None
    path = url2pathname(location.path)
    if not os.path.isfile(path) or os.path.getsize(path) != layer.maximum_address + 1:
        return None
    return map_file(Path(path))


def _mapping(layer: Any) -> Iterator[tuple[int, int, int, int, str]]:
    low, high = layer.minimum_address, layer.maximum_address
    yield from layer.mapping(low, high + 1 - low, ignore_errors=True)


def _page_runs(layer: Any, page_size: int) -> Runs:
    """Pages wholly inside the layer's mapping; adjacent pieces (one per page in some) are joined."""
    if not hasattr(layer, "mapping"):
        spans = [(int(layer.minimum_address), int(layer.maximum_address) + 1)]
    else:
        spans = [(at, at + n) for at, n, _, _, _ in _mapping(layer)]
    if not spans:
        return Runs(np.zeros(0, np.int64), np.zeros(0, np.int64))
    start, end = (np.array(column, np.int64) for column in zip(*sorted(spans), strict=True))
    reach = np.maximum.accumulate(end)
    fresh = np.ones(len(start), np.bool_)
    fresh[1:] = start[1:] > reach[:-1]
    first = np.flatnonzero(fresh)
    base = -(-start[first] // page_size)
    last: I64 = np.append(reach[first[1:] - 1], reach[-1]) // page_size
    keep = last > base
    return Runs(base[keep], (last - base)[keep])
