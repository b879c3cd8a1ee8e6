/* SPDX-License-Identifier: MIT */
/* Command line in, exit status out. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/acks.h"
#include "memory/own.h"
#include "repair/apply.h"
#include "repair/dockerd.h"
#include "repair/fetch.h"
#include "memory/at.h"
#include "session/boot.h"
#include "ground/host.h"
#include "opts.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "store/places.h"
#include "repair/plan.h"
#include "policy/policy.h"
#include "session/record.h"
#include "session/scrub.h"
#include "tell/report.h"
#include "tell/runs.h"
#include "repair/salvage.h"
#include "session/seal.h"
#include "store/store.h"
#include "check/survey.h"

/* The one thing a signal handler may touch. */
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* Why a root was not looked at, and what to type instead. */
static const char *refusal_text(enum store_refusal r, const char *path, struct arena *a, struct arena scratch)
{
	const char *known = NULL;

	switch (r) {
	case STORE_NOT_THERE:
		return "no such directory: give containerd's root, for example /var/lib/containerd";
	case STORE_NOT_A_ROOT:
		known = places_explain(path, a, scratch);
		return known ? known : "is not a containerd root (no io.containerd.* directory with a store in it)";
	case STORE_RUNNING:
		return "containerd is running (it holds the lock of meta.db): stop it first, for example systemctl stop containerd";
	case STORE_OPENED:
	default:
		return "";
	}
}

struct run {
	const struct opts *opts;
	const char *sysroot;     /* "" for none */
	struct report_options report;
	struct arena keep, scratch;
	bool repair;             /* and not only look */
	bool journalled;         /* what comes out of it is written into the journal, which is made if need be */
	const struct journal *trust; /* NULL: everything is looked at */
	const struct journal *read;  /* what boot has read of it, trusted or not; NULL: nothing */
	const struct journal *stuck; /* what it says the last checks ended at is passed over; NULL: nothing is */
	int at_dir;              /* of `at`, in our directory; -1 if it is not open */
	uint64_t deadline_ns;    /* 0: none */
	struct pace pace;        /* of this thread, while it reads a store */
	bool was_reset;          /* `salvage` was */
	bool dockerd;            /* it is docker's data root, which nobody named */
	const char *recorded;    /* the root that is recorded */
	const struct store *store; /* that is being looked at */
	struct runs_root *told;  /* by place: what the last runs over it came to, this one included, once that is known */
	size_t told_count;       /* and the one that is worked on */
	bool noted;              /* there is one */
	bool looked;             /* at a store, in this boot */
	bool unclean;            /* this boot follows a stop that was not clean */
	struct store_hints hints;
	struct at at;            /* is told what is worked on */
	struct scrub scrub;      /* of the root that is worked on */
	struct salvage salvage;  /* the same */
	struct report_file json; /* of --json, but for standard output */
};

/* Of a struct pace. */
static enum rc ask(void *self, struct err *e)
{
	const struct run *const r = self;

	if (stop)
		return fail(e, RC_STOPPED, "it was stopped while it read the store");
	if (r->deadline_ns && os_clock_ns() >= r->deadline_ns)
		return fail(e, RC_STOPPED, "unchecked: the time allowed (--budget) was over while the store was read");
	return RC_OK;
}

/* A root as the person named it, and where that is. */
struct place {
	const char *named, *path;
	bool by_name; /* somebody named it, so that it must be there */
	bool dockerd; /* nobody did: docker's data root, which goes with one of the others; of one that somebody named it is looked at */
};

/* What helps even where nothing is trusted: the order of a run that may run out of time, and what is compared anyway. */
static const struct journal *journal_of(struct run *r, const struct store *st)
{
	struct journal *const j = arena_get(&r->keep, sizeof(*j));
	struct err ignored = {0}; /* then there is no help */
	auto_fd own = -1;

	if (!j || os_open_dir(st->dir, STORE_OWN_DIR, &own, &ignored) ||
		journal_read(j, own, &r->keep, &ignored) || !j->present || journal_add_doubts(j, own, &r->keep, &ignored))
		return NULL;
	return j;
}

static struct span acks_of(struct run *r, int dir)
{
	struct err ignored = {0};
	auto_fd own = -1;

	return acks_read(os_open_dir(dir, STORE_OWN_DIR, &own, &ignored) ? -1 : own, &r->keep);
}

/* A repair by hand: the marker, if there is one, is used up before the first change, and until the repair has ended nothing is
 * sealed. A cut leaves a check that began. */
static enum rc note_repair(struct run *r, const struct store *st, struct err *e)
{
	struct arena scratch = r->scratch;
	struct journal j = {0};
	auto_fd own = -1;
	struct err ignored = {0};

	if (r->journalled || os_open_dir(st->dir, STORE_OWN_DIR, &own, &ignored))
		return RC_OK; /* boot has done it, or there is no journal */
	const enum rc rc = journal_read(&j, own, &scratch, e);
	if (rc || !j.present)
		return rc;
	return journal_append_boot(&j, own, *st->boot_id ? st->boot_id : "-", JOURNAL_CHECKED, 0, scratch, e);
}

/* What a repair by hand puts right is noted as well, if there is a place for it; what it looks at is not, for a look that is killed is no
 * attempt of the next boot's. What the file says of a check that did not end is kept for the next boot.
 * A cut leaves the old file, or the journal with what it said. */
static void begin_at(struct run *r, const struct store *st, bool something_to_do)
{
	struct arena scratch = r->scratch;
	struct stat left = {0};
	struct at_name *const names = arena_array(&scratch, AT_NAMES_MAX, sizeof(*names));
	struct journal j = {0};
	struct err ignored = {0}; /* it helps, and is not needed */
	size_t count = 0;

	if (r->at.fd >= 0 || !r->repair || !names || os_open_dir(st->dir, STORE_OWN_DIR, &r->at_dir, &ignored))
		return;
	if (!something_to_do && os_stat(r->at_dir, AT_NAME, &left, &ignored))
		return; /* else it is of a repair that was killed after its last action, and goes with the end of this one */
	if (journal_read(&j, r->at_dir, &scratch, &ignored) == RC_OK && j.present && j.unfinished &&
		at_read(r->at_dir, j.boot_id, names, &count, scratch, &ignored) == RC_OK && count &&
		journal_append_ended(&j, r->at_dir, names, count, scratch, &ignored))
		return; /* then that stays what it was */
	at_begin(&r->at, r->at_dir, *st->boot_id ? st->boot_id : "-", false);
}

/* What cannot be done changes what is to be done; a run that ended early is judged by what it did. Each turn leaves something more, so
 * they end. */
static enum rc touch(struct run *r, struct store *st, const struct survey *s, struct plan *p, const struct plan_options *deciding,
	const struct apply_options *touching, struct apply_result *applied, struct err *e)
{
	struct plan_options again = *deciding;
	enum rc rc;

	again.deeds = &applied->deeds;
	do {
		rc = apply_plan(p, st, s, touching, &r->keep, applied, e);
		struct err late = {0};
		struct plan fresh;
		if (!rc && !applied->interrupted && !applied->again)
			break;
		if (plan_make(&fresh, st, s, &again, &r->keep, &late)) {
			for (size_t i = 0; i < st->image_count; i++) /* nobody knows */
				if (p->images[i].verdict == IMAGE_IS_HEALED)
					p->images[i] = (struct image_state){.verdict = IMAGE_IS_UNVERIFIED,
						.why = "no memory to tell what was put back",
						.top = STORE_NONE};
			if (!rc)
				*e = late;
			rc = rc ? rc : late.rc;
			break;
		}
		*p = fresh;
	} while (!rc && applied->again && !applied->interrupted);
	plan_conclude(p, st, s);
	return rc;
}

