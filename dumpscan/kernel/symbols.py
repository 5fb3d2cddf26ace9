"""Addresses and layouts from a symbol table for exactly this kernel, where one is at hand.

Optional up to Windows 7, needed from Windows 8 on. Tables are volatility3's (ISF) or PDB files, which
are converted; looked for by PDB name, GUID and age in folders given by the user, in
``DUMPSCAN_SYMBOLS`` and in an installed volatility3. A table must be this kernel's by its own word too
and agree with the image (KDBG, or the dump's header) on every variable that both name; one that does
not is refused and said so. Nothing is ever written into these folders: a converted PDB is kept in the
user's cache folder.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from dumpscan.kernel import pdbfile
from dumpscan.kernel.c_kdbg import FIRST_ENCODED
from dumpscan.model import Pdb
from dumpscan.records import field, record

ENVIRONMENT = "DUMPSCAN_SYMBOLS"
_SUFFIXES = (".json.xz", ".json.gz", ".json.bz2", ".json")
_FILE_NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)
_MOST_LOOSE = 256
"""Files of a folder that are looked at for a PDB or a table without the usual path."""

_LARGEST_IMAGE = 1 << 32
_LARGEST = 1 << 29
"""Bytes of a table, unpacked; that of a Windows 11 kernel has some 60 MB."""

TYPES = ("_POOL_TRACKER_TABLE", "_POOL_TRACKER_BIG_PAGES", "_MM_PAGED_POOL_INFO", "_EPROCESS", "_KPROCESS")
"""What :mod:`dumpscan.kernel.typed` asks a table for."""

_ALIASES = {"KiBugcheckData": "KiBugCheckData", "MmPagedPoolInformation": "MmPagedPoolInfo"}
"""Names of KDBG fields -> names of the variables in a PDB, where they differ."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""

_FAILURES = (
    OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, KeyError, TypeError, AttributeError,
    OverflowError, RecursionError,
)  # fmt: skip
"""What a file that is damaged, or no symbol table, can raise on its way through decompressor and parser."""


@record
class SymbolTable:
    """Name -> virtual address of kernel variables, and structures by name (``{"size", "fields"}`` as in
    the file); both empty when no table was found."""

    symbols: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    types: Mapping[str, Any] = field(default_factory=dict)

    def variables(self, names: Sequence[str]) -> dict[str, int]:
        """The addresses of variables by the names that KDBG has for them."""
        found = {name: self.symbols.get(_ALIASES.get(name, name)) for name in names}
        return {name: address for name, address in found.items() if address}


def load(
    pdb: Pdb | None,
    base: int,
    known: Mapping[str, int],
    directories: Sequence[Path] = (),
    progress: Progress | None = None,
) -> SymbolTable:
    """The symbols of the kernel at ``base``; ``known`` are the addresses that KDBG or, where that cannot
    be read, the dump's header has, to agree with."""
    notes: list[str] = []
    if pdb is None:
        return SymbolTable(notes=_not_found(pdb, directories))
    for path in _sources(pdb, directories, notes):
        try:
            found, types, wrong = _parse(path, pdb, base, progress)
        except _FAILURES as error:
            notes.append(f"symbol table {path.name} cannot be read ({error}); not used")
            continue
        differing = sorted(name for name, va in known.items() if found.get(name, va) != va)
        if wrong:
            notes.append(f"symbol table {path.name} {wrong}; not used")
        elif differing:
            notes.append(f"symbol table {path.name} disagrees with the image on {differing[0]}; not used")
        else:
            return SymbolTable(found, (*notes, f"symbols: {path.name}"), types)
    return SymbolTable(notes=(*notes, *(() if notes else _not_found(pdb, directories))))


def _parse(
    path: Path, pdb: Pdb, base: int, progress: Progress | None
) -> tuple[dict[str, int], dict[str, Any], str]:
    """Addresses and structures of a file, and what is wrong with its build, or nothing."""
    is_pdb = path.suffix.lower() == ".pdb"
    table = _converted(path, progress) if is_pdb else _read(path)
    rvas = {name: int(entry["address"]) for name, entry in table["symbols"].items()}
    found = {name: base + rva for name, rva in rvas.items() if 0 <= rva < _LARGEST_IMAGE}
    if not found:
        raise ValueError("no addresses in it")
    described = table.get("user_types", {})
    types = {name: described[name] for name in TYPES if name in described}
    named = is_pdb or path.name.startswith(f"{pdb.guid}-{pdb.age}.")
    return found, types, _misfit(table, pdb, named)


def are_needed(build: int | None, arch: str | None) -> bool:
    """Whether only symbols lead to the pool figures of a kernel (Windows 8 and later, x64)."""
    return (build or 0) >= FIRST_ENCODED and arch == "x64"


def wanted(pdb: Pdb | None) -> str:
    """What is needed, in half a sentence."""
    if pdb is None:
        return "symbols are needed, but the kernel's PDB record is not in the image, so which ones is unknown"
    return (
        f"give --symbols DIR with {pdb.name} {pdb.guid} age {pdb.age} in it, or the volatility3 table of "
        "that PDB"
    )


