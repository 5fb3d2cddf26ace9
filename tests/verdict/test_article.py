"""The article's tables: every row of the data file against the article's own text, both ways."""

from __future__ import annotations

import re

import pytest

from dumpscan.model import KernelInfo, Pdb
from dumpscan.verdict.article import find_row, load_article, xp_internal_name
from tests.verdict.truth import SHARED

HEADINGS = {
    "Windows XP with Service Pack 2 (SP2), x86-based versions": 4,
    "Windows XP with Service Pack 3 (SP3), x86-based versions": 4,
    "Windows Vista, x86-based versions": 26,
    "Windows Vista, x64-based versions": 24,
    "Windows Vista, IA64-based versions": 13,
}
# The article's columns run together. Only these four versions occur; they tell version from size.
ROW = re.compile(
    r"(?P<file>\S+\.(?:exe|mum|manifest))"
    r"(?P<version>Not Applicable|5\.1\.2600\.3357|5\.1\.2600\.5586|6\.0\.6000\.20793|6\.0\.6001\.22137)"
    r"(?P<size>\d{1,3}(?:,\d{3})*)(?P<date>\d\d-(?:Mar|Apr)-2008)(?P<time>\d\d:\d\d)"
    r"(?P<platform>Not Applicable|x86|x64|IA-64)(?P<sp>SP2|SP3)?"
)


def _article_text() -> str:
    path = SHARED / "seeds" / "KB950162.txt"
    if not path.exists():
        pytest.skip("../shared/seeds/KB950162.txt, the article's text, is absent")
    return path.read_text(encoding="utf-8")


def _rows_in_text() -> set[tuple[object, ...]]:
    rows: set[tuple[object, ...]] = set()
    heading = ""
    for line in _article_text().splitlines():
        heading = line.strip() if line.strip() in HEADINGS else heading
        match = ROW.fullmatch(line.strip())
        if match:
            size = int(match["size"].replace(",", ""))
            named = match.group("file", "version", "date", "time", "platform", "sp")
            rows.add((heading, size, *named))
    return rows


def _rows_in_data() -> list[tuple[object, ...]]:
    return [
        (heading, row.size, row.file, row.version, row.date, row.time, row.platform, row.sp_requirement)
        for heading, rows in load_article().tables.values()
        for row in rows
    ]


def test_every_row_of_the_article_is_in_the_data_and_no_other() -> None:
    found = _rows_in_text()
    assert len(found) == sum(HEADINGS.values())
    assert set(_rows_in_data()) == found
    assert len(_rows_in_data()) == len(found)


def test_no_dated_line_of_the_article_escapes_the_parser() -> None:
    dated = [line for line in _article_text().splitlines() if re.search(r"-(Mar|Apr)-2008\d\d:\d\d", line)]
    assert len(dated) == sum(HEADINGS.values())
    assert all(ROW.fullmatch(line.strip()) for line in dated)


def test_applies_to_list_and_statements_are_those_of_the_article() -> None:
    text = _article_text()
    listed = [line.strip("• ").strip() for line in text.splitlines() if line.strip().startswith("•")]
    article = load_article()
    assert list(article.applies_to) == listed
    for product in article.products.values():
        for key in ("restart", "replacement", "registry"):
            assert product[key] in text
    # The article misspells "Sevice Pack 2"; the data does not.
    assert article.products["xp"]["prerequisite"].replace("Service", "Sevice", 1) in text
    assert article.products["vista"]["prerequisite"] in text


