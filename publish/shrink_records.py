"""Write the results below a folder again, without blanks: about half of the bytes, the same values.

python -m publish.shrink_records docs/replication

The checksum of a record is of its values, so it stays what it is; what is damaged is refused.
"""

import argparse
import json
import sys
from pathlib import Path

from hydra_det.files.atomic import write_atomically
from hydra_det.records.record import RECORD_NAME, RecordError, read_record
from hydra_det.records.robustness import ROBUSTNESS, read_robustness

READERS = {RECORD_NAME: read_record, ROBUSTNESS: read_robustness}


def main(words: list[str] | None = None) -> None:
    """Shrink, and say how much is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with records, and results of suites")
    folder = parser.parse_args(words).folder
    paths = sorted(path for name in READERS for path in folder.rglob(name))
    if not paths:
        sys.exit(f"expected a folder with {' or '.join(READERS)}, got none in {folder}")
    try:
        for path in paths:
            shrink(path)
    except RecordError as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} files, {size / 1e6:.2f} MB, {size / len(paths) / 1e3:.1f} kB each")


def shrink(path: Path) -> None:
    """One file, in place.

    Raises:
        RecordError: It is not what its name says, or damaged; it is left as it is.
    """
    READERS[path.name](path)
    content = json.loads(path.read_text(encoding="utf-8"))
    write_atomically(path, json.dumps(content, allow_nan=False, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
