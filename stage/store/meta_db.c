/* SPDX-License-Identifier: MIT */
/* meta.db, bucket by bucket (containerd 1.6 to 2.3: metadata/buckets.go). */
#include <dirent.h>
#include <stdarg.h>

#include "ground/os.h"
#include "store/loading.h"

/* seconds; containerd's own clients lease for at most a day, and a zone may differ by one */
#define LEASE_SECONDS_MAX ((int64_t)49 * 3600)

/* schema numbers, minor part: containerd 1.3-1.7 write 3, 2.x writes 4 (containerd 2.3: core/metadata/migrations.go) */
#define SCHEMA_OLDEST 3
#define SCHEMA_NEWEST 4

/* ---- reading buckets ---- */

enum rc lookup(struct loader *l, const struct bolt_bucket *b, const char *key, struct span *value)
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

enum rc get_value(struct loader *l, const struct bolt_bucket *b, const char *key, struct span *value)
{
	const enum rc rc = lookup(l, b, key, value);

	if (rc)
		return rc;
	*value = arena_copy(l->st->keep, *value);
	return value->bad ? no_memory(l->e) : RC_OK;
}

enum rc get_bucket(struct loader *l, const struct bolt_bucket *b, const char *key, struct bolt_bucket *out)
{
	struct bolt_item item = {0};
	const enum rc rc = bolt_get(l->b, b, span_of_string(key), &l->scratch, &item, l->e);

	if (rc)
		return rc;
	return item.is_bucket ? bolt_bucket_of(&item, out) : RC_END;
}

enum rc optional(enum rc rc)
{
	return rc == RC_END ? RC_OK : rc;
}

enum rc each(struct loader *l, const struct bolt_bucket *b, item_fn fn, void *context)
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

enum rc each_in(struct loader *l, const struct bolt_bucket *b, const char *key, item_fn fn, void *context)
{
	struct bolt_bucket inner = {0};
	const enum rc rc = get_bucket(l, b, key, &inner);

	return rc ? optional(rc) : each(l, &inner, fn, context);
}

static enum rc count_item(struct loader *l, const struct bolt_item *item, void *context)
{
	size_t *const count = context;

	(void)l;
	(void)item;
	++*count;
	return RC_OK;
}

enum rc make_room(struct loader *l, const struct bolt_bucket *b, void **array, size_t count, size_t *cap, size_t size)
{
	size_t more = 0;
	const enum rc rc = each(l, b, count_item, &more);
	const size_t need = count + more;

	if (rc || need <= *cap)
		return rc;
	const size_t fresh = need > 2 * *cap ? need : 2 * *cap;
	void *const moved = arena_more(l->st->keep, *array, *cap, fresh, size);
	if (!moved)
		return no_memory(l->e);
	*array = moved;
	*cap = fresh;
	return RC_OK;
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

enum rc get_labels(struct loader *l, const struct bolt_bucket *b, struct labels *labels, bool *has_source)
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

enum rc add_fault(struct store *st, const char *path, enum store_fault_kind kind, const char *format, ...)
{
	struct store_fault *const f = PUSH(st, faults, fault_count);
	va_list arguments;

	if (!f)
		return RC_NOMEM;
	f->path = path;
	f->kind = kind;
	va_start(arguments, format);
	(void)print_to_v(f->fault.text, sizeof(f->fault.text), format, arguments); /* a cut text is still a text */
	va_end(arguments);
	return RC_OK;
}

enum rc bad_record(struct loader *l, const char *path, const char *what, struct span key)
{
	char shown[120];

