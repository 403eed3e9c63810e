"""A built mixture, read: what was planned stands in the batches, and nothing that was held out; damage is found."""

import itertools
import shutil
from copy import deepcopy as copy_of
from dataclasses import replace

import numpy as np
import orjson
import pytest
import xxhash
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import Manifest
from midtrain.mixtures.built import Built
from midtrain.mixtures.gather import PADDING
from midtrain.mixtures.parts_table import PART
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.pipelines.read_parts import read_part

SOURCES = ("web", "worked", "twins")


@pytest.fixture(scope="module")
def built(built_workshop):
    return Built.open(built_workshop.root / "shards")


@pytest.fixture(scope="module")
def tokenizer(built):
    return Tokenizer.open(built.tokenizer_path, built.end_of_document_text)


@pytest.fixture(scope="module")
def curated(built_workshop):
    """The curated documents by id."""
    manifest = orjson.loads((built_workshop.root / "out/manifest.json").read_bytes())
    paths = [built_workshop.root / "out" / entry["path"] for entry in manifest["files"]]
    return {row["id"]: row for path in paths for batch in read_part(path) for row in batch.to_pylist()}


@pytest.fixture(scope="module")
def table(built_workshop):
    return orjson.loads(next(built_workshop.root.glob("shards/table-*.json")).read_bytes())


def test_shards_of_another_version_are_an_error_that_says_so(built_workshop, tmp_path):
    manifest = Manifest.read(built_workshop.root / "shards")
    replace(manifest, version=manifest.version - 1).write(tmp_path)
    with pytest.raises(RunError, match="another version of midtrain") as caught:
        Built.open(tmp_path)
    assert "midtrain build" in caught.value.render()


def test_a_result_that_is_replaced_while_it_is_opened_gives_way_to_the_next(built_workshop, tmp_path, monkeypatch):
    folder, checked = tmp_path / "shards", Built._checked.__func__
    shutil.copytree(built_workshop.root / "shards", folder)

    def replaced(cls, folder, manifest):
        monkeypatch.setattr(Built, "_checked", classmethod(checked))
        replace(manifest, counts={**manifest.counts, "again": 1}).write(folder)
        raise RunError("the file is missing", where=str(folder / "the-table-before.json"))

    monkeypatch.setattr(Built, "_checked", classmethod(replaced))
    assert Built.open(folder).phases.keys() == {"first", "second"}


def whole(built, phase):
    return built.batch(phase, 0, built.phases[phase].sequences)


def documents(built, source, kind="part"):
    """Id, tokens and loss mask of every document of a source."""
    shards = built.shards(source, kind)
    for part in range(len(shards.parts)):
        rows = shards.documents(part)
        for name, start, size in zip(*(rows.column(c).to_pylist() for c in ("id", "start", "tokens")), strict=True):
            yield name, shards.read(part, start, size).tolist(), shards.loss(part, start, size)


def pieces(batch):
    """Source number, tokens, positions and loss mask of every segment of every row."""
    for row, source in enumerate(batch.sources.tolist()):
        for segment in range(int(batch.segments[row].max()) + 1):
            inside = batch.segments[row] == segment
            yield source, batch.tokens[row][inside], batch.positions[row][inside], batch.loss_mask[row][inside]


def drawn(built, source, phases):
    """For each part of a source, how often each of its tokens stands in a sequence of these phases."""
    times = [np.zeros(part.tokens, int) for part in built.shards(source).parts]
    for phase, place in ((name, i) for name in phases for i in range(built.phases[name].sequences)):
        of, spans = built.order.spans(phase, place)
        for part, start, length, _ in spans.tolist() if of == source else ():
            times[part][start : start + length] += 1
    return times


# What was planned


