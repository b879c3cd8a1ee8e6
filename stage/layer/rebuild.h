/* SPDX-License-Identifier: MIT */
/* Puts the damaged entries of a committed snapshot back from its layer: new inodes with the layer's content and metadata in
 * the order containerd applies it, built in a staging directory on the same file system, made durable, and only then
 * renamed over what was damaged. Entries that are not in the set are not opened for writing, not renamed, not touched.
 *
 * A cut before publish leaves a staging directory nobody refers to; a cut during publish leaves a snapshot in which each
 * entry is whole, old or new; running again finds and finishes the rest. Files and directories that somebody made immutable or
 * append-only are opened for that and get those flags back at the end; only they are lost in a cut between. */
#ifndef REBUILD_H
#define REBUILD_H

#include "layer/layer.h"

struct rebuild_target {
	int snapshots;        /* the snapshotter's snapshots directory */
	const char *id;       /* "57": may be missing altogether, then <id>, fs and work are made (0700, 0755, 0711) */
	enum layer_mode mode;
	const int *lower_fs;  /* fs directories of the ancestors, nearest first, for implicit directories; whole by now */
	size_t lower_count;
	const uint8_t *damaged_bits; /* layer_verdict of an earlier pass; NULL: every node (whole tree) */
	uint32_t node_count;
	int staging;          /* empty directory of ours, mode 0700, same file system */
	int aside;            /* where an entry of the wrong kind is moved to before its place is taken */
	/* The times of all directories with entries are set where they differ, not only those of directories in which a name is
	 * replaced now: a cut, of containerd's work or of a repair, takes the times of others too. An empty damaged set means
	 * the same. */
	bool all_times;
};

struct rebuild;

CHECKED enum rc rebuild_open(struct rebuild **r, struct layer *l, const struct rebuild_target *t, struct arena *a,
	struct err *e);
/* Pass to layer_replay: stages the damaged nodes. */
struct layer_watch rebuild_watch(struct rebuild *r);
/* After a complete replay, and only after the blob's digest and the diff ID were found right: syncfs, then the renames,
 * parents before children, hard-link groups re-linked, times of touched explicit directories last, syncfs. What stood in
 * for directories that stay is left in staging. */
CHECKED enum rc rebuild_publish(struct rebuild *r, struct err *e);
/* Closes what is open; accepts NULL. What is staged and was not published stays in staging. */
void rebuild_close(struct rebuild *r);
/* Removes everything in a directory of ours: what a run left in staging. RC_LIMIT: deeper than LIMIT_PATH_DEPTH. */
CHECKED enum rc rebuild_clear(int dir, struct arena scratch, struct err *e);

#endif
