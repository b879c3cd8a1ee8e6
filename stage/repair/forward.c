/* SPDX-License-Identifier: MIT */
#include "repair/forward.h"

#include <stdlib.h>
#include <string.h>

#include "format/oci.h"
#include "ground/os.h"
#include "memory/own.h"

#define ROOT_LABEL "containerd.io/gc.root"
/* documents on the way from an image to its layers */
#define TODO_MAX 4096

/* ---- reading ---- */

static enum rc open_bucket(struct bolt *b, const struct bolt_bucket *in, struct span name, struct arena *a, struct bolt_bucket *out,
	struct err *e)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(b, in, name, a, &item, e);

	return rc ? rc : bolt_bucket_of(&item, out) ? RC_END : RC_OK;
}

/* A value of a bucket in the arena; empty if it is not there. */
static enum rc get(struct bolt *b, const struct bolt_bucket *in, const char *key, struct arena *a, struct span *value, struct err *e)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(b, in, span_of_string(key), a, &item, e);

	*value = rc || item.is_bucket ? (struct span){0} : item.value;
	return rc == RC_END ? RC_OK : rc;
}

typedef enum rc (*record_fn)(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e);

/* Each bucket of a bucket. */
static enum rc each(struct forward *f, struct bolt *b, const struct bolt_bucket *in, struct span ns, record_fn fn, struct arena *keep,
	struct arena scratch, struct err *e)
{
	struct bolt_cursor *c = NULL;
	struct bolt_item item = {0};
	enum rc rc = bolt_cursor_open(b, in, &scratch, &c, e);

	while (rc == RC_OK && (rc = bolt_cursor_next(c, &item, e)) == RC_OK) {
		struct bolt_bucket record = {0};
		if (bolt_bucket_of(&item, &record) == RC_OK)
			rc = fn(f, b, ns, item.key, &record, keep, scratch, e);
	}
	return rc == RC_END ? RC_OK : rc;
}

static enum rc add_snapshot(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e)
{
	struct forward_snapshot *const s = arena_push(keep, (void **)&f->snapshots, &f->snapshot_count, sizeof(*s));

	(void)scratch;
	if (!s)
		return no_memory(e);
	s->ns = ns;
	s->key = arena_copy(keep, key);
	enum rc rc = get(b, record, "name", keep, &s->name, e);
	return rc ? rc : s->key.bad ? no_memory(e) : get(b, record, "parent", keep, &s->parent, e);
}

static enum rc add_image(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e)
{
	struct bolt_bucket target = {0};
	struct forward_image image = {.ns = ns};
	struct span digest = {0};
	enum rc rc = open_bucket(b, record, SPAN_LITERAL("target"), &scratch, &target, e);

	if (rc == RC_OK)
		rc = get(b, &target, "digest", &scratch, &digest, e);
	if (rc || digest_parse(digest, &image.target))
		return rc == RC_END ? RC_OK : rc;
	struct forward_image *const made = arena_push(keep, (void **)&f->images, &f->image_count, sizeof(*made));
	image.name = arena_copy(keep, key);
	if (!made || image.name.bad)
		return no_memory(e);
	*made = image;
	return RC_OK;
}

static enum rc add_container(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e)
{
	struct forward_container *const c = arena_push(keep, (void **)&f->containers, &f->container_count, sizeof(*c));

	(void)key;
	(void)scratch;
	if (!c)
		return no_memory(e);
	c->ns = ns;
	return get(b, record, "snapshotKey", keep, &c->snapshot_key, e);
}

static enum rc add_namespace(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e)
{
	struct bolt_bucket images = {0}, containers = {0}, snapshots = {0}, overlay = {0};
	const struct span name = arena_copy(keep, key);
	enum rc rc;

	(void)ns;
	if (name.bad)
		return no_memory(e);
	rc = open_bucket(b, record, SPAN_LITERAL("images"), &scratch, &images, e);
	if (rc == RC_OK)
		rc = each(f, b, &images, name, add_image, keep, scratch, e);
	if (rc && rc != RC_END)
		return rc;
	rc = open_bucket(b, record, SPAN_LITERAL("containers"), &scratch, &containers, e);
	if (rc == RC_OK)
		rc = each(f, b, &containers, name, add_container, keep, scratch, e);
	if (rc && rc != RC_END)
		return rc;
	rc = open_bucket(b, record, SPAN_LITERAL("snapshots"), &scratch, &snapshots, e);
	if (rc == RC_OK)
		rc = open_bucket(b, &snapshots, SPAN_LITERAL("overlayfs"), &scratch, &overlay, e);
	if (rc == RC_OK)
		rc = each(f, b, &overlay, name, add_snapshot, keep, scratch, e);
	return rc == RC_END ? RC_OK : rc;
}

enum rc forward_has(struct bolt *b, bool is_meta, struct span backend_key, bool *has, struct arena scratch, struct err *e)
{
	struct span ns = {0}, key = {0};
	struct bolt_bucket in = bolt_root(b);
	uint64_t number = 0;
	enum rc rc = RC_OK;

	*has = false;
	if (!store_split_key(backend_key, &ns, &number, &key))
		return RC_OK;
	const struct span of_meta[] = {SPAN_LITERAL("v1"), ns, SPAN_LITERAL("snapshots"), SPAN_LITERAL("overlayfs"), key},
			  of_overlay[] = {SPAN_LITERAL("v1"), SPAN_LITERAL("snapshots"), backend_key};
	for (size_t i = 0; rc == RC_OK && i < (is_meta ? 5 : 3); i++)
		rc = open_bucket(b, &in, is_meta ? of_meta[i] : of_overlay[i], &scratch, &in, e);
	*has = rc == RC_OK;
	return rc == RC_END ? RC_OK : rc;
}

