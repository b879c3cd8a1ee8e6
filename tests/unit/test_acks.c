/* SPDX-License-Identifier: MIT */
/* What is acknowledged: lines that come and go, found by what a report prints of bytes of any kind. */
#include "memory/acks.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static struct arena arena;
static char top[] = "/tmp/test-acks-XXXXXX";
static int own;

static bool have(const char *raw)
{
	struct arena a = arena;

	return acks_have(acks_read(own, &a), span_of_string(raw));
}

static bool lines_are(const char *want)
{
	struct arena a = arena;
	const struct span got = acks_read(own, &a);

	return got.left == strlen(want) && (!got.left || memcmp(got.at, want, got.left) == 0);
}

static enum rc change(const char *id, bool undo)
{
	struct err e = {0};

	return acks_change(own, id, undo, arena, &e);
}

static void they_come_and_go(void)
{
	CHECK(lines_are("") && !have("a"));
	CHECK(change("a", true) == RC_END);
	CHECK(change("a", false) == RC_OK && change("snapshots/7/fs/b c", false) == RC_OK && change("ab", false) == RC_OK);
	CHECK(change("ab", false) == RC_END);
	CHECK(lines_are("a\nsnapshots/7/fs/b c\nab\n"));
	CHECK(have("a") && have("ab") && have("snapshots/7/fs/b c") && !have("snapshots/7/fs/b") && !have("b") && !have(""));
	CHECK(change("snapshots/7/fs/b c", true) == RC_OK && lines_are("a\nab\n"));
	CHECK(change("a", true) == RC_OK && lines_are("ab\n") && !have("a"));
	CHECK(change("ab", true) == RC_OK && lines_are("") && change("ab", true) == RC_END);
}

static void bytes_of_any_kind(void)
{
	CHECK(change("a\nb", false) == RC_LIMIT && lines_are(""));
	CHECK(change("x\\x0ay", false) == RC_OK && have("x\ny") && !have("x"));
	CHECK(change("x\\x0ay", true) == RC_OK && !have("x\ny"));
}

static void there_is_a_bound(void)
{
	char id[1100];
	unsigned n = 0;

	memset(id, 'i', sizeof(id));
	id[1024] = 0;
	CHECK(change(id, false) == RC_LIMIT);
	id[1000] = 0;
	for (; n < 100; n++) {
		id[0] = (char)('A' + n % 26);
		id[1] = (char)('A' + n / 26);
		if (change(id, false))
			break;
	}
	CHECK(n == 65 && have(id) == false);
	id[0] = 'A';
	id[1] = 'A';
	CHECK(have(id)); /* those that were there stay */
	CHECK(unlinkat(own, ACKS_NAME, 0) == 0);
}

static void what_is_no_file(void)
{
	CHECK(mkfifoat(own, ACKS_NAME, 0600) == 0 && change("a", false) == RC_CORRUPT && lines_are("") && !have("a"));
	CHECK(unlinkat(own, ACKS_NAME, 0) == 0);
	CHECK(symlinkat("elsewhere", own, ACKS_NAME) == 0 && change("a", false) == RC_CORRUPT);
	CHECK(unlinkat(own, ACKS_NAME, 0) == 0);
}

int main(void)
{
	struct err e = {0};

	if (!mkdtemp(top) || arena_open(&arena, &e) || (own = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return 1;
	RUN(they_come_and_go);
	RUN(bytes_of_any_kind);
	RUN(there_is_a_bound);
	RUN(what_is_no_file);
	if (rmdir(top))
		return 1;
	return test_failed != 0;
}
