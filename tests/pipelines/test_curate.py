"""Curation as a whole: one result whatever the processes and cuts, and errors that say what to do."""

import errno
import gzip
import shutil
from collections import Counter

import orjson
import pyarrow.parquet as pq
import pytest
import typer
from midtrain import manifest, storage
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines import inputs
from midtrain.pipelines import processes as processes_of

from tests import processor_time

# One result


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_processes_makes_the_same_files(corpus, monkeypatch, workers):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 8_000)
    other = corpus.twin("other")
    corpus.curate(workers=0)
    result = other.curate(workers=workers)
    assert result.tasks_run > 20
    assert other.hashes("out") == corpus.hashes("out")
    assert other.files("out") == corpus.files("out") == sorted(corpus.hashes("out"))


def test_the_cut_changes_parts_but_no_document(corpus, monkeypatch):
    other = corpus.twin("other")
    corpus.curate()
    monkeypatch.setattr(inputs, "MIN_SPLIT", 3_000)
    other.curate()
    few, many = (len(orjson.loads((shop.root / "out/manifest.json").read_bytes())["files"]) for shop in (corpus, other))
    assert many > 3 * few
    assert other.rows("out") == corpus.rows("out")
    assert other.rows("out", "dropped") == corpus.rows("out", "dropped")


def test_the_result_is_the_one_of_this_version(corpus):
    """A change of what is kept or written must raise the version of the stage or step that makes it.

    Of text alone: what generated problems say is their own tests' matter.
    """
    corpus.curate(sources=corpus.recipe()["sources"][:2])
    kept = [[row["id"], row["source"], row["url"], row["text"], row["messages"]] for row in corpus.rows("out")]
    dropped = [
        [row["id"], row["step"], row["rule"], row["value"], row["threshold"], row["partner"]]
        for stage in stages(corpus)
        for row in dropped_rows(stage)
    ]
    assert (len(kept), len(dropped)) == (99, 61)
    assert manifest.fingerprint([kept, dropped]) == "96665aa6c2207cb2e43a48137dfd5964"


def test_manifests_hold_no_place_and_no_time(corpus):
    corpus.curate()
    for path in (corpus.root / "out").rglob("manifest.json"):
        assert str(corpus.root).encode() not in path.read_bytes()
        assert b'"time"' not in path.read_bytes()


# Once done


def test_a_second_run_opens_no_input_and_says_so(corpus, midtrain, monkeypatch):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    assert midtrain("curate", recipe, "--workers", 0).code == 0
    before, events = corpus.hashes("out"), corpus.events("out")

    original = storage.open_input

    def refuse(path):
        assert "data/" not in path, f"{path} was opened"
        return original(path)

    monkeypatch.setattr(storage, "open_input", refuse)
    monkeypatch.setattr(processes_of, "start_fork_server", lambda: pytest.fail("a process was started"))
    said = midtrain("curate", recipe, "--workers", 2)
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("nothing to do: every stage was done\n")
    data = orjson.loads(midtrain("curate", recipe, "--workers", 0, "--json").out)
    assert data["tasks_run"] == 0
    assert corpus.hashes("out") == before
    assert corpus.events("out") == events


@pytest.mark.measures
def test_a_second_run_takes_no_more_than_to_load_the_code(corpus, processes):
    recipe = str(corpus.yaml("recipe.yaml", corpus.recipe()))
    corpus.curate()
    said = []
    command = ("-m", "midtrain", "curate", recipe, "--workers", "2")
    taken = processor_time.of_children(lambda: said.append(processes.end(processes.start(*command))))
    assert said[0].code == 0
    assert "nothing to do" in said[0].out
    assert taken < 2 * processor_time.of_loading()  # 0.9 to 1.05 times


def test_another_recipe_is_refused_and_replaces_when_told(corpus, midtrain):
    corpus.curate()
    before = corpus.hashes("out")
    changed = corpus.yaml("changed.yaml", corpus.recipe(steps=[{"exact_dedup": {}}]))
    said = midtrain("curate", changed, "--workers", 0)
    assert said.code == 2
    assert "holds another result" in said.err
    assert "--overwrite" in said.err
    assert "Traceback" not in said.err
    assert corpus.hashes("out") == before
    assert midtrain("curate", changed, "--workers", 0, "--overwrite").code == 0
    assert {row["step"] for row in corpus.rows("out", "dropped")} == {"exact_dedup"}
    assert corpus.curate(overwrite=True).tasks_run == 0 or corpus.hashes("out") == before
    assert corpus.hashes("out")["manifest.json"] == before["manifest.json"]


