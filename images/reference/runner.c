/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner: serves the agent's requests and runs modules, one at a time, each in a worker process
 * that is killed afterwards. Whatever a module does, this process lives and answers.
 *
 * runner              serve
 * runner --say TEXT   write a line on the serial line
 */
#define _GNU_SOURCE
#include "analog.h"
#include "files.h"
#include "idle.h"
#include "link.h"
#include "pins.h"
#include "proposal.h"
#include "uart.h"
#include "worker.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <wasmedge/wasmedge.h>

enum {
	PRIORITY = 60,            /* above the interrupt threads (50) and the worker */
	HEARTBEAT_MS = 500,       /* longest sleep */
	PREPARE_MS = 1000,        /* a worker takes 20 to 30 */
	CYCLE_SPARE_MS = 10000,   /* beyond its periods, for a loop that gets no CPU */
	ANNOUNCE_MS = 10000,      /* the ready line waits so long for a first request */
	LOG_MAX = 8 << 10,        /* bytes of the library's log that are kept of a run */
	RESERVE = 64 << 20,       /* bytes of memory that no module gets */
	MODULE_KEPT = 1 << 20,    /* bytes of the module's buffer that are not given back */
	GATHER_FIRST_US = 2000,   /* output that follows other output so soon is gathered before it is put on the line, */
	GATHER_MAX_US = 16000,    /* each time twice as long: to change to the worker and back takes as long as a line */
	FORWARD_MAX = 16 << 10,   /* bytes of output at once, so that nothing else waits long */
	MODULE_LEAST = 96 << 20,  /* bytes of memory that files leave for a module and its runtime */
};

enum state { IDLE, RECEIVING, READY, RUNNING };

static struct link peer = {.event = -1, .bell = -1};
static struct worker worker;
static struct job *job;     /* shared with the worker */
static uint8_t *module;     /* the same */
static uint64_t memory_max; /* bytes a worker and the files of its run may use */
static uint64_t worker_memory; /* bytes the worker may use */

static enum state state;
static bool cycling; /* what runs is no module but a loop */
static bool announced;
static uint32_t seen_seq, run_seq, runs;
static uint64_t module_bytes, received; /* announced, and of these so far */
static uint64_t module_most;            /* bytes of the largest since the buffer was given back */
static uint64_t limit_ms, started_ms, started_ticks, output_bytes;
static uint32_t output_crc;
static uint32_t arguments, argument_bytes, cycles;
static char argument[LINK_ARGUMENTS_MAX]; /* the worker gets a copy, of this too: */
static uint32_t variables, variable_bytes;
static char variable[LINK_VARIABLES_MAX];
static char pins[LINK_PINS_MAX + 1];
static char log_text[LOG_MAX + 1];
static size_t log_bytes;

static int idle = -1;                    /* readable when the worker waits, see idle.h */
static bool gathering;                   /* there is output, which waits for more */
static uint64_t gather_us, forwarded_us; /* how long it waits from the last output on; when that was */

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static uint64_t now_ms(void)
{
	return now_us() / 1000;
}

static uint64_t free_bytes(void)
{
	struct sysinfo info;
	return sysinfo(&info) < 0 ? 0 : (uint64_t)info.freeram * info.mem_unit;
}

static _Noreturn void die(const char *what)
{
	char line[160];
	snprintf(line, sizeof line, "%s: runner cannot start: %s: %s", link_runner(&peer), what, strerror(errno));
	uart_line(line);
	exit(1);
}

/* -- the run ---------------------------------------------------------------------------------- */

/* Puts on the line what the module has printed so far, at most `most` bytes. */
static void forward_output(size_t most)
{
	char piece[4096];
	for (ssize_t got = sizeof piece; most && got == sizeof piece;) {
		got = read(worker.output, piece, sizeof piece);
		if (got <= 0)
			break;
		uart_write(piece, got);
		output_crc = link_crc(output_crc, piece, got);
		output_bytes += got;
		most -= (size_t)got < most ? (size_t)got : most;
	}
}

/*
 * The worker has printed, or its output was gathered long enough. What it prints after it has waited, or after a pause,
 * goes on the line at once. Of what follows without either, many pieces go together: when their time is over, which
 * becomes longer each time, or as soon as the worker waits.
 */
