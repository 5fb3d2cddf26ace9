"""Bounds of a worker process: it ends with its parent, and it does not take more memory than allowed.

Linux kills the worker when its parent thread ends (PR_SET_PDEATHSIG), even one that hangs inside a
library; everywhere a thread waits for the parent. Memory is bounded by RLIMIT_DATA on Linux: it counts
what a process allocates, not the image that it maps (RLIMIT_AS would). Elsewhere a thread looks at the
process's own memory, where psutil is installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

OUT_OF_MEMORY = 87
"""Exit status of a worker that its own memory watch ended."""

_NOTE_BYTES = 2048
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_WATCH_SECONDS = 0.25
# One core for each worker: threads of a numerics library would fight, and each one takes memory.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Note:
    """A few facts in memory shared with the parent, which reads them when the worker is no more.

    Keys: ``pid``, ``job`` (see :func:`mark`), ``format``, ``content_id``, ``doing``.
    """

    def __init__(self, shared: Any = None) -> None:
        self._shared = shared
        self._facts: dict[str, Any] = {"pid": os.getpid()}
        self._write()

    def begin(self, key: str) -> None:
        """A new job: forget what was known of the last one."""
        self._facts = {"pid": os.getpid(), "job": mark(key)}
        self._write()

    def add(self, **facts: Any) -> None:
        """Add to what is known."""
        self._facts.update(facts)
        self._write()

    def __call__(self, what: str, done: int, total: int) -> None:
        """The progress callback of the rooms below."""
        share = f", {min(done / total, 1):.0%}" if total > 0 else ""
        self.add(doing=f"{what[:100]}{share}")

    def _write(self) -> None:
        if self._shared is not None:
            data = json.dumps(self._facts).encode("ascii")
            if len(data) < _NOTE_BYTES:
                self._shared.value = data


def mark(key: str) -> str:
    """What stands for a job's key in a note: keys may be long."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def shared_note() -> Any:
    """Memory for a note, to be handed to a worker when it starts."""
    return multiprocessing.get_context("spawn").RawArray(ctypes.c_char, _NOTE_BYTES)


def read_note(shared: Any) -> dict[str, Any]:
    """What the worker wrote last; nothing where it died while writing."""
    try:
        facts = json.loads(shared.value)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def bound(memory: int | None, parent: int) -> None:
    """Apply the bounds to this process. ``parent`` is the process that started it."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    _die_with_parent(parent)
    if memory is not None:
        _limit_memory(memory)
    # Nothing that a library prints may reach the JSON lines on the parent's stdout.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # It ended before the call.
            os._exit(1)
    process = multiprocessing.parent_process()
    if process is not None:
        threading.Thread(target=_outlive_nobody, args=(process,), daemon=True).start()


def _outlive_nobody(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _limit_memory(memory: int) -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    else:
        threading.Thread(target=watch_memory, args=(memory,), daemon=True).start()


def watch_memory(memory: int) -> None:
    """End this process when it has taken more than ``memory`` bytes; return when nobody can tell."""
    try:
        import psutil
    except ImportError:
        return
    process = psutil.Process()
    while own_memory(process) <= memory:
        time.sleep(_WATCH_SECONDS)
    os._exit(OUT_OF_MEMORY)


def own_memory(process: Any) -> int:
    """Bytes that are the process's own: mapped images are not (``uss``; on Windows the commit charge)."""
    taken = getattr(process.memory_info(), "private", None)
    return int(taken if taken is not None else process.memory_full_info().uss)
