/* SPDX-License-Identifier: MIT */
/* What is to be done with snapshots and the records of containers. */
#include "policy/policy.h"
#include "repair/planner.h"

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

const char *why_cri_stays(const struct planner *w, size_t i)
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

void plan_cri(struct planner *w)
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

void plan_drops(struct planner *w)
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

void edit_drops(struct planner *w)
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

void plan_rebuilds(struct planner *w)
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
