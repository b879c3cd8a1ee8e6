/* SPDX-License-Identifier: MIT */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define OUR_LEASE STORE_OWN_LEASE
#define SNAPSHOT_LABEL "containerd.io/gc.ref.snapshot.overlayfs" /* on a config: the top of its chain */
#define LEASE_SECONDS ((uint64_t)24 * 3600) /* as containerd's own pulls */

struct planner {
	struct plan *p;
	const struct store *st;
	const struct survey *s;
	const struct plan_options *o;
	struct arena *keep;
	/* by index */
	bool *drop, *pinned;           /* backends */
	bool *drop_snapshot;           /* meta.db records, of dropped backends or on their own */
	bool *drop_content;            /* content records */
	struct want *added;            /* by digest, then namespace: what gets a record */
	size_t added_count;
	bool *rescued;                 /* blobs whose bytes lie elsewhere and are brought back */
	const char **held_ingest;      /* why they stay, if they hold, or may hold, the only copy of what is named */
	const char **held_stray, **held_blob; /* the same */
	struct leased_ref *held_refs;  /* see find_leased; NULL: not asked for yet */
	size_t held_ref_count;
	bool *leased;                  /* namespaces that got a lease of ours */
	bool *unproved;                /* namespaces with files of image layers that stay and were compared with nothing */
	bool *uncompared;              /* these, and those whose files are trusted: whether their layers are here too was not asked */
	const char **left;             /* backends: why they stay */
	const char **left_snapshot;    /* meta.db records */
	/* what an earlier round could not do, and why; by blob, blob, ingest, backend, backend */
	const char **stuck_blob, **stuck_bytes, **stuck_ingest, **stuck_rebuild, **stuck_aside;
	const char *stuck_records;     /* meta.db cannot be changed: no record goes or comes */
	size_t *evaluated;             /* blobs: 1 + the last image for which this manifest or index was looked at */
	size_t evaluation;
	struct image_eval *evals;      /* by image */
	size_t *answered;              /* blobs: 1 + the image whose target it is, and that was evaluated last */
	uint64_t image_steps, steps;   /* descriptors that were looked at for this image; and for all, beyond what each may have */
	bool no_memory;
};

static struct span literal(const char *s)
{
	return span_of_string(s);
}

/* ---- collecting ---- */

static void add_action(struct planner *w, enum action_kind kind, size_t index, bool set_aside)
{
	struct action *const fresh = arena_push(w->keep, (void **)&w->p->actions, &w->p->action_count, sizeof(*fresh));

	if (fresh)
		*fresh = (struct action){.kind = kind, .index = index, .set_aside = set_aside};
	else
		w->no_memory = true;
}

/* What goes only after its records did. */
static void add_recorded(struct planner *w, enum action_kind kind, size_t index, bool set_aside)
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
	const struct bolt_path *in = edits->count ? edits->at[edits->count - 1].in : NULL;
	const struct span name = path->part[path->count - 1]; /* of a database, and so are values, or ours: below BOLT_ITEM_MAX */

	if (!in || !is_same_bucket(in, path)) {
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

/* v1/<namespace>/<more...>; the list ends with a NULL text. */
#define PATH_END ((struct span){NULL, 0, false})

static struct bolt_path meta_path(const struct store *st, size_t ns, const struct span *parts)
{
	struct bolt_path path = {.part = {literal("v1"), st->namespaces[ns].name}, .count = 2};

	for (; parts->at; parts++)
		path.part[path.count++] = *parts;
	return path;
}

#define META_PATH(ns, ...) meta_path(w->st, (ns), (const struct span[]){__VA_ARGS__, PATH_END})

static void meta_remove(struct planner *w, struct bolt_path path)
{
	add_edit(w, &w->p->meta, EDIT_REMOVE, &path, (struct span){0});
}

static void meta_put(struct planner *w, struct bolt_path path, struct span value)
{
	add_edit(w, &w->p->meta, EDIT_PUT, &path, value);
}

static void overlay_remove(struct planner *w, const char *bucket, struct span name)
{
	const struct bolt_path path = {.part = {literal("v1"), literal(bucket), name}, .count = 3};

	add_edit(w, &w->p->overlay, EDIT_REMOVE, &path, (struct span){0});
}

/* ---- encodings ---- */

static struct span encode_time(struct planner *w, uint64_t unix_ns)
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

static size_t put_uvarint(uint8_t *out, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

static struct span encode_varint(struct planner *w, uint64_t value)
{
	uint8_t *const at = arena_get(w->keep, 10);

	if (!at) {
		w->no_memory = true;
		return (struct span){0};
	}
	return span_of(at, put_uvarint(at, value << 1));
}

/* The proleptic Gregorian date of a day number since 1970-01-01 (era arithmetic over 400-year cycles). */
static const char *encode_rfc3339(struct planner *w, uint64_t unix_s)
{
	const uint64_t days = unix_s / 86400 + 719468, rest = unix_s % 86400;
	const uint64_t era = days / 146097, of_era = days % 146097;
	const uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	const uint64_t day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	const uint64_t month_from_march = (5 * day_of_year + 2) / 153;
	const uint64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
	const uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	const uint64_t year = year_of_era + era * 400 + (month <= 2);
	const char *const text = arena_printf(w->keep, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year, (unsigned)month,
		(unsigned)day, (unsigned)(rest / 3600), (unsigned)(rest / 60 % 60), (unsigned)(rest % 60));

	if (!text)
		w->no_memory = true;
	return text ? text : "";
}

static bool is_stale(const struct store *st, const struct lease *l)
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
	meta_put(w, META_PATH(ns, literal("leases"), id, literal("createdat")), encode_time(w, w->o->now_ns));
	meta_put(w, META_PATH(ns, literal("leases"), id, literal("labels"), literal("containerd.io/gc.expire")),
		literal(encode_rfc3339(w, w->o->now_ns / 1000000000u + LEASE_SECONDS)));
}

static void lease_content(struct planner *w, size_t ns, struct span digest)
{
	need_lease(w, ns);
	meta_put(w, META_PATH(ns, literal("leases"), literal(OUR_LEASE), literal("content"), digest), span_of("", 0));
}

struct leased_ref {
	size_t ns;
	struct span ref;
};

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
		for (size_t k = 0; !is_stale(w->st, l) && k < l->ingests.count; k++)
			w->held_refs[w->held_ref_count++] = (struct leased_ref){l->ns, l->ingests.at[k]};
	}
	if (w->held_ref_count)
		qsort(w->held_refs, w->held_ref_count, sizeof(*w->held_refs), compare_leased);
}

/* Unless a lease that stays holds it. */
static void lease_ingest(struct planner *w, const struct ingest_record *r)
{
	const struct leased_ref key = {r->ns, r->client_ref};

	if (!w->held_refs)
		find_leased(w);
	if (w->held_ref_count && bsearch(&key, w->held_refs, w->held_ref_count, sizeof(key), compare_leased))
		return;
	need_lease(w, r->ns);
	meta_put(w, META_PATH(r->ns, literal("leases"), literal(OUR_LEASE), literal("ingests"), r->client_ref), span_of("", 0));
}

static void lease_snapshot(struct planner *w, size_t ns, struct span key)
{
	need_lease(w, ns);
	meta_put(w,
		META_PATH(ns, literal("leases"), literal(OUR_LEASE), literal("snapshots"), literal("overlayfs"), key),
		span_of("", 0));
}

/* What a record that goes away referred to stays referred to, as far as it is whole. */
static void lease_references(struct planner *w, const struct content *c)
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
			if (snapshot != STORE_NONE && !w->drop_snapshot[snapshot])
				lease_snapshot(w, c->ns, l->value);
		}
	}
}

/* ---- downloads and blobs ---- */

/* Nothing that holds the only copy of bytes which anything local names by digest goes before they are in place: whatever is removed,
 * with the files in it, is asked about here. What is moved into place goes before all that, and if it could not be, the plan that is
 * made then leaves what it lies in. Why it stays; NULL: it may go. */
static const char *why_held(const struct planner *w, struct range spares)
{
	for (size_t i = spares.first; i < spares.first + spares.count; i++) {
		const struct spare_state *const state = &w->s->spares[i];
		const struct bytes_facts facts = {.stuck = state->blob != STORE_NONE && w->stuck_bytes[state->blob],
			.held = state->held,
			.read = state->verdict == SPARE_IS_READ,
			.wants_unknown = w->s->wants_unknown};
		const char *const why = policy_holds(&facts);
		if (why)
			return why;
	}
	return NULL;
}

static void ask_what_is_held(struct planner *w)
{
	/* what could not be looked at may be in any of these */
	const char *const unseen = w->s->bytes_unseen ? "a place that may hold bytes of a blob could not be looked at" : NULL;

	for (size_t i = 0; i < w->st->ingest_count; i++)
		w->held_ingest[i] = unseen ? unseen : why_held(w, w->st->ingests[i].spares);
	for (size_t i = 0; i < w->st->stray_count; i++) {
		const enum stray_kind kind = w->st->strays[i].kind;
		w->held_stray[i] = unseen && (kind == STRAY_BLOB_NAME || kind == STRAY_OWN) ? unseen
											     : why_held(w, w->st->strays[i].spares);
	}
	for (size_t i = 0; i < w->st->blob_count; i++)
		w->held_blob[i] = why_held(w, w->st->blob_files[i].spares);
}

static void drop_ingest_record(struct planner *w, size_t record)
{
	const struct ingest_record *const r = &w->st->ingest_records[record];
	meta_remove(w, META_PATH(r->ns, literal("content"), literal("ingests"), r->client_ref));
}

static int compare_added(const void *a, const void *b)
{
	const struct want *const x = a, *const y = b;
	const int order = digest_compare(x->digest, y->digest);

	return order ? order : (x->ns > y->ns) - (x->ns < y->ns);
}

static int compare_added_digests(const void *a, const void *b)
{
	return digest_compare(((const struct want *)a)->digest, ((const struct want *)b)->digest);
}

static bool is_recorded(const struct store *st, const struct digest *d)
{
	for (size_t ns = 0; ns < st->namespace_count; ns++)
		if (store_find_content(st, ns, d) != STORE_NONE)
			return true;
	return false;
}

