"""Templates whose records cannot be trimmed are told: what would be left is no text of theirs."""

import os

import pytest
from midtrain.mixtures.templates import open_template
from midtrain.mixtures.templates.trimmable import untrimmable
from midtrain.mixtures.tokenizer_training import needed_tokens

from tests.mixtures.templates.published import DATA, PUBLISHED, opened

SPECIAL = {"<|im_start|>": 0, "<|im_sep|>": 1, "<|im_end|>": 2}


def own(tmp_path, head, opens="<think>", closes="</think>"):
    turn = f"{{% if m.reasoning_content %}}{opens}{{{{ m.reasoning_content }}}}{closes}{{% endif %}}{{{{ m.content }}}}"
    said = (
        "{% if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_sep|>{% else %}"
        + head
        + turn
        + "<|im_end|>{% endif %}"
    )
    path = tmp_path / "own.jinja"
    path.write_text("{% for m in messages %}" + said + "{% endfor %}")
    return open_template(str(path)).bound(SPECIAL)


def test_turns_that_nothing_parts(tmp_path):
    assert "it would leave '<|im_start|>a<|im_sep|>bb<|im_end|>" in (untrimmable(own(tmp_path, "")) or "")
    assert untrimmable(own(tmp_path, "<|im_start|>assistant\n")) is None


def test_a_tag_of_ones_own(tmp_path):
    template = own(tmp_path, "<|im_start|>assistant\n", "<|mind|>\n", "<|/mind|>")
    assert untrimmable(template) is None
    assert {"<|mind|>", "<|/mind|>"} <= set(needed_tokens(template))


@pytest.mark.parametrize("name", ["chatml", "zaya", "plain"])
def test_those_built_in_can_be_trimmed(name):
    assert untrimmable(open_template(name)) is None


@pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ or not DATA.is_dir(), reason="needs MIDTRAIN_DATA's templates")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_ones_can_be_trimmed(name):
    template = opened(name)
    special = dict.fromkeys([*needed_tokens(template), "<|im_start|>", "<|im_end|>", "<think>", "</think>"], 0)
    assert untrimmable(template.bound(special)) is None


@pytest.mark.parametrize("tag", ["<think>", "◁think▷", "[THINK]", "<|channel|>analysis<|message|>", "<|think|>\n"])
def test_known_tags_can_be_trimmed(tmp_path, tag):
    assert untrimmable(own(tmp_path, "<|im_start|>assistant\n", tag, "</x>")) is None
