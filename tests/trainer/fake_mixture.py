"""Built shards that are computed, not read: what training asks of `mixtures.built.Built`, and no file.

Tests load it with runpy (tests are no package); a subprocess that is killed can use it too. A sequence is a pure
function of phase and index: documents that count on by a step of their own, so that a model has something to learn.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from midtrain.mixtures.windows import ALONE


@dataclass(frozen=True)
class Phase:
    name: str
    sequence_length: int
    sequences: int

    @property
    def planned_sequences(self):
        return self.sequences


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    loss_mask: np.ndarray
    sources: np.ndarray
    first_index: int


class FakeMixture:
    def __init__(self, phases=None, vocab_size=50, fingerprint="f" * 32, tokenizer_hash="a" * 32):
        self.root = Path("fake")
        self.fingerprint = fingerprint
        self.tokenizer_hash = tokenizer_hash
        self.vocab_size = vocab_size
        phases = phases or {"pretrain": (16, 40), "midtrain": (32, 21)}
        self.phases = {name: Phase(name, length, count) for name, (length, count) in phases.items()}
        self.sources = {}
        self.asked = []

    def extends(self, shards, phase, sequences):
        return False

    def batch(self, phase, first, count):
        self.asked.append((phase, first, count))
        rows = [self.row(phase, index) for index in range(first, first + count)]
        tokens, positions, segments, loss = (np.stack(column) for column in zip(*rows, strict=True))
        return Rows(tokens, positions, segments, loss, np.zeros(count, np.int16), first)

    def batches(self, phase, first, sequences, *, stop=None, share=ALONE):
        stop = self.phases[phase].sequences if stop is None else stop
        for start in range(first + share.worker * sequences, stop, sequences * share.workers):
            size = min(sequences, stop - start)
            low, high = (start + rank * size // share.world_size for rank in (share.rank, share.rank + 1))
            yield self.batch(phase, low, high - low)

    def row(self, phase, index):
        """Documents of 3 to 9 tokens, then padding; the first token of a document is no target."""
        length = self.phases[phase].sequence_length
        rng = np.random.default_rng([len(phase), index])
        tokens, positions = np.zeros(length, np.int64), np.zeros(length, np.int32)
        segments, loss = np.full(length, -1, np.int32), np.zeros(length, np.bool_)
        at = segment = 0
        while at + (size := int(rng.integers(3, 10))) <= length:
            part = slice(at, at + size)
            tokens[part] = (rng.integers(self.vocab_size) + np.arange(size) * rng.integers(1, 4)) % self.vocab_size
            positions[part] = np.arange(size)
            segments[part] = segment
            loss[at + 1 : at + size] = True
            at, segment = at + size, segment + 1
        return tokens, positions, segments, loss
