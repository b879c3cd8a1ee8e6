/* SPDX-License-Identifier: MIT */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "os.h"

/* bytes; a file that holds one short text: an ingest's ref or total, the uuid, a CRI status, our boot record */
#define SMALL_FILE_BYTES ((size_t)64 << 10)

/* seconds; containerd's own clients lease for at most a day, and a zone may differ by one */
#define LEASE_SECONDS_MAX ((int64_t)49 * 3600)

/* schema numbers, minor part: containerd 1.3-1.7 write 3, 2.x writes 4 (containerd 2.3: core/metadata/migrations.go) */
#define SCHEMA_OLDEST 3
#define SCHEMA_NEWEST 4

/* bytes of a database that are sent for at once, and in steps that no kernel cuts short (its readahead, at least) */
#define DATABASE_AHEAD ((uint64_t)128 << 20)
#define DATABASE_STEP ((uint64_t)128 << 10)

struct loader {
	struct store *st;
	struct arena scratch;
	struct bolt *b;
	struct err *e;
	size_t content_cap;
};

#define PUSH(st, array, count) arena_push((st)->keep, (void **)&(st)->array, &(st)->count, sizeof(*(st)->array))

static enum rc no_memory(struct err *e)
{
	return fail(e, RC_NOMEM, "no memory for the records of the store");
}

const struct span *labels_get(const struct labels *l, const char *key)
{
	for (size_t i = 0; i < l->count; i++)
		if (span_is(l->at[i].key, key))
			return &l->at[i].value;
	return NULL;
}

/* ---- reading buckets ---- */

/* A value under a key, in scratch: until the item it belongs to has been seen to. RC_END: not there, or a bucket. */
static enum rc look(struct loader *l, const struct bolt_bucket *b, const char *key, struct span *value)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(l->b, b, span_of_string(key), &l->scratch, &item, l->e);

	if (rc)
		return rc;
	if (item.is_bucket)
		return RC_END;
	*value = item.value;
	return RC_OK;
}

/* The same, copied into keep. */
static enum rc get_value(struct loader *l, const struct bolt_bucket *b, const char *key, struct span *value)
{
	const enum rc rc = look(l, b, key, value);

	if (rc)
		return rc;
	*value = arena_copy(l->st->keep, *value);
	return value->bad ? no_memory(l->e) : RC_OK;
}

/* A bucket under a key; its bytes live as long as those of look(). RC_END: not there, or no bucket. */
static enum rc get_bucket(struct loader *l, const struct bolt_bucket *b, const char *key, struct bolt_bucket *out)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(l->b, b, span_of_string(key), &l->scratch, &item, l->e);

	if (rc)
		return rc;
	return item.is_bucket ? bolt_bucket_of(&item, out) : RC_END;
}

/* RC_END becomes RC_OK: the field may be absent. */
static enum rc optional(enum rc rc)
{
	return rc == RC_END ? RC_OK : rc;
}

typedef enum rc (*item_fn)(struct loader *l, const struct bolt_item *item, void *context);

static enum rc each(struct loader *l, const struct bolt_bucket *b, item_fn fn, void *context)
{
	const struct arena mark = l->scratch;
	struct bolt_cursor *c = NULL;
	struct bolt_item item = {0};
	enum rc rc = bolt_cursor_open(l->b, b, &l->scratch, &c, l->e);

	while (rc == RC_OK && (rc = bolt_cursor_next(c, &item, l->e)) == RC_OK) {
		const struct arena before = l->scratch;
		rc = fn(l, &item, context);
		l->scratch = before;
	}
	l->scratch = mark;
	return rc == RC_END ? RC_OK : rc;
}

static enum rc each_in(struct loader *l, const struct bolt_bucket *b, const char *key, item_fn fn, void *context)
{
	struct bolt_bucket inner = {0};
	const enum rc rc = get_bucket(l, b, key, &inner);

	return rc ? optional(rc) : each(l, &inner, fn, context);
}

/* Which registry a blob came from: every blob that was pulled says it, and only whether it does is asked. */
static bool is_source_label(const struct bolt_item *item)
{
	return span_starts(item->key, "containerd.io/distribution.source.");
}

static bool is_wanted_label(const struct bolt_item *item)
{
	return !item->is_bucket && !is_source_label(item);
}

struct label_room {
	struct labels *labels;
	size_t left;
	bool has_source;
};

static enum rc count_label(struct loader *l, const struct bolt_item *item, void *context)
{
	struct label_room *const room = context;

	(void)l;
	room->left += is_wanted_label(item);
	room->has_source |= is_source_label(item);
	return RC_OK;
}

static enum rc add_label(struct loader *l, const struct bolt_item *item, void *context)
{
	struct label_room *const room = context;

	if (!is_wanted_label(item))
		return RC_OK;
	if (room->left-- == 0)
		return RC_CORRUPT; /* more than were counted: somebody else writes */
	struct label *const label = &room->labels->at[room->labels->count++];
	label->key = arena_copy(l->st->keep, item->key);
	label->value = arena_copy(l->st->keep, item->value);
	return label->value.bad ? no_memory(l->e) : RC_OK;
}

/* Each bucket is walked twice, so that what stays is no longer than it must be: there may be very many. has_source may be NULL. */
static enum rc get_labels(struct loader *l, const struct bolt_bucket *b, struct labels *labels, bool *has_source)
{
	struct bolt_bucket inner = {0};
	struct label_room room = {labels, 0, false};
	enum rc rc = get_bucket(l, b, "labels", &inner);

	if (rc == RC_OK)
		rc = each(l, &inner, count_label, &room);
	if (has_source)
		*has_source = room.has_source;
	if (rc || room.left == 0)
		return optional(rc);
	labels->at = arena_array(l->st->keep, room.left, sizeof(*labels->at));
	return labels->at ? each(l, &inner, add_label, &room) : no_memory(l->e);
}

static enum rc add_fault(struct store *st, const char *path, enum store_fault_kind kind, const char *format, ...)
	PRINTF_LIKE(4, 5);
static enum rc add_fault(struct store *st, const char *path, enum store_fault_kind kind, const char *format, ...)
{
	struct store_fault *const f = PUSH(st, faults, fault_count);
	va_list arguments;

	if (!f)
		return RC_NOMEM;
	f->path = path;
	f->kind = kind;
	va_start(arguments, format);
	(void)vsnprintf(f->fault.text, sizeof(f->fault.text), format, arguments); /* a cut text is still a text */
	va_end(arguments);
	return RC_OK;
}

static enum rc bad_record(struct loader *l, const char *path, const char *what, struct span key)
{
	char shown[120];

	(void)escape(shown, sizeof(shown), key); /* a cut name is still a name */
	return add_fault(l->st, path, STORE_DB_RECORD, "%s %s does not decode", what, shown);
}

/* ---- meta.db ---- */

#define META_PATH STORE_META_DIR "/meta.db"
#define OVERLAY_PATH STORE_OVERLAY_DIR "/metadata.db"

/* Go's Time.MarshalBinary: version, 8 bytes of seconds since year 1, 4 of nanoseconds, 2 of zone. */
static int64_t decode_time_ns(struct span s)
{
	const uint8_t version = span_u8(&s);
	const uint64_t seconds = span_u64be(&s);
	const uint32_t ns = span_u32be(&s);
	const int64_t unix_s = (int64_t)(seconds - 62135596800u);

	if (s.bad || (version != 1 && version != 2) || unix_s < 0 || unix_s > 9000000000)
		return 0;
	return unix_s * 1000000000 + ns;
}

struct in_namespace {
	size_t ns;
};

static enum rc add_image(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0}, target = {0};
	struct span digest = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "image", item->key);
	struct image *const image = PUSH(l->st, images, image_count);
	if (!image)
		return no_memory(l->e);
	image->ns = in->ns;
	image->name = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)) || (rc = get_labels(l, &b, &image->labels, NULL)))
		return rc;
	if ((rc = get_bucket(l, &b, "target", &target)))
		return optional(rc);
	if ((rc = optional(look(l, &target, "digest", &digest))) ||
		(rc = optional(get_value(l, &target, "mediatype", &image->media_type))))
		return rc;
	image->target_known = digest_parse(digest, &image->target) == RC_OK;
	return RC_OK;
}

static enum rc add_content(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0};
	struct span size = {0}, created = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "content", item->key);
	if (l->st->content_count == l->content_cap) /* more than were counted: somebody else writes */
		return RC_CORRUPT;
	struct content *const c = &l->st->contents[l->st->content_count++];
	c->ns = in->ns;
	c->blob = STORE_NONE;
	c->text = arena_copy(l->st->keep, item->key);
	c->digest_known = digest_parse(c->text, &c->digest) == RC_OK;
	if ((rc = bolt_bucket_of(item, &b)))
		return bad_record(l, META_PATH, "content", item->key);
	rc = look(l, &b, "size", &size);
	if (rc == RC_END)
		return bad_record(l, META_PATH, "content", item->key);
	if (rc)
		return rc;
	c->size = (uint64_t)span_varint(&size);
	if (size.bad)
		return bad_record(l, META_PATH, "content", item->key);
	if ((rc = optional(look(l, &b, "createdat", &created))))
		return rc;
	c->created_ns = decode_time_ns(created);
	return get_labels(l, &b, &c->labels, &c->has_source);
}

static enum rc add_ingest_record(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "ingest", item->key);
	struct ingest_record *const r = PUSH(l->st, ingest_records, ingest_record_count);
	if (!r)
		return no_memory(l->e);
	r->ns = in->ns;
	r->dir = STORE_NONE;
	r->client_ref = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)) || (rc = optional(get_value(l, &b, "ref", &r->ref))))
		return rc;
	return optional(get_value(l, &b, "expected", &r->expected));
}

static bool take_digits(struct span *s, unsigned count, int64_t *value)
{
	*value = 0;
	for (unsigned i = 0; i < count; i++) {
		const uint8_t c = span_u8(s);
		if (s->bad || c < '0' || c > '9')
			return false;
		*value = *value * 10 + (c - '0');
	}
	return true;
}

static bool take_char(struct span *s, uint8_t want)
{
	return span_u8(s) == want && !s->bad;
}

