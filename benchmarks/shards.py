"""Reading of shards: batches a second beside a plain gather, litdata, mosaicml-streaming and datatrove; first batches.

Real text in a mixture that is built here, read from the page cache by one process in batches of 8 × 4,096. Gathers and
ours run by turns, each through the whole phase, and medians are told; peers run in processes of their own, each in its
fastest fair way (their programs in `peers/` say which), three rounds after one that warms them up.
Costs about three minutes, one of which writes the order of ten trillion tokens, and 1 GB of disk; the installation of
the peers, once, is not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import many_parts
import numpy as np
import orjson
from dedup_programs import PEERS, environment
from gathers import Bare, Plain, Rows, rows_of
from midtrain.mixtures.built import Built
from midtrain.mixtures.windows import Sequences, Want
from midtrain.trainer.shard_dataset import ShardDataset
from rows import Row, heading, show, write

BATCH, LENGTH = 8, 4096
PHASE = "only"
ROUNDS, PASSES = 9, 4
BATCHES = Want(segments=False)
TOKENS = Want(positions=False, segments=False, loss_mask=False)
OF_GATHER, OF_LITDATA, OF_MDS = 0.9, 1.5, 30.0
FIRST_SECONDS, PAPER_SECONDS, RESUME_RATIO = 1.0, 5.0, 1.5
REAL_PARTS, PAPER_PARTS, PAPER_TOKENS = 1000, 10**6, 10**13


def build(data: Path, folder: Path) -> Built:
    """Curates and builds the web text, as a person would."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {
        "name": "web",
        "output": str(folder / "web"),
        "sources": [{"name": "web", "path": str(data / "text/web_small.jsonl.gz"), "format": "jsonl"}],
        "steps": [{"exact_dedup": {"max_loss": None}}],
    }
    tokenizer = {"path": str(data / "tokenizers/gpt2.tokenizer.json"), "end_of_document": "<|endoftext|>"}
    mixture = {
        "name": "web",
        "output": str(folder / "shards"),
        "tokenizer": tokenizer,
        "sources": [{"name": "web", "documents": str(folder / "web")}],
        "phases": [{"name": PHASE, "sequence_length": LENGTH, "weights": {"web": {"epochs": 1}}}],
    }
    for verb, content in (("curate", recipe), ("build", mixture)):
        path = folder / f"{verb}.yaml"
        path.write_bytes(orjson.dumps(content))
        subprocess.run([sys.executable, "-m", "midtrain", verb, str(path)], check=True, capture_output=True)
    return Built.open(folder / "shards")


def whole_batches(built: Built) -> int:
    return built.phases[PHASE].sequences // BATCH * BATCH


def sequences_of(batch: Sequences) -> int:
    return len(batch.tokens)


