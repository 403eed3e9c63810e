"""The two errors that a person sees: a wrong configuration and a failed run.

Each says what is wrong, where, what was seen against what was expected, and how to fix it, so that the command line can
print it without a traceback. Costs nothing: the module imports nothing.
"""


class MidtrainError(Exception):
    """An error whose text is meant for the person who started the command.

    Args:
        what: one sentence saying what is wrong.
        where: file, file:line, stage, document or tensor that it was found in.
        seen: the value found.
        expected: the values that would have been right.
        fix: what to do about it: a command, an option, a key.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str = "", seen: object = None, expected: object = None, fix: str = ""
    ) -> None:
        self.what = what
        self.where = where
        self.seen = seen
        self.expected = expected
        self.fix = fix
        super().__init__(self.render())

    def render(self) -> str:
        """The error as lines: `where: what`, then seen, expected and fix where they are known."""
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.seen is not None:
            lines.append(f"  seen:     {self.seen}")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  fix:      {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and workers raise across processes.
        return _rebuild, (type(self), self.what, self.where, self.seen, self.expected, self.fix)


class ConfigError(MidtrainError):
    """A configuration, an option or an input that cannot be right: nothing was started. Exit code 2."""

    exit_code = 2


class RunError(MidtrainError):
    """A run that had to stop, because going on would lose or falsify data. Exit code 1."""


def _rebuild(
    kind: type[MidtrainError], what: str, where: str, seen: object, expected: object, fix: str
) -> MidtrainError:
    return kind(what, where=where, seen=seen, expected=expected, fix=fix)


def missing_extra(package: str, extra: str, why: str) -> ConfigError:
    """The error for an optional dependency that is not installed: the exact command is the fix."""
    return ConfigError(
        f"{why} needs the package {package}, which is not installed", fix=f"pip install 'midtrain[{extra}]'"
    )
