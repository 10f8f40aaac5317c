/* SPDX-License-Identifier: Apache-2.0 */
#include "proposal.h"

#include <stdio.h>
#include <string.h>
#include <wasmedge/wasmedge.h>

/* Proposals that WasmEdge 0.14 has no name for: its error, and the byte that the loader stopped at. */
static const struct {
	const char *name;
	uint32_t code;
	uint8_t prefix; /* the byte before, 0 for any */
	uint8_t first, last;
} unknown[] = {
	{"Memory64", WasmEdge_ErrCode_IntegerTooLarge, 0, 0x04, 0x07}, /* flags of limits */
	{"Custom Page Sizes", WasmEdge_ErrCode_IntegerTooLarge, 0, 0x08, 0x0f},
	{"Stack Switching", WasmEdge_ErrCode_IntegerTooLong, 0, 0x5d, 0x5d}, /* a type */
	{"Stack Switching", WasmEdge_ErrCode_IllegalOpCode, 0, 0xe0, 0xe5},
	{"Wide Arithmetic", WasmEdge_ErrCode_IllegalOpCode, 0xfc, 0x13, 0x16},
};

/* The library's own line: "... requires enabling NAME proposal". */
static int named(char *name, size_t room, const char *log)
{
	static const char before[] = "requires enabling ", after[] = " proposal";
	const char *start = strstr(log, before);
	const char *end = start ? strstr(start, after) : NULL;
	if (!end)
		return 0;
	start += strlen(before);
	snprintf(name, room, "%.*s", (int)(end - start), start);
	return 1;
}

int proposal_missing(char *name, size_t room, const char *log, uint32_t code, const uint8_t *module, uint64_t bytes)
{
	static const char place[] = "Bytecode offset: ";
	const char *said = strstr(log, place);
	unsigned at;
	if (named(name, room, log))
		return 1;
	if (!said || sscanf(said + strlen(place), "%x", &at) != 1 || !at || at >= bytes)
		return 0;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		if (code == unknown[i].code && module[at] >= unknown[i].first && module[at] <= unknown[i].last &&
		    (!unknown[i].prefix || module[at - 1] == unknown[i].prefix)) {
			snprintf(name, room, "%s", unknown[i].name);
			return 1;
		}
	return 0;
}
