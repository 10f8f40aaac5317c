// SPDX-License-Identifier: Apache-2.0
// Open files: reading, writing, places, sizes, times, directories. The files are those of groups.toml.
#include "files.h"

static void reading(void) {
  char bytes[64];
  size_t got = 0;
  __wasi_filesize_t place = 99;
  __wasi_fd_t fd = opened("file.txt", 0, READ);
  __wasi_iovec_t pieces[] = {{(uint8_t *)bytes, 5}, {(uint8_t *)bytes + 5, 0}, {(uint8_t *)bytes + 5, 40}};
  EXPECT("fd_read", read_some(fd, bytes, 5, &got), OK);
  EXPECT("fd_read.count", got, 5);
  HOLDS("fd_read.bytes", !memcmp(bytes, "hello", 5));
  EXPECT("fd_tell", __wasi_fd_tell(fd, &place), OK);
  EXPECT("fd_tell.place", place, 5);
  EXPECT("fd_seek.set", __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &place), OK);
  EXPECT("fd_read.pieces", __wasi_fd_read(fd, pieces, COUNT(pieces), &got), OK);
  EXPECT("fd_read.pieces-count", got, 12, 5);
  EXPECT("fd_seek.end", __wasi_fd_seek(fd, -2, __WASI_WHENCE_END, &place), OK);
  EXPECT("fd_seek.end-place", place, 10);
  EXPECT("fd_seek.current", __wasi_fd_seek(fd, -3, __WASI_WHENCE_CUR, &place), OK);
  EXPECT("fd_seek.current-place", place, 7);
  EXPECT("fd_seek.before-the-start", __wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &place), INVAL);
  EXPECT("fd_seek.past-the-end", __wasi_fd_seek(fd, 1000, __WASI_WHENCE_SET, &place), OK);
  EXPECT("fd_read.past-the-end", read_some(fd, bytes, 5, &got), OK);
  EXPECT("fd_read.past-the-end-count", got, 0);
  EXPECT("fd_pread", __wasi_fd_pread(fd, pieces, 1, 7, &got), OK);
  HOLDS("fd_pread.bytes", got == 5 && !memcmp(bytes, "file\n", 5));
  EXPECT("fd_pread.place-stays", __wasi_fd_tell(fd, &place) ? 0 : place, 1000);
  EXPECT("fd_read.nothing", __wasi_fd_read(fd, pieces, 0, &got), OK);
  EXPECT("fd_write.without-the-right", write_some(fd, "x", &got), BADF, NOTCAPABLE, PERM);
  EXPECT("fd_readdir.of-a-file", __wasi_fd_readdir(fd, (uint8_t *)bytes, sizeof bytes, 0, &got), NOTDIR, BADF, NOTCAPABLE);
  EXPECT("fd_advise", __wasi_fd_advise(fd, 0, 12, __WASI_ADVICE_SEQUENTIAL), OK);
  EXPECT("fd_close", __wasi_fd_close(fd), OK);
  EXPECT("fd_close.twice", __wasi_fd_close(fd), BADF);
}

