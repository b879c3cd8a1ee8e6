/* SPDX-License-Identifier: MIT */
#include "session/seal.h"

#include <string.h>

#include "memory/at.h"
#include "format/bolt.h"
#include "memory/identity.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "repair/settled.h"

#define SNAPSHOTTER_PREFIX "io.containerd.snapshotter.v1."

/* bytes; kept free when databases are copied */
#define COPY_MARGIN_BYTES ((uint64_t)16 << 20)

/* ---- making it durable ---- */

/* Parts of a store may be mounts of their own: syncfs reaches one file system. */
static enum rc sync_all(const struct store *st, struct arena scratch, struct err *e)
{
	struct own_synced s = {0};
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc;

	if ((rc = own_sync(&s, st->dir, e)) || (rc = own_sync(&s, st->meta.dir, e)) || (rc = own_sync(&s, st->blobs, e)) ||
		(rc = own_sync(&s, st->ingest_dir, e)) || (rc = own_sync(&s, st->overlay.dir, e)) ||
		(rc = own_sync(&s, st->snapshots_dir, e)) || (rc = os_list(st->dir, &scratch, &names, &count, e)))
		return rc;
	for (int kind = 0; kind < DIGEST_KINDS; kind++) {
		auto_fd dir = -1;
		rc = store_open_blob_dir(st, (enum digest_kind)kind, &dir, e);
		if ((rc && rc != RC_END) || (rc = own_sync(&s, dir, e)))
			return rc;
	}
	for (size_t i = 0; i < count; i++) {
		auto_fd dir = -1;
		if (strncmp(names[i].name, SNAPSHOTTER_PREFIX, sizeof(SNAPSHOTTER_PREFIX) - 1) != 0)
			continue;
		rc = os_open_dir(st->dir, names[i].name, &dir, e);
		if ((rc && rc != RC_END && rc != RC_CORRUPT) || (rc = own_sync(&s, dir, e)))
			return rc;
	}
	return RC_OK;
}

/* What a failed sync leaves: no marker, neither of now nor of an earlier stop. */
static enum rc sync_or_distrust(const struct store *st, struct journal *j, int own, struct arena scratch, struct err *e)
{
	const enum rc rc = sync_all(st, scratch, e);
	struct err late = {0};

	if (rc && j->present && journal_distrust(j, own, scratch, &late))
		*e = late;
	return rc;
}

/* A journal that was not committed to its end may be there all the same. */
static void take_marker_back(int own, struct arena scratch, struct err *e)
{
	struct journal j = {0};
	struct err late = {0};

	if (journal_read(&j, own, &scratch, &late) || (j.present && j.clean && journal_distrust(&j, own, scratch, &late)))
		*e = late;
}

/* ---- the inventory ---- */

struct sealer {
	const struct store *st;
	const struct seal_check *check; /* NULL: at shutdown */
	const struct journal *journal;  /* of before */
	const bool *rebuilt; /* by backend: put right in this run */
	struct journal_writer *out;
	struct seal_result *result;
	struct err *e;
	bool unproved;  /* a committed snapshot is listed that nothing was there to compare with, */
	bool new_layer; /* and a blob that may be its layer has come since that was tried */
};

/* A document is read at every check; anything else only if it is a suspect. */
static bool begins_as_document(const struct store *st, size_t blob)
{
	auto_fd fd = -1;
	uint8_t head[STORE_HEAD_BYTES];
	size_t got = 0;
	struct err ignored = {0};

	if (st->blob_files[blob].size > LIMIT_JSON_BYTES)
		return false;
	if (store_open_blob(st, blob, &fd, &ignored) || os_read(fd, 0, head, sizeof(head), &got, &ignored))
		return true; /* for all we know */
	return store_may_be_document(span_of(head, got));
}

static enum rc put_blob(struct sealer *w, size_t i, int dir)
{
	const struct blob *const b = &w->st->blob_files[i];
	char text[DIGEST_TEXT_BYTES];
	struct stat st = {0};

