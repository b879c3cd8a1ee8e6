/* SPDX-License-Identifier: MIT */
/* os.h and os_write.h for Linux. openat2 where the kernel has it (5.6); before that openat with O_NOFOLLOW, which is the
 * same for one component. Extended attributes of a name beneath a directory go through /proc/self/fd: the *at calls are newer
 * than the kernels we meet. /proc must be mounted; where it is not, attributes answer RC_IO and are left unchecked. */
#include "os.h"
#include "os_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* ---- look ---- */

void os_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* read side, or already synced by whoever needed it durable */
	*fd = -1;
}

/* One component beneath dir, no link followed. */
static int open_beneath(int dir, const char *name, int flags)
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

/* A regular file. What it is is asked of a descriptor that opens nothing: a driver acts when its device is opened, and who waits at a
 * FIFO is woken. ENXIO: it is something else. */
static int open_regular(int dir, const char *name, int flags)
{
	char path[32];
	struct stat st = {0};
	const int place = open_beneath(dir, name, O_PATH);
	int got = -1;

	if (place < 0)
		return -1;
	if (fstat(place, &st) == 0) {
		if (S_ISREG(st.st_mode)) {
			(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", place); /* it fits */
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

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* what is in force is asked again */
		(void)getrlimit(RLIMIT_NOFILE, &limit);
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

/* The kernel's queue of this thread (io_setup(2): older than openat2, and nothing to map), for all its readers. To give one back
 * waits for a grace period of the kernel: they are kept for the next thread, and end with the process. */
static _Thread_local aio_context_t queue;
static _Atomic(aio_context_t) spare_queues[LIMIT_THREADS + 1];
#define QUEUE_EVENTS 128
#define SEND_MAX 32 /* at a time */
#define REQUEST_BYTES ((size_t)256 << 10) /* at least, if there is room for more than one */

static bool have_queue(void)
{
	static atomic_bool no_queue; /* not in this kernel, or all are taken: what is not sent ahead is read when it is wanted */

	for (size_t i = 0; !queue && i < sizeof(spare_queues) / sizeof(*spare_queues); i++)
		queue = atomic_exchange(&spare_queues[i], 0);
	if (!queue && !no_queue && syscall(SYS_io_setup, QUEUE_EVENTS, &queue))
		no_queue = true;
	return queue;
}

void os_reader_leave(void)
{
	for (size_t i = 0; queue && i < sizeof(spare_queues) / sizeof(*spare_queues); i++) {
		aio_context_t none = 0;
		if (atomic_compare_exchange_strong(&spare_queues[i], &none, queue))
			queue = 0;
	}
}

/* Requests on their way to the kernel: to hand over several at a time is one notification of the disk. */
struct batch {
	struct iocb blocks[SEND_MAX];
	unsigned count;
};

static void batch_send(struct batch *b)
{
	struct iocb *list[SEND_MAX];

	for (unsigned i = 0; i < b->count; i++)
		list[i] = &b->blocks[i];
	for (unsigned i = 0; i < b->count;) {
		const long sent = syscall(SYS_io_submit, queue, (long)(b->count - i), list + i);
		if (sent > 0) {
			i += (unsigned)sent;
			continue;
		}
		struct os_request *const refused = (struct os_request *)(uintptr_t)b->blocks[i++].aio_data;
		refused->got = -ECANCELED; /* it is read in the plain way */
		refused->back = true;
	}
	b->count = 0;
}

static void batch_add(struct batch *b, struct os_request *request, int fd, uint64_t at, uint8_t *to, size_t n)
{
	if (b->count == SEND_MAX)
		batch_send(b);
	*request = (struct os_request){0};
	b->blocks[b->count++] = (struct iocb){.aio_data = (uintptr_t)request,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)to,
		.aio_nbytes = n,
		.aio_offset = (int64_t)at};
}

#define EXT4_MAGIC 0xef53
#define XFS_MAGIC 0x58465342
#define BTRFS_MAGIC 0x9123683e

/* Of a file with fewer blocks than bytes. Others have told data that was not written yet for holes (OpenZFS 2.2: issue 15526). */
static bool tells_holes(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	const uint32_t type = (uint32_t)fs.f_type;
	return type == EXT4_MAGIC || type == XFS_MAGIC || type == BTRFS_MAGIC;
}

/* Does what is next to be asked for lie in one? */
static bool in_a_hole(struct os_reader *r, uint64_t end)
{
	if (r->sparse && (r->asked < r->hole || r->asked >= r->data)) {
		const off_t data = lseek(r->fd, (off_t)r->asked, SEEK_DATA); /* the position is used by nobody */
		struct stat st;
		r->hole = r->asked;
		r->data = data >= 0 ? (uint64_t)data : UINT64_MAX; /* none any more */
		if (data < 0 && (errno != ENXIO || fstat(r->fd, &st) || (uint64_t)st.st_size < r->size))
			r->sparse = false; /* reading tells what is the matter */
	}
	return r->sparse && r->data >= end;
}

/* What a hole holds. Not constant, for then it would be in the file. */
static uint8_t zeros[2 * REQUEST_BYTES];

/* Keeps as many requests under way as there are. */
static void ask_ahead(struct os_reader *r, struct batch *b)
{
	if (!r->flying) /* what was read in the plain way meanwhile is behind */
		r->asked = r->off;
	for (; r->flying < r->most && r->asked < r->size; r->asked += r->piece, r->flying++) {
		const unsigned slot = (r->first + r->flying) % r->most;
		const uint64_t n = min_u64(r->piece, r->size - r->asked);
		if (n <= sizeof(zeros) && in_a_hole(r, r->asked + n))
			r->requests[slot] = (struct os_request){.got = (int64_t)n, .back = true, .hole = true};
		else
			batch_add(b, &r->requests[slot], r->fd, r->asked, r->buf + slot * r->piece, r->piece);
	}
}

/* Notes what comes back, of this reader or another of the thread. */
static void wait_for(const struct os_request *request)
{
	struct io_event events[SEND_MAX];

	while (!request->back) {
		const long n = syscall(SYS_io_getevents, queue, 1L, (long)SEND_MAX, events, NULL);
		if (n < 0 && errno != EINTR)
			abort(); /* cannot be; and to go on would let the kernel write into memory that is used again */
		for (long i = 0; i < n; i++) {
			struct os_request *const back = (struct os_request *)(uintptr_t)events[i].data;
			back->got = events[i].res;
			back->back = true;
		}
	}
}

void os_reader_settle(struct os_reader *r)
{
	for (unsigned i = r->lent; i < r->flying; i++)
		wait_for(&r->requests[(r->first + i) % r->most]);
	r->flying = 0;
	r->lent = false;
}

/* RC_OK: *piece is the next. RC_END: it does not come ahead; reading on from r->off tells what is the matter. After a request that
 * failed, nothing comes ahead any more; one that the kernel did not take now, it may take later. */
static enum rc next_ahead(struct os_reader *r, struct span *piece)
{
	bool failed = true;
	struct batch b;

	if (r->lent) {
		r->first = (r->first + 1) % r->most;
		r->flying--;
		r->lent = false;
	}
	b.count = 0; /* the rest need not be cleared */
	ask_ahead(r, &b);
	batch_send(&b);
	if (r->flying) {
		struct os_request *const request = &r->requests[r->first];
		wait_for(request);
		if (request->got > 0 && (uint64_t)request->got >= min_u64(r->piece, r->size - r->off)) {
			*piece = span_of(request->hole ? zeros : r->buf + r->first * r->piece, (size_t)request->got);
			r->off += (uint64_t)request->got;
			r->lent = true;
			return RC_OK;
		}
		failed = request->got != -ECANCELED;
	}
	os_reader_settle(r);
	if (failed)
		r->piece = 0;
	return RC_END;
}

uint64_t os_reader_skip_hole(struct os_reader *r, uint64_t most)
{
	if (!r->sparse || r->off % 4096)
		return 0;
	os_reader_settle(r);
	r->asked = r->off;
	if (r->asked >= r->size || !in_a_hole(r, r->asked + 1))
		return 0;
	/* what is read next begins at a block again */
	const uint64_t n = min_u64(min_u64(r->data, r->size) - r->off, most) & ~(uint64_t)4095;
	r->off += n;
	r->asked = r->off;
	return n;
}

/* Whether reading past the cache is what it says: not where data lies within inodes, goes through a journal or is encrypted. Linux
 * 6.1: include/uapi/linux/stat.h; older ones, and file systems that do not tell, leave the bit out. Older headers lack it all. */
static bool reads_the_medium(int fd)
{
	_Alignas(uint64_t) uint8_t statx[256];
	const uint32_t wanted = 0x2000; /* STATX_DIOALIGN */

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, wanted, statx))
		return false;
	uint32_t mask, align;
	memcpy(&mask, statx, sizeof(mask));         /* stx_mask */
	memcpy(&align, statx + 156, sizeof(align)); /* stx_dio_offset_align */
	return mask & wanted && align;
}

enum rc os_reader_open(struct os_reader *r, int fd, uint8_t *buf, size_t cap, struct err *e)
{
	struct stat st = {0};
	const enum rc rc = os_stat_fd(fd, &st, e);

	if (rc)
		return rc;
	*r = (struct os_reader){.fd = fd, .size = (uint64_t)st.st_size, .buf = buf, .cap = cap};
	const int flags = fcntl(fd, F_GETFL);
	r->direct = flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
	r->sparse = (uint64_t)st.st_blocks < r->size / 512 && tells_holes(fd);
	if (!r->direct || !reads_the_medium(fd))
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
	r->most = (unsigned)min_u64(cap / REQUEST_BYTES, OS_READER_REQUESTS);
	r->most += !r->most;
	if (r->direct)
		r->piece = cap / r->most & ~(size_t)4095;
	return RC_OK;
}

void os_reader_ahead(struct os_reader *const readers[], unsigned count)
{
	struct batch b;

	b.count = 0; /* the rest need not be cleared */
	for (unsigned i = 0; i < count; i++)
		if (readers[i]->piece && have_queue())
			ask_ahead(readers[i], &b);
	batch_send(&b);
}

enum rc os_reader_next(struct os_reader *r, struct span *piece, struct err *e)
{
	if (r->off >= r->size)
		return RC_END;
	if (r->piece && have_queue() && next_ahead(r, piece) == RC_OK)
		return RC_OK;
	for (;;) {
		const ssize_t got = pread(r->fd, r->buf, r->cap, (off_t)r->off);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EINVAL && r->direct) {
			const int flags = fcntl(r->fd, F_GETFL);
			r->direct = false;
			r->piece = 0;
			if (flags < 0 || fcntl(r->fd, F_SETFL, flags & ~O_DIRECT))
				return fail(e, RC_IO, "leave direct reading");
			(void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
			continue;
		}
		if (got < 0)
			return fail(e, RC_IO, "read at byte %llu", (unsigned long long)r->off);
		if (got == 0)
			return RC_END; /* became shorter: the digest will tell */
		r->off += (uint64_t)got;
		*piece = span_of(r->buf, (size_t)got);
		return RC_OK;
	}
}

enum rc os_small_open(int dir, const char *name, int *fd, struct err *e)
{
	bool direct = true;
	int got = open_beneath(dir, name, O_RDONLY | O_NONBLOCK | O_NOATIME | O_DIRECT);

	if (got < 0) { /* it tells why; or there is no reading from the medium here, or no such right */
		const enum rc rc = os_open_file(dir, name, &got, e);
		if (rc)
			return rc;
		direct = false;
	}
	/* to drop what is cached takes longer than to ask: 8 % of a check after all was read */
	if (!direct || !reads_the_medium(got))
		(void)posix_fadvise(got, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
	*fd = got;
	return RC_OK;
}

void os_small_send(struct os_small *files, unsigned count)
{
	struct batch b;

	b.count = 0; /* the rest need not be cleared */
	for (unsigned i = 0; i < count; i++) {
		struct os_small *const s = &files[i];
		if ((s->sent = have_queue())) {
			batch_add(&b, &s->request, s->fd, 0, s->buf, (s->size + 4095) & ~(size_t)4095);
		} else { /* only hints */
			(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
			(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_WILLNEED);
		}
	}
	batch_send(&b);
}

void os_small_drop(struct os_small *s)
{
	if (s->sent)
		wait_for(&s->request);
	s->sent = false;
}

enum rc os_small_take(struct os_small *s, size_t *got, struct err *e)
{
	const bool sent = s->sent;

	os_small_drop(s);
	if (sent && s->request.got >= 0 && (uint64_t)s->request.got >= s->size) {
		*got = s->size;
		return RC_OK;
	}
	const int flags = fcntl(s->fd, F_GETFL);
	if (flags < 0 || (flags & O_DIRECT && fcntl(s->fd, F_SETFL, flags & ~O_DIRECT)))
		return fail(e, RC_IO, "leave direct reading");
	if (sent)
		(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
	return os_read(s->fd, 0, s->buf, s->size, got, e);
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
				return fail(e, RC_NOMEM, "no memory to list a directory");
			memcpy(block, d->name, n);
			list[used++] = (struct os_name){block, d->inode, d->type};
			block += n;
			block_left -= n;
		}
	}
	if (used)
		qsort(list, used, sizeof(*list), compare_names);
	*names = list;
	*count = used;
	return RC_OK;
}

/* "/proc/self/fd/<dir>/<name>": the last component is not followed by the l*xattr calls. */
static bool through_proc(char *path, size_t cap, int dir, const char *name)
{
	const int n = snprintf(path, cap, "/proc/self/fd/%d/%s", dir, name);
	return n > 0 && (size_t)n < cap;
}

/* Opened for its flags: a regular file or a directory, else *fd stays -1. */
static enum rc open_for_flags(int dir, const char *name, int *fd, struct err *e)
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

enum rc os_xattr_get(int dir, const char *name, const char *xattr, void *buf, size_t cap, size_t *n, struct err *e)
{
	char path[LIMIT_NAME_BYTES + 64];

	if (!through_proc(path, sizeof(path), dir, name))
		return fail(e, RC_LIMIT, "name too long");
	const ssize_t got = lgetxattr(path, xattr, buf, cap);
	if (got < 0) {
		if (errno == ENODATA || errno == ENOTSUP)
			return RC_END;
		if (errno == ERANGE || errno == E2BIG)
			return fail(e, RC_LIMIT, "attribute %s of %s is longer than %zu bytes", xattr, name, cap);
		return fail(e, RC_IO, "read attribute %s of %s", xattr, name);
	}
	*n = (size_t)got;
	return RC_OK;
}

/* Linux 6.18: include/uapi/linux/fs.h; older headers lack it */
struct fs_uuid {
	uint8_t length, bytes[16];
};
#define FS_UUID_IOCTL _IOR(0x15, 0, struct fs_uuid)

enum rc os_fs_identity(int dir, char *out, size_t cap, struct err *e)
{
	struct statfs fs;
	struct fs_uuid uuid = {0};

	if (fstatfs(dir, &fs))
		return fail(e, RC_IO, "ask for the file system");
	if ((uint32_t)fs.f_type == EXT4_MAGIC || (uint32_t)fs.f_type == BTRFS_MAGIC) {
		uint64_t id = 0;
		memcpy(&id, &fs.f_fsid, sizeof(fs.f_fsid) < sizeof(id) ? sizeof(fs.f_fsid) : sizeof(id));
		(void)snprintf(out, cap, "fsid:%016llx", (unsigned long long)id); /* fits */
		return RC_OK;
	}
	(void)snprintf(out, cap, "-"); /* fits */
	/* C libraries do not agree on the type of a request */
	if (syscall(SYS_ioctl, dir, (unsigned long)FS_UUID_IOCTL, &uuid) || uuid.length == 0 || uuid.length > sizeof(uuid.bytes))
		return RC_OK;
	int n = snprintf(out, cap, "uuid:");
	for (unsigned i = 0; i < uuid.length; i++)
		n += snprintf(out + n, cap - (size_t)n, "%02x", uuid.bytes[i]); /* 37 bytes of JOURNAL_FS_BYTES */
	return RC_OK;
}

enum rc os_resolve_in(const char *sysroot, const char *path, char *out, struct err *e)
{
	char link[64];
	const int top = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (top < 0)
		return errno == ENOENT ? RC_END : fail(e, RC_IO, "open %s", sysroot);
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	const int fd = (int)syscall(SYS_openat2, top, path, &how, sizeof(how));
	const int why = errno;
	(void)close(top); /* nothing was written */
	if (fd < 0) {
		if (why == ENOSYS) { /* before Linux 5.6: what a link leads out of sysroot is not there */
			char whole[2 * LIMIT_PATH_BYTES];
			(void)snprintf(whole, sizeof(whole), "%s%s%s", sysroot, *path == '/' ? "" : "/", path);
			const size_t n = strlen(sysroot);
			return realpath(whole, out) && strncmp(out, sysroot, n) == 0 && out[n] == '/' ? RC_OK : RC_END;
		}
		errno = why;
		return why == ENOENT || why == ENOTDIR ? RC_END : fail(e, RC_IO, "open %s in %s", path, sysroot);
	}
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd); /* fits */
	const ssize_t n = readlink(link, out, LIMIT_PATH_BYTES - 1);
	(void)close(fd); /* as above */
	if (n <= 0)
		return fail(e, RC_IO, "resolve %s in %s (is /proc mounted?)", path, sysroot);
	out[n] = 0;
	return RC_OK;
}

bool os_exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

void os_notify(const char *text)
{
	const char *const where = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const size_t n = where ? strlen(where) : 0;

	if (n < 2 || n > sizeof(to.sun_path) || (*where != '/' && *where != '@'))
		return;
	memcpy(to.sun_path, where, n);
	if (*where == '@')
		to.sun_path[0] = 0; /* systemd's way to write an abstract name */
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)); /* nobody listens: nobody is told */
	(void)close(fd);
}

