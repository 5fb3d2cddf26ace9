"""The PFN database: one _MMPFN for every frame.

Witness: facts/pool-structures.md (PageLocation, PteAddress, StartOfAllocation and EndOfAllocation by
version), facts/pool-structures.json (_MMPFN). VaType 5 and 6 mark pool on Vista x64.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .layouts import Layout
from .paging import Arch

FREE_PAGE: Final = 1
STANDBY: Final = 2
MODIFIED: Final = 3
ACTIVE: Final = 6


class PfnTable:
    """Columns by frame while the machine is built."""

    def __init__(self, frames: int) -> None:
        self.va = np.zeros(frames, dtype=np.uint64)
        self.location = np.zeros(frames, dtype=np.uint8)
        self.references = np.zeros(frames, dtype=np.uint16)
        self.start = np.zeros(frames, dtype=bool)
        self.end = np.zeros(frames, dtype=bool)
        self.table = np.zeros(frames, dtype=np.uint32)  # frame of the page table, PteFrame
        self.va_type = np.zeros(frames, dtype=np.uint8)

    def active(self, frames: NDArray[np.int64], va: NDArray[np.uint64], va_type: int = 0) -> None:
        """Frames that a valid entry maps."""
        self.va[frames], self.location[frames], self.references[frames] = va, ACTIVE, 1
        self.va_type[frames] = va_type

    def _rows(self, touched: NDArray[np.int64], layout: Layout, arch: Arch) -> NDArray[np.uint8]:
        fields = layout.pfn
        rows = np.zeros((len(touched), fields.size), dtype=np.uint8)
        pointer = np.dtype("<u4" if layout.pointer == 4 else "<u8")

        def put(offset: int, values: NDArray[np.generic], dtype: np.dtype[np.generic] | str) -> None:
            raw = np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(len(touched), -1)
            rows[:, offset : offset + raw.shape[1]] = raw

        va = self.va[touched]
        pte = np.where(va != 0, np.asarray(arch.pte_address(va)), np.uint64(0))
        put(fields.pte_address, pte, pointer)
        put(fields.reference_count, self.references[touched], "<u2")
        location = self.location[touched].astype(np.uint16) << np.uint16(fields.location_shift)
        marks = (self.start[touched].astype(np.uint16) << np.uint16(fields.start_bit)) | (
            self.end[touched].astype(np.uint16) << np.uint16(fields.end_bit)
        )
        put(fields.flags, location | marks, "<u2")
        put(fields.original_pte, np.where(va != 0, 0x80, 0), "<u4")
        put(fields.pte_frame, self.table[touched], "<u4")
        if fields.va_type is not None:
            put(fields.va_type, self.va_type[touched], "<u1")
        return rows

    def write(self, target: NDArray[np.uint8], layout: Layout, arch: Arch) -> None:
        """Into the database's bytes; frames never used stay zero (zeroed, PageLocation 0)."""
        touched = np.flatnonzero((self.va != 0) | (self.location != 0))
        size = layout.pfn.size
        target[: len(self.va) * size].reshape(-1, size)[touched] = self._rows(touched, layout, arch)
