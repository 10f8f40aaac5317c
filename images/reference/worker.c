/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "worker.h"
#include "cycle.h"
#include "host.h"

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <wasmedge/wasmedge.h>

enum { PAGE = 64 << 10, OWN_MEMORY = 48 << 20 }; /* of WebAssembly; what the runtime itself may need */

/* All that WasmEdge 0.14 implements, beside those that are on by default; docs/runtime.md lists them. */
static const enum WasmEdge_Proposal proposals[] = {
	WasmEdge_Proposal_TailCall,
	WasmEdge_Proposal_ExtendedConst,
	WasmEdge_Proposal_FunctionReferences,
	WasmEdge_Proposal_GC,
	WasmEdge_Proposal_MultiMemories,
	WasmEdge_Proposal_Threads,
	WasmEdge_Proposal_RelaxSIMD,
	WasmEdge_Proposal_ExceptionHandling,
};

static uint64_t pages(uint64_t memory)
{
	return (memory - OWN_MEMORY) / PAGE;
}

static WasmEdge_VMContext *new_machine(struct job *job, uint64_t memory)
{
	WasmEdge_ConfigureContext *configure = WasmEdge_ConfigureCreate();
	WasmEdge_ConfigureAddHostRegistration(configure, WasmEdge_HostRegistration_Wasi);
	for (size_t i = 0; i < sizeof proposals / sizeof *proposals; i++)
		WasmEdge_ConfigureAddProposal(configure, proposals[i]);
	WasmEdge_ConfigureSetMaxMemoryPage(configure, pages(memory));
	WasmEdge_VMContext *machine = WasmEdge_VMCreate(configure, NULL);
	WasmEdge_ConfigureDelete(configure);
	host_register(machine, job);
	return machine;
}

/* Reads a LEB128 number of a validated module. */
static uint64_t leb(const uint8_t **at)
{
	uint64_t value = 0;
	for (int shift = 0;; shift += 7) {
		uint8_t byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
}

/* Returns how many pages of memory a validated module declares, all its memories together. */
static uint64_t declared_pages(const struct job *job)
{
	enum { HEADER = 8, MEMORY_SECTION = 5, HAS_MAXIMUM = 1 };
	const uint8_t *at = job->module + HEADER, *end = job->module + job->module_bytes;
	uint64_t sum = 0;
	while (at < end) {
		uint8_t section = *at++;
		uint64_t size = leb(&at);
		const uint8_t *next = at + size;
		if (section == MEMORY_SECTION)
			for (uint64_t memories = leb(&at); memories; memories--) {
				uint8_t flags = *at++;
				sum += leb(&at);
				if (flags & HAS_MAXIMUM)
					leb(&at);
			}
		at = next;
	}
	return sum;
}

/* Puts the addresses of `count` texts, each with its NUL, at `to`. */
static void split(const char **to, uint32_t count, const char *text)
{
	for (; count; count--, text += strlen(text) + 1)
		*to++ = text;
}

/* Gives the module its arguments, variables and directories. */
static void init_wasi(WasmEdge_ModuleInstanceContext *wasi, const struct job *job)
{
	static const char *arguments[1 + LINK_ARGUMENTS] = {"wasm.wasm"};
	static const char *variables[LINK_VARIABLES], *preopens[LINK_PREOPENS];
	split(arguments + 1, job->arguments, job->argument);
	split(variables, job->variables, job->variable);
	split(preopens, job->preopens, job->preopen);
	WasmEdge_ModuleInstanceInitWASI(wasi, arguments, 1 + job->arguments, variables, job->variables, preopens,
					job->preopens);
}

/* Loads and runs `_start`; notes in the job how far it came, and a reason that the library has no words for. */
static WasmEdge_Result execute(WasmEdge_VMContext *machine, struct job *job, uint64_t memory)
{
	WasmEdge_ModuleInstanceContext *wasi =
		WasmEdge_VMGetImportModuleContext(machine, WasmEdge_HostRegistration_Wasi);
	init_wasi(wasi, job);

	job->reason[0] = 0;
	job->verdict = LINK_NOT_LOADED;
	WasmEdge_Result result = WasmEdge_VMLoadWasmFromBuffer(machine, job->module, job->module_bytes);
	if (WasmEdge_ResultOK(result))
		result = WasmEdge_VMValidate(machine);
	if (!WasmEdge_ResultOK(result))
		return result;
	job->verdict = LINK_NOT_INSTANTIATED;
	uint64_t declared = declared_pages(job), given = pages(memory);
	if (given > job->free_bytes / PAGE)
		given = job->free_bytes / PAGE;
	if (declared > given) { /* the library would run it with less */
		snprintf(job->reason, sizeof job->reason, "too much memory: the module needs %llu MiB, the runner gives %llu MiB",
			 (unsigned long long)(declared + 15) / 16, (unsigned long long)given / 16);
		return WasmEdge_ResultGen(WasmEdge_ErrCategory_UserLevelError, 0);
	}
	result = WasmEdge_VMInstantiate(machine);
	if (!WasmEdge_ResultOK(result))
		return result;
	job->verdict = LINK_TRAPPED;
	result = WasmEdge_VMExecute(machine, WasmEdge_StringWrap("_start", 6), NULL, 0, NULL, 0);
	if (WasmEdge_ResultOK(result)) {
		job->code = WasmEdge_ModuleInstanceWASIGetExitCode(wasi);
		job->verdict = LINK_EXITED;
	}
	return result;
}

/* Runs a module that does nothing, so that the run proper finds its pages touched. */
static void warm_up(uint64_t memory)
{
	static const uint8_t nothing[] = {
		0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1,
		7, 10, 1, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, 10, 4, 1, 2, 0, 0x0b,
	};
	static struct job idle = {.module = nothing, .module_bytes = sizeof nothing, .free_bytes = PAGE};
	WasmEdge_VMContext *machine = new_machine(&idle, memory);
	execute(machine, &idle, memory);
	WasmEdge_VMDelete(machine);
}

/* Of SCHED_FIFO, 0 for an ordinary process. */
static void set_priority(int priority)
{
	struct sched_param wanted = {.sched_priority = priority};
	sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &wanted);
}

