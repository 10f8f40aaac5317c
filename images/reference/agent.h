/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the agent share: requests to the runner, exit statuses, and the directories of a module. */
#ifndef AGENT_H
#define AGENT_H

#include "link.h"

#include <stdbool.h>

/* Exit status when it is not the module's code. */
enum {
	STATUS_CODE_MAX = 239,
	STATUS_NOT_LOADED = 240,
	STATUS_NOT_INSTANTIATED = 241,
	STATUS_TRAPPED = 242,
	STATUS_LIMIT = 243,
	STATUS_FAULTED = 244,
	STATUS_NO_ANSWER = 245,
	STATUS_BUSY = 246,
	STATUS_TOO_LARGE = 247,
	STATUS_OUTPUTS = 248,
	STATUS_NO_FILE = 255,
};

enum { ANSWER_MS = 5000 }; /* an ordinary request takes about 1 ms */

extern struct link peer;

__attribute__((format(printf, 2, 3))) _Noreturn void die(int status, const char *format, ...);

/* Sends a request and returns its answer; ends the program when there is none. */
uint32_t call(enum link_command command, const void *data, size_t size, uint64_t limit_ms);

/* The same; ends the program when the runner does not accept it. */
void must(enum link_command command, const void *data, size_t size);

/* Notes a directory for the module, "DIRECTORY:NAME" with ":rw" or ":ro" behind it; ends with an error for other text. */
void add_directory(char *text);

/* Reads what the directories hold. Ends with an error for a link, a device, or too much. */
void read_directories(void);

/* Sends the directories and their files. */
void send_directories(void);

/*
 * Replaces the contents of each writable directory by its files after the run. Returns false, and says why, if that
 * fails: the directory is then as it was, unless the file system failed.
 */
bool receive_directories(void);

#endif
