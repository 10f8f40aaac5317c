// SPDX-License-Identifier: Apache-2.0
// What the small samples with pins share.
#pragma once
#include "tiny.h"
#include <hil_gpio.h>

// Ends the module with 69 and a line such as "LED: pin-not-allowed".
static _Noreturn void refused(const char *label, int error) {
  say(label);
  say(": ");
  say(gpio_error(error));
  say("\n");
  proc_exit(69);
}

// The handle of an input or output, or the end of the module.
static inline int input(const char *label) {
  int pin = gpio_in(label, 0);
  return pin < 0 ? refused(label, pin), 0 : pin;
}

static inline int output(const char *label) {
  int pin = gpio_out(label, 0);
  return pin < 0 ? refused(label, pin), 0 : pin;
}
