"""One line for what Hydra cannot make a config of; its own answer takes many, and advises to add what is misspelt."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from hydra_det.errors import single_line
from hydra_det.process.locations import CONFIG_DIR
from hydra_det.process.typed.spelling import CLOSE, asked, close_keys, keys_of

NO_NAME = "Config group override must be"  # begins a plain ValueError of Hydra
WORTH_LISTING = 30  # neighbours of a key that none of them is like


def answer(error: Exception, script: str, typed: Sequence[str]) -> str:
    """What is wrong with what was typed, in one line, and what may have been meant.

    Args:
        error: of Hydra or OmegaConf, before a job began.
        script: name of the config that it reads, as `train`.
        typed: the words after the name of the script.
    """
    if isinstance(error, OverrideParseException):
        return _of_a_word(error.override, script)
    if isinstance(error, MissingConfigException):
        return _of_a_choice(error, typed)
    if str(error).startswith(NO_NAME):
        return _of_no_name(script, typed)
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError) or type(cause).__name__ == "ConfigAttributeError":
        return _of_a_key(error, cause, script)
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key or 'the settings'}: {_first_sentence(cause)}"
    return _of_a_group(single_line(str(error)), script, typed)


def of_an_addition(config: Mapping[str, Any], script: str) -> str | None:
    """What is wrong with a setting that was added by +key, which Hydra takes whatever it is; None: all are known.

    Args:
        config: what was composed of what was typed, without Hydra's own part.
        script: name of its config; nothing is said of a config of somebody else.
    """
    groups = groups_of(script)
    places = {part for group in groups for part in (group, group.rpartition("@")[2].partition(".")[0])}
    for key in (key for key in config if groups and key not in places):
        known = _near_the_top({*keys_of(config), *groups} - {key, *keys_of({key: config[key]})})
        near = close_keys(key, known)
        value = f"={config[key]}" if isinstance(config[key], str) and near and near[0] in groups else ""
        return f"+{key}: no such setting" + (asked([f"{near[0]}{value}"]) if near else _which_has("", script, known))
    return None


def of_a_config(error: Exception) -> bool:
    """Whether an error is Hydra's own about what was typed, and not of what it ran."""
    return isinstance(error, HydraException | OmegaConfBaseException) or str(error).startswith(NO_NAME)


