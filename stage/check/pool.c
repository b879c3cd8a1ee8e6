/* SPDX-License-Identifier: MIT */
/* A few threads beside each other over a list of jobs, which end when the run has to. */
#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

/* ---- the pool ---- */

static void *work(void *self)
{
	struct worker *const w = self;
	struct survey_run *const r = w->run;

	for (;;) {
		const size_t i = r->next++;
		if (i >= r->job_count || stopped(r) || out_of_time(r))
			break;
		const struct arena mark = w->scratch;
		r->job(r, w, r->order ? r->order[i] : i);
		w->scratch = mark;
		if (mark.region)
			arena_trim(&w->scratch);
	}
	os_reader_leave();
	at_nothing(r->o->at, w->slot);
	r->idle++;
	lock_take(&r->lock);
	r->running--;
	lock_tell(&r->lock);
	lock_give(&r->lock);
	return NULL;
}

void tell_progress(struct survey_run *r)
{
	const struct progress p = {r->what, r->bytes, r->total_bytes};

	if (r->o->progress && !r->abandoned)
		r->o->progress(r->o->self, &p);
}

enum rc begin_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *, struct worker *, size_t),
	const size_t *order, size_t count)
{
	const unsigned limit = r->o->threads < 1 ? 1 : r->o->threads > LIMIT_THREADS ? LIMIT_THREADS : r->o->threads;
	unsigned wanted = r->last ? 1 : limit; /* what was put off has all there is */
	struct err why = {0}; /* of one more worker: those that there are do it all */
	enum rc rc = RC_OK;

	r->started = 0;
	if (count == 0 || stopped(r))
		return RC_OK;
	if (wanted > count)
		wanted = (unsigned)count;
	/* each may hold directories of all its targets open */
	const unsigned affordable = os_descriptor_limit() / (LAYER_TARGETS_MAX * 32);
	if (wanted > affordable)
		wanted = affordable ? affordable : 1;
	r->what = what;
	r->job = job;
	r->order = order;
	r->job_count = count;
	r->next = 0;
	r->workers = wanted;
	r->idle = (int)(limit - wanted);
	/* with two workers and what is known of the store it is LIMIT_KEEP_BYTES, but for a store that leaves too little */
	const size_t least = wanted * WORKER_BYTES, taken = arena_in_use(r->keep);
	const size_t room = LIMIT_KEEP_BYTES + (wanted > 2 ? wanted - 2 : 0) * WORKER_BYTES;
	r->memory.most = room > taken + least ? room - taken : least;
	for (unsigned i = 0; i < wanted; i++) {
		struct worker *const w = &r->pool[i];
		*w = (struct worker){.run = r, .slot = i + 1, .keep = &r->s->kept[i], .pace = {.ask = may_go_on, .self = w}};
		if (i >= r->s->kept_count && (rc = arena_open(w->keep, &why)))
			break;
		if (i >= r->s->kept_count)
			r->s->kept_count = i + 1;
		if ((rc = arena_open(&w->scratch, &why)))
			break;
		arena_join(&w->scratch, &r->memory);
		if (wanted <= FEW_WORKERS) /* of many each would hold much that it does not use */
			arena_prefer_large(&w->scratch);
		lock_take(&r->lock);
		r->running++;
		lock_give(&r->lock);
		if (!thread_begin(&w->thread, work, w)) {
			lock_take(&r->lock);
			r->running--;
			lock_give(&r->lock);
			arena_close(&w->scratch);
			rc = no_memory(&why);
			break;
		}
		r->started++;
	}
	if (!rc || r->started)
		return RC_OK;
	*r->e = why;
	return rc;
}

enum rc end_pool(struct survey_run *r)
{
	lock_take(&r->lock);
	while (r->running) {
		lock_wait(&r->lock, 200);
		lock_give(&r->lock);
		tell_progress(r);
		lock_take(&r->lock);
	}
	lock_give(&r->lock);
	for (unsigned i = 0; i < r->started; i++) {
		(void)pthread_join(r->pool[i].thread, NULL); /* it has ended */
		r->s->peak_bytes += arena_peak(&r->pool[i].scratch);
		arena_close(&r->pool[i].scratch);
	}
	r->started = 0;
	return r->failed;
}

enum rc run_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *, struct worker *, size_t),
	const size_t *order, size_t count)
{
	const enum rc rc = begin_pool(r, what, job, order, count);

	return rc ? rc : end_pool(r);
}
