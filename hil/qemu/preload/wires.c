/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wires of the machine: a bench's ends of the pins of its GPIO controller, in QEMU's process.
 *
 * A stimulus is a timer of virtual time. An edge of an output is stamped in the virtual CPU's own write to the
 * controller. Both are appended to the log, a file of `struct signal`: nothing waits for its reader.
 *
 * Environment: HIL_WIRES="LOG_FD CONTROLLER", the controller as QEMU names its type, such as pl061, or `-` for none.
 * HIL_CAN: see canport.c.
 */
#define _GNU_SOURCE
#include "canbus.h"
#include "wires.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *(*resolve_type)(const char *, const char *, bool *);
static qemu_irq (*gpio_in)(void *, int);
static void (*connect_out)(void *, int, qemu_irq);
static qemu_irq (*allocate_irq)(void (*)(void *, int, int), void *, int);
static void (*set_irq)(qemu_irq, int);
static void (*add_init_done)(void *);

static int log_fd = -1;
static char controller_type[64];
static void *controller;
static struct timer stimulator;
static struct {
	bool driven;   /* what the driver of the line sets */
	bool level;    /* what the other end sees */
	uint8_t fault; /* the forced level, or RELEASED */
} lines[LINES];
static bool is_input[LINES];
static uint32_t armed;

/* Commands for later: a heap by time, then by order of arrival. */
static struct pending {
	struct signal command;
	uint64_t order;
} *heap;
static size_t pending, room;
static uint64_t arrivals;

static bool before(const struct pending *a, const struct pending *b)
{
	return a->command.ns != b->command.ns ? a->command.ns < b->command.ns : a->order < b->order;
}

static void swap(size_t i, size_t k)
{
	struct pending other = heap[i];
	heap[i] = heap[k];
	heap[k] = other;
}

static void push(const struct signal *command)
{
	if (pending == room) {
		room = room ? 2 * room : 1024;
		heap = realloc(heap, room * sizeof *heap);
		if (!heap)
			die("no memory for stimuli");
	}
	heap[pending] = (struct pending){*command, arrivals++};
	for (size_t at = pending++; at && before(&heap[at], &heap[(at - 1) / 2]); at = (at - 1) / 2)
		swap(at, (at - 1) / 2);
}

static struct signal pop(void)
{
	struct signal first = heap[0].command;
	heap[0] = heap[--pending];
	for (size_t at = 0;;) {
		size_t least = at, left = 2 * at + 1;
		for (size_t child = left; child <= left + 1 && child < pending; child++)
			if (before(&heap[child], &heap[least]))
				least = child;
		if (least == at)
			return first;
		swap(at, least);
		at = least;
	}
}

void wires_append(struct signal record)
{
	const char *at = (const char *)&record;
	for (size_t left = sizeof record; left;) {
		ssize_t written = write(log_fd, at, left);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			die("cannot write the log of the wires: is the disk full?");
		at += written;
		left -= (size_t)written;
	}
}

void wires_log(struct signal record)
{
	record.ns = (uint64_t)clock_get_ns(VIRTUAL);
	wires_append(record);
}

void wires_event(uint32_t mask)
{
	if (armed & mask) {
		armed = 0;
		wires_report(EDGE_REPORT);
	}
}

/* Lets the other end see what is driven, or the fault. */
static void update(int line)
{
	bool level = lines[line].fault == RELEASED ? lines[line].driven : lines[line].fault;
	if (lines[line].level == level)
		return;
	lines[line].level = level;
	wires_log((struct signal){.kind = SIGNAL_LEVEL, .line = (uint8_t)line, .value = level});
	if (is_input[line])
		set_irq(gpio_in(controller, line), level);
	wires_event(1u << line);
}

static void drive(int line, bool level, bool input)
{
	lines[line].driven = level;
	is_input[line] = input;
	update(line);
}

/* The controller's output of `line` has changed. */
static void on_output(void *unused, int line, int level)
{
	(void)unused;
	drive(line, level > 0, false);
}

/* Sorts by time and order of arrival: commands of the same time would be restored in another one. */
static int by_time(const void *a, const void *b)
{
	return before(a, b) ? -1 : 1;
}

static void put_saved(struct signal command)
{
	command.kind |= SAVED;
	wires_append(command);
}

