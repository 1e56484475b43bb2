"""Functions in LLVM's language while they are written: values with operators, loops, memory.

    function = Function("double", {"x": POINTER, "count": INTEGER})
    with function.loop(function["count"]) as i:
        place = function["x"] + i * 4
        function.store(function.load(FLOAT, place) * 2.0, place)

Vectors have eight lanes; LLVM makes of them what the processor has.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Union

LANES = 8
POINTER = "ptr"
INTEGER = "i64"
FLOAT = "float"
FLOATS = f"<{LANES} x float>"
INTS = f"<{LANES} x i32>"
SHORTS = f"<{LANES} x i16>"

Number = Union["Value", int, float]


class Value:
    """A value within a function.

    Sums and products of floats may be joined to one operation that rounds once.

    Args:
        function: where it is known.
        kind: its type.
        name: how the text of the function calls it.
    """

    def __init__(self, function: "Function", kind: str, name: str) -> None:
        self.function = function
        self.kind = kind
        self.name = name

    @property
    def is_float(self) -> bool:
        """Whether it is a float or a vector of such."""
        return "float" in self.kind

    def __add__(self, other: Number) -> "Value":
        """Add; to a pointer, a number of bytes."""
        if self.kind == POINTER:
            offset = self.function.constant(other, INTEGER)
            return self.function.operation(
                POINTER, f"getelementptr i8, ptr {self.name}, i64 {offset.name}"
            )
        return self._with("fadd contract", "add", other)

    def __sub__(self, other: Number) -> "Value":
        """Subtract."""
        return self._with("fsub contract", "sub", other)

    def __mul__(self, other: Number) -> "Value":
        """Multiply."""
        return self._with("fmul contract", "mul", other)

    def __truediv__(self, other: Number) -> "Value":
        """Divide floats."""
        return self._with("fdiv", "", other)

    def __floordiv__(self, other: Number) -> "Value":
        """Divide integers that are not negative."""
        return self._with("", "udiv", other)

    def __lshift__(self, other: Number) -> "Value":
        """Shift the bits of integers to the left."""
        return self._with("", "shl", other)

    def at_most(self, other: Number) -> "Value":
        """Give the lesser of two; what is no number stays so."""
        return self._chosen("fcmp ogt", "icmp sgt", other)

    def at_least(self, other: Number) -> "Value":
        """Give the greater of two; what is no number stays so."""
        return self._chosen("fcmp olt", "icmp slt", other)

    def converted(self, operator: str, kind: str) -> "Value":
        """Change the type with one of LLVM's operators, such as ``sext``."""
        return self.function.operation(kind, f"{operator} {self.kind} {self.name} to {kind}")

    def shuffled(self, lanes: Sequence[int]) -> "Value":
        """Put chosen lanes of a vector into a vector of their number."""
        element = self.kind.split("x ")[1].rstrip(">")
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.function.operation(
            f"<{len(lanes)} x {element}>",
            f"shufflevector {self.kind} {self.name}, {self.kind} poison, "
            f"<{len(lanes)} x i32> <{mask}>",
        )

    def spread(self) -> "Value":
        """Repeat a number in every lane of a vector."""
        vector = f"<{LANES} x {self.kind}>"
        first = self.function.operation(
            vector, f"insertelement {vector} poison, {self.kind} {self.name}, i32 0"
        )
        return first.shuffled([0] * LANES)

    def _with(self, floats: str, integers: str, other: Number) -> "Value":
        operator = floats if self.is_float else integers
        second = self.function.constant(other, self.kind)
        return self.function.operation(
            self.kind, f"{operator} {self.kind} {self.name}, {second.name}"
        )

    def _chosen(self, floats: str, integers: str, other: Number) -> "Value":
        operator = floats if self.is_float else integers
        second = self.function.constant(other, self.kind)
        kind = "i1" if "<" not in self.kind else f"<{LANES} x i1>"
        beyond = self.function.operation(kind, f"{operator} {self.kind} {self.name}, {second.name}")
        return self.function.operation(
            self.kind,
            f"select {kind} {beyond.name}, {self.kind} {second.name}, {self.kind} {self.name}",
        )


class Variable:
    """A place for a value that changes; LLVM keeps it in a register.

    Args:
        function: where it is known.
        kind: type of its values.
    """

    def __init__(self, function: "Function", kind: str) -> None:
        self._function = function
        self._kind = kind
        self._place = function.room(kind)

    def get(self) -> Value:
        """Give its value."""
        return self._function.load(self._kind, self._place)

    def set(self, value: Number) -> None:
        """Change its value."""
        self._function.store(self._function.constant(value, self._kind), self._place)