/* RFC 3339 as Go writes it; seconds since 1970, the zone of at most a day left out of account. */
static bool parse_rfc3339(struct span s, int64_t *unix_s)
{
	int64_t year, month, day, hour, minute, second;

	if (!take_digits(&s, 4, &year) || !take_char(&s, '-') || !take_digits(&s, 2, &month) || !take_char(&s, '-') ||
		!take_digits(&s, 2, &day) || !take_char(&s, 'T') || !take_digits(&s, 2, &hour) || !take_char(&s, ':') ||
		!take_digits(&s, 2, &minute) || !take_char(&s, ':') || !take_digits(&s, 2, &second) || s.left == 0)
		return false;
	/* days of the civil calendar, in years that begin in March */
	const int64_t y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;
	const int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
	*unix_s = days * 86400 + hour * 3600 + minute * 60 + second;
	return true;
}

static enum rc add_leased(struct loader *l, const struct bolt_item *item, void *context)
{
	struct keys *const keys = context;
	struct span *const key = arena_push(l->st->keep, (void **)&keys->at, &keys->count, sizeof(*keys->at));

	if (!key)
		return no_memory(l->e);
	*key = arena_copy(l->st->keep, item->key);
	return key->bad ? no_memory(l->e) : RC_OK;
}

static enum rc add_lease(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0}, snapshots = {0};
	struct span created = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "lease", item->key);
	struct lease *const lease = PUSH(l->st, leases, lease_count);
	if (!lease)
		return no_memory(l->e);
	lease->ns = in->ns;
	lease->id = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)) || (rc = get_labels(l, &b, &lease->labels, NULL)))
		return rc;
	const struct span *const expire = labels_get(&lease->labels, "containerd.io/gc.expire");
	int64_t until = 0;
	/* both stamps are in the record, so no clock is asked. A lease for longer than any client's operation is a person's
	 * pin, and a creation time that does not decode proves nothing. */
	lease->expires = expire && parse_rfc3339(*expire, &until) && optional(look(l, &b, "createdat", &created)) == RC_OK &&
			 decode_time_ns(created) > 0 && until - decode_time_ns(created) / 1000000000 <= LEASE_SECONDS_MAX;
	if ((rc = each_in(l, &b, "ingests", add_leased, &lease->ingests)))
		return rc;
	rc = get_bucket(l, &b, "snapshots", &snapshots);
	return rc ? optional(rc) : each_in(l, &snapshots, "overlayfs", add_leased, &lease->snapshots);
}

/* The metadata in an extension of a container's or sandbox's record. */
static enum rc read_extension(struct loader *l, const struct bolt_bucket *b, const char *name, enum cri_kind kind, struct cri_metadata *out)
{
	struct bolt_bucket extensions = {0};
	struct span any = {0};
	enum rc rc = get_bucket(l, b, "extensions", &extensions);

	if (rc == RC_OK)
		rc = look(l, &extensions, name, &any);
	if (rc == RC_END) {
		out->reading = CRI_ABSENT;
		return RC_OK;
	}
	return rc ? rc : cri_read_metadata(any, kind, l->st->keep, l->scratch, out) ? no_memory(l->e) : RC_OK;
}

/* The other members of a container's record are read already. */
static enum rc add_cri(struct loader *l, const struct bolt_bucket *b, size_t container)
{
	const struct container *const c = &l->st->containers[container];
	struct bolt_bucket labels = {0};
	struct span kind = {0};
	enum rc rc = get_bucket(l, b, "labels", &labels);

	if (rc == RC_OK)
		rc = look(l, &labels, CRI_KIND_LABEL, &kind);
	if (rc)
		return optional(rc);
	const enum cri_kind known = cri_kind_of(kind);
	if (known == CRI_OTHER)
		return RC_OK;
	struct cri_record *const r = PUSH(l->st, cri, cri_count);
	if (!r)
		return no_memory(l->e);
	*r = (struct cri_record){.kind = known,
		.id = c->id,
		.directory = CRI_DIR_UNKNOWN,
		.created_ns = c->created_ns,
		.container = container};
	return read_extension(l, b, known == CRI_SANDBOX ? CRI_SANDBOX_EXTENSION : CRI_CONTAINER_EXTENSION, known, &r->metadata);
}

/* Of the bucket sandboxes, after all containers. containerd 1.7's is never read by the CRI plugin it runs: there only its ids are
 * taken, so that no container of such a sandbox is thought to have none. */
static enum rc add_stored_sandbox(struct loader *l, const struct bolt_item *item, void *context)
{
	struct bolt_bucket b = {0};
	enum rc rc;

	(void)context;
	if (!item->is_bucket)
		return bad_record(l, META_PATH, "sandbox", item->key);
	struct cri_record *const r = PUSH(l->st, cri, cri_count);
	if (!r)
		return no_memory(l->e);
	r->kind = CRI_STORED;
	r->container = STORE_NONE;
	r->id = arena_copy(l->st->keep, item->key);
	r->metadata.reading = CRI_UNKNOWN;
	if (r->id.bad)
		return no_memory(l->e);
	if (l->st->schema < STORE_SCHEMA_SANDBOXES)
		return RC_OK;
	if ((rc = bolt_bucket_of(item, &b)))
		return bad_record(l, META_PATH, "sandbox", item->key);
	return read_extension(l, &b, CRI_STORED_EXTENSION, CRI_STORED, &r->metadata);
}

static enum rc add_container(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0};
	struct span created = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "container", item->key);
	struct container *const c = PUSH(l->st, containers, container_count);
	if (!c)
		return no_memory(l->e);
	c->ns = in->ns;
	c->id = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)) || (rc = optional(get_value(l, &b, "image", &c->image))) ||
		(rc = optional(get_value(l, &b, "snapshotter", &c->snapshotter))) ||
		(rc = optional(get_value(l, &b, "snapshotKey", &c->snapshot_key))) ||
		(rc = optional(look(l, &b, "createdat", &created))))
		return rc;
	c->created_ns = decode_time_ns(created);
	return l->st->namespaces[in->ns].kubernetes ? add_cri(l, &b, l->st->container_count - 1) : RC_OK;
}

static enum rc add_snapshot(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct in_namespace *const in = context;
	struct bolt_bucket b = {0};
	struct span created = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "snapshot", item->key);
	struct snapshot *const s = PUSH(l->st, snapshots, snapshot_count);
	if (!s)
		return no_memory(l->e);
	s->ns = in->ns;
	s->backend = STORE_NONE;
	s->key = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)))
		return rc;
	rc = get_value(l, &b, "name", &s->name);
	if (rc == RC_END || (rc == RC_OK && s->name.left == 0))
		return bad_record(l, META_PATH, "snapshot", item->key);
	if (rc || (rc = optional(get_value(l, &b, "parent", &s->parent))) || (rc = optional(look(l, &b, "createdat", &created))))
		return rc;
	s->created_ns = decode_time_ns(created);
	return get_labels(l, &b, &s->labels, NULL);
}

static enum rc add_other_snapshot(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct span *const snapshotter = context;
	struct digest chain;

	l->st->other_snapshots++;
	if (digest_parse(item->key, &chain))
		return RC_OK; /* a container's, or what no image leads to */
	if (l->st->foreign_count == LIMIT_FOREIGN_SNAPSHOTS) {
		l->st->foreign_cut = true;
		return RC_OK;
	}
	struct foreign *const f = PUSH(l->st, foreign, foreign_count);
	if (!f)
		return no_memory(l->e);
	*f = (struct foreign){chain, *snapshotter};
	return RC_OK;
}

static int compare_foreign(const void *a, const void *b)
{
	return digest_compare(&((const struct foreign *)a)->chain, &((const struct foreign *)b)->chain);
}

static enum rc add_snapshotter(struct loader *l, const struct bolt_item *item, void *context)
{
	struct in_namespace *const in = context;
	struct bolt_bucket b = {0};
	enum rc rc;

	if (!item->is_bucket)
		return bad_record(l, META_PATH, "snapshotter", item->key);
	if ((rc = bolt_bucket_of(item, &b)))
		return rc;
	if (!span_is(item->key, "overlayfs")) {
		struct span name = arena_copy(l->st->keep, item->key);
		return name.bad ? no_memory(l->e) : each(l, &b, add_other_snapshot, &name);
	}
	l->st->namespaces[in->ns].overlay_sequence = b.sequence;
	return each(l, &b, add_snapshot, in);
}

static enum rc count_item(struct loader *l, const struct bolt_item *item, void *context)
{
	size_t *const count = context;

	(void)l;
	(void)item;
	++*count;
	return RC_OK;
}

/* Room for so many more: an array that grew record by record would leave a trail of copies behind. */
static enum rc content_room(struct loader *l, size_t more)
{
	struct store *const st = l->st;
	const size_t need = st->content_count + more;

	if (need <= l->content_cap)
		return RC_OK;
	const size_t cap = need > 2 * l->content_cap ? need : 2 * l->content_cap;
	struct content *const moved = arena_array(st->keep, cap, sizeof(*moved));
	if (!moved)
		return no_memory(l->e);
	if (st->content_count)
		memcpy(moved, st->contents, st->content_count * sizeof(*moved));
	st->contents = moved;
	l->content_cap = cap;
	return RC_OK;
}

static enum rc add_namespace(struct loader *l, const struct bolt_item *item, void *context)
{
	struct store *const st = l->st;
	struct bolt_bucket b = {0}, content = {0};
	struct in_namespace in = {st->namespace_count};
	size_t contents = 0;
	enum rc rc;

	(void)context;
	if (!item->is_bucket)
		return RC_OK; /* v1/version */
	struct namespace *const fresh = PUSH(st, namespaces, namespace_count);
	if (!fresh)
		return no_memory(l->e);
	fresh->name = arena_copy(st->keep, item->key);
	fresh->kubernetes = span_is(fresh->name, STORE_KUBERNETES);
	fresh->images.first = st->image_count;
	fresh->contents.first = st->content_count;
	fresh->ingests.first = st->ingest_record_count;
	fresh->leases.first = st->lease_count;
	fresh->containers.first = st->container_count;
	fresh->snapshots.first = st->snapshot_count;
	fresh->foreign.first = st->foreign_count;
	if ((rc = bolt_bucket_of(item, &b)) || (rc = each_in(l, &b, "images", add_image, &in)) ||
		(rc = each_in(l, &b, "leases", add_lease, &in)) ||
		(rc = each_in(l, &b, "containers", add_container, &in)) ||
		(fresh->kubernetes && (rc = each_in(l, &b, "sandboxes", add_stored_sandbox, NULL))) ||
		(rc = each_in(l, &b, "snapshots", add_snapshotter, &in)))
		return rc;
	rc = get_bucket(l, &b, "content", &content);
	if (rc == RC_OK && ((rc = each_in(l, &content, "blob", count_item, &contents)) || (rc = content_room(l, contents)) ||
				   (rc = each_in(l, &content, "blob", add_content, &in)) ||
				   (rc = each_in(l, &content, "ingests", add_ingest_record, &in))))
		return rc;
	if (rc && rc != RC_END)
		return rc;
	struct namespace *const ns = &st->namespaces[in.ns];
	ns->images.count = st->image_count - ns->images.first;
	ns->contents.count = st->content_count - ns->contents.first;
	ns->ingests.count = st->ingest_record_count - ns->ingests.first;
	ns->leases.count = st->lease_count - ns->leases.first;
	ns->containers.count = st->container_count - ns->containers.first;
	ns->snapshots.count = st->snapshot_count - ns->snapshots.first;
	ns->foreign.count = st->foreign_count - ns->foreign.first;
	if (ns->foreign.count)
		qsort(&st->foreign[ns->foreign.first], ns->foreign.count, sizeof(*st->foreign), compare_foreign);
	return RC_OK;
}

