/* SPDX-License-Identifier: MIT */
/* Go's archive/tar reader (Go 1.19.8: archive/tar/reader.go, format.go, strconv.go, common.go), rule for rule: the order in
 * which things are read and judged is Go's, because an archive that containerd accepted must mean here what it meant there. */
#include "format/tar.h"

#include <string.h>

#define BLOCK 512u

/* A header block. Numbers are octal text, or base-256 if the first byte has its high bit set.
 *     0 100 name      100 8 mode     108 8 uid       116 8 gid      124 12 size    136 12 mtime   148 8 checksum
 *   156   1 type      157 100 link   257 6 magic     263 2 version  329 8 major    337 8 minor
 *   ustar: 345 155 prefix
 *   star:  345 131 prefix            476 12 atime    488 12 ctime   508 4 "tar\0"
 *   GNU:   345 12 atime              357 12 ctime    386 4 * 24 sparse (12 offset, 12 length), 482 1 more follow
 *          483 12 real size */
struct field {
	uint16_t at, n;
};
static const struct field F_NAME = {0, 100}, F_MODE = {100, 8}, F_UID = {108, 8}, F_GID = {116, 8}, F_SIZE = {124, 12},
			  F_MTIME = {136, 12}, F_CHECKSUM = {148, 8}, F_LINK = {157, 100}, F_MAJOR = {329, 8},
			  F_MINOR = {337, 8}, F_USTAR_PREFIX = {345, 155}, F_STAR_PREFIX = {345, 131},
			  F_STAR_ATIME = {476, 12}, F_STAR_CTIME = {488, 12}, F_GNU_ATIME = {345, 12},
			  F_GNU_CTIME = {357, 12}, F_GNU_REAL_SIZE = {483, 12};
#define TYPE_AT 156
#define GNU_SPARSE_AT 386
#define GNU_SPARSE_ENTRIES 4     /* in a header block */
#define GNU_SPARSE_ENTRIES_MORE 21 /* in an extension block */

enum format { FORMAT_V7, FORMAT_USTAR, FORMAT_STAR, FORMAT_GNU };

/* Records of a pax header that change what Go's reader does. */
enum pax_key {
	PAX_PATH,
	PAX_LINK_PATH,
	PAX_USER_NAME,
	PAX_GROUP_NAME,
	PAX_UID,
	PAX_GID,
	PAX_SIZE,
	PAX_MTIME,
	PAX_ATIME,
	PAX_CTIME,
	PAX_SPARSE_MAJOR,
	PAX_SPARSE_MINOR,
	PAX_SPARSE_BLOCKS,
	PAX_SPARSE_MAP,
	PAX_SPARSE_NAME,
	PAX_SPARSE_SIZE,
	PAX_SPARSE_REAL_SIZE,
	PAX_KEYS
};
static const char pax_names[PAX_KEYS][21] = {"path", "linkpath", "uname", "gname", "uid", "gid", "size", "mtime", "atime",
	"ctime", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.numblocks", "GNU.sparse.map", "GNU.sparse.name",
	"GNU.sparse.size", "GNU.sparse.realsize"};
static const char pax_xattr[] = "SCHILY.xattr.";

/* Grows by doubling, so the garbage it leaves in the arena is at most as large as itself. */
struct buffer {
	uint8_t *at;
	size_t used, cap;
};

struct region {
	uint64_t at, n;
};

struct tar {
	struct tar_source source;
	struct arena *arena;
	struct span input;  /* what is left of the source's last piece */
	bool input_ended;
	enum rc finished;   /* not RC_OK: the answer to every further call */

	uint64_t physical;  /* bytes of the current entry's data still in the stream */
	unsigned padding;   /* and of the padding behind them */
	bool sparse;
	struct region *regions; /* where data is; the rest of the file is holes */
	size_t region_cap, region_count, region_now;
	uint64_t logical_at, logical_size;

	struct buffer pax_bytes, pax_map, long_name, long_link, sparse_text, xattr_bytes;
	size_t xattr_count;
	bool pax_present;
	struct span pax[PAX_KEYS];
	uint8_t block[BLOCK], more[BLOCK];
	uint8_t joined[155 + 1 + 100];
};

/* ---- input ---- */

static enum rc refuse(struct tar *t, struct err *e, const char *why)
{
	(void)fail(e, RC_CORRUPT, "archive: %s", why); /* the code is returned below */
	t->finished = RC_CORRUPT;
	return RC_CORRUPT;
}

static enum rc too_much(struct tar *t, struct err *e, const char *what)
{
	(void)fail(e, RC_LIMIT, "archive: %s", what); /* the code is returned below */
	t->finished = RC_LIMIT;
	return RC_LIMIT;
}

