"""A run that is killed, whose shards are extended where it stands, and that goes on: no data twice, none left out."""

import shutil
import signal
from collections import Counter
from pathlib import Path

import orjson
import pytest
from midtrain.mixtures import lineage
from midtrain.mixtures.built import Built
from midtrain.mixtures.digest import batch_digest
from midtrain.trainer import history
from midtrain.trainer.checkpoints import checkpoint_folder
from midtrain.trainer.metrics import rows
from midtrain.trainer.optimizers.schedule import factor
from midtrain.trainer.optimizers.settings import ScheduleConfig

pytestmark = pytest.mark.slow

MODEL = {
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 8,
    "num_experts": 3,
    "expert_size": 16,
    "router_size": 8,
}
STABLE = {
    "name": "stable",
    "sequence_length": 128,
    "tokens": "80K",
    "weights": {"web": {"share": 0.7, "max_epochs": 9}, "worked": {"share": 0.3, "max_epochs": 9, "loss": "all"}},
}
# Another length, another mixture, a new source; then the old length again.
BEHIND = [
    {
        "name": "other",
        "sequence_length": 192,
        "tokens": "24K",
        "weights": {
            "web": {"share": 0.2, "max_epochs": 9},
            "worked": {"share": 0.3, "max_epochs": 9},
            "tale": {"share": 0.5, "max_epochs": 9},
        },
    },
    {
        "name": "anneal",
        "sequence_length": 128,
        "tokens": "16K",
        "change": "linear",
        "weights": {
            "web": {"from": 0.9, "to": 0.1, "max_epochs": 9},
            "tale": {"from": 0.1, "to": 0.9, "max_epochs": 9},
        },
    },
]

SLOWLY = str(Path(__file__).with_name("slow_steps.py"))  # the command, with time to be killed in


class Road:
    """Two sources of text and one of problems; a mixture, what extends it, and a run on it."""

    def __init__(self, workshop):
        self.shop, self.root = workshop, workshop.root
        texts = workshop.texts(260)
        for name, part in (("a", texts[:160]), ("b", texts[160:])):
            numbered = [f"{text} ({name}{i})" for i, text in enumerate(part)]
            workshop.jsonl(f"{name}.jsonl", workshop.records(name, numbered))
        recipe = workshop.recipe(
            sources=[
                {"name": "a", "path": f"{self.root}/data/a.jsonl", "format": "jsonl"},
                {"name": "b", "path": f"{self.root}/data/b.jsonl", "format": "jsonl"},
                workshop.recipe()["sources"][-1],
            ],
            steps=[],
        )
        self.recipe = workshop.yaml("recipe.yaml", recipe)
        out = str(self.root / "out")
        self.sources = [
            {"name": "web", "documents": out, "where": {"source": "a"}},
            {
                "name": "worked",
                "documents": out,
                "where": {"source": "worked"},
                "template": "chatml",
                "too_long": "split",
            },
        ]
        self.tale = {"name": "tale", "documents": out, "where": {"source": "b"}}
        self.mixture = self.yaml("mixture.yaml", self.sources, [STABLE])
        self.extension = self.yaml("extension.yaml", [*self.sources, self.tale], BEHIND)

    def yaml(self, name, sources, phases, output="shards"):
        tokenizer = {"train": {"vocab_size": 400, "sources": ["web", "worked"]}}
        content = self.shop.mixture(output=str(self.root / output), tokenizer=tokenizer, sources=sources, phases=phases)
        return self.shop.yaml(name, content)

    def run(self, name, phases, **changed):
        first, *others = phases
        content = {
            "name": "tiny",
            "output": str(self.root / "run"),
            "shards": str(self.root / "shards"),
            "seed": 3,
            "model": MODEL,
            "threads": 1,
            "phases": [
                {
                    "phase": first,
                    "batch_tokens": 128 * 5,
                    "optimizer": {"name": "adamw", "lr": 0.01},
                    "schedule": {"name": "cosine"},
                },
                *(
                    {
                        "phase": other,
                        "batch_tokens": {"other": 192 * 4, "anneal": 128 * 6}[other],
                        "schedule": {"name": "cosine"},
                    }
                    for other in others
                ),
            ],
            "checkpoint": {"every": 7, "keep": 9},
            **changed,
        }
        return self.shop.yaml(name, content)


def steps_of(folder):
    return [row for row in rows(Path(folder) / "metrics.jsonl") if row["kind"] == "step"]


def trained(built, steps, batch_of):
    """For every step: the pieces of documents that it saw."""
    for row in steps:
        phase, first = row["phase"], row["first_sequence"]
        count = min(batch_of[phase], built.phases[phase].sequences - first)
        yield row["step"], phase, lineage.pieces(built, phase, first, count)


def assert_an_epoch_ends_before_anything_comes_again(built, pieces):
    """Over all that was trained on, each token of a source was seen as often as any other of it, or once more."""
    seen = Counter()
    for piece in pieces:
        seen.update((piece.source, piece.id, token) for token in range(piece.start, piece.stop))
    for name in {piece.source for piece in pieces}:
        counts = []
        for part in range(len(built.shards(name).parts)):
            table = built.shards(name).documents(part, ["id", "tokens"])
            for identity, tokens in zip(*(table.column(c).to_pylist() for c in ("id", "tokens")), strict=True):
                counts += [seen[name, identity, token] for token in range(tokens)]
        assert max(counts) - min(counts) <= 1, name


