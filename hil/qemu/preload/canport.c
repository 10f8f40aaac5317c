/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench's port of QEMU's CAN bus: one more client, which passes frames between QEMU's controllers and the model.
 *
 * QEMU has no public header for this, so the layouts are copied; self_test() tries them on a bus of its own before the
 * machine's bus is joined.
 *
 * Environment: HIL_CAN="BUS BITRATE", the path of the bus such as /objects/canbus0, and bit/s.
 */
#include "canbus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* QEMU's include/net/can_emu.h, the same from 5.2 to 10.1. */
struct frame {
	uint32_t id;
	uint8_t length, flags;
	_Alignas(8) uint8_t data[64];
};
enum { INFO = 0, BUS = 1, NEXT = 3, PREVIOUS = 4, WORDS = 32 }; /* of a client; it has fewer words */
struct client {
	const void *word[WORDS];
};
static const struct client_info {
	bool (*can_receive)(struct client *);
	ssize_t (*receive)(struct client *, const struct frame *, size_t);
} port_info, test_info;

static void *(*resolve)(const char *, bool *);
static void *(*new_object)(const char *);
static int (*insert)(void *, struct client *);
static ssize_t (*bus_send)(struct client *, const struct frame *, size_t);

static char bus_path[128];
static unsigned bitrate;
static struct client port;
static struct {
	const struct client *client;
	const struct frame *frame;
} tested; /* what the second client of the self-test received */

static bool always(struct client *unused)
{
	(void)unused;
	return true;
}

static ssize_t receive(struct client *unused, const struct frame *frames, size_t count)
{
	(void)unused;
	for (size_t i = 0; i < count; i++)
		can_take(frames[i].id, frames[i].length & 0xf, frames[i].data);
	return 1;
}

static ssize_t receive_test(struct client *client, const struct frame *frames, size_t count)
{
	tested.client = count == 1 ? client : NULL;
	tested.frame = frames;
	return 1;
}

static const struct client_info port_info = {always, receive}, test_info = {always, receive_test};

/* All words lead to `info`, so that a call through another layout does not go astray. */
static void fill(struct client *client, const struct client_info *info)
{
	for (size_t i = 0; i < WORDS; i++)
		client->word[i] = info;
}

/* Returns whether insertion of `client` as the last one of `bus` has changed exactly the expected words. */
static bool joined(const struct client *client, const void *bus)
{
	for (size_t i = 0; i < WORDS; i++) {
		bool same = client->word[i] == &test_info;
		if (i == BUS ? client->word[i] != bus : i == NEXT ? client->word[i] != NULL : same == (i == PREVIOUS))
			return false;
	}
	return true;
}

/* Returns whether QEMU's bus works as this file expects. */
static bool self_test(void)
{
	static struct client first, second; /* they stay on their bus */
	struct frame frame = {.id = 1};
	void *bus = new_object("can-bus");
	fill(&first, &test_info);
	fill(&second, &test_info);
	insert(bus, &first);
	if (!joined(&first, bus))
		return false;
	insert(bus, &second);
	if (!joined(&second, bus) || first.word[NEXT] != &second)
		return false;
	return bus_send(&first, &frame, 1) == 1 && tested.client == &second && tested.frame == &frame;
}

bool can_deliver(uint32_t id, uint8_t length, const uint8_t *data)
{
	struct frame frame = {.id = id, .length = id & CAN_REMOTE ? 0 : length};
	/* With a length QEMU's SJA1000 loses its place in the receive buffer after a remote frame. */
	memcpy(frame.data, data, 8);
	return bus_send(&port, &frame, 1) > 0;
}

void can_connect(void)
{
	if (!bitrate)
		return;
	void *bus = resolve(bus_path, NULL);
	uint8_t refusal = !bus ? CAN_NO_BUS : !self_test() ? CAN_OTHER_LAYOUT : 0;
	if (refusal) {
		wires_log((struct signal){.kind = CAN_REFUSED, .value = refusal});
		return;
	}
	port.word[INFO] = &port_info;
	insert(bus, &port);
	can_begin(bitrate);
}

void can_load(const char *setting, bool probe)
{
	missing = NULL;
	resolve = find_symbol("object_resolve_path", NULL);
	new_object = find_symbol("object_new", NULL);
	insert = find_symbol("can_bus_insert_client", NULL);
	bus_send = find_symbol("can_bus_client_send", NULL);
	if (probe && missing)
		fprintf(stderr, "can: this QEMU does not export %s\n", missing);
	if (!probe && (missing || sscanf(setting, "%127s %u", bus_path, &bitrate) != 2 || !bitrate))
		die("HIL_CAN cannot be used");
}
