"""Chain-of-thought records: every way in which thinking is given, and every way in which it cannot be read."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.pipelines.readers.reasoning import row
from midtrain.pipelines.readers.records import Unreadable

QA = {"prompt": "q", "response": "r"}
LISTED = {"messages": "m", "answer": "a"}


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def assistant(record: dict[str, Any], fields: dict[str, str]) -> tuple[str | None, str | None]:
    """Reasoning and content of the last turn."""
    messages = row(record, fields).messages
    assert messages is not None
    assert messages[-1]["role"] == "assistant"
    return messages[-1]["reasoning"], messages[-1]["content"]


class TestMapped:
    def test_fields_become_turns(self):
        record = {"s": "be brief", "q": "1+1?", "t": "one and one", "r": "2", "a": 2, "level": "easy", "id": "x"}
        fields = {"system": "s", "prompt": "q", "reasoning": "t", "response": "r", "answer": "a"}
        found = row(record, fields)
        assert found.messages == [
            {"role": "system", "content": "be brief", "reasoning": None},
            {"role": "user", "content": "1+1?", "reasoning": None},
            {"role": "assistant", "content": "2", "reasoning": "one and one"},
        ]
        assert found.text == "be brief\n\n1+1?\n\none and one\n\n2"
        assert (found.answer, found.id) == ("2", "x")
        assert orjson.loads(found.metadata or "") == {"level": "easy"}

    def test_nothing_beside_the_fields_is_lost(self):
        record = {"q": "1", "r": "2", "uid": "7", "id": "other", "text": "whole", "language": "en"}
        found = row(record, QA | {"id": "uid"})
        assert found.id == "7"
        assert orjson.loads(found.metadata or "") == {"id": "other", "text": "whole", "language": "en"}

    def test_reasoning_alone_is_a_response(self):
        assert assistant({"q": "1", "t": "steps"}, {"prompt": "q", "reasoning": "t"}) == ("steps", "")
        assert assistant({"q": "1", "t": "steps", "r": ""}, QA | {"reasoning": "t"}) == ("steps", "")

    def test_a_response_may_be_a_number(self):
        assert assistant({"q": "1", "r": 42}, QA) == (None, "42")

    @pytest.mark.parametrize(
        ("record", "fields", "error"),
        [
            ({"r": "x"}, {}, "no field q"),
            ({"q": "x"}, {}, "no field r"),
            ({"q": "x", "r": None}, {}, "field r is null, not text"),
            ({"q": "x", "r": ["y", 1]}, {}, "field r is a list, not text"),
            ({"q": "x", "r": {"y": 1}}, {}, "field r is a mapping, not text"),
            ({"q": 5, "r": "y"}, {}, "field q is a number, not text"),
            ({"q": " \n", "r": "y"}, {}, "the prompt is empty"),
            ({"q": "x", "r": " "}, {}, "the assistant's, is empty"),
            ({"q": "x", "r": "<think>\n\n</think>\n"}, {}, "the assistant's, is empty"),
            ({"q": "x", "r": " ", "t": "\n"}, {"reasoning": "t"}, "the assistant's, is empty"),
            ({"q": "x", "r": "y"}, {"reasoning": "t"}, "no field t"),
            ({"q": "x", "r": "y", "t": None}, {"reasoning": "t"}, "field t is null, not text"),
            ({"q": "x", "r": "y"}, {"system": "s"}, "no field s"),
            ({"q": "x", "r": "y"}, {"answer": "a"}, "no field a"),
            ({"q": "x", "r": "y", "a": {"x": 1}}, {"answer": "a"}, "field a is a mapping, not text"),
            ({"q": "x", "r": "y"}, {"id": "uid"}, "no field uid"),
            ({"q": "x", "r": "y"}, {"date": "when"}, "no field when"),
        ],
    )
    def test_what_cannot_be_read(self, record: dict[str, Any], fields: dict[str, str], error: str):
        with pytest.raises(Unreadable, match=error):
            row(record, QA | fields)


class TestThinkingTags:
    @pytest.mark.parametrize(
        ("response", "reasoning", "content"),
        [
            ("<think>steps</think>answer", "steps", "answer"),
            ("<think>\nsteps\n\nmore\n</think>\n\nanswer\n", "steps\n\nmore", "answer\n"),
            (" \n<think>steps</think>  answer", "steps", "answer"),
            ("<think></think>answer", None, "answer"),
            ("<think> \n</think>answer", None, "answer"),
            ("<think>steps</think>", "steps", ""),
            ("no tags at all", None, "no tags at all"),
        ],
    )
    def test_one_pair_at_the_start_is_taken_out(self, response: str, reasoning: str | None, content: str):
        assert assistant({"q": "x", "r": response}, QA) == (reasoning, content)

    @pytest.mark.parametrize("response", ["<think>x</think>y", "x</think>y", "<think>x"])
    def test_tags_beside_a_reasoning_that_says_something_else_cannot_be_read(self, response: str):
        with pytest.raises(Unreadable, match="thinking tags beside a reasoning that says something else"):
            row({"q": "x", "t": "steps", "r": response}, QA | {"reasoning": "t"})

    def test_a_reasoning_with_an_answer_of_its_own_cannot_be_read(self):
        with pytest.raises(Unreadable, match="cannot be told from those of a thought"):
            row({"q": "x", "t": "<think>x</think>y", "r": "answer"}, QA | {"reasoning": "t"})

    def test_a_question_about_tags_is_left_alone(self):
        found = row({"q": "What does <think> mean?", "r": "A tag."}, QA)
        assert found.messages is not None
        assert found.messages[0]["content"] == "What does <think> mean?"

    @given(st.text(max_size=20).filter(lambda text: "think>" not in text), st.text(min_size=1, max_size=20))
    def test_a_field_and_tags_give_the_same_form(self, thought: str, answer: str):
        answer = answer.replace("think>", "").lstrip() or "y"
        tagged = assistant({"q": "x", "r": f"<think>\n{thought}\n</think>\n\n{answer}"}, QA)
        assert tagged == assistant({"q": "x", "t": thought, "r": answer}, QA | {"reasoning": "t"})


class TestMessages:
    def test_turns_are_taken_in_their_order(self):
        turns = [turn("system", "s"), turn("user", "1"), turn("assistant", "<think>t</think>2"), turn("tool", "3")]
        found = row({"m": turns, "a": "2"}, LISTED)
        assert [(one["role"], one["content"], one["reasoning"]) for one in found.messages or []] == [
            ("system", "s", None),
            ("user", "1", None),
            ("assistant", "2", "t"),
            ("tool", "3", None),
        ]
        assert found.text == "s\n\n1\n\nt\n\n2\n\n3"
        assert found.metadata is None

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content", "thinking"])
    def test_reasoning_may_stand_beside_the_content(self, key: str):
        turns = [turn("user", "1"), turn("assistant", "2", **{key: "steps"})]
        assert assistant({"m": turns, "a": ""}, LISTED) == ("steps", "2")

    def test_the_same_reasoning_twice_is_one(self):
        turns = [turn("user", "1"), turn("assistant", "2", reasoning="t", reasoning_content="t", thinking=None)]
        assert assistant({"m": turns, "a": ""}, LISTED) == ("t", "2")

    @pytest.mark.parametrize("content", [{"content": None}, {}])
    def test_a_reply_that_ended_in_its_thought_has_no_content(self, content: dict[str, None]):
        turns = [turn("user", "1"), {"role": "assistant", **content, "reasoning_content": "steps"}]
        found = row({"m": turns, "a": ""}, LISTED)
        assert found.messages is not None
        assert found.messages[-1] == {"role": "assistant", "content": "", "reasoning": "steps"}
        assert assistant({"q": "1", "t": "steps", "r": None}, QA | {"reasoning": "t"}) == ("steps", "")
        with pytest.raises(Unreadable, match="field r is null"):
            row({"q": "1", "t": " ", "r": None}, QA | {"reasoning": "t"})

    def test_published_names_of_roles_are_ours(self):
        turns = [
            turn("developer", "s"),
            turn("human", "1"),
            turn("model", "2"),
            turn("observation", "3"),
            turn("ai", "4"),
        ]
        found = row({"m": turns, "a": ""}, LISTED).messages
        assert [one["role"] for one in found or []] == ["developer", "user", "assistant", "tool", "assistant"]

    def test_a_system_prompt_may_stand_in_a_field_of_its_own(self):
        turns = [{"from": "human", "value": "1"}, {"from": "gpt", "value": "2"}]
        fields = {"messages": "m", "system": "s"}
        found = row({"m": turns, "s": "be brief", "n": 1}, fields)
        assert [one["content"] for one in found.messages or []] == ["be brief", "1", "2"]
        assert found.metadata == '{"n":1}'
        assert len(row({"m": turns, "s": None}, fields).messages or []) == 2
        twice = [{"from": "system", "value": "be brief"}, *turns]
        assert len(row({"m": twice, "s": "be brief"}, fields).messages or []) == 3
        with pytest.raises(Unreadable, match="both the system's"):
            row({"m": [{"from": "system", "value": "x"}, *turns], "s": "be brief"}, fields)

    def test_what_a_turn_holds_beside_is_kept_in_the_metadata(self):
        turns = [turn("user", "1", name="Ann", empty=None), turn("assistant", "2", weight=0, tool_calls=[])]
        found = row({"m": turns, "a": "2", "id": "7"}, LISTED)
        assert orjson.loads(found.metadata or "") == {"m": [{"name": "Ann"}, {"weight": 0, "tool_calls": []}]}
        assert found.id == "7"
        shared = [{"from": "gpt", "value": "2", "content": "x"}]
        assert row({"m": shared, "a": ""}, LISTED).metadata == '{"m":[{"content":"x"}]}'

    @pytest.mark.parametrize(
        ("turns", "error"),
        [
            (None, "field m is null, not a list of turns"),
            ([], "field m is an empty list: the conversation has no turns"),
            ("text", "field m is text, not a list of turns"),
            (["text"], "turn 0 has no role"),
            ([{"content": "x"}], "turn 0 has no role among system, developer, user, assistant, tool"),
            ([turn("user", "1"), turn("oracle", "2")], "turn 1 has no role"),
            ([{"from": "human", "value": "1"}, {"from": "function_call", "value": "f()"}], "turn 1 calls a tool"),
            (
                [turn("user", [{"type": "image_url", "image_url": "x"}]), turn("assistant", "2")],
                "part of type image_url",
            ),
            ([turn("assistant", [{"type": "tool_use", "name": "f"}])], "turn 0 calls a tool"),
            (
                [turn("assistant", [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}])],
                "turn 0 has a thought between parts of its answer",
            ),
            ([turn(["user"], "1")], "turn 0 has no role"),  # type: ignore[arg-type]
            ([turn("user", "1")], "no assistant turn"),
            ([turn("user", "1"), {"role": "assistant"}], "no field content"),
            ([turn("user", "1"), {"role": "assistant", "content": None}], "field content is null"),
            ([turn("user", "1"), turn("assistant", "")], "turn 1, the assistant's, is empty"),
            ([turn("assistant", " "), turn("assistant", "2")], "turn 0, the assistant's, is empty"),
            ([turn("user", "1"), turn("assistant", "2", thinking=["x"])], "field thinking is a list"),
            ([turn("user", "1"), turn("assistant", "2", thinking="x", reasoning="y")], "two different reasonings"),
            ([turn("user", "1", reasoning="x"), turn("assistant", "2")], "turn 0 has reasoning and is not"),
            ([turn("user", "1"), turn("assistant", "2", tool_calls=[{"id": 1}])], "turn 1 calls a tool"),
            ([turn("user", "1"), turn("assistant", "a</think>b</think>c")], "thinking tags"),
            ([turn("assistant", "<think>a</think>b", thinking="c")], "thinking tags"),
        ],
    )
    def test_what_cannot_be_read(self, turns: object, error: str):
        with pytest.raises(Unreadable, match=error):
            row({"m": turns, "a": "2"}, LISTED)

    def test_a_missing_list_is_said(self):
        with pytest.raises(Unreadable, match="field m is null"):
            row({"a": "2"}, LISTED)


def test_a_reasoning_that_is_there_and_empty_is_no_thought_that_was_cut_off():
    fields = QA | {"reasoning": "t"}
    found = row({"q": "x", "t": "", "r": "4"}, fields, opened=True).messages
    assert found is not None
    assert found[1] == {"role": "assistant", "content": "4", "reasoning": None}
    cut_off = row({"q": "x", "r": "4"}, QA, opened=True)
    assert cut_off.messages is not None
    assert cut_off.messages[1] == {"role": "assistant", "content": "", "reasoning": "4"}
    assert cut_off.repairs == ("unclosed_thought",)


class TestRepairs:
    def test_they_are_named_in_the_metadata(self):
        found = row({"q": "x", "r": "steps</think>4", "n": 1}, QA)
        assert orjson.loads(found.metadata or "") == {"n": 1, "repairs": ["orphan_closer"]}
        assert found.repairs == ("orphan_closer",)

    def test_a_field_of_that_name_is_not_written_over(self):
        assert row({"q": "x", "r": "4", "repairs": 2}, QA).metadata == '{"repairs":2}'
        with pytest.raises(Unreadable, match="own field repairs"):
            row({"q": "x", "r": "steps</think>4", "repairs": 2}, QA)

    def test_calculator_marks_go_where_the_recipe_asks(self):
        record = {"q": "x <<1>>", "t": "48/2 = <<48/2=24>>24 and 1 << 2, <<a", "r": "24"}
        fields = QA | {"reasoning": "t"}
        assert assistant(record, fields)[0] == record["t"]
        found = row(record, fields, "remove")
        assert found.messages is not None
        assert found.messages[0]["content"] == "x <<1>>"
        assert found.messages[1]["reasoning"] == "48/2 = 24 and 1 << 2, <<a"
        assert found.repairs == ("calculator_marks",)


class TestAnswers:
    @pytest.mark.parametrize(
        ("reply", "mark", "answer"),
        [
            ("so\n#### 72", "####", "72"),
            ("#### 1\nno:\n####  1,000 apples \n", "####", "1,000 apples"),
            (r"so \boxed{60}.", r"\boxed", "60"),
            (r"first \boxed{1}, then $\boxed{\frac{1}{2}}$", r"\boxed", r"\frac{1}{2}"),
            (r"a set \boxed{\{1, 2\}}", r"\boxed", r"\{1, 2\}"),
            (r"\boxed 5", r"\boxed", "5"),
            (r"\boxed{7} and an open \boxed{8", r"\boxed", "7"),
            ("x <answer> 5 </answer> y", "<answer>", "5"),
        ],
    )
    def test_a_mark_says_where_the_answer_stands(self, reply: str, mark: str, answer: str):
        found = row({"q": "x", "r": reply}, QA | {"answer": mark})
        assert found.answer == answer
        assert found.messages is not None
        assert found.messages[1]["content"] == reply

    @pytest.mark.parametrize("mark", ["####", r"\boxed", "<answer>"])
    def test_no_answer_is_guessed_at(self, mark: str):
        with pytest.raises(Unreadable, match="no answer is marked by"):
            row({"q": "x", "r": "the answer is 7"}, QA | {"answer": mark})

    def test_a_field_of_that_name_goes_before_the_mark(self):
        assert row({"q": "x", "r": "#### 5", "####": 6}, QA | {"answer": "####"}).answer == "6"

    def test_the_steps_of_gsm8k_are_a_thought_and_its_answer_the_reply(self):
        found = row({"question": "x", "answer": "48/2 = <<48/2=24>>24\n#### 24"})
        assert found.layout == "gsm8k"
        assert found.answer == "24"
        assert found.messages is not None
        assert found.messages[1] == {"role": "assistant", "content": "24", "reasoning": "48/2 = <<48/2=24>>24"}
        assert found.repairs == ("answer_mark",)


class TestTranscripts:
    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("no conversation", "neither a conversation nor a reply with a thought"),
            ("<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n4", "a turn that is not closed"),
            ("<|im_start|>user\nx<|im_start|>assistant\n4<|im_end|>", "a turn that is not closed"),
            ("<|im_start|>user\nx<|im_end|>\n", "no assistant turn"),
            (
                "<|start|>user<|message|>x<|end|>and<|start|>assistant<|channel|>final<|message|>4",
                "text outside of turns",
            ),
        ],
    )
    def test_what_cannot_be_read(self, text: str, error: str):
        with pytest.raises(Unreadable, match=error):
            row({"t": text}, {"transcript": "t"})

    def test_a_reply_with_its_thought_is_a_turn(self):
        found = row({"t": "<think>a</think>b", "id": 3}, {"transcript": "t"})
        assert found.messages == [{"role": "assistant", "content": "b", "reasoning": "a"}]
        assert found.id == "3"


def test_records_are_read_into_batches_with_their_turns(reading):
    lines = [{"q": "1+1?", "r": "<think>add</think>2"}, {"q": "x", "r": "y <think>z"}, {"q": "2+2?", "r": "4"}]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    documents, aside = reading("a.jsonl.gz", content, format="reasoning", fields=QA)
    assert [document["messages"][1]["reasoning"] for document in documents] == ["add", None]
    assert [document["text"] for document in documents] == ["1+1?\n\nadd\n\n2", "2+2?\n\n4"]
    assert [place for place, _ in aside] == [f"a.jsonl.gz, byte {len(json.dumps(lines[0])) + 1}"]
