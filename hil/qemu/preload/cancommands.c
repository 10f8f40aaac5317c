/* SPDX-License-Identifier: Apache-2.0 */
/* The host's commands to the CAN bus, and the commands that restore its state. */
#include "canmodel.h"

#include <string.h>

static uint64_t number_in(const struct signal *command)
{
	uint64_t number;
	memcpy(&number, command->data, sizeof number);
	return number;
}

static struct can_cycle *cycle_of(const struct signal *command)
{
	for (size_t i = 0; i < bus.cycle_count; i++)
		if (bus.cycles[i].frame.node == command->line && bus.cycles[i].frame.id == command->id)
			return &bus.cycles[i];
	if (bus.cycle_count == CYCLES)
		die("there are too many cyclic CAN frames");
	bus.cycles[bus.cycle_count] = (struct can_cycle){NEVER, NEVER, can_entry_of(command, 0)};
	bus.cycles[bus.cycle_count].frame.cyclic = true;
	return &bus.cycles[bus.cycle_count++];
}

static void set_open(uint8_t node, bool open, int64_t at)
{
	int64_t *ready = node == CAN_ANY ? &bus.idle_from : &bus.nodes[node].ready;
	if (bus.nodes[node].open && !open && *ready < at)
		*ready = at; /* its frames have waited until now */
	bus.nodes[node].open = open;
}

/* Undoes what the bench has set; the frame on the bus and those of the partition stay. */
static void clear(int64_t at)
{
	size_t left = 0, kept = bus.on_bus;
	for (size_t i = 0; i < bus.queued; i++) {
		if (bus.queue[i].node != CAN_PARTITION && i != kept)
			continue;
		if (i == kept)
			bus.on_bus = left;
		bus.queue[left++] = bus.queue[i];
	}
	bus.queued = left;
	bus.cycle_count = 0;
	bus.fault.count = 0;
	for (unsigned i = 0; i < NODES; i++) {
		if (bus.nodes[i].off)
			can_switch_off((uint8_t)i, CAN_ON, at);
		bus.nodes[i].errors = 0;
		set_open((uint8_t)i, false, at);
	}
}

static void set_state(const struct signal *command)
{
	int64_t at = (int64_t)number_in(command);
	switch (command->value) {
	case 0:
		bus.nodes[command->line].ready = at;
		bus.nodes[command->line].errors = command->id >> 2;
		bus.nodes[command->line].off = command->id >> 1 & 1;
		bus.nodes[command->line].open = command->id & 1;
		break;
	case 1:
		bus.idle_from = at;
		break;
	default: /* the frame on the bus */
		bus.on_bus = command->id;
		bus.failing = command->line;
		bus.bits = command->value;
		bus.begun = at;
		bus.ends = bus.begun + can_duration(bus.bits);
	}
}

void can_command(const struct signal *command)
{
	int64_t now = clock_get_ns(VIRTUAL), at = command->ns ? (int64_t)command->ns : now;
	struct can_entry entry = can_entry_of(command, at);
	struct can_cycle *cycle;
	if (!bus.bitrate)
		die("there is no CAN bus");
	switch (command->kind) {
	case CAN_FRAME:
		entry.cyclic = command->value; /* after a restore */
		can_add(entry);
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
		bus.fault.count = command->id;
		bus.fault.node = command->line;
		bus.fault.bit = command->value;
		break;
	case CAN_OFF:
		can_switch_off(command->line, command->value, at);
		break;
	case CAN_OPEN:
		set_open(command->line, command->value, at);
		can_record(at, *command);
		break;
	case CAN_BITRATE:
		if (command->id && command->id != bus.bitrate) {
			bus.bitrate = command->id;
			can_record(at, *command);
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
	can_tick_soon();
}

static struct signal state(uint8_t value, uint8_t node, uint32_t id, int64_t at)
{
	struct signal made = {.kind = CAN_STATE, .line = node, .value = value, .id = id};
	memcpy(made.data, &at, sizeof at);
	return made;
}

void can_save(void (*put)(struct signal))
{
	if (!bus.bitrate)
		return;
	put((struct signal){.kind = CAN_BITRATE, .id = bus.bitrate});
	uint8_t bit = (uint8_t)bus.fault.bit;
	put((struct signal){.kind = CAN_ERROR, .line = bus.fault.node, .value = bit, .id = bus.fault.count});
	for (unsigned i = 0; i < NODES; i++)
		if (bus.nodes[i].errors || bus.nodes[i].off || bus.nodes[i].open || bus.nodes[i].ready > bus.idle_from)
			put(state(0, (uint8_t)i, bus.nodes[i].errors << 2 | bus.nodes[i].off << 1 | bus.nodes[i].open,
				  bus.nodes[i].ready));
	put(state(1, 0, 0, bus.idle_from));
	for (size_t i = 0; i < bus.queued; i++)
		put(can_signal_of(&bus.queue[i], CAN_FRAME, bus.queue[i].cyclic));
	if (bus.on_bus != SIZE_MAX)
		put(state((uint8_t)bus.bits, bus.failing, (uint32_t)bus.on_bus, bus.begun));
	for (size_t i = 0; i < bus.cycle_count; i++) {
		struct signal period = can_signal_of(&bus.cycles[i].frame, CAN_PERIOD, 0);
		memcpy(period.data, &bus.cycles[i].period, sizeof period.data);
		period.ns = (uint64_t)bus.cycles[i].due;
		put(can_signal_of(&bus.cycles[i].frame, CAN_CONTENT, 0));
		if (bus.cycles[i].due < NEVER)
			put(period);
	}
}
