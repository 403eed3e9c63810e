"""The demo as a whole: whose folder it takes, what it asks of the commands, and, slowly, all of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midtrain import config
from midtrain.demo import run as demo
from midtrain.demo.commands import Command
from midtrain.demo.results import MIXTURE_SOURCES, TEXT_SOURCES, Results
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import schema
from midtrain.pipelines import recipe
from midtrain.trainer.run import InitFrom, RunConfig

from tests.sizes import sized

CPU_SECONDS = 30 * 60  # 510 were measured; there are machines whose cores do 40 % of that one's
PATIENCE = 60 * 60  # seconds; a machine that is busy elsewhere


@pytest.fixture
def road(results: Callable[..., Results], monkeypatch: pytest.MonkeyPatch) -> list[demo.Paths]:
    """Puts results in place of the road to them; returns the folders that it was asked for."""
    asked: list[demo.Paths] = []

    def stand_in(paths: demo.Paths, seed: int, times: Any, size: Any) -> Results:
        asked.append(paths)
        return results()

    monkeypatch.setattr(demo, "_road", stand_in)
    before = signal.getsignal(signal.SIGTERM)
    yield asked
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_the_demos_is_never_touched(road: Any, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"the folder is taken\n +fix: +name another folder"):
        demo.run(str(tmp_path), 0, overwrite)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "demo.json"}
    assert road == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_is_never_touched(road: Any, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out").write_text("a file")
    for place in ("out", "out/below"):
        with pytest.raises(ConfigError, match="name another folder"):
            demo.run(str(tmp_path / place), 0, overwrite)
    assert (tmp_path / "out").read_text() == "a file"


def test_its_own_folder_is_replaced_when_asked(road: Any, tmp_path: Path) -> None:
    demo.run(str(tmp_path / "deep/demo"), 0, False)
    (tmp_path / "deep/demo/left").write_text("")
    with pytest.raises(ConfigError, match="pass --overwrite to run it anew"):
        demo.run(str(tmp_path / "deep/demo"), 0, False)
    assert (tmp_path / "deep/demo/left").exists()
    demo.run(str(tmp_path / "deep/demo"), 0, True)
    assert not (tmp_path / "deep/demo/left").exists()
    assert len(road) == 2


def test_quick_is_asked_for_by_its_option(monkeypatch: pytest.MonkeyPatch, midtrain: Any, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(demo, "run", lambda *given: asked.append(given))
    for options in ((), ("--quick",)):
        assert midtrain("demo", tmp_path / "demo", *options).code == 0
    assert [given[-1] for given in asked] == [demo.WHOLE, demo.QUICK]


def test_an_empty_folder_is_as_good_as_none(road: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.run(str(tmp_path), 0, False)
    said = capsys.readouterr().out
    assert f"{tmp_path}/report.html" in said
    assert "96.0%" in said
    assert "NO" not in said.split()
    assert (tmp_path / "report.html").exists()


def test_a_claim_that_does_not_hold_fails_the_demo_and_leaves_the_report(
    road: Any, results: Callable[..., Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_road", lambda paths, seed, times, size: results(after=results().before))
    with pytest.raises(RunError, match=r"after midtraining at least 85% \(seen: 12\.0%\)") as wrong:
        demo.run(str(tmp_path / "demo"), 0, False)
    assert wrong.value.exit_code == 1
    assert "report.html" in wrong.value.fix
    assert "A claim does not hold." in (tmp_path / "demo/report.html").read_text()


def load(command: Command) -> Any:
    """The configuration of a command's file with its settings, checked as the verb would."""
    settings = [value for flag, value in zip(command.options, command.options[1:], strict=False) if flag == "--set"]
    if command.verb == "curate":
        return recipe.load(command.subject, settings).spec
    if command.verb == "build":
        return schema.load(command.subject, settings).value
    return config.load(command.subject, RunConfig, settings).value


BUILT = {"rows": [{"phase": phase, "tokens": 100} for phase in ("pretrain", "midtrain", "control", "control")]}


