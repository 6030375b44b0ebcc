"""Fuzz a reader, guided by the lines that inputs reach: `python -m tests.fuzzing coco --inputs 20000`.

Needs atheris 3 (`pip install atheris`), which has no wheels for every system. Inputs that made the reader do something
else than answer or complain in one line are written to a folder, one for every place in the code; each belongs into the
tables of `tests/bad_input`.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import atheris

from tests.fuzzing.mutations import spoil

# Our readers and those in Python that they call; all of torch and Lightning would take minutes.
MODULES = ("data", "plain_values", "plain_yaml", "schema", "record", "modules.weights", "modules.darknet_weights",
           "compaction.files", "pipeline.run_config", "pipeline.store")  # fmt: skip
with atheris.instrument_imports(include=[*(f"hydra_det.{name}" for name in MODULES), "json", "PIL"]):
    from tests.fuzzing.readers import READERS, complaint


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=Path, default=Path("outputs/fuzzing"), help="folder for inputs that fail")
    given = parser.parse_args()
    reader = READERS[given.reader]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz_{given.reader}_"))
    reader.prepare(folder)
    file = folder / reader.file
    corpus = folder / "corpus"
    corpus.mkdir()
    valid = file.read_bytes()
    (corpus / "valid").write_bytes(valid)
    counts = {"inputs": 0, "answered": 0, "refused": 0, "faults": 0}
    places: set[str] = set()
    start = time.perf_counter()

    def once(content: bytes) -> None:
        file.write_bytes(content)
        counts["inputs"] += 1
        try:
            counts["answered" if complaint(given.reader, folder) is None else "refused"] += 1
        except Exception as error:
            counts["faults"] += 1
            where = traceback.extract_tb(error.__traceback__)
            ours = next((f for f in reversed(where) if "hydra_det" in f.filename), where[-1])
            place = f"{type(error).__name__} {Path(ours.filename).name}:{ours.lineno}"
            if place not in places:
                places.add(place)
                given.faults.mkdir(parents=True, exist_ok=True)
                name = f"{given.reader}_{len(places)}{file.suffix}"
                (given.faults / name).write_bytes(content)
                print(f"{name}: {place}: {error!r:.300}", flush=True)  # noqa: T201
        if counts["inputs"] == given.inputs:
            seconds = time.perf_counter() - start
            print(f"{given.reader}: {counts}, {len(places)} different, {seconds:.0f} s", flush=True)  # noqa: T201
            shutil.rmtree(folder)
            os._exit(bool(places))

    def mutated(content: bytes, longest: int, seed: int) -> bytes:
        generator = random.Random(seed)
        if generator.random() < 0.4:
            return bytes(atheris.Mutate(content, longest))
        if generator.random() < 0.3:  # else most inputs would come from such as are refused at once
            content = valid
        for _ in range(generator.randint(1, 3)):
            content = spoil(content, generator)
        return content[:longest]

    words = [sys.argv[0], f"-seed={given.seed}", f"-max_len={4 * file.stat().st_size + 20_000}", "-rss_limit_mb=8000"]
    words.append(f"-artifact_prefix={folder}/")
    atheris.Setup([*words, "-verbosity=0", str(corpus)], once, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
