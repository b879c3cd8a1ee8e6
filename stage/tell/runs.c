/* SPDX-License-Identifier: MIT */
/* The file of the last runs, and what a monitor asks of it. */
#include "tell/runs.h"

#include <string.h>

#include "ground/os.h"
#include "memory/acks.h"
#include "tell/sink.h"

/* bytes: ten runs, and a line for each problem there is, come to 9,000; 512 things to 17,000 */
#define RUNS_BYTES 32768
#define HEAD "containerd-fsck runs 1"
#define AGAIN "again "
#define WEEK_SECONDS (7u * 86400)
#define LINE_BYTES 79 /* of status, with its newline; node-problem-detector takes one more */

/* ---- the file ---- */

static void put_numbers(struct sink *s, const uint64_t *n, size_t count)
{
	for (size_t i = 0; i < count; i++)
		putf(s, i ? " %llu" : "\n%llu", (unsigned long long)n[i]);
}

static void put_runs(struct sink *s, const void *what)
{
	const struct runs *const all = what;

	puts_to(s, HEAD);
	for (size_t i = 0; i < all->count; i++)
		put_numbers(s, all->at[i], RUN_NUMBERS);
	for (size_t i = 0; i < P_COUNT; i++)
		if (all->left[i] || all->repaired[i])
			put_numbers(s, (const uint64_t[]){problems[i].code, all->left[i], all->repaired[i]}, 3);
	for (size_t i = 0; i < all->mended_count; i++)
		put_numbers(s, all->mended[i], 2);
	putf(s, *all->again ? "\n" AGAIN "%s\n" : "\n", all->again);
}

/* Of things put right, what is older than the others goes. */
static void add_mended(struct runs *all, const uint64_t one[2])
{
	if (all->mended_count == RUNS_MENDED_MAX)
		memmove(all->mended, all->mended + 1, --all->mended_count * sizeof(*all->mended));
	memcpy(all->mended[all->mended_count++], one, sizeof(*all->mended));
}

static uint64_t *new_run(struct runs *all)
{
	if (all->count == RUNS_MAX)
		memmove(all->at, all->at + 1, --all->count * sizeof(*all->at));
	return all->at[all->count++];
}

static enum rc read_runs(int dir, const char *name, struct runs *out, struct arena scratch, struct err *e)
{
	struct span text = {0};
	enum rc rc = os_read_small(dir, name, RUNS_BYTES, &scratch, &text, e);

	*out = (struct runs){0};
	if (rc)
		return rc;
	if (!span_starts(text, HEAD))
		return RC_CORRUPT;
	for (struct span line = span_take_to(&text, '\n'); text.left;) {
		uint64_t n[RUN_NUMBERS] = {0};
		size_t count = 0;
		line = span_take_to(&text, '\n');
		if (span_starts(line, AGAIN)) {
			(void)print_to(out->again, sizeof(out->again), "%.*s", (int)min_u64(line.left, 255) - (int)sizeof(AGAIN) + 1,
				(const char *)line.at + sizeof(AGAIN) - 1);
			continue;
		}
		while (count < RUN_NUMBERS && parse_decimal(span_take_to(&line, ' '), &n[count]) == RC_OK)
			count++;
		if (count > 3)
			memcpy(new_run(out), n, sizeof(n)); /* an older version counted less */
		if (count == 2)
			add_mended(out, n);
		for (size_t i = 0; count == 3 && i < P_COUNT; i++)
			if (problems[i].code == n[0]) {
				out->left[i] = n[1];
				out->repaired[i] = n[2];
			}
	}
	return out->count ? RC_OK : RC_CORRUPT;
}

/* ---- of a root ---- */

static const uint64_t *newest(const struct runs *all)
{
	return all->at[all->count - 1];
}

/* own: our directory there, -1 if there is none. Of two places the later counts; what /run says of another root that was at this path
 * does not. */
static void read_root(struct runs_root *r, int *own, struct stat *st, struct arena scratch)
{
	char name[LIMIT_NAME_BYTES + 1];
	struct err ignored = {0}; /* the code is enough */
	struct runs *const here = arena_get(&scratch, sizeof(*here));
	auto_fd root = -1, run = -1;

	r->rc = RC_IO;
	if (!here || os_open_root(r->path, &root, &ignored) || os_stat_fd(root, st, &ignored))
		return;
	if ((r->rc = os_open_dir(root, STORE_OWN_DIR, own, &ignored)) == RC_OK)
		r->rc = read_runs(*own, RUNS_NAME, &r->runs, scratch, &ignored);
	if (open_run(r->path, false, "." RUNS_NAME, name, &run, &ignored) || read_runs(run, name, here, scratch, &ignored))
		return;
	const uint64_t *const n = newest(here);
	if (n[RUN_DEVICE] != st->st_dev || n[RUN_INODE] != st->st_ino || (!r->rc && n[RUN_SERIAL] < newest(&r->runs)[RUN_SERIAL]))
		return;
	r->runs = *here;
	r->rc = RC_OK;
}

