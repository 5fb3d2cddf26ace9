"""Where the dumpscan package is: beside this folder (a checkout, a wheel), else wherever Python finds it.

volatility3 imports every module of a plugin folder at each start, so nothing here or beside here
imports the package before a plugin runs; and a module that failed to import would vanish from the
plugin list without a word.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from volatility3.framework import exceptions

_HERE = Path(__file__).resolve()
# CHECKOUT/plugins/dumpscan/core.py or SITE/dumpscan/_plugins/dumpscan/core.py
_NEIGHBOURS = (_HERE.parents[2], _HERE.parents[3])


def require_package() -> None:
    """Make ``import dumpscan`` mean the package, preferably the one these plugins came with.

    :raises MissingModuleException: it, or a library that it needs, is not installed.
    """
    if "dumpscan.errors" in sys.modules:
        return
    places = [str(place) for place in _NEIGHBOURS if (place / "dumpscan" / "errors.py").is_file()]
    sys.path[:0] = places
    try:
        importlib.import_module("dumpscan.errors")
        importlib.import_module("numpy")
    except ImportError as error:
        name = error.name or "dumpscan"
        raise exceptions.MissingModuleException(
            name,
            f"these plugins need the Python package '{name.split('.')[0]}'; install dumpscan (and with it "
            "all that it needs) into the environment of volatility3",
        ) from None
    finally:
        for place in places:
            sys.path.remove(place)
