/* SPDX-License-Identifier: MIT */
/* Which blob is whose layer: said by manifests, by labels, or found out by chain IDs. Proves nothing: whoever compares does. */
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

/* ---- from manifests to candidates ---- */

static const struct oci_doc *good_doc(const struct survey_run *r, const struct oci_descriptor *d, enum oci_kind kind)
{
	const size_t blob = d->digest_known ? store_find_blob(r->st, &d->digest) : STORE_NONE;
	const struct oci_doc *const doc = blob == STORE_NONE ? NULL : r->s->blobs[blob].doc;

	return doc && doc->kind == kind ? doc : NULL;
}

static enum rc add_candidate(struct survey_run *r, struct candidate c)
{
	/* found neighbours: the same manifest in the same namespace */
	for (size_t i = r->candidate_count > 64 ? r->candidate_count - 64 : 0; i < r->candidate_count; i++)
		if (r->candidates[i].backend == c.backend && r->candidates[i].blob == c.blob)
			return RC_OK;
	if (r->candidate_count == r->candidate_cap) {
		const size_t more = r->candidate_cap ? r->candidate_cap * 2 : 64;
		struct candidate *const bigger = arena_array(r->keep, more, sizeof(*bigger));
		if (!bigger)
			return no_memory(r->e);
		if (r->candidate_count)
			memcpy(bigger, r->candidates, r->candidate_count * sizeof(*bigger));
		r->candidates = bigger;
		r->candidate_cap = more;
	}
	r->candidates[r->candidate_count++] = c;
	return RC_OK;
}

/* Whether containerd, which hashed it when it unpacked the blob, noted this diff ID with the blob's record, or another one
 * (containerd 2.3.4: core/unpack/unpacker.go). */
static void read_label(const struct store *st, size_t ns, const struct digest *blob, struct candidate *c)
{
	const size_t content = store_find_content(st, ns, blob);
	const struct span *const label =
		content == STORE_NONE ? NULL : labels_get(&st->contents[content].labels, "containerd.io/uncompressed");
	struct digest d;

	if (!label || digest_parse(*label, &d))
		return;
	c->labelled = digest_equal(&d, &c->diff_id);
	c->claimed = !c->labelled;
}

/* The config of a manifest whose layers it names one by one; NULL: none is here, or it is no image. */
const struct oci_doc *config_of(const struct survey_run *r, const struct oci_doc *manifest)
{
	const struct oci_doc *const config =
		manifest->config.type == OCI_TYPE_CONFIG ? good_doc(r, &manifest->config, OCI_CONFIG) : NULL;
	size_t layers = 0;

	for (size_t i = 0; config && i < manifest->child_count; i++)
		layers += oci_is_layer(&manifest->children[i]);
	return layers && config->unpackable && layers == config->diff_id_count ? config : NULL;
}

bool walks_on(struct survey_run *r, size_t descriptors)
{
	r->steps += descriptors;
	return r->steps <= LIMIT_IMAGE_STEPS;
}

/* The chain of one manifest in one namespace: which committed snapshots its layers prove (image-spec: config.md). */
static enum rc walk_manifest(struct survey_run *r, size_t ns, const struct oci_doc *manifest)
{
	const struct store *const st = r->st;
	struct digest chain;
	char text[DIGEST_TEXT_BYTES], previous_text[DIGEST_TEXT_BYTES] = "";
	size_t layer = 0;

