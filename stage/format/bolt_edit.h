/* SPDX-License-Identifier: MIT */
/* One copy-on-write transaction on a bbolt file, as bytes to append and one meta page to write last
 * (changed buckets are rewritten past the high-water mark, freelist = 2^64-1 so that bbolt rebuilds it: tried
 * with bbolt 1.3.6 to 1.5.0). Computes only; whoever owns the file writes:
 *
 *   1. grow the file to file_bytes (ftruncate, fsync), 2. write `append` at append_at, fsync,
 *   3. read it back and compare, 4. write `meta_page` at meta_at, fsync.
 *
 * A cut before 4 leaves the old database whole (no live page is touched); a torn 4 fails its checksum and
 * leaves the old one; after 4 the new one is whole. */
#ifndef BOLT_EDIT_H
#define BOLT_EDIT_H

#include "format/bolt.h"

/* A path of bucket names from the root, then a key in the last. */
#define BOLT_PATH_MAX 12
struct bolt_path {
	struct span part[BOLT_PATH_MAX]; /* borrowed until bolt_edit_make returns */
	unsigned count;
};

struct bolt_edit;

/* b must have passed bolt_check, and it and its file must not change until bolt_edit_make returned.
 * Everything lives in the arena, which must stay where it is. */
CHECKED enum rc bolt_edit_begin(struct bolt_edit **t, struct bolt *b, struct arena *a, struct err *e);
/* The operations collect, each sees what those before it did, and all are shown by one meta page. An
 * operation that fails with RC_CORRUPT or RC_LIMIT (an empty name, one above 32768 bytes, a value above
 * BOLT_ITEM_MAX) did nothing; after another failure give the whole edit up. Removing what is not there is
 * no error (a repair may run twice). remove takes a key or a whole bucket. put creates missing buckets on
 * its path (sequence 0) and replaces a value; RC_CORRUPT if a bucket stands where a value is put or the
 * other way round, or the path is one name: the root holds buckets only. */
CHECKED enum rc bolt_edit_remove(struct bolt_edit *t, const struct bolt_path *path, struct err *e);
CHECKED enum rc bolt_edit_put(
	struct bolt_edit *t, const struct bolt_path *path, struct span value, struct err *e);
CHECKED enum rc bolt_edit_make_bucket(struct bolt_edit *t, const struct bolt_path *path, struct err *e);
/* Raises the sequence of an existing bucket; never lowers it. RC_END: there is no such bucket. */
CHECKED enum rc bolt_edit_raise_sequence(struct bolt_edit *t, const struct bolt_path *path, uint64_t at_least,
	struct err *e);

/* The edit is made although nothing is changed: its meta page says that there is no freelist, and bbolt makes a new one. Then
 * bolt_check_tree is enough for b. */
void bolt_edit_drop_freelist(struct bolt_edit *t);

struct bolt_image {
	bool changed;         /* false: nothing to write, the rest is zero */
	uint64_t append_at;   /* bytes: the higher high water of the valid metas * page_size */
	struct span append;   /* whole pages; this and meta_page live in the arena */
	uint64_t file_bytes;  /* the file must be at least this long before the meta page is written */
	uint64_t meta_at;     /* bytes: the slot that is NOT current */
	struct span meta_page; /* page_size bytes */
};
/* Once for each bolt_edit_begin. Builds the new pages and verifies them: the result, read through an
 * overlay src, passes bolt_check, and its content equals old content + operations (walked side by side).
 * RC_CORRUPT from that verification is our bug and is reported as such; nothing has been written. RC_IO
 * also where the file gave other bytes when read again. Memory: proportional to the buckets changed.
 * Putting the value that is there, or removing what is not, changes nothing. */
CHECKED enum rc bolt_edit_make(struct bolt_edit *t, struct bolt_image *image, struct err *e);
/* A src that shows the file as it will be: old bytes with `append` and `meta_page` in place. *o, *old and
 * *image must stay where they are while it is read. */
struct bolt_overlay {
	struct src src; /* give this to bolt_open */
	const struct src *old;
	const struct bolt_image *image;
};
void bolt_overlay_open(struct bolt_overlay *o, const struct src *old, const struct bolt_image *image);

#endif
