"""How long a job waits for storage that fails for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from ray.data import DataContext
from ray.data.context import DEFAULT_RETRIED_IO_ERRORS

# A network file system or disk that is gone for a moment, in the words of the operating system; an
# object store that is. A full disk is not among them: it does not mend itself.
OUTAGES = (
    "Read-only file system",
    "Input/output error",
    "Stale file handle",
    "Transport endpoint is not connected",
    "Connection timed out",
    "Connection reset by peer",
    "google::cloud::Status(UNAVAILABLE",
)
ATTEMPTS = 10
LONGEST_WAIT_S = 32

T = TypeVar("T")


def retry_outages(context: DataContext) -> None:
    """Let Ray Data try reads and writes again during an outage.

    It does so up to 10 times with waits of 1, 2, 4, ... 32 s, so that an outage of two minutes
    costs time only; a longer one ends the job, which can be resumed. Data files are tried 10 times
    10 times, because both the write and the file system below it are retried.
    """
    context.retried_io_errors = [*DEFAULT_RETRIED_IO_ERRORS, *OUTAGES]


def patiently(call: Callable[[], T]) -> T:
    """`call()`, again during an outage as Ray Data does it: up to 10 times within two minutes."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return call()
        except OSError as error:
            if not any(words in str(error) for words in (*DEFAULT_RETRIED_IO_ERRORS, *OUTAGES)):
                raise
            time.sleep(min(2**attempt, LONGEST_WAIT_S))
    return call()
