"""What the program of a policy may hold: its operations, the sizes in it, the work of one action.

Nothing of a program is compiled or run before all of it has been looked at here. The work is what
the program does for one observation, every branch taken that could be and every loop counted: a
policy acts; it does not learn, search or pass time while it is scored.
"""

import math

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy, stablehlo

from harness.errors import PolicyError

MAX_TENSOR_ELEMENTS = 2**26
"""Of any intermediate result: 256 MiB in float32."""

MAX_WORK = 2**27
"""Floating-point operations of one action, 134 million: eighteen times what four layers of 1,024
units take, twice what a transformer of two layers of 128 units over 64 observations takes."""

OPERATION_WORK = 2**13
"""What every operation counts for beside its arithmetic: the time in which it is started. A policy
may start 16,384 of them; a network of a hundred layers starts a thousand."""

_STABLEHLO = """
abs add and atan2 bitcast_convert broadcast broadcast_in_dim case cbrt ceil clamp compare
concatenate constant convert convolution cosine count_leading_zeros divide dot_general
dynamic_slice dynamic_update_slice exponential exponential_minus_one floor gather
get_tuple_element if imag iota is_finite log log_plus_one logistic maximum minimum multiply negate
not optimization_barrier or pad popcnt power real reduce reduce_precision
reduce_window remainder reshape return reverse round_nearest_afz round_nearest_even rsqrt scatter
select shift_left shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract
tan tanh transpose tuple while xor
"""

ALLOWED_OPERATIONS = frozenset(
    {"builtin.module", "func.func", "func.call", "func.return"}
    | {f"stablehlo.{name}" for name in _STABLEHLO.split()}
)
"""Arithmetic, shapes and control flow. What is missing is missing on purpose: custom calls, host
callbacks, channels, collectives, random numbers, and sizes that are known when it runs only."""


def check(module_bytes: bytes) -> None:
    """Walk through every operation of a serialised module, and count the work.

    Raises:
      PolicyError: something in it is not allowed; the message names what.
    """
    with ir.Context() as context:
        stablehlo.register_dialect(context)
        sdy.register_dialect(context)  # so that what shards is refused by name
        module = stablehlo.deserialize_portable_artifact(context, module_bytes)
        problems: list[str] = []

        def visit(operation: ir.Operation) -> ir.WalkResult:
            problem = _problem(operation)
            if problem is None:
                return ir.WalkResult.ADVANCE
            problems.append(problem)
            return ir.WalkResult.INTERRUPT

        module.operation.walk(visit)
        if problems:
            raise PolicyError(f"The policy was refused: {problems[0]}")
        work = _Count(module).work()
    if work > MAX_WORK:
        raise PolicyError(
            f"The policy was refused: one action takes {work:,} floating-point operations, loops "
            f"and starts of operations counted; {MAX_WORK:,} are allowed. Make the network smaller."
        )


def _problem(operation: ir.Operation) -> str | None:
    """What is wrong with one operation, or None."""
    name = operation.name
    if name == "stablehlo.custom_call":
        target = ir.StringAttr(operation.attributes["call_target_name"]).value
        return (
            f"it holds the custom call {target!r}. Policies may not call code outside "
            "StableHLO: no callbacks, no library kernels."
        )
    if name not in ALLOWED_OPERATIONS:
        return f"it holds the operation {name!r}, which is not on the list of allowed ones."
    taken = (x for region in operation.regions for block in region for x in block.arguments)
    for value in (*operation.results, *taken):
        if not isinstance(value.type, ir.RankedTensorType):
            continue  # a tuple: made of tensors that were looked at where they were made
        if not value.type.has_static_shape:
            return f"{name!r} has a tensor of a size that is not known: {value.type}."
        if _elements(value) > MAX_TENSOR_ELEMENTS:
            return (
                f"{name!r} makes a tensor of {_elements(value):,} elements; "
                f"{MAX_TENSOR_ELEMENTS:,} are allowed."
            )
    return None


