"""From a picture to boxes, an attack, masks and a smaller network: the library in one go.

python examples/own_images.py                                      # after `make demo`, on one of its pictures
python examples/own_images.py --run outputs/runs/... photo.jpg     # another run, a picture of your own

The lines `# %%` make cells of it in VS Code, PyCharm, Spyder and Jupytext.
"""

import argparse
import sys
from pathlib import Path

import hydra_det

# %% What to look at
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("picture", nargs="?", type=Path, help="one of the run's test images by default")
parser.add_argument("--run", type=Path, default=Path("outputs/demo"), help="the folder of a finished run")
parser.add_argument("--out", type=Path, default=Path("outputs/example"), help="where pictures go")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has arguments of its own
options.out.mkdir(parents=True, exist_ok=True)

run = hydra_det.load_run(options.run)
data = run.data  # read when something asks for an image
picture = options.picture or data.splits["test"].records[0].path

# %% Boxes, clean and under attack: of the pruned network, which was hardened
attack = hydra_det.PGD(epsilon=8 / 255, step_size=2 / 255, steps=10)
predict = hydra_det.Predictor.from_run(run, "pruned", attack=attack)
found = predict(picture)
assert found.attacked is not None, "an attack was asked for"
print(f"{picture}: {len(found.clean.objects)} objects")
for name, confidence, box in found.clean.objects[:5]:
    print(f"  {name} {confidence:.2f} at {[round(edge) for edge in box]}")
print(f"under attack: {len(found.attacked.objects)} objects")
found.clean.drawn().save(options.out / "clean.png")
found.attacked.drawn().save(options.out / "attacked.png")
print(f"both with their boxes: {options.out / 'clean.png'}, {options.out / 'attacked.png'}")

# %% The dense network, pruned here: scores by DeepLIFT, then the best quarter of its channels
net = hydra_det.make_masked(run.network("dense"))
batches = data.sample_loader(16, batch_size=4)
hydra_det.initial_scores(net, batches, "deeplift", attack=attack, images=16)
hydra_det.prune(net, 0.75, granularity="filter_group")
counted = hydra_det.sparsity(net)
print(f"{counted['pruned'] / counted['total']:.0%} of {counted['total']} weights removed")

# %% What is left of it as a network of its own, proved to answer the same
small = hydra_det.compact(net)
dense = run.network("dense")
before, after = (sum(parameter.numel() for parameter in one.parameters()) for one in (dense, small.network))
print(
    f"{before} parameters become {after}; raw maps differ by {small.differences['float32']:.0e} of their largest value"
)

# %% What that costs without fine-tuning, beside the network of the run, which was fine-tuned
for name, network in {"dense": dense, "pruned here": small.network, "by the run": run.network("pruned")}.items():
    scores = hydra_det.evaluate(network, data, attack)
    clean, attacked = scores["clean"], scores["attacked"]
    assert attacked is not None, "an attack was asked for"
    print(f"{name}: AP {clean['coco']['map']:.3f} clean, {attacked['coco']['map']:.3f} attacked")
