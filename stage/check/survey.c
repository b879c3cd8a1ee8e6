/* SPDX-License-Identifier: MIT */
#include "check/survey.h"

#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

struct survey_run;

bool interrupted(const struct survey_run *r)
{
	return r->o->stop && *r->o->stop;
}

bool stopped(const struct survey_run *r)
{
	return interrupted(r) || r->abandoned;
}

bool out_of_time(const struct survey_run *r)
{
	return r->o->deadline_ns && os_clock_ns() >= r->o->deadline_ns;
}

#define TOO_LATE "the time allowed (--budget) was over"

const char too_late[] = TOO_LATE;

const char ended_here[] = "the last check ended here";

enum rc may_go_on(void *self, struct err *e)
{
	struct worker *const w = self;

	if (stopped(w->run))
		return fail(e, RC_STOPPED, "it was stopped");
	if (w->run->o->choice)
		w->run->o->choice->rest(w->run->o->choice->self);
	if (out_of_time(w->run))
		return fail(e, RC_STOPPED, TOO_LATE);
	if (w->most && atomic_fetch_add(&w->spent, PACE_WORK) > w->most)
		return fail(e, RC_STOPPED, TOO_LATE); /* nobody is told: it is put off */
	if (w->until_ns && os_clock_ns() >= w->until_ns)
		return fail(e, RC_STOPPED, "what is said to be its layer took too long");
	return RC_OK;
}

/* ---- findings ---- */

static bool copy_field(struct arena *a, struct span *field)
{
	if (field->left)
		*field = arena_copy(a, *field);
	return !field->bad;
}

void emit(struct survey_run *r, struct finding f)
{
	struct survey *const s = r->s;

	lock_take(&r->lock);
	s->total[f.problem]++;
	if (s->total[f.problem] <= LIMIT_LISTED_PER_CODE && r->failed == RC_OK) {
		if (s->finding_count == r->finding_cap) {
			const size_t cap = r->finding_cap ? r->finding_cap * 2 : 64;
			struct finding *const bigger = arena_array(&r->told, cap, sizeof(*bigger));
			if (bigger && s->finding_count)
				memcpy(bigger, s->findings, s->finding_count * sizeof(*bigger));
			if (bigger) {
				s->findings = bigger;
				r->finding_cap = cap;
			} else {
				r->failed = RC_NOMEM;
			}
		}
		if (r->failed == RC_OK && copy_field(&r->told, &f.path) && copy_field(&r->told, &f.ns) &&
			copy_field(&r->told, &f.name) && copy_field(&r->told, &f.digest) && copy_field(&r->told, &f.why))
			s->findings[s->finding_count++] = f;
		else
			r->failed = RC_NOMEM;
	}
	lock_give(&r->lock);
}

struct span ns_name(const struct store *st, size_t ns)
{
	return st->namespaces[ns].name;
}

struct span text_of(const char *s)
{
	return s ? span_of_string(s) : (struct span){0};
}

static int compare_findings(const void *a, const void *b)
{
	const struct finding *const x = a, *const y = b;
	int order;

	if (problems[x->problem].code != problems[y->problem].code)
		return problems[x->problem].code < problems[y->problem].code ? -1 : 1;
	if ((order = span_compare(x->ns, y->ns)) || (order = span_compare(x->name, y->name)) ||
		(order = span_compare(x->digest, y->digest)) || (order = span_compare(x->path, y->path)))
		return order;
	return (x->index > y->index) - (x->index < y->index);
}

/* ---- pass 1: databases ---- */

