"""plan --why: one field is edited at a time; what is to be done again is what the label says, and what a build does."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.errors import RunError
from midtrain.manifest import Manifest
from midtrain.mixtures import schema
from midtrain.pipelines import build as builds
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines import why, why_build, why_text
from midtrain.pipelines.curate import plan
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

SOURCES = ("web", "worked", "twins")
ENCODED = {f"tokenize-{name}" for name in SOURCES}
TOKENS = ENCODED | {f"tokens of {name}" for name in SOURCES}
RESTS = {f"packs of {name} at 256" for name in SOURCES}
PACKS = RESTS | {"packs of worked at 128", "packs of twins at 128"}
ORDERS = {"order of first", "order of second"}
BUILT = PACKS | ORDERS | {"manifest"}
TOKENIZED = {"tokenizer"} | TOKENS | BUILT
ALL = {"held-out-keys", "held-out"} | TOKENIZED

Edit = Callable[["Bench"], None]


class Bench:
    """A built mixture in a folder of its own, and the YAML that is edited."""

    def __init__(self, root: Path, mixture: dict[str, Any]) -> None:
        self.root = root
        self.mixture = mixture
        self.text: Callable[[bytes], bytes] = lambda content: content
        self.workers = 0

    @property
    def output(self) -> Path:
        """Where the mixture is built."""
        return Path(self.mixture["output"])

    def source(self, name: str) -> dict[str, Any]:
        """One source of the mixture."""
        return next(one for one in self.mixture["sources"] if one["name"] == name)

    def phase(self, number: int) -> dict[str, Any]:
        """One phase."""
        return self.mixture["phases"][number]

    def path(self) -> Path:
        """The YAML, as it is edited now."""
        path = self.root / "edited.yaml"
        path.write_bytes(self.text(orjson.dumps(self.mixture, option=orjson.OPT_INDENT_2)))
        return path

    def told(self) -> list[why.Reason]:
        """What `--why` says."""
        return why_build.of_mixture(schema.load(self.path()))

    def build(self) -> set[str]:
        """Builds it, and gives what was done for it: by events, by files of the order, by the manifest."""
        before, events = self._orders(), len(self._events())
        manifest = Manifest.find(self.output)
        result = builds.build(schema.load(self.path()), local(self.workers), Progress(shown=False), overwrite=True)
        done = {self._name(event) for event in self._events()[events:] if event["event"] == "task_finished"}
        done |= {
            f"order of {name.rpartition('-')[0]}" for name, was in self._orders().items() if before.get(name) != was
        }
        changed = manifest is None or manifest.fingerprint != result.manifest.fingerprint
        return done | ({"manifest"} if changed else set())

    def _orders(self) -> dict[str, tuple[int, int]]:
        paths = (self.output / "order").glob("*.json")
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    def _events(self) -> list[dict[str, Any]]:
        path = self.output / "events.jsonl"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def _name(self, event: dict[str, Any]) -> str:
        if (self.output / "packs" / event["folder"]).exists():
            source, length, _, _ = event["folder"].rsplit("-", 3)
            return f"packs of {source} at {length}"
        return f"tokens of {event['stage']}" if (self.output / "tokens" / event["folder"]).exists() else event["stage"]


@pytest.fixture(scope="module")
def base(built_workshop: Any) -> Any:
    """The standard mixture, built; not to be changed."""
    return built_workshop


@pytest.fixture
def bench(base: Any, tmp_path: Path) -> Bench:
    """A copy of it, with its curated output and its corpora."""
    for name in ("data", "out", "shards"):
        shutil.copytree(base.root / name, tmp_path / name)
    mixture = copy.deepcopy(base.mixture())
    mixture["output"] = str(tmp_path / "shards")
    for source in mixture["sources"]:
        source["documents"] = str(tmp_path / "out")
    return Bench(tmp_path, mixture)


def reverse(value: Any) -> Any:
    """The same with the keys of all mappings the other way round."""
    if isinstance(value, dict):
        return {key: reverse(below) for key, below in reversed(value.items())}
    return [reverse(below) for below in value] if isinstance(value, list) else value


def comment(bench: Bench) -> None:
    bench.text = lambda content: b"# another thought\n" + content


def keys_reordered(bench: Bench) -> None:
    bench.mixture = reverse(bench.mixture)


def sources_reordered(bench: Bench) -> None:
    bench.mixture["sources"].reverse()


def other_workers(bench: Bench) -> None:
    bench.workers = 2


def output_renamed(bench: Bench) -> None:
    bench.output.rename(bench.root / "renamed")
    bench.mixture["output"] = str(bench.root / "renamed")


def curated_moved(bench: Bench) -> None:
    (bench.root / "out").rename(bench.root / "moved")
    for source in bench.mixture["sources"]:
        source["documents"] = str(bench.root / "moved")


def files_touched(bench: Bench) -> None:
    for folder in ("data", "out", "shards"):
        for path in (bench.root / folder).rglob("*"):
            os.utime(path, (1, 1))


def curated_again(bench: Bench) -> None:
    for path in (bench.root / "data").rglob("*"):
        os.utime(path, (1, 1))
    recurate(bench)


def recurate(bench: Bench) -> None:
    content = (bench.root / "out" / "recipe.yaml").read_text()
    (bench.root / "recipe.yaml").write_text(content)
    from midtrain.pipelines import curate as curation

    data, given = bench.root / "data", orjson.loads((bench.root / "recipe.json").read_bytes())
    for source in given["sources"]:
        if "path" in source:
            source["path"] = str(data / Path(source["path"]).name)
    given["output"] = str(bench.root / "out")
    (bench.root / "recipe.yaml").write_bytes(orjson.dumps(given))
    loaded = recipes.load(bench.root / "recipe.yaml")
    curation.curate(loaded, local(0), Progress(shown=False), overwrite=True)


def document_edited(bench: Bench) -> None:
    path = bench.root / "data" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"river", b"brook", 1))
    recurate(bench)


def put(*keys: Any, to: Any) -> Edit:
    """Sets one field of the mixture; a text finds the source of that name."""

    def edit(bench: Bench) -> None:
        place: Any = bench.mixture
        for key in keys[:-1]:
            found = isinstance(place, list) and isinstance(key, str)
            place = next(one for one in place if one["name"] == key) if found else place[key]
        place[keys[-1]] = to

    return edit


def weights(number: int, **changed: Any) -> Edit:
    def edit(bench: Bench) -> None:
        bench.phase(number)["weights"] |= changed

    return edit


def source_renamed(bench: Bench) -> None:
    bench.source("web")["name"] = "pages"
    bench.mixture["tokenizer"]["train"]["sources"] = ["pages", "worked"]
    for phase in bench.mixture["phases"]:
        phase["weights"]["pages"] = phase["weights"].pop("web")


def source_added(bench: Bench) -> None:
    own = {"name": "fresh", "documents": str(bench.root / "out"), "where": {"source": "b"}}
    bench.mixture["sources"].append(own)
    bench.phase(1)["weights"] |= {"web": 0.1, "fresh": 0.1}


def phase_added(bench: Bench) -> None:
    weights = {"web": {"share": 1, "max_epochs": 3}}
    bench.mixture["phases"].append({"name": "third", "sequence_length": 256, "tokens": "1K", "weights": weights})


def phases_swapped(bench: Bench) -> None:
    bench.mixture["phases"].reverse()


SWAPPED = {f"packs of {name} at 128" for name in SOURCES} | {"packs of worked at 256", "packs of twins at 256"}
SWAPPED |= ORDERS | {"manifest"}
MOVED = {"packs of worked at 256", *ORDERS, "manifest"}  # the others have drawn as many as before
CASES: list[tuple[str, Edit, set[str], str]] = [
    ("a comment", comment, set(), ""),
    ("the order of keys, those of weights too", keys_reordered, set(), ""),
    ("the order of sources", sources_reordered, set(), ""),
    ("the number of workers", other_workers, set(), ""),
    ("a renamed output folder", output_renamed, set(), ""),
    ("a moved curated output", curated_moved, set(), ""),
    ("touched files", files_touched, set(), ""),
    ("touched input documents, curated again", curated_again, set(), ""),
    ("the mixture's name", put("name", to="another"), set(), "name"),
    ("a licence", put("sources", "web", "licence", to="CC0-1.0"), set(), "sources.web.licence"),
    ("a default written out", put("tokenizer", "end_of_document", to="<|end|>"), set(), ""),
    ("a weight as another spelling", weights(0, web={"share": 0.7, "loss": "assistant"}), set(), ""),
    ("a number with a unit", put("phases", 0, "tokens", to=4000), set(), ""),
    (
        "a weight",
        weights(0, web=0.6, twins=0.2),
        {"packs of web at 256", "packs of twins at 256", *ORDERS, "manifest"},
        "phase.weights.web.share",
    ),
    ("another tokenizer", put("tokenizer", "train", "vocab_size", to=390), TOKENIZED, "vocab_size"),
    ("end_of_document", put("tokenizer", "end_of_document", to="<|stop|>"), TOKENIZED, "end_of_document"),
    ("the seed", put("seed", to=2), ALL, "seed"),
    ("held_out of a source", put("sources", "web", "held_out", to=12), ALL, "selections.0.held_out"),
    ("where of a source", put("sources", "web", "where", to={"source": ["a", "b", "twins"]}), ALL, "where.source.2"),
    (
        "a template",
        put("sources", "twins", "template", to=None),
        {"tokenize-twins", "tokens of twins", "packs of twins at 256", *ORDERS, "manifest"},
        "template",
    ),
    (
        "pack",
        put("sources", "twins", "pack", to="chunk"),
        {"packs of twins at 256", *ORDERS, "manifest"},
        "sources.twins.pack",
    ),
    (
        "too_long",
        put("sources", "worked", "too_long", to="error"),
        {"packs of worked at 128", "packs of worked at 256", *ORDERS, "manifest"},
        "sources.worked.too_long",
    ),
    (
        "sequence_length of a phase",
        put("phases", 1, "sequence_length", to=320),
        {f"packs of {name} at 320" for name in SOURCES} | {"order of second", "manifest"},
        "phase.sequence_length",
    ),
    ("tokens of a phase", put("phases", 1, "tokens", to=5600), {"order of second", "manifest"}, "phase.tokens"),
    (
        "max_epochs",
        put("phases", 1, "weights", "twins", "max_epochs", to=3),
        {"manifest"},
        "phases.second.weights.twins.max_epochs",
    ),
    (
        "loss",
        put("phases", 0, "weights", "worked", "loss", to="assistant"),
        {"order of first", "manifest"},
        "phase.weights.worked.loss",
    ),
    (
        "a source's name",
        source_renamed,
        {"tokenize-pages", "tokens of pages", "packs of pages at 256", *ORDERS, "manifest"},
        "phase.weights.pages",
    ),
    (
        "a new source",
        source_added,
        {"tokenize-fresh", "tokens of fresh", "order of second", "manifest"},
        "sources.fresh",
    ),
    ("a source as a list", put("sources", "twins", "where", to={"source": ["twins"]}), set(), ""),
    ("a few tokens of an earlier phase", put("phases", 0, "tokens", to=4010), {"manifest"}, "phases.first.tokens"),
    (
        "weights by a hair",
        weights(0, web=0.6999, twins=0.1001),
        {"order of first", "manifest"},
        "phase.weights.web.share",
    ),
    ("more tokens of an earlier phase", put("phases", 0, "tokens", to=4030), MOVED, "phase.tokens"),
    ("phases swapped", phases_swapped, SWAPPED, "phases"),
    ("a new phase behind", phase_added, {"order of third", "manifest"}, "phases.third"),
    ("a phase's name", put("phases", 1, "name", to="late"), {"order of late", "manifest"}, "phases.late"),
    ("an edited input document, curated again", document_edited, ALL, "documents.0"),
]


@pytest.mark.parametrize(("label", "edit", "redone", "named"), CASES, ids=[case[0] for case in CASES])
def test_what_is_redone_is_what_the_label_says(
    base: Any, bench: Bench, label: str, edit: Edit, redone: set[str], named: str
):
    (bench.root / "recipe.json").write_bytes(orjson.dumps(base.recipe()))
    assert_agreed(bench, edit, redone, named)


def assert_agreed(bench: Bench, edit: Edit, redone: set[str], named: str) -> None:
    """The label, what `--why` says and what a build does are the same."""
    edit(bench)
    told = bench.told()
    assert {reason.stage for reason in told if not reason.done} == redone
    fields = {change.field for reason in told for change in reason.changes}
    assert named in fields if named else not fields, fields
    assert bench.build() == redone
    again = bench.told()
    assert all(reason.done for reason in again)
    assert bench.build() == set()


# A tokenizer that is a file


@pytest.fixture(scope="module")
def filed(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same mixture with the same tokenizer, as a file of its own; not to be changed."""
    root = tmp_path_factory.mktemp("filed")
    shutil.copytree(base.root / "out", root / "out")
    (root / "words").mkdir()
    shutil.copy(next((base.root / "shards").glob("stages/tokenizer-*/tokenizer.json")), root / "words")
    mixture = {**copy.deepcopy(base.mixture()), "output": str(root / "shards")}
    mixture["tokenizer"] = {"path": str(root / "words" / "tokenizer.json")}
    found = Bench(root, mixture)
    found.build()
    return found


