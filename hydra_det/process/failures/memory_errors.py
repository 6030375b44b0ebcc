"""Which exceptions say that memory ran out, and how a user is told.

Nothing here needs torch: types are known by their names, the rest by texts of the libraries that raise them.
"""

from hydra_det.errors import chain
from hydra_det.files.machine_errors import NO_MEMORY

DEVICE, HOST, WORKER = "device", "host", "worker"

# What the message of a RuntimeError or an OSError holds, and whose memory that is.
TEXTS = {
    "CUDA out of memory": DEVICE,  # torch c10/cuda/CUDACachingAllocator.cpp
    "CUDA error: out of memory": DEVICE,  # the driver's own, outside of torch's allocator
    "CUDNN_STATUS_ALLOC_FAILED": DEVICE,  # cuDNN and cuBLAS for their workspaces
    "CUBLAS_STATUS_ALLOC_FAILED": DEVICE,
    "MPS backend out of memory": DEVICE,  # torch aten/src/ATen/mps/MPSAllocator.mm
    **dict.fromkeys(NO_MEMORY, HOST),
    "unable to allocate shared memory(shm)": WORKER,  # torch aten/src/ATen/MapAllocator.cpp
    # torch/csrc/DataLoader.cpp. The kernel kills with SIGKILL what takes too much, and sends SIGBUS where a page of
    # /dev/shm cannot be had.
    "is killed by signal: Killed": WORKER,
    "is killed by signal: Bus error": WORKER,
    "are out of shared memory": WORKER,  # its advice for SIGBUS
}
ADVICE = {
    DEVICE: "lower data.batch_size (in training), data.evaluation_batch_size (in evaluation), init.micro_batch (of "
    "scores), data.image_size or model.width, take trainer.precision=bf16-mixed, or out_of_memory=halve",
    HOST: "lower data.batch_size (in training), data.evaluation_batch_size (in evaluation), init.micro_batch (of "
    "scores), data.workers, data.image_size or model.width, take data.cache_images=false, or out_of_memory=halve",
    WORKER: "take fewer data.workers (0: none) or data.cache_images=false, lower data.batch_size, or give the machine "
    "more memory, in a container also more of /dev/shm",
}
NAMES = {DEVICE: "memory on the device", HOST: "memory", WORKER: "memory for the processes that load images"}
LONGEST = 160  # characters of what the library said


def memory_kind(error: BaseException) -> str | None:
    """Whose memory ran out: `device`, `host` or `worker`; None: another error."""
    return next((kind for part in chain(error) if (kind := _kind(part))), None)


def explain(error: BaseException) -> str | None:
    """One line for the user if memory ran out, with the notes of the exception on where that was; None if not."""
    kind = memory_kind(error)
    if kind is None:
        return None
    notes = "; ".join(getattr(error, "__notes__", []))
    said = " ".join(str(next(part for part in chain(error) if _kind(part))).split())
    where = f"{notes}: " if notes else ""
    shown = said if len(said) <= LONGEST else f"{said[:LONGEST]}..."
    return f"{where}expected enough {NAMES[kind]}, got {shown or type(error).__name__}; {ADVICE[kind]}"


def _kind(error: BaseException) -> str | None:
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return DEVICE
    if isinstance(error, MemoryError):  # numpy's and Pillow's too; a worker's arrives as its own type
        return HOST
    if isinstance(error, RuntimeError | OSError):
        return next((kind for text, kind in TEXTS.items() if text in str(error)), None)
    return None
