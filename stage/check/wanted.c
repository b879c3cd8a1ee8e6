/* SPDX-License-Identifier: MIT */
/* Bytes that something local names and that have no good file of that name: looked for in every file there is. */
#include <stdlib.h>
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

/* ---- pass 3: bytes that are not under their own name ---- */

static bool is_missing(const struct survey_run *r, const struct digest *d)
{
	const size_t blob = store_find_blob(r->st, d);
	const enum blob_verdict v = blob == STORE_NONE ? BLOB_IS_BAD : r->s->blobs[blob].verdict;

	return v == BLOB_IS_BAD || v == BLOB_IS_UNREADABLE;
}

enum rc want(struct survey_run *r, const struct digest *d, size_t ns, bool needed)
{
	struct survey *const s = r->s;

	if (!is_missing(r, d))
		return RC_OK;
	struct want *const w = arena_push(r->keep, (void **)&s->wants, &s->want_count, sizeof(*w));
	if (!w)
		return no_memory(r->e);
	*w = (struct want){.digest = d, .ns = ns, .needed = needed};
	return RC_OK;
}

static enum rc want_text(struct survey_run *r, struct span text, size_t ns)
{
	struct digest d;

	if (digest_parse(text, &d) || !is_missing(r, &d))
		return RC_OK;
	struct digest *const kept = arena_get(r->keep, sizeof(*kept));
	if (!kept)
		return no_memory(r->e);
	*kept = d;
	return want(r, kept, ns, false);
}

static enum rc want_labels(struct survey_run *r, const struct labels *l, size_t ns)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < l->count; i++)
		if (span_starts(l->at[i].key, "containerd.io/gc.ref.content"))
			rc = want_text(r, l->at[i].value, ns);
	return rc;
}

/* Of what a manifest or index names, and nothing has a record of, not all was ever here: of an index the manifests of other platforms,
 * and layers that are unpacked, where containerd was told not to keep any. */
static bool needs_children(const struct survey_run *r, const struct oci_doc *doc, const struct labels *of, size_t ns)
{
	bool some = false;
	struct digest chain;
	char text[DIGEST_TEXT_BYTES];

	for (size_t i = 0; i < doc->child_count; i++)
		some |= doc->children[i].digest_known && !is_missing(r, &doc->children[i].digest);
	if (ns == STORE_NONE || doc->kind == OCI_INDEX)
		return ns != STORE_NONE && !some;
	const struct oci_doc *const config = doc->kind == OCI_MANIFEST ? config_of(r, doc) : NULL;
	/* containerd names the layers it keeps in labels of the manifest (1.7: images/handlers.go, ChildGCLabelsFilterLayers) */
	for (size_t i = 0; of && i < of->count; i++)
		if (span_starts(of->at[i].key, "containerd.io/gc.ref.content.l."))
			of = NULL;
	if (!config || (some && !of))
		return config;
	oci_top_chain(config, &chain);
	digest_format(&chain, text);
	return store_find_snapshot(r->st, ns, span_of_string(text)) == STORE_NONE;
}

/* of: the labels of its record; NULL: it has none. needed: by an image, or by a record. */
static enum rc want_document(struct survey_run *r, const struct oci_doc *doc, const struct labels *of, size_t ns, bool needed)
{
	if (!walks_on(r, doc->child_count)) {
		r->s->wants_unknown = true;
		return RC_OK;
	}
	const bool all = needed && r->o->source_count && needs_children(r, doc, of, ns);
	enum rc rc = doc->config.digest_known ? want(r, &doc->config.digest, ns, needed) : RC_OK;

	for (size_t i = 0; rc == RC_OK && i < doc->child_count; i++)
		if (doc->children[i].digest_known)
			rc = want(r, &doc->children[i].digest, ns, all && !doc->children[i].attestation);
	return rc;
}

static int compare_wants(const void *a, const void *b)
{
	const struct want *const x = a, *const y = b;
	const int order = digest_compare(x->digest, y->digest);

	return order ? order : (x->ns > y->ns) - (x->ns < y->ns);
}