	(void)escape(shown, sizeof(shown), key); /* a cut name is still a name */
	return add_fault(l->st, path, STORE_DB_RECORD, "%s %s does not decode", what, shown);
}

/* ---- meta.db ---- */

int64_t decode_time_ns(struct span s)
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
	if ((rc = optional(lookup(l, &target, "digest", &digest))) ||
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
	if (l->st->content_count == l->content_cap) /* as in add_lease */
		return RC_CORRUPT;
	struct content *const c = &l->st->contents[l->st->content_count++];
	c->ns = in->ns;
	c->blob = STORE_NONE;
	c->text = arena_copy(l->st->keep, item->key);
	c->digest_known = digest_parse(c->text, &c->digest) == RC_OK;
	if ((rc = bolt_bucket_of(item, &b)))
		return bad_record(l, META_PATH, "content", item->key);
	rc = lookup(l, &b, "size", &size);
	if (rc == RC_END)
		return bad_record(l, META_PATH, "content", item->key);
	if (rc)
		return rc;
	c->size = (uint64_t)span_varint(&size);
	if (size.bad)
		return bad_record(l, META_PATH, "content", item->key);
	if ((rc = optional(lookup(l, &b, "createdat", &created))))
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
	if (l->st->lease_count == l->lease_cap) /* more than were counted: somebody else writes */
		return RC_CORRUPT;
	struct lease *const lease = &l->st->leases[l->st->lease_count++];
	lease->ns = in->ns;
	lease->id = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)) || (rc = get_labels(l, &b, &lease->labels, NULL)))
		return rc;
	const struct span *const expire = labels_get(&lease->labels, "containerd.io/gc.expire");
	int64_t until = 0;
	/* both stamps are in the record, so no clock is asked. A lease for longer than any client's operation is a person's
	 * pin, and a creation time that does not decode proves nothing. */
	if (expire && (rc = optional(lookup(l, &b, "createdat", &created))))
		return rc;
	const int64_t created_ns = decode_time_ns(created);
	lease->expires = expire && parse_rfc3339(*expire, &until) && created_ns > 0 &&
			 until - created_ns / 1000000000 <= LEASE_SECONDS_MAX;
	/* containerd 2.3.4: core/metadata/gc.go, label "containerd.io/gc.flat" */
	lease->flat = labels_get(&lease->labels, "containerd.io/gc.flat") && !expire;
	if ((rc = each_in(l, &b, "ingests", add_leased, &lease->ingests)) ||
		(lease->flat && (rc = each_in(l, &b, "content", add_leased, &lease->contents))))
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
		rc = lookup(l, &extensions, name, &any);
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
		rc = lookup(l, &labels, CRI_KIND_LABEL, &kind);
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

/* bytes: names of pods and containers are shorter */
#define LABEL_MOST 256

static enum rc see_label(struct loader *l, const struct bolt_item *item, void *context)
{
	struct container *const c = context;
	/* kubelet: pkg/kubelet/types/labels.go; nerdctl: pkg/labels/labels.go */
	struct span *const to = span_is(item->key, "io.kubernetes.pod.namespace") ? &c->pod_ns
				: span_is(item->key, "io.kubernetes.pod.name") || span_is(item->key, "nerdctl/name") ? &c->name
														      : NULL;

	l->st->namespaces[c->ns].nerdctl |= span_starts(item->key, "nerdctl/");
	if (to && item->value.left <= LABEL_MOST)
		*to = arena_copy(l->st->keep, item->value);
	return to && to->bad ? no_memory(l->e) : RC_OK;
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
		(rc = optional(lookup(l, &b, "createdat", &created))) ||
		(rc = each_in(l, &b, "labels", see_label, c)))
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
	if (l->st->snapshot_count == l->snapshot_cap) /* as in add_lease */
		return RC_CORRUPT;
	struct snapshot *const s = &l->st->snapshots[l->st->snapshot_count++];
	s->ns = in->ns;
	s->backend = STORE_NONE;
	s->key = arena_copy(l->st->keep, item->key);
	if ((rc = bolt_bucket_of(item, &b)))
		return rc;
	rc = get_value(l, &b, "name", &s->name);
	if (rc == RC_END || (rc == RC_OK && s->name.left == 0))
		return bad_record(l, META_PATH, "snapshot", item->key);
	if (rc || (rc = optional(get_value(l, &b, "parent", &s->parent))) || (rc = optional(lookup(l, &b, "createdat", &created))))
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
	rc = ROOM(l, &b, snapshots, snapshot_count, snapshot_cap);
	return rc ? rc : each(l, &b, add_snapshot, in);
}

