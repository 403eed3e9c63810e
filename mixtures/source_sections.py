"""What a mixture draws from, as the YAML has it: sources and the tokenizer that their tokens are of.

What cannot be together in a source is refused where it stands, before any document is read. Costs nothing.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..config import Address, Count, LocalFolder, Section, ShareOrCount
from ..errors import ConfigError
from .conditions import Condition, Wanted, where_conditions
from .templates import EarlierReasoning, Template, check_name, open_template

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
MAX_LOST = 0.01  # of a source's tokens
BUCKET = "@"  # between a source's name and the number of a bucket of it; in no name that is written


def _percent(value: object) -> object:
    """`5%` to 0.05; all else as it is."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return value
    try:
        return float(Decimal(value.strip()[:-1]) / 100)
    except InvalidOperation:
        raise ValueError("a share is written like 5% or 0.05") from None


class TrainTokenizer(Section):
    """A byte-level BPE to be trained on the first 100 MB of some sources, held-out documents left out."""

    vocab_size: Count = Field(gt=0)
    sources: tuple[str, ...] = Field(min_length=1)


class TokenizerSpec(Section):
    """A tokenizer file, or one to be trained, and its end-of-document token.

    `pattern` and `special_tokens` are what a file of tiktoken leaves out.
    """

    path: str | None = None
    train: TrainTokenizer | None = None
    end_of_document: str | None = None
    pattern: str | None = None
    special_tokens: dict[str, Annotated[int, Field(ge=0)]] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizerSpec":
        if (self.path is None) == (self.train is None):
            raise ValueError("a tokenizer is either path: FILE or train: {vocab_size: …, sources: […]}")
        if self.train and (self.pattern is not None or self.special_tokens is not None):
            raise ValueError("pattern and special_tokens are for a file of tiktoken")
        return self


