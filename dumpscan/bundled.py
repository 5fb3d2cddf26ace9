"""Folders that travel with dumpscan but are no part of its package: plugins/ and samples/.

In a checkout they lie beside the package, in an installed wheel inside it (``_plugins``,
``_samples``; see hatch_build.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from dumpscan.errors import DumpscanError, ExitCode

_PACKAGE = Path(__file__).parent


class MissingFolder(DumpscanError):
    """The installation is incomplete."""

    exit_code = ExitCode.INTERNAL


def folder(name: str) -> Path:
    """Path of ``plugins`` or ``samples``. :raises MissingFolder: the installation is incomplete."""
    for path in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if path.is_dir():
            return path
    raise MissingFolder(f"the folder '{name}' is missing from this installation; install dumpscan again")


def samples_package() -> ModuleType:
    """The writer of sample images. It imports nothing of dumpscan, nor dumpscan's readers it."""
    where = folder("samples")
    name = "dumpscan._samples"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, where / "__init__.py", submodule_search_locations=[str(where)]
    )
    if spec is None or spec.loader is None:
        raise MissingFolder(f"{where}: no Python package; install dumpscan again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
