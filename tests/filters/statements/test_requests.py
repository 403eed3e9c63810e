"""What a message asks beside the problem."""

import pytest
from midtrain.filters.statements import stated


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Question: What is 2+2?", "What is 2+2?"),
        ("**Problem 3:** What is 2+2?", "What is 2+2?"),
        ("What is 2+2?\n\nPlease reason step by step, and put your final answer within \\boxed{}.", "What is 2+2?"),
        ("You are a helpful tutor. Solve the following problem carefully.\n\nWhat is 2+2?", "What is 2+2?"),
        ("You are a tutor of 12 children. How old are you?", "You are a tutor of 12 children. How old are you?"),
        ("Think step-by-step.", "Think step-by-step."),
        ("What is \\boxed{4}?", "What is \\boxed{4}?"),
    ],
)
def test_what_asks_for_a_manner_of_answering_is_left_out(message: str, said: str) -> None:
    assert stated(message).strip() == said