static enum rc out_of_memory(struct tar *t, struct err *e)
{
	t->finished = no_memory(e);
	return RC_NOMEM;
}

/* Makes t->input non-empty; RC_END at the end of the stream. */
static enum rc refill(struct tar *t, struct err *e)
{
	while (!t->input.left) {
		if (t->input_ended)
			return RC_END;
		struct span piece = {0};
		const enum rc rc = t->source.next(t->source.self, &piece, e);
		if (rc == RC_END) {
			t->input_ended = true;
		} else if (rc) {
			t->finished = rc;
			return rc;
		} else {
			t->input = piece;
		}
	}
	return RC_OK;
}

/* Takes n bytes, to out unless it is NULL; *got is less only at the end of the stream. */
static enum rc take(struct tar *t, uint8_t *out, uint64_t n, uint64_t *got, struct err *e)
{
	uint64_t done = 0;

	while (done < n) {
		const enum rc rc = refill(t, e);
		if (rc == RC_END)
			break;
		if (rc)
			return rc;
		const size_t step = (size_t)min_u64(n - done, t->input.left);
		const uint8_t *const from = span_take(&t->input, step);
		if (out)
			memcpy(out + done, from, step);
		done += step;
	}
	*got = done;
	return RC_OK;
}

static bool buffer_reach(struct tar *t, struct buffer *b, size_t n)
{
	if (n <= b->cap)
		return true;
	size_t cap = b->cap ? b->cap : 1024;
	while (cap < n)
		cap *= 2;
	uint8_t *const at = arena_get(t->arena, cap);
	if (!at)
		return false;
	if (b->used)
		memcpy(at, b->at, b->used);
	b->at = at;
	b->cap = cap;
	return true;
}

/* ---- numbers and texts ---- */

static struct span field(const uint8_t *block, struct field f)
{
	return span_of(block + f.at, f.n);
}

static struct span until_nul(struct span s)
{
	const uint8_t *const nul = s.left ? memchr(s.at, 0, s.left) : NULL;
	return nul ? span_of(s.at, (size_t)(nul - s.at)) : s;
}

static struct span field_text(const uint8_t *block, struct field f)
{
	return until_nul(field(block, f));
}

static int64_t octal(struct span s, bool *bad)
{
	uint64_t value = 0;

	while (s.left && (s.at[0] == ' ' || s.at[0] == 0))
		(void)span_take(&s, 1); /* at least one is left */
	while (s.left && (s.at[s.left - 1] == ' ' || s.at[s.left - 1] == 0))
		s.left--;
	s = until_nul(s);
	for (size_t i = 0; i < s.left; i++) { /* 12 digits at most: no overflow */
		if (s.at[i] < '0' || s.at[i] > '7') {
			*bad = true;
			return 0;
		}
		value = value << 3 | (uint64_t)(s.at[i] - '0');
	}
	return (int64_t)value;
}

static int64_t numeric(struct span s, bool *bad)
{
	uint64_t value = 0;

	if (!s.left || !(s.at[0] & 0x80))
		return octal(s, bad);
	const uint8_t flip = s.at[0] & 0x40 ? 0xff : 0;
	for (size_t i = 0; i < s.left; i++) {
		const uint8_t c = (uint8_t)(s.at[i] ^ flip);
		if (value >> 56) {
			*bad = true;
			return 0;
		}
		value = value << 8 | (i ? c : c & 0x7fu);
	}
	if (value >> 63) {
		*bad = true;
		return 0;
	}
	return flip ? (int64_t)~value : (int64_t)value;
}

static int64_t field_number(const uint8_t *block, struct field f, bool *bad)
{
	return numeric(field(block, f), bad);
}

/* Go's strconv.ParseInt(s, 10, 64). */
static int64_t decimal(struct span s, bool *bad)
{
	uint64_t value = 0;
	const bool negative = s.left && s.at[0] == '-';

	if (s.left && (s.at[0] == '-' || s.at[0] == '+'))
		(void)span_take(&s, 1); /* it is left */
	if (!s.left)
		*bad = true;
	for (size_t i = 0; i < s.left; i++) {
		if (s.at[i] < '0' || s.at[i] > '9' || product_overflows(value, 10, &value) ||
			sum_overflows(value, (uint64_t)(s.at[i] - '0'), &value)) {
			*bad = true;
			return 0;
		}
	}
	if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
		*bad = true;
		return 0;
	}
	return negative ? (int64_t)(~value + 1) : (int64_t)value;
}

struct moment {
	int64_t s;
	uint32_t ns;
};

