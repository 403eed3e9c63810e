"""What the verbs of the command line share: options of one name and meaning, where tasks run, how a result is shown.

An option that several verbs have is written once, so that it means the same everywhere. Costs nothing: what a verb
needs beyond the options is imported when it runs.
"""

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .pipelines.executor import Executor
    from .progress import Progress

STALL_MINUTES = 30.0

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Local processes; 0 works in this one. Default: one a core.", show_default=False),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray", metavar="local|auto|ADDRESS", help="Run on Ray: started here, found, or at an address."),
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Memory that the run may use: 8GiB. Default: 80 % of what the machine leaves."),
]
Stall = Annotated[
    float, typer.Option(min=0, metavar="MINUTES", help="End a run in which no task ended for so long; it can go on.")
]
Scores = Annotated[
    bool, typer.Option("--scores", help="Keep each rule's value of every document as a column; decide works on them.")
]
Why = Annotated[
    bool, typer.Option("--why", help="Say of each stage whether it is done, and if not, what changed since it was.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another result in the same output.")]


def _executor(ray: str | None, workers: int | None, memory: str | None, progress: "Progress") -> "Executor":
    """Where tasks run: this process, local processes (one a core, unless a number was given), a Ray cluster."""
    from .pipelines import budget

    if ray is not None:
        from .pipelines.cluster import RayCluster

        return RayCluster(ray, workers, None if memory is None else budget.of(memory).bytes, progress.say)
    from .pipelines.processes import local

    return local(workers, budget.of(memory).bytes)


@contextlib.contextmanager
def at_work(
    ray: str | None, workers: int | None, memory: str | None, quiet: bool
) -> "Iterator[tuple[Executor, Progress]]":
    """Where tasks run, and what shows how far they are.

    What libraries print meanwhile (Ray, of nodes that died) goes where it spoils no result.
    """
    from .progress import Progress

    progress = Progress(shown=not quiet)
    with progress.running(), contextlib.redirect_stdout(sys.stderr):
        yield _executor(ray, workers, memory, progress), progress


def print_result(table: Any, as_json: bool) -> None:
    """Prints a result: `as_json` its data, else its lines."""
    if as_json:
        import orjson

        sys.stdout.write(orjson.dumps(table.data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        from .tables import safe

        print(safe(table.text))
