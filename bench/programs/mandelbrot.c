/* SPDX-License-Identifier: Apache-2.0 */
/* The iterations of all points of a picture of the Mandelbrot set: floating point in registers alone. */
#include "bench.h"

enum { WIDTH = 96, HEIGHT = 64, MOST = 100 };

static uint32_t work(uint32_t rounds)
{
	uint32_t total = 0;
	while (rounds--)
		for (int row = 0; row < HEIGHT; row++)
			for (int column = 0; column < WIDTH; column++) {
				double real = column * 3.0 / WIDTH - 2, imaginary = row * 2.0 / HEIGHT - 1, x = 0, y = 0;
				int count = 0;
				while (count < MOST && x * x + y * y <= 4) {
					double next = x * x - y * y + real;
					y = 2 * x * y + imaginary;
					x = next;
					count++;
				}
				total += count;
			}
	return total;
}
