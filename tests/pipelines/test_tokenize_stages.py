"""Documents to shards: what cannot be encoded names its document, and no tokenizer sees what is held out."""

import orjson
import pyarrow.parquet as pq
import pytest
from midtrain.errors import RunError
from midtrain.mixtures import templates
from midtrain.mixtures.built import Built
from midtrain.pipelines import tokenize_stages, tokenizer_stage

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
    original = templates.render

    def render(template, messages):
        if messages[0].content == "wrong":
            raise RunError("no such role", seen="oracle", expected="user", fix="map it")
        return original(template, messages)

    monkeypatch.setattr(templates, "render", render)
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

    def spy(texts, *rest):
        seen.extend(texts)
        return original(iter(seen), *rest)

    monkeypatch.setattr(tokenizer_stage, "train", spy)
    curated_workshop.build(output=str(tmp_path / "shards"))
    built = Built.open(tmp_path / "shards")
    held_out = {
        name
        for source in built.sources
        for part in range(len(built.shards(source, "held_out").parts))
        for name in built.shards(source, "held_out").documents(part).column("id").to_pylist()
    }
    manifest = orjson.loads((curated_workshop.root / "out/manifest.json").read_bytes())
    paths = [curated_workshop.root / "out" / entry["path"] for entry in manifest["files"]]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
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
