"""Tokens that stand already as sources: one result however they were cut, and what does not fit is said."""

from itertools import pairwise

import numpy as np
import pytest
from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile
from datatrove.pipeline.tokens.tokenizer import TokenizedFile
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.built import Built
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.pipelines import existing_tokens, token_stages


@pytest.fixture(scope="module")
def first(built_workshop):
    """A built mixture: its folder, its tokenizer and the documents of a source as lists of ids, their end left out."""
    root = built_workshop.root / "shards"
    (tokenizer,) = root.glob("stages/tokenizer-*/tokenizer.json")
    return root, {"path": str(tokenizer), "end_of_document": "<|end|>"}


def documents(root, source="web"):
    shards, found = Built.open(root).shards(source), []
    for part in range(len(shards.parts)):
        edges = [0, *shards.ends(part).astype(int).tolist()]
        found += [shards.tokens(part)[a : b - 1].tolist() for a, b in pairwise(edges)]
    return found


def folder_of(root, source):
    (found,) = root.glob(f"tokens/{source}-*")
    return str(found)


def mixture(tokenizer, shards, **source):
    return {
        "tokenizer": tokenizer,
        "sources": [{"name": "web", "shards": str(shards), **source}],
        "phases": [{"name": "only", "sequence_length": 64, "tokens": 3000, "weights": {"web": 1}}],
    }


def files_of(root, source="web"):
    (folder,) = root.glob(f"tokens/{source}-*")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def batches(root):
    built = Built.open(root)
    return built.batch("only", 0, built.phases["only"].sequences).tokens.tolist()


def test_tokens_of_a_build_are_the_same_in_another(shop, first):
    root, tokenizer = first
    names = ("web", "worked", "twins")
    sources = [{"name": name, "shards": folder_of(root, name)} for name in names]
    for source, given in zip(sources, shop.mixture()["sources"], strict=True):
        source |= {"pack": "whole" if given.get("template") else "chunk", "too_long": given.get("too_long", "error")}
    shop.build(tokenizer=tokenizer, sources=sources)
    again = shop.root / "shards"
    for name in names:
        before = {key: data for key, data in files_of(root, name).items() if not key.startswith("held_out")}
        after = {key: data for key, data in files_of(again, name).items() if not key.startswith("held_out")}
        assert before == after
        assert len(before) >= 4
    one, two = Built.open(root), Built.open(again)
    for phase in one.phases:
        here, there = (built.batch(phase, 0, built.phases[phase].sequences) for built in (one, two))
        assert here.tokens.tolist() == there.tokens.tolist()
        assert here.loss_mask.tolist() == there.loss_mask.tolist()


def written(folder, form, parts, end, loss=None):
    """Documents as files of others, in parts."""
    folder.mkdir()
    for number, part in enumerate(parts):
        if form == "megatron":
            file = MegatronTokenizedFile(str(folder), f"part_{number}", token_size=2)
            for document in part:
                file.write([*document, *end])
        else:
            file = TokenizedFile(str(folder), f"{number:05d}.ds", save_loss_metadata=loss is not None)
            for document in part:
                mask = np.array([*(token % 2 == loss for token in document), *(True for _ in end)]) if loss else None
                file.write([*document, *end], mask)
        file.close()
    return folder