def test_realised_sequences_are_the_quota_and_tokens_within_one_sequence_of_the_plan(built, table):
    assert [(row["phase"], row["source"]) for row in table] == list(itertools.product(built.phases, sorted(SOURCES)))
    for row in table:
        phase, batch = built.phases[row["phase"]], whole(built, row["phase"])
        number = phase.source_names.index(row["source"])
        mine = batch.sources == number
        assert mine.sum() == row["sequences"] == built.order.phase(phase.name).quotas[number] > 0
        assert (batch.segments[mine] != PADDING).sum() == row["tokens"]
        assert (batch.segments[mine] == PADDING).sum() == row["padding"]
        assert abs(row["tokens"] - row["planned_tokens"]) <= phase.sequence_length
    planned = {(row["phase"], row["source"]): row["planned_tokens"] for row in table}
    assert (planned["first", "web"], planned["first", "twins"], planned["second", "worked"]) == (2800, 400, 3000)


def test_no_token_is_drawn_twice_before_the_epoch_ends(built, table):
    for source in ("web", "worked"):
        assert max(row["epochs"] for row in table if row["source"] == source) <= 1
        times = np.concatenate(drawn(built, source, built.phases))
        assert times.max() == 1
        assert times.sum() == sum(row["tokens"] for row in table if row["source"] == source)


def test_every_epoch_of_a_pack_holds_every_token_that_fits_once(built):
    seen = set()
    for phase, before in (("first", ()), ("second", ("first",))):
        order = built.order.phase(phase)
        for entry in order.entries:
            length, shards = order.sequence_length, built.shards(entry.name)
            for kind, pool in (("full", entry.full), ("rest", entry.rest)):
                if pool is None:
                    continue
                pack = built.order.index(phase, pool.index)
                times = [np.zeros(part.tokens, int) for part in shards.parts]
                for number in range(len(pack)):
                    assert 0 < pack.sequence(number)["length"].sum() <= length
                    for part, start, size, _ in pack.sequence(number).tolist():
                        times[part][start : start + size] += 1
                expected = [np.ones(part.tokens, int) for part in shards.parts]
                if kind == "rest":
                    expected = [
                        one - gone for one, gone in zip(expected, drawn(built, entry.name, before), strict=True)
                    ]
                if entry.name != "web":  # packed whole: what is longer than the sequence was dropped
                    for part, one in enumerate(expected):
                        for start, stop in itertools.pairwise([0, *shards.ends(part).tolist()]):
                            one[start:stop] *= stop - start <= length
                for one, other in zip(times, expected, strict=True):
                    np.testing.assert_array_equal(one, other)
                seen.add((entry.name, kind))
    assert {("web", "full"), ("worked", "full"), ("web", "rest"), ("worked", "rest")} <= seen


def test_a_source_that_may_repeat_goes_through_all_before_it_begins_anew(curated_workshop, tmp_path):
    sources = [source for source in curated_workshop.mixture()["sources"] if source["name"] != "worked"]
    weights = {name: {"share": share, "max_epochs": 9} for name, share in (("web", 0.6), ("twins", 0.4))}
    result = curated_workshop.build(
        output=str(tmp_path / "shards"),
        sources=sources,
        tokenizer={"train": {"vocab_size": 400, "sources": ["web"]}},
        phases=[{"name": "only", "sequence_length": 256, "tokens": "60K", "weights": weights}],
    )
    for row in result.rows:
        assert row["epochs"] > 1
        times = np.concatenate(drawn(Built.open(tmp_path / "shards"), row["source"], ["only"]))
        assert {times.min(), times.max()} == {int(row["epochs"]), int(np.ceil(row["epochs"]))}


# Shards


def test_documents_stand_in_the_order_of_their_hash_each_with_its_end(built, curated):
    selected = {"web": ("a", "b"), "worked": ("worked",), "twins": ("twins",)}
    for source, names in selected.items():
        kinds = {kind: list(documents(built, source, kind)) for kind in ("part", "held_out")}
        for found in kinds.values():
            ids = [name for name, _, _ in found]
            assert ids == sorted(ids, key=lambda name: xxhash.xxh3_128_intdigest(name.encode()))
            for _, tokens, _ in found:
                assert tokens.count(built.end_of_document) == 1
                assert tokens[-1] == built.end_of_document
        together = {name for found in kinds.values() for name, _, _ in found}
        assert together == {name for name, row in curated.items() if row["source"] in names}
        assert sum(map(len, kinds.values())) == len(together)


