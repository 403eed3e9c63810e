"""Documents to shards: what cannot be encoded names its document, and no tokenizer sees what is held out."""

from collections import Counter

import orjson
import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import tokenizer_training
from midtrain.mixtures.built import Built
from midtrain.mixtures.templates import Template
from midtrain.pipelines import summaries, tokenize_stages, tokenizer_stage

DONE = {"role": "assistant", "content": "done"}


def mixture(shop, template, **tokenizer):
    source = {"name": "talk", "documents": str(shop.root / "out"), **({"template": template} if template else {})}
    return {
        "sources": [source],
        "tokenizer": tokenizer or {"train": {"vocab_size": 300, "sources": ["talk"]}},
        "phases": [
            {"name": "only", "sequence_length": 512, "tokens": 300, "weights": {"talk": {"share": 1, "max_epochs": 99}}}
        ],
    }


def curated(shop, records, **source):
    path = shop.jsonl("talk.jsonl", records)
    shop.curate(sources=[{"name": "chat", "path": path, **(source or {"format": "jsonl"})}], steps=[])
    return shop


def test_a_template_over_documents_without_messages_names_the_first(workshop):
    curated(workshop, workshop.records("plain", ["one", "two"]))
    with pytest.raises(RunError, match="a document has no messages") as caught:
        workshop.build(**mixture(workshop, "chatml"))
    assert caught.value.where == "source talk, document plain0"
    assert "format: reasoning" in caught.value.fix


def test_a_conversation_that_cannot_be_rendered_names_its_document(workshop, monkeypatch):
    """Readers set such records aside; a template may still know better."""
    talks = {name: [{"role": "user", "content": name}, DONE] for name in ("fine", "wrong")}
    records = [{"id": name, "talk": talk} for name, talk in talks.items()]
    curated(workshop, records, format="reasoning", fields={"messages": "talk"})
    original = Template.render

    def render(template, messages):
        if messages[0].content == "wrong":
            raise RunError("no such role", seen="oracle", expected="user", fix="map it")
        return original(template, messages)

    monkeypatch.setattr(Template, "render", render)
    with pytest.raises(RunError, match="no such role") as caught:
        workshop.build(**mixture(workshop, "chatml"))
    error = caught.value
    assert error.where == "source talk, document wrong"
    assert (error.seen, error.expected, error.fix) == ("oracle", "user", "map it")


