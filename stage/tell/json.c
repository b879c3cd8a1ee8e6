/* SPDX-License-Identifier: MIT */
/* The report for a program, and what is kept of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "tell/sink.h"

/* ---- databases that are made again ---- */

static void put_json_field(struct sink *s, const char *name, struct span value);

static void put_json_reason(struct sink *s, const char *name, const char *sentence);

static const char tier_names[][12] = {[SALVAGE_NONE] = "none",
	[SALVAGE_SOUND] = "sound",
	[SALVAGE_FREELIST] = "freelist",
	[SALVAGE_OLDER] = "older",
	[SALVAGE_COPY] = "copy",
	[SALVAGE_PART] = "part",
	[SALVAGE_CONTENT] = "content"};

/* From what it is, or can be, made. */
static void put_source(struct sink *s, const struct salvage_database *d, bool done)
{
	puts_to(s, done ? "        made again " : "        repair can make it again ");
	switch (d->tier) {
	case SALVAGE_FREELIST:
		puts_to(s, "in its place: only the list of free pages is wrong, and that is made anew");
		break;
	case SALVAGE_OLDER:
		puts_to(s, d->behind_rest ? "of what it has, and of what the rest of the store knows beyond that"
					  : "of what can be read, and where nothing can, of the transaction before");
		break;
	case SALVAGE_COPY:
		putf(s, "of the copy " STORE_OWN_DIR "/" OWN_BACKUP_DIR "/%s", d->source);
		break;
	case SALVAGE_PART:
		puts_to(s, "of what can be read");
		if (d->source)
			putf(s, ", and where nothing can, of the copy " STORE_OWN_DIR "/" OWN_BACKUP_DIR "/%s", d->source);
		break;
	case SALVAGE_CONTENT:
		puts_to(s, "of what is on the disk");
		break;
	case SALVAGE_NONE:
	case SALVAGE_SOUND:
	default:
		break;
	}
	if (d->source && d->behind)
		putf(s, ", which is %llu %s older", (unsigned long long)d->behind, plural(d->behind, "transaction", "transactions"));
	puts_to(s, "\n");
}

static void put_bound(struct sink *s, const char *before, struct span key)
{
	if (key.bad)
		return;
	puts_to(s, before);
	put_escaped(s, key);
}

static void put_gaps(struct sink *s, const struct salvage_database *d, const struct report_options *options)
{
	const size_t most = options->verbose ? d->gap_count : 10;

	for (size_t i = 0; i < d->gap_count && i < most; i++) {
		const struct salvage_gap *const g = &d->gaps[i];
		if (d->tier == SALVAGE_OLDER || (d->told_by_journal && g->what == SALVAGE_IMAGES))
			continue; /* it had them all */
		puts_to(s, "        lost: ");
		put_sentence(s, g->where);
		put_bound(s, " from ", g->from);
		put_bound(s, " up to ", g->to);
		puts_to(s, ", if there were any\n");
	}
	for (size_t i = 0; d->done && i < d->name_count; i++) {
		if (d->names[i].used)
			continue;
		puts_to(s, "        lost: image ");
		put_escaped(s, d->names[i].name);
		puts_to(s, " of namespace ");
		put_escaped(s, d->names[i].ns);
		puts_to(s, "\n");
	}
	if (d->gap_count > most)
		putf(s, "        lost: ... and %zu more such ranges (--verbose lists them)\n", d->gap_count - most);
}

static const char beside[] = "beside the database, ";

