"""Faults made on purpose on a board, each with a record of what was done and what came of it."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from labgrid.step import StepEvent, steps

from hil.board.board import Board
from hil.board.stages import diagnose, walk
from hil.console import Transcript
from hil.errors import ConfigurationError, HilError
from hil.faults import modules
from hil.faults.proxy import Faults, Tap
from hil.faults.record import FaultRecord, Injection
from hil.faults.slow import Later, slowed
from hil.guest import Guest
from hil.measure.probe import Probe, Request
from hil.wasm import Execution, Module, Runner

if TYPE_CHECKING:
    from hil.faults.catalogue import Fault

LATEST = 0.4  # seconds into a deployment, for a fault whose instant is left to chance
PANIC_LIMIT = 2.0  # seconds for a shell whose kernel was told to panic
OOM_LIMIT = 120.0  # seconds to fill the memory
JUMPED, JUMP_LIMIT = "/tmp/hil-jumped", 10.0  # there once the clock was set; seconds for it
SHORT = 1.0  # seconds that a bad module may run
STILL = "it may stand still"
RESET_BUFFER, SEND_PART, SEND_DONE, SET_ARG, RUN = range(1, 6)  # the protocol of both images
PART = 4092  # data bytes of a request
# each with whether it has to be refused
BAD_REQUESTS = (
    (Request(0, 4), True),
    (Request(99), True),
    (Request(65535, 65535), True),
    (Request(RESET_BUFFER, 4, 1), True),
    (Request(RESET_BUFFER, 8, 1 << 40), True),
    (Request(RUN), True),
    (Request(SEND_PART, 16), True),
    (Request(RESET_BUFFER, 8, 10), False),
    (Request(SEND_PART, PART + 1), True),
    (Request(SEND_PART, 11), True),
    (Request(SEND_DONE), True),
    (Request(SEND_PART, 10), False),
    (Request(SEND_DONE), False),
    (Request(SEND_PART, 1), True),
    (Request(SET_ARG, 4, 0), True),
    (Request(RUN, 4), True),
)
RANDOM_REQUESTS = 40


class _Account:
    """What is told of a fault while it is made."""

    def __init__(self, transcript: Transcript) -> None:
        transcript.refresh()
        self.transcript, self.start = transcript, transcript.size
        self.done = ""
        self.did: list[str] = []
        self.words: list[str] = []
        self.restarted = False

    def note(self, word: str, text: str) -> None:
        self.words.append(word)
        self.did.append(text)

    def run(self, run: Execution) -> None:
        garbled = run.verdict.good and run.intact is False
        restored = f" ({run.restored})" if run.restored else ""
        self.note("garbled" if garbled else run.verdict.name, f"{run.module.name}: {run.verdict}{restored}")

    def error(self, error: HilError) -> None:
        """Raises it where it is the user's to correct."""
        if isinstance(error, ConfigurationError):
            raise error
        self.note(word_of(error), f"{word_of(error)}: {error.message}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """An error within is what came of the fault."""
        try:
            yield
        except HilError as error:
            self.error(error)

    @property
    def told(self) -> str:
        return "; ".join(f"{text} ({count} times)" if count > 1 else text for text, count in Counter(self.did).items())


def word_of(error: HilError) -> str:
    """The name by which an error stands in a finding."""
    return type(error).__name__


class Injector:
    """Makes faults on the runner's board; the same `seed` makes the same ones.

    `record` is told each one, `found` each finding that `attempt` makes; `test` names who asks.

    A fault that needs QEMU raises `ConfigurationError` on a real board. What a fault does to the board is no
    error here: it is in the record that is returned, and `hil.faults.aftermath` judges what is left.
    Close it: it takes its proxy out of the line, and the board is marked for a fresh start.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        seed: int = 1,
        record: Callable[[Injection], None] = lambda injection: None,
        found: Callable[[FaultRecord], None] = lambda finding: None,
        test: str = "",
    ) -> None:
        self.runner, self.seed, self.test = runner, seed, test
        self.injections: list[Injection] = []
        self._record, self._found = record, found
        self._tap: Tap | None = None

    def __enter__(self) -> Injector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def guest(self) -> Guest:
        return self.runner.guest

    @property
    def board(self) -> Board:
        return self.runner.guest.board

    @property
    def tapped(self) -> bool:
        """Whether the line goes through a proxy."""
        return self._tap is not None

    def close(self) -> None:
        """Take the proxy, where there is one, out of the line; harmless when repeated."""
        if self._tap is not None:
            self.board.line.tap = None
            self._tap.close()
            self._tap = None
            self.board.dirty = "its line went through the fault proxy"

    def attempt(self, fault: Fault | str) -> FaultRecord:
        """Make a fault, or the one of that name, judge what is left, and bring the board back: see `aftermath`.

        Raises `ConfigurationError` for a name that is none, and as the fault does.
        """
        from hil.faults import aftermath, catalogue

        chosen = catalogue.fault(fault, self.board.manifest) if isinstance(fault, str) else fault
        finding = aftermath.attempt(self, chosen)
        self._found(finding)
        return finding

    # -- power and machine ----------------------------------------------------------------------------

    def cut_power(
        self, *, stage: str | None = None, during: Module | None = None, at: float | None = None
    ) -> Injection:
        """Cut the power: now, while a boot awaits `stage`, or `at` seconds (None: by chance) into a deployment.

        On a real board by its power driver. Raises `ConfigurationError` for a stage that the image has not.
        """
        name = f"power-cut@{stage}" if stage else "power-cut"
        with self._injecting(name) as account:
            if stage is not None:
                self._cut_in_boot(account, stage)
            else:
                self._during(account, "the power was cut", self._power_off, during, at)
            self.board.dirty = "its power was cut"
        return self.injections[-1]

    def reset(self) -> Injection:
        """Reset the machine, QEMU's by its monitor, a real one's by its power driver; wait for it to boot by itself."""
        with self._injecting("reset") as account:
            self.board.dirty = "it was reset"
            console = self.board.console
            console.skip()
            begun = time.monotonic_ns()
            if self.board.emulated:
                answered = self.board.qemu.monitor.begin("system_reset")
                if console.lockstep is not None:  # in a pause it would not hear; when it does hangs on the host
                    console.lockstep.expire()
                    console.lockstep.go_on()
                answered()
            else:
                self.board.target.activate(self.board.power)
                self.board.power.cycle()
            account.done = "the machine was reset"
            with account.watching():
                manifest = self.board.manifest
                seen = walk(
                    console,
                    manifest.stages,
                    power_on_ns=begun,
                    answers=manifest.console.answers,
                    failures=manifest.failures,
                    noise=manifest.console.noise,
                )
                account.restarted = True
                account.note("rebooted", f"it booted again to a shell in {seen[-1].seconds:.1f} s")
        return self.injections[-1]

    def freeze(self, seconds: float = 2.0, *, during: Module | None = None, at: float | None = None) -> Injection:
        """Stop the machine for `seconds` (0 to 60) and let it go on, by QEMU's monitor."""
        self._range("freeze", seconds, 0, 60)
        with self._injecting("freeze", emulated=True) as account:
            qemu = self.board.qemu

            def act() -> None:
                # from another thread the console's pauses are not ours to answer
                qemu.stop() if during is None else qemu.monitor.execute("stop")
                dirty, self.board.dirty = self.board.dirty, STILL
                try:
                    time.sleep(seconds)
                finally:
                    qemu.go_on()
                if self.board.dirty == STILL:  # else the deployment has found something meanwhile
                    self.board.dirty = dirty

            self._during(account, f"the machine was stopped for {seconds:g} s", act, during, at)
        return self.injections[-1]

    def kill_qemu(self, *, during: Module | None = None, at: float | None = None) -> Injection:
        """Kill QEMU's process with SIGKILL."""
        with self._injecting("qemu-killed", emulated=True) as account:
            pid = self.board.qemu.pid
            self._during(account, "QEMU was killed with SIGKILL", lambda: os.kill(pid, signal.SIGKILL), during, at)
            self.board.dirty = "its QEMU was killed"
        return self.injections[-1]

    def slow_host(self, share: float = 0.3, *, during: Module | None = None) -> Injection:
        """Give QEMU `share` of the time while a module is deployed (None: a good one, five times)."""
        with self._injecting("slow-host", emulated=True) as account, account.watching():
            module = during or modules.module("greeting")
            self.runner.place(module)
            begun = time.monotonic()
            with slowed(self.board.qemu.pid, share):
                for _ in range(1 if during else 5):
                    account.run(self.runner.run(module, limit=10, restore=False))
            account.done = f"QEMU had {share:.0%} of the host's time for {time.monotonic() - begun:.1f} s"
        return self.injections[-1]

    # -- guest ----------------------------------------------------------------------------------------

    def panic(self) -> Injection:
        """Have the guest's kernel panic."""
        with self._injecting("panic") as account:
            account.done = "the guest's kernel was told to crash (sysrq c)"
            self.board.dirty = "its guest's kernel panicked"
            with account.watching():
                done = self.guest.run("echo c >/proc/sysrq-trigger", timeout=PANIC_LIMIT)
                account.note("survived", f"the command ended with status {done.status}")
            manifest = self.board.manifest
            account.did.append(
                f"on the line: {diagnose(self.board.console, manifest.failures, manifest.console.noise)}"
            )
        return self.injections[-1]

    def out_of_memory(self) -> Injection:
        """Have a process in the guest take memory until there is none."""
        with self._injecting("out-of-memory") as account, account.watching():
            account.done = "a process in the guest took memory without end"
            done = self.guest.run("(tail /dev/zero)", timeout=OOM_LIMIT)
            if done.status <= 128:
                account.note("refused", f"it ended with status {done.status}: {done.text.strip()[-200:]}")
            else:
                said = next((line for line in done.foreign if "Out of memory" in line), "")
                account.note("killed", f"it was ended by signal {done.status - 128}{': ' * bool(said)}{said}")
        return self.injections[-1]

    def jump_clock(self, seconds: int) -> Injection:
        """Set the guest's clock `seconds` ahead (negative: back) while a module runs, and back afterwards."""
        name = "clock-forward" if seconds > 0 else "clock-back"
        with self._injecting(name) as account, account.watching():
            account.done = f"the guest's clock was set {abs(seconds)} s {'ahead' if seconds > 0 else 'back'}"
            module = self.long_module()
            self.runner.place(module)
            before = self.guest.run("date +%s", check=True)
            # a clock that began with 1970 has no day to go back
            ahead = -2 * seconds if int(before.text) + seconds < 0 else 0
            if ahead:
                before = self.guest.run(f"date -s @$(($(date +%s)+{ahead})) >/dev/null;date +%s", check=True)
            jump = f"usleep 300000;date -s @$(($(date +%s)+({seconds})));echo >{JUMPED}"
            self.guest.run(f"rm -f {JUMPED};({{ {jump};}} >/dev/null 2>&1 &)", check=True)
            account.run(self.runner.run(module, limit=SHORT, restore=False))
            # a short module has ended before
            after = self.guest.run(
                f"while ! test -e {JUMPED};do usleep 10000;done;date +%s", timeout=JUMP_LIMIT, check=True
            )
            told = int(after.text) - int(before.text) - (after.end_ns - before.end_ns) / 1e9
            self.guest.run(f"date -s @$(($(date +%s)-({seconds + ahead}))) >/dev/null", check=True)
            if abs(told - seconds) > 5:
                account.note("refused", f"the clock went {told:+.0f} s instead of {seconds:+d} s")
        return self.injections[-1]

    # -- agent and runner -----------------------------------------------------------------------------

    def kill_agent(self, *, at: float | None = None) -> Injection:
        """Kill the agent `at` seconds (None: by chance) into the transfer of a large module."""
        with self._injecting("agent-killed") as account, account.watching():
            delay = self._chance("agent-killed").uniform(0.05, LATEST) if at is None else at
            place = self.runner.place(modules.module("huge"))
            done = self.guest.run(
                f"({self.runner.facts.command} {place} & p=$!;usleep {round(delay * 1e6)};kill -9 $p;"
                "wait $p;echo status=$?)",
                timeout=60,
            )
            account.done = f"the agent was killed {delay:.3f} s into the transfer of {modules.HUGE_MIB} MiB"
            begun = bool(re.search(self.runner.facts.executing.encode(), done.output))
            if "status=137" in done.text:
                account.note("killed", "it ended by SIGKILL" + (", after the module had begun" if begun else ""))
            else:
                account.note("survived", f"the agent had ended before: {done.text.strip()[-200:]}")
        return self.injections[-1]

    def two_agents(self) -> Injection:
        """Start two agents at once, each with a module of its own."""
        with self._injecting("two-agents") as account, account.watching():
            account.done = "two agents deployed at once"
            facts, place = self.runner.facts, self.runner.place(modules.module("greeting"))
            call = f"{facts.command} {place}"
            done = self.guest.run(f"({call} & a=$!;{call} & b=$!;wait $a;echo a=$?;wait $b;echo b=$?)", timeout=90)
            seen = self.board.console.transcript.read(done.start, done.end)
            good, bad = (len(re.findall(word.encode(), seen)) for word in (facts.success, facts.failed))
            for word, count in (("exited", good), ("failed", bad), ("silent", max(0, 2 - good - bad))):
                for _ in range(count):
                    account.note(word, word)
        return self.injections[-1]

    def module(self, kind: str, *, limit: float = SHORT) -> Injection:
        """Deploy a module that misbehaves: see `hil.faults.modules`."""
        module = modules.module(kind)
        with self._injecting(f"module-{kind}") as account, account.watching():
            account.done = f"{module.name}, {len(module.data)} bytes, was deployed"
            if self.runner.facts.limit_option:
                account.done += f" with a limit of {limit:g} s"
            account.run(self.runner.run(module, limit=limit, restore=False))
        return self.injections[-1]

    def malformed(self, count: int = 8) -> Injection:
        """Deploy `count` (1 to 1000) modules with something wrong in them."""
        self._range("malformed modules", count, 1, 1000)
        with self._injecting("modules-malformed") as account:
            chance = self._chance("modules-malformed")
            made = [modules.malformed(chance) for _ in range(count)]
            account.done = f"{count} malformed modules were deployed: {'; '.join(what for _, what in made)}"
            for module, _ in made:
                with account.watching():
                    account.run(self.runner.run(module, limit=SHORT, restore=False))
                if self.board.dirty:
                    break
        return self.injections[-1]

    def bad_requests(self, count: int = RANDOM_REQUESTS) -> Injection:
        """Send requests that break the protocol: known ones, then `count` by chance."""
        self._range("requests by chance", count, 0, 1000)
        with self._injecting("bad-requests") as account, account.watching():
            chance = self._chance("bad-requests")
            # with a size of 0, 0 would stand in a header that holds the answer 0, too, where the two share their place
            at_random = [Request(chance.randint(1, 12), chance.choice((0, 4, 8, PART, 65535))) for _ in range(count)]
            sent = [*(request for request, _ in BAD_REQUESTS), *at_random]
            account.done = f"{len(BAD_REQUESTS)} wrong and odd requests and {count} by chance were sent to the runner"
            answers = Probe(self.guest).requests(sent, limit=SHORT)
            for (request, wrong), answer in zip(BAD_REQUESTS, answers, strict=False):
                if wrong != bool(answer):
                    account.note("obeyed" if wrong else "unserved", f"request {request} was answered with {answer}")
            if len(answers) < len(sent):
                account.note("no-agent", f"no answer to request {len(answers) + 1}, {sent[len(answers)]}")
            refused = sum(bool(answer) for answer in answers)
            account.note("answered", f"{len(answers)} of {len(sent)} were answered, {refused} refused")
        return self.injections[-1]

    # -- line -----------------------------------------------------------------------------------------

    def line_noise(self, received: Faults | None = None, sent: Faults | None = None, *, count: int = 5) -> Injection:
        """Deploy a good module `count` times over a line with faults (None: flipped bits and foreign lines)."""
        with self._injecting("line-noise", before=self._through_proxy) as account:
            assert self._tap is not None
            module = modules.module("greeting")
            self.runner.place(module)
            rate = 2e-3
            received = received or Faults(flip=rate, lines=10, text="[    9.000000] fault proxy: line {n}\r\n")
            self._tap.proxy.set(received=received, sent=sent or Faults(flip=rate))
            try:
                for _ in range(count):
                    with account.watching():
                        run = self.runner.run(module, limit=5, restore=False)
                        account.run(run)
                        if run.intact and run.output != modules.GREETING:
                            account.note("lied", f"output taken for proven: {run.output[:80]!r}")
                    if self.board.dirty:
                        break
            finally:
                self._tap.proxy.set(received=Faults(), sent=Faults())
            told = self._tap.proxy.report()
            account.done = (
                f"the line flipped a bit in {told.received.flipped} of {told.received.taken} bytes received and "
                f"{told.sent.flipped} of {told.sent.taken} sent, dropped {told.received.dropped + told.sent.dropped}, "
                f"and brought {told.received.injected} foreign lines, in {count} deployments"
            )
        return self.injections[-1]

    def line_stall(self, seconds: float = 2.0) -> Injection:
        """Let nothing pass on the line for `seconds` (0 to 60) in a deployment."""
        self._range("line stall", seconds, 0, 60)
        with self._injecting("line-stall", before=self._through_proxy) as account:
            assert self._tap is not None
            proxy = self._tap.proxy
            self._during(
                account,
                f"nothing passed on the line for {seconds:g} s",
                lambda: proxy.stop(seconds),
                modules.module("greeting"),
                0.0,
            )
        return self.injections[-1]

    def line_cut(self, *, at: float | None = None) -> Injection:
        """Cut the line `at` seconds (None: by chance) into a deployment."""
        with self._injecting("line-cut", before=self._through_proxy) as account:
            assert self._tap is not None
            self._during(account, "the line was cut", self._tap.proxy.cut, self.long_module(ends=False), at)
            self.board.dirty = "its line was cut"
        return self.injections[-1]

    # -- what they share ------------------------------------------------------------------------------

    def _chance(self, name: str) -> random.Random:
        """The same for a seed and a fault, whatever was done before."""
        return random.Random(f"{self.seed} {name}")

    def _range(self, what: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise ConfigurationError(f"{what}: {value:g} is out of range", hint=f"give {least:g} to {most:g}")

    def long_module(self, *, ends: bool = True) -> Module:
        """A module that runs until something is done to it; a short one if it has to end and the image has no limit."""
        return modules.module("endless" if self.runner.facts.limit_option or not ends else "greeting")

    def _power_off(self) -> None:
        """Also from another thread: QEMU dies, and the console tells so, who reads it is not disturbed."""
        if self.board.emulated:
            self.board.qemu.kill()
        else:
            self.board.target.activate(self.board.power)
            self.board.power.off()

    def _through_proxy(self) -> None:
        """See that the line goes through a proxy, by a fresh board where it does not yet."""
        if self.board.virtual is not None:
            raise ConfigurationError(
                "a line in virtual time cannot go through the fault proxy",
                hint="make its faults without --clock virtual",
            )
        if self._tap is None:
            self._tap = Tap(seed=self.seed)
            self.board.line.tap = self._tap
            self.board.fresh()

    def _cut_in_boot(self, account: _Account, stage: str) -> None:
        names = [one.name for one in self.board.manifest.stages]
        if stage not in names:
            raise ConfigurationError(
                f"image {self.board.manifest.name} has no stage {stage!r}", hint=f"its stages are: {', '.join(names)}"
            )

        cut: list[str] = []
        tries: list[tuple[str, HilError | None]] = []

        def watch(event: StepEvent) -> None:
            if event.data.get("state") != "start" or not str(event.step.title).startswith("stage "):
                return
            account.transcript, account.start = self.board.console.transcript, 0
            if event.step.title == f"stage {stage}":
                cut.append(stage)
                self._power_off()

        account.done = f"the power was cut while a boot waited for stage {stage!r}"
        told, self.board.account = self.board.account, lambda kind, error: tries.append((kind, error))
        steps.subscribe(watch)
        try:
            with account.watching():
                report = self.board.boot()
                account.note("booted", f"it booted in {report.seconds:.1f} s all the same")
        finally:
            steps.unsubscribe(watch)
            self.board.account = told
            if (
                not cut and "booted" not in account.words
            ):  # it says something of the image, a boot that was cut does not
                account.done = (
                    f"the power was to be cut while a boot waited for stage {stage!r}, which it did not reach"
                )
                account.words = ["no-boot"]
                for kind, error in tries:
                    told(kind, error)

    def _during(
        self, account: _Account, done: str, act: Callable[[], object], module: Module | None, at: float | None
    ) -> None:
        """Do `act` now, or `at` seconds into a deployment of `module`."""
        account.done = done
        if module is None:
            act()
            return
        delay = self._chance(done).uniform(0.0, LATEST) if at is None else at
        self._range("the instant within a deployment", delay, 0, 60)
        self.runner.place(module)
        later = Later(delay, act)
        with later, account.watching():  # what the fault itself raises did not come of it
            account.run(self.runner.run(module, limit=SHORT, restore=False))
        ended = "" if later.early else ", which had ended"
        account.done += f" {delay:.3f} s into a deployment of {module.name}{ended}"

    @contextmanager
    def _injecting(
        self, name: str, *, emulated: bool = False, before: Callable[[], None] | None = None
    ) -> Iterator[_Account]:
        """Make and keep the record of one fault, as a step on labgrid's bus."""
        board = self.board
        if emulated and not board.emulated:
            raise ConfigurationError(
                f"the fault {name} needs QEMU, and board {board.name} is real",
                hint="choose a qemu-* board with --board",
            )
        if before is not None:
            before()
        account, begun = _Account(board.console.transcript), time.monotonic_ns()
        step: Any = steps.get_new(f"fault {name}", "fault", self, (__file__, "injector.py", 0))
        step.start()
        try:
            yield account
        except BaseException as error:
            step.exception = error
            raise
        finally:
            if account.done:
                self._keep(name, account, begun)
            step.stop()

    def _keep(self, name: str, account: _Account, begun: int) -> None:
        account.transcript.refresh()
        made = Injection(
            name,
            account.done,
            account.told,
            tuple(account.words),
            self.seed,
            begun,
            time.monotonic_ns(),
            account.transcript.path,
            account.start,
            account.transcript.size,
            account.restarted,
        )
        self.injections.append(made)
        self._record(made)
