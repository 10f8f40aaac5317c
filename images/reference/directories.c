/* SPDX-License-Identifier: Apache-2.0 */
/* The directories that the agent hands to a module, and gets back from it. */
#define _GNU_SOURCE
#include "agent.h"

#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	PAGE = 4096,
	RECEIVED_MAX = 16 << 20, /* bytes of all files that a run may leave */
	RECEIVED = 2 * LINK_ENTRIES_MAX, /* files and directories */
};

struct directory {
	const char *path; /* here */
	const char *name; /* the module's */
	bool writable;
};

static struct directory directories[LINK_PREOPENS];
static uint32_t count;
static struct link_files size;
static char bulk[LINK_BULK];
static size_t filled; /* bytes of it that are not sent yet */

void add_directory(char *text)
{
	bool writable = false;
	char *colon = strrchr(text, ':');
	if (colon && (strcmp(colon, ":rw") == 0 || strcmp(colon, ":ro") == 0)) {
		writable = colon[2] == 'w';
		*colon = 0;
		colon = strrchr(text, ':');
	}
	if (!colon || colon == text || !colon[1] || strlen(colon + 1) > LINK_PATH_MAX)
		die(1, "--dir wants DIRECTORY:NAME or DIRECTORY:NAME:rw");
	if (count == LINK_PREOPENS)
		die(STATUS_TOO_LARGE, "too many directories: the runner takes %d", LINK_PREOPENS);
	*colon = 0;
	directories[count++] = (struct directory){text, colon + 1, writable};
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static FTS *opened(const char *path)
{
	char *roots[] = {(char *)path, NULL};
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (!walk)
		die(STATUS_NO_FILE, "%s: %s", path, strerror(errno));
	return walk;
}

/* The next file or directory below the root, NULL after the last one; ends with an error for anything else. */
static FTSENT *next_of(FTS *walk)
{
	FTSENT *found;
	while ((found = fts_read(walk))) {
		if (found->fts_info == FTS_DP || (found->fts_level == 0 && found->fts_info == FTS_D))
			continue;
		if (found->fts_level > 0 && (found->fts_info == FTS_D || found->fts_info == FTS_F))
			return found;
		bool failed = found->fts_info == FTS_NS || found->fts_info == FTS_DNR || found->fts_info == FTS_ERR;
		die(STATUS_NO_FILE, "%s: %s", found->fts_path,
		    failed                  ? strerror(found->fts_errno)
		    : found->fts_level == 0 ? strerror(ENOTDIR)
					    : "neither a file nor a directory");
	}
	return NULL;
}

/* The path of an entry below its root. */
static const char *inside(const FTSENT *found, const char *root)
{
	const char *path = found->fts_path + strlen(root);
	return path + strspn(path, "/");
}

void read_directories(void)
{
	for (uint32_t i = 0; i < count; i++) {
		FTS *walk = opened(directories[i].path);
		size.has_writable |= directories[i].writable;
		for (FTSENT *found; (found = next_of(walk)); size.entries++) {
			uint64_t pages = found->fts_info == FTS_F ? (found->fts_statp->st_size + PAGE - 1) / PAGE : 0;
			*(directories[i].writable ? &size.writable : &size.fixed) += pages * PAGE;
			if (strlen(inside(found, directories[i].path)) > LINK_PATH_MAX)
				die(STATUS_TOO_LARGE, "%s: the path is longer than %d bytes", found->fts_path, LINK_PATH_MAX);
		}
		fts_close(walk);
	}
	if (size.entries > LINK_ENTRIES_MAX)
		die(STATUS_TOO_LARGE, "the directories hold %u files and directories: %d at most", size.entries,
		    LINK_ENTRIES_MAX);
}

static void flush(enum link_command command)
{
	if (filled)
		must(command, bulk, filled);
	filled = 0;
}

/* Sends an entry with its contents, which are read from `file` (-1 for none), or keeps it until more is to be sent. */
static void send_entry(struct link_entry entry, const char *path, int file)
{
	enum link_command command = LINK_ADD_ENTRIES;
	entry.path_bytes = strlen(path);
	if (sizeof entry + entry.path_bytes > sizeof bulk - filled)
		flush(command);
	memcpy(bulk + filled, &entry, sizeof entry);
	memcpy(bulk + filled + sizeof entry, path, entry.path_bytes);
	filled += sizeof entry + entry.path_bytes;
	while (entry.bytes) {
		size_t part = entry.bytes < sizeof bulk - filled ? entry.bytes : sizeof bulk - filled;
		if (read(file, bulk + filled, part) != (ssize_t)part)
			die(STATUS_NO_FILE, "%s: it has changed, or cannot be read", path);
		filled += part;
		entry.bytes -= part;
		if (entry.bytes || command == LINK_ADD_PART) {
			flush(command);
			command = LINK_ADD_PART;
		}
	}
}

static void send_file(const FTSENT *found, const char *path)
{
	int file = open(found->fts_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0)
		die(STATUS_NO_FILE, "%s: %s", found->fts_path, strerror(errno));
	send_entry((struct link_entry){.kind = LINK_REGULAR, .bytes = found->fts_statp->st_size}, path, file);
	close(file);
}

void send_directories(void)
{
	if (!count)
		return;
	uint32_t answer = call(LINK_SET_FILES, &size, sizeof size, ANSWER_MS);
	if (answer == LINK_TOO_LARGE)
		die(STATUS_TOO_LARGE, "the directories need %llu KiB of memory, the runner gives %u KiB",
		    (unsigned long long)(size.fixed + size.writable) >> 10, peer.page->files_kib);
	if (answer != LINK_OK)
		die(STATUS_NO_ANSWER, "the runner takes no directories: answer %u", answer);
	for (uint32_t i = 0; i < count; i++) {
		const struct directory *sent = &directories[i];
		FTS *walk = opened(sent->path);
		send_entry((struct link_entry){.kind = sent->writable ? LINK_WRITABLE : LINK_READABLE}, sent->name, -1);
		for (FTSENT *found; (found = next_of(walk));)
			if (found->fts_info == FTS_F)
				send_file(found, inside(found, sent->path));
			else
				send_entry((struct link_entry){.kind = LINK_DIRECTORY}, inside(found, sent->path), -1);
		fts_close(walk);
	}
	flush(LINK_ADD_ENTRIES);
}

/* -- after the run ------------------------------------------------------------------------------ */

/* Removes all below a directory, `kept` not; no link is followed. */
static bool cleared(const char *path, const char *kept)
{
	FTS *walk = opened(path);
	bool good = true;
	for (FTSENT *found; (found = fts_read(walk));) {
		if (found->fts_level == 1 && kept && strcmp(found->fts_name, kept) == 0)
			fts_set(walk, found, FTS_SKIP);
		else if (found->fts_level > 0 && found->fts_info != FTS_D)
			good = remove(found->fts_accpath) == 0 && good;
	}
	fts_close(walk);
	return good;
}

static bool problem(const char *what, const char *path)
{
	fflush(stdout);
	fprintf(stderr, "wasmedge_emit: files of the module: %s: %s\n", path, what);
	return false;
}

/* Writes the file that the runner has begun to give, whose first contents are `got` bytes at `data`. */
static bool received_file(int target, const char *path, uint64_t left, const char *data, size_t got)
{
	int file = openat(target, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0)
		return problem(strerror(errno), path);
	for (;;) {
		ssize_t written = write(file, data, got);
		if (written != (ssize_t)got) {
			problem(written < 0 ? strerror(errno) : "no room", path);
			break;
		}
		left -= got;
		if (!left)
			break;
		must(LINK_NEXT_PART, NULL, 0);
		got = peer.page->fetched;
		if (!got || got > sizeof bulk || got > left) {
			problem("it is not complete", path);
			break;
		}
		link_get(bulk, peer.page->bulk, got);
		data = bulk;
	}
	close(file);
	return !left;
}

static char temporary[LINK_PREOPENS][256]; /* in each writable directory, with its new contents */

/* What has been received of all directories. */
struct received {
	uint64_t bytes, entries;
	int target; /* the directory that entries belong to, -1 before the first */
	bool end;
};

/* Receives an entry with its path and first contents, `size` bytes at `at`. Returns how many it has taken, 0 if it failed. */
static size_t received_entry(struct received *all, const char *at, size_t size)
{
	char path[LINK_PATH_MAX + 1];
	struct link_entry entry;
	if (size < sizeof entry)
		return problem("unreadable", "a file");
	memcpy(&entry, at, sizeof entry);
	if (entry.kind == LINK_END) {
		all->end = true;
		return size;
	}
	if (!entry.path_bytes || entry.path_bytes > LINK_PATH_MAX || entry.path_bytes > size - sizeof entry)
		return problem("the path is too long", "a file");
	memcpy(path, at + sizeof entry, entry.path_bytes);
	path[entry.path_bytes] = 0;
	size_t taken = sizeof entry + entry.path_bytes;
	size_t got = entry.bytes < size - taken ? entry.bytes : size - taken;
	all->bytes += entry.bytes;
	if (entry.bytes > RECEIVED_MAX || all->bytes > RECEIVED_MAX || ++all->entries > RECEIVED)
		return problem("the module has left more than 16 MiB, or than 8192 files and directories", path);
	bool good = true;
	if (entry.kind == LINK_WRITABLE) {
		unsigned long number = strtoul(path, NULL, 10);
		if (all->target >= 0)
			close(all->target);
		all->target = number < count && temporary[number][0]
				      ? open(temporary[number], O_RDONLY | O_DIRECTORY | O_CLOEXEC)
				      : -1;
		good = all->target >= 0 || problem("no such directory", path);
	} else if (all->target < 0 || !link_plain(path)) {
		good = problem("no plain relative path", path);
	} else if (entry.kind == LINK_DIRECTORY) {
		good = mkdirat(all->target, path, 0755) == 0 || problem(strerror(errno), path);
	} else {
		good = received_file(all->target, path, entry.bytes, at + taken, got);
	}
	return good ? taken + got : 0;
}

/* Receives all entries into directories beside the old contents. */
static bool received_all(void)
{
	struct received all = {.target = -1};
	bool good = true;
	while (good && !all.end) {
		must(LINK_NEXT_ENTRIES, NULL, 0);
		size_t size = peer.page->fetched;
		if (!size || size > sizeof bulk)
			return problem("unreadable", "a file");
		link_get(bulk, peer.page->bulk, size);
		for (size_t taken, at = 0; good && at < size; at += taken) /* a file that is longer than this is the last */
			good = (taken = received_entry(&all, bulk + at, size - at)) > 0;
	}
	if (all.target >= 0)
		close(all.target);
	return good;
}

/* Replaces the old contents of a directory by the new ones, which are in it, too. */
static bool replaced(const char *path, const char *new)
{
	const char *name = strrchr(new, '/') + 1;
	if (!cleared(path, name))
		return problem(strerror(errno), path);
	int from = open(new, O_RDONLY | O_DIRECTORY | O_CLOEXEC), to = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = from >= 0 && to >= 0;
	FTS *walk = opened(new);
	for (FTSENT *found = fts_read(walk) ? fts_children(walk, FTS_NAMEONLY) : NULL; good && found; found = found->fts_link)
		good = renameat(from, found->fts_name, to, found->fts_name) == 0;
	fts_close(walk);
	close(from);
	close(to);
	return (good && rmdir(new) == 0) || problem(strerror(errno), path);
}

bool receive_directories(void)
{
	bool good = true;
	if (!size.has_writable)
		return true;
	for (uint32_t i = 0; i < count && good; i++) {
		if (!directories[i].writable)
			continue;
		if (snprintf(temporary[i], sizeof *temporary, "%s/.wasmedge_emit-XXXXXX", directories[i].path) >=
			    (int)sizeof *temporary ||
		    !mkdtemp(temporary[i])) {
			temporary[i][0] = 0;
			good = problem(strerror(errno), directories[i].path);
		}
	}
	good = good && received_all();
	if (!good)
		must(LINK_ABORT, NULL, 0); /* it gives their memory back */
	for (uint32_t i = 0; i < count; i++) {
		if (!temporary[i][0])
			continue;
		if (good) {
			good = replaced(directories[i].path, temporary[i]);
		} else {
			cleared(temporary[i], NULL);
			rmdir(temporary[i]);
		}
	}
	return good;
}