void os_kernel_log(int priority, const char *line)
{
	char text[900]; /* one record of the kernel's log is less than 1 KiB */
	const int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return;
	const int n = snprintf(text, sizeof(text), "<%d>containerd-fsck: %s", priority, line);
	if (n > 0 && write(fd, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1) < 0)
		errno = 0; /* a log that takes nothing cannot be told so */
	(void)close(fd);
}

enum rc os_watch_open(int *watch, struct err *e)
{
	*watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	return *watch < 0 ? fail(e, RC_IO, "inotify") : RC_OK;
}

enum rc os_watch(int watch, int dir, const char *name, uint32_t events, int *id, struct err *e)
{
	char path[64 + LIMIT_NAME_BYTES];

	/* no call takes a directory and a name; this way the directory is the one that is held */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%.*s", dir, LIMIT_NAME_BYTES, name); /* fits */
	*id = inotify_add_watch(watch, path, events | IN_DONT_FOLLOW);
	if (*id >= 0)
		return RC_OK;
	return errno == ENOENT || errno == ENOTDIR ? RC_END : fail(e, RC_IO, "watch %s", name);
}

void os_unwatch(int watch, int id)
{
	(void)inotify_rm_watch(watch, id); /* one that is gone already is what was wanted */
}

void os_wait(int fd, int64_t ms, const volatile sig_atomic_t *stop)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	const struct timespec limit = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
	sigset_t all, before;

	/* a signal between the look at *stop and the wait must not be lost */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	if (!*stop)
		(void)ppoll(&p, 1, ms < 0 ? NULL : &limit, &before);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