/* The namespace that gets a record of a blob which is brought into place: that of its download; or, where nothing tells, the only one
 * that wants it, if no other has it. More would give a namespace what it has not fetched (containerd's content_sharing_policy). */
static size_t recording_namespace(const struct planner *w, const struct want *first, size_t count)
{
	const struct store *const st = w->st;
	const size_t spare = st->blob_files[store_find_blob(st, first->digest)].spare, ingest = st->spares[spare].ingest;
	const struct ingest *const in = ingest == STORE_NONE ? NULL : &st->ingests[ingest];
	size_t ns = STORE_NONE;

	if (in && in->spare == spare && in->expected && digest_equal(in->expected, first->digest))
		return store_find_namespace(st, in->ns_name);
	if (is_recorded(st, first->digest))
		return STORE_NONE;
	for (size_t i = 0; i < count; i++) {
		if (first[i].ns == STORE_NONE || first[i].ns == ns)
			continue;
		if (ns != STORE_NONE)
			return STORE_NONE;
		ns = first[i].ns;
	}
	return ns;
}

/* Whether it has no good file of its own now, and will have. */
static bool comes_into_place(const struct planner *w, size_t blob)
{
	/* what lies under its name is needed, and could not be moved */
	if (w->held_blob[blob] && w->stuck_blob[blob] && survey_file_is_bad(w->s, w->st, blob))
		return false;
	/* what would get a record, and cannot, stays where the next run finds it */
	if (w->stuck_records && !is_recorded(w->st, &w->st->blob_files[blob].digest))
		return false;
	return w->st->blob_files[blob].spare != STORE_NONE && w->s->blobs[blob].verdict == BLOB_IS_GOOD && !w->stuck_bytes[blob];
}

static void add_record(struct planner *w, const struct digest *d, size_t ns)
{
	if (ns != STORE_NONE && !w->stuck_records && store_find_content(w->st, ns, d) == STORE_NONE)
		w->added[w->added_count++] = (struct want){.digest = d, .ns = ns};
}

/* What gets a record: what is brought into place; and what was renamed before the cut came, which came before the record, be it a
 * download's or ours. */
static void plan_records(struct planner *w)
{
	const struct store *const st = w->st;
	const struct survey *const s = w->s;
	size_t n = 0;

	w->added = arena_array(w->keep, s->brought_count + st->ingest_count + s->unrecorded_count + 1, sizeof(*w->added));
	if (!w->added) {
		w->no_memory = true;
		return;
	}
	for (size_t i = 0, next; i < s->brought_count; i = next) {
		const struct digest *const d = s->brought[i].digest;
		for (next = i + 1; next < s->brought_count && digest_equal(s->brought[next].digest, d); next++)
			;
		if (comes_into_place(w, store_find_blob(st, d)))
			add_record(w, d, recording_namespace(w, &s->brought[i], next - i));
	}
	for (size_t i = 0; i < st->ingest_count; i++) {
		const struct ingest *const in = &st->ingests[i];
		if (s->ingests[i].verdict == INGEST_IS_DUPLICATE && in->expected && !in->has_data)
			add_record(w, in->expected, store_find_namespace(st, in->ns_name));
	}
	const size_t certain = w->added_count;
	if (certain)
		qsort(w->added, certain, sizeof(*w->added), compare_added);
	for (size_t i = 0; i < s->unrecorded_count; i++) {
		const struct want *const u = &s->unrecorded[i];
		const size_t blob = store_find_blob(st, u->digest);
		if (certain && bsearch(u, w->added, certain, sizeof(*u), compare_added_digests))
			continue; /* its download knows better whose it is */
		if (st->blob_files[blob].spare == STORE_NONE || comes_into_place(w, blob))
			add_record(w, u->digest, u->ns);
	}
	if (w->added_count)
		qsort(w->added, w->added_count, sizeof(*w->added), compare_added);
	for (size_t i = 0; i < w->added_count; i++)
		if (!n || compare_added(&w->added[n - 1], &w->added[i]))
			w->added[n++] = w->added[i];
	w->added_count = n;
}

static bool gets_record(const struct planner *w, size_t ns, const struct digest *d)
{
	const struct want key = {.digest = d, .ns = ns};

	return w->added_count && bsearch(&key, w->added, w->added_count, sizeof(key), compare_added);
}

static void plan_ingests(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; i < st->ingest_count; i++) {
		const struct ingest *const in = &st->ingests[i];
		const enum ingest_verdict v = w->s->ingests[i].verdict;
		/* a pull goes on with it; the lease of the pull that began it goes, and with it alone the record would */
		const bool goes_on = v == INGEST_IS_PARTIAL && w->s->ingests[i].settled_bytes;
		const bool stays = w->held_ingest[i] || w->stuck_ingest[i];
		if (goes_on && w->s->ingests[i].settled_bytes < in->data_size && !stays)
			add_action(w, ACTION_CUT_INGEST, i, false);
		if (goes_on && in->record != STORE_NONE && !w->stuck_records)
			lease_ingest(w, &st->ingest_records[in->record]);
		if (v == INGEST_IS_COMPLETE || v == INGEST_IS_POISONED || v == INGEST_IS_DUPLICATE || v == INGEST_HAS_NO_REF ||
			(v == INGEST_IS_PARTIAL && policy_partial(st->boot_proved_new, goes_on, in->data_size).fate == FATE_REMOVE)) {
			if (stays || (in->record != STORE_NONE && w->stuck_records))
				continue;
			if (in->record != STORE_NONE)
				drop_ingest_record(w, in->record);
			(in->record != STORE_NONE ? add_recorded : add_action)(w, ACTION_REMOVE_INGEST, i, false);
		}
	}
	const bool alone_goes = policy_download_record(st->boot_proved_new).fate == FATE_REMOVE;
	for (size_t i = 0; alone_goes && !w->stuck_records && i < st->ingest_record_count; i++)
		if (st->ingest_records[i].dir == STORE_NONE)
			drop_ingest_record(w, i);
}

/* What a repair of ours took away is about to be removed for good. */
static void plan_own(struct planner *w)
{
	for (size_t i = 0; i < w->st->spare_count; i++) {
		const enum spare_place place = w->st->spares[i].place;
		const struct range it = {i, 1};
		if (place != SPARE_IN_CONTENT && w->s->spares[i].moved)
			add_action(w, ACTION_FREE_BYTES, i, false);
		else if (place == SPARE_IN_STAGING && why_held(w, it))
			add_action(w, ACTION_FREE_BYTES, i, true);
	}
}

/* Neither a good file of its own nor bytes elsewhere that are put there, by this run or the next. */
static bool is_gone(const struct planner *w, size_t blob)
{
	return w->s->blobs[blob].verdict == BLOB_IS_BAD;
}

/* Its bytes may be in a file that could not be read; the next run knows. For a directory that may hold anything no wrong file waits:
 * its record would keep a pull from healing it, boot after boot, and if the bytes are found later they get a new one. */
static bool may_come(const struct planner *w, size_t blob)
{
	const struct digest *const d = &w->st->blob_files[blob].digest;
	uint64_t size = 0;

	for (size_t ns = 0; !size && ns < w->st->namespace_count; ns++) {
		const size_t c = store_find_content(w->st, ns, d);
		size = c == STORE_NONE ? 0 : w->st->contents[c].size;
	}
	return is_gone(w, blob) && survey_may_be_in_file(w->s, d, size);
}

static void plan_wrong_file(struct planner *w, size_t blob)
{
	const struct blob *const b = &w->st->blob_files[blob];
	bool freed = false;

	for (size_t k = b->spares.first; k < b->spares.first + b->spares.count; k++)
		if (w->s->spares[k].moved) {
			add_action(w, ACTION_FREE_BYTES, k, false);
			freed = true;
		}
	if (!freed || !b->regular)
		add_action(w, ACTION_REMOVE_BLOB, blob, w->o->keep || !b->regular || w->s->bytes_unseen);
}

static void plan_blobs(struct planner *w)
{
	const struct store *const st = w->st;

	plan_own(w);
	for (size_t i = 0; i < st->blob_count; i++) {
		const bool bad = survey_file_is_bad(w->s, w->st, i);
		w->rescued[i] = comes_into_place(w, i);
		if (w->rescued[i])
			add_action(w, ACTION_PLACE_BLOB, i, false);
		else if (bad && st->blob_files[i].spare != STORE_NONE && w->stuck_blob[i] && !w->stuck_bytes[i])
			w->stuck_bytes[i] = w->stuck_blob[i];
		if (bad && w->rescued[i] && w->held_blob[i])
			add_action(w, ACTION_REMOVE_BLOB, i, true); /* it is kept, where the next run looks, and out of the way */
		else if (bad && !may_come(w, i) && !w->held_blob[i] && !w->stuck_blob[i] &&
			 !(st->blob_files[i].records && w->stuck_records && !w->rescued[i]))
			plan_wrong_file(w, i);
	}
	for (size_t i = 0; i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		/* of a file that stays the record stays: containerd adopts a file without one unseen */
		const bool bad = c->blob == STORE_NONE ? c->digest_known && !survey_may_be_found(w->s, &c->digest, c->size)
						       : is_gone(w, c->blob) && !may_come(w, c->blob) && !w->stuck_blob[c->blob] &&
								 !(w->held_blob[c->blob] && survey_file_is_bad(w->s, w->st, c->blob));
		if (bad && !w->stuck_records) {
			w->drop_content[i] = true;
			meta_remove(w, META_PATH(c->ns, literal("content"), literal("blob"), c->text));
		}
	}
	/* a record of an adopted blob that is bad would be committed without a look */
	for (size_t i = 0; i < st->ingest_record_count; i++) {
		const struct ingest_record *const r = &st->ingest_records[i];
		struct digest d;
		if (st->boot_proved_new || w->stuck_records || digest_parse(r->expected, &d))
			continue; /* all records without a directory go in a new boot */
		const size_t blob = store_find_blob(st, &d);
		if (blob != STORE_NONE && is_gone(w, blob) && !w->stuck_blob[blob])
			drop_ingest_record(w, i);
	}
}

