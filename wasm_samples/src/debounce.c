// SPDX-License-Identifier: Apache-2.0
// Debounces BUTTON into LED: debounce COUNT (1) STABLE_US (5000). LED follows BUTTON when that has kept its level for
// STABLE_US. Prints `ready` when it waits for the first edge, and ends after COUNT changes of LED.
#include "pins.h"

void _start(void) {
  read_arguments();
  uint32_t count = number_argument(1, 1), raw = 0;
  uint64_t stable = number_argument(2, 5000) * 1000ull;
  int button = input("BUTTON"), led = output("LED");
  bool level = false, seen = false;
  int error = gpio_watch(button);
  if (error)
    refused("BUTTON", error);
  say("ready\n");
  for (uint32_t changes = 0; changes < count;) {
    struct gpio_edge edge;
    int got = gpio_wait(&button, 1, seen == level ? GPIO_FOREVER : stable, &edge);
    if (got < 0)
      refused("BUTTON", got);
    if (got) {
      raw += 1 + edge.lost;
      seen = edge.active;
      continue;
    }
    level = seen;
    changes++;
    gpio_set(led, level);
  }
  say("debounced ");
  say_number(raw);
  say(" edges to ");
  say_number(count);
  say("\n");
}
