"""Compressed containers: what is listed, what comes out, what is refused, and that nothing is left."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import signal
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dumpscan.errors import DamagedImage, NotAnImage, UnreadableFile, UnsupportedImage
from dumpscan.image.archive import Limits, Member, extract, members, sweep
from dumpscan.image.recognise import open_image
from tests.image.writers import header32, page

DUMP = header32(runs=[(0x10, 3)]) + page(0x10) + page(0x11) + page(0x12)
OTHER = header32(runs=[(0x20, 1)]) + page(0x20)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for the system's temporary one."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def cabinet(files: dict[str, bytes], packed: bool = True) -> bytes:
    """A cabinet with one folder, MSZIP or stored: MS-CAB 2.1 to 2.4, offsets by hand."""
    data = b"".join(files.values())
    blocks, history = b"", b""
    for at in range(0, len(data), 0x8000):
        raw = data[at : at + 0x8000]
        if packed:
            squeezer = (
                zlib.compressobj(9, zlib.DEFLATED, -15, zdict=history)
                if history
                else zlib.compressobj(9, zlib.DEFLATED, -15)
            )
            body = b"CK" + squeezer.compress(raw) + squeezer.flush()
            history = raw
        else:
            body = raw
        blocks += struct.pack("<IHH", 0, len(body), len(raw)) + body
    entries, offset = b"", 0
    for name, content in files.items():
        entries += struct.pack("<IIHHHH", len(content), offset, 0, 0x38B6, 0x6000, 0x20)
        entries += name.encode() + b"\0"
        offset += len(content)
    files_at = 36 + 8
    data_at = files_at + len(entries)
    folder = struct.pack("<IHH", data_at, -(-len(data) // 0x8000), 1 if packed else 0)
    head = b"MSCF" + struct.pack(
        "<IIIIIBBHHHHH", 0, data_at + len(blocks), 0, files_at, 0, 3, 1, 1, len(files), 0, 1, 0
    )
    return head + folder + entries + blocks


def seven(files: dict[str, bytes], folder: Path) -> bytes:
    libarchive = libarchive_or_skip()
    path = folder / "made.7z"
    with libarchive.file_writer(str(path), "7zip") as archive:
        for name, data in files.items():
            archive.add_file_from_memory(name, len(data), data)
    return path.read_bytes()


def libarchive_or_skip() -> Any:
    try:
        import libarchive
    except (ImportError, OSError, AttributeError, TypeError):
        pytest.skip("libarchive or its binding (dumpscan[archives]) is not installed")
    return libarchive


def zstd(data: bytes) -> bytes:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return bytes(__import__(name, fromlist=["compress"]).compress(data))
        except ImportError:
            continue
    pytest.skip("no zstd library (dumpscan[archives])")


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_compressed_dump_opens_from_its_temporary_file(tmp_path: Path, scratch: Path, suffix: str) -> None:
    path = put(tmp_path, f"one.dmp.{suffix}", PACKERS[suffix](DUMP))
    (member,) = members(path)
    assert member == Member("one.dmp", None, (0,), "crash32")
    with extract(path, member) as image:
        opened = open_image(image)
        assert opened.info.pages_present == 3
        assert opened.memory is not None and opened.memory.read(0x11000, 8) == b"\x11\0\0\0" * 2
        assert image.parent.parent == scratch
        opened.close()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("suffix", PACKERS)
def test_concatenated_streams_are_one_file(tmp_path: Path, scratch: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    path = put(tmp_path, f"two.{suffix}", pack(DUMP[:5000]) + pack(DUMP[5000:]))
    with extract(path, next(members(path))) as image:
        assert image.read_bytes() == DUMP


@pytest.mark.parametrize("suffix", ["", *PACKERS])
def test_tar_plain_and_compressed(tmp_path: Path, scratch: Path, suffix: str) -> None:
    data = tarred({"a/one.dmp": DUMP, "readme.txt": b"hello " * 20, "two.dmp": OTHER})
    path = put(tmp_path, "set.tar", PACKERS[suffix](data) if suffix else data)
    found = list(members(path))
    assert [(m.name, m.size, m.where, m.kind) for m in found] == [
        ("a/one.dmp", len(DUMP), (0,), "crash32"),
        ("readme.txt", 120, (1,), "raw"),
        ("two.dmp", len(OTHER), (2,), "crash32"),
    ]
    for member, content in zip(found, (DUMP, b"hello " * 20, OTHER), strict=True):
        with extract(path, member) as image:
            assert image.read_bytes() == content


def test_links_devices_and_folders_of_a_tar_are_no_members(tmp_path: Path, scratch: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("n", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert list(members(put(tmp_path, "x.tar", out.getvalue()))) == []


@pytest.mark.parametrize("kind", ["zip", "cab", "cab-stored", "7z"])
def test_files_are_found_by_position(tmp_path: Path, scratch: Path, kind: str) -> None:
    files = {"one.dmp": DUMP, "two.dmp": OTHER, "big.bin": bytes(range(256)) * 300}
    if kind.startswith("cab"):
        libarchive_or_skip()
        data = cabinet(files, packed=kind == "cab")
    else:
        data = zipped(files) if kind == "zip" else seven(files, tmp_path)
    path = put(tmp_path, "set.bin", data)
    found = list(members(path))
    assert [(m.size, m.where) for m in found] == [(len(d), (i,)) for i, d in enumerate(files.values())]
    assert [m.kind for m in found] == ["crash32", "crash32", "raw"]
    for member, content in zip(found, files.values(), strict=True):
        with extract(path, member) as image:
            assert image.read_bytes() == content
    assert list(scratch.iterdir()) == []


def test_two_files_of_one_name_are_two_members(tmp_path: Path, scratch: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for data in (DUMP, OTHER):
            info = tarfile.TarInfo("same.dmp")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path = put(tmp_path, "same.tar", out.getvalue())
    first, second = members(path)
    with extract(path, first) as a, extract(path, second) as b:
        assert (a.read_bytes(), b.read_bytes()) == (DUMP, OTHER)


def test_one_level_inside_is_looked_into_and_no_more(tmp_path: Path, scratch: Path) -> None:
    inner = zipped({"deep.dmp": DUMP, "deeper.zip": zipped({"x": b"x"})})
    path = put(tmp_path, "outer.zip", zipped({"in.zip": inner, "in.dmp.gz": gzip.compress(OTHER)}))
    found = list(members(path))
    assert [(m.name, m.where, m.kind) for m in found] == [
        ("in.zip!deep.dmp", (0, 0), "crash32"),
        ("in.zip!deeper.zip", (0, 1), "zip"),
        ("in.dmp.gz!in.dmp", (1, 0), "crash32"),
    ]
    for member, content in ((found[0], DUMP), (found[2], OTHER)):
        with extract(path, member) as image:
            assert image.read_bytes() == content
    with extract(path, found[1]) as image, pytest.raises(NotAnImage, match="a ZIP archive; unpack it first"):
        open_image(image)
    assert list(scratch.iterdir()) == []


def test_a_tar_inside_a_compressed_tar_is_one_level(tmp_path: Path, scratch: Path) -> None:
    inner = gzip.compress(tarred({"deep.dmp": DUMP}))
    path = put(tmp_path, "o.tgz", gzip.compress(tarred({"pad": b"p" * 3000, "i.tgz": inner})))
    member = list(members(path))[1]
    assert (member.name, member.where) == ("i.tgz!deep.dmp", (1, 0))
    with extract(path, member) as image:
        assert image.read_bytes() == DUMP


@pytest.mark.parametrize(
    "name", ["../../evil.dmp", "/etc/evil.dmp", "C:\\evil.dmp", "..\\evil", "a\x1b[2J\nb"]
)
def test_names_inside_are_never_paths(tmp_path: Path, scratch: Path, name: str) -> None:
    before = sorted(p for p in tmp_path.rglob("*"))
    for pack in (zipped, tarred):
        path = put(tmp_path, "evil.bin", pack({name: DUMP}))
        (member,) = members(path)
        assert member.name.isprintable()
        with extract(path, member) as image:
            assert image.name == "image" and image.parent.parent == scratch
        path.unlink()
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_vmware_memory_file_comes_with_its_state_file(tmp_path: Path, scratch: Path) -> None:
    files = {"vm/A.vmss": b"\xd2\xbe\xd2\xbe" + bytes(80), "vm/B.vmss": b"other", "vm/A.vmem": bytes(8192)}
    path = put(tmp_path, "vm.tgz", gzip.compress(tarred(files)))
    member = list(members(path))[2]
    with extract(path, member) as image:
        assert image.name == "image.vmem"
        assert (image.parent / "image.vmss").read_bytes() == files["vm/A.vmss"]


def test_zeros_become_holes(tmp_path: Path, scratch: Path) -> None:
    data = bytes(8 << 20) + b"end"
    path = put(tmp_path, "z.gz", gzip.compress(data))
    with extract(path, next(members(path))) as image:
        assert image.read_bytes() == data
        if hasattr(os.stat_result, "st_blocks") and sys.platform == "linux":
            assert image.stat().st_blocks * 512 < 1 << 20


SMALL = Limits(max_bytes=1 << 20, max_ratio=20, free_bytes=1 << 19, max_members=5)
BOMB = "unpacks beyond the limit on size and ratio, like a decompression bomb"


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_bomb_is_refused_by_its_ratio_and_leaves_nothing(
    tmp_path: Path, scratch: Path, suffix: str
) -> None:
    path = put(tmp_path, f"bomb.{suffix}", PACKERS[suffix](bytes(1_000_000)))
    (member,) = members(path, SMALL)
    with pytest.raises(DamagedImage, match=BOMB), extract(path, member, SMALL):
        pass
    assert list(scratch.iterdir()) == []


def test_a_bomb_in_a_zip_costs_only_its_member(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, "b.zip", zipped({"bomb": bytes(1_000_000), "fine.dmp": DUMP, "x.gz": bytes(300)}))
    bomb, fine, _ = members(path, SMALL)
    with pytest.raises(DamagedImage, match=f"^bomb: {BOMB}"), extract(path, bomb, SMALL):
        pass
    with extract(path, fine, SMALL) as image:
        assert image.read_bytes() == DUMP


def test_the_limit_on_size_holds_for_honest_data(tmp_path: Path, scratch: Path) -> None:
    data = os.urandom((1 << 20) + 1)
    path = put(tmp_path, "big.zip", zipped({"big": data, "ok": data[:-1]}))
    big, fine = members(path, SMALL)
    with pytest.raises(DamagedImage, match=BOMB), extract(path, big, SMALL):
        pass
    with extract(path, fine, SMALL) as image:
        assert image.stat().st_size == 1 << 20


def test_a_bomb_before_the_wanted_file_ends_the_listing(tmp_path: Path, scratch: Path) -> None:
    files = {"first.dmp": DUMP, "bomb": bytes(16 << 20), "late.dmp": DUMP}
    found: list[Member] = []
    with pytest.raises(DamagedImage, match=BOMB):
        found.extend(members(put(tmp_path, "b.tgz", gzip.compress(tarred(files))), SMALL))
    assert "late.dmp" not in [m.name for m in found] and found[0].name == "first.dmp"


def test_a_nested_bomb_is_a_fault_of_that_member(tmp_path: Path, scratch: Path) -> None:
    bomb = gzip.compress(tarred({"z": bytes(4 << 20), "late": b"x"}))
    path = put(tmp_path, "o.tar", tarred({"bomb.tgz": bomb, "fine.dmp": DUMP}))
    found = list(members(path, SMALL))
    assert [m.name for m in found if m.fault is None][-1] == "fine.dmp"
    assert any(m.fault and "decompression bomb" in m.fault for m in found)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "many.zip", zipped({str(n): b"x" for n in range(6)}))
    with pytest.raises(DamagedImage, match=r"many\.zip: holds more than 5 files"):
        list(members(path, SMALL))


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("cut", [0.75, 0.98])
def test_a_cut_file_is_damaged(tmp_path: Path, scratch: Path, suffix: str, cut: float) -> None:
    # Several blocks of bz2, which are 900 kB each.
    whole = PACKERS[suffix](os.urandom(3 << 19 if suffix == "bz2" else 1 << 18))
    path = put(tmp_path, f"cut.{suffix}", whole[: int(len(whole) * cut)])
    for member in members(path):
        assert member.fault is None or "cut off or damaged" in member.fault
        with pytest.raises(DamagedImage, match=r"^cut: .*cut off or damaged"), extract(path, member):
            pass
    assert list(scratch.iterdir()) == []


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path: Path, scratch: Path) -> None:
    data = bytearray(zipped({"x.bin": os.urandom(1 << 18)}))
    data[1 << 17] ^= 0xFF
    path = put(tmp_path, "bad.zip", bytes(data))
    (member,) = members(path)
    with (
        pytest.raises(DamagedImage, match=r"^x\.bin: the container is cut off or damaged"),
        extract(path, member),
    ):
        pass


def test_a_zip_without_its_directory_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedImage, match=r"cut\.zip: the container is cut off or damaged"):
        list(members(put(tmp_path, "cut.zip", zipped({"a": DUMP})[:-30])))


def test_an_encrypted_file_is_listed_with_its_fault(tmp_path: Path, scratch: Path) -> None:
    data = bytearray(zipped({"secret.dmp": DUMP}))
    # Bit 0 of the flags: at 6 of the local header, at 8 of the one in the directory (APPNOTE 4.3).
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path = put(tmp_path, "s.zip", bytes(data))
    (member,) = members(path)
    assert member.fault is not None and "secret.dmp: is encrypted" in member.fault
    with pytest.raises(UnsupportedImage, match="encrypted"), extract(path, member):
        pass


def test_an_xz_file_that_asks_for_4_gb_is_refused(tmp_path: Path, scratch: Path) -> None:
    raw = lzma.compress(DUMP, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}])
    # Block header at 12: size, flags, filter 0x21, one property byte: 40 means 4 GiB - 1 (xz 5.3.1).
    head = bytearray(raw[12:24])
    assert head[2:4] == b"\x21\x01"
    head[4] = 40
    head[8:12] = struct.pack("<I", zlib.crc32(bytes(head[:8])))
    path = put(tmp_path, "hungry.xz", raw[:12] + bytes(head) + raw[24:])
    with pytest.raises(DamagedImage, match=r"hungry\.xz"):
        list(members(path))


def test_what_is_no_container_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="no compressed container"):
        list(members(put(tmp_path, "x.dmp", DUMP)))
    with pytest.raises(UnreadableFile, match="No such file"):
        list(members(tmp_path / "absent.zip"))


def test_a_container_that_changed_after_listing(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, "c.zip", zipped({"a": DUMP}))
    (member,) = members(path)
    put(tmp_path, "c.zip", zipped({"b": OTHER}))
    with pytest.raises(DamagedImage, match="changed since it was listed"), extract(path, member):
        pass


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("libarchive", "compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    for magic in (b"MSCF", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd"):
        path = put(tmp_path, "x", magic + bytes(100))
        with pytest.raises(UnsupportedImage, match=r"pip install 'dumpscan\[archives\]'"):
            list(members(path))


def test_what_a_killed_process_left_is_swept(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, "one.gz", gzip.compress(DUMP))
    script = (
        "import sys, time; from dumpscan.image.archive import members, extract\n"
        "with extract(sys.argv[1], next(members(sys.argv[1])), folder=sys.argv[2]):\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(path), str(scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        (left,) = scratch.iterdir()
        assert sweep(scratch) == 0 and (left / "image").exists()
        child.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        child.wait(10)
    assert (left / "image").exists()
    with extract(path, next(members(path))):
        assert not left.exists()
    assert sweep(scratch) == 0 and list(scratch.iterdir()) == []


def test_a_live_folder_of_this_process_is_not_swept(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, "one.gz", gzip.compress(DUMP))
    with extract(path, next(members(path))) as image:
        assert sweep(scratch) == 0
        assert image.exists()
