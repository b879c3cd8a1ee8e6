/* SPDX-License-Identifier: MIT */
/* System calls that look. Every name is one component opened beneath a directory descriptor; no symbolic link is ever
 * followed, no FIFO or device ever blocks an open, and nothing here changes a disk. Linux: os_linux.c. */
#ifndef OS_H
#define OS_H

#include <signal.h>
#include <sys/stat.h>

#include "ground/base.h"

/* auto_fd fd = -1; closes itself; take_fd(&fd) hands the descriptor on. */
static inline int take_fd(int *fd)
{
	const int taken = *fd;
	*fd = -1;
	return taken;
}
void os_close(int *fd);
#define auto_fd __attribute__((cleanup(os_close))) int
/* A second descriptor of the same open file. -1: no more can be had. */
int os_dup(int fd);

/* Opens a directory a person or the system named: links in the path are theirs and are followed. RC_END: not there (or
 * not a directory: *e then says so with RC_IO). */
CHECKED enum rc os_open_root(const char *path, int *fd, struct err *e);
/* Opens a directory beneath dir; name is one component, or "." for a second descriptor. RC_END: not there; RC_CORRUPT:
 * there, but no directory (a symbolic link included). Of several components: RC_CORRUPT also where the kernel has no openat2. */
CHECKED enum rc os_open_dir(int dir, const char *name, int *fd, struct err *e);
/* Opens a regular file for reading. dir -1: name is a path that a person named, links in it are theirs. RC_END: not there; RC_CORRUPT:
 * not a regular file. */
CHECKED enum rc os_open_file(int dir, const char *name, int *fd, struct err *e);
/* lstat. RC_END: not there. */
CHECKED enum rc os_stat(int dir, const char *name, struct stat *st, struct err *e);
CHECKED enum rc os_stat_fd(int fd, struct stat *st, struct err *e);
/* Reads up to n bytes at off, short only at the end of the file. */
CHECKED enum rc os_read(int fd, uint64_t off, void *buf, size_t n, size_t *got, struct err *e);
/* A file as a src; borrows fd. Size is that of now. */
CHECKED enum rc os_src(int fd, struct src *s, struct err *e);
/* A whole small file, NUL after the last byte. RC_END: not there; RC_CORRUPT: not a regular file; RC_LIMIT: larger than
 * cap bytes. */
CHECKED enum rc os_read_small(
	int dir, const char *name, size_t cap, struct arena *a, struct span *bytes, struct err *e);
/* A file of /proc, which says size 0, whole; NUL after the last byte. RC_LIMIT: above 16 MiB. */
CHECKED enum rc os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e);
/* Raises the limit of open descriptors as far as allowed and returns it. */
unsigned os_descriptor_limit(void);
/* Target of a symbolic link, at most LIMIT_PATH_BYTES; buf holds one more for the NUL. RC_END: no link is there. */
CHECKED enum rc os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e);

/* Sequential reading from the medium rather than the page cache: O_DIRECT in aligned pieces, some of which the kernel fetches while
 * the caller works on those before; else, and where that may not be what it says, with the cached pages dropped first. Holes are not
 * read where the file system is known to tell them truly. It stays at one address, and with one thread from one os_reader_settle to
 * the next. */
#define OS_READER_REQUESTS 8
struct os_request {
	int64_t got; /* bytes, or -errno */
	bool back, hole; /* hole: not sent, for zeros need no reading */
};
struct os_reader {
	int fd;
	uint64_t off, size;
	bool sparse;
	uint64_t hole, data; /* if sparse: one is from here up to there, as was last told */
	uint8_t *buf;
	size_t cap;
	bool direct;
	/* ahead of the caller: requests [first, first + flying) of a ring of `most`; the caller has the first if `lent` */
	size_t piece; /* bytes of one; 0: none is sent */
	uint64_t asked;
	unsigned most, first, flying;
	bool lent;
	struct os_request requests[OS_READER_REQUESTS];
};
#define OS_READER_BYTES ((size_t)1 << 20)
/* buf: cap bytes, both multiples of a page; borrowed until os_reader_settle. OS_READER_BYTES is what pays where the processor is the
 * limit; for a small file its size is enough, and then its first piece is all of it. Takes no ownership of fd, which must be a
 * regular file. Whoever wants less of it lowers size before the first piece. */
