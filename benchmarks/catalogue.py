"""The benchmarks that `make bench` runs, in the order of the page, with sizes that fit into its minutes.

A benchmark that is added here has to take `--save FILE` and write there what `Measured` holds.
"""

from typing import NamedTuple


class Benchmark(NamedTuple):
    """What is run, and why.

    Attributes:
        question: the heading.
        compares: what is compared with what, in a sentence or two that hold whatever is found.
        command: behind `python -m`.
    """

    question: str
    compares: str
    command: str


CPU = {
    "training_step": Benchmark(
        "How long is a training step?",
        "Forward, loss, backward and optimiser of the full YOLOv3 at 416 px, beside pytorchyolo, another YOLOv3 "
        "in PyTorch (GPL, called as a black box, no part of this project), with the same images and objects. Its "
        "AdamW steps parameter by parameter, torch's default and what its own training does; ours is fused. `auto` is "
        "what `trainer.precision=auto` takes: bfloat16 and channels_last where the processor has units for it.",
        'benchmarks.training_step --rounds 4 --warmup 1 --only auto "AdamW by parameter" channels_last',
    ),
    "inference": Benchmark(
        "How long does one image take?",
        "The forward pass of the dense YOLOv3 at 416 px in PyTorch and in the runtimes that `compact.py` exports "
        "to, in float32.",
        'benchmarks.inference --rounds 7 --warmup 2 --only "eager, channels_last" onnxruntime openvino',
    ),
    "score_step": Benchmark(
        "How long is a step of score training under attack?",
        "Our step beside layers written as HYDRA's public ones are: they sort their scores and mask their weights in "
        "every forward pass, those of the attack too. The full YOLOv3 at 416 px under PGD-5.",
        "benchmarks.score_step --batch 1 --rounds 1 --warmup 0",
    ),
    "deeplift": Benchmark(
        "What do DeepLIFT scores for all layers cost?",
        "One pass for all 75 convolutions of YOLOv3 at 416 px, beside a training step without its optimiser, one pass "
        "with Captum's own rules, and Captum's `LayerDeepLift`, which needs a pass a layer: a few of these passes are "
        "timed, spread evenly, and reckoned up to all layers.",
        "benchmarks.deeplift --batch 1 --rounds 2 --warmup 1 --layers 3 "
        '--only "one pass" "Captum, one pass" "Captum, a pass a layer"',
    ),
    "attack": Benchmark(
        "What does an attack cost beside its passes through the network?",
        "PGD-5 as the callback makes it, with all that leaves the network untouched, beside five bare passes, "
        "forward and backward to the images.",
        "benchmarks.attack --threads 1 --model yolov3_nano --batch 4 --image-size 160 --rounds 5 --only PGD-5 "
        '"PGD-5, masked" "passes with gradients of weights" "PGD-5, channels_last"',
    ),
    "hardening": Benchmark(
        "What does a training step cost under each way of hardening?",
        "Four training steps, every batch hardened, beside adversarial training with PGD-5. The ways do not teach"
        " the same: [hardening.md](hardening.md) says what each brings.",
        "benchmarks.hardening --threads 1 --batch 4 --rounds 3 --warmup 0",
    ),
    "compaction": Benchmark(
        "How much faster is a network without the channels that masks remove?",
        "The dense YOLOv3 at 416 px beside four small networks: compact, as `compact.py` makes it; its channels "
        "rounded up to multiples of 8; masks that keep multiples of 8; and an architecture built narrow with as "
        "many parameters. Times of the dense network over theirs, in one engine; at the right what the times in "
        "the paper give.",
        "benchmarks.compaction --ratios 0.5 0.9 --engines openvino --rounds 5 --warmup 1",
    ),
    "sparse": Benchmark(
        "How much faster are masks of single weights and of kernels?",
        "The dense YOLOv3 at 416 px in every runtime, beside random masks of it in the sparse engine, on one thread;"
        " the ratios that the times in the paper give stand beside. No channel is removed.",
        "benchmarks.sparse --threads 1 --rounds 5",
    ),
    "sparse_threads": Benchmark(
        "And on two threads?",
        "The same on two threads.",
        "benchmarks.sparse --threads 2 --rounds 5 --ratios 0.75 0.9 0.95 0.99",
    ),
    "sparse_small": Benchmark(
        "And a small network?",
        "YOLOv3-nano at 160 px, on one thread.",
        "benchmarks.sparse --threads 1 --rounds 15 --model yolov3_nano --image-size 160 --ratios 0.75 0.9 0.95",
    ),
    "sparse_batch": Benchmark(
        "And many images at once?",
        "YOLOv3-tiny at 416 px, batches of eight, on two threads.",
        "benchmarks.sparse --threads 2 --rounds 5 --model yolov3_tiny --batch 8 --ratios 0.75 0.9 0.95",
    ),
    "average_precision": Benchmark(
        "How long does average precision take?",
        "COCO's AP of made-up detections by hydra_det, which has pycocotools compute it, beside pycocotools alone"
        " and faster-coco-eval (Apache-2.0).",
        "benchmarks.average_precision --images 250 --rounds 3",
    ),
    "stage_memory": Benchmark(
        "How much memory does a stage need?",
        "The peak of each stage of the full YOLOv3 at 416 px above what the process holds with all its imports, "
        "each in a process of its own, one batch under attack; networks and optimiser are in it.",
        "benchmarks.stage_memory --batch 1",
    ),
    "shared_stages": Benchmark(
        "What do shared stages save?",
        "A sweep over ratios, whose jobs share pretraining, beside separate runs, each into an empty store: time "
        "on the clock, scoring and timing included.",
        "benchmarks.shared_stages --ratios 4 --separate 1 trainer.limit_train_batches=0.2 data.test_size=40 "
        "evaluation.bootstrap=0 evaluation.samples=0 evaluation.latency.repeats=5",
    ),
}

# Few processes, as imports take most of their time on such a machine.
CUDA = {
    "training_step": Benchmark(
        CPU["training_step"].question,
        "Forward, loss, backward and optimiser of the full YOLOv3 at 416 px, in float32 as torch computes it, "
        "which may use TF32 for convolutions, and in bfloat16 by autocast.",
        "benchmarks.training_step --device cuda --batch 16 --rounds 10 --warmup 3 --only channels_last bf16 "
        '"bf16, channels_last"',
    ),
    "attack": Benchmark(
        CPU["attack"].question,
        "PGD-5 as the callback makes it beside five bare passes, forward and backward to the images; the same "
        "passes with the network recorded as a CUDA graph.",
        'benchmarks.attack --device cuda --batch 16 --rounds 10 --warmup 3 --only PGD-5 "PGD-5, channels_last" '
        '"PGD-5, bf16" "PGD-5, bf16, channels_last" "passes alone, CUDA graph"',
    ),
    "score_step": Benchmark(
        CPU["score_step"].question,
        CPU["score_step"].compares,
        "benchmarks.score_step --device cuda --batch 16 --rounds 5 --warmup 1",
    ),
    "inference": Benchmark(
        CPU["inference"].question,
        "The forward pass of the dense YOLOv3 at 416 px, eager and recorded as a CUDA graph.",
        'benchmarks.inference --device cuda --rounds 30 --warmup 5 --only "eager, bf16" "eager, bf16, '
        'channels_last" "CUDA graph" "CUDA graph, bf16, channels_last"',
    ),
}

LISTS = {"cpu": CPU, "cuda": CUDA}
