/* SPDX-License-Identifier: MIT */
/* Files of the content store, hashed; and what is told of them. */
#include <stdio.h>
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

/* ---- what could not be read ---- */

void blob_unreadable(struct survey_run *r, size_t blob, int error, const char *why)
{
	const struct blob *const b = &r->st->blob_files[blob];
	char text[160];

	r->s->blobs[blob].verdict = BLOB_IS_UNREADABLE;
	r->some_unlearnt = true;
	if (r->documents)
		r->some_unread = true;
	(void)print_to(text, sizeof(text), "%s", error ? error_text(error) : why); /* a cut text is still a text */
	if (b->spare != STORE_NONE)
		r->s->spares[b->spare].held = true;
	emit(r, (struct finding){.problem = P_BLOB_UNCHECKED,
			.subject = SUBJECT_BLOB,
			.index = blob,
			.digest = b->text,
			.why = span_of_string(text)});
}

void end_blob(struct survey_run *r, size_t index, enum rc rc, const struct digest *found, const struct err *e)
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
		return no_memory(e);
	while ((rc = os_reader_next(&l->reader, &piece, e)) == RC_OK) {
		const size_t n = (size_t)min_u64(piece.left, l->reader.size - used); /* it may grow meanwhile */
		memcpy(room + used, piece.at, n);
		used += n;
	}
	r->bytes += used;
	*bytes = span_of(room, used);
	return rc == RC_END ? RC_OK : rc;
}

enum rc parse_document(struct survey_run *r, struct span bytes, struct arena *keep, struct oci_doc **out)
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

const char differs_now[] = "it reads differently now";

enum rc read_again(int fd, const struct digest *d, struct arena *a, struct span *bytes, struct err *e)
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
		return no_memory(e);
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

enum rc choose_documents(struct survey_run *r)
{
	const struct store *const st = r->st;
	struct survey *const s = r->s;
	struct queue q = {.waits = arena_array(r->keep, st->blob_count + 1, sizeof(*q.waits)),
		.blobs = arena_array(r->keep, st->blob_count + 1, sizeof(*q.blobs))};
	struct arena scratch;
	enum rc rc;

