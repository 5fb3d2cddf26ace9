"""File signatures: what dumpscan opens, and what it refuses by name with a way out.

Memory formats: facts/dump-formats.md 0 and 10. Archives and disk images: the published signature
of each format. Order matters only where one signature begins another.
"""

from __future__ import annotations

from typing import NamedTuple


class Magic(NamedTuple):
    """``signature`` at byte ``offset`` means a file of ``kind``."""

    kind: str
    offset: int
    signature: bytes


class Refusal(NamedTuple):
    """Why a kind is not opened. ``memory``: it is a memory format (exit 5), else it is none (exit 4)."""

    memory: bool
    what: str
    advice: str


MAGICS = (
    Magic("crash32", 0, b"PAGEDUMP"),
    Magic("crash64", 0, b"PAGEDU64"),
    Magic("crash-broken", 0, b"PAGE"),
    Magic("elf", 0, b"\x7fELF"),
    Magic("lime", 0, b"EMiL"),
    Magic("avml", 0, b"AVML"),
    Magic("qemu", 0, b"QEVM"),
    Magic("vmware-state", 0, b"\xd0\xbe\xd2\xbe"),
    Magic("vmware-state", 0, b"\xd1\xba\xd1\xba"),
    Magic("vmware-state", 0, b"\xd2\xbe\xd2\xbe"),
    Magic("vmware-state", 0, b"\xd3\xbe\xd3\xbe"),
    Magic("minidump", 0, b"MDMP"),
    Magic("hiberfil", 0, b"hibr"),
    Magic("hiberfil", 0, b"HIBR"),
    Magic("hiberfil", 0, b"wake"),
    Magic("hiberfil", 0, b"WAKE"),
    Magic("hiberfil", 0, b"RSTR"),
    Magic("hiberfil", 0, b"brkp"),
    Magic("hiberlink", 0, b"link"),
    Magic("hpak", 0, b"HPAK"),
    Magic("kdump", 0, b"KDUMP   "),
    Magic("kdump", 0, b"makedumpfile"),
    Magic("diskdump", 0, b"DISKDUMP"),
    Magic("libvirt", 0, b"LibvirtQemudSave"),
    Magic("libvirt", 0, b"LibvirtQemudPart"),
    Magic("virtualbox-state", 0, b"\x7fVirtualBox SavedState"),
    # Signature of .vmrs and .vmcx files as dissect.hypervisor's c_hyperv.py has it (0x01282014).
    Magic("hyperv", 0, b"\x14\x20\x28\x01"),
    # xc_core_header of xenctrl.h (0xF00FEBED, 0xF00FEBEE); saves by xl, xm, and libvirt's libxl driver.
    Magic("xen-old", 0, b"\xed\xeb\x0f\xf0"),
    Magic("xen-old", 0, b"\xee\xeb\x0f\xf0"),
    Magic("xen-save", 0, b"Xen saved domain"),
    Magic("xen-save", 0, b"LinuxGuestRecord"),
    Magic("xen-save", 0, b"libvirt-xml\n"),
    Magic("ewf", 0, b"EVF\t\r\n\xff\x00"),
    Magic("ewf", 0, b"EVF2\r\n\x81\x00"),
    Magic("ewf", 0, b"LVF\t\r\n\xff\x00"),
    Magic("zip", 0, b"PK\x03\x04"),
    Magic("zip", 0, b"PK\x05\x06"),
    Magic("zip", 0, b"PK\x07\x08"),
    Magic("gzip", 0, b"\x1f\x8b"),
    Magic("bzip2", 0, b"BZh"),
    Magic("xz", 0, b"\xfd7zXZ\x00"),
    Magic("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    Magic("zstd", 0, b"\x28\xb5\x2f\xfd"),
    Magic("lz4", 0, b"\x04\x22\x4d\x18"),
    Magic("cab", 0, b"MSCF"),
    Magic("rar", 0, b"Rar!\x1a\x07"),
    Magic("tar", 257, b"ustar"),
    Magic("qcow2", 0, b"QFI\xfb"),
    # Volume descriptors begin at sector 16 (ECMA-119 6.2.1, 8.1).
    Magic("iso", 0x8001, b"CD001"),
    Magic("vmdk", 0, b"KDMV"),
    Magic("vmdk", 0, b"COWD"),
    Magic("vmdk", 0, b"# Disk DescriptorFile"),
    Magic("vhd", 0, b"conectix"),
    Magic("vhdx", 0, b"vhdxfile"),
    Magic("parallels", 0, b"WithoutFreeSpace"),
    Magic("parallels", 0, b"WithouFreSpacExt"),
    Magic("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    Magic("pe", 0, b"MZ"),
    Magic("pdf", 0, b"%PDF-"),
    Magic("registry", 0, b"regf"),
    Magic("sqlite", 0, b"SQLite format 3\x00"),
    Magic("pdb", 0, b"Microsoft C/C++ "),
    Magic("png", 0, b"\x89PNG\r\n"),
    Magic("evtx", 0, b"ElfFile\x00"),
)

# Hibernation files lose their signature on resume; compressed blocks keep this mark.
XPRESS_MARK = b"\x81\x81xpress"

_UNPACK = "unpack it first and give dumpscan the file inside"
_CONVERT = "convert it to a raw image first"


def _archive(what: str) -> Refusal:
    return Refusal(False, what, _UNPACK)


def _disk(what: str) -> Refusal:
    return Refusal(False, f"{what}, which holds a disk, not memory", "give the memory image of the machine")


def _other(what: str) -> Refusal:
    return Refusal(False, f"{what}, not a memory image", "give a memory image of a whole machine")


REFUSALS = {
    "minidump": Refusal(
        False,
        "a user-mode minidump (MDMP) of one process, not a memory image of the machine",
        "give a kernel or complete memory dump",
    ),
    "hiberlink": Refusal(
        True,
        "a hibernation link: it only holds the name of the real hibernation file",
        "give that file",
    ),
    "kdump": Refusal(
        True,
        "a compressed kdump core",
        "dump it again as ELF ('dump-guest-memory' without -z, -l, -s; 'virsh dump --memory-only')",
    ),
    "diskdump": Refusal(True, "a Linux diskdump core", _CONVERT),
    "virtualbox-state": Refusal(
        True, "a VirtualBox saved state", "use 'VBoxManage debugvm NAME dumpvmcore' instead"
    ),
    "hyperv": Refusal(
        True,
        "a Hyper-V saved state or configuration (.vmrs, .vmcx)",
        "write a crash dump from it with Microsoft's VmSavedStateDumpProvider (Windows SDK)",
    ),
    "hyperv-2008": Refusal(
        True,
        "a Hyper-V saved state (.vsv with .bin) of Windows Server 2008 to 2012",
        "write a crash dump from both files with vm2dmp",
    ),
    "xen-old": Refusal(True, "a Xen core in the form before ELF", "dump the domain with 'xl dump-core'"),
    "xen-save": Refusal(True, "a saved Xen domain", "restore it and dump it with 'xl dump-core'"),
    "ewf": Refusal(
        True, "an EWF (EnCase E01) container", "export it as a raw image, for instance with ewfexport"
    ),
    "zip": _archive("a ZIP archive"),
    "gzip": _archive("a gzip file"),
    "bzip2": _archive("a bzip2 file"),
    "xz": _archive("an xz file"),
    "7z": _archive("a 7z archive"),
    "zstd": _archive("a zstd file"),
    "lz4": _archive("an lz4 file"),
    "cab": _archive("a cabinet file"),
    "rar": _archive("a RAR archive"),
    "tar": _archive("a tar archive"),
    "qcow2": _disk("a QCOW disk image (memory of its internal snapshots is not read)"),
    "vmdk": _disk("a VMDK disk image"),
    "iso": _disk("a CD or DVD image (ISO 9660)"),
    "vhd": _disk("a VHD disk image"),
    "vhdx": _disk("a VHDX disk image"),
    "vdi": _disk("a VirtualBox disk image"),
    "parallels": _disk("a Parallels disk image"),
    "pe": _other("a Windows program or driver"),
    "pdf": _other("a PDF document"),
    "registry": _other("a registry hive"),
    "sqlite": _other("an SQLite database"),
    "pdb": _other("a symbol file (PDB)"),
    "png": _other("a picture"),
    "evtx": _other("an event log"),
}