static enum rc add_backend(struct forward *f, struct bolt *b, struct span ns, struct span key, const struct bolt_bucket *record,
	struct arena *keep, struct arena scratch, struct err *e)
{
	struct span id = {0}, kind = {0};
	enum rc rc;

	(void)ns;
	if ((rc = get(b, record, "id", &scratch, &id, e)) || (rc = get(b, record, "kind", &scratch, &kind, e)))
		return rc;
	const uint64_t number = span_uvarint(&id);
	const uint8_t k = span_u8(&kind);
	if (!number || id.bad || id.left || kind.bad || k < SNAPSHOT_VIEW || k > SNAPSHOT_COMMITTED)
		return RC_OK; /* a fault of a database that is still to be made again: it is no snapshot */
	struct forward_backend *const x = arena_push(keep, (void **)&f->backends, &f->backend_count, sizeof(*x));
	if (!x)
		return no_memory(e);
	x->id = number;
	x->kind = (enum snapshot_kind)k;
	x->key = arena_copy(keep, key);
	if (x->key.bad)
		return no_memory(e);
	if ((rc = get(b, record, "parent", keep, &x->parent, e)))
		return rc;
	f->id_max = x->id > f->id_max ? x->id : f->id_max;
	if (!store_split_key(x->key, &x->ns, &x->number, &x->user_key) || !x->ns.left)
		x->user_key = (struct span){0};
	return RC_OK;
}

/* Numbers of directories that a repair, perhaps this one before it was cut off, has moved aside, so that none is given out again. */
static enum rc read_aside(struct forward *f, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	struct err why = {0}; /* what cannot be read is not avoided */
	auto_fd own = -1, aside = -1;
	size_t count = 0;

	if (os_open_dir(f->st->dir, STORE_OWN_DIR, &own, &why) || os_open_dir(own, OWN_ASIDE, &aside, &why))
		return RC_OK;
	if (os_list(aside, &scratch, &names, &count, &why) == RC_NOMEM)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		const size_t before = sizeof("snapshot-") - 1;
		uint64_t id = 0;
		if (strncmp(names[i].name, "snapshot-", before) == 0 &&
			parse_decimal(span_of_string(names[i].name + before), &id) == RC_OK && id <= UINT64_MAX / 2)
			f->id_max = id > f->id_max ? id : f->id_max;
	}
	return RC_OK;
}

/* The directories have been handed out as well. */
static enum rc read_directories(struct forward *f, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0, strange = 0;
	enum rc rc;

	f->sequence = f->id_max;
	if (f->st->snapshots_dir < 0)
		return RC_OK;
	if ((rc = os_list(f->st->snapshots_dir, &scratch, &names, &count, e)))
		return rc;
	for (size_t i = 0; i < count; i++) {
		uint64_t id = 0;
		if (parse_decimal(span_of_string(names[i].name), &id) || id <= f->sequence || id > UINT64_MAX / 2)
			continue;
		f->id_max = id > f->id_max ? id : f->id_max;
		f->strange = strange++ ? 0 : id;
	}
	return read_aside(f, scratch, e);
}

enum rc forward_read(struct forward *f, const struct store *st, struct bolt *meta, struct bolt *overlay, struct arena *keep,
	struct arena scratch, struct err *e)
{
	struct bolt_bucket root, v1 = {0}, snapshots = {0};
	enum rc rc = RC_OK;

	*f = (struct forward){.st = st, .meta = meta, .overlay = overlay};
	if (meta) {
		root = bolt_root(meta);
		rc = open_bucket(meta, &root, SPAN_LITERAL("v1"), &scratch, &v1, e);
		if (rc == RC_OK)
			rc = each(f, meta, &v1, (struct span){0}, add_namespace, keep, scratch, e);
		if (rc && rc != RC_END)
			return rc;
	}
	if (overlay) {
		root = bolt_root(overlay);
		rc = open_bucket(overlay, &root, SPAN_LITERAL("v1"), &scratch, &v1, e);
		if (rc == RC_OK)
			rc = open_bucket(overlay, &v1, SPAN_LITERAL("snapshots"), &scratch, &snapshots, e);
		if (rc == RC_OK)
			rc = each(f, overlay, &snapshots, (struct span){0}, add_backend, keep, scratch, e);
		f->id_max = rc == RC_OK && snapshots.sequence > f->id_max ? snapshots.sequence : f->id_max;
		if (rc && rc != RC_END)
			return rc;
	}
	return read_directories(f, scratch, e);
}

bool forward_knows(const struct forward *f, uint64_t id)
{
	if (id && id == f->taken)
		return true;
	for (size_t i = 0; i < f->backend_count; i++)
		if (f->backends[i].id == id)
			return true;
	return false;
}

/* ---- values ---- */

/* Time.MarshalBinary of Go, in UTC. */
static struct span time_value(uint64_t unix_ns, uint8_t out[15])
{
	const uint64_t seconds = unix_ns / 1000000000u + 62135596800u;
	const uint64_t ns = unix_ns % 1000000000u;

	out[0] = 1;
	for (unsigned i = 0; i < 8; i++)
		out[1 + i] = (uint8_t)(seconds >> 8 * (7 - i));
	for (unsigned i = 0; i < 4; i++)
		out[9 + i] = (uint8_t)(ns >> 8 * (3 - i));
	out[13] = out[14] = 0xff;
	return span_of(out, 15);
}

static size_t put_uvarint(uint8_t *out, uint64_t n)
{
	size_t used = 0;

	for (; n >= 128; n >>= 7)
		out[used++] = (uint8_t)(n | 128);
	out[used++] = (uint8_t)n;
	return used;
}

struct maker {
	struct forward *f;
	struct bolt_edit *t;
	struct arena *a; /* what an edit borrows lives there */
	struct err *e;
	struct span now;
	size_t *made;
};

static enum rc put_at(struct maker *m, const struct bolt_path *in, const char *key, struct span value)
{
	struct bolt_path path = *in;

