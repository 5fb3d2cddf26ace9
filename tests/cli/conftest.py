"""Images for the commands: written by samples/, which imports nothing of dumpscan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

import samples


class Written(NamedTuple):
    """A sample image and what its writer says is in it."""

    path: Path
    truth: dict[str, Any]


def write(folder: Path, scenario: str, **options: Any) -> Written:
    """A kernel dump of an XP SP3 machine."""
    machine = samples.build(profile="xpsp3-x86-pae", scenario=scenario, seed=7, **options)
    return Written(samples.write(machine, "crash32-kernel", folder / f"{scenario}.dmp"), machine.truth)


@pytest.fixture(scope="session")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The leak on a kernel without the fix: exhibits."""
    return write(tmp_path_factory.mktemp("hung"), "leak")


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """No leak: does-not-exhibit."""
    return write(tmp_path_factory.mktemp("healthy"), "healthy")


@pytest.fixture(scope="session")
def unexpected(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The leak on a kernel that has the fix."""
    return write(tmp_path_factory.mktemp("unexpected"), "unexpected")
