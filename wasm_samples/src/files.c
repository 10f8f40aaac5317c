// SPDX-License-Identifier: Apache-2.0
// Uses the files and variables that a module is given. The arguments are commands, each with its own arguments:
// env NAME, ls DIRECTORY, read FILE, write FILE TEXT, append FILE TEXT, cut FILE BYTES, mkdir DIRECTORY, mv FROM TO,
// rm FILE, rmdir DIRECTORY. Each prints a line, with the error if there is one; the exit code is the number of errors.
// Without arguments: a command `ls` for each directory.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

enum { FIRST_PREOPEN = 3, NAMES = 256, SHOWN = 4096, WRONG = 64 };

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int list(const char *path) {
  char *names[NAMES];
  size_t count = 0;
  DIR *directory = opendir(path);
  if (!directory)
    return -1;
  for (struct dirent *entry; count < NAMES && (entry = readdir(directory));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
      names[count++] = strdup(entry->d_name);
  closedir(directory);
  qsort(names, count, sizeof *names, by_text);
  for (size_t i = 0; i < count; i++) {
    fputs(i ? " " : "", stdout);
    fputs(names[i], stdout);
  }
  return 0;
}

static int show(const char *path) {
  char text[SHOWN];
  int file = open(path, O_RDONLY);
  ssize_t got = file < 0 ? -1 : read(file, text, sizeof text);
  int error = errno;
  if (file >= 0)
    close(file);
  errno = error;
  if (got < 0)
    return -1;
  fwrite(text, 1, (size_t)got, stdout);
  return 0;
}

static int put(const char *path, const char *text, int flags) {
  int file = open(path, O_WRONLY | O_CREAT | flags, 0644);
  if (file < 0)
    return -1;
  ssize_t done = write(file, text, strlen(text));
  int error = errno;
  close(file);
  errno = error;
  return done < 0 ? -1 : 0;
}

// Returns the number of arguments of a command, 0 for an unknown one.
static int arguments_of(const char *command) {
  static const char *const one[] = { "env", "ls", "read", "mkdir", "rm", "rmdir" };
  static const char *const two[] = { "write", "append", "cut", "mv" };
  for (size_t i = 0; i < sizeof one / sizeof *one; i++)
    if (!strcmp(command, one[i]))
      return 1;
  for (size_t i = 0; i < sizeof two / sizeof *two; i++)
    if (!strcmp(command, two[i]))
      return 2;
  return 0;
}

static int obey(char **word) {
  const char *command = word[0];
  if (!strcmp(command, "env")) {
    const char *value = getenv(word[1]);
    fputs(value ? value : "not set", stdout);
    return 0;
  }
  if (!strcmp(command, "ls"))
    return list(word[1]);
  if (!strcmp(command, "read"))
    return show(word[1]);
  if (!strcmp(command, "write"))
    return put(word[1], word[2], O_TRUNC);
  if (!strcmp(command, "append"))
    return put(word[1], word[2], O_APPEND);
  if (!strcmp(command, "cut"))
    return truncate(word[1], atoi(word[2]));
  if (!strcmp(command, "mkdir"))
    return mkdir(word[1], 0755);
  if (!strcmp(command, "mv"))
    return rename(word[1], word[2]);
  if (!strcmp(command, "rm"))
    return unlink(word[1]);
  return rmdir(word[1]);
}

// Obeys a command, and prints it with its first argument, its result and its error. Returns whether there was one.
static int say(char **word) {
  fputs(word[0], stdout);
  fputs(" ", stdout);
  fputs(word[1], stdout);
  fputs(": ", stdout);
  int failed = obey(word) < 0;
  if (failed)
    fputs(strerror(errno), stdout);
  fputs("\n", stdout);
  return failed;
}

int main(int count, char **arguments) {
  int failed = 0;
  char name[NAMES + 1];
  __wasi_prestat_t preopen;
  for (__wasi_fd_t fd = FIRST_PREOPEN; count < 2 && !__wasi_fd_prestat_get(fd, &preopen); fd++) {
    size_t length = preopen.u.dir.pr_name_len;
    if (length > NAMES || __wasi_fd_prestat_dir_name(fd, (uint8_t *)name, length))
      return WRONG;
    name[length] = 0;
    failed += say((char *[]){ "ls", name });
  }
  for (int at = 1; at < count;) {
    int taken = arguments_of(arguments[at]);
    if (!taken || at + taken >= count) {
      puts("wrong arguments");
      return WRONG;
    }
    failed += say(arguments + at);
    at += 1 + taken;
  }
  return failed;
}
