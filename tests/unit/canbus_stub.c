/* SPDX-License-Identifier: Apache-2.0 */
/* The CAN bus model without QEMU: a clock, its timer and the partition's controller, for test_can_model.py. */
#include "canbus.h"

#include <stdlib.h>
#include <string.h>

int64_t (*clock_get_ns)(int);
void (*timer_init)(void *, void *, int, int, int, void (*)(void *), void *);
void (*timer_set)(void *, int64_t);

static int64_t now, due = INT64_MAX;
static void (*handler)(void *);
static struct signal records[65536];
static size_t recorded;

struct signal *stub_records(void) { return records; }
size_t stub_recorded(void) { return recorded; }
bool stub_listens = true;

static int64_t get_ns(int clock) { (void)clock; return now; }
static void set(void *timer, int64_t at) { (void)timer; due = at; }
static void init(void *timer, void *list, int clock, int scale, int attributes, void (*call)(void *), void *opaque)
{
	(void)timer, (void)list, (void)clock, (void)scale, (void)attributes, (void)opaque;
	handler = call;
}

_Noreturn void die(const char *what) { (void)what; abort(); }
void wires_append(struct signal record) { records[recorded++] = record; }
void wires_event(uint32_t mask) { (void)mask; }
void wires_due(void) {}
bool can_deliver(uint32_t id, uint8_t length, const uint8_t *data)
{
	(void)id, (void)length, (void)data;
	return stub_listens;
}

void stub_begin(unsigned bitrate)
{
	clock_get_ns = get_ns;
	timer_set = set;
	timer_init = init;
	can_begin(bitrate);
}

/* Lets time pass; `late` is the delay of each timer, as in real time. */
void stub_run_until(int64_t until, int64_t late)
{
	while (due <= until) {
		now = due + late > now ? due + late : now;
		due = INT64_MAX;
		handler(NULL);
	}
	now = until > now ? until : now;
}

void stub_save(void) { can_save(wires_append); }