	/* asked again: a repair may have removed it, or made it of a download */
	digest_format(&b->digest, text);
	const enum rc rc = os_stat(dir, strchr(text, ':') + 1, &st, w->e);
	if (rc)
		return rc == RC_END ? RC_OK : rc;
	struct journal_blob record = {.digest = b->digest,
		.stamp = {.inode = st.st_ino, .size = (uint64_t)st.st_size, .ctime_ns = os_ctime_ns(&st)}};
	bool doubt = !S_ISREG(st.st_mode);
	if (w->check) {
		const struct blob_state *const state = &w->check->survey->blobs[i];
		/* what was replaced since it was looked at is another file; one whose bytes lay elsewhere is where we put it */
		doubt |= state->verdict != BLOB_IS_GOOD || record.stamp.size != b->size ||
			 (b->spare == STORE_NONE && (record.stamp.inode != b->inode || record.stamp.ctime_ns != b->ctime_ns));
		record.document = state->document;
	} else {
		const struct journal_blob *const known = journal_find_blob(w->journal, &b->digest, &record.stamp);
		doubt |= journal_doubts_blob(w->journal, &b->digest, record.stamp.inode) ||
			 journal_saw_other_blob(w->journal, &b->digest, &record.stamp);
		record.document = known ? known->document : !doubt && begins_as_document(w->st, i);
		w->new_layer |= (!known || known->recorded) && !record.document;
	}
	journal_put_blob(w->out, &record, doubt);
	w->result->blobs += !doubt;
	w->result->doubts += doubt;
	return RC_OK;
}

static enum rc put_blobs(struct sealer *w)
{
	enum rc rc = RC_OK;

	for (int kind = 0; rc == RC_OK && kind < DIGEST_KINDS; kind++) {
		auto_fd dir = -1;
		rc = store_open_blob_dir(w->st, (enum digest_kind)kind, &dir, w->e);
		if (rc == RC_END) {
			rc = RC_OK;
			continue;
		}
		for (size_t i = 0; rc == RC_OK && i < w->st->blob_count; i++)
			if (w->st->blob_files[i].digest.kind == (enum digest_kind)kind)
				rc = put_blob(w, i, dir);
	}
	return rc;
}

/* After a check. */
static bool is_doubtful(const struct sealer *w, size_t i, bool *unverified)
{
	const struct snapshot_state *const state = &w->check->survey->snapshots[i];
	const bool rebuilt = w->rebuilt[i];
	*unverified = state->verdict == SNAPSHOT_IS_UNVERIFIED;
	const bool may_be_half = w->st->backends[i].interrupted || w->st->intents_unseen;
	if (state->unreadable || (may_be_half && !rebuilt))
		return true;
	return !(state->verdict == SNAPSHOT_IS_WHOLE || *unverified || (state->verdict == SNAPSHOT_IS_TORN && rebuilt));
}

/* Of a snapshot that is there at shutdown: what containerd made since the last check is as good as it says, what was there then is what
 * the check found. */
static bool is_doubted(const struct sealer *w, size_t i, struct journal_snapshot *record)
{
	const struct journal *const j = w->journal;

	record->unverified = journal_leaves_open(j, record->id);
	return journal_doubts_snapshot(j, w->st->backends[i].id) || journal_saw_other(j, record->id, record->key, &record->stamp);
}

static enum rc put_snapshot(struct sealer *w, size_t i)
{
	const struct backend *const b = &w->st->backends[i];
	struct journal_snapshot record = {.id = b->id, .key = b->key};
	struct stat st = {0};
	bool doubt;

	if (b->kind == SNAPSHOT_VIEW || b->snapshot == STORE_NONE)
		return RC_OK; /* nobody's, or nothing of its own */
	if (b->kind == SNAPSHOT_ACTIVE && !w->check && !journal_leaves_open(w->journal, b->id))
		return RC_OK; /* a container's own, of this session */
	const enum rc rc = w->st->snapshots_dir < 0 ? RC_END : os_stat(w->st->snapshots_dir, b->dir, &st, w->e);
	if (rc == RC_END && (w->check || b->kind == SNAPSHOT_ACTIVE))
		return RC_OK; /* dropped, or found missing again by the next check */
	if (rc && rc != RC_END)
		return rc;
	record.stamp = (struct journal_stamp){.inode = st.st_ino, .ctime_ns = os_ctime_ns(&st)};
	if (b->kind == SNAPSHOT_ACTIVE) { /* listed, so that it passes for nothing that was made since should it be committed */
		record.unverified = true;
		journal_put_snapshot(w->out, &record, false);
		return RC_OK;
	}
	if (w->check) {
		const bool same = record.stamp.inode == b->dir_inode && record.stamp.ctime_ns == b->dir_ctime_ns;
		doubt = is_doubtful(w, i, &record.unverified) || (!w->rebuilt[i] && !same);
	} else {
		doubt = is_doubted(w, i, &record);
	}
	doubt |= rc == RC_END || !S_ISDIR(st.st_mode);
	w->unproved |= record.unverified;
	journal_put_snapshot(w->out, &record, doubt);
	w->result->snapshots += !doubt;
	w->result->doubts += doubt;
	return RC_OK;
}

