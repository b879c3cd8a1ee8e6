/* SPDX-License-Identifier: MIT */
/* Whether containerd has run on this root since the machine started: what is seen of the machine. policy/evidence.c concludes. */
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ground/host.h"
#include "ground/os.h"
#include "store/loading.h"

/* ---- this boot, or an earlier one ---- */


/* some KiB, whatever a container is given */
#define DOCKER_CONFIG_BYTES ((size_t)1 << 20)

/* Pairs: where the products put a root, and a state directory that goes with it. Docker's directory is also used by the system's
 * containerd, with that one's state (Home Assistant OS). */
static const char known_roots[] = "/var/lib/containerd\0"
				  "/run/containerd\0"
				  "/var/lib/rancher/k3s/agent/containerd\0"
				  "/run/k3s/containerd\0"
				  "/var/lib/rancher/rke2/agent/containerd\0"
				  "/run/k3s/containerd\0"
				  "/var/lib/k0s/containerd\0"
				  "/run/k0s/containerd\0"
				  "/var/snap/microk8s/common/var/lib/containerd\0"
				  "/var/snap/microk8s/common/run/containerd\0"
				  "/var/lib/docker/containerd/daemon\0"
				  "/var/run/docker/containerd/daemon\0"
				  "/var/lib/docker/containerd/daemon\0"
				  "/run/containerd\0"
				  "/system/var/lib/containerd\0"
				  "/system/run/containerd\0"
				  "/var/lib/host-containerd\0"
				  "/run/host-containerd\0";
#define KNOWN_ROOTS 9

static const char *behind(const char *text)
{
	return text + strlen(text) + 1;
}

enum rc store_well_known(const char *sysroot, struct arena *a, const char ***roots, struct err *e)
{
	const char **const found = arena_array(a, KNOWN_ROOTS + 1, sizeof(*found));
	const char *last = "";
	size_t count = 0;

	if (!found)
		return no_memory(e);
	for (const char *root = known_roots; *root; last = root, root = behind(behind(root))) {
		auto_fd fd = -1;
		char inside[LIMIT_PATH_BYTES];
		if (strcmp(root, last) == 0)
			continue;
		const char *const path = arena_printf(a, "%s%s", sysroot, root);
		struct err ignored = {0};
		if (!path)
			return no_memory(e);
		/* what cannot be opened exists and is reported when it is its turn */
		const enum rc rc = *sysroot ? os_resolve_in(sysroot, root, inside, &ignored)
					    : os_open_root(path, &fd, &ignored);
		if (rc != RC_END)
			found[count++] = path;
	}
	*roots = found;
	return RC_OK;
}