	if (!st->namespaces[ns].snapshots.count)
		return RC_OK;
	if (!walks_on(r, manifest->child_count)) {
		r->some_unread = true;
		return RC_OK;
	}
	const struct oci_doc *const config = config_of(r, manifest);
	if (!config)
		return RC_OK;
	for (size_t i = 0; i < manifest->child_count; i++) {
		const struct oci_descriptor *const d = &manifest->children[i];
		if (!oci_is_layer(d))
			continue;
		oci_chain_id(layer ? &chain : NULL, &config->diff_ids[layer], &chain);
		digest_format(&chain, text);
		const size_t snapshot = store_find_snapshot(st, ns, span_of_string(text));
		const size_t backend = snapshot == STORE_NONE ? STORE_NONE : st->snapshots[snapshot].backend;
		const size_t blob = d->digest_known ? store_find_blob(st, &d->digest) : STORE_NONE;
		if (backend != STORE_NONE && blob != STORE_NONE && d->type != OCI_TYPE_ENCRYPTED_LAYER &&
			st->backends[backend].kind == SNAPSHOT_COMMITTED &&
			span_is(st->snapshots[snapshot].parent, previous_text) &&
			(layer == 0) == (st->backends[backend].parent.left == 0)) {
			struct candidate c = {.backend = backend,
				.blob = blob,
				.diff_id = config->diff_ids[layer],
				.mode = layer ? LAYER_DIRECT : LAYER_BASE};
			read_label(st, ns, &d->digest, &c);
			const enum rc rc = add_candidate(r, c);
			if (rc)
				return rc;
		}
		memcpy(previous_text, text, sizeof(text));
		layer++;
	}
	return RC_OK;
}

/* A manifest, index or config that is past a limit: what it leads to is not known, and nothing is concluded from that. */
static void tell_beyond_limits(struct survey_run *r, const struct digest *d)
{
	const size_t blob = store_find_blob(r->st, d);
	struct blob_state *const state = blob == STORE_NONE ? NULL : &r->s->blobs[blob];

	if (!state || state->doc || state->verdict == BLOB_IS_BAD || state->verdict == BLOB_IS_UNREADABLE ||
		(!state->beyond_limits && r->st->blob_files[blob].size <= LIMIT_JSON_BYTES))
		return;
	r->some_unread = true;
	blob_unreadable(r, blob, 0, "as a manifest or config it is too big to check");
}

void find_beyond_limits(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; i < st->image_count; i++)
		if (st->images[i].target_known)
			tell_beyond_limits(r, &st->images[i].target);
	for (size_t i = 0; i < st->blob_count; i++) {
		const struct oci_doc *const doc = r->s->blobs[i].doc;
		if (doc && doc->kind == OCI_MANIFEST && doc->config.digest_known && doc->config.type == OCI_TYPE_CONFIG)
			tell_beyond_limits(r, &doc->config.digest);
		for (size_t k = 0; doc && doc->kind == OCI_INDEX && k < doc->child_count; k++) {
			const struct oci_descriptor *const d = &doc->children[k];
			if (d->digest_known && (d->type == OCI_TYPE_INDEX || d->type == OCI_TYPE_MANIFEST))
				tell_beyond_limits(r, &d->digest);
		}
	}
}

/* Manifests that are not recorded yet. */
static enum rc walk_found(struct survey_run *r, const struct want *found, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const size_t blob = store_find_blob(r->st, found[i].digest);
		const struct oci_doc *const doc = blob == STORE_NONE ? NULL : r->s->blobs[blob].doc;
		if (!doc || doc->kind != OCI_MANIFEST || found[i].ns == STORE_NONE)
			continue;
		const enum rc rc = walk_manifest(r, found[i].ns, doc);
		if (rc)
			return rc;
	}
	return RC_OK;
}

/* An entry of buildkit's cache: its lease holds one snapshot, whose name says nothing, and the blobs that were made of it, each of
 * the same diff ID; buildkit noted that when it made them (buildkit 0.21: cache/refs.go, cache/blobs.go; moby 28.5 has it within). */
static enum rc walk_lease(struct survey_run *r, const struct lease *l)
{
	const struct store *const st = r->st;
	const size_t snapshot = l->flat && l->snapshots.count == 1 ? store_find_snapshot(st, l->ns, l->snapshots.at[0]) : STORE_NONE;
	const size_t backend = snapshot == STORE_NONE ? STORE_NONE : st->snapshots[snapshot].backend;
	struct digest d;
	struct candidate found[LIMIT_PROOFS];
	size_t count = 0;
	enum rc rc = RC_OK;

