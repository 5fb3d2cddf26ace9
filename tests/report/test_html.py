"""The HTML report as a text: policy, escaping, structure, size, speed. See test_html_browser.py too."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from dumpscan.model import BigUse, Interval, PageStates, PoolUse, Suspect, TagUse, Verdict, from_dict, to_dict
from dumpscan.model_pictures import Histogram, SizeCount
from dumpscan.records import replace
from dumpscan.report.html import charts, svg, verdict, verdict_pool
from dumpscan.report.html.page import resource
from tests.report import html_documents as documents

_VOID = {"meta", "input", "br", "link", "img"}


class Reader(HTMLParser):
    """Elements with their attributes, text by element, and whether everything is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    def text(self, name: str) -> list[str]:
        return [text for tag, text in self.texts if tag == name]


@pytest.fixture(scope="module", params=["full", "hostile", "bare"])
def given(request: pytest.FixtureRequest) -> Verdict:
    found: Verdict = getattr(documents, request.param)()
    return found


def test_elements_are_closed_in_order(given: Verdict) -> None:
    assert Reader(verdict.render(given)).open == []


def test_the_policy_allows_this_style_and_this_script_alone(given: Verdict) -> None:
    page = verdict.render(given)
    reader = Reader(page)
    policy = next(m["content"] for m in reader.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        content = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_nothing_refers_outside(given: Verdict) -> None:
    page = verdict.render(given)
    reader = Reader(page)
    for _, attributes in reader.elements:
        assert not {"src", "style", "srcset", "action"} & attributes.keys()
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in resource("style.css")
    assert "@import" not in resource("style.css")
    assert "http" not in resource("script.js") + resource("style.css")
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.elements}


def test_only_the_page_has_scripts() -> None:
    scripts = Reader(verdict.render(documents.hostile())).of("script")
    assert scripts == [{"type": "application/json", "id": "document"}, {}]


def test_hostile_strings_stay_text() -> None:
    page = verdict.render(documents.hostile())
    reader = Reader(page)
    assert documents.SCRIPT in reader.text("li")
    assert documents.SCRIPT_TAG in "".join(reader.text("th"))
    assert documents.SHOWN_BIDI in reader.text("td")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    assert "\\x1b[31m" in page


def test_the_embedded_document_is_the_document() -> None:
    given = documents.hostile()
    page = verdict.render(given)
    block = re.findall(r'<script type="application/json" id="document">(.*?)</script>', page, re.DOTALL)
    assert json.loads(block[0]) == to_dict(given)
    assert from_dict(Verdict, json.loads(block[0])) == given


def test_headings_tables_and_pictures_have_names(given: Verdict) -> None:
    page = verdict.render(given)
    reader = Reader(page)
    assert len(reader.of("h1")) == 1
    assert len(reader.of("table")) == len(reader.of("caption")) == len(reader.text("caption"))
    assert all(head.get("scope") or head.get("role") for head in reader.of("th"))
    pictures = [s for s in reader.of("svg") if "x" not in s and s.get("aria-hidden") != "true"]
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert reader.of("html")[0]["lang"] == "en"


def test_what_the_report_shows() -> None:
    reader = Reader(verdict.render(documents.full()))
    titles = reader.text("h2")
    for title in ("What to do", "Evidence", "Kernel and machine", "The pools by address", "All tags"):
        assert title in titles
    assert reader.text("span").count("Exhibits the leak") == 1
    cells = reader.text("td")
    for shown in ("38.6 %", "at least 10 %", "IoSe and 'Pp\xa0\xa0' hold 39 %", "26,031", "52,149"):
        assert shown in cells
    labels = " ".join(picture.get("aria-label", "") for picture in reader.of("svg"))
    assert "21.1 MB in use of at most 22.0 MB: 96 % full" in labels
    assert "IoSe: most often 152 bytes, 19,547 of 19,551." in labels
    assert "not in the image: 30" in labels
    assert "48 unloads of 2 drivers from 2008-05-28 11:59:08 to 2008-05-28 11:59:54 UTC" in labels


def test_the_signatures_tags_are_marked_in_table_and_chart() -> None:
    page = verdict.render(documents.full())
    marked = re.findall(r'<tr class="signature"><th scope="row" class="code" data-v="(....)">', page)
    assert marked.count("IoSe") == 3  # paged and nonpaged, and the reconciliation
    assert marked.count("Pp  ") == 1
    assert len(re.findall("◆ IoSe|◆ &#39;Pp\xa0\xa0&#39;", page)) == 2


def test_without_anything_known_there_is_still_a_report() -> None:
    reader = Reader(verdict.render(documents.bare()))
    assert "use unknown" in reader.text("span")
    assert "All tags" not in reader.text("h2")


def test_the_same_document_gives_the_same_file() -> None:
    assert verdict.render(documents.full()) == verdict.render(documents.full())


def test_two_thousand_tags_stay_below_a_megabyte_and_a_second() -> None:
    plain = documents.full()
    use = plain.pool.tags[0]
    tags = tuple(type(use)(f"{n:04}", use.paged, use.nonpaged, "tracker") for n in range(1000))
    many = replace(plain, pool=replace(plain.pool, tags=tags))
    start = time.process_time()
    page = verdict.render(many)
    assert time.process_time() - start < 1.0
    assert len(page.encode()) < 1_000_000


# -- scales and charts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("largest", "values", "top"),
    [
        (0, (0.0,), 1.0),
        (7, (0, 2, 4, 6, 8), 8),
        (100, (0, 20, 40, 60, 80, 100), 100),
        (19_586, (0, 5000, 10000, 15000, 20000), 20000),
    ],
)
def test_ticks_are_round(largest: float, values: tuple[float, ...], top: float) -> None:
    assert svg.ticks(largest) == svg.Ticks(values, top)


