"""``--no-contents``: what blocks hold is in no output of any command, and is there without the option."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import samples
from tests.cli.run import run

HELD = ("ControlSet", "ROOT\\\\FILEDISK", "full control")
"""Words that only blocks hold (as JSON writes them): the service's path, the device, the access list."""


class Given(NamedTuple):
    image: Path
    document: Path
    store: Path


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """An image, its verdict document with contents, and a store with contents."""
    folder = tmp_path_factory.mktemp("privacy")
    machine = samples.build(
        profile="xpsp3-x86-pae", scenario="leak", seed=3, cycles=600, driver="FileDisk.sys", paged_out=0.0,
        uptime=7200.0, boot_time=1211900000.0,
    )  # fmt: skip
    (folder / "dumps").mkdir()
    image = samples.write(machine, "crash32-kernel", folder / "dumps" / "leak.dmp")
    found = Given(image, folder / "leak.json", folder / "store.sqlite")
    assert run("verdict", image, "--format", "json", "-o", found.document).exit_code == 0
    assert run("batch", image.parent, "--store", found.store, "--workers", "1", "-q").exit_code == 0
    return found


def shown(text: str) -> list[str]:
    return [word for word in HELD if word in text]


@pytest.mark.parametrize(
    ("command", "source", "form"),
    [
        ("verdict", "image", "text"),
        ("verdict", "image", "json"),
        ("verdict", "image", "html"),
        ("attribute", "image", "text"),
        ("attribute", "image", "json"),
        ("compare", "image", "json"),
        ("compare", "document", "text"),
        ("compare", "document", "json"),
        ("compare", "document", "html"),
        ("report", "store", "json"),
    ],
)
def test_contents_are_shown_unless_hidden(given: Given, command: str, source: str, form: str) -> None:
    path: Path = getattr(given, source)
    paths = [path, path] if command == "compare" else [path]
    assert shown(run(command, *paths, "--format", form).stdout)
    hidden = run(command, *paths, "--format", form, "--no-contents")
    assert hidden.exit_code == 0
    assert shown(hidden.stdout) == []
    assert "FileDisk" in hidden.stdout  # the kernel's own lists name it


def test_a_dashboard_without_contents_is_written_anew(given: Given, tmp_path: Path) -> None:
    def pages(*options: str) -> str:
        assert run("report", given.store, "--format", "html", "-o", tmp_path, *options).exit_code == 0
        return "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html"))

    assert shown(pages())
    assert shown(pages("--no-contents")) == []
    assert shown(pages())


def test_a_table_of_a_store_holds_no_contents(given: Given) -> None:
    assert shown(run("report", given.store).stdout) == []


def test_a_batch_without_contents_stores_none(given: Given, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    run("batch", given.image.parent, "--store", store, "--workers", "1", "-q", "--no-contents")
    assert shown(run("report", store, "--format", "json").stdout) == []
