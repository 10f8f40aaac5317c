/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells whether the CPU was idle: that the worker has waited for something, or has ended. An ordinary process, which
 * runs when no real-time process wants the CPU, notes it.
 */
#ifndef IDLE_H
#define IDLE_H

#include <stdbool.h>

/* Starts that process. Returns a descriptor that is readable after `idle_wake`, or -1 with errno set. */
int idle_open(void);

/* Begins to watch, from now on. */
void idle_watch(void);

/* Whether the CPU has been idle since `idle_watch`. */
bool idle_seen(void);

/* Makes the descriptor readable as soon as the CPU is idle; once for each `idle_watch`. */
void idle_wake(void);

/* Makes it unreadable. */
void idle_take(void);

#endif
