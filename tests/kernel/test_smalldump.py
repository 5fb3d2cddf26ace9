"""What a small dump says of its kernel: a hand-made XP one, a real Windows 10 one, contradictions."""

from __future__ import annotations

import struct
from pathlib import Path

from dumpscan.image.recognise import open_image
from dumpscan.kernel.smalldump import SmallDump, describe
from dumpscan.model import PoolLimits, Unloads
from tests.acceptance import image
from tests.image.small_dumps import triage32


def described(tmp_path: Path, data: bytes) -> SmallDump:
    path = tmp_path / "mini.dmp"
    path.write_bytes(data)
    return describe(open_image(path))


def test_identity_of_a_kernel_from_its_label(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1148, 0x4A780A5F)  # the kernel's time stamp: of no release
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.product, kernel.service_pack, kernel.arch, kernel.pae) == ("Windows XP", 3, "x86", True)
    assert (kernel.build_lab, kernel.branch) == ("2600.xpsp_sp3_gdr.090804-1435", "gdr")
    assert (kernel.version, kernel.build_date, kernel.timestamp) == (None, "2009-08-04", 0x4A780A5F)
    # The list calls it ntoskrnl.exe; with PAE it is another file.
    assert (kernel.image_name, kernel.base, kernel.found_by) == (
        "ntkrnlpa.exe",
        "0x804d7000",
        "debugger data",
    )
    assert kernel.multiprocessor is True  # two processors in the header
    assert kernel.notes == ()


def test_a_time_stamp_of_a_release_tells_its_version(tmp_path: Path) -> None:
    data = bytearray(triage32())
    data[0x1700:0x1720] = bytes(32)  # no NtBuildLab
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.version, kernel.version_from) == ("5.1.2600.5512", "PE time stamp")


def test_the_service_pack_without_data_blocks(tmp_path: Path) -> None:
    """By ServicePackBuild; a zero there is no service pack level."""
    nothing = {"DebuggerDataOffset": 0, "blocks": 0}
    assert described(tmp_path, triage32(**nothing)).kernel.service_pack == 3
    data = bytearray(triage32(ServicePackBuild=0, **nothing))
    assert described(tmp_path, bytes(data)).kernel.service_pack == 3  # by the time stamp
    struct.pack_into("<I", data, 0x1148, 0)
    assert described(tmp_path, bytes(data)).kernel.service_pack is None


def test_debugger_data_that_are_none(tmp_path: Path) -> None:
    data = bytearray(triage32())
    data[0x1810:0x1814] = b"GBDK"
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.found_by, kernel.base) == ("driver list", "0x804d7000")
    assert kernel.notes[0].startswith("no usable debugger data in the dump: no KDBG tag at 0x80545ae0")
    data = bytearray(triage32(DriverListOffset=0))
    data[0x1810:0x1814] = b"GBDK"
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.found_by, kernel.base, kernel.image_name) == ("dump header", None, None)


def test_list_and_debugger_data_contradict_each_other(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<Q", data, 0x1818, 0x80800000)
    kernel = described(tmp_path, bytes(data)).kernel
    assert kernel.base == "0x804d7000"
    assert kernel.notes == ("ntoskrnl.exe is listed at 0x804d7000, the debugger data place it at 0x80800000",)


def test_debugger_data_that_take_another_driver_for_the_kernel(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<Q", data, 0x1818, 0x806D0000)  # hal.dll
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.base, kernel.image_name) == ("0x804d7000", "ntkrnlpa.exe")
    assert "place it at 0x806d0000" in kernel.notes[0]


def test_a_build_number_that_is_none(tmp_path: Path) -> None:
    data = bytearray(triage32(DebuggerDataOffset=0))
    struct.pack_into("<I", data, 0xC, 0xE0000001)
    struct.pack_into("<I", data, 0x1148, 0)
    kernel = described(tmp_path, bytes(data)).kernel
    assert (kernel.build, kernel.product, kernel.version) == (None, None, None)


def test_totals_and_drivers(tmp_path: Path) -> None:
    found = described(tmp_path, triage32())
    assert found.pool.paged == PoolLimits(45000 * 4096, 90000 * 4096, 0.5)
    assert found.pool.nonpaged == PoolLimits(804 * 4096, 8192 * 4096, 804 / 8192)
    assert found.drivers.recent == (
        Unloads("hwmon32.sys", 1, None, None),
        Unloads("averylongnam", 1, None, None),
    )
    assert (found.drivers.ring_entries, found.drivers.ring_complete) == (2, False)
    assert found.where == {
        "ring": "unloaded drivers at file offset 0x1200",
        "limits": "memory figures at file offset 0x1300",
    }


def test_use_beyond_the_maximum_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1324, 90001)
    found = described(tmp_path, bytes(data))
    assert found.pool.paged == PoolLimits(None, 90000 * 4096, None)
    assert found.pool.notes == ("paged pool: 90,001 pages in use of at most 90,000 is no figure: left out",)


def test_a_real_small_dump_of_windows_10() -> None:
    found = describe(open_image(image("triage_x64.dmp")))
    kernel = found.kernel
    assert (kernel.product, kernel.build, kernel.found_by) == ("Windows 10", 19041, "debugger data")
    assert kernel.build_lab == "19041.1.amd64fre.vb_release.191206-1406"
    # The label's revision is that of the first build, not of this file.
    assert (kernel.version, kernel.build_date) == (None, "2019-12-06")
    assert (kernel.base, kernel.kdbg) == ("0xfffff8047ba00000", "0xfffff8047c600b20")
    # Time stamp and checksum as the PE header says in the data block at file offset 0xe6474.
    assert (kernel.timestamp, kernel.checksum) == (0x0D8333E6, 0xA5938C)
    assert found.pool.paged == found.pool.nonpaged == PoolLimits()
    assert found.where == {"ring": "unloaded drivers at file offset 0x20d0"}
    assert [(each.name, each.count) for each in found.drivers.recent] == [
        ("dam.sys", 1),
        ("WdBoot.sys", 1),
        ("hwpolicy.sys", 1),
        ("mcupdate.dll", 1),
    ]
