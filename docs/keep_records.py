"""Copy what results.md is written from: the record of every run below some folders, suites of attacks, and failures.

python -m docs.keep_records outputs/sweeps/<sweep> outputs/evaluations/<date> --to docs/replication/<data set>

Every folder that is given becomes one of that name. A JSON file is written without blanks, on one line: its values, and
so the checksum in it, stay what they are.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from hydra_det.atomic import write_atomically
from hydra_det.record import RecordError, read_record
from hydra_det.reports.records import RECORD_NAME
from hydra_det.reports.runs import FAILED_NAME
from hydra_det.robustness import ROBUSTNESS, read_robustness

READERS = {RECORD_NAME: read_record, ROBUSTNESS: read_robustness}


def main(words: list[str] | None = None) -> None:
    """Copy, and say how much it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with runs or suites")
    parser.add_argument("--to", type=Path, required=True, help="folder to keep them in")
    options = parser.parse_args(words)
    names = [folder.resolve().name for folder in options.folders]
    if len(set(names)) < len(names):
        sys.exit(f"expected folders of different names, got {', '.join(sorted(names))}; rename one")
    try:
        kept = [path for folder in options.folders for path in keep(folder, options.to)]
    except RecordError as error:
        sys.exit(str(error))
    if not kept:
        sys.exit(f"expected a folder with {RECORD_NAME}, {ROBUSTNESS} or {FAILED_NAME}, got none in {options.folders}")
    size = sum(path.stat().st_size for path in kept)
    print(f"{len(kept)} files, {size / 1e6:.2f} MB, {size / len(kept) / 1e3:.1f} kB each, in {options.to}")


def keep(source: Path, target: Path) -> list[Path]:
    """Copy what is below a folder, which keeps its name and its order; the copies.

    Raises:
        RecordError: A record or the result of a suite cannot be read.
    """
    kept = []
    for name in (RECORD_NAME, ROBUSTNESS, FAILED_NAME):
        for path in sorted(source.rglob(name)):
            copy = target / source.resolve().name / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if name in READERS:
                READERS[name](path)  # refuses what is damaged
                content = json.loads(path.read_text(encoding="utf-8"))
                write_atomically(
                    copy, json.dumps(content, allow_nan=False, separators=(",", ":"), sort_keys=True) + "\n"
                )
            else:
                shutil.copyfile(path, copy)
            kept.append(copy)
    return kept


if __name__ == "__main__":
    main()
