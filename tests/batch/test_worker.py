"""What comes of one file; the worker's function called in this process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from dumpscan.batch.job import Job, Status
from dumpscan.batch.worker import analyse
from tests.batch.archive import KINDS, Archive, Expected, image


def job(path: Path, partner: str | None = None) -> Job:
    return Job(str(path), str(path), partner=partner)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_judged(kind: str, originals: Path) -> None:
    outcome = analyse(job(image(kind, originals)))
    assert outcome.status is Status.OK, outcome.reason
    assert outcome.document is not None
    document = json.loads(outcome.document)
    assert document["verdict"]["code"] == (outcome.columns or {})["verdict"] == KINDS[kind][4].verdict
    assert document["image"]["path"] == outcome.job.key
    assert outcome.format == document["image"]["format"]
    # A small dump holds no memory in which a kernel could be looked for.
    phases = {"identify", "open", "pools", "document"} | ({"kernel"} if kind != "small" else set())
    assert set(outcome.timings) == phases
    assert outcome.seconds >= sum(outcome.timings.values())


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", Status.SKIPPED, "the file is empty"),
        (b"words " * 4000, Status.SKIPPED, "a text file"),
        (b"MDMP" + bytes(9000), Status.SKIPPED, "user-mode minidump"),
        (b"hibr" + bytes(9000), Status.DAMAGED, "hibernation file"),
        (b"link" + bytes(9000), Status.UNSUPPORTED, "hibernation link"),
        (b"PAGE" + b"\xff" * 8188, Status.DAMAGED, "instead of DUMP"),
    ],
)
def test_what_is_no_image_says_why(tmp_path: Path, data: bytes, status: Status, reason: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    outcome = analyse(job(path))
    assert outcome.status is status
    assert reason in outcome.reason
    assert outcome.document is None
    assert outcome.columns is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    outcome = analyse(job(tmp_path / "gone"))
    assert (outcome.status, outcome.failure and outcome.failure.kind) == (Status.ERROR, "UnreadableFile")
    os.mkfifo(tmp_path / "pipe")
    assert analyse(job(tmp_path / "pipe")).status is Status.ERROR


def test_a_state_file_is_skipped_beside_its_memory_and_judged_alone(originals: Path, tmp_path: Path) -> None:
    memory = image("vmware", originals)
    state = memory.with_suffix(".vmss")
    paired = analyse(job(state, partner=str(memory)))
    assert (paired.status, paired.reason) == (
        Status.SKIPPED,
        f"state file of {memory.name}, analysed with it",
    )
    assert analyse(job(state)).status is Status.OK
    # A partner by name only: what calls itself a state file is looked at for what it is.
    shutil.copy(image("healthy", originals), tmp_path / "x.vmss")
    outcome = analyse(job(tmp_path / "x.vmss", partner=str(tmp_path / "x.vmem")))
    assert outcome.status is Status.OK


def test_a_container_lists_its_files_and_each_is_a_job(archive: Archive) -> None:
    from tests.batch.archive import ABSENT, EXHIBITS, Expected

    dump = archive.dump_bytes("leak", "1"), EXHIBITS
    healthy = archive.dump_bytes("healthy", "2"), ABSENT
    note = b"short", Expected("skipped")
    path = archive.zip("a.zip", {"../x.dmp": dump, "y": healthy, "note.txt": note})
    listed = analyse(job(path))
    assert (listed.status, listed.reason) == (Status.SKIPPED, "a container of 3 files, 2 of them looked into")
    assert [(each.key, each.status) for each in listed.members] == [
        (f"{path}!../x.dmp", None),
        (f"{path}!y", None),
        (f"{path}!note.txt", Status.SKIPPED),
    ]
    codes = []
    for each in listed.members[:2]:
        outcome = analyse(Job(each.key, str(path), each.size, None, None, each.member))
        assert outcome.document is not None
        assert json.loads(outcome.document)["image"]["path"] == each.key
        codes.append((outcome.columns or {})["verdict"])
    assert codes == ["exhibits", "does-not-exhibit"]


def test_members_of_one_name_have_keys_of_their_own(archive: Archive) -> None:
    import zipfile

    path = archive.root / "twice.zip"
    with zipfile.ZipFile(path, "w") as sink:
        sink.writestr("x", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            sink.writestr("x", b"two")
    keys = [each.key for each in analyse(job(path)).members]
    assert keys == [f"{path}!x#0", f"{path}!x#1"]


def test_a_file_in_a_container_is_called_by_its_name_there(archive: Archive) -> None:
    path = archive.zip("a.zip", {"site/pc.dmp": (b"PAGEXXXX" + bytes(1 << 20), Expected("damaged"))})
    (member,) = analyse(job(path)).members
    outcome = analyse(Job(member.key, str(path), member.size, None, None, member.member))
    assert outcome.status is Status.DAMAGED
    assert outcome.reason.startswith("site/pc.dmp: begins like a Windows crash dump")


def test_an_encrypted_file_in_a_container_is_unsupported(archive: Archive) -> None:
    path = archive.zip("a.zip", {"x": (b"short", Expected("unsupported"))})
    data = bytearray(path.read_bytes())
    # Bit 0 of the flags: at 6 of the local header, at 8 of the one in the directory (APPNOTE 4.3).
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    (member,) = analyse(job(path)).members
    assert member.status is Status.UNSUPPORTED
    assert "is encrypted" in member.reason