CHECKED enum rc os_reader_open(struct os_reader *r, int fd, uint8_t *buf, size_t cap, struct err *e);
/* The next piece, valid until the next call; RC_END after the last byte. */
CHECKED enum rc os_reader_next(struct os_reader *r, struct span *piece, struct err *e);
/* Steps over a hole at whose beginning the reader is, where the file system tells of holes: how many bytes it was, at most `most`; 0:
 * the next piece tells. The last piece is not valid any more. */
uint64_t os_reader_skip_hole(struct os_reader *r, uint64_t most);
/* Sends for the first pieces, if they can be had ahead, and does not wait for them: together, those of several readers cost less. */
void os_reader_ahead(struct os_reader *const readers[], unsigned count);
/* Waits for what the kernel still writes into buf, and forgets it; the last piece stays valid. After that the buffer may be used
 * for something else, or the reader by another thread. Of a zeroed reader, or twice: nothing. */
void os_reader_settle(struct os_reader *r);
/* At the end of a thread that used readers, all of them settled. */
void os_reader_leave(void);

/* By readers and of small files, by all threads since the program began. */
uint64_t os_bytes_read(void);

/* Small files, read from the medium as well, and together: what lies side by side is one request to the disk. */
struct os_small {
	int fd;
	size_t size;  /* bytes wanted */
	uint8_t *buf; /* room for them, filled up to whole pages, and at the beginning of one; borrowed until os_small_take */
	bool sent;
	struct os_request request;
};
/* Of what was a regular file a moment ago; what is cached of it does not count. RC_END, RC_CORRUPT as os_open_file. */
CHECKED enum rc os_small_open(int dir, const char *name, int *fd, struct err *e);
/* Has the kernel read them; then each stays where it is, and with this thread, until os_small_take or os_small_drop. */
void os_small_send(struct os_small *files, unsigned count);
/* Waits for one, or reads it if it was not sent. got: as os_read. */
CHECKED enum rc os_small_take(struct os_small *s, size_t *got, struct err *e);
/* Waits for one that nobody wants any more. Not sent, or taken: nothing. */
void os_small_drop(struct os_small *s);

/* Names of a directory, "." and ".." left out, in the order of memcmp so that runs can be compared. The array belongs to
 * the arena. type is DT_* or DT_UNKNOWN. names NULL: only whether there is any is asked, and *count is 0 or 1. */
struct os_name {
	const char *name;
	uint64_t inode;
	uint8_t type;
};
CHECKED enum rc os_list(int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e);

/* Extended attributes, none followed through a link. path is "/proc/self/fd/N/name"-free: the calls go through the
 * directory descriptor. List: NUL-separated names in buf; *n 0 where the file system has none. RC_LIMIT: more than
 * LIMIT_XATTR_BYTES. Value: RC_END if the attribute is not there; RC_IO, EPERM: it may be one that this process is not shown. */
CHECKED enum rc os_xattr_list(int dir, const char *name, char *buf, size_t cap, size_t *n, struct err *e);
CHECKED enum rc os_xattr_get(
	int dir, const char *name, const char *xattr, void *buf, size_t cap, size_t *n, struct err *e);

/* Whether an inode may not be changed but by whoever takes the flags away (FS_IMMUTABLE_FL, FS_APPEND_FL of linux/fs.h): those of its
 * flags, 0 where there are none, of what is neither file nor directory too. "." for dir itself. RC_END: not there. */
