/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "files.h"

#include <fts.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum {
	PAGE = 4096,
	ENTRY = 1024,           /* bytes of kernel memory for a file or directory, at most */
	CREATED_MAX = 4096,     /* files and directories that a module may create */
	WRITTEN_MAX = 64 << 20, /* bytes that a module may write beyond what it was given */
};

#define DIRECTORY "/run/files"
static const char *const mounts[] = {DIRECTORY "/fixed", DIRECTORY "/writable"};

static bool begun;
static struct link_files room; /* what was announced; counts down */
static uint64_t reserved;      /* bytes */
static uint32_t preopens, writable;
static char preopen[FILES_PREOPENS_MAX];
static size_t preopen_bytes;
static int directory = -1; /* the preopen that entries are added to */
static int file = -1;      /* the file that parts are added to, or fetched from */
static uint64_t missing;   /* bytes of it */
static FTS *walk;

static void close_file(void)
{
	if (file >= 0)
		close(file);
	file = -1;
	missing = 0;
}

static void close_all(void)
{
	close_file();
	if (directory >= 0)
		close(directory);
	directory = -1;
	if (walk)
		fts_close(walk);
	walk = NULL;
}

void files_remove(void)
{
	close_all();
	for (int i = 0; i < 2; i++)
		while (umount2(mounts[i], MNT_DETACH) == 0)
			;
	begun = false;
	reserved = preopens = writable = preopen_bytes = 0;
}

uint64_t files_bytes(void)
{
	return reserved;
}

bool files_writable(void)
{
	return writable;
}

