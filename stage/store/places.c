/* SPDX-License-Identifier: MIT */
#include "store/places.h"

#include <stdlib.h>
#include <string.h>

#include "format/config.h"
#include "ground/os.h"

/* bytes; a generated one has some 10 KiB */
#define CONFIG_BYTES ((size_t)1 << 20)

/* bytes; a list that a person wrote */
#define LIST_BYTES ((size_t)64 << 10)

/* files that one configuration may import, and theirs */
#define IMPORTS_MAX 64

/* Where configurations lie, and what holds if they do not say. */
struct usual {
	const char *file, *root, *state;
	bool arguments; /* started with --root and --state, which win over the file */
	bool docker;    /* a daemon.json: the directories of its own containerd lie in its own */
};
/* file, in front of it an A for arguments; root; state */
static const char usual[] = "/etc/containerd/config.toml\0"
			    "/var/lib/containerd\0"
			    "/run/containerd\0"
			    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml\0"
			    "/var/lib/rancher/k3s/agent/containerd\0"
			    "/run/k3s/containerd\0"
			    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml\0"
			    "/var/lib/rancher/rke2/agent/containerd\0"
			    "/run/k3s/containerd\0"
			    "A/etc/k0s/containerd.toml\0"
			    "/var/lib/k0s/containerd\0"
			    "/run/k0s/containerd\0"
			    "A/var/snap/microk8s/current/args/containerd.toml\0"
			    "/var/snap/microk8s/common/var/lib/containerd\0"
			    "/var/snap/microk8s/common/run/containerd\0"
			    "/etc/docker/daemon.json\0"
			    "/var/lib/docker\0"
			    "/var/run/docker\0";
#define USUAL_COUNT 6

static struct usual take_usual(const char **at)
{
	const bool arguments = **at == 'A';
	const char *const file = *at + arguments, *const root = file + strlen(file) + 1, *const state = root + strlen(root) + 1;

	*at = state + strlen(state) + 1;
	return (struct usual){file, root, state, arguments, false};
}

struct reader {
	const char *sysroot;
	struct arena *a;
	const char *root, *state, *overlay, *content;
	bool unknown;
	const char *todo[IMPORTS_MAX];
	size_t count, told; /* of those the first were named by another, the rest may be read or not */
};

/* RC_END: not there. */
static enum rc read_file(const struct reader *r, const char *path, struct arena *a, struct span *text, struct err *e)
{
	char real[LIMIT_PATH_BYTES];
	auto_fd dir = -1;

	if (*r->sysroot) {
		const enum rc rc = os_resolve_in(r->sysroot, path, real, e);
		if (rc)
			return rc;
	} else {
		const enum rc rc = os_resolve(path, real, e);
		if (rc)
			return rc;
	}
	char *const slash = strrchr(real, '/');
	*slash = 0;
	const enum rc rc = os_open_root(*real ? real : "/", &dir, e);
	return rc ? rc : os_read_small(dir, slash + 1, CONFIG_BYTES, a, text, e);
}

static const char *text_of(struct reader *r, struct span s)
{
	/* a path that is not from the top is another one for each who reads it */
	const char *const text = s.left && *s.at == '/' && !memchr(s.at, 0, s.left) ? arena_string(r->a, s) : NULL;
	r->unknown |= !text;
	return text;
}

static void add_import(struct reader *r, const char *path)
{
	for (size_t i = 0; path && i < r->count; i++)
		if (strcmp(r->todo[i], path) == 0)
			return;
	if (!path || r->count == IMPORTS_MAX)
		r->unknown = true;
	else
		r->todo[r->count++] = path;
}

/* A pattern as Go's filepath.Glob knows it, but only with stars, and only in the last part; of any other it is unknown what it
 * names. directory: of the file that imports. */
static void add_imports(struct reader *r, const char *directory, struct span pattern, struct arena scratch)
{
	struct os_name *names = NULL;
	char real[LIMIT_PATH_BYTES];
	size_t count = 0;
	auto_fd dir = -1;
	struct err ignored = {0};
	const char *const whole = pattern.left && *pattern.at == '/'
					  ? arena_string(r->a, pattern)
					  : arena_printf(r->a, "%s/%.*s", directory, (int)min_u64(pattern.left, LIMIT_PATH_BYTES),
						    (const char *)pattern.at);
	const char *const slash = whole ? strrchr(whole, '/') : NULL;

	if (!slash || memchr(pattern.at, 0, pattern.left) || strpbrk(whole, "?[\\") || (strchr(whole, '*') && strchr(whole, '*') < slash)) {
		r->unknown = true;
		return;
	}
	if (!strchr(whole, '*')) {
		add_import(r, whole);
		return;
	}
	const char *const above = arena_printf(r->a, "%.*s", (int)(slash - whole), whole);
	if (!above) {
		r->unknown = true;
		return;
	}
	enum rc rc = RC_OK;
	if (*r->sysroot)
		rc = os_resolve_in(r->sysroot, *above ? above : "/", real, &ignored);
	if (rc == RC_OK)
		rc = os_open_root(*r->sysroot ? real : *above ? above : "/", &dir, &ignored);
	if (rc == RC_OK)
		rc = os_list(dir, &scratch, &names, &count, &ignored);
	r->unknown |= rc && rc != RC_END;
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (config_name_fits(span_of_string(slash + 1), span_of_string(names[i].name)))
			add_import(r, arena_printf(r->a, "%s/%s", above, names[i].name));
}

