"""Deduplication of paragraphs: a paragraph that stands elsewhere too is cut out, but for the first.

Licences, introductions and quoted passages are repeated whole, where single lines of them may be common. Costs about
0.6 ns per byte for the keys, 32 bytes a paragraph in the exchange, and another copy of the texts.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from ..config import Count
from .pieces import PieceDedup


class ParagraphDedup(PieceDedup):
    """Cuts out paragraphs that stand elsewhere too; a document without anything else is dropped (rule `empty`).

    A paragraph is a run of lines between blank ones, of which white space is all; lines end where `str.splitlines()`
    says. Two are the same if they are, byte for byte, once white space is stripped from their ends. The first is kept,
    by the order of the sources, then by a hash of the document's id and text, then by its place in the document; the
    others are cut out with the blank lines behind them.
    """

    version: ClassVar[int] = 1
    paragraphs: ClassVar[bool] = True
    piece: ClassVar[str] = "paragraph"

    min_length: Annotated[Count, Field(ge=8)] = Field(
        default=100,
        description="characters of the shortest paragraph that is compared, white space at its ends left out: about "
        "20 words of English",
    )
