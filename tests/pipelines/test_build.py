"""Building as a whole: one result whatever the processes, files and cuts, and errors that say what to do."""

import itertools
import shutil

import numpy as np
import orjson
import pytest
from midtrain import manifest, storage
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import schema
from midtrain.mixtures.built import Built
from midtrain.pipelines import build as builds
from midtrain.pipelines import inputs, parts, tokenize_stages
from midtrain.pipelines.executor import InProcess
from midtrain.progress import Progress
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]


def batches(built):
    """All sequences of all phases: tokens, positions, segments, loss masks and names of sources."""
    found = {}
    for name, phase in built.phases.items():
        rows = built.batch(name, 0, phase.sequences)
        sources = [phase.source_names[number] for number in rows.sources]
        found[name] = (rows.tokens.tolist(), rows.segments.tolist(), rows.loss_mask.tolist(), sources)
    return found


def contents(workshop):
    """The bytes of shards and packs, by names without the fingerprints of folders."""
    found = {}
    for path in [*workshop.root.glob("shards/tokens/*/*"), *workshop.root.glob("shards/packs/*/*")]:
        if path.name != "manifest.json":
            key = (path.parent.parent.name, path.parent.name.rpartition("-")[0], path.name)
            assert key not in found
            found[key] = path.read_bytes()
    return found


# One result


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_any_number_of_processes_makes_the_same_files(shop, built_workshop, workers):
    result = shop.build(workers=workers)
    assert result.tasks_run > 8
    assert shop.hashes("shards") == built_workshop.hashes("shards")


def mixed_workshop(workshop, files, shuffled=False):
    """A workshop whose text lies in so many files, curated and built with a tokenizer from a file."""
    shop = type(workshop)(workshop.root / f"{files}-{shuffled}")
    records = shop.records("d", [f"{text} ({i})" for i, text in enumerate(shop.texts(60))])
    order = np.random.default_rng(3).permutation(60) if shuffled else np.arange(60)
    for number, chosen in enumerate(np.array_split(order, files)):
        shop.jsonl(f"d-{number}.jsonl", [records[i] for i in chosen])
    shop.curate(
        sources=[{"name": "d", "path": f"{shop.root}/data/d-*.jsonl", "format": "jsonl"}],
        steps=[{"gopher_quality": {"min_words": 25}}],
    )
    return shop


def plain_mixture(shop, tokenizer):
    source = {"name": "web", "documents": str(shop.root / "out"), "held_out": 5}
    phases = [
        {"name": "one", "sequence_length": 64, "tokens": 2000, "weights": {"web": 1}},
        {"name": "two", "sequence_length": 100, "tokens": 800, "weights": {"web": 1}},
    ]
    return shop.build(tokenizer=tokenizer, sources=[source], phases=phases)


def test_files_and_cuts_change_no_shard_no_pack_and_no_order(workshop, built_workshop, monkeypatch):
    (path,) = built_workshop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
    tokenizer = {"path": str(path), "end_of_document": "<|end|>"}
    one, seven = mixed_workshop(workshop, 1), mixed_workshop(workshop, 7, shuffled=True)
    monkeypatch.setattr(inputs, "MIN_SPLIT", 1500)
    cut = mixed_workshop(workshop, 2)
    shops = [one, seven, cut]
    for shop in shops:
        plain_mixture(shop, tokenizer)
    assert len({len(list(shop.root.glob("out/stages/*/part-*"))) for shop in shops}) > 1
    assert contents(one) == contents(seven) == contents(cut)
    assert ("tokens", "web", "part-00000.tokens") in contents(one)
    orders = [batches(Built.open(shop.root / "shards")) for shop in shops]
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]["one"][0]) > 20


def test_hash_ranges_change_no_document_and_no_order_of_them(shop, built_workshop, monkeypatch):
    monkeypatch.setattr(tokenize_stages, "PARTITION_BYTES", 3000)
    shop.build()
    many, one = Built.open(shop.root / "shards"), Built.open(built_workshop.root / "shards")
    for source, kind in itertools.product(one.sources, ("part", "held_out")):
        ids, tokens, loss = (
            [read(built, source, kind) for built in (one, many)] for read in (all_ids, all_tokens, all_loss)
        )
        assert ids[0] == ids[1]
        np.testing.assert_array_equal(tokens[0], tokens[1])
        np.testing.assert_array_equal(loss[0], loss[1])
    assert len(many.shards("web").parts) > 3
    assert 1 < len(many.shards("web", "held_out").parts) < len(many.shards("web").parts)  # some ranges hold none
    total = sum(phase.sequences for phase in many.phases.values())
    assert sum(len(rows[0]) for rows in batches(many).values()) == total


def all_ids(built, source, kind="part"):
    shards = built.shards(source, kind)
    return [name for part in range(len(shards.parts)) for name in shards.documents(part).column("id").to_pylist()]


