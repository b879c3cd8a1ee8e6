/* SPDX-License-Identifier: MIT */
/* The report for a program, and what is kept of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "tell/sink.h"

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

static void put_json_finding(struct sink *s, const struct outcome *o, const struct finding *f)
{
	const char *const left = why_left(o, f);
	char message[2048];

	(void)problem_message(f, message, sizeof(message)); /* a cut message is still a message */
	putf(s, "{\"code\":\"%04x\",\"problem\":\"%s\",\"harm\":\"%s\",\"fate\":\"%s\"", problems[f->problem].code,
		problems[f->problem].id, harm_name(problems[f->problem].harm), fate_name(f->fate));
	put_json_field(s, "namespace", f->ns);
	put_json_field(s, "name", f->name);
	put_json_field(s, "digest", f->digest);
	put_json_field(s, "path", f->path);
	put_json_field(s, "why", f->why);
	if (o->applied && (f->fate == FATE_REPAIR || f->fate == FATE_REMOVE || f->fate == FATE_DROP))
		put_json_field(s, "outcome", span_of_string(outcome_name(plan_outcome(o->plan, f))));
	if (left)
		put_json_reason(s, "left_because", left);
	if (f->got || f->want)
		putf(s, ",\"got\":%llu,\"want\":%llu", (unsigned long long)f->got, (unsigned long long)f->want);
	puts_to(s, ",\"message\":");
	put_json_text(s, message); /* its names are escaped */
	puts_to(s, "}");
}

static void put_json_body(struct sink *s, const struct outcome *o)
{
	putf(s, "{\"version\":1,\"program\":\"containerd-fsck " PROGRAM_VERSION "\",\"root\":");
	put_json_string(s, span_of_string(o->root));
	putf(s, ",\"started\":%llu,\"seconds\":%.3f,\"exit_status\":%d,\"mode\":\"%s\"",
		(unsigned long long)(o->started_ns / 1000000000u), (double)o->elapsed_ns / 1e9, o->status,
		o->repair ? "repair" : "check");
	if (o->refusal != STORE_OPENED)
		putf(s, ",\"refusal\":\"%s\"",
			o->refusal == STORE_RUNNING	   ? "containerd is running"
			: o->refusal == STORE_NOT_A_ROOT ? "not a containerd root"
							   : "no such directory");
	if (o->failure) {
		put_json_reason(s, "failure", o->failure->text);
		if (o->failure->sys_errno)
			put_json_field(s, "errno", span_of_string(strerror(o->failure->sys_errno)));
	}
	if (o->store && o->survey) {
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
	puts_to(s, ",\"totals\":{");
	bool first = true;
	for (unsigned i = 0; o->plan && i < P_COUNT; i++)
		if (o->plan->total[i]) {
			putf(s, "%s\"%04x\":%llu", first ? "" : ",", problems[i].code, (unsigned long long)o->plan->total[i]);
			first = false;
		}
	puts_to(s, "},\"findings\":[");
	for (size_t i = 0; o->plan && i < o->plan->finding_count; i++) {
		puts_to(s, i ? ",\n" : "\n");
		put_json_finding(s, o, &o->plan->findings[i]);
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
		if (state->why)
			put_json_reason(s, "why", state->why);
		puts_to(s, "}");
	}
	puts_to(s, "]}\n");
	sink_flush(s);
}

enum rc report_json(const struct outcome *o, FILE *out, struct err *e)
{
	struct sink s = {.file = out, .e = e};

	put_json_body(&s, o);
	if (s.rc == RC_OK && fflush(out))
		return fail(e, RC_IO, "write the report");
	return s.rc;
}

enum rc report_file_open(struct report_file *f, const char *path, struct err *e)
{
	struct stat st;
	int fd;

	*f = (struct report_file){.path = path};
	const int there = lstat(path, &st);
	f->beside = there ? errno == ENOENT : S_ISREG(st.st_mode);
	const int n = snprintf(f->temporary, sizeof(f->temporary), "%s.tmp-%ld", path, (long)getpid());
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
	f->file = fdopen(fd, "w");
	if (f->file)
		return RC_OK;
	(void)fail(e, RC_NOMEM, "no memory for the report"); /* returned below, after the close */
	(void)close(fd);                                     /* nothing was written */
	if (f->beside)
		(void)unlink(f->temporary); /* empty, and nobody's */
	return RC_NOMEM;
}

enum rc report_file_add(struct report_file *f, const struct outcome *o, struct err *e)
{
	struct stat st;

	if (!f->written && !f->beside && fstat(fileno(f->file), &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fileno(f->file), 0))
		return fail(e, RC_IO, "the report cannot be written there");
	f->written = true;
	return report_json(o, f->file, e);
}

enum rc report_file_close(struct report_file *f, struct err *e)
{
	enum rc rc = RC_OK;

	if (!f->file)
		return RC_OK;
	const bool failed = ferror(f->file);
	/* EINVAL: a file system that has no such thing */
	if (f->written && !failed && (fflush(f->file) || (f->beside && fsync(fileno(f->file)) && errno != EINVAL)))
		rc = fail(e, RC_IO, "write the report");
	if (fclose(f->file) && f->written && rc == RC_OK)
		rc = fail(e, RC_IO, "write the report");
	f->file = NULL;
	if (!f->beside)
		return rc;
	if (f->written && !failed && rc == RC_OK && rename(f->temporary, f->path))
		rc = fail(e, RC_IO, "write the report");
	if (!f->written || failed || rc)
		(void)unlink(f->temporary); /* half of a report is none */
	return rc;
}

static enum rc keep_in(const struct outcome *o, int dir, const char *name, const char *temporary, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc;

	if ((rc = os_unlink(dir, temporary, e)) && rc != RC_END)
		return rc;
	if ((rc = os_create(dir, temporary, 0600, &fd, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is in the way", temporary) : rc;
	struct sink s = {.fd = fd, .e = e};
	put_json_body(&s, o);
	if ((rc = s.rc) || (rc = os_fsync(fd, e)) || (rc = os_rename(dir, temporary, dir, name, e)))
		return rc;
	return os_fsync(dir, e);
}

enum rc report_keep(const struct outcome *o, struct err *e)
{
	auto_fd own = -1;
	const enum rc rc = os_open_dir(o->store->dir, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc; /* nothing was changed, or it is not ours */
	return keep_in(o, own, "report.json", "report.json.tmp", e);
}

void report_keep_run(const struct outcome *o, struct arena scratch)
{
	auto_fd run = -1, dir = -1;
	struct err ignored = {0}; /* a copy for those who look there; the report itself is kept */
	char *const name = arena_printf(&scratch, "%s.json", o->root + strspn(o->root, "/"));
	char *const temporary = name ? arena_printf(&scratch, "%s.tmp", name) : NULL;

	for (char *at = temporary; at && (at = strchr(at, '/'));)
		*at = '-';
	for (char *at = name; at && (at = strchr(at, '/'));)
		*at = '-';
	if (!temporary || strlen(temporary) > LIMIT_NAME_BYTES || os_open_root("/run", &run, &ignored) ||
		(os_mkdir(run, STORE_OWN_DIR, 0700, &ignored) == RC_IO && ignored.rc) ||
		os_open_dir(run, STORE_OWN_DIR, &dir, &ignored))
		return;
	if (keep_in(o, dir, name, temporary, &ignored))
		return;
}
