"""Packs a source that exists only as ends of documents, and prints what that came to as JSON.

A program, because its peak of memory is the question: `pack_memory.py FOLDER PARTS DOCUMENTS_A_PART`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from midtrain.mixtures.packs.pack_requests import PackRequest, SourceTokens, pack_here
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan
from midtrain.pipelines import budget


@dataclass(frozen=True)
class MadeEnds:
    """Ends that are drawn anew each time they are asked for."""

    parts: int
    documents: int

    def ends(self, part: int) -> np.ndarray:
        """uint64[documents], lognormal lengths around 300."""
        lengths = np.random.default_rng(part).lognormal(5.7, 0.8, self.documents).astype(np.int64) + 1
        return np.cumsum(lengths).astype(np.uint64)

    ends_unchecked = ends

    @property
    def part_tokens(self) -> np.ndarray:
        """uint64[parts]"""
        return np.array([int(self.ends(part)[-1]) for part in range(self.parts)], np.uint64)

    @property
    def part_documents(self) -> np.ndarray:
        """uint64[parts]"""
        return np.full(self.parts, self.documents, np.uint64)


def main() -> None:
    """Plans two phases: whole documents at 2,048, and half way through them what is left at 4,096."""
    folder, parts, documents = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    source = SourceTokens("made", "f" * 32, MadeEnds(parts, documents), "whole", "split")
    tokens = int(source.shards.part_tokens.sum())
    packed = []

    def packer(requests: list[PackRequest]) -> None:
        packed.extend(request.folder for request in requests)
        pack_here(folder)(requests)

    weights = (PhaseWeight("made", 1.0, "all", 2),)
    phases = [PhaseSpec(str(length), length, tokens // 2, weights) for length in (2048, 4096)]
    budget.reset_peak()
    planned = plan(folder, 1, {"made": source}, phases, packer)
    peak = budget.peak()
    drawn = sum(row.tokens for row in planned.rows)
    told = {"peak": peak, "tokens": tokens, "drawn": drawn, "packs": packed, "documents": parts * documents}
    sys.stdout.write(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
