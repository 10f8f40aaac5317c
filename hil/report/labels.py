"""Labels, parameters, links and identity of a test's result in the report.

`Stamp` completes each result of allure-pytest just before it is written. What a test set by allure's own decorators and
calls takes precedence.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from allure_commons import hookimpl, plugin_manager
from allure_commons.model2 import Label, Link, Parameter, StatusDetails
from allure_commons.utils import host_tag, thread_tag

from hil.errors import ORIGINS
from hil.report.kinds import BOUND_MARGINAL

if TYPE_CHECKING:
    from hil.wasm import Execution

BOARD_PARAMETER, REPETITION_PARAMETER = "hil_session_board", "hil_repetition"
AUTOMATIC = (("host", str(host_tag())), ("thread", str(thread_tag())))  # type: ignore[no-untyped-call]
# hidden in the report, for programs that read results
NODE, CHOSEN, KNOWN_URL = "_node", "_chosen", "_known_url"
RUN, NUMBER = "_run", "_number"  # the run of a result, and its number in its process


@dataclass(frozen=True)
class Known:
    """A known issue: its number, its description, and whether it still excuses a failure."""

    issue: str
    text: str
    holds: bool = True


@dataclass(frozen=True)
class Blame:
    """The origin of a failure, its kind, and the boot stage in which it happened."""

    fault: str
    kind: str
    stage: str = ""


@dataclass
class Sheet:
    """The data of one test for its result. The first part holds for all its tries, the second for one try.

    `test` is its stable name (`hil.history.identity`), `parameters` the names of pytest's parameters, which are part of
    that name. `counted` are parameters that distinguish results of one name.
    """

    nodeid: str
    test: str = ""
    suite: str = ""
    title: str = ""
    story: str = ""
    module: str = ""
    package: str = ""
    classes: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    counted: dict[str, str] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    owner: str = ""
    severity: str = ""
    issues: tuple[str, ...] = ()
    known: Known | None = None
    tracker: str = ""
    worker: str = "main"

    chosen: str = ""
    board: str = ""
    image: str = ""
    clock: str = ""
    place: str = ""
    executions: Sequence[Execution] = ()
    outcomes: tuple[str, ...] = ()
    blames: tuple[Blame, ...] = ()

    def again(self) -> None:
        """Reset the data of one try."""
        self.executions, self.outcomes, self.blames = (), (), ()

    @property
    def last(self) -> Execution | None:
        """The last execution."""
        return self.executions[-1] if self.executions else None

    @property
    def blame(self) -> Blame | None:
        """The failure that counts: of several the first in the order of `ORIGINS`."""
        return min(self.blames, key=lambda blame: ORIGINS.index(blame.fault), default=None)

    def link(self, issue: str) -> str:
        """Return the URL of an issue; empty without a tracker."""
        return self.tracker.format(issue) if self.tracker else ""


class Stamp:
    """A context manager that completes each result of a `run` from `sheet` as it is written."""

    def __init__(self, run: str = "") -> None:
        self.run = run
        self.sheet: Sheet | None = None
        self._written = itertools.count(1)

    def __enter__(self) -> Stamp:
        plugin_manager.register(self)
        return self

    def __exit__(self, *_: object) -> None:
        plugin_manager.unregister(self)

    @hookimpl(tryfirst=True)
    def report_result(self, result: Any) -> None:
        if self.sheet is not None:
            stamp(result, self.sheet)
            if self.run:
                result.labels += [Label(RUN, self.run), Label(NUMBER, str(next(self._written)))]
            self.sheet.again()


def stamp(result: Any, sheet: Sheet) -> None:
    """Complete `result`, one of allure's, from `sheet`."""
    result.labels = [*_labels(result, sheet), *_kept(result.labels, sheet)]  # the report shows the first ones
    _add_links(result, sheet)
    own = {BOARD_PARAMETER, REPETITION_PARAMETER}
    result.parameters = [
        *(Parameter(name, value) for name, value in variant(sheet).items()),
        *_shown(sheet),
        *(_excluded(parameter, sheet) for parameter in result.parameters if parameter.name not in own),
    ]
    result.testCaseId = digest(sheet.test)
    result.historyId = history_id(result.testCaseId, [(p.name, p.value) for p in result.parameters if not p.excluded])
    if sheet.known and sheet.known.holds and result.status in ("failed", "broken"):
        result.statusDetails = result.statusDetails or StatusDetails()
        result.statusDetails.known = True


