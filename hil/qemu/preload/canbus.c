/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CAN bus of the machine: the bench's nodes, and the time that frames take, in QEMU's process.
 *
 * QEMU's bus passes a frame to all controllers at once. Here a frame of any node waits until the bus is idle, takes
 * part in the arbitration by id, occupies the bus for its exact number of bits and is delivered at its end. The
 * frames of one bench node are sent by id, as by a controller with many mailboxes; those of the partition in their
 * order. QEMU's SJA1000 reports a frame as sent when it hands it over, so frames of the partition queue up here.
 *
 * A node repeats a frame that was destroyed. Its error counter goes up by 8 each time and down by 1 for each good frame;
 * beyond 127 the node pauses for 8 bits after its own frames, beyond 255 it is off the bus for 128 times 11 bits. QEMU's
 * SJA1000 has no error state: the partition's driver does not see any of this.
 *
 * Times are those of the model. In lock step they are also those of the machine's clock; in real time the machine sees
 * a frame late by the delay of the host's timers, while the records have no drift.
 *
 * This file is the model; cancommands.c has the host's commands, canport.c joins QEMU's bus.
 */
#include "canmodel.h"

#include <string.h>

enum {
	INTERMISSION = 3,     /* bits between frames */
	SUSPENSION = 8,       /* more bits after a frame of a node with many errors */
	ERROR_FRAME = 14,     /* bits of error flag and delimiter */
	FRAME_END = 7,        /* bits of a frame's end, where a destroyed frame has its error flag */
	RECOVERY = 128 * 11,  /* bits of a node off the bus */
	PASSIVE = 128, OFF = 256, /* error counts */
};

struct can_bus bus = {.on_bus = SIZE_MAX};

int64_t can_duration(unsigned count)
{
	return ((int64_t)count * 1000000000 + bus.bitrate / 2) / bus.bitrate;
}

void can_record(int64_t at, struct signal made)
{
	made.ns = (uint64_t)at;
	wires_append(made);
	wires_event(CAN_EVENT);
}

struct signal can_signal_of(const struct can_entry *entry, uint8_t kind, unsigned value)
{
	struct signal made = {.kind = kind, .line = entry->node, .value = (uint8_t)value, .length = entry->length};
	made.id = entry->id;
	memcpy(made.data, entry->data, sizeof made.data);
	return made;
}

struct can_entry can_entry_of(const struct signal *command, int64_t since)
{
	struct can_entry entry = {.since = since, .id = command->id, .node = command->line};
	entry.length = command->length < 8 ? command->length : 8;
	memcpy(entry.data, command->data, sizeof entry.data);
	return entry;
}

/* The bits that take part in the arbitration, the first one on the bus on top; a lower number wins. */
static uint32_t rank(uint32_t id)
{
	uint32_t remote = id >> 30 & 1;
	if (id & CAN_EXTENDED) /* base id, SRR and IDE, rest of the id, RTR */
		return (id >> 18 & 0x7ff) << 21 | 3u << 19 | (id & 0x3ffff) << 1 | remote;
	return (id & 0x7ff) << 21 | remote << 20;
}

/* When the frame at `index` can take part in an arbitration. */
static int64_t ready_at(size_t index)
{
	const struct can_entry *entry = &bus.queue[index];
	if (bus.nodes[entry->node].open || bus.nodes[CAN_ANY].open)
		return NEVER;
	int64_t ready = bus.nodes[entry->node].ready;
	return entry->since > ready ? entry->since : ready;
}

/* Returns when the next frame starts, and with `winner` the index of it. */
static int64_t next_start(size_t *winner)
{
	int64_t earliest = NEVER;
	bool partition = false;
	for (size_t i = 0; i < bus.queued; i++) {
		if (bus.queue[i].node == CAN_PARTITION) {
			if (partition)
				continue; /* only its first frame */
			partition = true;
		}
		int64_t ready = ready_at(i);
		ready = ready < bus.idle_from ? bus.idle_from : ready;
		bool first = ready == earliest && ready < NEVER && rank(bus.queue[i].id) < rank(bus.queue[*winner].id);
		if (ready < earliest || first) {
			earliest = ready;
			*winner = i;
		}
	}
	return earliest;
}

void can_add(struct can_entry entry)
{
	for (size_t i = 0; entry.cyclic && i < bus.queued; i++) {
		struct can_entry *old = &bus.queue[i];
		if (old->cyclic && old->node == entry.node && old->id == entry.id && i != bus.on_bus) {
			entry.since = old->since;
			*old = entry;
			return;
		}
	}
	bool partition = entry.node == CAN_PARTITION;
	if ((partition ? bus.of_partition : bus.queued - bus.of_partition) == QUEUE) {
		can_record(entry.since, can_signal_of(&entry, CAN_LOST, 0));
		return;
	}
	bus.of_partition += partition;
	bus.queue[bus.queued++] = entry;
}

