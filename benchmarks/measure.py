"""Run commands as whole processes and take the operating system's own accounting of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLING_SECONDS = 0.002


@dataclass(frozen=True)
class Run:
    """One finished process: wall seconds, peak resident bytes and its exit status."""

    wall: float
    peak_rss: int
    status: int


def run(command: Sequence[str]) -> Run:
    """Run ``command`` to its end with output thrown away.

    :raises RuntimeError: it exits with something else than 0.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode()[-300:]}")
    return Run(wall, usage.ru_maxrss * 1024, process.returncode)


def median_wall(command: Sequence[str], runs: int = 5) -> float:
    """Median wall seconds over ``runs`` runs after one warm-up."""
    run(command)
    return statistics.median(run(command).wall for _ in range(runs))


def paired(first: Sequence[str], second: Sequence[str], runs: int = 5) -> tuple[float, float, float]:
    """Medians of both commands run in turn, and the median of the ratios first / second."""
    run(first)
    run(second)
    pairs = [(run(first).wall, run(second).wall) for _ in range(runs)]
    ratios = [a / b for a, b in pairs]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(ratios),
    )


def median_difference(longer: Sequence[str], shorter: Sequence[str], runs: int = 7) -> float:
    """Median of what ``longer`` takes beyond ``shorter``, in wall seconds, run in turn."""
    run(longer)
    run(shorter)
    return statistics.median(run(longer).wall - run(shorter).wall for _ in range(runs))


def peak_anonymous(command: Sequence[str]) -> int:
    """Peak RssAnon in bytes, sampled from /proc every two milliseconds (Linux)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        peak = max(peak, _anonymous(status))
        time.sleep(_SAMPLING_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return peak


def _anonymous(status: Path) -> int:
    try:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass  # The process ended between two looks.
    return 0
