/* SPDX-License-Identifier: MIT */
/* Whether the two databases and the directories are of one store. */
#include <dirent.h>
#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "store/loading.h"

/* seconds; between the stamps that the two databases give a snapshot when it is made lies a walk through its files at most */
#define KIN_S ((int64_t)3600)

/* A commit of which metadata.db has the end, and meta.db still the beginning: the key of the unpacking is gone, and under the next
 * number is the chain it was of. */
static bool is_half_committed(const struct store *st, const struct snapshot *s, uint64_t number, struct arena scratch)
{
	const struct span ns = st->namespaces[s->ns].name;
	const uint8_t *const space = s->key.left ? memchr(s->key.at, ' ', s->key.left) : NULL;
	const size_t before = space ? (size_t)(space - s->key.at) + 1 : s->key.left;
	const char *const key = space && ns.left < LIMIT_PATH_BYTES && s->key.left < LIMIT_PATH_BYTES
					? arena_printf(&scratch, "%.*s/%llu/%.*s", (int)ns.left, (const char *)ns.at,
						  (unsigned long long)number + 1, (int)(s->key.left - before),
						  (const char *)s->key.at + before)
					: NULL;
	/* without memory it is not proved */
	const size_t found = key ? store_find_backend(st, span_of_string(key)) : STORE_NONE;

	return found != STORE_NONE && st->backends[found].kind == SNAPSHOT_COMMITTED;
}

/* The names of meta.db's snapshots, looked for in metadata.db. Numbers are compared within a namespace, times of one snapshot only
 * with each other. */
static enum rc judge_kinship(struct store *st, bool behind, struct arena scratch)
{
	struct kinship k = {.behind = behind, .nothing = st->backend_count == 0 && st->overlay_sequence == 0};
	uint64_t *const last = arena_array(&scratch, st->namespace_count + 1, sizeof(*last));

	if (!last)
		return RC_NOMEM;
	for (size_t i = 0; i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		const size_t ns = b->user_key.left ? store_find_namespace(st, b->ns_name) : STORE_NONE;
		if (ns != STORE_NONE && b->number > last[ns])
			last[ns] = b->number;
	}
	for (size_t i = 0; i < st->stray_count; i++)
		k.ahead |= st->strays[i].kind == STRAY_SNAPSHOT_DIR && st->strays[i].id == st->overlay_sequence + 1;
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		struct backend name = {.key = s->name};
		const size_t found = store_find_backend(st, s->name);
		if (found != STORE_NONE) {
			const int64_t apart_s = (s->created_ns - st->backends[found].created_ns) / 1000000000;
			k.shared += s->created_ns && st->backends[found].created_ns && apart_s <= KIN_S && apart_s >= -KIN_S;
			continue;
		}
		split_backend_key(&name);
		k.missing++;
		k.newer += last[s->ns] <= name.number;
		k.shared += is_half_committed(st, s, name.number, scratch);
	}
	if (evidence_is_kin(&k))
		return RC_OK;
	return add_fault(st, OVERLAY_PATH, STORE_DB_UNRELATED,
		"%zu of %zu snapshots of meta.db are not in it, and nothing proves that they ever were: where root_path is set, use "
		"--config",
		k.missing, st->snapshot_count);
}

enum rc judge_sequences(struct store *st, struct arena scratch)
{
	uint64_t dir_max = 0;
	bool ahead_holds_data = false;
	struct stat there = {0};
	struct err ignored = {0}; /* what cannot be looked at proves nothing */
	enum rc rc = RC_OK;

