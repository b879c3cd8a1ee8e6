/* SPDX-License-Identifier: MIT */
/* Every function of os_write.h, wrapped (-Wl,--wrap): counts the calls that change a disk, and at one of them dies or fails.
 *
 *   FAULT=die:N     ends the process in place of call N
 *   FAULT=after:N   ends it when call N was made
 *   FAULT=torn:N    call N writes the first half of its bytes, then the process ends
 *   FAULT=fail:N:E  call N fails with E, which is the name of an errno: the system call that it makes answers so, and what os_change.c
 *                   does about that is under test as well
 *   FAULT=memory:N  the system has no memory when it is asked for the Nth time, and has some again after that
 *   FAULT=starved:N it has none from then on
 *   FAULT_TICK_NS=N each look at the clock takes so long
 *   FAULT_AT=TEXT   the process is killed (SIGKILL) as soon as it says that it is at what has TEXT in its name (stage/memory/at.h)
 *   FAULT_LOG=FILE  a line for each call: its number, its name, the inodes of the directory, of the file and of the new
 *                   directory (0: none), and what it was about
 *   FAULT_MEMORY_LOG=FILE  a line for each time that memory is asked for: "given" or "refused"
 *
 * A process that was ended so exits with 99. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/os_write.h"

#define DEAD 99

static struct {
	enum fault_kind { FAULT_NONE, FAULT_DIE, FAULT_AFTER, FAULT_TORN, FAULT_FAIL, FAULT_MEMORY, FAULT_STARVED } kind;
	unsigned long at, calls; /* at: of those that change a disk */
	unsigned long memory_at;
	atomic_ulong memory;     /* asked for by any thread */
	int error;
	FILE *log, *memory_log;
} fault;

