/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interfaces are those of wasm_samples/wit, as core imports in the canonical ABI's lowering: a list is a pointer
 * and a length, a handle a number, and a result is written where the last parameter points.
 */
#define _GNU_SOURCE
#include "gpio.h"
#include "host.h"
#include "pins.h"

#include <linux/gpio.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

enum {
	HANDLES = 64,
	EVENTS = 1024, /* edges that the kernel keeps of a pin, the most that it allows */
	NONE = 0,      /* no handle */
};

/* gpio-error, in the interface's order. */
enum error {
	HARDWARE_FAULT,
	ALREADY_IN_USE,
	PIN_NOT_ALLOWED,
	PIN_MODE_NOT_ALLOWED,
	UNDEFINED_PIN_LABEL,
	PIN_MODE_NOT_AVAILABLE,
	WOULD_BLOCK,
	OPERATION_NOT_SUPPORTED,
	INVALID_FLAG,
};

/* digital-flag, a byte in a list of flags. */
enum flag {
	ACTIVE_HIGH = 1 << 0,
	ACTIVE_LOW = 1 << 1,
	PULL_UP = 1 << 2,
	PULL_DOWN = 1 << 3,
	ACTIVE = 1 << 4,
	INACTIVE = 1 << 5,
	INPUT = 1 << 6,
	OUTPUT = 1 << 7,
};

enum state { STATE_ACTIVE, STATE_INACTIVE }; /* pin-state */

enum kind { FREE, IN_PIN, OUT_PIN, STATEFUL_OUT_PIN, IN_OUT_PIN };

/* What one of several functions of the same form does. */
enum operation { STATE, IS_ACTIVE, IS_INACTIVE, TOGGLE };

struct handle {
	enum kind kind;
	int line; /* the kernel's line request */
	uint8_t flags;
	bool output, active; /* the direction, and the state that was set */
	bool watched, pending; /* edges are recorded; `event` is one that was read ahead */
	struct gpio_v2_line_event event;
	uint32_t sequence; /* the number of the last edge that the module got */
	char label[PIN_NAME];
};

/* Handle 0 is no handle, as in the component model. */
static struct handle handles[1 + HANDLES];

static const char *const names[] = {
	[IN_PIN] = "digital-in-pin",
	[OUT_PIN] = "digital-out-pin",
	[STATEFUL_OUT_PIN] = "stateful-digital-out-pin",
	[IN_OUT_PIN] = "digital-in-out-pin",
};

/* The data of a host function. */
struct call {
	enum kind kind;
	enum operation operation;
};

static enum kind kind_of(const void *data)
{
	return ((const struct call *)data)->kind;
}

static enum operation operation_of(const void *data)
{
	return ((const struct call *)data)->operation;
}

/* -- results ---------------------------------------------------------------------------------- */

enum { RESULT = 16, PAYLOAD = 4 }; /* bytes of a result with a gpio-error; where its value is */

static WasmEdge_Result fail(const WasmEdge_CallingFrameContext *frame, uint32_t to, enum error error)
{
	uint8_t *result = host_memory(frame, to, RESULT, 4);
	if (!result)
		return host_bad_pointer();
	memset(result, 0, RESULT);
	result[0] = 1;
	result[PAYLOAD] = error;
	return WasmEdge_Result_Success;
}

static WasmEdge_Result okay(const WasmEdge_CallingFrameContext *frame, uint32_t to, const void *value, size_t bytes)
{
	uint8_t *result = host_memory(frame, to, RESULT, 4);
	if (!result)
		return host_bad_pointer();
	result[0] = 0;
	memcpy(result + PAYLOAD, value, bytes);
	return WasmEdge_Result_Success;
}

static enum error error_of(int number)
{
	switch (number) {
	case EBUSY:
		return ALREADY_IN_USE;
	case ENXIO:
	case ENOTSUP:
	case EINVAL:
		return OPERATION_NOT_SUPPORTED;
	}
	return HARDWARE_FAULT;
}

/* Returns the handle, NULL if it is none of that kind: the caller then ends with bad_handle(). */
static struct handle *handle_of(uint32_t number, enum kind kind)
{
	return number > NONE && number <= HANDLES && handles[number].kind == kind ? &handles[number] : NULL;
}

static WasmEdge_Result bad_handle(uint32_t number, enum kind kind)
{
	return host_trap("host function: %u is no handle of a %s", number, names[kind]);
}

/* -- lines ------------------------------------------------------------------------------------ */

