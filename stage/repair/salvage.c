/* SPDX-License-Identifier: MIT */
/* The order of what is written, so that a cut leaves something that can be repaired again:
 *
 *   1. the new database, under another name in the same directory; synced, read back and checked; the directory is synced
 *   2. the broken one gets a second name in containerd-fsck/aside (a link: no byte of it moves); the directory is synced
 *   3. directories of snapshots that no database knows are moved to aside/, for containerd would delete them
 *   4. the new one takes the name; the directory is synced
 *
 * A damaged freelist is repaired in the file itself: a meta page, in the slot that is not in use (bolt_edit.h). */
#include "repair/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "format/bolt_edit.h"
#include "memory/journal.h"
#include "format/mend.h"
#include "ground/host.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "repair/settled.h"

#define COPY_BYTES ((size_t)1 << 20)
/* bytes; kept free beside what is written */
#define MARGIN_BYTES ((uint64_t)16 << 20)
/* gaps that are told one by one */
#define GAPS_MAX 1000

static const char new_names[2][32] = {"meta.db" STORE_NEW_SUFFIX, "metadata.db" STORE_NEW_SUFFIX};

/* A file that is looked at as a database. */
struct candidate {
	int fd;
	struct src src;
	struct bolt b;
	const char *name;
};

/* What one build is made of. */
struct build {
	const struct store *st;
	struct salvage_database *d;
	struct bolt *first, *second;
	uint32_t page_size;
	uint64_t txid;
	bool is_meta;
	struct arena *keep;
	struct bolt *other;    /* the other database, if that is sound; NULL: not */
	bool seen, shared;     /* snapshots of overlayfs: any, and one that the other has too */
	struct salvage_counts counts;
	struct err failed; /* a look at a record that failed: then what was built is not to be used */
};

static enum rc optional(enum rc rc)
{
	return rc == RC_END ? RC_OK : rc;
}

static bool is_due(const struct salvage_database *d)
{
	return d->needed && !d->done;
}

/* ---- what a record must have ---- */

/* A look that failed proves nothing of a record: the first is kept. */
static enum rc looked(enum rc rc, const struct err *why, struct err *failed)
{
	if (rc && rc != RC_END && rc != RC_CORRUPT && !failed->rc)
		*failed = *why;
	return rc;
}

static bool value_of(
	struct bolt *b, const struct bolt_bucket *bucket, const char *key, struct arena *a, struct span *value, struct err *failed)
{
	struct bolt_item item = {0};
	struct err why = {0};

	if (looked(bolt_get(b, bucket, span_of_string(key), a, &item, &why), &why, failed) || item.is_bucket)
		return false;
	*value = item.value;
	return true;
}

static bool is_good_image(struct bolt *b, const struct bolt_bucket *bucket, struct arena scratch, struct err *failed)
{
	struct bolt_item item = {0};
	struct bolt_bucket target = {0};
	struct span digest = {0}, size = {0};
	struct err why = {0};
	struct digest d;

	return looked(bolt_get(b, bucket, SPAN_LITERAL("target"), &scratch, &item, &why), &why, failed) == RC_OK &&
	       !bolt_bucket_of(&item, &target) &&
	       value_of(b, &target, "digest", &scratch, &digest, failed) && digest_parse(digest, &d) != RC_CORRUPT &&
	       value_of(b, &target, "size", &scratch, &size, failed) && span_varint(&size) > 0 && !size.bad;
}

static bool is_good_content(
	struct bolt *b, struct span key, const struct bolt_bucket *bucket, struct arena scratch, struct err *failed)
{
	struct span size = {0};
	struct digest d;

	return digest_parse(key, &d) != RC_CORRUPT && value_of(b, bucket, "size", &scratch, &size, failed) &&
	       span_varint(&size) >= 0 && !size.bad;
}

static bool is_good_backend(struct bolt *b, const struct bolt_bucket *bucket, struct arena scratch, struct err *failed)
{
	struct span id = {0}, kind = {0};

	if (!value_of(b, bucket, "id", &scratch, &id, failed) || !value_of(b, bucket, "kind", &scratch, &kind, failed))
		return false;
	const uint64_t n = span_uvarint(&id);
	const uint8_t k = span_u8(&kind);
	return n && !id.bad && !id.left && !kind.bad && !kind.left && k >= SNAPSHOT_VIEW && k <= SNAPSHOT_COMMITTED;
}

/* The records of a root, by where they stand. */
static enum salvage_what what_of(bool is_meta, const struct mend_path *p)
{
	if (!is_meta)
		return p->count == 3 && span_is(p->part[1], "snapshots") ? SALVAGE_SNAPSHOTS : SALVAGE_OTHER;
	if (p->count == 4 && span_is(p->part[2], "images"))
		return SALVAGE_IMAGES;
	if (p->count == 4 && span_is(p->part[2], "containers"))
		return SALVAGE_CONTAINERS;
	if (p->count == 4 && span_is(p->part[2], "leases"))
		return SALVAGE_LEASES;
	return p->count == 5 && span_is(p->part[2], "snapshots") ? SALVAGE_SNAPSHOTS : SALVAGE_OTHER;
}

/* Where no bucket is, but a value: in a record, or among labels (containerd 2.1: core/metadata/buckets.go,
 * core/snapshots/storage/bolt.go). */
static bool may_be_value(bool is_meta, const struct mend_path *p)
{
	if (!is_meta)
		return p->count != 3 || !span_is(p->part[1], "snapshots");
	if (p->count == 2)
		return span_is(p->part[1], "version");
	if (p->count == 4)
		return span_is(p->part[2], "labels");
	return p->count > 5 || (p->count == 5 && !span_is(p->part[2], "content") && !span_is(p->part[2], "snapshots"));
}

/* Not one that the records beside it contradict; only where pages are sound all of them were read. */
static bool is_usable(const struct build *m, struct span key)
{
	const size_t known = m->d->bad_records ? store_find_backend(m->st, key) : STORE_NONE;

	return known == STORE_NONE || !m->st->backends[known].unusable;
}

/* "<parent's id>\0<child's id>", with the child's key for a value. */
static bool is_good_kin(struct span key, const struct bolt_bucket *bucket)
{
	(void)span_uvarint(&key);
	const uint8_t zero = span_u8(&key);

	(void)span_uvarint(&key);
	return !bucket && !zero && !key.bad && !key.left;
}

static bool is_good(void *self, const struct mend_path *path, struct bolt *b, const struct bolt_bucket *bucket)
{
	struct build *const m = self;
	const enum salvage_what what = what_of(m->is_meta, path);
	struct span name = {0};
	struct arena scratch = *m->keep;

	if (!m->is_meta && path->count == 3 && span_is(path->part[1], "parents"))
		return is_good_kin(path->part[2], bucket);
	if (!bucket)
		return may_be_value(m->is_meta, path);
	if (what == SALVAGE_IMAGES)
		return is_good_image(b, bucket, scratch, &m->failed);
	if (what == SALVAGE_SNAPSHOTS) {
		const bool good = m->is_meta ? value_of(b, bucket, "name", &scratch, &name, &m->failed) && name.left
					     : is_usable(m, path->part[2]) && is_good_backend(b, bucket, scratch, &m->failed);
		struct err why = {0};
		const bool overlay = good && (!m->is_meta || span_is(path->part[3], "overlayfs"));
		m->seen |= overlay;
		if (overlay && m->other && !m->shared)
			(void)looked(forward_has(m->other, !m->is_meta, m->is_meta ? name : path->part[2], &m->shared, scratch, &why),
				&why, &m->failed); /* kept in m */
		return good;
	}
	if (m->is_meta && path->count == 5 && span_is(path->part[2], "content") && span_is(path->part[3], "blob"))
		return is_good_content(b, path->part[4], bucket, scratch, &m->failed);
	return true;
}

