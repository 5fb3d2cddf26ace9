"""Sequential page output that seeks over zero pages."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..ram import Ram

_BATCH = 8192  # frames copied at a time when they are not contiguous


class SparseFile:
    """A new file; `skip` leaves a hole, the final size is made true on closing."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> SparseFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.truncate(self._size())
        self._file.close()

    def _size(self) -> int:
        at = self._file.tell()
        return max(at, self._file.seek(0, 2))

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def skip(self, count: int) -> None:
        self._file.seek(count, 1)

    def contiguous(self, ram: Ram, first: int, count: int) -> None:
        """Frames first .. first + count - 1, holes where they were never written."""
        used = ram.touched[first : first + count]
        edges = np.flatnonzero(np.diff(used.astype(np.int8))) + 1
        bounds = [0, *(int(edge) for edge in edges), count]
        for start, end in pairwise(bounds):
            if used[start]:
                self._file.write(ram.data[(first + start) * ram.page : (first + end) * ram.page].data)
            else:
                self.skip((end - start) * ram.page)

    def frames(self, ram: Ram, frames: NDArray[np.int64]) -> None:
        """Scattered frames one after the other."""
        for at in range(0, len(frames), _BATCH):
            self._file.write(np.ascontiguousarray(ram.pages[frames[at : at + _BATCH]]).data)