	path.part[path.count++] = span_of_string(key);
	return bolt_edit_put(m->t, &path, value, m->e);
}

static enum rc begin(struct maker *m, struct forward *f, struct bolt_edit *t, size_t *made, struct arena *a, struct err *e)
{
	uint8_t *const now = arena_get(a, 15);

	*m = (struct maker){.f = f, .t = t, .a = a, .e = e, .made = made};
	if (!now)
		return no_memory(e);
	m->now = time_value(os_calendar_ns(), now);
	return RC_OK;
}

/* Asked where each of something is compared with all of something else. */
static enum rc go_on(const struct maker *m, size_t compared)
{
	return pace_on(m->f->st->hints->pace, 16 * (uint64_t)compared, m->e);
}

/* ---- meta.db ---- */

static const struct forward_backend *find_backend(const struct forward *f, struct span key)
{
	size_t low = 0, high = f->backend_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int order = span_compare(f->backends[middle].key, key);
		if (order == 0)
			return &f->backends[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int compare_names(const void *a, const void *b)
{
	return span_compare(((const struct forward_snapshot *)a)->name, ((const struct forward_snapshot *)b)->name);
}

static int compare_name_key(const void *key, const void *element)
{
	return span_compare(*(const struct span *)key, ((const struct forward_snapshot *)element)->name);
}

static const struct forward_snapshot *find_name(const struct forward *f, struct span name)
{
	return f->snapshot_count ? bsearch(&name, f->snapshots, f->snapshot_count, sizeof(*f->snapshots), compare_name_key) : NULL;
}

static bool has_key(const struct forward *f, struct span ns, struct span key)
{
	for (size_t i = 0; i < f->snapshot_count; i++) /* one without a name is none */
		if (f->snapshots[i].name.left && span_equal(f->snapshots[i].ns, ns) && span_equal(f->snapshots[i].key, key))
			return true;
	return false;
}

#define SNAPSHOT_PATH(n, k)                                                                                                              \
	((struct bolt_path){.part = {SPAN_LITERAL("v1"), (n), SPAN_LITERAL("snapshots"), SPAN_LITERAL("overlayfs"), (k)}, .count = 5})

/* What a container wrote is held until a person says otherwise, where nothing else would. */
static enum rc hold(struct maker *m, const struct forward_backend *x)
{
	struct bolt_path label = SNAPSHOT_PATH(x->ns, x->user_key);

	if (x->kind != SNAPSHOT_ACTIVE || span_starts(x->user_key, "extract-"))
		return RC_OK;
	label.part[label.count++] = SPAN_LITERAL("labels");
	return put_at(m, &label, ROOT_LABEL, SPAN_LITERAL("containerd-fsck"));
}

enum { UNASKED, ASKED, STANDS, FALLS };

static struct forward_backend *parent_of(const struct forward *f, const struct forward_backend *x)
{
	const struct forward_backend *const parent = x->parent.left ? find_backend(f, x->parent) : NULL;
	return parent && parent->user_key.left ? &f->backends[parent - f->backends] : NULL;
}

/* Down to what meta.db has, or to the lowest: of one that is not made the name is in no record, and a child there would be half of one.
 * Each is asked once. */
static bool stands(const struct forward *f, struct forward_backend *x)
{
	bool holds = false; /* also where it comes to itself again */
	struct forward_backend *at = x;

	for (; at && at->stands == UNASKED; at = parent_of(f, at)) {
		at->stands = ASKED;
		if ((holds = !at->parent.left || (at != x && find_name(f, at->key))))
			break;
	}
	if (at && at->stands > ASKED)
		holds = at->stands == STANDS;
	for (at = x; at && at->stands == ASKED; at = parent_of(f, at))
		at->stands = holds ? STANDS : FALLS;
	return x->stands == STANDS;
}

/* A snapshot that only metadata.db knows. */
static enum rc make_snapshot(struct maker *m, struct forward_backend *x)
{
	const struct bolt_path path = SNAPSHOT_PATH(x->ns, x->user_key);
	const struct forward_backend *const parent = parent_of(m->f, x);
	enum rc rc;

	if (!stands(m->f, x))
		return RC_OK;
	if ((rc = put_at(m, &path, "name", x->key)) || (rc = put_at(m, &path, "createdat", m->now)) ||
		(rc = put_at(m, &path, "updatedat", m->now)))
		return rc;
	if (parent) {
		struct bolt_path child = SNAPSHOT_PATH(x->ns, parent->user_key);
		child.part[child.count++] = SPAN_LITERAL("children");
		child.part[child.count++] = x->user_key;
		if ((rc = put_at(m, &path, "parent", parent->user_key)) || (rc = bolt_edit_put(m->t, &child, span_of("", 0), m->e)))
			return rc;
	}
	++*m->made;
	return hold(m, x);
}

static bool has_container(const struct forward *f, const struct forward_backend *x)
{
	for (size_t i = 0; i < f->container_count; i++)
		if (span_equal(f->containers[i].ns, x->ns) && span_equal(f->containers[i].snapshot_key, x->user_key))
			return true;
	return false;
}

static bool has_backend(const struct forward *f, const struct forward_snapshot *s)
{
	for (size_t i = 0; i < f->backend_count; i++)
		if (span_equal(f->backends[i].ns, s->ns) && span_equal(f->backends[i].user_key, s->key))
			return true;
	return false;
}

/* Namespaces count their snapshots in the bucket's sequence. */
static enum rc make_snapshots(struct maker *m)
{
	struct forward *const f = m->f;
	enum rc rc;

	if (f->snapshot_count)
		sort(f->snapshots, f->snapshot_count, sizeof(*f->snapshots), compare_names);
	for (size_t i = 0; i < f->backend_count; i++) {
		struct forward_backend *const x = &f->backends[i];
		struct bolt_path bucket = SNAPSHOT_PATH(x->ns, x->user_key);
		if (!x->user_key.left)
			continue;
		bucket.count--;
		if ((rc = go_on(m, f->snapshot_count + f->container_count)) ||
			(rc = bolt_edit_make_bucket(m->t, &bucket, m->e)) ||
			(rc = bolt_edit_raise_sequence(m->t, &bucket, x->number, m->e)))
			return rc;
		const bool known = find_name(f, x->key);
		if (!known && !has_key(f, x->ns, x->user_key) && (rc = make_snapshot(m, x)))
			return rc;
		if (known && f->containers_lost && !has_container(f, x) && (rc = hold(m, x)))
			return rc;
	}
	for (size_t i = 0; i < f->snapshot_count; i++) { /* what has no name is none, and containerd could not read it */
		const struct forward_snapshot *const s = &f->snapshots[i];
		const struct bolt_path path = SNAPSHOT_PATH(s->ns, s->key);
		if (!s->name.left && (rc = go_on(m, f->backend_count)))
			return rc;
		if (!s->name.left && !has_backend(f, s) && (rc = bolt_edit_remove(m->t, &path, m->e)))
			return rc;
	}
	return RC_OK;
}

/* ---- content ---- */

/* The bytes of a blob that is a document, whole and right; *there: the file is, of that size. RC_END: no such document. */
/* A blob's first bytes. Records are made again once, and a look that failed may have been at a bad moment: it is taken twice. */
static enum rc read_blob(const struct forward *f, size_t blob, uint8_t *at, size_t size, size_t *got)
{
	enum rc rc = RC_END;

	for (unsigned tries = 0; rc && tries < 2; tries++) {
		struct err ignored = {0}; /* what cannot be read is not followed */
		auto_fd fd = -1;
		rc = store_open_blob(f->st, blob, &fd, &ignored);
		rc = rc ? rc : os_read(fd, 0, at, size, got, &ignored);
	}
	return rc;
}

static enum rc read_document(const struct forward *f, size_t blob, struct arena *a, struct span *bytes)
{
	const struct blob *const b = &f->st->blob_files[blob];
	struct err ignored = {0}; /* stopped: who called asks once more */
	struct digest sum;
	struct hash h;
	size_t got = 0;

	if (!b->regular || b->size > LIMIT_JSON_BYTES || pace_on(f->st->hints->pace, b->size + PACE_CALL, &ignored))
		return RC_END;
	uint8_t *const at = arena_get(a, (size_t)b->size + 1);
	if (!at)
		return RC_NOMEM;
	if (read_blob(f, blob, at, (size_t)b->size, &got) || got != b->size)
		return RC_END;
	hash_begin(&h, b->digest.kind);
	hash_add(&h, at, got);
	hash_end(&h, &sum);
	*bytes = span_of(at, got);
	return digest_equal(&sum, &b->digest) ? RC_OK : RC_END;
}

/* Whether meta.db has the record, as it was read. */
static enum rc has_content(struct maker *m, struct span ns, struct span digest, bool *has)
{
	const struct span parts[] = {SPAN_LITERAL("v1"), ns, SPAN_LITERAL("content"), SPAN_LITERAL("blob"), digest};
	struct arena scratch = *m->a;
	struct bolt_bucket at = bolt_root(m->f->meta);
	struct span size = {0};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < 5; i++)
		rc = open_bucket(m->f->meta, &at, parts[i], &scratch, &at, m->e);
	if (rc == RC_OK)
		rc = get(m->f->meta, &at, "size", &scratch, &size, m->e);
	*has = rc == RC_OK && size.left; /* one without is none */
	return rc == RC_END ? RC_OK : rc;
}

static struct span digest_span(struct maker *m, const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return arena_copy(m->a, span_of_string(text));
}

static enum rc put_label(struct maker *m, const struct bolt_path *record, const char *key, struct span value)
{
	struct bolt_path path = *record;
	char *const kept = arena_string(m->a, span_of_string(key));

	if (!kept || value.bad)
		return no_memory(m->e);
	path.part[path.count++] = SPAN_LITERAL("labels");
	return put_at(m, &path, kept, value);
}

/* What keeps what it leads to from being collected (containerd 2.3: core/images/mediatypes.go, ChildGCLabels). */
static enum rc put_references(struct maker *m, const struct bolt_path *record, const struct oci_doc *doc)
{
	char key[80];
	enum rc rc = RC_OK;

	if (doc->kind == OCI_MANIFEST && doc->config.digest_known &&
		(rc = put_label(m, record, "containerd.io/gc.ref.content.config", digest_span(m, &doc->config.digest))))
		return rc;
	for (size_t i = 0; i < doc->child_count; i++) {
		if (!doc->children[i].digest_known)
			continue;
		(void)print_to(key, sizeof(key), "containerd.io/gc.ref.content.%c.%zu", doc->kind == OCI_INDEX ? 'm' : 'l', i); /* fits */
		if ((rc = put_label(m, record, key, digest_span(m, &doc->children[i].digest))))
			return rc;
	}
	struct digest chain;
	if (doc->kind != OCI_CONFIG || !doc->diff_id_count)
		return RC_OK;
	oci_top_chain(doc, &chain);
	return put_label(m, record, "containerd.io/gc.ref.snapshot.overlayfs", digest_span(m, &chain));
}

/* Of a blob that is there and has no record: one. */
static enum rc make_content(struct maker *m, struct span ns, const struct digest *d, const struct oci_doc *doc,
	const struct digest *diff_id)
{
	const size_t blob = store_find_blob(m->f->st, d);
	const struct span text = digest_span(m, d);
	struct bolt_path path = {.part = {SPAN_LITERAL("v1"), ns, SPAN_LITERAL("content"), SPAN_LITERAL("blob"), text}, .count = 5};
	uint8_t *const size = arena_get(m->a, 16);
	bool has = false;
	enum rc rc;

	if (text.bad || !size)
		return no_memory(m->e);
	if (blob == STORE_NONE || !m->f->st->blob_files[blob].regular)
		return RC_OK;
	if ((rc = has_content(m, ns, text, &has)) || has)
		return rc;
	const size_t n = put_uvarint(size, m->f->st->blob_files[blob].size << 1); /* zig-zag */
	if ((rc = put_at(m, &path, "createdat", m->now)) || (rc = put_at(m, &path, "updatedat", m->now)) ||
		(rc = put_at(m, &path, "size", span_of(size, n))) || (doc && (rc = put_references(m, &path, doc))) ||
		(diff_id && (rc = put_label(m, &path, "containerd.io/uncompressed", digest_span(m, diff_id)))))
		return rc;
	++*m->made;
	return RC_OK;
}

/* The layers of a manifest, with the diff IDs of its config. */
static enum rc make_layers(struct maker *m, struct span ns, const struct oci_doc *manifest, const struct oci_doc *config)
{
	enum rc rc = RC_OK;
	size_t layer = 0;

	for (size_t i = 0; rc == RC_OK && i < manifest->child_count; i++) {
		const struct oci_descriptor *const d = &manifest->children[i];
		const bool is_layer = oci_is_layer(d);
		const struct digest *const diff_id = is_layer && config && layer < config->diff_id_count ? &config->diff_ids[layer] : NULL;
		layer += is_layer;
		if (d->digest_known)
			rc = make_content(m, ns, &d->digest, NULL, diff_id);
	}
	return rc;
}

/* All that an image leads to and that is here, each once. documents: for one at a time. */
static enum rc walk_contents(struct maker *m, struct span ns, const struct digest *target, struct arena documents)
{
	bool *const listed = arena_array(&documents, m->f->st->blob_count + 1, sizeof(*listed));
	struct digest *todo = NULL;
	size_t count = 0, done = 0;
	enum rc rc = RC_OK;

	struct digest *const first = arena_push(m->a, (void **)&todo, &count, sizeof(*todo));
	if (!first || !listed)
		return no_memory(m->e);
	*first = *target;
	for (; rc == RC_OK && done < count && done < TODO_MAX; done++) {
		const struct digest at = todo[done];
		const size_t blob = store_find_blob(m->f->st, &at);
		struct oci_doc doc = {0}, config = {0};
		struct arena mine = documents;
		struct span bytes = {0};
		if (blob == STORE_NONE)
			continue;
		rc = read_document(m->f, blob, &mine, &bytes);
		if (rc == RC_OK && oci_parse(bytes, &mine, &doc, NULL))
			rc = RC_END;
		if (rc == RC_NOMEM)
			return no_memory(m->e);
		if (rc == RC_END) { /* a record for what is there, which the check will judge */
			rc = make_content(m, ns, &at, NULL, NULL);
			continue;
		}
		rc = make_content(m, ns, &at, &doc, NULL);
		for (size_t i = 0; rc == RC_OK && doc.kind == OCI_INDEX && i < doc.child_count; i++) {
			const struct oci_descriptor *const child = &doc.children[i];
			const size_t found = child->digest_known ? store_find_blob(m->f->st, &child->digest) : STORE_NONE;
			struct digest *next;
			if (found == STORE_NONE || listed[found] || !(next = arena_push(m->a, (void **)&todo, &count, sizeof(*next))))
				continue;
			*next = child->digest;
			listed[found] = true;
		}
		if (rc || doc.kind != OCI_MANIFEST)
			continue;
		const size_t config_blob = doc.config.digest_known ? store_find_blob(m->f->st, &doc.config.digest) : STORE_NONE;
		bool has_config = config_blob != STORE_NONE && read_document(m->f, config_blob, &mine, &bytes) == RC_OK &&
				  oci_parse(bytes, &mine, &config, NULL) == RC_OK;
		if (config_blob != STORE_NONE)
			rc = make_content(m, ns, &doc.config.digest, has_config ? &config : NULL, NULL);
		rc = rc ? rc : make_layers(m, ns, &doc, has_config ? &config : NULL);
	}
	return rc;
}

static enum rc make_contents(struct maker *m, struct span ns, const struct digest *target)
{
	struct arena documents;
	enum rc rc = arena_open(&documents, m->e);

	if (rc)
		return rc;
	rc = walk_contents(m, ns, target, documents);
	arena_close(&documents);
	return rc;
}

/* ---- images whose names are lost ---- */

struct found {
	size_t blob;
	struct oci_doc doc; /* an index or a manifest */
	struct span media_type;
	bool inside;  /* an index that is here leads to it */
	bool reached; /* or a name does */
	bool nameless; /* it is to get one, */
	bool named;    /* and did */
};

/* Every index and manifest of the store. */
static enum rc find_documents(struct maker *m, struct found **out, size_t *count)
{
	const struct store *const st = m->f->st;

	for (size_t i = 0; i < st->blob_count; i++) {
		const struct blob *const b = &st->blob_files[i];
		uint8_t head[STORE_HEAD_BYTES];
		struct span bytes = {0};
		struct found found = {.blob = i};
		size_t got = 0;
		if (!b->regular || b->size > LIMIT_JSON_BYTES || b->spare != STORE_NONE || read_blob(m->f, i, head, sizeof(head), &got) ||
			!store_may_be_document(span_of(head, got)))
			continue;
		struct arena scratch = *m->a;
		if (read_document(m->f, i, &scratch, &bytes))
			continue;
		if (oci_parse(bytes, &scratch, &found.doc, NULL) || (found.doc.kind != OCI_INDEX && found.doc.kind != OCI_MANIFEST))
			continue;
		if (oci_member(bytes, "mediaType", &scratch, &found.media_type) || found.media_type.bad)
			found.media_type = found.doc.kind == OCI_INDEX ? SPAN_LITERAL("application/vnd.oci.image.index.v1+json")
								       : SPAN_LITERAL("application/vnd.oci.image.manifest.v1+json");
		const struct arena kept = *m->a;
		*m->a = scratch;
		struct found *const made = arena_push(m->a, (void **)out, count, sizeof(*made));
		if (!made) {
			*m->a = kept;
			return no_memory(m->e);
		}
		*made = found;
	}
	return RC_OK;
}

/* What names lead to; ns bad: of all namespaces. */
static enum rc reach(const struct maker *m, struct found *all, size_t count, struct span ns)
{
	const struct forward *const f = m->f;
	enum rc rc = RC_OK;

	for (size_t k = 0; rc == RC_OK && k < f->image_count; k++) {
		const size_t blob = ns.bad || span_equal(f->images[k].ns, ns) ? store_find_blob(f->st, &f->images[k].target) : STORE_NONE;
		for (size_t i = 0; blob != STORE_NONE && i < count; i++)
			all[i].reached |= all[i].blob == blob;
		rc = go_on(m, count);
	}
	return rc;
}

/* The chain ID of a manifest whose config is here; false: it has none, or is no image. */
static bool chain_of(struct maker *m, const struct oci_doc *manifest, struct digest *chain)
{
	const size_t blob = manifest->config.digest_known ? store_find_blob(m->f->st, &manifest->config.digest) : STORE_NONE;
	struct arena scratch = *m->a;
	struct oci_doc config = {0};
	struct span bytes = {0};

	if (blob == STORE_NONE || read_document(m->f, blob, &scratch, &bytes) || oci_parse(bytes, &scratch, &config, NULL) ||
		config.kind != OCI_CONFIG || !config.diff_id_count)
		return false;
	oci_top_chain(&config, chain);
	return true;
}

/* "host/repository:tag" or "host/repository@digest", of which host and repository. */
static bool split_name(struct span name, struct span *host, struct span *repository)
{
	const uint8_t *const slash = name.left ? memchr(name.at, '/', name.left) : NULL;

	if (!slash)
		return false;
	*host = span_sub(&name, (size_t)(slash - name.at));
	(void)span_take(&name, 1);
	size_t n = 0;
	while (n < name.left && name.at[n] != ':' && name.at[n] != '@')
		n++;
	*repository = span_of(name.at, n);
	return n > 0;
}

/* Whether a blob's record says that it came from there: containerd notes host and repository (containerd 2.3:
 * core/remotes/docker/handler.go). */
static bool came_from(struct maker *m, struct span ns, struct span digest, struct span host, struct span repository)
{
	const struct span parts[] = {SPAN_LITERAL("v1"), ns, SPAN_LITERAL("content"), SPAN_LITERAL("blob"), digest, SPAN_LITERAL("labels")};
	struct arena scratch = *m->a;
	struct bolt_bucket at = bolt_root(m->f->meta);
	struct err ignored = {0}; /* what cannot be read says nothing */
	struct span value = {0};
	char label[300];

	for (size_t i = 0; i < 6; i++)
		if (open_bucket(m->f->meta, &at, parts[i], &scratch, &at, &ignored))
			return false;
	const int n = print_to(label, sizeof(label), "containerd.io/distribution.source.%.*s", (int)min_u64(host.left, 255),
		(const char *)host.at);
	if (n < 0 || (size_t)n >= sizeof(label) || get(m->f->meta, &at, label, &scratch, &value, &ignored))
		return false;
	while (value.left) { /* several, with commas between them */
		const uint8_t *const comma = memchr(value.at, ',', value.left);
		const struct span one = span_sub(&value, comma ? (size_t)(comma - value.at) : value.left);
		if (comma)
			(void)span_take(&value, 1);
		if (span_equal(one, repository))
			return true;
	}
	return false;
}

/* Of those names whose record is gone the one of its repository, if that is the only one, and it the only one that could have it. */
static struct forward_name *name_of(struct maker *m, struct span ns, const struct found *x, const struct found *all, size_t count)
{
	const struct span digest = digest_span(m, &m->f->st->blob_files[x->blob].digest);
	struct forward_name *found = NULL;
	struct span host = {0}, repository = {0};

	for (size_t i = 0; i < m->f->name_count; i++) {
		struct forward_name *const n = &m->f->names[i];
		if (n->used || !span_equal(n->ns, ns) || !split_name(n->name, &host, &repository) ||
			!came_from(m, ns, digest, host, repository))
			continue;
		if (found)
			return NULL;
		found = n;
	}
	if (!found || !split_name(found->name, &host, &repository))
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (all[i].nameless && &all[i] != x &&
			came_from(m, ns, digest_span(m, &m->f->st->blob_files[all[i].blob].digest), host, repository))
			return NULL;
	return found;
}

/* An image's record. */
static enum rc put_image(struct maker *m, struct span ns, struct span name, struct span digest, struct span media_type, uint64_t bytes)
{
	struct bolt_path path = {.part = {SPAN_LITERAL("v1"), ns, SPAN_LITERAL("images"), name}, .count = 4};
	uint8_t *const size = arena_get(m->a, 16);
	enum rc rc;

	if (!size)
		return no_memory(m->e);
	if ((rc = put_at(m, &path, "createdat", m->now)) || (rc = put_at(m, &path, "updatedat", m->now)))
		return rc;
	path.part[path.count++] = SPAN_LITERAL("target");
	if ((rc = put_at(m, &path, "digest", digest)) || (rc = put_at(m, &path, "mediatype", media_type)))
		return rc;
	++*m->made;
	return put_at(m, &path, "size", span_of(size, put_uvarint(size, bytes << 1)));
}

static enum rc name_it(struct maker *m, struct span ns, const struct found *x, const struct found *all, size_t count)
{
	const struct blob *const b = &m->f->st->blob_files[x->blob];
	const struct span digest = digest_span(m, &b->digest);
	struct forward_name *const known = digest.bad ? NULL : name_of(m, ns, x, all, count);
	char *const made = arena_printf(m->a, FORWARD_RECOVERED "%.12s", digest.bad ? "" : strchr((const char *)digest.at, ':') + 1);
	const struct span name = known ? known->name : span_of_string(made ? made : "");
	enum rc rc;

	if (!made || digest.bad)
		return no_memory(m->e);
	if (known)
		known->used = true;
	m->f->recovered += !known;
	return (rc = put_image(m, ns, name, digest, x->media_type, b->size)) ? rc : make_contents(m, ns, &b->digest);
}

/* Whether something is a manifest of x, or it itself. */
static bool is_of(const struct forward *f, const struct found *x, const struct found *manifest)
{
	const struct digest *const d = &f->st->blob_files[manifest->blob].digest;

	if (manifest->doc.kind != OCI_MANIFEST)
		return false;
	for (size_t k = 0; x->doc.kind == OCI_INDEX && k < x->doc.child_count; k++)
		if (x->doc.children[k].digest_known && !x->doc.children[k].attestation && digest_equal(&x->doc.children[k].digest, d))
			return true;
	return x->blob == manifest->blob;
}

static bool has_layer_here(const struct forward *f, const struct oci_doc *manifest)
{
	for (size_t k = 0; k < manifest->child_count; k++)
		if (oci_is_layer(&manifest->children[k]) && manifest->children[k].digest_known &&
			store_find_blob(f->st, &manifest->children[k].digest) != STORE_NONE)
			return true;
	return false;
}

static enum rc name_all(struct maker *m, struct span ns, struct found *all, size_t count)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		if (!all[i].nameless)
			continue;
		all[i].named = true;
		rc = go_on(m, 128 * (count + m->f->name_count)); /* a look-up in a database for each */
		rc = rc ? rc : name_it(m, ns, &all[i], all, count);
	}
	return rc;
}

