/* SPDX-License-Identifier: MIT */
/* What is printed of a store whose every name is hostile: no byte of it does anything to a terminal, forges a line, or breaks
 * JSON; and the file of --json, whole or not there. */
#include "tell/report.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/os_write.h"
#include "test.h"

/* clears the screen, ends the line, forges the next one, is a control of Latin-1, turns the line round, is no UTF-8 at all */
#define HOSTILE "\x1b[2J\x1b]0;owned\x07\nclean: nothing is wrong\r\xc2\x9b" "31m\xe2\x80\xae\xff\"\\\x7f\t'; rm -rf / #"
#define TAME "tame"

static char top[] = "/tmp/test-report-XXXXXX";

/* All that has a name from disk in it says `name`, and so do the sentences. */
struct scene {
	struct namespace namespaces[1];
	struct image images[2];
	struct lease leases[1];
	struct finding findings[P_COUNT];
	struct image_state states[2];
	struct store store;
	struct survey survey;
	struct plan plan;
	struct apply_result applied;
	struct err failure;
	struct outcome outcome;
	char left[400], root[400];
};

static void set(struct scene *s, const char *name)
{
	const struct span span = span_of_string(name);

	*s = (struct scene){0};
	(void)snprintf(s->left, sizeof(s->left), "it stands on snapshot %s, which is lost", name);
	(void)snprintf(s->root, sizeof(s->root), "/%s", name);
	s->namespaces[0].name = span;
	for (size_t i = 0; i < 2; i++)
		s->images[i].name = span;
	for (unsigned i = 0; i < P_COUNT; i++) {
		s->findings[i] = (struct finding){.problem = (enum problem_id)i,
			.fate = FATE_LEFT,
			.left = s->left,
			.action = STORE_NONE,
			.path = span,
			.ns = span,
			.name = span,
			.digest = span,
			.why = span};
		s->plan.total[i] = 1;
	}
	s->states[0] = (struct image_state){
		.verdict = IMAGE_NEEDS_PULL, .damaged = true, .left_out = true, .why = s->left};
	s->states[1] = (struct image_state){
		.verdict = IMAGE_IS_UNVERIFIED, .damaged = true, .left_out = true, .why = s->left};
	s->store = (struct store){.path = s->root,
		.boot_evidence = s->left,
		.namespaces = s->namespaces,
		.images = s->images,
		.leases = s->leases,
		.namespace_count = 1,
		.image_count = 2,
		.lease_count = 1,
		.dir = -1};
	s->plan.findings = s->findings;
	s->plan.finding_count = P_COUNT;
	s->plan.images = s->states;
	s->plan.something_left = true;
	s->applied = (struct apply_result){
		.backup = "containerd-fsck/backup", .aside = {"io"}, .aside_paths = {"x"}, .aside_count = 1, .done = 1};
	(void)fail(&s->failure, RC_IO, "open %s", name);
	s->outcome = (struct outcome){.root = s->root,
		.command = "",
		.store = &s->store,
		.survey = &s->survey,
		.plan = &s->plan,
		.applied = &s->applied,
		.repair = true,
		.status = EXIT_LEFT};
}

/* A place for what is told, and what is in it then, with a NUL behind; the caller's to free. */
static int paper(void)
{
	const int fd = memfd_create("paper", MFD_CLOEXEC);

	if (fd < 0)
		abort();
	return fd;
}

static char *read_paper(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		abort();
	const size_t n = (size_t)st.st_size;
	char *const text = calloc(1, n + 1);
	if (!text || pread(fd, text, n, 0) != (ssize_t)n || close(fd))
		abort();
	return text;
}

/* Everything on the console and everything as JSON, in every mood: the lines, with a NUL behind. */
static char *all_that_is_told(const char *name)
{
	static struct scene s;
	const int out = paper();
	struct report_options options = {.verbose = true, .out = out};
	struct err e = {0};

	for (unsigned mood = 0; mood < 8; mood++) {
		set(&s, name);
		options.repair = mood & 1;
		options.log = mood & 2 ? REPORT_JOURNAL : REPORT_NO_LOG;
		s.outcome.command = s.left;
		s.outcome.applied = mood & 1 ? &s.applied : NULL;
		s.outcome.failure = mood & 4 ? &s.failure : NULL;
		report_console(&s.outcome, &options);
		report_message(&options, s.root, s.left);
		CHECK(report_json(&s.outcome, out, &e) == RC_OK);
	}
	return read_paper(out);
}

