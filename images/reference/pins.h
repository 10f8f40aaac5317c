/* SPDX-License-Identifier: Apache-2.0 */
/* The pins of this machine by name, for the runner and its workers: lines of the kernel's GPIO character devices. */
#ifndef PINS_H
#define PINS_H

#include "link.h"

#include <stdbool.h>
#include <stddef.h>

enum { PIN_NAME = 32 }; /* bytes of a name with its NUL, as in the kernel */

/* Which way a pin may be used; PIN_ANY where /etc/pins does not say. */
enum pin_direction { PIN_ANY, PIN_IN, PIN_OUT };

struct pin {
	int chip;        /* the open character device; to be closed by the caller */
	uint32_t offset; /* the line */
	enum pin_direction direction;
};

/*
 * Finds a pin. Its line is the one that has this name in the kernel, of the device tree; for a kernel without names
 * the one that /etc/pins gives. Returns 0, or -1 where there is none.
 */
int pin_find(const char *name, struct pin *pin);

/* Returns whether the comma-separated `list` has the name. */
bool pins_has(const char *list, const char *name);

/* Returns whether `list` is well formed: names of 1 to PIN_NAME - 1 printable characters, commas in between. */
bool pins_valid(const char *list);

/*
 * Sets all outputs in the list to 0 and makes inputs of them. Names that are no pins are skipped. Returns
 * NULL, or the name of a pin that could not be released, with errno set.
 */
const char *pins_release(const char *list);

/* The same for the outputs of /etc/pins, after a runner that died. */
const char *pins_release_all(void);

#endif
