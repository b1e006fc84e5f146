"""The report as one JSON value: all figures, and what became of every listed question."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agentark_ray.evaluate.report import compare
from agentark_ray.evaluate.report.compare import Comparison
from agentark_ray.evaluate.report.pack import Packed
from agentark_ray.evaluate.report.page import Run, told_of_questions
from agentark_ray.evaluate.report.questions import CODES, FAILED, PARTLY, Listed

VERSION = 1
WORDS = {
    **{letter: verdict or "not graded" for verdict, letter in CODES.items()},
    FAILED: "failed",
    PARTLY: "partly right",
}
ABOUT = ("model", "seed", "created", "config_hash", "versions", "resumed_versions", "config")


def document(
    runs: Sequence[Run], found: Sequence[Comparison], listed: Listed, packed: Packed
) -> dict[str, Any]:
    """The value; it holds no transcripts, which are in the run folders."""
    return {
        "version": VERSION,
        "runs": [_run(run) for run in runs],
        "comparisons": [compare.as_json(one) for one in found],
        "questions": {
            "told": told_of_questions(listed, packed),
            "columns": [{"run": runs[one.source].name, "arm": one.arm} for one in listed.columns],
            "groups": [asdict(group) for group in listed.groups],
            "list": _list(packed),
        },
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "decision": run.summary["decision"],
        "summary": run.summary,
        "about": {key: run.manifest[key] for key in ABOUT if key in run.manifest},
        "students": list(run.students),
        "data_card": run.data_card,
        "load": run.load,
        "prices": asdict(run.prices) if run.prices else None,
        "engine_time": asdict(run.engines) if run.engines else None,
        "roi": asdict(run.returns.roi) if run.returns.roi else None,
        "roi_missing": run.returns.why_not or None,
        "checklist": list(run.checklist),
        "triggers": None if run.triggers is None else list(run.triggers),
    }


def _list(packed: Packed) -> list[dict[str, Any]]:
    """Every listed question: what every column answered, by its place; null where not asked."""
    found: Mapping[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed.index)))
    return [
        {
            "id": key,
            "set": found["sets"][at],
            "group": found["groups"][at],
            "text": found["texts"][at],
            "gold": found["golds"][at],
            "answers": [
                None
                if letter not in WORDS
                else {"verdict": WORDS[letter], "answer": answers[at], "tokens": tokens[at]}
                for letter, answers, tokens in zip(
                    found["codes"][at], found["answers"], found["tokens"], strict=True
                )
            ],
        }
        for at, key in enumerate(found["keys"])
    ]
