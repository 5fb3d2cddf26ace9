"""Same machine, any file, one answer: the whole result document, compared over all containers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import dumpscan
import samples
from dumpscan.model import to_dict
from samples.machine import Machine

SAID_BY_CONTAINERS = {"kernel": ("found_by", "checked"), "machine": ("bugcheck",)}
"""What only some containers tell of a machine, or how they led to its kernel; ``image`` is left out too."""
KERNEL_PAGES = ("-kernel", "-active")
"""Containers without the pages that no kernel address maps: fewer blocks to look into."""


def document(machine: Machine, container: str, folder: Path) -> dict[str, Any]:
    """The verdict's document without what tells of the file."""
    suffix = "vmem" if container.startswith("vm") else "img"
    path = samples.write(machine, container, folder / f"{container}.{suffix}")
    found: dict[str, Any] = to_dict(dumpscan.open(path).verdict())
    del found["image"]
    for part, names in SAID_BY_CONTAINERS.items():
        for name in names:
            del found[part][name]
    return found


def differing(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two documents differ, as paths."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {**one, **other}
        return [path for key in keys for path in differing(one.get(key), other.get(key), f"{at}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [path for number, pair in pairs for path in differing(*pair, f"{at}[{number}]")]
    return [] if one == other else [at]


@pytest.mark.parametrize("profile", ["xpsp3-x86-pae", "vista-sp1-x64"])
def test_every_container_of_one_machine_gives_one_document(profile: str, tmp_path: Path) -> None:
    machine = samples.build(profile=profile, scenario="leak", ram_mb=24, seed=5, cycles=1200)
    expected = document(machine, "raw", tmp_path)
    assert expected["verdict"]["code"] == machine.truth["expected"]["verdict"] == "exhibits"
    assert expected["pool"]["tags"] and expected["drivers"]["loaded"] and expected["attribution"]
    compared = []
    for container in samples.CONTAINERS:
        wanted = container != "raw" and not container.startswith("triage")
        if not wanted or not samples.fits(machine, container):
            continue
        if container == "avml" and importlib.util.find_spec("cramjam") is None:
            continue
        found = document(machine, container, tmp_path)
        paths = differing(expected, found)
        if container.endswith(KERNEL_PAGES):
            paths = [path for path in paths if not path.startswith(".attribution")]
        assert not paths, (container, paths[:5])
        compared.append(container)
    assert len(compared) >= 17