	if (backend == STORE_NONE || st->backends[backend].kind != SNAPSHOT_COMMITTED ||
		digest_parse(st->backends[backend].user_key, &d) == RC_OK)
		return RC_OK;
	if (r->cached[backend] == PAIRED)
		return RC_OK;
	r->cached[backend] = CACHED;
	if (l->contents.count > LIMIT_PROOFS) /* far more than there are ways to compress */
		return RC_OK;
	for (size_t i = 0; i < l->contents.count; i++) {
		const size_t content = digest_parse(l->contents.at[i], &d) == RC_OK ? store_find_content(st, l->ns, &d) : STORE_NONE;
		const struct span *const label =
			content == STORE_NONE ? NULL : labels_get(&st->contents[content].labels, "containerd.io/uncompressed");
		struct candidate c = {.backend = backend,
			.mode = st->backends[backend].parent.left ? LAYER_DIRECT : LAYER_BASE,
			.labelled = true,
			.leased = true};
		if (!label || digest_parse(*label, &c.diff_id) || (c.blob = st->contents[content].blob) == STORE_NONE)
			continue;
		if (count && !digest_equal(&c.diff_id, &found[0].diff_id))
			return RC_OK; /* it is not of one layer */
		found[count++] = c;
	}
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		r->cached[backend] = PAIRED;
		rc = add_candidate(r, found[i]);
	}
	return rc;
}

enum rc find_candidates(struct survey_run *r)
{
	r->candidate_count = 0;
	r->steps = 0;
	if (!r->cached && !(r->cached = arena_array(r->keep, r->st->backend_count + 1, sizeof(*r->cached))))
		return no_memory(r->e);
	memset(r->cached, 0, r->st->backend_count);
	for (size_t i = 0; i < r->st->lease_count; i++) {
		const enum rc rc = walk_lease(r, &r->st->leases[i]);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < r->st->content_count; i++) {
		const struct content *const c = &r->st->contents[i];
		const struct oci_doc *const doc = c->blob == STORE_NONE ? NULL : r->s->blobs[c->blob].doc;
		if (!doc || doc->kind != OCI_MANIFEST)
			continue;
		const enum rc rc = walk_manifest(r, c->ns, doc);
		if (rc)
			return rc;
	}
	const enum rc rc = walk_found(r, r->s->brought, r->s->brought_count);
	return rc ? rc : walk_found(r, r->s->unrecorded, r->s->unrecorded_count);
}

/* ---- pass 5: rounds over the candidates ---- */

/* Largest first, so that no worker is left alone with a giant at the end; but before them what nobody has vouched for, which
 * is where a run that ran out of time stopped; and what is mostly holes after all others. */
static int compare_jobs(const void *a, const void *b, const void *context)
{
	const struct survey_run *const r = context;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const bool left_sparse = r->st->blob_files[x].sparse, right_sparse = r->st->blob_files[y].sparse;
	const uint64_t left = r->st->blob_files[x].size, right = r->st->blob_files[y].size;
	const int by_name = (x > y) - (x < y);
	if (r->o->choice)
		return by_name;
	const bool left_known = r->vouched && r->vouched[x], right_known = r->vouched && r->vouched[y];

	if (left_sparse != right_sparse)
		return left_sparse - right_sparse;
	if (left_known != right_known)
		return left_known - right_known;
	return left != right ? (left < right) - (left > right) : by_name;
}

void sort_jobs(const struct survey_run *r, size_t *order, size_t count)
{
	sort_by(order, count, sizeof(*order), compare_jobs, r);
}

/* ---- candidates without a manifest ---- */

static bool too_late_to_match(const void *self)
{
	const struct survey_run *const r = self;

	return stopped(r) || out_of_time(r);
}

static bool may_be_layer(const struct survey_run *r, size_t blob)
{
	const struct blob *const b = &r->st->blob_files[blob];

	return (b->regular || b->spare != STORE_NONE) && !r->s->blobs[blob].document && r->s->blobs[blob].verdict != BLOB_IS_BAD;
}

