"""A run of two phases by the command line; what seen, where and peek say of it, to each other and to its record."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import orjson
import pytest
from midtrain.mixtures.built import Built
from midtrain.trainer.metrics import rows

RUN = """\
name: tiny
output: {root}/run
shards: {shards}
threads: 1
model: {{hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 16,
  router_size: 8}}
phases:
  - {{phase: first, batch_tokens: 512, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}}}}
  - {{phase: second, batch_tokens: 768, schedule: {{name: constant}}}}
checkpoint: {{every: 4}}
"""
STEPS = 9 + 7


@pytest.fixture(scope="module")
def trained(built_workshop, tmp_path_factory):
    """The folder of a run that `midtrain train` made in a process of its own."""
    root = tmp_path_factory.mktemp("lineage")
    (root / "run.yaml").write_text(RUN.format(root=root, shards=built_workshop.root / "shards"))
    subprocess.run([sys.executable, "-m", "midtrain", "train", root / "run.yaml"], check=True, capture_output=True)
    return root / "run"


@pytest.fixture(scope="module")
def shards(built_workshop):
    return built_workshop.root / "shards"


def data(said):
    assert (said.code, said.err) == (0, "")
    return orjson.loads(said.out)


def steps(folder):
    return {row["step"]: row for row in rows(folder / "metrics.jsonl") if row["kind"] == "step"}


def test_every_batch_looked_at_is_the_one_that_was_trained_on(midtrain, trained, shards):
    """Of a run, and of its shards with the size of its batches."""
    record = steps(trained)
    assert len(record) == STEPS
    before = 0
    for step, row in record.items():
        seen = data(midtrain("peek", trained, "--step", step, "--json"))
        size = "512" if row["phase"] == "first" else "768"
        of_phase = ("--phase", row["phase"], "--step", row["phase_step"], "--batch-tokens", size)
        assert data(midtrain("peek", shards, *of_phase, "--json")) == seen
        assert (seen["digest"], seen["phase"], seen["first"]) == (row["batch"], row["phase"], row["first_sequence"])
        assert seen["trained_tokens"] == row["supervised_tokens"] - before
        before = row["supervised_tokens"]


def test_seen_where_and_peek_agree(midtrain, trained, shards):
    found = data(midtrain("seen", trained, "--step", 9, "--json"))
    assert (found["phase"], found["first_sequence"], found["sequences"], found["trained"]) == ("first", 32, 2, True)
    looked = data(midtrain("peek", trained, "--step", 9, "--json"))
    assert [one["piece"] for row in looked["rows"] for one in row["excerpts"]] == found["pieces"]
    for piece in found["pieces"]:
        spot = {key: piece[key] for key in ("sequence", "offset", "start", "stop")}
        [document] = data(midtrain("where", trained, piece["id"], "--json"))["documents"]
        [place] = [one for one in document["appearances"] if one.items() >= {**spot, "phase": "first"}.items()]
        assert (place["step"], place["status"]) == (9, "seen")
        of_shards = data(midtrain("where", shards, piece["id"], "--json"))["documents"]
        places = [{key: one[key] for key in one if key not in ("step", "status")} for one in document["appearances"]]
        assert of_shards == [{**document, "appearances": places}]


def test_ranks_see_their_share(midtrain, trained):
    whole = data(midtrain("seen", trained, "--step", 3, "--json"))
    shares = [
        data(midtrain("seen", trained, "--step", 3, "--rank", rank, "--world-size", 2, "--json")) for rank in (0, 1)
    ]
    assert shares[0]["pieces"] + shares[1]["pieces"] == whole["pieces"]
    half = data(midtrain("peek", trained, "--step", 3, "--rank", 1, "--world-size", 2, "--json"))
    assert (half["first"], half["sequences"]) == (10, 2)


def test_text_on_the_terminal(midtrain, trained):
    said = midtrain("seen", trained, "--step", 9)
    assert said.out.startswith("step 9 of tiny: phase first, sequences 32 to 33\n")
    identity = said.out.splitlines()[2].split()[0]
    assert re.search(r"first +9 +seen +32 ", midtrain("where", trained, identity).out)
    looked = midtrain("peek", trained, "--step", 9, "--count", 1).out
    assert looked.startswith("phase first, sequences 32 to 33: 256 tokens")
    assert f"--- document {identity}: " in looked
    assert looked.count("===") == 1
    assert "\x1b" not in looked


def test_the_marked_text_is_the_batch(midtrain, shards):
    """What stands between the marks is what the loss counts; all together is the document."""
    built = Built.open(shards)
    tokenizer = built.open_tokenizer()
    looked = data(midtrain("peek", shards, "--phase", "second", "--count", 21, "--json"))
    batch = built.batch("second", 0, 21)
    assert len(looked["rows"]) == 21
    for row, ids in zip(looked["rows"], batch.tokens, strict=True):
        for one in row["excerpts"]:
            piece = one["piece"]
            inside = ids[piece["offset"] : piece["offset"] + piece["stop"] - piece["start"]]
            assert "".join(text["text"] for text in one["texts"]) == tokenizer.decode(inside.tolist())
            answers = [text["text"] for text in one["texts"] if text["trained"]]
            if row["source"] == "worked":
                assert (answers[-1], one["texts"][-1]["text"]) == ("<|im_end|>", "<|end|>")
                controls = [text["text"] for text in one["texts"] if text["control"]]
                assert controls.count("<|im_start|>") == controls.count("<|im_end|>") == 2
                assert not any(turn in "".join(answers) for turn in ("<|im_start|>", "user"))
    assert sum(row["padding"] for row in looked["rows"]) == looked["padding"] == int((batch.segments < 0).sum())


class Page(HTMLParser):
    """Tags and their attributes, and the text within `pre`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.addresses, self.texts, self.inside = set(), [], [], False

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "onload", "onclick")]
        self.inside = self.inside or tag == "pre"
        self.texts += [""] if tag == "pre" else []

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "pre"

    def handle_data(self, text):
        if self.inside:
            self.texts[-1] += text


