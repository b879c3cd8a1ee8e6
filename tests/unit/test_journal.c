/* SPDX-License-Identifier: MIT */
#include "memory/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "session/boot.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "test.h"

static struct arena arena;
static int place = -1; /* a directory for the journal */
static struct err err;
static bool quick_marker; /* of the last read_back */

static void begin(void)
{
	char name[] = "/tmp/test_journal.XXXXXX";

	CHECK(arena_open(&arena, &err) == RC_OK);
	CHECK(mkdtemp(name) != NULL);
	place = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(place >= 0);
}

static void end(void)
{
	char link[64], name[128] = "";

	(void)unlinkat(place, JOURNAL_NAME, 0);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	if (readlink(link, name, sizeof(name) - 1) > 0)
		(void)rmdir(name);
	close(place);
	arena_close(&arena);
}

static void put_file(const void *at, size_t n)
{
	const int fd = openat(place, JOURNAL_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, at, n) == (ssize_t)n);
	close(fd);
}

static const struct journal_identity identity = {.root_inode = 77,
	.fs = "fsid:0123456789abcdef",
	.databases = {{.path = "io.containerd.metadata.v1.bolt/meta.db", .inode = 5, .size = 65536, .txid = 9, .ctime_ns = -1},
		{.path = "io.containerd.snapshotter.v1.overlayfs/metadata.db", .inode = 6, .size = 32768, .txid = 4, .ctime_ns = 12}},
	.database_count = 2};

static struct digest digest_of(uint8_t first)
{
	struct digest d = {.kind = DIGEST_SHA256};
	d.bytes[0] = first;
	return d;
}

/* The whole of a sealed journal, in memory of the arena. */
static struct span sealed(void)
{
	struct journal_writer w;
	struct span text = {0};

	journal_begin(&w, &identity, &arena);
	for (unsigned i = 0; i < 4; i++) /* not in order: reading sorts */
		journal_put_blob(&w, &(struct journal_blob){.digest = digest_of((uint8_t)(9 - i)),
					     .stamp = {.inode = 10 + i, .size = 100 * i, .ctime_ns = 1000 + i},
					     .document = i == 1},
			i == 3);
	journal_put_snapshot(&w, &(struct journal_snapshot){.id = 3,
					 .key = SPAN_LITERAL("k8s.io/7/a key with blanks, 100% and \n"),
					 .stamp = {.inode = 30, .ctime_ns = 31},
					 .unverified = true},
		false);
	journal_put_snapshot(&w, &(struct journal_snapshot){.id = 2, .key = SPAN_LITERAL("default/1/x"), .stamp = {.inode = 20}}, false);
	journal_put_snapshot(&w, &(struct journal_snapshot){.id = 4, .key = SPAN_LITERAL("default/2/y"), .stamp = {.inode = 21}}, true);
	journal_put_ingest(
		&w, &(struct journal_ingest){.name = SPAN_LITERAL("abc"), .ref = SPAN_LITERAL("a/1/b c-%"), .size = 55, .sum = 3});
	journal_put_clean(&w, "11111111-1111-1111-1111-111111111111");
	CHECK(journal_commit(&w, place, &err) == RC_OK);
	CHECK(os_read_small(place, JOURNAL_NAME, 1 << 20, &arena, &text, &err) == RC_OK);
	return text;
}

/* The quick look must never see a marker that the long one does not see, and must see every one that ends the file. */
static struct journal read_back(void)
{
	struct journal j = {0}, quick = {0};

	CHECK(journal_read(&j, place, &arena, &err) == RC_OK);
	const enum rc rc = journal_read_marker(&quick, place, arena, &err);
	CHECK(rc == RC_OK || rc == RC_END);
	if (rc == RC_OK) {
		CHECK(j.clean && quick.clean && quick.records == j.records && quick.valid_bytes == j.valid_bytes);
		CHECK(journal_same_store(&j.identity, &quick.identity) && journal_same_databases(&j.identity, &quick.identity));
	}
	quick_marker = rc == RC_OK;
	return j;
}

static bool knows(const struct journal *j, uint8_t number)
{
	const struct digest d = digest_of(number);

	return journal_find_blob(j, &d, &(struct journal_stamp){.inode = number, .size = 1, .ctime_ns = 1}) != NULL;
}

/* What a recorder was about to say when the power went: whole lines, and nothing that settles them. */
static void put_unsettled(const struct journal *j, uint8_t number)
{
	struct journal_writer w;
	int fd = -1;

	journal_continue(&w, j, &arena);
	journal_put_blob(&w, &(struct journal_blob){.digest = digest_of(number), .stamp = {number, 1, 1}}, false);
	CHECK(os_open_write(place, JOURNAL_NAME, &fd, &err) == RC_OK);
	CHECK(os_write(fd, j->valid_bytes, w.at, w.used, &err) == RC_OK);
	os_close(&fd);
}

