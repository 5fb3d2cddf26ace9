"""Folders that travel with dumpscan but are no part of its package: plugins/ and samples/.

In a checkout they lie beside the package, in an installed wheel inside it (``_plugins``,
``_samples``; see hatch_build.py).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from dumpscan.errors import DumpscanError, ExitCode

_PACKAGE = Path(__file__).parent
_SAMPLES = "dumpscan._samples"


class MissingFolder(DumpscanError):
    """The installation is incomplete."""

    exit_code = ExitCode.INTERNAL


def folder(name: str) -> Path:
    """Path of ``plugins`` or ``samples``. :raises MissingFolder: the installation is incomplete."""
    for path in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if path.is_dir():
            return path
    raise MissingFolder(f"the folder '{name}' is missing from this installation; install dumpscan again")


def samples(module: str = "") -> ModuleType:
    """The package that writes sample images, or a module of it. It imports nothing of dumpscan.

    :raises MissingFolder: the installation is incomplete.
    """
    if _SAMPLES not in sys.modules:
        where = folder("samples")
        spec = importlib.util.spec_from_file_location(
            _SAMPLES, where / "__init__.py", submodule_search_locations=[str(where)]
        )
        if spec is None or spec.loader is None:
            raise MissingFolder(f"{where}: no Python package; install dumpscan again")
        sys.modules[_SAMPLES] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_SAMPLES])
    return importlib.import_module(f"{_SAMPLES}.{module}" if module else _SAMPLES)
