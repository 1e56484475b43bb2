"""Products of a few rows with a packed matrix: what fits into registers is computed at once.

The matrix lies in panels of 16 columns, so that one step reads consecutive memory: a row of it in
float32, or two rows of 8-bit integers, pair by pair. Integers of the other side have 16 bits:
processors multiply pairs of such and add them in one instruction, at twice the rate of floats and
with sums in 32 bits that cannot overflow.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.runtime.kernel.code import (
    FLOAT,
    FLOATS,
    INTEGER,
    INTS,
    LANES,
    POINTER,
    Function,
    Value,
)

PANEL = 16
_VECTORS = PANEL // LANES
_ROWS = 4
# Rows that are left over, each with as many panels as keep the processor's multipliers busy.
_LEFT = ((3, 1), (2, 2), (1, 4))

Array = NDArray[np.float32]


def pack_floats(matrix: Array, depth: int) -> Array:
    """Order a matrix for products in float32.

    Args:
        matrix: ``(K, N)``, N a multiple of 16.
        depth: rows to fill it up to with zeros.

    Returns:
        ``(N / 16, depth, 16)``.
    """
    filled = np.pad(matrix, ((0, depth - len(matrix)), (0, 0)))
    panels = filled.reshape(depth, -1, PANEL).transpose(1, 0, 2)
    return np.ascontiguousarray(panels, np.float32)


def pack_integers(matrix: NDArray[np.int8], depth: int) -> NDArray[np.int8]:
    """Order a matrix for products of integers: ``(N / 16, depth / 2, 16, 2)``, else as floats."""
    filled = np.pad(matrix, ((0, depth - len(matrix)), (0, 0)))
    panels = filled.reshape(depth // 2, 2, -1, PANEL).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(panels, np.int8)


def write_product(integers: bool) -> Function:
    """Write ``out = (x · matrix) · scales · row_scales + addend``; floats have no scales.

    Its arguments: rows ``x``, ``rows`` of them ``x_stride`` bytes apart, float32 or int16; the
    ``matrix``, ``panels`` of ``steps`` each; ``scales`` of its columns; ``row_scales``,
    ``scale_stride`` bytes apart; ``addend`` and ``out``, rows of float32.
    """
    names = ("x", "matrix", "scales", "row_scales", "addend", "out")
    sizes = ("x_stride", "rows", "steps", "panels", "scale_stride", "addend_stride", "out_stride")
    arguments = dict.fromkeys(names, POINTER) | dict.fromkeys(sizes, INTEGER)
    product = Function("product", arguments)
    chunks = product["rows"] // _ROWS
    with product.loop(product["panels"]) as panel, product.loop(chunks) as chunk:
        _Tile(product, integers, _ROWS, 1).write(chunk * _ROWS, panel)
    done = chunks * _ROWS
    left = product["rows"] - done
    for rows, width in _LEFT:
        with product.when("eq", left, rows):
            together = product["panels"] // width
            with product.loop(together) as group:
                _Tile(product, integers, rows, width).write(done, group * width)
            if width > 1:
                with product.loop(product["panels"], together * width) as panel:
                    _Tile(product, integers, rows, 1).write(done, panel)
    return product


class _Tile:
    """Some rows times some panels."""

    def __init__(self, product: Function, integers: bool, rows: int, panels: int) -> None:
        self._code = product
        self._integers = integers
        self._rows = rows
        self._columns = panels * _VECTORS
        self._kind = INTS if integers else FLOATS
        self._step_bytes = PANEL * (2 if integers else 4)

    def write(self, row: Value, panel: Value) -> None:
        """Write the code for rows and panels from the given ones on."""
        code = self._code
        panel_bytes = code["steps"] * self._step_bytes
        matrix = code["matrix"] + panel * panel_bytes
        x = code["x"] + row * code["x_stride"]
        sums = [
            [code.variable(self._kind, 0) for _ in range(self._columns)] for _ in range(self._rows)
        ]
        with code.loop(code["steps"]) as step:
            weights = self._weights(matrix + step * self._step_bytes, panel_bytes)
            for number, cells in enumerate(sums):
                # Four bytes either way: a float, or a pair of 16-bit integers.
                place = x + code["x_stride"] * number + step * 4
                given = code.load("i32" if self._integers else FLOAT, place).spread()
                for cell, weight in zip(cells, weights, strict=True):
                    cell.set(self._added(cell.get(), given, weight))
        for number, cells in enumerate(sums):
            self._finish(row + number, panel * (4 * PANEL), [cell.get() for cell in cells])

    def _weights(self, place: Value, panel_bytes: Value) -> list[Value]:
        kind, size = ("<16 x i8>", 16) if self._integers else (FLOATS, 32)
        loaded = [
            self._code.load(kind, place + panel_bytes * (each // _VECTORS) + each % _VECTORS * size)
            for each in range(self._columns)
        ]
        return (
            [each.converted("sext", "<16 x i16>") for each in loaded] if self._integers else loaded
        )

    def _added(self, total: Value, given: Value, weight: Value) -> Value:
        if not self._integers:
            return total + given * weight
        pairs = given.converted("bitcast", "<16 x i16>")
        wide = pairs.converted("sext", "<16 x i32>") * weight.converted("sext", "<16 x i32>")
        return total + (wide.shuffled(range(0, 16, 2)) + wide.shuffled(range(1, 16, 2)))

    def _finish(self, row: Value, offset: Value, totals: Sequence[Value]) -> None:
        code = self._code
        addend = code["addend"] + row * code["addend_stride"] + offset
        out = code["out"] + row * code["out_stride"] + offset
        if self._integers:
            place = code["row_scales"] + row * code["scale_stride"]
            row_scale = code.load(FLOAT, place).spread()
        for number, total in enumerate(totals):
            column = 4 * LANES * number
            if self._integers:
                scale = code.load(FLOATS, code["scales"] + offset + column)
                total = total.converted("sitofp", FLOATS) * (scale * row_scale)
            code.store(total + code.load(FLOATS, addend + column), out + column)
