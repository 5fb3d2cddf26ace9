"""Security descriptors as they lie in memory, and what their numbers mean. Data only.

Source: MS-DTYP 2.4.2 (SID), 2.4.3 (ACCESS_MASK), 2.4.4 (ACE), 2.4.5 (ACL), 2.4.6
(SECURITY_DESCRIPTOR, self-relative) and its table of well-known SIDs; the same layouts in the DDK's
ntifs.h. All numbers little-endian, a SID's authority big-endian.
"""

from __future__ import annotations

DESCRIPTOR_SIZE = 20
"""Revision u8 (1), Sbz1 u8, Control u16, then u32 offsets of owner, group, SACL, DACL (0: none)."""
OWNER, GROUP, SACL, DACL = 4, 8, 12, 16
SELF_RELATIVE = 0x8000
DACL_PRESENT, SACL_PRESENT = 0x0004, 0x0010
CONTROL_WORDS = {0x0008: "DACL defaulted", 0x1000: "DACL protected", 0x0400: "DACL inherited"}

ACL_SIZE = 8
"""Revision u8 (2 to 4), Sbz1 u8, AclSize u16, AceCount u16, Sbz2 u16; entries follow."""
ACL_REVISIONS = (2, 3, 4)

ACE_SIZE = 4
"""Type u8, Flags u8, Size u16; then for the types here a u32 access mask and a SID."""
ACE_TYPES = {0: "allow", 1: "deny", 2: "audit", 3: "alarm"}
INHERIT_ONLY = 0x08

SID_SIZE = 8
"""Revision u8 (1), SubAuthorityCount u8 (at most 15), authority 6 bytes; then u32 sub-authorities."""
MOST_SUBAUTHORITIES = 15

SIDS = {
    "S-1-0-0": "Nobody",
    "S-1-1-0": "Everyone",
    "S-1-2-0": "LOCAL",
    "S-1-3-0": "CREATOR OWNER",
    "S-1-3-1": "CREATOR GROUP",
    "S-1-5-1": "DIALUP",
    "S-1-5-2": "NETWORK",
    "S-1-5-3": "BATCH",
    "S-1-5-4": "INTERACTIVE",
    "S-1-5-6": "SERVICE",
    "S-1-5-7": "ANONYMOUS LOGON",
    "S-1-5-9": "ENTERPRISE DOMAIN CONTROLLERS",
    "S-1-5-10": "SELF",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-12": "RESTRICTED",
    "S-1-5-13": "TERMINAL SERVER USER",
    "S-1-5-14": "REMOTE INTERACTIVE LOGON",
    "S-1-5-18": "SYSTEM",
    "S-1-5-19": "LOCAL SERVICE",
    "S-1-5-20": "NETWORK SERVICE",
    "S-1-5-32-544": "Administrators",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-32-547": "Power Users",
    "S-1-5-32-548": "Account Operators",
    "S-1-5-32-549": "Server Operators",
    "S-1-5-32-550": "Print Operators",
    "S-1-5-32-551": "Backup Operators",
    "S-1-5-32-552": "Replicators",
    "S-1-5-32-554": "Pre-Windows 2000 Compatible Access",
    "S-1-5-32-555": "Remote Desktop Users",
    "S-1-5-32-556": "Network Configuration Operators",
    "S-1-5-32-558": "Performance Monitor Users",
    "S-1-5-32-559": "Performance Log Users",
    "S-1-5-33": "WRITE RESTRICTED",
    "S-1-16-4096": "low integrity",
    "S-1-16-8192": "medium integrity",
    "S-1-16-12288": "high integrity",
    "S-1-16-16384": "system integrity",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464": "TrustedInstaller",
}

DOMAIN_ACCOUNTS = {
    500: "Administrator",
    501: "Guest",
    512: "Domain Admins",
    513: "Domain Users",
    514: "Domain Guests",
    515: "Domain Computers",
}
"""Last sub-authority of S-1-5-21-a-b-c-rid."""

ACCESS_MASKS = {
    0x001F01FF: "full control",
    0x001F0000: "standard rights",
    0x10000000: "full control (generic)",
    0x001201FF: "read, write and execute",
    0x001201BF: "read, write and execute",
    0x0012019F: "read and write",
    0x00120116: "write",
    0x001200A9: "read and execute",
    0x00120089: "read",
    0x001200A0: "execute",
    0xE0000000: "read, write and execute (generic)",
    0xC0000000: "read and write (generic)",
    0xA0000000: "read and execute (generic)",
    0x80000000: "read (generic)",
    0x40000000: "write (generic)",
    0x20000000: "execute (generic)",
}
"""Whole masks of files and devices as FILE_ALL_ACCESS and the FILE_GENERIC ones make them."""

ACCESS_BITS = {
    0x0001: "read data",
    0x0002: "write data",
    0x0004: "append data",
    0x0008: "read EA",
    0x0010: "write EA",
    0x0020: "execute",
    0x0040: "delete child",
    0x0080: "read attributes",
    0x0100: "write attributes",
    0x00010000: "delete",
    0x00020000: "read control",
    0x00040000: "write DAC",
    0x00080000: "write owner",
    0x00100000: "synchronize",
    0x01000000: "access SACL",
    0x02000000: "maximum allowed",
    0x10000000: "generic all",
    0x20000000: "generic execute",
    0x40000000: "generic write",
    0x80000000: "generic read",
}