/* Of fetch_open: what a repair notes before its first change. */
static enum rc before_fetch(void *self, struct err *e)
{
	struct run *const r = self;

	begin_at(r, r->store, true);
	return note_repair(r, r->store, e);
}

static void say_source(void *self, const char *text)
{
	const struct progress_state *const s = self;

	report_message(s->options, "containerd-fsck", text);
}

/* Of what time is left a repair keeps a quarter: what has been found is put right, and the next run begins with the rest. */
static uint64_t look_until(const struct run *r)
{
	const uint64_t now = os_clock_ns();

	return !r->repair || r->deadline_ns <= now ? r->deadline_ns : now + (r->deadline_ns - now) / 4 * 3;
}

/* Whoever waits for containerd's lock has the old file open, and must not get it; the store is opened anew. */
static void begin_anew(struct run *r, struct store *st, struct outcome *out)
{
	struct salvage *const made = &r->salvage;

	if (made->old < 0)
		made->old = take_fd(&st->meta.fd);
	r->hints.meta_lock = made->lock >= 0 ? made->lock : made->old;
	r->trust = NULL;
	store_close(st);
	out->store = NULL;
}

/* Of a store whose databases cannot be worked with: what can be done about that, and, in a repair, that. RC_END: it is to be opened
 * anew, and may show what the first fault hid: as long as there is a database that was not made again in this run. */
static enum rc mend_databases(struct run *r, struct store *st, struct survey *s, struct outcome *out, struct err *e)
{
	struct salvage *const made = &r->salvage;
	enum rc rc = salvage_look(made, st, &r->keep, r->scratch, e);

	if (rc)
		return rc;
	if (made->needed || made->meta.why || made->overlay.why)
		out->salvage = made;
	if (!r->repair || !made->needed)
		return RC_OK;
	if (made->in_use)
		return fail(e, RC_LIMIT, "%s has files of this store open, and a database is to be made again: stop it and run this again",
			made->in_use);
	survey_close(s);
	*s = (struct survey){0};
	if ((rc = note_repair(r, st, e)) || (rc = salvage_write(made, st, &r->keep, r->scratch, e)))
		return rc;
	r->hints.mended = true;
	r->hints.mended_overlay = made->overlay.done;
	begin_anew(r, st, out);
	return RC_END;
}

/* Where a person says so, or has said so and it was cut off. RC_END: it is to be opened anew. */
static enum rc reset(struct run *r, struct store *st, struct outcome *out, struct err *e)
{
	char aside[16], text[200];
	enum rc rc;

	if (!r->repair || r->was_reset || (!r->opts->reset && !store_is_half(st)))
		return RC_OK;
	if ((rc = salvage_reset(&r->salvage, st, aside, &r->keep, r->scratch, e)))
		return rc;
	(void)print_to(text, sizeof(text),
		"reset: containerd begins with nothing but blobs; what was is in " STORE_OWN_DIR "/aside/%s, to be removed by hand", aside);
	report_message(&r->report, out->root, text); /* fits */
	r->was_reset = true;
	begin_anew(r, st, out);
	return RC_END;
}

static void say_failure(const struct run *r, const char *about, const struct err *e)
{
	char text[sizeof(e->text) + 100];

	(void)print_to(text, sizeof(text), "%s%s%s", e->text, e->sys_errno ? ": " : "",
		e->sys_errno ? error_text(e->sys_errno) : ""); /* fits */
	report_message(&r->report, about, text);
}

/* Debian's, of prometheus-node-exporter: where it is there somebody collects. */
#define METRICS_DIR "/var/lib/prometheus/node-exporter"

/* What cannot be written is told, and changes nothing else. */
static void write_metrics(struct run *r, struct arena scratch)
{
	const char *path = r->opts->metrics;
	struct err e = {0};

	if (!path && r->opts->verb != VERB_CHECK && !*r->sysroot && !geteuid() && os_exists(METRICS_DIR))
		path = METRICS_DIR "/containerd-fsck.prom";
	if (path && r->noted && runs_metrics(path, r->told, r->told_count, scratch, &e)) {
		r->report.priority = 4;
		say_failure(r, path, &e);
	}
}

struct teller {
	struct run *run;
	const struct outcome *out;
};

/* A scrub of all may take days. */
static void tell_at_once(void *self, struct arena scratch)
{
	const struct teller *const t = self;
	struct run *const r = t->run;
	struct outcome o = *t->out;
	const struct runs_new new = {.outcome = &o, .verb = RUN_SCRUB, .in_root = true, .in_run = !*r->sysroot};
	struct err ignored = {0}; /* in the end it is told again */

	o.status = EXIT_LEFT;
	r->report.priority = 3;
	report_message(&r->report, o.root, "damage was found: which, is told in the end");
	if (runs_add(&r->told[r->told_count], &new, scratch, &ignored))
		return;
	r->noted = true;
	if (!*r->opts->sysroot && !geteuid())
		runs_journal(&r->told[r->told_count], true);
	r->told_count++;
	write_metrics(r, scratch);
	r->told_count--;
}

/* Beside containerd. What images need is told by a plan that nobody carries out, and which knows no more of the rest. */
static enum rc run_scrub(struct run *r, struct outcome *out, struct store *st, struct survey *s, struct plan *p,
	struct progress_state *progress, struct err *e)
{
	struct plan_options deciding = {0};
	const struct scrub_options options = {.hints = &r->hints,
		.rate = r->opts->rate,
		.image = r->opts->image,
		.slice = r->opts->slice,
		.slices = r->opts->slices,
		.tell = tell_at_once,
		.teller = &(struct teller){r, out},
		.deadline_ns = r->deadline_ns,
		.stop = &stop,
		.progress = report_progress,
		.self = progress};
	size_t kept = 0;
	arena_bound(&r->keep, LIMIT_KEEP_BYTES); /* a second look opens it a second time */
	enum rc rc = scrub_run(&r->scrub, out->root, &options, st, s, &r->keep, r->scratch, &out->refusal, e);

	if (rc == RC_STOPPED || rc == RC_END)
		return RC_OK;
	if (rc)
		return rc;
	out->store = st;
	out->survey = s;
	if (!s->finding_count)
		return RC_OK;
	deciding.acks = acks_of(r, st->dir);
	if ((rc = plan_make(p, st, s, &deciding, &r->keep, e)))
		return rc;
	out->plan = p;
	for (size_t i = 0; i < p->finding_count; i++)
		if (p->findings[i].subject == SUBJECT_IMAGE || p->findings[i].subject == SUBJECT_SNAPSHOT)
			p->total[p->findings[i].problem] = 0;
		else
			p->findings[kept++] = p->findings[i];
	p->finding_count = kept;
	for (size_t i = 0; i < st->image_count; i++) /* it may be coming, or on its way out */
		if (!p->images[i].damaged)
			p->images[i] = (struct image_state){.verdict = IMAGE_IS_UNVERIFIED, .top = STORE_NONE};
	return RC_OK;
}

