// SPDX-License-Identifier: Apache-2.0
// Without a preopened directory there is no file.
#include "cases.h"

void _start(void) {
  enum { DIRECTORY = 3 };
  __wasi_prestat_t prestat;
  __wasi_fd_t fd;
  EXPECT("fd_prestat_get.none", __wasi_fd_prestat_get(DIRECTORY, &prestat), BADF);
  EXPECT("path_open.none", __wasi_path_open(DIRECTORY, 0, "etc", 0, 0, 0, 0, &fd), BADF);
  EXPECT("path_open.stream", __wasi_path_open(STDOUT, 0, "etc", 0, 0, 0, 0, &fd), NOTDIR, BADF, NOTCAPABLE);
  EXPECT("path_create_directory.none", __wasi_path_create_directory(DIRECTORY, "x"), BADF);
  EXPECT("path_filestat_get.none", __wasi_path_filestat_get(DIRECTORY, 0, "etc", &(__wasi_filestat_t){0}), BADF);
  EXPECT("path_filestat_set_times.none", __wasi_path_filestat_set_times(DIRECTORY, 0, "x", 0, 0, 0), BADF);
  EXPECT("path_link.none", __wasi_path_link(DIRECTORY, 0, "x", DIRECTORY, "y"), BADF);
  EXPECT("path_readlink.none", __wasi_path_readlink(DIRECTORY, "x", (uint8_t *)&prestat, 1, &(size_t){0}), BADF);
  EXPECT("path_remove_directory.none", __wasi_path_remove_directory(DIRECTORY, "x"), BADF);
  EXPECT("path_rename.none", __wasi_path_rename(DIRECTORY, "x", DIRECTORY, "y"), BADF);
  EXPECT("path_symlink.none", __wasi_path_symlink("x", DIRECTORY, "y"), BADF);
  EXPECT("path_unlink_file.none", __wasi_path_unlink_file(DIRECTORY, "x"), BADF);
  size_t count = 9, size = 9;
  EXPECT("environ_sizes_get", __wasi_environ_sizes_get(&count, &size), OK);
  EXPECT("environ_sizes_get.none", count + size, 0);
  EXPECT("environ_get.none", __wasi_environ_get((uint8_t **)&prestat, (uint8_t *)&prestat), OK);
}
