"""Texts that go on from others: nothing of theirs is lost, whatever the tokenizer does to the beginning of a text."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain.mixtures.tokenizers import Tokenizer
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tests.sentencepiece_model import sentencepiece_file

CORPUS = ["def double(x):\n    return 2 * x\n", "the cat and the hat", "é 日本 the  hat\n\n"] * 20
TEXTS = ["the cat and", "def double(x):\n    return 2 * x\n", "  the  hat", "日本 é 🙂 hat", " ", "cat</s> and"]
TEXT = st.lists(st.sampled_from([" ", "the", "cat", "\n", "é", "🙂", "    return", "x"]), max_size=8).map("".join)
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def json_file(folder: Path, metaspace: bool = False) -> Path:
    """The same as transformers writes it: the first space is put there, and stripped, by parts of the pipeline."""
    model = sentencepiece_file(folder, CORPUS)
    pieces = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_proto=model.read_bytes())
    words = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    library = Library(models.BPE(words, _merges(words), unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    library.add_special_tokens(["<unk>", "<s>", "</s>"])
    if metaspace:
        library.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
        library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first", split=False)])
    else:
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        stripped = [decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        library.decoder = decoders.Sequence([decoders.Replace("▁", " "), *stripped])
    return _saved(library, folder)


def _merges(words: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a word of two."""
    plain = [word for word in words if not word.startswith("<")]
    return [
        (word[:at], word[at:])
        for word in plain
        for at in range(1, len(word))
        if word[:at] in words and word[at:] in words
    ]


def word_file(folder: Path) -> Path:
    words = ["[UNK]", "the", "cat", "##s", "and", "hat", ","]
    library = Library(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece("##", cleanup=True)
    library.add_special_tokens(["</s>"])
    return _saved(library, folder)


def _saved(library: Library, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(library.to_str())
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "sentencepiece": lambda folder: sentencepiece_file(folder, CORPUS),
    "sentencepiece without": lambda folder: sentencepiece_file(folder, CORPUS, prefix=False),
    "tokenizer.json": json_file,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.open(KINDS[request.param](tmp_path_factory.mktemp("made")), "</s>")


def published(name: str) -> Tokenizer:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of tokenizers")
    return Tokenizer.open(next((Path(os.environ["MIDTRAIN_DATA"]) / "tokenizers").glob(f"{name}*")))


def check_every_cut(tokenizer: Tokenizer, text: str) -> None:
    """A text is what its first ids decode to and what goes on from them, wherever no character is cut."""
    ids = tokenizer.encode_texts([text]).ids[:-1].tolist()
    whole = tokenizer.decode(ids)
    assert whole == text
    for at in range(1, len(ids) + 1):
        if at == len(ids) or not tokenizer.inside_characters[ids[at]]:
            before, behind = ids[:at], ids[at:]
            assert tokenizer.decode(before) + tokenizer.decode(behind, continued=True) == whole
            assert tokenizer.decode(behind, skip_special=True, continued=True) == tokenizer.decode(
                behind, continued=True
            )


@pytest.mark.parametrize("text", TEXTS)
def test_what_goes_on_keeps_its_first_space(tokenizer: Tokenizer, text: str) -> None:
    check_every_cut(tokenizer, text)


def test_a_decoder_that_strips_all_spaces_goes_on_too(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(json_file(tmp_path, metaspace=True), "</s>")
    for text in map(str.lstrip, TEXTS):
        check_every_cut(tokenizer, text)


@quick
@given(TEXT)
def test_any_text_can_be_cut_at_any_token(tokenizer: Tokenizer, text: str) -> None:
    check_every_cut(tokenizer, text)


@pytest.mark.parametrize("name", ["mistral_v1", "gpt2", "qwen1_2.5", "deepseek_v4", "cl100k_base", "tekken"])
def test_published_tokenizers_go_on(name: str) -> None:
    tokenizer = published(name)
    for text in TEXTS:
        check_every_cut(tokenizer, text)


def test_a_space_that_stands_first_is_lost_where_a_text_begins_alone(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(sentencepiece_file(tmp_path, CORPUS), "</s>")
    behind = tokenizer.encode_texts(["the cat and"]).ids[:-1].tolist()[-1:]
    assert (tokenizer.decode(behind), tokenizer.decode(behind, continued=True)) == ("and", " and")


def test_special_tokens_are_spelled_or_left_out(tokenizer: Tokenizer) -> None:
    cat = tokenizer.encode_texts(["the cat"]).ids[:-1].tolist()
    ids = [*cat, tokenizer.end_of_document, *cat]
    assert tokenizer.decode(ids, continued=True).count("</s>") == 1
    assert tokenizer.decode([tokenizer.end_of_document], continued=True) == "</s>"
    assert "</s>" not in tokenizer.decode(ids, skip_special=True, continued=True)
    assert tokenizer.decode([], continued=True) == ""


def test_behind_an_id_without_a_word_a_text_goes_on(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_texts(["the cat"]).ids[:-1].tolist()
    last = tokenizer.decode(ids[1:], continued=True)
    assert tokenizer.decode([ids[0], 10**6, *ids[1:]]) == tokenizer.decode(ids[:1]) + "\ufffd" + last


def test_words_go_on_behind_a_space(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(word_file(tmp_path), "</s>")
    ids = tokenizer.encode_texts(["the cats, and"]).ids[:-1].tolist()
    assert (tokenizer.decode(ids[1:]), tokenizer.decode(ids[1:], continued=True)) == ("cats, and", " cats, and")
