"""Make a detector small and robust: adversarial pretraining, scores, masks, fine-tuning, proof.

python train.py                                               all five stages on the built-in shapes
python train.py data=coco data.root=... model=yolov3          on your own images
python train.py -m prune.ratio=0.25,0.5,0.75 init=deeplift    a sweep; jobs share the stages they have in common
python train.py target.map_attacked=0.25                      the largest ratio whose network keeps this AP under attack
python train.py sweep=smoke_grid experiment=smoke dry_run=true    what would run, what is there, how long it takes
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.pipeline.build import Config, choices, overrides
from hydra_det.pipeline.runner import Run
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.records.record import Record
from hydra_det.records.renamed import take_old_names
from hydra_det.sweeps.search import objective_values, search


def train(config: Config, folder: Path, typed: list[str] | None = None) -> Record | None:
    """HYDRA for detectors, stage by stage."""
    run = Run(config, folder, choices=choices(), overrides=typed or overrides())
    if config["dry_run"]:
        run.show_plan()
        return None
    if run.finished:
        return run.finished

    pretrained = run.stage("pretrain")  # weights learn, from clean images to attacked ones
    initialised = run.stage("init_scores", pretrained)  # every weight gets a score
    scored = run.stage("train_scores", initialised)  # scores learn, weights are frozen
    pruned = run.stage("prune", scored)  # the weights with the top-k scores stay
    finetuned = run.stage("finetune", pruned)  # what is left learns

    return run.finish(
        dense=run.evaluate(pretrained, name="dense"),
        pruned=run.evaluate(finetuned, name="pruned"),
    )


@command("train")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> list[float] | float | None:
    """The command line of `train`: one run, or with a target one for every ratio that is tried."""
    record = search(train, config, Path(HydraConfig.get().runtime.output_dir))
    return objective_values(record, config.objectives)


if __name__ == "__main__":
    take_old_names()
    main()
