"""The inner loop as LLVM's intermediate language: a row of accumulators stays in registers while weights go by.

For every weight one value is broadcast, and each accumulator takes one fused multiply-add whose second factor comes
from memory. Plain loops do not compile to this: the compiler spills accumulators, or turns the loops around.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


class Emit:
    """Writes vector instructions for one builder.

    Args:
        builder: of llvmlite.
        width: floats of a vector.
    """

    def __init__(self, builder: Any, width: int) -> None:
        self.builder = builder
        self.width = width
        self.type = ir.VectorType(ir.FloatType(), width)
        name = f"llvm.fma.v{width}f32"
        self._fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.type, [self.type] * 3), name)

    def splat(self, value: Any) -> Any:
        """One float in all lanes."""
        index = ir.IntType(32)
        undefined = ir.Constant(self.type, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(index, 0))
        zeros = ir.Constant(ir.VectorType(index, self.width), [0] * self.width)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def load(self, pointer: Any, place: int) -> Any:
        """A vector that lies `place` vectors behind a pointer to float."""
        value = self.builder.load(self._at(pointer, place))
        value.align = 4
        return value

    def store(self, value: Any, pointer: Any, place: int) -> None:
        """To where `load` reads."""
        self.builder.store(value, self._at(pointer, place)).align = 4

    def fma(self, one: Any, other: Any, added: Any) -> Any:
        """one * other + added, rounded once."""
        return self.builder.call(self._fma, [one, other, added])

    def larger(self, one: Any, other: Any) -> Any:
        """Lane by lane; `other` where one is not a number."""
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def every_second(self, one: Any, other: Any, first: int) -> Any:
        """The lanes `first`, `first` + 2, ... of two vectors behind each other."""
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), list(range(first, 2 * self.width, 2)))
        return self.builder.shuffle_vector(one, other, lanes)

    def joined(self, *ways: tuple[Any, list[Any]]) -> list[Any]:
        """Values that depend on the block that control comes from; all of its values by such a block."""
        phis = [self.builder.phi(value.type) for value in ways[0][1]]
        for block, values in ways:
            for phi, value in zip(phis, values, strict=True):
                phi.add_incoming(value, block)
        return phis

    def _at(self, pointer: Any, place: int) -> Any:
        moved = self.builder.gep(pointer, [ir.Constant(ir.IntType(64), place * self.width)])
        return self.builder.bitcast(moved, self.type.as_pointer())


def make_parting(width: int) -> Any:
    """A function for Numba's code: `part(memory, source, even, odd)` parts two vectors from `source` on.

    What lies at even places goes to `even`, the rest to `odd`, a vector each.
    """

    @intrinsic
    def part(typingctx, memory, source, even, odd):  # type: ignore[no-untyped-def]
        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            emit = Emit(builder, width)
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            pointer, *targets = (builder.gep(data, [place]) for place in args[1:])
            one, other = emit.load(pointer, 0), emit.load(pointer, 1)
            for first, target in enumerate(targets):
                emit.store(emit.every_second(one, other, first), target, 0)
            return context.get_dummy_value()

        return types.void(memory, types.intp, types.intp, types.intp), generate

    return part


def make_tile(largest: int, width: int, *, kernels: bool = False) -> Any:
    """A function for Numba's code: some vectors of one output, over the weights from `start` to `stop`.

    `tile(memory, source, offsets, weights, start, stop, row, fresh, bias, slope, added, target, vectors)`: accumulators
    begin with `bias` where `fresh`, else with what lies at `target`; at the end the larger of value and slope * value,
    plus what lies at `added` where that is not negative, is written to `target`. With `kernels` an entry has nine
    weights, for three places side by side in three rows.

    Args:
        largest: `vectors` may be 1 to this; otherwise nothing is done.
        width: floats of a vector.
        kernels: whole kernels instead of single weights.
    """

    @intrinsic
    def tile(typingctx, memory, source, offsets, weights, start, stop, row, fresh, bias, slope, added, target, vectors):  # type: ignore[no-untyped-def]
        signature = types.void(
            memory, types.intp, offsets, weights, types.intp, types.intp, types.intp, types.boolean, types.float32,
            types.float32, types.intp, types.intp, types.intp,
        )  # fmt: skip

        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            kinds, values = (sig.args[0], *sig.args[2:4]), (args[0], *args[2:4])
            arrays = [
                context.make_array(kind)(context, builder, value).data
                for kind, value in zip(kinds, values, strict=True)
            ]
            end = builder.append_basic_block("end")
            choice = builder.switch(args[-1], end)
            for size in range(1, largest + 1):
                block = builder.append_basic_block(f"vectors_{size}")
                choice.add_case(ir.Constant(args[-1].type, size), block)
                builder.position_at_end(block)
                _generate(Emit(builder, width), arrays, args[:-1], size, kernels)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _generate(emit: Emit, arrays: Any, args: Any, vectors: int, kernels: bool) -> None:
    """Code for one size of tiles."""
    builder = emit.builder
    memory, offsets, weights = arrays
    _, source, _, _, start, stop, row, fresh, bias, slope, added, target = args
    out = builder.gep(memory, [target])
    blocks = {
        name: builder.append_basic_block(name) for name in ("fresh", "more", "head", "entry", "done", "plus", "end")
    }
    builder.cbranch(builder.icmp_unsigned("!=", fresh, ir.Constant(fresh.type, 0)), blocks["fresh"], blocks["more"])

    builder.position_at_end(blocks["fresh"])
    biased = emit.splat(bias)
    builder.branch(blocks["head"])
    builder.position_at_end(blocks["more"])
    earlier = [emit.load(out, place) for place in range(vectors)]
    builder.branch(blocks["head"])

    builder.position_at_end(blocks["head"])
    begun = emit.joined((blocks["fresh"], [biased] * vectors), (blocks["more"], earlier))
    builder.cbranch(builder.icmp_signed("<", start, stop), blocks["entry"], blocks["done"])

    builder.position_at_end(blocks["entry"])
    number, *sums = emit.joined((blocks["head"], [start, *begun]))
    offset = builder.sext(builder.load(builder.gep(offsets, [number])), start.type)
    pixel = builder.gep(memory, [builder.add(source, offset)])
    grown = list(sums)
    for place in range(9 if kernels else 1):
        weight = number
        if kernels:
            weight = builder.add(builder.mul(number, ir.Constant(number.type, 9)), ir.Constant(number.type, place))
            if place:
                step = [ir.Constant(number.type, 1)] if place % 3 else [builder.sub(row, ir.Constant(number.type, 2))]
                pixel = builder.gep(pixel, step)
        value = emit.splat(builder.load(builder.gep(weights, [weight])))
        grown = [emit.fma(value, emit.load(pixel, index), one) for index, one in enumerate(grown)]
    following = builder.add(number, ir.Constant(number.type, 1))
    for phi, value in zip((number, *sums), (following, *grown), strict=True):
        phi.add_incoming(value, blocks["entry"])
    builder.cbranch(builder.icmp_signed("<", following, stop), blocks["entry"], blocks["done"])

    builder.position_at_end(blocks["done"])
    ends = emit.joined((blocks["head"], begun), (blocks["entry"], grown))
    factor = emit.splat(slope)
    bent = [emit.larger(value, builder.fmul(value, factor)) for value in ends]
    for place, value in enumerate(bent):
        emit.store(value, out, place)
    builder.cbranch(builder.icmp_signed("<", added, ir.Constant(added.type, 0)), blocks["end"], blocks["plus"])

    builder.position_at_end(blocks["plus"])
    other = builder.gep(memory, [added])
    for place, value in enumerate(bent):
        emit.store(builder.fadd(value, emit.load(other, place)), out, place)
    builder.branch(blocks["end"])
    builder.position_at_end(blocks["end"])
