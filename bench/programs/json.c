/* SPDX-License-Identifier: Apache-2.0 */
/* A recursive JSON parser without a tree, on a document that it writes first: adds up what it finds. */
#include "bench.h"

#include <stdio.h>

enum { RECORDS = 200, ROOM = 64 << 10, DEPTH = 32 };

static char document[ROOM];
static const char *at;
static uint32_t sum;

static void write_document(void)
{
	char *to = document;
	uint32_t seed = 7;
	to += sprintf(to, "{\"version\": 1, \"records\": [");
	for (int i = 0; i < RECORDS; i++) {
		uint32_t value = next_random(&seed);
		to += sprintf(to, "%s\n  {\"id\": %d, \"name\": \"sensor \\u00e9 \\\"%x\\\"\", \"on\": %s, \"limits\": [%d.%02d, -%de-2, null]}",
			      i ? "," : "", i, (unsigned)value, value & 1 ? "true" : "false", (int)(value % 1000),
			      (int)(value % 100), (int)(value % 77));
	}
	strcpy(to, "\n]}");
}

static _Noreturn void wrong(void)
{
	say("wrong at", at - document);
	exit(1);
}

static void space(void)
{
	while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
		at++;
}

static void literal(const char *word)
{
	size_t size = strlen(word);
	if (strncmp(at, word, size))
		wrong();
	at += size;
	sum = sum * 33 + word[0];
}

static void string(void)
{
	for (at++; *at != '"'; at++) {
		unsigned c = (unsigned char)*at;
		if (c < ' ')
			wrong();
		if (c == '\\') {
			c = *++at;
			if (c == 'u') {
				c = 0;
				for (int i = 0; i < 4; i++) {
					char digit = *++at | 0x20;
					c = c << 4 | (digit >= 'a' ? digit - 'a' + 10 : digit - '0');
				}
			} else if (!c || !strchr("\"\\/bfnrt", c)) {
				wrong();
			}
		}
		sum = sum * 33 + c;
	}
	at++;
}

static void number(void)
{
	double value = 0, sign = 1, scale = 1;
	int exponent = 0, negative = 0;
	if (*at == '-')
		sign = -1, at++;
	if (*at < '0' || *at > '9')
		wrong();
	while (*at >= '0' && *at <= '9')
		value = value * 10 + (*at++ - '0');
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++)
			value += (scale /= 10) * (*at - '0');
	if ((*at | 0x20) == 'e') {
		at++;
		if (*at == '+' || *at == '-')
			negative = *at++ == '-';
		while (*at >= '0' && *at <= '9')
			exponent = exponent * 10 + (*at++ - '0');
	}
	while (exponent--)
		value = negative ? value / 10 : value * 10;
	sum = sum * 33 + (uint32_t)(int32_t)(sign * value * 100);
}

static void value(int depth)
{
	space();
	if (depth > DEPTH)
		wrong();
	switch (*at) {
	case '{':
	case '[': {
		char end = *at++ == '{' ? '}' : ']';
		space();
		if (*at == end) {
			at++;
			return;
		}
		for (;;) {
			if (end == '}') {
				space();
				string();
				space();
				if (*at++ != ':')
					wrong();
			}
			value(depth + 1);
			space();
			if (*at == end) {
				at++;
				return;
			}
			if (*at++ != ',')
				wrong();
		}
	}
	case '"':
		string();
		return;
	case 't':
		literal("true");
		return;
	case 'f':
		literal("false");
		return;
	case 'n':
		literal("null");
		return;
	default:
		number();
	}
}

static uint32_t work(uint32_t rounds)
{
	write_document();
	while (rounds--) {
		at = document;
		value(0);
		if (*at)
			wrong();
	}
	return sum;
}
