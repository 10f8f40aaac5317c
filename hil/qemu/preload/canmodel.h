/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the CAN bus, which canbus.c runs and cancommands.c changes, saves and restores. */
#ifndef HIL_CANMODEL_H
#define HIL_CANMODEL_H

#include "canbus.h"

enum {
	QUEUE = 1024,  /* frames of all bench nodes, and of the partition */
	CYCLES = 1024, /* cyclic frames */
	NODES = 256,
};
#define NEVER INT64_MAX

struct can_entry {
	int64_t since;
	uint32_t id;
	uint8_t node, length;
	bool cyclic; /* replaced if it is due again */
	uint8_t data[8];
};

struct can_cycle {
	int64_t due, period; /* NEVER: stopped */
	struct can_entry frame;
};

extern struct can_bus {
	unsigned bitrate;
	struct can_entry queue[2 * QUEUE]; /* in the order of arrival; the frame on the bus stays here until its end */
	size_t queued, of_partition;
	struct can_cycle cycles[CYCLES];
	size_t cycle_count;
	struct {
		unsigned errors;
		int64_t ready; /* not before this time; NEVER: off the bus */
		bool off, open;
	} nodes[NODES];
	struct {
		unsigned count, bit;
		uint8_t node; /* or CAN_ANY */
	} fault;
	size_t on_bus; /* index of the queue; SIZE_MAX: the bus is idle */
	bool failing;  /* the frame on the bus is destroyed */
	unsigned bits; /* that it occupies */
	int64_t begun, ends, idle_from;
	struct timer ticker;
} bus;

int64_t can_duration(unsigned bits);
void can_record(int64_t at, struct signal made);
struct signal can_signal_of(const struct can_entry *entry, uint8_t kind, unsigned value);
struct can_entry can_entry_of(const struct signal *command, int64_t since);
/* Queues a frame. */
void can_add(struct can_entry entry);
void can_switch_off(uint8_t node, uint8_t how, int64_t at);
/* Looks at the bus again after the present work. */
void can_tick_soon(void);

#endif
