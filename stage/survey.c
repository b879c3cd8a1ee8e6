/* SPDX-License-Identifier: MIT */
#include "survey.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "at.h"
#include "feed.h"
#include "match.h"
#include "oci.h"
#include "os.h"
#include "policy.h"

/* One blob that can prove one snapshot. */
struct candidate {
	size_t backend, blob;
	struct digest diff_id;
	enum layer_mode mode;
	bool labelled; /* see read_label */
	bool claimed;  /* containerd has noted another diff ID with the blob: somebody's claim, tried after all others */
	bool chosen; /* for this round */
	bool contested; /* in this round: another may be tried for the same snapshot, or it is nothing but a claim */
	bool tried, pairing_failed, unknown; /* unknown: a limit, no memory, or the disk: nothing was learnt */
	const char *why; /* after a try that could not judge */
	size_t next; /* in a list of candidates; STORE_NONE: the last */
};

struct survey_run;

struct worker {
	struct survey_run *run;
	unsigned slot;               /* of what it is at */
	struct arena scratch, *keep; /* keep: what outlives the survey, of this worker only */
	struct pace pace;
	uint64_t until_ns; /* what it does may take so long, and no longer; 0: as long as all may */
	pthread_t thread;
};

struct survey_run {
	struct survey *s;
	const struct store *st;
	struct store *finder;    /* the same, for find_bytes alone */
	struct survey_options options;
	const struct survey_options *o; /* these */
	struct arena *keep;      /* of the calling thread: while documents are read, store_read fills it */
	struct err *e;
	enum rc begun;           /* why documents could not be looked for; with a database that cannot be worked with, of no interest */
	struct err unbegun;
	pthread_mutex_t lock;
	pthread_cond_t finished; /* a worker ended */
	struct arena told;       /* the findings; under lock while the pool runs */
	size_t listed[P_COUNT], finding_cap;
	struct candidate *candidates;
	size_t candidate_count, candidate_cap;
	struct match match;
	atomic_bool some_unlearnt; /* a blob that may be a layer could not be read, or not to its content's end */
	bool *vouched;           /* by blob: read last; NULL: no order */
	bool *wanted;            /* by blob: a snapshot is to be compared with it in this round */
	size_t *first;           /* by blob: its chosen candidates; when they are judged, by backend, all; STORE_NONE: none */
	size_t *chosen;          /* by backend, while candidates are chosen */
	bool documents;          /* pass 4a */
	/* where bytes are looked for that are not under their own name */
	enum digest_kind kind;   /* which is being made */
	struct digest *found[DIGEST_KINDS]; /* by spare, if known */
	size_t *by_digest[DIGEST_KINDS];    /* spares for which that is so, in the order of their digests */
	size_t by_digest_count[DIGEST_KINDS];
	size_t spare_cap;
	unsigned search;         /* searches begun */
	uint64_t contested_until_ns; /* of this round; 0: no end */
	atomic_size_t document_bytes; /* what is kept of documents */
	atomic_bool crowded;     /* there was not room for all of them */
	bool found_beyond_limits; /* a document that was found is too much for us: what it names is not known */
	atomic_bool some_unread; /* see there */
	atomic_uint_least64_t bytes;
	uint64_t total_bytes;
	/* the pool */
	void (*job)(struct survey_run *r, struct worker *w, size_t index);
	const size_t *order;
	size_t job_count;
	atomic_size_t next;
	struct worker pool[LIMIT_THREADS];
	struct worker alone; /* for the thread that is not of the pool: its pace */
	unsigned started, running, workers;
	atomic_bool abandoned;   /* what the pool does is not wanted any more */
	atomic_int idle;         /* processors without a worker */
	atomic_bool some_differ; /* a layer with a label had to be read again */
	enum rc failed;          /* RC_NOMEM: of a worker's arenas */
	const char *what;
};

/* By whoever runs this program. */
static bool interrupted(const struct survey_run *r)
{
	return r->o->stop && *r->o->stop;
}

static bool stopped(const struct survey_run *r)
{
	return interrupted(r) || r->abandoned;
}

static bool out_of_time(const struct survey_run *r)
{
	return r->o->deadline_ns && os_clock_ns() >= r->o->deadline_ns;
}

#define TOO_LATE "the time allowed (--budget) was over"
static const char too_late[] = TOO_LATE;
static const char ended_here[] = "the last check ended here";

/* Of a struct pace; that worker's thread's, and of one that reads for it. */
static enum rc ask(void *self, struct err *e)
{
	const struct worker *const w = self;

	if (stopped(w->run))
		return fail(e, RC_STOPPED, "it was stopped");
	if (out_of_time(w->run))
		return fail(e, RC_STOPPED, TOO_LATE);
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

/* The only way to report. Copies what the finding borrows. */
static void emit(struct survey_run *r, struct finding f)
{
	struct survey *const s = r->s;

	(void)pthread_mutex_lock(&r->lock); /* fails only for a mutex that is none */
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
	(void)pthread_mutex_unlock(&r->lock); /* as above */
}

static struct span ns_name(const struct store *st, size_t ns)
{
	return st->namespaces[ns].name;
}

static struct span text_of(const char *s)
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

/* ---- the pool ---- */

/* So many have memory to spare. */
#define FEW_WORKERS 4

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
	(void)pthread_mutex_lock(&r->lock); /* fails only for a mutex that is none */
	r->running--;
	(void)pthread_cond_signal(&r->finished);
	(void)pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void tell_progress(struct survey_run *r)
{
	const struct progress p = {r->what, r->bytes, r->total_bytes};

	if (r->o->progress && !r->abandoned)
		r->o->progress(r->o->self, &p);
}

/* Lets the pool begin; nothing to do is nothing begun. */
static enum rc begin_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *, struct worker *, size_t),
	const size_t *order, size_t count)
{
	static const size_t stack_bytes = (size_t)512 << 10; /* musl gives 128 KiB; os_list and zlib's tables want more */
	const unsigned limit = r->o->threads < 1 ? 1 : r->o->threads > LIMIT_THREADS ? LIMIT_THREADS : r->o->threads;
	unsigned wanted = limit;
	pthread_attr_t attributes;
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
	if (pthread_attr_init(&attributes) || pthread_attr_setstacksize(&attributes, stack_bytes))
		return fail(r->e, RC_NOMEM, "no memory for a thread");
	for (unsigned i = 0; i < wanted; i++) {
		struct worker *const w = &r->pool[i];
		*w = (struct worker){.run = r, .slot = i + 1, .keep = &r->s->kept[i], .pace = {.ask = ask, .self = w}};
		if (i >= r->s->kept_count && (rc = arena_open(w->keep, &why)))
			break;
		if (i >= r->s->kept_count)
			r->s->kept_count = i + 1;
		if ((rc = arena_open(&w->scratch, &why)))
			break;
		if (wanted <= FEW_WORKERS) /* of many each would hold much that it does not use */
			arena_prefer_large(&w->scratch);
		(void)pthread_mutex_lock(&r->lock);
		r->running++;
		(void)pthread_mutex_unlock(&r->lock);
		if (pthread_create(&w->thread, &attributes, work, w)) {
			(void)pthread_mutex_lock(&r->lock);
			r->running--;
			(void)pthread_mutex_unlock(&r->lock);
			arena_close(&w->scratch);
			rc = fail(&why, RC_NOMEM, "no memory for a thread");
			break;
		}
		r->started++;
	}
	(void)pthread_attr_destroy(&attributes); /* holds nothing on musl or glibc */
	if (!rc || r->started)
		return RC_OK;
	*r->e = why;
	return rc;
}

/* Waits until all that was begun is done. */
static enum rc end_pool(struct survey_run *r)
{
	(void)pthread_mutex_lock(&r->lock);
	while (r->running) {
		struct timespec until = {0};
		(void)clock_gettime(CLOCK_REALTIME, &until); /* always exists */
		until.tv_nsec += 200000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&r->finished, &r->lock, &until); /* a timeout is the point */
		(void)pthread_mutex_unlock(&r->lock);
		tell_progress(r);
		(void)pthread_mutex_lock(&r->lock);
	}
	(void)pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < r->started; i++) {
		(void)pthread_join(r->pool[i].thread, NULL); /* it has ended */
		r->s->peak_bytes += arena_peak(&r->pool[i].scratch);
		arena_close(&r->pool[i].scratch);
	}
	r->started = 0;
	return r->failed;
}

static enum rc run_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *, struct worker *, size_t),
	const size_t *order, size_t count)
{
	const enum rc rc = begin_pool(r, what, job, order, count);

	return rc ? rc : end_pool(r);
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

/* ---- what could not be read ---- */

static void blob_unreadable(struct survey_run *r, size_t blob, int error, const char *why)
{
	const struct blob *const b = &r->st->blob_files[blob];
	char text[160];

	r->s->blobs[blob].verdict = BLOB_IS_UNREADABLE;
	r->some_unlearnt = true;
	if (r->documents)
		r->some_unread = true;
	(void)snprintf(text, sizeof(text), "%s", error ? strerror(error) : why); /* a cut text is still a text */
	if (b->spare != STORE_NONE)
		r->s->spares[b->spare].held = true;
	emit(r, (struct finding){.problem = P_BLOB_UNCHECKED,
			.subject = SUBJECT_BLOB,
			.index = blob,
			.digest = b->text,
			.why = span_of_string(text)});
}

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
			return fail(r->e, RC_NOMEM, "no memory for the store");
		if (r->candidate_count)
			memcpy(bigger, r->candidates, r->candidate_count * sizeof(*bigger));
		r->candidates = bigger;
		r->candidate_cap = more;
	}
	r->candidates[r->candidate_count++] = c;
	return RC_OK;
}

/* Whether containerd, which hashed it when it unpacked the blob, noted this diff ID with the blob's record (containerd-store.md 5.1), or
 * another one. */
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
static const struct oci_doc *config_of(const struct survey_run *r, const struct oci_doc *manifest)
{
	const struct oci_doc *const config =
		manifest->config.type == OCI_TYPE_CONFIG ? good_doc(r, &manifest->config, OCI_CONFIG) : NULL;
	size_t layers = 0;

	for (size_t i = 0; config && i < manifest->child_count; i++)
		layers += oci_is_layer(&manifest->children[i]);
	return layers && config->unpackable && layers == config->diff_id_count ? config : NULL;
}

/* The chain of one manifest in one namespace: which committed snapshots its layers prove (layer-format.md 1.3, 1.4). */
static enum rc walk_manifest(struct survey_run *r, size_t ns, const struct oci_doc *manifest)
{
	const struct store *const st = r->st;
	const struct oci_doc *const config = config_of(r, manifest);
	struct digest chain, previous;
	char text[DIGEST_TEXT_BYTES], previous_text[DIGEST_TEXT_BYTES] = "";
	size_t layer = 0;

