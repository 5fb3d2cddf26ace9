"""Frozen records: dataclasses in use and for the type checker, without their cost at start-up.

Making a frozen dataclass compiles half a dozen methods, about a millisecond each class; some
seventy of them are a fifth of the time that a verdict has. The methods here are shared and never
compiled again. What is supported is what the rooms need: defaults, default factories, keyword and
positional construction, equality, hashing, :func:`replace`, pickling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import field as field

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[T], T]:
        """Only type checkers need the real one."""
        return lambda function: function

    def field(
        *,
        default: Any = None,
        default_factory: Any = None,
        compare: bool = True,
        repr: bool = True,  # noqa: A002 - the name that dataclasses.field has
    ) -> Any:
        """A default made afresh for each record, or a field that equality or repr leave out."""
        return _Field(default, default_factory, compare, repr)


class _Field:
    """What :func:`field` leaves in a class body until :func:`record` reads it."""

    __slots__ = ("compare", "default", "factory", "shown")

    def __init__(self, default: Any, factory: Callable[[], Any] | None, compare: bool, shown: bool) -> None:
        self.default, self.factory, self.compare, self.shown = default, factory, compare, shown


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen record of its annotated fields. Records do not inherit fields."""
    names = tuple(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - inspect is slow to import
    defaults: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    silent: set[str] = set()
    unshown: set[str] = set()
    for name in names:
        value = cls.__dict__.get(name, _MISSING)
        if isinstance(value, _Field):
            delattr(cls, name)
            silent |= set() if value.compare else {name}
            unshown |= set() if value.shown else {name}
            if value.factory:
                factories[name] = value.factory
                continue
            value = value.default
        if value is not _MISSING:
            defaults[name] = value
    _install(cls, names, defaults, factories)
    _limit(cls, silent, unshown)
    return cls


_MISSING = object()


def _install(
    cls: Any, names: tuple[str, ...], defaults: dict[str, Any], factories: dict[str, Callable[[], Any]]
) -> None:
    cls.__record_fields__ = names
    cls.__record_names__ = frozenset(names)
    cls.__record_defaults__ = defaults
    cls.__record_factories__ = factories
    cls.__init__ = _init
    cls.__eq__ = _eq
    cls.__hash__ = _hash
    cls.__setattr__ = cls.__delattr__ = _refuse
    cls.__repr__ = _repr


def _limit(cls: Any, silent: set[str], unshown: set[str]) -> None:
    cls.__compared__ = tuple(name for name in cls.__record_fields__ if name not in silent)
    cls.__shown__ = tuple(name for name in cls.__record_fields__ if name not in unshown)


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    names = self.__record_fields__
    values = self.__dict__
    values.update(zip(names, args, strict=False))
    given = len(values) + len(kwargs)
    values.update(kwargs)
    if len(args) > len(names) or given != len(values) or not values.keys() <= self.__record_names__:
        raise TypeError(f"{type(self).__name__} takes {names}, given {args!r} {kwargs!r}")
    if len(values) < len(names):
        _fill(self, values)


def _fill(self: Any, values: dict[str, Any]) -> None:
    defaults, factories = self.__record_defaults__, self.__record_factories__
    for name in self.__record_fields__:
        if name not in values:
            if name in factories:
                values[name] = factories[name]()
            elif name in defaults:
                values[name] = defaults[name]
            else:
                raise TypeError(f"{type(self).__name__} needs {name!r}")


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    mine, theirs = self.__dict__, other.__dict__
    return all(mine[name] == theirs[name] for name in self.__compared__)


def _hash(self: Any) -> int:
    return hash(tuple(self.__dict__[name] for name in self.__compared__))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__shown__)
    return f"{type(self).__qualname__}({shown})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: cannot change {name!r}")


def fields(kind: Any) -> tuple[str, ...]:
    """Names of the fields of a record or record class, in order."""
    names: tuple[str, ...] = kind.__record_fields__
    return names


def is_record(value: object) -> bool:
    """Is ``value`` an instance of a record class?"""
    return hasattr(value, "__record_fields__") and not isinstance(value, type)


def replace(value: T, **changes: Any) -> T:
    """A copy of a record with some fields changed. :raises TypeError: no such field."""
    known: Any = value
    return type(value)(**{**{name: known.__dict__[name] for name in known.__record_fields__}, **changes})
