"""Two machine instructions that Numba has no name for: an unaligned load of eight bytes, and the lowest bit's place.

Text is looked at eight bytes a step where a loop over bytes would wait for one branch a byte.
Costs Numba's import. Bytes are taken in little-endian order, as all machines that Numba's wheels run on have it.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

_arrays: Any = arrayobj  # neither module says what its functions take
_code: Any = cgutils


def _load_8(typing_context: Any, array: Any, at: Any) -> Any:
    """The bytes `array[at:at + 8]` of a contiguous uint8 array as one uint64, the first byte lowest; not checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _arrays.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = _code.gep_inbounds(builder, data, arguments[1])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.uint64), generate


def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """The number of zero bits below the lowest bit that is set in a uint64; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


def _prefetch(typing_context: Any, array: Any, at: Any) -> Any:
    """Asks for the line of the item `array[at]` of a contiguous array, and waits for nothing; not checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _arrays.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(_code.gep_inbounds(builder, data, arguments[1]), byte)
        function = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        callee = _code.get_or_insert_function(builder.module, function, "llvm.prefetch.p0i8")
        # To be read, to stay in the nearest memory, data.
        builder.call(callee, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


load_8: Any = intrinsic(_load_8)
lowest_bit: Any = intrinsic(_lowest_bit)
prefetch: Any = intrinsic(_prefetch)