static void put_database(struct sink *s, const struct outcome *o, const struct salvage_database *d, const struct report_options *options)
{
	if (d->why) {
		puts_to(s, "  ");
		put_sentence(s, d->path);
		puts_to(s, " is not made again: ");
		put_sentence(s, d->why);
		puts_to(s, "\n");
	}
	if (!d->needed)
		return;
	if (d->done || !o->survey || !o->survey->halted) { /* else a finding says it */
		puts_to(s, "  ");
		put_sentence(s, d->path);
		puts_to(s, d->behind_rest ? " was older than the rest of the store: " : " was broken: ");
		if (d->fault.page)
			putf(s, "page %llu: ", (unsigned long long)d->fault.page);
		put_sentence(s, d->fault.text);
		puts_to(s, "\n");
	}
	if (d->tier == SALVAGE_NONE)
		return;
	put_source(s, d, d->done);
	if (d->tier != SALVAGE_FREELIST) {
		puts_to(s, d->done ? "        in it: " : "        in it would be: ");
		if (d == &o->salvage->meta)
			putf(s, "%zu %s, %zu %s, ", d->kept.images, plural(d->kept.images, "image", "images"), d->kept.containers,
				plural(d->kept.containers, "container", "containers"));
		putf(s, "%zu %s", d->kept.snapshots, plural(d->kept.snapshots, "snapshot", "snapshots"));
		if (d->made)
			putf(s, "; and %zu %s made again of what the disk holds", d->made, plural(d->made, "record", "records"));
		puts_to(s, "\n");
	}
	if (d->recovered)
		putf(s, "        without a name any more: %zu %s, now called containerd-fsck.recovered/ and the beginning of the digest\n",
			d->recovered, plural(d->recovered, "image", "images"));
	if (salvage_may_lack(d) && d == &o->salvage->meta)
		puts_to(s, "        lost: names and containers that nothing else here tells of, if there were any\n");
	put_gaps(s, d, options);
	if (d->source && !d->done) {
		s->folds = false;
		puts_to(s, "        to take another (containerd-fsck show lists them): cd '");
		put_escaped(s, span_of_string(o->root));
		putf(s, "' && { mv -n %s %s.broken; [ ! -e %s ] && cp -a " STORE_OWN_DIR "/" OWN_BACKUP_DIR "/COPY %s; }\n", d->path,
			d->path, d->path, d->path);
		s->folds = true;
	}
	if (d->done && d->tier != SALVAGE_FREELIST && d->was_there)
		putf(s, "        the broken one: %s" STORE_OWN_DIR "/" OWN_ASIDE "/broken-%s\n", d->beside ? beside : "", d->file);
}

static void put_databases(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	if (!o->salvage)
		return;
	s->folds = true;
	put_database(s, o, &o->salvage->meta, options);
	put_database(s, o, &o->salvage->overlay, options);
	if (o->salvage->directories_aside)
		putf(s, "  %zu %s of snapshots that no database knows: %s" STORE_OWN_DIR "/" OWN_ASIDE "/snapshot-*\n",
			o->salvage->directories_aside, plural(o->salvage->directories_aside, "directory", "directories"),
			o->salvage->overlay.beside ? beside : "");
	s->folds = false;
}

static void put_json_bound(struct sink *s, const char *name, struct span key)
{
	if (!key.bad)
		put_json_field(s, name, key);
}

static void put_json_database(struct sink *s, const struct salvage_database *d)
{
	puts_to(s, "{\"path\":");
	put_json_string(s, span_of_string(d->path));
	putf(s, ",\"broken\":%s,\"tier\":\"%s\",\"done\":%s", d->needed ? "true" : "false", tier_names[d->tier],
		d->done ? "true" : "false");
	if (d->why)
		put_json_reason(s, "why_not", d->why);
	if (d->needed) {
		putf(s, ",\"page\":%llu,\"behind\":%s", (unsigned long long)d->fault.page, d->behind_rest ? "true" : "false");
		put_json_reason(s, "why", d->fault.text);
		if (d->source)
			put_json_field(s, "source", span_of_string(d->source));
		putf(s,
			",\"transactions_older\":%llu,\"images\":%zu,\"containers\":%zu,\"snapshots\":%zu,\"made_again\":%zu,"
			"\"recovered\":%zu,\"lost\":[",
			(unsigned long long)d->behind, d->kept.images, d->kept.containers, d->kept.snapshots, d->made, d->recovered);
		for (size_t i = 0; i < d->gap_count; i++) {
			puts_to(s, i ? ",{\"where\":" : "{\"where\":");
			put_json_sentence(s, d->gaps[i].where);
			put_json_bound(s, "from", d->gaps[i].from);
			put_json_bound(s, "to", d->gaps[i].to);
			puts_to(s, "}");
		}
		puts_to(s, "],\"lost_images\":[");
		bool first = true;
		for (size_t i = 0; i < d->name_count; i++) {
			if (!d->done || d->names[i].used)
				continue;
			puts_to(s, first ? "{\"namespace\":" : ",{\"namespace\":");
			put_json_string(s, d->names[i].ns);
			put_json_field(s, "name", d->names[i].name);
			puts_to(s, "}");
			first = false;
		}
		puts_to(s, "]");
	}
	puts_to(s, "}");
}