@pytest.fixture
def with_file(filed: Bench, tmp_path: Path) -> Bench:
    """A copy of it."""
    shutil.copytree(filed.root, tmp_path / "copy")
    mixture = {**copy.deepcopy(filed.mixture), "output": str(tmp_path / "copy" / "shards")}
    mixture["tokenizer"]["path"] = str(tmp_path / "copy" / "words" / "tokenizer.json")
    return Bench(tmp_path / "copy", mixture)


def tokenizer_moved(bench: Bench) -> None:
    (bench.root / "words").rename(bench.root / "letters")
    bench.mixture["tokenizer"]["path"] = str(bench.root / "letters")  # the folder, this time


def tokenizer_touched(bench: Bench) -> None:
    os.utime(bench.root / "words" / "tokenizer.json", (1, 1))


def tokenizer_changed(bench: Bench) -> None:
    path = bench.root / "words" / "tokenizer.json"
    content = orjson.loads(path.read_bytes())
    content["model"]["merges"].pop()
    path.write_bytes(orjson.dumps(content))


def end_named(bench: Bench) -> None:
    bench.mixture["tokenizer"]["end_of_document"] = "<|end|>"


@pytest.mark.parametrize(
    ("edit", "redone", "named"),
    [
        (tokenizer_moved, set(), ""),
        (tokenizer_touched, set(), ""),
        (end_named, set(), ""),
        (tokenizer_changed, TOKENIZED, "hash"),
        (put("sources", "web", "held_out", to=12), ALL - {"tokenizer"}, "selections.0.held_out"),
    ],
)
def test_a_tokenizer_that_is_a_file_is_known_by_its_bytes(with_file: Bench, edit: Edit, redone: set[str], named: str):
    assert_agreed(with_file, edit, redone, named)


