"""The truth about a machine, from the writer's own bookkeeping."""

from __future__ import annotations

from typing import Any

import numpy as np

from .blocks import CACHED
from .pool_pages import tag_hidden
from .pool_space import STATE_NAMES
from .pool_tables import FIELDS, Row
from .population import POOLS
from .work import Work


def small_counts(work: Work, pool_name: str, hidden: bool) -> dict[str, dict[str, dict[str, int]]]:
    """Used small blocks by tag and page state; `hidden` picks the quota blocks that show no tag."""
    pool = work.pools[pool_name]
    state = pool.placed.of_small(pool.placed.state, pool.chains.pages)
    used = pool.chains.used()
    if tag_hidden(work.layout, bool(work.options.tagging)):
        used = used & (pool.chains.quota == hidden)
    elif hidden:
        return {}
    tags = len(work.names.names)
    key = state[pool.chains.page[used]].astype(np.int64) * tags + pool.chains.tag[used]
    allocs = np.bincount(key, minlength=3 * tags).reshape(3, tags) if len(key) else np.zeros((3, tags), int)
    sizes = (
        np.bincount(key, weights=pool.chains.units[used], minlength=3 * tags).reshape(3, tags)
        * work.layout.unit
    )
    return {
        work.names.names[tag]: {
            STATE_NAMES[number]: {"allocs": int(allocs[number, tag]), "bytes": int(sizes[number, tag])}
            for number in range(3)
        }
        for tag in np.flatnonzero(allocs.sum(axis=0))
    }


def big_counts(work: Work, pool_name: str) -> dict[str, dict[str, int]]:
    """Large allocations by tag, in whole pages."""
    found: dict[str, dict[str, int]] = {}
    for entry in work.bigs_live:
        if entry.pool == pool_name:
            row = found.setdefault(entry.tag, {"allocs": 0, "bytes": 0})
            row["allocs"] += 1
            row["bytes"] += entry.pages * work.page
    return found


def live(work: Work, pool_name: str) -> dict[str, list[int]]:
    """[allocations, bytes] by tag, small and large."""
    found: dict[str, list[int]] = {}
    for hidden in (False, True):
        for tag, states in small_counts(work, pool_name, hidden).items():
            row = found.setdefault(tag, [0, 0])
            row[0] += sum(part["allocs"] for part in states.values())
            row[1] += sum(part["bytes"] for part in states.values())
    for tag, part in big_counts(work, pool_name).items():
        row = found.setdefault(tag, [0, 0])
        row[0], row[1] = row[0] + part["allocs"], row[1] + part["bytes"]
    return found


def tracker_rows(work: Work) -> dict[str, Row]:
    """What the tag table has to say: live plus lifetime frees."""
    rows: dict[str, Row] = {}
    for pool, prefix in zip(POOLS, ("np", "paged"), strict=True):
        for tag, (count, size) in live(work, pool).items():
            row = rows.setdefault(tag, dict.fromkeys(FIELDS, 0))
            row[f"{prefix}_allocs"], row[f"{prefix}_bytes"] = count, size
        for (tag, where), frees in work.population.frees.items():
            if where == pool and frees:
                row = rows.setdefault(tag, dict.fromkeys(FIELDS, 0))
                row[f"{prefix}_allocs"] += frees
                row[f"{prefix}_frees"] += frees
    return rows


def _kernel(work: Work) -> dict[str, Any]:
    build, profile = work.build, work.profile
    return {
        "nt": profile.nt,
        "build": profile.build,
        "service_pack": profile.service_pack,
        "machine": profile.machine,
        "pae": profile.pae,
        "base": hex(work.base),
        "phys": hex(work.kernel_pa),
        "size": hex(profile.image_size),
        "file": profile.file,
        "file_version": build.file_version,
        "branch": build.label,
        "branch_word": build.branch,
        "timestamp": hex(build.timestamp),
        "build_lab": build.build_lab,
        "csd": profile.csd,
        "pdb": profile.pdb,
        "guid": build.guid,
        "age": build.age,
        "product": profile.product,
        "cpus": work.options.processors,
        "version_resource": work.options.version_resource,
    }


def _addresses(work: Work) -> dict[str, Any]:
    names = (
        "KdDebuggerDataBlock",
        "KdVersionBlock",
        "PsLoadedModuleList",
        "PsActiveProcessHead",
        "PoolTrackTable",
        "PoolBigPageTable",
        "PoolBigPageTableSize",
        "MmUnloadedDrivers",
        "MmLastUnloadedDriver",
        "MiTotalUnloads",
        "NonPagedPoolDescriptor",
        "PoolVector",
        "MmPagedPoolInfo",
    )
    tracker = work.tracker
    found: dict[str, Any] = {name: hex(work.address(name)) for name in names}
    found["dtb"] = hex(work.paging.dtb)
    found["kpcr"] = [hex(address) for address in work.pcrs]
    found["pool_track_table"] = hex(work.named_big("tracker")) if tracker else None
    found["pool_track_entries"] = tracker.slots + 1 if tracker else 0
    found["pool_big_table"] = hex(work.named_big("big table")) if tracker else None
    found["cpu_tables"] = [hex(address) for address in work.cpu_tables]
    found["kuser"] = hex(work.profile.bases.kuser)
    found["pfn_database"] = hex(work.block_va)
    return found


