"""The conformance suite: the judgement of its cases, its table, its scripts, and the lists of expected failures."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from executions import execution

from hil.errors import ConfigurationError
from hil.image import manifest
from hil.wasm import Execution, Module, Runner
from hil.wasm.conformance import (
    CaseResult,
    ConformanceResult,
    results_of,
    run_conformance,
    unknown_conformance_cases,
)
from hil.wasm.conformance_groups import ConformanceGroup, Refusal, conformance_groups
from hil.wasm.verdict import Verdict, exited, failed, faulted

SUITE = Path(__file__).resolve().parents[2] / "suites" / "conformance"
GROUP = ConformanceGroup("g", None, "", cases=("g/a", "g/b(1,2)"))


def results(output: str, verdict: Verdict | None = None, intact: bool | None = True) -> dict[str, str]:
    """Return the problems of the reached cases by name."""
    run = execution(verdict, output.encode(), intact)
    return {result.name: result.problem for result in results_of(GROUP, run) if result.reached}


def test_each_case_has_the_line_that_the_module_printed() -> None:
    assert results("ok a\nok b(1,2)\n") == {"g": "", "g/a": "", "g/b(1,2)": ""}
    assert results("ok a\nnot ok b(1,2): got 1, expected 8 or 9\n")["g/b(1,2)"] == "got 1, expected 8 or 9"


@pytest.mark.parametrize("line", ["ok c", "ok a", "nonsense", "not ok b(1,2)", "ok b(1,2): got 1, expected 2", ""])
def test_a_line_that_is_no_result_is_a_problem_of_the_group(line: str) -> None:
    assert "no line of a case" in results(f"ok a\n{line}\n")["g"]


def test_a_case_without_a_line_has_failed() -> None:
    assert results("ok a\n") == {"g": "", "g/a": "", "g/b(1,2)": "the module printed no line"}


def test_what_a_module_did_not_reach_is_a_problem_of_the_group_alone() -> None:
    assert results("ok a\n", failed("unreachable")) == {"g": "failed(unreachable) after 1 of 2 cases", "g/a": ""}
    assert results("ok a\nok b(1,2)\n", exited(3))["g"] == "exited(3) after 2 of 2 cases"


def test_garbled_output_is_a_problem_of_the_group() -> None:
    assert "garbled" in results("ok a\nok b(1,2)\n", intact=False)["g"]


@pytest.mark.parametrize(
    ("problem", "reached", "expected", "found"),
    [
        ("", True, {}, []),
        ("got 1", True, {}, ["g/a: got 1"]),
        ("got 1", True, {"g/a": "known"}, []),
        ("", True, {"g/a": "known"}, ["g/a: passes, but the image's expected_failures have it (known)"]),
        ("no line", False, {}, []),
        ("no line", False, {"g/a": "known"}, []),
        ("", True, {"g/b": "another"}, []),
    ],
)
def test_a_list_of_expected_failures_is_exact(
    problem: str, reached: bool, expected: dict[str, str], found: list[str]
) -> None:
    assert ConformanceResult((CaseResult("g/a", problem, reached),), expected).unexpected == found


def test_a_name_that_no_group_has_is_reported() -> None:
    assert unknown_conformance_cases([GROUP], {"g": "x", "g/a": "x"}) == []
    (line,) = unknown_conformance_cases([GROUP], {"g/b(1,3)": "x"})
    assert "'g/b(1,3)'" in line
    assert "did you mean 'g/b(1,2)'?" in line


class FakeRunner:
    """Returns what each call, `FILE ARGUMENTS...`, is said to give; all others exit with 0 and print nothing."""

    def __init__(self, given: dict[str, Execution], tar: int = 0) -> None:
        self.given = given
        self.calls: list[str] = []
        self.guest = SimpleNamespace(
            modules=dict[str, str](),
            put=lambda data, path: True,
            run=lambda command, timeout: SimpleNamespace(status=tar),
            board=SimpleNamespace(
                manifest=SimpleNamespace(conformance=SimpleNamespace(expected_failures={"g/trap:x": "known"}))
            ),
        )

    def run(self, module: Module, *arguments: str, **_: Any) -> Execution:
        call = " ".join((module.name, *arguments))
        self.calls.append(call)
        return self.given.get(call, execution())


@pytest.fixture
def group(tmp_path: Path) -> ConformanceGroup:
    data = b"\0asm\1\0\0\0"
    (tmp_path / "g.wasm").write_bytes(data)
    return ConformanceGroup(
        "g",
        tmp_path / "g.wasm",
        Module.raw("g.wasm", data).sha256,
        cases=("g/a",),
        traps={"g/trap:x": "unreachable", "g/trap:y": "integer overflow"},
        refused=(Refusal("g/malformed:z", b"zzz"),),
        exits=(0, 7),
    )


def ran(group: ConformanceGroup, given: dict[str, Execution]) -> tuple[ConformanceResult, FakeRunner]:
    runner = FakeRunner(given)
    return run_conformance(cast(Runner, runner), [group])[group.name], runner


def test_a_group_runs_its_cases_traps_exits_and_refused_modules(group: ConformanceGroup) -> None:
    good = {
        "g.wasm": execution(output=b"ok a\n"),
        "g.wasm 1": execution(failed("unreachable")),
        "g.wasm 2": execution(failed("integer overflow")),
        "g.wasm 7": execution(exited(7)),
        "g-malformed-z.wasm": execution(failed("unexpected end")),
    }
    result, runner = ran(group, good)
    assert [case.name for case in result.cases] == [*group.names[:4], "g/exit:0", "g/exit:7", "g/malformed:z"]
    assert sorted(case.name for case in result.cases) == sorted(group.names)
    assert result.unexpected == ["g/trap:x: passes, but the image's expected_failures have it (known)"]
    assert {path.rpartition("/")[2] for path in runner.guest.modules.values()} == {"g.wasm", "g-malformed-z.wasm"}
    result, _ = ran(group, {"g.wasm": execution(output=b"ok a\n"), "g-malformed-z.wasm": execution(faulted())})
    assert [line.partition(":")[0] for line in result.unexpected] == ["g/trap", "g/exit", "g/malformed"]
    assert "got exited(0), expected failed(integer overflow)" in result.unexpected[0]


def test_a_module_that_does_not_run_is_not_asked_for_its_traps(group: ConformanceGroup) -> None:
    result, runner = ran(group, {"g.wasm": execution(failed("illegal opcode"))})
    assert result.unexpected[0] == "g: failed(illegal opcode) after 0 of 1 cases"
    assert "g.wasm 1" not in runner.calls


def test_a_changed_module_is_refused(group: ConformanceGroup) -> None:
    assert group.module is not None
    group.module.write_bytes(b"\0asm\1\0\0\0\0\1\0")  # one with an empty custom section
    with pytest.raises(ConfigurationError, match=r"g\.wasm is not the module that modules\.json records"):
        ran(group, {})


def test_a_group_that_the_image_cannot_serve_says_why() -> None:
    reference, sel4 = manifest.find("reference"), manifest.find("wasmedge-sel4")
    groups = {group.name: group for group in conformance_groups(SUITE)}
    assert "no directories" in groups["wasi-paths"].missing(sel4)
    assert "no environment variables" in groups["wasi-environ"].missing(sel4)
    assert {group.missing(reference) for group in groups.values()} == {""}
    assert {group.family for group in groups.values() if group.missing(sel4)} == {"wasi-given"}
    assert {group.family for group in groups.values() if not group.missing(sel4)} == {"core", "proposals", "wasi"}


@pytest.mark.parametrize("image", ["reference", "plain-linux", "wasmedge-sel4"])
def test_expected_failures_of_the_images_are_cases(image: str) -> None:
    expected = manifest.find(image).conformance.expected_failures
    assert expected
    assert unknown_conformance_cases(conformance_groups(SUITE), expected) == []


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('{"groups": {}}')
    (tmp_path / "groups.toml").write_text("[wasi]\nlimit = 1\n")
    with pytest.raises(ConfigurationError, match="has the group 'wasi', which modules.json does not have"):
        conformance_groups(tmp_path)


# the suite's own files


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SUITE))
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader = SourceFileLoader("conformance_build", str(SUITE / "build"))
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = keep
        sys.path.remove(str(SUITE))


def test_sources_table_and_modules_belong_together(build: ModuleType) -> None:
    table = json.loads((SUITE / "modules.json").read_text())["groups"]
    sources = build.all_sources()
    assert set(table) == set(sources)
    for name, path in sources.items():
        entry, found = table[name], build.described(path)
        assert found["sources"] == entry["sources"], f"{path.name} changed: suites/conformance/build --record"
        assert found["cases"] == entry["cases"]
        assert found["traps"] == entry["traps"]
        assert [one[:2] for one in found["refused"]] == [one[:2] for one in entry["refused"]]
    modules = {path.stem: build.sha256(path.read_bytes()) for path in (SUITE / "modules").iterdir()}
    assert modules == {name: entry["sha256"] for name, entry in table.items() if entry["sha256"]}


def test_a_module_is_built_again_byte_for_byte(build: ModuleType) -> None:
    recorded = json.loads((SUITE / "modules.json").read_text())
    try:
        here = build.toolchain()
    except build.Failure as failure:
        pytest.skip(str(failure))
    if here != recorded["toolchain"]:
        pytest.skip(f"recorded with {recorded['toolchain']}, here is {here}")
    assert build.sha256(build.compiled(SUITE / "src" / "wasi-clock.c")) == recorded["groups"]["wasi-clock"]["sha256"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("(module", "a parenthesis is missing"),
        ("(module))", "line 1: a parenthesis too many"),
        ('(module)(assert_return (invoke "f"))', "exports no function 'f'"),
        ('(module (func (export "f")))(assert_return (invoke "f"))(assert_exhaustion)', "not supported here"),
        ('(module (memory 1) (func (export "f")))(assert_return (invoke "f"))', 'needs (export "memory")'),
        (
            '(module (func (export "f")))(assert_return (invoke "f") (ref.null func))',
            "let the function return a number",
        ),
        ("(assert_invalid (module $a) (module $b))", "is no string"),
        ('(assert_invalid (module $a) "x")(assert_invalid (module $a) "x")', "two cases are named 'invalid:a'"),
    ],
)
def test_a_wrong_script_is_refused(build: ModuleType, script: str, problem: str) -> None:
    with pytest.raises(build.wast.ScriptError) as caught:
        build.wast.convert(script)
    assert problem in str(caught.value)


def test_a_script_becomes_one_module(build: ModuleType) -> None:
    script = build.wast.convert(
        '(module (func (export "f") (param i32) (result i32) (local.get 0)))\n'
        '(assert_return (invoke "f" (i32.const 1)) (i32.const 1)) ;; a comment\n'
        '(assert_return (invoke "f" (i32.const 1)) (i32.const 1))\n'
        '(assert_trap (invoke "f" (i32.const 2)) "unreachable")\n'
        '(assert_malformed (module $cut binary "\\00as" "m") "unexpected end")'
    )
    assert script.cases == ["f(1)", "f(1)#2"]
    assert script.traps == [("trap:f(2)", "unreachable")]
    assert script.refused == [("malformed:cut", "unexpected end", b"\0asm")]
    assert '(func $f (export "f")' in script.module
    assert "not ok f(1)#2\\0a" in script.module
