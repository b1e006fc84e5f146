"""Which replica is asked, by what replicas have read."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentHandleSource, DeploymentID
from ray.serve._private.request_router.common import PendingRequest

from agentark_ray.serving.routing import BLOCK_CHARS, PrefixRouter, Seen


def text(blocks: int, name: str = "a") -> str:
    return "".join(f"{name}{number}".ljust(BLOCK_CHARS) for number in range(blocks))


def found(seen: Seen, text: str) -> Any:
    return seen.reader(text, ["one", "two", "three", *range(9)])


def test_the_reader_of_the_longest_beginning_is_found() -> None:
    seen = Seen()
    seen.note(text(4), "one")
    seen.note(text(4) + text(4, "b"), "two")
    assert found(seen, text(4) + text(4, "b") + "and more") == "two"
    assert found(seen, text(4) + text(4, "c")) == "two"  # who has read it last
    seen.note(text(4), "one")
    assert found(seen, text(4) + text(4, "c")) == "one"
    assert found(seen, text(4, "c") + text(4)) is None


def test_a_short_beginning_is_nobodys() -> None:
    seen = Seen()
    seen.note(text(3) + text(20, "b"), "one")
    assert found(seen, text(3) + text(20, "c")) is None  # three blocks of many
    assert found(seen, text(3) + text(3, "c")) == "one"  # half
    assert found(seen, text(3) + text(4, "c")) is None
    assert found(seen, "") is None and found(seen, text(1)[:-1]) is None


def test_what_was_used_longest_ago_is_forgotten() -> None:
    seen = Seen(size=4)
    seen.note(text(2, "a"), "one")
    seen.note(text(2, "b"), "two")
    seen.note(text(2, "a"), "one")
    seen.note(text(2, "c"), "three")
    assert {name: found(seen, text(2, name)) for name in "abc"} == {
        "a": "one",
        "b": None,
        "c": "three",
    }


@given(st.lists(st.text(max_size=300), min_size=1, max_size=9))
def test_a_text_is_found_as_it_was_noted(noted: list[str]) -> None:
    seen = Seen()
    for number, one in enumerate(noted):
        seen.note(one, number)
    last = noted[-1]
    whole = len(last) >= BLOCK_CHARS
    assert found(seen, last) == (len(noted) - 1 if whole else None)


def router(replicas: int = 2) -> PrefixRouter:
    """A router with replicas 0, 1, ... that hold nothing."""
    found = PrefixRouter(
        deployment_id=DeploymentID(name="engine"),
        handle_source=DeploymentHandleSource.REPLICA,
        use_replica_queue_len_cache=True,
    )
    found.initialize_state(imbalance=3)
    found._replicas = {number: number for number in range(replicas)}  # type: ignore[assignment]
    found._replica_id_set = set(found._replicas)
    return found


def pending(*contents: str, **values: Any) -> PendingRequest:
    roles = ("system", "user", "assistant")
    messages = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]
    request = SimpleNamespace(**(values or {"messages": messages}))
    rest: Any = SimpleNamespace(multiplexed_model_id="")
    return PendingRequest(args=[request], kwargs={}, metadata=rest, future=rest)


def chosen(found: PrefixRouter, request: PendingRequest) -> Any:
    async def choose() -> Any:
        return (await found.choose_replicas(list(found.curr_replicas.values()), request))[0]

    return asyncio.run(choose())


@pytest.fixture(autouse=True)
def same_choices() -> None:
    random.seed(5)


SYSTEM = {"role": "system", "content": text(9)}


@pytest.mark.parametrize(
    "values", [{"messages": []}, {"messages": [SYSTEM]}, {"prompt": ""}, {"other": 1}]
)
def test_a_request_without_text_has_the_usual_choice(values: dict[str, Any]) -> None:
    found = router()
    request = pending(**values)
    found.on_request_routed(request, 0, None)
    assert sorted(chosen(found, request)) == [0, 1]


def test_what_follows_a_prompt_goes_where_the_prompt_went() -> None:
    found = router(5)
    found.on_request_routed(pending("Be short.", text(4)), 3, None)
    assert chosen(found, pending("Be short.", text(4), "an answer " * 30)) == [3]
    assert chosen(found, pending("Be long.", text(4) + text(9, "b"))) == [3]
    assert len(chosen(found, pending("Be short.", text(4, "b")))) == 2
    found.on_request_routed(pending(prompt=text(4, "p")), 4, None)
    assert chosen(found, pending(prompt=text(4, "p") + "more")) == [4]


def test_a_reader_that_is_full_or_lost_is_not_waited_for() -> None:
    """Serve tries the next group, and pauses before it asks again."""
    found, request = router(), pending("", text(4))
    found.on_request_routed(request, 1, None)
    groups: Any = asyncio.run(found.choose_replicas(list(found.curr_replicas.values()), request))
    assert groups[0] == [1] and sorted(groups[1]) == [0, 1]
    assert request.routing_context.should_backoff


def test_a_busy_replica_is_spared() -> None:
    found, request = router(), pending("", text(4))
    found.on_request_routed(request, 1, None)
    found.replica_queue_len_cache.update(1, 3)  # type: ignore[arg-type]
    assert chosen(found, request) == [1]
    found.replica_queue_len_cache.update(1, 4)  # type: ignore[arg-type]
    assert sorted(chosen(found, request)) == [0, 1]
    found.replica_queue_len_cache.update(0, 1)  # type: ignore[arg-type]
    assert chosen(found, request) == [1]


def test_a_lost_replica_is_not_asked() -> None:
    found, request = router(3), pending("", text(4))
    found.on_request_routed(pending("", text(9)), 1, None)
    found.on_replica_actor_died(1)  # type: ignore[arg-type]
    assert sorted(chosen(found, request)) == [0, 2]
    found.on_request_routed(request, 2, None)
    assert chosen(found, pending("", text(9))) == [2]


def test_every_one_of_the_calls_that_a_request_makes_is_routed() -> None:
    """The agents of a debate are asked at once, and Ray gives their calls one id."""
    found = router()

    def metadata() -> Any:
        return SimpleNamespace(internal_request_id="1", multiplexed_model_id="")

    async def route() -> list[Any]:
        calls = [
            PendingRequest(args=[], kwargs={}, metadata=metadata(), future=future)
            for future in (asyncio.Future[Any](), asyncio.Future[Any](), asyncio.Future[Any]())
        ]
        for call in calls:
            found._pending_requests_to_fulfill.append(call)
            found._add_pending_request_to_indices(call)
        for number in (2, 0, 1):
            found._fulfill_next_pending_request(number, calls[number].metadata)  # type: ignore[arg-type]
        return [call.future.result() for call in calls]

    assert asyncio.run(route()) == [0, 1, 2]
