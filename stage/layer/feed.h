/* SPDX-License-Identifier: MIT */
/* A blob's file as a layer's entries: read once from the medium, hashed, decompressed, and hashed again while
 * somebody replays it. For survey, which compares, and apply, which writes. */
#ifndef FEED_H
#define FEED_H

#include <stdatomic.h>

#include "format/stream.h"
#include "format/tar.h"

struct feed;

struct feed_options {
	bool hash_content;                   /* for the diff ID; without it neither content nor content_bytes is set */
	/* Asked while the blob is read and decompressed, by two threads at once if idle is there, so what it calls must bear that; its
	 * count is not touched. NULL: no bound but those of limits.h. */
	const struct pace *pace;
	atomic_uint_least64_t *bytes;        /* counts what was read; may be NULL */
	/* Processors that nobody uses; may be NULL. A long compressed layer takes one as soon as there is one: it is read, hashed and
	 * decompressed there from then on, beside whoever looks at its content. Given back with the content's end, or the feed's. */
	atomic_int *idle;
};

/* The file at *fd, which is to hold size bytes (a hint) that hash to name. It is the feed's from here on, also where this fails. The
 * arena outlives the feed. */
CHECKED enum rc feed_open(struct feed **f, int *fd, uint64_t size, const struct digest *name, const struct feed_options *o,
	struct arena *a, struct err *e);
/* The entries. At most one tar for each feed. */
CHECKED enum rc feed_tar(struct feed *f, struct tar **t, struct err *e);

struct feed_result {
	bool blob_good;        /* the bytes are those of the blob's name */
	struct digest blob;    /* what they hash to */
	bool content_known;    /* decompressed to the end: content and content_bytes are set */
	struct digest content; /* diff ID */
	uint64_t content_bytes;
	bool too_much;         /* feed_finish met a limit, or had no memory, before the content's end: what it is, nobody knows */
	struct err why;        /* with too_much */
};
/* Reads on to the end of the blob; decompresses on only with want_content. RC_IO: the blob could not be read;
 * RC_STOPPED: by the pace. */
CHECKED enum rc feed_finish(struct feed *f, bool want_content, struct feed_result *result, struct err *e);
/* Accepts NULL. */
void feed_close(struct feed *f);

#endif