static void put_settled(struct journal *j, uint8_t number)
{
	struct journal_writer w;

	journal_continue(&w, j, &arena);
	journal_put_blob(&w, &(struct journal_blob){.digest = digest_of(number), .stamp = {number, 1, 1}}, false);
	journal_put_snapshot(&w, &(struct journal_snapshot){.id = number, .key = SPAN_LITERAL("k"), .stamp = {.inode = number}}, false);
	journal_put_ingest(&w, &(struct journal_ingest){.name = SPAN_LITERAL("abc"), .ref = SPAN_LITERAL("r"), .size = number, .sum = 1});
	CHECK(journal_append_settled(j, place, &w, &err) == RC_OK);
}

static void what_is_settled_counts(void)
{
	begin();
	(void)sealed();
	struct journal j = read_back();
	CHECK(journal_append_boot(&j, place, "22222222-2222-2222-2222-222222222222", JOURNAL_CLEAN, 0, arena, &err) == RC_OK);
	put_settled(&j, 101);
	put_settled(&j, 102);
	put_unsettled(&j, 103);
	j = read_back();
	CHECK(j.present && !j.clean && j.done && knows(&j, 101) && knows(&j, 102) && !knows(&j, 103));
	CHECK(j.blob_count == 5 && j.snapshot_count == 4);
	CHECK(journal_find_snapshot(&j, 102, SPAN_LITERAL("k"), &(struct journal_stamp){.inode = 102}));
	CHECK(journal_find_ingest(&j, SPAN_LITERAL("abc"))->size == 102);
	/* the next boot's records must not settle what the last one left */
	CHECK(journal_append_boot(&j, place, "33333333-3333-3333-3333-333333333333", JOURNAL_SKIPPED, 4, arena, &err) == RC_OK);
	put_settled(&j, 104);
	j = read_back();
	CHECK(j.present && knows(&j, 101) && !knows(&j, 103) && knows(&j, 104) && j.mode == JOURNAL_SKIPPED);
	/* one and the same object, recorded again: with any of its stamps */
	put_settled(&j, 104);
	j = read_back();
	CHECK(knows(&j, 104) && j.blob_count == 7);
	/* somebody else wrote meanwhile */
	struct journal old = j;
	put_settled(&j, 105);
	struct journal_writer w;
	journal_continue(&w, &old, &arena);
	journal_put_blob(&w, &(struct journal_blob){.digest = digest_of(106), .stamp = {106, 1, 1}}, false);
	CHECK(journal_append_settled(&old, place, &w, &err) == RC_END);
	j = read_back();
	CHECK(j.present && knows(&j, 105) && !knows(&j, 106));
	/* a torn tail is cut off by whoever goes on */
	int fd = -1;
	CHECK(os_open_write(place, JOURNAL_NAME, &fd, &err) == RC_OK);
	CHECK(os_write(fd, j.valid_bytes, "99 blob sha2", 12, &err) == RC_OK);
	os_close(&fd);
	j = read_back();
	CHECK(j.present && j.file_bytes == j.valid_bytes + 12);
	put_settled(&j, 107);
	j = read_back();
	CHECK(j.present && j.file_bytes == j.valid_bytes && knows(&j, 105) && knows(&j, 107));
	/* after a failed sync nothing more of this boot counts as checked, and what was settled before still does */
	CHECK(journal_distrust(&j, place, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.present && j.done && j.mode == JOURNAL_SKIPPED && knows(&j, 107));
}

static void what_was_written_is_read(void)
{
	begin();
	(void)sealed();
	struct journal j = read_back();
	const struct digest first = digest_of(9), doubted = digest_of(6);
	const struct journal_stamp stamp = {.inode = 10, .size = 0, .ctime_ns = 1000};

	CHECK(quick_marker);
	CHECK(j.present && j.clean && j.blob_count == 3 && j.snapshot_count == 2 && j.ingest_count == 1);
	CHECK(journal_same_store(&j.identity, &identity) && journal_same_databases(&j.identity, &identity));
	CHECK(journal_find_blob(&j, &first, &stamp) && !journal_find_blob(&j, &first, &stamp)->document);
	CHECK(!journal_find_blob(&j, &first, &(struct journal_stamp){.inode = 11, .ctime_ns = 1000}));
	CHECK(!journal_find_blob(&j, &first, &(struct journal_stamp){.inode = 10, .size = 1, .ctime_ns = 1000}));
	CHECK(!journal_find_blob(&j, &first, &(struct journal_stamp){.inode = 10, .ctime_ns = 1001}));
	CHECK(!journal_find_blob(&j, &doubted, &(struct journal_stamp){.inode = 13, .size = 300, .ctime_ns = 1003}));
	CHECK(journal_doubts_blob(&j, &doubted, 13) && !journal_doubts_blob(&j, &doubted, 14) && !journal_doubts_blob(&j, &first, 10));
	CHECK(journal_doubts_snapshot(&j, 4) && !journal_doubts_snapshot(&j, 3));
	const struct span key = SPAN_LITERAL("k8s.io/7/a key with blanks, 100% and \n");
	const struct journal_stamp there = {.inode = 30, .ctime_ns = 31};
	CHECK(journal_find_snapshot(&j, 3, key, &there) && journal_find_snapshot(&j, 3, key, &there)->unverified);
	CHECK(!journal_find_snapshot(&j, 3, SPAN_LITERAL("k8s.io/8/x"), &there) && !journal_find_snapshot(&j, 2, key, &there));
	CHECK(journal_leaves_open(&j, 3) && !journal_leaves_open(&j, 2) && !journal_leaves_open(&j, 4) && !journal_leaves_open(&j, 5));
	const struct journal_stamp touched = {.inode = 30, .ctime_ns = 32};
	CHECK(journal_saw_other(&j, 3, key, &touched) && !journal_saw_other(&j, 3, key, &there));
	CHECK(!journal_saw_other(&j, 3, SPAN_LITERAL("k8s.io/8/x"), &touched) && !journal_saw_other(&j, 5, key, &touched));
	CHECK(journal_saw_other_blob(&j, &first, &(struct journal_stamp){.inode = 10, .ctime_ns = 1001}));
	CHECK(!journal_saw_other_blob(&j, &first, &stamp) && !journal_saw_other_blob(&j, &doubted, &stamp));
	CHECK(!journal_saw_other_blob(&j, &first, &(struct journal_stamp){.inode = 11, .ctime_ns = 1000})); /* pulled anew */
	CHECK(!journal_find_blob(&j, &first, &stamp)->recorded);
	CHECK(j.ingests[0].size == 55 && j.ingests[0].sum == 3 && span_is(j.ingests[0].name, "abc"));
	CHECK(span_is(j.ingests[0].ref, "a/1/b c-%") && !j.ingests[0].held);
	CHECK(journal_find_ingest(&j, SPAN_LITERAL("abc")) == &j.ingests[0] && !journal_find_ingest(&j, SPAN_LITERAL("ab")));

	struct journal_identity other = identity;
	other.databases[1].txid++;
	CHECK(journal_same_store(&j.identity, &other) && !journal_same_databases(&j.identity, &other));
	other = identity;
	other.root_inode++;
	CHECK(!journal_same_store(&j.identity, &other));
	other = identity;
	memcpy(other.fs, "fsid:1", 7);
	CHECK(!journal_same_store(&j.identity, &other));
	memcpy(other.fs, "-", 2);
	CHECK(journal_same_store(&j.identity, &other)); /* a kernel that tells less */
	end();
}

/* What meta.db said; and what a later version may say is stepped over. */
static void names_are_told(void)
{
	const struct journal_name image = {.kind = JOURNAL_IMAGE,
		.ns = SPAN_LITERAL("k8s.io"),
		.name = SPAN_LITERAL("a name/with blanks:1%"),
		.digest = SPAN_LITERAL("sha256:x"),
		.media_type = SPAN_LITERAL("application/json"),
		.size = 77};
	const struct journal_name container = {.kind = JOURNAL_CONTAINER, .ns = SPAN_LITERAL("moby"), .name = SPAN_LITERAL("c1"),
		.snapshotter = SPAN_LITERAL("overlayfs"), .key = SPAN_LITERAL("c1 key")};
	const struct journal_name lease = {.kind = JOURNAL_LEASE, .ns = SPAN_LITERAL("moby"), .name = SPAN_LITERAL("c1")};
	static char longest[3000];
	struct journal_writer w;

	begin();
	memset(longest, 'x', sizeof(longest) - 1);
	const struct journal_name too_long = {
		.kind = JOURNAL_LEASE, .ns = SPAN_LITERAL("moby"), .name = span_of_string(longest)};
	journal_begin(&w, &identity, &arena);
	journal_put_name(&w, &image);
	journal_put_name(&w, &container);
	journal_put_name(&w, &lease);
	journal_put_name(&w, &too_long);
	journal_put_name(&w, &(struct journal_name){.kind = JOURNAL_LEASE, .ns = SPAN_LITERAL("moby")});
	journal_put_boot(&w, "b", JOURNAL_CHECKED, 0);
	journal_put_done(&w, 0);
	CHECK(journal_commit(&w, place, &err) == RC_OK);
	struct journal j = read_back();
	CHECK(j.present && j.done && j.name_count == 3);
	const struct journal_name *const first = &j.names[0];
	CHECK(first->kind == JOURNAL_IMAGE && span_equal(first->ns, image.ns) && span_equal(first->name, image.name));
	CHECK(span_equal(first->digest, image.digest) && span_equal(first->media_type, image.media_type) && first->size == 77);
	CHECK(j.names[1].kind == JOURNAL_CONTAINER && span_equal(j.names[1].snapshotter, container.snapshotter));
	CHECK(span_equal(j.names[1].key, container.key) && !j.names[1].image.left);
	CHECK(j.names[2].kind == JOURNAL_LEASE && span_is(j.names[2].name, "c1"));

	char line[200], sum[32];
	int n = snprintf(line, sizeof(line), "%llu something new", (unsigned long long)j.records + 1);
	(void)snprintf(sum, sizeof(sum), " %016llx\n", (unsigned long long)fnv1a(line, (size_t)n));
	(void)strcat(line, sum);
	const int fd = openat(place, JOURNAL_NAME, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line));
	close(fd);
	struct journal later = read_back();
	CHECK(later.present && later.name_count == 3 && later.records == j.records + 1);

	/* of a recorder: one goes, one changes, one comes again */
	const struct journal_name changed = {.kind = JOURNAL_IMAGE, .ns = image.ns, .name = image.name, .digest = image.digest, .size = 78};
	struct journal_name gone = {.kind = JOURNAL_CONTAINER, .ns = container.ns, .name = container.name, .gone = true};
	journal_continue(&w, &later, &arena);
	journal_put_name(&w, &gone);
	journal_put_name(&w, &changed);
	gone.kind = JOURNAL_LEASE;
	journal_put_name(&w, &gone);
	journal_put_name(&w, &lease);
	CHECK(journal_append_settled(&later, place, &w, &err) == RC_OK);
	j = read_back();
	CHECK(j.present && j.name_count == 2 && j.names[0].size == 78 && !j.names[0].media_type.left);
	CHECK(j.names[1].kind == JOURNAL_LEASE && span_is(j.names[1].name, "c1"));
	end();
}