static size_t lines_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void nothing_does_anything(void)
{
	char *const hostile = all_that_is_told(HOSTILE), *const tame = all_that_is_told(TAME);

	for (const char *c = hostile; *c; c++)
		CHECK(*c == '\n' || (*c >= 0x20 && *c < 0x7f)); /* of what is more than ASCII in it, nothing may be printed */
	CHECK(lines_of(hostile) == lines_of(tame) && lines_of(tame) > 8 * P_COUNT);
	CHECK(!strstr(hostile, "\nclean: nothing is wrong") && strstr(hostile, "\\x0aclean: nothing is wrong"));
	CHECK(strstr(hostile, "because it stands on snapshot \\x1b[2J"));
	free(hostile);
	free(tame);
}

/* Strings that end where they should, and a bracket for each bracket: enough of JSON to see whether a name gets out of its own. */
static bool is_json(const char *text, const char **end)
{
	size_t depth = 0;

	do {
		if (*text == '"') {
			for (text++; *text && *text != '"'; text++) {
				if ((unsigned char)*text < 0x20)
					return false;
				if (*text == '\\' && !strchr("\"\\", *++text))
					return false;
			}
		}
		depth += *text == '{' || *text == '[';
		depth -= *text == '}' || *text == ']';
		if (!*text++)
			return false;
	} while (depth);
	*end = text;
	return true;
}

static void json_stays_json(void)
{
	static const char *const names[] = {HOSTILE, TAME, "\\", "\"", "\\\"", "a\\", "\"}],\"x\":[{\""};
	static struct scene s;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *end = NULL;
		const int out = paper();
		struct err e = {0};
		set(&s, names[i]);
		s.outcome.failure = &s.failure;
		CHECK(report_json(&s.outcome, out, &e) == RC_OK);
		char *const text = read_paper(out);
		CHECK(is_json(text, &end) && strcmp(end, "\n") == 0);
		free(text);
	}
}

/* What a person is told to type must be what it seems to be. */
static void a_name_is_one_word(void)
{
	static struct scene s;
	const int out = paper();
	const struct report_options options = {.repair = true, .out = out};

	set(&s, "x'; reboot #");
	report_console(&s.outcome, &options);
	char *const text = read_paper(out);
	CHECK(text && strstr(text, "ctr -n 'x'\\''; reboot #' images pull 'x'\\''; reboot #'\n"));
	CHECK(text && strstr(text, "a pull leaves out: ctr -n 'x'\\''; reboot #' content fetch 'x'\\''; reboot #'\n"));
	CHECK(text && strstr(text, "once containerd runs: ctr -n 'x'\\''; reboot #' content fetch 'x'\\''; reboot #'\n"));
	free(text);
}

