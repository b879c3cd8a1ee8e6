/* SPDX-License-Identifier: MIT */
#include "store/store.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ground/os.h"
#include "store/loading.h"

enum rc go_on(const struct store *st, struct err *e)
{
	return pace_on(st->hints->pace, 4 * (uint64_t)PACE_CALL, e);
}

size_t labels_from(const struct labels *l, const char *key)
{
	size_t low = 0, high = l->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (span_compare(l->at[middle].key, span_of_string(key)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct span *labels_get(const struct labels *l, const char *key)
{
	const size_t i = labels_from(l, key);

	return i < l->count && span_is(l->at[i].key, key) ? &l->at[i].value : NULL;
}

/* The databases of snapshotters we leave alone must be sound too: containerd opens them, and whoever edits meta.db beside
 * a broken one makes things worse. */
static enum rc check_other_snapshotters(struct store *st, struct arena scratch, struct err *e)
{
	static const char prefix[] = "io.containerd.snapshotter.v1.";
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = os_list(st->dir, &scratch, &names, &count, e);

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		auto_fd dir = -1;
		struct database d = {.dir = -1, .fd = -1};
		if (strncmp(names[i].name, prefix, sizeof(prefix) - 1) != 0 || strcmp(names[i].name, STORE_OVERLAY_DIR) == 0)
			continue;
		rc = os_open_dir(st->dir, names[i].name, &dir, e);
		if (rc == RC_CORRUPT || rc == RC_END) {
			rc = RC_OK;
			continue;
		}
		const char *const path = arena_printf(st->keep, "%s/metadata.db", names[i].name);
		if (rc == RC_OK)
			rc = path ? open_database(st, &d, dir, "metadata.db", path, scratch, e) : no_memory(e);
		os_close(&d.fd);
	}
	return rc;
}

/* ---- directories ---- */

enum rc add_stray(struct store *st, const char *dir, const char *name, enum stray_kind kind, bool is_directory,
	bool empty, struct err *e)
{
	struct stray *const s = PUSH(st, strays, stray_count);
	char *const kept = arena_string(st->keep, span_of_string(name));

	if (!s || !kept)
		return no_memory(e);
	*s = (struct stray){.dir = dir, .name = kept, .kind = kind, .is_directory = is_directory, .empty = empty};
	return RC_OK;
}

/* ---- putting it together ---- */

void link_blobs(struct store *st)
{
	for (size_t i = 0; i < st->blob_count; i++)
		st->blob_files[i].records = st->blob_files[i].recorded = 0;
	for (size_t i = 0; i < st->content_count; i++) {
		struct content *const c = &st->contents[i];
		c->blob = c->digest_known ? store_find_blob(st, &c->digest) : STORE_NONE;
		if (c->blob == STORE_NONE)
			continue;
		struct blob *const b = &st->blob_files[c->blob];
		b->records++;
		b->recorded = b->recorded ? b->recorded : c->size;
	}
}

/* A directory of a download, or a record of one. */
struct ref_holder {
	struct span ref;
	size_t dir, record; /* index, STORE_NONE for the other */
};

static int compare_ref_holders(const void *a, const void *b)
{
	const struct ref_holder *const x = a, *const y = b;

	return span_compare(x->ref, y->ref);
}

/* Downloads whose ref could not be read: their names are the hashes of that. */
static enum rc link_unread(struct store *st, struct arena scratch, struct err *e)
{
	struct ref_holder *const all = arena_array(&scratch, st->ingest_count + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return no_memory(e);
	for (size_t i = 0; i < st->ingest_count; i++)
		if (st->ingests[i].unreadable && !st->ingests[i].ref.left)
			all[n++] = (struct ref_holder){st->ingests[i].name, i, STORE_NONE};
	if (n)
		sort(all, n, sizeof(*all), compare_ref_holders);
	for (size_t k = 0; n && k < st->ingest_record_count; k++) {
		struct ingest_record *const r = &st->ingest_records[k];
		char text[DIGEST_TEXT_BYTES];
		const struct ref_holder key = {.ref = span_of_string(name_of_ref(r->ref, text))};
		const struct ref_holder *const found =
			r->dir == STORE_NONE ? bsearch(&key, all, n, sizeof(*all), compare_ref_holders) : NULL;
		if (!found)
			continue;
		r->dir = found->dir;
		st->ingests[found->dir].record = k;
	}
	return RC_OK;
}

/* By sorting: there may be as many of both as fit into memory, and all of one ref. */
static enum rc link_ingests(struct store *st, struct arena scratch, struct err *e)
{
	struct ref_holder *const all = arena_array(&scratch, st->ingest_count + st->ingest_record_count + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return no_memory(e);
	for (size_t i = 0; i < st->ingest_count; i++)
		if (st->ingests[i].ref.left)
			all[n++] = (struct ref_holder){st->ingests[i].ref, i, STORE_NONE};
	for (size_t i = 0; i < st->ingest_record_count; i++)
		all[n++] = (struct ref_holder){st->ingest_records[i].ref, STORE_NONE, i};
	sort(all, n, sizeof(*all), compare_ref_holders);
	for (size_t i = 0, next; i < n; i = next) {
		size_t dir = STORE_NONE, record = STORE_NONE; /* of several the last, in the order of the store's arrays */
		for (next = i; next < n && span_equal(all[next].ref, all[i].ref); next++) {
			if (all[next].dir != STORE_NONE && (dir == STORE_NONE || all[next].dir > dir))
				dir = all[next].dir;
			if (all[next].record != STORE_NONE && (record == STORE_NONE || all[next].record > record))
				record = all[next].record;
		}
		for (size_t k = i; k < next; k++)
			if (all[k].dir != STORE_NONE)
				st->ingests[all[k].dir].record = record;
			else
				st->ingest_records[all[k].record].dir = dir;
	}
	return RC_OK;
}

static enum rc link_records(struct store *st, struct arena scratch, struct err *e)
{
	link_blobs(st);
	for (size_t i = 0; i < st->snapshot_count; i++) {
		struct snapshot *const s = &st->snapshots[i];
		s->backend = store_find_backend(st, s->name);
		if (s->backend != STORE_NONE)
			st->backends[s->backend].snapshot = i;
	}
	const enum rc rc = link_ingests(st, scratch, e);
	return rc ? rc : link_unread(st, scratch, e);
}

enum rc open_optional_dir(int dir, const char *name, int *fd, struct err *e)
{
	const enum rc rc = os_open_dir(dir, name, fd, e);
	return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
}

enum rc look_for_link(int dir, const char *name, struct err *e)
{
	struct stat seen = {0};
	const enum rc rc = dir < 0 ? RC_END : os_stat(dir, name, &seen, e);

	return rc ? rc : S_ISLNK(seen.st_mode) ? RC_OK : RC_END;
}

/* Where the configuration has the overlayfs snapshotter: it is opened instead of that in the root. Two that say different things of
 * one root say nothing. */
static enum rc open_overlay(struct store *st, struct err *e)
{
	const struct store_hints *const h = st->hints;
	const char *path = NULL;
	bool known = false, same = true;

	for (size_t i = 0; i < h->known_count; i++) {
		const struct store_known *const k = &h->known[i];
		if (k->unknown || !leads_here(st, k->root))
			continue;
		same &= !known || (path && k->overlay ? strcmp(path, k->overlay) == 0 : path == k->overlay);
		path = k->overlay;
		known = true;
	}
	if (!path || !same)
		return open_optional_dir(st->dir, STORE_OVERLAY_DIR, &st->overlay.dir, e);
	char inside[LIMIT_PATH_BYTES];
	st->overlay_path = path;
	if (*h->sysroot) {
		const enum rc rc = os_resolve_in(h->sysroot, path, inside, e);
		if (rc)
			return optional(rc);
	}
	return optional(os_open_root(*h->sysroot ? inside : path, &st->overlay.dir, e));
}

static enum rc open_dirs(struct store *st, bool *is_root, struct err *e)
{
	auto_fd content = -1;
	enum rc rc;

	if ((rc = open_optional_dir(st->dir, STORE_META_DIR, &st->meta.dir, e)) || (rc = open_overlay(st, e)) ||
		(rc = open_optional_dir(st->dir, STORE_CONTENT_DIR, &content, e)))
		return rc;
	if (content >= 0 && ((rc = open_optional_dir(content, "blobs", &st->blobs, e)) ||
				    (rc = open_optional_dir(content, "ingest", &st->ingest_dir, e))))
		return rc;
	if (st->overlay.dir >= 0)
		rc = open_optional_dir(st->overlay.dir, "snapshots", &st->snapshots_dir, e);
	*is_root = st->meta.dir >= 0 || content >= 0 || st->overlay.dir >= 0;
	if (rc || st->meta.dir >= 0)
		return rc;
	rc = look_for_link(st->dir, STORE_META_DIR, e);
	st->meta_linked = rc == RC_OK;
	*is_root |= st->meta_linked;
	return optional(rc);
}

/* What the databases say, beside what store_open has found. */
static enum rc load(struct store *st, struct arena scratch, struct err *e)
{
	struct backend **by_id = NULL;
	struct loader meta = {.st = st, .scratch = scratch, .b = &st->meta.bolt, .e = e};
	struct loader overlay = {.st = st, .scratch = scratch, .b = &st->overlay.bolt, .e = e};
	enum rc rc;

	if ((st->meta.present && (rc = read_meta(&meta))) || (st->overlay.present && (rc = read_overlay(&overlay, &by_id))))
		return rc == RC_CORRUPT ? fail(e, RC_CORRUPT, "a record of the databases does not decode") : rc;
	if ((rc = read_snapshot_dirs(st, by_id, scratch, e)) || (rc = read_intents(st, by_id, scratch, e)))
		return rc;
	if (arena_refused(st->keep)) /* a name that could not be copied is empty, and what has it would be taken for another */
		return no_memory(e);
	if (st->hints->beside) { /* they are not of one moment: nothing is wrong if they do not agree */
		if (!st->fault_count && ((rc = judge_content_proxy(st)) || (rc = judge_dirs(st, e))))
			return rc;
		return st->fault_count ? RC_OK : link_records(st, scratch, e);
	}
	if (st->fault_count == 0 && (rc = judge_missing(st)))
		return rc;
	if (st->fault_count)
		return judge_beside(st, e);
	if ((rc = judge_content_proxy(st)) || (rc = judge_dirs(st, e)))
		return rc;
	if (st->fault_count == 0 && !st->overlay_elsewhere && (rc = judge_sequences(st, scratch)))
		return rc;
	if (st->fault_count)
		return RC_OK;
	if ((rc = link_records(st, scratch, e)))
		return rc;
	number_cri(st);
	if ((rc = find_prefixed(st, STORE_CONTENT_DIR, ".fsverity-check-", STRAY_PROBE, scratch, e)) ||
		(rc = find_prefixed(st, STORE_OVERLAY_DIR, "userxattr-check", STRAY_PROBE, scratch, e)) ||
		(rc = find_prefixed(st, STORE_OVERLAY_DIR, "multiple-lowerdir-check", STRAY_PROBE, scratch, e)) ||
		(rc = find_prefixed(st, "tmpmounts", "containerd-mount", STRAY_TMPMOUNT, scratch, e)) ||
		(rc = find_prefixed(st, STORE_OWN_DIR, "staging", STRAY_OWN, scratch, e)) ||
		(rc = find_prefixed(st, STORE_CONTENT_DIR "/" STORE_OWN_DIR, "staging", STRAY_OWN, scratch, e)) ||
		(rc = find_prefixed(st, STORE_OVERLAY_DIR "/" STORE_OWN_DIR, "staging", STRAY_OWN, scratch, e)) ||
		(rc = find_prefixed(st, STORE_OVERLAY_DIR "/snapshots/" STORE_OWN_DIR, "staging", STRAY_OWN, scratch, e)) ||
		(rc = read_state_files(st, scratch, e)))
		return rc;
	return judge_boot(st, scratch, e);
}

/* The lock before the first look at anything: whoever holds it is writing. */
static enum rc lock(struct store *st, enum store_refusal *refusal, struct arena scratch, struct err *e)
{
	const struct store_beside *const beside = st->hints->beside;
	auto_fd fd = -1;
	enum rc rc = beside || st->meta.dir < 0 ? RC_END : os_open_file(st->meta.dir, "meta.db", &fd, e);

	if (beside) {
		rc = beside->copy(beside->self, st->dir, st->overlay.dir, "metadata.db", &st->overlay.fd, scratch, e);
		return rc ? rc : beside->copy(beside->self, st->dir, st->meta.dir, "meta.db", &st->meta.fd, scratch, e);
	}
	if (rc == RC_END || rc == RC_CORRUPT)
		return RC_OK; /* store_read says what that means */
	if (rc == RC_OK && st->hints->meta_lock > 0) {
		struct stat a = {0}, b = {0};
		if ((rc = os_stat_fd(fd, &a, e)) || (rc = os_stat_fd(st->hints->meta_lock, &b, e)))
			return rc;
		if (a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
			os_close(&fd);
			st->meta.fd = os_dup(st->hints->meta_lock);
			return st->meta.fd < 0 ? fail(e, RC_IO, "no descriptor") : RC_OK;
		}
	}
	if (rc || (rc = os_lock(fd, e)) == RC_IO)
		return rc;
	if (rc == RC_END)
		*refusal = STORE_RUNNING;
	else
		st->meta.fd = take_fd(&fd);
	return RC_OK;
}

enum rc store_open(struct store *out, const char *path, const struct store_hints *hints, struct arena *keep, struct arena scratch,
	enum store_refusal *refusal, struct err *e)
{
	struct store st = {.path = path,
		.hints = hints,
		.dir = -1,
		.blobs = -1,
		.blob_dirs = {-1, -1, -1},
		.ingest_dir = -1,
		.snapshots_dir = -1,
		.keep = keep,
		.meta = {.dir = -1, .fd = -1, .path = META_PATH},
		.overlay = {.dir = -1, .fd = -1, .path = OVERLAY_PATH},
		.boot_evidence = ""};
	bool is_root = false;
	enum rc rc = os_open_root(path, &st.dir, e);

	*refusal = STORE_OPENED;
	if (rc == RC_END) {
		*refusal = STORE_NOT_THERE;
		return RC_OK;
	}
	if (rc == RC_OK)
		rc = open_dirs(&st, &is_root, e);
	if (rc == RC_OK && !is_root)
		*refusal = STORE_NOT_A_ROOT;
	else if (rc == RC_OK)
		rc = lock(&st, refusal, scratch, e);
	if (rc || *refusal != STORE_OPENED) {
		store_close(&st);
		*out = st;
		return rc;
	}
	if (!hints->may_be_half && store_is_half(&st)) {
		store_close(&st);
		return fail(e, RC_LIMIT, "repair --reset was cut off: containerd-fsck repair ends it");
	}
	st.read_only = os_is_read_only(st.dir);
	if ((st.listed = read_blobs(&st, scratch, &st.why_not)) == RC_OK && !hints->beside &&
		(st.listed = read_ingests(&st, scratch, &st.why_not)) == RC_OK)
		st.listed = read_foreigners(&st, scratch, &st.why_not);
	*out = st;
	return RC_OK;
}

bool store_is_half(const struct store *st)
{
	struct err ignored = {0}; /* what cannot be opened is no reset of ours */
	auto_fd half = -1;

	return store_open_path(st, STORE_OWN_DIR "/" STORE_RESET, &half, &ignored) == RC_OK;
}

/* Only the file that is locked, if there was one. */
static enum rc open_meta(struct store *st, struct arena scratch, struct err *e)
{
	auto_fd late = -1;
	const enum rc rc = st->meta.dir < 0	      ? RC_END
			   : st->meta.fd >= 0	      ? RC_OK
			   : st->hints->beside	      ? RC_END
						      : os_open_file(st->meta.dir, "meta.db", &late, e);

	if (late >= 0)
		return fail(e, RC_CORRUPT, META_PATH " has appeared meanwhile: stop containerd, and begin again");
	if (rc == RC_CORRUPT)
		return add_fault(st, META_PATH, STORE_DB_MISSING, "is not a regular file");
	if (rc)
		return optional(rc);
	return open_database(st, &st->meta, st->meta.dir, "meta.db", META_PATH, scratch, e);
}

enum rc store_read(struct store *st, struct arena scratch, struct err *e)
{
	enum rc rc = RC_OK;

	if (st->meta_linked) /* nor is the lock in it taken */
		return optional(add_fault(st, STORE_META_DIR, STORE_DIR_UNUSABLE, "is a symbolic link: " FOLLOW_IT));
	if ((rc = open_meta(st, scratch, e)) ||
		(st->overlay.dir >= 0 && (!st->hints->beside || st->overlay.fd >= 0) &&
			(rc = open_database(st, &st->overlay, st->overlay.dir, "metadata.db", OVERLAY_PATH, scratch, e))) ||
		(!st->hints->beside && (rc = check_other_snapshotters(st, scratch, e))))
		return rc;
	if (st->fault_count) { /* nothing more can be believed */
		struct err why = {0};
		struct loader meta = {.st = st, .scratch = scratch, .b = &st->meta.bolt, .e = &why};
		struct bolt_bucket v1 = {0};
		rc = st->meta.bolt.page_size ? judge_schema(&meta, &v1) : RC_OK;
		if (!rc || rc == RC_END || rc == RC_CORRUPT) /* where it is broken it says nothing */
			return judge_beside(st, e);
		*e = why;
		return rc;
	}
	if (st->listed) {
		*e = st->why_not;
		return st->listed;
	}
	return load(st, scratch, e);
}

void store_close(struct store *st)
{
	os_close(&st->snapshots_dir);
	os_close(&st->ingest_dir);
	for (int kind = 0; kind < DIGEST_KINDS; kind++)
		os_close(&st->blob_dirs[kind]);
	os_close(&st->blobs);
	os_close(&st->overlay.fd);
	os_close(&st->overlay.dir);
	os_close(&st->meta.fd);
	os_close(&st->meta.dir);
	os_close(&st->dir);
}
