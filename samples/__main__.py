"""`python -m samples`: write one sample from the command line."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from . import CONTAINERS, PROFILES, SCENARIOS, build, write
from .options import Options

_TYPES = {"str": str, "int": int, "float": float}
_HELP = {
    "seed": "same seed and parameters, same bytes",
    "ram_mb": "RAM in MB, from 16 on",
    "cycles": "driver loads and unloads",
    "driver": "name of the driver that comes and goes",
    "version": "file version of the kernel, or its last number",
    "branch": "rtm, gdr, qfe, ldr, unknown, or the full label of NtBuildLab",
    "fullness": "used share of paged pool, 0 to 1",
    "paged_out": "share of paged pool pages that are not valid",
    "page_files": "write the paged-out pool pages to so many page files beside the image",
    "three_gb": "user space of 3 GB, as booted with /3GB",
    "processors": "more than one needs an MP kernel",
    "pool_mb": "resident pool to aim at",
    "version_resource": "present, absent or torn",
    "uptime": "seconds since boot",
    "time": "when the dump was taken, Unix time",
    "boot_time": "Unix time of the boot: time becomes boot time + uptime",
    "overflow": "none, expansion or ovfl: what happens to tags that find the table full",
    "debugger": "auto: encoded from Windows 8 on; plain: decoded, as in dumps that Windows writes",
    "dtb_offset": "offset of the PAE pointer table in its page, a multiple of 32",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samples", description=__doc__)
    parser.add_argument("--list", action="store_true", help="show profiles, containers and scenarios")
    parser.add_argument("--container", default="kernel", help="container, or full, kernel, bitmap, active")
    parser.add_argument("-o", "--output", type=Path, help="image to write; FILE.truth.json goes beside it")
    for field in fields(Options):
        flag = "--" + field.name.replace("_", "-")
        text = _HELP.get(field.name, field.name.replace("_", " ")) + f" (default: {field.default})"
        if field.type == "bool":
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
        else:
            kind = _TYPES[str(field.type).split(" ")[0]]
            parser.add_argument(flag, type=kind, default=field.default, help=text.replace("%", "%%"))
    return parser


def _listing() -> str:
    parts = (("profiles", PROFILES), ("containers", CONTAINERS), ("scenarios", SCENARIOS))
    return "\n".join(f"{name}: {', '.join(known)}" for name, known in parts)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 2 with the reason on stderr."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list:
        sys.stdout.write(_listing() + "\n")
        return 0
    if chosen.output is None:
        parser.error("-o FILE is missing")
    parameters = {field.name: getattr(chosen, field.name) for field in fields(Options)}
    try:
        machine = build(**parameters)
        path = write(machine, chosen.container, chosen.output, truth=True)
    except (ValueError, MemoryError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