static void say_scrubbed(struct run *r, const struct outcome *out)
{
	const struct scrub *const s = &r->scrub;
	const size_t n = s->found.count;
	char text[8800];

	(void)print_to(text, sizeof(text),
		"%s%llu blobs and %llu snapshots looked at, %llu MiB read: %zu found damaged%s, now or by an earlier scrub%s%s",
		s->ended ? "" : "stopped, the next one goes on from here: ", (unsigned long long)s->blobs,
		(unsigned long long)s->snapshots, (unsigned long long)(os_bytes_read() >> 20), n,
		s->unreadable ? " or unreadable" : "",
		n ? ". The next boot looks at them again; now: stop containerd, then " : "", n ? out->command : ""); /* fits */
	if (n || !r->opts->quiet)
		report_message(&r->report, out->root, text);
}

/* Of docker's data root, if it is that. */
static enum rc look_at_dockerd(struct run *r, struct outcome *out, struct store *st, struct survey *s, struct plan *p,
	struct apply_result *applied, struct err *e)
{
	const enum rc rc = dockerd_run(st, r->repair, p, applied, &r->keep, r->scratch, e);

	if (!st->dockerd) {
		store_close(st);
		return rc == RC_END ? RC_OK : rc;
	}
	p->acks = acks_of(r, st->dir);
	plan_conclude(p, st, s);
	out->refusal = STORE_OPENED;
	out->store = st;
	out->survey = s;
	out->plan = p;
	out->applied = r->repair ? applied : NULL;
	return rc;
}

/* Open, look, decide, touch; what each came to is in *out for the report, whatever happens. */
static enum rc run_root(struct run *r, struct outcome *out, struct store *st, struct survey *s, struct plan *p,
	struct apply_result *applied, struct progress_state *progress, struct err *e)
{
	const struct opts *const o = r->opts;
	const unsigned threads = o->threads ? (unsigned)o->threads : os_cpu_count();
	struct plan_options deciding = {.keep = o->keep, .now_ns = os_calendar_ns()};
	arena_bound(&r->keep, LIMIT_STORE_BYTES);
	arena_bound(&r->scratch, LIMIT_ARENA_BYTES);
	if (o->verb == VERB_SCRUB)
		return run_scrub(r, out, st, s, p, progress, e);
	enum rc rc = store_open(st, out->root, &r->hints, &r->keep, r->scratch, &out->refusal, e);

	if (rc == RC_OK && r->dockerd) { /* whatever else is in it, nobody named it */
		store_close(st);
		out->refusal = STORE_NOT_A_ROOT;
	}
	if (rc == RC_OK && out->refusal == STORE_NOT_A_ROOT && o->verb != VERB_SHOW)
		return look_at_dockerd(r, out, st, s, p, applied, e);
	if (rc || out->refusal != STORE_OPENED)
		return rc;
	arena_trim(&r->scratch);
	out->store = st;
	deciding.acks = acks_of(r, st->dir);
	errno = EROFS;
	if (r->repair && st->read_only)
		return fail(e, RC_IO, "the file system is mounted read-only: remount it, or run containerd-fsck check");
	if ((rc = reset(r, st, out, e)))
		return rc == RC_END ? run_root(r, out, st, s, p, applied, progress, e) : rc;
	const struct journal *const known = r->was_reset ? NULL : r->read ? r->read : journal_of(r, st);
	r->hints.journal_says = boot_is_another(known, st->dir, r->scratch);
	r->hints.was_sealed = known && (known->clean || (r->hints.first_boot && !*known->boot_id));
	const struct apply_options touching = {.threads = threads,
		.stop = &stop,
		.deadline_ns = r->deadline_ns,
		.stuck = r->stuck,
		.at = &r->at,
		.progress = report_progress,
		.self = progress};
	struct survey_options looking = {.threads = threads,
		.stop = &stop,
		.trust = r->trust,
		.downloads = known,
		.first = r->trust || !r->deadline_ns ? NULL : known,
		.stuck = r->stuck,
		.at = &r->at,
		.deadline_ns = look_until(r),
		.documents_only = o->verb == VERB_SHOW,
		.progress = report_progress,
		.say = say_source,
		.self = progress};
	struct fetch *fetch = NULL;
	r->store = st;
	const char **sources = NULL;
	if (o->verb != VERB_SHOW && (rc = places_sources(st, o->sources, o->source_count, &r->keep, r->scratch, say_source, progress,
						      &sources, &looking.source_count, e)))
		return rc;
	looking.sources = sources;
	if (looking.source_count && r->repair) {
		if ((rc = fetch_open(&fetch, st, &touching, before_fetch, r, &r->keep, e)))
			return rc;
		looking.fetch = fetch_calls(fetch);
	}
	at_one(&r->at, 0, AT_STORE, span_of_string("-"));
	if ((rc = survey_begin(s, st, &looking, &r->keep, e)) || (rc = store_read(st, r->scratch, e))) {
		survey_close(s); /* what it has begun is over before anything is told */
		return rc;
	}
	arena_bound(&r->keep, LIMIT_KEEP_BYTES);
	arena_trim(&r->scratch); /* lists of names */
	at_nothing(&r->at, 0);
	struct arena_pool both = {.most = LIMIT_KEEP_BYTES}; /* databases are edited in one, and what they had is kept in the other */
	arena_join(&r->keep, &both);
	arena_join(&r->scratch, &both);
	rc = st->fault_count ? mend_databases(r, st, s, out, e) : RC_OK;
	arena_join(&r->keep, NULL);
	arena_join(&r->scratch, NULL);
	if (rc)
		return rc == RC_END ? run_root(r, out, st, s, p, applied, progress, e) : rc;
	rc = survey_end(s, e);
	struct err late = {0};
	const enum rc closed = fetch_close(fetch, rc ? &late : e); /* the first reason is the one to tell */
	if (rc || (rc = closed))
		return rc;
	out->survey = s;
	if ((rc = plan_make(p, st, s, &deciding, &r->keep, e)))
		return rc;
	out->plan = p;
	if (out->salvage && s->halted && !r->repair)
		for (size_t i = 0; i < p->finding_count; i++)
			if (salvage_mends(out->salvage, &p->findings[i].path))
				p->findings[i].fate = FATE_REPAIR;
	if (!r->repair || s->halted || s->interrupted)
		return RC_OK;
	if ((rc = salvage_sweep(st, e)))
		return rc;
	begin_at(r, st, p->action_count);
	if (p->action_count && (rc = note_repair(r, st, e)))
		return rc;
	out->applied = applied;
	return touch(r, st, s, p, &deciding, &touching, applied, e);
}

static enum rc write_json(struct run *r, const struct outcome *out, struct err *e)
{
	if (!r->opts->json)
		return RC_OK;
	return r->json.path ? report_file_add(&r->json, out, e) : report_json(out, STDOUT_FILENO, e);
}

