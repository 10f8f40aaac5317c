"""Pictures of the series in results files, as SVG files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.results import Results
from hil.measure.series import Series
from hil.plots.canvas import Checks
from hil.plots.series import compare, histogram, percentiles, timeline

SINGLE: dict[str, Callable[[Series, Checks], str]] = {
    "histogram": histogram,
    "percentiles": percentiles,
    "timeline": timeline,
}


def write(directory: Path, files: Sequence[Results], kinds: Sequence[str]) -> Iterator[Path]:
    """Draw the series in `files` into SVG files below `directory` and yield the path of each.

    `kinds` are those of `SINGLE`, for each series, and `comparison`: one picture of all series of a quantity, with
    several files one of each quantity and subject. Raises `ConfigurationError` for no series, `InfrastructureError` if
    a file cannot be written.
    """
    records = [record for file in files for record in file.records]
    if not records:
        raise ConfigurationError("there are no series in these results", hint="Run tests that measure.")
    taken: Counter[str] = Counter()
    for record in records:
        for kind in (kind for kind in SINGLE if kind in kinds):
            name = _file_name(taken, record.series.quantity, record.series.subject, kind)
            yield _save(directory / name, SINGLE[kind](record.series, record.checks))
    groups: dict[tuple[str, ...], list[Series]] = {}
    for series in [record.series for record in records] if "comparison" in kinds else ():
        subject = (series.subject,) if len(files) > 1 else ()
        groups.setdefault((series.quantity, *subject, series.unit), []).append(series)
    for group, members in groups.items():
        if len(members) > 1:
            yield _save(directory / _file_name(taken, *group[:-1], "comparison"), compare(members))


def _file_name(taken: Counter[str], *parts: str) -> str:
    name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:60] for part in parts)
    taken[name] += 1
    return f"{name}.svg" if taken[name] == 1 else f"{name}-{taken[name]}.svg"


def _save(path: Path, svg: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg, "utf-8")
    except OSError as error:
        raise InfrastructureError(f"cannot write the picture {path}: {error.strerror}") from error
    return path
