"""Debates made by hand, as rows of the trace schema."""

from typing import Any

RIGHT, WRONG = "correct", "incorrect"


def said(
    text: str, verdict: str | None = RIGHT, logprob: float = -0.5, **more: Any
) -> dict[str, Any]:
    """A turn; agent, round and role are filled in by `debate` where they are not given."""
    return {
        "role": "agent",
        "text": text,
        "answer": text.rsplit(" ", 1)[-1],
        "verdict": verdict,
        "mean_logprob": logprob,
        "output_tokens": len(text.split()),
        "finish_reason": "stop",
        **more,
    }


def debate(*rounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A trace; a round is a list of turns, by agent."""
    turns = [
        {"agent": agent, "round": round_, **turn}
        for round_, turns in enumerate(rounds)
        for agent, turn in enumerate(turns)
    ]
    return {
        "debate_id": "d",
        "question_id": "q",
        "question": "How many?",
        "gold": "4",
        "task": "gsm8k",
        "arm": "debate",
        "kind": "main",
        "replica": 0,
        "status": "ok",
        "final_answer": "4",
        "verdict": RIGHT,
        "output_tokens": sum(turn["output_tokens"] for turn in turns),
        "turns": turns,
        **more,
    }