def test_files_cuts_and_formats_change_no_shard_and_no_order(shop, first, monkeypatch):
    root, tokenizer = first
    end = Tokenizer.open(tokenizer["path"], tokenizer["end_of_document"]).end_of_document
    texts = documents(root)
    order = np.random.default_rng(4).permutation(len(texts))
    shuffled = [[texts[i] for i in chosen] for chosen in np.array_split(order, 7)]
    places = [
        ("one", "datatrove", [texts], [end], "<|end|>", 1 << 24),
        ("seven", "datatrove", shuffled, [end], "<|end|>", 1 << 24),
        ("cut", "datatrove", [texts[::-1]], [end], "<|end|>", 900),
        ("megatron", "megatron", shuffled, [end], "<|end|>", 1 << 24),
        ("none", "megatron", [texts], [], "none", 1500),
    ]
    found = []
    for name, form, parts, tail, said, task in places:
        monkeypatch.setattr(existing_tokens, "TASK_TOKENS", task)
        output = str(shop.root / name / "shards")
        given = mixture(tokenizer, written(shop.root / f"data-{name}", form, parts, tail), end_of_document=said)
        result = shop.build(output=output, **given)
        assert result.tasks_run > (6 if name in ("seven", "cut", "megatron") else 3)
        found.append((files_of(shop.root / name / "shards"), batches(shop.root / name / "shards")))
    assert all(one == found[0] for one in found)
    assert sorted(map(tuple, documents(shop.root / "one" / "shards"))) == sorted(map(tuple, texts))
    built = Built.open(shop.root / "one" / "shards").shards("web")
    rows = built.documents(0)
    library = Tokenizer.open(tokenizer["path"], tokenizer["end_of_document"])
    sizes = [len(library.decode(document).encode()) for document in documents(shop.root / "one" / "shards")]
    assert rows.column("bytes").to_pylist() == sizes
    assert len(set(rows.column("id").to_pylist())) == len({tuple(text) for text in texts})


def test_hash_ranges_depend_on_the_number_of_tokens_alone(shop, first, monkeypatch):
    root, tokenizer = first
    monkeypatch.setattr(token_stages, "PARTITION_TOKENS", 1000)
    shop.build(**mixture(tokenizer, folder_of(root, "web")))
    many = Built.open(shop.root / "shards").shards("web")
    assert len(many.parts) > 3
    assert documents(shop.root / "shards") == documents(root)


def test_a_loss_of_datatrove_is_kept_and_its_end_is_not_trained_where_it_is_put(shop, first):
    root, tokenizer = first
    texts = documents(root)
    given = mixture(tokenizer, written(shop.root / "loss", "datatrove", [texts], [], loss=1), end_of_document="none")
    shop.build(**given)
    shards = Built.open(shop.root / "shards").shards("web")
    tokens, loss = shards.tokens(0), shards.loss(0, 0, shards.parts[0].tokens)
    ends = shards.ends(0).astype(int) - 1
    inside = np.setdiff1d(np.arange(len(tokens)), ends)
    assert not loss[ends].any()
    assert (loss[inside] == (tokens[inside] % 2 == 1)).all()


def test_documents_are_held_out_of_tokens_by_their_ids(shop, first):
    root, tokenizer = first
    shop.build(**mixture(tokenizer, folder_of(root, "web"), held_out=7))
    built = Built.open(shop.root / "shards")
    assert built.sources["web"].held_out_documents == 7
    assert len(documents(shop.root / "shards")) == len(documents(root)) - 7


def test_tokens_may_stand_beside_documents(shop, first):
    root, tokenizer = first
    sources = [
        {"name": "old", "shards": folder_of(root, "twins"), "pack": "whole"},
        {"name": "new", "documents": shop.mixture()["sources"][0]["documents"], "where": {"source": "a"}},
    ]
    phases = [
        {"name": "only", "sequence_length": 256, "weights": {"old": {"epochs": 1}, "new": {"tokens": 2000}}},
    ]
    rows = {row["source"]: row for row in shop.build(tokenizer=tokenizer, sources=sources, phases=phases).rows}
    assert rows["old"]["epochs"] == 1.0
    assert abs(rows["new"]["tokens"] - 2000) <= 128


@pytest.mark.parametrize(
    ("parts", "said", "error", "what"),
    [
        ([[1, 2, "end"], [3]], "<|end|>", RunError, "does not end as end_of_document says"),
        ([[1, "end", 2]], "none", RunError, "stands inside a document"),
        ([[1, 2, 399_9]], "none", RunError, "outside the vocabulary"),
        ([[1, 2]], "<|stop|>", ConfigError, "has no special token <|stop|>"),
        ([[1, 2]], None, ConfigError, "do not say how a document ends"),
        ([[]], "none", ConfigError, "hold no token"),
    ],
)
def test_tokens_that_do_not_fit_are_an_error(shop, first, parts, said, error, what):
    _, tokenizer = first
    end = Tokenizer.open(tokenizer["path"], tokenizer["end_of_document"]).end_of_document
    texts = [[end if token == "end" else token for token in part] for part in parts]
    given = mixture(tokenizer, written(shop.root / "data", "datatrove", [texts], []))
    if said:
        given["sources"][0]["end_of_document"] = said
    with pytest.raises(error, match=what):
        shop.build(**given)


