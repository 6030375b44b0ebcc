"""torchvision's detectors behind the verbs of `modules/protocol.py`: its layers, its losses, its suppression.

Their state dicts have torchvision's keys, so its own weights load. What differs: images come in the size that the data
has, and are not scaled again; a loss is of one image, divided by the objects of that image.
"""