static struct gpio_v2_line_config config_of(const struct handle *handle)
{
	struct gpio_v2_line_config config = {.flags = handle->output ? GPIO_V2_LINE_FLAG_OUTPUT : GPIO_V2_LINE_FLAG_INPUT};
	if (handle->flags & ACTIVE_LOW)
		config.flags |= GPIO_V2_LINE_FLAG_ACTIVE_LOW;
	if (handle->flags & PULL_UP)
		config.flags |= GPIO_V2_LINE_FLAG_BIAS_PULL_UP;
	if (handle->flags & PULL_DOWN)
		config.flags |= GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN;
	if (handle->watched)
		config.flags |= GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING;
	if (handle->output) {
		config.num_attrs = 1;
		config.attrs[0].mask = 1;
		config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES;
		config.attrs[0].attr.values = handle->active;
	}
	return config;
}

/* Applies a change of the handle's direction or of `watched`. Returns 0, or -1 with errno set. */
static int configure(const struct handle *handle)
{
	struct gpio_v2_line_config config = config_of(handle);
	return ioctl(handle->line, GPIO_V2_LINE_SET_CONFIG_IOCTL, &config);
}

/* Sets the state; an in-out pin that is an input becomes an output. Returns 0, or -1 with errno set. */
static int set_state(struct handle *handle, bool active)
{
	struct gpio_v2_line_values values = {.bits = active, .mask = 1};
	bool turned = !handle->output;
	handle->active = active;
	handle->output = true;
	return turned ? configure(handle) : ioctl(handle->line, GPIO_V2_LINE_SET_VALUES_IOCTL, &values);
}

/* Returns 1 for active, 0 for inactive, -1 with errno set. */
static int get_state(const struct handle *handle)
{
	struct gpio_v2_line_values values = {.mask = 1};
	if (handle->kind == STATEFUL_OUT_PIN)
		return handle->active;
	return ioctl(handle->line, GPIO_V2_LINE_GET_VALUES_IOCTL, &values) < 0 ? -1 : (int)(values.bits & 1);
}

static bool valid(enum kind kind, uint8_t flags)
{
	static const uint8_t all[] = {
		[IN_PIN] = ACTIVE_HIGH | ACTIVE_LOW | PULL_UP | PULL_DOWN | INPUT,
		[OUT_PIN] = ACTIVE_HIGH | ACTIVE_LOW | ACTIVE | INACTIVE | OUTPUT,
		[STATEFUL_OUT_PIN] = ACTIVE_HIGH | ACTIVE_LOW | ACTIVE | INACTIVE | OUTPUT,
		[IN_OUT_PIN] = 0xff,
	};
	static const uint8_t pairs[] = {ACTIVE_HIGH | ACTIVE_LOW, PULL_UP | PULL_DOWN, ACTIVE | INACTIVE, INPUT | OUTPUT};
	for (size_t i = 0; i < sizeof pairs; i++)
		if ((flags & pairs[i]) == pairs[i])
			return false;
	return !(flags & ~all[kind]);
}

/* Requests the line from the kernel. Returns 0, or -1 with errno set. */
static int request(struct handle *handle, const struct pin *pin)
{
	struct gpio_v2_line_request line = {.num_lines = 1, .event_buffer_size = EVENTS, .consumer = "module"};
	line.offsets[0] = pin->offset;
	line.config = config_of(handle);
	int result = ioctl(pin->chip, GPIO_V2_GET_LINE_IOCTL, &line);
	handle->line = line.fd;
	return result;
}

/* -- wasi:gpio/digital ------------------------------------------------------------------------ */

/* Fills in `handle`. Returns an error, or -1 if all is well. */
static int open_pin(struct handle *handle)
{
	struct pin pin;
	bool writes = handle->kind != IN_PIN, reads = handle->kind == IN_PIN || handle->kind == IN_OUT_PIN;
	if (pin_find(handle->label, &pin) < 0)
		return UNDEFINED_PIN_LABEL;
	int error = -1;
	if ((writes && pin.direction == PIN_IN) || (reads && pin.direction == PIN_OUT))
		error = PIN_MODE_NOT_ALLOWED;
	else if (request(handle, &pin) < 0)
		error = error_of(errno);
	close(pin.chip);
	return error;
}