/* "[+-]seconds[.digits]", nine of the digits kept. */
static struct moment pax_time(struct span s, bool *bad)
{
	const uint8_t *const dot = memchr(s.at, '.', s.left);
	struct span whole = dot ? span_of(s.at, (size_t)(dot - s.at)) : s;
	struct span part = dot ? span_of(dot + 1, s.left - whole.left - 1) : span_of(NULL, 0);
	struct moment m = {decimal(whole, bad), 0};

	for (size_t i = 0; i < part.left; i++)
		if (part.at[i] < '0' || part.at[i] > '9')
			*bad = true;
	for (size_t i = 0; i < 9 && part.left && !*bad; i++)
		m.ns = m.ns * 10 + (i < part.left ? (uint32_t)(part.at[i] - '0') : 0);
	if (m.ns && whole.at[0] == '-' && m.s > INT64_MIN) {
		m.s--;
		m.ns = 1000000000u - m.ns;
	}
	return m;
}

/* ---- special files: pax records, GNU long names ---- */

/* Reads the current entry's whole data into b. */
static enum rc read_special(struct tar *t, struct buffer *b, struct err *e)
{
	uint64_t got = 0;

	b->used = 0;
	/* Go before 1.18.7 had no such bound: what is above cannot be judged, rather than refused */
	if (t->physical > LIMIT_TAR_SPECIAL_BYTES)
		return too_much(t, e, "a pax or long name block above 1 MiB");
	if (!buffer_reach(t, b, (size_t)t->physical + 1))
		return out_of_memory(t, e);
	const enum rc rc = take(t, b->at, t->physical, &got, e);
	if (rc)
		return rc;
	if (got < t->physical)
		return refuse(t, e, "cut off inside a pax or long name block");
	b->used = (size_t)got;
	t->physical = 0;
	return RC_OK;
}

static struct span buffer_span(const struct buffer *b)
{
	return span_of(b->at, b->used);
}

/* One record "length key=value\n" off the front of *s. */
static bool pax_record(struct span *s, struct span *key, struct span *value)
{
	const uint8_t *const space = s->left ? memchr(s->at, ' ', s->left) : NULL;
	bool bad = false;

	if (!space)
		return false;
	const size_t digits = (size_t)(space - s->at);
	const int64_t n = decimal(span_of(s->at, digits), &bad);
	if (bad || n < 5 || (uint64_t)n > s->left || (size_t)n <= digits + 1)
		return false;
	struct span record = span_sub(s, (size_t)n);
	(void)span_take(&record, digits + 1); /* n is larger */
	if (record.at[record.left - 1] != '\n')
		return false;
	record.left--;
	const uint8_t *const equals = record.left ? memchr(record.at, '=', record.left) : NULL;
	if (!equals || equals == record.at)
		return false;
	*key = span_of(record.at, (size_t)(equals - record.at));
	*value = span_of(equals + 1, record.left - key->left - 1);
	return true;
}

static bool has_nul(struct span s)
{
	return s.left && memchr(s.at, 0, s.left);
}

static bool append_map(struct tar *t, struct span number, bool first)
{
	struct buffer *const b = &t->pax_map;

	if (!buffer_reach(t, b, b->used + number.left + 1))
		return false;
	if (!first)
		b->at[b->used++] = ',';
	if (number.left)
		memcpy(b->at + b->used, number.at, number.left);
	b->used += number.left;
	return true;
}

static struct tar_xattr *xattrs(const struct tar *t)
{
	return (struct tar_xattr *)(void *)t->xattr_bytes.at; /* the arena aligns to 16 */
}

static bool append_xattr(struct tar *t, struct span name, struct span value)
{
	struct buffer *const b = &t->xattr_bytes;

	b->used = t->xattr_count * sizeof(struct tar_xattr);
	if (!buffer_reach(t, b, b->used + sizeof(struct tar_xattr)))
		return false;
	xattrs(t)[t->xattr_count++] = (struct tar_xattr){name, value};
	return true;
}

/* By name; the same name in the order of the archive: names lie in the one buffer of records. */
static int compare_xattrs(const void *a, const void *b)
{
	const struct tar_xattr *const x = a, *const y = b;
	const int order = span_compare(x->name, y->name);
	return order ? order : (x->name.at > y->name.at) - (x->name.at < y->name.at);
}

/* Of each name the last one stays. */
static void settle_xattrs(struct tar *t)
{
	struct tar_xattr *const list = xattrs(t);
	size_t kept = 0;

	if (t->xattr_count < 2)
		return;
	sort(list, t->xattr_count, sizeof(*list), compare_xattrs);
	for (size_t i = 0; i < t->xattr_count; i++)
		if (i + 1 == t->xattr_count || !span_equal(list[i].name, list[i + 1].name))
			list[kept++] = list[i];
	t->xattr_count = kept;
}

