"""Extension of a built mixture: what stays, what goes on, what is refused, and that a killed one changes nothing."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from midtrain.errors import ConfigError, MidtrainError
from midtrain.manifest import Manifest
from midtrain.mixtures import schema
from midtrain.mixtures.built import Built
from midtrain.pipelines import extend as extending
from midtrain.pipelines import mixture_table, summaries
from midtrain.pipelines.extend import Cut
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

AT = 17  # of the second phase: in the middle
MIDDLE = Cut("second", AT)
MORE = {
    "name": "more",
    "sequence_length": 128,
    "tokens": "3K",
    "weights": {"web": 0.3, "worked": {"share": 0.4, "max_epochs": 3}, "tale": 0.3},
}


@dataclass
class Extending:
    """The built workshop's shards in a folder of their own, and what extends them."""

    workshop: object
    root: Path

    def load(self, **changed):
        """The standard mixture with another phase and one more source."""
        mixture = self.workshop.mixture(output=str(self.root / "shards"), phases=[MORE])
        out = mixture["sources"][0]["documents"]
        tale = {"name": "tale", "documents": out, "where": {"source": "b"}}
        mixture = {**mixture, "sources": [*mixture["sources"], tale], **changed}
        drawn = {name for phase in mixture["phases"] for name in phase["weights"]}
        used = [one for one in mixture["sources"] if one["name"] in drawn or one.get("held_out")]
        mixture["sources"] = used
        path = self.root / "extension.yaml"
        path.write_bytes(orjson.dumps(mixture))
        return schema.load(path)

    def extend(self, cut=MIDDLE, workers=0, **changed):
        return extending.extend(self.load(**changed), cut, local(workers), Progress(shown=False))

    @property
    def built(self):
        return Built.open(self.root / "shards")

    def files(self):
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted((self.root / "shards").rglob("*"))
            if path.is_file() and path.name not in ("events.jsonl", ".lock", "mixture.yaml")
        }


@pytest.fixture
def shop(built_workshop, tmp_path):
    shutil.copytree(built_workshop.root / "shards", tmp_path / "shards")
    return Extending(built_workshop, tmp_path)


def source_of(mixture, name, **changed):
    return [{**source, **changed} if source["name"] == name else source for source in mixture["sources"]]


def places(built, phase, count):
    """What stands at each place: source and spans."""
    return [(name, spans.tolist()) for name, spans in (built.order.spans(phase, place) for place in range(count))]


def test_what_was_trained_on_stays_and_sources_go_on(shop):
    before = shop.built
    kept = {"first": before.phases["first"].sequences, "second": AT}
    was = {phase: places(before, phase, count) for phase, count in kept.items()}
    files = shop.files()
    result = shop.extend()
    after = shop.built
    assert after.fingerprint == result.manifest.fingerprint != before.fingerprint
    assert after.history == (before.fingerprint,)
    assert [(ref.name, ref.sequences) for ref in after.phase_refs[:2]] == list(kept.items())
    assert list(after.phases) == ["first", "second", "more"]
    assert after.phases["second"].planned_sequences == before.phases["second"].sequences > AT
    assert {phase: places(after, phase, count) for phase, count in kept.items()} == was
    # Nothing that stood was written again, and the manifest that stood is kept.
    now = shop.files()
    changed = {path for path, data in files.items() if now[path] != data}
    assert changed == {"shards/manifest.json"}
    assert now[f"shards/history/{before.fingerprint}.json"] == files["shards/manifest.json"]
    # A source at the same sequence length goes on at the very next draw; the new one begins.
    counts = dict(zip(before.order.phase("second").sources, before.order.counts("second", AT).tolist(), strict=True))
    assert counts["worked"] > 0
    assert set(after.sources) == {"web", "worked", "twins", "tale"}
    assert {entry.name: entry.first_draw for entry in after.order.phase("more").entries}["tale"] == 0
    assert after.extends(before.fingerprint, "second", AT)
    assert not after.extends(before.fingerprint, "second", AT + 1)
    assert not after.extends(before.fingerprint, "more", 0)
    assert not after.extends("0" * 32, "first", 1)


def test_cursors_after_are_those_before_and_what_was_drawn(shop):
    before = shop.built.order.phase("second")
    counts = shop.built.order.counts("second", AT).tolist()
    expected = {e.name: e.first_draw + n for e, n in zip(before.entries, counts, strict=True)}
    shop.extend(phases=[{**MORE, "sequence_length": 256, "tokens": "4K"}])
    following = shop.built.order.phase("more")
    for entry in following.entries:
        assert entry.first_draw == expected.get(entry.name, 0)


