/* SPDX-License-Identifier: Apache-2.0 */
/* Host functions for CAN: hil:can/frames@0.1.0 (wasm_samples/include/hil_can.h). */
#ifndef CAN_H
#define CAN_H

#include <wasmedge/wasmedge.h>

void can_register(WasmEdge_VMContext *machine);

#endif
