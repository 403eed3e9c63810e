"""The layouts of published reasoning corpora: which columns they have, and what each column is.

A recipe need not spell out the fields of a corpus that everybody knows, but a column that is taken for another is
silently wrong data: a layout is taken only where one alone fits, and the counts of the output say which it was.
Costs a look at a record's keys, kept for the next record with the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...config import did_you_mean
from .reasoning_answers import MARKS
from .records import Unreadable

Fields = Mapping[str, str | tuple[str, ...]]

AUTO: Final = "auto"


@dataclass(frozen=True)
class Layout:
    """A corpus's columns.

    Args:
        name: what recipes and counts call it.
        fields: our field to the corpus's; a prompt may be several columns, of which empty ones are left out.
        also: columns by which it is recognised beside those of `fields`.
        optional: fields that are taken where the column is there.
        between: what stands between the columns of a prompt.
        source: where the columns are described.
    """

    name: str
    fields: Fields
    also: tuple[str, ...] = ()
    optional: Fields = field(default_factory=dict)
    between: str = "\n"
    source: str = ""

    def fits(self, there: frozenset[str]) -> bool:
        """Whether a record with these columns, none of them null, may be of the layout."""
        return self.needs <= there

    @property
    def needs(self) -> frozenset[str]:
        """All columns by which it is recognised."""
        found = set(self.also)
        for column in self.fields.values():
            found |= {column} if isinstance(column, str) else set(column)
        return frozenset(found.difference(MARKS))

    def taken(self, there: frozenset[str]) -> dict[str, str | tuple[str, ...]]:
        """The fields for a record with these columns."""
        more = {name: column for name, column in self.optional.items() if column in there}
        return {**self.fields, **more}


_HUB: Final = "huggingface.co/datasets/"

NAMED: Final = (
    Layout(
        "openthoughts_metadata",
        {"prompt": "problem", "reasoning": "deepseek_reasoning", "response": "deepseek_solution"},
        source=f"{_HUB}open-thoughts/OpenThoughts-114k, metadata",
    ),
    Layout(
        "openthoughts",
        {"system": "system", "messages": "conversations"},
        source=f"{_HUB}open-thoughts/OpenThoughts-114k",
    ),
    Layout(
        "openmathreasoning",
        {"prompt": "problem", "response": "generated_solution", "answer": "expected_answer"},
        source=f"{_HUB}nvidia/OpenMathReasoning",
    ),
    Layout(
        "rstar_coder",
        {"prompt": "question", "response": "response"},
        also=("code",),
        optional={"id": "question_id"},
        source=f"{_HUB}microsoft/rStar-Coder",
    ),
    Layout(
        "openr1_math",
        {"messages": "messages", "answer": "answer"},
        also=("problem", "solution", "source", "problem_type", "question_type", "generations"),
        optional={"id": "uuid"},
        source=f"{_HUB}open-r1/OpenR1-Math-220k",
    ),
    Layout(
        "openthoughts_math",
        {"messages": "messages"},
        also=("problem", "solution", "source", "system", "conversations", "generated_token_count"),
        source=f"{_HUB}open-r1/OpenThoughts-114k-math",
    ),
    Layout(
        "mixture_of_thoughts",
        {"messages": "messages"},
        also=("num_tokens", "source"),
        source=f"{_HUB}open-r1/Mixture-of-Thoughts",
    ),
    Layout(
        "numinamath_cot",
        {"messages": "messages"},
        also=("problem", "solution", "source"),
        source=f"{_HUB}AI-MO/NuminaMath-CoT",
    ),
    Layout(
        "numinamath_1_5",
        {"prompt": "problem", "response": "solution", "answer": "answer"},
        also=("problem_type", "question_type"),
        source=f"{_HUB}AI-MO/NuminaMath-1.5",
    ),
    Layout(
        "s1k",
        {"prompt": "question", "reasoning": "thinking_trajectories", "response": "attempt"},
        source=f"{_HUB}simplescaling/s1K",
    ),
    Layout(
        "s1k_deepseek",
        {"prompt": "question", "reasoning": "deepseek_thinking_trajectory", "response": "deepseek_attempt"},
        source=f"{_HUB}simplescaling/s1K-1.1",
    ),
    Layout(
        "s1k_gemini",
        {"prompt": "question", "reasoning": "gemini_thinking_trajectory", "response": "gemini_attempt"},
        source=f"{_HUB}simplescaling/s1K-1.1",
    ),
    Layout(
        "aqua",
        {"prompt": ("question", "options"), "response": "rationale", "answer": "correct"},
        source="github.com/google-deepmind/AQuA",
    ),
    Layout(
        "alpaca",
        {"prompt": ("instruction", "input"), "response": "output"},
        between="\n\n",
        source="github.com/tatsu-lab/stanford_alpaca",
    ),
    Layout(
        "prm800k",
        {"prompt": "question", "response": "steps"},
        source="github.com/openai/prm800k, as PRMBench has it",
    ),
    Layout(
        "strategyqa",
        {"prompt": "question", "reasoning": "facts", "response": "answer", "answer": "answer"},
        also=("decomposition",),
        source="github.com/eladsegal/strategyqa",
    ),
)
GSM8K: Final = Layout(
    "gsm8k",
    {"prompt": "question", "reasoning": "answer", "answer": "####"},
    source="github.com/openai/grade-school-math",
)
MATH: Final = Layout(
    "math",
    {"prompt": "problem", "response": "solution", "answer": "\\boxed"},
    source="github.com/hendrycks/math",
)
_MARKED: Final = (GSM8K, MATH)  # told from others by the mark of the answer in a column

# Columns by what they are, for records of no named layout.
_PROMPTS: Final = ("prompt", "question", "problem", "instruction", "query", "input")
_RESPONSES: Final = ("response", "completion", "output", "solution", "generated_solution", "attempt", "reply")
_REASONINGS: Final = (
    "reasoning", "reasoning_content", "thinking", "thought", "thoughts", "cot", "chain_of_thought",
    "deepseek_reasoning",
)  # fmt: skip
_LISTS: Final = ("messages", "conversations", "conversation", "chat")
_ANSWERS: Final = ("answer", "final_answer", "expected_answer", "ground_truth")
_CHOICES: Final = ("options", "choices")
# With one of these columns, the answer or the reply may stand elsewhere than in a box of the solution.
_BESIDE_MATH: Final = frozenset((*_ANSWERS, *_CHOICES, *_LISTS, *_REASONINGS, *_PROMPTS, *_RESPONSES)) - MATH.needs


def names() -> list[str]:
    """The names of all layouts that a recipe may give, sorted."""
    return sorted(layout.name for layout in (*NAMED, *_MARKED))


def layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        Unreadable: there is none.
    """
    found = next((one for one in (*NAMED, *_MARKED) if one.name == name), None)
    if found is None:
        raise Unreadable(f"no layout is called {name}: {did_you_mean(name, names())}")
    return found


