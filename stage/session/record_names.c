/* SPDX-License-Identifier: MIT */
/* Where they are in meta.db: containerd 2.1: core/metadata/buckets.go. */
#include "session/record_names.h"


#include "format/bolt.h"
#include "ground/os.h"

/* names that are followed, in under 3 MiB; of more the settled copies tell */
#define NAMES_MAX 4000

/* A look at meta.db. */
struct reading {
	struct bolt *b;
	struct recorded_names *into;
	struct span ns;
	enum journal_name_kind kind;
	struct err *e;
};

static enum rc add(struct recorded_names *r, const struct journal_name *n, struct err *e)
{
	struct journal_name *const made =
		r->count < NAMES_MAX ? arena_push(&r->a, (void **)&r->names, &r->count, sizeof(*made)) : NULL;

	if (!made)
		return r->count < NAMES_MAX ? no_memory(e) : fail(e, RC_LIMIT, "more than %d names", NAMES_MAX);
	*made = *n;
	struct span *const parts[] = {
		&made->ns, &made->name, &made->digest, &made->media_type, &made->snapshotter, &made->key, &made->image};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		*parts[i] = arena_copy(&r->a, *parts[i]);
		if (parts[i]->bad)
			return no_memory(e);
	}
	return RC_OK;
}

/* Empty if it is not there. */
static enum rc value(const struct reading *r, const struct bolt_bucket *in, const char *key, struct arena *a, struct span *out)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(r->b, in, span_of_string(key), a, &item, r->e);

	*out = rc || item.is_bucket ? (struct span){0} : item.value;
	return rc == RC_END ? RC_OK : rc;
}

static enum rc bucket(const struct reading *r, const struct bolt_bucket *in, const char *key, struct arena *a, struct bolt_bucket *out)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(r->b, in, span_of_string(key), a, &item, r->e);

	return rc ? rc : bolt_bucket_of(&item, out) ? RC_END : RC_OK;
}

typedef enum rc (*each_fn)(struct reading *r, struct span key, const struct bolt_bucket *in, struct arena scratch);

/* Each bucket in a bucket; a bucket that is not there has none. */
static enum rc each(struct reading *r, const struct bolt_bucket *in, const char *name, each_fn fn, struct arena scratch)
{
	struct bolt_cursor *c = NULL;
	struct bolt_bucket all = {0}, one = {0};
	struct bolt_item item = {0};
	enum rc rc = bucket(r, in, name, &scratch, &all);

	if (rc == RC_OK)
		rc = bolt_cursor_open(r->b, &all, &scratch, &c, r->e);
	while (rc == RC_OK && (rc = bolt_cursor_next(c, &item, r->e)) == RC_OK)
		if (bolt_bucket_of(&item, &one) == RC_OK)
			rc = fn(r, item.key, &one, scratch);
	return rc == RC_END ? RC_OK : rc;
}

static enum rc add_image(struct reading *r, const struct bolt_bucket *image, struct journal_name *n, struct arena *a)
{
	struct bolt_bucket target = {0};
	struct span size = {0};
	enum rc rc = bucket(r, image, "target", a, &target);

	if (rc || (rc = value(r, &target, "digest", a, &n->digest)) || (rc = value(r, &target, "mediatype", a, &n->media_type)) ||
		(rc = value(r, &target, "size", a, &size)))
		return rc;
	const int64_t bytes = span_varint(&size);
	n->size = size.bad || bytes < 0 ? 0 : (uint64_t)bytes;
	return n->digest.left && n->size ? RC_OK : RC_END;
}

static enum rc add_container(struct reading *r, const struct bolt_bucket *container, struct journal_name *n, struct arena *a)
{
	enum rc rc = value(r, container, "snapshotter", a, &n->snapshotter);

	if (rc == RC_OK)
		rc = value(r, container, "snapshotKey", a, &n->key);
	return rc ? rc : value(r, container, "image", a, &n->image);
}

/* Of leases those that do not expire. */
static enum rc add_lease(struct reading *r, const struct bolt_bucket *lease, struct arena *a)
{
	struct bolt_bucket labels = {0};
	struct span until = {0};
	enum rc rc = bucket(r, lease, "labels", a, &labels);

	if (rc == RC_OK)
		rc = value(r, &labels, "containerd.io/gc.expire", a, &until);
	return rc == RC_END ? RC_OK : rc ? rc : until.left ? RC_END : RC_OK;
}