	if (!q.waits || !q.blobs)
		return no_memory(r->e);
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

/* Until all else is done, when what was put off is tried alone. */
static bool may_put_off(const struct survey_run *r)
{
	return !r->last && !r->documents && !r->o->choice;
}

void hash_blobs(struct survey_run *r, struct worker *w, size_t first)
{
	const size_t share = r->job_count / r->workers + 2; /* not all that there is to one of us */
	const unsigned most = r->documents ? (unsigned)min_u64(share, LANES_SMALL) : LANES_LARGE;
	const size_t cap = r->documents ? LANE_SMALL : r->workers > FEW_WORKERS || r->o->choice ? OS_READER_BYTES : LANE_BYTES;
	uint8_t *const room = arena_get(&w->scratch, most * cap + 4096);
	struct lane lanes[LANES_SMALL], *order[LANES_SMALL]; /* those with a blob first, the oldest in front */
	struct os_reader *begun[LANES_SMALL];
	size_t next = first, told[2] = {STORE_NONE, STORE_NONE};
	unsigned count = 0;

	if (!room) {
		struct err e = {0};
		r->put_off = true; /* others may have it now */
		if (!may_put_off(r))
			end_blob(r, first, no_memory(&e), NULL, &e);
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

/* What a try of one group came to, noted with its candidates. rc, e: of the try itself. */
static void note_try(struct survey_run *r, struct worker *w, const struct group *g, const struct group_result *result, enum rc rc,
	const struct err *e)
{
	const struct feed_result *const feed = &result->feed;
	const bool judged = rc == RC_OK && feed->blob_good;
	/* it may fail as containerd would: then this is not what was unpacked. Or we failed: then that is not known */
	const bool beyond_us = (result->replay != RC_OK && result->replay != RC_CORRUPT) || feed->too_much;
	const char *const late = rc == RC_STOPPED ? arena_string(w->keep, span_of_string(e->text)) : NULL;

	for (unsigned i = 0; i < g->count; i++) {
		struct candidate *const c = &r->candidates[g->candidates[i]];
		c->tried = true;
		c->unknown |= rc == RC_STOPPED || (judged && beyond_us);
		if (rc == RC_STOPPED)
			c->why = late;
		if (judged && (result->replay != RC_OK || feed->too_much) && !c->why) {
			const struct err *const last = result->replay != RC_OK ? &result->why : &feed->why;
			const struct span text = arena_copy(w->keep, span_of_string(last->text));
			c->why = text.bad ? "no memory" : (const char *)text.at;
		} else if (judged && !c->why && !result->paired) {
			c->pairing_failed = true;
		}
	}
}

/* Candidates of this blob cannot be tried now, or never: then nothing is learnt of them. */
static void give_up_candidates(struct survey_run *r, size_t index)
{
	static const char no_memory[] = "no memory to compare a layer";
	struct err e = {0};

	for (size_t i = r->first[index]; i != STORE_NONE; i = r->candidates[i].next) {
		struct candidate *const c = &r->candidates[i];
		c->put_off = true;
		c->tried = c->unknown = !may_put_off(r);
		c->why = c->tried ? no_memory : NULL;
	}
	r->put_off = true;
	if (may_put_off(r))
		return;
	if (r->s->blobs[index].verdict == BLOB_NOT_CHECKED)
		end_blob(r, index, fail(&e, RC_NOMEM, no_memory), NULL, &e);
}

void allow_work(struct worker *w, uint64_t most)
{
	w->spent = 0;
	w->most = most;
	arena_bound(&w->scratch, LIMIT_ARENA_BYTES); /* full is what it is from now on */
}

/* Compares a blob with the snapshots of one group. RC_OK: *feed is what it turned out to be. */
static enum rc try_group(struct survey_run *r, struct worker *w, size_t index, const struct group *g, struct feed_result *feed,
	struct err *e)
{
	struct blob_state *const state = &r->s->blobs[index];
	const bool later = may_put_off(r);
	struct group_result result = {0};
	const struct arena mark = w->scratch;

	for (unsigned i = 0; i < g->count; i++)
		if (r->candidates[g->candidates[i]].contested)
			w->until_ns = r->contested_until_ns;
	allow_work(w, later ? WORK_BYTE * r->st->blob_files[index].size + WORK_REST : 0);
	const enum rc rc = judge_group(r, w, index, g, &result, e);
	const bool worked = w->most && w->spent > w->most && (rc == RC_STOPPED || result.replay == RC_STOPPED) && !stopped(r) &&
			    !out_of_time(r);
	const bool full = arena_is_full(&w->scratch) && (rc == RC_NOMEM || result.replay == RC_NOMEM || result.feed.too_much);
	w->until_ns = w->most = 0;
	w->scratch = mark;
	for (unsigned i = 0; (worked || full) && i < g->count; i++) {
		struct candidate *const c = &r->candidates[g->candidates[i]];
		r->put_off = true;
		c->put_off = true;
		c->tried = c->unknown = !later;
		c->why = later ? NULL : "too big to check";
	}
	if (worked || full)
		return RC_STOPPED; /* of this nobody is told */
	if (rc == RC_OK && result.feed.blob_good && result.feed.content_known && result.hashed) {
		state->content = result.feed.content;
		state->content_known = true;
	}
	note_try(r, w, g, &result, rc, e);
	if (rc == RC_OK)
		*feed = result.feed;
	return rc;
}

void job_blob(struct survey_run *r, struct worker *w, size_t index)
{
	struct blob_state *const state = &r->s->blobs[index];
	const struct blob *const b = &r->st->blob_files[index];
	struct feed_result feed = {0};
	struct err e = {0};
	size_t from = 0;
	enum rc rc = RC_OK;
	bool any = false;

	at_one(r->o->at, w->slot, AT_BLOB, b->text);
	if (b->unreadable) {
		blob_unreadable(r, index, b->unreadable, "");
		return;
	}
	if (!b->regular && b->spare == STORE_NONE) {
		state->verdict = BLOB_IS_BAD;
		return;
	}
	size_t *const mine = arena_array(&w->scratch, count_chosen(r, index), sizeof(*mine));
	if (!mine) {
		give_up_candidates(r, index);
		return;
	}
	const size_t count = gather(r, index, mine);
	while (rc == RC_OK && from < count && !(any && !feed.blob_good)) {
		const struct group g = next_group(r, mine, count, &from);
		if (state->content_known && !digest_equal(&state->content, &r->candidates[g.candidates[0]].diff_id)) {
			for (unsigned i = 0; i < g.count; i++) /* it was unpacked before: once is enough */
				r->candidates[g.candidates[i]].tried = r->candidates[g.candidates[i]].pairing_failed = true;
			continue;
		}
		rc = try_group(r, w, index, &g, &feed, &e);
		any |= rc == RC_OK;
	}
	if (rc == RC_STOPPED && !stopped(r) && !out_of_time(r))
		rc = RC_OK; /* its share of the time was over, which says nothing of the blob */
	if (any || rc)
		end_blob(r, index, rc, &feed.blob, &e);
	else if (state->verdict == BLOB_NOT_CHECKED)
		hash_blobs(r, w, index);
}

/* ---- what the blobs turned out to be ---- */

void emit_blob(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct blob *const b = &st->blob_files[index];
	const struct blob_state *const state = &r->s->blobs[index];
	struct finding f = {.subject = SUBJECT_BLOB, .index = index, .digest = b->text, .got = b->size};

	if (survey_file_is_bad(r->s, st, index)) {
		f.got = state->file_is_bad ? state->file_size : b->size;
		f.want = b->recorded;
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
		f.want = b->recorded;
		emit(r, f);
	}
}

void emit_contents(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; i < st->content_count; i++) {
		const struct content *const c = &st->contents[i];
		struct finding f = {.problem = P_BLOB_MISSING,
			.subject = SUBJECT_CONTENT,
			.index = i,
			.ns = ns_name(st, c->ns),
			.digest = c->text,
			.want = c->size};
		if (c->blob == STORE_NONE) {
			if (c->digest_known && !survey_may_be_found(r->s, &c->digest, c->size))
				emit(r, f);
		} else if (r->s->blobs[c->blob].verdict == BLOB_IS_GOOD && st->blob_files[c->blob].size != c->size) {
			f.problem = P_BLOB_SIZE;
			f.subject = SUBJECT_BLOB;
			f.index = c->blob;
			f.got = st->blob_files[c->blob].size;
			emit(r, f);
		}
	}
}
