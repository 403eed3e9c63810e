"""What a run saw: looked up from its record, against the batches that its loader gave, and the other way round.

The run goes through two phases of different sequence length and stops in the first, to go on with another batch size
and other micro-batches. Documents are recognised in its batches by their tokens, which lineage does not read.
"""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from midtrain.config import validate
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import lineage, schema
from midtrain.mixtures.built import Built
from midtrain.mixtures.digest import batch_digest
from midtrain.pipelines.extend import Cut, extend
from midtrain.pipelines.processes import local
from midtrain.progress import Progress
from midtrain.trainer import seen, session
from midtrain.trainer.metrics import Metrics, rows
from midtrain.trainer.run import RunConfig
from midtrain.trainer.step import train_step
from midtrain.trainer.train import train
from midtrain.yaml_document import override, parse

RUN = """\
name: tiny
output: {root}/run
shards: {shards}
threads: 1
model: {{hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 16,
  router_size: 8}}
phases:
  - {{phase: first, batch_tokens: 512, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}}}}
  - {{phase: second, batch_tokens: 1Ki, micro_batch_tokens: 512, schedule: {{name: constant}}}}
checkpoint: {{every: 3, keep: 9}}
"""
CHANGED = ("phases.0.batch_tokens=640", "phases.0.micro_batch_tokens=128", "phases.1.batch_tokens=768")
STOPPED = 5  # steps; the last checkpoint is that of step 3
PROBES = 1000


def read(root: Path, shards: Path, *settings: str):
    return validate(override(parse(RUN.format(root=root, shards=shards), "run.yaml"), settings), RunConfig)


class Recorder:
    """Stands before the step and keeps what it was given: phase, first sequence, tokens, positions, segments."""

    def __init__(self, taken: int, last: int | None = None) -> None:
        self.taken, self.last = taken, last
        self.batches: dict[int, tuple] = {}

    def __call__(self, model, optimizer, balancer, batch, *, name, **options):
        if self.taken == self.last:
            raise RunError("the power is gone")
        self.taken += 1
        arrays = (batch.tokens_BT.numpy(), batch.positions_BT.numpy(), batch.segments_BT.numpy())
        phase = name.rpartition(" ")[2]
        self.batches[self.taken] = (phase, batch.first_index, *(array.copy() for array in arrays))
        return train_step(model, optimizer, balancer, batch, name=name, **options)


@pytest.fixture(scope="module")
def logged(built_workshop, tmp_path_factory):
    """The folder of a run, a copy of it as it was when it stopped, and the batches of its steps."""
    threads = torch.get_num_threads()
    root, shards = tmp_path_factory.mktemp("seen"), built_workshop.root / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train_step", before := Recorder(0, STOPPED))
        with pytest.raises(RunError, match="the power is gone"):
            train(read(root, shards))
        shutil.copytree(root / "run", root / "stopped")
        patch.setattr(session, "train_step", after := Recorder(3))
        train(read(root, shards, *CHANGED), resume=True)
    torch.set_num_threads(threads)
    kept = {step: batch for step, batch in before.batches.items() if step <= 3}
    return SimpleNamespace(
        root=root, folder=root / "run", shards=shards, batches=kept | after.batches, first_batches=before.batches
    )


@pytest.fixture(scope="module")
def by_tokens(logged):
    """Source, id and length of the documents by the tokens of each of their pieces' beginnings: found by content."""
    built = Built.open(logged.shards)
    found = {}
    for source in built.sources:
        shards = built.shards(source)
        for part in range(len(shards.parts)):
            for row in shards.documents(part).to_pylist():
                tokens = shards.read(part, row["start"], row["tokens"]).tolist()
                found.setdefault((source, row["id"]), []).append((tokens, row["source"], row["url"]))
    return found


