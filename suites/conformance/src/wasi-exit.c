// SPDX-License-Identifier: Apache-2.0
// proc_exit with the code of the first argument, a decimal number.
#include "cases.h"

void _start(void) {
  static uint8_t *argument[8], bytes[256];
  size_t count = 0, size = 0;
  uint32_t code = 0;
  if (__wasi_args_sizes_get(&count, &size) || count != 2 || size > sizeof bytes || __wasi_args_get(argument, bytes))
    __wasi_proc_exit(70);
  for (const uint8_t *at = argument[1]; *at; at++)
    code = code * 10 + (*at - '0');
  __wasi_proc_exit(code);
}
