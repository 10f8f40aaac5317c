"""The check of boards, image and files among the options before the first test: each wrong one is a usage error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil import slow
from hil.board.selection import Selection, bounds_file, find, is_path, is_place, of_project, select
from hil.errors import ConfigurationError
from hil.host import project

# name in pytest's configuration: the option
FILES = {"hil_results": "--hil-results", "hil_journal": "--hil-journal", "hil_history": "--hil-history"}
DIRECTORIES = {"hil_transcripts": "--hil-transcripts", "allure_report_dir": "--alluredir"}
READ = {"hil_bounds": "--hil-bounds", "hil_baselines": "--hil-baselines"}


def of_others(config: pytest.Config, name: str) -> Any:
    """Return the option `name` of another plugin, None where that plugin is disabled."""
    return getattr(config.option, name, None)


def selection(config: pytest.Config) -> Selection:
    """Return the selected boards: by --board, else --lg-env, else LG_ENV, else by the project's setting `board`."""
    found = select(config.option.board or (), of_others(config, "lg_env"))
    return found if found.names else of_project(project.current())


def make_paths_absolute(config: pytest.Config) -> None:
    """Make the paths among the options absolute, so that a test may change the current directory.

    Without --hil-history the project's setting counts.
    """
    option, start = config.option, config.invocation_params.dir
    option.hil_history = option.hil_history or project.current().path("history")
    for name in (*FILES, *DIRECTORIES, *READ):
        if given := of_others(config, name):
            setattr(option, name, type(given)(start / given))
    if option.image and option.image.endswith(".toml"):
        option.image = str(start / option.image)


def absolute_boards(config: pytest.Config, names: tuple[str, ...]) -> list[str]:
    """Return the boards, with absolute paths."""
    return [str(config.invocation_params.dir / name) if is_path(name) else name for name in names]


def check(config: pytest.Config, selected: Selection) -> None:
    """Check boards, image, bounds and the paths that the run writes to. Raises `UsageError`.

    Reads the files that an option or LG_ENV names; `check_needed` reads those that only tests on a board need.
    """
    problems: list[str] = []
    try:
        _check_boards(config, selected)
        if not config.option.collectonly:
            problems += _path_problems(config)
            if (image := config.option.image) is not None:
                slow.manifest.load(Path(image)) if image.endswith(".toml") else slow.manifest.find(image)
            if (bounds := config.option.hil_bounds) is not None:
                slow.Bounds(bounds)
    except ConfigurationError as error:
        problems.append(str(error))
    if problems:
        raise pytest.UsageError("\n".join(problems))


def check_needed(session: pytest.Session) -> None:
    """Check what the selected tests on a board need: its file, its image and its bounds file. Raises `UsageError`.

    Does nothing for a mere or failed collection and without tests on a board. The controller of pytest-xdist collects
    no tests.
    """
    config = session.config
    if config.option.collectonly or session.testsfailed or hasattr(config, "workerinput"):
        return
    if not any("hil_session_board" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    bounds = config.option.hil_bounds or project.current().path("bounds")
    try:
        for name in absolute_boards(config, selection(config).names):
            if is_place(name):
                continue
            path = find(name)
            environment = slow.boardfile.environment(path)
            slow.boardfile.forget_classes(path)
            if config.option.image is None and (key := slow.boardfile.image_key(path)) is not None:
                slow.manifest_in(environment.config, key)
            if bounds is None and (own := bounds_file(path)).exists():
                slow.Bounds(own)
        if bounds is not None:
            slow.Bounds(bounds)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from error


def _check_boards(config: pytest.Config, selected: Selection) -> None:
    unused = selected == of_project(project.current()) or config.option.collectonly  # perhaps
    for name in absolute_boards(config, selected.names):
        if is_place(name):
            slow.selector.parse(name)
            continue
        try:
            path = find(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error.message} (chosen by {selected.source})", hint=error.hint) from None
        if not unused:
            slow.boardfile.environment(path)
            slow.boardfile.forget_classes(path)  # labgrid's own plugin may read the file next


def check_labgrid_environment(config: pytest.Config, selected: Selection) -> None:
    """Check the environment that labgrid's own plugin loads next. Raises `UsageError`."""
    given = of_others(config, "lg_env")
    source, path = ("--lg-env", given) if given is not None else ("LG_ENV", os.environ.get("LG_ENV"))
    if path is None or selected.source == source or not config.pluginmanager.hasplugin("labgrid"):
        return

    try:
        slow.Environment(path)
        slow.boardfile.forget_classes(Path(path))
    except Exception as error:  # the environment's own imports may raise any
        hint = f"labgrid's plugin reads it, although {selected.source or 'nothing'} selects the board"
        raise pytest.UsageError(f"{source}={path}: {type(error).__name__}: {error}\n{hint}") from error


def _path_problems(config: pytest.Config) -> Iterator[str]:
    for options, problems in ((FILES, _file_problems), (DIRECTORIES, _directory_problems)):
        for name, option in options.items():
            if path := of_others(config, name):
                yield from problems(option, Path(path))
    if (baselines := config.option.hil_baselines) is not None and not baselines.is_dir():
        yield f"--hil-baselines {baselines}: it is not a directory"


def _file_problems(option: str, path: Path) -> Iterator[str]:
    if path.is_dir():
        yield f"{option} {path}: it is a directory; name a file"
    elif path.exists() and not path.is_file():
        yield f"{option} {path}: it is not a regular file"
    elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield f"{option} {path}: it cannot be written"
    else:
        yield from _directory_problems(option, path.parent)


def _directory_problems(option: str, path: Path) -> Iterator[str]:
    """Create the directory `path` where it is missing, and yield the reason why it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield f"{option} {path}: cannot create the directory: {error.strerror}"
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield f"{option} {path}: the directory cannot be written"
