"""VMware virtual machines: .vmem memory files, alone or with the .vmss or .vmsn that maps them.

The .vmem is a raw image with the device hole squeezed out. The state file beside it (same name but
for the suffix) lists the regions; without it the layout of a machine with more than 3 GB is a
guess, and said to be one. Old versions and some snapshots keep the memory inside the state file.
Source: facts/dump-formats.md 6.
"""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from dumpscan.errors import ImageError, UnreadableFile, UnsupportedImage
from dumpscan.image import c_vmware
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.raw import check_plausible
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import Source, map_file
from dumpscan.image.vmware_state import Region, State, is_state, read_state
from dumpscan.model import ImageInfo

_STATE_SUFFIXES = ("vmss", "vmsn")
_CR4_PAE = 1 << 5


def open_vmware(source: Source, is_state: bool) -> OpenedImage:
    """Open a memory file, or the state file of one (``is_state``), here or on a server.

    :raises UnreadableFile: a state file without its .vmem. :raises DamagedImage: the state is wrong.
    :raises NotAnImage: a .vmem that cannot be memory. :raises UnsupportedImage: compressed memory.
    """
    if not is_state:
        check_plausible(source)
        state, name = _state_beside(source)
        return _opened(source.path, source, state, name)
    state = read_state(source)
    if state.inline is None:
        partner = _sibling(source.path, "vmem")
        if partner is None and state.packed:
            raise UnsupportedImage(
                f"{source.path.name}: the memory in this VMware state file is compressed; use the .vmem file"
            )
        if partner is None:
            raise UnreadableFile(
                f"{source.path}: a VMware state file whose memory lies in {source.path.stem}.vmem, which is "
                "not beside it; copy that file here too"
            )
        _count(partner, source)
        return _opened(source.path, partner, state, source.path.name)
    return _opened(source.path, source, state, source.path.name, inline=state.inline)


def _sibling(path: PurePath, suffix: str) -> Source | None:
    """The file beside ``path`` with another suffix. :raises ImageError: it is there and cannot be read."""
    if isinstance(path, Path):
        for spelling in (suffix, suffix.upper()):
            beside = path.with_suffix(f".{spelling}")
            if beside.is_file():
                return map_file(beside)
        return None
    from dumpscan.image import remote

    return remote.beside(path, suffix) if isinstance(path, remote.Location) else None


def _state_beside(source: Source) -> tuple[State | None, str | None]:
    """The state file of a memory file and its name; none where what is there is no state file."""
    for suffix in _STATE_SUFFIXES:
        try:
            beside = _sibling(source.path, suffix)
        except ImageError:
            continue
        if beside is None or not is_state(beside):
            continue
        state = read_state(beside)
        _count(source, beside)
        close = getattr(beside.data, "close", None)
        if close is not None:
            close()
        return state, beside.path.name
    return None, None


def _count(memory: Source, state: Source) -> None:
    """What a remote state file has cost is part of what its memory file costs."""
    traffic = getattr(memory.data, "traffic", None)
    if traffic is not None:
        traffic.add(state.data.traffic)  # type: ignore[union-attr]


def _opened(
    path: PurePath,
    memory: Source,
    state: State | None,
    state_name: str | None,
    inline: tuple[int, int] | None = None,
) -> OpenedImage:
    start, size = inline or (0, memory.size)
    regions = state.regions if state else ()
    notes: tuple[str, ...] = ()
    if not regions:
        regions, notes = _assumed(size // c_vmware.PAGE, state_name)
    ppn, page_num, pages = (np.array(column, np.uint64) for column in zip(*regions, strict=True))
    page = np.uint64(c_vmware.PAGE)
    extents = Extents(_scaled(ppn), _scaled(pages), _scaled(page_num) + np.uint64(start))
    found = memory_of(_within(memory, start + size), extents, int(page), "VMware region")
    words = f"memory map from {state_name}" if state_name else "no state file beside it"
    info = ImageInfo(
        path=str(path),
        format="vmware",
        bytes=memory.size,
        bytes_expected=max(found.bytes_expected, start + size),
        pages_present=found.pages_present,
        pages_expected=found.pages_expected,
        truncated=found.truncated,
        description=f"VMware memory {'inside a state file' if inline else 'file'}, {words}",
        notes=notes + found.notes,
    )
    traffic = getattr(memory.data, "traffic", None)
    return OpenedImage(path, info, _hints(state), found.memory, traffic=traffic)


def _within(memory: Source, end: int) -> Source:
    """The file up to ``end``: what follows memory in a state file is none, whatever the regions say."""
    if end >= memory.size or not isinstance(memory.data, np.ndarray):
        return memory
    return Source(memory.path, memory.data[:end])


def _scaled(
    pages: np.ndarray[tuple[int, ...], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """Pages as bytes, without wrapping: absurd numbers stay absurd and are refused with their place."""
    return np.minimum(pages, np.uint64(1 << 51)) * np.uint64(c_vmware.PAGE)


def _assumed(pages: int, state_name: str | None) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """The layout when no state file lists regions: with one, addresses as they are (volatility v2,
    LeechCore); without, the hole that machines with so much memory have."""
    below = c_vmware.HOLE_START // c_vmware.PAGE
    if pages <= below:
        return (Region(0, 0, pages),), ()
    if state_name:
        note = f"{state_name} lists no memory regions: memory is taken to lie at the addresses of the file"
        return (Region(0, 0, pages),), (note,)
    note = "no .vmss or .vmsn beside it: memory beyond 3 GB is assumed to continue at 4 GB"
    above = Region(c_vmware.HOLE_END // c_vmware.PAGE, below, pages - below)
    return (Region(0, 0, below), above), (note,)


def _hints(state: State | None) -> Hints:
    if state is None or not state.cr3:
        return Hints()
    return Hints(
        dtbs=tuple(dict.fromkeys(cr3 & ~0x1F for cr3 in state.cr3)),
        pae=None if state.cr4 is None else bool(state.cr4 & _CR4_PAE),
        processors=len(state.cr3),
    )