def probes(batches, count=PROBES, seed=0):
    """Random tokens of random steps that are no padding: step, row, place in the row."""
    rng = random.Random(seed)
    while count:
        step = rng.choice(list(batches))
        segments = batches[step][4]
        row, place = rng.randrange(segments.shape[0]), rng.randrange(segments.shape[1])
        if segments[row, place] >= 0:
            count -= 1
            yield step, row, place


def test_the_run_went_through_what_it_should(logged):
    record = seen.open_run(logged.folder)
    assert [(one.phase, one.batch_sequences, one.first_step, one.first_sequence) for one in record.stretches] == [
        ("first", 4, 0, 0),
        ("first", 5, 3, 12),
        ("second", 3, 8, 0),
    ]
    assert record.step == record.stretches[-1].last_step == max(logged.batches) == 15
    trained = [(phase, first, len(tokens)) for phase, first, tokens, *_ in logged.batches.values()]
    assert sum(count for phase, _, count in trained if phase == "first") == 34
    assert sum(count for phase, _, count in trained if phase == "second") == 21


def test_seen_is_what_the_loader_gave_and_where_is_its_inverse(logged, by_tokens):
    """A thousand random tokens of the log: seen names their document, and where leads back to them."""
    record = seen.open_run(logged.folder)
    found = {step: seen.seen(record, step) for step in logged.batches}
    places = {}
    for step, row, place in probes(logged.batches):
        phase, first, tokens, positions, segments = logged.batches[step]
        one = found[step]
        assert (one.phase, one.first, one.count, one.trained) == (phase, first, len(tokens), True)
        [piece] = [
            p for p in one.pieces if p.sequence == first + row and p.offset <= place < p.offset + p.stop - p.start
        ]
        inside = np.flatnonzero(segments[row] == segments[row, place])
        assert (piece.offset, piece.stop - piece.start) == (inside[0], inside.size)
        document, recipe_source, url = next(
            one
            for one in by_tokens[piece.source, piece.id]
            if one[0][piece.start : piece.stop] == tokens[row, inside].tolist()
        )
        assert (piece.tokens, piece.recipe_source, piece.url) == (len(document), recipe_source, url)
        assert positions[row, place] == place - piece.offset
        if piece.id not in places:
            whereabouts = lineage.whereabouts(record.built, piece.id)
            steps = seen.steps_of(record, whereabouts)
            places[piece.id] = [(one, spot, steps[spot]) for one in whereabouts for spot in one.appearances]
        assert (phase, first + row, piece.offset, piece.start, piece.stop, step, "seen") in [
            (spot.phase, spot.sequence, spot.offset, spot.start, spot.stop, *steps)
            for one, spot, steps in places[piece.id]
            if (one.source, one.part) == (piece.source, piece.part)
        ]
    # And nothing else: what where says of these documents is all in what their steps have seen.
    for identity, spots in places.items():
        for one, spot, (step, status) in spots:
            assert status == "seen"
            assert (one.source, spot.sequence, spot.offset, spot.start, spot.stop) in [
                (piece.source, piece.sequence, piece.offset, piece.start, piece.stop)
                for piece in found[step].pieces
                if piece.id == identity
            ]


def test_every_token_of_every_step_is_some_documents(logged):
    record = seen.open_run(logged.folder)
    for step, (_, first, _, _, segments) in logged.batches.items():
        pieces = seen.seen(record, step).pieces
        for row in range(len(segments)):
            mine = [piece for piece in pieces if piece.sequence == first + row]
            assert [piece.offset for piece in mine] == [0, *np.cumsum([p.stop - p.start for p in mine])[:-1]]
            assert sum(piece.stop - piece.start for piece in mine) == (segments[row] >= 0).sum()


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
def test_the_ranks_of_a_step_share_it(logged, world_size):
    record = seen.open_run(logged.folder)
    for step in (1, 4, 8, 9, 15):
        whole = seen.seen(record, step)
        ranks = [seen.seen(record, step, rank, world_size) for rank in range(world_size)]
        assert [piece for rank in ranks for piece in rank.pieces] == list(whole.pieces)
        assert sum(rank.count for rank in ranks) == whole.count
        assert max(rank.count for rank in ranks) - min(rank.count for rank in ranks) <= 1
    with pytest.raises(ConfigError, match="no such rank"):
        seen.seen(record, 1, world_size, world_size)


