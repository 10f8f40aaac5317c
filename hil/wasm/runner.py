"""The runner in the partition, reached through the agent in the guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.console.lines import split_lines
from hil.errors import ConfigurationError
from hil.guest import CommandTimeout, Guest
from hil.guest.shell import quote
from hil.guest.transfer import digest_in_guest
from hil.guest.typed import text_of
from hil.image.manifest import AgentFacts, agent_of
from hil.text import printable_line
from hil.wasm import oci
from hil.wasm.module import Module
from hil.wasm.reading import Reading, Seal, read
from hil.wasm.verdict import Failed, Faulted, NoAgent, Silent, Stuck, Verdict

MODULES = "/tmp/hil"  # directory of uploaded modules in the guest
DEFAULT_LIMIT = 30.0  # seconds for a module to run
OVERHEAD = 20.0  # seconds beside the run, for the agent and its transfer of the module to the runner
NOT_FOUND = 127  # exit status of the shell
NO_RUNNER, BUSY, TOO_LARGE = 245, 246, 247  # exit statuses of the reference image's agent, which seals
UPLOADS, UPLOADED = 32 << 20, 256  # bytes and number of uploaded modules that stay in the guest


@dataclass(frozen=True)
class Execution:
    """One deployment of a module.

    `output` holds the module's output, byte for byte; `intact` whether the seal verifies it (None without a seal).
    `request_ns` and `answer_ns` are host monotonic stamps of the agent's start and end on the line; `seal` holds the
    ticks of the guest's counter. `start` and `end` are offsets in the transcript. `heard` is false if nothing arrived
    at all; `restored` is the reason for which the board was made fresh before, None if it was not.
    """

    module: Module
    arguments: tuple[str, ...]
    verdict: Verdict
    output: bytes
    intact: bool | None
    diagnostics: tuple[str, ...]
    foreign: tuple[str, ...]
    agent_status: int | None
    request_ns: int
    answer_ns: int
    seal: Seal | None
    transcript: Path
    start: int
    end: int
    heard: bool = True
    restored: str | None = None

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The lines of the output without line ends."""
        return split_lines(self.text)

    @property
    def good(self) -> bool:
        """Whether the module exited with 0 and its output is not garbled."""
        return self.verdict.good and self.intact is not False

    @property
    def call(self) -> str:
        """The module and its arguments on one line."""
        return printable_line(" ".join((self.module.name, *self.arguments)))

    def __str__(self) -> str:
        state = {True: "", None: ", output without a seal", False: ", output GARBLED on the line"}[self.intact]
        tail = "".join(f"\n  | {line}" for line in self.diagnostics[-5:])
        restored = f"\n  | {self.restored}" if self.restored else ""
        return f"{self.call}: {self.verdict}, {len(self.output)} bytes{state}{restored}{tail}"


