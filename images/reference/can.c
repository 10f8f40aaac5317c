/* SPDX-License-Identifier: Apache-2.0 */
/* A bus is a raw socket of the kernel: CAN0 for a module is the interface can0. */
#define _GNU_SOURCE
#include "can.h"
#include "host.h"
#include "pins.h"
#include "wires.h"

#include <linux/can.h>
#include <linux/can/raw.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum {
	HANDLES = 8,
	RECEIVED_BYTES = 1 << 20, /* of the kernel's queue of received frames: a thousand frames and more */
	SECOND = 1000000000,      /* nanoseconds */
};
#define FOREVER UINT64_MAX

/* As in hil_can.h; its flags of an id are the kernel's. */
struct frame {
	uint32_t id;
	uint8_t length, unused[3];
	uint8_t data[8];
	uint64_t stamp;
	uint32_t lost, unused2;
};
_Static_assert(sizeof(struct frame) == 32, "as the modules have it");

static struct bus {
	bool open;
	int socket;
	uint32_t lost;   /* of the kernel's count, as far as it was reported */
	uint64_t offset; /* of the monotonic clock to the kernel's stamps, in nanoseconds */
} buses[HANDLES];

static uint64_t now(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return time.tv_sec * (uint64_t)SECOND + time.tv_nsec;
}

static struct bus *bus_of(uint32_t handle)
{
	return handle < HANDLES && buses[handle].open ? &buses[handle] : NULL;
}

/* Returns the error of a call that failed. */
static int error_of(int number)
{
	return number == ENOBUFS || number == EAGAIN ? -WIRE_BUSY : -WIRE_FAILED;
}

/* Returns the interface's number; 0 for a name that is none of a bus, or without such an interface. */
static unsigned interface_of(const char *name)
{
	char interface[IF_NAMESIZE] = "can?";
	if (strlen(name) != 4 || strncmp(name, "CAN", 3) != 0 || name[3] < '0' || name[3] > '9')
		return 0;
	interface[3] = name[3];
	return if_nametoindex(interface);
}

static int connect_to(unsigned interface)
{
	struct sockaddr_can address = {.can_family = AF_CAN, .can_ifindex = interface};
	int on = 1, bytes = RECEIVED_BYTES;
	int opened = socket(PF_CAN, SOCK_RAW | SOCK_CLOEXEC, CAN_RAW);
	if (opened < 0)
		return -1;
	setsockopt(opened, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	if (setsockopt(opened, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
	    setsockopt(opened, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on) < 0 ||
	    bind(opened, (struct sockaddr *)&address, sizeof address) < 0) {
		close(opened);
		return -1;
	}
	return opened;
}

static int open_bus(const char *name)
{
	if (!host_allows(name))
		return -WIRE_NOT_ALLOWED;
	unsigned interface = interface_of(name);
	if (!interface)
		return -WIRE_UNKNOWN;
	for (int i = 0; i < HANDLES; i++) {
		if (buses[i].open)
			continue;
		int opened = connect_to(interface);
		if (opened < 0)
			return -WIRE_FAILED;
		buses[i] = (struct bus){.open = true, .socket = opened, .offset = now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC)};
		return i;
	}
	return -WIRE_BUSY;
}

static int send_frame(struct bus *bus, const struct frame *frame)
{
	uint32_t most = frame->id & CAN_EFF_FLAG ? CAN_EFF_MASK : CAN_SFF_MASK;
	struct can_frame out = {.can_id = frame->id, .len = frame->length};
	if (frame->length > CAN_MAX_DLEN || (frame->id & ~(CAN_EFF_FLAG | CAN_RTR_FLAG)) > most)
		return -WIRE_BAD_VALUE;
	memcpy(out.data, frame->data, sizeof out.data);
	return write(bus->socket, &out, sizeof out) == sizeof out ? 0 : error_of(errno);
}

/* Waits for a frame until `limit` nanoseconds have passed. Returns 1, 0 when they have, or an error. */
static int await_frame(const struct bus *bus, uint64_t limit)
{
	struct pollfd wake = {.fd = bus->socket, .events = POLLIN};
	uint64_t begin = now(CLOCK_MONOTONIC), passed = 0;
	for (;;) {
		struct timespec left = {(limit - passed) / SECOND, (limit - passed) % SECOND};
		int ready = ppoll(&wake, 1, &left, NULL);
		if (ready >= 0)
			return ready;
		if (errno != EINTR)
			return -WIRE_FAILED;
		passed = now(CLOCK_MONOTONIC) - begin;
		if (passed >= limit)
			return 0;
	}
}

static void note_stamp_and_loss(struct bus *bus, struct msghdr *message, struct frame *frame)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
		if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPNS) {
			struct timespec stamp;
			memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
			frame->stamp = stamp.tv_sec * (uint64_t)SECOND + stamp.tv_nsec - bus->offset;
		} else if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_RXQ_OVFL) {
			uint32_t lost;
			memcpy(&lost, CMSG_DATA(part), sizeof lost);
			frame->lost = lost - bus->lost;
			bus->lost = lost;
		}
}

