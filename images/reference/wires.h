/* SPDX-License-Identifier: Apache-2.0 */
/* The errors of the host functions for CAN and analogue channels, negated where they are returned. */
#ifndef WIRES_H
#define WIRES_H

/* As in wasm_samples/include/hil_wires.h. */
enum wire_error {
	WIRE_NOT_ALLOWED = 1, /* by the policy */
	WIRE_UNKNOWN,         /* the machine has no such bus or channel */
	WIRE_BAD_HANDLE,
	WIRE_WRONG_DIRECTION,
	WIRE_BAD_VALUE,
	WIRE_BUSY,
	WIRE_FAILED,
};

#endif
