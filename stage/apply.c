/* SPDX-License-Identifier: MIT */
/* What holds at every instant, whatever is cut:
 *
 *   1. Bytes are durable before the name, or the record, that shows them.
 *   2. A record goes before the directory it names; a damaged blob goes before its records, because containerd adopts
 *      a file without a record unseen; and a container's own directory is set aside before its record goes, because the
 *      next run, or containerd, removes a directory that no record names.
 *   3. A database changes by one meta page, written after its pages were made durable, read back and compared, and after a
 *      verified copy of the whole file was made. meta.db before metadata.db: what the first no longer knows, the next run
 *      removes from the second.
 *   4. A damaged entry of a snapshot is replaced by a rename of a whole new one.
 *   5. What is removed is first renamed to a place of ours, or is a single unlink: no half-removed thing keeps its old name.
 *   6. Every action looks again, and does nothing if it was done.
 *
 * So after a cut the next run finds the rest, or a leftover of ours, and goes on. */
#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "feed.h"
#include "layer.h"
#include "os.h"
#include "os_write.h"
#include "own.h"
#include "rebuild.h"

#define COPY_BYTES ((size_t)1 << 20)
#define ASIDE_KEPT 64 /* entries of earlier runs in aside/ when one is added; the oldest go */

/* What a run of ours may need beside the content it writes: directories, journal of the file system. */
#define SPACE_MARGIN_BYTES ((uint64_t)4 << 20)

struct applier {
	struct plan *p;
	struct store *st;
	const struct survey *s;
	const struct apply_options *o;
	struct arena *keep;
	struct apply_result *result;
	struct err *e;
	int own, staging, aside; /* -1 until needed */
	uint64_t aside_first, aside_next; /* numbers: first of this run, next */
	bool aside_listed;
	uint64_t trash_next;
	bool published;   /* the rebuild under way has begun to rename */
	bool keep_intents; /* one that had is not done: its intent must be found by the next run */
	atomic_int idle;  /* processors, for feed */
	struct bolt_image meta, overlay;
};

/* ---- our own directories ---- */

static enum rc open_own(struct applier *w)
{
	return own_open_dir(w->st->dir, STORE_OWN_DIR, &w->own, w->e);
}

static enum rc open_staging(struct applier *w)
{
	const enum rc rc = open_own(w);
	return rc ? rc : own_open_dir(w->own, "staging", &w->staging, w->e);
}

/* ---- removing trees ---- */

/* Removes what is in one directory: files at once, directories by moving them up beside it, so that depth costs neither
 * descriptors nor stack. Never enters another file system. */
static enum rc empty_one(struct applier *w, int trash, const char *name, struct arena scratch, bool *moved)
{
	auto_fd dir = -1;
	struct os_name *names = NULL;
	struct stat here = {0}, inside = {0};
	size_t count = 0;
	enum rc rc;

	if ((rc = os_open_dir(trash, name, &dir, w->e)) || (rc = os_stat_fd(trash, &here, w->e)) ||
		(rc = os_stat_fd(dir, &inside, w->e)))
		return rc == RC_CORRUPT || rc == RC_END ? fail(w->e, RC_IO, "%s changed while it was removed", name) : rc;
	if (here.st_dev != inside.st_dev) {
		errno = EBUSY;
		return fail(w->e, RC_IO, "%s is a mount point", name);
	}
	if ((rc = os_list(dir, &scratch, &names, &count, w->e)))
		return rc;
	for (size_t i = 0; i < count; i++) {
		struct stat st = {0};
		if ((rc = os_stat(dir, names[i].name, &st, w->e)))
			return rc == RC_END ? fail(w->e, RC_IO, "%s changed while it was removed", name) : rc;
		if (S_ISDIR(st.st_mode)) {
			char up[32];
			(void)snprintf(up, sizeof(up), "t%llu", (unsigned long long)w->trash_next++); /* fits */
			rc = os_rename_new(dir, names[i].name, trash, up, w->e);
			*moved = true;
		} else {
			rc = os_unlink(dir, names[i].name, w->e);
		}
		if (rc)
			return rc == RC_END ? fail(w->e, RC_IO, "%s changed while it was removed", name) : rc;
	}
	return RC_OK;
}

