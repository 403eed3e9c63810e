"""A full training step on the CPU beside transformers' Zaya of the same size, in the same process and by turns.

Hidden 256, 6 blocks, 8 experts of 256, 4 query and 2 key heads of 64, router 64, vocabulary 8,192 (the order of the
demo's); 8 sequences of 512 tokens, two threads, float32. Tokens are drawn with Zipf's frequencies, one document a row,
since transformers mixes documents that share one. A step is loss, backward, clipping at 1, AdamW (fused in both) and,
in ours, bias balancing and the step's report. Both start from the same weights, and the first losses have to agree.
The peer takes the fastest of its experts and attention implementations, found by a trial; medians of seven steps.
Two clocks: seconds that pass, the target's, and seconds of processors, which hold on a busy machine too.
Costs about a minute and a half.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from midtrain.mixtures.windows import Sequences
from midtrain.trainer.batch import Batch, to_batch
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.optimizers.balancing import Balancer
from midtrain.trainer.optimizers.optimizer import Optimizer
from midtrain.trainer.optimizers.settings import OptimizerConfig
from midtrain.trainer.step import train_step
from rows import Row, heading, show, write

ROWS, LENGTH, THREADS = 8, 512, 2
TRIALS, STEPS = 3, 7
RATE, DECAY, CLIP = 1e-4, 0.1, 1.0
BETAS = (0.9, 0.95)
DOCUMENT = 128
TARGET = 1.4
CONFIG = ModelConfig(
    vocab_size=8192,
    hidden_size=256,
    num_layers=6,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    num_experts=8,
    expert_size=256,
    router_size=64,
)
Step = Callable[[], float]
Seconds = tuple[float, float]


def batch_of(document: int) -> Batch:
    """Random tokens with Zipf's frequencies, in documents of so many tokens."""
    generator = np.random.default_rng(1)
    weights = 1.0 / np.arange(1, CONFIG.vocab_size + 1)
    tokens = generator.choice(CONFIG.vocab_size, (ROWS, LENGTH), p=weights / weights.sum())
    places = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
    rest = np.ones((ROWS, LENGTH), np.bool_), np.zeros(ROWS, np.int32), 0
    sequences = Sequences(tokens.astype(np.int64), places % document, places // document, *rest)
    return to_batch(sequences)


def ours(weights: dict[str, torch.Tensor], batch: Batch, optimizer: str = "adamw", bf16: bool = False) -> Step:
    """Our step; gives the loss before it."""
    model = MoEModel(CONFIG)
    model.load_state_dict(weights)
    settings = OptimizerConfig(name=optimizer, lr=RATE, weight_decay=DECAY, betas=BETAS, clip=CLIP)
    moved, balancer = Optimizer(model, settings), Balancer(model, settings.balancing)

    def step() -> float:
        return train_step(model, moved, balancer, batch, micro_sequences=ROWS, scale=1.0, bf16=bf16).loss

    return step


def peer_model(weights: dict[str, torch.Tensor], experts: str, attention: str) -> torch.nn.Module:
    """transformers' model with our weights."""
    rope = {"rope_type": "default", "rope_theta": CONFIG.rope_theta, "partial_rotary_factor": 0.5}
    model = transformers.ZayaForCausalLM(
        transformers.ZayaConfig(
            vocab_size=CONFIG.vocab_size,
            hidden_size=CONFIG.hidden_size,
            num_hidden_layers=CONFIG.num_layers,
            num_attention_heads=CONFIG.num_heads,
            num_key_value_heads=CONFIG.num_kv_heads,
            head_dim=CONFIG.head_dim,
            num_experts=CONFIG.num_experts,
            moe_intermediate_size=CONFIG.expert_size,
            router_hidden_size=CONFIG.router_size,
            rms_norm_eps=CONFIG.norm_eps,
            rope_parameters={"hybrid": rope},
            layer_types=["hybrid"] * CONFIG.num_layers,
            attn_implementation=attention,
            experts_implementation=experts,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).train()
    model.load_state_dict({f"model.{name}": tensor for name, tensor in weights.items()}, strict=False)
    model.tie_weights()
    return model


def peer(weights: dict[str, torch.Tensor], batch: Batch, experts: str, attention: str, compiled: bool = False) -> Step:
    """transformers' step with its own loss; gives the loss before it."""
    model = peer_model(weights, experts, attention)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, fused=True)
    called = torch.compile(model) if compiled else model
    tokens_BT = batch.tokens_BT

    def step() -> float:
        loss = called(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def by_turns(steps: dict[str, Step], rounds: int) -> dict[str, Seconds]:
    """Median seconds of each step, by the wall and of processors, after two that warm it up."""
    taken: dict[str, list[Seconds]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            step()
            if number > 1:
                taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {
        name: (statistics.median(wall for wall, _ in column), statistics.median(user for _, user in column))
        for name, column in taken.items()
    }


def fastest(weights: dict[str, torch.Tensor], batch: Batch) -> tuple[str, str]:
    """The peer's experts and attention implementations whose step takes the least of the processors."""
    kinds = [(experts, attention) for experts in ("eager", "grouped_mm") for attention in ("sdpa", "eager")]
    seconds = by_turns({", ".join(kind): peer(weights, batch, *kind) for kind in kinds}, TRIALS)
    for name, (wall, processors) in seconds.items():
        print(f"  transformers, {name:20} {wall:6.3f} s, of processors {processors:.3f} s", flush=True)
    copied = ROWS * LENGTH * CONFIG.num_layers * 3 * CONFIG.expert_size * CONFIG.hidden_size * 4
    print(
        f"  transformers, batched_mm: not tried, it copies {copied / 1e9:.0f} GB of weights, an expert's for each token"
    )
    return min(kinds, key=lambda kind: seconds[", ".join(kind)][1])


def compare(name: str, mine: Seconds, theirs: Seconds, target: float) -> Iterator[Row]:
    """The rows of one contender, by both clocks."""
    for clock, own, other in zip(("wall", "processors"), mine, theirs, strict=True):
        ratio = other / own
        yield show(Row(f"{name}, {clock}", own, other, "s a step", ratio, target, ratio >= target))


def measure(only: str | None, compiled: bool) -> Iterator[Row]:
    """All rows."""
    torch.manual_seed(1)
    weights = MoEModel(CONFIG).state_dict()
    batch, packed = batch_of(LENGTH), batch_of(DOCUMENT)
    experts, attention = ("grouped_mm", "sdpa") if only == "step" else fastest(weights, batch)
    best = f"transformers, {experts}, {attention}"
    steps = {best: peer(weights, batch, experts, attention), "AdamW": ours(weights, batch)}
    first = {name: step() for name, step in steps.items()}
    if abs(first[best] - first["AdamW"]) > 1e-4:
        raise ValueError(f"the first losses differ, so the models do: {first}")
    if only != "step":
        steps["AdamW, packed documents"] = ours(weights, packed)
        steps["Muon"] = ours(weights, batch, optimizer="muon")
        steps["AdamW, bfloat16 products"] = ours(weights, batch, bf16=True)
    found = by_turns(steps, STEPS)
    for name in steps:
        if name != best:
            yield from compare(f"step, {name}", found[name], found[best], TARGET if name == "AdamW" else 0.0)
    if compiled:
        yield from compiled_peer(weights, batch, experts, attention, found[best])


def compiled_peer(
    weights: dict[str, torch.Tensor], batch: Batch, experts: str, attention: str, plain: Seconds
) -> Iterator[Row]:
    """The peer under torch.compile beside itself, for information; no row where it cannot be compiled."""
    started = time.perf_counter()
    try:
        step = peer(weights, batch, experts, attention, compiled=True)
        step()
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        print(f"  transformers under torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
        return
    print(f"  transformers under torch.compile: first step {time.perf_counter() - started:.0f} s", flush=True)
    yield from compare("transformers compiled", by_turns({"": step}, TRIALS)[""], plain, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--only", choices=["step"], help="the row of the target alone, peer grouped_mm and sdpa")
    parser.add_argument("--compiled", action="store_true", help="also the peer under torch.compile: minutes more")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {THREADS} threads")
    heading()
    write(list(measure(arguments.only, arguments.compiled)), arguments.json)


if __name__ == "__main__":
    main()
