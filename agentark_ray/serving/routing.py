"""Which replica of an engine is asked: the one that has read the beginning of the prompt.

Ray has a router for that. It asks an actor that keeps all prompts, for every request and in the
router's event loop, and loses requests when the actor is lost, knows a replica that the router does
not, or a prompt is empty. This one remembers hashes, in the process of the handle: all prompts of a
debate come from one process.
"""

from collections import OrderedDict
from collections.abc import Container, Iterator
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import (
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    RequestRouter,
    RunningReplica,
)

BLOCK_CHARS = 64
ENOUGH = 4  # blocks that a replica must have read; of a short prompt half
REMEMBERED = 200_000  # blocks, about 30 MB


class Seen:
    """Who has read which beginnings of texts last. Keeps hashes of them only.

    Args:
        size: blocks to remember; the ones that were used longest ago are forgotten.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._readers: OrderedDict[int, Any] = OrderedDict()

    def note(self, text: str, reader: Any) -> None:
        """It has read the text."""
        for key in _beginnings(text):
            self._readers[key] = reader
            self._readers.move_to_end(key)
        while len(self._readers) > self._size:
            self._readers.popitem(last=False)

    def reader(self, text: str, among: Container[Any]) -> Any:
        """Which of some has read the longest beginning of a text; None if that is short."""
        found, blocks = None, 0
        for key in _beginnings(text):
            reader = self._readers.get(key)
            if reader not in among:
                break
            found, blocks = reader, blocks + 1
        enough = min(ENOUGH, len(text) // BLOCK_CHARS / 2)
        return found if blocks >= enough else None


def _beginnings(text: str) -> Iterator[int]:
    """A hash for every whole block, of the text up to its end."""
    key = 0
    for end in range(BLOCK_CHARS, len(text) + 1, BLOCK_CHARS):
        key = hash((key, text[end - BLOCK_CHARS : end]))
        yield key


class PrefixRouter(LocalityMixin, MultiplexMixin, RequestRouter):
    """Asks the replica that has read the beginning of a prompt, unless it has much more to do.

    Otherwise, and for prompts that nobody knows, the less busy of two, as Serve does by default.
    """

    def initialize_state(self, **kwargs: int) -> None:
        """Called by Serve.

        Args:
            kwargs: `imbalance`, requests that the replica may hold more than the least busy one.
        """
        self._imbalance = kwargs["imbalance"]
        self._seen = Seen()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Groups of replicas, to be tried in this order."""
        known = self._reader(pending_request)
        # Also where somebody knows it: one that is full or lost must not be waited for, and Serve
        # pauses between attempts only if it was asked for others.
        usual: Any = PowerOfTwoChoicesRequestRouter.choose_replicas
        groups = await usual(self, candidate_replicas, pending_request)
        return groups if known is None else [[known], *groups]

    def _get_pending_request_matching_internal_request_id(
        self, request_metadata: Any = None
    ) -> PendingRequest | None:
        """The one that is routed now.

        Ray's way goes by an id that all calls of one request share: of the agents of a debate, who
        are asked at once, it would find one, and the others would wait for ever.
        """
        for waiting in self._pending_requests_to_fulfill:
            if waiting.metadata is request_metadata and not waiting.future.done():
                return waiting
        return None

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: Any, result: Any
    ) -> None:
        """Remember who reads it."""
        self._seen.note(prompt_of(pending_request), replica_id)

    def _reader(self, pending_request: PendingRequest | None) -> RunningReplica | None:
        if pending_request is None:
            return None
        reader = self._seen.reader(prompt_of(pending_request), self.curr_replicas)
        if reader is None:
            return None
        held = {name: self.replica_queue_len_cache.get(name) or 0 for name in self.curr_replicas}
        if held[reader] - min(held.values()) > self._imbalance:
            return None
        return self.curr_replicas[reader]


def prompt_of(pending_request: PendingRequest) -> str:
    """The text of a request to an engine, without system messages, which many prompts share."""
    request = pending_request.args[0] if pending_request.args else None
    messages = getattr(request, "messages", None)
    if messages is None:
        return str(getattr(request, "prompt", ""))
    return "\0".join(str(message["content"]) for message in messages if message["role"] != "system")
