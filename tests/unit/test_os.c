/* SPDX-License-Identifier: MIT */
/* os_reader and os_small on real files: what comes is what is there, whatever the kernel makes of the requests sent ahead. */
#include "ground/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "test.h"

static char path[4096];
static uint8_t *content;
#define MOST ((size_t)5 << 20)
static bool queues; /* this kernel has them; qemu-user has not */

/* ---- the kernel, and its moods ---- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static struct {
	int setup, submit, events;             /* errno of these calls; 0: none */
	unsigned accept;                       /* requests at a time; 0: all */
	unsigned refuse;                       /* this one, counted from 1, and those after it only then */
	unsigned spoilt;                       /* this completion, counted from 1, is told as ... */
	int64_t as;                            /* this; 1: half of it */
	unsigned submitted, completed, asked;  /* asked: calls of io_getevents */
	unsigned submissions;                  /* calls of io_submit */
} kernel;

long __wrap_syscall(long number, ...)
{
	long a[5]; /* none that is wrapped has more */
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 5; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	kernel.submissions += number == SYS_io_submit;
	if ((number == SYS_io_setup && (errno = kernel.setup)) || (number == SYS_io_submit && (errno = kernel.submit)))
		return -1;
	if (number == SYS_io_submit && kernel.accept && a[1] > (long)kernel.accept)
		a[1] = (long)kernel.accept;
	if (number == SYS_io_submit && kernel.refuse && kernel.refuse <= a[1]) {
		a[1] = (long)kernel.refuse - 1;
		kernel.refuse = 0;
		if (!a[1]) {
			errno = EINVAL;
			return -1;
		}
		kernel.refuse = 1;
	} else if (number == SYS_io_submit && kernel.refuse) {
		kernel.refuse -= (unsigned)a[1];
	}
	if (number == SYS_io_getevents && kernel.asked++ == 0 && (errno = kernel.events))
		return -1;
	const long got = __real_syscall(number, a[0], a[1], a[2], a[3], a[4]);
	if (number == SYS_io_submit && got > 0)
		kernel.submitted += (unsigned)got;
	struct io_event *const events = number == SYS_io_getevents ? (struct io_event *)a[3] : NULL;
	for (long i = 0; events && i < got; i++)
		if (++kernel.completed == kernel.spoilt)
			events[i].res = kernel.as == 1 ? events[i].res / 2 : kernel.as;
	return got;
}

/* ---- reading ---- */

static int file_of(size_t size)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;

	CHECK(fd >= 0);
	while (done < size) {
		const ssize_t n = write(fd, content + done, size - done);
		CHECK(n > 0);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	CHECK(fsync(fd) == 0);
	return fd;
}

static uint8_t *buffer(size_t cap)
{
	uint8_t *const at = aligned_alloc(4096, cap);

	memset(at, 0, cap);
	return at;
}

/* RC_END when all of it came, byte by byte. settle: after so many pieces, as when another thread goes on; 0: never. */
static enum rc reads_fd(int fd, size_t size, size_t cap, unsigned settle)
{
	struct os_reader r = {0};
	struct span piece = {0};
	struct err e = {0};
	uint8_t *const buf = buffer(cap);
	size_t done = 0;
	enum rc rc;

	CHECK(os_reader_open(&r, fd, buf, cap, &e) == RC_OK);
	while ((rc = os_reader_next(&r, &piece, &e)) == RC_OK) {
		CHECK(piece.left > 0 && piece.left <= cap && done + piece.left <= size);
		CHECK(done + piece.left <= size && memcmp(piece.at, content + done, piece.left) == 0);
		done += piece.left;
		if (settle && --settle == 0)
			os_reader_settle(&r);
	}
	CHECK(rc != RC_END || done == size);
	CHECK(os_reader_next(&r, &piece, &e) == rc);
	os_reader_settle(&r);
	os_reader_settle(&r);
	CHECK(r.flying == 0);
	free(buf);
	return rc;
}

static enum rc reads(size_t size, size_t cap)
{
	const int fd = file_of(size);
	const enum rc rc = reads_fd(fd, size, cap, 0);

	(void)close(fd);
	return rc;
}

static void every_byte_comes_in_order(void)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 65535, 65536, 65537, 131072, 262143, 262144, 262145, 1048575, 1048576, 1048577,
		3 << 20, (3 << 20) + 5, (4 << 20) + 262144};
	static const size_t caps[] = {4096, 8192, 16384, 20480, 69632, 307200, 606208, OS_READER_BYTES, 2560000, 4 << 20};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t k = 0; k < sizeof(caps) / sizeof(*caps); k++)
			CHECK(reads(sizes[i], caps[k]) == RC_END);
	CHECK(!queues || (kernel.submitted > 100 && kernel.completed == kernel.submitted));
}

