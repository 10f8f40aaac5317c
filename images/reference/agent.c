/* SPDX-License-Identifier: Apache-2.0 */
/* The agent: hands a module to the runner and tells how it ended. See usage(). */
#define _GNU_SOURCE
#include "agent.h"
#include "link.h"
#include "pins.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>

enum {
	HELLO_MS = 2000,
	LOCK_S = 60,         /* another agent's whole deployment */
	HEARTBEAT_MS = 5000, /* a runner whose heartbeat stands still so long is dead */
	LOOK_MS = 100,       /* so often without an event */
	NONCE_MAX = 64,
};

static const char LOCK_FILE[] = "/run/wasmedge_emit.lock";

struct link peer = {.event = -1, .bell = -1};
static uint32_t seq, epoch;
static volatile sig_atomic_t caught;
static sigset_t unblocked; /* while waiting */

static void usage(FILE *to)
{
	fputs("Usage: wasmedge_emit [--seal=NONCE] [--limit=MS] [--pins=NAME,...] [--env=NAME=VALUE]...\n"
	      "                     [--dir=DIRECTORY:NAME[:rw]]... wasm-file [args...]\n"
	      "       wasmedge_emit --hello[=MS]\n"
	      "       wasmedge_emit --entropy=HEX\n"
	      "\n"
	      "emit wasm file to the runner\n"
	      "\n"
	      "  --seal=NONCE  end with a line that carries NONCE, verdict, length and CRC of the output, times\n"
	      "  --limit=MS    end the module after so many milliseconds (0: never)\n"
	      "  --pins=NAMES  let the module use these pins and channels, commas in between (without it: none)\n"
	      "  --env=NAME=VALUE\n"
	      "                a variable of the module's environment\n"
	      "  --dir=DIRECTORY:NAME[:rw]\n"
	      "                let the module use a copy of this directory, which it calls NAME (no colon in it);\n"
	      "                with rw it may change the copy, and the directory gets its files after the run\n"
	      "  --hello[=MS]  ask the runner who it is; wait for it at most so long (2000)\n"
	      "  --entropy=HEX add random bytes (1 to 64) to this kernel's and to the runner's random numbers\n"
	      "\n"
	      "Exit status: the module's (0..239; larger ones become 239), or\n"
	      "  240 not loaded, 241 not instantiated, 242 trap or no usable _start, 243 limit exceeded,\n"
	      "  244 runner fault, 245 no answer from the runner, 246 another agent is busy,\n"
	      "  247 module, argument or directory too large, 248 the files of the module were not written,\n"
	      "  255 no such file, 128+N ended by signal N\n",
	      to);
}