def label_of(result: Mapping[str, Any], name: str) -> str:
    """Return the value of a label in a result's JSON data; empty without one."""
    return next((str(label.get("value")) for label in result.get("labels") or () if label.get("name") == name), "")


def digest(text: str) -> str:
    """Return the MD5 that the generator uses for identities."""
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def history_id(case: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return the identity of a result in the report's history, computed as the generator does."""
    counted = ",".join(f"{name}:{value}" for name, value in sorted(parameters))
    return f"{digest(case)}.{digest(counted)}"


def variant(sheet: Sheet) -> dict[str, str]:
    """Return the identifying parameters: each variant of a test has its own history."""
    found = {"board": sheet.board, "image": sheet.image, "clock": sheet.clock, **sheet.counted}
    return {name: value for name, value in found.items() if value}


def _shown(sheet: Sheet) -> list[Parameter]:
    """Return parameters for readers only: a test may fail before it deploys, and any place serves."""
    modules = ", ".join(dict.fromkeys(execution.module.name for execution in sheet.executions))
    found = {"module": modules, "place": sheet.place, "worker": sheet.worker if sheet.worker != "main" else ""}
    return [Parameter(name, value, excluded=True) for name, value in found.items() if value]


def _excluded(parameter: Parameter, sheet: Sheet) -> Parameter:
    if parameter.name in sheet.parameters:  # its value is in the test's name; the text may hold addresses and paths
        parameter.excluded = True
    return parameter


def _kept(labels: Sequence[Label], sheet: Sheet) -> list[Label]:
    """Return the result's labels without those that allure-pytest sets by default."""
    defaults = {
        ("parentSuite", sheet.package),
        ("suite", sheet.module),
        ("subSuite", " > ".join(sheet.classes)),
        *AUTOMATIC,
    }
    return [label for label in labels if (label.name, label.value) not in defaults]


def _labels(result: Any, sheet: Sheet) -> list[Label]:
    kept = {label.name for label in _kept(result.labels, sheet)}
    blame = sheet.blame
    kind = blame.kind if blame else BOUND_MARGINAL if "marginal" in sheet.outcomes else ""
    board = sheet.board and (f"{sheet.board} ({sheet.place})" if sheet.place else sheet.board)
    defaults = [  # unless the test has its own
        ("epic", sheet.suite),
        *(("feature", name) for name in sheet.requirements or [sheet.title]),
        ("story", sheet.story),
        ("parentSuite", board),
        ("suite", sheet.suite),
        ("subSuite", " > ".join((sheet.module, *sheet.classes))),
        ("owner", sheet.owner),
        ("severity", sheet.severity),
        ("host", board or AUTOMATIC[0][1]),
        ("thread", sheet.place or sheet.worker),
    ]
    ours = [
        ("fault", blame.fault if blame else ""),
        ("kind", kind),
        ("stage", blame.stage if blame else ""),
        ("verdict", sheet.last.verdict.name if sheet.last else ""),
        *(("bound", name) for name in dict.fromkeys(sheet.outcomes)),
        ("board", sheet.board),
        *(("requirement", name) for name in sheet.requirements),
        *(("tag", name) for name in (*sheet.requirements, sheet.board, sheet.place)),
        *(("issue", name) for name in sheet.issues),
        *_known(sheet),
        (NODE, sheet.nodeid),
        (CHOSEN, sheet.chosen),
    ]
    pairs = [*ours, *(label for label in defaults if label[0] not in kept)]
    return [Label(name, value) for name, value in dict.fromkeys(pairs) if value]


def _known(sheet: Sheet) -> list[tuple[str, str]]:
    if sheet.known is None:
        return []
    issue, text = sheet.known.issue, sheet.known.text
    if not sheet.known.holds:
        return [("tag", f"known issue {issue}: expired")]
    return [("known", issue), ("known-text", text), (KNOWN_URL, sheet.link(issue))]


def _add_links(result: Any, sheet: Sheet) -> None:
    existing = {link.url for link in result.links}
    for issue in dict.fromkeys((*sheet.issues, *([sheet.known.issue] if sheet.known else []))):
        url = sheet.link(issue)
        if url and url not in existing:
            result.links.append(Link("issue", url, issue))