/* Of a namespace: what it has unpacked, and no name of its leads to. */
static enum rc name_unpacked(struct maker *m, struct span ns, struct found *all, size_t count)
{
	const struct forward *const f = m->f;

	for (size_t i = 0; i < count; i++)
		all[i].reached = all[i].inside;
	enum rc rc = reach(m, all, count, ns);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		bool is_here = false;
		for (size_t k = 0; !all[i].reached && !is_here && k < count; k++) {
			char text[DIGEST_TEXT_BYTES];
			struct digest chain;
			if (!is_of(f, &all[i], &all[k]) || !chain_of(m, &all[k].doc, &chain))
				continue;
			digest_format(&chain, text);
			is_here = has_key(f, ns, span_of_string(text));
			for (size_t b = 0; !is_here && b < f->backend_count; b++)
				is_here = span_equal(f->backends[b].ns, ns) && span_is(f->backends[b].user_key, text);
		}
		all[i].nameless = is_here;
		rc = go_on(m, count * (all[i].doc.child_count + 1));
	}
	return rc ? rc : name_all(m, ns, all, count);
}

/* Of what has no name anywhere, and is not unpacked: where a name may have stood. */
static enum rc name_rest(struct maker *m, struct found *all, size_t count)
{
	const struct forward *const f = m->f;
	const bool known = f->names_ns.left && !f->names_ns.bad;
	const struct span ns = known ? f->names_ns
			       : f->backend_count && f->backends[0].ns.left ? f->backends[0].ns
			       : SPAN_LITERAL("default");

