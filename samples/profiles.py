"""The kernels that the writer can build: versions, address space, image identity.

Witness: facts/kernel-versions.md (revisions, branches, time stamps), facts/kernel-location.md
section 6 (address ranges). Only xpsp3-x86-pae carries a real kernel's variable addresses.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .layouts import Layout, layout_for
from .paging import IA64, PAE, X64, X64_MOVED, X86, Arch


@dataclass(frozen=True)
class Bases:
    """Where kernel address space is used. `identity` + physical address = boot-loaded memory."""

    identity: int
    boot_block: int | None  # PFN database and initial nonpaged pool; None: in the identity range
    expansion_end: int
    paged: int
    paged_limit_mb: int
    system_ptes: int
    drivers: int
    kuser: int
    kpcr: int | None  # fixed address of processor 0's KPCR, None: in the kernel's data
    system_start: int = 0x80000000  # of x86


XP_BASES: Final = Bases(
    0x80000000, None, 0xFFBE0000, 0xE1000000, 352, 0xF8000000, 0xF7900000, 0xFFDF0000, 0xFFDFF000
)
# /3GB: kernel and HAL 0x60000000 higher, the PFN database and all nonpaged pool near the top [INF: where].
THREE_GB: Final = Bases(
    0xE0000000,
    0xF0000000,
    0xFFBE0000,
    0xE1000000,
    160,
    0xF8000000,
    0xF7900000,
    0xFFDF0000,
    0xFFDFF000,
    0xC0000000,
)
VISTA_X86: Final = Bases(
    0x80000000, None, 0xFFBE0000, 0x8C000000, 640, 0x88000000, 0x8A000000, 0xFFDF0000, None
)
XP_X64: Final = Bases(
    0xFFFFF800_00000000,
    0xFFFFFAC0_00000000,
    0xFFFFFAE0_00000000,
    0xFFFFFA80_00000000,
    4096,
    0xFFFFFAA0_00000000,
    0xFFFFFAA0_10000000,
    0xFFFFF780_00000000,
    None,
)
VISTA_X64: Final = Bases(
    0xFFFFF800_00000000,
    0xFFFFFA80_00000000,
    0xFFFFFA82_00000000,
    0xFFFFF8A0_00000000,
    4096,
    0xFFFFF880_00000000,
    0xFFFFF880_01000000,
    0xFFFFF780_00000000,
    None,
)
# Vista has been seen with either set of bases, so SP1 gets paged pool at FFFFF880 and drivers at FFFFFA60.
VISTA_SP1_X64: Final = Bases(
    0xFFFFF800_00000000,
    0xFFFFFA80_00000000,
    0xFFFFFA82_00000000,
    0xFFFFF880_00000000,
    4096,
    0xFFFFF980_00000000,
    0xFFFFFA60_00600000,
    0xFFFFF780_00000000,
    None,
)
WIN10: Final = Bases(
    0xFFFFF801_40000000,
    0xFFFFC280_00000000,
    0xFFFFC282_00000000,
    0xFFFFE30C_00000000,
    4096,
    0xFFFFF088_00000000,
    0xFFFFF801_80000000,
    0xFFFFF780_00000000,
    None,
)
# Only the identity range and the shared page are told by facts/ia64.md 2; the others are invented.
IA64_BASES: Final = Bases(
    0xE0000000_80000000,
    0xE0000106_00000000,
    0xE0000108_00000000,
    0xE0000165_00000000,
    4096,
    0xE0000180_00000000,
    0xE0000190_00000000,
    0xE0000000_FFFE0000,
    None,
)


@dataclass(frozen=True)
class Profile:
    """One kernel flavour at one service pack."""

    name: str
    nt: str
    build: int
    service_pack: int
    arch: Arch
    mp: bool
    revision: int  # as released
    release_lab: str
    timestamp: int
    bases: Bases
    kernel_pa: int
    image_size: int
    product: str = "workstation"

    @property
    def layout(self) -> Layout:
        return layout_for(self.nt, self.build, self.arch.pointer, self.arch.name == "pae", self.arch.page)

    @property
    def machine(self) -> str:
        return self.arch.name if self.arch.pointer == 8 else "x86"

    @property
    def pae(self) -> bool:
        return self.arch.name == "pae"

    @property
    def pdb(self) -> str:
        """The internal name: the only thing that tells UP from MP."""
        if self.pae:
            return "ntkrpamp.pdb" if self.mp else "ntkrnlpa.pdb"
        return "ntkrnlmp.pdb" if self.mp else "ntoskrnl.pdb"

    @property
    def file(self) -> str:
        """The installed name."""
        return "ntkrnlpa.exe" if self.pae else "ntoskrnl.exe"

    @property
    def encodes_debugger_block(self) -> bool:
        """Windows 8 and later."""
        return self.nt in ("6.3", "10.0")

    @property
    def csd(self) -> str:
        return f"Service Pack {self.service_pack}" if self.service_pack else ""


_XP3_LAB = "xpsp.080413-2111"
_XP2_LAB = "xpsp_sp2_rtm.040803-2158"


def _xp(sp: int, arch: Arch, mp: bool, stamp: int) -> Profile:
    suffix = ("-pae" if arch is PAE else "") + ("-mp" if mp else "")
    # Real size of the SP3 UP PAE image; the others are invented near it.
    size = 0x1F8580 if sp == 3 else 0x1EB780
    return Profile(
        name=f"xpsp{sp}-x86{suffix}",
        nt="5.1",
        build=2600,
        service_pack=sp,
        arch=arch,
        mp=mp,
        revision=5512 if sp == 3 else 2180,
        release_lab=_XP3_LAB if sp == 3 else _XP2_LAB,
        timestamp=stamp,
        bases=XP_BASES,
        kernel_pa=0x4D7000,
        image_size=size + (0x1BD00 if mp or arch is X86 else 0),
    )


def _vista(sp: int, arch: Arch, stamp: int, name: str = "", product: str = "workstation") -> Profile:
    suffix = "-x64" if arch is X64 else "-x86" + ("-pae" if arch is PAE else "")
    bases = VISTA_X86 if arch is not X64 else VISTA_X64 if sp == 0 or name else VISTA_SP1_X64
    return Profile(
        name=name or f"vista-{'rtm' if sp == 0 else 'sp1'}{suffix}",
        nt="6.0",
        build=6001 if sp else 6000,
        service_pack=sp,
        arch=arch,
        mp=True,
        revision=18000 if sp else 16386,
        release_lab="longhorn_rtm.080118-1840" if sp else "vista_rtm.061101-2205",
        timestamp=stamp,
        bases=bases,
        kernel_pa=0x1807000 if arch is X64 else 0x1800000,
        image_size=0x516000 if arch is X64 else 0x3A7000 + 0x12000 * sp,
        product=product,
    )


def _nt52(name: str, arch: Arch, mp: bool, stamp: int, product: str) -> Profile:
    return Profile(
        name=name,
        nt="5.2",
        build=3790,
        service_pack=2,
        arch=arch,
        mp=mp,
        revision=3959,
        release_lab="srv03_sp2_rtm.070216-1710",
        timestamp=stamp,
        bases=XP_X64 if arch is X64 else XP_BASES,
        kernel_pa=0x800000,
        image_size=0x457000 if arch is X64 else 0x248000,
        product=product,
    )


def _newer(name: str, nt: str, build: int, revision: int, lab: str, product: str = "workstation") -> Profile:
    """Kernels after the article's: x64, multiprocessor. Time stamps are invented."""
    moved = build > 10586
    return Profile(
        name=name,
        nt=nt,
        build=build,
        service_pack=1 if build == 7601 else 0,
        arch=X64_MOVED if moved else X64,
        mp=True,
        revision=revision,
        release_lab=lab,
        timestamp=0x4CE7951A + build,
        bases=WIN10 if moved else VISTA_X64,
        kernel_pa=0x1807000,
        image_size=0x5EA000,
        product=product,
    )


