"""Numbers and tags as people read them. No value is rounded away silently: counts stay exact."""

from __future__ import annotations


def count(number: float) -> str:
    """``13023`` as ``13,023``; a fraction keeps two digits."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.2f}"


def size(octets: float) -> str:
    """Bytes in the largest unit that leaves a number of at least one."""
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(octets) >= scale:
            return f"{octets / scale:.1f} {unit}"
    return f"{octets:.0f} bytes"


def percent(share: float) -> str:
    """``0.386`` as ``39 %``; small shares keep a digit so that they do not read as nothing."""
    value = share * 100
    if value >= 10 or float(value).is_integer():
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2f} %"


def tag(name: str) -> str:
    """A tag as the reader can retype it: quoted where it holds blanks (``'Pp  '``)."""
    return f"'{name}'" if name != name.strip() or " " in name else name


def joined(items: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