static void pass_databases(struct survey_run *r)
{
	static const enum problem_id of_fault[] = {[BOLT_SOUND] = P_DB_TREE,
		[BOLT_EMPTY_FILE] = P_DB_EMPTY,
		[BOLT_SHORT_FILE] = P_DB_SHORT,
		[BOLT_NO_META] = P_DB_NO_META,
		[BOLT_FOREIGN] = P_DB_FOREIGN,
		[BOLT_BAD_TREE] = P_DB_TREE,
		[BOLT_BAD_FREELIST] = P_DB_FREELIST,
		[BOLT_HAZARD] = P_DB_HAZARD};
	static const enum problem_id of_kind[] = {[STORE_DB_MISSING] = P_DB_MISSING,
		[STORE_DB_SCHEMA] = P_DB_SCHEMA,
		[STORE_DB_RECORD] = P_DB_RECORD,
		[STORE_DB_ROLLED_BACK] = P_DB_ROLLED_BACK,
		[STORE_DB_UNRELATED] = P_DB_UNRELATED,
		[STORE_DIR_UNUSABLE] = P_DIR_UNUSABLE};

	for (size_t i = 0; i < r->st->fault_count; i++) {
		const struct store_fault *const f = &r->st->faults[i];
		emit(r, (struct finding){
				.problem = f->kind == STORE_DB_FAULT ? of_fault[f->fault.kind] : of_kind[f->kind],
				.subject = SUBJECT_FAULT,
				.index = i,
				.path = text_of(f->path),
				.why = text_of(f->fault.text),
				.got = f->fault.page});
	}
	r->s->halted = r->st->fault_count > 0;
}

/* ---- the passes in order ---- */

static struct journal_stamp blob_stamp(const struct blob *b)
{
	return (struct journal_stamp){.inode = b->inode, .size = b->size, .ctime_ns = b->ctime_ns};
}

/* What was durable and right at an instant that is known, and has not been touched since, is so now. */
static void trust_blobs(struct survey_run *r)
{
	const struct store *const st = r->st;
	const struct survey_choice *const choice = r->o->choice;

	for (size_t i = 0; choice && i < st->blob_count; i++) {
		r->s->blobs[i].trusted = !choice->takes(choice->self, &st->blob_files[i], NULL);
		r->s->blobs[i].document = choice->documents && st->blob_files[i].size <= LIMIT_JSON_BYTES;
	}
	for (size_t i = 0; r->o->trust && i < st->blob_count; i++) {
		const struct blob *const b = &st->blob_files[i];
		const struct journal_stamp stamp = blob_stamp(b);
		if (!b->regular || b->unreadable)
			continue;
		const struct journal_blob *const known = journal_find_blob(r->o->trust, &b->digest, &stamp);
		r->s->blobs[i].trusted = known != NULL;
		r->s->blobs[i].document = known && known->document;
	}
}

/* What the last checks ended at is not looked at, whoever vouches for it. Of a blob that may be a document it is not known what it
 * leads to. */
static void pass_over_blobs(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; r->o->stuck && r->o->stuck->stuck_count && i < st->blob_count; i++) {
		struct blob_state *const state = &r->s->blobs[i];
		if (!journal_is_stuck(r->o->stuck, AT_BLOB, st->blob_files[i].text))
			continue;
		const bool layer = state->trusted && !state->document;
		state->trusted = false;
		state->passed_over = true;
		state->document = !layer && st->blob_files[i].size <= LIMIT_JSON_BYTES;
		r->some_unread |= state->document;
		blob_unreadable(r, i, 0, ended_here);
	}
}

static void pass_over_snapshots(struct survey_run *r)
{
	for (size_t i = 0; r->o->stuck && r->o->stuck->stuck_count && i < r->st->backend_count; i++) {
		const struct backend *const b = &r->st->backends[i];
		if (b->kind == SNAPSHOT_COMMITTED && b->snapshot != STORE_NONE &&
			journal_is_stuck_number(r->o->stuck, AT_SNAPSHOT, b->id))
			pass_over_snapshot(r, i, ended_here);
	}
}

static void trust_snapshots(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; r->o->trust && i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		const struct journal_stamp stamp = {.inode = b->dir_inode, .ctime_ns = b->dir_ctime_ns};
		if (b->kind != SNAPSHOT_COMMITTED || b->snapshot == STORE_NONE || !b->dir_is_directory || b->interrupted)
			continue;
		const struct journal_snapshot *const known = journal_find_snapshot(r->o->trust, b->id, b->key, &stamp);
		if (!known)
			continue;
		/* one that there was nothing to compare with is compared if there is something now */
		r->s->snapshots[i].trusted = true;
		r->s->snapshots[i].verdict = known->unverified ? SNAPSHOT_NOT_CHECKED : SNAPSHOT_IS_WHOLE;
	}
}

