"""What is refused by name, with which exit code, and what passes for a raw image."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import ExitCode, ImageError, NotAnImage, UnreadableFile, UnsupportedImage
from dumpscan.image.recognise import open_image, sniff
from tests.image.writers import page

REFUSED = [
    (b"MDMP\x93\xa7", "user-mode minidump", ExitCode.NOT_AN_IMAGE),
    (b"link", "hibernation link", ExitCode.UNSUPPORTED),
    (b"KDUMP   ", "kdump", ExitCode.UNSUPPORTED),
    (b"makedumpfile\0\0\0\0", "kdump", ExitCode.UNSUPPORTED),
    (b"LibvirtQemudSave", "libvirt", ExitCode.UNSUPPORTED),
    (b"\x14\x20\x28\x01", "Hyper-V", ExitCode.UNSUPPORTED),
    (b"\xee\xeb\x0f\xf0\x01\0\0\0", "Xen core", ExitCode.UNSUPPORTED),
    (b"Xen saved domain, xl format\n", "saved Xen domain", ExitCode.UNSUPPORTED),
    (b"\x7fVirtualBox SavedState V2.0", "VirtualBox saved state", ExitCode.UNSUPPORTED),
    (b"EVF\x09\x0d\x0a\xff\x00", "EnCase", ExitCode.UNSUPPORTED),
    (b"QEVM\x00\x00\x00\x02", "version", ExitCode.UNSUPPORTED),
    (b"PK\x03\x04", "ZIP", ExitCode.NOT_AN_IMAGE),
    (b"\x1f\x8b\x08", "gzip", ExitCode.NOT_AN_IMAGE),
    (b"BZh91AY", "bzip2", ExitCode.NOT_AN_IMAGE),
    (b"\xfd7zXZ\x00", "xz", ExitCode.NOT_AN_IMAGE),
    (b"7z\xbc\xaf\x27\x1c", "7z", ExitCode.NOT_AN_IMAGE),
    (b"\x28\xb5\x2f\xfd", "zstd", ExitCode.NOT_AN_IMAGE),
    (b"MSCF\x00\x00", "cabinet", ExitCode.NOT_AN_IMAGE),
    (b"Rar!\x1a\x07\x00", "RAR", ExitCode.NOT_AN_IMAGE),
    (b"QFI\xfb", "QCOW", ExitCode.NOT_AN_IMAGE),
    (b"KDMV", "VMDK", ExitCode.NOT_AN_IMAGE),
    (b"conectix", "VHD", ExitCode.NOT_AN_IMAGE),
    (b"vhdxfile", "VHDX", ExitCode.NOT_AN_IMAGE),
    (b"WithouFreSpacExt", "Parallels", ExitCode.NOT_AN_IMAGE),
    (b"%PDF-1.4", "PDF", ExitCode.NOT_AN_IMAGE),
    (b"regf", "registry", ExitCode.NOT_AN_IMAGE),
]


@pytest.mark.parametrize(("head", "word", "code"), REFUSED, ids=[word for _, word, _ in REFUSED])
def test_refused_by_name(tmp_path: Path, head: bytes, word: str, code: ExitCode) -> None:
    path = tmp_path / "memory.raw"  # the name says nothing
    path.write_bytes(head + bytes(2 << 20))
    with pytest.raises(ImageError, match=word) as caught:
        open_image(path)
    assert caught.value.exit_code == code
    assert "\n" not in str(caught.value)


def test_a_disc_image_is_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "memory.raw"
    path.write_bytes(bytes(0x8000) + b"\1CD001\1" + bytes(2 << 20))  # ECMA-119 8.4
    with pytest.raises(NotAnImage, match="ISO 9660"):
        open_image(path)


def test_states_of_hyper_v_2008_are_known_by_their_names(tmp_path: Path) -> None:
    content = b"".join(page(n) for n in range(300))
    state, memory = tmp_path / "0A2F.vsv", tmp_path / "0A2F.bin"
    memory.write_bytes(content)
    assert open_image(memory).info.format == "raw"
    state.write_bytes(content)
    for path in (state, memory):
        with pytest.raises(UnsupportedImage, match="vm2dmp"):
            open_image(path)


def test_a_resumed_hibernation_file_is_known_by_its_first_block() -> None:
    assert sniff(bytes(0x7000) + b"\x81\x81xpress" + bytes(0x3000)) == "hiberfil"
    assert sniff(b"x" + bytes(0x6FFF) + b"\x81\x81xpress" + bytes(0x3000)) == "raw"


def test_sniff_goes_by_content() -> None:
    assert sniff(b"PAGEDUMP") == "crash32"
    assert sniff(b"PAGEDU64") == "crash64"
    assert sniff(b"\x7fELF\x02\x01") == "elf"
    assert sniff(b"EMiL") == "lime"
    assert sniff(b"AVML") == "avml"
    assert sniff(b"QEVM") == "qemu"
    assert sniff(bytes.fromhex("d0bed2be")) == "vmware-state"
    assert sniff(bytes.fromhex("d1bad1ba")) == "vmware-state"
    assert sniff(bytes(512), b"conectix" + bytes(504)) == "vhd"
    assert sniff(bytes(257) + b"ustar") == "tar"
    assert sniff(b"MZ" + bytes(4096)) == "raw"
    assert sniff(b"MZ" + bytes(0x3A) + b"\x40\0\0\0PE\0\0") == "pe"
    assert sniff(b"") == "raw"


def test_missing_directory_and_device(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.dmp", tmp_path, Path(os.devnull), tmp_path / "x\0y"):
        with pytest.raises(UnreadableFile) as caught:
            open_image(path)
        assert caught.value.exit_code == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match="regular"):
        open_image(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read all")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.dmp"
    path.write_bytes(b"PAGEDUMP")
    path.chmod(0)
    with pytest.raises(UnreadableFile, match="permission"):
        open_image(path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.dmp"
    path.touch()
    with pytest.raises(NotAnImage, match="empty"):
        open_image(path)


def raw_pages(count: int = 512) -> bytes:
    return b"".join(page(n) for n in range(count))


def test_a_raw_image_is_flat(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(raw_pages())
    opened = open_image(path)
    assert opened.memory is not None
    assert opened.info.format == "raw"
    assert opened.memory.read(0x1FF000, 4096) == page(0x1FF)
    assert (opened.info.pages_present, opened.info.pages_expected, opened.info.truncated) == (512, 512, False)


def test_a_raw_image_that_ends_inside_a_page_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(raw_pages()[:-96])
    opened = open_image(path)
    assert (opened.info.pages_present, opened.info.pages_expected, opened.info.truncated) == (511, 512, True)
    assert "4000" in opened.info.notes[0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x01\x02\x00\x03" * 100, "too small"),
        (b"hello, world\r\n" * 10, "text"),
        (b"ptr = 0x1000;\n" * 200_000, "text"),
        ("täxt als UTF-16\n".replace("ä", "a").encode("utf-16-le") * 100_000, "text"),
        (bytes(4 << 20), "zeros"),
        (np.random.default_rng(5).integers(0, 256, 2 << 20, np.uint8).tobytes(), "compressed"),
        (b"\x78\x9c" + zlib.compress(np.random.default_rng(6).bytes(2 << 20), 1), "compressed"),
    ],
    ids=["tiny", "text", "long text", "utf-16", "zeros", "random", "zlib"],
)
def test_what_no_machine_has_in_memory(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "memory.raw"
    path.write_bytes(content)
    with pytest.raises(NotAnImage, match=word) as caught:
        open_image(path)
    assert caught.value.exit_code == 4


def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(raw_pages())
    opened = open_image(path)
    assert opened.memory is not None
    opened.close()
    assert not opened.memory.present(np.array([0, 1])).any()
    path.unlink()