/* What to type after a check. */
static void put_repair(struct sink *s, const struct outcome *o)
{
	puts_to(s, "next: ");
	put_sentence(s, o->command);
	puts_to(s, "\n");
}

static void put_summary(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	const struct plan *const p = o->plan;
	const uint64_t torn = count_harm(p, HARM_TORN), lost = count_harm(p, HARM_LOST), stale = count_harm(p, HARM_STALE),
		       unchecked = count_harm(p, HARM_UNCHECKED);

	if (o->survey->halted && !options->repair && can_be_made_again(o->salvage)) {
		put_repair(s, o);
		return;
	}
	if (o->survey->halted) {
		put_halt(s, p, o->salvage && (o->salvage->meta.done || o->salvage->overlay.done));
		return;
	}
	if (o->survey->interrupted) {
		puts_to(s, "stopped before everything was looked at, nothing was changed; run again\n");
		return;
	}
	if (p->nothing_wrong && !p->something_left) {
		if (options->quiet)
			return;
		if (p->acknowledged)
			putf(s, "nothing is wrong but what is acknowledged: %llu\n", (unsigned long long)p->acknowledged);
		else
			put_proved(s, o);
		put_trusted(s, o->survey);
		return;
	}
	putf(s, "found: %llu damaged %s, %llu lost %s, %llu %s", (unsigned long long)torn, plural(torn, "thing", "things"),
		(unsigned long long)lost, plural(lost, "thing", "things"), (unsigned long long)stale,
		plural(stale, "leftover", "leftovers"));
	if (unchecked)
		putf(s, ", %llu that could not be checked", (unsigned long long)unchecked);
	puts_to(s, "\n");
	put_trusted(s, o->survey);
	if (o->survey->out_of_time)
		puts_to(s, "the time allowed was over before everything was looked at; the next run begins with the rest\n");
	if (o->survey->out_of_memory)
		puts_to(s, "there was no memory to read some downloads or stray files: nothing of them is removed\n");
	if (!options->repair) {
		if (o->status == EXIT_CLEAN) {
			put_proved(s, o);
			puts_to(s, "leftovers are of no use, and in nobody's way\n");
		}
		put_repair(s, o);
		return;
	}
	if (!o->applied)
		return;
	const size_t left = count_left(o->applied);
	putf(s, "done: %zu %s, %zu %s rebuilt", o->applied->done, plural(o->applied->done, "action", "actions"), o->applied->rebuilt,
		plural(o->applied->rebuilt, "snapshot", "snapshots"));
	putf(s, left ? "; %zu could not be done\n" : "\n", left);
	if (o->applied->starved)
		puts_to(s, "there was no memory for some of it: run again\n");
	if (o->applied->backup)
		put_place(s, o, "the databases as they were: ", "", o->applied->backup);
	for (size_t i = 0; i < o->applied->aside_count; i++)
		put_place(s, o, "what was set aside: ", o->applied->aside[i], o->applied->aside_paths[i]);
	if (o->applied->interrupted || o->failure)
		puts_to(s, "stopped between two actions; run again for the rest\n");
	else if (p->something_left)
		puts_to(s, "some of it is left, see below\n");
}

