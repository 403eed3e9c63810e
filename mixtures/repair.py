"""What to do about a damaged file of a built mixture: the smallest part of it that is removed and made anew.

Whoever meets the damage is often a reader that knows a folder and no more, and "build again" makes nothing anew where
all manifests stand; so the output's own manifest is asked. Costs a read of it, where there is an error to tell.
"""

from pathlib import Path

from ..errors import RunError
from ..manifest import Manifest, unit_of


def mending(root: Path, path: str) -> str:
    """What brings back a file of an output.

    Args:
        root: the output.
        path: the file's, relative to it.
    """
    try:
        result = Manifest.find(root)
    except RunError:
        result = None
    if result is not None and result.stage == "build":
        return result.mending(root, path)
    return f"remove {root / unit_of(path)} and run midtrain build again: what is whole is kept"


def mending_of(file: Path) -> str:
    """The same for a file of a stage, `OUT/tokens/web-0123456789abcdef/parts`, of which the output is not known."""
    root = file.parents[2] if len(file.parents) > 2 else file.parent
    return mending(root, str(file.relative_to(root)))