static enum rc on_bucket(void *self, const struct mend_path *path, bool of_second, struct err *e)
{
	struct build *const m = self;
	const enum salvage_what what = what_of(m->is_meta, path);

	(void)e;
	m->counts.images += what == SALVAGE_IMAGES;
	m->counts.containers += what == SALVAGE_CONTAINERS;
	m->counts.snapshots += what == SALVAGE_SNAPSHOTS;
	m->counts.of_second += of_second && what != SALVAGE_OTHER;
	return RC_OK;
}

static const char *place_of(const struct build *m, const struct mend_path *p, enum salvage_what what)
{
	char ns[200];

	if (p->count < 2)
		return "whole namespaces";
	(void)escape(ns, sizeof(ns), p->part[1]); /* a cut name is still a name */
	if (what == SALVAGE_ALL)
		return arena_printf(m->keep, "records of namespace %s", ns);
	return arena_printf(m->keep, "%s of namespace %s",
		what == SALVAGE_IMAGES	 ? "images"
		: what == SALVAGE_LEASES ? "leases"
					 : "containers",
		ns);
}

/* What the second has is all that was there. */
static bool is_filled(const struct build *m)
{
	return m->second && !m->d->behind && m->d->tier != SALVAGE_OLDER;
}

static enum rc on_gap(void *self, const struct mend_path *path, struct span from, struct span to, struct err *e)
{
	struct build *const m = self;
	/* what could stand in it: as a record that is one deeper */
	struct mend_path inside = *path;

	if (is_filled(m) || m->d->gap_count == GAPS_MAX)
		return RC_OK;
	if (inside.count < MEND_PATH_MAX)
		inside.part[inside.count++] = SPAN_LITERAL("x");
	const enum salvage_what what = path->count < 3 ? SALVAGE_ALL : what_of(m->is_meta, &inside);
	/* what else there is, of metadata.db all, is known to others; what a container had is told as that */
	if (!m->is_meta || what == SALVAGE_SNAPSHOTS || what == SALVAGE_OTHER)
		return RC_OK;
	struct salvage_gap *const g = arena_push(m->keep, (void **)&m->d->gaps, &m->d->gap_count, sizeof(*g));
	if (!g)
		return no_memory(e);
	*g = (struct salvage_gap){.what = what, .where = place_of(m, path, what), .ns.bad = true, .from = from, .to = to};
	if (path->count >= 2 && m->is_meta)
		g->ns = arena_copy(m->keep, path->part[1]);
	if (!from.bad)
		g->from = arena_copy(m->keep, from);
	if (!to.bad)
		g->to = arena_copy(m->keep, to);
	return g->where ? RC_OK : no_memory(e);
}

/* A record, or all records of a kind. */
static enum rc on_gone(void *self, const struct mend_path *path, struct err *e)
{
	struct build *const m = self;

	const enum salvage_what what = what_of(m->is_meta, path);
	struct mend_path above = *path;
	const struct span none = {.bad = true};

	if (what == SALVAGE_CONTAINERS || what == SALVAGE_LEASES) {
		above.count--;
		return on_gap(m, &above, path->part[3], path->part[3], e);
	}
	if (what != SALVAGE_IMAGES)
		return on_gap(m, path, none, none, e); /* of what is in it */
	if (is_filled(m) || m->d->name_count == GAPS_MAX)
		return RC_OK;
	struct forward_name *const n = arena_push(m->keep, (void **)&m->d->names, &m->d->name_count, sizeof(*n));
	if (!n)
		return no_memory(e);
	*n = (struct forward_name){.ns = arena_copy(m->keep, path->part[1]), .name = arena_copy(m->keep, path->part[3])};
	return n->ns.bad || n->name.bad ? no_memory(e) : RC_OK;
}

static enum rc nowhere(void *self, uint64_t off, const void *buf, size_t n, struct err *e)
{
	(void)self;
	(void)off;
	(void)buf;
	(void)n;
	(void)e;
	return RC_OK;
}

/* What was stopped on the way may have been taken for what cannot be read: the question is asked once more, and a yes before was a yes. */
static enum rc was_stopped(struct pace *p, struct err *e)
{
	return pace_on(p, PACE_WORK, e);
}

/* Memory beside what the gaps take of keep goes back: the writer's is an arena of its own. */
static enum rc make(struct build *m, const struct bolt_sink *sink, uint64_t *bytes, struct arena scratch, struct err *e)
{
	const struct mend_hooks hooks = {.is_good = is_good, .gone = on_gone, .bucket = on_bucket, .gap = on_gap, .self = m};
	struct bolt_fault fault = {0};
	struct bolt_writer *w = NULL;
	struct arena own = {0};
	uint64_t sequence = 0;
	enum rc rc;

	m->counts = (struct salvage_counts){0};
	m->failed = (struct err){0};
	m->d->gaps = NULL;
	m->d->gap_count = 0;
	m->d->names = NULL;
	m->d->name_count = 0;
	if ((rc = arena_open(&own, e)))
		return rc;
	rc = bolt_write_begin(&w, sink, m->page_size, m->txid, &own, e);
	if (rc == RC_OK && m->is_meta && !m->first) { /* with a version, by which it is not one that lost what it had */
		if (!(rc = bolt_write_bucket(w, SPAN_LITERAL("v1"), e)) &&
			!(rc = bolt_write_put(w, SPAN_LITERAL("version"), FORWARD_SCHEMA, e)))
			rc = bolt_write_bucket_end(w, 0, e);
	} else if (rc == RC_OK) {
		rc = mend_write(m->first, m->second, &hooks, w, &fault, &sequence, scratch, e);
	}
	if (rc == RC_OK)
		rc = bolt_write_end(w, sequence, bytes, e);
	arena_close(&own);
	if (rc == RC_OK && m->failed.rc) {
		*e = m->failed;
		return e->rc;
	}
	return rc ? rc : was_stopped(m->st->hints->pace, e);
}

/* ---- the candidates ---- */

static void candidate_close(struct candidate *c)
{
	os_close(&c->fd);
}

/* Whether a copy is of this store: what at least half of its images are, or its snapshots' directories, is here. */
static enum rc is_of_store(struct bolt *b, const struct store *st, bool is_meta, bool *is, struct arena keep, struct arena scratch,
	struct err *e)
{
	struct forward f = {0};
	size_t here = 0, count;
	enum rc rc = forward_read(&f, st, is_meta ? b : NULL, is_meta ? NULL : b, &keep, scratch, e);

	if (rc)
		return rc;
	count = is_meta ? f.image_count : f.backend_count;
	for (size_t i = 0; is_meta && i < count; i++)
		here += store_find_blob(st, &f.images[i].target) != STORE_NONE;
	for (size_t i = 0; !is_meta && i < count && st->snapshots_dir >= 0; i++) {
		char name[24];
		struct stat there = {0};
		(void)print_to(name, sizeof(name), "%llu", (unsigned long long)f.backends[i].id); /* fits */
		rc = os_stat(st->snapshots_dir, name, &there, e);
		if (rc && rc != RC_END)
			return rc;
		here += rc == RC_OK;
	}
	*is = here * 2 >= count;
	return RC_OK;
}

/* A copy of ours: it passes the whole check, is no newer than the file, and is of this store. *best is replaced by a newer one. RC_IO:
 * it is there, and could not be read. */
