/* SPDX-License-Identifier: MIT */
/* One new database of two that cannot be used as they are: all that can be read of the first, and, for the ranges of keys in which
 * something of it could not, what the second has. What the second has elsewhere was removed since, and stays so. Each bucket is walked
 * once, in key order, side by side; memory does not grow with the files. Knows nothing of what the records mean: who calls it does. */
#ifndef MEND_H
#define MEND_H

#include "format/bolt.h"
#include "format/bolt_write.h"

#define MEND_PATH_MAX LIMIT_BUCKET_DEPTH

/* Names of the buckets from the root on, this one last. Borrowed. */
struct mend_path {
	struct span part[MEND_PATH_MAX];
	unsigned count;
};

struct mend_hooks {
	/* Whether a bucket of the first can be what its place says: if not, it counts as one that cannot be read. NULL: each can. */
	bool (*is_good)(void *self, const struct mend_path *path, struct bolt *b, const struct bolt_bucket *bucket);
	/* Told of each bucket of the first that is not written, for it is not good or cannot be opened: its name can be read all the
	 * same. */
	enum rc (*gone)(void *self, const struct mend_path *path, struct err *e);
	/* Told of each bucket that is written. */
	enum rc (*bucket)(void *self, const struct mend_path *path, bool of_second, struct err *e);
	/* Of each range of keys of a bucket of the first that could not be read (bad: no bound), before what the second has of it. */
	enum rc (*gap)(void *self, const struct mend_path *path, struct span from, struct span to, struct err *e);
	void *self;
};

/* first: opened, its check passed or not; NULL: nothing of it. second: passed its check; NULL: none. Writes all buckets, not the end of
 * the file. *fault: what could not be read of the first, the first such thing. The writer's arena must be another one. */
CHECKED enum rc mend_write(struct bolt *first, struct bolt *second, const struct mend_hooks *hooks, struct bolt_writer *w,
	struct bolt_fault *fault, uint64_t *root_sequence, struct arena scratch, struct err *e);

#endif