enum rc os_read_events(int fd, void *buf, size_t cap, size_t *got, struct err *e)
{
	const ssize_t n = read(fd, buf, cap);

	*got = n > 0 ? (size_t)n : 0;
	return n < 0 && errno != EAGAIN && errno != EINTR ? fail(e, RC_IO, "read events") : RC_OK;
}

void os_sleep_ms(unsigned ms)
{
	(void)poll(NULL, 0, (int)ms); /* a signal ends it early: wanted */
}

enum rc os_lock(int fd, struct err *e)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return RC_OK;
	return errno == EWOULDBLOCK ? RC_END : fail(e, RC_IO, "lock");
}

bool os_is_read_only(int dir)
{
	struct statvfs vfs;
	return fstatvfs(dir, &vfs) == 0 && (vfs.f_flag & ST_RDONLY);
}

enum rc os_free(int dir, uint64_t *bytes, uint64_t *inodes, struct err *e)
{
	struct statvfs vfs;

	if (fstatvfs(dir, &vfs))
		return fail(e, RC_IO, "ask for free space");
	*bytes = (uint64_t)vfs.f_bfree * vfs.f_frsize;
	*inodes = vfs.f_files ? vfs.f_ffree : UINT64_MAX; /* btrfs has no inode table and says 0 of 0 */
	return RC_OK;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t = {0};
	(void)clock_gettime(clock, &t); /* both clocks always exist */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t os_clock_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_calendar_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

unsigned os_cpu_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

enum rc os_boot_id(char id[37], struct err *e)
{
	const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[37] = {0};

