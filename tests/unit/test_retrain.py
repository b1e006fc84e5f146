"""Retrain triggers and the records they are evaluated from."""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import ConfigError
from agentark_ray.evaluate.retrain import (
    Bins,
    Monitored,
    Reference,
    State,
    Trigger,
    bins_of,
    fired,
    monitored,
    psi,
    told,
    triggers,
)
from agentark_ray.evaluate.statistics import independent_difference
from agentark_ray.gates_config import RetrainConfig
from agentark_ray.monitoring import MONITORING_SCHEMA, Request, question_features, read_requests

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HALVES = Bins(edges=(10,), shares=(0.5, 0.5))
KNOWN = Reference(
    student="rsft", correct=800, n=1_000, made=NOW - timedelta(days=30), bins={"words": HALVES}
)


def sums(**changes: Any) -> Monitored:
    values: dict[str, Any] = {
        "live": 1_000,
        "fallbacks": 100,
        "canaries": 500,
        "right": 400,
        "drift": {"words": Counter({0: 500, 1: 500})},
    }
    return Monitored(**(values | changes))


def of(name: str, found: Monitored, config: RetrainConfig | None = None) -> Trigger:
    every = triggers(config or RetrainConfig(), KNOWN, found, NOW)
    return next(one for one in every if one.name == name)


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "time": NOW,
        "student": "rsft",
        "features": question_features("How many? 7 or 8,5."),
    }
    return Request(**(values | changes))


def test_nothing_fires_when_all_is_as_it_was() -> None:
    found = triggers(RetrainConfig(), KNOWN, sums(), NOW)
    assert [(one.name, one.state) for one in found] == [
        ("accuracy_drop", State.QUIET),
        ("fallback_rate", State.QUIET),
        ("psi", State.QUIET),
        ("max_age_days", State.QUIET),
    ]
    assert not fired(found)


def test_accuracy_fires_by_its_bound_and_is_watched_before() -> None:
    watched, lost = of("accuracy_drop", sums(right=385)), of("accuracy_drop", sums(right=350))
    assert (watched.state, lost.state) == (State.WATCH, State.FIRED)
    assert watched.value == pytest.approx(0.03)
    assert lost.value == pytest.approx(0.10)
    # 0.1 - 1.645 * sqrt(0.8 * 0.2 / 1,000 + 0.7 * 0.3 / 500) = 0.0604
    assert lost.bound == pytest.approx(0.0604, abs=2e-3)
    assert of("accuracy_drop", sums(canaries=0, right=0)).state is State.UNMEASURED


def test_newcombes_interval_is_as_published() -> None:
    # Newcombe 1998 (independent), table II: 56/70 - 48/80, 95 % two-sided: 0.0524 to 0.3339
    found = independent_difference(56, 70, 48, 80, 0.975)
    assert found == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_fallbacks_fire_when_more_than_asked_for_certain() -> None:
    assert of("fallback_rate", sums(fallbacks=310)).state is State.WATCH
    assert of("fallback_rate", sums(fallbacks=340)).state is State.FIRED
    assert of("fallback_rate", sums(live=0, fallbacks=0)).state is State.UNMEASURED


def test_drift_fires_and_needs_enough_requests() -> None:
    moved = {"words": Counter({0: 200, 1: 800})}
    # (0.2 - 0.5) ln(0.4) + (0.8 - 0.5) ln(1.6) = 0.4159
    assert of("psi", sums(drift=moved)).value == pytest.approx(0.4159, abs=1e-4)
    assert of("psi", sums(drift=moved)).state is State.FIRED
    assert of("psi", sums(live=199, drift=moved)).state is State.UNMEASURED


def test_an_empty_bin_is_not_endless_drift() -> None:
    # 0.5 ln 2 + (0.0001 - 0.5) ln(0.0001 / 0.5) = 0.34657 + 4.25777
    assert psi((0.5, 0.5), (1.0, 0.0)) == pytest.approx(4.60434, abs=1e-4)
    assert psi((1.0, 0.0), (0.5, 0.5)) == pytest.approx(4.60434, abs=1e-4)


def test_age_fires() -> None:
    assert of("max_age_days", sums()).value == 30.0
    assert of("max_age_days", sums(), RetrainConfig(max_age_days=29)).state is State.FIRED


def test_a_null_threshold_leaves_the_trigger_out() -> None:
    config = RetrainConfig(accuracy_drop=None, fallback_rate=None, psi=None, max_age_days=None)
    assert triggers(config, KNOWN, sums(), NOW) == ()


