/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that attract each other, in steps of fixed length: floating point with square roots and divisions. */
#include "bench.h"

#include <math.h>

enum { BODIES = 8, STEPS = 100 };

static struct body {
	double place[3], speed[3], mass;
} bodies[BODIES];

static void step(double seconds)
{
	for (int i = 0; i < BODIES; i++)
		for (int j = i + 1; j < BODIES; j++) {
			double away[3], square = 1e-6;
			for (int k = 0; k < 3; k++) {
				away[k] = bodies[i].place[k] - bodies[j].place[k];
				square += away[k] * away[k];
			}
			double pull = seconds / (square * sqrt(square));
			for (int k = 0; k < 3; k++) {
				bodies[i].speed[k] -= away[k] * bodies[j].mass * pull;
				bodies[j].speed[k] += away[k] * bodies[i].mass * pull;
			}
		}
	for (int i = 0; i < BODIES; i++)
		for (int k = 0; k < 3; k++)
			bodies[i].place[k] += seconds * bodies[i].speed[k];
}

static uint32_t work(uint32_t rounds)
{
	uint32_t seed = 99, result = 0;
	for (int i = 0; i < BODIES; i++) {
		for (int k = 0; k < 3; k++)
			bodies[i].place[k] = next_random(&seed) % 2000 / 100.0 - 10;
		bodies[i].mass = 1 + next_random(&seed) % 9;
	}
	for (uint32_t i = 0; i < rounds * STEPS; i++)
		step(1e-3);
	for (int i = 0; i < BODIES; i++) {
		uint64_t bits;
		memcpy(&bits, &bodies[i].place[0], sizeof bits);
		result = result * 31 + (uint32_t)(bits >> 20); /* not the last bits: a compiler may fuse operations */
	}
	return result;
}
