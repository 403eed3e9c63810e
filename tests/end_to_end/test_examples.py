"""The example's files fit each other, and are the ones that its README names."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midtrain import config
from midtrain.mixtures import schema, tasks
from midtrain.pipelines import curate, recipe
from midtrain.pipelines.duplicates import index_changes
from midtrain.pipelines.processes import local
from midtrain.progress import Progress
from midtrain.trainer.run import RunConfig, plan_phases

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = EXAMPLES / "web_gsm8k"
DEDUPLICATE = EXAMPLES / "deduplicate.yaml"


@dataclass(frozen=True)
class Phase:
    sequence_length: int
    sequences: int

    @property
    def planned_sequences(self) -> int:
        return self.sequences


def test_each_file_reads_what_the_one_before_writes() -> None:
    curated = recipe.load(FILES / "recipe.yaml").spec
    mixture = schema.load(FILES / "mixture.yaml").value
    run = config.load(FILES / "run.yaml", RunConfig).value
    assert {source.documents for source in mixture.sources} == {curated.output}
    assert run.shards == mixture.output
    assert [phase.phase for phase in run.phases] == [phase.name for phase in mixture.phases]
    named = [source.where["source"] for source in mixture.sources]
    assert named == [source.name for source in curated.sources]
    assert all(source.held_out for source in mixture.sources)


def test_the_run_fits_the_phases_of_the_mixture() -> None:
    mixture = schema.load(FILES / "mixture.yaml").value
    phases = {one.name: Phase(one.sequence_length, one.tokens // one.sequence_length) for one in mixture.phases}
    pretrain, midtrain = plan_phases(config.load(FILES / "run.yaml", RunConfig), phases)
    assert midtrain.sequence_length > pretrain.sequence_length
    assert midtrain.rope_theta > pretrain.rope_theta
    weights = [phase.entries()["gsm8k"] for phase in mixture.phases]
    assert [weight.loss for weight in weights] == ["all", "assistant"]


def test_the_readme_names_files_and_keys_that_are_there() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for name in re.findall(r"examples/[\w/.]+", text):
        assert (EXAMPLES.parent / name).exists(), name
    files = {"curate": "recipe.yaml", "build": "mixture.yaml", "train": "run.yaml"}
    commands = [line.split()[1:3] for line in text.splitlines() if line.startswith("midtrain ")]
    assert [[verb, f"examples/web_gsm8k/{name}"] for verb, name in files.items()] == commands[:3]


def test_the_recipe_of_deduplication_shows_every_option_at_its_default() -> None:
    loaded = recipe.load(DEDUPLICATE)
    assert [step.name for step in loaded.steps] == ["exact_dedup", "minhash_dedup", "paragraph_dedup", "line_dedup"]
    for step, written in zip(loaded.steps, loaded.spec.steps, strict=True):
        options = type(step.options)
        assert step.options == options()
        assert set(written[step.name] or {}) == set(options.model_fields) - {"index"}
    assert DEDUPLICATE.read_text().count("# index: out/index\n") == 1


def test_the_recipe_of_deduplication_finds_copies_of_every_kind(workshop: Any) -> None:
    texts = list(dict.fromkeys(workshop.texts(24, seed=3)))
    paragraph, line = "A licence stands here in full. " * 5, "Home - News - Archive - Contact - Imprint"
    pages = [*texts[:8], f"{texts[8]}\n\n{paragraph}", f"{texts[9]}\n{line}"]
    web = [texts[0], f"{texts[1]} again", f"{texts[10]}\n\n{paragraph}", f"{texts[11]}\n{line}", *texts[12:]]
    workshop.jsonl("samples.jsonl", [{"id": f"s{number}", "text": text} for number, text in enumerate(pages)])
    workshop.jsonl("web.jsonl", [{"id": f"w{number}", "text": text} for number, text in enumerate(web)])
    paths = [f"sources.{place}.path={workshop.root}/data/{name}.jsonl" for place, name in enumerate(["samples", "web"])]

    def run(path: Path, output: str) -> None:
        loaded = recipe.load(path, [*paths, f"output={workshop.root / output}"])
        curate.curate(loaded, local(0), Progress(shown=False))

    run(DEDUPLICATE, "out")
    kept = {row["id"]: row["text"] for row in workshop.rows("out")}
    assert set(kept) == {f"s{n}" for n in range(10)} | {f"w{n}" for n in range(2, len(web))}
    for id_, bare in (("w2", texts[10]), ("w3", texts[11])):
        assert kept[id_].strip() == bare.strip()
    assert kept["s8"] == pages[8]
    assert kept["s9"] == pages[9]
    index_changes.add(workshop.root / "index", str(workshop.root / "out"), local(0), Progress(shown=False))
    # The commented line is one that works: of the next crawl only what is new is left.
    workshop.jsonl("samples.jsonl", [{"id": "new", "text": workshop.texts(1, seed=99)[0]}])
    text = DEDUPLICATE.read_text().replace("# index: out/index", f"index: {workshop.root}/index")
    (workshop.root / "next.yaml").write_text(text)
    paths.append("steps.1.minhash_dedup.allow_loss=[web]")
    run(workshop.root / "next.yaml", "next")
    assert [row["id"] for row in workshop.rows("next")] == ["new"]


def test_both_readmes_name_the_recipe_of_deduplication() -> None:
    for readme in (EXAMPLES / "README.md", EXAMPLES.parent / "README.md"):
        assert "examples/deduplicate.yaml" in readme.read_text()
    named = re.findall(r"^midtrain (\w+) examples/deduplicate.yaml", (EXAMPLES / "README.md").read_text(), re.M)
    assert named == ["plan", "curate"]


def test_the_generated_example_has_every_family_and_its_twins(workshop: Any) -> None:
    settings = [f"output={workshop.root / 'out'}", *(f"sources.{at}.count=6" for at in range(3))]
    loaded = recipe.load(EXAMPLES / "generated.yaml", settings)
    easy, hard, twins = loaded.spec.sources
    assert list(easy.tasks) == list(hard.tasks) == list(twins.tasks) == tasks.names()
    curate.curate(loaded, local(0), Progress(shown=False))
    rows = list(workshop.rows("out"))
    told: dict[str, dict[str, str | None]] = {}
    for row in rows:
        user, assistant = row["messages"]
        assert (assistant["reasoning"] is None) == (row["source"] == "hard_twins")
        assert assistant["content"] == row["answer"]
        told.setdefault(row["source"], {})[user["content"]] = row["answer"]
    assert told["hard"] == told["hard_twins"]
    assert len(told["hard"]) == 6 * len(tasks.names())
    assert len(told["easy"]) > 5 * len(tasks.names())
