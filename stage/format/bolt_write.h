/* SPDX-License-Identifier: MIT */
/* A new bbolt file, written from its first page to its last: every rule that bbolt relies on at its next
 * write holds by construction, the freelist is not stored (2^64-1), both metas have one root. Pages go to a sink as they are full, so
 * that memory does not grow with the file: a page for each bucket that is open, and the first key of each page of it. */
#ifndef BOLT_WRITE_H
#define BOLT_WRITE_H

#include "format/bolt.h"

/* Takes whole pages, each byte of the file once; the metas, at 0, come last. */
struct bolt_sink {
	enum rc (*put)(void *self, uint64_t off, const void *buf, size_t n, struct err *e);
	void *self;
};

struct bolt_writer;
/* The arena must stay where it is until the end, and what others take of it meanwhile goes with the bucket that is open. txid: of the
 * newer meta, which will be even and larger. */
CHECKED enum rc bolt_write_begin(struct bolt_writer **w, const struct bolt_sink *sink, uint32_t page_size, uint64_t txid, struct arena *a,
	struct err *e);
/* Keys of a bucket in order, names of buckets among them; RC_CORRUPT: they are not, or what is put breaks a limit of the format, or a
 * value is put where no bucket is open: then nothing was put. A bucket is ended before its parent goes on. */
CHECKED enum rc bolt_write_bucket(struct bolt_writer *w, struct span name, struct err *e);
CHECKED enum rc bolt_write_put(struct bolt_writer *w, struct span key, struct span value, struct err *e);
CHECKED enum rc bolt_write_bucket_end(struct bolt_writer *w, uint64_t sequence, struct err *e);
/* Of the root: all buckets are ended. The file has *bytes then. */
CHECKED enum rc bolt_write_end(struct bolt_writer *w, uint64_t root_sequence, uint64_t *bytes, struct err *e);

#endif
