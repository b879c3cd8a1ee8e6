/* SPDX-License-Identifier: MIT */
#include "memory/journal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"

#define JOURNAL_VERSION "2" /* 1: ingest records without ref */
#define CHECKSUM_DIGITS 16
#define FIELD_MAX 8
/* bytes; a line of ours: a snapshot's key is as long as containerd's names may be, three digits for each byte */
#define LINE_MAX_BYTES 8192

/* ---- lines ---- */

struct line {
	struct span fields[FIELD_MAX]; /* after the number: type first */
	size_t count;
	uint64_t number;
};

static void checksum_text(char out[CHECKSUM_DIGITS + 1], const void *at, size_t n)
{
	(void)print_to(out, CHECKSUM_DIGITS + 1, "%016llx", (unsigned long long)fnv1a(at, n)); /* fits */
}

/* One line without its newline. false: it is none of ours. */
static bool parse_line(struct span text, struct line *out)
{
	char sum[CHECKSUM_DIGITS + 1];
	struct line l = {0};

	if (text.left < CHECKSUM_DIGITS + 2)
		return false;
	const size_t body = text.left - CHECKSUM_DIGITS - 1;
	checksum_text(sum, text.at, body);
	if (text.at[body] != ' ' || memcmp(text.at + body + 1, sum, CHECKSUM_DIGITS) != 0)
		return false;
	struct span rest = span_of(text.at, body);
	for (size_t i = 0; rest.left; i++) {
		const uint8_t *const blank = memchr(rest.at, ' ', rest.left);
		const struct span field = span_sub(&rest, blank ? (size_t)(blank - rest.at) : rest.left);
		if (blank)
			(void)span_take(&rest, 1);
		if (i == 0 && parse_decimal(field, &l.number))
			return false;
		if (i > FIELD_MAX)
			return false;
		if (i)
			l.fields[l.count++] = field;
	}
	*out = l;
	return l.count > 0;
}

static bool number_of(struct span s, uint64_t *value)
{
	return parse_decimal(s, value) == RC_OK;
}

/* Change times before 1970 are written with a sign. */
static bool time_of(struct span s, int64_t *value)
{
	uint64_t n = 0;
	const bool negative = s.left && s.at[0] == '-';

	if (negative)
		(void)span_take(&s, 1);
	if (!number_of(s, &n) || n > (uint64_t)INT64_MAX + negative)
		return false;
	*value = (int64_t)(negative ? 0 - n : n);
	return true;
}