def all_tokens(built, source, kind="part"):
    shards = built.shards(source, kind)
    return np.concatenate([shards.tokens(part) for part in range(len(shards.parts))] or [np.empty(0)])


def all_loss(built, source, kind="part"):
    shards = built.shards(source, kind)
    found = [shards.loss(part, 0, shards.parts[part].tokens) for part in range(len(shards.parts))]
    return np.concatenate(found or [np.empty(0)])


def test_the_result_is_the_one_of_this_version(workshop):
    """A change of tokens, packs or order must raise the version of the stage, or of build, that makes it."""
    shop = mixed_workshop(workshop, 1)
    tokenizer = byte_tokenizer(shop.root / "tokenizer.json")
    plain_mixture(shop, {"path": str(tokenizer), "end_of_document": "<|end|>"})
    found = contents(shop)
    sized = (".parquet", "parts")  # a library's version may change the size of Parquet, which tables of tokens hold
    raw = {
        "/".join(key): value.hex() for key, value in found.items() if key[0] == "packs" or not key[2].endswith(sized)
    }
    assert len(raw) == 7
    assert manifest.fingerprint([raw, batches(Built.open(shop.root / "shards"))]) == "5bd3bf22cc71371fbfb15e0d0260fe75"


def byte_tokenizer(path):
    """A tokenizer.json of bytes and special tokens alone: a training library's version cannot change it."""
    alphabet = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    library = Tokenizer(models.BPE(alphabet, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(SPECIAL)
    library.save(str(path))
    return path


# Once done


def test_the_first_documents_are_shown_as_they_decode(shop, midtrain):
    said = midtrain("build", shop.yaml("mixture.yaml", shop.mixture()), "--workers", 0)
    assert said.code == 0
    shown = [line for line in said.out.splitlines() if " tokens: '" in line]
    assert sorted(line.split()[0] for line in shown) == ["twins", "web", "worked"]
    turns = [line for line in shown if not line.startswith("web")]
    assert all("tokens: '<|im_start|>user" in line for line in turns)


def test_a_second_build_opens_nothing_and_says_so(shop, midtrain, monkeypatch):
    mixture = shop.yaml("mixture.yaml", shop.mixture())
    first = midtrain("build", mixture, "--workers", 0, "--json")
    assert first.code == 0
    before, events = shop.hashes("shards"), shop.events("shards")
    monkeypatch.setattr(parts.pq, "ParquetFile", lambda path: pytest.fail(f"{path} was opened"))
    said = midtrain("build", mixture, "--workers", 0)
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("nothing to do: every stage was done\n")
    data = orjson.loads(midtrain("build", mixture, "--workers", 0, "--json").out)
    assert data == {**orjson.loads(first.out), "tasks_run": 0}
    assert shop.hashes("shards") == before
    assert shop.events("shards") == events


def test_another_mixture_is_refused_and_replaces_when_told(shop, midtrain):
    shop.build()
    before = shop.hashes("shards")
    changed = shop.yaml("changed.yaml", shop.mixture(seed=2))
    said = midtrain("build", changed, "--workers", 0)
    assert said.code == 2
    assert "holds another result of build" in said.err
    assert shop.hashes("shards") == before
    replaced = midtrain("build", changed, "--workers", 0, "--overwrite", "--json")
    assert orjson.loads(replaced.out)["tasks_run"] > 0
    assert shop.hashes("shards")["manifest.json"] != before["manifest.json"]


def test_other_phases_tokenize_nothing_again(shop):
    shop.build()
    phases = shop.mixture()["phases"]
    result = shop.build(phases=phases[:1], overwrite=True)
    assert result.tasks_run == 0
    assert list(Built.open(shop.root / "shards").phases) == ["first"]


def test_the_order_of_weights_and_of_sources_is_no_part_of_the_result(shop):
    shop.build()
    before = batches(Built.open(shop.root / "shards"))
    first, second = shop.mixture()["phases"]
    turned = {**first, "weights": dict(reversed(first["weights"].items()))}
    sources = shop.mixture()["sources"][::-1]
    assert shop.build(phases=[turned, second], sources=sources).tasks_run == 0
    assert batches(Built.open(shop.root / "shards")) == before


def test_a_weight_written_at_length_is_the_same_result(shop):
    shop.build()
    first, second = shop.mixture()["phases"]
    weights = {**first["weights"], "web": {"share": 0.7, "loss": "assistant", "max_epochs": 1}}
    assert shop.build(phases=[{**first, "weights": weights}, second]).tasks_run == 0


def test_another_seed_tokenizes_nothing_again_where_nothing_is_held_out(shop):
    sources = [{key: value for key, value in one.items() if key != "held_out"} for one in shop.mixture()["sources"]]
    shop.build(sources=sources)
    before = batches(Built.open(shop.root / "shards"))
    ended = len(shop.finished("shards"))
    shop.build(sources=sources, seed=2, overwrite=True)
    again = shop.finished("shards")[ended:]
    assert all((shop.root / "shards/packs" / folder).is_dir() for folder, _ in again)  # other rests are left
    assert batches(Built.open(shop.root / "shards")) != before


def test_a_mixture_that_lies_in_its_output_is_not_replaced_by_its_record(shop):
    mixture = shop.yaml("mixture.yaml", {**shop.mixture(), "output": str(shop.root)})
    before = mixture.read_bytes()
    builds.build(schema.load(mixture), InProcess(), Progress(shown=False))
    assert mixture.read_bytes() == before
    assert Built.open(shop.root).phases


def test_a_dry_run_writes_nothing(shop, midtrain):
    mixture = shop.yaml("mixture.yaml", shop.mixture())
    said = midtrain("build", mixture, "--dry-run")
    assert said.code == 0
    assert [line.split()[-2:] for line in said.out.splitlines()[1:]] == [["to", "do"]] * 3
    assert not (shop.root / "shards").exists()
    shop.build()
    stages = orjson.loads(midtrain("build", mixture, "--dry-run", "--json").out)["stages"]
    assert [stage["done"] for stage in stages] == [True] * 3


def test_the_table_and_the_json_say_the_same(shop, midtrain):
    mixture = shop.yaml("mixture.yaml", shop.mixture())
    data = orjson.loads(midtrain("build", mixture, "--json", "--workers", 0).out)
    text = midtrain("build", mixture, "--workers", 0).out
    lines = [line.split() for line in text.splitlines() if line.startswith(("first ", "second "))]
    lines = [line for line in lines if line[1] in data["sources"]]  # a phase of several ends with their sum
    assert [line[:2] for line in lines] == [[row["phase"], row["source"]] for row in data["rows"]]
    for line, row in zip(lines, data["rows"], strict=True):
        assert line[3:6] == [f"{row[key]:,}" for key in ("available", "planned_tokens", "tokens")]
        assert line[6:8] == [f"{row['tokens'] - row['planned_tokens']:+,}", f"{row['sequences']:,}"]
    first = [line.split()[0] for line in text.splitlines()[1:4]]
    assert first == ["twins", "web", "worked"]


# What cannot be built


def test_a_mixture_that_cannot_be_had_says_why(shop, midtrain):
    def said(**changed):
        found = midtrain("build", shop.yaml("mixture.yaml", shop.mixture(**changed)), "--workers", 0)
        assert "Traceback" not in found.err
        return found

    phases = shop.mixture()["phases"]
    repeats = said(phases=[{**phases[0], "tokens": "10M"}])
    assert (repeats.code, "would repeat more often" in repeats.err) == (2, True)
    sources = shop.mixture()["sources"]
    del sources[1]["too_long"]
    long = said(sources=sources, phases=[{**phases[0], "sequence_length": 40}])
    assert (long.code, "longer than the sequence" in long.err) == (2, True)
    nowhere = said(sources=[{**source, "documents": "/no/where"} for source in sources])
    assert (nowhere.code, "run midtrain curate first" in nowhere.err) == (2, True)
    assert "mixture.yaml:" in nowhere.err


@pytest.mark.parametrize(
    ("special", "end", "what"),
    [
        (SPECIAL[1:], None, "no token is known to end a document"),
        (SPECIAL, "<|stop|>", "no end-of-document token <|stop|>"),
        (["<|end|>", "</s>"], None, "several tokens could end a document"),
        (["<|end|>", "<think>"], None, "lacks <|im_start|>"),
        (SPECIAL, "<|im_end|>", "one of the template chatml"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_an_error(shop, midtrain, special, end, what):
    path = byte_tokenizer(shop.root / "tokenizer.json")
    data = orjson.loads(path.read_bytes())
    data["added_tokens"] = [
        {**token, "id": 256 + number, "content": content}
        for number, (token, content) in enumerate(zip(itertools.cycle(data["added_tokens"]), special, strict=False))
    ]
    path.write_bytes(orjson.dumps(data))
    tokenizer = {"path": str(path), **({"end_of_document": end} if end else {})}
    said = midtrain("build", shop.yaml("mixture.yaml", shop.mixture(tokenizer=tokenizer)), "--workers", 0)
    assert said.code == 2
    assert what in said.err
    assert "mixture.yaml:" in said.err.splitlines()[1]
    assert ": tokenizer.path: " in said.err.splitlines()[1]
    assert "Traceback" not in said.err
    assert not list((shop.root / "shards").glob("stages/*"))  # before anything ran


def test_a_folder_names_the_tokenizer_in_it(shop):
    byte_tokenizer(shop.root / "tokenizer.json")
    shop.build(tokenizer=str(shop.root))
    assert Built.open(shop.root / "shards").vocab_size == 256 + len(SPECIAL)


def test_a_changed_tokenizer_file_makes_other_shards(shop):
    path = byte_tokenizer(shop.root / "tokenizer.json")
    shop.build(tokenizer=str(path))
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ConfigError, match="another result"):
        shop.build(tokenizer=str(path))


def test_curated_documents_cut_short_are_found(workshop, midtrain):
    workshop.corpus()
    workshop.curate()
    part = next(workshop.root.glob("out/stages/exact_dedup-*/rows/part-00000.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    said = midtrain("build", workshop.yaml("mixture.yaml", workshop.mixture()), "--workers", 0)
    assert said.code == 1
    assert f"{part}: the file was cut short" in said.err


def test_a_finished_build_cut_short_is_found(shop, midtrain):
    shop.build()
    path = next((shop.root / "shards").glob("tokens/web-*/part-00000.tokens"))
    path.write_bytes(path.read_bytes()[:-1])
    said = midtrain("build", shop.root / "mixture.yaml", "--workers", 0)
    assert said.code == 1
    assert str(path) in said.err


@pytest.mark.parametrize(
    "pattern",
    ["tokens/web-*/part-00000.tokens", "tokens/web-*/parts", "packs/worked-*/*.spans", "order/first-*.counts"],
)
def test_a_damaged_part_is_removed_as_told_and_made_anew(shop, midtrain, built_workshop, pattern):
    """Every reader names the same small part, and with it removed a build makes that alone."""
    shutil.copytree(built_workshop.root / "shards", shop.root / "shards")
    mixture, output = shop.yaml("mixture.yaml", shop.mixture()), shop.root / "shards"
    before = shop.hashes("shards")
    path = next(output.glob(pattern))
    path.write_bytes(path.read_bytes()[:-1])
    name = path.name if pattern.startswith("order") else path.parent.name
    unit = path.relative_to(output).parts[0] + "/" + name
    fix = f"remove {unit} and manifest.json below {output}, and run midtrain build again: what is whole is kept"
    for command in (("build", mixture, "--workers", 0), ("plan", mixture, "--why"), ("peek", output)):
        said = midtrain(*command)
        assert said.code == 1
        assert fix in " ".join(said.err.split()), said.err
    shutil.rmtree(output / unit) if (output / unit).is_dir() else (output / unit).unlink()
    stages = orjson.loads(midtrain("plan", mixture, "--why", "--json").out)["stages"]
    to_do = [stage["stage"] for stage in stages if not stage["done"]]
    assert to_do
    assert "manifest" not in to_do
    (output / "manifest.json").unlink()
    assert midtrain("build", mixture, "--workers", 0).code == 0
    assert shop.hashes("shards") == before
    shutil.rmtree(output / unit) if (output / unit).is_dir() else (output / unit).unlink()
    assert midtrain("build", mixture, "--workers", 0).code == 0  # the manifest stood this time
    assert shop.hashes("shards") == before


def test_another_tokenizer_file_is_removed_as_told(shop, built_workshop):
    shutil.copytree(built_workshop.root / "shards", shop.root / "shards")
    path = next(shop.root.glob("shards/stages/tokenizer-*/tokenizer.json"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b" ")
    with pytest.raises(RunError, match="not the one that made the shards") as caught:
        Built.open(shop.root / "shards")
    assert f"remove stages/{path.parent.name} and manifest.json below" in str(caught.value.fix)
    shutil.rmtree(path.parent)
    shop.build()
    assert path.read_bytes() == content
    assert Built.open(shop.root / "shards").phases


def test_a_replacement_that_fails_leaves_what_stands(shop, built_workshop):
    shutil.copytree(built_workshop.root / "shards", shop.root / "shards")
    output, before = shop.root / "shards", shop.hashes("shards")
    record = (output / "mixture.yaml").read_bytes()
    phases = shop.mixture()["phases"]
    with pytest.raises(ConfigError, match="would repeat more often"):
        shop.build(overwrite=True, phases=[phases[0], {**phases[1], "tokens": "10M"}])
    assert {name: value for name, value in shop.hashes("shards").items() if name in before} == before
    assert (output / "mixture.yaml").read_bytes() == record
    assert not (output / "history").exists()
    assert Built.open(output).fingerprint == manifest.Manifest.read(built_workshop.root / "shards").fingerprint
    assert shop.build().tasks_run == 0


def test_the_version_is_part_of_the_result(shop, monkeypatch):
    shop.build()
    monkeypatch.setattr(builds, "VERSION", builds.VERSION + 1)
    with pytest.raises(ConfigError, match="another result"):
        shop.build()
    assert storage.exists(shop.root / "shards/manifest.json")
