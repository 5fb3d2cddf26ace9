"""Fix state by product, service pack, version and branch (facts/kernel-versions.md section 3)."""

from __future__ import annotations

import pytest

from dumpscan.model import KernelInfo, Pdb
from dumpscan.verdict.fixstate import decide


def xp(version: str | None, pack: int | None, branch: str, **more: object) -> KernelInfo:
    return KernelInfo(
        "test",
        product="Windows XP",
        version=version,
        service_pack=pack,
        arch="x86",
        pae=True,
        branch=branch,
        build=2600,
        pdb=Pdb("ntkrnlpa.pdb", "0" * 32, 1),
        **more,  # type: ignore[arg-type]
    )


def vista(version: str | None, branch: str = "unknown", **more: object) -> KernelInfo:
    build = int(version.split(".")[2]) if version else 6001
    known: dict[str, object] = {"product": "Windows Vista", "arch": "x86", "pae": True, "build": build}
    return KernelInfo("test", version=version, branch=branch, **{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kernel", "state", "fixed_version"),
    [
        # The acceptance set.
        (xp("5.1.2600.5512", 3, "rtm"), "vulnerable", "5.1.2600.5586"),
        (xp("5.1.2600.3520", 2, "gdr"), "vulnerable", "5.1.2600.3357"),
        (vista("6.0.6001.18000", "rtm", arch="x64"), "vulnerable", "6.0.6001.22137"),
        (vista("6.0.6000.21175", "ldr"), "fixed", "6.0.6000.20793"),
        # Around the article's revisions, in the branch and outside.
        (xp("5.1.2600.3356", 2, "qfe"), "vulnerable", "5.1.2600.3357"),
        (xp("5.1.2600.3357", 2, "qfe"), "fixed", "5.1.2600.3357"),
        (xp("5.1.2600.5585", 3, "qfe"), "vulnerable", "5.1.2600.5586"),
        (xp("5.1.2600.5586", 3, "qfe"), "fixed", "5.1.2600.5586"),
        (xp("5.1.2600.6419", 3, "qfe"), "fixed", "5.1.2600.5586"),
        (xp("5.1.2600.6055", 3, "gdr"), "vulnerable", "5.1.2600.5586"),
        (xp("5.1.2600.2180", 2, "rtm"), "vulnerable", "5.1.2600.3357"),
        (xp("5.1.2600.6055", 3, "unknown"), "unknown", "5.1.2600.5586"),
        # Branch unknown: below the hotfix's revision no branch has it; the gap before 5512 is no range.
        (xp("5.1.2600.5585", 3, "unknown"), "vulnerable", "5.1.2600.5586"),
        (xp("5.1.2600.5586", 3, "unknown"), "unknown", "5.1.2600.5586"),
        (xp("5.1.2600.3356", 2, "unknown"), "vulnerable", "5.1.2600.3357"),
        (xp("5.1.2600.3357", 2, "unknown"), "unknown", "5.1.2600.3357"),
        (xp("5.1.2600.4500", 3, "unknown"), "unknown", "5.1.2600.5586"),
        # The bare label of a release at another revision says nothing.
        (xp("5.1.2600.5657", 3, "rtm"), "unknown", "5.1.2600.5586"),
        (xp("5.1.2600.5550", 3, "rtm"), "vulnerable", "5.1.2600.5586"),
        # The file's revision range goes before the system's service pack.
        (xp("5.1.2600.5586", 2, "qfe"), "fixed", "5.1.2600.5586"),
        (xp("5.1.2600.5512", 2, "qfe"), "vulnerable", "5.1.2600.5586"),
        (xp("5.1.2600.3400", 3, "qfe"), "fixed", "5.1.2600.3357"),
        (vista("6.0.6000.16386"), "vulnerable", "6.0.6000.20793"),
        (vista("6.0.6000.17021"), "vulnerable", "6.0.6000.20793"),
        (vista("6.0.6000.20792"), "vulnerable", "6.0.6000.20793"),
        (vista("6.0.6000.20793"), "fixed", "6.0.6000.20793"),
        (vista("6.0.6001.18538"), "vulnerable", "6.0.6001.22137"),
        (vista("6.0.6001.22136"), "vulnerable", "6.0.6001.22137"),
        (vista("6.0.6001.22137"), "fixed", "6.0.6001.22137"),
        (vista("6.0.6001.22777", product="Windows Server 2008", arch="x64"), "fixed", "6.0.6001.22137"),
        (vista("6.0.6001.18000", product="Windows Server 2008", arch="ia64"), "vulnerable", "6.0.6001.22137"),
        # Below the prerequisite, later service packs, other products.
        (xp("5.1.2600.1106", 1, "rtm"), "prerequisite-missing", None),
        (xp("5.1.2600.0", 0, "unknown"), "prerequisite-missing", None),
        (vista("6.0.6002.18005"), "fixed", None),
        (vista("6.1.7601.17514", product="Windows 7"), "out-of-scope", None),
        (KernelInfo("t", product="Windows 10", arch="x64", build=19041), "out-of-scope", None),
        (KernelInfo("t", product="Windows Server 2003", arch="x86", build=3790), "out-of-scope", None),
        (
            KernelInfo("t", product="Windows XP Professional x64 Edition", arch="x64", build=3790),
            "out-of-scope",
            None,
        ),
        (KernelInfo("t", build=2195, product="Windows 2000"), "out-of-scope", None),
        (KernelInfo("t"), "unknown", None),
    ],
)
def test_state_and_fixed_version(kernel: KernelInfo, state: str, fixed_version: str | None) -> None:
    fix = decide(kernel)
    assert (fix.state, fix.fixed_version) == (state, fixed_version)
    assert fix.hotfix == (None if state == "out-of-scope" else "KB950162")
    assert fix.reason


def test_a_newer_gdr_kernel_is_said_to_be_newer_and_still_not_expected_to_have_it() -> None:
    reason = decide(xp("5.1.2600.3520", 2, "gdr")).reason
    assert "3520" in reason and "newer than the hotfix's 3357" in reason and "not expected" in reason


def test_a_contradicting_service_pack_and_a_label_that_cannot_be_are_said() -> None:
    reason = decide(xp("5.1.2600.5586", 2, "qfe")).reason
    assert "calls itself Service Pack 2" in reason and "Service Pack 3" in reason
    assert "calls itself" not in decide(xp("5.1.2600.5586", 3, "qfe")).reason
    assert (
        "its label names the release itself, which 5657 is not"
        in decide(xp("5.1.2600.5657", 3, "rtm")).reason
    )


def test_later_service_pack_is_worded_as_presumption() -> None:
    assert "presumably" in decide(vista("6.0.6002.18005")).reason


def test_branch_and_service_pack_are_taken_from_the_build_lab_when_nothing_else_has_them() -> None:
    lab = "2600.xpsp_sp2_qfe.070227-2300"
    kernel = KernelInfo("t", product="Windows XP", arch="x86", version="5.1.2600.3093", build_lab=lab)
    assert decide(kernel).state == "vulnerable"
    gdr = KernelInfo("t", arch="x86", build_lab="6001.18023.x86fre.vistasp1_gdr.080221-1537")
    assert decide(gdr).state == "vulnerable"
    ldr = KernelInfo("t", arch="x86", build_lab="6001.22319.x86fre.vistasp1_ldr.081126-1506")
    assert decide(ldr).state == "fixed"
    released = KernelInfo("t", arch="x86", service_pack=3, build_lab="2600.xpsp.080413-2111")
    assert decide(released).state == "vulnerable"


@pytest.mark.parametrize(
    ("built", "state"),
    [
        ("2013-07-04", "fixed"),
        ("2008-04-23", "fixed"),
        ("2008-04-20", "unknown"),
        ("2007-02-27", "vulnerable"),
        ("not a date", "unknown"),
        (None, "unknown"),
    ],
)
def test_build_date_orders_builds_of_the_branch_when_the_revision_is_unknown(
    built: str | None, state: str
) -> None:
    fix = decide(xp(None, 3, "qfe", build_date=built))
    assert fix.state == state
    assert built is None or built in fix.reason


def test_build_date_says_nothing_outside_the_branch() -> None:
    assert decide(xp(None, 3, "gdr", build_date="2012-01-01")).state == "vulnerable"
    assert decide(xp(None, 3, "unknown", build_date="2012-01-01")).state == "unknown"


def test_the_row_names_file_size_and_date_of_the_article() -> None:
    row = decide(xp("5.1.2600.5512", 3, "rtm")).row
    assert row is not None
    assert (row.file, row.version, row.size, row.date, row.time) == (
        "Ntkrnlpa.exe",
        "5.1.2600.5586",
        2066048,
        "23-Apr-2008",
        "08:44",
    )
    assert row.sp_requirement == "SP3" and "restart" in row.restart and "Service Pack 2" in row.prerequisite
