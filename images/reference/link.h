/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agent and runner share: the layout of the page, the event and the counter.
 *
 * Between partitions the page is mapped as device memory: only aligned 32 and 64 bit accesses, so no
 * memcpy to or from it. The event merely wakes; the sequence numbers say whether there is something to
 * do, because a stale event may arrive at any time.
 *
 * Where both are processes of one Linux, the page is a file and the event a pipe for each direction.
 * The machine's init makes them before it starts either; LINK_FILE tells that they are used.
 */
#ifndef LINK_H
#define LINK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	LINK_ADDRESS = 0x20000000,     /* guest-physical, the same in both partitions */
	LINK_SIZE = 0x10000,           /* bytes */
	LINK_EVENT_PORT = 10,          /* local port of the static event channel, in both */
	LINK_PART = 4092,              /* data bytes of one request */
	LINK_BULK = LINK_SIZE - 8192,  /* of SEND_BULK */
	LINK_MODULE_MAX = 64 << 20,    /* bytes */
	LINK_ARGUMENTS_MAX = 64 << 10, /* bytes of all arguments with their NULs */
	LINK_ARGUMENTS = 256,          /* arguments without argv[0] */
	LINK_CYCLES = LINK_BULK / 4,   /* of one CYCLE */
	LINK_ENTROPY_MAX = 64,         /* bytes of ADD_ENTROPY */
	LINK_PINS_MAX = 1024,          /* bytes of SET_PINS */
	LINK_PERIOD_MIN = 10000,       /* nanoseconds */
	LINK_PRIORITY_MAX = 98,        /* of CYCLE; the kernel's own threads have 99 */
	LINK_VARIABLES = 256,          /* of the environment */
	LINK_VARIABLES_MAX = 64 << 10, /* bytes of all variables with their NULs */
	LINK_PREOPENS = 32,            /* directories that a module may be given */
	LINK_ENTRIES_MAX = 4096,       /* files and directories in them */
	LINK_PATH_MAX = 1024,          /* bytes of a path in them, or of a preopen's name */
};
#define LINK_PERIOD_MAX 10000000000ull /* nanoseconds */

enum link_command {
	LINK_RESET_BUFFER = 1, /* u64: size of the module; ends a run that nobody waits for */
	LINK_SEND_PART = 2,    /* up to LINK_PART bytes of the module */
	LINK_SEND_DONE = 3,
	LINK_SET_ARG = 4, /* one argument without NUL */
	LINK_RUN = 5,     /* answered when the run has ended; may be repeated, all that was sent stays */
	LINK_HELLO = 6,   /* fills the info block; answered when a RUN would find all prepared */
	LINK_ABORT = 7,   /* ends the run and forgets the module */
	LINK_SET_LIMIT = 8, /* u32 or u64: milliseconds, 0 for none */
	LINK_SEND_BULK = 9, /* as SEND_PART, with 14 times as much: the bytes are in `bulk` */
	LINK_CYCLE = 10,    /* struct link_cycle; forgets the module, answered as RUN, u32 ticks late each in `bulk` */
	LINK_ADD_ENTROPY = 11, /* up to LINK_ENTROPY_MAX random bytes, for the kernel under the runner */
	LINK_SET_PINS = 12, /* names of the pins and channels that the module may use, commas in between; none without it */
	LINK_SET_VARIABLE = 13, /* one NAME=VALUE without NULs */
	LINK_SET_FILES = 14,    /* struct link_files: what the preopened directories of the next run hold */
	LINK_ADD_ENTRIES = 15,  /* in `bulk`, one after the other: struct link_entry, path, contents; each preopen before its entries */
	LINK_ADD_PART = 16,     /* in `bulk`: more contents of the last entry, while they are not complete */
	LINK_NEXT_ENTRIES = 17, /* after a run: the next entries of its writable directories, as in ADD_ENTRIES */
	LINK_NEXT_PART = 18,    /* more contents of the last one; either leaves the number of bytes in `fetched` */
};

/* Returns whether the data of a request are in `bulk`. */
static inline int link_is_bulk(enum link_command command)
{
	return command == LINK_SEND_BULK || command == LINK_ADD_ENTRIES || command == LINK_ADD_PART;
}

enum link_answer {
	LINK_OK = 0,
	LINK_BAD_COMMAND = 1,
	LINK_BAD_SIZE = 2,  /* of the request or of what it asks for */
	LINK_BAD_ORDER = 3, /* no module announced, incomplete, or already complete */
	LINK_TOO_LARGE = 4, /* module, arguments, cycles or period */
	LINK_BUSY = 5,      /* a module is running */
	LINK_NOT_DONE = 6,  /* the runner's kernel refused it */
};

