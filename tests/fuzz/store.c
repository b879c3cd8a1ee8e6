/* SPDX-License-Identifier: MIT */
/* The whole program on a small store that was changed: check, repair, check, repair, in this process; as the first byte says, after a scrub
 * (64), with the first repair as a reset (32), and with second places (16) that are changed too: an archive of the store's blobs, and an
 * OCI layout with each second of them. It ends; nothing beside the store changes, and by a check nothing at all; by a scrub nothing but
 * what is ours; what was said to be in order stays as it is; after a repair that said that all is in order nothing is left to do; and of
 * the databases that are there then, none is unsound.
 *
 * SAY_RUNS=1: what each run says.
 *
 * An input: a byte of choices, then changes: what (1), where (1), and what it takes. Files are those of the sound store, in order. */
#include "ground/os_write.h"
/* what a check changes is found by comparing: and a process that may never write again would be of no use here */
#define os_write_forbid() ((void)0)
#define main fsck_main
int fsck_main(int argc, char **argv);
#include "../../stage/main.c"
#undef main

#include "steps.h"
#include "store_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES_MOST 120
#define CHANGES_MOST 24

static char top[96];
static int store = -1;

/* ---- the machine: nobody works on the store, and all could be seen ---- */

static bool is_mounted;

CHECKED enum rc __wrap_host_look(struct host_view *v, const struct host_question *q, struct arena *keep, struct arena scratch,
	struct err *e);
enum rc __wrap_host_look(struct host_view *v, const struct host_question *q, struct arena *keep, struct arena scratch, struct err *e)
{
	(void)q;
	(void)keep;
	(void)scratch;
	(void)e;
	*v = (struct host_view){.mounts_seen = true, .all_seen = true, .mounted = is_mounted ? "/somewhere" : NULL};
	return RC_OK;
}

bool __wrap_host_has_shims(const char *sysroot, struct arena scratch);
bool __wrap_host_has_shims(const char *sysroot, struct arena scratch)
{
	(void)sysroot;
	(void)scratch;
	return false;
}

int64_t __wrap_host_started_ns(struct arena scratch);
int64_t __wrap_host_started_ns(struct arena scratch)
{
	(void)scratch;
	return 0;
}

/* ---- the sound store, and a fresh copy ---- */

struct made {
	char path[200];
	struct stat st;
	uint8_t *at; /* content, or a link's target */
	size_t n, same; /* same: the name of the same file before it */
};
static struct made files[FILES_MOST];
static size_t file_count;

static void remember(const char *path)
{
	char whole[300];
	struct dirent **names = NULL;

	(void)snprintf(whole, sizeof(whole), "%s%s%s", top, *path ? "/" : "", path);
	const int count = scandir(whole, &names, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		struct made *const m = &files[file_count];
		if (strcmp(names[i]->d_name, ".") == 0 || strcmp(names[i]->d_name, "..") == 0) {
			free(names[i]);
			continue;
		}
		if (file_count++ == FILES_MOST)
			abort();
		(void)snprintf(m->path, sizeof(m->path), "%s%s%.100s", path, *path ? "/" : "", names[i]->d_name);
		free(names[i]);
		(void)snprintf(whole, sizeof(whole), "%s/%s", top, m->path);
		if (lstat(whole, &m->st))
			abort();
		m->same = FILES_MOST;
		for (const struct made *o = files; o < m; o++)
			if (o->st.st_ino == m->st.st_ino)
				m->same = (size_t)(o - files);
		m->n = S_ISDIR(m->st.st_mode) ? 0 : (size_t)m->st.st_size;
		m->at = calloc(1, m->n + 1);
		const int fd = S_ISREG(m->st.st_mode) ? open(whole, O_RDONLY | O_CLOEXEC) : -1;
		if (!m->at || (fd >= 0 && read(fd, m->at, m->n) != (ssize_t)m->n) ||
			(S_ISLNK(m->st.st_mode) && readlink(whole, (char *)m->at, m->n) != (ssize_t)m->n))
			abort();
		if (fd >= 0)
			(void)close(fd);
		if (S_ISDIR(m->st.st_mode))
			remember(m->path);
	}
	free(names);
}

/* ---- second places ---- */

static struct archive sources;
static char places[2][110]; /* of the archive, and of the layout */

