"""Keys, budgets, shares: who is let in, and who answers."""

import json
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.section import ConfigError
from agentark_ray.serving.budget import Budget
from agentark_ray.serving.config import KeysConfig, RolloutConfig
from agentark_ray.serving.keys import add_key, find, hash_of, load_keys
from agentark_ray.serving.rollout import choose, fallbacks, is_shadowed


def test_a_key_is_added_to_a_file_without_a_last_newline(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    add_key(str(file), "alice")
    file.write_text(file.read_text().rstrip("\n"))
    add_key(str(file), "bob")
    assert [key.name for key in load_keys(KeysConfig(file=str(file)))] == ["alice", "bob"]


def test_a_key_is_found_by_its_hash_and_is_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    alice, bob = add_key(str(file), "alice"), add_key(str(file), "bob")
    keys = load_keys(KeysConfig(file=str(file), requests_per_minute=7))
    found = find(keys, bob)
    assert found is not None and (found.name, found.requests_per_minute) == ("bob", 7)
    assert find(keys, alice + "x") is None and find(keys, "") is None
    text = file.read_text()
    assert alice not in text and bob not in text and hash_of(alice) in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_line_may_have_limits_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    line = {"name": "bulk", "sha256": hash_of("k" * 30), "tokens_per_minute": 5}
    file.write_text(json.dumps(line) + "\n\n")
    (key,) = load_keys(KeysConfig(file=str(file)))
    assert (key.tokens_per_minute, key.requests_per_minute) == (5, 600)


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTARK_API_KEYS", f"a:{'x' * 30}, b:{'y' * 30}")
    assert [key.name for key in load_keys(KeysConfig())] == ["a", "b"]


@pytest.mark.parametrize("value", ["noname", "a:short", f"a b:{'x' * 30}"])
def test_a_bad_pair_is_named_without_its_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AGENTARK_API_KEYS", value)
    with pytest.raises(ConfigError, match="AGENTARK_API_KEYS") as error:
        load_keys(KeysConfig())
    assert "xxx" not in str(error.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    with pytest.raises(ConfigError, match="no such file"):
        load_keys(KeysConfig(file=str(file)))
    file.write_text('{"name": "a"}\n')
    with pytest.raises(ConfigError, match="line 1: not a key"):
        load_keys(KeysConfig(file=str(file)))
    file.unlink()
    add_key(str(file), "a")
    with pytest.raises(ConfigError, match="there is a key of the name"):
        add_key(str(file), "a")
    with pytest.raises(ConfigError, match="name 'a b'"):
        add_key(str(file), "a b")


def test_requests_of_a_minute() -> None:
    budget = Budget(2, 1000, now_s=0.0)
    assert [budget.enter(0.0), budget.enter(0.0)] == [0.0, 0.0]
    assert budget.enter(0.0) == pytest.approx(30.0)  # half a minute until the next one
    assert budget.enter(30.0) == 0.0


def test_tokens_are_taken_afterwards_and_may_be_overdrawn() -> None:
    budget = Budget(100, 60, now_s=0.0)
    assert budget.enter(0.0) == 0.0
    budget.spend(90)
    assert budget.enter(0.0) == pytest.approx(31.0)  # from -30 to 1, one a second
    assert budget.enter(31.0) == 0.0


WEIGHTS = st.floats(0, 1).map(lambda share: {"student": share, "debate": 1 - share})


@given(WEIGHTS, st.text())
def test_a_user_stays_with_an_arm_that_has_a_weight(weights: dict[str, float], key: str) -> None:
    arm = choose(weights, key)
    assert weights[arm] > 0
    assert choose(weights, key) == arm


def test_users_are_divided_by_weight_and_only_few_move() -> None:
    users = [f"user-{number}" for number in range(10_000)]
    few = {user: choose({"student": 0.1, "debate": 0.9}, user) for user in users}
    more = {user: choose({"student": 0.3, "debate": 0.7}, user) for user in users}
    assert Counter(few.values())["student"] == pytest.approx(1000, abs=120)
    assert Counter(more.values())["student"] == pytest.approx(3000, abs=180)
    assert all(more[user] == "student" for user in users if few[user] == "student")


def rollout(**values: object) -> RolloutConfig:
    return RolloutConfig.model_validate({"weights": {"student": 0.2, "debate": 0.8}, **values})


def test_the_shadow_answers_its_share_and_never_itself() -> None:
    shadowed = rollout(shadow={"arm": "student", "share": 0.25})
    found = [is_shadowed(shadowed, f"chatcmpl-{n}", "debate") for n in range(4000)]
    assert sum(found) == pytest.approx(1000, abs=120)
    assert not any(is_shadowed(shadowed, f"chatcmpl-{n}", "student") for n in range(100))
    assert not is_shadowed(rollout(), "chatcmpl-1", "debate")


def test_who_answers_when_an_arm_fails() -> None:
    served = ("student", "debate", "hybrid")
    assert fallbacks(rollout(), "student", served) == ["debate", "hybrid"]
    assert fallbacks(rollout(), "debate", ("student", "debate")) == ["student"]
    assert fallbacks(rollout(fallback=False), "student", served) == []


def test_weights_add_up() -> None:
    with pytest.raises(ValueError, match=r"add up to 0\.9, expected 1"):
        rollout(weights={"student": 0.9})


def test_tokens_here_stand_for_those_of_all_replicas() -> None:
    budget = Budget(100, 60, now_s=0.0)
    assert budget.enter(0.0, replicas=3) == 0
    budget.spend(30)
    assert budget.enter(0.0, replicas=3) == pytest.approx(31)
    assert budget.enter(31.0, replicas=1) == 0
