"""Packing as a stage: a task a part of the tokens, so that a source of any size is packed on as many workers as wanted.

The files are those of `mixtures/packs/pack_requests.py`, byte for byte, whoever writes them. Costs what a task costs,
and the memory of one part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..manifest import Manifest
from ..mixtures.packs.pack_requests import VERSION, Packer, PackRequest, pack_part, write_table
from . import footprints
from .runner import Runner
from .stage import LocalStage, Tally, TaskResult


@dataclass(frozen=True)
class PackParts(LocalStage):
    """An index of a source, one task a part."""

    version: ClassVar[int] = VERSION
    request: PackRequest

    @property
    def name(self) -> str:
        """`<source>-<length>-<policy>`."""
        return self.request.name

    @property
    def group(self) -> str:
        """`packs`."""
        return "packs"

    def options(self) -> dict[str, Any]:
        """The request's; the fingerprint of the tokens is among them, the tokens themselves may lie elsewhere."""
        return self.request.options()

    @cached_property
    def folder(self) -> Path:
        """The request's, which has the same fingerprint."""
        return self.root / self.request.folder

    def memory(self) -> int:
        """As `footprints.packing`, of the largest part."""
        shards = self.request.source.shards
        documents = int(shards.part_documents.max(initial=0))
        sequences = int(shards.part_tokens.max(initial=0)) // self.request.sequence_length
        return footprints.packing(documents, sequences, self.request.source.trim is not None)

    def tasks(self) -> int:
        """One a part."""
        return self.request.parts

    def run(self, task: int) -> TaskResult:
        """Packs a part."""
        files, counts = pack_part(self.root, self.request, task)
        return TaskResult(files, counts)

    def complete(self, total: Tally) -> Manifest:
        """Writes the table of the parts, then the manifest."""
        total.files.append(write_table(self.folder, total.counts["parts"]))
        return super().complete(total)


def packer(root: Path, runner: Runner) -> Packer:
    """Makes what a plan requests with the runner; what is done is left alone.

    Args:
        root: the mixture's output.
        runner: runs the tasks.
    """

    def ensure(requests: Sequence[PackRequest]) -> None:
        for request in requests:
            runner.ensure(PackParts(root, request))

    return ensure
