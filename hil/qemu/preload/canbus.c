/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CAN bus of the machine: the bench's nodes, and the time that frames take, in QEMU's process.
 *
 * QEMU's bus passes a frame to all controllers at once. Here a frame of any node waits until the bus is idle, takes
 * part in the arbitration by id, occupies the bus for its exact number of bits and is delivered at its end. The
 * frames of one bench node are sent by id, as by a controller with many mailboxes; those of the partition in their
 * order. QEMU's SJA1000 reports a frame as sent when it hands it over, so frames of the partition queue up here.
 *
 * A node that is destroyed on the bus repeats its frame. Its error counter goes up by 8 each time and down by 1 for each
 * good frame; beyond 127 the node pauses for 8 bits after its own frames, beyond 255 it is off the bus for 128 times
 * 11 bits. QEMU's SJA1000 has no error state: the partition's driver does not see any of this.
 *
 * Times are those of the model. In lock step they are also those of the machine's clock; in real time the machine sees
 * a frame late by the delay of the host's timers, while the records have no drift.
 *
 * This file is the model; canport.c joins QEMU's bus.
 */
#include "canbus.h"

#include <string.h>

enum {
	QUEUE = 1024,         /* frames of all bench nodes, and of the partition */
	CYCLES = 1024,        /* cyclic frames */
	NODES = 256,
	INTERMISSION = 3,     /* bits between frames */
	SUSPENSION = 8,       /* more bits after a frame of a node with many errors */
	ERROR_FRAME = 14,     /* bits of error flag and delimiter */
	FRAME_END = 7,        /* bits of a frame's end, where a destroyed frame has its error flag */
	RECOVERY = 128 * 11,  /* bits of a node off the bus */
	PASSIVE = 128, OFF = 256, /* error counts */
};
#define NEVER INT64_MAX

static unsigned bitrate;
static struct timer ticker;

/* Frames that wait, in the order of their arrival; the one on the bus stays here until its end. */
static struct entry {
	int64_t since;
	uint32_t id;
	uint8_t node, length;
	bool cyclic; /* replaced if it is due again */
	uint8_t data[8];
} queue[2 * QUEUE];
static size_t queued, of_partition;

static struct cycle {
	int64_t due, period; /* NEVER: stopped */
	struct entry frame;
} cycles[CYCLES];
static size_t cycle_count;

static struct {
	unsigned errors;
	int64_t ready; /* not before this time; NEVER: off the bus */
	bool off, open;
} nodes[NODES];
static struct {
	unsigned count, bit;
	uint8_t node; /* or CAN_ANY */
} fault;

static size_t on_bus = SIZE_MAX; /* index of the queue; SIZE_MAX: the bus is idle */
static bool failing;             /* the frame on the bus is destroyed */
static unsigned bits;            /* that it occupies */
static int64_t begun, ends, idle_from;

static int64_t duration(unsigned count)
{
	return ((int64_t)count * 1000000000 + bitrate / 2) / bitrate;
}

static void record(int64_t at, struct signal made)
{
	made.ns = (uint64_t)at;
	wires_append(made);
	wires_event(CAN_EVENT);
}

static struct signal signal_of(const struct entry *entry, uint8_t kind, unsigned value)
{
	struct signal made = {.kind = kind, .line = entry->node, .value = (uint8_t)value, .length = entry->length};
	made.id = entry->id;
	memcpy(made.data, entry->data, sizeof made.data);
	return made;
}

static struct entry entry_of(const struct signal *command, int64_t since)
{
	struct entry entry = {.since = since, .id = command->id, .node = command->line};
	entry.length = command->length < 8 ? command->length : 8;
	memcpy(entry.data, command->data, sizeof entry.data);
	return entry;
}

static uint64_t number_in(const struct signal *command)
{
	uint64_t number;
	memcpy(&number, command->data, sizeof number);
	return number;
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
	const struct entry *entry = &queue[index];
	if (nodes[entry->node].open || nodes[CAN_ANY].open)
		return NEVER;
	int64_t ready = nodes[entry->node].ready;
	return entry->since > ready ? entry->since : ready;
}

/* Returns when the next frame starts, and with `winner` the index of it. */
static int64_t next_start(size_t *winner)
{
	int64_t earliest = NEVER;
	bool partition = false;
	for (size_t i = 0; i < queued; i++) {
		if (queue[i].node == CAN_PARTITION) {
			if (partition)
				continue; /* only its first frame */
			partition = true;
		}
		int64_t ready = ready_at(i);
		ready = ready < idle_from ? idle_from : ready;
		bool first = ready == earliest && ready < NEVER && rank(queue[i].id) < rank(queue[*winner].id);
		if (ready < earliest || first) {
			earliest = ready;
			*winner = i;
		}
	}
	return earliest;
}