	for (size_t i = 0; i < count; i++)
		all[i].reached = all[i].inside || all[i].named;
	enum rc rc = reach(m, all, count, (struct span){.bad = true});
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		bool useful = false;
		for (size_t k = 0; !all[i].reached && !useful && k < count; k++)
			useful = is_of(f, &all[i], &all[k]) && has_layer_here(f, &all[k].doc);
		all[i].nameless = useful;
		rc = go_on(m, count * (all[i].doc.child_count + 1));
	}
	return rc ? rc : name_all(m, ns, all, count);
}

/* What is here and has no name any more gets one, so that it is kept. */
static enum rc name_nameless(struct maker *m)
{
	struct forward *const f = m->f;
	struct found *all = NULL;
	size_t count = 0;
	enum rc rc = find_documents(m, &all, &count);

	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; all[i].doc.kind == OCI_INDEX && k < all[i].doc.child_count; k++) {
			const struct oci_descriptor *const d = &all[i].doc.children[k];
			const size_t blob = d->digest_known ? store_find_blob(f->st, &d->digest) : STORE_NONE;
			for (size_t x = 0; blob != STORE_NONE && x < count; x++)
				all[x].inside |= all[x].blob == blob;
			if ((rc = go_on(m, count)))
				return rc;
		}
	if (f->names_ns.left && !f->names_ns.bad)
		rc = name_unpacked(m, f->names_ns, all, count);
	else
		for (size_t i = 0; rc == RC_OK && i < f->backend_count; i++) { /* sorted by key: those of a namespace are neighbours */
			const struct span ns = f->backends[i].ns;
			if (ns.left && (i == 0 || !span_equal(ns, f->backends[i - 1].ns)))
				rc = name_unpacked(m, ns, all, count);
		}
	return rc ? rc : name_rest(m, all, count);
}