bool leads_here(const struct store *st, const char *path)
{
	const char *const sysroot = st->hints->sysroot;
	char inside[LIMIT_PATH_BYTES];
	struct stat here = {0}, there = {0};
	auto_fd fd = -1;
	struct err ignored = {0}; /* what cannot be looked at is not known to be this */

	return (!*sysroot || os_resolve_in(sysroot, path, inside, &ignored) == RC_OK) &&
	       os_open_root(*sysroot ? inside : path, &fd, &ignored) == RC_OK && os_stat_fd(fd, &there, &ignored) == RC_OK &&
	       os_stat_fd(st->dir, &here, &ignored) == RC_OK && here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* The state directories that may belong to this root. *known: it is one of the list. */
struct states {
	const char **at, **names; /* names: of the root, NULL at the end */
	size_t count, name_count;
	const char *there;        /* the first of them that is there, or of which it cannot be told */
	bool known;
};

static void add_state(const struct store *st, struct states *s, const char *state)
{
	s->at[s->count++] = state;
	if (!s->there && host_may_have(st->hints->sysroot, state))
		s->there = state;
}

static enum rc find_states(const struct store *st, const char *real, struct states *s, struct arena *a, struct err *e)
{
	const struct store_hints *const h = st->hints;
	bool doubtful = false;

	s->at = arena_array(a, KNOWN_ROOTS + h->known_count + 1, sizeof(*s->at));
	s->names = arena_array(a, KNOWN_ROOTS + h->known_count + 3, sizeof(*s->names));
	if (!s->at || !s->names)
		return no_memory(e);
	s->names[s->name_count++] = real;
	s->names[s->name_count++] = st->path;
	for (const char *root = known_roots; *root; root = behind(behind(root))) {
		if (!leads_here(st, root))
			continue;
		s->names[s->name_count++] = root;
		add_state(st, s, behind(root));
	}
	for (size_t i = 0; i < h->known_count; i++) {
		const struct store_known *const k = &h->known[i];
		if (!leads_here(st, k->root))
			continue;
		doubtful |= k->unknown; /* it may say that the state is elsewhere */
		s->names[s->name_count++] = k->root;
		add_state(st, s, k->state);
	}
	s->known = s->count && !doubtful;
	for (const char *root = known_roots; !s->count && !s->there && *root; root = behind(behind(root)))
		if (host_may_have(h->sysroot, behind(root)))
			s->there = behind(root);
	return RC_OK;
}

/* By the clock; in the future, it says nothing. */
static bool was_written(const struct database *d, int64_t started_ns, int64_t now_ns)
{
	struct stat seen = {0};
	struct err ignored = {0};

	if (!d->present || !started_ns)
		return false;
	if (os_stat_fd(d->fd, &seen, &ignored))
		return true;
	return os_ctime_ns(&seen) >= started_ns && os_ctime_ns(&seen) <= now_ns;
}

static const char *sentence(const struct store *st, const struct boot_facts *f, const struct states *s, const struct host_view *v)
{
	struct arena *const a = st->keep;
	const char *const unknown = "it is not known whether containerd has run since the machine started";

	switch (st->proof) {
	case PROOF_IN_USE:
		return v->mounted ? arena_printf(a, "containers run on this store, %s is mounted", v->mounted)
				  : "it could not be seen whether containers run on this store";
	case PROOF_TOLD:
		return "containerd has not run since the machine started, as told";
	case PROOF_JOURNAL:
		return "the databases are as the journal left them in an earlier boot";
	case PROOF_FIRST_BOOT:
		return "this is the first boot that the journal has of this machine's start: containerd has not run since";
	case PROOF_NO_STATE:
		return arena_printf(a, "%s does not exist: containerd has not run since the machine started", s->at[0]);
	case PROOF_NONE:
	default:
		break;
	}
	return v->held		? arena_printf(a, "%s uses this store", v->held)
	       : f->state_there ? arena_printf(a, "%s exists: containerd may have run since the machine started", s->there)
	       : f->shims	? "/run/containerd/s has sockets: containers may have run since the machine started"
	       : f->written	? arena_printf(a, "%s: the databases were changed since then", unknown)
	       : !s->known	? arena_printf(a, "%s: which state directory belongs to this root is not known", unknown)
				: arena_printf(a, "%s: not all processes could be looked at", unknown);
}

/* What docker notes of a container, a NUL behind it; false: nothing that can be read. Its data root is two directories above the root
 * of its own containerd, or beside that of the system. */
static bool read_docker(const char *real, const struct digest *id, struct arena *a, const char **config)
{
	static const char places[][22] = {"/../../containers", "/../docker/containers"};

	*config = NULL;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char path[LIMIT_PATH_BYTES + 128], hex[DIGEST_TEXT_BYTES];
		struct span text = {0};
		struct err ignored = {0}; /* what cannot be read says nothing */
		auto_fd dir = -1;
		digest_format(id, hex);
		(void)print_to(path, sizeof(path), "%s%s/%s", real, places[i], hex + 7); /* fits; without "sha256:" */
		if (!os_open_root(path, &dir, &ignored) &&
			!os_read_small(dir, "config.v2.json", DOCKER_CONFIG_BYTES, a, &text, &ignored))
			*config = (const char *)text.at;
	}
	return *config;
}

/* Whether docker has this container, and does not remove it: it notes that there before it removes the lease, and its directory last; and
 * it makes the lease before the snapshot (moby 28.5: daemon/delete.go, daemon/containerd/image_snapshot.go). */
static bool docker_has(const char *real, const struct digest *id, struct arena scratch)
{
	const char *config;

	return read_docker(real, id, &scratch, &config) && text_find(config, "\"Dead\":false");
}