static void add(struct entry entry)
{
	for (size_t i = 0; entry.cyclic && i < queued; i++) {
		struct entry *old = &queue[i];
		if (old->cyclic && old->node == entry.node && old->id == entry.id && i != on_bus) {
			entry.since = old->since;
			*old = entry;
			return;
		}
	}
	bool partition = entry.node == CAN_PARTITION;
	if ((partition ? of_partition : queued - of_partition) == QUEUE) {
		record(entry.since, signal_of(&entry, CAN_LOST, 0));
		return;
	}
	of_partition += partition;
	queue[queued++] = entry;
}

static void start(size_t index, int64_t at)
{
	const struct entry *entry = &queue[index];
	on_bus = index;
	begun = at;
	bits = can_frame_bits(entry->id, entry->length, entry->data);
	failing = fault.count && (fault.node == CAN_ANY || fault.node == entry->node);
	if (failing) {
		unsigned last = bits - FRAME_END;
		fault.count--;
		bits = (fault.bit && fault.bit < last ? fault.bit : last) + ERROR_FRAME;
	}
	ends = begun + duration(bits);
}

static void switch_off(uint8_t node, uint8_t how, int64_t at)
{
	nodes[node].off = how != CAN_ON;
	nodes[node].errors = 0;
	nodes[node].ready = how == CAN_RECOVERS ? at + duration(RECOVERY) : how == CAN_ON ? at : NEVER;
	record(at, (struct signal){.kind = CAN_OFF, .line = node, .value = how});
}

/* Returns whether the partition received the frame. */
static bool deliver(const struct entry *entry)
{
	if (nodes[CAN_PARTITION].open || nodes[CAN_PARTITION].off)
		return false;
	return can_deliver(entry->id, entry->length, entry->data);
}

static void finish(void)
{
	struct entry entry = queue[on_bus];
	size_t index = on_bus;
	unsigned *errors = &nodes[entry.node].errors;
	on_bus = SIZE_MAX;
	idle_from = ends + duration(INTERMISSION);
	if (failing) {
		*errors += 8;
		record(ends, signal_of(&entry, CAN_ERROR, bits));
		if (*errors >= OFF)
			switch_off(entry.node, CAN_RECOVERS, ends);
	} else {
		*errors -= *errors > 0;
		memmove(&queue[index], &queue[index + 1], (--queued - index) * sizeof *queue);
		of_partition -= entry.node == CAN_PARTITION;
		struct signal done = signal_of(&entry, CAN_FRAME, bits);
		if (entry.node != CAN_PARTITION && !deliver(&entry))
			done.length |= CAN_UNHEARD;
		record(ends, done);
	}
	if (*errors >= PASSIVE)
		nodes[entry.node].ready = idle_from + duration(SUSPENSION);
}

