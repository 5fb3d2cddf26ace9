"""Puts plugins/ and samples/ into the wheel, as dumpscan/_plugins and dumpscan/_samples.

Not into an editable install: there ``dumpscan.bundled`` finds the folders of the checkout, and a copy
would go stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BundledFolders(BuildHookInterface):  # type: ignore[type-arg,unused-ignore]
    """The custom build hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add every file of the two folders, byte code aside."""
        if version == "editable":
            return
        root = Path(self.root)
        for folder in ("plugins", "samples"):
            for path in sorted((root / folder).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    inside = path.relative_to(root / folder).as_posix()
                    build_data["force_include"][str(path)] = f"dumpscan/_{folder}/{inside}"
