"""Everything in conf/ composes, builds, and is called what the code calls it."""

import re
import shlex
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from hydra_det.attacks import ATTACKS
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.mixture import Mixture
from hydra_det.callbacks.hardening.registry import HARDENINGS
from hydra_det.init import INITIALISERS
from hydra_det.modules.darknet.network import DarknetDetector
from hydra_det.modules.torchvision.registry import FAMILIES
from hydra_det.modules.yolo.yolov3 import YOLOv3, YOLOv3SPP, YOLOv3Tiny
from hydra_det.pipeline import build
from hydra_det.pipeline.check import check
from hydra_det.pipeline.stages.stage import STAGES
from hydra_det.pruning.settings import KINDS
from hydra_det.reports.paper import CONFIGURATIONS, Cell
from hydra_det.types import InputError
from tests.modules.darknet.example import written

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))


def recipe(path: Path) -> str:
    """As `experiment=` names it: `smoke`, `bccd/clean`."""
    return path.relative_to(CONF / "experiment").with_suffix("").as_posix()


MODELS: dict[str, Any] = {
    "yolov3": YOLOv3,
    "yolov3_spp": YOLOv3SPP,
    "yolov3_tiny": YOLOv3Tiny,
    "yolov3_nano": YOLOv3,
}
COMMAND = re.compile(r"# python train\.py( -m| --multirun)?(?P<overrides>( \S.*)?)")


def names(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


def composed(*overrides: str, config_name: str = "train", with_hydra: bool = False) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, overrides=list(overrides), return_hydra_config=with_hydra)


def config_of(*overrides: str) -> dict[str, Any]:
    return dict(build.plain(composed(*overrides)))


def command_of(text: str) -> list[str]:
    """The overrides in the first line of an experiment; of a swept value the first one.

    Hydra reads its own header, `# @package _global_`, only where it stands before everything else.
    """
    first = next(line for line in text.splitlines() if not line.startswith("# @package"))
    match = COMMAND.fullmatch(first)
    assert match, f"expected `# python train.py ...`, got {first!r}"
    words = [word for word in shlex.split(match["overrides"]) if word not in ("-m", "--multirun")]
    swept = match[1] is not None
    return [re.sub(r"=([^,\[({]*),.*", r"=\1", word) if swept else word for word in words]


def targets_in(node: Any) -> list[str]:
    """Every `_target_` below a node."""
    if isinstance(node, dict):
        here = [node["_target_"]] if "_target_" in node else []
        return here + [target for value in node.values() for target in targets_in(value)]
    return [target for value in node for target in targets_in(value)] if isinstance(node, list) else []


@pytest.mark.parametrize(
    ("group", "registry"), [("attack", ATTACKS), ("init", INITIALISERS), ("hardening", HARDENINGS)]
)
def test_names_are_those_of_the_registry(group: str, registry: dict[str, Any]) -> None:
    assert names(group) == set(registry)
    for name, built in registry.items():
        config: Any = OmegaConf.load(CONF / group / f"{name}.yaml")
        assert hydra.utils.get_object(config["_target_"]) is built


def test_names_of_granularities() -> None:
    assert names("prune") == set(KINDS)
    for name in KINDS:
        assert config_of(f"prune={name}")["prune"]["granularity"] == name


def test_names_of_stages() -> None:
    assert names("stage") == set(STAGES) == set(config_of()["stage"])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("yolov3", 61_949_149), ("yolov3_spp", 62_998_749), ("yolov3_tiny", 8_852_366), ("yolov3_nano", None)],
)
def test_models_build(name: str, parameters: int | None) -> None:
    assert names("model") == {*MODELS, *FAMILIES, "darknet", "own"}
    model = config_of(f"model={name}")["model"]
    if model["anchors"] == "auto":
        model["anchors"] = [[k, k] for k in range(1, 1 + MODELS[name].ANCHOR_COUNT)]
    else:
        assert len(model["anchors"]) == MODELS[name].ANCHOR_COUNT
    with torch.device("meta"):
        net: Any = build.network(
            {key: value for key, value in model.items() if value is not None} | {"num_classes": 80}
        )
    assert type(net) is MODELS[name]
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == parameters if parameters else count < 5_000_000
    assert net.loss_settings.box_weight == model["loss"]["box_weight"]
    assert net.nms_settings.iou == model["nms"]["iou"]


