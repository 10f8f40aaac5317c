// SPDX-License-Identifier: Apache-2.0
// Pins for WebAssembly modules in C: wasi:gpio/digital and hil:gpio/edges (../wit), without a component toolchain.
//
//   int button = gpio_in("BUTTON", 0), led = gpio_out("LED", 0);
//   struct gpio_edge edge;
//   if (button < 0 || led < 0)
//     return 1;                                            // gpio_error(button) is the reason
//   while (gpio_wait(&button, 1, GPIO_FOREVER, &edge) == 1)
//     gpio_set(led, edge.active);
//
//   clang --target=wasm32-wasi -O2 -Wl,--strip-all -I "$(hil sample include)" -o module.wasm module.c
//
// Without --strip-all symbol names make the module several times as large.
//
// Needs no library. The module runs where the runner has these host functions, and gets the pins that it is given at
// its deployment (`--pins`). A function returns a negative number for an error, one of enum gpio_errors negated. A
// handle that is none, or of another kind of pin, ends the module with a trap.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The errors of the interface's gpio-error, in its order, from 1.
enum gpio_errors {
  GPIO_HARDWARE_FAULT = 1,
  GPIO_ALREADY_IN_USE,          // of another owner, or of this module
  GPIO_PIN_NOT_ALLOWED,         // not in the list of the deployment
  GPIO_PIN_MODE_NOT_ALLOWED,    // an input that is requested as an output, or the other way round
  GPIO_UNDEFINED_PIN_LABEL,     // the machine has no pin of this name
  GPIO_PIN_MODE_NOT_AVAILABLE,
  GPIO_WOULD_BLOCK,
  GPIO_OPERATION_NOT_SUPPORTED,  // or too many handles
  GPIO_INVALID_FLAG,
  GPIO_OTHER,
};

// Flags of a pin. Without any, a pin is active at the high level, has no pull resistor, and an output begins inactive.
enum gpio_flags {
  GPIO_ACTIVE_HIGH = 1 << 0,
  GPIO_ACTIVE_LOW = 1 << 1,
  GPIO_PULL_UP = 1 << 2,    // inputs; ignored by a controller without resistors
  GPIO_PULL_DOWN = 1 << 3,  // the same
  GPIO_ACTIVE = 1 << 4,     // an output begins active
  GPIO_INACTIVE = 1 << 5,
};

#define GPIO_FOREVER UINT64_MAX  // a limit that never passes

// An edge of an input.
struct gpio_edge {
  uint64_t stamp;  // when the kernel saw it, in nanoseconds of the monotonic clock (WASI's CLOCK_MONOTONIC)
  uint32_t pin;    // its place in the list of gpio_wait()
  bool active;     // the state that the pin went to
  uint32_t lost;   // how many edges of this pin before it are lost: the kernel keeps 1024
};

// -- the imports, as the canonical ABI lowers them --

struct gpio_result {  // result<handle | state | nothing, gpio-error>
  uint8_t failed;
  uint32_t value;  // in its first byte an error or a state
  uint32_t text[2];
};

struct gpio_edge_result {  // result<option<event>, gpio-error>
  _Alignas(8) uint8_t failed;
  _Alignas(8) uint8_t some;  // or the error
  _Alignas(8) uint64_t stamp;
  uint32_t pin;
  uint8_t falling;
  uint32_t lost;
};

#define GPIO_DIGITAL(name) __attribute__((import_module("wasi:gpio/digital@0.2.0"), import_name(name)))
#define GPIO_EDGES(name) __attribute__((import_module("hil:gpio/edges@0.1.0"), import_name(name)))