/* What is to be typed, by whose root and namespace it is, and whether a registry had it. */
static void each_client_has_its_line(void)
{
	static const struct {
		const char *root, *ns;
		bool nerdctl, imported, pinned;
		const char *want;
	} rows[] = {
		{"/var/lib/containerd", "default", false, false, false, "next, once containerd runs: ctr -n default images pull a/b:1\n"},
		{"/srv/other", "default", false, true, false,
			"next, once containerd runs, unless a registry has a/b:1: ctr -n default images import ARCHIVE\n"},
		{"/var/lib/containerd", "default", true, false, false, "runs: nerdctl -n default pull a/b:1\n"},
		{"/var/lib/containerd", "k8s.io", false, false, false, "runs: crictl pull a/b:1\n"},
		{"/var/lib/containerd", "moby", false, false, false, "next, once docker runs: docker pull a/b:1\n"},
		{"/var/lib/containerd", "moby", false, true, false,
			"next, once docker runs, build a/b:1 again, or load it: docker load -i ARCHIVE\n"},
		{"/var/lib/docker/containerd/daemon", "moby", false, false, false,
			"that a pull leaves out: ctr --address /run/docker/containerd/containerd.sock -n moby content fetch a/b:1\n"},
		{"/x/var/lib/rancher/k3s/agent/containerd//", "k8s.io", false, false, false,
			"runs: k3s ctr -n k8s.io images pull a/b:1\n"},
		{"/var/lib/rancher/rke2/agent/containerd", "k8s.io", false, false, false,
			"runs: /var/lib/rancher/rke2/bin/ctr --address /run/k3s/containerd/containerd.sock -n k8s.io images pull a/b:1\n"},
		{"/var/lib/k0s/containerd", "k8s.io", true, false, false, "runs: k0s ctr -n k8s.io images pull a/b:1\n"},
		{"/var/snap/microk8s/common/var/lib/containerd", "k8s.io", false, false, false,
			"runs: microk8s ctr -n k8s.io images pull a/b:1\n"},
		{"/var/lib/host-containerd", "default", false, false, false,
			"runs: ctr --address /run/host-containerd/containerd.sock -n default images pull a/b:1\n"},
		{"/var/lib/containerd", "k8s.io", false, false, true,
			"next, once containerd runs: ctr -n k8s.io content fetch a/b:1\n"
			"then, for what containers stand on, once containerd has stopped: REPAIR\n"},
		{"/var/lib/containerd", "moby", false, true, true,
			"or load it: docker load -i ARCHIVE\n"
			"then, for what containers stand on, once containerd has stopped: REPAIR\n"},
	};
	static struct scene s;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const int out = paper();
		const struct report_options options = {.repair = true, .out = out};
		set(&s, "a/b:1");
		s.outcome.command = "REPAIR";
		s.namespaces[0] = (struct namespace){.name = span_of_string(rows[i].ns),
			.kubernetes = strcmp(rows[i].ns, "k8s.io") == 0,
			.nerdctl = rows[i].nerdctl};
		s.outcome.root = rows[i].root;
		s.store.image_count = 1;
		s.states[0].imported = rows[i].imported;
		s.states[0].pinned = rows[i].pinned;
		report_console(&s.outcome, &options);
		char *const text = read_paper(out);
		const bool said = text && strstr(text, rows[i].want);
		CHECK(said || !fprintf(stderr, "row %zu: %s\n", i, text ? strstr(text, "next, once") : ""));
		CHECK(text && (!rows[i].imported || !strstr(text, " pull ")));
		free(text);
	}
}

/* ---- the table of images ---- */