HOST_FUNCTION(get)
{
	uint32_t bytes = HOST_I32(1), count = HOST_I32(3), to = HOST_I32(4), number = 1;
	struct handle made = {.kind = kind_of(data)};
	if (!host_name(frame, HOST_I32(0), bytes, made.label, sizeof made.label))
		return host_bad_pointer();
	const uint8_t *flags = count ? host_memory(frame, HOST_I32(2), count, 1) : NULL;
	if (count && !flags)
		return host_bad_pointer();
	for (uint32_t i = 0; i < count; i++)
		made.flags |= flags[i];
	if (!host_allows(made.label))
		return fail(frame, to, PIN_NOT_ALLOWED);
	if (bytes >= sizeof made.label)
		return fail(frame, to, UNDEFINED_PIN_LABEL);
	if (!valid(made.kind, made.flags))
		return fail(frame, to, INVALID_FLAG);
	while (number <= HANDLES && handles[number].kind != FREE)
		number++;
	if (number > HANDLES)
		return fail(frame, to, OPERATION_NOT_SUPPORTED);
	made.active = made.flags & ACTIVE;
	made.output = made.kind == OUT_PIN || made.kind == STATEFUL_OUT_PIN || made.flags & OUTPUT;
	int error = open_pin(&made);
	if (error >= 0)
		return fail(frame, to, error);
	handles[number] = made;
	return okay(frame, to, &number, sizeof number);
}

/* Writes a digital-config: the label, allocated by the module, and four bytes. */
HOST_FUNCTION(get_config)
{
	enum { SIZE = 12, PIN_MODE = 8 };
	enum { MODE_IN, MODE_OUT, MODE_IN_OUT };
	const struct handle *handle = handle_of(HOST_I32(0), kind_of(data));
	if (!handle)
		return bad_handle(HOST_I32(0), kind_of(data));
	uint32_t bytes = strlen(handle->label);
	uint32_t label = host_allocate(frame, bytes, 1);
	if (!label)
		return host_trap("host function: get-config needs the module's export cabi_realloc");
	void *copy = host_memory(frame, label, bytes, 1);
	uint8_t *to = host_memory(frame, HOST_I32(1), SIZE, 4);
	if (!copy || !to)
		return host_bad_pointer();
	memcpy(copy, handle->label, bytes);
	memcpy(to, &label, sizeof label);
	memcpy(to + sizeof label, &bytes, sizeof bytes);
	to[PIN_MODE] = handle->kind == IN_PIN ? MODE_IN : handle->kind == IN_OUT_PIN ? MODE_IN_OUT : MODE_OUT;
	to[PIN_MODE + 1] = !!(handle->flags & ACTIVE_LOW);
	to[PIN_MODE + 2] = !!(handle->flags & (PULL_UP | PULL_DOWN));
	to[PIN_MODE + 3] = !!(handle->flags & PULL_DOWN);
	return WasmEdge_Result_Success;
}

HOST_FUNCTION(is_ready)
{
	if (!handle_of(HOST_I32(0), kind_of(data)))
		return bad_handle(HOST_I32(0), kind_of(data));
	out[0] = WasmEdge_ValueGenI32(1);
	return WasmEdge_Result_Success;
}

HOST_FUNCTION(set)
{
	enum operation operation = operation_of(data);
	uint32_t to = HOST_I32(operation == STATE ? 2 : 1);
	struct handle *handle = handle_of(HOST_I32(0), kind_of(data));
	if (!handle)
		return bad_handle(HOST_I32(0), kind_of(data));
	if (operation == STATE && HOST_I32(1) > STATE_INACTIVE)
		return host_trap("host function: %u is no pin-state", HOST_I32(1));
	bool active = operation == STATE    ? HOST_I32(1) == STATE_ACTIVE
		      : operation == TOGGLE ? !handle->active
					    : operation == IS_ACTIVE;
	return set_state(handle, active) < 0 ? fail(frame, to, error_of(errno)) : okay(frame, to, "", 0);
}

HOST_FUNCTION(read_state)
{
	enum operation operation = operation_of(data);
	const struct handle *handle = handle_of(HOST_I32(0), kind_of(data));
	if (!handle)
		return bad_handle(HOST_I32(0), kind_of(data));
	int active = get_state(handle);
	if (active < 0)
		return fail(frame, HOST_I32(1), error_of(errno));
	uint8_t value = operation == STATE ? (active ? STATE_ACTIVE : STATE_INACTIVE) : active == (operation == IS_ACTIVE);
	return okay(frame, HOST_I32(1), &value, sizeof value);
}

