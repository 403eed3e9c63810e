"""Scores of packed pieces against whole logits of each piece alone, and what of them is held at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from midtrain.trainer.evaluation.scoring import Piece, scored, total
from midtrain.trainer.models import head
from midtrain.trainer.models.model import MoEModel
from torch import Tensor

VOCAB = 53  # ids that are drawn; the model has more
LENGTHS = [40, 9, 300, 25, 1, 64, 130, 2]


@pytest.fixture
def model(small_model: MoEModel) -> MoEModel:
    return small_model


def pieces_of(lengths: Sequence[int], share: float = 0.6) -> list[Piece]:
    rng = np.random.default_rng(3)
    return [(rng.integers(0, VOCAB, n).astype(np.uint32), rng.random(n) < share) for n in lengths]


@torch.no_grad()
def alone(model: MoEModel, piece: Piece) -> tuple[float, int]:
    """A piece's nats from the whole of its logits."""
    ids = torch.from_numpy(piece[0].astype(np.int64))[None]
    logits_TV = model(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids)).logits_BTV[0]
    asked = torch.from_numpy(piece[1])[1:]
    nats = F.cross_entropy(logits_TV[:-1][asked], ids[0, 1:][asked], reduction="none").double()
    return float(nats.sum()), int(asked.sum())


@pytest.mark.parametrize(("length", "rows"), [(300, 1), (300, 3), (64, 2), (32, 1), (1024, 2)])
@pytest.mark.parametrize("chunk", [None, 7])
def test_scores_are_those_of_whole_logits(
    model: MoEModel, monkeypatch: pytest.MonkeyPatch, length: int, rows: int, chunk: int | None
) -> None:
    """Pieces longer than a row are among them."""
    if chunk:
        monkeypatch.setattr(head, "LEAST_ROWS", chunk)
        monkeypatch.setattr(head, "CHUNK", {"cpu": 1})
    pieces = pieces_of(LENGTHS)
    found = {place: (nats, tokens) for place, nats, tokens in scored(model, pieces, length, rows, "here")}
    assert sorted(found) == list(range(len(pieces)))
    for place, piece in enumerate(pieces):
        nats, tokens = alone(model, piece)
        assert found[place] == (pytest.approx(nats, rel=1e-6, abs=1e-6), tokens)


def test_only_a_chunk_of_logits_is_held_and_those_that_are_asked(
    model: MoEModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def times(x_MK: Tensor, weight_NK: Tensor) -> Tensor:
        made.append(len(x_MK))
        return F.linear(x_MK, weight_NK)

    monkeypatch.setattr(head, "times", times)
    monkeypatch.setattr(head, "LEAST_ROWS", 16)
    monkeypatch.setattr(head, "CHUNK", {"cpu": 1})
    monkeypatch.setattr(MoEModel, "_head", None)  # all logits: nobody asks for them
    pieces = pieces_of(LENGTHS)
    _, tokens = total(model, pieces, 300, 4, "here")
    assert (max(made), sum(made)) == (16, tokens)
    assert tokens < sum(LENGTHS) * 0.7


def test_rows_are_no_longer_than_their_pieces_need(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    hidden = model._hidden

    def note(tokens_BT: Tensor, *rest: Any) -> Any:
        shapes.append(tuple(tokens_BT.shape))
        return hidden(tokens_BT, *rest)

    monkeypatch.setattr(model, "_hidden", note)
    list(scored(model, pieces_of([40, 60, 50]), 131_072, 1, "here"))
    list(scored(model, pieces_of([40, 20, 50]), 100, 2, "here"))
    list(scored(model, pieces_of([40, 700, 50]), 100, 2, "here"))
    assert shapes == [(1, 256), (2, 100), (1, 700), (1, 100)]


def test_a_batch_in_which_nothing_is_asked_has_no_nats(model: MoEModel) -> None:
    assert list(scored(model, pieces_of([5, 9], share=-1), 16, 1, "here")) == [(0, 0.0, 0), (1, 0.0, 0)]