# As torchvision's documentation counts its published weights: of 91 classes, of which one may be the background.
@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("retinanet", 91, 34_014_999),
        ("fcos", 91, 32_269_600),
        ("ssd", 90, 35_641_826),
        ("ssdlite", 90, 3_440_060),
        ("faster_rcnn", 90, 41_755_286),
    ],
)
def test_families_of_torchvision_build(name: str, classes: int, parameters: int) -> None:
    model = config_of(f"model={name}", "model.nms.iou=0.5")["model"]
    with torch.device("meta"):
        net: Any = build.network(
            {key: value for key, value in model.items() if value is not None} | {"num_classes": classes}
        )
    assert type(net) is FAMILIES[name]
    assert parameters == pytest.approx(sum(parameter.numel() for parameter in net.parameters()), rel=0.006)
    assert net.nms_settings.iou == 0.5


def test_a_network_that_does_not_take_the_number_of_classes_is_told_so() -> None:
    with pytest.raises(
        InputError, match=r"^ReLU: expected a constructor that takes num_classes, got one that does not"
    ):
        build.network({"_target_": "torch.nn.ReLU", "num_classes": 2})
    ours = {"_target_": "hydra_det.modules.torchvision.ssd.SSDLiteDetector", "num_classes": 2, "backbone": "resnet18"}
    with pytest.raises(InputError, match=r"^SSDLiteDetector: expected its own settings, got backbone=resnet18$"):
        build.network(ours)


def test_a_model_from_a_cfg_of_darknet(tmp_path: Path) -> None:
    path = written("depthwise", tmp_path)
    config = config_of("model=darknet", f"model.cfg={path}", "model.nms.iou=0.45")["model"]
    net: Any = build.network({key: value for key, value in config.items() if value is not None} | {"num_classes": 2})
    assert type(net) is DarknetDetector
    assert net.nms_settings.iou == 0.45
    assert net.loss_settings.box_weight == config["loss"]["box_weight"]
    with pytest.raises(InputError, match=r"expected its own settings, got width=0\.5"):
        build.network({"_target_": config["_target_"], "cfg": str(path), "width": 0.5})


def test_coco_anchors_are_those_of_the_code() -> None:
    for name in ("yolov3", "yolov3_spp", "yolov3_tiny"):
        with torch.device("cpu"):
            default = MODELS[name](num_classes=1, width=0.125).anchors
        assert config_of(f"model={name}")["model"]["anchors"] == default.flip(0).view(-1, 2).tolist()


def test_every_target_imports() -> None:
    found = {target for path in FILES for target in targets_in(OmegaConf.to_container(OmegaConf.load(path)))}
    assert "hydra_det.modules.yolo.yolov3.YOLOv3Tiny" in found
    assert "hydra_det.callbacks.topk_mask.TopKMask" in found
    for target in found - {"???"}:  # which a user names
        assert callable(hydra.utils.get_object(target)), target


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_top_configs_compose(name: str) -> None:
    assert "hydra" in composed(config_name=name, with_hydra=True)


def test_default_config_passes_its_check() -> None:
    config = config_of()
    check(config)
    assert config["trainer"]["inference_mode"] is False, "an attack needs gradients in evaluation"
    assert config["seed"] == config["data"]["seed"] == 0


