"""Identity of the kernels in the acceptance images, against their truth files."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from dumpscan.image.opened import Hints
from dumpscan.image.recognise import open_image
from dumpscan.kernel import find
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.locate import locate_kernel
from dumpscan.kernel.modules import drivers, unloaded_ring
from tests import acceptance

NAMES = (
    "a01-xpsp3-pae-hung.kernel.dmp",
    "a02-xpsp3-pae-tagging-off.dmp",
    "a03-xpsp2-pae-gdr-healthy.kernel.dmp",
    "a04-vistasp1-x64-2cpu.kernel.dmp",
    "a05-vista-x86-ldr-fixed.dmp",
    "a06-xpsp3-othertag.elf",
)


@lru_cache(maxsize=None)
def kernel_of(name: str) -> Kernel:
    return locate_kernel(open_image(acceptance.image(name)))


def truth_of(name: str) -> dict[str, Any]:
    return acceptance.truth(name)


@pytest.mark.parametrize("name", NAMES)
def test_identity(name: str) -> None:
    info, truth = kernel_of(name).info, truth_of(name)["kernel"]
    assert info.version == truth["file_version"]
    assert info.service_pack == truth["service_pack"]
    assert info.arch == truth["machine"]
    assert info.pae == truth["pae"]
    assert info.build == truth["build"]
    assert info.build_lab == truth["build_lab"]
    assert info.image_name == truth["file"]
    assert info.base == truth["base"]
    assert info.timestamp == int(truth["timestamp"], 16)
    assert info.pdb is not None
    assert (info.pdb.name, info.pdb.guid, info.pdb.age) == (truth["pdb"], truth["guid"], truth["age"])
    assert (info.branch in truth["build_lab"]) or info.branch == "rtm"


@pytest.mark.parametrize("name", NAMES)
def test_addresses_and_machine(name: str) -> None:
    kernel, truth = kernel_of(name), truth_of(name)
    where = truth["addresses"]
    assert kernel.info.kdbg == where["KdDebuggerDataBlock"]
    assert kernel.info.dtb == where["dtb"]
    for variable in ("PsLoadedModuleList", "PoolTrackTable", "MmUnloadedDrivers", "NonPagedPoolDescriptor"):
        assert kernel.address(variable) == int(where[variable], 16)
    assert kernel.machine.processors == truth["kernel"]["cpus"]
    assert kernel.machine.uptime_seconds == truth["time"]["uptime_100ns"] / 1e7
    assert kernel.machine.system_time == "2008-05-28T12:00:00Z"
    assert kernel.machine.bugcheck is not None and kernel.machine.bugcheck.code == 0xE2


@pytest.mark.parametrize("name", NAMES)
def test_drivers(name: str) -> None:
    kernel, truth = kernel_of(name), truth_of(name)
    found = drivers(kernel)
    # win32k's entry holds whole pages where the truth file has the file's SizeOfImage.
    loaded = [(m.name, m.base, -(-m.size // 4096)) for m in found.loaded]
    assert loaded == [(m["name"], m["base"], -(-m["size"] // 4096)) for m in truth["modules"]]
    ring = unloaded_ring(kernel)
    assert ring is not None
    entries = sorted(truth["unloaded_drivers"]["entries"], key=lambda e: (e["time"], e["slot"]))
    assert [(e.slot, e.name, e.start, e.end, e.time) for e in ring.entries] == [
        (e["slot"], e["name"], e["start"], e["end"], e["time"]) for e in entries
    ]
    assert sum(row.count for row in found.recent) == len(entries)


@pytest.mark.parametrize("name", NAMES)
def test_found_without_a_header(name: str) -> None:
    """The same kernel from physical memory alone: no DTB, no KDBG address, nothing claimed."""
    opened = open_image(acceptance.image(name))
    assert opened.memory is not None
    located = find.locate(opened.memory, Hints())
    assert hex(located.kdbg.va) == truth_of(name)["addresses"]["KdDebuggerDataBlock"]
    assert hex(located.kdbg.kern_base) == truth_of(name)["kernel"]["base"]