static void forget_pax(struct tar *t)
{
	memset(t->pax, 0, sizeof(t->pax));
	t->pax_map.used = 0;
	t->xattr_count = 0;
	t->pax_present = false;
}

static enum rc read_pax(struct tar *t, struct err *e)
{
	size_t map_numbers = 0;
	enum rc rc;

	forget_pax(t); /* several headers before one file: the last one replaces the others */
	if ((rc = read_special(t, &t->pax_bytes, e)))
		return rc;
	for (struct span rest = buffer_span(&t->pax_bytes); rest.left;) {
		struct span key = {0}, value = {0};
		if (!pax_record(&rest, &key, &value))
			return refuse(t, e, "a pax record that is none");
		const bool offset = span_is(key, "GNU.sparse.offset"), length = span_is(key, "GNU.sparse.numbytes");
		unsigned known = 0;
		while (known < PAX_KEYS && !span_is(key, pax_names[known]))
			known++;
		if (has_nul(known <= PAX_GROUP_NAME ? value : key))
			return refuse(t, e, "a NUL in a pax record");
		if (offset || length) { /* sparse 0.0 becomes 0.1 */
			if (offset != (map_numbers % 2 == 0) || (value.left && memchr(value.at, ',', value.left)))
				return refuse(t, e, "a sparse map out of order");
			if (!append_map(t, value, map_numbers++ == 0))
				return out_of_memory(t, e);
		} else if (known < PAX_KEYS) {
			t->pax[known] = value;
		} else if (span_starts(key, pax_xattr)) {
			(void)span_take(&key, sizeof(pax_xattr) - 1); /* it starts so */
			if (!append_xattr(t, key, value))
				return out_of_memory(t, e);
		}
	}
	if (map_numbers)
		t->pax[PAX_SPARSE_MAP] = buffer_span(&t->pax_map);
	settle_xattrs(t);
	t->pax_present = true;
	return RC_OK;
}

/* ---- headers ---- */

struct header {
	struct tar_entry entry;
	int64_t size;
	enum format format;
};

/* Of four numbers of 16 bits. */
static int64_t sum_of_lanes(uint64_t lanes)
{
	return (int64_t)(lanes * 0x0001000100010001u >> 48);
}

/* The sum of all bytes, with blanks in the place of itself; old writers took them for signed. Eight at a time, and 64 times: no lane
 * overflows. */
static bool checksum_fits(const uint8_t *block)
{
	const uint64_t alternate = 0x00ff00ff00ff00ffu;
	uint64_t even = 0, odd = 0, signs = 0;
	bool bad = false;
	const int64_t want = octal(field(block, F_CHECKSUM), &bad);

	for (size_t i = 0; i < BLOCK; i += 8) {
		uint64_t word;
		memcpy(&word, block + i, 8);
		even += word & alternate;
		odd += word >> 8 & alternate;
		signs += word >> 7 & 0x0101010101010101u;
	}
	int64_t sum = sum_of_lanes(even) + sum_of_lanes(odd);
	int64_t negative = sum_of_lanes((signs & alternate) + (signs >> 8 & alternate));
	for (size_t i = 0; i < F_CHECKSUM.n; i++) {
		const uint8_t c = block[F_CHECKSUM.at + i];
		sum += ' ' - c;
		negative -= c >> 7;
	}
	return !bad && (want == sum || want == sum - 256 * negative);
}

static enum format block_format(const uint8_t *block)
{
	if (memcmp(block + 257, "ustar\0", 6) == 0)
		return memcmp(block + 508, "tar\0", 4) == 0 ? FORMAT_STAR : FORMAT_USTAR;
	return memcmp(block + 257, "ustar  \0", 8) == 0 ? FORMAT_GNU : FORMAT_V7;
}

static bool is_ascii(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		if (s.at[i] >= 0x80)
			return false;
	return true;
}

static bool is_header_only(uint8_t type)
{
	return type >= '1' && type <= '6';
}

/* What follows the header: data and padding, none for types that have no data whatever their size says. */
static bool expect_data(struct tar *t, const struct header *h)
{
	const int64_t n = is_header_only(h->entry.raw_type) ? 0 : h->size;

	if (n < 0)
		return false;
	t->physical = (uint64_t)n;
	t->padding = (unsigned)(-(uint64_t)n & (BLOCK - 1));
	t->sparse = false;
	return true;
}

static void gnu_times(const uint8_t *block, struct tar_entry *entry, struct span *prefix)
{
	bool bad = false;
	const bool atime = block[F_GNU_ATIME.at] != 0;
	const int64_t seconds = atime ? field_number(block, F_GNU_ATIME, &bad) : 0;

	if (block[F_GNU_CTIME.at] != 0)
		(void)field_number(block, F_GNU_CTIME, &bad); /* only whether it is a number */
	if (!bad) {
		entry->has_atime = atime;
		entry->atime_s = seconds;
		return;
	}
	/* Go before 1.8 wrote a prefix here */
	const struct span text = field_text(block, F_USTAR_PREFIX);
	if (is_ascii(text))
		*prefix = text;
}