/* Removes everything in staging/, intents only if told. A cut leaves staging/ behind, which is a finding of the next run. */
static enum rc empty_staging(struct applier *w, bool intents)
{
	struct os_name *names = NULL;
	struct arena scratch = *w->keep;
	size_t count = 0;
	enum rc rc;
	bool again = true;

	if ((rc = open_staging(w)))
		return rc;
	while (again) {
		struct arena round = scratch;
		again = false;
		if ((rc = os_list(w->staging, &round, &names, &count, w->e)))
			return rc;
		for (size_t i = 0; i < count; i++) { /* of a run that was cut off: no name is taken twice */
			uint64_t number = 0;
			if (names[i].name[0] == 't' && parse_decimal(span_of_string(names[i].name + 1), &number) == RC_OK &&
				number >= w->trash_next)
				w->trash_next = number + 1;
		}
		for (size_t i = 0; i < count; i++) {
			struct stat st = {0};
			if ((rc = os_stat(w->staging, names[i].name, &st, w->e)))
				return rc == RC_END ? fail(w->e, RC_IO, "staging changed while it was removed") : rc;
			if (!S_ISDIR(st.st_mode))
				continue;
			if ((rc = empty_one(w, w->staging, names[i].name, round, &again)))
				return rc;
		}
		for (size_t i = 0; i < count; i++) {
			struct stat st = {0};
			if (!intents && strncmp(names[i].name, STORE_INTENT, sizeof(STORE_INTENT) - 1) == 0)
				continue;
			if ((rc = os_stat(w->staging, names[i].name, &st, w->e)))
				return rc == RC_END ? fail(w->e, RC_IO, "staging changed while it was removed") : rc;
			rc = S_ISDIR(st.st_mode) ? os_rmdir(w->staging, names[i].name, w->e)
						 : os_unlink(w->staging, names[i].name, w->e);
			if (rc)
				return rc;
		}
	}
	return RC_OK;
}

/* The place that a rebuild made in aside/ for what is in its way. RC_END: something is in it. */
static enum rc remove_unused_place(int aside, const char *name, struct err *e)
{
	const enum rc rc = os_rmdir(aside, name, e);

	if (rc == RC_IO && (e->sys_errno == ENOTEMPTY || e->sys_errno == EEXIST)) {
		*e = (struct err){0};
		return RC_END;
	}
	return rc == RC_END ? RC_OK : rc;
}

/* Places that a rebuild made in aside/ and had no use for, before it was cut off. */
static enum rc sweep_aside(struct applier *w)
{
	struct arena scratch = *w->keep;
	struct os_name *names = NULL;
	auto_fd aside = -1;
	size_t count = 0;
	enum rc rc = os_open_dir(w->own, "aside", &aside, w->e);

	if (rc == RC_OK)
		rc = os_list(aside, &scratch, &names, &count, w->e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat st = {0};
		if (strncmp(names[i].name, "snapshot-", 9) != 0)
			continue;
		if (!(rc = os_stat(aside, names[i].name, &st, w->e)) && S_ISDIR(st.st_mode))
			rc = remove_unused_place(aside, names[i].name, w->e);
		if (rc == RC_END)
			rc = RC_OK;
	}
	return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
}

/* Removes staging/ itself, empty by then, last: as long as it is there, the next run comes here again. */
static enum rc close_staging(struct applier *w)
{
	enum rc rc;

	if (w->staging < 0)
		return RC_OK;
	if ((rc = sweep_aside(w)))
		return rc;
	os_close(&w->staging);
	if (w->keep_intents)
		return RC_OK; /* with the intents of what is not done */
	rc = os_rmdir(w->own, "staging", w->e);
	return rc == RC_END ? RC_OK : rc;
}

/* Out of sight in one step, then gone. */
static enum rc remove_tree(struct applier *w, int dir, const char *name)
{
	char trash[32];
	enum rc rc;

