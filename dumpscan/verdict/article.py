"""KB950162 as data: its file tables, prerequisites and fixed versions (``fixes/kb950162.toml``).

The rows name a kernel in two ways, which is the trap here: the XP tables list the *internal* names
of the four kernels (UP/MP, PAE or not), the Vista tables the *installed* names, of which x86 has
two, both multiprocessor (facts/kernel-versions.md section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from dumpscan.model import FixRow, KernelInfo
from dumpscan.verdict.data import HERE, read_toml

_XP_KERNELS = ("ntoskrnl", "ntkrnlmp", "ntkrnlpa", "ntkrpamp")
_XP_BY_KIND = {  # (pae, multiprocessor): facts/kernel-versions.md section 5
    (False, False): "ntoskrnl",
    (False, True): "ntkrnlmp",
    (True, False): "ntkrnlpa",
    (True, True): "ntkrpamp",
}
_VISTA_TABLES = {"x86": "vista-x86", "x64": "vista-x64", "ia64": "vista-ia64"}


class FixedVersion(NamedTuple):
    """The first version with the fix for one build. ``file_date`` is YYYY-MM-DD, UTC."""

    build: int
    service_pack: int
    version: str
    file_date: str

    @property
    def revision(self) -> int:
        """Last number of the version: what grows within a branch."""
        return int(self.version.rsplit(".", 1)[1])


class Row(NamedTuple):
    """One row of a file table; ``size`` in bytes, date and time as the article prints them (UTC)."""

    file: str
    version: str
    size: int
    date: str
    time: str
    platform: str
    sp_requirement: str | None = None


class Article(NamedTuple):
    """The article. ``tables`` maps a key to (heading, rows)."""

    id: str
    title: str
    url: str
    applies_to: tuple[str, ...]
    fixed: tuple[FixedVersion, ...]
    products: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, tuple[str, tuple[Row, ...]]]

    def fixed_version(self, build: int, service_pack: int) -> FixedVersion | None:
        """The fixed version for a build, or None where the article lists none."""
        for entry in self.fixed:
            if (entry.build, entry.service_pack) == (build, service_pack):
                return entry
        return None


@lru_cache(maxsize=1)
def load_article() -> Article:
    """Return the article's data, read once per process."""
    raw = read_toml(HERE / "fixes" / "kb950162.toml")
    return Article(
        id=raw["id"],
        title=raw["title"],
        url=raw["url"],
        applies_to=tuple(raw["applies_to"]),
        fixed=tuple(FixedVersion(**entry) for entry in raw["fixed"]),
        products=raw["products"],
        tables={table["key"]: (table["heading"], _rows(table["rows"])) for table in raw["tables"]},
    )


def _rows(text: str) -> tuple[Row, ...]:
    rows = []
    for line in text.splitlines():
        file, version, size, *rest = line.split(" | ")
        rows.append(Row(file, version, int(size.replace(",", "")), *rest))
    return tuple(rows)


def find_row(kernel: KernelInfo, fixed: FixedVersion) -> FixRow | None:
    """Return the article's row for exactly this kernel, or None where its name is not known."""
    xp = fixed.build == 2600
    name = xp_internal_name(kernel) if xp else _vista_file_name(kernel)
    table = f"xp-sp{fixed.service_pack}-x86" if xp else _VISTA_TABLES.get(kernel.arch or "")
    if name is None or table is None:
        return None
    article = load_article()
    heading, rows = article.tables[table]
    for row in rows:
        if row.version == fixed.version and row.file.lower() == name + ".exe":
            product = article.products["xp" if xp else "vista"]
            return FixRow(
                table=heading,
                packages=() if xp else packages(kernel, rows, fixed.version),
                prerequisite=product["prerequisite"],
                restart=product["restart"],
                **row._asdict(),
            )
    return None


def xp_internal_name(kernel: KernelInfo) -> str | None:
    """Which of XP's four kernels this is; the installed file name says UP or MP never."""
    for name in (kernel.pdb.name if kernel.pdb else None, kernel.internal_name):
        if _stem(name) in _XP_KERNELS:
            return _stem(name)
    stem = _stem(kernel.image_name)
    if stem in ("ntkrnlmp", "ntkrpamp"):
        return stem
    if kernel.pae is not None and kernel.multiprocessor is not None:
        return _XP_BY_KIND[kernel.pae, kernel.multiprocessor]
    return None


def _stem(name: str | None) -> str:
    return (name or "").lower().rsplit(".", 1)[0]


def _vista_file_name(kernel: KernelInfo) -> str | None:
    if kernel.arch != "x86":
        return "ntoskrnl"
    pae = kernel.pae
    if pae is None:
        pdb = kernel.pdb.name if kernel.pdb else None
        stems = {_stem(name) for name in (pdb, kernel.internal_name, kernel.image_name) if name}
        pae = any(stem in ("ntkrnlpa", "ntkrpamp") for stem in stems) if stems else None
    return None if pae is None else ("ntkrnlpa" if pae else "ntoskrnl")


def packages(kernel: KernelInfo, rows: tuple[Row, ...], version: str) -> tuple[str, ...]:
    """Names of the edition's servicing packages in a Vista table, then the kernel's manifest."""
    server = kernel.arch == "ia64" or "server" in (kernel.product or "").lower()
    editions = ("_server", "_sc") if server else ("_client",)
    names = [row.file for row in rows]
    chosen = [
        name
        for edition in editions
        for name in names
        if name.startswith((f"Package_for_kb950162{edition}~", f"Package_for_kb950162{edition}_"))
    ]
    return (*chosen, *(name for name in names if "os-kernel" in name and version in name))
