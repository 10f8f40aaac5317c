/* SPDX-License-Identifier: Apache-2.0 */
#include "idle.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static int asked = -1, idle = -1;
static volatile struct { bool seen, wake; } *shared;

static void add_one(int counter)
{
	uint64_t one = 1;
	if (write(counter, &one, sizeof one) < 0)
		return; /* full: who reads it is awake anyhow */
}

static _Noreturn void watch(void)
{
	struct sched_param ordinary = {0};
	uint64_t times;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
	while (read(asked, &times, sizeof times) == sizeof times) {
		shared->seen = true;
		if (shared->wake)
			add_one(idle);
	}
	_exit(1);
}

int idle_open(void)
{
	asked = eventfd(0, EFD_CLOEXEC);
	idle = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (asked < 0 || idle < 0 || shared == MAP_FAILED)
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		watch();
	return pid < 0 ? -1 : idle;
}

void idle_watch(void)
{
	shared->seen = shared->wake = false;
	add_one(asked);
}

bool idle_seen(void)
{
	return shared->seen;
}

void idle_wake(void)
{
	shared->wake = true;
}

void idle_take(void)
{
	uint64_t times;
	if (read(idle, &times, sizeof times) < 0)
		return; /* nothing there */
}