/* Sorts them, each once. */
static void sort_wants(struct survey *s)
{
	size_t n = 0;

	if (s->want_count)
		sort(s->wants, s->want_count, sizeof(*s->wants), compare_wants);
	for (size_t i = 0; i < s->want_count; i++) {
		struct want *const last = n ? &s->wants[n - 1] : NULL;
		if (!last || compare_wants(last, &s->wants[i]))
			s->wants[n++] = s->wants[i];
		else {
			last->seen |= s->wants[i].seen;
			last->needed |= s->wants[i].needed;
		}
	}
	s->want_count = n;
}

/* What records, names and documents say that there is; sorted. */
static enum rc list_wants(struct survey_run *r)
{
	const struct store *const st = r->st;
	enum rc rc = RC_OK;

	r->s->want_count = 0;
	r->steps = 0;
	for (size_t i = 0; rc == RC_OK && i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		const struct oci_doc *const doc = c->blob == STORE_NONE ? NULL : r->s->blobs[c->blob].doc;
		if (c->digest_known)
			rc = want(r, &c->digest, c->ns, true);
		if (rc == RC_OK && doc)
			rc = want_document(r, doc, &c->labels, c->ns, true);
		if (rc == RC_OK)
			rc = want_labels(r, &c->labels, c->ns);
	}
	for (size_t i = 0; rc == RC_OK && i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		if (image->target_known)
			rc = want(r, &image->target, image->ns, true);
		if (rc == RC_OK)
			rc = want_labels(r, &image->labels, image->ns);
	}
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++)
		if (!st->blob_files[i].records && r->s->blobs[i].doc)
			rc = want_document(r, r->s->blobs[i].doc, NULL, survey_unrecorded_in(r->s, &st->blob_files[i].digest), true);
	for (size_t i = 0; rc == RC_OK && i < st->ingest_count; i++)
		if (st->ingests[i].expected)
			rc = want(r, st->ingests[i].expected, store_find_namespace(st, st->ingests[i].ns_name), false);
	for (size_t i = 0; rc == RC_OK && i < st->ingest_record_count; i++) {
		const struct ingest_record *const record = &st->ingest_records[i];
		struct digest d;
		rc = want_text(r, record->expected, record->ns);
		if (rc == RC_OK && store_digest_of_ref(record->client_ref, &d)) {
			char text[DIGEST_TEXT_BYTES];
			digest_format(&d, text);
			rc = want_text(r, span_of_string(text), record->ns);
		}
	}
	sort_wants(r->s);
	return rc;
}

/* ---- whole blobs that an image needs, and nothing has a record of ---- */

/* A walk of the images of one namespace after another. */
struct visits {
	size_t *seen; /* by blob: 1 + the namespace that was there last */
	size_t *todo; /* blobs */
	size_t count;
	size_t *found; /* by blob without a record: 1 + the namespace that needs it, several for more than one */
};

#define SEVERAL SIZE_MAX

static void visit(const struct survey_run *r, struct visits *v, size_t ns, const struct digest *d)
{
	const size_t blob = store_find_blob(r->st, d);

	if (blob == STORE_NONE || v->seen[blob] == ns + 1)
		return;
	v->seen[blob] = ns + 1;
	v->todo[v->count++] = blob;
}

/* What this namespace has a record of leads to what the record's labels name; what none has to what is written in it, for so containerd
 * would have labelled it. What another namespace has is not this one's to have. */
static void visit_children(struct survey_run *r, struct visits *v, size_t ns, size_t blob)
{
	const struct blob *const b = &r->st->blob_files[blob];
	const size_t c = store_find_content(r->st, ns, &b->digest);
	const struct oci_doc *const doc = r->s->blobs[blob].doc;
	struct digest d;

	for (size_t i = 0; c != STORE_NONE && i < r->st->contents[c].labels.count; i++) {
		const struct label *const l = &r->st->contents[c].labels.at[i];
		if (span_starts(l->key, "containerd.io/gc.ref.content") && digest_parse(l->value, &d) == RC_OK)
			visit(r, v, ns, &d);
	}
	if (b->records || r->s->blobs[blob].verdict != BLOB_IS_GOOD)
		return;
	v->found[blob] = v->found[blob] && v->found[blob] != ns + 1 ? SEVERAL : ns + 1;
	if (doc && doc->config.digest_known)
		visit(r, v, ns, &doc->config.digest);
	for (size_t i = 0; doc && i < doc->child_count && walks_on(r, 1); i++)
		if (doc->children[i].digest_known)
			visit(r, v, ns, &doc->children[i].digest);
}