/* The sum of what files say: a later one wins, as containerd merges them. */
static void take(struct reader *r, const struct config *c, bool json, bool told)
{
	const struct span root = json ? c->data_root : c->root, state = json ? c->exec_root : c->state;

	if (!told) {
		r->unknown |= root.left || state.left || c->overlay.left;
		return;
	}
	for (size_t i = 0; i < c->proxy_count; i++)
		if (span_is(c->proxies[i].type, "content") && !(r->content = arena_string(r->a, c->proxies[i].name)))
			r->unknown = true;
	if (root.left)
		r->root = text_of(r, root);
	if (state.left)
		r->state = text_of(r, state);
	if (c->overlay.left)
		r->overlay = text_of(r, c->overlay);
}

/* One file, what it imports, and what containerd from 2.3 on imports by itself. What the first came to. */
static enum rc read_all(struct reader *r, const char *file, bool json, const char *more, struct arena scratch, struct err *e)
{
	enum rc first = RC_OK;

	r->told = SIZE_MAX;
	r->todo[r->count++] = file;
	for (size_t i = 0; i < r->count; i++) {
		struct arena local = scratch;
		struct span text = {0};
		struct config c = {0};
		struct err why = {0};
		enum rc rc = read_file(r, r->todo[i], &local, &text, &why);
		if (rc == RC_OK)
			rc = json ? config_parse_json(&c, text, &local) : config_parse(&c, text, &local);
		if (rc == RC_NOMEM)
			return no_memory(e);
		if (rc) /* one that is imported and not there keeps containerd from starting */
			r->unknown = true;
		if (rc && i == 0) {
			first = rc;
			*e = why;
		}
		if (rc == RC_OK)
			take(r, &c, json, i < r->told);
		const char *const slash = strrchr(r->todo[i], '/');
		const char *const directory = arena_printf(r->a, "%.*s", slash ? (int)(slash - r->todo[i]) : 1, slash ? r->todo[i] : ".");
		for (size_t k = 0; k < c.import_count; k++)
			add_imports(r, directory ? directory : "", c.imports[k], local);
		if (more && i + 1 == r->count && r->told == SIZE_MAX) {
			r->told = r->count;
			add_imports(r, "/", span_of_string(more), local);
		}
	}
	return first;
}

static enum rc read_usual(const struct usual *u, const struct reader *r, struct arena *a, struct store_known *k, struct err *e)
{
	*k = (struct store_known){.file = u->file,
		.root = r->root && !u->arguments ? r->root : u->root,
		.state = r->state && !u->arguments ? r->state : u->state,
		.overlay = r->overlay,
		.content = r->content,
		.unknown = r->unknown};
	if (u->docker) {
		k->root = arena_printf(a, "%s/containerd/daemon", k->root);
		k->state = arena_printf(a, "%s/containerd/daemon", k->state);
	}
	return k->root && k->state ? RC_OK : no_memory(e);
}

enum rc places_read(const char *sysroot, const char *file, struct arena *a, struct arena scratch, const struct store_known **known,
	size_t *count, struct err *e)
{
	struct store_known *const found = arena_array(a, USUAL_COUNT + 1, sizeof(*found));
	const char *at = usual;
	size_t n = 0;

	if (!found)
		return no_memory(e);
	for (size_t i = 0; i < (file ? 1 : USUAL_COUNT); i++) {
		struct usual u = take_usual(&at);
		struct reader *const r = arena_get(a, sizeof(*r));
		struct err why = {0};
		if (!r)
			return no_memory(e);
		r->sysroot = sysroot;
		r->a = a;
		if (file)
			u.file = file;
		const size_t length = strlen(u.file);
		u.docker = length > 5 && strcmp(u.file + length - 5, ".json") == 0;
		if (file && u.docker)
			u = (struct usual){file, "/var/lib/docker", "/var/run/docker", false, true};
		enum rc rc = read_all(r, u.file, u.docker, !file && i == 0 ? "/etc/containerd/conf.d/*.toml" : NULL, scratch, &why);
		if (rc == RC_END && !file && r->count == 1)
			continue;
		if (rc == RC_NOMEM || (file && rc)) {
			*e = why;
			return fail(e, rc == RC_NOMEM ? RC_NOMEM : RC_IO, "%s: %s", file ? file : u.file,
				rc == RC_END ? "is not there" : "cannot be read as a configuration");
		}
		/* named by a person, it must say all that is asked of it */
		if (file && r->unknown)
			return fail(e, RC_IO, "%s: not all that it imports can be read", file);
		if ((rc = read_usual(&u, r, a, &found[n], e)))
			return rc;
		n++;
	}
	*known = found;
	*count = n;
	return RC_OK;
}

