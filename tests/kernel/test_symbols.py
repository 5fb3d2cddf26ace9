"""A symbol table is used when it is this kernel's and agrees with KDBG, and refused otherwise."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.symbols import SHARED, private_symbols
from dumpscan.case import Options, open_case
from dumpscan.kernel import pdbfile, symbols, through_pdbconv
from dumpscan.kernel.layouts import layout_for
from dumpscan.kernel.typed import layout_with
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
    assert "disagrees with the image on PoolTrackTable" in found.notes[0]


INFINITE = b'{"symbols": {"a": {"address": Infinity}}}'
# A gzip header and bits that are no deflate stream: block type 3 does not exist.
BROKEN_GZIP = gzip.compress(b"{}", mtime=0)[:10] + b"\x07" * 32
BROKEN = [
    (b"", ".json"), (b"{", ".json"), (b"[]", ".json"), (b'{"symbols": 3}', ".json"),
    (b'{"symbols": {"a": {}}}', ".json"), (b"\xff" * 64, ".json"), (INFINITE, ".json"),
    (b"[" * 200_000, ".json"), (BROKEN_GZIP, ".json.gz"), (b"BZh9" + b"x" * 64, ".json.bz2"),
    (b"\xfd7zXZ\0" + b"x" * 64, ".json.xz"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "suffix"), BROKEN)
def test_broken_table_is_a_note(tmp_path: Path, content: bytes, suffix: str) -> None:
    write_table(tmp_path, content, suffix)
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert not found.symbols
    assert "cannot be read" in found.notes[0]


def test_a_table_that_unpacks_without_end_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "_LARGEST", 1 << 20)
    write_table(tmp_path, gzip.compress(b" " * (1 << 20) + table()), ".json.gz")
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert not found.symbols
    assert "larger than 1 MB" in found.notes[0]


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


def test_table_that_names_another_build_is_refused(tmp_path: Path) -> None:
    """Its path says this kernel, its own word another one."""
    said = {"windows": {"pdb": {"GUID": "0" * 32, "age": 1, "database": PDB.name}}}
    write_table(tmp_path, json.dumps({"metadata": said, "symbols": {"X": {"address": 1}}}).encode())
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert found.symbols == {}
    assert f"is of {'0' * 32}-1, this kernel's PDB is {PDB.guid}-1; not used" in found.notes[0]


def test_a_table_of_unknown_build_is_refused(tmp_path: Path) -> None:
    """Named after the PDB alone, and silent on its GUID: it may be of any build."""
    (tmp_path / "ntkrnlpa.json").write_bytes(table())
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert found.symbols == {}
    assert found.notes == ("symbol table ntkrnlpa.json does not say of which build it is; not used",)


@pytest.mark.parametrize("name", ["..", "", "x" * 300, "a\ufffdb.pdb", "CON:"])
def test_a_name_that_is_no_file_name_is_not_looked_for(tmp_path: Path, name: str) -> None:
    """The name is the image's: it may be anything."""
    found = symbols.load(Pdb(name, PDB.guid, 1), BASE, {}, [tmp_path])
    assert found.symbols == {} and "no symbol table for this kernel" in found.notes[0]


# -- PDB files --------------------------------------------------------------------------------------

GUID_BYTES = bytes.fromhex("31FBB530 7EAE CA4A ABA750AA241FF331")
"""The GUID as stored: its first three numbers little-endian."""


def pdb_file(guid: bytes = GUID_BYTES, age: int = 1) -> bytes:
    """A PDB of six blocks of 512 bytes: super block, directory map, directory, and streams 1 and 3.

    Stream 0 has a block of its own and stream 2 was deleted; the PDB stream's own age is 9, a trap.
    """
    magic = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
    directory = struct.pack("<5I3I", 4, 16, 28, 0xFFFFFFFF, 12, 3, 4, 5)
    blocks = [
        magic + struct.pack("<6I", 512, 1, 6, len(directory), 0, 1),
        struct.pack("<I", 2),
        directory,
        b"old directory",
        struct.pack("<III", 20000404, 0, 9) + guid,
        struct.pack("<iII", -1, 19990903, age),
    ]
    return b"".join(block.ljust(512, b"\0") for block in blocks)


def test_identity_of_a_pdb_file(tmp_path: Path) -> None:
    path = tmp_path / "ntkrnlpa.pdb"
    path.write_bytes(pdb_file())
    assert pdbfile.identity(path) == (PDB.guid, 1)


def test_identity_of_the_real_pdb() -> None:
    path = SHARED / "pdb" / f"ntkrnlpa-{PDB.guid}-1.pdb"
    if not path.is_file():
        pytest.skip("needs ../shared/symbols (the public PDB of XP SP3)")
    assert pdbfile.identity(path) == (PDB.guid, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MZ",
        pdb_file()[:700],
        pdb_file()[:32] + struct.pack("<6I", 4, 1, 6, 32, 0, 1),
        pdb_file()[:32] + struct.pack("<6I", 512, 1, 6, 1 << 31, 0, 1),
        pdb_file()[:32] + struct.pack("<6I", 512, 1, 6, 32, 0, 0xFFFFFFF0),
        pdb_file()[:1024] + b"\xff" * 2048,
    ],
)
def test_what_is_no_pdb_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ntkrnlpa.pdb"
    path.write_bytes(content)
    assert pdbfile.identity(path) is None
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert found.notes == ("ntkrnlpa.pdb is no PDB file of format 7.00, or damaged; not used",)


