"""The verdict over a series: growth with unloads outweighs the levels of a single image."""

from __future__ import annotations

from pathlib import Path

import pytest

from dumpscan.compare.build import compare
from dumpscan.errors import UsageError
from dumpscan.model import Drivers, Evidence, Fix, Judgement, SignatureResult, Unloads
from dumpscan.records import replace
from dumpscan.verdict.rules import builtin_signature, load_signature
from dumpscan.verdict.settings import Settings
from tests.compare.test_growth import LOADED, point


def test_growth_with_unloads_exhibits_although_no_image_does_alone() -> None:
    found = compare([point(2, 100, 250, unloads=80), point(6, 180, 410, unloads=160)])
    assert {image.code for image in found.images} == {"does-not-exhibit"}
    assert (found.signature.state, found.verdict.code) == ("present", "exhibits")
    assert found.verdict.summary.startswith(
        "IoSe and 'Pp  ' grow by 20 and 40 blocks an hour, 1 and 2 for each driver unload"
    )
    evidence = {item.id: item for item in found.signature.evidence}
    assert evidence["series-iose-grows"].value == 80
    assert evidence["series-pp-grows-per-unload"].value == 2
    assert {item.outcome for item in found.signature.evidence} == {"supports"}


def test_no_growth_while_drivers_are_unloaded_is_not_this_leak() -> None:
    much = SignatureResult("KB950162", "present", (Evidence("x", "supports", 1, 1, "a lot of it", ""),))
    exhibits = Judgement("exhibits", "a lot", "install")
    series = [
        point(2, 5000, 9000, unloads=80, signature=much, verdict=exhibits),
        point(6, 5010, 9004, unloads=900, signature=much, verdict=exhibits),
    ]
    found = compare(series)
    assert (found.signature.state, found.verdict.code) == ("absent", "does-not-exhibit")
    assert (
        found.verdict.summary == "no growth of both tags with 820 driver unloads (IoSe +10, 'Pp  ' +4 blocks)"
    )
    assert found.signature.evidence[-1].outcome == "neutral"


def test_one_tag_alone_is_not_this_leak() -> None:
    found = compare([point(2, 100, 200, unloads=80), point(6, 900, 201, unloads=880)])
    assert found.signature.state == "absent"


def test_without_unloads_the_last_image_decides() -> None:
    found = compare([point(2, 100, 200, unloads=80), point(6, 101, 200, unloads=81)])
    assert (found.signature.state, found.verdict.code) == ("absent", "does-not-exhibit")
    assert found.verdict.summary == (
        "last of 2 images: small numbers; whether it grows with driver unloads these images do not show"
    )
    early = SignatureResult("KB950162", "early")
    judged = Judgement("exhibits", "early", "install")
    found = compare(
        [point(2, 100, 200, unloads=80), point(6, 101, 200, unloads=81, signature=early, verdict=judged)]
    )
    assert (found.signature.state, found.verdict.code) == ("early", "exhibits")


def ring(*entries: Unloads) -> Drivers:
    return Drivers(None, entries, LOADED, 50)


def test_without_a_count_of_unloads_the_ring_and_the_step_of_both_tags_decide() -> None:
    again = ring(Unloads("x.sys", 47, "2008-05-28T05:00:00Z", "2008-05-28T05:59:00Z"))
    series = [point(2, 1000, 2000), point(6, 3000, 6000, drivers=again)]
    assert compare(series).signature.state == "present"
    old = ring(Unloads("x.sys", 47, "2008-05-28T01:00:00Z", "2008-05-28T01:59:00Z"))
    assert (
        compare([series[0], replace(series[1], drivers=old)]).signature.state == "absent"
    )  # the last one's own
    out_of_step = [point(2, 1000, 2000), point(6, 3000, 9000, drivers=again)]
    assert compare(out_of_step).signature.state == "absent"


def test_many_blocks_for_each_unload_are_something_else() -> None:
    found = compare([point(2, 100, 200, unloads=80), point(6, 9000, 9000, unloads=110)])
    assert found.verdict.code == "does-not-exhibit"


def test_counts_of_a_walk_with_pages_missing_are_bounded() -> None:
    # 60 % of the pages seen: the 1,000 of the first image may be 2,500; 2,000 later need be no growth.
    series = [point(h, n, 2 * n, source="pages", unloads=u) for h, n, u in ((2, 1000, 80), (6, 2000, 2080))]
    seen = [
        replace(v, pool=replace(v.pool, coverage=replace(v.pool.coverage, paged_pages=0.6))) for v in series
    ]
    evidence = {item.id: item.outcome for item in compare(seen).signature.evidence}
    assert evidence["series-iose-grows"] == "unknown"
    evidence = {item.id: item.outcome for item in compare(series).signature.evidence}
    assert evidence["series-iose-grows"] == "supports"


@pytest.mark.parametrize(("fix", "code"), [("fixed", "unexpected"), ("unknown", "exhibits")])
def test_the_fix_state_decides_the_word(fix: str, code: str) -> None:
    series = [point(h, n, 2 * n, unloads=n) for h, n in ((2, 1000), (6, 3000))]
    found = compare([replace(v, fix=Fix(fix, "KB950162", None, "because")) for v in series])
    assert found.verdict.code == code


def test_thresholds_of_the_series_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[KB950162]\nseries_growth = 5000\n", encoding="utf-8")
    series = [point(h, n, 2 * n, unloads=n) for h, n in ((2, 1000), (6, 3000))]
    assert compare(series, Settings.load(file)).signature.state == "absent"
    assert compare(series).signature.state == "present"


def test_a_condition_of_a_series_is_checked(tmp_path: Path) -> None:
    path = Path(load_signature.__code__.co_filename).parent / "signatures" / "kb950162.toml"
    text = path.read_text(encoding="utf-8")
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace('measure = "unload_growth"', 'measure = "fullness"'), encoding="utf-8")
    with pytest.raises(UsageError, match="measure 'fullness' is not one of growth"):
        load_signature(broken)
    assert builtin_signature().series is not None