static bool mounted(const char *where, uint64_t bytes, uint64_t entries)
{
	char options[80];
	snprintf(options, sizeof options, "mode=700,size=%llu,nr_inodes=%llu", (unsigned long long)bytes + PAGE,
		 (unsigned long long)entries + LINK_PREOPENS + 1);
	if (mkdir(where, 0700) < 0 && errno != EEXIST)
		return false;
	return mount("files", where, "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, options) == 0;
}

enum link_answer files_begin(const struct link_files *announced, uint64_t most)
{
	uint64_t entries = (uint64_t)announced->entries * ENTRY;
	files_remove();
	if (announced->entries > LINK_ENTRIES_MAX || announced->fixed > most || announced->writable > most ||
	    announced->fixed + announced->writable + entries > most)
		return LINK_TOO_LARGE;
	uint64_t left = most - announced->fixed - announced->writable - entries;
	uint64_t written = 0, created = 0;
	if (announced->has_writable) {
		written = left < WRITTEN_MAX ? left : WRITTEN_MAX;
		created = CREATED_MAX;
	}
	room = *announced;
	reserved = most - left + written;
	begun = true;
	if ((mkdir(DIRECTORY, 0700) < 0 && errno != EEXIST) ||
	    !mounted(mounts[0], announced->fixed, announced->entries) ||
	    !mounted(mounts[1], announced->writable + written, announced->entries + created)) {
		files_remove();
		return LINK_NOT_DONE;
	}
	return LINK_OK;
}

/* Begins a preopen: makes its directory, and notes it as "NAME:PATH:readonly". */
static enum link_answer add_preopen(const char *name, bool may_write)
{
	char path[64];
	int used = snprintf(path, sizeof path, "%s/%u", mounts[may_write], preopens);
	if (!*name || strchr(name, ':'))
		return LINK_BAD_SIZE;
	if (preopens == LINK_PREOPENS || strlen(name) + used + sizeof ":" ":readonly" > sizeof preopen - preopen_bytes)
		return LINK_TOO_LARGE;
	if (directory >= 0)
		close(directory);
	directory = -1;
	if (mkdir(path, 0700) < 0 || (directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return LINK_NOT_DONE;
	preopen_bytes += sprintf(preopen + preopen_bytes, "%s:%s%s", name, path, may_write ? "" : ":readonly") + 1;
	preopens++;
	writable += may_write;
	return LINK_OK;
}

/* Adds an entry with its first contents, of `size` bytes. */
static enum link_answer add_entry(const struct link_entry *entry, const char *path, const char *contents, size_t size)
{
	close_file();
	if (entry->kind == LINK_READABLE || entry->kind == LINK_WRITABLE)
		return entry->bytes ? LINK_BAD_SIZE : add_preopen(path, entry->kind == LINK_WRITABLE);
	if (directory < 0)
		return LINK_BAD_ORDER;
	if (!link_plain(path) || !room.entries)
		return LINK_BAD_SIZE;
	room.entries--;
	if (entry->kind == LINK_DIRECTORY) /* nothing in it is a symbolic link: all of it is made here */
		return entry->bytes ? LINK_BAD_SIZE : mkdirat(directory, path, 0755) < 0 ? LINK_NOT_DONE : LINK_OK;
	if (entry->kind != LINK_REGULAR)
		return LINK_BAD_SIZE;
	file = openat(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0)
		return LINK_NOT_DONE;
	missing = entry->bytes;
	return size ? files_add_part(contents, size) : LINK_OK;
}

enum link_answer files_add(const char *data, size_t size)
{
	enum link_answer answer = LINK_OK;
	while (size && answer == LINK_OK) {
		char path[LINK_PATH_MAX + 1];
		struct link_entry entry;
		if (!begun || missing)
			return LINK_BAD_ORDER;
		if (size < sizeof entry)
			return LINK_BAD_SIZE;
		memcpy(&entry, data, sizeof entry);
		data += sizeof entry;
		size -= sizeof entry;
		if (entry.path_bytes > LINK_PATH_MAX || entry.path_bytes > size || memchr(data, 0, entry.path_bytes))
			return LINK_BAD_SIZE;
		memcpy(path, data, entry.path_bytes);
		path[entry.path_bytes] = 0;
		data += entry.path_bytes;
		size -= entry.path_bytes;
		size_t contents = entry.bytes < size ? entry.bytes : size;
		answer = add_entry(&entry, path, data, contents);
		data += contents;
		size -= contents;
	}
	return answer;
}

enum link_answer files_add_part(const char *bytes, size_t size)
{
	if (!begun || file < 0)
		return LINK_BAD_ORDER;
	if (!size || size > missing)
		return LINK_BAD_SIZE;
	if (write(file, bytes, size) != (ssize_t)size) /* of a memory file: all, or there is no room */
		return LINK_NOT_DONE;
	missing -= size;
	return LINK_OK;
}

enum link_answer files_complete(char *to, uint32_t *count)
{
	*count = preopens;
	if (!begun)
		return LINK_OK;
	if (missing)
		return LINK_BAD_ORDER;
	close_all();
	memcpy(to, preopen, preopen_bytes);
	return mount(NULL, mounts[0], NULL, MS_REMOUNT | MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL) < 0
		       ? LINK_NOT_DONE
		       : LINK_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* The next entry that is fetched, NULL after the last one. */
static FTSENT *next_found(void)
{
	static char *roots[] = {(char *)DIRECTORY "/writable", NULL};
	if (!walk && begun)
		walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	FTSENT *found = NULL;
	while (walk && (found = fts_read(walk)))
		if (found->fts_level > 0 && (found->fts_info == FTS_D || found->fts_info == FTS_F)) /* no link */
			break;
	return found;
}

/* Puts the next entry at `to`, which has room for its path. Returns its size without contents. */
static size_t put_entry(char *to, bool *end)
{
	struct link_entry entry = {.kind = LINK_END};
	FTSENT *found = next_found();
	const char *path = "";
	close_file();
	*end = !found;
	if (found) {
		path = found->fts_path + sizeof DIRECTORY "/writable/" - 1;
		const char *inside = strchr(path, '/'); /* the first directory is the preopen's number */
		entry.kind = found->fts_info == FTS_F ? LINK_REGULAR : inside ? LINK_DIRECTORY : LINK_WRITABLE;
		entry.path_bytes = strlen(path = inside ? inside + 1 : path);
		if (entry.path_bytes > LINK_PATH_MAX) {
			entry.path_bytes = 0; /* refused by who fetches */
		} else if (entry.kind == LINK_REGULAR) {
			entry.bytes = missing = found->fts_statp->st_size;
			file = open(found->fts_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		}
	}
	memcpy(to, &entry, sizeof entry);
	memcpy(to + sizeof entry, path, entry.path_bytes);
	return sizeof entry + entry.path_bytes;
}

size_t files_next(void *to, size_t room_bytes, bool *end)
{
	size_t used = 0;
	missing = 0;
	do {
		used += put_entry((char *)to + used, end);
		used += files_next_part((char *)to + used, room_bytes - used);
	} while (!*end && !missing && room_bytes - used >= sizeof(struct link_entry) + LINK_PATH_MAX);
	return used;
}

size_t files_next_part(void *to, size_t room_bytes)
{
	size_t wanted = missing < room_bytes ? missing : room_bytes;
	ssize_t got = wanted ? read(file, to, wanted) : 0;
	if (got <= 0)
		return 0;
	missing -= got;
	return got;
}
