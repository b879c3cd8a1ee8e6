/* SPDX-License-Identifier: MIT */
/* Directories for a target's files, in memory where that can be had; and what is in one, as a number. */
#ifndef PLACE_H
#define PLACE_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/base.h"

static char place_path[64]; /* of this process; it goes when that ends well */

static inline int place_take_away(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

/* All that is at the path. */
static inline void place_remove(const char *path)
{
	if (access(path, F_OK) == 0 && nftw(path, place_take_away, 16, FTW_DEPTH | FTW_PHYS)) {
		perror(path);
		abort();
	}
}

static inline void place_end(void)
{
	place_remove(place_path);
}

static inline void place_begin(void)
{
	const char *const top = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	(void)snprintf(place_path, sizeof(place_path), "%s/fuzz-XXXXXX", top);
	if (!mkdtemp(place_path) || atexit(place_end))
		abort();
	(void)umask(0);
}

/* The lowest descriptor that is free: the same before and after what closes all that it opens. */
static inline int place_free_fd(void)
{
	const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || close(fd))
		abort();
	return fd;
}

/* dir: AT_FDCWD, or a directory; its parents are there. */
static inline void place_write(int dir, const char *name, const void *at, size_t n)
{
	const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0 || (n && write(fd, at, n) != (ssize_t)n) || close(fd)) {
		perror(name);
		abort();
	}
}

static inline void place_mkdir(int dir, const char *name, mode_t mode)
{
	if (mkdirat(dir, name, mode) && access(name, F_OK)) {
		perror(name);
		abort();
	}
}

static inline int place_open(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		abort();
	}
	return fd;
}

static inline uint64_t place_sum_of(const void *at, size_t n)
{
	struct wide_sum sum;

	wide_sum_begin(&sum);
	wide_sum_add(&sum, at, n);
	return wide_sum_end(&sum);
}

/* Of names, kinds, modes, owners, sizes, times of change of the content, targets of links, attributes and bytes: what is below a
 * directory, links not followed. `but` is left out: a path below the first one, or NULL. */
static inline uint64_t place_sum(const char *path, const char *but)
{
	struct stat st;
	char buffer[4096], value[4096];
	uint64_t sum = fnv1a(path, strlen(path));

	if (but && strcmp(path, but) == 0)
		return 0;
	if (lstat(path, &st)) {
		perror(path);
		abort();
	}
	const int64_t facts[] = {(int64_t)st.st_mode, (int64_t)st.st_uid, (int64_t)st.st_gid, S_ISDIR(st.st_mode) ? 0 : (int64_t)st.st_size,
		(int64_t)st.st_rdev, (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
	sum = sum * 31 ^ fnv1a(facts, sizeof(facts));
	const ssize_t names = llistxattr(path, buffer, sizeof(buffer));
	for (ssize_t at = 0; at < names; at += (ssize_t)strlen(buffer + at) + 1) {
		const ssize_t n = lgetxattr(path, buffer + at, value, sizeof(value));
		sum += fnv1a(buffer + at, strlen(buffer + at)) * 31 ^ fnv1a(value, n > 0 ? (size_t)n : 0);
	}
	if (S_ISLNK(st.st_mode)) {
		const ssize_t n = readlink(path, value, sizeof(value));
		return sum * 31 ^ fnv1a(value, n > 0 ? (size_t)n : 0);
	}
	if (S_ISREG(st.st_mode)) {
		const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		ssize_t n = 0;
		while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0)
			sum = sum * 31 ^ place_sum_of(buffer, (size_t)n);
		if (fd >= 0)
			(void)close(fd);
		return sum;
	}
	DIR *const dir = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	for (const struct dirent *one; dir && (one = readdir(dir));) {
		char below[4096];
		if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(below, sizeof(below), "%s/%s", path, one->d_name) < sizeof(below))
			sum += place_sum(below, but) * 0x9e3779b97f4a7c15u; /* in whatever order */
	}
	if (dir)
		(void)closedir(dir);
	return sum;
}

#endif
