/* SPDX-License-Identifier: MIT */
/* <root>/containerd-fsck/at: what a check is working on, at any moment, so that where one was killed is known to the next, which can
 * pass over it (boot.h). It is no journal: it is written without a sync, thousands of times, and only ever read after a check that did
 * not end. A process that is killed (SIGKILL, no memory, TimeoutStartSec=) leaves what it wrote to the kernel. A power cut leaves of
 * it what it likes: nothing, or an older name; after that one attempt nothing is passed over. From the second attempt in a row on it is
 * synced too, because then it may be the machine that dies of it.
 *
 * Slots of AT_SLOT_BYTES: the first says whose it is, the others belong to a thread each. A slot is a line and whatever is behind it:
 *
 *   at 1 <boot id> <checksum>
 *   <kind> <name>... <checksum>     what it is at, at most AT_PER_SLOT
 *   <checksum>                      nothing
 *
 * with the checksum of the journal's lines. A slot that is not so says nothing. */
#ifndef AT_H
#define AT_H

#include <stdatomic.h>

#include "ground/base.h"

#define AT_NAME "at"
#define AT_SLOT_BYTES 512
#define AT_PER_SLOT 2
#define AT_NAME_BYTES 160 /* a digest, an id, a directory of ingest/; with the NUL. What has a longer name is not told */
#define AT_SLOTS (LIMIT_THREADS + 1)
#define AT_NAMES_MAX (AT_SLOTS * AT_PER_SLOT)

enum at_kind {
	AT_BLOB,     /* digest: it is read, hashed, unpacked, or compared with what it was unpacked to */
	AT_SNAPSHOT, /* id: its directory is walked, or put right */
	AT_INGEST,   /* name in ingest/ */
	AT_STORE,    /* "-": the databases, which nothing can be done without */
	AT_KINDS
};
struct at_name {
	enum at_kind kind;
	char name[AT_NAME_BYTES];
};
bool at_equal(const struct at_name *a, const struct at_name *b);
bool at_listed(const struct at_name *names, size_t count, const struct at_name *one);
/* false: it cannot be told. */
bool at_make(struct at_name *out, enum at_kind kind, struct span name);
bool at_make_number(struct at_name *out, enum at_kind kind, uint64_t name);
const char *at_kind_word(enum at_kind kind);
/* false: no such kind, or no such name. */
bool at_parse(struct at_name *out, struct span kind, struct span name);

/* What a check of this boot left; none if there is no such file, or it is of another boot, or cannot be read. names: AT_NAMES_MAX. */
CHECKED enum rc at_read(int own, const char *boot_id, struct at_name *names, size_t *count, struct arena scratch, struct err *e);

/* Begins as {.fd = -1}, of which nothing is told. */
struct at {
	int fd;
	bool synced;
	uint64_t began_ns;
	atomic_uint_least64_t syncing_ns; /* in all */
};
/* In place of what is there. own: stays open until at_end. Where it cannot be made nothing is told. */
void at_begin(struct at *a, int own, const char *boot_id, bool synced);
/* This thread is at these, until it says otherwise; count 0: at nothing that has a name. slot 0: of whoever runs the check. */
void at_put(struct at *a, unsigned slot, const struct at_name *names, unsigned count);
/* The same, of one; what cannot be told is nothing. a may be NULL. */
void at_one(struct at *a, unsigned slot, enum at_kind kind, struct span name);
void at_number(struct at *a, unsigned slot, enum at_kind kind, uint64_t name);
void at_nothing(struct at *a, unsigned slot);
/* The check ended. A cut may leave it: the journal says that it ended. Accepts one that told nothing. */
void at_end(struct at *a, int own);

#endif
