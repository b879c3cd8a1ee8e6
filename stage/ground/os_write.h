/* SPDX-License-Identifier: MIT */
/* System calls that change a disk; the only ones in the program. Each does one thing, so that a test can stop or fail the
 * run at each (-Wl,--wrap). A name is one component beneath a directory descriptor; nothing follows a symbolic link.
 * Nothing is durable before os_fsync or os_syncfs says so. After os_write_forbid every call fails with EROFS. */
#ifndef OS_WRITE_H
#define OS_WRITE_H

#include <sys/stat.h>

#include "ground/base.h"

/* For the life of the process: check and show cannot change a disk even by mistake. */
void os_write_forbid(void);

/* Whether the disk refused a change (EIO, ENOSPC, EDQUOT, EROFS) since os_write_begin: then no other should be tried. An attribute that
 * there is no room for is of one inode. Each root has a disk of its own, and begins anew. */
bool os_write_failed(void);
void os_write_begin(void);

/* RC_END: there already. */
CHECKED enum rc os_mkdir(int dir, const char *name, mode_t mode, struct err *e);
/* O_CREAT | O_EXCL, for writing; RC_END: there already. */
CHECKED enum rc os_create(int dir, const char *name, mode_t mode, int *fd, struct err *e);
/* Opens an existing regular file for writing. */
CHECKED enum rc os_open_write(int dir, const char *name, int *fd, struct err *e);
/* Notes: bytes that help if they are there and harm nobody if they are not, so that no failure is told, or counts as one. Nothing of a
 * store is ever written by these. os_note_begin makes the file anew; -1: it could not be made. */
int os_note_begin(int dir, const char *name);
void os_note(int fd, uint64_t off, const void *buf, size_t n);
void os_note_sync(int fd);
void os_note_end(int dir, const char *name);
/* All n bytes at off. */
CHECKED enum rc os_write(int fd, uint64_t off, const void *buf, size_t n, struct err *e);
CHECKED enum rc os_truncate(int fd, uint64_t size, struct err *e);
CHECKED enum rc os_fsync(int fd, struct err *e);
/* Makes the mount that dir is on writable: this view of the file system if that is enough, else the file system; *whole says
 * which. With writable false it undoes what *whole says was done. */
CHECKED enum rc os_remount(int dir, bool writable, bool *whole, struct err *e);
/* Everything written so far on the file system of fd. */
CHECKED enum rc os_syncfs(int fd, struct err *e);
/* Replaces what is at new_name. */
CHECKED enum rc os_rename(int dir, const char *name, int new_dir, const char *new_name, struct err *e);
/* RENAME_NOREPLACE; RC_END: something is at new_name. */
CHECKED enum rc os_rename_new(int dir, const char *name, int new_dir, const char *new_name, struct err *e);
/* RC_END: not there. */
CHECKED enum rc os_unlink(int dir, const char *name, struct err *e);
/* RC_END: not there. Fails on a directory that is not empty or is mounted on. */
CHECKED enum rc os_rmdir(int dir, const char *name, struct err *e);
/* RC_END: new_name is there already. */
CHECKED enum rc os_link(int dir, const char *name, int new_dir, const char *new_name, struct err *e);
CHECKED enum rc os_symlink(const char *target, int dir, const char *name, struct err *e);
/* FIFO or device node, rdev as in stat. */
CHECKED enum rc os_mknod(int dir, const char *name, mode_t mode, dev_t rdev, struct err *e);
CHECKED enum rc os_chown(int dir, const char *name, uid_t uid, gid_t gid, struct err *e);
/* Not for symbolic links. */
CHECKED enum rc os_chmod(int dir, const char *name, mode_t mode, struct err *e);
CHECKED enum rc os_set_times(
	int dir, const char *name, struct timespec atime, struct timespec mtime, struct err *e);
CHECKED enum rc os_xattr_set(
	int dir, const char *name, const char *xattr, const void *value, size_t n, struct err *e);
/* Takes away, or gives back, flags of OS_FLAGS_LOCKED; the others stay. */
CHECKED enum rc os_set_locked_flags(int dir, const char *name, unsigned flags, struct err *e);
CHECKED enum rc os_xattr_remove(int dir, const char *name, const char *xattr, struct err *e);

#endif
