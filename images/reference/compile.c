/* SPDX-License-Identifier: Apache-2.0 */
/* WasmEdge's ahead-of-time compiler as a program. Runs while the image is built and is not in it. */
#include <wasmedge/wasmedge.h>

int main(int count, char **arguments)
{
	return WasmEdge_Driver_Compiler(count, (const char **)arguments);
}