/* Of all blobs, which are remembered. */
static void make_sources(int dir)
{
	static const char blobs[] = STORE_CONTENT_DIR "/blobs/";
	unsigned number = 0;

	(void)snprintf(places[0], sizeof(places[0]), "%.60s/sources/all.tar", place_path);
	(void)snprintf(places[1], sizeof(places[1]), "%.60s/sources/layout", place_path);
	place_mkdir(dir, "sources", 0755);
	place_mkdir(dir, "sources/layout", 0755);
	place_mkdir(dir, "sources/layout/blobs", 0755);
	place_mkdir(dir, "sources/layout/blobs/sha256", 0755);
	for (size_t i = 0; i < file_count; i++) {
		const struct made *const m = &files[i];
		char name[300];
		if (!S_ISREG(m->st.st_mode) || strncmp(m->path, blobs, sizeof(blobs) - 1) != 0)
			continue;
		(void)snprintf(name, sizeof(name), "blobs/%s", m->path + sizeof(blobs) - 1);
		archive_member(&sources, (struct member){.name = name, .data = m->at, .size = m->n});
		(void)snprintf(name, sizeof(name), "sources/layout/blobs/%s", m->path + sizeof(blobs) - 1);
		if (number++ % 2)
			place_write(dir, name, m->at, m->n);
	}
	archive_end(&sources);
}

/* A byte of the archive, or, of a longer input, its end. */
static void change_archive(struct span *s)
{
	const uint16_t at = span_u16le(s);
	const uint8_t value = span_u8(s);
	const int fd = open(places[0], O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, &value, 1, (off_t)(at * 16u % sources.n)) != 1 || (value == 1 && ftruncate(fd, at * 16u % sources.n)))
		abort();
	(void)close(fd);
}

static void fresh(void)
{
	const int dir = place_open(place_path);
	place_write(dir, "sources/all.tar", sources.at, sources.n);
	(void)close(dir);
	os_close(&store);
	place_remove(top);
	if (mkdir(top, 0711))
		abort();
	store = place_open(top);
	for (size_t i = 0; i < file_count; i++) {
		const struct made *const m = &files[i];
		if (S_ISDIR(m->st.st_mode))
			place_mkdir(store, m->path, m->st.st_mode & 07777);
		else if (m->same < FILES_MOST)
			(void)!linkat(store, files[m->same].path, store, m->path, 0);
		else if (S_ISLNK(m->st.st_mode))
			(void)!symlinkat((const char *)m->at, store, m->path);
		else
			place_write(store, m->path, m->at, m->n);
		if (S_ISREG(m->st.st_mode))
			(void)fchmodat(store, m->path, m->st.st_mode & 07777, 0);
	}
	for (size_t i = file_count; i-- > 0;) {
		const struct timespec times[2] = {files[i].st.st_mtim, files[i].st.st_mtim};
		(void)utimensat(store, files[i].path, times, AT_SYMLINK_NOFOLLOW);
	}
}

/* ---- changes ---- */

static const char *const new_names[] = {STORE_CONTENT_DIR "/ingest/a/data", STORE_CONTENT_DIR "/ingest/a/ref",
	STORE_CONTENT_DIR "/ingest/a/total", STORE_CONTENT_DIR "/blobs/sha256/nothing", STORE_CONTENT_DIR "/blobs/sha512/x",
	STORE_CONTENT_DIR "/blobs/md5/x", STORE_OVERLAY_DIR "/snapshots/99/fs/x", STORE_OVERLAY_DIR "/snapshots/new-1/fs/x",
	STORE_OVERLAY_DIR "/snapshots/rm-2/fs/x", STORE_OVERLAY_DIR "/userxattr-check1/x", "tmpmounts/containerd-mount1/x",
	STORE_OWN_DIR "/journal", STORE_OWN_DIR "/staging/x/y", STORE_OWN_DIR "/aside/x/y", STORE_OWN_DIR "/backup/x",
	STORE_OWN_DIR "/force", STORE_CRI_DIR "/containers/box/status", "lost+found/x", STORE_OWN_DIR "/report.json",
	STORE_OVERLAY_DIR "/" STORE_OWN_DIR "/staging/x", STORE_CONTENT_DIR "/" STORE_OWN_DIR "/staging/x", STORE_OWN_DIR "/" JOURNAL_SCRUB,
	STORE_OWN_DIR "/" STORE_RESET "/x", STORE_OWN_DIR "/sources"};

