"""Which kernel this is, without a symbol table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from volatility3.framework import interfaces, renderers

from .face import case_of, known, layer_option

if TYPE_CHECKING:
    from dumpscan.kernel.kernel import Kernel


class KernelBuild(interfaces.plugins.PluginInterface):  # type: ignore[misc]
    """Product, service pack, file version, servicing branch and PDB of the kernel, without symbols.

    The kernel is found by its debugger data block and verified; no symbol table is needed. System
    time, uptime, processors and bug check are given beside it.
    """

    _required_framework_version = (2, 0, 0)
    _version = (1, 0, 0)

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """A translation layer."""
        return [layer_option()]

    def run(self) -> renderers.TreeGrid:
        """Rows of a name and a value."""
        with case_of(self) as case:
            kernel, image = case.kernel, case.info
            rows = [("Image", image.description or image.format), *_kernel(kernel), *_machine(kernel)]
            rows += [("Note", note) for note in (*image.notes, *kernel.info.notes)]
        cells = ((0, (name, known(value, str))) for name, value in rows)
        return renderers.TreeGrid([("Variable", str), ("Value", str)], cells)


def _kernel(kernel: Kernel) -> Iterator[tuple[str, Any]]:
    info = kernel.info
    yield "Product", info.product
    yield "Version", info.version
    yield "Version from", info.version_from
    yield "Service pack", info.service_pack
    yield "Branch", info.branch
    yield "Build", info.build
    yield "Build lab", info.build_lab
    yield "Architecture", info.arch
    yield "PAE", info.pae
    yield "Multiprocessor", info.multiprocessor
    yield "Checked build", info.checked
    yield "Image name", info.image_name
    yield "Internal name", info.internal_name
    yield "PDB", info.pdb and info.pdb.name
    yield "PDB GUID", info.pdb and info.pdb.guid
    yield "PDB age", info.pdb and info.pdb.age
    yield "Time stamp", None if info.timestamp is None else f"{info.timestamp:#x}"
    yield "Kernel base", info.base
    yield "DTB", info.dtb
    yield "KDBG", info.kdbg
    yield "Found by", info.found_by


def _machine(kernel: Kernel) -> Iterator[tuple[str, Any]]:
    machine = kernel.machine
    yield "System time", machine.system_time
    yield "Uptime (seconds)", machine.uptime_seconds
    yield "Processors", machine.processors
    bugcheck = machine.bugcheck
    yield "Bug check", f"{bugcheck.code:#x} {bugcheck.name}" if bugcheck else None
    yield "Bug check parameters", " ".join(bugcheck.parameters) if bugcheck else None
