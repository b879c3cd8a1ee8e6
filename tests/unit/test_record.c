/* SPDX-License-Identifier: MIT */
/* The recorder against a model of what is durable. Its system calls are wrapped (-Wl,--wrap): before and after each, containerd may
 * take steps, drawn at random, on a real directory: bytes of downloads, blobs moved into place, snapshots filled and committed by
 * transactions of a database. At any of these instants the power may go, the recorder be killed and started again, or a sync fail.
 * The model keeps what a file system promises: what was there when a sync began is durable once it ends well; what a failed sync
 * had to write may be lost for good. After a cut the journal may be as at its last fsync, or have any torn piece of what came
 * later; in each of these forms nothing may be vouched for that was not durable. */
#include "session/record.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bolt_file.h"
#include "memory/identity.h"
#include "memory/journal.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "test.h"

#define OBJECTS 12    /* downloads that become blobs; and as many snapshots */
#define PIECES 3      /* writes of a download */
#define PIECE 80      /* bytes; no multiple of 32, on purpose */
#define STEPS 60      /* of containerd in a schedule */
#define PAGE 1024
#define REGION 16     /* pages of a transaction */
#define JOURNAL_CAP ((size_t)1 << 20)

enum outcome { RUNS, ENDED, KILLED, CUT };

struct object {
	unsigned pieces, life; /* written of the download; how often it was begun */
	bool blob;
};
struct state {
	struct object objects[OBJECTS];
	bool filled[OBJECTS]; /* the files of snapshot i + 1 */
};
/* Shared with the recorder's process. */
struct model {
	uint64_t random;
	struct state now;
	bool durable_blob[OBJECTS], durable_snapshot[OBJECTS], lost_blob[OBJECTS], lost_snapshot[OBJECTS];
	unsigned durable_pieces[OBJECTS], durable_life[OBJECTS];
	bool lost_pieces[OBJECTS]; /* what is written of this life */
	unsigned committed;        /* snapshots in the database */
	uint64_t txid, clock_ns;
	unsigned steps, calls, syncs, failed_syncs;
	unsigned removed_at; /* the call at which the store is removed, or 0 */
	bool comes_again;    /* then; else the recorder is told to end */
	unsigned waits;      /* of the recorder, since it was removed */
	char said[96];       /* by the recorder, at last */
	enum outcome outcome;
	bool may_fail, may_end;
	size_t fsynced, current;   /* the journal */
	char journal_fsynced[JOURNAL_CAP], journal_current[JOURNAL_CAP];
};

static struct model *m;
static char place[64];
static int root = -1, blobs = -1, ingest = -1, snapshots = -1, own = -1, database = -1;
static volatile sig_atomic_t stop;
static bool inside; /* the recorder is running and its calls are steps of the schedule */
static bool pages_written; /* of the next transaction; in the process that is killed it starts anew, as containerd's would */

static uint32_t draw(uint32_t n)
{
	m->random = m->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(m->random >> 33) % n;
}

/* ---- containerd ---- */

static void name_of(char to[80], unsigned i)
{
	(void)snprintf(to, 80, "download-%u", i);
}

static uint8_t byte_of(unsigned i, unsigned life, size_t at)
{
	return (uint8_t)(i * 37 + life * 101 + at * 7 + 1);
}

static struct digest digest_of(unsigned i)
{
	struct digest d = {.kind = DIGEST_SHA256};

	d.bytes[0] = (uint8_t)(i + 1);
	return d;
}

static void blob_name(char to[DIGEST_TEXT_BYTES], unsigned i)
{
	char text[DIGEST_TEXT_BYTES];
	const struct digest d = digest_of(i);

	digest_format(&d, text);
	memcpy(to, strchr(text, ':') + 1, 65);
}

/* A transaction after which the first n snapshots are committed; the others, if there, are active. Copy on write, as bbolt: never
 * into the pages of the two newest. Pages and meta page are two steps. */
