"""The runner in the partition, reached through the agent in the guest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import EllipsisType

from hil.errors import ConfigurationError, RunnerError
from hil.guest import CommandTimeout, Guest, Result
from hil.guest.provision import provide
from hil.guest.shell import quote
from hil.guest.transfer import digest_in_guest
from hil.image.manifest import AgentFacts, agent_of
from hil.text import printable_line
from hil.wasm import guest_files, upload
from hil.wasm.compiled import check_native, compiled
from hil.wasm.conclusion import Deployment, conclude
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.loading import Loadable, load_module
from hil.wasm.module import Module
from hil.wasm.pins import refused_pins
from hil.wasm.preopens import Preopen
from hil.wasm.reading import output_so_far
from hil.wasm.request import Request
from hil.wasm.running import RunningModule, ready_text
from hil.wasm.trees import Contents

MODULES = "/tmp/hil"  # directory of uploaded modules in the guest, unless the manifest names another
READY_LINES = 5  # lines of output in the error for a module that is not ready
OVERHEAD = 20.0  # seconds beside the run, for the agent and its transfer of the module to the runner
UPLOADED = 256  # number of uploaded modules that stay in the guest, beside the manifest's limit of their size


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
        aot: bool = False,
        env: Mapping[str, str | bytes] | None = None,
        files: Mapping[str, Contents] | None = None,
        preopens: Sequence[Preopen] = (),
    ) -> Execution:
        """Deploy `module` with `arguments` and return its execution; a bad module raises nothing.

        Arguments hold any bytes but NUL; bytes that are not UTF-8 are surrogates in text, as in `sys.argv`.

        `limit` is the time in seconds that the module may run. The image's watchdog enforces it if there is one; the
        wait for the agent is limited in any case. The module is uploaded once per boot, unless the image holds it.

        `pins` are the names of the pins, analogue channels and buses that the module may use; by default `module.pins`.

        With `aot` the module is compiled ahead of time: see `compiled`.

        `env` are the variables of its environment, `preopens` the directories that it may use; `files` is short for one
        read-only directory at "/". The files that it leaves in writable directories are in `Execution.files`.

        An agent that cannot report a dead runner prints nothing for one. With `restore` the board is then made fresh
        and the module deployed once more (see `Execution.restored`). Both deployments are recorded.

        Raises `ConfigurationError` for a module or files too large for the runner, for pins that the image does not
        have and for what its agent cannot give to a module, the errors of `Request.of`, those of `guest.run` except
        timeouts, and those of that boot.
        """
        given = self.compiled(module) if aot else module
        request = Request.of(given, arguments, limit=limit, pins=pins, env=env, files=files, preopens=preopens)
        run = self._deploy(request)
        if restore and not run.heard:
            run = self._deploy(request, self._fresh(request.module))
        return run

    def start(
        self,
        module: Loadable,
        *arguments: str | bytes,
        limit: float = DEFAULT_LIMIT,
        ready: str | EllipsisType | None = ...,
        pins: Sequence[str] | None = None,
        aot: bool = False,
        env: Mapping[str, str | bytes] | None = None,
        files: Mapping[str, Contents] | None = None,
        preopens: Sequence[Preopen] = (),
    ) -> RunningModule:
        """Start `module` with `arguments`, and return when it is ready; it runs while the test goes on.

        `ready` is the beginning of the line that the module prints when it is ready, by default `module.ready`. With
        None the module counts as ready when the runner executes it. `limit`, `pins` and the rest are as in `run`. The
        files of writable directories are fetched when the end of the module is noticed, which takes time.

        In virtual time the machine is paused at that line when this returns, and time passes only in waits.

        Raises `RunnerError` if the module ends before that line or does not print it in time (it is then stopped),
        otherwise as `run`, and the errors of `guest.run`.
        """
        given = self.compiled(module) if aot else module
        request = Request.of(given, arguments, limit=limit, pins=pins, env=env, files=files, preopens=preopens)
        expected = ready_text(request.module, ready)
        restored = None
        while True:
            running = self._start(request, restored)
            problem = running.await_ready(expected)
            if not problem:
                return running
            execution = running.execution
            if restored is not None or execution is None or execution.heard:
                break
            restored = self._fresh(request.module)
        transcript = self.guest.shell.console.transcript
        lines = [printable_line(line) for line in running.lines[-READY_LINES:]]
        hint = "Set ready= to the beginning of the line that the module prints when it is ready, or to None."
        if execution and (refused := refused_pins(transcript.read(execution.start, execution.end))):
            names = ", ".join(f'"{name}"' for name in dict.fromkeys((*request.pins, *refused)))
            hint = f"The runner refused {', '.join(refused)}: pass pins=[{names}]."
        raise RunnerError(
            f"{running.call} {problem}: {execution}" + "".join(f"\n  > {line}" for line in lines),
            hint=hint,
            evidence=self.guest.shell.console.evidence(),
        )

    def compiled(self, module: Loadable) -> Module:
        """Return `module` with native code for this runner, compiled now or in the cache: see `hil.wasm.compiled`."""
        return compiled(module, self.guest.board.manifest, self.guest.board.image)

    def close(self) -> None:
        """Stop the module of `start` if it still runs, without `let_pass`."""
        if self._running is not None:
            self._running.close()

    def check_size(self, module: Loadable) -> None:
        """Raise `ConfigurationError` for a module that is too large for the image's runner, and as `load_module`.

        Also for native code that is not for this runner.
        """
        module = load_module(module)
        check_native(module, self.guest.board.manifest)
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

    def _prepare(self, request: Request, restored: str | None) -> Deployment:
        """Upload what the module needs, and return its deployment with the agent's command line."""
        manifest = self.guest.board.manifest
        directories = request.directories
        options = request.options(manifest, guest_files.places_below(_directories(), directories))
        archives = [directory.archive() for directory in directories]
        self.check_size(request.module)
        places = self._places(request.module, *filter(None, archives))
        if directories:
            unpacked = [None if archive is None else places[archive.sha256] for archive in archives]
            guest_files.unpack(self.guest, _directories(), unpacked)
        place, console = places[request.module.sha256], self.guest.shell.console
        nonce = console.token(8) if self.facts.seal_option else None
        command = request.command(manifest, options, place, nonce)
        timeout = request.limit + OVERHEAD + guest_files.transfer_time(directories)
        return Deployment(request, command, nonce, timeout, console.transcript, restored)

    def _deploy(self, request: Request, restored: str | None = None) -> Execution:
        deployment = self._prepare(request, restored)
        try:
            result: Result | CommandTimeout = self.guest.run(deployment.command, timeout=deployment.timeout)
        except CommandTimeout as error:
            result = error
        return self._conclude(deployment, result)

    def _start(self, request: Request, restored: str | None) -> RunningModule:
        deployment = self._prepare(request, restored)
        facts, foreign = self.facts, self.guest.board.manifest.console.foreign
        self._running = RunningModule(
            request.call,
            self.guest.start(deployment.command, timeout=deployment.timeout, subject=f"the module {request.call}"),
            output=lambda console: output_so_far(console, facts, foreign=foreign),
            conclude=functools.partial(self._conclude, deployment),
            before_stop=self._let_pass,
        )
        return self._running

    def _let_pass(self) -> None:
        for let_pass in self.let_pass:
            let_pass()

    def _conclude(self, deployment: Deployment, result: Result | CommandTimeout, stopped: bool = False) -> Execution:
        """Record and return the execution of an ended agent; with `stopped` it was ended by ^C."""
        run = conclude(self.guest, deployment, result, stopped=stopped)
        if directories := deployment.request.directories:
            why = printable_line(str(run.verdict)) if run.seal is None and deployment.nonce else ""
            run = replace(run, outputs=guest_files.fetch(self.guest, _directories(), directories, result, why))
        self._record(run)
        return run

    def place(self, module: Loadable) -> str:
        """Return the path of `module` in the guest; upload it if it is not there yet.

        Raises as `check_size`, before anything is sent.
        """
        module = load_module(module)
        self.check_size(module)
        return self._places(module)[module.sha256]

    def _places(self, *modules: Module) -> dict[str, str]:
        """Return the paths of modules and archives in the guest, by digest; upload those that are not there yet."""
        places, missing = {}, {}
        for module in modules:
            if (path := self.guest.modules.get(module.sha256)) is None:
                path = f"{self.facts.samples}/{module.file}"
                with self.guest.board.unchanged():
                    is_there = digest_in_guest(self.guest.shell, path) == module.sha256
                if not is_there:
                    path = f"{self._uploads}/{module.sha256[:16]}/{module.name}"
                    missing[path] = module
            places[module.sha256] = path
        if missing:
            with upload.timed(max(missing.values(), key=lambda module: len(module.data))):
                sent = provide(self.guest, {path: module.data for path, module in missing.items()})
            if sent and self._removed_others({module.sha256[:16] for module in modules}):
                self.guest.modules.clear()
        self.guest.modules.update(places)
        return places

    @property
    def _uploads(self) -> str:
        return self.facts.modules or MODULES

    def _removed_others(self, directories: Collection[str]) -> bool:
        """Remove the oldest uploads but `directories` while there are too many, and return whether any was removed.

        They take memory of the guest, or room on its disk. Uploads are directories; files beside them belong to others.
        """
        names, kib = "|".join(f"{name}/" for name in sorted(directories)), self.facts.modules_mib << 10
        removed = self.guest.run(
            f"(cd {quote([self._uploads])}&&for d in $(ls -trd {'?' * 16}/);do case $d in {names});;*)"
            f"if [ $(du -sk .|cut -f1) -gt {kib} ]||[ $(ls -d */|wc -l) -gt {UPLOADED} ];then rm -rf $d;echo removed;fi"
            ";;esac;done)"
        )
        return "removed" in removed.text


def _directories() -> str:
    """Return the directory of the guest with those of the module that runs."""
    return f"{MODULES}-run"
