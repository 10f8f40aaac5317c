/* SPDX-License-Identifier: Apache-2.0 */
/* The names of WebAssembly proposals that a refused module needs. */
#ifndef PROPOSAL_H
#define PROPOSAL_H

#include <stddef.h>
#include <stdint.h>

/*
 * Writes the name of the proposal that a module of `bytes` bytes needs and the library lacks, as its `log` and error
 * `code` show. Returns whether there is one.
 */
int proposal_missing(char *name, size_t room, const char *log, uint32_t code, const uint8_t *module, uint64_t bytes);

#endif
