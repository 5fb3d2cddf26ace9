"""Compressed containers in a batch: listed by one worker, each file inside judged as a job of its own.

So one file inside that hangs or bursts costs itself only. What the listing already shows to be no
image is recorded without being unpacked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dumpscan.batch.columns import storable
from dumpscan.batch.job import Job, Listed, Outcome, Status
from dumpscan.errors import DamagedImage, ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from dumpscan.image.archive import Member

_SMALLEST_RAW = 1 << 20
_STATUS = {
    ExitCode.NOT_AN_IMAGE: Status.SKIPPED,
    ExitCode.UNSUPPORTED: Status.UNSUPPORTED,
    ExitCode.DAMAGED: Status.DAMAGED,
}


def status_of(code: int) -> Status:
    """How a file ends whose error has this exit code."""
    return next((status for known, status in _STATUS.items() if known == code), Status.ERROR)


def is_container(kind: str) -> bool:
    """Whether ``kind``, as ``sniff`` names it, is a container whose files are looked at."""
    from dumpscan.image.archive import KINDS

    return kind in KINDS


def listed(job: Job) -> Outcome:
    """What is inside: the outcome of the container itself, with its files as members."""
    from dumpscan.image.archive import members

    found: list[Member] = []
    damage = ""
    try:
        found.extend(members(job.path))
    except DamagedImage as error:
        # Kept apart from other errors: what was found before the damage is still worth a look.
        damage = str(error)
    inside = tuple(_named(job, found))
    if damage:
        return Outcome(job, Status.DAMAGED, damage, members=inside)
    images = sum(each.status is None for each in inside)
    reason = f"a container of {len(inside)} files, {images} of them looked into"
    return Outcome(job, Status.SKIPPED, reason, members=inside)


@contextmanager
def extracted(job: Job) -> Iterator[Path]:
    """The file ``job.member`` as a temporary file. :raises ImageError: it cannot be had."""
    from dumpscan.image.archive import Member, extract

    fields = json.loads(job.member or "{}")
    member = Member(**{**fields, "where": tuple(fields["where"])})
    with extract(job.path, member) as path:
        yield path


def _named(job: Job, found: list[Member]) -> Iterator[Listed]:
    names = Counter(member.name for member in found)
    for member in found:
        twice = names[member.name] > 1
        position = ".".join(map(str, member.where))
        key = f"{job.key}!{member.name}" + (f"#{position}" if twice else "")
        status, reason = _passed_over(member, names)
        yield Listed(storable(key), json.dumps(asdict(member)), member.size, status, storable(reason))


def _passed_over(member: Member, names: Collection[str]) -> tuple[Status | None, str]:
    from dumpscan.image.c_magic import REFUSALS

    if member.fault is not None:
        return status_of(member.code), member.fault
    refusal = REFUSALS.get(member.kind or "")
    if refusal is not None:
        status = Status.UNSUPPORTED if refusal.memory else Status.SKIPPED
        return status, f"{refusal.what}; {refusal.advice}"
    if member.kind == "raw" and member.size is not None and member.size < _SMALLEST_RAW:
        return Status.SKIPPED, f"no known memory image format, and with {member.size} bytes too small"
    beside = str(PurePosixPath(member.name).with_suffix(".vmem")) if member.name else ""
    if member.kind == "vmware-state" and beside in names:
        return Status.SKIPPED, f"state file of {beside}, analysed with it"
    return None, ""
