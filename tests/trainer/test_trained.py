"""Opening a trained model by its run or a checkpoint, and what it then measures and says."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import templates
from midtrain.mixtures.built import Built
from midtrain.mixtures.tasks import evaluation_problems
from midtrain.mixtures.templates import Message
from midtrain.trainer import metrics
from midtrain.trainer import trained as opened
from midtrain.trainer.checkpoints import checkpoint_manifest
from midtrain.trainer.evaluation.measure import PROBLEM_SEED
from midtrain.trainer.evaluation.sampling import Sampling
from midtrain.trainer.trained import Trained

from .prefixed_tokenizer import prefixed_tokenizer, reply_ids
from .tiny_run import tiny_run

PLAIN: dict[str, Any] = {"raw": False, "prompt": "answer", "max_new_tokens": 8}


@pytest.fixture(scope="module")
def root(built_workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with built shards and a run of three steps on them."""
    root: Path = tmp_path_factory.mktemp("trained")
    tasks = ", tasks: [modular_chain], samples: 4, steps: [2], max_new_tokens: 6"
    tiny_run(built_workshop.root / "shards", root, tasks)
    return root


@pytest.fixture(scope="module")
def trained(root: Path) -> Trained:
    return Trained.open(root / "run")


def step(root: Path, number: int) -> Path:
    return root / f"run/checkpoints/step-{number:08d}"


def test_a_runs_folder_is_opened_at_its_newest_checkpoint(root: Path, trained: Trained) -> None:
    assert trained.checkpoint.path == step(root, 3)
    assert not trained.model.training
    assert (trained.sequence_length, trained.model.config.rope_theta) == (256, 1e6)
    assert trained.built.root == root / "shards"


def test_a_checkpoint_is_opened_as_it_was_written(root: Path, trained: Trained) -> None:
    newest, earlier = Trained.open(step(root, 3)), Trained.open(str(step(root, 2)))
    assert (earlier.sequence_length, earlier.model.config.rope_theta) == (128, 1e4)
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(newest.model.state_dict()[name], tensor)
    assert not torch.equal(earlier.model.embed_tokens.weight, trained.model.embed_tokens.weight)


def test_a_checkpoint_is_opened_from_inside_its_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(step(root, 1))
    assert Trained.open(".").checkpoint.contents.position.step == 1


def drop_for_a_newer_one(run: Path, number: int) -> None:
    """What a run does that keeps one checkpoint."""
    newest = run / f"checkpoints/step-{number:08d}"
    shutil.copytree(newest, newest.with_name(f"step-{number + 1:08d}"))
    shutil.rmtree(newest)


