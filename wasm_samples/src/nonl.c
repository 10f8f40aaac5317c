// SPDX-License-Identifier: Apache-2.0
// Writes a text that does not end with a newline.
#include "tiny.h"

void _start(void) {
  say("no newline at end");
}
