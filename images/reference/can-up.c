/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a CAN interface: can-up NAME BITRATE DRIVER.ko...
 *
 * Loads the drivers in this order, then sets the bit rate and switches the interface on in one netlink request, as
 * `ip link set NAME up type can bitrate BITRATE` does. Writes on standard error what failed; the status is 1 then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/can/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RESTART_MS = 100 }; /* from bus-off to the next attempt */

static struct {
	struct nlmsghdr header;
	struct ifinfomsg link;
	char attributes[256];
} request;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void load(const char *driver)
{
	int file = open(driver, O_RDONLY | O_CLOEXEC);
	if (file < 0 || (syscall(SYS_finit_module, file, "", 0) < 0 && errno != EEXIST))
		fail(driver);
	close(file);
}

/* Appends an attribute; one without data contains those that follow, until `end` is called with it. */
static struct rtattr *add(unsigned short type, const void *data, size_t bytes)
{
	struct rtattr *attribute = (void *)((char *)&request + NLMSG_ALIGN(request.header.nlmsg_len));
	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(bytes);
	if (bytes)
		memcpy(RTA_DATA(attribute), data, bytes);
	request.header.nlmsg_len = NLMSG_ALIGN(request.header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
	return attribute;
}

static void end(struct rtattr *outer)
{
	outer->rta_len = (char *)&request + request.header.nlmsg_len - (char *)outer;
}

static void switch_on(const char *name, unsigned bitrate)
{
	struct can_bittiming timing = {.bitrate = bitrate};
	unsigned restart_ms = RESTART_MS;
	request.header = (struct nlmsghdr){
		.nlmsg_len = NLMSG_LENGTH(sizeof request.link), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
	request.link = (struct ifinfomsg){.ifi_index = if_nametoindex(name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	if (!request.link.ifi_index)
		fail(name);
	struct rtattr *information = add(IFLA_LINKINFO, NULL, 0);
	add(IFLA_INFO_KIND, "can", 3);
	struct rtattr *data = add(IFLA_INFO_DATA, NULL, 0);
	add(IFLA_CAN_BITTIMING, &timing, sizeof timing);
	add(IFLA_CAN_RESTART_MS, &restart_ms, sizeof restart_ms);
	end(data);
	end(information);

	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (netlink < 0 || send(netlink, &request, request.header.nlmsg_len, 0) < 0 ||
	    recv(netlink, &answer, sizeof answer, 0) < (ssize_t)(sizeof answer.header + sizeof answer.error.error))
		fail("netlink");
	if (answer.error.error) {
		errno = -answer.error.error;
		fail(name);
	}
}

int main(int count, char **arguments)
{
	if (count < 3) {
		fputs("Usage: can-up NAME BITRATE DRIVER.ko...\n", stderr);
		return 2;
	}
	for (int i = 3; i < count; i++)
		load(arguments[i]);
	switch_on(arguments[1], strtoul(arguments[2], NULL, 10));
	return 0;
}
