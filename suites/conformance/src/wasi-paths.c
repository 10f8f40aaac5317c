// SPDX-License-Identifier: Apache-2.0
// Paths: opening, creating, removing, renaming, links, and requests that leave the directories.
#include "files.h"

static void directories(void) {
  __wasi_prestat_t stat;
  char name[8];
  EXPECT("fd_prestat_get", __wasi_fd_prestat_get(root, &stat), OK);
  EXPECT("fd_prestat_get.kind", stat.tag, __WASI_PREOPENTYPE_DIR);
  EXPECT("fd_prestat_get.length", stat.u.dir.pr_name_len, 1);
  EXPECT("fd_prestat_dir_name", __wasi_fd_prestat_dir_name(root, (uint8_t *)name, 1), OK);
  EXPECT("fd_prestat_dir_name.too-short", __wasi_fd_prestat_dir_name(root, (uint8_t *)name, 0), NAMETOOLONG, INVAL);
  HOLDS("fd_prestat_get.second", read_only > 0);
  HOLDS("fd_prestat_dir_name.as-given", !__wasi_fd_prestat_get(read_only, &stat) && stat.u.dir.pr_name_len == 3);
  __wasi_fdstat_t status;
  EXPECT("fd_fdstat_get.preopened", __wasi_fd_fdstat_get(root, &status) ? 99 : status.fs_filetype, __WASI_FILETYPE_DIRECTORY);
}

