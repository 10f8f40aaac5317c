/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preopened directories of one run: the runner's side. Their files are in memory, in two file systems that exist
 * only for the run, because only a file system as a whole can be read-only.
 */
#ifndef FILES_H
#define FILES_H

#include "link.h"

#include <stdbool.h>

enum { FILES_PREOPENS_MAX = 4096 }; /* bytes of all preopens as WasmEdge takes them, with their NULs */

/* Makes room for the files of a run, of at most `most` bytes. Returns LINK_TOO_LARGE where they need more. */
enum link_answer files_begin(const struct link_files *announced, uint64_t most);

/* Adds the entries in `size` bytes at `data`: each a struct link_entry, a path, and contents, the last perhaps in part. */
enum link_answer files_add(const char *data, size_t size);

/* Adds bytes to the last file. */
enum link_answer files_add_part(const char *bytes, size_t size);

/*
 * Makes the read-only directories read-only. Writes the preopens as WasmEdge takes them to `to`, each with a NUL.
 * Returns LINK_BAD_ORDER while something is missing.
 */
enum link_answer files_complete(char *to, uint32_t *count);

/* Bytes of memory that the files of the run have, and what it may write. */
uint64_t files_bytes(void);

/* Whether there is something to fetch after the run. */
bool files_writable(void);

/*
 * Puts the next entries of the writable directories at `to`, as for files_add: one of kind LINK_END after the last one.
 * Returns their size, of at most `room` bytes, and whether this is the end.
 */
size_t files_next(void *to, size_t room, bool *end);

/* Puts the next bytes of the last file at `to`. Returns how many, 0 at its end. */
size_t files_next_part(void *to, size_t room);

/* Removes all files, and gives back their memory. Nobody may have one open. */
void files_remove(void);

#endif