	for (size_t i = 0; i < st->stray_count; i++) {
		if (st->strays[i].kind != STRAY_SNAPSHOT_DIR)
			continue;
		if (st->strays[i].id > dir_max)
			dir_max = st->strays[i].id;
		if (st->strays[i].id > st->overlay_sequence && !st->strays[i].empty)
			ahead_holds_data = true;
	}
	for (size_t i = 0; i < st->backend_count; i++)
		if (st->backends[i].id > st->overlay_sequence)
			rc = add_fault(st, OVERLAY_PATH, STORE_DB_ROLLED_BACK,
				"its counter says %llu, a snapshot in it has id %llu",
				(unsigned long long)st->overlay_sequence, (unsigned long long)st->backends[i].id);
	/* the directories may be aside already, when that was cut off */
	const bool cut_off = os_stat(st->overlay.dir, "metadata.db" STORE_NEW_SUFFIX, &there, &ignored) == RC_OK;
	const bool behind = dir_max > st->overlay_sequence + 1 || ahead_holds_data || cut_off;
	if (rc == RC_OK && cut_off && !st->hints->mended_overlay)
		rc = add_fault(st, OVERLAY_PATH, STORE_DB_ROLLED_BACK, "it was older than the directories, and its repair was cut off");
	else if (rc == RC_OK && behind && !cut_off)
		rc = add_fault(st, OVERLAY_PATH, STORE_DB_ROLLED_BACK,
			"its counter says %llu, the directory snapshots/%llu was made later: the database is older than the "
			"directories",
			(unsigned long long)st->overlay_sequence, (unsigned long long)dir_max);
	if (rc == RC_OK && st->backend_count == 0 && st->overlay_sequence == 0 && st->snapshot_count)
		rc = add_fault(st, OVERLAY_PATH, STORE_DB_ROLLED_BACK, "is empty, and meta.db has %zu snapshots in it",
			st->snapshot_count);
	/* a namespace that meta.db does not know may have been deleted, its snapshots not collected yet: only if meta.db knows
	 * none of them at all is that a sign of its age */
	size_t known = 0;
	for (size_t i = 0; i < st->namespace_count; i++)
		known += st->namespaces[i].overlay_sequence > 0;
	for (size_t i = 0; rc == RC_OK && i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		const size_t ns = b->user_key.left ? store_find_namespace(st, b->ns_name) : STORE_NONE;
		const uint64_t sequence = ns == STORE_NONE ? 0 : st->namespaces[ns].overlay_sequence;
		if (b->user_key.left && b->number > sequence + 1 && (ns != STORE_NONE || !known)) {
			char shown[100];
			(void)escape(shown, sizeof(shown), b->key); /* a cut name is still a name */
			rc = add_fault(st, META_PATH, STORE_DB_ROLLED_BACK,
				"its counter says %llu, metadata.db has %s: meta.db is older than metadata.db",
				(unsigned long long)sequence, shown);
			break;
		}
	}
	return rc || (st->hints->mended && (!behind || st->hints->mended_overlay)) ? rc : judge_kinship(st, behind, scratch);
}

enum rc judge_missing(struct store *st)
{
	const bool holds = st->blob_count || st->backend_count || st->stray_count;

	if (!st->meta.present && holds)
		return add_fault(st, META_PATH, STORE_DB_MISSING,
			"is not there, and the store holds %zu blobs and %zu snapshots", st->blob_count, st->backend_count);
	if (st->meta.present && st->schema == 0 && holds && st->fault_count == 0)
		return add_fault(st, META_PATH, STORE_DB_ROLLED_BACK,
			"is empty, and the store holds %zu blobs and %zu snapshots", st->blob_count, st->backend_count);
	if (st->overlay.dir < 0 && st->snapshot_count)
		st->overlay_elsewhere = true;
	else if (!st->overlay.present && st->snapshot_count)
		return add_fault(st, OVERLAY_PATH, STORE_DB_MISSING, "is not there, and meta.db has %zu snapshots in it",
			st->snapshot_count);
	return RC_OK;
}

/* seconds; a power cut takes what was written within the last minute or two, never what is older */
#define CUT_REACH_S ((int64_t)600)

/* Whether things were made over a longer time than a power cut can undo. Differences of one machine's stamps, no clock. */
struct span_of_time {
	int64_t first_ns, last_ns;
};

static void include_time(struct span_of_time *t, int64_t ns)
{
	if (ns && (!t->first_ns || ns < t->first_ns))
		t->first_ns = ns;
	if (ns > t->last_ns)
		t->last_ns = ns;
}

static bool outlasts_a_cut(const struct span_of_time *t)
{
	return (t->last_ns - t->first_ns) / 1000000000 > CUT_REACH_S;
}

/* What the databases describe must not be a link: we do not follow any. */
static enum rc judge_link(struct store *st, int parent, const char *name, const char *path, const char *what, size_t count,
	struct err *e)
{
	const enum rc rc = !count || st->fault_count ? RC_END : look_for_link(parent, name, e);

