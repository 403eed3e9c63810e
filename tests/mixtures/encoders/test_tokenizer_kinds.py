"""The four kinds of tokenizer files: told apart by what is in them, read exactly, or refused with the reason."""

import base64
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.encoders import tiktoken_files, vocabulary
from midtrain.mixtures.encoders.json_byte_pairs import GPT2
from midtrain.mixtures.encoders.sentencepiece_files import SPACE, Prefixed
from midtrain.mixtures.encoders.tokenizer_kinds import FILE_NAMES, kind_of
from midtrain.mixtures.encoders.vocabulary import MOST_WORDS
from midtrain.mixtures.tokenizer_identity import SETTINGS, Identity, file_hash
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer

BYTES = [bytes([byte]) for byte in range(256)]
WORDS = [*BYTES, b"th", b"the", b" t", b" the", "é".encode(), "日本".encode()]
NAMED = {"pattern": GPT2, "special_tokens": {"<|endoftext|>": 300, "<|pad|>": 301}}
TEXTS = ["the cat, the hat", "", "  the\n\n the", "é日本語 <|endoftext|> </s> [INST]", "\0\x7f\u2581\u2581x"]


def ranks_file(path: Path, words=WORDS) -> Path:
    path.write_bytes(b"".join(base64.b64encode(word) + f" {rank}\n".encode() for rank, word in enumerate(words)))
    return path


def tekken_file(path: Path, **changed) -> Path:
    config = {
        "pattern": GPT2,
        "num_vocab_tokens": len(WORDS),
        "default_vocab_size": len(WORDS) + 20,
        "default_num_special_tokens": 20,
        "version": "v3",
    }
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
        for rank, word in enumerate(WORDS)
    ]
    path.write_text(json.dumps({"config": {**config, **changed.pop("config", {})}, "vocab": vocabulary, **changed}))
    return path


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float = 0.0, kind: int = 1) -> bytes:
    return field(1, field(1, text.encode()) + field(2, score) + field(3, kind))


def sentencepiece_file(path: Path, pieces=(), algorithm=2, normalizer=b"", trainer=b"") -> Path:
    start = piece("<unk>", kind=2) + piece("<s>", kind=3) + piece("</s>", kind=3)
    fallback = b"".join(piece(f"<0x{byte:02X}>", kind=6) for byte in range(256))
    words = [(SPACE + "t", -1), ("he", -2), (SPACE + "the", -3), *[(c, -9 - i) for i, c in enumerate(SPACE + "thea日")]]
    made = b"".join(piece(text, float(score)) for text, score in (*words, *pieces))
    rest = field(2, field(3, algorithm) + field(35, 1) + trainer) + field(3, field(4, 0) + normalizer)
    path.write_bytes(start + fallback + made + rest)
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, tuple[Path, dict]]:
    trained = tmp_path / "trained" / "t.json"
    trained.parent.mkdir()
    train(["the cat and the hat " * 9], 300, "<|endoftext|>", trained)
    return {
        "tokenizer.json": (trained, {}),
        "tiktoken": (ranks_file(tmp_path / "a.txt"), NAMED),
        "tekken": (tekken_file(tmp_path / "b.json"), {}),
        "sentencepiece": (sentencepiece_file(tmp_path / "c.bin"), {}),
    }


@pytest.mark.parametrize("kind", FILE_NAMES)
def test_a_kind_is_known_by_what_is_in_the_file(files, kind, tmp_path):
    path, named = files[kind]
    assert kind_of(path.read_bytes(), str(path)) == kind
    tokenizer = Tokenizer.open(path, **named)
    assert tokenizer.kind == kind
    written = tokenizer.write(tmp_path / "built")
    assert written.name == FILE_NAMES[kind]
    for again in (Tokenizer.open(written), Tokenizer.open(written.parent), pickle.loads(pickle.dumps(tokenizer))):
        assert (again.hash, again.special, again.end_of_document) == (
            tokenizer.hash,
            tokenizer.special,
            tokenizer.end_of_document,
        )
        assert again.encode_texts(TEXTS).ids.tolist() == tokenizer.encode_texts(TEXTS).ids.tolist()
    assert file_hash(written) == tokenizer.hash
    Identity.read(Identity.of(tokenizer).record(), "here").check(tokenizer)


