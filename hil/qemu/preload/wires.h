/* SPDX-License-Identifier: Apache-2.0 */
/* The wires of the machine: what the host sets, and the log of everything that happens on them. */
#ifndef HIL_WIRES_H
#define HIL_WIRES_H

#include "qemu.h"

/* A command of the host, or a record of the log; both have this layout in hil/qemu/wires.py. */
struct signal {
	uint64_t ns;     /* virtual time; of a command 0 for now, with AFTER the time after its arrival */
	uint8_t kind;    /* enum signal_kind */
	uint8_t line;    /* of the pins' controller */
	uint8_t value;   /* level, or the kind's own */
	uint8_t length;  /* of data */
	uint32_t id;     /* of a frame, or the kind's own */
	uint8_t data[8];
};
_Static_assert(sizeof(struct signal) == 24, "the layout of hil/qemu/wires.py");

#define AFTER (1ull << 63)

enum signal_kind {
	SIGNAL_LEVEL = 1,  /* command: drive the input `line` to `value`; record: `line` has the level `value` */
	SIGNAL_FAULT = 2,  /* command: force `line` to `value`, a level, RELEASED or INVERTED; `id` 1: an input */
	SIGNAL_STATE = 3,  /* command after a restore: `line` has the state `value`, bits driven, level, input; fault `id` */
	SIGNAL_ARM = 4,    /* command: report the next edge of a line in the mask `id`, or CAN_EVENT, once */
	SIGNAL_REPORT = 5, /* command of a machine in real time: report with the reason `id` */
	SIGNAL_SAVE = 6,   /* command: append the commands to the log that restore the present state, marked as SAVED */
	SIGNAL_CLEAR = 7,  /* command: forget the commands for later */
	FIRST_OF_CAN = 16, /* see canbus.h */
	SAVED = 0x80,      /* with another kind */
};
enum { LINES = 8, EDGE_REPORT = 1 };
enum { RELEASED = 2, INVERTED = 3 }; /* of SIGNAL_FAULT: ends it; the inverse of what is driven at that time */
enum { CAN_EVENT = 1 << LINES }; /* a record of the CAN bus, in the mask of SIGNAL_ARM */

/* Reads HIL_WIRES. With `probe` reports on stderr why there can be no wires, if so. */
void wires_load(const char *setting, bool probe);

/* Takes one command. Returns whether its time had passed already. */
bool wires_command(const struct signal *command);

/* What lockstep.c provides. Pauses after the present instruction, or in real time reports `reason`. */
void wires_report(uint64_t reason);
/* The machine is complete: in real time take messages from now on. */
void wires_ready(void);

/* Appends a record to the log: as it is, or with the present time. */
void wires_append(struct signal record);
void wires_log(struct signal record);
/* Reports that one of the events in `mask` has happened, if that is armed. */
void wires_event(uint32_t mask);
/* Carries out the commands that are due. */
void wires_due(void);

#endif
