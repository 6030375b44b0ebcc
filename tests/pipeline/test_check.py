"""What is said of weights before anything is trained with them."""

from tests.pipeline.tiny import arguments, compose
from train import train


def test_weights_that_learned_with_other_anchors_are_named(finished, tmp_path, caplog):
    weights = finished / "run" / "stages" / "pretrain" / "weights.safetensors"
    words = (f"data.root={finished / 'shapes'}", f"model.weights={weights}", "dry_run=true")
    for further, size in (("seed=1", 64), ("data.image_size=32", 32)):
        caplog.clear()
        train(compose(arguments(tmp_path, *words, further)), tmp_path / "run")
        said = [record.getMessage() for record in caplog.records if "anchors" in record.getMessage()]
        assert len(said) == (size != 64)
    assert said[0].startswith("model.weights: expected the anchors that they learned with, those of ")
    assert f"{finished / 'run' / 'config.yaml'} (data.image_size=64), got others; give that image_size" in said[0]


def test_weights_beside_what_is_no_config_of_a_run_are_taken_with_a_warning(finished, tmp_path, caplog):
    place = tmp_path / "a" / "b" / "c" / "weights.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes((finished / "run" / "stages" / "pretrain" / "weights.safetensors").read_bytes())
    config = compose(arguments(tmp_path, f"data.root={finished / 'shapes'}", f"model.weights={place}", "dry_run=true"))
    train(config, tmp_path / "run")
    assert "anchors" not in caplog.text
    (tmp_path / "a" / "config.yaml").write_text("model: {}\n")
    train(config, tmp_path / "run")
    assert "with which anchors they learned is not known" in caplog.text
