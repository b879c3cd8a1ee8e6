/* SPDX-License-Identifier: MIT */
/* What everything else stands on: result codes, the error text, spans of hostile bytes, byte sources, arenas, checked
 * arithmetic, escaping. No system call but those that get and give back memory. */
#ifndef BASE_H
#define BASE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/limits.h"

#define CHECKED __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* How a fallible function ended. The code is for the caller's switch, struct err for a person. */
enum rc {
	RC_OK,
	RC_END,     /* nothing more, or no such thing: an answer, not a failure */
	RC_CORRUPT, /* the bytes break their format */
	RC_LIMIT,   /* beyond a bound of limits.h, or a feature we do not know: cannot be judged */
	RC_IO,      /* the system refused: errno is in struct err */
	RC_NOMEM,
	RC_STOPPED  /* told to stop, or the time allowed was over: nothing was learnt */
};

struct err {
	enum rc rc;
	int sys_errno;  /* 0 if the system was not the cause */
	char text[320]; /* without newline and without error_text(); not escaped */
};

/* Of our own code, never of bytes: what does not hold is said, and is the end. assert of libc, but that it brings fprintf along, 10 KiB. */
#define MUST(x) ((x) ? (void)0 : must_not(__FILE__, __LINE__))
_Noreturn void must_not(const char *file, unsigned line);

/* ---- text ---- */

/* As snprintf of C11, for the conversions c, s, d, u, o, x and %, with a precision of s, a width and a leading 0 of numbers, and the
 * lengths l, ll and z. The result is the length of the whole text, also where cap cuts it; nothing of it fails. */
int print_to(char *out, size_t cap, const char *format, ...) PRINTF_LIKE(3, 4);
/* RFC 3339, 2026-11-29T03:12:00Z, of seconds since 1970; later than the year 9999 nothing is. */
struct time_text {
	char text[24];
};
struct time_text time_text(uint64_t seconds);
int print_to_v(char *out, size_t cap, const char *format, va_list arguments) PRINTF_LIKE(3, 0);

/* The first needle in text, NULL if there is none. A needle is not empty. */
char *text_find(const char *text, const char *needle);
/* As qsort, whatever the order in n steps of log n, and in place; libc's is 2 KiB. */
void sort(void *items, size_t n, size_t size, int (*compare)(const void *, const void *));
/* The same; what they are compared by has the context. */
void sort_by(void *items, size_t n, size_t size, int (*compare)(const void *, const void *, const void *), const void *context);

