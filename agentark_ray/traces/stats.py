"""Statistics of stored traces in one pass: counts and fixed-size histograms, whatever the number.

Rounds count from 0. Accuracies and rates are shares in 0..1, or None if nothing was counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agentark_ray.config import ConfigError
from agentark_ray.debate_rows import PathClass, Row, second_looks, turn_leaves, vote_leaves
from agentark_ray.histogram import LogHistogram
from agentark_ray.prices import TokenPrices
from agentark_ray.round_tally import RoundTally
from agentark_ray.types import DebateStatus, Verdict

TOKENS = ("output_tokens", "prompt_tokens", "cached_tokens")
COLUMNS = (
    *("arm", "kind", "status", "verdict", "stop_reason", "wall_s", "shortened_turns", *TOKENS),
    *vote_leaves("round", "count", "agents", "verdict"),
    *turn_leaves("agent", "role", "round", "verdict"),
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What is known so far of one arm's debates."""

    statuses: Counter[str] = field(default_factory=Counter)
    stops: Counter[tuple[int, str]] = field(default_factory=Counter)  # (rounds held, reason)
    correct: int = 0
    ungraded: int = 0
    rounds: RoundTally = field(default_factory=RoundTally)
    looks: Counter[PathClass] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    shortened_turns: int = 0
    wall_s: LogHistogram = field(default_factory=LogHistogram)

    def add(self, row: Row) -> None:
        """Count a row that has COLUMNS."""
        self.statuses[row["status"]] += 1
        self.looks.update(second_looks(row))
        for name in TOKENS:
            self.tokens[name] += row[name]
        self.shortened_turns += row.get("shortened_turns") or 0  # there since schema version 4
        if row["status"] != DebateStatus.OK:
            return
        self.correct += row["verdict"] == Verdict.CORRECT
        self.ungraded += row["verdict"] is None
        self.wall_s.add(row["wall_s"])
        votes = row["votes"] or ()
        self.stops[len(votes), str(row["stop_reason"])] += 1
        self.rounds.add(votes)

    @property
    def graded(self) -> int:
        """Debates that an accuracy is of: failed ones are wrong, unless none could be graded."""
        nothing = self.ungraded and self.ungraded == self.statuses[DebateStatus.OK]
        return 0 if nothing else self.statuses.total() - self.ungraded


def tally(rows: Iterable[Row], arm: str | None = None) -> Tally:
    """Count the rows of kind main of an arm.

    Raises:
        ConfigError: no such arm, or no arm was named and the rows are of several.
    """
    arms: dict[str, Tally] = {}
    for row in rows:
        if row["kind"] == "main":
            arms.setdefault(row["arm"], Tally()).add(row)
    if not arms:
        raise ConfigError("there are no debates of kind main to count")
    if arm is None and len(arms) > 1:
        raise ConfigError(f"the traces are of several arms, name one: --arm {'|'.join(arms)}")
    if arm is not None and arm not in arms:
        raise ConfigError(f"--arm {arm}: no such arm, there is {', '.join(arms)}")
    return arms[arm] if arm else next(iter(arms.values()))


def stats(found: Tally, prices: TokenPrices | None = None) -> dict[str, Any]:
    """All figures as plain JSON; what cannot be known is None.

    `accuracy` counts debates that did not end well as wrong, and leaves out those without a
    verdict. `paths` compares the first round of every solver that spoke twice or more with its
    last. `wall_s` is of debates that ended well.
    """
    debates = found.statuses.total()
    prompt, cached = found.tokens["prompt_tokens"], found.tokens["cached_tokens"]
    return {
        "debates": debates,
        "status": dict(found.statuses),
        "graded": found.graded,
        "accuracy": found.correct / found.graded if found.graded else None,
        "rounds": [asdict(result) for result in found.rounds.results(found.graded)],
        "paths": {path.value: found.looks[path] for path in PathClass},
        "stops": [
            {"rounds": rounds_, "reason": reason, "debates": count}
            for (rounds_, reason), count in sorted(found.stops.items())
        ],
        "tokens": {name: found.tokens[name] for name in TOKENS},
        "tokens_per_debate": {name: found.tokens[name] / debates for name in TOKENS},
        "cached_share": cached / prompt if prompt else None,
        "shortened_turns": found.shortened_turns,
        "wall_s": {f"p{q}": found.wall_s.percentile(q) for q in (50, 95)},
        "cost": None if prices is None else cost(found.tokens, debates, prices),
    }


def cost(tokens: Mapping[str, int], debates: int, prices: TokenPrices) -> dict[str, float]:
    """US dollars: by kind of token, in total, and per 1,000 debates."""
    parts = prices.cost(tokens)
    total = sum(parts.values())
    return {**parts, "total": total, "per_1000_debates": 1_000 * total / debates}
