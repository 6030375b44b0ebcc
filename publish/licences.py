"""What is known of the licences of the dependencies, and which are accepted.

Licences are SPDX expressions. A licence that is neither in `PERMISSIVE` nor named for its package in `EXCEPTIONS` fails
`tests/test_dependencies.py`. Package names are patterns of `fnmatch`.
"""

# Use, change and pass on, with the notice kept; no duty to publish anything.
PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-2-Clause-Patent",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "CC0-1.0",
        "FTL",
        "IJG",
        "ISC",
        "MIT",
        "MIT-CMU",
        "OpenSSL",
        "PSF-2.0",
        "Unlicense",
        "Zlib",
        "libpng-2.0",
        "libtiff",
    }
)

NVIDIA = "LicenseRef-NVIDIA-Proprietary"
GCC_RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"

# (package, what of its licences is not permissive, why it is accepted). Whatever else such a package brings is refused.
EXCEPTIONS: tuple[tuple[str, frozenset[str], str], ...] = (
    (
        "tqdm",
        frozenset({"MPL-2.0"}),
        "Used as it is, by captum and pytorch-lightning among others. MPL-2.0 asks for the source of tqdm's own files"
        " where they are changed, and of nothing else.",
    ),
    (
        "grpcio",
        frozenset({"MPL-2.0"}),
        "Needed by tensorboard. MPL-2.0 is the licence of one data file, Mozilla's list of certificates.",
    ),
    ("hypothesis", frozenset({"MPL-2.0"}), "Runs in tests only."),
    ("pathspec", frozenset({"MPL-2.0"}), "Runs in mypy and in hatchling only."),
    (
        "numpy",
        frozenset({GCC_RUNTIME, "LGPL-2.1-or-later"}),
        "The wheel brings libgfortran, whose exception lets it go with any program, and libquadmath, in a file of its"
        " own, which can be replaced.",
    ),
    (
        "scipy",
        frozenset({GCC_RUNTIME, "LGPL-2.1-or-later"}),
        "As numpy.",
    ),
    (
        "torch",
        frozenset({GCC_RUNTIME}),
        "The wheel brings libgomp and libgfortran, whose exception lets them go with any program.",
    ),
    (
        "torchvision",
        frozenset({NVIDIA}),
        "The wheel for CUDA brings the CUDA runtime and nvJPEG. The wheel for CPUs does not.",
    ),
    (
        "triton",
        frozenset({NVIDIA}),
        "Comes with the CUDA build of torch. The wheel brings CUPTI and the programs ptxas, cuobjdump and nvdisasm.",
    ),
    (
        "nvidia-*",
        frozenset({NVIDIA}),
        "Come with the CUDA build of torch on Linux, each with its licence in the wheel: most the CUDA Toolkit EULA,"
        " which lets an application pass on the libraries that it lists.",
    ),
    ("cuda-toolkit", frozenset({NVIDIA}), "An empty package that names the `nvidia-*` ones; it states no licence."),
    (
        "onnxruntime",
        frozenset({"MPL-2.0"}),
        "Extra `export`. Eigen is compiled in, unchanged; its source is public.",
    ),
    (
        "opencv-python-headless",
        frozenset({"LGPL-2.1-or-later", GCC_RUNTIME}),
        "Runs in tests only, which compare our reading of Darknet's files with it. The wheel brings FFmpeg, without its"
        " GPL parts.",
    ),
    (
        "av",
        frozenset({"GPL-2.0-or-later", "LGPL-2.0-or-later", "LGPL-2.1-or-later", "LGPL-3.0-or-later"}),
        "Extra `video`, and not permissive as a wheel: see above.",
    ),
)

