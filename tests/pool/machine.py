"""A machine made by hand: pages at virtual addresses, variables, and a Kernel around them.

Everything that is not put there is absent, so that a test says exactly what the image holds.
"""

from __future__ import annotations

import struct
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import U8, U64, FileMemory, Mask
from dumpscan.kernel.kernel import Kernel, Section
from dumpscan.kernel.layouts import Layout, layout_for
from dumpscan.memory.c_pte import PAE, X64, PageState
from dumpscan.memory.virtual import PageSet, VirtualMemory
from dumpscan.model import KernelInfo, Machine

PAGE = 4096
_IN_RAM = (PageState.VALID, PageState.TRANSITION)


def layout(build: int, arch: str = "x86") -> Layout:
    """The layout of a build; fails the test when there is none."""
    found = layout_for(build, arch, False)
    assert found is not None
    return found


class HandMemory:
    """A VirtualMemory of pages put in place with :meth:`put`."""

    dtb = 0

    def __init__(self, pointer_size: int = 4) -> None:
        self.pointer_size = pointer_size
        self.paging = PAE if pointer_size == 4 else X64
        self._pages: dict[int, bytearray] = {}
        self._states: dict[int, PageState] = {}

    def put(self, va: int, data: bytes) -> None:
        """Write ``data`` at ``va``; pages that it touches come into being, zeroed."""
        for at, byte in enumerate(data, va):
            self._pages.setdefault(at // PAGE, bytearray(PAGE))[at % PAGE] = byte

    def put_pointer(self, va: int, value: int) -> None:
        """Write a pointer-sized value."""
        self.put(va, value.to_bytes(self.pointer_size, "little"))

    def put_u32(self, va: int, *values: int) -> None:
        """Write consecutive u32 values."""
        self.put(va, struct.pack(f"<{len(values)}I", *values))

    def mark(self, va: int, state: PageState) -> None:
        """Give the page at ``va`` a state; without content unless something was put there."""
        self._states[va // PAGE] = state

    def drop(self, va: int) -> None:
        """Take the page at ``va`` out of the image."""
        del self._pages[va // PAGE]

    @property
    def physical(self) -> FileMemory:
        """Pages in the order in which they were put, from page frame 0x100 on."""
        data = np.frombuffer(b"".join(bytes(p) for p in self._pages.values()) or bytes(PAGE), np.uint8)
        count = np.array([len(self._pages)], np.int64)
        return FileMemory(data, np.array([0x100], np.int64), count, np.array([0], np.int64))

    def read(self, va: int, n: int) -> bytes:
        data, known = self.read_masked(va, n)
        if not bool(known.all()):
            raise AbsentMemory(va, n)
        return data.tobytes()

    def read_masked(self, va: int, n: int) -> tuple[U8, Mask]:
        data, known = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
        at = va
        while at < va + n:
            size = min(PAGE - at % PAGE, va + n - at)
            page = self._pages.get(at // PAGE)
            if page is not None:
                data[at - va : at - va + size] = list(page[at % PAGE : at % PAGE + size])
                known[at - va : at - va + size] = True
            at += size
        return data, known

    def readable(self, vas: NDArray[Any]) -> Mask:
        return np.array([int(va) // PAGE in self._pages for va in vas], np.bool_)

    def translate(self, vas: NDArray[Any]) -> tuple[U64, U8]:
        frames = {page: 0x100 + at for at, page in enumerate(self._pages)}
        pas = [frames.get(int(va) // PAGE, 0) * PAGE + int(va) % PAGE for va in vas]
        return np.array(pas, np.uint64), np.array([self._state(int(va) // PAGE) for va in vas], np.uint8)

    def _state(self, page: int) -> PageState:
        default = PageState.VALID if page in self._pages else PageState.NONE
        return self._states.get(page, default)

    def pages_in(self, start: int, end: int) -> PageSet:
        pages = sorted(p for p in {*self._pages, *self._states} if start <= p * PAGE < end)
        frames = {page: 0x100 + at for at, page in enumerate(self._pages)}
        return PageSet(
            np.array([p * PAGE for p in pages], np.uint64),
            np.array([frames.get(p, -1) if self._state(p) in _IN_RAM else -1 for p in pages], np.int64),
            np.array([self._state(p) for p in pages], np.uint8),
        )

    def u32(self, va: int) -> int:
        return int.from_bytes(self.read(va, 4), "little")

    def u64(self, va: int) -> int:
        return int.from_bytes(self.read(va, 8), "little")

    def pointer(self, va: int) -> int:
        return int.from_bytes(self.read(va, self.pointer_size), "little")


def kernel(
    memory: HandMemory, build: int, variables: dict[str, int], *, processors: int | None = 1,
    symbols: dict[str, int] | None = None, sections: tuple[Section, ...] = (),
) -> Kernel:
    """A located kernel of ``build`` whose ``variables`` lie at the given addresses."""
    arch = "x86" if memory.pointer_size == 4 else "x64"
    return Kernel(
        memory=cast(VirtualMemory, memory), info=KernelInfo(found_by="hand"), machine=Machine(),
        base=0x80400000, size=0x200000,
        processors=processors, variables=variables, layout=layout(build, arch), symbols=symbols or {},
        sections=sections,
    )