static void put_failure(struct sink *s, const struct err *e)
{
	puts_to(s, "could not go on: ");
	put_sentence(s, e->text);
	if (e->sys_errno)
		putf(s, ": %s", error_text(e->sys_errno));
	puts_to(s, (e->sys_errno == EACCES || e->sys_errno == EPERM) && geteuid() ? " (run as root)\n" : "\n");
}

void report_message(const struct report_options *options, const char *root, const char *text)
{
	struct err ignored = {0}; /* a console that is gone cannot be told so */
	struct sink s = {.out = options->out ? options->out : STDERR_FILENO,
		.e = &ignored,
		.log = options->log,
		.priority = options->priority};

	put_escaped(&s, span_of_string(root));
	puts_to(&s, ": ");
	put_sentence(&s, text);
	puts_to(&s, "\n");
	sink_flush(&s);
}

/* Whether something was kept only because it may be of this boot. */
static bool keeps_for_boot(const struct outcome *o)
{
	const struct store *const st = o->store;
	bool keeps = o->plan->total[P_INGEST_KEPT] > 0;

	if (st->boot_proved_new)
		return false;
	for (size_t i = 0; !keeps && i < st->lease_count; i++)
		keeps = st->leases[i].expires && !store_lease_facts(st, &st->leases[i]).ours;
	for (size_t i = 0; !keeps && i < st->backend_count; i++)
		keeps = st->backends[i].kind == SNAPSHOT_ACTIVE &&
			store_is_extract(st, store_find_namespace(st, st->backends[i].ns_name), st->backends[i].user_key);
	for (size_t i = 0; !keeps && i < st->state_file_count; i++)
		keeps = st->state_files[i].kind == STATE_CRI_STATUS;
	for (size_t i = 0; !keeps && i < o->plan->finding_count; i++)
		keeps = o->plan->findings[i].subject == SUBJECT_CRI && o->plan->findings[i].fate == FATE_LEFT;
	for (size_t i = 0; !keeps && i < st->image_count; i++)
		keeps = o->plan->images[i].left && !o->plan->images[i].damaged;
	return keeps;
}

static void put_evidence(struct sink *s, const char *before, const struct store *st)
{
	puts_to(s, before);
	put_sentence(s, st->boot_evidence);
	puts_to(s, "\n");
}

static void put_boot(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	if (o->survey->halted || o->survey->interrupted)
		return;
	if (o->store->overlay_path && (!options->quiet || o->status != EXIT_CLEAN)) {
		puts_to(s, "snapshots: in ");
		put_escaped(s, span_of_string(o->store->overlay_path));
		puts_to(s, ", as root_path says\n");
	}
	if (o->store->beside_docker && (!options->quiet || o->status != EXIT_CLEAN))
		puts_to(s, "not looked at: docker's own images (overlay2) in /var/lib/docker\n");
	if (options->verbose && (o->store->lease_count || o->store->ingest_count))
		put_evidence(s, "leases and downloads: ", o->store);
	if (!keeps_for_boot(o) || (options->quiet && o->status == EXIT_CLEAN))
		return;
	put_evidence(s, "kept: what may be of this boot, for ", o->store);
	if (o->store->proof != PROOF_NONE)
		return;
	puts_to(s, "if containerd has not run since the machine started: ");
	put_sentence(s, o->command);
	puts_to(s, " --after-boot\n");
}