static enum rc look_at_copy(struct candidate *best, const struct store *st, bool is_meta, int backup, const char *name,
	uint64_t newest, struct arena *keep, struct arena scratch, struct err *e)
{
	struct candidate c = {.fd = -1, .name = name};
	struct bolt_fault fault = {0};
	struct bolt_stats stats = {0};
	struct err why = {0}; /* what is damaged is no copy */
	const struct arena mark = *keep;
	enum rc rc = os_open_file(backup, name, &c.fd, &why);

	if (rc == RC_OK)
		rc = os_src(c.fd, &c.src, &why);
	if (rc == RC_OK)
		rc = bolt_open(&c.b, &c.src, keep, &fault, &why);
	c.b.pace = st->hints->pace;
	if (rc == RC_OK)
		rc = bolt_check(&c.b, scratch, &stats, &fault, &why);
	bool ours = false;
	if (rc == RC_OK)
		rc = is_of_store(&c.b, st, is_meta, &ours, *keep, scratch, &why);
	if (rc == RC_NOMEM || rc == RC_STOPPED)
		*e = why;
	const uint64_t txid = rc ? 0 : c.b.meta[c.b.current].txid;
	const bool newer = best->fd < 0 || txid > best->b.meta[best->b.current].txid;
	const bool better = rc == RC_OK && ours && stats.keys && txid <= newest && newer;
	if (!better) {
		candidate_close(&c);
		*keep = mark;
		return rc == RC_NOMEM || rc == RC_STOPPED || rc == RC_IO ? rc : RC_OK;
	}
	candidate_close(best);
	*best = c;
	return RC_OK;
}

static const char copies_of_meta[][32] = {SETTLED_META, SETTLED_META ".1", "sealed-meta.db", "meta.db"};
static const char copies_of_overlay[][32] = {
	SETTLED_OVERLAY, SETTLED_OVERLAY ".1", "sealed-overlayfs-metadata.db", "overlayfs-metadata.db"};
#define COPIES (sizeof(copies_of_meta) / sizeof(copies_of_meta[0]))

static enum rc open_backup(const struct store *st, int *backup, struct err *e)
{
	auto_fd own = -1;
	const enum rc rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, e);

	return rc ? rc : os_open_dir(own, OWN_BACKUP_DIR, backup, e);
}

static enum rc find_copy(struct candidate *best, const struct store *st, bool is_meta, uint64_t newest, struct arena *keep,
	struct arena scratch, struct err *e)
{
	auto_fd backup = -1;
	struct err why = {0}; /* without the directory there is none */
	enum rc rc = open_backup(st, &backup, &why);

	/* What is made without a copy is made for good: what cannot be read is tried once more. What is damaged for ever keeps no node from
	 * starting with less: containerd would begin anew, and remove the rest. */
	if (rc == RC_IO)
		rc = open_backup(st, &backup, &why);
	if (rc == RC_NOMEM)
		*e = why;
	for (size_t i = 0; !rc && i < 2 * COPIES; i++) {
		const char *const name = (is_meta ? copies_of_meta : copies_of_overlay)[i / 2];
		rc = look_at_copy(best, st, is_meta, backup, name, newest, keep, scratch, e);
		i += rc != RC_IO && i % 2 == 0;
		rc = rc == RC_IO ? RC_OK : rc;
	}
	return rc == RC_NOMEM || rc == RC_STOPPED ? rc : RC_OK;
}

enum rc salvage_copies(
	const struct store *st, struct salvage_copy out[SALVAGE_COPIES_MAX], size_t *count, struct arena scratch, struct err *e)
{
	auto_fd backup = -1;
	struct err why = {0}; /* without the directory there is none */
	struct arena own = {0};
	enum rc rc;

	_Static_assert(2 * COPIES == SALVAGE_COPIES_MAX, "room for all");
	*count = 0;
	if (open_backup(st, &backup, &why))
		return RC_OK;
	rc = arena_open(&own, e);
	for (size_t i = 0; rc == RC_OK && i < 2 * COPIES; i++) {
		const bool is_meta = i < COPIES;
		struct candidate c = {.fd = -1, .name = is_meta ? copies_of_meta[i] : copies_of_overlay[i - COPIES]};
		struct arena keep = own;
		struct forward f = {0};
		struct stat made = {0};
		if (os_stat(backup, c.name, &made, &why))
			continue;
		rc = look_at_copy(&c, st, is_meta, backup, c.name, UINT64_MAX, &keep, scratch, e);
		rc = rc == RC_IO ? RC_OK : rc; /* listed as one that is not sound */
		out[*count] = (struct salvage_copy){.name = c.name, .is_meta = is_meta, .sound = c.fd >= 0, .made_s = made.st_mtime};
		if (rc == RC_OK && c.fd >= 0)
			rc = forward_read(&f, st, is_meta ? &c.b : NULL, is_meta ? NULL : &c.b, &keep, scratch, e);
		out[*count].txid = c.fd >= 0 ? c.b.meta[c.b.current].txid : 0;
		out[*count].images = f.image_count;
		out[*count].containers = f.container_count;
		out[*count].snapshots = is_meta ? f.snapshot_count : f.backend_count;
		++*count;
		candidate_close(&c);
	}
	arena_close(&own);
	return rc;
}

/* Everything that a build of this database could begin with. */
struct looked {
	struct candidate copy;
	struct bolt newest, older;
	bool opened, has_older; /* newest can be opened at all; the older tree is whole, and another one */
	uint64_t txid;          /* the newest that is known, 0: none */
};

enum rc salvage_find_tree(struct bolt *b, const struct src *src, unsigned newest, struct pace *pace, bool *older, struct arena *a,
	struct err *e)
{
	struct bolt_fault fault;
	struct bolt_stats stats;
	enum rc rc = RC_CORRUPT;

	for (unsigned i = 0; i < 2 && rc == RC_CORRUPT; i++) {
		*older = i;
		rc = bolt_open_slot(b, src, newest ^ i, a, &fault, e);
		b->pace = pace;
		if (rc == RC_OK)
			rc = bolt_check_tree(b, *a, &stats, &fault, e);
	}
	return rc;
}

static enum rc look_at_file(struct looked *l, struct salvage_database *d, struct pace *pace, struct arena *keep, struct err *e)
{
	const struct src *const src = &d->d->src;
	struct bolt_fault fault = {0};
	enum rc rc;

	if (!d->d->present || src->size == 0)
		return RC_OK;
	rc = bolt_open_cut(&l->newest, src, keep, &fault, e);
	l->newest.pace = pace;
	if (rc && rc != RC_CORRUPT)
		return rc;
	/* a sound database with nothing in it is none, where there is content */
	const bool sound = d->behind_rest || d->bad_records;
	l->opened = rc == RC_OK && (d->fault.kind != BOLT_SOUND || sound);
	if (!l->opened)
		return RC_OK;
	const unsigned slot = l->newest.current;
	l->txid = l->newest.meta[slot].txid;
	if (sound)
		return RC_OK; /* the transaction before is older still */
	/* of a file that was cut short the numbers are what is left of them */
	rc = salvage_find_tree(&l->older, src, slot, pace, &l->has_older, keep, e);
	l->has_older &= rc == RC_OK;
	if (rc == RC_OK && !l->has_older)
		d->tier = SALVAGE_FREELIST;
	return rc == RC_CORRUPT ? RC_OK : rc;
}

static bool all_of_second(const struct salvage_counts *c)
{
	return c->of_second == c->images + c->containers + c->snapshots;
}

