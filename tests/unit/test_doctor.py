"""What each purpose needs on which system, and that the list of `./bootstrap` agrees."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.cli import host_check, main
from hil.cli.host_check import Purpose, Requirement
from hil.errors import InfrastructureError
from hil.host import packages, tools
from hil.host.packages import PURPOSES, TOOLS, Distribution

BOOTSTRAP = Path(__file__).parents[2] / "bootstrap"


def system(tmp_path: Path, text: str) -> Distribution:
    (tmp_path / "os-release").write_text(text)
    return packages.distribution(tmp_path / "os-release")


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian", "apt-get install --no-install-recommends device-tree-compiler lz4"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian", "apt-get install --no-install-recommends device-tree-compiler lz4"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "debian", "device-tree-compiler lz4"),
        ("ID=fedora\nVERSION_ID=43\n", "fedora", "dnf install dtc lz4"),
        ('ID=nobara\nID_LIKE="rhel centos fedora"\n', "fedora", "dnf install dtc lz4"),
        ("ID=arch\n", "arch", "pacman -S --needed dtc lz4"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch", "pacman -S --needed dtc lz4"),
        ("ID=alpine\n", "", "what Debian calls device-tree-compiler lz4"),
        ("", "", "what Debian calls device-tree-compiler lz4"),
    ],
)
def test_the_command_is_the_system_s(tmp_path: Path, text: str, family: str, expected: str) -> None:
    found = system(tmp_path, text)
    assert found.family == family
    names = [found.package(tool) for tool in TOOLS if tool.name in ("dtc", "lz4")]
    assert found.install([*names, names[0]]).endswith(expected)


def test_a_package_can_be_of_a_release(tmp_path: Path) -> None:
    library = packages.tool(packages.LIBRARY)
    assert library is not None
    assert system(tmp_path, "ID=fedora\nVERSION_ID=43\n").package(library) == "sysroot-aarch64-fc43-glibc"


def test_on_aarch64_the_native_compiler_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    compiler = packages.tool("aarch64-linux-gnu-gcc")
    assert compiler is not None
    assert system(tmp_path, "ID=debian\n").package(compiler) == "gcc"
    assert system(tmp_path, "ID=arch\n").package(compiler) == "aarch64-linux-gnu-gcc"


def test_a_system_without_the_file_is_unknown(tmp_path: Path) -> None:
    assert packages.distribution(tmp_path / "none") == Distribution("", "this system")


def test_macos_has_what_a_host_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    found = packages.distribution()
    qemu, compiler = packages.tool("qemu-img"), packages.tool("aarch64-linux-gnu-gcc")
    assert qemu is not None
    assert compiler is not None
    assert found.install([found.package(qemu)]).endswith("brew install qemu")
    assert found.package(compiler) == ""
    assert "no package of aarch64-linux-gnu-gcc" in tools.install_hint("aarch64-linux-gnu-gcc")


def test_the_table_and_bootstrap_name_the_same_packages() -> None:
    lines = BOOTSTRAP.read_text().partition("<<'LIST'\n")[2].partition("\nLIST\n")[0].splitlines()
    rows = [re.split(r"\s+", line, maxsplit=2) for line in lines]
    listed = {package for package, _, _ in rows}
    # what samples and tests of a checkout need, and what runs before Python
    own = {package for package, _, use in rows if use.startswith(("samples", "tests"))}
    own |= {"ca-certificates", "python3", "python3-venv"}
    table = {tool.debian for tool in TOOLS}
    # binutils come with the compiler, util-linux with every Debian
    assert table - listed == {"binutils-aarch64-linux-gnu", "util-linux"}
    assert listed - own - table == set()
    commands = {package: command for package, command, _ in rows if command != "-"}
    for tool in TOOLS:
        if tool.debian in commands and not tool.files and tool.name != packages.LIBRARY:
            assert commands[tool.debian] == tool.name


def test_each_purpose_is_known() -> None:
    assert {purpose for tool in TOOLS for purpose in tool.purposes} | {"report"} == set(PURPOSES)


def test_what_is_missing_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: None)
    monkeypatch.setattr(packages, "distribution", lambda: Distribution("fedora", "Fedora Linux 43", "43"))
    monkeypatch.setattr(host_check, "_output", lambda command: "")
    done = CliRunner().invoke(main, ["doctor", "analyser", "build"])
    assert done.exit_code == 1
    assert "what to do: Fedora Linux 43: dnf install sigrok-cli\n" in done.stdout
    assert done.stdout.count("dnf install") == 3, "one for each purpose, and one for all"
    assert "dnf install sigrok-cli mmdebstrap" in done.stdout
    assert "mmdebstrap: not found" in done.stdout
    assert "emulate" not in done.stdout


def test_what_a_system_has_no_package_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: None)
    monkeypatch.setattr(packages, "distribution", lambda: Distribution("arch", "Arch Linux"))
    (_, build) = host_check.run(["build"])
    assert any("mmdebstrap: Arch Linux has no package" in remedy for remedy in build.remedies)
    assert not any(" mmdebstrap" in remedy for remedy in build.remedies if "pacman" in remedy)


def test_a_wheel_with_the_preload_library_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.qemu.lockstep.needs_compiler", lambda: False)
    names = {requirement.name for requirement in host_check.run(["lab"])[1].requirements}
    assert not names & set(packages.COMPILING)
    assert "qemu-img" in names


def test_an_old_version_is_no_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(host_check, "_output", lambda command: "QEMU emulator version 6.2.0 (Debian)")
    found = {requirement.name: requirement for requirement in host_check.run(["lab"])[1].requirements}
    assert not found["qemu-system-aarch64"].good
    assert "7.2" in found["qemu-system-aarch64"].remedy


@pytest.mark.parametrize("good", [True, False])
def test_the_status_is_the_finding(monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    needed = (Requirement("dtc", good, "not [in] PATH"), Requirement("lz4", True, "/usr/bin/lz4"))
    found = [Purpose("build", "images", needed, () if good else ("install [dtc]",))]
    monkeypatch.setattr(host_check, "run", lambda names: found)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == (0 if good else 1)
    assert ("what to do: install [dtc]" in done.stdout) is not good
    assert ("dtc: not [in] PATH" in done.stdout) is not good
    (facts,) = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    assert (facts["good"], facts["requirements"][0]["good"]) == (good, good)


def test_a_purpose_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(main, ["doctor", "fly"])
    assert done.exit_code == 2
    assert "emulate" in done.stderr


def test_the_real_doctor_never_raises() -> None:
    assert CliRunner().invoke(main, ["doctor", "--json"]).exit_code in (0, 1)
    for purpose in host_check.run():
        assert purpose.good or purpose.remedies


@pytest.mark.parametrize(
    ("compiler", "named"), [("cc", "libc6-dev"), ("aarch64-linux-gnu-gcc", "libc6-dev-arm64-cross")]
)
def test_a_compiler_without_its_headers_names_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, named: str
) -> None:
    program = tmp_path / compiler
    program.write_text("#!/bin/sh\necho 'fatal error: stdio.h: No such file or directory'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(packages, "distribution", lambda: Distribution("debian", "Debian"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(InfrastructureError) as caught:
        tools.run([compiler, "x.c"], limit=20)
    assert (caught.value.hint or "").split()[-1] == named
