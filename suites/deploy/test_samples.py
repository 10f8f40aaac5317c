"""Every sample, every case of samples.toml: output, exit code, verdict, and a runner that survives it."""

import pytest

from hil.wasm import Samples

pytestmark = pytest.mark.board

CASES = [
    pytest.param(sample.file, case, id=f"{sample.name}-{case.name}") for sample in Samples() for case in sample.case
]


@pytest.mark.parametrize(("file", "case"), CASES)
def test_case(runner, sample, file, case):
    run = runner.run(sample(file), *case.arguments, limit=case.limit)
    assert not case.problems(run), f"{case.problems(run)}\n{run}"
    if case.hazard:
        after = runner.run(sample("hello.wasm"))
        assert after.good, f"the runner did not survive: {case.hazard}"
        assert after.restored is None, f"the runner did not survive: {case.hazard}"
