/* SPDX-License-Identifier: MIT */
/* What is seen of processes and mounts, on this machine, and what becomes of a look that fails. */
#include "ground/host.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/os.h"
#include "test.h"

static struct arena arena, scratch;
static char top[] = "/tmp/test-host-XXXXXX";
static int root = -1;
/* which call of os_read_link, os_list, os_open_dir or os_read_proc fails; 0: none */
static unsigned fail_at, calls;

static bool fails(struct err *e)
{
	return ++calls == fail_at && fail(e, RC_IO, "a look that fails") == RC_IO;
}

CHECKED enum rc __real_os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e);
CHECKED enum rc __wrap_os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e);
CHECKED enum rc __wrap_os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e)
{
	return fails(e) ? RC_IO : __real_os_read_link(dir, name, buf, n, e);
}
CHECKED enum rc __real_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e);
CHECKED enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e);
CHECKED enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e)
{
	return fails(e) ? RC_IO : __real_os_list(dir, a, names, count, e);
}
CHECKED enum rc __real_os_open_dir(int dir, const char *name, int *fd, struct err *e);
CHECKED enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e);
CHECKED enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e)
{
	return fails(e) ? RC_IO : __real_os_open_dir(dir, name, fd, e);
}
CHECKED enum rc __real_os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e);
CHECKED enum rc __wrap_os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e);
CHECKED enum rc __wrap_os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e)
{
	return fails(e) ? RC_IO : __real_os_read_proc(path, a, bytes, e);
}

static struct host_view look(void)
{
	static const char *const names[] = {"/no/such/name", NULL};
	const struct host_question q = {.root = root, .snapshots = -1, .names = names};
	struct host_view v = {0};
	struct err e = {0};

	calls = 0;
	CHECK(host_look(&v, &q, &arena, scratch, &e) == RC_OK);
	return v;
}

/* A process that has a file of it open, until it is told to end. */
static pid_t holder(const char *name, int *end)
{
	int ready[2], stay[2];
	char byte = 0;

	if (pipe(ready) || pipe(stay))
		abort();
	const pid_t pid = fork();
	if (pid == 0) {
		const int fd = openat(root, name, O_RDWR | O_CREAT, 0600);
		(void)close(stay[1]);
		if (fd < 0 || write(ready[1], "x", 1) != 1 || read(stay[0], &byte, 1))
			_exit(1);
		_exit(0);
	}
	if (pid < 0 || read(ready[0], &byte, 1) != 1)
		abort();
	(void)close(ready[0]);
	(void)close(ready[1]);
	(void)close(stay[0]);
	*end = stay[1];
	return pid;
}

static void a_process_that_holds_it(void)
{
	char want[64];
	int end = -1, other = -1;

	CHECK(!look().held);
	const pid_t unrelated = holder("other", &other); /* nothing of containerd */
	CHECK(!look().held);
	const pid_t pid = holder("io.containerd.metadata.v1.bolt/meta.db", &end);
	const struct host_view v = look();
	snprintf(want, sizeof(want), "process %d (test_host)", (int)pid);
	CHECK(v.held && strcmp(v.held, want) == 0);
	(void)close(end);
	(void)close(other);
	(void)waitpid(pid, NULL, 0);
	(void)waitpid(unrelated, NULL, 0);
	CHECK(!look().held && !look().mounted && look().mounts_seen);
}

/* No look that fails makes more seen than an undisturbed one, and one that fails is known to have. */
static void looks_that_fail(void)
{
	int end = -1;
	const pid_t pid = holder("io.containerd.metadata.v1.bolt/meta.db", &end);

	fail_at = 0;
	const bool all = look().all_seen;
	(void)look();
	for (unsigned n = 1, most = calls; n <= most && n < 2000; n++) {
		const struct arena mark = arena;
		fail_at = n;
		const struct host_view v = look();
		if (calls < n)
			break; /* other processes have ended */
		CHECK(v.held || !v.all_seen);
		CHECK(all || !v.all_seen);
		arena = mark;
	}
	fail_at = 0;
	(void)close(end);
	(void)waitpid(pid, NULL, 0);
}

static void places(void)
{
	char path[64];
	const int64_t started = host_started_ns(scratch);

	snprintf(path, sizeof(path), "%s/run", top);
	CHECK(host_may_have("", top) && host_may_have(top, "/io.containerd.metadata.v1.bolt") && !host_may_have(top, "/no"));
	CHECK(!host_may_have("", "/no/such/place") && !host_has_shims(top, scratch));
	CHECK(mkdirat(root, "run", 0700) == 0 && mkdirat(root, "run/containerd", 0700) == 0);
	CHECK(mkdirat(root, "run/containerd/s", 0700) == 0);
	CHECK(!host_has_shims(top, scratch));
	CHECK(mkdirat(root, "run/containerd/s/one", 0700) == 0 && host_has_shims(top, scratch));
	CHECK(started > 0 && started < (int64_t)os_calendar_ns());
	fail_at = 1;
	calls = 0;
	CHECK(host_has_shims(top, scratch)); /* what cannot be listed may have one */
	calls = 0;
	CHECK(host_started_ns(scratch) == 0);
	fail_at = 0;
}

int main(void)
{
	struct err e = {0};
	char command[256];

	if (arena_open(&arena, &e) || arena_open(&scratch, &e) || !mkdtemp(top) || os_open_root(top, &root, &e) ||
		mkdirat(root, "io.containerd.metadata.v1.bolt", 0700))
		return 1;
	RUN(a_process_that_holds_it);
	RUN(looks_that_fail);
	RUN(places);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	if (system(command))
		printf("# %s stays\n", top);
	return test_failed != 0;
}
