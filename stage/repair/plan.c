/* SPDX-License-Identifier: MIT */
#include "repair/plan.h"

#include <string.h>

#include "memory/acks.h"
#include "policy/policy.h"
#include "repair/planner.h"

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
	for (size_t i = 0; !w->stuck_records && i < st->snapshot_count; i++)
		if (st->snapshots[i].unleased)
			lease_for_docker(w, &st->snapshots[i]);
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
		       : w->s->snapshots[i].why				     ? w->s->snapshots[i].why
		       : w->s->snapshots[i].verdict == SNAPSHOT_IS_UNREADABLE ? "its layer, or a part of it, could not be read"
									     : "nothing safe can be done about it";
	case SUBJECT_SNAPSHOT:
		if (f->problem == P_LEASE_GONE)
			return w->stuck_records;
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

bool plan_stays(const struct plan *p, const struct finding *f)
{
	return f->fate == FATE_UNCHECKED || (problems[f->problem].harm != HARM_STALE && plan_outcome(p, f) == OUTCOME_LEFT);
}

struct span finding_id(const struct finding *f)
{
	return f->name.left ? f->name : f->digest.left ? f->digest : f->path;
}

void plan_conclude(struct plan *p, const struct store *st, const struct survey *s)
{
	uint64_t open[P_COUNT], listed = 0, all = 0;

	p->nothing_wrong = true;
	p->something_left = false;
	p->acknowledged = 0;
	memcpy(open, p->total, sizeof(open));
	for (size_t i = 0; i < p->finding_count; i++) {
		struct finding *const f = &p->findings[i];
		f->acknowledged = plan_stays(p, f) && acks_have(p->acks, finding_id(f));
		listed += p->total[f->problem] > 0;
		p->acknowledged += f->acknowledged;
		if (f->acknowledged && f->action != STORE_NONE)
			p->actions[f->action].acknowledged = true;
		open[f->problem] -= f->acknowledged && open[f->problem];
		p->nothing_wrong &= f->acknowledged || f->fate == FATE_NOTHING;
		p->something_left |= !f->acknowledged && (plan_stays(p, f) || f->fate == FATE_HALTED);
	}
	for (unsigned i = 0; i < P_COUNT; i++) {
		p->nothing_wrong &= problems[i].harm == HARM_NOTE || open[i] == 0;
		all += p->total[i];
	}
	/* findings past the cap are not listed, their objects still count; and nobody has acknowledged what nobody saw */
	p->something_left |= p->acknowledged && listed != all;
	for (size_t i = 0; i < p->action_count; i++)
		p->something_left |= p->actions[i].outcome == OUTCOME_LEFT && plan_depends_on(p->actions[i].kind) &&
				     !p->actions[i].acknowledged;
	if (s->halted || s->interrupted || p->acknowledged)
		return;
	for (size_t i = 0; i < st->backend_count; i++)
		p->something_left |= (s->snapshots[i].verdict == SNAPSHOT_IS_LOST && !p->dropped[i]) ||
				     s->snapshots[i].verdict == SNAPSHOT_IS_UNREADABLE;
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
	sort(sorted, d->count, sizeof(*sorted), compare_deeds);
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
		return no_memory(e);
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
		return no_memory(e);
	for (size_t i = 0; i < p->finding_count; i++) {
		struct finding *const f = &p->findings[i];
		f->left = NULL;
		f->fate = s->halted ? FATE_HALTED : fate_of(w, f, &f->left);
		f->action = answer(w, &answers, f);
	}
	plan_conclude(p, w->st, s);
	return w->no_memory ? no_memory(e) : RC_OK;
}

/* For one more than n, so that none is no special case. NULL: no_memory is set. */
static void *room(struct planner *w, size_t n, size_t size)
{
	void *const at = arena_array(w->keep, n + 1, size);

	w->no_memory |= !at;
	return at;
}

enum rc plan_make(struct plan *p, const struct store *st, const struct survey *s, const struct plan_options *o,
	struct arena *keep, struct err *e)
{
	struct planner planner = {.p = p, .st = st, .s = s, .o = o, .keep = keep};
	struct planner *const w = &planner;
	size_t extra_count = 0;

	*p = (struct plan){.acks = o->acks};
	memcpy(p->total, s->total, sizeof(p->total));
	struct finding *const extra = room(w, 2 * st->image_count, sizeof(*extra));
	p->images = room(w, st->image_count, sizeof(*p->images));
	w->drop = room(w, st->backend_count, sizeof(bool));
	w->pinned = room(w, st->backend_count, sizeof(bool));
	w->drop_snapshot = room(w, st->snapshot_count, sizeof(bool));
	w->let_go = room(w, st->snapshot_count, sizeof(bool));
	w->drop_content = room(w, st->content_count, sizeof(bool));
	w->held_ingest = room(w, st->ingest_count, sizeof(*w->held_ingest));
	w->held_stray = room(w, st->stray_count, sizeof(*w->held_stray));
	w->held_blob = room(w, st->blob_count, sizeof(*w->held_blob));
	w->stuck_bytes = room(w, st->blob_count, sizeof(*w->stuck_bytes));
	w->rescued = room(w, st->blob_count, sizeof(bool));
	w->evaluated = room(w, st->blob_count, sizeof(*w->evaluated));
	w->evals = room(w, st->image_count, sizeof(*w->evals));
	w->answered = room(w, st->blob_count, sizeof(*w->answered));
	w->leased = room(w, st->namespace_count, sizeof(bool));
	w->unproved = room(w, st->namespace_count, sizeof(bool));
	w->uncompared = room(w, st->namespace_count, sizeof(bool));
	w->left = room(w, st->backend_count, sizeof(*w->left));
	w->left_snapshot = room(w, st->snapshot_count, sizeof(*w->left_snapshot));
	w->stuck_blob = room(w, st->blob_count, sizeof(*w->stuck_blob));
	w->stuck_ingest = room(w, st->ingest_count, sizeof(*w->stuck_ingest));
	w->stuck_rebuild = room(w, st->backend_count, sizeof(*w->stuck_rebuild));
	w->stuck_aside = room(w, st->backend_count, sizeof(*w->stuck_aside));
	p->dropped = w->drop;
	if (w->no_memory)
		return no_memory(e);
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