/* What a run came to, for who watches the machine. Of a system below --sysroot nothing is noted of this one, and a check leaves no trace
 * anywhere; a repair that found nothing to do is noted only if the last run said something else. clean: nothing was to be looked at. */
static enum rc note_run(struct run *r, const struct outcome *o, bool clean, struct err *e)
{
	const enum verb verb = r->opts->verb;
	struct runs_new new = {.outcome = o,
		.verb = verb == VERB_BOOT ? RUN_BOOT : verb == VERB_REPAIR ? RUN_REPAIR : verb == VERB_SCRUB ? RUN_SCRUB : RUN_CHECK,
		.after_unclean = r->unclean,
		.clean = clean,
		/* one that was refused leaves the store as it was */
		.in_root = verb != VERB_CHECK && o->store && o->status != EXIT_FAILED,
		.if_different = verb == VERB_REPAIR && !(o->applied && o->applied->done),
		.in_run = verb != VERB_CHECK && !*r->sysroot};

	/* of docker's own root a check at boot tells what is wrong with it, and no more */
	const bool sound = o->store && o->store->dockerd && o->status == EXIT_CLEAN;
	/* a database that it cannot work with is told; what somebody has asked for alone, and is not there, is no more than an answer */
	const bool vain = verb == VERB_SCRUB && !r->opts->image && o->failure && o->failure->rc == RC_CORRUPT;
	if (verb == VERB_SHOW || (verb != VERB_BOOT && !o->store && !vain) || (sound && !o->applied))
		return RC_OK;
	r->noted = true;
	new.sound = verb == VERB_SCRUB && o->store && !o->plan && r->scrub.ended && !r->scrub.found.count;
	new.seen_whole = new.sound && r->scrub.whole;
	if (verb == VERB_SCRUB && o->store && !o->plan && !new.sound) {
		runs_read(&r->told[r->told_count], r->scratch);
		return RC_OK;
	}
	const struct runs *const all = &r->told[r->told_count].runs;
	const enum rc rc = runs_add(&r->told[r->told_count], &new, r->scratch, e);
	const uint64_t again = all->count ? all->at[all->count - 1][RUN_AGAIN] : 0;
	if (again && !r->opts->fetch_list) { /* which programs read */
		char text[400];
		(void)print_to(text, sizeof(text), /* fits */
			"repaired within the last week, and damaged again: %llu, one is %s: is the disk failing?",
			(unsigned long long)again, all->again);
		report_message(&r->report, o->root, text);
	}
	if (verb != VERB_CHECK && !*r->opts->sysroot && !sound && !new.sound && !geteuid())
		runs_journal(&r->told[r->told_count], verb == VERB_SCRUB && o->store);
	return rc;
}

/* What was learnt goes into the journal. A repair that failed has learnt as well: what it was to put right is doubtful.
 * RC_END: this run learnt nothing. */
static enum rc keep_knowledge(struct run *r, const struct outcome *out, struct err *e)
{
	const struct seal_check check = {.survey = out->survey,
		.plan = out->plan,
		/* the store is no better for it: nothing is sealed */
		.status = (unsigned)(out->plan && out->plan->acknowledged && out->status < EXIT_LEFT ? EXIT_LEFT : out->status),
		.stuck = r->stuck,
		.only_update = !r->journalled};

	if (!out->plan || out->store->dockerd || out->survey->halted || out->survey->interrupted || !(r->repair || r->journalled))
		return RC_END;
	const enum rc rc = seal_checked(out->store, &check, r->scratch, e);
	if (rc == RC_END)
		report_message(&r->report, out->root,
			"the file system is full: what was found cannot be noted, the next boot checks everything");
	return rc;
}

#define COMMAND_BYTES 3000 /* what is told in one piece */

/* Quoted for a shell; a command that would be too long says so, as half of one must not be typed. */
static void add_word(char command[COMMAND_BYTES], const char *option, const char *word)
{
	static const char too_long[] = "containerd-fsck repair, with the options of this run";
	size_t n = strlen(command);

	if (!word || !*word || strcmp(command, too_long) == 0)
		return;
	if (n + strlen(option) + 4 * strlen(word) + 4 > COMMAND_BYTES) {
		memcpy(command, too_long, sizeof(too_long));
		return;
	}
	n += (size_t)print_to(command + n, COMMAND_BYTES - n, " %s'", option);
	for (; *word; word++)
		n += (size_t)print_to(command + n, COMMAND_BYTES - n, *word == '\'' ? "'\\''" : "%c", *word);
	memcpy(command + n, "'", 2);
}

/* RC_OK: it was done to its end, and the journal says so. */
static enum rc one_root(struct run *r, const struct place *root, enum exit_status *status)
{
	const bool scrub = r->opts->verb == VERB_SCRUB;
	struct outcome out = {.root = root->path, .scrub = scrub, .repair = r->repair, .started_ns = os_calendar_ns()};
	struct progress_state progress = {.options = &r->report, .terminal = os_terminal_width(STDERR_FILENO) != 0};
	struct apply_result applied = {0};
	struct survey s = {0};
	struct store st = {0};
	struct plan p = {0};
	struct err e = {0}, late = {0};
	const uint64_t began = os_clock_ns();
	const struct arena mark = r->keep;
	char command[COMMAND_BYTES] = "containerd-fsck repair";

