"""Truth files of the acceptance images as model records: verdicts testable without any reader.

The truth files are written by an independent generator; where they are absent, tests skip.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from dumpscan.model import (
    BigUse,
    Coverage,
    Drivers,
    ImageInfo,
    KernelInfo,
    Machine,
    Pdb,
    Pool,
    PoolLimits,
    PoolUse,
    TagUse,
    Unloads,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"
NAMES = (
    "a01-xpsp3-pae-hung",
    "a02-xpsp3-pae-tagging-off",
    "a03-xpsp2-pae-gdr-healthy",
    "a04-vistasp1-x64-2cpu",
    "a05-vista-x86-ldr-fixed",
    "a06-xpsp3-othertag",
)
Inputs = tuple[ImageInfo, KernelInfo, Machine, Pool, Drivers]


@lru_cache(maxsize=8)
def load(name: str) -> dict[str, Any]:
    path = SHARED / "images" / f"{name}.truth.json"
    if not path.exists():
        pytest.skip("../shared/images with the acceptance images' truth files is absent")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def inputs(name: str) -> Inputs:
    """Everything that ``judge`` takes, as a perfect reader would give it."""
    truth = load(name)
    image = ImageInfo(name, truth["files"][0]["format"], truth["files"][0]["bytes"])
    uptime = truth["time"]["uptime_100ns"] / 1e7
    machine = Machine(uptime_seconds=uptime, processors=truth["kernel"]["cpus"])
    return image, kernel(truth), machine, pool(truth), drivers(truth)


def kernel(truth: dict[str, Any]) -> KernelInfo:
    found = truth["kernel"]
    label = found["branch"]
    branch = next((b for b in ("gdr", "qfe", "ldr") if f"_{b}." in label), "rtm")
    return KernelInfo(
        found_by="truth",
        product="Windows XP" if found["build"] == 2600 else "Windows Vista",
        version=found["file_version"],
        service_pack=found["service_pack"],
        arch=found["machine"],
        pae=found["pae"],
        image_name=found["file"],
        build_lab=found["build_lab"],
        branch=branch,
        pdb=Pdb(found["pdb"], found["guid"], found["age"]),
        build=found["build"],
    )


def pool(truth: dict[str, Any]) -> Pool:
    tagging = bool(truth["tracker"])
    tags = _tracker_tags(truth) if tagging else _walked_tags(truth)
    states = truth["pools"]["paged"]["page_states"]
    resident = states["valid"] + states["transition"]
    return Pool(
        tagging="on" if tagging else "off",
        paged=_limits(truth["pools"]["paged"]),
        nonpaged=_limits(truth["pools"]["nonpaged"]),
        tags=tags,
        coverage=Coverage(
            tracker=1.0 if tagging else None,
            paged_pages=resident / (resident + states["pagefile"]),
            nonpaged_pages=1.0,
        ),
    )


def drivers(truth: dict[str, Any]) -> Drivers:
    names = Counter(entry["name"] for entry in truth["unloaded_drivers"]["entries"])
    recent = tuple(Unloads(name, count, None, None) for name, count in names.most_common())
    return Drivers(recent=recent, ring_entries=sum(names.values()))


def _limits(truth: dict[str, Any]) -> PoolLimits:
    used = truth["pages_in_use"] * 4096
    return PoolLimits(used, truth["limit_bytes"], used / truth["limit_bytes"])


def _tracker_tags(truth: dict[str, Any]) -> tuple[TagUse, ...]:
    def part(row: dict[str, int], prefix: str) -> PoolUse:
        allocs, frees = row[f"{prefix}_allocs"], row[f"{prefix}_frees"]
        return PoolUse(allocs, frees, allocs - frees, row[f"{prefix}_bytes"])

    return tuple(
        TagUse(tag, part(row, "paged"), part(row, "np"), "tracker")
        for tag, row in sorted(truth["tracker"].items())
    )


def _walked_tags(truth: dict[str, Any]) -> tuple[TagUse, ...]:
    def part(tag: str, name: str) -> PoolUse:
        states = truth["small_blocks"][name].get(tag, {})
        seen = [states[state] for state in ("valid", "transition") if state in states]
        big = truth["big_allocations_by_tag"][name].get(tag)
        return PoolUse(
            outstanding=sum(state["allocs"] for state in seen),
            bytes=sum(state["bytes"] for state in seen),
            big=BigUse(big["allocs"], big["bytes"]) if big else None,
        )

    blocks, big = truth["small_blocks"], truth["big_allocations_by_tag"]
    tags = sorted({tag for name in ("paged", "nonpaged") for tag in (*blocks[name], *big[name])})
    return tuple(TagUse(tag, part(tag, "paged"), part(tag, "nonpaged"), "pages") for tag in tags)
