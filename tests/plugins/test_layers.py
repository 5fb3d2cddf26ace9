"""Dumps that volatility3 alone does not open: ours do, and its own plugins work on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from samples import Machine, build, write
from tests.acceptance import image, truth
from tests.plugins.volatility import PLUGINS, Volatility


def test_volatility_alone_refuses_a_kernel_dump(vol: Volatility, xp_kernel_dump: Path) -> None:
    """The day this fails, the layers are no longer needed."""
    done = vol.run(xp_kernel_dump, "windows.statistics", plugins=None)
    assert done.returncode != 0
    assert "translation layer requirement was not fulfilled" in done.stdout + done.stderr


def test_info_of_a_kernel_dump_with_real_symbols(vol_with_symbols: Volatility) -> None:
    info = vol_with_symbols.values(image("a01"), "windows.info")
    expected = truth("a01")
    assert info["Kernel Base"] == expected["kernel"]["base"]
    assert info["KdDebuggerDataBlock"] == expected["addresses"]["KdDebuggerDataBlock"]
    assert info["NTBuildLab"] == expected["kernel"]["build_lab"]
    # 128564496000000000 units of 100 ns since 1601, as the truth file has it.
    assert info["SystemTime"].startswith("2008-05-28 12:00:00")
    assert info["memory_layer"] == "1 DumpscanFileLayer"


def test_modules_of_a_kernel_dump_with_real_symbols(vol_with_symbols: Volatility) -> None:
    rows = vol_with_symbols.rows(image("a01"), "windows.modules")
    found = [(row["Name"], hex(row["Base"]), row["Size"]) for row in rows]
    assert found == [(m["name"], m["base"], m["size"]) for m in truth("a01")["modules"]]


def test_bigpools_of_volatility_on_a_kernel_dump(vol_with_symbols: Volatility) -> None:
    rows = vol_with_symbols.rows(image("a01"), "windows.bigpools")
    expected = {(int(e["va"], 16), e["tag"].strip()) for e in truth("a01")["big_table"]["entries"]}
    # volatility3 does not know XP's sizes and cuts the blanks off a tag; address and letters must do.
    assert {(row["Allocation"], row["Tag"].strip()) for row in rows} == expected


def test_info_where_the_pointer_table_is_not_page_aligned(
    vol_with_symbols: Volatility, xp_kernel_dump: Path, xp_machine: Machine
) -> None:
    info = vol_with_symbols.values(xp_kernel_dump, "windows.info")
    assert info["NTBuildLab"] == xp_machine.truth["kernel"]["build_lab"]
    assert int(info["DTB"], 16) % 0x1000 == 0x2A0


@pytest.mark.parametrize("container", ["crash32-active", "elf32", "lime"])
def test_other_containers(vol: Volatility, xp_machine: Machine, tmp_path: Path, container: str) -> None:
    """LiME is volatility3's own layer, but its scanner does not find an unaligned pointer table."""
    path = write(xp_machine, container, tmp_path / "image")
    found = vol.values(path, "dumpscan.kernelbuild")
    assert found["Build lab"] == xp_machine.truth["kernel"]["build_lab"]
    assert found["KDBG"] == xp_machine.truth["addresses"]["KdDebuggerDataBlock"]


@pytest.mark.parametrize("container", ["crash64-kernel", "crash64-active"])
def test_64_bit_dumps(vol: Volatility, tmp_path: Path, container: str) -> None:
    machine = build(profile="vista-sp1-x64", scenario="healthy", seed=3, ram_mb=64)
    found = vol.values(write(machine, container, tmp_path / "image"), "dumpscan.kernelbuild")
    kernel = machine.truth["kernel"]
    assert (found["Kernel base"], found["Build lab"]) == (kernel["base"], kernel["build_lab"])


def test_a_damaged_dump_is_refused_in_words(vol: Volatility, xp_kernel_dump: Path, tmp_path: Path) -> None:
    data = bytearray(xp_kernel_dump.read_bytes()[: 64 << 10])
    # Both forms of the bitmap header: its size field says more bits than the file has bytes.
    data[0x1010:0x1014] = data[0x1030:0x1034] = b"\xff\xff\xff\x7f"
    path = tmp_path / "bad.dmp"
    path.write_bytes(data)
    done = vol.run(path, "dumpscan.kernelbuild")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


# Three pages of physical memory: data, a page table, a page directory; the pointer table is the last
# 32 bytes of the fourth page, behind which memory ends. Entry 3 covers 0xc0000000 and up.
_UNALIGNED = """
import struct, sys
import volatility3.plugins
volatility3.plugins.__path__ = [sys.argv[1], *volatility3.plugins.__path__]
from volatility3.framework import contexts
from volatility3.framework.layers import intel, physical
from volatility3.plugins.dumpscan.layers import DumpscanPae

memory = bytearray(0x4000)
memory[0x123:0x127] = b"leak"
struct.pack_into("<Q", memory, 0x1000, 0x0001)
struct.pack_into("<Q", memory, 0x2000, 0x1001)
struct.pack_into("<4Q", memory, 0x3FE0, 0, 0, 0, 0x2001)
for kind in (intel.WindowsIntelPAE, DumpscanPae):
    context = contexts.Context()
    context.add_layer(physical.BufferDataLayer(context, "buffer", "buffer", bytes(memory)))
    context.config["pae.memory_layer"] = "buffer"
    context.config["pae.page_map_offset"] = 0x3FE0
    layer = kind(context, "pae", "pae")
    context.add_layer(layer)
    print(layer.is_valid(0xC0000123), layer.read(0xC0000123, 4, pad=True))
"""


def test_pointer_table_at_the_end_of_memory(vol: Volatility) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNALIGNED, str(PLUGINS)], capture_output=True, text=True, cwd=vol.folder
    )
    assert done.stdout.splitlines() == [r"False b'\x00\x00\x00\x00'", "True b'leak'"], done.stderr
