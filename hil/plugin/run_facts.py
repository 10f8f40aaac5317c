"""The facts of a run: its id, its files, and the boards and images that its tests used."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

import pytest

from hil import slow
from hil.host import project


class RunFacts:
    """The facts of a run, for reports and results.

    `allure` is Allure's directory, None without a report. `facts` describe the board that came up last. `digests` are
    those of the images that the boards booted. `links` and `places` are lines for the terminal, with those of the
    workers of xdist; `unwritten` names the files that could not be written.
    """

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        given: dict[str, str] = getattr(config, "workerinput", {})  # from the controller of xdist, in its workers
        self.run = given.get("hil_run") or uuid4().hex
        self._start = config.invocation_params.dir
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        own = time.strftime(f"%Y%m%d-%H%M%S{worker}-{os.getpid()}")  # other runs may have begun in the same second
        self.directory: Path = (option.hil_transcripts or project.current().transcripts) / own
        self.results_file: Path = option.hil_results or Path(
            given.get("hil_results") or self.directory / "results.jsonl"
        )
        allure = getattr(option, "allure_report_dir", None)
        self.allure = Path(allure) if allure else None
        self.facts: dict[str, str] = {}
        self.digests: dict[slow.Board, str] = {}
        self.links: list[str] = []
        self.places: list[str] = []
        self.unwritten: list[str] = []
        self._clocks: dict[str, str] = {}  # by incarnation, in the order in which the boards came up

    def shown(self, path: Path) -> str:
        """Return `path` for a terminal: relative to the directory in which pytest was started."""
        return os.path.relpath(path, self._start)

    def note_place(self, place: object) -> None:
        """Note that the run uses `place`."""
        self.places = list(dict.fromkeys([*self.places, str(place)]))

    def note_unwritten(self, error: OSError) -> None:
        """Note for the summary that a file was not written, which is no reason for a test to fail."""
        text = f"not written: {error.filename or 'the report'}: {error.strerror}"
        if text not in self.unwritten:
            self.unwritten.append(text)

    def note_board(self, board: slow.Board, image: slow.Image, guest: slow.Guest) -> None:
        """Note that `board` has come up with `image`, here and in the report."""
        self.digests[board] = image.digest
        reason = board.no_snapshot_reason
        self.facts |= {
            "board": board.name,
            "image": board.manifest.title,
            "image sha256": image.digest,
            "hypervisor": board.manifest.hypervisor,
            "snapshots": f"none: {reason}" if reason else "restored from a snapshot",
        }
        self._clocks[board.incarnation] = board.clock
        self.facts["clock"] = "; ".join(dict.fromkeys(self._clocks.values()))
        if board.virtual is None:  # in virtual time no line delays; the facts of the link in real time stay
            self._note_link(board, guest)
        if board.emulated:
            self.facts |= {"QEMU": board.qemu.version, "QEMU command": " ".join(board.qemu.command)}
        if self.allure:
            self._add_environment(self.facts, replaced="link")
            assert board.report is not None
            slow.evidence.attach_boot(board.report)

    def _note_link(self, board: slow.Board, guest: slow.Guest) -> None:
        """Measure the link to a board whose health check has opened a shell: once for each line."""
        with board.unchanged():
            found = slow.link.of(guest) if guest.open and board.line.tap is None else None
        self.facts = {name: fact for name, fact in self.facts.items() if not name.startswith("link")}
        if found is None:
            return
        self.facts |= found.facts
        lines = [f"link of {board.where}: {found}", *(f"  hint: {hint}" for hint in found.hints)]
        if lines[0] not in self.links:
            self.links += lines

    def complete_report(self) -> None:
        """Add the places and links of all workers to the report's environment."""
        for name, lines in (("places", self.places), ("links", self.links)):
            if lines and self.allure and self.allure.is_dir():
                self._add_environment({name: "; ".join(map(str.strip, lines))})

    def _add_environment(self, facts: dict[str, str], **options: str) -> None:
        assert self.allure is not None
        try:
            slow.evidence.add_environment(self.allure, facts, **options)
        except OSError as error:
            self.note_unwritten(error)