enum rc find_unrecorded(struct survey_run *r)
{
	const struct store *const st = r->st;
	size_t orphans = 0;

	r->s->unrecorded_count = 0;
	for (size_t i = 0; i < st->blob_count; i++)
		orphans += !st->blob_files[i].records;
	if (!orphans)
		return RC_OK;
	struct visits v = {.seen = arena_array(r->keep, st->blob_count + 1, sizeof(*v.seen)),
		.todo = arena_array(r->keep, st->blob_count + 1, sizeof(*v.todo)),
		.found = arena_array(r->keep, st->blob_count + 1, sizeof(*v.found))};
	r->s->unrecorded = arena_array(r->keep, orphans + 1, sizeof(*r->s->unrecorded));
	if (!v.seen || !v.todo || !v.found || !r->s->unrecorded)
		return no_memory(r->e);
	r->steps = 0;
	for (size_t i = 0; i < st->image_count && !stopped(r) && walks_on(r, 0); i++) {
		if (!st->images[i].target_known)
			continue;
		visit(r, &v, st->images[i].ns, &st->images[i].target);
		while (v.count)
			visit_children(r, &v, st->images[i].ns, v.todo[--v.count]);
	}
	if (!walks_on(r, 0)) { /* other namespaces may need them as well */
		r->some_unread = true;
		return RC_OK;
	}
	for (size_t i = 0; i < st->blob_count; i++)
		if (v.found[i] && v.found[i] != SEVERAL)
			r->s->unrecorded[r->s->unrecorded_count++] =
				(struct want){.digest = &st->blob_files[i].digest, .ns = v.found[i] - 1};
	return RC_OK;
}

static int compare_want_digests(const void *a, const void *b)
{
	return digest_compare(((const struct want *)a)->digest, ((const struct want *)b)->digest);
}

size_t survey_unrecorded_in(const struct survey *s, const struct digest *d)
{
	const struct want key = {.digest = d};
	const struct want *const w =
		s->unrecorded_count ? bsearch(&key, s->unrecorded, s->unrecorded_count, sizeof(key), compare_want_digests) : NULL;

	return w ? w->ns : STORE_NONE;
}

