"""Annotation files, lists and class names that are wrong, a row each."""

import json

import pytest

from tests.bad_input.table import Row, as_parameters, assert_refused, swap

BOMB = '<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'
NESTED_JSON = "[" * 100_000
YOLO_LINE = "0 0.5 0.5 0.25 0.5"
KITTI_LINE = "Car 0.00 0 1.57 4.00 5.00 24.00 15.00 1.5 1.6 3.9 1.0 1.5 20.0 1.57"

COCO = {
    "empty": Row("coco", b"", "expected JSON"),
    "cut off": Row("coco", lambda content: content[:-9], "was the file cut off"),
    "another file": Row("coco", b"\x89PNG\r\n\x1a\n\xff", "expected JSON text"),
    "a list": Row("coco", b"[]", "expected a JSON object, got a list"),
    "nested without end": Row("coco", NESTED_JSON, "expected JSON text (RecursionError"),
    "a number of 5000 digits": Row("coco", swap('"id": 1', '"id": ' + "9" * 5000), "expected JSON text"),
    "no images key": Row("coco", swap('"images"', '"pictures"'), "a list under 'images', the key is missing"),
    "images as text": Row("coco", json.dumps({"images": "a"}), "a list under 'images', got a text"),
    "no images": Row("coco", json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}),
                     "at least one image"),
    "no categories": Row(
        "coco", json.dumps({"images": [], "annotations": [], "categories": []}), "at least one category"),
    "an image that is a number": Row("coco", json.dumps({"images": [5], "annotations": [], "categories": []}),
                                     "images[0]: expected a JSON object, got a number"),
    "no file name": Row("coco", swap("file_name", "name\\nof"), "images[0]: expected the key 'file_name'"),
    "an empty file name": Row("coco", swap("a.png", ""), "images[0]: expected a text for 'file_name'"),
    "a file name with NUL": Row("coco", swap("a.png", "a\\u0000.png"), "images[0]: expected a text for 'file_name'"),
    "half a surrogate pair": Row("coco", swap('"cat"', '"\\ud800"'), "categories[0]: expected a text for 'name'"),
    "a file outside": Row("coco", swap("a.png", "../../b.png"), "inside", "../../b.png"),
    "an absolute file": Row("coco", swap("a.png", "/etc/passwd"), "got a path that leaves it", "/etc/passwd"),
    "a name of 300 letters": Row("coco", swap("a.png", "a" * 300), "a name that no file can have", "aaa"),
    "a missing image": Row("coco", swap("a.png", "b.png"), "1 are missing, the first"),
    "a negative width": Row("coco", swap('"width": 48', '"width": -48'), "at least 1 for 'width', got -48"),
    "a width in words": Row("coco", swap('"width": 48', '"width": "48"'), "at least 1 for 'width', got '48'"),
    "another width": Row("coco", swap('"width": 48', '"width": 49'), "expected 49x32 pixels as annotated", "a.png"),
    "an id of 65 bits": Row("coco", swap('"id": 1', '"id": 18446744073709551616'), "images[0]: expected an integer"),
    "a true id": Row("coco", swap('"id": 1', '"id": true'), "images[0]: expected an integer"),
    "an unknown image": Row(
        "coco", swap('"image_id": 1', '"image_id": 2'), "annotations[0] (id 5): expected an image_id"),
    "an unknown category": Row(
        "coco", swap('"category_id": 3', '"category_id": 4'), "under 'categories' (3, 7), got 4"),
    "a used group of the name of a class": Row(
        "coco", swap('{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}',
                     '{"id": 3, "name": "cat"}, {"id": 7, "name": "cat", "supercategory": "cat"}'),
        "categories[1]: expected distinct"),
    "two categories of a name": Row("coco", swap("dog", "cat"), "categories[1]: expected distinct"),
    "a box of three": Row("coco", swap("[4, 5, 20, 10.5]", "[4, 5, 20]"), "expected 4 numbers"),
    "a box of texts": Row(
        "coco", swap("[4, 5, 20, 10.5]", '["4", 5, 20, 10.5]'), "finite numbers for 'bbox', got '4'"),
    "NaN in a box": Row("coco", swap("[4, 5,", "[NaN, 5,"), "finite numbers for 'bbox', got nan"),
    "infinity in a box": Row("coco", swap("[4, 5,", "[1e400, 5,"), "finite numbers for 'bbox', got inf"),
    "a long number in a box": Row("coco", swap("[4, 5,", f"[{10**400}, 5,"), "finite numbers for 'bbox'"),
    "a negative area": Row("coco", swap("150.5", "-150.5"), "an area of at least 0, got -150.5"),
    "half a crowd": Row("coco", swap('"iscrowd": 0', '"iscrowd": 0.5'), "0 or 1 for 'iscrowd', got 0.5"),
}  # fmt: skip