def test_requests_are_counted_by_kind_and_student() -> None:
    requests = [
        request(fallback=True),
        request(features=question_features("word " * 30)),
        request(student="older", fallback=True),
        request(kind="canary", correct=True),
        request(kind="canary", correct=False, fallback=True),
        request(kind="canary", correct=None),
        request(kind="shadow", fallback=True, agreement=False),
    ]
    found = monitored(requests, KNOWN)
    assert (found.live, found.fallbacks, found.canaries, found.right) == (2, 1, 2, 1)
    assert found.drift == {"words": Counter({0: 1, 1: 1})}
    assert (found.unjudged, found.before, found.others) == (2, 0, {"older": 1})


def test_records_from_before_the_student_was_made_do_not_count() -> None:
    early = KNOWN.made - timedelta(seconds=1)
    requests = [
        request(time=early, fallback=True),
        request(time=early, kind="canary", correct=False),
        request(time=KNOWN.made),
    ]
    found = monitored(requests, KNOWN)
    assert (found.live, found.fallbacks, found.canaries, found.before) == (1, 0, 0, 2)
    assert told(found, KNOWN) == (
        "1 live and 0 canary requests to student 'rsft' since it was made, 2026-05-02 00:00 UTC;"
        " records left out: 2 of 'rsft' from before"
    )


def test_records_of_none_but_others_are_no_answer() -> None:
    found = monitored([request(student=f"s{i}") for i in range(7) for _ in range(8 - i)], KNOWN)
    with pytest.raises(ConfigError, match="nothing was measured: 0 live") as error:
        triggers(RetrainConfig(), KNOWN, found, NOW)
    assert "8 of 's0', 7 of 's1'" in str(error.value)
    assert "4 of 's4', 5 of further students; give" in str(error.value)


def test_age_needs_no_records() -> None:
    nothing = Monitored()
    by_age = RetrainConfig(max_age_days=29)
    assert fired(triggers(by_age, KNOWN, nothing, NOW))
    alone = RetrainConfig(accuracy_drop=None, fallback_rate=None, psi=None)
    assert [one.state for one in triggers(alone, KNOWN, nothing, NOW)] == [State.QUIET]


def test_features_by_hand() -> None:
    assert question_features("Ann has 3.\nHow many, 1,5?") == {
        "characters": 25,
        "words": 7,
        "sentences": 2,
        "numbers": 2,
        "lines": 2,
    }


def test_bins_are_equal_where_there_are_no_ties() -> None:
    found = bins_of(range(100))
    assert found.shares == pytest.approx([0.11, *[0.1] * 8, 0.09])
    assert bins_of([7] * 50) == Bins(edges=(), shares=(1.0,))
    assert bins_of([1, 1, 1, 1, 2]) == Bins(edges=(1,), shares=(0.8, 0.2))
    with pytest.raises(ValueError, match="no values"):
        bins_of([])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_the_reference_does_not_drift_from_itself(values: list[int]) -> None:
    found = bins_of(values)
    assert sum(found.shares) == pytest.approx(1)
    assert all(share > 0 for share in found.shares)
    counts = Counter(map(found.place, values))
    shares = [counts[i] / len(values) for i in range(len(found.shares))]
    assert psi(found.shares, shares) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2).filter(sum))
def test_drift_is_never_negative_and_finite(weights: list[float]) -> None:
    found = psi((0.3, 0.7), [weight / sum(weights) for weight in weights])
    assert 0 <= found < math.inf


def test_records_come_back_from_both_formats(tmp_path: Path) -> None:
    asked = [
        request(),
        request(kind="canary", correct=True, latency_ms=12.5, output_tokens=7),
        request(kind="shadow", arm="student", shadow="debate", agreement=False),
    ]
    rows = [one.model_dump() for one in asked]
    pq.write_table(pa.Table.from_pylist(rows, schema=MONITORING_SCHEMA), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in asked))
    (tmp_path / "notes.txt").write_text("not read")
    assert list(read_requests(str(tmp_path))) == [*asked, *asked]
    assert list(read_requests(str(tmp_path / "b.jsonl"))) == asked


def test_the_schema_has_the_fields_of_the_record() -> None:
    assert MONITORING_SCHEMA.names == list(Request.model_fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "test"}, "line 2: kind"),
        ({"prompt": "secret"}, "line 2: prompt"),
        ({"time": "2026-01-01T00:00:00"}, "line 2: time: has no time zone"),
        ({"features": {"words": 3}}, "line 2: features: missing"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    good = request().model_dump(mode="json")
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n")
    with pytest.raises(ConfigError, match=words):
        list(read_requests(str(path)))


@pytest.mark.parametrize("name", ["", "nothing", "x.txt"])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ConfigError, match="no file of"):
        list(read_requests(str(tmp_path / name)))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(ConfigError, match=r"x\.parquet: not Parquet"):
        list(read_requests(str(tmp_path)))
