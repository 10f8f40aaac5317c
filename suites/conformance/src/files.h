// SPDX-License-Identifier: Apache-2.0
// The directories of the modules that need files, see groups.toml: / can be written, /ro can not.
#pragma once
#include "cases.h"

static __wasi_fd_t root, read_only;  // their numbers

// Finds both by their names; ends the module with 72 without the first one.
static void find_directories(void) {
  for (__wasi_fd_t fd = 3; fd < 8; fd++) {
    __wasi_prestat_t stat;
    static char name[64];
    if (__wasi_fd_prestat_get(fd, &stat) || stat.u.dir.pr_name_len >= sizeof name)
      break;
    memset(name, 0, sizeof name);
    if (__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, stat.u.dir.pr_name_len))
      break;
    if (!strcmp(name, "/"))
      root = fd;
    else if (!strcmp(name, "/ro") || !strcmp(name, "ro"))
      read_only = fd;
  }
  if (!root)
    __wasi_proc_exit(72);
}

enum { READ = __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET |
    __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_PATH_OPEN | __WASI_RIGHTS_POLL_FD_READWRITE,
  WRITE = __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET |
    __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_DATASYNC | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE |
    __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS };
enum { CREATE = __WASI_OFLAGS_CREAT, EXCLUSIVE = __WASI_OFLAGS_EXCL, TRUNCATE = __WASI_OFLAGS_TRUNC,
  DIRECTORY = __WASI_OFLAGS_DIRECTORY, FOLLOW = __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW };

static __wasi_errno_t open_in(__wasi_fd_t directory, const char *path, __wasi_oflags_t flags, __wasi_rights_t rights, __wasi_fd_t *fd) {
  return __wasi_path_open(directory, FOLLOW, path, flags, rights, rights, 0, fd);
}

// Returns the file's number; ends the module with 73 when it can't be opened.
static __wasi_fd_t opened(const char *path, __wasi_oflags_t flags, __wasi_rights_t rights) {
  __wasi_fd_t fd = 0;
  if (open_in(root, path, flags, rights, &fd))
    __wasi_proc_exit(73);
  return fd;
}

static __wasi_errno_t read_some(__wasi_fd_t fd, void *bytes, size_t size, size_t *got) {
  __wasi_iovec_t piece = {bytes, size};
  return __wasi_fd_read(fd, &piece, 1, got);
}

static __wasi_errno_t write_some(__wasi_fd_t fd, const char *text, size_t *written) {
  __wasi_ciovec_t piece = {(const uint8_t *)text, strlen(text)};
  return __wasi_fd_write(fd, &piece, 1, written);
}

// Whether the file is there with this text.
static bool holds(const char *path, const char *text) {
  static char bytes[128];
  __wasi_fd_t fd;
  size_t got = 0;
  if (open_in(root, path, 0, READ, &fd))
    return false;
  bool same = !read_some(fd, bytes, sizeof bytes, &got) && got == strlen(text) && !memcmp(bytes, text, got);
  (void)!__wasi_fd_close(fd);
  return same;
}

static bool exists(const char *path) {
  return !__wasi_path_filestat_get(root, 0, path, &(__wasi_filestat_t){0});
}