/* The functions that give a pollable: there are none here, hil:gpio/edges waits instead. */
HOST_FUNCTION(no_pollable)
{
	if (!handle_of(HOST_I32(0), kind_of(data)))
		return bad_handle(HOST_I32(0), kind_of(data));
	return fail(frame, HOST_I32(operation_of(data) == STATE ? 2 : 1), OPERATION_NOT_SUPPORTED);
}

HOST_FUNCTION(drop)
{
	struct handle *handle = handle_of(HOST_I32(0), kind_of(data));
	if (!handle)
		return bad_handle(HOST_I32(0), kind_of(data));
	struct gpio_v2_line_config input = {.flags = GPIO_V2_LINE_FLAG_INPUT};
	if (handle->output) { /* the kernel would leave it as it is; inactive first, as pins_release() does it */
		set_state(handle, false);
		ioctl(handle->line, GPIO_V2_LINE_SET_CONFIG_IOCTL, &input);
	}
	close(handle->line);
	*handle = (struct handle){0};
	return WasmEdge_Result_Success;
}

/* -- hil:gpio/edges --------------------------------------------------------------------------- */

/* Has the kernel record the pin's edges from now on. Returns 0, or -1 with errno set. */
static int watch(struct handle *handle)
{
	if (handle->watched)
		return 0;
	handle->watched = true;
	int result = configure(handle);
	handle->watched = result == 0;
	return result;
}