class _Count:
    """Counts what the functions of a module do, each with all that it calls."""

    def __init__(self, module: ir.Module) -> None:
        self._functions = {
            ir.StringAttr(f.attributes["sym_name"]).value: f for f in module.body.operations
        }
        self._known: dict[str, int] = {}
        self._under_way: set[str] = set()

    def work(self) -> int:
        """Of the function that a policy is."""
        return self._function("main")

    def _function(self, name: str) -> int:
        if name in self._under_way:
            raise PolicyError(f"The policy was refused: its function {name!r} calls itself.")
        if name not in self._known:
            self._under_way.add(name)
            (block,) = self._functions[name].regions[0].blocks
            self._known[name] = self._block(block, OPERATION_WORK)
            self._under_way.remove(name)
        return self._known[name]

    def _regions(self, operation: ir.Operation, start: int) -> list[int]:
        return [
            sum(self._block(block, start) for block in region.blocks)
            for region in operation.regions
        ]

    def _block(self, block: ir.Block, start: int) -> int:
        """Of its operations, each of which counts `start` beside its arithmetic."""
        return sum(start + self._operation(op.operation, start) for op in block.operations)

    def _operation(self, op: ir.Operation, start: int) -> int:
        """Its arithmetic, that of its regions included."""
        work = sum(_elements(result) for result in op.results)
        match op.name.removeprefix("stablehlo."):
            case "constant" | "return" | "func.return":
                work = 0
            case "func.call":
                work = self._function(ir.FlatSymbolRefAttr(op.attributes["callee"]).value)
            case "while":
                work = _rounds(op) * sum(self._regions(op, start))
            case "case" | "if":
                work = max(self._regions(op, start))
            case "dot_general":
                numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
                shape = op.operands[0].type.shape
                work *= 2 * math.prod(shape[i] for i in numbers.lhs_contracting_dimensions)
            case "convolution":
                numbers = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
                outputs = op.operands[1].type.shape[numbers.kernel_output_feature_dimension]
                work *= 2 * _elements(op.operands[1]) // max(outputs, 1)
            case "reduce" | "scatter" | "sort" | "reduce_window":
                work = self._applications(op, work) * (1 + sum(self._regions(op, 0)))
        return work

    def _applications(self, op: ir.Operation, results: int) -> int:
        """How often it applies its region, at most."""
        if op.name == "stablehlo.sort":
            return results * results.bit_length()
        if op.name == "stablehlo.reduce_window":
            window = ir.DenseI64ArrayAttr(op.attributes["window_dimensions"])
            return results * math.prod(window)
        return sum(_elements(operand) for operand in op.operands)


def _elements(value: ir.Value) -> int:
    """Of a tensor; of a tuple none, for its tensors were counted where they were made."""
    kind = value.type
    return math.prod(kind.shape) if isinstance(kind, ir.RankedTensorType) else 0


def _rounds(loop: ir.Operation) -> int:
    """How often the body of a `while` runs, where that is plain to see.

    It is where the loop goes on as long as a counter is less than a constant, and the body adds a
    constant to the counter. So are the loops of `jax.lax.scan` and `fori_loop`.

    Raises:
      PolicyError: it is not plain to see.
    """
    (condition,), (body,) = (region.blocks for region in loop.regions)
    rounds = None
    (going_on,) = _terminator(condition).operands
    comparison = _made_by("stablehlo.compare", going_on)
    if comparison and "LT" in str(comparison.attributes["comparison_direction"]):
        counter, bound = comparison.operands
        last = _integer(bound)
        if last is not None and isinstance(counter, ir.BlockArgument):
            rounds = _rounds_of_counter(loop, body, counter, last)
    if rounds is None:
        raise PolicyError(
            "The policy was refused: it holds a loop whose number of rounds is not a constant. Use "
            "jax.lax.scan, or jax.lax.fori_loop with constant bounds."
        )
    return rounds


def _rounds_of_counter(
    loop: ir.Operation, body: ir.Block, counter: ir.BlockArgument, last: int
) -> int | None:
    """Rounds until a counter is at its last value; None where it does not count by a constant."""
    place = counter.arg_number
    addition = _made_by("stablehlo.add", _terminator(body).operands[place])
    if not addition or body.arguments[place] not in addition.operands:
        return None
    steps = [step for step in map(_integer, addition.operands) if step is not None]
    first = _integer(loop.operands[place])
    if first is None or len(steps) != 1 or steps[0] <= 0:
        return None
    rounds = max(-(-(last - first) // steps[0]), 0)
    # A counter that went over its type's end would begin again below it.
    end = 2 ** (counter.type.element_type.width - 1)
    return rounds if first + rounds * steps[0] < end else None


def _terminator(block: ir.Block) -> ir.Operation:
    return block.operations[len(block.operations) - 1].operation


def _made_by(name: str, value: ir.Value) -> ir.Operation | None:
    """The operation that a value comes from, if it is of that name."""
    if isinstance(value, ir.BlockArgument):
        return None
    operation = value.owner.operation
    return operation if operation.name == name else None


def _integer(value: ir.Value) -> int | None:
    """The value of a constant signed integer; None of all else."""
    constant = _made_by("stablehlo.constant", value)
    kind = value.type.element_type
    if not constant or value.type.rank or not isinstance(kind, ir.IntegerType) or kind.is_unsigned:
        return None
    return int(ir.DenseIntElementsAttr(constant.attributes["value"])[0])
