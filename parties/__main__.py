"""`python -m parties`: the command line, and the processes that it starts."""

import sys

from parties.early import loading, quiet


def main() -> None:
    """The command line, or with `--child` a party or dealer of a local run."""
    quiet()
    if sys.argv[1:2] == ["--child"]:
        with loading():
            from parties.children import main as child

        sys.exit(child(sys.argv[2:]))
    with loading():
        from parties.cli import main as command

    command()


if __name__ == "__main__":
    main()