def _misfit(table: Mapping[str, Any], pdb: Pdb, named: bool) -> str:
    """What a table says of itself against the kernel's PDB record. It may say nothing only where its
    name (``named``) tells the build."""
    said = table.get("metadata", {}).get("windows", {}).get("pdb", {})
    guid, age = str(said.get("GUID", "")).upper(), said.get("age")
    if not guid:
        return "" if named else "does not say of which build it is"
    if guid == pdb.guid and age in (None, pdb.age):
        return ""
    return _other(guid, age, pdb)


def _other(guid: str, age: int | None, pdb: Pdb) -> str:
    return f"is of {guid}-{age}, this kernel's PDB is {pdb.guid}-{pdb.age}"


def _not_found(pdb: Pdb | None, directories: Sequence[Path]) -> tuple[str, ...]:
    """A line where folders were asked for: tables found elsewhere by chance are not missed."""
    if not directories:
        return ()
    folders = ", ".join(str(folder) for folder in directories)
    if pdb is None:
        return (f"no symbol table of {folders} is used: the kernel's PDB record is not in the image",)
    return (f"no symbol table for this kernel ({pdb.name}, {pdb.guid}-{pdb.age}) in {folders}",)


# -- where tables lie -----------------------------------------------------------------------------


def find(pdb: Pdb, directories: Sequence[Path] = ()) -> Path | None:
    """The first table or PDB that may be used: FOLDER[/windows]/PDB/GUID-AGE.json[.xz|.gz|.bz2], the PDB
    as a symbol server keeps it (FOLDER/PDB/GUIDAGE/PDB), or either file directly in FOLDER."""
    return next(_sources(pdb, directories, []), None)


def _sources(pdb: Pdb, directories: Sequence[Path], notes: list[str]) -> Iterator[Path]:
    if not _FILE_NAME.fullmatch(pdb.name):
        return  # The name comes out of the image: no path, and no name that a file system refuses.
    for folder in _folders(directories):
        for place in (folder / "windows" / pdb.name, folder / pdb.name):
            for suffix in _SUFFIXES:
                path = place / f"{pdb.guid}-{pdb.age}{suffix}"
                if path.is_file():
                    yield path
            stored = place / f"{pdb.guid}{pdb.age:X}" / pdb.name
            if stored.is_file():
                yield from _fitting(stored, pdb, notes)
    for folder in directories:
        yield from _loose(folder, pdb, notes)


def _loose(folder: Path, pdb: Pdb, notes: list[str]) -> Iterator[Path]:
    """Files directly in ``folder`` that are named after this kernel's PDB."""
    stem = pdb.name.lower().rsplit(".", 1)[0]
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().startswith(stem))
    except OSError:
        return
    for name in names[:_MOST_LOOSE]:
        path = folder / name
        if not path.is_file():
            continue
        if name.lower().endswith(".pdb"):
            yield from _fitting(path, pdb, notes)
        elif name.lower().endswith(_SUFFIXES):
            yield path


def _fitting(path: Path, pdb: Pdb, notes: list[str]) -> Iterator[Path]:
    """The PDB file at ``path`` if it is this kernel's."""
    try:
        found = pdbfile.identity(path)
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error}); not used")
        return
    if found == (pdb.guid, pdb.age):
        yield path
    elif found is None:
        notes.append(f"{path.name} is no PDB file of format 7.00, or damaged; not used")
    else:
        notes.append(f"{path.name} {_other(*found, pdb)}; not used")


def _folders(directories: Sequence[Path]) -> Iterator[Path]:
    yield from directories
    for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
        if entry:
            yield Path(entry)
    spec = importlib.util.find_spec("volatility3")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "symbols"


# -- reading and converting -----------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST >> 20} MB, which no symbol table is")
    table: dict[str, Any] = json.loads(data)
    return table


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".xz":
        return cast(IO[bytes], lzma.open(path))
    if path.suffix == ".gz":
        import gzip

        return cast(IO[bytes], gzip.open(path))
    if path.suffix == ".bz2":
        import bz2

        return cast(IO[bytes], bz2.open(path))
    return path.open("rb")


def cache_folder() -> Path:
    """Where converted PDB files are kept: the user's own cache."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dumpscan" / "symbols"


def _converted(path: Path, progress: Progress | None) -> dict[str, Any]:
    """The table of a PDB file: kept from an earlier time, or converted now (up to minutes) and kept.

    :raises ValueError: the converter cannot read it.
    """
    found = pdbfile.identity(path)
    if found is None:
        raise ValueError("no PDB file")
    kept = cache_folder() / f"{found[0]}-{found[1]}.json"
    if kept.is_file():
        try:
            return _read(kept)
        except (OSError, ValueError):
            pass  # Cut off or not ours: converted again, and replaced.
    from dumpscan.kernel.through_pdbconv import convert

    whole = convert(path, progress)
    table = {
        "metadata": whole["metadata"],
        "symbols": {name: {"address": entry["address"]} for name, entry in whole["symbols"].items()},
        "user_types": {name: whole["user_types"][name] for name in TYPES if name in whole["user_types"]},
    }
    _keep(kept, table)
    return table


def _keep(path: Path, table: Mapping[str, Any]) -> None:
    """Write a file of the cache whole or not at all; a cache that cannot be written is done without."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(table), encoding="utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
