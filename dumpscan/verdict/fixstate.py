"""Does this kernel carry the fix of KB950162? Decided by product, service pack, version and branch.

The trap of the area: a revision above the hotfix's proves nothing by itself. The hotfix lives in
the QFE/LDR branch only, GDR kernels of the same or a higher revision do not have it, and on XP the
version number does not tell the branch (facts/kernel-versions.md sections 2 and 3).
"""

from __future__ import annotations

import re
from datetime import date

from dumpscan.model import Fix, KernelInfo
from dumpscan.verdict.article import FixedVersion, find_row, load_article

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)")
_LONG_LAB = re.compile(r"^(\d{4,5})\.(\d{4,5})\.")
_BRANCH_IN_LAB = re.compile(r"_(gdr|qfe|ldr|rtm)\b")
_FIRST_LDR_REVISION = 20000  # Vista and 2008: below GDR or RTM, from here LDR (section 2)
_RELEASED = {6000: 16386, 6001: 18000}  # revisions as first released (section 4, bases)
_XP_RELEASED = (0, 1106, 2180, 5512)  # section 4, bases
_XP_SERVICE_PACKS = ((5512, 8000, 3), (2180, 4000, 2), (1106, 2000, 1), (0, 1, 0))  # section 4
# The article's date is that of the file; the branch snapshot that NtBuildLab dates is a little older.
_DATE_SLACK_DAYS = 7


def decide(kernel: KernelInfo) -> Fix:
    """Return the fix state of ``kernel`` with the reason and the article's row for this machine.

    States: vulnerable, fixed, out-of-scope, prerequisite-missing, unknown. Rules in the order of
    facts/kernel-versions.md section 3.
    """
    build = _build(kernel)
    if build is None:
        return Fix("unknown", load_article().id, None, "the kernel's build number could not be read")
    if build == 2600:
        return _decide_xp(kernel)
    if build in _RELEASED:
        return _decide_vista(kernel, build)
    if build in (6002, 6003):
        return Fix(
            "fixed",
            load_article().id,
            None,
            f"build {build} is a later service pack (Service Pack 2), cut ten months after the fix: "
            "presumably it contains it, the article does not list it",
        )
    return _out_of_scope(kernel, build)


def _out_of_scope(kernel: KernelInfo, build: int) -> Fix:
    named = kernel.product or "this Windows"
    return Fix(
        "out-of-scope",
        None,
        None,
        f"{named} (build {build}{', ' + kernel.arch if kernel.arch else ''}) is not covered by KB950162, "
        "which is about Windows XP x86 and Windows Vista / Server 2008 up to Service Pack 1",
    )


def _decide_xp(kernel: KernelInfo) -> Fix:
    if kernel.arch not in (None, "x86"):
        return _out_of_scope(kernel, 2600)
    pack = _xp_service_pack(kernel)
    if pack is None:
        return _unknown("the service pack level of this Windows XP could not be read")
    if pack < 2:
        return Fix(
            "prerequisite-missing",
            load_article().id,
            None,
            f"Windows XP {f'Service Pack {pack}' if pack else 'without a service pack'}: the hotfix is "
            "offered from Service Pack 2 on, so this kernel does not contain it",
        )
    fixed = load_article().fixed_version(2600, min(pack, 3))
    assert fixed is not None
    result = _by_branch(kernel, fixed, _label_branch(kernel))
    if kernel.service_pack in (None, pack):
        return result
    note = (
        f"the system calls itself Service Pack {kernel.service_pack}, but the revision is one of Service "
        f"Pack {pack}, which is what counts for the file"
    )
    return Fix(result.state, result.hotfix, result.fixed_version, f"{result.reason}; {note}", result.row)


def _decide_vista(kernel: KernelInfo, build: int) -> Fix:
    if build == 6000 and kernel.arch == "ia64":
        return _out_of_scope(kernel, build)
    fixed = load_article().fixed_version(build, 1 if build == 6001 else 0)
    assert fixed is not None
    revision = _revision(kernel)
    branch = _label_branch(kernel)
    if revision is not None:
        branch = _branch_by_revision(revision, build)
    result = _by_branch(kernel, fixed, branch)
    if "server" in (kernel.product or "").lower():
        note = "the article's Vista tables carry the packages of Windows Server 2008"
        return Fix(result.state, result.hotfix, result.fixed_version, f"{result.reason}; {note}", result.row)
    return result


def _by_branch(kernel: KernelInfo, fixed: FixedVersion, branch: str) -> Fix:
    revision, xp = _revision(kernel), fixed.build == 2600
    unmarked = xp and branch == "rtm" and revision is not None and revision not in _XP_RELEASED
    if branch in ("rtm", "gdr") and not unmarked:
        state, reason = "vulnerable", _reason_outside_branch(revision, fixed, branch)
    elif branch in ("qfe", "ldr"):
        state, reason = _judge_in_branch(kernel, revision, fixed, branch.upper())
    else:
        why = "the servicing branch of this kernel is unknown"
        if unmarked:
            why += f" (its label names the release itself, which {revision} is not)"
        state, reason = _judge_without_branch(revision, fixed, why)
    return Fix(state, load_article().id, fixed.version, reason, find_row(kernel, fixed))


