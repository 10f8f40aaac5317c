"""The runner in the partition, reached through the agent in the guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hil.errors import ConfigurationError
from hil.guest import CommandTimeout, Guest, Result
from hil.guest.shell import quote
from hil.guest.transfer import digest_in_guest
from hil.image.manifest import AgentFacts, agent_of
from hil.text import printable_line
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.loading import Loadable, load_module, words_of
from hil.wasm.module import Module
from hil.wasm.reading import Reading, read
from hil.wasm.verdict import Failed, Faulted, NoAgent, Silent, Stuck

MODULES = "/tmp/hil"  # directory of uploaded modules in the guest
OVERHEAD = 20.0  # seconds beside the run, for the agent and its transfer of the module to the runner
NOT_FOUND = 127  # exit status of the shell
NO_RUNNER, BUSY, TOO_LARGE = 245, 246, 247  # exit statuses of the reference image's agent, which seals
UPLOADS, UPLOADED = 32 << 20, 256  # bytes and number of uploaded modules that stay in the guest


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
        self, module: Loadable, *arguments: str | bytes, limit: float = DEFAULT_LIMIT, restore: bool = True
    ) -> Execution:
        """Deploy `module` with `arguments` and return its execution; a bad module raises nothing.

        Arguments hold any bytes but NUL; bytes that are not UTF-8 are surrogates in text, as in `sys.argv`.

        `limit` is the time in seconds that the module may run. The image's watchdog enforces it if there is one; the
        wait for the agent is limited in any case. The module is uploaded once per boot, unless the image holds it.

        An agent that cannot report a dead runner prints nothing for one. With `restore` the board is then made fresh
        and the module deployed once more (see `Execution.restored`). Both deployments are recorded.

        Raises `ConfigurationError` for a module that is too large for the runner, the errors of `load_module` and
        `words_of`, those of `guest.run` except timeouts, and those of that boot.
        """
        module, words = load_module(module), words_of(arguments)
        run = self._deploy(module, words, limit)
        if restore and not run.heard:
            why = f"the runner was dead before {printable_line(module.name)}, so the board was made fresh"
            self.guest.board.fresh()
            run = self._deploy(module, words, limit, why)
        return run

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
            result: Result | CommandTimeout = guest.run(quote(command), timeout=limit + OVERHEAD)
        except CommandTimeout as error:
            result = error
        console = transcript.read(result.start, result.end)
        if isinstance(result, CommandTimeout):
            guest.board.dirty = f"{name} left the runner stuck"
            back = "interrupted" if result.recovered else "the shell does not respond after ^C"
            stuck = Stuck(f"no end in {limit + OVERHEAD:g} s; {back}")
            reading = replace(read(console, facts, foreign=foreign), verdict=stuck, intact=None, heard=True)
            status, stamps = None, (0, 0)
        else:
            reading = self._judged(read(console, facts, nonce=nonce, foreign=foreign), result, nonce, name)
            status, stamps = result.status, (result.begin_ns, result.end_ns)
        run = Execution(
            **vars(reading),
            module=module,
            arguments=arguments,
            agent_status=status,
            request_ns=stamps[0],
            answer_ns=stamps[1],
            transcript=transcript.path,
            start=result.start,
            end=result.end,
            restored=restored,
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
