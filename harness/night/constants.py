"""The numbers at the top of a training file that may be tuned, read by its syntax tree.

A constant is an assignment of a number to a name in capitals at the top level, with its range in
the comment on the same line: `[low, high]`, `[low, high, log]`, or `{a, b, c}` for a choice.

    LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] Adam's, before the first adaptation

It is an integer where its value and all numbers of its range are written as integers.
"""

import ast
import dataclasses
import io
import re
import tokenize

RANGE = re.compile(r"[\s)]*#\s*(\[[^\]]*\]|\{[^}]*\})")
"""In what follows a value on its line."""

ENDS = re.compile(r"(\r\n|\r|\n)")
"""Of lines, as the syntax tree counts them."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """One tunable number.

    Attributes:
      name: in capitals.
      value: as it stands in the file.
      low, high: bounds, both included; those of `choices` where there are some.
      log: whether ratios matter and not differences.
      choices: all allowed values, or none for a range.
      place: line from 1, first and last byte in it, of the value in the file.
      whole: whether it is an integer.
    """

    name: str
    value: float
    low: float
    high: float
    log: bool
    choices: tuple[float, ...]
    place: tuple[int, int, int]
    whole: bool

    def allows(self, value: float) -> bool:
        """Whether a value is one of the choices, or within the bounds."""
        return value in self.choices if self.choices else self.low <= value <= self.high


def read(source: bytes) -> list[Constant]:
    """The tunable constants of a training file, in their order.

    Raises:
      ValueError: a range is none; the message names the line.
      SyntaxError: the file is not Python.
    """
    lines = _lines(_decoded(source)[0])
    found = []
    for node in ast.parse(source).body:
        name, value = _assigned(node)
        if value is None or not name.isupper():
            continue
        assert value.end_lineno is not None
        rest = lines[value.end_lineno - 1].encode()[value.end_col_offset :].decode()
        if match := RANGE.match(rest):
            found.append(_constant(name, value, match.group(1)))
    return found


def write(source: bytes, values: dict[str, float]) -> bytes:
    """The file with other values in the places of its constants, and nothing else changed."""
    text, encoding = _decoded(source)
    parts = ENDS.split(text)
    for constant in read(source):
        if constant.name in values:
            line, first, last = constant.place
            raw = parts[2 * line - 2].encode()  # between two lines is the end of the first
            value = _written(constant, values[constant.name]).encode()
            parts[2 * line - 2] = (raw[:first] + value + raw[last:]).decode()
    return "".join(parts).encode(encoding)


def _decoded(source: bytes) -> tuple[str, str]:
    """A file's text and its encoding, as Python finds them."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return source.decode(encoding), encoding


def _lines(text: str) -> list[str]:
    """The lines of a file, as the syntax tree counts them: a form feed, say, ends none."""
    return ENDS.split(text)[::2]


def _assigned(node: ast.stmt) -> tuple[str, ast.expr | None]:
    """The name and the value of an assignment, `X = 1` or `X: float = 1`; no value in others."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            return name, value
    return "", None


def _written(constant: Constant, value: float) -> str:
    """A value of a constant as it stands in a file; one that is no integer shows that."""
    if constant.whole:
        return str(int(value))
    short = f"{value:.6g}"
    text = short if constant.allows(float(short)) else repr(float(value))
    return text if set(text) & set(".en") else f"{text}.0"


def _constant(name: str, node: ast.expr, text: str) -> Constant:
    """One constant from its value and the text of its range."""
    where = f"Line {node.lineno}: {name}"
    integers = not re.search(r"[.]|\de", text)
    try:
        value = ast.literal_eval(node)
        log = text.startswith("[") and text.rstrip("] ").endswith("log")
        numbers = ast.literal_eval(re.sub(r",\s*log\s*\]", "]", text))
        choices = tuple(sorted(numbers)) if text.startswith("{") else ()
        low, high = (choices[0], choices[-1]) if choices else numbers
    except (ValueError, SyntaxError, TypeError, IndexError) as error:
        raise ValueError(f"{where} has no range of numbers in {text}.") from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} has a range and is no number.")
    assert node.end_col_offset is not None
    if node.lineno != node.end_lineno:
        raise ValueError(f"{where} is written over several lines; one is needed.")
    place = (node.lineno, node.col_offset, node.end_col_offset)
    whole = isinstance(value, int) and integers
    constant = Constant(name, value, low, high, log, choices, place, whole)
    if low == high:
        raise ValueError(f"{where} has one value only in {text}: give it more, or no range.")
    if not low < high or (log and low <= 0) or not constant.allows(value):
        raise ValueError(f"{where} = {value} is not within {text}, or that is no range.")
    return constant
