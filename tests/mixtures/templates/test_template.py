"""Templates by name: built in, of a file, of the tokenizer; and their records."""

import json
import pickle
from pathlib import Path

import pytest
from midtrain.errors import ConfigError
from midtrain.mixtures.templates import CHATML, TEMPLATES, Message, Template, open_template

TEXT = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
TALK = (Message("user", "q"), Message("assistant", "a"))


def written(folder: Path, name: str, contents: object) -> Path:
    path = folder / name
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return path


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_built_in_template_keeps_earlier_reasoning_unless_told(name: str) -> None:
    assert open_template(name) == Template(name)
    assert open_template(name, earlier_reasoning="template") == Template(name)
    talk = [
        Message("user", "q"),
        Message("assistant", "a", "r1"),
        Message("user", "?"),
        Message("assistant", "b", "r2"),
    ]
    assert "r1" in open_template(name).render(talk).text
    dropped = open_template(name, earlier_reasoning="drop").render(talk)
    assert "r1" not in dropped.text
    assert "r2" in dropped.text


def test_an_unknown_name_an_option_without_jinja_and_a_wrong_policy_are_errors() -> None:
    with pytest.raises(ConfigError, match="unknown template chatlm"):
        open_template("chatlm")
    with pytest.raises(ConfigError, match="chatml is built in"):
        open_template("chatml", options={"enable_thinking": True})
    with pytest.raises(ConfigError, match="unknown policy"):
        open_template("chatml", earlier_reasoning="forget")


def test_a_file_needs_the_tokens_that_it_writes(tmp_path: Path) -> None:
    path = written(tmp_path, "own.jinja", TEXT)
    with pytest.raises(ConfigError, match="writes bos_token, and which that is stands nowhere"):
        open_template(str(path))
    own = open_template(str(path), options={"bos_token": "", "eos_token": "<|im_end|>"})
    assert own.render(TALK).text == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
    assert own.earlier_reasoning == "template"


def test_tokens_stand_in_the_settings_beside_the_tokenizer(tmp_path: Path) -> None:
    path = written(tmp_path, "own.jinja", TEXT)
    settings = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>"}
    written(tmp_path, "tokenizer_config.json", settings)
    for tokenizer in (tmp_path, tmp_path / "tokenizer.json"):
        assert (
            open_template(str(path), tokenizer=tokenizer).render(TALK).text.startswith("<s><|im_start|>user\nq</s>\n")
        )
    named = open_template(str(path), tokenizer=tmp_path, options={"eos_token": "<|im_end|>"})
    assert named.turn_ends == ("<|im_end|>",)


def test_a_tokenizers_own_template_is_its_file_or_stands_in_its_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat template of its own"):
        open_template("tokenizer", tokenizer=tmp_path)
    with pytest.raises(ConfigError, match="no chat template of its own"):
        open_template("tokenizer")
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ eos_token }} one"}]
    written(tmp_path, "tokenizer_config.json", {"chat_template": several, "eos_token": "</s>"})
    assert open_template("tokenizer", tokenizer=tmp_path).jinja == "{{ eos_token }} one"
    written(tmp_path, "chat_template.jinja", "{{ eos_token }} two")
    assert open_template("tokenizer", tokenizer=tmp_path / "tokenizer.json").jinja == "{{ eos_token }} two"


def test_what_is_no_jinja_or_no_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a Jinja template") as caught:
        open_template(str(written(tmp_path, "bad.jinja", "a\n{% for %}")))
    assert caught.value.where.endswith("bad.jinja:2")
    with pytest.raises(ConfigError, match="a template's file cannot be opened"):
        open_template(str(tmp_path / "none.jinja"))
    written(tmp_path, "tokenizer_config.json", "{")
    with pytest.raises(ConfigError, match="not JSON"):
        open_template("tokenizer", tokenizer=tmp_path)


def test_a_record_gives_the_template_again_and_so_does_a_pickle(tmp_path: Path) -> None:
    path = written(tmp_path, "own.jinja", TEXT)
    options = {"eos_token": "</s>", "bos_token": "", "deep": {"b": [1, None], "a": "ü"}}
    own = open_template(str(path), options=options, earlier_reasoning="drop", tags=True)
    assert Template.of_record(json.loads(json.dumps(own.record()))) == own
    assert pickle.loads(pickle.dumps(own)).render(TALK) == own.render(TALK)
    path.unlink()
    assert Template.of_record(own.record()).render(TALK).text.endswith("a</s>\n")
    assert Template.of_record(CHATML.record()) == CHATML


def test_a_bound_template_is_for_one_tokenizer_and_records_the_same() -> None:
    bound = CHATML.bound({"<|im_end|>": 5})
    assert bound.record() == CHATML.record()
    assert bound.special == frozenset(["<|im_end|>"])
