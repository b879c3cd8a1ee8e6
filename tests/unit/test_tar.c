/* SPDX-License-Identifier: MIT */
/* The reader on single entries, on the corpus in pieces of all sizes, on every truncation of it, and on failing sources.
 * tests/differential/tar compares it with Go's. */
#include "format/tar.h"

#include <dirent.h>
#include <unistd.h>

#include "tar_file.h"
#include "test.h"

static struct arena arena;

/* Everything an archive says, as a hash; how it ended; how many entries it had. */
struct reading {
	enum rc rc;
	uint64_t hash;
	unsigned entries;
};

static uint64_t mix(uint64_t hash, struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		hash = (hash ^ s.at[i]) * 0x100000001b3u;
	return hash * 31 + s.left;
}

static struct reading read_all(const void *data, size_t n, size_t piece, size_t fail_at)
{
	struct pieces pieces = {span_of(data, n), piece, 0, fail_at};
	const struct arena mark = arena;
	struct reading r = {.hash = 1};
	struct tar *t = NULL;
	struct err e = {0};

	r.rc = tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e);
	while (!r.rc) {
		struct tar_entry te = {0};
		if ((r.rc = tar_next(t, &te, &e)))
			break;
		r.entries++;
		r.hash = mix(mix(r.hash, te.name), te.link_name);
		for (size_t i = 0; i < te.xattr_count; i++)
			r.hash = mix(mix(r.hash, te.xattrs[i].name), te.xattrs[i].value);
		r.hash = mix(r.hash, span_of(&te.size, sizeof(te.size)));
		r.hash = mix(r.hash, span_of(&te.mtime_s, sizeof(te.mtime_s)));
		uint64_t bytes = 0;
		while (te.type == TAR_FILE && te.size < 1u << 24 && !r.rc) {
			struct span s = {0};
			if ((r.rc = tar_data(t, &s, &e)) == RC_OK) {
				CHECK(s.left > 0);
				bytes += s.left;
				for (size_t i = 0; i < s.left; i++)
					r.hash = (r.hash ^ (s.at ? s.at[i] : 0)) * 0x100000001b3u;
			}
		}
		if (r.rc == RC_END) {
			CHECK(bytes == te.size);
			r.rc = RC_OK;
		}
	}
	/* the answer stays */
	struct tar_entry again = {0};
	CHECK(tar_next(t, &again, &e) == r.rc || r.rc == RC_IO);
	arena = mark;
	return r;
}

static void an_entry(void)
{
	struct archive a = {0};
	struct pieces pieces;
	struct tar_entry te = {0};
	struct tar *t = NULL;
	struct err e = {0};

	archive_member(&a, (struct member){.name = "a/b", .data = "hello", .size = 5, .mode = 04755, .uid = 7, .gid = 8,
		.records = "mtime=1600000001.25\natime=5\nSCHILY.xattr.user.b=2\nSCHILY.xattr.user.a=1\nSCHILY.xattr.user.b=3"});
	archive_member(&a, (struct member){.type = '3', .name = "dev", .major = 4, .minor = 5});
	archive_end(&a);
	pieces = (struct pieces){span_of(a.at, a.n), 100, 0, 0};
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK);
	CHECK(tar_next(t, &te, &e) == RC_OK);
	CHECK(te.type == TAR_FILE && te.raw_type == '0' && span_is(te.name, "a/b") && te.size == 5);
	CHECK(te.mode == 04755 && te.uid == 7 && te.gid == 8);
	CHECK(te.mtime_s == 1600000001 && te.mtime_ns == 250000000 && te.has_atime && te.atime_s == 5);
	CHECK(te.xattr_count == 2 && span_is(te.xattrs[0].name, "user.a") && span_is(te.xattrs[1].value, "3"));
	/* the data is not asked for */
	CHECK(tar_next(t, &te, &e) == RC_OK);
	CHECK(te.type == TAR_CHAR && te.dev_major == 4 && te.dev_minor == 5 && !te.has_atime && te.xattr_count == 0);
	struct span s = {0};
	CHECK(tar_data(t, &s, &e) == RC_END);
	CHECK(tar_next(t, &te, &e) == RC_END);
	CHECK(tar_next(t, &te, &e) == RC_END);
	CHECK(e.rc == RC_OK);
	free(a.at);
}

static void a_hole_is_one_piece(void)
{
	struct archive a = {0};
	const struct arena mark = arena;
	struct pieces pieces;
	struct tar_entry te = {0};
	struct tar *t = NULL;
	struct span s = {0};
	struct err e = {0};

	archive_member(&a, (struct member){.name = "GNUSparseFile.0/f",
		.data = "hello",
		.size = 5,
		.records = "GNU.sparse.major=0\nGNU.sparse.minor=1\nGNU.sparse.name=f\nGNU.sparse.size=1099511627776\n"
			   "GNU.sparse.numblocks=1\nGNU.sparse.map=549755813888,5\n"});
	archive_end(&a);
	pieces = (struct pieces){span_of(a.at, a.n), 512, 0, 0};
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK && tar_next(t, &te, &e) == RC_OK);
	CHECK(span_is(te.name, "f") && te.size == 1099511627776 && te.stored == 5);
	CHECK(tar_data(t, &s, &e) == RC_OK && !s.at && s.left == 549755813888);
	CHECK(tar_data(t, &s, &e) == RC_OK && s.at && span_is(s, "hello"));
	CHECK(tar_data(t, &s, &e) == RC_OK && !s.at && s.left == 1099511627776 - 549755813888 - 5);
	CHECK(tar_data(t, &s, &e) == RC_END && tar_next(t, &te, &e) == RC_END);
	free(a.at);
	arena = mark;
}

