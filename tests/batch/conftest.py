"""Originals are written once for a session; archives are made of them where they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.batch.archive import Archive


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the original images."""
    return tmp_path_factory.mktemp("originals")


@pytest.fixture
def archive(tmp_path: Path, originals: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path / "archive", originals)