static void the_kernel_may_take_some_or_none(void)
{
	for (unsigned accept = 1; accept <= 3; accept++) {
		kernel.accept = accept;
		CHECK(reads((4 << 20) + 17, OS_READER_BYTES) == RC_END);
	}
	kernel.accept = 0;
	kernel.submit = EAGAIN;
	kernel.submitted = 0;
	CHECK(reads((4 << 20) + 17, OS_READER_BYTES) == RC_END && kernel.submitted == 0);
	kernel.submit = 0;
}

static void what_follows_a_refusal_comes_ahead(void)
{
	kernel.refuse = 1;
	kernel.submitted = 0;
	CHECK(reads(MOST, OS_READER_BYTES) == RC_END && kernel.refuse == 0);
	CHECK(kernel.submitted >= (MOST - OS_READER_BYTES) / (256 << 10));
}

static void a_signal_does_not_matter(void)
{
	kernel.events = EINTR;
	kernel.asked = 0;
	CHECK(reads((4 << 20) + 17, OS_READER_BYTES) == RC_END && kernel.asked > 1);
	kernel.events = 0;
}

/* What came back otherwise than asked is read again, in the plain way, which says what is the matter. */
static void a_request_that_fails_is_no_verdict(void)
{
	static const int64_t as[] = {-EIO, -EINVAL, 0, 1};

	for (size_t i = 0; i < sizeof(as) / sizeof(*as); i++)
		for (unsigned n = 1; n <= 17; n++) {
			kernel.completed = 0;
			kernel.spoilt = n;
			kernel.as = as[i];
			CHECK(reads((4 << 20) + 17, OS_READER_BYTES) == RC_END && kernel.completed >= n);
		}
	kernel.spoilt = 0;
}

static void *small_alone(void *self);

static void *read_alone(void *self)
{
	CHECK(reads((4 << 20) + 17, OS_READER_BYTES) == RC_END);
	return self;
}

/* Another thread, for this one has its queue. The last test: after a refusal no other is asked for. */
static void in_a_kernel_without_a_queue(void)
{
	pthread_t other;

	kernel.setup = ENOSYS;
	kernel.submitted = 0;
	CHECK(pthread_create(&other, NULL, read_alone, NULL) == 0 && pthread_join(other, NULL) == 0);
	CHECK(pthread_create(&other, NULL, small_alone, NULL) == 0 && pthread_join(other, NULL) == 0);
	CHECK(kernel.submitted == 0);
}

static void two_at_once_do_not_mix(void)
{
	const int fd = file_of(MOST);
	struct os_reader r[2] = {{0}, {0}};
	uint8_t *const bufs[2] = {buffer(OS_READER_BYTES), buffer(OS_READER_BYTES)};
	const int other = open(path, O_RDONLY | O_CLOEXEC);
	size_t done[2] = {0};
	struct span piece = {0};
	struct err e = {0};

	CHECK(os_reader_open(&r[0], fd, bufs[0], OS_READER_BYTES, &e) == RC_OK);
	CHECK(os_reader_open(&r[1], other, bufs[1], OS_READER_BYTES, &e) == RC_OK);
	for (unsigned turn = 0; done[0] < MOST || done[1] < MOST; turn++) {
		const unsigned k = turn % 3 == 0;
		if (done[k] == MOST)
			continue;
		CHECK(os_reader_next(&r[k], &piece, &e) == RC_OK);
		CHECK(memcmp(piece.at, content + done[k], piece.left) == 0);
		done[k] += piece.left;
	}
	for (unsigned k = 0; k < 2; k++) {
		CHECK(os_reader_next(&r[k], &piece, &e) == RC_END);
		os_reader_settle(&r[k]);
		free(bufs[k]);
	}
	(void)close(other);
	(void)close(fd);
}

#define TOGETHER 10 /* four requests of each: more than go to the kernel at a time */

