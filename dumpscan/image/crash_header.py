"""What a Windows crash dump header claims about the machine.

Works on 32- and 64-bit headers of every Windows. The trap: fields that were never written hold the
filler word 'PAGE', optional fields depend on the Windows version, and third-party writers leave
zeros; all of these are *absent*, not values (facts/dump-formats.md 1).
"""

from __future__ import annotations

import numpy as np

from dumpscan.errors import UnsupportedImage
from dumpscan.image import c_crash
from dumpscan.image.c_bugcheck import bugcheck_name
from dumpscan.image.opened import Hints
from dumpscan.image.source import Source
from dumpscan.model import BugCheck
from dumpscan.records import record

_FILLER = {4: c_crash.FILLER, 8: c_crash.FILLER << 32 | c_crash.FILLER}
_MAX_PROCESSORS = 4096
_PRODUCT_TYPES = (1, 2, 3)


@record
class CrashHeader:
    """A dump header; ``wide`` for the 64-bit form."""

    source: Source
    wide: bool
    fields: np.void

    @property
    def size(self) -> int:
        """Bytes of the header; the next structure follows it."""
        return self.fields.dtype.itemsize

    @property
    def bits(self) -> int:
        """32 or 64: the width of the header, and the number in format names."""
        return 64 if self.wide else 32

    @property
    def arch(self) -> str | None:
        """Architecture by MachineImageType, None when absent or unknown."""
        return c_crash.MACHINES.get(self.value("MachineImageType") or 0)

    @property
    def page_size(self) -> int:
        """8192 on IA64 (facts/ia64.md 1), else 4096."""
        return 8192 if self.arch == "ia64" else 4096

    def offset_of(self, name: str) -> int:
        """File offset of a field, for messages."""
        dtype_fields = self.fields.dtype.fields
        assert dtype_fields is not None
        return int(dtype_fields[name][1])

    def value(self, name: str) -> int | None:
        """The number in a field; None when it holds filler."""
        number = int(self.fields[name])
        return None if number == _FILLER.get(self.fields[name].itemsize) else number

    def nonzero(self, name: str) -> int | None:
        """As :meth:`value`, with zero as absent too."""
        return self.value(name) or None

    def comment(self) -> str | None:
        """The Comment field when it is printable text: it names the producer of the dump."""
        raw = bytes(self.fields["Comment"]).split(b"\0")[0]
        if raw.startswith(b"PAGEPAGE") or not raw or not all(0x20 <= byte < 0x7F for byte in raw):
            return None
        return raw.decode("ascii").strip() or None


def read_header(source: Source, wide: bool) -> CrashHeader:
    """The header at offset 0.

    :raises DamagedImage: the file ends inside the header.
    :raises UnsupportedImage: an ARM64 dump.
    """
    kind = c_crash.DUMP_HEADER64 if wide else c_crash.DUMP_HEADER32
    header = CrashHeader(source, wide, source.record(kind, 0, "the dump header"))
    if header.arch == "arm64":
        raise UnsupportedImage(
            f"{source.path.name}: a crash dump of an ARM64 machine; dumpscan reads x86, x64 and IA64"
        )
    return header


def header_hints(header: CrashHeader) -> Hints:
    """The header's claims. Each one may be wrong: callers verify them against memory."""
    processors = header.nonzero("NumberProcessors")
    product = header.value("ProductType")
    major = header.value("MajorVersion")
    return Hints(
        arch=header.arch or (None if header.wide else "x86"),
        build=header.nonzero("MinorVersion"),
        checked={c_crash.MAJOR_CHECKED: True, c_crash.MAJOR_FREE: False}.get(major or 0),
        dtbs=_dtbs(header),
        pae=_pae(header),
        kdbg=header.nonzero("KdDebuggerDataBlock"),
        ps_loaded_module_list=header.nonzero("PsLoadedModuleList"),
        ps_active_process_head=header.nonzero("PsActiveProcessHead"),
        pfn_database=header.nonzero("PfnDataBase"),
        processors=processors if processors and processors <= _MAX_PROCESSORS else None,
        bugcheck=_bugcheck(header),
        system_time=header.nonzero("SystemTime"),
        uptime=header.nonzero("SystemUpTime"),
        product_type=product if product in _PRODUCT_TYPES else None,
    )


def _dtbs(header: CrashHeader) -> tuple[int, ...]:
    dtb = header.nonzero("DirectoryTableBase")
    if dtb is None:
        return ()
    # A PAE directory pointer table is 32-byte aligned only; page masking would lose it.
    dtb &= ~0xFFF if header.wide else ~0x1F
    return (dtb,) if dtb else ()


def _pae(header: CrashHeader) -> bool | None:
    if header.wide or header.value("PaeEnabledWord") is None:
        return None
    return {0: False, 1: True}.get(int(header.fields["PaeEnabled"]))


def _bugcheck(header: CrashHeader) -> BugCheck | None:
    code = header.nonzero("BugCheckCode")
    if code is None:
        return None
    parameters = tuple(hex(int(value)) for value in header.fields["BugCheckParameters"])
    return BugCheck(code, bugcheck_name(code), parameters)