@pytest.mark.parametrize("kind", FILE_NAMES)
def test_texts_come_back_and_forge_nothing(files, kind):
    path, named = files[kind]
    tokenizer = Tokenizer.open(path, **named)
    tokens = tokenizer.encode_texts(TEXTS)
    special = set(tokenizer.special.values())
    for text, ids in zip(TEXTS, np.split(tokens.ids, tokens.ends.astype(np.int64)), strict=False):
        assert ids[-1] == tokenizer.end_of_document
        assert not special & set(ids[:-1].tolist())
        assert tokenizer.decode(ids[:-1]) == (text.replace(SPACE, " ") if kind == "sentencepiece" else text)
        assert tokenizer.decode(ids).endswith(tokenizer.end_of_document_text)
    assert tokens.trained_bytes.tolist() == [len(text.encode()) for text in TEXTS]


@pytest.mark.parametrize("kind", FILE_NAMES)
def test_a_column_has_the_ids_of_its_texts(files, kind):
    path, named = files[kind]
    tokenizer = Tokenizer.open(path, **named)
    column = pa.chunked_array([TEXTS + TEXTS]).combine_chunks()
    for values in (column, column.cast(pa.large_string()), column.slice(2, 6)):
        texts = values.to_pylist()
        names = list(map(str, range(len(texts))))
        expected, found = tokenizer.encode_texts(texts), tokenizer.encode_column(values, names)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.ends.tolist() == expected.ends.tolist()
        assert found.trained_bytes.tolist() == expected.trained_bytes.tolist()
        assert found.loss.all()
    assert len(tokenizer.encode_column(pa.array([], pa.string()), []).ids) == 0
    with pytest.raises(RunError, match="without text") as caught:
        tokenizer.encode_column(pa.array(["a", None]), ["x", "y"])
    assert caught.value.where == "document y"
    broken = pa.array([b"fine", b"a\xff"]).view(pa.string())
    with pytest.raises(RunError, match="not valid Unicode") as caught:
        tokenizer.encode_column(broken, ["x", "y"])
    assert caught.value.where == "document y"
    assert "ff at byte 1" in caught.value.seen


def test_ranks_alone_are_never_enough(tmp_path):
    path = ranks_file(tmp_path / "x.tiktoken")
    for named, missing in (({}, "pattern and special_tokens"), ({"pattern": GPT2}, "its special_tokens must")):
        with pytest.raises(ConfigError, match=missing) as caught:
            Tokenizer.open(path, **named)
        assert "cl100k_base" in caught.value.expected


