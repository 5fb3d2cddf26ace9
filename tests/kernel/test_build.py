"""Build strings and service packs; the strings are quoted in facts/kernel-versions.md section 2."""

from __future__ import annotations

import pytest

from dumpscan.kernel import build


@pytest.mark.parametrize(
    ("text", "number", "revision", "branch", "date"),
    [
        ("2600.xpsp_sp3_gdr.090804-1435", 2600, None, "gdr", "2009-08-04"),
        ("2600.xpsp_sp2_qfe.070227-2300", 2600, None, "qfe", "2007-02-27"),
        ("2600.xpsp_sp3_qfe.130704-0421", 2600, None, "qfe", "2013-07-04"),
        ("2600.xpsp.080413-2111", 2600, None, "rtm", "2008-04-13"),
        ("2600.xpsp_sp2_rtm.040803-2158", 2600, None, "rtm", "2004-08-03"),
        ("6001.18000.x86fre.longhorn_rtm.080118-1840", 6001, 18000, "rtm", "2008-01-18"),
        ("6000.16438.x86fre.vista_gdr.070214-1610", 6000, 16438, "gdr", "2007-02-14"),
        ("6001.22319.amd64fre.vistasp1_ldr.081126-1506", 6001, 22319, "ldr", "2008-11-26"),
        ("6001.vistasp1_gdr.080917-1612", 6001, None, "gdr", "2008-09-17"),
    ],
)
def test_parse_lab(text: str, number: int, revision: int | None, branch: str, date: str) -> None:
    lab = build.parse_lab(text)
    assert lab is not None
    assert (lab.build, lab.revision, lab.branch, lab.date) == (number, revision, branch, date)


@pytest.mark.parametrize(
    "text", ["", "2600", "garbage.that.is-not", "\x00\x01\x02", "2600.xpsp_sp3_gdr.09080-1435"]
)
def test_no_lab(text: str) -> None:
    assert build.parse_lab(text) is None


def test_branch_of_version_text() -> None:
    lab = build.lab_of_version_text("5.1.2600.5755 (xpsp_sp3_qfe.090206-1316)", 2600)
    assert lab is not None and (lab.branch, lab.build) == ("qfe", 2600)
    assert build.lab_of_version_text("5.1.2600.5512", 2600) is None
    assert build.lab_of_version_text(None, None) is None


@pytest.mark.parametrize(
    ("number", "version", "branch"),
    [
        (6000, "6.0.6000.16386", "gdr"),
        (6000, "6.0.6000.20793", "ldr"),
        (6001, "6.0.6001.22137", "ldr"),
        (6001, "6.0.6001.18226", "gdr"),
        (2600, "5.1.2600.5755", "unknown"),
        (3790, "5.2.3790.4478", "unknown"),
    ],
)
def test_branch_by_revision_works_on_vista_only(number: int, version: str, branch: str) -> None:
    assert build.branch_by_revision(number, version) == branch


@pytest.mark.parametrize(
    ("csd", "number", "version", "expected"),
    [
        (0x300, 2600, None, 3),
        (0x200, 2600, "5.1.2600.2180", 2),
        (None, 2600, "5.1.2600.5512", 3),
        (None, 2600, "5.1.2600.3520", 2),
        (None, 2600, "5.1.2600.1106", 1),
        (None, 2600, "5.1.2600.0", 0),
        (0, 6000, None, 0),
        (None, 6001, None, 1),
        (None, None, None, None),
    ],
)
def test_service_pack(csd: int | None, number: int | None, version: str | None, expected: int | None) -> None:
    assert build.service_pack_of(csd, number, version, None) == expected


@pytest.mark.parametrize(
    ("number", "arch", "kind", "name"),
    [
        (2600, "x86", 1, "Windows XP"),
        (3790, "x64", 1, "Windows XP Professional x64 Edition"),
        (3790, "x64", 3, "Windows Server 2003"),
        (3790, "x86", 3, "Windows Server 2003"),
        (6000, "x86", 1, "Windows Vista"),
        (6001, "x64", 1, "Windows Vista"),
        (6001, "x64", 3, "Windows Server 2008"),
        (6001, "x64", 2, "Windows Server 2008"),
        (7601, "x64", 1, "Windows 7"),
        (7601, "x64", 3, "Windows Server 2008 R2"),
        (9600, "x64", 1, "Windows 8.1"),
        (19041, "x64", 1, "Windows 10"),
        (26100, "x64", 1, "Windows 11"),
        (17763, "x64", 3, "Windows Server 2019"),
        (26100, "x64", 3, "Windows Server 2025"),
        (26063, "x64", 2, "Windows Server"),
        (None, "x86", None, None),
    ],
)
def test_product(number: int | None, arch: str, kind: int | None, name: str | None) -> None:
    assert build.product_of(number, arch, kind) == name


def test_multiprocessor_by_internal_name() -> None:
    assert build.is_multiprocessor("ntkrpamp.pdb") is True
    assert build.is_multiprocessor(None, "ntoskrnl.exe") is False
    assert build.is_multiprocessor("hal.pdb", None) is None