def test_ticks_of_bytes_are_binary() -> None:
    assert svg.ticks(22 << 20, base=2).values == tuple(n << 20 for n in (0, 8, 16, 24))


def test_bars_are_in_proportion() -> None:
    drawn = charts.bars("t", [charts.Bar("a", 100, "100"), charts.Bar("b", 50, "50")], "words")
    widths = [float(width) for width in re.findall(r'width="([\d.]+)%" height="18"', drawn)]
    assert widths[0] == pytest.approx(2 * widths[1])


def test_columns_stand_on_the_axis_and_stack() -> None:
    drawn = charts.columns("t", [charts.Stack("8", [50, 25])], "words", axis="bytes", unit="n")
    boxes = re.findall(r'class="c\d" x="[\d.%]+" y="([\d.]+)" width="[\d.%]+" height="([\d.]+)"', drawn)
    (first, high), (second, above) = [(float(y), float(h)) for y, h in boxes]
    assert first + high == 222
    assert second + above == first
    assert high == pytest.approx(2 * above)


def test_the_highest_columns_are_labelled_where_there_is_no_room_for_all() -> None:
    heights = {32: 2, 48: 900, 80: 3, 88: 4, 104: 5, 128: 800, 136: 1, 144: 2, 152: 700, 168: 1, 184: 2}
    stacks = [charts.Stack(str(size), [count]) for size, count in heights.items()]
    drawn = charts.columns("t", stacks, "words", axis="bytes", unit="n")
    labels = re.findall(r'text-anchor="middle">(\d+)<', drawn)
    assert {"48", "128", "152"} <= set(labels)
    assert len(labels) < len(stacks)


def test_times_are_told_by_the_day_where_a_day_begins() -> None:
    start = datetime(2008, 5, 27, 16, 53, tzinfo=timezone.utc)
    hours = [label for _, label in svg.time_ticks(start, start + timedelta(hours=12))]
    assert hours == ["18:00", "21:00", "28 May", "03:00"]
    days = [label for _, label in svg.time_ticks(start, start + timedelta(days=11))]
    assert days == ["30 May", "02 Jun", "05 Jun"]
    years = [label for _, label in svg.time_ticks(start, start + timedelta(days=900))]
    assert len(years) >= 2 and years[0].endswith("2009")


@pytest.mark.parametrize(
    ("code", "tone", "words"),
    [
        ("exhibits", "bad", "loses a little of its own memory"),
        ("inconclusive", "unsure", "neither a yes nor a no"),
        ("does-not-exhibit", "unsure", "something else holds much of its memory"),
    ],
)
def test_the_banner_speaks_plainly(code: str, tone: str, words: str) -> None:
    given = documents.full()
    suspect = Suspect("MfeL", "paged", 10 << 20, 0.45, "holds 45 %")
    found = replace(given, verdict=replace(given.verdict, code=code), suspects=(suspect,))
    page = verdict.render(found)
    assert f'class="banner {tone}"' in page
    assert words in page
    assert ("What to install" in page) == (code == "exhibits")


def test_a_size_class_holds_the_sum_of_its_sizes() -> None:
    sizes = tuple(SizeCount(8 * n, n) for n in range(1, 61))
    stacks = verdict_pool.size_classes([Histogram("IoSe", "paged", sizes)])
    assert len(stacks) == 20
    assert stacks[0] == charts.Stack("8-24", [6])
    assert sum(stack.values[0] for stack in stacks) == sum(range(1, 61))


def test_times_at_the_end_of_the_calendar_are_drawn() -> None:
    last = datetime(9999, 12, 31, 23, 59, tzinfo=timezone.utc)
    assert svg.time_ticks(datetime(1601, 1, 1, tzinfo=timezone.utc), last)
    end = [label for _, label in svg.time_ticks(last - timedelta(hours=2), last)]
    assert end == ["22:00", "22:30", "23:00", "23:30"]


def test_no_two_elements_have_one_id() -> None:
    reader = Reader(verdict.render(documents.full()))
    names = [given["id"] for _, given in reader.elements if "id" in given]
    assert sorted(names) == sorted(set(names))


def test_pools_that_nobody_looked_into_have_no_pages_of_zero() -> None:
    plain = documents.full()
    looked = replace(plain.pool, page_states={"paged": PageStates(valid=7), "nonpaged": PageStates()})
    reader = Reader(verdict.render(replace(plain, pool=looked)))
    assert "Pages by state" in reader.text("h3")
    heads = reader.text("th")
    assert heads[heads.index("State of the page") + 1] == "paged"
    assert heads[heads.index("State of the page") + 2] != "nonpaged"
    blind = replace(plain.pool, page_states={"paged": PageStates(), "nonpaged": PageStates()})
    assert "Pages by state" not in verdict.render(replace(plain, pool=blind))


def test_estimates_have_their_intervals() -> None:
    plain = documents.full()
    part = PoolUse(None, None, 8000, 960_000, BigUse(1, 64_000), Interval(7900, 8100, 948_000, 972_000))
    sampled = replace(plain.pool, tags=(TagUse("IoSe", part, PoolUse(0, 0), "sample"),))
    reader = Reader(verdict.render(replace(plain, pool=sampled)))
    assert "about 8,000" in reader.text("dd")
    assert {"\u00b1 100", "1,024,000", "\u00b1 11.7 KB"} <= set(reader.text("td"))
    assert "Allocs" not in reader.text("th")
    assert "95 %" not in Reader(verdict.render(plain)).text("th")
