"""A batch as the trainer gets it, with the text of its tokens, what of them is trained, and which documents they are.

Most errors of a mixture are seen at once by someone who reads one batch: a template that is wrong, a mask that covers
the answer, documents joined where they should not be. So the arrays are those of `Built.batch`, which the trainer
reads, and the digest is what it logs. Costs the batch, and decoding of the sequences that are shown.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from . import lineage
from .built import Built
from .digest import batch_digest
from .gather import PADDING
from .lineage import Piece
from .windows import Sequences

if TYPE_CHECKING:
    from .tokenizers import Tokenizer

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Text:
    """A run of text whose tokens are all trained as targets or all not; or one control token, which no text spells."""

    text: str
    trained: bool
    control: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A piece of a document as it stands in a row: its positions from `first_position` on, and its text."""

    piece: Piece
    first_position: int
    last_position: int
    trained_tokens: int
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Row:
    """A sequence: what it is drawn from, its pieces in order, how many of its tokens are padding, how many trained."""

    sequence: int
    source: str
    padding: int
    trained_tokens: int
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True)
class Peek:
    """A batch: its digest and counts are those of all its sequences, `rows` the first of them."""

    phase: str
    first: int
    sequences: int
    sequence_length: int
    digest: str
    padding: int
    trained_tokens: int
    rows: tuple[Row, ...]


def peek(built: Built, phase: str, first: int, count: int, shown: int) -> Peek:
    """Looks at consecutive sequences of a phase.

    Args:
        built: the shards.
        phase: name of the phase.
        first: place of the first sequence.
        count: sequences of the batch.
        shown: of how many, from the first, the text is shown.

    Raises:
        ConfigError: the phase has no such places.
        RunError: the shards are damaged, or the tokenizer is not the one that made them.
    """
    lineage.check_places(built, phase, first, count)
    tokenizer = built.open_tokenizer()
    batch = built.batch(phase, first, count)
    trained_BT = trained_targets(batch)
    pieces = lineage.pieces(built, phase, first, min(count, shown)) if shown else []
    rows = []
    for row in range(min(count, shown)):
        mine = [piece for piece in pieces if piece.sequence == first + row]
        rows.append(_row(batch, row, trained_BT[row], mine, tokenizer))
    return Peek(
        phase=phase,
        first=first,
        sequences=count,
        sequence_length=batch.tokens.shape[1],
        digest=batch_digest(batch.tokens, batch.positions, batch.loss_mask),
        padding=int((batch.segments == PADDING).sum()),
        trained_tokens=int(trained_BT.sum()),
        rows=tuple(rows),
    )


def trained_targets(batch: Sequences) -> npt.NDArray[np.bool_]:
    """Which tokens the loss counts: in the mask, and behind another token of their segment: bool[B, T].

    The first token of a segment is the target of none.
    """
    trained = np.zeros(batch.tokens.shape, np.bool_)
    follows = (batch.segments[:, 1:] == batch.segments[:, :-1]) & (batch.segments[:, 1:] != PADDING)
    trained[:, 1:] = follows & batch.loss_mask[:, 1:]
    return trained


def text_runs(
    ids: Sequence[int],
    trained: Sequence[bool],
    decode: Decode,
    inside: npt.NDArray[np.bool_],
    controls: Collection[int] = (),
) -> list[Text]:
    """The text of tokens, cut where `trained` changes and around control tokens, but never inside a character.

    A character of several tokens belongs to the run that it begins in. Joined, the texts are what all ids decode to.

    Args:
        ids: token ids.
        trained: whether each is trained.
        decode: ids to text, U+FFFD for bytes that are no character.
        inside: bool[vocabulary], the ids whose bytes begin inside a character.
        controls: ids of control tokens.
    """
    runs: list[Text] = []
    earlier = begin = 0
    while begin < len(ids):
        end, control = begin + 1, ids[begin] in controls
        while end < len(ids) and not control and trained[end] == trained[begin] and ids[end] not in controls:
            end += 1
        while not control and end < len(ids) and inside[ids[end]]:
            end += 1
        # The run before is decoded with it: what stands first in a text can lose its space.
        before, both = decode(ids[earlier:begin]), decode(ids[earlier:end])
        text = both.removeprefix(before) if both.startswith(before) else decode(ids[begin:end])
        runs.append(Text(text, bool(trained[begin]), control))
        earlier, begin = begin, end
    return runs


def _row(
    batch: Sequences, row: int, trained: npt.NDArray[np.bool_], pieces: Sequence[Piece], tokenizer: "Tokenizer"
) -> Row:
    segments, controls = batch.segments[row], frozenset(tokenizer.special.values())
    excerpts = []
    segment_of = (np.cumsum([not piece.continues for piece in pieces]) - 1).tolist()
    held = np.bincount(segment_of, weights=[piece.stop - piece.start for piece in pieces])  # tokens of each segment
    for segment, piece in zip(segment_of, pieces, strict=True):
        here = slice(piece.offset, piece.offset + piece.stop - piece.start)
        if (segments[here] != segment).any() or (segments == segment).sum() != held[segment]:
            raise RunError(
                "the batch and the packs do not agree on where a document stands",
                where=f"sequence {piece.sequence:,}, document {piece.id}",
                fix="this is a fault of midtrain: please report it",
            )
        flags = trained[here]
        positions = batch.positions[row, here]
        ids = batch.tokens[row, here].tolist()
        texts = text_runs(ids, flags.tolist(), tokenizer.decode, tokenizer.inside_characters, controls)
        excerpts.append(Excerpt(piece, int(positions[0]), int(positions[-1]), int(flags.sum()), tuple(texts)))
    padding, source = int((segments == PADDING).sum()), pieces[0].source
    return Row(batch.first_index + row, source, padding, int(trained.sum()), tuple(excerpts))
