/* SPDX-License-Identifier: MIT */
/* The machine: clocks, mounts, notes to systemd and to the kernel's log. */
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
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "ground/os_linux.h"

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
		(void)print_to(out, cap, "fsid:%016llx", (unsigned long long)id); /* fits */
		return RC_OK;
	}
	(void)print_to(out, cap, "-"); /* fits */
	/* C libraries do not agree on the type of a request */
	if (syscall(SYS_ioctl, dir, (unsigned long)FS_UUID_IOCTL, &uuid) || uuid.length == 0 || uuid.length > sizeof(uuid.bytes))
		return RC_OK;
	int n = print_to(out, cap, "uuid:");
	for (unsigned i = 0; i < uuid.length; i++)
		n += print_to(out + n, cap - (size_t)n, "%02x", uuid.bytes[i]); /* 37 bytes of JOURNAL_FS_BYTES */
	return RC_OK;
}

/* Where a descriptor that was opened for it leads; which it takes. */
static enum rc path_of(int fd, char *out)
{
	char link[64];

	(void)print_to(link, sizeof(link), "/proc/self/fd/%d", fd); /* fits */
	const ssize_t n = readlinkat(AT_FDCWD, link, out, LIMIT_PATH_BYTES - 1);
	const int why = errno;
	(void)close(fd); /* nothing was written */
	errno = why;
	if (n <= 0)
		return RC_IO;
	out[n] = 0;
	return RC_OK;
}

enum rc os_resolve(const char *path, char *out, struct err *e)
{
	const int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? RC_END : fail(e, RC_IO, "open %s", path);
	if (path_of(fd, out) == RC_OK)
		return RC_OK;
	if (errno != ENOENT || strlen(path) >= LIMIT_PATH_BYTES)
		return fail(e, RC_IO, "resolve %s", path);
	(void)print_to(out, LIMIT_PATH_BYTES, "%s", path); /* no /proc here: fits */
	return RC_OK;
}

enum rc os_resolve_in(const char *sysroot, const char *path, char *out, struct err *e)
{
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
			(void)print_to(whole, sizeof(whole), "%s%s%s", sysroot, *path == '/' ? "" : "/", path);
			const size_t n = strlen(sysroot);
			return os_resolve(whole, out, NULL) == RC_OK && strncmp(out, sysroot, n) == 0 && out[n] == '/' ? RC_OK : RC_END;
		}
		errno = why;
		return why == ENOENT || why == ENOTDIR ? RC_END : fail(e, RC_IO, "open %s in %s", path, sysroot);
	}
	return path_of(fd, out) ? fail(e, RC_IO, "resolve %s in %s (is /proc mounted?)", path, sysroot) : RC_OK;
}

bool os_exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static void send_to(const char *where, const char *text)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const size_t n = where ? strlen(where) : 0;

	if (n < 2 || n > sizeof(to.sun_path) || (*where != '/' && *where != '@'))
		return;
	memcpy(to.sun_path, where, n);
	if (*where == '@')
		to.sun_path[0] = 0; /* systemd's way to write an abstract name */
	const int fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)); /* nobody listens: nobody is told */
	(void)close(fd);
}

void os_notify(const char *text)
{
	send_to(getenv("NOTIFY_SOCKET"), text);
}

void os_journal(const char *text)
{
	send_to("/run/systemd/journal/socket", text);
}

unsigned os_terminal_width(int fd)
{
	struct winsize size = {0};

	return ioctl(fd, TIOCGWINSZ, &size) ? 0 : size.ws_col ? size.ws_col : 80;
}

bool os_put(int fd, const void *text, size_t n)
{
	/* a reader that waits must not keep a signal waiting: what it interrupts is not written */
	for (const char *at = text; n;) {
		const ssize_t step = write(fd, at, n);
		if (step <= 0)
			return false;
		at += step;
		n -= (size_t)step;
	}
	return true;
}

void os_kernel_log(int priority, const char *line)
{
	char text[900]; /* one record of the kernel's log is less than 1 KiB */
	const int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return;
	const int n = print_to(text, sizeof(text), "<%d>containerd-fsck: %s", priority, line);
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
	(void)print_to(path, sizeof(path), "/proc/self/fd/%d/%.*s", dir, LIMIT_NAME_BYTES, name); /* fits */
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

void os_begin_again(char *const *argv)
{
	(void)execv("/proc/self/exe", argv);
}

void os_give_way(void)
{
	(void)setpriority(PRIO_PROCESS, 0, 19);
	(void)syscall(SYS_ioprio_set, 1L, 0L, 3L << 13); /* IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE */
}

enum rc os_lock(int fd, struct err *e)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return RC_OK;
	return errno == EWOULDBLOCK ? RC_END : fail(e, RC_IO, "lock");
}

bool os_is_read_only(int dir)
{
	struct statfs fs;
	return fstatfs(dir, &fs) == 0 && ((unsigned long)fs.f_flags & ST_RDONLY);
}

enum rc os_free(int dir, uint64_t *bytes, uint64_t *inodes, struct err *e)
{
	struct statfs fs;

	if (fstatfs(dir, &fs))
		return fail(e, RC_IO, "ask for free space");
	*bytes = (uint64_t)fs.f_bfree * (uint64_t)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
	*inodes = fs.f_files ? fs.f_ffree : UINT64_MAX; /* btrfs has no inode table and says 0 of 0 */
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

atomic_bool forbidden, any_failed;
