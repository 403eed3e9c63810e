"""The `midtrain` command as a process: `python -m midtrain` is the same."""

import atexit
import os
import sys

from .cli import main as command

NO_OUTPUT = 120  # as the interpreter ends where its last words cannot be written


def main() -> None:
    """Runs the command line, and ends the process without taking the interpreter down.

    Threads of native libraries (Arrow's drop what they read a moment after it was given) may need the interpreter's
    lock once more. While it is taken down that ends them in the middle of C++, which ends the process by SIGABRT: a
    finished run would be told as a crash. So the process ends before that; what others registered to be done at the
    end is done first, as this is registered before all of it.
    """
    code = 1  # of an exception that nobody expected

    def end() -> None:
        nonlocal code
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:  # a program without a console
                    stream.flush()
            except (OSError, ValueError):
                code = code or NO_OUTPUT
        os._exit(code)

    atexit.register(end)
    try:
        command()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        raise


if __name__ == "__main__":
    main()