/* What several readers want is sent for together, and each gets what is its own, taken or refused. */
static void read_together(void)
{
	static struct os_reader r[TOGETHER];
	struct os_reader *list[TOGETHER];
	uint8_t *bufs[TOGETHER];
	int fds[TOGETHER];
	struct span piece = {0};
	struct err e = {0};

	(void)close(file_of(MOST));
	for (unsigned k = 0; k < TOGETHER; k++) {
		bufs[k] = buffer(OS_READER_BYTES);
		fds[k] = open(path, O_RDONLY | O_CLOEXEC);
		list[k] = &r[k];
		CHECK(os_reader_open(&r[k], fds[k], bufs[k], OS_READER_BYTES, &e) == RC_OK);
		r[k].size = MOST - k * 4096;
	}
	const bool willing = queues && !kernel.accept && !kernel.refuse && !kernel.submit;
	kernel.submissions = 0;
	os_reader_ahead(list, TOGETHER);
	CHECK(!willing || kernel.submissions == 2); /* 40 requests, up to 32 a call */
	for (unsigned k = 0; k < TOGETHER; k++) {
		size_t done = 0;
		while (os_reader_next(&r[k], &piece, &e) == RC_OK) {
			CHECK(done + piece.left <= MOST && memcmp(piece.at, content + done, piece.left) == 0);
			done += piece.left;
		}
		CHECK(done >= r[k].size);
		os_reader_settle(&r[k]);
		free(bufs[k]);
		(void)close(fds[k]);
	}
}

static void several_are_sent_for_together(void)
{
	kernel.submitted = kernel.completed = 0;
	read_together();
	CHECK(kernel.completed == kernel.submitted);
	for (unsigned n = 1; n <= TOGETHER * 4; n++) {
		kernel.refuse = n;
		read_together();
		CHECK(!queues || kernel.refuse == 0);
		CHECK(kernel.completed == kernel.submitted);
	}
	kernel.refuse = 0;
	kernel.accept = 3;
	read_together();
	kernel.accept = 0;
	kernel.submit = EAGAIN;
	kernel.submitted = 0;
	read_together();
	CHECK(kernel.submitted == 0);
	kernel.submit = 0;
}

/* The buffer is somebody else's after that, and nothing may arrive in it. */
static void closing_waits_for_what_is_under_way(void)
{
	const int fd = file_of(MOST);
	uint8_t *const buf = buffer(OS_READER_BYTES);

	for (unsigned round = 0; round < 200; round++) {
		struct os_reader r = {0};
		struct span piece = {0};
		struct err e = {0};
		CHECK(os_reader_open(&r, fd, buf, OS_READER_BYTES, &e) == RC_OK);
		for (unsigned n = 0; n <= round % 4; n++)
			CHECK(os_reader_next(&r, &piece, &e) == RC_OK);
		CHECK(r.flying > 0);
		const unsigned completed = kernel.completed, expected = r.flying - r.lent;
		os_reader_settle(&r);
		CHECK(r.flying == 0 && kernel.completed - completed <= expected);
		CHECK(kernel.completed == kernel.submitted);
	}
	free(buf);
	(void)close(fd);
}

static void a_file_that_shrinks_ends(void)
{
	const int fd = file_of(MOST);
	uint8_t *const buf = buffer(OS_READER_BYTES);
	struct os_reader r = {0};
	struct span piece = {0};
	struct err e = {0};
	size_t done = 0;
	enum rc rc;

	CHECK(os_reader_open(&r, fd, buf, OS_READER_BYTES, &e) == RC_OK);
	CHECK(os_reader_next(&r, &piece, &e) == RC_OK);
	done += piece.left;
	CHECK(ftruncate(fd, (off_t)(MOST / 2) + 100) == 0);
	while ((rc = os_reader_next(&r, &piece, &e)) == RC_OK)
		done += piece.left;
	CHECK(rc == RC_END && done >= MOST / 2 && done <= MOST);
	os_reader_settle(&r);
	free(buf);
	(void)close(fd);
}

