"""QEMU's savevm stream and libvirt's save file around it.

Stream: facts/dump-headers.json QEMU_SAVEVM (volatility3 layers/qemu.py) and qemu/qemu migration/ram.c,
migration/savevm.c. RAM split: facts/dump-formats.md 8, and qemu/qemu hw/i386/pc_piix.c, pc_q35.c (the
split at whole gigabytes, ``gigabyte_align``, came with the machine types 2.0). Save file: libvirt/libvirt
src/qemu/qemu_saveimage.h; numbers are in the byte order of the machine that wrote it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dumpscan.image.layout import layout

STREAM_MAGIC, STREAM_VERSION = b"QEVM", 3

# Marks of sections. All numbers in the stream are big-endian.
SECTION_START, SECTION_PART, SECTION_END, SECTION_FULL = 1, 2, 3, 4
SUBSECTION, DESCRIPTION, CONFIGURATION, FOOTER = 5, 6, 7, 0x7E
RAM_VERSION = 4

# Flags in the low twelve bits of a page's address in its RAM block.
FLAG_BITS = 0xFFF
ZERO, SIZES, STORED, END, SAME_BLOCK = 0x02, 0x04, 0x08, 0x10, 0x20
REFUSED_FLAGS = {
    0x40: "pages as differences (XBZRLE)",
    0x80: "pages sent by RDMA",
    0x100: "compressed pages (capability compress)",
    0x200: "pages sent over other channels (multifd)",
}
# Capabilities (in a subsection of the configuration) that change the list of blocks.
CAPABILITIES = b"configuration/capabilities"
REFUSED_CAPABILITIES = (b"mapped-ram", b"x-ignore-shared")

# The guest's RAM; with several NUMA nodes it is one block per node, in order.
RAM_BLOCK = re.compile(rb"(?:/objects/)?(?:pc\.ram|mem|ram-node(\d+))")

FOUR_GB = 1 << 32


class Split(NamedTuple):
    """RAM of ``least`` bytes and more leaves guest addresses from ``low`` to 4 GB to devices."""

    least: int
    low: int


I440FX, I440FX_OLD = Split(0xE0000000, 0xC0000000), Split(0xE0000000, 0xE0000000)
Q35, Q35_OLD = Split(0xB0000000, 0x80000000), Split(0xB0000000, 0xB0000000)
# First match counts. Distributions have names like pc-i440fx-rhel7.6.0, before 1.4 it is pc-1.2.
SPLITS = (
    (re.compile(r"pc-q35-[01]\."), Q35_OLD),
    (re.compile(r"(pc-)?q35"), Q35),
    (re.compile(r"pc-i440fx-[01]\."), I440FX_OLD),
    (re.compile(r"(pc-[01]\.|rhel[56]\.)"), I440FX_OLD),
    (re.compile(r"pc"), I440FX),
)

# The XML (and a cookie) of ``DataLength`` bytes follow, then the stream.
SAVE_MAGIC, SAVE_PARTIAL = b"LibvirtQemudSave", b"LibvirtQemudPart"
SAVE_VERSION = 2
SAVE_HEADER = layout(
    92,
    {"Version": (16, "u4"), "DataLength": (20, "u4"), "Running": (24, "u4"), "Format": (28, "u4")},
)
# Format -> kind of compressed file (as unpack.py names it), and those that cannot be read.
SAVE_PACKED = {1: "gzip", 2: "bzip2", 3: "xz", 5: "zstd"}
SAVE_REFUSED = {4: "lzop", 6: "sparse (QEMU's mapped-ram)"}
