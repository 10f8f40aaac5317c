// SPDX-License-Identifier: Apache-2.0
// What hil_can.h and hil_analog.h share: the errors of their functions, which return them negated.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum hil_errors {
  HIL_NOT_ALLOWED = 1,  // not in the list of the deployment (`--pins`); the runner logs `pin-not-allowed NAME`
  HIL_UNKNOWN,          // the machine has no such bus or channel
  HIL_BAD_HANDLE,       // nothing is open under this handle
  HIL_WRONG_DIRECTION,  // an input is written, or an output read
  HIL_BAD_VALUE,        // a frame or a raw value that cannot be
  HIL_BUSY,             // the kernel's queue is full, or too many are open
  HIL_FAILED,           // the kernel reports an error, for example of a bus that is off
};

static inline size_t hil_length(const char *text) {
  size_t length = 0;
  while (text[length])
    length++;
  return length;
}

// Returns the name of an error.
static inline const char *hil_error(int error) {
  static const char *const names[] = {
    "no error", "not-allowed", "unknown", "bad-handle", "wrong-direction", "bad-value", "busy", "failed",
  };
  return names[error < 0 && error >= -HIL_FAILED ? -error : 0];
}
