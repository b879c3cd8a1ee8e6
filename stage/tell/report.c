/* SPDX-License-Identifier: MIT */
#include "tell/report.h"

#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "tell/sink.h"

/* ---- status ---- */

/* Of no use to anybody, and in nobody's way: a snapshot removed seconds before the stop leaves one. */
static bool only_leftovers(const struct plan *p)
{
	return count_harm(p, HARM_TORN) + count_harm(p, HARM_LOST) + count_harm(p, HARM_UNCHECKED) + count_harm(p, HARM_HALT) ==
	       p->acknowledged;
}

bool can_be_made_again(const struct salvage *s)
{
	return s && s->needed && !s->left && (!s->meta.needed || s->meta.tier != SALVAGE_NONE) &&
	       (!s->overlay.needed || s->overlay.tier != SALVAGE_NONE);
}

/* Of meta.db, made again: whether something is not in it that was in the broken one. What metadata.db lacks is a finding. */
static bool salvage_loses(const struct salvage_database *d)
{
	for (size_t i = 0; d->needed && i < d->name_count; i++)
		if (!d->names[i].used)
			return true;
	for (size_t i = 0; d->needed && i < d->gap_count; i++)
		if (d->tier != SALVAGE_OLDER && (!d->told_by_journal || d->gaps[i].what != SALVAGE_IMAGES))
			return true;
	return (d->needed && d->recovered) || salvage_may_lack(d);
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
	if (o->failure && o->failure->rc == RC_STOPPED && !o->plan)
		return EXIT_LEFT; /* there was no time to read the store: all of it is unchecked */
	if (!o->failure && o->refusal == STORE_OPENED && o->plan && o->survey->halted && !repair && can_be_made_again(made))
		return EXIT_LEFT;
	if (o->failure || o->refusal != STORE_OPENED || !o->plan || o->survey->halted)
		return EXIT_FAILED;
	const enum exit_status beside = status_beside(o, repair);
	if (!made || beside > EXIT_REPAIRED)
		return beside;
	return salvage_loses(&made->meta) || count_harm(o->plan, HARM_LOST) ? EXIT_LEFT : EXIT_REPAIRED;
}

/* ---- words ---- */

struct size_text size_text(uint64_t bytes)
{
	static const char units[][6] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct size_text t;
	unsigned unit = 0;
	uint64_t rest = 0;

	while (bytes >= 1024 && unit < 6) {
		rest = bytes % 1024;
		bytes /= 1024;
		unit++;
	}
	if (unit == 0)
		(void)print_to(t.text, sizeof(t.text), "%u bytes", (unsigned)bytes); /* fits */
	else
		(void)print_to(t.text, sizeof(t.text), "%u.%u %s", (unsigned)bytes, (unsigned)(rest * 10 / 1024), units[unit]);
	return t;
}

const char *plural(uint64_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

const char *fate_word(const struct outcome *o, const struct finding *f)
{
	const enum action_outcome happened = o->applied ? plan_outcome(o->plan, f) : OUTCOME_PENDING;
	const bool done = happened == OUTCOME_DONE || happened == OUTCOME_NOTHING;

	if (f->acknowledged)
		return "acknowledged";
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

const char *why_left(const struct outcome *o, const struct finding *f)
{
	if (f->left || f->action == STORE_NONE || !o->applied)
		return f->left;
	return o->plan->actions[f->action].why;
}

const char *outcome_name(enum action_outcome o)
{
	static const char names[][12] = {"pending", "done", "nothing", "left", "disk"};
	return names[o];
}

const char *image_word(const struct image_state *state, bool repair)
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

const char *fate_name(enum fate f)
{
	static const char names[][12] = {"none", "repair", "remove", "drop", "left", "unchecked", "halted"};
	return names[f];
}

const char *verdict_name(const struct outcome *o, enum image_verdict v)
{
	static const char names[][12] = {"whole", "healed", "pull", "unverified"};
	return v == IMAGE_IS_HEALED && !o->applied ? "damaged" : names[v];
}

void put_message(struct sink *s, const struct finding *f, const struct holder *holder, bool whole)
{
	static const char snapshot[] = "snapshot sha256:", layer[] = "layer ", digits[] = "0123456789abcdef";
	char text[2048];
	const char *at = text;
	size_t n;

	(void)problem_message(f, text, sizeof(text)); /* a cut message is still a message */
	if (holder->name.left && !whole && f->problem != P_SNAPSHOT_META_ONLY && strncmp(text, snapshot, sizeof(snapshot) - 1) == 0 &&
		strspn(text + sizeof(snapshot) - 1, digits) == 64) { /* what a parent is called is not ours to say */
		put_escaped(s, holder->name);
		puts_to(s, holder->shared ? " and others" : "");
		at += sizeof(snapshot) - 1 + 64;
	}
	for (; *at; at += n) {
		const char *const digest = whole ? NULL : text_find(at, "sha256:");
		if (!digest) {
			puts_to(s, at);
			break;
		}
		const size_t hex = strspn(digest + 7, digits);
		n = (size_t)(digest - at) + 7;
		const size_t word = sizeof(layer) - 1;
		if (holder->name.left && hex == 64 && n >= 7 + word && memcmp(digest - word, layer, word) == 0) {
			put(s, at, n - 7 - word);
			puts_to(s, "its layer");
		} else {
			put(s, at, n);
			put(s, digest + 7, hex == 64 ? 12 : hex);
		}
		n += hex;
	}
}
