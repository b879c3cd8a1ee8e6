/* SPDX-License-Identifier: MIT */
/* Actions on snapshots: rebuilt beside, verified, and put in place. */
#include <errno.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "layer/feed.h"
#include "layer/init.h"
#include "layer/rebuild.h"
#include "memory/at.h"
#include "memory/own.h"
#include "repair/applier.h"

/* What a run of ours may need beside the content it writes: directories, journal of the file system. */
#define SPACE_MARGIN_BYTES ((uint64_t)4 << 20)
#define ROOM_WAITS 40 /* of ROOM_WAIT_MS: two seconds, of a whole run */
#define ROOM_WAIT_MS 50

/* ---- snapshots ---- */

/* fs directories of the ancestors, nearest first. */
struct lowers {
	int *fd;
	size_t count;
};

static void close_lowers(struct lowers *l)
{
	for (size_t i = 0; i < l->count; i++)
		os_close(&l->fd[i]);
	l->count = 0;
}

static enum rc open_lowers(struct applier *w, size_t backend, struct arena *a, struct lowers *l)
{
	const struct store *const st = w->st;
	size_t depth = 0;

	for (size_t at = st->backends[backend].parent_index; at != STORE_NONE && depth < LIMIT_LAYERS;
		at = st->backends[at].parent_index)
		depth++;
	l->fd = arena_array(a, depth + 1, sizeof(*l->fd));
	if (!l->fd)
		return no_memory(w->e);
	for (size_t at = st->backends[backend].parent_index; at != STORE_NONE && l->count < depth;
		at = st->backends[at].parent_index) {
		auto_fd dir = -1;
		int fs = -1;
		enum rc rc = os_open_dir(st->snapshots_dir, st->backends[at].dir, &dir, w->e);
		if (rc == RC_OK)
			rc = os_open_dir(dir, "fs", &fs, w->e);
		if (rc == RC_IO) {
			close_lowers(l);
			return rc;
		}
		if (rc == RC_OK) /* one that is lost has nothing to copy an attribute from */
			l->fd[l->count++] = fs;
	}
	return RC_OK;
}

/* One replay of the proof with somebody watching; ok only if blob and content are what they were. */
static enum rc replay(struct applier *w, size_t backend, struct layer *l, const struct layer_watch *watch, struct arena *a)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct pace beside = {.ask = may_touch, .self = w};
	const struct feed_options options = {.hash_content = true, .pace = &beside, .idle = &w->idle};
	struct feed_result result = {0};
	struct feed *feed = NULL;
	struct tar *tar = NULL;
	auto_fd fd = -1;

	if (state->proof == STORE_NONE) {
		const enum rc made = init_layer_tar(w->st->backends[backend].inodes, a, &tar, w->e);
		return made ? made : layer_replay(l, tar, watch, w->e);
	}
	const struct blob *const b = &w->st->blob_files[state->proof];
	enum rc rc = store_open_blob(w->st, state->proof, &fd, w->e);

	if (rc == RC_OK && (rc = feed_open(&feed, &fd, b->size, &b->digest, &options, a, w->e)) == RC_OK &&
		(rc = feed_tar(feed, &tar, w->e)) == RC_OK && (rc = layer_replay(l, tar, watch, w->e)) == RC_OK)
		rc = feed_finish(feed, true, &result, w->e);
	feed_close(feed);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "a layer changed since it was checked") : rc;
	if (result.too_much) {
		*w->e = result.why;
		return result.why.rc;
	}
	if (!result.blob_good || !result.content_known || !digest_equal(&result.content, state->diff_id)) {
		errno = EIO;
		return fail(w->e, RC_IO, "a layer reads differently than when it was checked");
	}
	return RC_OK;
}

static void ignore_difference(void *self, const struct layer_difference *d)
{
	(void)self;
	(void)d;
}

/* Looks at the finished work as survey would. */
static enum rc verify_rebuilt(struct applier *w, size_t backend, struct arena scratch)
{
	const struct backend *const b = &w->st->backends[backend];
	struct layer_verdict v = {0};
	struct layer_check *check = NULL;
	struct layer *l = NULL;
	auto_fd dir = -1;
	enum rc rc;

