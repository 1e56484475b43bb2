"""The code of one direction of a layer: norm, products of the input, and the walk over the frames.

A block of frames at a time is normalised and multiplied, so that its products are still in the
processor's cache when the steps need them. Utterances are ordered by length, longest first: those
that have a frame are always the first ones, in either direction, and nothing is computed of the
padding.
"""

from asr.runtime.kernel.code import (
    FLOAT,
    FLOATS,
    INTEGER,
    INTS,
    LANES,
    POINTER,
    SHORTS,
    Function,
    Value,
)
from asr.runtime.kernel.product import PANEL, write_product

WALK = "walk"
# Steps of an integer activation, with its sign in 14 bits. Sums of 4096 products with weights of
# at most 63 steps stay below 2 ** 31.
STEPS = 8191
MOST_WIDTH = 4096
EPSILON = 1e-5
# Addresses and sizes that `walk` takes, in this order, as a table of 64-bit integers.
#   hidden, output: (B, U, D) and (B, U, H) float32, in strides of bytes
#   order, lengths: (B,) int64: the rows by falling length, and their lengths in that order
#   state: (B, width) float32 in that order, and its rounded copy, which float32 has not
#   the others: parameters and room
TABLE = (
    *("hidden", "hidden_row", "hidden_frame", "inputs", "depth"),
    *("output", "output_row", "output_frame", "units", "width"),
    *("order", "lengths", "rows", "frames", "backward"),
    *("norm_weight", "norm_bias", "W", "W_scales", "bias", "R", "R_scales", "R_bias"),
    *("state", "rounded", "reset", "gates"),
    *("row", "x", "x_scales", "products", "state_scale", "block"),
)
_ADDRESSES = {
    *("hidden", "output", "order", "lengths", "norm_weight", "norm_bias", "W", "W_scales", "bias"),
    *("R", "R_scales", "R_bias", "state", "rounded", "reset", "gates"),
    *("row", "x", "x_scales", "products", "state_scale"),
}
_LOG2_E = 1.44269504088896341
# Added to a float of less than 2 ** 22, it leaves the nearest integer in the low bits.
_MAGIC = 12582912.0
_MAGIC_BITS = 0x4B400000


def write_layer(integers: bool, after: bool) -> list[Function]:
    """Write all functions; ``walk`` is the one to call.

    Args:
        integers: whether products are of integers.
        after: whether the reset gate acts after the recurrent product.
    """
    product = write_product(integers)
    norm = _write_norm(integers)
    reset = _write_reset(integers)
    update = _write_update(integers, after)
    walk = _Walk(integers, after, product, norm, reset, update).write()
    return [product, norm, *([] if after else [reset]), update, walk]


def _exponential(x: Value) -> Value:
    """Compute e^x to float32's precision, for x from −87 to 87.

    Source: the polynomial of Cephes' ``expf``.
    """
    code = x.function
    shifted = x * _LOG2_E + _MAGIC
    whole = shifted - _MAGIC
    rest = x - whole * 0.693359375 - whole * -2.12194440e-4
    y = code.constant(1.9875691500e-4, FLOATS)
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5):
        y = y * rest + factor
    y = y * (rest * rest) + rest + 1.0
    # The integer goes where a float keeps its exponent.
    bits = y.converted("bitcast", INTS) + (shifted.converted("bitcast", INTS) << 23)
    return bits.converted("bitcast", FLOATS)


def _logistic(x: Value) -> Value:
    bounded = x.at_most(87.0).at_least(-87.0)
    one = x.function.constant(1.0, FLOATS)
    return one / (_exponential(bounded * -1.0) + 1.0)


def _tanh(x: Value) -> Value:
    return _logistic(x * 2.0) * 2.0 - 1.0


def _rounded(x: Value, scale: "Value | float") -> Value:
    """Round ``x · scale``, of less than 2 ** 15, to integers of 16 bits."""
    bits = (x * scale + _MAGIC).converted("bitcast", INTS)
    return (bits - _MAGIC_BITS).converted("trunc", SHORTS)


