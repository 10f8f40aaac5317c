// SPDX-License-Identifier: Apache-2.0
// Answers each frame on CAN0 at once with the same frame and the next id: can-echo COUNT (1) ID. With an ID, of 11 bits,
// it receives and answers frames with this id only. Prints `ready` when it receives, and at the end how many were
// answered, and how many were lost because they came too fast.
#include "tiny.h"
#include <hil_can.h>

static int must(int result) {
  if (result >= 0)
    return result;
  say("CAN0: ");
  say(hil_error(result));
  say("\n");
  proc_exit(69);
}

void _start(void) {
  static struct can_frame frame;
  read_arguments();
  uint32_t count = number_argument(1, 1), lost = 0;
  int bus = must(can_open("CAN0"));
  if (arguments > 2)
    must(can_filter(bus, number_argument(2, 0), CAN_EXTENDED | CAN_REMOTE | 0x7ff));
  say("ready\n");
  for (uint32_t n = 0; n < count; n++) {
    must(can_receive(bus, &frame, CAN_FOREVER));
    frame.id++;
    must(can_send(bus, &frame));
    lost += frame.lost;
  }
  say("answered ");
  say_number(count);
  say(" frames, lost ");
  say_number(lost);
  say("\n");
}
