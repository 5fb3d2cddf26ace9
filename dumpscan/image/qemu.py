"""QEMU savevm streams: what the monitor's savevm or migrate to a file, and 'virsh save', leave.

RAM comes first, in sections of page records; the devices behind it are not looked at. The trap: a
page's address is its place in the block of RAM, and RAM beyond the device hole is moved to 4 GB, from
where on depends on the machine type. Source: facts/dump-formats.md 8, and see c_qemu.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_qemu
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.qemu_records import STRIDE, CutOff, Records
from dumpscan.image.source import PAGE, Source
from dumpscan.image.strided import StridedMemory, StridedRuns, latest
from dumpscan.model import ImageInfo
from dumpscan.records import replace

# Sections of other kinds (dirty bitmaps, Proxmox state) lie between those of RAM; their footer ends them.
_SKIPPED = 1 << 24
_MAX_SECTIONS = 1 << 20


class Stream(NamedTuple):
    """What was read of a stream; ``whole``: the last section of RAM was reached."""

    records: Records
    machine: str | None
    whole: bool


def open_qemu(source: Source, start: int = 0, machine: str | None = None) -> OpenedImage:
    """Open the stream that begins at file offset ``start``; ``machine`` is its type if known elsewhere.

    Every record is visited once (an image of 512 MB has 131,072 of them); pages are read in place.

    :raises UnsupportedImage: a remote file, another version, or pages that are not in the stream.
    :raises DamagedImage: sections or records contradict the file, or it holds no memory.
    """
    if not isinstance(source.data, np.ndarray):
        raise UnsupportedImage(
            f"{source.path}: a QEMU savevm stream has no index and is not read in place; download it first"
        )
    found = _read(source, start)
    memory, split_note = _memory(source, found, found.machine or machine)
    present = int(memory.runs().page_count.sum())
    expected = found.records.size // PAGE
    is_cut = not found.whole and present < expected
    cut = ("the stream ends before the end of the memory",) if is_cut else ()
    info = ImageInfo(
        path=str(source.path),
        format="qemu",
        bytes=source.size,
        pages_present=present,
        pages_expected=expected,
        truncated=is_cut,
        description=f"QEMU savevm stream of a machine {found.machine or machine or 'of unknown type'}",
        notes=cut + split_note,
    )
    return OpenedImage(source.path, info, Hints(), memory)


def _read(source: Source, start: int) -> Stream:
    head = source.take(start, 8)
    if head[:4] != c_qemu.STREAM_MAGIC:
        raise DamagedImage(
            f"{source.path.name}: no QEMU stream (QEVM) at file offset {start:#x}; "
            "it is damaged, copy it again"
        )
    if head[4:] != c_qemu.STREAM_VERSION.to_bytes(4, "big"):
        raise UnsupportedImage(
            f"{source.path.name}: a QEMU savevm stream of version {head[4:].hex() or 'none'}; "
            f"version {c_qemu.STREAM_VERSION} is read"
        )
    walk = _Walk(source)
    try:
        whole = walk.all(start + 8)
    except CutOff:
        whole = False
    if not walk.records.runs().pfn.size:
        raise DamagedImage(
            f"{source.path.name}: a QEMU savevm stream without memory; "
            "it is cut off or damaged, copy it again"
        )
    return Stream(walk.records, walk.machine, whole)


class _Walk:
    """Sections one after the other, up to the last one of RAM."""

    def __init__(self, source: Source) -> None:
        self.machine: str | None = None
        self.records = Records(np.asarray(source.data), source.path.name)
        self._source = source
        self._sections: dict[int, bytes] = {}

    def all(self, at: int) -> bool:
        """Whether the end of RAM was reached. :raises CutOff: the file ends before."""
        for _ in range(_MAX_SECTIONS):
            mark = self._take(at, 1)[0]
            at += 1
            if mark == c_qemu.CONFIGURATION:
                size = self._u32(at)
                self.machine = self._take(at + 4, min(size, 256)).decode("ascii", "replace")
                at += 4 + size
            elif mark == c_qemu.SUBSECTION:
                at = self._capabilities(at)
            elif mark in (c_qemu.SECTION_START, c_qemu.SECTION_PART, c_qemu.SECTION_END):
                at, section = self._section(at, mark)
                if mark == c_qemu.SECTION_END and section == b"ram":
                    return True
            elif mark == c_qemu.FOOTER:
                at += 4
            elif mark == c_qemu.SECTION_FULL or not mark:
                # Devices, or the end of the stream: they come behind the RAM.
                return False
            else:
                raise DamagedImage(
                    f"{self._source.path.name}: an unknown section {mark:#x} at file offset {at - 1:#x}; the "
                    "stream is damaged, copy it again"
                )
        raise DamagedImage(
            f"{self._source.path.name}: more than {_MAX_SECTIONS} sections; it is damaged, copy it again"
        )

    def _section(self, at: int, mark: int) -> tuple[int, bytes]:
        """The section whose number is at ``at``: the offset behind its content, and its name."""
        number = self._u32(at)
        at += 4
        if mark == c_qemu.SECTION_START:
            self._sections[number], at = self.records.text(at)
            version, at = self._u32(at + 4), at + 8
            if self._sections[number] == b"ram" and version != c_qemu.RAM_VERSION:
                raise UnsupportedImage(
                    f"{self._source.path.name}: a QEMU stream with RAM of version {version}; "
                    f"version {c_qemu.RAM_VERSION} is read"
                )
        name = self._sections.get(number, b"")
        return (self.records.read(at) if name == b"ram" else self._behind(at, number, name)), name

    def _behind(self, at: int, number: int, name: bytes) -> int:
        """The footer of a section whose content is of no interest."""
        footer = bytes([c_qemu.FOOTER]) + number.to_bytes(4, "big")
        size = PAGE
        while (found := self._source.take(at, size).find(footer)) < 0:
            if size >= _SKIPPED:
                raise DamagedImage(
                    f"{self._source.path.name}: the section {name.decode('ascii', 'replace')!r} before file "
                    f"offset {at:#x} has no end; the stream is damaged, copy it again"
                )
            size *= 4
        return at + found

    def _capabilities(self, at: int) -> int:
        """A subsection of the configuration: that with the capabilities, the only one for PCs."""
        name, at = self.records.text(at)
        if name != c_qemu.CAPABILITIES:
            raise DamagedImage(
                f"{self._source.path.name}: an unknown subsection {name!r} before file offset {at:#x}; the "
                "stream is damaged, copy it again"
            )
        count, at = self._u32(at + 4), at + 8
        for _ in range(min(count, 256)):
            capability, at = self.records.text(at)
            if capability in c_qemu.REFUSED_CAPABILITIES:
                raise UnsupportedImage(
                    f"{self._source.path.name}: a QEMU stream with the capability {capability.decode()}; "
                    "save the machine without it, or use 'dump-guest-memory'"
                )
        return at

    def _take(self, at: int, n: int) -> bytes:
        raw = self._source.take(at, n)
        if len(raw) < n:
            raise CutOff
        return raw

    def _u32(self, at: int) -> int:
        return int.from_bytes(self._take(at, 4), "big")


def _memory(source: Source, found: Stream, machine: str | None) -> tuple[StridedMemory, tuple[str, ...]]:
    size = found.records.size
    split, notes = _split(machine, size)
    runs = found.records.runs()
    if size >= split.least:
        runs = _moved(runs, split.low // PAGE)
    return StridedMemory(np.asarray(source.data), latest(runs, STRIDE, source.path.name), STRIDE), notes


def _split(machine: str | None, size: int) -> tuple[c_qemu.Split, tuple[str, ...]]:
    for pattern, split in c_qemu.SPLITS:
        if machine and pattern.match(machine):
            return split, ()
    split = c_qemu.I440FX
    if size < c_qemu.Q35.least:
        return split, ()
    what = f"the machine type {machine!r} is not known" if machine else "the stream names no machine type"
    return split, (f"{what}: RAM beyond {split.low >> 30} GB is assumed to continue at 4 GB",)


def _moved(runs: StridedRuns, low: int) -> StridedRuns:
    """Guest page frames: what lies at ``low`` and beyond in RAM begins at 4 GB. Runs across are cut."""
    across = (runs.pfn < low) & (runs.pfn + runs.pages > low)
    below = np.where(across, low - runs.pfn, runs.pages)
    # The upper half of a run across stands behind its lower half, so that stored order is kept.
    twice = np.repeat(np.arange(len(across)), 1 + across)
    upper = np.zeros(len(twice), np.bool_)
    upper[1:] = twice[1:] == twice[:-1]
    skipped = np.where(upper, below[twice], 0)
    pfn = runs.pfn[twice] + skipped
    count = np.where(upper, runs.pages[twice] - skipped, below[twice])
    pfn += np.where(pfn >= low, c_qemu.FOUR_GB // PAGE - low, 0)
    return StridedRuns(pfn, count, runs.offset[twice] + skipped * STRIDE, runs.fill[twice])


def renamed(opened: OpenedImage, kind: str, description: str, *notes: str) -> OpenedImage:
    """The same memory, described as what the stream was wrapped in."""
    info = replace(opened.info, format=kind, description=description, notes=(*opened.info.notes, *notes))
    return replace(opened, info=info)