def _write_norm(integers: bool) -> Function:
    """Write the layer norm of one row, rounded with a scale of its own where products are so.

    Parameters are zero behind the row's end, which is filled up to whole vectors.
    """
    names = ("source", "row", "weight", "bias", "x", "x_scale")
    arguments = dict.fromkeys(names, POINTER) | {"inputs": INTEGER, "depth": INTEGER}
    code = Function("norm", arguments)
    row, depth = code["row"], code["depth"]
    code.copy(code["source"], row, code["inputs"] * 4)
    count = code["inputs"].converted("sitofp", FLOAT)
    filled = (depth - code["inputs"]).converted("sitofp", FLOAT)
    total = code.variable(FLOATS, 0.0)
    with code.loop(depth, step=LANES) as i:
        total.set(total.get() + code.load(FLOATS, row + i * 4))
    mean = _sum(total.get()) / count
    squares = code.variable(FLOATS, 0.0)
    with code.loop(depth, step=LANES) as i:
        centred = code.load(FLOATS, row + i * 4) - mean.spread()
        squares.set(squares.get() + centred * centred)
    variance = (_sum(squares.get()) - mean * mean * filled) / count
    root = code.builtin("llvm.sqrt.f32", FLOAT, variance.at_least(0.0) + EPSILON)
    scale = (code.constant(1.0, FLOAT) / root).spread()
    largest = code.variable(FLOATS, 1e-20)
    normalized = code["x"] if not integers else row + depth * 4
    with code.loop(depth, step=LANES) as i:
        centred = (code.load(FLOATS, row + i * 4) - mean.spread()) * scale
        value = centred * code.load(FLOATS, code["weight"] + i * 4)
        value = value + code.load(FLOATS, code["bias"] + i * 4)
        code.store(value, normalized + i * 4)
        if integers:
            size = code.builtin(f"llvm.fabs.v{LANES}f32", FLOATS, value)
            largest.set(size.at_least(largest.get()))
    if integers:
        most = code.builtin(f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, largest.get())
        code.store(most * (1 / STEPS), code["x_scale"])
        inverse = (code.constant(float(STEPS), FLOAT) / most).spread()
        with code.loop(depth, step=LANES) as i:
            value = code.load(FLOATS, normalized + i * 4)
            code.store(_rounded(value, inverse), code["x"] + i * 2)
    return code


def _sum(lanes: Value) -> Value:
    zero = lanes.function.constant(0.0, FLOAT)
    return lanes.function.builtin(f"llvm.vector.reduce.fadd.v{LANES}f32", FLOAT, zero, lanes)


def _store_state(integers: bool, value: Value, place: Value, i: Value) -> None:
    code = value.function
    if integers:
        code.store(_rounded(value, float(STEPS)), place + i * 2)
    else:
        code.store(value, place + i * 4)


def _write_reset(integers: bool) -> Function:
    """Write ``reset = logistic(gate) · state``, what the candidate's product is made of."""
    names = ("gates", "state", "reset")
    code = Function("reset", dict.fromkeys(names, POINTER) | {"width": INTEGER})
    with code.loop(code["width"], step=LANES) as i:
        gate = _logistic(code.load(FLOATS, code["gates"] + code["width"] * 4 + i * 4))
        _store_state(integers, gate * code.load(FLOATS, code["state"] + i * 4), code["reset"], i)
    return code


def _write_update(integers: bool, after: bool) -> Function:
    """Write the step from state to state, from the sums in front of the gates."""
    names = ("gates", "products", "state", "rounded")
    code = Function("update", dict.fromkeys(names, POINTER) | {"width": INTEGER})
    width = code["width"] * 4
    with code.loop(code["width"], step=LANES) as i:
        gates, state = code["gates"] + i * 4, code["state"] + i * 4
        keep = _logistic(code.load(FLOATS, gates))
        candidate = code.load(FLOATS, gates + width * 2)
        if after:
            opened = _logistic(code.load(FLOATS, gates + width))
            candidate = candidate * opened
            candidate = candidate + code.load(FLOATS, code["products"] + width * 2 + i * 4)
        candidate = _tanh(candidate)
        value = candidate + keep * (code.load(FLOATS, state) - candidate)
        code.store(value, state)
        if integers:
            _store_state(True, value, code["rounded"], i)
    return code


