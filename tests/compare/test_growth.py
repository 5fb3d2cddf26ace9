"""Lines, rates and times until full, worked by hand."""

from __future__ import annotations

import pytest

from dumpscan.compare import clock
from dumpscan.compare.build import compare
from dumpscan.compare.growth import fit, hours_to_full, pools_growth, tag_growths
from dumpscan.errors import UsageError
from dumpscan.model import (
    BigUse,
    Coverage,
    Drivers,
    Fix,
    ImageInfo,
    Judgement,
    KernelInfo,
    Machine,
    Module,
    Pdb,
    Pool,
    PoolLimits,
    PoolUse,
    SignatureResult,
    TagUse,
    Verdict,
)  # fmt: skip
from dumpscan.model_compare import Fit, Level
from dumpscan.records import replace

MB = 1 << 20
LOADED = tuple(Module(f"driver{i}.sys", hex(0xF7000000 + i * 0x10000), 0x4000 + i) for i in range(20))


def point(
    hour: float,
    iose: int,
    pp: int,
    *,
    used: float = 10.0,
    unloads: int | None = None,
    source: str = "tracker",
    extra: tuple[TagUse, ...] = (),
    **changes: object,
) -> Verdict:
    """The verdict on an image ``hour`` hours after a boot at 2008-05-28T00:00:00Z."""

    def use(tag: str, count: int, size: int) -> TagUse:
        allocs, frees = (count + 100, 100) if source == "tracker" else (None, None)
        return TagUse(tag, PoolUse(allocs, frees, count, count * size), PoolUse(0, 0), source)

    covered = Coverage(tracker=1.0) if source == "tracker" else Coverage(paged_pages=1.0)
    leaking = (use("IoSe", iose, 120), use("Pp  ", pp, 96))
    limits = PoolLimits(int(used * MB), 32 * MB)
    parts: dict[str, object] = {
        "image": ImageInfo(f"h{hour:g}.dmp", "crash32-kernel", 1),
        "kernel": KernelInfo(
            "header", "Windows XP", "5.1.2600.5512", 3, "x86", True, pdb=Pdb("ntkrnlpa.pdb", "30B5", 1),
            base="0x804d7000", dtb="0x319000",
        ),
        "machine": Machine(None, f"2008-05-28T{int(hour):02d}:00:00Z", hour * 3600, 1),
        "pool": Pool("on", limits, PoolLimits(MB, 16 * MB), (*leaking, *extra), covered),
        "drivers": Drivers(unloads, (), LOADED, None),
        "fix": Fix("vulnerable", "KB950162", "5.1.2600.5586", "older"),
        "signature": SignatureResult("KB950162", "absent"),
        "suspects": (),
        "verdict": Judgement("does-not-exhibit", "small numbers", "nothing"),
    }  # fmt: skip
    parts.update(changes)
    return Verdict(**parts)  # type: ignore[arg-type]


def test_a_line_by_hand() -> None:
    # x 0 1 2 3, y 1 3 2 6: means 1.5 and 3; sum xy 7, xx 5, yy 14: slope 1.4, r2 49/70.
    found = fit([0, 1, 2, 3], [1, 3, 2, 6])
    assert found is not None
    assert found.slope == pytest.approx(1.4)
    assert found.r2 == pytest.approx(0.7)


def test_a_flat_line_has_no_r2_and_unknown_values_no_line() -> None:
    assert fit([0, 1], [5, 5]) == Fit(0.0, None)
    assert fit([0, 1], [5, None]) is None
    assert fit(None, [1, 2]) is None
    assert fit([0], [1]) is None


