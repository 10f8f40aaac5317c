// SPDX-License-Identifier: Apache-2.0
// A periodic task that reports its own releases: it sleeps to absolute instants, stamps each start, does a small
// fixed work, and prints only when all is over (README.md has the format).
#include "release.h"

enum { MOST = 30000 };
static uint64_t start[MOST];

// Output passes through here, for its CRC-32 (zlib's).
static char text[4096];
static size_t used;
static uint32_t crc = ~0u;

static void flush(void) {
  static const uint32_t table[16] = {  // of the polynomial, for four bits
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
  };
  for (size_t i = 0; i < used; i++) {
    crc ^= (uint8_t)text[i];
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  put(STDOUT, text, used);
  used = 0;
}

static void add(const char *piece) {
  while (*piece) {
    if (used == sizeof text)
      flush();
    text[used++] = *piece++;
  }
}

static void add_number(uint64_t value) {
  char digits[21], *end = digits + sizeof digits - 1;
  *end = 0;
  add(digits_before(end, value));
}

static void add_crc(void) {
  char digits[9] = { 0 };
  uint32_t sum = ~crc;
  for (int i = 7; i >= 0; i--, sum >>= 4)
    digits[i] = "0123456789ABCDEF"[sum & 15];
  add(digits);
}

static void work(void) {
  static volatile uint32_t state = 1;
  for (int i = 0; i < 100; i++)
    state = state * 1664525 + 1013904223;
}

void _start(void) {
  read_releases(MOST);
  sleep_until(now());  // what only a first time costs is no matter of the releases
  work();
  uint64_t first = now() + period;
  for (uint32_t n = 0; n < releases; n++) {
    sleep_until(first + n * period);
    start[n] = now();
    work();
  }
  add("periodic ");
  add_number(period / 1000);
  add(" us, ");
  add_number(releases);
  add(" releases from ");
  add_number(first);
  add(" ns\n");
  for (uint32_t n = 0; n < releases; n++) {
    uint64_t ideal = first + n * period;
    bool early = start[n] < ideal;
    add(early ? "-" : "+");
    add_number(early ? ideal - start[n] : start[n] - ideal);
    add("\n");
  }
  flush();
  add("end ");
  add_number(releases);
  add(" ");
  add_crc();
  add("\n");
  flush();
}
