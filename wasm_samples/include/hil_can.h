// SPDX-License-Identifier: Apache-2.0
// CAN for WebAssembly modules in C: hil:can/frames@0.1.0, an extension of this project.
//
//   int bus = can_open("CAN0");
//   struct can_frame frame;
//   if (bus < 0)
//     return 1;                                  // hil_error(bus) is the reason
//   while (can_receive(bus, &frame, CAN_FOREVER) == 1) {
//     frame.id++;
//     can_send(bus, &frame);
//   }
//
//   clang --target=wasm32-wasi -O2 -Wl,--strip-all -I "$(hil sample include)" -o module.wasm module.c
//
// Without --strip-all symbol names make the module several times as large.
//
// Needs no library. The module runs where the runner has these host functions, and gets the buses that it is given at
// its deployment (`--pins=CAN0`). A function returns a negative number for an error, one of enum hil_errors negated. A
// pointer to a place outside the memory, or not aligned, ends the module with a trap.
//
// The imports are plain core functions: (open i32 i32 -> i32) with pointer and size of the name, (close i32 -> i32),
// (filter i32 i32 i32 -> i32), (send i32 i32 -> i32) and (receive i32 i32 i64 -> i32) with the pointer to a frame of 32
// bytes, little-endian: id at 0, length at 4, data at 8, stamp at 16, lost at 24.
#pragma once
#include "hil_wires.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CAN_EXTENDED 0x80000000u  // in an id: it has 29 bits, not 11
#define CAN_REMOTE 0x40000000u    // in an id: the frame requests data and has none
#define CAN_FOREVER UINT64_MAX    // a limit that never passes

struct can_frame {
  uint32_t id;  // with CAN_EXTENDED and CAN_REMOTE
  uint8_t length;  // bytes of data, 0 to 8
  uint8_t unused[3];
  uint8_t data[8];
  // of a received frame only:
  uint64_t stamp;  // when the kernel had it, in nanoseconds of the monotonic clock (WASI's CLOCK_MONOTONIC)
  uint32_t lost;   // how many frames before it are lost, because the module did not receive them in time
  uint32_t unused2;
};

#define CAN_FRAMES(name) __attribute__((import_module("hil:can/frames@0.1.0"), import_name(name)))

CAN_FRAMES("open") int can_import_open(const char *name, size_t size);

// Opens a bus, up to 8 times: each handle receives all frames from now on. Returns the handle, or an error.
static inline int can_open(const char *name) { return can_import_open(name, hil_length(name)); }

// Closes the handle. Returns 0, or an error.
CAN_FRAMES("close") int can_close(int bus);

// Receives only frames whose id has the bits of `id` where `mask` has ones, flags included. Frames that came before
// are still received. Returns 0, or an error.
CAN_FRAMES("filter") int can_filter(int bus, uint32_t id, uint32_t mask);

// Sends a frame; its stamp and `lost` count for nothing. Returns 0 when the kernel has it, or an error: HIL_BUSY when
// its queue of ten frames is full. QEMU's controller empties it at once, and the model of the bus has the queue.
CAN_FRAMES("send") int can_send(int bus, const struct can_frame *frame);

// Waits for the next frame, at most `limit` nanoseconds. Returns 1 with the frame, 0 if the limit has passed, or an
// error. The module's own frames are not received.
CAN_FRAMES("receive") int can_receive(int bus, struct can_frame *frame, uint64_t limit);

#ifdef __cplusplus
}
#endif