/* Of a download that began in this boot all bytes that are there; of one that was there before, what the check could compare, and
 * of one that it could not read, had no time for, or did not compare because it may be of this boot, what was vouched for already: the
 * sum will tell whether it still holds. */
static void put_ingest(struct sealer *w, size_t i)
{
	const struct ingest *const in = &w->st->ingests[i];
	const enum ingest_verdict v = w->check ? w->check->survey->ingests[i].verdict : INGEST_IS_PARTIAL;
	const bool unread = v == INGEST_IS_UNREADABLE || v == INGEST_IS_NOT_CHECKED || (w->check && !w->st->boot_proved_new);
	const struct journal_ingest *const before = journal_find_ingest(w->journal, in->name);
	const struct journal_ingest *const known = w->check && !unread ? NULL : before;
	struct journal_ingest record = {.name = in->name, .ref = in->ref_fits ? in->ref : (struct span){0}, .held = true};
	struct err why = {0}; /* what cannot be read is not vouched for */
	auto_fd dir = -1, data = -1;
	struct stat st = {0};

	if (known && (known->held || unread)) {
		record = *known;
		record.held = true;
		journal_put_ingest(w->out, &record);
		return;
	}
	enum rc rc = w->st->ingest_dir < 0 ? RC_END : os_open_dir(w->st->ingest_dir, (const char *)in->name.at, &dir, &why);
	if (rc == RC_OK)
		rc = os_open_file(dir, "data", &data, &why);
	if (rc == RC_END)
		return; /* no data: nothing to be wrong about */
	if (rc == RC_OK && os_stat_fd(data, &st, &why) == RC_OK) {
		const uint64_t all = (uint64_t)st.st_size;
		const uint64_t bytes = w->check ? w->check->survey->ingests[i].settled_bytes : all;
		if (bytes <= all && journal_sum(data, bytes, &record.sum, *w->out->a, &why) == RC_OK) {
			record.size = bytes;
			record.held = bytes < all; /* not cut back: it would pass for one that grew since */
		}
	}
	if (why.rc && before) { /* the sum that was noted will tell whether it still holds */
		record = *before;
		record.held = true;
	}
	journal_put_ingest(w->out, &record);
}

/* As long as it is there: whoever does not pass over it will tell. */
static void put_stuck(struct sealer *w)
{
	const struct journal *const stuck = w->check ? w->check->stuck : w->journal;

	for (size_t i = 0; stuck && i < stuck->stuck_count; i++) {
		const struct at_name *const one = &stuck->stuck[i];
		const struct span name = span_of_string(one->name);
		bool there = false;
		struct digest d;
		uint64_t id = 0;
		if (one->kind == AT_BLOB)
			there = digest_parse(name, &d) == RC_OK && store_find_blob(w->st, &d) != STORE_NONE;
		for (size_t k = 0; one->kind == AT_SNAPSHOT && parse_decimal(name, &id) == RC_OK && k < w->st->backend_count; k++)
			there |= w->st->backends[k].id == id;
		for (size_t k = 0; one->kind == AT_INGEST && k < w->st->ingest_count; k++)
			there |= span_equal(w->st->ingests[k].name, name);
		if (there)
			journal_put_stuck(w->out, one);
	}
}