static int open_there(size_t which, uint64_t *n)
{
	struct stat st = {0};
	int fd = -1;

	if (fstatat(store, files[which].path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_size)
		fd = openat(store, files[which].path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	*n = (uint64_t)st.st_size;
	return fd;
}

static void remove_all(size_t which)
{
	char path[300];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", top, files[which].path);
	if (lstat(path, &st) == 0)
		place_remove(path);
}

/* Of a database: bytes changed, and the metas' sums put right. */
static void put_seals(size_t which)
{
	uint8_t meta[80];
	uint64_t n;
	const int fd = open_there(which, &n);

	for (off_t at = 0; fd >= 0 && at < 2 * SMALL_PAGE; at += SMALL_PAGE)
		if (pread(fd, meta, sizeof(meta), at) == sizeof(meta)) {
			le(meta + 72, fnv1a(meta + 16, 56), 8);
			(void)!pwrite(fd, meta, sizeof(meta), at);
		}
	if (fd >= 0)
		(void)close(fd);
}

/* A key of a database removed, or another value put there. */
static void edit_database(size_t which, struct span *s)
{
	static struct arena arena;
	struct err e = {0};
	uint8_t value[64];
	uint64_t n;

	if (!arena.region && arena_open(&arena, &e))
		abort();
	struct arena a = arena;
	const uint8_t how = span_u8(s), pick = span_u8(s), size = span_u8(s) % sizeof(value);
	memset(value, how, sizeof(value));
	const int fd = open_there(which, &n);
	struct src src = {0};
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct bolt_edit *t = NULL;
	struct bolt b;
	if (fd < 0 || os_src(fd, &src, &e) || bolt_open(&b, &src, &a, &fault, &e) || bolt_check(&b, a, &stats, &fault, &e) ||
		bolt_edit_begin(&t, &b, &a, &e)) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	/* down from the root, each time to one of what is there */
	struct bolt_path path = {.count = 0};
	struct bolt_bucket bucket = bolt_root(&b);
	for (unsigned turn = pick; path.count < 7; turn = turn * 5 + 3) {
		struct bolt_cursor *c = NULL;
		struct bolt_item item = {0}, kept = {0};
		if (bolt_cursor_open(&b, &bucket, &a, &c, &e))
			break;
		for (unsigned i = 0; i <= turn % 7 && bolt_cursor_next(c, &item, &e) == RC_OK; i++) {
			kept.key = arena_copy(&a, item.key);
			kept.value = arena_copy(&a, item.value);
			kept.is_bucket = item.is_bucket;
		}
		if (!kept.key.at)
			break;
		path.part[path.count++] = kept.key;
		if (!kept.is_bucket || (path.count > 1 && turn % 11 == 0) || bolt_bucket_of(&kept, &bucket))
			break;
	}
	struct bolt_image image = {0};
	const enum rc rc = path.count < 2 ? RC_END
			   : how & 1      ? bolt_edit_remove(t, &path, &e)
					  : bolt_edit_put(t, &path, span_of(value, size), &e);
	if (rc == RC_OK && bolt_edit_make(t, &image, &e) == RC_OK && image.changed)
		if (ftruncate(fd, (off_t)image.file_bytes) ||
			pwrite(fd, image.append.at, image.append.left, (off_t)image.append_at) < 0 ||
			pwrite(fd, image.meta_page.at, image.meta_page.left, (off_t)image.meta_at) < 0)
			abort();
	(void)close(fd);
}

static size_t database_of(uint8_t pick)
{
	for (size_t i = 0; i < file_count; i++)
		if (strstr(files[i].path, pick & 1 ? "/meta.db" : "/metadata.db"))
			return i;
	abort();
}

static void change(struct span *s)
{
	const uint8_t what = span_u8(s), where = span_u8(s);
	const size_t which = what & 0x40 ? database_of(where) : where % file_count;
	const char *const path = files[which].path;
	static const char *const targets[] = {
		"../canary", "../../dir", "../../../dir", "../../../../../../canary", "x", ".", "/", "../dir"};
	char other[240];
	uint64_t n;
	int fd;

	switch (what % 13) {
	case 0: { /* bytes */
		fd = open_there(which, &n);
		const uint16_t at = span_u16le(s);
		const uint8_t value = span_u8(s);
		if (fd >= 0)
			(void)!pwrite(fd, &value, 1, (off_t)(at % n));
		if (fd >= 0)
			(void)close(fd);
		if (what & 0x80)
			put_seals(which);
		break;
	}
	case 1: /* a length that was lost */
		fd = open_there(which, &n);
		n = n * span_u8(s) / 255;
		if (fd >= 0)
			(void)!ftruncate(fd, (off_t)n);
		if (fd >= 0)
			(void)close(fd);
		break;
	case 2: { /* bytes that were not written */
		static const uint8_t zeros[4096];
		const uint8_t from = span_u8(s);
		fd = open_there(which, &n);
		const uint64_t at = n * from / 256;
		if (fd >= 0)
			(void)!pwrite(fd, zeros, (size_t)min_u64(sizeof(zeros), n - at), (off_t)at);
		if (fd >= 0)
			(void)close(fd);
		break;
	}
	case 3:
		remove_all(which);
		break;
	case 4: /* a link in its place */
		remove_all(which);
		(void)!symlinkat(targets[span_u8(s) % 8], store, path);
		break;
	case 5: { /* another kind in its place */
		static const mode_t kinds[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFREG};
		remove_all(which);
		const uint8_t kind = span_u8(s) % 5;
		if (kind == 4)
			(void)!mkdirat(store, path, 0755);
		else
			(void)!mknodat(store, path, kinds[kind] | 0600, 0);
		break;
	}
	case 6: /* another name, perhaps of something else */
		(void)snprintf(other, sizeof(other), "%s~", path);
		(void)!renameat(store, path, store, what & 0x80 ? files[span_u8(s) % file_count].path : other);
		break;
	case 7:
	case 8:
		edit_database(database_of(where), s);
		break;
	case 9: { /* something new */
		const char *const name = new_names[where % (sizeof(new_names) / sizeof(new_names[0]))];
		const size_t bytes = min_u64(span_u8(s), s->left);
		const struct span content = span_sub(s, bytes);
		(void)snprintf(other, sizeof(other), "%s", name);
		bool way = true;
		for (char *slash = other; (slash = strchr(slash, '/')); *slash++ = '/') {
			struct stat st;
			*slash = 0;
			(void)mkdirat(store, other, 0700);
			way &= fstatat(store, other, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
		}
		fd = way ? openat(store, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600) : -1;
		if (fd >= 0 && content.left)
			(void)!write(fd, content.at, content.left);
		if (fd >= 0)
			(void)close(fd);
		break;
	}
	case 12:
		change_archive(s);
		break;
	case 10: /* the file outside, under a name of the store */
		remove_all(which);
		(void)snprintf(other, sizeof(other), "%s/canary", place_path);
		(void)!linkat(AT_FDCWD, other, store, path, 0);
		break;
	default:
		(void)fchmodat(store, path, span_u8(s) * 16u & 07777, 0);
		(void)fchownat(store, path, where % 3, 0, AT_SYMLINK_NOFOLLOW);
		break;
	}
}

/* A link may have come into the way of what is still to be changed: then it would be changed outside. */
static bool is_outside_safe(void)
{
	for (size_t i = 0; i < file_count; i++) {
		char path[200];
		struct stat st;
		(void)snprintf(path, sizeof(path), "%s", files[i].path);
		if (fstatat(store, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) && !S_ISLNK(files[i].st.st_mode))
			return false;
	}
	return true;
}

/* ---- runs ---- */

static int run(const char *verb, uint8_t choice, bool reset)
{
	char config[96], json[96];
	const bool scrub = strcmp(verb, "scrub") == 0;
	const char *arguments[20] = {
		"containerd-fsck", verb, "--quiet", "--threads", choice & 1 ? "2" : "1", "--config", config, "--json", json};
	int n = 9;

	(void)snprintf(config, sizeof(config), "%.60s/config.toml", place_path);
	(void)snprintf(json, sizeof(json), "%.60s/out/report", place_path);
	if (scrub) {
		arguments[n++] = "--rate";
		arguments[n++] = "1000000000";
	} else if (choice & 2) {
		arguments[n++] = "--after-boot";
	}
	if (choice & 4 && !scrub)
		arguments[n++] = "--keep";
	for (unsigned i = 0; choice & 16 && !scrub && i < 2; i++) {
		arguments[n++] = "--source";
		arguments[n++] = places[i];
	}
	if (reset)
		arguments[n++] = "--reset";
	if (getenv("SAY_RUNS"))
		arguments[2] = "--verbose";
	arguments[n++] = top;
	stop = 0;
	is_mounted = choice & 8;
	(void)fflush(stdout);
	return fsck_main(n, (char **)(uintptr_t)arguments);
}

static void want(bool holds, const char *what, const int status[4])
{
	if (holds)
		return;
	(void)fprintf(stderr, "%s (%d, %d, %d, %d)\n", what, status[0], status[1], status[2], status[3]);
	abort();
}

/* No database, or a sound one. */
static bool is_sound(size_t which)
{
	static struct arena arena;
	struct err e = {0};
	struct src src = {0};
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct bolt b;
	uint64_t n;

	if (!arena.region && arena_open(&arena, &e))
		abort();
	struct arena a = arena;
	const int fd = open_there(which, &n);
	const bool sound = fd < 0 || (os_src(fd, &src, &e) == RC_OK && bolt_open(&b, &src, &a, &fault, &e) == RC_OK &&
					     bolt_check(&b, a, &stats, &fault, &e) == RC_OK);
	if (fd >= 0)
		(void)close(fd);
	return sound;
}

static void prepare(void)
{
	char text[300];
	struct arena a = {0};
	struct err e = {0};

	place_begin();
	const int dir = place_open(place_path);
	place_write(dir, "canary", "canary\n", 7);
	place_mkdir(dir, "dir", 0755);
	place_write(dir, "dir/x", "inside\n", 7);
	place_mkdir(dir, "out", 0700);
	(void)snprintf(top, sizeof(top), "%s/store", place_path);
	const int n = snprintf(text, sizeof(text), "version = 2\nroot = \"%s\"\nstate = \"%s/state\"\n", top, place_path);
	place_write(dir, "config.toml", text, (size_t)n);
	if (mkdir(top, 0711) || arena_open(&a, &e) || (!getenv("SAY_RUNS") && !freopen("/dev/null", "w", stdout)))
		abort();
	store = place_open(top);
	small_store(store, a);
	arena_close(&a);
	remember("");
	make_sources(dir);
	(void)close(dir);
}

static uint64_t sum_outside(void)
{
	char path[96];
	uint64_t sum = 0;
	static const char *const names[] = {"canary", "dir", "config.toml", "sources"};

	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%.60s/%s", place_path, names[i]);
		sum = sum * 31 + place_sum(path, NULL);
	}
	DIR *const dir = opendir(place_path);
	for (const struct dirent *one; dir && (one = readdir(dir));)
		sum += fnv1a(one->d_name, strlen(one->d_name));
	if (dir)
		(void)closedir(dir);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int status[4] = {-1, -1, -1, -1};
	struct span s = span_of(data, size);
	char own[128];

	if (!*top)
		prepare();
	(void)snprintf(own, sizeof(own), "%s/" STORE_OWN_DIR, top);
	fresh();
	uint8_t choice = span_u8(&s);
	for (unsigned i = 0; i < CHANGES_MOST && s.left && is_outside_safe(); i++)
		change(&s);
	const uint64_t outside = sum_outside();
	const bool sound = is_sound(database_of(0)) && is_sound(database_of(1));

	if (choice & 64) {
		(void)mkdirat(store, STORE_OWN_DIR, 0700); /* its parent's times would change */
		const uint64_t others = place_sum(top, own);
		steps_begin();
		status[0] = run("scrub", choice, false);
		steps_end(100000 + 64 * size, 20, 0);
		want(status[0] >= 0 && status[0] <= 8, "a status that is none", status);
		want(place_sum(top, own) == others && sum_outside() == outside, "a scrub has changed something", status);
	}
	for (unsigned i = 0; i < 4; i++) {
		const uint64_t before = i % 2 ? 0 : place_sum(top, NULL), others = i == 3 && !status[2] ? place_sum(top, own) : 0;
		const int free_fd = place_free_fd();
		steps_begin();
		status[i] = run(i % 2 ? "repair" : "check", choice, i == 1 && choice & 32);
		steps_end(100000 + 64 * size, 20, 0);
		want(status[i] == 0 || status[i] == 1 || status[i] == 4 || status[i] == 8, "a status that is none", status);
		want(place_free_fd() == free_fd, "a descriptor stays open", status);
		want(sum_outside() == outside, "something beside the store has changed", status);
		want(i % 2 || (place_sum(top, NULL) == before && status[i] != 1), "a check has changed something", status);
		want(i != 3 || status[2] || place_sum(top, own) == others, "a repair has changed what was in order", status);
		if (i == 1 && choice & 32 && status[i] == 8) { /* a reset that was refused: once more, without it */
			choice &= (uint8_t)~32u;
			i = UINT32_MAX;
		}
	}
	want(size > 1 || (status[0] == 0 && (status[1] == 0 || choice & 32)), "the sound store is not", status);
	want(status[0] || status[1] <= 1, "in order, and then not", status); /* 1: leftovers were removed */
	want(status[1] > 1 || (status[2] == 0 && status[3] == 0), "repaired, and then not in order", status);
	want(status[3] != 1, "a second repair has found more to do", status);
	want(status[1] > 1 || (is_sound(database_of(0)) && is_sound(database_of(1))), "repaired, and a database is unsound", status);
	want(!sound || (is_sound(database_of(0)) && is_sound(database_of(1))), "a sound database was broken", status);
	return 0;
}
