"""The acceptance images of ``../shared/images``: unpacked once per user, outside the checkout.

They were written by an independent generator; every ``NAME.truth.json`` says what it put there.
``image("a01-xpsp3-pae-hung.kernel.dmp")``, ``image("a01")`` and ``truth("a01")`` name the same pair.
Tests that call these are skipped, with the reason, where the folder is not there.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
IMAGES = SHARED / "images"


def shared(relative: str) -> Path:
    """A path below ``../shared``. Skips the calling test when it does not exist."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs ../shared/{relative}, which is not on this machine")
    return path


def image(name: str) -> Path:
    """Path of the unpacked acceptance image whose file name starts with ``name``."""
    shared("images")
    found = [p for p in sorted(IMAGES.glob(f"{name}*")) if not p.name.endswith((".json", ".md"))]
    if not found:
        pytest.skip(f"needs an image {name}* in ../shared/images")
    packed = found[0]
    return _unpacked(packed) if packed.suffix == ".xz" else packed


@cache
def truth(name: str) -> dict[str, Any]:
    """What the generator of the image says is in it. Do not change the returned object."""
    shared("images")
    found = sorted(IMAGES.glob(f"{name.split('.')[0]}*.truth.json"))
    if not found:
        pytest.skip(f"needs {name}*.truth.json in ../shared/images")
    document: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    return document


def cache_folder() -> Path:
    """Where tests keep what is costly to make: outside the checkout, made when needed."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dumpscan-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _unpacked(packed: Path) -> Path:
    folder = cache_folder()
    # The packed size in the name: a regenerated image must not be shadowed by an old copy.
    target = folder / str(packed.stat().st_size) / packed.stem
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        with lzma.open(packed) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        partial.replace(target)
    return target