def _pools(work: Work) -> dict[str, Any]:
    nonpaged, paged = work.pools["nonpaged"], work.pools["paged"]
    states = {}
    for number, name in enumerate(STATE_NAMES):
        here = paged.placed.state == number
        states[name] = int((here & (paged.placed.small >= 0)).sum())
        states[f"big_{name}"] = int((here & (paged.placed.big >= 0)).sum())
    return {
        "nonpaged": {
            "start": hex(nonpaged.start),
            "initial_bytes": work.initial_pages * work.page,
            "expansion_start": hex(work.expansion_va),
            "end": hex(nonpaged.end),
            "limit_bytes": nonpaged.limit,
            "pages_in_use": len(nonpaged.placed.slot),
            "small_pages": nonpaged.chains.pages,
            "used_fraction": round(len(nonpaged.placed.slot) * work.page / nonpaged.limit, 4),
        },
        "paged": {
            "start": hex(paged.start),
            "end": hex(paged.end),
            "limit_bytes": paged.limit,
            "pages_in_use": len(paged.placed.slot),
            "small_pages": paged.chains.pages,
            "page_states": states,
            "paged_out_fraction": work.options.paged_out,
            "used_fraction": round(len(paged.placed.slot) * work.page / paged.limit, 4),
        },
        "paged_pool_descriptors": 4 if work.profile.mp else 2,
    }


def _expected(work: Work) -> dict[str, str]:
    """Fix state and verdict by the article's scope and the design's rules for verdict codes."""
    fix = work.build.fix_state(work.options.version_resource)
    scenario = work.options.scenario
    leaks = bool(work.options.iose_per_cycle and work.options.pp_per_cycle and work.options.unload_cycles)
    if scenario not in ("leak", "early", "unexpected", "no-tagging") or not leaks:
        return {"fix": fix, "verdict": "does-not-exhibit"}
    if scenario == "early" and fix != "vulnerable":
        return {"fix": fix, "verdict": "inconclusive"}
    if fix in ("fixed", "out-of-scope"):
        return {"fix": fix, "verdict": "unexpected"}
    return {"fix": fix, "verdict": "exhibits"}


def _expect(work: Work) -> dict[str, Any]:
    items = work.population.leak_items
    found = live(work, "paged")
    return {
        "scenario": work.options.scenario,
        "leak": {
            "cycles": work.options.unload_cycles,
            "driver": work.options.driver,
            "tags": list(dict.fromkeys(item["tag"] for item in items)),
            "per_cycle": items,
        }
        if items
        else None,
        "IoSe_live": found.get("IoSe", [0, 0]),
        "Pp_live": found.get("Pp  ", [0, 0]),
        "iose_leaks": any(item["tag"] == "IoSe" for item in items),
        "pp_leaks": any(item["tag"] == "Pp  " for item in items),
    }


def _big_table(work: Work) -> dict[str, Any]:
    return {
        "present": bool(work.options.tagging),
        "live": len(work.bigs_live),
        "freed_entries": len(work.bigs_freed),
        "entries": [
            {"va": hex(entry.va), "tag": entry.tag, "bytes": entry.requested, "pool": entry.pool}
            for entry in work.bigs_live
        ],
    }


def _machine(work: Work) -> dict[str, Any]:
    options, ring = work.options, work.ring
    return {
        "memory": {
            "runs": [list(run) for run in work.ram.runs],
            "pages": int(work.ram.present.sum()),
            "ram_mb": options.ram_mb,
        },
        "time": {"system_time": options.system_time, "uptime_100ns": options.uptime_100ns},
        "unloads_total": ring.total,
        "unloads_skipped": ring.skipped,
        "unloaded_drivers": {
            "last_index": ring.next_index,
            "entries": [
                {"slot": e.slot, "name": e.name, "start": e.start, "end": e.end, "time": e.time}
                for e in ring.entries
                if not e.skipped
            ],
        },
        "modules": [{"name": m.name, "base": hex(m.base), "size": m.size} for m in work.module_list],
        "processes": [
            {"name": p.name, "pid": p.pid, "eprocess": hex(p.address), "cr3": hex(p.dtb)}
            for p in work.processes
        ],
    }


def machine_truth(work: Work) -> dict[str, Any]:
    """The whole truth, JSON-ready."""
    tracker = work.tracker
    options = {name: getattr(work.options, name) for name in work.options.__dataclass_fields__}
    cached = {name: int((pool.chains.kind == CACHED).sum()) for name, pool in work.pools.items()}
    return {
        "generator": {
            "profile": work.profile.name,
            "seed": work.options.seed,
            "scenario": work.options.scenario,
            "options": options,
        },
        "kernel": _kernel(work),
        "addresses": _addresses(work),
        **_machine(work),
        "nt_global_flag": 0x400 if work.layout.nt == "5.1" and work.options.tagging else 0,
        "tagging": bool(work.options.tagging),
        "tracker": tracker.rows if tracker else None,
        "tracker_overflow_tags": tracker.overflow_tags if tracker else [],
        "tracker_ovfl_entry": tracker.overflow if tracker else None,
        "tracker_tables": len(tracker.tables) if tracker else 0,
        "tracker_cpu0_only": tracker.first_cpu if tracker and len(tracker.tables) > 1 else None,
        "live": {pool: live(work, pool) for pool in POOLS},
        "small_blocks": {pool: small_counts(work, pool, False) for pool in POOLS},
        "quota_blocks_without_tag": {pool: small_counts(work, pool, True) for pool in POOLS},
        "big_allocations_by_tag": {pool: big_counts(work, pool) for pool in POOLS},
        "big_table": _big_table(work),
        "pools": _pools(work),
        "unmapped_stale_pool_pages": {"pages": work.stale_frames, "blocks_by_tag": work.stale},
        "lookaside_freed_blocks": cached,
        "expect": _expect(work),
        "expected": _expected(work),
        "files": [],
    }
