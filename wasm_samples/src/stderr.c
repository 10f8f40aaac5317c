// SPDX-License-Identifier: Apache-2.0
// Writes one line to the standard output and one to the standard error output.
#include "tiny.h"

void _start(void) {
  static const char out[] = "to stdout\n", err[] = "to stderr\n";
  put(STDOUT, out, sizeof out - 1);
  put(STDERR, err, sizeof err - 1);
}
