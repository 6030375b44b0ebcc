"""What is said of the times beside their figures."""

import math

import pytest

from hydra_det.reports.statistics.gains import from_confidence


@pytest.mark.parametrize(
    ("confidences", "said"),
    [
        ([0.5, 0.5, math.nan], "NMS counts boxes of confidence 0.5 and more."),
        (
            [0.001],
            "NMS counts boxes of confidence 0.001 and more, as COCO's AP does: most of them no product would use.",
        ),
        ([0.5, 0.001], "NMS counts boxes of confidence 0.001 or 0.5 and more: these totals do not compare."),
        ([math.nan], ""),
    ],
)
def test_a_total_says_where_its_nms_begins(confidences, said):
    assert from_confidence(confidences) == said
