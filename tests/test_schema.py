"""Values of others, made into dataclasses or refused."""

import dataclasses
import enum
import math

import pytest

from harness.contract import schema
from harness.contract.schema import SchemaError


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    corners: int
    size: float | None
    colour: Colour
    points: list[Point] = dataclasses.field(default_factory=list)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Switch:
    on: bool


PLAIN = {"name": "a", "corners": 3, "size": None, "colour": "red"}


def test_a_message_becomes_what_it_says():
    given = PLAIN | {"size": 2, "points": [{"x": 1}], "metrics": {"loss": math.nan, "step": 7}}
    made = schema.decoded(Shape, given)
    assert (made.size, type(made.size), made.colour) == (2.0, float, Colour.RED)
    assert made.points == [Point(1.0)]
    assert math.isnan(made.metrics["loss"])
    assert schema.decoded(Shape, PLAIN) == Shape("a", 3, None, Colour.RED)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"corners": True}, "corners is of type bool"),
        ({"corners": 3.0}, "corners is of type float"),
        ({"name": None}, "name is of type NoneType"),
        ({"size": "2"}, "size is of type str"),
        ({"size": 10**400}, "size is int too large"),
        ({"colour": "blue"}, "colour is 'blue'"),
        ({"points": [{"x": 1, "z": 2}]}, "points is with fields that are none: 'z'"),
        ({"points": [1]}, "points is of type int"),
        ({"metrics": {"loss": "low"}}, "metrics is of type str"),
        ({"\x1b[2J": 1}, r"none: '\\x1b\[2J'"),
        ({"more": 1}, "fields that are none: 'more'"),
    ],
)
def test_a_message_that_is_none_says_which_field(wrong, said):
    with pytest.raises(SchemaError, match=said):
        schema.decoded(Shape, PLAIN | wrong)
    with pytest.raises(SchemaError, match="without name, colour"):
        schema.decoded(Shape, {"corners": 1, "size": 1.0})


def test_a_row_is_read_from_its_texts():
    row = {"name": "", "corners": "3", "size": "", "colour": "red"}
    assert schema.parsed(Shape, row) == Shape("", 3, None, Colour.RED)
    assert schema.parsed(Shape, row | {"size": "1e3"}).size == 1000.0
    assert schema.parsed(Switch, {"on": "yes"}) == Switch(True)
    assert schema.parsed(Switch, {"on": "no"}) == Switch(False)
    for text in ("", "True", "1"):
        with pytest.raises(SchemaError, match="on is"):
            schema.parsed(Switch, {"on": text})
    for wrong in (
        {"corners": " 3"},
        {"corners": "1_0"},
        {"corners": "3.5"},
        {"corners": ""},
        {"colour": "blue"},
        {"size": "wide"},
    ):
        with pytest.raises(SchemaError, match=next(iter(wrong))):
            schema.parsed(Shape, row | wrong)
