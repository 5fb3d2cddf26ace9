"""What the plugins share: their options, the way from volatility3's layer to a case, absent values."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import volatility3.symbols
from volatility3.framework import exceptions, interfaces, renderers
from volatility3.framework.configuration import requirements

from .core import require_package
from .layers import opened_image, progress

if TYPE_CHECKING:
    from dumpscan.case import Case
    from dumpscan.image.opened import Hints

vollog = logging.getLogger(__name__)

LAYER = "primary"
POOLS = ("paged", "nonpaged")


def layer_option() -> interfaces.configuration.RequirementInterface:
    """The one thing a plugin needs: translated memory. No symbol table."""
    return requirements.TranslationLayerRequirement(
        name=LAYER, description="Memory layer of the kernel", architectures=["Intel32", "Intel64"]
    )


def tag_options() -> list[interfaces.configuration.RequirementInterface]:
    """Options that choose rows by tag and pool."""
    return [
        requirements.ListRequirement(
            name="tags",
            element_type=str,
            description="Only these tags: ? stands for one character, * for any number (Pp??)",
            optional=True,
        ),
        requirements.ChoiceRequirement(
            name="pool", choices=["both", *POOLS], description="Only this pool", default="both", optional=True
        ),
    ]


@contextlib.contextmanager
def case_of(plugin: interfaces.plugins.PluginInterface) -> Iterator[Case]:
    """The image under the plugin's layer as a case; dumpscan's errors become volatility3's.

    :raises MissingModuleException: dumpscan is not installed.
    :raises InvalidAddressException: no kernel, or memory that is needed is not in the image.
    """
    require_package()
    from dumpscan.errors import DumpscanError

    name = plugin.config[LAYER]
    try:
        yield _open(plugin.context, name, plugin._progress_callback)
    except DumpscanError as error:
        raise exceptions.InvalidAddressException(name, getattr(error, "address", 0), str(error)) from error


def _open(context: interfaces.context.ContextInterface, name: str, callback: Any) -> Case:
    from dumpscan.case import Case, Options
    from dumpscan.records import replace

    layer = context.layers[name]
    opened = opened_image(context, layer.config["memory_layer"])
    folders = tuple(Path(folder) for folder in volatility3.symbols.__path__)
    hints = _hints(opened.hints, layer)
    return Case(replace(opened, hints=hints), Options(symbol_dirs=folders, progress=progress(callback)))


def _hints(claimed: Hints, layer: Any) -> Hints:
    """The header's claims with those of volatility3's layer before them: each is verified anyway."""
    from dumpscan.records import replace

    dtbs = tuple(dict.fromkeys((int(layer.config["page_map_offset"]), *claimed.dtbs)))
    if layer.metadata.get("architecture") == "Intel64":
        return replace(claimed, dtbs=dtbs, arch="x64")
    return replace(claimed, dtbs=dtbs, arch="x86", pae=bool(layer.metadata.get("pae", False)))


def known(value: Any, kind: Any = None) -> Any:
    """``value`` as ``kind``, or volatility3's mark for what is not known."""
    if value is None:
        return renderers.NotAvailableValue()
    return value if kind is None else kind(value)


def say(notes: Iterable[str]) -> None:
    """Remarks on a result go to the log (stderr): the output holds rows only."""
    for note in notes:
        vollog.warning(note)


def chosen_pool(plugin: interfaces.plugins.PluginInterface) -> str | None:
    """The pool that the option ``pool`` asks for; None for both."""
    pool = plugin.config.get("pool")
    return pool if pool in POOLS else None


def chosen_tags(plugin: interfaces.plugins.PluginInterface) -> tuple[str, ...]:
    """The patterns of the option ``tags``."""
    return tuple(plugin.config.get("tags") or ())


def chooser(plugin: interfaces.plugins.PluginInterface) -> Callable[[str, str], bool]:
    """Does a row of this tag and pool pass the options?"""
    from dumpscan.pool.tags import tag_matcher

    matches, wanted = tag_matcher(chosen_tags(plugin)), chosen_pool(plugin)
    return lambda tag, pool: matches(tag) and wanted in (None, pool)