	if (fd < 0)
		return errno == ENOENT ? RC_END : fail(e, RC_IO, "open the boot id");
	const ssize_t got = read(fd, text, 36);
	(void)close(fd); /* opened for reading */
	if (got != 36)
		return RC_END;
	memcpy(id, text, sizeof(text));
	return RC_OK;
}

/* ---- change ---- */

static atomic_bool forbidden, any_failed;

void os_write_begin(void)
{
	any_failed = false;
}

bool os_write_failed(void)
{
	return any_failed;
}

/* The disk itself refused: not a directory that is in use, not an attribute that a file system has none of. */
static bool note_failure(void)
{
	if (errno == EIO || errno == ENOSPC || errno == EDQUOT || errno == EROFS)
		any_failed = true;
	return true;
}

#define change_failed(e, ...) (note_failure() ? fail((e), RC_IO, __VA_ARGS__) : RC_IO)

void os_write_forbid(void)
{
	forbidden = true;
}

static bool refused(void)
{
	if (forbidden)
		errno = EROFS;
	return forbidden;
}

enum rc os_mkdir(int dir, const char *name, mode_t mode, struct err *e)
{
	if (refused() || mkdirat(dir, name, mode))
		return errno == EEXIST ? RC_END : change_failed(e, "make directory %s", name);
	return RC_OK;
}

enum rc os_create(int dir, const char *name, mode_t mode, int *fd, struct err *e)
{
	const int got =
		refused() ? -1 : openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

