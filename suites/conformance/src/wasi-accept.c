// SPDX-License-Identifier: Apache-2.0
// sock_accept, the last addition to WASI preview 1.
#include "cases.h"

void _start(void) {
  __wasi_fd_t fd = 0;
  EXPECT("sock_accept.bad-fd", __wasi_sock_accept(99, 0, &fd), BADF);
}
