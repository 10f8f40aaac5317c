// SPDX-License-Identifier: Apache-2.0
// Runs one JavaScript module with QuickJS. `build` puts its text, a zero byte and its name behind the memory that this
// program begins with, and the place of the text into `script`.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quickjs.h"

enum {
	STACK = 768 << 10, // bytes for JavaScript; the program has 1 MiB
	TIMER_ARGUMENTS = 8,
};

// `build` finds it by its export and overwrites it; volatile, so that the compiler does not use these values.
volatile struct {
	uint32_t address, bytes;
} script = {1, 1};

struct timer {
	struct timer *next;
	double due; // ms
	int id, count, period;
	JSValue callback, arguments[TIMER_ARGUMENTS];
};
static struct timer *timers;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void sleep_until(double due)
{
	double left = due - now();
	if (left <= 0)
		return;
	struct timespec t = {.tv_sec = left / 1e3};
	t.tv_nsec = (left - t.tv_sec * 1e3) * 1e6;
	nanosleep(&t, NULL);
}

static JSValue js_now(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	return JS_NewFloat64(ctx, now());
}

static JSValue js_sleep(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	double ms;
	if (JS_ToFloat64(ctx, &ms, argv[0]))
		return JS_EXCEPTION;
	sleep_until(now() + ms);
	return JS_UNDEFINED;
}

// Writes the arguments, a space between them, and the end in one piece.
static JSValue write_all(JSContext *ctx, FILE *to, int argc, JSValueConst *argv, const char *end)
{
	for (int i = 0; i < argc; i++) {
		size_t bytes;
		const char *text = JS_ToCStringLen(ctx, &bytes, argv[i]);
		if (!text)
			return JS_EXCEPTION;
		if (i && *end)
			putc(' ', to);
		fwrite(text, 1, bytes, to);
		JS_FreeCString(ctx, text);
	}
	fputs(end, to);
	fflush(to);
	return JS_UNDEFINED;
}

static JSValue js_print(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
	return write_all(ctx, magic & 1 ? stderr : stdout, argc, argv, magic & 2 ? "" : "\n");
}

static JSValue js_exit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	int32_t code = 0;
	if (argc && JS_ToInt32(ctx, &code, argv[0]))
		return JS_EXCEPTION;
	exit(code);
}

static JSValue js_getenv(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	const char *name = JS_ToCString(ctx, argv[0]);
	if (!name)
		return JS_EXCEPTION;
	const char *value = getenv(name);
	JS_FreeCString(ctx, name);
	return value ? JS_NewString(ctx, value) : JS_UNDEFINED;
}

// Returns the text of a file, null where it cannot be read, as QuickJS's own std.loadFile does.
static JSValue js_load_file(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	const char *name = JS_ToCString(ctx, argv[0]);
	if (!name)
		return JS_EXCEPTION;
	FILE *file = fopen(name, "rb");
	JS_FreeCString(ctx, name);
	char *text = NULL;
	size_t bytes = 0, room = 0, got = 1;
	while (file && got) {
		if (bytes == room) {
			room = room ? 2 * room : 4096;
			char *more = realloc(text, room);
			if (!more)
				break;
			text = more;
		}
		got = fread(text + bytes, 1, room - bytes, file);
		bytes += got;
	}
	JSValue result = file && !got && !ferror(file) ? JS_NewStringLen(ctx, text, bytes) : JS_NULL;
	if (file)
		fclose(file);
	free(text);
	return result;
}

static JSValue js_write_file(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	size_t bytes;
	const char *name = JS_ToCString(ctx, argv[0]), *text = name ? JS_ToCStringLen(ctx, &bytes, argv[1]) : NULL;
	JSValue result = JS_EXCEPTION;
	if (text) {
		FILE *file = fopen(name, "wb");
		int bad = !file || fwrite(text, 1, bytes, file) != bytes;
		bad |= file && fclose(file);
		result = bad ? JS_ThrowTypeError(ctx, "cannot write %s", name) : JS_UNDEFINED;
	}
	JS_FreeCString(ctx, text);
	JS_FreeCString(ctx, name);
	return result;
}