/* A base that two images stand on, and one more snapshot of each; two names of one image, and two images of the same short name. */
static void an_image_has_its_line(void)
{
	static const char *const want[] = {
		"images: 5, 0 whole, 3 damaged and repairable, 1 must be pulled, 1 not verified\n"
		"  IMAGE            NAMESPACE  LOST                  STATE\n"
		"  quay.io/x/two:1  default    -                     must be pulled:\n"
		"      its manifest is not local\n"
		"  a b\\xff          default    -                     not verified:\n"
		"      unchecked: it is a long story, and the line has no room for all of it\n"
		"  library/one:1    default    3 entries, 201 bytes  repairable from its layers\n"
		"      and 1 more name of it\n"
		"  ghcr.io/x/two:1  default    4 entries, 3 bytes    repairable from its layers\n",
		"  0301  library/one:1 and others: f is empty, its layer has 9 bytes [repair can put it right]\n"
		"  0301  library/one:1: f is empty, its layer has 9 bytes [repair can put it right]\n"
		"  0301  ghcr.io/x/two:1: f is empty, its layer has 9 bytes [repair can put it right]\n"
		"  0301  snapshot sha256:eee: f is empty, its layer has 9 bytes [repair can put it right]\n",
		"\33[31mmust be pulled\33[m:\n", "\33[33mnot verified\33[m:\n", "\33[32mrepairable\33[m from its layers\n"};
	static struct scene s;
	static char keys[4][8 + 64];
	struct snapshot snapshots[4] = {0};
	struct backend backends[4] = {0};
	struct snapshot_state states[4] = {0};
	struct image_state images[5] = {0};
	struct image named[5] = {0};
	static const char *const names[] = {
		"docker.io/library/one:1", "docker.io/library/one@x", "ghcr.io/x/two:1", "quay.io/x/two:1", "a b\xff"};
	struct arena keep;
	struct err e = {0};

	CHECK(arena_open(&keep, &e) == RC_OK);
	set(&s, TAME);
	for (size_t i = 0; i < 4; i++) {
		memcpy(keys[i], "sha256:", 7);
		memset(keys[i] + 7, "abce"[i], 64);
		snapshots[i] = (struct snapshot){.key = span_of(keys[i], 71), .backend = i};
		backends[i] = (struct backend){.snapshot = i};
		states[i] = (struct snapshot_state){.verdict = SNAPSHOT_IS_TORN};
		s.findings[i] = (struct finding){.problem = P_FILE_EMPTY,
			.subject = SUBJECT_BACKEND,
			.index = i,
			.fate = FATE_REPAIR,
			.action = STORE_NONE,
			.name = i < 3 ? snapshots[i].key : SPAN_LITERAL("sha256:eee"),
			.path = SPAN_LITERAL("f"),
			.digest = SPAN_LITERAL("sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
			.want = 9};
	}
	snapshots[1].parent = snapshots[2].parent = snapshots[0].key;
	snapshots[3].key = SPAN_LITERAL("sha256:eee"); /* a name as nobody gives it, below an image of its own */
	for (size_t i = 0; i < 5; i++) {
		named[i] = (struct image){.name = span_of_string(names[i]), .target_known = true};
		named[i].target.bytes[0] = (uint8_t)(i < 2 ? 1 : i);
		images[i] = (struct image_state){.verdict = IMAGE_IS_HEALED, .why = "its local layers have the damaged files",
			.lost_entries = i < 3 ? 3 + i / 2 : 0,
			.lost_bytes = i < 2 ? 201 : 3,
			.top = i < 2 ? 1 : i == 2 ? 2 : i == 3 ? 3 : STORE_NONE};
	}
	images[3].verdict = IMAGE_NEEDS_PULL;
	images[3].why = "its manifest is not local";
	images[4].verdict = IMAGE_IS_UNVERIFIED;
	images[4].why = "unchecked: it is a long story, and the line has no room for all of it";
	s.namespaces[0] = (struct namespace){.name = SPAN_LITERAL("default"), .images = {0, 5}, .snapshots = {0, 4}};
	s.store.keep = &keep;
	s.store.images = named;
	s.store.image_count = 5;
	s.store.snapshots = snapshots;
	s.store.snapshot_count = 4;
	s.store.backends = backends;
	s.store.backend_count = 4;
	s.survey.snapshots = states;
	s.plan.images = images;
	s.plan.finding_count = 4;
	s.outcome.applied = NULL;
	s.outcome.repair = false;
	for (unsigned colour = 0; colour < 2; colour++) {
		const int out = paper();
		const struct report_options options = {.out = out, .colour = colour};
		report_console(&s.outcome, &options);
		char *const text = read_paper(out);
		for (size_t i = colour ? 2 : 0; i < (colour ? 5 : 2); i++)
			CHECK((text && strstr(text, want[i])) || !fprintf(stderr, "%s\nis not in\n%s\n", want[i], text ? text : ""));
		free(text);
	}
	arena_close(&keep);
}

/* ---- the file of --json ---- */

static enum rc open_it(struct report_file *f, const char *path, struct err *e)
{
	return report_file_open(f, path, false, e);
}

static const char *in_top(char path[300], const char *name)
{
	(void)snprintf(path, 300, "%s/%s", top, name);
	return path;
}

static bool holds(const char *path, const char *want, unsigned mode)
{
	char got[200] = "";
	struct stat st;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);
	const bool same = n >= 0 && strncmp(got, want, strlen(want)) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == mode;

	if (fd >= 0)
		close(fd);
	return same;
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode))
		abort();
	close(fd);
}

static unsigned entries_of_top(void)
{
	char command[400];

	(void)snprintf(command, sizeof(command), "exit $(ls -A %s | wc -l)", top);
	const int status = system(command);
	return WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 99;
}

static const struct outcome nothing = {.root = "/r", .refusal = STORE_NOT_THERE, .status = EXIT_FAILED};

static void a_report_is_whole_or_the_old_one(void)
{
	struct report_file f;
	struct err e = {0};
	char path[300];

	umask(0);
	put_file(in_top(path, "whole"), "old\n", 0600);
	CHECK(open_it(&f, path, &e) == RC_OK && report_file_add(&f, &nothing, &e) == RC_OK);
	CHECK(holds(path, "old\n", 0600) && entries_of_top() == 2);
	CHECK(report_file_add(&f, &nothing, &e) == RC_OK && report_file_close(&f, &e) == RC_OK);
	CHECK(holds(path, "{\"version\":1", 0644) && entries_of_top() == 1);
	struct stat one;
	CHECK(stat(path, &one) == 0);
	CHECK(open_it(&f, path, &e) == RC_OK && report_file_add(&f, &nothing, &e) == RC_OK && report_file_close(&f, &e) == RC_OK);
	struct stat two;
	CHECK(stat(path, &two) == 0 && two.st_size * 2 == one.st_size); /* nothing of the one before */
	CHECK(report_file_close(&f, &e) == RC_OK);
	CHECK(unlink(path) == 0);
}

