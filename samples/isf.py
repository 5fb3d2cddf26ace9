"""A symbol table of a sample's kernel in volatility3's intermediate format, as far as readers ask for one.

Names follow the public PDBs: of Windows 8 and later these have no variables for where the pools begin
and end. Structures come from the writer's own layouts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from .layouts import Layout
from .pe import data_rva
from .profiles import KernelBuild
from .symbols import variables

_GONE: Final = (
    "MmNonPagedPoolStart", "MmNonPagedPoolEnd", "MmNonPagedPoolEnd0", "MmNonPagedPoolExpansionStart",
    "MmPagedPoolStart", "MmPagedPoolEnd", "MmAllocatedNonPagedPool", "MmPagedPoolInfo", "PoolVector",
)  # fmt: skip
_NAMES: Final = {4: "unsigned long", 8: "unsigned long long"}


def symbol_table(build: KernelBuild, *, types: bool = True) -> dict[str, Any]:
    """The table as JSON-ready data; without `types` only addresses, as from stripped symbols."""
    profile = build.profile
    rvas = variables(profile, data_rva(profile))
    gone = _GONE if profile.encodes_debugger_block else ()
    names = sorted(name for name in rvas if name[0].isalpha() and name not in gone)
    return {
        "metadata": {
            "format": "6.1.0",
            "producer": {"name": "samples", "version": "1"},
            "windows": {"pdb": {"GUID": build.guid, "age": build.age, "database": profile.pdb}},
        },
        "symbols": {name: {"address": rvas[name]} for name in names},
        "user_types": _types(profile.layout) if types else {},
        "enums": {},
        "base_types": {
            name: {"size": size, "signed": False, "kind": "int", "endian": "little"}
            for size, name in _NAMES.items()
        },
    }


def write_symbols(build: KernelBuild, folder: Path, *, types: bool = True) -> Path:
    """Write the table where volatility3 looks for it below `folder`."""
    path = folder / "windows" / build.profile.pdb / f"{build.guid}-{build.age}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(symbol_table(build, types=types)), encoding="utf-8")
    return path


def _types(layout: Layout) -> dict[str, Any]:
    process = layout.process
    return {
        "_POOL_TRACKER_TABLE": _structure(layout.tracker),
        "_POOL_TRACKER_BIG_PAGES": _big(layout),
        "_EPROCESS": _plain(process.size, {"ActiveProcessLinks": process.active_process_links}),
        "_KPROCESS": _plain(process.directory_table_base + 8, {
            "DirectoryTableBase": process.directory_table_base
        }),
    }  # fmt: skip


def _plain(size: int, offsets: dict[str, int]) -> dict[str, Any]:
    kind = {"kind": "base", "name": _NAMES[8]}
    fields = {name: {"offset": at, "type": kind} for name, at in offsets.items()}
    return {"kind": "struct", "size": size, "fields": fields}


def _structure(dtype: np.dtype[np.void]) -> dict[str, Any]:
    fields = {}
    for name in dtype.names or ():
        kind, offset = dtype.fields[name][:2] if dtype.fields else (dtype, 0)
        fields[name] = {"offset": offset, "type": {"kind": "base", "name": _NAMES[kind.itemsize]}}
    return {"kind": "struct", "size": dtype.itemsize, "fields": fields}


def _big(layout: Layout) -> dict[str, Any]:
    """Windows 10 keeps three bit fields where PoolType was."""
    found = _structure(layout.big)
    if layout.nt == "10.0":
        for name, at, length in (("Pattern", 0, 8), ("PoolType", 8, 12), ("SlushSize", 20, 12)):
            found["fields"][name] = {
                "offset": 0xC,
                "type": {
                    "kind": "bitfield",
                    "bit_position": at,
                    "bit_length": length,
                    "type": {"kind": "base", "name": _NAMES[4]},
                },
            }
    return found
