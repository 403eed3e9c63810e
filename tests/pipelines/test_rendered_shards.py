"""Thirty conversations in twelve published templates, as a trainer reads them: what is trained, out of shards on disk.

Encoded, exchanged, sorted, written, mapped and decoded with the vocabularies that the templates were published for, or
with GPT-2's where theirs is not at hand; the expectations run no template.
"""

import os
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA
from midtrain.manifest import OutputFile
from midtrain.mixtures.schema import MixtureSource, TokenizerSpec
from midtrain.mixtures.shards import Shards
from midtrain.mixtures.templates import Template
from midtrain.pipelines.curated import SelectedPart, Selection
from midtrain.pipelines.held_out_stages import HeldOut, HeldOutKeys
from midtrain.pipelines.processes import local
from midtrain.pipelines.runner import Runner
from midtrain.pipelines.tokenize_stages import Tokenize, WriteShards
from midtrain.pipelines.tokenizer_stage import BuildTokenizer
from midtrain.progress import Events, Progress

from tests.mixtures.templates.conversations import CONVERSATIONS
from tests.mixtures.templates.published import DATA, OPTIONS, PUBLISHED, opened, says, trained_texts

pytestmark = pytest.mark.skipif(
    "MIDTRAIN_DATA" not in os.environ or not DATA.is_dir(), reason="needs the chat templates of MIDTRAIN_DATA"
)
TOKENIZERS = DATA.parent / "tokenizers"
QWEN = TOKENIZERS / "qwen1_2.5.tokenizer.json"
NATIVE = {
    **dict.fromkeys(("chatml", "nemotron_h", "qwen3", "qwen3_5", "qwen_25"), (QWEN, "<|endoftext|>", OPTIONS)),
    "deepseek_v3": (
        TOKENIZERS / "deepseek_v4.tokenizer.json",
        "<｜▁pad▁｜>",
        {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
    ),
    "mistral_v3_tekken": (TOKENIZERS / "tekken_240911.json", "<pad>", OPTIONS),
}
REFUSED = {
    "chatml": 7,
    "cohere": 13,
    "deepseek_v3": 10,
    "exaone4": 4,
    "gemma3": 13,
    "llama3": 7,
    "mistral_v3_tekken": 15,
    "nemotron_h": 12,
    "phi_4": 6,
    "qwen3": 1,
    "qwen3_5": 1,
    "qwen_25": 8,
}
"""Of the conversations, how many a template cannot express."""


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """GPT-2's vocabulary with the special tokens of the templates whose own is not at hand."""
    path = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    contents = orjson.loads((TOKENIZERS / "gpt2.tokenizer.json").read_bytes())
    names = dict.fromkeys(token for name in PUBLISHED if name not in NATIVE for token in opened(name).tokens)
    first = max(contents["model"]["vocab"].values()) + 1
    (end,) = contents["added_tokens"]
    contents["added_tokens"] += [{**end, "id": first + at, "content": token} for at, token in enumerate(names)]
    path.write_bytes(orjson.dumps(contents))
    return path, "<|endoftext|>", OPTIONS


@pytest.fixture(scope="module")
def maker(tmp_path_factory, gpt2):
    """A `Maker` by the name of a template; those with one vocabulary open it once."""
    root = tmp_path_factory.mktemp("shards")
    held_out = HeldOut(root, HeldOutKeys(root, 0, ()))

    @cache
    def tokenizer(path, end):
        return BuildTokenizer(root, TokenizerSpec(path=str(path), end_of_document=end), held_out, ())

    def of(name):
        path, end, options = NATIVE.get(name, gpt2)
        return Maker(root, opened(name, options), tokenizer(path, end))

    return of


@dataclass(frozen=True)
class Maker:
    """Makes shards of conversations with a template."""

    root: Path
    template: Template
    tokenizer: BuildTokenizer

    def tokenize(self, numbers: list[int]) -> Tokenize:
        """The stage over some of the conversations, which lie in a Parquet file as curation leaves them."""
        rows = [
            {
                "id": f"c{number:02d}",
                "text": CONVERSATIONS[number].name,
                "source": "talks",
                "messages": [
                    {"role": one.role, "content": one.content, "reasoning": one.reasoning}
                    for one in CONVERSATIONS[number].messages
                ],
            }
            for number in numbers
        ]
        file = f"talks-{'-'.join(map(str, numbers))}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), self.root / file)
        part = SelectedPart(self.root, OutputFile.of(self.root, file, len(rows), "talks"))
        source = MixtureSource(name="talks", documents=str(self.root), template="chatml")
        selection = Selection(source, (part.file.hash,), (part,), 10_000, (10_000, len(rows)))
        return Tokenize(self.root, selection, self.tokenizer, self.tokenizer.held_out, self.template)

    def shards(self, numbers: list[int]) -> Shards:
        """The shards of some of the conversations, opened anew."""
        stage = WriteShards(self.root, self.tokenize(numbers))
        with Runner(local(0), Events(self.root / "events.jsonl"), Progress(shown=False)) as runner:
            runner.ensure(stage)
        return Shards.open(stage.folder, self.tokenizer.open().dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_trained_of_conversations_is_read_back_from_shards(name, maker):
    cannot = set(PUBLISHED[name].cannot.split())
    told = [number for number, one in enumerate(CONVERSATIONS) if not one.needs & cannot]
    refused = [number for number, one in enumerate(CONVERSATIONS) if one.needs & cannot]
    made = maker(name)
    shards = made.shards(told)
    decode, end = made.tokenizer.open().decode, PUBLISHED[name].end
    ends = shards.ends(0).astype(int).tolist()
    rows = shards.documents(0).to_pylist()
    assert sorted(row["id"] for row in rows) == [f"c{number:02d}" for number in told]
    for row, start, stop in zip(rows, [0, *ends], ends, strict=False):
        messages = CONVERSATIONS[int(row["id"][1:])].messages
        ids, loss = shards.read(0, start, stop - start), shards.loss(0, start, stop - start)
        runs = [list(run) for trained, run in groupby(range(len(ids)), loss.__getitem__) if trained]
        texts = [decode(ids[run].tolist()) for run in runs]
        assert texts == trained_texts(name, messages)
        assert all(text.endswith(end) for text in texts)
        assert row["bytes"] == sum(len(text.encode()) for text in texts)
        for run in runs:
            headers = (PUBLISHED[name].header, *PUBLISHED[name].other_headers)
            assert decode(ids[: run[0]].tolist()).endswith(headers)
        found = {turn: ["", ""] for turn in says(name, messages)}
        for span in row["spans"]:
            found[span["turn"]][span["part"] - 1] = decode(ids[span["start"] : span["stop"]].tolist())
        for turn, expected in says(name, messages).items():
            assert [text.strip() for text in found[turn]] == [text.strip() for text in expected]
    check_refused(made, name, refused)


def check_refused(made, name, refused):
    """Each conversation that the template cannot express is an error that names all that is needed."""
    for number in refused:
        with pytest.raises(RunError, match=f"template .*{name}.jinja") as wrong:
            made.tokenize([number]).run(0)
        assert f"source talks, document c{number:02d}" in wrong.value.render()
    assert len(refused) == REFUSED[name]


def test_of_thirty_three_conversations_in_twelve_templates_all_but_ninety_seven_can_be_told():
    assert list(REFUSED) == list(PUBLISHED)
    assert (len(CONVERSATIONS), len(PUBLISHED), sum(REFUSED.values())) == (33, 12, 97)