static int hex_value(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %xx for blanks, what is not printable ASCII, and the sign itself. */
static bool unquote(struct span s, struct arena *a, struct span *out)
{
	uint8_t *const to = arena_get(a, s.left + 1);
	size_t n = 0;

	if (!to)
		return false;
	while (s.left) {
		const uint8_t c = span_u8(&s);
		if (c != '%') {
			to[n++] = c;
			continue;
		}
		const int high = hex_value(span_u8(&s)), low = hex_value(span_u8(&s));
		if (s.bad || high < 0 || low < 0)
			return false;
		to[n++] = (uint8_t)(high * 16 + low);
	}
	*out = span_of(to, n);
	return true;
}

static size_t quote(char *out, size_t cap, struct span raw)
{
	size_t n = 0;

	for (size_t i = 0; i < raw.left && n + 4 < cap; i++) {
		const uint8_t c = raw.at[i];
		if (c > ' ' && c < 0x7f && c != '%')
			out[n++] = (char)c;
		else
			n += (size_t)print_to(out + n, cap - n, "%%%02x", c);
	}
	out[n] = 0;
	return n;
}

/* ---- reading ---- */

#define PUSH(a, j, array, count) arena_push(a, (void **)&(j)->array, &(j)->count, sizeof(*(j)->array))

static bool take_stamp(const struct span *fields, struct journal_stamp *s)
{
	return number_of(fields[0], &s->size) && number_of(fields[1], &s->inode) && time_of(fields[2], &s->ctime_ns);
}

static bool text_fits(struct span s, char *out, size_t cap)
{
	if (s.left == 0 || s.left >= cap || memchr(s.at, 0, s.left))
		return false;
	memcpy(out, s.at, s.left);
	out[s.left] = 0;
	return true;
}

/* "blob <digest> <size> <inode> <ctime> document|data", and "doubt-blob" the same */
static enum rc take_blob(struct journal *j, const struct line *l, bool doubt, struct arena *a)
{
	struct journal_blob *const b = doubt ? PUSH(a, j, blob_doubts, blob_doubt_count) : &j->blobs[j->blob_count++];

	if (!b)
		return RC_NOMEM;
	b->document = l->count > 5 && !span_is(l->fields[5], "data");
	b->recorded = j->inventory_read;
	return l->count == 6 && digest_parse(l->fields[1], &b->digest) == RC_OK && take_stamp(l->fields + 2, &b->stamp)
		       ? RC_OK
		       : RC_CORRUPT;
}

/* "snapshot <id> <size> <inode> <ctime> verified|unverified <key>", and "doubt-snapshot" the same */
static enum rc take_snapshot(struct journal *j, const struct line *l, bool doubt, struct arena *a)
{
	struct journal_snapshot *const s =
		doubt ? PUSH(a, j, snapshot_doubts, snapshot_doubt_count) : &j->snapshots[j->snapshot_count++];

	if (!s)
		return RC_NOMEM;
	s->unverified = l->count > 5 && !span_is(l->fields[5], "verified");
	return l->count == 7 && number_of(l->fields[1], &s->id) && take_stamp(l->fields + 2, &s->stamp) &&
			       unquote(l->fields[6], a, &s->key)
		       ? RC_OK
		       : RC_CORRUPT;
}

/* "ingest <name> <size> <sum> <ref> [held]" */
static enum rc take_ingest(struct journal *j, const struct line *l, struct arena *a)
{
	struct journal_ingest *const in = PUSH(a, j, ingests, ingest_count);

	if (!in)
		return RC_NOMEM;
	in->held = l->count == 6;
	if (l->count != 5 && !(in->held && span_is(l->fields[5], "held")))
		return RC_CORRUPT;
	if (!unquote(l->fields[1], a, &in->name) || !number_of(l->fields[2], &in->size) || !number_of(l->fields[3], &in->sum))
		return RC_CORRUPT;
	if (span_is(l->fields[4], "-")) { /* of what nobody could say what it was: it was there, and that is all */
		in->size = 0;
		in->held = true;
		return RC_OK;
	}
	return unquote(l->fields[4], a, &in->ref) ? RC_OK : RC_CORRUPT;
}

static const char name_kinds[][10] = {"image", "container", "lease"};

static bool name_kind(struct span text, enum journal_name_kind *kind)
{
	for (unsigned i = 0; i < sizeof(name_kinds) / sizeof(name_kinds[0]); i++)
		if (span_is(text, name_kinds[i])) {
			*kind = (enum journal_name_kind)i;
			return true;
		}
	return false;
}

/* "image <ns> <name> <digest> <media type> <size>", "container <ns> <id> <snapshotter> <key> <image>", "lease <ns> <id>"; - for what is
 * empty. */
static enum rc take_name(struct journal *j, const struct line *l, enum journal_name_kind kind, struct arena *a)
{
	struct journal_name *const n = PUSH(a, j, names, name_count);
	struct span *const more[][3] = {{n ? &n->digest : NULL, n ? &n->media_type : NULL, NULL},
		{n ? &n->snapshotter : NULL, n ? &n->key : NULL, n ? &n->image : NULL}, {NULL, NULL, NULL}};

	if (!n)
		return RC_NOMEM;
	n->kind = kind;
	n->number = l->number;
	if (l->count != (kind == JOURNAL_LEASE ? 3u : 6u) || !unquote(l->fields[1], a, &n->ns) || !unquote(l->fields[2], a, &n->name))
		return RC_CORRUPT;
	for (size_t i = 0; i < 3; i++)
		if (more[kind][i] && !span_is(l->fields[3 + i], "-") && !unquote(l->fields[3 + i], a, more[kind][i]))
			return RC_CORRUPT;
	return kind != JOURNAL_IMAGE || number_of(l->fields[5], &n->size) ? RC_OK : RC_CORRUPT;
}

/* "gone image <ns> <name>", and so of the other kinds. */
static enum rc take_gone(struct journal *j, const struct line *l, struct arena *a)
{
	struct journal_name *const n = PUSH(a, j, names, name_count);

	if (!n)
		return RC_NOMEM;
	n->number = l->number;
	n->gone = true;
	return l->count == 4 && name_kind(l->fields[1], &n->kind) && unquote(l->fields[2], a, &n->ns) && unquote(l->fields[3], a, &n->name)
		       ? RC_OK
		       : RC_CORRUPT;
}

static enum rc take_database(struct journal *j, const struct line *l)
{
	struct journal_identity *const id = &j->identity;

	if (id->database_count == JOURNAL_DATABASES_MAX || l->count != 6)
		return RC_CORRUPT;
	struct journal_database *const d = &id->databases[id->database_count++];
	return text_fits(l->fields[1], d->path, sizeof(d->path)) && number_of(l->fields[2], &d->size) &&
			       number_of(l->fields[3], &d->inode) && time_of(l->fields[4], &d->ctime_ns) &&
			       number_of(l->fields[5], &d->txid)
		       ? RC_OK
		       : RC_CORRUPT;
}

static const char mode_names[JOURNAL_MODES][8] = {
	[JOURNAL_NOT_BEGUN] = "-", [JOURNAL_CLEAN] = "clean", [JOURNAL_CHECKED] = "check", [JOURNAL_FORCED] = "force",
	[JOURNAL_SKIPPED] = "skip"};

/* "stuck <kind> <name>", and "ended" the same. A kind that this program does not know it cannot pass over either. */
static enum rc take_end(struct journal *j, const struct line *l, bool stuck, struct arena *a)
{
	struct at_name one;

	if (l->count != 3)
		return RC_CORRUPT;
	if (!at_parse(&one, l->fields[1], l->fields[2]))
		return RC_OK;
	struct at_name **const list = stuck ? &j->stuck : &j->ended;
	size_t *const count = stuck ? &j->stuck_count : &j->ended_count;
	const size_t first = stuck ? 0 : j->ended_before;
	if (*count == JOURNAL_STUCK_MAX || (*count && at_listed(*list + first, *count - first, &one)))
		return RC_OK;
	struct at_name *const place = arena_push(a, (void **)list, count, sizeof(*place));
	if (!place)
		return RC_NOMEM;
	*place = one;
	return RC_OK;
}

/* Of what was noted only that counts which stands in front of the last boot record, and behind it. */
static void forget_ended(struct journal *j)
{
	j->ended_count -= j->ended_before;
	if (j->ended_count)
		memmove(j->ended, j->ended + j->ended_before, j->ended_count * sizeof(*j->ended));
	j->ended_before = j->ended_count;
}

static enum rc take_boot(struct journal *j, const struct line *l)
{
	char id[sizeof(j->boot_id)];

	if (l->count != 3 || !text_fits(l->fields[1], id, sizeof(id)))
		return RC_CORRUPT;
	for (unsigned m = JOURNAL_CLEAN; m < JOURNAL_MODES; m++) {
		if (!span_is(l->fields[2], mode_names[m]))
			continue;
		/* a second try in one boot is the same attempt, and one that stepped aside is none */
		if (m != JOURNAL_SKIPPED)
			forget_ended(j);
		if (m != JOURNAL_SKIPPED && (j->unfinished == 0 || strcmp(id, j->boot_id) != 0 || strcmp(id, "-") == 0))
			j->unfinished++;
		memcpy(j->boot_id, id, sizeof(id));
		memcpy(j->last_boot, id, sizeof(id));
		j->mode = (enum journal_mode)m;
		j->done = false;
		j->status = 0;
		return RC_OK;
	}
	return RC_CORRUPT;
}

static enum rc take_done(struct journal *j, const struct line *l)
{
	uint64_t status = 0;

	if (l->count != 2 || !number_of(l->fields[1], &status) || status > 255 || !*j->boot_id)
		return RC_CORRUPT;
	j->done = true;
	j->status = (unsigned)status;
	j->unfinished = j->mode == JOURNAL_SKIPPED ? j->unfinished : 0;
	if (!j->unfinished)
		j->ended_count = j->ended_before = 0;
	return RC_OK;
}

static enum rc take_clean(struct journal *j, const struct line *l)
{
	uint64_t blobs = 0, snapshots = 0, ingests = 0;

	/* the counts are a second witness that the inventory is whole, and the sum is for those who do not read it */
	if (l->count != 6 || !number_of(l->fields[1], &blobs) || !number_of(l->fields[2], &snapshots) ||
		!number_of(l->fields[3], &ingests) || blobs != j->blob_count || snapshots != j->snapshot_count ||
		ingests != j->ingest_count)
		return RC_CORRUPT;
	j->boot_id[0] = 0;
	if (!text_fits(l->fields[4], j->last_boot, sizeof(j->last_boot)))
		return RC_CORRUPT;
	j->mode = JOURNAL_NOT_BEGUN;
	j->done = false;
	j->status = 0;
	return RC_OK;
}

static void keep_settled(struct journal *j)
{
	j->settled_blobs = j->blob_count;
	j->settled_snapshots = j->snapshot_count;
	j->settled_ingests = j->ingest_count;
}

/* What was recorded and never settled: nobody knows how much of it reached the disk. */
static void forget_unsettled(struct journal *j)
{
	if (!j->inventory_read)
		return;
	j->blob_count = j->settled_blobs;
	j->snapshot_count = j->settled_snapshots;
	j->ingest_count = j->settled_ingests;
}

static void end_inventory(struct journal *j)
{
	forget_unsettled(j);
	keep_settled(j);
	j->inventory_read = true;
}

static enum rc take_line(struct journal *j, const struct line *l, struct arena *a)
{
	const struct span type = l->fields[0];
	const bool of_header = span_is(type, "database") || span_is(type, "store");

	if (l->number == 1)
		return l->count == 2 && span_is(type, "journal") && span_is(l->fields[1], JOURNAL_VERSION) ? RC_OK : RC_CORRUPT;
	/* whoever looks for the marker reads these alone, and must come to the same */
	if (of_header && l->number != 2 + j->identity.database_count + (*j->identity.fs != 0))
		return RC_CORRUPT;
	j->clean = span_is(type, "clean");
	if (j->clean || span_is(type, "boot"))
		end_inventory(j);
	if (j->clean)
		return take_clean(j, l);
	if (span_is(type, "settled")) {
		keep_settled(j);
		return j->inventory_read && l->count == 1 ? RC_OK : RC_CORRUPT;
	}
	if (span_is(type, "blob") || span_is(type, "doubt-blob"))
		return take_blob(j, l, type.left > 4, a);
	if (span_is(type, "snapshot") || span_is(type, "doubt-snapshot"))
		return take_snapshot(j, l, type.left > 8, a);
	if (span_is(type, "ingest"))
		return take_ingest(j, l, a);
	if (span_is(type, "database"))
		return take_database(j, l);
	if (span_is(type, "store"))
		return l->count == 3 && number_of(l->fields[1], &j->identity.root_inode) &&
				       text_fits(l->fields[2], j->identity.fs, sizeof(j->identity.fs))
			       ? RC_OK
			       : RC_CORRUPT;
	if (span_is(type, "stuck") || span_is(type, "ended"))
		return take_end(j, l, span_is(type, "stuck"), a);
	if (span_is(type, "boot"))
		return take_boot(j, l);
	if (span_is(type, "done"))
		return take_done(j, l);
	if (span_is(type, "gone"))
		return take_gone(j, l, a);
	enum journal_name_kind kind;
	if (name_kind(type, &kind))
		return take_name(j, l, kind, a);
	return RC_OK; /* of a later version of this program */
}

/* Whether any whole record of a higher number stands behind a broken one: then it was no torn tail. */
static bool goes_on(struct span rest, uint64_t number)
{
	while (rest.left) {
		const uint8_t *const end = memchr(rest.at, '\n', rest.left);
		struct line l;
		if (!end)
			return false;
		const struct span text = span_sub(&rest, (size_t)(end - rest.at));
		(void)span_take(&rest, 1);
		if (parse_line(text, &l) && l.number >= number)
			return true;
	}
	return false;
}

static int compare_blob(const void *a, const void *b)
{
	return digest_compare(&((const struct journal_blob *)a)->digest, &((const struct journal_blob *)b)->digest);
}

static int compare_snapshot(const void *a, const void *b)
{
	const uint64_t x = ((const struct journal_snapshot *)a)->id, y = ((const struct journal_snapshot *)b)->id;
	return (x > y) - (x < y);
}

int journal_compare_names(const struct journal_name *a, const struct journal_name *b)
{
	const int by_ns = span_compare(a->ns, b->ns);

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return by_ns ? by_ns : span_compare(a->name, b->name);
}

static int compare_records(const void *a, const void *b)
{
	const struct journal_name *const x = a, *const y = b;
	const int order = journal_compare_names(x, y);

	return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* Of each name the last record, if that does not say that it is gone. */
static void settle_names(struct journal *j)
{
	size_t kept = 0;

	if (j->name_count)
		sort(j->names, j->name_count, sizeof(*j->names), compare_records);
	for (size_t i = 0; i < j->name_count; i++) {
		const bool last = i + 1 == j->name_count || journal_compare_names(&j->names[i], &j->names[i + 1]) != 0;
		if (last && !j->names[i].gone)
			j->names[kept++] = j->names[i];
	}
	j->name_count = kept;
}

/* Names were put behind each other, in the order of the records. */
static int compare_ingests(const void *a, const void *b)
{
	const struct journal_ingest *const x = a, *const y = b;
	const int order = compare_spans(a, b);

	return order ? order : (x->name.at > y->name.at) - (x->name.at < y->name.at);
}

/* Of each download the last record. */
static void settle_ingests(struct journal *j)
{
	size_t kept = 0;

	if (j->ingest_count)
		sort(j->ingests, j->ingest_count, sizeof(*j->ingests), compare_ingests);
	for (size_t i = 0; i < j->ingest_count; i++)
		if (i + 1 == j->ingest_count || compare_spans(&j->ingests[i], &j->ingests[i + 1]))
			j->ingests[kept++] = j->ingests[i];
	j->ingest_count = kept;
}

static void sort_if_needed(void *array, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	const uint8_t *const at = array;

	for (size_t i = 0; i + 1 < count; i++)
		if (compare(at + i * size, at + (i + 1) * size) > 0) {
			sort(array, count, size, compare);
			return;
		}
}

/* Room for all objects at once: arrays that grow leave what they grew out of behind. */
static bool make_room(struct journal *j, struct span text, struct arena *a)
{
	size_t blobs = 0, snapshots = 0;

	while (text.left) {
		const uint8_t *const end = memchr(text.at, '\n', text.left);
		struct span line = span_sub(&text, end ? (size_t)(end - text.at) : text.left);
		const uint8_t *const blank = line.left ? memchr(line.at, ' ', line.left) : NULL;
		if (end)
			(void)span_take(&text, 1);
		if (!blank)
			continue;
		(void)span_take(&line, (size_t)(blank - line.at) + 1);
		blobs += span_starts(line, "blob ");
		snapshots += span_starts(line, "snapshot ");
	}
	j->blobs = arena_array(a, blobs, sizeof(*j->blobs));
	j->snapshots = arena_array(a, snapshots, sizeof(*j->snapshots));
	return j->blobs && j->snapshots;
}

static enum rc parse(struct journal *j, struct span text, struct arena *a)
{
	struct span rest = text;

	j->file_bytes = text.left;
	if (!make_room(j, text, a))
		return RC_NOMEM;
	while (rest.left) {
		const struct span here = rest;
		const uint8_t *const end = memchr(rest.at, '\n', rest.left);
		struct line l = {0};
		bool whole = end != NULL;
		if (whole) {
			const struct span one = span_sub(&rest, (size_t)(end - rest.at));
			(void)span_take(&rest, 1);
			whole = parse_line(one, &l) && l.number == j->records + 1;
		}
		if (!whole) {
			if (goes_on(here, j->records + 1))
				return RC_CORRUPT;
			break;
		}
		const enum rc rc = take_line(j, &l, a);
		if (rc)
			return rc;
		j->records++;
		j->valid_bytes = text.left - rest.left;
	}
	if (j->records < 2 || !*j->identity.fs)
		return RC_CORRUPT; /* its beginning was never written in pieces */
	forget_unsettled(j);
	sort_if_needed(j->blobs, j->blob_count, sizeof(*j->blobs), compare_blob);
	sort_if_needed(j->snapshots, j->snapshot_count, sizeof(*j->snapshots), compare_snapshot);
	sort_if_needed(j->blob_doubts, j->blob_doubt_count, sizeof(*j->blob_doubts), compare_blob);
	sort_if_needed(j->snapshot_doubts, j->snapshot_doubt_count, sizeof(*j->snapshot_doubts), compare_snapshot);
	settle_names(j);
	settle_ingests(j);
	return RC_OK;
}

#define PIECE_BYTES ((size_t)64 << 10)
/* bytes; the marker, and what stands in front of the first object */
#define MARKER_MAX_BYTES 256

enum rc journal_sum(int fd, uint64_t end, uint64_t *out, struct arena scratch, struct err *e)
{
	uint8_t *const piece = arena_get(&scratch, PIECE_BYTES);
	struct wide_sum sum;
	size_t got = 0;

	if (!piece)
		return no_memory(e);
	wide_sum_begin(&sum);
	for (uint64_t at = 0; at < end; at += got) {
		const size_t n = (size_t)min_u64(PIECE_BYTES, end - at);
		const enum rc rc = os_read(fd, at, piece, n, &got, e);
		if (rc)
			return rc;
		if (got != n)
			return RC_END;
		wide_sum_add(&sum, piece, n);
	}
	*out = wide_sum_end(&sum);
	return RC_OK;
}

/* The header, up to the first record of an object. */
static bool parse_header(struct journal *j, struct span text, struct arena *a)
{
	const uint8_t *end;

	while (text.left && (end = memchr(text.at, '\n', text.left))) {
		struct line l = {0};
		const struct span one = span_sub(&text, (size_t)(end - text.at));
		(void)span_take(&text, 1);
		if (!parse_line(one, &l) || l.number != j->records + 1)
			return false;
		if (l.number > 1 && !span_is(l.fields[0], "store") && !span_is(l.fields[0], "database"))
			break;
		if (take_line(j, &l, a))
			return false;
		j->records++;
	}
	return *j->identity.fs != 0;
}

enum rc journal_read_marker(struct journal *out, int own, struct arena scratch, struct err *e)
{
	struct journal j = {.present = true, .clean = true};
	uint8_t *const piece = arena_get(&scratch, PIECE_BYTES);
	char sum_text[CHECKSUM_DIGITS + 1];
	uint64_t sum = 0;
	struct stat st = {0};
	struct line l = {0};
	auto_fd fd = -1;
	size_t got = 0;
	struct err why = {0};
	enum rc rc = os_open_file(own, JOURNAL_NAME, &fd, &why);

	if (rc || os_stat_fd(fd, &st, &why))
		return RC_END; /* journal_read says what there is instead */
	if (!piece)
		return no_memory(e);
	const uint64_t size = (uint64_t)st.st_size, from = size > MARKER_MAX_BYTES ? size - MARKER_MAX_BYTES : 0;
	if (os_read(fd, from, piece, MARKER_MAX_BYTES, &got, &why))
		return RC_END;
	size_t begin = got ? got - 1 : 0;
	if (!got || from + got != size || piece[begin] != '\n')
		return RC_END;
	while (begin && piece[begin - 1] != '\n')
		begin--;
	uint8_t marker[MARKER_MAX_BYTES];
	const size_t length = got - 1 - begin;
	memcpy(marker, piece + begin, length);
	if (!parse_line(span_of(marker, length), &l) || l.count != 6 || !span_is(l.fields[0], "clean"))
		return RC_END;
	if (journal_sum(fd, from + begin, &sum, scratch, &why))
		return RC_END;
	(void)print_to(sum_text, sizeof(sum_text), "%016llx", (unsigned long long)sum); /* fits */
	if (!span_is(l.fields[5], sum_text) ||
		os_read(fd, 0, piece, (size_t)min_u64(PIECE_BYTES, from + begin), &got, &why) ||
		!parse_header(&j, span_of(piece, got), &scratch))
		return RC_END;
	j.clean = true;
	j.records = l.number;
	j.valid_bytes = size;
	*out = j;
	return RC_OK;
}

static bool is_doubted_blob(const struct journal *j, const struct digest *d)
{
	const struct journal_blob key = {.digest = *d};

	return j->blob_doubt_count && bsearch(&key, j->blob_doubts, j->blob_doubt_count, sizeof(key), compare_blob);
}

enum rc journal_read_file(struct journal *out, int own, const char *name, struct arena *a, struct err *e)
{
	struct journal j = {.present = true};
	struct span text = {0};
	/* what a scrub doubts is not much, and is read at each boot */
	const size_t most = strcmp(name, JOURNAL_NAME) == 0 ? LIMIT_JOURNAL_BYTES : (size_t)4 << 20;
	enum rc rc = os_read_small(own, name, most, a, &text, e);

	if (rc == RC_OK)
		rc = parse(&j, text, a);
	if (rc == RC_NOMEM)
		return no_memory(e);
	if (rc) /* a sector that cannot be read must not keep the store from being checked: a new journal takes its place */
		j = (struct journal){.absent = rc == RC_END     ? "there is no journal yet: checking everything"
					       : rc == RC_IO    ? "the journal cannot be read: checking everything"
					       : rc == RC_LIMIT ? "the journal is too big to be one of ours: checking everything"
								: "the journal is damaged: checking everything"};
	*out = j;
	return RC_OK;
}

enum rc journal_read(struct journal *out, int own, struct arena *a, struct err *e)
{
	return journal_read_file(out, own, JOURNAL_NAME, a, e);
}

enum rc journal_add_doubts(struct journal *j, int own, struct arena *a, struct err *e)
{
	struct journal found;
	const enum rc rc = journal_read_file(&found, own, JOURNAL_SCRUB, a, e);

	if (rc || !found.present || !journal_same_store(&found.identity, &j->identity) ||
		found.blob_doubt_count + found.snapshot_doubt_count == 0)
		return rc;
	struct journal *const kept = arena_get(a, sizeof(*kept));
	if (!kept)
		return no_memory(e);
	*kept = found;
	j->scrub = kept;
	j->clean = false;
	return RC_OK;
}

bool journal_same_store(const struct journal_identity *a, const struct journal_identity *b)
{
	/* a kernel that tells more than the last one did is no other store */
	const bool untold = strcmp(a->fs, "-") == 0 || strcmp(b->fs, "-") == 0;
	return a->root_inode == b->root_inode && (untold || strcmp(a->fs, b->fs) == 0);
}

bool journal_same_databases(const struct journal_identity *a, const struct journal_identity *b)
{
	if (a->database_count != b->database_count)
		return false;
	for (size_t i = 0; i < a->database_count; i++) {
		const struct journal_database *const x = &a->databases[i], *const y = &b->databases[i];
		if (strcmp(x->path, y->path) != 0 || x->inode != y->inode || x->size != y->size || x->txid != y->txid ||
			x->ctime_ns != y->ctime_ns)
			return false;
	}
	return true;
}

static bool same_stamp(const struct journal_stamp *a, const struct journal_stamp *b)
{
	return a->inode == b->inode && a->size == b->size && a->ctime_ns == b->ctime_ns;
}

/* The first of those with this digest, or NULL; the others follow. */
static const struct journal_blob *first_blob(const struct journal *j, const struct digest *d)
{
	const struct journal_blob key = {.digest = *d};
	const struct journal_blob *b =
		j->blob_count ? bsearch(&key, j->blobs, j->blob_count, sizeof(key), compare_blob) : NULL;

	while (b && b > j->blobs && compare_blob(b - 1, &key) == 0)
		b--;
	return b;
}

static bool is_next_blob(const struct journal *j, const struct journal_blob *b, const struct digest *d)
{
	return b && b < j->blobs + j->blob_count && digest_equal(&b->digest, d);
}

const struct journal_blob *journal_find_blob(const struct journal *j, const struct digest *d, const struct journal_stamp *s)
{
	const struct journal_blob *found = NULL;

	if (j->scrub && is_doubted_blob(j->scrub, d))
		return NULL; /* that digest: rather one too many */
	/* recorded again, it stands there more than once: any with the very stamp will do */
	for (const struct journal_blob *b = first_blob(j, d); is_next_blob(j, b, d); b++)
		if (same_stamp(&b->stamp, s) && (!found || found->recorded))
			found = b;
	return found;
}

bool journal_saw_other_blob(const struct journal *j, const struct digest *d, const struct journal_stamp *s)
{
	bool other = false;

	for (const struct journal_blob *b = first_blob(j, d); is_next_blob(j, b, d); b++) {
		if (same_stamp(&b->stamp, s))
			return false;
		other |= b->stamp.inode == s->inode;
	}
	return other;
}

static const struct journal_snapshot *first_snapshot(const struct journal *j, uint64_t id)
{
	const struct journal_snapshot wanted = {.id = id};
	const struct journal_snapshot *found =
		j->snapshot_count ? bsearch(&wanted, j->snapshots, j->snapshot_count, sizeof(wanted), compare_snapshot) : NULL;

	while (found && found > j->snapshots && found[-1].id == id)
		found--;
	return found;
}

static bool is_next_snapshot(const struct journal *j, const struct journal_snapshot *s, uint64_t id)
{
	return s && s < j->snapshots + j->snapshot_count && s->id == id;
}

const struct journal_snapshot *journal_find_snapshot(
	const struct journal *j, uint64_t id, struct span key, const struct journal_stamp *s)
{
	if (j->scrub && journal_doubts_snapshot(j->scrub, id))
		return NULL;
	for (const struct journal_snapshot *one = first_snapshot(j, id); is_next_snapshot(j, one, id); one++)
		if (same_stamp(&one->stamp, s) && span_equal(one->key, key))
			return one;
	return NULL;
}

bool journal_leaves_open(const struct journal *j, uint64_t id)
{
	for (const struct journal_snapshot *one = first_snapshot(j, id); is_next_snapshot(j, one, id); one++)
		if (one->unverified)
			return true;
	return false;
}

bool journal_saw_other(const struct journal *j, uint64_t id, struct span key, const struct journal_stamp *s)
{
	bool other = false;

	for (const struct journal_snapshot *one = first_snapshot(j, id); is_next_snapshot(j, one, id); one++)
		other |= span_equal(one->key, key) && !same_stamp(&one->stamp, s);
	return other && !journal_find_snapshot(j, id, key, s);
}

bool journal_doubts_blob(const struct journal *j, const struct digest *d, uint64_t inode)
{
	const struct journal_blob key = {.digest = *d};
	const struct journal_blob *const b =
		j->blob_doubt_count ? bsearch(&key, j->blob_doubts, j->blob_doubt_count, sizeof(key), compare_blob) : NULL;

	return (b && b->stamp.inode == inode) || (j->scrub && journal_doubts_blob(j->scrub, d, inode));
}

bool journal_doubts_snapshot(const struct journal *j, uint64_t id)
{
	const struct journal_snapshot key = {.id = id};

	return (j->snapshot_doubt_count &&
		       bsearch(&key, j->snapshot_doubts, j->snapshot_doubt_count, sizeof(key), compare_snapshot)) ||
	       (j->scrub && journal_doubts_snapshot(j->scrub, id));
}

bool journal_is_stuck(const struct journal *j, enum at_kind kind, struct span name)
{
	struct at_name one;

	return j && j->stuck_count && at_make(&one, kind, name) && at_listed(j->stuck, j->stuck_count, &one);
}

bool journal_is_stuck_number(const struct journal *j, enum at_kind kind, uint64_t name)
{
	struct at_name one;

	return j && j->stuck_count && at_make_number(&one, kind, name) && at_listed(j->stuck, j->stuck_count, &one);
}

const struct journal_ingest *journal_find_ingest(const struct journal *j, struct span name)
{
	const struct journal_ingest key = {.name = name};

	return j->ingest_count ? bsearch(&key, j->ingests, j->ingest_count, sizeof(key), compare_spans) : NULL;
}

/* ---- writing ---- */

static void put(struct journal_writer *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(struct journal_writer *w, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list arguments;
	int n = print_to(line, sizeof(line), "%llu ", (unsigned long long)w->number + 1);

	va_start(arguments, format);
	n += print_to_v(line + n, sizeof(line) - (size_t)n, format, arguments);
	va_end(arguments);
	if (n < 0 || (size_t)n + CHECKSUM_DIGITS + 3 > sizeof(line)) {
		w->full = true; /* no name is that long */
		return;
	}
	char sum[CHECKSUM_DIGITS + 1];
	checksum_text(sum, line, (size_t)n);
	n += print_to(line + n, sizeof(line) - (size_t)n, " %s\n", sum);
	if (w->used + (size_t)n > w->cap) {
		const size_t cap = w->cap ? 2 * w->cap : (size_t)64 << 10;
		char *const bigger = w->at ? arena_grow(w->a, w->at, w->cap, cap) : arena_get(w->a, cap);
		if (!bigger) {
			w->full = true;
			return;
		}
		w->at = bigger;
		w->cap = cap;
	}
	memcpy(w->at + w->used, line, (size_t)n);
	w->used += (size_t)n;
	w->number++;
}

/* The marker is used up and nothing else is to be done, or nothing may be done: then it ends as it begins. */
void journal_put_boot(struct journal_writer *w, const char *boot_id, enum journal_mode mode, unsigned status)
{
	put(w, "boot %s %s", boot_id, mode_names[mode]);
	if (mode != JOURNAL_CHECKED && mode != JOURNAL_FORCED)
		journal_put_done(w, status);
}

static void put_end(struct journal_writer *w, const char *type, const struct at_name *one)
{
	put(w, "%s %s %s", type, at_kind_word(one->kind), one->name);
}

void journal_put_stuck(struct journal_writer *w, const struct at_name *one)
{
	put_end(w, "stuck", one);
}

void journal_put_done(struct journal_writer *w, unsigned status)
{
	put(w, "done %u", status);
}

/* What follows the records that are there. The marker counts for nothing once a record stands behind it. RC_END: with `alone`, if
 * somebody else has written or removed the file since it was read. */
static enum rc append(struct journal *j, int own, const struct journal_writer *w, bool alone, struct err *e)
{
	auto_fd fd = -1;
	struct stat st = {0};
	enum rc rc;

	if (w->full)
		return no_memory(e);
	if ((rc = os_open_write(own, JOURNAL_NAME, &fd, e)))
		return rc == RC_END && alone ? rc : rc == RC_END || rc == RC_CORRUPT ? fail(e, RC_IO, "the journal is gone") : rc;
	if ((rc = os_stat_fd(fd, &st, e)))
		return rc;
	if (alone && (uint64_t)st.st_size != j->file_bytes)
		return RC_END;
	if (((uint64_t)st.st_size > j->valid_bytes && (rc = os_truncate(fd, j->valid_bytes, e))) ||
		(rc = os_write(fd, j->valid_bytes, w->at, w->used, e)) || (rc = os_fsync(fd, e)))
		return rc;
	j->valid_bytes += w->used;
	j->file_bytes = j->valid_bytes;
	j->records = w->number;
	j->clean = false;
	return RC_OK;
}

enum rc journal_append_boot(struct journal *j, int own, const char *boot_id, enum journal_mode mode, unsigned status,
	struct arena scratch, struct err *e)
{
	struct journal_writer w = {.a = &scratch, .number = j->records};

	journal_put_boot(&w, boot_id, mode, status);
	return append(j, own, &w, false, e);
}

enum rc journal_append_attempt(struct journal *j, int own, const struct at_name *names, size_t count, size_t stuck,
	const char *boot_id, enum journal_mode mode, struct arena scratch, struct err *e)
{
	struct journal_writer w = {.a = &scratch, .number = j->records};

	for (size_t i = 0; i < count; i++)
		put_end(&w, i < stuck ? "stuck" : "ended", &names[i]);
	journal_put_boot(&w, boot_id, mode, 0);
	return append(j, own, &w, false, e);
}

enum rc journal_append_ended(
	struct journal *j, int own, const struct at_name *names, size_t count, struct arena scratch, struct err *e)
{
	struct journal_writer w = {.a = &scratch, .number = j->records};

	for (size_t i = 0; i < count; i++)
		put_end(&w, "ended", &names[i]);
	return append(j, own, &w, false, e);
}

enum rc journal_append_done(struct journal *j, int own, unsigned status, struct arena scratch, struct err *e)
{
	struct journal_writer w = {.a = &scratch, .number = j->records};

	journal_put_done(&w, status);
	return append(j, own, &w, false, e);
}

void journal_continue(struct journal_writer *w, const struct journal *j, struct arena *a)
{
	*w = (struct journal_writer){.a = a, .number = j->records};
}

enum rc journal_append_settled(struct journal *j, int own, struct journal_writer *w, struct err *e)
{
	put(w, "settled");
	return append(j, own, w, true, e);
}

static enum rc forget(int own, struct err *e)
{
	const enum rc rc = own < 0 ? RC_OK : os_unlink(own, JOURNAL_NAME, e);

	return rc && rc != RC_END ? rc : own < 0 ? RC_OK : os_fsync(own, e);
}

enum rc journal_give_way(enum rc rc, int own, struct err *e)
{
	if (rc != RC_IO || (e->sys_errno != ENOSPC && e->sys_errno != EDQUOT))
		return rc;
	*e = (struct err){0};
	rc = forget(own, e);
	return rc ? rc : RC_END;
}

enum rc journal_distrust(struct journal *j, int own, struct arena scratch, struct err *e)
{
	struct err ignored = {0}; /* then there will be none to trust */
	const enum rc rc =
		journal_append_boot(j, own, *j->boot_id ? j->boot_id : "-", JOURNAL_SKIPPED, 4, scratch, &ignored);

	return rc ? forget(own, e) : RC_OK;
}

void journal_begin(struct journal_writer *w, const struct journal_identity *id, struct arena *a)
{
	*w = (struct journal_writer){.a = a};
	put(w, "journal " JOURNAL_VERSION);
	put(w, "store %llu %s", (unsigned long long)id->root_inode, id->fs);
	for (size_t i = 0; i < id->database_count; i++) {
		const struct journal_database *const d = &id->databases[i];
		put(w, "database %s %llu %llu %lld %llu", d->path, (unsigned long long)d->size, (unsigned long long)d->inode,
			(long long)d->ctime_ns, (unsigned long long)d->txid);
	}
}

void journal_put_blob(struct journal_writer *w, const struct journal_blob *b, bool doubt)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(&b->digest, text);
	w->blob_count += !doubt;
	put(w, "%s %s %llu %llu %lld %s", doubt ? "doubt-blob" : "blob", text, (unsigned long long)b->stamp.size,
		(unsigned long long)b->stamp.inode, (long long)b->stamp.ctime_ns, b->document ? "document" : "data");
}

void journal_put_snapshot(struct journal_writer *w, const struct journal_snapshot *s, bool doubt)
{
	char key[LINE_MAX_BYTES - 256];

	if (doubt || s->key.left > sizeof(key) / 3 - 4) { /* a doubt is found by its id */
		if (!doubt)
			return;
		(void)print_to(key, sizeof(key), "-");
	} else {
		(void)quote(key, sizeof(key), s->key); /* fits */
		w->snapshot_count++;
	}
	put(w, "%s %llu %llu %llu %lld %s %s", doubt ? "doubt-snapshot" : "snapshot", (unsigned long long)s->id,
		(unsigned long long)s->stamp.size, (unsigned long long)s->stamp.inode, (long long)s->stamp.ctime_ns,
		s->unverified ? "unverified" : "verified", key);
}

void journal_put_ingest(struct journal_writer *w, const struct journal_ingest *in)
{
	char name[3 * LIMIT_NAME_BYTES + 8];
	char ref[LINE_MAX_BYTES / 2] = "-";

	(void)quote(name, sizeof(name), in->name); /* fits */
	if (in->ref.left && in->ref.left <= sizeof(ref) / 3 - 4)
		(void)quote(ref, sizeof(ref), in->ref);
	const bool known = strcmp(ref, "-") != 0; /* else no bytes are vouched for */
	w->ingest_count++;
	put(w, "ingest %s %llu %llu %s%s", name, known ? (unsigned long long)in->size : 0, known ? (unsigned long long)in->sum : 0, ref,
		in->held || !known ? " held" : "");
}

#define NAME_MAX_BYTES 1200 /* in one line there are five at most, each byte three digits */

static const char *quoted(char out[3 * NAME_MAX_BYTES / 2 + 8], struct span raw)
{
	if (!raw.left)
		return "-";
	(void)quote(out, 3 * NAME_MAX_BYTES / 2 + 8, raw); /* fits: see journal_put_name */
	return out;
}

void journal_put_name(struct journal_writer *w, const struct journal_name *n)
{
	const char *const kind = name_kinds[n->kind];
	const struct span *const all[] = {&n->ns, &n->name, &n->digest, &n->media_type, &n->snapshotter, &n->key, &n->image};
	char text[7][3 * NAME_MAX_BYTES / 2 + 8];
	const char *shown[7];

	if (!n->ns.left || !n->name.left || span_is(n->ns, "-") || span_is(n->name, "-"))
		return;
	for (size_t i = 0; i < 7; i++)
		if (all[i]->left > NAME_MAX_BYTES / 2)
			return;
	for (size_t i = 0; i < 7; i++)
		shown[i] = quoted(text[i], *all[i]);
	if (n->gone)
		put(w, "gone %s %s %s", kind, shown[0], shown[1]);
	else if (n->kind == JOURNAL_IMAGE)
		put(w, "%s %s %s %s %s %llu", kind, shown[0], shown[1], shown[2], shown[3], (unsigned long long)n->size);
	else if (n->kind == JOURNAL_CONTAINER)
		put(w, "%s %s %s %s %s %s", kind, shown[0], shown[1], shown[4], shown[5], shown[6]);
	else
		put(w, "%s %s %s", kind, shown[0], shown[1]);
}

void journal_put_clean(struct journal_writer *w, const char *boot_id)
{
	struct wide_sum sum;

	wide_sum_begin(&sum);
	wide_sum_add(&sum, w->at, w->used);
	put(w, "clean %llu %llu %llu %s %016llx", (unsigned long long)w->blob_count, (unsigned long long)w->snapshot_count,
		(unsigned long long)w->ingest_count, boot_id, (unsigned long long)wide_sum_end(&sum));
}

static bool is_there_already(const struct journal_writer *w, int own, const char *name)
{
	struct arena scratch = *w->a;
	struct span there = {0};
	struct err ignored = {0}; /* what cannot be read is written again */

	return os_read_small(own, name, w->used, &scratch, &there, &ignored) == RC_OK &&
	       span_equal(there, span_of(w->at, w->used));
}

enum rc journal_commit_file(struct journal_writer *w, int own, const char *name, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc;

	if (w->full)
		return no_memory(e);
	if (w->used > LIMIT_JOURNAL_BYTES)
		return fail(e, RC_LIMIT, "the store has more objects than a journal may list");
	if (is_there_already(w, own, name))
		return RC_OK;
	if ((rc = own_create_beside(own, name, &fd, e)) || (rc = os_write(fd, 0, w->at, w->used, e)))
		return rc;
	return own_put_in_place(own, name, fd, e);
}

enum rc journal_commit(struct journal_writer *w, int own, struct err *e)
{
	return journal_commit_file(w, own, JOURNAL_NAME, e);
}