/* Documents are read even if they are trusted: they say what belongs together. */
static enum rc begin_documents(struct survey_run *r)
{
	size_t *const order = arena_array(r->keep, r->st->blob_count + 1, sizeof(*order));
	size_t count = 0;

	if (!order)
		return no_memory(r->e);
	for (size_t i = 0; i < r->st->blob_count; i++) {
		const struct blob *const b = &r->st->blob_files[i];
		struct blob_state *const state = &r->s->blobs[i];
		if (state->verdict == BLOB_NOT_CHECKED && b->regular && b->size <= LIMIT_JSON_BYTES &&
			(!state->trusted || state->document))
			order[count++] = i;
		else if (!state->trusted && state->verdict == BLOB_NOT_CHECKED)
			state->document = false;
		r->some_unread |= b->unreadable != 0; /* nor is its size known */
	}
	r->documents = true;
	return begin_pool(r, "reading manifests", hash_blobs, order, count);
}

static enum rc end_documents(struct survey_run *r)
{
	enum rc rc = end_pool(r);

	if (rc == RC_OK && r->crowded && !stopped(r))
		rc = choose_documents(r);
	r->documents = false;
	for (size_t i = 0; i < r->st->blob_count; i++)
		if (r->s->blobs[i].trusted && !r->s->blobs[i].document && r->s->blobs[i].verdict == BLOB_NOT_CHECKED)
			r->s->blobs[i].verdict = BLOB_IS_GOOD; /* a document that there was no time for is unchecked */
	if (rc == RC_OK && !r->o->choice)
		find_beyond_limits(r);
	return rc;
}

/* Nothing of what the pool has read is wanted. */
static void abandon(struct survey_run *r)
{
	r->abandoned = true;
	(void)end_pool(r); /* nor what it came to */
	r->abandoned = false;
}

static void give_up_snapshot(struct survey_run *r, size_t i)
{
	r->s->out_of_time = true;
	pass_over_snapshot(r, i, too_late);
}

/* What was not looked at for want of time is unchecked: nothing is concluded from it. */
static void give_up_rest(struct survey_run *r)
{
	r->s->out_of_time = true;
	for (size_t i = 0; i < r->st->blob_count; i++)
		if (r->s->blobs[i].verdict == BLOB_NOT_CHECKED)
			blob_unreadable(r, i, 0, too_late);
	for (size_t i = 0; i < r->st->backend_count; i++) {
		const struct backend *const b = &r->st->backends[i];
		if (r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED && !r->s->snapshots[i].trusted &&
			b->kind == SNAPSHOT_COMMITTED && b->snapshot != STORE_NONE)
			give_up_snapshot(r, i);
	}
}

static void pass_content(struct survey_run *r)
{
	for (size_t i = 0; i < r->st->blob_count; i++) {
		emit_blob(r, i);
		r->s->blobs_trusted += r->s->blobs[i].trusted;
		r->s->blobs_checked += survey_has_file(r->s, r->st, i) && !r->s->blobs[i].trusted &&
				       (r->s->blobs[i].verdict == BLOB_IS_GOOD || r->s->blobs[i].verdict == BLOB_IS_BAD);
	}
	emit_contents(r);
}

