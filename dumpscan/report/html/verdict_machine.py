"""Which kernel on which machine, and the drivers that came and went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from markupsafe import Markup

from dumpscan.model import Drivers, Unload, Verdict
from dumpscan.report import figures, text
from dumpscan.report.html import charts, parts
from dumpscan.report.html.page import Section
from dumpscan.report.html.svg import shown

_LANES = 8


def machine_section(verdict: Verdict) -> Section:
    """Two cards: kernel and image, machine and loaded drivers."""
    kernel = parts.card("Kernel", parts.facts(_kernel(verdict)))
    machine = parts.card("Machine and image", parts.facts(_machine(verdict)))
    return Section("machine", "Kernel and machine", parts.columns(kernel, machine))


def _kernel(verdict: Verdict) -> Iterator[tuple[str, str | Markup]]:
    kernel = verdict.kernel
    pack = f"Service Pack {kernel.service_pack}" if kernel.service_pack else ""
    yield "Windows", " ".join(word for word in (kernel.product or "unknown", pack) if word)
    pae = {True: "PAE", False: "no PAE", None: ""}[kernel.pae if kernel.arch == "x86" else None]
    kind = {True: "multiprocessor", False: "uniprocessor", None: ""}[kernel.multiprocessor]
    checked = "checked build" if kernel.checked else ""
    yield "Architecture", ", ".join(word for word in (kernel.arch or "unknown", pae, kind, checked) if word)
    yield "Version", f"{kernel.version or 'unknown'} ({kernel.branch} branch)"
    if kernel.build_lab or kernel.build_date:
        yield "Build", ", ".join(word for word in (kernel.build_lab, kernel.build_date) if word)
    if kernel.image_name:
        yield "File", kernel.image_name
        if kernel.internal_name and kernel.internal_name != kernel.image_name:
            yield "", f"calls itself {kernel.internal_name}"
    if kernel.pdb is not None:
        yield "Symbols", kernel.pdb.name
        yield "", Markup("<code>{}</code> age {}").format(kernel.pdb.guid, kernel.pdb.age)
    places = [f"base {kernel.base}" if kernel.base else "", f"dtb {kernel.dtb}" if kernel.dtb else ""]
    yield "Found by", ", ".join(word for word in (kernel.found_by, *places) if word)
    for note in kernel.notes:
        yield "", note


def _machine(verdict: Verdict) -> Iterator[tuple[str, str | Markup]]:
    machine, image = verdict.machine, verdict.image
    if machine.bugcheck is not None:
        yield "Stop code", f"{machine.bugcheck.code:#x} {machine.bugcheck.name}"
        if machine.bugcheck.parameters:
            yield "", ", ".join(machine.bugcheck.parameters)
    yield "Time", (machine.system_time or "unknown").replace("T", " ").replace("Z", " UTC")
    if machine.uptime_seconds is not None:
        yield "Up for", figures.duration(machine.uptime_seconds)
    if machine.processors:
        yield "Processors", str(machine.processors)
    yield "Image", image.description or image.format
    kind = image.description or image.format
    (_, words), *rest = text.image_rows(image)
    yield "", words.removeprefix(f"{image.path}: {kind}, ")
    for _, line in rest:
        yield "", line
    yield "File", Markup("<code>{}</code>").format(shown(image.path))


def drivers_section(verdict: Verdict) -> Section:
    """Unloads over time, by name, and what is loaded."""
    drivers = verdict.drivers
    boxes = [_timeline(drivers), _unloads(drivers), _loaded(drivers)]
    return Section("drivers", "Drivers that came and went", parts.joined(*boxes), _lead(drivers))


def _lead(drivers: Drivers) -> str:
    known = drivers.unloads_total is not None
    total = figures.count(drivers.unloads_total) if known else "An unknown number of"
    ring = (
        f"; the kernel remembers the last {drivers.ring_entries} by name"
        if drivers.ring_entries
        else ""
    )
    loaded = "" if drivers.loaded else f" {text.loaded(drivers).capitalize()}."
    return f"{total} unloads since boot{ring}.{loaded}"


def _timeline(drivers: Drivers) -> Markup:
    events = [event for entry in drivers.timeline if (event := _event(entry))]
    if not events:
        return Markup("")
    often = [each for each in drivers.recent if each.first][:_LANES]
    known = {entry.name.lower(): entry.name.lower() for entry in drivers.timeline}
    lanes = [
        (each.name.lower(), f"{shown(each.name)} × {each.count}")
        for each in often
        if each.name.lower() in known
    ]
    marked = often[0].name.lower() if often and often[0].count > 1 else ""
    title = "Driver unloads over time"
    first, last = min(event.time for event in events), max(event.time for event in events)
    words = (
        f"{len(events)} unloads of {len(drivers.recent)} drivers "
        f"from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC."
    )
    left_out = len(drivers.recent) - len(lanes)
    words += f" {left_out} more drivers stand in the table." if left_out > 0 else ""
    picture = charts.timeline(
        title, events, words, lanes=[(key, Markup(label)) for key, label in lanes], marked=marked
    )
    return parts.figure(title, picture, text=words)


def _event(entry: Unload) -> charts.Event | None:
    if entry.time is None:
        return None
    try:
        return charts.Event(entry.name.lower(), datetime.fromisoformat(entry.time.replace("Z", "+00:00")))
    except ValueError:
        return None


def _unloads(drivers: Drivers) -> Markup:
    if not drivers.recent:
        return Markup("")
    number = parts.Column("Unloads", "number")
    columns = [parts.Column("Driver"), number, parts.Column("First"), parts.Column("Last")]
    rows: Sequence[tuple[str, ...]] = [
        (each.name, figures.count(each.count), figures.moment(each.first), figures.moment(each.last))
        for each in drivers.recent
    ]
    return parts.table(parts.Table("Unloaded drivers by name (UTC)", columns, rows, stacked=True))


def _loaded(drivers: Drivers) -> Markup:
    if not drivers.loaded:
        return Markup("")
    columns = [
        parts.Column("Driver"), parts.Column("Base", "code"), parts.Column("Bytes", "number"),
        parts.Column("Path", "long", True),
    ]  # fmt: skip
    rows = [(each.name, each.base, figures.count(each.size), each.path or "-") for each in drivers.loaded]
    cut = drivers.loaded_complete is False
    caption = f"Loaded drivers: at least {len(rows)}" if cut else f"Loaded drivers: {len(rows)}"
    table = parts.table(parts.Table(caption, columns, rows, tools=True, id="loaded"))
    return parts.folded(caption, table)
