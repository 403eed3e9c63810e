"""The step `datatrove`: any filter or formatter of datatrove, by its class name and with its own arguments.

Nobody has to port a pipeline before trying it here: `datatrove: {GopherQualityFilter: {min_doc_words: 50}}`. The
reasons that a block gives are the rules in `dropped/`, texts and metadata that it changes reach the output.
Costs what datatrove costs, one Python object per document and .5 to 10 MB/s; the package's own rule sets decide the
same a hundred times faster.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field, ValidationError, computed_field, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..config import nearest
from . import datatrove_blocks as found
from . import datatrove_documents as interchange
from .document import DocumentBatch
from .rules import Decision, Rule, Transform

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKENIZER_BYTES: Final = 300 << 20  # of datatrove with spaCy's tokenizer, measured


class Datatrove(Transform):
    """Runs one block of datatrove (`datatrove.pipeline.filters` or `.formatters`); the block's name is the one option.

    A block sees the text, the id and the metadata that datatrove's readers would give it: the input's other fields,
    with url, date, language and source. Metadata that it sets are kept: url, date and language in their columns,
    the rest in `metadata`. Counters and random numbers of a block begin anew with every document, so that the result
    does not depend on how the documents are divided among processes: the numbers follow from `seed` (0 if none is
    given) and the document's id.
    """

    version: ClassVar[int] = 1
    scored: ClassVar[bool] = False

    block: str = Field(description="class name of the block")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the block's arguments by name")

    @model_validator(mode="before")
    @classmethod
    def _named_block(cls, value: object) -> object:
        """`{Name: {argument: value}}`, as a recipe has it, with every argument checked."""
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            seen = ", ".join(map(str, value)) or "none"
            raise ValueError(f"the step takes one block of datatrove with its arguments, and there stand: {seen}")
        name, arguments = next(iter(value.items()))
        if name not in found.blocks():
            raise PydanticCustomError("unknown_key", "unknown key {key}", _unknown(str(name), list(found.blocks())))
        if not isinstance(arguments, dict | None):
            raise ValueError(f"{name} takes a mapping of its arguments")
        return {"block": name, "arguments": _checked(name, arguments or {})}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def release(self) -> str:
        """The release of datatrove, by which the fingerprint of the step's output differs."""
        try:
            return version("datatrove")
        except PackageNotFoundError:
            return "unknown"

    @property
    def rewrites(self) -> bool:
        """Formatters change every text; a filter may, now and then."""
        return found.is_formatter(self.block)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """None: a block gives reasons, not scores."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Local files among the arguments (`model_url` and the like)."""
        return found.files(self.arguments)

    @property
    def memory(self) -> int:
        """Datatrove with a tokenizer, and files among the arguments; what a block downloads is not foreseen."""
        return _TOKENIZER_BYTES + sum(Path(path).stat().st_size for path in self.files)

    def check(self) -> None:
        """Makes the block and tries it.

        Raises:
            ConfigError: a package or a file that it needs is missing, or it refuses its arguments.
        """
        found.rehearse(self.block, self.arguments)

    def apply(self, batch: DocumentBatch) -> DocumentBatch:
        """The documents with the texts and metadata that the block leaves, those included that it drops."""
        return self.rewrite(batch)[0]

    def decide(self, batch: DocumentBatch) -> Decision:
        """Which documents the block keeps."""
        return self.rewrite(batch)[1]

    def rewrite(self, batch: DocumentBatch) -> tuple[DocumentBatch, Decision]:
        """Runs the block over the documents, in its own batches where it has any.

        Raises:
            ConfigError: the block misses a package that is only asked for at the first document.
        """
        made, given = interchange.documents(batch)
        try:
            results = self._run(made)
        except ImportError as error:
            raise found.missing_package(self.block, error) from None
        return interchange.written_back(batch, made, given), _decision(results, self.block)

    def _run(self, documents: Sequence[Any]) -> list[Any]:
        made = found.make(self.block, self.arguments)
        if found.is_formatter(self.block):
            for document in documents:
                made.begin(document.id)
                document.text = made.block.format(document.text)
            return [True] * len(documents)
        results: list[Any] = []
        size = max(int(made.block.batch_size), 1)
        for start in range(0, len(documents), size):
            chunk = list(documents[start : start + size])
            made.begin(chunk[0].id)
            answers = list(made.block.filter_batch(chunk))
            if len(answers) != len(chunk):
                raise ValueError(f"{self.block} gave {len(answers)} answers for {len(chunk)} documents")
            results += answers
        return results


def _decision(results: Sequence[Any], block: str) -> Decision:
    """What datatrove's answers mean: true, false, or either with a reason; without one the block's name is it."""
    keep, rule = np.ones(len(results), np.bool_), np.full(len(results), -1, np.int16)
    reasons: dict[str, int] = {}
    for row, result in enumerate(results):
        kept, reason = result if isinstance(result, tuple) else (result, None)
        if not kept:
            keep[row], rule[row] = False, reasons.setdefault(str(reason or block), len(reasons))
    nothing = np.full(len(results), np.nan)
    return Decision(keep, rule, nothing, nothing, tuple(reasons))


def _checked(block: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, each of which the block takes.

    Raises:
        ValidationError: with every complaint at the argument's place.
    """
    kind = found.block_class(block)
    known = found.parameters(kind)
    complaints = [
        InitErrorDetails(type=PydanticCustomError("missing", "missing"), loc=(block, name), input=arguments)
        for name, one in known.items()
        if one.default is one.empty and name not in arguments
    ]
    for name, value in arguments.items():
        if name not in known:
            unknown = PydanticCustomError("unknown_key", "unknown key {key}", _unknown(str(name), list(known)))
            complaints.append(InitErrorDetails(type=unknown, loc=(block,), input=value))
            continue
        try:
            found.converted(kind, name, value)
        except ValidationError as wrong:
            text = "; ".join(dict.fromkeys(str(one["msg"]) for one in wrong.errors()))
            complaints.append(InitErrorDetails(type=_problem(text), loc=(block, name), input=value))
        except ValueError as wrong:
            complaints.append(InitErrorDetails(type=_problem(str(wrong)), loc=(block, name), input=value))
    if complaints:
        raise ValidationError.from_exception_data("Datatrove", complaints)
    return arguments


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("argument", "{text}", {"text": text})


def _unknown(key: str, known: list[str]) -> dict[str, Any]:
    return {"key": key, "known": known, "nearest": nearest(key, known)}
