/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "host.h"
#include "analog.h"
#include "can.h"
#include "gpio.h"
#include "pins.h"

#include <stdarg.h>

enum { PARAMETERS = 8, REFUSED_LINES = 16 }; /* the most that are logged of a run */

static struct job *policy;

static WasmEdge_String string(const char *text)
{
	return WasmEdge_StringWrap(text, strlen(text));
}

void host_register(WasmEdge_VMContext *machine, struct job *job)
{
	policy = job;
	gpio_register(machine);
	can_register(machine);
	analog_register(machine);
}

WasmEdge_ModuleInstanceContext *host_module(const char *name)
{
	return WasmEdge_ModuleInstanceCreate(string(name));
}

void host_add(WasmEdge_ModuleInstanceContext *module, const char *name, const char *type, WasmEdge_HostFunc_t function,
	      const void *data)
{
	WasmEdge_ValType types[PARAMETERS + 1];
	uint32_t count = 0, results = 0;
	for (; *type; type++)
		if (*type == ':')
			results = 1;
		else
			types[count++] = *type == 'I' ? WasmEdge_ValTypeGenI64() : WasmEdge_ValTypeGenI32();
	count -= results;
	WasmEdge_FunctionTypeContext *made = WasmEdge_FunctionTypeCreate(types, count, types + count, results);
	WasmEdge_ModuleInstanceAddFunction(module, string(name),
					   WasmEdge_FunctionInstanceCreate(made, function, (void *)data, 0));
	WasmEdge_FunctionTypeDelete(made);
}

void host_finish(WasmEdge_VMContext *machine, WasmEdge_ModuleInstanceContext *module)
{
	WasmEdge_VMRegisterModuleFromImport(machine, module);
}

void *host_memory(const WasmEdge_CallingFrameContext *frame, uint32_t offset, uint32_t bytes, uint32_t alignment)
{
	WasmEdge_MemoryInstanceContext *memory = WasmEdge_CallingFrameGetMemoryInstance(frame, 0);
	return memory && offset % alignment == 0 ? WasmEdge_MemoryInstanceGetPointer(memory, offset, bytes) : NULL;
}

uint32_t host_allocate(const WasmEdge_CallingFrameContext *frame, uint32_t bytes, uint32_t alignment)
{
	const WasmEdge_ModuleInstanceContext *module = WasmEdge_CallingFrameGetModuleInstance(frame);
	WasmEdge_FunctionInstanceContext *allocate =
		module ? WasmEdge_ModuleInstanceFindFunction(module, string("cabi_realloc")) : NULL;
	WasmEdge_Value in[] = {
		WasmEdge_ValueGenI32(0),
		WasmEdge_ValueGenI32(0),
		WasmEdge_ValueGenI32(alignment),
		WasmEdge_ValueGenI32(bytes),
	};
	WasmEdge_Value at = WasmEdge_ValueGenI32(0);
	if (!allocate ||
	    !WasmEdge_ResultOK(WasmEdge_ExecutorInvoke(WasmEdge_CallingFrameGetExecutor(frame), allocate, in, 4, &at, 1)))
		return 0;
	return WasmEdge_ValueGetI32(at);
}

WasmEdge_Result host_trap(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(policy->reason, sizeof policy->reason, format, arguments);
	va_end(arguments);
	return WasmEdge_ResultGen(WasmEdge_ErrCategory_UserLevelError, 1);
}

WasmEdge_Result host_bad_pointer(void)
{
	return host_trap("host function: a pointer is outside the memory or not aligned");
}

bool host_name(const WasmEdge_CallingFrameContext *frame, uint32_t offset, uint32_t bytes, char *to, size_t room)
{
	const char *from = bytes ? host_memory(frame, offset, bytes, 1) : "";
	if (!from)
		return false;
	size_t kept = bytes < room ? bytes : room - 1;
	for (size_t i = 0; i < kept; i++)
		to[i] = from[i] > ' ' && from[i] < 0x7f ? from[i] : '?';
	to[kept] = 0;
	return true;
}

bool host_allows(const char *name)
{
	static char refused[REFUSED_LINES][PIN_NAME];
	if (pins_has(policy->pins, name))
		return true;
	for (int i = 0; i < REFUSED_LINES; i++) {
		if (strcmp(refused[i], name) == 0)
			return false;
		if (!refused[i][0]) {
			snprintf(refused[i], sizeof *refused, "%s", name);
			printf("pin-not-allowed %s\n", name); /* stdout is the log */
			return false;
		}
	}
	return false;
}