def test_tokens_of_another_tokenizer_name_both(shop, first, midtrain):
    root, _ = first
    given = mixture({"train": {"vocab_size": 300, "sources": ["text"]}}, folder_of(root, "web"))
    given["sources"].append({"name": "text", "documents": shop.mixture()["sources"][0]["documents"], "held_out": 1})
    with pytest.raises(ConfigError, match="made by another tokenizer") as wrong:
        shop.build(**given)
    hashes = [Built.open(root).tokenizer_hash, str(wrong.value.expected).split()[1].strip(",")]
    assert f"hash {hashes[0]}" in str(wrong.value.seen)
    assert hashes[0] != hashes[1]


def test_tokens_that_no_template_rendered_are_not_trimmed(shop, first, midtrain):
    root, tokenizer = first
    places = {
        "no template rendered": mixture(tokenizer, folder_of(root, "web"), too_long="trim"),
        "files of others do not say": mixture(
            tokenizer,
            written(shop.root / "others", "datatrove", [documents(root)], []),
            end_of_document="none",
            too_long="trim",
        ),
        "no pack: chunk": mixture(tokenizer, folder_of(root, "worked"), too_long="trim", pack="chunk"),
    }
    for what, given in places.items():
        said = midtrain("build", shop.yaml("m.yaml", shop.mixture(**given)))
        assert (said.code, "Traceback" in said.err) == (2, False)
        assert what in said.err
        assert "m.yaml:" in said.err


def test_tokens_that_a_template_rendered_are_trimmed_also_where_they_were_tokens_before(shop, first):
    root, tokenizer = first
    built = Built.open(root)
    place = folder_of(root, "worked")
    for name in ("once", "twice"):
        given = mixture(tokenizer, place, too_long="trim", max_lost="90%")
        result = shop.build(output=str(shop.root / name), **given)
        (row,) = result.rows
        assert row["trimmed_documents"] > 0
        assert Built.open(shop.root / name).sources["web"].template == built.sources["worked"].template
        place = folder_of(shop.root / name, "web")
    once, twice = (batches(shop.root / name) for name in ("once", "twice"))
    assert once == twice


@pytest.mark.parametrize(
    ("place", "source", "what"),
    [
        ("shards", {}, "not one of the tokens of a built mixture"),
        ("nowhere", {}, "no tokens stand there"),
        ("tokens", {"end_of_document": "none"}, "said by the tokens themselves"),
        ("tokens", {"template": "chatml"}, "template is of documents"),
        ("tokens", {"where": {"source": "a"}}, "where is of documents"),
    ],
)
def test_what_is_no_source_of_tokens_is_an_error(shop, first, midtrain, place, source, what):
    root, tokenizer = first
    places = {"shards": root, "nowhere": shop.root / "nowhere", "tokens": folder_of(root, "web")}
    said = midtrain("build", shop.yaml("m.yaml", shop.mixture(**mixture(tokenizer, places[place], **source))))
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert what in said.err
    assert "m.yaml:" in said.err


def test_a_touched_file_is_known_by_its_hash_and_a_changed_one_makes_other_shards(shop, first):
    root, tokenizer = first
    folder = written(shop.root / "data", "datatrove", [documents(root)], [])
    given = mixture(tokenizer, folder, end_of_document="none")
    shop.build(**given)
    (folder / "00000.ds").touch()
    assert shop.build(**given).tasks_run == 0
    data = bytearray((folder / "00000.ds").read_bytes())
    data[0] ^= 1
    (folder / "00000.ds").write_bytes(data)
    with pytest.raises(ConfigError, match="another result"):
        shop.build(**given)
