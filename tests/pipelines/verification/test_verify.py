"""midtrain verify: a damaged file is named whatever it is, and what is whole but wrong is found by counting."""

import copy
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midtrain import storage
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import NAME, Manifest, OutputFile
from midtrain.mixtures import schema
from midtrain.pipelines import build as builds
from midtrain.pipelines import extend as extending
from midtrain.pipelines.processes import local
from midtrain.pipelines.verification import verify, verify_text, vouched
from midtrain.progress import Progress


def verified(output: Path) -> verify.Verified:
    return verify.verify(str(output), 2, Progress(shown=False))


@pytest.fixture
def built(built_workshop: Any, tmp_path: Path) -> Path:
    """A copy of the standard mixture, to be damaged."""
    shutil.copytree(built_workshop.root / "shards", tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def curated(built_workshop: Any, tmp_path: Path) -> Path:
    """A copy of the standard curated output."""
    shutil.copytree(built_workshop.root / "out", tmp_path / "out")
    return tmp_path / "out"


def files_of(output: Path) -> list[str]:
    """Every file of an output that somebody vouches for."""
    return [path for path in sorted(vouched.listing(output)) if path not in vouched.BESIDE]


def damages(content: bytes, rng: random.Random) -> Iterator[bytes | None]:
    """A byte changed at a random place, the file cut short, made longer, and gone."""
    place = rng.randrange(len(content)) if content else 0
    if content:
        yield content[:place] + bytes([content[place] ^ rng.randrange(1, 256)]) + content[place + 1 :]
        yield content[:place]
    yield content + b"\0"
    yield None


def test_whole_outputs_are_found_whole(built: Path, curated: Path):
    found = verified(built)
    assert not found.problems
    assert not found.unlisted
    assert not found.unfinished
    found.refuse()
    assert {row.source: row.parts for row in found.counted.tokens if row.kind == "part"} == {
        "twins": 1,
        "web": 1,
        "worked": 1,
    }
    assert [row.phase for row in found.counted.order] == ["first", "second"]
    assert all(0 < row.gap < 1 for row in found.counted.order)
    assert {row.source for row in found.counted.packs} == {"twins", "web", "worked"}
    assert found.files == len(files_of(built)) - len(list(built.rglob(NAME))) + _listed_manifests(built)
    assert not verified(curated).problems


def test_an_output_that_changes_while_it_is_verified_is_not_called_damaged(built: Path, monkeypatch: Any):
    read = vouched.read

    def and_tidied(root: Any) -> Any:
        found = read(root)
        stage = next(path.parent for path in built.rglob(NAME) if path.parent != built)
        (stage / NAME).unlink()
        shutil.rmtree(stage)
        return found

    monkeypatch.setattr(vouched, "read", and_tidied)
    with pytest.raises(RunError, match="changed while it was verified"):
        verified(built)


def _listed_manifests(output: Path) -> int:
    """Manifests that the output's own lists: read for their hash like any file."""
    return sum(file.path.endswith(f"/{NAME}") for file in Manifest.read(output).files)


@pytest.mark.parametrize("which", [pytest.param("built", marks=pytest.mark.slow), "curated"])
def test_a_byte_changed_in_any_file_is_named_and_so_is_a_file_cut_grown_or_gone(which: str, request: Any):
    output: Path = request.getfixturevalue(which)
    rng = random.Random(7)
    for name in files_of(output):
        path = output / name
        content = path.read_bytes()
        for damaged in damages(content, rng):
            path.write_bytes(damaged) if damaged is not None else path.unlink()
            found = verified(output) if damaged is not None or name != NAME else None
            if found is None:  # no manifest, no result
                path.write_bytes(content)
                continue
            if damaged is None and name.startswith("stages/held-out-") and name.endswith(NAME):
                assert found.unfinished == (name.rpartition("/")[0],)  # no part of the result
                path.write_bytes(content)
                continue
            assert name in {problem.path for problem in found.problems}, (name, damaged is None)
            with pytest.raises(RunError) as caught:
                found.refuse()
            assert caught.value.where == f"{output}/{found.problems[0].path}"
            assert "remove" in caught.value.fix
            path.write_bytes(content)
    assert not verified(output).problems


def test_only_the_damaged_file_is_named(built: Path):
    path = next(built.glob("tokens/web-*/part-00000.tokens"))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    found = verified(built)
    assert [problem.path for problem in found.problems] == [str(path.relative_to(built))]
    assert "bytes changed" in found.problems[0].what
    assert len(found.counted.order) == 0  # what the order is of cannot be trusted


def test_a_link_to_nothing_is_a_missing_file_and_the_others_are_still_read(built: Path):
    link = next(built.glob("tokens/web-*/part-00000.tokens"))
    other = next(built.glob("tokens/worked-*/part-00000.ends"))
    stray = built / "order" / "stray"
    link.unlink()
    for place in (link, stray):
        place.symlink_to(built / "nowhere")
    other.write_bytes(other.read_bytes()[:-1])
    found = {problem.path: problem for problem in verified(built).problems}
    assert list(found) == [str(link.relative_to(built)), str(other.relative_to(built))]
    broken = found[str(link.relative_to(built))]
    assert (broken.what, broken.seen) == ("missing", "a symbolic link to nothing")
    assert broken.fix.startswith(f"remove tokens/{link.parent.name} and {NAME} below {built}")


def test_an_index_is_verified_too(workshop: Any, midtrain: Callable[..., Any]):
    workshop.corpus()
    workshop.curate(steps=[{"minhash_dedup": {"sources": ["a", "b"]}}])
    index = workshop.root / "index"
    assert midtrain("index", "add", index, workshop.root / "out").code == 0
    assert not verified(index).problems
    rng = random.Random(11)
    for name in files_of(index):
        content = (index / name).read_bytes()
        for damaged in damages(content, rng):
            if damaged is None and name == NAME:
                continue
            (index / name).write_bytes(damaged) if damaged is not None else (index / name).unlink()
            assert name in {problem.path for problem in verified(index).problems}
            (index / name).write_bytes(content)
    assert not verified(index).problems


def test_files_that_no_manifest_lists_and_folders_without_one_are_said(built: Path):
    folder = next(built.glob("tokens/web-*")).name
    (built / "tokens" / folder / "part-00001.tokens").write_bytes(b"x")
    (built / "order" / "old.json").write_bytes(b"x")
    (built / "packs" / "half-1-chunk-0").mkdir()
    (built / "packs" / "half-1-chunk-0" / "part-00000.spans").write_bytes(b"")
    found = verified(built)
    assert found.unlisted == ("order/old.json", f"tokens/{folder}/part-00001.tokens")
    assert found.unfinished == ("packs/half-1-chunk-0",)
    assert not found.problems
    told = verify_text.table(found)
    assert f"tokens/{folder}/part-00001.tokens" in told.text
    assert "packs/half-1-chunk-0" in told.text
    assert orjson.loads(orjson.dumps(told.data))["unlisted"] == list(found.unlisted)


def test_what_a_killed_build_left_is_no_result(built: Path, tmp_path: Path):
    (built / NAME).unlink()
    found = verified(built)
    assert [problem.what for problem in found.problems] == ["there is no finished result (no manifest)"]
    with pytest.raises(ConfigError, match="no output of midtrain"):
        verified(tmp_path)


def test_the_command_ends_with_1_and_names_the_first_file(built: Path, midtrain: Callable[..., Any]):
    said = midtrain("verify", built, "--json")
    assert said.code == 0
    assert orjson.loads(said.out)["problems"] == []
    for pattern in ("tokens/web-*/part-00000.ends", "table-*.json"):
        path = next(built.glob(pattern))
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    said = midtrain("verify", built, "--workers", 1)
    assert said.code == 1
    assert f"{path}: the file's bytes changed since it was written (and 1 more files are wrong)" in said.err
    assert f"remove {path.name} and manifest.json" in said.err
    assert "part-00000.ends" in said.out


@pytest.mark.parametrize(
    "pattern",
    [
        "manifest.json",
        "table-*.json",
        "stages/tokenizer-*/tokenizer.json",
        "tokens/web-*/parts",
        "tokens/worked-*/part-00000.loss",
        "packs/worked-256-*/part-00000.spans",
        "order/second-*.counts",
    ],
)
def test_the_repair_that_is_named_repairs(workshop: Any, built_workshop: Any, pattern: str):
    shutil.copytree(built_workshop.root / "out", workshop.root / "out")
    shutil.copytree(built_workshop.root / "shards", workshop.root / "shards")
    output = workshop.root / "shards"
    before = {name: storage.hash_file(output / name) for name in files_of(output)}
    path = next(output.glob(pattern))
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    (problem,) = verified(output).problems
    removed, _, _ = problem.fix.removeprefix("remove ").partition(" below ")
    for name in removed.split(" and "):
        shutil.rmtree(output / name) if (output / name).is_dir() else (output / name).unlink()
    workshop.build()
    assert not verified(output).problems
    assert {name: storage.hash_file(output / name) for name in files_of(output)} == before


# Whole, and wrong: the manifests say what the files hold, and it does not add up


def resealed(output: Path, name: str, content: bytes) -> None:
    """Writes a file and makes all manifests that list it say so, up to the output's own."""
    (output / name).write_bytes(content)
    changed = [name]
    while changed:
        path = changed.pop()
        for manifest in sorted(output.rglob(NAME), key=lambda one: -len(one.parts)):
            folder = manifest.parent
            stage = Manifest.read(folder)
            files = [_entry(output, folder, file, path) for file in stage.files]
            if tuple(files) != stage.files:
                replace(stage, files=tuple(files)).write(folder)
                changed.append(str(manifest.relative_to(output)))


def _entry(output: Path, folder: Path, file: OutputFile, path: str) -> OutputFile:
    if folder / file.path != output / path:
        return file
    return replace(file, bytes=(folder / file.path).stat().st_size, hash=storage.hash_file(folder / file.path))


def wrong(output: Path, pattern: str, change: Callable[[np.ndarray], np.ndarray], dtype: str) -> list[str]:
    """What is found after a file was changed and everything says that it should be so."""
    path = next(output.glob(pattern))
    resealed(output, str(path.relative_to(output)), change(np.fromfile(path, dtype)).tobytes())
    found = verified(output)
    assert {problem.path for problem in found.problems} <= {str(path.relative_to(output))}, found.problems
    return [problem.what for problem in found.problems]


def put(place: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def end_of_document(output: Path) -> int:
    return int(Manifest.read(output).options["tokenizer"]["end_of_document"])


def test_counts_of_tokens_find_what_no_hash_can(built: Path):
    end = end_of_document(built)
    tokens = "tokens/web-*/part-00000.tokens"
    first = np.fromfile(next(built.glob("tokens/web-*/part-00000.ends")), "<u8")[0]
    whole = next(built.glob(tokens)).read_bytes()
    assert "not as many end-of-document tokens as documents" in wrong(built, tokens, put(0, end), "<u2")
    resealed(built, str(next(built.glob(tokens)).relative_to(built)), whole)
    assert "a document does not end with the end-of-document token" in wrong(built, tokens, put(first - 1, 9), "<u2")
    resealed(built, str(next(built.glob(tokens)).relative_to(built)), whole)
    assert wrong(built, tokens, put(0, 60_000), "<u2") == ["a token is outside the vocabulary"]


def test_ends_and_masks_that_do_not_fit_are_found(built: Path):
    name = "tokens/worked-*/part-00000.ends"
    whole = next(built.glob(name)).read_bytes()
    assert "document ends do not ascend" in wrong(built, name, put(1, 1), "<u8")
    resealed(built, str(next(built.glob(name)).relative_to(built)), whole)
    loss = "tokens/worked-*/part-00000.loss"
    assert wrong(built, loss, lambda mask: mask * 0, "u1") == ["a document has no trained token"]


def test_documents_out_of_the_order_of_their_hashes_are_found(built: Path):
    path = next(built.glob("tokens/web-*/part-00000.documents.parquet"))
    table = pq.read_table(path)
    identities = table.column("id").to_pylist()
    swapped = [identities[1], identities[0], *identities[2:]]
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(0, table.schema.field(0), pa.array(swapped)), sink, compression="zstd")
    parts = next(built.glob("tokens/web-*/parts"))
    record = np.fromfile(parts, [("before", "V17"), ("bytes", "<u8"), ("high", "<u8")])
    record["bytes"] = sink.getvalue().size
    resealed(built, str(path.relative_to(built)), sink.getvalue().to_pybytes())
    resealed(built, str(parts.relative_to(built)), record.tobytes())
    (problem,) = verified(built).problems
    assert problem.path == str(path.relative_to(built))
    assert problem.what == "the documents do not stand in the order of their ids' hashes"


def test_parts_must_begin_where_their_table_says(built: Path):
    dtype = np.dtype([("before", "V17"), ("bytes", "<u8"), ("high", "<u8")])
    parts = next(built.glob("tokens/web-*/parts"))
    record = np.fromfile(parts, dtype)
    record["high"] += 1
    resealed(built, str(parts.relative_to(built)), record.tobytes())
    (problem,) = verified(built).problems
    assert problem.what == "the part does not begin with the id that the table of parts has"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda spans: put(0, spans[1])(spans), "a token stands in two sequences of an epoch"),
        (lambda spans: _longer(spans, 0, 1), "a span goes over the end of its document"),
        (lambda spans: _longer(spans, 0, -1), "stand in no sequence"),
        (lambda spans: _longer(spans, 0, 1 << 20), "more than 256"),
    ],
)
@pytest.mark.parametrize("pattern", ["packs/twins-256-*/part-00000.spans"])
def test_spans_that_repeat_lose_or_cross_are_found(built: Path, pattern: str, change: Any, what: str):
    dtype = [("part", "<u4"), ("start", "<u8"), ("length", "<u4"), ("continues", "<u4")]
    (said,) = wrong(built, pattern, change, dtype)  # type: ignore[arg-type]
    assert what in said