@pytest.mark.parametrize(("attack", "init"), [*((a, "scaled") for a in ATTACKS), *(("pgd", i) for i in INITIALISERS)])
def test_choices_pass_the_check(attack: str, init: str) -> None:
    config = config_of(f"attack={attack}", f"init={init}", "prune=kernel", "seed=3")
    check(config)
    for stage in ("pretrain", "train_scores", "finetune"):
        assert config["stage"][stage]["callbacks"]["adversarial_batch"]["attack"] == config["attack"]
    made = build.instantiate(config["stage"]["pretrain"]["callbacks"])["adversarial_batch"]
    assert made.attack is None if attack == "none" else type(made.attack) is ATTACKS[attack]
    assert made.seed == 3
    initialiser = build.instantiate(config["stage"]["init_scores"]["callbacks"])["score_init"].initialiser
    assert type(initialiser) is INITIALISERS[init]


@pytest.mark.parametrize("name", HARDENINGS)
def test_stages_say_when_and_hardening_says_how(name: str) -> None:
    config = config_of(f"hardening={name}", "attack.epsilon=0.03", "stage.pretrain.clean_epochs=2", "seed=3")
    check(config)
    for stage in ("pretrain", "train_scores", "finetune"):
        made = build.instantiate(config["stage"][stage]["callbacks"])["adversarial_batch"]
        assert type(made) is HARDENINGS[name]
        assert (made.share, made.seed) == (config["stage"][stage]["attacked_share"], 3)
        assert made.first_epoch == (2 if stage == "pretrain" else 0)
        assert type(made.attack) is ATTACKS["pgd"]
        assert (made.training if name != "free" else made).epsilon == 0.03
        assert made.resolution == (0.5 if name == "coarse" else 1)
        assert (made.watch is not None) == (name in ("fast", "coarse"))
        own = {"fast": FGSM, "coarse": FGSM, "task_wise": ATTACKS["task_wise"], "mixed": Mixture}
        assert type(made.training) is own.get(name, PGD)


def test_epsilon_grows_in_pretraining_alone() -> None:
    config = config_of("stage.pretrain.ramp_epochs=1")
    check(config)
    made = {
        s: build.instantiate(config["stage"][s]["callbacks"])["adversarial_batch"] for s in ("pretrain", "finetune")
    }
    assert (made["pretrain"].ramp_epochs, made["finetune"].ramp_epochs) == (1, 0)
    with pytest.raises(InputError, match=r"ramp_epochs: expected fewer than the 2 epochs under attack"):
        check(config_of("stage.pretrain.ramp_epochs=2"))


def test_hardening_with_an_epsilon_needs_an_attack() -> None:
    check(config_of("attack=none"))
    for name in ("fast", "free", "mixed"):
        with pytest.raises(InputError, match=r"the value of attack\.epsilon, which this choice of attack="):
            config_of(f"hardening={name}", "attack=none")


def test_one_ratio_for_all_stages() -> None:
    config = config_of("prune.ratio=0.9", "prune=kernel", "prune.exclude=[heads]")
    for stage in ("train_scores", "prune"):
        mask = build.instantiate(config["stage"][stage]["callbacks"])["topk_mask"]
        assert mask.final == (stage == "prune")
        assert (mask.prune.ratio, mask.prune.granularity) == (0.9, "kernel")
    assert [name for name, stage in config["stage"].items() if stage.get("exclude") == ["heads"]] == list(STAGES[1:])


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("attack.epsilon=2", r"attack\.epsilon"),
        ("attack.steps=0", r"attack\.steps"),
        ("hardening.part=0", r"hardening\.part"),
        ("evaluation.attack={_target_: hydra_det.attacks.gradient.PGD, step_size: 0}", r"attack\.step_size"),
        ("prune.ratio=1", r"prune\.ratio"),
        ("prune.granularity=filters", "weight, kernel"),
        ("stage.finetune.attacked_share=1.5", "share"),
        ("stage.train_scores.callbacks.freeze.train=[everything]", "everything"),
        ("+attack.stepsize=0.1", "stepsize"),
        ("trainer.precision=7", "7"),
    ],
)
def test_wrong_values_fail_the_check(override: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check(config_of(override))


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["init.target=boxes"], r"init\.target: expected one of assigned, topk, loss, got 'boxes'"),
        (["init.micro_batch=0"], r"init\.micro_batch: expected a whole number of at least 1, got 0"),
        (["attack=none"], r"init\.attacked: expected an attack, got attack=none; choose one, or init=deeplift_paper"),
        (["init=snip", "init.attacked=true", "attack=none"], "got attack=none; choose one, or init.attacked=false"),
    ],
)
def test_wrong_settings_of_an_initialiser_fail_the_check(overrides: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check(config_of("init=deeplift", *overrides))


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match=r"data\.root: expected a value"):
        config_of("data=coco")


