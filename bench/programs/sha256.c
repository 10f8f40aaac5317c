/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) of 4 KiB, again and again over its own digest. The constants are worked out, as the standard
 * defines them: the fractions of the square and cube roots of the first primes. */
#include "bench.h"

#include <math.h>

enum { SIZE = 4096 };

static uint32_t initial[8], constant[64];
static uint8_t message[SIZE + 64];

static void make_constants(void)
{
	for (int found = 0, n = 2; found < 64; n++) {
		int prime = 1;
		for (int d = 2; d * d <= n; d++)
			prime &= n % d != 0;
		if (!prime)
			continue;
		double square = sqrt(n), cube = cbrt(n);
		if (found < 8)
			initial[found] = (uint32_t)((square - floor(square)) * 4294967296.0);
		constant[found++] = (uint32_t)((cube - floor(cube)) * 4294967296.0);
	}
}

static uint32_t turned(uint32_t value, int bits)
{
	return value >> bits | value << (32 - bits);
}

static void block(uint32_t hash[8], const uint8_t *data)
{
	uint32_t word[64], s[8];
	for (int i = 0; i < 16; i++, data += 4)
		word[i] = (uint32_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
	for (int i = 16; i < 64; i++) {
		uint32_t a = word[i - 15], b = word[i - 2];
		word[i] = word[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + word[i - 7] +
			  (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
	}
	memcpy(s, hash, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
			       ((s[4] & s[5]) ^ (~s[4] & s[6])) + constant[i] + word[i];
		uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) +
			       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += one;
		s[0] = one + two;
	}
	for (int i = 0; i < 8; i++)
		hash[i] += s[i];
}

static uint32_t work(uint32_t rounds)
{
	uint32_t hash[8];
	make_constants();
	for (int i = 0; i < SIZE; i++)
		message[i] = i;
	message[SIZE] = 0x80;
	message[SIZE + 62] = (uint8_t)(SIZE * 8 >> 8);
	while (rounds--) {
		memcpy(hash, initial, sizeof hash);
		for (int i = 0; i <= SIZE; i += 64)
			block(hash, message + i);
		memcpy(message, hash, sizeof hash);
	}
	return hash[0];
}