def test_published_encodings_are_found_by_their_hash(tmp_path, monkeypatch):
    path = ranks_file(tmp_path / "renamed")
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {digest: tiktoken_files.Encoding(GPT2, {"<|endoftext|>": 777})}
    monkeypatch.setattr(tiktoken_files, "KNOWN", known)
    assert Tokenizer.open(path).end_of_document == 777
    assert Tokenizer.open(path).vocab_size == 778
    assert Tokenizer.open(path).dtype == np.uint16
    assert Tokenizer.open(path, **NAMED).end_of_document == 300  # what is named counts


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({"pattern": r"\w+"}, "cannot be used exactly"),
        ({"pattern": r"\p{L}+|\s+"}, "leaves out some text"),
        ({"pattern": "("}, "cannot be used exactly"),
        ({"special_tokens": {}}, "no token is known to end"),
        ({"special_tokens": {"<|endoftext|>": 5}}, "ids of their own"),
        ({"special_tokens": {"<|endoftext|>": 300, "<|pad|>": 300}}, "ids of their own"),
        ({"end_of_document": "<|stop|>"}, "no end-of-document token"),
    ],
)
def test_what_is_named_for_ranks_must_fit(tmp_path, named, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Tokenizer.open(ranks_file(tmp_path / "x"), **{**NAMED, **named})


@pytest.mark.parametrize(
    ("words", "complaint"),
    [(WORDS[1:], "bytes without a rank"), ([*WORDS, b"th"], "stands twice"), ([*WORDS, b""], "is empty")],
)
def test_damaged_ranks_are_refused(tmp_path, words, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Tokenizer.open(ranks_file(tmp_path / "x", words), **NAMED)


def test_a_line_that_is_no_rank_is_named(tmp_path):
    path = ranks_file(tmp_path / "x")
    path.write_bytes(path.read_bytes() + b"th*s 900\n")
    with pytest.raises(ConfigError, match="not a line") as caught:
        Tokenizer.open(path, **NAMED)
    assert caught.value.where == f"{path}:{len(WORDS) + 1}"


def test_settings_are_part_of_the_hash_and_only_for_ranks(files, tmp_path):
    path, named = files["tiktoken"]
    other = {**named, "special_tokens": {**named["special_tokens"], "<|x|>": 302}}
    assert Tokenizer.open(path, **named).hash != Tokenizer.open(path, **other).hash
    with pytest.raises(ConfigError, match="the others hold their own"):
        Tokenizer.open(files["tekken"][0], **named)
    written = Tokenizer.open(path, **named).write(tmp_path / "w")
    written.with_name(written.name + SETTINGS).write_bytes(b"[1]")
    with pytest.raises(ConfigError, match="not the settings"):
        Tokenizer.open(written)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (b"[1]", "not the settings"),
        (b"{", "not the settings"),
        (b'{"pattern": 5}', "not the settings"),
        (b'{"patern": "a"}', "not the settings"),
        (b'{"special_tokens": [1]}', "no mapping"),
        (b'{"special_tokens": {"": 300}}', "without a spelling or an id"),
        (b'{"special_tokens": {"<|endoftext|>": "300"}}', "without a spelling or an id"),
        (b'{"special_tokens": {"<|endoftext|>": true}}', "without a spelling or an id"),
        (b'{"special_tokens": {"<|endoftext|>": 300.5}}', "without a spelling or an id"),
        (b'{"special_tokens": {"<|endoftext|>": -1}}', "without a spelling or an id"),
        (b'{"special_tokens": {"<|endoftext|>": 4000000000}}', "larger than any"),
    ],
)
def test_settings_of_a_wrong_shape_are_named(tmp_path, settings, complaint):
    path = ranks_file(tmp_path / "x.tiktoken")
    beside = path.with_name(path.name + SETTINGS)
    beside.write_bytes(settings)
    with pytest.raises(ConfigError, match=complaint) as caught:
        Tokenizer.open(path)
    assert caught.value.where == str(beside)
    assert caught.value.expected


@pytest.mark.parametrize("number", [MOST_WORDS, 4_000_000_000, 10**12, 1 << 70])
def test_an_id_that_no_table_can_hold_is_refused_whatever_the_file(tmp_path, number):
    words = {**NAMED, "special_tokens": {"<|endoftext|>": number}}
    ranks = ranks_file(tmp_path / "ranks")
    high = tmp_path / "high"
    high.write_bytes(ranks.read_bytes() + base64.b64encode(b"zzz") + f" {number}\n".encode())
    tekken = tekken_file(tmp_path / "b.json", config={"default_vocab_size": number + 1})
    reserved = tekken_file(tmp_path / "c.json", config={"default_num_special_tokens": number + 1})
    for path, named in ((ranks, words), (high, NAMED), (tekken, {}), (reserved, {})):
        with pytest.raises(ConfigError) as caught:
            Tokenizer.open(path, **named)
        assert caught.value.where == str(path)
        assert caught.value.what.startswith(("the vocabulary would be larger", "not a tekken.json: ValueError"))
    largest = {**NAMED, "special_tokens": {"<|endoftext|>": MOST_WORDS - 1}}
    assert Tokenizer.open(ranks, **largest).vocab_size == MOST_WORDS


def test_the_bound_is_held_for_pieces_and_for_the_vocabulary_of_a_json_too(files, monkeypatch):
    for kind, (path, named) in files.items():
        size = Tokenizer.open(path, **named).vocab_size
        monkeypatch.setattr(vocabulary, "MOST_WORDS", size)
        assert Tokenizer.open(path, **named).vocab_size == size, kind
        monkeypatch.setattr(vocabulary, "MOST_WORDS", size - 1)
        with pytest.raises(ConfigError, match="larger than any") as caught:
            Tokenizer.open(path, **named)
        monkeypatch.undo()
        assert caught.value.where == str(path)
        assert f"{size:,}" in caught.value.seen