/* Images of which all is known that their record said. */
static enum rc make_known(struct maker *m)
{
	struct forward *const f = m->f;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < f->name_count; i++) {
		struct forward_name *const n = &f->names[i];
		struct forward_image image = {.ns = n->ns, .name = n->name};
		if (!n->digest.left || digest_parse(n->digest, &image.target) || store_find_blob(f->st, &image.target) == STORE_NONE)
			continue;
		for (size_t k = 0; k < f->image_count; k++)
			n->used |= span_equal(f->images[k].ns, n->ns) && span_equal(f->images[k].name, n->name);
		if (n->used)
			continue;
		if ((rc = go_on(m, f->image_count)) || (rc = put_image(m, n->ns, n->name, n->digest, n->media_type, n->size)))
			return rc;
		struct forward_image *const made = arena_push(m->a, (void **)&f->images, &f->image_count, sizeof(*made));
		if (!made)
			return no_memory(m->e);
		*made = image;
		n->used = true;
	}
	return rc;
}

enum rc forward_meta(struct forward *f, struct bolt_edit *t, size_t *made, struct arena *a, struct err *e)
{
	const struct bolt_path version = {.part = {SPAN_LITERAL("v1"), SPAN_LITERAL("version")}, .count = 2};
	struct bolt_bucket root = bolt_root(f->meta), v1 = {0};
	struct bolt_item item = {0};
	struct maker m;
	enum rc rc = begin(&m, f, t, made, a, e);

