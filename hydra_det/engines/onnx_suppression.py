"""Non-maximum suppression at the end of an ONNX file, in ONNX's own operators.

`NonMaxSuppression` (https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html) is greedy within a class, as
`modules.yolo.decode.suppress` is; what it keeps is sorted and cut here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

BOXES, CONFIDENCES, LABELS = "boxes", "confidences", "labels"


def add_suppression(model: Any, *, size: int, iou: float, most: int, confidence: float) -> None:
    """Put suppression behind the decoding of one image.

    Afterwards the answers are `boxes` [K, 4] clipped to the image, `confidences` [K] and `labels` [K], the most certain
    first.

    Args:
        model: an ONNX model of one image whose outputs are `boxes` [1, N, 4] and `confidences` [1, N, C].
        size: side of the image, pixels.
        iou: of two boxes of one class that overlap more than this the less certain one goes.
        most: boxes that stay.
        confidence: boxes below are left out; those that reach it stay, though ONNX asks for more.
    """
    from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415 - an optional package

    graph, just_below = model.graph, np.nextafter(np.float32(confidence), np.float32(0))
    constants = {
        "nms_none": np.float32(0), "nms_size": np.float32(size), "nms_most": np.array([most], np.int64),
        "nms_iou": np.array([iou], np.float32), "nms_confidence": just_below.reshape(1),
        "nms_first": np.array([0], np.int64), "nms_class": np.array(1, np.int64), "nms_box": np.array(2, np.int64),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    for node in graph.node:  # the names are those of the answer now
        for place, name in enumerate(node.output):
            node.output[place] = _inside(name)
        for place, name in enumerate(node.input):
            node.input[place] = _inside(name)
    steps: Sequence[tuple[str, list[str], list[str], dict[str, Any]]] = (
        ("Clip", ["all_boxes", "nms_none", "nms_size"], ["clipped"], {}),
        ("Transpose", ["all_confidences"], ["by_class"], {"perm": [0, 2, 1]}),
        ("NonMaxSuppression", ["clipped", "by_class", "nms_most", "nms_iou", "nms_confidence"], ["kept"], {}),
        ("GatherND", ["by_class", "kept"], ["certain"], {}),
        ("Shape", ["certain"], ["found"], {}),
        ("Min", ["found", "nms_most"], ["count"], {}),
        ("TopK", ["certain", "count"], ["confidences", "order"], {"axis": 0, "largest": 1, "sorted": 1}),
        ("Gather", ["kept", "nms_class"], ["kept_labels"], {"axis": 1}),
        ("Gather", ["kept_labels", "order"], ["labels"], {"axis": 0}),
        ("Gather", ["kept", "nms_box"], ["kept_boxes"], {"axis": 1}),
        ("Gather", ["kept_boxes", "order"], ["places"], {"axis": 0}),
        ("Squeeze", ["clipped", "nms_first"], ["of_image"], {}),
        ("Gather", ["of_image", "places"], ["boxes"], {"axis": 0}),
    )
    graph.node.extend(helper.make_node(kind, given, made, **options) for kind, given, made, options in steps)
    del graph.output[:]
    graph.output.extend([
        helper.make_tensor_value_info(BOXES, TensorProto.FLOAT, ["found", 4]),
        helper.make_tensor_value_info(CONFIDENCES, TensorProto.FLOAT, ["found"]),
        helper.make_tensor_value_info(LABELS, TensorProto.INT64, ["found"]),
    ])  # fmt: skip
    checker.check_model(model)


def _inside(name: str) -> str:
    return f"all_{name}" if name in (BOXES, CONFIDENCES) else name
