"""What a key may still ask for: buckets that fill by the minute. Pure; the clock is given."""

from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(slots=True)
class Bucket:
    """At most `size`, filled evenly at `size` a minute; may be overdrawn."""

    size: float
    left: float
    at_s: float

    def refill(self, now_s: float) -> None:
        """Let the time since the last call count."""
        gained = self.size * max(0.0, now_s - self.at_s) / MINUTE_S
        self.left, self.at_s = min(self.size, self.left + gained), now_s

    def wait_s(self, needed: float) -> float:
        """Seconds until `needed` is there; 0 if it is."""
        return max(0.0, (needed - self.left) / self.size * MINUTE_S)


class Budget:
    """Requests and tokens of one key.

    A request is let in while any tokens are left; what it used is taken afterwards, so one request
    can overdraw the budget and the next ones wait until that is filled up again.

    The replicas of the ingress do not tell each other. Proxies spread requests evenly over them, so
    what one replica sees counts as often as there are replicas.
    """

    def __init__(self, requests_per_minute: float, tokens_per_minute: float, now_s: float) -> None:
        self._requests = Bucket(requests_per_minute, requests_per_minute, now_s)
        self._tokens = Bucket(tokens_per_minute, tokens_per_minute, now_s)
        self._replicas = 1

    def enter(self, now_s: float, replicas: int = 1) -> float:
        """0, and the request counts; or the seconds after which to ask again."""
        self._replicas = replicas
        self._requests.refill(now_s)
        self._tokens.refill(now_s)
        cost = min(replicas, self._requests.size)  # a small budget is one request, not none
        wait = max(self._requests.wait_s(cost), self._tokens.wait_s(1))
        if not wait:
            self._requests.left -= cost
        return wait

    def spend(self, tokens: int) -> None:
        """Take what a request used."""
        self._tokens.left -= tokens * self._replicas