static enum rc read_meta(struct loader *l)
{
	const struct bolt_bucket root = bolt_root(l->b);
	struct bolt_bucket v1 = {0};
	struct span version = {0};
	enum rc rc = get_bucket(l, &root, "v1", &v1);

	if (rc == RC_END)
		return RC_OK; /* no schema 0: judged together with what the disk holds */
	if (rc)
		return rc;
	rc = look(l, &v1, "version", &version);
	if (rc && rc != RC_END)
		return rc;
	const int64_t schema = rc == RC_END ? 0 : span_varint(&version);
	if (rc == RC_END || version.bad || schema < SCHEMA_OLDEST || schema > SCHEMA_NEWEST)
		return add_fault(l->st, META_PATH, STORE_DB_SCHEMA,
			"schema %lld is not known to this program (it knows %d and %d)", (long long)schema, SCHEMA_OLDEST,
			SCHEMA_NEWEST);
	l->st->schema = (uint64_t)schema;
	if ((rc = each(l, &v1, add_namespace, NULL)))
		return rc;
	struct bolt_bucket beside = {0}; /* before schema 4 sandboxes were outside v1 */
	rc = schema < STORE_SCHEMA_SANDBOXES ? get_bucket(l, &root, STORE_KUBERNETES, &beside) : RC_END;
	return rc ? optional(rc) : each_in(l, &beside, "sandboxes", add_stored_sandbox, NULL);
}

/* ---- metadata.db ---- */

/* "<namespace>/<number>/<key>" of metadata's own snapshotter wrapper. */
static void split_backend_key(struct backend *b)
{
	struct span s = b->key;
	const uint8_t *const first = s.left ? memchr(s.at, '/', s.left) : NULL;

	if (!first)
		return;
	const struct span ns = span_of(s.at, (size_t)(first - s.at));
	(void)span_take(&s, ns.left + 1);
	const uint8_t *const second = s.left ? memchr(s.at, '/', s.left) : NULL;
	if (!second || parse_decimal(span_of(s.at, (size_t)(second - s.at)), &b->number))
		return;
	(void)span_take(&s, (size_t)(second - s.at) + 1);
	b->ns_name = ns;
	b->user_key = s;
}

static enum rc add_backend(struct loader *l, const struct bolt_item *item, void *context)
{
	struct bolt_bucket bucket = {0};
	struct span id = {0}, kind = {0}, inodes = {0}, created = {0};
	enum rc rc;

	(void)context;
	if (!item->is_bucket)
		return bad_record(l, OVERLAY_PATH, "snapshot", item->key);
	struct backend *const b = PUSH(l->st, backends, backend_count);
	if (!b)
		return no_memory(l->e);
	b->key = arena_copy(l->st->keep, item->key);
	b->parent_index = b->snapshot = STORE_NONE;
	if ((rc = bolt_bucket_of(item, &bucket)) || (rc = optional(look(l, &bucket, "id", &id))) ||
		(rc = optional(look(l, &bucket, "kind", &kind))) ||
		(rc = optional(get_value(l, &bucket, "parent", &b->parent))) ||
		(rc = optional(look(l, &bucket, "inodes", &inodes))) ||
		(rc = optional(look(l, &bucket, "createdat", &created))) ||
		(rc = get_labels(l, &bucket, &b->labels, NULL)))
		return rc;
	b->id = span_uvarint(&id);
	const uint8_t kind_byte = span_u8(&kind);
	if (id.bad || kind.bad || kind_byte < SNAPSHOT_VIEW || kind_byte > SNAPSHOT_COMMITTED || b->id == 0)
		return bad_record(l, OVERLAY_PATH, "snapshot", item->key);
	b->kind = (enum snapshot_kind)kind_byte;
	b->created_ns = decode_time_ns(created);
	if (b->kind == SNAPSHOT_COMMITTED && inodes.left) {
		const int64_t count = span_varint(&inodes);
		b->inodes = inodes.bad || count < 0 ? 0 : (uint64_t)count;
	}
	(void)snprintf(b->dir, sizeof(b->dir), "%llu", (unsigned long long)b->id); /* 20 digits fit */
	split_backend_key(b);
	return RC_OK;
}

static int compare_backend_id(const void *a, const void *b)
{
	const struct backend *const left = *(struct backend *const *)a, *const right = *(struct backend *const *)b;
	return (left->id > right->id) - (left->id < right->id);
}