	if (!config)
		return RC_OK;
	for (size_t i = 0; i < manifest->child_count; i++) {
		const struct oci_descriptor *const d = &manifest->children[i];
		if (!oci_is_layer(d))
			continue;
		oci_chain_id(layer ? &previous : NULL, &config->diff_ids[layer], &chain);
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
		previous = chain;
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

/* Only what is said to be one: any other blob may be a document of any size. */
static void find_beyond_limits(struct survey_run *r)
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

static enum rc find_candidates(struct survey_run *r)
{
	r->candidate_count = 0;
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

/* ---- pass 4b, 5: the other blobs, and the snapshots they prove ---- */

static struct span snapshot_name(const struct store *st, size_t backend)
{
	const struct backend *const b = &st->backends[backend];
	return b->user_key.left ? b->user_key : b->key;
}

/* Nothing is concluded from what is not looked at. */
static void pass_over_snapshot(struct survey_run *r, size_t i, const char *why)
{
	const struct backend *const b = &r->st->backends[i];

	r->s->snapshots[i].verdict = SNAPSHOT_IS_UNREADABLE;
	r->s->snapshots[i].why = why;
	r->s->snapshots[i].proof = STORE_NONE;
	r->s->snapshots[i].trusted = false;
	emit(r, (struct finding){.problem = P_SNAPSHOT_UNCHECKED,
			.subject = SUBJECT_BACKEND,
			.index = i,
			.ns = b->ns_name,
			.name = snapshot_name(r->st, i),
			.why = text_of(why)});
}

struct emit_context {
	struct survey_run *r;
	const size_t *backends; /* by target */
	struct span layer;
	bool notes_only;   /* of a comparison that is repeated if there is more to say, */
	bool alone;        /* of one target: what accuses it comes in front of its notes */
	unsigned withheld;
};

static void emit_difference(void *self, const struct layer_difference *d)
{
	static const enum problem_id of_kind[DIFF_KINDS] = {[DIFF_MISSING] = P_ENTRY_MISSING,
		[DIFF_EMPTY] = P_FILE_EMPTY,
		[DIFF_SHORT] = P_FILE_SHORT,
		[DIFF_ZEROED] = P_FILE_ZEROED,
		[DIFF_CONTENT] = P_FILE_CONTENT,
		[DIFF_TYPE] = P_ENTRY_TYPE,
		[DIFF_SYMLINK] = P_ENTRY_SYMLINK,
		[DIFF_DEVICE] = P_ENTRY_DEVICE,
		[DIFF_METADATA] = P_ENTRY_METADATA,
		[DIFF_WHITEOUT] = P_WHITEOUT_MISSING,
		[DIFF_OPAQUE] = P_OPAQUE_MISSING,
		[DIFF_LINK] = P_LINK_BROKEN,
		[DIFF_LOST_ENTRIES] = P_NOTE_COUNT, /* the entries that are missing are findings of their own */
		[DIFF_FS_MISSING] = P_SNAPSHOT_FS,
		[DIFF_NOTE_EXTRA] = P_NOTE_EXTRA,
		[DIFF_NOTE_METADATA] = P_NOTE_METADATA,
		[DIFF_NOTE_WHITEOUTS] = P_NOTE_WHITEOUTS,
		[DIFF_NOTE_SYSTEMATIC] = P_NOTE_SYSTEMATIC,
		[DIFF_NOTE_COUNT] = P_NOTE_COUNT,
		[DIFF_UNREADABLE] = P_ENTRY_UNCHECKED};
	struct emit_context *const in = self;
	const struct store *const st = in->r->st;
	const size_t backend = in->backends[d->target];
	const struct backend *const b = &st->backends[backend];

	if (in->notes_only && (d->kind < DIFF_NOTE_EXTRA || d->kind == DIFF_UNREADABLE || !in->alone || in->withheld)) {
		in->withheld++;
		return;
	}
	emit(in->r, (struct finding){.problem = of_kind[d->kind],
			    .subject = SUBJECT_BACKEND,
			    .index = backend,
			    .path = text_of(d->path),
			    .ns = b->ns_name,
			    .name = snapshot_name(st, backend),
			    .digest = in->layer,
			    .why = d->kind == DIFF_UNREADABLE ? text_of(strerror((int)d->got)) : (struct span){0},
			    .got = d->kind == DIFF_FS_MISSING ? b->id : d->got,
			    .want = d->want});
}

/* Candidates of one blob that one replay can judge: same mode, same diff ID. */
struct group {
	size_t candidates[LAYER_TARGETS_MAX];
	unsigned count;
};

static struct group next_group(const struct survey_run *r, const size_t *mine, size_t mine_count, size_t *from)
{
	struct group g = {0};
	const struct candidate *first = NULL;

	for (size_t i = *from; i < mine_count && g.count < LAYER_TARGETS_MAX; i++) {
		const struct candidate *const c = &r->candidates[mine[i]];
		if (first && (c->mode != first->mode || !digest_equal(&c->diff_id, &first->diff_id)))
			break; /* sorted: neighbours are alike */
		first = c;
		g.candidates[g.count++] = mine[i];
		*from = i + 1;
	}
	return g;
}

struct group_result {
	struct feed_result feed;
	enum rc replay; /* RC_OK: the model is complete */
	struct err why; /* of the replay */
	bool paired;    /* the blob unpacks to the diff ID */
	bool again;     /* nothing is settled: not by a label */
	bool hashed;    /* its content was, if it is known */
};

/* Files of one group's targets, open while they are compared. */
struct open_targets {
	struct layer_target at[LAYER_TARGETS_MAX];
	size_t backends[LAYER_TARGETS_MAX];
	size_t candidates[LAYER_TARGETS_MAX];
	unsigned count;
};

static void open_targets(const struct survey_run *r, const struct group *g, struct open_targets *t)
{
	const struct store *const st = r->st;

	for (unsigned i = 0; i < g->count; i++) {
		const size_t backend = r->candidates[g->candidates[i]].backend;
		const struct backend *const b = &st->backends[backend];
		struct err ignored = {0}; /* what cannot be opened is judged by what was listed */
		int fd = -1;
		if (!b->dir_found || !b->dir_is_directory || os_open_dir(st->snapshots_dir, b->dir, &fd, &ignored))
			continue;
		t->at[t->count] = (struct layer_target){.snapshot = fd,
			.recorded_inodes = b->inodes,
			.half_repaired = b->interrupted,
			.deletions_written = st->schema && st->schema < STORE_SCHEMA_2,
			.ignore_owners = labels_get(&b->labels, "containerd.io/snapshot/uidmapping") ||
					 labels_get(&b->labels, "containerd.io/snapshot/gidmapping")};
		t->backends[t->count] = backend;
		t->candidates[t->count] = g->candidates[i];
		t->count++;
	}
}

static void close_targets(struct open_targets *t)
{
	for (unsigned i = 0; i < t->count; i++)
		os_close(&t->at[i].snapshot);
}

static void settle_whole_tree(
	struct survey_run *r, const struct layer *l, const struct candidate *c, const struct digest *diff_id, uint64_t bytes)
{
	struct snapshot_state *const state = &r->s->snapshots[c->backend];
	const struct backend *const b = &r->st->backends[c->backend];

	*state = (struct snapshot_state){.verdict = SNAPSHOT_IS_TORN,
		.proof = c->blob,
		.diff_id = diff_id,
		.mode = c->mode,
		.whole_tree = true,
		.node_count = layer_node_count(l),
		.rewrite_bytes = bytes,
		.rewrite_inodes = layer_model_inodes(l)};
	if (!b->dir_found || !b->dir_is_directory)
		emit(r, (struct finding){.problem = P_SNAPSHOT_DIR,
				.subject = SUBJECT_BACKEND,
				.index = c->backend,
				.ns = b->ns_name,
				.name = snapshot_name(r->st, c->backend),
				.digest = r->st->blob_files[c->blob].text,
				.got = b->id});
}

static void settle(struct survey_run *r, const struct layer *l, const struct candidate *c, const struct digest *diff_id,
	const struct layer_verdict *v, uint64_t content_bytes)
{
	struct snapshot_state *const state = &r->s->snapshots[c->backend];

	if (v->count[DIFF_FS_MISSING]) {
		settle_whole_tree(r, l, c, diff_id, content_bytes);
		return;
	}
	*state = (struct snapshot_state){.proof = c->blob,
		.diff_id = diff_id,
		.mode = c->mode,
		.damaged_bits = v->damaged_bits,
		.node_count = v->node_count,
		.unreadable = v->count[DIFF_UNREADABLE],
		.rewrite_bytes = v->rewrite_bytes,
		.rewrite_inodes = v->rewrite_inodes};
	/* What was unpacked through a mount cannot be rebuilt by our rules: its damage is real, its repair a pull. A label alone proves no
	 * mapping: annotations of whichever image was pulled first become labels of the layers that it shares with others. */
	const struct labels *const labels = &r->st->backends[c->backend].labels;
	const bool mapped = v->owners_differ && (labels_get(labels, "containerd.io/snapshot/uidmapping") ||
							labels_get(labels, "containerd.io/snapshot/gidmapping"));
	state->verdict = v->damaged ? v->unverified == UNVERIFIED_MOUNTED || mapped ? SNAPSHOT_IS_LOST : SNAPSHOT_IS_TORN
			 : v->count[DIFF_UNREADABLE] ? SNAPSHOT_IS_UNREADABLE
						     : SNAPSHOT_IS_WHOLE;
}

/* What the comparison proves of each candidate; with notes_only, only if there is no more to say than notes: RC_END else. */
static enum rc settle_group(struct survey_run *r, struct worker *w, const struct group *g, const struct open_targets *targets,
	struct layer_check *check, const struct layer *layer, uint64_t content_bytes, bool notes_only)
{
	struct layer_verdict verdicts[LAYER_TARGETS_MAX] = {0};
	const char *whys[LAYER_TARGETS_MAX] = {0};
	struct emit_context in = {.r = r, .backends = targets->backends,
		.layer = r->st->blob_files[r->candidates[g->candidates[0]].blob].text, .notes_only = notes_only,
		.alone = targets->count == 1};

	for (unsigned t = 0; t < targets->count; t++) {
		struct err why = {0};
		if (layer_check_finish(check, t, w->keep, emit_difference, &in, &verdicts[t], &why) == RC_OK)
			continue;
		const struct span text = arena_copy(w->keep, span_of_string(why.text));
		whys[t] = text.bad ? "no memory" : (const char *)text.at;
		in.withheld++;
	}
	if (notes_only && in.withheld)
		return RC_END;
	/* one for all: they are of one diff ID */
	struct digest *const diff_id = arena_get(w->keep, sizeof(*diff_id));
	if (diff_id)
		*diff_id = r->candidates[g->candidates[0]].diff_id;
	for (unsigned i = 0; i < g->count; i++) {
		struct candidate *const c = &r->candidates[g->candidates[i]];
		const struct backend *const b = &r->st->backends[c->backend];
		unsigned t = 0;
		while (t < targets->count && targets->candidates[t] != g->candidates[i])
			t++;
		if (!diff_id) {
			c->why = "no memory";
			c->unknown = true;
		} else if (t == targets->count && b->dir_found && b->dir_is_directory) {
			c->why = "its directory could not be opened";
			c->unknown = true;
		} else if (t == targets->count) {
			settle_whole_tree(r, layer, c, diff_id, content_bytes);
		} else if (whys[t]) {
			c->why = whys[t];
			c->unknown = true;
		} else {
			settle(r, layer, c, diff_id, &verdicts[t], content_bytes);
			(void)pthread_mutex_lock(&r->lock);
			r->s->entries_compared += verdicts[t].entries;
			(void)pthread_mutex_unlock(&r->lock);
		}
	}
	return RC_OK;
}

/* RC_END: the blob's file is not there; RC_CORRUPT: it is no regular file. */
static enum rc open_feed(const struct store *st, size_t blob, const struct feed_options *o, struct arena *a, struct feed **out,
	struct err *e)
{
	const struct blob *const b = &st->blob_files[blob];
	auto_fd fd = -1;
	const enum rc rc = store_open_blob(st, blob, &fd, e);

	return rc ? rc : feed_open(out, &fd, b->size, &b->digest, o, a, e);
}

/* Replays a blob for one group and settles what it proves; out: what was learnt of the blob. label_is_enough: the
 * content is not hashed, and nothing is said against a snapshot; out->again if there would be something to say. */
static enum rc replay_group(struct survey_run *r, struct worker *w, size_t blob, const struct group *g, bool label_is_enough,
	struct group_result *out, struct err *e)
{
	struct open_targets targets = {0};
	const struct feed_options options = {
		.hash_content = !label_is_enough, .pace = &w->pace, .bytes = &r->bytes, .idle = &r->idle};
	const struct candidate *const first = &r->candidates[g->candidates[0]];
	struct layer_watch watch = {0};
	struct layer_check *check = NULL;
	struct layer *layer = NULL;
	struct feed *feed = NULL;
	struct tar *tar = NULL;
	struct group_result result = {0};
	enum rc rc = open_feed(r->st, blob, &options, &w->scratch, &feed, e);

	if (rc)
		return rc;
	open_targets(r, g, &targets);
	if ((result.again = label_is_enough && targets.count < g->count)) {
		*out = result;
		goto out;
	}
	if ((rc = layer_open(&layer, first->mode, &w->pace, &w->scratch, e)) || (rc = feed_tar(feed, &tar, e)))
		goto out;
	if (targets.count) {
		rc = layer_check_open(&check, layer, targets.at, targets.count, &w->scratch, e);
		if (rc)
			goto out;
		watch = layer_check_watch(check);
		if (label_is_enough)
			layer_check_hurry(check);
	}
	result.replay = layer_replay(layer, tar, check ? &watch : NULL, &result.why);
	result.again = label_is_enough && check && layer_check_differs(check);
	if (result.again) {
		*out = result;
		goto out;
	}
	/* of what cannot be a layer too it is learnt what it is, lest others that name it ask again */
	rc = feed_finish(feed, result.replay == RC_OK || result.replay == RC_CORRUPT, &result.feed, e);
	if (rc)
		goto out;
	result.hashed = !label_is_enough;
	result.paired = result.feed.content_known && (label_is_enough || digest_equal(&result.feed.content, &first->diff_id));
	if (result.feed.blob_good && result.replay == RC_OK && result.paired)
		result.again =
			settle_group(r, w, g, &targets, check, layer, result.feed.content_bytes, label_is_enough) == RC_END;
	*out = result;
out:
	layer_check_close(check);
	close_targets(&targets);
	feed_close(feed);
	return rc;
}

static enum rc judge_group(struct survey_run *r, struct worker *w, size_t blob, const struct group *g,
	struct group_result *out, struct err *e)
{
	/* a cut seldom takes from one snapshot alone, and to read a layer twice costs more than to hash its content at once */
	bool labelled = !r->some_differ;

	for (unsigned i = 0; i < g->count; i++)
		labelled &= r->candidates[g->candidates[i]].labelled;
	if (labelled) {
		const struct arena scratch = w->scratch, keep = *w->keep;
		const enum rc rc = replay_group(r, w, blob, g, true, out, e);
		if (rc || !out->again)
			return rc;
		r->some_differ = true;
		w->scratch = scratch;
		*w->keep = keep;
	}
	return replay_group(r, w, blob, g, false, out, e);
}

static bool same_group(const struct candidate *a, const struct candidate *b)
{
	return a->mode == b->mode && digest_equal(&a->diff_id, &b->diff_id);
}

static size_t count_chosen(const struct survey_run *r, size_t blob)
{
	size_t n = 0;

	for (size_t i = r->first[blob]; i != STORE_NONE; i = r->candidates[i].next)
		n++;
	return n;
}

/* Candidates of this round for one blob, alike ones side by side. */
static size_t gather(const struct survey_run *r, size_t blob, size_t *mine)
{
	size_t n = 0;

	for (size_t i = r->first[blob]; i != STORE_NONE; i = r->candidates[i].next)
		mine[n++] = i;
	for (size_t i = 1; i < n; i++) { /* insertion by first likeness: a handful of entries */
		size_t k = i;
		while (k > 0 && !same_group(&r->candidates[mine[k - 1]], &r->candidates[mine[i]]))
			k--;
		if (k == 0)
			continue;
		const size_t moved = mine[i];
		memmove(&mine[k + 1], &mine[k], (i - k) * sizeof(*mine));
		mine[k] = moved;
	}
	return n;
}

/* What reading a blob came to. RC_END: it is gone. */
static void end_blob(struct survey_run *r, size_t index, enum rc rc, const struct digest *found, const struct err *e)
{
	struct blob_state *const state = &r->s->blobs[index];

	if (stopped(r) || rc == RC_STOPPED)
		return; /* what was not begun is given up in the same way */
	state->trusted = false; /* it was read */
	if (rc == RC_OK) {
		state->found = *found;
		state->found_known = !digest_equal(found, &r->st->blob_files[index].digest);
		state->verdict = state->found_known ? BLOB_IS_BAD : BLOB_IS_GOOD;
	} else if (rc != RC_END)
		blob_unreadable(r, index, e->sys_errno, e->text);
}

/* ---- blobs that are hashed, and documents: two at a time, while the next are fetched ---- */

/* When documents are looked for: what is at most this long, in bytes, is read whole, and of what is longer the beginning. */
#define LANE_SMALL ((size_t)256 << 10)
#define LANE_HEAD ((size_t)4096)
#define LANES_SMALL 32
/* Then the others: two at a time, and of what comes next enough that it can begin at once: if it is not longer than this, or when
 * of one of the two there is nothing left to send for, lest the disk has nothing to do. */
#define LANE_EARLY ((uint64_t)4 << 20)
#define LANES_LARGE 4
/* Of each of the two that much is under way, where few workers have the disk for themselves: measured, a third faster than 1 MiB. */
#define LANE_BYTES ((size_t)4 << 20)

struct lane {
	size_t blob; /* STORE_NONE: empty */
	int fd;
	uint8_t *buf;
	size_t cap;
	struct os_reader reader;
	struct span in, first; /* first: the piece with which the blob begins; overwritten if there is a second */
	bool head_only, json;  /* json: it begins so */
	struct hash hash;
};

/* The next job, if it is one of these, not longer than most, and there are more than the other workers will ask for in a moment. */
static size_t claim_next(struct survey_run *r, uint64_t most)
{
	size_t i = r->next;

	while (i < r->job_count && r->job_count - i > r->workers && !stopped(r) && !out_of_time(r)) {
		const size_t blob = r->order[i];
		const struct blob *const b = &r->st->blob_files[blob];
		if (!r->documents && (r->wanted[blob] || !b->regular || b->unreadable || b->size > most))
			break;
		if (atomic_compare_exchange_weak(&r->next, &i, i + 1))
			return blob;
	}
	return STORE_NONE;
}

/* The whole blob of a lane once more, in one piece. */
static enum rc read_whole(struct survey_run *r, struct lane *l, struct arena *a, struct span *bytes, struct err *e)
{
	struct span piece = {0};
	size_t used = 0;
	enum rc rc;

	os_reader_settle(&l->reader);
	if ((rc = os_reader_open(&l->reader, l->fd, l->buf, l->cap, e)))
		return rc;
	if (l->reader.size > LIMIT_JSON_BYTES)
		return fail(e, RC_LIMIT, "it grew");
	uint8_t *const room = arena_get(a, (size_t)l->reader.size + 1);
	if (!room)
		return fail(e, RC_NOMEM, "no memory");
	while ((rc = os_reader_next(&l->reader, &piece, e)) == RC_OK) {
		const size_t n = (size_t)min_u64(piece.left, l->reader.size - used); /* it may grow meanwhile */
		memcpy(room + used, piece.at, n);
		used += n;
	}
	r->bytes += used;
	*bytes = span_of(room, used);
	return rc == RC_END ? RC_OK : rc;
}

/* What is known of one stays in keep, or, if it is none, nothing does. RC_LIMIT: it, or all of them, are too much for us. */
static enum rc parse_document(struct survey_run *r, struct span bytes, struct arena *keep, struct oci_doc **out)
{
	const struct arena mark = *keep;
	struct oci_doc *const doc = arena_get(keep, sizeof(*doc));
	enum rc rc = doc ? oci_parse(bytes, keep, doc, NULL) : RC_NOMEM;

	if (rc == RC_OK && doc->kind != OCI_OTHER) {
		const size_t taken = keep->used - mark.used;
		if (atomic_fetch_add(&r->document_bytes, taken) + taken <= LIMIT_DOCUMENTS_BYTES) {
			*out = doc;
			return RC_OK;
		}
		atomic_fetch_sub(&r->document_bytes, taken); /* a smaller one may fit */
		r->crowded = true;
		rc = RC_LIMIT;
	}
	*keep = mark;
	return rc;
}

static void keep_document(struct survey_run *r, size_t index, struct span bytes, struct arena *keep)
{
	struct blob_state *const state = &r->s->blobs[index];
	const enum rc rc = parse_document(r, bytes, keep, &state->doc);

	state->beyond_limits = rc == RC_LIMIT;
	state->garbled = rc == RC_CORRUPT;
	if (rc == RC_NOMEM)
		blob_unreadable(r, index, 0, "no memory");
}

static const char differs_now[] = "it reads differently now";

/* All of a file that was hashed before. RC_END: it reads differently now. */
static enum rc read_again(int fd, const struct digest *d, struct arena *a, struct span *bytes, struct err *e)
{
	struct stat st = {0};
	struct digest again;
	struct hash h;
	size_t got = 0;
	enum rc rc = os_stat_fd(fd, &st, e);

	if (rc)
		return rc;
	const size_t size = (size_t)min_u64(LIMIT_JSON_BYTES, (uint64_t)st.st_size);
	uint8_t *const room = arena_get(a, size);
	if (!room)
		return fail(e, RC_NOMEM, "no memory");
	if ((rc = os_read(fd, 0, room, size, &got, e)))
		return rc;
	hash_begin(&h, d->kind);
	hash_add(&h, room, got);
	hash_end(&h, &again);
	*bytes = span_of(room, got);
	return digest_equal(&again, d) ? RC_OK : RC_END;
}

/* A document of a blob that was good a moment ago. */
static void parse_again(struct survey_run *r, size_t index, struct arena scratch)
{
	auto_fd fd = -1;
	struct span bytes = {0};
	struct err e = {0};

	if (store_open_blob(r->st, index, &fd, &e) || read_again(fd, &r->st->blob_files[index].digest, &scratch, &bytes, &e))
		blob_unreadable(r, index, e.sys_errno, e.rc ? e.text : differs_now);
	else
		keep_document(r, index, bytes, &r->s->kept[0]);
}

/* Blobs in the order in which they are to be parsed. */
struct queue {
	bool *waits; /* by blob: it is a document, and not in the queue yet */
	size_t *blobs;
	size_t count;
};

static void enqueue(struct queue *q, size_t blob)
{
	if (blob == STORE_NONE || !q->waits[blob])
		return;
	q->waits[blob] = false;
	q->blobs[q->count++] = blob;
}

/* There is more to know of documents than is kept. What images lead to must not be crowded out by what else anybody has put into the
 * store: all are forgotten and read again, those first. */
static enum rc choose_documents(struct survey_run *r)
{
	const struct store *const st = r->st;
	struct survey *const s = r->s;
	struct queue q = {.waits = arena_array(r->keep, st->blob_count + 1, sizeof(*q.waits)),
		.blobs = arena_array(r->keep, st->blob_count + 1, sizeof(*q.blobs))};
	struct arena scratch;
	enum rc rc;

	if (!q.waits || !q.blobs)
		return fail(r->e, RC_NOMEM, "no memory for the store");
	for (size_t i = 0; i < st->blob_count; i++) {
		q.waits[i] = s->blobs[i].doc || s->blobs[i].beyond_limits;
		s->blobs[i].beyond_limits = q.waits[i]; /* until it was read */
		s->blobs[i].doc = NULL;
	}
	for (unsigned i = 0; i < s->kept_count; i++) { /* nothing but documents is in them yet */
		arena_close(&s->kept[i]);
		if ((rc = arena_open(&s->kept[i], r->e)))
			return rc;
	}
	if ((rc = arena_open(&scratch, r->e)))
		return rc;
	r->document_bytes = 0;
	r->crowded = false;
	for (size_t i = 0; i < st->image_count; i++)
		if (st->images[i].target_known)
			enqueue(&q, store_find_blob(st, &st->images[i].target));
	for (size_t next = 0, rest = 0; !stopped(r) && !out_of_time(r); next++) {
		while (next == q.count && rest < st->blob_count)
			enqueue(&q, rest++);
		if (next == q.count)
			break;
		at_one(r->o->at, 0, AT_BLOB, st->blob_files[q.blobs[next]].text);
		parse_again(r, q.blobs[next], scratch);
		const struct oci_doc *const doc = s->blobs[q.blobs[next]].doc;
		if (doc && doc->config.digest_known)
			enqueue(&q, store_find_blob(st, &doc->config.digest));
		for (size_t i = 0; doc && doc->kind == OCI_INDEX && i < doc->child_count; i++)
			if (doc->children[i].digest_known)
				enqueue(&q, store_find_blob(st, &doc->children[i].digest));
	}
	at_nothing(r->o->at, 0);
	arena_close(&scratch);
	return RC_OK;
}

/* What begins like JSON is judged by the whole of it, and parsed. The rest as well if the whole of it went by; else pass_layers
 * will see to it. */
static void end_document(
	struct survey_run *r, struct worker *w, struct lane *l, enum rc rc, struct digest found, struct err *e)
{
	struct blob_state *const state = &r->s->blobs[l->blob];
	const struct arena mark = w->scratch;
	struct span bytes = l->first;
	bool whole = !l->head_only;

	state->document = rc || l->json; /* for all we know */
	if (!rc && state->document && (l->head_only || bytes.left != l->reader.off) &&
		(rc = read_whole(r, l, &w->scratch, &bytes, e)) == RC_OK) {
		hash_begin(&l->hash, r->st->blob_files[l->blob].digest.kind);
		hash_add(&l->hash, bytes.at, bytes.left);
		hash_end(&l->hash, &found);
		whole = true;
	}
	if (rc || (whole && (state->document || !r->o->documents_only)))
		end_blob(r, l->blob, rc == RC_CORRUPT ? RC_END : rc, &found, e); /* that it is no file any more pass_layers will tell */
	if (!rc && state->document && digest_equal(&found, &r->st->blob_files[l->blob].digest))
		keep_document(r, l->blob, bytes, w->keep);
	w->scratch = mark;
}

static void end_lane(struct survey_run *r, struct worker *w, struct lane *l, enum rc rc, struct err *e)
{
	struct digest d = {0};

	hash_end(&l->hash, &d);
	if (r->documents)
		end_document(r, w, l, rc, d, e);
	else
		end_blob(r, l->blob, rc, &d, e);
	os_reader_settle(&l->reader);
	os_close(&l->fd);
	l->blob = STORE_NONE;
}

static void begin_lane(struct survey_run *r, struct worker *w, struct lane *l, size_t blob)
{
	const struct blob *const b = &r->st->blob_files[blob];
	struct err e = {0};
	enum rc rc;

	l->blob = blob;
	l->in = l->first = (struct span){0};
	l->json = false;
	/* what is read last is read by pass_layers, in its order */
	l->head_only = r->documents &&
		       b->size > (r->o->documents_only || (r->vouched && r->vouched[blob]) ? LANE_HEAD : LANE_SMALL);
	hash_begin(&l->hash, b->digest.kind);
	const size_t cap = l->head_only ? LANE_HEAD : (size_t)min_u64(l->cap, (b->size / 4096 + 1) * 4096);
	if ((rc = store_open_blob(r->st, blob, &l->fd, &e)) || (rc = os_reader_open(&l->reader, l->fd, l->buf, cap, &e))) {
		end_lane(r, w, l, rc, &e);
		return;
	}
	if (l->head_only)
		l->reader.size = min_u64(l->reader.size, LANE_HEAD);
}

static bool all_asked(const struct lane *l)
{
	return l->reader.piece && l->reader.asked >= l->reader.size;
}

/* How long a blob may be that is begun beside these. */
static uint64_t begin_beside(struct lane *const lanes[], unsigned count)
{
	const bool both = count == 2 && !all_asked(lanes[0]) && !all_asked(lanes[1]);

	return both || count > 2 ? LANE_EARLY : UINT64_MAX;
}

/* Whether the lane has bytes. If not, its blob has ended, and the lane is empty. */
static bool fill_lane(struct survey_run *r, struct worker *w, struct lane *l)
{
	struct err e = {0};

	if (l->in.left)
		return true;
	enum rc rc = os_reader_next(&l->reader, &l->in, &e);
	if (rc == RC_OK)
		rc = pace_on(&w->pace, l->in.left + PACE_CALL, &e);
	if (rc == RC_OK) {
		r->bytes += l->in.left;
		if (!l->first.at) {
			l->first = l->in;
			l->json = store_may_be_document(span_of(l->in.at, (size_t)min_u64(l->in.left, STORE_HEAD_BYTES)));
		}
	} else {
		end_lane(r, w, l, rc == RC_END ? RC_OK : rc, &e);
	}
	return rc == RC_OK;
}

/* What this worker is at: the lanes that are read, hashed and parsed. Of the others the kernel reads what they will need. */
static void tell_lanes(const struct survey_run *r, const struct worker *w, struct lane *const lanes[], unsigned count, size_t told[2])
{
	struct at_name names[2];
	unsigned n = 0;
	bool same = true;

	for (unsigned i = 0; i < 2; i++) {
		const size_t blob = i < count ? lanes[i]->blob : STORE_NONE;
		same &= told[i] == blob;
		told[i] = blob;
		if (blob != STORE_NONE && r->o->at)
			n += at_make(&names[n], AT_BLOB, r->st->blob_files[blob].text);
	}
	if (!same)
		at_put(r->o->at, w->slot, names, n);
}

static void hash_blobs(struct survey_run *r, struct worker *w, size_t first)
{
	const size_t share = r->job_count / r->workers + 2; /* not all that there is to one of us */
	const unsigned most = r->documents ? (unsigned)min_u64(share, LANES_SMALL) : LANES_LARGE;
	const size_t cap = r->documents ? LANE_SMALL : r->workers > FEW_WORKERS ? OS_READER_BYTES : LANE_BYTES;
	uint8_t *const room = arena_get(&w->scratch, most * cap + 4096);
	struct lane lanes[LANES_SMALL], *order[LANES_SMALL]; /* those with a blob first, the oldest in front */
	struct os_reader *begun[LANES_SMALL];
	size_t next = first, told[2] = {STORE_NONE, STORE_NONE};
	unsigned count = 0;

	if (!room) {
		struct err e = {0};
		end_blob(r, first, fail(&e, RC_NOMEM, "no memory to read a blob"), NULL, &e);
		return;
	}
	for (unsigned i = 0; i < most; i++) {
		lanes[i] = (struct lane){
			.blob = STORE_NONE, .fd = -1, .buf = room + (4096 - (uintptr_t)room % 4096) + i * cap, .cap = cap};
		order[i] = &lanes[i];
	}
	for (;;) {
		/* small ones are sent for by the half of all there can be */
		const unsigned wanted = r->documents && count > most / 2 ? count : most;
		unsigned sent = 0;
		while (count < wanted) {
			if (next == STORE_NONE && (next = claim_next(r, begin_beside(order, count))) == STORE_NONE)
				break;
			begin_lane(r, w, order[count], next);
			if (order[count]->blob != STORE_NONE)
				begun[sent++] = &order[count++]->reader;
			next = STORE_NONE;
		}
		os_reader_ahead(begun, sent);
		if (!count)
			return;
		const unsigned now = count < 2 ? count : 2;
		unsigned k = 0;
		tell_lanes(r, w, order, now, told);
		while (k < now && fill_lane(r, w, order[k]))
			k++;
		if (k < now) { /* it has ended */
			struct lane *const ended = order[k];
			count--;
			memmove(&order[k], &order[k + 1], (count - k) * sizeof(struct lane *));
			order[count] = ended; /* and its memory is used again next */
			continue;
		}
		struct lane *one = order[0], *const two = order[1];
		if (now == 2) {
			/* both stay at a multiple of a block until the shorter ends */
			const size_t n = (size_t)min_u64(one->in.left, two->in.left) & ~(size_t)63;
			if (n) {
				hash_add_two(&one->hash, span_take(&one->in, n), &two->hash, span_take(&two->in, n), n);
				continue;
			}
			if (two->in.left < one->in.left)
				one = two;
		}
		const size_t n = one->in.left;
		hash_add(&one->hash, span_take(&one->in, n), n);
	}
}

static void job_blob(struct survey_run *r, struct worker *w, size_t index)
{
	struct blob_state *const state = &r->s->blobs[index];
	struct feed_result feed = {0};
	struct err e = {0};
	size_t from = 0;
	enum rc rc = RC_OK;
	bool any = false;

	at_one(r->o->at, w->slot, AT_BLOB, r->st->blob_files[index].text);
	if (r->st->blob_files[index].unreadable) {
		blob_unreadable(r, index, r->st->blob_files[index].unreadable, "");
		return;
	}
	if (!r->st->blob_files[index].regular && r->st->blob_files[index].spare == STORE_NONE) {
		state->verdict = BLOB_IS_BAD;
		return;
	}
	size_t *const mine = arena_array(&w->scratch, count_chosen(r, index), sizeof(*mine));
	if (!mine) {
		static const char no_memory[] = "no memory to compare a layer";
		for (size_t i = r->first[index]; i != STORE_NONE; i = r->candidates[i].next) {
			struct candidate *const c = &r->candidates[i];
			c->tried = c->unknown = true;
			c->why = no_memory;
		}
		if (state->verdict == BLOB_NOT_CHECKED)
			end_blob(r, index, fail(&e, RC_NOMEM, no_memory), NULL, &e);
		return;
	}
	const size_t count = gather(r, index, mine);
	while (rc == RC_OK && from < count) {
		const struct group g = next_group(r, mine, count, &from);
		const struct arena mark = w->scratch;
		struct group_result result = {0};
		if (state->content_known && !digest_equal(&state->content, &r->candidates[g.candidates[0]].diff_id)) {
			for (unsigned i = 0; i < g.count; i++) /* it was unpacked before: once is enough */
				r->candidates[g.candidates[i]].tried = r->candidates[g.candidates[i]].pairing_failed = true;
			continue;
		}
		for (unsigned i = 0; i < g.count; i++)
			if (r->candidates[g.candidates[i]].contested)
				w->until_ns = r->contested_until_ns;
		rc = judge_group(r, w, index, &g, &result, &e);
		w->until_ns = 0;
		w->scratch = mark;
		if (rc == RC_OK && result.feed.blob_good && result.feed.content_known && result.hashed) {
			state->content = result.feed.content;
			state->content_known = true;
		}
		if (rc == RC_OK) {
			feed = result.feed;
			any = true;
		}
		const char *const late = rc == RC_STOPPED ? arena_string(w->keep, span_of_string(e.text)) : NULL;
		for (unsigned i = 0; i < g.count; i++) {
			struct candidate *const c = &r->candidates[g.candidates[i]];
			c->tried = true;
			/* it may fail as containerd would: then this is not what was unpacked. Or we failed: then that is not known */
			const bool beyond_us = (result.replay != RC_OK && result.replay != RC_CORRUPT) || feed.too_much;
			c->unknown |= rc == RC_STOPPED || (rc == RC_OK && feed.blob_good && beyond_us);
			if (rc == RC_STOPPED)
				c->why = late;
			if (rc == RC_OK && feed.blob_good && (result.replay != RC_OK || feed.too_much) && !c->why) {
				const struct err *const last = result.replay != RC_OK ? &result.why : &feed.why;
				const struct span text = arena_copy(w->keep, span_of_string(last->text));
				c->why = text.bad ? "no memory" : (const char *)text.at;
			} else if (rc == RC_OK && feed.blob_good && !c->why && !result.paired) {
				c->pairing_failed = true;
			}
		}
		if (rc == RC_OK && !feed.blob_good)
			break;
	}
	if (rc == RC_STOPPED && !stopped(r) && !out_of_time(r))
		rc = RC_OK; /* its share of the time was over, which says nothing of the blob */
	if (any || rc)
		end_blob(r, index, rc, &feed.blob, &e);
	else if (state->verdict == BLOB_NOT_CHECKED)
		hash_blobs(r, w, index);
}

/* ---- pass 3: bytes that are not under their own name ---- */

static enum rc no_room(struct survey_run *r)
{
	return fail(r->e, RC_NOMEM, "no memory for what is missing");
}

static bool is_missing(const struct survey_run *r, const struct digest *d)
{
	const size_t blob = store_find_blob(r->st, d);
	const enum blob_verdict v = blob == STORE_NONE ? BLOB_IS_BAD : r->s->blobs[blob].verdict;

	return v == BLOB_IS_BAD || v == BLOB_IS_UNREADABLE;
}

static enum rc want(struct survey_run *r, const struct digest *d, size_t ns)
{
	struct survey *const s = r->s;

	if (!is_missing(r, d))
		return RC_OK;
	struct want *const w = arena_push(r->keep, (void **)&s->wants, &s->want_count, sizeof(*w));
	if (!w)
		return no_room(r);
	*w = (struct want){.digest = d, .ns = ns};
	return RC_OK;
}

static enum rc want_text(struct survey_run *r, struct span text, size_t ns)
{
	struct digest d;

	if (digest_parse(text, &d) || !is_missing(r, &d))
		return RC_OK;
	struct digest *const kept = arena_get(r->keep, sizeof(*kept));
	if (!kept)
		return no_room(r);
	*kept = d;
	return want(r, kept, ns);
}

static enum rc want_labels(struct survey_run *r, const struct labels *l, size_t ns)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < l->count; i++)
		if (span_starts(l->at[i].key, "containerd.io/gc.ref.content"))
			rc = want_text(r, l->at[i].value, ns);
	return rc;
}

static enum rc want_document(struct survey_run *r, const struct oci_doc *doc, size_t ns)
{
	enum rc rc = doc->config.digest_known ? want(r, &doc->config.digest, ns) : RC_OK;

