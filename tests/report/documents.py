"""Hand-made result documents for the renderers."""

from __future__ import annotations

from dumpscan.model import (
    BigUse,
    BugCheck,
    Coverage,
    Drivers,
    Evidence,
    Fix,
    FixRow,
    ImageInfo,
    Judgement,
    KernelInfo,
    Machine,
    Pdb,
    Pool,
    PoolLimits,
    Pools,
    PoolUse,
    SignatureResult,
    Suspect,
    TagUse,
    Unloads,
    Verdict,
)

TAGS = (
    TagUse("IoSe", PoolUse(26566, 535, 26031, 3956152), PoolUse(535, 535), "tracker"),
    TagUse("Pp  ", PoolUse(52286, 137, 52149, 4584976), PoolUse(0, 0), "tracker"),
    TagUse("CM35", PoolUse(2176, 1966, 210, 4050944), PoolUse(0, 0), "tracker"),
)
WALKED = (TagUse("Pp  ", PoolUse(outstanding=18067, bytes=1588880, big=BigUse(2, 8192)), PoolUse(), "pages"),)
IMAGE = ImageInfo(
    "hung-01.dmp", "crash32-kernel", 32464896, 32464896, 4096, 7923, 7923,
    description="32-bit kernel crash dump",
)  # fmt: skip
KERNEL = KernelInfo(
    "header",
    "Windows XP",
    "5.1.2600.5512",
    3,
    "x86",
    True,
    "ntkrnlpa.exe",
    build_lab="2600.xpsp.080413-2111",
    branch="rtm",
    pdb=Pdb("ntkrnlpa.pdb", "30B5FB31AE7E4ACAABA750AA241FF331", 1),
    base="0x804d7000",
    dtb="0x319000",
)
ROW = FixRow(
    "Windows XP with Service Pack 3 (SP3), x86-based versions",
    "Ntkrnlpa.exe",
    "5.1.2600.5586",
    2066048,
    "23-Apr-2008",
    "08:44",
    "x86",
    "SP3",
)


def verdict(**changes: object) -> Verdict:
    parts: dict[str, object] = {
        "image": IMAGE,
        "kernel": KERNEL,
        "machine": Machine(BugCheck(0xE2, "MANUALLY_INITIATED_CRASH"), "2008-05-28T12:00:00Z", 31000.0, 1),
        "pool": Pool(
            "on",
            PoolLimits(22_126_592, 23_068_672, 0.9592),
            PoolLimits(3_293_184, 33_554_432, 0.0981),
            TAGS,
            Coverage(1.0, 1.0, 0.78, 1.0),
        ),
        "drivers": Drivers(26_015, (Unloads("hwmon32.sys", 47, None, None),)),
        "fix": Fix("vulnerable", "KB950162", "5.1.2600.5586", "older than the fix", ROW),
        "signature": SignatureResult(
            "KB950162",
            "present",
            (
                Evidence(
                    "iose", "supports", 26031, 500, "IoSe: 26,031 outstanding", "PoolTrackTable 0x8055c600"
                ),
            ),
        ),
        "suspects": (),
        "verdict": Judgement(
            "exhibits", "IoSe and 'Pp  ' hold 71 % of paged pool, paged pool is 98 % full", "Install it."
        ),
    }
    return Verdict(**{**parts, **changes})  # type: ignore[arg-type]


def pools() -> Pools:
    return Pools(IMAGE, KERNEL, "tracker", TAGS, Coverage(1.0))


SUSPECT = Suspect("MfeL", "paged", 11_088_000, 0.45, "MfeL holds 45 %")