static struct backend *backend_by_id(struct backend **by_id, size_t count, uint64_t id)
{
	size_t low = 0, high = count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (by_id[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && by_id[low]->id == id ? by_id[low] : NULL;
}

struct parents_context {
	struct backend **by_id;
};

static enum rc add_parents_entry(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct parents_context *const in = context;
	struct span key = item->key;
	const uint64_t parent = span_uvarint(&key);
	const uint8_t zero = span_u8(&key);
	const uint64_t child = span_uvarint(&key);

	if (item->is_bucket || key.bad || zero || key.left)
		return bad_record(l, OVERLAY_PATH, "entry of parents", item->key);
	struct backend *const b = backend_by_id(in->by_id, l->st->backend_count, child);
	if (b && span_equal(b->key, item->value) && b->parent_index != STORE_NONE &&
		l->st->backends[b->parent_index].id == parent)
		b->parents_entry = true;
	return RC_OK;
}

static enum rc read_overlay(struct loader *l, struct backend ***by_id_out)
{
	struct store *const st = l->st;
	const struct bolt_bucket root = bolt_root(l->b);
	struct bolt_bucket v1 = {0}, snapshots = {0};
	enum rc rc;

	if ((rc = get_bucket(l, &root, "v1", &v1)) || (rc = get_bucket(l, &v1, "snapshots", &snapshots)))
		return optional(rc);
	st->overlay_sequence = snapshots.sequence;
	if ((rc = each(l, &snapshots, add_backend, NULL)))
		return rc;
	struct backend **const by_id = arena_array(st->keep, st->backend_count + 1, sizeof(*by_id));
	if (!by_id)
		return no_memory(l->e);
	for (size_t i = 0; i < st->backend_count; i++)
		by_id[i] = &st->backends[i];
	if (st->backend_count)
		qsort(by_id, st->backend_count, sizeof(*by_id), compare_backend_id);
	*by_id_out = by_id; /* also of a database that is not right: the directories are looked at */
	for (size_t i = 0; i + 1 < st->backend_count; i++)
		if (by_id[i]->id == by_id[i + 1]->id)
			return add_fault(st, OVERLAY_PATH, STORE_DB_RECORD, "two snapshots have the id %llu",
				(unsigned long long)by_id[i]->id);
	for (size_t i = 0; i < st->backend_count; i++) {
		struct backend *const b = &st->backends[i];
		if (b->parent.left)
			b->parent_index = store_find_backend(st, b->parent);
		if (b->parent_index != STORE_NONE)
			st->backends[b->parent_index].children++;
	}
	for (size_t i = 0; i < st->backend_count; i++) {
		/* up to one whose depth is known, or that has no parent; each is told its own once */
		size_t steps = 0, top = i;
		while (st->backends[top].parent_index != STORE_NONE && !st->backends[top].depth && steps <= st->backend_count) {
			top = st->backends[top].parent_index;
			steps++;
		}
		if (steps > st->backend_count)
			return add_fault(st, OVERLAY_PATH, STORE_DB_RECORD, "the parents of snapshot %llu go round in a circle",
				(unsigned long long)st->backends[i].id);
		size_t depth = st->backends[top].depth + steps;
		if (depth >= LIMIT_LAYERS)
			return fail(l->e, RC_LIMIT, "a chain of more than %d snapshots is too deep to check", LIMIT_LAYERS);
		for (size_t at = i; at != top; at = st->backends[at].parent_index)
			st->backends[at].depth = depth--;
	}
	struct parents_context in = {by_id};
	return each_in(l, &v1, "parents", add_parents_entry, &in);
}

/* ---- databases ---- */

static enum rc open_database(struct store *st, struct database *d, int dir, const char *name, const char *path,
	struct arena scratch, struct err *e)
{
	struct bolt_fault fault = {0};
	enum rc rc;

	d->path = path;
	rc = d->fd >= 0 ? RC_OK : os_open_file(dir, name, &d->fd, e); /* meta.db is open already: it holds the lock */
	if (rc == RC_END)
		return RC_OK;
	if (rc == RC_CORRUPT)
		return add_fault(st, path, STORE_DB_MISSING, "is not a regular file");
	if (rc || (rc = os_src(d->fd, &d->src, e)))
		return rc;
	d->present = true;
	rc = bolt_open(&d->bolt, &d->src, st->keep, &fault, e);
	if (rc == RC_OK) {
		/* most of it is wanted, page by page in no order */
		const uint64_t bytes = min_u64(d->bolt.meta[d->bolt.current].high_water * d->bolt.page_size, DATABASE_AHEAD);
		for (uint64_t at = 0; at < bytes; at += DATABASE_STEP)
			(void)posix_fadvise(d->fd, (off_t)at, (off_t)DATABASE_STEP, POSIX_FADV_WILLNEED); /* only a hint */
		rc = bolt_check(&d->bolt, scratch, &d->stats, &fault, e);
	}
	if (rc == RC_OK) {
		d->sound = true;
		return RC_OK;
	}
	if (rc != RC_CORRUPT)
		return rc;
	struct store_fault *const f = PUSH(st, faults, fault_count);
	if (!f)
		return no_memory(e);
	*f = (struct store_fault){path, STORE_DB_FAULT, fault};
	return RC_OK;
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

static enum rc add_stray(struct store *st, const char *dir, const char *name, enum stray_kind kind, bool is_directory,
	bool empty, struct err *e)
{
	struct stray *const s = PUSH(st, strays, stray_count);
	char *const kept = arena_string(st->keep, span_of_string(name));

	if (!s || !kept)
		return no_memory(e);
	*s = (struct stray){.dir = dir, .name = kept, .kind = kind, .is_directory = is_directory, .empty = empty};
	return RC_OK;
}

/* RC_OK: a directory below dir is there and empty; RC_END: it is not. Anything else: that is not known. */
static enum rc is_empty_dir(int dir, const char *name, struct arena scratch, struct err *e)
{
	auto_fd fd = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = os_open_dir(dir, name, &fd, e);

	if (rc == RC_OK)
		rc = os_list(fd, &scratch, &names, &count, e);
	return rc == RC_CORRUPT || (rc == RC_OK && count) ? RC_END : rc;
}

/* RC_OK: snapshots/<id> has no fs, or one with nothing in it; RC_END: something; else as above. */
static enum rc holds_nothing(int snapshots, const char *id, struct arena scratch, struct err *e)
{
	auto_fd dir = -1;
	struct stat fs = {0};
	enum rc rc = os_open_dir(snapshots, id, &dir, e);

	if (rc)
		return rc == RC_CORRUPT ? RC_END : rc;
	if ((rc = os_stat(dir, "fs", &fs, e)))
		return rc == RC_END ? RC_OK : rc;
	return is_empty_dir(dir, "fs", scratch, e);
}

static enum rc add_state_file(struct store *st, const char *dir, const char *name, enum state_kind kind, size_t container,
	const char *why, struct err *e)
{
	struct state_file *const f = PUSH(st, state_files, state_file_count);

	if (!f)
		return no_memory(e);
	*f = (struct state_file){dir, name, kind, container, why};
	return RC_OK;
}

/* A place that was to be looked at and could not be: RC_OK for what is not there, for then there is nothing to see. */
static enum rc note_unseen(struct store *st, const char *dir, const char *name, enum rc rc, const struct err *why, struct err *e)
{
	if (rc == RC_NOMEM)
		return no_memory(e);
	return rc == RC_OK || rc == RC_END || rc == RC_CORRUPT
		       ? RC_OK
		       : add_state_file(st, dir, name, STATE_UNREADABLE, STORE_NONE,
				 why->sys_errno ? strerror(why->sys_errno) : "it is too big to check", e);
}

/* Whose place a stray file lies in; STORE_NONE: of none such. */
struct place {
	size_t ingest, stray, blob;
};
#define NO_PLACE ((struct place){STORE_NONE, STORE_NONE, STORE_NONE})

static enum rc add_spare(struct store *st, const char *dir, const char *name, uint64_t size, struct place of, struct err *e)
{
	struct spare *const s = PUSH(st, spares, spare_count);
	char *const kept = arena_string(st->keep, span_of_string(name));

	if (!s || !kept)
		return no_memory(e);
	*s = (struct spare){.dir = dir, .name = kept, .size = size, .ingest = of.ingest, .stray = of.stray, .blob = of.blob};
	return RC_OK;
}

struct unlisted {
	const char *path; /* relative to the root */
	unsigned depth;
};

/* No bytes are known to be in it, nor that none are. */
static void note_unseen_bytes(struct store *st, const char *dir, const char *name, const struct err *why)
{
	if (st->unseen_path)
		return;
	st->unseen_path = arena_printf(st->keep, "%s/%s", dir, name);
	if (!st->unseen_path)
		st->unseen_path = STORE_CONTENT_DIR;
	st->unseen_errno = why->sys_errno ? why->sys_errno : EIO;
}

/* What is not there, or no directory, has nothing in it. */
static bool list_place(struct store *st, const char *path, int *dir, struct os_name **names, size_t *count, struct arena *a)
{
	struct err why = {0};
	enum rc rc = store_open_path(st, path, dir, &why);

	if (rc == RC_OK)
		rc = os_list(*dir, a, names, count, &why);
	if (rc && rc != RC_END && rc != RC_CORRUPT)
		note_unseen_bytes(st, path, ".", &why);
	return rc == RC_OK;
}

static enum rc list_spares(struct store *st, struct unlisted at, struct place of, struct arena *todo, void **array, size_t *count,
	struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t name_count = 0;
	struct err why = {0}; /* what cannot be looked at is noted, and no reason to end */
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, at.path, &dir, &names, &name_count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < name_count; i++) {
		struct stat found = {0};
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END)
			note_unseen_bytes(st, at.path, names[i].name, &why);
		if (seen)
			continue;
		if (S_ISREG(found.st_mode)) {
			rc = add_spare(st, at.path, names[i].name, (uint64_t)found.st_size, of, e);
		} else if (S_ISDIR(found.st_mode) && at.depth < LIMIT_STRAY_DEPTH) {
			struct unlisted *const next = arena_push(todo, array, count, sizeof(*next));
			char *const path = arena_printf(st->keep, "%s/%s", at.path, names[i].name);
			if (!next || !path)
				return no_memory(e);
			*next = (struct unlisted){path, at.depth + 1};
		}
	}
	return rc;
}

/* The files in a directory that is no place of containerd's, and in those below it. */
static enum rc add_spares_below(
	struct store *st, const char *dir, const char *name, struct place of, struct arena scratch, struct err *e)
{
	struct arena todo;
	void *array = NULL;
	size_t count = 0;
	enum rc rc = arena_open(&todo, e);

	if (rc)
		return rc;
	struct unlisted *const first = arena_push(&todo, &array, &count, sizeof(*first));
	char *const path = arena_printf(st->keep, "%s/%s", dir, name);
	if (!first || !path)
		rc = no_memory(e);
	else
		*first = (struct unlisted){path, 1};
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const struct unlisted at = ((const struct unlisted *)array)[i];
		rc = list_spares(st, at, of, &todo, &array, &count, scratch, e);
	}
	arena_close(&todo);
	return rc;
}

/* A name where containerd puts no such thing. */
static enum rc add_foreign(struct store *st, const char *dir, const char *name, const struct stat *found, struct place of,
	struct arena scratch, struct err *e)
{
	return S_ISREG(found->st_mode)	 ? add_spare(st, dir, name, (uint64_t)found->st_size, of, e)
	       : S_ISDIR(found->st_mode) ? add_spares_below(st, dir, name, of, scratch, e)
					 : RC_OK;
}

/* Names in a directory of which containerd has these alone. */
static enum rc add_foreigners(
	struct store *st, const char *path, const char *const known[], struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* as in list_spares */
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		size_t k = 0;
		while (known[k] && strcmp(known[k], names[i].name) != 0)
			k++;
		const enum rc seen = known[k] ? RC_END : os_stat(dir, names[i].name, &found, &why);
		if (seen == RC_OK)
			rc = add_foreign(st, path, names[i].name, &found, NO_PLACE, scratch, e);
		else if (seen != RC_END)
			note_unseen_bytes(st, path, names[i].name, &why);
	}
	return rc;
}

static enum rc blob_room(struct store *st, size_t more, struct err *e)
{
	struct blob *const moved = more ? arena_array(st->keep, st->blob_count + more, sizeof(*moved)) : st->blob_files;

	if (more && !moved)
		return no_memory(e);
	if (more && st->blob_count)
		memcpy(moved, st->blob_files, st->blob_count * sizeof(*moved));
	st->blob_files = moved;
	return RC_OK;
}

const char *store_blob_dir_path(enum digest_kind kind)
{
	static const char *const paths[DIGEST_KINDS] = {[DIGEST_SHA256] = STORE_CONTENT_DIR "/blobs/sha256",
		[DIGEST_SHA384] = STORE_CONTENT_DIR "/blobs/sha384",
		[DIGEST_SHA512] = STORE_CONTENT_DIR "/blobs/sha512"};

	return paths[kind];
}

static enum rc read_blobs(struct store *st, struct arena scratch, struct err *e)
{
	for (int kind = 0; st->blobs >= 0 && kind < DIGEST_KINDS; kind++) {
		struct os_name *names = NULL;
		size_t count = 0;
		struct arena local = scratch;
		const char *const path = store_blob_dir_path((enum digest_kind)kind);
		enum rc rc = store_open_blob_dir(st, (enum digest_kind)kind, &st->blob_dirs[kind], e);
		const int dir = st->blob_dirs[kind];
		if (rc == RC_END)
			continue;
		if (rc || (rc = os_list(dir, &local, &names, &count, e)))
			return rc;
		if ((rc = blob_room(st, count, e)))
			return rc;
		for (size_t i = 0; i < count; i++) {
			struct digest d;
			struct stat found = {0};
			char text[DIGEST_TEXT_BYTES];
			struct err why = {0};
			rc = os_stat(dir, names[i].name, &found, &why);
			if (rc == RC_END)
				continue;
			if (digest_parse_hex((enum digest_kind)kind, span_of_string(names[i].name), &d)) {
				if (rc) {
					note_unseen_bytes(st, path, names[i].name, &why);
					continue;
				}
				const struct place at = {STORE_NONE, st->stray_count, STORE_NONE};
				const size_t first = st->spare_count;
				if ((rc = add_stray(st, path, names[i].name, STRAY_BLOB_NAME, S_ISDIR(found.st_mode), false, e)) ||
					(rc = add_foreign(st, path, names[i].name, &found, at, local, e)))
					return rc;
				st->strays[at.stray].spares = (struct range){first, st->spare_count - first};
				continue;
			}
			struct blob *const b = &st->blob_files[st->blob_count++];
			digest_format(&d, text);
			*b = (struct blob){.digest = d,
				.text = arena_copy(st->keep, span_of_string(text)),
				.size = (uint64_t)found.st_size,
				.inode = found.st_ino,
				.ctime_ns = os_ctime_ns(&found),
				.mode = found.st_mode & 07777,
				.regular = S_ISREG(found.st_mode),
				.sparse = (uint64_t)found.st_blocks * 512 < (uint64_t)found.st_size / 2,
				.unreadable = rc ? why.sys_errno : S_ISLNK(found.st_mode) ? ELOOP : 0,
				.spare = STORE_NONE};
			if (b->text.bad)
				return no_memory(e);
			if (!S_ISDIR(found.st_mode))
				continue;
			const size_t first = st->spare_count;
			rc = add_spares_below(st, path, names[i].name,
				(struct place){STORE_NONE, STORE_NONE, st->blob_count - 1}, local, e);
			if (rc)
				return rc;
			b->spares = (struct range){first, st->spare_count - first};
		}
	}
	return RC_OK;
}