/* Cut anywhere, a journal has no marker; what it still vouches for is what it said before. */
/* A broken inode may have any time, the least there is, too; and no text has a byte in it that would cut it short when it is written
 * again. */
static void times_and_texts_at_their_ends(void)
{
	static const char bodies[3][20] = {"1 journal 2", "2 store 7 fsxid", "3 boot axb check"};
	struct journal_identity broken = identity;
	struct journal_writer w;

	begin();
	broken.databases[0].ctime_ns = INT64_MIN;
	journal_begin(&w, &broken, &arena);
	CHECK(journal_commit(&w, place, &err) == RC_OK);
	const struct journal j = read_back();
	CHECK(j.present && journal_same_databases(&j.identity, &broken));
	for (unsigned cut = 0; cut < 2; cut++) {
		char text[400];
		size_t n = 0;
		for (unsigned i = 0; i < 3; i++) {
			const size_t began = n;
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", bodies[i]);
			if (i == cut + 1)
				*strrchr(text + began, 'x') = 0;
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %016llx\n", (unsigned long long)fnv1a(text + began, n - began));
		}
		put_file(text, n);
		CHECK(!read_back().present);
	}
	end();
}

static void a_torn_journal_is_not_clean(void)
{
	begin();
	const struct span whole = sealed();

	for (size_t n = 0; n < whole.left; n++) {
		put_file(whole.at, n);
		const struct arena mark = arena;
		const struct journal j = read_back();
		CHECK(!j.clean && !quick_marker);
		CHECK(j.blob_count <= 3 && j.snapshot_count <= 2 && j.valid_bytes <= n);
		arena = mark;
	}
	/* a tail that was being written takes nothing away */
	uint8_t *const more = arena_get(&arena, whole.left + 600);
	memcpy(more, whole.at, whole.left);
	memcpy(more + whole.left, "17 boot 22222222-2222", 21);
	put_file(more, whole.left + 21);
	CHECK(read_back().clean && read_back().valid_bytes == whole.left);
	memset(more + whole.left, 0, 600);
	put_file(more, whole.left + 600);
	CHECK(read_back().clean);
	end();
}