class Buckets(Section):
    """Documents by a score: `weights` has one more entry than the `edges` between the buckets.

    The first bucket holds what is below the first edge, each other one what is at least its lower edge. In a phase the
    source is a group of its buckets, each drawn in proportion to its weight times its tokens.
    """

    column: str = Field(pattern=r"^score\.")
    edges: tuple[float, ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _fit(self) -> "Buckets":
        if any(high <= low for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges must ascend")
        if len(self.weights) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} buckets: as many weights")
        if not any(self.weights):
            raise ValueError("no bucket has a weight above 0")
        return self

    def range(self, bucket: int) -> str:
        """The condition on the column for one bucket, as `where` would have it."""
        low = [f">={self.edges[bucket - 1]!r}"] if bucket else []
        return ", ".join([*low, *([f"<{self.edges[bucket]!r}"] if bucket < len(self.edges) else [])])


def _template_name(name: str) -> str:
    try:
        check_name(name)
    except ConfigError as wrong:
        raise ValueError(f"{wrong.what}: {wrong.expected}" + (f"; {wrong.fix}" if wrong.fix else "")) from None
    return name


TemplateName = Annotated[str, AfterValidator(_template_name)]


class TemplateSection(Section):
    """A template with its options.

    `name` is `chatml`, `zaya`, `plain`, `tokenizer` for the tokenizer's own, or a Jinja file. `earlier_reasoning` is
    the policy for the reasoning of assistant turns before the last user turn: `keep` (of built-in ones the default),
    `drop`, or `template`, which leaves it to a Jinja text (of these the default). `reasoning: tags` puts it into the
    content with tags where a Jinja text has no place for it. `options` are variables for the text.
    """

    name: TemplateName
    earlier_reasoning: EarlierReasoning | None = None
    reasoning: Literal["tags"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def open(self, tokenizer: str | None) -> Template:
        """The template; `tokenizer` is the file or folder that the mixture names, None where one is trained.

        Raises:
            ConfigError: as `open_template`.
        """
        return open_template(
            self.name,
            options=self.options,
            earlier_reasoning=self.earlier_reasoning,
            tags=self.reasoning == "tags",
            tokenizer=tokenizer,
        )


class MixtureSource(Section):
    """What is trained on under one name: documents of curated outputs, or tokens that stand somewhere already.

    `documents` are folders of curated outputs. `shards` is a `tokens/…` folder of a built mixture, or a folder or file
    of datatrove's (`.ds` with `.ds.index`) or Megatron's (`.bin` with `.idx`); of these `end_of_document` says which
    token ends every document there, `none` that none does.
    `too_long: trim` shortens reasoning (`mixtures/trimming.py`): `min_reasoning` tokens of it stay at least. `shards`
    are trimmed where a template rendered them. Under `trim` and `drop`, more than `max_lost` of the tokens lost to
    records that are dropped is an error.
    `where` maps a column to what it must be: a text, a list of texts, or comparisons such as ">0.5, <=0.9". `licence`
    is what an exported model's card says of the source; no token depends on it.
    """

    name: str = Field(pattern=NAME)
    licence: str | None = Field(None, min_length=1)
    documents: Address | Annotated[tuple[Address, ...], Field(min_length=1)] | None = None
    shards: LocalFolder | None = None
    end_of_document: str | None = None
    where: dict[str, Wanted] = Field(default_factory=dict)
    buckets: Buckets | None = None
    held_out: ShareOrCount = Field(default=0, ge=0)
    template: TemplateName | TemplateSection | None = None
    pack: Literal["whole", "chunk"] | None = None
    too_long: Literal["drop", "error", "split", "trim"] = "error"
    min_reasoning: Count = Field(default=0, ge=0)
    max_lost: Annotated[float, BeforeValidator(_percent), Field(ge=0, le=1)] = MAX_LOST

    @model_validator(mode="after")
    def _one_of_both(self) -> "MixtureSource":
        if (self.documents is None) == (self.shards is None):
            raise ValueError("a source is either documents: of curated outputs, or shards: of tokens")
        if self.shards is not None:
            given = [name for name in ("where", "buckets", "template") if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]} is of documents: what stands as tokens is taken whole, as it is")
        elif self.end_of_document is not None:
            raise ValueError("end_of_document is of shards: here the tokenizer says it")
        rendered = self.template is not None or self.shards is not None  # shards say themselves whether they are
        if self.too_long == "trim" and not (rendered and self.packing == "whole"):
            raise ValueError("too_long: trim is of whole conversations: it needs a template, and no pack: chunk")
        if self.too_long != "trim" and self.min_reasoning:
            raise ValueError("min_reasoning is for too_long: trim")
        if self.too_long not in ("trim", "drop") and self.max_lost != MAX_LOST:
            raise ValueError("max_lost is for too_long: trim and too_long: drop")
        if self.buckets and isinstance(self.held_out, int) and self.held_out:
            raise ValueError("of a source in buckets a share is held out, such as held_out: 1%")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """The curated outputs; none where the source is tokens."""
        return (self.documents,) if isinstance(self.documents, str) else self.documents or ()

    @property
    def packing(self) -> Literal["whole", "chunk"]:
        """As written; else whole documents where a template renders them or they are trimmed, chunks of plain text."""
        return self.pack or ("whole" if self.template or self.too_long == "trim" else "chunk")

    @property
    def template_section(self) -> TemplateSection | None:
        """The template written out."""
        return TemplateSection(name=self.template) if isinstance(self.template, str) else self.template

    @property
    def conditions(self) -> list[Condition]:
        """What `where` asks of a document."""
        return where_conditions(self.where)

    @property
    def bucketed(self) -> "tuple[MixtureSource, ...]":
        """The source itself, or one for each of its buckets."""
        if self.buckets is None:
            return (self,)
        column, found = self.buckets.column, []
        for bucket in range(len(self.buckets.weights)):
            before = f"{self.where[column]}, " if column in self.where else ""
            where = {**self.where, column: before + self.buckets.range(bucket)}
            found.append(self.model_copy(update={"name": f"{self.name}{BUCKET}{bucket}", "where": where}))
        return tuple(found)