static void take_output(bool readable)
{
	uint64_t now = now_us();
	bool due = idle_seen() || now >= forwarded_us + gather_us;
	if (gathering && due) {
		gather_us = gather_us < GATHER_MAX_US / 2 ? 2 * gather_us : GATHER_MAX_US;
	} else if (!gathering && readable && due) {
		gather_us = GATHER_FIRST_US;
	} else {
		gathering = gathering || readable;
		if (gathering)
			idle_wake();
		return;
	}
	gathering = false;
	forward_output(FORWARD_MAX);
	forwarded_us = now_us();
	idle_watch();
}

/* Returns whether the worker is done: its outcome complete, or itself gone. */
static bool collect_log(void)
{
	char piece[1024];
	bool done = job->done; /* before the log is read, so that all of it is */
	ssize_t got;
	while ((got = read(worker.log, piece, sizeof piece)) > 0)
		for (ssize_t i = 0; i < got && log_bytes < LOG_MAX; i++)
			log_text[log_bytes++] = piece[i] ? piece[i] : '?';
	return done || got == 0 || (errno != EAGAIN && errno != EINTR);
}

/* The library's lines have their stamp; what else was said gets one. */
static void print_log(void)
{
	log_text[log_bytes] = 0;
	for (char *line = log_text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		if (line[0] == '[')
			uart_line(line);
		else if (line[0])
			uart_log("error", "%s", line);
	}
}

static void renew_worker(uint64_t memory)
{
	worker_end(&worker);
	worker_memory = memory;
	if (worker_fork(&worker, job, worker_memory) < 0)
		uart_log("error", "no worker for the next module: %s", strerror(errno));
}

/* Nobody can run it any more: gives its memory back. */
static void forget_module(void)
{
	state = IDLE;
	pins[0] = 0;
	variables = variable_bytes = 0;
	if (module_most > MODULE_KEPT && madvise(module, LINK_MODULE_MAX, MADV_REMOVE) == 0)
		module_most = 0;
}

static void answer(uint32_t seq, enum link_answer value)
{
	peer.page->answer = value;
	link_publish(&peer, &peer.page->answer_seq, seq);
}

/* Makes inputs of the pins that the module might use, so that its outputs fall to the board's level without it. */
static void release_pins(void)
{
	if (cycling || !pins[0])
		return;
	worker_end(&worker); /* the kernel keeps the lines of a living process */
	analog_release(pins);
	const char *failed = pins_release(pins);
	if (failed)
		uart_log("error", "pin %s was not released: %s", failed, strerror(errno));
}

/* Tells the verdict: on the line, in the result block, to the agent if it still waits. */
static void finish(enum link_verdict verdict, uint32_t code, const char *reason)
{
	volatile struct link_page *page = peer.page;
	page->end_ticks = link_ticks();
	release_pins();
	print_log();
	if (cycling)
		link_put(page->bulk, job->late, cycles * sizeof *job->late);
	else if (verdict == LINK_EXITED)
		uart_log("info", "execution success, exit code:%u", code);
	else
		uart_log("info", "execution failed:%s", reason);
	page->verdict = verdict;
	page->code = code;
	page->output_bytes = output_bytes;
	page->output_crc = output_crc;
	page->start_ticks = started_ticks;
	link_put_text(page->reason, reason, sizeof page->reason);
	state = cycling ? IDLE : READY;
	runs += !cycling;
	if (files_bytes()) {
		worker_end(&worker); /* nobody writes on files that are fetched, or has one open that is removed */
		if (!files_writable())
			files_remove();
	}
	if (seen_seq == run_seq)
		answer(run_seq, LINK_OK);
	renew_worker(memory_max);
}

/* Ends the run from outside. The worker is dead before its last output is taken, so this is bounded. */
static void stop(enum link_verdict verdict, const char *reason)
{
	kill(worker.pid, SIGKILL);
	waitid(P_PID, worker.pid, NULL, WEXITED | WNOWAIT);
	forward_output(SIZE_MAX);
	collect_log();
	finish(verdict, 0, reason);
}