_Noreturn void die(int status, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fflush(stdout);
	fputs("wasmedge_emit: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	exit(status);
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* -- requests --------------------------------------------------------------------------------- */

static void on_signal(int number)
{
	caught = number;
}

static void request(enum link_command command, const void *data, size_t size)
{
	volatile struct link_page *page = peer.page;
	epoch = page->epoch;
	seq = page->request_seq + 1;
	link_put(link_is_bulk(command) ? page->bulk : page->data, data, size);
	page->header = command | size << 16;
	link_publish(&peer, &page->request_seq, seq);
}

enum outcome { ANSWERED, TIMED_OUT, LOST, INTERRUPTED };

/*
 * Waits for the answer to the last request: `limit_ms` at most, or, when 0, as long as the runner's
 * heartbeat goes on.
 */
static enum outcome wait_answer(uint64_t limit_ms)
{
	volatile struct link_page *page = peer.page;
	uint64_t since = now_ms();
	uint32_t beat = page->heartbeat;
	while (page->answer_seq != seq) {
		struct pollfd wake = {.fd = peer.event, .events = POLLIN};
		struct timespec look = {.tv_nsec = LOOK_MS * 1000000};
		int ready = ppoll(&wake, 1, &look, &unblocked);
		if (caught)
			return INTERRUPTED;
		link_take_event(&peer);
		if (page->epoch != epoch || page->request_seq != seq)
			return LOST;
		if (!limit_ms && page->heartbeat != beat) {
			beat = page->heartbeat;
			since = now_ms();
		}
		if (now_ms() - since > (limit_ms ? limit_ms : HEARTBEAT_MS))
			return TIMED_OUT;
		if (ready == 0)
			link_notify(&peer); /* costs nothing, and no event may be lost for good */
	}
	link_barrier();
	return ANSWERED;
}

/* What the guest has written leaves the line before the runner writes on it. */
static void drain_terminal(void)
{
	int terminal = open("/dev/tty", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	tcdrain(terminal < 0 ? STDOUT_FILENO : terminal);
	if (terminal >= 0)
		close(terminal);
}

static void close_event(void)
{
	close(peer.event);
}

/* Percent-encodes all but the unreserved characters. */
static void encode(char *to, size_t room, const char *text)
{
	for (; *text && room > 3; text++) {
		bool plain = (*text | 32) >= 'a' && (*text | 32) <= 'z';
		plain = plain || (*text >= '0' && *text <= '9') || strchr("-._~", *text);
		int used = sprintf(to, plain ? "%c" : "%%%02X", plain ? *text : (unsigned char)*text);
		to += used;
		room -= used;
	}
	*to = 0;
}

static void print_seal(const char *nonce, uint64_t transfer, uint64_t run)
{
	volatile struct link_page *page = peer.page;
	uint32_t verdict = page->verdict;
	char reason[sizeof page->reason], encoded_reason[3 * sizeof reason + 1], encoded_nonce[3 * NONCE_MAX + 1];
	char line[1024];
	link_get_text(reason, page->reason, sizeof reason);
	encode(encoded_reason, sizeof encoded_reason, reason);
	encode(encoded_nonce, sizeof encoded_nonce, nonce);
	int used = snprintf(line, sizeof line,
			    "hil-seal v=1 nonce=%s verdict=%s code=%u reason=%s bytes=%llu crc32=%08X transfer=%llu run=%llu hz=%llu",
			    encoded_nonce,
			    verdict == LINK_EXITED ? "exited" : verdict == LINK_FAULTED ? "faulted" : "failed", page->code,
			    encoded_reason, (unsigned long long)page->output_bytes, page->output_crc,
			    (unsigned long long)transfer, (unsigned long long)run,
			    (unsigned long long)link_ticks_per_second());
	printf("%s sum=%08X\n", line, link_crc(0, line, used));
}

/* The run that a signal may end. */
static struct {
	const char *nonce; /* NULL where no seal is wanted, or no run has begun */
	uint64_t transfer, start;
} begun;

/* Ends the run and goes, as the signal wants it. */
static _Noreturn void leave(void)
{
	int number = caught;
	caught = 0;
	drain_terminal(); /* of the ^C */
	request(LINK_ABORT, NULL, 0);
	if (wait_answer(ANSWER_MS) == ANSWERED && begun.start) {
		uint64_t run = link_ticks() - begun.start;
		begun.start = 0;
		receive_directories();
		if (begun.nonce)
			print_seal(begun.nonce, begun.transfer, run);
	}
	fflush(stdout);
	close_event();
	signal(number, SIG_DFL); /* the shell shall see that it was a signal */
	raise(number);
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
	exit(128 + number);
}

uint32_t call(enum link_command command, const void *data, size_t size, uint64_t limit_ms)
{
	request(command, data, size);
	enum outcome outcome = wait_answer(limit_ms);
	if (outcome == ANSWERED)
		return peer.page->answer;
	if (outcome == INTERRUPTED)
		leave();
	if (outcome == LOST)
		die(STATUS_NO_ANSWER, "no answer: the runner was restarted, or another program uses the page");
	die(STATUS_NO_ANSWER, "no answer from the runner (request %d): is it up?", command);
}

void must(enum link_command command, const void *data, size_t size)
{
	uint32_t answer = call(command, data, size, ANSWER_MS);
	if (answer == LINK_TOO_LARGE && command == LINK_RESET_BUFFER)
		die(STATUS_TOO_LARGE, "module too large: the runner takes %d bytes at most", LINK_MODULE_MAX);
	if (answer == LINK_TOO_LARGE && command == LINK_SET_VARIABLE)
		die(STATUS_TOO_LARGE, "too many variables: the runner takes %d, and %d bytes in all", LINK_VARIABLES,
		    LINK_VARIABLES_MAX);
	if (answer == LINK_TOO_LARGE)
		die(STATUS_TOO_LARGE, "too many arguments: the runner takes %d, and %d bytes in all", LINK_ARGUMENTS,
		    LINK_ARGUMENTS_MAX);
	if (answer != LINK_OK)
		die(STATUS_NO_ANSWER, "the runner refused request %d with answer %u: does another program use the page?",
		    command, answer);
}

/*
 * One agent at a time: that would mix modules, and a second binding of the static event makes the
 * guest's kernel oops (6.12). So the event is closed before the lock: here by close_event, and for an
 * agent that is killed by the kernel, which closes what was opened last first.
 */
static void open_link(void)
{
	struct itimerval patience = {.it_value.tv_sec = LOCK_S}, none = {0};
	int lock = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	setitimer(ITIMER_REAL, &patience, NULL);
	while (lock < 0 || flock(lock, LOCK_EX) < 0) {
		if (lock < 0 || errno != EINTR)
			die(STATUS_BUSY, "%s: %s", LOCK_FILE, strerror(errno));
		if (caught == SIGALRM)
			die(STATUS_BUSY, "another agent is busy for more than %d s", LOCK_S);
		if (caught)
			exit(128 + caught);
	}
	setitimer(ITIMER_REAL, &none, NULL);
	const char *failed = link_open(&peer, LINK_AGENT);
	if (failed)
		die(STATUS_NO_ANSWER, "%s: %s: does this machine have a runner?", failed, strerror(errno));
	atexit(close_event);
	sigset_t all;
	sigfillset(&all); /* from here a signal is seen while waiting only, so that no request is cut in two */
	sigprocmask(SIG_BLOCK, &all, &unblocked);
}

/* -- commands --------------------------------------------------------------------------------- */

static int hello(uint64_t limit_ms)
{
	char version[sizeof peer.page->version];
	open_link();
	uint64_t end = now_ms() + limit_ms;
	enum outcome outcome;
	do { /* a runner that starts in the meantime is asked again */
		request(LINK_HELLO, NULL, 0);
		uint64_t now = now_ms();
		outcome = wait_answer(end > now ? end - now : 1);
	} while (outcome == LOST);
	if (outcome == INTERRUPTED)
		return 128 + caught;
	if (outcome == TIMED_OUT)
		die(STATUS_NO_ANSWER, "no answer from the runner within %llu ms", (unsigned long long)limit_ms);
	link_get_text(version, peer.page->version, sizeof version);
	printf("%s: wasmedge %s sched=%s:%u locked=%u pid=%u free=%u runs=%u\n", link_runner(&peer), version,
	       peer.page->priority ? "FIFO" : "OTHER", peer.page->priority, peer.page->locked_kib, peer.page->pid,
	       peer.page->free_kib, peer.page->runs);
	return 0;
}

/* Returns the digit's value, or ends with an error. */
static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = digit ? strchr(digits, digit) : NULL;
	if (!at)
		die(1, "--entropy wants 1 to %d bytes in lower-case hexadecimal digits", LINK_ENTROPY_MAX);
	return at - digits;
}

/* Feeds both kernels: of a machine that is restored from a snapshot each would repeat its random numbers. */
static int add_entropy(const char *text)
{
	char bytes[LINK_ENTROPY_MAX];
	size_t size = 0;
	do {
		int high = hex_digit(*text++);
		bytes[size++] = high << 4 | hex_digit(*text++);
	} while (*text && size < sizeof bytes);
	if (*text)
		hex_digit(0);
	if (link_add_entropy(bytes, size) < 0)
		die(1, "this kernel takes no entropy: %s", strerror(errno));
	open_link();
	if (peer.bell < 0) /* else it is the same kernel */
		must(LINK_ADD_ENTROPY, bytes, size);
	return 0;
}

/* Opens the module; ends with the real agent's words when it cannot. */
static int open_module(const char *path, uint64_t *bytes)
{
	struct stat about;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &about) < 0) {
		fprintf(stderr, "open wasm file failed\n: %s\n", strerror(errno));
		exit(STATUS_NO_FILE);
	}
	if (!S_ISREG(about.st_mode)) {
		fputs("Got error code 22 on send_file.\n", stderr);
		exit(STATUS_NO_FILE);
	}
	*bytes = about.st_size;
	return file;
}

