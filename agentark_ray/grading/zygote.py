"""The process that compares mathematical expressions, by math-verify; started by `sandbox`.

It imports math-verify once and forks a worker for every socket it is handed, so that a new worker
costs milliseconds. Comparing what a model wrote may take for ever or eat all memory: a worker has
a memory limit, and an alarm of the kernel ends it at the deadline of the request it is working on,
whatever it is doing. Workers speak JSON lines. Nothing is evaluated as code: expressions go through
the LaTeX parser of latex2sympy2_extended only, never through SymPy's, which is Python's `eval`.

A request is `{"a", "b", "deadline_s"}`; the worker answers `{"stage": n}` after each of the two is
parsed, and then `{"equal": bool}` or `{"error": text}`.
"""

import contextlib
import ctypes
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 1 << 30  # address space of a worker
MEMORY_SLACK = 64 << 20  # this near to the limit an allocation has probably failed
MAX_REQUESTS = 5_000  # of a worker; SymPy's caches grow
PARENT_POLL_S = 1.0
MAX_RATIO = 1e-5  # relative difference of equal numbers, one of which is a rounded decimal
_RESOURCE_ERRORS = (MemoryError, RecursionError)

# Parsed once before the first fork: the parser's tables are then warm in every worker.
_WARM_UP = (
    r"\frac{\sqrt{3}x^2}{2} + \pi",
    r"\left(3, \frac{\pi}{2}\right) \cup [1, \infty)",
    r"\{1, -2, x = 5\}",
    r"2 \cdot 3^{n} - \sin(x) \log_2 8 \le 4",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"50\% \text{ even}",
    r"x \in (-\infty, 3], y \neq 1, 2 + 3i \pm |x|!",
    r"3\frac{1}{2}, 12.5, 10{,}000, 5:3, f(x) = x^3 - 2x + 1",
)


class OutOfResources(Exception):
    """Memory or recursion ran out; nothing is known about the answer."""


@lru_cache(512)
def parse(latex: str) -> Any:
    """A SymPy expression, or the normalised text where there is none.

    Raises:
        OutOfResources: parsing needs too much memory or too deep a recursion.
    """
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from math_verify.grader import should_treat_as_complex
    from math_verify.parser import get_last_eq

    config = NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="none"
    )
    text = normalize_latex(latex, config=config)
    for attempt in dict.fromkeys((text, get_last_eq(text))):
        try:
            return latex2sympy(
                attempt,
                is_real=not should_treat_as_complex(attempt),
                convert_degrees=False,
                normalization_config=None,
            )
        except _RESOURCE_ERRORS as error:
            raise OutOfResources(type(error).__name__) from error
        except Exception:
            continue  # not LaTeX that the parser knows: text may still equal text
    return text


def compare(a: Any, b: Any) -> bool:
    """Whether two parsed answers are equal, both as gold and as prediction.

    Raises:
        OutOfResources: as for `parse`.
    """
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and _squeezed(a) == _squeezed(b)
    return _verify(a, b) and _verify(b, a) and _close(a, b)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


def _verify(gold: Any, prediction: Any) -> bool:
    from math_verify import verify

    try:
        return verify(
            gold,
            prediction,
            timeout_seconds=None,
            raise_on_error=True,
            allow_set_relation_comp=True,
        )
    except _RESOURCE_ERRORS as error:
        raise OutOfResources(type(error).__name__) from error
    except Exception:
        return False  # SymPy has no way to compare these two


def _close(a: Any, b: Any) -> bool:
    """False for two numbers that math-verify takes as equal because both are near to 0."""
    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return True
    if _is_percent(a) or _is_percent(b) or a == b:
        return True
    try:
        ratio = complex((a / b).evalf(20))
    except _RESOURCE_ERRORS as error:
        raise OutOfResources(type(error).__name__) from error
    except OverflowError:
        return False
    except Exception:
        return True  # 0, infinite or of no type that is divided
    return not abs(ratio - 1) > MAX_RATIO


def _is_percent(expression: Any) -> bool:
    from math_verify.grader import get_pct_val

    return get_pct_val(expression) is not None


def memory_ran_out() -> bool:
    """Whether the address space came near to its limit: an allocation may have failed unseen."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        with open("/proc/self/status") as status:
            peak = next(line for line in status if line.startswith("VmPeak"))
    except (OSError, StopIteration):
        return False  # no Linux
    return int(peak.split()[1]) * 1024 > limit - MEMORY_SLACK


def answer(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The response to one request; `tell` is called between."""
    try:
        a = parse(request["a"])
        tell({"stage": 1})
        b = parse(request["b"])
        tell({"stage": 2})
        equal = compare(a, b)
    except OutOfResources as error:
        return {"error": str(error)}
    if not equal and memory_ran_out():
        return {"error": "MemoryError"}
    return {"equal": equal}


def work(connection: socket.socket) -> None:
    """Serve one client until it hangs up or enough was served."""
    lines = connection.makefile("rb")

    def tell(message: dict[str, Any]) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")

    tell({"pid": os.getpid()})
    for served, line in enumerate(lines, start=1):
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["deadline_s"])
        response = answer(request, tell)
        signal.setitimer(signal.ITIMER_REAL, 0)
        last = served >= MAX_REQUESTS or memory_ran_out()
        tell({**response, "last": last})
        if last:
            return


def _become_worker(connection: socket.socket) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also inside C code
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the zygote
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    # A hung-up client is how a worker ends.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        work(connection)


def serve(control: socket.socket) -> None:
    """Fork a worker for every socket that arrives, until the parent is gone."""
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    while os.getppid() == parent:
        if not select.select([control], [], [], PARENT_POLL_S)[0]:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        with socket.socket(fileno=descriptors[0]) as connection:
            if os.fork() == 0:
                control.close()
                try:
                    _become_worker(connection)
                finally:
                    os._exit(0)


def main() -> None:
    """Serve on the socket whose descriptor is the only argument."""
    logging.disable(logging.CRITICAL)  # math-verify warns of every failed comparison
    for latex in _WARM_UP:
        compare(parse(latex), parse(_WARM_UP[0]))
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
