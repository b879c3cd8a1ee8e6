/* SPDX-License-Identifier: MIT */
/* Sources: how blobs come (containerd 1.6 to 2.1: plugins/content/local/writer.go, Commit: rename from ingest/<x>/data to
 * blobs/<algorithm>/<hex>), how snapshots do (core/snapshots/storage/bolt.go, CommitActive: metadata.db says committed after
 * everything was written), and that bbolt never writes a page which the two newest transactions can reach (bbolt 1.4.3: tx.go, Commit). */
#include "session/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "format/bolt.h"
#include "memory/identity.h"
#include "memory/journal.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "repair/settled.h"
#include "session/record_names.h"
#include "store/store.h"

/* blobs named by events; more are found by looking at all */
#define PENDING_MAX 1024
/* downloads followed at a time; others start over after a cut */
#define DOWNLOADS_MAX 32
/* snapshots with a larger number are not recorded; one bit each */
#define SNAPSHOT_IDS_MAX ((uint64_t)1 << 22)
/* tries to read a database that changes meanwhile, and between them */
#define DATABASE_TRIES 10
#define DATABASE_WAIT_MS 20
/* bytes; a journal that grew by more than itself and this is written anew */
#define GROWTH_BYTES ((uint64_t)256 << 10)
/* from one copy of the databases to the next, at least; behind the last change, so that it is of a whole pull; and at the latest */
#define COPY_DISTANCE_NS ((uint64_t)300 * 1000000000)
#define COPY_QUIET_NS ((uint64_t)10 * 1000000000)
#define COPY_WAIT_NS ((uint64_t)60 * 1000000000)
/* a blob that somebody may still write to is left for the next round, but no longer: containerd renames first, then sets the times and
 * takes the right to write away (containerd 2.3.4: plugins/content/local/writer.go), and may not have come to it on a busy machine */
#define COMMIT_NS ((uint64_t)2 * 1000000000)
#define PIECE_BYTES ((size_t)64 << 10)
/* bytes; of a download's name for itself, and longer ones are not recorded */
#define REF_MAX 4096

#define COMES (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct download {
	char name[80];
	uint64_t said, at; /* bytes recorded, and summed: a multiple of 32 */
	struct wide_sum sum;
	int watch; /* of data, for the next change; -1: none */
	bool there;
};

struct recorder {
	const char *path;
	const struct record_options *o;
	struct err *e;
	struct arena keep;   /* as long as the store is open */
	struct arena work;   /* of one round */

	int watch; /* inotify */
	int root, own, meta, content, blobs, ingest, overlay, snapshots;
	int kinds[DIGEST_KINDS];              /* blobs/<algorithm> */
	int parent_id, root_id, meta_id, meta_file_id, content_id, blobs_id, ingest_id, overlay_id, own_id, database_id;
	int kind_ids[DIGEST_KINDS];

	uint64_t whole_bytes;   /* of the journal when it was last written anew */
	uint8_t *seen;          /* snapshots that need not be recorded, by id */
	struct digest *pending;
	size_t pending_count, half_count; /* half_count: of the first, those that stay for the next round */
	struct download *downloads;
	struct span *doubtful; /* names of downloads that nobody can vouch for */
	size_t doubtful_count;
	struct recorded_names names;
	uint64_t uncopied_ns, changed_ns; /* the first and the last record since the databases were copied; 0: none */
	uint64_t copied_ns;		  /* or tried to */

	bool recording; /* else: waiting for something to change */
	bool reopen, look_at_all, database, named, ingests; /* named: meta.db has changed */
	uint64_t synced_ns;
	const char *said;
	struct journal journal; /* no lists */
};

/* ---- the store's places ---- */

static void say(struct recorder *r, const char *text)
{
	if (text != r->said)
		r->o->say(r->o->self, text);
	r->said = text;
}

static void close_store(struct recorder *r)
{
	int *const fds[] = {&r->watch, &r->root, &r->own, &r->meta, &r->content, &r->blobs, &r->ingest, &r->overlay, &r->snapshots};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		os_close(fds[i]);
	for (int k = 0; k < DIGEST_KINDS; k++) {
		os_close(&r->kinds[k]);
		r->kind_ids[k] = -1;
	}
	r->parent_id = r->root_id = r->meta_id = r->meta_file_id = -1;
	r->content_id = r->blobs_id = r->ingest_id = r->overlay_id = r->own_id = r->database_id = -1;
	r->recording = r->database = r->named = r->ingests = r->look_at_all = false;
	r->pending_count = r->doubtful_count = 0;
	record_names_close(&r->names);
	arena_close(&r->keep);
}

