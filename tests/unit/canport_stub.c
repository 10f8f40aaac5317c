/* SPDX-License-Identifier: Apache-2.0 */
/* A CAN bus as QEMU's, or with another layout of its clients, for test_can_model.py. */
#include "canbus.h"

#include <stdlib.h>
#include <string.h>

struct client;
struct info {
	bool (*can_receive)(struct client *);
	ssize_t (*receive)(struct client *, const void *, size_t);
};
struct client {
	void *word[10];
};
static struct bus {
	struct client *clients[8];
	int count;
} buses[2];

enum { AS_QEMU, BUS_ELSEWHERE, MORE_LINKS, NO_RECEIVER } layout;
struct signal stub_record;
unsigned stub_taken, stub_begun;
const char *missing;

static void *resolve(const char *path) { return strcmp(path, "/objects/canbus0") ? NULL : &buses[0]; }
static void *make(const char *type) { (void)type; return &buses[1]; }
static int insert(struct bus *bus, struct client *client)
{
	struct client *last = bus->count ? bus->clients[bus->count - 1] : NULL;
	client->word[layout == BUS_ELSEWHERE ? 2 : 1] = bus;
	client->word[3] = NULL;
	client->word[4] = last ? (void *)&last->word[3] : bus;
	if (layout == MORE_LINKS)
		client->word[5] = bus;
	if (last)
		last->word[3] = client;
	bus->clients[bus->count++] = client;
	return 0;
}
static ssize_t send(struct client *client, const void *frame, size_t count)
{
	struct bus *bus = client->word[1];
	for (int i = 0; i < bus->count; i++) {
		struct info *info = bus->clients[i]->word[0];
		if (bus->clients[i] != client && layout != NO_RECEIVER && info->can_receive(bus->clients[i]))
			info->receive(bus->clients[i], frame, count);
	}
	return 1;
}

void *find_symbol(const char *name, const char *other)
{
	(void)other;
	if (!strcmp(name, "object_resolve_path"))
		return (void *)resolve;
	if (!strcmp(name, "object_new"))
		return (void *)make;
	return !strcmp(name, "can_bus_insert_client") ? (void *)insert : (void *)send;
}
_Noreturn void die(const char *what) { (void)what; abort(); }
void wires_log(struct signal record) { stub_record = record; }
void can_begin(unsigned bitrate) { stub_begun = bitrate; }
void can_take(uint32_t id, uint8_t length, const uint8_t *data) { (void)length, (void)data; stub_taken = id; }

void stub_connect(int with, const char *setting)
{
	layout = with;
	can_load(setting, false);
	can_connect();
}

/* Sends as a controller of the machine does. */
void stub_send(uint32_t id)
{
	static const struct info none;
	static struct client controller;
	uint8_t frame[72] = {0};
	memcpy(frame, &id, sizeof id);
	controller.word[0] = (void *)&none;
	controller.word[1] = &buses[0];
	send(&controller, frame, 1);
}
