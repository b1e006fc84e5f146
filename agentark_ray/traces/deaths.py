"""Which question kills its engine? A ledger of begun debates, kept outside of the actors that die.

An actor begins a block before it holds any of the block's debates, and ends it after the last one.
When a new life of the actor speaks, what the old one had begun and not ended was lost with it; so
nothing has to be said at a death, and a process that was killed counts like one that gave up.

The debates of lost blocks are suspects. One death may be chance, e.g. a lost node, and many debates
saw it: they are held again like all others, but from now on each says when it starts and ends, so
that further deaths count for those suspects only that were being held. The more deaths a debate
saw, the fewer are held beside it (`slots`), until it is alone. An engine that dies then dies of
this debate, which has reached the limit and is not held again.

It holds the ids of blocks in flight, whatever the number of debates. It does not outlive its job: a
job that is run again begins to count anew.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


def slots(deaths: int, size: int, limit: int) -> int:
    """Slots, of `size`, that a debate takes after it saw `deaths` engines die; fewer than `limit`.

    One up to the first death, all before the last one that is allowed, in between a geometric
    series: with 64 slots and a limit of 4 they are 1, 1, 8, 64.
    """
    if deaths >= limit - 1:
        return size
    return 1 if deaths <= 1 else math.ceil(size ** ((deaths - 1) / (limit - 2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What an actor has to know before it holds a block."""

    deaths: dict[str, int]  # of the block's debates that saw an engine die: how often
    last_words: str  # of the actor's last life; empty if it was killed
    in_a_row: int  # deaths of this actor since it last ended a block


@dataclass(slots=True, kw_only=True)
class _Actor:
    life: str
    blocks: dict[int, Sequence[str]] = field(default_factory=dict)
    counted: dict[int, Counter[str]] = field(default_factory=dict)  # of blocks
    held: set[str] = field(default_factory=set)  # suspects that are being held
    words: str = ""
    last_words: str = ""
    in_a_row: int = 0


class DeathLedger:
    """Deaths by debate. An actor keeps its name when its process is replaced; a life does not."""

    def __init__(self) -> None:
        self.total = 0  # deaths of actors that had begun a block
        self.lost: Counter[str] = Counter()  # what `count` was told of blocks that were lost then
        self._actors: dict[str, _Actor] = {}
        self._deaths: Counter[str] = Counter()

    def begin(self, actor: str, life: str, block: int, ids: Sequence[str]) -> Past:
        """A block is about to be held; `block` numbers those of a life."""
        state = self._actors.setdefault(actor, _Actor(life=life))
        if state.life != life:
            self._bury(state)
            state.life = life
        state.blocks[block] = ids
        state.counted[block] = Counter()
        return Past(
            deaths={id_: self._deaths[id_] for id_ in ids if id_ in self._deaths},
            last_words=state.last_words,
            in_a_row=state.in_a_row,
        )

    def _bury(self, dead: _Actor) -> None:
        for sums in dead.counted.values():
            self.lost.update(sums)
        for ids in dead.blocks.values():
            self._deaths.update(id_ for id_ in ids if id_ not in self._deaths or id_ in dead.held)
        if dead.blocks:
            self.total += 1
            dead.in_a_row += 1
        dead.blocks.clear()
        dead.counted.clear()
        dead.held.clear()
        dead.last_words, dead.words = dead.words, ""

    def count(self, actor: str, life: str, block: int, sums: Mapping[str, int]) -> bool:
        """Figures of a block that is being held; False if it is lost already."""
        state = self._actors[actor]
        if state.life != life:
            return False
        state.counted[block].update(sums)
        return True

    def start(self, actor: str, debate_id: str) -> None:
        """A suspect is about to be held."""
        self._actors[actor].held.add(debate_id)

    def leave(self, actor: str, debate_id: str) -> None:
        """The engine survived a suspect."""
        self._actors[actor].held.discard(debate_id)

    def say(self, actor: str, words: str) -> None:
        """What an actor knows about the death it is about to die."""
        self._actors[actor].words = words

    def end(self, actor: str, block: int) -> None:
        """All debates of a block have ended; nothing more needs to be known about them."""
        state = self._actors[actor]
        del state.counted[block]
        for id_ in state.blocks.pop(block):
            self._deaths.pop(id_, None)
        state.in_a_row = 0