void runs_read(struct runs_root *r, struct arena scratch)
{
	struct stat st = {0};
	auto_fd own = -1;

	read_root(r, &own, &st, scratch);
}

static enum runs_state state_of(const uint64_t *n)
{
	return n[RUN_STATUS] > EXIT_REPAIRED || n[RUN_LOST] || n[RUN_HALTED] ? RUNS_PROBLEM : n[RUN_KNOWN] ? RUNS_FINE : RUNS_UNKNOWN;
}

static uint64_t this_boot(void)
{
	char id[37];
	struct err ignored = {0};

	return os_boot_id(id, &ignored) == RC_OK ? fnv1a(id, 36) : 0;
}

/* What a finding was is left, unless the action that answers it put that right. Of those that are not listed nothing is known but
 * whether anything is left at all. */
static void count_findings(struct runs *all, uint64_t *n, const struct outcome *o)
{
	const struct plan *const p = o->plan;
	uint64_t right[P_COUNT] = {0}, known[P_COUNT] = {0};

	for (size_t i = 0; o->applied && i < P_COUNT; i++)
		right[i] = p->something_left ? 0 : p->total[i];
	for (size_t i = 0; o->applied && i < p->finding_count; i++) {
		const struct finding *const f = &p->findings[i];
		const enum action_outcome got = plan_outcome(p, f);
		const bool done = got == OUTCOME_DONE || (got == OUTCOME_NOTHING && f->action != STORE_NONE);
		right[f->problem] += (uint64_t)(p->something_left ? done : done - 1);
	}
	for (size_t i = 0; i < p->finding_count; i++)
		known[p->findings[i].problem] += p->findings[i].acknowledged;
	for (size_t i = 0; i < P_COUNT; i++) {
		const enum harm harm = problems[i].harm;
		if (harm == HARM_NOTE)
			continue;
		all->left[i] = p->total[i] - right[i] - known[i];
		all->repaired[i] += right[i];
		if (harm == HARM_STALE)
			continue;
		n[RUN_DONE] += right[i];
		n[RUN_LEFT] += all->left[i];
	}
}

/* Whatever is wrong with it, it is the same thing. */
static uint64_t sum_of(const struct store *st, const struct finding *f)
{
	return fnv1a(f->path.at, f->path.left) * 3 + fnv1a(f->digest.at, f->digest.left) * 5 + fnv1a(f->name.at, f->name.left) +
	       (f->subject == SUBJECT_BACKEND ? st->backends[f->index].id : 0);
}

/* A layer's files, and blobs: what is put right is on the disk, and nobody writes it anew, so that no cut explains it. A clock that is
 * wrong makes it go unnoticed. */
static void compare_with_week(struct runs *all, uint64_t *n, const struct outcome *o)
{
	const uint64_t now = n[RUN_STARTED];
	size_t kept = 0;

	for (size_t i = 0; i < all->mended_count; i++)
		if (now - all->mended[i][1] <= WEEK_SECONDS)
			memmove(all->mended[kept++], all->mended[i], sizeof(*all->mended));
	all->mended_count = kept;
	*all->again = 0;
	for (size_t i = 0; i < o->plan->finding_count; i++) {
		const struct finding *const f = &o->plan->findings[i];
		const uint64_t one[] = {sum_of(o->store, f), now};
		size_t at = 0;
		if ((f->subject != SUBJECT_BACKEND && f->subject != SUBJECT_BLOB) || f->problem == P_BLOB_UNRECORDED)
			continue;
		while (at < kept && (all->mended[at][0] != one[0] || all->mended[at][1] == now))
			at++;
		if (at < kept && !n[RUN_AGAIN]++)
			(void)escape(all->again, sizeof(all->again), f->path.left ? f->path : f->digest.left ? f->digest : f->name);
		if (f->fate == FATE_REPAIR && o->applied && plan_outcome(o->plan, f) == OUTCOME_DONE)
			add_mended(all, one);
	}
}

