/* SPDX-License-Identifier: Apache-2.0 */
/* A periodic loop on absolute deadlines: how late each release is, in ticks of the counter. */
#ifndef CYCLE_H
#define CYCLE_H

#include "link.h"

#include <time.h>

enum { CYCLE_SECOND = 1000000000 };

/* Reads the clock of the deadlines and the counter as if at once: the tightest of some tries. */
static inline void cycle_pair(uint64_t *clock_ns, uint64_t *ticks)
{
	uint64_t tightest = UINT64_MAX;
	for (int i = 0; i < 32; i++) {
		struct timespec now;
		uint64_t before = link_ticks();
		clock_gettime(CLOCK_MONOTONIC, &now);
		uint64_t took = link_ticks() - before;
		if (took >= tightest)
			continue;
		tightest = took;
		*ticks = before + took / 2;
		*clock_ns = now.tv_sec * (uint64_t)CYCLE_SECOND + now.tv_nsec;
	}
}

/*
 * Sleeps `count` times until the next deadline and notes in `late` by how many ticks it was missed.
 * Counts in `done`. A deadline that has passed already is not skipped. Ends early on a signal.
 */
static inline void cycle_run(uint64_t period_ns, uint32_t count, uint32_t *late, volatile uint32_t *done)
{
	uint64_t zero_ns = 0, zero_ticks = 0, after = 0, hz = link_ticks_per_second();
	cycle_pair(&zero_ns, &zero_ticks);
	for (uint32_t i = 0; i < count; i++) {
		after += period_ns;
		uint64_t deadline = zero_ns + after;
		uint64_t due = zero_ticks + after / CYCLE_SECOND * hz + after % CYCLE_SECOND * hz / CYCLE_SECOND;
		struct timespec until = {deadline / CYCLE_SECOND, deadline % CYCLE_SECOND};
		int interrupted = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		uint64_t now = link_ticks();
		if (interrupted)
			return;
		/* due is off by a fraction of the pair's reading: a release that is "early" is on time */
		late[i] = now < due ? 0 : now - due < UINT32_MAX ? now - due : UINT32_MAX;
		*done += 1;
	}
}

#endif