static char corpus[] = "/tmp/test-tar-XXXXXX";

static bool make_corpus(void)
{
	char command[512];
	const char *const slash = strstr(__FILE__, "unit/test_tar.c");

	if (!slash || !mkdtemp(corpus))
		return false;
	snprintf(command, sizeof(command), "python3 %.*scorpus/make_tar.py %s", (int)(slash - __FILE__), __FILE__, corpus);
	return system(command) == 0;
}

static void each_file(void (*look)(const char *name, const uint8_t *data, size_t n))
{
	DIR *const dir = opendir(corpus);
	struct dirent *d;
	unsigned count = 0;

	while (dir && (d = readdir(dir)) != NULL) {
		char path[512];
		FILE *f;
		if (!strstr(d->d_name, ".tar"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", corpus, d->d_name);
		if (!(f = fopen(path, "rb")))
			continue;
		fseek(f, 0, SEEK_END);
		const size_t n = (size_t)ftell(f);
		rewind(f);
		uint8_t *const data = malloc(n + !n);
		if (data && fread(data, 1, n, f) == n) {
			look(d->d_name, data, n);
			count++;
		}
		free(data);
		fclose(f);
	}
	if (dir)
		closedir(dir);
	CHECK(count > 140);
}

static void look_in_pieces(const char *name, const uint8_t *data, size_t n)
{
	static const size_t sizes[] = {1, 7, 511, 512, 513, 65536};
	const struct reading whole = read_all(data, n, n + 1, 0);
	const bool good = strncmp(name, "ok-", 3) == 0;

	if (good != (whole.rc == RC_END) || (!good && whole.rc != RC_CORRUPT && whole.rc != RC_LIMIT)) {
		printf("# %s: %d\n", name, (int)whole.rc);
		CHECK(!"the archive is what its name says");
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (n > 1u << 20 && sizes[i] < 512)
			continue;
		const struct reading r = read_all(data, n, sizes[i], 0);
		CHECK(r.rc == whole.rc && r.hash == whole.hash && r.entries == whole.entries);
	}
}

static void corpus_in_pieces(void)
{
	each_file(look_in_pieces);
}

static void look_truncated(const char *name, const uint8_t *data, size_t n)
{
	const struct reading whole = read_all(data, n, n + 1, 0);
	unsigned entries = 0;

	(void)name;
	for (size_t cut = 0; n < 20000 && cut < n; cut++) {
		uint8_t *const exact = malloc(cut + !cut); /* so that reading past its end is seen */
		if (!exact)
			abort();
		memcpy(exact, data, cut);
		const struct reading r = read_all(exact, cut, 4096, 0);
		CHECK(r.rc == RC_END || r.rc == RC_CORRUPT || r.rc == RC_LIMIT);
		CHECK(r.entries >= entries && r.entries <= whole.entries);
		entries = r.entries;
		free(exact);
	}
}

static void corpus_truncated(void)
{
	each_file(look_truncated);
}

static void look_failing(const char *name, const uint8_t *data, size_t n)
{
	(void)name;
	for (size_t at = 1; n < 20000 && at < n; at += 97) {
		const struct reading r = read_all(data, n, 97, at);
		CHECK(r.rc == RC_IO || r.rc == read_all(data, n, 97, 0).rc);
	}
}

static void corpus_failing(void)
{
	each_file(look_failing);
}

static void memory_is_bounded(void)
{
	struct archive a = {0};
	char *const long_text = malloc((1 << 20) + 1);
	struct arena own = {0};
	struct err e = {0};

	/* a thousand members, each with the largest pax header */
	if (!long_text || arena_open(&own, &e))
		abort();
	memcpy(long_text, "comment=", 8);
	memset(long_text + 8, 'c', (1 << 20) - 100);
	long_text[(1 << 20) - 92] = 0;
	archive_member(&a, (struct member){.name = "x", .records = long_text});
	struct tar *t = NULL;
	struct pieces pieces = {span_of(a.at, a.n), 65536, 0, 0};
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &own, &e) == RC_OK);
	for (unsigned i = 0; i < 1000; i++) {
		struct tar_entry te = {0};
		CHECK(tar_next(t, &te, &e) == RC_OK);
		pieces.left = span_of(a.at, a.n);
	}
	CHECK(arena_peak(&own) < 8u << 20);
	arena_close(&own);
	free(long_text);
	free(a.at);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(a_hole_is_one_piece);
	RUN(an_entry);
	RUN(memory_is_bounded);
	if (make_corpus()) {
		RUN(corpus_in_pieces);
		RUN(corpus_truncated);
		RUN(corpus_failing);
	} else {
		printf("skip - %s corpus: no python3\n", __FILE__);
	}
	char command[512];
	snprintf(command, sizeof(command), "rm -rf %s", corpus);
	if (system(command))
		printf("# %s stays\n", corpus);
	return test_failed != 0;
}
