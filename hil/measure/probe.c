/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest probe: takes times with the guest's counter and keeps them in a file. See usage.
 *
 * It needs no C library, so that it is small enough to be sent over any line: what link.h and cycle.h
 * call is at the top. While it measures it writes nothing but memory: the file is mapped, so a probe
 * that is killed leaves what it has recorded.
 */
#define _GNU_SOURCE
#include "cycle.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char USAGE[] =
	"Usage: probe run --output FILE [--count N] [--warm-up N] [--limit-ms MS] [--priority N]\n"
	"             [--device reference|/dev/uio0] MODULE [ARGS...]\n"
	"       probe cycle --output FILE --period-ns NS [--count N] [--priority N] [--partition 1]\n"
	"       probe counter --output FILE [--count N]\n"
	"       probe requests [--limit-ms MS] [--device reference|/dev/uio0] COMMAND:SIZE[=NUMBER]...\n"
	"\n"
	"Exit status: 0 all was measured, 1 bad use, 240..244 the module ended otherwise than by itself (not loaded,\n"
	"not instantiated, trap, limit, runner fault), 245 no answer from the runner, 246 another agent is busy,\n"
	"247 too large for the runner, 248 the output cannot be written, 249 the priority is refused,\n"
	"250 an answer that tells no verdict, 255 no such module, 128+N ended by signal N\n";

enum {
	COUNT_MAX = 1000000,
	ANSWER_S = 5,     /* for an ordinary request, and for a heartbeat */
	LOCK_S = 60,      /* for another agent's deployment */
	LOCK_LOOK_MS = 10, /* often: agents in a row leave it for moments only */
	LOOK_S = 1,       /* without an event: rarely, for that wakes the partition */
	UIO_PAGE = 4096,
	UIO_ARGUMENT = LINK_PART - 1, /* the real runner takes no more */
	UNANSWERED = 0xffff,          /* size of a RUN on the real image; no exit code looks like that header */
};

enum {
	STATUS_BAD_USE = 1,
	STATUS_NOT_LOADED = 240, /* the next ones are in the order of the verdicts */
	STATUS_FAULTED = 244,
	STATUS_NO_ANSWER = 245,
	STATUS_BUSY = 246,
	STATUS_TOO_LARGE = 247,
	STATUS_NO_OUTPUT = 248,
	STATUS_NO_PRIORITY = 249,
	STATUS_UNCLEAR = 250,
	STATUS_NO_FILE = 255,
};

/* -- instead of a C library ------------------------------------------------------------------- */

static int error_number;

int *__errno_location(void)
{
	return &error_number;
}

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	if (x0 >= 0 || x0 < -4095)
		return x0;
	errno = -x0;
	return -1;
}

#define KERNEL4(number, a, b, c, d) kernel(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

int open(const char *path, int flags, ...)
{
	return KERNEL4(SYS_openat, AT_FDCWD, path, flags, 0644);
}

int close(int file)
{
	return KERNEL4(SYS_close, file, 0, 0, 0);
}

ssize_t read(int file, void *to, size_t bytes)
{
	return KERNEL4(SYS_read, file, to, bytes, 0);
}

ssize_t write(int file, const void *from, size_t bytes)
{
	return KERNEL4(SYS_write, file, from, bytes, 0);
}

int ioctl(int file, unsigned long request, ...)
{
	__builtin_va_list rest;
	__builtin_va_start(rest, request);
	long argument = __builtin_va_arg(rest, long);
	__builtin_va_end(rest);
	return KERNEL4(SYS_ioctl, file, request, argument, 0);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
	return (void *)kernel(SYS_mmap, (long)at, bytes, protection, flags, file, offset);
}

