"""Names in texts, and the drivers that they lead to."""

from __future__ import annotations

import pytest

from dumpscan.attribution.clones import Clone, Family
from dumpscan.attribution.kinds import OTHER, TEXT
from dumpscan.attribution.link import named_drivers
from dumpscan.attribution.strings import names_in, texts_in, wide_text
from dumpscan.model import Drivers, Module, Unloads

SERVICE = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (SERVICE + "hwmon32", ("hwmon32",)),
        (SERVICE + "HwMon32\\Enum", ("hwmon32",)),
        ("\\Driver\\vdisk", ("vdisk",)),
        ("\\FileSystem\\Fat", ("fat",)),
        ("\\SystemRoot\\System32\\DRIVERS\\probe64.SYS", ("probe64",)),
        ("ROOT\\LEGACY_HWMON32\\0000", ("hwmon32",)),
        ("ROOT\\HWMON32\\0000", ("hwmon32",)),
        (SERVICE + "usbport.sys", ("usbport",)),
        ("\\Device\\Harddisk0\\DR0", ()),
        ("PCI\\VEN_8086&DEV_24D2", ()),
    ],
)
def test_names_of_services_and_drivers(text: str, names: tuple[str, ...]) -> None:
    assert names_in([text]) == names


def test_texts_in_a_structure_are_found_and_ended() -> None:
    content = bytes.fromhex("0100000080356480") + wide("\\Driver\\vdisk\0") + b"\xff\xff"
    assert texts_in(content) == ["\\Driver\\vdisk"]
    assert wide_text(wide("abc\0left over")) == "abc"


def family(kind: int, text: bytes, copies: int) -> Family:
    said = wide_text(text) if kind == TEXT else ""
    return Family(128, kind, (Clone(kind, text, copies, 0xE1000008, said),))


RING = Drivers(
    12_010,
    (Unloads("HwMon32.sys", 47, None, None), Unloads("aec.sys", 3, None, None)),
    (Module("atapi.sys", "0xf7000000", 4096),),
    50,
)


def test_blocks_are_connected_with_the_ring_whatever_the_case() -> None:
    found = {
        "Pp  ": [
            family(TEXT, wide(SERVICE + "hwmon32\0"), 12_000),
            family(TEXT, wide("ROOT\\HWMON32\\0000\0"), 11_000),
            family(OTHER, b"\1\2" + b"\\\0" + wide("Driver\\atapi\0"), 5),
            family(TEXT, wide("left\0" + SERVICE + "old"), 9),
        ]
    }
    first, second = named_drivers(found, RING)
    assert (first.name, first.service, first.blocks, first.copies) == (
        "HwMon32.sys",
        "hwmon32",
        23_000,
        12_000,
    )
    assert first.text == SERVICE + "hwmon32"
    assert (first.unloads_recent, first.ring_entries, first.loaded) == (47, 50, False)
    assert (second.name, second.blocks, second.loaded, second.unloads_recent) == ("atapi.sys", 5, True, 0)


def test_without_a_ring_the_unloads_are_unknown() -> None:
    [row] = named_drivers({"Pp  ": [family(TEXT, wide(SERVICE + "xyz\0"), 30)]}, Drivers())
    assert (row.name, row.unloads_recent, row.ring_entries) == ("xyz", None, None)
