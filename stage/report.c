/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"
#include "os.h"
#include "own.h"
#include "os_write.h"

#define LISTED_BY_DEFAULT 5 /* findings of one code on the console without --verbose */

/* ---- status ---- */

static uint64_t count_harm(const struct plan *p, enum harm harm);

/* Of no use to anybody, and in nobody's way: a snapshot removed seconds before the stop leaves one. */
static bool only_leftovers(const struct plan *p)
{
	return count_harm(p, HARM_TORN) + count_harm(p, HARM_LOST) + count_harm(p, HARM_UNCHECKED) + count_harm(p, HARM_HALT) == 0;
}

static bool can_be_made_again(const struct salvage *s)
{
	return s && s->needed && (!s->meta.needed || s->meta.tier != SALVAGE_NONE) &&
	       (!s->overlay.needed || s->overlay.tier != SALVAGE_NONE);
}

/* Of meta.db, made again: whether something is not in it that was in the broken one. What metadata.db lacks is a finding. */
static bool salvage_loses(const struct salvage_database *d)
{
	for (size_t i = 0; d->needed && i < d->name_count; i++)
		if (!d->names[i].used)
			return true;
	for (size_t i = 0; d->needed && i < d->gap_count; i++)
		if (!d->told_by_journal || d->gaps[i].what == SALVAGE_CONTAINERS || d->gaps[i].what == SALVAGE_ALL)
			return true;
	return d->needed && (d->recovered || d->tier == SALVAGE_CONTENT || (d->tier == SALVAGE_COPY && d->behind));
}

static enum exit_status status_beside(const struct outcome *o, bool repair)
{
	if (o->plan->nothing_wrong && !o->plan->something_left)
		return EXIT_CLEAN;
	if (!repair && !o->plan->something_left && only_leftovers(o->plan))
		return EXIT_CLEAN;
	if (!repair || o->plan->something_left || (o->applied && o->applied->starved))
		return EXIT_LEFT;
	return o->applied && o->applied->done ? EXIT_REPAIRED : EXIT_CLEAN; /* what is left is no damage */
}

enum exit_status report_status(const struct outcome *o, bool repair)
{
	const struct salvage *const made = o->salvage;

	if (o->survey && (o->survey->interrupted || (o->applied && o->applied->interrupted)))
		return EXIT_INTERRUPTED;
	if (!o->failure && o->refusal == STORE_OPENED && o->plan && o->survey->halted && !repair && can_be_made_again(made))
		return EXIT_LEFT;
	if (o->failure || o->refusal != STORE_OPENED || !o->plan || o->survey->halted)
		return EXIT_FAILED;
	const enum exit_status beside = status_beside(o, repair);
	if (!made || beside > EXIT_REPAIRED)
		return beside;
	return salvage_loses(&made->meta) || count_harm(o->plan, HARM_LOST) ? EXIT_LEFT : EXIT_REPAIRED;
}

/* ---- where text goes ---- */

struct sink {
	FILE *file;   /* or: */
	int fd;
	uint64_t off;
	size_t used;
	char buf[4096];
	struct err *e;
	enum rc rc;
	enum report_log log;
	int priority;
	unsigned lines;   /* of the log so far */
	bool in_line;
	char line[400];   /* of the kernel's log, so far */
	size_t line_used;
};

static void sink_flush(struct sink *s)
{
	if (s->rc == RC_OK && s->used && !s->file) {
		s->rc = os_write(s->fd, s->off, s->buf, s->used, s->e);
		s->off += s->used;
	} else if (s->rc == RC_OK && s->used && fwrite(s->buf, 1, s->used, s->file) != s->used) {
		s->rc = fail(s->e, RC_IO, "write the report");
	}
	s->used = 0;
}

static void put_raw(struct sink *s, const char *text, size_t n)
{
	while (n) {
		const size_t room = sizeof(s->buf) - s->used;
		const size_t step = n < room ? n : room;
		memcpy(s->buf + s->used, text, step);
		s->used += step;
		text += step;
		n -= step;
		if (s->used == sizeof(s->buf))
			sink_flush(s);
	}
}

static void end_log_line(struct sink *s)
{
	s->line[s->line_used] = 0;
	if (s->lines < REPORT_LOG_LINES)
		os_kernel_log(s->priority, s->line);
	else if (s->lines == REPORT_LOG_LINES)
		os_kernel_log(s->priority, "and more: see " STORE_OWN_DIR "/report.json");
	s->lines++;
	s->line_used = 0;
}

/* One line of n bytes, its newline included if it has one. */
static void log_line(struct sink *s, const char *text, size_t n)
{
	const bool ends = text[n - 1] == '\n';

	if (s->log == REPORT_JOURNAL && !s->in_line) {
		const char prefix[] = {'<', (char)('0' + s->priority), '>'};
		put_raw(s, prefix, sizeof(prefix));
	}
	s->in_line = !ends;
	if (s->log != REPORT_KERNEL_LOG)
		return;
	const size_t room = sizeof(s->line) - 1 - s->line_used, step = n - ends < room ? n - ends : room;
	memcpy(s->line + s->line_used, text, step);
	s->line_used += step;
	if (ends)
		end_log_line(s);
}

static void put(struct sink *s, const char *text, size_t n)
{
	while (n && s->log != REPORT_NO_LOG) {
		const char *const end = memchr(text, '\n', n);
		const size_t one = end ? (size_t)(end - text) + 1 : n;
		log_line(s, text, one);
		put_raw(s, text, one);
		text += one;
		n -= one;
	}
	put_raw(s, text, n);
}

