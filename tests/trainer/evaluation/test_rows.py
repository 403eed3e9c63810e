"""How much of a card a batch's keys and values may take, told by faked counts."""

import pytest
import torch
from midtrain.errors import RunError
from midtrain.trainer.evaluation import rows
from midtrain.trainer.models.model import MoEModel

GIB = 1 << 30


def card(monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, allocated: int) -> torch.device:
    device = torch.device("cuda", 0)

    def asked(value: object) -> object:
        def count(which: torch.device) -> object:
            assert which == device
            return value

        return count

    monkeypatch.setattr(torch.cuda, "mem_get_info", asked((free, 80 * GIB)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", asked(reserved))
    monkeypatch.setattr(torch.cuda, "memory_allocated", asked(allocated))
    return device


def test_what_torch_holds_and_does_not_use_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a step of training the driver sees a full card."""
    assert rows.cache_bound(card(monkeypatch, 2 * GIB, 70 * GIB, 10 * GIB)) == 31 * GIB
    assert rows.cache_bound(card(monkeypatch, 60 * GIB, 10 * GIB, 10 * GIB)) == 30 * GIB
    assert rows.cache_bound(torch.device("cpu")) == rows.CPU_CACHE_BYTES


def test_rows_are_as_many_as_the_bound_holds(small_model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_model.config
    a_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 4
    device = card(monkeypatch, 0, 2 * 100 * a_token, 0)
    found = rows.cache_bound(device)
    monkeypatch.setattr(rows, "cache_bound", lambda device: found)
    assert rows.rows_that_fit(small_model, 0, 15, 5, 1) == 5
    with pytest.raises(RunError, match="at most 100 tokens in all"):
        rows.rows_that_fit(small_model, 0, 96, 5, 1)
