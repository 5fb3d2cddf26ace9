"""The comparison of several images as one document."""

from __future__ import annotations

from collections.abc import Sequence

from dumpscan.compare import clock
from dumpscan.compare.growth import pools_growth, source_of, tag_growths, unloads_between
from dumpscan.compare.match import same
from dumpscan.errors import UsageError
from dumpscan.model import Tool, Verdict
from dumpscan.model_compare import ComparedImage, Comparison
from dumpscan.verdict.series import Series, judge_series
from dumpscan.verdict.settings import Settings


def compare(
    verdicts: Sequence[Verdict], settings: Settings | None = None, tool: Tool | None = None
) -> Comparison:
    """Compare at least two images, in any order.

    :raises UsageError: fewer than two.
    """
    if len(verdicts) < 2:
        raise UsageError("a comparison needs two images or more")
    ordered = clock.in_order(verdicts)
    machine, boot, reasons = same(ordered)
    hours = clock.hours(ordered) if boot is not False else None
    unloads = unloads_between(ordered) if boot is not False else None
    pools = pools_growth(ordered, hours, boot)
    full = {"paged": pools.paged.full_at, "nonpaged": pools.nonpaged.full_at}
    signature, judgement = judge_series(
        Series(tuple(ordered), tuple(hours) if hours else None, boot, full), settings
    )
    return Comparison(
        images=tuple(_image(verdict) for verdict in ordered),
        same_machine=machine,
        same_boot=boot,
        reasons=reasons,
        comparable=_comparable(machine, boot, hours is not None),
        hours=hours[-1] if hours else None,
        unloads=unloads,
        tags=tag_growths(ordered, hours, unloads),
        pool=pools,
        fix=ordered[-1].fix,
        signature=signature,
        verdict=judgement,
        attribution=ordered[-1].attribution,
        suspects=ordered[-1].suspects,
        notes=_notes(ordered, machine, boot, hours is not None),
        tool=tool or ordered[-1].tool,
    )


def _image(verdict: Verdict) -> ComparedImage:
    boot = clock.boot_time(verdict.machine)
    kernel = verdict.kernel
    words = [kernel.product, f"SP{kernel.service_pack}" if kernel.service_pack else None, kernel.arch]
    return ComparedImage(
        path=verdict.image.path,
        system_time=verdict.machine.system_time,
        uptime_seconds=verdict.machine.uptime_seconds,
        boot_time=clock.text(boot) if boot else None,
        format=verdict.image.format,
        kernel=" ".join(word for word in (*words, kernel.version) if word),
        unloads_total=verdict.drivers.unloads_total,
        source=source_of(verdict.pool),
        state=verdict.signature.state,
        code=verdict.verdict.code,
    )


def _comparable(machine: bool | None, boot: bool | None, timed: bool) -> str:
    if boot is not False:
        return "growth" if timed else "levels"
    return "levels" if machine is not False else "nothing"


def _notes(
    verdicts: Sequence[Verdict], machine: bool | None, boot: bool | None, timed: bool
) -> tuple[str, ...]:
    notes = []
    if boot is False and machine is False:
        notes.append(
            "these are not images of one machine: each column stands for itself, differences say nothing"
        )
    elif boot is False:
        notes.append(
            "the machine was restarted between images, which empties the pools: levels can be compared, "
            "rates and forecasts cannot"
        )
    elif boot is None:
        notes.append("whether these are images of one boot is not known: rates assume that they are")
    if boot is not False and not timed:
        notes.append("the images give no times that rise: differences are shown, rates cannot be")
    sources = {source_of(verdict.pool) for verdict in verdicts}
    if None in sources and len(sources) > 1:
        notes.append("an image without figures by tag, a small dump say, is compared by its totals only")
    sources.discard(None)
    if len(sources) > 1:
        notes.append(
            "some figures come from the kernel's tables and some from walking pages (resident blocks "
            "only): tags counted in different ways have no rate"
        )
    elif sources == {"sample"}:
        notes.append("figures are estimates from samples of pages: changes and rates have the errors of both")
    elif sources == {"pages"}:
        notes.append("figures come from walking pages: they count resident blocks only")
    return (*notes, *_experimental(verdicts))


def _experimental(verdicts: Sequence[Verdict]) -> list[str]:
    """What the kernels' own notes say of how far the figures can be trusted: Itanium's do."""
    said = (note for verdict in verdicts if verdict.kernel.arch == "ia64" for note in verdict.kernel.notes)
    return sorted({note for note in said if "experimental" in note})
