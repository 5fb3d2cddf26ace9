"""Everything mapped in kernel space apart from the pools: image, HAL, drivers, shared page, processors.

Witness: facts/kernel-location.md section 6 for the ranges.
"""

from __future__ import annotations

import numpy as np

from .drivers import driver_page
from .kdbg import pcr, shared_data
from .pe import kernel_image
from .ram import MB
from .work import Work, round_up

_HAL_SIZE = 0x20300


def map_kernel(work: Work) -> None:
    """Image and HAL in the identity range, in large pages on machines that have room for them."""
    profile, bases = work.profile, work.profile.bases
    image = kernel_image(
        work.build, work.base, work.options.version_resource, work.options.stream("kernel code")
    )
    work.ram.poke(work.kernel_pa, image)
    start, end = work.kernel_pa, work.hal_pa + round_up(_HAL_SIZE, work.page)
    if work.options.ram_mb >= 48:
        start, end = start // profile.arch.large * profile.arch.large, round_up(end, profile.arch.large)
    work.paging.map_range(bases.identity + start, start, end - start)
    frames = np.arange(start // work.page, end // work.page)
    work.pfn.active(frames, frames.astype(np.uint64) * np.uint64(work.page) + np.uint64(bases.identity), 3)
    work.ram.poke(work.hal_pa, driver_page(work.options.stream("hal")))


def map_block(work: Work) -> None:
    """PFN database and initial nonpaged pool, contiguous, in large pages where aligned."""
    if work.options.three_gb:  # facts: not in large pages then
        frames = np.arange(work.block_pa // work.page, (work.block_pa + work.block_size) // work.page)
        work.paging.map_frames(work.block_va, frames)
    else:
        work.paging.map_range(work.block_va, work.block_pa, work.block_size)
    frames = np.arange(work.block_pa // work.page, (work.block_pa + work.pfn_bytes) // work.page)
    va = np.uint64(work.block_va) + np.arange(len(frames)).astype(np.uint64) * np.uint64(work.page)
    work.pfn.active(frames, va, 4)


def map_loose(work: Work, va: int, size: int, va_type: int = 9) -> None:
    """Scattered 4 KB pages at a fixed address."""
    frames = work.ram.take(round_up(size, work.page) // work.page)
    addresses = np.uint64(va & -work.page) + np.arange(len(frames)).astype(np.uint64) * np.uint64(work.page)
    work.paging.map_frames(va & -work.page, frames)
    work.pfn.active(frames, addresses, va_type)
    for address, frame in zip(addresses, frames, strict=True):
        work.loose[int(address)] = int(frame)


def map_drivers(work: Work) -> None:
    """Only each driver's first page is resident: readers look at list entries and headers."""
    rng = work.options.stream("driver pages")
    for module in work.module_list[2:]:
        map_loose(work, module.base, work.page, 12)
        work.poke(module.base, driver_page(rng))


def processor_addresses(work: Work) -> list[int]:
    """KPCRs: the first fixed (XP, 2003 x86) or in the kernel's data, further ones in system PTEs."""
    bases = work.profile.bases
    first = bases.kpcr if bases.kpcr is not None else work.address("KiInitialPCR")
    stride = round_up(work.layout.pcr.size, work.page) + work.page
    return [first] + [
        bases.system_ptes + 0x8000 + number * stride for number in range(1, work.options.processors)
    ]


def map_processors(work: Work) -> None:
    """KPCRs with their PRCBs; KiProcessorBlock points at the latter."""
    work.pcrs = processor_addresses(work)
    pointer = work.layout.pointer
    for number, address in enumerate(work.pcrs):
        if number or work.profile.bases.kpcr is not None:
            map_loose(work, address, work.layout.pcr.size)
        work.poke(address, pcr(work.build, address, number, work.paging.dtb, work.address("KdVersionBlock")))
        block = work.address("KiProcessorBlock") + number * pointer
        work.poke(block, (address + work.layout.pcr.prcb).to_bytes(pointer, "little"))


def map_shared_page(work: Work) -> None:
    """KUSER_SHARED_DATA at its kernel address; user views come with the processes."""
    va = work.profile.bases.kuser
    map_loose(work, va, work.page)
    page = shared_data(
        work.build, work.options.system_time, work.options.uptime_100ns, int(work.ram.present.sum())
    )
    work.poke(va, page)


def map_user(work: Work, spaces: list[tuple[int, ...]]) -> None:
    """The shared page in every process, and some private pages in the first few."""
    at = 0xA0000000 if work.options.three_gb else 0x00400000
    shared = np.array([work.loose[work.profile.bases.kuser]], dtype=np.int64)
    rng = work.options.stream("user pages")
    text = np.frombuffer(b"user page, not for a kernel dump. ".ljust(64, b"."), dtype=np.uint8)
    for number, space in enumerate(spaces):
        if not space and work.profile.arch.name == "ia64":
            continue  # the system's root is that of the kernel's region alone
        work.paging.map_user(0x7FFE0000, shared, space)
        count = 24 if 0 < number < 4 else 0
        if count:
            frames = work.ram.take(min(count, work.options.ram_mb * MB // work.page // 64))
            work.paging.map_user(at, frames, space)
            work.ram.pages[frames] = np.tile(text, work.page // len(text))
            work.ram.pages[frames, : work.page // 2] = rng.integers(
                0, 256, (len(frames), work.page // 2), dtype=np.uint8
            )
            addresses = np.uint64(at) + np.arange(len(frames)).astype(np.uint64) * np.uint64(work.page)
            work.pfn.active(frames, addresses, 2)