@pytest.mark.parametrize("group", ["model", "data", "attack", "hardening", "init", "prune", "trainer", "experiment"])
def test_unknown_choice_is_refused(group: str) -> None:
    with pytest.raises(HydraException, match="nonsense"):
        composed(f"{group}=nonsense")


@pytest.mark.parametrize("override", ["nonsense=1", "prune.ration=0.5", "nonsense=default"])
def test_unknown_key_is_refused(override: str) -> None:
    with pytest.raises(HydraException, match="Could not override"):
        composed(override)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=recipe)
def test_experiments_compose_as_their_first_line_says(path: Path) -> None:
    overrides, name = command_of(path.read_text(encoding="utf-8")), recipe(path)
    assert f"experiment={name}" in overrides
    config = composed(*overrides, with_hydra=True)
    assert config.hydra.runtime.choices.experiment == name
    check(build.plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])))


def test_command_of_a_first_line() -> None:
    assert command_of("# python train.py\nseed: 1") == []
    assert command_of("# python train.py experiment=a 'x.y=[1, 2]'") == ["experiment=a", "x.y=[1, 2]"]
    assert command_of("# python train.py -m experiment=a prune.ratio=0.5,0.9") == ["experiment=a", "prune.ratio=0.5"]
    for wrong in ("seed: 1", "# python trainpy", "#python train.py", "# python evaluate.py"):
        with pytest.raises(AssertionError, match="expected `# python train"):
            command_of(wrong)


PAPER = [  # its five configurations
    ("deeplift_weight", "deeplift_paper", "weight", False),
    ("deeplift_kernel", "deeplift_paper", "kernel", False),
    ("scaled_weight", "scaled", "weight", False),
    ("scaled_kernel", "scaled", "kernel", False),
    ("deeplift_weight_greyscale", "deeplift_paper", "weight", True),
]


def test_the_grid_of_the_paper() -> None:
    config = composed("sweep=paper_grid", "experiment=paper", "data.root=x", "model.weights=y", with_hydra=True)
    values = {key: str(text).split(",") for key, text in config.hydra.sweeper.params.items()}
    assert list(values) == ["seed", "configuration", "prune.ratio"], "the first one varies slowest"
    assert [len(found) for found in values.values()] == [10, 5, 9]
    assert config.hydra.mode == RunMode.MULTIRUN
    assert set(values["configuration"]) == {name for name, *_ in PAPER}
    assert (config.attack.epsilon, config.attack.step_size, config.attack.steps) == (0.05, 0.02, 5)
    assert (config.data.image_size, config.data.train_images) == (416, 50_000)
    small = composed("sweep=smoke_grid", "experiment=smoke", with_hydra=True).hydra.sweeper.params
    assert set(values["configuration"]) == set(small.configuration.split(","))


def test_a_study_has_a_direction_for_every_objective() -> None:
    config = composed("sweep=optuna_front", "experiment=smoke", with_hydra=True)
    assert config.hydra.mode == RunMode.MULTIRUN
    assert list(config.objectives) == ["map_attacked", "megabytes"]
    assert list(config.hydra.sweeper.direction) == ["maximize", "minimize"]
    other = composed("sweep=optuna_front", "objectives=[latency_ms,map_clean,megabytes]", with_hydra=True)
    assert list(other.hydra.sweeper.direction) == ["minimize", "maximize", "minimize"]
    check(build.plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])))