def test_a_run_that_was_stopped_tells_what_it_has_seen_and_what_is_planned(logged):
    """Steps behind the last checkpoint were taken; they would be taken again, with the batch that the run then has."""
    record = seen.open_run(logged.root / "stopped")
    assert record.step == STOPPED
    for step, (phase, first, tokens, _, segments) in logged.first_batches.items():
        found = seen.seen(record, step)
        assert (found.phase, found.first, found.count, found.trained) == (phase, first, len(tokens), True)
        assert sum(piece.stop - piece.start for piece in found.pieces) == (segments >= 0).sum()
    planned = seen.seen(record, STOPPED + 1)
    assert not planned.trained
    ahead = lineage.whereabouts(record.built, planned.pieces[0].id)
    statuses = set(seen.steps_of(record, ahead).values())
    assert (STOPPED + 1, "planned") in statuses
    with pytest.raises(ConfigError, match="has no such step"):
        seen.seen(record, 0)
    with pytest.raises(ConfigError, match="from 1 to 15"):
        seen.seen(record, 16)


def test_a_checkpoint_tells_of_its_own_steps(logged):
    record = seen.open_run(logged.folder / "checkpoints" / "step-00000006")
    assert record.step == record.stretches[-1].last_step == 6
    assert seen.seen(record, 5) == seen.seen(seen.open_run(logged.folder), 5)
    with pytest.raises(ConfigError, match="from 1 to 6"):
        seen.seen(record, 7)
    later = seen.seen(seen.open_run(logged.folder), 7).pieces[0].id
    statuses = seen.steps_of(record, lineage.whereabouts(record.built, later)).values()
    assert (None, "not in this run") in statuses


def test_a_checkpoint_alone_needs_its_shards_named(logged, tmp_path):
    alone = shutil.copytree(logged.folder / "checkpoints" / "step-00000006", tmp_path / "step-00000006")
    with pytest.raises(ConfigError, match="nothing says where the shards"):
        seen.open_run(alone)
    record = seen.open_run(alone, str(logged.shards))
    assert seen.seen(record, 5) == seen.seen(seen.open_run(logged.folder), 5)


def test_a_run_without_its_history_falls_back_to_its_newest_checkpoint(logged, tmp_path):
    folder = shutil.copytree(logged.folder, tmp_path / "run")
    (folder / "history.json").unlink()
    record = seen.open_run(folder, str(logged.shards))
    assert (record.stretches, record.step) == (seen.open_run(logged.folder).stretches, 15)


def test_other_shards_are_refused(logged, monkeypatch):
    record = seen.open_run(logged.folder)
    others = replace(record.stretches[0], shards="0" * 32)
    monkeypatch.setattr(
        seen.history, "read", lambda folder: seen.history.History("tiny", str(logged.shards), (others,))
    )
    with pytest.raises(ConfigError, match="not those that the run is trained on"):
        seen.open_run(logged.folder)


def test_what_is_no_run_is_told(tmp_path):
    assert not seen.is_run(tmp_path)
    with pytest.raises(ConfigError, match="no checkpoint is here"):
        seen.open_run(tmp_path)


def test_the_digests_in_the_record_are_those_of_the_shards(logged):
    built = Built.open(logged.shards)
    for row in rows(logged.folder / "metrics.jsonl"):
        if row["kind"] == "step":
            phase, first, tokens, *_ = logged.batches[row["step"]]
            batch = built.batch(phase, first, len(tokens))
            assert row["batch"] == batch_digest(batch.tokens, batch.positions, batch.loss_mask)


