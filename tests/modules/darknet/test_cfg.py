"""What a `.cfg` says, and what is wrong with one, said by section and line."""

from pathlib import Path

import pytest

from hydra_det.modules.darknet.assembly import assemble
from hydra_det.modules.darknet.cfg import read_cfg
from hydra_det.modules.darknet.layers import Convolutional, MaxPool, Yolo, read_layer
from hydra_det.modules.darknet.network import DarknetDetector, text_of
from hydra_det.types import InputError
from tests.modules.darknet.example import CFGS, DEPTHWISE, VARIED, conv, head, section, written

HEADER = "[net]\nwidth=64\nheight=32\nchannels=3\n"  # lines 1 to 4


def layer(text: str) -> object:
    """The first layer of a text."""
    return read_layer(read_cfg(HEADER + text)[1])


def test_comments_spaces_and_cases() -> None:
    sections = read_cfg("# a comment\n\n[NET]\n batch = 1 ; another\n\n[convolutional]  # a layer\nfilters\t=\t32 \n")
    assert [(s.name, s.line, s.number) for s in sections] == [("net", 3, -1), ("convolutional", 6, 0)]
    assert sections[1].options == {"filters": ("32", 7)}


def test_defaults_are_those_of_darknet() -> None:
    made = layer("[convolutional]\nactivation=linear\n")
    assert isinstance(made, Convolutional)
    assert made[1:] == (1, 1, 1, 0, 1, False, "linear")  # filters, size, stride, padding, groups, BatchNorm
    assert layer("[convolutional]\n")[-1] == "logistic"  # type: ignore[index]
    pool = layer("[maxpool]\nstride=2\n")
    assert isinstance(pool, MaxPool)
    assert pool[1:] == (2, 2, 1)  # size, stride, padding


@pytest.mark.parametrize(
    ("text", "padding"), [("pad=1\npadding=7", 2), ("pad=0\npadding=1", 1), ("padding=2", 2), ("", 0)]
)
def test_pad_is_half_of_the_size_and_padding_is_itself(text: str, padding: int) -> None:
    made = layer(f"[convolutional]\nsize=5\nactivation=linear\n{text}\n")
    assert isinstance(made, Convolutional)
    assert made.padding == padding


def test_a_mask_takes_its_anchors() -> None:
    made = layer("[yolo]\nmask=2,0\nanchors=1,2, 3,4, 5.5,6,\nnum=3\nclasses=7\nscale_x_y=1.05\n")
    assert isinstance(made, Yolo)
    assert made[1:] == ([[5.5, 6.0], [1.0, 2.0]], 7, 1.05, None)
    whole = layer("[yolo]\nanchors=1,2, 3,4\nnum=2\n")
    assert isinstance(whole, Yolo)
    assert whole.anchors == [[1, 2], [3, 4]]


def test_levels_are_coarsest_first_and_anchors_finest_first() -> None:
    net = DarknetDetector(cfg=DEPTHWISE)
    assert (net.strides, net.scales, net.num_classes, net.made_for) == ([32, 16], [1.1, 1.05], 2, (64, 64))
    assert net.anchor_list == [[11, 5], [20, 30], [40, 25], [40, 25], [30, 60], [62, 50]]
    fine_first = HEADER + "".join([
        conv(8, 3, stride=2), conv(8, 3, stride=2), head("0,1"), section("route", layers="-3"),
        conv(8, 3, stride=2), head("2,3"),
    ])  # fmt: skip
    turned = DarknetDetector(cfg=fine_first)
    assert turned.strides == [8, 4]
    assert turned.anchors.tolist() == [[[20, 30], [40, 25]], [[6, 8], [11, 5]]]


def test_the_text_of_a_run_is_all_that_counts(tmp_path: Path) -> None:
    kept = text_of(written("varied", tmp_path))
    assert "learning_rate" not in kept
    assert text_of(kept) == kept
    assert DarknetDetector(cfg=kept).graph == DarknetDetector(cfg=VARIED).graph
    changed = VARIED.replace("learning_rate=0.001", "learning_rate=7 # unlike others")
    assert text_of(changed) == kept
    assert text_of(VARIED.replace("groups=32", "groups=16")) != kept


def spoilt(name: str, old: str, new: str) -> str:
    assert CFGS[name].count(old) >= 1, old
    return CFGS[name].replace(old, new, 1)


