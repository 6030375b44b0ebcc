"""`hydra.main` for our scripts: what is typed wrong is answered in one line."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from hydra_det.process import dry_run
from hydra_det.process.locations import CONFIG_DIR
from hydra_det.process.typed.answers import answer, of_a_config

log = logging.getLogger(__name__)

# With it, Hydra raises what it would otherwise print in many lines.
RAISE = "HYDRA_FULL_ERROR"


def command(name: str) -> Callable[[Callable[..., Any]], Callable[[], None]]:
    """Make a task a script: its config is composed of what is typed.

    What a config cannot be made of ends in one line and exit code 1. Who sets HYDRA_FULL_ERROR sees the traceback.

    Args:
        name: of the script, and of its config in `conf/`.
    """

    def decorate(task: Callable[..., Any]) -> Callable[[], None]:
        run = hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name=name)(task)

        @functools.wraps(task)
        def main() -> None:
            shown = RAISE in os.environ
            try:
                sys.argv = options_first(sys.argv)
                with _raising():
                    run()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                if shown or (isinstance(error, ValueError) and not of_a_config(error)):
                    raise
                log.error("error: %s", answer(error, name, sys.argv[1:]))
                sys.exit(1)
            finally:
                dry_run.leave_nothing()

        return main

    return decorate


def options_first(words: list[str]) -> list[str]:
    """The words of a command with its options before its settings, wherever they were typed.

    Exits with one line where a setting was typed as an option, `--prune.ratio=0.5`.
    """
    parser = get_args_parser()
    known, unknown = parser.parse_known_intermixed_args(words[1:])
    for word in unknown:
        if word.startswith("-"):
            advice = f"a setting has no dashes: {word.lstrip('-')}" if "=" in word else "--help lists them"
            log.error("error: %s: no such option; %s", word, advice)
            sys.exit(1)
    settings = list(known.overrides)
    options = []
    for word in words[1:]:
        if settings and word == settings[0]:
            settings.pop(0)
        else:
            options.append(word)
    return [words[0], *options, *known.overrides]


@contextmanager
def _raising() -> Iterator[None]:
    before = os.environ.get(RAISE)
    os.environ[RAISE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(RAISE, None)
        else:
            os.environ[RAISE] = before