static bool holds_something(const struct build *m)
{
	return m->counts.images || m->counts.containers || m->counts.snapshots;
}

/* Picks the tier, and tries it without writing. On return m is what the new file is made of. */
static enum rc choose(struct salvage_database *d, const struct store *st, bool is_meta, struct looked *l, struct build *m,
	struct arena *keep, struct arena scratch, struct err *e)
{
	const struct bolt_sink sink = {nowhere, NULL};
	uint64_t bytes = 0;
	enum rc rc;

	*m = (struct build){.st = st, .d = d, .is_meta = is_meta, .keep = keep, .page_size = 4096};
	const struct database *const beside = is_meta ? &st->overlay : &st->meta;
	m->other = beside->sound ? (struct bolt *)(uintptr_t)&beside->bolt : NULL;
	*l = (struct looked){.copy.fd = -1};
	if ((rc = look_at_file(l, d, st->hints->pace, keep, e)))
		return rc;
	if (l->opened)
		m->page_size = l->newest.page_size;
	m->txid = d->txid = l->txid;
	d->was_opened = l->opened;
	m->first = l->opened ? &l->newest : NULL;
	if (d->tier == SALVAGE_FREELIST)
		return make(m, &sink, &bytes, scratch, e); /* for the counts */
	/* one that has gone back may be older than a copy */
	if ((rc = find_copy(&l->copy, st, is_meta, l->opened && !d->behind_rest ? l->txid : UINT64_MAX, keep, scratch, e)))
		return rc;
	struct bolt *const copy = l->copy.fd < 0 ? NULL : &l->copy.b;
	const uint64_t copied = copy ? copy->meta[copy->current].txid : 0;
	const bool older = l->opened && d->behind_rest;
	if (copy && (older ? copied > l->txid : !l->opened)) {
		m->page_size = copy->page_size;
		m->txid = copied;
		d->txid = l->opened ? d->txid : copied;
	}
	if (copy && l->opened && !d->bad_records && (older ? copied > l->txid : copied == l->txid)) {
		d->tier = SALVAGE_COPY;
		m->first = copy;
	} else if (older || l->has_older) {
		d->tier = SALVAGE_OLDER;
		m->second = older ? NULL : &l->older;
	} else if (l->opened) {
		d->tier = SALVAGE_PART;
		m->second = copy;
	} else {
		d->tier = copy ? SALVAGE_COPY : SALVAGE_CONTENT;
		m->first = copy;
	}
	if (copy && d->tier != SALVAGE_OLDER) {
		d->source = l->copy.name;
		d->behind = l->opened && copied < l->txid ? l->txid - copied : 0;
	}
	rc = make(m, &sink, &bytes, scratch, e);
	if (rc == RC_OK && d->tier == SALVAGE_PART && !holds_something(m))
		d->tier = SALVAGE_CONTENT;
	else if (rc == RC_OK && d->tier == SALVAGE_PART && copy && all_of_second(&m->counts))
		d->tier = SALVAGE_COPY;
	return rc;
}

/* ---- whether ---- */

/* SIZE_MAX: it cannot be listed, and may have any. */
static size_t count_names(int dir, struct arena scratch)
{
	struct os_name *names = NULL;
	size_t count = 0;
	struct err ignored = {0}; /* see above */

	return dir < 0 ? 0 : os_list(dir, &scratch, &names, &count, &ignored) ? SIZE_MAX : count;
}

/* Whether the directory of snapshots is that of this store: without anything in it it may be one that is not mounted, or a repair that was
 * cut off had moved all of it aside, which made the new database before that. unknown: what it is where it cannot be listed. */
static bool is_in_use(const struct store *st, bool unknown, struct arena scratch)
{
	struct stat there = {0};
	struct err ignored = {0}; /* what cannot be looked at proves nothing */
	const size_t count = count_names(st->snapshots_dir, scratch);

	return count == SIZE_MAX ? unknown : count ||
	       (st->snapshots_dir >= 0 && st->overlay.dir >= 0 && os_stat(st->overlay.dir, new_names[1], &there, &ignored) == RC_OK);
}

/* Whether it is a database, with nothing in it. */
static bool is_empty(const struct salvage_database *d, const struct store *st)
{
	return d->d->present && (d->d == &st->meta ? st->schema == 0 : !st->backend_count && !st->overlay_sequence);
}

/* Whether something can be done about a fault of it. */
static bool can_mend(const struct salvage_database *d, const struct store *st, const struct store_fault *f, struct arena scratch)
{
	if (d->d->dir < 0 || d->done)
		return false;
	switch (f->kind) {
	case STORE_DB_FAULT:
		return f->fault.kind != BOLT_FOREIGN;
	case STORE_DB_MISSING:
		return !d->d->present && d->d->fd < 0 && (d->d == &st->meta || is_in_use(st, false, scratch));
	case STORE_DB_ROLLED_BACK:
		return !is_empty(d, st) || d->d == &st->meta || is_in_use(st, false, scratch);
	case STORE_DB_RECORD:
		return true;
	case STORE_DB_SCHEMA:
	case STORE_DB_UNRELATED:
	case STORE_DIR_UNUSABLE:
	default:
		return false;
	}
}

/* What a fault is about, if something can be done; NULL: nothing. */
static struct salvage_database *concerned(struct salvage *s, const struct store *st, const struct store_fault *f, struct arena scratch)
{
	struct salvage_database *const d = strcmp(f->path, s->meta.path) == 0	   ? &s->meta
					   : strcmp(f->path, s->overlay.path) == 0 ? &s->overlay
										   : NULL;

	s->meta.barred |= f->kind == STORE_DIR_UNUSABLE; /* without all that it describes it is not judged */
	s->left |= !d;
	if (!d)
		return NULL;
	d->faulty = true;
	if (can_mend(d, st, f, scratch))
		return d;
	s->left = d->barred = true;
	return NULL;
}

/* Why what was chosen is not to be done, where no fault says so; NULL: it is. */
static enum rc why_not(const struct build *m, const char **why, struct arena scratch, struct err *e)
{
	const struct store *const st = m->st;
	const struct salvage_counts *const n = &m->counts;
	struct arena mine = *m->keep;
	struct forward f = {0};
	enum rc rc = RC_OK;

	if (m->other && !m->shared)
		rc = forward_read(&f, st, m->is_meta ? NULL : m->other, m->is_meta ? m->other : NULL, &mine, scratch, e);
	const bool beside = f.snapshot_count || f.backend_count || f.sequence;
	if (m->seen && beside)
		*why = "the two have no snapshot in common: where root_path is set, use --config";
	else if (m->is_meta && !st->blob_count && (n->images || n->containers || n->snapshots || is_in_use(st, true, scratch)))
		*why = "no blob is in " STORE_CONTENT_DIR ": mount what belongs there";
	else if (!m->is_meta && !is_in_use(st, false, scratch) && (m->seen || beside))
		*why = "no directory is in " STORE_OVERLAY_DIR "/snapshots: mount what belongs there";
	else if (!m->is_meta && !os_same_mount(st->overlay.dir, st->snapshots_dir) &&
		 count_names(st->snapshots_dir, scratch) > n->snapshots)
		*why = "snapshots/ is a mount of its own: what no database knows could not be set aside";
	return rc;
}

static bool will_stay(const struct salvage_database *d)
{
	return d->faulty && (!d->needed || (d->tier != SALVAGE_FREELIST && (d->barred || d->why)));
}

