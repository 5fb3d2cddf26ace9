"""Counting keys, limits of the pools, and the reconciliation of sources."""

from __future__ import annotations

import numpy as np

from dumpscan.model import BigUse, PoolLimits, PoolUse, TagUse
from dumpscan.pool.limits import Descriptors, read_descriptors, read_limits
from dumpscan.pool.reconcile import reconcile
from dumpscan.pool.tally import Tally
from tests.pool.machine import HandMemory, kernel

# -- tally ----------------------------------------------------------------------------------------


def counted(*batches: list[int]) -> dict[int, int]:
    tally = Tally()
    for batch in batches:
        tally.add(np.array(batch, np.uint64))
    keys, counts = tally.result()
    return dict(zip(keys.tolist(), counts.tolist(), strict=True))


def test_tally_counts_over_batches() -> None:
    assert counted([5, 7, 5], [], [7, 9, 1 << 63]) == {5: 2, 7: 2, 9: 1, 1 << 63: 1}
    assert counted() == {}


def test_tally_counts_keys_that_share_a_slot() -> None:
    # More different keys than slots (32768): most slots are wanted by several keys.
    keys = list(range(0, 400_000, 2))
    found = counted(keys, keys[:1000], keys)
    assert len(found) == 200_000
    assert {found[key] for key in keys[:1000]} == {3}
    assert {found[key] for key in keys[1000:]} == {2}


# -- limits ---------------------------------------------------------------------------------------

NAMES = (
    "ExpNumberOfPagedPools", "ExpPagedPoolDescriptor", "unused", "MmSizeOfPagedPoolInBytes",
    "MmMaximumNonPagedPoolInBytes", "MmAllocatedNonPagedPool",
)
VARIABLES = {name: 0x80500000 + 4 * i for i, name in enumerate(NAMES)}
VARIABLES |= {
    "ExpPagedPoolDescriptor": 0x80500040,
    "NonPagedPoolDescriptor": 0x80500100,
    "MmPagedPoolInformation": 0x80500200,
}


def pools() -> HandMemory:
    """XP: nonpaged 300 + 100 pages, paged (0 + 50) + (200 + 0), one more descriptor than the number."""
    memory = HandMemory()
    memory.put_u32(0x80500000, 1, 0, 0, 4 << 20, 8 << 20, 410)
    memory.put_u32(0x80500040, 0x80501000, 0x80502000)
    memory.put_u32(0x80500100, 0, 0, 9, 8, 300, 100)
    memory.put_u32(0x80501000, 1, 0, 9, 8, 0, 50)
    memory.put_u32(0x80502000, 1, 1, 9, 8, 200, 0)
    memory.put_u32(0x80500220, 260)  # MmPagedPoolInfo.AllocatedPagedPool at 0x20
    return memory


def test_descriptors_are_summed() -> None:
    assert read_descriptors(kernel(pools(), 2600, VARIABLES)) == Descriptors(300, 100, 200, 50)


def test_limits() -> None:
    found = read_limits(kernel(pools(), 2600, VARIABLES))
    assert found.nonpaged == PoolLimits(410 * 4096, 8 << 20, 410 * 4096 / (8 << 20))
    assert found.paged == PoolLimits(260 * 4096, 4 << 20, 260 * 4096 / (4 << 20))
    assert found.notes == ()


def test_counts_that_contradict_are_said() -> None:
    memory = pools()
    memory.put_u32(0x80500014, 1000)
    found = read_limits(kernel(memory, 2600, VARIABLES))
    assert "descriptors count 400 pages, the memory manager 1000" in found.notes[0]


def test_a_count_beyond_the_maximum_is_not_believed() -> None:
    memory = pools()
    memory.put_u32(0x80500014, 0x40000000)
    assert read_limits(kernel(memory, 2600, VARIABLES)).nonpaged.used_bytes == 400 * 4096


def test_absent_descriptors_are_unknown() -> None:
    memory = pools()
    memory.drop(0x80502000)
    memory.put_u32(0x80500100, 7)  # no nonpaged type
    found = read_descriptors(kernel(memory, 2600, VARIABLES))
    assert found == Descriptors(None, None, None, None)
    assert read_limits(kernel(HandMemory(), 2600, {})).paged == PoolLimits(None, None, None)


def test_a_list_of_descriptors_that_repeats_ends() -> None:
    memory = pools()
    memory.put_u32(0x80500000, 63)
    memory.put_u32(0x80500040, *[0x80501000] * 48)
    assert read_descriptors(kernel(memory, 2600, VARIABLES)).paged_small is None
    memory.put_u32(0x80500000, 0x7FFFFFFF)
    assert read_descriptors(kernel(memory, 2600, VARIABLES)).paged_small is None


def test_tag_sums_far_from_the_pool_are_said() -> None:
    machine = kernel(pools(), 2600, VARIABLES)
    # 260 pages are 1,064,960 bytes; a quarter less is 798,720.
    assert read_limits(machine, {"paged": 1_000_000, "nonpaged": 1_600_000}).notes == ()
    assert "paged pool: the tags' bytes add up to 7" in read_limits(machine, {"paged": 700_000}).notes[0]
    assert "add up to 1,064,961" in read_limits(machine, {"paged": 1_064_961}).notes[0]


# -- reconciliation -------------------------------------------------------------------------------


def use(tag: str, paged: int, nonpaged: int = 0, big: BigUse | None = None) -> TagUse:
    return TagUse(tag, PoolUse(bytes=paged, big=big), PoolUse(bytes=nonpaged), "tracker")


def test_small_and_large_add_up() -> None:
    found = reconcile(
        (use("IoSe", 8292),), (use("IoSe", 100, big=BigUse(1, 5000)),), {("IoSe", "paged"): 8192}, {}
    )
    assert (found[0].tracker_bytes, found[0].resident_bytes, found[0].big_bytes) == (8292, 100, 8192)
    assert (found[0].unexplained_bytes, found[0].note) == (0, "")


def test_requested_sizes_when_the_tracker_counts_those() -> None:
    found = reconcile(
        (use("IoSe", 5100),), (use("IoSe", 100, big=BigUse(1, 5000)),), {("IoSe", "paged"): 8192}, {}
    )
    assert (found[0].big_bytes, found[0].unexplained_bytes) == (5000, 0)


def test_pages_that_are_away_explain_what_is_missing_and_no_more() -> None:
    tracked, walked = (use("IoSe", 9000),), (use("IoSe", 1000),)
    explained = reconcile(tracked, walked, {}, {"paged": 2})[0]
    assert explained.unexplained_bytes == 0
    assert explained.note == "paged: 8,000 bytes in pages that are not in the image"
    assert reconcile(tracked, walked, {}, {"paged": 1})[0].unexplained_bytes == 8000
    assert reconcile(tracked, walked, {}, {"nonpaged": 9})[0].unexplained_bytes == 8000


def test_more_in_memory_than_tracked_is_shown() -> None:
    found = reconcile((use("IoSe", 0, 100),), (use("IoSe", 0, 400),), {}, {"nonpaged": 9})[0]
    assert found.unexplained_bytes == -300
    assert "300 bytes more" in found.note


def test_a_tag_that_only_memory_has() -> None:
    found = reconcile((), (use("?quo", 400),), {}, {})[0]
    assert (found.tracker_bytes, found.resident_bytes, found.unexplained_bytes) == (None, 400, None)
