"""roi, retrain-check, checklist and --gate on a run folder; no Ray."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.config import parse_config
from agentark_ray.evaluate.checklist import checklist
from agentark_ray.monitoring import question_features
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import run_config
from agentark_ray.upkeep import engine_time
from tests.unit.run_folders import evaluated_run, make

PRICES = ("prices.output=10", "prices.prompt=1", "prices.cached=0.5")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return evaluated_run(tmp_path / "run")


def cli(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


def answer(*args: str) -> dict[str, Any]:
    return json.loads(cli(*args, "--json").stdout)


def monitoring(tmp_path: Path, **changes: Any) -> str:
    """300 live requests like the training questions, and 50 right canaries."""
    record = {"time": datetime.now(UTC).isoformat(), "student": "rsft", "kind": "live"}
    record |= {name: changes.pop(name) for name in ("time", "student") if name in changes}
    asked = [
        record | {"features": question_features("word " * (i % 8 + 1))} | changes
        for i in range(300)
    ]
    right = record | {"kind": "canary", "correct": True, "features": question_features("word")}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*asked, *[right] * 50]))
    return str(path)


def test_roi_of_a_run(folder: RunFolder) -> None:
    asked = ("roi", folder.uri, "--queries-per-day", "1000", *PRICES)
    found = answer(*asked, "--investment", "5.3", "--fallback-rate", "0.5")
    # 45 output and 90 prompt tokens a debate, 10 and 20 of the student; USD 10 and 1 a million
    by_name = {one["name"]: one for one in found["options"]}
    assert by_name["debate"]["usd_per_1000"] == pytest.approx(0.54)
    assert by_name["student"]["usd_per_1000"] == pytest.approx(0.12)
    assert by_name["hybrid"]["usd_per_1000"] == pytest.approx(0.39)
    assert found["break_even"][0]["days"] == 13  # 5.3 / 0.42
    assert found["generation_usd"] == pytest.approx(0.675 + 0.135)
    shown = cli(*asked, "--investment", "5.3")
    assert shown.exit_code == 0
    assert "student breaks even" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_roi_by_gpus_needs_no_stated_investment(folder: RunFolder) -> None:
    asked = ("roi", folder.uri, "--queries-per-day", "1000", "prices.gpu_hour=3.6")
    found = answer(*asked, "gpus_per_engine=1")
    # 675 tokens a second were measured; 100 s of an engine, 12 s of training, 0.001 USD a second
    assert found["options"][0]["usd_per_1000"] == pytest.approx(45 / 675)
    assert (found["generation_usd"], found["training_usd"]) == pytest.approx((0.1, 0.012))
    found = answer(*asked, "gpus_per_engine=2", "train.workers=4")
    assert (found["generation_usd"], found["training_usd"]) == pytest.approx((0.2, 0.048))


def load_of(*rates: tuple[float, bool], path: str = "engine") -> dict[str, Any]:
    """An entry of eval/load.json: tokens a second of each rate, and whether it was saturated."""
    return {
        "path": path,
        "rates": [{"output_tokens_per_s": speed, "saturated": full} for speed, full in rates],
    }


BUSY = load_of((40.0, False), (90.0, True), (80.0, True))
DEBATES = "675 a second (the debate's speed, as the student's was not measured)"


@pytest.mark.parametrize(
    ("load", "option", "words", "speed"),
    [
        (None, (), DEBATES, 675),
        ({"student": BUSY}, (), "90 a second (as measured under load)", 90),
        ({"student": BUSY}, ("--student-tokens-per-s", "50"), "50 a second (as stated)", 50),
        ({"debate": BUSY}, (), DEBATES, 675),
        ({"student": load_of((90.0, True), path="url")}, (), DEBATES, 675),
        ({"student": load_of((40.0, False))}, (), DEBATES, 675),  # it was never busy
        ({"student": load_of((0.0, True))}, (), DEBATES, 675),
    ],
)
def test_the_students_speed_is_measured_stated_or_said_to_be_the_debates(
    folder: RunFolder,
    load: dict[str, Any] | None,
    option: tuple[str, ...],
    words: str,
    speed: float,
) -> None:
    if load is not None:
        folder.write_json({"version": 1, "arms": load}, "eval", "load.json")
    prices = ("prices.gpu_hour=3.6", "gpus_per_engine=1")
    found = answer("roi", folder.uri, "--queries-per-day", "1000", *prices, *option)
    assert found["options"][1]["usd_per_1000"] == pytest.approx(10 / speed)
    assert words in next(text for text in found["assumptions"] if text.startswith("student: "))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ((), "no price: give prices.output="),
        (PRICES, "what training cost is not known"),
        ((*PRICES, "prices.gpu_hour=3"), "what training cost is not known"),  # no GPU trained it
        (("prices.gpu_hour=3",), "give gpus_per_engine=N"),
        (("--student", "da", *PRICES), "--student 'da': no such evaluated student (there: rsft)"),
        (("train.lr=0.5", *PRICES), "only where and how fast"),
    ],
)
def test_roi_says_what_is_missing(folder: RunFolder, extra: tuple[str, ...], words: str) -> None:
    found = cli("roi", folder.uri, "--queries-per-day", "1000", *extra)
    assert found.exit_code == 2
    assert words in found.stderr


def test_a_student_that_does_well_need_not_be_made_anew(folder: RunFolder, tmp_path: Path) -> None:
    asked = ("retrain-check", folder.uri, "--monitoring", monitoring(tmp_path))
    found = cli(*asked)
    assert found.exit_code == 0, found.stdout
    assert "No need for a new student" in found.stdout
    states = {one["name"]: one["state"] for one in answer(*asked)["triggers"]}
    assert set(states.values()) == {"quiet"}


def test_drift_and_fallbacks_fire(folder: RunFolder, tmp_path: Path) -> None:
    other = {"features": question_features("12 34. " * 20), "fallback": True}
    found = cli(
        "retrain-check", folder.uri, "--monitoring", monitoring(tmp_path, **other), "--json"
    )
    assert found.exit_code == 3
    told = json.loads(found.stdout)
    assert (told["retrain"], told["student"]) == (True, "rsft")
    states = {one["name"]: one["state"] for one in told["triggers"]}
    assert states == {
        "accuracy_drop": "quiet",
        "fallback_rate": "fired",
        "psi": "fired",
        "max_age_days": "quiet",
    }


def test_thresholds_can_be_replaced_and_are_no_part_of_the_runs_identity(
    folder: RunFolder, tmp_path: Path
) -> None:
    path = monitoring(tmp_path)
    found = cli(
        "retrain-check", folder.uri, "--monitoring", path, "retrain.max_age_days=0.0000000001"
    )
    assert found.exit_code == 3
    assert "max_age_days" in found.stdout
    assert cli("retrain-check", folder.uri, "--monitoring", f"{path}x").exit_code == 2


OLD = "2026-01-01T00:00:00Z"  # before any student of these tests was made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student": "older"}, "records left out: 350 of 'older'"),
        ({"time": OLD}, "records left out: 350 of 'rsft' from before"),
    ],
)
def test_records_of_no_use_are_named_and_are_no_answer(
    folder: RunFolder, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    asked = ("retrain-check", folder.uri, "--monitoring", monitoring(tmp_path, **changes))
    found = cli(*asked)
    assert found.exit_code == 2, found.stdout
    told = " ".join(found.stderr.split())
    assert "0 live and 0 canary requests to student 'rsft'" in told
    assert words in told
    assert cli(*asked, "retrain.max_age_days=0.0000000001").exit_code == 3


def test_what_counts_is_said(folder: RunFolder, tmp_path: Path) -> None:
    path = Path(monitoring(tmp_path))
    counted = path.read_text()
    path.write_text(counted + Path(monitoring(tmp_path, time=OLD)).read_text())
    asked = ("retrain-check", folder.uri, "--monitoring", str(path))
    assert answer(*asked)["records"] == {
        "live": 300,
        "canaries": 50,
        "left_out": {"unjudged": 0, "before": 350, "others": {}},
    }
    shown = " ".join(cli(*asked).stdout.split())
    assert "300 live and 50 canary requests to student 'rsft' since it was made" in shown
    assert "records left out: 350 of 'rsft' from before." in shown


def states(folder: RunFolder) -> dict[str, tuple[str, str]]:
    return {one.item: (one.state.value, one.evidence) for one in checklist(folder)}


def test_the_checklist_of_an_evaluated_run(folder: RunFolder) -> None:
    found = states(folder)
    assert {item: state for item, (state, _) in found.items()} == {
        "Questions": "done",
        "Contamination": "done",
        "Debates": "done",
        "Student": "done",
        "Control": "missing",
        "Model cards": "missing",
        "Held-out questions": "partly",
        "Latency": "partly",
        "Robustness": "missing",
        "Other distribution": "missing",
        "Gates": "partly",
        "Price list": "missing",
        "Report": "missing",
    }
    assert found["Debates"][1] == "1,500 finished, 0 failed; the gate asks for 1,000"
    assert found["Gates"][1] == "5 of 6 measured; not measured: adversarial_failure"
    assert "off" not in " ".join(told for _, told in found.values())
    assert "2 training questions were" in found["Contamination"][1]
    assert cli("checklist", folder.uri).stdout.startswith("4 of 13 done")
    assert len(answer("checklist", folder.uri)["items"]) == 13


def test_the_checklist_follows_the_folder(folder: RunFolder) -> None:
    summary = folder.read_json("eval", "summary.json")
    summary |= {"robustness": {"student": []}, "ood": {"hard": {}}}
    summary["arms"]["student"]["latency_ms"]["n"] = 299
    summary["against_debate"]["student"]["detectable"] = 0.024
    for gate in summary["gates"]:
        gate |= {"value": 0.5, "status": "passed", "reason": "as it is"}
    folder.write_json(summary, "eval", "summary.json")
    folder.write_text("", "report.html")
    folder.write_text("", "students", "rsft", "README.md")
    make(folder, "control", run_config(folder, (), "rft"))
    manifest = folder.read_json("manifest.json")
    manifest["config"]["prices"]["gpu_hour"] = 2.5
    folder.write_json(manifest, "manifest.json")
    found = states(folder)
    assert {item for item, (state, _) in found.items() if state != "done"} == {"Model cards"}
    assert found["Model cards"] == ("partly", "rsft")
    # 0.95 of the debate's 50 % are 2.5 points less
    assert found["Held-out questions"][1] == (
        "4 questions show a difference of 2.4 points; at most the 2.5 points of the accuracy gate"
        " (0.95 of 50.0%)"
    )
    assert found["Price list"][1] == "USD: gpu_hour 2.5"
    summary["gates"][0]["status"] = "open"
    folder.write_json(summary, "eval", "summary.json")
    assert states(folder)["Gates"] == ("partly", "6 of 6 measured; open: accuracy_ratio")


def test_a_difference_that_is_too_large_for_the_accuracy_gate_is_no_done(folder: RunFolder) -> None:
    summary = folder.read_json("eval", "summary.json")
    summary["against_debate"]["student"]["detectable"] = 0.031
    folder.write_json(summary, "eval", "summary.json")
    state, told = states(folder)["Held-out questions"]
    assert state == "partly"
    assert "a difference of 3.1 points; not the 2.5 points of the accuracy gate" in told
    assert told.endswith("(0.95 of 50.0%), which is decided all the same")
    summary["gates"][0]["status"] = "open"
    folder.write_json(summary, "eval", "summary.json")
    assert states(folder)["Held-out questions"][1].endswith("(0.95 of 50.0%)")
    summary["gate_settings"]["accuracy_ratio"] = 0.9
    folder.write_json(summary, "eval", "summary.json")
    assert states(folder)["Held-out questions"][0] == "done"
    summary["gate_settings"]["accuracy_ratio"] = None
    folder.write_json(summary, "eval", "summary.json")
    state, told = states(folder)["Held-out questions"]
    assert (state, told.endswith("how small it must be, no gate says")) == ("partly", True)


def test_gates_that_are_off_are_named_in_the_checklist(folder: RunFolder) -> None:
    summary = folder.read_json("eval", "summary.json")
    off = ("token_ratio", "p99_ms", "adversarial_failure", "min_traces")
    summary["gate_settings"] |= dict.fromkeys(off)
    summary["gates"] = [gate for gate in summary["gates"] if gate["name"] not in off]
    summary["robustness"] = {"student": {}}
    folder.write_json(summary, "eval", "summary.json")
    found = states(folder)
    assert found["Gates"] == (
        "done",
        "2 of 2 measured; off: token_ratio, p99_ms, adversarial_failure, min_traces",
    )
    assert found["Latency"][1].endswith("; off: p99_ms")
    assert found["Robustness"][1] == "measured; its gate is off"
    assert found["Debates"][1] == "1,500 finished, 0 failed; its gate is off"


def test_engine_time_of_arms(folder: RunFolder) -> None:
    assert engine_time(folder, run_config(folder)) is None
    priced = run_config(folder, ["prices.gpu_hour=3.6", "gpus_per_engine=1"])
    found = engine_time(folder, priced)
    assert found is not None
    told = {arm: (speed.tokens_per_s, speed.origin) for arm, speed in found.speeds.items()}
    assert told["debate"] == (675, "measured in the run's debates")
    assert told["single"] == (675, "the debate's")
    # 45 tokens a query at 675 a second, 0.001 US dollars a second: as `agentark roi` has it
    assert found.usd("debate", 45_000) == pytest.approx(45 / 675)
    folder.write_json({"version": 1, "arms": {"student": BUSY}}, "eval", "load.json")
    loaded = engine_time(folder, priced)
    assert loaded is not None
    assert loaded.speeds["student"].tokens_per_s == 90


def test_engines_of_others_have_no_speed_of_ours(folder: RunFolder) -> None:
    summary = folder.read_json("eval", "summary.json")
    summary["arms"] |= {"gpt": summary["arms"]["single"], "trio": summary["arms"]["debate"]}
    summary["settings"] = {"teams": {"trio": {}}, "endpoints": {"gpt": {}}}
    folder.write_json(summary, "eval", "summary.json")
    found = engine_time(folder, run_config(folder, ["prices.gpu_hour=3.6", "gpus_per_engine=1"]))
    assert found is not None
    assert found.speeds.keys() == {"single", "self_consistency", "debate", "student"}
    assert found.usd("gpt", 1.0) is None


def test_the_checklist_of_a_new_run_is_empty(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    folder.open(parse_config({}, [f"output={folder.uri}"], "t"), "/models/tiny")
    assert {state for state, _ in states(folder).values()} == {"missing"}
    assert cli("checklist", str(tmp_path)).exit_code == 2


@pytest.mark.parametrize(("decision", "code"), [("adopt", 0), ("hybridize", 3), ("continue", 4)])
def test_ci_gets_the_decision_as_exit_code(folder: RunFolder, decision: str, code: int) -> None:
    summary = folder.read_json("eval", "summary.json") | {"decision": decision}
    folder.write_json(summary, "eval", "summary.json")
    assert cli("report", folder.uri).exit_code == 0
    found = cli("report", folder.uri, "--gate", "--json")
    assert (found.exit_code, json.loads(found.stdout)["decision"]) == (code, decision)


@pytest.mark.parametrize("command", ["evaluate", "report", "retrain-check"])
def test_exit_codes_are_in_the_help(command: str) -> None:
    text = cli(command, "--help").stdout
    assert "Exit codes" in text
    assert "3" in text
