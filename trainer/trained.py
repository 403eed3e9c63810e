"""A trained model with the shards and the tokenizer that it was trained on: what `midtrain eval` and `generate` open.

The run's own record says where its shards lie, so a checkpoint is all that a person has to name; shards that moved can
be named beside it, and are refused if they are others. Costs one read of the checkpoint.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ConfigError
from ..manifest import NAME as MANIFEST
from ..mixtures import templates
from ..mixtures.built import Built
from ..mixtures.templates import Message
from ..mixtures.tokenizers import Tokenizer
from . import checkpoint, run_folder
from .checkpoint_manifest import Checkpoint
from .evaluate import HeldOutLoss, Prompt, TaskScore, held_out_loss, task_accuracy
from .generate import sample
from .measure import PROBLEM_SEED, template_of
from .model import MoEModel

ROWS_TOKENS = 16_384  # tokens of one forward pass over held-out documents


@dataclass(frozen=True)
class Trained:
    """A model in evaluation mode, its checkpoint, its shards and its tokenizer."""

    model: MoEModel
    checkpoint: Checkpoint
    built: Built
    tokenizer: Tokenizer

    @classmethod
    def open(cls, path: str | Path, shards: str | None = None) -> "Trained":
        """Opens a checkpoint, or a run's folder for its newest.

        Args:
            path: the checkpoint's or the run's folder.
            shards: the built shards; by default where the run's record says they are.

        Raises:
            ConfigError: no checkpoint, no shards, or shards with another tokenizer than the model's.
            RunError: a file was cut or altered.
        """
        found = checkpoint.find(path)
        folder = shards or _shards_of(found.path.resolve().parent.parent)
        built = Built.open(folder)
        if built.tokenizer_hash != found.contents.tokenizer:
            raise ConfigError(
                "the shards' tokenizer is not the one that the model was trained with",
                where=str(folder),
                seen=built.tokenizer_hash,
                expected=f"{found.contents.tokenizer}, as {found.path} records",
                fix="name the right shards: --shards",
            )
        built.check_tokenizer()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = checkpoint.load_model(found, device).eval()
        tokenizer = Tokenizer.open(built.tokenizer_path, built.end_of_document_text)
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
        known = {name: source.held_out_documents for name, source in self.built.sources.items()}
        for name in sources if sources is not None else [name for name, count in known.items() if count]:
            if not known.get(name):
                raise ConfigError(
                    f"nothing was held out of {name}" if name in known else f"no source is called {name}",
                    where=str(self.built.root),
                    expected=", ".join(known),
                    fix="give the source held_out in the mixture and build again" if name in known else "",
                )
            rows = max(ROWS_TOKENS // self.sequence_length, 1)
            with torch.no_grad():
                yield held_out_loss(self.model, self.built.held_out(name), self.sequence_length, rows, source=name)

    def tasks(
        self,
        names: Sequence[str],
        prompt: Prompt,
        samples: int,
        steps: Sequence[int],
        max_new_tokens: int,
        seed: int = PROBLEM_SEED,
    ) -> list[TaskScore]:
        """Exact-match accuracy on problems that belong to evaluation; arguments as of `evaluate.task_accuracy`."""
        template = template_of(self.built)
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
        )

    def reply(
        self,
        text: str,
        *,
        raw: bool,
        prompt: Prompt,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> str:
        """What the model says to a text.

        Args:
            text: a user's message, or with `raw` the beginning of a document that is continued.
            raw: whether the text is continued as it is, without a template.
            prompt: `answer` leaves the model to answer at once, `reasoning` opens its reasoning.
            max_new_tokens: the reply's length is bounded by this.
            temperature: 0 is greedy.
            top_p: the nucleus that tokens are drawn from.
            seed: of the random draws.

        Raises:
            ConfigError: an empty text, or a temperature or top_p out of range.
        """
        if not text.strip():
            raise ConfigError("there is no text to reply to", where="generate")
        if raw:
            ids = self.tokenizer.encode_texts([text]).ids[:-1].tolist()
        else:
            template = template_of(self.built)
            self.tokenizer.check(template)
            rendered = templates.prompt(template, [Message("user", text)], answer_directly=prompt == "answer")
            ids = self.tokenizer.encode_prompt(rendered)
        ends = {self.tokenizer.end_of_document}
        if not raw:
            ends.add(self.tokenizer.special_id(templates.TURN_END))
        with torch.no_grad():
            replies = sample(
                self.model,
                [ids],
                max_new_tokens,
                ends,
                temperature=temperature,
                top_p=top_p,
                generator=torch.Generator().manual_seed(seed),
            )
        return self.tokenizer.decode(replies[0])


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
