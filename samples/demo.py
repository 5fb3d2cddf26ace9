"""Two kernel dumps for a first look: a hung XP SP3 machine and a healthy one."""

from __future__ import annotations

from pathlib import Path

from .containers import write
from .machine import build


def write_demo(folder: str | Path) -> list[Path]:
    """`hung-xpsp3.dmp` (the leak, paged pool 97 % full) and `healthy-xpsp3.dmp`, with their truth files."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    hung = build(
        "xpsp3-x86-pae", "leak", seed=950162, ram_mb=128, cycles=40000, fullness=0.97, driver="hwmon32.sys"
    )
    healthy = build("xpsp3-x86-pae", "healthy", seed=2008, ram_mb=128)
    return [
        write(hung, "crash32-kernel", target / "hung-xpsp3.dmp", truth=True),
        write(healthy, "crash32-kernel", target / "healthy-xpsp3.dmp", truth=True),
    ]
