"""The comparison as one HTML file: curves, tables, untrusted text kept as text, quiet in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dumpscan.compare.build import compare
from dumpscan.model import PoolUse, Suspect, TagUse, to_dict
from dumpscan.model_compare import Comparison
from dumpscan.records import replace
from dumpscan.report import compare as plain
from dumpscan.report.html.compare import render
from tests.compare.test_growth import MB, point
from tests.report.browser import Browser, too_wide, violations

EVIL = "<s>\u202e"


def series(tag: str = "NavE") -> Comparison:
    def extra(count: int) -> tuple[TagUse, ...]:
        return (TagUse(tag, PoolUse(count, 0, count, count * 64), PoolUse(0, 0), "tracker"),)

    points = ((2, 1000, 12.0), (4, 2000, 14.0), (6, 3000, 16.0))
    return compare([point(h, n, 2 * n, unloads=n, used=mb, extra=extra(n // 10)) for h, n, mb in points])


def test_what_it_shows() -> None:
    text = render(series())
    assert text.count("<svg") >= 3
    # 1 MB an hour, 16 MB left at 06:00
    assert "Full on 2008-05-28 22:00 UTC at this rate, 16 h after the last image." in text
    assert "<h2" in text and "What to do" in text
    assert "https://" not in text.replace("http://support.microsoft.com", "")


def test_the_forecast_goes_from_the_last_image_to_the_limit() -> None:
    # 4 h measured, 16 h to come: the last image stands at a fifth. 16 of 32 MB are half the height.
    assert 'class="line c0 forecast" d="M200 500L1000 0"' in render(series())


def test_restarts_and_other_machines_are_said_first_and_not_joined() -> None:
    a, b = point(2, 1000, 2000, used=12.0), point(6, 3000, 6000, used=16.0)
    again = render(compare([a, replace(b, machine=replace(b.machine, uptime_seconds=60.0))]))
    assert "Same machine</dt><dd class=\"figure\">yes</dd><dd class=\"remark\">same boot: no" in again
    assert again.index("How far these images can be compared") < again.index("What to do")
    assert 'class="line c' not in again and "<circle" in again
    strange = replace(b, kernel=replace(b.kernel, arch="x64"))
    assert "<circle" not in render(compare([a, strange]))
    assert "these are not images of one machine" in render(compare([a, strange]))
    assert "How far these images" not in render(series())


def test_a_machine_with_another_suspect_is_not_shown_in_green() -> None:
    a, b = point(2, 100, 200, unloads=0), point(6, 100, 200, unloads=4000)
    assert '<div class="banner good">' in render(compare([a, b]))
    suspect = Suspect("MfeL", "paged", 3 * MB, 0.7, "holds most")
    found = compare([a, replace(b, suspects=(suspect,))])
    assert found.suspects == (suspect,)
    assert '<div class="banner unsure">' in render(found)


def test_times_at_the_end_of_the_calendar() -> None:
    a, b = point(2, 1000, 2000, used=12.0), point(6, 3000, 6000, used=12.001)
    late = [
        replace(each, machine=replace(each.machine, system_time=f"9999-12-31T{hour}:00:00Z"))
        for each, hour in ((a, 18), (b, 22))
    ]
    found = compare(late)
    assert found.pool.paged.full_at is None
    assert found.pool.paged.hours_left is not None
    assert "circle" in render(found)
    early = replace(a, machine=replace(a.machine, system_time="1601-01-01T00:00:10Z", uptime_seconds=1e12))
    assert compare([early, b]).images[0].boot_time is None


def test_text_from_an_image_stays_text() -> None:
    text = render(series(EVIL))
    assert "<s>" not in text and "\u202e" not in text
    assert "&lt;s&gt;\\u202e" in text


def test_the_document_is_in_it() -> None:
    found = series()
    [block] = re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', render(found), re.DOTALL)
    assert json.loads(block) == to_dict(found)


@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_silently_and_fits(browser: Browser, tmp_path: Path, width: int) -> None:
    path = tmp_path / "compare.html"
    path.write_text(render(series(EVIL)), encoding="utf-8", newline="\n")
    page = browser.open(path, width)
    assert browser.log == []
    assert browser.requests == [path.as_uri()]
    assert not too_wide(page)
    assert violations(page) == []


def test_a_row_of_text_that_is_too_wide_loses_its_middle_not_its_end() -> None:
    points = ((2, 100_000, 12.0), (4, 200_000, 14.0), (6, 300_000, 16.0))
    found = compare([point(h, n, 2 * n, unloads=n, used=mb) for h, n, mb in points])
    lines = plain.render(found).splitlines()
    (line,) = [each for each in lines if each.startswith("  IoSe    paged")]
    assert line.split()[2:5] == ["100,000", "300,000", "+200,000"]
    assert line.endswith("1.000") and len(line) <= 80