/* Queues all cyclic frames that are due. Returns when the next one is. */
static int64_t run_cycles(int64_t now)
{
	int64_t next = NEVER;
	for (size_t i = 0; i < cycle_count; i++) {
		struct cycle *cycle = &cycles[i];
		if (cycle->due <= now) {
			cycle->frame.since = cycle->due;
			add(cycle->frame);
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
		if (nodes[i].off && nodes[i].ready <= now)
			switch_off((uint8_t)i, CAN_ON, nodes[i].ready);
		else if (nodes[i].off && nodes[i].ready < next)
			next = nodes[i].ready;
	}
	return next;
}

/* Everything up to now, by its time; at the same time first a frame's end, then what becomes due, then the next start. */
static void tick(void *unused)
{
	(void)unused;
	int64_t now = clock_get_ns(VIRTUAL), at = 0, next;
	wires_due();
	for (;; at = next) {
		size_t winner = 0;
		if (on_bus != SIZE_MAX && ends <= at)
			finish();
		int64_t back = recover(at), cycle = run_cycles(at);
		next = on_bus == SIZE_MAX ? next_start(&winner) : NEVER;
		if (next <= at)
			start(winner, next);
		if (on_bus != SIZE_MAX)
			next = ends;
		next = cycle < next ? cycle : next;
		next = back < next ? back : next;
		if (next > now)
			break;
	}
	if (next < NEVER)
		timer_set(&ticker, next);
}

static void tick_soon(void)
{
	timer_set(&ticker, clock_get_ns(VIRTUAL));
}

static struct cycle *cycle_of(const struct signal *command)
{
	for (size_t i = 0; i < cycle_count; i++)
		if (cycles[i].frame.node == command->line && cycles[i].frame.id == command->id)
			return &cycles[i];
	if (cycle_count == CYCLES)
		die("there are too many cyclic CAN frames");
	cycles[cycle_count] = (struct cycle){NEVER, NEVER, entry_of(command, 0)};
	cycles[cycle_count].frame.cyclic = true;
	return &cycles[cycle_count++];
}

static void set_open(uint8_t node, bool open, int64_t at)
{
	int64_t *ready = node == CAN_ANY ? &idle_from : &nodes[node].ready;
	if (nodes[node].open && !open && *ready < at)
		*ready = at; /* its frames have waited until now */
	nodes[node].open = open;
}

/* Undoes what the bench has set; the frame on the bus and those of the partition stay. */
static void clear(int64_t at)
{
	size_t left = 0, kept = on_bus;
	for (size_t i = 0; i < queued; i++) {
		if (queue[i].node != CAN_PARTITION && i != kept)
			continue;
		if (i == kept)
			on_bus = left;
		queue[left++] = queue[i];
	}
	queued = left;
	cycle_count = 0;
	fault.count = 0;
	for (unsigned i = 0; i < NODES; i++) {
		if (nodes[i].off)
			switch_off((uint8_t)i, CAN_ON, at);
		nodes[i].errors = 0;
		set_open((uint8_t)i, false, at);
	}
}

static void set_state(const struct signal *command)
{
	int64_t at = (int64_t)number_in(command);
	switch (command->value) {
	case 0:
		nodes[command->line].ready = at;
		nodes[command->line].errors = command->id >> 2;
		nodes[command->line].off = command->id >> 1 & 1;
		nodes[command->line].open = command->id & 1;
		break;
	case 1:
		idle_from = at;
		break;
	default: /* the frame on the bus */
		on_bus = command->id;
		failing = command->line;
		bits = command->value;
		begun = at;
		ends = begun + duration(bits);
	}
}

void can_command(const struct signal *command)
{
	int64_t now = clock_get_ns(VIRTUAL), at = command->ns ? (int64_t)command->ns : now;
	struct entry entry = entry_of(command, at);
	struct cycle *cycle;
	if (!bitrate)
		die("there is no CAN bus");
	switch (command->kind) {
	case CAN_FRAME:
		entry.cyclic = command->value; /* after a restore */
		add(entry);
		break;
	case CAN_CONTENT:
		entry.cyclic = true;
		cycle_of(command)->frame = entry;
		break;
	case CAN_PERIOD:
		cycle = cycle_of(command);
		cycle->period = number_in(command) ? (int64_t)number_in(command) : NEVER;
		cycle->due = number_in(command) ? at : NEVER;
		break;
	case CAN_ERROR:
		fault.count = command->id;
		fault.node = command->line;
		fault.bit = command->value;
		break;
	case CAN_OFF:
		switch_off(command->line, command->value, at);
		break;
	case CAN_OPEN:
		set_open(command->line, command->value, at);
		record(at, *command);
		break;
	case CAN_BITRATE:
		if (command->id && command->id != bitrate) {
			bitrate = command->id;
			record(at, *command);
		}
		break;
	case CAN_STATE:
		set_state(command);
		break;
	case CAN_CLEAR:
		clear(at);
		break;
	default:
		die("the host sent an unknown command to the CAN bus");
	}
	tick_soon();
}

static struct signal state(uint8_t value, uint8_t node, uint32_t id, int64_t at)
{
	struct signal made = {.kind = CAN_STATE, .line = node, .value = value, .id = id};
	memcpy(made.data, &at, sizeof at);
	return made;
}

void can_save(void (*put)(struct signal))
{
	if (!bitrate)
		return;
	put((struct signal){.kind = CAN_BITRATE, .id = bitrate});
	put((struct signal){.kind = CAN_ERROR, .line = fault.node, .value = (uint8_t)fault.bit, .id = fault.count});
	for (unsigned i = 0; i < NODES; i++)
		if (nodes[i].errors || nodes[i].off || nodes[i].open || nodes[i].ready > idle_from)
			put(state(0, (uint8_t)i, nodes[i].errors << 2 | nodes[i].off << 1 | nodes[i].open,
				  nodes[i].ready));
	put(state(1, 0, 0, idle_from));
	for (size_t i = 0; i < queued; i++)
		put(signal_of(&queue[i], CAN_FRAME, queue[i].cyclic));
	if (on_bus != SIZE_MAX)
		put(state((uint8_t)bits, failing, (uint32_t)on_bus, begun));
	for (size_t i = 0; i < cycle_count; i++) {
		struct signal period = signal_of(&cycles[i].frame, CAN_PERIOD, 0);
		memcpy(period.data, &cycles[i].period, sizeof period.data);
		period.ns = (uint64_t)cycles[i].due;
		put(signal_of(&cycles[i].frame, CAN_CONTENT, 0));
		if (cycles[i].due < NEVER)
			put(period);
	}
}

void can_take(uint32_t id, uint8_t length, const uint8_t *data)
{
	struct entry entry = {clock_get_ns(VIRTUAL), id, CAN_PARTITION, length < 8 ? length : 8, false, {0}};
	memcpy(entry.data, data, entry.length);
	add(entry);
	tick_soon();
}

void can_begin(unsigned bits_per_second)
{
	bitrate = bits_per_second;
	timer_make(&ticker, tick);
}
