"""Corruptions: what each kind does to a picture, and that severity is severity."""

import math
from itertools import pairwise

import pytest
import torch

from hydra_det.attacks.corruptions import CORRUPTIONS, SEVERITIES, Corruption
from hydra_det.types import InputError

RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "snow", "fog")


def picture(size=64):
    """Smooth shades and sharp edges, in [0.1, 0.9]. [1, 3, size, size]"""
    ramp = torch.linspace(0, 1, size)
    image = 0.3 + 0.2 * torch.stack(
        [ramp.expand(size, size), ramp[:, None].expand(size, size), 1 - ramp.expand(size, size)]
    )
    image[:, size // 4 : size // 2, size // 4 : size // 2] += 0.35
    image[:, ::5] -= 0.15
    return image[None].clamp(0.1, 0.9)


def fine():
    """Every pixel of its own. [1, 3, 64, 64]"""
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def corrupted(kind, severity=3, *, seed=0, images=None, **options):
    images = picture() if images is None else images
    generator = torch.Generator().manual_seed(seed)
    return Corruption(kind=kind, severity=severity)(images, {}, generator=generator, **options)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_stronger_severities_move_images_further(kind):
    images = fine() if kind == "pixelate" else picture()  # stripes suit some squares
    before = images.clone()
    distances = []
    for severity in SEVERITIES:
        found = corrupted(kind, severity, images=images)
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        distances.append(float((found - images).square().mean().sqrt()))
    assert torch.equal(images, before)
    assert 0.005 < distances[0] < distances[-1]
    assert all(after > 0.9 * now for now, after in pairwise(distances)), distances


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_draws_repeat_and_differ_and_padding_stays(kind):
    region = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    region[..., 16:48, :] = True
    found = corrupted(kind, region=region)
    assert torch.equal(found[..., 16:48, :], corrupted(kind, images=picture()[..., 16:48, :])), "as if without padding"
    assert torch.equal(found, corrupted(kind, region=region))
    assert torch.equal(found.where(~region, 0.0), picture().where(~region, 0.0))
    assert torch.equal(found, corrupted(kind, region=region, seed=1)) == (kind not in RANDOM)
    two = corrupted(kind, images=picture().repeat(2, 1, 1, 1))
    assert torch.equal(*two) == (kind not in RANDOM), "every image has its own"


def test_noise_has_the_spread_of_its_table():
    grey = torch.full((1, 3, 128, 128), 0.5)
    change = corrupted("gaussian_noise", 1, images=grey) - grey
    assert float(change.std()) == pytest.approx(0.08, rel=0.02)
    shot = corrupted("shot_noise", 1, images=grey) - grey
    assert float(shot.std()) == pytest.approx(math.sqrt(0.5 / 60), rel=0.03)
    assert float(shot.mean()) == pytest.approx(0, abs=0.002)
    impulses = corrupted("impulse_noise", 5, images=grey)
    assert float((impulses == 0).float().mean()) == pytest.approx(0.27 / 2, rel=0.05)
    assert float((impulses == 1).float().mean()) == pytest.approx(0.27 / 2, rel=0.05)


@pytest.mark.parametrize("kind", ["defocus_blur", "motion_blur"])
def test_blur_keeps_the_mean_and_spreads_a_point(kind):
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1
    found = corrupted(kind, 1, images=point)
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(1, 3), rtol=1e-4, atol=1e-4)
    lit = (found[0, 0] > 0).sum()
    assert lit == 29 if kind == "defocus_blur" else 10 < lit < 40, "a disk of radius 3, or a line"
    grey = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(corrupted(kind, 5, images=grey), grey)


def test_motion_is_along_a_line():
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1
    rows, columns = corrupted("motion_blur", 3, images=point)[0, 0].nonzero().T.float()
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1].abs() > 0.98 or rows.std() < 0.5