// Puts a timer behind those that are due before it or at the same time.
static void insert(struct timer *timer)
{
	struct timer **at = &timers;
	while (*at && (*at)->due <= timer->due)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
}

static void free_values(JSContext *ctx, struct timer *timer)
{
	JS_FreeValue(ctx, timer->callback);
	for (int i = 0; i < timer->count; i++)
		JS_FreeValue(ctx, timer->arguments[i]);
}

static struct timer with_values_of(JSContext *ctx, const struct timer *timer)
{
	struct timer copy = *timer;
	JS_DupValue(ctx, copy.callback);
	for (int i = 0; i < copy.count; i++)
		JS_DupValue(ctx, copy.arguments[i]);
	return copy;
}

// setTimeout and, with magic 1, setInterval
static JSValue js_set_timer(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
	static int last;
	double ms = 0;
	if (argc > 1 && JS_ToFloat64(ctx, &ms, argv[1]))
		return JS_EXCEPTION;
	if (!JS_IsFunction(ctx, argv[0]))
		return JS_ThrowTypeError(ctx, "not a function");
	struct timer *timer = calloc(1, sizeof *timer);
	if (!timer)
		return JS_ThrowOutOfMemory(ctx);
	ms = ms > 0 ? ms : 0;
	timer->due = now() + ms;
	timer->period = magic ? (ms >= 1 ? (int)ms : 1) : 0;
	timer->id = ++last;
	timer->callback = JS_DupValue(ctx, argv[0]);
	for (int i = 2; i < argc && timer->count < TIMER_ARGUMENTS; i++)
		timer->arguments[timer->count++] = JS_DupValue(ctx, argv[i]);
	insert(timer);
	return JS_NewInt32(ctx, timer->id);
}

static JSValue js_clear_timer(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
	int32_t id;
	if (JS_ToInt32(ctx, &id, argv[0]))
		return JS_EXCEPTION;
	for (struct timer **at = &timers; *at; at = &(*at)->next)
		if ((*at)->id == id) {
			struct timer *timer = *at;
			*at = timer->next;
			free_values(ctx, timer);
			free(timer);
			break;
		}
	return JS_UNDEFINED;
}

static void die(JSContext *ctx, JSValue reason)
{
	fflush(stdout);
	write_all(ctx, stderr, 1, &reason, "\n");
	JSValue stack = JS_IsError(ctx, reason) ? JS_GetPropertyStr(ctx, reason, "stack") : JS_UNDEFINED;
	if (!JS_IsUndefined(stack))
		write_all(ctx, stderr, 1, &stack, "");
	exit(1);
}

// Runs what promises wait for; what nobody catches ends the program.
static void run_jobs(JSContext *ctx)
{
	JSContext *at;
	int state;
	while ((state = JS_ExecutePendingJob(JS_GetRuntime(ctx), &at)))
		if (state < 0)
			die(at, JS_GetException(at));
}

// Promises that were rejected without a handler: they may get one until all jobs have run.
enum { REJECTED = 16 };
static JSValue rejected[REJECTED], rejected_reason[REJECTED];
static int rejections;

static void on_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, JS_BOOL handled, void *opaque)
{
	if (!handled && rejections < REJECTED) {
		rejected[rejections] = JS_DupValue(ctx, promise);
		rejected_reason[rejections++] = JS_DupValue(ctx, reason);
		return;
	}
	for (int i = 0; i < rejections; i++)
		if (JS_VALUE_GET_PTR(rejected[i]) == JS_VALUE_GET_PTR(promise)) {
			JS_FreeValue(ctx, rejected[i]);
			JS_FreeValue(ctx, rejected_reason[i]);
			rejections--;
			rejected[i] = rejected[rejections];
			rejected_reason[i] = rejected_reason[rejections];
			return;
		}
}

static void loop(JSContext *ctx)
{
	for (;;) {
		run_jobs(ctx);
		if (rejections)
			die(ctx, rejected_reason[0]);
		struct timer *timer = timers;
		if (!timer)
			return;
		sleep_until(timer->due);
		if (now() < timer->due)
			continue;
		timers = timer->next;
		struct timer call = with_values_of(ctx, timer); // the callback may clear it
		if (timer->period) {
			timer->due += timer->period;
			insert(timer);
		} else {
			free_values(ctx, timer);
			free(timer);
		}
		JSValue result = JS_Call(ctx, call.callback, JS_UNDEFINED, call.count, call.arguments);
		free_values(ctx, &call);
		if (JS_IsException(result))
			die(ctx, JS_GetException(ctx));
		JS_FreeValue(ctx, result);
	}
}

