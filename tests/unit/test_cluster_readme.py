"""Commands of cluster/README.md: their programs know the flags, and the files are there."""

import itertools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from ray.scripts.scripts import cli as ray_cli
from ray.serve.scripts import cli as serve_cli

from agentark_ray.cli import app
from agentark_ray.config import load_config
from agentark_ray.serving.config import load_serve_config
from tests.unit.manifests import CLUSTER

ROOT = CLUSTER.parent
README = (CLUSTER / "README.md").read_text(encoding="utf-8")
# Flags of programs that are not here, as their manuals have them.
OTHERS = {
    "aws cloudformation deploy": (
        "--stack-name --template-file --capabilities --parameter-overrides"
    ),
    "gcloud auth application-default login": "",
    "gcloud auth login": "",
    "gcloud storage buckets create": "--project --location",
    "gcloud services enable": "--project",
    "helm repo add": "",
    "helm install": "--version --namespace --create-namespace",
    "docker build": "-f -t",
    "docker push": "",
    "kubectl annotate": "--namespace",
    "kubectl apply": "-k",
    "kubectl create secret generic": "--namespace --from-file",
    "kubectl get": "--namespace --output",
    "kubectl port-forward": "--namespace",
    "pip install": "-r",
    "base64": "-d",
    "chmod": "",
    "echo": "",
    "export": "",
    "mkdir": "-p -m",
    "sed": "-i",
}
INSTALLED: dict[str, Any] = {
    "agentark": typer.main.get_command(app),
    "ray": ray_cli,
    "serve": serve_cli,
}
PROGRAMS = {*INSTALLED, *(name.split()[0] for name in OTHERS)}
BLOCK = re.compile(r"```\n(.*?)```", re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """Every command of the code blocks, those within `ray exec` after it; then those in prose."""
    for block in BLOCK.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            yield from simple(line)
    for code in re.findall(r"`([^`]+)`", BLOCK.sub("", text)):
        if code.split()[0] in PROGRAMS and " " in code:
            yield from simple(" ".join(code.split()))


def simple(line: str) -> Iterator[list[str]]:
    """The commands of a line: of NAME=$(...), of a pipe, and of what `ray exec` runs."""
    assigned = re.fullmatch(r"\w+=\$\((.*)\)", line)
    lexer = shlex.shlex(assigned[1] if assigned else line, posix=True, punctuation_chars="|&>")
    lexer.whitespace_split = True
    for between, group in itertools.groupby(lexer, lambda word: word in ("|", "&", "&&")):
        words = list(group)
        if between or words[0] == "cd":
            continue
        if "=" in words[0]:  # of the environment
            words = words[1:]
        yield words
        if words[:2] == ["ray", "exec"]:
            yield from simple(words[-1])


def flags(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]


def known(words: list[str]) -> set[str] | None:
    """Flags that the program of a command takes; None if the program is not known."""
    command = INSTALLED.get(words[0])
    if command is None:
        found = [name for name in OTHERS if words[: len(name.split())] == name.split()]
        return set(OTHERS[found[0]].split()) if found else None
    for word in words[1:]:
        if not hasattr(command, "commands"):
            break
        inner = command.commands.get(word)
        if inner is None:
            return None
        command = inner
    return {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}


def wrong(words: list[str]) -> list[str]:
    """What a command has that does not exist."""
    there = known(words)
    if there is None:
        return [f"{words[0]} {words[1]}: no such command"]
    own = words
    if words[:3] == ["agentark", "cluster", "submit"]:  # takes those of its job, too
        jobs = {"distill": ["distill"], "evaluate": ["evaluate"], "label": ["traces", "label"]}
        there = there | (known(["agentark", *jobs.get(words[3], ["run"])]) or set())
    elif words[:2] == ["ray", "exec"]:
        own = words[:-1]
    found = [f"{shlex.join(words[:3])}: no flag {flag}" for flag in flags(own) if flag not in there]
    files = [
        word.split("=")[-1] for word in own if re.match(r"(--\w+=)?(cluster|jobs|serve)/", word)
    ]
    return found + [f"{file}: not there" for file in files if not any(ROOT.glob(file))]


LINES = list(commands(README))


def test_the_readme_has_commands_of_every_program() -> None:
    assert len(LINES) > 25
    assert {words[0] for words in LINES} >= {"agentark", "ray", "kubectl", "aws", "helm", "gcloud"}


def test_commands_are_found_in_prose_and_within_others() -> None:
    prose = "Needs `pip install\n-r a.txt`, a `head` and `ray`.\n"
    block = "```\nray exec a.yaml 'cd b && X=1 agentark serve c.yaml'\n```\n"
    inner = "cd b && X=1 agentark serve c.yaml"
    assert list(commands(prose + block)) == [
        ["ray", "exec", "a.yaml", inner],
        ["agentark", "serve", "c.yaml"],
        ["pip", "install", "-r", "a.txt"],
    ]


@pytest.mark.parametrize("words", LINES, ids=[" ".join(words)[:60] for words in LINES])
def test_a_command_exists_with_its_flags_and_files(words: list[str]) -> None:
    assert wrong(words) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("agentark cluster submt pipeline", "no such command"),
        ("agentark cluster submit pipeline --waits", "no flag --waits"),
        ("agentark cluster submit pipeline --strategy da", "no flag --strategy"),
        ("ray up --yess cluster/aws.yaml", "no flag --yess"),
        ("ray up -y cluster/azure.yaml", "cluster/azure.yaml: not there"),
        ("kubectl apply -q", "no flag -q"),
        ("terraform apply", "no such command"),
    ],
)
def test_a_planted_mistake_is_found(line: str, expected: str) -> None:
    (found,) = wrong(shlex.split(line))
    assert expected in found


@pytest.mark.parametrize(
    "words", [w for w in LINES if w[:3] == ["agentark", "cluster", "submit"]], ids=" ".join
)
def test_the_settings_of_a_job_are_settings(words: list[str]) -> None:
    values = [word for word in words if re.match(r"[a-z_.]+=", word)]
    assert load_config(ROOT / "jobs/configs/gsm8k.yaml", values)


def test_the_settings_of_a_service_are_settings() -> None:
    served = [words for words in LINES if words[:2] == ["agentark", "serve"]]
    assert served
    for _, _, config, *values in served:
        assert load_serve_config(str(ROOT / config), values).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("title", "first"),
    [("AWS", ["aws", "cloudformation"]), ("Google Cloud", ["gcloud", "storage"])],
)
def test_a_job_runs_after_three_commands(title: str, first: list[str]) -> None:
    (found,) = re.findall(rf"## {title}\n(.*?)```\n(.*?)```", README, re.DOTALL)
    before, section = found
    prerequisites, _, rest = before.strip().partition("Then three commands: ")
    assert prerequisites.startswith("Beforehand: ") and rest and not list(commands(rest))
    outer = [words for words in commands(f"```\n{section}```") if words[0] != "agentark"]
    assert [words[:2] for words in outer] == [first, ["ray", "up"], ["ray", "exec"]]


def test_links_lead_somewhere() -> None:
    for text in (README, (CLUSTER / "SECURITY.md").read_text(encoding="utf-8")):
        for link in re.findall(r"\]\(([^)]+)\)", text):
            assert (CLUSTER / link).exists(), link
        for name in re.findall(r"`((?:cluster|tests|kuberay|base)/[\w./-]+)`", text):
            if "SIZE" not in name and "..." not in name:
                places = (ROOT / name, CLUSTER / name, CLUSTER / "kuberay" / name)
                assert any(place.exists() for place in places), name
