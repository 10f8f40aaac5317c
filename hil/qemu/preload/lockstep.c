/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps QEMU's console in lock step with virtual time, inside QEMU's process (LD_PRELOAD; stock QEMU, -icount).
 *
 * QEMU sends each byte of the guest's UART with sendmsg(), in the thread of the virtual CPU, at an exact virtual
 * instant. After a byte that ends a line or a prompt, sendmsg() does not return before the host has answered with the
 * bytes to type, if any. Virtual time stands still meanwhile, so typed bytes arrive at a virtual instant that depends
 * on guest and seed only: up to 10 ms after the pause, at the pace of 115200 baud, by a timer of virtual time.
 *
 * The host gives each stretch of virtual time a limit. A machine without a pause by then pauses at exactly the limit.
 * A stopped or restored machine pauses before it continues. The monitor's `stop` takes effect at an exact instant when
 * the host answers a pause with HOLD: directly after its byte.
 *
 * Environment: HIL_LOCKSTEP="CONSOLE_FD CONTROL_FD STAMPS_FD SEED [PROMPT...]", prompts in hexadecimal. "probe" only
 * reports on stderr: "lock step", or with status 3 the symbol that this QEMU does not export. HIL_WIRES: see wires.c.
 * CONTROL_FD, a stream socket: a `struct report` to the host for each pause; from the host the virtual instant of the
 * limit (u64), the number of bytes to type (u32; 0 for none) and the bytes. Instead of the number of bytes: HOLD;
 * WIRES, with as many commands to the wires as the limit says; REPORT. The pause lasts beyond these two. A message
 * outside of a pause is handled as soon as possible and counted, unless it is for the wires and of a later instant:
 * the run is not exact any more.
 * STAMPS_FD: text, `virtual ns <TAB> offset` of the first and the last byte of each line.
 *
 * A machine in real time has CONSOLE_FD -1 and no pauses: the main thread takes messages at once.
 */
#define _GNU_SOURCE
#include "qemu.h"
#include "wires.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BYTE_NS = 86806,      /* 10 bits at 115200 baud */
	THINK_NS = 10000000,  /* longest delay of typed bytes after the pause */
	LOOK_NS = 10000000,   /* period of looking for messages while there is no output */
	DUE_NS = 5000000,     /* period in which the main thread looks for due timers of host time */
	PROMPTS = 16,
	PROMPT_MAX = 64,
};
#define HOLD UINT32_MAX         /* continue only up to the stop by the main thread */
#define WIRES (UINT32_MAX - 1)  /* commands to the wires follow */
#define REPORT (UINT32_MAX - 2) /* report once more */

struct report {
	uint64_t offset;     /* bytes put out so far; in real time what is reported: an edge, the id of a timer */
	uint64_t virtual_ns;
	uint64_t loose;      /* messages outside of pauses */
};

/* QEMU's functions that only this file uses; `qemu.h` has the others. */
int64_t (*clock_get_ns)(int);
void (*timer_init)(void *, void *, int, int, int, void (*)(void *), void *);
void (*timer_set)(void *, int64_t);
void *(*get_cpu)(int);
void (*queue_work)(void *, void (*)(void *, union work), union work);
const char *missing;
static int (*set_fd_handler)(int, void (*)(void *), void (*)(void *), void *);
static void *(*chr_find)(const char *);
static int (*chr_can_write)(void *);
static void (*chr_write)(void *, const uint8_t *, int);
static void (*lock)(const char *, int);
static void (*unlock)(void);
static bool (*locked)(void);
static bool (*running)(void);
static int64_t (*deadline_ns)(int, int);
static ssize_t (*next_sendmsg)(int, const struct msghdr *, int);
static int (*next_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*next_cond_wait)(pthread_cond_t *, pthread_mutex_t *);
static int (*next_cond_signal)(pthread_cond_t *);
static int (*next_cond_broadcast)(pthread_cond_t *);