static void save(void)
{
	for (uint8_t i = 0; i < LINES; i++) {
		uint8_t state = lines[i].driven | lines[i].level << 1 | is_input[i] << 2;
		put_saved((struct signal){.kind = SIGNAL_STATE, .line = i, .value = state, .id = lines[i].fault});
	}
	qsort(heap, pending, sizeof *heap, by_time); /* a sorted array is a heap, too */
	for (size_t i = 0; i < pending; i++)
		put_saved(heap[i].command);
	can_save(put_saved);
}

static void obey(const struct signal *command)
{
	int line = command->line % LINES;
	switch (command->kind) {
	case SIGNAL_LEVEL:
		drive(line, command->value, true);
		break;
	case SIGNAL_FAULT:
		is_input[line] |= command->id; /* it may never have been driven */
		lines[line].fault = command->value == INVERTED ? !lines[line].driven : command->value;
		update(line);
		break;
	case SIGNAL_STATE:
		lines[line].driven = command->value & 1;
		lines[line].level = command->value >> 1 & 1;
		is_input[line] = command->value >> 2 & 1;
		lines[line].fault = (uint8_t)command->id;
		break;
	case SIGNAL_ARM:
		armed = command->id;
		break;
	case SIGNAL_REPORT:
		wires_report(command->id);
		break;
	case SIGNAL_SAVE:
		save();
		break;
	case SIGNAL_CLEAR:
		pending = 0;
		break;
	default:
		if (command->kind < FIRST_OF_CAN)
			die("the host sent an unknown command to the wires");
		can_command(command);
	}
}

void wires_due(void)
{
	while (pending && (int64_t)heap[0].command.ns <= clock_get_ns(VIRTUAL)) {
		struct signal due = pop();
		obey(&due);
	}
	if (pending)
		timer_set(&stimulator, (int64_t)heap[0].command.ns);
}

static void stimulate(void *unused)
{
	(void)unused;
	wires_due();
}

bool wires_command(const struct signal *command)
{
	int64_t now = clock_get_ns(VIRTUAL);
	if (!controller && (command->kind == SIGNAL_LEVEL || command->kind == SIGNAL_FAULT))
		die("there is no pin to set");
	if ((int64_t)command->ns <= now) {
		obey(command);
		return command->ns && (int64_t)command->ns < now;
	}
	push(command);
	timer_set(&stimulator, (int64_t)heap[0].command.ns);
	return false;
}

static void connect(void *unused, void *data)
{
	(void)unused, (void)data;
	bool ambiguous = false, wanted = strcmp(controller_type, "-") != 0;
	controller = wanted ? resolve_type("", controller_type, &ambiguous) : NULL;
	if (wanted && !controller) {
		fprintf(stderr, "wires: this machine has %s %s\n", ambiguous ? "several" : "no", controller_type);
		_exit(3);
	}
	for (int i = 0; wanted && i < LINES; i++)
		connect_out(controller, i, allocate_irq(on_output, NULL, i));
	timer_make(&stimulator, stimulate);
	can_connect();
	wires_ready();
}

void wires_load(const char *setting, bool probe)
{
	const char *can = getenv("HIL_CAN");
	static struct {
		void (*notify)(void *, void *);
		void *next, *prev;
	} ready = {connect, NULL, NULL};
	resolve_type = find_symbol("object_resolve_path_type", NULL);
	gpio_in = find_symbol("qdev_get_gpio_in", NULL);
	connect_out = find_symbol("qdev_connect_gpio_out", NULL);
	allocate_irq = find_symbol("qemu_allocate_irq", NULL);
	set_irq = find_symbol("qemu_set_irq", NULL);
	add_init_done = find_symbol("qemu_add_machine_init_done_notifier", NULL);
	if (probe) {
		if (missing)
			fprintf(stderr, "wires: this QEMU does not export %s\n", missing);
		can_load(NULL, true);
		return;
	}
	if (missing || sscanf(setting, "%d %63s", &log_fd, controller_type) != 2)
		die("HIL_WIRES cannot be used");
	for (int i = 0; i < LINES; i++)
		lines[i].fault = RELEASED;
	if (can)
		can_load(can, false);
	add_init_done(&ready);
}