def test_every_command_works_in_the_demos_folder_alone(tmp_path: Path) -> None:
    paths = demo.Paths(tmp_path)
    curate, build = load(demo._curate(paths, demo.WHOLE)), load(demo._build(paths, 5, demo.WHOLE))
    assert curate.output == str(paths.curated)
    assert [source.path for source in curate.sources if source.path] == [
        str(paths.raw / f"{name}.jsonl") for name in TEXT_SOURCES
    ]
    assert (build.output, build.seed) == (str(paths.shards), 5)
    assert [source.name for source in build.sources] == list(MIXTURE_SOURCES)
    assert {source.documents for source in build.sources} == {str(paths.curated)}
    runs = {name: load(demo._train(paths, name, 5, BUILT)) for name in ("pretrain", "midtrain", "control")}
    for name, run in runs.items():
        assert (run.output, run.shards, run.seed) == (str(paths.run(name)), str(paths.shards), 5)
        assert run.init_from == (None if name == "pretrain" else InitFrom(path=str(paths.run("pretrain"))))
        assert [phase.phase for phase in run.phases] == [name]


@pytest.mark.parametrize("size", [demo.WHOLE, demo.QUICK])
def test_midtraining_and_its_control_differ_in_nothing_but_their_data(tmp_path: Path, size: demo.Size) -> None:
    paths = demo.Paths(tmp_path)
    one, other = (load(demo._train(paths, name, 0, BUILT)).model_dump() for name in ("midtrain", "control"))
    for run in (one, other):
        for key in ("name", "output"):
            run.pop(key)
        run["phases"][0].pop("phase")
    assert one == other
    phases = {phase.name: phase for phase in load(demo._build(paths, 0, size)).phases}
    assert phases["midtrain"].tokens == phases["control"].tokens
    assert phases["midtrain"].sequence_length == phases["control"].sequence_length
    assert phases["midtrain"].entries()["text"] == phases["control"].entries()["text"]
    assert phases["midtrain"].entries()["worked"].share == phases["control"].entries()["twins"].share


def test_a_quick_demo_learns_one_family_from_half_the_tokens(tmp_path: Path) -> None:
    paths = demo.Paths(tmp_path)
    whole, quick = (load(demo._curate(paths, size)) for size in (demo.WHOLE, demo.QUICK))
    assert len(whole.sources) == len(TEXT_SOURCES) + len(MIXTURE_SOURCES) - 1
    for one, other in zip(whole.sources, quick.sources, strict=True):
        assert one.tasks == (demo.WHOLE.tasks if one.tasks else one.tasks)
        assert other == one.model_copy(update={"tasks": demo.QUICK.tasks} if one.tasks else {})
    whole, quick = (load(demo._build(paths, 0, size)) for size in (demo.WHOLE, demo.QUICK))
    for one, other in zip(whole.phases, quick.phases, strict=True):
        assert other.tokens < 0.5 * one.tokens
        assert other == one.model_copy(update={"tokens": other.tokens})


def test_progress_is_told_by_the_runs_own_tokens(tmp_path: Path) -> None:
    command = demo._train(demo.Paths(tmp_path), "control", 0, BUILT)
    assert command.watch == tmp_path / "runs/control/metrics.jsonl"
    assert command.total == 200


@pytest.mark.parametrize("size", [demo.WHOLE, demo.QUICK])
def test_enough_problems_of_every_family_are_asked(tmp_path: Path, size: demo.Size) -> None:
    command = demo._evaluate(demo.Paths(tmp_path), "midtrain", "reasoning", size)
    pairs = list(zip(command.options, command.options[1:], strict=False))
    assert [value for flag, value in pairs if flag == "--task"] == list(size.tasks)
    assert ("--prompt", "reasoning") in pairs
    assert int(dict(pairs)["--samples"]) >= 200


@pytest.mark.slow
def test_a_terminated_demo_ends_its_commands(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "midtrain", "demo", str(tmp_path / "demo")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    group = os.getpgid(process.pid)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "demo/curated").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in said
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process of the demo is left")


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_its_claims_hold(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "midtrain", "demo", str(tmp_path / "demo"), *sized([], ["--quick"])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said[-4000:]
    page = (tmp_path / "demo/report.html").read_text()
    assert "Every claim holds." in page
    assert page.count("<pre>") == 3
    assert "held-out problems" in said
    # Of the processors, its commands' included, so that a busy machine does not fail the test.
    assert used.ru_utime + used.ru_stime < CPU_SECONDS