def test_pdb_file_of_another_build_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ntkrnlpa.pdb").write_bytes(pdb_file(age=2))
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert found.symbols == {}
    assert found.notes == (f"ntkrnlpa.pdb is of {PDB.guid}-2, this kernel's PDB is {PDB.guid}-1; not used",)


@pytest.mark.parametrize("place", ["ntkrnlpa.pdb", f"ntkrnlpa.pdb/{PDB.guid}1/ntkrnlpa.pdb"])
def test_pdb_file_is_converted_once_and_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The folder of the PDB stays as it is; the second time the table comes from the cache."""
    asked: list[Path] = []

    def convert(path: Path, progress: object = None) -> dict[str, Any]:
        asked.append(path)
        whole: dict[str, Any] = json.loads(table())
        return {**whole, "metadata": {}, "user_types": {"_EPROCESS": {"size": 1}, "_OTHER": {}}}

    monkeypatch.setattr(through_pdbconv, "convert", convert)
    monkeypatch.setattr(symbols, "cache_folder", lambda: tmp_path / "cache")
    path = tmp_path / "given" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(pdb_file())
    for _ in range(2):
        found = symbols.load(PDB, BASE, {"PoolTrackTable": 0x8055C600}, [tmp_path / "given"])
        assert found.symbols["MmNonPagedPoolEnd0"] == 0x80553D84
        assert found.types == {"_EPROCESS": {"size": 1}}
    assert asked == [path]
    assert [each for each in (tmp_path / "given").rglob("*") if each.is_file()] == [path]


def test_pdb_file_that_cannot_be_converted_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right by its GUID, and nothing behind: volatility3's converter refuses it."""
    monkeypatch.setattr(symbols, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "ntkrnlpa.pdb").write_bytes(pdb_file())
    found = symbols.load(PDB, BASE, {}, [tmp_path])
    assert found.symbols == {} and len(found.notes) == 1
    assert "symbol table ntkrnlpa.pdb cannot be read" in found.notes[0]


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(symbols, "cache_folder", lambda: tmp_path / "file" / "cache")
    monkeypatch.setattr(
        through_pdbconv, "convert", lambda *_: {**json.loads(table()), "metadata": {}, "user_types": {}}
    )
    (tmp_path / "ntkrnlpa.pdb").write_bytes(pdb_file())
    assert symbols.load(PDB, BASE, {}, [tmp_path]).symbols["NtBuildLab"] == BASE + 0xC5C


# -- structures -------------------------------------------------------------------------------------

WIDE = {"kind": "base", "name": "unsigned long long"}
TYPES: dict[str, Any] = {
    "_POOL_TRACKER_TABLE": {
        "size": 0x50,
        "fields": {
            name: {"offset": at, "type": WIDE}
            for name, at in (
                ("Key", 0), ("NonPagedBytes", 8), ("NonPagedAllocs", 0x18), ("NonPagedFrees", 0x20),
                ("PagedBytes", 0x28), ("PagedAllocs", 0x30), ("PagedFrees", 0x38),
            )
        },
    },
    "_POOL_TRACKER_BIG_PAGES": {
        "size": 0x20,
        "fields": {
            "Va": {"offset": 0, "type": WIDE},
            "Key": {"offset": 8, "type": {"kind": "base", "name": "unsigned long"}},
            "PoolType": {"offset": 0xC, "type": {"kind": "bitfield", "bit_position": 8, "bit_length": 12}},
            "NumberOfBytes": {"offset": 0x10, "type": WIDE},
        },
    },
    "_EPROCESS": {"size": 0xB80, "fields": {"ActiveProcessLinks": {"offset": 0x1D8, "type": WIDE}}},
    "_KPROCESS": {"size": 0x1C8, "fields": {"DirectoryTableBase": {"offset": 0x28, "type": WIDE}}},
}  # fmt: skip


def test_layout_of_a_build_that_only_symbols_know() -> None:
    found = layout_with(TYPES, 26100, "x64", layout_for(26100, "x64", False))
    assert found is not None
    assert (found.tracker_size, found.wide_counts) == (0x50, True)
    assert dict(found.tracker_fields)["paged_frees"] == 0x38
    assert (found.big_entry_size, found.big_type_shift) == (0x20, 8)
    assert (found.process_links, found.process_dtb) == (0x1D8, 0x28)
    assert found.unwalkable is not None and "segment heap" in found.unwalkable
    server_2016 = layout_with(TYPES, 14393, "x64", None)
    assert server_2016 is not None and "where the pools" in (server_2016.unwalkable or "")


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in TYPES.items() if key != name}


@pytest.mark.parametrize(
    "types",
    [
        {},
        _without("_EPROCESS"),
        {**TYPES, "_POOL_TRACKER_TABLE": {"size": 0x20, "fields": TYPES["_POOL_TRACKER_TABLE"]["fields"]}},
        {**TYPES, "_POOL_TRACKER_TABLE": {**TYPES["_POOL_TRACKER_TABLE"], "size": float("inf")}},
        {**TYPES, "_POOL_TRACKER_BIG_PAGES": 3},
        {**TYPES, "_POOL_TRACKER_BIG_PAGES": {**TYPES["_POOL_TRACKER_BIG_PAGES"], "size": 0x14}},
    ],
)
def test_types_that_do_not_fit_change_nothing(types: dict[str, Any]) -> None:
    assert layout_with(types, 26100, "x64", None) is None
    known = layout_for(19041, "x64", False)
    assert layout_with(types, 19041, "x64", known) is known


def test_the_articles_own_kernels_keep_their_layouts() -> None:
    known = layout_for(6001, "x64", False)
    assert layout_with(TYPES, 6001, "x64", known) is known
