/* SPDX-License-Identifier: Apache-2.0 */
/* The CAN bus of the machine: bench nodes on the emulator's bus, and the time that each frame takes. */
#ifndef HIL_CANBUS_H
#define HIL_CANBUS_H

#include "wires.h"

/* Commands and records of the bus. `line` is a node, `id` a frame's identifier with the flags below. */
enum can_kind {
	CAN_FRAME = 16,   /* command: queue a frame of a node, `length` bytes long; record: it is complete, `value` bits */
	CAN_CONTENT = 17, /* command: content of the node's cyclic frame with this id */
	CAN_PERIOD = 18,  /* command: send that frame from now on each `data` ns (u64), 0: no longer */
	CAN_ERROR = 19,   /* command: destroy the next `id` frames of a node at bit `value`; record: a destroyed frame */
	CAN_OFF = 20,     /* command, record: node's state, enum can_off */
	CAN_OPEN = 21,    /* command, record: whether the node is disconnected; of CAN_ANY: nothing passes the bus */
	CAN_BITRATE = 22, /* command, record: `id` bit/s from the next frame on */
	CAN_STATE = 23,   /* command after a restore, see can_save() */
	CAN_LOST = 24,    /* record: a frame that found its queue full */
	CAN_CLEAR = 26,   /* command: end cyclic frames and faults, forget waiting frames of the bench */
	CAN_REFUSED = 25, /* record at the start: the bus cannot be used, `value` is the reason, enum can_refusal */
};
enum { CAN_PARTITION = 255, CAN_ANY = 254 };            /* nodes; the bench has 0 to 253 */
enum { CAN_EXTENDED = 1u << 31, CAN_REMOTE = 1u << 30 }; /* of an id */
enum { CAN_UNHEARD = 0x80 }; /* in `length` of a record: the partition did not receive it */
enum can_off { CAN_ON = 0, CAN_RECOVERS = 1, CAN_STAYS_OFF = 2 }; /* bus-off for 128 x 11 bits, or until CAN_ON */
enum can_refusal { CAN_NO_BUS = 1, CAN_OTHER_LAYOUT = 2 };

/* Reads HIL_CAN. With `probe` reports on stderr why there can be no bus, if so. */
void can_load(const char *setting, bool probe);
/* Joins the bus of the complete machine. */
void can_connect(void);
void can_command(const struct signal *command);
/* Passes the commands that restore the present state to `put`. */
void can_save(void (*put)(struct signal));

/* Between the model, canbus.c, and QEMU's bus, canport.c. Begins with the bus idle. */
void can_begin(unsigned bitrate);
/* Queues a frame of the partition. */
void can_take(uint32_t id, uint8_t length, const uint8_t *data);
/* Passes a frame to the partition. Returns whether its controller is on. */
bool can_deliver(uint32_t id, uint8_t length, const uint8_t *data);

/* Returns the bits of a frame on the bus, from its start to its end, with stuff bits, without the interframe space. */
unsigned can_frame_bits(uint32_t id, unsigned length, const uint8_t *data);

#endif
