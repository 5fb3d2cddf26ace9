"""The work on one file, in a worker process: look, judge, and say in an outcome what came of it.

Heavy modules are imported by :func:`prepare`, once per worker. Nothing raised leaves :func:`analyse`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dumpscan.batch import hooks
from dumpscan.batch.bounds import Note, bound
from dumpscan.batch.containers import extracted, is_container, listed, status_of
from dumpscan.batch.job import Analysis, Failure, Job, Outcome, Status
from dumpscan.errors import DumpscanError

if TYPE_CHECKING:
    from dumpscan.case import Case, Options

_HEAVY = ("case", "pool.census", "pool.tracker", "verdict.judge", "report.json", "batch.columns")
_DETAIL = 4000


@dataclass
class _Self:
    """What this worker was told when it started."""

    analysis: Analysis = field(default_factory=Analysis)
    note: Note = field(default_factory=Note)
    options: Options | None = None


@dataclass
class _Known:
    """What is known about the file so far; it is part of the outcome, however that comes about."""

    content_id: str | None = None
    format: str | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of a phase, and let the parent know of it."""
        _self.note.add(doing=name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = time.perf_counter() - start

    def learn(self, **facts: str) -> None:
        """Keep a fact here, and where the parent finds it when this process is killed."""
        for name, value in facts.items():
            setattr(self, name, value)
        _self.note.add(**facts)


_self = _Self()


def prepare(analysis: Analysis, memory: int | None, shared: Any, parent: int) -> None:
    """Called once in a new worker process: bounds first, then what every image needs."""
    bound(memory, parent)
    _self.analysis, _self.note, _self.options = analysis, Note(shared), None
    for name in _HEAVY:
        import_module(f"dumpscan.{name}")


def analyse(job: Job) -> Outcome:
    """Judge one file. Never raises."""
    _self.note.begin(job.key)
    known, start = _Known(), time.perf_counter()
    try:
        outcome = _look(job, known)
    except MemoryError:
        reason = "needs more memory than the limit allows"
        outcome = Outcome(job, Status.MEMORY, reason, failure=Failure("MemoryError"))
    except DumpscanError as error:
        status = status_of(error.exit_code)
        outcome = Outcome(job, status, _reason(job, error), failure=Failure(type(error).__name__))
    except BaseException as error:
        outcome = _bug(job, error)
    return replace(
        outcome,
        seconds=time.perf_counter() - start,
        content_id=known.content_id,
        format=known.format,
        timings=known.timings,
    )


def _reason(job: Job, error: DumpscanError) -> str:
    """The error's text; a file of a container is called by its name there, not by the temporary one."""
    text = str(error)
    if job.member is None or not text.startswith(("image: ", "image.vmem: ")):
        return text
    return f"{job.key.rpartition('!')[2]}: {text.partition(': ')[2]}"


def _bug(job: Job, error: BaseException) -> Outcome:
    import traceback

    kind = type(error).__name__
    # A file that is cut short or vanishes under our hands is the system's failure, not ours.
    whose = "cannot be read" if isinstance(error, OSError) else "internal error of dumpscan"
    detail = traceback.format_exc()[-_DETAIL:]
    return Outcome(job, Status.ERROR, f"{whose} ({kind}: {error})", failure=Failure(kind, detail))


def _look(job: Job, known: _Known) -> Outcome:
    if job.member is not None:
        with known.phase("unpack"), extracted(job) as path:
            return _judge(job, str(path), known)
    with known.phase("identify"):
        kind = _identify(job.path, known)
    hooks.misbehave(job.key)
    if kind == "vmware-state" and job.partner is not None:
        reason = f"state file of {os.path.basename(job.partner)}, analysed with it"
        return Outcome(job, Status.SKIPPED, reason)
    if is_container(kind):
        with known.phase("list"):
            return listed(job)
    return _judge(job, job.path, known)


def _identify(path: str, known: _Known) -> str:
    """The kind of a file. What lies on a server gets no content id: it would cost dozens of requests."""
    from dumpscan.batch.identity import content_id
    from dumpscan.image.recognise import HEAD, TAIL, open_source, sniff
    from dumpscan.image.source import is_address

    source = open_source(path)
    kind = sniff(source.take(0, HEAD), source.take(max(source.size - TAIL, 0), TAIL))
    if kind != "raw":
        known.learn(format=kind)
    if not is_address(path):
        known.learn(content_id=content_id(source))
    return kind


def _judge(job: Job, path: str, known: _Known) -> Outcome:
    from dumpscan.case import open_case

    if job.member is not None:
        _identify(path, known)
    with known.phase("open"):
        case = open_case(path, _options())
    try:
        known.learn(format=case.info.format)
        return _judged(job, case, known)
    finally:
        case.opened.close()


def _judged(job: Job, case: Case, known: _Known) -> Outcome:
    from dumpscan.batch.columns import columns
    from dumpscan.records import replace as changed
    from dumpscan.report import json

    if case.opened.memory is not None:
        with known.phase("kernel"):
            _ = case.kernel
    with known.phase("pools"):
        verdict = case.verdict()
    with known.phase("document"):
        verdict = changed(verdict, image=changed(verdict.image, path=job.key))
        document = json.line(verdict).rstrip("\n")
    return Outcome(job, Status.OK, verdict.verdict.summary, document=document, columns=columns(verdict))


def _options() -> Options:
    """The options of every case, made once: signature files are read from disk."""
    if _self.options is None:
        from dumpscan.case import Options
        from dumpscan.verdict.settings import Settings

        given = _self.analysis
        settings = Settings.load(given.thresholds, given.signatures)
        folders = tuple(Path(folder) for folder in given.symbols)
        _self.options = Options(
            census=given.census,
            symbol_dirs=folders,
            settings=settings,
            progress=_self.note,
            contents=given.contents,
        )
    return _self.options
