"""Values of others made into dataclasses, once and wholly: messages, answers, rows of the record.

A message comes as JSON (`decoded`), a row as texts (`parsed`). Both must have the fields of their
kind and no others, and each field a value of its type; what has not is refused with a reason that
names the field. Plain dataclasses and this page do it: the libraries that could take a name that
stands twice in an object for one, or have no word for NaN, which learning curves hold.
"""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

BOOLS = {"yes": True, "no": False}
"""In a row."""


class SchemaError(ValueError):
    """What was given is no value of its kind."""


def decoded(kind: type[T], given: Mapping[str, Any]) -> T:
    """A dataclass from a JSON object.

    Args:
      kind: the dataclass; its fields are bool, int, float, str, enumerations, lists of these, dicts
        or another dataclass, or such a type and None.
      given: names and values. A field that has a default may be left out.

    Raises:
      SchemaError: other fields, or a value of another type. A bool is no int; an int is a float.
    """
    return _made(kind, given, _value)


def parsed(kind: type[T], given: Mapping[str, str]) -> T:
    """A dataclass from texts, as a row of a table has them; an empty one is None, or empty.

    A bool is `yes` or `no`.

    Raises:
      SchemaError: as `decoded`.
    """
    return _made(kind, given, _read)


def _made(kind: type[T], given: Mapping[str, Any], convert: Callable[[Any, Any], Any]) -> T:
    """The dataclass, its fields converted to their types."""
    hints, needed = _fields(typing.cast(typing.Hashable, kind))
    if missing := [name for name in needed if name not in given]:
        raise SchemaError(f"without {', '.join(missing)}")
    if others := [name for name in given if name not in hints]:
        raise SchemaError(f"with fields that are none: {', '.join(map(repr, others))[:100]}")
    values = {}
    for name, value in given.items():
        try:
            values[name] = convert(hints[name], value)
        except (ValueError, OverflowError) as error:
            raise SchemaError(f"whose {name} is {error}") from error
    return kind(**values)


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The types of a dataclass's fields, and the names of those without a default."""
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {field.name: hints[field.name] for field in fields}, needed


def _value(hint: Any, value: Any) -> Any:
    """A JSON value of a type."""
    if _optional(hint) is not None:
        return None if value is None else _value(_optional(hint), value)
    origin = typing.get_origin(hint)
    if type(value) in (list, dict) and hint is not Any:
        return _nested(hint, origin, value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum) and type(value) is str:
        return _member(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is not Any and type(value) is not hint:
        raise SchemaError(f"of type {type(value).__name__}")
    return value


def _nested(hint: Any, origin: Any, value: Any) -> Any:
    """A JSON list or object of a type."""
    if origin in (list, tuple) and type(value) is list:
        inner = typing.get_args(hint)[0]
        return origin(_value(inner, one) for one in value)
    if origin is dict and type(value) is dict:
        inner = typing.get_args(hint)[1]
        return {name: _value(inner, one) for name, one in value.items()}
    if dataclasses.is_dataclass(hint) and type(value) is dict:
        return decoded(typing.cast(type, hint), value)
    raise SchemaError(f"of type {type(value).__name__}")


def _read(hint: Any, text: str) -> Any:
    """A text as a value of a type."""
    if hint is str:
        return text
    if (inner := _optional(hint)) is not None:
        return None if text == "" else _read(inner, text)
    if issubclass(hint, enum.Enum):
        return _member(hint, text)
    if hint is bool and text in BOOLS:
        return BOOLS[text]
    try:
        if hint is bool or text != text.strip() or "_" in text:
            raise ValueError  # Python is more lenient than a table is
        return hint(text)
    except ValueError:
        raise SchemaError(f"{text[:100]!r}") from None


def _member(kind: type[enum.Enum], value: str) -> enum.Enum:
    try:
        return kind(value)
    except ValueError:
        raise SchemaError(f"{value[:100]!r}") from None


@functools.cache
def _optional(hint: Any) -> Any:
    """The type beside None; None where there is no None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    (inner,) = [one for one in typing.get_args(hint) if one is not type(None)]
    return inner
