"""The step `problem_dedup`: of the reasoning records of one problem, however it is worded, only so many are kept.

Corpora of reasoning share their problems and spell them anew, and one popular problem may bring hundreds of traces.
Records are compared by the statement alone, as `statements` says; candidates are found and verified as `minhash_dedup`
does, so a cluster's records are all similar to its first one.
Costs about 100 microseconds a record for its statement, twice for one that has a candidate, 300 more for one that is
similar to another and no copy of it, and 8 bytes a word.
"""

from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from ..config import Count
from ..errors import RunError
from . import statements
from .answer_agreement import AnswerAgreement
from .document import place
from .minhash_dedup import MOST_BANDS, MOST_ROWS, Signed, SimilarDedup
from .texts import text_view

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

SAME_PROBLEM: Final = "same_problem"
TRACE_CAP: Final = "trace_cap"
GOLD_SUSPECTED: Final = "gold_suspected"


class ProblemDedup(SimilarDedup):
    """Drops a record whose problem has `max_traces` better ones, in the order of `keep`, whatever their sources.

    The rule is `same_problem` where one is kept, else `trace_cap`; the partner is the best that is kept. A record
    without a user's message is not compared. Two statements are never the same where their numbers, formulas or groups
    in brackets differ or stand in each other's places; nor where what one says for the other's words is an opposite,
    another unit or day, another's part, or another question (`statements.told_apart`); nor, unless they are the same
    word for word, where their gold answers differ.
    """

    version: ClassVar[int] = 3
    compared_by: ClassVar[tuple[str, ...]] = ("id", "source", "messages", "answer")

    bands: int = Field(default=24, ge=1, le=MOST_BANDS)
    rows: int = Field(default=4, ge=1, le=MOST_ROWS, description="minima in a band")
    threshold: float = Field(default=0.7, gt=0, le=1, description="the least similarity of one problem's statements")
    max_traces: Count = Field(default=1, ge=1, description="records of one problem that are kept, the best first")
    suspect_gold: Literal["drop", "off"] = Field(
        default="off",
        description="drop: all records of a problem with a gold answer that at least three different traces, and three "
        "quarters of those that answer, contradict while they agree with each other (rule gold_suspected)",
    )

    @property
    def folds(self) -> bool:
        """Statements keep their signs."""
        return False

    @property
    def shingle(self) -> int:
        """One: `statements` makes the runs of words."""
        return 1

    @property
    def parameters(self) -> dict[str, Any]:
        """What keys and sets depend on, and how answers are read: two golds that differ part two problems."""
        from .kernels import minhash_kernels

        options = {name: getattr(self, name) for name in ("bands", "rows", "seed")}
        read = {"statements": statements.VERSION, "answers": AnswerAgreement.version}
        return {**options, **read, "keys": minhash_kernels.VERSION}

    @property
    def told(self) -> tuple[str, ...]:
        """The statement and the gold answer; the last reply's final answer too, where it may speak against gold."""
        return ("statement", "gold", "final") if self.suspect_gold == "drop" else ("statement", "gold")

    def tell(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """The statement, and answers as `answers.extract` finds them in the gold answer and the last reply, or null."""
        said = [self.statements(batch), _answers(batch.column("answer").to_pylist())]
        if self.suspect_gold == "drop":
            said.append(_answers([_last_reply(turns) for turns in batch.column("messages").to_pylist()]))
        return [pa.array(one, pa.string()) for one in said]

    def texts(self, batch: pa.RecordBatch) -> tuple[Bytes, Int64]:
        """The statements; errors as of `statements`."""
        return text_view(pa.array(self.statements(batch), pa.large_string()))

    def statements(self, batch: pa.RecordBatch) -> list[str]:
        """What each record asks: of each record the first message of the user, empty where there is none.

        Raises:
            RunError: a document has no messages at all.
        """
        messages = batch.column("messages")
        if messages.null_count:
            row = messages.is_null().index(True).as_py()
            raise RunError(
                "a document has no messages, so it states no problem",
                where=place(batch, row),
                expected="messages, the first of the user the statement",
                fix="name the sources that have them in the step's option sources",
            )
        found = []
        for turns in messages.to_pylist():
            said = next((turn["content"] for turn in turns if turn["role"] == "user"), None)
            found.append(statements.stated(said) if said else "")
        return found

    def units(self, text: Bytes, offsets: Int64) -> tuple[UInt64, Int64]:
        """Of each statement what `statements.units` gives."""
        view, bounds = text.tobytes(), offsets.tolist()
        found = [statements.units(view[start:stop].decode()) for start, stop in pairwise(bounds)]
        hashes = np.array([one for own in found for one in own], np.uint64)
        return hashes, np.cumsum([len(own) for own in found], dtype=np.int64)

    def _keys(self, text: Bytes, offsets: Int64, hashes: UInt64, ends: Int64) -> Signed:
        """As every such step's; none for an empty statement, which is nobody's problem."""
        signed = super()._keys(text, offsets, hashes, ends)
        stated = np.diff(offsets) > 0
        if stated.all():
            return signed
        counts = np.diff(signed.key_ends, prepend=0)
        return Signed(signed.keys[np.repeat(stated, counts)], np.cumsum(np.where(stated, counts, 0)))


def _answers(texts: list[str | None]) -> list[str | None]:
    """The final answer of each text, where it has one."""
    from .answers import extract

    return [found.answer if (found := extract(text or "")) else None for text in texts]


def _last_reply(turns: list[dict[str, str]]) -> str | None:
    """What the assistant says at the end, without its reasoning."""
    return turns[-1]["content"] if turns and turns[-1]["role"] == "assistant" else None
