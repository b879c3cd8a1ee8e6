/* SPDX-License-Identifier: MIT */
/* Any bytes as a journal. What can be read, written anew, reads the same; what is written behind it is read as well. The first byte says
 * whether lines get the numbers and the checksums that they need (1), and the marker the sum of the whole (2). */
#include "memory/journal.h"

#include "place.h"
#include "steps.h"
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MOST 65536

/* ---- a text with numbers and sums ---- */

static size_t put_numbers(const uint8_t *data, size_t size, bool marker, char *out, size_t cap)
{
	size_t used = 0;

	for (unsigned number = 1; size; number++) {
		const uint8_t *const end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;
		if (n > 4096 || used + n + 128 > cap)
			break;
		const size_t began = used;
		used += (size_t)snprintf(out + used, cap - used, "%u ", number);
		memcpy(out + used, data, n);
		used += n;
		if (marker && n > 6 && memcmp(data, "clean ", 6) == 0) {
			struct wide_sum sum;
			wide_sum_begin(&sum);
			wide_sum_add(&sum, out, began);
			used += (size_t)snprintf(out + used, cap - used, " %016llx", (unsigned long long)wide_sum_end(&sum));
		}
		used += (size_t)snprintf(out + used, cap - used, " %016llx\n", (unsigned long long)fnv1a(out + began, used - began));
		n += end != NULL;
		data += n;
		size -= n;
	}
	return used;
}

/* ---- what was read, and the same again ---- */

static bool same_stamp(const struct journal_stamp *a, const struct journal_stamp *b)
{
	return a->inode == b->inode && a->size == b->size && a->ctime_ns == b->ctime_ns;
}

static void want_at(bool holds, int line)
{
	if (holds)
		return;
	(void)fprintf(stderr, "line %d does not hold\n", line);
	abort();
}
#define want(holds) want_at(holds, __LINE__)

static void read_journal(struct journal *j, int own, struct arena *a)
{
	struct err e = {0};

	want(journal_read(j, own, a, &e) == RC_OK);
	want(j->present || (j->absent && !j->clean && !j->blob_count && !j->snapshot_count && !j->ingest_count));
	want(j->valid_bytes <= j->file_bytes);
	for (size_t i = 1; i < j->blob_count; i++)
		want(digest_compare(&j->blobs[i - 1].digest, &j->blobs[i].digest) <= 0);
	for (size_t i = 1; i < j->snapshot_count; i++)
		want(j->snapshots[i - 1].id <= j->snapshots[i].id);
}

static void put_all(struct journal_writer *w, const struct journal *j)
{
	for (size_t i = 0; i < j->blob_count; i++)
		journal_put_blob(w, &j->blobs[i], false);
	for (size_t i = 0; i < j->snapshot_count; i++)
		journal_put_snapshot(w, &j->snapshots[i], false);
	for (size_t i = 0; i < j->ingest_count; i++)
		journal_put_ingest(w, &j->ingests[i]);
	for (size_t i = 0; i < j->blob_doubt_count; i++)
		journal_put_blob(w, &j->blob_doubts[i], true);
	for (size_t i = 0; i < j->snapshot_doubt_count; i++)
		journal_put_snapshot(w, &j->snapshot_doubts[i], true);
	if (j->clean)
		journal_put_clean(w, j->last_boot);
	else if (*j->boot_id)
		journal_put_boot(w, j->boot_id, j->mode, j->status);
	if (!j->clean && j->done && (j->mode == JOURNAL_CHECKED || j->mode == JOURNAL_FORCED))
		journal_put_done(w, j->status);
}

/* Those that are of one digest or id may stand in another order. */
static void same_blobs(const struct journal_blob *a, const struct journal_blob *b, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool found = false;
		for (size_t k = 0; !found && k < count; k++)
			found = digest_equal(&a[i].digest, &b[k].digest) && same_stamp(&a[i].stamp, &b[k].stamp) &&
				a[i].document == b[k].document;
		want(found);
	}
}

static void same_snapshots(const struct journal_snapshot *a, const struct journal_snapshot *b, size_t count, bool keys)
{
	for (size_t i = 0; i < count; i++) {
		bool found = false;
		for (size_t k = 0; !found && k < count; k++)
			found = a[i].id == b[k].id && same_stamp(&a[i].stamp, &b[k].stamp) && a[i].unverified == b[k].unverified &&
				(!keys || span_equal(a[i].key, b[k].key));
		want(found);
	}
}

