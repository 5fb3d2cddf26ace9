"""A tiny reader of its own for raw samples: page walk and pool chains, written from the facts."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

_LEVELS = {
    "x86": ((22, 10), (12, 10)),
    "pae": ((30, 2), (21, 9), (12, 9)),
    "x64": ((39, 9), (30, 9), (21, 9), (12, 9)),
    "ia64": ((33, 10), (23, 10), (13, 10)),
}
KSEG0 = 0xE0000000_80000000  # direct, 1 GB (facts/ia64.md 2)


class Walker:
    """Virtual reads on a raw image."""

    def __init__(self, data: bytes, arch: str, dtb: int) -> None:
        self.data, self.arch, self.dtb = data, arch, dtb
        self.width = 4 if arch == "x86" else 8
        self.page = 8192 if arch == "ia64" else 4096
        self.large = 4 if arch == "ia64" else 0x80
        self.transition = (0x82, 0x80) if arch == "ia64" else (0xC00, 0x800)

    def entry(self, va: int) -> tuple[str, int]:
        """("valid" | "transition" | "out" | "none", physical address)."""
        if self.arch == "ia64" and KSEG0 <= va < KSEG0 + (1 << 30):
            return "valid", va - KSEG0
        table = self.dtb
        for number, (shift, bits) in enumerate(_LEVELS[self.arch]):
            at = table + (va >> shift & (1 << bits) - 1) * self.width
            value = int.from_bytes(self.data[at : at + self.width], "little")
            last = number == len(_LEVELS[self.arch]) - 1
            if not value & 1:
                if last and value & self.transition[0] == self.transition[1]:
                    return "transition", value & -self.page & 0xFFFFFFFF
                return ("out" if value else "none"), 0
            frame = value & 0xF_FFFFF000 & -self.page
            if last:
                return "valid", frame + va % self.page
            if value & self.large and number:
                return "valid", (frame & -(1 << shift)) + va % (1 << shift)
            if value & 0x80 and self.arch == "x86":
                return "valid", (frame & ~0x3FFFFF) + va % 0x400000
            table = frame
        raise AssertionError

    def read(self, va: int, count: int) -> bytes:
        out = b""
        while len(out) < count:
            state, pa = self.entry(va + len(out))
            assert state == "valid", hex(va)
            out += self.data[pa : pa + min(self.page - pa % self.page, count - len(out))]
        return out

    def number(self, va: int, size: int) -> int:
        return int.from_bytes(self.read(va, size), "little")


@dataclass(frozen=True)
class Block:
    offset: int
    size: int
    index: int
    kind: int
    tag: int


def chain(page: bytes, arch: str) -> list[Block] | None:
    """The blocks of a small-block page, or None when the chain does not hold from end to end."""
    unit, at, previous, found = (16 if arch in ("x64", "ia64") else 8), 0, 0, []
    while at < len(page):
        word, tag = struct.unpack_from("<II", page, at)
        if arch == "x64":
            before, index, size, kind = word & 255, word >> 8 & 255, word >> 16 & 255, word >> 24
        else:
            before, index, size, kind = word & 0x1FF, word >> 9 & 0x7F, word >> 16 & 0x1FF, word >> 25
        if before != previous or size == 0 or at + size * unit > len(page):
            return None
        found.append(Block(at, size * unit, index, kind, tag))
        previous, at = size, at + size * unit
    return found


def used_bits(nt: str) -> int:
    return 2 if nt == "6.0" else 4


def census(walker: Walker, start: int, pages: int, nt: str) -> dict[str, Counter[str]]:
    """Blocks in use by tag for each page state; every page with an intact chain counts."""
    found: dict[str, Counter[str]] = {"valid": Counter(), "transition": Counter()}
    for number in range(pages):
        state, pa = walker.entry(start + number * walker.page)
        if state not in found:
            continue
        blocks = chain(walker.data[pa : pa + walker.page], walker.arch)
        for block in blocks or []:
            if block.kind & used_bits(nt):
                found[state][(block.tag & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1")] += 1
    return found