def test_rates_of_a_tag() -> None:
    # 2 h to 6 h: IoSe 1000 -> 3000, 500 an hour, 60,000 bytes an hour; 2000 unloads: one each.
    series = [point(2, 1000, 2100, unloads=1010), point(6, 3000, 6100, unloads=3010)]
    found = {(row.tag, row.pool): row for row in tag_growths(series, [0.0, 4.0], 2000)}
    iose = found["IoSe", "paged"]
    assert iose.points == (Level(1000, 120_000), Level(3000, 360_000))
    assert (iose.outstanding_change, iose.bytes_change) == (2000, 240_000)
    assert (iose.outstanding_per_hour, iose.bytes_per_hour, iose.outstanding_per_unload) == (500, 60_000, 1)
    assert found["Pp  ", "paged"].outstanding_per_unload == 2
    assert ("IoSe", "nonpaged") not in found


def test_a_tag_that_appears_later_counted_from_nothing() -> None:
    new = (TagUse("NavE", PoolUse(70, 10, 60, 600), PoolUse(0, 0), "tracker"),)
    [row] = [
        r for r in tag_growths([point(1, 1, 1), point(2, 1, 1, extra=new)], [0, 1], None) if r.tag == "NavE"
    ]
    assert row.points == (Level(0, 0), Level(60, 600))


def test_a_walk_and_a_table_have_no_rate_in_common() -> None:
    rows = tag_growths([point(1, 100, 1), point(2, 900, 1, source="pages")], [0, 1], 800)
    assert {row.outstanding_per_hour for row in rows} == {None}
    assert {row.outstanding_per_unload for row in rows} == {None}


def test_a_walks_large_allocations_count() -> None:
    walked = (TagUse("Big ", PoolUse(None, None, 3, 30, BigUse(2, 8192)), PoolUse(), "pages"),)
    series = [point(h, 1, 1, source="pages", extra=walked) for h in (1, 2)]
    [row] = [r for r in tag_growths(series, [0, 1], None) if r.tag == "Big "]
    assert row.points[0] == Level(5, 8222)


def test_time_until_full() -> None:
    # 10 MB at 2 h, 16 MB at 6 h: 1.5 MB an hour, 16 of 32 MB left: 10 h 40 min later, 16:40.
    found = pools_growth([point(2, 1, 1, used=10), point(6, 1, 1, used=16)], [0.0, 4.0])
    assert found.paged.bytes_per_hour == 1.5 * MB
    assert found.paged.hours_left == pytest.approx(10 + 2 / 3)
    assert found.paged.full_at == "2008-05-28T16:40:00Z"
    assert (found.nonpaged.full_at, found.nonpaged.hours_left) == (None, None)


def test_a_pool_that_was_full_between_two_images() -> None:
    # 24 MB at 2 h, 40 of 32 MB at 6 h (the limit was passed half way): full at 4 h.
    found = pools_growth([point(2, 1, 1, used=24), point(6, 1, 1, used=40)], [0.0, 4.0])
    assert found.paged.full_at == "2008-05-28T04:00:00Z"
    assert found.paged.hours_left == -2


def test_a_shrinking_pool_or_one_without_a_limit_is_never_full() -> None:
    points = [PoolLimits(200, 1000), PoolLimits(100, 1000)]
    assert hours_to_full([0, 1], points, Fit(-100.0, 1.0)) is None
    assert hours_to_full([0, 1], [PoolLimits(1, None), PoolLimits(2, None)], Fit(1.0, 1.0)) is None


def test_order_and_hours_by_uptime_which_nobody_sets() -> None:
    late, early = point(6, 1, 1), point(2, 1, 1)
    set_back = replace(late, machine=replace(late.machine, system_time="2008-05-28T05:59:00Z"))
    assert clock.in_order([set_back, early]) == [early, set_back]
    assert clock.hours([early, set_back]) == [0, 4]
    assert clock.hours([early, early]) is None
    # An image that is given twice costs the others nothing.
    assert clock.hours([early, early, set_back]) == [0, 0, 4]
    unknown = replace(late, machine=Machine(None, None, None, 1))
    assert clock.hours([early, unknown]) is None
    assert clock.in_order([unknown, early]) == [early, unknown]


def test_one_image_is_no_comparison() -> None:
    with pytest.raises(UsageError, match="two images"):
        compare([point(1, 1, 1)])