static bool read_fields(struct tar *t, struct header *h)
{
	const uint8_t *const block = t->block;
	struct tar_entry *const entry = &h->entry;
	struct span prefix = {0};
	bool bad = false;

	*h = (struct header){.format = block_format(block)};
	entry->raw_type = block[TYPE_AT];
	entry->name = field_text(block, F_NAME);
	entry->link_name = field_text(block, F_LINK);
	h->size = field_number(block, F_SIZE, &bad);
	entry->mode = (uint32_t)field_number(block, F_MODE, &bad) & 07777;
	entry->uid = field_number(block, F_UID, &bad);
	entry->gid = field_number(block, F_GID, &bad);
	entry->mtime_s = field_number(block, F_MTIME, &bad);
	if (h->format != FORMAT_V7) {
		entry->dev_major = field_number(block, F_MAJOR, &bad);
		entry->dev_minor = field_number(block, F_MINOR, &bad);
	}
	if (h->format == FORMAT_USTAR) {
		prefix = field_text(block, F_USTAR_PREFIX);
	} else if (h->format == FORMAT_STAR) {
		prefix = field_text(block, F_STAR_PREFIX);
		entry->has_atime = true;
		entry->atime_s = field_number(block, F_STAR_ATIME, &bad);
		(void)field_number(block, F_STAR_CTIME, &bad); /* only whether it is a number */
	} else if (h->format == FORMAT_GNU) {
		gnu_times(block, entry, &prefix);
	}
	if (prefix.left) {
		memcpy(t->joined, prefix.at, prefix.left);
		t->joined[prefix.left] = '/';
		if (entry->name.left)
			memcpy(t->joined + prefix.left + 1, entry->name.at, entry->name.left);
		entry->name = span_of(t->joined, prefix.left + 1 + entry->name.left);
	}
	return !bad;
}

static bool is_zero_block(const uint8_t *block)
{
	return bytes_are_zero(block, BLOCK);
}

/* RC_END: exactly no byte left, one zero block and then no byte, or two zero blocks. */
static enum rc read_block(struct tar *t, struct err *e)
{
	for (unsigned zero_blocks = 0;; zero_blocks++) {
		uint64_t got = 0;
		const enum rc rc = take(t, t->block, BLOCK, &got, e);
		if (rc)
			return rc;
		if (got == 0) {
			t->finished = RC_END;
			return RC_END;
		}
		if (got < BLOCK)
			return refuse(t, e, "cut off inside a header");
		if (!is_zero_block(t->block))
			return zero_blocks ? refuse(t, e, "a header after a zero block") : RC_OK;
		if (zero_blocks) {
			t->finished = RC_END;
			return RC_END;
		}
	}
}

static enum rc read_header(struct tar *t, struct header *h, struct err *e)
{
	const enum rc rc = read_block(t, e);

	if (rc)
		return rc;
	if (!checksum_fits(t->block))
		return refuse(t, e, "a header whose checksum is wrong");
	if (!read_fields(t, h))
		return refuse(t, e, "a number in a header that is none");
	if (!expect_data(t, h))
		return refuse(t, e, "a negative size");
	return RC_OK;
}

/* Applies the records; an empty value keeps what the header block says. */
static bool merge_pax(const struct tar *t, struct header *h)
{
	struct tar_entry *const entry = &h->entry;
	const struct span *const pax = t->pax;
	bool bad = false;

	if (!t->pax_present)
		return true;
	if (pax[PAX_PATH].left)
		entry->name = pax[PAX_PATH];
	if (pax[PAX_LINK_PATH].left)
		entry->link_name = pax[PAX_LINK_PATH];
	if (pax[PAX_UID].left)
		entry->uid = decimal(pax[PAX_UID], &bad);
	if (pax[PAX_GID].left)
		entry->gid = decimal(pax[PAX_GID], &bad);
	if (pax[PAX_SIZE].left)
		h->size = decimal(pax[PAX_SIZE], &bad);
	if (pax[PAX_MTIME].left) {
		const struct moment m = pax_time(pax[PAX_MTIME], &bad);
		entry->mtime_s = m.s;
		entry->mtime_ns = m.ns;
	}
	if (pax[PAX_ATIME].left) {
		const struct moment m = pax_time(pax[PAX_ATIME], &bad);
		entry->has_atime = true;
		entry->atime_s = m.s;
		entry->atime_ns = m.ns;
	}
	if (pax[PAX_CTIME].left)
		(void)pax_time(pax[PAX_CTIME], &bad); /* only whether it is a time */
	entry->xattrs = xattrs(t);
	entry->xattr_count = t->xattr_count;
	return !bad;
}