	if ((rc = empty_staging(w, false))) /* of a run that was cut off: no name is taken twice */
		return rc;
	(void)snprintf(trash, sizeof(trash), "t%llu", (unsigned long long)w->trash_next++); /* fits */
	if ((rc = os_rename_new(dir, name, w->staging, trash, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "staging/%s is in the way", trash) : rc;
	if ((rc = os_fsync(dir, w->e)))
		return rc;
	return empty_staging(w, false);
}

/* ---- setting aside ---- */

/* aside/<number>-<what>; of those that earlier runs left the oldest go when there are too many. */
static enum rc set_aside(struct applier *w, int dir, const char *name, const char *what)
{
	struct arena scratch = *w->keep;
	struct os_name *names = NULL;
	size_t count = 0;
	char to[LIMIT_NAME_BYTES + 1];
	enum rc rc;

	if ((rc = open_own(w)) || (rc = own_open_dir(w->own, "aside", &w->aside, w->e)) ||
		(rc = os_list(w->aside, &scratch, &names, &count, w->e)))
		return rc;
	uint64_t low = 0;
	char oldest[LIMIT_NAME_BYTES + 1] = ""; /* the list does not outlive a removal */
	for (size_t i = 0; i < count; i++) {
		uint64_t number = 0;
		const size_t digits = strcspn(names[i].name, "-");
		if (!names[i].name[digits] || parse_decimal(span_of(names[i].name, digits), &number))
			continue;
		if (number >= w->aside_next)
			w->aside_next = number + 1;
		if ((!w->aside_listed || number < w->aside_first) && (!*oldest || number < low)) {
			low = number;
			(void)snprintf(oldest, sizeof(oldest), "%s", names[i].name); /* as long as a name can be */
		}
	}
	if (!w->aside_listed)
		w->aside_first = w->aside_next;
	w->aside_listed = true;
	if (count >= ASIDE_KEPT && *oldest && (rc = remove_tree(w, w->aside, oldest)))
		return rc;
	(void)snprintf(to, sizeof(to), "%llu-%s", (unsigned long long)w->aside_next++, what); /* a cut name is still one */
	if ((rc = os_rename_new(dir, name, w->aside, to, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "aside/%s is in the way", to) : rc;
	w->result->used_aside = true;
	/* both ends: without the second, a cut could show it in neither place */
	return (rc = os_fsync(w->aside, w->e)) ? rc : os_fsync(dir, w->e);
}

/* ---- databases ---- */

static enum rc add_edits(struct bolt_edit *t, const struct edits *edits, struct err *e)
{
	for (size_t i = 0; i < edits->count; i++) {
		const struct edit *const edit = &edits->at[i];
		const enum rc rc = edit->kind == EDIT_PUT ? bolt_edit_put(t, &edit->path, edit->value, e)
							  : bolt_edit_remove(t, &edit->path, e);
		if (rc)
			return rc == RC_END ? fail(e, RC_CORRUPT, "an edit does not fit the database") : rc;
	}
	return RC_OK;
}

/* Computed before anything is written: an edit that cannot be made stops the whole run. */
static enum rc prepare_edit(struct applier *w, struct database *d, const struct edits *edits, struct bolt_image *image)
{
	struct bolt_edit *t = NULL;
	enum rc rc;

	if (!edits->count)
		return RC_OK;
	if ((rc = bolt_edit_begin(&t, &d->bolt, w->keep, w->e)) || (rc = add_edits(t, edits, w->e)) ||
		(rc = bolt_edit_make(t, image, w->e)))
		return rc;
	return RC_OK;
}

static enum rc compare_written(struct applier *w, int fd, uint64_t at, struct span want, const char *path)
{
	struct arena scratch = *w->keep;
	uint8_t *const buf = arena_get(&scratch, COPY_BYTES);

	if (!buf)
		return fail(w->e, RC_NOMEM, "no memory to read back %s", path);
	(void)posix_fadvise(fd, (off_t)at, (off_t)want.left, POSIX_FADV_DONTNEED); /* only a hint */
	for (size_t done = 0; done < want.left;) {
		const size_t n = want.left - done < COPY_BYTES ? want.left - done : COPY_BYTES;
		size_t got = 0;
		const enum rc rc = os_read(fd, at + done, buf, n, &got, w->e);
		if (rc)
			return rc;
		if (got != n || memcmp(buf, want.at + done, n) != 0) {
			errno = EIO;
			return fail(w->e, RC_IO, "%s does not read back as it was written", path);
		}
		done += n;
	}
	return RC_OK;
}

/* Before the meta page is durable: the old database, perhaps with pages behind it that nothing refers to. After: the new.
 * A torn meta page fails its checksum, and the other one still shows the old. */
static enum rc write_database(struct applier *w, const struct database *d, const char *file, const struct bolt_image *image)
{
	auto_fd fd = -1;
	struct stat st = {0};
	enum rc rc;

	if (!image->changed)
		return RC_OK;
	if ((rc = os_open_write(d->dir, file, &fd, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", d->path) : rc;
	if ((rc = os_stat_fd(fd, &st, w->e)))
		return rc;
	if ((uint64_t)st.st_size < image->file_bytes && (rc = os_truncate(fd, image->file_bytes, w->e)))
		return rc;
	if ((rc = os_write(fd, image->append_at, image->append.at, image->append.left, w->e)) || (rc = os_fsync(fd, w->e)) ||
		(rc = compare_written(w, fd, image->append_at, image->append, d->path)) ||
		(rc = os_write(fd, image->meta_at, image->meta_page.at, image->meta_page.left, w->e)) ||
		(rc = os_fsync(fd, w->e)))
		return rc;
	return compare_written(w, fd, image->meta_at, image->meta_page, d->path);
}

/* ---- content ---- */

static const char *hex_of(const struct digest *d, char text[DIGEST_TEXT_BYTES])
{
	digest_format(d, text);
	return strchr(text, ':') + 1;
}

static enum rc remove_blob(struct applier *w, size_t index, bool aside)
{
	const struct blob *const b = &w->st->blob_files[index];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&b->digest, text);
	auto_fd dir = -1;
	enum rc rc = store_open_blob_dir(w->st, b->digest.kind, &dir, w->e);

	if (rc)
		return rc == RC_END ? RC_OK : rc;
	if (aside)
		return set_aside(w, dir, hex, hex);
	rc = os_unlink(dir, hex, w->e);
	if (rc && rc != RC_END)
		return rc;
	return os_fsync(dir, w->e);
}

static enum rc open_or_make(int parent, const char *name, mode_t mode, int *fd, struct err *e)
{
	enum rc rc = os_open_dir(parent, name, fd, e);

	if (rc != RC_END)
		return rc == RC_CORRUPT ? fail(e, RC_IO, "%s is no directory", name) : rc;
	if ((rc = os_mkdir(parent, name, mode, e)) && rc != RC_END)
		return rc;
	if ((rc = os_fsync(parent, e)))
		return rc;
	return os_open_dir(parent, name, fd, e);
}

/* The bytes were verified; they are made durable, sealed, and then take their name. Replaces a damaged blob of that name. */
static enum rc finish_ingest(struct applier *w, size_t index)
{
	const struct ingest *const in = &w->st->ingests[index];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&in->expected, text);
	auto_fd content = -1, blobs = -1, algorithm = -1, dir = -1, data = -1;
	enum rc rc;

	rc = os_open_dir(w->st->ingest_dir, (const char *)in->name.at, &dir, w->e);
	if (rc == RC_OK)
		rc = os_open_file(dir, "data", &data, w->e);
	if (rc)
		return rc == RC_END ? RC_OK : rc == RC_CORRUPT ? fail(w->e, RC_IO, "ingest/%s changed", in->name.at) : rc;
	if ((rc = os_chmod(dir, "data", 0444, w->e)) || (rc = os_fsync(data, w->e)) ||
		(rc = os_open_dir(w->st->dir, STORE_CONTENT_DIR, &content, w->e)) ||
		(rc = open_or_make(content, "blobs", 0755, &blobs, w->e)) ||
		(rc = open_or_make(blobs, digest_name(in->expected.kind), 0755, &algorithm, w->e)) ||
		(rc = os_rename(dir, "data", algorithm, hex, w->e)) || (rc = os_fsync(algorithm, w->e)))
		return rc;
	if (w->st->blobs < 0) /* it was lost as well: whoever reads the blob next finds it here */
		w->st->blobs = take_fd(&blobs);
	return os_fsync(dir, w->e);
}

/* containerd goes on at the end of the data. A cut leaves it longer, and the next run does this again. */
static enum rc cut_ingest(struct applier *w, size_t index)
{
	const char *const name = (const char *)w->st->ingests[index].name.at;
	auto_fd dir = -1, data = -1;
	enum rc rc = os_open_dir(w->st->ingest_dir, name, &dir, w->e);

	if (rc == RC_OK)
		rc = os_open_write(dir, "data", &data, w->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "ingest/%s changed", name) : rc;
	rc = os_truncate(data, w->s->ingests[index].settled_bytes, w->e);
	return rc ? rc : os_fsync(data, w->e);
}

static enum rc remove_ingest(struct applier *w, size_t index)
{
	struct stat st = {0};
	const char *const name = (const char *)w->st->ingests[index].name.at;
	const enum rc rc = os_stat(w->st->ingest_dir, name, &st, w->e);

	return rc == RC_END ? RC_OK : rc ? rc : remove_tree(w, w->st->ingest_dir, name);
}

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
		return fail(w->e, RC_NOMEM, "no memory for the layers below");
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
	const struct feed_options options = {.hash_content = true, .idle = &w->idle};
	struct feed_result result = {0};
	struct feed *feed = NULL;
	struct tar *tar = NULL;
	enum rc rc = feed_open(&feed, w->st, state->proof, &options, a, w->e);

	if (rc == RC_OK && (rc = feed_tar(feed, &tar, w->e)) == RC_OK && (rc = layer_replay(l, tar, watch, w->e)) == RC_OK)
		rc = feed_finish(feed, true, &result, w->e);
	feed_close(feed);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "a layer changed since it was checked") : rc;
	if (!result.blob_good || !result.content_known || !digest_equal(&result.content, &state->diff_id)) {
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
	const struct layer_target target = {.snapshot = dir, .recorded_inodes = b->inodes};
	if ((rc = layer_open(&l, w->s->snapshots[backend].mode, &scratch, w->e)) ||
		(rc = layer_check_open(&check, l, &target, 1, &scratch, w->e)))
		return rc;
	const struct layer_watch watch = layer_check_watch(check);
	if ((rc = replay(w, backend, l, &watch, &scratch)) == RC_OK)
		rc = layer_check_finish(check, 0, &scratch, ignore_difference, NULL, &v, w->e);
	layer_check_close(check);
	if (rc)
		return rc;
	/* what could not be read before need not be readable now */
	if (v.damaged || v.count[DIFF_UNREADABLE] > w->s->snapshots[backend].layer.count[DIFF_UNREADABLE]) {
		errno = EIO;
		return fail(w->e, RC_IO, "snapshots/%s does not read back as it was written", b->dir);
	}
	return RC_OK;
}

/* From here until drop_intent the snapshot's directories may have times of today: rebuild_publish sets them last. A run that
 * finds the intent sets them again. */
static enum rc note_intent(struct applier *w, const char *id)
{
	char name[48];
	auto_fd fd = -1;
	enum rc rc;

	(void)snprintf(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	rc = os_create(w->staging, name, 0600, &fd, w->e);
	if (rc == RC_END)
		return RC_OK; /* of the run that was cut off */
	return rc ? rc : os_fsync(w->staging, w->e);
}

static enum rc drop_intent(struct applier *w, const char *id)
{
	char name[48];
	enum rc rc;

	(void)snprintf(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	rc = os_unlink(w->staging, name, w->e);
	return rc == RC_END ? RC_OK : rc;
}

/* snapshots/ itself may be what was lost: as containerd makes it, and durable before anything is in it. */
static enum rc open_snapshots(struct applier *w)
{
	return w->st->snapshots_dir >= 0 ? RC_OK : open_or_make(w->st->overlay.dir, "snapshots", 0700, &w->st->snapshots_dir, w->e);
}

static enum rc rebuild_snapshot(struct applier *w, size_t backend)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct backend *const b = &w->st->backends[backend];
	struct arena scratch = *w->keep;
	struct lowers lowers = {0};
	struct rebuild *r = NULL;
	struct layer *l = NULL;
	char aside[48];
	auto_fd snapshot_aside = -1;
	enum rc rc;

	(void)snprintf(aside, sizeof(aside), "snapshot-%s", b->dir); /* fits */
	if ((rc = open_snapshots(w)) || (rc = empty_staging(w, false)) || (rc = note_intent(w, b->dir)) ||
		(rc = own_open_dir(w->own, "aside", &w->aside, w->e)) ||
		(rc = own_open_dir(w->aside, aside, &snapshot_aside, w->e)) || (rc = open_lowers(w, backend, &scratch, &lowers)))
		return rc;
	const uint8_t *bits = state->layer.damaged_bits;
	if (!bits && !state->whole_tree) { /* nothing but times */
		bits = arena_get(&scratch, (size_t)state->layer.node_count / 8 + 1);
		if (!bits)
			return fail(w->e, RC_NOMEM, "no memory to rebuild snapshots/%s", b->dir);
	}
	const struct rebuild_target target = {.snapshots = w->st->snapshots_dir,
		.id = b->dir,
		.mode = state->mode,
		.lower_fs = lowers.fd,
		.lower_count = lowers.count,
		.damaged_bits = state->whole_tree ? NULL : bits,
		.node_count = state->layer.node_count,
		.staging = w->staging,
		.aside = snapshot_aside,
		.all_times = true}; /* the cut took those of directories that lost nothing else */
	if ((rc = layer_open(&l, state->mode, &scratch, w->e)) == RC_OK &&
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
	if (rc)
		return rc;
	if ((rc = empty_staging(w, false)))
		return rc;
	os_close(&snapshot_aside);
	if ((rc = remove_unused_place(w->aside, aside, w->e)) == RC_END)
		rc = set_aside(w, w->aside, aside, aside);
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

static enum rc remove_snapshot(struct applier *w, size_t backend, bool aside)
{
	const char *const name = w->st->backends[backend].dir;
	struct stat st = {0};
	const enum rc rc = os_stat(w->st->snapshots_dir, name, &st, w->e);

	if (rc)
		return rc == RC_END ? RC_OK : rc;
	if (!aside)
		return remove_tree(w, w->st->snapshots_dir, name);
	const char *const what = arena_printf(w->keep, "snapshot-%s", name);
	return what ? set_aside(w, w->st->snapshots_dir, name, what) : fail(w->e, RC_NOMEM, "no memory");
}

/* ---- the rest ---- */

static enum rc open_path(struct applier *w, const char *path, int *fd)
{
	auto_fd at = -1;
	enum rc rc = os_open_dir(w->st->dir, ".", &at, w->e);

	while (rc == RC_OK && *path) {
		char part[LIMIT_NAME_BYTES + 1];
		const size_t n = strcspn(path, "/");
		int next = -1;
		if (n >= sizeof(part))
			return fail(w->e, RC_LIMIT, "name too long");
		memcpy(part, path, n);
		part[n] = 0;
		path += n + (path[n] == '/');
		rc = os_open_dir(at, part, &next, w->e);
		os_close(&at);
		at = next;
	}
	if (rc == RC_OK)
		*fd = take_fd(&at);
	return rc == RC_CORRUPT ? RC_END : rc;
}

static enum rc remove_stray(struct applier *w, size_t index, bool aside)
{
	const struct stray *const s = &w->st->strays[index];
	struct stat st = {0};
	auto_fd dir = -1;
	enum rc rc;

	if ((rc = open_path(w, s->dir, &dir)) || (rc = os_stat(dir, s->name, &st, w->e)))
		return rc == RC_END ? RC_OK : rc;
	if (aside) {
		const char *const what = s->kind == STRAY_SNAPSHOT_DIR ? arena_printf(w->keep, "snapshot-%s", s->name) : s->name;
		return what ? set_aside(w, dir, s->name, what) : fail(w->e, RC_NOMEM, "no memory");
	}
	if (s->kind == STRAY_TMPMOUNT)
		rc = os_rmdir(dir, s->name, w->e); /* never more: it could be mounted on */
	else if (S_ISDIR(st.st_mode))
		return remove_tree(w, dir, s->name);
	else
		rc = os_unlink(dir, s->name, w->e);
	return rc && rc != RC_END ? rc : os_fsync(dir, w->e);
}

/* containerd's own words for a container whose task is gone after a reboot (containerd 2.3: internal/cri/store/container/
 * status.go): exited, 255, "Unknown". */
static enum rc write_status(struct applier *w, const struct state_file *f, int dir)
{
	const long long created = (long long)w->st->containers[f->container].created_ns;
	const char *const json = arena_printf(w->keep,
		"{\"Version\":\"v1\",\"Pid\":0,\"CreatedAt\":%lld,\"StartedAt\":%lld,\"FinishedAt\":%lld,\"ExitCode\":255,"
		"\"Reason\":\"Unknown\",\"Message\":\"\"}",
		created, created, created ? created : 1);
	auto_fd fd = -1;
	enum rc rc;

	if (!json)
		return fail(w->e, RC_NOMEM, "no memory");
	if ((rc = empty_staging(w, false)))
		return rc;
	if ((rc = os_create(w->staging, "status", 0600, &fd, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "staging/status is in the way") : rc;
	if ((rc = os_write(fd, 0, json, strlen(json), w->e)) || (rc = os_fsync(fd, w->e)) ||
		(rc = os_rename(w->staging, "status", dir, "status", w->e)))
		return rc;
	return os_fsync(dir, w->e);
}

static enum rc mend_state_file(struct applier *w, size_t index)
{
	const struct state_file *const f = &w->st->state_files[index];
	auto_fd dir = -1;
	enum rc rc = open_path(w, f->dir, &dir);

	if (rc)
		return rc == RC_END ? RC_OK : rc;
	if (f->kind == STATE_CRI_STATUS)
		return write_status(w, f, dir);
	rc = os_unlink(dir, f->name, w->e);
	return rc && rc != RC_END ? rc : os_fsync(dir, w->e);
}

/* ---- room ---- */

static enum rc check_room(struct applier *w)
{
	uint64_t free_bytes = 0, free_inodes = 0, need = 0;
	const enum rc rc = os_free(w->st->dir, &free_bytes, &free_inodes, w->e);

	if (rc)
		return rc;
	need = w->p->write_bytes + w->p->write_bytes / 20 + SPACE_MARGIN_BYTES;
	need += w->meta.changed ? w->st->meta.src.size + w->meta.append.left : 0;
	need += w->overlay.changed ? w->st->overlay.src.size + w->overlay.append.left : 0;
	/* what only removes needs next to nothing, and may be the way out of a full disk */
	if (w->p->write_bytes == 0 && !w->meta.changed && !w->overlay.changed)
		return RC_OK;
	if (need > free_bytes || w->p->write_inodes + 16 > free_inodes) {
		errno = ENOSPC;
		return fail(w->e, RC_IO,
			"the repair needs %llu MiB and %llu inodes, %llu MiB and %llu are free: make room and run again",
			(unsigned long long)(need >> 20) + 1, (unsigned long long)w->p->write_inodes + 16,
			(unsigned long long)(free_bytes >> 20), (unsigned long long)free_inodes);
	}
	return RC_OK;
}

static enum rc carry_out(struct applier *w, const struct action *a)
{
	switch (a->kind) {
	case ACTION_CLEAN_STAGING:
		return empty_staging(w, !w->keep_intents);
	case ACTION_REBUILD:
		return rebuild_snapshot(w, a->index);
	case ACTION_REMOVE_BLOB:
		return remove_blob(w, a->index, a->set_aside);
	case ACTION_FINISH_INGEST:
		return finish_ingest(w, a->index);
	case ACTION_EDIT_META:
		return write_database(w, &w->st->meta, "meta.db", &w->meta);
	case ACTION_EDIT_OVERLAY:
		return write_database(w, &w->st->overlay, "metadata.db", &w->overlay);
	case ACTION_CUT_INGEST:
		return cut_ingest(w, a->index);
	case ACTION_REMOVE_INGEST:
		return remove_ingest(w, a->index);
	case ACTION_ASIDE_SNAPSHOT:
	case ACTION_REMOVE_SNAPSHOT:
		return remove_snapshot(w, a->index, a->set_aside);
	case ACTION_REMOVE_STRAY:
		return remove_stray(w, a->index, a->set_aside);
	case ACTION_STATE_FILE:
		return mend_state_file(w, a->index);
	default:
		return RC_OK;
	}
}

static const char *phrase(enum action_kind k)
{
	switch (k) {
	case ACTION_REBUILD:
		return "putting files back";
	case ACTION_EDIT_META:
	case ACTION_EDIT_OVERLAY:
		return "changing databases";
	case ACTION_REMOVE_BLOB:
	case ACTION_CUT_INGEST:
	case ACTION_FINISH_INGEST:
		return "mending content";
	case ACTION_CLEAN_STAGING:
	case ACTION_REMOVE_INGEST:
	case ACTION_ASIDE_SNAPSHOT:
	case ACTION_REMOVE_SNAPSHOT:
	case ACTION_REMOVE_STRAY:
	case ACTION_STATE_FILE:
	default:
		return "removing leftovers";
	}
}

/* What could not be put back stays; told at each of its findings. */
static void leave_snapshot(struct applier *w, size_t backend, struct err *why)
{
	const char *const text = arena_printf(w->keep, "%s%s%s", why->text, why->sys_errno ? ": " : "",
		why->sys_errno ? strerror(why->sys_errno) : "");

	for (size_t i = 0; i < w->p->finding_count; i++) {
		struct finding *const f = &w->p->findings[i];
		if (f->subject == SUBJECT_BACKEND && f->index == backend && f->fate == FATE_REPAIR) {
			f->fate = FATE_LEFT;
			f->left = text ? text : "it could not be rebuilt";
		}
	}
	for (size_t i = 0; i < w->st->image_count; i++) {
		struct image_state *const image = &w->p->images[i];
		size_t at = image->top == STORE_NONE ? STORE_NONE : w->st->snapshots[image->top].backend;
		while (at != STORE_NONE && at != backend)
			at = w->st->backends[at].parent_index;
		if (at == backend) {
			image->verdict = IMAGE_IS_UNVERIFIED;
			image->why = "files of it are damaged and could not be put back";
		}
	}
	w->p->something_left = true;
	w->result->failed[backend] = true;
	*why = (struct err){0};
}

/* An implicit directory copies from the layers below: a snapshot is rebuilt only on those that are whole, as far as can be told. */
static bool stands_on_failed(const struct applier *w, size_t backend)
{
	for (size_t at = w->st->backends[backend].parent_index; at != STORE_NONE; at = w->st->backends[at].parent_index)
		if (w->result->failed[at] || w->s->snapshots[at].verdict == SNAPSHOT_IS_UNREADABLE)
			return true;
	return false;
}

/* Before the first change: a database whose copy cannot be made must not lose what refers to blobs removed by then. */
static enum rc back_up(struct applier *w)
{
	enum rc rc = RC_OK;

	if (w->meta.changed)
		rc = own_copy_database(w->own, &w->st->meta, "meta.db", *w->keep, w->e);
	if (rc == RC_OK && w->overlay.changed)
		rc = own_copy_database(w->own, &w->st->overlay, "overlayfs-metadata.db", *w->keep, w->e);
	if (rc == RC_OK && (w->meta.changed || w->overlay.changed))
		w->result->backup = STORE_OWN_DIR "/" OWN_BACKUP_DIR;
	return rc;
}

enum rc apply_plan(struct plan *p, struct store *st, const struct survey *s, const struct apply_options *o,
	struct arena *keep, struct apply_result *result, struct err *e)
{
	struct applier applier = {.p = p,
		.st = st,
		.s = s,
		.o = o,
		.keep = keep,
		.result = result,
		.e = e,
		.idle = o->threads > 1,
		.own = -1,
		.staging = -1,
		.aside = -1};
	struct applier *const w = &applier;
	struct progress progress = {.total_bytes = p->write_bytes};
	enum rc rc;

	*result = (struct apply_result){0};
	if (p->action_count == 0)
		return RC_OK;
	result->failed = arena_array(keep, st->backend_count + 1, sizeof(*result->failed));
	if (!result->failed)
		return fail(e, RC_NOMEM, "no memory to repair");
	if ((rc = prepare_edit(w, &st->meta, &p->meta, &w->meta)) ||
		(rc = prepare_edit(w, &st->overlay, &p->overlay, &w->overlay)) || (rc = check_room(w)) ||
		(rc = open_own(w)) || (rc = back_up(w)))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < p->action_count; i++) {
		const struct arena mark = *keep;
		if (o->stop && *o->stop) {
			result->interrupted = true;
			break;
		}
		progress.what = phrase(p->actions[i].kind);
		progress.done_bytes = result->written_bytes;
		if (o->progress)
			o->progress(o->self, &progress);
		w->published = false;
		rc = p->actions[i].kind == ACTION_REBUILD && stands_on_failed(w, p->actions[i].index)
			     ? fail(e, RC_CORRUPT, "a layer below it could not be put back, or was not checked")
			     : carry_out(w, &p->actions[i]);
		*keep = mark;
		if (rc == RC_OK) {
			result->done++;
		} else if (p->actions[i].kind == ACTION_REBUILD && !os_write_failed()) {
			leave_snapshot(w, p->actions[i].index, e);
			w->keep_intents |= w->published;
			rc = empty_staging(w, false);
			if (rc == RC_OK && !w->published)
				rc = drop_intent(w, st->backends[p->actions[i].index].dir);
		}
	}
	if (rc == RC_OK)
		rc = close_staging(w);
	if (rc == RC_OK && result->done)
		rc = os_syncfs(st->dir, e); /* the removals too, so that a cut shows none of them again */
	os_close(&w->staging);
	os_close(&w->aside);
	os_close(&w->own);
	return rc;
}
