// SPDX-License-Identifier: Apache-2.0
// Traps, in the way that the first argument names: unreachable, div0, bounds or stack.
#include "tiny.h"

static volatile int zero, one = 1;

// Neither a loop (the sum comes after the call) nor a user of memory: only the call stack grows, and
// the many parameters make it grow fast.
__attribute__((noinline)) static int recurse(int a, int b, int c, int d, int e, int f, int g, int h) {
  return a == zero ? b : recurse(h + 1, a, b, c, d, e, f, g) + zero;
}

void _start(void) {
  read_arguments();
  const char *way = text_argument(1, "unreachable");
  say("before the trap\n");
  if (same(way, "unreachable"))
    __builtin_trap();
  if (same(way, "div0"))
    zero = one / zero;
  if (same(way, "bounds"))
    zero = *(volatile int *)0xfffffff0u;
  if (same(way, "stack"))
    zero = recurse(1, 2, 3, 4, 5, 6, 7, 8);
  say("trap: no such way: ");
  say(way);
  say("\n");
  proc_exit(64);
}
