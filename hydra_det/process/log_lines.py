"""How the lines of a job are logged: a warning once, those of several jobs by name, none as a traceback."""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator

from hydra_det.process.failures.drives import refusal

log = logging.getLogger(__name__)


class Once(logging.Filter):
    """Lets a warning through once: a job makes many parts from the same config, and each of them would repeat it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        new = record.levelno != logging.WARNING or record.getMessage() not in self.said
        self.said.add(record.getMessage() if record.levelno == logging.WARNING else "")
        return new


class NamedLines(logging.Formatter):
    """Another formatter's text with a name before every line of it, also before those of a traceback."""

    def __init__(self, name: str, inner: logging.Formatter) -> None:
        super().__init__()
        self.name, self.inner = name, inner

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return "\n".join(f"{self.name} | {line}" for line in self.inner.format(record).splitlines())


def name_lines(name: str) -> None:
    """Say on the terminal, which several jobs write to, whose a line is; the file in the job's folder needs none."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setFormatter(NamedLines(name, handler.formatter or logging.Formatter()))


@contextlib.contextmanager
def calm_lines() -> Iterator[None]:
    """While a job runs, a warning is said once, and a line that a drive refuses is lost without a traceback.

    The job itself meets the same drive and says so. A mistake in a log call stays as loud as ever. The handlers stay as
    they are made here: Hydra makes new ones for the next job, and in the meantime writes to these.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(Once())
        if not isinstance(handler.handleError, _Lost):
            handler.handleError = _Lost(handler.handleError)  # type: ignore[method-assign]
    before = threading.excepthook
    threading.excepthook = _say_of_thread
    try:
        yield
    finally:
        threading.excepthook = before


class _Lost:
    """What a handler does with a record that it could not write."""

    def __init__(self, otherwise: Callable[[logging.LogRecord], None]) -> None:
        self.otherwise = otherwise

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is None or refusal(error, {}) is None:
            self.otherwise(record)


def _say_of_thread(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; what a drive refuses it is raised in the job too, with the next number."""
    if failed.exc_value is not None and refusal(failed.exc_value, {}):
        log.warning("not written: %s", failed.exc_value)
    else:
        threading.__excepthook__(failed)
