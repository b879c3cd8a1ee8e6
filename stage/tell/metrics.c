/* SPDX-License-Identifier: MIT */
/* What the last runs came to, as a textfile of Prometheus' node exporter (node_exporter: collector/textfile.go): a HELP and a TYPE for
 * each family, no time behind a sample, and labels of which there are few: roots, codes, verdicts, never a name or digest. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ground/os.h"
#include "tell/runs.h"
#include "tell/sink.h"

#define PREFIX "containerd_fsck_"
/* bytes; of a file that others may have written: a root's samples come to 20,000 */
#define OLD_BYTES ((size_t)256 << 10)

/* With labels of which there are few. */
enum metric_label { NONE, VERB, VERDICT, HARM };
static const char labels[][8] = {[VERB] = "verb", [VERDICT] = "verdict", [HARM] = "harm"};
static const struct family {
	char name[29];
	uint8_t number, count, label; /* of enum run_number; 0: of each problem that is left or was repaired */
	bool always; /* also where nothing was looked at */
} families[] = {{"last_run_timestamp_seconds", RUN_STARTED, 1, VERB, true},
	{"last_run_duration_seconds", RUN_MS, 1, VERB, true},
	{"last_run_exit_status", RUN_STATUS, 1, VERB, true},
	{"images", RUN_WHOLE, 5, VERDICT, false},
	{"read_bytes", RUN_BYTES, 1, NONE, false},
	{"unclean_stops_total", RUN_UNCLEAN, 1, NONE, true},
	{"damaged_again", RUN_AGAIN, 1, NONE, false},
	{"last_whole_timestamp_seconds", RUN_SEEN, 1, NONE, true},
	{"findings", 0, P_COUNT, HARM, false},
	{"repairs_total", 0, P_COUNT, NONE, true}};

struct writing {
	struct sink s;
	const struct family *family;
	char start[2 * 4 * LIMIT_PATH_BYTES]; /* of a sample */
};

/* A path as the value of a label: in what escape makes of it every backslash counts twice. */
static void start_sample(struct writing *w, const char *root)
{
	char text[4 * LIMIT_PATH_BYTES - 100];
	int n = print_to(w->start, sizeof(w->start), PREFIX "%s{root=\"", w->family->name); /* fits */

	(void)escape(text, sizeof(text), span_of_string(root)); /* a cut path is still one */
	for (const char *c = text; *c; c++)
		n += print_to(w->start + n, 3, *c == '\\' ? "\\\\" : "%c", *c);
	(void)print_to(w->start + n, 2, "\"");
}

static void put_samples(struct writing *w, const struct runs *all)
{
	static const char verdicts[][10] = {"whole", "repaired", "damaged", "lost", "unchecked"};
	const uint64_t *const n = all->at[all->count - 1];
	const struct family *const f = w->family;

	for (size_t i = 0; i < f->count && (f->always || n[RUN_KNOWN] == RUN_LOOKED); i++) {
		if (f->number ? (f->label == VERDICT && n[RUN_HALTED]) || (f->number == RUN_SEEN && !n[RUN_SEEN])
			      : !all->left[i] && !all->repaired[i])
			continue;
		puts_to(&w->s, w->start);
		if (!f->number)
			putf(&w->s, ",code=\"%04x\"", problems[i].code);
		if (f->label)
			putf(&w->s, ",%s=\"%s\"", labels[f->label], f->label == VERB ? run_verb_word(n)
				: f->label == VERDICT ? verdicts[i] : harm_name(problems[i].harm));
		putf(&w->s, "} %llu%s\n",
			(unsigned long long)(f->number ? n[f->number + i] : f->label ? all->left[i] : all->repaired[i]),
			f->number == RUN_MS ? "e-3" : "");
	}
}

/* The samples of this family that the file has already, of other roots. */
static void put_others(struct writing *w, struct span old, const struct runs_root *roots, size_t count)
{
	while (old.left) {
		const uint8_t *const end = memchr(old.at, '\n', old.left);
		const struct span line = span_sub(&old, end ? (size_t)(end - old.at) + 1 : old.left);
		start_sample(w, "");
		w->start[strlen(w->start) - 1] = 0; /* of any root */
		bool ours = !end || !span_starts(line, w->start);
		for (size_t i = 0; !ours && i < count; i++) {
			start_sample(w, roots[i].label);
			ours = !roots[i].rc && span_starts(line, w->start);
		}
		if (!ours)
			put(&w->s, (const char *)line.at, line.left);
	}
}

static void put_head(struct sink *s, const char *name, bool counts)
{
	putf(s, "# HELP " PREFIX "%s See containerd-fsck(8).\n# TYPE " PREFIX "%s %s\n", name, name, counts ? "counter" : "gauge");
}

enum rc runs_metrics(const char *path, const struct runs_root *roots, size_t count, struct arena scratch, struct err *e)
{
	struct report_file f = {0};
	struct writing *const w = arena_get(&scratch, sizeof(*w));
	uint8_t *const old = arena_get(&scratch, OLD_BYTES);
	struct err ignored = {0}; /* what cannot be read is written anew */
	size_t got = 0;
	enum rc rc;

	if (!w || !old)
		return no_memory(e);
	auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0 && os_read(fd, 0, old, OLD_BYTES, &got, &ignored))
		got = 0;
	/* whose directory it is may put a link there at any time */
	if ((rc = report_file_open(&f, path, true, e)) || (rc = report_file_begin(&f, e)))
		return rc;
	f.loose = true; /* a clean boot waits for no disk: the next run writes it anew */
	w->s = (struct sink){.out = f.fd, .e = e};
	for (size_t k = 0; k < sizeof(families) / sizeof(*families); k++) {
		w->family = &families[k];
		put_head(&w->s, w->family->name, w->family->always && !w->family->label && w->family->number != RUN_SEEN);
		for (size_t i = 0; i < count; i++) {
			start_sample(w, roots[i].label);
			if (!roots[i].rc)
				put_samples(w, &roots[i].runs);
		}
		put_others(w, span_of(old, got), roots, count);
	}
	put_head(&w->s, "info", false);
	puts_to(&w->s, PREFIX "info{version=\"" PROGRAM_VERSION "\"} 1\n");
	sink_flush(&w->s);
	f.failed = w->s.rc != RC_OK;
	rc = report_file_close(&f, e);
	return w->s.rc ? w->s.rc : rc;
}
