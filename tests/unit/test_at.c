/* SPDX-License-Identifier: MIT */
/* What a check is at, as it is noted and read, in any state that a cut or a bad sector may leave. */
#include "memory/at.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static struct arena arena;
static char top[] = "/tmp/test-at-XXXXXX";
static int own = -1;
static const char id[] = "11111111-1111-1111-1111-111111111111";
static struct at_name names[AT_NAMES_MAX];

static size_t read_them(const char *boot_id)
{
	struct err e = {0};
	size_t count = 99;

	CHECK(at_read(own, boot_id, names, &count, arena, &e) == RC_OK);
	return count;
}

static bool is_there(const char *name)
{
	return faccessat(own, name, F_OK, 0) == 0;
}

static struct at_name blob(char c)
{
	char text[80];
	struct at_name n;

	(void)snprintf(text, sizeof(text), "sha256:%064d", 0);
	text[7] = c;
	CHECK(at_make(&n, AT_BLOB, span_of_string(text)));
	return n;
}

static void what_was_noted_is_read(void)
{
	struct at at = {.fd = -1};
	const struct at_name two[2] = {blob('a'), blob('b')};

	at_put(&at, 0, two, 2); /* before it began: nothing */
	at_one(NULL, 0, AT_STORE, span_of_string("-"));
	CHECK(read_them(id) == 0);
	at_begin(&at, own, id, false);
	CHECK(read_them(id) == 0);
	at_put(&at, 1, two, 2);
	at_one(&at, LIMIT_THREADS, AT_INGEST, span_of_string("0123abc"));
	at_number(&at, 0, AT_SNAPSHOT, 17);
	CHECK(read_them(id) == 4);
	CHECK(names[0].kind == AT_SNAPSHOT && strcmp(names[0].name, "17") == 0);
	CHECK(at_equal(&names[1], &two[0]) && at_equal(&names[2], &two[1]) && names[3].kind == AT_INGEST);
	CHECK(read_them("22222222-1111-1111-1111-111111111111") == 0 && read_them("1") == 0 && read_them("") == 0);
	at_put(&at, 1, &two[1], 1); /* a shorter line over a longer one, */
	at_put(&at, 2, &two[1], 1); /* and two that are at the same */
	CHECK(read_them(id) == 3 && at_equal(&names[1], &two[1]));
	at_nothing(&at, 0);
	at_nothing(&at, 1);
	at_one(&at, 2, AT_INGEST, span_of_string("has a blank")); /* nothing that can be told */
	CHECK(read_them(id) == 1 && names[0].kind == AT_INGEST);
	at_put(&at, LIMIT_THREADS + 1, two, 2);
	CHECK(read_them(id) == 1);
	at_end(&at, own);
	CHECK(at.fd < 0 && !is_there(AT_NAME) && read_them(id) == 0);
	at_begin(&at, -1, id, true); /* nowhere */
	at_put(&at, 1, two, 2);
	at_end(&at, -1);
}

static void all_slots_are_full(void)
{
	char digest[140];
	struct at at = {.fd = -1};
	struct at_name two[2];

	at_begin(&at, own, id, true);
	for (unsigned slot = 0; slot < AT_SLOTS; slot++) {
		for (unsigned i = 0; i < 2; i++) { /* the longest there are */
			(void)snprintf(digest, sizeof(digest), "sha512:%0128u", slot * 2 + i);
			CHECK(at_make(&two[i], AT_BLOB, span_of_string(digest)));
		}
		at_put(&at, slot, two, 2);
	}
	CHECK(read_them(id) == AT_NAMES_MAX);
	at_end(&at, own);
}

/* A file of these bytes, in place of the one that is there. */
static void put(const uint8_t *bytes, size_t n)
{
	const int fd = openat(own, AT_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
	close(fd);
}

static void bytes_that_rot(void)
{
	static uint8_t good[(AT_SLOTS + 2) * AT_SLOT_BYTES], bad[sizeof(good)];
	struct at at = {.fd = -1};
	const struct at_name two[2] = {blob('a'), blob('b')};

	at_begin(&at, own, id, false);
	at_put(&at, 0, two, 2);
	const int fd = openat(own, AT_NAME, O_RDONLY | O_CLOEXEC);
	const ssize_t size = read(fd, good, sizeof(good));
	CHECK(size == (ssize_t)((AT_SLOTS + 1) * AT_SLOT_BYTES));
	close(fd);
	at_end(&at, own);
	put(good, (size_t)size);
	CHECK(read_them(id) == 2);
	for (size_t n = 0; n <= 2 * AT_SLOT_BYTES; n++) { /* every length: all of a slot counts, or nothing */
		put(good, n);
		CHECK(read_them(id) == (n >= 2 * AT_SLOT_BYTES ? 2 : 0));
	}
	for (size_t i = 0; i < 2 * AT_SLOT_BYTES; i++) { /* every byte: what it said, or nothing */
		memcpy(bad, good, (size_t)size);
		bad[i] ^= 1;
		put(bad, (size_t)size);
		const size_t count = read_them(id);
		CHECK(count == 0 || (count == 2 && at_equal(&names[0], &two[0]) && at_equal(&names[1], &two[1])));
	}
	memset(bad, 'x', sizeof(bad));
	put(bad, (size_t)size);
	CHECK(read_them(id) == 0);
	memset(bad, '\n', sizeof(bad));
	put(bad, (size_t)size);
	CHECK(read_them(id) == 0);
	memcpy(bad, good, (size_t)size);
	put(bad, sizeof(bad)); /* longer than it may be */
	CHECK(read_them(id) == 0);
	CHECK(unlinkat(own, AT_NAME, 0) == 0 && symlinkat("/etc/passwd", own, AT_NAME) == 0);
	CHECK(read_them(id) == 0);
	at_begin(&at, own, id, false); /* it takes the link's place */
	at_put(&at, 0, two, 2);
	CHECK(read_them(id) == 2);
	at_end(&at, own);
	CHECK(mkdirat(own, AT_NAME, 0700) == 0);
	CHECK(read_them(id) == 0);
	at_begin(&at, own, id, false);
	CHECK(at.fd < 0);
	CHECK(unlinkat(own, AT_NAME, AT_REMOVEDIR) == 0);
}

static void names_that_are_none(void)
{
	struct at_name n;
	char longest[AT_NAME_BYTES + 1];

	memset(longest, 'a', sizeof(longest));
	CHECK(at_make(&n, AT_INGEST, span_of(longest, AT_NAME_BYTES - 1)) && !at_make(&n, AT_INGEST, span_of(longest, AT_NAME_BYTES)));
	CHECK(!at_make(&n, AT_INGEST, span_of_string("")) && !at_make(&n, AT_INGEST, span_of_string("a/b")) &&
		!at_make(&n, AT_INGEST, span_of_string("a\n")) && !at_make(&n, AT_INGEST, span_of("\0a", 2)));
	CHECK(at_parse(&n, span_of_string("store"), span_of_string("-")) && n.kind == AT_STORE);
	CHECK(!at_parse(&n, span_of_string("stores"), span_of_string("-")) && !at_parse(&n, span_of_string(""), span_of_string("-")));
}

int main(void)
{
	struct err e = {0};

	if (!mkdtemp(top) || arena_open(&arena, &e) || (own = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return 1;
	RUN(what_was_noted_is_read);
	RUN(all_slots_are_full);
	RUN(bytes_that_rot);
	RUN(names_that_are_none);
	if (rmdir(top))
		return 1;
	return test_failed != 0;
}