static void opening(void) {
  __wasi_fd_t fd = 0;
  EXPECT("path_open", open_in(root, "file.txt", 0, READ, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.below", open_in(root, "dir/inner.txt", 0, READ, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.dots", open_in(root, "./dir/../dir//inner.txt", 0, READ, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.absent", open_in(root, "absent", 0, READ, &fd), NOENT);
  EXPECT("path_open.absent-directory", open_in(root, "absent/file", 0, READ, &fd), NOENT);
  EXPECT("path_open.empty", open_in(root, "", 0, READ, &fd), NOENT, INVAL);
  EXPECT("path_open.below-a-file", open_in(root, "file.txt/x", 0, READ, &fd), NOTDIR, NOENT);
  EXPECT("path_open.directory-wanted", open_in(root, "file.txt", DIRECTORY, READ, &fd), NOTDIR);
  EXPECT("path_open.file-with-slash", open_in(root, "file.txt/", 0, READ, &fd), NOTDIR, NOENT);
  EXPECT("path_open.directory", open_in(root, "dir", DIRECTORY, READ, &fd), OK);
  __wasi_fd_t inner = 0;
  EXPECT("path_open.in-a-directory", open_in(fd, "inner.txt", 0, READ, &inner), OK);
  (void)!__wasi_fd_close(inner);
  EXPECT("path_open.up-in-the-directory", open_in(fd, "../file.txt", 0, READ, &inner), REFUSED);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.directory-for-writing", open_in(root, "dir", 0, WRITE | READ, &fd), ISDIR, OK);
  EXPECT("path_open.create", open_in(root, "made.txt", CREATE, READ | WRITE, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.create-existing", open_in(root, "made.txt", CREATE, READ | WRITE, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.exclusive", open_in(root, "made.txt", CREATE | EXCLUSIVE, READ | WRITE, &fd), EXIST);
  EXPECT("path_open.truncate", open_in(root, "cut.txt", TRUNCATE, READ | WRITE, &fd), OK);
  (void)!__wasi_fd_close(fd);
  HOLDS("path_open.truncated", holds("cut.txt", ""));
  EXPECT("path_open.create-directory", open_in(root, "x", CREATE | DIRECTORY, READ, &fd), INVAL, NOTDIR, NOENT);
  static char long_name[400];
  memset(long_name, 'n', sizeof long_name - 1);
  EXPECT("path_open.long-name", open_in(root, long_name, CREATE, WRITE, &fd), NAMETOOLONG);
}

static void changing(void) {
  __wasi_filestat_t stat;
  __wasi_fd_t fd;
  EXPECT("path_create_directory", __wasi_path_create_directory(root, "made"), OK);
  EXPECT("path_create_directory.existing", __wasi_path_create_directory(root, "made"), EXIST);
  EXPECT("path_create_directory.parent-absent", __wasi_path_create_directory(root, "absent/made"), NOENT);
  EXPECT("path_filestat_get", __wasi_path_filestat_get(root, 0, "made", &stat), OK);
  EXPECT("path_filestat_get.type", stat.filetype, __WASI_FILETYPE_DIRECTORY);
  EXPECT("path_filestat_get.size", __wasi_path_filestat_get(root, 0, "file.txt", &stat) ? 0 : stat.size, 12);
  EXPECT("path_filestat_get.absent", __wasi_path_filestat_get(root, 0, "absent", &stat), NOENT);
  EXPECT("path_filestat_set_times", __wasi_path_filestat_set_times(root, 0, "made.txt", 0, 1500000000000000000, __WASI_FSTFLAGS_MTIM), OK);
  EXPECT("path_filestat_set_times.time", __wasi_path_filestat_get(root, 0, "made.txt", &stat) ? 0 : (long long)stat.mtim, 1500000000000000000);
  EXPECT("path_rename", __wasi_path_rename(root, "made.txt", root, "made/renamed.txt"), OK);
  HOLDS("path_rename.moved", exists("made/renamed.txt") && !exists("made.txt"));
  EXPECT("path_rename.absent", __wasi_path_rename(root, "absent", root, "x"), NOENT);
  EXPECT("path_rename.directory", __wasi_path_rename(root, "made", root, "moved"), OK);
  HOLDS("path_rename.directory-moved", exists("moved/renamed.txt"));
  EXPECT("path_rename.replace", open_in(root, "other.txt", CREATE, WRITE, &fd) || __wasi_fd_close(fd)
      ? 99 : __wasi_path_rename(root, "moved/renamed.txt", root, "other.txt"), OK);
  EXPECT("path_remove_directory.not-empty", __wasi_path_remove_directory(root, "dir"), NOTEMPTY);
  EXPECT("path_remove_directory.file", __wasi_path_remove_directory(root, "file.txt"), NOTDIR);
  EXPECT("path_remove_directory", __wasi_path_remove_directory(root, "moved"), OK);
  EXPECT("path_remove_directory.absent", __wasi_path_remove_directory(root, "moved"), NOENT);
  EXPECT("path_unlink_file", __wasi_path_unlink_file(root, "other.txt"), OK);
  EXPECT("path_unlink_file.absent", __wasi_path_unlink_file(root, "other.txt"), NOENT);
  EXPECT("path_unlink_file.directory", __wasi_path_unlink_file(root, "dir"), ISDIR, PERM);
}

static void linking(void) {
  char text[32];
  size_t count = 0;
  __wasi_fd_t fd;
  __wasi_filestat_t stat;
  EXPECT("path_link", __wasi_path_link(root, 0, "file.txt", root, "hard.txt"), OK);
  EXPECT("path_link.count", __wasi_path_filestat_get(root, 0, "file.txt", &stat) ? 0 : stat.nlink, 2);
  EXPECT("path_link.existing", __wasi_path_link(root, 0, "file.txt", root, "hard.txt"), EXIST);
  EXPECT("path_symlink", __wasi_path_symlink("dir/inner.txt", root, "soft.txt"), OK);
  EXPECT("path_symlink.existing", __wasi_path_symlink("x", root, "soft.txt"), EXIST);
  EXPECT("path_readlink", __wasi_path_readlink(root, "soft.txt", (uint8_t *)text, sizeof text, &count), OK);
  HOLDS("path_readlink.text", count == 13 && !memcmp(text, "dir/inner.txt", 13));
  EXPECT("path_readlink.short", __wasi_path_readlink(root, "soft.txt", (uint8_t *)text, 3, &count) ? 99 : count, 3);
  EXPECT("path_readlink.file", __wasi_path_readlink(root, "file.txt", (uint8_t *)text, sizeof text, &count), INVAL);
  EXPECT("path_open.follow", __wasi_path_open(root, FOLLOW, "soft.txt", 0, READ, 0, 0, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_open.do-not-follow", __wasi_path_open(root, 0, "soft.txt", 0, READ, 0, 0, &fd), LOOP);
  EXPECT("path_filestat_get.link", __wasi_path_filestat_get(root, 0, "soft.txt", &stat) ? 99 : stat.filetype, __WASI_FILETYPE_SYMBOLIC_LINK);
  EXPECT("path_filestat_get.follow", __wasi_path_filestat_get(root, FOLLOW, "soft.txt", &stat) ? 99 : stat.filetype, __WASI_FILETYPE_REGULAR_FILE);
  EXPECT("path_symlink.loop", __wasi_path_symlink("loop", root, "loop"), OK);
  EXPECT("path_open.loop", open_in(root, "loop", 0, READ, &fd), LOOP);
}

// As the wrapper of wasi-libc, but with the length of the path.
__attribute__((import_module("wasi_snapshot_preview1"), import_name("path_open"))) int raw_path_open(
    __wasi_fd_t fd, int lookup, const char *path, size_t length, int flags, uint64_t base, uint64_t inheriting, int fdflags, __wasi_fd_t *opened);

static void slashes(void) {
  __wasi_fd_t fd;
  EXPECT("path_create_directory.slash", __wasi_path_create_directory(root, "slash/"), OK);
  EXPECT("path_open.directory-with-slash", open_in(root, "slash/", DIRECTORY, READ, &fd), OK);
  (void)!__wasi_fd_close(fd);
  EXPECT("path_rename.slashes", __wasi_path_rename(root, "slash/", root, "slashed/"), OK);
  EXPECT("path_rename.file-to-slash", open_in(root, "plain.txt", CREATE, WRITE, &fd) || __wasi_fd_close(fd)
      ? 99 : __wasi_path_rename(root, "plain.txt", root, "slash/"), NOTDIR, NOENT);
  EXPECT("path_unlink_file.slash", __wasi_path_unlink_file(root, "file.txt/"), NOTDIR, NOENT);
  EXPECT("path_remove_directory.slash", __wasi_path_remove_directory(root, "slashed/"), OK);
  EXPECT("path_open.zero-byte", raw_path_open(root, 0, "file.txt\0x", 10, 0, READ, 0, 0, &fd), INVAL, ILSEQ, NOENT);
  EXPECT("path_open.not-terminated", raw_path_open(root, 0, "file.txtrest", 8, 0, READ, 0, 0, &fd), OK);
  (void)!__wasi_fd_close(fd);
}

static void kinds(void) {
  __wasi_fd_t file = opened("file.txt", 0, READ), fd;
  __wasi_filestat_t stat;
  EXPECT("path_open.in-a-file", open_in(file, "x", 0, READ, &fd), NOTDIR, NOTCAPABLE, BADF);
  (void)!__wasi_fd_close(file);
  EXPECT("path_rename.file-onto-directory", __wasi_path_rename(root, "cut.txt", root, "dir"), ISDIR, EXIST);
  EXPECT("path_rename.directory-onto-file", __wasi_path_rename(root, "dir", root, "cut.txt"), NOTDIR);
  EXPECT("path_rename.onto-a-full-directory", __wasi_path_create_directory(root, "empty") ? 99
      : __wasi_path_rename(root, "empty", root, "dir"), NOTEMPTY, EXIST);
  EXPECT("path_rename.onto-an-empty-directory", __wasi_path_create_directory(root, "full") ? 99
      : __wasi_path_rename(root, "full", root, "empty"), OK);
  EXPECT("path_link.directory", __wasi_path_link(root, 0, "dir", root, "linked"), PERM, ACCES, ISDIR);
  EXPECT("path_symlink.dangling", __wasi_path_symlink("absent", root, "dangling"), OK);
  EXPECT("path_open.dangling", open_in(root, "dangling", 0, READ, &fd), NOENT);
  EXPECT("path_filestat_get.dangling", __wasi_path_filestat_get(root, FOLLOW, "dangling", &stat), NOENT);
  EXPECT("path_unlink_file.link", __wasi_path_unlink_file(root, "dangling"), OK);
  EXPECT("path_filestat_get.link-is-gone", __wasi_path_filestat_get(root, 0, "dangling", &stat), NOENT);
}

static void escaping(void) {
  __wasi_fd_t fd;
  __wasi_filestat_t stat;
  EXPECT("path_open.up", open_in(root, "../etc/passwd", 0, READ, &fd), REFUSED);
  EXPECT("path_open.up-inside", open_in(root, "dir/../../etc/passwd", 0, READ, &fd), REFUSED);
  EXPECT("path_open.up-only", open_in(root, "..", DIRECTORY, READ, &fd), REFUSED);
  EXPECT("path_open.absolute", open_in(root, "/etc/passwd", 0, READ, &fd), REFUSED);
  EXPECT("path_create_directory.up", __wasi_path_create_directory(root, "../made"), REFUSED);
  EXPECT("path_filestat_get.up", __wasi_path_filestat_get(root, 0, "../etc", &stat), REFUSED);
  EXPECT("path_rename.up", __wasi_path_rename(root, "file.txt", root, "../stolen"), REFUSED);
  EXPECT("path_link.up", __wasi_path_link(root, 0, "file.txt", root, "../linked"), REFUSED);
  EXPECT("path_unlink_file.up", __wasi_path_unlink_file(root, "../etc/passwd"), REFUSED);
  EXPECT("path_symlink.up", __wasi_path_symlink("x", root, "../link"), REFUSED);
  // a link out of the directory: not made, or not followed
  __wasi_errno_t error = __wasi_path_symlink("../etc/passwd", root, "out");
  EXPECT("path_open.link-out", error ? NOTCAPABLE : open_in(root, "out", 0, READ, &fd), REFUSED);
  error = __wasi_path_symlink("/etc", root, "out-directory");
  EXPECT("path_open.link-absolute", error ? NOTCAPABLE : open_in(root, "out-directory/passwd", 0, READ, &fd), REFUSED);
}

static void protected(void) {
  __wasi_fd_t fd = 0;
  size_t count = 0;
  EXPECT("read-only.path_open", open_in(read_only, "readme.txt", 0, READ, &fd), OK);
  EXPECT("read-only.fd_write", write_some(fd, "x", &count), BADF, NOTCAPABLE, PERM);
  (void)!__wasi_fd_close(fd);
#define NO_WRITING ROFS, ACCES, PERM, NOTCAPABLE
  EXPECT("read-only.path_open-for-writing", open_in(read_only, "readme.txt", 0, READ | WRITE, &fd), NO_WRITING);
  EXPECT("read-only.path_open-create", open_in(read_only, "new.txt", CREATE, READ | WRITE, &fd), NO_WRITING);
  EXPECT("read-only.path_open-truncate", open_in(read_only, "readme.txt", TRUNCATE, READ, &fd), NO_WRITING);
  EXPECT("read-only.path_create_directory", __wasi_path_create_directory(read_only, "made"), NO_WRITING);
  EXPECT("read-only.path_unlink_file", __wasi_path_unlink_file(read_only, "readme.txt"), NO_WRITING);
  EXPECT("read-only.path_rename", __wasi_path_rename(read_only, "readme.txt", read_only, "x"), NO_WRITING);
}

void _start(void) {
  find_directories();
  directories();
  opening();
  changing();
  linking();
  slashes();
  kinds();
  escaping();
  protected();
}
