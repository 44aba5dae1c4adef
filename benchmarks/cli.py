"""What the commands of this package have in common: one-line errors, and arguments of the right kind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from pydantic import ValidationError

from benchmarks.errors import BenchmarkError


class Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong in one line, and leaves the usage to ``--help``."""

    def error(self, message: str) -> NoReturn:
        """See :meth:`argparse.ArgumentParser.error`."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def number(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def add_setting(parser: argparse.ArgumentParser) -> None:
    """The options of a command that trains one network with one method, by default the main configuration."""
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--image-size", type=number, default=32)
    parser.add_argument("--batch", type=number, default=128)
    parser.add_argument("--threads", type=number, default=1)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--method", default="fqt")


def run(program: str, main: Callable[[], None]) -> None:
    """Run a command; an error that is known becomes one line on standard error and exit code 1."""
    try:
        main()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][-1:]))}: {fault['msg']}" for fault in error.errors())
        fail(program, faults)
    except (BenchmarkError, OSError) as error:
        fail(program, str(error))


def fail(program: str, message: str) -> NoReturn:
    """Say what is wrong, and leave."""
    sys.stderr.write(f"{program}: error: {' '.join(message.split())}\n")
    sys.exit(1)


def tell_progress(what: str, done: int, total: int, seconds: float) -> None:
    """Tell how many of equal pieces of work are done after so many seconds, and about how long the others take."""
    left = seconds / done * (total - done)
    say(f"{what}: {done} of {total}, about {left / 60:.0f} min left")


def say(line: str) -> None:
    """Tell how far it is; standard output is for results."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