static void write_database(unsigned committed, bool meta)
{
	static struct file f;
	static char keys[OBJECTS][24];
	static uint8_t values[OBJECTS][128], bucket[2][16];
	static struct kv all[OBJECTS];
	const uint64_t txid = m->txid + 1;

	if (!f.at)
		f = file_new(PAGE);
	f.used = 2 + REGION * (txid % 3);
	memset(page_at(&f, f.used), 0, (size_t)PAGE * REGION);
	for (unsigned i = 0; i < OBJECTS; i++) {
		const uint8_t kind = i < committed ? 3 : 2, id = (uint8_t)(i + 1); /* SNAPSHOT_COMMITTED, of store.h, and active */
		const struct kv fields[] = {{"id", 2, &id, 1, 0, 0}, {"kind", 4, &kind, 1, 0, 0}};
		(void)snprintf(keys[i], sizeof(keys[i]), "default/%02u/chain", i);
		memset(values[i], 0, 16);
		all[i] = (struct kv){keys[i], strlen(keys[i]), values[i], 16 + lay_page(values[i] + 16, 0, 2, fields, 2), 1, 0};
	}
	const uint64_t leaf = add_page(&f, 2, all, OBJECTS);
	const struct kv inner[] = {BUCKET("snapshots", bucket_value(bucket[0], leaf, 0), 16)};
	const uint64_t v1 = add_page(&f, 2, inner, 1);
	const struct kv outer[] = {BUCKET("v1", bucket_value(bucket[1], v1, 0), 16)};
	const uint64_t top = add_page(&f, 2, outer, 1), freelist = f.used++;
	le(page_at(&f, freelist), freelist, 8);
	le(page_at(&f, freelist) + 8, 16, 2);
	CHECK(f.used <= 2 + REGION * (txid % 3 + 1));
	if (!meta) {
		CHECK(pwrite(database, page_at(&f, 2 + REGION * (txid % 3)), (size_t)PAGE * REGION,
			      (off_t)(PAGE * (2 + REGION * (txid % 3)))) == (ssize_t)(PAGE * REGION));
		return;
	}
	set_meta(&f, (unsigned)(txid % 2), top, freelist, 2 + 3 * REGION, txid);
	CHECK(pwrite(database, page_at(&f, txid % 2), PAGE, (off_t)(PAGE * (txid % 2))) == PAGE);
	m->txid = txid;
	m->committed = committed;
}

static void begin_download(unsigned i)
{
	char name[80];

	name_of(name, i);
	m->now.objects[i].life++;
	m->now.objects[i].pieces = 0;
	m->lost_pieces[i] = false;
	(void)mkdirat(ingest, name, 0700);
	const int dir = openat(ingest, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int data = openat(dir, "data", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(dir >= 0 && data >= 0);
	close(data);
	close(dir);
}

static void write_piece(unsigned i)
{
	struct object *const o = &m->now.objects[i];
	char name[80], path[96];
	uint8_t bytes[PIECE];

	name_of(name, i);
	(void)snprintf(path, sizeof(path), "%s/data", name);
	for (size_t n = 0; n < PIECE; n++)
		bytes[n] = byte_of(i, o->life, o->pieces * PIECE + n);
	const int data = openat(ingest, path, O_WRONLY | O_CLOEXEC);
	CHECK(data >= 0 && pwrite(data, bytes, PIECE, (off_t)(o->pieces * PIECE)) == PIECE);
	close(data);
	o->pieces++;
}

static void commit_blob(unsigned i)
{
	char name[80], path[96], blob[DIGEST_TEXT_BYTES];

	name_of(name, i);
	blob_name(blob, i);
	(void)snprintf(path, sizeof(path), "%s/data", name);
	CHECK(renameat(ingest, path, blobs, blob) == 0 && fchmodat(blobs, blob, 0444, 0) == 0);
	CHECK(unlinkat(ingest, name, AT_REMOVEDIR) == 0);
	m->now.objects[i].blob = true;
}

static void fill_snapshot(unsigned i)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "%u", i + 1);
	CHECK(mkdirat(snapshots, name, 0700) == 0);
	m->now.filled[i] = true;
}

static void step(void)
{
	const unsigned i = draw(OBJECTS);
	struct object *const o = &m->now.objects[i];

	m->steps++;
	if (draw(3) == 0) {
		unsigned filled = m->committed;
		if (!m->now.filled[m->committed % OBJECTS] && m->committed < OBJECTS && !pages_written)
			fill_snapshot(m->committed);
		else if (filled < OBJECTS || draw(2)) { /* or one that changes nothing of ours */
			write_database(filled < OBJECTS ? filled + 1 : filled, pages_written);
			pages_written = !pages_written;
		}
	} else if (o->blob) {
		return;
	} else if (!o->life || draw(12) == 0) {
		begin_download(i);
	} else if (o->pieces < PIECES) {
		write_piece(i);
	} else {
		commit_blob(i);
	}
}

/* ---- the power ---- */

