"""The published recipe, `examples/fineweb.yaml`, on real text beside datatrove's own chain of the four rule sets."""

import importlib.util
import io
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from midtrain import storage
from midtrain.filters import catalogue
from midtrain.manifest import Manifest
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.read_parts import kept_parts, read_part

ROOT = Path(__file__).parents[2]
RULE_SETS = ("gopher_repetition", "gopher_quality", "c4", "fineweb_quality")


@pytest.fixture(scope="module")
def published() -> ModuleType:
    """The benchmark's module, which says what of ours answers to which reason of datatrove's."""
    pytest.importorskip("spacy")
    spec: Any = importlib.util.spec_from_file_location("published_filters", ROOT / "benchmarks/published_filters.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # its dataclasses look there for their module
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def theirs(published: ModuleType) -> Callable[[dict[str, str]], tuple[dict[str, str], dict[str, str]]]:
    """What datatrove's chain keeps of texts, and its reason for each other one; a text is judged once."""
    chain = (
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    )
    verdicts: dict[str, Any] = {}

    def judged(texts: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        for identity, text in texts.items():
            if identity not in verdicts:
                verdicts[identity] = published.their_verdict(chain, Document(text=text, id=identity))
        found = {identity: verdicts[identity] for identity in texts}
        kept = {identity: one.text for identity, one in found.items() if one.reason == published.KEPT}
        return kept, {identity: one.reason for identity, one in found.items() if identity not in kept}

    return judged


def reason(published: ModuleType, row: dict[str, Any]) -> str:
    """datatrove's word for the rule of a dropped document."""
    kind = catalogue.step(row["step"])
    side = "low" if row["value"] < row["threshold"] else "high"
    return str(published.REASONS[kind.__name__, row["rule"], side])


@pytest.mark.slow
@pytest.mark.parametrize("scores", [(), ("--scores",)], ids=["plain", "scores"])
def test_the_published_recipe_decides_as_datatrove(
    published: ModuleType,
    theirs: Callable[[dict[str, str]], tuple[dict[str, str], dict[str, str]]],
    tmp_path: Path,
    midtrain: Any,
    monkeypatch: pytest.MonkeyPatch,
    scores: tuple[str, ...],
) -> None:
    data = os.environ.get("MIDTRAIN_DATA")
    if not data:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(data)
    path = ROOT / "examples/fineweb.yaml"
    names = [step.name for step in recipes.load(path).steps]
    assert names == ["url", "language", *RULE_SETS, "exact_dedup", "datatrove"]
    said = midtrain("curate", path, "--workers", "1", *scores)
    assert said.code == 0, said.err

    # The rule sets' own stage, before the barrier: what the first two steps keep is what datatrove's chain is shown.
    output = storage.location(str(tmp_path / "out/fineweb"))
    funnel = [output / "stages" / entry["stage"] for entry in Manifest.read(output).counts["funnel"]]
    judged = next(
        folder for folder in funnel if folder.name.startswith("fineweb_quality-") and "scores" not in folder.name
    )
    files = [judged / file.path for file in Manifest.read(judged).files if file.path.startswith("dropped/")]
    dropped = [row for file in files for batch in read_part(file) for row in batch.to_pylist()]
    assert {row["step"] for row in dropped} == {"language", *RULE_SETS}
    kept = {
        row["id"]: row["text"]
        for part in kept_parts(Manifest.read(judged))
        for batch in read_part(judged / part.path, ["id", "text"])
        for row in batch.to_pylist()
    }
    by_rules = {row["id"]: row for row in dropped if row["step"] in RULE_SETS}
    texts = {one: text for one, text in texts_of(Path(data)).items() if one in kept or one in by_rules}
    assert len(texts) == len(kept) + len(by_rules) > 400
    their_kept, their_reasons = theirs(texts)
    assert {identity: reason(published, row) for identity, row in by_rules.items()} == their_reasons
    assert kept == their_kept
    assert min(Counter(row["step"] for row in by_rules.values()).values()) > 20
    sizes = {identity: len(text.encode()) for identity, text in texts.items()}
    assert all(row["bytes"] <= sizes[row["id"]] for row in by_rules.values())
    assert all(row["bytes"] == sizes[row["id"]] for row in by_rules.values() if row["step"] != "fineweb_quality")


def texts_of(data: Path) -> dict[str, str]:
    """The texts that the recipe reads, by id."""
    found = {}
    for path in sorted((data / "text").glob("c*.jsonl.zst")):
        with zstandard.open(path, "rb") as stream:
            for line in io.BufferedReader(stream):
                record = orjson.loads(line)
                found[record["id"]] = record["text"]
    return found