/* The tail after the last '@' or '-' (containerd 2.3: core/remotes/handlers.go). */
bool store_digest_of_ref(struct span ref, struct digest *d)
{
	size_t at = ref.left;

	while (at > 0 && ref.at[at - 1] != '@' && ref.at[at - 1] != '-')
		at--;
	return at > 0 && digest_parse(span_of(ref.at + at, ref.left - at), d) == RC_OK;
}

static void split_ref(struct ingest *in)
{
	struct span s = in->ref;
	uint64_t number = 0;
	const uint8_t *const first = s.left ? memchr(s.at, '/', s.left) : NULL;

	if (!first)
		return;
	const struct span ns = span_of(s.at, (size_t)(first - s.at));
	(void)span_take(&s, ns.left + 1);
	const uint8_t *const second = s.left ? memchr(s.at, '/', s.left) : NULL;
	if (!second || parse_decimal(span_of(s.at, (size_t)(second - s.at)), &number))
		return;
	(void)span_take(&s, (size_t)(second - s.at) + 1);
	in->ns_name = ns;
	in->client_ref = s;
	in->expected_known = store_digest_of_ref(s, &in->expected);
}

static const char ingest_path[] = STORE_CONTENT_DIR "/ingest";

/* All files of a download: what is called data is not the only one that may be one. */
static enum rc add_ingest_files(struct store *st, int dir, const char *name, struct arena scratch, struct err *e)
{
	const struct place at = {st->ingest_count - 1, STORE_NONE, STORE_NONE};
	struct ingest *const in = &st->ingests[st->ingest_count - 1];
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0};
	char *const path = arena_printf(st->keep, "%s/%s", ingest_path, name);
	enum rc rc = path ? os_list(dir, &scratch, &names, &count, e) : no_memory(e);

	if (rc == RC_IO)
		note_unseen_bytes(st, path, ".", e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END) {
			note_unseen_bytes(st, path, names[i].name, &why);
			in->unreadable = why.sys_errno ? why.sys_errno : EIO;
		}
		if (seen)
			continue;
		if (S_ISREG(found.st_mode) && strcmp(names[i].name, "data") == 0) {
			in->spare = st->spare_count;
			in->has_data = true;
			in->data_size = (uint64_t)found.st_size;
		}
		rc = add_foreign(st, path, names[i].name, &found, at, scratch, e);
	}
	return rc;
}

/* The directory of a download, which containerd names by the hash of its ref (containerd 2.3: plugins/content/local/store.go). */
static const char *name_of_ref(struct span ref, char text[DIGEST_TEXT_BYTES])
{
	struct digest d;
	struct hash h;

	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, ref.at, ref.left);
	hash_end(&h, &d);
	digest_format(&d, text);
	return text + sizeof("sha256:") - 1;
}

bool store_ref_fits(struct span ref, const char *name)
{
	char text[DIGEST_TEXT_BYTES];

	return ref.left && strcmp(name_of_ref(ref, text), name) == 0;
}

static enum rc read_ingest(struct store *st, const char *name, struct ingest *in, struct arena scratch, struct err *e)
{
	auto_fd dir = -1;
	struct stat found = {0};
	struct span text = {0};
	enum rc rc = os_open_dir(st->ingest_dir, name, &dir, e);

	if (rc == RC_CORRUPT || rc == RC_END) {
		rc = os_stat(st->ingest_dir, name, &found, e);
		if (rc && rc != RC_END)
			note_unseen_bytes(st, ingest_path, name, e);
		if (rc || !S_ISREG(found.st_mode))
			return rc == RC_END ? RC_OK : rc;
		return add_spare(st, ingest_path, name, (uint64_t)found.st_size,
			(struct place){st->ingest_count - 1, STORE_NONE, STORE_NONE}, e);
	}
	if (rc) {
		if (rc == RC_IO)
			note_unseen_bytes(st, ingest_path, name, e);
		return rc;
	}
	in->is_directory = true;
	/* what it is for may be unknown; what is in it is looked at all the same */
	if ((rc = add_ingest_files(st, dir, name, scratch, e)))
		return rc;
	rc = os_read_small(dir, "ref", SMALL_FILE_BYTES, st->keep, &in->ref, e);
	if (rc == RC_LIMIT) { /* longer than we read: not the same as none */
		errno = EFBIG;
		return fail(e, RC_IO, "ingest/%s: ref is too long", name);
	}
	if (rc == RC_IO || rc == RC_NOMEM)
		return rc;
	if (in->ref.left) {
		in->ref_fits = store_ref_fits(in->ref, name);
		if (in->ref_fits)
			split_ref(in);
	}
	rc = os_read_small(dir, "total", SMALL_FILE_BYTES, st->keep, &text, e);
	if (rc == RC_IO || rc == RC_NOMEM)
		return rc;
	if (rc || parse_decimal(text, &in->total))
		in->total = 0; /* unknown, as containerd takes it */
	return RC_OK;
}

static enum rc read_ingests(struct store *st, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = st->ingest_dir < 0 ? RC_OK : os_list(st->ingest_dir, &scratch, &names, &count, e);

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct ingest *const in = PUSH(st, ingests, ingest_count);
		char *const name = arena_string(st->keep, span_of_string(names[i].name));
		if (!in || !name)
			return no_memory(e);
		in->name = span_of_string(name);
		in->record = in->spare = STORE_NONE;
		struct err why = {0};
		in->spares.first = st->spare_count;
		rc = read_ingest(st, name, in, scratch, &why);
		in->spares.count = st->spare_count - in->spares.first;
		if (rc == RC_IO) {
			in->unreadable = why.sys_errno ? why.sys_errno : EIO;
			rc = RC_OK;
		} else if (rc) {
			*e = why;
		}
	}
	return rc;
}

static int compare_blobs(const void *a, const void *b)
{
	return digest_compare(&((const struct blob *)a)->digest, &((const struct blob *)b)->digest);
}

/* A download's directory, among what a repair was removing: a layer's files are there as well, by the million. */
static bool looks_like_download(int staging, const char *name)
{
	static const char *const files[] = {"data", "ref", "startedat", "updatedat", "total"};
	struct err ignored = {0}; /* what cannot be looked at may be one */
	struct stat found = {0};
	auto_fd dir = -1;
	bool yes = false;
	enum rc rc = os_open_dir(staging, name, &dir, &ignored);

	if (rc)
		return rc != RC_END && rc != RC_CORRUPT;
	for (size_t i = 0; !yes && i < sizeof(files) / sizeof(files[0]); i++) {
		rc = os_stat(dir, files[i], &found, &ignored);
		yes = rc == RC_OK ? S_ISREG(found.st_mode) : rc != RC_END;
	}
	return yes;
}

bool store_is_intent(const char *name)
{
	return strncmp(name, STORE_INTENT, sizeof(STORE_INTENT) - 1) == 0;
}

/* What repairs of ours took out of the content store, and is still there. path: staging, or aside. */
static enum rc read_own_place(struct store *st, const char *path, enum spare_place place, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* as in list_spares */
	auto_fd dir = -1;
	const size_t before = st->spare_count;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const char *const what = strchr(names[i].name, '-');
		struct stat found = {0};
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END)
			note_unseen_bytes(st, path, names[i].name, &why);
		if (seen || (place == SPARE_IN_STAGING && store_is_intent(names[i].name) && !found.st_size))
			continue; /* an intent is a name, without bytes */
		if (S_ISREG(found.st_mode) ||
			(place == SPARE_IN_STAGING ? looks_like_download(dir, names[i].name)
						   : what && strncmp(what, "-snapshot-", 10) != 0 &&
							     strncmp(names[i].name, "snapshot-", 9) != 0))
			rc = add_foreign(st, path, names[i].name, &found, NO_PLACE, scratch, e);
	}
	for (size_t i = before; i < st->spare_count; i++)
		st->spares[i].place = place;
	return rc;
}

/* path: containerd-fsck/ of the root, or of a content store that is a mount of its own. */
static enum rc read_own(struct store *st, const char *path, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const bool staging = strncmp(names[i].name, "staging", 7) == 0;
		if (!staging && strncmp(names[i].name, "aside", 5) != 0)
			continue;
		char *const place = arena_printf(st->keep, "%s/%s", path, names[i].name);
		rc = place ? read_own_place(st, place, staging ? SPARE_IN_STAGING : SPARE_IN_ASIDE, scratch, e) : no_memory(e);
	}
	return rc;
}

/* Files that are neither blobs nor downloads. */
static enum rc read_foreigners(struct store *st, struct arena scratch, struct err *e)
{
	static const char *const of_content[] = {"blobs", "ingest", STORE_OWN_DIR, NULL};
	static const char *const of_blobs[] = {"sha256", "sha384", "sha512", NULL};
	enum rc rc;

	if ((rc = add_foreigners(st, STORE_CONTENT_DIR, of_content, scratch, e)) ||
		(rc = add_foreigners(st, STORE_CONTENT_DIR "/blobs", of_blobs, scratch, e)) ||
		(rc = read_own(st, STORE_OWN_DIR, scratch, e)))
		return rc;
	return read_own(st, STORE_CONTENT_DIR "/" STORE_OWN_DIR, scratch, e);
}

static enum rc read_intents_of(struct store *st, struct backend **by_id, int own, const char *name, struct arena scratch,
	struct err *e)
{
	auto_fd staging = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* it is told of as a place that may hold bytes: read_own_place */
	enum rc rc = os_open_dir(own, name, &staging, &why);

	if (rc == RC_OK)
		rc = os_list(staging, &scratch, &names, &count, &why);
	if (rc == RC_NOMEM)
		return no_memory(e);
	st->intents_unseen |= rc && rc != RC_END;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		uint64_t id = 0;
		if (!store_is_intent(names[i].name) ||
			parse_decimal(span_of_string(names[i].name + sizeof(STORE_INTENT) - 1), &id))
			continue;
		struct backend *const b = backend_by_id(by_id, st->backend_count, id);
		if (b)
			b->interrupted = true;
	}
	return RC_OK;
}

/* Rebuilds of ours that were cut off. */
static enum rc read_intents(struct store *st, struct backend **by_id, struct arena scratch, struct err *e)
{
	auto_fd own = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	rc = os_list(own, &scratch, &names, &count, e);
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (strncmp(names[i].name, "staging", 7) == 0)
			rc = read_intents_of(st, by_id, own, names[i].name, scratch, e);
	return rc;
}