/* The lock is no proof: of a file that was removed nobody holds one. */
static enum rc look_who(struct salvage *s, const struct store *st, int snapshots, struct arena *keep, struct arena scratch, struct err *e)
{
	const char *const names[] = {st->path, NULL};
	const struct host_question question = {.root = st->dir, .snapshots = snapshots, .names = names};
	struct host_view view = {0};
	const enum rc rc = host_look(&view, &question, keep, scratch, e);

	s->in_use = view.held ? view.held : view.mounted;
	return rc;
}

enum rc salvage_look(struct salvage *s, const struct store *st, struct arena *keep, struct arena scratch, struct err *e)
{
	struct salvage made = *s;
	enum rc rc = RC_OK;

	made.needed = made.left = made.meta.barred = made.overlay.barred = made.meta.faulty = made.overlay.faulty = false;
	if (!made.meta.done)
		made.meta = (struct salvage_database){.path = st->meta.path, .file = "meta.db", .d = &st->meta};
	if (!made.overlay.done)
		made.overlay = (struct salvage_database){.path = st->overlay.path, .file = "metadata.db", .d = &st->overlay};
	for (size_t i = 0; i < st->fault_count; i++) {
		struct salvage_database *const d = concerned(&made, st, &st->faults[i], scratch);
		if (!d)
			continue;
		if (!d->needed)
			d->fault = st->faults[i].fault;
		d->bad_records |= st->faults[i].kind == STORE_DB_RECORD;
		d->behind_rest |= st->faults[i].kind == STORE_DB_ROLLED_BACK && !is_empty(d, st);
		d->needed = made.needed = true;
	}
	struct salvage_database *const both[] = {&made.meta, &made.overlay};
	if (made.needed)
		rc = look_who(&made, st, -1, keep, scratch, e);
	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		struct looked looked = {.copy.fd = -1};
		struct build m;
		if (!is_due(both[i])) {
			both[i]->tier = both[i]->done ? both[i]->tier : SALVAGE_SOUND;
			continue;
		}
		both[i]->was_there = both[i]->d->present;
		if (!(rc = choose(both[i], st, i == 0, &looked, &m, keep, scratch, e)) && both[i]->tier != SALVAGE_FREELIST)
			rc = why_not(&m, &both[i]->why, scratch, e);
		both[i]->kept = m.counts;
		candidate_close(&looked.copy);
	}
	/* but for the list of free pages, what is made needs the other, and all that it is made of */
	const bool stays[] = {will_stay(&made.meta), will_stay(&made.overlay)};
	made.needed = false;
	for (size_t i = 0; i < 2; i++) {
		struct salvage_database *const d = both[i];
		if (is_due(d) && d->tier != SALVAGE_FREELIST && (stays[i] || stays[1 - i])) {
			d->needed = false;
			d->tier = SALVAGE_NONE;
			made.left = true;
		}
		made.needed |= is_due(d);
	}
	*s = made;
	return rc;
}

/* ---- writing ---- */

struct target {
	int fd; /* for writing */
};

static enum rc into_file(void *self, uint64_t off, const void *buf, size_t n, struct err *e)
{
	const struct target *const t = self;

	return os_write(t->fd, off, buf, n, e);
}

/* Owner, mode and attributes as those of the file that is replaced; where there is none, as containerd makes it. */
static enum rc dress(int dir, const char *file, const char *name, bool is_meta, struct arena scratch, struct err *e)
{
	char *const list = arena_get(&scratch, LIMIT_XATTR_BYTES);
	uint8_t *const value = arena_get(&scratch, LIMIT_XATTR_BYTES);
	struct stat st = {0};
	size_t n = 0;
	enum rc rc = os_stat(dir, file, &st, e);

	if (!list || !value)
		return no_memory(e);
	if (rc == RC_END)
		return os_chmod(dir, name, is_meta ? 0644 : 0600, e);
	if (rc || (rc = os_chown(dir, name, st.st_uid, st.st_gid, e)) || (rc = os_chmod(dir, name, st.st_mode & 07777, e)) ||
		(rc = os_xattr_list(dir, file, list, LIMIT_XATTR_BYTES, &n, e)))
		return rc;
	for (size_t at = 0; at < n; at += strlen(list + at) + 1) {
		size_t bytes = 0;
		rc = os_xattr_get(dir, file, list + at, value, LIMIT_XATTR_BYTES, &bytes, e);
		if (rc == RC_END)
			continue;
		if (rc || (rc = os_xattr_set(dir, name, list + at, value, bytes, e)))
			return rc;
	}
	return RC_OK;
}

/* Writes an edit into a file: the pages, then the meta page that shows them. */
static enum rc write_image(int dir, const char *name, const struct bolt_image *image, struct err *e)
{
	auto_fd fd = -1;
	struct stat st = {0};
	enum rc rc;

