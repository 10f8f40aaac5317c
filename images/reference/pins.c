/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "pins.h"

#include <linux/gpio.h>
#include <stdio.h>

enum { CHIPS = 16 };

static const char TABLE[] = "/etc/pins";

/* Reads the next entry of the table; skips comments and lines that are none. Returns whether there is one. */
static bool next_entry(FILE *table, char name[PIN_NAME], struct pin *pin)
{
	char line[160], direction[4];
	while (fgets(line, sizeof line, table)) {
		if (sscanf(line, "%31s %3s %u", name, direction, &pin->offset) != 3 || name[0] == '#')
			continue;
		pin->direction = strcmp(direction, "in") == 0 ? PIN_IN : PIN_OUT;
		return true;
	}
	return false;
}

/* Finds the entry of the table. */
static bool described(const char *name, struct pin *pin)
{
	char entry[PIN_NAME];
	bool found = false;
	FILE *table = fopen(TABLE, "re");
	while (table && !found && next_entry(table, entry, pin))
		found = strcmp(entry, name) == 0;
	if (table)
		fclose(table);
	return found;
}

static int open_chip(int number)
{
	char path[32];
	snprintf(path, sizeof path, "/dev/gpiochip%d", number);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Finds the line that has the name in the kernel. Counts the lines with a name, for a kernel without any. */
static bool named(const char *name, struct pin *pin, unsigned *names)
{
	for (int number = 0; number < CHIPS; number++) {
		struct gpiochip_info about = {0};
		pin->chip = open_chip(number);
		if (pin->chip < 0)
			continue; /* numbers may have gaps */
		ioctl(pin->chip, GPIO_GET_CHIPINFO_IOCTL, &about);
		for (uint32_t line = 0; line < about.lines; line++) {
			struct gpio_v2_line_info info = {.offset = line};
			if (ioctl(pin->chip, GPIO_V2_GET_LINEINFO_IOCTL, &info) < 0)
				continue;
			*names += info.name[0] != 0;
			if (strcmp(info.name, name) == 0) {
				pin->offset = line;
				return true;
			}
		}
		close(pin->chip);
	}
	return false;
}

int pin_find(const char *name, struct pin *pin)
{
	struct pin entry = {.direction = PIN_ANY};
	unsigned names = 0;
	bool listed = described(name, &entry);
	pin->direction = listed ? entry.direction : PIN_ANY;
	if (!name[0])
		return -1;
	if (named(name, pin, &names))
		return 0;
	if (!listed || names)
		return -1;
	pin->chip = open_chip(0);
	pin->offset = entry.offset;
	return pin->chip < 0 ? -1 : 0;
}

/* Copies the next name of the list and moves on. Returns whether there is one that fits. */
static bool next_name(const char **list, char name[PIN_NAME])
{
	size_t length = strcspn(*list, ",");
	if (!length || length >= PIN_NAME)
		return false;
	memcpy(name, *list, length);
	name[length] = 0;
	*list += length + ((*list)[length] == ',');
	return true;
}

bool pins_has(const char *list, const char *name)
{
	char each[PIN_NAME];
	while (next_name(&list, each))
		if (strcmp(each, name) == 0)
			return true;
	return false;
}

bool pins_valid(const char *list)
{
	char each[PIN_NAME];
	size_t length = strlen(list);
	for (size_t i = 0; i < length; i++)
		if (list[i] <= ' ' || list[i] > '~')
			return false;
	if (length && list[length - 1] == ',')
		return false;
	while (*list)
		if (!next_name(&list, each))
			return false;
	return true;
}

/*
 * Makes an input of an output. Its level is set to 0 first: a controller may keep it, as the PL061 does, and show it for
 * a moment when the next module makes an output of the line. Returns 0, or -1 with errno set.
 */
static int release(const struct pin *pin)
{
	struct gpio_v2_line_info info = {.offset = pin->offset};
	struct gpio_v2_line_request line = {.num_lines = 1, .consumer = "release"};
	struct gpio_v2_line_config input = {.flags = GPIO_V2_LINE_FLAG_INPUT};
	line.offsets[0] = pin->offset;
	line.config.flags = GPIO_V2_LINE_FLAG_OUTPUT; /* at 0 */
	if (ioctl(pin->chip, GPIO_V2_GET_LINEINFO_IOCTL, &info) == 0 && info.flags & GPIO_V2_LINE_FLAG_INPUT)
		return 0;
	if (ioctl(pin->chip, GPIO_V2_GET_LINE_IOCTL, &line) < 0)
		return -1;
	int result = ioctl(line.fd, GPIO_V2_LINE_SET_CONFIG_IOCTL, &input);
	int error = errno;
	close(line.fd);
	errno = error;
	return result;
}

const char *pins_release(const char *list)
{
	static char each[PIN_NAME];
	static char failed[PIN_NAME];
	struct pin pin;
	int error = 0;
	while (next_name(&list, each)) {
		if (pin_find(each, &pin) < 0)
			continue;
		if (release(&pin) < 0) {
			error = errno;
			memcpy(failed, each, sizeof failed);
		}
		close(pin.chip);
	}
	errno = error;
	return error ? failed : NULL;
}

const char *pins_release_all(void)
{
	char names[1024] = "", name[PIN_NAME];
	struct pin pin;
	size_t used = 0;
	FILE *table = fopen(TABLE, "re");
	while (table && next_entry(table, name, &pin))
		if (pin.direction == PIN_OUT && used + PIN_NAME + 1 < sizeof names)
			used += sprintf(names + used, used ? ",%s" : "%s", name);
	if (table)
		fclose(table);
	return pins_release(names);
}