static void without_a_report_nothing_changes(void)
{
	struct report_file f;
	struct err e = {0};
	char path[300];

	CHECK(open_it(&f, in_top(path, "none"), &e) == RC_OK && report_file_close(&f, &e) == RC_OK && entries_of_top() == 0);
	put_file(path, "old\n", 0640);
	CHECK(open_it(&f, path, &e) == RC_OK && report_file_close(&f, &e) == RC_OK && holds(path, "old\n", 0640));
	CHECK(unlink(path) == 0 && entries_of_top() == 0);
}

static void what_lies_in_its_place(void)
{
	char path[300], other[300], temporary[340];
	struct report_file f;
	struct err e = {0};

	/* a link where the temporary comes, as somebody else could have made it */
	put_file(in_top(other, "other"), "other\n", 0600);
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp-%ld", in_top(path, "place"), (long)getpid());
	CHECK(symlink(other, temporary) == 0);
	CHECK(open_it(&f, path, &e) == RC_OK && report_file_add(&f, &nothing, &e) == RC_OK && report_file_close(&f, &e) == RC_OK);
	CHECK(holds(other, "other\n", 0600) && holds(path, "{", 0644) && entries_of_top() == 2);
	CHECK(unlink(path) == 0);
	/* links are a person's own, and so are pipes */
	CHECK(symlink(other, path) == 0);
	CHECK(open_it(&f, path, &e) == RC_OK && holds(other, "other\n", 0600));
	CHECK(report_file_add(&f, &nothing, &e) == RC_OK && report_file_close(&f, &e) == RC_OK);
	CHECK(holds(other, "{", 0600) && entries_of_top() == 2);
	CHECK(unlink(path) == 0 && unlink(other) == 0);
	CHECK(mkfifo(path, 0600) == 0);
	const int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char text[16] = "";
	CHECK(open_it(&f, path, &e) == RC_OK && report_file_add(&f, &nothing, &e) == RC_OK && report_file_close(&f, &e) == RC_OK);
	CHECK(reader >= 0 && read(reader, text, sizeof(text) - 1) > 0 && strncmp(text, "{\"version\"", 10) == 0);
	close(reader);
	CHECK(unlink(path) == 0 && entries_of_top() == 0);
}

static void a_path_that_cannot_be_is_told_at_once(void)
{
	struct report_file f;
	struct err e = {0};
	char path[300];

	CHECK(open_it(&f, in_top(path, "not/there"), &e) == RC_IO && e.sys_errno && !f.path);
	e = (struct err){0};
	CHECK(open_it(&f, top, &e) == RC_IO && e.sys_errno && !f.path);
	CHECK(report_file_close(&f, &e) == RC_OK && entries_of_top() == 0);
}

static void a_full_disk_leaves_the_old_one(void)
{
	struct report_file f;
	struct err e = {0};

	CHECK(open_it(&f, "/dev/full", &e) == RC_OK && !f.beside);
	CHECK((report_file_add(&f, &nothing, &e) || report_file_close(&f, &e)) && e.sys_errno);
	struct err ignored = {0};
	const enum rc rc = report_file_close(&f, &ignored);
	CHECK(rc == RC_OK || ignored.rc == rc);
}

/* ---- what failed on one root is not the next one's ---- */

static void a_failed_write_is_of_its_run(void)
{
	struct err e = {0};
	const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	os_write_begin();
	CHECK(full >= 0 && !os_write_failed());
	CHECK(os_write(full, 0, "x", 1, &e) == RC_IO && os_write_failed());
	CHECK(os_write_failed());
	os_write_begin();
	CHECK(!os_write_failed());
	CHECK(os_rmdir(full, "x", &e) == RC_IO && !os_write_failed()); /* no directory: nothing is wrong with a disk */
	close(full);
}

int main(void)
{
	if (!mkdtemp(top))
		return 1;
	RUN(nothing_does_anything);
	RUN(json_stays_json);
	RUN(a_name_is_one_word);
	RUN(each_client_has_its_line);
	RUN(an_image_has_its_line);
	RUN(a_report_is_whole_or_the_old_one);
	RUN(without_a_report_nothing_changes);
	RUN(what_lies_in_its_place);
	RUN(a_path_that_cannot_be_is_told_at_once);
	RUN(a_full_disk_leaves_the_old_one);
	RUN(a_failed_write_is_of_its_run);
	rmdir(top);
	return test_failed != 0;
}
