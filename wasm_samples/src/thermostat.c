// SPDX-License-Identifier: Apache-2.0
// A two-point controller: thermostat PERIOD_US COUNT (1000, 100). Each period it reads BUTTON, the sensor (active: too
// hot), sets HEATER to its opposite, and toggles BEAT. Prints `ready` before the first period.
#include "pins.h"
#include "release.h"

void _start(void) {
  read_releases(99999999);
  int sensor = input("BUTTON"), heater = output("HEATER"), beat = output("BEAT");
  uint32_t heated = 0;
  say("ready\n");
  uint64_t release = now();
  for (uint32_t n = 0; n < releases; n++) {
    sleep_until(release += period);
    gpio_toggle(beat);
    int hot = gpio_get(sensor);
    if (hot < 0)
      refused("BUTTON", hot);
    gpio_set(heater, !hot);
    heated += !hot;
  }
  say("heated in ");
  say_number(heated);
  say(" of ");
  say_number(releases);
  say(" periods\n");
}
