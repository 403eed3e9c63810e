"""Sentences that many replies share: counted by source, step and place, whatever the workers, and shown by a report."""

from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.manifest import Manifest
from midtrain.pipelines import inputs
from midtrain.pipelines.set_phrases import LEAST, Phrases

OPENINGS = ["Great question!", "Let us think."]


def sources(workshop):
    """Of a, four in five replies begin alike, and every tenth ends alike; of b, no two share a sentence."""
    a = [
        {"id": f"a{n}", "q": f"What is {n}?", "r": f"{OPENINGS[n % 5 == 0]} It is {word(n)}. {ending(n)}"}
        for n in range(200)
    ]
    b = [{"id": f"b{n}", "q": f"Why {n}?", "r": f"Say {word(n)}. Then say {word(n + 500)}."} for n in range(100)]
    fields = {"prompt": "q", "response": "r"}
    return [
        {"name": name, "path": workshop.jsonl(f"{name}.jsonl", own), "format": "reasoning", "fields": fields}
        for name, own in (("a", a), ("b", b))
    ]


def word(n):
    return "".join(chr(97 + int(digit)) for digit in str(n))


def ending(n):
    return f"Ask me {n} times." if n % 10 == 0 else f"So {word(n)} it is."


@pytest.mark.parametrize("scores", [False, True])
def test_a_report_names_what_many_replies_share(workshop, midtrain, monkeypatch, scores):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 8_000)
    steps = [{"boilerplate": {"max_self_talk": 3}}]
    workshop.curate(sources=sources(workshop), steps=steps, scores=scores)
    data = orjson.loads(midtrain("report", workshop.root / "out", "--json").out)["phrases"]
    assert [tuple(one.values()) for one in data] == [
        ("a", "boilerplate", "closing", "ask me # times.", 20, 200),
        ("a", "boilerplate", "opening", "great question!", 160, 200),
        ("a", "boilerplate", "opening", "let us think.", 40, 200),
    ]
    text = midtrain("report", workshop.root / "out").out
    assert "great question!" in text
    assert "80.0 %" in text
    page = workshop.root / "page.html"
    assert midtrain("report", workshop.root / "out", "--html", page).code == 0
    assert "ask me # times." in page.read_text()


def test_recipes_without_the_step_count_nothing(workshop, midtrain):
    workshop.curate(sources=sources(workshop), steps=[{"thought_length": {"max_words": 9}}])
    assert orjson.loads(midtrain("report", workshop.root / "out", "--json").out)["phrases"] == []
    counts = Manifest.read(workshop.root / "out").counts["funnel"][0]["sources"]["a"]
    assert "phrases" not in counts


@given(st.lists(st.lists(st.sampled_from(["", "x", "y", "z", *"abcdefgh"]), max_size=120), max_size=4))
def test_counts_are_those_of_counting(batches):
    phrases, plain = Phrases(), Counter()
    for batch in batches:
        phrases.add("step", len(batch), {"opening": batch, "closing": [""] * len(batch)})
        plain.update(filter(None, batch))
    records = sum(map(len, batches))
    if not batches:
        assert phrases.counts() == {}
        return
    least = max(2, LEAST * records)
    expected = {text: count for text, count in plain.items() if count >= least}
    assert phrases.counts() == {"step": {"records": records, "opening": expected, "closing": {}}}
