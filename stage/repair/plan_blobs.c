/* SPDX-License-Identifier: MIT */
/* What is to be done with blobs, downloads and their records. */
#include <stdlib.h>

#include "policy/policy.h"
#include "repair/planner.h"

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

void ask_what_is_held(struct planner *w)
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

/* The namespace that gets a record of a blob which is brought into place: that of its download; or, where nothing tells, the only one
 * that wants it, if no other has it. More would give a namespace what it has not fetched (containerd's content_sharing_policy). */
static size_t recording_namespace(const struct planner *w, const struct want *first, size_t count)
{
	const struct store *const st = w->st;
	const struct blob *const b = &st->blob_files[store_find_blob(st, first->digest)];
	const size_t spare = b->spare, ingest = st->spares[spare].ingest;
	const struct ingest *const in = ingest == STORE_NONE ? NULL : &st->ingests[ingest];
	size_t ns = STORE_NONE;

	if (in && in->spare == spare && in->expected && digest_equal(in->expected, first->digest))
		return store_find_namespace(st, in->ns_name);
	if (b->records)
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
	if (w->stuck_records && !w->st->blob_files[blob].records)
		return false;
	return w->st->blob_files[blob].spare != STORE_NONE && w->s->blobs[blob].verdict == BLOB_IS_GOOD && !w->stuck_bytes[blob];
}

static void add_record(struct planner *w, const struct digest *d, size_t ns)
{
	if (ns != STORE_NONE && !w->stuck_records && store_find_content(w->st, ns, d) == STORE_NONE)
		w->added[w->added_count++] = (struct want){.digest = d, .ns = ns};
}

void plan_records(struct planner *w)
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
		sort(w->added, certain, sizeof(*w->added), compare_added);
	for (size_t i = 0; i < s->unrecorded_count; i++) {
		const struct want *const u = &s->unrecorded[i];
		const size_t blob = store_find_blob(st, u->digest);
		if (certain && bsearch(u, w->added, certain, sizeof(*u), compare_added_digests))
			continue; /* its download knows better whose it is */
		if (st->blob_files[blob].spare == STORE_NONE || comes_into_place(w, blob))
			add_record(w, u->digest, u->ns);
	}
	if (w->added_count)
		sort(w->added, w->added_count, sizeof(*w->added), compare_added);
	for (size_t i = 0; i < w->added_count; i++)
		if (!n || compare_added(&w->added[n - 1], &w->added[i]))
			w->added[n++] = w->added[i];
	w->added_count = n;
}

bool gets_record(const struct planner *w, size_t ns, const struct digest *d)
{
	const struct want key = {.digest = d, .ns = ns};

	return w->added_count && bsearch(&key, w->added, w->added_count, sizeof(key), compare_added);
}

void plan_ingests(struct planner *w)
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
		if ((place == SPARE_IN_STAGING || place == SPARE_IN_ASIDE) && w->s->spares[i].moved)
			add_action(w, ACTION_FREE_BYTES, i, false);
		else if (place == SPARE_IN_STAGING && why_held(w, it))
			add_action(w, ACTION_FREE_BYTES, i, true);
	}
}

bool is_gone(const struct planner *w, size_t blob)
{
	return w->s->blobs[blob].verdict == BLOB_IS_BAD;
}

bool may_come(const struct planner *w, size_t blob)
{
	const struct blob *const b = &w->st->blob_files[blob];

	return is_gone(w, blob) && survey_may_be_in_file(w->s, &b->digest, b->recorded);
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

void plan_blobs(struct planner *w)
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
	struct digest chain;

	if (!doc)
		return;
	if (doc->kind == OCI_CONFIG) {
		oci_top_chain(doc, &chain);
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

void record_found(struct planner *w)
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