static void put_label(struct planner *w, const struct want *a, const char *key, struct span value)
{
	const struct span digest = w->st->blob_files[store_find_blob(w->st, a->digest)].text;

	if (!key || value.bad) {
		w->no_memory = true;
		return;
	}
	meta_put(w, META_PATH(a->ns, literal("content"), literal("blob"), digest, literal("labels"), literal(key)), value);
}

static struct span digest_text(struct planner *w, const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return arena_copy(w->keep, literal(text));
}

/* What a document names must not be collected when our lease ends: the labels that containerd's own pull gives it (containerd 2.3:
 * core/images/handlers.go, ChildGCLabels; core/unpack/unpacker.go). */
static void label_found(struct planner *w, const struct want *a)
{
	const struct oci_doc *const doc = w->s->blobs[store_find_blob(w->st, a->digest)].doc;
	struct digest chain, previous;

	if (!doc)
		return;
	if (doc->kind == OCI_CONFIG) {
		for (size_t i = 0; doc->unpackable && i < doc->diff_id_count; i++) {
			oci_chain_id(i ? &previous : NULL, &doc->diff_ids[i], &chain);
			previous = chain;
		}
		const struct span text = doc->unpackable && doc->diff_id_count ? digest_text(w, &chain) : (struct span){0};
		const size_t top = text.left ? store_find_snapshot(w->st, a->ns, text) : STORE_NONE;
		if (top != STORE_NONE && !w->drop_snapshot[top])
			put_label(w, a, SNAPSHOT_LABEL, text);
		return;
	}
	if (doc->kind == OCI_MANIFEST && doc->config.digest_known)
		put_label(w, a, "containerd.io/gc.ref.content.config", digest_text(w, &doc->config.digest));
	for (size_t i = 0; i < doc->child_count; i++)
		if (doc->children[i].digest_known)
			put_label(w, a,
				arena_printf(w->keep, "containerd.io/gc.ref.content.%c.%zu", doc->kind == OCI_MANIFEST ? 'l' : 'm', i),
				digest_text(w, &doc->children[i].digest));
}

static void record_found(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; i < w->added_count; i++) {
		const struct want *const a = &w->added[i];
		const struct blob *const b = &st->blob_files[store_find_blob(st, a->digest)];
		const struct span now = encode_time(w, w->o->now_ns);
		meta_put(w, META_PATH(a->ns, literal("content"), literal("blob"), b->text, literal("createdat")), now);
		meta_put(w, META_PATH(a->ns, literal("content"), literal("blob"), b->text, literal("updatedat")), now);
		meta_put(w, META_PATH(a->ns, literal("content"), literal("blob"), b->text, literal("size")),
			encode_varint(w, b->size));
		label_found(w, a);
		lease_content(w, a->ns, b->text);
	}
}

/* ---- snapshots ---- */

/* Something of a user that must not lose what is under it. */
static bool is_users(const struct store *st, const struct backend *b)
{
	const struct backend_facts facts = store_backend_facts(st, b);
	return policy_owner(&facts.it) == OWNER_USER;
}

/* Whether a snapshot is to go, by itself. */
static bool is_seed(const struct planner *w, size_t i)
{
	struct backend_facts facts = store_backend_facts(w->st, &w->st->backends[i]);

	facts.lost = w->s->snapshots[i].verdict == SNAPSHOT_IS_LOST;
	facts.content = w->s->snapshots[i].content;
	const enum fate fate = policy_backend(&facts).fate;
	return fate == FATE_REMOVE || fate == FATE_DROP;
}

/* Marks everything that stands on a marked snapshot. */
static void spread(struct planner *w, bool *marked)
{
	const struct backend *const all = w->st->backends;
	bool *const seen = arena_array(w->keep, w->st->backend_count + 1, sizeof(*seen)); /* and not marked */

	w->no_memory |= !seen;
	for (size_t i = 0; seen && i < w->st->backend_count; i++) {
		size_t at = i;
		while (at != STORE_NONE && !marked[at] && !seen[at]) {
			seen[at] = true;
			at = all[at].parent_index;
		}
		if (at == STORE_NONE || !marked[at])
			continue;
		for (size_t k = i; k != at; k = all[k].parent_index)
			marked[k] = true;
	}
}

/* ---- records of containerd's CRI plugin ---- */

/* The directory that a container writes to; STORE_NONE: it is another snapshotter's, or not in both databases. */
static size_t layer_of(const struct store *st, const struct container *c)
{
	const size_t own = span_is(c->snapshotter, "overlayfs") ? store_find_snapshot(st, c->ns, c->snapshot_key) : STORE_NONE;
	const size_t layer = own == STORE_NONE ? STORE_NONE : st->snapshots[own].backend;

	return layer == STORE_NONE || st->backends[layer].kind == SNAPSHOT_COMMITTED ? STORE_NONE : layer;
}

/* Why a record that must go stays; NULL: it goes. */
static const char *why_cri_stays(const struct planner *w, size_t i)
{
	const struct cri_record *const r = &w->st->cri[i];
	const size_t layer = r->kind == CRI_STORED ? STORE_NONE : layer_of(w->st, &w->st->containers[r->container]);

	const char *const users = policy_cri_stays(w->st->nothing_runs);

	return users					      ? users
	       : w->stuck_records			      ? w->stuck_records
	       : layer != STORE_NONE && w->stuck_aside[layer] ? "its own layer cannot be set aside"
							      : NULL;
}

static bool cri_goes(const struct planner *w, size_t i)
{
	const enum cri_verdict v = w->s->cri[i].verdict;
	return v != CRI_STAYS && v != CRI_IS_UNCHECKED && !why_cri_stays(w, i);
}

static void plan_cri(struct planner *w)
{
	const struct store *const st = w->st;
	const size_t ns = store_find_namespace(st, literal(STORE_KUBERNETES));
	bool *const goes = arena_array(w->keep, st->container_count + 1, sizeof(*goes));
	bool *const used = arena_array(w->keep, st->snapshot_count + 1, sizeof(*used)); /* by a container that stays */

	if (!goes || !used) {
		w->no_memory = true;
		return;
	}
	for (size_t i = 0; i < st->cri_count; i++)
		if (st->cri[i].kind != CRI_STORED)
			goes[st->cri[i].container] = cri_goes(w, i);
	for (size_t i = 0; i < st->container_count; i++) {
		const struct container *const c = &st->containers[i];
		const size_t own = goes[i] ? STORE_NONE : store_find_snapshot(st, c->ns, c->snapshot_key);
		if (own != STORE_NONE)
			used[own] = true;
	}
	for (size_t i = 0; i < st->cri_count; i++) {
		const struct cri_record *const r = &st->cri[i];
		if (!cri_goes(w, i))
			continue;
		if (r->kind == CRI_STORED) {
			if (st->schema >= STORE_SCHEMA_SANDBOXES)
				meta_remove(w, META_PATH(ns, literal("sandboxes"), r->id));
			continue;
		}
		const size_t layer = layer_of(st, &st->containers[r->container]);
		meta_remove(w, META_PATH(ns, literal("containers"), r->id));
		add_action(w, ACTION_ASIDE_CRI, i, true);
		if (layer != STORE_NONE && !used[st->backends[layer].snapshot])
			w->drop[layer] = true; /* set aside: see edit_drops */
	}
}

/* meta.db records whose other half is gone, and what stands on them in meta.db. */
static void seed_meta_only(struct planner *w)
{
	const struct store *const st = w->st;
	bool *const users_child = arena_array(w->keep, st->snapshot_count + 1, sizeof(*users_child));

	if (!users_child) {
		w->no_memory = true;
		return;
	}
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		const size_t parent = s->parent.left ? store_find_snapshot(st, s->ns, s->parent) : STORE_NONE;
		if (parent != STORE_NONE && s->backend != STORE_NONE && is_users(st, &st->backends[s->backend]))
			users_child[parent] = true;
	}
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		if (s->backend != STORE_NONE || st->overlay_elsewhere)
			continue;
		const struct snapshot_facts facts = store_snapshot_facts(st, s->ns, s->key, false);
		const struct ruling ruling = policy_meta_only(&facts, users_child[i]);
		w->drop_snapshot[i] = ruling.fate != FATE_LEFT;
		w->left_snapshot[i] = ruling.why;
	}
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		const size_t parent = s->parent.left ? store_find_snapshot(st, s->ns, s->parent) : STORE_NONE;
		if (parent != STORE_NONE && w->drop_snapshot[parent] && s->backend != STORE_NONE &&
			st->snapshots[parent].backend == STORE_NONE)
			w->drop[s->backend] = true;
	}
}

static void plan_drops(struct planner *w)
{
	const struct store *const st = w->st;
	bool *const seeds = arena_array(w->keep, st->backend_count + 1, sizeof(*seeds));

	if (!seeds) {
		w->no_memory = true;
		return;
	}
	if (w->stuck_records) { /* nothing goes */
		for (size_t i = 0; i < st->backend_count; i++)
			w->left[i] = w->stuck_records;
		for (size_t i = 0; i < st->snapshot_count; i++)
			w->left_snapshot[i] = w->stuck_records;
		return;
	}
	seed_meta_only(w);
	for (size_t i = 0; i < st->backend_count; i++)
		seeds[i] = w->drop[i] = w->drop[i] || is_seed(w, i);
	spread(w, w->drop);
	/* the last of those that stand on one is named; what another has led to is not walked again, for all below it is marked */
	for (size_t i = st->backend_count; i-- > 0;) {
		if (!w->drop[i] || w->pinned[i] || (!w->stuck_aside[i] && (seeds[i] || !is_users(st, &st->backends[i]))))
			continue;
		const struct span key = st->backends[i].user_key;
		const char *const stuck = w->stuck_aside[i];
		const char *const why = arena_printf(w->keep, "snapshot %.*s %s%s", (int)min_u64(key.left, 200), (const char *)key.at,
			stuck ? "cannot be set aside: " : "of a container stands on it", stuck ? stuck : "");
		for (size_t at = i; at != STORE_NONE && !w->pinned[at]; at = st->backends[at].parent_index) {
			w->pinned[at] = true;
			w->left[at] = why ? why : "a container stands on it";
		}
	}
	for (size_t i = 0; i < st->backend_count; i++)
		w->drop[i] = seeds[i] && !w->pinned[i];
	spread(w, w->drop);
	/* a record of meta.db alone stays as long as something that stays names it as its parent */
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		const size_t parent = s->parent.left ? store_find_snapshot(st, s->ns, s->parent) : STORE_NONE;
		if (parent != STORE_NONE && s->backend != STORE_NONE && !w->drop[s->backend] && w->drop_snapshot[parent]) {
			w->drop_snapshot[parent] = false;
			w->left_snapshot[parent] = "a container stands on it";
		}
	}
}