	if ((rc = os_open_dir(w->st->snapshots_dir, b->dir, &dir, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "snapshots/%s is gone", b->dir) : rc;
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct layer_target target = {.snapshot = dir,
		.recorded_inodes = b->inodes,
		.by_mount = state->by_mount,
		.origin = state->by_mount && state->proof != STORE_NONE};
	if ((rc = layer_open(&l, w->s->snapshots[backend].mode, &w->pace, &scratch, w->e)) ||
		(rc = layer_check_open(&check, l, &target, 1, &scratch, w->e)))
		return rc;
	const struct layer_watch watch = layer_check_watch(check);
	if ((rc = replay(w, backend, l, &watch, &scratch)) == RC_OK)
		rc = layer_check_finish(check, 0, &scratch, ignore_difference, NULL, &v, w->e);
	layer_check_close(check);
	if (rc)
		return rc;
	/* what could not be read before need not be readable now */
	if (v.damaged || v.count[DIFF_UNREADABLE] > w->s->snapshots[backend].unreadable) {
		errno = EIO;
		return fail(w->e, RC_IO, "snapshots/%s does not read back as it was written", b->dir);
	}
	return RC_OK;
}

/* From here until drop_intent the snapshot's directories may have times of today: rebuild_publish sets them last. A run that
 * finds the intent sets them again. */
static enum rc note_intent(struct applier *w, const char *id)
{
	struct place *const p = &w->places[0];
	char name[48];
	auto_fd fd = -1;
	enum rc rc;

	(void)print_to(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	if ((rc = open_staging(w, p)))
		return rc;
	rc = os_create(p->staging, name, 0600, &fd, w->e);
	if (rc == RC_END)
		return RC_OK; /* of the run that was cut off */
	return rc ? rc : os_fsync(p->staging, w->e);
}

static enum rc drop_intent(struct applier *w, const char *id)
{
	char name[48];
	enum rc rc;

	(void)print_to(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	rc = w->places[0].staging < 0 ? RC_END : os_unlink(w->places[0].staging, name, w->e);
	return rc == RC_END ? RC_OK : rc;
}

/* snapshots/ itself may be what was lost: as containerd makes it, and durable before anything is in it. */
static enum rc open_snapshots(struct applier *w)
{
	return w->st->snapshots_dir >= 0 ? RC_OK : open_or_make(w->st->overlay.dir, "snapshots", 0700, &w->st->snapshots_dir, w->e);
}

enum rc check_room(struct applier *w, int dir, uint64_t bytes, uint64_t inodes)
{
	uint64_t free_bytes = 0, free_inodes = 0;
	const uint64_t need = bytes + bytes / 20 + SPACE_MARGIN_BYTES;
	enum rc rc;

	/* XFS gives back what was removed some time after it (Linux 5.14 and later: fs/xfs/xfs_icache.c, inodegc) */
	while (!(rc = os_free(dir, &free_bytes, &free_inodes, w->e)) && (need > free_bytes || inodes + 16 > free_inodes) &&
		w->result->done && w->room_waits < ROOM_WAITS && !(rc = may_touch(w, w->e))) {
		w->room_waits++;
		os_sleep_ms(ROOM_WAIT_MS);
	}
	if (rc)
		return rc;
	if (need > free_bytes || inodes + 16 > free_inodes)
		return fail(w->e, RC_LIMIT,
			"it needs %llu MiB and %llu inodes, %llu MiB and %llu are free: make room and run again",
			(unsigned long long)(need >> 20) + 1, (unsigned long long)inodes + 16, (unsigned long long)(free_bytes >> 20),
			(unsigned long long)free_inodes);
	return RC_OK;
}

/* What is beneath is whole, as far as can be told: an implicit directory copies from the layers below. */
static bool stands_on_left(const struct applier *w, size_t backend)
{
	for (size_t at = w->st->backends[backend].parent_index; at != STORE_NONE; at = w->st->backends[at].parent_index)
		if (w->result->left_snapshot[at] || w->s->snapshots[at].verdict == SNAPSHOT_IS_UNREADABLE)
			return true;
	return false;
}

static enum rc rebuild_in(struct applier *w, size_t backend, int work, int snapshot_aside)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct backend *const b = &w->st->backends[backend];
	struct arena scratch = *w->keep;
	struct lowers lowers = {0};
	struct rebuild *r = NULL;
	struct layer *l = NULL;
	const uint8_t *bits = state->damaged_bits;
	enum rc rc;

	if ((rc = open_lowers(w, backend, &scratch, &lowers)))
		return rc;
	if (!bits && !state->whole_tree) { /* nothing but times */
		bits = arena_get(&scratch, (size_t)state->node_count / 8 + 1);
		if (!bits) {
			close_lowers(&lowers);
			return fail(w->e, RC_NOMEM, "no memory to rebuild snapshots/%s", b->dir);
		}
	}
	const struct rebuild_target target = {.snapshots = w->st->snapshots_dir,
		.id = b->dir,
		.mode = state->mode,
		.lower_fs = lowers.fd,
		.lower_count = lowers.count,
		.damaged_bits = state->whole_tree ? NULL : bits,
		.node_count = state->node_count,
		.staging = work,
		.aside = snapshot_aside,
		.all_times = true}; /* the cut took those of directories that lost nothing else */
	if ((rc = layer_open(&l, state->mode, &w->pace, &scratch, w->e)) == RC_OK &&
		(rc = rebuild_open(&r, l, &target, &scratch, w->e)) == RC_OK) {
		const struct layer_watch watch = rebuild_watch(r);
		rc = replay(w, backend, l, &watch, &scratch);
		if (rc == RC_OK) {
			w->published = true;
			rc = rebuild_publish(r, w->e);
		}
	}
	close_lowers(&lowers);
	rebuild_close(r);
	return rc;
}

enum rc rebuild_snapshot(struct applier *w, size_t backend)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct backend *const b = &w->st->backends[backend];
	struct place *p = NULL;
	char aside[48];
	auto_fd snapshot_aside = -1, work = -1;
	uint64_t number = 0;
	enum rc rc;

	if (stands_on_left(w, backend))
		return fail(w->e, RC_CORRUPT, "a layer below it could not be put back, or was not checked");
	if ((rc = may_touch(w, w->e)))
		return rc;
	(void)print_to(aside, sizeof(aside), "snapshot-%s", b->dir); /* fits */
	if ((rc = open_snapshots(w)) || (rc = place_of(w, w->st->snapshots_dir, &p)) ||
		(rc = check_room(w, w->st->snapshots_dir, state->rewrite_bytes, state->rewrite_inodes)) ||
		(rc = note_intent(w, b->dir)) || (rc = begin_work(w, p, &number, &work)) ||
		(rc = open_aside(w, p)) ||
		(rc = own_open_dir(p->aside, aside, &snapshot_aside, w->e)))
		return rc;
	rc = rebuild_in(w, backend, work, snapshot_aside);
	os_close(&work);
	os_close(&snapshot_aside);
	if (rc) {
		struct err more = {0}; /* the first reason is the one to tell */
		struct err *const outer = w->e;
		w->e = &more;
		if (!os_write_failed()) {
			enum rc swept = remove_staged(w, p, number);
			swept = swept ? swept : remove_unused_place(p->aside, aside, &more);
			if (!w->published && !os_write_failed())
				swept = drop_intent(w, b->dir);
			(void)swept; /* what stays there the next run finds */
		}
		w->e = outer;
		return rc;
	}
	if ((rc = remove_staged(w, p, number)))
		return rc;
	if ((rc = remove_unused_place(p->aside, aside, w->e)) == RC_END)
		rc = set_aside(w, p->aside, aside, aside);
	if (rc)
		return rc;
	struct arena check = *w->keep;
	if ((rc = verify_rebuilt(w, backend, check)))
		return rc;
	if ((rc = drop_intent(w, b->dir)))
		return rc;
	w->result->rebuilt++;
	w->result->written_bytes += state->rewrite_bytes;
	return RC_OK;
}

enum rc remove_snapshot(struct applier *w, size_t backend, bool aside)
{
	const char *const name = w->st->backends[backend].dir;
	struct stat st = {0};
	const enum rc rc = os_stat(w->st->snapshots_dir, name, &st, w->e);

	if (rc)
		return rc;
	if (!aside)
		return remove_tree(w, w->st->snapshots_dir, name);
	const char *const what = arena_printf(w->keep, "snapshot-%s", name);
	return what ? set_aside(w, w->st->snapshots_dir, name, what) : no_memory(w->e);
}