def _judge_without_branch(revision: int | None, fixed: FixedVersion, why: str) -> tuple[str, str]:
    own_range = fixed.build == 2600 and _pack_by_revision(revision) == fixed.service_pack
    if own_range and revision is not None and revision < fixed.revision:
        return "vulnerable", (
            f"{why}, but revision {revision} is older than the hotfix's {fixed.version} in every branch"
        )
    return "unknown", (
        f"{why}: revision {revision or 'unknown'} alone "
        f"does not tell whether it is a GDR kernel (without the fix) or a QFE/LDR one (fixed from "
        f"{fixed.version} on)"
    )


def _reason_outside_branch(revision: int | None, fixed: FixedVersion, branch: str) -> str:
    if branch == "rtm":
        return (
            f"the kernel of the release or service pack itself (revision {revision or 'unknown'}); "
            f"the hotfix ({fixed.version}) was made later and only in the QFE/LDR branch"
        )
    if revision is not None and revision >= fixed.revision and fixed.build == 2600:
        return (
            f"GDR kernel, revision {revision}: newer than the hotfix's {fixed.revision}, and still not "
            "expected to contain it, because the hotfix went into the QFE/LDR branch only"
        )
    return (
        f"GDR kernel, revision {revision or 'unknown'}: not expected to contain the hotfix, which went "
        f"into the QFE/LDR branch only ({fixed.version})"
    )


def _judge_in_branch(
    kernel: KernelInfo, revision: int | None, fixed: FixedVersion, branch: str
) -> tuple[str, str]:
    if revision is None:
        return _judge_by_date(kernel, fixed, branch)
    if revision >= fixed.revision:
        return "fixed", (
            f"{branch} kernel, revision {revision}: at or above the hotfix's {fixed.version}, and "
            "the branch is cumulative"
        )
    return "vulnerable", f"{branch} kernel, revision {revision}: older than the hotfix's {fixed.version}"


def _judge_by_date(kernel: KernelInfo, fixed: FixedVersion, branch: str) -> tuple[str, str]:
    if kernel.build_date is None:
        return "unknown", f"{branch} kernel, but neither its revision nor its build date could be read"
    try:
        distance = (date.fromisoformat(kernel.build_date) - date.fromisoformat(fixed.file_date)).days
    except ValueError:
        return "unknown", f"{branch} kernel with the unreadable build date {kernel.build_date!r}"
    about = (
        f"{branch} kernel built {kernel.build_date} (NtBuildLab), its revision is unknown; "
        f"the hotfix's files are of {fixed.file_date}"
    )
    if distance >= 0:
        return "fixed", f"{about}: inferred from the date, a later build of the branch contains the fix"
    if distance < -_DATE_SLACK_DAYS:
        return "vulnerable", f"{about}: inferred from the date, the build is older than the fix"
    return "unknown", f"{about}: too close together to tell which came first"


def _unknown(reason: str) -> Fix:
    return Fix("unknown", load_article().id, None, reason)


def _build(kernel: KernelInfo) -> int | None:
    if kernel.build is not None:
        return kernel.build & 0xFFFF  # NtBuildNumber carries the free/checked mark above
    match = _VERSION.search(kernel.version or "")
    if match:
        return int(match[3])
    match = re.match(r"(\d{4,5})\.", kernel.build_lab or "")
    return int(match[1]) if match else None


def _revision(kernel: KernelInfo) -> int | None:
    match = _VERSION.search(kernel.version or "")
    if match:
        return int(match[4])
    match = _LONG_LAB.match(kernel.build_lab or "")
    return int(match[2]) if match else None


def _xp_service_pack(kernel: KernelInfo) -> int | None:
    """The file's own revision range goes first: a service pack level is the system's, not the file's."""
    pack = _pack_by_revision(_revision(kernel))
    if pack is not None:
        return pack
    if kernel.service_pack is not None:
        return kernel.service_pack
    match = re.search(r"xpsp_sp(\d)", kernel.build_lab or "")
    return int(match[1]) if match else None


def _pack_by_revision(revision: int | None) -> int | None:
    for low, high, pack in _XP_SERVICE_PACKS:
        if revision is not None and low <= revision < high:
            return pack
    return None


def _label_branch(kernel: KernelInfo) -> str:
    if kernel.branch != "unknown":
        return kernel.branch
    lab = kernel.build_lab or ""
    match = _BRANCH_IN_LAB.search(lab)
    if match:
        return match[1]
    # Service packs of XP as released carry the bare branch: 2600.xpsp.080413-2111 (section 2).
    return "rtm" if re.search(r"\.xpsp\d?\.\d{6}-", lab) else "unknown"


def _branch_by_revision(revision: int, build: int) -> str:
    if revision >= _FIRST_LDR_REVISION:
        return "ldr"
    return "rtm" if revision == _RELEASED[build] else "gdr"