enum link_verdict {
	LINK_EXITED = 1,     /* code: the module's */
	LINK_NOT_LOADED,     /* code: WasmEdge's, as in the next two */
	LINK_NOT_INSTANTIATED,
	LINK_TRAPPED,
	LINK_LIMIT,
	LINK_ABORTED,
	LINK_FAULTED, /* code: the signal that ended the worker */
};

/* A periodic task that does nothing but note how late it was released. */
struct link_cycle {
	uint64_t period_ns;
	uint32_t count;
	uint32_t priority; /* of SCHED_FIFO */
};

/* The memory that preopened directories need, in bytes of whole pages. */
struct link_files {
	uint64_t fixed, writable;
	uint32_t entries;      /* preopens not counted */
	uint32_t has_writable; /* 1 if a preopen is writable, also an empty one */
};

enum link_kind { LINK_END, LINK_READABLE, LINK_WRITABLE, LINK_DIRECTORY, LINK_REGULAR };

/* A preopen (READABLE, WRITABLE: the path is the module's name of it, or its number after a run), or what is in it. */
struct link_entry {
	uint64_t bytes; /* of a file's contents */
	uint32_t kind;
	uint32_t path_bytes;
};

/* Fields are naturally aligned; each is accessed whole. */
struct link_page {
	uint32_t header; /* command | size << 16 */
	uint32_t data[LINK_PART / 4];

	/* control block, offset 4096 */
	uint32_t request_seq; /* the agent's */
	uint32_t answer_seq;  /* the runner's: the last request it answered */
	uint32_t answer;      /* not in the dataport: a late one would spoil the next agent's request */
	uint32_t unused;
	uint32_t epoch;     /* grows with each start of the runner */
	uint32_t heartbeat; /* grows at least once a second, runs included */

	/* info block, written by HELLO */
	uint32_t pid, priority;
	uint32_t locked_kib, free_kib, runs;
	uint32_t files_kib; /* the most that preopened directories may hold */
	uint32_t version[16]; /* text */

	/* result block, written before RUN is answered */
	uint32_t verdict, code;
	uint64_t output_bytes;
	uint32_t output_crc;
	uint32_t fetched; /* bytes in `bulk`, of NEXT_ENTRIES and NEXT_PART */
	uint64_t start_ticks, end_ticks; /* the partition's CNTVCT_EL0 */
	uint32_t reason[32];             /* text */

	uint32_t bulk[LINK_BULK / 4] __attribute__((aligned(4096)));
};
_Static_assert(offsetof(struct link_page, request_seq) == 4096, "control block follows the dataport");
_Static_assert(offsetof(struct link_page, bulk) == 8192, "bulk begins a page");
_Static_assert(sizeof(struct link_page) == LINK_SIZE, "bulk is the rest");

#define LINK_FILE "/run/link/page"

enum link_side { LINK_AGENT, LINK_RUNNER };

static const char *const link_pipes[] = {[LINK_AGENT] = "/run/link/to-agent", [LINK_RUNNER] = "/run/link/to-runner"};

struct link {
	volatile struct link_page *page;
	int event; /* /dev/xen/evtchn, or the pipe to this side */
	int bell;  /* the pipe to the other side, -1 between partitions */
};

/* What the runner is, as its messages say. */
static inline const char *link_runner(const struct link *link)
{
	return link->bell < 0 ? "partition" : "process";
}

static inline void link_barrier(void)
{
	__asm__ volatile("dmb sy" ::: "memory");
}

/* Copies into the page, by words. */
static inline void link_put(volatile uint32_t *to, const void *from, size_t bytes)
{
	const char *source = from;
	for (; bytes; to++) {
		uint32_t word = 0;
		size_t step = bytes < 4 ? bytes : 4;
		memcpy(&word, source, step);
		*to = word;
		source += step;
		bytes -= step;
	}
}

/* Copies out of the page, by words. */
static inline void link_get(void *to, const volatile uint32_t *from, size_t bytes)
{
	char *target = to;
	for (; bytes; from++) {
		uint32_t word = *from;
		size_t step = bytes < 4 ? bytes : 4;
		memcpy(target, &word, step);
		target += step;
		bytes -= step;
	}
}