int madvise(void *at, size_t bytes, int advice)
{
	return KERNEL4(SYS_madvise, at, bytes, advice, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	return KERNEL4(SYS_clock_gettime, clock, now, 0, 0);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
	return KERNEL4(SYS_clock_nanosleep, clock, flags, until, left) < 0 ? errno : 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
	char *target = to;
	for (const char *source = from; bytes--;)
		*target++ = *source++;
	return to;
}

void *memset(void *to, int value, size_t bytes)
{
	for (char *target = to; bytes--;)
		*target++ = value;
	return to;
}

size_t strlen(const char *text)
{
	const char *end = text;
	while (*end)
		end++;
	return end - text;
}

int strcmp(const char *one, const char *other)
{
	for (; *one && *one == *other; one++)
		other++;
	return (unsigned char)*one - (unsigned char)*other;
}

/* -- the file --------------------------------------------------------------------------------- */

/* All little-endian. What the fields mean in detail is in docs/probe.md. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t kind;
	uint32_t size;    /* bytes of a record */
	uint32_t planned; /* records */
	uint64_t hz;
	uint64_t transfer; /* ticks to send the module */
	volatile uint32_t done; /* records */
	volatile uint32_t status; /* of our end; RUNNING before */
	uint32_t warmed_up;
	uint32_t crc; /* of the records, once there is a status */
};
_Static_assert(sizeof(struct header) == 56, "as hil/measure/probe.py reads it");

enum kind { EXECUTIONS = 1, CYCLES = 2, COUNTER = 3 };
#define RUNNING 0xffffffff

struct execution {
	uint64_t request, start, end, answer; /* ticks; start and end are the partition's own counter */
	uint64_t output_bytes;
	uint32_t output_crc, verdict, code, reserved;
};
_Static_assert(sizeof(struct execution) == 56, "as hil/measure/probe.py reads it");

static struct link peer = {.event = -1, .bell = -1};
static struct header *output;
static uint32_t seq, epoch, asked;
static volatile sig_atomic_t caught;

static void handle(int number, void (*handler)(int))
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action = {handler, 0, NULL, 0};
	KERNEL4(SYS_rt_sigaction, number, &action, NULL, sizeof action.mask);
}

static const char *text_of(uint64_t number)
{
	static char digits[21];
	char *at = digits + sizeof digits - 1;
	do
		*--at = '0' + number % 10;
	while (number /= 10);
	return at;
}

/* The event is closed before the lock, see agent.c: and so does the kernel, which closes the last opened first. */
static _Noreturn void leave(int status)
{
	if (peer.event >= 0)
		close(peer.event);
	if (output) {
		output->crc = link_crc(0, output + 1, (size_t)output->done * output->size);
		output->status = status;
	}
	if (status == 128 + caught) { /* a shell must see that ^C ended us */
		uint64_t all = -1ull;
		handle(caught, SIG_DFL);
		KERNEL4(SYS_kill, KERNEL4(SYS_getpid, 0, 0, 0, 0), caught, 0, 0);
		KERNEL4(SYS_rt_sigprocmask, SIG_UNBLOCK, &all, NULL, sizeof all);
	}
	for (;;)
		KERNEL4(SYS_exit_group, status, 0, 0, 0);
}

static _Noreturn void fail(int status, const char *what, const char *detail)
{
	const char *texts[] = {"probe: ", what, detail, "\n"};
	for (int i = 0; i < 4; i++)
		if (write(STDERR_FILENO, texts[i], strlen(texts[i])) < 0)
			break;
	leave(status);
}

/* Creates the file with room for all records, touched, and returns the first of them. */
static void *create(const char *path, enum kind kind, uint32_t planned, uint32_t size)
{
	size_t bytes = sizeof *output + (size_t)planned * size;
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	/* with room or not at all: a page that cannot be had later would kill */
	if (file < 0 || (KERNEL4(SYS_fallocate, file, 0, 0, bytes) < 0 &&
			 (errno != EOPNOTSUPP || KERNEL4(SYS_ftruncate, file, bytes, 0, 0) < 0)))
		fail(STATUS_NO_OUTPUT, "cannot write ", path);
	struct header *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (made == MAP_FAILED)
		fail(STATUS_NO_OUTPUT, "cannot map ", path);
	memset(made, 0, bytes);
	*made = (struct header){"hilprobe", 1, kind, size, planned, link_ticks_per_second(), 0, 0, RUNNING, 0, 0};
	output = made;
	return made + 1;
}

/* -- requests --------------------------------------------------------------------------------- */

static volatile uint32_t *doorbell; /* the real image's event page; then peer.page has its dataport alone */

