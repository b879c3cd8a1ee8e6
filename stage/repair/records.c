/* SPDX-License-Identifier: MIT */
/* Edits of meta.db: paths of records, encodings of values, and our own lease. */
#include <stdlib.h>

#include "policy/policy.h"
#include "repair/planner.h"

#define OUR_LEASE STORE_OWN_LEASE
#define EDITS_BACK 4 /* of which the bucket may be the same */
#define LEASE_SECONDS ((uint64_t)24 * 3600) /* as containerd's own pulls */

struct span literal(const char *s)
{
	return span_of_string(s);
}

/* ---- collecting ---- */

void add_action(struct planner *w, enum action_kind kind, size_t index, bool set_aside)
{
	struct action *const fresh = arena_push(w->keep, (void **)&w->p->actions, &w->p->action_count, sizeof(*fresh));

	if (fresh)
		*fresh = (struct action){.kind = kind, .index = index, .set_aside = set_aside};
	else
		w->no_memory = true;
}

void add_recorded(struct planner *w, enum action_kind kind, size_t index, bool set_aside)
{
	add_action(w, kind, index, set_aside);
	if (!w->no_memory)
		w->p->actions[w->p->action_count - 1].recorded = true;
}

static bool is_same_bucket(const struct bolt_path *in, const struct bolt_path *path)
{
	bool same = in->count + 1 == path->count;

	for (unsigned i = 0; same && i < in->count; i++)
		same = span_equal(in->part[i], path->part[i]);
	return same;
}

static void add_edit(struct planner *w, struct edits *edits, enum edit_kind kind, const struct bolt_path *path, struct span value)
{
	const struct bolt_path *in = NULL;
	const struct span name = path->part[path->count - 1]; /* of a database, and so are values, or ours: below BOLT_ITEM_MAX */

	for (size_t i = edits->count; !in && i > 0 && i + EDITS_BACK > edits->count; i--) /* some take turns */
		in = is_same_bucket(edits->at[i - 1].in, path) ? edits->at[i - 1].in : NULL;
	if (!in) {
		struct bolt_path *const other = arena_get(w->keep, sizeof(*other));
		if (other) {
			*other = *path;
			other->count--;
		}
		in = other;
	}
	struct edit *const fresh = in ? arena_push(w->keep, (void **)&edits->at, &edits->count, sizeof(*fresh)) : NULL;
	if (fresh)
		*fresh = (struct edit){kind, (uint32_t)name.left, (uint32_t)value.left, in, name.at, value.at};
	else
		w->no_memory = true;
}

struct bolt_path meta_path(const struct store *st, size_t ns, const struct span *parts)
{
	struct bolt_path path = {.part = {literal("v1"), st->namespaces[ns].name}, .count = 2};

	for (; parts->at; parts++)
		path.part[path.count++] = *parts;
	return path;
}

void meta_remove(struct planner *w, struct bolt_path path)
{
	add_edit(w, &w->p->meta, EDIT_REMOVE, &path, (struct span){0});
}

void meta_put(struct planner *w, struct bolt_path path, struct span value)
{
	add_edit(w, &w->p->meta, EDIT_PUT, &path, value);
}

void overlay_remove(struct planner *w, const char *bucket, struct span name)
{
	const struct bolt_path path = {.part = {literal("v1"), literal(bucket), name}, .count = 3};

	add_edit(w, &w->p->overlay, EDIT_REMOVE, &path, (struct span){0});
}

/* ---- encodings ---- */

struct span encode_time(struct planner *w, uint64_t unix_ns)
{
	uint8_t *const at = arena_get(w->keep, 15);
	const uint64_t seconds = unix_ns / 1000000000u + 62135596800u;
	const uint32_t ns = (uint32_t)(unix_ns % 1000000000u);