/* A changed byte in the last line is a torn tail; anywhere else there is no journal. */
static void a_damaged_journal_is_none(void)
{
	begin();
	const struct span whole = sealed();
	uint8_t *const bytes = arena_get(&arena, whole.left);
	size_t last = whole.left - 1;

	memcpy(bytes, whole.at, whole.left);
	while (bytes[last - 1] != '\n')
		last--;
	for (size_t i = 0; i < whole.left; i++) {
		static const uint8_t masks[] = {1, 0x80, 0x20};
		for (size_t k = 0; k < sizeof(masks); k++) {
			const struct arena mark = arena;
			bytes[i] ^= masks[k];
			put_file(bytes, whole.left);
			const struct journal j = read_back();
			CHECK(!j.clean && !quick_marker);
			CHECK(i >= last - 1 || (!j.present && j.absent && j.blob_count == 0));
			bytes[i] ^= masks[k];
			arena = mark;
		}
	}
	end();
}

static void boots_are_counted(void)
{
	static const char *const ids[] = {"11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222",
		"33333333-3333-3333-3333-333333333333"};
	begin();
	(void)sealed();
	struct journal j = read_back();

	CHECK(journal_append_boot(&j, place, ids[0], JOURNAL_CLEAN, 0, arena, &err) == RC_OK);
	j = read_back();
	CHECK(!j.clean && j.done && j.status == 0 && j.mode == JOURNAL_CLEAN && j.unfinished == 0 && strcmp(j.boot_id, ids[0]) == 0);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned again = 0; again < 2; again++) { /* twice in one boot is one attempt */
			CHECK(journal_append_boot(&j, place, ids[i], JOURNAL_CHECKED, 0, arena, &err) == RC_OK);
			j = read_back();
			CHECK(!j.done && j.unfinished == (i ? i + 1 : 1) && j.mode == JOURNAL_CHECKED);
		}
	CHECK(journal_append_boot(&j, place, "4", JOURNAL_SKIPPED, 4, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.done && j.status == 4 && j.unfinished == 3); /* it stays so until one ends */
	CHECK(journal_append_boot(&j, place, "5", JOURNAL_CHECKED, 0, arena, &err) == RC_OK);
	CHECK(journal_append_done(&j, place, 1, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.done && j.status == 1 && j.unfinished == 0 && j.blob_count == 3);
	end();
}

static struct at_name named(enum at_kind kind, const char *name)
{
	struct at_name n;

	CHECK(at_make(&n, kind, span_of_string(name)));
	return n;
}

/* A line that is whole, whatever it says. */
static void append_line(struct journal *j, const char *text)
{
	char line[256];
	const int fd = openat(place, JOURNAL_NAME, O_WRONLY | O_APPEND | O_CLOEXEC);
	const int n = snprintf(line, sizeof(line), "%llu %s", (unsigned long long)j->records + 1, text);
	const int all = snprintf(line + n, sizeof(line) - (size_t)n, " %016llx\n", (unsigned long long)fnv1a(line, (size_t)n));

	CHECK(fd >= 0 && write(fd, line, (size_t)(n + all)) == n + all);
	close(fd);
	*j = read_back();
}

static void where_checks_ended(void)
{
	const struct at_name a = named(AT_BLOB, "sha256:aa"), b = named(AT_SNAPSHOT, "7"), c = named(AT_INGEST, "cc");
	const struct at_name d = named(AT_BLOB, "d");
	const struct at_name first[] = {a, b}, second[] = {c, a}, third[] = {d};
	struct journal_writer w;

	begin();
	(void)sealed();
	struct journal j = read_back();
	CHECK(journal_append_attempt(&j, place, NULL, 0, 0, "1", JOURNAL_CHECKED, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.present && j.unfinished == 1 && !j.stuck_count && !j.ended_count);
	CHECK(journal_append_attempt(&j, place, first, 2, 0, "2", JOURNAL_CHECKED, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.unfinished == 2 && !j.stuck_count && j.ended_count == 2 && at_listed(j.ended, j.ended_count, &b));
	CHECK(journal_append_ended(&j, place, second, 1, arena, &err) == RC_OK); /* noted before something else is */
	j = read_back();
	CHECK(j.unfinished == 2 && j.ended_count == 3 && at_listed(j.ended, j.ended_count, &c));
	CHECK(journal_append_attempt(&j, place, second, 2, 1, "3", JOURNAL_FORCED, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.unfinished == 3 && j.stuck_count == 1 && at_equal(&j.stuck[0], &c) && j.mode == JOURNAL_FORCED);
	CHECK(at_listed(j.ended, j.ended_count, &a) && !at_listed(j.ended, j.ended_count, &b)); /* of two attempts before: no more */
	CHECK(journal_is_stuck(&j, AT_INGEST, SPAN_LITERAL("cc")) && !journal_is_stuck(&j, AT_BLOB, SPAN_LITERAL("cc")) &&
		!journal_is_stuck(NULL, AT_INGEST, SPAN_LITERAL("cc")) && !journal_is_stuck(&j, AT_INGEST, SPAN_LITERAL("")));
	CHECK(journal_append_boot(&j, place, "4", JOURNAL_SKIPPED, 4, arena, &err) == RC_OK); /* one that steps aside is no attempt */
	j = read_back();
	CHECK(j.unfinished == 3 && j.stuck_count == 1 && at_listed(j.ended, j.ended_count, &a));
	CHECK(journal_append_attempt(&j, place, third, 1, 1, "5", JOURNAL_CHECKED, arena, &err) == RC_OK);
	CHECK(journal_append_done(&j, place, 4, arena, &err) == RC_OK);
	j = read_back();
	CHECK(j.unfinished == 0 && j.stuck_count == 2 && j.ended_count == 0); /* what is passed over stays so */
	CHECK(!journal_is_stuck_number(&j, AT_SNAPSHOT, 7) && journal_is_stuck(&j, AT_BLOB, SPAN_LITERAL("d")));
	append_line(&j, "stuck snapshot 7");
	append_line(&j, "stuck snapshot 7");
	append_line(&j, "stuck planet earth"); /* of a later program: it cannot be passed over, and is no damage */
	CHECK(j.present && j.stuck_count == 3 && journal_is_stuck_number(&j, AT_SNAPSHOT, 7));
	for (unsigned i = 0; i < 2 * JOURNAL_STUCK_MAX && j.present; i++) {
		char line[64];
		(void)snprintf(line, sizeof(line), "stuck snapshot %u", i + 100);
		append_line(&j, line);
	}
	CHECK(j.present && j.stuck_count == JOURNAL_STUCK_MAX);
	append_line(&j, "stuck snapshot");
	CHECK(!j.present);
	journal_begin(&w, &identity, &arena); /* a new journal */
	journal_put_stuck(&w, &a);
	journal_put_boot(&w, "1", JOURNAL_CHECKED, 0);
	journal_put_done(&w, 4);
	CHECK(journal_commit(&w, place, &err) == RC_OK);
	j = read_back();
	CHECK(j.present && j.stuck_count == 1 && at_equal(&j.stuck[0], &a) && !j.unfinished);
	end();
}

/* What boot makes of a journal in which so many boots did not end. */
static enum boot_verdict decided(struct boot *b, unsigned unfinished, const struct at_name *last, size_t last_count,
	const struct journal *j, bool full)
{
	static struct at_name room[4];
	const struct boot_options o = {.full = full};

	*b = (struct boot){.journal = *j, .last = room, .last_count = last_count};
	for (size_t i = 0; i < last_count; i++)
		room[i] = last[i];
	b->journal.present = true;
	b->journal.identity = identity;
	b->journal.unfinished = unfinished;
	(void)snprintf(b->journal.boot_id, sizeof(b->journal.boot_id), "before");
	boot_decide(b, &o, "now", &identity);
	return b->verdict;
}

static void what_is_passed_over(void)
{
	struct at_name a = named(AT_BLOB, "a"), b = named(AT_SNAPSHOT, "2"), databases = named(AT_STORE, "-");
	const struct at_name both[] = {b, a}, with[] = {databases, a};
	const struct journal nothing = {0}, saw_a = {.ended = &a, .ended_count = 1}, passes_a = {.stuck = &a, .stuck_count = 1},
			     passes_b_saw_a = {.stuck = &b, .stuck_count = 1, .ended = &a, .ended_count = 1},
			     saw_databases = {.ended = &databases, .ended_count = 1};
	struct boot t;

	begin();
	/* one may have been a power cut */
	CHECK(decided(&t, 0, both, 2, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 0 && t.attempts == 0);
	CHECK(decided(&t, 1, both, 2, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 0 && t.attempts == 1);
	/* two: what both were at */
	CHECK(decided(&t, 2, both, 2, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 1 && at_equal(&t.last[0], &a));
	CHECK(t.last_count == 2 && at_equal(&t.last[1], &b));
	CHECK(decided(&t, 2, both, 2, &nothing, false) == BOOT_CHECK_CHANGED && t.new_stuck == 0);
	CHECK(decided(&t, 2, NULL, 0, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 0);
	/* three: if there is none such, all that the last was at, if that is known and not passed over yet */
	CHECK(decided(&t, 3, both, 2, &nothing, false) == BOOT_CHECK_CHANGED && t.new_stuck == 2);
	CHECK(decided(&t, 3, both, 2, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 1 && at_equal(&t.last[0], &a));
	CHECK(decided(&t, 3, NULL, 0, &saw_a, false) == BOOT_STEP_ASIDE && t.status == 4);
	CHECK(decided(&t, 3, &a, 1, &passes_a, false) == BOOT_STEP_ASIDE);
	CHECK(decided(&t, 3, both, 2, &passes_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 1 && at_equal(&t.last[0], &b));
	CHECK(decided(&t, 3, both, 2, &passes_b_saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 1 && at_equal(&t.last[0], &a));
	CHECK(decided(&t, BOOT_ATTEMPTS_NAMED_MAX - 1, &a, 1, &nothing, false) == BOOT_CHECK_CHANGED);
	CHECK(decided(&t, BOOT_ATTEMPTS_NAMED_MAX, &a, 1, &nothing, false) == BOOT_STEP_ASIDE);
	/* nothing can be done without the databases */
	CHECK(decided(&t, 3, &databases, 1, &nothing, false) == BOOT_STEP_ASIDE);
	CHECK(decided(&t, 3, with, 2, &saw_databases, false) == BOOT_STEP_ASIDE);
	CHECK(decided(&t, 3, with, 2, &saw_a, false) == BOOT_CHECK_CHANGED && t.new_stuck == 1 && at_equal(&t.last[0], &a));
	/* a person who asks for all of it is told when it is over */
	CHECK(decided(&t, 9, NULL, 0, &nothing, true) == BOOT_CHECK_ALL);
	/* of another store nothing is known */
	struct journal_identity other = identity;
	other.root_inode++;
	const struct boot_options o = {0};
	(void)decided(&t, 9, &a, 1, &saw_a, false);
	boot_decide(&t, &o, "now", &other);
	CHECK(t.verdict == BOOT_CHECK_ALL && t.new_stuck == 0 && t.attempts == 0);
	end();
}

/* What containerd knows a download by is any text; of one without it, or with too much of it, no bytes are vouched for. */
static void refs_of_downloads(void)
{
	struct span names[] = {SPAN_LITERAL("none"), SPAN_LITERAL("longest"), SPAN_LITERAL("too long"), SPAN_LITERAL("held")};
	uint8_t text[1362];
	struct journal_writer w;

	begin();
	(void)sealed();
	struct journal j = read_back();
	CHECK(journal_append_boot(&j, place, "2", JOURNAL_CLEAN, 0, arena, &err) == RC_OK);
	memset(text, '\n', sizeof(text));
	journal_continue(&w, &j, &arena);
	journal_put_ingest(&w, &(struct journal_ingest){.name = names[0], .size = 1, .sum = 1});
	journal_put_ingest(&w, &(struct journal_ingest){.name = names[1], .ref = span_of(text, 1361), .size = 2, .sum = 1});
	journal_put_ingest(&w, &(struct journal_ingest){.name = names[2], .ref = span_of(text, 1362), .size = 3, .sum = 1});
	journal_put_ingest(
		&w, &(struct journal_ingest){.name = names[3], .ref = SPAN_LITERAL("held"), .size = 4, .sum = 1, .held = true});
	CHECK(journal_append_settled(&j, place, &w, &err) == RC_OK);
	j = read_back();
	for (unsigned i = 0; i < 4; i++) {
		const struct journal_ingest *const in = journal_find_ingest(&j, names[i]);
		CHECK(in && in->size == (i == 0 || i == 2 ? 0 : i + 1) && in->held == (i != 1));
		CHECK(span_equal(in->ref, i == 3 ? names[3] : span_of(text, i == 1 ? 1361 : 0)));
	}
	end();
}

static struct boot_wish wish(const char *line)
{
	struct boot_wish w;

	CHECK(boot_parse_wish(&w, span_of_string(line), &arena, &err) == RC_OK);
	return w;
}

static void the_kernels_command_line(void)
{
	begin();
	CHECK(wish("").mode == BOOT_AUTO && wish("quiet root=/dev/sda").mode == BOOT_AUTO);
	CHECK(wish("containerd.fsck=skip").mode == BOOT_SKIP && wish("a \"containerd.fsck=force\"\n").mode == BOOT_FORCE);
	CHECK(wish("containerd.fsck=skip containerd.fsck=check").mode == BOOT_CHECK);
	CHECK(wish("xcontainerd.fsck=skip containerd.fscks=skip").mode == BOOT_AUTO);
	CHECK(wish("fsck.mode=force").mode == BOOT_FORCE && wish("fsck.mode=skip fsck.repair=no").mode == BOOT_SKIP);
	CHECK(wish("fsck.repair=no").mode == BOOT_CHECK && wish("fsck.mode=force fsck.repair=no").mode == BOOT_CHECK);
	CHECK(wish("fsck.mode=force").force && wish("fsck.mode=force fsck.repair=no").force && wish("containerd.fsck=force").force);
	CHECK(!wish("fsck.mode=force containerd.fsck=check").force && !wish("fsck.repair=no").force);
	CHECK(wish("fsck.repair=no containerd.fsck=auto").mode == BOOT_AUTO);
	CHECK(wish("fsck.mode=check").mode == BOOT_AUTO && wish("fsck.mode=check").unknown);
	CHECK(strcmp(wish("containerd.fsck=maybe").unknown, "containerd.fsck=maybe") == 0);
	const struct boot_wish w = wish("containerd.fsck.root=/a \"containerd.fsck.root=/with a blank\" containerd.fsck.root=");
	CHECK(w.root_count == 2 && strcmp(w.roots[0], "/a") == 0 && strcmp(w.roots[1], "/with a blank") == 0 && w.unknown);
	end();
}

/* A scrub doubts two objects that are vouched for, and one that nobody knows. */
static void a_scrub_doubts(void)
{
	begin();
	(void)sealed();
	struct journal j = read_back(), quick = {0};
	struct journal_writer w;
	const struct digest first = digest_of(9), other = digest_of(99);
	const struct journal_stamp stamp = {.inode = 10, .size = 0, .ctime_ns = 1000}, there = {.inode = 30, .ctime_ns = 31};
	const struct span key = SPAN_LITERAL("k8s.io/7/a key with blanks, 100% and \n");
	struct journal_identity elsewhere = identity;

	CHECK(journal_add_doubts(&j, place, &arena, &err) == RC_OK && j.clean && !j.scrub); /* no such file */
	elsewhere.root_inode++;
	for (unsigned turn = 0; turn < 2; turn++) {
		journal_begin(&w, turn ? &identity : &elsewhere, &arena);
		journal_put_blob(&w, &(struct journal_blob){.digest = first, .stamp = stamp}, true);
		journal_put_blob(&w, &(struct journal_blob){.digest = other, .stamp = stamp}, true);
		journal_put_snapshot(&w, &(struct journal_snapshot){.id = 3, .stamp = there}, true);
		CHECK(journal_commit_file(&w, place, JOURNAL_SCRUB, &err) == RC_OK);
		CHECK(journal_add_doubts(&j, place, &arena, &err) == RC_OK);
		CHECK(j.clean != turn && (j.scrub != NULL) == turn); /* that of another store says nothing of this */
	}
	CHECK(journal_read_marker(&quick, place, arena, &err) == RC_OK && quick.clean);
	CHECK(journal_add_doubts(&quick, place, &arena, &err) == RC_OK && !quick.clean);
	CHECK(!journal_find_blob(&j, &first, &stamp) && journal_doubts_blob(&j, &first, 10) && journal_doubts_blob(&j, &other, 10));
	CHECK(!journal_doubts_blob(&j, &first, 11)); /* pulled anew */
	CHECK(!journal_find_snapshot(&j, 3, key, &there) && journal_doubts_snapshot(&j, 3));
	CHECK(journal_doubts_snapshot(&j, 4) && journal_doubts_blob(&j, &(struct digest){.kind = DIGEST_SHA256, .bytes = {6}}, 13));
	CHECK(unlinkat(place, JOURNAL_SCRUB, 0) == 0);
	j = read_back();
	CHECK(journal_add_doubts(&j, place, &arena, &err) == RC_OK && j.clean && journal_find_blob(&j, &first, &stamp));
	CHECK(journal_find_snapshot(&j, 3, key, &there));
	/* a place alone is none */
	journal_begin(&w, &identity, &arena);
	CHECK(journal_commit_file(&w, place, JOURNAL_SCRUB, &err) == RC_OK);
	CHECK(journal_add_doubts(&j, place, &arena, &err) == RC_OK && j.clean);
	CHECK(unlinkat(place, JOURNAL_SCRUB, 0) == 0);
	end();
}

int main(void)
{
	RUN(a_scrub_doubts);
	RUN(what_was_written_is_read);
	RUN(times_and_texts_at_their_ends);
	RUN(refs_of_downloads);
	RUN(names_are_told);
	RUN(what_is_settled_counts);
	RUN(a_torn_journal_is_not_clean);
	RUN(a_damaged_journal_is_none);
	RUN(boots_are_counted);
	RUN(where_checks_ended);
	RUN(what_is_passed_over);
	RUN(the_kernels_command_line);
	return test_failed != 0;
}