	return rc ? optional(rc)
		  : add_fault(st, path, STORE_DIR_UNUSABLE, "is a symbolic link, and the database has %zu %s: " FOLLOW_IT, count, what);
}

/* All gone that was made over a long time: a disk that is not mounted yet. */
static enum rc judge_dir(struct store *st, int parent, const char *name, const char *path, size_t found,
	const struct span_of_time *made, const char *what, size_t count, struct err *e)
{
	struct stat seen = {0};
	enum rc rc = judge_link(st, parent, name, path, what, count, e);

	if (rc || !count || st->fault_count || found || !outlasts_a_cut(made))
		return rc;
	rc = parent < 0 ? RC_END : os_stat(parent, name, &seen, e);
	if (rc && rc != RC_END)
		return rc;
	return add_fault(st, path, STORE_DIR_UNUSABLE, "%s, and the database has %zu %s: mount what belongs there",
		rc ? "is not there" : "is empty", count, what);
}

enum rc judge_content_proxy(struct store *st)
{
	for (size_t i = 0; (st->content_count || st->fault_count) && i < st->hints->known_count; i++) {
		const struct store_known *const k = &st->hints->known[i];
		if (k->content && leads_here(st, k->root))
			return add_fault(st, STORE_CONTENT_DIR, STORE_DIR_UNUSABLE,
				"may not be what holds the blobs: %s has proxy plugin %s for content, which this program cannot look into",
				k->file, k->content);
	}
	return RC_OK;
}

enum rc judge_dirs(struct store *st, struct err *e)
{
	struct span_of_time contents = {0}, snapshots = {0};
	size_t files = 0, dirs = 0;
	auto_fd content = -1;
	enum rc rc;

	files = st->blob_count;
	for (size_t i = 0; i < st->content_count; i++)
		include_time(&contents, st->contents[i].created_ns);
	for (size_t i = 0; i < st->backend_count; i++) {
		dirs += st->backends[i].dir_found;
		include_time(&snapshots, st->backends[i].created_ns);
	}
	/* anything made long after them proves them durable by then */
	int64_t last_ns = contents.last_ns > snapshots.last_ns ? contents.last_ns : snapshots.last_ns;
	for (size_t i = 0; i < st->container_count; i++)
		if (st->containers[i].created_ns > last_ns)
			last_ns = st->containers[i].created_ns;
	contents.last_ns = snapshots.last_ns = last_ns;
	if ((rc = open_optional_dir(st->dir, STORE_CONTENT_DIR, &content, e)) ||
		(rc = judge_dir(st, st->dir, STORE_CONTENT_DIR, STORE_CONTENT_DIR, files, &contents, "blobs", st->content_count,
			 e)) ||
		(rc = judge_dir(st, content, "blobs", STORE_CONTENT_DIR "/blobs", files, &contents, "blobs", st->content_count,
			 e)) ||
		(rc = judge_link(st, content, "ingest", STORE_CONTENT_DIR "/ingest", "downloads", st->ingest_record_count, e)) ||
		(rc = judge_link(st, st->dir, STORE_OVERLAY_DIR, STORE_OVERLAY_DIR, "snapshots", st->snapshot_count, e)))
		return rc;
	for (int kind = 0; kind < DIGEST_KINDS; kind++)
		if ((rc = judge_link(st, st->blobs, digest_name((enum digest_kind)kind),
			     store_blob_dir_path((enum digest_kind)kind), "blobs",
			     st->content_count, e)))
			return rc;
	if (st->hints->mended_overlay) /* all may be aside */
		return RC_OK;
	return judge_dir(st, st->overlay.dir, "snapshots", STORE_OVERLAY_DIR "/snapshots", dirs, &snapshots, "snapshots",
		st->backend_count, e);
}

enum rc judge_beside(struct store *st, struct err *e)
{
	enum rc rc = judge_content_proxy(st);

	if (rc || st->overlay.dir >= 0)
		return rc;
	rc = look_for_link(st->dir, STORE_OVERLAY_DIR, e);
	return rc ? optional(rc) : add_fault(st, STORE_OVERLAY_DIR, STORE_DIR_UNUSABLE, "is a symbolic link: " FOLLOW_IT);
}