def _longer(spans: np.ndarray, place: int, by: int) -> np.ndarray:
    spans["length"][place] = int(spans["length"][place]) + by
    return spans


def test_the_drawn_part_of_an_epoch_is_part_of_the_sum(built: Path):
    """A rest is compared with what its epoch had drawn: a span of that in it is a repetition."""
    drawn = next(built.glob("packs/twins-128-*/part-00000.spans"))
    dtype = np.dtype([("part", "<u4"), ("start", "<u8"), ("length", "<u4"), ("continues", "<u4")])
    rest = next(built.glob("packs/twins-256-*/part-00000.spans"))
    taken = {int(span["start"]) for span in np.fromfile(rest, dtype)}
    repeated = next(span for span in np.fromfile(drawn, dtype) if int(span["start"]) not in taken)

    def change(spans: np.ndarray) -> np.ndarray:
        spans[np.flatnonzero(spans["length"] >= repeated["length"])[0]] = repeated
        return spans

    (said,) = wrong(built, "packs/twins-256-*/part-00000.spans", change, dtype)  # type: ignore[arg-type]
    assert said == "a token stands in two sequences of an epoch"


def test_an_order_whose_counts_or_draws_are_wrong_is_found(built: Path):
    path = next(built.glob("order/second-*.json"))
    content = orjson.loads(path.read_bytes())
    entry = next(one for one in content["sources"] if one["name"] == "twins")
    entry["first_draw"] += 1
    resealed(built, str(path.relative_to(built)), orjson.dumps(content))
    (problem,) = verified(built).problems
    assert problem.path == str(path.relative_to(built))
    assert "source twins" in problem.what