@pytest.mark.parametrize(("name", "init", "granularity", "greyscale"), PAPER)
def test_configurations_of_the_paper(name: str, init: str, granularity: str, greyscale: bool) -> None:
    config = config_of(f"configuration={name}", "experiment=smoke")
    check(config)
    made = build.instantiate(config["stage"]["init_scores"]["callbacks"])["score_init"].initialiser
    assert type(made) is INITIALISERS[init]
    assert (config["prune"]["granularity"], config["data"]["greyscale"]) == (granularity, greyscale)
    assert Cell(granularity, init, int(greyscale)) in CONFIGURATIONS.values()


def test_the_configurations_beside_the_papers_differ_in_one_thing() -> None:
    words = ("experiment=replication/grid", "model.weights=x")
    plain = config_of("configuration=scaled_weight", *words)
    found = {}
    for name in names("configuration") - {name for name, *_ in PAPER}:
        other = config_of(f"configuration={name}", *words)
        found[name] = {key for key in plain if plain[key] != other[key]}
    clean = config_of("configuration=clean_pretraining", *words)["stage"]["pretrain"]
    assert clean["callbacks"]["adversarial_batch"]["share"] == clean["attacked_share"] == 0
    assert found == {
        "clean_pretraining": {"stage"},
        "hybrid_masks": {"prune", "stage"},
        "pgd_hardening": {"hardening", "stage"},  # the stages say again how they harden
        "recommended": {"prune", "stage"},
        "recommended_deeplift": {"init", "prune", "stage"},
        "recommended_kernel": {"prune", "stage"},
    }


def test_recommended_for_kernels_are_kernels_with_learned_shares() -> None:
    found = {name: config_of(f"configuration={name}", "experiment=smoke") for name in names("configuration")}
    prunes = {name: (config["prune"]["granularity"], config["prune"]["allocation"]) for name, config in found.items()}
    assert prunes["recommended_kernel"] == ("kernel", "learned")
    assert prunes["recommended"] == prunes["recommended_deeplift"] == ("weight", "learned")
    made = build.instantiate(found["recommended_deeplift"]["stage"]["init_scores"]["callbacks"])["score_init"]
    assert type(made.initialiser) is INITIALISERS["deeplift"]


def test_the_replication_has_every_configuration_and_the_papers_ratios() -> None:
    config = composed("sweep=replication", "experiment=replication/grid", "model.weights=x", with_hydra=True)
    values = {key: str(text).split(",") for key, text in config.hydra.sweeper.params.items()}
    assert list(values) == ["prune.ratio", "configuration", "seed"], "the first one varies slowest"
    assert set(values["configuration"]) == names("configuration")
    assert {float(ratio) for ratio in values["prune.ratio"]} == {0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99}


@pytest.mark.parametrize("name", ["standard", "thorough"])
def test_rounding_could_save_something_from_the_pgd_of_a_suite(name):
    """From a picture, steps of 1/255 in a ball of 8/255 never leave its 8 bits: an alarm could not ring."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("evaluate", [f"suite={name}", "run=none"]).suite, resolve=True)
    images = torch.randint(40, 200, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255

    def loss(attacked):  # is highest inside of the ball
        return -(attacked - images - 3.4 / 255).square().sum((1, 2, 3))

    ends = {}
    for member in ("pgd", "pgd_eight_bit"):
        made: Any = build.instantiate(config["attacks"][member])
        made.restarts = 1
        attacked = made(images, {"total": loss}, generator=torch.Generator().manual_seed(0))
        ends[member] = float(((attacked * 255 - (attacked * 255).round()).abs() > 0.01).float().mean())
    assert ends["pgd"] > 0.9
    assert ends["pgd_eight_bit"] == 0
