"""The digest of a batch: of its values alone, whatever the width of the arrays, and every value counts."""

import numpy as np
import pytest
import xxhash
from midtrain.mixtures.digest import batch_digest

TOKENS = np.arange(12).reshape(3, 4)
POSITIONS = np.arange(4)[None].repeat(3, 0)
MASK = np.arange(12).reshape(3, 4) % 3 == 0


def test_it_is_the_hash_of_the_bytes_as_they_are_documented():
    data = TOKENS.astype("<i8").tobytes() + POSITIONS.astype("<i4").tobytes() + MASK.astype("u1").tobytes()
    assert batch_digest(TOKENS, POSITIONS, MASK) == xxhash.xxh3_64_hexdigest(data)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_it_does_not_depend_on_width_or_layout(dtype):
    expected = batch_digest(TOKENS, POSITIONS, MASK)
    assert batch_digest(TOKENS.astype(dtype), POSITIONS.astype(dtype), MASK) == expected
    assert batch_digest(np.asfortranarray(TOKENS), POSITIONS, np.asfortranarray(MASK)) == expected


def test_every_value_counts():
    seen = {batch_digest(TOKENS, POSITIONS, MASK)}
    for place in np.ndindex(TOKENS.shape):
        for number in range(3):
            arrays = [TOKENS.copy(), POSITIONS.copy(), MASK.copy()]
            arrays[number][place] = ~arrays[number][place] if number == 2 else arrays[number][place] + 1
            seen.add(batch_digest(*arrays))
    assert len(seen) == 1 + 3 * TOKENS.size
