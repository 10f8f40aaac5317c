"""The conformance suite: run a group of cases, and judge the results against the image's expected failures."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.guest import Guest
from hil.host.hints import did_you_mean
from hil.text import printable_line
from hil.wasm.conformance_groups import ConformanceGroup, load_recorded
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.module import Module
from hil.wasm.preopens import Preopen
from hil.wasm.runner import Runner
from hil.wasm.verdict import Failed, exited

_LINE = re.compile(r"(?P<bad>not )?ok (?P<name>.*)")
_SHOWN = 100  # characters of a line that is not a case's
_TOGETHER = "/tmp/hil-conformance"  # a directory of the guest
_UNPACK_LIMIT = 60.0  # seconds


@dataclass(frozen=True)
class CaseResult:
    """The result of one case, or of a whole group by the group's name.

    `problem` is empty if the case passed. A case is not `reached` if its module ended before it.
    """

    name: str
    problem: str = ""
    reached: bool = True


@dataclass(frozen=True)
class ConformanceResult:
    """The results of a group's cases beside the image's list of expected failures, reasons by name."""

    cases: tuple[CaseResult, ...]
    expected: Mapping[str, str]

    @property
    def unexpected(self) -> list[str]:
        """One line for each result that is not as the list has it, in both directions.

        A case that its module did not reach is not judged: the result of its group is.
        """
        found = []
        for case in self.cases:
            reason = self.expected.get(case.name)
            if not case.reached:
                continue
            if case.problem and reason is None:
                found.append(f"{case.name}: {case.problem}")
            elif not case.problem and reason is not None:
                found.append(f"{case.name}: passes, but the image's expected_failures have it ({reason})")
        return found


def run_conformance(runner: Runner, groups: Sequence[ConformanceGroup]) -> dict[str, ConformanceResult]:
    """Run all cases of `groups` and return the results of each group by its name.

    Raises `ConfigurationError` for a module that is not the recorded one, and the errors of `runner.run`.
    """
    modules = {group.name: load_recorded(group) for group in groups if group.module is not None}
    refused = {case.name: Module.raw(_file(case.name), case.data) for group in groups for case in group.refused}
    _upload_together(runner.guest, [*modules.values(), *refused.values()])
    expected = runner.guest.board.manifest.conformance.expected_failures
    results = {}
    for group in groups:
        cases = _run_module(runner, group, modules[group.name]) if group.name in modules else []
        cases += [CaseResult(case.name, _not_refused(runner.run(refused[case.name]))) for case in group.refused]
        results[group.name] = ConformanceResult(tuple(cases), expected)
    return results


def _file(case: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", case) + ".wasm"


def _run_module(runner: Runner, group: ConformanceGroup, module: Module) -> list[CaseResult]:
    """Run the module of a group: its cases, each trap, each exit code."""
    results = results_of(group, _run(runner, module, group)) if group.cases else []
    reached = all(result.reached for result in results)
    for number, (name, reason) in enumerate(group.traps.items(), 1):
        problem = _not_trapped(runner.run(module, str(number)), reason) if reached else ""
        results.append(CaseResult(name, problem, reached))
    for code in group.exits:
        verdict = runner.run(module, str(code)).verdict
        results.append(CaseResult(group.exit_name(code), "" if verdict == exited(code) else f"got {verdict}"))
    return results


def _run(runner: Runner, module: Module, group: ConformanceGroup) -> Execution:
    preopens = [
        Preopen(one.at, {path: text.encode() for path, text in one.files.items()}, one.writable)
        for one in group.directories
    ]
    limit = DEFAULT_LIMIT if group.limit is None else group.limit
    return runner.run(module, *group.arguments, limit=limit, env=group.environment, preopens=preopens)


def _upload_together(guest: Guest, modules: Sequence[Module]) -> None:
    """Upload the modules in one archive: each on its own would take several commands.

    A guest without tar gets them one by one, when they run.
    """
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for module in modules:
            entry = tarfile.TarInfo(module.name)
            entry.size = len(module.data)
            archive.addfile(entry, io.BytesIO(module.data))
    if not modules:
        return
    guest.put(target.getvalue(), f"{_TOGETHER}/modules.tar")
    if guest.run(f"cd {_TOGETHER}&&tar -xf modules.tar", timeout=_UNPACK_LIMIT).status == 0:
        guest.modules.update({module.sha256: f"{_TOGETHER}/{module.name}" for module in modules})


def results_of(group: ConformanceGroup, run: Execution) -> list[CaseResult]:
    """Return the results of the cases that the group's module prints, first that of the whole group."""
    problems: dict[str, str] = {}
    strange: list[str] = []
    for line in run.lines:
        name, _, problem = line.partition(": ")
        match = _LINE.fullmatch(name)
        full = group.full(match["name"]) if match else ""
        if match is None or full not in group.cases or full in problems or bool(match["bad"]) != bool(problem):
            strange.append(printable_line(line)[:_SHOWN])
        else:
            problems[full] = problem
    ended = run.verdict == exited(0)
    whole = ""
    if run.intact is False:
        whole = "the line garbled the output"
    elif not ended:
        whole = f"{run.verdict} after {len(problems)} of {len(group.cases)} cases"
    elif strange:
        whole = f"the module printed {strange[0]!r}, which is no line of a case"
    results = [CaseResult(group.name, whole)]
    for case in group.cases:
        missing = "" if case in problems else "the module printed no line"
        results.append(CaseResult(case, problems.get(case, missing), reached=ended or case in problems))
    return results


def _not_trapped(run: Execution, reason: str) -> str:
    if isinstance(run.verdict, Failed) and reason in run.verdict.reason:
        return ""
    return f"got {run.verdict}, expected failed({reason})"


def _not_refused(run: Execution) -> str:
    if isinstance(run.verdict, Failed) and not run.output:
        return ""
    return f"got {run.verdict}, expected that the module is refused"


def unknown_conformance_cases(groups: Sequence[ConformanceGroup], expected: Mapping[str, str]) -> list[str]:
    """Return a line for each name in a list of expected failures that no group has."""
    known = dict.fromkeys(name for group in groups for name in group.names)
    return [f"there is no case {name!r}. {did_you_mean(name, known)}".strip() for name in expected if name not in known]