	/* with what this run was told, without which a repair may come to something else */
	add_word(command, "--sysroot ", r->sysroot);
	add_word(command, "--config ", r->opts->config);
	for (size_t i = 0; i < r->opts->source_count; i++)
		add_word(command, "--source ", r->opts->sources[i]);
	add_word(command, "", root->named);
	out.command = command;
	r->report.repair = r->repair;
	os_write_begin();
	r->hints.pace = &r->pace;
	r->hints.may_be_half = r->repair;
	r->dockerd = root->dockerd;
	enum rc rc = run_root(r, &out, &st, &s, &p, &applied, &progress, &e);
	if (rc == RC_NOMEM && (arena_is_full(&r->keep) || arena_is_full(&r->scratch)) && !out.plan) {
		e = (struct err){0};
		rc = fail(&e, RC_LIMIT,
			"unchecked: too big to check: what its databases and directories list takes more than %zu MiB of memory",
			(out.survey ? LIMIT_KEEP_BYTES : LIMIT_STORE_BYTES) >> 20);
	}
	arena_bound(&r->keep, LIMIT_ARENA_BYTES); /* what is told is not much */
	report_progress_end(&progress);
	out.elapsed_ns = os_clock_ns() - began;
	out.peak_bytes = arena_peak(&r->keep) + arena_peak(&r->scratch) + (size_t)s.peak_bytes;
	out.failure = rc ? &e : NULL;
	if (rc && !e.rc)
		(void)fail(&e, rc, "the store could not be read"); /* a reason that nobody gave is still told */
	out.status = report_status(&out, r->repair);
	if (r->was_reset && out.status == EXIT_CLEAN)
		out.status = EXIT_REPAIRED;
	const bool known = out.plan && p.nothing_wrong && !p.something_left;
	if (scrub && !rc && out.refusal == STORE_OPENED)
		out.status = r->scrub.found.count && !known ? EXIT_LEFT : out.store ? EXIT_CLEAN : EXIT_INTERRUPTED;
	r->report.priority = scrub ? out.status > EXIT_CLEAN ? 3 : 6 : r->report.priority;
	const bool opened = out.refusal == STORE_OPENED;
	if (!opened || (st.dockerd && !root->dockerd)) /* of that a person may expect more */
		report_message(&r->report, root->path,
			refusal_text(opened ? STORE_NOT_A_ROOT : out.refusal, root->path, &r->keep, r->scratch));
	if (opened && r->opts->verb == VERB_SHOW && rc == RC_OK && !s.halted) {
		out.status = report_show(&out, &r->report, &late) ? EXIT_LEFT : EXIT_CLEAN;
	} else if (opened && r->opts->fetch_list && out.plan && !s.halted) {
		static const char more[] = "containerd-fsck: not all could be looked at: there may be more: containerd-fsck check\n";
		if (!report_missing(&out, &r->report)) /* a console that is gone cannot be told so */
			(void)os_put(STDERR_FILENO, more, sizeof(more) - 1);
	} else if (opened && (!scrub || rc || out.plan)) {
		report_console(&out, &r->report);
		if (r->opts->verb == VERB_SHOW && !rc && report_show(&out, &r->report, &late))
			out.status = EXIT_FAILED;
	}
	if (scrub && !rc && opened && !out.store)
		report_message(&r->report, out.root, "stopped before anything was looked at");
	else if (scrub && !rc && opened)
		say_scrubbed(r, &out);
	late = (struct err){0};
	const enum rc kept = keep_knowledge(r, &out, &late);
	if (kept && kept != RC_END) {
		say_failure(r, root->path, &late);
		out.status = EXIT_FAILED;
	}
	late = (struct err){0};
	if (((out.applied && out.applied->done) || (r->journalled && out.plan && !st.dockerd)) && report_keep(&out, &late)) {
		say_failure(r, root->path, &late);
		out.status = EXIT_FAILED;
	}
	if (r->journalled && out.store)
		report_keep_run(&out);
	late = (struct err){0};
	if (note_run(r, &out, false, &late))
		say_failure(r, root->path, &late); /* that, and no more: it decides nothing */
	late = (struct err){0};
	if ((!root->dockerd || out.status != EXIT_CLEAN) && write_json(r, &out, &late)) {
		say_failure(r, r->opts->json, &late);
		out.status = EXIT_FAILED;
	}
	survey_close(&s);
	if (out.store)
		store_close(&st);
	if (r->at_dir >= 0) { /* of a repair by hand */
		at_end(&r->at, r->at_dir);
		os_close(&r->at_dir);
	}
	salvage_close(&r->salvage);
	scrub_close(&r->scrub);
	r->hints.meta_lock = 0;
	r->hints.mended = r->hints.mended_overlay = r->was_reset = false;
	r->keep = mark;
	*status = out.status;
	return kept;
}

static void say_span(const struct run *r, const struct place *root, const char *text, uint64_t began_ns)
{
	const uint64_t us = (os_clock_ns() - began_ns) / 1000;
	char line[600];

	(void)print_to(line, sizeof(line), "%s (%llu.%03llu ms)", text, (unsigned long long)(us / 1000),
		(unsigned long long)(us % 1000)); /* a cut text is still a text */
	report_message(&r->report, root->path, line);
}

/* A root that somebody named, and that is none: told, and true. A directory with nothing in it is a root in which nothing is yet. */
static bool is_no_root(struct run *r, const struct place *root)
{
	const char *const parts[] = {STORE_META_DIR, STORE_CONTENT_DIR, STORE_OVERLAY_DIR};
	struct arena scratch = r->scratch;
	struct os_name *names = NULL;
	enum store_refusal refusal = STORE_OPENED;
	size_t count = 0, others = 0, found = 0;
	struct err ignored = {0}; /* what cannot be looked at is told by who needs it */
	auto_fd fd = -1;

	if (!root->by_name)
		return false;
	const enum rc rc = os_open_root(root->path, &fd, &ignored);
	if (rc == RC_END)
		refusal = STORE_NOT_THERE;
	if (rc || os_list(fd, &scratch, &names, &count, &ignored))
		count = 0;
	for (size_t i = 0; i < count; i++) {
		others += strcmp(names[i].name, STORE_OWN_DIR) != 0 && strcmp(names[i].name, "lost+found") != 0;
		for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++)
			found += strcmp(names[i].name, parts[k]) == 0;
	}
	if (others && !found)
		refusal = STORE_NOT_A_ROOT;
	if (refusal == STORE_OPENED)
		return false;
	report_message(&r->report, root->path, refusal_text(refusal, root->path, &r->keep, r->scratch));
	return true;
}

static void say_passed_over(const struct run *r, const struct place *root, const struct at_name *one)
{
	char text[AT_NAME_BYTES + 160];

	(void)print_to(text, sizeof(text), "passing over %s %s, where the last checks ended: containerd-fsck repair by hand tries it again",
		at_kind_word(one->kind), one->name); /* fits */
	report_message(&r->report, root->path, text);
}

static enum exit_status ack_root(struct run *r, const struct place *root)
{
	const struct opts *const o = r->opts;
	char text[LIMIT_PATH_BYTES];
	struct err e = {0};
	auto_fd dir = -1, own = -1;
	enum rc rc;

	(void)print_to(text, sizeof(text), "%s/volumes/metadata.db", root->path); /* of docker's own; cut, it is not there */
	if (!os_exists(text) && is_no_root(r, root))
		return EXIT_FAILED;
	if (!(rc = os_open_root(root->path, &dir, &e)) && !o->id) {
		for (struct span lines = acks_of(r, dir); lines.left;) {
			const struct span one = span_take_to(&lines, '\n');
			(void)print_to(text, sizeof(text), "%.*s", (int)min_u64(one.left, sizeof(text)), (const char *)one.at);
			report_message(&r->report, root->path, text);
		}
		return EXIT_CLEAN;
	}
	if (!rc && !(rc = own_open_dir(dir, STORE_OWN_DIR, &own, &e)))
		rc = acks_change(own, o->id, o->undo, r->scratch, &e);
	if (rc && rc != RC_END) {
		say_failure(r, root->path, &e);
		return EXIT_FAILED;
	}
	(void)print_to(text, sizeof(text), "%s%s %s", rc ? "as before: " : "what reports call ", o->id,
		o->undo ? "counts" : "is acknowledged: it is told, and fails no run"); /* cut, it is still true */
	report_message(&r->report, root->path, text);
	return EXIT_CLEAN;
}

/* A boot at which nothing is looked at is noted in /run alone: it would take long, and hide the runs that somebody asks for. */
static void note_boot(struct run *r, bool clean, unsigned status, uint64_t began_ns)
{
	const struct outcome o = {
		.started_ns = os_calendar_ns(), .elapsed_ns = os_clock_ns() - began_ns, .status = (enum exit_status)status};
	struct err ignored = {0}; /* what /run cannot take is for those who look there */

	ignored.rc = note_run(r, &o, clean, &ignored);
}