static void edit_drops(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		if (!w->drop[i])
			continue;
		if (b->snapshot != STORE_NONE)
			w->drop_snapshot[b->snapshot] = true;
		overlay_remove(w, "snapshots", b->key);
		if (b->parent_index != STORE_NONE) {
			uint8_t *const key = arena_get(w->keep, 24);
			if (!key) {
				w->no_memory = true;
				return;
			}
			size_t n = put_uvarint(key, st->backends[b->parent_index].id);
			key[n++] = 0;
			n += put_uvarint(key + n, b->id);
			overlay_remove(w, "parents", span_of(key, n));
		}
		const bool containers = b->kind != SNAPSHOT_COMMITTED &&
					!store_is_extract(st, store_find_namespace(st, b->ns_name), b->user_key);
		if (b->dir_found && containers)
			add_action(w, ACTION_ASIDE_SNAPSHOT, i, true);
		else if (b->dir_found)
			add_recorded(w, ACTION_REMOVE_SNAPSHOT, i, false);
	}
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		if (!w->drop_snapshot[i])
			continue;
		meta_remove(w, META_PATH(s->ns, literal("snapshots"), literal("overlayfs"), s->key));
		const size_t parent = s->parent.left ? store_find_snapshot(st, s->ns, s->parent) : STORE_NONE;
		if (parent != STORE_NONE && !w->drop_snapshot[parent])
			meta_remove(w, META_PATH(s->ns, literal("snapshots"), literal("overlayfs"), s->parent,
					       literal("children"), s->key));
	}
}

/* Parents before children: implicit directories copy from the layers below. A snapshot's id is younger than its parent's but for layers
 * unpacked in parallel, so depth decides, not order. */
static size_t *by_depth(struct planner *w)
{
	const struct store *const st = w->st;
	size_t *const order = arena_array(w->keep, st->backend_count + 1, sizeof(*order));
	size_t *const first = arena_array(w->keep, st->backend_count + 2, sizeof(*first)); /* by depth, which is below the count */

	if (!order || !first) {
		w->no_memory = true;
		return NULL;
	}
	for (size_t i = 0; i < st->backend_count; i++)
		first[st->backends[i].depth + 1]++;
	for (size_t d = 0; d < st->backend_count; d++)
		first[d + 1] += first[d];
	for (size_t i = 0; i < st->backend_count; i++)
		order[first[st->backends[i].depth]++] = i;
	return order;
}

static void plan_rebuilds(struct planner *w)
{
	const struct store *const st = w->st;
	const size_t *const order = by_depth(w);

	for (size_t k = 0; order && k < st->backend_count; k++) {
		const size_t i = order[k];
		const struct snapshot_state *const state = &w->s->snapshots[i];
		/* a rebuild that was cut off may have all its entries back, and not yet its directories' times */
		const bool unfinished =
			st->backends[i].interrupted && state->verdict == SNAPSHOT_IS_WHOLE && state->proof != STORE_NONE;
		if ((state->verdict != SNAPSHOT_IS_TORN && !unfinished) || w->drop[i])
			continue;
		if (st->mounted) {
			w->left[i] = arena_printf(w->keep, "%s: stop them, or repair at the next boot", st->boot_evidence);
			continue;
		}
		if (w->stuck_rebuild[i]) {
			w->left[i] = w->stuck_rebuild[i];
			continue;
		}
		add_action(w, ACTION_REBUILD, i, false);
		w->p->write_bytes += state->rewrite_bytes;
		w->p->write_inodes += state->rewrite_inodes;
	}
}

/* ---- images ---- */

struct image_eval {
	enum image_verdict verdict;
	bool damaged, unpacked; /* unpacked: it has, or had, a chain here */
	bool by_layers;         /* IMAGE_NEEDS_PULL for no other reason than that layers are not here, nor their snapshots */
	bool pinned;            /* its files are lost, and something keeps their records: a pull would say "done" */
	bool unproved;          /* a pull would take files as they are that no layer here proves */
	bool left_out;          /* a pull need not fetch all of its layers: see image_state */
	bool chained;           /* it has a complete one: config and top are set */
	struct digest config;
	size_t top;             /* meta.db snapshot */
	const char *why;
};

/* A pull would find it there, and leave it. */
static const char damaged_stays[] = "is damaged, and could not be put right";

/* unknown: set to the rest of a sentence if neither is known. size: 0 if no document tells. */
static bool blob_is_here(
	const struct planner *w, size_t ns, const struct digest *d, uint64_t size, bool *damaged, const char **unknown)
{
	const size_t c = store_find_content(w->st, ns, d);
	const size_t blob = store_find_blob(w->st, d);

	if (blob != STORE_NONE && w->s->blobs[blob].verdict == BLOB_IS_UNREADABLE)
		*unknown = w->s->blobs[blob].passed_over ? "was not looked at: the last check ended there" : "could not be read";
	else if (blob != STORE_NONE && w->stuck_bytes[blob])
		*unknown = "could not be put into its place";
	else if (c == STORE_NONE && w->stuck_records && survey_unrecorded_in(w->s, d) == ns)
		*unknown = "has no record, and none could be written";
	if (blob == STORE_NONE && survey_may_be_found(w->s, d, c == STORE_NONE ? size : w->st->contents[c].size))
		*unknown = "may be in what could not be read";
	if (c == STORE_NONE)
		return gets_record(w, ns, d);
	/* damaged, and it stays: as good as gone */
	const bool stuck = blob != STORE_NONE && is_gone(w, blob);
	if (stuck && !w->drop_content[c])
		*unknown = damaged_stays;
	if (w->drop_content[c] || stuck)
		*damaged = true;
	return !w->drop_content[c] && !stuck;
}

static const struct oci_doc *doc_of(const struct planner *w, const struct digest *d)
{
	const size_t blob = store_find_blob(w->st, d);
	return blob == STORE_NONE ? NULL : w->s->blobs[blob].doc;
}

/* The snapshotter, other than overlayfs, that has this image's chain, or had it when that was noted: it stands in meta.db, or a label
 * of the config's record says so. NULL: none that is known. */
static const char *other_snapshotter(struct planner *w, size_t ns, const struct digest *config, const struct digest *top)
{
	static const char prefix[] = "containerd.io/gc.ref.snapshot.";
	const struct store *const st = w->st;
	const size_t c = store_find_content(st, ns, config), foreign = top ? store_find_foreign(st, ns, top) : STORE_NONE;
	struct span name = foreign == STORE_NONE ? (struct span){0} : st->foreign[foreign].snapshotter;

	for (size_t i = 0; !name.left && c != STORE_NONE && i < st->contents[c].labels.count; i++) {
		struct span key = st->contents[c].labels.at[i].key;
		if (!span_starts(key, prefix) || span_starts(key, SNAPSHOT_LABEL))
			continue;
		(void)span_take(&key, sizeof(prefix) - 1);
		name = key;
	}
	if (!name.left && top && st->foreign_cut)
		name = literal("other than overlayfs");
	if (!name.left)
		return NULL;
	const char *const text = arena_string(w->keep, name);
	w->no_memory |= !text;
	return text;
}

/* What is known of an image's parts in one namespace. */
struct image_facts {
	bool config_gone, config_garbled;
	const char *unknown;            /* of a blob of it */
	bool stays;                     /* a damaged layer does */
	bool paired;                    /* its config has a diff ID for each layer */
	bool lost_layer;                /* a layer's blob is, or was found damaged */
	bool left_out;                  /* a layer's blob is not here, and what it was unpacked to is */
	bool dropped, lost;             /* of its chain: records go; files are lost, and the records stay */
	bool torn, blocked, stuck;      /* files are put back; are not, as containers run; or could not be */
	bool unverified, unread;        /* not compared with a layer; not even looked at */
	const char *unread_why;         /* of one of those; NULL: not known */
	bool complete;                  /* overlayfs has its whole chain */
	const char *other;              /* snapshotter that has it too, or alone */
	size_t layers, here, in_chain;
	size_t top;                     /* meta.db snapshot */
};

static void look_at_blobs(const struct planner *w, size_t ns, const struct oci_doc *m, struct image_facts *f, bool *damaged)
{
	f->config_gone = m->config.digest_known && !blob_is_here(w, ns, &m->config.digest, m->config.size, damaged, &f->unknown);
	const size_t config = f->config_gone || m->config.type != OCI_TYPE_CONFIG ? STORE_NONE : store_find_blob(w->st, &m->config.digest);
	f->config_garbled = config != STORE_NONE && w->s->blobs[config].garbled;
	for (size_t i = 0; i < m->child_count && !f->config_gone; i++) {
		const struct oci_descriptor *const d = &m->children[i];
		f->layers++;
		f->here += d->digest_known && blob_is_here(w, ns, &d->digest, d->size, &f->lost_layer, &f->unknown);
		f->stays |= f->unknown == damaged_stays;
	}
}

/* Not here, and nothing on the disk keeps containerd from fetching it. */
static bool can_be_fetched(const struct planner *w, size_t ns, const struct oci_descriptor *d)
{
	const size_t c = store_find_content(w->st, ns, &d->digest), blob = store_find_blob(w->st, &d->digest);
	const bool recorded = c == STORE_NONE ? gets_record(w, ns, &d->digest) : !w->drop_content[c];

	return d->digest_known && !recorded && !w->stuck_records && (blob == STORE_NONE || !w->stuck_blob[blob]);
}

