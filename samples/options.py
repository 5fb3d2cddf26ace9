"""Parameters of a machine, with the defaults that each scenario implies."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .page_files import MOST as MOST_PAGE_FILES
from .profiles import PROFILES, THREE_GB, KernelBuild, kernel_build

SCENARIOS: Final[dict[str, str]] = {
    "leak": "every load and unload leaves IoSe and 'Pp  ' blocks in paged pool",
    "healthy": "few unloads, nothing grows",
    "other-tag": "another tag leaks with every cycle",
    "only-iose": "IoSe leaks, 'Pp  ' does not",
    "only-pp": "'Pp  ' leaks, IoSe does not",
    "early": "the leak after few cycles: small numbers, hardly ever freed",
    "hotfixed": "a kernel with the fix: many unloads, no leak",
    "unexpected": "a kernel with the fix, and the leak all the same",
    "no-tagging": "the leak on XP without pool tagging: no tables at all",
}

_FIXED_VERSIONS: Final = {
    (2600, 2): (3357, "qfe"),
    (2600, 3): (5586, "qfe"),
    (6000, 0): (20793, "ldr"),
    (6001, 1): (22137, "ldr"),
}
_DEFAULT_TIME: Final = 1211976000.0  # 28 May 2008, the article's last review


@dataclass(frozen=True)
class Options:
    """What `build` takes. None means: as the scenario implies."""

    profile: str = "xpsp3-x86-pae"
    scenario: str = "leak"
    seed: int = 1
    ram_mb: int = 64
    cycles: int | None = None
    driver: str = "hwmon32.sys"
    tagging: bool = True
    version: str | None = None
    branch: str | None = None
    fullness: float | None = None
    paged_out: float = 0.2
    page_files: int = 0
    three_gb: bool = False
    processors: int = 1
    iose_per_cycle: int = 1
    pp_per_cycle: int = 2
    iose_content: str = "dacl"
    other_tag: str = "MfeL"
    other_size: int = 520
    other_pool: str = "paged"
    pool_mb: float | None = None
    version_resource: str = "present"
    uptime: float = 31000.0
    time: float | None = None
    boot_time: float | None = None
    overflow: str = "none"
    big_requested: bool = False
    dtb_offset: int = 0
    stale_pages: int | None = None
    bugcheck: int = 0xE2
    debugger: str = "auto"

    def check(self) -> None:
        """Refuse what cannot be built, with the reason."""
        if self.profile not in PROFILES:
            raise ValueError(f"unknown profile {self.profile!r}; one of {', '.join(PROFILES)}")
        if self.scenario not in SCENARIOS:
            raise ValueError(f"unknown scenario {self.scenario!r}; one of {', '.join(SCENARIOS)}")
        profile = PROFILES[self.profile]
        if self.ram_mb < 16:
            raise ValueError("at least 16 MB of RAM")
        if not profile.pae and profile.machine == "x86" and self.ram_mb > 3072:
            raise ValueError("a kernel without PAE reaches 3 GB here")
        if not self.tagging and profile.nt != "5.1":
            raise ValueError("pool tagging can be off on XP only")
        if self.overflow == "expansion" and profile.nt == "5.1":
            raise ValueError("XP has no expansion table")
        _one_of("overflow", self.overflow, ("none", "expansion", "ovfl"))
        _one_of("other_pool", self.other_pool, ("paged", "nonpaged"))
        _one_of("version_resource", self.version_resource, ("present", "absent", "torn"))
        _one_of("debugger", self.debugger, ("auto", "plain"))
        _one_of("iose_content", self.iose_content, ("dacl", "descriptor"))
        if not 1 <= self.processors <= 32 or (self.processors > 1 and not profile.mp):
            raise ValueError(f"{self.processors} processors do not fit {self.profile}")
        if self.three_gb and (profile.machine != "x86" or profile.nt not in ("5.1", "5.2")):
            raise ValueError("/3GB is for XP and 2003 on x86 here")
        if not 0 <= self.page_files <= MOST_PAGE_FILES:
            raise ValueError(f"a machine has at most {MOST_PAGE_FILES} page files")
        if len(self.other_tag) != 4:
            raise ValueError("a tag has four characters")
        if self.dtb_offset % 32 or not 0 <= self.dtb_offset < 0x1000:
            raise ValueError("a pointer table is 32-byte aligned inside its page")
        if self.fullness is not None and not 0 < self.fullness <= 1:
            raise ValueError("fullness lies between 0 and 1")

    def resolved(self) -> Options:
        """The options with the scenario's defaults filled in."""
        self.check()
        scenario = self.scenario
        cycles = {"healthy": 40, "early": 240}.get(scenario, 12000) if self.cycles is None else self.cycles
        tagging = self.tagging and scenario != "no-tagging"
        if not tagging and PROFILES[self.profile].nt != "5.1":
            raise ValueError("pool tagging can be off on XP only")
        version, branch = self.version, self.branch
        if scenario in ("hotfixed", "unexpected") and version is None:
            profile = PROFILES[self.profile]
            key = (profile.build, profile.service_pack)
            if key in _FIXED_VERSIONS:
                version, branch = str(_FIXED_VERSIONS[key][0]), branch or _FIXED_VERSIONS[key][1]
        if self.boot_time is not None:
            time = self.boot_time + self.uptime
        else:
            time = self.time if self.time is not None else _DEFAULT_TIME
        return replace(self, cycles=cycles, tagging=tagging, version=version, branch=branch, time=time)

    @property
    def kernel(self) -> KernelBuild:
        profile = PROFILES[self.profile]
        if self.three_gb:
            profile = replace(profile, bases=THREE_GB)
        return kernel_build(profile, self.version, self.branch)

    @property
    def debugger_encoded(self) -> bool:
        """Windows 8 and later encode the debugger block; Windows decodes it when it writes a dump."""
        return self.kernel.profile.encodes_debugger_block and self.debugger == "auto"

    @property
    def unload_cycles(self) -> int:
        return self.cycles or 0

    @property
    def system_time(self) -> int:
        """FILETIME."""
        return int((self.time or 0) * 10_000_000) + 116444736000000000

    @property
    def uptime_100ns(self) -> int:
        return int(self.uptime * 10_000_000)

    def stream(self, topic: str) -> np.random.Generator:
        """Independent random numbers for a topic: a change in one place does not shift the others."""
        return np.random.default_rng([self.seed, zlib.crc32(topic.encode())])


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
