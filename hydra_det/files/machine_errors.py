"""Which exceptions tell of the machine, and nothing of the file or the value at hand.

Whoever reads a file of strangers takes nearly every exception for a fault of that file. These are none: the same file
is read a minute later, when there is memory, a handle or a drive again. Needs no torch.
"""

import errno
import os

BROKEN = (errno.EIO, errno.ESTALE)
TOO_MANY = (errno.EMFILE, errno.ENFILE)
# What the message of an exception holds when memory of the host runs out. MemoryError says it by its type.
NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",  # torch c10/core/impl/alloc_cpu.cpp, on Linux
    "DefaultCPUAllocator: not enough memory",  # the same on Windows
    "std::bad_alloc",
    "Cannot allocate memory",  # strerror(ENOMEM), as when a worker is forked
)
# Libraries that open files on their own pass the system's words on, but not its number.
_WORDS = (*NO_MEMORY, *(os.strerror(number) for number in (*BROKEN, *TOO_MANY)))


def is_of_machine(error: BaseException) -> bool:
    """Whether it is about memory, handles or a drive that fails.

    Example:
        >>> is_of_machine(OSError(errno.EMFILE, "Too many open files"))
        True
        >>> is_of_machine(OSError(errno.ENOENT, "No such file or directory"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (*BROKEN, *TOO_MANY, errno.ENOMEM)
    return isinstance(error, OSError | RuntimeError) and any(words in str(error) for words in _WORDS)
