/* SPDX-License-Identifier: MIT */
/* What comes between opening a store and reading it, and which of two troubles is told. Stores of containerd are what
 * tests/golden and tests/healthy read. */
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/os.h"
#include "test.h"

static struct arena arena, scratch;
static char top[] = "/tmp/test-store-XXXXXX";
static int root = -1;
static bool no_list;
static const struct store_hints hints = {.sysroot = ""};

CHECKED enum rc __real_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e);
CHECKED enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e);

CHECKED enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e)
{
	return no_list ? fail(e, RC_IO, "list a directory") : __real_os_list(dir, a, names, count, e);
}

/* n bytes that are no database; 0: as if a cut had taken its length. */
static void make_meta(size_t n)
{
	const int fd = openat(root, STORE_META_DIR "/meta.db", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)n))
		abort();
	close(fd);
}

static void open_store(struct store *st)
{
	enum store_refusal refusal = STORE_RUNNING;
	struct err e = {0};

	if (store_open(st, top, &hints, &arena, scratch, &refusal, &e) || refusal != STORE_OPENED)
		abort();
}

static void a_database_that_appears(void)
{
	const struct arena mark = arena;
	struct store st = {0};
	struct err e = {0};

	open_store(&st);
	make_meta(65536);
	CHECK(store_read(&st, scratch, &e) == RC_CORRUPT && strstr(e.text, "meta.db has appeared"));
	CHECK(!st.meta.present && st.fault_count == 0);
	store_close(&st);
	arena = mark;
}

static void a_link_in_its_place(void)
{
	const struct arena mark = arena;
	struct store st = {0};
	struct err e = {0};

	CHECK(unlinkat(root, STORE_META_DIR "/meta.db", 0) == 0 && symlinkat("elsewhere", root, STORE_META_DIR "/meta.db") == 0);
	open_store(&st);
	CHECK(store_read(&st, scratch, &e) == RC_OK && st.fault_count == 1 && st.faults[0].kind == STORE_DB_MISSING);
	store_close(&st);
	CHECK(unlinkat(root, STORE_META_DIR "/meta.db", 0) == 0);
	arena = mark;
}

static void what_is_wrong_with_a_database_comes_first(void)
{
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		const struct arena mark = arena;
		struct store st = {0};
		struct err e = {0};
		if (damaged)
			make_meta(0);
		no_list = true;
		open_store(&st);
		no_list = false; /* the other snapshotters are looked for */
		const enum rc rc = store_read(&st, scratch, &e);
		CHECK(damaged ? rc == RC_OK && st.fault_count == 1 && st.faults[0].fault.kind == BOLT_EMPTY_FILE
			      : rc == RC_IO && strstr(e.text, "list a directory") && st.fault_count == 0);
		store_close(&st);
		arena = mark;
	}
}

int main(void)
{
	static const char *const dirs[] = {
		STORE_META_DIR, STORE_CONTENT_DIR, STORE_CONTENT_DIR "/blobs", STORE_CONTENT_DIR "/blobs/sha256"};
	struct err e = {0};
	char command[256];

	if (arena_open(&arena, &e) || arena_open(&scratch, &e) || !mkdtemp(top) || os_open_root(top, &root, &e))
		return 1;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdirat(root, dirs[i], 0700))
			return 1;
	RUN(a_database_that_appears);
	RUN(a_link_in_its_place);
	RUN(what_is_wrong_with_a_database_comes_first);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	if (system(command))
		printf("# %s stays\n", top);
	return test_failed != 0;
}