	if (!at) {
		w->no_memory = true;
		return (struct span){0};
	}
	at[0] = 1;
	for (int i = 0; i < 8; i++)
		at[1 + i] = (uint8_t)(seconds >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		at[9 + i] = (uint8_t)(ns >> (24 - 8 * i));
	at[13] = at[14] = 0xff; /* UTC */
	return span_of(at, 15);
}

size_t put_uvarint(uint8_t *out, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

struct span encode_varint(struct planner *w, uint64_t value)
{
	uint8_t *const at = arena_get(w->keep, 10);

	if (!at) {
		w->no_memory = true;
		return (struct span){0};
	}
	return span_of(at, put_uvarint(at, value << 1));
}

bool is_stale(const struct store *st, const struct lease *l)
{
	const struct lease_facts facts = store_lease_facts(st, l);
	return policy_lease(&facts).problem != P_COUNT;
}

/* ---- our lease: keeps what is whole from the garbage collection that runs 100 ms after containerd starts ---- */

static void need_lease(struct planner *w, size_t ns)
{
	if (w->leased[ns])
		return;
	w->leased[ns] = true;
	const struct span id = literal(OUR_LEASE);
	const char *const until = arena_string(w->keep, span_of_string(time_text(w->o->now_ns / 1000000000u + LEASE_SECONDS).text));
	w->no_memory |= !until;
	meta_put(w, META_PATH(ns, literal("leases"), id, literal("createdat")), encode_time(w, w->o->now_ns));
	meta_put(w, META_PATH(ns, literal("leases"), id, literal("labels"), literal("containerd.io/gc.expire")),
		literal(until ? until : ""));
}

void lease_content(struct planner *w, size_t ns, struct span digest)
{
	need_lease(w, ns);
	meta_put(w, META_PATH(ns, literal("leases"), literal(OUR_LEASE), literal("content"), digest), span_of("", 0));
}

static int compare_leased(const void *a, const void *b)
{
	const struct leased_ref *const x = a, *const y = b;

	return x->ns != y->ns ? (x->ns > y->ns) - (x->ns < y->ns) : span_compare(x->ref, y->ref);
}

/* What leases that stay hold of downloads, sorted: asked for each of them. */
static void find_leased(struct planner *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->st->lease_count; i++)
		n += is_stale(w->st, &w->st->leases[i]) ? 0 : w->st->leases[i].ingests.count;
	w->held_refs = arena_array(w->keep, n + 1, sizeof(*w->held_refs));
	w->no_memory |= !w->held_refs;
	for (size_t i = 0; w->held_refs && i < w->st->lease_count; i++) {
		const struct lease *const l = &w->st->leases[i];
		const size_t count = is_stale(w->st, l) ? 0 : l->ingests.count;
		for (size_t k = 0; k < count; k++)
			w->held_refs[w->held_ref_count++] = (struct leased_ref){l->ns, l->ingests.at[k]};
	}
	if (w->held_ref_count)
		sort(w->held_refs, w->held_ref_count, sizeof(*w->held_refs), compare_leased);
}

void lease_ingest(struct planner *w, const struct ingest_record *r)
{
	const struct leased_ref key = {r->ns, r->client_ref};

	if (!w->held_refs)
		find_leased(w);
	if (w->held_ref_count && bsearch(&key, w->held_refs, w->held_ref_count, sizeof(key), compare_leased))
		return;
	need_lease(w, r->ns);
	meta_put(w, META_PATH(r->ns, literal("leases"), literal(OUR_LEASE), literal("ingests"), r->client_ref), span_of("", 0));
}

static void lease_snapshot(struct planner *w, size_t ns, struct span lease, struct span key)
{
	meta_put(w, META_PATH(ns, literal("leases"), lease, literal("snapshots"), literal("overlayfs"), key), span_of("", 0));
}

void lease_for_docker(struct planner *w, const struct snapshot *s)
{
	meta_put(w, META_PATH(s->ns, literal("leases"), s->key, literal("createdat")), encode_time(w, w->o->now_ns));
	lease_snapshot(w, s->ns, s->key, s->key);
}

void lease_references(struct planner *w, const struct content *c)
{
	for (size_t i = 0; i < c->labels.count; i++) {
		const struct label *const l = &c->labels.at[i];
		struct digest d;
		if (span_starts(l->key, "containerd.io/gc.ref.content") && digest_parse(l->value, &d) == RC_OK) {
			const size_t other = store_find_content(w->st, c->ns, &d);
			if (other != STORE_NONE && !w->drop_content[other])
				lease_content(w, c->ns, l->value);
		} else if (span_starts(l->key, SNAPSHOT_LABEL)) {
			const size_t snapshot = store_find_snapshot(w->st, c->ns, l->value);
			if (snapshot != STORE_NONE && !w->drop_snapshot[snapshot]) {
				need_lease(w, c->ns);
				lease_snapshot(w, c->ns, literal(OUR_LEASE), l->value);
			}
		}
	}
}