static void send_module(int file, uint64_t bytes)
{
	static char part[LINK_BULK];
	must(LINK_RESET_BUFFER, &bytes, sizeof bytes);
	while (bytes) {
		ssize_t got = read(file, part, bytes < sizeof part ? bytes : sizeof part);
		if (got <= 0) {
			fprintf(stderr, "Got error code %d on send_file.\n", got < 0 ? errno : EIO);
			exit(STATUS_NO_FILE);
		}
		must(got > LINK_PART ? LINK_SEND_BULK : LINK_SEND_PART, part, got);
		bytes -= got;
	}
	must(LINK_SEND_DONE, NULL, 0);
}

static int status_of(uint32_t verdict, uint32_t code)
{
	switch (verdict) {
	case LINK_EXITED:
		return code < STATUS_CODE_MAX ? code : STATUS_CODE_MAX;
	case LINK_NOT_LOADED:
		return STATUS_NOT_LOADED;
	case LINK_NOT_INSTANTIATED:
		return STATUS_NOT_INSTANTIATED;
	case LINK_TRAPPED:
		return STATUS_TRAPPED;
	case LINK_LIMIT:
		return STATUS_LIMIT;
	}
	return STATUS_FAULTED;
}

/* What a module is given beside its arguments. */
struct given {
	uint64_t limit_ms;
	const char *pins; /* "" for none */
	const char *variable[LINK_VARIABLES + 1];
	size_t variables;
};