	for (size_t i = 0; rc == RC_OK && i < doc->child_count; i++)
		if (doc->children[i].digest_known)
			rc = want(r, &doc->children[i].digest, ns);
	return rc;
}

/* What records, names and documents say that there is. */
static enum rc want_all(struct survey_run *r)
{
	const struct store *const st = r->st;
	enum rc rc = RC_OK;

	r->s->want_count = 0;
	for (size_t i = 0; rc == RC_OK && i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		const struct oci_doc *const doc = c->blob == STORE_NONE ? NULL : r->s->blobs[c->blob].doc;
		if (c->digest_known)
			rc = want(r, &c->digest, c->ns);
		if (rc == RC_OK && doc)
			rc = want_document(r, doc, c->ns);
		if (rc == RC_OK)
			rc = want_labels(r, &c->labels, c->ns);
	}
	for (size_t i = 0; rc == RC_OK && i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		if (image->target_known)
			rc = want(r, &image->target, image->ns);
		if (rc == RC_OK)
			rc = want_labels(r, &image->labels, image->ns);
	}
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++)
		if (!st->blob_files[i].records && r->s->blobs[i].doc)
			rc = want_document(r, r->s->blobs[i].doc, survey_unrecorded_in(r->s, &st->blob_files[i].digest));
	for (size_t i = 0; rc == RC_OK && i < st->ingest_count; i++)
		if (st->ingests[i].expected)
			rc = want(r, st->ingests[i].expected, store_find_namespace(st, st->ingests[i].ns_name));
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
static void visit_children(const struct survey_run *r, struct visits *v, size_t ns, size_t blob)
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
	for (size_t i = 0; doc && i < doc->child_count; i++)
		if (doc->children[i].digest_known)
			visit(r, v, ns, &doc->children[i].digest);
}

