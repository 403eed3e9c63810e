"""The verbs of exchange: export and import of models in transformers' layout.

Thin, as all verbs: the work is in `trainer/exchange/`. Costs nothing until a verb runs.
"""

from typing import Annotated, Literal

import typer

from .cli_options import Json, print_result
from .cli_train import needs_torch
from .errors import ConfigError

app = typer.Typer(rich_markup_mode=None)

Replace = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")]


@app.command(help="Export: a checkpoint as a folder that transformers loads, proven before it has its name.")
def export(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A new folder.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="Of the weights. float32 keeps every bit; balancing biases stay float32."),
    ] = "float32",
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Of weights in one file: 5GB, 500MB.")] = "5GB",
    shards: Annotated[
        str | None, typer.Option(help="The built shards. Default: where the run says they are.", show_default=False)
    ] = None,
    no_tokenizer: Annotated[
        bool, typer.Option("--no-tokenizer", help="Leave out what AutoTokenizer reads; the file itself is kept.")
    ] = False,
    as_json: Json = False,
    overwrite: Replace = False,
) -> None:
    """Exports a model."""
    needs_torch()
    from .config import parse_bytes
    from .trainer.exchange import export as exporting

    try:
        size = parse_bytes(shard_size)
    except ValueError as wrong:
        raise ConfigError(str(wrong), where="--shard-size", seen=shard_size, expected="5GB, 500MB") from None
    if not isinstance(size, int) or size < 1:
        raise ConfigError("a file has a size", where="--shard-size", seen=shard_size, expected="5GB, 500MB")
    result = exporting.export(
        checkpoint,
        folder,
        dtype=dtype,
        shard_bytes=size,
        shards=shards,
        with_tokenizer=not no_tokenizer,
        overwrite=overwrite,
    )
    print_result(result.table, as_json)


@app.command(name="import", help="Import: a folder of transformers' Zaya as a checkpoint to train, eval or generate.")
def import_(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="As transformers or Zyphra's own code writes it.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="A new folder.")],
    skip: Annotated[
        Literal["off", "zero", "identity"] | None,
        typer.Option(
            help="What the router's last class does. Default: what the layout's code does.", show_default=False
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FILE", help="A tokenizer file. Default: the folder's.", show_default=False)
    ] = None,
    end_of_document: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Ends documents. Default: the one known.", show_default=False)
    ] = None,
    as_json: Json = False,
    overwrite: Replace = False,
) -> None:
    """Imports a model."""
    needs_torch()
    from .trainer.exchange.import_model import import_model

    result = import_model(
        folder, output, skip=skip, tokenizer=tokenizer, end_of_document=end_of_document, overwrite=overwrite
    )
    print_result(result.table, as_json)