static void puts_to(struct sink *s, const char *text)
{
	put(s, text, strlen(text));
}

static void putf(struct sink *s, const char *format, ...) PRINTF_LIKE(2, 3);
static void putf(struct sink *s, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	const int n = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (n > 0)
		put(s, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* The text made safe for a console by escape or its like; one that is cut to most - 1 bytes is still one. */
static void put_safe(struct sink *s, size_t (*make_safe)(char *, size_t, struct span), struct span raw, size_t most,
	void (*put_text)(struct sink *, const char *))
{
	char text[4096];

	(void)make_safe(text, most < sizeof(text) ? most : sizeof(text), raw); /* cut, see above */
	put_text(s, text);
}

/* What came from disk, safe for a console. */
static void put_escaped(struct sink *s, struct span raw)
{
	put_safe(s, escape, raw, 1024, puts_to);
}

/* A sentence of ours, in which there may be such names. */
static void put_sentence(struct sink *s, const char *sentence)
{
	put_safe(s, escape_sentence, span_of_string(sentence), SIZE_MAX, puts_to);
}

/* A name as a word to be typed. */
static void put_word(struct sink *s, struct span raw)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+,=";
	char text[1024];

	(void)escape(text, sizeof(text), raw); /* a cut name is still a name */
	if (*text && *text != '-' && text[strspn(text, plain)] == 0) {
		puts_to(s, text);
		return;
	}
	put(s, "'", 1);
	for (const char *c = text; *c; c++)
		put(s, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
	put(s, "'", 1);
}

static void put_json_text(struct sink *s, const char *text)
{
	put(s, "\"", 1);
	for (const char *c = text; *c; c++) {
		if (*c == '\\' || *c == '"')
			put(s, "\\", 1);
		put(s, c, 1);
	}
	put(s, "\"", 1);
}

/* JSON wants other escapes than a console: \u00XX, and a byte that is no UTF-8 has no JSON form but U+FFFD; the console's
 * \xNN inside the string keeps it readable and unambiguous, because a backslash is escaped as well. */
static void put_json_string(struct sink *s, struct span raw)
{
	put_safe(s, escape, raw, SIZE_MAX, put_json_text);
}

static void put_json_sentence(struct sink *s, const char *sentence)
{
	put_safe(s, escape_sentence, span_of_string(sentence), SIZE_MAX, put_json_text);
}

/* ---- words ---- */

struct size_text {
	char text[24];
};

static struct size_text size_text(uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct size_text t;
	unsigned unit = 0;
	uint64_t rest = 0;

	while (bytes >= 1024 && unit < 6) {
		rest = bytes % 1024;
		bytes /= 1024;
		unit++;
	}
	if (unit == 0)
		(void)snprintf(t.text, sizeof(t.text), "%u bytes", (unsigned)bytes); /* fits */
	else
		(void)snprintf(t.text, sizeof(t.text), "%u.%u %s", (unsigned)bytes, (unsigned)(rest * 10 / 1024), units[unit]);
	return t;
}

static const char *plural(uint64_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

/* What happens to it, or, of a repair that was carried out, what did. */
static const char *fate_word(const struct outcome *o, const struct finding *f)
{
	const enum action_outcome happened = o->applied ? plan_outcome(o->plan, f) : OUTCOME_PENDING;
	const bool done = happened == OUTCOME_DONE || happened == OUTCOME_NOTHING;

	if (o->applied && !done && (f->fate == FATE_REPAIR || f->fate == FATE_REMOVE || f->fate == FATE_DROP))
		return happened == OUTCOME_LEFT ? "left alone" : "not done";
	switch (f->fate) {
	case FATE_NOTHING:
		return "note";
	case FATE_REPAIR:
		return done ? "repaired" : "repair can put it right";
	case FATE_REMOVE:
		return done ? "removed" : "repair can remove it";
	case FATE_DROP:
		if (f->subject == SUBJECT_CRI)
			return done ? "its records are dropped" : "repair can drop its records";
		return done ? "dropped" : "repair can drop it";
	case FATE_LEFT:
		return "left alone";
	case FATE_UNCHECKED:
		return "not checked";
	case FATE_HALTED:
	default:
		return "nothing is written";
	}
}

/* Why it stays; NULL: it does not, or nobody knows. */
static const char *why_left(const struct outcome *o, const struct finding *f)
{
	if (f->left || f->action == STORE_NONE || !o->applied)
		return f->left;
	return o->plan->actions[f->action].why;
}

static const char *outcome_name(enum action_outcome o)
{
	static const char *const names[] = {"pending", "done", "nothing", "left", "disk"};
	return names[o];
}

/* The name of an image is dropped only where somebody pulls by itself. A pull takes as it is whatever is unpacked already, and need not
 * fetch its layers (containerd 2: core/unpack/unpacker.go; CRI's pull in each release): it heals an image if all that is was proved. */
static const char *image_word(const struct image_state *state, bool repair)
{
	if (state->unproved)
		return !state->name_dropped ? "a pull takes as they are files that nothing here proves"
		       : repair		    ? "name dropped; a pull takes as they are files that nothing here proves"
					    : "repair can drop the name; a pull takes as they are files that nothing here proves";
	if (!state->name_dropped)
		return state->imported   ? "it was imported: import it again"
		       : state->left_out ? "a pull, and a fetch of what it leaves out, heal it"
					 : "a pull heals it";
	if (state->imported)
		return repair ? "name dropped; it was imported: import it again, if no registry has it"
			      : "repair can drop the name; it was imported: import it again, if no registry has it";
	return repair ? "name dropped, so that kubelet pulls it" : "repair can drop the name, so that kubelet pulls it";
}

static const char *fate_name(enum fate f)
{
	static const char *const names[] = {"none", "repair", "remove", "drop", "left", "unchecked", "halted"};
	return names[f];
}

/* Nothing is healed before it was. */
static const char *verdict_name(const struct outcome *o, enum image_verdict v)
{
	static const char *const names[] = {"whole", "healed", "pull", "unverified"};
	return v == IMAGE_IS_HEALED && !o->applied ? "damaged" : names[v];
}

/* Whole digests fill a line twice: on the console twelve digits are enough to tell them apart. */
static void put_message(struct sink *s, const struct finding *f, bool whole)
{
	char text[2048];
	size_t n;

	(void)problem_message(f, text, sizeof(text)); /* a cut message is still a message */
	for (const char *at = text; *at; at += n) {
		const char *const digest = whole ? NULL : strstr(at, "sha256:");
		if (!digest) {
			puts_to(s, at);
			break;
		}
		n = (size_t)(digest - at) + 7;
		put(s, at, n);
		const size_t hex = strspn(digest + 7, "0123456789abcdef");
		put(s, digest + 7, hex == 64 ? 12 : hex);
		n += hex;
	}
}

/* ---- progress ---- */

/* ns; systemd is told a few times in each window, which is long enough for a machine that stalls */
#define NOTIFY_PAUSE_NS 1000000000u
#define NOTIFY_WINDOW "120000000" /* us */

static void notify(struct progress_state *s, const struct progress *p, uint64_t now)
{
	char text[200];

	if (now - s->notified_ns < NOTIFY_PAUSE_NS)
		return;
	/* more time is asked for only while there is progress */
	const bool moved = s->notified_what != p->what || s->notified_bytes != p->done_bytes || !s->notified_ns;
	s->notified_ns = now;
	s->notified_what = p->what;
	s->notified_bytes = p->done_bytes;
	(void)snprintf(text, sizeof(text), "STATUS=%s: %s of %s\n%s", p->what, size_text(p->done_bytes).text,
		size_text(p->total_bytes > p->done_bytes ? p->total_bytes : p->done_bytes).text,
		moved ? "EXTEND_TIMEOUT_USEC=" NOTIFY_WINDOW "\n" : ""); /* fits */
	os_notify(text);
}

void report_progress(void *self, const struct progress *p)
{
	struct progress_state *const s = self;
	const uint64_t now = os_clock_ns();
	const uint64_t pause = s->terminal ? 200000000u : 5000000000u;

	notify(s, p, now);

	if (s->options->quiet || (!s->terminal && !s->options->progress))
		return;
	if (s->what != p->what) {
		s->what = p->what;
		s->began_ns = now;
		s->last_ns = now;
		return; /* a pass that ends at once shows nothing */
	}
	if (now - s->last_ns < pause)
		return;
	s->last_ns = now;
	const uint64_t total = p->total_bytes > p->done_bytes ? p->total_bytes : p->done_bytes;
	const uint64_t elapsed = now - s->began_ns;
	const uint64_t rate = elapsed ? (uint64_t)((double)p->done_bytes * 1e9 / (double)elapsed) : 0;
	const unsigned percent = total ? (unsigned)((double)p->done_bytes * 100 / (double)total) : 0;
	(void)fprintf(stderr, "%s%s: %u%%, %s of %s", s->terminal ? "\r\033[K" : "", p->what, percent,
		size_text(p->done_bytes).text, size_text(total).text);
	if (rate)
		(void)fprintf(stderr, ", %s/s, %llu s left", size_text(rate).text,
			(unsigned long long)((total - p->done_bytes) / rate));
	(void)fprintf(stderr, s->terminal ? "" : "\n");
	s->shown = true;
}

void report_progress_end(struct progress_state *s)
{
	if (s->shown && s->terminal)
		(void)fprintf(stderr, "\r\033[K");
	s->shown = false;
}

/* ---- console ---- */

static void put_findings(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	const struct plan *const p = o->plan;

	for (size_t i = 0; i < p->finding_count;) {
		const enum problem_id id = p->findings[i].problem;
		const bool note = problems[id].harm == HARM_NOTE;
		size_t shown = 0;
		for (; i < p->finding_count && p->findings[i].problem == id; i++) {
			const struct finding *const f = &p->findings[i];
			if ((note && !options->verbose) || (!options->verbose && shown >= LISTED_BY_DEFAULT))
				continue;
			putf(s, "  %04x  ", problems[id].code);
			put_message(s, f, options->verbose);
			putf(s, " [%s]\n",
				id == P_IMAGE_INCOMPLETE && f->fate == FATE_DROP && (!o->applied || plan_outcome(p, f) == OUTCOME_DONE)
					? image_word(&p->images[f->index], o->applied)
					: fate_word(o, f));
			if (why_left(o, f)) {
				puts_to(s, "        because ");
				put_sentence(s, why_left(o, f));
				puts_to(s, "\n");
			}
			shown++;
		}
		if (shown && p->total[id] > shown)
			putf(s, "  %04x  ... and %llu more of this kind%s\n", problems[id].code,
				(unsigned long long)(p->total[id] - shown), options->verbose ? "" : " (--verbose lists them)");
	}
}

static void put_images(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	static const char *const now[] = {"whole", "damaged", "must be pulled", "not verified"};
	static const char *const after[] = {"whole", "healed", "must be pulled", "not verified"};
	const struct store *const st = o->store;
	size_t counts[4] = {0};

	for (size_t i = 0; i < st->image_count; i++)
		counts[o->plan->images[i].verdict]++;
	if (st->image_count == 0)
		return;
	putf(s, "images: %zu, %zu whole, %zu %s, %zu must be pulled, %zu not verified\n", st->image_count, counts[0], counts[1],
		o->applied ? "healed" : "damaged and repairable", counts[2], counts[3]);
	for (size_t i = 0; i < st->image_count; i++) {
		const struct image_state *const state = &o->plan->images[i];
		const struct image *const image = &st->images[i];
		/* layers that are not kept are no news of each */
		if (state->verdict == IMAGE_IS_WHOLE && !options->verbose && !(state->why && state->damaged))
			continue;
		puts_to(s, "  ");
		put_escaped(s, st->namespaces[image->ns].name);
		puts_to(s, "  ");
		put_escaped(s, image->name);
		putf(s, "  %s", o->applied ? after[state->verdict] : now[state->verdict]);
		if (state->why) {
			puts_to(s, ": ");
			put_sentence(s, state->why);
		}
		puts_to(s, "\n");
	}
}

/* "<before>: ctr -n <namespace> <verb> <image>"; for an import the name is what a registry may have. */
static void put_next(struct sink *s, const struct store *st, const struct image *image, const char *before, const char *verb)
{
	const bool import = strcmp(verb, "images import") == 0;

	puts_to(s, before);
	if (import) {
		puts_to(s, ", unless a registry has ");
		put_word(s, image->name);
	}
	puts_to(s, ": ctr -n ");
	put_word(s, st->namespaces[image->ns].name);
	puts_to(s, " ");
	puts_to(s, verb);
	puts_to(s, " ");
	if (import)
		puts_to(s, "ARCHIVE");
	else
		put_word(s, image->name);
	puts_to(s, "\n");
}

/* One name of each image is enough to fetch it by. */
static bool has_name_before(const struct store *st, size_t i)
{
	for (size_t k = st->namespaces[st->images[i].ns].images.first; k < i; k++)
		if (st->images[k].target_known && st->images[i].target_known && !image_is_named_by_config(&st->images[k]) &&
			digest_equal(&st->images[k].target, &st->images[i].target))
			return true;
	return false;
}

/* What brings back what is lost, with every release: a layer whose snapshot is here is fetched by "content fetch", or comes with an
 * import, but a pull may take it for fetched. */
static void put_pulls(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	static const char next[] = "next, once containerd runs";
	const struct store *const st = o->store;
	bool kubelet = false, unproved = false, absent = false;

	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		const struct image_state *const state = &o->plan->images[i];
		if (state->pinned || image_is_named_by_config(image))
			continue;
		if (state->verdict != IMAGE_NEEDS_PULL) {
			/* a layer that nothing lost may be one that containerd was told not to keep */
			absent |= state->left_out && !state->damaged && !state->imported;
			if (o->applied && state->left_out && state->damaged && !has_name_before(st, i))
				put_next(s, st, image, next, state->imported ? "images import" : "content fetch");
			continue;
		}
		if (!o->applied)
			continue;
		unproved |= state->unproved;
		if (state->imported) {
			put_next(s, st, image, next, "images import");
			continue;
		}
		kubelet |= state->name_dropped;
		if (!state->name_dropped)
			put_next(s, st, image, next, "images pull");
		if (state->left_out)
			put_next(s, st, image,
				state->name_dropped ? "once kubelet has pulled it, for layers that its pull leaves out"
						    : "then, for layers that a pull leaves out",
				"content fetch");
	}
	if (kubelet)
		puts_to(s, "kubelet pulls what was dropped in k8s.io when a pod needs it, unless told never to pull\n");
	if (unproved)
		puts_to(s, "overlayfs' files that were not compared with their layers are compared by the first boot or check that finds "
			   "these here\n");
	if (absent && !options->quiet && (o->applied || o->status == EXIT_CLEAN))
		puts_to(s, "what brings layers that are not local, once containerd runs: ctr -n NAMESPACE content fetch IMAGE\n");
}

static uint64_t count_harm(const struct plan *p, enum harm h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < P_COUNT; i++)
		n += problems[i].harm == h ? p->total[i] : 0;
	return n;
}

static void put_trusted(struct sink *s, const struct survey *survey)
{
	if (survey->blobs_trusted || survey->snapshots_trusted)
		putf(s, "not read again: %llu blobs and %llu snapshots, unchanged since the journal vouched for them\n",
			(unsigned long long)survey->blobs_trusted, (unsigned long long)survey->snapshots_trusted);
}

/* A path below the root. */
static void put_place(struct sink *s, const struct outcome *o, const char *what, const char *dir, const char *name)
{
	puts_to(s, what);
	put_escaped(s, span_of_string(o->root));
	putf(s, "/%s%s%s\n", *dir && strcmp(dir, ".") != 0 ? dir : "", *dir && strcmp(dir, ".") != 0 ? "/" : "", name);
}

static size_t count_left(const struct apply_result *applied)
{
	size_t n = 0;

	for (size_t i = 0; i < applied->deeds.count; i++)
		n += applied->deeds.at[i].outcome != OUTCOME_DONE && applied->deeds.at[i].outcome != OUTCOME_NOTHING;
	return n;
}

struct proved {
	uint64_t blobs, all_blobs, snapshots, all_snapshots, images, all_images; /* proved, and how many there are */
	uint64_t containers; /* snapshots that containers write to, and views: nothing is promised of them */
};

/* What this run read and compared, or the journal vouches for since somebody did. */
static struct proved count_proved(const struct outcome *o)
{
	const struct store *const st = o->store;
	struct proved n = {.all_images = st->image_count, .all_snapshots = st->other_snapshots};

	for (size_t i = 0; i < st->blob_count; i++) {
		n.all_blobs += survey_has_file(o->survey, st, i);
		n.blobs += st->blob_files[i].spare == STORE_NONE && o->survey->blobs[i].verdict == BLOB_IS_GOOD;
	}
	for (size_t i = 0; i < st->backend_count; i++) {
		if (st->backends[i].kind != SNAPSHOT_COMMITTED) {
			n.containers++;
			continue;
		}
		n.all_snapshots++;
		n.snapshots += o->survey->snapshots[i].verdict == SNAPSHOT_IS_WHOLE;
	}
	for (size_t i = 0; i < st->snapshot_count; i++) {
		struct digest d;
		n.all_snapshots += st->snapshots[i].backend == STORE_NONE && digest_parse(st->snapshots[i].key, &d) == RC_OK;
	}
	for (size_t i = 0; i < st->image_count; i++)
		n.images += o->plan->images[i].verdict == IMAGE_IS_WHOLE;
	return n;
}

/* A store is called clean only if all of it was proved. */
static void put_proved(struct sink *s, const struct outcome *o)
{
	const struct proved n = count_proved(o);

	if (n.blobs == n.all_blobs && n.snapshots == n.all_snapshots && n.images == n.all_images)
		putf(s, "clean: %llu blobs and %llu snapshots hold what they must", (unsigned long long)o->survey->blobs_checked,
			(unsigned long long)o->survey->snapshots_checked);
	else
		putf(s, "no damage found; proved are %llu of %llu blobs, %llu of %llu snapshots, %llu of %llu images",
			(unsigned long long)n.blobs, (unsigned long long)n.all_blobs, (unsigned long long)n.snapshots,
			(unsigned long long)n.all_snapshots, (unsigned long long)n.images, (unsigned long long)n.all_images);
	putf(s, " (%s read, %llu entries compared)\n", size_text(o->survey->bytes_read).text,
		(unsigned long long)o->survey->entries_compared);
}

/* Of a directory that is not in its place no database is to blame, and no copy of one helps. */
static void put_halt(struct sink *s, const struct plan *p)
{
	bool database = false;

	for (unsigned i = 0; i < P_COUNT; i++)
		database |= problems[i].harm == HARM_HALT && i != P_DIR_UNUSABLE && p->total[i];
	puts_to(s, database ? "the databases cannot be worked with, nothing was written anywhere\n"
			      "next: keep a copy of the root; an earlier repair may have left a copy of the database named above in "
			      STORE_OWN_DIR "/backup\n"
			    : "the store is not all in its place, nothing was written anywhere\n"
			      "next: mend what is said above, and check again\n");
}

/* ---- databases that are made again ---- */

static void put_json_field(struct sink *s, const char *name, struct span value);
static void put_json_reason(struct sink *s, const char *name, const char *sentence);

static const char *const tier_names[] = {[SALVAGE_NONE] = "none",
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
		puts_to(s, "of what can be read, and where nothing can, of the transaction before");
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
		if (d->told_by_journal && g->what == SALVAGE_IMAGES)
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

static void put_database(struct sink *s, const struct outcome *o, const struct salvage_database *d, const struct report_options *options)
{
	if (!d->needed)
		return;
	if (o->applied || !o->survey || !o->survey->halted) { /* else a finding says it */
		puts_to(s, "  ");
		put_sentence(s, d->path);
		putf(s, " was broken: ");
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
	put_gaps(s, d, options);
	if (d->done && d->tier != SALVAGE_FREELIST && d->was_there)
		putf(s, "        the broken one: " STORE_OWN_DIR "/" OWN_ASIDE "/broken-%s\n", d->file);
}

static void put_databases(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	if (!o->salvage)
		return;
	put_database(s, o, &o->salvage->meta, options);
	put_database(s, o, &o->salvage->overlay, options);
	if (o->salvage->directories_aside)
		putf(s, "  %zu %s of snapshots that no database knows: " STORE_OWN_DIR "/" OWN_ASIDE "/snapshot-*\n",
			o->salvage->directories_aside, plural(o->salvage->directories_aside, "directory", "directories"));
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
	if (d->needed) {
		putf(s, ",\"page\":%llu", (unsigned long long)d->fault.page);
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

static void put_summary(struct sink *s, const struct outcome *o, const struct report_options *options)
{
	const struct plan *const p = o->plan;
	const uint64_t torn = count_harm(p, HARM_TORN), lost = count_harm(p, HARM_LOST), stale = count_harm(p, HARM_STALE),
		       unchecked = count_harm(p, HARM_UNCHECKED);

	if (o->survey->halted && !options->repair && can_be_made_again(o->salvage)) {
		puts_to(s, "next: ");
		put_sentence(s, options->command);
		puts_to(s, "\n");
		return;
	}
	if (o->survey->halted) {
		put_halt(s, p);
		return;
	}
	if (o->survey->interrupted) {
		puts_to(s, "stopped before everything was looked at, nothing was changed; run again\n");
		return;
	}
	if (p->nothing_wrong && !p->something_left) {
		if (!options->quiet)
			put_proved(s, o);
		if (!options->quiet)
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
		if (o->status == EXIT_CLEAN)
			puts_to(s, "nothing is damaged; leftovers are of no use, and in nobody's way\n");
		puts_to(s, "next: ");
		put_sentence(s, options->command);
		puts_to(s, "\n");
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
		puts_to(s, "some of it is left, see above\n");
}

static void put_failure(struct sink *s, const struct err *e)
{
	puts_to(s, "could not go on: ");
	put_sentence(s, e->text);
	if (e->sys_errno)
		putf(s, ": %s", strerror(e->sys_errno));
	puts_to(s, e->sys_errno == EACCES || e->sys_errno == EPERM ? " (run as root)\n" : "\n");
}

void report_message(const struct report_options *options, const char *root, const char *text)
{
	struct sink s = {.file = options->out ? options->out : stderr, .log = options->log, .priority = options->priority};

	put_escaped(&s, span_of_string(root));
	puts_to(&s, ": ");
	put_sentence(&s, text);
	puts_to(&s, "\n");
	sink_flush(&s);
	(void)fflush(s.file); /* a console that is gone cannot be told so */
}

/* Whether something was kept only because it may be of this boot. */
static bool keeps_for_boot(const struct outcome *o)
{
	const struct store *const st = o->store;
	bool keeps = o->plan->total[P_INGEST_KEPT] > 0;

	if (st->boot_proved_new)
		return false;
	for (size_t i = 0; !keeps && i < st->lease_count; i++)
		keeps = st->leases[i].expires && !span_is(st->leases[i].id, STORE_OWN_LEASE);
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
	put_sentence(s, options->command);
	puts_to(s, " --after-boot\n");
}

void report_console(const struct outcome *o, const struct report_options *options)
{
	struct err ignored = {0};
	struct sink s = {.file = options->out,
		.e = &ignored,
		.log = options->log,
		.priority = o->status == EXIT_CLEAN ? 6 : o->status == EXIT_REPAIRED ? 4 : 3};

	if (!options->out)
		return;
	if (!options->quiet || o->status != EXIT_CLEAN) {
		put_escaped(&s, span_of_string(o->root));
		if (o->store && o->survey && !o->survey->halted)
			putf(&s, ": %zu %s, %zu %s, %zu blobs, %zu snapshots", o->store->namespace_count,
				plural(o->store->namespace_count, "namespace", "namespaces"), o->store->image_count,
				plural(o->store->image_count, "image", "images"), o->store->blob_count, o->store->backend_count);
		puts_to(&s, "\n");
	}
	if (!o->plan || !o->survey->halted)
		put_databases(&s, o, options);
	if (o->plan) {
		put_findings(&s, o, options);
		if (o->survey->halted)
			put_databases(&s, o, options);
		if (!o->survey->halted && !o->survey->interrupted && (!options->quiet || o->status != EXIT_CLEAN))
			put_images(&s, o, options);
		put_boot(&s, o, options);
		put_summary(&s, o, options);
		if (!o->failure && !o->survey->halted)
			put_pulls(&s, o, options);
	}
	if (o->failure)
		put_failure(&s, o->failure);
	sink_flush(&s);
	(void)fflush(options->out); /* a console that is gone cannot be told so */
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

/* ---- show ---- */

struct view {
	const struct store *store;
	const struct survey *survey;
	struct digest *awaited; /* what downloads that are here are to become, in order */
	size_t awaited_count;
	size_t *shown; /* by blob: 1 + the last image of which this manifest was shown; NULL: no memory */
};

static int compare_awaited(const void *a, const void *b)
{
	return digest_compare(a, b);
}

/* Without memory they are not told apart from what is nowhere. */
static void list_awaited(struct view *v, struct arena *a)
{
	v->awaited = arena_array(a, v->store->ingest_count + 1, sizeof(*v->awaited));
	for (size_t i = 0; v->awaited && i < v->store->ingest_count; i++)
		if (v->store->ingests[i].expected_known && v->store->ingests[i].has_data)
			v->awaited[v->awaited_count++] = v->store->ingests[i].expected;
	if (v->awaited_count)
		qsort(v->awaited, v->awaited_count, sizeof(*v->awaited), compare_awaited);
}

static const char *whereabouts(const struct view *v, const struct digest *d, size_t blob, size_t record)
{
	if (blob != STORE_NONE)
		return record == STORE_NONE ? "file, and no record" : "local";
	if (v->awaited_count && bsearch(d, v->awaited, v->awaited_count, sizeof(*d), compare_awaited))
		return "download not finished";
	return record == STORE_NONE ? "not local" : "record, and no file";
}

static void show_snapshot(struct sink *s, const struct store *st, size_t ns, const struct digest *chain)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(chain, text);
	const size_t i = store_find_snapshot(st, ns, span_of_string(text));
	if (i == STORE_NONE) {
		puts_to(s, "not unpacked");
		return;
	}
	const size_t b = st->snapshots[i].backend;
	if (b == STORE_NONE)
		puts_to(s, "snapshot in meta.db only");
	else
		putf(s, "snapshot %s%s", st->backends[b].dir, st->backends[b].dir_found ? "" : ", its directory is not there");
}

static void show_blob(struct sink *s, const struct view *v, size_t ns, const struct oci_descriptor *d)
{
	const struct store *const st = v->store;
	char text[DIGEST_TEXT_BYTES];

	if (!d->digest_known) {
		puts_to(s, "unknown digest");
		return;
	}
	digest_format(&d->digest, text);
	const size_t blob = store_find_blob(st, &d->digest);
	const size_t record = store_find_content(st, ns, &d->digest);
	putf(s, "%.19s  %s  %s", text, blob == STORE_NONE ? size_text(d->size).text : size_text(st->blob_files[blob].size).text,
		whereabouts(v, &d->digest, blob, record));
}

static const struct oci_doc *doc_of(const struct view *v, const struct oci_descriptor *d)
{
	const size_t blob = d->digest_known ? store_find_blob(v->store, &d->digest) : STORE_NONE;
	return blob == STORE_NONE ? NULL : v->survey->blobs[blob].doc;
}

static void show_manifest(struct sink *s, const struct view *v, size_t ns, const struct oci_doc *m, const char *indent)
{
	const struct oci_doc *const config = doc_of(v, &m->config);
	struct digest chain, previous;
	size_t layer = 0;

	putf(s, "%sconfig    ", indent);
	show_blob(s, v, ns, &m->config);
	puts_to(s, "\n");
	for (size_t i = 0; i < m->child_count; i++) {
		putf(s, "%slayer     ", indent);
		show_blob(s, v, ns, &m->children[i]);
		if (oci_is_layer(&m->children[i]) && config && config->kind == OCI_CONFIG &&
			layer < config->diff_id_count) {
			oci_chain_id(layer ? &previous : NULL, &config->diff_ids[layer], &chain);
			previous = chain;
			layer++;
			puts_to(s, "  ->  ");
			show_snapshot(s, v->store, ns, &chain);
		}
		puts_to(s, "\n");
	}
}

static void show_image(struct sink *s, const struct view *v, size_t index)
{
	const struct image *const image = &v->store->images[index];
	const struct oci_descriptor target = {.digest = image->target, .digest_known = image->target_known};
	const struct oci_doc *const doc = doc_of(v, &target);

	puts_to(s, "  image       ");
	put_escaped(s, image->name);
	puts_to(s, "\n    ");
	puts_to(s, doc && doc->kind == OCI_INDEX ? "index     " : "manifest  ");
	show_blob(s, v, image->ns, &target);
	puts_to(s, "\n");
	if (doc && doc->kind == OCI_MANIFEST)
		show_manifest(s, v, image->ns, doc, "      ");
	for (size_t i = 0; doc && doc->kind == OCI_INDEX && i < doc->child_count; i++) {
		const struct oci_doc *const child = doc_of(v, &doc->children[i]);
		puts_to(s, "      manifest  ");
		show_blob(s, v, image->ns, &doc->children[i]);
		puts_to(s, doc->children[i].attestation ? "  (attestation)\n" : "\n");
		if (!child || child->kind != OCI_MANIFEST || doc->children[i].attestation)
			continue;
		/* once: an index may name it as often as it likes */
		size_t *const shown = v->shown ? &v->shown[store_find_blob(v->store, &doc->children[i].digest)] : NULL;
		if (shown && *shown == index + 1)
			continue;
		if (shown)
			*shown = index + 1;
		show_manifest(s, v, image->ns, child, "        ");
	}
}

static void show_namespace(struct sink *s, const struct view *v, size_t index)
{
	static const char *const kinds[] = {"", "view", "active", "committed"};
	const struct store *const st = v->store;
	const struct namespace *const ns = &st->namespaces[index];

	puts_to(s, "namespace ");
	put_escaped(s, ns->name);
	puts_to(s, "\n");
	for (size_t i = ns->images.first; i < ns->images.first + ns->images.count; i++)
		show_image(s, v, i);
	for (size_t i = ns->snapshots.first; i < ns->snapshots.first + ns->snapshots.count; i++) {
		const struct snapshot *const snapshot = &st->snapshots[i];
		const struct backend *const b = snapshot->backend == STORE_NONE ? NULL : &st->backends[snapshot->backend];
		if (b && b->kind == SNAPSHOT_COMMITTED && span_starts(snapshot->key, "sha256:"))
			continue; /* with its image */
		puts_to(s, "  snapshot    ");
		put_escaped(s, snapshot->key);
		putf(s, "  %s, directory %s%s\n", b ? kinds[b->kind] : "in meta.db only", b ? b->dir : "-",
			b && b->dir_found ? "" : " (not there)");
	}
	for (size_t i = ns->containers.first; i < ns->containers.first + ns->containers.count; i++) {
		puts_to(s, "  container   ");
		put_escaped(s, st->containers[i].id);
		puts_to(s, "  of image ");
		put_escaped(s, st->containers[i].image);
		puts_to(s, "\n");
	}
	for (size_t i = ns->leases.first; i < ns->leases.first + ns->leases.count; i++) {
		const struct span *const expire = labels_get(&st->leases[i].labels, "containerd.io/gc.expire");
		puts_to(s, "  lease       ");
		put_escaped(s, st->leases[i].id);
		puts_to(s, expire ? "  expires " : "  without expiry");
		if (expire)
			put_escaped(s, *expire);
		puts_to(s, lease_is_stale(st, &st->leases[i]) ? "  (of an earlier boot)\n" : "\n");
	}
	for (size_t i = ns->ingests.first; i < ns->ingests.first + ns->ingests.count; i++) {
		const struct ingest_record *const r = &st->ingest_records[i];
		puts_to(s, "  download    ");
		put_escaped(s, r->client_ref);
		if (r->dir == STORE_NONE)
			puts_to(s, "  no data\n");
		else if (st->ingests[r->dir].total)
			putf(s, "  %s of %s\n", size_text(st->ingests[r->dir].data_size).text, size_text(st->ingests[r->dir].total).text);
		else
			putf(s, "  %s\n", size_text(st->ingests[r->dir].data_size).text);
	}
}

static void show_last_report(struct sink *s, const struct outcome *o)
{
	auto_fd own = -1;
	struct arena scratch = *o->store->keep;
	struct span text = {0}, status = {0}, started = {0};
	struct err ignored = {0};

	if (os_open_dir(o->store->dir, STORE_OWN_DIR, &own, &ignored) ||
		os_read_small(own, "report.json", LIMIT_JSON_BYTES, &scratch, &text, &ignored) ||
		oci_member(text, "exit_status", &scratch, &status) || oci_member(text, "started", &scratch, &started))
		return;
	puts_to(s, "last repair: exit status ");
	put_escaped(s, status);
	puts_to(s, ", at ");
	put_escaped(s, started);
	puts_to(s, " seconds since 1970 (" STORE_OWN_DIR "/report.json)\n");
}

static void show_journal(struct sink *s, const struct outcome *o)
{
	auto_fd own = -1;
	struct arena scratch = *o->store->keep;
	struct journal j = {0};
	struct err ignored = {0};

	if (os_open_dir(o->store->dir, STORE_OWN_DIR, &own, &ignored) || journal_read(&j, own, &scratch, &ignored))
		return;
	if (!j.present) {
		puts_to(s, "journal: ");
		put_sentence(s, j.absent);
		puts_to(s, "\n");
		return;
	}
	putf(s, "journal: vouches for %zu blobs and %zu snapshots, doubts %zu; %s\n", j.blob_count, j.snapshot_count,
		j.blob_doubt_count + j.snapshot_doubt_count,
		j.clean			   ? "the last stop was clean"
		: !*j.boot_id		   ? "sealed, and not clean"
		: !j.done		   ? "a check began and did not end"
		: j.mode == JOURNAL_CLEAN  ? "in use since a clean stop"
		: j.mode == JOURNAL_SKIPPED ? "in use, the check was left out"
					   : "in use since a check");
	if (j.unfinished)
		putf(s, "journal: %u %s in a row did not end\n", j.unfinished, plural(j.unfinished, "check", "checks"));
}

static void show_aside(struct sink *s, const struct outcome *o)
{
	for (size_t k = 0; k < OWN_ASIDES; k++) {
		struct arena scratch = *o->store->keep;
		struct os_name *names = NULL;
		struct err ignored = {0};
		auto_fd aside = -1;
		size_t count = 0;
		if (store_open_path(o->store, own_aside_paths[k], &aside, &ignored) ||
			os_list(aside, &scratch, &names, &count, &ignored))
			continue;
		for (size_t i = 0; i < count; i++) {
			puts_to(s, "set aside     ");
			put_escaped(s, span_of_string(names[i].name));
			puts_to(s, "\n");
		}
	}
}

void report_show(const struct outcome *o, const struct report_options *options)
{
	struct err ignored = {0};
	struct sink s = {.file = options->out ? options->out : stdout, .e = &ignored};
	const struct store *const st = o->store;
	struct view v = {.store = st, .survey = o->survey};
	struct arena scratch = *st->keep;

	list_awaited(&v, &scratch);
	v.shown = arena_array(&scratch, st->blob_count + 1, sizeof(*v.shown));
	put_escaped(&s, span_of_string(o->root));
	putf(&s, "  schema %llu, meta.db txid %llu, metadata.db txid %llu, last snapshot id %llu\n",
		(unsigned long long)st->schema,
		(unsigned long long)(st->meta.sound ? st->meta.bolt.meta[st->meta.bolt.current].txid : 0),
		(unsigned long long)(st->overlay.sound ? st->overlay.bolt.meta[st->overlay.bolt.current].txid : 0),
		(unsigned long long)st->overlay_sequence);
	for (size_t i = 0; i < st->namespace_count; i++)
		show_namespace(&s, &v, i);
	for (size_t i = 0; i < st->ingest_count; i++)
		if (st->ingests[i].record == STORE_NONE) {
			puts_to(&s, "download without record  ");
			put_escaped(&s, st->ingests[i].name);
			putf(&s, "  %s\n", size_text(st->ingests[i].data_size).text);
		}
	for (size_t i = 0; i < st->backend_count; i++)
		if (st->backends[i].snapshot == STORE_NONE) {
			puts_to(&s, "snapshot in metadata.db only  ");
			put_escaped(&s, st->backends[i].key);
			putf(&s, "  directory %s\n", st->backends[i].dir);
		}
	show_aside(&s, o);
	show_journal(&s, o);
	show_last_report(&s, o);
	sink_flush(&s);
	(void)fflush(s.file); /* a console that is gone cannot be told so */
}
