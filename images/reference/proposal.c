/* SPDX-License-Identifier: Apache-2.0 */
#include "proposal.h"

#include <stdio.h>
#include <string.h>
#include <wasmedge/wasmedge.h>

/* Proposals that WasmEdge 0.14 has no name for: its error, and the bytes that the loader stopped at. */
static const struct {
	const char *name;
	uint32_t code;
	uint8_t first, last;         /* range of the first byte */
	uint8_t second, second_last; /* range of the byte after it */
} unknown[] = {
	{"Memory64", WasmEdge_ErrCode_IntegerTooLarge, 0x04, 0x07, 0, 0xff}, /* flags of limits */
	{"Custom Page Sizes", WasmEdge_ErrCode_IntegerTooLarge, 0x08, 0x0f, 0, 0xff},
	{"Stack Switching", WasmEdge_ErrCode_IntegerTooLong, 0x5d, 0x5d, 0, 0xff},
	{"Stack Switching", WasmEdge_ErrCode_IllegalOpCode, 0xe0, 0xe5, 0, 0xff},
	{"Wide Arithmetic", WasmEdge_ErrCode_IllegalOpCode, 0xfc, 0xfc, 0x13, 0x16},
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
	if (!said || sscanf(said + strlen(place), "%x", &at) != 1 || at + 1ull >= bytes)
		return 0;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		if (code == unknown[i].code && module[at] >= unknown[i].first && module[at] <= unknown[i].last &&
		    module[at + 1] >= unknown[i].second && module[at + 1] <= unknown[i].second_last) {
			snprintf(name, room, "%s", unknown[i].name);
			return 1;
		}
	return 0;
}