	if (!image->changed)
		return RC_OK;
	if ((rc = os_open_write(dir, name, &fd, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is gone", name) : rc;
	if ((rc = os_stat_fd(fd, &st, e)) || ((uint64_t)st.st_size < image->file_bytes && (rc = os_truncate(fd, image->file_bytes, e))))
		return rc;
	if (image->append.left &&
		((rc = os_write(fd, image->append_at, image->append.at, image->append.left, e)) || (rc = os_fsync(fd, e))))
		return rc;
	if ((rc = os_write(fd, image->meta_at, image->meta_page.at, image->meta_page.left, e)))
		return rc;
	return os_fsync(fd, e);
}

/* The file as it lies on the medium, if the system agrees, passes the whole check. */
static enum rc check_written(int dir, const char *name, struct arena scratch, struct err *e)
{
	struct bolt_fault fault = {0};
	struct bolt_stats stats;
	struct bolt b;
	struct src src;
	auto_fd fd = -1;
	enum rc rc = os_open_file(dir, name, &fd, e);

	if (rc == RC_OK)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
	if (rc || (rc = os_src(fd, &src, e)))
		return rc;
	rc = bolt_open(&b, &src, &scratch, &fault, e);
	if (rc == RC_OK)
		rc = bolt_check(&b, scratch, &stats, &fault, e);
	if (rc == RC_CORRUPT) {
		errno = EIO;
		return fail(e, RC_IO, "the new %s does not read back as it was written: page %llu: %s", name,
			(unsigned long long)fault.page, fault.text);
	}
	return rc;
}

/* The new file beside the old one, without what is made again. */
static enum rc write_base(struct build *m, int dir, const char *name, struct arena scratch, struct err *e)
{
	struct target t = {-1};
	const struct bolt_sink sink = {into_file, &t};
	auto_fd fd = -1;
	uint64_t bytes = 0, free_bytes = 0, inodes = 0;
	struct stat left = {0};
	enum rc rc;

	rc = os_stat(dir, name, &left, e);
	if (rc == RC_OK && ((rc = os_unlink(dir, name, e)) || (rc = os_fsync(dir, e)))) /* of a run that was cut off */
		return rc;
	if (rc && rc != RC_END)
		return rc;
	if ((rc = os_free(dir, &free_bytes, &inodes, e)))
		return rc;
	if (free_bytes < m->d->d->src.size + MARGIN_BYTES || inodes < 16) {
		errno = ENOSPC;
		return fail(e, RC_IO, "%llu bytes must be free to make %s again", (unsigned long long)(m->d->d->src.size + MARGIN_BYTES),
			m->d->path);
	}
	if ((rc = os_create(dir, name, 0600, &fd, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is in the way", name) : rc;
	t.fd = fd;
	if ((rc = make(m, &sink, &bytes, scratch, e)) || (rc = os_fsync(fd, e)))
		return rc;
	return dress(dir, m->d->file, name, m->is_meta, scratch, e);
}

/* The flags of what somebody has locked, taken away; 0: it has none, or none that can be asked for. */
static enum rc unlock(int dir, const char *name, unsigned *flags, struct err *e)
{
	struct err ignored = {0}; /* then whoever changes it is told */

	*flags = 0;
	return os_locked_flags(dir, name, flags, &ignored) || !*flags ? RC_OK : os_set_locked_flags(dir, name, 0, e);
}

/* In the root, or beside the database, where that is on a mount of its own, which no rename and no link leaves. */
static enum rc open_aside(const struct store *st, struct salvage_database *d, int *aside, struct err *e)
{
	auto_fd own = -1;

	d->beside = !os_same_mount(st->dir, d->d->dir);
	const enum rc rc = own_open_dir(d->beside ? d->d->dir : st->dir, STORE_OWN_DIR, &own, e);
	return rc ? rc : own_open_dir(own, OWN_ASIDE, aside, e);
}

/* The broken file gets a second name, which stays; of those before, one. */
static enum rc set_aside(const struct store *st, struct salvage_database *d, struct err *e)
{
	auto_fd aside = -1;
	char name[64], before[80];
	struct stat now = {0}, there = {0};
	unsigned flags = 0; /* containerd can do nothing with a database that is locked, either */
	enum rc rc = os_stat(d->d->dir, d->file, &now, e);

	if (rc)
		return rc == RC_END ? RC_OK : rc;
	(void)print_to(name, sizeof(name), "broken-%s", d->file); /* fits */
	(void)print_to(before, sizeof(before), "%s.1", name);	  /* fits */
	if ((rc = open_aside(st, d, &aside, e)) || (rc = unlock(d->d->dir, d->file, &flags, e)))
		return rc;
	rc = os_stat(aside, name, &there, e);
	if (rc == RC_OK && there.st_ino == now.st_ino && there.st_dev == now.st_dev)
		return RC_OK;
	if (rc == RC_OK)
		rc = os_rename(aside, name, aside, before, e);
	if ((rc && rc != RC_END) || (rc = os_link(d->d->dir, d->file, aside, name, e)))
		return rc == RC_END ? fail(e, RC_IO, "aside/%s is in the way", name) : rc;
	return os_fsync(aside, e);
}

/* A locked one moves as the others do, and is locked again; a cut between leaves it open. RC_END: to has one of that name. */
static enum rc move_directory(int from, const char *name, int to, const char *new_name, struct err *e)
{
	struct err late = {0};
	unsigned flags = 0;
	enum rc rc = unlock(from, name, &flags, e);

	rc = rc ? rc : os_rename_new(from, name, to, new_name, e);
	const enum rc locked = !flags ? RC_OK : os_set_locked_flags(rc ? from : to, rc ? name : new_name, flags, rc ? &late : e);
	return rc ? rc : locked;
}

/* Snapshots' directories that no record has: containerd would delete them, and what a container wrote may be in one. */
static enum rc move_directories(struct salvage *s, const struct store *st, const struct forward *f, struct arena scratch, struct err *e)
{
	auto_fd aside = -1;
	struct os_name *names = NULL;
	size_t count = 0, moved = 0;
	enum rc rc = RC_OK;

	if (st->snapshots_dir < 0 || (rc = os_list(st->snapshots_dir, &scratch, &names, &count, e)))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		uint64_t id = 0;
		char name[64];
		if ((rc = pace_on(st->hints->pace, 16 * f->backend_count, e)) || parse_decimal(span_of_string(names[i].name), &id) ||
			forward_knows(f, id))
			continue;
		(void)print_to(name, sizeof(name), "snapshot-%s", names[i].name); /* 20 digits fit */
		if (aside < 0 && (rc = open_aside(st, &s->overlay, &aside, e)))
			break;
		rc = move_directory(st->snapshots_dir, names[i].name, aside, name, e);
		if (rc == RC_END) /* an older one of that number: it goes beside */
			rc = fail(e, RC_IO, "aside/%s is in the way: move it away and run again", name);
		moved += rc == RC_OK;
	}
	s->directories_aside += moved; /* of a failure too */
	if (rc || !moved)
		return rc;
	rc = os_fsync(st->snapshots_dir, e);
	return rc ? rc : os_fsync(aside, e);
}

static enum rc take_name(const struct salvage_database *d, const char *name, struct err *e)
{
	enum rc rc = d->d->fd >= 0 ? os_rename(d->d->dir, name, d->d->dir, d->file, e)
				   : os_rename_new(d->d->dir, name, d->d->dir, d->file, e);

	if (rc == RC_END)
		return fail(e, RC_IO, "%s has appeared meanwhile: stop containerd, and begin again", d->path);
	return rc ? rc : os_fsync(d->d->dir, e);
}

enum rc salvage_show(struct bolt *b, int dir, const char *file, struct arena scratch, struct err *e)
{
	struct bolt_edit *t = NULL;
	struct bolt_image image = {0};
	enum rc rc = bolt_edit_begin(&t, b, &scratch, e);

	if (rc)
		return rc;
	bolt_edit_drop_freelist(t);
	if ((rc = bolt_edit_make(t, &image, e)) || (rc = write_image(dir, file, &image, e)))
		return rc;
	return check_written(dir, file, scratch, e);
}

/* Opens the database that will be: the new file, or the one that is sound. */
static enum rc open_result(struct candidate *c, const struct salvage_database *d, const char *name, struct arena *a, struct err *e)
{
	struct bolt_fault fault = {0};
	const bool is_new = is_due(d) && d->tier != SALVAGE_FREELIST;
	enum rc rc;

	*c = (struct candidate){.fd = -1};
	if (d->d->dir < 0 || (!is_new && !d->d->present))
		return RC_END;
	if ((rc = os_open_file(d->d->dir, is_new ? name : d->file, &c->fd, e)) || (rc = os_src(c->fd, &c->src, e)))
		return rc;
	rc = bolt_open(&c->b, &c->src, a, &fault, e);
	return rc == RC_CORRUPT ? fail(e, RC_IO, "%s: %s", d->path, fault.text) : rc;
}

bool salvage_may_lack(const struct salvage_database *d)
{
	return d->needed && (d->behind_rest || d->tier == SALVAGE_CONTENT ||
				    (d->tier == SALVAGE_COPY && (d->behind || (!d->was_opened && !d->told_by_journal))));
}

static enum rc drop_freelist(struct salvage_database *d, struct arena scratch, struct err *e)
{
	struct candidate c;
	enum rc rc = open_result(&c, d, NULL, &scratch, e);

	if (rc == RC_OK)
		rc = salvage_show(&c.b, d->d->dir, d->file, scratch, e);
	candidate_close(&c);
	d->done = rc == RC_OK;
	return rc;
}

/* Of one namespace, or of several. */
static void lose_names(struct forward *f, struct span ns)
{
	const bool same = !f->names_lost || (!f->names_ns.bad && !ns.bad && span_equal(f->names_ns, ns));

	f->names_lost = true;
	f->names_ns = same ? ns : (struct span){.bad = true};
}

/* Whether names of images may be lost, and of which namespace. */
static void set_lost(const struct salvage *s, struct forward *f)
{
	const struct salvage_database *const d = &s->meta;

	f->names_lost = salvage_may_lack(d);
	f->containers_lost = f->names_lost;
	f->names = d->names;
	f->name_count = d->name_count;
	for (size_t i = 0; i < d->name_count; i++)
		lose_names(f, d->names[i].ns);
	for (size_t i = 0; d->needed && i < d->gap_count; i++)
		f->containers_lost |= d->gaps[i].what != SALVAGE_IMAGES;
	for (size_t i = 0; d->needed && i < d->gap_count; i++)
		if (d->gaps[i].what == SALVAGE_ALL || d->gaps[i].what == SALVAGE_IMAGES) {
			lose_names(f, d->gaps[i].ns);
		}
}

static bool is_in(const struct salvage_gap *g, struct span ns, struct span name)
{
	if (g->what != SALVAGE_ALL && g->what != SALVAGE_IMAGES)
		return false;
	if (g->what == SALVAGE_ALL)
		return g->ns.bad || span_equal(g->ns, ns);
	return span_equal(g->ns, ns) && (g->from.bad || span_compare(name, g->from) >= 0) && (g->to.bad || span_compare(name, g->to) < 0);
}

/* What the journal knows of images that the new database may lack. If it is of the very transaction that is broken, it knows all. */
static enum rc ask_journal(struct salvage *s, const struct store *st, struct arena *keep, struct err *e)
{
	struct salvage_database *const d = &s->meta;
	struct journal j = {0};
	auto_fd own = -1;
	struct err ignored = {0}; /* without the directory there is none */
	enum rc rc;

	if (!is_due(d) || d->tier == SALVAGE_FREELIST || os_open_dir(st->dir, STORE_OWN_DIR, &own, &ignored))
		return RC_OK;
	if ((rc = journal_read(&j, own, keep, e)) || !j.present)
		return rc;
	/* what a copy is of, and nothing of the file: that was the last, if a seal says so */
	for (size_t i = 0; i < j.identity.database_count; i++)
		d->told_by_journal |= d->txid && j.identity.databases[i].txid == d->txid && (d->was_opened || st->hints->was_sealed) &&
				      strcmp(j.identity.databases[i].path, d->path) == 0;
	const bool all = salvage_may_lack(d);
	for (size_t i = 0; i < j.name_count; i++) {
		const struct journal_name *const n = &j.names[i];
		bool lost = all;
		if ((rc = pace_on(st->hints->pace, 16 * (d->gap_count + d->name_count), e)))
			return rc;
		for (size_t k = 0; !lost && k < d->gap_count; k++)
			lost = is_in(&d->gaps[k], n->ns, n->name);
		struct forward_name *known = NULL;
		for (size_t k = 0; k < d->name_count; k++)
			if (span_equal(d->names[k].ns, n->ns) && span_equal(d->names[k].name, n->name))
				known = &d->names[k];
		if (n->kind != JOURNAL_IMAGE || (!lost && !known))
			continue;
		if (!known && !(known = arena_push(keep, (void **)&d->names, &d->name_count, sizeof(*known))))
			return no_memory(e);
		*known = (struct forward_name){
			.ns = n->ns, .name = n->name, .digest = n->digest, .media_type = n->media_type, .size = n->size};
	}
	return RC_OK;
}

/* What the two, the blobs and the directories say of each other. */
static enum rc bring_forward(struct salvage *s, const struct store *st, const char *const *names, struct forward *f, struct arena *keep,
	struct arena scratch, struct err *e)
{
	struct salvage_database *const both[] = {&s->meta, &s->overlay};
	struct candidate open[2] = {{.fd = -1}, {.fd = -1}};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		rc = open_result(&open[i], both[i], names[i], &scratch, e);
		open[i].b.pace = st->hints->pace;
		if (rc == RC_END)
			rc = RC_OK;
	}
	if (rc == RC_OK)
		rc = forward_read(f, st, open[0].fd < 0 ? NULL : &open[0].b, open[1].fd < 0 ? NULL : &open[1].b, keep, scratch, e);
	if (rc == RC_OK)
		rc = ask_journal(s, st, keep, e);
	set_lost(s, f);
	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		struct arena mine = scratch;
		struct bolt_edit *t = NULL;
		struct bolt_image image = {0};
		if (!is_due(both[i]) || both[i]->tier == SALVAGE_FREELIST)
			continue;
		if ((rc = bolt_edit_begin(&t, &open[i].b, &mine, e)) ||
			(rc = i == 0 ? forward_meta(f, t, &both[i]->made, &mine, e) : forward_overlay(f, t, &both[i]->made, &mine, e)) ||
			(rc = bolt_edit_make(t, &image, e)) || (rc = write_image(both[i]->d->dir, names[i], &image, e)))
			break;
		rc = check_written(both[i]->d->dir, names[i], mine, e);
	}
	rc = rc ? rc : was_stopped(st->hints->pace, e);
	s->meta.recovered += f->recovered;
	candidate_close(&open[0]);
	candidate_close(&open[1]);
	return rc;
}

/* Nobody may have it before we have. */
static enum rc lock_new(struct salvage *s, const struct store *st, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc;

	if ((rc = os_open_file(st->meta.dir, new_names[0], &fd, e)) || (rc = os_lock(fd, e)))
		return rc == RC_END ? fail(e, RC_IO, "somebody has opened %s", new_names[0]) : rc;
	s->lock = take_fd(&fd);
	return RC_OK;
}

static enum rc write_all(struct salvage *s, const struct store *st, struct arena *keep, struct arena scratch, struct err *e)
{
	const char *const names[] = {new_names[0], new_names[1]};
	struct salvage_database *const both[] = {&s->meta, &s->overlay};
	bool is_new[2];
	struct forward f = {0};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		struct looked looked = {.copy.fd = -1};
		struct build m;
		is_new[i] = is_due(both[i]) && both[i]->tier != SALVAGE_FREELIST;
		if (!is_due(both[i]))
			continue;
		if (both[i]->tier == SALVAGE_FREELIST) {
			rc = drop_freelist(both[i], scratch, e);
			continue;
		}
		both[i]->tier = SALVAGE_NONE;
		if (!(rc = choose(both[i], st, i == 0, &looked, &m, keep, scratch, e)))
			rc = write_base(&m, both[i]->d->dir, names[i], scratch, e);
		both[i]->kept = m.counts;
		candidate_close(&looked.copy);
	}
	if (rc || (!is_new[0] && !is_new[1]))
		return rc;
	if ((rc = bring_forward(s, st, names, &f, keep, scratch, e)))
		return rc;
	if (is_new[0] && (rc = lock_new(s, st, e)))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < 2; i++)
		if (is_new[i] && !(rc = os_fsync(both[i]->d->dir, e)))
			rc = set_aside(st, both[i], e);
	if (rc == RC_OK && is_new[1])
		rc = move_directories(s, st, &f, scratch, e);
	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		if (!is_new[i])
			continue;
		rc = take_name(both[i], names[i], e);
		both[i]->done = rc == RC_OK;
	}
	return rc;
}