/* ---- sparse files ---- */

static bool append_region(struct tar *t, uint64_t at, uint64_t n)
{
	if (t->region_count == t->region_cap) {
		const size_t cap = t->region_cap ? t->region_cap * 2 : 64;
		struct region *const list = arena_array(t->arena, cap, sizeof(*list));
		if (!list)
			return false;
		if (t->region_count)
			memcpy(list, t->regions, t->region_count * sizeof(*list));
		t->regions = list;
		t->region_cap = cap;
	}
	t->regions[t->region_count++] = (struct region){at, n};
	return true;
}

/* Old GNU: pairs in the header block, then in extension blocks that lie before the data. */
static enum rc old_gnu_map(struct tar *t, struct header *h, struct err *e)
{
	const uint8_t *block = t->block + GNU_SPARSE_AT;
	size_t entries = GNU_SPARSE_ENTRIES;
	bool bad = false;

	if (h->format != FORMAT_GNU)
		return refuse(t, e, "a sparse file of an unknown kind");
	h->size = field_number(t->block, F_GNU_REAL_SIZE, &bad);
	if (bad)
		return refuse(t, e, "a sparse file without a size");
	for (size_t bytes = 0; bytes <= LIMIT_TAR_SPECIAL_BYTES; bytes += BLOCK) {
		for (size_t i = 0; i < entries && block[24 * i]; i++) {
			const int64_t at = numeric(span_of(block + 24 * i, 12), &bad);
			const int64_t n = numeric(span_of(block + 24 * i + 12, 12), &bad);
			if (bad)
				return refuse(t, e, "a sparse map that is none");
			if (!append_region(t, (uint64_t)at, (uint64_t)n))
				return out_of_memory(t, e);
		}
		if (!block[24 * entries])
			return RC_OK;
		uint64_t got = 0;
		const enum rc rc = take(t, t->more, BLOCK, &got, e);
		if (rc)
			return rc;
		if (got < BLOCK)
			return refuse(t, e, "cut off inside a sparse map");
		block = t->more;
		entries = GNU_SPARSE_ENTRIES_MORE;
	}
	return too_much(t, e, "a sparse map above 1 MiB");
}

static struct span next_number(struct span *s, char separator)
{
	const uint8_t *const end = s->left ? memchr(s->at, separator, s->left) : NULL;
	const struct span number = span_sub(s, end ? (size_t)(end - s->at) : s->left);

	if (end)
		(void)span_take(s, 1); /* the separator was found there */
	return number;
}

static enum rc append_pairs(struct tar *t, struct span text, uint64_t pairs, char separator, struct err *e)
{
	for (uint64_t i = 0; i < pairs; i++) {
		bool bad = false;
		const int64_t at = decimal(next_number(&text, separator), &bad);
		const int64_t n = decimal(next_number(&text, separator), &bad);
		if (bad)
			return refuse(t, e, "a sparse map that is none");
		if (!append_region(t, (uint64_t)at, (uint64_t)n))
			return out_of_memory(t, e);
	}
	return RC_OK;
}

/* pax 0.0 and 0.1: comma-separated numbers in a record. */
static enum rc pax_0_map(struct tar *t, struct err *e)
{
	const struct span map = t->pax[PAX_SPARSE_MAP];
	bool bad = false;
	const int64_t pairs = decimal(t->pax[PAX_SPARSE_BLOCKS], &bad);
	uint64_t numbers = map.left ? 1 : 0;

	for (size_t i = 0; i < map.left; i++)
		numbers += map.at[i] == ',';
	if (bad || pairs < 0 || pairs > INT64_MAX / 2 || numbers != 2 * (uint64_t)pairs)
		return refuse(t, e, "a sparse map of another length than it says");
	return append_pairs(t, map, (uint64_t)pairs, ',', e);
}

/* pax 1.0: newline-terminated numbers at the front of the data, in whole blocks. */
static enum rc pax_1_map(struct tar *t, struct err *e)
{
	struct buffer *const b = &t->sparse_text;
	uint64_t newlines = 0, want = 1, pairs = 0;
	size_t head = 0; /* bytes of the first number with its newline */
	bool bad = false;

