/* SPDX-License-Identifier: Apache-2.0 */
/* C: prints its arguments, sorts them with qsort and a function pointer, works out a number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_length(const void *left, const void *right)
{
	const char *const *a = left, *const *b = right;
	size_t first = strlen(*a), second = strlen(*b);
	return first != second ? (first > second) - (first < second) : strcmp(*a, *b);
}

/* The number of steps of Collatz's sequence from n to 1. */
static unsigned steps(unsigned long n)
{
	unsigned count = 0;
	for (; n != 1; count++)
		n = n % 2 ? 3 * n + 1 : n / 2;
	return count;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	printf("steps from 27 to 1: %u\n", steps(27));
	qsort(argv + 1, argc - 1, sizeof *argv, by_length);
	printf("by length:");
	for (int i = 1; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\nend of C");
	return 7;
}