static void count(struct runs *all, uint64_t *n, const struct outcome *o)
{
	static const uint8_t number[] = {[IMAGE_IS_WHOLE] = RUN_WHOLE, [IMAGE_IS_HEALED] = RUN_REPAIRED, [IMAGE_NEEDS_PULL] = RUN_LOST,
		[IMAGE_IS_UNVERIFIED] = RUN_UNCHECKED};

	if (!o->plan || o->survey->interrupted)
		return;
	n[RUN_KNOWN] = RUN_LOOKED;
	n[RUN_HALTED] = o->survey->halted;
	n[RUN_BYTES] = o->survey->bytes_read;
	n[RUN_ACKNOWLEDGED] = o->plan->acknowledged;
	count_findings(all, n, o);
	compare_with_week(all, n, o);
	for (size_t i = 0; !o->survey->halted && i < o->store->image_count; i++) {
		const enum image_verdict v = o->plan->images[i].verdict;
		if (v == IMAGE_NEEDS_PULL && acks_have(o->plan->acks, o->store->images[i].name)) {
			n[RUN_ACKNOWLEDGED]++;
			continue;
		}
		n[v == IMAGE_IS_HEALED && !o->applied ? RUN_DAMAGED : number[v]]++;
	}
}

enum rc runs_add(struct runs_root *r, const struct runs_new *new, struct arena scratch, struct err *e)
{
	const struct outcome *const o = new->outcome;
	struct runs *const all = &r->runs;
	char name[LIMIT_NAME_BYTES + 1];
	struct err ignored = {0}; /* what /run cannot take is for those who look there */
	uint64_t before[RUN_NUMBERS] = {0};
	struct stat st = {0};
	auto_fd own = -1, run = -1;

	read_root(r, &own, &st, scratch);
	const bool first = r->rc != RC_OK;
	if (first)
		*all = (struct runs){0}; /* what cannot be read begins anew */
	else
		memcpy(before, newest(all), sizeof(before));
	const uint64_t started = o->started_ns / 1000000000u;
	const bool goes_on = new->verb == RUN_SCRUB && before[RUN_VERB] == RUN_SCRUB && before[RUN_STARTED] == started;
	const bool was_bad = state_of(before) == RUNS_PROBLEM;
	size_t other = first ? 0 : all->count; /* behind the newest that is no scrub's */
	while (other && all->at[other - 1][RUN_VERB] == RUN_SCRUB)
		other--;
	/* what was left then stays, and what scrubs have found since goes; of a part that is right there is no more to say than that */
	const bool left = other && state_of(all->at[other - 1]) == RUNS_PROBLEM;
	const bool beside = new->sound && left;
	if (new->sound && !new->seen_whole && !was_bad)
		return RC_OK;
	r->rc = RC_OK;
	if (beside)
		all->count = other;
	uint64_t *const n = goes_on || beside ? all->at[all->count - 1] : new_run(all);
	if (!beside) {
		memset(n, 0, sizeof(before));
		n[RUN_DEVICE] = st.st_dev;
		n[RUN_INODE] = st.st_ino;
		n[RUN_BOOT_ID] = this_boot();
		n[RUN_VERB] = new->verb;
		n[RUN_KNOWN] = new->clean ? RUN_CLEAN : RUN_NOTHING;
		n[RUN_STARTED] = started;
		n[RUN_MS] = o->elapsed_ns / 1000000u;
		n[RUN_STATUS] = (uint64_t)o->status;
		n[RUN_AFTER_UNCLEAN] = new->after_unclean;
		n[RUN_UNCLEAN] = before[RUN_UNCLEAN] + new->after_unclean;
		count(all, n, o);
		n[RUN_SEEN] = before[RUN_SEEN];
	}
	n[RUN_SERIAL] = before[RUN_SERIAL] + 1;
	if (new->sound && !beside) {
		n[RUN_KNOWN] = RUN_LOOKED;
		n[RUN_BYTES] = o->survey->bytes_read;
		if (before[RUN_KNOWN] == RUN_LOOKED && !was_bad)
			memcpy(&n[RUN_WHOLE], &before[RUN_WHOLE], (RUN_UNCHECKED - RUN_WHOLE + 1) * sizeof(*n));
		else
			n[RUN_UNCHECKED] = o->store->image_count;
		if (was_bad)
			memset(all->left, 0, sizeof(all->left));
	}
	const bool all_seen = o->plan && new->verb == RUN_BOOT && !o->survey->blobs_trusted && !o->survey->snapshots_trusted;
	if (new->seen_whole || (all_seen && state_of(n) == RUNS_FINE && !n[RUN_UNCHECKED]))
		n[RUN_SEEN] = started;
	if (new->if_different && (first || state_of(n) == state_of(before)))
		return RC_OK;
	if (new->in_run && open_run(r->path, true, "." RUNS_NAME, name, &run, &ignored) == RC_OK)
		ignored.rc = keep_in(run, name, put_runs, all, &ignored);
	return new->in_root && own >= 0 ? keep_in(own, RUNS_NAME, put_runs, all, e) : RC_OK;
}

