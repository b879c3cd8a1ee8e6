/* SPDX-License-Identifier: MIT */
/* os.h and os_write.h for Linux. openat2 where the kernel has it (5.6); before that openat with O_NOFOLLOW, which is the
 * same for one component. Extended attributes of a name beneath a directory go through /proc/self/fd: the *at calls are newer
 * than the kernels we meet. /proc must be mounted; where it is not, attributes answer RC_IO and are left unchecked. */
#include "ground/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/os_linux.h"

/* ---- look ---- */

void os_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* read side, or already synced by whoever needed it durable */
	*fd = -1;
}

int os_dup(int fd)
{
	return (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
}

int open_beneath(int dir, const char *name, int flags)
{
	static atomic_bool no_openat2;
	int fd;

	flags |= O_CLOEXEC | O_NOFOLLOW | (flags & O_PATH ? 0 : O_NOCTTY);
	if (!no_openat2) {
		const struct open_how how = {.flags = (uint64_t)(unsigned)flags,
			.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
		do
			fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
		while (fd < 0 && (errno == EAGAIN || errno == EINTR));
		/* EPERM: seccomp profiles older than the call answer so; then plain openat tells the truth */
		if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
			return fd;
		if (errno == ENOSYS)
			no_openat2 = true;
	}
	if (strchr(name, '/')) {
		errno = EXDEV;
		return -1;
	}
	do
		fd = openat(dir, name, flags);
	while (fd < 0 && errno == EINTR);
	return fd;
}

enum rc os_open_root(const char *path, int *fd, struct err *e)
{
	const int got = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (got < 0)
		return errno == ENOENT ? RC_END : fail(e, RC_IO, "open %s", path);
	*fd = got;
	return RC_OK;
}

enum rc os_open_dir(int dir, const char *name, int *fd, struct err *e)
{
	int got = open_beneath(dir, name, O_RDONLY | O_DIRECTORY | O_NOATIME);

	if (got < 0 && errno == EPERM) /* O_NOATIME is for the owner and root */
		got = open_beneath(dir, name, O_RDONLY | O_DIRECTORY);
	if (got < 0) {
		if (errno == ENOENT)
			return RC_END;
		if (errno == ENOTDIR || errno == ELOOP || errno == EXDEV)
			return RC_CORRUPT;
		return fail(e, RC_IO, "open directory %s", name);
	}
	*fd = got;
	return RC_OK;
}

int open_regular(int dir, const char *name, int flags)
{
	char path[32];
	struct stat st = {0};
	const int place = dir < 0 ? open(name, O_PATH | O_CLOEXEC) : open_beneath(dir, name, O_PATH);
	int got = -1;

	if (place < 0)
		return -1;
	if (fstat(place, &st) == 0) {
		if (S_ISREG(st.st_mode)) {
			(void)print_to(path, sizeof(path), "/proc/self/fd/%d", place); /* it fits */
			got = open(path, flags | O_CLOEXEC | O_NOCTTY);
			if (got < 0 && errno == ENOENT) /* no /proc here */
				got = open_beneath(dir, name, flags);
		} else {
			errno = ENXIO;
		}
	}
	const int why = errno;
	(void)close(place); /* nothing was opened */
	errno = why;
	return got;
}

enum rc os_open_file(int dir, const char *name, int *fd, struct err *e)
{
	int got = open_regular(dir, name, O_RDONLY | O_NONBLOCK | O_NOATIME);

	if (got < 0 && errno == EPERM)
		got = open_regular(dir, name, O_RDONLY | O_NONBLOCK);
	if (got < 0) {
		if (errno == ENOENT)
			return RC_END;
		if (errno == ELOOP || errno == ENXIO || errno == ENODEV || errno == ENOTDIR)
			return RC_CORRUPT;
		return fail(e, RC_IO, "open %s", name);
	}
	*fd = got;
	return RC_OK;
}

enum rc os_stat(int dir, const char *name, struct stat *st, struct err *e)
{
	struct stat found = {0};

	if (fstatat(dir, name, &found, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return errno == ENOENT ? RC_END : fail(e, RC_IO, "stat %s", name);
	*st = found;
	return RC_OK;
}

enum rc os_stat_fd(int fd, struct stat *st, struct err *e)
{
	struct stat found = {0};

	if (fstat(fd, &found))
		return fail(e, RC_IO, "stat of an open file");
	*st = found;
	return RC_OK;
}

enum rc os_read(int fd, uint64_t off, void *buf, size_t n, size_t *got, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		const ssize_t step = pread(fd, (uint8_t *)buf + done, n - done, (off_t)(off + done));
		if (step < 0 && errno == EINTR)
			continue;
		if (step < 0)
			return fail(e, RC_IO, "read at byte %llu", (unsigned long long)(off + done));
		if (step == 0)
			break;
		done += (size_t)step;
	}
	*got = done;
	return RC_OK;
}

static enum rc file_read_at(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	size_t got = 0;
	const enum rc rc = os_read(s->fd, off, buf, n, &got, e);

	if (rc)
		return rc;
	return got == n ? RC_OK : fail(e, RC_CORRUPT, "the file became shorter while it was read");
}

enum rc os_src(int fd, struct src *s, struct err *e)
{
	struct stat st = {0};
	const enum rc rc = os_stat_fd(fd, &st, e);

	if (rc)
		return rc;
	*s = (struct src){.size = (uint64_t)st.st_size, .read_at = file_read_at, .fd = fd};
	return RC_OK;
}

enum rc os_read_small(int dir, const char *name, size_t cap, struct arena *a, struct span *bytes, struct err *e)
{
	auto_fd fd = -1;
	struct stat st = {0};
	size_t got = 0;
	enum rc rc;

	if ((rc = os_open_file(dir, name, &fd, e)) || (rc = os_stat_fd(fd, &st, e)))
		return rc;
	if ((uint64_t)st.st_size > cap)
		return RC_LIMIT;
	uint8_t *const at = arena_get(a, (size_t)st.st_size + 1);
	if (!at)
		return fail(e, RC_NOMEM, "no memory to read %s", name);
	if ((rc = os_read(fd, 0, at, (size_t)st.st_size, &got, e)))
		return rc;
	*bytes = span_of(at, got);
	return RC_OK;
}

enum rc os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e)
{
	static const size_t most = (size_t)16 << 20;
	auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0, cap = 0;
	uint8_t *at = NULL;

	if (fd < 0)
		return errno == ENOENT ? RC_END : fail(e, RC_IO, "open %s", path);
	for (;;) {
		if (cap - used < 4096) {
			const size_t more = cap ? cap * 2 : (size_t)64 << 10;
			if (more > most)
				return fail(e, RC_LIMIT, "%s is too long", path);
			at = arena_grow(a, at, cap, more);
			if (!at)
				return fail(e, RC_NOMEM, "no memory to read %s", path);
			cap = more;
		}
		const ssize_t step = read(fd, at + used, cap - used - 1);
		if (step < 0 && errno == EINTR)
			continue;
		if (step < 0)
			return fail(e, RC_IO, "read %s", path);
		if (step == 0)
			break;
		used += (size_t)step;
	}
	at[used] = 0;
	*bytes = span_of(at, used);
	return RC_OK;
}

unsigned os_descriptor_limit(void)
{
	struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};

	/* not setrlimit: musl's has all threads stop for it */
	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)prlimit(0, RLIMIT_NOFILE, &limit, NULL); /* what is in force is asked again */
		(void)prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	}
	return limit.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)limit.rlim_cur;
}