	if (got < 0)
		return errno == EEXIST ? RC_END : change_failed(e, "create %s", name);
	*fd = got;
	return RC_OK;
}

enum rc os_open_write(int dir, const char *name, int *fd, struct err *e)
{
	const int got = refused() ? -1 : open_regular(dir, name, O_RDWR | O_NONBLOCK);

	if (got < 0)
		return errno == ENOENT ? RC_END : change_failed(e, "open %s for writing", name);
	*fd = got;
	return RC_OK;
}

enum rc os_write(int fd, uint64_t off, const void *buf, size_t n, struct err *e)
{
	size_t done = 0;

	if (refused())
		return change_failed(e, "write");
	while (done < n) {
		const ssize_t step = pwrite(fd, (const uint8_t *)buf + done, n - done, (off_t)(off + done));
		if (step < 0 && errno == EINTR)
			continue;
		if (step <= 0) {
			if (step == 0)
				errno = ENOSPC;
			return change_failed(e, "write at byte %llu", (unsigned long long)(off + done));
		}
		done += (size_t)step;
	}
	return RC_OK;
}

int os_note_begin(int dir, const char *name)
{
	if (refused() || (unlinkat(dir, name, 0) && errno != ENOENT))
		return -1;
	return openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

void os_note(int fd, uint64_t off, const void *buf, size_t n)
{
	if (!refused() && pwrite(fd, buf, n, (off_t)off) < 0)
		return; /* not noted: see os_write.h */
}

void os_note_sync(int fd)
{
	if (fdatasync(fd))
		return; /* as above */
}

void os_note_end(int dir, const char *name)
{
	if (!refused() && unlinkat(dir, name, 0))
		return; /* as above */
}

enum rc os_truncate(int fd, uint64_t size, struct err *e)
{
	if (refused() || ftruncate(fd, (off_t)size))
		return change_failed(e, "set the size to %llu bytes", (unsigned long long)size);
	return RC_OK;
}

enum rc os_fsync(int fd, struct err *e)
{
	if (refused() || fsync(fd))
		return change_failed(e, "sync");
	return RC_OK;
}

static long mount_id(int fd)
{
	char path[64], text[512];
	const char *found;
	uint64_t id = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd); /* fits */
	const int info = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (info >= 0)
		(void)close(info); /* opened for reading */
	if (n <= 0)
		return -1;
	text[n] = 0;
	found = strstr(text, "mnt_id:");
	if (!found)
		return -1;
	found += 7 + strspn(found + 7, "\t ");
	return parse_decimal(span_of((const uint8_t *)found, strspn(found, "0123456789")), &id) == RC_OK ? (long)id : -1;
}

bool os_same_mount(int a, int b)
{
	struct stat one, other;
	const long left = mount_id(a), right = mount_id(b);

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
	       (left < 0 || right < 0 || left == right);
}

/* The top directory of the mount that dir is on: the kernel remounts nothing else. -1: errno says why not. */
static int top_of_mount(int dir)
{
	int at = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const long id = at < 0 ? -1 : mount_id(at);

	while (at >= 0) {
		struct stat here, above;
		const int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			break;
		const bool last = mount_id(up) != id || fstat(at, &here) || fstat(up, &above) ||
				  (here.st_ino == above.st_ino && here.st_dev == above.st_dev);
		(void)close(last ? up : at); /* nothing was written */
		if (last)
			break;
		at = up;
	}
	return at;
}

enum rc os_remount(int dir, bool writable, bool *whole, struct err *e)
{
	char path[64];
	struct statvfs vfs;
	unsigned long flags = MS_REMOUNT | (writable ? 0 : MS_RDONLY);

