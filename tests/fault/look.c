/* SPDX-License-Identifier: MIT */
/* Functions of os.h, wrapped (-Wl,--wrap) beside those of os_write.h in wrap.c: one look at the disk fails, once.
 *
 *   FAULT_LOOK=E:N:WHAT  the Nth time that WHAT is looked at, the look fails with E: EIO, EACCES, ENOMEM or EMFILE
 *   FAULT_LOOKS=FILE     a line for each look: WHAT, which is the function's name and a path, the same in every run
 *
 * Looks are told from each other by what they are about, not by their number: threads look side by side. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ground/os.h"

#define WHAT_BYTES 4600

static struct {
	const char *what; /* NULL: nothing fails */
	int error;
	unsigned long at;
	atomic_ulong seen;
	FILE *log;
} look;

static void read_environment(void)
{
	static const struct {
		const char *name;
		int error;
	} errors[] = {{"EIO", EIO}, {"EACCES", EACCES}, {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE}};
	const char *const spec = getenv("FAULT_LOOK"), *const log = getenv("FAULT_LOOKS");
	const char *const first = spec ? strchr(spec, ':') : NULL;
	char *end = NULL;

	for (size_t i = 0; first && i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strncmp(spec, errors[i].name, (size_t)(first - spec)) == 0)
			look.error = errors[i].error;
	if (first) {
		look.at = strtoul(first + 1, &end, 10);
		look.what = *end == ':' ? end + 1 : NULL;
	}
	look.log = log ? fopen(log, "we") : NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Before a look. fd: what name is beneath, or what is looked at itself; -1: name is a path. True: it must fail, and *e says so. */
static bool fails(const char *function, int fd, const char *name, struct err *e)
{
	char what[WHAT_BYTES], link[64], path[4096];
	ssize_t n = 0;

	(void)pthread_once(&once, read_environment);
	if (!look.what && !look.log)
		return false;
	if (fd >= 0) {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd); /* fits */
		n = readlink(link, path, sizeof(path) - 1);
	}
	path[n > 0 ? n : 0] = 0;
	(void)snprintf(what, sizeof(what), "%s %s%s%s", function, path, name && *path ? "/" : "", name ? name : ""); /* or is cut */
	if (look.log) {
		for (char *c = what; *c; c++)
			*c = *c == '\n' ? '?' : *c;
		(void)fprintf(look.log, "%s\n", what);
		(void)fflush(look.log);
	}
	if (!look.what || strcmp(what, look.what) != 0 || atomic_fetch_add(&look.seen, 1) + 1 != look.at)
		return false;
	errno = look.error;
	(void)fail(e, RC_IO, "%s", what); /* returned by the caller */
	return true;
}

#define LOOK(call, fd, name, parameters, arguments)                                                      \
	enum rc __real_os_##call parameters;                                                             \
	enum rc __wrap_os_##call parameters;                                                             \
	enum rc __wrap_os_##call parameters                                                              \
	{                                                                                                \
		return fails("os_" #call, fd, name, e) ? RC_IO : __real_os_##call arguments;             \
	}

LOOK(open_root, -1, path, (const char *path, int *fd, struct err *e), (path, fd, e))
LOOK(open_dir, dir, name, (int dir, const char *name, int *fd, struct err *e), (dir, name, fd, e))
LOOK(open_file, dir, name, (int dir, const char *name, int *fd, struct err *e), (dir, name, fd, e))
LOOK(stat, dir, name, (int dir, const char *name, struct stat *st, struct err *e), (dir, name, st, e))
LOOK(stat_fd, fd, NULL, (int fd, struct stat *st, struct err *e), (fd, st, e))
LOOK(read, fd, NULL, (int fd, uint64_t off, void *buf, size_t n, size_t *got, struct err *e), (fd, off, buf, n, got, e))
LOOK(read_small, dir, name, (int dir, const char *name, size_t cap, struct arena *a, struct span *bytes, struct err *e),
	(dir, name, cap, a, bytes, e))
LOOK(read_proc, -1, path, (const char *path, struct arena *a, struct span *bytes, struct err *e), (path, a, bytes, e))
LOOK(read_link, dir, name, (int dir, const char *name, char *buf, size_t *n, struct err *e), (dir, name, buf, n, e))
LOOK(reader_open, fd, NULL, (struct os_reader *r, int fd, uint8_t *buf, size_t cap, struct err *e), (r, fd, buf, cap, e))
LOOK(reader_next, r->fd, NULL, (struct os_reader *r, struct span *piece, struct err *e), (r, piece, e))
LOOK(small_open, dir, name, (int dir, const char *name, int *fd, struct err *e), (dir, name, fd, e))
LOOK(list, dir, NULL, (int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e), (dir, a, names, count, e))
LOOK(xattr_list, dir, name, (int dir, const char *name, char *buf, size_t cap, size_t *n, struct err *e),
	(dir, name, buf, cap, n, e))
LOOK(xattr_get, dir, name, (int dir, const char *name, const char *xattr, void *buf, size_t cap, size_t *n, struct err *e),
	(dir, name, xattr, buf, cap, n, e))
LOOK(locked_flags, dir, name, (int dir, const char *name, unsigned *flags, struct err *e), (dir, name, flags, e))
LOOK(fs_identity, dir, NULL, (int dir, char *out, size_t cap, struct err *e), (dir, out, cap, e))
LOOK(lock, fd, NULL, (int fd, struct err *e), (fd, e))
LOOK(free, dir, NULL, (int dir, uint64_t *bytes, uint64_t *inodes, struct err *e), (dir, bytes, inodes, e))

/* The kernel may still write into its buffer. */
enum rc __real_os_small_take(struct os_small *s, size_t *got, struct err *e);
enum rc __wrap_os_small_take(struct os_small *s, size_t *got, struct err *e);
enum rc __wrap_os_small_take(struct os_small *s, size_t *got, struct err *e)
{
	if (!fails("os_small_take", s->fd, NULL, e))
		return __real_os_small_take(s, got, e);
	os_small_drop(s);
	return RC_IO;
}

static enum rc (*read_at)(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e);

static enum rc failing_read_at(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	return fails("src.read_at", s->fd, NULL, e) ? RC_IO : read_at(s, off, buf, n, e);
}

enum rc __real_os_src(int fd, struct src *s, struct err *e);
enum rc __wrap_os_src(int fd, struct src *s, struct err *e);
enum rc __wrap_os_src(int fd, struct src *s, struct err *e)
{
	const enum rc rc = fails("os_src", fd, NULL, e) ? RC_IO : __real_os_src(fd, s, e);

	if (rc == RC_OK) {
		read_at = s->read_at; /* there is one */
		s->read_at = failing_read_at;
	}
	return rc;
}
