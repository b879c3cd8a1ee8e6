/* SPDX-License-Identifier: MIT */
/* A bbolt file (go.etcd.io/bbolt 1.3.6 to 1.5: format version 2, internal/common/page.go, meta.go), read
 * only: metas, page size, the complete check of every invariant that bbolt's own next write relies on
 * (more than `bbolt check` looks at), and walking of buckets in key order. Works on a struct src with a
 * bounded page cache from the arena: memory does not grow with the file. Never writes, never trusts a
 * number before its bounds are checked. */
#ifndef BOLT_H
#define BOLT_H

#include "ground/base.h"

#define BOLT_NO_FREELIST UINT64_MAX

/* bytes; key and value of one element that a cursor or bolt_get hands out (RC_LIMIT above). bbolt allows
 * 2^31, etcd 1.5 MiB by default, and containerd's largest values, container specs, are some hundred KiB.
 * bolt_check has no such bound. */
#define BOLT_ITEM_MAX ((size_t)16 << 20)

struct bolt_meta {
	uint64_t root, freelist; /* page ids */
	uint64_t high_water;     /* first page never allocated */
	uint64_t root_sequence, txid;
	uint32_t page_size, flags;
	bool valid; /* magic, version, checksum, sane page size */
};

struct bolt {
	struct src src;
	struct bolt_meta meta[2]; /* as found in slot 0 and 1 */
	unsigned current;         /* the slot bbolt would use */
	uint32_t page_size;
	struct bolt_cache *cache;
	struct pace *pace; /* asked as pages are looked at: whoever opens it may set it; NULL: never. RC_STOPPED then */
};

/* Why a file is unsound: the page, and a sentence with no newline. */
struct bolt_fault {
	enum bolt_fault_kind {
		BOLT_SOUND,
		BOLT_EMPTY_FILE,   /* zero bytes: bbolt would initialise it as new */
		BOLT_SHORT_FILE,   /* smaller than its metas or its high-water mark say */
		BOLT_NO_META,      /* neither meta page is valid, or the two disagree */
		BOLT_FOREIGN,      /* big-endian, or another format version: not ours to judge */
		BOLT_BAD_TREE,     /* readers of bbolt would panic, loop or read other data */
		BOLT_BAD_FREELIST, /* the list names a live page, itself, or a page that is none */
		BOLT_HAZARD        /* reads well, breaks at bbolt's next write: R1 R2 R4 R5 of 2.5 */
	} kind;
	uint64_t page;
	char text[200];
};

/* Reads both metas and picks the current one. RC_CORRUPT: *fault says what is wrong; RC_IO, RC_NOMEM,
 * RC_LIMIT: could not look (*e). The arena must outlive *b. */
CHECKED enum rc bolt_open(
	struct bolt *b, const struct src *src, struct arena *a, struct bolt_fault *fault, struct err *e);

/* The same on the meta page of that slot (0 or 1), whichever bbolt would use. RC_CORRUPT also where it is not valid. */
CHECKED enum rc bolt_open_slot(
	struct bolt *b, const struct src *src, unsigned slot, struct arena *a, struct bolt_fault *fault, struct err *e);

/* As bolt_open, but of a file that ends too early: for bolt_sieve_open, and nothing else. */
CHECKED enum rc bolt_open_cut(
	struct bolt *b, const struct src *src, struct arena *a, struct bolt_fault *fault, struct err *e);

/* All that bbolt checks (1.4.3: tx_check.go) and relies on: every reachable page once, ids, flags, order, bounds, exact separators,
 * depth, inline buckets, the freelist (if stored: exactly the unreachable pages, or a subset: leaks are
 * counted, not a fault). RC_CORRUPT: *fault holds the first fault. Takes one bit per page of scratch. */
