"""The example's files fit each other, and are the ones that its README names."""

import re
from dataclasses import dataclass
from pathlib import Path

from midtrain import config
from midtrain.mixtures import schema
from midtrain.pipelines import recipe
from midtrain.trainer.run import RunConfig, plan_phases

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = EXAMPLES / "web_gsm8k"


@dataclass(frozen=True)
class Phase:
    sequence_length: int
    sequences: int


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
