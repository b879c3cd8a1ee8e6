/* SPDX-License-Identifier: MIT */
#include "ground/base.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

enum rc fail(struct err *e, enum rc rc, const char *format, ...)
{
	const int cause = errno;

	if (!e || e->rc != RC_OK)
		return rc;
	e->rc = rc;
	e->sys_errno = rc == RC_IO ? cause : 0;
	va_list arguments;
	va_start(arguments, format);
	(void)print_to_v(e->text, sizeof(e->text), format, arguments); /* a cut text is still a text */
	va_end(arguments);
	return rc;
}

enum rc no_memory(struct err *e)
{
	return fail(e, RC_NOMEM, "no memory");
}

char *text_find(const char *text, const char *needle)
{
	const size_t n = strlen(needle);

	for (; (text = strchr(text, *needle)); text++)
		if (strncmp(text, needle, n) == 0)
			return (char *)(uintptr_t)text; /* as strstr: whether it may be written the caller knows */
	return NULL;
}

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
	for (uint8_t *const end = a + size; a < end; a++, b++) {
		const uint8_t other = *a;
		*a = *b;
		*b = other;
	}
}

void sort_by(void *items, size_t n, size_t size, int (*compare)(const void *, const void *, const void *), const void *context)
{
	uint8_t *const at = items;
	size_t ordered = 1;

	while (ordered < n && compare(at + (ordered - 1) * size, at + ordered * size, context) <= 0)
		ordered++;
	if (ordered >= n) /* most come out of a database so */
		return;
	/* a heap of those in front of end, made from the middle on, then its largest behind it */
	for (size_t next = n / 2, end = n; end > 1;) {
		if (next)
			next--;
		else
			swap(at, at + --end * size, size);
		for (size_t up = next, down; (down = 2 * up + 1) < end; up = down) {
			if (down + 1 < end && compare(at + down * size, at + (down + 1) * size, context) < 0)
				down++;
			if (compare(at + up * size, at + down * size, context) >= 0)
				break;
			swap(at + up * size, at + down * size, size);
		}
	}
}

struct plain {
	int (*compare)(const void *, const void *);
};

static int compare_plainly(const void *a, const void *b, const void *context)
{
	return ((const struct plain *)context)->compare(a, b);
}

void sort(void *items, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	const struct plain plain = {compare};

	sort_by(items, n, size, compare_plainly, &plain);
}

enum rc pace_on(struct pace *p, uint64_t work, struct err *e)
{
	if (!p || !p->ask || (p->done += work) < PACE_WORK)
		return RC_OK;
	p->done = 0;
	return p->ask(p->self, e);
}

struct span span_of(const void *at, size_t n)
{
	return (struct span){at, n & SPAN_BYTES_MAX, false};
}

struct span span_of_string(const char *s)
{
	return span_of(s, strlen(s));
}

const uint8_t *span_take(struct span *s, size_t n)
{
	if (s->bad || n > s->left) {
		s->bad = true;
		s->left = 0;
		return NULL;
	}
	const uint8_t *const at = s->at;
	if (n) {
		s->at += n;
		s->left = (s->left - n) & SPAN_BYTES_MAX;
	}
	return at;
}

struct span span_sub(struct span *s, size_t n)
{
	const uint8_t *const at = span_take(s, n);
	return s->bad ? (struct span){.bad = true} : span_of(at, n);
}

struct span span_take_to(struct span *s, char end)
{
	const uint8_t *const at = s->left ? memchr(s->at, end, s->left) : NULL;
	const struct span out = span_sub(s, at ? (size_t)(at - s->at) : s->left);

	(void)span_take(s, at != NULL);
	return out;
}

static uint64_t take_number(struct span *s, size_t n, bool big_endian)
{
	const uint8_t *const at = span_take(s, n);
	uint64_t value = 0;

	if (!at)
		return 0;
	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)at[i] << 8 * (big_endian ? n - 1 - i : i);
	return value;
}

uint8_t span_u8(struct span *s)
{
	return (uint8_t)take_number(s, 1, false);
}

uint16_t span_u16le(struct span *s)
{
	return (uint16_t)take_number(s, 2, false);
}