static enum rc read_snapshot_dirs(struct store *st, struct backend **by_id, struct arena scratch, struct err *e)
{
	static const char path[] = STORE_OVERLAY_DIR "/snapshots";
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = st->snapshots_dir < 0 ? RC_OK : os_list(st->snapshots_dir, &scratch, &names, &count, e);

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const char *const name = names[i].name;
		struct stat found = {0};
		uint64_t id = 0;
		struct err why = {0};
		if (strcmp(name, STORE_OWN_DIR) == 0)
			continue; /* ours, where snapshots/ is a mount of its own */
		rc = os_stat(st->snapshots_dir, name, &found, &why);
		if (rc == RC_IO) /* it is there, and whoever opens it will be told what is wrong with it */
			found.st_mode = S_IFDIR;
		const bool gone = rc == RC_END;
		rc = RC_OK;
		if (gone)
			continue;
		const bool is_directory = S_ISDIR(found.st_mode);
		const bool number = parse_decimal(span_of_string(name), &id) == RC_OK;
		struct backend *const b = number ? backend_by_id(by_id, st->backend_count, id) : NULL;
		if (b) {
			b->dir_found = true;
			b->dir_is_directory = is_directory;
			b->dir_inode = found.st_ino; /* 0 after a failed stat */
			b->dir_ctime_ns = os_ctime_ns(&found);
			continue;
		}
		bool empty = true;
		/* what is behind the counter is a leftover whether or not it holds something */
		if (number && is_directory && id > st->overlay_sequence) {
			if ((rc = holds_nothing(st->snapshots_dir, name, scratch, e)) && rc != RC_END)
				return rc;
			empty = rc == RC_OK;
			rc = RC_OK;
		}
		const bool half = strncmp(name, "new-", 4) == 0 || strncmp(name, "rm-", 3) == 0;
		rc = add_stray(st, path, name,
			number ? STRAY_SNAPSHOT_DIR : half ? STRAY_SNAPSHOT_NEW : STRAY_SNAPSHOT_OTHER, is_directory, empty, e);
		if (rc == RC_OK)
			st->strays[st->stray_count - 1].id = id;
	}
	return rc;
}

/* Names in one directory that begin with a prefix. */
static enum rc find_prefixed(struct store *st, const char *dir_name, const char *prefix, enum stray_kind kind,
	struct arena scratch, struct err *e)
{
	auto_fd dir = -1;
	struct os_name *names = NULL;
	struct stat here = {0};
	size_t count = 0;
	struct err why = {0};
	enum rc rc = store_open_path(st, dir_name, &dir, &why);

	if (rc == RC_OK && (rc = os_list(dir, &scratch, &names, &count, &why)) == RC_OK)
		rc = os_stat_fd(dir, &here, &why);
	if (rc) /* leftovers that cannot be seen are left */
		return note_unseen(st, dir_name, prefix, rc, &why, e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		if (strncmp(names[i].name, prefix, strlen(prefix)) != 0)
			continue;
		bool empty = false;
		rc = os_stat(dir, names[i].name, &found, &why);
		if (rc == RC_OK && found.st_dev == here.st_dev && S_ISDIR(found.st_mode) && kind == STRAY_TMPMOUNT) {
			rc = is_empty_dir(dir, names[i].name, scratch, &why);
			empty = rc == RC_OK;
			rc = optional(rc);
		}
		if (rc) {
			char *const kept = arena_string(st->keep, span_of_string(names[i].name));
			if (!kept)
				return no_memory(e);
			rc = note_unseen(st, dir_name, kept, rc, &why, e);
			continue;
		}
		if (found.st_dev == here.st_dev) /* a mount point is in use */
			rc = add_stray(st, dir_name, names[i].name, kind, S_ISDIR(found.st_mode), empty, e);
	}
	return rc;
}

static bool all_zero(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		if (s.at[i])
			return false;
	return true;
}

/* Numbers of snapshots grow, and a container's own is made just before it. */
static void number_cri(struct store *st)
{
	for (size_t i = 0; i < st->cri_count && st->cri[i].kind != CRI_STORED; i++) {
		const struct container *const c = &st->containers[st->cri[i].container];
		const size_t own = span_is(c->snapshotter, "overlayfs") ? store_find_snapshot(st, c->ns, c->snapshot_key) : STORE_NONE;
		if (own != STORE_NONE && st->snapshots[own].backend != STORE_NONE)
			st->cri[i].made = st->backends[st->snapshots[own].backend].id;
	}
}

/* What the attempt to open it means for containerd, which would follow a link. */
static enum cri_directory seen_as(int containers, const char *id, enum rc opened)
{
	struct stat found = {0};
	struct err ignored = {0};

	if (opened == RC_CORRUPT && os_stat(containers, id, &found, &ignored) == RC_OK && !S_ISLNK(found.st_mode))
		return CRI_DIR_GONE;
	return opened == RC_OK ? CRI_DIR_THERE : opened == RC_END ? CRI_DIR_GONE : CRI_DIR_UNKNOWN;
}

static enum rc read_state_files(struct store *st, struct arena scratch, struct err *e)
{
	auto_fd introspection = -1, cri = -1, containers = -1;
	size_t known = 0;
	struct span text = {0};
	struct err unseen = {0};
	enum rc rc = os_open_dir(st->dir, STORE_INTROSPECTION_DIR, &introspection, &unseen);

	if (rc) {
		rc = note_unseen(st, STORE_INTROSPECTION_DIR, "uuid", rc, &unseen, e);
	} else {
		struct err why = {0};
		rc = os_read_small(introspection, "uuid", SMALL_FILE_BYTES, &scratch, &text, &why);
		/* any other text may be a form of UUID that Go reads */
		if (rc == RC_OK && (text.left == 0 || memchr(text.at, 0, text.left)))
			rc = add_state_file(st, STORE_INTROSPECTION_DIR, "uuid", STATE_UUID, STORE_NONE,
				text.left ? "holds zero bytes" : "is empty", e);
		else if (rc == RC_IO)
			rc = add_state_file(st, STORE_INTROSPECTION_DIR, "uuid", STATE_UNREADABLE, STORE_NONE,
				strerror(why.sys_errno), e);
	}
	if (rc == RC_NOMEM)
		return rc;
	const size_t ns = store_find_namespace(st, span_of_string(STORE_KUBERNETES));
	if (ns == STORE_NONE)
		return RC_OK;
	unseen = (struct err){0};
	if ((rc = os_open_dir(st->dir, STORE_CRI_DIR, &cri, &unseen)) || (rc = os_open_dir(cri, "containers", &containers, &unseen)))
		return note_unseen(st, STORE_CRI_DIR, "containers", rc, &unseen, e); /* not there: no CRI here */
	const struct range r = st->namespaces[ns].containers;
	for (size_t i = r.first; i < r.first + r.count; i++) {
		auto_fd dir = -1;
		struct arena local = scratch;
		if (!name_ok(st->containers[i].id))
			continue;
		const char *const id = arena_string(st->keep, st->containers[i].id);
		if (!id)
			return no_memory(e);
		unseen = (struct err){0};
		rc = os_open_dir(containers, id, &dir, &unseen);
		while (known < st->cri_count && st->cri[known].kind != CRI_STORED && st->cri[known].container < i)
			known++;
		if (known < st->cri_count && st->cri[known].container == i)
			st->cri[known].directory = seen_as(containers, id, rc);
		if (rc) {
			/* not there: a sandbox, or a container that CRI does not know, or cannot load: no file of it can be made up */
			if ((rc = note_unseen(st, STORE_CRI_DIR "/containers", id, rc, &unseen, e)))
				return rc;
			continue;
		}
		struct err why = {0};
		text = (struct span){0};
		rc = os_read_small(dir, "status", SMALL_FILE_BYTES, &local, &text, &why);
		if (rc == RC_NOMEM)
			return no_memory(e);
		if (rc == RC_IO || rc == RC_END || (rc == RC_OK && all_zero(text))) {
			const char *const path = arena_printf(st->keep, STORE_CRI_DIR "/containers/%s", id);
			if (!path)
				return no_memory(e);
			rc = add_state_file(st, path, "status", rc == RC_IO ? STATE_UNREADABLE : STATE_CRI_STATUS, i,
				rc == RC_IO    ? strerror(why.sys_errno)
				: rc == RC_END ? "is missing"
				: text.left    ? "holds only zero bytes"
					       : "is empty",
				e);
			if (rc)
				return rc;
		}
	}
	return RC_OK;
}

/* ---- this boot, or an earlier one ---- */

#define KNOWN_STATES 2
struct known_root {
	const char *root, *states[KNOWN_STATES];
};

/* containerd-store.md 1.4. Docker's directory is also used by the system's containerd, with that one's state (Home Assistant OS). */
static const struct known_root known_roots[] = {
	{"/var/lib/containerd", {"/run/containerd"}},
	{"/var/lib/rancher/k3s/agent/containerd", {"/run/k3s/containerd"}},
	{"/var/lib/rancher/rke2/agent/containerd", {"/run/k3s/containerd"}},
	{"/var/lib/k0s/containerd", {"/run/k0s/containerd"}},
	{"/var/snap/microk8s/common/var/lib/containerd", {"/var/snap/microk8s/common/run/containerd"}},
	{"/var/lib/docker/containerd/daemon", {"/var/run/docker/containerd/daemon", "/run/containerd"}},
	{"/system/var/lib/containerd", {"/system/run/containerd"}},
	{"/var/lib/host-containerd", {"/run/host-containerd"}},
};
#define KNOWN_ROOTS (sizeof(known_roots) / sizeof(known_roots[0]))

enum rc store_well_known(const char *sysroot, struct arena *a, const char ***roots, struct err *e)
{
	const size_t n = KNOWN_ROOTS;
	const char **const found = arena_array(a, n + 1, sizeof(*found));
	size_t count = 0;

	if (!found)
		return no_memory(e);
	for (size_t i = 0; i < n; i++) {
		auto_fd fd = -1;
		char inside[LIMIT_PATH_BYTES];
		const char *const path = arena_printf(a, "%s%s", sysroot, known_roots[i].root);
		struct err ignored = {0};
		if (!path)
			return no_memory(e);
		/* what cannot be opened exists and is reported when it is its turn */
		const enum rc rc = *sysroot ? os_resolve_in(sysroot, known_roots[i].root, inside, &ignored)
					    : os_open_root(path, &fd, &ignored);
		if (rc != RC_END)
			found[count++] = path;
	}
	*roots = found;
	return RC_OK;
}