struct bolt_stats {
	uint64_t pages_reachable; /* metas, trees, freelist */
	uint64_t pages_free;      /* without a stored freelist: all others */
	uint64_t pages_leaked;    /* the three add up to the high water */
	uint64_t pages_odd;       /* laid out as no bbolt does (gaps, spare overflow pages), but no fault */
	uint64_t keys, buckets;   /* inline ones too */
	unsigned depth_max;       /* pages from a root to its leaves, both counted */
};
CHECKED enum rc bolt_check(struct bolt *b, struct arena scratch, struct bolt_stats *stats,
	struct bolt_fault *fault, struct err *e);

/* The trees alone: what is wrong with the freelist, or with the other meta page, does not count. */
CHECKED enum rc bolt_check_tree(
	struct bolt *b, struct arena scratch, struct bolt_stats *stats, struct bolt_fault *fault, struct err *e);

/* A bucket by value: root page, or the bytes of its inline page. */
struct bolt_bucket {
	uint64_t root, sequence;
	struct span inline_page; /* root == 0: valid as long as the span it was read from */
};
/* The bucket all buckets are in. */
struct bolt_bucket bolt_root(const struct bolt *b);

/* One element. key and value are borrowed: from bolt_cursor_next until that cursor's next call (for a
 * cursor over an inline bucket: as long as the inline page's own bytes), from bolt_get as long as its
 * arena. is_bucket: value is the bucket header (and inline page); decode it with bolt_bucket_of. */
struct bolt_item {
	struct span key, value;
	bool is_bucket;
};
/* inline_page borrows from item->value: to keep an inline bucket beyond the cursor's next call, copy the
 * value (arena_copy) and decode the copy. RC_CORRUPT: no bucket, or a malformed header. */
CHECKED enum rc bolt_bucket_of(const struct bolt_item *item, struct bolt_bucket *bucket);

/* A cursor over one bucket, in key order. It keeps its place and its item in the arena, so that a walk
 * over a parent and walks over its children do not disturb each other; take the arena back after use. *a
 * must stay where it is while the cursor is used: an item larger than those before takes more of it (so
 * what others took since from a COPY of *a must be done with by then). *bucket itself need not live on,
 * the bytes of its inline page must. */
struct bolt_cursor;
CHECKED enum rc bolt_cursor_open(struct bolt *b, const struct bolt_bucket *bucket, struct arena *a,
	struct bolt_cursor **c, struct err *e);
/* RC_END after the last; RC_CORRUPT with *e where the tree is broken (cannot happen after bolt_check,
 * short of a file that changes under us). */
CHECKED enum rc bolt_cursor_next(struct bolt_cursor *c, struct bolt_item *item, struct err *e);
/* The item with exactly this key, copied into the arena; RC_END: no such key. */
CHECKED enum rc bolt_get(struct bolt *b, const struct bolt_bucket *bucket, struct span key, struct arena *a,
	struct bolt_item *item, struct err *e);

/* ---- what can be read of a file that did not pass its check ---- */

/* In key order: an element, or a gap: here something could not be read, whose keys are `from` or behind it, and before `to` (bad: no
 * bound; neither: nothing at all is known of the bucket). All borrowed until the next call. Of an element only itself was looked at:
 * a bucket may be one that cannot be opened. */
struct bolt_piece {
	bool is_gap;
	struct span from, to;
	struct bolt_item item;
};
/* Whether a sieve of a bucket will find the page that it begins with. RC_CORRUPT: not. */
CHECKED enum rc bolt_bucket_begins(struct bolt *b, const struct bolt_bucket *bucket, const uint8_t *seen, struct err *e);
/* A bit for each page, so that none is read as two things: one for a whole walk over all buckets of a file. NULL: no memory. */
uint8_t *bolt_sieve_seen(const struct bolt *b, struct arena *a);
/* The arena as of a cursor. *fault gets the first thing that could not be read, if it is BOLT_SOUND still. */
struct bolt_sieve;
CHECKED enum rc bolt_sieve_open(struct bolt *b, const struct bolt_bucket *bucket, uint8_t *seen, struct bolt_fault *fault,
	struct arena *a, struct bolt_sieve **c, struct err *e);
/* RC_END after the last. */
CHECKED enum rc bolt_sieve_next(struct bolt_sieve *c, struct bolt_piece *piece, struct err *e);

#endif
