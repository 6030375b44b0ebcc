"""The YOLOv3 family: backbones, heads, loss, decoding, and Darknet's files of weights."""
