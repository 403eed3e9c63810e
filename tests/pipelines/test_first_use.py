"""The first use of the rule sets on a machine compiles their kernels: how long that takes, and that it is done once.

Slow: it compiles all of them, in CI those of two, in a cache of its own.
"""

import json
import resource
from pathlib import Path

import pytest

from tests.sizes import sized, whole_only

pytestmark = pytest.mark.slow

# Seconds of one core; 60 are the target, of a machine at rest. All steps took 41 to 51, and 96 on a slow one, where the
# two of CI took 58.
FIRST, LATER = sized(180, 120), 20
ALL = [
    {"url": {"soft_words": ["casino", "poker", "bonus"]}},
    {"language": {"keep": ["en"], "min_score": 0.65}},
    {"length": {"min_characters": 10}},
    {"gopher_repetition": {"max_top_ngrams": {"2": 1}, "max_duplicate_ngrams": {"5": 1}}},
    {"gopher_quality": {}},
    {"c4": {}},
    {"fineweb_quality": {}},
]
STEPS = sized(ALL, [ALL[2], ALL[-1]])
PROSE = "The cat sat on the mat, and that was all that the cat number {} ever did to be of use to them.\n"


def compiled(cache: Path):
    """The compiled kernels of a cache, with what a file that was written again would change."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbc")}


@pytest.mark.alone
@pytest.mark.measures
def test_the_first_use_takes_about_a_minute_at_most_and_the_workers_share_it(workshop, processes, capsys):
    cache = workshop.root / "kernels"
    sources = []
    for name in ("a", "b"):
        texts = ["".join(PROSE.format(f"{row}{number}") for number in range(40)) for row in range(5)]
        path = workshop.jsonl(f"{name}.jsonl", [{"text": text, "url": "http://a.org/"} for text in texts])
        sources.append({"name": name, "path": str(path)})

    def curate(output, workers):
        content = {
            "name": "first",
            "output": str(workshop.root / output),
            "sources": sources,
            "steps": STEPS,
        }
        recipe = str(workshop.yaml(f"{output}.yaml", content))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = processes.start("-m", "midtrain", "curate", recipe, "--workers", workers, NUMBA_CACHE_DIR=str(cache))
        said = processes.end(started, 580)
        assert said.code == 0, said.err
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    first = curate("first", "0")
    kernels = compiled(cache)
    assert len(kernels) > sized(8, 4)
    later = curate("later", "0")
    curate("two", "2")
    events = [one for one in workshop.events("two") if one["event"] == "task_finished"]
    with capsys.disabled():
        own = ", ".join(f"{one['cpu']:.1f}" for one in events)
        print(f"\nfirst use {first:.1f} s, {len(kernels)} kernels; then {later:.1f} s; two workers' tasks {own} s")
    assert compiled(cache) == kernels
    assert first < FIRST
    assert later < LATER
    assert len(events) == 2
    assert all(one["cpu"] < LATER for one in events)


@pytest.mark.measures
@whole_only
def test_a_plan_that_compiles_foresees_the_memory_of_one_that_does_not(workshop, processes):
    texts = ["".join(PROSE.format(f"{row}{number}") for number in range(40)) for row in range(200)]
    sources = [{"name": "a", "path": str(workshop.jsonl("a.jsonl", [{"text": text} for text in texts]))}]
    content = {
        "name": "p",
        "output": str(workshop.root / "planned"),
        "sources": sources,
        "steps": [{"gopher_quality": {}}],
    }
    recipe, cache = str(workshop.yaml("plan.yaml", content)), workshop.root / "kernels"

    def memory():
        started = processes.start("-m", "midtrain", "plan", recipe, "--json", NUMBA_CACHE_DIR=str(cache))
        said = processes.end(started, 300)
        assert said.code == 0, said.err
        return json.loads(said.out)["stages"][0]["memory"]

    first, kernels = memory(), compiled(cache)
    assert kernels
    later = memory()
    assert compiled(cache) == kernels
    assert abs(first - later) < 0.15 * later
