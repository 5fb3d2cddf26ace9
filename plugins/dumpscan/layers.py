"""Layers for the dumps that volatility3 does not open: kernel (2) and active (6) dumps, ELF32 cores ...

Giving volatility3 this folder is enough: it imports the modules in it before it stacks layers, and
finds stackers by their base class. Files and kernels that volatility3's own stackers make something of
are left to them, but for the page tables of crash dumps: those are the ones that the header names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from volatility3.framework import constants, exceptions, interfaces
from volatility3.framework.interfaces.configuration import path_join
from volatility3.framework.layers import crash, intel, physical, segmented

from .core import require_package

if TYPE_CHECKING:
    from dumpscan.image.opened import OpenedImage

vollog = logging.getLogger(__name__)

_PAGE = 4096
_SIGNATURES = (b"PAGEDUMP", b"PAGEDU64", b"\x7fELF")
_PDPT_BYTES = 32


def local_file(layer: Any) -> Path | None:
    """The file under a layer that is nothing but a local file (not decompressed on the way)."""
    if not isinstance(layer, physical.FileLayer):
        return None
    location = urlsplit(str(layer.location))
    if location.scheme != "file":
        return None
    path = Path(url2pathname(location.path))
    return path if path.is_file() and os.path.getsize(path) == layer.maximum_address + 1 else None


def open_file(layer: Any) -> OpenedImage | None:
    """What dumpscan's readers make of the file under ``layer``; None where they read no memory from it."""
    path = local_file(layer)
    if path is None:
        return None
    require_package()
    from dumpscan.errors import ImageError
    from dumpscan.image.recognise import open_image

    try:
        opened = open_image(path)
    except ImageError as error:
        vollog.info(f"dumpscan: {error}")
        return None
    return opened if opened.memory is not None else None


def opened_image(context: interfaces.context.ContextInterface, name: str) -> OpenedImage:
    """The physical layer ``name`` as an opened image: by dumpscan's own reader where it has one.

    Our reader of the file gives the header's claims too, and reads through a memory map.
    """
    layer = bottom = context.layers[name]
    while len(bottom.dependencies) == 1:
        bottom = context.layers[bottom.dependencies[0]]
    opened = open_file(bottom)
    # A file without a known header may still have been stacked upon (by metadata in another file).
    if opened is not None and (bottom is layer or opened.info.format != "raw"):
        return opened
    return _through_layer(layer, bottom)


def _through_layer(layer: Any, bottom: Any) -> OpenedImage:
    require_package()
    from dumpscan.image.opened import Hints, OpenedImage
    from dumpscan.image.through_volatility import memory_of_layer
    from dumpscan.model import ImageInfo

    memory = memory_of_layer(layer, _PAGE)
    where = str(getattr(bottom, "location", layer.name))
    info = ImageInfo(
        path=where,
        format="volatility3",
        bytes=bottom.maximum_address + 1,
        pages_present=int(memory.runs().page_count.sum()),
        description=f"volatility3 layer {type(layer).__name__}",
    )
    return OpenedImage(Path(where), info, Hints(), memory)


class DumpscanFileLayer(segmented.SegmentedLayer):  # type: ignore[misc]
    """Physical memory as segments of the file beneath, found by dumpscan's reader of its format."""

    _metadata: dict[str, Any]

    def _load_segments(self) -> None:
        opened = open_file(self.context.layers[self._base_layer])
        if opened is None or opened.info.page_size != _PAGE:
            raise exceptions.LayerException(self.name, "no image that dumpscan reads as segments of a file")
        self._segments = _segments(opened.memory)
        if not self._segments:
            raise exceptions.LayerException(self.name, "the image holds no memory")
        self._metadata = {**_claims(opened), **self._metadata}
        vollog.info(f"dumpscan: {opened.info.description}, {len(self._segments)} segments")


def _segments(memory: Any) -> list[tuple[int, int, int, int]]:
    """Runs of a FileMemory as volatility3 has them: (address, file offset, bytes, bytes in the file)."""
    runs = zip(*(column.tolist() for column in memory.placed()), strict=True)
    return [(pfn * _PAGE, at, count * _PAGE, count * _PAGE) for pfn, count, at in runs if count]


def _claims(opened: OpenedImage) -> dict[str, Any]:
    """Metadata that volatility3's stackers go by. An ELF core does not say which system is in it.

    A directory table base is claimed for x64 only (WindowsIntelStacker takes it unseen, which serves
    kernels with a random self-map index); the others are verified and stacked below.
    """
    if not opened.info.format.startswith("crash"):
        return {}
    claims: dict[str, Any] = {"os": "Windows"}
    if opened.hints.arch == "x64" and opened.hints.dtbs:
        claims |= {"architecture": "Intel64", "page_map_offset": opened.hints.dtbs[0]}
    return claims