def test_contrast_and_brightness_are_the_formula():
    images = picture()
    mean = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(corrupted("contrast", 5), mean + 0.05 * (images - mean))
    value = corrupted("brightness", 1).amax(1)
    torch.testing.assert_close(value, (images.amax(1) + 0.1).clamp(max=1))
    red = torch.tensor([0.6, 0.0, 0.3]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    # A saturated colour stays one.
    torch.testing.assert_close(corrupted("brightness", 5, images=red)[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.5]))
    black = torch.zeros(1, 3, 4, 4)
    assert (corrupted("brightness", 2, images=black) == 0.2).all()


def test_weather_veils():
    images = picture()
    edge = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    fogged = corrupted("fog", 5)
    assert (fogged[..., 1:, :] - fogged[..., :-1, :]).abs().mean() < 0.5 * edge
    assert fogged.mean((1, 2, 3)) > 0.2, "and does not darken it all"
    assert corrupted("snow", 5).mean() > images.mean()
    assert (corrupted("snow", 5) > 0.95).float().mean() > 0.02, "there are flakes"


def test_pixelate_and_jpeg_lose_detail():
    coarse = corrupted("pixelate", 5, images=fine())
    squares = coarse.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (squares == squares[..., :1]).all(), "a quarter of the pixels a side"
    pressed = corrupted("jpeg", 5)
    assert torch.equal((pressed * 255).round(), pressed * 255), "values of a picture file"


STRENGTHS = {  # of ImageNet-C's table, by severity
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": tuple((0.5 / photons) ** 0.5 for photons in (60, 25, 12, 5, 3)),
}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_strengths_of_every_severity(severity):
    # Dark enough that little is cut off at 0 and 1.
    images = torch.full((1, 3, 64, 64), 0.5)
    for kind, spread in STRENGTHS.items():
        change = CORRUPTIONS[kind](images[0], severity, torch.Generator().manual_seed(0)) - 0.5
        assert float(change.std()) == pytest.approx(spread[severity - 1], rel=0.05)
    share = float((corrupted("impulse_noise", severity, images=images) != 0.5).float().mean())
    assert share == pytest.approx((0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1], rel=0.1)
    mean = picture().mean((2, 3), keepdim=True)
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    torch.testing.assert_close(corrupted("contrast", severity) - mean, factor * (picture() - mean))
    grey = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(corrupted("brightness", severity, images=grey), grey + severity / 10)
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1
    rows = (corrupted("defocus_blur", severity, images=point)[0, 0] > 0).any(1).sum()
    assert rows == 2 * (3, 4, 6, 8, 10)[severity - 1] + 1
    columns = (corrupted("motion_blur", severity, images=point)[0, 0] > 0).any(0).nonzero()
    assert int(columns.max() - columns.min()) <= 2 * (10, 15, 15, 15, 20)[severity - 1]
    width = len(torch.unique_consecutive(corrupted("pixelate", severity, images=fine())[0, 0, 0]))
    assert width == round(64 * (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1])


def test_motion_is_rather_across_than_down():
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1
    for seed in range(20):
        rows, columns = corrupted("motion_blur", 3, images=point, seed=seed)[0, 0].nonzero().T.float()
        assert rows.std() <= columns.std() + 0.5


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kind": "frost"}, r"attack\.kind: expected one of gaussian_noise, .*, got 'frost'"),
        ({"kind": "fog", "severity": 0}, r"attack\.severity: expected a whole number from 1 to 5, got 0"),
        ({"kind": "fog", "severity": 6}, r"attack\.severity"),
        ({"kind": "fog", "severity": 2.5}, r"attack\.severity"),
        ({"kind": "fog", "severity": True}, r"attack\.severity"),
    ],
)
def test_what_is_no_corruption_is_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Corruption(**options)


def test_images_outside_their_range_and_a_curriculum_are_refused():
    with pytest.raises(InputError, match=r"images in \[0, 1\]"):
        corrupted("fog", images=picture() * 255)
    with pytest.raises(InputError, match="ramp_epochs"):
        Corruption(kind="fog").scaled(0.5)
