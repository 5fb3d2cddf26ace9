"""An archive of images as support groups keep them, and what must come of each file.

The machines are written once by samples/; many distinct files come of them by another comment in the
crash dump header (DUMP_HEADER32.Comment at 0x820, facts/dump-headers.json). What is expected follows
from the scenario that was asked of the writer, never from a run of dumpscan.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import samples

COMMENT = 0x820
LEAK_CYCLES = 1500  # three times what "present" needs (IoSe: 500 outstanding)


class Expected(NamedTuple):
    """What the store must hold of a file."""

    status: str
    verdict: str | None = None


EXHIBITS = Expected("ok", "exhibits")
ABSENT = Expected("ok", "does-not-exhibit")
UNEXPECTED = Expected("ok", "unexpected")

KINDS: dict[str, tuple[str, str, str, dict[str, Any], Expected]] = {
    "leak": ("xpsp3-x86-pae", "leak", "crash32-kernel", {"cycles": LEAK_CYCLES}, EXHIBITS),
    "healthy": ("xpsp3-x86-pae", "healthy", "crash32-kernel", {}, ABSENT),
    "other": ("xpsp3-x86-pae", "other-tag", "crash32-kernel", {"cycles": LEAK_CYCLES}, ABSENT),
    "unexpected": ("xpsp3-x86-pae", "unexpected", "crash32-kernel", {"cycles": LEAK_CYCLES}, UNEXPECTED),
    "elf": ("xpsp2-x86", "healthy", "elf32", {}, ABSENT),
    "lime": ("xpsp3-x86-pae", "leak", "lime", {"cycles": LEAK_CYCLES}, EXHIBITS),
    "raw": ("xpsp3-x86-pae", "no-tagging", "raw", {"cycles": LEAK_CYCLES, "paged_out": 0.0}, EXHIBITS),
    "asleep": ("xpsp3-x86-pae", "leak", "hiberfil", {"cycles": LEAK_CYCLES}, EXHIBITS),
    "saved": ("xpsp3-x86-pae", "healthy", "qemu", {}, ABSENT),
    "small": ("xpsp3-x86-pae", "leak", "triage32", {"cycles": LEAK_CYCLES}, Expected("ok", "inconclusive")),
    "vmware": ("xpsp3-x86-pae", "leak", "vmware", {"cycles": LEAK_CYCLES}, EXHIBITS),
}
"""Profile, scenario, container, options of the writer, and what is expected."""


@cache
def image(kind: str, folder: Path) -> Path:
    """The one original of a kind."""
    profile, scenario, container, options, _ = KINDS[kind]
    machine = samples.build(profile=profile, scenario=scenario, seed=3, ram_mb=16, **options)
    suffix = ".vmem" if container == "vmware" else ".img"
    return samples.write(machine, container, folder / f"{kind}{suffix}")


class Archive:
    """A folder that is being filled. ``expected`` maps a path to what must come of it."""

    def __init__(self, root: Path, originals: Path) -> None:
        self.root, self._originals = root, originals
        self.expected: dict[str, Expected] = {}
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, expected: Expected) -> Path:
        """A new file of that name, whose content the caller writes."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.expected[str(path)] = expected
        return path

    def dump(self, name: str, kind: str = "leak", expected: Expected | None = None) -> Path:
        """A crash dump that no other file is equal to."""
        path = self.path(name, expected or KINDS[kind][4])
        path.write_bytes(self.dump_bytes(kind, name))
        return path

    def dump_bytes(self, kind: str, comment: str) -> bytes:
        """Content of a crash dump with a comment of its own."""
        data = bytearray(image(kind, self._originals).read_bytes())
        text = comment.encode("ascii")[-100:] + b"\0"
        data[COMMENT : COMMENT + len(text)] = text
        return bytes(data)

    def linked(self, name: str, kind: str) -> Path:
        """An original as it is; a link to it, for the large ones."""
        path = self.path(name, KINDS[kind][4])
        os.link(image(kind, self._originals), path)
        return path

    def other(self, name: str, data: bytes, status: str) -> Path:
        """A file that is no image that can be judged."""
        path = self.path(name, Expected(status))
        path.write_bytes(data)
        return path

    def zip(self, name: str, files: dict[str, tuple[bytes, Expected]]) -> Path:
        """A ZIP file; what is inside is expected under the key that the store gives it."""
        path = self.path(name, Expected("skipped"))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for inside, (data, expected) in files.items():
                archive.writestr(inside, data)
                self.expected[f"{path}!{inside}"] = expected
        return path