static void read_environment(void)
{
	static const char *const words[] = {[FAULT_DIE] = "die:", [FAULT_AFTER] = "after:", [FAULT_TORN] = "torn:",
		[FAULT_FAIL] = "fail:", [FAULT_MEMORY] = "memory:", [FAULT_STARVED] = "starved:"};
	const char *const spec = getenv("FAULT"), *const log = getenv("FAULT_LOG"), *const memory = getenv("FAULT_MEMORY_LOG");

	for (int kind = FAULT_DIE; spec && kind <= FAULT_STARVED; kind++) {
		if (strncmp(spec, words[kind], strlen(words[kind])) != 0)
			continue;
		char *end = NULL;
		*(kind >= FAULT_MEMORY ? &fault.memory_at : &fault.at) = strtoul(spec + strlen(words[kind]), &end, 10);
		fault.kind = (enum fault_kind)kind;
		static const struct {
			const char *name;
			int error;
		} errors[] = {{":ENOSPC", ENOSPC}, {":EROFS", EROFS}, {":EPERM", EPERM}, {":EBUSY", EBUSY}, {":EXDEV", EXDEV}};
		fault.error = EIO;
		for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
			if (strcmp(end, errors[i].name) == 0)
				fault.error = errors[i].error;
	}
	fault.log = log ? fopen(log, "we") : NULL;
	fault.memory_log = memory ? fopen(memory, "we") : NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned long long inode_of(int dir, const char *name)
{
	struct stat st;

	if (dir < 0 || (name ? fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(dir, &st)))
		return 0;
	return st.st_ino;
}

/* What system calls that change something answer in this thread; 0: what they are asked. */
static _Thread_local int answer;

/* Before a call, which is to be made in any case. A call on an open file has it in dir, and no name. */
static void begin(const char *what, int dir, const char *name, int new_dir, const char *about)
{
	(void)pthread_once(&once, read_environment);
	fault.calls++;
	if (fault.log) {
		(void)fprintf(fault.log, "%lu %s %llu %llu %llu %s\n", fault.calls, what, name ? inode_of(dir, NULL) : 0,
			inode_of(dir, name), inode_of(new_dir, NULL), about);
		(void)fflush(fault.log);
	}
	if (fault.calls != fault.at)
		return;
	if (fault.kind == FAULT_DIE || (fault.kind == FAULT_TORN && strcmp(what, "os_write") != 0))
		_exit(DEAD);
	answer = fault.kind == FAULT_FAIL ? fault.error : 0;
}

static enum rc end(enum rc rc)
{
	answer = 0;
	if (fault.calls == fault.at && fault.kind == FAULT_AFTER)
		_exit(DEAD);
	return rc;
}

#define WRAP(call, in, file, to, about, parameters, arguments)         \
	enum rc __real_os_##call parameters;                          \
	enum rc __wrap_os_##call parameters;                          \
	enum rc __wrap_os_##call parameters                           \
	{                                                             \
		begin("os_" #call, in, file, to, about);              \
		return end(__real_os_##call arguments);               \
	}

WRAP(mkdir, dir, name, -1, name,
	(int dir, const char *name, mode_t mode, struct err *e),
	(dir, name, mode, e))
WRAP(create, dir, name, -1, name,
	(int dir, const char *name, mode_t mode, int *fd, struct err *e),
	(dir, name, mode, fd, e))
WRAP(open_write, dir, name, -1, name,
	(int dir, const char *name, int *fd, struct err *e),
	(dir, name, fd, e))
WRAP(truncate, fd, NULL, -1, "",
	(int fd, uint64_t size, struct err *e),
	(fd, size, e))
WRAP(fsync, fd, NULL, -1, "",
	(int fd, struct err *e),
	(fd, e))
WRAP(syncfs, fd, NULL, -1, "",
	(int fd, struct err *e),
	(fd, e))
WRAP(remount, dir, NULL, -1, "",
	(int dir, bool writable, bool *whole, struct err *e),
	(dir, writable, whole, e))
WRAP(rename, dir, name, new_dir, new_name,
	(int dir, const char *name, int new_dir, const char *new_name, struct err *e),
	(dir, name, new_dir, new_name, e))
WRAP(rename_new, dir, name, new_dir, new_name,
	(int dir, const char *name, int new_dir, const char *new_name, struct err *e),
	(dir, name, new_dir, new_name, e))
WRAP(unlink, dir, name, -1, name,
	(int dir, const char *name, struct err *e),
	(dir, name, e))
WRAP(rmdir, dir, name, -1, name,
	(int dir, const char *name, struct err *e),
	(dir, name, e))
WRAP(link, dir, name, new_dir, new_name,
	(int dir, const char *name, int new_dir, const char *new_name, struct err *e),
	(dir, name, new_dir, new_name, e))
WRAP(symlink, dir, name, -1, name,
	(const char *target, int dir, const char *name, struct err *e),
	(target, dir, name, e))
WRAP(mknod, dir, name, -1, name,
	(int dir, const char *name, mode_t mode, dev_t rdev, struct err *e),
	(dir, name, mode, rdev, e))
WRAP(chown, dir, name, -1, name,
	(int dir, const char *name, uid_t uid, gid_t gid, struct err *e),
	(dir, name, uid, gid, e))
WRAP(chmod, dir, name, -1, name,
	(int dir, const char *name, mode_t mode, struct err *e),
	(dir, name, mode, e))
WRAP(set_times, dir, name, -1, name,
	(int dir, const char *name, struct timespec atime, struct timespec mtime, struct err *e),
	(dir, name, atime, mtime, e))
WRAP(xattr_set, dir, name, -1, name,
	(int dir, const char *name, const char *xattr, const void *value, size_t n, struct err *e),
	(dir, name, xattr, value, n, e))
WRAP(set_locked_flags, dir, name, -1, name, (int dir, const char *name, unsigned flags, struct err *e), (dir, name, flags, e))
WRAP(xattr_remove, dir, name, -1, name,
	(int dir, const char *name, const char *xattr, struct err *e),
	(dir, name, xattr, e))

enum rc __real_os_write(int fd, uint64_t off, const void *buf, size_t n, struct err *e);
enum rc __wrap_os_write(int fd, uint64_t off, const void *buf, size_t n, struct err *e);
enum rc __wrap_os_write(int fd, uint64_t off, const void *buf, size_t n, struct err *e)
{
	begin("os_write", fd, NULL, -1, "");
	if (fault.calls == fault.at && fault.kind == FAULT_TORN) {
		(void)__real_os_write(fd, off, buf, n / 2, e); /* dies at once */
		_exit(DEAD);
	}
	return end(__real_os_write(fd, off, buf, n, e));
}

/* The system calls that they make. */
#define ANSWER(call, parameters, arguments)         \
	int __real_##call parameters;                \
	int __wrap_##call parameters;                \
	int __wrap_##call parameters                 \
	{                                            \
		if (answer) {                        \
			errno = answer;              \
			return -1;                   \
		}                                    \
		return __real_##call arguments;      \
	}

ANSWER(mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))
ANSWER(openat, (int dir, const char *name, int flags, mode_t mode), (dir, name, flags, mode))
ANSWER(ftruncate, (int fd, off_t size), (fd, size))
ANSWER(fsync, (int fd), (fd))
ANSWER(syncfs, (int fd), (fd))
ANSWER(mount, (const char *from, const char *to, const char *type, unsigned long flags, const void *more),
	(from, to, type, flags, more))
ANSWER(renameat, (int dir, const char *name, int to, const char *new_name), (dir, name, to, new_name))
ANSWER(unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
ANSWER(linkat, (int dir, const char *name, int to, const char *new_name, int flags), (dir, name, to, new_name, flags))
ANSWER(symlinkat, (const char *target, int dir, const char *name), (target, dir, name))
ANSWER(mknodat, (int dir, const char *name, mode_t mode, dev_t device), (dir, name, mode, device))
ANSWER(fchownat, (int dir, const char *name, uid_t uid, gid_t gid, int flags), (dir, name, uid, gid, flags))
ANSWER(lsetxattr, (const char *path, const char *name, const void *value, size_t n, int flags), (path, name, value, n, flags))
ANSWER(lremovexattr, (const char *path, const char *name), (path, name))

ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	if (!answer)
		return __real_pwrite(fd, buf, n, at);
	errno = answer;
	return -1;
}

/* Of those that go by it these change something, or open what will be changed. */
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (!answer || (number != SYS_openat2 && number != SYS_renameat2 && number != SYS_fchmodat && number != SYS_utimensat &&
			       number != SYS_ioctl))
		return __real_syscall(number, a, b, c, d, e, f);
	errno = answer;
	return -1;
}

static bool memory_is_refused(void)
{
	(void)pthread_once(&once, read_environment);
	const unsigned long n = atomic_fetch_add(&fault.memory, 1) + 1;
	const bool none = n == fault.memory_at || (fault.kind == FAULT_STARVED && n > fault.memory_at);
	if (fault.memory_log) {
		(void)fprintf(fault.memory_log, "%s\n", none ? "refused" : "given");
		(void)fflush(fault.memory_log);
	}
	if (none)
		errno = ENOMEM;
	return none;
}

void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t off)
{
	return memory_is_refused() ? MAP_FAILED : __real_mmap(at, n, protection, flags, fd, off);
}

int __real_mprotect(void *at, size_t n, int protection);
int __wrap_mprotect(void *at, size_t n, int protection);
int __wrap_mprotect(void *at, size_t n, int protection)
{
	return memory_is_refused() ? -1 : __real_mprotect(at, n, protection);
}

void __real_os_note(int fd, uint64_t off, const void *buf, size_t n);
void __wrap_os_note(int fd, uint64_t off, const void *buf, size_t n);
void __wrap_os_note(int fd, uint64_t off, const void *buf, size_t n)
{
	const char *const text = getenv("FAULT_AT");

	__real_os_note(fd, off, buf, n);
	if (text && memmem(buf, n, text, strlen(text)))
		(void)raise(SIGKILL); /* there is no return */
}

/* A clock that can be told how fast to go, so that a test needs no time. */
uint64_t __real_os_clock_ns(void);
uint64_t __wrap_os_clock_ns(void);
uint64_t __wrap_os_clock_ns(void)
{
	static uint64_t ticks;
	const char *const step = getenv("FAULT_TICK_NS");

	return step ? ticks += strtoull(step, NULL, 10) : __real_os_clock_ns();
}
