/* SPDX-License-Identifier: MIT */
/* What the last runs over a root came to, for who watches a machine: the verb status, show --last, and metrics. Kept in
 * <root>/containerd-fsck/runs, and of this boot in /run/containerd-fsck/ as well, where a boot that had nothing to do is noted too:
 *
 *   containerd-fsck runs 1
 *   <number> <number> <number> <number>...   a run, in the order of enum run_number
 *   <code> <left> <repaired>                 of a problem: left by the last run that looked, and repaired by all
 *   <sum> <seconds>                          of a thing: when it was put right last; those of the last week
 *   again <path, digest or name>             of the last run: one of them was damaged again
 *
 * all in decimal. Further numbers of a run are of a later version and passed over. It decides nothing about a store. */
#ifndef RUNS_H
#define RUNS_H

#include "tell/report.h"

#define RUNS_NAME "runs"
#define RUNS_MAX 10 /* the oldest goes */
#define RUNS_MENDED_MAX 512

enum run_verb { RUN_CHECK, RUN_REPAIR, RUN_BOOT, RUN_SCRUB, RUN_VERBS };
enum run_known {
	RUN_NOTHING, /* nothing was looked at */
	RUN_CLEAN,   /* there was nothing to look at: the last stop was clean */
	RUN_LOOKED
};

enum run_number {
	RUN_SERIAL,
	RUN_DEVICE, /* of the root */
	RUN_INODE,
	RUN_BOOT_ID, /* a sum of its id; 0: unknown */
	RUN_VERB,
	RUN_KNOWN,
	/* those that are told; see runs.c for their names */
	RUN_STARTED, /* seconds since 1970: a label */
	RUN_MS,
	RUN_STATUS,
	RUN_AFTER_UNCLEAN,
	RUN_HALTED, /* a database cannot be worked with */
	/* findings, but leftovers and notes */
	RUN_DONE,
	RUN_LEFT,
	/* images */
	RUN_WHOLE,
	RUN_REPAIRED,
	RUN_DAMAGED,
	RUN_LOST,
	RUN_UNCHECKED,
	RUN_BYTES,
	RUN_UNCLEAN, /* stops, until now */
	RUN_ACKNOWLEDGED, /* findings and images: in none of the counts before */
	RUN_AGAIN, /* what was put right within the week before, and is damaged again: the disk does not keep it */
	RUN_SEEN, /* when all was looked at last, and nothing was wrong, by this run or one before; seconds since 1970 */
	RUN_NUMBERS
};

struct runs {
	uint64_t at[RUNS_MAX][RUN_NUMBERS]; /* the newest last */
	size_t count;
	uint64_t left[P_COUNT], repaired[P_COUNT];
	uint64_t mended[RUNS_MENDED_MAX][2]; /* the newest last; older ones go */
	size_t mended_count;
	char again[256]; /* escaped; "": none was damaged again */
};

/* Of one root. */
struct runs_root {
	const char *path;
	const char *label; /* what metrics call it: in its own system */
	/* RC_OK: runs is set. RC_END: it was never looked at; RC_IO: there is no such root; others: what is kept cannot be read */
	enum rc rc;
	struct runs runs;
};

/* What is kept of r->path, from the later of the two places. Opens no store and writes nothing. */
void runs_read(struct runs_root *r, struct arena scratch);
/* One more behind what is kept of r->path, and how it is kept. r is complete even on failure. */
struct runs_new {
	const struct outcome *outcome; /* without store, plan and the like: nothing was looked at */
	enum run_verb verb;
	bool after_unclean, clean; /* the stop before it was not clean; it was, and that is all */
	bool in_root;      /* our directory there is not made for it */
	bool sound;        /* a scrub has found nothing: it says nothing of what a boot or repair had left, which stays the last run then */
	bool seen_whole;   /* and all was looked at, from one end to the other */
	bool if_different; /* only if it says something else of the store than the last, which is there */
	bool in_run;
};
CHECKED enum rc runs_add(struct runs_root *r, const struct runs_new *new, struct arena scratch, struct err *e);

/* What the last run of r came to, as a message to systemd's journal; see hooks/systemd/containerd-fsck.catalog. */
void runs_journal(const struct runs_root *r, bool scrub);

/* What a monitor asks: 0 fine, 1 a problem, 2 nobody knows. */
enum runs_state { RUNS_FINE, RUNS_PROBLEM, RUNS_UNKNOWN };
/* One line for all roots, or with `last` the runs of each. json: instead, an object for each root. out: a descriptor. A failure to write
 * is in *e alone. */
enum runs_state runs_tell(const struct runs_root *roots, size_t count, int out, bool json, bool last, struct err *e);

/* The textfile of Prometheus' node exporter: made beside and renamed. What is in it of other roots stays; those of which nothing is
 * known are passed over. A path that is there and no regular file is refused. */
CHECKED enum rc runs_metrics(const char *path, const struct runs_root *roots, size_t count, struct arena scratch, struct err *e);

#endif