class _Walk:
    """Writes the function that does a whole direction."""

    def __init__(
        self,
        integers: bool,
        after: bool,
        product: Function,
        norm: Function,
        reset: Function,
        update: Function,
    ) -> None:
        self._integers = integers
        self._after = after
        self._product, self._norm = product, norm
        self._reset, self._update = reset, update
        self._code = Function(WALK, {"table": POINTER}, public=True)
        self._given: dict[str, Value] = {}

    def write(self) -> Function:
        """Write it."""
        code = self._code
        for number, name in enumerate(TABLE):
            kind = POINTER if name in _ADDRESSES else INTEGER
            self._given[name] = code.load(kind, code["table"] + 8 * number)
        given = self._given
        blocks = (given["frames"] + given["block"] - 1) // given["block"]
        with code.loop(blocks) as block:
            first = block * given["block"]
            last = (first + given["block"]).at_most(given["frames"])
            self._multiply(first, last)
            self._step(first, last)
        return code

    def _active(self, step: Value) -> Value:
        """Count the rows that have the frame of a step."""
        code, given = self._code, self._given
        count = code.variable(INTEGER, 0)
        with code.loop(given["rows"]) as row:
            length = code.load(INTEGER, given["lengths"] + row * 8)
            with code.when("slt", self._frame(step), length):
                count.set(count.get() + 1)
        return count.get()

    def _frame(self, step: Value) -> Value:
        """Give the frame that a step reads: the last first, if it reads backward."""
        given = self._given
        turned = given["frames"] - 1 - step
        return step + (turned - step) * given["backward"]

    def _multiply(self, first: Value, last: Value) -> None:
        """Multiply the inputs of some steps, row for row as the steps will need them."""
        code, given = self._code, self._given
        item = 2 if self._integers else 4
        count = code.variable(INTEGER, 0)
        with code.loop(last, first) as step, code.loop(self._active(step)) as row:
            place = given["hidden"] + self._row(row) * given["hidden_row"]
            place = place + self._frame(step) * given["hidden_frame"]
            number = count.get()
            code.call(
                self._norm,
                *(place, given["row"], given["norm_weight"], given["norm_bias"]),
                given["x"] + number * given["depth"] * item,
                given["x_scales"] + number * 4,
                *(given["inputs"], given["depth"]),
            )
            count.set(number + 1)
        code.call(
            self._product,
            *(given["x"], given["W"], given["W_scales"], given["x_scales"], given["bias"]),
            *(given["products"], given["depth"] * item, count.get()),
            *(given["depth"] // (2 if self._integers else 1), given["width"] * 3 // PANEL),
            *(4, 0, given["width"] * 12),
        )

    def _row(self, row: Value) -> Value:
        return self._code.load(INTEGER, self._given["order"] + row * 8)

    def _step(self, first: Value, last: Value) -> None:
        """Walk some steps."""
        code, given = self._code, self._given
        products = code.variable(POINTER, given["products"])
        bytes_of_row = given["width"] * 12
        with code.loop(last, first) as step:
            active = self._active(step)
            here = products.get()
            rounded = given["rounded"] if self._integers else given["state"]
            self._recur(rounded, active, 0, 2, here, bytes_of_row)
            if self._after:
                self._recur(rounded, active, 2, 1, given["R_bias"], 0)
            else:
                with code.loop(active) as row:
                    code.call(
                        self._reset,
                        given["gates"] + row * bytes_of_row,
                        given["state"] + row * given["width"] * 4,
                        self._rounded_row("reset", row),
                        given["width"],
                    )
                self._recur(given["reset"], active, 2, 1, here + given["width"] * 8, bytes_of_row)
            with code.loop(active) as row:
                state = given["state"] + row * given["width"] * 4
                code.call(
                    self._update,
                    given["gates"] + row * bytes_of_row,
                    here + row * bytes_of_row,
                    state,
                    self._rounded_row("rounded", row),
                    given["width"],
                )
                place = given["output"] + self._row(row) * given["output_row"]
                place = place + self._frame(step) * given["output_frame"]
                code.copy(state, place, given["units"] * 4)
            products.set(here + active * bytes_of_row)

    def _rounded_row(self, name: str, row: Value) -> Value:
        item = 2 if self._integers else 4
        return self._given[name] + row * self._given["width"] * item

    def _recur(
        self, x: Value, rows: Value, first: int, count: int, addend: Value, stride: "Value | int"
    ) -> None:
        """Multiply states by some gates' columns of the recurrent matrix."""
        given, width = self._given, self._given["width"]
        item = 2 if self._integers else 4
        matrix = given["R"] + width * width * first * (1 if self._integers else 4)
        self._code.call(
            self._product,
            *(x, matrix, given["R_scales"] + width * 4 * first, given["state_scale"], addend),
            *(given["gates"] + width * 4 * first, width * item, rows),
            *(width // (2 if self._integers else 1), width * count // PANEL),
            *(0, stride, width * 12),
        )
