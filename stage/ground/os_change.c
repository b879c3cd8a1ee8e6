/* SPDX-License-Identifier: MIT */
/* The only calls that change a disk. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
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
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "ground/os_linux.h"
#include "ground/os_write.h"

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

bool refused(void)
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

	(void)print_to(path, sizeof(path), "/proc/self/fdinfo/%d", fd); /* fits */
	const int info = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (info >= 0)
		(void)close(info); /* opened for reading */
	if (n <= 0)
		return -1;
	text[n] = 0;
	found = text_find(text, "mnt_id:");
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
	struct statfs fs;
	unsigned long flags = MS_REMOUNT | (writable ? 0 : MS_RDONLY);

	if (refused() || fstatfs(dir, &fs))
		return change_failed(e, "remount");
	/* a remount sets all flags: the others stay as they are. The same bits, but for relatime. */
	const unsigned long now = (unsigned long)fs.f_flags;
	flags |= now & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_SYNCHRONOUS | ST_MANDLOCK | ST_NOATIME | ST_NODIRATIME);
	flags |= now & ST_RELATIME ? MS_RELATIME : 0;
	auto_fd top = top_of_mount(dir);
	if (top < 0)
		return change_failed(e, "find the mount point");
	(void)print_to(path, sizeof(path), "/proc/self/fd/%d", top); /* fits */
	if (!writable) {
		if (mount(NULL, path, NULL, flags | (*whole ? 0 : MS_BIND), NULL))
			return change_failed(e, "make the file system read-only again");
		return RC_OK;
	}
	*whole = false;
	if (mount(NULL, path, NULL, flags | MS_BIND, NULL) == 0 && fstatfs(dir, &fs) == 0 && !((unsigned long)fs.f_flags & ST_RDONLY))
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
	if (S_ISLNK(st.st_mode) || syscall(SYS_fchmodat, dir, name, mode))
		return change_failed(e, "change the mode of %s", name);
	return RC_OK;
}

/* The kernel's calls are given libc's structs: those of machines whose words and times have 64 bits, as all that this is built for. */
_Static_assert(sizeof(long) == 8 && sizeof(struct timespec) == 16, "see os_threads.c too");

enum rc os_set_times(int dir, const char *name, struct timespec atime, struct timespec mtime, struct err *e)
{
	const struct timespec times[2] = {atime, mtime};

	if (refused() || syscall(SYS_utimensat, dir, name, times, AT_SYMLINK_NOFOLLOW))
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