def test_text_is_all_trained_and_comes_back(built, tokenizer, curated):
    for kind in ("part", "held_out"):
        for name, tokens, loss in documents(built, "web", kind):
            assert loss.all()
            assert tokenizer.decode(tokens) == curated[name]["text"] + built.end_of_document_text


@pytest.mark.parametrize("source", ["worked", "twins"])
def test_of_a_conversation_the_assistants_words_and_the_end_of_its_turn_are_trained(built, tokenizer, curated, source):
    for kind in ("part", "held_out"):
        for name, tokens, loss in documents(built, source, kind):
            question, answer = curated[name]["messages"]
            said = answer["content"]
            if answer["reasoning"]:
                said = f"<think>\n{answer['reasoning']}\n</think>\n\n{said}"
            assert bool(answer["reasoning"]) == (source == "worked")
            assert tokenizer.decode([t for t, on in zip(tokens, loss, strict=True) if on]) == f"{said}<|im_end|>"
            asked = f"<|im_start|>user\n{question['content']}<|im_end|>\n<|im_start|>assistant\n"
            assert tokenizer.decode(tokens) == f"{asked}{said}<|im_end|>\n{built.end_of_document_text}"


# Batches


def test_a_segment_is_a_piece_of_one_document_and_counts_from_zero(built):
    known = {source: [tokens for _, tokens, _ in documents(built, source)] for source in SOURCES}
    text = np.concatenate(known["web"]).astype(np.int32).tobytes()
    for name, phase in built.phases.items():
        for source, tokens, positions, _ in pieces(whole(built, name)):
            np.testing.assert_array_equal(positions, np.arange(len(tokens)))
            assert built.end_of_document not in tokens[:-1]
            if phase.source_names[source] == "web":
                assert tokens.astype(np.int32).tobytes() in text
            else:
                assert tokens.tolist() in known[phase.source_names[source]]


def test_padding_is_at_the_end_and_counts_for_nothing(built):
    for name in built.phases:
        batch = whole(built, name)
        padding = batch.segments == PADDING
        assert padding.any()
        assert (np.diff(padding.astype(int), axis=1) >= 0).all()
        assert (batch.tokens[padding] == built.end_of_document).all()
        assert not batch.loss_mask[padding].any()
        assert not batch.positions[padding].any()
        assert (batch.tokens.dtype, batch.segments.dtype, batch.sources.dtype) == (np.int64, np.int32, np.int32)


def test_the_phase_says_what_is_trained(built, tokenizer):
    loss = {source: {tuple(tokens): mask for _, tokens, mask in documents(built, source)} for source in SOURCES}
    seen = set()
    for name, phase in built.phases.items():
        for number, tokens, _, mask in pieces(whole(built, name)):
            source = phase.source_names[number]
            everything = source == "web" or (name, source) == ("first", "worked")  # the mixture's `loss: all`
            assert mask.all() == everything
            if source != "web" and not everything:
                np.testing.assert_array_equal(mask, loss[source][tuple(tokens.tolist())])
                assert tokenizer.decode(tokens[mask].tolist()).endswith("<|im_end|>")
            seen.add((name, source, everything))
    assert len(seen) == 6


def test_slices_of_a_phase_are_rows_of_the_whole(built):
    for name, phase in built.phases.items():
        batch, cut = whole(built, name), 0
        for size in (1, 3, phase.sequences - 4):
            part = built.batch(name, cut, size)
            assert part.first_index == cut
            for field in ("tokens", "positions", "segments", "loss_mask", "sources"):
                np.testing.assert_array_equal(getattr(part, field), getattr(batch, field)[cut : cut + size])
            cut += size
        for first, count in ((0, phase.sequences + 1), (-1, 1), (phase.sequences, 1)):
            with pytest.raises(IndexError, match=name):
                built.batch(name, first, count)