def test_the_table_has_what_was_drawn_before_the_cut(shop):
    before = orjson.loads(next(shop.root.glob("shards/table-*.json")).read_bytes())
    rows = shop.extend().rows
    built = shop.built
    assert [row for row in rows if row["phase"] == "first"] == [row for row in before if row["phase"] == "first"]
    cut = {row["source"]: row for row in rows if row["phase"] == "second"}
    assert all(row["stopped"] for row in cut.values())
    assert not any("stopped" in row for row in rows if row["phase"] != "second")
    heads, *told = mixture_table.table_rows(rows, realised=True)
    errors = {(row[0], row[heads.index("error")] == "cut short") for row in told}
    assert errors == {("first", False), ("second", True), ("more", False)}
    assert sum(row["sequences"] for row in cut.values()) == AT
    tokens = dict.fromkeys(cut, 0)
    for source, spans in places(built, "second", AT):
        tokens[source] += sum(length for _, _, length, _ in spans)
    assert {name: row["tokens"] for name, row in cut.items()} == tokens
    assert all(row["tokens"] + row["padding"] == 256 * row["sequences"] for row in cut.values())
    assert {row["source"] for row in rows if row["phase"] == "more"} == {"web", "worked", "tale"}


def test_a_source_that_the_cut_came_before_stays_as_the_phase_names_it(shop):
    before = shop.built
    counts = dict(zip(before.order.phase("first").sources, before.order.counts("first", 1).tolist(), strict=True))
    assert counts["twins"] == 0
    alone = [{**MORE, "weights": {"web": 1}}]
    other = source_of(shop.workshop.mixture(), "twins", where={"source": "worked"})
    with pytest.raises(ConfigError) as caught:
        shop.extend(Cut("first", 1), phases=[{**MORE, "weights": {"web": 0.9, "twins": 0.1}}], sources=other)
    assert "twins stands in a phase before the cut" in caught.value.render()
    result = shop.extend(Cut("first", 1), phases=alone)
    after = shop.built
    assert set(after.sources) == {"web", "worked", "twins"}
    assert after.batch("first", 0, 1).tokens.tolist() == before.batch("first", 0, 1).tokens.tolist()
    assert after.batch("more", 0, after.phases["more"].sequences).tokens.size
    assert "twins" in summaries.built(result, str(after.root)).text


def test_done_once_it_is_found(shop):
    first = shop.extend()
    files = shop.files()
    again = shop.extend()
    assert (again.tasks_run, again.planned) == (0, False)
    assert (again.manifest, again.rows) == (first.manifest, first.rows)
    assert shop.files() == files
    assert extending.look(shop.load(), Cut("second", AT)).done


def test_an_extension_is_extended(shop):
    base = shop.built
    shop.extend()
    once = shop.built
    shop.extend(Cut("more", 5), phases=[{**MORE, "name": "last", "weights": {"web": 1.0}, "tokens": "1K"}])
    twice = shop.built
    assert twice.history == (base.fingerprint, once.fingerprint)
    assert [(ref.name, ref.sequences) for ref in twice.phase_refs[1:3]] == [("second", AT), ("more", 5)]
    assert twice.extends(base.fingerprint, "second", AT)
    assert twice.extends(once.fingerprint, "more", 5)
    assert not twice.extends(once.fingerprint, "more", 6)
    assert "tale" in twice.sources


def test_what_only_an_undone_phase_drew_from_is_gone_from_the_manifest(shop, midtrain):
    tale = {"name": "tale", "documents": str(shop.workshop.root / "out"), "where": {"source": "b"}, "pack": "whole"}
    sources = [*shop.workshop.mixture()["sources"], {**tale, "too_long": "split"}]
    shop.extend(sources=sources)
    assert any(file.path.startswith("packs/tale-") for file in Manifest.read(shop.root / "shards").files)
    shop.extend(Cut("more", 0), phases=[{**MORE, "name": "last", "weights": {"web": 1.0}, "tokens": "1K"}])
    built = shop.built
    assert list(built.phases) == ["first", "second", "last"]
    assert "tale" not in built.sources
    assert not any("tale" in file.path for file in Manifest.read(shop.root / "shards").files)
    verified = midtrain("verify", shop.root / "shards")
    assert verified.code == 0, verified.out + verified.err