enum rc salvage_write(struct salvage *s, const struct store *st, struct arena *keep, struct arena scratch, struct err *e)
{
	const struct salvage_database *const both[] = {&s->meta, &s->overlay};
	const enum rc rc = write_all(s, st, keep, scratch, e);
	struct err ignored = {0}; /* what stays is taken away by the next run */

	/* but not what tells the next run that directories were moved */
	for (size_t i = 0; rc && !s->directories_aside && i < 2; i++)
		if (both[i]->d && both[i]->d->dir >= 0) {
			const enum rc gone = os_unlink(both[i]->d->dir, new_names[i], &ignored);
			(void)gone;
		}
	return rc;
}

/* ---- anew ---- */

#define SNAPSHOTTER "io.containerd.snapshotter.v1."

/* What is not there is nowhere. RC_END: one of that name was moved before. */
static enum rc move(int from, const char *name, int into, struct err *e)
{
	struct stat there = {0};
	enum rc rc = os_stat(from, name, &there, e);

	return rc ? optional(rc) : os_rename_new(from, name, into, name, e);
}

/* The database of a store in which nothing is. */
static enum rc write_empty(const struct store *st, struct arena *keep, struct arena scratch, struct err *e)
{
	struct salvage_database d = {.path = st->meta.path, .file = "meta.db", .d = &st->meta};
	struct build m = {.st = st, .d = &d, .is_meta = true, .keep = keep, .page_size = 4096};
	enum rc rc;

