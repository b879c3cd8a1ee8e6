/* SPDX-License-Identifier: MIT */
/* What the files that carry out a plan share. Nobody else includes it. */
#ifndef APPLIER_H
#define APPLIER_H

#include "layer/layer.h"
#include "repair/apply.h"

/* Where things are made before they take their names, and moved to before they go. A rename does not leave a mount, and parts of a
 * store may be mounts of their own, bind mounts of one file system among them: so each mount has a place of its own, containerd-fsck/
 * in the topmost directory of the store that is on it. What containerd sweeps (snapshots/) has it for no longer than a run takes. */
#define PLACES_MAX 4 /* the root, content, the snapshotter, snapshots/ */

struct place {
	const char *path;         /* of base, relative to the root; "." for the root */
	int base, own, staging, aside; /* -1 until needed */
	char staging_name[32];    /* of this run alone: what an earlier one could not remove is in nobody's way */
	uint64_t next;            /* numbers of names in staging */
	uint64_t aside_first, aside_next; /* numbers: first of this run, next */
	bool aside_listed;
	size_t aside_count, aside_old; /* what is in it, and what of earlier runs can go */
	const char *aside_path; /* of own_aside_paths */
};

#define FREE_NAME_BYTES (2 * DIGEST_MAX_BYTES + 24) /* "<hex>.found-<n>" */

struct applier {
	struct plan *p;
	struct store *st;
	const struct survey *s;
	const struct apply_options *o;
	struct arena *keep;
	struct apply_result *result;
	struct err *e;
	size_t place_count;
	bool published;   /* the rebuild under way has begun to rename */
	bool keep_intents; /* one that had is not done: its intent must be found by the next run */
	atomic_int idle;  /* processors, for feed */
	struct pace pace;
	struct progress now; /* the action under way */
	uint64_t told_ns;    /* when that was told last */
	struct freed {
		char name[FREE_NAME_BYTES];
	} *freed; /* names of ours, room for each that may get one */
	size_t freed_count;
	unsigned room_waits; /* for room that was made and is not there yet, in this run */
	uint64_t edit_until_ns; /* so long no deadline ends the databases' change */
	struct arena edits; /* what both databases' changes take, until they are made; opened by prepare */
	struct bolt_image meta, overlay;
	struct place places[PLACES_MAX];
};

#define NUMBER_TEXT_BYTES 32
#define SHORT_NS 500000000u /* what is short may take so long after the deadline, all of it */

/* apply.c */
/* Of a struct pace; any thread's. */
CHECKED enum rc may_touch(void *self, struct err *e);

/* staging.c */
CHECKED enum rc add_place(struct applier *w, int base, const char *path);
/* The place behind whose mount dir lies. */
CHECKED enum rc place_of(struct applier *w, int dir, struct place **place);
CHECKED enum rc open_own(struct applier *w, struct place *p);
/* A new directory of this run. */
CHECKED enum rc open_staging(struct applier *w, struct place *p);
void next_name(struct place *p, char name[NUMBER_TEXT_BYTES]);
/* Removes a directory in staging, by its number. A cut leaves staging behind, which is a finding of the next run. */
CHECKED enum rc remove_staged(struct applier *w, struct place *p, uint64_t number);
/* Out of sight in one step, then gone; with what cannot go left in staging. */
CHECKED enum rc remove_tree(struct applier *w, int dir, const char *name);
/* A directory of staging for one action. */
CHECKED enum rc begin_work(struct applier *w, struct place *p, uint64_t *number, int *fd);
/* The place that a rebuild made in aside/ for what is in its way. RC_END: something is in it. */
CHECKED enum rc remove_unused_place(int aside, const char *name, struct err *e);
/* The first that can be listed: what cannot be may hold anything, and stays as it is. */
CHECKED enum rc open_aside(struct applier *w, struct place *p);
/* Removes this run's staging, empty by then but for what could not be removed, and intents of what is not done. Of a place that is not
 * the root's, ours goes too, unless something was set aside there. */
CHECKED enum rc close_place(struct applier *w, struct place *p);
void forget_places(struct applier *w);
/* To aside/<number>-<what>. */
CHECKED enum rc set_aside(struct applier *w, int dir, const char *name, const char *what);

/* commit.c */
/* Computed before anything is written: an edit that cannot be made stops the whole run. */
CHECKED enum rc prepare_edit(struct applier *w, struct database *d, const struct edits *edits,
	struct bolt_image *image);
/* Whether a database that is to be changed can be opened for that: asked before anything is done that only its change makes whole. */
CHECKED enum rc may_write(struct applier *w, const struct database *d, const char *file,
	const struct edits *edits);
/* Before the meta page is durable: the old database, perhaps with pages behind it that nothing refers to. After: the new.
 * A torn meta page fails its checksum, and the other one still shows the old. */
CHECKED enum rc edit_database(struct applier *w, const struct database *d, const char *file,
	const struct bolt_image *image);
/* Before the first change: a database whose copy cannot be made must not lose what refers to blobs removed by then. */
CHECKED enum rc back_up(struct applier *w);
CHECKED enum rc open_edits(struct applier *w);

/* apply_content.c */
CHECKED enum rc remove_blob(struct applier *w, size_t index, bool aside);
CHECKED enum rc open_or_make(int parent, const char *name, mode_t mode, int *fd, struct err *e);
/* blobs/<algorithm>, and blobs, made if they are not there. Both are the caller's to close. */
CHECKED enum rc open_blobs(struct applier *w, enum digest_kind kind, int *fd, int *blobs);
/* Moves a file from dir into blobs/<algorithm>, under a name that the next run takes for a stray, and hashes. Durable. */
CHECKED enum rc give_free_name(struct applier *w, int dir, const char *name, int blobs, const struct digest *d,
	char free_name[FREE_NAME_BYTES]);
/* What lies in the way of a blob's bytes is not in the way of the blob's name: so that no two of them, each with the other's bytes,
 * are in each other's way either. The name is one that the next run takes for a stray, and hashes. */
CHECKED enum rc free_bytes(struct applier *w, size_t index, bool aside);
/* Of the files in something that is to be removed: all that is named lies under its own name by now. The plan sees to it; but nothing
 * goes without having been asked about. */
CHECKED enum rc is_in_place(struct applier *w, struct range spares);
/* The bytes were verified; they are made durable, sealed, and then take their name. Replaces a damaged blob of that name. */
CHECKED enum rc place_blob(struct applier *w, size_t index);
/* containerd goes on at the end of the data. A cut leaves it longer, and the next run does this again. */
CHECKED enum rc cut_ingest(struct applier *w, size_t index);
CHECKED enum rc remove_ingest(struct applier *w, size_t index);

/* apply_snapshots.c */
/* What does not fit is left, and the rest is done. */
CHECKED enum rc check_room(struct applier *w, int dir, uint64_t bytes, uint64_t inodes);
CHECKED enum rc rebuild_snapshot(struct applier *w, size_t backend);
CHECKED enum rc remove_snapshot(struct applier *w, size_t backend, bool aside);

#endif
