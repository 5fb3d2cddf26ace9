"""Run commands as whole processes: how long they take, and the system's account of their memory."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_SAMPLING_SECONDS = 0.002


def run(command: Sequence[str]) -> float:
    """Run ``command`` to its end with output thrown away; wall seconds.

    :raises RuntimeError: it exits with something else than 0.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.wait()
    wall = time.perf_counter() - start
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode()[-300:]}")
    return wall


def median_wall(command: Sequence[str], runs: int = 5) -> float:
    """Median wall seconds over ``runs`` runs after one warm-up."""
    run(command)
    return statistics.median(run(command) for _ in range(runs))


def paired(first: Sequence[str], second: Sequence[str], runs: int = 5) -> tuple[float, float, float]:
    """Medians of both commands run in turn, and the median of the ratios first / second."""
    run(first)
    run(second)
    pairs = [(run(first), run(second)) for _ in range(runs)]
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
    return statistics.median(run(longer) - run(shorter) for _ in range(runs))


def peak(command: Sequence[str], field: str) -> int:
    """Peak of RssAnon or VmHWM in bytes, sampled from /proc every two milliseconds (Linux).

    Not ru_maxrss: that of a new process begins with what the process that started it had.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status, highest = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        highest = max(highest, _field(status, field))
        time.sleep(_SAMPLING_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return highest


def _field(status: Path, field: str) -> int:
    try:
        for line in status.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass  # The process ended between two looks.
    return 0
