/* SPDX-License-Identifier: MIT */
/* Looks at a store beside a running containerd: each blob that has a record is hashed, each committed snapshot compared with its
 * layer, if what the layer unpacks to is noted with it. Reads the store only. Copies of the databases are read, without a lock; an
 * object is told of only if it was found wrong twice and its record and the object itself are still the same afterwards.
 *
 * In rounds, in the order of digests, so that each begins with what was looked at longest ago. After each the place, and what was found,
 * are written to containerd-fsck/scrub (journal.h): seal vouches for none of that, and the next boot looks at it. Cuts: the file of before
 * the round, or of after it. */
#ifndef SCRUB_H
#define SCRUB_H

#include "check/survey.h"

struct scrub_options {
	const struct store_hints *hints; /* sysroot, known, pace */
	uint64_t rate;        /* bytes a second; 0: a tenth of what the disk gives, and 4 MiB at least */
	const char *image;    /* what all images of this name lead to, and nothing else, in one round, which leaves the place; NULL: all */
	uint64_t slice, slices; /* of so many parts of the order the slice-th alone, from 1; slices 0: all */
	uint64_t deadline_ns; /* nothing goes on after it; 0: none */
	const volatile sig_atomic_t *stop;
	void (*progress)(void *self, const struct progress *p);
	void *self;
	void (*tell)(void *teller, struct arena scratch); /* more was found to be damaged, and is noted */
	void *teller;
};

/* A blob, or, with an id, a snapshot; stamp 0: it is not there. */
struct doubt {
	struct digest digest;
	uint64_t id;
	struct journal_stamp stamp;
};
struct doubts {
	struct doubt *at;
	size_t count;
};

struct scrub {
	const char *root;
	const struct scrub_options *o;
	enum store_refusal *refusal;
	int own;              /* containerd-fsck/, locked against another scrub; -1: not open */
	struct arena kept;    /* as long as all of it */
	struct doubts found;
	bool goes_on;         /* at `from`, and not at the beginning */
	bool ended;           /* all was looked at, from where the last one stopped */
	bool whole;           /* from the very beginning, all of it, and nothing could not be looked at */

	/* the last look */
	bool open;
	struct store *store;
	struct survey *survey;
	struct arena *keep, scratch, mark; /* mark: of keep, before it */
	const struct doubts *only; /* these are looked at; NULL: all from `from` to `to` */
	struct digest to;
	bool to_end;          /* there is nothing behind `to` */
	struct doubts part;   /* all that the image leads to */

	uint64_t blobs, snapshots, entries, unreadable; /* looked at in all; objects that the disk does not give */
	uint64_t woke_ns, seen_bytes, asked_ns;         /* for its rest */
	bool pressed;         /* others wait for the disk or the processor */
	struct digest from;   /* where it goes on */
	struct store_hints hints;
	struct store_beside beside;
};

/* What it came to is in the survey of the last look, whose findings are those that are told; counts are of the whole run. With RC_OK
 * store and survey are open, of keep, and due to be closed. RC_STOPPED: before there was anything to tell. RC_END: see refusal.
 * scrub_close is due in any case. */
CHECKED enum rc scrub_run(struct scrub *s, const char *root, const struct scrub_options *o, struct store *st, struct survey *survey,
	struct arena *keep, struct arena scratch, enum store_refusal *refusal, struct err *e);
/* Accepts one that never began. */
void scrub_close(struct scrub *s);

#endif