def between(name: str) -> str:
    """What stands between the columns of a prompt: a line feed, but in a layout that has it otherwise."""
    return next((one.between for one in NAMED if one.name == name), "\n")


def detect(record: Mapping[str, Any]) -> tuple[str, dict[str, str | tuple[str, ...]]]:
    """The layout that a record's columns fit, and its fields.

    A named layout goes before columns by what they are called, and one that asks for more columns before one that
    asks for some of these.

    Raises:
        Unreadable: none fits, or several do: their names.
    """
    there = frozenset(name for name, value in record.items() if value is not None and value != [])
    fitting = [one for one in NAMED if one.fits(there)]
    fitting = [one for one in fitting if not any(one.needs < other.needs for other in fitting)]
    if len(fitting) == 1:
        return fitting[0].name, fitting[0].taken(there)
    if fitting:
        raise _ambiguous([one.name for one in fitting])
    if GSM8K.fits(there) and not there & set(_RESPONSES) and "####" in str(record["answer"]):
        return GSM8K.name, GSM8K.taken(there)
    if MATH.fits(there) and not there & _BESIDE_MATH and "\\boxed" in str(record["solution"]):
        return MATH.name, MATH.taken(there)
    empty = next((name for name in _LISTS if record.get(name) == []), None)
    if empty is not None and not there & {*_LISTS, *_PROMPTS}:
        raise Unreadable(f"field {empty} is an empty list: the conversation has no turns")
    return _by_names(there)


def _by_names(there: frozenset[str]) -> tuple[str, dict[str, str | tuple[str, ...]]]:
    lists, prompts, responses, reasonings = (
        [name for name in known if name in there] for known in (_LISTS, _PROMPTS, _RESPONSES, _REASONINGS)
    )
    shapes = [*lists, *(f"{prompt} and {reply}" for prompt in prompts for reply in (responses or reasonings))]
    if not shapes:
        raise Unreadable(f"no layout fits the columns {', '.join(sorted(there))}: set fields")
    if len(shapes) > 1 or len(reasonings) > 1:
        raise _ambiguous(shapes if len(shapes) > 1 else reasonings)
    found: dict[str, str | tuple[str, ...]] = {}
    answers = [column for column in _ANSWERS if column in there]
    if len(answers) > 1:
        raise _ambiguous(answers)
    if lists:
        found, name = {"messages": lists[0]}, "messages"
    else:
        if choices := [column for column in _CHOICES if column in there]:
            raise Unreadable(
                f"the column {choices[0]} belongs to the prompt: set fields, with prompt: [{prompts[0]}, …]"
            )
        found, name = {"prompt": prompts[0]}, "prompt_response"
        found |= {"response": (responses or answers)[0]} if responses or answers else {}
        found |= {"reasoning": reasonings[0]} if reasonings else {}
    found |= {"system": "system"} if "system" in there else {}
    return name, found | ({"answer": answers[0]} if answers else {})


def _ambiguous(candidates: Sequence[str]) -> Unreadable:
    return Unreadable(f"several layouts fit ({', '.join(candidates)}): set fields to one of them, or spell them out")
