/* SPDX-License-Identifier: Apache-2.0 */
/* The exact length of a CAN frame in bits: classical frames of ISO 11898-1, base and extended format. */
#include "canbus.h"

enum {
	CRC_POLYNOMIAL = 0x4599, /* CRC-15-CAN */
	STUFF_AFTER = 5,         /* equal bits */
	TAIL = 10,               /* CRC delimiter, ACK slot and delimiter, 7 bits end of frame: never stuffed */
};

struct bits {
	unsigned count, run, last, crc;
};

static void put(struct bits *bits, uint32_t value, unsigned width, bool checked)
{
	while (width--) {
		unsigned bit = value >> width & 1;
		if (checked)
			bits->crc = (bits->crc << 1 & 0x7fff) ^ ((bits->crc >> 14 ^ bit) & 1 ? CRC_POLYNOMIAL : 0);
		bits->run = bit == bits->last ? bits->run + 1 : 1;
		bits->last = bit;
		bits->count++;
		if (bits->run == STUFF_AFTER) { /* a stuff bit, the first of the next run */
			bits->count++;
			bits->last = !bit;
			bits->run = 1;
		}
	}
}

unsigned can_frame_bits(uint32_t id, unsigned length, const uint8_t *data)
{
	struct bits bits = {.last = 1};
	bool remote = id & CAN_REMOTE;
	put(&bits, 0, 1, true); /* start of frame */
	if (id & CAN_EXTENDED) {
		put(&bits, id >> 18 & 0x7ff, 11, true);
		put(&bits, 3, 2, true); /* SRR, IDE */
		put(&bits, id & 0x3ffff, 18, true);
		put(&bits, (uint32_t)remote << 2, 3, true); /* RTR, r1, r0 */
	} else {
		put(&bits, id & 0x7ff, 11, true);
		put(&bits, (uint32_t)remote << 2, 3, true); /* RTR, IDE, r0 */
	}
	put(&bits, length, 4, true);
	for (unsigned i = 0; i < length && !remote; i++)
		put(&bits, data[i], 8, true);
	put(&bits, bits.crc, 15, false);
	return bits.count + TAIL;
}