static int console = -1, control = -1, stamps = -1;
static void *chardev;
static struct timer feeder, watcher, limiter;
static int64_t limit_ns = INT64_MAX;
static char prompt[PROMPTS][PROMPT_MAX];
static size_t prompt_length[PROMPTS], prompts;
static char recent[PROMPT_MAX]; /* the last bytes put out */
static uint64_t offset, loose, chance;
static bool line_start = true;
static uint8_t *typed; /* not yet passed to the UART */
static size_t typed_at, typed_end;

_Noreturn void die(const char *what)
{
	fprintf(stderr, "lockstep: %s\n", what);
	_exit(3);
}

void *find_symbol(const char *name, const char *other)
{
	void *found = dlsym(RTLD_DEFAULT, name);
	if (!found && other)
		found = dlsym(RTLD_DEFAULT, other);
	if (!found && !missing)
		missing = name;
	return found;
}

static void find_symbols(void)
{
	clock_get_ns = find_symbol("qemu_clock_get_ns", NULL);
	chr_find = find_symbol("qemu_chr_find", NULL);
	chr_can_write = find_symbol("qemu_chr_be_can_write", NULL);
	chr_write = find_symbol("qemu_chr_be_write", NULL);
	timer_init = find_symbol("timer_init_full", NULL);
	timer_set = find_symbol("timer_mod_ns", NULL);
	lock = find_symbol("bql_lock_impl", "qemu_mutex_lock_iothread_impl");
	unlock = find_symbol("bql_unlock", "qemu_mutex_unlock_iothread");
	locked = find_symbol("bql_locked", "qemu_mutex_iothread_locked");
	running = find_symbol("runstate_is_running", NULL);
	deadline_ns = find_symbol("qemu_clock_deadline_ns_all", NULL);
	get_cpu = find_symbol("qemu_get_cpu", NULL);
	queue_work = find_symbol("async_run_on_cpu", NULL);
	set_fd_handler = find_symbol("qemu_set_fd_handler", NULL);
	if (missing) {
		fprintf(stderr, "this QEMU does not export %s\n", missing);
		_exit(3);
	}
}

static void read_exactly(void *to, size_t bytes)
{
	for (char *at = to; bytes;) {
		ssize_t got = read(control, at, bytes);
		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
		} else if (got == 0 || errno != EINTR) {
			die("the host is gone");
		}
	}
}

static void stamp(uint64_t at)
{
	dprintf(stamps, "%lld\t%llu\n", (long long)clock_get_ns(VIRTUAL), (unsigned long long)at);
}

