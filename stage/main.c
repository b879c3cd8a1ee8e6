/* SPDX-License-Identifier: MIT */
/* Command line in, exit status out. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "opts.h"
#include "os.h"
#include "os_write.h"
#include "plan.h"
#include "report.h"
#include "store.h"
#include "survey.h"

/* The one thing a signal handler may touch. */
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static const char *refusal_text(enum store_refusal r)
{
	switch (r) {
	case STORE_NOT_THERE:
		return "no such directory: give containerd's root, for example /var/lib/containerd";
	case STORE_NOT_A_ROOT:
		return "is not a containerd root (no io.containerd.* directory with a store in it)";
	case STORE_RUNNING:
		return "containerd is running (it holds the lock of meta.db): stop it first, for example systemctl stop containerd";
	case STORE_OPENED:
	default:
		return "";
	}
}

struct run {
	const struct opts *opts;
	struct report_options report;
	struct arena keep, scratch;
};

/* Open, look, decide, touch; what each came to is in *out for the report, whatever happens. */
static enum rc run_root(struct run *r, struct outcome *out, struct store *st, struct survey *s, struct plan *p,
	struct apply_result *applied, struct progress_state *progress, struct err *e)
{
	const struct opts *const o = r->opts;
	const unsigned threads = o->threads ? o->threads : os_cpu_count();
	const struct survey_options looking = {.threads = threads,
		.stop = &stop,
		.documents_only = o->verb == VERB_SHOW,
		.progress = report_progress,
		.self = progress};
	const struct plan_options deciding = {.keep = o->keep, .now_ns = os_calendar_ns()};
	const struct apply_options touching = {.stop = &stop, .progress = report_progress, .self = progress};
	enum rc rc = store_open(st, out->root, o->sysroot, &r->keep, r->scratch, &out->refusal, e);

	if (rc || out->refusal != STORE_OPENED)
		return rc;
	out->store = st;
	if (o->verb == VERB_REPAIR && st->read_only)
		return fail(e, RC_IO, "the file system is mounted read-only: remount it, or run containerd-fsck check");
	if ((rc = survey(s, st, &looking, &r->keep, e)))
		return rc;
	out->survey = s;
	if ((rc = plan_make(p, st, s, &deciding, &r->keep, e)))
		return rc;
	out->plan = p;
	if (o->verb != VERB_REPAIR || s->halted || s->interrupted)
		return RC_OK;
	out->applied = applied;
	return apply_plan(p, st, s, &touching, &r->keep, applied, e);
}

static enum rc write_json(const struct opts *o, const struct outcome *out, bool first, struct err *e)
{
	FILE *file = stdout;
	enum rc rc;

	if (!o->json)
		return RC_OK;
	if (strcmp(o->json, "-") != 0 && !(file = fopen(o->json, first ? "we" : "ae")))
		return fail(e, RC_IO, "open %s", o->json);
	rc = report_json(out, file, e);
	if (file != stdout && fclose(file) && rc == RC_OK)
		rc = fail(e, RC_IO, "write %s", o->json);
	return rc;
}

static void say_failure(const struct run *r, const char *about, const struct err *e)
{
	char text[sizeof(e->text) + 100];

	(void)snprintf(text, sizeof(text), "%s%s%s", e->text, e->sys_errno ? ": " : "",
		e->sys_errno ? strerror(e->sys_errno) : ""); /* fits */
	report_message(&r->report, about, text);
}

static enum exit_status one_root(struct run *r, const char *root, bool first)
{
	struct outcome out = {.root = root, .repair = r->opts->verb == VERB_REPAIR, .started_ns = os_calendar_ns()};
	struct progress_state progress = {.options = &r->report, .terminal = isatty(2) == 1};
	struct apply_result applied = {0};
	struct survey s = {0};
	struct store st = {.dir = -1,
		.blobs = -1,
		.ingest_dir = -1,
		.snapshots_dir = -1,
		.meta = {.dir = -1, .fd = -1},
		.overlay = {.dir = -1, .fd = -1}};
	struct plan p = {0};
	struct err e = {0}, late = {0};
	const uint64_t began = os_clock_ns();
	const struct arena mark = r->keep;
	char command[4300];

