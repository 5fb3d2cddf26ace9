"""The dashboard: figures by hand, files by the store's numbers, and a look in the browser."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dumpscan.batch import dashboard as writer
from dumpscan.batch.store import open_store
from dumpscan.model import to_dict
from dumpscan.report.html import dashboard
from dumpscan.report.html.dashboard import Image, Trouble
from tests.report import html_documents as documents
from tests.report.browser import Browser, too_wide, violations
from tests.report.test_html import Reader

IMAGES = (
    Image(1, "/dumps/a/one.dmp", "ok", "", 0.2, "exhibits", "s", "Windows XP", 3, "5.1.2600.5512",
          "vulnerable", 0.96, 0.1, "IoSe", "hwmon32.sys", "2008-05-28T12:00:00Z"),
    Image(2, "/dumps/a/two.dmp", "ok", "", 0.2, "does-not-exhibit", "s", "Windows XP", 2, "5.1.2600.2180",
          "vulnerable", 0.19, 0.1),
    Image(3, f"/dumps/b/{documents.SCRIPT}.dmp", "damaged", f"header {documents.BIDI}"),
    Image(4, "/dumps/b/notes.txt", "skipped", "no memory image"),
)  # fmt: skip


def test_the_overview_counts() -> None:
    reader = Reader(dashboard.overview(IMAGES, "store.sqlite"))
    assert "1 of 2 images exhibit the leak" in reader.text("span")
    sentence = "4 files were looked at: 2 judged, 1 could not be judged, 1 passed over."
    assert sentence in reader.text("p")
    labels = [picture.get("aria-label", "") for picture in reader.of("svg")]
    assert "Verdicts: exhibits 1, does not exhibit 1" in labels
    assert "Windows: XP SP3 1, XP SP2 1" in labels
    assert "Files below /dumps/" in reader.text("caption")


def test_nothing_judged_is_said() -> None:
    empty = Reader(dashboard.overview([], "store.sqlite"))
    assert "No image was judged" in empty.text("span")
    assert "Overview" not in empty.text("h2")
    assert "No image was judged" in Reader(dashboard.overview(IMAGES[2:], "store.sqlite")).text("span")


def test_links_are_numbers_and_paths_stay_text() -> None:
    reader = Reader(dashboard.overview(IMAGES, "store.sqlite"))
    links = [a["href"] for a in reader.of("a") if not a["href"].startswith("#")]
    assert links == [f"images/00000{number}.html" for number in (1, 2, 3, 4)]
    assert f"b/{documents.SCRIPT}.dmp" in reader.text("a")
    assert len(reader.of("script")) == 1


def test_a_file_without_verdict_has_a_page_that_says_why() -> None:
    trouble = Trouble("2026-01-01T00:00:00Z", "crashed", "Signal", "died", f"line 1\n{documents.SCRIPT}")
    reader = Reader(dashboard.failure(IMAGES[2], [trouble]))
    assert "Could not be judged" in reader.text("span")
    assert f"line 1\n{documents.SCRIPT}" in reader.text("pre")
    assert f"header {documents.SHOWN_BIDI}" in reader.text("dd")
    assert reader.of("a")[1]["href"] == "../index.html"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard") / "store.sqlite"
    connection = open_store(path, create=True)
    document = json.dumps(to_dict(documents.hostile()))
    for image in IMAGES:
        connection.execute(
            "INSERT INTO images (id, path, status, reason, analysed) VALUES (?, ?, ?, ?, ?)",
            (image.number, image.path, image.status, image.reason, "2026-01-01T00:00:00Z"),
        )
        if image.verdict:
            connection.execute(
                "INSERT INTO results (image_id, verdict, summary, paged_fullness) VALUES (?, ?, '', ?)",
                (image.number, image.verdict, image.paged),
            )
            connection.execute("INSERT INTO documents VALUES (?, ?)", (image.number, document))
    connection.close()
    return path


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    found = store.parent / "pages"
    assert writer.write(store, found) == len(IMAGES)
    return found


def test_every_image_has_its_page_and_nothing_else_is_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["images", "index.html"]
    names = sorted(path.name for path in (folder / "images").glob("*.html"))
    assert names == [f"{image.number:06}.html" for image in IMAGES]
    page = (folder / "images" / "000001.html").read_text(encoding="utf-8")
    block = re.findall(r'<script type="application/json" id="document">(.*?)</script>', page, re.DOTALL)
    assert json.loads(block[0]) == to_dict(documents.hostile())
    assert '<a href="../index.html">Overview</a>' in page


def test_only_what_changed_is_written_again(store: Path, folder: Path) -> None:
    assert writer.write(store, folder) == 0
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE images SET analysed = '2099-01-01T00:00:00Z' WHERE id = 2")
    connection.close()
    assert writer.write(store, folder) == 1


def test_pages_of_another_store_or_of_a_run_that_was_stopped_are_not_kept(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.sqlite"
    shutil.copy(store, other)
    with sqlite3.connect(other) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM images WHERE id = 2")
    connection.close()
    folder = tmp_path / "pages"
    writer.write(store, folder)
    assert writer.write(other, folder) == len(IMAGES) - 1
    assert not (folder / "images" / "000002.html").exists()
    # A run with contents that is stopped half way leaves no page to a run without contents.
    writer.write(other, folder, contents=False)
    monkeypatch.setattr(writer, "overview", stopped)
    with pytest.raises(KeyboardInterrupt):
        writer.write(other, folder)
    monkeypatch.undo()
    assert writer.write(other, folder, contents=False) == len(IMAGES) - 1


def stopped(*_: object) -> str:
    raise KeyboardInterrupt


def test_the_command_needs_a_folder(store: Path, tmp_path: Path) -> None:
    def report(*args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dumpscan", "report", store, "--format", "html", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    without = report()
    assert (without.returncode, without.stdout) == (2, "")
    assert "-o DIR" in without.stderr
    (tmp_path / "file").touch()
    assert report("-o", tmp_path / "file").returncode == 2
    assert report("-o", tmp_path / "new").returncode == 0
    assert (tmp_path / "new" / "index.html").is_file()


# -- in the browser ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["index.html", "images/000001.html", "images/000003.html"])
def test_pages_open_silently_and_fit(browser: Browser, folder: Path, name: str, width: int) -> None:
    page = browser.open(folder / name, width)
    assert browser.log == []
    assert browser.requests == [(folder / name).as_uri()]
    assert not too_wide(page)


def test_axe_finds_nothing_serious(browser: Browser, folder: Path) -> None:
    assert violations(browser.open(folder / "index.html")) == []


def test_from_the_table_to_a_page_and_back(browser: Browser, folder: Path) -> None:
    page = browser.open(folder / "index.html")
    page.select_option("#files select[data-column='1']", "exhibits")
    assert page.inner_text("#files output") == "1 of 4 rows"
    page.click("#files tbody tr:not([hidden]) a")
    page.wait_for_url("**/images/000001.html")
    page.click("text=Overview")
    page.wait_for_url("**/index.html")
    assert browser.log == []


def test_ten_thousand_rows_are_shown_in_part(browser: Browser, tmp_path: Path) -> None:
    many = [IMAGES[n % 2]._replace(number=n, path=f"/d/{n:05}.dmp") for n in range(10_000)]
    path = tmp_path / "index.html"
    path.write_text(dashboard.overview(many, "store.sqlite"), encoding="utf-8")
    assert path.stat().st_size < 8_000_000
    page = browser.open(path)
    visible = "document.querySelectorAll('#files tbody tr:not([hidden])').length"
    assert page.evaluate(visible) == 200
    page.fill("#files input", "0012")
    assert page.inner_text("#files output") == "11 of 10,000 rows"
    page.click("#files th:has-text('Image') button")
    page.click("#files th:has-text('Image') button")
    assert page.inner_text("#files tbody tr:not([hidden]) >> nth=0").startswith("00129.dmp")
    page.fill("#files input", "")
    assert page.inner_text("#files button.more") == "Show 1,000 more"
    page.click("#files button.more")
    assert page.evaluate(visible) == 1_200
