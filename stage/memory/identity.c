/* SPDX-License-Identifier: MIT */
#include "memory/identity.h"

#include <string.h>

#include "format/bolt.h"
#include "ground/os.h"

/* <root>/<type>.<id> is a plugin's (containerd 2.3.4: cmd/containerd/server/server.go): meta.db's, and those of the
 * snapshotters, some of which keep a metadata.db */
#define META_DIR "io.containerd.metadata.v1.bolt"
#define CONTENT_DIR "io.containerd.content.v1.content"
#define SNAPSHOTTER_PREFIX "io.containerd.snapshotter.v1."

static enum rc add_database(struct journal_identity *id, int root, const char *dir_name, const char *name,
	struct arena scratch, struct err *e)
{
	struct bolt_fault fault;
	struct bolt b = {0};
	struct src src;
	struct stat st = {0};
	auto_fd dir = -1, fd = -1;
	enum rc rc = os_open_dir(root, dir_name, &dir, e);

	if (rc == RC_OK)
		rc = os_open_file(dir, name, &fd, e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc; /* a snapshotter without a database */
	if (id->database_count == JOURNAL_DATABASES_MAX)
		return fail(e, RC_LIMIT, "more than %d databases", JOURNAL_DATABASES_MAX);
	struct journal_database *const d = &id->databases[id->database_count];
	if (print_to(d->path, sizeof(d->path), "%s/%s", dir_name, name) >= (int)sizeof(d->path))
		return fail(e, RC_LIMIT, "%s: the name is too long", dir_name);
	if (strpbrk(d->path, " \n%"))
		return RC_OK; /* no name of containerd's: not listed, and not trusted for it */
	if ((rc = os_stat_fd(fd, &st, e)) || (rc = os_src(fd, &src, e)))
		return rc;
	rc = bolt_open(&b, &src, &scratch, &fault, e);
	if (rc && rc != RC_CORRUPT)
		return rc;
	d->inode = st.st_ino;
	d->size = (uint64_t)st.st_size;
	d->ctime_ns = os_ctime_ns(&st);
	d->txid = rc ? 0 : b.meta[b.current].txid;
	id->database_count++;
	return RC_OK;
}

/* A directory that only containerd changes: its entries came or went if its change time is another, and another file system is
 * mounted there if its inode is. */
static enum rc add_directory(struct journal_identity *id, int root, const char *parent, const char *name, struct err *e)
{
	auto_fd dir = -1;
	struct stat st = {0};
	char path[256];
	enum rc rc = RC_OK;

	(void)print_to(path, sizeof(path), "%s/%s", parent, name); /* constants */
	for (const char *at = path; rc == RC_OK && *at;) {
		char part[128];
		const size_t n = strcspn(at, "/");
		int next = -1;
		(void)print_to(part, sizeof(part), "%.*s", (int)n, at); /* as above */
		rc = os_open_dir(dir < 0 ? root : dir, part, &next, e);
		os_close(&dir);
		dir = next;
		at += n + (at[n] == '/');
	}
	if (rc || (rc = os_stat_fd(dir, &st, e)))
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	struct journal_database *const d = &id->databases[id->database_count];
	if (id->database_count == JOURNAL_DATABASES_MAX || strlen(path) >= sizeof(d->path))
		return RC_OK; /* listed only if there is room */
	memcpy(d->path, path, strlen(path) + 1);
	d->inode = st.st_ino;
	d->ctime_ns = os_ctime_ns(&st);
	id->database_count++;
	return RC_OK;
}

enum rc identity_read(struct journal_identity *out, int root, struct arena scratch, struct err *e)
{
	struct journal_identity id = {0};
	struct stat st = {0};
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc;

	if ((rc = os_stat_fd(root, &st, e)) || (rc = os_fs_identity(root, id.fs, sizeof(id.fs), e)) ||
		(rc = os_list(root, &scratch, &names, &count, e)) ||
		(rc = add_database(&id, root, META_DIR, "meta.db", scratch, e)))
		return rc;
	id.root_inode = st.st_ino;
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (strncmp(names[i].name, SNAPSHOTTER_PREFIX, sizeof(SNAPSHOTTER_PREFIX) - 1) == 0)
			rc = add_database(&id, root, names[i].name, "metadata.db", scratch, e);
	if (rc || (rc = add_directory(&id, root, CONTENT_DIR, "blobs/sha256", e)) ||
		(rc = add_directory(&id, root, CONTENT_DIR, "blobs/sha384", e)) ||
		(rc = add_directory(&id, root, CONTENT_DIR, "blobs/sha512", e)) ||
		(rc = add_directory(&id, root, CONTENT_DIR, "ingest", e)) ||
		(rc = add_directory(&id, root, SNAPSHOTTER_PREFIX "overlayfs", "snapshots", e)))
		return rc;
	*out = id;
	return RC_OK;
}