/* Returns whether a path is relative and has only names in it: none is empty, `.` or `..`. */
static inline int link_plain(const char *path)
{
	do {
		size_t length = strcspn(path, "/");
		if (!length || (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.'))))
			return 0;
		path += length;
	} while (*path++);
	return 1;
}

/* Text of a fixed field; always ends in NUL on both sides. */
static inline void link_put_text(volatile uint32_t *to, const char *text, size_t field)
{
	char copy[256] = "";
	strncpy(copy, text, field - 1);
	link_put(to, copy, field);
}

static inline void link_get_text(char *to, const volatile uint32_t *from, size_t field)
{
	link_get(to, from, field);
	to[field - 1] = 0;
}

/*
 * Adds random bytes to this kernel's generator and has it use them. Returns 0, or -1 with errno set. The kernel
 * takes them over in a thread of its own, as soon as this CPU has nothing urgent to do.
 */
static inline int link_add_entropy(const void *bytes, size_t size)
{
	struct {
		int bits, bytes; /* struct rand_pool_info */
		char data[LINK_ENTROPY_MAX];
	} pool = {size * 8, size, {0}};
	int kernel = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	memcpy(pool.data, bytes, size);
	int result = kernel < 0 || ioctl(kernel, RNDADDENTROPY, &pool) < 0 || ioctl(kernel, RNDRESEEDCRNG) < 0 ? -1 : 0;
	int error = errno;
	close(kernel);
	errno = error;
	return result;
}

static inline uint64_t link_ticks(void)
{
	uint64_t value;
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value)::"memory");
	return value;
}

static inline uint64_t link_ticks_per_second(void)
{
	uint64_t value;
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
	return value;
}

/* CRC-32 as zlib's: start with 0, feed the previous value. */
static inline uint32_t link_crc(uint32_t crc, const void *data, size_t bytes)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const unsigned char *byte = data;
	for (crc = ~crc; bytes--; byte++) {
		crc = table[(crc ^ *byte) & 15] ^ crc >> 4;
		crc = table[(crc ^ *byte >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

/* Maps `bytes` of a file, of physical address space where it is /dev/mem; NULL and errno when it cannot. */
static inline volatile void *link_map(const char *file, off_t address, size_t bytes)
{
	int opened = open(file, O_RDWR | O_SYNC | O_CLOEXEC);
	if (opened < 0)
		return NULL;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, opened, address);
	int error = errno;
	close(opened);
	errno = error;
	if (at == MAP_FAILED)
		return NULL;
	madvise(at, bytes, MADV_DONTFORK); /* not for a worker that runs wild */
	return at;
}

/* Opens page and event for `side`. Returns NULL, or the name of what failed with errno set. */
static inline const char *link_open(struct link *link, enum link_side side)
{
	unsigned port = LINK_EVENT_PORT;
	link->bell = link->event = -1;
	link->page = link_map(LINK_FILE, 0, LINK_SIZE);
	if (link->page) { /* for both directions: a pipe that has both ends here is never at its end */
		link->event = open(link_pipes[side], O_RDWR | O_NONBLOCK | O_CLOEXEC);
		link->bell = open(link_pipes[!side], O_RDWR | O_NONBLOCK | O_CLOEXEC);
		return link->event < 0 || link->bell < 0 ? "/run/link" : NULL;
	}
	link->page = link_map("/dev/mem", LINK_ADDRESS, LINK_SIZE);
	if (!link->page)
		return "/dev/mem";
	link->event = open("/dev/xen/evtchn", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (link->event < 0 || ioctl(link->event, _IOC(_IOC_NONE, 'E', 7, sizeof port), &port) < 0)
		return "/dev/xen/evtchn";
	return NULL;
}

static inline void link_notify(const struct link *link)
{
	unsigned port = LINK_EVENT_PORT;
	if (link->bell < 0)
		ioctl(link->event, _IOC(_IOC_NONE, 'E', 4, sizeof port), &port); /* fails for no port of ours */
	else if (write(link->bell, &port, sizeof port) < 0)
		return; /* full: the other side has enough to wake it */
}

/* Publishes a sequence number, after all that was written before, and wakes the other side. */
static inline void link_publish(const struct link *link, volatile uint32_t *seq, uint32_t value)
{
	link_barrier();
	*seq = value;
	link_barrier();
	link_notify(link);
}

/* Takes the pending event, if any, and arms the next. */
static inline void link_take_event(const struct link *link)
{
	uint32_t port;
	while (read(link->event, &port, sizeof port) == sizeof port)
		if (link->bell < 0 && write(link->event, &port, sizeof port) < 0)
			return;
}

#endif
