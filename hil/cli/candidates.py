"""The words that a shell completes: names and files that the commands take.

Nothing here imports what the commands import, opens a board, or raises an error for a wrong project file: see
`hil.cli.completion`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from hil.host import project
from hil.wasm.catalogue import on_demand

Items = list[CompletionItem[str]]
Source = Callable[[click.Context, click.Parameter, str], Items]

PART = "part"
"""The type of a word that the user continues, such as `place:`: the shell adds no space."""

NIGHT = re.compile(r"\d{4}-\d\d-\d\d(-\d+)?")


def files(*patterns: str) -> Source:
    """Return the source of all files that match one of `patterns`, without any of all files; and of directories."""
    return lambda context, parameter, word: [_file(word, *patterns)]


def directories(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    return [CompletionItem(word, type="dir")]


def boards(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return names of boards, places of the running coordinator, and board files of a path that is begun."""
    if _is_path(word):
        return [_file(word, "*.yaml", "*.yml")]
    return [*_begun(project.current().names("boards", ".yaml"), word), *_places(word)]


def boards_alone(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return names of boards, and board files of a path that is begun."""
    if _is_path(word):
        return [_file(word, "*.yaml", "*.yml")]
    return _begun(project.current().names("boards", ".yaml"), word)


def places(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return the names of places of the running coordinator."""
    return _begun(_of_coordinator(), word)


def images(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    return _begun(project.current().names("images", ".toml"), word)


def plans(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return names of plans, and TOML files."""
    return [*_begun(project.current().names("plans", ".toml"), word), _file(word, "*.toml")]


def modules(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return names of samples, and modules in files."""
    found = () if _is_path(word) else {**project.current().names("samples", ".wasm"), **on_demand()}
    return [*_begun((f"{name}.wasm" for name in found), word), _file(word, "*.wasm")]


def faults(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return names of faults that are not given yet; of a power cut also the stages of all images."""
    from hil.faults.catalogue import FAULTS, at_stage

    names = {fault.name: fault.about for fault in FAULTS}
    if word.startswith(at_stage("").name):
        for file in project.current().names("images", ".toml").values():
            with suppress(OSError, ValueError, KeyError, TypeError):  # a wrong manifest has no stages
                stages = [at_stage(stage["name"]) for stage in tomllib.loads(file.read_text("utf-8"))["stages"]]
                names |= {fault.name: fault.about for fault in stages}
    given = context.params.get("names") or ()
    return [CompletionItem(name, help=names[name]) for name in names if name.startswith(word) and name not in given]


def nights(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return the nights on the disk, the newest first."""
    try:
        found = [path.name for path in project.current().nights.iterdir() if NIGHT.fullmatch(path.name)]
    except OSError:
        return []
    return _begun(sorted(found, reverse=True), word)


def sides(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Return what `hil compare` compares: nights, images, boards, results files and directories of runs."""
    kind, separator, begun = word.partition(":")
    source = {"image": images, "board": boards_alone}.get(kind)
    if separator and source is not None:
        return [CompletionItem(f"{kind}:{item.value}") for item in source(context, parameter, begun)]
    parts = [CompletionItem(part, type=PART) for part in ("image:", "board:") if part.startswith(word)]
    return [*nights(context, parameter, word), *parts, _file(word, "*.jsonl")]


results = files("*.jsonl")
transcripts = files("*.raw", "*.tsv")
toml = files("*.toml")


def _places(word: str) -> Items:
    """Return selectors of places: `place:NAME`, and `+TAG=VALUE` once its + is typed."""
    if word.startswith("+"):
        tags = {f"+{key}={value}" for tags in _of_coordinator().values() for key, value in tags.items()}
        return _begun(sorted(tags), word)
    if not (word.startswith("place:") or "place:".startswith(word)):
        return []
    return _begun((f"place:{name}" for name in _of_coordinator()), word)


def _of_coordinator() -> dict[str, dict[str, str]]:
    from hil.places import listing, selector

    return dict(sorted(listing.places(selector.address(None)).items()))


def _begun(names: Iterable[str], word: str) -> Items:
    return [CompletionItem(name) for name in names if name.startswith(word)]


def _file(word: str, *patterns: str) -> CompletionItem[str]:
    return CompletionItem(word, type="file", patterns=patterns)


def _is_path(word: str) -> bool:
    return "/" in word or word.startswith(("~", "."))