# Held out


def first_question(row):
    return " ".join(row["messages"][0]["content"].split())


def test_what_is_held_out_stands_in_no_batch(built):
    rows = b"".join(whole(built, name).tokens.tobytes() for name in built.phases)
    for source in SOURCES:
        held_out = list(documents(built, source, "held_out"))
        assert len(held_out) == built.sources[source].held_out_documents > 0
        for _, tokens, _ in held_out:
            assert np.array(tokens, np.int64).tobytes() not in rows
            assert np.array(tokens[:24], np.int64).tobytes() not in rows or source != "web"
        assert any(np.array(t, np.int64).tobytes() in rows for _, t, _ in documents(built, source))
    assert built.sources["web"].held_out_documents == 10
    assert built.sources["worked"].held_out_documents == 12


def test_a_problem_held_out_in_one_source_is_held_out_in_the_other(built, curated):
    asked = {
        (source, kind): {first_question(curated[name]) for name, _, _ in documents(built, source, kind)}
        for source in ("worked", "twins")
        for kind in ("part", "held_out")
    }
    assert asked["worked", "held_out"] == asked["twins", "held_out"]
    assert asked["worked", "part"] == asked["twins", "part"]
    assert not asked["worked", "part"] & asked["twins", "held_out"]
    worked, twins = ({n for n, _, _ in documents(built, s, "held_out")} for s in ("worked", "twins"))
    assert worked.isdisjoint(twins)  # it is the problem that they share


@pytest.mark.parametrize("source", SOURCES)
def test_held_out_documents_come_with_the_bytes_of_their_trained_text(built, tokenizer, source):
    found = list(built.held_out(source))
    assert [one.tokens.tolist() for one in found] == [tokens for _, tokens, _ in documents(built, source, "held_out")]
    for one in found:
        trained = [t for t, on in zip(one.tokens.tolist(), one.loss, strict=True) if on and t != built.end_of_document]
        assert one.bytes == len(tokenizer.decode(trained).encode())


def test_a_source_that_is_not_there_is_an_error(built):
    with pytest.raises(ConfigError, match="no source is called wbe") as caught:
        next(built.held_out("wbe"))
    assert "web" in str(caught.value.expected)


# Damage


@pytest.fixture
def copy(built_workshop, tmp_path):
    return shutil.copytree(built_workshop.root / "shards", tmp_path / "shards")


def vouched_for(root):
    """All files that the manifest names, and those of the folders whose manifests it names."""
    listed = [root / file.path for file in Manifest.read(root).files]
    folders = [path.parent for path in listed if path.name == "manifest.json"]
    return listed, [folder / file.path for folder in folders for file in Manifest.read(folder).files]


def test_every_file_is_missed_and_its_size_checked(copy):
    listed, below = vouched_for(copy)
    kinds = {path.suffix or path.name for path in (*listed, *below)}
    assert {".tokens", ".ends", ".loss", ".parquet", ".json", ".counts", ".spans", ".sequences", "parts"} <= kinds
    assert len(listed) < 30
    for path in {*listed, *below}:
        content = path.read_bytes()
        for damaged in (content[:-1], content + b"\0"):
            path.write_bytes(damaged)
            with pytest.raises(RunError, match=r"cut short|grown") as caught:
                Built.open(copy)
            assert caught.value.where == str(path)
        path.unlink()
        with pytest.raises(RunError, match="missing"):
            Built.open(copy)
        path.write_bytes(content)
    assert list(Built.open(copy).phases) == ["first", "second"]


def test_all_that_is_read_is_vouched_for(copy, built):
    listed, below = vouched_for(copy)
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        if path not in {*listed, *below} and path != copy / "manifest.json":
            path.unlink()
    for path in listed:
        if path.name == "manifest.json":
            path.write_bytes(bytes(path.stat().st_size))  # of stages: nothing that trains reads them
    bare = Built.open(copy)
    bare.open_tokenizer()
    for name in built.phases:
        np.testing.assert_array_equal(whole(bare, name).tokens, whole(built, name).tokens)
    for source in SOURCES:
        assert sum(one.bytes for one in bare.held_out(source)) == sum(one.bytes for one in built.held_out(source))


