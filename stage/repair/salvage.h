/* SPDX-License-Identifier: MIT */
/* A database that does not pass its check is made again from what there is, so that containerd starts with what it had. Judged by the
 * best of seven ways that its file, a copy or the disk allows (enum salvage_tier); written beside the broken file, checked as it lies on
 * the disk, and only then given its name; the broken one stays in aside/. A sound database is never touched. */
#ifndef SALVAGE_H
#define SALVAGE_H

#include "repair/forward.h"

enum salvage_tier {
	SALVAGE_NONE,     /* nothing could be done */
	SALVAGE_SOUND,
	SALVAGE_FREELIST, /* the tree is whole, the list of free pages not: nothing is lost */
	SALVAGE_OLDER,    /* what cannot be read is taken from the tree of the transaction before, which is whole; of one that is behind
			   * the rest of the store: that one itself */
	SALVAGE_COPY,     /* a copy of ours, which passed its check */
	SALVAGE_PART,     /* what can be read, and the rest from a copy if there is one */
	SALVAGE_CONTENT   /* made of blobs, the other database and the journal */
};

/* A range of keys that nothing has. */
struct salvage_gap {
	const char *where; /* "images of default" */
	struct span ns, from, to; /* bad: no bound */
	enum salvage_what { SALVAGE_ALL, SALVAGE_IMAGES, SALVAGE_CONTAINERS, SALVAGE_SNAPSHOTS, SALVAGE_LEASES, SALVAGE_OTHER } what;
};

struct salvage_counts {
	size_t images, containers, snapshots, of_second;
};

struct salvage_database {
	const char *path; /* relative to the root */
	const char *file;
	const struct database *d;
	bool needed, was_there;
	bool barred;      /* it, or what it goes with, cannot be judged: only its list of free pages may be made anew */
	bool was_opened;  /* its newest transaction is known */
	bool faulty;      /* something is wrong with it, whether or not that can be mended */
	const char *why;  /* it is not made again, a phrase; NULL, if a fault says so */
	bool bad_records; /* its pages are sound, and records in it do not decode, or contradict each other */
	bool behind_rest; /* sound, and older than the other database or the directories: what it lacks is made again */
	enum salvage_tier tier;
	const char *source;   /* a name in backup/; NULL: none */
	uint64_t behind;      /* transactions that the source is older than the file, where both are known */
	uint64_t txid;        /* of the file, 0: not known */
	bool told_by_journal; /* it has the names of all images of that transaction */
	struct salvage_counts kept;
	struct forward_name *names; /* images whose record cannot be read, but for its name, and that no second database has */
	size_t name_count;
	struct salvage_gap *gaps; /* that no second database was there for */
	size_t gap_count;
	size_t made, recovered; /* records that were made again; images among them that got a name of ours */
	bool done;
	bool beside; /* what was set aside is on its own mount: in containerd-fsck/ beside it, not in the root's */
	struct bolt_fault fault; /* what is broken: page and sentence */
};

struct salvage {
	bool needed;          /* one that was not made again in this run yet */
	bool left;            /* something is wrong that cannot be mended here */
	const char *in_use;   /* "process 12 (containerd)", which would go on with the file that is broken or gone; NULL: none seen */
	size_t directories_aside; /* of snapshots that no database knows */
	int lock;             /* the new meta.db, locked; -1: none */
	int old;              /* what it replaced, which a daemon may have open and wait for; -1: none */
	struct salvage_database meta, overlay;
};

/* Whether the faults of a store that was read are of its databases, and what could be done about them. Reads only. *s is zero but for its
 * descriptors, or of an earlier look of this run: what was made again then stays in it, and is not made again twice. */
CHECKED enum rc salvage_look(struct salvage *s, const struct store *st, struct arena *keep, struct arena scratch, struct err *e);
/* Does it. After a power cut at any point each database is the broken one or the new one, whole, and the same can be done again. *e says
 * what could not be written; a database whose `done` is set then is new all the same. */
CHECKED enum rc salvage_write(struct salvage *s, const struct store *st, struct arena *keep, struct arena scratch, struct err *e);
/* The copies in backup/, each checked as a whole: what a person could go back to. out: of names that live for ever. */
struct salvage_copy {
	const char *name;
	bool is_meta, sound; /* not sound: or not of this store; then the rest is 0 */
	int64_t made_s;      /* by the file's time, seconds since 1970 */
	uint64_t txid;
	size_t images, containers, snapshots;
};
#define SALVAGE_COPIES_MAX 8
CHECKED enum rc salvage_copies(
	const struct store *st, struct salvage_copy out[SALVAGE_COPIES_MAX], size_t *count, struct arena scratch, struct err *e);
/* Opens the newer tree that is whole, of those of both meta pages; newest: which has the higher transaction. RC_CORRUPT: there is none. */
CHECKED enum rc salvage_find_tree(struct bolt *b, const struct src *src, unsigned newest, struct pace *pace, bool *older, struct arena *a,
	struct err *e);
/* The tree that b is opened at, which passed bolt_check_tree, becomes that of the newest transaction, without a list of free pages; in the
 * file itself, by a meta page in the slot of the other. A cut leaves the file as it was, or so. */
CHECKED enum rc salvage_show(struct bolt *b, int dir, const char *file, struct arena scratch, struct err *e);
/* *s is as it was before the first look. */
void salvage_close(struct salvage *s);
/* Databases, snapshots, the journal and copies of the databases go to containerd-fsck/aside/<aside> together, and a meta.db with nothing
 * in it takes the place of the old one: the next containerd begins anew, and the next boot or repair finds nothing to bring back. Blobs
 * stay. A cut leaves the store as it was, or half moved with containerd-fsck/reset there, which store_is_half tells: then it is to be done
 * again, and goes on. Not with a snapshotter elsewhere, one that is a mount, or a process that has a file of the store open. */
#define SALVAGE_RESETS 4
CHECKED enum rc salvage_reset(struct salvage *s, const struct store *st, char aside[16], struct arena *keep, struct arena scratch,
	struct err *e);
/* Whether it may lack names of images and containers that it had, of which nothing tells. */
bool salvage_may_lack(const struct salvage_database *d);
/* Whether the database of this path is one that it would make again. */
bool salvage_mends(const struct salvage *s, const struct span *path);
/* Takes away what a repair that was cut off left beside the databases, which are sound, and a directory of ours that is empty and not in
 * the root. RC_OK also where nothing is there. */
CHECKED enum rc salvage_sweep(const struct store *st, struct err *e);

#endif
