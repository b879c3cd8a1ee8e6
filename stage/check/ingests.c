/* SPDX-License-Identifier: MIT */
/* Unfinished downloads: what their bytes are. */
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

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
		ingest_unreadable(r, index, e.sys_errno ? error_text(e.sys_errno) : e.text);
		if (rc == RC_NOMEM) {
			lock_take(&r->lock);
			r->s->out_of_memory = true;
			lock_give(&r->lock);
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
		ingest_unreadable(r, index, error_text(in->unreadable));
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
		f.problem = st->blob_files[state->blob].records ? P_BLOB_IN_INGEST : P_INGEST_COMPLETE;
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
	(void)print_to(path, sizeof(path), "%s%s%s", at->from ? at->from : at->dir, at->from ? "" : "/",
		at->from ? "" : at->name); /* a cut path is still told */
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

enum rc pass_ingests(struct survey_run *r)
{
	size_t *const order = arena_array(r->keep, r->st->ingest_count + 1, sizeof(*order));
	enum rc rc = RC_OK;
	size_t count = 0;

	if (!order)
		return no_memory(r->e);
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