static void writing(void) {
  char bytes[64];
  size_t count = 0;
  __wasi_filesize_t place = 0;
  __wasi_filestat_t stat;
  __wasi_fd_t fd = opened("new.txt", CREATE | EXCLUSIVE, READ | WRITE);
  const __wasi_ciovec_t piece = {(const uint8_t *)"XY", 2};
  EXPECT("fd_write", write_some(fd, "0123456789", &count), OK);
  EXPECT("fd_write.count", count, 10);
  EXPECT("fd_write.place", __wasi_fd_tell(fd, &place) ? 0 : place, 10);
  EXPECT("fd_pwrite", __wasi_fd_pwrite(fd, &piece, 1, 4, &count), OK);
  EXPECT("fd_pwrite.count", count, 2);
  EXPECT("fd_pwrite.place-stays", __wasi_fd_tell(fd, &place) ? 0 : place, 10);
  HOLDS("fd_pwrite.bytes", holds("new.txt", "0123XY6789"));
  EXPECT("fd_seek.hole", __wasi_fd_seek(fd, 12, __WASI_WHENCE_SET, &place), OK);
  EXPECT("fd_write.after-a-hole", write_some(fd, "Z", &count), OK);
  HOLDS("fd_write.hole-is-zero", !__wasi_fd_seek(fd, 10, __WASI_WHENCE_SET, &place) &&
      !read_some(fd, bytes, 8, &count) && count == 3 && !memcmp(bytes, "\0\0Z", 3));
  EXPECT("fd_filestat_get", __wasi_fd_filestat_get(fd, &stat), OK);
  EXPECT("fd_filestat_get.size", stat.size, 13);
  EXPECT("fd_filestat_get.type", stat.filetype, __WASI_FILETYPE_REGULAR_FILE);
  EXPECT("fd_filestat_set_size.smaller", __wasi_fd_filestat_set_size(fd, 4), OK);
  HOLDS("fd_filestat_set_size.smaller-bytes", holds("new.txt", "0123"));
  EXPECT("fd_filestat_set_size.larger", __wasi_fd_filestat_set_size(fd, 6), OK);
  EXPECT("fd_filestat_set_size.larger-size", __wasi_fd_filestat_get(fd, &stat) ? 0 : stat.size, 6);
  EXPECT("fd_filestat_set_times", __wasi_fd_filestat_set_times(fd, 0, 1234567890000000000, __WASI_FSTFLAGS_MTIM), OK);
  EXPECT("fd_filestat_set_times.time", __wasi_fd_filestat_get(fd, &stat) ? 0 : (long long)stat.mtim, 1234567890000000000);
  EXPECT("fd_filestat_set_times.both-flags",
      __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
  EXPECT("fd_allocate", __wasi_fd_allocate(fd, 0, 20), OK, NOTSUP);
  EXPECT("fd_sync", __wasi_fd_sync(fd), OK);
  EXPECT("fd_datasync", __wasi_fd_datasync(fd), OK);
  (void)!__wasi_fd_close(fd);

  fd = 0;
  EXPECT("path_open.append", __wasi_path_open(root, 0, "log.txt", CREATE, READ | WRITE, 0, __WASI_FDFLAGS_APPEND, &fd), OK);
  (void)!write_some(fd, "one", &count);
  (void)!__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &place);
  (void)!write_some(fd, "two", &count);
  HOLDS("fd_write.appends", holds("log.txt", "onetwo"));
  __wasi_fdstat_t status;
  EXPECT("fd_fdstat_get", __wasi_fd_fdstat_get(fd, &status), OK);
  EXPECT("fd_fdstat_get.flags", status.fs_flags, __WASI_FDFLAGS_APPEND);
  EXPECT("fd_fdstat_get.type", status.fs_filetype, __WASI_FILETYPE_REGULAR_FILE);
  EXPECT("fd_fdstat_set_flags", __wasi_fd_fdstat_set_flags(fd, 0), OK);
  EXPECT("fd_fdstat_set_flags.flags", __wasi_fd_fdstat_get(fd, &status) ? 99 : status.fs_flags, 0);
  (void)!__wasi_fd_close(fd);

  fd = opened("log.txt", 0, WRITE);
  EXPECT("fd_read.without-the-right", read_some(fd, bytes, 1, &count), BADF, NOTCAPABLE, PERM);
  (void)!__wasi_fd_close(fd);
}

static void numbers(void) {
  char bytes[16];
  size_t count = 0;
  __wasi_fd_t first = opened("file.txt", 0, READ), second = opened("dir/inner.txt", 0, READ);
  HOLDS("path_open.different-numbers", first != second && first > STDERR && second > STDERR);
  EXPECT("fd_renumber", __wasi_fd_renumber(second, first), OK);
  HOLDS("fd_renumber.file", !read_some(first, bytes, 5, &count) && count == 5 && !memcmp(bytes, "inner", 5));
  EXPECT("fd_renumber.old-number", read_some(second, bytes, 1, &count), BADF);
  EXPECT("fd_renumber.onto-itself", __wasi_fd_renumber(first, first), OK);
  EXPECT("fd_renumber.onto-itself-stays", read_some(first, bytes, 1, &count), OK);
  (void)!__wasi_fd_close(first);
}

// Counts the entries of the directory, reading with a buffer of this size; -1 for an error.
static int entries(__wasi_fd_t fd, size_t size, bool *has_dots, bool *has_file) {
  static uint8_t buffer[512];
  __wasi_dircookie_t cookie = 0;
  int count = 0;
  for (int rounds = 0; rounds < 100; rounds++) {
    size_t used = 0, at = 0;
    if (__wasi_fd_readdir(fd, buffer, size, cookie, &used))
      return -1;
    int before = count;
    while (at + sizeof(__wasi_dirent_t) <= used) {
      __wasi_dirent_t entry;
      memcpy(&entry, buffer + at, sizeof entry);
      const char *name = (const char *)buffer + at + sizeof entry;
      if (at + sizeof entry + entry.d_namlen > used)
        break;  // cut: read again from there
      at += sizeof entry + entry.d_namlen;
      cookie = entry.d_next;
      count++;
      if (name[0] == '.')
        *has_dots = true;
      if (entry.d_namlen == 9 && !memcmp(name, "inner.txt", 9) && entry.d_type == __WASI_FILETYPE_REGULAR_FILE)
        *has_file = true;
    }
    if (used < size)
      return count;
    if (count == before)
      return -2;
  }
  return -3;
}