uint32_t span_u32le(struct span *s)
{
	return (uint32_t)take_number(s, 4, false);
}

uint64_t span_u64le(struct span *s)
{
	return take_number(s, 8, false);
}

uint32_t span_u32be(struct span *s)
{
	return (uint32_t)take_number(s, 4, true);
}

uint64_t span_u64be(struct span *s)
{
	return take_number(s, 8, true);
}

uint64_t span_uvarint(struct span *s)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		const uint8_t byte = span_u8(s);
		if (s->bad || (shift == 63 && byte > 1))
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	s->bad = true;
	s->left = 0;
	return 0;
}

int64_t span_varint(struct span *s)
{
	const uint64_t folded = span_uvarint(s);
	return (int64_t)(folded >> 1 ^ (~(folded & 1) + 1));
}

int span_compare(struct span a, struct span b)
{
	const size_t n = a.left < b.left ? a.left : b.left;
	const int order = n ? memcmp(a.at, b.at, n) : 0;

	if (order)
		return order;
	return (a.left > b.left) - (a.left < b.left);
}

int compare_spans(const void *a, const void *b)
{
	return span_compare(*(const struct span *)a, *(const struct span *)b);
}

bool span_equal(struct span a, struct span b)
{
	return a.left == b.left && span_compare(a, b) == 0;
}

bool span_is(struct span a, const char *text)
{
	return span_equal(a, span_of_string(text));
}

bool span_starts(struct span a, const char *prefix)
{
	const size_t n = strlen(prefix);
	return a.left >= n && memcmp(a.at, prefix, n) == 0;
}

enum rc src_read(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	if (off > s->size || n > s->size - off)
		return fail(e, RC_CORRUPT, "bytes %llu+%zu lie past the end at %llu",
			(unsigned long long)off, n, (unsigned long long)s->size);
	return n ? s->read_at(s, off, buf, n, e) : RC_OK;
}

static enum rc memory_read_at(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	(void)e;
	memcpy(buf, (const uint8_t *)s->memory + off, n);
	return RC_OK;
}

struct src src_of_memory(const void *at, size_t n)
{
	return (struct src){.size = n, .read_at = memory_read_at, .memory = at, .fd = -1};
}

/* At the start of the reservation itself: a copy of struct arena sees what all of them made usable. */
struct arena_region {
	size_t usable, peak;
	size_t dirty; /* all bytes beyond are zero, as the system gave them */
	size_t bound; /* what is handed out and was not given back may be so much */
	struct arena_pool *pool; /* NULL: none */
	size_t joined; /* of its used bytes */
	bool refused, full; /* full: for the bound */
};

_Static_assert(LIMIT_ARENA_BYTES <= UINT32_MAX / 2, "arenas are counted in 32 bits");
#define ARENA_HEAD 64 /* keeps the first allocation on a cache line of its own */

enum rc arena_open(struct arena *a, struct err *e)
{
	/* PROT_NONE is not charged even where the kernel never overcommits; mprotect charges what is made usable. */
	void *const at = mmap(NULL, LIMIT_ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED || mprotect(at, LIMIT_ARENA_STEP, PROT_READ | PROT_WRITE)) {
		if (at != MAP_FAILED)
			(void)munmap(at, LIMIT_ARENA_BYTES); /* nothing to do about a failed give-back */
		return no_memory(e);
	}
	a->region = at;
	a->region->usable = LIMIT_ARENA_STEP;
	a->region->bound = LIMIT_ARENA_BYTES;
	a->used = ARENA_HEAD;
	a->returned = 0;
	return RC_OK;
}

void arena_prefer_large(const struct arena *a)
{
	(void)madvise(a->region, LIMIT_ARENA_BYTES, MADV_HUGEPAGE); /* a wish; not every kernel has them */
}

void arena_join(const struct arena *a, struct arena_pool *pool)
{
	a->region->pool = pool;
	a->region->joined = 0;
}

