"""The engine path of a load test on a real cluster, with the scripted engine."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from agentark_ray.config import Config, ConfigError
from agentark_ray.load.figures import Targets
from agentark_ray.load.offer import Plan
from agentark_ray.load.run import LOAD, drive, find_arm, held_out, save
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.requests import write_questions
from tests.ray.helpers import children, config_for, wait_until

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]
CONSOLE = Console(stderr=True)


def begun(tmp_path: Path, questions: Path, *overrides: str) -> tuple[RunFolder, Config]:
    config = config_for(tmp_path, questions, "tasks.eval_fraction=0.5", *overrides)
    folder = RunFolder(config.output)
    folder.open(config, "m")
    write_questions(folder, config)
    return folder, config


def measured(folder: RunFolder, config: Config, arm: str, plan: Plan) -> dict[str, Any]:
    return drive(config, find_arm(folder, config, arm), held_out(folder), plan, CONSOLE)


def test_arms_under_load(tmp_path: Path, gsm8k_file: Any) -> None:
    """A single answer takes 0.2 s; a debate of two rounds, held to its end, 0.4 s."""
    folder, config = begun(
        tmp_path,
        gsm8k_file(60),
        "engine.scripted_latency_s=0.2",
        "debate.rounds=2",
        "debate.stop=fixed",
    )
    plan = Plan(rates=(20.0, 10.0), seconds=3.0, targets=Targets(ms=350.0))
    single = measured(folder, config, "single", plan)
    debate = measured(folder, config, "debate", plan)
    assert [one["offered"] for one in single["rates"]] == [20.0, 10.0]
    for one, other in zip(single["rates"], debate["rates"], strict=True):
        assert one["requests"] == one["answered"] == other["answered"] > 10  # the same arrivals
        assert one["e2e_ms"]["p50"] >= 200 and other["e2e_ms"]["p50"] >= 400
        same = pytest.approx(one["e2e_ms"]["p50"], rel=0.05)
        assert one["ttft_ms"]["p50"] == same  # the scripted engine does not stream
        assert other["good_share"] == 0.0
        tokens, more = (rate["output_tokens_per_s"] / rate["achieved"] for rate in (one, other))
        assert more > 3 * tokens  # of an answer: 3 agents, 2 rounds
    assert single["first_request_ms"] >= 200
    assert 0 < single["cold_start_s"] < 100
    assert single["resident_bytes"] > 2e7 and single["resident"] in ("pss", "rss")
    assert single["weights_bytes"] > 1e6 and single["gpu_bytes"] is None
    assert single["machine"]["cores"] >= 1
    wait_until(lambda: not children("LoadActor"))

    save(folder, "single", single)
    save(folder, "debate", debate)
    stored = save(folder, "single", {**single, "seed": 18})
    assert stored == folder.read_json(*LOAD)
    assert list(stored["arms"]) == ["single", "debate"]
    assert (stored["arms"]["single"]["seed"], stored["arms"]["debate"]["seed"]) == (18, 17)


def test_failures_are_counted_by_kind(tmp_path: Path, gsm8k_file: Any) -> None:
    questions = gsm8k_file(40)
    questions.write_text(questions.read_text().replace("Tom has 3", "POISON has 3"))
    folder, config = begun(
        tmp_path, questions, "engine.scripted_fault=raise", "tasks.eval_fraction=0.9"
    )
    plan = Plan(rates=(100.0,), seconds=2.0)
    (found,) = measured(folder, config, "single", plan)["rates"]
    assert set(found["errors"]) == {"RuntimeError"}
    assert found["answered"] + found["errors"]["RuntimeError"] == found["requests"]
    assert found["saturated"]  # more than a tenth


def test_an_engine_that_dies_ends_the_test(tmp_path: Path, gsm8k_file: Any) -> None:
    questions = gsm8k_file(20)
    questions.write_text(questions.read_text().replace("Tom has 1", "POISON has 1"))
    folder, config = begun(tmp_path, questions, "engine.scripted_fault=exit")
    with pytest.raises(Exception, match="EngineDead"):
        measured(folder, config, "single", Plan(rates=(50.0,), seconds=5.0))


def test_unknown_arms_are_named(tmp_path: Path, gsm8k_file: Any) -> None:
    folder, config = begun(tmp_path, gsm8k_file(8))
    with pytest.raises(ConfigError, match=r"no such arm .* single, .*debate"):
        find_arm(folder, config, "nobody")
    with pytest.raises(ConfigError, match="how many samples"):
        find_arm(folder, config, "self_consistency")
    with pytest.raises(ConfigError, match="no held-out questions"):
        held_out(RunFolder(str(tmp_path)))


def sizes() -> list[int]:
    """Bytes each living process of this one's tree holds, shared pages counted in each."""
    found = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            found.append(process.memory_info().rss)
    return found


def test_memory_is_that_of_all_processes() -> None:
    from agentark_ray.engine.resident import resident, together

    before = sizes()
    size, counted = resident()
    after = sizes()
    assert len(before) > 3  # Ray's
    if counted == "pss":  # Ray ends and starts processes meanwhile
        assert size <= 1.1 * max(sum(before), sum(after))
    assert size > psutil.Process().memory_full_info().uss
    assert together([(3, "pss"), (4, "rss")]) == (7, "rss")
    assert together([(3, "pss"), (4, "pss")]) == (7, "pss")
