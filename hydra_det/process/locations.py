"""Where the scripts and their configs lie. Needs nothing else, so that a console script can begin with it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# The scripts and their configs lie at the top of a checkout; an installed wheel carries them inside the package.
SCRIPTS = PACKAGE / "verbs" if (PACKAGE / "verbs" / "conf").is_dir() else PACKAGE.parent
CONFIG_DIR = str(SCRIPTS / "conf")