enum rc os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e)
{
	const ssize_t got = readlinkat(dir, name, buf, LIMIT_PATH_BYTES);

	if (got < 0)
		return errno == ENOENT || errno == EINVAL ? RC_END : fail(e, RC_IO, "read link %s", name);
	buf[got < LIMIT_PATH_BYTES ? got : LIMIT_PATH_BYTES - 1] = 0;
	*n = (size_t)got;
	return RC_OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct os_name *)a)->name, ((const struct os_name *)b)->name);
}

struct dirent64_raw {
	uint64_t inode;
	int64_t off;
	unsigned short length;
	unsigned char type;
	char name[];
};

enum rc os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e)
{
	_Alignas(struct dirent64_raw) uint8_t buf[32768];
	size_t used = 0, cap = 0;
	/* names first, in chunks: the array must be the arena's last allocation to grow in place, so the strings are kept
	 * in a chain of blocks of their own */
	char *block = NULL;
	size_t block_left = 0;
	auto_fd own = -1;
	const enum rc rc = os_open_dir(dir, ".", &own, e); /* a position of our own */

	if (rc)
		return rc == RC_IO ? rc : fail(e, RC_IO, "list a directory");
	struct os_name *list = NULL;
	for (;;) {
		const long got = syscall(SYS_getdents64, own, buf, sizeof(buf));
		if (got < 0)
			return fail(e, RC_IO, "list a directory");
		if (got == 0)
			break;
		for (long at = 0; at < got;) {
			const struct dirent64_raw *const d = (const struct dirent64_raw *)(buf + at);
			at += d->length;
			if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
				continue;
			if (!names) {
				*count = 1;
				return RC_OK;
			}
			const size_t n = strlen(d->name) + 1;
			if (used == cap) {
				const size_t more = cap ? cap * 2 : 64;
				list = arena_grow(a, list, cap * sizeof(*list), more * sizeof(*list));
				cap = more;
			}
			if (list && n > block_left) {
				block_left = n > 65536 ? n : cap > 512 ? 65536 : 2048;
				block = arena_get(a, block_left);
			}
			if (!list || !block)
				return no_memory(e);
			memcpy(block, d->name, n);
			list[used++] = (struct os_name){block, d->inode, d->type};
			block += n;
			block_left -= n;
		}
	}
	if (used)
		sort(list, used, sizeof(*list), compare_names);
	if (names)
		*names = list;
	*count = used;
	return RC_OK;
}

