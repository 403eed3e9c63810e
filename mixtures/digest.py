"""The digest of a batch: 64 bits by which a look at the shards and a step of training are held against each other.

`midtrain train` logs it a step and `midtrain peek` prints it, so that "is this what was trained on" is a comparison of
two short texts. Costs one pass of xxh3-64 over the arrays, 13 bytes a token.
"""

import numpy as np
import numpy.typing as npt
import xxhash


def batch_digest(
    tokens: npt.NDArray[np.integer], positions: npt.NDArray[np.integer], mask: npt.NDArray[np.bool_]
) -> str:
    """xxh3-64 in hexadecimal over tokens as int64, positions as int32 and mask as bytes, little-endian, row by row.

    Args:
        tokens: integers [B, T].
        positions: integers [B, T].
        mask: bool [B, T].
    """
    digest = xxhash.xxh3_64()
    for array, dtype in ((tokens, "<i8"), (positions, "<i4"), (mask, "u1")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    return digest.hexdigest()
