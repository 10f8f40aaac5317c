/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's own functions, found by name in its process. They are the same in 7.2 and later, except for the lock's names. */
#ifndef HIL_QEMU_H
#define HIL_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REALTIME = 0, VIRTUAL = 1 }; /* QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL */

union work { /* QEMU's run_on_cpu_data */
	void *pointer;
	uint64_t address;
};

typedef struct IRQState *qemu_irq;
struct timer {
	_Alignas(16) char room[256]; /* QEMUTimer */
};

extern int64_t (*clock_get_ns)(int);
extern void (*timer_init)(void *, void *, int, int, int, void (*)(void *), void *);
extern void (*timer_set)(void *, int64_t);
extern void *(*get_cpu)(int);
extern void (*queue_work)(void *, void (*)(void *, union work), union work);

/* Return the address of `name`, or of `other` if that is given; NULL with the name in `missing` if there is none. */
void *find_symbol(const char *name, const char *other);
extern const char *missing; /* the first symbol that was not found; NULL if there was none */

_Noreturn void die(const char *what);

/* Virtual time for timers of `handler`. */
static inline void timer_make(struct timer *timer, void (*handler)(void *))
{
	timer_init(timer, NULL, VIRTUAL, 1, 0, handler, NULL);
}

#endif
