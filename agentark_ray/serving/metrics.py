"""The application's metrics, at Ray's Prometheus endpoint as ray_agentark_serve_*."""

from ray.util.metrics import Counter, Gauge, Histogram

SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]
# Ray sums up the middles of the buckets: here they are whole numbers.
ROUNDS = [0.5 + rounds for rounds in range(17)]


def responses_counter() -> Counter:
    """Of one guard: every response, also of a request that reaches no arm, by who asked."""
    return Counter(
        "agentark_serve_responses", "HTTP responses, by status.", tag_keys=("status", "user")
    )


class ServingMetrics:
    """Of one replica of the ingress."""

    def __init__(self) -> None:
        tags = ("model", "arm")
        self._requests = Counter(
            "agentark_serve_requests", "Requests, by HTTP status.", tag_keys=(*tags, "status")
        )
        self._tokens = Counter("agentark_serve_tokens", "Tokens.", tag_keys=(*tags, "kind"))
        self._latency = Histogram(
            "agentark_serve_request_seconds",
            "From a request to the end of its answer.",
            boundaries=SECONDS,
            tag_keys=tags,
        )
        self._first = Histogram(
            "agentark_serve_first_token_seconds",
            "From a request to the first text of its answer.",
            boundaries=SECONDS,
            tag_keys=tags,
        )
        self._rounds = Histogram("agentark_serve_rounds", "Rounds of a debate.", boundaries=ROUNDS)
        self._handed_over = Counter("agentark_serve_handed_over", "Hybrid answers by the debate.")
        self._fallbacks = Counter(
            "agentark_serve_fallbacks", "Answers by another arm than chosen.", tag_keys=("arm",)
        )
        self._shadows = Counter(
            "agentark_serve_shadows", "Answers of the shadow arm.", tag_keys=("outcome",)
        )
        self._ongoing = Gauge("agentark_serve_ongoing", "Requests that are being answered.")

    def ended(
        self,
        *,
        model: str,
        arm: str,
        status: int,
        latency_s: float,
        first_s: float | None,
        prompt_tokens: int,
        output_tokens: int,
        rounds: int,
        handed_over: bool,
    ) -> None:
        """Count a request."""
        tags = {"model": model, "arm": arm}
        self._requests.inc(1, {**tags, "status": str(status)})
        if prompt_tokens:
            self._tokens.inc(prompt_tokens, {**tags, "kind": "prompt"})
        if output_tokens:
            self._tokens.inc(output_tokens, {**tags, "kind": "output"})
        self._latency.observe(latency_s, tags)
        if first_s is not None:
            self._first.observe(first_s, tags)
        if rounds:
            self._rounds.observe(rounds)
        if handed_over:
            self._handed_over.inc(1)

    def fell_back(self, arm: str) -> None:
        """The arm that was chosen failed, and another one has answered or begun to."""
        self._fallbacks.inc(1, {"arm": arm})

    def shadowed(self, outcome: str) -> None:
        """A shadow answer: `agrees`, `differs`, `failed`, or `skipped` where too many wait."""
        self._shadows.inc(1, {"outcome": outcome})

    def ongoing(self, count: int) -> None:
        """Requests that are being answered now."""
        self._ongoing.set(count)
