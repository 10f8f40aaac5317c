// SPDX-License-Identifier: Apache-2.0
// A PI controller: pi PERIODS (1000) PERIOD_US (1000) SETPOINT (32768, raw). In each period it reads AI0, writes AO0
// and toggles BEAT, as a marker for whoever watches. Prints `ready` before the first.
#include "release.h"
#include "pins.h"
#include <hil_analog.h>

// In fixed point, so that every runtime computes the same: the proportional part is 4 raw values of the output for
// each of the error, the integral part grows by 0.5 of them a second.
enum { ONE = 1 << 16, PROPORTIONAL = 4 * ONE, INTEGRAL = ONE / 2 };

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
  uint32_t periods = number_argument(1, 1000), microseconds = number_argument(2, 1000);
  int64_t target = number_argument(3, 32768), sum = 0, most = (int64_t)ANALOG_MAX * ONE;
  if (!microseconds || target > ANALOG_MAX) {
    say("arguments: PERIODS PERIOD_US (from 1) SETPOINT (0 to 65535)\n");
    proc_exit(64);
  }
  int in = channel("AI0"), out = channel("AO0"), beat = output("BEAT");
  say("ready\n");
  uint64_t release = now();
  for (uint32_t n = 0; n < periods; n++) {
    sleep_until(release += microseconds * 1000ull);
    int64_t error = target - analog_read(in);
    sum = within(sum + error * INTEGRAL * microseconds / 1000000, most);  // never more than the output can be
    analog_write(out, (uint32_t)(within(error * PROPORTIONAL + sum, most) / ONE));
    gpio_toggle(beat);
  }
  say("controlled ");
  say_number(periods);
  say(" periods\n");
}