	if ((rc = write_base(&m, st->meta.dir, new_names[0], scratch, e)) ||
		(rc = check_written(st->meta.dir, new_names[0], scratch, e)))
		return rc;
	return os_fsync(st->meta.dir, e);
}

enum rc salvage_reset(struct salvage *s, const struct store *st, char aside[16], struct arena *keep, struct arena scratch, struct err *e)
{
	static const char moved[][40] = {OWN_BACKUP_DIR, SNAPSHOTTER "overlayfs", SNAPSHOTTER "native", SNAPSHOTTER "erofs"};
	const size_t count = sizeof(moved) / sizeof(moved[0]);
	const struct salvage_database meta = {.path = st->meta.path, .file = "meta.db", .d = &st->meta};
	auto_fd own = -1, old = -1, into = -1, backup = -1;
	struct arena listed = scratch;
	struct os_name *names = NULL;
	struct stat there = {0};
	size_t name_count = 0;
	unsigned n = 0;
	enum rc rc = look_who(s, st, st->snapshots_dir, keep, scratch, e);

	if (rc)
		return rc;
	if (s->in_use)
		return fail(e, RC_LIMIT, "%s uses this store: stop it and run this again", s->in_use);
	if (st->meta.dir < 0 || (st->overlay_path && st->overlay.dir >= 0))
		return fail(e, RC_LIMIT, "%s is not in the root: move it by hand first",
			st->meta.dir < 0 ? STORE_META_DIR : st->overlay_path);
	if ((rc = own_open_dir(st->dir, STORE_OWN_DIR, &own, e)) || (rc = own_open_dir(own, OWN_ASIDE, &old, e)) ||
		(rc = os_list(st->dir, &listed, &names, &name_count, e)))
		return rc;
	if (st->meta.fd < 0 && (rc = os_stat(st->meta.dir, "meta.db", &there, e)) != RC_END)
		return rc ? rc : fail(e, RC_LIMIT, "%s is no regular file: move it away first", st->meta.path);
	for (size_t i = 0; i < name_count; i++) {
		auto_fd dir = -1, below = -1;
		bool known = strncmp(names[i].name, SNAPSHOTTER, sizeof(SNAPSHOTTER) - 1) != 0;
		if (known)
			continue;
		for (size_t k = 1; k < count; k++)
			known |= strcmp(names[i].name, moved[k]) == 0;
		rc = os_open_dir(st->dir, names[i].name, &dir, e);
		if (rc == RC_CORRUPT)
			return fail(e, RC_LIMIT, "%s is no directory: move it away first", names[i].name);
		if (rc)
			return rc;
		struct err ignored = {0}; /* what cannot be opened is no mount */
		const bool apart = os_open_dir(dir, "snapshots", &below, &ignored) == RC_OK && !os_same_mount(dir, below);
		if (known && (apart || !os_same_mount(st->dir, dir)))
			return fail(e, RC_LIMIT, "%s%s is a mount of its own: empty it, and unmount it meanwhile", names[i].name,
				apart ? "/snapshots" : "");
		/* containerd would remove in it what the new meta.db does not name; a plugin that is only loaded has no database */
		if (!known && (rc = os_stat(dir, "metadata.db", &there, e)) != RC_END)
			return rc ? rc : fail(e, RC_LIMIT, "%s is not set aside by this: move it away first", names[i].name);
	}
	do {
		(void)print_to(aside, 16, n ? STORE_RESET ".%u" : STORE_RESET, n); /* fits */
	} while ((rc = os_stat(old, aside, &there, e)) == RC_OK && ++n < SALVAGE_RESETS);
	if (rc != RC_END)
		return rc ? rc
			  : fail(e, RC_LIMIT, STORE_OWN_DIR "/" OWN_ASIDE "/%s is there, of an earlier one: remove those first", aside);
	if ((rc = write_empty(st, keep, scratch, e)) || (rc = lock_new(s, st, e)))
		return rc;
	/* with the journal goes the marker of a clean stop, which nobody must believe then */
	if (!store_is_half(st) &&
		((rc = own_open_dir(own, OWN_BACKUP_DIR, &backup, e)) ||
			/* one of a reset that was cut off may be there */
			((rc = move(own, "journal", backup, e)) == RC_END && (rc = os_rename(own, "journal", backup, "journal", e))) ||
			rc || (rc = os_fsync(backup, e)) || (rc = os_fsync(own, e))))
		return rc;
	if ((rc = own_open_dir(own, STORE_RESET, &into, e))) /* from here on it is done, if need be by the next run */
		return rc;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		rc = move(i ? st->dir : own, moved[i], into, e);
		if (rc == RC_END)
			rc = fail(e, RC_LIMIT, STORE_OWN_DIR "/" STORE_RESET "/%s is in the way: move it away and run again", moved[i]);
	}
	if (rc == RC_OK && st->meta.fd >= 0)
		rc = optional(os_link(st->meta.dir, "meta.db", into, "meta.db", e)); /* it was, before the cut */
	if (rc || (rc = os_fsync(into, e)) || (rc = os_fsync(st->dir, e)) || (rc = take_name(&meta, new_names[0], e)) ||
		(rc = os_rename(own, STORE_RESET, old, aside, e)) || (rc = os_fsync(old, e)))
		return rc;
	return os_fsync(own, e);
}

/* Staging was in it when that was a mount of its own; with something in it it stays. */
static enum rc sweep_place(int dir, struct err *e)
{
	struct stat there = {0};
	struct err left = {0};
	enum rc rc = dir < 0 ? RC_END : os_stat(dir, STORE_OWN_DIR, &there, &left);

	if (rc == RC_OK && (rc = os_rmdir(dir, STORE_OWN_DIR, &left)) && os_write_failed()) {
		*e = left;
		return rc;
	}
	return RC_OK;
}

enum rc salvage_sweep(const struct store *st, struct err *e)
{
	const int dirs[] = {st->meta.dir, st->overlay.dir};
	auto_fd content = -1;
	struct err ignored = {0};
	struct stat there = {0};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < 2; i++) {
		rc = dirs[i] < 0 ? RC_END : os_stat(dirs[i], new_names[i], &there, e);
		if (rc == RC_OK && !(rc = os_unlink(dirs[i], new_names[i], e)))
			rc = os_fsync(dirs[i], e);
		rc = rc == RC_END ? RC_OK : rc;
	}
	if (rc == RC_OK && os_open_dir(st->dir, STORE_CONTENT_DIR, &content, &ignored) == RC_OK)
		rc = sweep_place(content, e);
	return rc ? rc : sweep_place(st->overlay.dir, e);
}

void salvage_close(struct salvage *s)
{
	os_close(&s->lock);
	os_close(&s->old);
	*s = (struct salvage){.lock = -1, .old = -1};
}

bool salvage_mends(const struct salvage *s, const struct span *path)
{
	return (s->meta.needed && span_is(*path, s->meta.path)) || (s->overlay.needed && span_is(*path, s->overlay.path));
}