_ALL: Final = (
    _xp(3, PAE, False, 0x4802516A),
    _xp(3, PAE, True, 0x4802516A),
    _xp(3, X86, False, 0x48025EAB),
    _xp(3, X86, True, 0x48025DE7),
    _xp(2, PAE, False, 0x41107B0C),
    _xp(2, PAE, True, 0x41107B0D),
    _xp(2, X86, False, 0x41108004),
    _xp(2, X86, True, 0x41107FAA),
    _vista(0, X86, 0x4549AD6C),
    _vista(0, PAE, 0x4549AE00),
    _vista(1, X86, 0x47918B0A),
    _vista(1, PAE, 0x47918B12),
    _vista(0, X64, 0x4549B0B7),
    _vista(1, X64, 0x479192B7),
    _vista(1, X64, 0x479192B7, name="2008-x64", product="server"),
    _vista(1, PAE, 0x47918B12, name="2008-x86-pae", product="server"),
    _nt52("2003-sp2-x86", X86, False, 0x45D6A072, "server"),
    _nt52("2003-sp2-x86-mp", X86, True, 0x45D6A0AF, "server"),
    _nt52("2003-sp2-x86-pae", PAE, False, 0x45D69710, "server"),
    _nt52("2003-sp2-x86-pae-mp", PAE, True, 0x45D69710, "server"),
    _nt52("2003-x64", X64, True, 0x45D6997D, "server"),
    _nt52("xp-x64", X64, True, 0x45D6997D, "workstation"),
    _newer("win7-sp1-x64", "6.1", 7601, 17514, "win7sp1_rtm.101119-1850"),
    _newer("2008-r2-x64", "6.1", 7601, 17514, "win7sp1_rtm.101119-1850", "server"),
    _newer("win81-x64", "6.3", 9600, 17415, "winblue_r4.141028-1500"),
    _newer("win10-10240-x64", "10.0", 10240, 16384, "th1.150709-1700"),
    _newer("win10-19041-x64", "10.0", 19041, 1, "vb_release.191206-1406"),
    _newer("win11-22621-x64", "10.0", 22621, 1, "ni_release.220506-1250"),
    # Sizes and time stamps are invented; the article's file has 9.5 MB.
    replace(
        _vista(1, X64, 0x479199E1, name="2008-ia64", product="server"),
        arch=IA64, bases=IA64_BASES, kernel_pa=0x1000000, image_size=0x6F2000,
    ),
    replace(
        _nt52("2003-ia64", X64, True, 0x45D69ABC, "server"),
        arch=IA64, bases=IA64_BASES, kernel_pa=0x1000000, image_size=0x620000,
    ),
)  # fmt: skip
PROFILES: Final[dict[str, Profile]] = {profile.name: profile for profile in _ALL}

