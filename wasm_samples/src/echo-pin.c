// SPDX-License-Identifier: Apache-2.0
// Copies edges from BUTTON to LED: echo-pin COUNT (1). Prints `ready` when it waits for the first, and at the end how
// many were copied, and how many were lost because they came too fast.
#include "pins.h"

void _start(void) {
  read_arguments();
  uint32_t count = number_argument(1, 1), lost = 0;
  int button = input("BUTTON"), led = output("LED");
  int error = gpio_watch(button);
  if (error)
    refused("BUTTON", error);
  say("ready\n");
  for (uint32_t n = 0; n < count; n++) {
    struct gpio_edge edge;
    error = gpio_wait(&button, 1, GPIO_FOREVER, &edge);
    if (error < 0)
      refused("BUTTON", error);
    error = gpio_set(led, edge.active);
    if (error)
      refused("LED", error);
    lost += edge.lost;
  }
  say("echoed ");
  say_number(count);
  say(" edges, lost ");
  say_number(lost);
  say("\n");
}
