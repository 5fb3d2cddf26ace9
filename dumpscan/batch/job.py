"""What goes to a worker and what comes back: plain records that travel between processes.

A worker returns an :class:`Outcome` for every job, whatever happens; no exception crosses a process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
    """How the analysis of one file ended. The values are part of ``dumpscan.report/1``."""

    OK = "ok"
    SKIPPED = "skipped"
    """No memory image, or a file that is analysed together with another one."""
    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    ERROR = "error"
    """The file could not be read, or dumpscan has a bug."""

    @property
    def failed(self) -> bool:
        """Whether an image was there, or may have been, and was not judged."""
        return self not in (Status.OK, Status.SKIPPED)


FAILED = tuple(status.value for status in Status if status.failed)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to judge.

    ``key`` names it in the store (text), ``path`` opens it. ``partner`` is the key of the .vmem file
    that a VMware state file belongs to, when that one is analysed too. ``member`` is a file in the
    container ``path``: the fields of a :class:`dumpscan.image.archive.Member` as JSON.
    """

    key: str
    path: str
    size: int | None = None
    mtime_ns: int | None = None
    partner: str | None = None
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known beyond the one-line reason: the error's class, a traceback, an exit status."""

    kind: str
    detail: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that was found in a container; ``status`` None: worth a look. ``member`` as in a job."""

    key: str
    member: str
    size: int | None = None
    status: Status | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one job.

    ``document`` is the verdict as JSON text, ``columns`` what of it the store keeps in columns (see
    :mod:`dumpscan.batch.columns`), ``timings`` seconds by phase; ``members`` lists a container's files.
    """

    job: Job
    status: Status
    reason: str = ""
    seconds: float = 0.0
    content_id: str | None = None
    format: str | None = None
    document: str | None = None
    columns: Mapping[str, Any] | None = None
    failure: Failure | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    members: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one analysis: wall-clock seconds, and bytes of memory of the worker (None: unbounded)."""

    seconds: float = 300.0
    memory: int | None = 2048 << 20


@dataclass(frozen=True, slots=True)
class Analysis:
    """How images are analysed. Paths are strings: the record is kept in the store as JSON."""

    census: str = "auto"
    thresholds: str | None = None
    signatures: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    contents: bool = True
