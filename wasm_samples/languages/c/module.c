/* A module for a test: build it with ./build. It prints its arguments and ends with their number.

   Host functions for pins, CAN and analogue channels: #include <hil_gpio.h>, <hil_can.h>, <hil_analog.h>
   (`hil sample include` prints their directory). */
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	return argc - 1;
}