static int receive_frame(struct bus *bus, struct frame *frame, uint64_t limit)
{
	struct can_frame in;
	struct iovec piece = {&in, sizeof in};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t))];
	for (;;) {
		struct msghdr message = {
			.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
		ssize_t got = recvmsg(bus->socket, &message, limit == FOREVER ? 0 : MSG_DONTWAIT);
		if (got == sizeof in) {
			*frame = (struct frame){.id = in.can_id, .length = in.len};
			memcpy(frame->data, in.data, sizeof frame->data);
			note_stamp_and_loss(bus, &message, frame);
			return 1;
		}
		if (got < 0 && errno == EAGAIN) {
			int ready = await_frame(bus, limit);
			if (ready <= 0)
				return ready;
		} else if (got >= 0 || errno != EINTR)
			return -WIRE_FAILED;
	}
}

/* -- the functions of the interface ----------------------------------------------------------- */

static WasmEdge_Result give(WasmEdge_Value *out, int value)
{
	out[0] = WasmEdge_ValueGenI32(value);
	return WasmEdge_Result_Success;
}

HOST_FUNCTION(can_open) /* (name, size) -> handle */
{
	char name[PIN_NAME];
	if (!host_name(frame, HOST_I32(0), HOST_I32(1), name, sizeof name))
		return host_bad_pointer();
	return give(out, open_bus(name));
}

HOST_FUNCTION(can_close) /* (handle) -> 0 */
{
	struct bus *bus = bus_of(HOST_I32(0));
	if (!bus)
		return give(out, -WIRE_BAD_HANDLE);
	close(bus->socket);
	bus->open = false;
	return give(out, 0);
}

HOST_FUNCTION(can_filter) /* (handle, id, mask) -> 0 */
{
	struct bus *bus = bus_of(HOST_I32(0));
	struct can_filter filter = {.can_id = HOST_I32(1) & ~CAN_INV_FILTER, .can_mask = HOST_I32(2) & ~CAN_ERR_FLAG};
	if (!bus)
		return give(out, -WIRE_BAD_HANDLE);
	return give(out, setsockopt(bus->socket, SOL_CAN_RAW, CAN_RAW_FILTER, &filter, sizeof filter) < 0 ? -WIRE_FAILED : 0);
}

HOST_FUNCTION(can_send) /* (handle, frame) -> 0 */
{
	struct bus *bus = bus_of(HOST_I32(0));
	const struct frame *from = host_memory(frame, HOST_I32(1), sizeof *from, _Alignof(struct frame));
	if (!from)
		return host_bad_pointer();
	return give(out, bus ? send_frame(bus, from) : -WIRE_BAD_HANDLE);
}

HOST_FUNCTION(can_receive) /* (handle, frame, limit) -> 1, or 0 after the limit */
{
	struct bus *bus = bus_of(HOST_I32(0));
	struct frame *to = host_memory(frame, HOST_I32(1), sizeof *to, _Alignof(struct frame));
	if (!to)
		return host_bad_pointer();
	return give(out, bus ? receive_frame(bus, to, HOST_I64(2)) : -WIRE_BAD_HANDLE);
}

void can_register(WasmEdge_VMContext *machine)
{
	WasmEdge_ModuleInstanceContext *frames = host_module("hil:can/frames@0.1.0");
	host_add(frames, "open", "ii:i", can_open, NULL);
	host_add(frames, "close", "i:i", can_close, NULL);
	host_add(frames, "filter", "iii:i", can_filter, NULL);
	host_add(frames, "send", "ii:i", can_send, NULL);
	host_add(frames, "receive", "iiI:i", can_receive, NULL);
	host_finish(machine, frames);
}
