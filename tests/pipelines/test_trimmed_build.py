"""Real long traces, trimmed at two lengths: what a trainer gets of them, and what is told and verified of it."""

import gzip
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from midtrain.errors import ConfigError
from midtrain.manifest import Manifest
from midtrain.mixtures import lineage, schema
from midtrain.mixtures.built import Built
from midtrain.mixtures.packs.packing import SPAN
from midtrain.mixtures.peek import peek
from midtrain.mixtures.templates import Message, open_template
from midtrain.mixtures.text_spans import PARTS
from midtrain.mixtures.trimming import Text, trim
from midtrain.pipelines import plan_mixture, summaries
from midtrain.pipelines.extend import Cut, extend
from midtrain.pipelines.processes import local
from midtrain.pipelines.verification import verify
from midtrain.progress import Progress

from tests.pipelines.verification.test_verify import resealed

PHASES = [(512, "60K"), (1024, "300K")]


def mixture(shop, output, phases=PHASES, **source):
    traces = {"name": "traces", "documents": str(shop.root / "out"), "template": "chatml", "too_long": "trim", **source}
    weights = {"traces": {"share": 1, "max_epochs": 9}}
    return {
        "output": str(shop.root / output),
        "sources": [traces],
        "tokenizer": {"train": {"vocab_size": 1500, "sources": ["traces"]}},
        "phases": [
            {"name": f"at{length}", "sequence_length": length, "tokens": tokens, "weights": weights}
            for length, tokens in phases
        ],
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory, curated_workshop):
    """The traces as reasoning records with a question before them, and every seventh with a turn in front of it."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("traces"))
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    records = []
    with gzip.open(Path(os.environ["MIDTRAIN_DATA"]) / "cot" / "r1_distill_long_think.jsonl.gz") as lines:
        for line in lines:
            reasoning, _, answer = orjson.loads(line)["text"].removeprefix("<think>").partition("</think>")
            if not answer.strip() or len(answer) > 900:
                continue
            last = {"role": "assistant", "content": answer.strip(), "reasoning": reasoning.strip()}
            turns = [{"role": "user", "content": "Solve it."}, last]
            if len(records) % 7 == 0:
                first = {"role": "assistant", "content": "Gladly.", "reasoning": reasoning.strip()[:900]}
                turns = [{"role": "user", "content": "Can you help?"}, first, *turns]
            records.append({"id": f"r{len(records)}", "talk": turns})
    talk = found.jsonl("traces.jsonl", records)
    source = {"name": "traces", "path": talk, "format": "reasoning", "fields": {"messages": "talk"}}
    found.curate(sources=[source], steps=[])
    return found


@pytest.fixture(scope="module")
def result(shop):
    return shop.build(**mixture(shop, "shards", max_lost="30%"))


@pytest.fixture(scope="module")
def built(result, shop):
    return Built.open(shop.root / "shards")


def whole(built):
    """The tokens, mask and spans of every document by id."""
    shards, found = built.shards("traces"), {}
    for part in range(len(shards.parts)):
        for row in shards.documents(part).to_pylist():
            place = part, row["start"], row["tokens"]
            found[row["id"]] = shards.read(*place).tolist(), shards.loss(*place).tolist(), row["spans"]
    return found


@pytest.mark.parametrize("phase", ["at512", "at1024"])
def test_a_batch_has_each_record_as_one_segment_with_its_answer(built, phase):
    found = built.phases[phase]
    batch = built.batch(phase, 0, found.sequences)
    documents, pieces = whole(built), lineage.pieces(built, phase, 0, found.sequences)
    rows = {}
    for piece in pieces:
        own = rows.setdefault(piece.sequence, [])
        if not piece.continues:
            own.append((piece.id, []))
        assert own[-1][0] == piece.id
        own[-1][1].append(piece)
    trimmed = 0
    for row, segments in sorted(rows.items()):
        assert batch.segments[row].max() + 1 == len(segments)
        for number, (identity, ranges) in enumerate(segments):
            here = batch.segments[row] == number
            tokens, loss, spans = documents[identity]
            kept = [at for piece in ranges for at in range(piece.start, piece.stop)]
            assert batch.tokens[row, here].tolist() == [tokens[at] for at in kept]
            assert batch.loss_mask[row, here].tolist() == [loss[at] for at in kept]
            assert batch.positions[row, here].tolist() == list(range(len(kept)))
            assert np.flatnonzero(here)[0] == ranges[0].offset
            assert len(kept) == len(tokens) <= found.sequence_length or len(tokens) > found.sequence_length
            assert (kept[0], kept[-1]) == (0, len(tokens) - 1)
            lost = set(range(len(tokens))) - set(kept)
            trimmed += bool(lost)
            last = max(span["turn"] for span in spans)
            for span in spans:
                inside = set(range(span["start"], span["stop"]))
                assert span["part"] == PARTS["reasoning"] or not inside & lost, "an answer is cut"
                if span["turn"] == last and span["part"] == PARTS["reasoning"] and inside & lost:
                    assert sorted(inside & lost)[-1] == span["stop"] - 1, "not the tail"
                    assert sorted(inside & lost) == list(range(min(inside & lost), span["stop"]))
    assert trimmed


def test_no_record_comes_twice_before_an_epoch_ends_also_where_the_length_changes(built):
    seen = {}
    for phase in built.phases:
        for piece in lineage.pieces(built, phase, 0, built.phases[phase].sequences):
            if not piece.continues:
                seen.setdefault(piece.id, []).append(phase)
    found = [one for identity in seen for one in lineage.whereabouts(built, identity)]
    first = {(one.id, place.epoch) for one in found for place in one.appearances if place.phase == "at512"}
    later = {(one.id, place.epoch) for one in found for place in one.appearances if place.phase == "at1024"}
    assert first
    assert not first & later
    ranges = [one for one in found if len({(p.start, p.stop) for p in one.appearances}) > 1]
    assert ranges, "where shows the ranges"


def test_the_build_verifies_and_tells_what_was_lost(built, result, shop):
    found = verify.verify(str(shop.root / "shards"), 1, Progress(shown=False))
    assert not found.problems, found.problems
    told = summaries.built(result, str(shop.root / "shards")).text
    for row in result.rows:
        line = next(one for one in told.split("\n") if one.startswith(f"phase {row['phase']}, traces:"))
        assert f"{row['trimmed_documents']:,} records trimmed" in line
        assert row["trimmed_documents"] > 0
        assert 0 < row["kept_reasoning"] < 1
        total = row["index_tokens"] + row["trimmed_tokens"] + row["dropped_tokens"]
        if row["phase"] == "at512":
            assert total == int(built.shards("traces").part_tokens.sum())
        print(line)
        told_of = result.manifest.counts["traces"]["lost"][row["phase"]]
        assert told_of["trimmed_tokens"] == row["trimmed_tokens"]


def test_ranges_that_are_moved_or_told_apart_are_found(built, shop, tmp_path):
    def moved(spans):
        spans["start"][np.flatnonzero(spans["continues"])[0]] -= 1

    def apart(spans):
        spans["continues"][np.flatnonzero(spans["continues"])[0]] = 0

    def swapped(spans):
        at = np.flatnonzero(spans["continues"])[0]
        spans[[at - 1, at]] = spans[[at, at - 1]]

    told = "the ranges are not those that trimming gives", "the ranges are not", "does not follow the one"
    for number, (change, what) in enumerate(zip((moved, apart, swapped), told, strict=True)):
        root = tmp_path / str(number)
        shutil.copytree(shop.root / "shards", root)
        path = sorted(root.glob("packs/traces-512-*/part-00000.spans"))[0]
        spans = np.fromfile(path, SPAN)
        change(spans)
        resealed(root, str(path.relative_to(root)), spans.tobytes())
        problems = verify.verify(str(root), 1, Progress(shown=False)).problems
        assert any(what in problem.what for problem in problems), problems


def test_an_extension_goes_on_in_the_epoch_and_keeps_what_was_told(result, shop, tmp_path):
    shutil.copytree(shop.root / "shards", tmp_path / "shards")
    more = {**mixture(shop, "", [(768, "40K")], max_lost="30%"), "output": str(tmp_path / "shards")}
    loaded = schema.load(shop.yaml("more.yaml", {**shop.mixture(), **more}))
    extend(loaded, Cut("at512", 40), local(0), Progress(shown=False))
    extended = Built.open(tmp_path / "shards")
    assert list(extended.phases) == ["at512", "at768"]
    problems = verify.verify(str(tmp_path / "shards"), 1, Progress(shown=False)).problems
    assert not problems, problems
    early = {piece.id for piece in lineage.pieces(extended, "at512", 0, 40)}
    late = {piece.id for piece in lineage.pieces(extended, "at768", 0, extended.phases["at768"].sequences)}
    assert late
    assert not early & late
    assert list(Manifest.read(tmp_path / "shards").counts["traces"]["lost"]) == ["at512", "at768"]
    third = mixture(shop, "", [(640, "40K")])["phases"]
    stricter = {**more, "phases": third, "sources": [{**more["sources"][0], "min_reasoning": 32}]}
    loaded = schema.load(shop.yaml("stricter.yaml", {**shop.mixture(), **stricter}))
    with pytest.raises(ConfigError, match="would be packed otherwise now"):
        extend(loaded, Cut("at768", 3), local(0), Progress(shown=False))


def test_a_look_shows_the_ranges_of_a_trimmed_record(built):
    pieces = lineage.pieces(built, "at512", 0, built.phases["at512"].sequences)
    place = next(piece.sequence for piece in pieces if piece.continues)
    (row,) = peek(built, "at512", place, 1, 1).rows
    tail = next(one for one in row.excerpts if one.piece.continues)
    assert tail.first_position > 0
    assert "</think>" in "".join(text.text for text in tail.texts)


@pytest.fixture(scope="module")
def from_shards(built, shop):
    """The same mixture of the tokens that stand already."""
    (tokens,) = (shop.root / "shards").glob("tokens/traces-*")
    given = mixture(shop, "again", max_lost="30%")
    source = {"name": "traces", "shards": str(tokens), "too_long": "trim", "max_lost": "30%"}
    tokenizer = {"path": str(built.tokenizer_path), "end_of_document": built.end_of_document_text}
    return {**given, "sources": [source], "tokenizer": tokenizer}


def pack_files(root):
    """What is packed of the traces, of each index: sequence length and files."""
    return sorted(
        (one.name.split("-")[1], [(path.name, path.read_bytes()) for path in sorted(one.glob("*part*"))])
        for one in root.glob("packs/traces-*")
    )


def test_shards_are_trimmed_as_the_documents_that_they_were_made_of(from_shards, built, result, shop):
    planned = plan_mixture.plan(schema.load(shop.yaml("again.yaml", {**shop.mixture(), **from_shards})))
    again = shop.build(**from_shards)
    assert again.rows == result.rows
    other = Built.open(shop.root / "again")
    assert other.sources["traces"].template == built.sources["traces"].template
    packs = pack_files(shop.root / "shards")
    assert [length for length, _ in packs] == ["1024", "1024", "512"], "and what an epoch left"
    assert pack_files(shop.root / "again") == packs
    for name in ("part-00000.tokens", "part-00000.loss", "part-00000.documents.parquet", "inside_characters"):
        (one,), (two,) = ((shop.root / out).glob(f"tokens/traces-*/{name}") for out in ("shards", "again"))
        assert one.read_bytes() == two.read_bytes()
    for phase in built.phases:
        here, there = (one.batch(phase, 0, built.phases[phase].sequences) for one in (built, other))
        assert np.array_equal(here.tokens, there.tokens)
        assert np.array_equal(here.loss_mask, there.loss_mask)
    assert not verify.verify(str(shop.root / "again"), 1, Progress(shown=False)).problems
    assert not planned.refusals
    for row, done in zip(planned.rows, again.rows, strict=True):
        assert row.trimmed_tokens == pytest.approx(done["trimmed_tokens"], rel=0.02) or row.phase != "at512"
        assert row.kept_reasoning == pytest.approx(done["kept_reasoning"], abs=0.05)


def test_what_begins_inside_a_character_is_that_of_the_tokenizer_that_verify_opens(built, shop, tmp_path):
    shutil.copytree(shop.root / "shards", tmp_path / "shards")
    (path,) = (tmp_path / "shards").glob("tokens/traces-*/inside_characters")
    table = np.fromfile(path, np.uint8)
    expected = built.open_tokenizer().inside_characters
    assert np.array_equal(np.unpackbits(table, bitorder="little")[: len(expected)], expected)
    table[np.flatnonzero(table)[0]] ^= 255
    resealed(tmp_path / "shards", str(path.relative_to(tmp_path / "shards")), table.tobytes())
    problems = verify.verify(str(tmp_path / "shards"), 1, Progress(shown=False)).problems
    assert any("begin inside a character" in problem.what for problem in problems), problems


def test_shards_of_before_that_do_not_say_where_characters_begin_are_refused(from_shards, shop, tmp_path):
    shutil.copytree(shop.root / "shards", tmp_path / "shards")
    (path,) = (tmp_path / "shards").glob("tokens/traces-*/manifest.json")
    found = Manifest.read(path.parent)
    before = replace(found, files=tuple(file for file in found.files if file.path != "inside_characters"))
    before.write(path.parent)
    source = {**from_shards["sources"][0], "shards": str(path.parent)}
    with pytest.raises(ConfigError, match="begin inside a character"):
        shop.build(**{**from_shards, "output": str(tmp_path / "refused"), "sources": [source]})


def test_no_batch_has_half_a_character_of_a_vocabulary_that_makes_them_of_several_tokens(shop):
    thoughts = [f"{'So on. ' * (number % 7)}{'𓀀🗾𝔘𓂀é日' * 30}" for number in range(40)]
    records = [
        {"id": f"r{number}", "ask": "Which sign?", "think": thought, "say": f"It is {number}."}
        for number, thought in enumerate(thoughts)
    ]
    fields = {"prompt": "ask", "reasoning": "think", "response": "say"}
    signs = type(shop)(shop.root / "signs")
    path = signs.jsonl("signs.jsonl", records)
    signs.curate(sources=[{"name": "signs", "path": path, "format": "reasoning", "fields": fields}], steps=[])
    signs.build(
        tokenizer=str(Path(os.environ["MIDTRAIN_DATA"]) / "tokenizers" / "gpt2.tokenizer.json"),
        sources=[{"name": "signs", "documents": str(signs.root / "out"), "template": "plain", "too_long": "trim"}],
        phases=[{"name": "only", "sequence_length": 96, "weights": {"signs": {"epochs": 1}}}],
    )
    built = Built.open(signs.root / "shards")
    assert built.phases["only"].sequences == 40
    decode = built.open_tokenizer().decode
    batch = built.batch("only", 0, 40)
    for row, segments in zip(batch.tokens, batch.segments, strict=True):
        _, thought, answer = decode(row[segments == 0].tolist()).split("\n\n")
        number = int(answer.split()[2].removesuffix(".<|endoftext|>"))
        assert thoughts[number].startswith(thought)
        assert len(thought) > 10


TALK = (
    Message("user", "What is seven?"),
    Message("assistant", "A number.", "Let me think of what seven is, and of all that it may be for a while."),
    Message("user", "And eight?"),
    Message(
        "assistant", "One more than seven.", "It comes behind seven, so I say what comes behind, and nothing else."
    ),
)
TAGGED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}"
)
TAGGED += "\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize("name", ["chatml", "zaya", "plain", "jinja"])
def test_an_earlier_reasoning_goes_with_its_tags_in_every_template(built, tmp_path, name):
    """The text of what is left is that of the same conversation without the earlier reasoning, but for the cut tail."""
    tokenizer = built.open_tokenizer()
    (tmp_path / "own.jinja").write_text(TAGGED)
    template = tokenizer.check(open_template(str(tmp_path / "own.jinja") if name == "jinja" else name))

    def decoded(talk, limit, cut=0):
        """Text, tokens and ranges, where the last reasoning may lose so many tokens and no more."""
        tokens = tokenizer.encode_rendered([template.render(talk)], ["one"])
        mask, inside = (np.packbits(bits, bitorder="little") for bits in (tokens.loss, tokenizer.inside_characters))
        own = np.flatnonzero((tokens.spans.turn == 3) & (tokens.spans.part == PARTS["reasoning"]))[0]
        least = int(tokens.spans.stop[own]) - int(tokens.spans.start[own]) - cut
        found = trim(tokens.ends.astype(np.int64), tokens.spans, Text(tokens.ids, mask, inside), limit, least)
        kept = [tokens.ids[a:b] for a, b in zip(found.starts, found.stops, strict=True)]
        return tokenizer.decode(np.concatenate(kept).tolist()), len(tokens.ids), len(found.starts)

    without = [replace(one, reasoning=None) if at == 1 else one for at, one in enumerate(TALK)]
    expected, length, _ = decoded(without, 10_000)
    if name == "zaya":  # writes an empty block where there is no reasoning
        expected = expected.replace("<think>\n\n</think>\n\n", "")
        length -= len(tokenizer.encode_rendered([template.render(without)], ["one"]).ids) - len(
            tokenizer.encode_rendered([replace(template, name="chatml").render(without)], ["one"]).ids
        )
    text, whole, ranges = decoded(TALK, length)
    assert whole > length
    assert (text, ranges) == (expected, 2)
    shorter, _, ranges = decoded(TALK, length - 5, 5)
    assert ranges == 3
    assert shorter.endswith(expected[-24:])
    reasoning = TALK[3].reasoning
    head = next(at for at in range(len(reasoning), 0, -1) if reasoning[:at] in shorter)
    assert expected.replace(reasoning, reasoning[:head]) == shorter


def test_a_plan_before_the_build_is_near_what_is_trimmed(shop, result):
    loaded = schema.load(shop.yaml("plan.yaml", {**shop.mixture(), **mixture(shop, "unbuilt", max_lost="30%")}))
    planned = plan_mixture.plan(loaded)
    assert not planned.refusals
    for row, built in zip(planned.rows, result.rows, strict=True):
        assert row.estimated
        assert row.trimmed_tokens == pytest.approx(built["trimmed_tokens"], rel=0.25) or row.phase != "at512"
        assert row.kept_reasoning == pytest.approx(built["kept_reasoning"], abs=0.1)
    assert "records trimmed" in plan_mixture.table(planned).text


def test_more_lost_than_allowed_names_the_cause_and_how_to_allow_it(shop):
    with pytest.raises(ConfigError, match="answer_too_long") as caught:
        shop.build(**mixture(shop, "refused", [(256, "20K")]))
    assert "max_lost: " in caught.value.render()


def test_dropping_may_lose_no_more_than_trimming_unless_allowed(shop):
    given = mixture(shop, "dropping", [(512, "20K")])
    source = given["sources"][0]
    source |= {"too_long": "drop"}
    source.pop("min_reasoning", None)
    with pytest.raises(ConfigError, match="dropped: too_long") as caught:
        shop.build(**given)
    assert "at most max_lost: 0.01" in caught.value.render()
    allowed = caught.value.render().split("allow it: max_lost: ")[1].split()[0]
    source["max_lost"] = allowed
    lost = [row["dropped_tokens"] / (row["index_tokens"] + row["dropped_tokens"]) for row in shop.build(**given).rows]
    assert lost == pytest.approx([float(allowed.rstrip("%")) / 100], abs=0.01)


@pytest.mark.parametrize(("max_lost", "refused"), [("1%", True), ("95%", False)])
def test_a_plan_refuses_what_a_build_would(shop, max_lost, refused):
    given = mixture(shop, "unbuilt_drop", [(512, "20K")])
    given["sources"][0] |= {"too_long": "drop", "max_lost": max_lost}
    given["sources"][0].pop("min_reasoning", None)
    refusals = plan_mixture.plan(schema.load(shop.yaml("drop.yaml", {**shop.mixture(), **given}))).refusals
    assert [True for one in refusals if "sampled documents" in one.render()] == [True] * refused
    assert len(refusals) == refused


def test_trimming_needs_a_template_and_whole_documents(shop):
    for wrong in ({"template": None}, {"pack": "chunk"}, {"too_long": "drop", "min_reasoning": 4}):
        with pytest.raises(ConfigError, match="trim"):
            shop.build(**mixture(shop, "refused", **wrong))