/* ---- what is told of it ---- */

static const char states[][8] = {"fine", "problem", "unknown"};

const char *run_verb_word(const uint64_t *n)
{
	static const char verbs[RUN_VERBS + 1][8] = {"check", "repair", "boot", "scrub", "-"};

	return verbs[n[RUN_VERB] < RUN_VERBS ? n[RUN_VERB] : RUN_VERBS];
}

/* 2026-11-29 03:12Z */
static struct time_text minute_text(uint64_t seconds)
{
	struct time_text t = time_text(seconds);

	t.text[10] = ' ';
	t.text[16] = 'Z';
	t.text[17] = 0;
	return t;
}

/* What one root is in, and a phrase about it; a cut phrase is still one. */
static enum runs_state judge(const struct runs_root *r, char out[LINE_BYTES])
{
	char counts[LINE_BYTES];

	if (r->rc) {
		(void)print_to(out, LINE_BYTES, r->rc == RC_END ? "never checked" : "unreadable"); /* fits */
		return RUNS_UNKNOWN;
	}
	const uint64_t *const n = newest(&r->runs);
	const enum runs_state state = state_of(n);
	const bool bad = state == RUNS_PROBLEM, scrubbed = n[RUN_VERB] == RUN_SCRUB && n[RUN_STATUS] < EXIT_FAILED;
	(void)print_to(counts, sizeof(counts), "%llu images %s, %llu %s",
		(unsigned long long)(bad ? n[RUN_LOST] : n[RUN_WHOLE] + n[RUN_REPAIRED]), bad ? "lost" : "whole",
		(unsigned long long)n[bad ? RUN_LEFT : RUN_UNCHECKED], bad ? "problems left" : "not verified");
	(void)print_to(out, LINE_BYTES, "%s (%s%s)",
		n[RUN_HALTED]		     ? "it cannot be worked with"
		: scrubbed		     ? bad ? "a scrub has found damage" : "a scrub found nothing damaged"
		: n[RUN_KNOWN] == RUN_LOOKED ? counts
		: bad			     ? "it could not be checked"
		: n[RUN_KNOWN]		     ? "the last stop was clean"
					     : "nothing was checked",
		minute_text(n[RUN_STARTED]).text, n[RUN_BOOT_ID] == this_boot() ? "" : ", not in this boot");
	return state;
}

/* from RUN_STARTED on */
static const char numbers[] = "started\0milliseconds\0exit_status\0after_unclean_stop\0halted\0repaired\0left\0images_whole\0"
			      "images_repaired\0images_damaged\0images_lost\0images_unchecked\0bytes_read\0unclean_stops\0"
			      "acknowledged\0damaged_again\0seen_whole";

