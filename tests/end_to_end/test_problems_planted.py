"""problem_dedup over real problems and planted wordings of them: how many it finds, and how many it should not have."""

import gzip
import os
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.planted import problems

SETS = ("gsm8k_train", "math_train_answers", "aqua_dev_test", "aime_1983_2023_solutions")
EACH = 300


def record(identity, prompt):
    return {"id": identity, "question": prompt, "reply": "So it is."}


@pytest.mark.slow
def test_planted_wordings_are_found_and_other_problems_are_not(workshop):
    if (folder := os.environ.get("MIDTRAIN_DATA")) is None:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    texts = []
    for name in SETS:
        with gzip.open(Path(folder, "cot", f"{name}.jsonl.gz")) as stream:
            texts += [orjson.loads(line)["question"] for line in stream]
    rng = random.Random(9)
    same = problems.variants(rng, texts, problems.SAME, EACH)
    other = problems.variants(rng, texts, problems.OTHER, EACH)
    planted = [(place, kind, text) for place, kind, text in [*same, *other]]
    sources = {
        "real": [record(f"r{place}", text) for place, text in enumerate(texts)],
        "planted": [record(f"{kind}-{number}-{place}", text) for number, (place, kind, text) in enumerate(planted)],
    }
    fields = {"prompt": "question", "response": "reply"}
    specs = [
        {"name": name, "path": workshop.jsonl(f"{name}.jsonl", own), "format": "reasoning", "fields": fields}
        for name, own in sources.items()
    ]
    workshop.curate(sources=specs, steps=[{"problem_dedup": {"max_loss": None}}])
    gone = {row["id"]: row for row in workshop.rows("out", "dropped")}
    # Real copies of a problem among themselves: a variant of one of them names the one that is kept.
    kept = {
        identity: gone[identity]["partner"] if identity in gone else identity
        for identity in map("r{}".format, range(len(texts)))
    }
    planted_of, found, elsewhere = Counter(), Counter(), Counter()
    for number, (place, kind, _) in enumerate(planted):
        row = gone.get(f"{kind}-{number}-{place}")
        planted_of[kind] += 1
        if row is not None:
            at_own = row["partner"] in (f"r{place}", kept[f"r{place}"])
            found[kind] += at_own
            elsewhere[kind] += not at_own
    for kind, count in planted_of.items():
        print(f"{kind:16} planted {count:4}  dropped for its original {found[kind]:4}  for another {elsewhere[kind]:3}")
    real = sum(identity.startswith("r") and identity[1:].isdigit() for identity in gone)
    print(f"real records dropped for each other: {real} of {len(texts)}")
    right = sum(found[change.__name__] for change in problems.SAME)
    wrong = sum(found[change.__name__] for change in problems.OTHER)
    wrong += sum(elsewhere[change.__name__] for change in problems.SAME)
    recall, precision = right / len(same), right / (right + wrong)
    print(f"recall {recall:.4f}  precision {precision:.4f}")
    assert recall >= 0.95
    assert precision >= 0.98
    assert {row["rule"] for row in gone.values()} == {"same_problem"}