static void start(size_t index, int64_t at)
{
	const struct can_entry *entry = &bus.queue[index];
	bus.on_bus = index;
	bus.begun = at;
	bus.bits = can_frame_bits(entry->id, entry->length, entry->data);
	bus.failing = bus.fault.count && (bus.fault.node == CAN_ANY || bus.fault.node == entry->node);
	if (bus.failing) {
		unsigned last = bus.bits - FRAME_END;
		bus.fault.count--;
		bus.bits = (bus.fault.bit && bus.fault.bit < last ? bus.fault.bit : last) + ERROR_FRAME;
	}
	bus.ends = bus.begun + can_duration(bus.bits);
}

void can_switch_off(uint8_t node, uint8_t how, int64_t at)
{
	bus.nodes[node].off = how != CAN_ON;
	bus.nodes[node].errors = 0;
	bus.nodes[node].ready = how == CAN_RECOVERS ? at + can_duration(RECOVERY) : how == CAN_ON ? at : NEVER;
	can_record(at, (struct signal){.kind = CAN_OFF, .line = node, .value = how});
}

/* Returns whether the partition received the frame. */
static bool deliver(const struct can_entry *entry)
{
	if (bus.nodes[CAN_PARTITION].open || bus.nodes[CAN_PARTITION].off)
		return false;
	return can_deliver(entry->id, entry->length, entry->data);
}

static void finish(void)
{
	struct can_entry entry = bus.queue[bus.on_bus];
	size_t index = bus.on_bus;
	unsigned *errors = &bus.nodes[entry.node].errors;
	bus.on_bus = SIZE_MAX;
	bus.idle_from = bus.ends + can_duration(INTERMISSION);
	if (bus.failing) {
		*errors += 8;
		can_record(bus.ends, can_signal_of(&entry, CAN_ERROR, bus.bits));
		if (*errors >= OFF)
			can_switch_off(entry.node, CAN_RECOVERS, bus.ends);
	} else {
		*errors -= *errors > 0;
		memmove(&bus.queue[index], &bus.queue[index + 1], (--bus.queued - index) * sizeof *bus.queue);
		bus.of_partition -= entry.node == CAN_PARTITION;
		struct signal done = can_signal_of(&entry, CAN_FRAME, bus.bits);
		if (entry.node != CAN_PARTITION && !deliver(&entry))
			done.length |= CAN_UNHEARD;
		can_record(bus.ends, done);
	}
	if (*errors >= PASSIVE)
		bus.nodes[entry.node].ready = bus.idle_from + can_duration(SUSPENSION);
}

/* Queues all cyclic frames that are due. Returns when the next one is. */
static int64_t run_cycles(int64_t now)
{
	int64_t next = NEVER;
	for (size_t i = 0; i < bus.cycle_count; i++) {
		struct can_cycle *cycle = &bus.cycles[i];
		if (cycle->due <= now) {
			cycle->frame.since = cycle->due;
			can_add(cycle->frame);
			cycle->due += cycle->period;
		}
		next = cycle->due < next ? cycle->due : next;
	}
	return next;
}

/* Nodes that were off and are back. Returns when the next one is. */
static int64_t recover(int64_t now)
{
	int64_t next = NEVER;
	for (unsigned i = 0; i < NODES; i++) {
		if (bus.nodes[i].off && bus.nodes[i].ready <= now)
			can_switch_off((uint8_t)i, CAN_ON, bus.nodes[i].ready);
		else if (bus.nodes[i].off && bus.nodes[i].ready < next)
			next = bus.nodes[i].ready;
	}
	return next;
}

/* Everything up to now, by its time; at the same time first a frame's end, then what is due, then the next start. */
static void tick(void *unused)
{
	(void)unused;
	int64_t now = clock_get_ns(VIRTUAL), at = 0, next;
	wires_due();
	for (;; at = next) {
		size_t winner = 0;
		if (bus.on_bus != SIZE_MAX && bus.ends <= at)
			finish();
		int64_t back = recover(at), cycle = run_cycles(at);
		next = bus.on_bus == SIZE_MAX ? next_start(&winner) : NEVER;
		if (next <= at)
			start(winner, next);
		if (bus.on_bus != SIZE_MAX)
			next = bus.ends;
		next = cycle < next ? cycle : next;
		next = back < next ? back : next;
		if (next > now)
			break;
	}
	if (next < NEVER)
		timer_set(&bus.ticker, next);
}

void can_tick_soon(void)
{
	timer_set(&bus.ticker, clock_get_ns(VIRTUAL));
}

void can_take(uint32_t id, uint8_t length, const uint8_t *data)
{
	struct can_entry entry = {clock_get_ns(VIRTUAL), id, CAN_PARTITION, length < 8 ? length : 8, false, {0}};
	memcpy(entry.data, data, entry.length);
	can_add(entry);
	can_tick_soon();
}

void can_begin(unsigned bits_per_second)
{
	bus.bitrate = bits_per_second;
	timer_make(&bus.ticker, tick);
}