static enum rc add_one(struct reading *r, struct span key, const struct bolt_bucket *in, struct arena scratch)
{
	struct journal_name n = {.kind = r->kind, .ns = r->ns, .name = key};
	const enum rc rc = r->kind == JOURNAL_IMAGE	  ? add_image(r, in, &n, &scratch)
			   : r->kind == JOURNAL_CONTAINER ? add_container(r, in, &n, &scratch)
							  : add_lease(r, in, &scratch);

	return rc == RC_END ? RC_OK : rc ? rc : add(r->into, &n, r->e);
}

static enum rc add_namespace(struct reading *r, struct span key, const struct bolt_bucket *in, struct arena scratch)
{
	static const char kinds[][11] = {"images", "containers", "leases"};
	enum rc rc = RC_OK;

	r->ns = key;
	for (unsigned i = 0; rc == RC_OK && i < 3; i++) {
		r->kind = (enum journal_name_kind)i;
		rc = each(r, in, kinds[i], add_one, scratch);
	}
	return rc;
}

static int compare(const void *a, const void *b)
{
	return journal_compare_names(a, b);
}

/* bbolt writes into pages that the last two transactions cannot reach: while the same one is the last, all we read was whole. */
static enum rc read_all(struct recorded_names *into, int fd, struct arena scratch, struct err *e)
{
	struct bolt b = {0}, again = {0};
	struct reading r = {.b = &b, .into = into, .e = e};
	struct bolt_fault fault;
	struct src src;
	enum rc rc;

	if ((rc = os_src(fd, &src, e)) || (rc = bolt_open(&b, &src, &scratch, &fault, e)))
		return rc;
	const struct bolt_bucket root = bolt_root(&b);
	if ((rc = each(&r, &root, "v1", add_namespace, scratch)) || (rc = os_src(fd, &src, e)) ||
		(rc = bolt_open(&again, &src, &scratch, &fault, e)))
		return rc;
	if (into->count)
		sort(into->names, into->count, sizeof(*into->names), compare);
	return again.meta[again.current].txid == b.meta[b.current].txid ? RC_OK : RC_CORRUPT;
}

static bool same(const struct journal_name *a, const struct journal_name *b)
{
	return span_equal(a->digest, b->digest) && span_equal(a->media_type, b->media_type) && a->size == b->size &&
	       span_equal(a->snapshotter, b->snapshotter) && span_equal(a->key, b->key) && span_equal(a->image, b->image);
}

static void put_difference(const struct recorded_names *before, const struct recorded_names *now, struct journal_writer *w)
{
	size_t i = 0, k = 0;

	while (i < before->count || k < now->count) {
		const int order = i == before->count ? 1
				  : k == now->count  ? -1
						     : journal_compare_names(&before->names[i], &now->names[k]);
		if (order < 0) {
			journal_put_name(w, &(struct journal_name){.kind = before->names[i].kind,
						    .ns = before->names[i].ns,
						    .name = before->names[i].name,
						    .gone = true});
		} else if (order > 0 || !same(&before->names[i], &now->names[k])) {
			journal_put_name(w, &now->names[k]);
		}
		i += order <= 0;
		k += order >= 0;
	}
}

enum rc record_names_begin(struct recorded_names *r, const struct journal *j, struct err *e)
{
	enum rc rc;

	record_names_close(r);
	if ((rc = arena_open(&r->a, e)))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < j->name_count && i < NAMES_MAX; i++)
		rc = add(r, &j->names[i], e);
	return rc;
}

void record_names_close(struct recorded_names *r)
{
	arena_close(&r->a);
	*r = (struct recorded_names){0};
}

enum rc record_names_put(struct recorded_names *r, int fd, struct journal_writer *w, struct err *e)
{
	struct recorded_names now = {0};
	struct arena scratch = {0};
	enum rc rc = arena_open(&now.a, e);

	if (rc == RC_OK)
		rc = arena_open(&scratch, e);
	if (rc == RC_OK)
		rc = read_all(&now, fd, scratch, e);
	arena_close(&scratch);
	if (rc) {
		record_names_close(&now);
		return rc;
	}
	put_difference(r, &now, w);
	record_names_close(r);
	*r = now;
	return RC_OK;
}