/* The cut came after the rename and before the commit, or between two changes of ours. containerd's garbage collection would remove
 * it, and the image, which is incomplete without the record, would need a pull. */
static enum rc find_unrecorded(struct survey_run *r)
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
		return no_room(r);
	for (size_t i = 0; i < st->image_count && !stopped(r); i++) {
		if (!st->images[i].target_known)
			continue;
		visit(r, &v, st->images[i].ns, &st->images[i].target);
		while (v.count)
			visit_children(r, &v, st->images[i].ns, v.todo[--v.count]);
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
		qsort(s->wants, s->want_count, sizeof(*s->wants), compare_wants);
	for (size_t i = 0; i < s->want_count; i++) {
		struct want *const last = n ? &s->wants[n - 1] : NULL;
		if (!last || compare_wants(last, &s->wants[i]))
			s->wants[n++] = s->wants[i];
		else
			last->seen |= s->wants[i].seen;
	}
	s->want_count = n;
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
	state->why = e->sys_errno ? strerror(e->sys_errno) : e->rc == RC_NOMEM ? "no memory to read it" : "it is too large to be read";
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
	enum rc rc = room ? RC_OK : fail(&e, RC_NOMEM, "no memory");
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
		(void)pthread_mutex_lock(&r->lock); /* fails only for a mutex that is none */
		r->s->out_of_memory = true;
		(void)pthread_mutex_unlock(&r->lock); /* as above */
	}
}

