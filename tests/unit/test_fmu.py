"""FMUs as plants, of both versions of FMI, built from C."""

from __future__ import annotations

import gc
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_wires import FakeWires

from hil import Fmu, Loop, PlantError, ms
from hil.errors import ConfigurationError
from hil.host.extras import MissingExtraError
from hil.signals.loop.result import LoopResult
from hil.signals.plants.oven import Oven

pytest.importorskip("fmpy")
from fmus import build

ABLE = {2: 'canGetAndSetFMUstate="true"', 3: 'canGetAndSetFMUState="true" canSerializeFMUState="true"'}


@pytest.fixture(scope="module", params=[2, 3], ids=["FMI 2", "FMI 3"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def oven(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fmu"), version, able=ABLE[version])


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary directories."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def run(plant: object, heater: int = 1, loop: Loop | None = None, reset: bool = True) -> LoopResult:
    if loop is None:
        wires = FakeWires()
        wires.put("HEATER", heater)
        loop = Loop(wires)
    return loop.run(
        plant,  # type: ignore[arg-type]
        step=1 * ms,
        inputs={"heater": "HEATER"},
        outputs={"hot": "BUTTON"},
        until=500 * ms,
        reset=reset,
    )


def test_an_fmu_gives_what_the_same_plant_in_python_gives(oven: Path, unpacked: Path) -> None:
    with Fmu(oven) as plant:
        result = run(plant)
        again = run(plant)  # a reset
        assert len(list(unpacked.iterdir())) == 1
    expected = run(Oven(delay=0))
    assert result["temperature"].samples == pytest.approx(expected["temperature"].samples, abs=1e-9)
    assert np.array_equal(result["temperature"].samples, again["temperature"].samples)
    assert result["hot"].samples.tolist() == expected["hot"].samples.tolist()
    assert result["temperature"].physical_unit == "degC"
    assert not list(unpacked.iterdir())


def test_start_values_count_and_other_variables_can_be_recorded(oven: Path) -> None:
    with Fmu(oven, start_values={"gain": 30}) as plant:
        result = run(plant)
    assert result["temperature"].samples.max() < 50
    assert not result["hot"].samples.any()


def test_a_reset_frees_the_instance_before(oven: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from fmpy.fmi2 import FMU2Slave
    from fmpy.fmi3 import FMU3Slave

    slave = FMU2Slave if version == 2 else FMU3Slave
    freed, free = [], slave.freeInstance
    monkeypatch.setattr(slave, "freeInstance", lambda self: (freed.append(self), free(self)))
    with Fmu(oven) as plant:
        for number in range(3):
            plant.reset()
            assert len(freed) == number
    assert len(freed) == 3


def test_an_fmu_that_is_forgotten_is_freed(oven: Path, unpacked: Path) -> None:
    plant = Fmu(oven)
    plant.reset()
    del plant
    gc.collect()
    assert not list(unpacked.iterdir())


def test_its_error_is_named_with_its_log(oven: Path, unpacked: Path) -> None:
    plant = Fmu(oven, start_values={"fail": 0.25})
    with pytest.raises(
        PlantError, match=r"in step 250 at 250 ms failed: .*DoStep failed.*the door is open.*heater = 1"
    ):
        run(plant)
    plant.close()
    with pytest.raises(ConfigurationError, match="is closed"):
        run(plant)


def test_an_fmu_that_ends_the_simulation_is_an_error(tmp_path: Path) -> None:
    with (
        Fmu(build(tmp_path, 3), start_values={"fail": -0.1}) as plant,
        pytest.raises(PlantError, match="ended the sim"),
    ):
        run(plant)


def test_its_state_is_saved_and_restored(oven: Path, version: int) -> None:
    with Fmu(oven) as plant:
        wires = FakeWires()
        wires.put("HEATER", 1)
        loop = Loop(wires)
        run(plant, loop=loop)
        state = loop.state()
        second = run(plant, loop=loop, reset=False)["temperature"].samples
        loop.restore(state)
        assert np.array_equal(run(plant, loop=loop, reset=False)["temperature"].samples, second)
        plant.reset()
        if version == 2:  # cannot be saved as bytes
            with pytest.raises(ConfigurationError, match="that of an earlier instance"):
                loop.restore(state)
        else:
            loop.restore(state)
            assert np.array_equal(run(plant, loop=loop, reset=False)["temperature"].samples, second)


def test_an_fmu_that_cannot_save_its_state_says_so(tmp_path: Path, version: int) -> None:
    with Fmu(build(tmp_path, version)) as plant:
        plant.reset()
        with pytest.raises(ConfigurationError, match="cannot save and restore its state"):
            plant.state()


def test_unknown_variables_are_named(oven: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no start value 'gian'") as caught:
        Fmu(oven, start_values={"gian": 1})
    assert "did you mean 'gain'" in str(caught.value)
    wires = FakeWires()
    with Fmu(oven) as plant:
        for inputs, outputs, message in (
            ({"heat": "HEATER"}, {}, "has no input 'heat'"),
            ({"tau": "HEATER"}, {}, "has no input 'tau'"),
            ({}, {"cold": "BUTTON"}, "has no output 'cold'"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                Loop(wires).run(plant, step=1 * ms, inputs=inputs, outputs=outputs, until=1 * ms)
    assert not wires.calls


def test_an_fmu_for_another_machine_is_refused(tmp_path: Path, version: int) -> None:
    file = build(tmp_path, version, platform="win64")
    with pytest.raises(ConfigurationError, match=r"has no binary for this machine, \S+; it has: win64"):
        Fmu(file)


def test_a_binary_that_is_none_is_named_and_the_directory_stays(oven: Path, tmp_path: Path, version: int) -> None:
    broken = tmp_path / "broken.fmu"
    with zipfile.ZipFile(oven) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"not a library" if name.startswith("binaries/") else old.read(name))
    before = Path.cwd()
    with Fmu(broken) as plant, pytest.raises(ConfigurationError, match=r"broken.fmu cannot be loaded: Failed to load"):
        run(plant)
    assert Path.cwd() == before


def test_a_model_without_a_solver_is_refused(tmp_path: Path, version: int) -> None:
    with pytest.raises(ConfigurationError, match="is not for co-simulation"):
        Fmu(build(tmp_path, version, kind="ModelExchange"))


def test_what_is_no_fmu_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.fmu").write_text("text")
    with zipfile.ZipFile(tmp_path / "empty.fmu", "w"):
        pass
    with pytest.raises(ConfigurationError, match="cannot read the FMU"):
        Fmu(tmp_path / "missing.fmu")
    for name in ("text.fmu", "empty.fmu"):
        with pytest.raises(ConfigurationError, match=f"{name} is not a valid FMU"):
            Fmu(tmp_path / name)


def test_without_fmpy_the_extra_is_named(oven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = "importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name, package=None: None)
    with pytest.raises(MissingExtraError) as caught:
        Fmu(oven)
    assert "wasm-hil[fmi]" in str(caught.value)


def test_fmpy_is_not_imported_before_an_fmu_is_made() -> None:
    code = "import sys, hil; hil.Loop, hil.Fmu; assert 'fmpy' not in sys.modules"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0
