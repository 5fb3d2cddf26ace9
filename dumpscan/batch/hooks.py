"""Test hooks: make the analysis of a named file misbehave, so that tests can see who survives it.

``DUMPSCAN_TEST_HOOK=hang:a.dmp,die:b.dmp`` names files by their last path component. Only a worker
process reads the variable. Actions: ``hang`` sleeps for ever, ``stuck`` does so and ignores SIGTERM,
``die`` kills its process, ``eat`` takes memory until there is none, ``raise`` is a bug, ``slow`` takes
a second longer.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

VARIABLE = "DUMPSCAN_TEST_HOOK"
_BITE = 16 << 20


def misbehave(key: str) -> None:
    """Do what the variable says about the file, mostly nothing."""
    for entry in os.environ.get(VARIABLE, "").split(","):
        action, _, name = entry.partition(":")
        if name and name == os.path.basename(key):
            _ACTIONS[action]()


def _hang() -> None:
    while True:
        time.sleep(60)


def _stuck() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _hang()


def _die() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    _hang()  # until the signal arrives


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(_BITE))


def _raise() -> None:
    raise RuntimeError("asked to by a test")


_ACTIONS: dict[str, Callable[[], object]] = {
    "hang": _hang,
    "stuck": _stuck,
    "die": _die,
    "eat": _eat,
    "raise": _raise,
    "slow": lambda: time.sleep(1),
}