static void look_at_snapshot(const struct planner *w, size_t s, struct image_facts *f)
{
	const size_t b = w->st->snapshots[s].backend;
	const enum snapshot_verdict v = b != STORE_NONE		   ? w->s->snapshots[b].verdict
					: w->st->overlay_elsewhere ? SNAPSHOT_IS_UNVERIFIED
								   : SNAPSHOT_IS_LOST;

	f->in_chain++;
	if (w->drop_snapshot[s]) {
		f->dropped = true;
		return;
	}
	if (v == SNAPSHOT_IS_TORN) {
		f->torn = true;
		f->blocked |= w->st->mounted; /* plan_rebuilds does not touch it now */
		f->stuck |= w->stuck_rebuild[b] != NULL;
		f->unread |= w->s->snapshots[b].unreadable > 0;
	}
	f->lost |= v == SNAPSHOT_IS_LOST;
	f->unverified |= v == SNAPSHOT_IS_UNVERIFIED;
	f->unread |= v == SNAPSHOT_IS_UNREADABLE || v == SNAPSHOT_NOT_CHECKED;
	if (b != STORE_NONE && v == SNAPSHOT_IS_UNREADABLE && !f->unread_why)
		f->unread_why = w->s->snapshots[b].why;
}

static void look_at_chain(struct planner *w, size_t ns, const struct oci_doc *m, struct image_facts *f)
{
	const struct oci_doc *const config = m->config.type == OCI_TYPE_CONFIG ? doc_of(w, &m->config.digest) : NULL;
	struct digest chain, previous;
	size_t layers = 0, child = 0, fetched = 0;

	f->top = STORE_NONE;
	if (!config || config->kind != OCI_CONFIG)
		return;
	for (size_t i = 0; i < m->child_count; i++)
		layers += oci_is_layer(&m->children[i]);
	f->paired = config->unpackable && config->diff_id_count && layers == config->diff_id_count;
	for (size_t i = 0; f->paired && i < config->diff_id_count; i++, child++) {
		char text[DIGEST_TEXT_BYTES];
		while (!oci_is_layer(&m->children[child]))
			child++;
		oci_chain_id(i ? &previous : NULL, &config->diff_ids[i], &chain);
		previous = chain;
		digest_format(&chain, text);
		f->top = store_find_snapshot(w->st, ns, literal(text));
		const bool comes = can_be_fetched(w, ns, &m->children[child]);
		fetched += comes;
		if (f->top == STORE_NONE)
			continue;
		look_at_snapshot(w, f->top, f);
		f->left_out |= comes && !w->drop_snapshot[f->top];
	}
	f->complete = f->top != STORE_NONE && !f->dropped && f->in_chain == layers;
	f->other = other_snapshotter(w, ns, &m->config.digest, f->paired ? &chain : NULL);
	/* some leave all layers where they are; what was here and is lost is another thing */
	f->left_out |= f->other && f->lost_layer && fetched;
}

static const char *unknown(struct planner *w, const char *what, const char *why)
{
	return why ? arena_printf(w->keep, "%s%s %s", why == damaged_stays ? "" : "unchecked: ", what, why) : NULL;
}

/* What one document of an image can hold is free, so that images that lead to much do not keep others from being looked at. */
static void count_steps(struct planner *w, size_t n)
{
	w->image_steps += n;
	if (w->image_steps > LIMIT_DESCRIPTORS)
		w->steps += n;
}

/* Of an image's parts what becomes of it; the first row that holds says so. What was not compared is not verified: nothing else is
 * called whole or healed. */
static struct image_eval eval_manifest(struct planner *w, size_t ns, const struct oci_doc *m)
{
	struct image_facts f = {.top = STORE_NONE};
	struct image_eval r = {0};

	count_steps(w, m->child_count);
	look_at_blobs(w, ns, m, &f, &r.damaged);
	if (!f.config_gone)
		look_at_chain(w, ns, m, &f);
	r.damaged |= f.lost_layer || f.torn || f.lost || f.dropped;
	/* a manifest for another platform may share the first layers: what was unpacked has its top */
	r.unpacked = f.top != STORE_NONE;
	r.pinned = f.lost;
	r.unproved = f.config_gone ? w->unproved[ns] : f.unverified || f.unread;
	r.left_out = f.config_gone ? w->uncompared[ns] : f.left_out;
	if (f.complete && !f.lost) {
		r.chained = true;
		r.config = m->config.digest;
		r.top = f.top;
	}
	/* whatever is in what could not be read: what is lost beside it cannot be unpacked again, and no later run would tell so */
	const bool gone = f.paired && !f.complete && f.here < f.layers && !f.other && !f.lost && !f.stays;
	const char *const other =
		f.other ? arena_printf(w->keep, "snapshotter %s has unpacked it: its files there are not compared", f.other) : NULL;
	const char *const unread =
		arena_printf(w->keep, "unchecked: %s", f.unread_why ? f.unread_why : "not all of its files could be read and compared");
	const char *const lacks = arena_printf(w->keep, "%zu of its %zu layers are not local", f.layers - f.here, f.layers);
	const struct {
		bool holds;
		enum image_verdict verdict;
		const char *why;
	} rows[] = {
		{f.config_gone && f.unknown, IMAGE_IS_UNVERIFIED, unknown(w, "its config", f.unknown)},
		{f.config_gone, IMAGE_NEEDS_PULL, "its config is not local"},
		{f.config_garbled, IMAGE_IS_UNVERIFIED, "its config is nothing that containerd could read"},
		{f.unknown && !gone, IMAGE_IS_UNVERIFIED, unknown(w, "a part of it", f.unknown)},
		{f.lost && w->stuck_records, IMAGE_IS_UNVERIFIED,
			"files of it are lost, and the records that say otherwise could not be changed"},
		{f.lost, IMAGE_NEEDS_PULL,
			"files of it are lost, and a container stands on the rest: remove the container, then run repair again"},
		{f.complete && f.stuck, IMAGE_IS_UNVERIFIED, "files of it are damaged and could not be put back"},
		{f.complete && f.blocked, IMAGE_IS_UNVERIFIED,
			"files of it are damaged, and can be put back when no container runs on this store"},
		{f.complete && f.torn && f.unread, IMAGE_IS_UNVERIFIED,
			"its local layers have the damaged files; others could not be read"},
		{f.complete && f.torn && f.unverified, IMAGE_IS_UNVERIFIED,
			"its local layers have the damaged files; others are not local to compare with"},
		{f.complete && f.other, IMAGE_IS_UNVERIFIED, other},
		{f.complete && f.unread, IMAGE_IS_UNVERIFIED, unread},
		{f.complete && f.unverified && w->st->overlay_elsewhere, IMAGE_IS_UNVERIFIED,
			"its snapshots are not in this directory: they were not compared"},
		{f.complete && f.unverified, IMAGE_IS_UNVERIFIED, "not all of its layers are local to compare with"},
		{f.complete && f.torn, IMAGE_IS_HEALED, "its local layers have the damaged files"},
		{f.complete && f.lost_layer, IMAGE_IS_WHOLE,
			"its files are whole, but a layer blob is lost: it cannot be pushed or unpacked again"},
		{f.complete && f.left_out, IMAGE_IS_WHOLE,
			"its files are whole, but a layer blob is not local: it cannot be pushed or unpacked again"},
		{f.complete, IMAGE_IS_WHOLE, NULL},
		{f.other != NULL, IMAGE_IS_UNVERIFIED, other},
		{f.here == f.layers && r.damaged, IMAGE_IS_HEALED, "it is unpacked again from its local layers when it is next used"},
		{f.here == f.layers, IMAGE_IS_WHOLE, NULL}, /* not unpacked, or a child of an index that shares its first layers */
		{true, IMAGE_NEEDS_PULL, lacks},
	};
	size_t i = 0;
	while (!rows[i].holds)
		i++;
	r.verdict = rows[i].verdict;
	r.why = rows[i].why;
	r.by_layers = i + 1 == sizeof(rows) / sizeof(rows[0]);
	return r;
}

static int rank(enum image_verdict v)
{
	return v == IMAGE_IS_WHOLE ? 0 : v == IMAGE_IS_HEALED ? 1 : v == IMAGE_IS_UNVERIFIED ? 2 : 3;
}

/* Indexes are walked with a stack of their own: their depth is the image author's. */
static struct image_eval eval_image(struct planner *w, size_t ns, const struct digest *target)
{
	struct {
		const struct oci_doc *doc;
		size_t next;
	} stack[LIMIT_INDEX_DEPTH];
	struct image_eval best = {.verdict = IMAGE_NEEDS_PULL, .left_out = w->uncompared[ns], .why = "no platform of it is local"};
	bool any = false, any_unpacked = false, damaged = false, too_deep = false;
	const char *why = NULL;
	size_t depth = 0;