static void compare(const struct journal *a, const struct journal *b, bool marker)
{
	want(a->present && b->present && journal_same_store(&a->identity, &b->identity));
	want(journal_same_databases(&a->identity, &b->identity));
	want(a->blob_count == b->blob_count && a->snapshot_count == b->snapshot_count && a->ingest_count == b->ingest_count);
	want(a->blob_doubt_count == b->blob_doubt_count && a->snapshot_doubt_count == b->snapshot_doubt_count);
	same_blobs(a->blobs, b->blobs, a->blob_count);
	same_blobs(a->blob_doubts, b->blob_doubts, a->blob_doubt_count);
	same_snapshots(a->snapshots, b->snapshots, a->snapshot_count, true);
	same_snapshots(a->snapshot_doubts, b->snapshot_doubts, a->snapshot_doubt_count, false);
	for (size_t i = 0; i < a->ingest_count; i++) {
		const struct journal_ingest *const x = &a->ingests[i], *const y = &b->ingests[i];
		/* of bytes that nobody knows what they are for nothing is kept but that they were there */
		want(span_equal(x->name, y->name));
		want(y->held || (span_equal(x->ref, y->ref) && x->size == y->size && x->sum == y->sum && !x->held));
	}
	/* a boot that does nothing is written with its end: what of it was torn off is there again */
	const bool ended = a->done || a->mode == JOURNAL_CLEAN || a->mode == JOURNAL_SKIPPED;
	want(!marker || (a->clean == b->clean && strcmp(a->boot_id, b->boot_id) == 0 && a->mode == b->mode && ended == b->done &&
				a->status == b->status && (!*a->boot_id || strcmp(a->last_boot, b->last_boot) == 0)));
}

/* What has too long a name is left out, or cut: that is said, and no error. */
static bool fits(const struct journal *j)
{
	for (size_t i = 0; i < j->snapshot_count; i++)
		if (j->snapshots[i].key.left > 2000)
			return false;
	for (size_t i = 0; i < j->ingest_count; i++)
		if (j->ingests[i].name.left > LIMIT_NAME_BYTES)
			return false;
	return j->blob_count + j->blob_doubt_count + j->snapshot_count + j->snapshot_doubt_count < 300;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	static int own = -1, other = -1;
	static char text[TEXT_MOST];
	struct journal_writer w;
	struct journal j, marked, again;
	struct err e = {0};

	if (own < 0) {
		place_begin();
		own = place_open(place_path);
		place_mkdir(own, "other", 0700);
		other = openat(own, "other", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (!arena.region && arena_open(&arena, &e))
		abort();
	if (!size || size > TEXT_MOST / 2)
		return 0;
	const bool numbered = data[0] & 1;
	const size_t n = numbered ? put_numbers(data + 1, size - 1, data[0] & 2, text, sizeof(text)) : size - 1;
	place_write(own, JOURNAL_NAME, numbered ? (const void *)text : data + 1, n);
	const struct arena mark = arena;

	steps_begin();
	read_journal(&j, own, &arena);
	const enum rc quick = journal_read_marker(&marked, own, arena, &e);
	steps_end(n, 120, 3000);
	if (quick == RC_OK && j.present)
		want(j.clean && journal_same_store(&j.identity, &marked.identity) &&
			journal_same_databases(&j.identity, &marked.identity) && j.records == marked.records);
	for (size_t i = 0; i < j.blob_count && i < 100; i++)
		want(journal_find_blob(&j, &j.blobs[i].digest, &j.blobs[i].stamp));
	for (size_t i = 0; i < j.snapshot_count && i < 100; i++)
		want(journal_find_snapshot(&j, j.snapshots[i].id, j.snapshots[i].key, &j.snapshots[i].stamp));
	if (j.present && fits(&j)) {
		journal_begin(&w, &j.identity, &arena);
		put_all(&w, &j);
		want(journal_commit(&w, other, &e) == RC_OK);
		read_journal(&again, other, &arena);
		compare(&j, &again, true);
		want(journal_read_marker(&marked, other, arena, &e) == (j.clean ? RC_OK : RC_END));
		/* behind the old one, its torn tail cut off */
		struct journal before = j;
		want(journal_append_boot(&before, own, "0f", JOURNAL_CHECKED, 0, arena, &e) == RC_OK);
		read_journal(&again, own, &arena);
		want(!again.clean && strcmp(again.boot_id, "0f") == 0 && !again.done && again.unfinished >= 1);
		if (j.inventory_read)
			compare(&j, &again, false);
	}
	arena = mark;
	return 0;
}