/* A part that may not be there yet. */
static enum rc open_part(struct recorder *r, int parent, const char *name, int *fd, int *id)
{
	enum rc rc = parent < 0 ? RC_END : os_open_dir(parent, name, fd, r->e);

	if (rc == RC_OK && id)
		rc = os_watch(r->watch, *fd, ".", COMES, id, r->e);
	return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
}

/* The length of the path of the directory that the root is in. */
static size_t parent_length(const struct recorder *r)
{
	size_t n = strlen(r->path);

	while (n > 1 && r->path[n - 1] == '/')
		n--;
	while (n > 1 && r->path[n - 1] != '/')
		n--;
	return n;
}

/* It tells when the root comes, and when it goes: a directory that is held does not. */
static enum rc watch_parent(struct recorder *r)
{
	char parent[LIMIT_PATH_BYTES];
	const size_t n = parent_length(r);
	auto_fd dir = -1;
	enum rc rc;

	if (!n || n >= sizeof(parent))
		return fail(r->e, RC_IO, "%s: not an absolute path", r->path);
	memcpy(parent, r->path, n);
	parent[n] = 0;
	rc = os_open_root(parent, &dir, r->e);
	if (rc == RC_OK)
		rc = os_watch(r->watch, dir, ".", COMES, &r->parent_id, r->e);
	return rc == RC_END ? fail(r->e, RC_IO, "neither %s nor the directory it would be in is there", r->path) : rc;
}

static enum rc open_places(struct recorder *r)
{
	enum rc rc;

	if ((rc = open_part(r, r->root, STORE_OWN_DIR, &r->own, &r->own_id)) ||
		(rc = open_part(r, r->root, STORE_META_DIR, &r->meta, &r->meta_id)) ||
		(rc = open_part(r, r->root, STORE_CONTENT_DIR, &r->content, &r->content_id)) ||
		(rc = open_part(r, r->content, "blobs", &r->blobs, &r->blobs_id)) ||
		(rc = open_part(r, r->content, "ingest", &r->ingest, &r->ingest_id)) ||
		(rc = open_part(r, r->root, STORE_OVERLAY_DIR, &r->overlay, &r->overlay_id)) ||
		(rc = open_part(r, r->overlay, "snapshots", &r->snapshots, NULL)))
		return rc;
	for (int k = 0; k < DIGEST_KINDS; k++)
		if ((rc = open_part(r, r->blobs, digest_name((enum digest_kind)k), &r->kinds[k], &r->kind_ids[k])))
			return rc;
	return RC_OK;
}

/* Whether the journal may be continued, and if not, why not yet. */
static enum rc read_journal(struct recorder *r, const char **why)
{
	struct journal_identity identity;
	struct journal j = {0};
	struct arena a;
	char boot_id[37] = "";
	enum rc rc = arena_open(&a, r->e);

	if (rc)
		return rc;
	*why = "waiting: no check was made since the machine started (containerd-fsck boot)";
	if (r->own < 0)
		goto out;
	if ((rc = journal_read(&j, r->own, &a, r->e)) || (rc = identity_read(&identity, r->root, a, r->e)) ||
		(rc = os_boot_id(boot_id, r->e)))
		goto out;
	if (!j.present || !journal_same_store(&j.identity, &identity) || strcmp(j.boot_id, boot_id) != 0 || !j.done)
		goto out;
	*why = "waiting: the check of this boot was skipped or failed, nothing is known of the store";
	if (j.mode == JOURNAL_SKIPPED || j.status > 4)
		goto out;
	*why = NULL;
	for (size_t i = 0; i < j.snapshot_count; i++)
		if (j.snapshots[i].id < SNAPSHOT_IDS_MAX)
			r->seen[j.snapshots[i].id / 8] |= (uint8_t)(1 << j.snapshots[i].id % 8);
	for (size_t i = 0; i < j.snapshot_doubt_count; i++)
		if (j.snapshot_doubts[i].id < SNAPSHOT_IDS_MAX)
			r->seen[j.snapshot_doubts[i].id / 8] |= (uint8_t)(1 << j.snapshot_doubts[i].id % 8);
	for (size_t i = 0; i < j.ingest_count; i++) {
		if (!j.ingests[i].held)
			continue;
		struct span *const name = arena_push(&r->keep, (void **)&r->doubtful, &r->doubtful_count, sizeof(*name));
		if (!name || (*name = arena_copy(&r->keep, j.ingests[i].name)).bad) {
			rc = no_memory(r->e);
			goto out;
		}
	}
	if ((rc = record_names_begin(&r->names, &j, r->e)))
		goto out;
	r->journal = j;
	r->journal.names = NULL;
	r->journal.name_count = 0;
	r->journal.blobs = r->journal.blob_doubts = NULL; /* they go with the arena */
	r->journal.snapshots = r->journal.snapshot_doubts = NULL;
	r->journal.ingests = NULL;
	r->journal.stuck = r->journal.ended = NULL;
	r->journal.stuck_count = r->journal.ended_count = 0;
	r->whole_bytes = 0; /* how much of it is said twice is not known */
out:
	arena_close(&a);
	return rc == RC_END ? RC_OK : rc;
}