/* What a config names, whether or not a manifest leads to it. */
static void walk_config(struct survey_run *r, size_t ns, const struct oci_doc *config)
{
	const size_t count = config->unpackable && r->st->namespaces[ns].snapshots.count ? config->diff_id_count : 0;
	struct digest chain;

	if (!walks_on(r, count)) {
		r->some_unread = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		oci_chain_id(i ? &chain : NULL, &config->diff_ids[i], &chain);
		match_name(&r->match, ns, &chain, &config->diff_ids[i]);
	}
}

static enum rc walk_pairs(struct survey_run *r, const struct oci_doc *manifest)
{
	const struct oci_doc *const config = config_of(r, manifest);
	enum rc rc = RC_OK;

	for (size_t i = 0, layer = 0; config && rc == RC_OK && i < manifest->child_count; i++) {
		const struct oci_descriptor *const d = &manifest->children[i];
		const size_t blob = d->digest_known ? store_find_blob(r->st, &d->digest) : STORE_NONE;
		if (!oci_is_layer(d))
			continue;
		if (blob != STORE_NONE && !r->match.learnt[blob] && d->type != OCI_TYPE_ENCRYPTED_LAYER)
			rc = match_add(&r->match, blob, &config->diff_ids[layer], false, r->e);
		layer++;
	}
	return rc;
}

/* All diff IDs that are known without reading a layer: as containerd noted them when it unpacked one (or any client did: whoever
 * compares finds out), as manifests and configs pair them, and as a layer is called that is a plain archive. */
static enum rc gather_diff_ids(struct survey_run *r)
{
	const struct store *const st = r->st;
	enum rc rc = match_open(&r->match, st, r->keep, r->e);

	for (size_t i = 0; rc == RC_OK && i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		const struct span *const label = labels_get(&c->labels, "containerd.io/uncompressed");
		struct digest d;
		if (label && c->blob != STORE_NONE && !r->match.learnt[c->blob] && digest_parse(*label, &d) == RC_OK)
			rc = match_add(&r->match, c->blob, &d, false, r->e);
	}
	r->steps = 0;
	for (size_t i = 0; i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		const struct oci_doc *const doc = c->blob == STORE_NONE ? NULL : r->s->blobs[c->blob].doc;
		if (doc && doc->kind == OCI_CONFIG)
			walk_config(r, c->ns, doc);
	}
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++) {
		const struct oci_doc *const doc = st->blob_files[i].records ? r->s->blobs[i].doc : NULL;
		if (doc && doc->kind == OCI_MANIFEST)
			rc = walk_pairs(r, doc);
	}
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++)
		if (may_be_layer(r, i) && !r->match.learnt[i])
			rc = match_add(&r->match, i, &st->blob_files[i].digest, true, r->e);
	return rc;
}

/* One candidate for each blob that is said to be the layer of an open snapshot, behind those of manifests. */
static enum rc match_open_ones(struct survey_run *r, const bool *open)
{
	const struct store *const st = r->st;
	enum rc rc;

	match_sort(&r->match);
	if ((rc = match_resolve(&r->match, open, too_late_to_match, r, r->e)))
		return rc;
	for (size_t i = 0; i < st->backend_count; i++) {
		size_t blobs[LIMIT_PROOFS];
		const size_t count = open[i] ? match_proofs(&r->match, i, blobs) : 0;
		struct digest diff_id = {0};
		if (count)
			(void)match_diff_id(&r->match, i, &diff_id); /* whatever has proofs has one */
		for (size_t k = 0; k < count; k++) {
			struct candidate c = {.backend = i,
				.blob = blobs[k],
				.diff_id = diff_id,
				.mode = st->backends[i].parent.left ? LAYER_DIRECT : LAYER_BASE};
			read_label(st, st->snapshots[st->backends[i].snapshot].ns, &st->blob_files[blobs[k]].digest, &c);
			if (may_be_layer(r, blobs[k]) && (rc = add_candidate(r, c)))
				return rc;
		}
	}
	return RC_OK;
}

