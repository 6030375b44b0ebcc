"""Class names by number."""

import pytest

from hydra_det.data.formats.names import read_names
from hydra_det.types import InputError


@pytest.mark.parametrize("text", ["cat\ndog\n", "cat\r\ndog\r\n\r\n", " cat\ndog", "\ufeffcat\ndog\n\n"])
def test_lines(text, tmp_path):
    (tmp_path / "a.names").write_text(text, encoding="utf-8", newline="")
    assert read_names(tmp_path / "a.names") == ["cat", "dog"]


@pytest.mark.parametrize(
    "text",
    ["names: [cat, dog]", "names: {0: cat, 1: dog}", "names: {'0': cat, '1': dog}", "names:\n- cat\n- dog"],
)
def test_yaml(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    assert read_names(tmp_path / "a.yaml") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.names", "cat\n\ndog\n", r"a\.names: line 2: expected the name of class 1, got none"),
        ("a.names", "\ncat\ndog\n", r"a\.names: line 1: expected the name of class 0, got none"),
        ("a.yaml", "names: [cat, '', dog]", r"a\.yaml: names\[1\]: expected the name of class 1, got none"),
    ],
)
def test_an_empty_line_would_shift_every_class_behind_it(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_names(tmp_path / name)