def test_behind_the_end_by_default(shop):
    before = shop.built
    shop.extend(Cut())
    assert {name: phase.sequences for name, phase in shop.built.phases.items() if name != "more"} == {
        name: phase.sequences for name, phase in before.phases.items()
    }


def test_any_number_of_processes_makes_the_same_files(shop, tmp_path):
    twin = Extending(shop.workshop, tmp_path / "twin")
    shutil.copytree(shop.root / "shards", twin.root / "shards")
    shop.extend()
    twin.extend(workers=2)
    assert twin.files() == shop.files()


def test_a_source_that_is_named_no_more_stays_readable(shop):
    mixture = shop.workshop.mixture()
    sources = [source for source in mixture["sources"] if source["name"] != "twins"]
    shop.extend(sources=sources, phases=[{**MORE, "weights": {"web": {"share": 1.0, "max_epochs": 2}}}])
    built = shop.built
    assert "twins" in built.sources
    assert built.batch("first", 0, built.phases["first"].sequences).tokens.any()


def test_killed_anywhere_it_leaves_shards_that_open_and_comes_to_the_same(shop, tmp_path, monkeypatch, dying):
    whole = Extending(shop.workshop, tmp_path / "whole")
    shutil.copytree(shop.root / "shards", whole.root / "shards")
    expected = whole.extend()
    count = dying(None)
    probe = Extending(shop.workshop, tmp_path / "probe")
    shutil.copytree(shop.root / "shards", probe.root / "shards")
    probe.extend()
    writes = count()
    monkeypatch.undo()
    for at in sorted({1, writes // 2, writes - 6, writes - 3, writes - 2, writes - 1, writes}):
        for behind in (False, True):
            root = tmp_path / f"{at}-{behind}"
            shutil.copytree(shop.root / "shards", root / "shards")
            killed = Extending(shop.workshop, root)
            dying(at, behind)
            with pytest.raises(BaseException) as death:  # noqa: PT011
                killed.extend()
            assert type(death.value).__name__ == "Died"
            monkeypatch.undo()
            opened = killed.built  # every size is that of the manifest
            assert opened.fingerprint in (shop.built.fingerprint, expected.manifest.fingerprint)
            assert killed.extend().manifest == expected.manifest
            assert killed.files() == whole.files()


REFUSED = {
    "beyond the phase": (Cut("second", 9999), {}, "the cut lies beyond the phase"),
    "no such phase": (Cut("third", 1), {}, "no phase is called third"),
    "nothing left": (Cut("first", 0), {}, "nothing would be left"),
    "a name that stands": (Cut("second", AT), {"phases": [{**MORE, "name": "first"}]}, "a phase called first stands"),
    "another seed": (Cut("second", AT), {"seed": 2}, "is not the seed"),
    "a run on other shards": (Cut("second", AT, "f" * 32), {}, "the run was not trained on these shards"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_changed(shop, case):
    cut, changed, says = REFUSED[case]
    files = shop.files()
    with pytest.raises(ConfigError, match=says):
        shop.extend(cut, **changed)
    with pytest.raises(ConfigError, match=says):
        extending.look(shop.load(**changed), cut)
    assert shop.files() == files


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("web", {"where": {"source": "a"}}, "would have other documents or tokens"),
        ("web", {"held_out": 11}, "would have other documents or tokens"),
        ("worked", {"held_out": "20%"}, "would have other documents or tokens"),
        ("twins", {"template": None}, "would have other documents or tokens"),
        ("twins", {"pack": "chunk"}, "would be packed otherwise"),
        ("worked", {"too_long": "error"}, "would be packed otherwise"),
    ],
)
def test_a_source_in_use_may_not_change(shop, name, changed, says):
    mixture = shop.workshop.mixture()
    files = shop.files()
    with pytest.raises(ConfigError, match=says) as refused:
        shop.extend(
            sources=source_of(mixture, name, **changed),
            phases=[{**MORE, "weights": {"web": 0.4, name: 0.6} if name != "web" else {"web": 1.0}}],
        )
    assert "extension.yaml" in refused.value.where
    assert shop.files() == files


def test_a_new_source_may_not_hold_out_what_was_trained_on(shop):
    # A problem that one source holds out is held out of all, and the others have been trained on it.
    mixture = shop.workshop.mixture()
    tale = {"name": "tale", "documents": mixture["sources"][0]["documents"], "where": {"source": "b"}, "held_out": 5}
    with pytest.raises(ConfigError, match="would have other documents or tokens") as refused:
        shop.extend(sources=[*mixture["sources"], tale])
    assert "what other sources hold out" in str(refused.value)


def test_another_tokenizer_is_refused(shop):
    tokenizer = {"train": {"vocab_size": 410, "sources": ["web", "worked"]}}
    with pytest.raises(MidtrainError, match="tokenizer"):
        shop.extend(tokenizer=tokenizer)


def test_a_source_that_was_planned_but_not_drawn_may_change(shop):
    # Cut at the very beginning of the second phase, where nothing of it was drawn.
    mixture = shop.workshop.mixture()
    kept = Cut("first", 1)
    drawn = {name for name, count in extending.look(shop.load(), kept).drawn.items() if count}
    unused = next(name for name in ("twins", "worked") if name not in drawn)
    changed = source_of(mixture, unused, too_long="drop" if unused == "twins" else "error")
    shop.extend(kept, sources=changed, phases=[{**MORE, "weights": {"web": 0.5, unused: 0.5}}])
    assert shop.built.phases["first"].sequences == 1


def test_no_shards_is_an_error(shop):
    shutil.rmtree(shop.root / "shards")
    with pytest.raises(ConfigError, match="no built shards to extend"):
        shop.extend()


def test_a_build_over_an_extension_is_refused(shop, midtrain):
    shop.extend()
    path = shop.root / "first.yaml"
    path.write_bytes(orjson.dumps(shop.workshop.mixture(output=str(shop.root / "shards"))))
    said = midtrain("build", path, "--workers", 0)
    assert said.code == 2
    assert "another result" in said.err


def test_the_verb(shop, midtrain):
    shop.load()
    path, files = shop.root / "extension.yaml", shop.files()
    looked = midtrain("extend", path, "--phase", "second", "--at", AT, "--dry-run", "--json")
    assert looked.code == 0, looked.err
    told = orjson.loads(looked.out)
    assert told["kept"][1] == {"phase": "second", "sequences": AT}
    assert sum(told["drawn"].values()) == AT + told["kept"][0]["sequences"]
    assert not told["done"]
    assert [stage["done"] for stage in told["stages"]].count(False) >= 1
    assert shop.files() == files
    assert {row["source"]: row["estimated"] for row in told["rows"]} == {"web": False, "worked": False, "tale": True}
    assert "nothing was written" in midtrain("extend", path, "--phase", "second", "--at", AT, "--dry-run").out
    done = midtrain("extend", path, "--phase", "second", "--at", AT, "--workers", 0, "--json")
    assert done.code == 0, done.err
    assert orjson.loads(done.out)["fingerprint"] == Manifest.read(shop.root / "shards").fingerprint
    real = {row["source"]: row for row in orjson.loads(done.out)["rows"] if row["phase"] == "more"}
    foreseen = {row["source"]: row for row in told["rows"]}
    for name in ("web", "worked"):  # they go on where they stood, so what was foreseen is what was drawn
        assert foreseen[name]["tokens"] == real[name]["tokens"]
        assert foreseen[name]["epochs"] == real[name]["epochs"] > 0.3
    stands = midtrain("extend", path, "--phase", "second", "--at", AT, "--dry-run")
    assert "it stands there already" in stands.out
    again = midtrain("extend", path, "--phase", "second", "--at", AT, "--workers", 0)
    assert "nothing to do" in again.out
    both = midtrain("extend", path, "--run", shop.root, "--at", 3)
    assert both.code == 2
    assert "--run says where the cut is" in both.err
    none = midtrain("extend", path, "--run", shop.root)
    assert none.code == 2
    assert "no checkpoint is here" in none.err


def test_a_dry_run_refuses_what_the_phases_cannot_have(shop, midtrain):
    shop.load(phases=[{**MORE, "tokens": "90K"}])
    files = shop.files()
    said = midtrain("extend", shop.root / "extension.yaml", "--phase", "second", "--at", AT, "--dry-run")
    assert said.code == 2
    assert "more often than max_epochs allows" in said.err
    assert "phase that stays" in said.out
    assert shop.files() == files


def test_counts_up_to_the_cut_are_those_of_the_order(shop):
    seen = extending.look(shop.load(), Cut("second", AT)).drawn
    built = shop.built
    plain = dict.fromkeys(seen, 0)
    for phase, count in (("first", built.phases["first"].sequences), ("second", AT)):
        for name, _ in places(built, phase, count):
            plain[name] += 1
    assert seen == plain
