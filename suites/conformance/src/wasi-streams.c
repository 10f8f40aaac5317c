// SPDX-License-Identifier: Apache-2.0
// The three streams: fd_* of standard input, which is at its end, output and error; numbers of nothing.
#include "cases.h"

static __wasi_errno_t write(__wasi_fd_t fd, const void *bytes, size_t size) {
  __wasi_ciovec_t piece = {bytes, size};
  size_t written = 0;
  return __wasi_fd_write(fd, &piece, 1, &written);
}

static __wasi_errno_t read(__wasi_fd_t fd, size_t *got) {
  static uint8_t bytes[16];
  __wasi_iovec_t piece = {bytes, sizeof bytes};
  return __wasi_fd_read(fd, &piece, 1, got);
}

void _start(void) {
  enum { NOTHING = 99 };
  size_t count = 77;
  __wasi_filesize_t place = 0;
  __wasi_fdstat_t stat = {0};
  __wasi_filestat_t file = {0};
  __wasi_prestat_t prestat = {0};
  uint8_t bytes[16];
  __wasi_iovec_t room = {bytes, sizeof bytes};

  PRINTED("fd_write.pieces");
  static const __wasi_ciovec_t pieces[] = {
      {(const uint8_t *)"ok fd_", 6}, {(const uint8_t *)"", 0}, {(const uint8_t *)"write.", 6}, {(const uint8_t *)"pieces\n", 7}};
  size_t first = 0;
  while (first < COUNT(pieces)) {  // a runtime may write fewer of them
    if (__wasi_fd_write(STDOUT, pieces + first, COUNT(pieces) - first, &count))
      __wasi_proc_exit(72);
    size_t rest = count;
    while (first < COUNT(pieces) && rest >= pieces[first].buf_len)
      rest -= pieces[first++].buf_len;
    if (rest)
      __wasi_proc_exit(73);
  }
  PRINTED("fd_write.standard-error");
  static const char to_error[] = "ok fd_write.standard-error\n";
  if (write(STDERR, to_error, sizeof to_error - 1))
    __wasi_proc_exit(74);
  EXPECT("fd_write.no-pieces", __wasi_fd_write(STDOUT, pieces, 0, &count), OK);
  EXPECT("fd_write.no-pieces-written", count, 0);
  EXPECT("fd_write.standard-input", write(STDIN, "x", 1), BADF, NOTCAPABLE);
  EXPECT("fd_write.bad-fd", write(NOTHING, "x", 1), BADF);

  EXPECT("fd_read.standard-input", read(STDIN, &count), OK);
  EXPECT("fd_read.end", count, 0);
  EXPECT("fd_read.standard-output", read(STDOUT, &count), BADF, NOTCAPABLE);
  EXPECT("fd_read.bad-fd", read(NOTHING, &count), BADF);

  EXPECT("fd_fdstat_get.standard-input", __wasi_fd_fdstat_get(STDIN, &stat), OK);
  EXPECT("fd_fdstat_get.standard-output", __wasi_fd_fdstat_get(STDOUT, &stat), OK);
  HOLDS("fd_fdstat_get.no-file", stat.fs_filetype != __WASI_FILETYPE_REGULAR_FILE && stat.fs_filetype != __WASI_FILETYPE_DIRECTORY);
  HOLDS("fd_fdstat_get.right-to-write", stat.fs_rights_base & __WASI_RIGHTS_FD_WRITE);
  EXPECT("fd_fdstat_get.bad-fd", __wasi_fd_fdstat_get(NOTHING, &stat), BADF);
  EXPECT("fd_fdstat_set_flags.bad-fd", __wasi_fd_fdstat_set_flags(NOTHING, 0), BADF);
  EXPECT("fd_fdstat_set_rights.bad-fd", __wasi_fd_fdstat_set_rights(NOTHING, 0, 0), BADF, NOTSUP);
  EXPECT("fd_filestat_get.standard-output", __wasi_fd_filestat_get(STDOUT, &file), OK);
  EXPECT("fd_filestat_get.bad-fd", __wasi_fd_filestat_get(NOTHING, &file), BADF);
  EXPECT("fd_filestat_set_size.bad-fd", __wasi_fd_filestat_set_size(NOTHING, 0), BADF);
  EXPECT("fd_filestat_set_times.bad-fd", __wasi_fd_filestat_set_times(NOTHING, 0, 0, 0), BADF);

  EXPECT("fd_seek.no-file", __wasi_fd_seek(STDOUT, 0, __WASI_WHENCE_CUR, &place), SPIPE, BADF, NOTCAPABLE);
  EXPECT("fd_seek.bad-fd", __wasi_fd_seek(NOTHING, 0, __WASI_WHENCE_CUR, &place), BADF);
  EXPECT("fd_tell.no-file", __wasi_fd_tell(STDOUT, &place), SPIPE, BADF, NOTCAPABLE);
  EXPECT("fd_tell.bad-fd", __wasi_fd_tell(NOTHING, &place), BADF);
  EXPECT("fd_pread.no-file", __wasi_fd_pread(STDIN, &room, 1, 0, &count), SPIPE, BADF, NOTCAPABLE, OK);
  EXPECT("fd_pread.bad-fd", __wasi_fd_pread(NOTHING, &room, 1, 0, &count), BADF);
  EXPECT("fd_pwrite.no-file", __wasi_fd_pwrite(STDOUT, pieces + 1, 1, 0, &count), SPIPE, BADF, NOTCAPABLE);
  EXPECT("fd_pwrite.bad-fd", __wasi_fd_pwrite(NOTHING, pieces, 1, 0, &count), BADF);
  EXPECT("fd_readdir.no-directory", __wasi_fd_readdir(STDOUT, bytes, sizeof bytes, 0, &count), NOTDIR, BADF, NOTCAPABLE);
  EXPECT("fd_readdir.bad-fd", __wasi_fd_readdir(NOTHING, bytes, sizeof bytes, 0, &count), BADF);
  EXPECT("fd_advise.bad-fd", __wasi_fd_advise(NOTHING, 0, 0, __WASI_ADVICE_NORMAL), BADF);
  EXPECT("fd_allocate.bad-fd", __wasi_fd_allocate(NOTHING, 0, 1), BADF, NOTSUP);
  EXPECT("fd_sync.bad-fd", __wasi_fd_sync(NOTHING), BADF);
  EXPECT("fd_datasync.bad-fd", __wasi_fd_datasync(NOTHING), BADF);
  EXPECT("fd_prestat_get.no-directory", __wasi_fd_prestat_get(STDOUT, &prestat), BADF, NOTDIR, NOTSUP, INVAL);
  EXPECT("fd_prestat_get.bad-fd", __wasi_fd_prestat_get(NOTHING, &prestat), BADF);
  EXPECT("fd_prestat_dir_name.bad-fd", __wasi_fd_prestat_dir_name(NOTHING, bytes, sizeof bytes), BADF);
  EXPECT("fd_renumber.bad-fd", __wasi_fd_renumber(NOTHING, STDERR), BADF);
  EXPECT("fd_close.bad-fd", __wasi_fd_close(NOTHING), BADF);
  EXPECT("fd_close.bad-fd-largest", __wasi_fd_close(-1), BADF);

  EXPECT("sock_recv.bad-fd", __wasi_sock_recv(NOTHING, &room, 1, 0, &count, &(__wasi_roflags_t){0}), BADF);
  EXPECT("sock_recv.no-socket", __wasi_sock_recv(STDIN, &room, 1, 0, &count, &(__wasi_roflags_t){0}), NOTSOCK, BADF, NOTCAPABLE);
  EXPECT("sock_send.bad-fd", __wasi_sock_send(NOTHING, pieces, 1, 0, &count), BADF);
  EXPECT("sock_send.no-socket", __wasi_sock_send(STDOUT, pieces + 1, 1, 0, &count), NOTSOCK, BADF, NOTCAPABLE);
  EXPECT("sock_shutdown.bad-fd", __wasi_sock_shutdown(NOTHING, __WASI_SDFLAGS_WR), BADF);
  EXPECT("sock_shutdown.no-socket", __wasi_sock_shutdown(STDOUT, __WASI_SDFLAGS_WR), NOTSOCK, BADF, NOTCAPABLE);

  EXPECT("fd_close.standard-input", __wasi_fd_close(STDIN), OK);
  EXPECT("fd_close.twice", __wasi_fd_close(STDIN), BADF);
  EXPECT("fd_read.closed", read(STDIN, &count), BADF);
}
