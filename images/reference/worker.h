/* SPDX-License-Identifier: Apache-2.0 */
/* The process that executes one module, or one periodic loop: forked ahead, warm and waiting, killed after the run. */
#ifndef WORKER_H
#define WORKER_H

#include "files.h"
#include "link.h"

#include <sys/types.h>

/* Shared by server and worker. The server believes nothing in it after a run without a check. */
struct job {
	const uint8_t *module; /* mapped at the same address in both */
	uint64_t module_bytes;
	uint32_t arguments;      /* how many */
	uint32_t verdict;        /* what a failure now would be; LINK_EXITED at the end */
	uint32_t code;
	uint32_t done;           /* 1: verdict, code, reason and log are complete */
	char reason[128];
	char argument[LINK_ARGUMENTS_MAX];
	uint32_t variables, preopens; /* how many */
	char variable[LINK_VARIABLES_MAX];
	char preopen[FILES_PREOPENS_MAX]; /* NAME:PATH, or NAME:PATH:readonly */
	uint64_t free_bytes;              /* of memory, before the run */
	char pins[LINK_PINS_MAX + 1]; /* names that the module may use, commas in between */
	struct link_cycle cycle;
	uint32_t late[LINK_CYCLES]; /* ticks */
};

enum work { WORK_MODULE = 'm', WORK_CYCLE = 'c' };

struct worker {
	pid_t pid;
	int start;  /* write end: one byte, an enum work, starts the run */
	int output; /* read end, not blocking: what the module prints, stdout and stderr */
	/* read end, not blocking: the library's log; wakes when all is prepared and when done, ends with the worker */
	int log;
};

enum { WORKER_PRIORITY = 40 }; /* below the interrupt threads (50), or nothing could stop it */

/* Forks a worker that may use `memory` bytes. Returns 0, or -1 with errno set. */
int worker_fork(struct worker *worker, struct job *job, uint64_t memory);

/* Kills and reaps it, closes its pipes. Returns the status of waitpid: of its own end if it had ended. */
int worker_end(struct worker *worker);

#endif