	w->evaluation++;
	w->image_steps = 0;
	if (!blob_is_here(w, ns, target, 0, &damaged, &why)) {
		best.damaged = damaged;
		best.unproved = w->unproved[ns];
		best.verdict = why ? IMAGE_IS_UNVERIFIED : IMAGE_NEEDS_PULL;
		best.why = why ? unknown(w, "its manifest", why) : "its manifest is not local";
		return best;
	}
	const struct oci_doc *const root = doc_of(w, target);
	if (why || !root)
		return (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED,
			.why = why ? unknown(w, "its manifest", why) : "it is no image this program knows"};
	if (root->kind == OCI_MANIFEST)
		return eval_manifest(w, ns, root);
	if (root->kind != OCI_INDEX)
		return (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = "it is no image this program knows"};
	stack[depth].doc = root;
	stack[depth++].next = 0;
	while (depth) {
		const struct oci_doc *const index = stack[depth - 1].doc;
		if (stack[depth - 1].next == index->child_count) {
			depth--;
			continue;
		}
		const struct oci_descriptor *const d = &index->children[stack[depth - 1].next++];
		bool child_damaged = false;
		count_steps(w, 1);
		if (w->image_steps > LIMIT_DESCRIPTORS && w->steps > LIMIT_IMAGE_STEPS)
			return (struct image_eval){
				.verdict = IMAGE_IS_UNVERIFIED, .why = "unchecked: what it and others lead to is too much"};
		if (!d->digest_known || d->attestation)
			continue;
		if (!blob_is_here(w, ns, &d->digest, d->size, &child_damaged, &why)) {
			if (child_damaged) { /* it was here: this is the platform that was pulled */
				any_unpacked = damaged = true;
				best = (struct image_eval){
					.verdict = IMAGE_NEEDS_PULL,
					.unproved = w->unproved[ns],
					.left_out = w->uncompared[ns],
					.why = "its manifest is not local"};
				any = true;
			}
			continue;
		}
		const struct oci_doc *const doc = doc_of(w, &d->digest);
		/* once each: indexes that name the next one twice would be walked as often as there are ways */
		size_t *const evaluated = doc ? &w->evaluated[store_find_blob(w->st, &d->digest)] : NULL;
		if (evaluated && *evaluated == w->evaluation)
			continue;
		if (evaluated)
			*evaluated = w->evaluation;
		too_deep |= doc && doc->kind == OCI_INDEX && depth == LIMIT_INDEX_DEPTH;
		if (!any && (!doc || doc->kind == OCI_CONFIG)) { /* a checkpoint: an index of other things */
			best = (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = "it is no image this program knows"};
			any = true;
		}
		if (doc && doc->kind == OCI_INDEX && depth < LIMIT_INDEX_DEPTH) {
			stack[depth].doc = doc;
			stack[depth++].next = 0;
		} else if (doc && doc->kind == OCI_MANIFEST) {
			const struct image_eval r = eval_manifest(w, ns, doc);
			damaged |= r.damaged;
			/* of what was unpacked the worst counts, of what never was the best */
			if (!any || (r.unpacked && !any_unpacked) ||
				(r.unpacked && any_unpacked && rank(r.verdict) > rank(best.verdict)) ||
				(!r.unpacked && !any_unpacked && rank(r.verdict) < rank(best.verdict)))
				best = r;
			any = true;
			any_unpacked |= r.unpacked;
		}
	}
	best.damaged |= damaged;
	if (too_deep && best.verdict != IMAGE_IS_HEALED) {
		best.verdict = IMAGE_IS_UNVERIFIED;
		best.why = "unchecked: its indexes are nested too deep";
	}
	if (why && best.verdict == IMAGE_NEEDS_PULL) { /* the one that could not be read may be the one that matters */
		best.verdict = IMAGE_IS_UNVERIFIED;
		best.why = unknown(w, "a manifest of it", why);
	}
	return best;
}

/* Of names for the same target the first is evaluated. */
static struct image_eval eval_name(struct planner *w, size_t index)
{
	const struct image *const image = &w->st->images[index];
	const size_t blob = image->target_known ? store_find_blob(w->st, &image->target) : STORE_NONE;
	const size_t known = blob == STORE_NONE ? 0 : w->answered[blob];
	struct image_eval *const eval = &w->evals[index];

	if (!image->target_known)
		*eval = (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = "its record names no digest"};
	else if (known && w->st->images[known - 1].ns == image->ns)
		*eval = w->evals[known - 1];
	else
		*eval = eval_image(w, image->ns, &image->target);
	if (blob != STORE_NONE)
		w->answered[blob] = index + 1;
	return *eval;
}

/* The cut came between the last unpacked layer and the label that refers to it (containerd-store.md 5.1, W14): the lease
 * that goes is all that held the chain. On a store without such a lease a missing label means nothing. */
static bool is_unreferenced(const struct planner *w, size_t ns, const struct image_eval *r)
{
	const struct store *const st = w->st;
	const struct range leases = st->namespaces[ns].leases;
	const size_t c = store_find_content(st, ns, &r->config);

	if (c == STORE_NONE || labels_get(&st->contents[c].labels, SNAPSHOT_LABEL))
		return false;
	for (size_t i = leases.first; i < leases.first + leases.count; i++)
		for (size_t k = 0; is_stale(st, &st->leases[i]) && k < st->leases[i].snapshots.count; k++)
			if (span_equal(st->leases[i].snapshots.at[k], st->snapshots[r->top].key))
				return true;
	return false;
}

/* No pull noted a registry at what the name leads to. Of what is not recorded at all nothing is known. */
static bool is_imported(const struct planner *w, const struct image *image)
{
	const size_t c = image->target_known ? store_find_content(w->st, image->ns, &image->target) : STORE_NONE;
	return c != STORE_NONE && !w->st->contents[c].has_source;
}

/* Somebody relies on it being here always: CRI's own sandbox image, what a product brings along. */
static bool is_pinned_name(const struct image *image)
{
	static const char *const keys[] = {"io.cri-containerd.pinned", "io.cattle.k3s.pinned"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (labels_get(&image->labels, keys[i]))
			return true;
	return false;
}

/* Of an image that must be pulled. */
static struct ruling rule_on_name(struct planner *w, const struct image *image, const struct image_eval *r)
{
	const char *const at_work =
		w->st->boot_proved_new ? "" : arena_printf(w->keep, "%s; its name is dropped at the next boot", w->st->boot_evidence);
	const struct name_facts facts = {.kubernetes = w->st->namespaces[image->ns].kubernetes,
		.by_config = image_is_named_by_config(image),
		.damaged = r->damaged,
		.only_layers = r->by_layers && w->st->other_snapshots,
		.records_stay = r->pinned,
		.pinned = is_pinned_name(image),
		.imported = is_imported(w, image),
		.unseen = w->s->wants_unknown || w->s->bytes_unseen || w->s->unread_count || w->s->unread_size_count,
		.may_be_at_work = w->st->boot_proved_new ? NULL : at_work ? at_work : "there is no memory to say why"};
	struct ruling ruling = policy_name(&facts);

	if (ruling.problem != P_COUNT && w->stuck_records)
		ruling = (struct ruling){.problem = ruling.problem, .fate = FATE_LEFT, .why = w->stuck_records};
	return ruling;
}

/* Where a manifest or a config is lost, nobody knows which files a pull of it takes as they are. */
static void find_unproved(struct planner *w)
{
	for (size_t i = 0; i < w->st->namespace_count; i++)
		w->unproved[i] = w->uncompared[i] = w->st->namespaces[i].foreign.count || w->st->foreign_cut;
	for (size_t i = 0; i < w->st->snapshot_count; i++) {
		const struct snapshot *const s = &w->st->snapshots[i];
		const enum snapshot_verdict v =
			s->backend == STORE_NONE ? SNAPSHOT_IS_UNVERIFIED : w->s->snapshots[s->backend].verdict;
		struct digest d;
		if (w->drop_snapshot[i] || digest_parse(s->key, &d) != RC_OK)
			continue;
		w->unproved[s->ns] |= v == SNAPSHOT_IS_UNVERIFIED || v == SNAPSHOT_IS_UNREADABLE;
		w->uncompared[s->ns] |= v == SNAPSHOT_IS_UNVERIFIED || v == SNAPSHOT_IS_UNREADABLE || v == SNAPSHOT_NOT_CHECKED ||
					(s->backend != STORE_NONE && w->s->snapshots[s->backend].trusted);
	}
}

static void plan_images(struct planner *w, struct finding *extra, size_t *extra_count)
{
	const struct store *const st = w->st;

	find_unproved(w);
	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		struct image_state *const state = &w->p->images[i];
		const struct image_eval r = eval_name(w, i);
		*state = (struct image_state){.verdict = r.verdict,
			.damaged = r.damaged,
			.pinned = r.pinned,
			.unproved = r.unproved,
			.left_out = r.left_out,
			.imported = is_imported(w, image),
			.top = r.chained ? r.top : STORE_NONE,
			.why = r.why ? r.why : r.verdict == IMAGE_NEEDS_PULL ? "parts of it are not local" : NULL};
		if (r.chained && !w->stuck_records && is_unreferenced(w, image->ns, &r)) {
			const size_t c = store_find_content(st, image->ns, &r.config);
			meta_put(w, META_PATH(image->ns, literal("content"), literal("blob"), st->contents[c].text,
					    literal("labels"), literal(SNAPSHOT_LABEL)),
				st->snapshots[r.top].key);
			extra[(*extra_count)++] = (struct finding){.problem = P_CHAIN_UNREFERENCED,
				.subject = SUBJECT_IMAGE,
				.index = i,
				.ns = st->namespaces[image->ns].name,
				.name = image->name};
			w->p->total[P_CHAIN_UNREFERENCED]++;
		}
		if (r.verdict != IMAGE_NEEDS_PULL)
			continue;
		const struct ruling ruling = rule_on_name(w, image, &r);
		if (ruling.problem == P_COUNT)
			continue; /* the list of images tells what it lacks */
		state->left = ruling.why;
		struct finding *const f = &extra[(*extra_count)++];
		*f = (struct finding){.problem = ruling.problem,
			.subject = SUBJECT_IMAGE,
			.index = i,
			.ns = st->namespaces[image->ns].name,
			.name = image->name,
			.why = literal(state->why)};
		w->p->total[ruling.problem]++;
		if (ruling.fate == FATE_DROP && st->namespaces[image->ns].kubernetes && !image_is_named_by_config(image)) {
			meta_remove(w, META_PATH(image->ns, literal("images"), image->name));
			state->name_dropped = true;
		}
	}
	/* whatever a dropped name, or a dropped manifest, config or index, kept alive */
	for (size_t i = 0; i < st->content_count; i++)
		if (w->drop_content[i])
			lease_references(w, &st->contents[i]);
	bool *const rooted = arena_array(w->keep, st->content_count + 1, sizeof(*rooted));
	w->no_memory |= !rooted;
	for (unsigned dropped = 0; rooted && dropped < 2; dropped++)
		for (size_t i = 0; i < st->image_count; i++) {
			const struct image *const image = &st->images[i];
			const bool wanted = image->target_known && w->p->images[i].name_dropped == dropped;
			const size_t c = wanted ? store_find_content(st, image->ns, &image->target) : STORE_NONE;
			if (c == STORE_NONE)
				continue;
			if (!dropped)
				rooted[c] = true;
			else if (!rooted[c] && !w->drop_content[c])
				lease_content(w, image->ns, st->contents[c].text);
		}
}

/* ---- the rest ---- */

static struct ruling rule_on_lease(const struct planner *w, const struct lease *l)
{
	struct lease_facts facts = store_lease_facts(w->st, l);

