"""Packing of the real reasoning sets at 4,096: under 1 % of padding, and not a token lost where nothing is dropped."""

import gzip
import os
from pathlib import Path

import numpy as np
import orjson
import pytest
from midtrain.mixtures import tokenizer_training
from midtrain.mixtures.packs.packing import document_spans, pack_whole
from tokenizers import Tokenizer

LENGTH = 4096
SETS = ("r1_distill_long_think", "gsm8k_train", "math_qwen15b_rollouts")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ, reason="MIDTRAIN_DATA names no corpora"),
]


@pytest.fixture(scope="module")
def texts():
    found = {}
    for name in SETS:
        with gzip.open(Path(os.environ["MIDTRAIN_DATA"]) / f"cot/{name}.jsonl.gz") as lines:
            found[name] = [orjson.loads(line)["text"] for line in lines]
    return found


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    """A byte-level BPE of 8,192 words, trained on the sets."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer_training.train((text for name in SETS for text in texts[name]), 8192, "<|end|>", path)
    return path


@pytest.mark.parametrize("tokenizer", ["trained", "gpt2", "qwen1_2.5", "deepseek_v4"])
def test_reasoning_is_padded_by_less_than_a_hundredth(texts, trained, tokenizer):
    folder = Path(os.environ["MIDTRAIN_DATA"]) / "tokenizers"
    library = Tokenizer.from_file(str(trained if tokenizer == "trained" else folder / f"{tokenizer}.tokenizer.json"))
    for name in SETS:
        encoded = library.encode_batch_fast(texts[name], add_special_tokens=False)
        lengths = np.array([len(one.ids) + 1 for one in encoded])
        for sequence_length, too_long in ((LENGTH, "error"), (512, "split"), (512, "drop")):
            packed = pack_whole(
                document_spans(0, np.cumsum(lengths).astype(np.uint64)), sequence_length, too_long, name
            )
            padding = 1 - packed.tokens / (packed.sequences.size * sequence_length)
            lost = packed.dropped_tokens / lengths.sum()
            print(tokenizer, name, sequence_length, too_long, f"padding {padding:.3%}, lost {lost:.1%}")
            assert packed.tokens + packed.dropped_tokens == lengths.sum()
            if sequence_length == LENGTH:
                assert padding < 0.01
                assert packed.dropped_tokens == 0
            if too_long == "split":
                assert packed.cut_documents == np.count_nonzero(lengths > 512)
                assert packed.dropped_tokens == 0
            elif sequence_length == 512:
                assert packed.dropped_tokens == lengths[lengths > 512].sum()
