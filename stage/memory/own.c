/* SPDX-License-Identifier: MIT */
#include "memory/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"

#define COPY_BYTES ((size_t)1 << 20)

enum rc own_sync(struct own_synced *s, int fd, struct err *e)
{
	struct stat st = {0};
	enum rc rc;

	if (fd < 0)
		return RC_OK;
	if ((rc = os_stat_fd(fd, &st, e)))
		return rc;
	for (size_t i = 0; i < s->count; i++)
		if (s->seen[i] == st.st_dev)
			return RC_OK;
	if (s->count < OWN_SYNCED_MAX)
		s->seen[s->count++] = st.st_dev;
	return os_syncfs(fd, e);
}

const char own_aside_paths[OWN_ASIDES][32] = {STORE_OWN_DIR "/" OWN_ASIDE, STORE_OWN_DIR "/" OWN_ASIDE "-1",
	STORE_OWN_DIR "/" OWN_ASIDE "-2", STORE_OWN_DIR "/" OWN_ASIDE "-3"};

enum rc own_open_dir(int parent, const char *name, int *fd, struct err *e)
{
	enum rc rc;

	if (*fd >= 0)
		return RC_OK;
	rc = os_open_dir(parent, name, fd, e);
	if (rc == RC_END) {
		if ((rc = os_mkdir(parent, name, 0700, e)) && rc != RC_END)
			return rc;
		if ((rc = os_fsync(parent, e)))
			return rc;
		rc = os_open_dir(parent, name, fd, e);
	}
	return rc == RC_CORRUPT || rc == RC_END
		       ? fail(e, RC_IO, STORE_OWN_DIR "/%s is no directory: move it away and run again", name)
		       : rc;
}

static const char *beside(const char *name, char temporary[LIMIT_NAME_BYTES + 8])
{
	(void)print_to(temporary, LIMIT_NAME_BYTES + 8, "%s.tmp", name); /* a name that is too long is refused */
	return temporary;
}

enum rc own_create_beside(int dir, const char *name, int *fd, struct err *e)
{
	char temporary[LIMIT_NAME_BYTES + 8];
	enum rc rc = os_unlink(dir, beside(name, temporary), e);

	if (rc && rc != RC_END)
		return rc;
	rc = os_create(dir, temporary, 0600, fd, e);
	return rc == RC_END ? fail(e, RC_IO, "%s is in the way", temporary) : rc;
}

enum rc own_put_in_place(int dir, const char *name, int fd, struct err *e)
{
	char temporary[LIMIT_NAME_BYTES + 8];
	enum rc rc;

	if ((rc = os_fsync(fd, e)) || (rc = os_rename(dir, beside(name, temporary), dir, name, e)))
		return rc;
	return os_fsync(dir, e);
}

enum rc own_copy_file(int own, const struct src *src, const char *path, const char *name, struct arena scratch, struct err *e)
{
	uint8_t *const buf = arena_get(&scratch, COPY_BYTES);
	uint8_t *const again = arena_get(&scratch, COPY_BYTES);
	auto_fd fd = -1, backup = -1;
	enum rc rc;

	if (!buf || !again)
		return fail(e, RC_NOMEM, "no memory to copy %s", path);
	if ((rc = own_open_dir(own, OWN_BACKUP_DIR, &backup, e)) || (rc = own_create_beside(backup, name, &fd, e)))
		return rc;
	for (uint64_t at = 0; at < src->size; at += COPY_BYTES) {
		const size_t n = (size_t)min_u64(COPY_BYTES, src->size - at);
		if ((rc = src_read(src, at, buf, n, e)) || (rc = os_write(fd, at, buf, n, e)))
			return rc;
	}
	if ((rc = os_fsync(fd, e)))
		return rc;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* compare with the medium if the system agrees */
	for (uint64_t at = 0; at < src->size; at += COPY_BYTES) {
		const size_t n = (size_t)min_u64(COPY_BYTES, src->size - at);
		size_t got = 0;
		if ((rc = src_read(src, at, buf, n, e)) || (rc = os_read(fd, at, again, n, &got, e)))
			return rc;
		if (got != n || memcmp(buf, again, n) != 0) {
			errno = EIO;
			return fail(e, RC_IO, "the copy of %s does not read back as it was written", path);
		}
	}
	return own_put_in_place(backup, name, fd, e);
}