def test_changed_input_is_another_result_and_touched_input_is_not(corpus):
    corpus.curate()
    path = corpus.root / "data/a.jsonl"
    path.touch()
    assert corpus.curate().tasks_run == 0
    path.write_bytes(path.read_bytes() + b'{"text": "one more"}\n')
    with pytest.raises(ConfigError, match="options or inputs were different"):
        corpus.curate()


def test_the_output_of_another_verb_is_never_replaced(built_workshop):
    with pytest.raises(ConfigError, match="another result of build") as caught:
        built_workshop.curate(output=str(built_workshop.root / "shards"), overwrite=True)
    assert "--overwrite" not in caught.value.fix
    assert (built_workshop.root / "shards/manifest.json").exists()


def test_a_dry_run_writes_no_stage(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    said = midtrain("curate", recipe, "--dry-run")
    assert said.code == 0
    assert [line.split()[-2:] for line in said.out.splitlines()[1:]] == [["to", "do"]] * 2
    assert not (corpus.root / "out/stages").exists()
    assert not (corpus.root / "out/manifest.json").exists()
    corpus.curate()
    stages = orjson.loads(midtrain("curate", recipe, "--dry-run", "--json").out)["stages"]
    assert [stage["done"] for stage in stages] == [True, True]


def test_the_table_and_the_json_say_the_same(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    data = orjson.loads(midtrain("curate", recipe, "--json", "--workers", 0).out)
    text = midtrain("curate", recipe, "--workers", 0).out
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line and not line.startswith("source")}
    first, last = data["funnel"]
    for source, counts in first["sources"].items():
        read, kept = counts["documents"], last["sources"][source]["kept"]
        assert rows[source] == [
            str(n) for n in (read, kept, read - kept - counts["quarantined"], counts["quarantined"])
        ]
    for reason, count in {**first["dropped"], **last["dropped"]}.items():
        assert rows[reason] == [str(count)]


def test_a_rule_that_stands_in_two_stages_is_counted_in_both(corpus, midtrain):
    steps = [{"gopher_quality": {"min_words": 25}}, {"exact_dedup": {}}, {"gopher_quality": {"min_words": 40}}]
    for step in (steps[0], steps[2]):
        step["gopher_quality"]["sources"] = ["a"]
    said = midtrain("curate", corpus.yaml("recipe.yaml", corpus.recipe(steps=steps)), "--workers", 0)
    (line,) = (line for line in said.out.splitlines() if line.startswith("gopher_quality.words"))
    dropped = Counter(row["rule"] for name in stages(corpus) for row in dropped_rows(name))
    assert int(line.split()[1]) == dropped["words"]
    assert len([name for name in stages(corpus) if any(row["rule"] == "words" for row in dropped_rows(name))]) == 2


def stages(workshop):
    return sorted((workshop.root / "out/stages").iterdir())


def dropped_rows(stage):
    return [row for path in (stage / "dropped").glob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_two_runs_do_not_work_in_one_folder(corpus, processes, wait_until):
    started = corpus.root / "started"
    slow = (
        f"import sys, time; from pathlib import Path; from midtrain import cli; from midtrain.pipelines import curate\n"
        f"def wait(recipe, scores): Path({str(started)!r}).touch(); time.sleep(120)\n"
        f"curate.plan = wait; cli.main()"
    )
    recipe = str(corpus.yaml("recipe.yaml", corpus.recipe()))
    first = processes.start("-c", slow, "curate", recipe, "--workers", "0")
    wait_until(started.exists)
    with pytest.raises(RunError, match="another run is at work"):
        corpus.curate()
    processes.kill(first, whole_group=True)
    corpus.curate()  # its lock died with it


# What is damaged or missing


def test_a_part_cut_short_is_found_by_the_next_run(corpus, midtrain):
    corpus.curate()
    before = corpus.hashes("out")
    part = next((corpus.root / "out/stages").glob("exact_dedup-*/rows/part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    said = midtrain("curate", corpus.root / "recipe.yaml", "--workers", 0)
    assert said.code == 1
    assert f"{part}: the file was cut short" in said.err
    shutil.rmtree(part.parents[1])  # as the error says
    assert midtrain("curate", corpus.root / "recipe.yaml", "--workers", 0).code == 0
    assert corpus.hashes("out") == before


@pytest.mark.parametrize("content", [b"", b"\n\n \n", gzip.compress(b"", mtime=0)])
def test_a_source_without_a_document_is_an_error(corpus, midtrain, content):
    path = corpus.root / ("data/a.jsonl.gz" if content[:1] == b"\x1f" else "data/a.jsonl")
    path.write_bytes(content)
    recipe = corpus.recipe()
    recipe["sources"][0]["path"] = str(path)
    said = midtrain("curate", corpus.yaml("recipe.yaml", recipe), "--workers", 0)
    assert said.code == (1 if content else 2)
    assert "source a is empty" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("steps", [[], [{"exact_dedup": {}}]])
def test_a_recipe_that_keeps_nothing_is_an_error_that_says_what_dropped_it(corpus, midtrain, steps):
    recipe = corpus.recipe(steps=[{"gopher_quality": {"min_words": 1000}}, *steps])
    said = midtrain("curate", corpus.yaml("recipe.yaml", recipe), "--workers", 0)
    assert said.code == 1
    assert "nothing is left" in said.err
    assert "gopher_quality.words 400" in said.err
    assert not (corpus.root / "out/manifest.json").exists()


def spoil(workshop, count):
    """Puts lines that are not UTF-8 into source a."""
    path = workshop.root / "data/a.jsonl"
    lines = path.read_bytes().splitlines()
    workshop.jsonl("a.jsonl", [*lines[:20], *[b'{"text": "\xff %d"}' % i for i in range(count)], *lines[20:]])


def test_more_in_quarantine_than_allowed_fails_and_work_done_is_kept(corpus, midtrain):
    spoil(corpus, 11)
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    offset = (corpus.root / "data/a.jsonl").read_bytes().index(b'{"text": "\xff 0"}')
    said = midtrain("curate", recipe, "--workers", 0)
    assert said.code == 1
    assert "source a: too many documents had to be set aside" in said.err
    assert f"a.jsonl, byte {offset}: not UTF-8 at byte 10 of the line" in said.err
    assert "11 of 101" in said.err
    assert "at most 10, and never all of a source\n" in said.err
    (folder,) = (corpus.root / "out/stages").iterdir()
    assert f"{folder}/quarantine" in said.err
    assert "max_quarantined" in said.err
    rows = [orjson.loads(line) for path in folder.glob("quarantine/*") for line in path.open("rb")]
    assert len([row for row in rows if row["source"] == "a"]) == 11
    finished = corpus.finished("out")
    raised = midtrain("curate", recipe, "--workers", 0, "--set", "max_quarantined=11", "--json")
    assert raised.code == 0
    again = corpus.finished("out")
    assert len(set(again)) == len(again) > len(finished)
    assert orjson.loads(raised.out)["tasks_run"] == len(again) - len(finished)
    lowered = midtrain("curate", recipe, "--workers", 0, "--set", "max_quarantined=10")
    assert (lowered.code, "at most 10, and never all of a source\n" in lowered.err) == (1, True)


@pytest.mark.parametrize(("limit", "code"), [("0", 1), ("1", 0), ("1%", 0), ("0.001", 0)])
def test_the_limit_is_taken_as_it_is_written(corpus, midtrain, limit, code):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    assert midtrain("curate", recipe, "--workers", 0, "--set", f"max_quarantined={limit}").code == code


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "data/a.jsonl/out"])
def test_an_output_that_cannot_be_made_is_an_error(corpus, midtrain, place):
    output = str(corpus.root / place)
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(output=output))
    for how, what in ((("--workers", 0), "the output folder cannot be made"), (("--dry-run",), "cannot be written")):
        said = midtrain("curate", recipe, *how)
        assert said.code == 2
        assert what in said.err
        assert "Traceback" not in said.err


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (typer.Exit(3), 3), (typer.Exit(), 0)])
def test_what_ends_a_verb_early_is_the_exit_code(corpus, midtrain, monkeypatch, raised, code):
    def stop(*arguments):
        raise raised

    monkeypatch.setattr("midtrain.pipelines.curate.curate", stop)
    said = midtrain("curate", corpus.yaml("recipe.yaml", corpus.recipe()))
    assert said.code == code
    advice = "run the same command again to go on (train: with --resume; demo: it starts anew)"
    assert said.err == (f"midtrain: interrupted; {advice}\n" if code == 130 else "")


def test_what_the_system_refuses_is_an_error_with_its_file(corpus, midtrain, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "out/manifest.json")

    monkeypatch.setattr("midtrain.pipelines.curate.curate", full)
    said = midtrain("curate", corpus.yaml("recipe.yaml", corpus.recipe()))
    assert said.code == 1
    assert said.err.startswith("midtrain: run error\nout/manifest.json: No space left on device\n  fix: ")


def test_the_command_line_answers_misuse_with_its_exit_code(midtrain):
    for arguments in (("curate",), ("curate", "a.yaml", "--workers", "-1"), ("curate", "a.yaml", "--no-such-option")):
        said = midtrain(*arguments)
        assert said.code == 2
        assert "Traceback" not in said.err
    said = midtrain("curate", "/no/such/recipe.yaml")
    assert (said.code, said.err.count("\n")) == (2, 3)
    assert "no such file" in said.err