static enum rc open_store(struct recorder *r)
{
	const char *why = NULL;
	enum rc rc;

	close_store(r);
	r->reopen = false;
	*r->e = (struct err){0};
	if ((rc = arena_open(&r->keep, r->e)) || (rc = os_watch_open(&r->watch, r->e)))
		return rc;
	r->seen = arena_array(&r->keep, SNAPSHOT_IDS_MAX / 8, 1);
	r->pending = arena_array(&r->keep, PENDING_MAX, sizeof(*r->pending));
	r->downloads = arena_array(&r->keep, DOWNLOADS_MAX, sizeof(*r->downloads));
	if (!r->seen || !r->pending || !r->downloads)
		return no_memory(r->e);
	if ((rc = watch_parent(r)))
		return rc;
	if ((rc = os_open_root(r->path, &r->root, r->e)) == RC_END) {
		say(r, "waiting: the store is not there yet");
		return RC_OK;
	}
	if (rc || (rc = os_watch(r->watch, r->root, ".", COMES, &r->root_id, r->e)))
		return rc == RC_END ? RC_OK : rc;
	if ((rc = open_places(r)) || (rc = read_journal(r, &why)))
		return rc;
	r->recording = !why;
	/* a boot's records may be written in place */
	if (why && r->own >= 0 && (rc = os_watch(r->watch, r->own, ".", COMES | IN_CLOSE_WRITE, &r->own_id, r->e)) && rc != RC_END)
		return rc;
	say(r, why ? why : "recording");
	r->look_at_all = r->database = r->named = r->ingests = r->recording;
	return RC_OK;
}

/* ---- events ---- */