struct span store_docker_name(const struct store *st, struct span id, struct arena *a)
{
	/* the last: labels that an image brings stand before it, names of volumes have no slash (moby 28.5: container/container.go) */
	static const char before[] = "\"Name\":\"/";
	char real[LIMIT_PATH_BYTES];
	const char *config, *at, *later;
	struct err ignored = {0};
	struct digest d;

	if (os_resolve(st->path, real, &ignored) || digest_parse_hex(DIGEST_SHA256, id, &d) || !read_docker(real, &d, a, &config) ||
		!(at = text_find(config, before)))
		return (struct span){0};
	while ((later = text_find(at + 1, before)))
		at = later;
	at += sizeof(before) - 1;
	return span_of(at, strcspn(at, "\""));
}

static enum rc find_unleased(struct store *st, size_t moby, const char *real, struct arena scratch, struct err *e)
{
	const struct range snapshots = moby == STORE_NONE ? (struct range){0} : st->namespaces[moby].snapshots;
	const struct range leases = moby == STORE_NONE ? (struct range){0} : st->namespaces[moby].leases;
	size_t l = leases.first;
	struct digest d;

	for (size_t i = snapshots.first; i < snapshots.first + snapshots.count; i++) {
		struct snapshot *const s = &st->snapshots[i];
		while (l < leases.first + leases.count && span_compare(st->leases[l].id, s->key) < 0)
			l++;
		const enum rc rc = pace_on(st->hints->pace, 4 * (uint64_t)PACE_CALL, e);
		if (rc)
			return rc;
		const bool leased = l < leases.first + leases.count && span_equal(st->leases[l].id, s->key);
		s->unleased = !leased && s->backend != STORE_NONE && st->backends[s->backend].kind == SNAPSHOT_ACTIVE &&
			      digest_parse_hex(DIGEST_SHA256, s->key, &d) == RC_OK && docker_has(real, &d, scratch);
	}
	return RC_OK;
}

enum rc judge_boot(struct store *st, struct arena scratch, struct err *e)
{
	const struct store_hints *const h = st->hints;
	const int64_t started_ns = host_started_ns(scratch), now_ns = (int64_t)os_calendar_ns();
	char real[LIMIT_PATH_BYTES];
	struct host_view view = {0};
	struct states states = {0};
	enum rc rc = os_boot_id(st->boot_id, e);

	if (rc == RC_IO)
		return rc;
	if ((rc = os_resolve(st->path, real, e)))
		return rc == RC_END ? fail(e, RC_IO, "%s is gone", st->path) : rc;
	if ((rc = find_states(st, real, &states, &scratch, e)))
		return rc;
	const struct host_question question = {.root = st->dir, .snapshots = st->snapshots_dir, .names = states.names};
	if ((rc = host_look(&view, &question, st->keep, scratch, e)))
		return rc;
	const struct boot_facts facts = {.mounted = view.mounted || !view.mounts_seen,
		.told = h->after_boot,
		.journal_says = h->journal_says,
		.first_boot = h->first_boot,
		.state_known = states.known,
		.state_there = states.there,
		.shims = host_has_shims(h->sysroot, scratch),
		.held = view.held,
		.all_seen = view.all_seen,
		.written = was_written(&st->meta, started_ns, now_ns) || was_written(&st->overlay, started_ns, now_ns)};
	const size_t moby = store_find_namespace(st, SPAN_LITERAL("moby"));
	/* where docker was changed over to containerd's store they are there still, and of no use */
	st->beside_docker = (moby == STORE_NONE ? text_find(real, "/docker/containerd/daemon") || leads_here(st, known_roots)
						: !st->namespaces[moby].images.count) &&
			    host_may_have(h->sysroot, "/var/lib/docker/image/overlay2/imagedb");
	if ((rc = find_unleased(st, moby, real, scratch, e)))
		return rc;
	st->proof = evidence_of_boot(&facts);
	st->mounted = facts.mounted;
	st->boot_proved_new = st->proof >= PROOF_TOLD;
	st->nothing_runs = st->boot_proved_new || (!facts.mounted && !facts.held && !facts.shims && !facts.state_there);
	st->boot_evidence = sentence(st, &facts, &states, &view);
	return st->boot_evidence ? RC_OK : no_memory(e);
}