/* As strerror, for what this program's calls come to, and "error N" for the rest. It stays what it is. */
const char *error_text(int error);
/* Fills *e if it is still empty (the first cause wins) and returns rc. errno is kept in *e when rc is RC_IO. */
enum rc fail(struct err *e, enum rc rc, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with RC_NOMEM, and no more to say: whatever it was for, more memory is what helps. */
enum rc no_memory(struct err *e);

/* ---- may I go on: the one question, asked wherever an image or a store decides how long something takes ---- */

/* Of one thread. Work is counted in nanoseconds, roughly: a byte that is read, compared or written is one; a step of a computation and
 * a system call are what stands for them here. */
#define PACE_STEP 64u
#define PACE_CALL 2048u
/* between two times that the question is asked: some milliseconds */
#define PACE_WORK ((uint64_t)1 << 22)
struct pace {
	enum rc (*ask)(void *self, struct err *e); /* RC_OK, or RC_STOPPED and the reason; NULL: always RC_OK */
	void *self;
	uint64_t done; /* since it was asked last */
};
/* Counts work that is done, or about to be. p may be NULL. */
CHECKED enum rc pace_on(struct pace *p, uint64_t work, struct err *e);

/* ---- spans: bytes in hand. A span can only shrink; reading past its end sets bad for good and yields zeros. Decode
 * straight through, then test bad once before any value is used. ---- */

#define SPAN_BYTES_MAX (SIZE_MAX >> 1)

/* Two words, which a call passes and returns in registers: with a third the program is 8 KiB larger. */
struct span {
	const uint8_t *at;
	size_t left : 8 * sizeof(size_t) - 1;
	bool bad : 1;
};
_Static_assert(sizeof(struct span) == 2 * sizeof(size_t), "a span is two words");

#define SPAN_LITERAL(s) ((struct span){(const uint8_t *)(s), sizeof(s) - 1, false})

struct span span_of(const void *at, size_t n);
struct span span_of_string(const char *s);
/* Steps over n bytes and returns where they began; NULL and bad if fewer are left. */
const uint8_t *span_take(struct span *s, size_t n);
/* Cuts the first n bytes off *s and returns them as a span of their own; both become bad if fewer are left. */
struct span span_sub(struct span *s, size_t n);
/* What stands before the next `end`, which is stepped over; all, if there is none. */
struct span span_take_to(struct span *s, char end);
uint8_t span_u8(struct span *s);
uint16_t span_u16le(struct span *s);
uint32_t span_u32le(struct span *s);
uint64_t span_u64le(struct span *s);
uint32_t span_u32be(struct span *s);
uint64_t span_u64be(struct span *s);
/* LEB128 as Go's binary.Uvarint and zig-zag binary.Varint; more than 10 bytes or 64 bits is bad. */
uint64_t span_uvarint(struct span *s);
int64_t span_varint(struct span *s);
/* Unsigned bytewise order, a shorter prefix first: bbolt's key order. */
int span_compare(struct span a, struct span b);
/* The same, of what begins with a span. */
int compare_spans(const void *a, const void *b);
bool span_equal(struct span a, struct span b);
bool span_is(struct span a, const char *text);
bool span_starts(struct span a, const char *prefix);

/* ---- src: a thing of known size that can be read at any offset: a file, or memory in tests ---- */

struct src {
	uint64_t size;
	enum rc (*read_at)(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e);
	const void *memory; /* src_of_memory */
	int fd;             /* os_src */
};

/* Reads [off, off + n) into buf. RC_CORRUPT: the range ends past s->size. RC_IO: *e has errno. buf is unspecified on
 * failure. Never allocates. */
CHECKED enum rc src_read(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e);
/* Borrows memory for as long as the src is used. */
struct src src_of_memory(const void *at, size_t n);

/* ---- arenas: memory that is given back all at once ---- */

/* A copy of an arena made before allocations is a mark: assigning it back (or, for an arena passed by value, returning)
 * frees what was allocated since. An arena belongs to one thread. */
struct arena {
	struct arena_region *region;
	/* two words in all, as a span: no arena is larger than LIMIT_ARENA_BYTES */
	uint32_t used;
	uint32_t returned; /* of these, the memory of so many went back to the system */
};

/* Reserves LIMIT_ARENA_BYTES of address space, none of it memory yet. */
CHECKED enum rc arena_open(struct arena *a, struct err *e);
/* For one that will hold megabytes for the kernel to read into: in large pages it is a few long pieces, and a request to the disk of
 * a few segments (measured on a virtual disk: a quarter less time). What is touched of it then costs up to 2 MiB at a time. */
void arena_prefer_large(const struct arena *a);
/* Accepts a zeroed arena. */
void arena_close(struct arena *a);
/* Zeroed, aligned to 16. NULL: the bound is reached or the system has no memory; RC_NOMEM is the caller's answer.
 * n == 0 yields a valid pointer. */
void *arena_get(struct arena *a, size_t n);
/* n elements of size bytes; NULL also when the product overflows. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* Grows the arena's LAST allocation in place from old_n to new_n bytes, or copies it to the end. */
void *arena_grow(struct arena *a, void *last, size_t old_n, size_t new_n);
/* Room for new_n elements of an array of this arena, the old_n that it has with it: in place if it is the last allocation, else it
 * moves, and the memory of where it was is given back, so that nobody may look there any more. NULL: no memory. */
void *arena_more(struct arena *a, void *array, size_t old_n, size_t new_n, size_t size);
/* Appends a zeroed element of size bytes to an array of this arena that grows by doubling, and then may move so. NULL: no memory. */
void *arena_push(struct arena *a, void **array, size_t *count, size_t size);
/* Copies with a NUL after the last byte; a NULL result is RC_NOMEM. */
char *arena_string(struct arena *a, struct span s);
struct span arena_copy(struct arena *a, struct span s);
PRINTF_LIKE(2, 3) char *arena_printf(struct arena *a, const char *format, ...);
/* So many bytes are the most that may be in use at any time, of all copies of it: LIMIT_ARENA_BYTES, if nothing is said. */
void arena_bound(const struct arena *a, size_t bytes);
/* The most that all arenas with this pool may have in use together, each in steps of LIMIT_ARENA_STEP; what was in use counts until it is
 * given back. */
struct arena_pool {
	atomic_size_t used;
	size_t most;
};
/* NULL: none any more. */
void arena_join(const struct arena *a, struct arena_pool *pool);
/* Whether more was asked for since, of it or of its pool. */
bool arena_is_full(const struct arena *a);
/* Whether it ever had no memory to give: for whoever takes many small things of it, and asks once at the end. */
bool arena_refused(const struct arena *a);
/* What is handed out of it now, and was not given back. */
size_t arena_in_use(const struct arena *a);
/* Gives what was handed out above the used part back to the system. */
void arena_trim(const struct arena *a);
/* The most that was handed out at any time: memory that nobody wrote to, which costs nothing, included. */
size_t arena_peak(const struct arena *a);

/* ---- sums that tell ---- */

static inline bool sum_overflows(uint64_t a, uint64_t b, uint64_t *sum)
{
	return __builtin_add_overflow(a, b, sum);
}

static inline bool product_overflows(uint64_t a, uint64_t b, uint64_t *product)
{
	return __builtin_mul_overflow(a, b, product);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- names and text ---- */

/* One path component: 1..LIMIT_NAME_BYTES bytes, not "." or "..", no slash, no NUL. */
bool name_ok(struct span name);
/* Decimal digits only, no sign, no leading zero but "0" itself. RC_CORRUPT otherwise or past 2^64-1. */
CHECKED enum rc parse_decimal(struct span text, uint64_t *value);
/* memcmp(a, b, n) == 0, for long runs: musl's goes byte by byte. */
bool bytes_equal(const void *a, const void *b, size_t n);
bool bytes_are_zero(const void *a, size_t n);
/* Writes at most cap - 1 bytes and a NUL; control characters, quotes, backslashes and bytes outside ASCII become \xNN
 * unless they form valid UTF-8 above U+009F that can be seen. Returns the length the whole would have. */
size_t escape(char *out, size_t cap, struct span raw);
/* The same for a sentence of ours that has names from disk in it, escaped or not: quotes and backslashes stay. */
size_t escape_sentence(char *out, size_t cap, struct span raw);

/* FNV-1a, 64 bit: hash tables, and the checksum of bolt's meta page. */
uint64_t fnv1a(const void *at, size_t n);

/* A checksum for megabytes, against accidents only: 64-bit little-endian words in four lanes that take turns, each
 * lane = rotate_left(lane ^ word, 29) * 0x9e3779b97f4a7c15. What does not fill 32 bytes at the end is filled up with zeros; the
 * lanes, which begin as 1, 2, 3 and 4, and then the length are mixed in the same way into a sum that begins as 0. */
struct wide_sum {
	uint64_t lanes[4], bytes;
};
void wide_sum_begin(struct wide_sum *s);
/* n: a multiple of 32 for all pieces but the last. */
void wide_sum_add(struct wide_sum *s, const void *at, size_t n);
uint64_t wide_sum_end(const struct wide_sum *s);

#endif