	facts.some_unread = w->s->some_unread;
	return policy_lease(&facts);
}

/* Before anything is leased: an older lease of ours has the same name. */
static void plan_leases(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; !w->stuck_records && i < st->lease_count; i++)
		if (rule_on_lease(w, &st->leases[i]).fate == FATE_REMOVE)
			meta_remove(w, META_PATH(st->leases[i].ns, literal("leases"), st->leases[i].id));
}

static void plan_small(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; i < st->stray_count; i++) {
		const struct stray *const s = &st->strays[i];
		if (w->held_stray[i] || (!s->is_directory && s->spares.count && w->s->spares[s->spares.first].moved))
			continue;
		if (s->kind == STRAY_OWN)
			add_action(w, ACTION_CLEAN_STAGING, i, false);
		else if (s->kind == STRAY_BLOB_NAME)
			add_action(w, ACTION_REMOVE_STRAY, i, true);
		else if (s->kind == STRAY_SNAPSHOT_DIR || s->kind == STRAY_SNAPSHOT_NEW || s->kind == STRAY_PROBE ||
			 (s->kind == STRAY_TMPMOUNT && s->empty && s->is_directory))
			/* a number the counter has passed and no record has: containerd removed the record, the directory is
			 * what it would remove next. One the counter has not reached is empty, or the run was halted; it is what
			 * shows that the two databases belong together, as long as meta.db has records that metadata.db lacks. */
			(s->kind == STRAY_SNAPSHOT_DIR && (w->p->meta.count || w->stuck_records) ? add_recorded : add_action)(
				w, ACTION_REMOVE_STRAY, i, false);
	}
	for (size_t i = 0; i < st->state_file_count; i++)
		if (st->state_files[i].kind == STATE_UUID ||
			(st->state_files[i].kind == STATE_CRI_STATUS && policy_cri_status(st->boot_proved_new).fate == FATE_REPAIR))
			add_action(w, ACTION_STATE_FILE, i, false);
}

/* Why what a finding is about stays as it is; NULL: nothing is in the way of what is usual. */
static const char *why_left(const struct planner *w, const struct finding *f)
{
	const struct store *const st = w->st;
	const size_t i = f->index;

	switch (f->subject) {
	case SUBJECT_BLOB:
		return f->problem == P_BLOB_UNRECORDED    ? w->stuck_records
		       : f->problem == P_BLOB_ELSEWHERE ? w->stuck_bytes[i]
		       : w->rescued[i]		      ? NULL
		       : may_come(w, i)		      ? "its bytes may be in what could not be read"
		       : w->stuck_blob[i]	      ? w->stuck_blob[i]
		       : w->held_blob[i]	      ? w->held_blob[i]
		       : st->blob_files[i].records      ? w->stuck_records
							: NULL;
	case SUBJECT_IMAGE:
		return w->stuck_records ? w->stuck_records : w->p->images[i].left;
	case SUBJECT_BACKEND:
		if (w->drop[i] || (w->s->snapshots[i].verdict == SNAPSHOT_IS_TORN && !st->mounted && !w->stuck_rebuild[i]))
			return NULL;
		return w->left[i]						? w->left[i]
		       : w->s->snapshots[i].verdict == SNAPSHOT_IS_UNREADABLE ? "its layer, or a part of it, could not be read"
									      : "nothing safe can be done about it";
	case SUBJECT_SNAPSHOT:
		return w->drop_snapshot[i]   ? NULL
		       : w->left_snapshot[i] ? w->left_snapshot[i]
					     : "nothing safe can be done about it";
	case SUBJECT_INGEST:
		return w->stuck_ingest[i]					    ? w->stuck_ingest[i]
		       : w->s->ingests[i].verdict == INGEST_IS_COMPLETE		    ? w->stuck_bytes[w->s->ingests[i].blob]
		       : w->held_ingest[i]					    ? w->held_ingest[i]
		       : st->ingests[i].record != STORE_NONE && f->problem != P_INGEST_CUT_BACK ? w->stuck_records
												  : NULL;
	case SUBJECT_STATE_FILE:
		return st->state_files[i].kind == STATE_CRI_STATUS ? policy_cri_status(st->boot_proved_new).why : NULL;
	case SUBJECT_CRI:
		return why_cri_stays(w, i);
	case SUBJECT_LEASE: {
		const char *const why = rule_on_lease(w, &st->leases[i]).why;
		return why ? why : w->stuck_records;
	}
	case SUBJECT_CONTENT:
	case SUBJECT_INGEST_RECORD:
		return w->stuck_records;
	case SUBJECT_STRAY:
		return w->held_stray[i];
	case SUBJECT_NONE:
	case SUBJECT_FAULT:
	default:
		return NULL;
	}
}

/* The table's action, unless something is in its way or there is a better one. */
static enum fate fate_of(const struct planner *w, const struct finding *f, const char **left)
{
	const enum fate usual = problems[f->problem].action;

	if (!policy_applies(MODE_REPAIR, problems[f->problem].harm))
		return usual;
	*left = why_left(w, f);
	if (*left)
		return FATE_LEFT;
	if (f->subject == SUBJECT_BLOB && w->rescued[f->index])
		return FATE_REPAIR; /* its bytes are elsewhere */
	if (f->subject == SUBJECT_BACKEND && w->drop[f->index] && usual == FATE_REPAIR)
		return FATE_DROP; /* there is nothing to put it back from */
	return usual;
}

/* By kind, each in the order it was planned in: rebuilds in that of their chains. */
static void sort_actions(struct planner *w)
{
	struct plan *const p = w->p;
	struct action *const sorted = arena_array(w->keep, p->action_count + 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted) {
		w->no_memory = true;
		return;
	}
	for (int kind = 0; kind <= (int)ACTION_STATE_FILE; kind++)
		for (size_t i = 0; i < p->action_count; i++)
			if ((int)p->actions[i].kind == kind)
				sorted[n++] = p->actions[i];
	p->actions = sorted;
}

/* ---- which action answers a finding ---- */

struct answers {
	size_t *blob, *rescue, *ingest, *backend, *stray, *state_file; /* by index of the store's arrays; rescue: by blob */
	size_t meta, overlay, clean;
};

static size_t *none(struct planner *w, size_t count)
{
	size_t *const all = arena_array(w->keep, count + 1, sizeof(*all));

	if (!all)
		w->no_memory = true;
	for (size_t i = 0; all && i < count; i++)
		all[i] = STORE_NONE;
	return all;
}

static bool find_answers(struct planner *w, struct answers *a)
{
	const struct store *const st = w->st;

	*a = (struct answers){.blob = none(w, st->blob_count),
		.rescue = none(w, st->blob_count),
		.ingest = none(w, st->ingest_count),
		.backend = none(w, st->backend_count),
		.stray = none(w, st->stray_count),
		.state_file = none(w, st->state_file_count),
		.meta = STORE_NONE,
		.overlay = STORE_NONE,
		.clean = STORE_NONE};
	for (size_t i = 0; !w->no_memory && i < w->p->action_count; i++) {
		const struct action *const action = &w->p->actions[i];
		const size_t at = action->index;
		switch (action->kind) {
		case ACTION_REMOVE_BLOB:
			a->blob[at] = i;
			break;
		case ACTION_PLACE_BLOB:
			a->rescue[at] = i;
			const struct spare *const from = &st->spares[st->blob_files[at].spare];
			if (from->ingest != STORE_NONE && st->ingests[from->ingest].spare == st->blob_files[at].spare)
				a->ingest[from->ingest] = i;
			break;
		case ACTION_CUT_INGEST:
			a->ingest[at] = i;
			break;
		case ACTION_REMOVE_INGEST:
			if (a->ingest[at] == STORE_NONE) /* that of a finished one is emptied first */
				a->ingest[at] = i;
			break;
		case ACTION_REBUILD:
		case ACTION_REMOVE_SNAPSHOT:
			a->backend[at] = i;
			break;
		case ACTION_EDIT_META:
			a->meta = i;
			break;
		case ACTION_EDIT_OVERLAY:
			a->overlay = i;
			break;
		case ACTION_REMOVE_STRAY:
			a->stray[at] = i;
			break;
		case ACTION_STATE_FILE:
			a->state_file[at] = i;
			break;
		case ACTION_CLEAN_STAGING:
			a->stray[at] = i;
			break;
		case ACTION_FREE_BYTES:     /* what is done with them then answers */
		case ACTION_ASIDE_SNAPSHOT: /* its records answer */
		case ACTION_ASIDE_CRI:
		default:
			break;
		}
	}
	return !w->no_memory;
}

static size_t answer(const struct planner *w, const struct answers *a, const struct finding *f)
{
	if (f->fate != FATE_REPAIR && f->fate != FATE_REMOVE && f->fate != FATE_DROP)
		return STORE_NONE;
	switch (f->subject) {
	case SUBJECT_BLOB:
		if (f->problem == P_BLOB_UNRECORDED)
			return a->meta;
		return w->rescued[f->index] ? a->rescue[f->index] : a->blob[f->index];
	case SUBJECT_BACKEND:
		/* what is lost is answered when containerd knows it no more; of a leftover its directory is what counts */
		return f->fate == FATE_DROP			  ? a->meta != STORE_NONE ? a->meta : a->overlay
		       : a->backend[f->index] != STORE_NONE ? a->backend[f->index]
							      : a->overlay;
	case SUBJECT_INGEST:
		return a->ingest[f->index];
	case SUBJECT_STRAY:
		return a->stray[f->index];
	case SUBJECT_STATE_FILE:
		return a->state_file[f->index];
	case SUBJECT_CONTENT:
	case SUBJECT_SNAPSHOT:
	case SUBJECT_INGEST_RECORD:
	case SUBJECT_LEASE:
	case SUBJECT_IMAGE:
	case SUBJECT_CRI:
		return a->meta;
	case SUBJECT_NONE:
	case SUBJECT_FAULT:
	default:
		return STORE_NONE;
	}
}

enum action_outcome plan_outcome(const struct plan *p, const struct finding *f)
{
	return f->fate == FATE_LEFT	? OUTCOME_LEFT
	       : f->action == STORE_NONE ? OUTCOME_NOTHING
					 : p->actions[f->action].outcome;
}