/* SplitMix64 (Steele et al. 2014). */
static uint64_t next_chance(void)
{
	uint64_t z = chance += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/*
 * Turns: main thread and processor thread alternate. When the guest waits for an interrupt, QEMU's main thread sets
 * virtual time forward to the next timer. It may see the halted processor before the processor thread has accounted
 * for its last instructions, and then sets time too far by these (seen with 7.2, one long input in ten on an overloaded
 * host). So the main thread leaves its poll only while the processor thread waits, with everything accounted for: until
 * it is woken, or until the host has answered. The monitor waits while the guest computes. The processor executes
 * nothing while a timer of host time is due, so the main thread may then serve that timer.
 */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static pthread_cond_t *halted; /* the condition that the processor thread waits for; NULL while it runs */
static pid_t processor;        /* its thread id */
static bool pausing, main_at_work;
static bool main_waits;        /* for the stop of the processor */

static bool in_main_thread(void)
{
	return gettid() == getpid();
}

static void set_main(bool at_work, bool waits)
{
	pthread_mutex_lock(&turn);
	main_at_work = at_work;
	main_waits = waits;
	next_cond_broadcast(&turned);
	pthread_mutex_unlock(&turn);
}

/* In the processor thread, without QEMU's lock: waits until the main thread waits for the stop. */
static void await_stop(void)
{
	unlock();
	pthread_mutex_lock(&turn);
	pausing = true;
	next_cond_broadcast(&turned);
	while (!main_waits)
		next_cond_wait(&turned, &turn);
	pausing = false;
	pthread_mutex_unlock(&turn);
	lock(__FILE__, __LINE__);
}

static void report(uint64_t first)
{
	struct report report = {first, (uint64_t)clock_get_ns(VIRTUAL), loose};
	if (write(control, &report, sizeof report) != sizeof report)
		die("the host is gone");
}

/* Takes `count` commands for the wires. Returns how many came too late. */
static uint64_t take_commands(uint64_t count)
{
	struct signal commands[256];
	uint64_t late = 0, arrival = (uint64_t)clock_get_ns(VIRTUAL);
	while (count) {
		size_t piece = count < 256 ? (size_t)count : 256;
		read_exactly(commands, piece * sizeof *commands);
		for (size_t i = 0; i < piece; i++) {
			if (commands[i].ns & AFTER)
				commands[i].ns = arrival + (commands[i].ns & ~AFTER);
			late += wires_command(&commands[i]) || !commands[i].ns;
		}
		count -= piece;
	}
	return late;
}

static void type(size_t bytes)
{
	memmove(typed, typed + typed_at, typed_end - typed_at);
	typed_end -= typed_at;
	typed_at = 0;
	typed = realloc(typed, typed_end + bytes);
	if (!typed)
		die("no memory for what is typed");
	bool idle = !typed_end;
	read_exactly(typed + typed_end, bytes);
	typed_end += bytes;
	if (idle)
		timer_set(&feeder, clock_get_ns(VIRTUAL) + BYTE_NS + (int64_t)(next_chance() % THINK_NS));
}

/* Waits for one message of the host and handles it. Returns whether it ends a pause. */
static bool take_message(bool in_pause)
{
	uint64_t limit;
	uint32_t bytes;
	read_exactly(&limit, sizeof limit);
	read_exactly(&bytes, sizeof bytes);
	if (bytes == WIRES) {
		uint64_t late = take_commands(limit);
		loose += !in_pause && late;
		return false;
	}
	if (bytes == REPORT) {
		report(offset);
		return false;
	}
	loose += !in_pause;
	if (bytes == HOLD) {
		await_stop();
		return true;
	}
	limit_ns = limit < INT64_MAX ? (int64_t)limit : INT64_MAX;
	if (limit_ns < INT64_MAX)
		timer_set(&limiter, limit_ns);
	if (bytes)
		type(bytes);
	return true;
}

static bool message_waits(void)
{
	struct pollfd ready = {.fd = control, .events = POLLIN};
	return poll(&ready, 1, 0) > 0;
}

/* Messages outside of a pause: handled at an arbitrary virtual instant. */
static void take_loose(void)
{
	while (message_waits())
		take_message(false);
}

/* Fills the UART's FIFO, as a sender does before the guest has served its interrupt; some versions of QEMU count its room
 * only as none or one. */
static void feed(void *unused)
{
	(void)unused;
	int fed = 0;
	for (int room; typed_at < typed_end && (room = chr_can_write(chardev)) > 0;) {
		int left = (int)(typed_end - typed_at), bytes = room < left ? room : left;
		chr_write(chardev, typed + typed_at, bytes);
		typed_at += (size_t)bytes;
		fed += bytes;
	}
	if (typed_at < typed_end)
		timer_set(&feeder, clock_get_ns(VIRTUAL) + BYTE_NS * (int64_t)(fed > 0 ? fed : 1));
}

static void watch(void *unused)
{
	(void)unused;
	take_loose();
	timer_set(&watcher, clock_get_ns(VIRTUAL) + LOOK_NS);
}

static void wait_for_host(void);

static bool edge_waits; /* for the pause after its instruction */

static void pause_if_due(void *cpu, union work unused)
{
	(void)cpu, (void)unused;
	if (edge_waits || clock_get_ns(VIRTUAL) >= limit_ns)
		wait_for_host();
}

static void no_work(void *cpu, union work unused)
{
	(void)cpu, (void)unused;
}

/*
 * Makes the processor thread pause before its next instruction. The second work item keeps the main thread from setting
 * virtual time forward meanwhile: it does not while work is queued for the processor.
 */
static void pause_soon(void)
{
	union work nothing = {NULL};
	queue_work(get_cpu(0), pause_if_due, nothing);
	queue_work(get_cpu(0), no_work, nothing);
}

static void reach_limit(void *unused)
{
	(void)unused;
	if (clock_get_ns(VIRTUAL) >= limit_ns) /* else the limit of an earlier stretch */
		pause_soon();
}

void wires_report(uint64_t reason)
{
	if (console < 0) {
		report(reason);
		return;
	}
	edge_waits = true;
	pause_soon();
}

static void start(void)
{
	chardev = chr_find("hil-console");
	if (!chardev)
		die("there is no console hil-console");
	timer_make(&feeder, feed);
	timer_make(&watcher, watch);
	timer_make(&limiter, reach_limit);
	timer_set(&watcher, clock_get_ns(VIRTUAL) + LOOK_NS);
}

static bool decision_point(char byte)
{
	if (byte == '\n')
		return true;
	for (size_t i = 0; i < prompts; i++)
		if (offset >= prompt_length[i] &&
		    memcmp(recent + sizeof recent - prompt_length[i], prompt[i], prompt_length[i]) == 0)
			return true;
	return false;
}

/* Begins the pause, or ends it after the current work of the main thread. */
static void set_pausing(bool value)
{
	pthread_mutex_lock(&turn);
	pausing = value;
	next_cond_broadcast(&turned);
	while (!value && main_at_work)
		next_cond_wait(&turned, &turn);
	pthread_mutex_unlock(&turn);
}

/* Virtual time stands still in here. Runs without QEMU's lock, so that the monitor answers. */
static void wait_for_host(void)
{
	if (!chardev)
		start();
	limit_ns = INT64_MAX;
	edge_waits = false;
	report(offset);
	struct pollfd ready = {.fd = control, .events = POLLIN};
	do {
		unlock();
		set_pausing(true);
		while (poll(&ready, 1, -1) < 0 && errno == EINTR)
			;
		set_pausing(false);
		lock(__FILE__, __LINE__);
	} while (!take_message(true));
}

__attribute__((visibility("default"))) int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *limit,
						 const sigset_t *mask)
{
	if (console < 0 || !in_main_thread() || locked()) /* locked: in the middle of its work */
		return next_ppoll(fds, count, limit, mask);
	set_main(false, false);
	int ready = next_ppoll(fds, count, limit, mask), error = errno;
	pthread_mutex_lock(&turn);
	while (processor && !halted && !pausing && deadline_ns(REALTIME, -1) != 0) {
		struct timespec look;
		clock_gettime(CLOCK_MONOTONIC, &look);
		look.tv_nsec += DUE_NS;
		look.tv_sec += look.tv_nsec / 1000000000;
		look.tv_nsec %= 1000000000;
		pthread_cond_clockwait(&turned, &turn, CLOCK_MONOTONIC, &look);
	}
	main_at_work = true;
	pthread_mutex_unlock(&turn);
	errno = error;
	return ready;
}