#define OS_FLAGS_LOCKED 0x30u
CHECKED enum rc os_locked_flags(int dir, const char *name, unsigned *flags, struct err *e);

/* Change time; for equality only. */
static inline int64_t os_ctime_ns(const struct stat *st)
{
	/* a broken inode may have any time: it wraps */
	return (int64_t)((uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec);
}

/* What tells the file system of dir from others, as text without blanks: ext4 and btrfs have an id of their own in statfs
 * (btrfs one for each subvolume), XFS only from Linux 6.18 on (FS_IOC_GETFSUUID; its statfs id follows the device number);
 * "-" where there is none. */
CHECKED enum rc os_fs_identity(int dir, char *out, size_t cap, struct err *e);
/* The real path of path, without links; without /proc, path itself. Out has LIMIT_PATH_BYTES. RC_END: not there. */
CHECKED enum rc os_resolve(const char *path, char *out, struct err *e);
/* The real path of path as seen from inside sysroot: a link's absolute target is taken from there. Out has LIMIT_PATH_BYTES.
 * RC_END: not there. */
CHECKED enum rc os_resolve_in(const char *sysroot, const char *path, char *out, struct err *e);
bool os_exists(const char *path);
/* A datagram for systemd, if it started us (NOTIFY_SOCKET); lost if nobody listens. */
void os_notify(const char *text);
/* The same for systemd's journal, where it runs: lines FIELD=value, a message in all (systemd: systemd.io/JOURNAL_NATIVE_PROTOCOL). */
void os_journal(const char *text);
/* All of it for a console, a pipe or a file, where that stands. False: it could not be written. */
bool os_put(int fd, const void *text, size_t n);
/* Columns of a terminal, 80 where it does not say; 0: it is none. */
unsigned os_terminal_width(int fd);
/* A line for the kernel's log; priority as in syslog. Lost where there is no /dev/kmsg. */
void os_kernel_log(int priority, const char *line);
void os_sleep_ms(unsigned ms);
/* This program once more, with these arguments, in the place of this process. Returns only if it could not. */
void os_begin_again(char *const *argv);
/* Of this thread and those that it begins: processor and disk only when nobody else wants them, as far as the system agrees. */
void os_give_way(void);
/* inotify(7): a descriptor that tells of events; and what it is to watch, a name in a directory or "." for that itself. The same
 * again changes what is watched. RC_END: not there, or gone. */
CHECKED enum rc os_watch_open(int *watch, struct err *e);
CHECKED enum rc os_watch(int watch, int dir, const char *name, uint32_t events, int *id, struct err *e);
void os_unwatch(int watch, int id); /* any number will do */
/* Waits until fd (-1: none) can be read, ms have passed (negative: no limit), or a signal sets *stop. */
void os_wait(int fd, int64_t ms, const volatile sig_atomic_t *stop);
/* What can be read at once from such a descriptor; *got 0: nothing. */
CHECKED enum rc os_read_events(int fd, void *buf, size_t cap, size_t *got, struct err *e);

/* flock(LOCK_EX|LOCK_NB). RC_END: somebody else holds it. */
CHECKED enum rc os_lock(int fd, struct err *e);
bool os_is_read_only(int dir);
/* Whether a rename from one of two directories into the other stays on one mount. Where /proc tells nothing, one file system counts
 * as one mount. */
bool os_same_mount(int a, int b);
/* Free bytes for root and free inodes (UINT64_MAX where the file system does not count them). */
CHECKED enum rc os_free(int dir, uint64_t *bytes, uint64_t *inodes, struct err *e);
/* Nanoseconds of a clock that never goes back; and of the calendar, for labels, and for ages that may be wrong. */
uint64_t os_clock_ns(void);
uint64_t os_calendar_ns(void);
unsigned os_cpu_count(void);
/* This boot's id, 36 characters and a NUL; RC_END if /proc has none. */
CHECKED enum rc os_boot_id(char id[37], struct err *e);

#endif