def test_a_tokenizer_that_did_not_make_the_tokens_is_found(built: Path):
    path = next(built.glob("stages/tokenizer-*/tokenizer.json"))
    content = orjson.loads(path.read_bytes())
    content["model"]["merges"].pop()
    resealed(built, str(path.relative_to(built)), orjson.dumps(content))
    (problem,) = verified(built).problems
    assert problem.path == str(path.relative_to(built))
    assert "not the one that made the shards" in problem.what
    assert problem.expected == Manifest.read(built).options["tokenizer"]["hash"]
    resealed(built, str(path.relative_to(built)), b"{}")
    (problem,) = verified(built).problems
    assert "not a tokenizer" in problem.what


def test_a_record_of_the_tokenizer_that_contradicts_itself_is_found(built: Path):
    found = Manifest.read(built)
    said = {**found.options["tokenizer"], "end_of_document": 1}
    replace(found, options={**found.options, "tokenizer": said}).write(built)
    assert NAME in {problem.path for problem in verified(built).problems}


# Mixtures of other kinds

LONG = {"web": {"share": 0.5, "max_epochs": 19}, "worked": {"share": 0.4, "max_epochs": 19}}
LONG |= {"twins": {"share": 0.1, "max_epochs": 9}}
PHASES: dict[str, list[dict[str, Any]]] = {
    "epochs at changing lengths": [
        {
            "name": "first",
            "sequence_length": 64,
            "tokens": "14K",
            "weights": {**LONG, "web": {"share": 0.6, "max_epochs": 19}, "twins": 0},
        },
        {"name": "second", "sequence_length": 100, "tokens": "30K", "weights": LONG},
        {"name": "third", "sequence_length": 64, "tokens": "30K", "weights": LONG},
    ],
    "weights that change": [
        {
            "name": "first",
            "sequence_length": 64,
            "tokens": "9K",
            "change": "cosine",
            "weights": {
                "web": {"from": 0.8, "to": 0.2, "max_epochs": 9},
                "worked": {"from": 0.1, "to": 0.7, "max_epochs": 9},
                "twins": 0.1,
            },
        }
    ],
}


