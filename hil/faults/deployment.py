"""Faults of deployments: killed and concurrent agents, modules that misbehave, requests that break the protocol."""

from __future__ import annotations

import re

from hil.faults import modules
from hil.faults.injecting import LATEST, SHORT, Injecting
from hil.faults.proxy import check_range
from hil.faults.record import Injection
from hil.measure.probe import Probe, Request

RESET_BUFFER, SEND_PART, SEND_DONE, SET_ARG, RUN = range(1, 6)  # commands of the protocol of both images
COMMANDS = 18  # of the reference image's runner; another refuses those that it does not have
PART = 4092  # data bytes of a request
# requests, and whether each must be refused
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


class DeploymentFaults(Injecting):
    """Faults of agent and runner."""

    def kill_agent(self, *, at: float | None = None) -> Injection:
        """Kill the agent `at` seconds (None: random) into the transfer of a large module."""
        with self._injecting("agent-killed") as account, account.watching():
            delay = self._chance("agent-killed").uniform(0.05, LATEST) if at is None else at
            place = self.runner.place(modules.module("huge"))
            done = self.guest.run(
                f"({self.runner.facts.command} {place} & p=$!;usleep {round(delay * 1e6)};kill -9 $p;"
                "wait $p;echo status=$?)",
                timeout=60,
            )
            account.done = f"the agent was killed {delay:.3f} s into the transfer of {modules.HUGE_MIB} MiB"
            running = bool(re.search(self.runner.facts.executing.encode(), done.output))
            if "status=137" in done.text:
                account.note("killed", "it ended by SIGKILL" + (", after the module had begun" if running else ""))
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
            output = self.board.console.transcript.read(done.start, done.end)
            good, bad = (len(re.findall(word.encode(), output)) for word in (facts.success, facts.failed))
            for word, count in (("exited", good), ("failed", bad), ("silent", max(0, 2 - good - bad))):
                for _ in range(count):
                    account.note(word, word)
        return self.injections[-1]

    def module(self, kind: str, *, limit: float = SHORT) -> Injection:
        """Deploy a misbehaving module of a `kind` in `hil.faults.modules`, with a limit in seconds."""
        module = modules.module(kind)
        with self._injecting(f"module-{kind}") as account, account.watching():
            account.done = f"{module.name}, {len(module.data)} bytes, was deployed"
            if self.runner.facts.limit_option:
                account.done += f" with a limit of {limit:g} s"
            account.run(self.runner.run(module, limit=limit, restore=False))
        return self.injections[-1]

    def malformed(self, count: int = 8) -> Injection:
        """Deploy `count` (1 to 1000) modules with something wrong in them."""
        check_range("malformed modules", count, 1, 1000)
        with self._injecting("modules-malformed") as account:
            chance = self._chance("modules-malformed")
            made = [modules.malformed(chance) for _ in range(count)]
            account.done = f"{count} malformed modules were deployed: {'; '.join(damage for _, damage in made)}"
            for module, _ in made:
                with account.watching():
                    account.run(self.runner.run(module, limit=SHORT, restore=False))
                if self.board.dirty:
                    break
        return self.injections[-1]

    def bad_requests(self, count: int = RANDOM_REQUESTS) -> Injection:
        """Send requests that break the protocol: known ones, then `count` (0 to 1000) random ones."""
        check_range("random requests", count, 0, 1000)
        with self._injecting("bad-requests") as account, account.watching():
            chance = self._chance("bad-requests")
            # not 0 with a size of 0: request and answer share the header, and the answer 0 would look the same
            at_random = [
                Request(chance.randint(1, COMMANDS), chance.choice((0, 4, 8, PART, 65535))) for _ in range(count)
            ]
            sent = [*(request for request, _ in BAD_REQUESTS), *at_random]
            account.done = f"{len(BAD_REQUESTS)} wrong and odd requests and {count} random ones were sent to the runner"
            answers = Probe(self.guest).requests(sent, limit=SHORT)
            for (request, wrong), answer in zip(BAD_REQUESTS, answers, strict=False):
                if wrong != bool(answer):
                    account.note("obeyed" if wrong else "unserved", f"request {request} was answered with {answer}")
            if len(answers) < len(sent):
                account.note("no-agent", f"no answer to request {len(answers) + 1}, {sent[len(answers)]}")
            refused = sum(bool(answer) for answer in answers)
            account.note("answered", f"{len(answers)} of {len(sent)} were answered, {refused} refused")
        return self.injections[-1]
