// SPDX-License-Identifier: Apache-2.0
// Analogue channels for WebAssembly modules in C: hil:analog/channels@0.1.0, an extension of this project.
//
//   int sensor = analog_open("AI0"), valve = analog_open("AO0");
//   if (sensor < 0 || valve < 0)
//     return 1;                                  // hil_error(sensor) is the reason
//   analog_write(valve, ANALOG_MAX - (uint32_t)analog_read(sensor));
//
//   clang --target=wasm32-wasi -O2 -Wl,--strip-all -I "$(hil sample include)" -o module.wasm module.c
//
// Without --strip-all symbol names make the module several times as large.
//
// Needs no library. Channels are AI0 to AI7, inputs of the module, and AO0 to AO7, outputs, with raw values from 0 to
// ANALOG_MAX: what they stand for is agreed on by the module and its bench. An output is 0 after the module's end. The
// module runs where the runner has these host functions, and gets the channels that it is given at its deployment
// (`--pins=AI0,AO0`). A function returns a negative number for an error, one of enum hil_errors negated. A pointer to
// a place outside the memory ends the module with a trap.
//
// The imports are plain core functions: (open i32 i32 -> i32) with pointer and size of the name, (read i32 -> i32) and
// (write i32 i32 -> i32).
#pragma once
#include "hil_wires.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ANALOG_MAX = 65535 };

#define ANALOG_CHANNELS(name) __attribute__((import_module("hil:analog/channels@0.1.0"), import_name(name)))

ANALOG_CHANNELS("open") int analog_import_open(const char *name, size_t size);

// Opens a channel. Returns its handle, or an error.
static inline int analog_open(const char *name) { return analog_import_open(name, hil_length(name)); }

// Returns the present raw value of an input, or an error.
ANALOG_CHANNELS("read") int analog_read(int input);

// Sets an output. Returns 0, or an error.
ANALOG_CHANNELS("write") int analog_write(int output, uint32_t raw);

#ifdef __cplusplus
}
#endif
