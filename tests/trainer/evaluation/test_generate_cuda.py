"""Decoding on a card against decoding on the CPU, in float32."""

import copy

import pytest
import torch
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import rows
from midtrain.trainer.evaluation.choices import ChoiceQuestion, choose
from midtrain.trainer.evaluation.generate import generate
from midtrain.trainer.evaluation.sampling import GREEDY, Sampling
from midtrain.trainer.models.model import MoEModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no card")
PROMPTS = [[5, 6, 7, 8], [9], [3, 1, 4, 1, 5, 9, 2, 6], [2, 7]]


@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(0.8, n=3), Sampling(0.8, 0.9, n=3), Sampling(0.8, top_k=5, n=3)], ids=str
)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_the_card_replies_as_the_cpu_does(small_model: MoEModel, sampling: Sampling, batch_size: int) -> None:
    on_card = copy.deepcopy(small_model).cuda()
    expected = generate(small_model, PROMPTS, 12, 0, sampling=sampling)
    found = generate(on_card, PROMPTS, 12, 0, sampling=sampling, batch_size=batch_size)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    assert same >= len(expected) - 1  # sums are rounded differently, and a draw may stand at a border
    assert rows.cache_bound(torch.device("cuda")) > 1 << 20


def test_the_card_scores_choices_as_the_cpu_does(small_model: MoEModel, small_tokenizer: Tokenizer) -> None:
    questions = [ChoiceQuestion(str(i), f"Question: {i}?\nAnswer:", (" 4", " it is"), 0) for i in range(40)]
    (expected, found) = (
        choose(model, small_tokenizer, questions, "x", None)
        for model in (small_model, copy.deepcopy(small_model).cuda())
    )
    for one, other in zip(found, expected, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-3)
