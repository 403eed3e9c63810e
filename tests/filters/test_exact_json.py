"""JSON with whole numbers of any size: read and written as they stand."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from midtrain.filters import exact_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
@example({"n": [10**23 + 1, -(2**63) - 1, 2**64]})
@example([1e300, 2**53 + 1])
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    text = exact_json.dumps(value)
    assert exact_json.loads(text) == value
    assert exact_json.loads(text.encode()) == json.loads(text)


def test_no_blanks_are_written_and_what_json_does_not_know_is_made_known() -> None:
    for number in (1, 10**30):
        assert (
            exact_json.dumps({"n": [number, "ä"], "s": {1}}, lambda one: sorted(one))
            == f'{{"n":[{number},"ä"],"s":[1]}}'
        )
        with pytest.raises(TypeError):
            exact_json.dumps({"n": number, "s": {1}})
    assert exact_json.dumps(np.arange(2), option=orjson.OPT_SERIALIZE_NUMPY) == "[0,1]"


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", b"\xff"])
def test_what_is_no_json_is_an_error(text: str | bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        exact_json.loads(text)