/* So much is in use now. */
static bool pool_take(struct arena_region *r, size_t now)
{
	const size_t want = (now + LIMIT_ARENA_STEP - 1) / LIMIT_ARENA_STEP * LIMIT_ARENA_STEP, more = want - r->joined;

	if (!r->pool)
		return true;
	if (want > r->joined && atomic_fetch_add(&r->pool->used, more) + more > r->pool->most) {
		atomic_fetch_sub(&r->pool->used, more);
		return false;
	}
	if (want < r->joined)
		atomic_fetch_sub(&r->pool->used, r->joined - want);
	r->joined = want;
	return true;
}

void arena_close(struct arena *a)
{
	if (a->region)
		(void)pool_take(a->region, 0); /* what is given back fits */
	if (a->region)
		(void)munmap(a->region, LIMIT_ARENA_BYTES); /* nothing to do about a failed give-back */
	*a = (struct arena){0};
}

static bool refuse(struct arena_region *r)
{
	r->refused = true;
	return false;
}

void arena_bound(const struct arena *a, size_t bytes)
{
	a->region->bound = bytes;
	a->region->full = false;
}

bool arena_is_full(const struct arena *a)
{
	return a->region->full;
}

bool arena_refused(const struct arena *a)
{
	return a->region->refused;
}

static bool arena_reach(struct arena *a, size_t end)
{
	struct arena_region *const r = a->region;

	const size_t now = end - a->returned;
	const bool full = now > r->bound || (now > r->joined && !pool_take(r, now));
	r->full |= full;
	if (end > LIMIT_ARENA_BYTES || full)
		return refuse(r);
	if (end > r->usable) {
		const size_t want = (end + LIMIT_ARENA_STEP - 1) / LIMIT_ARENA_STEP * LIMIT_ARENA_STEP;
		if (mprotect((uint8_t *)r + r->usable, want - r->usable, PROT_READ | PROT_WRITE))
			return refuse(r);
		r->usable = want;
	}
	r->peak = now > r->peak ? now : r->peak;
	return true;
}

/* What is handed out, up to a->used. What is zero already must not be touched: that would only make it cost memory and time. */
static void clear(const struct arena *a, uint8_t *at, size_t n)
{
	struct arena_region *const r = a->region;
	const size_t from = (size_t)(at - (uint8_t *)r), dirty = r->dirty > from ? r->dirty - from : 0;

	memset(at, 0, dirty < n ? dirty : n);
	r->dirty = a->used > r->dirty ? a->used : r->dirty;
}

void *arena_get(struct arena *a, size_t n)
{
	if (n > LIMIT_ARENA_BYTES - a->used) {
		a->region->full = true;
		(void)refuse(a->region);
		return NULL;
	}
	const size_t end = a->used + ((n + 15) & ~(size_t)15);
	if (!arena_reach(a, end)) /* nor past what 32 bits hold */
		return NULL;
	uint8_t *const at = (uint8_t *)a->region + a->used;
	a->used = (uint32_t)end;
	clear(a, at, n);
	return at;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	uint64_t total = 0;
	/* the most that can be is more than there is */
	return arena_get(a, product_overflows(n, size, &total) ? SIZE_MAX : (size_t)total);
}

void *arena_grow(struct arena *a, void *last, size_t old_n, size_t new_n)
{
	const size_t old_room = (old_n + 15) & ~(size_t)15;

	if (last && (uint8_t *)last + old_room == (uint8_t *)a->region + a->used) {
		const struct arena mark = *a;
		a->used -= (uint32_t)old_room;
		if (new_n > LIMIT_ARENA_BYTES - a->used ||
			!arena_reach(a, a->used + ((new_n + 15) & ~(size_t)15))) {
			*a = mark;
			return NULL;
		}
		a->used += (uint32_t)((new_n + 15) & ~(size_t)15);
		if (new_n > old_n)
			clear(a, (uint8_t *)last + old_n, new_n - old_n);
		return last;
	}
	void *const fresh = arena_get(a, new_n);
	if (fresh && last)
		memcpy(fresh, last, old_n < new_n ? old_n : new_n);
	return fresh;
}

struct span arena_copy(struct arena *a, struct span s)
{
	uint8_t *const at = arena_get(a, s.left + 1);
	if (!at)
		return (struct span){NULL, 0, true};
	if (s.left)
		memcpy(at, s.at, s.left);
	return span_of(at, s.left);
}

