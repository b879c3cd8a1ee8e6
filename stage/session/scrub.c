/* SPDX-License-Identifier: MIT */
/* Sources: records go before what they are of, and come after it (containerd 2.1: core/metadata/content.go and gc.go;
 * plugins/snapshots/overlay/overlay.go, Remove; core/snapshots/storage/bolt.go): what is wrong with an object of which there is a record
 * afterwards still, was wrong. */
#include "session/scrub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/bolt.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/identity.h"
#include "memory/own.h"

/* tries to copy a database that changes meanwhile, and between them */
#define COPY_TRIES 50
#define COPY_WAIT_MS 20
#define COPY_BYTES ((size_t)256 << 10)
#define COPY_NAME "scrub.db"
/* of blobs, in a round: the databases are copied once for each, and a scrub that is killed begins it again */
#define ROUND_BYTES ((uint64_t)128 << 20)
/* bytes a second at least, if nobody says otherwise; and how many times as long as it works it rests */
#define RATE_LEAST ((uint64_t)4 << 20)
#define RESTS 10
/* "some" of /proc/pressure, in tens of hundredths of the last ten seconds: from it on all takes four times as long */
#define PRESSURE_MOST '4'
#define DOUBTS_MAX 4096

/* ---- gently ---- */

static bool is_over(const struct scrub *s)
{
	return *s->o->stop || (s->o->deadline_ns && os_clock_ns() >= s->o->deadline_ns);
}

static bool is_pressed(const char *path)
{
	struct err ignored = {0}; /* older kernels have none */
	struct span said = {0};
	struct arena a;
	const char *at = NULL;
	bool pressed = false;

	if (arena_open(&a, &ignored))
		return false;
	if (os_read_proc(path, &a, &said, &ignored) == RC_OK && (at = text_find((const char *)said.at, "avg10=")))
		pressed = at[7] != '.' && (at[6] >= PRESSURE_MOST || at[8] != '.'); /* 7.10, 40.00, 100.00 */
	arena_close(&a);
	return pressed;
}

static void take_rest(void *self)
{
	struct scrub *const s = self;
	const uint64_t now = os_clock_ns(), bytes = os_bytes_read() - s->seen_bytes;
	const uint64_t busy = now - s->woke_ns;
	uint64_t due = bytes * 1000000 / (s->o->rate ? s->o->rate : RATE_LEAST) * 1000;

	if (now - s->asked_ns > 1000000000) {
		s->pressed = is_pressed("/proc/pressure/io") || is_pressed("/proc/pressure/cpu");
		s->asked_ns = now;
	}
	if (!s->o->rate)
		due = min_u64(due, RESTS * busy);
	due *= s->pressed ? 4 : 1;
	for (const uint64_t until = s->woke_ns + due; os_clock_ns() < until && !is_over(s);)
		os_sleep_ms((unsigned)min_u64(100, (until - os_clock_ns()) / 1000000 + 1));
	s->seen_bytes += bytes;
	s->woke_ns = os_clock_ns();
}

/* ---- the databases ---- */

/* All of it as of one transaction: bbolt writes no page that the newest can reach, so that, if that is still the same behind the copy,
 * all that it can reach was whole. fd stays -1 for what is not there. */
