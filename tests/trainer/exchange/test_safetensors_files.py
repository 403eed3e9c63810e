"""Our reader and writer of safetensors against the library, and files that are cut or lie."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.exchange import model_files, safetensors_files
from torch import Tensor

library = pytest.importorskip("safetensors.torch")

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
DTYPES = st.sampled_from(list(safetensors_files.DTYPES.values()))
TENSORS = st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(SHAPES, DTYPES), min_size=1, max_size=6)


def filled(shapes: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, (shape, dtype) in shapes.items()}


def equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@settings(max_examples=60, deadline=None)
@given(TENSORS)
def test_the_library_reads_what_we_write_and_the_other_way_round(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, Any]
) -> None:
    tensors = filled(shapes)
    folder = tmp_path_factory.mktemp("files")
    safetensors_files.write(folder / "ours", list(tensors.items()), tensors.__getitem__)
    theirs = library.load_file(folder / "ours")
    library.save_file(tensors, folder / "theirs")
    ours = safetensors_files.read_header(folder / "theirs")
    assert theirs.keys() == ours.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert equal(theirs[name], tensor)
        assert equal(safetensors_files.read(ours[name]), tensor)


@settings(max_examples=40, deadline=None)
@given(TENSORS, st.integers(1, 200))
def test_shards_hold_every_tensor_once(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, Any], size: int
) -> None:
    tensors = filled(shapes)
    folder = tmp_path_factory.mktemp("shards")
    asked: list[str] = []

    def get(name: str) -> Tensor:
        asked.append(name)
        return tensors[name]

    model_files.write(folder, list(tensors.items()), get, size)
    assert asked == list(tensors)
    found = model_files.entries(folder)
    assert found.keys() == tensors.keys()
    for name, entry in found.items():
        assert equal(safetensors_files.read(entry), tensors[name])
    for file in folder.glob("*.safetensors"):
        sizes = [entry.size for entry in safetensors_files.read_header(file).values()]
        assert sum(sizes) <= size or sum(one > 0 for one in sizes) == 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    safetensors_files.write(tmp_path / "x.safetensors", list(tensors.items()), tensors.__getitem__)
    return tmp_path / "x.safetensors"


def test_a_file_cut_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(RunError):
            safetensors_files.read_header(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(RunError, match="longer than its tensors"):
        safetensors_files.read_header(file)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(data)
    with pytest.raises((RunError, ConfigError)):
        safetensors_files.read_header(path)


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with its header changed."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    encoded = json.dumps(header).encode()
    file.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data[8 + length :])
    return file


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8", "U8", "F64", "F4"])
def test_other_types_are_refused_by_name(file: Path, dtype: str) -> None:
    with pytest.raises(ConfigError, match=f"a tensor of the type {dtype} cannot be taken"):
        safetensors_files.read_header(rewritten(file, lambda header: header["a"].update(dtype=dtype)))


@pytest.mark.parametrize(
    ("tensor", "changed", "named"),
    [
        ("b", {"data_offsets": [0, 8]}, "overlap or leave bytes out"),
        ("b", {"data_offsets": [25, 33]}, "overlap or leave bytes out"),
        ("a", {"data_offsets": [0, 20]}, "takes 24 bytes, not 20"),
        ("a", {"shape": [2, -3]}, "none of safetensors"),
        ("a", {"shape": [2, 3.0]}, "none of safetensors"),
        ("a", {"shape": "23"}, "none of safetensors"),
        ("a", {"data_offsets": [0]}, "none of safetensors"),
        ("a", {"data_offsets": None}, "none of safetensors"),
        ("a", {"shape": [2**62, 2**62]}, "none of safetensors"),
    ],
)
def test_headers_that_lie_are_refused(file: Path, tensor: str, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(RunError, match=named):
        safetensors_files.read_header(rewritten(file, lambda header: header[tensor].update(changed)))
