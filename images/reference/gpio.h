/* SPDX-License-Identifier: Apache-2.0 */
/* Host functions for pins: wasi:gpio/digital@0.2.0 and hil:gpio/edges@0.1.0 (wasm_samples/wit). */
#ifndef GPIO_H
#define GPIO_H

#include <wasmedge/wasmedge.h>

void gpio_register(WasmEdge_VMContext *machine);

#endif