class Runner:
    """The runner in the partition, which executes modules deployed through `guest`; calls `record` for each execution.

    Raises `ConfigurationError` on a board whose image has no agent.
    """

    def __init__(self, guest: Guest, record: Callable[[Execution], None] = lambda run: None) -> None:
        self.guest = guest
        self._record = record

    @property
    def facts(self) -> AgentFacts:
        return agent_of(self.guest.board.manifest)

    def run(
        self, module: Module | Path | str, *arguments: str | bytes, limit: float = DEFAULT_LIMIT, restore: bool = True
    ) -> Execution:
        """Deploy `module` with `arguments` and return its execution; a bad module raises nothing.

        Arguments hold any bytes but NUL; bytes that are not UTF-8 are surrogates in text, as in `sys.argv`.

        `limit` is the time in seconds that the module may run. The image's watchdog enforces it if there is one; the
        wait for the agent is limited in any case. The module is uploaded once per boot, unless the image holds it.

        An agent that cannot report a dead runner prints nothing for one. With `restore` the board is then made fresh
        and the module deployed once more (see `Execution.restored`). Both deployments are recorded.

        Raises `ConfigurationError` for a module that is too large for the runner, the errors of `hil.wasm.oci.load` for
        a module that cannot be read, those of `guest.run` except timeouts, and those of that boot.
        """
        if not isinstance(module, Module):
            module = oci.load(module)
        words = tuple(map(text_of, arguments))
        run = self._deploy(module, words, limit)
        if restore and not run.heard:
            why = f"the runner was dead before {printable_line(module.name)}, so the board was made fresh"
            self.guest.board.fresh()
            run = self._deploy(module, words, limit, why)
        return run

    def check_size(self, module: Module) -> None:
        """Raise `ConfigurationError` for a module that is too large for the image's runner."""
        limit = self.facts.module_limit
        if limit is not None and len(module.data) > limit:
            raise ConfigurationError(
                f"the module {module.name} has {len(module.data)} bytes; the runner of image "
                f"{self.guest.board.manifest.name} takes at most {limit}",
                hint="Make it smaller: strip debug information, keep data out of it.",
            )

    def _deploy(
        self, module: Module, arguments: tuple[str, ...], limit: float, restored: str | None = None
    ) -> Execution:
        facts, name = self.facts, printable_line(module.name)
        place = self.place(module)
        nonce = self.guest.shell.console.token(8) if facts.seal_option else None
        command = [facts.command]
        if facts.seal_option and nonce:
            command.append(facts.seal_option.format(nonce=nonce))
        if facts.limit_option:
            command.append(facts.limit_option.format(ms=max(1, round(limit * 1000))))
        command += [place, *arguments]
        guest = self.guest
        transcript = guest.shell.console.transcript
        foreign = guest.board.manifest.console.foreign
        try:
            result = guest.run(quote(command), timeout=limit + OVERHEAD)
        except CommandTimeout as error:
            guest.board.dirty = f"{name} left the runner stuck"
            back = "interrupted" if error.recovered else "the shell does not respond after ^C"
            seen = read(transcript.read(error.start, error.end), facts, foreign=foreign)
            stuck = Stuck(f"no end in {limit + OVERHEAD:g} s; {back}")
            reading = Reading(stuck, seen.output, None, None, seen.diagnostics, seen.foreign)
            return self._execution(module, arguments, reading, None, (0, 0), (error.start, error.end), restored)
        reading = read(transcript.read(result.start, result.end), facts, nonce=nonce, foreign=foreign)
        if result.status == NOT_FOUND and not reading.seal:
            reading = Reading(NoAgent(result.text.strip()), b"", None, None)
        elif nonce and result.status in (NO_RUNNER, BUSY) and not reading.seal:
            guest.board.dirty = "the runner does not answer"
            reading = Reading(NoAgent(result.text.strip() or "the runner does not answer"), b"", None, None)
        elif nonce and result.status == TOO_LARGE and not reading.seal:
            reading = Reading(Failed(result.text.strip().rpartition("\n")[2]), b"", None, None)
        elif isinstance(reading.verdict, Silent):
            guest.board.dirty = f"the runner was silent on {name}"
        elif isinstance(reading.verdict, Faulted) and not reading.seal:
            guest.board.dirty = f"{name} took the runner down"
        stamps, span = (result.begin_ns, result.end_ns), (result.start, result.end)
        return self._execution(module, arguments, reading, result.status, stamps, span, restored)

    def assume(self, module: Module, path: str) -> None:
        """Record that `module` is at `path` in the guest."""
        self._places()[module.sha256] = path

    def place(self, module: Module) -> str:
        """Return the path of `module` in the guest; upload it if it is not there yet.

        Raises as `check_size`, before anything is sent.
        """
        self.check_size(module)
        places = self._places()
        if module.sha256 not in places:
            path = f"{self.facts.samples}/{module.name}"
            if digest_in_guest(self.guest.shell, path) != module.sha256:
                directory = module.sha256[:16]
                path = f"{MODULES}/{directory}/{module.name}"
                if self.guest.put(module.data, path) and self._removed_others(directory):
                    places.clear()
            places[module.sha256] = path
        return places[module.sha256]

    def _removed_others(self, directory: str) -> bool:
        """Remove all uploads but `directory` if there are too many, and return whether they were removed.

        They take memory of the guest. Uploads are directories; files beside them belong to others.
        """
        kept = self.guest.run(
            f"(cd {MODULES};if [ $(du -sk .|cut -f1) -gt {UPLOADS >> 10} ]||[ $(ls -d */|wc -l) -gt {UPLOADED} ];then "
            f"for d in */;do [ $d = {directory}/ ]||rm -rf $d;done;else echo kept;fi)"
        )
        return "kept" not in kept.text

    def _places(self) -> dict[str, str]:
        _ = self.guest.shell  # opens the session of this boot
        return self.guest.modules

    def _execution(
        self,
        module: Module,
        arguments: tuple[str, ...],
        reading: Reading,
        status: int | None,
        stamps: tuple[int, int],
        span: tuple[int, int],
        restored: str | None,
    ) -> Execution:
        run = Execution(
            module,
            arguments,
            reading.verdict,
            reading.output,
            reading.intact,
            reading.diagnostics,
            reading.foreign,
            status,
            *stamps,
            reading.seal,
            self.guest.board.console.transcript.path,
            *span,
            reading.heard,
            restored,
        )
        self._record(run)
        return run