void report_console(const struct outcome *o, const struct report_options *options)
{
	struct err ignored = {0}; /* as above */
	struct sink s = {.out = options->out,
		.e = &ignored,
		.log = options->log,
		.width = options->width,
		.priority = o->status == EXIT_CLEAN ? 6 : o->status == EXIT_REPAIRED ? 4 : 3};

	if (!options->out)
		return;
	const struct roll roll = o->plan && o->store ? roll_make(o) : (struct roll){0};
	if (!options->quiet || o->status != EXIT_CLEAN) {
		put_escaped(&s, span_of_string(o->root));
		if (o->store && o->store->dockerd)
			putf(&s, ": %zu of dockerd's databases", o->store->dockerd);
		else if (o->store && o->survey && !o->survey->halted)
			putf(&s, ": %zu %s, %zu %s, %zu blobs, %zu snapshots", o->store->namespace_count,
				plural(o->store->namespace_count, "namespace", "namespaces"), o->store->image_count,
				plural(o->store->image_count, "image", "images"), o->store->blob_count, o->store->backend_count);
		puts_to(&s, "\n");
	}
	if (!o->plan || !o->survey->halted)
		put_databases(&s, o, options);
	/* what a person wants to know first comes first where it may be all that a log keeps, and last where a screen ends with it */
	const bool looked = o->plan && !o->survey->halted, first = looked && o->applied;
	if (first)
		put_summary(&s, o, options);
	if (looked && !o->scrub && !o->survey->interrupted && (!options->quiet || o->status != EXIT_CLEAN))
		put_images(&s, o, &roll, options);
	if (first && !o->failure)
		put_pulls(&s, o, &roll, options);
	if (o->plan) {
		put_findings(&s, o, &roll, options);
		if (o->scrub) {
			sink_flush(&s);
			return;
		}
		if (o->survey->halted)
			put_databases(&s, o, options);
		put_boot(&s, o, options);
	}
	if (o->plan && !first)
		put_summary(&s, o, options);
	if (looked && !first && !o->failure)
		put_pulls(&s, o, &roll, options);
	if (o->failure)
		put_failure(&s, o->failure);
	sink_flush(&s);
}

/* ---- JSON ---- */

static void put_json_field(struct sink *s, const char *name, struct span value)
{
	if (!value.left)
		return;
	putf(s, ",\"%s\":", name);
	put_json_string(s, value);
}

static void put_json_reason(struct sink *s, const char *name, const char *sentence)
{
	putf(s, ",\"%s\":", name);
	put_json_sentence(s, sentence);
}

static void put_json_finding(struct sink *s, const struct outcome *o, const struct roll *roll, const struct finding *f)
{
	const struct holder holder = roll_holder(roll, o, f);
	const char *const left = why_left(o, f);
	char message[2048];

	(void)problem_message(f, message, sizeof(message)); /* a cut message is still a message */
	putf(s, "{\"code\":\"%04x\",\"problem\":\"%s\",\"harm\":\"%s\",\"fate\":\"%s\"", problems[f->problem].code,
		problem_id(f->problem), harm_name(problems[f->problem].harm), fate_name(f->fate));
	put_json_field(s, "namespace", f->ns);
	put_json_field(s, "name", f->name);
	if (f->digest.left && memchr(f->digest.at, ':', f->digest.left)) /* what dockerd made is of no layer */
		put_json_field(s, "digest", f->digest);
	put_json_field(s, "image", holder.whole);
	if (holder.shared)
		puts_to(s, ",\"shared\":true");
	put_json_field(s, "path", f->path);
	put_json_field(s, "why", f->why);
	if (o->applied && (f->fate == FATE_REPAIR || f->fate == FATE_REMOVE || f->fate == FATE_DROP))
		put_json_field(s, "outcome", span_of_string(outcome_name(plan_outcome(o->plan, f))));
	if (left)
		put_json_reason(s, "left_because", left);
	if (f->acknowledged)
		puts_to(s, ",\"acknowledged\":true");
	if (f->got || f->want)
		putf(s, ",\"got\":%llu,\"want\":%llu", (unsigned long long)f->got, (unsigned long long)f->want);
	puts_to(s, ",\"message\":");
	put_json_text(s, message); /* its names are escaped */
	puts_to(s, "}");
}

/* The lines to type. */
static void put_json_next(struct sink *s, const struct outcome *o, const struct roll *roll)
{
	static const struct report_options options = {.quiet = true};

	s->listing = true;
	if (!o->repair && !o->survey->interrupted &&
		(o->survey->halted ? can_be_made_again(o->salvage) : !o->plan->nothing_wrong || o->plan->something_left))
		put_repair(s, o);
	if (!o->survey->halted && !o->failure)
		put_pulls(s, o, roll, &options);
	s->listing = false;
	s->lines = 0;
}