def test_what_was_replaced_is_found_again(bench: Bench):
    """There and back: tokens, packs and order of the first result still stand, and only the manifest is written."""
    weights(0, web=0.6, twins=0.2)(bench)
    bench.build()
    weights(0, web=0.7, twins=0.1)(bench)
    assert [reason.stage for reason in bench.told() if not reason.done] == ["manifest"]
    assert bench.build() == {"manifest"}


def test_a_first_build_and_one_that_lost_its_files_say_so(bench: Bench):
    shutil.rmtree(bench.output / "packs")
    shutil.rmtree(next(bench.output.glob("tokens/worked-*")))
    (bench.output / "manifest.json").unlink()
    told = {reason.stage: reason for reason in bench.told() if not reason.done}
    assert set(told) == {"tokenize-worked", "tokens of worked", *PACKS, *ORDERS, "manifest"}
    shutil.rmtree(bench.output)
    told = {reason.stage: reason for reason in bench.told()}
    assert set(told) == ALL
    assert all(reason.note for name, reason in told.items() if not reason.because)


def test_the_command_names_the_field(bench: Bench, midtrain: Callable[..., Any]):
    bench.path()
    said = midtrain("plan", bench.root / "edited.yaml", "--why", "--set", "phases.0.tokens=4100")
    assert said.code == 0
    assert "order of first          to do  phase.tokens: 4000 -> 4100" in said.out
    assert "tokens of web           done" in said.out
    data = orjson.loads(midtrain("plan", bench.root / "edited.yaml", "--why", "--json", "--set", "name=new").out)
    assert data["stages"] == [
        {
            "stage": "manifest",
            "done": True,
            "changes": [{"field": "name", "was": "small-mixture", "now": "new"}],
            "because": [],
            "note": "",
        }
    ]