__attribute__((visibility("default"))) int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
	if (console < 0)
		return next_cond_wait(condition, mutex);
	if (in_main_thread()) {
		set_main(false, true);
		int result = next_cond_wait(condition, mutex);
		set_main(true, false);
		return result;
	}
	pthread_mutex_lock(&turn);
	if (!processor)
		processor = gettid(); /* the first to wait: for the start of the machine */
	bool ours = processor == gettid();
	if (ours) {
		halted = condition;
		next_cond_broadcast(&turned);
	}
	pthread_mutex_unlock(&turn);
	bool stopped = ours && !running();
	int result = next_cond_wait(condition, mutex);
	if (stopped && running())
		wait_for_host();
	return result;
}

/* Ends the wait in the waking thread, not later when the processor thread is scheduled. */
static void note_wake(const pthread_cond_t *condition)
{
	pthread_mutex_lock(&turn);
	if (halted == condition)
		halted = NULL;
	pthread_mutex_unlock(&turn);
}

__attribute__((visibility("default"))) int pthread_cond_signal(pthread_cond_t *condition)
{
	if (console >= 0)
		note_wake(condition);
	return next_cond_signal(condition);
}

__attribute__((visibility("default"))) int pthread_cond_broadcast(pthread_cond_t *condition)
{
	if (console >= 0)
		note_wake(condition);
	return next_cond_broadcast(condition);
}

