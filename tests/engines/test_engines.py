"""Every engine answers what torch answers, for any number of images."""

import importlib.util

import pytest
import torch
from torch import nn

from hydra_det.compaction.compact import compact
from hydra_det.engines import registry
from hydra_det.engines.equal import check_equal
from hydra_det.engines.registry import ENGINES, check_installed, in_engine
from hydra_det.types import InputError
from tests.compaction.example import with_masks

pytestmark = pytest.mark.engine

# Largest difference, as a share of the largest value: rounding of float32, of half the digits, of 8 bits.
TOLERANCE = {
    "torch": 0.0, "torch_export": 1e-6, "onnxruntime": 1e-5, "openvino": 1e-5, "torch_bf16": 0.02,
    "openvino_bf16": 0.02, "openvino_fp16": 2e-3, "onnxruntime_int8": 0.1, "openvino_int8": 0.1, "sparse": 1e-5,
}  # fmt: skip
# Tiny has the odd pooling, and SPP the pyramid, a sum and a concatenation; the others have groups, parts of maps and
# every activation.
NAMES = ["yolov3_spp", "yolov3_tiny", "darknet_depthwise", "darknet_varied"]


def missing(name):
    return [package for package in ENGINES[name].packages if importlib.util.find_spec(package) is None]


def test_every_engine_has_a_tolerance():
    assert TOLERANCE.keys() == ENGINES.keys()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_answers_like_torch(tmp_path, engine, name):
    if missing(engine):
        pytest.skip(f"{missing(engine)} not installed")
    net = compact(with_masks(name, "filter_group", 0.7)).network
    images = torch.rand(12, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    try:
        forward, file = in_engine(engine, net, tmp_path, images, threads=1)
    except InputError as error:
        pytest.skip(str(error))  # a processor without bf16
    assert (file is None) == (engine in ("torch", "torch_bf16", "sparse"))
    for count in (1, 3, 8):
        with torch.no_grad():
            wanted = net(images[:count])
        for want, got in zip(wanted, forward(images[:count]), strict=True):
            assert got.shape == want.shape
            assert got.dtype == torch.float32
            assert float((want - got).abs().max() / want.abs().max()) <= TOLERANCE[engine]


@pytest.mark.parametrize("make", [dict, list])
@pytest.mark.parametrize("engine", ["torch", "torch_export", "onnxruntime", "openvino"])
def test_raw_maps_of_any_make_come_back_as_the_network_has_them(tmp_path, engine, make):
    if missing(engine):
        pytest.skip(f"{missing(engine)} not installed")

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, images):
            maps = self.layer(images)
            found = {"heat": maps, "boxes": (maps[:, :2] + 1, maps[:, 2:].relu())}
            return found if make is dict else list(found.values())

    torch.manual_seed(0)
    net, images = Named().eval(), torch.rand(3, 3, 16, 16)
    forward, _ = in_engine(engine, net, tmp_path, images, threads=1)
    with torch.no_grad():
        wanted, found = net(images), forward(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)  # of the same make, too
    assert check_equal(engine, wanted, found) <= 1e-5


@pytest.mark.skipif(bool(missing("onnxruntime_int8")), reason="needs the extra export")
def test_eight_bits_are_eight_bits(tmp_path):
    """Convolutions but for the heads are quantised: their weights take a quarter of the bytes."""
    net = compact(with_masks("yolov3", "filter_group", 0.3)).network
    images = torch.rand(4, 3, 64, 64)
    _, whole = in_engine("onnxruntime", net, tmp_path, images, threads=1)
    _, small = in_engine("onnxruntime_int8", net, tmp_path, images, threads=1)
    assert whole is not None and small is not None  # noqa: PT018
    assert small.stat().st_size < 0.45 * whole.stat().st_size


@pytest.mark.skipif(bool(missing("openvino_fp16")), reason="needs the extra export")
def test_half_precision_halves_the_file(tmp_path):
    net = compact(with_masks("yolov3", "filter_group", 0.3)).network
    images = torch.rand(1, 3, 64, 64)
    _, whole = in_engine("openvino", net, tmp_path, images, threads=1)
    _, half = in_engine("openvino_fp16", net, tmp_path, images, threads=1)
    assert whole is not None and half is not None  # noqa: PT018
    sizes = [file.with_suffix(".bin").stat().st_size for file in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]


def test_an_engine_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda package: None if package == "openvino" else 1)
    check_installed(["torch", "onnxruntime"])
    with pytest.raises(InputError, match=r"the package openvino for openvino_int8, which is not installed; install"):
        check_installed(["torch", "openvino_int8"])


def test_the_extra_is_the_one_that_brings_the_package(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda package: None if package == "numba" else 1)
    with pytest.raises(InputError, match=r"package numba for sparse, .* install hydra-det\[sparse\], or leave it out"):
        check_installed(["sparse"])


def test_a_processor_that_cannot_is_refused():
    with pytest.raises(InputError, match=r"engine: expected a processor with AVX2 or AVX-512 for sparse, got one"):
        check_installed(["sparse"], ask=lambda able: False, setting="engine")


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match=r"engines: expected some of torch, .*, got tensorrt"):
        check_installed(["tensorrt"])
