/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O board is QEMU's `ivshmem-plain`: a PCI device whose second memory has one 32 bit word for each channel,
 * inputs from word 0 and outputs from word 16 on (hil/qemu/plant.py).
 */
#define _GNU_SOURCE
#include "analog.h"
#include "host.h"
#include "pins.h"
#include "wires.h"

#include <dirent.h>
#include <stdlib.h>

enum {
	VENDOR = 0x1af4,
	DEVICE = 0x1110,
	BOARD_BYTES = 4096,
	CHANNELS = 8, /* of each direction */
	OUTPUTS = 16, /* the word of the first */
	RAW_MAX = 0xffff,
};

static const char PCI[] = "/sys/bus/pci/devices";

static volatile uint32_t *board; /* NULL until it is needed */
static bool opened[OUTPUTS + CHANNELS]; /* by word, which is the handle */

/* Returns the number in a file of a PCI device, -1 without it. */
static long pci_number(const char *device, const char *name)
{
	char path[320], text[16] = "";
	snprintf(path, sizeof path, "%s/%s/%s", PCI, device, name);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = file < 0 ? 0 : read(file, text, sizeof text - 1);
	close(file);
	return got > 0 ? strtol(text, NULL, 0) : -1;
}

/* Switches on the device's memory, which no driver does, and maps it. */
static volatile uint32_t *map_board(const char *device)
{
	char path[320];
	snprintf(path, sizeof path, "%s/%s/enable", PCI, device);
	int enable = pci_number(device, "enable") == 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	bool refused = enable >= 0 && write(enable, "1", 1) != 1;
	close(enable);
	if (refused)
		return NULL;
	snprintf(path, sizeof path, "%s/%s/resource2", PCI, device);
	return link_map(path, 0, BOARD_BYTES);
}

static bool find_board(void)
{
	DIR *devices = board ? NULL : opendir(PCI);
	for (struct dirent *each; devices && !board && (each = readdir(devices));)
		if (pci_number(each->d_name, "vendor") == VENDOR && pci_number(each->d_name, "device") == DEVICE)
			board = map_board(each->d_name);
	if (devices)
		closedir(devices);
	return board;
}

/* Returns the word of AI0 to AI7 or AO0 to AO7, -1 for another name. */
static int word_of(const char *name)
{
	if (strlen(name) != 3 || name[0] != 'A' || name[2] < '0' || name[2] >= '0' + CHANNELS)
		return -1;
	return name[1] == 'I' ? name[2] - '0' : name[1] == 'O' ? OUTPUTS + name[2] - '0' : -1;
}

void analog_release(const char *list)
{
	for (int i = 0; i < CHANNELS; i++) {
		char name[] = {'A', 'O', '0' + i, 0};
		if ((!list || pins_has(list, name)) && find_board())
			board[OUTPUTS + i] = 0;
	}
}

static int open_channel(const char *name)
{
	if (!host_allows(name))
		return -WIRE_NOT_ALLOWED;
	int word = word_of(name);
	if (word < 0 || !find_board())
		return -WIRE_UNKNOWN;
	opened[word] = true;
	return word;
}

static WasmEdge_Result give(WasmEdge_Value *out, int value)
{
	out[0] = WasmEdge_ValueGenI32(value);
	return WasmEdge_Result_Success;
}

HOST_FUNCTION(analog_open) /* (name, size) -> handle */
{
	char name[PIN_NAME];
	if (!host_name(frame, HOST_I32(0), HOST_I32(1), name, sizeof name))
		return host_bad_pointer();
	return give(out, open_channel(name));
}

/* Returns 0 for a handle of a channel of that direction, else the error. */
static int check(uint32_t handle, bool output)
{
	if (handle >= OUTPUTS + CHANNELS || !opened[handle])
		return -WIRE_BAD_HANDLE;
	return output == (handle >= OUTPUTS) ? 0 : -WIRE_WRONG_DIRECTION;
}

HOST_FUNCTION(analog_read) /* (handle) -> raw */
{
	int error = check(HOST_I32(0), false);
	return give(out, error ? error : (int)(board[HOST_I32(0)] & RAW_MAX));
}

HOST_FUNCTION(analog_write) /* (handle, raw) -> 0 */
{
	int error = check(HOST_I32(0), true);
	if (!error && HOST_I32(1) > RAW_MAX)
		error = -WIRE_BAD_VALUE;
	if (!error)
		board[HOST_I32(0)] = HOST_I32(1);
	return give(out, error);
}

void analog_register(WasmEdge_VMContext *machine)
{
	board = NULL; /* a worker does not inherit the runner's mapping */
	WasmEdge_ModuleInstanceContext *channels = host_module("hil:analog/channels@0.1.0");
	host_add(channels, "open", "ii:i", analog_open, NULL);
	host_add(channels, "read", "i:i", analog_read, NULL);
	host_add(channels, "write", "ii:i", analog_write, NULL);
	host_finish(machine, channels);
}