/* Of several with the same bytes the one that says so itself is taken: it knows its namespace. */
static bool says_so(const struct survey_run *r, enum digest_kind kind, size_t spare)
{
	const size_t ingest = r->st->spares[spare].ingest;

	return ingest != STORE_NONE && r->st->ingests[ingest].spare == spare && r->st->ingests[ingest].expected &&
	       digest_equal(r->st->ingests[ingest].expected, &r->found[kind][spare]);
}

static bool comes_after(const struct survey_run *r, enum digest_kind kind, size_t x, size_t y)
{
	const int order = digest_compare(&r->found[kind][x], &r->found[kind][y]);
	const bool left = says_so(r, kind, x), right = says_so(r, kind, y);

	return order ? order > 0 : left != right ? right : x > y;
}

/* Hashes them all, each kind of digest once; and sorts. */
static enum rc hash_spares(struct survey_run *r, enum digest_kind kind)
{
	const size_t count = r->st->spare_count;
	size_t *const order = r->by_digest[kind] = arena_array(r->keep, count + 1, sizeof(*order));
	size_t n = 0;

	if (!order)
		return no_room(r);
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
	for (size_t gap = n / 2; gap; gap /= 2) /* Shell's sort: qsort takes no context */
		for (size_t i = gap; i < n; i++) {
			const size_t moved = order[i];
			size_t k = i;
			for (; k >= gap && comes_after(r, kind, order[k - gap], moved); k -= gap)
				order[k] = order[k - gap];
			order[k] = moved;
		}
	r->by_digest_count[kind] = n;
	return RC_OK;
}

/* The first of those with this digest; STORE_NONE. */
static size_t find_spare(const struct survey_run *r, const struct digest *d)
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
		return no_room(r);
	at_put(r->o->at, 0, &name, name_of_spare(r, spare, &name));
	if (!(rc = store_open_spare(r->st, spare, &fd, &why)) && !(rc = read_again(fd, d, &scratch, &bytes, &why)))
		rc = parse_document(r, bytes, r->keep, out);
	at_nothing(r->o->at, 0);
	arena_close(&scratch);
	r->s->wants_unknown |= rc == RC_IO || rc == RC_LIMIT || rc == RC_END;
	if (rc == RC_IO || rc == RC_END) {
		r->s->spares[spare].error = why.sys_errno;
		r->s->spares[spare].why = why.sys_errno ? strerror(why.sys_errno) : differs_now;
	}
	return rc == RC_NOMEM ? no_room(r) : rc == RC_LIMIT ? RC_LIMIT : rc == RC_IO || rc == RC_END ? RC_IO : RC_OK;
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
	const size_t spare = find_spare(r, w->digest);
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
			.document = state->document};
		rc = state->document ? read_document(r, spare, w->digest, &one.doc) : RC_OK;
		one.beyond_limits = rc == RC_LIMIT;
		if (rc == RC_IO) { /* it could be a moment ago; the next run knows more */
			state->verdict = SPARE_IS_UNREADABLE;
			return RC_OK;
		}
		if (rc && rc != RC_LIMIT)
			return rc;
		struct found_blob *const fresh = arena_push(r->keep, (void **)found, count, sizeof(*fresh));
		if (!fresh)
			return no_room(r);
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
		return no_room(r);
	*named = *w;
	const struct oci_doc *const doc = (*found)[state->blob].doc;
	return doc ? want_document(r, doc, w->ns) : RC_OK;
}

/* The store has these now. */
static enum rc add_found(struct survey_run *r, const struct found_blob *found, size_t count)
{
	struct survey *const s = r->s;
	struct blob *const fresh = arena_array(r->keep, count + 1, sizeof(*fresh));
	const size_t before = r->st->blob_count;
	size_t n = 0;

	if (!fresh)
		return no_room(r);
	for (size_t i = 0; i < count; i++)
		if (store_find_blob(r->st, &found[i].blob.digest) == STORE_NONE)
			fresh[n++] = found[i].blob;
	struct blob_state *const states = arena_array(r->keep, before + n + 1, sizeof(*states));
	bool *const vouched = r->vouched ? arena_array(r->keep, before + n + 1, sizeof(*vouched)) : NULL;
	const size_t *const now = states && (vouched || !r->vouched) ? store_add_blobs(r->finder, fresh, n) : NULL;
	if (!now)
		return no_room(r);
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

/* A blob whose name lies may hold the bytes of another. */
static enum rc add_bad_blobs(struct survey_run *r)
{
	struct survey *const s = r->s;
	size_t more = 0;

	for (size_t i = 0; i < r->st->blob_count; i++)
		more += is_wrong_file(r, i);
	if (r->st->spare_count + more > r->spare_cap) {
		const size_t cap = r->st->spare_count + more;
		for (int k = 0; k < DIGEST_KINDS; k++) {
			if (!r->found[k])
				continue;
			r->found[k] = arena_more(r->keep, r->found[k], r->spare_cap, cap, sizeof(struct digest));
			if (!r->found[k])
				return no_room(r);
		}
		struct spare_state *const states = arena_more(r->keep, s->spares, r->spare_cap, cap, sizeof(*states));
		if (!states)
			return no_room(r);
		s->spares = states;
		r->spare_cap = cap;
	}
	for (size_t i = 0; more && i < r->st->blob_count; i++) {
		if (!is_wrong_file(r, i))
			continue;
		const size_t spare = r->st->spare_count;
		if (!store_add_spare(r->finder, i))
			return no_room(r);
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
			return no_room(r);
		take_known(r, kind);
		rc = hash_spares(r, kind);
	}
	return rc;
}

/* Whatever anything local names and has no good file of its own: its bytes are looked for in all files of the content store that
 * are no blobs, what is found becomes a blob, and what a document found so names is looked for as well. */
static enum rc find_bytes(struct survey_run *r, bool *brought)
{
	bool hashed[DIGEST_KINDS] = {false};
	struct found_blob *found = NULL;
	size_t found_count = 0, before = 0;
	enum rc rc;

