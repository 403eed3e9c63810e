"""Ids of all real corpora, held to each tokenizer's own library: the same for every document.

The libraries take half an hour for all tokenizers and documents, so the slow test takes every 48th document, from
another first one for each tokenizer, unless the whole is asked for.
"""

import gzip
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
import zstandard
from midtrain.mixtures.encoders import byte_pairs
from midtrain.mixtures.encoders.encoder import LibraryEncoder
from midtrain.mixtures.encoders.sentencepiece_files import Prefixed, SentencePieceEncoder
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer

from tests.sizes import sized

Encode = Callable[[list[str]], list[list[int]]]
KINDS = ["gpt2", "qwen1_2.5", "deepseek_v4", "cl100k_base", "tekken_240911", "mistral_v1", "trained"]
FOLDERS = ("text", "cot", "multilingual", "eval")
BATCH_BYTES = 2_000_000
STRIDE = sized(1, 48)


def corpora() -> list[Path]:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora and tokenizers")
    root = Path(os.environ["MIDTRAIN_DATA"])
    return sorted(path for folder in FOLDERS for path in (root / folder).iterdir() if ".jsonl" in path.suffixes)


def texts_of(path: Path, chosen: slice) -> Iterator[str]:
    """The chosen texts of a file; no other line is parsed."""
    opener = {".gz": gzip.open, ".zst": zstandard.open}[path.suffix]
    with opener(path, "rb") as stream, io.BufferedReader(stream, 1 << 20) as lines:
        for line in itertools.islice(lines, chosen.start, chosen.stop, chosen.step):
            yield orjson.loads(line)["text"]


def file_of(name: str) -> Path:
    return next((Path(os.environ["MIDTRAIN_DATA"]) / "tokenizers").glob(f"{name}.*"))


def own_library(tokenizer: Tokenizer) -> Encode:
    """The library that the file was made for, which may not read control tokens from text."""
    if tokenizer.kind == "tokenizer.json":
        library = pytest.importorskip("tokenizers")
        contents = json.loads(Path(tokenizer.path).read_text())
        for token in contents["added_tokens"]:
            token["special"] = token["content"] in tokenizer.special
        theirs = library.Tokenizer.from_str(json.dumps(contents))
        theirs.encode_special_tokens = True
        return lambda texts: [one.ids for one in theirs.encode_batch_fast(texts, add_special_tokens=False)]
    if tokenizer.kind == "tiktoken":
        return tiktoken_encoding(Path(tokenizer.path))
    if tokenizer.kind == "tekken":
        tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
        mistral = tekken.Tekkenizer.from_file(tokenizer.path)
        return lambda texts: [mistral.encode(text, bos=False, eos=False) for text in texts]
    pieces = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=tokenizer.path)
    return lambda texts: pieces.encode(texts, num_threads=1)


def tiktoken_encoding(path: Path) -> Encode:
    """The published encoding of a file, with its ranks read from there and not from the network."""
    tiktoken = pytest.importorskip("tiktoken")
    published = pytest.importorskip("tiktoken_ext.openai_public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            published, "load_tiktoken_bpe", lambda *_, **__: tiktoken.load.load_tiktoken_bpe(str(path.resolve()))
        )
        encoding = tiktoken.Encoding(**published.ENCODING_CONSTRUCTORS[path.stem]())
    return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=1)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    files = corpora()
    if request.param != "trained":
        return Tokenizer.open(file_of(request.param))
    texts = (text for path in files for text in texts_of(path, slice(100)))
    return train(texts, 8192, "<|end|>", tmp_path_factory.mktemp("trained") / "tokenizer.json", 8_000_000)


def batches(files: Sequence[Path], chosen: slice) -> Iterator[list[str]]:
    """The chosen texts of each file, about BATCH_BYTES of them at a time."""
    batch: list[str] = []
    size = 0
    for path in files:
        for text in texts_of(path, chosen):
            batch.append(text)
            size += len(text)
            if size > BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def compare(tokenizer: Tokenizer, files: Sequence[Path], chosen: slice) -> int:
    """Compares all ids of the chosen documents of each file, and returns their number."""
    library = own_library(tokenizer)
    documents = 0
    for texts in batches(files, chosen):
        column = pa.array(texts, pa.large_string())
        ours = tokenizer.encode_column(column, [""] * len(texts))
        theirs = library(texts)
        lists = np.split(ours.ids, ours.ends.astype(np.int64)[:-1])
        for text, mine, their in zip(texts, lists, theirs, strict=True):
            assert mine[-1] == tokenizer.end_of_document
            assert mine[:-1].tolist() == their, text[:200]
        assert ours.trained_bytes.sum() == sum(len(text.encode()) for text in texts)
        documents += len(texts)
    return documents


def test_a_sample_of_all_corpora_has_the_ids_of_the_library(tokenizer):
    assert compare(tokenizer, corpora(), slice(30)) > 600


LARGE = ("web_small.jsonl.gz", "github_docs.jsonl.zst")


@pytest.mark.slow
@pytest.mark.parametrize(("large", "documents"), [(LARGE[0], 24_070), (LARGE[1], 46_645), (None, 50_000)])
def test_all_corpora_have_the_ids_of_the_library(request, tokenizer, large, documents):
    files = [path for path in corpora() if (path.name == large if large else path.name not in LARGE)]
    first = KINDS.index(request.node.callspec.params["tokenizer"]) * STRIDE // len(KINDS)
    assert compare(tokenizer, files, slice(first, None, STRIDE)) >= documents // STRIDE


def test_none_of_them_is_left_to_the_library(tokenizer):
    encoder = getattr(tokenizer._encoder, "_encoder", getattr(tokenizer._encoder, "_ours", tokenizer._encoder))
    assert isinstance(encoder, byte_pairs.BytePairs)
    assert not isinstance(tokenizer._encoder, LibraryEncoder)


@pytest.mark.parametrize("version", ["240216.model.v2", "240323.model.v3", "241114.model.v7"])
def test_models_with_pieces_of_the_user_are_left_to_their_package_and_others_are_not(version):
    package = pytest.importorskip("mistral_common")
    path = Path(package.__file__).parent / "data" / f"mistral_instruct_tokenizer_{version}"
    tokenizer = Tokenizer.open(path)
    assert isinstance(tokenizer._encoder, Prefixed if version.endswith("v2") else SentencePieceEncoder)
    assert compare(tokenizer, corpora(), slice(3)) > 60