static void directories(void) {
  bool dots = false, file = false;
  __wasi_fdstat_t status;
  size_t used = 99;
  __wasi_fd_t fd = opened("dir", DIRECTORY, READ);
  EXPECT("fd_fdstat_get.directory", __wasi_fd_fdstat_get(fd, &status) ? 99 : status.fs_filetype, __WASI_FILETYPE_DIRECTORY);
  int all = entries(fd, 512, &dots, &file);
  EXPECT("fd_readdir.entries", all - 2 * dots, 3);
  HOLDS("fd_readdir.entry", file);
  EXPECT("fd_readdir.small-buffer", entries(fd, 48, &dots, &file), all);
  EXPECT("fd_readdir.no-room", __wasi_fd_readdir(fd, (uint8_t *)&status, 0, 0, &used) ? 99 : used, 0);
  EXPECT("fd_read.directory", read_some(fd, &status, 1, &used), ISDIR, BADF, NOTCAPABLE);
  EXPECT("fd_seek.directory", __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &(__wasi_filesize_t){0}), BADF, ISDIR, NOTCAPABLE);
  (void)!__wasi_fd_close(fd);
}

static void polling(void) {
  __wasi_fd_t fd = opened("file.txt", 0, READ);
  const __wasi_subscription_t in[] = {
      {.userdata = 1, .u = {.tag = __WASI_EVENTTYPE_FD_READ, .u.fd_read.file_descriptor = fd}},
      {.userdata = 2, .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = 100000000}}}};
  __wasi_event_t out[2] = {0};
  size_t count = 0;
  EXPECT("poll_oneoff.file", __wasi_poll_oneoff(in, out, 2, &count), OK);
  EXPECT("poll_oneoff.file-is-ready", count ? (long long)out[0].userdata * 100 + out[0].error : -1, 100);
  (void)!__wasi_fd_close(fd);
}

static void many(void) {
  __wasi_fd_t fds[50];
  int failed = 0, same = 0;
  for (size_t i = 0; i < COUNT(fds); i++)
    failed += open_in(root, "file.txt", 0, READ, fds + i) != 0;
  for (size_t i = 1; i < COUNT(fds); i++)
    same += fds[i] == fds[i - 1];
  EXPECT("path_open.many", failed, 0);
  EXPECT("path_open.many-are-different", same, 0);
  for (size_t i = 0; i < COUNT(fds); i++)
    failed += __wasi_fd_close(fds[i]) != 0;
  EXPECT("fd_close.many", failed, 0);
}

static void large(void) {
  static uint8_t block[4096];
  enum { BLOCKS = 64 };
  size_t count = 0, total = 0;
  __wasi_filestat_t stat;
  __wasi_fd_t fd = opened("large", CREATE, READ | WRITE);
  for (int i = 0; i < BLOCKS; i++) {
    block[0] = (uint8_t)i;
    const __wasi_ciovec_t piece = {block, sizeof block};
    total += __wasi_fd_write(fd, &piece, 1, &count) ? 0 : count;
  }
  EXPECT("fd_write.large", total, BLOCKS * 4096);
  EXPECT("fd_filestat_get.large", __wasi_fd_filestat_get(fd, &stat) ? 0 : stat.size, BLOCKS * 4096);
  const __wasi_iovec_t piece = {block, 1};
  int wrong = 0;
  for (int i = 0; i < BLOCKS; i++)
    wrong += __wasi_fd_pread(fd, &piece, 1, (__wasi_filesize_t)i * 4096, &count) || count != 1 || block[0] != i;
  EXPECT("fd_pread.large", wrong, 0);
  (void)!__wasi_fd_close(fd);
}

static void limits(void) {
  __wasi_fdstat_t status;
  size_t count = 0;
  __wasi_fd_t fd = opened("file.txt", 0, READ);
  EXPECT("fd_filestat_set_size.without-the-right", __wasi_fd_filestat_set_size(fd, 1), INVAL, BADF, NOTCAPABLE, PERM);
  EXPECT("fd_fdstat_set_flags.nonblock", __wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_NONBLOCK), OK, NOTCAPABLE);
  (void)!__wasi_fd_close(fd);
  fd = opened("large", 0, READ | WRITE);
  __wasi_errno_t error = __wasi_fd_fdstat_get(fd, &status);
  if (!error)
    error = __wasi_fd_fdstat_set_rights(fd, status.fs_rights_base & ~(__wasi_rights_t)__WASI_RIGHTS_FD_WRITE, 0);
  EXPECT("fd_fdstat_set_rights.fewer", error, OK, NOTSUP);
  EXPECT("fd_write.right-given-away", error ? NOTCAPABLE : write_some(fd, "x", &count), NOTCAPABLE, BADF, PERM);
  EXPECT("fd_fdstat_set_rights.more", error ? NOTCAPABLE : __wasi_fd_fdstat_set_rights(fd, status.fs_rights_base, 0), NOTCAPABLE);
  (void)!__wasi_fd_close(fd);
}

static void preopened(void) {  // last: there is no directory afterwards
  __wasi_fd_t fd;
  EXPECT("fd_close.preopened", __wasi_fd_close(root), OK);
  EXPECT("path_open.closed-directory", open_in(root, "file.txt", 0, READ, &fd), BADF);
}

void _start(void) {
  find_directories();
  reading();
  writing();
  numbers();
  directories();
  polling();
  many();
  large();
  limits();
  preopened();
}