static void put_json_body(struct sink *s, const struct outcome *o)
{
	putf(s, "{\"version\":1,\"program\":\"containerd-fsck " PROGRAM_VERSION "\",\"root\":");
	put_json_string(s, span_of_string(o->root));
	const uint64_t started = o->started_ns / 1000000000u;
	putf(s, ",\"started_at\":\"%s\",\"finished_at\":\"%s\"", time_text(started).text,
		time_text((o->started_ns + o->elapsed_ns) / 1000000000u).text);
	putf(s, ",\"started\":%llu,\"seconds\":%llu.%03u,\"exit_status\":%d,\"mode\":\"%s\"",
		(unsigned long long)started, (unsigned long long)(o->elapsed_ns / 1000000000u),
		(unsigned)(o->elapsed_ns / 1000000u % 1000), o->status,
		o->scrub ? "scrub" : o->repair ? "repair" : "check");
	if (o->refusal != STORE_OPENED)
		putf(s, ",\"refusal\":\"%s\"",
			o->refusal == STORE_RUNNING	   ? "containerd is running"
			: o->refusal == STORE_NOT_A_ROOT ? "not a containerd root"
							   : "no such directory");
	if (o->failure) {
		put_json_reason(s, "failure", o->failure->text);
		if (o->failure->sys_errno)
			put_json_field(s, "errno", span_of_string(error_text(o->failure->sys_errno)));
	}
	if (o->store && o->survey) {
		if (*o->store->boot_id)
			put_json_field(s, "boot_id", span_of_string(o->store->boot_id));
		putf(s,
			",\"store\":{\"schema\":%llu,\"namespaces\":%zu,\"images\":%zu,\"blobs\":%zu,\"snapshots\":%zu,"
			"\"ingests\":%zu,\"leases\":%zu,\"new_boot\":%s}",
			(unsigned long long)o->store->schema, o->store->namespace_count, o->store->image_count,
			o->store->blob_count, o->store->backend_count, o->store->ingest_count, o->store->lease_count,
			o->store->boot_proved_new ? "true" : "false");
		putf(s,
			",\"work\":{\"bytes_read\":%llu,\"blobs_checked\":%llu,\"snapshots_checked\":%llu,"
			"\"entries_compared\":%llu,\"blobs_trusted\":%llu,\"snapshots_trusted\":%llu,\"out_of_time\":%s,"
			"\"peak_bytes\":%zu}",
			(unsigned long long)o->survey->bytes_read, (unsigned long long)o->survey->blobs_checked,
			(unsigned long long)o->survey->snapshots_checked, (unsigned long long)o->survey->entries_compared,
			(unsigned long long)o->survey->blobs_trusted, (unsigned long long)o->survey->snapshots_trusted,
			o->survey->out_of_time ? "true" : "false", o->peak_bytes);
	}
	if (o->plan && !o->survey->halted && !o->survey->interrupted) {
		const struct proved n = count_proved(o);
		putf(s,
			",\"proved\":{\"blobs\":%llu,\"of_blobs\":%llu,\"snapshots\":%llu,\"of_snapshots\":%llu,"
			"\"of_other_snapshotters\":%llu,\"of_containers\":%llu,\"images\":%llu,\"of_images\":%llu}",
			(unsigned long long)n.blobs, (unsigned long long)n.all_blobs, (unsigned long long)n.snapshots,
			(unsigned long long)n.all_snapshots, (unsigned long long)o->store->other_snapshots,
			(unsigned long long)n.containers, (unsigned long long)n.images, (unsigned long long)n.all_images);
	}
	if (o->applied)
		putf(s,
			",\"repair\":{\"actions\":%zu,\"done\":%zu,\"snapshots_rebuilt\":%zu,\"bytes_written\":%llu,"
			"\"interrupted\":%s}",
			o->applied->done + count_left(o->applied), o->applied->done, o->applied->rebuilt,
			(unsigned long long)o->applied->written_bytes, o->applied->interrupted ? "true" : "false");
	if (o->salvage) {
		puts_to(s, ",\"databases\":[");
		put_json_database(s, &o->salvage->meta);
		puts_to(s, ",");
		put_json_database(s, &o->salvage->overlay);
		puts_to(s, "]");
	}
	puts_to(s, ",\"totals\":{");
	bool first = true;
	for (unsigned i = 0; o->plan && i < P_COUNT; i++)
		if (o->plan->total[i]) {
			putf(s, "%s\"%04x\":%llu", first ? "" : ",", problems[i].code, (unsigned long long)o->plan->total[i]);
			first = false;
		}
	puts_to(s, "},\"findings\":[");
	const struct roll roll = o->plan && o->store ? roll_make(o) : (struct roll){0};
	for (size_t i = 0; o->plan && i < o->plan->finding_count; i++) {
		puts_to(s, i ? ",\n" : "\n");
		put_json_finding(s, o, &roll, &o->plan->findings[i]);
	}
	puts_to(s, "],\"images\":[");
	for (size_t i = 0; o->plan && !o->survey->halted && i < o->store->image_count; i++) {
		const struct image_state *const state = &o->plan->images[i];
		puts_to(s, i ? ",\n{\"namespace\":" : "\n{\"namespace\":");
		put_json_string(s, o->store->namespaces[o->store->images[i].ns].name);
		put_json_field(s, "name", o->store->images[i].name);
		putf(s, ",\"verdict\":\"%s\",\"damaged\":%s,\"name_dropped\":%s", verdict_name(o, state->verdict),
			state->damaged ? "true" : "false", state->name_dropped ? "true" : "false");
		if (state->left_out)
			puts_to(s, ",\"fetch\":true");
		if (state->lost_entries)
			putf(s, ",\"rewrite_entries\":%llu,\"rewrite_bytes\":%llu", (unsigned long long)state->lost_entries,
				(unsigned long long)state->lost_bytes);
		if (state->why)
			put_json_reason(s, "why", state->why);
		if (roll.user && roll.user[i]) {
			puts_to(s, ",\"used_by\":[");
			put_users(s, o, &roll, i, true);
			puts_to(s, "]");
		}
		puts_to(s, "}");
	}
	puts_to(s, "],\"next\":[");
	if (o->plan)
		put_json_next(s, o, &roll);
	char text[DIGEST_TEXT_BYTES];
	puts_to(s, "],\"missing\":[");
	/* behind next, of which the memory is, too */
	const bool judged = o->plan && o->store && o->store->keep;
	struct arena scratch = judged ? *o->store->keep : (struct arena){0};
	const struct missing_list missing = judged ? missing_find(o, &scratch) : (struct missing_list){0};
	for (size_t i = 0; i < missing.count; i++) {
		const struct image *const image = &o->store->images[missing.at[i].image];
		puts_to(s, i ? ",\n{\"digest\":" : "\n{\"digest\":");
		digest_format(&missing.at[i].digest, text);
		put_json_string(s, span_of_string(text));
		if (missing.at[i].size)
			putf(s, ",\"bytes\":%llu", (unsigned long long)missing.at[i].size);
		put_json_field(s, "namespace", o->store->namespaces[image->ns].name);
		put_json_field(s, "image", image->name);
		puts_to(s, "}");
	}
	puts_to(s, "]}\n");
	sink_flush(s);
}