@pytest.mark.parametrize("too_long", ["split", "drop"])
@pytest.mark.parametrize("phases", PHASES.values(), ids=PHASES)
def test_every_kind_of_mixture_adds_up(workshop: Any, built_workshop: Any, phases: list[Any], too_long: str):
    mixture = built_workshop.mixture(output=str(workshop.root / "shards"), phases=copy.deepcopy(phases))
    for phase in mixture["phases"]:
        phase["sequence_length"] = phase["sequence_length"] * (4 if too_long == "split" else 5) // 4
    for source in mixture["sources"][1:]:
        source["too_long"] = too_long
        if too_long == "drop":
            source["max_lost"] = "100%"
    builds.build(schema.load(workshop.yaml("m.yaml", mixture)), local(0), Progress(shown=False))
    found = verified(workshop.root / "shards")
    assert found.problems == ()
    tokens = {row.source: row.tokens for row in found.counted.tokens if row.kind == "part"}
    of_all = [row for row in found.counted.packs if row.tokens + row.left_out == tokens[row.source]]
    assert {row.source for row in of_all} == set(tokens)
    assert (sum(row.left_out for row in of_all) > 0) == (too_long == "drop")


def test_an_extended_mixture_and_the_manifest_that_it_replaced(built: Path, built_workshop: Any, workshop: Any):
    weights = {"web": 0.3, "worked": {"share": 0.4, "max_epochs": 3}, "twins": {"share": 0.3, "max_epochs": 9}}
    more = {"name": "more", "sequence_length": 128, "tokens": "3K", "weights": weights}
    mixture = built_workshop.mixture(output=str(built), phases=[more])
    loaded = schema.load(workshop.yaml("more.yaml", mixture))
    extending.extend(loaded, extending.Cut("second", 17), local(0), Progress(shown=False))
    found = verified(built)
    assert found.problems == ()
    assert [(row.phase, row.sequences) for row in found.counted.order][1:] == [
        ("second", 17),
        ("more", found.counted.order[2].sequences),
    ]
    (replaced,) = (built / "history").iterdir()
    replaced.write_bytes(replaced.read_bytes().replace(b"second", b"third_"))
    (problem,) = verified(built).problems
    assert problem.path == f"history/{replaced.name}"
    replaced.unlink()
    assert [problem.path for problem in verified(built).problems] == [f"history/{replaced.name}"]


def test_tables_and_manifests_of_packs_say_what_the_parts_have(built: Path):
    path = next(built.glob("packs/worked-256-*/parts"))
    record = np.fromfile(path, "<u8")
    record[3] += 1  # documents left out
    resealed(built, str(path.relative_to(built)), record.tobytes())
    (problem,) = verified(built).problems
    assert "the table of parts says" in problem.what
    record[3] -= 1
    resealed(built, str(path.relative_to(built)), record.tobytes())
    stage = Manifest.read(path.parent)
    counts = copy.deepcopy(stage.counts)
    counts["parts"]["00000"]["dropped_tokens"] += 1
    replace(stage, counts=counts).write(path.parent)
    name = f"{path.parent.relative_to(built)}/{NAME}"
    resealed(built, name, (built / name).read_bytes())
    (problem,) = verified(built).problems
    assert "the manifest says" in problem.what