HOST_FUNCTION(edges_watch)
{
	struct handle *handle = handle_of(HOST_I32(0), IN_PIN);
	if (!handle)
		return bad_handle(HOST_I32(0), IN_PIN);
	return watch(handle) < 0 ? fail(frame, HOST_I32(1), error_of(errno)) : okay(frame, HOST_I32(1), "", 0);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Reads an edge ahead of each pin that has one; waits for the first until `end_ns` if none has. -1 with errno set. */
static int read_ahead(struct handle **waiting, uint32_t count, uint64_t end_ns)
{
	struct pollfd lines[HANDLES];
	bool pending = false;
	uint64_t now = now_ns(), left = end_ns > now ? end_ns - now : 0;
	for (uint32_t i = 0; i < count; i++) {
		pending |= waiting[i]->pending;
		lines[i] = (struct pollfd){.fd = waiting[i]->pending ? -1 : waiting[i]->line, .events = POLLIN};
	}
	if (pending)
		left = 0;
	struct timespec limit = {left / 1000000000, left % 1000000000};
	if (ppoll(lines, count, end_ns == UINT64_MAX && !pending ? NULL : &limit, NULL) < 0)
		return errno == EINTR ? 0 : -1;
	for (uint32_t i = 0; i < count; i++) {
		struct handle *handle = waiting[i];
		if (!lines[i].revents)
			continue;
		if (read(handle->line, &handle->event, sizeof handle->event) != sizeof handle->event)
			return -1;
		handle->pending = true;
	}
	return 0;
}

/* Returns the place of the pin with the oldest edge that was read ahead, `count` if there is none. */
static uint32_t oldest(struct handle **waiting, uint32_t count)
{
	uint32_t first = count;
	for (uint32_t i = 0; i < count; i++)
		if (waiting[i]->pending &&
		    (first == count || waiting[i]->event.timestamp_ns < waiting[first]->event.timestamp_ns))
			first = i;
	return first;
}

/* Writes a result<option<event>, gpio-error>. */
static void put_event(uint8_t *to, struct handle *handle, uint32_t place)
{
	enum { SOME = 8, STAMP = 16, PIN = 24, EDGE = 28, LOST = 32 };
	uint32_t lost = handle->event.line_seqno - handle->sequence - 1;
	to[SOME] = 1;
	memcpy(to + STAMP, &(uint64_t){handle->event.timestamp_ns}, 8);
	memcpy(to + PIN, &place, 4);
	to[EDGE] = handle->event.id == GPIO_V2_LINE_EVENT_FALLING_EDGE;
	memcpy(to + LOST, &lost, 4);
	handle->sequence = handle->event.line_seqno;
	handle->pending = false;
}

HOST_FUNCTION(edges_wait)
{
	enum { SIZE = 40, ERROR = 8 };
	uint32_t count = HOST_I32(1);
	uint64_t limit = HOST_I64(2), begin = now_ns();
	uint64_t end = limit > UINT64_MAX - begin ? UINT64_MAX : begin + limit;
	struct handle *waiting[HANDLES];
	const uint32_t *numbers = count && count <= HANDLES ? host_memory(frame, HOST_I32(0), count * 4, 4) : NULL;
	uint8_t *to = host_memory(frame, HOST_I32(3), SIZE, 8);
	if (!count || count > HANDLES)
		return host_trap("host function: wait needs 1 to %d pins, not %u", HANDLES, count);
	if (!numbers || !to)
		return host_bad_pointer();
	int result = 0;
	for (uint32_t i = 0; i < count; i++) {
		waiting[i] = handle_of(numbers[i], IN_PIN);
		if (!waiting[i])
			return bad_handle(numbers[i], IN_PIN);
		if (result == 0)
			result = watch(waiting[i]);
	}
	uint32_t first = count;
	while (result == 0 && (first = oldest(waiting, count)) == count) {
		uint64_t now = now_ns();
		result = read_ahead(waiting, count, end);
		if (result == 0 && now >= end && (first = oldest(waiting, count)) == count)
			break;
	}
	memset(to, 0, SIZE);
	if (result < 0) {
		to[0] = 1;
		to[ERROR] = error_of(errno);
	} else if (first < count) {
		put_event(to, waiting[first], first);
	}
	return WasmEdge_Result_Success;
}

/* -- registration ----------------------------------------------------------------------------- */

struct function {
	const char *name; /* after the resource's */
	const char *type;
	WasmEdge_HostFunc_t function;
	enum operation operation;
	unsigned kinds; /* of the resources that have it, a bit each */
};

enum {
	IN = 1 << IN_PIN,
	OUT = 1 << OUT_PIN,
	STATEFUL = 1 << STATEFUL_OUT_PIN,
	IN_OUT = 1 << IN_OUT_PIN,
	WRITERS = OUT | STATEFUL | IN_OUT,
	READERS = IN | IN_OUT,
	ALL = WRITERS | READERS,
};

static const struct function functions[] = {
	{"[static]%s.get", "iiiii", get, 0, ALL},
	{"[resource-drop]%s", "i", drop, 0, ALL},
	{"[method]%s.get-config", "ii", get_config, 0, ALL},
	{"[method]%s.is-ready", "i:i", is_ready, 0, ALL},
	{"[method]%s.set-state", "iii", set, STATE, WRITERS},
	{"[method]%s.set-active", "ii", set, IS_ACTIVE, WRITERS},
	{"[method]%s.set-inactive", "ii", set, IS_INACTIVE, WRITERS},
	{"[method]%s.toggle", "ii", set, TOGGLE, STATEFUL},
	{"[method]%s.is-set-active", "ii", read_state, IS_ACTIVE, STATEFUL},
	{"[method]%s.is-set-inactive", "ii", read_state, IS_INACTIVE, STATEFUL},
	{"[method]%s.get-state", "ii", read_state, STATE, STATEFUL},
	{"[method]%s.read", "ii", read_state, STATE, READERS},
	{"[method]%s.is-active", "ii", read_state, IS_ACTIVE, READERS},
	{"[method]%s.is-inactive", "ii", read_state, IS_INACTIVE, READERS},
	{"[method]%s.watch-state", "iii", no_pollable, STATE, READERS},
	{"[method]%s.watch-active", "ii", no_pollable, IS_ACTIVE, READERS},
	{"[method]%s.watch-inactive", "ii", no_pollable, IS_ACTIVE, READERS},
	{"[method]%s.watch-falling-edge", "ii", no_pollable, IS_ACTIVE, READERS},
	{"[method]%s.watch-rising-edge", "ii", no_pollable, IS_ACTIVE, READERS},
};

void gpio_register(WasmEdge_VMContext *machine)
{
	static struct call calls[IN_OUT_PIN + 1][TOGGLE + 1];
	WasmEdge_ModuleInstanceContext *digital = host_module("wasi:gpio/digital@0.2.0");
	for (enum kind kind = IN_PIN; kind <= IN_OUT_PIN; kind++)
		for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
			const struct function *each = &functions[i];
			struct call *call = &calls[kind][each->operation];
			char name[64];
			if (!(each->kinds >> kind & 1))
				continue;
			*call = (struct call){kind, each->operation};
			snprintf(name, sizeof name, each->name, names[kind]);
			host_add(digital, name, each->type, each->function, call);
		}
	host_finish(machine, digital);
	WasmEdge_ModuleInstanceContext *edges = host_module("hil:gpio/edges@0.1.0");
	host_add(edges, "watch", "ii", edges_watch, NULL);
	host_add(edges, "wait", "iiIi", edges_wait, NULL);
	host_finish(machine, edges);
}
