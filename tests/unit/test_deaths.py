"""The ledger of deaths: by hand, and on simulated actors whose engines some questions kill."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.traces.deaths import DeathLedger, slots


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        (64, 4, [1, 1, 8, 64]),
        (64, 3, [1, 1, 64]),
        (64, 2, [1, 64]),
        (100, 5, [1, 1, 5, 22, 100]),  # 100 ** (1/3) = 4.64, 100 ** (2/3) = 21.5
        (1, 4, [1, 1, 1, 1]),
    ],
)
def test_slots_grow_until_a_debate_is_alone(size: int, limit: int, expected: list[int]) -> None:
    assert [slots(deaths, size, limit) for deaths in range(limit)] == expected


def test_only_what_was_lost_or_held_counts() -> None:
    ledger = DeathLedger()
    assert ledger.begin("actor", "1st", 0, ["a", "b"]).deaths == {}
    ledger.begin("actor", "1st", 1, ["c", "d"])
    ledger.end("actor", 0)
    # The first life is over: a and b were done, c and d are lost.
    again = ledger.begin("actor", "2nd", 0, ["c", "d"])
    assert (again.deaths, again.in_a_row, ledger.total) == ({"c": 1, "d": 1}, 1, 1)
    assert ledger.begin("actor", "2nd", 2, ["e"]).deaths == {}
    for suspect in ("c", "d"):
        ledger.start("actor", suspect)
    ledger.leave("actor", "d")
    # Of the suspects only c was being held; e is one from now on.
    third = ledger.begin("actor", "3rd", 0, ["c", "d", "e"])
    assert third.deaths == {"c": 2, "d": 1, "e": 1}
    assert third.in_a_row == 2
    ledger.end("actor", 0)
    assert ledger.begin("actor", "3rd", 1, ["c", "d", "e"]).deaths == {}
    assert ledger.begin("actor", "4th", 0, ["c"]).in_a_row == 1


def test_an_actor_that_held_nothing_dies_unseen() -> None:
    ledger = DeathLedger()
    ledger.begin("actor", "1st", 0, ["a"])
    ledger.end("actor", 0)
    assert ledger.begin("actor", "2nd", 0, ["b"]).deaths == {}
    assert ledger.total == 0


def test_a_life_does_not_end_another_actors_blocks() -> None:
    ledger = DeathLedger()
    ledger.begin("one", "1st", 0, ["a"])
    ledger.begin("two", "other", 0, ["b"])
    assert ledger.begin("two", "other", 1, ["c"]).deaths == {}
    assert ledger.begin("one", "2nd", 0, ["a"]).deaths == {"a": 1}
    assert ledger.begin("two", "next", 0, ["b", "c"]).deaths == {"b": 1, "c": 1}


def test_last_words_are_of_the_last_life() -> None:
    ledger = DeathLedger()
    ledger.begin("actor", "1st", 0, ["a"])
    ledger.say("actor", "out of memory")
    assert ledger.begin("actor", "2nd", 0, ["a"]).last_words == "out of memory"
    assert ledger.begin("actor", "3rd", 0, ["a"]).last_words == ""


class Job:
    """One actor that holds blocks first come first served, as Slots do, in ticks of time.

    A killer ends the actor's life when its own time is up; then the next life begins all blocks
    that are not finished.
    """

    def __init__(self, n: int, killers: set[str], *, size: int, limit: int, rows: int, seed: int):
        self.random = random.Random(seed)
        self.killers, self.size, self.limit = killers, size, limit
        ids = [str(i) for i in range(n)]
        self.blocks = [ids[i : i + rows] for i in range(0, n, rows)]
        self.ledger = DeathLedger()
        self.rows: dict[str, str] = {}
        self.deaths = 0

    def run(self) -> None:
        while self.blocks:
            assert self.deaths < 1_000, "it goes on for ever"
            self._live(f"life {self.deaths}", self.blocks[: -(-self.size // 3) + 1])

    def _live(self, life: str, blocks: list[list[str]]) -> None:
        """Hold blocks; returns when all are finished or when the engine dies."""
        known: dict[str, int] = {}
        for number, ids in enumerate(blocks):
            known |= self.ledger.begin("actor", life, number, ids).deaths
        done = {i: "killed" for ids in blocks for i in ids if known.get(i, 0) >= self.limit}
        waiting = deque(i for ids in blocks for i in ids if i not in done)
        held: dict[str, tuple[int, int]] = {}  # id -> slots, ticks left
        while len(done) < sum(map(len, blocks)):
            self._admit(waiting, held, known)
            held = {i: (need, left - 1) for i, (need, left) in held.items()}
            ended = [i for i, (_, left) in held.items() if left == 0]
            self.random.shuffle(ended)
            for i in ended:
                if i in self.killers:
                    self.deaths += 1
                    return
                held.pop(i)
                self.ledger.leave("actor", i)
                done[i] = "ok"
        for number, ids in enumerate(blocks):
            self.ledger.end("actor", number)
            for i in ids:
                assert i not in self.rows
                self.rows[i] = done[i]
        self.blocks = self.blocks[len(blocks) :]

    def _admit(
        self, waiting: deque[str], held: dict[str, tuple[int, int]], known: dict[str, int]
    ) -> None:
        while waiting:
            deaths = known.get(waiting[0], 0)
            need = slots(deaths, self.size, self.limit)
            if need + sum(taken for taken, _ in held.values()) > self.size:
                return
            i = waiting.popleft()
            held[i] = need, self.random.randint(1, 5)
            if deaths:
                self.ledger.start("actor", i)


@given(
    st.integers(1, 60),
    st.data(),
    st.integers(1, 12),
    st.integers(2, 5),
    st.integers(1, 8),
    st.integers(0, 1_000),
)
def test_killers_fail_and_nobody_else(
    n: int, data: st.DataObject, size: int, limit: int, rows: int, seed: int
) -> None:
    killers = data.draw(st.sets(st.integers(0, n - 1).map(str), max_size=6))
    job = Job(n, killers, size=size, limit=limit, rows=rows, seed=seed)
    job.run()
    assert len(job.rows) == n
    assert {i for i, status in job.rows.items() if status == "killed"} == killers
    assert job.deaths <= limit * len(killers)
