"""The fixture `pins` on a place of a lab: labgrid's coordinator and exporter, relays by HTTP, sigrok's demo device."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest
from limits import HANG
from stub_lab import BIN, BOARD, IMAGE, started, until

from hil.places.coordinator import Coordinator

PINS = """
[pins]
controller = "pl061"
inputs = {BUTTON = 0, FAULT = 1}
outputs = {LED = 4, BEAT = 6}
"""
DRIVERS = """\
      HilAnalyserDriver: {samplerate: 10000}
      HttpDigitalOutputDriver: {name: BUTTON, bindings: {http: BUTTON}}
"""
CONFTEST = "from hil.plugin.session import Session\nSession._check_health = lambda session, board: None\n"
TEST = """
    import pytest
    from hil import ConfigurationError, ms

    def test_pins(pins, request):
        pins.drive("BUTTON", 1)
        pins.train("BUTTON", period=100 * ms, count=2)
        pins.let_pass()
        first = pins.wait("LED", timeout=2000 * ms)  # the demo device toggles it whatever is driven
        pins.wait("LED", timeout=2000 * ms)
        assert len(pins["LED"].rising) > 10
        assert pins["LED"].period().provenance["capture"].endswith("-pins-1.vcd")
        with pytest.raises(ConfigurationError, match="nothing drives pin FAULT"):
            pins.drive("FAULT", 1)
        with pytest.raises(ConfigurationError, match="observes pin BEAT"):
            pins.edges("BEAT")
        print("late:", pins["LED"].provenance["stimuli late"])
"""


class Relays:
    """A relay box as HttpDigitalOutputDriver expects it: PUT `on` or `off` to /NAME. `seen` are its requests."""

    def __init__(self) -> None:
        relays = self
        self.seen: list[tuple[str, str]] = []
        self.broken = False

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                relays.seen.append((self.path, body))
                self.send_response(500 if relays.broken else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def resource(self, name: str) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._server.server_port}/{name}"
        return {"cls": "HttpDigitalOutput", "url": url, "body_asserted": "on", "body_deasserted": "off"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def relays():
    with contextlib.closing(Relays()) as relays:
        yield relays


@pytest.fixture
def lab(make_lab, relays):
    """A lab with one place, which also has a relay for BUTTON and a logic analyser."""
    assert shutil.which("sigrok-cli"), "sigrok-cli is not installed; ./bootstrap does that"
    lab = make_lab(1)
    analyser = {"cls": "SigrokDevice", "driver": "demo", "channels": "D0=BUTTON,D2=LED"}
    (lab.directory / "pins.yaml").write_text(json.dumps({"box": {"BUTTON": relays.resource("BUTTON"), "la": analyser}}))
    command = [str(BIN / "labgrid-exporter"), "-c", lab.address, "-n", "pins", "pins.yaml"]
    lab.stack.enter_context(started(command, lab.directory, lab.directory / "pins.log"))
    match = {"placename": "box-1", "pattern": "pins/box/*"}
    with lab.asked() as ask:
        ask("AddPlaceMatch", **match)
    lab.stack.callback(lambda: _ask(lab, "DeletePlaceMatch", match))
    with contextlib.closing(Coordinator(lab.address)) as found:
        until(lambda: len(found.session.resources.get("pins", {}).get("box", ())) == 2)
    write_board(lab, DRIVERS)
    (lab.directory / "stub.toml").write_text(IMAGE + PINS)
    (lab.directory / "conftest.py").write_text(CONFTEST)
    return lab


def write_board(lab, drivers: str) -> None:
    text = BOARD.replace("    drivers:\n", f"    resources: {{RemotePlace: {{name: box-1}}}}\n    drivers:\n{drivers}")
    (lab.directory / "bench.yaml").write_text(text)


def _ask(lab, method, fields):
    with lab.asked() as ask:
        ask(method, **fields)


def pytest_run(lab, code) -> tuple[int, str]:
    (lab.directory / "test_it.py").write_text(textwrap.dedent(code))
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--board", "bench.yaml", "test_it.py"]
    done = subprocess.run(command, cwd=lab.directory, env=lab.environment, capture_output=True, text=True, timeout=HANG)
    return done.returncode, done.stdout + done.stderr


def test_pins_of_a_place(lab, relays):
    status, output = pytest_run(lab, TEST)
    assert status == 0, output
    assert re.search(r"late: up to .* after the time given", output)
    # set to 0 for timing, driven, two pulses, and back to 0 after the test
    assert [body for path, body in relays.seen if path == "/BUTTON"] == [
        *["off"] * 3,
        *["on"],
        *["on", "off"] * 2,
        "off",
    ]
    assert lab.clean


def test_a_relay_that_fails_is_no_failure_of_the_image(lab, relays):
    relays.broken = True
    status, output = pytest_run(lab, "def test_pins(pins): pins.drive('BUTTON', 1)")
    assert status == 1
    assert re.search(
        r"infrastructure.*pin BUTTON cannot be set to 0 by HttpDigitalOutputDriver.*500", output, re.S | re.I
    ), output


def test_a_board_without_an_analyser_is_named(lab):
    write_board(lab, "")
    status, output = pytest_run(lab, "def test_pins(pins): pass")
    assert status == 1
    assert "has no logic analyser" in output, output
    assert "HilAnalyserDriver: {samplerate: ...}" in output
