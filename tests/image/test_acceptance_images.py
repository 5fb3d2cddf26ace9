"""The independent generator's images: headers, page counts and page contents against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.image.recognise import open_image
from tests.acceptance import image, truth

FORMATS = {
    "a01": "crash32-kernel",
    "a02": "crash32-full",
    "a03": "crash32-kernel",
    "a04": "crash64-kernel",
    "a05": "crash32-full",
    "a06": "elf",
}


@pytest.mark.parametrize("name", FORMATS)
def test_format_size_and_kernel_page(name: str) -> None:
    opened, said = open_image(image(name)), truth(name)
    assert opened.memory is not None
    assert opened.info.format == FORMATS[name]
    assert opened.info.bytes == opened.info.bytes_expected == said["files"][0]["bytes"]
    assert not opened.info.truncated
    assert opened.info.notes == ()
    assert opened.memory.read(int(said["kernel"]["phys"], 16), 2) == b"MZ"


@pytest.mark.parametrize("name", ["a01", "a03", "a04"])
def test_kernel_dumps_hold_the_pages_that_the_generator_wrote(name: str) -> None:
    opened, said = open_image(image(name)), truth(name)
    assert opened.memory is not None
    assert opened.info.pages_present == said["files"][0]["pages"]
    machine = np.concatenate([np.arange(base, base + count) for base, count in said["memory"]["runs"]])
    runs = opened.memory.runs()
    present = np.concatenate([np.arange(b, b + n) for b, n in zip(*runs, strict=True)])
    assert np.isin(present, machine).all()


@pytest.mark.parametrize("name", ["a02", "a05"])
def test_complete_dumps_hold_the_machine(name: str) -> None:
    opened, said = open_image(image(name)), truth(name)
    assert opened.memory is not None
    assert [list(run) for run in zip(*map(np.ndarray.tolist, opened.memory.runs()), strict=True)] == said[
        "memory"
    ]["runs"]


@pytest.mark.parametrize("name", ["a01", "a02", "a03", "a04", "a05"])
def test_header_claims(name: str) -> None:
    hints, said = open_image(image(name)).hints, truth(name)
    assert hints.arch == said["kernel"]["machine"]
    assert hints.build == said["kernel"]["build"]
    assert hints.kdbg == int(said["addresses"]["KdDebuggerDataBlock"], 16)
    assert hints.ps_loaded_module_list == int(said["addresses"]["PsLoadedModuleList"], 16)
    assert hints.ps_active_process_head == int(said["addresses"]["PsActiveProcessHead"], 16)
    assert hints.processors == said["kernel"]["cpus"]
    assert hints.system_time == said["time"]["system_time"]
    assert hints.uptime == said["time"]["uptime_100ns"]
    assert hints.pae == (said["kernel"]["pae"] if said["kernel"]["machine"] == "x86" else None)