enum rc report_json(const struct outcome *o, int out, struct err *e)
{
	struct sink s = {.out = out, .e = e};

	put_json_body(&s, o);
	return s.rc;
}

enum rc report_file_open(struct report_file *f, const char *path, bool regular, struct err *e)
{
	struct stat st;
	int fd;

	*f = (struct report_file){0};
	const int there = lstat(path, &st);
	f->beside = there ? errno == ENOENT : S_ISREG(st.st_mode);
	if (regular && !f->beside)
		return fail(e, RC_IO, "is no regular file");
	const int n = print_to(f->temporary, sizeof(f->temporary), "%s.tmp-%ld", path, (long)getpid());
	if (n < 0 || (size_t)n >= sizeof(f->temporary))
		return fail(e, RC_LIMIT, "the name is too long");
	if (f->beside && unlink(f->temporary) && errno != ENOENT) /* of a run that was cut off, in a boot before */
		return fail(e, RC_IO, "the report cannot be written there");
	if (f->beside)
		fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	else /* its old bytes stay until there are new ones */
		fd = open(path, O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(e, RC_IO, "the report cannot be written there");
	f->fd = fd;
	f->path = path;
	return RC_OK;
}

enum rc report_file_begin(struct report_file *f, struct err *e)
{
	struct stat st;