/* Whether a path leads to this root: by device and inode, since the same directory may be bound to several places. */
static bool leads_here(const struct store *st, const char *path)
{
	const char *const sysroot = st->hints->sysroot;
	char inside[LIMIT_PATH_BYTES];
	struct stat here = {0}, there = {0};
	auto_fd fd = -1;
	struct err ignored = {0}; /* what cannot be looked at is not known to be this */

	return (!*sysroot || os_resolve_in(sysroot, path, inside, &ignored) == RC_OK) &&
	       os_open_root(*sysroot ? inside : path, &fd, &ignored) == RC_OK && os_stat_fd(fd, &there, &ignored) == RC_OK &&
	       os_stat_fd(st->dir, &here, &ignored) == RC_OK && here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* The state directories that may belong to this root. *known: it is one of the list. */
struct states {
	const char **at, **names; /* names: of the root, NULL at the end */
	size_t count, name_count;
	const char *there;        /* the first of them that is there, or of which it cannot be told */
	bool known;
};

static void add_state(const struct store *st, struct states *s, const char *state)
{
	s->at[s->count++] = state;
	if (!s->there && host_may_have(st->hints->sysroot, state))
		s->there = state;
}

static enum rc find_states(const struct store *st, const char *real, struct states *s, struct arena *a, struct err *e)
{
	const struct store_hints *const h = st->hints;
	bool doubtful = false;

	s->at = arena_array(a, KNOWN_ROOTS * KNOWN_STATES + h->known_count + 1, sizeof(*s->at));
	s->names = arena_array(a, KNOWN_ROOTS + h->known_count + 3, sizeof(*s->names));
	if (!s->at || !s->names)
		return no_memory(e);
	s->names[s->name_count++] = real;
	s->names[s->name_count++] = st->path;
	for (size_t i = 0; i < KNOWN_ROOTS; i++) {
		if (!leads_here(st, known_roots[i].root))
			continue;
		s->names[s->name_count++] = known_roots[i].root;
		for (size_t k = 0; k < KNOWN_STATES && known_roots[i].states[k]; k++)
			add_state(st, s, known_roots[i].states[k]);
	}
	for (size_t i = 0; i < h->known_count; i++) {
		const struct store_known *const k = &h->known[i];
		if (!leads_here(st, k->root))
			continue;
		doubtful |= k->unknown; /* it may say that the state is elsewhere */
		s->names[s->name_count++] = k->root;
		add_state(st, s, k->state);
	}
	s->known = s->count && !doubtful;
	for (size_t i = 0; !s->count && i < KNOWN_ROOTS; i++)
		for (size_t k = 0; !s->there && k < KNOWN_STATES && known_roots[i].states[k]; k++)
			if (host_may_have(h->sysroot, known_roots[i].states[k]))
				s->there = known_roots[i].states[k];
	return RC_OK;
}

/* By the clock; in the future, it says nothing. */
static bool was_written(const struct database *d, int64_t started_ns, int64_t now_ns)
{
	struct stat seen = {0};
	struct err ignored = {0};

	if (!d->present || !started_ns)
		return false;
	if (os_stat_fd(d->fd, &seen, &ignored))
		return true;
	return os_ctime_ns(&seen) >= started_ns && os_ctime_ns(&seen) <= now_ns;
}

static const char *sentence(const struct store *st, const struct boot_facts *f, const struct states *s, const struct host_view *v)
{
	struct arena *const a = st->keep;
	const char *const unknown = "it is not known whether containerd has run since the machine started";

	switch (st->proof) {
	case PROOF_IN_USE:
		return v->mounted ? arena_printf(a, "containers run on this store, %s is mounted", v->mounted)
				  : "it could not be seen whether containers run on this store";
	case PROOF_TOLD:
		return "containerd has not run since the machine started, as told";
	case PROOF_JOURNAL:
		return "the databases are as the journal left them in an earlier boot";
	case PROOF_FIRST_BOOT:
		return "this is the first boot that the journal has of this machine's start: containerd has not run since";
	case PROOF_NO_STATE:
		return arena_printf(a, "%s does not exist: containerd has not run since the machine started", s->at[0]);
	case PROOF_NONE:
	default:
		break;
	}
	return v->held		? arena_printf(a, "%s uses this store", v->held)
	       : f->state_there ? arena_printf(a, "%s exists: containerd may have run since the machine started", s->there)
	       : f->shims	? "/run/containerd/s has sockets: containers may have run since the machine started"
	       : f->written	? arena_printf(a, "%s: the databases were changed since then", unknown)
	       : !s->known	? arena_printf(a, "%s: which state directory belongs to this root is not known", unknown)
				: arena_printf(a, "%s: not all processes could be looked at", unknown);
}

static enum rc judge_boot(struct store *st, struct arena scratch, struct err *e)
{
	const struct store_hints *const h = st->hints;
	const int64_t started_ns = host_started_ns(scratch), now_ns = (int64_t)os_calendar_ns();
	char real[LIMIT_PATH_BYTES]; /* PATH_MAX, what realpath fills at most */
	struct host_view view = {0};
	struct states states = {0};
	enum rc rc = os_boot_id(st->boot_id, e);

	if (rc == RC_IO)
		return rc;
	if (!realpath(st->path, real))
		return fail(e, RC_IO, "resolve %s", st->path);
	if ((rc = find_states(st, real, &states, &scratch, e)))
		return rc;
	const struct host_question question = {.root = st->dir, .snapshots = st->snapshots_dir, .names = states.names};
	if ((rc = host_look(&view, &question, st->keep, scratch, e)))
		return rc;
	const struct boot_facts facts = {.mounted = view.mounted || !view.mounts_seen,
		.told = h->after_boot,
		.journal_says = h->journal_says,
		.first_boot = h->first_boot,
		.state_known = states.known,
		.state_there = states.there,
		.shims = host_has_shims(h->sysroot, scratch),
		.held = view.held,
		.all_seen = view.all_seen,
		.written = was_written(&st->meta, started_ns, now_ns) || was_written(&st->overlay, started_ns, now_ns)};
	const size_t moby = store_find_namespace(st, SPAN_LITERAL("moby"));
	st->beside_docker = (moby != STORE_NONE || strstr(real, "/docker/containerd/daemon")) &&
			    host_may_have(h->sysroot, "/var/lib/docker/image/overlay2/imagedb");
	st->proof = evidence_of_boot(&facts);
	st->mounted = facts.mounted;
	st->boot_proved_new = st->proof >= PROOF_TOLD;
	st->nothing_runs = st->boot_proved_new || (!facts.mounted && !facts.held && !facts.shims && !facts.state_there);
	st->boot_evidence = sentence(st, &facts, &states, &view);
	return st->boot_evidence ? RC_OK : no_memory(e);
}

/* ---- putting it together ---- */

static void link_blobs(struct store *st)
{
	for (size_t i = 0; i < st->blob_count; i++)
		st->blob_files[i].records = 0;
	for (size_t i = 0; i < st->content_count; i++) {
		struct content *const c = &st->contents[i];
		c->blob = c->digest_known ? store_find_blob(st, &c->digest) : STORE_NONE;
		if (c->blob != STORE_NONE)
			st->blob_files[c->blob].records++;
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
		qsort(all, n, sizeof(*all), compare_ref_holders);
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
	qsort(all, n, sizeof(*all), compare_ref_holders);
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
static enum rc judge_kinship(struct store *st, struct arena scratch)
{
	struct kinship k = {.nothing = st->backend_count == 0 && st->overlay_sequence == 0};
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

/* A database that went back in time: its counters are behind what the other one, or the disk, has seen. One step ahead
 * is the ordinary trace of a cut (the directory or the other record was made, the counter's transaction was not). */
static enum rc judge_sequences(struct store *st, struct arena scratch)
{
	uint64_t dir_max = 0;
	bool ahead_holds_data = false;
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
	if (rc == RC_OK && (dir_max > st->overlay_sequence + 1 || ahead_holds_data))
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
			return add_fault(st, META_PATH, STORE_DB_ROLLED_BACK,
				"its counter says %llu, metadata.db has %s: meta.db is older than metadata.db",
				(unsigned long long)sequence, shown);
		}
	}
	return rc || st->fault_count || st->hints->mended ? rc : judge_kinship(st, scratch);
}

/* fd stays -1 for what is not there, or is no directory. */
static enum rc open_optional_dir(int dir, const char *name, int *fd, struct err *e)
{
	const enum rc rc = os_open_dir(dir, name, fd, e);
	return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
}

/* RC_OK: a link is there, which we do not follow; RC_END: not. */
static enum rc look_for_link(int dir, const char *name, struct err *e)
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

/* Sound databases, but one of them is not there although the rest of the store says it must have been. */
static enum rc judge_missing(struct store *st)
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

#define FOLLOW_IT "bind-mount what it leads to in its place"

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

/* A blob that is not here may be there. */
static enum rc judge_content_proxy(struct store *st)
{
	for (size_t i = 0; st->content_count && i < st->hints->known_count; i++) {
		const struct store_known *const k = &st->hints->known[i];
		if (k->content && leads_here(st, k->root))
			return add_fault(st, STORE_CONTENT_DIR, STORE_DIR_UNUSABLE,
				"may not be what holds the blobs: %s has proxy plugin %s for content, which this program cannot look into",
				k->file, k->content);
	}
	return RC_OK;
}

static enum rc judge_dirs(struct store *st, struct err *e)
{
	static const char *const algorithms[DIGEST_KINDS] = {[DIGEST_SHA256] = STORE_CONTENT_DIR "/blobs/sha256",
		[DIGEST_SHA384] = STORE_CONTENT_DIR "/blobs/sha384",
		[DIGEST_SHA512] = STORE_CONTENT_DIR "/blobs/sha512"};
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
		if ((rc = judge_link(st, st->blobs, digest_name((enum digest_kind)kind), algorithms[kind], "blobs",
			     st->content_count, e)))
			return rc;
	return judge_dir(st, st->overlay.dir, "snapshots", STORE_OVERLAY_DIR "/snapshots", dirs, &snapshots, "snapshots",
		st->backend_count, e);
}

/* What the databases say, beside what store_open has found. */
static enum rc load(struct store *st, struct arena scratch, struct err *e)
{
	struct backend **by_id = NULL;
	struct loader meta = {st, scratch, &st->meta.bolt, e, 0};
	struct loader overlay = {st, scratch, &st->overlay.bolt, e, 0};
	enum rc rc;

	if ((st->meta.present && (rc = read_meta(&meta))) || (st->overlay.present && (rc = read_overlay(&overlay, &by_id))))
		return rc == RC_CORRUPT ? fail(e, RC_CORRUPT, "a record of the databases does not decode") : rc;
	if ((rc = read_snapshot_dirs(st, by_id, scratch, e)) || (rc = read_intents(st, by_id, scratch, e)))
		return rc;
	if (arena_refused(st->keep)) /* a name that could not be copied is empty, and what has it would be taken for another */
		return no_memory(e);
	if (st->fault_count == 0 && (rc = judge_missing(st)))
		return rc;
	if (st->fault_count == 0 && ((rc = judge_content_proxy(st)) || (rc = judge_dirs(st, e))))
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
static enum rc lock(struct store *st, enum store_refusal *refusal, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc = st->meta.dir < 0 ? RC_END : os_open_file(st->meta.dir, "meta.db", &fd, e);

	if (rc == RC_END || rc == RC_CORRUPT)
		return RC_OK; /* store_read says what that means */
	if (rc == RC_OK && st->hints->meta_lock > 0) {
		struct stat a = {0}, b = {0};
		if ((rc = os_stat_fd(fd, &a, e)) || (rc = os_stat_fd(st->hints->meta_lock, &b, e)))
			return rc;
		if (a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
			os_close(&fd);
			st->meta.fd = fcntl(st->hints->meta_lock, F_DUPFD_CLOEXEC, 0);
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
		rc = lock(&st, refusal, e);
	if (rc || *refusal != STORE_OPENED) {
		store_close(&st);
		return rc;
	}
	st.read_only = os_is_read_only(st.dir);
	if ((st.listed = read_blobs(&st, scratch, &st.why_not)) == RC_OK &&
		(st.listed = read_ingests(&st, scratch, &st.why_not)) == RC_OK)
		st.listed = read_foreigners(&st, scratch, &st.why_not);
	*out = st;
	return RC_OK;
}

/* Only the file that is locked, if there was one. */
static enum rc open_meta(struct store *st, struct arena scratch, struct err *e)
{
	auto_fd late = -1;
	const enum rc rc = st->meta.dir < 0 ? RC_END : st->meta.fd >= 0 ? RC_OK : os_open_file(st->meta.dir, "meta.db", &late, e);

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
		(st->overlay.dir >= 0 &&
			(rc = open_database(st, &st->overlay, st->overlay.dir, "metadata.db", OVERLAY_PATH, scratch, e))) ||
		(rc = check_other_snapshotters(st, scratch, e)))
		return rc;
	if (st->fault_count)
		return RC_OK; /* nothing more can be believed */
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

/* ---- look-ups: every array is sorted by its key, within its namespace ---- */

/* order: how the middle compares with what is looked for */
#define FIND(from, n, order)                                                                                           \
	do {                                                                                                           \
		size_t low = (from), high = (from) + (n);                                                              \
		while (low < high) {                                                                                   \
			const size_t middle = low + (high - low) / 2;                                                  \
			const int found = (order);                                                                     \
			if (found == 0)                                                                                \
				return middle;                                                                         \
			if (found < 0)                                                                                 \
				low = middle + 1;                                                                      \
			else                                                                                           \
				high = middle;                                                                         \
		}                                                                                                      \
		return STORE_NONE;                                                                                     \
	} while (0)

size_t store_find_blob(const struct store *st, const struct digest *d)
{
	FIND((size_t)0, st->blob_count, digest_compare(&st->blob_files[middle].digest, d)); /* as their texts do */
}

static int compare_content(const struct content *c, const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	if (c->digest_known)
		return digest_compare(&c->digest, d);
	digest_format(d, text);
	return span_compare(c->text, span_of_string(text));
}

size_t store_find_content(const struct store *st, size_t ns, const struct digest *d)
{
	FIND(st->namespaces[ns].contents.first, st->namespaces[ns].contents.count, compare_content(&st->contents[middle], d));
}

size_t store_find_snapshot(const struct store *st, size_t ns, struct span key)
{
	FIND(st->namespaces[ns].snapshots.first, st->namespaces[ns].snapshots.count, span_compare(st->snapshots[middle].key, key));
}

size_t store_find_foreign(const struct store *st, size_t ns, const struct digest *chain)
{
	FIND(st->namespaces[ns].foreign.first, st->namespaces[ns].foreign.count, digest_compare(&st->foreign[middle].chain, chain));
}

size_t store_find_image(const struct store *st, size_t ns, struct span key)
{
	FIND(st->namespaces[ns].images.first, st->namespaces[ns].images.count, span_compare(st->images[middle].name, key));
}

size_t store_find_backend(const struct store *st, struct span key)
{
	FIND((size_t)0, st->backend_count, span_compare(st->backends[middle].key, key));
}

size_t store_find_namespace(const struct store *st, struct span key)
{
	FIND((size_t)0, st->namespace_count, span_compare(st->namespaces[middle].name, key));
}

bool lease_is_stale(const struct store *st, const struct lease *l)
{
	return l->expires && st->boot_proved_new && !span_is(l->id, STORE_OWN_LEASE);
}

bool image_is_named_by_config(const struct image *image)
{
	return span_starts(image->name, "sha256:") && image->name.left == 7 + 64;
}

bool store_is_extract(const struct store *st, size_t ns, struct span key)
{
	const uint8_t *const space = key.left ? memchr(key.at, ' ', key.left) : NULL;
	const struct range r = ns == STORE_NONE ? (struct range){0} : st->namespaces[ns].containers;
	struct digest d;

	if (!span_starts(key, "extract-") || !space ||
		digest_parse(span_of(space + 1, key.left - (size_t)(space + 1 - key.at)), &d))
		return false;
	for (size_t i = r.first; i < r.first + r.count; i++)
		if (span_equal(st->containers[i].snapshot_key, key))
			return false;
	return true;
}

const char *store_blob_path(const struct digest *d, struct arena *a)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return arena_printf(a, STORE_CONTENT_DIR "/blobs/%s/%s", digest_name(d->kind), strchr(text, ':') + 1);
}

bool store_may_be_document(struct span head)
{
	while (head.left && (*head.at == ' ' || *head.at == '\t' || *head.at == '\r' || *head.at == '\n'))
		(void)span_take(&head, 1);
	return head.left && *head.at == '{';
}

enum rc store_open_path(const struct store *st, const char *path, int *fd, struct err *e)
{
	static const char overlay[] = STORE_OVERLAY_DIR;
	const size_t n = sizeof(overlay) - 1;
	const bool elsewhere = st->overlay_path && strncmp(path, overlay, n) == 0 && (path[n] == '/' || path[n] == 0);
	auto_fd at = -1;
	enum rc rc = elsewhere && st->overlay.dir < 0 ? RC_END : os_open_dir(elsewhere ? st->overlay.dir : st->dir, ".", &at, e);

	path += elsewhere ? n + (path[n] == '/') : 0;
	while (rc == RC_OK && *path) {
		char part[LIMIT_NAME_BYTES + 1];
		const size_t length = strcspn(path, "/");
		int next = -1;
		if (length >= sizeof(part))
			return fail(e, RC_LIMIT, "name too long");
		memcpy(part, path, length);
		part[length] = 0;
		path += length + (path[length] == '/');
		rc = os_open_dir(at, part, &next, e);
		os_close(&at);
		at = next;
	}
	if (rc == RC_OK)
		*fd = take_fd(&at);
	return rc == RC_CORRUPT ? RC_END : rc;
}

enum rc store_open_spare(const struct store *st, size_t spare, int *fd, struct err *e)
{
	auto_fd dir = -1;
	const enum rc rc = store_open_path(st, st->spares[spare].dir, &dir, e);

	return rc ? rc : os_open_file(dir, st->spares[spare].name, fd, e);
}

enum rc store_open_blob(const struct store *st, size_t blob, int *fd, struct err *e)
{
	const struct blob *const b = &st->blob_files[blob];
	const int blobs = st->blob_dirs[b->digest.kind];
	auto_fd dir = -1;
	char text[DIGEST_TEXT_BYTES];
	enum rc rc = RC_OK;

	if (b->spare != STORE_NONE && !b->placed)
		return store_open_spare(st, b->spare, fd, e);
	digest_format(&b->digest, text);
	if (blobs < 0 && (rc = store_open_blob_dir(st, b->digest.kind, &dir, e))) /* it may have been made meanwhile */
		return rc;
	return os_open_file(blobs < 0 ? dir : blobs, strchr(text, ':') + 1, fd, e);
}

size_t *store_add_blobs(struct store *st, const struct blob *at, size_t count)
{
	size_t *const now = arena_array(st->keep, st->blob_count + 1, sizeof(*now));
	struct blob *const all = arena_array(st->keep, st->blob_count + count + 1, sizeof(*all));
	size_t n = 0;

	if (!now || !all)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		char text[DIGEST_TEXT_BYTES];
		digest_format(&at[i].digest, text);
		all[n] = (struct blob){.digest = at[i].digest,
			.text = arena_copy(st->keep, span_of_string(text)),
			.size = at[i].size,
			.mode = 0444,
			.regular = true,
			.spare = at[i].spare};
		if (all[n++].text.bad)
			return NULL;
	}
	for (size_t i = 0; i < st->blob_count; i++)
		all[n++] = st->blob_files[i];
	qsort(all, n, sizeof(*all), compare_blobs);
	const struct blob *const old = st->blob_files;
	const size_t old_count = st->blob_count;
	st->blob_files = all;
	st->blob_count = n;
	for (size_t i = 0; i < old_count; i++)
		now[i] = store_find_blob(st, &old[i].digest);
	for (size_t i = 0; i < st->spare_count; i++)
		if (st->spares[i].blob != STORE_NONE)
			st->spares[i].blob = now[st->spares[i].blob];
	link_blobs(st);
	return now;
}

bool store_add_spare(struct store *st, size_t blob)
{
	struct blob *const b = &st->blob_files[blob];
	char text[DIGEST_TEXT_BYTES];
	struct err ignored = {0}; /* that there is no memory is the answer */

	digest_format(&b->digest, text);
	b->spares = (struct range){st->spare_count, 1};
	return add_spare(st, store_blob_dir_path(b->digest.kind), strchr(text, ':') + 1, b->size,
		       (struct place){STORE_NONE, STORE_NONE, blob}, &ignored) == RC_OK;
}

enum rc store_open_blob_dir(const struct store *st, enum digest_kind kind, int *fd, struct err *e)
{
	if (st->blobs < 0)
		return RC_END;
	const enum rc rc = os_open_dir(st->blobs, digest_name(kind), fd, e);
	return rc == RC_CORRUPT ? RC_END : rc;
}