def test_an_extension_keeps_what_was_seen_and_goes_on(built_workshop, tmp_path):
    """Cut within the first phase, where the run stands; seen before and after it resumed."""
    shards = shutil.copytree(built_workshop.root / "shards", tmp_path / "shards")
    settings = ("phases.0.steps=8", "checkpoint.every=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train_step", before := Recorder(0, 5))
        with pytest.raises(RunError, match="the power is gone"):
            train(read(tmp_path, shards, *settings))
    ids = {step: seen.seen(seen.open_run(tmp_path / "run"), step) for step in range(1, 5)}
    weights = {"web": 0.5, "worked": 0.3, "twins": {"share": 0.2, "max_epochs": 3}}
    third = {"name": "third", "sequence_length": 96, "tokens": 2000, "weights": weights}
    mixture = built_workshop.mixture(output=str(shards), phases=[third])
    loaded = schema.load(built_workshop.yaml("extended.yaml", mixture))
    extend(loaded, Cut("first", 18), local(0), Progress(shown=False))

    beyond = seen.open_run(tmp_path / "run")  # it took step 5, to sequence 20, before it was stopped
    assert beyond.built.fingerprint == Built.open(shards).history[-1]  # what it was trained on, as it was
    assert {step: seen.seen(beyond, step) for step in ids} == ids
    assert (seen.seen(beyond, 5).first, seen.seen(beyond, 5).count) == (16, 4)
    gone = shards / "history" / f"{beyond.built.fingerprint}.json"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(ConfigError, match="cut before the place at which the run stands"):
        seen.open_run(tmp_path / "run")
    gone.write_bytes(kept)
    Metrics(tmp_path / "run", tensorboard=False, last_step=4).__exit__(None, None, None)
    planned = seen.open_run(tmp_path / "run")
    assert [(one.phase, one.steps, one.sequences) for one in planned.stretches] == [("first", 5, 18)]
    assert {step: seen.seen(planned, step) for step in ids} == ids

    phases = "phases=[{phase: first, batch_tokens: 512, steps: 8, optimizer: {name: adamw, lr: 0.01}, schedule: {name: "
    phases += "constant}}, {phase: third, batch_tokens: 288, schedule: {name: constant}}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train_step", after := Recorder(4))
        train(read(tmp_path, shards, phases), resume=True)
    record = seen.open_run(tmp_path / "run")
    assert [(one.phase, one.shards == record.built.fingerprint) for one in record.stretches] == [
        ("first", False),
        ("first", True),
        ("third", True),
    ]
    batches = {step: batch for step, batch in before.batches.items() if step <= 4} | after.batches
    assert list(batches) == list(range(1, record.step + 1))
    assert {step: seen.seen(record, step) for step in ids} == ids
    drawn = []
    for step, (phase, first, tokens, *_) in batches.items():
        found = seen.seen(record, step)
        assert (found.phase, found.first, found.count) == (phase, first, len(tokens))
        for piece in found.pieces:
            row = tokens[piece.sequence - first, piece.offset :][: piece.stop - piece.start]
            shards_of = record.built.shards(piece.source)
            part = [one.stem for one in shards_of.parts].index(piece.part)
            [start] = [one["start"] for one in shards_of.documents(part).to_pylist() if one["id"] == piece.id]
            assert shards_of.read(part, start + piece.start, piece.stop - piece.start).tolist() == row.tolist()
            drawn += [(piece.source, piece.id, piece.start)] * (piece.source != "twins")
            places = [place for one in lineage.whereabouts(record.built, piece.id) for place in one.appearances]
            spot = (phase, piece.sequence, piece.offset, piece.start, piece.stop)
            [mine] = [one for one in places if (one.phase, one.sequence, one.offset, one.start, one.stop) == spot]
            assert seen.steps_of(record, lineage.whereabouts(record.built, piece.id))[mine] == (step, "seen")
    assert len(set(drawn)) == len(drawn)  # nothing came again behind the cut
