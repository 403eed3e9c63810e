"""A look at a batch as one static page: no script and nothing from elsewhere, so that it can be sent to anyone.

Whatever a document says stays text: jinja escapes it, control characters become pictures of themselves, and the page
forbids itself scripts, pictures and addresses. Costs about twice the size of the text.
"""

from dataclasses import asdict
from pathlib import Path

import jinja2

from .. import pages
from .peek import Peek
from .peek_text import excerpt_head, row_head, summary, visible

TEMPLATE = "peek.html.jinja"


def write(found: Peek, shards: str, file: str, overwrite: bool = False) -> None:
    """Writes the page, as a whole or not at all.

    Args:
        found: what was looked at.
        shards: where, for the heading.
        file: where the page goes.
        overwrite: whether a file that stands there may be replaced.

    Raises:
        ConfigError: something stands there, or there is no such folder.
    """
    pages.write(file, overwrite, "batch.html", lambda: render(found, shards))


def render(found: Peek, shards: str) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [
        {
            "head": visible(row_head(row, found.sequence_length)),
            "padding": row.padding,
            "excerpts": [
                {
                    "head": visible(excerpt_head(excerpt)),
                    "texts": [{**asdict(text), "text": visible(text.text)} for text in excerpt.texts],
                }
                for excerpt in row.excerpts
            ],
        }
        for row in found.rows
    ]
    return environment.get_template(TEMPLATE).render(shards=visible(shards), summary=visible(summary(found)), rows=rows)