# Recipes


def recipe_told(bench: Bench, base: Any, **changed: Any) -> list[why.Reason]:
    given = {**copy.deepcopy(base.recipe()), "output": str(bench.root / "out"), **changed}
    for source in given["sources"]:
        if "path" in source:
            source["path"] = str(bench.root / "data" / Path(source["path"]).name)
    (bench.root / "recipe.yaml").write_bytes(orjson.dumps(given))
    return why.of_stages(plan(recipes.load(bench.root / "recipe.yaml")))


def test_a_recipe_says_which_step_or_file_did_it(bench: Bench, base: Any):
    assert all(reason.done for reason in recipe_told(bench, base))
    assert all(reason.done for reason in recipe_told(bench, base, name="other", max_quarantined=0.5))
    steps = [{"gopher_quality": {"sources": ["a", "b"], "min_words": 20}}, {"exact_dedup": {}}]
    told = recipe_told(bench, base, steps=steps)
    assert [reason.stage for reason in told if not reason.done] == [
        "gopher_quality",
        "exact_dedup-keys",
        "exact_dedup-choice",
        "exact_dedup",
    ]
    assert told[0].changes == (why.Change("steps.gopher_quality.options.min_words", 30, 20),)
    behind = [base.recipe()["steps"][0], {"exact_dedup": {"normalize": True, "sources": ["a", "b"]}}]
    told = recipe_told(bench, base, steps=behind)
    assert [reason.stage for reason in told if not reason.done] == [
        "exact_dedup-keys",
        "exact_dedup-choice",
        "exact_dedup",
    ]
    path = bench.root / "data" / "b-2.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "new", "text": "one more line"}\n')
    (first, *_) = recipe_told(bench, base)
    assert [change.field for change in first.changes] == ["inputs.b.b-2.jsonl"]