/* Copies n bytes of this arena to another place in it, piece by piece, and gives the memory of each piece back: there is never more of
 * it than of one array and a piece. */
static void move_out(struct arena *a, uint8_t *to, uint8_t *from, size_t n)
{
	uint8_t *const base = (uint8_t *)a->region;

	while (n) {
		const size_t at = (size_t)(from - base) % LIMIT_ARENA_STEP, whole = LIMIT_ARENA_STEP - at, piece = n < whole ? n : whole;
		memcpy(to, from, piece);
		/* refused (locked memory), it stays as it is */
		if (piece == LIMIT_ARENA_STEP && !madvise(from, piece, MADV_DONTNEED))
			a->returned += (uint32_t)piece;
		from += piece;
		to += piece;
		n -= piece;
	}
}

void *arena_more(struct arena *a, void *array, size_t old_n, size_t new_n, size_t size)
{
	uint64_t total = 0;
	const size_t old_bytes = old_n * size;
	const bool last = array && (uint8_t *)array + ((old_bytes + 15) & ~(size_t)15) == (uint8_t *)a->region + a->used;

	if (product_overflows(new_n, size, &total))
		total = SIZE_MAX; /* the most that can be is more than there is */
	if (last)
		return arena_grow(a, array, old_bytes, (size_t)total);
	/* what will be given back does not count against the bound */
	const struct arena mark = *a;
	a->returned += (uint32_t)old_bytes;
	void *const bigger = arena_get(a, (size_t)total);
	a->returned = mark.returned;
	if (bigger && old_n)
		move_out(a, bigger, array, old_bytes);
	return bigger;
}

void *arena_push(struct arena *a, void **array, size_t *count, size_t size)
{
	if ((*count & (*count - 1)) == 0) { /* full at every power of two */
		void *const bigger = arena_more(a, *array, *count, *count ? *count * 2 : 1, size);
		if (!bigger)
			return NULL;
		*array = bigger;
	}
	return (uint8_t *)*array + (*count)++ * size;
}

char *arena_string(struct arena *a, struct span s)
{
	char *const at = arena_get(a, s.left + 1);
	if (at && s.left)
		memcpy(at, s.at, s.left);
	return at;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list arguments, again;

	va_start(arguments, format);
	va_copy(again, arguments);
	const int n = print_to_v(NULL, 0, format, arguments);
	va_end(arguments);
	char *const at = n < 0 ? NULL : arena_get(a, (size_t)n + 1);
	if (at)
		(void)print_to_v(at, (size_t)n + 1, format, again); /* the size was just measured */
	va_end(again);
	return at;
}

void arena_trim(const struct arena *a)
{
	const size_t from = (a->used + LIMIT_ARENA_STEP - 1) / LIMIT_ARENA_STEP * LIMIT_ARENA_STEP;
	struct arena_region *const r = a->region;

	/* refused (locked memory), it stays as it is */
	if (from < r->dirty && !madvise((uint8_t *)r + from, r->usable - from, MADV_DONTNEED))
		r->dirty = from;
	(void)pool_take(r, arena_in_use(a)); /* it is less */
}

size_t arena_in_use(const struct arena *a)
{
	return a->used - a->returned;
}

size_t arena_peak(const struct arena *a)
{
	return a->region ? a->region->peak : 0;
}

bool name_ok(struct span name)
{
	if (name.bad || name.left == 0 || name.left > LIMIT_NAME_BYTES)
		return false;
	if (span_is(name, ".") || span_is(name, ".."))
		return false;
	return !memchr(name.at, '/', name.left) && !memchr(name.at, 0, name.left);
}

enum rc parse_decimal(struct span text, uint64_t *value)
{
	uint64_t sum = 0;

	if (text.bad || text.left == 0 || (text.left > 1 && text.at[0] == '0'))
		return RC_CORRUPT;
	for (size_t i = 0; i < text.left; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return RC_CORRUPT;
		if (product_overflows(sum, 10, &sum) || sum_overflows(sum, (uint64_t)(text.at[i] - '0'), &sum))
			return RC_CORRUPT;
	}
	*value = sum;
	return RC_OK;
}