def quoted(word: str) -> str | None:
    """`key=value` as a shell and Hydra both take it, whatever is in the value; None where that does not help."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        return None
    safe = re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)$", r"\1\1", value))
    try:
        OverridesParser.create().parse_override(f'{key}="{safe}"')
    except HydraException:
        return None
    inside = f'{key}="{safe}"'.replace("'", "'\\''")
    return f"'{inside}'"


def _of_a_word(word: str, script: str) -> str:
    """What is no `key=value`."""
    key, equals, value = word.partition("=")
    if not equals:
        meant = close_keys(key.lstrip("+~"), known_keys(script))
        return f"{word}: expected key=value, got no ={asked([f'{name}=...' for name in meant])}"
    advice = quoted(word)
    if advice is None or not value.strip():
        return f"{key or word}: expected key=value, got {word}"
    signs = " ".join(sorted(set(re.findall(r"""[^\w\s/.-]""", value)))) or "what is in it"
    return f"{key}: a value with {signs} needs two kinds of quotes: {advice}"


def _of_a_choice(error: MissingConfigException, typed: Sequence[str]) -> str:
    """A choice of a group that there is not, or another file that is not there."""
    group, slash, name = str(error.missing_cfg_file or "").rpartition("/")
    if not slash:
        return f"--config-name: expected the name of a config, got {error.missing_cfg_file}; leave it out"
    key = next((word.partition("=")[0] for word in typed if name in re.split("[=,/]", word)), group).lstrip("+~")
    top = group.partition("/")[0] if key == group.partition("/")[0] else group
    folder = Path(CONFIG_DIR, top)
    found = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")}
    choices = sorted({*found, *([] if top != group else error.options or [])})
    got = f"{group}/{name}".removeprefix(f"{top}/")
    near = difflib.get_close_matches(got, choices, n=1)
    listed = f"expected one of {', '.join(choices)}, got {got}" if choices else f"{got} is not there"
    return f"{key}: {listed}{asked([f'{key}={choice}' for choice in near])}"


def _of_no_name(script: str, typed: Sequence[str]) -> str:
    """A choice by something else than a name."""
    pairs = [word.partition("=") for word in typed]
    named = [(key, value) for key, _, value in pairs if key.lstrip("+~") in ("", *groups_of(script))]
    key, value = next((pair for pair in named if not re.match("(?!null$)[A-Za-z_]", pair[1])), ("a group", "none"))
    return f"{key or '=' + value}: expected the name of a choice, got {value}; leave it out for its default"


def _of_a_key(error: Exception, cause: Any, script: str) -> str:
    """A setting that there is not."""
    key = next(iter(re.findall(r"override '([^']+)'", str(error))), None) or str(cause.full_key)
    config = _root(cause)
    if choices := _not_chosen(key, config):
        group = key.partition(".")[0]
        return f"{key}: expected {group}= beside it, one of {', '.join(choices)}, got none; beside run= leave it out"
    known = _near_the_top({*keys_of(config), *groups_of(script)})
    if near := close_keys(key, known):
        return f"{key}: no such setting{asked([name.replace('.', '/') if '/' in key else name for name in near])}"
    branch = key.rpartition(".")[0]
    while branch and branch not in known:
        branch = branch.rpartition(".")[0]
    made = OmegaConf.select(OmegaConf.create(config), f"{branch}._target_") if branch else None
    if made:  # every argument of a class may be given, as of Lightning's trainer
        return f"{key}: no such setting among those of conf/; if {made} takes it, type +{key}=..."
    return f"{key}: no such setting" + _which_has(branch, script, known)


def _which_has(branch: str, script: str, known: Sequence[str]) -> str:
    """The settings of a part, where they are few."""
    around = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == branch]
    shown = sorted(name for name in around if not name.startswith("_"))
    return f"; {branch or f'{script}.py'} has {', '.join(shown)}" if 0 < len(shown) <= WORTH_LISTING else ""


def _not_chosen(key: str, config: Mapping[str, Any]) -> list[str]:
    """The choices of a group of which something is set, where none was made; as of `evaluate.py`, which needs none."""
    group, dot, _ = key.partition(".")
    if not dot or config.get(group) is not None or "run" not in config:
        return []
    return sorted(file.stem for file in Path(CONFIG_DIR, group).glob("*.yaml"))


def _of_a_group(text: str, script: str, typed: Sequence[str]) -> str:
    """What Hydra says of groups, and of what is added or taken away."""
    if found := re.search(r"Could not override '([^']+)'\.(?: Did you mean to override (?:one of )?([^?]+)\?)?", text):
        key, meant = found[1], found[2]
        if meant:
            return f"{key}: no such place of a choice{asked(meant.split(', '))}"
        near = difflib.get_close_matches(key, groups_of(script), n=1, cutoff=CLOSE)
        return f"{key}: no setting of {script}.py" + (asked(near) or f", which has {', '.join(groups_of(script))}")
    if found := re.search(r"Could not delete (?:from config\. )?'([^'=]+)(?:=([^']*))?'", text):
        near = close_keys(found[1], known_keys(script))
        return f"~{found[1]}: expected something that is there, to leave it out{asked([f'~{key}' for key in near])}"
    if found := re.search(r"(?:An item is already at '([^']+)'|Multiple values for ([^.\s]+)\.)", text):
        key = found[1] or found[2]
        return f"+{key}: there is one already; to change it, type {key}=... without the +"
    if "Ambiguous value for argument" in text or "requires --multirun" in text:
        return _of_a_sweep(text)
    return _first_sentence(text)


def _of_a_sweep(text: str) -> str:
    """Several values of which no sweep was asked for."""
    word = re.findall(r"'([^']+)'", text)[0]
    key, _, value = word.partition("=")
    return (
        f"{key}: expected one value, got {value}; for a sweep over several add -m, for a list type {key}=[{value}], "
        f"and for a name with commas {quoted(word)}"
    )


def groups_of(script: str) -> list[str]:
    """The groups that a script's own config lets one choose from, and its settings at the top."""
    file = Path(CONFIG_DIR, f"{script}.yaml")
    config: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else {}
    groups = [str(key) for part in config.get("defaults", []) if isinstance(part, dict) for key in part]
    return sorted({*groups, *(str(key) for key in config if key not in ("defaults", "hydra"))})


def known_keys(script: str) -> list[str]:
    """All that may be typed for a script, with dots, what is nearest to the top first."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(script))
    return _near_the_top({*keys_of(config), *groups_of(script)})


def _near_the_top(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (key.count("."), key))


def _root(error: Any) -> dict[str, Any]:
    """The whole config that a key was looked for in, as far as it can be read."""
    node = error.parent_node
    while node is not None and node._get_parent() is not None:  # of a branch, the whole tree
        node = node._get_parent()
    whole = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    assert isinstance(whole, dict)
    return {str(key): value for key, value in whole.items()}


def _first_sentence(error: object) -> str:
    """What a message says before its advice and its addresses."""
    lines: Iterable[str] = str(error).strip().splitlines()
    kept = [
        line.strip() for line in lines if not re.match(r"\s*(See http|full_key:|object_type=|reference_type=)", line)
    ]
    return single_line(" ".join(kept).partition(" Set the environment variable")[0])
