"""Reports in a real browser: nothing logged, nothing loaded, nothing wider than the window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dumpscan.model import Verdict, to_dict
from dumpscan.report.html import verdict
from tests.report import html_documents as documents
from tests.report.browser import Browser, too_wide, violations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("reports")
    for name in ("full", "hostile", "bare"):
        given: Verdict = getattr(documents, name)()
        (found / f"{name}.html").write_text(verdict.render(given), encoding="utf-8", newline="\n")
    return found


@pytest.mark.parametrize("name", ["full", "hostile", "bare"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_report_opens_silently_and_fits(browser: Browser, folder: Path, name: str, width: int) -> None:
    path = folder / f"{name}.html"
    page = browser.open(path, width)
    assert browser.log == []
    assert browser.requests == [path.as_uri()]
    assert not too_wide(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing_serious(browser: Browser, folder: Path, scheme: str, width: int) -> None:
    assert violations(browser.open(folder / "full.html", width, scheme=scheme)) == []


def test_axe_would_find_something(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<title>x</title><svg role=img></svg><p style='color:#ccc;background:#fff'>pale", "utf-8")
    found = " ".join(violations(browser.open(path)))
    assert "color-contrast" in found
    assert "svg-img-alt" in found


def rows(page: Any, column: int) -> list[str]:
    script = """c => Array.from(document.querySelectorAll('#all-tags tbody tr')).filter(r => !r.hidden)
        .map(r => r.cells[c].dataset.v ?? r.cells[c].textContent)"""
    found: list[str] = page.evaluate(script, column)
    return found


def test_sorting_by_number_text_and_back(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html")
    page.click("#all-tags th:has-text('Outstanding') button")
    assert rows(page, 4) == ["52,149", "26,031", "210", "50", "0"]
    assert page.get_attribute("#all-tags th:has-text('Outstanding')", "aria-sort") == "descending"
    page.click("#all-tags th:has-text('Outstanding') button")
    assert rows(page, 4) == ["0", "50", "210", "26,031", "52,149"]
    page.click("#all-tags th:has-text('Tag') button")
    assert rows(page, 0) == ["CM35", "IoSe", "IoSe", "NDpp", "Pp  "]
    assert "sorted by Tag, ascending" in page.inner_text("#all-tags output")
    assert browser.log == []


def test_filtering_by_text_and_pool_with_the_keyboard(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html")
    page.focus("#all-tags input")
    page.keyboard.type("iose")
    assert rows(page, 0) == ["IoSe", "IoSe"]
    assert page.inner_text("#all-tags output") == "2 of 5 rows"
    page.select_option("#all-tags select", "nonpaged")
    assert rows(page, 0) == ["IoSe"]
    page.fill("#all-tags input", "'pp  '")
    page.select_option("#all-tags select", "")
    assert rows(page, 0) == ["Pp  "]


def test_the_document_can_be_downloaded(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html")
    with page.expect_download() as waiting:
        page.click("button[data-download]")
    assert waiting.value.suggested_filename == "hung-01.dmp.verdict.json"
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert json.loads(text) == to_dict(documents.full())
    assert browser.log == []


def test_hostile_strings_stay_text_in_the_browser(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "hostile.html")
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert documents.SHOWN_BIDI in page.inner_text("#drivers")
    assert documents.SCRIPT_TAG in rows(page, 0)


def test_without_scripts_the_policy_holds(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "hostile.html")
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.hit = 1';"
                  " document.body.append(s); }")
    assert page.evaluate("window.hit") is None
    assert any("Content Security Policy" in line for line in browser.log)


@pytest.mark.parametrize("name", ["full", "hostile", "bare"])
def test_nothing_is_cut_off_on_paper(browser: Browser, folder: Path, name: str) -> None:
    page = browser.open(folder / f"{name}.html", 718)  # A4 without its margins
    page.emulate_media(media="print")
    cut = """Array.from(document.querySelectorAll('.scroll'))
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
    assert page.evaluate(cut) == []


def test_print_shows_the_report_without_its_tools(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html")
    page.emulate_media(media="print")
    assert not page.is_visible("nav")
    assert not page.is_visible("#all-tags .filter")
    assert page.is_visible("#all-tags table")
    assert page.is_visible(".banner .word")


def test_no_text_of_a_picture_is_cut_off(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html", 400)
    cut = """Array.from(document.querySelectorAll('main svg[role=img] > text')).filter(text => {
        const box = text.getBoundingClientRect(), picture = text.closest('svg');
        const open = getComputedStyle(picture).overflow === 'visible';
        const frame = (open ? text.closest('section') : picture).getBoundingClientRect();
        return box.left < frame.left || box.right > frame.right + 1;
    }).map(text => text.textContent)"""
    assert page.evaluate(cut) == []


def test_the_table_of_tags_fits_a_telephone(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "full.html", 400)
    width = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('#all-tags .scroll'))"
    assert page.evaluate(width) == 0