bool through_proc(char *path, size_t cap, int dir, const char *name)
{
	const int n = print_to(path, cap, "/proc/self/fd/%d/%s", dir, name);
	return n > 0 && (size_t)n < cap;
}

enum rc open_for_flags(int dir, const char *name, int *fd, struct err *e)
{
	struct stat st = {0};
	const enum rc rc = os_stat(dir, name, &st, e);

	if (rc || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		return rc;
	*fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	return *fd >= 0 ? RC_OK : errno == ENOENT ? RC_END : fail(e, RC_IO, "open %s", name);
}

enum rc os_locked_flags(int dir, const char *name, unsigned *flags, struct err *e)
{
	auto_fd fd = -1;
	int all = 0;
	const enum rc rc = open_for_flags(dir, name, &fd, e);

	if (rc)
		return rc;
	/* musl and glibc do not agree on the type of what ioctl is told */
	if (fd >= 0 && syscall(SYS_ioctl, fd, (unsigned long)FS_IOC_GETFLAGS, &all) && errno != ENOTTY && errno != EOPNOTSUPP &&
		errno != EINVAL && errno != ENOSYS)
		return fail(e, RC_IO, "ask for the flags of %s", name);
	*flags = (unsigned)all & OS_FLAGS_LOCKED;
	return RC_OK;
}

enum rc os_xattr_list(int dir, const char *name, char *buf, size_t cap, size_t *n, struct err *e)
{
	char path[LIMIT_NAME_BYTES + 64];

	if (!through_proc(path, sizeof(path), dir, name))
		return fail(e, RC_LIMIT, "name too long");
	const ssize_t got = llistxattr(path, buf, cap);
	if (got < 0) {
		if (errno == ENOTSUP) {
			*n = 0;
			return RC_OK;
		}
		if (errno == ERANGE || errno == E2BIG)
			return fail(e, RC_LIMIT, "more than %zu bytes of attribute names on %s", cap, name);
		return fail(e, RC_IO, "list attributes of %s", name);
	}
	*n = (size_t)got;
	return RC_OK;
}

/* Of trusted attributes the kernel says that they are not there to whoever may not see them (Linux: fs/xattr.c, xattr_permission; the
 * number of the first user namespace is PROC_USER_INIT_INO of include/linux/proc_ns.h): to all without CAP_SYS_ADMIN in the first one. */
static bool is_hidden(const char *xattr)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
	struct stat ns = {0};

	if (strncmp(xattr, "trusted.", 8) != 0)
		return false;
	return syscall(SYS_capget, &head, sets) || !(sets[0].effective >> CAP_SYS_ADMIN & 1) ||
	       (stat("/proc/self/ns/user", &ns) == 0 && ns.st_ino != 0xEFFFFFFD);
}

enum rc os_xattr_get(int dir, const char *name, const char *xattr, void *buf, size_t cap, size_t *n, struct err *e)
{
	char path[LIMIT_NAME_BYTES + 64];

	if (!through_proc(path, sizeof(path), dir, name))
		return fail(e, RC_LIMIT, "name too long");
	const ssize_t got = lgetxattr(path, xattr, buf, cap);
	if (got < 0) {
		if (errno == ENODATA && is_hidden(xattr))
			errno = EPERM;
		if (errno == ENODATA || errno == ENOTSUP)
			return RC_END;
		if (errno == ERANGE || errno == E2BIG)
			return fail(e, RC_LIMIT, "attribute %s of %s is longer than %zu bytes", xattr, name, cap);
		return fail(e, RC_IO, "read attribute %s of %s", xattr, name);
	}
	*n = (size_t)got;
	return RC_OK;
}