def test_killed_extended_and_resumed_nothing_repeats_or_is_left_out(workshop, midtrain, processes, wait_until):
    road = Road(workshop)
    for verb, file in (("curate", road.recipe), ("build", road.mixture)):
        said = midtrain(verb, file, "--workers", 0)
        assert said.code == 0, said.err
    run = road.run("run.yaml", ["stable"])
    before = Built.open(road.root / "shards")
    planned = before.phases["stable"].sequences

    # Killed somewhere behind a checkpoint, at a step that nobody planned.
    process = processes.start(SLOWLY, "train", str(run))
    metrics = road.root / "run/metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(steps_of(road.root / "run")) >= 24, 120)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    stood = checkpoint_folder.find(road.root / "run").contents
    cut = stood.position.sequence
    assert 0 < cut < planned
    assert stood.position.step * 5 == cut

    said = midtrain("extend", road.extension, "--run", road.root / "run", "--workers", 0)
    assert said.code == 0, said.err
    after = Built.open(road.root / "shards")
    assert after.phases["stable"].sequences == cut
    assert after.phases["stable"].planned_sequences == planned
    verified = midtrain("verify", road.root / "shards")
    assert verified.code == 0, verified.out + verified.err

    # The run's file without the new phases would end here; with them it goes on, killed once more on its way.
    going_on = road.run("run.yaml", ["stable", "other", "anneal"])
    process = processes.start(SLOWLY, "train", str(going_on), "--resume")
    wait_until(lambda: steps_of(road.root / "run")[-1]["step"] >= stood.position.step + 12, 120)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    said = midtrain("train", going_on, "--resume", "--json")
    assert said.code == 0, said.err

    steps = steps_of(road.root / "run")
    last = {row["step"]: row for row in steps}
    assert list(last) == list(range(1, len(last) + 1))
    phases = [last[step]["phase"] for step in sorted(last)]
    assert list(dict.fromkeys(phases)) == ["stable", "other", "anneal"]
    assert phases.count("stable") == stood.position.step
    batch_of = {"stable": 5, "other": 4, "anneal": 6}
    everything = list(trained(after, [last[step] for step in sorted(last)], batch_of))
    assert_an_epoch_ends_before_anything_comes_again(after, [piece for *_, pieces in everything for piece in pieces])

    # Every sequence of every phase was trained on once, in order.
    for phase, batch in batch_of.items():
        firsts = [last[step]["first_sequence"] for step in sorted(last) if last[step]["phase"] == phase]
        assert firsts == list(range(0, after.phases[phase].sequences, batch))

    # What each step saw is what its row says, by the digest of the batch that the trainer was given.
    for step, phase, _ in everything[:: max(len(everything) // 20, 1)]:
        first = last[step]["first_sequence"]
        batch = after.batch(phase, first, min(batch_of[phase], after.phases[phase].sequences - first))
        assert last[step]["batch"] == batch_digest(batch.tokens, batch.positions, batch.loss_mask)

    # Cursors behind the cut are those before it and what was drawn; the run shows its phases.
    counts = dict(zip(before.order.phase("stable").sources, before.order.counts("stable", cut).tolist(), strict=True))
    for entry in after.order.phase("other").entries:
        if entry.name == "tale":
            assert (entry.first_draw, entry.rest) == (0, None)
        else:  # another length: what the epoch had not drawn is packed anew
            assert entry.first_draw == 0
            assert counts[entry.name] > 0
            assert entry.rest is not None
    stretches = history.read(road.root / "run").stretches
    assert (stretches[0].phase, stretches[0].shards, stretches[0].steps) == (
        "stable",
        before.fingerprint,
        stood.position.step,
    )
    assert [one.phase for one in stretches] == ["stable", "other", "anneal"]
    assert {one.shards for one in stretches[1:]} == {after.fingerprint}
    # The rate before the cut is that of the schedule of the whole phase.
    whole = ScheduleConfig(name="cosine")
    for step in range(1, stood.position.step + 1):
        assert last[step]["lr"] == pytest.approx(0.01 * factor(whole, step - 1, -(-planned // 5)))


def test_a_run_beyond_the_cut_is_refused_and_an_older_checkpoint_goes_on(workshop, midtrain):
    road = Road(workshop)
    for verb, file in (("curate", road.recipe), ("build", road.mixture)):
        assert midtrain(verb, file, "--workers", 0).code == 0
    run = road.run("run.yaml", ["stable"])
    said = midtrain("train", run, "--set", "phases.0.steps=20", "--json")
    assert said.code == 0, said.err
    at = 5 * 14  # the run has come to step 20
    said = midtrain("extend", road.extension, "--phase", "stable", "--at", at, "--workers", 0)
    assert said.code == 0, said.err
    going_on = road.run("run.yaml", ["stable", "other", "anneal"])
    refused = midtrain("train", going_on, "--set", "phases.0.steps=20", "--resume")
    assert refused.code == 2
    assert "beyond the place at which the shards were cut" in refused.err
    shutil.rmtree(road.root / "run/checkpoints/step-00000020")
    assert checkpoint_folder.find(road.root / "run").contents.position.step == 14
    goes_on = midtrain("train", going_on, "--set", "phases.0.steps=20", "--resume", "--json")
    assert goes_on.code == 0, goes_on.err
    phases = {row["step"]: row["phase"] for row in steps_of(road.root / "run")}
    assert (phases[14], phases[15]) == ("stable", "other")
    assert orjson.loads(goes_on.out)["step"] == max(phases)
