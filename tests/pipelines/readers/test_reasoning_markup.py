"""Tags in every spelling read as the same record, broken ones are repaired or refused, quoted ones are left alone."""

import contextlib
import re
import time
from itertools import pairwise

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.mixtures import templates
from midtrain.mixtures.templates import Message
from midtrain.pipelines.readers import reasoning
from midtrain.pipelines.readers.reasoning_answers import CALCULATOR, MARKS, marked
from midtrain.pipelines.readers.reasoning_code import find_code, inside
from midtrain.pipelines.readers.reasoning_markup import REPAIRS, has_tags, split, written
from midtrain.pipelines.readers.reasoning_turns import message
from midtrain.pipelines.readers.records import Unreadable

from .tagged import ANSWER, QUESTION, QUOTED, REFUSED, SAME, THOUGHT

TEXT = f"{QUESTION}\n\n{THOUGHT}\n\n{ANSWER}"
TAGS = (
    "<think>", "</think>", " <think> ", "    ", "<|im_start|>assistant\n", "<THINK>", "</ think>", "<reasoning>",
    "</thinking>", "◁think▷", "[/THINK]", "<answer>", "</answer>", "<|begin_of_thought|>", "<|end_of_thought|>",
    "<|end_of_solution|>", "<|channel|>final<|message|>", "<|channel|>analysis<|message|>", "<|end|>", "\r\n",
    '<think type="x">', "<|START_THINKING|>", "<|END_THINKING|>", "<|start_of_thought|>", "<thinking>", "analysis",
    "assistantfinal", "<|im_end|>", "`", "```", "\n```\n", "~~~", "\n", "\n\n", " ", "a", "b.", "think>",
)  # fmt: skip
PIECES = st.lists(st.sampled_from(TAGS) | st.text(max_size=3), max_size=14).map("".join)


class TestVariants:
    def test_there_are_forty(self):
        assert len(SAME) >= 40

    @pytest.mark.parametrize("name", SAME)
    def test_each_is_the_same_record(self, name: str):
        record, repairs = SAME[name]
        fields = {"transcript": "transcript"} if "transcript" in record else "auto"
        found = reasoning.row(record, fields)
        assert found.messages == [
            {"role": "user", "content": QUESTION, "reasoning": None},
            {"role": "assistant", "content": ANSWER, "reasoning": THOUGHT},
        ]
        assert set(found.repairs) == repairs
        assert found.text == TEXT

    def test_parquet_and_lines_give_the_same(self, reading):
        """Parquet's rows have every key of every row, null where a row has none."""
        keys = {"messages": ("messages",), "conversations": ("messages",), "question": ("response",)}
        for key, needs in keys.items():
            records = [record for record, _ in SAME.values() if key in record and set(record) <= {key, *needs}]
            records = [
                record for record in records if not isinstance(record.get("messages", [{}])[-1].get("content"), list)
            ]
            assert len(records) > 1
            buffer = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(records), buffer)
            by_rows = reading("a.parquet", buffer.getvalue().to_pybytes(), format="reasoning")
            by_lines = reading("a.jsonl", b"".join(orjson.dumps(one) + b"\n" for one in records), format="reasoning")
            assert by_rows[1] == by_lines[1] == []
            assert {row["text"] for row in by_rows[0]} == {row["text"] for row in by_lines[0]} == {TEXT}
            assert len(by_rows[0]) == len(records)

    def test_typed_parts_are_read_from_parquet(self, reading):
        records = [SAME["typed parts"][0], SAME["typed parts of reasoning"][0]]
        for record in records:
            record = orjson.loads(orjson.dumps(record))
            record["messages"][0]["content"] = [{"type": "text", "text": QUESTION}]
            buffer = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist([record]), buffer)
            documents, aside = reading("a.parquet", buffer.getvalue().to_pybytes(), format="reasoning")
            assert [row["text"] for row in documents] == [TEXT]
            assert not aside

    @pytest.mark.parametrize("name", REFUSED)
    def test_what_has_no_one_meaning_has_a_reason(self, name: str):
        reply, reason = REFUSED[name]
        with pytest.raises(Unreadable, match=re.escape(reason)):
            reasoning.row({"question": QUESTION, "response": reply})

    @pytest.mark.parametrize("name", QUOTED)
    def test_what_is_quoted_is_content(self, name: str):
        reply, thought, content = QUOTED[name]
        assert split(reply)[:2] == (thought, content)
        assert message("assistant", reply, None)[0] == {"role": "assistant", "content": content, "reasoning": thought}