def test_table_sizes_and_a_row_of_each_read_off_the_article_by_eye() -> None:
    assert {heading: len(rows) for heading, rows in load_article().tables.values()} == HEADINGS
    rows = {(*row[2:4], row[1], row[0]): row for row in _rows_in_data()}
    xp2, xp3, x86, x64, ia64 = HEADINGS
    for file, version, size, heading, date, time, platform in (
        ("Ntkrpamp.exe", "5.1.2600.3357", 2020864, xp2, "23-Apr-2008", "09:29", "x86"),
        ("Ntkrnlpa.exe", "5.1.2600.5586", 2066048, xp3, "23-Apr-2008", "08:44", "x86"),
        ("Ntkrnlpa.exe", "6.0.6000.20793", 3505720, x86, "15-Mar-2008", "03:37", "Not Applicable"),
        ("Update.mum", "Not Applicable", 3597, x64, "17-Mar-2008", "17:50", "Not Applicable"),
        ("Ntoskrnl.exe", "6.0.6001.22137", 9501240, ia64, "15-Mar-2008", "03:59", "IA-64"),
    ):
        assert rows[file, version, size, heading][4:7] == (date, time, platform)


@pytest.mark.parametrize(
    ("kernel", "build", "pack", "file", "size"),
    [
        (KernelInfo("t", arch="x86", pdb=Pdb("ntkrpamp.pdb", "", 1)), 2600, 2, "Ntkrpamp.exe", 2020864),
        (KernelInfo("t", arch="x86", pae=False, multiprocessor=True), 2600, 3, "Ntkrnlmp.exe", 2145280),
        (KernelInfo("t", arch="x86", pae=True), 6000, 0, "Ntkrnlpa.exe", 3505720),
        (KernelInfo("t", arch="x86", pdb=Pdb("ntkrnlmp.pdb", "", 2)), 6001, 1, "Ntoskrnl.exe", 3548728),
        (KernelInfo("t", arch="x86", pdb=Pdb("ntkrpamp.pdb", "", 2)), 6001, 1, "Ntkrnlpa.exe", 3600952),
        (KernelInfo("t", arch="x64"), 6001, 1, "Ntoskrnl.exe", 4694072),
        (KernelInfo("t", arch="ia64"), 6001, 1, "Ntoskrnl.exe", 9501240),
    ],
)
def test_the_row_is_the_one_of_this_very_kernel(
    kernel: KernelInfo, build: int, pack: int, file: str, size: int
) -> None:
    fixed = load_article().fixed_version(build, pack)
    assert fixed is not None
    row = find_row(kernel, fixed)
    assert row is not None
    assert (row.file, row.size, row.version) == (file, size, fixed.version)


def test_no_row_is_named_when_the_kernel_kind_is_not_known() -> None:
    for build, pack in ((2600, 3), (6001, 1)):
        fixed = load_article().fixed_version(build, pack)
        assert fixed is not None
        assert find_row(KernelInfo("t", arch="x86"), fixed) is None


def test_the_internal_name_outranks_the_installed_one() -> None:
    # Setup installs ntkrpamp.exe under the name ntkrnlpa.exe (facts/kernel-versions.md section 5).
    kernel = KernelInfo("t", image_name="ntkrnlpa.exe", pdb=Pdb("ntkrpamp.pdb", "", 1))
    assert xp_internal_name(kernel) == "ntkrpamp"
    assert (
        xp_internal_name(KernelInfo("t", image_name="ntoskrnl.exe", internal_name="ntkrnlmp.exe"))
        == "ntkrnlmp"
    )


def test_clients_and_servers_get_their_own_packages() -> None:
    fixed = load_article().fixed_version(6001, 1)
    assert fixed is not None
    client = find_row(KernelInfo("t", arch="x64", product="Windows Vista"), fixed)
    server = find_row(KernelInfo("t", arch="x64", product="Windows Server 2008"), fixed)
    assert client is not None and server is not None
    manifest = (
        "Amd64_microsoft-windows-os-kernel_31bf3856ad364e35_6.0.6001.22137_none_c8bf2c3185b0289c.manifest"
    )
    assert set(client.packages) == {
        "Package_for_kb950162_client~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        "Package_for_kb950162_client_0~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        "Package_for_kb950162_client_1~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        manifest,
    }
    assert set(server.packages) == {
        "Package_for_kb950162_server~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        "Package_for_kb950162_server_0~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        "Package_for_kb950162_sc~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        "Package_for_kb950162_sc_0~31bf3856ad364e35~amd64~~6.0.1.0.mum",
        manifest,
    }