/* Adds to the reason why a module was not loaded the proposal that it needs, if that is the cause. */
static void add_proposal(char *reason, size_t room)
{
	char name[64];
	size_t used = strlen(reason);
	log_text[log_bytes] = 0;
	if (proposal_missing(name, sizeof name, log_text, job->code, module, received))
		snprintf(reason + used, room - used, ": the module needs the proposal %s", name);
}

/* The worker says that it is done, or died. */
static void conclude(void)
{
	char reason[sizeof job->reason];
	forward_output(SIZE_MAX);
	uint32_t verdict = job->verdict;
	if (job->done && verdict >= LINK_EXITED && verdict <= LINK_TRAPPED) {
		memcpy(reason, job->reason, sizeof reason);
		reason[sizeof reason - 1] = 0;
		if (verdict == LINK_NOT_LOADED)
			add_proposal(reason, sizeof reason);
		finish(verdict, job->code, verdict == LINK_EXITED ? "" : reason);
		return;
	}
	siginfo_t end = {0};
	kill(worker.pid, SIGKILL); /* has no effect on a dead one */
	waitid(P_PID, worker.pid, &end, WEXITED | WNOWAIT);
	log_text[log_bytes] = 0;
	int signal = end.si_code == CLD_EXITED ? 0 : end.si_status;
	if (strstr(log_text, "bad_alloc") && verdict == LINK_NOT_INSTANTIATED) {
		snprintf(reason, sizeof reason, "too much memory: its memories and tables need more than the %llu MiB of the runner",
			 (unsigned long long)worker_memory >> 20);
		finish(verdict, 0, reason);
		return;
	}
	if (strstr(log_text, "bad_alloc"))
		snprintf(reason, sizeof reason, "runner fault: out of memory");
	else if (signal)
		snprintf(reason, sizeof reason, "runner fault: signal %d (%s)", signal, strsignal(signal));
	else
		snprintf(reason, sizeof reason, "runner fault: worker left with status %d", end.si_status);
	finish(LINK_FAULTED, signal, reason);
}

static void check_limit(void)
{
	char reason[64];
	if (state != RUNNING || !limit_ms || now_ms() - started_ms < limit_ms)
		return;
	snprintf(reason, sizeof reason, "limit of %llu ms exceeded", (unsigned long long)limit_ms);
	stop(LINK_LIMIT, reason);
}

