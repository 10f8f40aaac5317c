// SPDX-License-Identifier: Apache-2.0
// poll_oneoff with nothing but the number of no file: an event with an error, at once.
#include "cases.h"

void _start(void) {
  const __wasi_subscription_t in = {.userdata = 1, .u = {.tag = __WASI_EVENTTYPE_FD_READ, .u.fd_read.file_descriptor = 99}};
  __wasi_event_t out = {0};
  size_t count = 0;
  __wasi_errno_t error = __wasi_poll_oneoff(&in, &out, 1, &count);
  EXPECT("poll_oneoff.only-bad-fd", error ? error : out.error, BADF);
}