def test_a_table_of_another_build_is_refused(copy, built):
    path = copy / built.sources["web"].tokens / "parts"
    table = np.fromfile(path, PART)
    table["documents"][0] += 1
    table.tofile(path)
    with pytest.raises(RunError, match=r"shard cut short|not the one that was built"):
        Built.open(copy)


@pytest.mark.parametrize("folder", ["", "out"])
def test_a_folder_without_shards_is_an_error(built_workshop, folder):
    with pytest.raises(ConfigError, match="no built shards"):
        Built.open(built_workshop.root / folder)


def test_a_manifest_that_is_none_is_an_error(copy):
    (copy / "manifest.json").write_bytes(b"{}")
    with pytest.raises(RunError, match="is not a manifest"):
        Built.open(copy)


def test_another_tokenizer_is_noticed(copy):
    built = Built.open(copy)
    assert built.open_tokenizer().hash == built.tokenizer_hash
    content = built.tokenizer_path.read_bytes()
    built.tokenizer_path.write_bytes(content[:-1] + b" ")  # as long as it was
    for reads in (built.open_tokenizer, lambda: Built.open(copy)):
        with pytest.raises(RunError, match="not the one that made the shards") as caught:
            reads()
        assert caught.value.expected == built.tokenizer_hash
        assert len(caught.value.seen) == len(built.tokenizer_hash)
        assert caught.value.seen != caught.value.expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda options: options["tokenizer"].update(dtype="uint32"), "contradicts itself: dtype"),
        (lambda options: options["tokenizer"].update(end_of_document=3), "contradicts itself: end_of_document"),
        (lambda options: options["tokenizer"]["special"].update({"<x>": 10**6}), "contradicts itself: special ids"),
        (lambda options: options["tokenizer"].pop("special"), "lacks special"),
        (lambda options: options["sources"]["web"].update(ends_of_document=1), "as many end-of-document tokens"),
        (lambda options: options["sources"]["web"].update(documents=1, ends_of_document=1), "the one that was built"),
    ],
)
def test_what_the_manifest_says_of_the_tokenizer_is_held_against_itself(copy, change, complaint):
    manifest = Manifest.read(copy)
    options = copy_of(manifest.options)
    change(options)
    replace(manifest, options=options).write(copy)
    with pytest.raises(RunError, match=complaint) as caught:
        Built.open(copy)
    assert caught.value.seen != caught.value.expected


def test_special_ids_of_the_record_are_held_against_the_file(copy):
    manifest = Manifest.read(copy)
    options = copy_of(manifest.options)
    options["tokenizer"]["special"]["<think>"] += 1
    replace(manifest, options=options).write(copy)
    with pytest.raises(RunError, match="not the one that made the shards") as caught:
        Built.open(copy).open_tokenizer()
    assert "<think>" in caught.value.seen
    assert "<think>" in caught.value.expected


def test_a_build_can_be_moved(copy, built):
    assert Built.open(copy).fingerprint == built.fingerprint
    for name in built.phases:
        np.testing.assert_array_equal(whole(Built.open(copy), name).tokens, whole(built, name).tokens)


def test_a_token_outside_the_vocabulary_names_the_shards_and_the_sequence(copy):
    path = next(copy.glob("tokens/*/part-00000.tokens"))
    path.write_bytes(b"\xff" * path.stat().st_size)  # of the right size: only reading it can tell
    damaged = Built.open(copy)
    with pytest.raises(RunError, match="a token is outside the vocabulary") as caught:
        assert [whole(damaged, name) for name in damaged.phases]
    assert f"{path.parent}, phase first, sequence " in caught.value.where
    assert (caught.value.seen, caught.value.expected) == (65535, f"below {damaged.vocab_size}")
