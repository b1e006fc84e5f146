"""How much memory an engine's processes hold."""

from collections.abc import Sequence

import psutil


def resident() -> tuple[int, str]:
    """Bytes of this process and all that it started, and what was counted.

    `pss` (proportional set size) counts a page that several processes share once, in parts. Where
    the system does not tell it, it is `rss`, which counts such a page once a process.
    """
    own = psutil.Process()
    tree = [own, *own.children(recursive=True)]
    try:
        return sum(_pss(process) for process in tree), "pss"
    except (psutil.AccessDenied, AttributeError):  # another user's, or not Linux
        return sum(_rss(process) for process in tree), "rss"


def together(found: Sequence[tuple[int, str]]) -> tuple[int, str]:
    """The sum over several engines; `rss` if it is that of one of them."""
    names = {name for _, name in found}
    return sum(size for size, _ in found), "rss" if "rss" in names else "pss"


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:  # it ended in between
        return 0


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