static void see_event(struct recorder *r, const struct inotify_event *event)
{
	const struct span name = event->len ? span_of_string(event->name) : span_of("", 0);
	struct digest d;

	if (event->mask & IN_Q_OVERFLOW) {
		r->look_at_all = r->database = r->named = r->ingests = true;
		return;
	}
	for (int k = 0; k < DIGEST_KINDS; k++) {
		if (event->wd != r->kind_ids[k])
			continue;
		r->reopen |= (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
		if (!(event->mask & (IN_CREATE | IN_MOVED_TO)) || digest_parse_hex((enum digest_kind)k, name, &d))
			return;
		if (r->pending_count == PENDING_MAX)
			r->look_at_all = true;
		else
			r->pending[r->pending_count++] = d;
		return;
	}
	if (event->wd == r->database_id) {
		r->database = true;
	} else if (event->wd == r->meta_file_id) {
		r->named = true;
	} else if (event->wd == r->own_id) {
		/* somebody else wrote a journal; ours is told by its size */
		struct stat st = {0};
		struct err ignored = {0};
		r->reopen |= span_is(name, JOURNAL_NAME) && (os_stat(r->own, JOURNAL_NAME, &st, &ignored) || !r->recording ||
							      (uint64_t)st.st_size != r->journal.file_bytes);
		r->reopen |= (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
	} else if (event->wd == r->parent_id) {
		const char *const base = r->path + parent_length(r);
		r->reopen |= span_equal(name, span_of(base, strcspn(base, "/"))) || event->mask & (IN_DELETE_SELF | IN_MOVE_SELF);
	} else if (event->wd == r->root_id) {
		r->reopen |= (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) || span_is(name, STORE_OWN_DIR) ||
			     span_is(name, STORE_META_DIR) || span_is(name, STORE_CONTENT_DIR) || span_is(name, STORE_OVERLAY_DIR);
	} else if (event->wd == r->meta_id) {
		r->reopen |= (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
		r->named |= span_is(name, "meta.db");
	} else if (event->wd == r->overlay_id) {
		r->reopen |= (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) || span_is(name, "snapshots");
		r->database |= span_is(name, "metadata.db");
	} else if (event->wd == r->content_id || event->wd == r->blobs_id) {
		r->reopen = true;
	} else if (!(event->mask & IN_IGNORED)) {
		r->ingests = true; /* the directory of downloads, or one of them */
		r->reopen |= event->wd == r->ingest_id && event->mask & (IN_DELETE_SELF | IN_MOVE_SELF);
	}
}

static enum rc take_events(struct recorder *r)
{
	_Alignas(struct inotify_event) uint8_t room[4096];
	size_t got = 0;
	enum rc rc;

	while (!(rc = os_read_events(r->watch, room, sizeof(room), &got, r->e)) && got)
		for (size_t at = 0; at + sizeof(struct inotify_event) <= got;) {
			const struct inotify_event *const event = (const void *)(room + at);
			see_event(r, event);
			at += sizeof(*event) + event->len;
		}
	return rc;
}

/* Nanoseconds until the databases may be copied; 0: now. */
static uint64_t until_copy(const struct recorder *r)
{
	const uint64_t now = os_clock_ns();
	const uint64_t behind = min_u64(r->changed_ns + COPY_QUIET_NS, r->uncopied_ns + COPY_WAIT_NS);
	const uint64_t at = r->copied_ns && r->copied_ns + COPY_DISTANCE_NS > behind ? r->copied_ns + COPY_DISTANCE_NS : behind;

	return at > now ? at - now : 0;
}

static bool is_due(const struct recorder *r)
{
	return r->reopen || (r->recording && (r->look_at_all || r->database || r->named || r->ingests || r->pending_count ||
						     (r->uncopied_ns && !until_copy(r))));
}

/* ---- what is new ---- */

static enum rc put_blob(struct recorder *r, struct journal_writer *w, const struct digest *d, const struct journal *known)
{
	struct journal_blob record = {.digest = *d};
	char text[DIGEST_TEXT_BYTES];
	uint8_t head[STORE_HEAD_BYTES];
	struct stat st = {0};
	auto_fd fd = -1;
	size_t got = 0;

	digest_format(d, text);
	enum rc rc = os_open_file(r->kinds[d->kind], strchr(text, ':') + 1, &fd, r->e);
	if (rc == RC_OK)
		rc = os_stat_fd(fd, &st, r->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc; /* gone again */
	record.stamp = (struct journal_stamp){.inode = st.st_ino, .size = (uint64_t)st.st_size, .ctime_ns = os_ctime_ns(&st)};
	if (known && (journal_find_blob(known, d, &record.stamp) || journal_doubts_blob(known, d, record.stamp.inode)))
		return RC_OK;
	if (st.st_mode & 0222 && os_calendar_ns() - (uint64_t)record.stamp.ctime_ns < COMMIT_NS && r->half_count < PENDING_MAX) {
		r->pending[r->half_count++] = *d; /* not before the place that is read from */
		return RC_OK;
	}
	if (record.stamp.size <= LIMIT_JSON_BYTES) {
		struct err why = {0};
		if (os_read(fd, 0, head, sizeof(head), &got, &why))
			return RC_OK; /* what cannot be read is not vouched for */
		record.document = store_may_be_document(span_of(head, got));
	}
	journal_put_blob(w, &record, false);
	return RC_OK;
}

static enum rc put_all_blobs(struct recorder *r, struct journal_writer *w)
{
	struct journal known = {0};
	struct arena a;
	enum rc rc = arena_open(&a, r->e);

	if (rc)
		return rc;
	rc = journal_read(&known, r->own, &a, r->e);
	for (int k = 0; rc == RC_OK && k < DIGEST_KINDS; k++) {
		struct os_name *names = NULL;
		size_t count = 0;
		if (r->kinds[k] < 0)
			continue;
		rc = os_list(r->kinds[k], &a, &names, &count, r->e);
		for (size_t i = 0; rc == RC_OK && i < count; i++) {
			struct digest d;
			if (digest_parse_hex((enum digest_kind)k, span_of_string(names[i].name), &d) == RC_OK)
				rc = put_blob(r, w, &d, &known);
		}
	}
	arena_close(&a);
	return rc;
}

static enum rc put_blobs(struct recorder *r, struct journal_writer *w)
{
	enum rc rc = RC_OK;

	r->half_count = 0;
	if (r->look_at_all)
		rc = put_all_blobs(r, w);
	for (size_t i = 0; rc == RC_OK && !r->look_at_all && i < r->pending_count; i++)
		rc = put_blob(r, w, &r->pending[i], NULL);
	return rc;
}

/* What metadata.db says of one snapshot. RC_END: nothing to record. */
static enum rc put_snapshot(struct recorder *r, struct journal_writer *w, struct bolt *b, const struct bolt_item *item,
	struct arena scratch, uint64_t *id)
{
	struct journal_snapshot record = {.key = item->key};
	struct bolt_bucket bucket = {0};
	struct bolt_item value = {0};
	char name[24];
	struct stat st = {0};
	enum rc rc;

	if (!item->is_bucket || bolt_bucket_of(item, &bucket))
		return RC_END;
	if ((rc = bolt_get(b, &bucket, SPAN_LITERAL("kind"), &scratch, &value, r->e)))
		return rc;
	if (span_u8(&value.value) != SNAPSHOT_COMMITTED)
		return RC_END;
	if ((rc = bolt_get(b, &bucket, SPAN_LITERAL("id"), &scratch, &value, r->e)))
		return rc;
	record.id = *id = span_uvarint(&value.value);
	if (value.value.bad || record.id >= SNAPSHOT_IDS_MAX || r->seen[record.id / 8] & 1 << record.id % 8)
		return RC_END;
	(void)print_to(name, sizeof(name), "%llu", (unsigned long long)record.id); /* fits */
	if ((rc = os_stat(r->snapshots, name, &st, r->e)))
		return rc;
	if (!S_ISDIR(st.st_mode))
		return RC_END;
	record.stamp = (struct journal_stamp){.inode = st.st_ino, .ctime_ns = os_ctime_ns(&st)};
	journal_put_snapshot(w, &record, false);
	return RC_OK;
}

/* RC_CORRUPT: it changed meanwhile, or is no database. */
static enum rc walk_snapshots(struct recorder *r, struct journal_writer *w, int fd, struct arena *a, uint64_t **ids, size_t *count)
{
	struct bolt_fault fault;
	struct bolt b = {0}, again = {0};
	struct bolt_bucket bucket;
	struct bolt_cursor *cursor = NULL;
	struct bolt_item item = {0};
	struct src src;
	enum rc rc;

	if ((rc = os_src(fd, &src, r->e)) || (rc = bolt_open(&b, &src, a, &fault, r->e)))
		return rc;
	bucket = bolt_root(&b);
	static const char path[][10] = {"v1", "snapshots"};
	for (size_t i = 0; i < 2; i++) {
		rc = bolt_get(&b, &bucket, span_of_string(path[i]), a, &item, r->e);
		if (rc || (rc = bolt_bucket_of(&item, &bucket)))
			return rc == RC_END ? RC_OK : rc;
	}
	/* what it grows by must not be under what the ids are pushed into */
	struct arena walking;
	if ((rc = arena_open(&walking, r->e)))
		return rc;
	rc = bolt_cursor_open(&b, &bucket, &walking, &cursor, r->e);
	while (rc == RC_OK && (rc = bolt_cursor_next(cursor, &item, r->e)) == RC_OK) {
		uint64_t id = 0;
		rc = put_snapshot(r, w, &b, &item, *a, &id);
		uint64_t *const slot = rc == RC_OK ? arena_push(a, (void **)ids, count, sizeof(**ids)) : NULL;
		if (slot)
			*slot = id;
		else if (rc == RC_OK)
			rc = no_memory(r->e);
		if (rc == RC_END)
			rc = RC_OK;
	}
	arena_close(&walking);
	if (rc != RC_END)
		return rc;
	/* bbolt writes into pages that the last two transactions cannot reach: while the same one is the last, all we read was whole */
	if ((rc = os_src(fd, &src, r->e)) || (rc = bolt_open(&again, &src, a, &fault, r->e)))
		return rc;
	return again.meta[again.current].txid == b.meta[b.current].txid ? RC_OK : RC_CORRUPT;
}

static enum rc put_snapshots(struct recorder *r, struct journal_writer *w)
{
	enum rc rc = RC_OK;
	auto_fd fd = -1;

	const bool wanted = r->database;
	r->database = false;
	if (!wanted || r->overlay < 0 || r->snapshots < 0)
		return RC_OK;
	if ((rc = os_open_file(r->overlay, "metadata.db", &fd, r->e)) ||
		/* from here on a change is told, once */
		(rc = os_watch(r->watch, r->overlay, "metadata.db", IN_MODIFY | IN_ONESHOT, &r->database_id, r->e)))
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	for (unsigned i = 0; i < DATABASE_TRIES; i++) {
		const struct journal_writer before = *w;
		struct arena a;
		uint64_t *ids = NULL;
		size_t count = 0;
		if (i)
			os_sleep_ms(DATABASE_WAIT_MS);
		if ((rc = arena_open(&a, r->e)))
			return rc;
		rc = walk_snapshots(r, w, fd, &a, &ids, &count);
		for (size_t n = 0; rc == RC_OK && n < count; n++)
			r->seen[ids[n] / 8] |= (uint8_t)(1 << ids[n] % 8);
		arena_close(&a);
		if (rc != RC_CORRUPT)
			return rc;
		*r->e = (struct err){0};
		/* what was put meanwhile was read from pages in motion; the room it took may stay */
		w->used = before.used;
		w->number = before.number;
		w->snapshot_count = before.snapshot_count;
	}
	return RC_OK; /* busy, and then its next change is told already; or damaged, which boot finds */
}

static enum rc put_names(struct recorder *r, struct journal_writer *w)
{
	enum rc rc = RC_OK;
	auto_fd fd = -1;

	const bool wanted = r->named;
	r->named = false;
	if (!wanted || r->meta < 0)
		return RC_OK;
	if ((rc = os_open_file(r->meta, "meta.db", &fd, r->e)) ||
		(rc = os_watch(r->watch, r->meta, "meta.db", IN_MODIFY | IN_ONESHOT, &r->meta_file_id, r->e)))
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	for (unsigned i = 0; i < DATABASE_TRIES; i++) {
		if (i)
			os_sleep_ms(DATABASE_WAIT_MS);
		rc = record_names_put(&r->names, fd, w, r->e);
		if (rc != RC_CORRUPT && rc != RC_LIMIT)
			return rc;
		*r->e = (struct err){0};
		if (rc == RC_LIMIT)
			break;
	}
	return RC_OK; /* busy, or damaged, as in put_snapshots; or too many */
}

/* Of what was recorded: a copy that cannot be made now is made the next time. */
static void copy_databases(struct recorder *r)
{
	struct err ignored = {0};
	struct arena scratch;

	if (!r->recording || r->reopen || !r->uncopied_ns || until_copy(r) || arena_open(&scratch, &ignored))
		return;
	if (settled_copy(r->own, r->meta, r->overlay, scratch, &ignored) == RC_END) {
		r->uncopied_ns = r->changed_ns = os_clock_ns(); /* it goes on */
	} else {
		r->uncopied_ns = 0;
		r->copied_ns = os_clock_ns();
	}
	arena_close(&scratch);
}

/* ---- downloads ---- */

static struct download *download_of(struct recorder *r, const char *name)
{
	struct download *free_one = NULL;

	for (size_t i = 0; i < DOWNLOADS_MAX; i++) {
		struct download *const d = &r->downloads[i];
		if (strcmp(d->name, name) == 0)
			return d;
		if (!*d->name && !free_one)
			free_one = d;
	}
	if (free_one && strlen(name) < sizeof(free_one->name)) {
		*free_one = (struct download){.watch = -1};
		memcpy(free_one->name, name, strlen(name) + 1);
		wide_sum_begin(&free_one->sum);
		return free_one;
	}
	return NULL;
}

static enum rc put_download(struct recorder *r, struct journal_writer *w, const char *name, uint8_t *piece)
{
	struct err why = {0};
	struct arena scratch = r->work;
	struct span ref = {0};
	auto_fd dir = -1, data = -1;
	struct stat st = {0};
	size_t got = 0;
	enum rc rc;

	const struct span key = span_of_string(name);
	if (r->doubtful_count && bsearch(&key, r->doubtful, r->doubtful_count, sizeof(key), compare_spans))
		return RC_OK;
	struct download *const d = download_of(r, name);
	if (!d)
		return RC_OK;
	d->there = true;
	/* first what tells of the next change, then the look */
	if ((rc = os_open_dir(r->ingest, name, &dir, r->e)))
		return rc;
	rc = os_watch(r->watch, dir, "data", IN_MODIFY | IN_ONESHOT, &d->watch, r->e);
	if (rc == RC_END)
		return os_watch(r->watch, dir, ".", IN_CREATE | IN_ONESHOT | IN_ONLYDIR, &d->watch, r->e);
	if (rc || (rc = os_open_file(dir, "data", &data, r->e)) || (rc = os_stat_fd(data, &st, r->e)))
		return rc;
	const uint64_t size = (uint64_t)st.st_size;
	if (size == d->said)
		return RC_OK;
	if (size < d->said || size < d->at) { /* it began anew */
		d->at = 0;
		wide_sum_begin(&d->sum);
	}
	/* containerd writes ref before data; what has none, or another's, is on its way out, and nobody can say what its bytes are of */
	if (os_read_small(dir, "ref", REF_MAX, &scratch, &ref, &why) || !store_ref_fits(ref, name))
		return RC_END;
	struct wide_sum sum = d->sum;
	for (uint64_t at = d->at; at < size; at += got) {
		if (os_read(data, at, piece, (size_t)min_u64(PIECE_BYTES, size - at), &got, &why) || !got)
			return RC_END; /* what cannot be read is not vouched for; or it is shorter again */
		wide_sum_add(&sum, piece, got);
		if (got % 32 == 0) { /* goes on here the next time */
			d->sum = sum;
			d->at = at + got;
		}
	}
	d->said = size;
	journal_put_ingest(
		w, &(struct journal_ingest){.name = span_of_string(name), .ref = ref, .size = size, .sum = wide_sum_end(&sum)});
	return RC_OK;
}

static enum rc put_downloads(struct recorder *r, struct journal_writer *w)
{
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc;

	const bool wanted = r->ingests;
	r->ingests = false;
	if (!wanted || r->ingest < 0)
		return RC_OK;
	for (size_t i = 0; i < DOWNLOADS_MAX; i++)
		r->downloads[i].there = false;
	uint8_t *const piece = arena_get(&r->work, PIECE_BYTES);
	rc = piece ? os_list(r->ingest, &r->work, &names, &count, r->e) : no_memory(r->e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		rc = put_download(r, w, names[i].name, piece);
		if (rc == RC_END || rc == RC_CORRUPT)
			rc = RC_OK; /* gone, or no download */
	}
	for (size_t i = 0; i < DOWNLOADS_MAX; i++)
		if (*r->downloads[i].name && !r->downloads[i].there) { /* its data may be a blob now, and live for long */
			os_unwatch(r->watch, r->downloads[i].watch);
			r->downloads[i].name[0] = 0;
		}
	return rc;
}

/* ---- a round ---- */

static enum rc sync_places(struct recorder *r)
{
	struct arena scratch = r->work;
	struct err late = {0};
	const int fds[] = {r->root, r->blobs, r->ingest, r->overlay, r->snapshots};
	struct own_synced s = {0};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < sizeof(fds) / sizeof(fds[0]); i++)
		rc = own_sync(&s, fds[i], r->e);
	for (int k = 0; rc == RC_OK && k < DIGEST_KINDS; k++)
		rc = own_sync(&s, r->kinds[k], r->e);
	/* told once: the next one would succeed, and what was lost still reads well until the power goes */
	if (rc && journal_distrust(&r->journal, r->own, scratch, &late))
		*r->e = late;
	return rc;
}

/* A directory that is held and was removed cannot be listed: the store is on its way out, and looked up again. */
static enum rc unless_gone(struct recorder *r, enum rc rc)
{
	if (rc != RC_IO || r->e->sys_errno != ENOENT || r->root < 0)
		return rc;
	*r->e = (struct err){0};
	r->reopen = true;
	say(r, "waiting: the store is being removed");
	return RC_OK;
}

/* The same journal without what no longer holds. What it is of was made durable before. */
static enum rc compact(struct recorder *r)
{
	struct journal_identity identity;
	struct journal_writer w;
	struct journal j = {0};
	struct arena a;
	enum rc rc = arena_open(&a, r->e);

	if (rc)
		return rc;
	if ((rc = journal_read(&j, r->own, &a, r->e)) || !j.present || j.valid_bytes != r->journal.valid_bytes) {
		r->reopen = true; /* somebody else wrote it */
		goto out;
	}
	rc = unless_gone(r, identity_read(&identity, r->root, a, r->e));
	if (rc || r->reopen || (rc = sync_places(r)))
		goto out;
	struct stat then = {0}, now = {0};
	if ((rc = os_stat(r->own, JOURNAL_NAME, &then, r->e)))
		goto out;
	journal_begin(&w, &identity, &a);
	for (size_t i = 0; i < j.blob_count; i++) {
		char text[DIGEST_TEXT_BYTES];
		struct stat st = {0};
		digest_format(&j.blobs[i].digest, text);
		const int dir = r->kinds[j.blobs[i].digest.kind];
		if (dir >= 0 && os_stat(dir, strchr(text, ':') + 1, &st, r->e) == RC_OK && st.st_ino == j.blobs[i].stamp.inode &&
			os_ctime_ns(&st) == j.blobs[i].stamp.ctime_ns)
			journal_put_blob(&w, &j.blobs[i], false);
	}
	for (size_t i = 0; i < j.snapshot_count; i++) {
		char name[24];
		struct stat st = {0};
		(void)print_to(name, sizeof(name), "%llu", (unsigned long long)j.snapshots[i].id); /* fits */
		if (r->snapshots >= 0 && os_stat(r->snapshots, name, &st, r->e) == RC_OK && st.st_ino == j.snapshots[i].stamp.inode)
			journal_put_snapshot(&w, &j.snapshots[i], false);
	}
	for (size_t i = 0; i < j.ingest_count; i++)
		if (r->ingest >= 0 && os_stat(r->ingest, (const char *)j.ingests[i].name.at, &now, r->e) == RC_OK)
			journal_put_ingest(&w, &j.ingests[i]);
	for (size_t i = 0; i < j.name_count; i++)
		journal_put_name(&w, &j.names[i]);
	for (size_t i = 0; i < j.blob_doubt_count; i++)
		journal_put_blob(&w, &j.blob_doubts[i], true);
	for (size_t i = 0; i < j.snapshot_doubt_count; i++)
		journal_put_snapshot(&w, &j.snapshot_doubts[i], true);
	for (size_t i = 0; i < j.stuck_count; i++)
		journal_put_stuck(&w, &j.stuck[i]);
	journal_put_boot(&w, j.boot_id, j.mode, j.status);
	if (j.mode == JOURNAL_CHECKED || j.mode == JOURNAL_FORCED)
		journal_put_done(&w, j.status);
	if ((rc = os_stat(r->own, JOURNAL_NAME, &now, r->e)))
		goto out;
	if (then.st_ino != now.st_ino || (uint64_t)now.st_size != r->journal.file_bytes) {
		r->reopen = true;
		goto out;
	}
	if ((rc = journal_commit(&w, r->own, r->e)))
		goto out;
	r->journal.records = w.number;
	r->journal.valid_bytes = r->journal.file_bytes = r->whole_bytes = w.used;
out:
	arena_close(&a);
	return rc == RC_END ? RC_OK : rc; /* it is gone: the event says so */
}

/* First the look, then the sync, then the record: what is recorded was durable before. */
static enum rc settle(struct recorder *r)
{
	struct journal_writer w;
	enum rc rc = arena_open(&r->work, r->e);

	if (rc)
		return rc;
	*r->e = (struct err){0};
	journal_continue(&w, &r->journal, &r->keep);
	const struct arena mark = r->keep;
	if ((rc = put_blobs(r, &w)) || (rc = put_snapshots(r, &w)) || (rc = put_downloads(r, &w))) {
		rc = unless_gone(r, rc);
		goto out;
	}
	r->look_at_all = false;
	r->pending_count = r->half_count;
	const bool objects = w.used;
	if ((rc = put_names(r, &w)) || !w.used) {
		rc = unless_gone(r, rc);
		goto out;
	}
	r->changed_ns = os_clock_ns();
	r->uncopied_ns = r->uncopied_ns ? r->uncopied_ns : r->changed_ns;
	if (objects) { /* a name vouches for nothing */
		r->synced_ns = os_clock_ns();
		if ((rc = sync_places(r)))
			goto out;
	}
	rc = journal_append_settled(&r->journal, r->own, &w, r->e);
	if (rc == RC_END) {
		r->reopen = true;
		rc = RC_OK;
	} else if (rc == RC_OK && r->journal.valid_bytes > 2 * r->whole_bytes + GROWTH_BYTES) {
		rc = compact(r);
	}
out:
	r->keep = mark;
	arena_close(&r->work);
	return rc;
}

static enum rc work(struct recorder *r)
{
	enum rc rc = unless_gone(r, open_store(r));
	uint64_t now = 0;

	os_notify("READY=1");
	while (rc == RC_OK) {
		if (!is_due(r) && !*r->o->stop)
			os_wait(r->watch, r->recording && r->uncopied_ns ? (int64_t)(until_copy(r) / 1000000 + 1) : -1, r->o->stop);
		if ((rc = take_events(r)) || (!is_due(r) && !*r->o->stop))
			continue;
		if (r->reopen && !*r->o->stop) {
			rc = unless_gone(r, open_store(r));
			if (r->reopen)
				os_wait(-1, (int64_t)(r->o->interval_ns / 1000000 + 1), r->o->stop);
			continue;
		}
		/* all that comes until then is one round's */
		const uint64_t due = r->synced_ns + r->o->distance_ns;
		now = os_clock_ns();
		const uint64_t wait = r->synced_ns && due > now + r->o->interval_ns ? due - now : r->o->interval_ns;
		for (const uint64_t end = now + wait; !*r->o->stop && (now = os_clock_ns()) < end;)
			os_wait(-1, (int64_t)((end - now) / 1000000 + 1), r->o->stop);
		if ((rc = take_events(r)) == RC_OK && r->recording && !r->reopen)
			rc = settle(r);
		if (rc == RC_OK)
			copy_databases(r);
		if (*r->o->stop)
			break;
	}
	return rc;
}

enum rc record_run(const char *root, const struct record_options *o, struct err *e)
{
	struct recorder r = {.path = root, .o = o, .e = e, .watch = -1, .root = -1, .own = -1, .meta = -1, .content = -1, .blobs = -1,
		.ingest = -1, .overlay = -1, .snapshots = -1};

	for (int k = 0; k < DIGEST_KINDS; k++)
		r.kinds[k] = r.kind_ids[k] = -1;
	const enum rc rc = work(&r);
	close_store(&r);
	return rc;
}
