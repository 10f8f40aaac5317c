/* SPDX-License-Identifier: Apache-2.0 */
#include "uart.h"
#include "link.h"

#include <stdarg.h>
#include <stdbool.h>
#include <time.h>

enum { UART_ADDRESS = 0x9000000, UART_DR = 0, UART_FR = 0x18 / 4, UART_FR_TXFF = 1 << 5 };

static volatile uint32_t *uart;

int uart_open(void)
{
	uart = link_map("/dev/mem", UART_ADDRESS, 0x1000);
	return uart ? 0 : -1;
}

static bool uart_has_room(void)
{
	if (!(uart[UART_FR] & UART_FR_TXFF))
		return true;
	uint64_t end = link_ticks() + 2 * link_ticks_per_second();
	while (uart[UART_FR] & UART_FR_TXFF)
		if (link_ticks() > end)
			return false;
	return true;
}

void uart_write(const void *data, size_t bytes)
{
	const unsigned char *byte = data;
	for (; bytes-- && uart_has_room(); byte++)
		uart[UART_DR] = *byte;
}

void uart_line(const char *text)
{
	for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
		uart_write(text, end - text);
		uart_write("\r\n", 2);
	}
	uart_write(text, strlen(text));
	uart_write("\r\n", 2);
}

void uart_log(const char *level, const char *format, ...)
{
	char line[512];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	size_t used = strftime(line, sizeof line, "[%Y-%m-%d %H:%M:%S.", gmtime(&now.tv_sec));
	used += snprintf(line + used, sizeof line - used, "%03ld] [%s] ", now.tv_nsec / 1000000, level);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line + used, sizeof line - used, format, arguments);
	va_end(arguments);
	uart_line(line);
}
