/* SPDX-License-Identifier: MIT */
/* The report for a person. */
#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "tell/sink.h"

#define LISTED_BY_DEFAULT 5 /* findings of one code on the console without --verbose */

/* ---- console ---- */

void put_findings(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options)
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
			const struct holder holder = roll_holder(roll, o, f);
			s->folds = true;
			putf(s, "  %04x  ", problems[id].code);
			put_message(s, f, &holder, options->verbose);
			putf(s, " [%s]\n",
				id == P_IMAGE_INCOMPLETE && f->fate == FATE_DROP && (!o->applied || plan_outcome(p, f) == OUTCOME_DONE)
					? image_word(&p->images[f->index], o->applied)
					: fate_word(o, f));
			if (why_left(o, f)) {
				puts_to(s, "        because ");
				put_sentence(s, why_left(o, f));
				puts_to(s, "\n");
			}
			s->folds = false;
			if (o->applied && !o->survey->out_of_time && !f->acknowledged && plan_stays(p, f)) {
				puts_to(s, "        fails each run, until it is known: containerd-fsck ack ");
				put_word(s, finding_id(f));
				puts_to(s, " ");
				put_word(s, span_of_string(o->root));
				puts_to(s, "\n");
			}
			shown++;
		}
		if (shown && p->total[id] > shown)
			putf(s, "  %04x  ... and %llu more of this kind%s\n", problems[id].code,
				(unsigned long long)(p->total[id] - shown), options->verbose ? "" : " (--verbose lists them)");
	}
}

/* Pairs: how the path of a root ends, and what speaks to its containerd. */
static const char clients[] = "/k3s/agent/containerd\0"
			      "k3s ctr\0"
			      "/rke2/agent/containerd\0"
			      "/var/lib/rancher/rke2/bin/ctr --address /run/k3s/containerd/containerd.sock\0"
			      "/k0s/containerd\0"
			      "k0s ctr\0"
			      "/microk8s/common/var/lib/containerd\0"
			      "microk8s ctr\0"
			      "/docker/containerd/daemon\0"
			      "ctr --address /run/docker/containerd/containerd.sock\0"
			      "/host-containerd\0"
			      "ctr --address /run/host-containerd/containerd.sock\0";

/* NULL: plain ctr, as containerd listens where it does by itself. */
static const char *client_of(const char *root)
{
	size_t length = strlen(root);

	while (length && root[length - 1] == '/')
		length--;
	for (const char *at = clients; *at;) {
		const size_t n = strlen(at);
		const char *const client = at + n + 1;
		if (length >= n && strncmp(root + length - n, at, n) == 0)
			return client;
		at = client + strlen(client) + 1;
	}
	return NULL;
}

static const char next[] = "next, once ";
enum verb { VERB_PULL, VERB_FETCH, VERB_IMPORT };

/* What whoever put the image there types. before: next, or the beginning of the line. What docker has without a registry was built
 * there, or loaded. For an import the name is what a registry may have. */
static void put_next(struct sink *s, const struct outcome *o, const struct image *image, const char *before, enum verb verb)
{
	static const char words[][16] = {"images pull ", "content fetch ", "images import "};
	const struct namespace *const ns = &o->store->namespaces[image->ns];
	const bool docker = span_is(ns->name, "moby");
	const char *const client = client_of(o->root);

	puts_to(s, before);
	if (before == next)
		puts_to(s, docker && verb != VERB_FETCH ? "docker runs" : "containerd runs");
	if (verb == VERB_IMPORT) {
		puts_to(s, docker ? ", build " : ", unless a registry has ");
		put_word(s, image->name);
		puts_to(s, docker ? " again, or load it" : "");
	}
	puts_to(s, ": ");
	if (docker && verb != VERB_FETCH) {
		puts_to(s, verb == VERB_PULL ? "docker pull " : "docker load -i ");
	} else if (verb == VERB_PULL && !client && ns->kubernetes) {
		puts_to(s, "crictl pull ");
	} else {
		const bool nerdctl = verb == VERB_PULL && !client && ns->nerdctl;
		puts_to(s, nerdctl ? "nerdctl" : client ? client : "ctr");
		puts_to(s, " -n ");
		put_word(s, ns->name);
		puts_to(s, " ");
		puts_to(s, nerdctl ? "pull " : words[verb]);
	}
	if (verb == VERB_IMPORT)
		puts_to(s, "ARCHIVE");
	else
		put_word(s, image->name);
	puts_to(s, "\n");
}

/* k3s and rke2 pass over an archive that has not changed since they imported it, where this file is: an empty one turns that on, and knows
 * of none yet (k3s 1.33.1). */
static void put_import_cache(struct sink *s, const char *root)
{
	static const char agent[] = "/agent/containerd";
	char path[LIMIT_PATH_BYTES];
	size_t length = strlen(root);

	while (length && root[length - 1] == '/')
		length--;
	const size_t tail = sizeof(agent) - 1;
	if (length < tail || strncmp(root + length - tail, agent, tail) != 0)
		return;
	const int written = print_to(path, sizeof(path), "%.*s/images/.cache.json", (int)(length - strlen("/containerd")), root);
	if (written < 0 || (size_t)written >= sizeof(path) || !os_exists(path))
		return;
	puts_to(s, "first, for what is in an archive there, which is imported again only then: truncate -s 0 ");
	put_word(s, span_of_string(path));
	puts_to(s, "\n");
}