class Function:
    """A function without a result.

    Args:
        name: what others call it.
        arguments: names and types.
        public: whether Python calls it.
    """

    def __init__(self, name: str, arguments: Mapping[str, str], public: bool = False) -> None:
        self.name = name
        self._arguments = {key: Value(self, kind, f"%{key}") for key, kind in arguments.items()}
        self._linkage = "" if public else "internal "
        self._rooms: list[str] = []
        self._lines: list[str] = []
        self._block = "entry"
        self._count = 0
        self._declared: set[str] = set()

    def __getitem__(self, name: str) -> Value:
        """Give an argument."""
        return self._arguments[name]

    def constant(self, number: Number, kind: str) -> Value:
        """Give a number as a value of a type, in every lane of a vector; values stay."""
        if isinstance(number, Value):
            return number
        element = kind.split("x ")[1].rstrip(">") if "<" in kind else kind
        text = str(number)
        if element == FLOAT:
            # The bits of the double that the rounded number is.
            (single,) = struct.unpack("f", struct.pack("f", number))
            text = "0x" + struct.pack(">d", single).hex()
        if element != kind:
            text = "<" + ", ".join([f"{element} {text}"] * LANES) + ">"
        return Value(self, kind, text)

    def operation(self, kind: str, text: str) -> Value:
        """Write an instruction that gives a value."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        return Value(self, kind, name)

    def load(self, kind: str, place: Value) -> Value:
        """Read memory, wherever it begins."""
        return self.operation(kind, f"load {kind}, ptr {place.name}, align 1")

    def store(self, value: Value, place: Value) -> None:
        """Write memory, wherever it begins."""
        self._lines.append(f"  store {value.kind} {value.name}, ptr {place.name}, align 1")

    def room(self, kind: str) -> Value:
        """Give the address of a place of the function's own."""
        self._count += 1
        name = f"%v{self._count}"
        self._rooms.append(f"  {name} = alloca {kind}")
        return Value(self, POINTER, name)

    def variable(self, kind: str, initial: Number) -> Variable:
        """Give a variable."""
        made = Variable(self, kind)
        made.set(initial)
        return made

    def call(self, function: "Function", *values: Number) -> None:
        """Call another function; its arguments in their order."""
        given = [
            self.constant(value, argument.kind)
            for value, argument in zip(values, function._arguments.values(), strict=True)
        ]
        words = ", ".join(f"{value.kind} {value.name}" for value in given)
        self._lines.append(f"  call void @{function.name}({words})")

    def builtin(self, name: str, kind: str, *values: Value) -> Value:
        """Call one of LLVM's own functions."""
        words = ", ".join(f"{value.kind} {value.name}" for value in values)
        kinds = ", ".join(value.kind for value in values)
        self._declared.add(f"declare {kind} @{name}({kinds})")
        flags = "reassoc " if "reduce" in name else ""
        return self.operation(kind, f"call {flags}{kind} @{name}({words})")

    def copy(self, source: Value, target: Value, size: Value) -> None:
        """Copy bytes between places that do not overlap."""
        self._declared.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        self._lines.append(
            f"  call void @llvm.memcpy.p0.p0.i64(ptr {target.name}, ptr {source.name}, "
            f"i64 {size.name}, i1 false)"
        )

    @contextmanager
    def loop(self, stop: Number, start: Number = 0, step: int = 1) -> Iterator[Value]:
        """Repeat what is written within, for each count from ``start`` up to below ``stop``."""
        first, last = self.constant(start, INTEGER), self.constant(stop, INTEGER)
        self._count += 1
        head, body, end = (f"{word}{self._count}" for word in ("head", "body", "end"))
        index = Value(self, INTEGER, f"%i{self._count}")
        following = f"%n{self._count}"
        self._lines.append(f"  br label %{head}")
        before = self._block
        self._lines.append(f"{head}:")
        self._lines.append("")
        place = len(self._lines) - 1
        going = self.operation("i1", f"icmp slt i64 {index.name}, {last.name}")
        self._lines.append(f"  br i1 {going.name}, label %{body}, label %{end}")
        self._lines.append(f"{body}:")
        self._block = body
        yield index
        self._lines.append(f"  {following} = add nsw i64 {index.name}, {step}")
        self._lines.append(f"  br label %{head}")
        self._lines[place] = (
            f"  {index.name} = phi i64 [ {first.name}, %{before} ], [ {following}, %{self._block} ]"
        )
        self._lines.append(f"{end}:")
        self._block = end

    @contextmanager
    def when(self, comparison: str, first: Number, second: Number) -> Iterator[None]:
        """Do what is written within if an integer compares so (``slt``, ``eq`` ...) to another."""
        a, b = self.constant(first, INTEGER), self.constant(second, INTEGER)
        self._count += 1
        body, end = f"then{self._count}", f"after{self._count}"
        holds = self.operation("i1", f"icmp {comparison} i64 {a.name}, {b.name}")
        self._lines.append(f"  br i1 {holds.name}, label %{body}, label %{end}")
        self._lines.append(f"{body}:")
        self._block = body
        yield
        self._lines.append(f"  br label %{end}")
        self._lines.append(f"{end}:")
        self._block = end

    def text(self) -> str:
        """Give the function in LLVM's language."""
        arguments = ", ".join(f"{value.kind} {value.name}" for value in self._arguments.values())
        lines = [f"define {self._linkage}void @{self.name}({arguments}) {{", "entry:"]
        return "\n".join([*lines, *self._rooms, *self._lines, "  ret void", "}"])

    @property
    def declared(self) -> set[str]:
        """Declarations of what it calls besides other functions."""
        return self._declared
