/* SPDX-License-Identifier: Apache-2.0 */
/* The shared serial line, written by polling. The guest owns it; nothing here touches its settings. */
#ifndef UART_H
#define UART_H

#include <stddef.h>

/* Maps the line. Returns 0, or -1 with errno set. */
int uart_open(void);

/* Writes every byte as it is. A line that takes nothing for two seconds loses the rest. */
void uart_write(const void *data, size_t bytes);

/* Writes one line of text: LF becomes CR LF, and CR LF is added at the end. */
void uart_line(const char *text);

/* As uart_line, after the stamp and the level of the runner's log: "[...] [info] text". */
void uart_log(const char *level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