static size_t slurp(char *to)
{
	const int fd = openat(own, JOURNAL_NAME, O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd < 0 ? 0 : read(fd, to, JOURNAL_CAP);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static void remove_files(void)
{
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", place);
	CHECK(system(command) == 0); /* NOLINT(cert-env33-c): a name of our own */
}

static void instant(void)
{
	if (!inside)
		return;
	if (++m->calls == m->removed_at)
		remove_files();
	for (unsigned n = m->steps < STEPS && draw(8) == 0 ? 1 + draw(4) : 0; n; n--)
		step();
	if (m->may_end && draw(400) == 0) {
		m->outcome = draw(2) ? CUT : KILLED;
		_exit(0);
	}
}

static void sync_began(struct state *then)
{
	*then = m->now;
}

static void sync_ended(const struct state *then)
{
	m->syncs++;
	for (unsigned i = 0; i < OBJECTS; i++) {
		const struct object *const o = &then->objects[i];
		m->durable_blob[i] |= o->blob && !m->lost_blob[i] && !m->lost_pieces[i];
		m->durable_snapshot[i] |= then->filled[i] && !m->lost_snapshot[i];
		if (o->life == m->now.objects[i].life && !m->lost_pieces[i]) {
			m->durable_pieces[i] = o->pieces;
			m->durable_life[i] = o->life;
		}
	}
}

/* What it had to write reads well, until the power goes. */
static void sync_failed(const struct state *then)
{
	m->failed_syncs++;
	for (unsigned i = 0; i < OBJECTS; i++) {
		const struct object *const o = &then->objects[i];
		m->lost_blob[i] |= o->blob && !m->durable_blob[i];
		m->lost_snapshot[i] |= then->filled[i] && !m->durable_snapshot[i];
		m->lost_pieces[i] |= o->life == m->now.objects[i].life && !m->durable_blob[i] &&
				     (o->life != m->durable_life[i] || o->pieces > m->durable_pieces[i]);
	}
}

enum rc __real_os_syncfs(int fd, struct err *e);
enum rc __wrap_os_syncfs(int fd, struct err *e);
enum rc __wrap_os_syncfs(int fd, struct err *e)
{
	struct state then;

	(void)fd;
	if (!inside)
		return RC_OK;
	instant();
	sync_began(&then);
	instant();
	if (m->may_fail && draw(3) == 0) {
		sync_failed(&then);
		return fail(e, RC_IO, "a sync fails");
	}
	sync_ended(&then);
	instant();
	return RC_OK;
}

enum rc __wrap_os_fsync(int fd, struct err *e);
enum rc __wrap_os_fsync(int fd, struct err *e)
{
	(void)fd;
	(void)e;
	instant(); /* only the journal and its directory are synced so */
	m->fsynced = slurp(m->journal_fsynced);
	instant();
	return RC_OK;
}

uint64_t __wrap_os_clock_ns(void);
uint64_t __wrap_os_clock_ns(void)
{
	return m->clock_ns += 1000000;
}

void __wrap_os_wait(int fd, int64_t ms, const volatile sig_atomic_t *asked);
void __wrap_os_wait(int fd, int64_t ms, const volatile sig_atomic_t *asked)
{
	(void)fd;
	(void)asked;
	instant();
	m->clock_ns += ms > 0 ? (uint64_t)ms * 1000000 : 0;
	if (m->comes_again && m->calls >= m->removed_at) {
		if (m->waits == 0)
			CHECK(mkdir(place, 0700) == 0);
		stop = ++m->waits == 4;
	} else if (m->steps >= STEPS) {
		stop = !m->comes_again || ms < 0; /* it has nothing more to do */
	}
}

void __wrap_os_sleep_ms(unsigned ms);
void __wrap_os_sleep_ms(unsigned ms)
{
	(void)ms;
	instant();
}

#define WRAP(name, parameters, arguments)       \
	enum rc __real_##name parameters;       \
	enum rc __wrap_##name parameters;       \
	enum rc __wrap_##name parameters        \
	{                                       \
		instant();                      \
		const enum rc rc = __real_##name arguments; \
		instant();                      \
		return rc;                      \
	}
WRAP(os_write, (int fd, uint64_t off, const void *buf, size_t n, struct err *e), (fd, off, buf, n, e))
WRAP(os_read, (int fd, uint64_t off, void *buf, size_t n, size_t *got, struct err *e), (fd, off, buf, n, got, e))
WRAP(os_open_file, (int dir, const char *name, int *fd, struct err *e), (dir, name, fd, e))
WRAP(os_stat, (int dir, const char *name, struct stat *st, struct err *e), (dir, name, st, e))
WRAP(os_stat_fd, (int fd, struct stat *st, struct err *e), (fd, st, e))
WRAP(os_list, (int dir, struct arena *a, struct os_name **names, size_t *count, struct err *e), (dir, a, names, count, e))
WRAP(os_watch, (int watch, int dir, const char *name, uint32_t events, int *id, struct err *e), (watch, dir, name, events, id, e))
WRAP(os_read_events, (int fd, void *buf, size_t cap, size_t *got, struct err *e), (fd, buf, cap, got, e))

/* ---- a schedule ---- */

static int make_dir(const char *name)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", place, name);
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		(void)mkdir(path, 0700);
		*p = '/';
	}
	(void)mkdir(path, 0700);
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

/* An empty store that was checked in this boot. */
static void begin(uint64_t seed)
{
	struct journal_identity identity;
	struct journal_writer w;
	struct arena a;
	struct err e = {0};
	char boot_id[37] = "";

	memset(m, 0, offsetof(struct model, journal_fsynced));
	pages_written = false;
	m->random = seed * 0x9e3779b97f4a7c15u + 1;
	m->may_end = seed % 4 != 0;
	m->may_fail = seed % 3 == 0 && m->may_end;
	strcpy(place, "/tmp/test_record.XXXXXX");
	CHECK(mkdtemp(place) != NULL);
	root = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	own = make_dir(STORE_OWN_DIR);
	blobs = make_dir(STORE_CONTENT_DIR "/blobs/sha256");
	ingest = make_dir(STORE_CONTENT_DIR "/ingest");
	snapshots = make_dir(STORE_OVERLAY_DIR "/snapshots");
	const int overlay = make_dir(STORE_OVERLAY_DIR);
	database = openat(overlay, "metadata.db", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	close(overlay);
	CHECK(database >= 0);
	for (unsigned i = 0; i < 2; i++) {
		write_database(0, false);
		write_database(0, true);
	}
	CHECK(arena_open(&a, &e) == RC_OK);
	CHECK(identity_read(&identity, root, a, &e) == RC_OK && os_boot_id(boot_id, &e) == RC_OK);
	journal_begin(&w, &identity, &a);
	journal_put_boot(&w, boot_id, JOURNAL_CHECKED, 0);
	journal_put_done(&w, 0);
	CHECK(journal_commit(&w, own, &e) == RC_OK);
	arena_close(&a);
}

static void remove_tree(void)
{
	remove_files();
	int *const fds[] = {&root, &blobs, &ingest, &snapshots, &own, &database};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		os_close(fds[i]);
}

static void say(void *self, const char *text)
{
	(void)self;
	(void)snprintf(m->said, sizeof(m->said), "%s", text);
}

/* The recorder until it ends, is killed, or the power goes. */
static void record(void)
{
	m->outcome = RUNS;
	(void)fflush(stdout);
	const pid_t child = fork();
	if (child == 0) {
		struct err e = {0};
		alarm(TEST_ALARM_SECONDS); /* it is not inherited */
		const struct record_options o = {.interval_ns = 1, .distance_ns = 1, .stop = &stop, .say = say};
		inside = true;
		const enum rc rc = record_run(place, &o, &e);
		inside = false;
		CHECK(rc == RC_OK || (rc == RC_IO && m->failed_syncs));
		if (test_faults)
			printf("# %d: %s\n", rc, e.text);
		m->outcome = ENDED;
		(void)fflush(stdout);
		_exit(test_faults != 0);
	}
	int status = 0;
	CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(m->outcome != RUNS);
	m->current = slurp(m->journal_current);
}

/* If the download's first bytes have this sum, they were durable. Else the disk never had them: it was begun anew between two looks
 * of the recorder, and a boot, which compares the sum, keeps nothing of it. */
static bool download_holds(unsigned i, uint64_t size, uint64_t sum)
{
	const struct object *const now = &m->now.objects[i];
	uint8_t room[PIECES * PIECE];
	struct wide_sum s;

	if (size > sizeof(room))
		return false;
	for (size_t at = 0; at < size; at++)
		room[at] = byte_of(i, now->life, at);
	wide_sum_begin(&s);
	wide_sum_add(&s, room, (size_t)size);
	return wide_sum_end(&s) != sum || m->durable_blob[i] ||
	       (now->life == m->durable_life[i] && size <= (uint64_t)m->durable_pieces[i] * PIECE);
}

/* What a boot would read in a journal of these bytes; returns how much it vouches for. */
static size_t judge(const char *bytes, size_t n)
{
	struct journal j = {0};
	struct arena a;
	struct err e = {0};
	char dir[] = "/tmp/test_record.j.XXXXXX";
	size_t count = 0;

	CHECK(mkdtemp(dir) != NULL);
	const int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int fd = openat(at, JOURNAL_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(at >= 0 && fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
	close(fd);
	CHECK(arena_open(&a, &e) == RC_OK && journal_read(&j, at, &a, &e) == RC_OK);
	for (unsigned i = 0; i < OBJECTS; i++) {
		char name[80];
		const struct digest d = digest_of(i);
		name_of(name, i);
		for (size_t k = 0; k < j.blob_count; k++)
			if (memcmp(j.blobs[k].digest.bytes, d.bytes, sizeof(d.bytes)) == 0) {
				CHECK(m->durable_blob[i]);
				count++;
			}
		for (size_t k = 0; k < j.snapshot_count; k++)
			if (j.snapshots[k].id == i + 1) {
				CHECK(m->durable_snapshot[i]);
				count++;
			}
		const struct journal_ingest *const in = journal_find_ingest(&j, span_of_string(name));
		CHECK(!in || download_holds(i, in->size, in->sum));
		count += in != NULL;
	}
	arena_close(&a);
	CHECK(unlinkat(at, JOURNAL_NAME, 0) == 0 && rmdir(dir) == 0);
	close(at);
	return count;
}

/* After a cut: the journal as it was last synced; and the newer one, whole or torn. */
static void judge_torn(void)
{
	static char torn[JOURNAL_CAP];
	size_t same = 0;

	(void)judge(m->journal_fsynced, m->fsynced);
	(void)judge(m->journal_current, m->current);
	while (same < m->fsynced && same < m->current && m->journal_fsynced[same] == m->journal_current[same])
		same++;
	for (unsigned n = 0; n < 4 && same < m->current; n++) {
		const size_t at = same + draw((uint32_t)(m->current - same)), end = draw(2) ? m->current : at;
		memcpy(torn, m->journal_current, m->current);
		memset(torn + at, draw(2) ? 0 : 'x', (size_t)draw((uint32_t)(end - at + 1)));
		(void)judge(torn, end);
	}
}

static unsigned cuts, kills, failures, vouched;

static void schedule(uint64_t seed)
{
	unsigned after_failure = 0;

	begin(seed);
	m->fsynced = slurp(m->journal_fsynced);
	do { /* killed or failed, it is started again */
		stop = 0;
		record();
		judge_torn(); /* a kill, too, may be followed by a cut */
		kills += m->outcome == KILLED;
	} while (m->outcome == KILLED || (m->outcome == ENDED && m->failed_syncs && after_failure++ < 2));
	cuts += m->outcome == CUT;
	failures += m->failed_syncs != 0;
	const size_t count = judge(m->journal_current, m->current);
	vouched += count != 0;
	if (m->outcome == ENDED && !m->failed_syncs) { /* and all there is, is known */
		size_t there = m->committed;
		for (unsigned i = 0; i < OBJECTS; i++)
			there += m->now.objects[i].blob;
		CHECK(count >= there && there);
	}
	remove_tree();
	if (test_faults)
		printf("# seed %llu\n", (unsigned long long)seed);
}

static void nothing_is_vouched_for_that_was_not_durable(void)
{
	const char *const only = getenv("SEED"), *const many = getenv("SCHEDULES"); /* fewer where a fork takes a second */
	const unsigned schedules = many ? (unsigned)atoi(many) : 300;

	if (only) {
		schedule(strtoull(only, NULL, 10));
	} else {
		for (uint64_t seed = 1; seed <= schedules && !test_faults; seed++)
			schedule(seed);
		CHECK(cuts > schedules / 8 && kills > schedules / 8 && failures > schedules / 16 && vouched > schedules / 2);
	}
	if (test_faults)
		printf("# %u cuts, %u kills, %u with failed syncs, %u vouch for something\n", cuts, kills, failures, vouched);
}

/* At each of its calls: it ends well if it is told to, and if not, it finds the next one. */
static void a_store_may_be_removed_at_any_time(void)
{
	for (int again = 0; again < 2; again++) {
		bool reached = true;
		unsigned at = 0, found = 0;
		while (reached && !test_faults) {
			begin(0);
			while (m->steps < STEPS)
				step();
			m->removed_at = ++at;
			m->comes_again = again;
			stop = 0;
			record();
			CHECK(m->outcome == ENDED);
			reached = m->calls >= at;
			/* unless it was told to end before */
			CHECK(!m->waits || strncmp(m->said, "waiting: no check", 17) == 0);
			found += m->waits != 0;
			CHECK(reached || strcmp(m->said, "recording") == 0);
			remove_tree();
		}
		if (test_faults)
			printf("# removed at call %u: %s\n", at, m->said);
		CHECK(at > 50 && (!again || found > 50));
	}
}

int main(void)
{
	m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return 1;
	RUN(nothing_is_vouched_for_that_was_not_durable);
	RUN(a_store_may_be_removed_at_any_time);
	(void)munmap(m, sizeof(*m));
	return test_failed != 0;
}