# Licences that the metadata of a package do not state, or not precisely, and where they stand.
STATED: dict[str, tuple[str, str]] = {
    "antlr4-python3-runtime": ("BSD-3-Clause", "metadata: BSD; LICENSE.txt of ANTLR"),
    "faster-coco-eval": ("Apache-2.0", "its LICENSE; its metadata names none"),
    "colorama": ("BSD-3-Clause", "metadata: BSD; LICENSE.txt in the wheel"),
    "contourpy": ("BSD-3-Clause", "LICENSE in the wheel"),
    "cuda-bindings": ("Apache-2.0", "metadata of the wheel for Linux"),
    "cuda-pathfinder": ("Apache-2.0", "metadata of the wheel for Linux"),
    "cuda-toolkit": (NVIDIA, "no licence stated; NVIDIA's package without files"),
    "cycler": ("BSD-3-Clause", "LICENSE in the wheel"),
    "jinja2": ("BSD-3-Clause", "metadata: BSD; LICENSE.txt in the wheel"),
    "kiwisolver": ("BSD-3-Clause", "LICENSE in the wheel"),
    "matplotlib": ("PSF-2.0", "metadata: PSF; LICENSE in the wheel is matplotlib's own wording of it"),
    "mpmath": ("BSD-3-Clause", "metadata: BSD; LICENSE in the wheel"),
    "numba": ("BSD-2-Clause", "metadata: BSD; LICENSE in the wheel"),
    "nvidia-*": (NVIDIA, "metadata of the wheels for Linux"),
    "omegaconf": ("BSD-3-Clause", "metadata: BSD; LICENSE in the wheel"),
    "prompt-toolkit": ("BSD-3-Clause", "metadata: BSD; LICENSE in the wheel"),
    "protobuf": ("BSD-3-Clause", "metadata: 3-Clause BSD; LICENSE in the wheel"),
    "pycocotools": ("BSD-2-Clause", "metadata: FreeBSD; license.txt of the COCO API"),
    "pyperclip": ("BSD-3-Clause", "metadata: BSD; LICENSE.txt in the wheel"),
    "scipy": ("BSD-3-Clause", "LICENSE.txt in the wheel"),
    "sympy": ("BSD-3-Clause", "metadata: BSD; LICENSE in the wheel"),
    "torchvision": ("BSD-3-Clause", "metadata: BSD; LICENSE in the wheel"),
    "triton": ("MIT", "metadata of the wheel for Linux"),
}

# Native libraries inside the wheels, by the first word of their file name without `lib`. Sources: the licence files and
# the SBOM in each wheel, `av._core.library_meta`, and the licence of each project.
BUNDLED: dict[str, dict[str, str]] = {
    "av": {
        "GPL-2.0-or-later": "x264 x265",
        "LGPL-3.0-or-later": "avcodec avdevice avfilter avformat avutil swresample swscale"
        " gmp hogweed nettle unistring",  # the last four under GPL-2.0-or-later as well, at choice
        "LGPL-2.1-or-later": "asound gnutls",
        "LGPL-2.0-or-later": "mp3lame",
        "Apache-2.0": "opencore",
        "BSD-2-Clause": "dav1d",
        "BSD-2-Clause-Patent": "vmaf",
        "BSD-3-Clause": "opus sharpyuv vpx webp webpmux",
        "BSD-3-Clause-Clear": "svtav1enc",
        "MIT": "drm vpl xau xcb",
    },
    "grpcio": {"MPL-2.0": "roots.pem"},
    "llvmlite": {"Apache-2.0 WITH LLVM-exception": "llvmlite"},
    "numpy": {GCC_RUNTIME: "gfortran", "LGPL-2.1-or-later": "quadmath", "BSD-3-Clause": "scipy"},
    "onnxruntime": {"MIT": "onnxruntime", "MPL-2.0": "Eigen"},
    "opencv-python-headless": {
        "LGPL-2.1-or-later": "avcodec avformat avutil swresample swscale quadmath",
        GCC_RUNTIME: "gfortran",
        "BSD-3-Clause": "openblas vpx",
        "OpenSSL": "crypto ssl",
        "libpng-2.0": "png16",
    },
    "openvino": {"Apache-2.0": "openvino tbb tbbbind tbbmalloc", "BSD-3-Clause": "hwloc"},
    "pillow": {
        "0BSD": "lzma",
        "BSD-2-Clause": "avif openjp2",
        "BSD-3-Clause": "sharpyuv webp webpdemux webpmux zstd",
        "FTL": "freetype",
        "IJG AND BSD-3-Clause AND Zlib": "jpeg",
        "MIT": "brotlicommon brotlidec harfbuzz lcms2 xau xcb",
        "libpng-2.0": "png16",
        "libtiff": "tiff",
    },
    "scipy": {GCC_RUNTIME: "gfortran", "LGPL-2.1-or-later": "quadmath", "BSD-3-Clause": "scipy"},
    "torch": {GCC_RUNTIME: "gfortran gomp", "BSD-3-Clause": "c10 caffe2 shm torch"},
    "torchvision": {
        NVIDIA: "cudart nvjpeg",
        "BSD-3-Clause": "sharpyuv webp",
        "IJG AND BSD-3-Clause AND Zlib": "jpeg",
        "Zlib": "z",
        "libpng-2.0": "png16",
    },
    "triton": {
        NVIDIA: "checkpoint cupti nvperf pcsamplingutil ptxas",
        "Apache-2.0 WITH LLVM-exception": "mlirdialectplugin",
        "MIT": "gpuinstrumentationtestlib proton triton tritonpluginstestlib",
    },
}
