// SPDX-License-Identifier: Apache-2.0
// poll_oneoff: clocks, streams, errors.
#include "cases.h"

#define MS 1000000ULL

static __wasi_timestamp_t now(void) {
  __wasi_timestamp_t time = 0;
  if (__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &time))
    __wasi_proc_exit(72);
  return time;
}

static __wasi_subscription_t until(__wasi_clockid_t clock, __wasi_timestamp_t time, bool absolute, uint64_t user) {
  return (__wasi_subscription_t){
      .userdata = user,
      .u = {.tag = __WASI_EVENTTYPE_CLOCK,
            .u.clock = {.id = clock, .timeout = time,
                        .flags = absolute ? __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME : 0}}};
}

static __wasi_subscription_t ready(uint8_t what, __wasi_fd_t fd, uint64_t user) {
  return (__wasi_subscription_t){.userdata = user, .u = {.tag = what, .u.fd_read.file_descriptor = fd}};
}

// The error of one subscription: the call's, or its event's; -1 without an event within 20 ms.
static int failed(__wasi_subscription_t subscription) {
  const __wasi_subscription_t in[] = {subscription, until(__WASI_CLOCKID_MONOTONIC, 20 * MS, false, 99)};
  __wasi_event_t out[2] = {0};
  size_t count = 0;
  __wasi_errno_t error = __wasi_poll_oneoff(in, out, 2, &count);
  if (error)
    return error;
  for (size_t i = 0; i < count; i++)
    if (out[i].userdata == subscription.userdata)
      return out[i].error;
  return -1;
}

void _start(void) {
  enum { MONOTONIC = __WASI_CLOCKID_MONOTONIC, REALTIME = __WASI_CLOCKID_REALTIME };
  __wasi_subscription_t in[3];
  __wasi_event_t out[3] = {0};
  size_t count = 0;

  in[0] = until(MONOTONIC, 5 * MS, false, 0x123456789abcdef0);
  __wasi_timestamp_t start = now();
  EXPECT("poll_oneoff.relative", __wasi_poll_oneoff(in, out, 1, &count), OK);
  HOLDS("poll_oneoff.relative-waits", now() - start >= 5 * MS);
  EXPECT("poll_oneoff.count", count, 1);
  EXPECT("poll_oneoff.user-data", (long long)out[0].userdata, 0x123456789abcdef0);
  EXPECT("poll_oneoff.event", out[0].type, __WASI_EVENTTYPE_CLOCK);
  EXPECT("poll_oneoff.event-error", out[0].error, OK);

  start = now();
  in[0] = until(MONOTONIC, start + 5 * MS, true, 1);
  EXPECT("poll_oneoff.absolute", __wasi_poll_oneoff(in, out, 1, &count), OK);
  HOLDS("poll_oneoff.absolute-waits", now() >= start + 5 * MS);
  in[0] = until(MONOTONIC, 1, true, 2);
  EXPECT("poll_oneoff.past", __wasi_poll_oneoff(in, out, 1, &count), OK);
  EXPECT("poll_oneoff.past-count", count, 1);
  in[0] = until(MONOTONIC, 0, false, 2);
  EXPECT("poll_oneoff.no-time", __wasi_poll_oneoff(in, out, 1, &count), OK);
  start = now();
  in[0] = until(REALTIME, 5 * MS, false, 3);
  EXPECT("poll_oneoff.realtime", __wasi_poll_oneoff(in, out, 1, &count), OK);
  HOLDS("poll_oneoff.realtime-waits", now() - start >= 4 * MS);

  in[0] = until(MONOTONIC, 3600 * 1000 * MS, false, 4);
  in[1] = until(MONOTONIC, 5 * MS, false, 5);
  EXPECT("poll_oneoff.two-clocks", __wasi_poll_oneoff(in, out, 2, &count), OK);
  EXPECT("poll_oneoff.two-clocks-count", count, 1);
  EXPECT("poll_oneoff.two-clocks-earlier", (long long)out[0].userdata, 5);

  in[0] = ready(__WASI_EVENTTYPE_FD_WRITE, STDOUT, 6);
  in[1] = until(MONOTONIC, 3600 * 1000 * MS, false, 7);
  EXPECT("poll_oneoff.writable", __wasi_poll_oneoff(in, out, 2, &count), OK);
  EXPECT("poll_oneoff.writable-count", count, 1);
  EXPECT("poll_oneoff.writable-user-data", (long long)out[0].userdata, 6);
  EXPECT("poll_oneoff.writable-event", out[0].type, __WASI_EVENTTYPE_FD_WRITE);

  EXPECT("poll_oneoff.bad-fd", failed(ready(__WASI_EVENTTYPE_FD_READ, 99, 8)), BADF);
  EXPECT("poll_oneoff.bad-clock", failed(until(99, MS, false, 9)), INVAL, NOTSUP);
  EXPECT("poll_oneoff.nothing", __wasi_poll_oneoff(in, out, 0, &count), INVAL);
  in[0] = until(MONOTONIC, 0, false, 10);
}