VOC = {
    "empty": Row("voc", b"", "expected xml, no element found"),
    "cut off": Row("voc", lambda content: content[:-9], "was it cut off"),
    "text": Row("voc", "cat 4 5 24 15", "expected xml, syntax error at line 1"),
    "entities": Row("voc", BOMB, "defines xml entities"),
    "entities in UTF-16": Row("voc", BOMB.encode("utf-16"), "defines xml entities"),
    "an external entity": Row("voc", OUTSIDE, "defines xml entities"),
    "an unknown encoding": Row("voc", '<?xml version="1.0" encoding="nope"?><a/>', "could not decode it"),
    "an encoding of several bytes": Row("voc", '<?xml version="1.0" encoding="shift_jis"?><a/>', "could not decode it"),
    "no file name": Row("voc", swap("<filename>a.png</filename>", ""), "a text under 'filename', got none"),
    "no size": Row("voc", swap("<width>48</width>", ""), "a text under 'size/width', got none"),
    "half a pixel": Row("voc", swap("<width>48<", "<width>48.5<"), "a whole number of pixels under 'size/width'"),
    "a box in words": Row("voc", swap("<xmin>4<", "<xmin>left<"), "object[0]: expected a number under 'bndbox/xmin'"),
    "NaN in a box": Row("voc", swap("<xmin>4<", "<xmin>nan<"), "object[0]: expected a number under 'bndbox/xmin'"),
    "no box": Row("voc", swap("bndbox>", "box>"), "expected xml, mismatched tag"),
    "a file outside": Row("voc", swap("a.png", "../../a.png"), "got a path that leaves it", "../../a.png"),
    "an absolute file": Row("voc", swap("a.png", "/etc/passwd"), "got a path that leaves it", "/etc/passwd"),
    "a list that leads outside": Row("voc_list", "a\n../../a\n", "image of a line of list.txt inside"),
    "a list with an absolute name": Row("voc_list", "/etc/passwd\n", "got a path that leaves it", "list.txt"),
    "a list with NUL": Row("voc_list", "a\0b\n", "a name that no file can have", "list.txt"),
    "a list of a missing image": Row("voc_list", "b\n", "No such file", "b.xml"),
    "a list with a name of 3000 letters": Row("voc_list", "9" * 3000 + "/../a\n", "that no file can have", "999"),
    "a list with a long path": Row("voc_list", "99/" * 600 + "a\n", "that no file can have", "99/"),
    "a picture that may be either": Row("voc_beside", swap("a.png", "b"), "and both images are there", "a.xml"),
    "a picture without suffix, of two": Row("voc_beside", swap("a.png", "c"), "got c.jpg and c.png", "a.xml"),
    "an empty list": Row("voc_list", "\n \n", "expected a list of distinct images, got 0"),
    "a list that names one twice": Row("voc_list", "a\na\n", "got 2, 1 of them distinct"),
    "a list that is no text": Row("voc_list", b"\xff\xfe\xfa", "a text file that lists images"),
}  # fmt: skip

