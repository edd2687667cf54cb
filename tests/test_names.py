"""Names: a constant means one thing, wherever one of its name stands."""

import ast
from collections import defaultdict

from tests.conftest import ROOT


def constants(path):
    """Names and values of a module's constants, as they are written."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.Assign):
            (target,) = node.targets
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Name) and target.id.strip("_").isupper():
                yield target.id, ast.unparse(value)


def test_constants_of_one_name_have_one_value():
    found = defaultdict(lambda: defaultdict(list))
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for name, value in constants(path):
            if not name.startswith("_"):
                found[name][value].append(path.relative_to(ROOT).as_posix())
    assert len(found) > 100
    twice = {name: dict(values) for name, values in found.items() if len(values) > 1}
    assert twice == {}