static enum rc pass_snapshots(struct survey_run *r)
{
	r->first = arena_array(r->keep, r->st->backend_count + 1, sizeof(*r->first));
	if (!r->first)
		return no_memory(r->e);
	for (size_t i = 0; i < r->st->backend_count; i++)
		r->first[i] = STORE_NONE;
	for (size_t i = r->candidate_count; i-- > 0;) {
		struct candidate *const c = &r->candidates[i];
		c->next = r->first[c->backend];
		r->first[c->backend] = i;
	}
	for (size_t i = 0; i < r->st->backend_count; i++) {
		const struct backend *const b = &r->st->backends[i];
		if (r->s->snapshots[i].trusted && r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED)
			r->s->snapshots[i].verdict = SNAPSHOT_IS_UNVERIFIED; /* still nothing */
		const enum snapshot_verdict v = r->s->snapshots[i].verdict;
		r->s->snapshots_trusted += r->s->snapshots[i].trusted;
		r->s->snapshots_checked += !r->s->snapshots[i].trusted && (v == SNAPSHOT_IS_WHOLE || v == SNAPSHOT_IS_TORN);
		if (v != SNAPSHOT_NOT_CHECKED || b->kind != SNAPSHOT_COMMITTED || b->snapshot == STORE_NONE)
			continue;
		if (out_of_time(r))
			give_up_snapshot(r, i);
		else
			judge_without_layer(r, i);
		if (r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED && !stopped(r))
			give_up_snapshot(r, i);
		r->what = "counting files";
		tell_progress(r);
	}
	return RC_OK;
}

enum rc survey_begin(struct survey *s, struct store *st, const struct survey_options *o, struct arena *keep, struct err *e)
{
	struct survey_run *const r = arena_get(keep, sizeof(*r));
	enum rc rc;

	*s = (struct survey){.run = r};
	if (!r)
		return no_memory(e);
	*r = (struct survey_run){.s = s,
		.st = st,
		.finder = st,
		.options = *o,
		.o = &r->options,
		.keep = keep,
		.e = e,
		.alone = {.run = r, .pace = {.ask = may_go_on, .self = &r->alone}}};
	if ((rc = arena_open(&r->told, e)))
		return rc;
	s->blobs = arena_array(keep, st->blob_count + 1, sizeof(*s->blobs));
	s->ingests = arena_array(keep, st->ingest_count + 1, sizeof(*s->ingests));
	s->spares = arena_array(keep, st->spare_count + 1, sizeof(*s->spares));
	r->spare_cap = st->spare_count + 1;
	r->vouched = o->first ? arena_array(keep, st->blob_count + 1, sizeof(*r->vouched)) : NULL;
	if (!s->blobs || !s->ingests || !s->spares || (o->first && !r->vouched))
		return no_memory(e);
	trust_blobs(r);
	pass_over_blobs(r);
	for (size_t i = 0; i < st->blob_count; i++) {
		const struct journal_stamp stamp = blob_stamp(&st->blob_files[i]);
		if (r->vouched)
			r->vouched[i] = journal_find_blob(o->first, &st->blob_files[i].digest, &stamp) != NULL;
		r->total_bytes += s->blobs[i].trusted || s->blobs[i].verdict != BLOB_NOT_CHECKED ? 0 : st->blob_files[i].size;
	}
	r->e = &r->unbegun;
	r->begun = begin_documents(r);
	return RC_OK;
}

/* With a database that cannot be worked with nothing else is looked at, and what was is not told. */
static void halt(struct survey_run *r)
{
	abandon(r);
	r->s->finding_count = 0;
	memset(r->s->total, 0, sizeof(r->s->total));
	r->some_unread = false;
	r->failed = RC_OK;
	r->bytes = 0;
	pass_databases(r);
}

/* What turns out to be wrong may have its bytes elsewhere, and then there is something to compare with that was not there before. */
static enum rc look_at_layers(struct survey_run *r, bool all)
{
	bool brought = true;
	enum rc rc = RC_OK;

	if (all && !stopped(r) && ((rc = find_unrecorded(r)) || (rc = find_bytes(r, &brought)) || (rc = find_unrecorded(r))))
		return rc;
	if (all)
		find_beyond_limits(r);
	if ((rc = find_candidates(r)) || !all || (rc = match_snapshots(r)))
		return rc;
	for (bool more = true; more && !stopped(r);) { /* each time one more of the spares, of which there are so many */
		if ((rc = pass_layers(r)) || out_of_time(r) || stopped(r) || (rc = find_bytes(r, &brought)) || (rc = find_unrecorded(r)))
			return rc;
		if (brought && ((rc = find_candidates(r)) || (rc = match_snapshots(r))))
			return rc;
		more = brought || (r->put_off && !r->last);
		r->last |= more && !brought;
	}
	r->last = false;
	return RC_OK;
}

