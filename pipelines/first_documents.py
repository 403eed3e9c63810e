"""The first documents of a build as its tokens decode: what a person looks at to see that all is well.

A wrong template, a doubled prefix or a lost line end shows in a line of text and in no number. Costs the decoding of a
few dozen tokens.
"""

from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..manifest import Manifest
from ..mixtures.built import Built
from ..mixtures.tokenizers import Tokenizer

COUNT = 3
TOKENS = 24  # of a document that are shown, from its start


def decoded(root: Path, manifest: Manifest, tokenizer: Tokenizer) -> tuple[dict[str, Any], ...]:
    """The first COUNT documents, one of each source in turn: source, id, tokens in all, and the text of the first."""
    built = Built(root, manifest)
    lists = [_of_source(built, name, tokenizer) for name in built.sources]
    in_turn = [document for turn in zip_longest(*lists) for document in turn if document is not None]
    return tuple(in_turn[:COUNT])


def _of_source(built: Built, name: str, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    shards = built.shards(name)
    if not len(shards.parts):
        return []
    rows = shards.documents(0, ["id", "start", "tokens"]).slice(0, COUNT).to_pylist()
    return [
        {
            "source": name,
            "id": row["id"],
            "tokens": row["tokens"],
            "text": tokenizer.decode(shards.read(0, row["start"], min(row["tokens"], TOKENS)).tolist()),
        }
        for row in rows
    ]
