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


load_8: Any = intrinsic(_load_8)
lowest_bit: Any = intrinsic(_lowest_bit)
