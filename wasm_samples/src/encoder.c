// SPDX-License-Identifier: Apache-2.0
// Counts a quadrature encoder on ENCODER_A and ENCODER_B: encoder IDLE_MS (100). Prints `ready` when it waits, and when
// there was no edge for IDLE_MS after the first: the position in quarter periods (A before B counts up), the edges, the
// steps in which both signals seem to change at once or none does, and the edges that the kernel lost.
#include "pins.h"

void _start(void) {
  // by the old and the new state, A * 2 + B; 2 is an impossible step
  static const int8_t steps[4][4] = { { 2, -1, 1, 2 }, { 1, 2, 2, -1 }, { -1, 2, 2, 1 }, { 2, 1, -1, 2 } };
  read_arguments();
  uint64_t idle = number_argument(1, 100) * 1000000ull;
  int pins[] = { input("ENCODER_A"), input("ENCODER_B") };
  uint32_t state = 0, edges = 0, impossible = 0, lost = 0;
  int64_t position = 0;
  for (int i = 0; i < 2; i++) {
    int error = gpio_watch(pins[i]);
    if (error)
      refused("ENCODER", error);
    state = state << 1 | (gpio_get(pins[i]) == 1);
  }
  say("ready\n");
  for (;;) {
    struct gpio_edge edge;
    int got = gpio_wait(pins, 2, edges ? idle : GPIO_FOREVER, &edge);
    if (got < 0)
      refused("ENCODER", got);
    if (!got)
      break;
    uint32_t bit = edge.pin ? 1 : 2, next = edge.active ? state | bit : state & ~bit;
    int8_t step = steps[state][next];
    impossible += step == 2;
    position += step == 2 ? 0 : step;
    state = next;
    lost += edge.lost;
    edges++;
  }
  say("position ");
  say(position < 0 ? "-" : "");
  say_number((uint64_t)(position < 0 ? -position : position));
  say(", ");
  say_number(edges);
  say(" edges, ");
  say_number(impossible);
  say(" impossible, ");
  say_number(lost);
  say(" lost\n");
}
