"""Which kernel is this? Product, version, servicing branch, and from which evidence.

On XP the file version does not tell the servicing branch: GDR and QFE builds of one update share
the revision. NtBuildLab does, and it is always resident. On Vista the revision range tells.
Witness: facts/kernel-versions.md sections 2 and 5, kernel-location.md section 8.
"""

from __future__ import annotations

import re

from dumpscan.kernel import c_builds
from dumpscan.kernel.peimage import VersionResource
from dumpscan.model import Pdb
from dumpscan.records import record

_LDR_REVISION = 20000
_FIRST_WINDOWS_10 = 10240
_SHORT_LAB = re.compile(r"^(?P<build>\d{4,5})\.(?P<branch>[a-z]\w*)\.(?P<date>\d{6})-\d{4}")
_LONG_LAB = re.compile(
    r"^(?P<build>\d{4,5})\.(?P<revision>\d+)\.(?P<flavour>\w+?)(?P<kind>fre|chk)\."
    r"(?P<branch>[a-z]\w*)\.(?P<date>\d{6})-\d{4}"
)
_TEXT_LAB = re.compile(r"\((?P<lab>[a-z]\w*\.\d{6}-\d{4})\)")


@record
class BuildLab:
    """A parsed NtBuildLab, or the bracketed part of a FileVersion text."""

    build: int | None
    revision: int | None
    branch: str
    windows_branch: str
    date: str


def parse_lab(text: str) -> BuildLab | None:
    """Short (``2600.xpsp_sp3_gdr.090804-1435``) or long (``6001.18000.x86fre.longhorn_rtm...``) form."""
    match = _LONG_LAB.match(text) or _SHORT_LAB.match(text)
    if not match:
        return None
    parts = match.groupdict()
    revision = int(parts["revision"]) if parts.get("revision") else None
    return BuildLab(
        int(parts["build"]), revision, branch_of(parts["branch"]), parts["branch"], _date(parts["date"])
    )


def lab_of_version_text(text: str | None, build: int | None) -> BuildLab | None:
    """The branch in brackets of a FileVersion text such as ``5.1.2600.5512 (xpsp.080413-2111)``."""
    match = _TEXT_LAB.search(text or "")
    return parse_lab(f"{build or 0:04d}.{match['lab']}") if match else None


def branch_of(windows_branch: str) -> str:
    """rtm, gdr, qfe, ldr or unknown, by the end of a branch name."""
    ending = windows_branch.rsplit("_", 1)[-1].lower()
    if ending in ("gdr", "qfe", "ldr", "rtm"):
        return ending
    # The service pack level itself is built from a branch without an ending: "xpsp".
    return "rtm" if "_" not in windows_branch else "unknown"


def _date(yymmdd: str) -> str:
    return f"20{yymmdd[:2]}-{yymmdd[2:4]}-{yymmdd[4:]}"


def version_of(
    resource: VersionResource | None, lab: BuildLab | None, pdb: Pdb | None, timestamp: int | None
) -> tuple[str | None, str | None]:
    """File version and where it was read; the version resource is the best witness.

    ``timestamp``: of the kernel's PE header. Windows 10 keeps the revision of its first build in NtBuildLab.
    """
    if resource:
        return resource.version, "torn version resource" if resource.torn else "version resource"
    if lab and lab.build and lab.revision and lab.build < _FIRST_WINDOWS_10:
        return f"{c_builds.NT_VERSIONS.get(lab.build, '10.0')}.{lab.build}.{lab.revision}", "NtBuildLab"
    if pdb and pdb.guid in c_builds.GUIDS:
        return c_builds.GUIDS[pdb.guid], "PDB GUID"
    if timestamp in c_builds.TIMESTAMPS:
        return c_builds.TIMESTAMPS[timestamp], "PE time stamp"
    return None, None


def branch_by_revision(build: int | None, version: str | None) -> str:
    """Vista and 2008: the revision range tells the branch. Elsewhere it does not."""
    if version is None or build not in (6000, 6001, 6002, 7600, 7601):
        return "unknown"
    return "ldr" if int(version.rsplit(".", 1)[1]) >= _LDR_REVISION else "gdr"


def service_pack_of(
    csd: int | None, build: int | None, version: str | None, lab: BuildLab | None
) -> int | None:
    """From CmNtCSDVersion (0x300 is SP3), else the build, the branch name or the XP revision range."""
    if csd is not None and (csd or build in c_builds.BUILD_SERVICE_PACKS):
        return (csd >> 8) & 0xFF
    if build in c_builds.BUILD_SERVICE_PACKS:
        return c_builds.BUILD_SERVICE_PACKS[build]
    match = re.search(r"_sp(\d)", lab.windows_branch) if lab else None
    if match:
        return int(match[1])
    if build == 2600 and version:
        return _xp_service_pack(int(version.rsplit(".", 1)[1]))
    return csd


def _xp_service_pack(revision: int) -> int | None:
    for first, last, pack in c_builds.XP_SERVICE_PACKS:
        if first <= revision <= last:
            return pack
    return 0 if revision < c_builds.XP_SERVICE_PACKS[0][0] else None


def product_of(build: int | None, arch: str, product_type: int | None) -> str | None:
    """Marketing name. product_type as in KUSER_SHARED_DATA: 1 workstation, 2 and 3 server."""
    # Vista was not sold for Itanium (facts/ia64.md).
    server = product_type in (2, 3) or arch == "ia64"
    names = {
        2600: "Windows XP",
        6000: "Windows Vista",
        6001: "Windows Server 2008" if server else "Windows Vista",
        6002: "Windows Server 2008" if server else "Windows Vista",
        7600: "Windows Server 2008 R2" if server else "Windows 7",
        7601: "Windows Server 2008 R2" if server else "Windows 7",
        9200: "Windows Server 2012" if server else "Windows 8",
        9600: "Windows Server 2012 R2" if server else "Windows 8.1",
    }
    if build == 3790:
        workstation64 = arch == "x64" and product_type == 1
        return "Windows XP Professional x64 Edition" if workstation64 else "Windows Server 2003"
    if build and build >= _FIRST_WINDOWS_10:
        return _ten_or_later(build, server)
    return names.get(build or 0)


def _ten_or_later(build: int, server: bool) -> str:
    if not server:
        return "Windows 11" if build >= c_builds.FIRST_WINDOWS_11 else "Windows 10"
    release = c_builds.SERVERS.get(build)
    return f"Windows Server {release}" if release else "Windows Server"


def is_multiprocessor(*names: str | None) -> bool | None:
    """By the internal name only: the file on disk is always called ntoskrnl.exe or ntkrnlpa.exe."""
    for name in names:
        stem = (name or "").lower().rsplit(".", 1)[0]
        if stem in c_builds.MULTIPROCESSOR:
            return c_builds.MULTIPROCESSOR[stem]
    return None