def some(archive: Archive) -> Archive:
    """Sixty files of every kind, for the tests of every day."""
    machines(archive, {"leak": 14, "healthy": 12, "other": 4, "unexpected": 4})
    others(archive)
    refused(archive, 3)
    containers(archive)
    return archive


def many(archive: Archive) -> Archive:
    """Three hundred files, with those that make a worker hang, die and burst (see :data:`HOOK`)."""
    machines(archive, {"leak": 95, "healthy": 80, "other": 15, "unexpected": 15})
    others(archive)
    refused(archive, 20)
    containers(archive)
    archive.dump("bad/hang.dmp", "leak", Expected("timeout"))
    archive.dump("bad/die.dmp", "leak", Expected("crashed"))
    archive.dump("bad/eat.dmp", "leak", Expected("memory"))
    return archive


HOOK = "hang:hang.dmp,die:die.dmp,eat:eat.dmp"


def machines(archive: Archive, counts: dict[str, int]) -> None:
    """Crash dumps, spread over folders."""
    for kind, count in counts.items():
        for number in range(count):
            archive.dump(f"{kind}/site {number % 7}/pc-{number:03}.dmp", kind)


def others(archive: Archive) -> None:
    """One of each other container; names say nothing about what is inside."""
    for kind in ("elf", "lime", "raw", "asleep", "saved", "small"):
        archive.linked(f"mixed/{kind}.txt", kind)
    memory = archive.linked("vm/machine.vmem", "vmware")
    state = image("vmware", archive._originals).with_suffix(".vmss")
    archive.other("vm/machine.vmss", state.read_bytes(), "skipped")
    assert memory.with_suffix(".vmss").exists()


def refused(archive: Archive, each: int) -> None:
    """Files that are no image, or none that can be judged."""
    rng = random.Random(5)
    for number in range(each):
        words = " ".join(rng.choices(["driver", "pool", "leak", "tag"], k=400))
        archive.other(f"notes/{number}.dmp", words.encode(), "skipped")
        # The signature of a crash dump without its second word.
        archive.other(f"broken/{number}.dmp", b"PAGE" + rng.randbytes(8188), "damaged")
        archive.other(f"packed/{number}.core", b"KDUMP   " + rng.randbytes(8184), "unsupported")
        archive.other(f"empty/{number}.dmp", b"", "skipped")


def containers(archive: Archive) -> None:
    """Compressed files: with images, with names that climb out, and one that bursts."""
    leak, healthy = archive.dump_bytes("leak", "zip"), archive.dump_bytes("healthy", "zip")
    archive.zip("packed/two.zip", {"a.dmp": (leak, EXHIBITS), "b/c.dmp": (healthy, ABSENT)})
    archive.zip("packed/climbs.zip", {"../../climbed.dmp": (archive.dump_bytes("leak", "up"), EXHIBITS)})
    single = archive.path("packed/one.dmp.gz", Expected("skipped"))
    single.write_bytes(gzip.compress(archive.dump_bytes("unexpected", "gz"), 1))
    archive.expected[f"{single}!one.dmp"] = UNEXPECTED
    tarred = archive.path("packed/site.tar.gz", Expected("skipped"))
    with tarfile.open(tarred, "w:gz", compresslevel=1) as sink:
        info = tarfile.TarInfo("site/pc.dmp")
        data = archive.dump_bytes("healthy", "tar")
        info.size = len(data)
        sink.addfile(info, io.BytesIO(data))
    archive.expected[f"{tarred}!site/pc.dmp"] = ABSENT
    bomb = archive.path("packed/bomb.gz", Expected("skipped"))
    with gzip.open(bomb, "wb", compresslevel=9) as stream:
        for _ in range(300):
            stream.write(bytes(1 << 20))
    archive.expected[f"{bomb}!bomb"] = Expected("damaged")