/* The first want for it; want_count: none. */
static size_t first_want(const struct survey *s, const struct digest *d)
{
	size_t low = 0, high = s->want_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (digest_compare(s->wants[middle].digest, d) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->want_count && digest_equal(s->wants[low].digest, d) ? low : s->want_count;
}

static void spare_unreadable(struct spare_state *state, const struct err *e)
{
	state->verdict = SPARE_IS_UNREADABLE;
	state->error = e->sys_errno;
	state->why = e->sys_errno ? error_text(e->sys_errno) : e->rc == RC_NOMEM ? "no memory to read it" : "it is too large to be read";
}

/* What bytes that are not under their own name are told as. false: nothing. */
static bool name_of_spare(const struct survey_run *r, size_t index, struct at_name *out)
{
	const struct spare *const s = &r->st->spares[index];

	if (s->ingest != STORE_NONE)
		return at_make(out, AT_INGEST, r->st->ingests[s->ingest].name);
	return s->blob != STORE_NONE && at_make(out, AT_BLOB, r->st->blob_files[s->blob].text);
}

static void job_spare(struct survey_run *r, struct worker *w, size_t index)
{
	struct at_name name;
	struct spare_state *const state = &r->s->spares[index];
	auto_fd fd = -1;
	struct os_reader reader = {0};
	struct span piece = {0};
	struct err e = {0};
	struct hash h;
	uint8_t *const room = arena_get(&w->scratch, OS_READER_BYTES + 4096);
	enum rc rc = room ? RC_OK : no_memory(&e);
	bool first = true;

	at_put(r->o->at, w->slot, &name, name_of_spare(r, index, &name));
	if (rc == RC_OK && !(rc = store_open_spare(r->st, index, &fd, &e)))
		rc = os_reader_open(&reader, fd, room + (4096 - (uintptr_t)room % 4096), OS_READER_BYTES, &e);
	if (rc == RC_OK && reader.size > LIMIT_LAYER_BYTES)
		rc = RC_LIMIT;
	hash_begin(&h, r->kind);
	while (rc == RC_OK && !stopped(r) && !out_of_time(r) && (rc = os_reader_next(&reader, &piece, &e)) == RC_OK) {
		if (first)
			state->document = reader.size <= LIMIT_JSON_BYTES &&
					  store_may_be_document(span_of(piece.at, (size_t)min_u64(piece.left, STORE_HEAD_BYTES)));
		first = false;
		hash_add(&h, piece.at, piece.left);
		r->bytes += piece.left;
	}
	os_reader_settle(&reader);
	if (fd >= 0 && rc == RC_END) {
		hash_end(&h, &r->found[r->kind][index]);
		state->known |= 1u << r->kind;
		state->verdict = SPARE_IS_READ;
	} else if (rc) {
		if (state->known) /* by another kind of digest: it stays what it is */
			state->held = true;
		else
			spare_unreadable(state, &e);
	}
	if (rc == RC_NOMEM) {
		lock_take(&r->lock);
		r->s->out_of_memory = true;
		lock_give(&r->lock);
	}
}

/* Of several with the same bytes the one that says so itself is taken: it knows its namespace. */
static bool says_so(const struct survey_run *r, size_t spare)
{
	const size_t ingest = r->st->spares[spare].ingest;

	return ingest != STORE_NONE && r->st->ingests[ingest].spare == spare && r->st->ingests[ingest].expected &&
	       digest_equal(r->st->ingests[ingest].expected, &r->found[r->kind][spare]);
}

static int compare_spares(const void *a, const void *b, const void *context)
{
	const struct survey_run *const r = context;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const int order = digest_compare(&r->found[r->kind][x], &r->found[r->kind][y]);

	return order ? order : says_so(r, x) != says_so(r, y) ? says_so(r, y) - says_so(r, x) : (x > y) - (x < y);
}

enum rc hash_spares(struct survey_run *r, enum digest_kind kind)
{
	const size_t count = r->st->spare_count;
	size_t *const order = r->by_digest[kind] = arena_array(r->keep, count + 1, sizeof(*order));
	size_t n = 0;

	if (!order)
		return no_memory(r->e);
	for (size_t i = 0; i < count; i++) {
		struct at_name name;
		if (r->o->stuck && r->o->stuck->stuck_count && name_of_spare(r, i, &name) &&
			at_listed(r->o->stuck->stuck, r->o->stuck->stuck_count, &name)) {
			r->s->spares[i].verdict = SPARE_IS_UNREADABLE;
			r->s->spares[i].why = ended_here;
		}
	}
	for (size_t i = 0; i < count; i++)
		if (!(r->s->spares[i].known & 1u << kind) && r->s->spares[i].verdict != SPARE_IS_UNREADABLE) {
			order[n++] = i;
			r->total_bytes += r->st->spares[i].size;
		}
	r->kind = kind;
	const enum rc rc = run_pool(r, "reading downloads", job_spare, order, n);
	if (rc)
		return rc;
	n = 0;
	for (size_t i = 0; i < count; i++)
		if (r->s->spares[i].known & 1u << kind)
			order[n++] = i;
	sort_by(order, n, sizeof(*order), compare_spares, r);
	r->by_digest_count[kind] = n;
	return RC_OK;
}

size_t spare_of(const struct survey_run *r, const struct digest *d)
{
	const size_t *const order = r->by_digest[d->kind];
	size_t low = 0, high = r->by_digest_count[d->kind];
	const size_t count = high;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (digest_compare(&r->found[d->kind][order[middle]], d) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < count && digest_equal(&r->found[d->kind][order[low]], d); low++)
		if (r->s->spares[order[low]].verdict == SPARE_IS_READ)
			return order[low];
	return STORE_NONE;
}

/* A document among them, so that what it names is looked for as well. RC_IO: it could not be read; RC_LIMIT: it is too much for us. */
static enum rc read_document(struct survey_run *r, size_t spare, const struct digest *d, struct oci_doc **out)
{
	struct arena scratch;
	auto_fd fd = -1;
	struct span bytes = {0};
	struct err why = {0};
	enum rc rc;

	struct at_name name;
	if (arena_open(&scratch, &why))
		return no_memory(r->e);
	at_put(r->o->at, 0, &name, name_of_spare(r, spare, &name));
	if (!(rc = store_open_spare(r->st, spare, &fd, &why)) && !(rc = read_again(fd, d, &scratch, &bytes, &why)))
		rc = parse_document(r, bytes, r->keep, out);
	at_nothing(r->o->at, 0);
	arena_close(&scratch);
	r->s->wants_unknown |= rc == RC_IO || rc == RC_LIMIT || rc == RC_END;
	if (rc == RC_IO || rc == RC_END) {
		r->s->spares[spare].error = why.sys_errno;
		r->s->spares[spare].why = why.sys_errno ? error_text(why.sys_errno) : differs_now;
	}
	return rc == RC_NOMEM ? no_memory(r->e) : rc == RC_LIMIT ? RC_LIMIT : rc == RC_IO || rc == RC_END ? RC_IO : RC_OK;
}

struct found_blob {
	struct blob blob; /* digest, size and spare */
	struct oci_doc *doc;
	bool document, beyond_limits;
};

/* One that is wanted: takes the bytes, if they are found. */
static enum rc take(struct survey_run *r, const struct want *w, struct found_blob **found, size_t *count)
{
	const size_t blob = store_find_blob(r->st, w->digest);
	const size_t spare = spare_of(r, w->digest);
	struct spare_state *const state = spare == STORE_NONE ? NULL : &r->s->spares[spare];
	enum rc rc;

	if (!state)
		return RC_OK;
	if (blob != STORE_NONE && r->s->blobs[blob].verdict == BLOB_IS_UNREADABLE) {
		state->held = true; /* perhaps the only good copy; but what could not be read is no damage */
		return RC_OK;
	}
	if (!state->moved) {
		struct found_blob one = {.blob = {.digest = *w->digest, .size = r->st->spares[spare].size, .spare = spare},
			.document = state->document,
			.doc = r->st->spares[spare].from ? state->doc : NULL};
		rc = state->too_much ? RC_LIMIT
		     : state->document && !r->st->spares[spare].from ? read_document(r, spare, w->digest, &one.doc)
								      : RC_OK;
		one.beyond_limits = rc == RC_LIMIT;
		if (rc == RC_IO) { /* it could be a moment ago; the next run knows more */
			state->verdict = SPARE_IS_UNREADABLE;
			return RC_OK;
		}
		if (rc && rc != RC_LIMIT)
			return rc;
		struct found_blob *const fresh = arena_push(r->keep, (void **)found, count, sizeof(*fresh));
		if (!fresh)
			return no_memory(r->e);
		*fresh = one;
		state->moved = true;
		state->search = r->search;
		state->blob = *count - 1; /* until it is one */
		r->found_beyond_limits |= one.beyond_limits;
	}
	if (state->search != r->search) { /* it has a name by now, of another kind of digest, or reads differently */
		state->held |= blob != STORE_NONE && r->st->blob_files[blob].spare == spare;
		return RC_OK;
	}
	if (!digest_equal(&(*found)[state->blob].blob.digest, w->digest))
		return RC_OK; /* the same bytes by another kind of digest: there is one file of them to move, and it has its name */
	struct want *const named = arena_push(r->keep, (void **)&r->s->brought, &r->s->brought_count, sizeof(*named));
	if (!named)
		return no_memory(r->e);
	*named = *w;
	const struct oci_doc *const doc = (*found)[state->blob].doc;
	const size_t c = w->ns == STORE_NONE ? STORE_NONE : store_find_content(r->st, w->ns, w->digest);
	return doc ? want_document(r, doc, c == STORE_NONE ? NULL : &r->st->contents[c].labels, w->ns, w->needed) : RC_OK;
}

/* The store has these now. */
static enum rc add_found(struct survey_run *r, const struct found_blob *found, size_t count)
{
	struct survey *const s = r->s;
	struct blob *const fresh = arena_array(r->keep, count + 1, sizeof(*fresh));
	const size_t before = r->st->blob_count;
	size_t n = 0;

	if (!fresh)
		return no_memory(r->e);
	for (size_t i = 0; i < count; i++)
		if (store_find_blob(r->st, &found[i].blob.digest) == STORE_NONE)
			fresh[n++] = found[i].blob;
	struct blob_state *const states = arena_array(r->keep, before + n + 1, sizeof(*states));
	bool *const vouched = r->vouched ? arena_array(r->keep, before + n + 1, sizeof(*vouched)) : NULL;
	const size_t *const now = states && (vouched || !r->vouched) ? store_add_blobs(r->finder, fresh, n) : NULL;
	if (!now)
		return no_memory(r->e);
	for (size_t i = 0; i < before; i++) {
		states[now[i]] = s->blobs[i];
		if (vouched)
			vouched[now[i]] = r->vouched[i];
	}
	s->blobs = states;
	r->vouched = vouched;
	for (size_t i = 0; i < r->st->backend_count; i++)
		if (s->snapshots[i].proof != STORE_NONE)
			s->snapshots[i].proof = now[s->snapshots[i].proof];
	for (size_t i = 0; i < count; i++) {
		const size_t blob = store_find_blob(r->st, &found[i].blob.digest);
		struct blob *const b = &r->finder->blob_files[blob];
		struct blob_state *const state = &s->blobs[blob];
		if (state->verdict == BLOB_IS_BAD) {
			state->file_is_bad = true;
			state->file_size = b->size;
		}
		b->size = found[i].blob.size;
		b->spare = found[i].blob.spare;
		state->verdict = BLOB_IS_GOOD;
		state->doc = found[i].doc;
		state->document = found[i].document;
		state->beyond_limits = found[i].beyond_limits;
		state->trusted = state->content_known = false;
	}
	return RC_OK;
}

static bool is_wrong_file(const struct survey_run *r, size_t blob)
{
	const struct blob *const b = &r->st->blob_files[blob];

	return r->s->blobs[blob].verdict == BLOB_IS_BAD && b->regular && b->spare == STORE_NONE && !b->spares.count;
}

enum rc room_for_spares(struct survey_run *r, size_t more)
{
	struct survey *const s = r->s;

	if (r->st->spare_count + more <= r->spare_cap)
		return RC_OK;
	const size_t cap = r->st->spare_count + more + r->st->spare_count / 8;
	for (int k = 0; k < DIGEST_KINDS; k++) {
		if (!r->found[k])
			continue;
		r->found[k] = arena_more(r->keep, r->found[k], r->spare_cap, cap, sizeof(struct digest));
		if (!r->found[k])
			return no_memory(r->e);
	}
	struct spare_state *const states = arena_more(r->keep, s->spares, r->spare_cap, cap, sizeof(*states));
	if (!states)
		return no_memory(r->e);
	s->spares = states;
	r->spare_cap = cap;
	return RC_OK;
}

/* A blob whose name lies may hold the bytes of another. */
static enum rc add_bad_blobs(struct survey_run *r)
{
	struct survey *const s = r->s;
	size_t more = 0;

	for (size_t i = 0; i < r->st->blob_count; i++)
		more += is_wrong_file(r, i);
	const enum rc rc = more ? room_for_spares(r, more) : RC_OK;
	if (rc)
		return rc;
	for (size_t i = 0; more && i < r->st->blob_count; i++) {
		if (!is_wrong_file(r, i))
			continue;
		const size_t spare = r->st->spare_count;
		if (!store_add_spare(r->finder, i))
			return no_memory(r->e);
		s->spares[spare] = (struct spare_state){0};
	}
	return RC_OK;
}

/* What was hashed under its own name need not be hashed again. */
static void take_known(struct survey_run *r, enum digest_kind kind)
{
	for (size_t i = 0; i < r->st->blob_count; i++) {
		const struct blob *const b = &r->st->blob_files[i];
		const struct blob_state *const state = &r->s->blobs[i];
		if (!b->regular || !b->spares.count || !state->found_known || state->found.kind != kind ||
			r->s->spares[b->spares.first].known & 1u << kind)
			continue;
		r->found[kind][b->spares.first] = state->found;
		r->s->spares[b->spares.first].known |= 1u << kind;
		r->s->spares[b->spares.first].verdict = SPARE_IS_READ;
		r->s->spares[b->spares.first].document = state->document && b->size <= LIMIT_JSON_BYTES;
	}
}

static enum rc hash_wanted(struct survey_run *r, bool hashed[DIGEST_KINDS])
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < r->s->want_count && !stopped(r); i++) {
		const enum digest_kind kind = r->s->wants[i].digest->kind;
		if (hashed[kind])
			continue;
		hashed[kind] = true;
		if (!r->found[kind] && !(r->found[kind] = arena_array(r->keep, r->spare_cap, sizeof(struct digest))))
			return no_memory(r->e);
		take_known(r, kind);
		rc = hash_spares(r, kind);
	}
	return rc;
}