def test_a_text_that_the_tokenizer_cannot_hold_names_its_document(workshop, tmp_path):
    words = {"[UNK]": 0, "<|end|>": 1, "known": 2}
    added = [{"id": i, "content": c, "special": True} for c, i in list(words.items())[:2]]
    for token in added:
        token |= {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    path = tmp_path / "tokenizer.json"
    path.write_bytes(orjson.dumps({"added_tokens": added, "model": model, "pre_tokenizer": {"type": "Whitespace"}}))
    curated(workshop, workshop.records("d", ["known known", "known", "known stranger", "known"]))
    with pytest.raises(RunError, match="ordinary text became a special token") as caught:
        workshop.build(**mixture(workshop, None, path=str(path)))
    assert caught.value.where == "source talk, document d2"


def test_a_text_that_spells_special_tokens_stays_text(workshop):
    text = "a <|end|> b <|im_start|>assistant\nc<|im_end|>"
    curated(workshop, workshop.records("d", [text, "d e f"]))
    workshop.build(**mixture(workshop, None))
    built = Built.open(workshop.root / "shards")
    tokens = built.shards("talk").tokens(0).tolist()
    assert tokens.count(built.end_of_document) == 2


def test_special_tokens_are_counted_when_the_hash_ranges_are_planned(workshop, monkeypatch):
    """A range stays below 2^28 tokens also where short conversations have more tokens than bytes of text."""
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    curated(workshop, [{"talk": talk}] * 300, format="reasoning", fields={"messages": "talk"})
    monkeypatch.setattr(tokenize_stages, "PARTITION_BYTES", 2048)
    monkeypatch.setattr("midtrain.mixtures.shard_writer.MAX_TOKENS", 4096)
    workshop.build(**mixture(workshop, "chatml"))
    shards = Built.open(workshop.root / "shards").shards("talk")
    assert len(shards.parts) > 3
    assert max(part.tokens for part in shards.parts) <= 4096
    assert sum(part.documents for part in shards.parts) == 300


def test_the_tokenizer_is_trained_on_all_but_what_is_held_out_in_document_order(
    curated_workshop, tmp_path, monkeypatch
):
    seen = []
    original = tokenizer_stage.train

    def spy(texts, *rest, **named):
        seen.extend(texts)
        return original(iter(seen), *rest, **named)

    monkeypatch.setattr(tokenizer_stage, "train", spy)
    curated_workshop.build(output=str(tmp_path / "shards"))
    built = Built.open(tmp_path / "shards")
    held_out = {
        name
        for source in built.sources
        for part in range(len(built.shards(source, "held_out").parts))
        for name in built.shards(source, "held_out").documents(part).column("id").to_pylist()
    }
    rows = curated_workshop.rows("out")
    trained_on = [row for row in rows if row["source"] in ("a", "b", "worked")]
    assert seen == [row["text"] for row in trained_on if row["id"] not in held_out]
    assert 0 < len(seen) < len(trained_on)


def test_equal_ids_in_one_source_stand_in_the_order_of_their_tokens(workshop):
    records = [{"id": "same", "text": text} for text in ("one two", "three", "four five six")]
    curated(workshop, records)
    workshop.build(**mixture(workshop, None))
    first = Built.open(workshop.root / "shards").shards("talk").tokens(0).tolist()
    other = type(workshop)(workshop.root / "other")
    curated(other, records[::-1])
    (tokenizer,) = workshop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
    other.build(**mixture(other, None, path=str(tokenizer)))
    assert Built.open(other.root / "shards").shards("talk").tokens(0).tolist() == first


JINJA = (
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no ' ~ m.role) }}"
    "{% endif %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content | trim }}<|im_end|>{{ tail }}\n{% endfor %}"
)
TALKS = [
    {
        "id": f"t{number}",
        "talk": [
            {"role": "user", "content": f"{number} + 1?"},
            {"role": "assistant", "content": f" {number + 1}\n", "reasoning": f"{number} and 1."},
        ],
    }
    for number in range(20)
]


def talks(shop, records=TALKS):
    return curated(shop, records, format="reasoning", fields={"messages": "talk"})


def test_a_jinja_template_stands_in_the_manifest_and_its_spans_beside_the_tokens(workshop):
    path = workshop.root / "own.jinja"
    path.write_text(JINJA)
    talks(workshop)
    result = workshop.build(**mixture(workshop, {"name": str(path), "options": {"tail": "!"}}))
    path.unlink()
    built = Built.open(workshop.root / "shards")
    source, shards = built.sources["talk"], built.shards("talk")
    assert source.template.jinja == JINJA
    assert source.template.options == '{"tail":"!"}'
    tokenizer = built.open_tokenizer()
    trained = 0
    for row in shards.documents(0).to_pylist():
        ids = shards.read(0, row["start"], row["tokens"]).tolist()
        loss = shards.loss(0, row["start"], row["tokens"])
        trained += int(loss.sum())
        number = int(row["id"].rpartition("t")[2])
        said = [tokenizer.decode(ids[span["start"] : span["stop"]]) for span in row["spans"]]
        assert said == [f"{number} and 1.", str(number + 1)]
        mask = tokenizer.decode([token for token, counts in zip(ids, loss, strict=True) if counts])
        assert mask == f"<think>{number} and 1.</think>{number + 1}<|im_end|>"
    assert source.supervised == trained == result.manifest.counts["talk"]["part"]["supervised"]
    told = summaries.built(result, "out").text
    assert f"{trained:,} ({100 * trained / source.tokens_total:.1f} %)" in told


def test_a_template_that_writes_a_token_the_tokenizer_has_not_is_refused_before_any_is_made(workshop):
    path = workshop.root / "own.jinja"
    path.write_text(JINJA)
    talks(workshop)
    template = {"name": str(path), "options": {"tail": "<|x|>"}}
    trained = tokenizer_training.train(["one and one"], 300, "<|end|>", workshop.root / "tokenizer.json")
    with pytest.raises(ConfigError, match=r"lacks <\|x\|>, which the template .*own.jinja needs"):
        workshop.build(**mixture(workshop, template, path=trained.path))


def test_a_conversation_that_a_jinja_template_refuses_names_source_document_and_template(workshop):
    path = workshop.root / "own.jinja"
    path.write_text(JINJA)
    odd = {"id": "odd", "talk": [{"role": "system", "content": "s"}, *TALKS[0]["talk"]]}
    talks(workshop, [*TALKS, odd])
    with pytest.raises(RunError, match=r"template .*own.jinja: it refuses the conversation: no system") as caught:
        workshop.build(**mixture(workshop, str(path)))
    assert caught.value.where.startswith("source talk, document ")
    assert caught.value.where.endswith("odd")


def test_a_changed_template_makes_new_tokens_and_a_moved_file_does_not(workshop):
    path, moved = workshop.root / "own.jinja", workshop.root / "moved.jinja"
    path.write_text(JINJA)
    talks(workshop)
    first = workshop.build(**mixture(workshop, str(path)))
    moved.write_text(JINJA)
    again = workshop.build(**mixture(workshop, str(moved)))
    assert (again.tasks_run, again.manifest.fingerprint) == (0, first.manifest.fingerprint)
    moved.write_text(JINJA.replace("| trim", ""))
    changed = workshop.build(**mixture(workshop, str(moved)), overwrite=True)
    assert changed.tasks_run > 0


def test_plain_trains_the_end_of_document(workshop):
    talks(workshop)
    workshop.build(**mixture(workshop, "plain"))
    built = Built.open(workshop.root / "shards")
    shards = built.shards("talk")
    ends = shards.ends(0).astype(int)
    assert all(shards.loss(0, end - 1, 1).all() for end in ends)
    assert not shards.loss(0, 0, 1).any()


def test_the_tokenizers_own_template_is_read_beside_the_file_that_the_mixture_names(workshop):
    talks(workshop)
    workshop.build(**mixture(workshop, "plain"))
    (made,) = workshop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
    given = workshop.root / "given"
    given.mkdir()
    (given / "tokenizer.json").write_bytes(made.read_bytes())
    with pytest.raises(ConfigError, match=r"sources\.0\.template: .*no chat template of its own"):
        workshop.build(**mixture(workshop, "tokenizer", path=str(given / "tokenizer.json")), overwrite=True)
    (given / "chat_template.jinja").write_text(JINJA)
    workshop.build(**mixture(workshop, "tokenizer", path=str(given / "tokenizer.json")), overwrite=True)
    assert Built.open(workshop.root / "shards").sources["talk"].template.jinja == JINJA


def test_a_trained_tokenizer_has_the_tokens_of_a_template_of_ones_own(workshop):
    """They are single tokens where the template writes them, and characters where the text does."""
    turns = [{"role": "user", "content": "One and one?"}, {"role": "assistant", "content": "two <end_of_turn>"}]
    shop = curated(workshop, [{"id": str(row), "messages": turns} for row in range(40)], format="reasoning")
    turn = "<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n"
    (shop.root / "own.jinja").write_text("{% for m in messages %}" + turn + "{% endfor %}")
    shop.build(**mixture(shop, str(shop.root / "own.jinja")))
    built = Built.open(shop.root / "shards")
    tokenizer, ids = built.open_tokenizer(), built.shards("talk").tokens(0).tolist()
    counts = Counter(tokenizer.decode([one]) for one in ids)
    assert (counts["<start_of_turn>"], counts["<end_of_turn>"]) == (80, 80)
    assert tokenizer.decode(ids).count("<end_of_turn>") == 120
