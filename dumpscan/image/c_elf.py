"""ELF core files as QEMU, libvirt and VirtualBox write them.

ELF fields: the System V ABI, generic part, class 32 and 64. Notes: QEMU's CPU state is
QEMUCPUState of qemu/qemu target/i386/arch_dump.c; VirtualBox's are DBGFCOREDESCRIPTOR and
DBGFCORECPU of its public header dbgfcorefmt.h (facts/dump-headers.json VBOX_ELF_CORE).
"""

from __future__ import annotations

from dumpscan.image.layout import layout

MAGIC = b"\x7fELF"
CLASS32, CLASS64 = 1, 2
LITTLE_ENDIAN = 1
ET_CORE = 4
PT_LOAD, PT_NOTE = 1, 4
# e_phnum of this value: the count is in sh_info of section 0.
PN_XNUM = 0xFFFF
MACHINES = {3: "x86", 62: "x64", 50: "ia64"}

EHDR32 = layout(
    0x34,
    {
        "e_type": (0x10, "u2"),
        "e_machine": (0x12, "u2"),
        "e_phoff": (0x1C, "u4"),
        "e_shoff": (0x20, "u4"),
        "e_phentsize": (0x2A, "u2"),
        "e_phnum": (0x2C, "u2"),
        "e_shentsize": (0x2E, "u2"),
        "e_shnum": (0x30, "u2"),
        "e_shstrndx": (0x32, "u2"),
    },
)
EHDR64 = layout(
    0x40,
    {
        "e_type": (0x10, "u2"),
        "e_machine": (0x12, "u2"),
        "e_phoff": (0x20, "u8"),
        "e_shoff": (0x28, "u8"),
        "e_phentsize": (0x36, "u2"),
        "e_phnum": (0x38, "u2"),
        "e_shentsize": (0x3A, "u2"),
        "e_shnum": (0x3C, "u2"),
        "e_shstrndx": (0x3E, "u2"),
    },
)
PHDR32 = layout(
    0x20,
    {
        "p_type": (0x0, "u4"),
        "p_offset": (0x4, "u4"),
        "p_paddr": (0xC, "u4"),
        "p_filesz": (0x10, "u4"),
        "p_memsz": (0x14, "u4"),
    },
)
PHDR64 = layout(
    0x38,
    {
        "p_type": (0x0, "u4"),
        "p_offset": (0x8, "u8"),
        "p_paddr": (0x18, "u8"),
        "p_filesz": (0x20, "u8"),
        "p_memsz": (0x28, "u8"),
    },
)
SHDR32 = layout(
    0x28,
    {"sh_name": (0x0, "u4"), "sh_offset": (0x10, "u4"), "sh_size": (0x14, "u4"), "sh_info": (0x1C, "u4")},
)
SHDR64 = layout(
    0x40,
    {"sh_name": (0x0, "u4"), "sh_offset": (0x18, "u8"), "sh_size": (0x20, "u8"), "sh_info": (0x2C, "u4")},
)

NHDR = layout(12, {"n_namesz": (0, "u4"), "n_descsz": (4, "u4"), "n_type": (8, "u4")})

# QEMUCPUState: version and size, 16 general registers, rip, rflags, 10 segments of 24 bytes, cr[5].
QEMU_NAME, QEMU_CPU_TYPE = b"QEMU", 0
QEMU_CPU = layout(0x1B0, {"version": (0, "u4"), "size": (4, "u4"), "cr": (0x188, ("u8", (5,)))})

# 18 registers, 6 segments of 24 bytes, then cr0, cr2, cr3, cr4.
VBOX_NAME, VBOX_CPU_NAME, VBOX_CORE_TYPE, VBOX_CPU_TYPE = b"VBCORE", b"VBCPU", 0xB00, 0xB01
VBOX_CPU = layout(0x140, {"cr0": (0x120, "u8"), "cr3": (0x130, "u8"), "cr4": (0x138, "u8")})

# Xen's docs/misc/dump-core-format.txt: entries of .xen_pfn and .xen_p2m (there with the machine's
# own page number behind). All ones mean no page; volatility3 also leaves out 32 ones.
XEN_PFN = layout(8, {"pfn": (0, "u8")})
XEN_P2M = layout(16, {"pfn": (0, "u8"), "gmfn": (8, "u8")})
XEN_NO_PAGE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)

CR4_PAE = 1 << 5