REFUSED = {
    "no net": (spoilt("depthwise", "[net]", "[convolutional]"), r"expected \[net\] as the first section, got \[conv"),
    "nothing": ("# nothing\n\n", r"expected \[net\] as the first section, got nothing"),
    "an option of no section": ("width=3\n[net]\n", r"line 1: expected \[net\] as the first line, got width=3"),
    "no option": (HEADER + "filters 32\n", r"line 5: expected \[section\] or key=value, got filters32"),
    "net again": (DEPTHWISE + "[net]\n", r"line \d+: expected \[net\] once, got it again"),
    "no yolo": (HEADER + conv(8), r"expected a \[yolo\] section, got none"),
    "an unknown layer": (
        HEADER + "[reorg]\nstride=2\n",
        r"line 5: expected a layer that is supported \(.*\), got \[reorg\]",
    ),
    "an unknown option": (
        HEADER + "[maxpool]\nsize=2\nwings=2\n",
        r"line 7: .* \[maxpool\] .*, got wings=2; take it out",
    ),
    "an option twice": (HEADER + "[conv]\nsize=3\nsize=1\n", r"line 7: .* got size again, as at line 6"),
    "no number": (
        HEADER + "[conv]\nfilters=many\n",
        r"line 6: .* at least 1 for filters of \[conv\] \(layer 0\), got many",
    ),
    "a number of none": (HEADER + "[conv]\nfilters=0\n", r"line 6: .* at least 1 for filters .* got 0"),
    "an activation": (HEADER + "[conv]\nactivation=elu\n", r"line 6: expected one of linear, leaky, .* got elu"),
    "dilation": (HEADER + "[conv]\ndilation=2\n", r"line 6: expected 1, all that is supported, for dilation .* got 2"),
    "new coordinates": (
        HEADER + "[yolo]\nnew_coords=1\n",
        r"line 6: expected 0, all that is supported, for new_coords",
    ),
    "greyscale": (
        spoilt("varied", "channels=3", "channels=1"),
        r"expected 3, all that is supported, for channels of \[net\]",
    ),
    "a route beyond": (
        spoilt("depthwise", "layers=-1,17", "layers=-1,77"),
        r"for layers of \[route\] \(layer 25\), got 77",
    ),
    "a route before": (
        spoilt("depthwise", "layers=-1,17", "layers=-99"),
        r"layers before it, 0 to 24 or -1 to -25, .* got -99",
    ),
    "a route to itself": (spoilt("depthwise", "layers=-1,17", "layers=25"), r"layers before it, .* got 25"),
    "a route to nothing": (
        spoilt("depthwise", "layers=-1,17", "layers="),
        r"numbers, separated by commas .* got nothing",
    ),
    "a route to a yolo": (
        spoilt("depthwise", "layers=-3", "layers=-1"),
        r"features to read for layers .* layer 21, a \[yolo\]",
    ),
    "a yolo and on": (spoilt("depthwise", "[route]\nlayers=-3", "[dropout]"), r"begin with a \[route\]"),
    "other sizes": (
        spoilt("depthwise", "layers=-1,17", "layers=-1,3"),
        r"layers of one stride .* layer 24 at 16, layer 3 at 2",
    ),
    "a sum of others": (
        spoilt("depthwise", "from=-4", "from=-3"),
        r"a layer of 48 channels at stride 4 for from of \[shortcut\]",
    ),
    "two terms": (spoilt("depthwise", "from=-4", "from=-4,-5"), r"expected one layer for from of \[shortcut\]"),
    "a group of none": (
        spoilt("varied", "group_id=1", "group_id=2"),
        r"one of the 2 groups, counted from 0, for group_id",
    ),
    "parts that do not fit": (
        spoilt("varied", "groups=2", "groups=3"),
        r"groups that divide the 64 channels of layer 1",
    ),
    "groups that do not fit": (
        spoilt("depthwise", "groups=64", "groups=24"),
        r"groups that divide its 64 input channels and 64",
    ),
    "filters before a yolo": (
        spoilt("depthwise", "filters=21", "filters=24"),
        r"line \d+: expected filters=21, 3 anchors x \(5 \+ 2 classes\) of \[yolo\] at line \d+, for filters of \[con.*"
        r"\(layer 20\), got filters=24",
    ),
    "other classes": (
        DEPTHWISE[: DEPTHWISE.rindex("[convolutional]")] + head("1,2,3", classes=5),
        r"expected classes=2 as in \[yolo\] at line \d+ for classes of \[yolo\] \(layer 29\), got classes=5",
    ),
    "other counts of anchors": (
        DEPTHWISE[: DEPTHWISE.rindex("[convolutional]")] + head("1,2"),
        r"expected 3 anchors as in \[yolo\] at line \d+ for mask of \[yolo\] \(layer 29\), got 2",
    ),
    "half an anchor": (
        spoilt("varied", "62,50", "62"),
        r"12 numbers, a width and a height for each of num=6, .* got 11",
    ),
    "an anchor that is not there": (
        spoilt("varied", "mask=3,4,5", "mask=3,4,6"),
        r"its 6 anchors, counted from 0, for mask",
    ),
    "a head with BatchNorm": (
        spoilt("varied", "filters=21\nsize=1", "filters=21\nbatch_normalize=1\nsize=1"),
        r"activation=linear without batch_normalize before \[yolo\]",
    ),
    "a pool before a yolo": (
        spoilt("varied", "\n[yolo]", "\n[dropout]\n[yolo]"),
        r"expected a \[convolutional\] before it .* got \[dropout\]",
    ),
    "a map that shrinks": (
        spoilt("varied", "size=3\nbatch_normalize=1\nstride=2\npad=1", "size=3\nstride=2"),
        r"padding with",
    ),
    "too coarse": (
        HEADER + conv(4, 3, stride=2) * 6 + head("0"),
        r"a stride of the image that divides 32 for .* \(layer 5\), got 64",
    ),
    "too many weights": (
        HEADER + conv(60000) + conv(60000),
        r"a network of at most 1,073,741,824 weights for .* \(layer 1\), got 3,600,180,000 up to here",
    ),
    "finer than the image": (
        HEADER + section("upsample", stride=2) + head("0"),
        r"no finer than the image for \[upsample\] .* stride=2 at 1",
    ),
    "no letters": (HEADER + "[conv]\nfilters=\x07\x1b\n", r"got \?\?$"),
    "padding of nothing": (HEADER + "[maxpool]\nsize=2\npadding=4\n", r"less than the 2 of its size on every side"),
    "a scale of nothing": (HEADER + "[yolo]\nscale_x_y=0\nnum=1\nanchors=1,1\n", r"a number above 0 for scale_x_y"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_wrong_is_said_by_section_and_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        assemble(read_cfg(text))
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("cfg: ")


def test_a_named_line_is_the_line(tmp_path: Path) -> None:
    path = written("depthwise", tmp_path)
    lines = path.read_text().splitlines()
    number = lines.index("filters=21") + 1
    lines[number - 1] = "filters=255"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"depthwise\.cfg: line {number}: expected filters=21"):
        DarknetDetector(cfg=path)


def test_data_of_other_classes_are_told_what_to_change(tmp_path: Path) -> None:
    path = written("depthwise", tmp_path)
    lines = path.read_text().splitlines()
    classes, filters = (
        "/".join(str(number) for number, line in enumerate(lines, start=1) if line == wanted)
        for wanted in ("classes=2", "filters=21")
    )
    coarse, fine = classes.split("/")
    with pytest.raises(
        InputError, match="expected the 7 classes of the data or of names=, got 2; write classes=7 at line"
    ) as refused:
        DarknetDetector(cfg=path, num_classes=7)
    assert f"write classes=7 at line {coarse}/{fine} and filters=36 at line {filters} of a copy" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "could not read it"), (b"\xff\xfe\x00", "got other bytes"), (b"#" * 5_000_000, "got 5,000,000 bytes")],
)
def test_files_that_are_no_text(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "net.cfg").write_bytes(content)
    with pytest.raises(InputError, match=said) as refused:
        DarknetDetector(cfg=tmp_path / "net.cfg")
    assert str(tmp_path / "net.cfg") in str(refused.value)
    with pytest.raises(InputError, match=r"model\.cfg: expected the path of a \.cfg file"):
        DarknetDetector()


def test_letter_box_of_the_file_is_said_where_it_differs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    DarknetDetector(cfg=DEPTHWISE)
    DarknetDetector(cfg=DEPTHWISE.replace("channels=3", "channels=3\nletter_box=1"))
    assert not caplog.text
    DarknetDetector(cfg=DEPTHWISE.replace("channels=3", "channels=3\nletter_box=0"))
    assert "letter_box=0 asks for stretched images" in caplog.text
