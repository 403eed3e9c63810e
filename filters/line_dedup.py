"""Deduplication of lines: a line that stands elsewhere too is cut out, but for the first.

Menus, notices and templates are repeated line by line over the pages of a site, in texts that are otherwise different.
Costs about 0.7 ns per byte for the keys, 32 bytes a line in the exchange, and another copy of the texts.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from ..config import Count
from .pieces import PieceDedup


class LineDedup(PieceDedup):
    """Cuts out lines that stand elsewhere too; a document without anything else is dropped (rule `empty`).

    A line ends where `str.splitlines()` says. Two are the same if they are, byte for byte, once white space is stripped
    from their ends. The first is kept, by the order of the sources, then by a hash of the document's id and text, then
    by its place in the document; the others are cut out with their line ends, whatever stands around them.
    """

    version: ClassVar[int] = 1
    paragraphs: ClassVar[bool] = False
    piece: ClassVar[str] = "line"

    min_length: Annotated[Count, Field(ge=8)] = Field(
        default=30,
        description="characters of the shortest line that is compared, white space at its ends left out; FineWeb's "
        "rules, too, call lines of up to 30 characters short: headings, dates, brackets of code repeat by nature",
    )
