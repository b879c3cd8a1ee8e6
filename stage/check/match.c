/* SPDX-License-Identifier: MIT */
#include "check/match.h"

#include <string.h>

#include "format/oci.h"

/* A snapshot that no config names. */
struct nameless {
	struct digest parent, key; /* chain IDs */
	size_t backend;
};

enum rc match_open(struct match *m, const struct store *st, struct arena *a, struct err *e)
{
	*m = (struct match){.st = st, .a = a};
	m->learnt = arena_array(a, st->blob_count + 1, sizeof(*m->learnt));
	m->chains = arena_array(a, st->backend_count + 1, sizeof(*m->chains));
	return m->learnt && m->chains ? RC_OK : no_memory(e);
}

enum rc match_add(struct match *m, size_t blob, const struct digest *diff_id, bool by_name, struct err *e)
{
	if (diff_id->kind != DIGEST_SHA256)
		return RC_OK; /* containerd hashes layers with it, whatever a config says */
	struct match_layer *const fresh = arena_push(m->a, (void **)&m->layers, &m->layer_count, sizeof(*fresh));
	if (!fresh)
		return no_memory(e);
	*fresh = (struct match_layer){*diff_id, blob};
	m->learnt[blob] |= !by_name;
	return RC_OK;
}

static void find(struct match *m, size_t backend, const struct digest *diff_id)
{
	struct match_chain *const c = &m->chains[backend];

	if (diff_id->kind != DIGEST_SHA256)
		return; /* no layer is known by it: see match_add */
	c->found = true;
	memcpy(c->diff_id, diff_id->bytes, sizeof(c->diff_id));
}

void match_name(struct match *m, size_t ns, const struct digest *chain, const struct digest *diff_id)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(chain, text);
	const size_t snapshot = store_find_snapshot(m->st, ns, span_of_string(text));
	const size_t backend = snapshot == STORE_NONE ? STORE_NONE : m->st->snapshots[snapshot].backend;
	if (backend != STORE_NONE)
		find(m, backend, diff_id);
}

static int compare_layers(const void *a, const void *b)
{
	const struct match_layer *const x = a, *const y = b;
	const int order = digest_compare(&x->diff_id, &y->diff_id);

	return order ? order : (x->blob > y->blob) - (x->blob < y->blob);
}

void match_sort(struct match *m)
{
	size_t kept = 0;

	if (m->layer_count)
		sort(m->layers, m->layer_count, sizeof(*m->layers), compare_layers);
	for (size_t i = 0; i < m->layer_count; i++)
		if (!kept || compare_layers(&m->layers[kept - 1], &m->layers[i]) != 0)
			m->layers[kept++] = m->layers[i];
	m->layer_count = kept;
}

/* The first layer of this diff ID, or where it would be. */
static size_t first_layer(const struct match *m, const struct digest *diff_id)
{
	size_t low = 0, high = m->layer_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (digest_compare(&m->layers[middle].diff_id, diff_id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_layer(const struct match *m, size_t i, const struct digest *diff_id)
{
	return i < m->layer_count && digest_equal(&m->layers[i].diff_id, diff_id);
}

/* What stands for the layers below a snapshot in its name: the next that is named so, as what docker commits stands on a snapshot of a
 * container. The two databases must agree on whether there are any. */
static bool chain_below(const struct match *m, size_t backend, struct digest *chain)
{
	const struct backend *const b = &m->st->backends[backend];
	const struct snapshot *s = &m->st->snapshots[b->snapshot];

	for (uint32_t i = 0; b->parent.left && s->parent.left; i++) {
		if (digest_parse(s->parent, chain) == RC_OK)
			return chain->kind == DIGEST_SHA256;
		const size_t next = store_find_snapshot(m->st, s->ns, s->parent);
		if (next == STORE_NONE)
			break;
		if (i == LIMIT_BETWEEN) {
			m->chains[backend].deep = true;
			break;
		}
		s = &m->st->snapshots[next];
	}
	return false;
}

static int compare_nameless(const void *a, const void *b)
{
	const struct nameless *const x = a, *const y = b;
	int order = digest_compare(&x->parent, &y->parent);

	if (order || (order = digest_compare(&x->key, &y->key)))
		return order;
	return (x->backend > y->backend) - (x->backend < y->backend);
}

/* Snapshots on one parent, sorted by their names: which of them this layer on it would be called as. Returns how many. */
static size_t try_layer(struct match *m, const struct nameless *group, size_t count, const struct digest *diff_id)
{
	struct digest chain;
	size_t low = 0, high = count, found = 0;

	oci_chain_id(&group->parent, diff_id, &chain);
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (digest_compare(&group[middle].key, &chain) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < count && digest_equal(&group[low].key, &chain); low++, found++)
		find(m, group[low].backend, diff_id);
	return found;
}

static void try_group(struct match *m, const struct nameless *group, size_t count, bool (*over)(const void *self), const void *self)
{
	size_t left = count;

	for (size_t i = 0; i < m->layer_count && left; i++) {
		const struct digest *const diff_id = &m->layers[i].diff_id;
		if (i && digest_equal(diff_id, &m->layers[i - 1].diff_id))
			continue;
		m->cut = ++m->pairs > LIMIT_CHAIN_PAIRS || (m->pairs % 1024 == 0 && over(self));
		if (m->cut)
			return;
		left -= try_layer(m, group, count, diff_id);
	}
}

enum rc match_resolve(struct match *m, const bool *open, bool (*over)(const void *self), const void *self, struct err *e)
{
	const struct store *const st = m->st;
	struct arena scratch = *m->a; /* the list is of no use afterwards */
	struct nameless *list = NULL;
	size_t count = 0;

	for (size_t i = 0; i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		struct nameless one = {.backend = i};
		if (!open[i] || m->chains[i].found || b->snapshot == STORE_NONE || digest_parse(b->user_key, &one.key) ||
			one.key.kind != DIGEST_SHA256)
			continue;
		if (!b->parent.left && !st->snapshots[b->snapshot].parent.left) {
			if (is_layer(m, first_layer(m, &one.key), &one.key))
				find(m, i, &one.key);
			continue;
		}
		if (!chain_below(m, i, &one.parent))
			continue;
		struct nameless *const fresh = arena_push(&scratch, (void **)&list, &count, sizeof(*fresh));
		if (!fresh)
			return no_memory(e);
		*fresh = one;
	}
	if (count)
		sort(list, count, sizeof(*list), compare_nameless);
	for (size_t i = 0, n = 0; i < count && !m->cut; i += n) {
		for (n = 1; i + n < count && digest_equal(&list[i].parent, &list[i + n].parent);)
			n++;
		try_group(m, &list[i], n, over, self);
	}
	return RC_OK;
}

bool match_diff_id(const struct match *m, size_t backend, struct digest *diff_id)
{
	const struct match_chain *const c = &m->chains[backend];

	if (!c->found)
		return false;
	*diff_id = (struct digest){.kind = DIGEST_SHA256};
	memcpy(diff_id->bytes, c->diff_id, sizeof(c->diff_id));
	return true;
}

size_t match_proofs(const struct match *m, size_t backend, size_t blobs[LIMIT_PROOFS])
{
	struct digest diff_id;
	size_t n = 0;

	if (!match_diff_id(m, backend, &diff_id))
		return 0;
	for (size_t i = first_layer(m, &diff_id); n < LIMIT_PROOFS && is_layer(m, i, &diff_id); i++)
		blobs[n++] = m->layers[i].blob;
	return n;
}
