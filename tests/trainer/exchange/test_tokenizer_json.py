"""Tokenizers of all kinds as a tokenizer.json: AutoTokenizer gives our ids, and a wrong one is found."""

import base64
import gzip
import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.encoders.json_byte_pairs import GPT2
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.exchange import tokenizer_json

WORDS = [*(bytes([byte]) for byte in range(256)), b"th", b"the", b" t", b" the", "é".encode(), "日本".encode()]
SPECIAL = {"<|endoftext|>": 300, "<|im_end|>": 301}


def ranks(path: Path) -> Tokenizer:
    path.write_bytes(b"".join(base64.b64encode(word) + f" {rank}\n".encode() for rank, word in enumerate(WORDS)))
    return Tokenizer.open(path, pattern=GPT2, special_tokens=SPECIAL)


def tekken(path: Path) -> Tokenizer:
    sizes = {"default_vocab_size": len(WORDS) + 20, "default_num_special_tokens": 20, "version": "v3"}
    words = [{"rank": rank, "token_bytes": base64.b64encode(word).decode()} for rank, word in enumerate(WORDS)]
    path.write_text(json.dumps({"config": {"pattern": GPT2, **sizes}, "vocab": words}))
    return Tokenizer.open(path)


def trained(path: Path) -> Tokenizer:
    return train(["the cat and the hat", "the river, the stone 123"], 400, "<|endoftext|>", path)


def with_beginning(path: Path) -> Tokenizer:
    """A file that puts a token in front of every text, cuts texts, and calls a control token ordinary."""
    body = orjson.loads(Path(trained(path).path).read_bytes())
    first = body["added_tokens"][0]
    name, number = first["content"], first["id"]
    body["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]}},
    }
    body["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    first["special"] = False
    path.write_bytes(orjson.dumps(body))
    return Tokenizer.open(path, name)


@pytest.mark.parametrize("make", [ranks, tekken, trained, with_beginning])
def test_auto_tokenizer_gives_our_ids(make: Callable[[Path], Tokenizer], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = make(tmp_path / "file")
    data = tokenizer_json.contents(tokenizer)
    assert tokenizer_json.check(data, tokenizer, ["the cat, the hat " * 20]) == len(tokenizer_json.STRESS) + 1
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(data)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    found = transformers.AutoTokenizer.from_pretrained(folder)
    for text in tokenizer_json.STRESS:
        assert found(text)["input_ids"] == tokenizer.encode_texts([text]).ids[:-1].tolist(), text
        assert found.decode(found(text)["input_ids"], clean_up_tokenization_spaces=False) == text
    for token, number in tokenizer.special.items():
        assert found.convert_tokens_to_ids(token) == number
        assert found(token)["input_ids"] == [number]


def test_a_file_that_needs_no_change_is_given_as_it_is(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "tokenizer.json")
    assert tokenizer_json.contents(tokenizer) == (tmp_path / "tokenizer.json").read_bytes()


def test_other_ids_are_found(tmp_path: Path) -> None:
    tokenizer = ranks(tmp_path / "file")
    body = orjson.loads(tokenizer_json.contents(tokenizer))
    body["model"]["merges"].reverse()
    body["model"]["ignore_merges"] = False
    body["model"]["merges"] = body["model"]["merges"][:1]
    with pytest.raises(RunError, match="other ids in transformers"):
        tokenizer_json.check(orjson.dumps(body), tokenizer, ["the the"])


def test_pieces_that_are_no_byte_pairs_are_refused(tmp_path: Path) -> None:
    pieces = pytest.importorskip("sentencepiece")
    text = tmp_path / "text"
    text.write_text("the cat and the hat\nthe river and the stone\n" * 20)
    pieces.SentencePieceTrainer.train(input=str(text), model_prefix=str(tmp_path / "m"), vocab_size=18, minloglevel=2)
    tokenizer = Tokenizer.open(tmp_path / "m.model")
    with pytest.raises(ConfigError, match=r"cannot be written as a .*: it has an algorithm that is not BPE"):
        tokenizer_json.contents(tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cl100k_base", "deepseek_v4", "gpt2", "mistral_v1", "qwen1_2", "tekken_240911"])
def test_published_tokenizers_give_our_ids_on_real_text(name: str) -> None:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora and tokenizers")
    data = Path(os.environ["MIDTRAIN_DATA"])
    tokenizer = Tokenizer.open(next((data / "tokenizers").glob(f"{name}*")))
    texts: list[str] = []
    for path in (*sorted((data / "multilingual").iterdir()), *sorted((data / "cot").iterdir())[:4]):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [row["text"] for line in islice(lines, 40) if "text" in (row := _row(line))]
    assert len(texts) > 50
    assert tokenizer_json.check(tokenizer_json.contents(tokenizer), tokenizer, texts) > 50


def _row(line: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(line)
    return found