class DumpscanFileStacker(interfaces.automagic.StackerLayerInterface):  # type: ignore[misc]
    """Opens crash dumps and ELF cores that volatility3's own stackers (10 and 11) left alone."""

    stack_order = 12

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: constants.ProgressCallback = None,
    ) -> interfaces.layers.DataLayerInterface | None:
        """A layer over the file ``layer_name``, or None where it is of no such kind."""
        base = context.layers[layer_name]
        if local_file(base) is None or not base.read(0, 8, pad=True).startswith(_SIGNATURES):
            return None
        name = context.layers.free_layer_name(DumpscanFileLayer.__name__)
        context.config[path_join(name, "base_layer")] = layer_name
        try:
            return DumpscanFileLayer(context, name, name)
        except exceptions.LayerException as error:
            vollog.info(f"dumpscan: {error}")
        except exceptions.MissingModuleException as error:
            # The stacking machinery swallows it, and nobody would know why the file is not opened.
            vollog.error(str(error))
        return None


class DumpscanPae(intel.WindowsIntelPAE):  # type: ignore[misc]
    """PAE paging whose page directory pointer table may lie anywhere in its page.

    The base class reads a whole page from where the 32-byte table begins; when the table is not at
    the beginning of its page and the next page was not dumped, nothing would translate.
    """

    def __init__(
        self,
        context: interfaces.context.ContextInterface,
        config_path: str,
        name: str,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(context, config_path, name, metadata)
        self._pointers: dict[int, bytes | None] = {}

    def _get_valid_table(self, base_address: int) -> bytes | None:
        if base_address % _PAGE == 0:
            table: bytes | None = super()._get_valid_table(base_address)
            return table
        if base_address not in self._pointers:
            self._pointers[base_address] = self._read_pointers(base_address)
        return self._pointers[base_address]

    def _read_pointers(self, address: int) -> bytes | None:
        try:
            table: bytes = self.context.layers.read(self._base_layer, address, _PDPT_BYTES)
        except exceptions.InvalidAddressException:
            return None
        return table


def _intel_layer(context: Any, base: str, arch: str, pae: bool, dtb: int) -> Any:
    kind = intel.WindowsIntel32e if arch == "x64" else DumpscanPae if pae else intel.WindowsIntel
    name = context.layers.free_layer_name("IntelLayer")
    config_path = path_join("IntelHelper", name)
    context.config[path_join(config_path, "memory_layer")] = base
    context.config[path_join(config_path, "page_map_offset")] = dtb
    return kind(context, config_path=config_path, name=name, metadata={"os": "Windows"})


class DumpscanIntelStacker(interfaces.automagic.StackerLayerInterface):  # type: ignore[misc]
    """Paging by the page tables that a crash dump's header names, once their self-map is verified.

    Before volatility3 (34 to 40) scans for page tables: that takes seconds, and its scanner knows the
    System process's alone and only at the beginning of a page. An ELF core's CR3 may be a user's
    shadow tables, so on one of those that only we open the kernel is looked for.
    """

    stack_order = 33
    exclusion_list = ("mac", "linux")

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: constants.ProgressCallback = None,
    ) -> interfaces.layers.DataLayerInterface | None:
        """An Intel layer on top of a crash dump or a DumpscanFileLayer, else None."""
        base = context.layers[layer_name]
        if not isinstance(base, (DumpscanFileLayer, crash.WindowsCrashDump32Layer)):
            return None
        opened = opened_image(context, layer_name)
        if opened.info.format.startswith("crash"):
            return _claimed(context, layer_name, opened)
        return _located(context, layer_name, opened, progress_callback)


class DumpscanScanStacker(interfaces.automagic.StackerLayerInterface):  # type: ignore[misc]
    """Paging of the kernel that dumpscan finds, where volatility3's own scanner (40) found none."""

    stack_order = 41
    exclusion_list = ("mac", "linux")

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: constants.ProgressCallback = None,
    ) -> interfaces.layers.DataLayerInterface | None:
        """An Intel layer on top of any physical layer that holds a Windows kernel, else None."""
        base = context.layers[layer_name]
        if isinstance(base, intel.Intel) or base.metadata.get("os") not in ("Windows", "Unknown"):
            return None
        return _located(context, layer_name, opened_image(context, layer_name), progress_callback)


def _claimed(context: Any, base: str, opened: OpenedImage) -> Any:
    from dumpscan.kernel.find import claimed_spaces

    for space in claimed_spaces(opened.memory, opened.hints) if opened.memory else ():
        return _intel_layer(context, base, space.paging.arch, space.paging.name == "pae", space.dtb)
    return None


def _located(context: Any, base: str, opened: OpenedImage, callback: constants.ProgressCallback) -> Any:
    from dumpscan.errors import DumpscanError
    from dumpscan.kernel.locate import locate_kernel

    try:
        info = locate_kernel(opened, progress=progress(callback)).info
    except DumpscanError as error:
        vollog.info(f"dumpscan: {error}")
        return None
    dtb = int(info.dtb or "0", 16)
    return _intel_layer(context, base, str(info.arch), bool(info.pae), dtb) if dtb else None


def progress(callback: constants.ProgressCallback) -> Callable[[str, int, int], None] | None:
    """dumpscan's progress reports as volatility3's: a percentage and a text."""
    if callback is None:
        return None
    return lambda what, done, total: callback(100 * done / max(total, 1), what)
