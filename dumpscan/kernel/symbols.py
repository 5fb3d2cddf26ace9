"""Addresses from a volatility3 symbol table (ISF), where one for exactly this kernel is at hand.

Optional: everything works without. Looked for by PDB name, GUID and age in folders given by the
user, in ``DUMPSCAN_SYMBOLS`` and in an installed volatility3. A table must agree with KDBG on
every variable that both name; one that does not is refused and said so.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dumpscan.model import Pdb
from dumpscan.records import field, record

ENVIRONMENT = "DUMPSCAN_SYMBOLS"
_SUFFIXES = (".json.xz", ".json.gz", ".json.bz2", ".json")


@record
class SymbolTable:
    """Name -> virtual address of kernel variables; empty when no table was found."""

    symbols: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load(
    pdb: Pdb | None, base: int, known: Mapping[str, int], directories: Sequence[Path] = ()
) -> SymbolTable:
    """The symbols of the kernel at ``base``; ``known`` are KDBG's addresses, to agree with."""
    path = find(pdb, directories) if pdb else None
    if path is None:
        return SymbolTable(notes=_not_found(pdb, directories))
    try:
        table = _read(path)
        rvas = {name: int(entry["address"]) for name, entry in table["symbols"].items()}
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SymbolTable(notes=(f"symbol table {path.name} cannot be read ({error}); not used",))
    wrong = sorted(name for name, va in known.items() if name in rvas and base + rvas[name] != va)
    if wrong:
        return SymbolTable(notes=(f"symbol table {path.name} disagrees with KDBG on {wrong[0]}; not used",))
    return SymbolTable({name: base + rva for name, rva in rvas.items()}, (f"symbols: {path.name}",))


def _not_found(pdb: Pdb | None, directories: Sequence[Path]) -> tuple[str, ...]:
    """A line where folders were asked for: tables found elsewhere by chance are not missed."""
    if not directories:
        return ()
    folders = ", ".join(str(folder) for folder in directories)
    if pdb is None:
        return (f"no symbol table of {folders} is used: the kernel's PDB record is not in the image",)
    return (f"no symbol table for this kernel ({pdb.name}, {pdb.guid}-{pdb.age}) in {folders}",)


def find(pdb: Pdb, directories: Sequence[Path] = ()) -> Path | None:
    """The table's file: FOLDER[/windows]/PDB/GUID-AGE.json[.xz|.gz|.bz2]."""
    for folder in _folders(directories):
        for place in (folder / "windows" / pdb.name, folder / pdb.name):
            for suffix in _SUFFIXES:
                path = place / f"{pdb.guid}-{pdb.age}{suffix}"
                if path.is_file():
                    return path
    return None


def _folders(directories: Sequence[Path]) -> Iterator[Path]:
    yield from directories
    for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
        if entry:
            yield Path(entry)
    spec = importlib.util.find_spec("volatility3")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "symbols"


def _read(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    elif path.suffix == ".gz":
        import gzip

        data = gzip.decompress(data)
    elif path.suffix == ".bz2":
        import bz2

        data = bz2.decompress(data)
    table: dict[str, dict[str, dict[str, int]]] = json.loads(data)
    return table
