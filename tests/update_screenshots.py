"""The pictures in ``docs/images``: ``python -m tests.update_screenshots`` renews them from sample dumps."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from samples.containers import write
from samples.demo import write_demo
from samples.machine import build
from tests.report.browser import Browser, start

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

FLEET: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("xpsp3-x86-pae", "leak", {"driver": "hwmon32.sys", "cycles": 30_000, "fullness": 0.97}),
    ("xpsp3-x86-pae", "leak", {"driver": "hwmon32.sys", "cycles": 9_000}),
    ("xpsp3-x86-pae", "healthy", {}),
    ("xpsp3-x86-pae", "other-tag", {}),
    ("xpsp3-x86-pae", "hotfixed", {}),
    ("xpsp3-x86-pae", "early", {"driver": "vdisk.sys"}),
    ("xpsp3-x86-pae", "unexpected", {"driver": "vdisk.sys"}),
)

DAYS = (28, 29, 30, 31)
"""Of May 2008, at noon: a machine that loads and unloads a driver 400 times an hour, booted on the 27th."""
BOOT = 1211889600.0
PLACE = "/srv"
"""Where the pictured files claim to be."""


def dumpscan(folder: Path, *arguments: str) -> None:
    """Run a command in ``folder``, so that reports show relative paths."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "dumpscan", *arguments], cwd=folder, env=environment, check=True)


def reports(folder: Path) -> None:
    """Write every report that is shown."""
    write_demo(folder)
    dumpscan(folder, "verdict", "hung-xpsp3.dmp", "--format", "html", "-o", "verdict.html")
    compared(folder)
    (folder / "dumps").mkdir()
    for number, (profile, scenario, parameters) in enumerate(FLEET):
        machine = build(profile, scenario, seed=number, **parameters)
        write(machine, "crash32-kernel", folder / "dumps" / f"host{number:02}-{scenario}.dmp")
    dumpscan(folder, "batch", "dumps", "--store", "dumps.sqlite", "--workers", "1", "--quiet")
    with closing(sqlite3.connect(folder / "dumps.sqlite")) as store, store:
        store.execute("UPDATE images SET path = replace(path, ?, ?)", (str(folder), PLACE))
    dumpscan(folder, "report", "dumps.sqlite", "--format", "html", "-o", "dashboard")


def compared(folder: Path) -> None:
    """Write the report of a machine that was looked at once a day."""
    paths = []
    for day in DAYS:
        hours = 24 * (day - 27)
        machine = build(
            "xpsp3-x86-pae", "leak", seed=5, driver="filedisk.sys", cycles=400 * hours, boot_time=BOOT,
            uptime=hours * 3600.0, paged_out=0.0,
        )  # fmt: skip
        paths.append(f"2008-05-{day}.dmp")
        write(machine, "crash32-kernel", folder / paths[-1])
    dumpscan(folder, "compare", *paths, "--format", "html", "-o", "compare.html")


def shoot(browser: Browser, folder: Path) -> None:
    """Photograph them."""
    shots = (
        ("verdict-report", "verdict.html", 1100, 1330, "#top", "light"),
        ("verdict-report-pools", "verdict.html", 1100, 1600, "#pool", "light"),
        ("verdict-report-dark", "verdict.html", 1100, 1600, "#pool", "dark"),
        ("verdict-report-narrow", "verdict.html", 400, 1000, "#top", "light"),
        ("compare-report", "compare.html", 1100, 1500, "#top", "light"),
        ("compare-report-growth", "compare.html", 1100, 1120, "#growth", "light"),
        ("dashboard", "dashboard/index.html", 1100, 1500, "#top", "light"),
    )
    for name, path, width, height, anchor, scheme in shots:
        page = browser.open(folder / path, width, height, scheme=scheme)
        page.evaluate("a => document.querySelector(a).scrollIntoView({behavior: 'instant'})", anchor)
        page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        reports(Path(scratch))
        camera = start()
        try:
            shoot(camera, Path(scratch))
        finally:
            camera.close()
