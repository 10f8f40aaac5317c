"""The runner in the partition, reached through the agent in the guest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType

from hil.console import Transcript
from hil.errors import ConfigurationError, RunnerError
from hil.guest import CommandTimeout, Guest, Result
from hil.guest.shell import quote
from hil.guest.transfer import digest_in_guest
from hil.image.manifest import AgentFacts, agent_of
from hil.text import printable_line
from hil.wasm import upload
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.loading import Loadable, load_module, words_of
from hil.wasm.module import Module, call_of
from hil.wasm.pins import pins_of, pins_option, refused_pins
from hil.wasm.reading import Reading, output_so_far, read
from hil.wasm.running import RunningModule, ready_text
from hil.wasm.verdict import Failed, Faulted, NoAgent, Silent, Stuck

MODULES = "/tmp/hil"  # directory of uploaded modules in the guest
READY_LINES = 5  # lines of output in the error for a module that is not ready
OVERHEAD = 20.0  # seconds beside the run, for the agent and its transfer of the module to the runner
NOT_FOUND, INTERRUPTED = 127, 130  # exit statuses of the shell
NO_RUNNER, BUSY, TOO_LARGE = 245, 246, 247  # exit statuses of the reference image's agent, which seals
UPLOADS, UPLOADED = 32 << 20, 256  # bytes and number of uploaded modules that stay in the guest


@dataclass(frozen=True)
class _Deployment:
    """One deployment of a module: the agent's command line, the nonce of its seal, the transcript of its console."""

    module: Module
    arguments: tuple[str, ...]
    limit: float
    pins: tuple[str, ...]
    nonce: str | None
    command: str
    transcript: Transcript
    restored: str | None


