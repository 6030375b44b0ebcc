"""What is wrong with the settings of `compact.py`, said before anything is made."""

from hydra_det.engines.detector_file import check_output
from hydra_det.engines.registry import check_installed
from hydra_det.evaluation.latency import check_confidence
from hydra_det.finished.in_engine import in_a_process
from hydra_det.pipeline.build import Config
from hydra_det.types import InputError


def asked_engines(settings: Config) -> list[str]:
    """The engines of a config, torch before them.

    Raises:
        InputError: they are not a list of engines that are installed, or a count of the config is none.
    """
    if not isinstance(settings["engines"], list):
        raise InputError(f"engines: expected a list, as in engines=[openvino], got {settings['engines']}")
    engines: list[str] = list(dict.fromkeys(("torch", *settings["engines"])))
    check_installed(engines, ask=in_a_process)
    _check_counts(settings)
    check_output(settings["export"]["output"], settings["export"]["confidence"])
    return engines


def _check_counts(settings: Config) -> None:
    latency = settings["latency"]
    sizes = latency["batch_sizes"]
    if not isinstance(sizes, list) or not sizes:
        raise InputError(f"latency.batch_sizes: expected a list, as in [1,8], got {sizes}")
    check_confidence("latency.confidence", latency["confidence"])
    counts = {
        "multiple": (settings["multiple"], 1),
        "calibration_images": (settings["calibration_images"], 1),
        "latency.images": (latency["images"], 1),
        "latency.warmup": (latency["warmup"], 0),
        "latency.repeats": (latency["repeats"], 1),
        **{f"latency.batch_sizes[{index}]": (size, 1) for index, size in enumerate(sizes)},
    }
    for name, (value, least) in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}")
