"""Letters are counted by script as Unicode names them, and a thought in another script or language is dropped."""

import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels.script_kernels import SCRIPTS, count
from midtrain.filters.language_switch import LanguageSwitch

Make = Callable[..., DocumentBatch]
ENGLISH = "How many apples are there if you have two and buy two more of them at the market?"
CHINESE = "我们先把两个苹果和另外两个苹果加起来，这样一共就有四个苹果，所以答案是四。"
GERMAN = "Zuerst zählen wir die beiden Äpfel und dann die beiden anderen, also sind es zusammen vier Äpfel."


def letters(texts: list[str]) -> np.ndarray:
    data = [text.encode() for text in texts]
    stop = np.cumsum([len(one) for one in data], dtype=np.int64)
    found = np.zeros((len(data), len(SCRIPTS)), np.int64)
    count(np.frombuffer(b"".join(data), np.uint8), stop - [len(one) for one in data], stop, found)
    return found


def test_scripts_are_those_of_the_characters_names() -> None:
    named = {
        "LATIN": "latin", "CYRILLIC": "cyrillic", "HEBREW": "hebrew", "ARABIC": "arabic", "THAI": "thai",
        "HANGUL": "hangul", "HIRAGANA": "kana", "KATAKANA": "kana", "CJK": "han", "DEVANAGARI": "indic",
        "TAMIL": "indic", "BENGALI": "indic", "GEORGIAN": "caucasian", "ARMENIAN": "caucasian",
    }  # fmt: skip
    blocks = [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x64A), (0x671, 0x6D3)]
    blocks += [(0x905, 0x939), (0xB85, 0xBB9), (0xE01, 0xE30), (0x10D0, 0x10F0), (0x531, 0x556), (0x1100, 0x11FF)]
    blocks += [
        (0x1E00, 0x1EFF),
        (0x3041, 0x3096),
        (0x30A1, 0x30FA),
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A3),
        (0x20000, 0x2A6DF),
    ]
    for first, last in blocks:
        points = [point for point in range(first, last + 1) if unicodedata.category(chr(point)).startswith("L")]
        scripts = [named[unicodedata.name(chr(point)).split(" ")[0]] for point in points]
        found = letters([chr(point) for point in points])
        assert [SCRIPTS[place] for place in found.argmax(axis=1)] == scripts
        assert (found.sum(axis=1) == 1).all()


def test_what_is_no_letter_of_a_script_is_not_counted() -> None:
    assert letters(["12 + 34 = 46, $\\{×÷\\}$ αβγΩ ∑∫ 𝒳 😀 、。", ""]).tolist() == [[0] * len(SCRIPTS)] * 2


@pytest.mark.parametrize(
    ("prompt", "thought", "kept"),
    [
        (ENGLISH, "Two and two are four.", True),
        (ENGLISH, CHINESE, False),
        (CHINESE, "Two and two are four.", False),
        (CHINESE, CHINESE, True),
        (ENGLISH, f"{ENGLISH} 四", True),
        (ENGLISH, f"{ENGLISH[:40]} {CHINESE}", False),
        ("12 + 34", CHINESE, True),
        ("12 + 34", f"{CHINESE} so the answer is four", False),
        (ENGLISH, "α + β = γ", True),
        (ENGLISH, None, True),
        (f"{ENGLISH} {CHINESE}", CHINESE, True),
    ],
)
def test_thoughts_keep_to_the_scripts_of_their_prompts(
    make_traces: Make, prompt: str, thought: str | None, kept: bool
) -> None:
    assert LanguageSwitch().decide(make_traces([(prompt, thought, "4")])).keep.tolist() == [kept]


def test_languages_of_one_script_are_told_apart_where_asked(make_traces: Make) -> None:
    batch = make_traces([(ENGLISH, GERMAN, "4"), (ENGLISH, ENGLISH, "4"), (ENGLISH, "Ja, vier.", "4"), None])
    assert LanguageSwitch().decide(batch).keep.all()
    step = LanguageSwitch(identify=True)
    step.check()
    assert step.files
    assert step.memory > 0
    assert step.decide(batch).keep.tolist() == [False, True, True, True]


def test_real_rollouts_slide_into_chinese(real_traces: Make) -> None:
    step = LanguageSwitch()
    rollouts = step.decide(real_traces("math_qwen15b_rollouts", opened=True))
    assert 4 <= (~rollouts.keep).sum() <= 8
    assert step.decide(real_traces("prm800k_steps")).keep.all()