def test_the_page_is_one_file_with_all_text_and_nothing_else(midtrain, shards, tmp_path):
    file = tmp_path / "batch.html"
    said = midtrain("peek", shards, "--count", 5, "--html", file)
    assert (said.code, len(said.out.splitlines())) == (0, 1)
    page = Page()
    page.feed(file.read_text())
    assert not page.tags & {"script", "img", "link", "iframe", "object", "a", "form"}
    assert page.addresses == []
    looked = data(midtrain("peek", shards, "--count", 5, "--json"))
    texts = ["".join(text["text"] for text in one["texts"]) for row in looked["rows"] for one in row["excerpts"]]
    assert [text.removeprefix("\n") for text in page.texts] == texts
    again = midtrain("peek", shards, "--html", file)
    assert (again.code, "already" in again.err) == (2, True)
    assert midtrain("peek", shards, "--html", file, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["where", "SHARDS", "nobody"], "no document has this id"),
        (["where", "RUN", "nobody"], "no document has this id"),
        (["where", "NOWHERE", "a1"], "no built shards"),
        (["where", "SHARDS", "a1", "--shards", "SHARDS"], "--shards stands beside a run"),
        (["seen", "NOWHERE", "--step", 1], "no checkpoint is here"),
        (["seen", "SHARDS", "--step", 1], "no checkpoint is here"),
        (["seen", "RUN", "--step", 99], "from 1 to 16"),
        (["seen", "RUN", "--step", 1, "--rank", 1], "no such rank"),
        (["seen", "RUN", "--step", 1, "--shards", "NOWHERE"], "no built shards"),
        (["peek", "SHARDS", "--phase", "fourth"], "no such phase"),
        (["peek", "SHARDS", "--sequence", 34], "from 0 to 33"),
        (["peek", "SHARDS", "--step", 1], "nothing says how many"),
        (["peek", "SHARDS", "--step", 1, "--batch-tokens", 100], "a multiple of the phase's sequence_length, 128"),
        (["peek", "SHARDS", "--step", 1, "--batch-tokens", "many"], "no size of a batch"),
        (["peek", "SHARDS", "--step", 99, "--batch-tokens", 128], "from 1 to 34"),
        (["peek", "SHARDS", "--step", 1, "--sequence", 1], "cannot both be given"),
        (["peek", "RUN"], "a step is looked at"),
        (["peek", "RUN", "--step", 1, "--phase", "first"], "has its phase"),
        (["peek", "RUN", "--step", 99], "no such step"),
        (["peek", "RUN", "--step", 9, "--rank", 0, "--world-size", 3], "the rank has no sequence"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_told_with_exit_code_2(midtrain, trained, shards, tmp_path, arguments, says):
    places = {"SHARDS": shards, "RUN": trained, "NOWHERE": tmp_path / "nowhere"}
    said = midtrain(*(places.get(one, one) for one in arguments))
    assert (said.code, said.out) == (2, "")
    assert says in said.err


@pytest.mark.parametrize(
    "arguments", [["seen", "RUN", "--step", "1"], ["where", "RUN", "a1"], ["peek", "RUN", "--step", "1"]]
)
def test_no_verb_needs_torch(trained, arguments):
    code = "import sys; sys.modules['torch'] = None; from midtrain import cli; cli.main()"
    called = [str(trained) if one == "RUN" else one for one in arguments]
    ended = subprocess.run([sys.executable, "-c", code, *called], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_look_counts_what_the_trainer_trains(shards):
    from midtrain.mixtures.peek import trained_targets
    from midtrain.trainer.batch import UNSUPERVISED, to_batch

    built = Built.open(shards)
    for name, phase in built.phases.items():
        batch = built.batch(name, 0, phase.sequences)
        targets = to_batch(batch).targets_BT.numpy()
        trained = trained_targets(batch)
        assert (trained[:, 1:] == (targets[:, :-1] != UNSUPERVISED)).all()
        assert not trained[:, 0].any()
