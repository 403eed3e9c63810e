"""Which checkpoints stand in a run's folder, and the one that a person means.

Whoever asks what a run has seen, or where it stands, needs the newest checkpoint's manifest and no tensor: torch is
never imported here. Costs one look into the folder and one small file.
"""

import re
from pathlib import Path

from ...errors import ConfigError, RunError
from ...manifest import NAME as MANIFEST
from . import checkpoint_manifest
from .checkpoint_manifest import Checkpoint

FOLDER = "checkpoints"
_STEP = re.compile(r"step-(\d{8,})")


def is_checkpoint(path: str | Path) -> bool:
    """Whether a path is a checkpoint's own folder, by its name."""
    folder = Path(path)
    return folder.is_dir() and _STEP.fullmatch(folder.resolve().name) is not None


def complete(run_folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folder = run_folder / FOLDER
    found = [path for path in folder.iterdir() if _STEP.fullmatch(path.name)] if folder.is_dir() else []
    whole = [path for path in found if (path / MANIFEST).exists()]
    return sorted(whole, key=lambda path: int(path.name.removeprefix("step-")))


def newest(run_folder: str | Path) -> Path | None:
    """The complete checkpoint of the highest step in a run's folder, None where there is none."""
    whole = complete(Path(run_folder))
    return whole[-1] if whole else None


def find(path: str | Path) -> Checkpoint:
    """The checkpoint that a person names: its folder, or a run's folder for its newest.

    Raises:
        ConfigError: neither is there.
        RunError: its manifest was cut or altered.
    """
    folder = Path(path)
    if is_checkpoint(folder):
        return checkpoint_manifest.read(folder)
    inside = newest(folder)
    if inside is None:
        raise ConfigError(
            "no checkpoint is here",
            where=str(path),
            seen="no complete checkpoint" if folder.exists() else "no such folder",
            expected=f"a run's folder, or one of its {FOLDER}/step-NNNNNNNN",
        )
    try:
        return checkpoint_manifest.read(inside)
    except (FileNotFoundError, RunError):
        if newest(folder) == inside:
            raise
    return find(path)  # the run has dropped it meanwhile, for a newer one