static void put_names(const struct sealer *w)
{
	const struct store *const st = w->st;
	char text[DIGEST_TEXT_BYTES];

	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		struct journal_name n = {.kind = JOURNAL_IMAGE, .ns = st->namespaces[image->ns].name, .name = image->name,
			.media_type = image->media_type};
		const size_t blob = image->target_known ? store_find_blob(st, &image->target) : STORE_NONE;
		if (blob == STORE_NONE || (w->check && w->check->plan->images[i].name_dropped))
			continue;
		digest_format(&image->target, text);
		n.digest = span_of_string(text);
		n.size = st->blob_files[blob].size;
		journal_put_name(w->out, &n);
	}
	for (size_t i = 0; i < st->container_count; i++) {
		const struct container *const c = &st->containers[i];
		const struct journal_name n = {.kind = JOURNAL_CONTAINER, .ns = st->namespaces[c->ns].name, .name = c->id,
			.snapshotter = c->snapshotter, .key = c->snapshot_key, .image = c->image};
		journal_put_name(w->out, &n);
	}
	for (size_t i = 0; i < st->lease_count; i++) {
		const struct lease *const l = &st->leases[i];
		const struct journal_name n = {.kind = JOURNAL_LEASE, .ns = st->namespaces[l->ns].name, .name = l->id};
		if (!labels_get(&l->labels, "containerd.io/gc.expire"))
			journal_put_name(w->out, &n);
	}
}

static enum rc put_inventory(struct sealer *w)
{
	enum rc rc = put_blobs(w);

	for (size_t i = 0; rc == RC_OK && i < w->st->backend_count; i++)
		rc = put_snapshot(w, i);
	for (size_t i = 0; rc == RC_OK && i < w->st->ingest_count; i++)
		put_ingest(w, i);
	if (rc == RC_OK)
		put_stuck(w);
	if (rc == RC_OK)
		put_names(w);
	return rc;
}

/* ---- copies of the databases ---- */

static bool is_copied(int own, const struct database *d, const char *name, struct arena scratch)
{
	auto_fd dir = -1, fd = -1;
	struct bolt b = {0};
	struct bolt_fault fault;
	struct src src;
	struct err ignored = {0}; /* what cannot be read is copied again */

	return os_open_dir(own, OWN_BACKUP_DIR, &dir, &ignored) == RC_OK && os_open_file(dir, name, &fd, &ignored) == RC_OK &&
	       os_src(fd, &src, &ignored) == RC_OK && src.size == d->src.size &&
	       bolt_open(&b, &src, &scratch, &fault, &ignored) == RC_OK &&
	       b.meta[b.current].txid == d->bolt.meta[d->bolt.current].txid;
}

/* On a full disk the marker is worth more than the copies. */
static enum rc copy_databases(const struct store *st, int own, struct arena scratch, struct err *e)
{
	static const char names[][29] = {"sealed-meta.db", "sealed-overlayfs-metadata.db"};
	const struct database *const databases[] = {&st->meta, &st->overlay};
	uint64_t bytes = 0, inodes = 0;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		const struct database *const d = databases[i];
		if (!d->sound || is_copied(own, d, names[i], scratch))
			continue;
		if ((rc = os_free(own, &bytes, &inodes, e)))
			return rc;
		if (bytes < d->src.size + COPY_MARGIN_BYTES || inodes < 16)
			continue;
		rc = own_copy_file(own, &d->src, d->path, names[i], scratch, e);
	}
	return rc;
}

/* ---- the two occasions ---- */

enum rc seal_stop(const struct store *st, struct seal_result *result, struct arena scratch, struct err *e)
{
	struct journal_identity identity;
	struct journal_writer out;
	struct journal j = {0};
	auto_fd own = -1;
	enum rc rc;