static enum rc each_lease(struct loader *l, const struct bolt_bucket *ns, struct in_namespace *in)
{
	struct bolt_bucket b = {0};
	enum rc rc = get_bucket(l, ns, "leases", &b);

	if (rc || (rc = ROOM(l, &b, leases, lease_count, lease_cap)))
		return optional(rc);
	return each(l, &b, add_lease, in);
}

static enum rc each_content(struct loader *l, const struct bolt_bucket *content, struct in_namespace *in)
{
	struct bolt_bucket b = {0};
	enum rc rc = get_bucket(l, content, "blob", &b);

	if (rc || (rc = ROOM(l, &b, contents, content_count, content_cap)))
		return optional(rc);
	return each(l, &b, add_content, in);
}

static enum rc add_namespace(struct loader *l, const struct bolt_item *item, void *context)
{
	struct store *const st = l->st;
	struct bolt_bucket b = {0}, content = {0};
	struct in_namespace in = {st->namespace_count};
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
		(rc = each_lease(l, &b, &in)) ||
		(rc = each_in(l, &b, "containers", add_container, &in)) ||
		(fresh->kubernetes && (rc = each_in(l, &b, "sandboxes", add_stored_sandbox, NULL))) ||
		(rc = each_in(l, &b, "snapshots", add_snapshotter, &in)))
		return rc;
	rc = get_bucket(l, &b, "content", &content);
	if (rc == RC_OK && ((rc = each_content(l, &content, &in)) || (rc = each_in(l, &content, "ingests", add_ingest_record, &in))))
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
		sort(&st->foreign[ns->foreign.first], ns->foreign.count, sizeof(*st->foreign), compare_foreign);
	ns->writers = arena_array(st->keep, ns->containers.count + 1, sizeof(*ns->writers));
	if (!ns->writers)
		return no_memory(l->e);
	for (size_t i = 0; i < ns->containers.count; i++)
		ns->writers[i] = st->containers[ns->containers.first + i].snapshot_key;
	if (ns->containers.count)
		sort(ns->writers, ns->containers.count, sizeof(*ns->writers), compare_spans);
	return RC_OK;
}

/* RC_OK: the fault is told, or st->schema is set. */
enum rc judge_schema(struct loader *l, struct bolt_bucket *v1)
{
	const struct bolt_bucket root = bolt_root(l->b);
	struct span version = {0};
	enum rc rc = get_bucket(l, &root, "v1", v1);

	if (rc || ((rc = lookup(l, v1, "version", &version)) && rc != RC_END))
		return rc;
	const int64_t schema = rc == RC_END ? 0 : span_varint(&version);
	const bool known = rc == RC_OK && !version.bad && schema >= SCHEMA_OLDEST;
	if (schema > SCHEMA_NEWEST || (!known && l->st->meta.sound))
		return add_fault(l->st, META_PATH, STORE_DB_SCHEMA,
			"schema %lld is not known to this program (it knows %d and %d)", (long long)schema, SCHEMA_OLDEST,
			SCHEMA_NEWEST);
	l->st->schema = known ? (uint64_t)schema : 0;
	return RC_OK;
}

enum rc read_meta(struct loader *l)
{
	const struct bolt_bucket root = bolt_root(l->b);
	struct bolt_bucket v1 = {0};
	enum rc rc = judge_schema(l, &v1);

	if (rc == RC_END)
		return RC_OK; /* no schema 0: judged together with what the disk holds */
	if (rc || !l->st->schema)
		return rc;
	if ((rc = each(l, &v1, add_namespace, NULL)))
		return rc;
	struct bolt_bucket beside = {0}; /* before schema 4 sandboxes were outside v1 */
	rc = l->st->schema < STORE_SCHEMA_SANDBOXES ? get_bucket(l, &root, STORE_KUBERNETES, &beside) : RC_END;
	return rc ? optional(rc) : each_in(l, &beside, "sandboxes", add_stored_sandbox, NULL);
}
