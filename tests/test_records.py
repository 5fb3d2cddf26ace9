"""Records behave as the frozen dataclasses that they stand in for."""

from __future__ import annotations

import pickle

import pytest

from dumpscan.records import field, fields, is_record, record, replace


@record
class Point:
    """A record with every kind of default."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False)
    secret: str = field(default="s", repr=False)


def test_construction_and_defaults() -> None:
    point = Point(1)
    assert (point.x, point.y, point.tags, point.note) == (1, 2, [], "")
    assert Point(1).tags is not Point(1).tags
    assert Point(x=1, y=5) == Point(1, 5)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, [], "", "", 6), {}), ((1,), {"x": 2}), ((1,), {"z": 2})],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_wrong_arguments_are_refused(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Point(*args, **kwargs)  # type: ignore[arg-type]


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x


def test_equality_hash_and_repr() -> None:
    assert Point(1, note="a") == Point(1, note="b")
    assert Point(1) != Point(2)
    other: object = (1, 2, [], "", "s")
    assert Point(1) != other
    assert repr(Point(1)) == "Point(x=1, y=2, tags=[], note='')"
    assert hash(Point(1, tags=(), note="a")) == hash(Point(1, tags=(), note="b"))  # type: ignore[arg-type]


def test_replace_fields_and_pickle() -> None:
    point = Point(1, 3)
    assert replace(point, x=9) == Point(9, 3)
    with pytest.raises(TypeError):
        replace(point, z=1)
    assert fields(Point) == ("x", "y", "tags", "note", "secret")
    assert is_record(point) and not is_record(Point) and not is_record(3)
    assert pickle.loads(pickle.dumps(point)) == point
