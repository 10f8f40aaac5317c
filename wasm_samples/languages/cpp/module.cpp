// A module for a test: build it with ./build. It prints its arguments and ends with their number.
//
// std::printf keeps a module small: std::cout adds 190 KB. There are no exceptions.
// Host functions for pins, CAN and analogue channels: #include <hil_gpio.h>, <hil_can.h>, <hil_analog.h>
// (`hil sample include` prints their directory).
#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
	const std::vector<std::string> arguments(argv + 1, argv + argc);
	int number = 0;
	for (const auto &argument : arguments)
		std::printf("argument %d: %s\n", ++number, argument.c_str());
	return number;
}
