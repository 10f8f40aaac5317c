/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all host functions share: access to the module's memory, traps with a reason, and the policy of the run.
 *
 * A family of host functions (gpio.c) has one function that registers it; host_register() calls them all.
 */
#ifndef HOST_H
#define HOST_H

#include "worker.h"

#include <stdbool.h>
#include <wasmedge/wasmedge.h>

/* Declares a host function. `in` are its parameters, `out` its result if it has one, `data` is that of host_add(). */
#define HOST_FUNCTION(name)                                                                                     \
	static WasmEdge_Result name(__attribute__((unused)) void *data,                                         \
				    __attribute__((unused)) const WasmEdge_CallingFrameContext *frame,          \
				    __attribute__((unused)) const WasmEdge_Value *in,                           \
				    __attribute__((unused)) WasmEdge_Value *out)

/* The Nth parameter. */
#define HOST_I32(n) ((uint32_t)WasmEdge_ValueGetI32(in[n]))
#define HOST_I64(n) ((uint64_t)WasmEdge_ValueGetI64(in[n]))

/* Registers all host functions in a machine whose modules run under the policy of `job`. */
void host_register(WasmEdge_VMContext *machine, struct job *job);

/* Starts an import module; host_finish() registers it. The name is a literal: it is not copied. */
WasmEdge_ModuleInstanceContext *host_module(const char *name);

/* Adds a function. `type` has a letter for each parameter, and one after a colon for a result: i is i32, I is i64. */
void host_add(WasmEdge_ModuleInstanceContext *module, const char *name, const char *type, WasmEdge_HostFunc_t function,
	      const void *data);

void host_finish(WasmEdge_VMContext *machine, WasmEdge_ModuleInstanceContext *module);

/*
 * Returns `bytes` bytes of the calling module's first memory at `offset`, NULL where they are not all in it or
 * `offset` is not a multiple of `alignment`. The caller then ends with host_bad_pointer().
 */
void *host_memory(const WasmEdge_CallingFrameContext *frame, uint32_t offset, uint32_t bytes, uint32_t alignment);

/* Allocates in the module's memory by the `cabi_realloc` that it exports. Returns the offset, 0 if it has none. */
uint32_t host_allocate(const WasmEdge_CallingFrameContext *frame, uint32_t bytes, uint32_t alignment);

/* Ends the module with a trap. The reason becomes that of the verdict. */
__attribute__((format(printf, 1, 2))) WasmEdge_Result host_trap(const char *format, ...);

WasmEdge_Result host_bad_pointer(void);

/*
 * Copies a name of `bytes` bytes at `offset` in the module's memory to `to`, cut to `room`, and ends it with a NUL; a
 * byte that is no printable ASCII becomes `?`. Returns whether it is in the memory.
 */
bool host_name(const WasmEdge_CallingFrameContext *frame, uint32_t offset, uint32_t bytes, char *to, size_t room);

/* Returns whether the policy names this pin, channel or bus. If not, the line "pin-not-allowed NAME" is logged once. */
bool host_allows(const char *name);

#endif
