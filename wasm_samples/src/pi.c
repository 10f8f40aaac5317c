// SPDX-License-Identifier: Apache-2.0
// A PI controller: pi PERIOD_US (1000) COUNT (10000) SETPOINT (32768, raw). Each period it toggles BEAT, reads AI0 and
// sets AO0. Prints `ready` before the first period.
#include "release.h"
#include "pins.h"
#include <hil_analog.h>

// In fixed point. The gains fit an oven of 80 degrees, a time constant of 0.5 s and a dead time of 20 ms, measured from 0
// to 100 degrees: 4 raw values of the output for each of the error, and 8 more each second.
enum { ONE = 1 << 16, PROPORTIONAL = 4, INTEGRAL = 8 };

static int channel(const char *name) {
  int handle = analog_open(name);
  if (handle >= 0)
    return handle;
  say(name);
  say(": ");
  say(hil_error(handle));
  say("\n");
  proc_exit(69);
}

static int64_t within(int64_t value, int64_t most) { return value < 0 ? 0 : value > most ? most : value; }

void _start(void) {
  read_arguments();
  uint32_t microseconds = number_argument(1, 1000), count = number_argument(2, 10000);
  int64_t target = number_argument(3, 32768), sum = 0, most = (int64_t)ANALOG_MAX * ONE;
  if (!microseconds || microseconds > 10000000 || target > ANALOG_MAX) {
    say("arguments: PERIOD_US (1 to 10000000) COUNT SETPOINT (0 to 65535)\n");
    proc_exit(64);
  }
  int in = channel("AI0"), out = channel("AO0"), beat = output("BEAT");
  say("ready\n");
  uint64_t release = now();
  for (uint32_t n = 0; n < count; n++) {
    sleep_until(release += microseconds * 1000ull);
    gpio_toggle(beat);
    int64_t error = (target - analog_read(in)) * ONE;
    sum = within(sum + error * INTEGRAL * microseconds / 1000000, most);  // as much as the output can be
    analog_write(out, (uint32_t)(within(error * PROPORTIONAL + sum, most) / ONE));
  }
  say("controlled ");
  say_number(count);
  say(" periods\n");
}