class Runner:
    """The runner in the partition, which executes modules deployed through `guest`; calls `record` for each execution.

    Each function of `let_pass` is called before a module of `start` is stopped by a test that goes well: it lets
    pending stimuli pass.

    Raises `ConfigurationError` on a board whose image has no agent.
    """

    def __init__(self, guest: Guest, record: Callable[[Execution], None] = lambda run: None) -> None:
        self.guest = guest
        self.let_pass: list[Callable[[], None]] = []
        self._record = record
        self._running: RunningModule | None = None

    @property
    def facts(self) -> AgentFacts:
        return agent_of(self.guest.board.manifest)

    def run(
        self,
        module: Loadable,
        *arguments: str | bytes,
        limit: float = DEFAULT_LIMIT,
        restore: bool = True,
        pins: Sequence[str] | None = None,
    ) -> Execution:
        """Deploy `module` with `arguments` and return its execution; a bad module raises nothing.

        Arguments hold any bytes but NUL; bytes that are not UTF-8 are surrogates in text, as in `sys.argv`.

        `limit` is the time in seconds that the module may run. The image's watchdog enforces it if there is one; the
        wait for the agent is limited in any case. The module is uploaded once per boot, unless the image holds it.

        `pins` are the names of the pins, analogue channels and buses that the module may use; by default `module.pins`.

        An agent that cannot report a dead runner prints nothing for one. With `restore` the board is then made fresh
        and the module deployed once more (see `Execution.restored`). Both deployments are recorded.

        Raises `ConfigurationError` for a module that is too large for the runner and for pins that the image does not
        have, the errors of `load_module` and `words_of`, those of `guest.run` except timeouts, and those of that boot.
        """
        module, words = load_module(module), words_of(arguments)
        allowed = pins_of(module, pins)
        run = self._deploy(module, words, limit, allowed)
        if restore and not run.heard:
            run = self._deploy(module, words, limit, allowed, self._fresh(module))
        return run

    def start(
        self,
        module: Loadable,
        *arguments: str | bytes,
        limit: float = DEFAULT_LIMIT,
        ready: str | EllipsisType | None = ...,
        pins: Sequence[str] | None = None,
    ) -> RunningModule:
        """Start `module` with `arguments`, and return when it is ready; it runs while the test goes on.

        `ready` is the beginning of the line that the module prints when it is ready, by default `module.ready`. With
        None the module counts as ready when the runner executes it. `limit`, `pins` and the rest are as in `run`.

        In virtual time the machine is paused at that line when this returns, and time passes only in waits.

        Raises `RunnerError` if the module ends before that line or does not print it in time (it is then stopped),
        otherwise as `run`, and the errors of `guest.run`.
        """
        module, words = load_module(module), words_of(arguments)
        expected, allowed = ready_text(module, ready), pins_of(module, pins)
        restored = None
        while True:
            running = self._start(module, words, limit, allowed, restored)
            problem = running.await_ready(expected)
            if not problem:
                return running
            execution = running.execution
            if restored is not None or execution is None or execution.heard:
                break
            restored = self._fresh(module)
        transcript = self.guest.shell.console.transcript
        lines = [printable_line(line) for line in running.lines[-READY_LINES:]]
        hint = "Set ready= to the beginning of the line that the module prints when it is ready, or to None."
        if execution and (refused := refused_pins(transcript.read(execution.start, execution.end))):
            names = ", ".join(f'"{name}"' for name in dict.fromkeys((*allowed, *refused)))
            hint = f"The runner refused {', '.join(refused)}: pass pins=[{names}]."
        raise RunnerError(
            f"{running.call} {problem}: {execution}" + "".join(f"\n  > {line}" for line in lines),
            hint=hint,
            evidence=self.guest.shell.console.evidence(),
        )

    def close(self) -> None:
        """Stop the module of `start` if it still runs, without `let_pass`."""
        if self._running is not None:
            self._running.close()

    def check_size(self, module: Loadable) -> None:
        """Raise `ConfigurationError` for a module that is too large for the image's runner, and as `load_module`."""
        module = load_module(module)
        limit = self.facts.module_limit
        if limit is not None and len(module.data) > limit:
            raise ConfigurationError(
                f"the module {module.name} has {len(module.data)} bytes; the runner of image "
                f"{self.guest.board.manifest.name} takes at most {limit}",
                hint="Make it smaller: strip debug information, keep data out of it.",
            )

    def _fresh(self, module: Module) -> str:
        """Make the board fresh, because the runner was dead before `module`; return that reason."""
        self.guest.board.fresh()
        return f"the runner was dead before {printable_line(module.name)}, so the board was made fresh"

    def _prepare(
        self, module: Module, arguments: tuple[str, ...], limit: float, pins: tuple[str, ...], restored: str | None
    ) -> _Deployment:
        """Upload the module, and return its deployment with the agent's command line."""
        facts, manifest = self.facts, self.guest.board.manifest
        allowed = pins_option(manifest, module, pins)
        place = self.place(module)
        console = self.guest.shell.console
        nonce = console.token(8) if facts.seal_option else None
        command = [facts.command]
        if facts.seal_option and nonce:
            command.append(facts.seal_option.format(nonce=nonce))
        if facts.limit_option:
            command.append(facts.limit_option.format(ms=max(1, round(limit * 1000))))
        command += [*allowed, place, *arguments]
        return _Deployment(module, arguments, limit, pins, nonce, quote(command), console.transcript, restored)

    def _deploy(
        self,
        module: Module,
        arguments: tuple[str, ...],
        limit: float,
        pins: tuple[str, ...],
        restored: str | None = None,
    ) -> Execution:
        deployment = self._prepare(module, arguments, limit, pins, restored)
        try:
            result: Result | CommandTimeout = self.guest.run(deployment.command, timeout=limit + OVERHEAD)
        except CommandTimeout as error:
            result = error
        return self._conclude(deployment, result)

    def _start(
        self, module: Module, arguments: tuple[str, ...], limit: float, pins: tuple[str, ...], restored: str | None
    ) -> RunningModule:
        deployment = self._prepare(module, arguments, limit, pins, restored)
        call = call_of(module, arguments)
        facts, foreign = self.facts, self.guest.board.manifest.console.foreign
        self._running = RunningModule(
            call,
            self.guest.start(deployment.command, timeout=limit + OVERHEAD, subject=f"the module {call}"),
            output=lambda console: output_so_far(console, facts, foreign=foreign),
            conclude=functools.partial(self._conclude, deployment),
            before_stop=self._let_pass,
        )
        return self._running

    def _let_pass(self) -> None:
        for let_pass in self.let_pass:
            let_pass()

    def _conclude(self, deployment: _Deployment, result: Result | CommandTimeout, stopped: bool = False) -> Execution:
        """Read and record the execution of an ended agent; with `stopped` it was ended by ^C."""
        facts, name = self.facts, printable_line(deployment.module.name)
        board = self.guest.board
        foreign = board.manifest.console.foreign
        nonce = deployment.nonce
        console = deployment.transcript.read(result.start, result.end)
        if isinstance(result, CommandTimeout):
            board.dirty = f"{name} left the runner stuck"
            why = "^C did not stop it" if stopped else f"no end in {deployment.limit + OVERHEAD:g} s"
            back = "interrupted" if result.recovered else "the shell does not respond after ^C"
            reading = replace(
                read(console, facts, foreign=foreign), verdict=Stuck(f"{why}; {back}"), intact=None, heard=True
            )
            status, stamps = None, (0, 0)
        else:
            reading = read(console, facts, nonce=nonce, foreign=foreign)
            if stopped and not reading.seal:  # an interrupted agent seals nothing: the runner's own lines decide
                nonce, reading = None, read(console, facts, foreign=foreign)
            reading = self._judged(reading, result, nonce, name)
            status, stamps = result.status, (result.begin_ns, result.end_ns)
        run = Execution(
            **vars(reading),
            module=deployment.module,
            arguments=deployment.arguments,
            agent_status=status,
            request_ns=stamps[0],
            answer_ns=stamps[1],
            transcript=deployment.transcript.path,
            start=result.start,
            end=result.end,
            restored=deployment.restored,
            stopped=stopped and status == INTERRUPTED,
            pins=deployment.pins,
        )
        self._record(run)
        return run

    def _judged(self, reading: Reading, result: Result, nonce: str | None, name: str) -> Reading:
        """Return the reading of an ended agent, with what its status adds; mark the board dirty where it is."""
        board, text = self.guest.board, result.text.strip()
        if reading.seal:
            return reading
        if result.status == NOT_FOUND:
            return Reading(NoAgent(text), b"")
        if nonce and result.status in (NO_RUNNER, BUSY):
            board.dirty = "the runner does not answer"
            return Reading(NoAgent(text or board.dirty), b"")
        if nonce and result.status == TOO_LARGE:
            return Reading(Failed(text.rpartition("\n")[2]), b"")
        if isinstance(reading.verdict, Silent):
            board.dirty = f"the runner was silent on {name}"
        elif isinstance(reading.verdict, Faulted):
            board.dirty = f"{name} took the runner down"
        return reading

    def place(self, module: Loadable) -> str:
        """Return the path of `module` in the guest; upload it if it is not there yet.

        Raises as `check_size`, before anything is sent.
        """
        module = load_module(module)
        self.check_size(module)
        places = self.guest.modules
        if module.sha256 not in places:
            path = f"{self.facts.samples}/{module.name}"
            if digest_in_guest(self.guest.shell, path) != module.sha256:
                directory = module.sha256[:16]
                path = f"{MODULES}/{directory}/{module.name}"
                with upload.timed(module):
                    sent = self.guest.put(module.data, path)
                if sent and self._removed_others(directory):
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