void runs_journal(const struct runs_root *r, bool scrub)
{
	/* what each of these messages is called for ever */
	static const struct {
		char id[33];
		char priority;
	} kinds[] = {{"3d82fdb383194da88557096a6f956e2d", '6'}, {"3cd42fc4d883437bb364f7414e193a1f", '4'},
		{"f3cf9560851e4146ba7ccb6f90a36ca9", '3'}, {"f95d5d37d161459f973eecaf83a77eda", '2'},
		{"b199841a770a449f82551ba41a43cf63", '4'}, {"5779950d221243e38eb4c7b8d4cfd6a8", '3'}};
	enum { CLEAN, REPAIRED, LEFT, FAILED, NOT_LOOKED, SCRUBBED };
	const uint64_t *const n = newest(&r->runs);
	const bool failed = n[RUN_HALTED] || n[RUN_STATUS] >= EXIT_FAILED;
	const unsigned right = n[RUN_STATUS] ? REPAIRED : CLEAN, done = state_of(n) == RUNS_FINE ? right : LEFT;
	const unsigned kind = scrub ? SCRUBBED : failed ? FAILED : n[RUN_KNOWN] ? done : NOT_LOOKED;
	char text[4 * LIMIT_PATH_BYTES], root[LIMIT_PATH_BYTES], phrase[LINE_BYTES];
	const char *name = numbers;

	(void)judge(r, phrase);
	(void)escape(root, sizeof(root), span_of_string(r->path)); /* no line ends in it; what is cut is still told */
	int used = print_to(text, sizeof(text),
		"MESSAGE=%s: %s\nPRIORITY=%c\nMESSAGE_ID=%s\nSYSLOG_IDENTIFIER=containerd-fsck\nCONTAINERD_FSCK_ROOT=%s\n"
		"CONTAINERD_FSCK_VERB=%s\n",
		root, phrase, kinds[kind].priority, kinds[kind].id, root, scrub ? "scrub" : run_verb_word(n));
	for (size_t i = RUN_STARTED; i < RUN_NUMBERS; i++, name += strlen(name) + 1) {
		char upper[32] = {0};
		for (size_t k = 0; name[k]; k++)
			upper[k] = (char)(name[k] == '_' ? '_' : name[k] - 'a' + 'A');
		used += print_to(text + used, sizeof(text) - (size_t)used, "CONTAINERD_FSCK_%s=%llu\n", upper, (unsigned long long)n[i]);
	}
	os_journal(text);
}

/* What is 0 is left out for a person. */
static void put_run(struct sink *s, const uint64_t *n, bool json)
{
	const char *name = numbers;

	putf(s, json ? "{\"verb\":\"%s\"" : "  %s  %s", json ? run_verb_word(n) : minute_text(n[RUN_STARTED]).text, run_verb_word(n));
	for (size_t i = RUN_STARTED; i < RUN_NUMBERS; i++, name += strlen(name) + 1)
		if (json || (n[i] && i != RUN_STARTED && i != RUN_SEEN))
			putf(s, json ? ",\"%s\":%llu" : "  %s %llu", name, (unsigned long long)n[i]);
	puts_to(s, json ? "}" : "\n");
}

static void put_root(struct sink *s, const struct runs_root *r, bool json, bool last)
{
	char text[LINE_BYTES];
	const char *const state = states[judge(r, text)];
	const size_t n = r->rc ? 0 : r->runs.count, first = last || !n ? 0 : n - 1;

	puts_to(s, json ? "{\"version\":1,\"root\":" : "");
	(json ? put_json_string : put_escaped)(s, span_of_string(r->path));
	putf(s, json ? ",\"status\":\"%s\",\"message\":\"%s\",\"runs\":[" : ": %s: %s\n", state, text);
	for (size_t i = n; i-- > first;) {
		put_run(s, r->runs.at[i], json);
		puts_to(s, json && i > first ? ",\n" : "");
	}
	if (last && !json && n && newest(&r->runs)[RUN_SEEN])
		putf(s, "  the last look at all that found nothing: %s\n", minute_text(newest(&r->runs)[RUN_SEEN]).text);
	if (last && !json && n && *r->runs.again) {
		puts_to(s, "  was repaired within a week before, and is damaged again: ");
		put_sentence(s, r->runs.again);
		puts_to(s, "\n");
	}
	puts_to(s, json ? "]}\n" : "");
}

enum runs_state runs_tell(const struct runs_root *roots, size_t count, int out, bool json, bool last, struct err *e)
{
	/* a problem is worse than that nobody knows */
	static const uint8_t weight[] = {[RUNS_FINE] = 1, [RUNS_UNKNOWN] = 2, [RUNS_PROBLEM] = 3};
	struct sink s = {.out = out, .e = e};
	char text[LINE_BYTES], line[LINE_BYTES] = "no containerd root";
	enum runs_state worst = RUNS_UNKNOWN;
	size_t bad = 0;

	for (size_t i = 0; i < count; i++) {
		const enum runs_state one = judge(&roots[i], text);
		if (!i || weight[one] > weight[worst]) {
			worst = one;
			memcpy(line, text, sizeof(line));
		}
		bad += one != RUNS_FINE;
		if (json || last)
			put_root(&s, &roots[i], json, last);
	}
	if (!json && !last) {
		const int used =
			print_to(text, sizeof(text), bad && count > 1 ? "%s: %zu of %zu roots: " : "%s: ", states[worst], bad, count);
		(void)print_to(text + used, sizeof(text) - (size_t)used, "%s", line); /* a cut line is still one */
		puts_to(&s, text);
		puts_to(&s, "\n");
	}
	sink_flush(&s);
	return worst;
}
