// SPDX-License-Identifier: Apache-2.0
// Measures what host functions cost: pin-cost COUNT (1000). Prints for each the nanoseconds of a call, without those of
// the loop: `call` does nothing in the host, `get` reads BUTTON, `set` and `toggle` change LED, `wait` looks for an edge
// of BUTTON that is not there.
#include "pins.h"

static uint32_t count;
static int button, led;

static uint64_t now(void) {
  uint64_t time;
  if (clock_time_get(MONOTONIC, 1, &time))
    proc_exit(69);
  return time;
}

__attribute__((import_module("wasi:gpio/digital@0.2.0"), import_name("[method]digital-in-pin.is-ready")))
int is_ready(int pin);

static volatile uint32_t sink;

static void nothing(uint32_t n) { sink = n; }
static void call(uint32_t n) { sink = (uint32_t)is_ready(button) + n; }
static void get(uint32_t n) { sink = (uint32_t)gpio_get(button) + n; }
static void set(uint32_t n) { gpio_set(led, n & 1); }
static void toggle(uint32_t n) { sink = (uint32_t)gpio_toggle(led) + n; }
static void wait(uint32_t n) {
  struct gpio_edge edge;
  sink = (uint32_t)gpio_wait(&button, 1, 0, &edge) + n;
}

static uint64_t took(void (*work)(uint32_t)) {
  work(0);
  uint64_t begin = now();
  for (uint32_t n = 0; n < count; n++)
    work(n);
  return (now() - begin) / count;
}

static void report(const char *name, void (*work)(uint32_t), uint64_t loop) {
  uint64_t each = took(work);
  say(name);
  say(" ");
  say_number(each > loop ? each - loop : 0);
  say(" ns\n");
}

void _start(void) {
  read_arguments();
  count = number_argument(1, 1000);
  if (!count)
    proc_exit(64);
  button = input("BUTTON");
  led = output("LED");
  uint64_t loop = took(nothing);
  report("call", call, loop);
  report("get", get, loop);
  report("set", set, loop);
  report("toggle", toggle, loop);
  report("wait", wait, loop);
}