enum rc find_bytes(struct survey_run *r, bool *brought)
{
	bool hashed[DIGEST_KINDS] = {false};
	struct found_blob *found = NULL;
	size_t found_count = 0, before = 0;
	enum rc rc;

	*brought = false;
	if ((rc = add_bad_blobs(r)) || !(r->st->spare_count || r->o->source_count))
		return rc;
	r->search++;
	r->s->wants_unknown = r->found_beyond_limits || r->crowded;
	if ((rc = list_wants(r)))
		return rc;
	for (unsigned round = 0; r->s->want_count != before && !stopped(r); round++) {
		const size_t count = r->s->want_count;
		if (round == LIMIT_FOUND_ROUNDS) {
			r->s->wants_unknown = true;
			break;
		}
		before = count;
		if ((rc = hash_wanted(r, hashed)) || (rc = ask_sources(r)))
			return rc;
		for (size_t i = 0; rc == RC_OK && i < count; i++) {
			const struct want w = r->s->wants[i]; /* it may move meanwhile */
			r->s->wants[i].seen = true;
			rc = w.seen ? RC_OK : take(r, &w, &found, &found_count);
		}
		if (rc)
			return rc;
		sort_wants(r->s);
	}
	*brought = found_count > 0;
	return stopped(r) || !found_count ? RC_OK : add_found(r, found, found_count);
}