LINES = {
    "four numbers": Row("yolo", "0 0.5 0.5 0.25\n", "line 1: expected 5 numbers"),
    "words": Row("yolo", f"{YOLO_LINE}\ncat 0.5 0.5 0.25 0.5\n", "line 2: expected numbers, got 'cat"),
    "an unknown class": Row("yolo", "2 0.5 0.5 0.25 0.5\n", "a class number from 0 to 1, got 2"),
    "half a class": Row("yolo", "0.5 0.5 0.5 0.25 0.5\n", "a class number from 0 to 1, got 0.5"),
    "a confidence": Row("yolo", f"{YOLO_LINE} 0.9\n", "a sixth is the confidence of a prediction"),
    "a polygon of an even number": Row("yolo", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1\n", "expected 5 numbers"),
    "a polygon outside": Row("yolo", "0 0.1 0.1 0.5 0.1 0.5 1.5\n", "shares of the image in [0, 1]"),
    "more than a pixel outside": Row("yolo", "0 0.5 0.5 0.5 1.04\n", "shares of the image in [0, 1]"),
    "pixels": Row("yolo", "0 24 16 12 16\n", "shares of the image in [0, 1]"),
    "NaN": Row("yolo", "0 nan 0.5 0.25 0.5\n", "expected finite numbers"),
    "infinity": Row("yolo", "0 1e400 0.5 0.25 0.5\n", "expected finite numbers"),
    "a line of a megabyte": Row("yolo", "9" * 1_000_000, "line 1: expected 5 numbers"),
    "an image": Row("yolo", b"\xff\xd8\xff\xe0", "expected text, got other bytes"),
    "kitti: fourteen numbers": Row("kitti", KITTI_LINE.removesuffix(" 1.57"), "expected 14 numbers"),
    "kitti: results, with scores": Row("kitti", f"{KITTI_LINE} 0.9", "expected 14 numbers"),
    "kitti: an unknown class": Row("kitti", KITTI_LINE.replace("Car", "Spaceship"), "got 'Spaceship'"),
    "kitti: NaN": Row("kitti", KITTI_LINE.replace("24.00", "nan"), "line 1: expected finite numbers"),
    "kitti: an image": Row("kitti", b"\x89PNG\xff", "expected text, got other bytes"),
    "kitti: a list that leads outside": Row("kitti_list", "../../a\n", "got a path that leaves it", "list.txt"),
    "kitti: a list with an absolute name": Row("kitti_list", "/a\n", "got a path that leaves it", "list.txt"),
    "kitti: a list of a missing image": Row("kitti_list", "b\n", "could not read it", "b.png"),
}

NAMES = {
    "empty": Row("yolo_yaml", "", "class names under 'names', found none"),
    "a list of a list": Row("yolo_yaml", "names: [[a], b]", "names[0]: expected text, got list"),
    "a text": Row("yolo_yaml", "names: cat", "under 'names', got str"),
    "a gap": Row("yolo_yaml", "names: {0: cat, 2: dog}", "as 0: ..., 1: ... under 'names'"),
    "a truth value": Row("yolo_yaml", "names: [no, yes]", "names[0]: expected text, got bool; put it in quotes"),
    "nothing": Row("yolo_yaml", "names: [cat, ~]", "names[1]: expected text, got NoneType"),
    "one twice": Row("yolo_yaml", "names: [cat, cat]", "distinct class names, got cat, cat"),
    "a list at the top": Row("yolo_yaml", "[cat, dog]", "as a list or as 0: ..., 1: ... under 'names'"),
    "an alias": Row("yolo_yaml", "a: &a [x, x]\nnames: [*a, *a]", "got the yaml alias a"),
    "a tag of Python": Row("yolo_yaml", "names: !!python/object/apply:os.system ['true']", "expected class names"),
    "a date that is none": Row("yolo_yaml", "names: [2001-99-99]", "expected class names"),
    "nested without end": Row("yolo_yaml", "[" * 100_000, "expected at most 40 levels"),
    "not closed": Row("yolo_yaml", "names: [cat", "expected class names"),
    "an image": Row("yolo_yaml", b"\xff\xd8\xff\xe0", "it is not text"),
    "lines: none": Row("yolo_names", "\n\n", "class names a line each, found none"),
    "an empty name": Row("yolo_yaml", "names: [cat, '']", "names[1]: expected the name of class 1, got none"),
    "lines: an empty one": Row("yolo_names", "cat\n\ndog\n", "line 2: expected the name of class 1, got none"),
    "lines: one twice": Row("yolo_names", "cat\ndog\ncat\n", "distinct class names"),
    "lines: an image": Row("yolo_names", b"\xff\xd8\xff\xe0", "it is not text"),
}

SPLITS = {
    "a folder that is not there": Row("data_yaml", swap("images/train", "images/trein"), "got images/trein; there are"),
    "a number": Row("data_yaml", swap("images/train", "3"), "train: expected the path of a folder or list"),
    "a mapping": Row("data_yaml", swap("images/train", "{a: b}"), "train: expected the path of a folder or list"),
    "an absolute folder that is not there": Row(
        "data_yaml", swap("images/train", "/nowhere"), "got /nowhere; there are"
    ),
    "a file that is no image": Row("data_yaml", swap("images/train", "data.yaml"), "train: expected images"),
    "NUL": Row("data_yaml", swap("images/train", '"a\\0b"'), "train: expected a folder, a list or an image, got a"),
    "a path of 3000 letters": Row("data_yaml", swap("images/train", "a" * 3000), "a name that no file can have"),
    "a folder without labels": Row("data_yaml", swap("images/train", "odd/images"), "expected a folder of labels"),
    "path as a list": Row("data_yaml", swap("path: .", "path: [a]"), "expected a folder under 'path', got list"),
    "a list of images that are not there": Row("data_list", "images/val/b.png\n", "got images/val/b.png", "data.yaml"),
    "an empty list of images": Row("data_list", "\n", "val: expected images in", "data.yaml"),
    "a list that is no text": Row("data_list", b"\xff\xfe\xfa", "a text file that lists images"),
}


@pytest.mark.parametrize("row", as_parameters(SPLITS))
def test_splits_of_a_data_yaml_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(COCO))
def test_coco_is_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(VOC))
def test_voc_is_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(LINES))
def test_lines_of_labels_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(NAMES))
def test_class_names_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)
