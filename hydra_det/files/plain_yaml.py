"""YAML that somebody else wrote, looked at before it is loaded.

A few bytes can make the loader fill the memory, by aliases that stand for aliases, or run for hours, by brackets within
brackets. Files that are read here have neither.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from hydra_det.errors import InputError

DEEPEST = 40  # collections within each other; configs have about six


def plain_scalars(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Every value and key of the text, with its line.

    Raises:
        InputError: an alias, or collections within each other without end.
        yaml.YAMLError: it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            alias = f"{event.anchor:.100}"
            raise InputError(f"{path}: line {line}: expected plain values, got the yaml alias {alias}; write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise InputError(f"{path}: line {line}: expected at most {DEEPEST} levels, got more; is it damaged?")
        if isinstance(event, yaml.ScalarEvent):
            yield line, event.value