	*brought = false;
	if ((rc = add_bad_blobs(r)) || !r->st->spare_count)
		return rc;
	r->search++;
	r->s->wants_unknown = r->found_beyond_limits || r->crowded;
	if ((rc = want_all(r)))
		return rc;
	sort_wants(r->s);
	for (unsigned round = 0; r->s->want_count != before && !stopped(r); round++) {
		const size_t count = r->s->want_count;
		if (round == LIMIT_FOUND_ROUNDS) {
			r->s->wants_unknown = true;
			break;
		}
		before = count;
		if ((rc = hash_wanted(r, hashed)))
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

static int compare_digests(const void *a, const void *b)
{
	return digest_compare(a, b);
}

static int compare_sizes(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

bool survey_may_be_in_file(const struct survey *s, const struct digest *d, uint64_t size)
{
	return (s->unread_count && bsearch(d, s->unread, s->unread_count, sizeof(*d), compare_digests)) ||
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

/* What there is to say of each, now that all else was looked at. */
static enum rc judge_spares(struct survey_run *r)
{
	struct survey *const s = r->s;
	size_t speaking = 0;

	for (size_t i = 0; i < r->st->spare_count; i++)
		speaking += speaking_ingest(r, i) != STORE_NONE;
	s->unread = arena_array(r->keep, speaking + 1, sizeof(*s->unread));
	s->unread_sizes = arena_array(r->keep, r->st->spare_count + 1, sizeof(*s->unread_sizes));
	if (!s->unread || !s->unread_sizes)
		return no_room(r);
	s->wants_unknown |= r->some_unread || r->crowded;
	for (size_t i = 0; i < r->st->spare_count; i++) { /* it may be a document, and name others */
		const size_t ingest = speaking_ingest(r, i);
		const bool wanted = ingest == STORE_NONE || first_want(s, r->st->ingests[ingest].expected) < s->want_count;
		s->wants_unknown |=
			wanted && s->spares[i].verdict == SPARE_IS_UNREADABLE && r->st->spares[i].size <= LIMIT_JSON_BYTES;
	}
	if (s->brought_count)
		qsort(s->brought, s->brought_count, sizeof(*s->brought), compare_wants);
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
	s->bytes_unseen = r->st->unseen_path != NULL;
	if (s->bytes_unseen)
		emit(r, (struct finding){.problem = P_BYTES_UNCHECKED,
				.path = text_of(r->st->unseen_path),
				.why = text_of(strerror(r->st->unseen_errno))});
	if (s->unread_count)
		qsort(s->unread, s->unread_count, sizeof(*s->unread), compare_digests);
	if (s->unread_size_count)
		qsort(s->unread_sizes, s->unread_size_count, sizeof(*s->unread_sizes), compare_sizes);
	return RC_OK;
}

/* ---- pass 3: downloads ---- */

static void ingest_unreadable(struct survey_run *r, size_t index, const char *why)
{
	r->s->ingests[index].verdict = INGEST_IS_UNREADABLE;
	emit(r, (struct finding){.problem = P_INGEST_UNCHECKED,
			.subject = SUBJECT_INGEST,
			.index = index,
			.name = r->st->ingests[index].name,
			.why = text_of(why)});
}

/* What a download is whose bytes are not those of its digest. */
static enum ingest_verdict not_complete(const struct ingest *in)
{
	return in->expected && in->total && in->data_size >= in->total ? INGEST_IS_POISONED : INGEST_IS_PARTIAL;
}

#define NO_MEMORY "no memory to read a download"

/* Of an unfinished download: whether its beginning is what the journal says was durable. Read from the medium. */
static void job_settled(struct survey_run *r, struct worker *w, size_t index)
{
	const struct ingest *const in = &r->st->ingests[index];
	const struct journal_ingest *const known = journal_find_ingest(r->o->downloads, in->name);
	auto_fd dir = -1, fd = -1;
	struct os_reader reader = {0};
	struct span piece = {0};
	struct wide_sum sum;
	struct err e = {0};
	uint8_t *const room = arena_get(&w->scratch, OS_READER_BYTES + 4096);
	uint64_t left = known->size;
	enum rc rc = room ? RC_OK : fail(&e, RC_NOMEM, NO_MEMORY);

	at_one(r->o->at, w->slot, AT_INGEST, in->name);
	if (!rc && !(rc = os_open_dir(r->st->ingest_dir, (const char *)in->name.at, &dir, &e)) &&
		!(rc = os_open_file(dir, "data", &fd, &e)))
		rc = os_reader_open(&reader, fd, room + (4096 - (uintptr_t)room % 4096), OS_READER_BYTES, &e);
	wide_sum_begin(&sum);
	while (rc == RC_OK && left && !stopped(r) && (rc = os_reader_next(&reader, &piece, &e)) == RC_OK) {
		const size_t n = (size_t)min_u64(left, piece.left);
		wide_sum_add(&sum, piece.at, n);
		r->bytes += n;
		left -= n;
	}
	os_reader_settle(&reader);
	if (rc && rc != RC_END && rc != RC_CORRUPT) { /* no memory is no damage either */
		ingest_unreadable(r, index, e.sys_errno ? strerror(e.sys_errno) : e.text);
		if (rc == RC_NOMEM) {
			(void)pthread_mutex_lock(&r->lock); /* fails only for a mutex that is none */
			r->s->out_of_memory = true;
			(void)pthread_mutex_unlock(&r->lock); /* as above */
		}
	} else if (rc || !left) {
		r->s->ingests[index].verdict = not_complete(in);
		if (rc == RC_OK && wide_sum_end(&sum) == known->sum) {
			r->s->ingests[index].verdict = INGEST_IS_PARTIAL;
			r->s->ingests[index].settled_bytes = known->size;
		}
	}
}

static bool may_be_settled(const struct survey_run *r, size_t index)
{
	const struct ingest *const in = &r->st->ingests[index];
	const enum ingest_verdict v = r->s->ingests[index].verdict;
	const bool unfinished = v == INGEST_IS_PARTIAL || v == INGEST_IS_POISONED;
	const struct journal_ingest *const known = r->o->downloads && r->st->boot_proved_new && unfinished && in->has_data
							   ? journal_find_ingest(r->o->downloads, in->name)
							   : NULL;

	/* of the same download; and if all bytes are there and wrong, only a part of them can be what was vouched for */
	return known && known->size && span_equal(known->ref, in->ref) && known->size + (v == INGEST_IS_POISONED) <= in->data_size;
}

/* What a download is, by what became of its bytes. */
static void judge_ingest(struct survey_run *r, size_t index)
{
	const struct ingest *const in = &r->st->ingests[index];
	struct ingest_state *const state = &r->s->ingests[index];
	const struct spare_state *const spare = in->spare == STORE_NONE ? NULL : &r->s->spares[in->spare];

	state->blob = STORE_NONE;
	if (journal_is_stuck(r->o->stuck, AT_INGEST, in->name)) {
		ingest_unreadable(r, index, ended_here);
		return;
	}
	if (in->unreadable) {
		ingest_unreadable(r, index, strerror(in->unreadable));
		return;
	}
	if (spare && spare->verdict == SPARE_IS_UNREADABLE) {
		ingest_unreadable(r, index, spare->why);
		return;
	}
	if (!in->is_directory && in->spares.count) {
		const struct spare_state *const bytes = &r->s->spares[in->spares.first];
		if (bytes->verdict == SPARE_IS_UNREADABLE)
			ingest_unreadable(r, index, bytes->why);
		if (bytes->moved || bytes->verdict == SPARE_IS_UNREADABLE)
			return; /* told as what its bytes are, or may be */
	}
	state->verdict = !in->is_directory || !in->ref_fits ? INGEST_HAS_NO_REF : INGEST_IS_PARTIAL;
	if (spare && spare->moved) {
		state->verdict = r->s->blobs[spare->blob].verdict == BLOB_IS_GOOD ? INGEST_IS_COMPLETE : INGEST_IS_NOT_CHECKED;
		state->blob = spare->blob;
		return;
	}
	size_t blob = spare ? spare->blob : STORE_NONE;
	if (blob == STORE_NONE && in->expected)
		blob = store_find_blob(r->st, in->expected);
	const enum blob_verdict v = blob == STORE_NONE ? BLOB_IS_BAD : r->s->blobs[blob].verdict;
	if (v == BLOB_IS_GOOD) {
		state->verdict = INGEST_IS_DUPLICATE;
		state->blob = blob;
	} else if (v != BLOB_IS_BAD) {
		state->verdict = INGEST_IS_NOT_CHECKED; /* it may be the better copy: left as it is */
	} else if (in->has_data && spare && (spare->held || r->s->bytes_unseen) && /* a document may be in what was not seen */
		   (spare->verdict == SPARE_NOT_READ || state->verdict == INGEST_HAS_NO_REF)) {
		r->s->out_of_time |= out_of_time(r);
		ingest_unreadable(r, index, out_of_time(r) ? too_late : "not all that may name it could be read");
	} else if (in->expected && in->has_data && state->verdict == INGEST_IS_PARTIAL) {
		state->verdict = not_complete(in);
	}
}

static bool is_recorded(const struct store *st, const struct digest *d)
{
	bool recorded = false;

	for (size_t ns = 0; ns < st->namespace_count; ns++)
		recorded |= store_find_content(st, ns, d) != STORE_NONE;
	return recorded;
}

static void emit_ingest(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct ingest *const in = &st->ingests[index];
	const struct ingest_state *const state = &r->s->ingests[index];
	struct finding f = {.subject = SUBJECT_INGEST,
		.index = index,
		.ns = in->ns_name,
		.name = in->name,
		.got = in->data_size,
		.want = in->total};
	char text[DIGEST_TEXT_BYTES] = "";

	if (in->expected)
		digest_format(in->expected, text);
	f.digest = state->blob != STORE_NONE ? st->blob_files[state->blob].text
		   : in->expected	     ? span_of_string(text)
					     : in->client_ref;
	switch (state->verdict) {
	case INGEST_IS_COMPLETE:
		f.problem = is_recorded(st, &st->blob_files[state->blob].digest) ? P_BLOB_IN_INGEST : P_INGEST_COMPLETE;
		break;
	case INGEST_IS_PARTIAL:
		f.problem = policy_partial(st->boot_proved_new, state->settled_bytes, in->data_size).problem;
		if (state->settled_bytes)
			f.want = state->settled_bytes;
		break;
	case INGEST_IS_POISONED:
		f.problem = P_INGEST_POISONED;
		break;
	case INGEST_IS_DUPLICATE:
		f.problem = P_INGEST_DUPLICATE;
		break;
	case INGEST_HAS_NO_REF:
		f.problem = P_INGEST_NO_REF;
		break;
	case INGEST_IS_NOT_CHECKED:
	case INGEST_IS_UNREADABLE:
	default:
		return; /* told already, or stopped */
	}
	emit(r, f);
}

/* Files that are neither a download's data nor a blob: told if they are of use, or may be. */
static void emit_spare(struct survey_run *r, size_t index)
{
	const struct spare *const at = &r->st->spares[index];
	const struct spare_state *const state = &r->s->spares[index];
	char path[LIMIT_PATH_BYTES];

	/* what a download says of itself, unless it could not be asked for what else is in it */
	if (at->ingest != STORE_NONE && r->st->ingests[at->ingest].spare == index &&
		!(state->moved && r->s->ingests[at->ingest].verdict == INGEST_IS_UNREADABLE))
		return;
	(void)snprintf(path, sizeof(path), "%s/%s", at->dir, at->name); /* a cut path is still told */
	if (state->moved)
		emit(r, (struct finding){.problem = P_BLOB_ELSEWHERE,
				.subject = SUBJECT_BLOB,
				.index = state->blob,
				.path = span_of_string(path),
				.digest = r->st->blob_files[state->blob].text});
	else if (state->held && state->verdict == SPARE_IS_UNREADABLE)
		emit(r, (struct finding){.problem = P_BYTES_UNCHECKED,
				.path = span_of_string(path),
				.why = text_of(state->why)});
}

/* Those that there was no time for. */
static void give_up_downloads(struct survey_run *r, const size_t *order, size_t count)
{
	for (size_t i = 0; i < count && out_of_time(r); i++) {
		if (r->s->ingests[order[i]].verdict != INGEST_IS_NOT_CHECKED)
			continue;
		r->s->out_of_time = true;
		ingest_unreadable(r, order[i], too_late);
	}
}

static enum rc pass_ingests(struct survey_run *r)
{
	size_t *const order = arena_array(r->keep, r->st->ingest_count + 1, sizeof(*order));
	enum rc rc = RC_OK;
	size_t count = 0;

	if (!order)
		return fail(r->e, RC_NOMEM, "no memory for the store");
	for (size_t i = 0; i < r->st->ingest_count; i++)
		judge_ingest(r, i);
	for (size_t i = 0; !stopped(r) && i < r->st->ingest_count; i++)
		if (may_be_settled(r, i)) {
			r->s->ingests[i].verdict = INGEST_IS_NOT_CHECKED;
			order[count++] = i;
		}
	if (count && !(rc = run_pool(r, "reading unfinished downloads", job_settled, order, count)))
		give_up_downloads(r, order, count);
	for (size_t i = 0; rc == RC_OK && !stopped(r) && i < r->st->ingest_count; i++)
		emit_ingest(r, i);
	for (size_t i = 0; rc == RC_OK && !stopped(r) && i < r->st->spare_count; i++)
		emit_spare(r, i);
	const struct ruling alone = policy_download_record(r->st->boot_proved_new);
	for (size_t i = 0; rc == RC_OK && alone.problem != P_COUNT && i < r->st->ingest_record_count; i++) {
		const struct ingest_record *const rec = &r->st->ingest_records[i];
		if (rec->dir == STORE_NONE)
			emit(r, (struct finding){.problem = alone.problem,
					.subject = SUBJECT_INGEST_RECORD,
					.index = i,
					.ns = ns_name(r->st, rec->ns),
					.name = rec->client_ref});
	}
	return rc;
}

/* ---- what the blobs turned out to be ---- */

/* In the first record that has one; 0: none. */
static uint64_t recorded_size(const struct store *st, const struct blob *b)
{
	uint64_t size = 0;

	for (size_t ns = 0; b->records && ns < st->namespace_count && !size; ns++) {
		const size_t c = store_find_content(st, ns, &b->digest);
		if (c != STORE_NONE)
			size = st->contents[c].size;
	}
	return size;
}

static void emit_blob(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct blob *const b = &st->blob_files[index];
	const struct blob_state *const state = &r->s->blobs[index];
	struct finding f = {.subject = SUBJECT_BLOB, .index = index, .digest = b->text, .got = b->size};

	if (survey_file_is_bad(r->s, st, index)) {
		f.got = state->file_is_bad ? state->file_size : b->size;
		f.want = recorded_size(st, b);
		f.problem = !b->regular			       ? P_BLOB_NOT_FILE
			    : !b->records		       ? P_BLOB_ORPHAN_BAD
			    : f.got == 0		       ? P_BLOB_EMPTY
			    : f.want > f.got		       ? P_BLOB_SHORT
							       : P_BLOB_WRONG;
		emit(r, f);
	}
	if (state->verdict != BLOB_IS_GOOD)
		return;
	f.got = b->size;
	f.want = 0;
	if (b->spare != STORE_NONE) {
		; /* told as what has its bytes */
	} else if (!b->records) {
		const size_t ns = survey_unrecorded_in(r->s, &b->digest);
		if (ns == STORE_NONE && (r->s->wants_unknown || r->some_unread))
			return; /* what could not be read may need it */
		f.problem = ns == STORE_NONE ? P_BLOB_ORPHAN : P_BLOB_UNRECORDED;
		f.ns = ns == STORE_NONE ? (struct span){0} : ns_name(st, ns);
		emit(r, f);
	} else if (b->mode & 0222) {
		f.problem = P_BLOB_UNSEALED;
		f.want = recorded_size(st, b);
		emit(r, f);
	}
	for (size_t ns = 0; b->records && ns < st->namespace_count; ns++) {
		const size_t c = store_find_content(st, ns, &b->digest);
		if (c == STORE_NONE || st->contents[c].size == b->size)
			continue;
		f.problem = P_BLOB_SIZE;
		f.ns = ns_name(st, ns);
		f.want = st->contents[c].size;
		emit(r, f);
	}
}

static void emit_missing_blobs(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		if (c->digest_known && c->blob == STORE_NONE && !survey_may_be_found(r->s, &c->digest, c->size))
			emit(r, (struct finding){.problem = P_BLOB_MISSING,
					.subject = SUBJECT_CONTENT,
					.index = i,
					.ns = ns_name(st, c->ns),
					.digest = c->text,
					.want = c->size});
	}
}

/* ---- pass 5: rounds over the candidates ---- */

/* Largest first, so that no worker is left alone with a giant at the end; but before them what nobody has vouched for, which
 * is where a run that ran out of time stopped; and what is mostly holes after all others. */
static bool comes_later(const struct survey_run *r, size_t x, size_t y)
{
	const bool left_sparse = r->st->blob_files[x].sparse, right_sparse = r->st->blob_files[y].sparse;
	const uint64_t left = r->st->blob_files[x].size, right = r->st->blob_files[y].size;
	const bool left_known = r->vouched && r->vouched[x], right_known = r->vouched && r->vouched[y];

	if (left_sparse != right_sparse)
		return left_sparse;
	if (left_known != right_known)
		return left_known;
	return left != right ? left < right : x > y;
}

static void sort_jobs(const struct survey_run *r, size_t *order, size_t count)
{
	for (size_t gap = count / 2; gap; gap /= 2) /* Shell's sort: qsort takes no context */
		for (size_t i = gap; i < count; i++) {
			const size_t moved = order[i];
			size_t k = i;
			for (; k >= gap && comes_later(r, order[k - gap], moved); k -= gap)
				order[k] = order[k - gap];
			order[k] = moved;
		}
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

	return b->regular && !r->s->blobs[blob].document && r->s->blobs[blob].verdict != BLOB_IS_BAD;
}

/* What a config names, whether or not a manifest leads to it. */
static void walk_config(struct survey_run *r, size_t ns, const struct oci_doc *config)
{
	struct digest chain, previous;

	for (size_t i = 0; config->unpackable && i < config->diff_id_count; i++) {
		oci_chain_id(i ? &previous : NULL, &config->diff_ids[i], &chain);
		match_name(&r->match, ns, &chain, &config->diff_ids[i]);
		previous = chain;
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
	for (size_t i = 0; rc == RC_OK && i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		const struct oci_doc *const doc = c->blob == STORE_NONE ? NULL : r->s->blobs[c->blob].doc;
		if (doc && doc->kind == OCI_MANIFEST)
			rc = walk_pairs(r, doc);
		else if (doc && doc->kind == OCI_CONFIG)
			walk_config(r, c->ns, doc);
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
	enum rc rc = open_feed(r->st, index, &options, &w->scratch, &feed, &e);
	if (rc == RC_OK)
		rc = feed_finish(feed, true, &result, &e);
	feed_close(feed);
	if (stopped(r) || rc == RC_STOPPED)
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

/* A snapshot is matched by its name: manifests are not needed for it, and may be what was lost. */
static enum rc match_snapshots(struct survey_run *r)
{
	const struct store *const st = r->st;
	bool *const open = arena_array(r->keep, st->backend_count + 1, sizeof(*open));
	size_t *const order = arena_array(r->keep, st->blob_count + 1, sizeof(*order));
	bool *const has = arena_array(r->keep, st->backend_count + 1, sizeof(*has));
	bool any = false;
	enum rc rc = RC_OK;

	if (!open || !has || !order)
		return fail(r->e, RC_NOMEM, "no memory for the store");
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
	const size_t count = choose_unknown(r, open, has, order);
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

/* What speaks for a candidate: the order in which they are asked. */
enum rank {
	RANK_LABELLED,
	RANK_NAMED,   /* by a manifest or a config, and nothing contradicts it */
	RANK_CLAIMED, /* see there */
	RANKS
};

static enum rank rank_of(const struct candidate *c)
{
	return c->labelled ? RANK_LABELLED : c->claimed ? RANK_CLAIMED : RANK_NAMED;
}

/* Chooses for each snapshot still open the next candidate not tried; claims only when there is nothing else to try for any. What an
 * image, or whoever made a label, only says may be made to take for ever: where there is another to ask, it has a share of the time. */
static bool choose_candidates(struct survey_run *r)
{
	bool any = false;
	size_t *const chosen = r->chosen; /* by backend: 1 + the candidate */

	for (size_t i = 0; i < r->st->backend_count; i++) {
		chosen[i] = 0;
		if (r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED)
			r->s->snapshots[i].proof = STORE_NONE;
	}
	for (size_t i = 0; i < r->candidate_count; i++)
		r->candidates[i].chosen = r->candidates[i].contested = false;
	for (unsigned rank = 0; rank < RANKS; rank++) {
		const bool late = any && rank == RANK_CLAIMED;
		for (size_t i = 0; i < r->candidate_count; i++) {
			struct candidate *const c = &r->candidates[i];
			struct snapshot_state *const state = &r->s->snapshots[c->backend];
			const enum blob_verdict blob = r->s->blobs[c->blob].verdict;
			if (rank_of(c) != rank || state->verdict != SNAPSHOT_NOT_CHECKED || c->tried || blob == BLOB_IS_BAD ||
				blob == BLOB_IS_UNREADABLE)
				continue;
			if (chosen[c->backend])
				r->candidates[chosen[c->backend] - 1].contested = true;
			if (chosen[c->backend] || late)
				continue;
			c->chosen = any = true;
			c->contested = rank == RANK_CLAIMED;
			chosen[c->backend] = i + 1;
			state->proof = c->blob;
		}
	}
	return any;
}

/* Those that are chosen, by blob. */
static void list_chosen(struct survey_run *r)
{
	for (size_t i = 0; i < r->st->blob_count; i++) {
		r->first[i] = STORE_NONE;
		r->wanted[i] = false;
	}
	for (size_t i = r->candidate_count; i-- > 0;) {
		struct candidate *const c = &r->candidates[i];
		if (!c->chosen)
			continue;
		c->next = r->first[c->blob];
		r->first[c->blob] = i;
		r->wanted[c->blob] = true;
	}
}

static enum rc pass_layers(struct survey_run *r)
{
	const struct store *const st = r->st;
	size_t *const order = arena_array(r->keep, st->blob_count + 1, sizeof(*order));
	bool *const wanted = r->wanted = arena_array(r->keep, st->blob_count + 1, sizeof(*wanted));
	enum rc rc = RC_OK;

	r->first = arena_array(r->keep, st->blob_count + 1, sizeof(*r->first));
	r->chosen = arena_array(r->keep, st->backend_count + 1, sizeof(*r->chosen));
	if (!order || !wanted || !r->first || !r->chosen)
		return fail(r->e, RC_NOMEM, "no memory for the store");
	for (unsigned round = 0; rc == RC_OK && !stopped(r); round++) {
		size_t count = 0;
		const bool any = choose_candidates(r);
		if (round && !any)
			break;
		const uint64_t now = os_clock_ns();
		r->contested_until_ns = now < r->o->deadline_ns ? now + (r->o->deadline_ns - now) / 2 : r->o->deadline_ns;
		list_chosen(r);
		for (size_t i = 0; i < st->blob_count; i++)
			if (wanted[i] || r->s->blobs[i].verdict == BLOB_NOT_CHECKED) {
				order[count++] = i;
				r->total_bytes += round ? st->blob_files[i].size : 0;
			}
		sort_jobs(r, order, count);
		rc = run_pool(r, "reading layers", job_blob, order, count);
		if (out_of_time(r))
			break; /* what was not begun would be chosen again for ever */
	}
	return rc;
}

/* A committed snapshot that no layer could judge: the inode count still can prove loss. */
static void judge_without_layer(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct backend *const b = &st->backends[index];
	struct snapshot_state *const state = &r->s->snapshots[index];
	struct finding f = {.subject = SUBJECT_BACKEND, .index = index, .ns = b->ns_name, .name = snapshot_name(st, index)};
	const char *why = "no local manifest leads to it", *unknown = NULL;
	struct digest d;

	state->proof = STORE_NONE;
	for (size_t i = r->first[index]; i != STORE_NONE; i = r->candidates[i].next) {
		const struct candidate *const c = &r->candidates[i];
		if (journal_is_stuck(r->o->stuck, AT_BLOB, st->blob_files[c->blob].text)) {
			pass_over_snapshot(r, index, "the last check ended at its layer"); /* perhaps in its files */
			return;
		}
		f.digest = st->blob_files[c->blob].text;
		why = c->why ? c->why : c->pairing_failed ? "its layer unpacks to something else" : "its layer is damaged";
		if (r->s->blobs[c->blob].verdict == BLOB_IS_UNREADABLE || c->unknown)
			unknown = c->unknown && c->why ? c->why : "its layer could not be read";
		else if (!c->tried && r->s->blobs[c->blob].verdict != BLOB_IS_BAD)
			unknown = "not all that may be its layer was tried";
	}
	if (!f.digest.left && digest_parse(b->user_key, &d) == RC_OK) {
		why = "its layer is not local";
		unknown = r->match.cut && !r->match.chains[index].found ? "there are more layers here than can be tried"
			  : r->some_unlearnt				? "a blob that may be its layer could not be read"
									: NULL;
	}
	if (!f.digest.left && r->some_unread)
		unknown = "a manifest could not be read";
	else if (!f.digest.left && r->st->unseen_path)
		unknown = "a file that may be its layer could not be looked at";
	else if (!f.digest.left && (r->s->unread_count || r->s->unread_size_count))
		unknown = "a file that may be its layer could not be read";
	f.why = text_of(unknown);
	state->why = unknown;
	if (!b->dir_found || !b->dir_is_directory) {
		state->verdict = unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_LOST;
		f.problem = P_SNAPSHOT_DIR;
		f.got = b->id;
		emit(r, f);
		return;
	}
	auto_fd dir = -1;
	struct layer_census census = {0};
	struct err e = {0};
	struct arena scratch = *r->keep;
	f.why = text_of(unknown ? unknown : why);
	enum rc rc = os_open_dir(st->snapshots_dir, b->dir, &dir, &e);
	at_number(r->o->at, 0, AT_SNAPSHOT, b->id);
	if (!rc)
		rc = layer_census(dir, &r->alone.pace, scratch, &census, &e);
	at_nothing(r->o->at, 0);
	if (rc == RC_STOPPED)
		return; /* not checked */
	if (rc) {
		state->verdict = SNAPSHOT_IS_UNREADABLE;
		state->why = e.sys_errno ? strerror(e.sys_errno) : arena_string(r->keep, span_of_string(e.text));
		f.problem = P_SNAPSHOT_UNCHECKED;
		f.why = text_of(state->why);
	} else if (census.fs_missing) {
		state->verdict = unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_LOST;
		f.problem = P_SNAPSHOT_FS;
		f.got = b->id;
	} else if (census.unreadable) {
		state->verdict = SNAPSHOT_IS_UNREADABLE;
		state->why = "a directory in it cannot be read";
		f.problem = P_SNAPSHOT_UNCHECKED;
		f.why = text_of(state->why);
	} else if (b->inodes > census.names && !unknown) { /* else its layer may be here and whole */
		state->verdict = SNAPSHOT_IS_LOST;
		f.problem = P_SNAPSHOT_LOSSY;
		f.got = census.names;
		f.want = b->inodes;
	} else {
		state->verdict = unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_UNVERIFIED;
		f.problem = unknown ? P_SNAPSHOT_UNCHECKED : P_SNAPSHOT_UNVERIFIED;
	}
	emit(r, f);
}

/* ---- pass 6: references and leftovers ---- */

/* RC_OK: it is; RC_END: it is not; else that is not known. */
static enum rc snapshot_dir_is_empty(const struct store *st, const struct backend *b, struct arena scratch, struct err *e)
{
	auto_fd dir = -1, fs = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc;

	if (!b->dir_found)
		return RC_OK;
	if ((rc = os_open_dir(st->snapshots_dir, b->dir, &dir, e)))
		return rc == RC_CORRUPT ? RC_END : rc;
	if ((rc = os_open_dir(dir, "fs", &fs, e)))
		return rc == RC_END ? RC_OK : rc == RC_CORRUPT ? RC_END : rc;
	rc = os_list(fs, &scratch, &names, &count, e);
	return rc == RC_OK && count ? RC_END : rc;
}

static void emit_backend(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct backend *const b = &st->backends[index];
	struct finding f = {.subject = SUBJECT_BACKEND, .index = index, .ns = b->ns_name, .name = snapshot_name(st, index)};

	struct backend_facts facts = store_backend_facts(st, b);
	struct err why = {0};
	/* a committed one has files */
	if (!facts.in_meta && !facts.it.committed && policy_owner(&facts.it) == OWNER_USER) {
		const enum rc empty = snapshot_dir_is_empty(st, b, *r->keep, &why);
		facts.content = empty == RC_OK ? IS_EMPTY : empty == RC_END ? IS_NOT_EMPTY : MAY_BE_EMPTY;
	}
	const struct ruling ruling = policy_backend(&facts);
	r->s->snapshots[index].content = facts.content;
	if (ruling.problem == P_COUNT)
		return;
	f.problem = ruling.problem;
	if (ruling.problem == P_ACTIVE_DIR)
		f.got = b->id;
	else if (ruling.problem == P_PARENT_MISSING)
		f.why = b->parent;
	else if (ruling.problem == P_SNAPSHOT_UNCHECKED)
		f.why = text_of(why.sys_errno ? strerror(why.sys_errno) : why.text);
	else if (!facts.in_meta)
		f.why = text_of("meta.db does not know it, and it may hold a container's data");
	emit(r, f);
}

static void emit_stray(struct survey_run *r, size_t index)
{
	static const enum problem_id of_kind[] = {[STRAY_BLOB_NAME] = P_BLOB_NAME,
		[STRAY_SNAPSHOT_DIR] = P_SNAPSHOT_DIR_ORPHAN,
		[STRAY_SNAPSHOT_NEW] = P_SNAPSHOT_HALF,
		[STRAY_SNAPSHOT_OTHER] = P_SNAPSHOT_STRAY,
		[STRAY_PROBE] = P_PROBE,
		[STRAY_TMPMOUNT] = P_TMPMOUNT,
		[STRAY_OWN] = P_OWN_STAGING};
	const struct stray *const s = &r->st->strays[index];
	char path[LIMIT_PATH_BYTES];

	if (s->kind == STRAY_TMPMOUNT && (!s->empty || !s->is_directory))
		return; /* not ours to judge */
	if (!s->is_directory && s->spares.count) {
		const struct spare_state *const bytes = &r->s->spares[s->spares.first];
		if (bytes->moved || (bytes->held && bytes->verdict == SPARE_IS_UNREADABLE))
			return; /* told as what its bytes are, or may be */
	}
	(void)snprintf(path, sizeof(path), "%s/%s", s->dir, s->name); /* both are short */
	emit(r, (struct finding){
			.problem = of_kind[s->kind], .subject = SUBJECT_STRAY, .index = index, .path = span_of_string(path)});
}

static void pass_references(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; i < st->backend_count; i++)
		emit_backend(r, i);
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		const struct snapshot_facts facts = store_snapshot_facts(st, s->ns, s->key, false);
		if (s->backend == STORE_NONE && !st->overlay_elsewhere)
			emit(r, (struct finding){.problem = policy_meta_only(&facts, false).problem,
					.subject = SUBJECT_SNAPSHOT,
					.index = i,
					.ns = ns_name(st, s->ns),
					.name = s->key});
	}
	for (size_t i = 0; i < st->lease_count; i++) {
		const struct lease *const l = &st->leases[i];
		const struct lease_facts facts = store_lease_facts(st, l);
		const struct ruling ruling = policy_lease(&facts);
		if (ruling.problem != P_COUNT)
			emit(r, (struct finding){.problem = ruling.problem,
					.subject = SUBJECT_LEASE,
					.index = i,
					.ns = ns_name(st, l->ns),
					.name = l->id});
	}
	for (size_t i = 0; i < st->stray_count; i++)
		emit_stray(r, i);
	for (size_t i = 0; i < st->state_file_count; i++) {
		const struct state_file *const f = &st->state_files[i];
		char path[LIMIT_PATH_BYTES];
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, f->name); /* both are short */
		emit(r, (struct finding){.problem = f->kind == STATE_UUID	    ? P_UUID_BROKEN
						    : f->kind == STATE_CRI_STATUS ? P_CRI_STATUS
										    : P_STATE_UNCHECKED,
				.subject = SUBJECT_STATE_FILE,
				.index = i,
				.path = span_of_string(path),
				.why = text_of(f->why),
				.name = f->container == STORE_NONE ? (struct span){0} : st->containers[f->container].id});
	}
}

/* ---- records of containerd's CRI plugin ---- */

static void emit_cri(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct cri_record *const record = &st->cri[index];
	const struct cri_judgement *const j = &r->s->cri[index];
	const bool sandbox = record->kind != CRI_CONTAINER;
	const struct span id = record->id, name = record->metadata.name;
	char text[LIMIT_PATH_BYTES] = "";
	struct finding f = {.subject = SUBJECT_CRI, .index = index, .ns = span_of_string(STORE_KUBERNETES), .name = id};

	switch (j->verdict) {
	case CRI_NAME_IS_TAKEN:
		f.problem = sandbox ? P_CRI_SANDBOX_NAME : P_CRI_CONTAINER_NAME;
		(void)snprintf(text, sizeof(text), "%.*s is that of %.*s", (int)min_u64(name.left, 1000), (const char *)name.at,
			(int)min_u64(st->cri[j->other].id.left, 1000), (const char *)st->cri[j->other].id.at); /* fits */
		f.why = span_of_string(text);
		break;
	case CRI_HAS_NO_SANDBOX:
		f.problem = P_CRI_NO_SANDBOX;
		(void)snprintf(text, sizeof(text), "%.*s %s", (int)min_u64(record->metadata.sandbox.left, 1000),
			(const char *)record->metadata.sandbox.at, j->other == SIZE_MAX ? "is not there" : "cannot stay either"); /* fits */
		f.why = span_of_string(text);
		break;
	case CRI_HAS_NO_DIRECTORY:
	case CRI_IS_UNCHECKED:
		f.problem = j->verdict == CRI_IS_UNCHECKED ? P_CRI_UNCHECKED : P_CRI_NO_DIRECTORY;
		(void)snprintf(text, sizeof(text), STORE_CRI_DIR "/containers/%.*s", (int)min_u64(id.left, 1000),
			(const char *)id.at); /* fits */
		f.path = span_of_string(text);
		if (j->verdict == CRI_IS_UNCHECKED)
			f.why = text_of(record->directory == CRI_DIR_UNKNOWN
						? "it, or the directory it is in, could not be opened"
						: "that of another container of its name could not be opened");
		break;
	case CRI_HAS_NO_METADATA:
		f.problem = P_CRI_NO_METADATA;
		f.why = text_of(sandbox ? "sandbox" : "container");
		break;
	case CRI_STAYS:
	case CRI_GOES_WITH: /* what it goes with is told of */
	default:
		return;
	}
	emit(r, f);
}

static enum rc pass_cri(struct survey_run *r)
{
	struct survey *const s = r->s;
	const struct store *const st = r->st;

	s->cri = arena_array(r->keep, st->cri_count + 1, sizeof(*s->cri));
	if (!s->cri || cri_judge(st->cri, st->cri_count, *r->keep, s->cri))
		return fail(r->e, RC_NOMEM, "no memory to look at the records of CRI");
	for (size_t i = 0; i < st->cri_count; i++)
		emit_cri(r, i);
	return RC_OK;
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
		return fail(r->e, RC_NOMEM, "no memory for the store");
	for (size_t i = 0; i < r->st->blob_count; i++) {
		const struct blob *const b = &r->st->blob_files[i];
		struct blob_state *const state = &r->s->blobs[i];
		if (state->verdict == BLOB_NOT_CHECKED && b->regular && b->size <= LIMIT_JSON_BYTES &&
			(!state->trusted || state->document))
			order[count++] = i;
		else if (!state->trusted && state->verdict == BLOB_NOT_CHECKED)
			state->document = false;
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
	if (rc == RC_OK)
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
	emit_missing_blobs(r);
}

static enum rc pass_snapshots(struct survey_run *r)
{
	r->first = arena_array(r->keep, r->st->backend_count + 1, sizeof(*r->first));
	if (!r->first)
		return fail(r->e, RC_NOMEM, "no memory for the store");
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
		return fail(e, RC_NOMEM, "no memory to look at the store");
	*r = (struct survey_run){.s = s,
		.st = st,
		.finder = st,
		.options = *o,
		.o = &r->options,
		.keep = keep,
		.e = e,
		.alone = {.run = r, .pace = {.ask = ask, .self = &r->alone}},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.finished = PTHREAD_COND_INITIALIZER};
	if ((rc = arena_open(&r->told, e)))
		return rc;
	s->blobs = arena_array(keep, st->blob_count + 1, sizeof(*s->blobs));
	s->ingests = arena_array(keep, st->ingest_count + 1, sizeof(*s->ingests));
	s->spares = arena_array(keep, st->spare_count + 1, sizeof(*s->spares));
	r->spare_cap = st->spare_count + 1;
	r->vouched = o->first ? arena_array(keep, st->blob_count + 1, sizeof(*r->vouched)) : NULL;
	if (!s->blobs || !s->ingests || !s->spares || (o->first && !r->vouched))
		return fail(e, RC_NOMEM, "no memory to look at the store");
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
	for (brought = true; brought && !stopped(r);) { /* each time one more of the spares, of which there are so many */
		if ((rc = pass_layers(r)) || out_of_time(r) || stopped(r) || (rc = find_bytes(r, &brought)) || (rc = find_unrecorded(r)))
			return rc;
		if (brought && ((rc = find_candidates(r)) || (rc = match_snapshots(r))))
			return rc;
	}
	return RC_OK;
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
		return fail(r->e, RC_NOMEM, "no memory to look at the store");
	for (size_t i = 0; i < st->backend_count; i++)
		s->snapshots[i].proof = STORE_NONE;
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
		qsort(s->findings, s->finding_count, sizeof(*s->findings), compare_findings);
	return rc;
}

void survey_close(struct survey *s)
{
	struct survey_run *const r = s->run;

	if (r) {
		abandon(r);
		arena_close(&r->told);
		(void)pthread_mutex_destroy(&r->lock);    /* nobody waits */
		(void)pthread_cond_destroy(&r->finished); /* nobody waits */
	}
	s->run = NULL;
	for (unsigned i = 0; i < s->kept_count; i++)
		arena_close(&s->kept[i]);
	s->kept_count = 0;
}