/* ---- second places of blobs ---- */

/* A line: a path, from the root of the store if it is not from the top. NULL: no memory, or not there below --sysroot. */
static const char *place_of_line(const struct store *st, const char *line, size_t n, struct arena *a)
{
	const char *const place = arena_printf(a, "%s%s%.*s", *line == '/' ? "" : st->path, *line == '/' ? "" : "/", (int)n, line);
	char real[LIMIT_PATH_BYTES];

	if (!place || *line != '/' || !*st->hints->sysroot)
		return place;
	return os_resolve_in(st->hints->sysroot, place, real, NULL) == RC_OK ? arena_string(a, span_of_string(real)) : NULL;
}

enum rc places_sources(const struct store *st, const char *const *named, size_t named_count, struct arena *a, struct arena scratch,
	void (*say_to)(void *self, const char *text), void *self, const char ***places, size_t *count, struct err *e)
{
	static const char k3s[] = "/agent/containerd";
	const char **const all = arena_array(a, named_count + PLACES_SOURCES_MAX + 1, sizeof(*all));
	struct span text = {0};
	auto_fd own = -1;
	size_t n = 0;

	if (!all)
		return no_memory(e);
	for (; n < named_count; n++)
		all[n] = named[n];
	enum rc rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, NULL);
	if (rc == RC_OK)
		rc = os_read_small(own, "sources", LIST_BYTES, &scratch, &text, NULL);
	const char *at = rc ? "" : (const char *)text.at; /* with a NUL behind it */
	while (*(at += strspn(at, " \t\r\n")) && n < named_count + PLACES_SOURCES_MAX) {
		size_t length = strcspn(at, "\n");
		const size_t whole = length;
		while (strchr(" \t\r", at[length - 1])) /* it does not begin so */
			length--;
		if (*at != '#' && (all[n] = place_of_line(st, at, length, a)))
			n++;
		at += whole;
	}
	if (rc == RC_CORRUPT && own < 0)
		say_to(self, STORE_OWN_DIR " is no directory, and a repair needs one: move it away before you repair");
	else if (*at || (rc && rc != RC_END))
		say_to(self, STORE_OWN_DIR "/sources: not all of it can be used");
	const size_t length = strlen(st->path), tail = sizeof(k3s) - 1;
	if (length > tail && strcmp(st->path + length - tail, k3s) == 0 &&
		(all[n] = arena_printf(a, "%.*s/images", (int)(length - strlen("/containerd")), st->path)) && os_exists(all[n]))
		n++;
	*places = all;
	*count = n;
	return RC_OK;
}

/* ---- what a directory is, if not a root ---- */

static bool has(const char *path, const char *name, struct arena scratch)
{
	const char *const whole = arena_printf(&scratch, "%s/%s", path, name);

	return whole && os_exists(whole);
}

const char *places_explain(const char *path, struct arena *a, struct arena scratch)
{
	static const char below[][27] = {"containerd", "containerd/daemon", "agent/containerd", "lib/containerd", "var/lib/containerd",
		"common/var/lib/containerd"};
	char real[LIMIT_PATH_BYTES];

	if (os_resolve(path, real, NULL))
		return NULL;
	const bool docker = has(real, "overlay2", scratch) || has(real, "image/overlay2", scratch) || has(real, "network/files", scratch);
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		const char *const root = arena_printf(&scratch, "%s/%s", real, below[i]);
		if (!root || !has(root, STORE_META_DIR, scratch))
			continue;
		return arena_printf(a, docker ? "is docker's directory: its own images (overlay2) are not looked at. The root of its "
						"containerd: containerd-fsck check '%s'"
					      : "is a directory above a root: containerd-fsck check '%s'",
			root);
	}
	char *up = real + strlen(real);
	for (unsigned steps = 0; steps < 6 && up > real; steps++) {
		while (up > real && *up != '/')
			up--;
		char above[LIMIT_PATH_BYTES];
		memcpy(above, real, (size_t)(up - real));
		above[up - real] = 0;
		if (*above && has(above, STORE_META_DIR, scratch))
			return arena_printf(a, "lies in a root: containerd-fsck check '%s'", above);
		up -= up > real;
	}
	if (docker)
		return "is docker's directory: its own images (overlay2) are not looked at, and it has no containerd of its own. If docker "
		       "uses the system's: containerd-fsck check /var/lib/containerd";
	if (has(real, "overlay-layers", scratch) || has(real, "overlay-images", scratch))
		return "is the storage of podman or CRI-O, which this program does not know: podman system check, or crio check";
	if (has(real, "buildkitd.lock", scratch) || has(real, "runc-overlayfs", scratch) || has(real, "containerd-overlayfs", scratch))
		return "is buildkitd's directory, which this program does not look at; what is broken in it is a cache: buildctl prune";
	if (has(real, "metadata.db", scratch) && has(real, "snapshots", scratch))
		return "is a snapshotter's directory, not a root: name the root, and if root_path in its configuration leads here, the "
		       "configuration with --config";
	return NULL;
}