GPIO_DIGITAL("[static]digital-in-pin.get")
void gpio_import_in(const char *label, size_t size, const uint8_t *flags, size_t count, struct gpio_result *result);
GPIO_DIGITAL("[static]stateful-digital-out-pin.get")
void gpio_import_out(const char *label, size_t size, const uint8_t *flags, size_t count, struct gpio_result *result);
GPIO_DIGITAL("[method]digital-in-pin.is-active")
void gpio_import_is_active(int pin, struct gpio_result *result);
GPIO_DIGITAL("[method]stateful-digital-out-pin.set-state")
void gpio_import_set_state(int pin, uint32_t state, struct gpio_result *result);
GPIO_DIGITAL("[method]stateful-digital-out-pin.toggle")
void gpio_import_toggle(int pin, struct gpio_result *result);
GPIO_DIGITAL("[resource-drop]digital-in-pin") void gpio_import_drop_in(int pin);
GPIO_DIGITAL("[resource-drop]stateful-digital-out-pin") void gpio_import_drop_out(int pin);
GPIO_EDGES("watch") void gpio_import_watch(int pin, struct gpio_result *result);
GPIO_EDGES("wait")
void gpio_import_wait(const int *pins, size_t count, uint64_t limit, struct gpio_edge_result *result);

// -- the functions --

static inline int gpio_status(const struct gpio_result *result, int value) {
  return result->failed ? -1 - (int)(result->value & 0xff) : value;
}

static inline size_t gpio_length(const char *text) {
  size_t length = 0;
  while (text[length])
    length++;
  return length;
}

// Requests the pin of that name as an input. Returns its handle, or an error.
static inline int gpio_in(const char *label, uint8_t flags) {
  struct gpio_result result;
  gpio_import_in(label, gpio_length(label), &flags, 1, &result);
  return gpio_status(&result, (int)result.value);
}

// Requests the pin of that name as an output. Returns its handle, or an error.
static inline int gpio_out(const char *label, uint8_t flags) {
  struct gpio_result result;
  gpio_import_out(label, gpio_length(label), &flags, 1, &result);
  return gpio_status(&result, (int)result.value);
}

// Returns 1 if the input is active, 0 if not, or an error.
static inline int gpio_get(int in) {
  struct gpio_result result;
  gpio_import_is_active(in, &result);
  return gpio_status(&result, (int)(result.value & 0xff));
}

// Makes the output active or inactive. Returns 0, or an error.
static inline int gpio_set(int out, bool active) {
  struct gpio_result result;
  gpio_import_set_state(out, !active, &result);
  return gpio_status(&result, 0);
}

// Changes the state of the output. Returns 0, or an error.
static inline int gpio_toggle(int out) {
  struct gpio_result result;
  gpio_import_toggle(out, &result);
  return gpio_status(&result, 0);
}

// Has the kernel keep the edges of the input from now on; else it does so from the first gpio_wait() on. Returns 0, or
// an error.
static inline int gpio_watch(int in) {
  struct gpio_result result;
  gpio_import_watch(in, &result);
  return gpio_status(&result, 0);
}

// Takes the oldest edge of up to 64 inputs, and waits for one if there is none, at most `limit` nanoseconds. Returns 1
// with the edge, 0 if the limit has passed, or an error.
static inline int gpio_wait(const int *ins, size_t count, uint64_t limit, struct gpio_edge *edge) {
  struct gpio_edge_result result;
  gpio_import_wait(ins, count, limit, &result);
  if (result.failed)
    return -1 - result.some;
  if (!result.some)
    return 0;
  edge->stamp = result.stamp;
  edge->pin = result.pin;
  edge->active = !result.falling;
  edge->lost = result.lost;
  return 1;
}

// Gives the pin back. An output becomes inactive, then an input: the board decides its level.
static inline void gpio_drop_in(int in) { gpio_import_drop_in(in); }
static inline void gpio_drop_out(int out) { gpio_import_drop_out(out); }

// Returns the name of an error, as the interface has it.
static inline const char *gpio_error(int error) {
  static const char *const names[] = {
    "no error", "hardware-fault", "already-in-use", "pin-not-allowed", "pin-mode-not-allowed", "undefined-pin-label",
    "pin-mode-not-available", "would-block", "operation-not-supported", "invalid-flag", "other",
  };
  return names[error < 0 && error >= -GPIO_OTHER ? -error : 0];
}

#ifdef __cplusplus
}
#endif