/* A hole, data (not synced), what is allocated and not written, and a hole with a single byte in it. */
static void holes_are_zeros_and_not_read(void)
{
	static const size_t caps[] = {4096, 20480, OS_READER_BYTES, 4 << 20};
	const size_t data = (1 << 20) + 4096, unwritten = 2 << 20, lone = (4 << 20) + 70000, last = MOST - 100;
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *const kept = content;
	struct statfs fs = {0};
	struct stat st = {0};

	content = calloc(1, MOST);
	CHECK(fd >= 0 && content && fstatfs(fd, &fs) == 0);
	memcpy(content + data, kept + data, 5000);
	content[lone] = 7;
	CHECK(ftruncate(fd, (off_t)last) == 0);
	CHECK(pwrite(fd, content + data, 5000, (off_t)data) == 5000 && pwrite(fd, content + lone, 1, (off_t)lone) == 1);
	CHECK(fallocate(fd, 0, (off_t)unwritten, 1 << 20) == 0 || errno == EOPNOTSUPP);
	CHECK(fstat(fd, &st) == 0);
	const bool sparse = (uint64_t)st.st_blocks < last / 512;
	const bool known = fs.f_type == 0xef53 || fs.f_type == 0x58465342 || (uint32_t)fs.f_type == 0x9123683e;
	for (size_t i = 0; i < sizeof(caps) / sizeof(*caps); i++) {
		kernel.submitted = 0;
		CHECK(reads_fd(fd, last, caps[i], 0) == RC_END);
		/* of twenty pieces two have data, of ten two */
		CHECK(!queues || !sparse || !known || caps[i] < OS_READER_BYTES || (kernel.submitted >= 2 && kernel.submitted <= 8));
	}
	for (unsigned n = 1; n <= 12; n++) {
		CHECK(reads_fd(fd, last, OS_READER_BYTES, n) == RC_END);
		kernel.refuse = n;
		CHECK(reads_fd(fd, last, OS_READER_BYTES, 0) == RC_END);
		kernel.refuse = 0;
	}
	/* data all over but for one block: what was told of that one must not be believed of others */
	CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) == 0); /* which a reader leaves on, and wants aligned memory */
	CHECK(ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)MOST) == 0);
	memcpy(content, kept, MOST);
	memset(content + (4 << 20), 0, 4096);
	CHECK(pwrite(fd, content, 4 << 20, 0) == 4 << 20);
	CHECK(pwrite(fd, content + (4 << 20) + 4096, (1 << 20) - 4096, (4 << 20) + 4096) == (1 << 20) - 4096);
	for (size_t i = 0; i < sizeof(caps) / sizeof(*caps); i++)
		for (unsigned n = 0; n <= 8; n++) {
			CHECK(reads_fd(fd, MOST, caps[i], n) == RC_END);
			kernel.refuse = n;
			CHECK(reads_fd(fd, MOST, caps[i], 0) == RC_END);
			kernel.refuse = 0;
		}
	if (!queues || !sparse || !known)
		printf("skip - %s: holes are not read: not on this file system\n", __FILE__);
	free(content);
	content = kept;
	(void)close(fd);
}

struct begun {
	struct os_reader r;
	size_t done;
};

static void *begin_without(void *self)
{
	struct begun *const b = self;
	struct span piece = {0};
	struct err e = {0};

	CHECK(os_reader_next(&b->r, &piece, &e) == RC_OK && memcmp(piece.at, content, piece.left) == 0);
	b->done = piece.left;
	os_reader_settle(&b->r);
	return NULL;
}

/* Begun by a thread that gets no queue, and gone on with where there is one: from there, not from the beginning. */
static void a_queue_comes_late(void)
{
	const int fd = file_of(MOST);
	uint8_t *const buf = buffer(OS_READER_BYTES);
	struct begun b = {0};
	struct span piece = {0};
	struct err e = {0};
	pthread_t other;

	CHECK(os_reader_open(&b.r, fd, buf, OS_READER_BYTES, &e) == RC_OK);
	kernel.setup = EAGAIN;
	kernel.submitted = 0;
	CHECK(pthread_create(&other, NULL, begin_without, &b) == 0 && pthread_join(other, NULL) == 0);
	CHECK(kernel.submitted == 0 && b.done > 0 && b.done < MOST);
	while (os_reader_next(&b.r, &piece, &e) == RC_OK) {
		CHECK(b.done + piece.left <= MOST && memcmp(piece.at, content + b.done, piece.left) == 0);
		b.done += piece.left;
	}
	CHECK(b.done == MOST && kernel.submitted > 0);
	os_reader_settle(&b.r);
	kernel.setup = 0;
	free(buf);
	(void)close(fd);
}

/* ---- small files together ---- */

#define SMALL_FILES 70 /* more than are sent at a time */

static size_t small_size(unsigned i)
{
	static const size_t sizes[] = {1, 5, 4095, 4096, 4097, 9000, 65535};

	return sizes[i % 7];
}

static void small_name(char name[16], unsigned i)
{
	(void)snprintf(name, 16, "small-%u", i);
}

static int small_files(void)
{
	char name[16], where[sizeof(path) + 8];

	(void)snprintf(where, sizeof(where), "%s.d", path);
	(void)mkdir(where, 0700);
	const int dir = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0);
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		small_name(name, i);
		const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		CHECK(fd >= 0 && write(fd, content + i, small_size(i)) == (ssize_t)small_size(i));
		(void)close(fd); /* not synced: reading from the medium writes it first */
	}
	return dir;
}