	*result = (struct seal_result){0};
	if (st->fault_count) {
		result->why = "a database cannot be worked with: run containerd-fsck";
		return RC_OK;
	}
	rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, e);
	if (rc == RC_OK)
		rc = journal_read(&j, own, &scratch, e);
	if (rc == RC_OK)
		rc = journal_add_doubts(&j, own, &scratch, e);
	if (rc && rc != RC_END && rc != RC_CORRUPT)
		return rc;
	if ((rc = identity_read(&identity, st->dir, scratch, e)))
		return rc;
	const bool same = j.present && journal_same_store(&j.identity, &identity);
	if (same && j.clean && journal_same_databases(&j.identity, &identity)) {
		if ((rc = sync_or_distrust(st, &j, own, scratch, e)))
			return rc;
		*result = (struct seal_result){.blobs = j.blob_count, .snapshots = j.snapshot_count, .clean = true};
		return RC_OK; /* sealed already, and nobody has written since */
	}
	/* status 4 leaves doubts, which are listed; anything worse left no list */
	if (!same || strcmp(j.boot_id, st->boot_id) != 0 || !*st->boot_id || !j.done || j.mode == JOURNAL_SKIPPED || j.status > 4) {
		result->why = !same ? "no check was made since the machine started: run containerd-fsck boot first"
				    : "the check of this boot was skipped, or did not end: the next boot makes it";
		return RC_OK;
	}
	if ((rc = sync_or_distrust(st, &j, own, scratch, e)))
		return rc;
	journal_begin(&out, &identity, &scratch);
	struct sealer w = {.st = st, .journal = &j, .out = &out, .result = result, .e = e};
	if ((rc = put_inventory(&w)))
		return rc;
	/* what a check left and no record of an object can say (a lost file, a download) is known by its status */
	const bool sure = result->doubts == 0 && j.status <= 1 && !j.scrub;
	result->later = sure && w.unproved && w.new_layer;
	result->clean = sure && !result->later;
	if (result->clean)
		journal_put_clean(&out, st->boot_id);
	else if (result->later)
		result->why = "layers have come, and some files were never compared with theirs: the next boot sees whether it can";
	else
		result->why = "some objects are damaged or could not be checked: the next boot looks at them again";
	if ((rc = journal_commit(&out, own, e))) {
		take_marker_back(own, scratch, e);
		return rc;
	}
	struct err ignored = {0}; /* the marker is worth more than the copies */
	const enum rc copied = copy_databases(st, own, scratch, &ignored);
	(void)copied;
	return RC_OK;
}

enum rc seal_checked(const struct store *st, const struct seal_check *c, struct arena scratch, struct err *e)
{
	struct seal_result result = {0};
	struct journal_identity identity;
	struct journal_writer out;
	struct journal j = {0};
	auto_fd own = -1;
	enum rc rc;

	rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, e);
	if (rc && rc != RC_END)
		return rc == RC_CORRUPT ? fail(e, RC_IO, STORE_OWN_DIR " is no directory: move it away and run again") : rc;
	if (rc == RC_OK && (rc = journal_read(&j, own, &scratch, e)))
		return rc;
	if (c->only_update && !j.present)
		return RC_OK;
	bool *const rebuilt = arena_array(&scratch, st->backend_count + 1, sizeof(*rebuilt));
	if (!rebuilt)
		return no_memory(e);
	for (size_t i = 0; i < c->plan->action_count; i++)
		if (c->plan->actions[i].kind == ACTION_REBUILD && c->plan->actions[i].outcome == OUTCOME_DONE)
			rebuilt[c->plan->actions[i].index] = true;
	if ((rc = own_open_dir(st->dir, STORE_OWN_DIR, &own, e)) || (rc = sync_or_distrust(st, &j, own, scratch, e)) ||
		(rc = identity_read(&identity, st->dir, scratch, e)))
		return rc;
	journal_begin(&out, &identity, &scratch);
	struct sealer w = {.st = st, .check = c, .journal = &j, .rebuilt = rebuilt, .out = &out, .result = &result, .e = e};
	if ((rc = put_inventory(&w)))
		return rc;
	journal_put_boot(&out, *st->boot_id ? st->boot_id : "-", JOURNAL_CHECKED, 0);
	/* a second repair in one boot finds nothing left to do, and changes nothing */
	const bool again = c->only_update && j.done && strcmp(j.boot_id, st->boot_id) == 0 && j.status <= 1 && c->status <= 1;
	journal_put_done(&out, again ? j.status : c->status);
	rc = journal_commit(&out, own, e);
	struct err ignored = {0};
	/* all that a scrub doubts was looked at; a cut, or a failure, leaves it: it is looked at again */
	if (!rc && os_unlink(own, JOURNAL_SCRUB, &ignored))
		ignored = (struct err){0};
	/* the journal is worth more than the copies, which the next boot makes as well */
	const enum rc copied = rc || c->only_update ? RC_OK : settled_copy(own, st->meta.dir, st->overlay.dir, scratch, &ignored);
	(void)copied;
	return c->only_update ? rc : journal_give_way(rc, own, e); /* a person can make room, a boot cannot */
}