def test_differences_are_found_by_name_and_told_once():
    was = {"steps": [{"step": "a", "x": 1}, {"step": "c", "x": 1}], "size": 5, "same": [1, 2]}
    now = {"steps": [{"step": "a", "x": 2}, {"step": "b", "x": 1}, {"step": "c", "x": 1}], "same": [1, 2, 3]}
    assert [(one.field, one.was, one.now) for one in why.compared(was, now)] == [
        ("steps.a.x", 1, 2),
        ("steps.b", why.GONE, {"step": "b", "x": 1}),
        ("size", 5, why.GONE),
        ("same.2", why.GONE, 3),
    ]
    turned = {"phases": [{"name": "b"}, {"name": "a", "tokens": 1}]}
    was = {"phases": [{"name": "a", "tokens": 1}, {"name": "b"}]}
    assert list(why.compared(was, turned)) == [why.Change("phases", "a, b", "b, a")]
    told = why_text.table([why.Reason("order", False, tuple(why.compared({"share": "7/10"}, {"share": "3/5"})))], "out")
    assert "share: 0.7 -> 0.6" in told.text


def test_a_file_that_was_cut_short_is_told(bench: Bench):
    """The same that a build would say of a result; of a stage below another one, why it is made anew."""
    path = next(bench.output.glob("tokens/web-*/part-00000.tokens"))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(RunError, match="cut short") as caught:
        bench.told()
    assert caught.value.where == str(path)
    weights(0, web=0.6, twins=0.2)(bench)
    (reason,) = [one for one in bench.told() if one.stage == "tokens of web"]
    assert not reason.done
    assert reason.note == f"the file was cut short or changed: {path}"
