/* SPDX-License-Identifier: MIT */
#include "ground/base.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

static void spans_shrink_and_go_bad_for_good(void)
{
	static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	struct span s = span_of(bytes, sizeof(bytes));

	CHECK(span_u8(&s) == 1);
	CHECK(span_u16le(&s) == 0x0302);
	CHECK(span_u32le(&s) == 0x07060504);
	CHECK(s.left == 5 && !s.bad);
	struct span inner = span_sub(&s, 2);
	CHECK(inner.left == 2 && s.left == 3 && span_u16le(&inner) == 0x0908);
	CHECK(span_u8(&inner) == 0 && inner.bad && !s.bad);
	CHECK(span_take(&s, 0) && span_take(&s, 4) == NULL && s.bad && s.left == 0);
	CHECK(span_take(&s, 0) == NULL && span_u64be(&s) == 0 && s.bad);

	s = span_of(bytes, sizeof(bytes));
	CHECK(span_u32be(&s) == 0x01020304);
	CHECK(span_u64be(&s) == 0x05060708090a0b0c);
	s = span_of(bytes, 8);
	CHECK(span_u64le(&s) == 0x0807060504030201 && s.left == 0 && !s.bad);
	s = span_of(bytes, 3);
	inner = span_sub(&s, 4);
	CHECK(inner.bad && s.bad && inner.left == 0);
}

static uint64_t uvarint(const char *bytes, size_t n, size_t left, bool bad)
{
	struct span s = span_of(bytes, n);
	const uint64_t value = span_uvarint(&s);

	CHECK(s.bad == bad && s.left == left);
	return value;
}