def test_tekken_counts_special_tokens_first(tmp_path):
    tokenizer = Tokenizer.open(tekken_file(tmp_path / "t.json"))
    assert (tokenizer.end_of_document_text, tokenizer.end_of_document) == ("</s>", 2)
    assert tokenizer.special["[INST]"] == 3
    assert tokenizer.encode_texts(["the"]).ids.tolist() == [20 + WORDS.index(b"the"), 2]
    named = [{"rank": 0, "token_str": "<eos>", "is_control": True}, {"rank": 1, "token_str": "<a>", "is_control": True}]
    newer = Tokenizer.open(tekken_file(tmp_path / "n.json", special_tokens=named, config={"version": "v13"}))
    assert (newer.end_of_document, newer.special["<SPECIAL_19>"]) == (0, 19)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"config": {"version": "v11"}}, "must name its special tokens"),
        ({"config": {"default_vocab_size": 900}}, "count from 0"),
        ({"config": {"pattern": r"\p{L}+"}}, "leaves out"),
        ({"config": {"default_num_special_tokens": None}}, "not a tekken.json"),
        ({"special_tokens": [{"rank": 1, "token_str": "</s>"}]}, "ranks do not count"),
        ({"special_tokens": [{"rank": 0, "token_str": "a"}, {"rank": 1, "token_str": "a"}]}, "stand twice"),
        ({"special_tokens": [{"rank": 0}]}, "without rank or token_str"),
        ({"special_tokens": [{"token_str": "a"}]}, "without rank or token_str"),
        ({"special_tokens": [{"rank": 0, "token_str": 5}]}, "without rank or token_str"),
        ({"special_tokens": [5]}, "without rank or token_str"),
        ({"special_tokens": 5}, "without rank or token_str"),
        ({"special_tokens": {"rank": 0, "token_str": "a"}}, "ranks do not count"),
        ({"special_tokens": [{"rank": 0, "token_str": ""}]}, "without a spelling"),
        ({"config": {"default_num_special_tokens": -5}}, "not a tekken.json"),
        ({"config": {"default_vocab_size": 20.5}}, "not a tekken.json"),
        ({"vocab": 5}, "not a tekken.json"),
    ],
)
def test_a_tekken_that_does_not_fit_is_refused(tmp_path, changed, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Tokenizer.open(tekken_file(tmp_path / "t.json", **changed))


def test_a_sentencepiece_model_begins_texts_with_its_space(tmp_path):
    tokenizer = Tokenizer.open(sentencepiece_file(tmp_path / "m"))
    the, end = 3 + 256 + 2, 2
    assert tokenizer.encode_texts(["the", " the", ""]).ids.tolist()[:2] == [the, end]
    assert tokenizer.decode(tokenizer.encode_texts(["the"]).ids[:-1]) == "the"
    assert tokenizer.encode_texts(["☃"]).ids.tolist()[1:] == [3 + byte for byte in "☃".encode()] + [end]
    with pytest.raises(ConfigError, match="lacks <\\|im_start"):
        tokenizer.check("chatml")
    plain = Tokenizer.open(sentencepiece_file(tmp_path / "n", normalizer=field(3, 0)))
    assert not isinstance(plain._encoder, Prefixed)
    assert plain.decode(plain.encode_texts([" the"]).ids[:-1]) == " the"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"algorithm": 1}, "an algorithm that is not BPE"),
        ({"normalizer": field(4, 1)}, "a normalization"),
        ({"normalizer": field(2, b"map")}, "a normalization"),
        ({"trainer": field(24, 1)}, "spaces as suffixes"),
        ({"trainer": field(35, 0)}, "no byte fallback"),
        ({"pieces": [("xy", -50.0)]}, "characters that are no pieces"),
    ],
)
def test_a_model_for_the_package_says_what_to_install(tmp_path, monkeypatch, changed, reason):
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match=reason) as caught:
        Tokenizer.open(sentencepiece_file(tmp_path / "m", **changed))
    assert caught.value.fix == "pip install 'midtrain[sentencepiece]'"


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\n\x05abc", b"\n", b"\x00\x01"]
)
def test_a_file_of_no_kind_is_a_config_error(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        Tokenizer.open(path)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(path)