@pytest.mark.parametrize("moment", ["found", "shards", "hashed"])
def test_a_checkpoint_that_its_run_drops_meanwhile_gives_way_to_the_next(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(root / "run", run)
    place, name = {
        "found": (checkpoint_manifest, "read"),
        "shards": (Built, "open"),
        "hashed": (checkpoint_manifest, "verify"),
    }[moment]
    real, dropped = getattr(place, name), []

    def dropping(*arguments: Any) -> Any:
        if moment == "hashed":
            real(*arguments)
        if not dropped:
            dropped.append(drop_for_a_newer_one(run, 3))
        return None if moment == "hashed" else real(*arguments)

    monkeypatch.setattr(place, name, dropping)
    assert Trained.open(run).checkpoint.path.name == "step-00000004"
    assert dropped


def test_a_checkpoint_that_was_named_and_is_dropped_meanwhile_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = tmp_path / "run", Built.open
    shutil.copytree(root / "run", run)
    monkeypatch.setattr(Built, "open", lambda *given: (drop_for_a_newer_one(run, 3), real(*given))[1])
    with pytest.raises(RunError, match="dropped the checkpoint meanwhile"):
        Trained.open(run / "checkpoints/step-00000003")


@pytest.mark.parametrize("place", ["none", "shards"])
def test_a_folder_without_a_checkpoint_is_refused(root: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="no checkpoint is here"):
        Trained.open(root / place)


def test_moved_shards_are_named_beside_the_checkpoint(root: Path, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    shutil.copytree(root / "shards", tmp_path / "elsewhere")
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text().replace(str(root / "shards"), str(tmp_path / "gone")))
    with pytest.raises(ConfigError, match=r"not where it found them\n +seen: +.*gone\n +fix: +.*--shards FOLDER"):
        Trained.open(tmp_path / "run")
    moved = Trained.open(tmp_path / "run", str(tmp_path / "elsewhere"))
    assert list(moved.held_out()) == list(trained.held_out())


def test_a_checkpoint_that_left_its_run_needs_its_shards_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(step(root, 3), tmp_path / "kept/step-00000003")
    with pytest.raises(ConfigError, match=r"lies in no run's folder[^$]*--shards FOLDER"):
        Trained.open(tmp_path / "kept/step-00000003")
    assert Trained.open(tmp_path / "kept/step-00000003", str(root / "shards")).sequence_length == 256


def test_shards_of_another_tokenizer_are_refused(built_workshop: Any, root: Path, tmp_path: Path) -> None:
    tokenizer = {"train": {"vocab_size": 420, "sources": ["web", "worked"]}}
    built_workshop.build(output=str(tmp_path / "shards"), tokenizer=tokenizer)
    with pytest.raises(ConfigError, match=r"not the one that the model was trained with[^$]*--shards") as wrong:
        Trained.open(root / "run", str(tmp_path / "shards"))
    assert wrong.value.exit_code == 2


def test_a_tokenizer_altered_in_place_is_found(root: Path, tmp_path: Path) -> None:
    """Its size is the same, so the manifest's sizes cannot tell."""
    shutil.copytree(root / "shards", tmp_path / "shards")
    path = Trained.open(root / "run").built.tokenizer_path.relative_to(root / "shards")
    text = (tmp_path / "shards" / path).read_text()
    first, second = '"</think>"', '"<think>/"'
    assert first in text
    (tmp_path / "shards" / path).write_text(text.replace(first, second))
    with pytest.raises(RunError, match="the tokenizer is not the one that made the shards"):
        Trained.open(root / "run", str(tmp_path / "shards"))


def test_held_out_losses_are_those_that_the_run_measured_at_its_end(root: Path, trained: Trained) -> None:
    measured = [row for row in metrics.rows(root / "run/metrics.jsonl") if row["kind"] == "evaluation"][-1]
    losses = {one.source: one for one in trained.held_out()}
    assert measured["step"] == 3
    assert {"web", "worked"} <= losses.keys()
    for name, one in losses.items():
        assert one.loss == pytest.approx(measured[f"held_out.{name}.loss"], rel=1e-5)
        assert one.bits_per_byte == pytest.approx(measured[f"held_out.{name}.bits_per_byte"], rel=1e-5)
        assert one.documents == trained.built.sources[name].held_out_documents > 0
    assert list(trained.held_out(["worked"])) == [losses["worked"]]


def test_tasks_are_scored_as_the_run_scored_them_at_its_end(root: Path, trained: Trained) -> None:
    measured = [row for row in metrics.rows(root / "run/metrics.jsonl") if row["kind"] == "evaluation"][-1]
    (score,) = trained.tasks(["modular_chain"], "reasoning", 4, [2], 6)
    assert (score.task, score.prompt, score.problems) == ("modular_chain", "reasoning", 4)
    assert score.accuracy == measured["tasks.modular_chain.accuracy"]
    assert score.twin_loss == pytest.approx(measured["tasks.modular_chain.twin_loss"], rel=1e-5)
    asked = [problem.statement for problem in evaluation_problems("modular_chain", [2], 4, PROBLEM_SEED)]
    assert [example.statement for example in score.examples] == asked
    assert all(example.reply.startswith("<think>\n") for example in score.examples)


def test_a_source_that_holds_nothing_out_is_an_error(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no source is called wbe\n +expected: twins, web, worked"):
        list(trained.held_out(["wbe"]))
    none = {**trained.built.sources, "web": replace(trained.built.sources["web"], held_out_documents=0)}
    monkeypatch.setattr(trained.built, "sources", none)
    with pytest.raises(ConfigError, match=r"nothing was held out of web[^$]*give the source held_out"):
        list(trained.held_out(["web"]))
    assert "web" not in [one.source for one in trained.held_out()]


@torch.no_grad()
def continued(trained: Trained, ids: Sequence[int], ends: set[int], count: int) -> list[int]:
    """The most probable tokens, by the whole model over the whole text each time."""
    found: list[int] = []
    while len(found) < count:
        tokens = torch.tensor([[*ids, *found]])
        positions = torch.arange(tokens.shape[1])[None]
        token = int(trained.model(tokens, positions, torch.zeros_like(tokens)).logits_BTV[0, -1].argmax())
        if token in ends:
            return found
        found.append(token)
    return found


def test_a_raw_text_is_continued(trained: Trained) -> None:
    ids = trained.tokenizer.encode_texts(["the river of stone"]).ids[:-1].tolist()
    expected = continued(trained, ids, {trained.tokenizer.end_of_document}, 8)
    assert trained.reply("the river of stone", **{**PLAIN, "raw": True}) == trained.tokenizer.decode(expected)


def test_a_raw_text_goes_on_with_its_space(trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tokenizer = prefixed_tokenizer(tmp_path)
    ids = reply_ids(tokenizer, "the cat", " and the hat")
    monkeypatch.setattr(opened, "generate", lambda *args, **rest: [ids])
    prefixed, raw = replace(trained, tokenizer=tokenizer), {**PLAIN, "raw": True}
    assert prefixed.reply("the cat", **raw) == " and the hat"
    assert prefixed.reply("the cat", **raw, stops=[" hat"]) == " and the"
    assert prefixed.reply("the cat", **raw, stops=[" and"]) == ""


@pytest.mark.parametrize("prompt", ["answer", "reasoning"])
def test_a_message_is_answered_in_the_template(trained: Trained, prompt: str) -> None:
    rendered = templates.prompt("chatml", [Message("user", "3 + 4 =")], answer_directly=prompt == "answer")
    ids = trained.tokenizer.encode_prompt(rendered)
    ends = {trained.tokenizer.end_of_document, trained.tokenizer.special_id("<|im_end|>")}
    expected = trained.tokenizer.decode(continued(trained, ids, ends, 8))
    assert trained.reply("3 + 4 =", **{**PLAIN, "prompt": prompt}) == expected


@pytest.mark.parametrize(
    ("function", "ask", "told"),
    [
        ("held_out_loss", lambda it: list(it.held_out(["web"])), r"web: .*the held-out loss[^$]*more memory"),
        (
            "task_accuracy",
            lambda it: it.tasks(["modular_chain"], "answer", 4, [2], 6),
            r"modular_chain: .*the replies to problems[^$]*--batch-size",
        ),
        ("generate", lambda it: it.reply("the river", **PLAIN), r"tokens and a reply[^$]*--max-new-tokens"),
    ],
)
def test_memory_that_runs_out_is_named_with_what_to_lower(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, function: str, ask: Any, told: str
) -> None:
    def full(*args: Any, **rest: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 17.19 GiB.")

    monkeypatch.setattr(opened, function, full)
    with pytest.raises(RunError, match=told):
        ask(trained)


def test_the_rows_of_held_out_documents_are_no_longer_than_a_forward_pass_needs(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported model's sequences are as long as its positions."""
    asked: list[Any] = []
    monkeypatch.setattr(
        opened,
        "held_out_loss",
        lambda model, documents, length, rows, **rest: asked.append((length, rows, rest["row"])),
    )
    for length in (131_072, 8_192, 256):
        monkeypatch.setattr(Trained, "sequence_length", length)
        list(trained.held_out(["web"]))
    assert asked == [(131_072, 4, 4_096), (8_192, 4, 4_096), (256, 64, 256)]


def test_draws_are_those_of_their_seed(trained: Trained) -> None:
    drawn = [
        trained.reply("the garden", **{**PLAIN, "raw": True, "sampling": Sampling(2.0, seed=seed)})
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_has_no_reply(trained: Trained, text: str) -> None:
    with pytest.raises(ConfigError, match="there is no text to reply to"):
        trained.reply(text, **PLAIN)
