"""A symbol table is used when it is this kernel's and agrees with KDBG, and refused otherwise."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.symbols import private_symbols
from dumpscan.case import Options, open_case
from dumpscan.kernel import symbols
from dumpscan.model import Pdb
from tests import acceptance

PDB = Pdb("ntkrnlpa.pdb", "30B5FB31AE7E4ACAABA750AA241FF331", 1)
BASE = 0x804D7000
# RVAs of the public PDB, as facts/kdbg.json states them.
RVAS = {"PoolTrackTable": 0x85600, "MmNonPagedPoolEnd0": 0x7CD84, "NtBuildLab": 0xC5C}


def _plain(data: bytes) -> bytes:
    return data


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".json": _plain,
    ".json.xz": lzma.compress,
    ".json.gz": gzip.compress,
    ".json.bz2": bz2.compress,
}


def write_table(folder: Path, content: bytes, suffix: str = ".json") -> None:
    path = folder / "windows" / PDB.name / f"{PDB.guid}-{PDB.age}{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def table(rvas: dict[str, int] = RVAS) -> bytes:
    return json.dumps({"symbols": {name: {"address": rva} for name, rva in rvas.items()}}).encode()


@pytest.mark.parametrize("suffix", PACKERS)
def test_table_that_agrees_is_used(tmp_path: Path, suffix: str) -> None:
    write_table(tmp_path, PACKERS[suffix](table()), suffix)
    found = symbols.load(PDB, BASE, {"PoolTrackTable": 0x8055C600}, [tmp_path])
    assert found.symbols["MmNonPagedPoolEnd0"] == 0x80553D84
    assert len(found.symbols) == 3


def test_table_that_disagrees_is_refused_by_name(tmp_path: Path) -> None:
    write_table(tmp_path, table({**RVAS, "PoolTrackTable": 0x85604}))
    found = symbols.load(PDB, BASE, {"PoolTrackTable": 0x8055C600}, [tmp_path])
    assert not found.symbols
    assert "disagrees with KDBG on PoolTrackTable" in found.notes[0]


BROKEN = [b"", b"{", b"[]", b'{"symbols": 3}', b'{"symbols": {"a": {}}}', b"\xff" * 64]


@pytest.mark.parametrize("content", BROKEN)
def test_broken_table_is_a_note(tmp_path: Path, content: bytes) -> None:
    write_table(tmp_path, content)
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert not found.symbols
    assert "cannot be read" in found.notes[0]


def test_table_of_another_build_is_not_found(tmp_path: Path) -> None:
    write_table(tmp_path, table())
    assert symbols.find(Pdb(PDB.name, PDB.guid, 2), [tmp_path]) is None
    assert symbols.load(None, BASE, {}, [tmp_path]).symbols == {}
    other = symbols.load(Pdb(PDB.name, PDB.guid, 2), BASE, {}, [tmp_path])
    assert f"no symbol table for this kernel (ntkrnlpa.pdb, {PDB.guid}-2)" in other.notes[0]
    assert symbols.load(Pdb(PDB.name, PDB.guid, 2), BASE, {}).notes == ()


def test_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path, table())
    monkeypatch.setenv(symbols.ENVIRONMENT, str(tmp_path))
    assert symbols.find(PDB) is not None


def test_real_table_gives_the_same_figures() -> None:
    """With Microsoft's symbols the same image has the same tags, and two nonpaged ranges by name."""
    folder = private_symbols(acceptance.cache_folder())
    if folder is None:
        pytest.skip("needs ../shared/symbols (the real XP SP3 symbol table or its PDB)")
    path = acceptance.image("a01")
    plain, named = open_case(path), open_case(path, Options(symbol_dirs=(folder,)))
    assert named.kernel.source == "symbols"
    assert named.kernel.address("MmNonPagedPoolEnd0") == BASE + 0x7CD84
    assert named.pools("tracker").tags == plain.pools("tracker").tags
    assert named.pools("pages").tags == plain.pools("pages").tags