static int deploy(char **arguments, const char *nonce, const struct given *given)
{
	uint64_t bytes;
	int file = open_module(arguments[0], &bytes);
	for (char **argument = arguments + 1; *argument; argument++)
		if (strlen(*argument) > LINK_PART)
			die(STATUS_TOO_LARGE, "argument %d has %zu bytes: %d at most", (int)(argument - arguments),
			    strlen(*argument), LINK_PART);
	read_directories();
	open_link();
	uint64_t begin = link_ticks();
	send_module(file, bytes);
	uint64_t sent = link_ticks();
	send_directories();
	must(LINK_SET_LIMIT, &given->limit_ms, sizeof given->limit_ms);
	if (*given->pins)
		must(LINK_SET_PINS, given->pins, strlen(given->pins));
	for (size_t i = 0; i < given->variables; i++)
		must(LINK_SET_VARIABLE, given->variable[i], strlen(given->variable[i]));
	for (char **argument = arguments + 1; *argument; argument++)
		must(LINK_SET_ARG, *argument, strlen(*argument));
	drain_terminal();
	uint64_t start = link_ticks();
	begun.nonce = nonce;
	begun.transfer = sent - begin;
	begun.start = start;
	uint32_t answer = call(LINK_RUN, NULL, 0, 0);
	uint64_t end = link_ticks();
	if (answer != LINK_OK)
		die(STATUS_NO_ANSWER, "the runner refused to run with answer %u", answer);
	begun.start = 0;
	int status = status_of(peer.page->verdict, peer.page->code);
	bool received = receive_directories();
	if (nonce)
		print_seal(nonce, sent - begin, end - start);
	return received ? status : STATUS_OUTPUTS;
}

/* The whole of `text` as a number of milliseconds; ends with an error otherwise. */
static uint64_t milliseconds(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9')
		die(1, "not a number of milliseconds: %s", text);
	return value;
}

/* The value of `option` if the argument is that option, else NULL. */
static const char *value_of(const char *argument, const char *option)
{
	size_t length = strlen(option);
	return strncmp(argument, option, length) == 0 ? argument + length : NULL;
}

int main(int count, char **arguments)
{
	static struct given given = {.pins = ""};
	const char *nonce = NULL, *value;
	struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a wait ends */
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
	for (arguments++; --count > 0 && strncmp(*arguments, "--", 2) == 0; arguments++) {
		if (strcmp(*arguments, "--help") == 0) {
			usage(stdout);
			return 0;
		}
		if (strcmp(*arguments, "--hello") == 0)
			return hello(HELLO_MS);
		if ((value = value_of(*arguments, "--hello=")))
			return hello(milliseconds(value));
		if ((value = value_of(*arguments, "--entropy=")))
			return add_entropy(value);
		if ((value = value_of(*arguments, "--pins="))) {
			if (strlen(value) > LINK_PINS_MAX || !pins_valid(value))
				die(1, "--pins wants names of 1 to %d characters, commas in between, %d characters in all",
				    PIN_NAME - 1, LINK_PINS_MAX);
			given.pins = value;
		} else if ((value = value_of(*arguments, "--env="))) {
			if (!strchr(value, '=') || *value == '=' || strlen(value) > LINK_PART)
				die(1, "--env wants NAME=VALUE, %d bytes at most", LINK_PART);
			if (given.variables == LINK_VARIABLES)
				die(STATUS_TOO_LARGE, "too many variables: the runner takes %d", LINK_VARIABLES);
			given.variable[given.variables++] = value;
		} else if ((value = value_of(*arguments, "--dir=")))
			add_directory(*arguments + (value - *arguments));
		else if ((value = value_of(*arguments, "--limit=")))
			given.limit_ms = milliseconds(value);
		else if ((value = value_of(*arguments, "--seal=")) && *value && strlen(value) <= NONCE_MAX)
			nonce = value;
		else if (value)
			die(1, "--seal wants 1 to %d characters", NONCE_MAX);
		else
			die(1, "unknown option %s (--help tells)", *arguments);
	}
	if (count <= 0) {
		usage(stdout);
		return 1;
	}
	return deploy(arguments, nonce, &given);
}
