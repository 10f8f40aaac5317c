// SPDX-License-Identifier: Apache-2.0
// Shows that it lives: watchdog PERIOD_US COUNT (1000, 100). Holds SPARE active, toggles BEAT each period, and prints
// `ready` when it has begun. With `stuck` as a third argument it then never ends, and toggles nothing any more; with
// `trap` it traps. Both outputs must fall when it ends, however it ends.
#include "pins.h"
#include "release.h"

void _start(void) {
  read_releases(99999999);
  const char *then = text_argument(3, "");
  int spare = output("SPARE"), beat = output("BEAT");
  gpio_set(spare, true);
  gpio_set(beat, true);
  say("ready\n");
  uint64_t release = now();
  for (uint32_t n = 0; n < releases; n++) {
    sleep_until(release += period);
    gpio_toggle(beat);
  }
  if (same(then, "trap"))
    __builtin_trap();
  while (same(then, "stuck"))
    sleep_until(release += 1000000000);
  say("released ");
  say_number(releases);
  say(" times\n");
}
