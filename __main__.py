"""`python -m midtrain` is the `midtrain` command."""

from .cli import main

if __name__ == "__main__":
    main()
