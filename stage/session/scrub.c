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
/* "some" of /proc/pressure, in hundredths of the last ten seconds: above it all takes four times as long */
#define PRESSURE_MOST 40
#define DOUBTS_MAX 4096

/* ---- gently ---- */

static bool is_over(const struct scrub *s)
{
	return *s->o->stop || (s->o->deadline_ns && os_clock_ns() >= s->o->deadline_ns);
}

static bool is_pressed(const char *path)
{
	char text[64] = "";
	struct err ignored = {0}; /* older kernels have none */
	struct span said = {0};
	struct arena a;
	uint64_t percent = 0;

	if (arena_open(&a, &ignored))
		return false;
	if (os_read_proc(path, &a, &said, &ignored) == RC_OK)
		(void)print_to(text, sizeof(text), "%.*s", (int)min_u64(said.left, 60), (const char *)said.at); /* a beginning */
	arena_close(&a);
	const char *const at = text_find(text, "avg10=");
	for (const char *c = at ? at + 6 : ""; *c >= '0' && *c <= '9'; c++)
		percent = percent * 10 + (uint64_t)(*c - '0');
	return percent >= PRESSURE_MOST;
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
	struct src src;
	enum rc rc = dir < 0 ? RC_END : os_open_file(dir, name, &live, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	if (!piece)
		return fail(e, RC_NOMEM, "no memory to copy %s", name);
	if (s->own < 0 && (rc = own_open_dir(root, STORE_OWN_DIR, &s->own, e)))
		return rc;
	if ((rc = os_free(s->own, &free_bytes, &inodes, e)) || ((rc = os_unlink(s->own, COPY_NAME, e)) && rc != RC_END) ||
		(rc = os_create(s->own, COPY_NAME, 0600, &copy, e)) || (rc = os_unlink(s->own, COPY_NAME, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is in the way", COPY_NAME) : rc;
	for (unsigned i = 0; i < COPY_TRIES && !*s->o->stop; i++) {
		if (i)
			os_sleep_ms(COPY_WAIT_MS);
		if ((rc = os_src(live, &src, e)))
			return rc;
		if (src.size > free_bytes / 8)
			return fail(e, RC_LIMIT, "no room to copy %s: it takes %llu bytes, and an eighth of what is free is used at most", name,
				(unsigned long long)src.size);
		const enum rc opened = bolt_open(&before, &src, &scratch, &fault, e);
		for (uint64_t at = 0; at < src.size; at += COPY_BYTES) {
			const size_t n = (size_t)min_u64(COPY_BYTES, src.size - at);
			if ((rc = src_read(&src, at, piece, n, e)) || (rc = os_write(copy, at, piece, n, e)))
				return rc;
		}
		const enum rc again = opened ? opened : bolt_open(&after, &src, &scratch, &fault, e);
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
	return *s->o->stop ? fail(e, RC_STOPPED, "it was stopped while it read the store")
			   : fail(e, RC_LIMIT, "%s changes all the time, or is damaged: it could not be copied", name);
}

/* As it is now. */
static enum rc open_now(struct scrub *s, struct store *st, struct arena *keep, struct arena scratch, struct err *e)
{
	enum rc rc = store_open(st, s->root, &s->hints, keep, scratch, &s->refusal, e);

	if (rc || s->refusal != STORE_OPENED)
		return rc ? rc : RC_END;
	rc = store_read(st, scratch, e);
	if (rc == RC_OK && (st->fault_count || !st->meta.present))
		rc = fail(e, RC_CORRUPT, "%s: %s: stop containerd, and run containerd-fsck check",
			st->fault_count ? st->faults[0].path : STORE_META_DIR "/meta.db",
			st->fault_count ? st->faults[0].fault.text : "is not there");
	if (rc)
		store_close(st);
	return rc;
}

/* ---- a look ---- */

static bool is_same(const struct journal_stamp *a, const struct journal_stamp *b)
{
	return a->inode == b->inode && a->size == b->size && a->ctime_ns == b->ctime_ns;
}

static const struct journal_stamp *stamp_of_blob(const struct journal *j, const struct digest *d)
{
	for (size_t i = 0; i < j->blob_doubt_count; i++)
		if (digest_equal(&j->blob_doubts[i].digest, d))
			return &j->blob_doubts[i].stamp;
	return NULL;
}

static const struct journal_stamp *stamp_of_snapshot(const struct journal *j, uint64_t id)
{
	for (size_t i = 0; i < j->snapshot_doubt_count; i++)
		if (j->snapshot_doubts[i].id == id)
			return &j->snapshot_doubts[i].stamp;
	return NULL;
}

static bool in_round(const struct scrub *s, const struct digest *d)
{
	return (!s->goes_on || digest_compare(d, &s->from) >= 0) && (s->to_end || digest_compare(d, &s->to) < 0);
}

/* Of a struct survey_choice. */
static bool takes(void *self, const struct blob *b, const struct backend *snapshot)
{
	const struct scrub *const s = self;

	if (s->only && snapshot)
		return stamp_of_snapshot(s->only, snapshot->id);
	if (s->only)
		return b->records && stamp_of_blob(s->only, &b->digest);
	return b ? (snapshot || b->records) && in_round(s, &b->digest) : s->to_end;
}

/* Where the round that begins at `from` ends. */
static void choose_round(struct scrub *s)
{
	const struct store *const st = &s->store;
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
	survey_close(&s->survey);
	if (s->store.keep)
		store_close(&s->store);
	s->store.keep = NULL;
	s->survey = (struct survey){0};
	arena_close(&s->keep);
	arena_close(&s->scratch);
}

/* At these, or, with NULL, at a round. It stays open. */
static enum rc look(struct scrub *s, const struct journal *only, bool documents, struct err *e)
{
	const struct survey_choice choice = {.takes = takes, .rest = take_rest, .self = s, .documents = documents};
	const struct survey_options options = {.threads = 1,
		.choice = &choice,
		.deadline_ns = s->o->deadline_ns,
		.stop = s->o->stop,
		.progress = s->o->progress,
		.self = s->o->self};
	struct store st;
	enum rc rc;

	close_look(s);
	s->only = only;
	if ((rc = arena_open(&s->keep, e)) || (rc = arena_open(&s->scratch, e)))
		return rc;
	arena_bound(&s->keep, LIMIT_STORE_BYTES);
	if ((rc = open_now(s, &st, &s->keep, s->scratch, e)))
		return rc;
	s->store = st;
	if (!only)
		choose_round(s);
	s->woke_ns = os_clock_ns();
	s->seen_bytes = os_bytes_read();
	if ((rc = survey_begin(&s->survey, &s->store, &options, &s->keep, e)) || (rc = survey_end(&s->survey, e)))
		return rc;
	s->blobs += s->survey.blobs_checked;
	s->snapshots += s->survey.snapshots_checked;
	s->entries += s->survey.entries_compared;
	return RC_OK;
}

/* ---- what is wrong ---- */

static struct journal_stamp stamp_now(const struct store *st, const struct digest *d)
{
	const size_t i = store_find_blob(st, d);

	return i == STORE_NONE ? (struct journal_stamp){0}
			       : (struct journal_stamp){st->blob_files[i].inode, st->blob_files[i].size, st->blob_files[i].ctime_ns};
}

static enum rc add_blob(struct journal *to, const struct digest *d, struct journal_stamp stamp, struct arena *a, struct err *e)
{
	if (stamp_of_blob(to, d) || to->blob_doubt_count == DOUBTS_MAX)
		return RC_OK; /* so many are enough for a check of all */
	struct journal_blob *const b = arena_push(a, (void **)&to->blob_doubts, &to->blob_doubt_count, sizeof(*b));
	if (!b)
		return fail(e, RC_NOMEM, "no memory for what was found");
	*b = (struct journal_blob){.digest = *d, .stamp = stamp};
	return RC_OK;
}

static enum rc add_snapshot(struct journal *to, const struct backend *b, struct arena *a, struct err *e)
{
	if (stamp_of_snapshot(to, b->id) || to->snapshot_doubt_count == DOUBTS_MAX)
		return RC_OK; /* as above */
	struct journal_snapshot *const s = arena_push(a, (void **)&to->snapshot_doubts, &to->snapshot_doubt_count, sizeof(*s));
	if (!s)
		return fail(e, RC_NOMEM, "no memory for what was found");
	*s = (struct journal_snapshot){.id = b->id, .stamp = {b->dir_inode, 0, b->dir_ctime_ns}};
	return RC_OK;
}

/* The disk does not give it: told apart, and doubtful as well. What is unchecked for any other reason is nothing that was found. */
static bool is_of_disk(const struct finding *f)
{
	return problems[f->problem].harm == HARM_UNCHECKED && span_is(f->why, strerror(EIO));
}

/* The object that a finding is about; false: it is no finding of ours. */
static bool subject_of(const struct store *st, const struct finding *f, const struct digest **d, const struct backend **b)
{
	const enum harm harm = problems[f->problem].harm;

	*d = f->subject == SUBJECT_BLOB ? &st->blob_files[f->index].digest
	     : f->subject == SUBJECT_CONTENT ? &st->contents[f->index].digest
					     : NULL;
	*b = f->subject == SUBJECT_BACKEND ? &st->backends[f->index] : NULL;
	if (f->subject == SUBJECT_BLOB && !st->blob_files[f->index].records)
		return false;
	return (*d || *b) && (harm == HARM_TORN || harm == HARM_LOST || is_of_disk(f));
}

/* All that is wrong by the last look. */
static enum rc gather(struct scrub *s, struct journal *to, struct arena *a, struct err *e)
{
	const struct store *const st = &s->store;
	const struct survey *const seen = &s->survey;
	const struct digest *d;
	const struct backend *b;
	enum rc rc = RC_OK;

	*to = (struct journal){0};
	for (size_t i = 0; rc == RC_OK && i < st->blob_count; i++)
		if (st->blob_files[i].records && seen->blobs[i].verdict == BLOB_IS_BAD)
			rc = add_blob(to, &st->blob_files[i].digest, stamp_now(st, &st->blob_files[i].digest), a, e);
	for (size_t i = 0; rc == RC_OK && i < st->backend_count; i++)
		if (seen->snapshots[i].verdict == SNAPSHOT_IS_TORN || seen->snapshots[i].verdict == SNAPSHOT_IS_LOST)
			rc = add_snapshot(to, &st->backends[i], a, e);
	for (size_t i = 0; rc == RC_OK && i < seen->finding_count; i++) /* the findings are fewer: of each kind there is a limit */
		if (subject_of(st, &seen->findings[i], &d, &b))
			rc = d ? add_blob(to, d, stamp_now(st, d), a, e) : add_snapshot(to, b, a, e);
	return rc;
}

/* Whether the last look has seen that nothing is wrong with it. */
static bool blob_is_good(const struct scrub *s, const struct digest *d)
{
	const size_t i = store_find_blob(&s->store, d);

	return i != STORE_NONE && !s->survey.blobs[i].trusted && s->survey.blobs[i].verdict == BLOB_IS_GOOD;
}

static bool snapshot_is_whole(const struct scrub *s, uint64_t id)
{
	for (size_t i = 0; i < s->store.backend_count; i++)
		if (s->store.backends[i].id == id)
			return !s->survey.snapshots[i].trusted && s->survey.snapshots[i].verdict == SNAPSHOT_IS_WHOLE;
	return false;
}

static bool has_record(const struct store *st, const struct digest *d)
{
	for (size_t ns = 0; ns < st->namespace_count; ns++)
		if (store_find_content(st, ns, d) != STORE_NONE)
			return true;
	return false;
}

static bool snapshot_stands(const struct store *st, const struct journal_snapshot *one)
{
	for (size_t i = 0; i < st->backend_count; i++) {
		const struct backend *const b = &st->backends[i];
		const struct journal_stamp now = {b->dir_inode, 0, b->dir_ctime_ns};
		if (b->id == one->id)
			return b->kind == SNAPSHOT_COMMITTED && b->snapshot != STORE_NONE && is_same(&now, &one->stamp);
	}
	return false;
}

/* Leaves of `of` what still has its record, and is what it was. */
static enum rc keep_standing(struct scrub *s, struct journal *of, struct err *e)
{
	struct arena keep, scratch;
	struct store st;
	size_t blobs = 0, snapshots = 0;
	enum rc rc = arena_open(&keep, e);

	if (rc)
		return rc;
	if ((rc = arena_open(&scratch, e)) == RC_OK)
		rc = open_now(s, &st, &keep, scratch, e);
	if (rc == RC_OK) {
		for (size_t i = 0; i < of->blob_doubt_count; i++) {
			const struct journal_stamp now = stamp_now(&st, &of->blob_doubts[i].digest);
			if (is_same(&now, &of->blob_doubts[i].stamp) && has_record(&st, &of->blob_doubts[i].digest))
				of->blob_doubts[blobs++] = of->blob_doubts[i];
		}
		for (size_t i = 0; i < of->snapshot_doubt_count; i++)
			if (snapshot_stands(&st, &of->snapshot_doubts[i]))
				of->snapshot_doubts[snapshots++] = of->snapshot_doubts[i];
		of->blob_doubt_count = blobs;
		of->snapshot_doubt_count = snapshots;
		store_close(&st);
	}
	arena_close(&scratch);
	arena_close(&keep);
	return rc;
}

/* Looks once more at what was found wrong, and leaves that which is wrong again, has its record still, and was not touched since. Of what
 * was known already also that stays which could not be looked at now; *now is what was wrong. */
static enum rc confirm(struct scrub *s, struct journal *of, bool known, struct journal *now, struct err *e)
{
	size_t blobs = 0, snapshots = 0;
	enum rc rc;

	if ((rc = look(s, of, known, e)) || is_over(s) || (rc = gather(s, now, &s->keep, e)))
		return rc;
	for (size_t i = 0; i < of->blob_doubt_count; i++) {
		const struct journal_blob *const b = &of->blob_doubts[i];
		const struct journal_stamp *const again = stamp_of_blob(now, &b->digest);
		if (again ? is_same(again, &b->stamp) : known && !blob_is_good(s, &b->digest))
			of->blob_doubts[blobs++] = *b;
	}
	for (size_t i = 0; i < of->snapshot_doubt_count; i++) {
		const struct journal_snapshot *const one = &of->snapshot_doubts[i];
		const struct journal_stamp *const again = stamp_of_snapshot(now, one->id);
		if (again ? is_same(again, &one->stamp) : known && !snapshot_is_whole(s, one->id))
			of->snapshot_doubts[snapshots++] = *one;
	}
	of->blob_doubt_count = blobs;
	of->snapshot_doubt_count = snapshots;
	return blobs + snapshots ? keep_standing(s, of, e) : RC_OK;
}

/* Of the findings of the last look those about what is doubted. */
static void keep_findings(struct scrub *s, const struct journal *wrong)
{
	struct survey *const seen = &s->survey;
	size_t kept = 0;

	for (size_t i = 0; i < seen->finding_count; i++) {
		const struct finding *const f = &seen->findings[i];
		const struct digest *d;
		const struct backend *b;
		if (subject_of(&s->store, f, &d, &b) && (d ? stamp_of_blob(&s->found, d) && stamp_of_blob(wrong, d)
						 : stamp_of_snapshot(&s->found, b->id) && stamp_of_snapshot(wrong, b->id))) {
			s->unreadable += is_of_disk(f);
			seen->findings[kept++] = *f;
		} else {
			seen->total[f->problem]--;
		}
	}
	seen->finding_count = kept;
	for (size_t i = 0; i < P_COUNT; i++) /* what is not listed is of what is doubted */
		if (problems[i].harm != HARM_TORN && problems[i].harm != HARM_LOST && problems[i].harm != HARM_UNCHECKED)
			seen->total[i] = 0;
}

/* ---- what is kept ---- */

static enum rc identify(const struct store *st, struct journal_identity *id, struct err *e)
{
	struct stat root = {0};
	const enum rc rc = os_stat_fd(st->dir, &root, e);

	*id = (struct journal_identity){.root_inode = root.st_ino};
	return rc ? rc : os_fs_identity(st->dir, id->fs, sizeof(id->fs), e);
}

static enum rc save(struct scrub *s, struct err *e)
{
	char text[DIGEST_TEXT_BYTES];
	struct journal_identity id;
	struct journal_writer w;
	struct at_name place;
	enum rc rc = identify(&s->store, &id, e);

	if (rc)
		return rc;
	journal_begin(&w, &id, &s->scratch);
	for (size_t i = 0; i < s->found.blob_doubt_count; i++)
		journal_put_blob(&w, &s->found.blob_doubts[i], true);
	for (size_t i = 0; i < s->found.snapshot_doubt_count; i++)
		journal_put_snapshot(&w, &s->found.snapshot_doubts[i], true);
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

	if (rc || (rc = identify(&s->store, &id, e)) || !j.present || !journal_same_store(&j.identity, &id))
		return rc;
	s->found.blob_doubts = j.blob_doubts;
	s->found.blob_doubt_count = j.blob_doubt_count;
	s->found.snapshot_doubts = j.snapshot_doubts;
	s->found.snapshot_doubt_count = j.snapshot_doubt_count;
	s->goes_on = j.stuck_count && digest_parse(span_of_string(j.stuck[0].name), &s->from) == RC_OK;
	return RC_OK;
}

/* How far a round has come that was not ended: all before it was looked at, and right. */
static void step(struct scrub *s)
{
	size_t first = s->store.blob_count;

	for (size_t i = s->store.blob_count; i-- > 0;)
		if (takes(s, &s->store.blob_files[i], NULL) && s->survey.blobs[i].verdict != BLOB_IS_GOOD)
			first = i;
	for (size_t i = 0; s->survey.snapshots && i < s->store.backend_count; i++) {
		const struct snapshot_state *const one = &s->survey.snapshots[i];
		if (one->verdict != SNAPSHOT_IS_WHOLE && one->proof < first)
			first = one->proof;
	}
	if (first < s->store.blob_count) {
		s->from = s->store.blob_files[first].digest;
		s->goes_on = true;
	}
}

static enum rc rounds(struct scrub *s, struct err *e)
{
	struct journal wrong, now;
	enum rc rc;

	for (;;) {
		if ((rc = look(s, NULL, false, e)))
			return rc;
		const bool whole = !s->survey.interrupted && !s->survey.out_of_time;
		const struct digest to = s->to;
		const bool last = s->to_end;
		if (!whole) {
			step(s);
			return save(s, e);
		}
		if ((rc = gather(s, &wrong, &s->kept, e)))
			return rc;
		if (wrong.blob_doubt_count + wrong.snapshot_doubt_count) {
			if ((rc = confirm(s, &wrong, false, &now, e)))
				return rc;
			if (is_over(s))
				return RC_OK; /* this round is made again */
			for (size_t i = 0; rc == RC_OK && i < wrong.blob_doubt_count; i++)
				rc = add_blob(&s->found, &wrong.blob_doubts[i].digest, wrong.blob_doubts[i].stamp, &s->kept, e);
			for (size_t i = 0; rc == RC_OK && i < wrong.snapshot_doubt_count; i++) {
				const struct backend b = {.id = wrong.snapshot_doubts[i].id,
					.dir_inode = wrong.snapshot_doubts[i].stamp.inode,
					.dir_ctime_ns = wrong.snapshot_doubts[i].stamp.ctime_ns};
				rc = add_snapshot(&s->found, &b, &s->kept, e);
			}
			if (rc)
				return rc;
		}
		s->goes_on = !last;
		s->from = to;
		if ((rc = save(s, e)) || last || is_over(s)) {
			s->ended = !rc && last;
			return rc;
		}
	}
}

static enum rc run(struct scrub *s, struct err *e)
{
	const struct journal nothing = {0};
	struct journal wrong = {0};
	enum rc rc;

	os_give_way();
	if ((rc = arena_open(&s->kept, e)) || (rc = arena_open(&s->keep, e)) || (rc = arena_open(&s->scratch, e)) ||
		(rc = open_now(s, &s->store, &s->keep, s->scratch, e)))
		return rc;
	rc = os_lock(s->own, e);
	if (rc)
		return rc == RC_END ? fail(e, RC_IO, "another scrub is at it") : rc;
	if ((rc = recall(s, e)) || (rc = rounds(s, e)))
		return rc;
	if (s->found.blob_doubt_count + s->found.snapshot_doubt_count && !is_over(s)) {
		if ((rc = confirm(s, &s->found, true, &wrong, e)) || (!is_over(s) && (rc = save(s, e))))
			return rc;
	} else if (s->survey.snapshots == NULL) {
		rc = look(s, &nothing, false, e);
	}
	if (rc)
		return rc;
	keep_findings(s, is_over(s) ? &nothing : &wrong);
	s->survey.blobs_checked = s->blobs;
	s->survey.snapshots_checked = s->snapshots;
	s->survey.entries_compared = s->entries;
	s->survey.bytes_read = os_bytes_read();
	return RC_OK;
}

enum rc scrub_run(struct scrub *s, const char *root, const struct scrub_options *o, struct err *e)
{
	*s = (struct scrub){.root = root, .o = o, .own = -1, .hints = *o->hints, .beside = {copy_database, s}};
	s->hints.beside = &s->beside;
	return run(s, e);
}

void scrub_close(struct scrub *s)
{
	close_look(s);
	arena_close(&s->kept);
	os_close(&s->own);
}
