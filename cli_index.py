"""The verbs of `midtrain index`: what was kept, so that a later corpus is deduplicated against it.

Thin, as all verbs: the work is in `pipelines/duplicates/index_changes.py`. Costs nothing until a verb runs.
"""

import sys
from typing import Annotated

import typer

from .cli_options import STALL_MINUTES, Json, Memory, RayAddress, Stall, Workers, at_work, print_result

app = typer.Typer(
    name="index",
    help="Index: what was kept, so that a later corpus is deduplicated against it (steps name it by index:).",
    rich_markup_mode=None,
)

Folder = Annotated[str, typer.Argument(metavar="INDEX", help="The index's folder.")]


@app.command(help="Add the documents that an output of curate kept; makes the index where there is none.")
def add(
    index: Folder,
    output: Annotated[str, typer.Argument(metavar="OUT")],
    overlap: Annotated[
        bool,
        typer.Option("--overlap", help="Take an output that was not deduplicated against the index as it is now."),
    ] = False,
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    as_json: Json = False,
) -> None:
    """Adds an output."""
    from .pipelines.duplicates import index_changes, index_text

    with at_work(ray, workers, memory, as_json) as (executor, progress):
        changed = index_changes.add(index, output, executor, progress, overlap, stall * 60)
    print_result(index_text.added(changed, output), as_json)


@app.command(help="Show what an index holds, and what was added and removed.")
def show(
    folder: Folder,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every byte with what was written.")] = False,
    as_json: Json = False,
) -> None:
    """Shows an index."""
    from .pipelines.duplicates import index, index_text

    found = index.open_index(folder)
    if verify:
        index.verify(found)
    print_result(index_text.shown(found, verify), as_json)


@app.command(help="Remove documents: nothing is a duplicate of them any more.")
def remove(
    index: Folder,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Their ids; - reads them from standard input.")],
    as_json: Json = False,
) -> None:
    """Removes documents."""
    from .pipelines.duplicates import index_changes, index_text

    named = [line.rstrip("\r\n") for line in sys.stdin if line.strip()] if ids == ["-"] else ids
    print_result(index_text.removed(index_changes.remove(index, named)), as_json)
