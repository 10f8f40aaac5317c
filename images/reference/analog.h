/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Analogue channels: host functions hil:analog/channels@0.1.0 (wasm_samples/include/hil_analog.h), and what the runner
 * does after a run.
 */
#ifndef ANALOG_H
#define ANALOG_H

#include <wasmedge/wasmedge.h>

void analog_register(WasmEdge_VMContext *machine);

/* Sets the outputs in the comma-separated list to 0, NULL: all. Without an I/O board nothing happens. */
void analog_release(const char *list);

#endif
