"""Labels, parameters, links and identity of a test's result in the report.

`ResultLabels` completes each result of allure-pytest just before it is written. What a test set by allure's own
decorators and calls takes precedence.
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
class FailureLabels:
    """The origin of a failure, its kind, and the boot stage in which it happened."""

    fault: str
    kind: str
    stage: str = ""


@dataclass
class TestLabels:
    """The data of one test for its result. The first part holds for all its tries, the second for one try.

    `test` is its stable name (`hil.history.identity`), `parameters` the names of pytest's parameters, which are part of
    that name. `counted` are parameters that distinguish results of one name.
    """

    __test__ = False  # not a test class

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
    failures: tuple[FailureLabels, ...] = ()

    def begin_try(self) -> None:
        """Reset the data of one try."""
        self.executions, self.outcomes, self.failures = (), (), ()

    @property
    def last(self) -> Execution | None:
        """The last execution."""
        return self.executions[-1] if self.executions else None

    @property
    def failure(self) -> FailureLabels | None:
        """The failure that counts: of several the first in the order of `ORIGINS`."""
        return min(self.failures, key=lambda failure: ORIGINS.index(failure.fault), default=None)

    def link(self, issue: str) -> str:
        """Return the URL of an issue; empty without a tracker."""
        return self.tracker.format(issue) if self.tracker else ""


class ResultLabels:
    """A context manager that completes each result of a `run` from `labels` as it is written."""

    def __init__(self, run: str = "") -> None:
        self.run = run
        self.labels: TestLabels | None = None
        self._written = itertools.count(1)

    def __enter__(self) -> ResultLabels:
        plugin_manager.register(self)
        return self

    def __exit__(self, *_: object) -> None:
        plugin_manager.unregister(self)

    @hookimpl(tryfirst=True)
    def report_result(self, result: Any) -> None:
        if self.labels is not None:
            complete(result, self.labels)
            if self.run:
                result.labels += [Label(RUN, self.run), Label(NUMBER, str(next(self._written)))]
            self.labels.begin_try()


def complete(result: Any, labels: TestLabels) -> None:
    """Complete `result`, one of allure's, from `labels`."""
    result.labels = [*_labels(result, labels), *_kept(result.labels, labels)]  # the report shows the first ones
    _add_links(result, labels)
    own = {BOARD_PARAMETER, REPETITION_PARAMETER}
    result.parameters = [
        *(Parameter(name, value) for name, value in variant(labels).items()),
        *_shown(labels),
        *(_excluded(parameter, labels) for parameter in result.parameters if parameter.name not in own),
    ]
    result.testCaseId = digest(labels.test)
    result.historyId = history_id(result.testCaseId, [(p.name, p.value) for p in result.parameters if not p.excluded])
    if labels.known and labels.known.holds and result.status in ("failed", "broken"):
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


def variant(labels: TestLabels) -> dict[str, str]:
    """Return the identifying parameters: each variant of a test has its own history."""
    found = {"board": labels.board, "image": labels.image, "clock": labels.clock, **labels.counted}
    return {name: value for name, value in found.items() if value}


def _shown(labels: TestLabels) -> list[Parameter]:
    """Return parameters for readers only: a test may fail before it deploys, and any place serves."""
    modules = ", ".join(dict.fromkeys(execution.module.name for execution in labels.executions))
    found = {"module": modules, "place": labels.place, "worker": labels.worker if labels.worker != "main" else ""}
    return [Parameter(name, value, excluded=True) for name, value in found.items() if value]


def _excluded(parameter: Parameter, labels: TestLabels) -> Parameter:
    if parameter.name in labels.parameters:  # its value is in the test's name; the text may hold addresses and paths
        parameter.excluded = True
    return parameter


def _kept(present: Sequence[Label], labels: TestLabels) -> list[Label]:
    """Return the result's labels without those that allure-pytest sets by default."""
    defaults = {
        ("parentSuite", labels.package),
        ("suite", labels.module),
        ("subSuite", " > ".join(labels.classes)),
        *AUTOMATIC,
    }
    return [label for label in present if (label.name, label.value) not in defaults]


def _labels(result: Any, labels: TestLabels) -> list[Label]:
    kept = {label.name for label in _kept(result.labels, labels)}
    failure = labels.failure
    kind = failure.kind if failure else "bound-marginal" if "marginal" in labels.outcomes else ""
    board = labels.board and (f"{labels.board} ({labels.place})" if labels.place else labels.board)
    defaults = [  # unless the test has its own
        ("epic", labels.suite),
        *(("feature", name) for name in labels.requirements or [labels.title]),
        ("story", labels.story),
        ("parentSuite", board),
        ("suite", labels.suite),
        ("subSuite", " > ".join((labels.module, *labels.classes))),
        ("owner", labels.owner),
        ("severity", labels.severity),
        ("host", board or AUTOMATIC[0][1]),
        ("thread", labels.place or labels.worker),
    ]
    ours = [
        ("fault", failure.fault if failure else ""),
        ("kind", kind),
        ("stage", failure.stage if failure else ""),
        ("verdict", labels.last.verdict.name if labels.last else ""),
        *(("bound", name) for name in dict.fromkeys(labels.outcomes)),
        ("board", labels.board),
        *(("requirement", name) for name in labels.requirements),
        *(("tag", name) for name in (*labels.requirements, labels.board, labels.place)),
        *(("issue", name) for name in labels.issues),
        *_known(labels),
        (NODE, labels.nodeid),
        (CHOSEN, labels.chosen),
    ]
    pairs = [*ours, *(label for label in defaults if label[0] not in kept)]
    return [Label(name, value) for name, value in dict.fromkeys(pairs) if value]


def _known(labels: TestLabels) -> list[tuple[str, str]]:
    if labels.known is None:
        return []
    issue, text = labels.known.issue, labels.known.text
    if not labels.known.holds:
        return [("tag", f"known issue {issue}: expired")]
    return [("known", issue), ("known-text", text), (KNOWN_URL, labels.link(issue))]


def _add_links(result: Any, labels: TestLabels) -> None:
    existing = {link.url for link in result.links}
    for issue in dict.fromkeys((*labels.issues, *([labels.known.issue] if labels.known else []))):
        url = labels.link(issue)
        if url and url not in existing:
            result.links.append(Link("issue", url, issue))
