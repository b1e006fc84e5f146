"""Reports of evaluated runs: HTML, Markdown and JSON, of one run or of several compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.config import ConfigError
from agentark_ray.evaluate import views
from agentark_ray.evaluate.report import markdown, page
from agentark_ray.evaluate.report.compare import Comparison, compare
from agentark_ray.evaluate.report.document import document
from agentark_ray.evaluate.report.pack import Packed, pack
from agentark_ray.evaluate.report.questions import Listed, Source, columns, lead, list_questions
from agentark_ray.report_source import Asked, RunSource
from agentark_ray.run_folder import RunFolder

MAX_MB = 14.0
MOST_QUESTIONS = 20_000  # in the list of a page
SLACK = 50_000  # bytes: figures that are longer when there are questions, and tags


class Format(StrEnum):
    """Of a report."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a report goes, and how."""

    formats: Sequence[Format] = tuple(Format)
    max_mb: float = MAX_MB  # of the page
    folder: str | None = None  # None: the run's, the first one's for several


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report on disk."""

    paths: Mapping[Format, str]
    sizes: Mapping[Format, int]  # bytes
    listed: int  # questions in the list
    worded: int  # of those, with their transcripts
    told: tuple[str, ...]  # which questions of several runs were compared


def write_report(folder: RunFolder) -> int:
    """report.html, report.md and report.json of an evaluated run; bytes of the first."""
    return write_reports([folder], Asked(), Output()).sizes[Format.HTML]


def write_reports(folders: Sequence[RunFolder], asked: Asked, output: Output) -> Written:
    """The report of one run, or of several that are compared.

    Raises:
        ConfigError: a folder is not evaluated, or an option does not fit; nothing is written.
    """
    runs = [RunSource(folder, asked) for folder in folders]
    names = _names([run.run.name for run in runs], folders)
    shown = [run.named(name) for run, name in zip(runs, names, strict=True)]
    sources = [run.source(name) for run, name in zip(runs, names, strict=True)]
    found, distinct = _compared(runs, names)
    listed = list_questions(sources, _titles(sources), MOST_QUESTIONS, distinct)
    commands = [runs[one.source].command(one.arm) for one in listed.columns]
    packed = _fitting(shown, found, sources, listed, distinct, commands, output.max_mb)
    texts = _texts(shown, found, listed, packed, commands, output.formats)
    target = RunFolder(output.folder or folders[0].uri)
    stem = "report" if len(runs) == 1 or output.folder else "comparison"
    for kind, text in texts.items():
        target.write_text(text, f"{stem}.{kind}")
    return Written(
        paths={kind: target.path(f"{stem}.{kind}") for kind in texts},
        sizes={kind: len(text.encode()) for kind, text in texts.items()},
        listed=packed.listed,
        worded=packed.worded,
        told=tuple(one.told() for one in found),
    )


def _compared(
    runs: Sequence[RunSource], names: Sequence[str]
) -> tuple[list[Comparison], frozenset[str]]:
    """Every further run against the first, and ids that name different questions."""
    if len(runs) == 1:
        return [], frozenset()
    confidence = runs[0].run.summary["confidence"]
    first, *others = (run.answers(name) for run, name in zip(runs, names, strict=True))
    found = [compare(first, one, confidence) for one in others]
    return found, _distinct([one.contents for one in (first, *others)])


def _fitting(
    shown: Sequence[page.Run],
    found: Sequence[Comparison],
    sources: Sequence[Source],
    listed: Listed,
    distinct: frozenset[str],
    commands: Sequence[str],
    max_mb: float,
) -> Packed:
    """The questions that fit beside the rest of the page."""
    none = Packed(
        index="", blocks=(), starts=(), listed=0, worded=0, worded_by_group=(), shortened=0
    )
    rest = len(page.render(shown, found, listed, none, commands).encode())
    budget = int(max_mb * 1e6) - rest - SLACK
    try:
        return pack(sources, listed, budget, distinct)
    except ValueError as error:
        raise ConfigError(
            f"--max-mb {max_mb:g}: without questions the page takes {rest / 1e6:.1f} MB; {error}"
        ) from None


def _texts(
    shown: Sequence[page.Run],
    found: Sequence[Comparison],
    listed: Listed,
    packed: Packed,
    commands: Sequence[str],
    formats: Sequence[Format],
) -> dict[Format, str]:
    texts = {}
    if Format.HTML in formats:
        texts[Format.HTML] = page.render(shown, found, listed, packed, commands)
    if Format.MARKDOWN in formats:
        texts[Format.MARKDOWN] = markdown.render(shown, found)
    if Format.JSON in formats:
        value = document(shown, found, listed, packed)
        texts[Format.JSON] = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    return texts


def _names(names: Sequence[str], folders: Sequence[RunFolder]) -> list[str]:
    """Names of runs, with their folders where names are the same."""
    ends = [folder.uri.rsplit("/", 1)[-1] for folder in folders]
    found = [
        name if names.count(name) == 1 else f"{name} ({end})"
        for name, end in zip(names, ends, strict=True)
    ]
    if len(set(found)) == len(found):
        return found
    return [f"{name} ({folder.uri})" for name, folder in zip(names, folders, strict=True)]


def _titles(sources: Sequence[Source]) -> list[str]:
    """Of the two columns whose difference decides what is listed first."""
    shown = columns(sources)
    pair = lead(sources, shown) or ()
    numbers = len(sources) > 1
    return [
        views.label(shown[at].arm) + (f" ({shown[at].source + 1})" if numbers else "")
        for at in pair
    ]


def _distinct(contents: Sequence[Mapping[str, int]]) -> frozenset[str]:
    """Ids that name different questions in different runs."""
    first: dict[str, int] = {}
    return frozenset(
        q
        for found in contents
        for q, content in found.items()
        if first.setdefault(q, content) != content
    )