/* A snapshot is compared when its layer is read. */
static enum rc choose_snapshots(struct survey_run *r)
{
	const struct survey_choice *const choice = r->o->choice;
	enum { UNSEEN, SEEN, TAKEN } *const seen = arena_array(r->keep, r->st->backend_count + 1, sizeof(*seen));

	if (!seen)
		return no_memory(r->e);
	for (size_t i = 0; i < r->candidate_count; i++) {
		const struct candidate *const c = &r->candidates[i];
		const struct backend *const b = &r->st->backends[c->backend];
		if (seen[c->backend] != TAKEN)
			seen[c->backend] = choice->takes(choice->self, &r->st->blob_files[c->blob], b) ? TAKEN : SEEN;
	}
	for (size_t i = 0; i < r->st->backend_count; i++)
		if (seen[i] == SEEN || (seen[i] == UNSEEN && !choice->takes(choice->self, NULL, &r->st->backends[i]))) {
			r->s->snapshots[i].trusted = true;
			r->s->snapshots[i].verdict = SNAPSHOT_IS_WHOLE;
		}
	return RC_OK;
}

static enum rc look_at_chosen(struct survey_run *r)
{
	enum rc rc;

	if ((rc = find_candidates(r)) || (rc = match_snapshots(r)) || (rc = choose_snapshots(r)) || (rc = pass_layers(r)) || stopped(r))
		return rc;
	pass_content(r);
	r->s->out_of_time = out_of_time(r);
	return r->s->out_of_time ? RC_OK : pass_snapshots(r);
}

static enum rc look(struct survey_run *r)
{
	struct survey *const s = r->s;
	const struct store *const st = r->st;
	const bool all = !r->o->documents_only;
	enum rc rc;

	if ((rc = end_documents(r)))
		return rc;
	s->snapshots = arena_array(r->keep, st->backend_count + 1, sizeof(*s->snapshots));
	if (!s->snapshots)
		return no_memory(r->e);
	for (size_t i = 0; i < st->backend_count; i++)
		s->snapshots[i].proof = STORE_NONE;
	if (r->o->choice)
		return look_at_chosen(r);
	trust_snapshots(r);
	pass_over_snapshots(r);
	if ((rc = look_at_layers(r, all)) || !all)
		return rc;
	/* what was read last may be in the same case, and be a document */
	find_beyond_limits(r);
	if ((rc = find_unrecorded(r)))
		return rc;
	if (out_of_time(r))
		give_up_rest(r);
	if ((rc = judge_spares(r)))
		return rc;
	if ((rc = pass_ingests(r)) || stopped(r))
		return rc;
	pass_content(r);
	if ((rc = pass_snapshots(r)))
		return rc;
	pass_references(r);
	return pass_cri(r);
}

enum rc survey_end(struct survey *s, struct err *e)
{
	struct survey_run *const r = s->run;
	enum rc rc = RC_OK;

	r->e = e;
	if (r->st->fault_count) {
		halt(r);
	} else if (r->begun) {
		*e = r->unbegun;
		return r->begun;
	} else {
		rc = look(r);
	}
	s->peak_bytes += arena_peak(&r->told);
	s->interrupted = interrupted(r);
	s->some_unread = r->some_unread;
	s->bytes_read = r->bytes;
	if (rc == RC_OK && r->failed)
		rc = fail(e, r->failed, "no memory for the findings");
	if (rc == RC_OK && s->finding_count)
		sort(s->findings, s->finding_count, sizeof(*s->findings), compare_findings);
	return rc;
}

void survey_close(struct survey *s)
{
	struct survey_run *const r = s->run;

	if (r) {
		abandon(r);
		arena_close(&r->told);
	}
	s->run = NULL;
	for (unsigned i = 0; i < s->kept_count; i++)
		arena_close(&s->kept[i]);
	s->kept_count = 0;
}
