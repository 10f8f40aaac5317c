"""Every sample, every case of samples.toml: output, exit code, verdict, and a runner that survives it."""

import pytest

from hil import MissingToolchain, sample_cases

pytestmark = pytest.mark.board


@pytest.mark.parametrize(("name", "case"), sample_cases())
def test_case(board, runner, sample, name, case):
    if sample[name].pins and board.manifest.agent.pins_option is None:
        pytest.skip(f"image {board.manifest.name} has no pins")
    case = sample[name][case]
    try:
        module = sample(name)
    except MissingToolchain as missing:
        pytest.skip(str(missing))
    run = runner.run(module, *case.arguments, limit=case.limit)
    assert not case.problems(run), f"{case.problems(run)}\n{run}"
    if case.hazard:
        after = runner.run(sample("hello.wasm"))
        assert after.good, f"the runner did not survive: {case.hazard}"
        assert after.restored is None, f"the runner did not survive: {case.hazard}"
