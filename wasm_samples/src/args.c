// SPDX-License-Identifier: Apache-2.0
// Tells the number of arguments and then each one on a line of its own, argv[0] first.
#include "tiny.h"

void _start(void) {
  read_arguments();
  say("argc ");
  say_number(arguments);
  say("\n");
  for (size_t i = 0; i < arguments; i++) {
    say(argument[i]);
    say("\n");
  }
}