static enum exit_status boot_root(struct run *r, const struct place *root, const struct boot_wish *wish)
{
	const struct boot_options options = {.mode = wish->mode,
		.force = wish->force,
		.full = r->opts->full,
		.inside = *r->sysroot || *r->opts->sysroot,
		.remount = r->opts->remount};
	struct boot b = {.root = -1, .own = -1};
	const uint64_t began = os_clock_ns();
	enum exit_status status = EXIT_FAILED;
	const char *shadow = NULL;
	struct err e = {0};
	enum rc rc = RC_OK;

	r->report.priority = 6;
	if (*r->sysroot)
		rc = boot_find_shadow(r->sysroot, root->path, &r->keep, &shadow, &e);
	if (rc == RC_OK && shadow) {
		report_message(&r->report, root->path, shadow);
		return EXIT_CLEAN;
	}
	if (!rc && is_no_root(r, root))
		return EXIT_FAILED;
	if (rc || (rc = boot_begin(&b, root->path, &options, &r->keep, r->scratch, &e))) {
		say_failure(r, root->path, &e);
		note_boot(r, false, EXIT_FAILED, began);
		return EXIT_FAILED;
	}
	if (b.unnoted)
		report_message(&r->report, root->path,
			"the file system is full: this boot cannot be noted, the next one checks everything");
	switch (b.verdict) {
	case BOOT_CHECK_CHANGED:
	case BOOT_CHECK_ALL:
		break;
	case BOOT_RUNNING:
		b.status = EXIT_FAILED;
		/* fall through */
	case BOOT_NOTHING:
	case BOOT_HANDLED:
	case BOOT_IS_CLEAN:
	case BOOT_LATER:
	case BOOT_SKIPPED:
	case BOOT_STEP_ASIDE:
	default:
		r->report.priority = b.status > EXIT_REPAIRED ? 3 : 6;
		say_span(r, root, b.why, began);
		r->noted = true;
		if (b.verdict == BOOT_HANDLED)
			runs_read(&r->told[r->told_count], r->scratch);
		else
			note_boot(r, b.journal.clean || b.verdict == BOOT_NOTHING || b.verdict == BOOT_IS_CLEAN, b.status, began);
		boot_end(&b);
		return (enum exit_status)b.status;
	}
	report_message(&r->report, root->path, b.why);
	r->repair = policy_writes(wish->mode == BOOT_CHECK ? MODE_LOOK : MODE_BOOT);
	r->read = b.journal.present ? &b.journal : NULL;
	r->trust = b.verdict == BOOT_CHECK_CHANGED ? &b.journal : NULL;
	r->hints.first_boot = b.first;
	r->unclean = b.first && *b.journal.boot_id;
	r->stuck = b.journal.stuck_count && !r->opts->full ? &b.journal : NULL;
	for (size_t i = 0; r->stuck && i < r->stuck->stuck_count; i++)
		say_passed_over(r, root, &r->stuck->stuck[i]);
	r->looked = true;
	at_begin(&r->at, b.own, b.boot_id, b.attempts > 0);
	rc = one_root(r, root, &status);
	r->hints.first_boot = false;
	r->trust = r->read = r->stuck = NULL;
	if ((rc && boot_give_up(&b, status, r->scratch, &e)) || (!rc && boot_done(&b, &e)))
		say_failure(r, root->path, &e);
	at_end(&r->at, b.own);
	boot_end(&b);
	return status;
}

/* An agent that runs containerd as its child may be seen to end before it: k3s has it killed by its own death
 * (k3s: pkg/agent/containerd/containerd.go), rke2 in ExecStopPost= (rke2 1.36: bundle/lib/systemd/system). */
#define LOCK_WAIT_MS 5000
#define LOCK_STEP_MS 100

static enum exit_status seal_root(struct run *r, const struct place *root)
{
	struct store st = {.dir = -1};
	struct seal_result result = {0};
	const uint64_t began = os_clock_ns();
	enum store_refusal refusal = STORE_RUNNING;
	enum exit_status status = EXIT_FAILED;
	struct err e = {0};
	enum rc rc = RC_OK;
	char text[300];

	if (is_no_root(r, root))
		return EXIT_FAILED;
	r->hints.pace = &r->pace;
	for (unsigned waited = 0; waited <= LOCK_WAIT_MS && refusal == STORE_RUNNING && rc == RC_OK && !stop; waited += LOCK_STEP_MS) {
		if (waited)
			os_sleep_ms(LOCK_STEP_MS);
		rc = store_open(&st, root->path, &r->hints, &r->keep, r->scratch, &refusal, &e);
	}
	const bool opened = rc == RC_OK && refusal == STORE_OPENED;
	if (opened)
		rc = store_read(&st, r->scratch, &e);
	const bool none = refusal == STORE_NOT_THERE || refusal == STORE_NOT_A_ROOT ||
			  (refusal == STORE_OPENED && !st.meta.present && !st.blob_count && !st.backend_count);
	if (rc == RC_OK && none) {
		say_span(r, root, "no store yet, nothing to seal", began);
		status = EXIT_CLEAN;
	} else if (rc == RC_OK && refusal != STORE_OPENED) {
		report_message(&r->report, root->path, refusal_text(refusal, root->path, &r->keep, r->scratch));
	} else if (rc || (rc = seal_stop(&st, &result, r->scratch, &e))) {
		say_failure(r, root->path, &e);
	} else if (result.clean) {
		(void)print_to(text, sizeof(text), "sealed: %llu blobs and %llu snapshots are durable",
			(unsigned long long)result.blobs, (unsigned long long)result.snapshots); /* fits */
		say_span(r, root, text, began);
		status = EXIT_CLEAN;
	} else {
		(void)print_to(text, sizeof(text), "%s: %s", result.later ? "sealed without a marker" : "not sealed",
			result.why); /* fits */
		report_message(&r->report, root->path, text);
		status = result.later ? EXIT_CLEAN : EXIT_LEFT;
	}
	if (opened)
		store_close(&st);
	return status;
}

static void say_recorder(void *self, const char *text)
{
	struct run *const r = self;
	char status[200];

	report_message(&r->report, r->recorded, text);
	(void)print_to(status, sizeof(status), "STATUS=%s", text); /* a cut text is still a text */
	os_notify(status);
}

static enum exit_status record_root(struct run *r, const struct place *root)
{
	const struct record_options options = {.interval_ns = r->opts->interval_s * 1000000000u,
		.distance_ns = r->opts->distance_s * 1000000000u,
		.stop = &stop,
		.say = say_recorder,
		.self = r};
	struct err e = {0};

	r->recorded = root->path;
	if (is_no_root(r, root))
		return EXIT_FAILED;
	if (record_run(root->path, &options, &e)) {
		say_failure(r, root->path, &e);
		return EXIT_FAILED;
	}
	return EXIT_CLEAN; /* told to stop: that is how it ends */
}

/* In an initramfs, where no root is named: the system that is being started. What marks each kind, and where it mounts. */
static const char *system_being_started(void)
{
	static const struct {
		char mark[23], place[10];
	} known[] = {{"/etc/initrd-release", "/sysroot"}, /* dracut, and whatever has systemd in it */
		{"/conf/initramfs.conf", "/root"},        /* initramfs-tools */
		{"/init_functions", "/new_root"}};        /* mkinitcpio */

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (os_exists(known[i].mark) && os_exists(known[i].place))
			return known[i].place;
	return "";
}