static int compare_sizes(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

bool survey_may_be_in_file(const struct survey *s, const struct digest *d, uint64_t size)
{
	return (s->unread_count && bsearch(d, s->unread, s->unread_count, sizeof(*d), digest_order)) ||
	       (s->unread_size_count &&
		       (!size || bsearch(&size, s->unread_sizes, s->unread_size_count, sizeof(size), compare_sizes)));
}

bool survey_may_be_found(const struct survey *s, const struct digest *d, uint64_t size)
{
	return s->bytes_unseen || survey_may_be_in_file(s, d, size);
}

bool survey_has_file(const struct survey *s, const struct store *st, size_t blob)
{
	return st->blob_files[blob].spare == STORE_NONE || s->blobs[blob].file_is_bad;
}

bool survey_file_is_bad(const struct survey *s, const struct store *st, size_t blob)
{
	return s->blobs[blob].verdict == BLOB_IS_BAD ? survey_has_file(s, st, blob) : s->blobs[blob].file_is_bad;
}

/* Which download it is the data of, if that says what it is for; else STORE_NONE. */
static size_t speaking_ingest(const struct survey_run *r, size_t spare)
{
	const size_t ingest = r->st->spares[spare].ingest;

	return ingest != STORE_NONE && r->st->ingests[ingest].spare == spare && r->st->ingests[ingest].expected ? ingest
														     : STORE_NONE;
}

/* What was not read, though something is missing that may be in it. */
static void judge_unread(struct survey_run *r, size_t spare)
{
	struct survey *const s = r->s;
	struct spare_state *const state = &s->spares[spare];
	const size_t ingest = speaking_ingest(r, spare);

	state->held |= s->wants_unknown || s->out_of_time;
	if (ingest != STORE_NONE) {
		if (first_want(s, r->st->ingests[ingest].expected) == s->want_count)
			return;
		s->unread[s->unread_count++] = *r->st->ingests[ingest].expected;
	} else if (s->want_count) {
		s->unread_sizes[s->unread_size_count++] = r->st->spares[spare].size;
	} else {
		return;
	}
	state->held = true;
}

/* And not only what a manifest names that was never fetched. */
static bool lacks_what_was_here(const struct survey_run *r)
{
	const struct store *const st = r->st;
	bool lacks = false;

	for (size_t i = 0; !lacks && i < r->s->want_count; i++) {
		const struct want *const w = &r->s->wants[i];
		lacks = lacks_bytes(r, w) && (store_find_blob(st, w->digest) != STORE_NONE ||
						     (w->ns != STORE_NONE && store_find_content(st, w->ns, w->digest) != STORE_NONE));
	}
	for (size_t i = 0; !lacks && i < st->image_count; i++)
		lacks = st->images[i].target_known && store_find_blob(st, &st->images[i].target) == STORE_NONE;
	return lacks;
}

enum rc judge_spares(struct survey_run *r)
{
	struct survey *const s = r->s;
	size_t speaking = 0;

	enum rc rc = RC_OK;

	r->ask_again |= r->o->source_count && s->out_of_time; /* what was found to be wrong since was not asked for */
	if (r->ask_again && (rc = list_wants(r)))
		return rc;
	for (size_t i = 0; i < r->st->spare_count; i++)
		speaking += speaking_ingest(r, i) != STORE_NONE;
	s->unread = arena_array(r->keep, speaking + s->want_count + 1, sizeof(*s->unread));
	s->unread_sizes = arena_array(r->keep, r->st->spare_count + 1, sizeof(*s->unread_sizes));
	if (!s->unread || !s->unread_sizes)
		return no_memory(r->e);
	for (size_t i = 0; r->ask_again && i < s->want_count; i++)
		if (lacks_bytes(r, &s->wants[i])) /* a source may have it */
			s->unread[s->unread_count++] = *s->wants[i].digest;
	s->wants_unknown |= r->some_unread || r->crowded;
	for (size_t i = 0; i < r->st->spare_count; i++) { /* it may be a document, and name others */
		const size_t ingest = speaking_ingest(r, i);
		const bool wanted = ingest == STORE_NONE || first_want(s, r->st->ingests[ingest].expected) < s->want_count;
		s->wants_unknown |=
			wanted && s->spares[i].verdict == SPARE_IS_UNREADABLE && r->st->spares[i].size <= LIMIT_JSON_BYTES;
	}
	if (s->brought_count)
		sort(s->brought, s->brought_count, sizeof(*s->brought), compare_wants);
	for (size_t i = 0; i < r->st->spare_count; i++) {
		struct spare_state *const state = &s->spares[i];
		state->blob = STORE_NONE;
		for (int k = 0; k < DIGEST_KINDS; k++) {
			const size_t blob = state->known & 1u << k ? store_find_blob(r->st, &r->found[k][i]) : STORE_NONE;
			if (blob == STORE_NONE)
				continue;
			if (state->blob == STORE_NONE || r->st->blob_files[blob].spare == i)
				state->blob = blob;
			if (!state->moved || r->st->blob_files[blob].spare == i)
				state->held |= state->verdict == SPARE_IS_READ && s->blobs[blob].verdict != BLOB_IS_GOOD;
		}
		if (state->verdict != SPARE_IS_READ)
			judge_unread(r, i);
		state->held |= s->wants_unknown && !state->moved;
	}
	if (r->ask_again && r->left_place && lacks_what_was_here(r))
		emit(r, (struct finding){.problem = P_BYTES_UNCHECKED,
				.path = text_of(r->left_place),
				.why = text_of(r->left_why)});
	s->bytes_unseen = r->st->unseen_path != NULL;
	if (s->bytes_unseen)
		emit(r, (struct finding){.problem = P_BYTES_UNCHECKED,
				.path = text_of(r->st->unseen_path),
				.why = text_of(error_text(r->st->unseen_errno))});
	if (s->unread_count)
		sort(s->unread, s->unread_count, sizeof(*s->unread), digest_order);
	if (s->unread_size_count)
		sort(s->unread_sizes, s->unread_size_count, sizeof(*s->unread_sizes), compare_sizes);
	return RC_OK;
}