#define MAGIC(name, length, function, magic) JS_CFUNC_MAGIC_DEF(name, length, function, magic)
static const JSCFunctionListEntry out[] = {MAGIC("puts", 1, js_print, 2)}, err[] = {MAGIC("puts", 1, js_print, 3)};
static const JSCFunctionListEntry console[] = {
	MAGIC("log", 1, js_print, 0),   MAGIC("info", 1, js_print, 0),	MAGIC("debug", 1, js_print, 0),
	MAGIC("error", 1, js_print, 1), MAGIC("warn", 1, js_print, 1),
};
static const JSCFunctionListEntry performance[] = {JS_CFUNC_DEF("now", 0, js_now)};
static const JSCFunctionListEntry std[] = {
	JS_CFUNC_DEF("exit", 1, js_exit),
	JS_CFUNC_DEF("getenv", 1, js_getenv),
	JS_CFUNC_DEF("loadFile", 1, js_load_file),
	JS_CFUNC_DEF("writeFile", 2, js_write_file),
	JS_OBJECT_DEF("out", out, 1, JS_PROP_C_W_E),
	JS_OBJECT_DEF("err", err, 1, JS_PROP_C_W_E),
};
static const JSCFunctionListEntry os[] = {
	JS_CFUNC_DEF("now", 0, js_now),
	JS_CFUNC_DEF("sleep", 1, js_sleep),
	MAGIC("setTimeout", 2, js_set_timer, 0),
	JS_CFUNC_DEF("clearTimeout", 1, js_clear_timer),
};
#define COUNT(list) (sizeof list / sizeof *list)
static const JSCFunctionListEntry globals[] = {
	MAGIC("print", 1, js_print, 0),
	MAGIC("setTimeout", 2, js_set_timer, 0),
	MAGIC("setInterval", 2, js_set_timer, 1),
	JS_CFUNC_DEF("clearTimeout", 1, js_clear_timer),
	JS_CFUNC_DEF("clearInterval", 1, js_clear_timer),
	JS_OBJECT_DEF("console", console, COUNT(console), JS_PROP_C_W_E),
	JS_OBJECT_DEF("performance", performance, 1, JS_PROP_C_W_E),
	JS_OBJECT_DEF("std", std, COUNT(std), JS_PROP_C_W_E),
	JS_OBJECT_DEF("os", os, COUNT(os), JS_PROP_C_W_E),
};

static void add_globals(JSContext *ctx, int argc, char **argv)
{
	JSValue global = JS_GetGlobalObject(ctx), list = JS_NewArray(ctx);
	for (int i = 0; i < argc; i++)
		JS_SetPropertyUint32(ctx, list, i, JS_NewString(ctx, argv[i]));
	JS_SetPropertyStr(ctx, global, "scriptArgs", list);
	JS_SetPropertyFunctionList(ctx, global, globals, COUNT(globals));
	JS_FreeValue(ctx, global);
}

int main(int argc, char **argv)
{
	JSRuntime *runtime = JS_NewRuntime();
	JS_SetMaxStackSize(runtime, STACK);
	JS_SetHostPromiseRejectionTracker(runtime, on_rejection, NULL);
	JSContext *ctx = JS_NewContext(runtime);
	add_globals(ctx, argc, argv);

	const char *text = (const char *)(uintptr_t)script.address, *name = text + script.bytes + 1;
	JSValue result = JS_Eval(ctx, text, script.bytes, name, JS_EVAL_TYPE_MODULE); // a module may use `await`
	if (JS_IsException(result))
		die(ctx, JS_GetException(ctx));
	loop(ctx);
	if (JS_PromiseState(ctx, result) == JS_PROMISE_PENDING)
		die(ctx, JS_NewString(ctx, "the script awaits a promise that nothing settles"));
	return 0; // the memory goes with the module
}
