"""Synthetic machines: a healthy background, and leaks of any tag, size and number laid on it."""

from __future__ import annotations

from dumpscan.model import Coverage, Drivers, KernelInfo, Pdb, Pool, PoolLimits, PoolUse, TagUse, Unloads

MB = 1 << 20
# tag: (pool, allocs, frees, bytes) of an ordinary XP machine an hour after boot
BACKGROUND = {
    "CM35": ("paged", 2176, 1966, 4_000_000),
    "MmSt": ("paged", 79745, 78528, 2_300_000),
    "Ntff": ("paged", 1564, 383, 1_000_000),
    "Gla5": ("paged", 671, 537, 150_000),
    "NavE": ("paged", 460, 409, 255_520),
    "File": ("nonpaged", 14907, 13521, 225_216),
    "Pool": ("nonpaged", 36, 24, 520_296),
    "Irp ": ("nonpaged", 5601, 5183, 115_976),
    "PpDe": ("paged", 82, 64, 1_592),
}


def use(tag: str, pool: str, allocs: int, frees: int, size: int, source: str = "tracker") -> TagUse:
    part = PoolUse(allocs, frees, allocs - frees, size)
    if source == "pages":
        part = PoolUse(None, None, allocs - frees, size)
    empty = PoolUse(0, 0) if source == "tracker" else PoolUse()
    return TagUse(tag, *((part, empty) if pool == "paged" else (empty, part)), source)


def machine_pool(
    iose: int = 0,
    pp: int = 0,
    *,
    living: tuple[int, int] = (23, 130),
    freed: tuple[int, int] = (40, 150),
    sizes: tuple[int, int] = (152, 88),
    source: str = "tracker",
    coverage: float = 1.0,
    limit: int = 64 * MB,
    extra: tuple[TagUse, ...] = (),
    tracker: float | None = None,
) -> Pool:
    """``iose``/``pp`` leaked blocks on top of ``living`` ones; ``freed`` are frees of both since boot.

    ``coverage`` below one takes the same share off every count, as a walk of resident pages does.
    """
    seen = coverage if source == "pages" else 1.0
    rows = [
        use(tag, pool, round(allocs * seen), round(frees * seen), round(size * seen), source)
        for tag, (pool, allocs, frees, size) in BACKGROUND.items()
    ]
    for tag, leaked, alive, gone, size in (
        ("IoSe", iose, living[0], freed[0], sizes[0]),
        ("Pp  ", pp, living[1], freed[1], sizes[1]),
    ):
        held = round((leaked + alive) * seen)
        rows.append(use(tag, "paged", held + gone, gone, held * size, source))
    used = sum(row.paged.bytes for row in (*rows, *extra)) + MB
    return Pool(
        tagging="on" if source == "tracker" else "off",
        paged=PoolLimits(round(used / seen), limit, used / seen / limit),
        nonpaged=PoolLimits(4 * MB, 32 * MB, 0.125),
        tags=(*rows, *extra),
        coverage=Coverage(tracker=tracker if source == "tracker" else None, paged_pages=coverage),
    )


def ring(name: str = "probe.sys", repeated: int = 47, others: int = 3, total: int | None = None) -> Drivers:
    """A ring of unloaded drivers, and the total count where the kernel keeps it."""
    rest = tuple(Unloads(f"boot{number}.sys", 1, None, None) for number in range(others))
    return Drivers(total, (Unloads(name, repeated, None, None), *rest), (), repeated + others)


QUIET = Drivers(None, tuple(Unloads(f"boot{i}.sys", 1, None, None) for i in range(9)), (), 9)
XP_SP3 = KernelInfo(
    "test", "Windows XP", "5.1.2600.5512", 3, "x86", True, branch="rtm", build=2600,
    pdb=Pdb("ntkrnlpa.pdb", "0" * 32, 1),
)  # fmt: skip
XP_FIXED = KernelInfo(
    "test", "Windows XP", "5.1.2600.5586", 3, "x86", True, branch="qfe", build=2600,
    pdb=Pdb("ntkrnlpa.pdb", "0" * 32, 1),
)  # fmt: skip
XP_UNSURE = KernelInfo("test", "Windows XP", "5.1.2600.5938", 3, "x86", True, build=2600)
WINDOWS_7 = KernelInfo("test", "Windows 7", "6.1.7601.17514", 1, "x64", build=7601)