void plan_conclude(struct plan *p, const struct store *st, const struct survey *s)
{
	p->nothing_wrong = true;
	p->something_left = false;
	for (size_t i = 0; i < p->finding_count; i++) {
		const struct finding *const f = &p->findings[i];
		p->nothing_wrong &= f->fate == FATE_NOTHING;
		p->something_left |= f->fate == FATE_UNCHECKED || f->fate == FATE_HALTED ||
				     (problems[f->problem].harm != HARM_STALE && plan_outcome(p, f) == OUTCOME_LEFT);
	}
	/* findings past the cap are not listed, their objects still count */
	for (size_t i = 0; i < p->action_count; i++)
		p->something_left |= p->actions[i].outcome == OUTCOME_LEFT && plan_depends_on(p->actions[i].kind);
	for (size_t i = 0; !s->halted && !s->interrupted && i < st->backend_count; i++)
		p->something_left |= (s->snapshots[i].verdict == SNAPSHOT_IS_LOST && !p->dropped[i]) ||
				     s->snapshots[i].verdict == SNAPSHOT_IS_UNREADABLE;
	for (unsigned i = 0; i < P_COUNT; i++)
		p->nothing_wrong &= problems[i].harm == HARM_NOTE || p->total[i] == 0;
}

/* ---- earlier rounds ---- */

static int compare_deeds(const void *a, const void *b)
{
	const struct deed *const x = a, *const y = b;

	return x->kind != y->kind     ? (x->kind > y->kind) - (x->kind < y->kind)
	       : x->index != y->index ? (x->index > y->index) - (x->index < y->index)
				      : (x->outcome > y->outcome) - (x->outcome < y->outcome);
}

/* What is done stays done: a plan that is made again holds the same actions for it. */
static void recall(struct planner *w)
{
	const struct deeds *const d = w->o->deeds;
	struct deed *const sorted = d && d->count ? arena_array(w->keep, d->count, sizeof(*sorted)) : NULL;

	if (!d || !d->count)
		return;
	if (!sorted) {
		w->no_memory = true;
		return;
	}
	memcpy(sorted, d->at, d->count * sizeof(*sorted));
	qsort(sorted, d->count, sizeof(*sorted), compare_deeds);
	for (size_t i = 0; i < w->p->action_count; i++) {
		struct action *const a = &w->p->actions[i];
		const struct deed key = {.kind = a->kind, .index = a->index};
		size_t low = 0, high = d->count;
		while (low < high) { /* the first that is not before it */
			const size_t middle = low + (high - low) / 2;
			if (compare_deeds(&sorted[middle], &key) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < d->count && sorted[low].kind == a->kind && sorted[low].index == a->index) {
			a->outcome = sorted[low].outcome;
			a->why = sorted[low].why;
			a->earlier = true;
		}
	}
}

/* Of what could not be done nothing is planned that needs it. */
static void learn(struct planner *w)
{
	for (size_t i = 0; w->o->deeds && i < w->o->deeds->count; i++) {
		const struct deed *const d = &w->o->deeds->at[i];
		if (d->outcome == OUTCOME_DONE || d->outcome == OUTCOME_NOTHING)
			continue;
		switch (d->kind) {
		case ACTION_REMOVE_BLOB:
			w->stuck_blob[d->index] = d->why;
			break;
		case ACTION_CUT_INGEST:
			w->stuck_ingest[d->index] = d->why;
			break;
		case ACTION_FREE_BYTES:
			if (w->s->spares[d->index].moved)
				w->stuck_bytes[w->s->spares[d->index].blob] = d->why;
			break;
		case ACTION_PLACE_BLOB: /* the bytes are here, and the next run may put them into place: their records stay */
			w->stuck_bytes[d->index] = d->why;
			break;
		case ACTION_REBUILD:
			w->stuck_rebuild[d->index] = d->why;
			break;
		case ACTION_ASIDE_SNAPSHOT:
			w->stuck_aside[d->index] = d->why;
			break;
		case ACTION_EDIT_META:
			w->stuck_records = d->why;
			break;
		case ACTION_ASIDE_CRI: /* containerd will delete it, or not: its start is worth more */
		case ACTION_EDIT_OVERLAY: /* what is left of these the next run finds: nothing depends on it */
		case ACTION_REMOVE_INGEST:
		case ACTION_REMOVE_SNAPSHOT:
		case ACTION_REMOVE_STRAY:
		case ACTION_STATE_FILE:
		case ACTION_CLEAN_STAGING:
		default:
			break;
		}
	}
}

static enum rc finish(struct planner *w, const struct finding *extra, size_t extra_count, struct err *e)
{
	struct plan *const p = w->p;
	const struct survey *const s = w->s;
	struct answers answers;
	size_t at = 0;

	p->findings = arena_array(w->keep, s->finding_count + extra_count + 1, sizeof(*p->findings));
	if (!p->findings || w->no_memory)
		return fail(e, RC_NOMEM, "no memory for the plan");
	/* those about images go where their codes belong; each kind is in order already */
	for (unsigned kind = 0; kind < 2; kind++) {
		const enum problem_id id = kind ? P_CHAIN_UNREFERENCED : P_IMAGE_INCOMPLETE;
		for (; at < s->finding_count && problems[s->findings[at].problem].code < problems[id].code; at++)
			p->findings[p->finding_count++] = s->findings[at];
		for (size_t i = 0, listed = 0; i < extra_count && listed < LIMIT_LISTED_PER_CODE; i++)
			if (extra[i].problem == id) {
				p->findings[p->finding_count++] = extra[i];
				listed++;
			}
	}
	for (; at < s->finding_count; at++)
		p->findings[p->finding_count++] = s->findings[at];
	if (p->meta.count)
		add_action(w, ACTION_EDIT_META, 0, false);
	if (p->overlay.count)
		add_action(w, ACTION_EDIT_OVERLAY, 0, false);
	sort_actions(w);
	recall(w);
	if (w->no_memory || !find_answers(w, &answers))
		return fail(e, RC_NOMEM, "no memory for the plan");
	for (size_t i = 0; i < p->finding_count; i++) {
		struct finding *const f = &p->findings[i];
		f->left = NULL;
		f->fate = s->halted ? FATE_HALTED : fate_of(w, f, &f->left);
		f->action = answer(w, &answers, f);
	}
	plan_conclude(p, w->st, s);
	return w->no_memory ? fail(e, RC_NOMEM, "no memory for the plan") : RC_OK;
}

enum rc plan_make(struct plan *p, const struct store *st, const struct survey *s, const struct plan_options *o,
	struct arena *keep, struct err *e)
{
	struct planner planner = {.p = p, .st = st, .s = s, .o = o, .keep = keep};
	struct planner *const w = &planner;
	size_t extra_count = 0;

	*p = (struct plan){0};
	memcpy(p->total, s->total, sizeof(p->total));
	struct finding *const extra = arena_array(keep, 2 * st->image_count + 1, sizeof(*extra));
	p->images = arena_array(keep, st->image_count + 1, sizeof(*p->images));
	w->drop = arena_array(keep, st->backend_count + 1, sizeof(bool));
	w->pinned = arena_array(keep, st->backend_count + 1, sizeof(bool));
	w->drop_snapshot = arena_array(keep, st->snapshot_count + 1, sizeof(bool));
	w->drop_content = arena_array(keep, st->content_count + 1, sizeof(bool));
	w->held_ingest = arena_array(keep, st->ingest_count + 1, sizeof(*w->held_ingest));
	w->held_stray = arena_array(keep, st->stray_count + 1, sizeof(*w->held_stray));
	w->held_blob = arena_array(keep, st->blob_count + 1, sizeof(*w->held_blob));
	w->stuck_bytes = arena_array(keep, st->blob_count + 1, sizeof(*w->stuck_bytes));
	w->rescued = arena_array(keep, st->blob_count + 1, sizeof(bool));
	w->evaluated = arena_array(keep, st->blob_count + 1, sizeof(*w->evaluated));
	w->evals = arena_array(keep, st->image_count + 1, sizeof(*w->evals));
	w->answered = arena_array(keep, st->blob_count + 1, sizeof(*w->answered));
	w->leased = arena_array(keep, st->namespace_count + 1, sizeof(bool));
	w->unproved = arena_array(keep, st->namespace_count + 1, sizeof(bool));
	w->uncompared = arena_array(keep, st->namespace_count + 1, sizeof(bool));
	w->left = arena_array(keep, st->backend_count + 1, sizeof(*w->left));
	w->left_snapshot = arena_array(keep, st->snapshot_count + 1, sizeof(*w->left_snapshot));
	w->stuck_blob = arena_array(keep, st->blob_count + 1, sizeof(*w->stuck_blob));
	w->stuck_ingest = arena_array(keep, st->ingest_count + 1, sizeof(*w->stuck_ingest));
	w->stuck_rebuild = arena_array(keep, st->backend_count + 1, sizeof(*w->stuck_rebuild));
	w->stuck_aside = arena_array(keep, st->backend_count + 1, sizeof(*w->stuck_aside));
	p->dropped = w->drop;
	if (!extra || !p->images || !w->drop || !w->pinned || !w->drop_snapshot || !w->drop_content || !w->held_ingest ||
		!w->held_stray || !w->held_blob || !w->stuck_bytes || !w->rescued || !w->evaluated || !w->evals ||
		!w->answered || !w->leased || !w->unproved || !w->uncompared || !w->left || !w->left_snapshot ||
		!w->stuck_blob || !w->stuck_ingest || !w->stuck_rebuild || !w->stuck_aside)
		return fail(e, RC_NOMEM, "no memory for the plan");
	learn(w);
	if (!s->halted && !s->interrupted) {
		ask_what_is_held(w);
		plan_leases(w);
		plan_ingests(w);
		plan_blobs(w);
		plan_records(w);
		if (s->cri)
			plan_cri(w);
		plan_drops(w);
		edit_drops(w);
		plan_rebuilds(w);
		plan_images(w, extra, &extra_count);
		record_found(w);
		plan_small(w);
	}
	return finish(w, extra, extra_count, e);
}
