"""A folder of transformers as a model: which tensor stands where, and reading them one by one.

`midtrain import` and `init_from` both take a released model through here, so that what is refused is refused in both.
Costs the headers of the files; a tensor's memory when it is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ConfigError, RunError
from ..models.config import ModelConfig
from ..models.model import MoEModel
from . import model_files, names, safetensors_files, transformers_config
from .names import Layout
from .safetensors_files import Entry
from .transformers_config import Skip

_COMPARED = 1 << 24  # bytes at once
SKIP_OF: Mapping[Layout, Skip] = {"native": "zero", "legacy": "identity"}
"""What the skip class does in the code that belongs to a layout: transformers adds nothing, Zyphra's passes x on."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose tensors are those of `model`; `tensors` says where each of ours stands, one or several stacked."""

    path: Path
    layout: Layout
    skip: Skip
    model: ModelConfig
    max_positions: int
    tensors: Mapping[str, tuple[Entry, ...]]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one of our tensors."""
        entries = self.tensors[name]
        return entries[0].shape if len(entries) == 1 else (len(entries), *entries[0].shape)

    def dtype(self, name: str) -> torch.dtype:
        """The type that one of our tensors has in the folder."""
        return self.tensors[name][0].dtype

    def read(self, name: str) -> Tensor:
        """One of our tensors, on the CPU, in the folder's type.

        Raises:
            RunError: a file was cut meanwhile, or holds a number that is none.
        """
        entries = self.tensors[name]
        if len(entries) == 1:
            tensor = safetensors_files.read(entries[0])
        else:
            tensor = torch.empty(self.shape(name), dtype=self.dtype(name))
            for entry, row in zip(entries, tensor, strict=True):
                safetensors_files.read_into(entry, row)
        # Least and greatest show any NaN or infinity and copy nothing; a sum in float64 copies, and what copies of many
        # tensors leave behind in the heap adds up.
        if tensor.numel() and not all(bound.isfinite() for bound in torch.aminmax(tensor)):
            raise RunError(
                "a tensor holds NaN or infinity",
                where=f"{self.path}: {name}",
                expected="finite weights",
                fix="take the folder from where it was made again, or an earlier checkpoint of its maker",
            )
        return tensor

    def load(self, model: MoEModel) -> None:
        """Fills a model of these sizes in place, on any device and converted to any float type.

        Raises:
            RunError: a file was cut meanwhile.
        """
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(self.read(name))


def is_model_folder(path: str | Path) -> bool:
    """Whether a path is a folder with a config.json, as transformers writes it."""
    return (Path(path) / transformers_config.NAME).is_file()


def open_folder(path: str | Path, skip: Skip | None = None) -> ModelFolder:
    """Opens a folder of transformers, native or in Zyphra's legacy layout.

    Args:
        path: the folder.
        skip: what the router's last class does; by default what the code of the folder's layout does.

    Raises:
        ConfigError: another architecture, weights of another kind, or tensors that are not those of the config.
        RunError: a file is missing or cut, or files contradict one another.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError("no such folder", where=str(path), expected="a folder as transformers writes it")
    transformers_config.load(folder / transformers_config.NAME)  # says first what the folder is not
    entries = model_files.entries(folder)
    layout = names.layout_of(entries)
    skip = skip or SKIP_OF[layout]
    largest = max((size for entry in entries.values() for size in entry.shape), default=0)
    described = transformers_config.read(folder, layout, skip, len(entries), largest)
    expected = _expected(folder, described.model)
    wanted = names.sources(described.model, expected, layout)
    _check_head(entries)
    _check(folder, {name: tuple(tensor.shape) for name, tensor in expected.items()}, wanted, entries)
    tensors = {name: tuple(entries[one] for one in found) for name, found in wanted.items()}
    return ModelFolder(folder, layout, skip, described.model, described.max_positions, tensors)


def _expected(folder: Path, model: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a model without their values; ConfigError for sizes that no model can have."""
    try:
        with torch.device("meta"):
            return MoEModel(model).state_dict()
    except (RuntimeError, TypeError, OverflowError) as wrong:
        what = str(wrong).splitlines()[0][:200]
        where = str(folder / transformers_config.NAME)
        raise ConfigError(f"no sizes that a model can have: {what}", where=where) from None


def _check(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[str, ...]],
    entries: Mapping[str, Entry],
) -> None:
    """Whether the folder holds exactly the tensors of the model, each of its shape."""
    places = names.inverse(wanted)
    missing = sorted(places.keys() - entries.keys())
    extra = sorted(entries.keys() - places.keys() - {names.HEAD})
    if missing or extra:
        raise ConfigError(
            "the tensors are not those of the model that config.json describes",
            where=str(folder),
            seen=f"missing: {model_files.listed(missing) or 'none'}; "
            f"not of the model: {model_files.listed(extra) or 'none'}",
        )
    for name, (ours, _) in places.items():
        shape = shapes[ours] if len(wanted[ours]) == 1 else shapes[ours][1:]
        if entries[name].shape != shape:
            raise ConfigError(
                f"{name} is not of the shape that config.json gives it",
                where=str(entries[name].path),
                seen=entries[name].shape,
                expected=shape,
            )
    for ours, found in wanted.items():
        dtypes = {entries[name].dtype for name in found}
        if len(dtypes) > 1:
            raise ConfigError(f"the experts of {ours} are of several types", where=str(folder), seen=dtypes)


def _check_head(entries: Mapping[str, Entry]) -> None:
    """A head that is written although it is tied has to be the embedding, byte for byte."""
    head, embedding = entries.get(names.HEAD), entries.get(f"{names.PREFIX}embed_tokens.weight")
    if head is None or embedding is None:
        return
    same = (head.shape, head.dtype) == (embedding.shape, embedding.dtype)
    if same:
        with open(head.path, "rb") as one, open(embedding.path, "rb") as other:
            one.seek(head.offset)
            other.seek(embedding.offset)
            sizes = [min(_COMPARED, head.size - start) for start in range(0, head.size, _COMPARED)]
            same = all(one.read(size) == other.read(size) for size in sizes)
    if not same:
        raise RunError(
            f"{names.HEAD} is not the embedding, to which the head is tied",
            where=str(head.path),
            fix="a head of its own cannot be imported",
        )