def rates(contenders: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Median tokens a second of processor time of each contender, run by turns; each returns its number of tokens."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(ROUNDS + 1):
        for name, run in contenders.items():
            started = time.process_time()
            tokens = sum(run() for _ in range(PASSES))
            if number:
                taken[name].append(tokens / (time.process_time() - started))
    return {name: statistics.median(column) for name, column in taken.items()}


def check_equal(built: Built, plain: Plain) -> None:
    """Raises ValueError where a batch of ours is not the plain gather's."""
    for batch in built.batches(PHASE, 0, BATCH, stop=whole_batches(built)):
        plain.again(batch.first_index)
        for name, expected in zip(("tokens", "positions", "loss_mask"), plain.arrays, strict=True):
            if not np.array_equal(getattr(batch, name), expected):
                raise ValueError(f"{name} of the batch at {batch.first_index} differ from the plain gather's")


def reading(built: Built, rows: Rows) -> tuple[list[Row], float]:
    """Ours beside the gathers; and our rate of tokens alone."""
    stop = whole_batches(built)
    plain, bare = Plain(rows, BATCH), Bare(rows, BATCH)
    check_equal(built, plain)

    def ours(want: Want) -> int:
        batches = built.batches(PHASE, 0, BATCH, stop=stop, want=want)
        return sum(map(sequences_of, batches)) * LENGTH  # each is let go before the next is made

    def torch_face() -> int:
        return sum(map(len, ShardDataset(built, PHASE, BATCH, end=stop))) * LENGTH

    def held() -> int:
        tokens = 0
        for batch in built.batches(PHASE, 0, BATCH, stop=stop, want=BATCHES):
            tokens += sequences_of(batch) * LENGTH
        return tokens

    def gather(of: Callable[[int], object]) -> int:
        for first in range(0, stop, BATCH):
            last = of(first)
        del last  # which was held while the next was made, where it is new
        return stop * LENGTH

    found = rates(
        {
            "batches": lambda: ours(BATCHES),
            "plain": lambda: gather(plain.again),
            "held": held,
            "plain held": lambda: gather(plain.anew),
            "tokens": lambda: ours(TOKENS),
            "bare": lambda: gather(bare),
            "all": lambda: ours(Want()),
            "torch": torch_face,
        }
    )
    million = {name: rate / 1e6 for name, rate in found.items()}
    print(f"  {stop:,} sequences of {LENGTH:,} tokens; M tokens/s of one core:")
    print(
        f"  tokens, positions, mask {million['batches']:.0f}; plain gather over the same arrays {million['plain']:.0f}"
    )
    print(
        f"  held while the next is made {million['held']:.0f}; plain gather into new arrays {million['plain held']:.0f}"
    )
    print(f"  tokens alone {million['tokens']:.0f}; numpy's bare gather of tokens {million['bare']:.0f}")
    print(f"  with segments {million['all']:.0f}; torch's tensors with targets {million['torch']:.0f}", flush=True)
    ratio = million["batches"] / million["plain"]
    measured = million["batches"], million["plain"], "M tokens/s", ratio
    return [show(Row("batches, plain gather", *measured, OF_GATHER, ratio >= OF_GATHER))], million["tokens"]


def run(command: Sequence[str | Path]) -> str:
    """The last line that a program tells."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=quiet)
    if ended.returncode:
        raise RuntimeError(f"{command[1]} ended with {ended.returncode}: {ended.stderr[-3000:]}")
    return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ""


def median_rate(told: str) -> float:
    """M tokens/s of the rounds that a peer's program tells."""
    return statistics.median(tokens / seconds for tokens, seconds in json.loads(told)) / 1e6


def peers(flat: Path, folder: Path, ours: float) -> Iterator[Row]:
    """Tokens alone, beside the peers."""
    sizes = [str(LENGTH), str(BATCH)]
    for name, target in (("litdata", OF_LITDATA), ("streaming", OF_MDS)):
        program = [environment(name), PEERS / f"{name}_tokens.py"]
        run([*program, "write", flat, folder / name, LENGTH])
        rate = median_rate(run([*program, "read", folder / name, *sizes]))
        yield show(Row(f"tokens, {name}", ours, rate, "M tokens/s", ours / rate, target, ours / rate >= target))
    (folder / "datatrove").mkdir()
    (folder / "datatrove/web.ds").hardlink_to(flat)
    rate = median_rate(run([sys.executable, PEERS / "datatrove_tokens.py", folder / "datatrove", *sizes]))
    yield show(Row("tokens, datatrove", ours, rate, "M tokens/s", ours / rate, 1.0, ours >= rate))


def first_batch(name: str, root: Path, first: int, target: float) -> Row:
    """Seconds to the first batch of a new process, imports told apart: the median of five."""
    program = [sys.executable, PEERS / "midtrain_first_batch.py", root, many_parts.PHASE, str(first), str(BATCH)]
    told = [json.loads(run(program)) for _ in range(6)][1:]
    seconds = {part: statistics.median(one[part] for one in told) for part in ("imports", "open", "batch")}
    total = seconds["open"] + seconds["batch"]
    print("  " + ", ".join(f"{part} {taken:.3f} s" for part, taken in seconds.items()), flush=True)
    return show(Row(f"first batch, {name}", total, target, "s", total / target, target, total <= target))


def resume(root: Path, last: int) -> Row:
    """Seconds to a first batch at the end of a phase over those at its start, opened anew each time, kernels loaded."""
    taken: dict[int, list[float]] = {0: [], last: []}
    for _ in range(12):
        for first, seconds in taken.items():
            started = time.perf_counter()
            next(Built.open(root).batches(many_parts.PHASE, first, BATCH))
            seconds.append(time.perf_counter() - started)
    start, end = (statistics.median(seconds[2:]) for seconds in taken.values())
    ratio = end / start
    measured = end, start, "s", ratio
    return show(Row("first batch at the end, at the start", *measured, RESUME_RATIO, ratio <= RESUME_RATIO))


def starting(flat: Path, built: Built, folder: Path) -> Iterator[Row]:
    """First batches of mixtures of many parts."""
    (source,) = built.phases[PHASE].source_names
    shards = built.shards(source)
    offsets = np.concatenate([[0], np.cumsum(shards.part_tokens.astype(np.int64))])
    ends = np.concatenate([shards.ends(part).astype(np.int64) + offsets[part] for part in range(len(shards.parts))])
    many_parts.real_parts(folder / "thousand", np.fromfile(flat, np.uint16), ends, REAL_PARTS)
    yield first_batch(f"{REAL_PARTS:,} parts", folder / "thousand", 0, FIRST_SECONDS)
    started = time.perf_counter()
    paper = folder / "paper"
    many_parts.parts_on_paper(paper, PAPER_PARTS, PAPER_TOKENS, LENGTH)
    last = Built.open(paper).phases[many_parts.PHASE].sequences - BATCH
    many_parts.make_parts(paper, [(0, BATCH), (last, last + BATCH)])
    print(f"  {PAPER_TOKENS:.0e} tokens in {last + BATCH:,} sequences: {time.perf_counter() - started:.0f} s to write")
    yield first_batch(f"{PAPER_PARTS:,} parts, start", paper, 0, PAPER_SECONDS)
    yield first_batch(f"{PAPER_PARTS:,} parts, end", paper, last, PAPER_SECONDS)
    yield resume(paper, last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MIDTRAIN_DATA"), help="folder with text/")
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--folder", type=Path, help="where the mixture is built, and found by the next run")
    parser.add_argument("--only", choices=["reading", "peers", "starting"], help="one part of it")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data, or MIDTRAIN_DATA, names the folder of corpora")
    heading()
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built = build(arguments.data, arguments.folder or folder)
        rows = rows_of(built, PHASE, folder / "flat.tokens")
        if arguments.only != "starting":
            told, tokens = reading(built, rows)
            found += told
            if arguments.only != "reading":
                found += peers(folder / "flat.tokens", folder, tokens)
        if arguments.only in (None, "starting"):
            found += starting(folder / "flat.tokens", built, folder)
    write(found, arguments.json)


if __name__ == "__main__":
    main()