	/* only told; the sysroot is in root already, and must not be put before it again */
	const size_t before = strlen(r->opts->sysroot);
	(void)snprintf(command, sizeof(command), "containerd-fsck repair %s%s%s'%s'", before ? "--sysroot '" : "",
		r->opts->sysroot, before ? "' " : "", root + before);
	r->report.command = command;
	const enum rc rc = run_root(r, &out, &st, &s, &p, &applied, &progress, &e);
	report_progress_end(&progress);
	out.elapsed_ns = os_clock_ns() - began;
	out.peak_bytes = arena_peak(&r->keep) + arena_peak(&r->scratch) + (size_t)s.peak_bytes;
	out.failure = rc ? &e : NULL;
	if (rc && !e.rc)
		(void)fail(&e, rc, "the store could not be read"); /* a reason that nobody gave is still told */
	out.status = report_status(&out, r->opts->verb == VERB_REPAIR);
	if (out.refusal != STORE_OPENED) {
		report_message(&r->report, root, refusal_text(out.refusal));
	} else if (r->opts->verb == VERB_SHOW && rc == RC_OK && !s.halted) {
		report_show(&out, &r->report);
		out.status = EXIT_CLEAN;
	} else {
		report_console(&out, &r->report);
	}
	if (out.applied && out.applied->done && report_keep(&out, &late)) {
		say_failure(r, root, &late);
		out.status = EXIT_FAILED;
	}
	if (write_json(r->opts, &out, first, &late)) {
		say_failure(r, r->opts->json, &late);
		out.status = EXIT_FAILED;
	}
	survey_close(&s);
	store_close(&st);
	r->keep = mark;
	return out.status;
}

static enum exit_status all_roots(struct run *r)
{
	const struct opts *const o = r->opts;
	const char **roots = NULL;
	struct err e = {0};
	unsigned status = EXIT_CLEAN;
	size_t count = o->root_count;

	if (count) {
		roots = arena_array(&r->keep, count + 1, sizeof(*roots));
		for (size_t i = 0; roots && i < count; i++)
			roots[i] = !*o->sysroot ? o->roots[i]
						: arena_printf(&r->keep, "%s%s%s", o->sysroot,
							  *o->roots[i] == '/' ? "" : "/", o->roots[i]);
	} else if (store_well_known(o->sysroot, &r->keep, &roots, &e) == RC_OK) {
		while (roots[count])
			count++;
	}
	if (!roots) {
		report_message(&r->report, "containerd-fsck", "no memory");
		return EXIT_FAILED;
	}
	if (count == 0) {
		report_message(&r->report, "containerd-fsck", "no containerd root was found: name one, see containerd-fsck --help");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < count && !stop; i++) {
		const unsigned one = roots[i] ? one_root(r, roots[i], i == 0) : EXIT_FAILED;
		status = one > status ? one : status; /* the numbers grow with the weight */
	}
	return (enum exit_status)(stop ? EXIT_INTERRUPTED : status);
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct opts o;
	struct err e = {0};

	if (opts_parse(&o, argc, argv, &e)) {
		(void)fprintf(stderr, "containerd-fsck: %s\ntry: containerd-fsck --help\n", e.text);
		return EXIT_USAGE;
	}
	if (o.verb == VERB_HELP || o.verb == VERB_VERSION) {
		(void)fputs(o.verb == VERB_HELP ? opts_help : "containerd-fsck " PROGRAM_VERSION "\n", stdout);
		return fflush(stdout) ? EXIT_FAILED : EXIT_CLEAN;
	}
	if (o.verb != VERB_REPAIR)
		os_write_forbid();
	(void)umask(0); /* every mode we make is meant */
	/* a console that goes away must not end a repair between two writes; it would be safe, but not finished */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigaction(SIGINT, &action, NULL); /* valid signals: cannot fail */
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
	struct run r = {.opts = &o,
		.report = {.quiet = o.quiet,
			.verbose = o.verbose,
			.progress = o.progress,
			.repair = o.verb == VERB_REPAIR,
			.out = o.json && strcmp(o.json, "-") == 0 ? NULL : stdout}};
	if (arena_open(&r.keep, &e) || arena_open(&r.scratch, &e)) {
		(void)fprintf(stderr, "containerd-fsck: %s\n", e.text);
		return EXIT_FAILED;
	}
	const enum exit_status status = all_roots(&r);
	arena_close(&r.scratch);
	arena_close(&r.keep);
	return (int)status;
}
