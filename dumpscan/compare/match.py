"""Are images of the same machine, and of the same boot of it? Yes, no or unknown, with reasons.

Nothing in an image names a machine. The same boot is known by its time (system time minus uptime)
and by counters that never go back; the same machine by the same boot, or by kernel, processors,
address of the page tables and the very same drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from dumpscan.compare import clock
from dumpscan.model import Verdict
from dumpscan.model_compare import Reason

BOOT_TOLERANCE = 120.0
"""Seconds. The clock is set while a machine runs (time service, dial-up); no two boots with an image
each lie this close together."""
MODULES_ALIKE, MODULES_DIFFERENT = 0.9, 0.5
"""Shares of loaded drivers, by name and size, that two images have in common."""

Answer = bool | None
_OUTCOMES = {True: "yes", False: "no", None: "unknown"}


def same(verdicts: Sequence[Verdict]) -> tuple[Answer, Answer, tuple[Reason, ...]]:
    """Same machine, same boot, and the reasons. ``verdicts`` in time order."""
    reasons: list[Reason] = []
    boots = [_boot(a, b, reasons) for a, b in pairwise(verdicts)]
    boot = _together(boots)
    machines = [_machine(a, b, reasons) for a, b in pairwise(verdicts)]
    machine = True if boot is True else _together(machines)
    if machine is False and boot is not True:
        boot = False
    return machine, boot, tuple(dict.fromkeys(reasons))


def _together(answers: list[Answer]) -> Answer:
    return False if False in answers else (None if None in answers else True)


def _ask(reasons: list[Reason], about: str, answer: Answer, text: str) -> Answer:
    reasons.append(Reason(about, _OUTCOMES[answer], text))
    return answer


# -- the same boot -----------------------------------------------------------------------------------


def _boot(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    answers = [test(a, b, reasons) for test in (_boot_time, _kernel, _base, _counters, _unloads)]
    if False in answers:
        return False
    return True if answers[0] else None


def _boot_time(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    first, second = clock.boot_time(a.machine), clock.boot_time(b.machine)
    if first is None or second is None:
        return _ask(reasons, "boot time", None, "system time or uptime is not known")
    apart = abs((second - first).total_seconds())
    if apart <= BOOT_TOLERANCE:
        near = f"started {clock.text(first)}" + (f", {apart:.0f} s apart" if apart >= 1 else "")
        return _ask(reasons, "boot time", True, near)
    return _ask(reasons, "boot time", False, f"started {clock.text(first)} and {clock.text(second)}")


def _kernel(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    """One boot runs one kernel file."""
    for about, read in _KERNEL:
        first, second = read(a), read(b)
        if first is not None and second is not None and first != second:
            return _ask(reasons, about, False, f"{_shown(first)} and {_shown(second)}")
    pdb = a.kernel.pdb
    if pdb is not None and b.kernel.pdb is not None:
        return _ask(reasons, "kernel", True, f"{a.kernel.version or '?'}, {pdb.name} {pdb.guid}")
    return _ask(reasons, "kernel", None, "not all identify their kernel by a PDB id")


def _pdb(verdict: Verdict) -> str | None:
    pdb = verdict.kernel.pdb
    return f"{pdb.name} {pdb.guid} age {pdb.age}" if pdb else None


_KERNEL: tuple[tuple[str, Callable[[Verdict], object]], ...] = (
    ("architecture", lambda v: v.kernel.arch),
    ("PAE", lambda v: v.kernel.pae),
    ("kernel PDB", _pdb),
    ("kernel version", lambda v: v.kernel.version),
    ("kernel timestamp", lambda v: v.kernel.timestamp),
)


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _base(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    """Within a boot the kernel does not move; from Vista on it moves with most boots."""
    # A header may name the page tables of the process that was running: their address decides nothing.
    if a.kernel.dtb and b.kernel.dtb:
        alike = a.kernel.dtb == b.kernel.dtb
        _ask(reasons, "page tables", alike or None, " and ".join(dict.fromkeys((a.kernel.dtb, b.kernel.dtb))))
    first, second = a.kernel.base, b.kernel.base
    if first is None or second is None:
        return None
    return _ask(reasons, "kernel base", first == second, " and ".join(dict.fromkeys((first, second))))


def _counters(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    """Counts of allocations since boot never go back."""
    if any(v.pool.coverage.tracker is None or v.pool.coverage.tracker < 1 for v in (a, b)):
        return None
    later = {use.tag: use for use in b.pool.tags if use.source == "tracker"}
    for use in a.pool.tags:
        if use.source != "tracker" or use.tag not in later:
            continue
        for pool in ("paged", "nonpaged"):
            before, after = getattr(use, pool).allocs, getattr(later[use.tag], pool).allocs
            # 32-bit counters may wrap; what wraps was large.
            if before is not None and after is not None and after < before < 1 << 31:
                text = f"{use.tag!r} had {before:,} allocations since boot, later {after:,}"
                return _ask(reasons, "allocation counters", False, text)
    return _ask(reasons, "allocation counters", True, "none goes back")


def _unloads(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    before, after = a.drivers.unloads_total, b.drivers.unloads_total
    if before is None or after is None:
        return None
    return _ask(reasons, "driver unloads", after >= before, f"{before:,}, then {after:,}")


# -- the same machine --------------------------------------------------------------------------------


def _machine(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    if a.kernel.arch and b.kernel.arch and a.kernel.arch != b.kernel.arch:
        return False
    alike = _modules(a, b, reasons)
    count = _processors(a, b, reasons)
    if alike is False:
        return False
    certain = alike and count and _pdb(a) is not None and _pdb(a) == _pdb(b) and a.kernel.dtb == b.kernel.dtb
    return True if certain else None


def _processors(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    first, second = a.machine.processors, b.machine.processors
    if first is None or second is None:
        return None
    if first != second:
        return _ask(reasons, "processors", None, f"{first} and {second}")
    return _ask(reasons, "processors", True, str(first))


def _modules(a: Verdict, b: Verdict, reasons: list[Reason]) -> Answer:
    first, second = ({(m.name.lower(), m.size) for m in v.drivers.loaded} for v in (a, b))
    if not first or not second or False in (a.drivers.loaded_complete, b.drivers.loaded_complete):
        return None
    share = len(first & second) / len(first | second)
    answer = True if share >= MODULES_ALIKE else (False if share < MODULES_DIFFERENT else None)
    text = f"{len(first & second)} of {len(first | second)} are the same in name and size"
    return _ask(reasons, "loaded drivers", answer, text)
