"""A trained model with the shards and the tokenizer that it was trained on: what `midtrain eval` and `generate` open.

The run's own record says where its shards lie, so a checkpoint is all that a person has to name; shards that moved can
be named beside it, and are refused if they are others. Costs one read of the checkpoint.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import ConfigError, RunError
from ..manifest import NAME as MANIFEST
from ..mixtures.built import Built
from ..mixtures.templates import Message
from ..mixtures.tokenizers import Tokenizer
from . import run_folder
from .checkpoints import checkpoint, checkpoint_folder
from .checkpoints.checkpoint_manifest import Checkpoint
from .evaluation import benchmark_score
from .evaluation.benchmark_score import BenchmarkScore, Manner
from .evaluation.benchmarks import Benchmark
from .evaluation.evaluate import HeldOutLoss, Prompt, TaskScore, held_out_loss, task_accuracy
from .evaluation.generate import StopTexts, generate
from .evaluation.measure import PROBLEM_SEED, template_of
from .evaluation.sampling import GREEDY, Sampling
from .exchange import imported
from .models.model import MoEModel
from .out_of_memory import naming

ROWS_TOKENS = 16_384  # tokens of one forward pass over held-out documents
ROW = 4_096  # of them in a row; the sequences of a published model may be far longer than any document
_DOCUMENT = "take a device with more memory, or evaluate on one without a card (CUDA_VISIBLE_DEVICES=)"
_REPLIES = "lower --batch-size, --max-new-tokens or --n, or take a device with more memory"
_REPLY = "lower --max-new-tokens, shorten the text, or take a device with more memory"


@dataclass(frozen=True)
class Trained:
    """A model in evaluation mode, its checkpoint, its shards and its tokenizer; an imported model has no shards."""

    model: MoEModel
    checkpoint: Checkpoint
    built: Built | None
    tokenizer: Tokenizer

    @classmethod
    def open(cls, path: str | Path, shards: str | None = None) -> "Trained":
        """Opens a checkpoint, or a run's folder for its newest.

        Args:
            path: the checkpoint's or the run's folder.
            shards: the built shards; by default where the run's record says they are. An imported model needs none,
                but for documents held out of them.

        Raises:
            ConfigError: no checkpoint, no shards, or shards with another tokenizer than the model's.
            RunError: a file was cut or altered.
        """
        found = checkpoint_folder.find(path)
        try:
            return cls._of(found, shards)
        except RunError:
            if (found.path / MANIFEST).exists():
                raise
        if Path(path).resolve() == found.path.resolve():
            fix = "name the run, or another checkpoint; the run's checkpoint.keep says how many stay"
            raise RunError("the run has dropped the checkpoint meanwhile", where=str(path), fix=fix)
        return cls.open(path, shards)  # its run dropped it for a newer one

    @classmethod
    def _of(cls, found: Checkpoint, shards: str | None) -> "Trained":
        run = found.path.resolve().parent.parent
        record = imported.read(run) if shards is None else None
        built: Built | None = None
        if record is not None:
            tokenizer = imported.open_tokenizer(run, record)
            _check_tokenizer(found, "the tokenizer", tokenizer.hash, tokenizer.path, "import the model again")
        else:
            built = Built.open(shards or _shards_of(run))
            fix = "name the right shards: --shards"
            _check_tokenizer(found, "the shards' tokenizer", built.tokenizer_hash, built.root, fix)
            tokenizer = built.open_tokenizer()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = checkpoint.load_model(found, device).eval()
        return cls(model, found, built, tokenizer)

    @property
    def sequence_length(self) -> int:
        """Tokens of a sequence in the phase that the checkpoint was written in."""
        return self.checkpoint.contents.history[-1].sequence_length

    def held_out(self, sources: Sequence[str] | None = None) -> Iterator[HeldOutLoss]:
        """Loss and bits per byte of the named sources, or of all that hold documents out.

        Raises:
            ConfigError: no such source, or nothing was held out of it.
        """
        if self.built is None:
            raise ConfigError(
                "an imported model has no shards, so nothing says which documents are held out",
                where=str(self.checkpoint.path),
                fix="name shards that were built with its tokenizer: --shards FOLDER",
            )
        known = {name: source.held_out_documents for name, source in self.built.sources.items()}
        for name in sources if sources is not None else [name for name, count in known.items() if count]:
            if not known.get(name):
                raise ConfigError(
                    f"nothing was held out of {name}" if name in known else f"no source is called {name}",
                    where=str(self.built.root),
                    expected=", ".join(known),
                    fix="give the source held_out in the mixture and build again" if name in known else "",
                )
            length, documents = self.sequence_length, self.built.held_out(name)
            row = min(length, ROW)
            with torch.no_grad(), naming("the held-out loss", name, _DOCUMENT):
                found = held_out_loss(self.model, documents, length, ROWS_TOKENS // row, source=name, row=row)
            yield found

    def tasks(
        self,
        names: Sequence[str],
        prompt: Prompt,
        samples: int,
        steps: Sequence[int],
        max_new_tokens: int,
        seed: int = PROBLEM_SEED,
        sampling: Sampling = GREEDY,
        ks: Sequence[int] = (1,),
        batch_size: int = 64,
    ) -> list[TaskScore]:
        """Exact-match accuracy on problems that belong to evaluation; arguments as of `evaluate.task_accuracy`."""
        template = template_of(self.built)
        with naming("the replies to problems", ", ".join(names), _REPLIES):
            return task_accuracy(
                self.model,
                self.tokenizer,
                names,
                prompt,
                samples,
                steps,
                seed,
                template=template,
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                ks=ks,
                batch_size=batch_size,
            )

    def benchmark(self, benchmark: Benchmark, manner: Manner) -> BenchmarkScore:
        """The score on a benchmark; arguments as of `benchmark_score.score`, in the template of the shards."""
        fix = _DOCUMENT if benchmark.is_choice else _REPLIES
        with torch.no_grad(), naming("the benchmark", benchmark.name, fix):
            return benchmark_score.score(self.model, self.tokenizer, benchmark, self.manner(manner))

    def manner(self, manner: Manner) -> Manner:
        """The same with the template of the shards."""
        return replace(manner, template=template_of(self.built))

    def reply(
        self,
        text: str,
        *,
        raw: bool,
        prompt: Prompt,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stops: Sequence[str] = (),
    ) -> str:
        """What the model says to a text.

        Args:
            text: a user's message, or with `raw` the beginning of a document that is continued.
            raw: whether the text is continued as it is, without a template.
            prompt: `answer` leaves the model to answer at once, `reasoning` opens its reasoning.
            max_new_tokens: the reply's length is bounded by this.
            sampling: how tokens are drawn; one reply.
            stops: strings before which the reply ends.

        Raises:
            ConfigError: an empty text or stop.
        """
        if not text.strip():
            raise ConfigError("there is no text to reply to", where="generate")
        if not all(stops):
            raise ConfigError("a stop without a character would end every reply", where="generate")
        turn_ends: tuple[str, ...] = ()
        if raw:
            ids = self.tokenizer.encode_texts([text]).ids[:-1].tolist()
        else:
            template = self.tokenizer.check(template_of(self.built))
            rendered = template.prompt([Message("user", text)], answer_directly=prompt == "answer")
            ids = self.tokenizer.encode_prompt(rendered)
            turn_ends = template.turn_ends
        ends = {self.tokenizer.end_of_document, *map(self.tokenizer.special_id, turn_ends)}
        ended = StopTexts(self.tokenizer, stops) if stops else None
        with naming(f"{len(ids):,} tokens and a reply", "generate", _REPLY):
            (reply,) = generate(self.model, [ids], max_new_tokens, ends, sampling=sampling, ended=ended)
        text = self.tokenizer.decode(reply, continued=True)
        return text if ended is None else ended.cut(text)


def _check_tokenizer(found: Checkpoint, what: str, seen: str, where: str | Path, fix: str) -> None:
    """ConfigError where a tokenizer is not the checkpoint's."""
    if seen != found.contents.tokenizer:
        raise ConfigError(
            f"{what} is not the one that the model was trained with",
            where=str(where),
            seen=seen,
            expected=f"{found.contents.tokenizer}, as {found.path} records",
            fix=fix,
        )


def _shards_of(run: Path) -> str:
    """Where a run's record says that its shards are; they may have moved, or the path may be relative to elsewhere."""
    config = run / run_folder.CONFIG
    fix = "name the shards that the model was trained on: --shards FOLDER"
    if not config.exists():
        raise ConfigError(
            "the checkpoint lies in no run's folder, so nothing says where its shards are", where=str(config), fix=fix
        )
    shards = run_folder.stored(run).shards
    if not (Path(shards) / MANIFEST).exists():
        raise ConfigError("the run's shards are not where it found them", where=str(config), seen=shards, fix=fix)
    return shards
