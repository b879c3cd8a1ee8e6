/* SPDX-License-Identifier: MIT */
/* Large files, read ahead; and many small ones at once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
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

/* The kernel's queue of this thread (io_setup(2): older than openat2, and nothing to map), for all its readers. To give one back
 * waits for a grace period of the kernel: they are kept for the next thread, and end with the process. */
static _Thread_local aio_context_t queue;

static _Atomic(aio_context_t) spare_queues[LIMIT_THREADS + 1];

#define QUEUE_EVENTS 128
#define SEND_MAX 32 /* at a time */
#define REQUEST_BYTES ((size_t)256 << 10) /* at least, if there is room for more than one */

/* F_GETFL, F_SETFL. libc's fcntl is 400 bytes, for what else there is. */
static int file_flags(int fd, int what, int flags)
{
	return (int)syscall(SYS_fcntl, fd, what, flags);
}

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

#define XFS_MAGIC 0x58465342

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
	const int flags = file_flags(fd, F_GETFL, 0);
	r->direct = flags >= 0 && file_flags(fd, F_SETFL, flags | O_DIRECT) == 0;
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

static atomic_uint_least64_t bytes_read;

uint64_t os_bytes_read(void)
{
	return bytes_read;
}

enum rc os_reader_next(struct os_reader *r, struct span *piece, struct err *e)
{
	if (r->off >= r->size)
		return RC_END;
	if (r->piece && have_queue() && next_ahead(r, piece) == RC_OK) {
		bytes_read += piece->left;
		return RC_OK;
	}
	for (;;) {
		const ssize_t got = pread(r->fd, r->buf, r->cap, (off_t)r->off);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EINVAL && r->direct) {
			const int flags = file_flags(r->fd, F_GETFL, 0);
			r->direct = false;
			r->piece = 0;
			if (flags < 0 || file_flags(r->fd, F_SETFL, flags & ~O_DIRECT))
				return fail(e, RC_IO, "leave direct reading");
			(void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
			continue;
		}
		if (got < 0)
			return fail(e, RC_IO, "read at byte %llu", (unsigned long long)r->off);
		if (got == 0)
			return RC_END; /* became shorter: the digest will tell */
		r->off += (uint64_t)got;
		bytes_read += (uint64_t)got;
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

	bytes_read += s->size;
	os_small_drop(s);
	if (sent && s->request.got >= 0 && (uint64_t)s->request.got >= s->size) {
		*got = s->size;
		return RC_OK;
	}
	const int flags = file_flags(s->fd, F_GETFL, 0);
	if (flags < 0 || (flags & O_DIRECT && file_flags(s->fd, F_SETFL, flags & ~O_DIRECT)))
		return fail(e, RC_IO, "leave direct reading");
	if (sent)
		(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED); /* only a hint */
	return os_read(s->fd, 0, s->buf, s->size, got, e);
}