void put_pulls(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options)
{
	const struct store *const st = o->store;
	bool kubelet = false, unproved = false, absent = false, under = false;

	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		const struct image_state *const state = &o->plan->images[i];
		/* what lost its name to a later build is nobody's any more */
		if (image_is_named_by_config(image) || span_starts(image->name, "moby-dangling@") ||
			(state->pinned && (!state->left_out || !o->applied)))
			continue;
		const enum verb all = state->imported ? VERB_IMPORT : VERB_FETCH;
		if (state->verdict != IMAGE_NEEDS_PULL || state->pinned) {
			/* a layer that nothing lost may be one that containerd was told not to keep */
			absent |= state->left_out && !state->damaged && !state->imported;
			under |= state->pinned;
			if (o->applied && state->left_out && (state->damaged || state->pinned) && roll_is_first(roll, i))
				put_next(s, o, image, next, all);
			continue;
		}
		if (!o->applied)
			continue;
		unproved |= state->unproved;
		if (state->imported) {
			put_next(s, o, image, next, all);
			continue;
		}
		kubelet |= state->name_dropped;
		if (!state->name_dropped)
			put_next(s, o, image, next, VERB_PULL);
		if (state->left_out)
			put_next(s, o, image,
				state->name_dropped ? "once kubelet has pulled it, for layers that its pull leaves out"
						    : "then, for layers that a pull leaves out",
				all);
	}
	if (under) {
		puts_to(s, "then, for what containers stand on, once containerd has stopped: ");
		put_sentence(s, o->command);
		puts_to(s, "\n");
	}
	if (kubelet)
		puts_to(s, "kubelet pulls what was dropped in k8s.io when a pod needs it, unless told never to pull\n");
	if (kubelet)
		put_import_cache(s, o->root);
	if (unproved)
		puts_to(s, "overlayfs' files that were not compared with their layers are compared by the first boot or check that finds "
			   "these here\n");
	if (absent && !options->quiet && (o->applied || o->status == EXIT_CLEAN))
		putf(s, "what brings layers that are not local, once containerd runs: %s -n NAMESPACE content fetch IMAGE\n",
			client_of(o->root) ? client_of(o->root) : "ctr");
}

uint64_t count_harm(const struct plan *p, enum harm h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < P_COUNT; i++)
		n += problems[i].harm == h ? p->total[i] : 0;
	return n;
}

void put_trusted(struct sink *s, const struct survey *survey)
{
	if (survey->blobs_trusted || survey->snapshots_trusted)
		putf(s, "not read again: %llu blobs and %llu snapshots, unchanged since the journal vouched for them\n",
			(unsigned long long)survey->blobs_trusted, (unsigned long long)survey->snapshots_trusted);
}

void put_place(struct sink *s, const struct outcome *o, const char *what, const char *dir, const char *name)
{
	puts_to(s, what);
	put_escaped(s, span_of_string(o->root));
	putf(s, "/%s%s%s\n", *dir && strcmp(dir, ".") != 0 ? dir : "", *dir && strcmp(dir, ".") != 0 ? "/" : "", name);
}

size_t count_left(const struct apply_result *applied)
{
	size_t n = 0;

	for (size_t i = 0; i < applied->deeds.count; i++)
		n += applied->deeds.at[i].outcome != OUTCOME_DONE && applied->deeds.at[i].outcome != OUTCOME_NOTHING;
	return n;
}

struct proved count_proved(const struct outcome *o)
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

void put_proved(struct sink *s, const struct outcome *o)
{
	const struct proved n = count_proved(o);

	if (o->store->dockerd) {
		puts_to(s, "clean\n");
		return;
	}
	if (n.blobs == n.all_blobs && n.snapshots == n.all_snapshots && n.images == n.all_images && !o->store->beside_docker)
		putf(s, "clean: %llu blobs and %llu snapshots hold what they must", (unsigned long long)o->survey->blobs_checked,
			(unsigned long long)o->survey->snapshots_checked);
	else
		putf(s, "no damage found; proved are %llu of %llu blobs, %llu of %llu snapshots, %llu of %llu images",
			(unsigned long long)n.blobs, (unsigned long long)n.all_blobs, (unsigned long long)n.snapshots,
			(unsigned long long)n.all_snapshots, (unsigned long long)n.images, (unsigned long long)n.all_images);
	putf(s, " (%s read, %llu entries compared)\n", size_text(o->survey->bytes_read).text,
		(unsigned long long)o->survey->entries_compared);
}

void put_halt(struct sink *s, const struct plan *p, bool wrote)
{
	/* a newer containerd's, another machine's or another store's: it may be sound, and is nobody's to begin anew */
	const bool sound = p->total[P_DB_SCHEMA] || p->total[P_DB_FOREIGN] || p->total[P_DB_HAZARD] || p->total[P_DB_UNRELATED];
	bool database = false;

	for (unsigned i = 0; i < P_COUNT; i++)
		database |= problems[i].harm == HARM_HALT && i != P_DIR_UNUSABLE && p->total[i];
	puts_to(s, database ? "the databases cannot be worked with, nothing " : "the store is not all in its place, nothing ");
	puts_to(s, wrote ? "else was written\nnext: " : "was written anywhere\nnext: ");
	puts_to(s, database && !sound
			? "keep a copy of the root; " STORE_OWN_DIR "/backup may have one of the database; repair --reset begins anew\n"
			: "mend what is said above, and check again\n");
}