static void set_limits(uint64_t memory)
{
	struct rlimit data = {memory, memory}, core = {0, 0};
	set_priority(0); /* to be prepared is no real-time work */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); /* locking all of LLVM each time would take half a second */
	setrlimit(RLIMIT_DATA, &data); /* not AS: the runtime reserves 12 GiB of addresses for a memory */
	setrlimit(RLIMIT_CORE, &core);
	int score = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char now[8] = "";
	/* the first to go where memory ends, unless who started the runner has decided */
	if (score >= 0 && read(score, now, sizeof now) > 0 && now[0] == '0' && write(score, "1000", 4) < 0)
		perror("worker: oom_score_adj");
	close(score);
}

enum { START = 3, LOG = 4 };

/*
 * The module gets fd 0 (at its end), 1 and 2. The library's log and the last words of the C++ run time
 * go elsewhere: WasmEdge 0.14 has no call for that, but it writes to what `stdout` is at its first use.
 */
static void set_streams(int start, int output, int log)
{
	int nothing = open("/dev/null", O_RDONLY);
	int from[] = {nothing, output, output, start, log};
	for (int i = 0; i < 5; i++)
		from[i] = fcntl(from[i], F_DUPFD, 16); /* out of the way of what follows */
	for (int i = 0; i < 5; i++)
		dup2(from[i], i);
	close_range(LOG + 1, ~0U, 0);
	stdout = stderr = fdopen(LOG, "w");
	setvbuf(stdout, NULL, _IOLBF, 4096);
}

static void run_module(WasmEdge_VMContext *machine, struct job *job, uint64_t memory)
{
	set_priority(WORKER_PRIORITY);
	WasmEdge_Result result = execute(machine, job, memory);
	if (job->verdict == LINK_EXITED)
		return;
	job->code = WasmEdge_ResultGetCode(result);
	if (!job->reason[0])
		snprintf(job->reason, sizeof job->reason, "%s", WasmEdge_ResultGetMessage(result));
}

static void run_cycle(struct job *job)
{
	uint32_t done = 0;
	set_priority(job->cycle.priority);
	memset(job->late, 0, sizeof job->late); /* touched, and so locked */
	cycle_run(LINK_PERIOD_MIN, 2, job->late, &done); /* so is the code */
	cycle_run(job->cycle.period_ns, job->cycle.count, job->late, &done);
	job->verdict = LINK_EXITED;
}

static _Noreturn void work(struct job *job, uint64_t memory)
{
	char what = 0;
	set_limits(memory);
	mprotect((void *)job->module, LINK_MODULE_MAX, PROT_READ); /* it may run again */
	warm_up(memory);
	WasmEdge_VMContext *machine = new_machine(job, memory);
	if (write(LOG, "\n", 1) != 1 || read(START, &what, 1) != 1)
		_exit(0);
	if (what == WORK_CYCLE)
		run_cycle(job);
	else
		run_module(machine, job, memory);
	fflush(stdout);
	link_barrier();
	job->done = 1;
	if (write(LOG, "\n", 1) != 1)
		_exit(1);
	for (;;)
		pause(); /* the server kills: tearing down politely would only take time */
}

int worker_fork(struct worker *worker, struct job *job, uint64_t memory)
{
	int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}; /* start, output, log */
	*worker = (struct worker){.pid = -1};
	for (int i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			goto failed;
	worker->pid = fork();
	if (worker->pid == 0) {
		set_streams(pipes[0][0], pipes[1][1], pipes[2][1]);
		work(job, memory);
	}
	if (worker->pid < 0)
		goto failed;
	worker->start = pipes[0][1];
	worker->output = pipes[1][0];
	worker->log = pipes[2][0];
	fcntl(worker->output, F_SETFL, O_NONBLOCK);
	fcntl(worker->log, F_SETFL, O_NONBLOCK);
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	return 0;
failed:;
	int error = errno;
	for (int i = 0; i < 6; i++)
		if (pipes[i / 2][i % 2] >= 0)
			close(pipes[i / 2][i % 2]);
	errno = error;
	return -1;
}

int worker_end(struct worker *worker)
{
	int status = 0;
	if (worker->pid <= 0)
		return 0;
	kill(worker->pid, SIGKILL);
	while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(worker->start);
	close(worker->output);
	close(worker->log);
	worker->pid = -1;
	return status;
}