	if (rc)
		return rc;
	rc = open_bucket(f->meta, &root, SPAN_LITERAL("v1"), a, &v1, e);
	if (rc == RC_OK)
		rc = bolt_get(f->meta, &v1, SPAN_LITERAL("version"), a, &item, e);
	if (rc == RC_END)
		rc = bolt_edit_put(t, &version, FORWARD_SCHEMA, e);
	rc = rc ? rc : make_snapshots(&m);
	rc = rc ? rc : make_known(&m);
	for (size_t i = 0; rc == RC_OK && i < f->image_count; i++)
		rc = make_contents(&m, f->images[i].ns, &f->images[i].target);
	return rc || !f->names_lost ? rc : name_nameless(&m);
}

/* ---- metadata.db ---- */

/* A snapshot that only meta.db knows. */
static enum rc make_backend(struct maker *m, const struct forward_snapshot *s, uint64_t parent_id, struct span parent, uint64_t id)
{
	const struct bolt_path path = {.part = {SPAN_LITERAL("v1"), SPAN_LITERAL("snapshots"), s->name}, .count = 3};
	struct bolt_path kin = {.part = {SPAN_LITERAL("v1"), SPAN_LITERAL("parents")}, .count = 2};
	uint8_t *const number = arena_get(m->a, 16), *const key = arena_get(m->a, 32);
	struct digest chain;
	enum rc rc;

