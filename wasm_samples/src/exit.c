// SPDX-License-Identifier: Apache-2.0
// Ends with the exit code given as the first argument (default 7), and says nothing.
#include "tiny.h"

void _start(void) {
  read_arguments();
  proc_exit((int)number_argument(1, 7));
}