static enum rc copy_database(void *self, int root, int dir, const char *name, int *fd, struct arena scratch, struct err *e)
{
	struct scrub *const s = self;
	uint8_t *const piece = arena_get(&scratch, COPY_BYTES);
	uint64_t free_bytes = 0, inodes = 0;
	auto_fd live = -1, copy = -1;
	struct bolt_fault fault = {0};
	struct bolt before, after;
	enum rc again = RC_OK;
	struct src src;
	enum rc rc = dir < 0 ? RC_END : os_open_file(dir, name, &live, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	if (!piece)
		return fail(e, RC_NOMEM, "no memory to copy %s", name);
	if (s->own < 0 && ((rc = own_open_dir(root, STORE_OWN_DIR, &s->own, e)) || (rc = os_lock(s->own, e))))
		return rc == RC_END ? fail(e, RC_IO, "another scrub is at it") : rc;
	if ((rc = os_free(s->own, &free_bytes, &inodes, e)) || ((rc = os_unlink(s->own, COPY_NAME, e)) && rc != RC_END) ||
		(rc = os_create(s->own, COPY_NAME, 0600, &copy, e)) || (rc = os_unlink(s->own, COPY_NAME, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is in the way", COPY_NAME) : rc;
	for (unsigned i = 0; i < COPY_TRIES; i++) {
		if (i)
			os_sleep_ms(COPY_WAIT_MS);
		if ((rc = os_src(live, &src, e)))
			return rc;
		if (src.size > free_bytes / 8)
			return fail(e, RC_LIMIT, "no room to copy %s, for which an eighth of what is free is used at most", name);
		const enum rc opened = bolt_open(&before, &src, &scratch, &fault, e);
		for (uint64_t at = 0; at < src.size; at += COPY_BYTES) {
			const size_t n = (size_t)min_u64(COPY_BYTES, src.size - at);
			if (is_over(s))
				return fail(e, RC_STOPPED, "it was stopped while it read the store");
			if ((rc = src_read(&src, at, piece, n, e)) || (rc = os_write(copy, at, piece, n, e)))
				return rc;
		}
		again = opened ? opened : bolt_open(&after, &src, &scratch, &fault, e);
		if (again && again != RC_CORRUPT)
			return again;
		*e = (struct err){0};
		if (again || after.meta[after.current].txid != before.meta[before.current].txid)
			continue;
		if ((rc = os_truncate(copy, src.size, e)))
			return rc;
		*fd = take_fd(&copy);
		return RC_OK;
	}
	return fail(e, again ? again : RC_LIMIT, "%s changes all the time, or is damaged: it could not be copied", name);
}

/* As it is now. */
static enum rc open_now(struct scrub *s, struct store *st, struct err *e)
{
	enum rc rc = store_open(st, s->root, &s->hints, s->keep, s->scratch, s->refusal, e);

	if (rc || *s->refusal != STORE_OPENED)
		return rc ? rc : RC_END;
	rc = store_read(st, s->scratch, e);
	if (rc == RC_OK && (st->fault_count || !st->meta.present))
		rc = fail(e, st->fault_count ? RC_CORRUPT : RC_IO, "%s: %s: stop containerd, and run containerd-fsck check",
			st->fault_count ? st->faults[0].path : STORE_META_DIR "/meta.db",
			st->fault_count ? st->faults[0].fault.text : "is not there");
	if (rc)
		store_close(st);
	return rc;
}

/* ---- a look ---- */

static const struct doubt *find(const struct doubts *in, const struct digest *d, uint64_t id)
{
	for (size_t i = 0; i < in->count; i++)
		if (d ? !in->at[i].id && digest_equal(&in->at[i].digest, d) : in->at[i].id == id)
			return &in->at[i];
	return NULL;
}

/* Digests are as good as drawn by lot: their beginning alone. All others are in the last. */
static bool is_in_slice(const struct scrub *s, const struct digest *d)
{
	const uint64_t of = s->o->slices, at = (uint64_t)(d->bytes[0] << 8 | d->bytes[1]);

	return !of || s->o->slice == (d->kind == DIGEST_SHA256 ? (at * of >> 16) + 1 : of);
}

static bool in_round(const struct scrub *s, const struct digest *d)
{
	return is_in_slice(s, d) && (!s->goes_on || digest_compare(d, &s->from) >= 0) && (s->to_end || digest_compare(d, &s->to) < 0);
}

/* Of what is looked at now. */
static bool is_chosen(const struct scrub *s, const struct digest *d)
{
	return s->only ? find(s->only, d, 0) != NULL : in_round(s, d);
}

/* Of a struct survey_choice. */
static bool takes(void *self, const struct blob *b, const struct backend *snapshot)
{
	const struct scrub *const s = self;

	if (b && !snapshot && !b->records)
		return false;
	if (s->only && s->only != &s->part && snapshot)
		return find(s->only, NULL, snapshot->id);
	return b ? is_chosen(s, &b->digest) : !s->only && s->to_end && s->o->slice == s->o->slices;
}

/* Where the round that begins at `from` ends. */
static void choose_round(struct scrub *s)
{
	const struct store *const st = s->store;
	uint64_t bytes = 0;

	s->to_end = true;
	for (size_t i = 0; i < st->blob_count && s->to_end; i++) {
		const struct blob *const b = &st->blob_files[i];
		if (!b->records || !in_round(s, &b->digest))
			continue;
		s->to_end = bytes < ROUND_BYTES;
		s->to = b->digest;
		bytes += b->size;
	}
}

static void close_look(struct scrub *s)
{
	if (!s->open)
		return;
	survey_close(s->survey);
	store_close(s->store);
	*s->survey = (struct survey){0};
	*s->keep = s->mark;
	s->open = false;
}

/* At these, or, with NULL, at a round. It stays open. */
static enum rc look(struct scrub *s, const struct doubts *only, bool documents, struct err *e)
{
	const struct survey_choice choice = {.takes = takes, .rest = take_rest, .self = s, .documents = documents};
	const struct survey_options options = {.threads = 1,
		.choice = &choice,
		.deadline_ns = s->o->deadline_ns,
		.stop = s->o->stop,
		.progress = s->o->progress,
		.self = s->o->self};
	enum rc rc;

	close_look(s);
	s->only = only;
	if ((rc = open_now(s, s->store, e)))
		return rc;
	s->open = true;
	if (!only)
		choose_round(s);
	s->woke_ns = os_clock_ns();
	s->seen_bytes = os_bytes_read();
	if ((rc = survey_begin(s->survey, s->store, &options, s->keep, e)) || (rc = survey_end(s->survey, e)))
		return rc;
	if (only && only != &s->part)
		return RC_OK; /* a second look at what was counted */
	s->blobs += s->survey->blobs_checked;
	s->snapshots += s->survey->snapshots_checked;
	s->entries += s->survey->entries_compared;
	return RC_OK;
}

/* ---- what is wrong ---- */

static void doubt_blob(const struct store *st, const struct digest *d, struct doubt *one)
{
	const size_t i = store_find_blob(st, d);
	const struct blob *const b = i == STORE_NONE ? NULL : &st->blob_files[i];

	*one = (struct doubt){.digest = *d, .stamp = {b ? b->inode : 0, b ? b->size : 0, b ? b->ctime_ns : 0}};
}

static void doubt_snapshot(const struct backend *b, struct doubt *one)
{
	*one = (struct doubt){.id = b->id, .stamp = {b->dir_inode, 0, b->dir_ctime_ns}};
}

static const struct doubt *find_same(const struct doubts *in, const struct doubt *one)
{
	return find(in, one->id ? NULL : &one->digest, one->id);
}

static enum rc add(struct doubts *to, const struct doubt *one, struct arena *a, struct err *e)
{
	struct doubt *place = (struct doubt *)(uintptr_t)find_same(to, one);

	if (!place && to->count == DOUBTS_MAX)
		return RC_OK; /* so many are enough for a check of all */
	if (!place && !(place = arena_push(a, (void **)&to->at, &to->count, sizeof(*place))))
		return no_memory(e);
	*place = *one;
	return RC_OK;
}

static bool is_same(const struct doubt *a, const struct doubt *b)
{
	return a->stamp.inode == b->stamp.inode && a->stamp.size == b->stamp.size && a->stamp.ctime_ns == b->stamp.ctime_ns;
}

/* The disk does not give it: told apart, and doubtful as well. What is unchecked for any other reason is nothing that was found. */
static bool is_of_disk(const struct finding *f)
{
	return problems[f->problem].harm == HARM_UNCHECKED && span_is(f->why, error_text(EIO));
}

/* What a finding is about; false: it is none of ours. */
static bool subject_of(const struct store *st, const struct finding *f, struct doubt *one)
{
	const enum harm harm = problems[f->problem].harm;

	if (f->subject == SUBJECT_BACKEND)
		doubt_snapshot(&st->backends[f->index], one);
	else if (f->subject == SUBJECT_CONTENT || (f->subject == SUBJECT_BLOB && st->blob_files[f->index].records))
		doubt_blob(st, f->subject == SUBJECT_BLOB ? &st->blob_files[f->index].digest : &st->contents[f->index].digest, one);
	else
		return false;
	return harm == HARM_TORN || harm == HARM_LOST || is_of_disk(f);
}

/* All that is wrong by the last look. */
static enum rc gather(struct scrub *s, struct doubts *to, struct arena *a, struct err *e)
{
	const struct store *const st = s->store;
	const struct survey *const seen = s->survey;
	struct doubt one;
	enum rc rc = RC_OK;

	*to = (struct doubts){0};
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++)
		if (st->blob_files[i].records && seen->blobs[i].verdict == BLOB_IS_BAD) {
			doubt_blob(st, &st->blob_files[i].digest, &one);
			rc = add(to, &one, a, e);
		}
	for (size_t i = 0; rc == RC_OK && i < st->backend_count; i++)
		if (seen->snapshots[i].verdict == SNAPSHOT_IS_TORN || seen->snapshots[i].verdict == SNAPSHOT_IS_LOST) {
			doubt_snapshot(&st->backends[i], &one);
			rc = add(to, &one, a, e);
		}
	for (size_t i = 0; rc == RC_OK && i < seen->finding_count; i++) /* of each kind there are not all */
		if (subject_of(st, &seen->findings[i], &one) && (one.id || is_chosen(s, &one.digest)))
			rc = add(to, &one, a, e);
	return rc;
}

static size_t backend_of(const struct store *st, uint64_t id)
{
	for (size_t i = 0; i < st->backend_count; i++)
		if (st->backends[i].id == id)
			return i;
	return STORE_NONE;
}

/* Whether the last look has seen that nothing is wrong with it. */
static bool is_healthy(const struct scrub *s, const struct doubt *one)
{
	const size_t i = one->id ? backend_of(s->store, one->id) : store_find_blob(s->store, &one->digest);

	if (i == STORE_NONE)
		return false;
	return one->id ? !s->survey->snapshots[i].trusted && s->survey->snapshots[i].verdict == SNAPSHOT_IS_WHOLE
		       : !s->survey->blobs[i].trusted && s->survey->blobs[i].verdict == BLOB_IS_GOOD;
}

/* It has its record still, and is what it was. */
static bool stands(const struct store *st, const struct doubt *one)
{
	const size_t i = one->id ? backend_of(st, one->id) : STORE_NONE;
	const struct backend *const b = i == STORE_NONE ? NULL : &st->backends[i];
	bool recorded = b && b->kind == SNAPSHOT_COMMITTED && b->snapshot != STORE_NONE;

	for (size_t ns = 0; !one->id && ns < st->namespace_count; ns++)
		recorded |= store_find_content(st, ns, &one->digest) != STORE_NONE;
	if (!recorded)
		return false;
	struct doubt now;
	if (b)
		doubt_snapshot(b, &now);
	else
		doubt_blob(st, &one->digest, &now);
	return is_same(&now, one);
}

static enum rc keep_standing(struct scrub *s, struct doubts *of, struct err *e)
{
	const struct arena mark = *s->keep;
	struct store st;
	size_t kept = 0;
	const enum rc rc = open_now(s, &st, e);

	for (size_t i = 0; !rc && i < of->count; i++)
		if (stands(&st, &of->at[i]))
			of->at[kept++] = of->at[i];
	if (!rc) {
		of->count = kept;
		store_close(&st);
	}
	*s->keep = mark;
	return rc;
}

/* Looks once more at what was found wrong, and leaves that which is wrong again, has its record still, and was not touched since. Of what
 * was known already also that stays which could not be looked at now; *now is what was wrong. */
static enum rc confirm(struct scrub *s, struct doubts *of, bool known, struct doubts *now, struct err *e)
{
	size_t kept = 0;
	enum rc rc;

	if ((rc = look(s, of, known, e)) || is_over(s) || (rc = gather(s, now, s->keep, e)))
		return rc;
	for (size_t i = 0; i < of->count; i++) {
		const struct doubt *const one = &of->at[i];
		const struct doubt *const again = find_same(now, one);
		if (again ? is_same(again, one) : known && !is_healthy(s, one))
			of->at[kept++] = *one;
	}
	of->count = kept;
	return kept ? keep_standing(s, of, e) : RC_OK;
}

/* Of the findings of the last look those about what is doubted. */
static void keep_findings(struct scrub *s, const struct doubts *wrong)
{
	struct survey *const seen = s->survey;
	struct doubt one;
	size_t kept = 0;

	for (size_t i = 0; i < seen->finding_count; i++) {
		const struct finding *const f = &seen->findings[i];
		if (subject_of(s->store, f, &one) && find_same(wrong, &one) && find_same(&s->found, &one)) {
			s->unreadable += is_of_disk(f);
			seen->findings[kept++] = *f;
		} else {
			seen->total[f->problem]--;
		}
	}
	seen->finding_count = kept;
	for (size_t i = 0; i < P_COUNT; i++) /* what is not listed is of what is doubted */
		if (problems[i].harm == HARM_NOTE || problems[i].harm == HARM_STALE)
			seen->total[i] = 0;
}

/* ---- what is kept ---- */

static enum rc save(struct scrub *s, struct err *e)
{
	char text[DIGEST_TEXT_BYTES];
	struct journal_identity id;
	struct journal_writer w;
	struct at_name place;
	enum rc rc = identity_read(&id, s->store->dir, s->scratch, e);

	if (rc)
		return rc;
	journal_begin(&w, &id, &s->scratch);
	for (size_t i = 0; i < s->found.count; i++) {
		const struct doubt *const one = &s->found.at[i];
		if (one->id)
			journal_put_snapshot(&w, &(struct journal_snapshot){.id = one->id, .stamp = one->stamp}, true);
		else
			journal_put_blob(&w, &(struct journal_blob){.digest = one->digest, .stamp = one->stamp}, true);
	}
	digest_format(&s->from, text);
	if (s->goes_on && at_make(&place, AT_BLOB, span_of_string(text)))
		journal_put_stuck(&w, &place);
	return journal_commit_file(&w, s->own, JOURNAL_SCRUB, e);
}

/* What the last one left. */
static enum rc recall(struct scrub *s, struct err *e)
{
	struct journal_identity id;
	struct journal j;
	enum rc rc = journal_read_file(&j, s->own, JOURNAL_SCRUB, &s->kept, e);

	if (rc || (rc = identity_read(&id, s->store->dir, s->scratch, e)) || !j.present || !journal_same_store(&j.identity, &id))
		return rc;
	for (size_t i = 0; rc == RC_OK && i < j.blob_doubt_count; i++)
		rc = add(&s->found, &(struct doubt){j.blob_doubts[i].digest, 0, j.blob_doubts[i].stamp}, &s->kept, e);
	for (size_t i = 0; rc == RC_OK && i < j.snapshot_doubt_count; i++)
		rc = add(&s->found, &(struct doubt){.id = j.snapshot_doubts[i].id, .stamp = j.snapshot_doubts[i].stamp}, &s->kept, e);
	s->goes_on = j.stuck_count && digest_parse(span_of_string(j.stuck[0].name), &s->from) == RC_OK;
	return rc;
}

/* How far a round has come that was not ended: all before it was looked at, and is right, or known. A blob that two runs had no time for
 * though they began with it is passed over: else nothing behind it would ever be looked at. */
static void step(struct scrub *s, bool first_round)
{
	const size_t none = s->store->blob_count;
	size_t first = none, second = none;

	for (size_t i = none; i-- > 0;)
		if (takes(s, &s->store->blob_files[i], NULL) &&
			(first == none || (s->survey->blobs[i].verdict != BLOB_IS_GOOD &&
						  !find(&s->found, &s->store->blob_files[i].digest, 0)))) {
			second = first;
			first = i; /* the last of all, where nothing else is left */
		}
	if (first < none && s->survey->out_of_time && first_round && s->goes_on &&
		digest_equal(&s->store->blob_files[first].digest, &s->from)) {
		first = second;
		s->goes_on = first < none || !s->to_end; /* behind the last it begins anew */
		s->from = s->to;
	}
	if (first < none) {
		s->from = s->store->blob_files[first].digest;
		s->goes_on = true;
	}
}

static enum rc rounds(struct scrub *s, struct err *e)
{
	struct doubts wrong, now;
	enum rc rc;

	for (size_t round = 0; !s->ended && (!round || !is_over(s)); round++) {
		if ((rc = look(s, s->o->image ? &s->part : NULL, false, e)))
			return rc;
		const struct digest to = s->to;
		const bool last = s->to_end || s->o->image;
		if ((rc = gather(s, &wrong, &s->kept, e)))
			return rc;
		if (s->survey->interrupted || s->survey->out_of_time) { /* what was seen once is told by the next, which looks again */
			const size_t told = s->found.count;
			for (size_t i = 0; !rc && i < wrong.count; i++)
				rc = add(&s->found, &wrong.at[i], &s->kept, e);
			if (!s->o->image)
				step(s, !round);
			rc = rc ? rc : save(s, e);
			s->found.count = told;
			return rc;
		}
		for (size_t i = 0; i < P_COUNT; i++)
			s->whole &= !s->survey->total[i] || problems[i].harm != HARM_UNCHECKED;
		size_t fresh = 0; /* what is known already is looked at in the end */
		for (size_t i = 0; i < wrong.count; i++) {
			const struct doubt *const known = find_same(&s->found, &wrong.at[i]);
			if (!known || !is_same(known, &wrong.at[i]))
				wrong.at[fresh++] = wrong.at[i];
		}
		wrong.count = fresh;
		if (wrong.count && (rc = confirm(s, &wrong, false, &now, e)))
			return rc;
		if (wrong.count && is_over(s))
			return RC_OK; /* this round is made again */
		for (size_t i = 0; rc == RC_OK && i < wrong.count; i++)
			rc = add(&s->found, &wrong.at[i], &s->kept, e);
		if (!s->o->image) {
			s->goes_on = !last;
			s->from = to;
		}
		if (rc || (rc = save(s, e)))
			return rc;
		if (wrong.count && !last)
			s->o->tell(s->o->teller, s->scratch);
		s->ended = last;
	}
	return RC_OK;
}

/* ---- a part of it ---- */

/* Of a look at all documents: whatever the image leads to, each once. */
static enum rc choose_image(struct scrub *s, struct err *e)
{
	const struct store *const st = s->store;
	struct doubt one = {0};
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < st->image_count; i++)
		if (st->images[i].target_known && span_is(st->images[i].name, s->o->image)) {
			one.digest = st->images[i].target;
			rc = add(&s->part, &one, &s->kept, e);
		}
	if (!s->part.count)
		return fail(e, RC_CORRUPT, "no image is called %s: see containerd-fsck show", s->o->image);
	for (size_t i = 0; rc == RC_OK && i < s->part.count; i++) {
		const size_t blob = store_find_blob(st, &s->part.at[i].digest);
		const struct oci_doc *const doc = blob == STORE_NONE ? NULL : s->survey->blobs[blob].doc;
		for (size_t k = 0; doc && rc == RC_OK && k <= doc->child_count; k++) {
			const struct oci_descriptor *const next = k ? &doc->children[k - 1] : &doc->config;
			one.digest = next->digest;
			if (next->digest_known)
				rc = add(&s->part, &one, &s->kept, e);
		}
	}
	return rc == RC_OK && s->part.count == DOUBTS_MAX ? fail(e, RC_LIMIT, "%s is too large", s->o->image) : rc;
}

static enum rc run(struct scrub *s, struct err *e)
{
	const struct doubts nothing = {0};
	struct doubts wrong = {0};
	enum rc rc;

	os_give_way();
	if ((rc = arena_open(&s->kept, e)) || (rc = look(s, &nothing, s->o->image != NULL, e)) ||
		(s->o->image && !is_over(s) && (rc = choose_image(s, e))) || (rc = recall(s, e)) ||
		(s->found.count && !is_over(s) && (rc = keep_standing(s, &s->found, e))))
		return rc;
	s->goes_on &= is_in_slice(s, &s->from);
	s->whole = !s->goes_on && !s->o->image && !s->o->slices;
	if ((rc = rounds(s, e)))
		return rc;
	if (s->found.count && !is_over(s) && ((rc = confirm(s, &s->found, true, &wrong, e)) || (!is_over(s) && (rc = save(s, e)))))
		return rc;
	keep_findings(s, is_over(s) ? &nothing : &wrong);
	s->survey->blobs_checked = s->blobs;
	s->survey->snapshots_checked = s->snapshots;
	s->survey->entries_compared = s->entries;
	s->survey->bytes_read = os_bytes_read();
	return RC_OK;
}

enum rc scrub_run(struct scrub *s, const char *root, const struct scrub_options *o, struct store *st, struct survey *survey,
	struct arena *keep, struct arena scratch, enum store_refusal *refusal, struct err *e)
{
	*s = (struct scrub){.root = root,
		.o = o,
		.refusal = refusal,
		.own = -1,
		.hints = *o->hints,
		.beside = {copy_database, s},
		.store = st,
		.survey = survey,
		.keep = keep,
		.scratch = scratch,
		.mark = *keep};
	s->hints.beside = &s->beside;
	const enum rc rc = run(s, e);
	if (rc)
		close_look(s);
	return rc;
}

void scrub_close(struct scrub *s)
{
	arena_close(&s->kept);
	os_close(&s->own);
}
