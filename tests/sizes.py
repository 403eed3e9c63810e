"""Sizes of slow tests: a part of what a test was written for, in whole where `make whole` asks for it."""

import os
from typing import TypeVar

import pytest

Size = TypeVar("Size")

WHOLE = os.environ.get("MIDTRAIN_WHOLE") == "1"

whole_only = pytest.mark.skipif(not WHOLE, reason="too long for CI: `make whole` runs it")


def sized(whole: Size, part: Size) -> Size:
    """The size to test at: the whole is shown by hand, and what CI runs is to end within the hour."""
    return whole if WHOLE else part


# For slow tests that look at what is ours, and at no answer of a store's own.
REAL_STORE = pytest.mark.parametrize("bucket", sized(["moto", "seaweedfs"], ["seaweedfs"]), indirect=True)
