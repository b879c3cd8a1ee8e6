/* SPDX-License-Identifier: MIT */
/* What the files of ground/os_*.c share. Nobody else includes it. */
#ifndef OS_LINUX_H
#define OS_LINUX_H

#include "ground/os.h"

#define EXT4_MAGIC 0xef53
#define BTRFS_MAGIC 0x9123683e

/* os_file.c */
/* One component beneath dir, no link followed. */
int open_beneath(int dir, const char *name, int flags);
/* A regular file. What it is is asked of a descriptor that opens nothing: a driver acts when its device is opened, and who waits at a
 * FIFO is woken. ENXIO: it is something else. */
int open_regular(int dir, const char *name, int flags);
/* "/proc/self/fd/<dir>/<name>": the last component is not followed by the l*xattr calls. */
bool through_proc(char *path, size_t cap, int dir, const char *name);
/* Opened for its flags: a regular file or a directory, else *fd stays -1. */
CHECKED enum rc open_for_flags(int dir, const char *name, int *fd, struct err *e);

/* os_host.c */
extern atomic_bool forbidden, any_failed;

/* os_change.c */
bool refused(void);

#endif
