"""The names of `import hil`: complete, and imported when they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG

import hil
from hil.errors import ConfigurationError
from hil.wasm import Samples
from hil.wasm.catalogue import sample_cases

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("numpy", "scipy", "pydantic", "qemu", "hil.board.board", "hil.board.qemu_driver", "hil.measure.bounds_file")


def imported_after(code: str) -> set[str]:
    """Return the modules that a new interpreter holds after `code`."""
    script = f"import sys\n{code}\nprint('IMPORTED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    return set(done.stdout.rpartition("IMPORTED ")[2].split())


def test_each_public_name_is_there() -> None:
    assert dir(hil) == sorted(hil.__all__)
    for name in hil.__all__:
        assert getattr(hil, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="p98"):
        _ = hil.p98  # type: ignore[attr-defined]


def test_import_hil_imports_nothing_else() -> None:
    modules = imported_after("import hil")
    assert {name for name in modules if name.startswith("hil.")} == {"hil.lazy"}


def test_what_tests_import_at_collection_is_quick() -> None:
    code = "from hil import DISTRESS, LineTimeout, Module, exited, failed, ms, p99, period_jitter, sample_cases"
    assert imported_after(code).isdisjoint({*SLOW, "labgrid"})


def test_a_collection_of_the_suites_imports_no_slow_module() -> None:
    arguments = ["--collect-only", "-q", "suites", "-p", "no:cacheprovider"]
    modules = imported_after(f"import pytest\nassert pytest.main({arguments}) == 0")
    assert "hil.plugin" in modules
    assert modules.isdisjoint(SLOW)  # labgrid has a plugin of its own


def test_sample_cases_are_those_of_the_samples(tmp_path: Path) -> None:
    assert sample_cases() == [(sample.name, case.name) for sample in Samples() for case in sample.case]
    (tmp_path / "samples.toml").write_text("sample = 3")
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        sample_cases(tmp_path)