/* Sends all of them, and takes those of them that keep says; every seventh is shorter than it was said to be. */
static void small_ones_come(bool (*keep)(unsigned i))
{
	static struct os_small files[SMALL_FILES];
	uint8_t *const room = buffer((size_t)SMALL_FILES * 65536);
	const int dir = small_files();
	struct err e = {0};
	char name[16];

	for (unsigned i = 0; i < SMALL_FILES; i++) {
		files[i] = (struct os_small){.size = small_size(i) + (i % 7 == 5), .buf = room + (size_t)i * 65536};
		small_name(name, i);
		CHECK(os_small_open(dir, name, &files[i].fd, &e) == RC_OK);
	}
	os_small_send(files, SMALL_FILES);
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		size_t got = 0;
		if (keep(i)) {
			CHECK(os_small_take(&files[i], &got, &e) == RC_OK && got == small_size(i));
			CHECK(memcmp(files[i].buf, content + i, got) == 0);
		}
		os_small_drop(&files[i]);
		CHECK(close(files[i].fd) == 0);
		small_name(name, i);
		CHECK(unlinkat(dir, name, 0) == 0);
	}
	(void)close(dir);
	free(room);
}

static bool all(unsigned i)
{
	return i < SMALL_FILES;
}

static bool every_third(unsigned i)
{
	return i % 3 == 0;
}

static void small_files_come_together(void)
{
	kernel.completed = kernel.submitted = 0;
	small_ones_come(all);
	CHECK(!queues || kernel.submitted == SMALL_FILES);
	CHECK(kernel.completed == kernel.submitted);
	small_ones_come(every_third);
	CHECK(kernel.completed == kernel.submitted); /* nothing arrives in a buffer that is somebody else's by now */
}

static void the_kernel_may_take_few_small_files(void)
{
	static const int64_t as[] = {-EIO, -EINVAL, 0, 1};

	for (unsigned accept = 1; accept <= 3; accept++) {
		kernel.accept = accept;
		small_ones_come(all);
	}
	kernel.accept = 0;
	kernel.submit = EAGAIN;
	kernel.submitted = 0;
	small_ones_come(all);
	CHECK(kernel.submitted == 0);
	kernel.submit = 0;
	kernel.events = EINTR;
	kernel.asked = 0;
	small_ones_come(all);
	CHECK(kernel.asked > 1);
	kernel.events = 0;
	for (size_t i = 0; i < sizeof(as) / sizeof(*as); i++)
		for (unsigned n = 1; n <= SMALL_FILES; n += 11) {
			kernel.completed = 0;
			kernel.spoilt = n;
			kernel.as = as[i];
			small_ones_come(all);
			CHECK(kernel.completed >= n);
		}
	kernel.spoilt = 0;
}

static void what_is_no_small_file(void)
{
	const int dir = small_files();
	struct err e = {0};
	int fd = -1;

	CHECK(os_small_open(dir, "none", &fd, &e) == RC_END && fd < 0);
	CHECK(symlinkat("small-1", dir, "link") == 0 && os_small_open(dir, "link", &fd, &e) == RC_CORRUPT && fd < 0);
	CHECK(unlinkat(dir, "link", 0) == 0);
	(void)close(dir);
}

static void *small_alone(void *self)
{
	small_ones_come(all);
	return self;
}

static void what_is_left(void)
{
	char name[sizeof(path) + 32];

	for (unsigned i = 0; i < SMALL_FILES; i++) {
		(void)snprintf(name, sizeof(name), "%s.d/small-%u", path, i);
		(void)unlink(name);
	}
	(void)snprintf(name, sizeof(name), "%s.d", path);
	(void)rmdir(name);
}

int main(int count, char **args)
{
	aio_context_t probe = 0;

	(void)count;
	queues = __real_syscall(SYS_io_setup, 1l, &probe) == 0;
	content = malloc(MOST);
	for (size_t i = 0; i < MOST; i++)
		content[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	(void)snprintf(path, sizeof(path), "%s.file", args[0]);
	RUN(every_byte_comes_in_order);
	RUN(two_at_once_do_not_mix);
	RUN(several_are_sent_for_together);
	RUN(a_file_that_shrinks_ends);
	RUN(holes_are_zeros_and_not_read);
	RUN(small_files_come_together);
	RUN(what_is_no_small_file);
	if (queues) {
		RUN(the_kernel_may_take_some_or_none);
		RUN(what_follows_a_refusal_comes_ahead);
		RUN(a_signal_does_not_matter);
		RUN(a_request_that_fails_is_no_verdict);
		kernel.completed = kernel.submitted = 0;
		RUN(closing_waits_for_what_is_under_way);
		RUN(a_queue_comes_late);
		RUN(the_kernel_may_take_few_small_files);
	} else {
		printf("skip - %s: requests sent ahead: io_setup(2) does not work here\n", __FILE__);
	}
	RUN(in_a_kernel_without_a_queue);
	(void)unlink(path);
	what_is_left();
	free(content);
	return test_failed != 0;
}