	if (refused() || fstatvfs(dir, &vfs))
		return change_failed(e, "remount");
	/* a remount sets all flags: the others stay as they are. The same bits, but for relatime. */
	flags |= vfs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_SYNCHRONOUS | ST_MANDLOCK | ST_NOATIME | ST_NODIRATIME);
	flags |= vfs.f_flag & ST_RELATIME ? MS_RELATIME : 0;
	auto_fd top = top_of_mount(dir);
	if (top < 0)
		return change_failed(e, "find the mount point");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", top); /* fits */
	if (!writable) {
		if (mount(NULL, path, NULL, flags | (*whole ? 0 : MS_BIND), NULL))
			return change_failed(e, "make the file system read-only again");
		return RC_OK;
	}
	*whole = false;
	if (mount(NULL, path, NULL, flags | MS_BIND, NULL) == 0 && fstatvfs(dir, &vfs) == 0 && !(vfs.f_flag & ST_RDONLY))
		return RC_OK;
	*whole = true;
	if (mount(NULL, path, NULL, flags, NULL))
		return change_failed(e, "make the file system writable");
	return RC_OK;
}

enum rc os_syncfs(int fd, struct err *e)
{
	if (refused() || syncfs(fd))
		return change_failed(e, "sync the file system");
	return RC_OK;
}

