/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of a benchmark: the argument is the number of rounds; the work's time in microseconds is the last line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Does the work `rounds` times and returns a number that depends on all of it. */
static uint32_t work(uint32_t rounds);

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

/* Writes a line `WORD NUMBER`, without the formats of stdio, which would be most of a module. */
static void say(const char *word, uint64_t number)
{
	char line[80], *at = line + sizeof line;
	*--at = '\n';
	do
		*--at = '0' + number % 10;
	while (number /= 10);
	*--at = ' ';
	at -= strlen(word);
	memcpy(at, word, strlen(word));
	if (write(1, at, line + sizeof line - at) < 0)
		abort();
}

int main(int count, char **arguments)
{
	uint32_t rounds = count > 1 ? strtoul(arguments[1], NULL, 10) : 1;
	uint64_t begin = now_us();
	uint32_t result = work(rounds);
	uint64_t end = now_us();
	say("result", result);
	say("us", end - begin);
	return 0;
}

static inline uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}