static void put_out(char byte)
{
	if (!chardev)
		start();
	if (line_start)
		stamp(offset);
	struct iovec piece = {&byte, 1};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	while (next_sendmsg(console, &message, 0) != 1) { /* a full socket: wait for the reader, unnoticed by the guest */
		struct pollfd room = {.fd = console, .events = POLLOUT};
		if (errno != EAGAIN && errno != EINTR)
			return;
		poll(&room, 1, -1);
	}
	memmove(recent, recent + 1, sizeof recent - 1);
	recent[sizeof recent - 1] = byte;
	if (byte == '\n')
		stamp(offset);
	offset++;
	line_start = byte == '\n';
	if (decision_point(byte))
		wait_for_host();
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (fd != console || fd < 0)
		return next_sendmsg(fd, message, flags);
	ssize_t sent = 0;
	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const char *bytes = message->msg_iov[i].iov_base;
		for (size_t k = 0; k < message->msg_iov[i].iov_len; k++, sent++)
			put_out(bytes[k]);
	}
	return sent;
}

static void read_prompt(const char *digits)
{
	size_t length = strlen(digits) / 2;
	if (!length || length > PROMPT_MAX || prompts == PROMPTS)
		die("a prompt is too long, or there are too many");
	for (size_t i = 0; i < length; i++) {
		char two[3] = {digits[2 * i], digits[2 * i + 1], 0};
		prompt[prompts][i] = (char)strtoul(two, NULL, 16);
	}
	prompt_length[prompts++] = length;
}

/* The C library's function. Some architectures have two versions of the condition functions. */
static void *following(const char *name)
{
	void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
	return found ? found : dlsym(RTLD_NEXT, name);
}

/* In the main thread of a machine in real time. */
static void on_message(void *unused)
{
	char first;
	(void)unused;
	if (recv(control, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		set_fd_handler(control, NULL, NULL, NULL); /* the host is gone */
	else
		take_loose();
}

void wires_ready(void)
{
	if (console < 0)
		set_fd_handler(control, on_message, NULL, NULL);
}

__attribute__((constructor)) static void load(void)
{
	char *setting = getenv("HIL_LOCKSTEP"), *wires = getenv("HIL_WIRES"), *rest;
	next_sendmsg = following("sendmsg");
	next_ppoll = following("ppoll");
	next_cond_wait = following("pthread_cond_wait");
	next_cond_signal = following("pthread_cond_signal");
	next_cond_broadcast = following("pthread_cond_broadcast");
	if (!setting)
		return;
	if (!dlsym(RTLD_DEFAULT, "qemu_chr_find") && strcmp(setting, "probe") != 0)
		return; /* a program that executes QEMU */
	find_symbols();
	if (strcmp(setting, "probe") == 0) {
		fputs("lock step\n", stderr);
		wires_load(NULL, true);
		return;
	}
	setting = strdup(setting);
	int *fds[] = {&console, &control, &stamps};
	size_t word = 0;
	for (char *next = strtok_r(setting, " ", &rest); next; next = strtok_r(NULL, " ", &rest), word++) {
		if (word < 3)
			*fds[word] = atoi(next);
		else if (word == 3)
			chance = strtoull(next, NULL, 10);
		else
			read_prompt(next);
	}
	free(setting);
	if (word < 4)
		die("HIL_LOCKSTEP names too little");
	if (wires)
		wires_load(wires, false);
	unsetenv("LD_PRELOAD");
	unsetenv("HIL_LOCKSTEP");
	unsetenv("HIL_WIRES");
	unsetenv("HIL_CAN");
}
