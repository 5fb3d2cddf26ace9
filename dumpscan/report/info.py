"""``dumpscan info`` for a person: the first line says what the file is and whether it is whole."""

from __future__ import annotations

import os
from typing import TextIO

from dumpscan.model import Drivers, Header, ImageInfo, Info
from dumpscan.report import figures, plain, safe, text
from dumpscan.report.blocks import Block, Facts, Headline, Items

_PRODUCT_TYPES = {1: "workstation", 2: "domain controller", 3: "server"}


def render(info: Info, width: int = 80) -> str:
    """Return the report as plain text. The first line is never broken."""
    return f"{safe.printable(first_line(info.image))}\n\n{plain.render(blocks(info), width)}"


def write(info: Info, stream: TextIO, *, colour: bool | None = None) -> None:
    """Print the report; ``colour`` None decides by the stream and the environment."""
    if colour if colour is not None else text.wants_colour(stream):
        from dumpscan.report import terminal

        tone = "bad" if info.image.truncated else "good"
        terminal.write([Headline(first_line(info.image), tone), *blocks(info)], stream)
    else:
        safe.write(stream, render(info))


def first_line(image: ImageInfo) -> str:
    """``NAME: what it is, bytes of bytes, pages of pages, complete`` (or TRUNCATED)."""
    name = os.path.basename(image.path) or image.path
    parts = [
        f"{name}: {image.description or image.format}",
        _share(image.bytes, image.bytes_expected, "bytes"),
    ]
    if image.pages_present is not None:
        parts.append(_share(image.pages_present, image.pages_expected, "pages"))
    return ", ".join([*parts, _whole(image)])


def _whole(image: ImageInfo) -> str:
    if image.truncated:
        return "TRUNCATED"
    # A raw image records no size: one that was cut at a page boundary looks whole.
    return "complete" if image.format != "raw" else "not visibly truncated"


def _share(here: int, expected: int | None, unit: str) -> str:
    of = f" of {figures.count(expected)}" if expected is not None else ""
    return f"{figures.count(here)}{of} {unit}"


def blocks(info: Info) -> list[Block]:
    """Return the parts of the report in order, without the first line."""
    rows = [
        ("File", info.image.path),
        ("", f"format {info.image.format}, pages of {info.image.page_size} bytes"),
    ]
    if info.image.comment:
        rows.append(("", f"comment: {info.image.comment}"))
    rows += [("", note) for note in info.image.notes]
    rows += _header_rows(info.header)
    rows += text.kernel_rows(info.kernel) if info.kernel is not None else [("Kernel", "not found")]
    rows += text.machine_rows(info.machine)
    rows += [("Note" if number == 0 else "", note) for number, note in enumerate(info.notes)]
    return [Facts(tuple(rows)), *_drivers(info.drivers)]


def _header_rows(header: Header) -> list[tuple[str, str]]:
    kind = _PRODUCT_TYPES.get(header.product_type or 0)
    claims = [
        header.arch,
        {True: "PAE", False: "no PAE", None: None}[header.pae],
        f"build {header.build}" if header.build is not None else None,
        {True: "checked", False: "free", None: None}[header.checked],
        kind,
        f"dtb {', '.join(header.dtbs)}" if header.dtbs else None,
        f"KDBG {header.kdbg}" if header.kdbg else None,
        f"module list {header.ps_loaded_module_list}" if header.ps_loaded_module_list else None,
        f"process list {header.ps_active_process_head}" if header.ps_active_process_head else None,
        f"PFN database {header.pfn_database}" if header.pfn_database else None,
    ]
    told = ", ".join(claim for claim in claims if claim)
    rows = [("Header", f"claims {told}")] if told else []
    if header.pool_pages:
        pages = ", ".join(f"{name} {figures.count(count)}" for name, count in header.pool_pages.items())
        rows.append(("" if rows else "Header", f"memory figures in pages: {pages}"))
    return rows


def _drivers(drivers: Drivers | None) -> list[Block]:
    if drivers is None:
        return []
    found: list[Block] = []
    if drivers.recent:
        rows = tuple(
            (" ", f"{each.name} x {each.count}", _when(each.first, each.last)) for each in drivers.recent
        )
        total = drivers.unloads_total
        since = f", {figures.count(total)} unloads since boot" if total is not None else ""
        found.append(Items(f"Unloaded drivers{since}", rows))
    if drivers.loaded:
        named = tuple(
            (" ", f"{each.base} {each.size:>9,} {each.name}", _stamp(each.timestamp))
            for each in drivers.loaded
        )
        cut = "at least " if drivers.loaded_complete is False else ""
        left = ", the list leaves the image" if cut else ""
        found.append(Items(f"Loaded drivers: {cut}{len(named)}{left}", named))
    else:
        found.append(Items("Loaded drivers: unknown", ()))
    return found


def _stamp(value: int | None) -> str:
    return "" if value is None else f"time stamp {value:#010x}"


def _when(first: str | None, last: str | None) -> str:
    if first is None or last is None:
        return last or first or ""
    return last if first == last else f"{first} to {last}"
