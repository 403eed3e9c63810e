"""What must hold in a built mixture beyond its hashes: tokens, packs and order against one another and the manifest.

A file can be whole and wrong: written by a program with a fault, or left by another build. So the documents are counted
in three ways, every token is looked for in the packs, and the order is replayed. Costs one look at each part (its bytes
are read for their hash anyway), about 0.2 µs a span and 20 ns a sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, RunError
from ...manifest import NAME
from ...mixtures.part_checks import PartCheck
from ...mixtures.parts_table import TABLES, Kind, open_table
from ...mixtures.phases import PhaseRef
from ...mixtures.shards import INSIDE_CHARACTERS, Shards
from ...mixtures.tokenizer_identity import Identity
from ...mixtures.tokenizers import Tokenizer
from . import verify_order, verify_packs
from .verify_files import ENDINGS, PartFound, check_file, check_part
from .verify_order import PhaseRow
from .verify_packs import PackRow
from .vouched import Problem, Vouched, repaired

Job = Callable[[], tuple[int, list[Problem]]]
KINDS: tuple[Kind, ...] = ("part", "held_out")


@dataclass(frozen=True)
class TokensRow:
    """What the parts of one kind of a source came to: `trained` tokens are targets under `loss: assistant`."""

    source: str
    kind: str
    parts: int
    documents: int
    tokens: int
    trained: int


@dataclass
class Counted:
    """What the tokens, packs and order of a built mixture came to."""

    tokens: list[TokensRow] = field(default_factory=list)
    packs: list[PackRow] = field(default_factory=list)
    order: list[PhaseRow] = field(default_factory=list)


@dataclass
class BuildCheck:
    """The checks of one built mixture.

    Args:
        found: its output.
        counted: filled by the checks.
        problems: found when the tables were opened.
        parts: what the jobs found of each part, by source and kind.
    """

    found: Vouched
    counted: Counted = field(default_factory=Counted)
    problems: list[Problem] = field(default_factory=list)
    parts: dict[tuple[str, Kind], list[PartFound]] = field(default_factory=dict)
    _tables: dict[tuple[str, Kind], Any] = field(default_factory=dict)
    _tables_read: set[str] = field(default_factory=set)
    _packs: verify_packs.PackCheck | None = None

    @classmethod
    def of(cls, found: Vouched) -> "BuildCheck":
        """Opens the tables of a built mixture's parts."""
        check = cls(found)
        for name in check.sources:
            for kind in KINDS:
                check._open(name, kind)
        return check

    @property
    def options(self) -> dict[str, Any]:
        """What the mixture's manifest says of itself."""
        return self.found.result.options if self.found.result else {}

    @property
    def sources(self) -> dict[str, Any]:
        """The sources by name, as the manifest has them."""
        return dict(self.options["sources"])

    @property
    def dtype(self) -> Any:
        """Of the tokens."""
        return np.dtype(self.options["tokenizer"]["dtype"])

    def folder(self, source: str) -> str:
        """The folder of a source's tokens."""
        return str(self.sources[source]["tokens"])

    @property
    def taken(self) -> frozenset[str]:
        """The files that were read here, or are by the jobs of `token_jobs`."""
        return frozenset(self._tables_read) | frozenset(
            f"{self.folder(source)}/{kind}-{part:05d}.{ending}"
            for (source, kind), table in self._tables.items()
            for part in range(len(table))
            for ending in ENDINGS
        )

    def token_jobs(self) -> list[Job]:
        """One a part of tokens: hashes and counts."""
        return [
            self._part_job(source, kind, part, table[part])
            for (source, kind), table in self._tables.items()
            for part in range(len(table))
        ]

    def pack_jobs(self) -> list[Job]:
        """One a part of an index; none where tokens or tables are not as they were written."""
        self._compare_counts()
        self._compare_tokenizer()
        if self._damaged("tokens/", "packs/", "order/"):
            return []
        self._packs = verify_packs.PackCheck(self.found, self.shards(), self.refs(), self.problems)
        return self._packs.jobs

    def order(self) -> None:
        """Replays the order of each phase, of which the files are as they were written."""
        if self._packs is not None:
            self.counted.packs += self._packs.rows()
        if not self._damaged("order/", "tokens/"):
            self.counted.order += verify_order.check(self.found, self.refs(), self.shards(), self.problems)

    def _damaged(self, *folders: str) -> bool:
        return any(problem.path.startswith(folders) for problem in (*self.found.problems, *self.problems))

    def refs(self) -> list[PhaseRef]:
        """The phases, in the order in which they are trained."""
        return [PhaseRef(**phase) for phase in self.options["phases"]]

    def shards(self) -> dict[str, Shards]:
        """The token shards of every source that has some."""
        root = Path(str(self.found.root))
        return {
            source: Shards.open(root / self.folder(source), self.dtype)
            for (source, kind), table in self._tables.items()
            if kind == "part" and len(table)
        }

    def _open(self, source: str, kind: Kind) -> None:
        path = f"{self.folder(source)}/{TABLES[kind]}"
        if path not in self.found.whole:  # nothing of the kind, or told
            return
        self._tables_read.add(path)
        changed = check_file(self.found, path)
        if changed:
            self.problems += changed
            return
        try:
            self._tables[source, kind] = open_table(Path(str(self.found.root)) / self.folder(source), kind)
        except (RunError, OSError) as error:
            self.problems.append(Problem(path, f"cannot be read: {error}", fix=repaired(self.found, path)))

    def _part_job(self, source: str, kind: Kind, part: int, row: Any) -> Job:
        stem = f"{kind}-{part:05d}"
        tokenizer = self.options["tokenizer"]
        results = self.parts.setdefault((source, kind), [])
        results.append(PartFound(stem, self._check(source, row, tokenizer), (), 0))

        def job() -> tuple[int, list[Problem]]:
            check = self._check(source, row, tokenizer)
            found = check_part(self.found, self.folder(source), stem, bool(row["masked"]), check)
            results[part] = found
            return found.bytes, list(found.problems)

        return job

    def _check(self, source: str, row: Any, tokenizer: dict[str, Any]) -> PartCheck:
        counts = int(row["tokens"]), int(row["documents"])
        return PartCheck(self.dtype, *counts, tokenizer["end_of_document"], tokenizer["vocab_size"], source)

    def _compare_tokenizer(self) -> None:
        """The tokenizer's file is the one that made the tokens, and says of itself what the manifest says."""
        said = self.options["tokenizer"]
        if self._damaged(said["path"]):
            return
        try:
            made = Identity.read(said, NAME)
            tokenizer = Tokenizer.open(Path(str(self.found.root)) / said["path"], made.end_of_document_text)
            made.check(tokenizer)
            self._compare_characters(np.packbits(tokenizer.inside_characters, bitorder="little").tobytes())
        except (ConfigError, RunError) as error:
            path = NAME if error.where == NAME else said["path"]
            self._add(path, error.what, str(error.seen or ""), str(error.expected or ""))

    def _compare_characters(self, expected: bytes) -> None:
        """What trimming knows of the vocabulary is what the tokenizer's words say."""
        for source in self.sources:
            path = f"{self.folder(source)}/{INSIDE_CHARACTERS}"
            if path in self.found.whole and (Path(str(self.found.root)) / path).read_bytes() != expected:
                self._add(path, "the ids that begin inside a character are not those of the tokenizer")

    def _compare_counts(self) -> None:
        """Parts against each other and the manifests, once all are read."""
        for (source, kind), parts in self.parts.items():
            table = self._tables[source, kind]
            documents, tokens = int(table["documents"].sum()), int(table["tokens"].sum())
            trained = sum(found.check.trained for found in parts)
            self.counted.tokens.append(TokensRow(source, kind, len(parts), documents, tokens, trained))
            self._compare(source, kind, documents, tokens)
            self._compare_ids(source, kind, parts, table)

    def _compare(self, source: str, kind: Kind, documents: int, tokens: int) -> None:
        manifest = self.found.of(self.folder(source))
        if manifest is None:
            return
        path = f"{self.folder(source)}/{TABLES[kind]}"
        said = manifest.counts[kind]
        if (said["documents"], said["tokens"]) != (documents, tokens):
            expected = f"{said['documents']:,} documents, {said['tokens']:,} tokens, as the manifest counts"
            self._add(path, "the parts are not what was counted", f"{documents:,}, {tokens:,}", expected)
        entry = self.sources[source]
        own = {"part": ("documents", "tokens_total"), "held_out": ("held_out_documents", None)}[kind]
        for name, value in zip(own, (documents, tokens), strict=True):
            if name is not None and entry[name] != value:
                self._add(path, f"the mixture's manifest has other {name}", f"{value:,}", f"{entry[name]:,}")

    def _compare_ids(self, source: str, kind: Kind, parts: list[PartFound], table: Any) -> None:
        """Parts are ranges of the hashes of ids, and the table says where each begins."""
        before = b""
        for part, found in enumerate(parts):
            check, path = found.check, f"{self.folder(source)}/{found.stem}.documents.parquet"
            if found.problems or not check.first:
                continue
            if int.from_bytes(check.first[:8]) != int(table[part]["first_high"]):
                self._add(path, "the part does not begin with the id that the table of parts has")
            if check.first < before:
                self._add(path, "the part begins with an id that belongs into the part before it")
            before = check.last

    def _add(self, path: str, what: str, seen: str = "", expected: str = "") -> None:
        self.problems.append(Problem(path, what, seen, expected, repaired(self.found, path)))