/* Decompresses a blob to learn its diff ID. */
static void job_learn(struct survey_run *r, struct worker *w, size_t index)
{
	const struct feed_options options = {.hash_content = true, .pace = &w->pace, .bytes = &r->bytes, .idle = &r->idle};
	struct blob_state *const state = &r->s->blobs[index];
	struct feed_result result = {0};
	struct feed *feed = NULL;
	struct err e = {0};

	at_one(r->o->at, w->slot, AT_BLOB, r->st->blob_files[index].text);
	allow_work(w, 32 * (WORK_BYTE * r->st->blob_files[index].size + WORK_REST)); /* there is no second try */
	enum rc rc = open_feed(r->st, index, &options, &w->scratch, &feed, &e);
	if (rc == RC_OK)
		rc = feed_finish(feed, true, &result, &e);
	feed_close(feed);
	w->most = 0;
	if (stopped(r) || rc == RC_STOPPED || arena_is_full(&w->scratch))
		return;
	end_blob(r, index, rc, &result.blob, &e);
	if (state->verdict != BLOB_IS_GOOD)
		return;
	state->content = result.content;
	state->content_known = result.content_known;
	if (result.too_much)
		r->some_unlearnt = true;
}

/* Blobs that nothing says anything of, where a snapshot is left that one of them could be the layer of. What the journal vouches for
 * on both sides was tried before. */
static size_t choose_unknown(struct survey_run *r, const bool *open, bool *has, size_t *order)
{
	const struct store *const st = r->st;
	bool any = false, any_fresh = false;
	size_t count = 0;

	for (size_t i = 0; i < r->candidate_count; i++)
		has[r->candidates[i].backend] = true;
	for (size_t i = 0; i < st->backend_count; i++) {
		struct digest d;
		if (!open[i] || has[i] || digest_parse(st->backends[i].user_key, &d))
			continue;
		any = true;
		any_fresh |= !r->s->snapshots[i].trusted;
	}
	for (size_t i = 0; any && i < st->blob_count; i++) {
		const struct blob_state *const state = &r->s->blobs[i];
		if (may_be_layer(r, i) && !r->match.learnt[i] && !st->blob_files[i].unreadable && (any_fresh || !state->trusted) &&
			state->verdict != BLOB_IS_UNREADABLE)
			order[count++] = i;
		else if (state->verdict == BLOB_IS_UNREADABLE && !r->match.learnt[i])
			r->some_unlearnt = true;
	}
	return count;
}

enum rc match_snapshots(struct survey_run *r)
{
	const struct store *const st = r->st;
	bool *const open = arena_array(r->keep, st->backend_count + 1, sizeof(*open));
	size_t *const order = arena_array(r->keep, st->blob_count + 1, sizeof(*order));
	bool *const has = arena_array(r->keep, st->backend_count + 1, sizeof(*has));
	bool any = false;
	enum rc rc = RC_OK;

	if (!open || !has || !order)
		return no_memory(r->e);
	for (size_t i = 0; i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		open[i] = b->kind == SNAPSHOT_COMMITTED && b->snapshot != STORE_NONE &&
			  r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED;
		any |= open[i];
	}
	if (!any)
		return RC_OK;
	if ((rc = gather_diff_ids(r)) || (rc = match_open_ones(r, open)))
		return rc;
	const size_t count = r->o->choice ? 0 : choose_unknown(r, open, has, order);
	if (!count)
		return RC_OK;
	sort_jobs(r, order, count);
	if ((rc = run_pool(r, "reading layers that no manifest names", job_learn, order, count)))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const struct blob_state *const state = &r->s->blobs[order[i]];
		if (state->content_known)
			rc = match_add(&r->match, order[i], &state->content, false, r->e);
		else if (state->verdict != BLOB_IS_GOOD && state->verdict != BLOB_IS_BAD)
			r->some_unlearnt = true;
	}
	return rc ? rc : match_open_ones(r, open);
}

enum rank rank_of(const struct candidate *c)
{
	return c->labelled ? RANK_LABELLED : c->claimed ? RANK_CLAIMED : RANK_NAMED;
}
