"""How full the pools are: pages in use by the kernel's own counts, and the configured maxima.

Two counts exist for each pool: the pool descriptors (TotalPages + TotalBigPages) and the memory
manager's counters (facts/pool-algorithms.md section 8). Neither is by tag; blocks on lookaside lists
count as used. They are held against each other, and a contradiction is said.
"""

from __future__ import annotations

from dumpscan.kernel.kernel import Kernel
from dumpscan.model import PoolLimits
from dumpscan.records import record

_MAX_PAGED_POOLS = 64
_MAX_PAGES = 1 << 36
"""Pages of the largest address space (48 bits): more is no count of pages."""


@record
class Descriptors:
    """Pages by the pool descriptors: cut into small blocks, and in allocations of their own."""

    nonpaged_small: int | None = None
    nonpaged_big: int | None = None
    paged_small: int | None = None
    paged_big: int | None = None

    def pages(self, paged: bool) -> int | None:
        """Both kinds together."""
        small, big = (
            (self.paged_small, self.paged_big) if paged else (self.nonpaged_small, self.nonpaged_big)
        )
        return None if small is None or big is None else small + big


@record
class Limits:
    """Both pools' :class:`~dumpscan.model.PoolLimits`, and what does not fit together."""

    paged: PoolLimits
    nonpaged: PoolLimits
    descriptors: Descriptors
    notes: tuple[str, ...] = ()


def read_descriptors(kernel: Kernel) -> Descriptors:
    """Sums over the pool descriptors; None where a descriptor is absent or implausible."""
    address = kernel.address("NonPagedPoolDescriptor")
    nonpaged = _pages(kernel, address, 0) if address else None
    paged = _paged(kernel)
    return Descriptors(*(nonpaged or (None, None)), *(paged or (None, None)))


def _pages(kernel: Kernel, descriptor: int, pool_type: int) -> tuple[int, int] | None:
    fields = dict(kernel.layout.descriptor_fields) if kernel.layout else {}
    if not fields:
        return None
    kind = kernel.read_int(descriptor + fields["pool_type"], 4)
    small = kernel.read_int(descriptor + fields["total_pages"], 4)
    big = kernel.read_int(descriptor + fields["total_big_pages"], 4)
    if kind is None or small is None or big is None or kind & 1 != pool_type or kind > 0xFF:
        return None
    return (small, big) if small + big <= _MAX_PAGES else None


def _paged(kernel: Kernel) -> tuple[int, int] | None:
    """Sum over ExpPagedPoolDescriptor[0..ExpNumberOfPagedPools], one more than the number."""
    count, array = kernel.value("ExpNumberOfPagedPools", 4), kernel.address("ExpPagedPoolDescriptor")
    if count is None or array is None or count > _MAX_PAGED_POOLS:
        return None
    small = big = 0
    seen: set[int] = set()
    for slot in range(count + 1):
        pointer = kernel.read_int(array + slot * kernel.memory.pointer_size)
        pages = _pages(kernel, pointer, 1) if pointer and pointer not in seen else None
        if pages is None or pointer is None:
            return None
        seen.add(pointer)
        small, big = small + pages[0], big + pages[1]
    return small, big


def read_limits(kernel: Kernel, tracked: dict[str, int] | None = None) -> Limits:
    """Use and maximum of both pools. ``tracked`` holds the tracker's bytes by pool, for the check."""
    descriptors = read_descriptors(kernel)
    notes: list[str] = []
    pools = {}
    for name, counter, limit in (
        ("paged", _paged_counter(kernel), kernel.value("MmSizeOfPagedPoolInBytes")),
        ("nonpaged", kernel.value("MmAllocatedNonPagedPool"), kernel.value("MmMaximumNonPagedPoolInBytes")),
    ):
        most = limit // kernel.page_size if limit else None
        pages = _settle(name, descriptors.pages(name == "paged"), _sane(counter), most, notes)
        used = None if pages is None else pages * kernel.page_size
        _check_tracked(name, used, (tracked or {}).get(name), notes)
        pools[name] = PoolLimits(used, limit or None, used / limit if used is not None and limit else None)
    return Limits(pools["paged"], pools["nonpaged"], descriptors, tuple(notes))


def _paged_counter(kernel: Kernel) -> int | None:
    fields = dict(kernel.layout.paged_info_fields) if kernel.layout else {}
    info = kernel.address("MmPagedPoolInformation")
    return kernel.read_int(info + fields["allocated"]) if info and "allocated" in fields else None


def _sane(pages: int | None) -> int | None:
    return pages if pages is not None and pages <= _MAX_PAGES else None


def _settle(
    name: str, described: int | None, counted: int | None, most: int | None, notes: list[str]
) -> int | None:
    """The pages in use by the two counts. A count beyond the maximum is not believed."""
    if most is not None:
        described = described if described is not None and described <= most else None
        counted = counted if counted is not None and counted <= most else None
    if described is None or counted is None:
        return counted if described is None else described
    if abs(described - counted) > max(described, counted) // 4:
        notes.append(
            f"{name} pool: descriptors count {described} pages, the memory manager {counted}; "
            "the larger one is given"
        )
        return max(described, counted)
    return counted


def _check_tracked(name: str, used: int | None, tracked: int | None, notes: list[str]) -> None:
    """Tracked bytes come close to the pages in use and do not exceed them (facts, section 8)."""
    if used is None or tracked is None or not used:
        return
    if tracked > used or tracked < used * 3 // 4:
        notes.append(
            f"{name} pool: the tags' bytes add up to {tracked:,}, the pool's pages to {used:,}; "
            "a table is incomplete or the image was taken while the machine ran"
        )
