"""Tables, tests, figures and one HTML page from finished runs. Needs no torch.

python report.py runs=outputs/sweeps/smoke_grid
python report.py runs=[outputs/sweeps/a,outputs/sweeps/b] paper=true
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.errors import InputError
from hydra_det.files.atomic import write_atomically
from hydra_det.process.script import job, plain
from hydra_det.process.typed.command import command
from hydra_det.records.record import RecordError
from hydra_det.reports.figures.drawings import write_pictures
from hydra_det.reports.page.page import page
from hydra_det.reports.page.report import make_report
from hydra_det.reports.runs import read_runs
from hydra_det.reports.tables.paper_tables import write_tables
from hydra_det.reports.tables.report import report_table
from hydra_det.reports.tables.terminal import show

log = logging.getLogger(__name__)


@command("report")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> None:
    """What a sweep has found."""
    settings = plain(config)
    try:
        runs = read_runs(settings["runs"], suites=settings["suites"])
    except RecordError as error:
        raise InputError(str(error)) from error
    report = make_report(runs, paper=settings["paper"])
    folder = Path(HydraConfig.get().runtime.output_dir)
    write_tables(folder, runs.frame, report.cells, report.comparisons, report.answered)
    write_pictures(folder / "figures", report.pictures, report.samples)
    write_atomically(folder / "report.html", page(report))
    show(report_table(report.cells, report.cautions))
    log.info("report: %s", folder / "report.html")


if __name__ == "__main__":
    main()