	b->used = 0;
	while (newlines < want) {
		uint64_t got = 0;
		/* Go 1.24.8 and 1.25.2 bound this, earlier versions do not */
		if (b->used + BLOCK > LIMIT_TAR_SPECIAL_BYTES)
			return too_much(t, e, "a sparse map above 1 MiB");
		if (!buffer_reach(t, b, b->used + BLOCK))
			return out_of_memory(t, e);
		if (t->physical < BLOCK)
			return refuse(t, e, "a sparse map longer than its file");
		const enum rc rc = take(t, b->at + b->used, BLOCK, &got, e);
		if (rc)
			return rc;
		if (got < BLOCK)
			return refuse(t, e, "cut off inside a sparse map");
		t->physical -= BLOCK;
		for (size_t i = b->used; i < b->used + BLOCK; i++)
			newlines += b->at[i] == '\n';
		b->used += BLOCK;
		if (!head && newlines) {
			struct span text = buffer_span(b);
			const struct span first = next_number(&text, '\n');
			const int64_t n = decimal(first, &bad);
			if (bad || n < 0 || n > INT64_MAX / 2)
				return refuse(t, e, "a sparse map that is none");
			head = first.left + 1;
			pairs = (uint64_t)n;
			want = 1 + 2 * pairs;
		}
	}
	struct span text = buffer_span(b);
	(void)span_take(&text, head); /* it was read from there */
	return append_pairs(t, text, pairs, '\n', e);
}

static enum rc pax_map(struct tar *t, struct header *h, bool *sparse, struct err *e)
{
	const struct span *const pax = t->pax;
	const struct span major = pax[PAX_SPARSE_MAJOR], minor = pax[PAX_SPARSE_MINOR];
	bool in_data = false, bad = false;

	*sparse = false;
	if (!t->pax_present)
		return RC_OK;
	if (span_is(major, "1") && span_is(minor, "0"))
		in_data = true;
	else if (span_is(major, "0") && (span_is(minor, "0") || span_is(minor, "1")))
		in_data = false;
	else if (major.left || minor.left || !pax[PAX_SPARSE_MAP].left)
		return RC_OK; /* an unknown version is read as it lies there */
	*sparse = true;
	if (pax[PAX_SPARSE_NAME].left)
		h->entry.name = pax[PAX_SPARSE_NAME];
	const struct span size = pax[PAX_SPARSE_SIZE].left ? pax[PAX_SPARSE_SIZE] : pax[PAX_SPARSE_REAL_SIZE];
	if (size.left)
		h->size = decimal(size, &bad);
	if (bad)
		return refuse(t, e, "a sparse file without a size");
	return in_data ? pax_1_map(t, e) : pax_0_map(t, e);
}

/* In order, within the file, no overlap; empty ones dropped. */
static bool settle_regions(struct tar *t, int64_t size)
{
	uint64_t end = 0;
	size_t kept = 0;

	if (size < 0)
		return false;
	for (size_t i = 0; i < t->region_count; i++) {
		const struct region r = t->regions[i];
		if (r.at > INT64_MAX || r.n > INT64_MAX - r.at || r.at + r.n > (uint64_t)size || end > r.at)
			return false;
		end = r.at + r.n;
		if (r.n)
			t->regions[kept++] = r;
	}
	t->region_count = kept;
	return true;
}

static enum rc expect_sparse(struct tar *t, struct header *h, struct err *e)
{
	bool sparse = true;
	enum rc rc;

	t->region_count = 0;
	t->region_now = 0;
	if (h->entry.raw_type == 'S')
		rc = old_gnu_map(t, h, e);
	else
		rc = pax_map(t, h, &sparse, e);
	if (rc || !sparse)
		return rc;
	if (is_header_only(h->entry.raw_type) || !settle_regions(t, h->size))
		return refuse(t, e, "a sparse map that does not fit its file");
	t->sparse = true;
	return RC_OK;
}

/* ---- entries ---- */

static enum tar_type type_of(uint8_t raw)
{
	switch (raw) {
	case '0':
		return TAR_FILE;
	case '1':
		return TAR_HARD_LINK;
	case '2':
		return TAR_SYMLINK;
	case '3':
		return TAR_CHAR;
	case '4':
		return TAR_BLOCK;
	case '5':
		return TAR_DIR;
	case '6':
		return TAR_FIFO;
	case 'g':
		return TAR_GLOBAL;
	default:
		return TAR_OTHER;
	}
}

static void hand_out(struct tar *t, struct header *h, struct tar_entry *entry)
{
	h->entry.type = type_of(h->entry.raw_type);
	h->entry.size = (uint64_t)h->size; /* negative only where there is no data */
	h->entry.stored = t->physical;
	t->logical_at = 0;
	t->logical_size = t->sparse ? (uint64_t)h->size : t->physical;
	*entry = h->entry;
}

/* Go merges a global header's records into that one entry; what they say is not applied later. */
static enum rc global_entry(struct tar *t, struct header *h, struct tar_entry *entry, struct err *e)
{
	struct header merged = *h;