static bool is_same_place(const char *one, const char *other)
{
	struct stat a = {0}, b = {0};
	auto_fd first = -1, second = -1;
	struct err ignored = {0}; /* what cannot be opened is told when it is its turn */

	if (strcmp(one, other) == 0)
		return true;
	return os_open_root(one, &first, &ignored) == RC_OK && os_open_root(other, &second, &ignored) == RC_OK &&
	       os_stat_fd(first, &a, &ignored) == RC_OK && os_stat_fd(second, &b, &ignored) == RC_OK && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* The roots that are looked for where none is named: those of the list, and those that a configuration names. */
static enum rc find_usual(struct run *r, const char *const **out, size_t *count, struct err *e)
{
	const char **well_known = NULL;
	size_t n = 0, listed = 0;
	enum rc rc = store_well_known(r->sysroot, &r->keep, &well_known, e);

	while (rc == RC_OK && well_known[listed])
		listed++;
	const char **const all = arena_array(&r->keep, listed + r->hints.known_count + 1, sizeof(*all));
	if (rc || !all)
		return rc ? rc : no_memory(e);
	for (; n < listed; n++)
		all[n] = well_known[n] + strlen(r->sysroot);
	for (size_t i = 0; i < r->hints.known_count; i++)
		if (!r->hints.known[i].unknown && host_may_have(r->sysroot, r->hints.known[i].root))
			all[n++] = r->hints.known[i].root;
	*out = all;
	*count = n;
	return RC_OK;
}

static bool is_below_docker(const char *root)
{
	static const char end[] = "/containerd/daemon";
	size_t n = strlen(root);

	while (n && root[n - 1] == '/')
		n--;
	return n >= sizeof(end) - 1 && strncmp(root + n - (sizeof(end) - 1), end, sizeof(end) - 1) == 0;
}

/* The places to work on, ended by one without a path; NULL: no memory. *missing: one that was named is not below sysroot. */
static struct place *find_places(struct run *r, const char *const *given, size_t given_count, bool *missing)
{
	const char *const *roots = given;
	struct err e = {0};
	size_t n = given_count, kept = 0;

	if (!given_count && find_usual(r, &roots, &n, &e))
		return NULL;
	const enum verb verb = r->opts->verb;
	const bool docker = verb == VERB_CHECK || verb == VERB_REPAIR || verb == VERB_BOOT || verb == VERB_STATUS || r->opts->last;
	const size_t inside = strlen(r->sysroot);
	struct place *const places = arena_array(&r->keep, 3 * n + 1, sizeof(*places));
	for (size_t i = 0; places && i < (docker ? 3 * n : n); i++) {
		char path[LIMIT_PATH_BYTES];
		const bool more = i >= n; /* where docker's data root would be, of its own containerd, or of the system's */
		const char *const name = more ? arena_printf(&r->keep, "%s/../%s", roots[i % n], i / n > 1 ? ".." : "docker") : roots[i];
		struct place *const one = &places[kept];
		if (!name)
			return NULL;
		/* beside what somebody named only where docker's own containerd has its root */
		if (more && given_count && (i / n == 1 || !is_below_docker(roots[i % n])))
			continue;
		*one = (struct place){name, name, given_count > 0, more};
		/* what is not there inside must not be found outside, where a link could lead */
		if ((more || inside) && (inside ? os_resolve_in(r->sysroot, name, path, &e) : os_resolve(name, path, &e)) == RC_OK) {
			one->path = arena_string(&r->keep, span_of_string(path));
			if (one->path && more)
				one->named = one->path + inside;
		} else if (more) {
			continue;
		} else if (inside) {
			report_message(&r->report, name, "is not there in the system below --sysroot");
			*missing |= given_count > 0;
			continue;
		}
		const char *const volumes = one->path ? arena_printf(&r->keep, "%s/volumes/metadata.db", one->path) : NULL;
		if (!volumes)
			return NULL;
		if (more && !os_exists(volumes))
			continue;
		bool twice = false; /* two names of one root, as a link or a bind mount makes them */
		for (size_t k = 0; k < kept; k++)
			twice |= is_same_place(places[k].path, places[kept].path);
		kept += !twice;
	}
	if (places)
		places[kept] = (struct place){0};
	return places;
}

/* Of the last runs alone: no store is opened, and nothing written. */
static enum exit_status tell_runs(struct run *r, size_t count)
{
	const struct opts *const o = r->opts;
	struct err e = {0};

	for (size_t i = 0; i < count; i++)
		runs_read(&r->told[i], r->scratch);
	if (r->json.path && report_file_begin(&r->json, &e)) {
		say_failure(r, o->json, &e);
		return EXIT_FAILED;
	}
	const enum runs_state state = runs_tell(r->told, count, r->json.path ? r->json.fd : 1, o->json, o->last, &e);
	r->json.failed = e.rc != RC_OK;
	return o->last ? EXIT_CLEAN : (enum exit_status)state;
}

static enum exit_status all_roots(struct run *r)
{
	const struct opts *const o = r->opts;
	const bool by_itself = o->verb == VERB_BOOT || o->verb == VERB_SEAL, alone = by_itself || o->verb == VERB_SCRUB;
	struct boot_wish wish = {0};
	struct err e = {0};
	unsigned status = EXIT_CLEAN;

	r->sysroot = *o->sysroot || o->root_count ? o->sysroot : system_being_started();
	if (*r->sysroot) { /* one name for it, so that what lies inside can be told by its beginning */
		char real[LIMIT_PATH_BYTES];
		if (os_resolve(r->sysroot, real, NULL) == RC_OK)
			r->sysroot = arena_string(&r->keep, span_of_string(strcmp(real, "/") == 0 ? "" : real));
		if (!r->sysroot)
			return EXIT_FAILED;
	}
	r->hints = (struct store_hints){.sysroot = r->sysroot, .after_boot = o->after_boot};
	if (o->verb == VERB_BOOT && boot_is_kdump()) {
		report_message(&r->report, "containerd-fsck", "this is the crash kernel, nothing to do");
		return EXIT_CLEAN;
	}
	if (by_itself && boot_read_wish(&wish, &r->keep, &e)) {
		say_failure(r, "containerd-fsck", &e);
		return EXIT_FAILED;
	}
	if (wish.unknown && o->verb == VERB_BOOT)
		report_message(&r->report, wish.unknown, "on the kernel's command line means nothing to this program");
	const bool told = o->root_count == 0 && wish.root_count;
	if (places_read(r->sysroot, o->config, &r->keep, r->scratch, &r->hints.known, &r->hints.known_count, &e)) {
		say_failure(r, o->config ? o->config : "containerd-fsck", &e);
		return EXIT_FAILED;
	}
	bool missing = false;
	const struct place *const places =
		find_places(r, told ? wish.roots : o->roots, told ? wish.root_count : o->root_count, &missing);
	if (missing && !told) /* what the kernel's command line names may be mounted after the initramfs */
		status = EXIT_FAILED;
	size_t place_count = 0;
	while (places && places[place_count].path)
		place_count++;
	r->told = places ? arena_array(&r->keep, place_count + 1, sizeof(*r->told)) : NULL;
	if (!r->told) {
		report_message(&r->report, "containerd-fsck", "no memory");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < place_count; i++)
		r->told[i] = (struct runs_root){
			.path = places[i].path, .label = *r->sysroot ? places[i].named : places[i].path, .rc = RC_END};
	if (o->verb == VERB_RECORD) {
		const struct place usual = {"/var/lib/containerd", "/var/lib/containerd", false, false};
		if (places[0].path && places[1].path) {
			report_message(&r->report, "containerd-fsck", "several containerd roots are here: name the one to record");
			return EXIT_USAGE;
		}
		return record_root(r, places[0].path ? &places[0] : &usual);
	}
	if (o->verb == VERB_ACK && o->id && places[0].path && places[1].path && !o->root_count) {
		report_message(&r->report, "containerd-fsck", "several containerd roots are here: name the one that is meant");
		return EXIT_USAGE;
	}
	if (o->verb == VERB_STATUS || o->last) {
		size_t n = 0;
		for (size_t i = 0; i < place_count; i++) { /* docker's data root, if something was ever wrong with it */
			if (places[i].dockerd)
				runs_read(&r->told[i], r->scratch);
			if (!places[i].dockerd || r->told[i].rc == RC_OK)
				r->told[n++] = r->told[i];
		}
		return tell_runs(r, n);
	}
	if (!places[0].path && missing)
		return (enum exit_status)(alone ? status : EXIT_FAILED);
	if (!places[0].path) {
		report_message(&r->report, "containerd-fsck",
			alone ? "no containerd root is here, nothing to do"
				  : "no containerd root was found: name one, see containerd-fsck --help");
		return alone ? EXIT_CLEAN : EXIT_FAILED;
	}
	for (size_t i = 0; places[i].path && !stop; i++) {
		enum exit_status one = EXIT_FAILED;
		r->told_count = i;
		r->unclean = false;
		if (places[i].dockerd && o->verb == VERB_BOOT && !r->looked)
			continue; /* after a clean stop */
		r->repair &= !places[i].dockerd || !places[i].by_name; /* they come last */
		if (o->verb == VERB_BOOT && !places[i].dockerd)
			one = boot_root(r, &places[i], &wish);
		else if (o->verb == VERB_SEAL)
			one = seal_root(r, &places[i]);
		else if (o->verb == VERB_ACK)
			one = ack_root(r, &places[i]);
		else
			(void)one_root(r, &places[i], &one); /* told, and in the status */
		status = (unsigned)one > status ? (unsigned)one : status; /* the numbers grow with the weight */
		r->told_count = i + 1;
	}
	write_metrics(r, r->scratch);
	return (enum exit_status)(stop ? EXIT_INTERRUPTED : status);
}

/* systemd.exec(5): device and inode of the stream that goes to the journal; whoever redirects it inherits the variable. */
static bool is_journal(int fd)
{
	const char *const text = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;

	if (!text || fstat(fd, &st))
		return false;
	(void)print_to(mine, sizeof(mine), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino); /* fits */
	return strcmp(text, mine) == 0;
}

/* https://no-color.org: NO_COLOR, when present and not empty. */
static bool has_colour(void)
{
	const char *const none = getenv("NO_COLOR"), *const kind = getenv("TERM");

	return (!none || !*none) && kind && strcmp(kind, "dumb") != 0;
}

static void complain(const struct err *e, const char *next)
{
	char text[sizeof(e->text) + 64];

	/* what is cut is still a text, and a console that is gone cannot be told so */
	const int n = print_to(text, sizeof(text), "containerd-fsck: %s\n%s", e->text, next);
	(void)os_put(STDERR_FILENO, text, min_u64((uint64_t)n, sizeof(text) - 1));
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
	struct opts o;
	struct err e = {0};

	if (opts_parse(&o, argc, argv, &e)) {
		complain(&e, "try: containerd-fsck --help\n");
		return EXIT_USAGE;
	}
	if (o.verb == VERB_HELP || o.verb == VERB_VERSION) {
		const char *const text = o.verb == VERB_HELP ? opts_help : "containerd-fsck " PROGRAM_VERSION "\n";
		return os_put(STDOUT_FILENO, text, strlen(text)) ? EXIT_CLEAN : EXIT_FAILED;
	}
	if (o.verb == VERB_CHECK || o.verb == VERB_SHOW || o.verb == VERB_STATUS)
		os_write_forbid();
	(void)umask(0); /* every mode we make is meant */
	/* a console that goes away must not end a repair between two writes; it would be safe, but not finished */
	(void)sigaction(SIGPIPE, &ignore, NULL); /* valid signals: cannot fail */
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
	const bool by_itself = o.verb == VERB_BOOT || o.verb == VERB_SEAL || o.verb == VERB_RECORD ||
			       (o.verb == VERB_SCRUB && is_journal(STDOUT_FILENO));
	const unsigned width = by_itself ? 0 : os_terminal_width(STDOUT_FILENO);
	struct run r = {.opts = &o,
		.sysroot = "",
		.repair = policy_writes(o.verb == VERB_REPAIR ? MODE_REPAIR : MODE_LOOK),
		.journalled = o.verb == VERB_BOOT,
		.pace = {.ask = ask, .self = &r},
		.at = {.fd = -1},
		.at_dir = -1,
		.salvage = {.lock = -1, .old = -1},
		.scrub = {.own = -1},
		.deadline_ns = o.budget_s ? os_clock_ns() + o.budget_s * 1000000000u : 0,
		.report = {.quiet = o.quiet,
			.verbose = o.verbose,
			.progress = o.progress,
			.colour = width && has_colour(),
			.width = width,
			.log = !by_itself ? REPORT_NO_LOG : is_journal(1) ? REPORT_JOURNAL : REPORT_KERNEL_LOG,
			.priority = 6,
			.out = o.json && strcmp(o.json, "-") == 0 ? 0 : STDOUT_FILENO}};
	if (arena_open(&r.keep, &e) || arena_open(&r.scratch, &e)) {
		complain(&e, "");
		return EXIT_FAILED;
	}
	enum exit_status status = EXIT_FAILED;
	bool told = !o.json || strcmp(o.json, "-") == 0 || report_file_open(&r.json, o.json, false, &e) == RC_OK;
	if (told) {
		status = all_roots(&r);
		told = report_file_close(&r.json, &e) == RC_OK;
	}
	if (!told) {
		r.report.priority = 3;
		say_failure(&r, o.json, &e);
		status = status > EXIT_FAILED ? status : EXIT_FAILED;
	}
	if (o.verb == VERB_STATUS && status > (enum exit_status)RUNS_UNKNOWN)
		status = (enum exit_status)RUNS_UNKNOWN; /* whoever could not look does not know */
	arena_close(&r.scratch);
	arena_close(&r.keep);
	const uint64_t until = os_clock_ns() + o.interval_s * 1000000000u;
	while (o.verb == VERB_SCRUB && o.interval_s && !stop && status != EXIT_FAILED) {
		if (os_clock_ns() >= until) {
			os_begin_again(argv);
			return EXIT_FAILED;
		}
		os_sleep_ms(500);
	}
	return (int)status;
}