static void pause_ms(int milliseconds)
{
	struct timespec time = {.tv_nsec = milliseconds * 1000000l};
	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static uint64_t seconds_later(int seconds)
{
	return link_ticks() + seconds * link_ticks_per_second();
}

/* Opens the link as wasmedge_emit does, and with the same lock. */
static void open_reference(void)
{
	int lock = open("/run/wasmedge_emit.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	for (int look = 0; lock < 0 || KERNEL4(SYS_flock, lock, LOCK_EX | LOCK_NB, 0, 0) < 0; look++) {
		if (caught)
			leave(128 + caught);
		if (lock < 0 || look == LOCK_S * 1000 / LOCK_LOOK_MS)
			fail(STATUS_BUSY, "another agent is busy, or there is no ", "/run/wasmedge_emit.lock");
		pause_ms(LOCK_LOOK_MS);
	}
	const char *failed = link_open(&peer, LINK_AGENT);
	if (failed)
		fail(STATUS_NO_ANSWER, "does this machine have a runner? Cannot use ", failed);
	uint64_t all = -1ull; /* from here a signal is seen while waiting only, and then at once */
	KERNEL4(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof all);
}

static void open_uio(const char *device)
{
	int file = open(device, O_RDWR | O_CLOEXEC);
	doorbell = mmap(NULL, UIO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	peer.page = mmap(NULL, UIO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, UIO_PAGE);
	if (file < 0 || doorbell == MAP_FAILED || peer.page == MAP_FAILED)
		fail(STATUS_NO_ANSWER, "does this machine have a runner? Cannot use ", device);
}

/* A request that says it has `size` bytes and has `bytes`. */
static void send(uint32_t command, uint32_t size, const void *data, size_t bytes)
{
	volatile struct link_page *page = peer.page;
	link_put(command == LINK_SEND_BULK && !doorbell ? page->bulk : page->data, data, bytes);
	if (doorbell) {
		asked = page->header = command | (command == LINK_RUN ? UNANSWERED : size) << 16;
		link_barrier();
		*doorbell = 1;
		return;
	}
	epoch = page->epoch;
	seq = page->request_seq + 1;
	page->header = command | size << 16;
	link_publish(&peer, &page->request_seq, seq);
}

static void ask(enum link_command command, const void *data, size_t size)
{
	send(command, size, data, size);
}

/*
 * Waits for the answer: ANSWER_S at most, or, for one that may take `long_time`, as long as the runner's
 * heartbeat goes on. False when a signal came.
 */
static bool answered(bool long_time)
{
	volatile struct link_page *page = peer.page;
	uint64_t end = seconds_later(ANSWER_S), none = 0;
	uint32_t beat = page->heartbeat;
	while (page->answer_seq != seq) {
		struct pollfd wake = {.fd = peer.event, .events = POLLIN};
		struct timespec look = {.tv_sec = LOOK_S};
		long ready = kernel(SYS_ppoll, (long)&wake, 1, (long)&look, (long)&none, sizeof none, 0);
		if (caught)
			return false;
		link_take_event(&peer);
		if (page->epoch != epoch || page->request_seq != seq)
			fail(STATUS_NO_ANSWER, "the runner was restarted, or another program uses the page", "");
		if (long_time && page->heartbeat != beat) {
			beat = page->heartbeat;
			end = seconds_later(ANSWER_S);
		}
		if (link_ticks() > end)
			fail(STATUS_NO_ANSWER, "no answer from the runner: is it up?", "");
		if (ready == 0)
			link_notify(&peer); /* no event may be lost for good */
	}
	link_barrier();
	return true;
}

/* What the runner answered to the last request. */
static uint32_t answer_of(enum link_command command)
{
	if (doorbell) {
		(void)*doorbell; /* comes back when the runner is done; the guest stands still meanwhile */
		link_barrier();
		if (peer.page->header == asked)
			fail(STATUS_NO_ANSWER, "no answer from the runner: it is dead", "");
		if (caught)
			leave(128 + caught);
		return peer.page->header;
	}
	if (answered(command == LINK_RUN || command == LINK_CYCLE))
		return peer.page->answer;
	int number = caught;
	caught = 0;
	ask(LINK_ABORT, NULL, 0);
	answered(false);
	caught = number;
	leave(128 + number);
}

static void must(enum link_command command, const void *data, size_t size)
{
	ask(command, data, size);
	uint32_t answer = answer_of(command);
	if (answer == LINK_TOO_LARGE && !doorbell)
		fail(STATUS_TOO_LARGE, "module, argument or cycle too large for the runner", "");
	if (answer != LINK_OK)
		fail(STATUS_NO_ANSWER, "the runner refuses request ", text_of(command));
}

/* What the guest has written leaves the line before the runner writes on it. */
static void drain_terminal(void)
{
	int terminal = open("/dev/tty", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	ioctl(terminal < 0 ? STDOUT_FILENO : terminal, TCSBRK, 1L);
	if (terminal >= 0)
		close(terminal);
}

/* -- commands --------------------------------------------------------------------------------- */

struct options {
	const char *output, *device;
	uint64_t count, warm_up, limit_ms, priority, period_ns, partition;
};

/* Locks the memory and takes SCHED_FIFO with `priority`, if there is one. */
static void schedule(int priority)
{
	if (!priority)
		return;
	KERNEL4(SYS_mlockall, MCL_CURRENT | MCL_FUTURE, 0, 0, 0);
	if (KERNEL4(SYS_sched_setscheduler, 0, SCHED_FIFO, &priority, 0) < 0)
		fail(STATUS_NO_PRIORITY, "the kernel refuses priority ", text_of(priority));
}

/* The whole module in memory, so that no file is read while it is sent. */
static const uint8_t *map_module(const char *path, uint64_t *bytes)
{
	struct stat about;
	const uint8_t *module = NULL;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || KERNEL4(SYS_fstat, file, &about, 0, 0) < 0 || !S_ISREG(about.st_mode))
		fail(STATUS_NO_FILE, "no such module: ", path);
	*bytes = about.st_size;
	if (*bytes)
		module = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	if (module == MAP_FAILED)
		fail(STATUS_NO_FILE, "cannot read ", path);
	close(file);
	return module;
}

static void send_module(const uint8_t *module, uint64_t bytes)
{
	size_t part = doorbell ? LINK_PART : LINK_BULK;
	uint64_t begin = link_ticks();
	must(LINK_RESET_BUFFER, &bytes, sizeof bytes);
	for (size_t step; bytes; module += step, bytes -= step) {
		step = bytes < part ? bytes : part;
		must(step > LINK_PART ? LINK_SEND_BULK : LINK_SEND_PART, module, step);
	}
	must(LINK_SEND_DONE, NULL, 0);
	output->transfer = link_ticks() - begin;
}

/* One execution, with its times and its verdict (0: the answer does not tell). */
static void execute(struct execution *record)
{
	volatile struct link_page *page = peer.page;
	if (!doorbell)
		must(LINK_HELLO, NULL, 0); /* so that the runner has prepared all */
	record->request = link_ticks();
	ask(LINK_RUN, NULL, 0);
	uint32_t answer = answer_of(LINK_RUN);
	record->answer = link_ticks();
	if (doorbell) { /* its word is the exit code, or an error's number */
		record->verdict = answer ? 0 : LINK_EXITED;
		record->code = answer;
		return;
	}
	if (answer != LINK_OK)
		fail(STATUS_NO_ANSWER, "the runner refuses to run with answer ", text_of(answer));
	record->start = page->start_ticks;
	record->end = page->end_ticks;
	record->verdict = page->verdict;
	record->code = page->code;
	record->output_bytes = page->output_bytes;
	record->output_crc = page->output_crc;
}

static int run(const struct options *options, char **arguments)
{
	bool reference = !strcmp(options->device, "reference");
	size_t longest = reference ? LINK_PART : UIO_ARGUMENT;
	uint64_t bytes;
	const uint8_t *module = map_module(arguments[0], &bytes);
	for (char **argument = arguments + 1; *argument; argument++)
		if (strlen(*argument) > longest)
			fail(STATUS_TOO_LARGE, "an argument is longer than ", text_of(longest));
	struct execution *records = create(options->output, EXECUTIONS, options->count, sizeof *records);
	if (reference)
		open_reference();
	else
		open_uio(options->device);
	send_module(module, bytes);
	if (!doorbell)
		must(LINK_SET_LIMIT, &options->limit_ms, sizeof options->limit_ms);
	for (char **argument = arguments + 1; *argument; argument++)
		must(LINK_SET_ARG, *argument, strlen(*argument));
	drain_terminal();
	schedule(options->priority);
	while (output->done < options->count) {
		struct execution now = {0};
		execute(&now);
		bool warm = output->warmed_up == options->warm_up;
		if (warm || now.verdict != LINK_EXITED)
			records[output->done++] = now;
		else
			output->warmed_up++;
		if (now.verdict != LINK_EXITED)
			return !now.verdict ? STATUS_UNCLEAR
			       : now.verdict < LINK_ABORTED ? STATUS_NOT_LOADED + now.verdict - LINK_NOT_LOADED
							    : STATUS_FAULTED;
	}
	return 0;
}

static void cycle_partition(const struct options *options, uint32_t *late)
{
	open_reference();
	must(LINK_ABORT, NULL, 0);
	while (output->done < options->count) {
		uint32_t left = options->count - output->done, count = left < LINK_CYCLES ? left : LINK_CYCLES;
		struct link_cycle batch = {options->period_ns, count, options->priority};
		must(LINK_CYCLE, &batch, sizeof batch);
		if (peer.page->verdict != LINK_EXITED)
			fail(STATUS_FAULTED, "the loop in the partition ended with verdict ", text_of(peer.page->verdict));
		link_get(late + output->done, peer.page->bulk, count * sizeof *late);
		output->done += count;
	}
}

static int cycle(const struct options *options)
{
	if (options->period_ns < LINK_PERIOD_MIN || options->period_ns > LINK_PERIOD_MAX)
		fail(STATUS_BAD_USE, "--period-ns wants 10 us to 10 s: ", text_of(options->period_ns));
	if (options->partition && !options->priority)
		fail(STATUS_BAD_USE, "--partition wants a ", "--priority");
	uint32_t *late = create(options->output, CYCLES, options->count, sizeof *late);
	if (options->partition) {
		cycle_partition(options, late);
		return 0;
	}
	schedule(options->priority);
	while (output->done < options->count && !caught) { /* in batches: clock and counter may drift apart */
		uint32_t left = options->count - output->done;
		cycle_run(options->period_ns, left < LINK_CYCLES ? left : LINK_CYCLES, late + output->done, &output->done);
	}
	return caught ? 128 + caught : 0;
}

static int counter(const struct options *options)
{
	uint32_t *steps = create(options->output, COUNTER, options->count, sizeof *steps);
	for (uint64_t before = link_ticks(); output->done < options->count && !caught; output->done++) {
		uint64_t now = link_ticks();
		steps[output->done] = now - before < UINT32_MAX ? now - before : UINT32_MAX;
		before = link_ticks();
	}
	return caught ? 128 + caught : 0;
}

/* The number that `text` begins with, `most` at most; sets `end` behind it, to `text` where there is none. */
static uint64_t leading_number(const char *text, uint64_t most, const char **end)
{
	uint64_t value = 0;
	for (*end = text; **end >= '0' && **end <= '9'; ++*end) {
		uint64_t digit = **end - '0';
		if (digit > most || value > (most - digit) / 10) {
			*end = text;
			return 0;
		}
		value = value * 10 + digit;
	}
	return value;
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		fail(STATUS_NO_OUTPUT, "cannot write ", "the answers");
}

struct request {
	uint64_t command, size, number;
	bool numbered;
};

static struct request request_of(const char *text)
{
	struct request made;
	const char *colon, *equals, *end;
	made.command = leading_number(text, UINT16_MAX, &colon);
	if (colon == text || *colon != ':')
		fail(STATUS_BAD_USE, "no COMMAND:SIZE[=NUMBER]: ", text);
	made.size = leading_number(colon + 1, UINT16_MAX, &equals);
	end = equals;
	made.numbered = *equals == '=';
	if (made.numbered)
		made.number = leading_number(equals + 1, UINT64_MAX, &end);
	if (equals == colon + 1 || *end || (made.numbered && end == equals + 1))
		fail(STATUS_BAD_USE, "no COMMAND:SIZE[=NUMBER]: ", text);
	return made;
}

/*
 * Sends requests just as they are given, right or wrong, and tells the answers, a line each. SIZE goes into the
 * header whatever it is; the data is NUMBER where there is one, else bytes of 0xa5. A run ends after --limit-ms
 * (on the reference).
 */
static int requests(const struct options *options, char **wanted)
{
	static uint8_t pattern[LINK_BULK];
	memset(pattern, 0xa5, sizeof pattern);
	for (char **text = wanted; *text; text++)
		request_of(*text); /* all is good before any is sent */
	if (strcmp(options->device, "reference"))
		open_uio(options->device);
	else
		open_reference();
	for (char **text = wanted; *text; text++) {
		struct request next = request_of(*text);
		size_t room = next.command == LINK_SEND_BULK && !doorbell ? LINK_BULK : LINK_PART;
		if (next.numbered)
			room = sizeof next.number;
		if (next.command == LINK_RUN && !doorbell)
			must(LINK_SET_LIMIT, &options->limit_ms, sizeof options->limit_ms);
		send(next.command, next.size, next.numbered ? (void *)&next.number : pattern,
		     next.size < room ? next.size : room);
		const char *answer = text_of(answer_of(next.command));
		if (write(STDOUT_FILENO, answer, strlen(answer)) < 0 || write(STDOUT_FILENO, "\n", 1) < 0)
			fail(STATUS_NO_OUTPUT, "cannot write ", "the answers");
	}
	return 0;
}

static void on_signal(int number)
{
	caught = number;
}

static uint64_t number_of(const char *text, uint64_t least, uint64_t most)
{
	const char *end;
	uint64_t value = leading_number(text, most, &end);
	if (end == text || *end || value < least)
		fail(STATUS_BAD_USE, "not a number, or out of range: ", text);
	return value;
}

static char **parse(char **arguments, struct options *options)
{
	const struct {
		const char *name;
		uint64_t *value, least, most;
	} numbers[] = {
		{"--count", &options->count, 1, COUNT_MAX},
		{"--warm-up", &options->warm_up, 0, COUNT_MAX},
		{"--limit-ms", &options->limit_ms, 0, UINT32_MAX},
		{"--priority", &options->priority, 0, LINK_PRIORITY_MAX},
		{"--period-ns", &options->period_ns, 0, UINT64_MAX / 20},
		{"--partition", &options->partition, 0, 1},
	};
	for (; arguments[0] && arguments[0][0] == '-' && arguments[0][1] == '-'; arguments += 2) {
		const char *name = arguments[0];
		size_t i = 0;
		if (!arguments[1])
			fail(STATUS_BAD_USE, "a value is missing after ", name);
		while (i < sizeof numbers / sizeof *numbers && strcmp(name, numbers[i].name))
			i++;
		if (i < sizeof numbers / sizeof *numbers)
			*numbers[i].value = number_of(arguments[1], numbers[i].least, numbers[i].most);
		else if (!strcmp(name, "--output"))
			options->output = arguments[1];
		else if (!strcmp(name, "--device"))
			options->device = arguments[1];
		else
			fail(STATUS_BAD_USE, "unknown option ", name);
	}
	return arguments;
}

__attribute__((used)) static _Noreturn void start(long *stack)
{
	char **arguments = (char **)stack + 1; /* the kernel's: count, arguments, NULL */
	struct options options = {.device = "reference", .count = 1000};
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		handle(signals[i], on_signal);
	const char *command = stack[0] > 1 ? arguments[1] : "";
	char **rest = stack[0] > 1 ? parse(arguments + 2, &options) : arguments + 1;
	if (options.output && !strcmp(command, "run") && rest[0])
		leave(run(&options, rest));
	if (options.output && !strcmp(command, "cycle") && !rest[0])
		leave(cycle(&options));
	if (options.output && !strcmp(command, "counter") && !rest[0])
		leave(counter(&options));
	if (!strcmp(command, "requests") && rest[0])
		leave(requests(&options, rest));
	fail(STATUS_BAD_USE, "", USAGE);
}

__asm__(".global _start\n_start: mov x29, 0\nmov x30, 0\nmov x0, sp\nb start\n");
