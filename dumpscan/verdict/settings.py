"""What a user can change about a verdict: thresholds and additional signatures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple

from dumpscan.errors import UsageError
from dumpscan.verdict.data import read_toml, refuse_unknown
from dumpscan.verdict.rules import Signature, builtin_signature, load_signatures, override
from dumpscan.verdict.suspects import limits

_SUSPECTS = "suspects"


class Settings(NamedTuple):
    """``signatures[0]`` decides the verdict (KB950162), the others are reported beside it.

    Without any, the built-in signature decides. Thresholds of ``suspects`` replace the built-in ones.
    """

    signatures: tuple[Signature, ...] = ()
    suspects: Mapping[str, float] = MappingProxyType({})

    def chosen(self) -> tuple[Signature, ...]:
        """The signatures to evaluate, the deciding one first."""
        return self.signatures or (builtin_signature(),)

    @classmethod
    def load(
        cls,
        thresholds: str | os.PathLike[str] | None = None,
        signatures: Iterable[str | os.PathLike[str]] = (),
    ) -> Settings:
        """Read a user's threshold file and signature files.

        The threshold file has a table for each signature id (``[KB950162]``) and ``[suspects]``,
        with ``name = number`` lines.

        :raises UsageError: an unknown signature or threshold, or a broken file; one line.
        """
        loaded = (builtin_signature(), *load_signatures(signatures))
        ids = [signature.id for signature in loaded]
        for twice in {name for name in ids if ids.count(name) > 1}:
            raise UsageError(f"two signatures are called '{twice}': give yours another id")
        if thresholds is None:
            return cls(loaded)
        raw = read_toml(thresholds)
        refuse_unknown(str(thresholds), raw, (*ids, _SUSPECTS))
        for name, values in raw.items():
            if not isinstance(values, Mapping):
                raise UsageError(f"{thresholds}: '{name}' must be a table of thresholds")
        changed = tuple(
            override(signature, raw.get(signature.id, {}), f"{thresholds}: [{signature.id}]")
            for signature in loaded
        )
        return cls(changed, _suspect_limits(raw.get(_SUSPECTS, {}), str(thresholds)))


def _suspect_limits(values: Mapping[str, Any], where: str) -> Mapping[str, float]:
    refuse_unknown(f"{where}: [{_SUSPECTS}]", values, limits())
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
            raise UsageError(f"{where}: [{_SUSPECTS}]: '{name}' must be a number, found {value!r}")
    return values
