"""Make the pruned network of a finished run really smaller, prove it equal, export it, score it and time it.

python compact.py run=outputs/runs/... multiple=8 engines=[onnxruntime,openvino,openvino_int8]
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
from datetime import UTC, datetime

from omegaconf import DictConfig

from hydra_det.finished.compacting.compacting import Compacting
from hydra_det.pipeline.build import Config, plain
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import Compaction, Record
from hydra_det.reports.tables.compaction import compaction_tables, draw_compaction
from hydra_det.reports.tables.terminal import show

log = logging.getLogger(__name__)


def compact(settings: Config) -> Record:
    """From masks to a smaller network, its files, its AP and its time."""
    with Compacting(settings) as task:
        networks, differences = task.networks()  # equal, or refused
        exported = task.export(networks["compact"])
        found = Compaction(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=current_commit(),
            versions=collect_versions(),
            multiple=settings["multiple"],
            differences=differences,
            sizes=task.sizes(networks),
            engines=[result for _, result in exported.values()],
            latency=[],
        )
        task.publish(found)  # the files first: what happens then costs scores and times only
        record = task.finish({**found, "engines": task.score(networks["compact"], exported), "latency": task.time()})
    draw_compaction(record, task.folder / "speed.png")
    show(compaction_tables(record))
    log.info("compact network: %s", task.folder)
    task.check_complete()
    return record


@command("compact")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> None:
    """The command line of `compact`."""
    compact(plain(config))


if __name__ == "__main__":
    main()