	if (!number || !key)
		return no_memory(m->e);
	const struct span kind = digest_parse(s->key, &chain) ? SPAN_LITERAL("\2") : SPAN_LITERAL("\3"); /* active, committed */
	if ((rc = put_at(m, &path, "id", span_of(number, put_uvarint(number, id)))) || (rc = put_at(m, &path, "kind", kind)) ||
		(rc = put_at(m, &path, "createdat", m->now)) || (rc = put_at(m, &path, "updatedat", m->now)))
		return rc;
	if (parent.left) {
		size_t n = put_uvarint(key, parent_id);
		key[n++] = 0;
		n += put_uvarint(key + n, id);
		kin.part[kin.count++] = span_of(key, n);
		if ((rc = put_at(m, &path, "parent", parent)) || (rc = bolt_edit_put(m->t, &kin, s->name, m->e)))
			return rc;
	}
	++*m->made;
	return RC_OK;
}

static const struct forward_snapshot *find_key(const struct forward *f, struct span ns, struct span key)
{
	for (size_t i = 0; i < f->snapshot_count; i++)
		if (span_equal(f->snapshots[i].ns, ns) && span_equal(f->snapshots[i].key, key))
			return &f->snapshots[i];
	return NULL;
}

/* Each that metadata.db lacks gets a number of its own, so that the files of a layer are made again from the layer, and of a container's
 * it is told that they are gone. But where one is lacking, and one directory is there that was made after all that are known, they are
 * one. */
enum rc forward_overlay(struct forward *f, struct bolt_edit *t, size_t *made, struct arena *a, struct err *e)
{
	struct bolt_path bucket = {.part = {SPAN_LITERAL("v1"), SPAN_LITERAL("parents")}, .count = 2};
	uint64_t *const ids = arena_array(a, f->snapshot_count + 1, sizeof(*ids));
	struct maker m;
	size_t lacking = 0;
	bool again = true;
	enum rc rc = begin(&m, f, t, made, a, e);

	if (rc || !ids)
		return rc ? rc : no_memory(e);
	if ((rc = bolt_edit_make_bucket(t, &bucket, e)))
		return rc;
	for (size_t i = 0; i < f->snapshot_count; i++) {
		const struct forward_backend *const x = find_backend(f, f->snapshots[i].name);
		ids[i] = x ? x->id : 0;
		lacking += !x && f->snapshots[i].name.left;
	}
	f->taken = lacking == 1 ? f->strange : 0;
	/* parents first; each round makes one at least, and no chain is longer than LIMIT_LAYERS */
	for (size_t round = 0; rc == RC_OK && again && round < LIMIT_LAYERS; round++) {
		again = false;
		for (size_t i = 0; rc == RC_OK && i < f->snapshot_count; i++) {
			const struct forward_snapshot *const s = &f->snapshots[i];
			if (ids[i] || !s->name.left || (rc = go_on(&m, f->snapshot_count)))
				continue;
			const struct forward_snapshot *const parent = s->parent.left ? find_key(f, s->ns, s->parent) : NULL;
			if (s->parent.left && (!parent || !ids[parent - f->snapshots]))
				continue;
			ids[i] = f->taken ? f->taken : ++f->id_max;
			again = true;
			rc = make_backend(
				&m, s, parent ? ids[parent - f->snapshots] : 0, parent ? parent->name : (struct span){0}, ids[i]);
		}
	}
	bucket.part[1] = SPAN_LITERAL("snapshots");
	if (rc || (rc = bolt_edit_make_bucket(t, &bucket, e)))
		return rc;
	return bolt_edit_raise_sequence(t, &bucket, f->id_max, e);
}