class TestAnyText:
    """Every spelling of the tags around any thought and any answer gives these back."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(
            [
                ("<think>\n", "\n</think>\n\n"),
                ("<think>", "</think>"),
                ("", "\n</think>\n"),
                ("<THINK>", "</Think>"),
                ("< think >", "</ think >"),
                ("<thinking>\n", "\n</thinking>"),
                ("<reasoning>", "</reasoning>"),
                ("<seed:think>", "</seed:think>"),
                ("◁think▷", "◁/think▷"),
                ("[THINK]", "[/THINK]"),
                ("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"),
                ("<think>\n<think>", "</think></think>"),
                ("<think><think>", "</think>"),
                ("<think>", "</think>\n</think>"),
                ("<think></think><think>", "</think>"),
                ("<think>", "</reasoning>"),
                ('<think type="x">', "</think>"),
                ("<|START_THINKING|>", "<|END_THINKING|>"),
                ("<|start_of_thought|>\n", "\n<|end_of_thought|>\n"),
                ("<think>\r\n", "\r\n</think>\r\n\r\n"),
            ]
        ),
        st.text(min_size=1, max_size=30),
        st.text(max_size=30),
    )
    def test_around_any_thought_and_answer(self, tags: tuple[str, str], thought: str, answer: str):
        thought, answer = thought.strip("\r\n"), answer.strip()
        if not thought.strip() or any(sign in thought + answer for sign in "`~<[◁"):
            return
        found = split(f"{tags[0]}{thought}{tags[1]}{answer}")
        assert found[:2] == (thought, answer)


class TestAField:
    """A reasoning that stands in a field of its own is text, but for tags around all of it."""

    @pytest.mark.parametrize(
        ("field", "thought", "taken_off"),
        [
            ("I should write <think> first.", "I should write <think> first.", False),
            ("<thinking> is a tag", "<thinking> is a tag", False),
            ("<thinking>a</thinking>b", "<thinking>a</thinking>b", False),
            ("analysis of assistantfinal", "analysis of assistantfinal", False),
            ("<think>\nI should write <think> first.\n</think>", "I should write <think> first.", True),
            ("<reasoning><think>a</think></reasoning>", "a", True),
            ("<think>\r\na\r\n</think>\r\n", "a", True),
            ("<|channel|>analysis<|message|>a<|end|>", "a", True),
        ],
    )
    def test_it_is_taken_as_it_is(self, field: str, thought: str, taken_off: bool):
        found, repairs = message("assistant", "A", field)
        assert found == {"role": "assistant", "content": "A", "reasoning": thought}
        assert repairs == (["tagged_reasoning"] if taken_off else [])

    @pytest.mark.parametrize("field", ["a </think> b", "<think>a</think>b", "<think>a"])
    def test_what_would_end_the_thought_once_it_is_rendered_cannot_be_read(self, field: str):
        with pytest.raises(Unreadable, match="cannot be told from those of a thought"):
            message("assistant", "A", field)

    @pytest.mark.measures
    def test_many_pairs_take_a_moment(self):
        text = "<think><thinking>" * 10_000 + "a" + "</thinking></think>" * 10_000
        began = time.process_time()
        assert str(message("assistant", "A", text)[0]["reasoning"]).strip() == "a"
        assert time.process_time() - began < 5


class TestTruncated:
    def test_a_thought_that_never_ends_is_all_there_is(self):
        assert split("<think>\nsteps and") == ("steps and", "", ("unclosed_thought",))

    def test_an_answer_may_be_missing_behind_its_closer(self):
        assert split("<think>steps</think>") == ("steps", "", ())

    def test_a_closer_in_inline_code_ends_nothing(self):
        assert split("<think>The tag `</think>` ends") == ("The tag `</think>` ends", "", ("unclosed_thought",))

    def test_a_reply_that_began_in_a_thought_may_never_leave_it(self):
        assert split("steps and", opened=True) == ("steps and", "", ("unclosed_thought",))
        assert split("steps</think>4", opened=True) == ("steps", "4", ("orphan_closer",))
        assert message("assistant", "4", "steps", opened=True)[0]["content"] == "4"

    @pytest.mark.parametrize("reply", ["<think></think>4", "<think> \n</think>\n\n4"])
    def test_an_empty_thought_is_none(self, reply: str):
        assert split(reply) == (None, "4", ("empty_thought",))

    def test_nothing_before_an_orphan_closer_is_no_thought(self):
        assert split("</think>\n\n4") == (None, "4", ("orphan_closer",))

    @pytest.mark.parametrize(
        "thought", ["a\n<think>b", "a\n<think>\nb", "a <think>\nb", "<think>a", "<think> <think>a"]
    )
    def test_an_opener_that_is_no_word_of_a_line_is_a_tag(self, thought: str):
        found = split(f"<think>{thought}</think>c")
        assert "<think>" not in (found.reasoning or "")
        assert found.repairs == ("repeated_opener",)

    def test_words_that_tags_held_apart_stay_apart(self):
        assert split("<think>a<think>b</think>c</think>d").reasoning == "a b c"


class TestFixpoint:
    @settings(max_examples=600, deadline=None)
    @given(PIECES, st.none() | PIECES)
    @example("<think>a `</think>` b</think>c", None)
    @example("x", "```\n</think>\n``` ```")
    @example("</think><|im_end|><|end_of_solution|>", None)
    @example("<think>```\n</think>\n```\n\n```</think>\n\n</think>", None)
    def test_rendering_and_reading_again_changes_nothing(self, content: str, thought: str | None):
        try:
            first, repairs = message("assistant", content, thought)
        except Unreadable:
            return
        assert set(repairs) <= set(REPAIRS)
        if not (first["reasoning"] or str(first["content"]).strip()):
            return
        turns = [Message("user", "q"), Message("assistant", first["content"] or "", first["reasoning"])]
        text = templates.render("chatml", turns).text
        reply = text.removeprefix("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n").removesuffix("<|im_end|>\n")
        again, more = message("assistant", reply, None)
        assert again == first
        assert set(more) <= {"open_code"}
        assert reply == written(again["reasoning"], again["content"] or "")

    @settings(max_examples=800, deadline=None)
    @given(PIECES, st.none() | PIECES)
    @example("<think>I should write <think> first.</think>A", None)
    @example("<think><think>\n<thinking><answer>\n\n</think>w", None)
    @example("<think><thinking>x</thinking></think>w", None)
    @example("<think><thinking>x</thinking>y</think>w", None)
    @example("<think>a</think>b", "<reasoning>\n<think>a</think>")
    @example("x", "a<|im_end|>")
    @example("<think>a</think><|im_start|>assistant\nb", None)
    @example("<|channel|>final<|message|> <|endoftext|><|end|>", None)
    def test_the_record_that_is_written_reads_as_itself(self, content: str, thought: str | None):
        """What `midtrain write` makes of a document: messages with role, content and reasoning."""
        try:
            first, _ = message("assistant", content, thought)
        except Unreadable:
            return
        if not (first["reasoning"] or str(first["content"]).strip()):
            return
        line = orjson.dumps({"messages": [{"role": "user", "content": "q", "reasoning": None}, first]})
        found = reasoning.row(orjson.loads(line))
        assert found.messages is not None
        assert found.messages[-1] == first
        assert found.repairs == ()

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), PIECES, st.none() | PIECES),
            min_size=1,
            max_size=4,
        )
    )
    def test_a_rendered_conversation_reads_as_its_messages(self, turns: list[tuple[str, str, str | None]]):
        given = []
        for role, content, thought in turns:
            try:
                one, _ = message(role, content, thought if role == "assistant" else None)
            except Unreadable:
                return
            given.append(one)
        if any("<|im_" in str(one["content"]) + str(one["reasoning"]) for one in given):
            return  # a text that spells the template's own tokens is told from them by tokens alone
        if not any(one["role"] == "assistant" for one in given):
            return
        if any(one["role"] == "assistant" and not (one["reasoning"] or str(one["content"]).strip()) for one in given):
            return
        ready = [Message(str(one["role"]), one["content"] or "", one["reasoning"]) for one in given]
        text = templates.render("chatml", ready).text
        found = reasoning.row({"text": text}, {"transcript": "text"})
        assert found.messages == given
        assert set(found.repairs) <= {"open_code"}

    @settings(max_examples=300, deadline=None)
    @given(PIECES)
    def test_nothing_that_looks_like_a_tag_is_left_unless_quoted(self, text: str):
        try:
            found = split(text)
        except Unreadable:
            return
        if "`" not in text and "~~~" not in text and "assistantfinal" not in text and "<|channel|>" not in text:
            assert not has_tags(found.content)


class TestHostile:
    """A record of hundreds of kilobytes takes a moment, whatever it is made of, and is read or has a reason."""

    @pytest.mark.measures
    @pytest.mark.parametrize(
        "text",
        [
            "<" + " " * 500_000,
            "< " * 200_000 + "</think>",
            "<think></think>" * 30_000,
            "<think>" * 40_000,
            "<think>" * 30_000 + "</think>" * 30_000,
            "a</think>" * 40_000,
            "<|im_end|>" * 40_000,
            "<think>a</think>" + "<answer>" * 30_000 + "</answer>" * 30_000,
            "<think>a</think>" + "<answer>" * 40_000,
            "<|channel|>analysis<|message|>" * 30_000,
            "analysis" * 30_000 + "assistantfinal" * 30_000,
            "<|im_start|>" * 80_000,
            "<|im_start|>user\n" * 50_000 + "<|im_end|>",
            "<|start|>assistant<|channel|>" * 30_000,
            "`" * 500_000 + "</think>",
            "```\n</think>\n" * 30_000,
            "####" + " " * 500_000 + "x" + " " * 500_000 + "y",
            "\\boxed{" * 40_000,
        ],
        ids=lambda text: text[:24].strip(),
    )
    def test_it_ends(self, text: str):
        began = time.process_time()
        for fields in ({"prompt": "q", "response": "r"}, {"transcript": "r"}):
            with contextlib.suppress(Unreadable):
                assert reasoning.row({"q": "x", "r": text}, fields).messages
        for mark in MARKS:
            with contextlib.suppress(Unreadable):
                assert marked([{"role": "assistant", "content": text, "reasoning": None}], mark)
        assert time.process_time() - began < 10  # up to 1.8 were measured; what grows by the square takes minutes


class TestCode:
    @settings(max_examples=400, deadline=None)
    @given(st.lists(st.sampled_from(["`", "``", "```", "\n", "\n\n", "x", " ", "~~~", "py"]), max_size=25).map("".join))
    def test_spans_are_apart_and_begin_and_end_with_the_same_sign(self, text: str):
        found = find_code(text)
        spans = sorted([*found.fenced, *found.inline])
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        for start, stop in spans:
            sign = text[start:stop].strip(" ")[0]
            assert sign in "`~"
            assert text[start:stop].rstrip(" ")[-1] == sign
            assert inside(spans, start)
            assert not inside([(start, stop)], stop)

    def test_a_long_text_of_backticks_takes_no_longer_than_its_length(self):
        runs = "".join("`" * (1 + place % 7) + "x" for place in range(60_000))
        assert len(find_code(runs).inline) == 7_500
        assert len(find_code("```\n" * 30_001).fenced) == 15_000


@pytest.mark.parametrize(
    ("behind", "content"),
    [
        ("\n    return 2*x", "    return 2*x"),
        ("\n\n    indented code\n    more", "    indented code\n    more"),
        ("\n \n\tone", "\tone"),
        (" the answer", "the answer"),
        ("\n\nthe answer\n", "the answer\n"),
    ],
)
def test_an_answers_first_line_keeps_its_indentation(behind, content):
    reply = split(f"<think>a</think>{behind}")
    assert (reply.reasoning, reply.content) == ("a", content)


def test_shifts_of_a_program_are_no_calculators_marks():
    assert CALCULATOR.sub("", "a << b >> c, 48/2=<<48/2=24>>24") == "a << b >> c, 48/2=24"