	/* Go ignores the error and has then applied the records up to it, in a random order */
	if (!merge_pax(t, &merged) && t->pax[PAX_PATH].left)
		return too_much(t, e, "a global header whose meaning is a matter of chance");
	*h = (struct header){.entry = {.name = merged.entry.name, .raw_type = 'g'}};
	hand_out(t, h, entry);
	return RC_OK;
}

static enum rc file_entry(struct tar *t, struct header *h, struct tar_entry *entry, struct err *e)
{
	const struct span name = until_nul(buffer_span(&t->long_name));
	const struct span link_name = until_nul(buffer_span(&t->long_link));
	enum rc rc;

	if (!merge_pax(t, h))
		return refuse(t, e, "a number in a pax record that is none");
	if (name.left)
		h->entry.name = name;
	if (link_name.left)
		h->entry.link_name = link_name;
	if (h->entry.raw_type == 0)
		h->entry.raw_type = h->entry.name.left && h->entry.name.at[h->entry.name.left - 1] == '/' ? '5' : '0';
	if (!expect_data(t, h))
		return refuse(t, e, "a negative size");
	if ((rc = expect_sparse(t, h, e)))
		return rc;
	hand_out(t, h, entry);
	return RC_OK;
}

static enum rc skip_data(struct tar *t, struct err *e)
{
	uint64_t got = 0;
	enum rc rc;

	if ((rc = take(t, NULL, t->physical, &got, e)))
		return rc;
	if (got < t->physical)
		return refuse(t, e, "cut off inside a file");
	t->physical = 0;
	if ((rc = take(t, NULL, t->padding, &got, e)))
		return rc;
	if (got < t->padding) { /* an end like any other */
		t->finished = RC_END;
		return RC_END;
	}
	t->padding = 0;
	return RC_OK;
}

enum rc tar_next(struct tar *t, struct tar_entry *entry, struct err *e)
{
	if (t->finished)
		return t->finished;
	forget_pax(t);
	t->long_name.used = 0;
	t->long_link.used = 0;
	for (;;) { /* each turn takes a block or more of the stream */
		struct header h;
		enum rc rc;

		if ((rc = skip_data(t, e)) || (rc = read_header(t, &h, e)))
			return rc;
		switch (h.entry.raw_type) {
		case 'x':
			rc = read_pax(t, e);
			break;
		case 'g':
			rc = read_pax(t, e);
			return rc ? rc : global_entry(t, &h, entry, e);
		case 'L':
			rc = read_special(t, &t->long_name, e);
			break;
		case 'K':
			rc = read_special(t, &t->long_link, e);
			break;
		default:
			return file_entry(t, &h, entry, e);
		}
		if (rc)
			return rc;
	}
}

/* ---- data ---- */

static enum rc physical_piece(struct tar *t, uint64_t most, struct span *piece, struct err *e)
{
	const enum rc rc = refill(t, e);

	if (rc == RC_END)
		return refuse(t, e, "cut off inside a file");
	if (rc)
		return rc;
	*piece = span_sub(&t->input, (size_t)min_u64(min_u64(most, t->physical), t->input.left));
	t->physical -= piece->left;
	t->logical_at += piece->left;
	return RC_OK;
}

static enum rc sparse_piece(struct tar *t, struct span *piece, struct err *e)
{
	while (t->region_now < t->region_count &&
		t->logical_at >= t->regions[t->region_now].at + t->regions[t->region_now].n)
		t->region_now++;
	const struct region r =
		t->region_now < t->region_count ? t->regions[t->region_now] : (struct region){t->logical_size, 0};
	if (t->logical_at < r.at) {
		*piece = span_of(NULL, (size_t)(r.at - t->logical_at));
		t->logical_at += piece->left;
		return RC_OK;
	}
	if (!t->physical)
		return refuse(t, e, "a sparse file shorter than its map");
	return physical_piece(t, r.at + r.n - t->logical_at, piece, e);
}

enum rc tar_data(struct tar *t, struct span *piece, struct err *e)
{
	if (t->finished)
		return t->finished;
	if (t->logical_at < t->logical_size)
		return t->sparse ? sparse_piece(t, piece, e)
				 : physical_piece(t, t->logical_size - t->logical_at, piece, e);
	if (t->sparse && t->physical)
		return refuse(t, e, "a sparse file longer than its map");
	return RC_END;
}

enum rc tar_open(struct tar **t, struct tar_source source, struct arena *a, struct err *e)
{
	struct tar *const made = arena_get(a, sizeof(*made));

	if (!made)
		return no_memory(e);
	made->source = source;
	made->arena = a;
	*t = made;
	return RC_OK;
}