/* Until the limit or the end of the gathering, at most until the next heartbeat. */
static struct timespec sleep_time(void)
{
	uint64_t now = now_us(), end = now + HEARTBEAT_MS * 1000;
	uint64_t limit = (started_ms + limit_ms) * 1000, gathered = forwarded_us + gather_us;
	if (state == RUNNING && limit_ms && limit < end)
		end = limit;
	if (state == RUNNING && gathering && gathered < end)
		end = gathered;
	uint64_t left = end > now ? end - now : 0;
	return (struct timespec){.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
}

static void begin(uint32_t seq, enum work work)
{
	char byte = work;
	cycling = work == WORK_CYCLE;
	if (worker.pid < 0)
		renew_worker(memory_max - files_bytes());
	output_bytes = output_crc = log_bytes = 0;
	gathering = false;
	gather_us = 0;
	if (worker.pid > 0)
		collect_log(); /* what it said while it was prepared */
	job->verdict = job->done = 0;
	run_seq = seq;
	started_ticks = link_ticks();
	started_ms = now_ms();
	if (!cycling)
		uart_log("info", "executing wasm file");
	state = RUNNING;
	if (worker.pid < 0)
		finish(LINK_FAULTED, 0, "runner fault: no worker");
	else if (write(worker.start, &byte, 1) != 1)
		conclude();
}

/* Until then a run would take longer than the next one. */
static void await_worker(void)
{
	struct pollfd prepared = {.fd = worker.log, .events = POLLIN};
	if (state != RUNNING && worker.pid > 0)
		poll(&prepared, 1, PREPARE_MS);
}

static enum link_answer run(uint32_t seq)
{
	if (state != READY)
		return LINK_BAD_ORDER;
	enum link_answer files = files_complete(job->preopen, &job->preopens);
	if (files != LINK_OK)
		return files;
	if (files_bytes()) {
		renew_worker(memory_max - files_bytes());
		await_worker();
	}
	job->free_bytes = free_bytes();
	job->variables = variables;
	memcpy(job->variable, variable, variable_bytes);
	job->module_bytes = received;
	job->arguments = arguments;
	memcpy(job->argument, argument, argument_bytes);
	memcpy(job->pins, pins, sizeof pins);
	begin(seq, WORK_MODULE);
	return LINK_OK;
}

static enum link_answer cycle(uint32_t seq, size_t size)
{
	struct link_cycle asked;
	if (size != sizeof asked)
		return LINK_BAD_SIZE;
	link_get(&asked, peer.page->data, size);
	if (!asked.count || !asked.priority || asked.priority > LINK_PRIORITY_MAX || asked.period_ns < LINK_PERIOD_MIN)
		return LINK_BAD_SIZE;
	if (asked.count > LINK_CYCLES || asked.period_ns > LINK_PERIOD_MAX)
		return LINK_TOO_LARGE;
	forget_module();
	files_remove();
	job->cycle = asked;
	cycles = asked.count;
	limit_ms = asked.period_ns * asked.count / 1000000 + CYCLE_SPARE_MS;
	begin(seq, WORK_CYCLE);
	return LINK_OK;
}

/* -- requests --------------------------------------------------------------------------------- */

static uint32_t locked_kib(void)
{
	char line[128];
	unsigned kib = 0;
	FILE *status = fopen("/proc/self/status", "re");
	while (status && fgets(line, sizeof line, status) && sscanf(line, "VmLck: %u", &kib) != 1)
		;
	if (status)
		fclose(status);
	return kib;
}

/* Bytes that the files of a run may have. */
static uint64_t files_max(void)
{
	return memory_max > MODULE_LEAST ? memory_max - MODULE_LEAST : 0;
}

static void fill_info(void)
{
	volatile struct link_page *page = peer.page;
	struct sched_param priority = {0};
	sched_getparam(0, &priority);
	page->pid = getpid();
	page->priority = sched_getscheduler(0) == SCHED_FIFO ? priority.sched_priority : 0;
	page->locked_kib = locked_kib();
	page->free_kib = free_bytes() >> 10;
	page->files_kib = files_max() >> 10;
	page->runs = runs;
	link_put_text(page->version, WasmEdge_VersionGet(), sizeof page->version);
}

static uint64_t number(size_t size)
{
	uint64_t value = 0;
	link_get(&value, peer.page->data, size);
	return value;
}

static enum link_answer reset(size_t size)
{
	if (size != 8)
		return LINK_BAD_SIZE;
	uint64_t announced_bytes = number(size);
	if (state == RUNNING)
		stop(LINK_ABORTED, "aborted: a new module came");
	forget_module();
	files_remove();
	if (announced_bytes > LINK_MODULE_MAX)
		return LINK_TOO_LARGE;
	module_bytes = announced_bytes;
	arguments = argument_bytes = 0;
	received = limit_ms = 0;
	state = RECEIVING;
	return LINK_OK;
}

static enum link_answer take_part(const volatile uint32_t *from, size_t size)
{
	if (state != RECEIVING)
		return LINK_BAD_ORDER;
	if (size == 0 || size > module_bytes - received)
		return LINK_BAD_SIZE;
	link_get(module + received, from, size);
	received += size;
	if (received > module_most)
		module_most = received;
	return LINK_OK;
}

/* Adds the text of a request to `texts`, which have `room` bytes, `*bytes` of them used, and `most` texts, `*count` now. */
static enum link_answer take_text(size_t size, char *texts, size_t room, uint32_t *bytes, uint32_t *count, uint32_t most)
{
	char *to = texts + *bytes;
	if (state != RECEIVING && state != READY)
		return LINK_BAD_ORDER;
	if (*count == most || size >= room - *bytes)
		return LINK_TOO_LARGE;
	link_get(to, peer.page->data, size);
	if (memchr(to, 0, size))
		return LINK_BAD_SIZE;
	to[size] = 0;
	*bytes += size + 1;
	++*count;
	return LINK_OK;
}

static enum link_answer take_argument(size_t size)
{
	return take_text(size, argument, sizeof argument, &argument_bytes, &arguments, LINK_ARGUMENTS);
}

static enum link_answer take_variable(size_t size)
{
	return take_text(size, variable, sizeof variable, &variable_bytes, &variables, LINK_VARIABLES);
}

static enum link_answer take_files(size_t size)
{
	struct link_files announced;
	if (state != RECEIVING && state != READY)
		return LINK_BAD_ORDER;
	if (size != sizeof announced)
		return LINK_BAD_SIZE;
	link_get(&announced, peer.page->data, size);
	peer.page->files_kib = files_max() >> 10;
	return files_begin(&announced, files_max());
}

static char bulk[LINK_BULK]; /* of files: a copy, because the page takes aligned words only */

static enum link_answer take_entries(size_t size)
{
	if (state != RECEIVING && state != READY)
		return LINK_BAD_ORDER;
	link_get(bulk, peer.page->bulk, size);
	return files_add(bulk, size);
}

static enum link_answer take_file_part(size_t size)
{
	if (state != RECEIVING && state != READY)
		return LINK_BAD_ORDER;
	link_get(bulk, peer.page->bulk, size);
	return files_add_part(bulk, size);
}

static enum link_answer give_files(enum link_command command)
{
	bool end = false;
	size_t got = command == LINK_NEXT_PART ? files_next_part(bulk, sizeof bulk) : files_next(bulk, sizeof bulk, &end);
	link_put(peer.page->bulk, bulk, got);
	peer.page->fetched = got;
	if (end)
		files_remove();
	return LINK_OK;
}

static enum link_answer take_pins(size_t size)
{
	char list[sizeof pins];
	if (state != RECEIVING && state != READY)
		return LINK_BAD_ORDER;
	if (size >= sizeof list)
		return LINK_TOO_LARGE;
	link_get(list, peer.page->data, size);
	list[size] = 0;
	if (strlen(list) != size || !pins_valid(list))
		return LINK_BAD_SIZE;
	memcpy(pins, list, size + 1);
	return LINK_OK;
}

static enum link_answer add_entropy(size_t size)
{
	char bytes[LINK_ENTROPY_MAX];
	if (!size || size > sizeof bytes)
		return LINK_BAD_SIZE;
	link_get(bytes, peer.page->data, size);
	return link_add_entropy(bytes, size) < 0 ? LINK_NOT_DONE : LINK_OK;
}

/* Obeys one request and returns its answer. */
static enum link_answer obey(uint32_t seq, uint32_t header)
{
	enum link_command command = header & 0xffff;
	size_t size = header >> 16;
	if (size > (link_is_bulk(command) ? LINK_BULK : LINK_PART))
		return LINK_BAD_SIZE;
	if (state == RUNNING && command != LINK_HELLO && command != LINK_ABORT && command != LINK_RESET_BUFFER)
		return LINK_BUSY;
	switch (command) {
	case LINK_RESET_BUFFER:
		return reset(size);
	case LINK_SEND_PART:
		return take_part(peer.page->data, size);
	case LINK_SEND_BULK:
		return take_part(peer.page->bulk, size);
	case LINK_SEND_DONE:
		if (state != RECEIVING || received != module_bytes)
			return LINK_BAD_ORDER;
		state = READY;
		return LINK_OK;
	case LINK_SET_ARG:
		return take_argument(size);
	case LINK_RUN:
		return size ? LINK_BAD_SIZE : run(seq);
	case LINK_CYCLE:
		return cycle(seq, size);
	case LINK_HELLO:
		await_worker();
		fill_info();
		return LINK_OK;
	case LINK_ABORT:
		if (state == RUNNING)
			stop(LINK_ABORTED, "aborted"); /* its files can be fetched still */
		else
			files_remove();
		forget_module();
		return LINK_OK;
	case LINK_ADD_ENTROPY:
		return add_entropy(size);
	case LINK_SET_PINS:
		return take_pins(size);
	case LINK_SET_VARIABLE:
		return take_variable(size);
	case LINK_SET_FILES:
		return take_files(size);
	case LINK_ADD_ENTRIES:
		return take_entries(size);
	case LINK_ADD_PART:
		return take_file_part(size);
	case LINK_NEXT_ENTRIES:
	case LINK_NEXT_PART:
		return give_files(command);
	case LINK_SET_LIMIT:
		if (size != 4 && size != 8)
			return LINK_BAD_SIZE;
		limit_ms = number(size);
		if (limit_ms > UINT32_MAX)
			limit_ms = UINT32_MAX;
		return LINK_OK;
	}
	return LINK_BAD_COMMAND;
}

/* On first contact, when the guest waits in silence: a line of its own, whole. */
static void announce(void)
{
	char line[80];
	announced = true;
	snprintf(line, sizeof line, "%s: runner ready, wasmedge %s", link_runner(&peer), WasmEdge_VersionGet());
	uart_line(line);
}

static void serve_request(void)
{
	uint32_t seq = peer.page->request_seq;
	if (seq == seen_seq)
		return;
	link_barrier();
	seen_seq = seq;
	if (!announced)
		announce();
	uint32_t header = peer.page->header;
	enum link_answer value = obey(seq, header);
	if (run_seq != seq || value != LINK_OK) /* a run is answered by its end */
		answer(seq, value);
}

/* -- life ------------------------------------------------------------------------------------- */

/*
 * Waits until the kernel has collected its first entropy. It does so by letting a timer interrupt the caller, which
 * SCHED_FIFO keeps from happening: a module's first random number would never come.
 */
static void await_entropy(void)
{
	char byte;
	while (getrandom(&byte, 1, 0) < 0 && errno == EINTR)
		;
}

static void start(void)
{
	struct sched_param priority = {.sched_priority = PRIORITY};
	await_entropy();
	signal(SIGPIPE, SIG_IGN); /* a worker that died before its start */
	if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0)
		die("SCHED_FIFO");
	if (mlockall(MCL_CURRENT) < 0)
		die("mlockall");
	idle = idle_open(); /* before the event is open, which no other process may hold */
	if (idle < 0)
		die("eventfd");
	const char *failed = link_open(&peer, LINK_RUNNER);
	if (failed)
		die(failed);
	int shared = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
	job = mmap(NULL, sizeof *job, PROT_READ | PROT_WRITE, shared, -1, 0);
	module = mmap(NULL, LINK_MODULE_MAX, PROT_READ | PROT_WRITE, shared, -1, 0);
	if (job == MAP_FAILED || module == MAP_FAILED)
		die("memory");
	memset(job, 0, sizeof *job);
	job->module = module;
	uint64_t kept = RESERVE + LINK_MODULE_MAX;
	memory_max = free_bytes() > 2 * kept ? free_bytes() - kept : kept;
	pins_release_all(); /* of a module whose runner died */
	files_remove();
	analog_release(NULL);
	worker_memory = memory_max;
	if (worker_fork(&worker, job, worker_memory) < 0)
		die("fork");
	peer.page->epoch++;
	seen_seq = peer.page->request_seq; /* what was asked of a predecessor is not for us */
	link_notify(&peer); /* who waits for us asks again */
}

int main(int count, char **arguments)
{
	if (uart_open() < 0) {
		perror("runner: /dev/mem");
		return 1;
	}
	if (count == 3 && strcmp(arguments[1], "--say") == 0) {
		uart_line(arguments[2]);
		return 0;
	}
	start();
	uint64_t born = now_ms();
	for (;;) {
		struct pollfd wake[] = {
			{.fd = peer.event, .events = POLLIN},
			{.fd = state == RUNNING ? worker.log : -1, .events = POLLIN},
			{.fd = state == RUNNING && !gathering ? worker.output : -1, .events = POLLIN},
			{.fd = idle, .events = POLLIN},
		};
		struct timespec longest = sleep_time();
		if (ppoll(wake, 4, &longest, NULL) < 0)
			continue; /* a signal */
		peer.page->heartbeat++;
		link_take_event(&peer);
		serve_request();
		if (wake[3].revents)
			idle_take();
		if (state == RUNNING) {
			take_output(wake[2].revents);
			if (collect_log())
				conclude();
		}
		check_limit();
		if (!announced && now_ms() - born > ANNOUNCE_MS)
			announce();
	}
}
