"""Tokenizers of our own: sizes, special tokens, what is read of the texts, and that training repeats to the byte."""

import os
import subprocess
import sys

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.templates import open_template
from midtrain.mixtures.tokenizer_training import needed_tokens, train
from midtrain.mixtures.tokenizers import Tokenizer

from tests.mixtures.templates.published import DATA, PUBLISHED, opened

END = "<|endoftext|>"
CORPUS = ["The quick brown fox jumps over the lazy dog. The dog sleeps; the fox thinks and thinks.\n\n" * 3]
OWN = """<s>{% for message in messages %}<start_of_turn>{{ message.role }}
{{ message.content }}<end_of_turn>
{% endfor %}"""


@pytest.mark.parametrize("vocab_size", [0, 256, 260])
def test_a_vocabulary_too_small_for_all_bytes_is_refused(tmp_path, vocab_size):
    with pytest.raises(ConfigError, match="at least 261"):
        train(CORPUS, vocab_size, END, tmp_path / "t.json")
    assert not list(tmp_path.iterdir())
    assert train(CORPUS, 261, END, tmp_path / "t.json").vocab_size == 261


@pytest.mark.parametrize("end", ["", "<|im_end|>", "<think>"])
def test_the_end_of_document_is_a_token_of_its_own(tmp_path, end):
    with pytest.raises(ConfigError, match="a token of its own"):
        train(CORPUS, 300, end, tmp_path / "t.json")


def test_training_needs_text_that_is_unicode(tmp_path):
    with pytest.raises(RunError, match="no text to train"):
        train(["", ""], 300, END, tmp_path / "t.json")
    with pytest.raises(RunError, match="text 1: the text is not valid Unicode"):
        train(["fine", "\udfff"], 300, END, tmp_path / "t.json")
    assert not list(tmp_path.iterdir())


def test_training_reads_the_first_bytes_only_and_cuts_at_a_character(tmp_path):
    def texts():
        yield "ab ab ab "
        yield "éé éé éé and the rest"
        raise AssertionError("read on behind the limit")

    cut = train(texts(), 300, END, tmp_path / "cut.json", limit_bytes=9 + 13)  # within the sixth é
    same = train(["ab ab ab ", "éé éé é"], 300, END, tmp_path / "same.json")
    whole = train(["ab ab ab ", "éé éé éé"], 300, END, tmp_path / "whole.json")
    assert cut.hash == same.hash != whole.hash
    train(texts(), 300, END, tmp_path / "exact.json", limit_bytes=9 + len("éé éé éé and the rest".encode()))


def test_training_repeats_to_the_byte_whatever_the_threads(tmp_path):
    script = (
        "import pathlib, random, sys\n"
        "from midtrain.mixtures.tokenizer_training import train\n"
        "r = random.Random(1)\n"
        "words = [''.join(r.choices('abcdefgé日', k=r.randint(1, 9))) for _ in range(2000)]\n"
        "texts = [' '.join(r.choices(words, k=50)) for _ in range(600)]\n"
        "train(texts, 1500, '<|end|>', pathlib.Path(sys.argv[1]))\n"
    )
    files = []
    for name, parallel in (("a", "false"), ("b", "true"), ("c", "true")):
        files.append(tmp_path / f"{name}.json")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": parallel, "RAYON_NUM_THREADS": "2"}
        subprocess.run([sys.executable, "-c", script, str(files[-1])], env=environment, check=True, timeout=500)
    assert len({file.read_bytes() for file in files}) == 1
    assert Tokenizer.open(files[0]).vocab_size == 1500


def test_templates_of_ones_own_have_their_tokens_in_it(tmp_path):
    (tmp_path / "own.jinja").write_text(OWN)
    template = open_template(str(tmp_path / "own.jinja"))
    needed = needed_tokens(template)
    assert {"<start_of_turn>", "<end_of_turn>"} <= set(needed)
    with pytest.raises(ConfigError, match="lacks"):
        train(CORPUS, 300, END, tmp_path / "without.json").check(template)
    trained = train(CORPUS, 300, END, tmp_path / "with.json", needed=needed)
    trained.check(template)
    assert len(trained.encode_texts(["<end_of_turn>"]).ids) > 2  # in a text it is characters
    with pytest.raises(ConfigError, match=f"at least {261 + len(needed)}"):
        train(CORPUS, 261, END, tmp_path / "small.json", needed=needed)


def test_built_in_templates_need_nothing_more():
    assert [needed_tokens(open_template(name)) for name in ("chatml", "zaya", "plain")] == [(), (), ()]


@pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ or not DATA.is_dir(), reason="needs MIDTRAIN_DATA's templates")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_fits_the_tokenizer_trained_for_it(tmp_path, name):
    template = opened(name)
    train(CORPUS, 400, END, tmp_path / "t.json", needed=needed_tokens(template)).check(template)