enum rc os_rename(int dir, const char *name, int new_dir, const char *new_name, struct err *e)
{
	if (refused() || renameat(dir, name, new_dir, new_name))
		return change_failed(e, "rename %s to %s", name, new_name);
	return RC_OK;
}

enum rc os_rename_new(int dir, const char *name, int new_dir, const char *new_name, struct err *e)
{
	struct stat st = {0};

	if (refused())
		return change_failed(e, "rename %s to %s", name, new_name);
	if (syscall(SYS_renameat2, dir, name, new_dir, new_name, 1u /* RENAME_NOREPLACE */) == 0)
		return RC_OK;
	if (errno == EEXIST)
		return RC_END;
	if (errno != EINVAL && errno != ENOSYS)
		return change_failed(e, "rename %s to %s", name, new_name);
	/* a file system without the flag: nobody else writes here, we hold the lock */
	if (fstatat(new_dir, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return RC_END;
	return os_rename(dir, name, new_dir, new_name, e);
}

enum rc os_unlink(int dir, const char *name, struct err *e)
{
	if (refused() || unlinkat(dir, name, 0))
		return errno == ENOENT ? RC_END : change_failed(e, "remove %s", name);
	return RC_OK;
}

enum rc os_rmdir(int dir, const char *name, struct err *e)
{
	if (refused() || unlinkat(dir, name, AT_REMOVEDIR))
		return errno == ENOENT ? RC_END : change_failed(e, "remove directory %s", name);
	return RC_OK;
}

enum rc os_link(int dir, const char *name, int new_dir, const char *new_name, struct err *e)
{
	if (refused() || linkat(dir, name, new_dir, new_name, 0))
		return errno == EEXIST ? RC_END : change_failed(e, "link %s to %s", new_name, name);
	return RC_OK;
}

enum rc os_symlink(const char *target, int dir, const char *name, struct err *e)
{
	if (refused() || symlinkat(target, dir, name))
		return errno == EEXIST ? RC_END : change_failed(e, "make symbolic link %s", name);
	return RC_OK;
}

enum rc os_mknod(int dir, const char *name, mode_t mode, dev_t rdev, struct err *e)
{
	if (refused() || mknodat(dir, name, mode, rdev))
		return errno == EEXIST ? RC_END : change_failed(e, "make node %s", name);
	return RC_OK;
}

enum rc os_chown(int dir, const char *name, uid_t uid, gid_t gid, struct err *e)
{
	if (refused() || fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW))
		return change_failed(e, "change the owner of %s", name);
	return RC_OK;
}

enum rc os_chmod(int dir, const char *name, mode_t mode, struct err *e)
{
	/* fchmodat follows links; the caller's name is an inode of ours, and a link is refused */
	struct stat st = {0};