static void varints_are_those_of_go(void)
{
	CHECK(uvarint("\x00", 1, 0, false) == 0);
	CHECK(uvarint("\x7f\x01", 2, 1, false) == 127);
	CHECK(uvarint("\x80\x01", 2, 0, false) == 128);
	CHECK(uvarint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, 0, false) == UINT64_MAX);
	CHECK(uvarint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, 0, true) == 0);
	CHECK(uvarint("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, 0, true) == 0);
	CHECK(uvarint("\x80", 1, 0, true) == 0);
	CHECK(uvarint("", 0, 0, true) == 0);

	struct span s = span_of("\x01\x02\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13);
	CHECK(span_varint(&s) == -1 && span_varint(&s) == 1 && span_varint(&s) == -2);
	CHECK(span_varint(&s) == INT64_MIN && !s.bad);
}

static void spans_compare_as_bolt_orders_keys(void)
{
	CHECK(span_compare(SPAN_LITERAL("a"), SPAN_LITERAL("ab")) < 0);
	CHECK(span_compare(SPAN_LITERAL("b"), SPAN_LITERAL("ab")) > 0);
	CHECK(span_compare(SPAN_LITERAL("a\xff"), SPAN_LITERAL("a\x01")) > 0);
	CHECK(span_compare(SPAN_LITERAL(""), SPAN_LITERAL("")) == 0);
	CHECK(span_compare((struct span){0}, SPAN_LITERAL("a")) < 0);
	CHECK(span_equal(SPAN_LITERAL("x\0y"), span_of("x\0y", 3)) && !span_equal(SPAN_LITERAL("x"), SPAN_LITERAL("y")));
	CHECK(span_is(SPAN_LITERAL("name"), "name") && !span_is(SPAN_LITERAL("names"), "name"));
	CHECK(span_starts(SPAN_LITERAL("names"), "name") && !span_starts(SPAN_LITERAL("nam"), "name"));
	CHECK(span_is(span_of_string("text"), "text"));
}

static void the_first_cause_wins(void)
{
	struct err e = {0};

	errno = ENOSPC;
	CHECK(fail(&e, RC_IO, "write %d", 7) == RC_IO);
	CHECK(e.rc == RC_IO && e.sys_errno == ENOSPC && strcmp(e.text, "write 7") == 0);
	CHECK(fail(&e, RC_CORRUPT, "later") == RC_CORRUPT);
	CHECK(e.rc == RC_IO && strcmp(e.text, "write 7") == 0);
	CHECK(fail(NULL, RC_LIMIT, "nobody listens") == RC_LIMIT);
	e = (struct err){0};
	CHECK(fail(&e, RC_CORRUPT, "%0500d", 1) == RC_CORRUPT && strlen(e.text) == sizeof(e.text) - 1 && !e.sys_errno);
}

static void a_src_ends_where_it_ends(void)
{
	const struct src s = src_of_memory("0123456789", 10);
	struct err e = {0};
	char buf[10];

	CHECK(src_read(&s, 7, buf, 3, &e) == RC_OK && memcmp(buf, "789", 3) == 0);
	CHECK(src_read(&s, 10, buf, 0, &e) == RC_OK && e.rc == RC_OK);
	CHECK(src_read(&s, 8, buf, 3, NULL) == RC_CORRUPT);
	CHECK(src_read(&s, 11, buf, 0, NULL) == RC_CORRUPT);
	CHECK(src_read(&s, UINT64_MAX, buf, 2, &e) == RC_CORRUPT && e.rc == RC_CORRUPT);
}

static bool all_zero(const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

static void use_and_return(struct arena scratch)
{
	uint8_t *const at = arena_get(&scratch, 1 << 20);
	CHECK(at && all_zero(at, 1 << 20));
	memset(at, 0xff, 1 << 20);
}

static void an_arena_gives_back_by_returning(void)
{
	struct arena a = {0};
	struct err e = {0};

	arena_close(&a); /* a zeroed one */
	CHECK(arena_peak(&a) == 0);
	CHECK(arena_open(&a, &e) == RC_OK);
	uint8_t *const first = arena_get(&a, 5);
	uint8_t *const second = arena_get(&a, 0);
	uint8_t *const third = arena_get(&a, 1);
	CHECK(first && second && third && (uintptr_t)first % 16 == 0 && (uintptr_t)third % 16 == 0);
	const size_t used = a.used;
	use_and_return(a);
	use_and_return(a); /* the same bytes, zeroed again */
	CHECK(a.used == used && arena_peak(&a) >= used + (1 << 20));
	arena_trim(&a);
	use_and_return(a);

	CHECK(!arena_refused(&a));
	CHECK(arena_array(&a, SIZE_MAX / 2, 4) == NULL);
	CHECK(arena_refused(&a));
	CHECK(arena_array(&a, 3, LIMIT_ARENA_BYTES / 2) == NULL);
	CHECK(arena_get(&a, LIMIT_ARENA_BYTES) == NULL && arena_get(&a, SIZE_MAX) == NULL);
	CHECK(a.used == used && arena_get(&a, 16) != NULL);
	arena_close(&a);
	CHECK(!a.region);
	arena_close(&a);
}

static size_t resident_bytes(const uint8_t *at, size_t n)
{
	static unsigned char seen[16384];
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (page - (uintptr_t)at % page) % page;
	size_t count = 0;

	CHECK(n / page <= sizeof(seen) && mincore((void *)(uintptr_t)(at + skip), n - page, seen) == 0);
	for (size_t i = 0; i < n / page - 1; i++)
		count += seen[i] & 1;
	return count * page;
}

/* What is zero anyway is not touched: large tables of which little is used cost little. */
static void an_arena_costs_what_is_used_of_it(void)
{
	const size_t mib = (size_t)1 << 20, size = 32 * mib; /* of what was before, some steps or a huge page may be there */
	struct arena a = {0};
	struct err e = {0};

	CHECK(arena_open(&a, &e) == RC_OK);
	const struct arena mark = a;
	for (int turn = 0; turn < 3; turn++) {
		a = mark;
		uint8_t *at = arena_get(&a, size / 2);
		CHECK(resident_bytes(at, size / 2) < 5 * mib);
		at = arena_grow(&a, at, size / 2, size);
		CHECK(resident_bytes(at, size) < 5 * mib && all_zero(at, size));
		CHECK(resident_bytes(at, size) > 16 * mib); /* it can count */
		memset(at, 0xff, size);
		at = arena_grow(&a, at, size, mib);
		at = arena_grow(&a, at, mib, size + mib);
		CHECK(at[mib - 1] == 0xff && all_zero(at + mib, size));
		a = mark;
		arena_trim(&a);
	}
	arena_close(&a);
}

static void the_last_allocation_grows_in_place(void)
{
	struct arena a = {0};
	struct err e = {0};

	CHECK(arena_open(&a, &e) == RC_OK);
	uint8_t *const one = arena_get(&a, 20);
	memset(one, 7, 20);
	uint8_t *const grown = arena_grow(&a, one, 20, 5000);
	CHECK(grown == one && grown[19] == 7 && all_zero(grown + 20, 4980));
	CHECK(arena_get(&a, 1) != NULL);
	uint8_t *const moved = arena_grow(&a, grown, 5000, 6000);
	CHECK(moved && moved != grown && moved[19] == 7 && all_zero(moved + 20, 5980));
	CHECK(arena_grow(&a, moved, 6000, LIMIT_ARENA_BYTES) == NULL);
	CHECK(arena_grow(&a, moved, 6000, SIZE_MAX) == NULL);
	CHECK(arena_grow(&a, moved, 6000, 7000) == moved); /* a refusal left it as it was */
	CHECK(arena_grow(&a, NULL, 0, 10) != NULL);
	arena_close(&a);
}

/* One that grows element by element, with others between, is never in memory twice; and the bound is of what is in use. */
static void an_array_that_moves_gives_its_place_back(void)
{
	const size_t mib = (size_t)1 << 20;
	struct arena a = {0};
	struct err e = {0};
	void *array = NULL;
	size_t count = 0;

	CHECK(arena_open(&a, &e) == RC_OK);
	const uint8_t *const begin = arena_get(&a, 1);
	arena_bound(&a, 20 * mib);
	while (count < mib) { /* 16 MiB; all its places together were 32, and half of them must not count */
		uint64_t *const fresh = arena_push(&a, &array, &count, 16);
		CHECK(fresh && fresh[0] == 0 && fresh[1] == 0);
		if (!fresh)
			break;
		fresh[0] = count;
		if ((count & (count - 1)) == 0)
			CHECK(arena_get(&a, 1) != NULL);
	}
	bool same = true;
	for (size_t i = 0; i < count; i++)
		same &= ((const uint64_t *)array)[2 * i] == i + 1;
	CHECK(count == mib && same);
	CHECK(a.used > 31 * mib && arena_in_use(&a) < 18 * mib);
	CHECK(resident_bytes(begin, a.used) < 18 * mib);
	CHECK(!arena_is_full(&a) && arena_get(&a, 8 * mib) == NULL && arena_is_full(&a) && arena_refused(&a));
	arena_bound(&a, 30 * mib);
	CHECK(!arena_is_full(&a) && arena_get(&a, 8 * mib) != NULL);
	arena_close(&a);
}

static void arenas_share_a_pool(void)
{
	const size_t mib = (size_t)1 << 20;
	struct arena_pool pool = {.most = 10 * mib};
	struct arena a = {0}, b = {0};
	struct err e = {0};

	CHECK(arena_open(&a, &e) == RC_OK && arena_open(&b, &e) == RC_OK);
	arena_join(&a, &pool);
	arena_join(&b, &pool);
	const struct arena mark = a;
	CHECK(arena_get(&a, 6 * mib) && !arena_is_full(&a));
	CHECK(!arena_get(&b, 6 * mib) && arena_is_full(&b) && arena_get(&b, 2 * mib));
	a = mark; /* what was in use still counts */
	CHECK(!arena_get(&b, 6 * mib));
	arena_trim(&a);
	arena_bound(&b, 100 * mib);
	CHECK(arena_get(&b, 6 * mib) && !arena_is_full(&b) && !arena_get(&a, 4 * mib));
	arena_close(&b);
	CHECK(arena_get(&a, 9 * mib));
	arena_close(&a);
	CHECK(pool.used == 0);
}

static void strings_are_copied_with_an_end(void)
{
	struct arena a = {0};
	struct err e = {0};

	CHECK(arena_open(&a, &e) == RC_OK);
	CHECK(strcmp(arena_string(&a, SPAN_LITERAL("abc")), "abc") == 0);
	CHECK(strcmp(arena_string(&a, (struct span){0}), "") == 0);
	const struct span copy = arena_copy(&a, SPAN_LITERAL("0123456789abcdef"));
	CHECK(span_is(copy, "0123456789abcdef") && copy.at[copy.left] == 0);
	CHECK(strcmp(arena_printf(&a, "%s-%d", "x", 12), "x-12") == 0);
	arena_close(&a);
}

static void a_name_is_one_component(void)
{
	char longest[LIMIT_NAME_BYTES + 1];

	memset(longest, 'n', sizeof(longest));
	CHECK(name_ok(SPAN_LITERAL("a")) && name_ok(SPAN_LITERAL("...")) && name_ok(SPAN_LITERAL(".a")));
	CHECK(name_ok(SPAN_LITERAL("\xff\n")));
	CHECK(!name_ok(SPAN_LITERAL("")) && !name_ok(SPAN_LITERAL(".")) && !name_ok(SPAN_LITERAL("..")));
	CHECK(!name_ok(SPAN_LITERAL("a/b")) && !name_ok(SPAN_LITERAL("/")) && !name_ok(SPAN_LITERAL("a\0b")));
	CHECK(name_ok(span_of(longest, LIMIT_NAME_BYTES)) && !name_ok(span_of(longest, LIMIT_NAME_BYTES + 1)));
	CHECK(!name_ok((struct span){(const uint8_t *)"a", 1, true}));
}

static void decimals_are_strict(void)
{
	static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "01", "00", "1a", "18446744073709551616",
		"99999999999999999999999", "0x1", "1.0"};
	uint64_t value = 77;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK(parse_decimal(span_of_string(wrong[i]), &value) == RC_CORRUPT && value == 77);
	CHECK(parse_decimal(SPAN_LITERAL("0"), &value) == RC_OK && value == 0);
	CHECK(parse_decimal(SPAN_LITERAL("18446744073709551615"), &value) == RC_OK && value == UINT64_MAX);
}

static bool escapes_to(struct span raw, const char *want)
{
	char out[200];
	return escape(out, sizeof(out), raw) == strlen(want) && strcmp(out, want) == 0;
}

static void what_is_printed_is_escaped(void)
{
	char out[8];

	CHECK(escapes_to(SPAN_LITERAL("plain ~"), "plain ~"));
	CHECK(escapes_to(SPAN_LITERAL("a\n\x1b[1m\x7f"), "a\\x0a\\x1b[1m\\x7f"));
	CHECK(escapes_to(SPAN_LITERAL("\"\\"), "\\x22\\x5c"));
	CHECK(escapes_to(
		SPAN_LITERAL("gr\xc3\xbc\xc3\x9f \xe4\xb8\xad \xf0\x9f\x90\x8b"), "gr\xc3\xbc\xc3\x9f \xe4\xb8\xad \xf0\x9f\x90\x8b"));
	CHECK(escapes_to(SPAN_LITERAL("\xc2\x9b"), "\\xc2\\x9b"));             /* a control of Latin-1 */
	CHECK(escapes_to(SPAN_LITERAL("\xe2\x80\xae"), "\\xe2\\x80\\xae"));     /* turns the line round */
	CHECK(escapes_to(SPAN_LITERAL("\xe2\x80\x8b\xef\xbb\xbf"), "\\xe2\\x80\\x8b\\xef\\xbb\\xbf")); /* take no room */
	CHECK(escapes_to(SPAN_LITERAL("\xd8\x9c\xe2\x81\xa6"), "\\xd8\\x9c\\xe2\\x81\\xa6"));       /* turn it as well */
	CHECK(escapes_to(SPAN_LITERAL("a\xc2\xad\xf3\xa0\x81\x81"), "a\\xc2\\xad\\xf3\\xa0\\x81\\x81")); /* a soft hyphen, a tag */
	CHECK(escapes_to(SPAN_LITERAL("\xe2\x80\x8a\xe2\x80\xa7\xe2\x80\xaf"), "\xe2\x80\x8a\xe2\x80\xa7\xe2\x80\xaf"));
	CHECK(escapes_to(SPAN_LITERAL("\xed\xa0\x80"), "\\xed\\xa0\\x80"));     /* a surrogate */
	CHECK(escapes_to(SPAN_LITERAL("\xc0\xaf\xe0\x80\xaf"), "\\xc0\\xaf\\xe0\\x80\\xaf")); /* too long a form */
	CHECK(escapes_to(SPAN_LITERAL("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"));          /* above U+10FFFF */
	CHECK(escapes_to(SPAN_LITERAL("\xe4\xb8"), "\\xe4\\xb8"));
	memset(out, '#', sizeof(out));
	CHECK(escape(out, 7, SPAN_LITERAL("abc\n\n")) == 11 && strcmp(out, "abc") == 0 && out[7] == '#');
	CHECK(escape(out, 1, SPAN_LITERAL("abc")) == 3 && out[0] == 0);
	CHECK(escape(NULL, 0, SPAN_LITERAL("abc")) == 3);
	for (unsigned c = 0; c < 256; c++) {
		char piece[16];
		const uint8_t byte = (uint8_t)c;
		(void)escape(piece, sizeof(piece), span_of(&byte, 1));
		CHECK(strlen(piece) == (c >= 0x20 && c < 0x7f && c != '"' && c != '\\' ? 1 : 4));
	}
}

static void a_sentence_keeps_its_quotes(void)
{
	char out[100];

	CHECK(escape_sentence(out, sizeof(out), SPAN_LITERAL("\"a\" \\x1b \x1b[0m\n\xc3\xbc")) == 22);
	CHECK(strcmp(out, "\"a\" \\x1b \\x1b[0m\\x0a\xc3\xbc") == 0);
}

static void runs_are_equal_byte_by_byte(void)
{
	uint8_t a[200], b[201];

	for (size_t n = 0; n <= sizeof(a); n++) {
		for (size_t i = 0; i < n; i++)
			a[i] = b[i + 1] = (uint8_t)(i * 7 + n);
		CHECK(bytes_equal(a, b + 1, n));
		for (size_t i = 0; i < n; i++) {
			b[i + 1] ^= (uint8_t)(1u << i % 8);
			CHECK(!bytes_equal(a, b + 1, n) && bytes_equal(a, b + 1, i) && bytes_equal(a + i + 1, b + i + 2, n - i - 1));
			b[i + 1] ^= (uint8_t)(1u << i % 8);
		}
	}
}

static void fnv_is_fnv(void)
{
	CHECK(fnv1a("", 0) == 0xcbf29ce484222325);
	CHECK(fnv1a("a", 1) == 0xaf63dc4c8601ec8c);
	CHECK(fnv1a("foobar", 6) == 0x85944171f73967e8);
}

static unsigned asked;

static enum rc stop_at_three(void *self, struct err *e)
{
	CHECK(self == &asked);
	return ++asked < 3 ? RC_OK : fail(e, RC_STOPPED, "three");
}

static void work_is_counted_before_it_is_asked(void)
{
	struct pace p = {.ask = stop_at_three, .self = &asked}, silent = {0};
	struct err e = {0};

	for (uint64_t i = 1; i < PACE_WORK / PACE_STEP; i++)
		CHECK(pace_on(&p, PACE_STEP, &e) == RC_OK);
	CHECK(asked == 0);
	CHECK(pace_on(&p, PACE_STEP, &e) == RC_OK && asked == 1);
	CHECK(pace_on(&p, PACE_WORK - 1, &e) == RC_OK && asked == 1);
	CHECK(pace_on(&p, UINT64_MAX / 2, &e) == RC_OK && asked == 2); /* however much at once */
	CHECK(pace_on(&p, PACE_WORK, &e) == RC_STOPPED && strcmp(e.text, "three") == 0);
	CHECK(pace_on(NULL, PACE_WORK, &e) == RC_OK && pace_on(&silent, PACE_WORK, &e) == RC_OK);
}

/* libc's own word for it is what is wanted, whole and cut at each place */
#define AS_LIBC(...) \
	do { \
		char want[96], got[96]; \
		for (size_t cap = 0; cap < sizeof(want); cap++) { \
			memset(want, '~', sizeof(want)); \
			memset(got, '~', sizeof(got)); \
			CHECK(print_to(got, cap, __VA_ARGS__) == snprintf(want, cap, __VA_ARGS__)); \
			CHECK(memcmp(want, got, sizeof(want)) == 0); \
		} \
	} while (0)
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-truncation"
#endif
#pragma GCC diagnostic ignored "-Wformat-zero-length"
static void text_is_printed_as_libc_prints_it(void)
{
	AS_LIBC("");
	AS_LIBC("no conversion");
	AS_LIBC("%s", "");
	AS_LIBC("%s and %s%c%%|", "one", "two", 'c');
	AS_LIBC("%.*s|%.2s|%.9s|%.0s|%.*s", 3, "four", "five", "six", "seven", 0, "eight");
	AS_LIBC("%d %d %d %d", 0, -1, INT32_MAX, INT32_MIN);
	AS_LIBC("%u %x %o", UINT32_MAX, 0xdeadbeefu, 0644u);
	AS_LIBC("%ld %lld %lld", -5L, (long long)INT64_MIN, (long long)INT64_MAX);
	AS_LIBC("%llu %lx %zu", (unsigned long long)UINT64_MAX, ULONG_MAX, SIZE_MAX);
	AS_LIBC("%02u:%02u:%02u %03llu %016llx", 1u, 23u, 456u, 7ull, 0xabcull);
	AS_LIBC("[%5u] [%5d] [%05d] [%1u] [%*u]", 42u, -42, -42, 123u, 6, 7u);
}
#pragma GCC diagnostic pop

static int compare_triples(const void *a, const void *b)
{
	return memcmp(a, b, 3);
}

static int compare_ints(const void *a, const void *b)
{
	const int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void what_is_sorted_is_in_order(void)
{
	unsigned seed = 1;

	for (size_t n = 0; n < 300; n++) {
		int got[300], want[300];
		uint8_t three[300][3], three_want[300][3];
		for (size_t i = 0; i < n; i++) {
			seed = seed * 1103515245u + 12345u;
			got[i] = want[i] = n % 4 == 0 ? (int)i : n % 4 == 1 ? -(int)i : (int)(seed >> 16) % (n % 4 == 2 ? 5 : 100000);
			for (size_t k = 0; k < 3; k++)
				three[i][k] = three_want[i][k] = (uint8_t)(seed >> (8 * k));
		}
		sort(got, n, sizeof(*got), compare_ints);
		qsort(want, n, sizeof(*want), compare_ints);
		CHECK(memcmp(got, want, n * sizeof(*got)) == 0);
		sort(three, n, 3, compare_triples);
		qsort(three_want, n, 3, compare_triples);
		CHECK(memcmp(three, three_want, 3 * n) == 0);
	}
}

static void a_text_is_found_as_libc_finds_it(void)
{
	static const char *const texts[] = {"", "a", "aa", "aab", "abab", "ababc", "mnt_id:\t5", "x"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		for (size_t k = 1; k < sizeof(texts) / sizeof(*texts); k++)
			CHECK(text_find(texts[i], texts[k]) == strstr(texts[i], texts[k]));
}

static void an_error_has_its_text(void)
{
	CHECK(strcmp(error_text(EIO), "I/O error") == 0 && strcmp(error_text(ENOSPC), "No space left on device") == 0);
	CHECK(strcmp(error_text(EUCLEAN), "Structure needs cleaning") == 0);
	CHECK(strcmp(error_text(ENOKEY), "Required key not available") == 0);
	CHECK(strcmp(error_text(ELOOP), "Symbolic link loop") == 0);
	CHECK(strcmp(error_text(EADDRINUSE), "error 98") == 0 && strcmp(error_text(0), "error 0") == 0);
	CHECK(strcmp(error_text(-1), "error -1") == 0 && strcmp(error_text(INT_MIN), "error -2147483648") == 0);
}

int main(void)
{
	RUN(an_error_has_its_text);
	RUN(what_is_sorted_is_in_order);
	RUN(a_text_is_found_as_libc_finds_it);
	RUN(text_is_printed_as_libc_prints_it);
	RUN(spans_shrink_and_go_bad_for_good);
	RUN(varints_are_those_of_go);
	RUN(spans_compare_as_bolt_orders_keys);
	RUN(the_first_cause_wins);
	RUN(a_src_ends_where_it_ends);
	RUN(an_arena_gives_back_by_returning);
	RUN(an_arena_costs_what_is_used_of_it);
	RUN(an_array_that_moves_gives_its_place_back);
	RUN(arenas_share_a_pool);
	RUN(the_last_allocation_grows_in_place);
	RUN(strings_are_copied_with_an_end);
	RUN(a_name_is_one_component);
	RUN(decimals_are_strict);
	RUN(what_is_printed_is_escaped);
	RUN(a_sentence_keeps_its_quotes);
	RUN(runs_are_equal_byte_by_byte);
	RUN(fnv_is_fnv);
	RUN(work_is_counted_before_it_is_asked);
	return test_failed != 0;
}
