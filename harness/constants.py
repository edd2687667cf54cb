"""The numbers at the top of a training file that may be tuned, read by its syntax tree.

A constant is an assignment of a number to a name in capitals at the top level, with its range in
the comment on the same line: `[low, high]`, `[low, high, log]`, or `{a, b, c}` for a choice.

    LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] Adam's, before the first adaptation
"""

import ast
import dataclasses
import io
import re
import tokenize

RANGE = re.compile(r"#\s*(\[[^\]]*\]|\{[^}]*\})")


@dataclasses.dataclass(frozen=True)
class Constant:
    """One tunable number.

    Attributes:
      name: in capitals.
      value: as it stands in the file.
      low, high: bounds, both included; those of `choices` where there are some.
      log: whether ratios matter and not differences.
      choices: all allowed values, or none for a range.
      place: line from 1, first and last column, of the value in the file.
    """

    name: str
    value: float
    low: float
    high: float
    log: bool
    choices: tuple[float, ...]
    place: tuple[int, int, int]

    def allows(self, value: float) -> bool:
        """Whether a value is one of the choices, or within the bounds."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    @property
    def whole(self) -> bool:
        """Whether it is an integer."""
        return isinstance(self.value, int)


def read(source: bytes) -> list[Constant]:
    """The tunable constants of a training file, in their order.

    Raises:
      ValueError: a range is none; the message names the line.
      SyntaxError: the file is not Python.
    """
    text = source.decode()
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name, match = node.targets[0].id, RANGE.match(comments.get(node.lineno, ""))
        if name.isupper() and match:
            found.append(_constant(name, node.value, match.group(1)))
    return found


def write(source: bytes, values: dict[str, float]) -> bytes:
    """The file with other values in the places of its constants, and nothing else changed."""
    lines = source.decode().splitlines(keepends=True)
    for constant in read(source):
        if constant.name in values:
            line, first, last = constant.place
            raw = lines[line - 1].encode()
            value = values[constant.name]
            text = str(int(value)) if constant.whole else f"{value:.6g}"
            lines[line - 1] = (raw[:first] + text.encode() + raw[last:]).decode()
    return "".join(lines).encode()


def _constant(name: str, node: ast.expr, text: str) -> Constant:
    """One constant from its value and the text of its range."""
    where = f"Line {node.lineno}: {name}"
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
    place = (node.lineno, node.col_offset, node.end_col_offset)
    constant = Constant(name, value, low, high, log, choices, place)
    if not low < high or (log and low <= 0) or not constant.allows(value):
        raise ValueError(f"{where} = {value} is not within {text}, or that is no range.")
    return constant