# PDB ids of real XP PAE kernels (facts/kernel-guids.csv), by revision; all have age 1.
_GUIDS: Final = {
    5512: "30B5FB31AE7E4ACAABA750AA241FF331",
    2622: "8FB67EFA263E45C4BEF1AC0748EC9EB0",
    3427: "80B61DF4CE8342FE98E7159D75D41A61",
    3520: "CB4676D61D9246D8B33B9BBD557A9C76",
    3670: "52F3509AAC394C3F9D1DDFC24BC121FF",
    5657: "FD7B256CD2D14BC0B35BA9B89F691346",
    5755: "497890CCBAF846F2944EC59C92155043",
    7017: "8FD3D6EB00584186B6D3F0FF8027EADE",
}

# First fixed revision in the QFE/LDR branch: the article's own tables (facts/kernel-versions.md section 1).
_FIXED: Final = {(2600, 2): 3357, (2600, 3): 5586, (6000, 0): 20793, (6001, 1): 22137}


@dataclass(frozen=True)
class KernelBuild:
    """A profile at one file version and servicing branch."""

    profile: Profile
    revision: int
    branch: str  # rtm, gdr, qfe, ldr or unknown
    label: str  # branch text with the build date, as in the file version's brackets

    @property
    def file_version(self) -> str:
        return f"{self.profile.nt}.{self.profile.build}.{self.revision}"

    @property
    def build_lab(self) -> str:
        """NtBuildLab: the long form with revision and architecture from Vista on."""
        if self.branch == "unknown":
            return ""
        if not self.profile.layout.modern:
            return f"{self.profile.build}.{self.label}"
        arch = "amd64" if self.profile.machine == "x64" else self.profile.machine
        return f"{self.profile.build}.{self.revision}.{arch}fre.{self.label}"

    @property
    def released(self) -> bool:
        return self.revision == self.profile.revision

    @property
    def guid(self) -> str:
        """PDB id: the real one where known, else made from the build's identity."""
        if self.profile.name.endswith("x86-pae") and self.profile.nt == "5.1" and self.revision in _GUIDS:
            return _GUIDS[self.revision]
        return hashlib.md5(f"{self.profile.name} {self.revision} {self.label}".encode()).hexdigest().upper()

    @property
    def age(self) -> int:
        return 1 if self.profile.pae else 2

    @property
    def timestamp(self) -> int:
        """Released kernels have their real stamp; others one derived from the build's identity."""
        if self.released:
            return self.profile.timestamp
        return (self.profile.timestamp + (self.revision - self.profile.revision) * 43200 // 10) & 0xFFFFFFFF

    def fix_state(self, version_resource: str) -> str:
        """Whether this kernel carries KB950162: facts/kernel-versions.md section 3."""
        first = _FIXED.get((self.profile.build, self.profile.service_pack))
        if first is None:
            return "out-of-scope"
        if self.branch == "unknown" and version_resource != "present":
            return "unknown"
        if self.profile.nt == "5.1" and not self.released and self.branch in ("rtm", "unknown"):
            # Below the hotfix's revision no branch has it; from there on the revision alone tells nothing.
            return "unknown" if self.revision >= first else "vulnerable"
        if self.branch == "unknown":  # Vista: the revision tells the branch
            return "fixed" if self.revision >= first else "vulnerable"
        return "fixed" if self.branch in ("qfe", "ldr") and self.revision >= first else "vulnerable"


# Revision -> build date, from the tables of facts/kernel-versions.md sections 2 and 4.
_DATES: Final[dict[tuple[int, int], dict[str, list[tuple[int, float]]]]] = {
    (2600, 2): {"gdr": [(2180, 2004.6), (3093, 2007.1), (3357, 2008.3), (3520, 2009.1), (3670, 2010.1)]},
    (2600, 3): {
        "gdr": [(5512, 2008.3), (5586, 2008.32), (5755, 2009.1), (6055, 2010.9), (6419, 2013.5), (7800, 2018)]
    },
    (3790, 2): {"gdr": [(3959, 2007.1), (4354, 2008.6), (4789, 2010.9), (4998, 2012.3)]},
    (6000, 0): {
        "gdr": [(16386, 2006.85), (16575, 2007.8), (16901, 2009.6), (17021, 2010.1)],
        "ldr": [(20500, 2007.0), (20697, 2007.8), (20793, 2008.21), (21175, 2009.95), (21226, 2010.1)],
    },
    (6001, 1): {
        "gdr": [(18000, 2008.05), (18145, 2008.7), (18304, 2009.6), (18538, 2010.9)],
        "ldr": [(22000, 2007.9), (22137, 2008.21), (22319, 2008.9), (22489, 2009.6), (22777, 2010.9)],
    },
}


def _guess_branch(profile: Profile, revision: int) -> str:
    if revision == profile.revision:
        return "rtm"
    if profile.layout.modern:
        return "ldr" if revision >= 20000 else "gdr"
    return "gdr"


def _label(profile: Profile, revision: int, branch: str) -> str:
    """Text such as xpsp_sp3_gdr.090206-1234; the date follows the published revisions."""
    if branch in ("rtm", "unknown"):
        return profile.release_lab
    trunk = {
        (2600, 2): "xpsp_sp2",
        (2600, 3): "xpsp_sp3",
        (3790, 2): "srv03_sp2",
        (6000, 0): "vista",
        (6001, 1): "vistasp1",
    }[profile.build, profile.service_pack]
    anchors = _DATES[profile.build, profile.service_pack]["ldr" if revision >= 20000 else "gdr"]
    year = float(np.interp(revision, [a[0] for a in anchors], [a[1] for a in anchors]))
    month = int(year % 1 * 12) + 1
    date = f"{int(year) - 2000:02d}{month:02d}{revision % 28 + 1:02d}"
    return f"{trunk}_{branch}.{date}-{10 + revision % 10}{revision % 60:02d}"


def kernel_build(profile: Profile, version: str | None, branch: str | None) -> KernelBuild:
    """Resolve `version` (four parts, or the revision alone) and `branch` (a word or the full label)."""
    revision = profile.revision if version is None else int(str(version).rsplit(".", 1)[-1])
    if (
        version is not None
        and str(version).count(".") == 3
        and not str(version).startswith(f"{profile.nt}.{profile.build}.")
    ):
        raise ValueError(f"version {version} does not belong to {profile.name}")
    if branch is not None and "." in branch:
        word = re.search(r"_(gdr|qfe|ldr|rtm)\.", branch)
        return KernelBuild(profile, revision, word.group(1) if word else "rtm", branch)
    short = branch or _guess_branch(profile, revision)
    if short not in ("rtm", "gdr", "qfe", "ldr", "unknown"):
        raise ValueError(f"unknown branch {branch!r}")
    return KernelBuild(profile, revision, short, _label(profile, revision, short))