	if (refused() || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return change_failed(e, "change the mode of %s", name);
	if (S_ISLNK(st.st_mode))
		errno = ELOOP;
	if (S_ISLNK(st.st_mode) || fchmodat(dir, name, mode, 0))
		return change_failed(e, "change the mode of %s", name);
	return RC_OK;
}

enum rc os_set_times(int dir, const char *name, struct timespec atime, struct timespec mtime, struct err *e)
{
	const struct timespec times[2] = {atime, mtime};

	if (refused() || utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW))
		return change_failed(e, "set the times of %s", name);
	return RC_OK;
}

enum rc os_xattr_set(int dir, const char *name, const char *xattr, const void *value, size_t n, struct err *e)
{
	char path[LIMIT_NAME_BYTES + 64];

	if (!through_proc(path, sizeof(path), dir, name))
		return fail(e, RC_LIMIT, "name too long");
	if (!refused() && lsetxattr(path, xattr, value, n, 0) == 0)
		return RC_OK;
	/* ext4: an inode and one block are all the room that attributes have, however empty the disk is; a full one fails the next
	 * write */
	if (errno == ENOSPC || errno == EDQUOT)
		return fail(e, RC_IO, "no room on the disk, or in the inode, for attribute %s of %s", xattr, name);
	return change_failed(e, "set attribute %s of %s", xattr, name);
}

enum rc os_set_locked_flags(int dir, const char *name, unsigned flags, struct err *e)
{
	auto_fd fd = -1;
	int all = 0;
	const enum rc rc = open_for_flags(dir, name, &fd, e);

	if (rc)
		return rc;
	if (fd < 0)
		return fail(e, RC_IO, "%s has no flags", name);
	if (refused() || syscall(SYS_ioctl, fd, (unsigned long)FS_IOC_GETFLAGS, &all))
		return change_failed(e, "change the flags of %s", name);
	all = (int)(((unsigned)all & ~OS_FLAGS_LOCKED) | (flags & OS_FLAGS_LOCKED));
	return syscall(SYS_ioctl, fd, (unsigned long)FS_IOC_SETFLAGS, &all) ? change_failed(e, "change the flags of %s", name) : RC_OK;
}

enum rc os_xattr_remove(int dir, const char *name, const char *xattr, struct err *e)
{
	char path[LIMIT_NAME_BYTES + 64];

	if (!through_proc(path, sizeof(path), dir, name))
		return fail(e, RC_LIMIT, "name too long");
	if (refused() || lremovexattr(path, xattr))
		return errno == ENODATA && !forbidden ? RC_END : change_failed(e, "remove attribute %s of %s", xattr, name);
	return RC_OK;
}