static inline uint64_t word(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

bool bytes_equal(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n >= 32; n -= 32, x += 32, y += 32)
		if ((word(x) ^ word(y)) | (word(x + 8) ^ word(y + 8)) | (word(x + 16) ^ word(y + 16)) | (word(x + 24) ^ word(y + 24)))
			return false;
	return n == 0 || memcmp(x, y, n) == 0;
}

bool bytes_are_zero(const void *a, size_t n)
{
	const uint8_t *const x = a;

	return n == 0 || (x[0] == 0 && bytes_equal(x, x + 1, n - 1));
}

/* Would let a name from disk rearrange a console line, or pass for another name: what ends lines, turns the direction of text, or
 * takes no room. Unicode 15: general categories Cf, Zl and Zp, and the fillers and selectors that show nothing. */
static bool is_unseen(uint32_t point)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {{0xad, 0xad}, {0x34f, 0x34f}, {0x600, 0x605}, {0x61c, 0x61c}, {0x6dd, 0x6dd}, {0x70f, 0x70f}, {0x890, 0x891},
		{0x8e2, 0x8e2}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e},
		{0x2060, 0x206f}, {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb},
		{0xfffe, 0xffff}, {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
		{0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	return false;
}

/* Length of a valid UTF-8 sequence at s[0] that prints (from U+00A0, no surrogate, shortest form), else 0. */
static size_t utf8_printable(const uint8_t *s, size_t left)
{
	static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
	const size_t n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;

	if (!n || n > left)
		return 0;
	uint32_t point = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3fu);
	}
	if (is_unseen(point))
		return 0;
	return point >= least[n] && point <= 0x10ffff && !(point >= 0xd800 && point < 0xe000) ? n : 0;
}

static size_t make_printable(char *out, size_t cap, struct span raw, bool name)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;

	for (size_t i = 0; i < raw.left;) {
		const uint8_t c = raw.at[i];
		char piece[4];
		size_t n = 1;
		size_t step = 1;

		if (c >= 0x20 && c < 0x7f && !(name && (c == '\\' || c == '"'))) {
			piece[0] = (char)c;
		} else if ((step = utf8_printable(raw.at + i, raw.left - i)) != 0) {
			memcpy(piece, raw.at + i, step);
			n = step;
		} else {
			step = 1;
			n = 4;
			piece[0] = '\\';
			piece[1] = 'x';
			piece[2] = digits[c >> 4];
			piece[3] = digits[c & 15];
		}
		if (used + n < cap) /* a piece is written whole or not at all */
			memcpy(out + used, piece, n);
		else if (used < cap)
			out[used] = 0;
		used += n;
		i += step;
	}
	if (cap)
		out[used < cap ? used : cap - 1] = 0;
	return used;
}

size_t escape(char *out, size_t cap, struct span raw)
{
	return make_printable(out, cap, raw, true);
}

size_t escape_sentence(char *out, size_t cap, struct span raw)
{
	return make_printable(out, cap, raw, false);
}

uint64_t fnv1a(const void *at, size_t n)
{
	const uint8_t *const bytes = at;
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash;
}

static uint64_t wide_mix(uint64_t lane, uint64_t word)
{
	lane ^= word;
	return (lane << 29 | lane >> 35) * 0x9e3779b97f4a7c15u;
}

void wide_sum_begin(struct wide_sum *s)
{
	*s = (struct wide_sum){.lanes = {1, 2, 3, 4}};
}

static uint64_t word_at(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

void wide_sum_add(struct wide_sum *s, const void *at, size_t n)
{
	const uint8_t *bytes = at;

	s->bytes += n;
	for (; n >= 32; n -= 32, bytes += 32)
		for (size_t i = 0; i < 4; i++)
			s->lanes[i] = wide_mix(s->lanes[i], word_at(bytes + 8 * i));
	if (n) {
		uint8_t last[32] = {0};
		memcpy(last, bytes, n);
		for (size_t i = 0; i < 4; i++)
			s->lanes[i] = wide_mix(s->lanes[i], word_at(last + 8 * i));
	}
}

uint64_t wide_sum_end(const struct wide_sum *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < 4; i++)
		sum = wide_mix(sum, s->lanes[i]);
	return wide_mix(sum, s->bytes);
}
