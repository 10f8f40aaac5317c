// SPDX-License-Identifier: Apache-2.0
// Writes every byte value once, 0 to 255, in order, in one piece and nothing else.
#include "tiny.h"

void _start(void) {
  static uint8_t all[256];
  for (size_t i = 0; i < sizeof all; i++)
    all[i] = (uint8_t)i;
  put(STDOUT, all, sizeof all);
}