	if (!f->written && !f->beside && fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(f->fd, 0))
		return fail(e, RC_IO, "the report cannot be written there");
	f->written = true;
	return RC_OK;
}

enum rc report_file_add(struct report_file *f, const struct outcome *o, struct err *e)
{
	enum rc rc = report_file_begin(f, e);

	if (rc == RC_OK)
		rc = report_json(o, f->fd, e);
	f->failed |= rc != RC_OK;
	return rc;
}

enum rc report_file_close(struct report_file *f, struct err *e)
{
	enum rc rc = RC_OK;

	if (!f->path)
		return RC_OK;
	const char *const path = f->path;
	f->path = NULL;
	/* EINVAL: a file system that has no such thing */
	if (f->written && !f->failed && f->beside && !f->loose && fsync(f->fd) && errno != EINVAL)
		rc = fail(e, RC_IO, "write the report");
	if (close(f->fd) && f->written && rc == RC_OK)
		rc = fail(e, RC_IO, "write the report");
	if (!f->beside)
		return rc;
	if (f->written && !f->failed && rc == RC_OK && rename(f->temporary, path))
		rc = fail(e, RC_IO, "write the report");
	if (!f->written || f->failed || rc)
		(void)unlink(f->temporary); /* half of a report is none */
	return rc;
}

enum rc keep_in(int dir, const char *name, void (*put_all)(struct sink *s, const void *what), const void *what, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc = own_create_beside(dir, name, &fd, e);

	if (rc)
		return rc;
	struct sink s = {.fd = fd, .e = e};
	put_all(&s, what);
	sink_flush(&s);
	return s.rc ? s.rc : own_put_in_place(dir, name, fd, e);
}

static void put_report(struct sink *s, const void *what)
{
	put_json_body(s, what);
}

enum rc report_keep(const struct outcome *o, struct err *e)
{
	auto_fd own = -1;
	const enum rc rc = os_open_dir(o->store->dir, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc; /* nothing was changed, or it is not ours */
	return keep_in(own, "report.json", put_report, o, e);
}

enum rc open_run(const char *root, bool make, const char *suffix, char name[LIMIT_NAME_BYTES + 1], int *dir, struct err *e)
{
	auto_fd run = -1;
	const int n = print_to(name, LIMIT_NAME_BYTES + 1, "%s%s", root + strspn(root, "/"), suffix);

	for (char *at = name; (at = strchr(at, '/'));)
		*at = '-';
	if (n < 0 || n > LIMIT_NAME_BYTES)
		return fail(e, RC_LIMIT, "the name is too long");
	enum rc rc = os_open_root("/run", &run, e);
	if (rc == RC_OK && make && (rc = os_mkdir(run, STORE_OWN_DIR, 0700, e)) == RC_END)
		rc = RC_OK;
	return rc ? rc : os_open_dir(run, STORE_OWN_DIR, dir, e);
}

void report_keep_run(const struct outcome *o)
{
	char name[LIMIT_NAME_BYTES + 1];
	struct err ignored = {0}; /* a copy for those who look there; the report itself is kept */
	auto_fd dir = -1;

	if (open_run(o->root, true, ".json", name, &dir, &ignored) || keep_in(dir, name, put_report, o, &ignored))
		return;
}
