/* SPDX-License-Identifier: MIT */
/* continuity's RootPath is recursive on the path; here the same steps run from the front. */
#include "format/path.h"

#include <string.h>

/* Writes into out behind its first n bytes, which are a cleaned path. floor: how many of them ".." cannot take away. */
struct cleaner {
	char *out;
	size_t n, floor;
	bool rooted, overflow;
};

static void clean_put(struct cleaner *c, const uint8_t *name, size_t n)
{
	const bool slash = c->n > (c->rooted ? 1u : 0u);

	if (c->n + n + 1 >= LIMIT_PATH_BYTES) {
		c->overflow = true;
		return;
	}
	if (slash)
		c->out[c->n++] = '/';
	memcpy(c->out + c->n, name, n);
	c->n += n;
}

static void clean_up(struct cleaner *c)
{
	if (c->n > c->floor) {
		c->n--;
		while (c->n > c->floor && c->out[c->n] != '/')
			c->n--;
	} else if (!c->rooted) {
		clean_put(c, (const uint8_t *)"..", 2);
		c->floor = c->n;
	}
}

static void clean_add(struct cleaner *c, struct span raw)
{
	for (size_t i = 0; i < raw.left && !c->overflow;) {
		size_t end = i;
		while (end < raw.left && raw.at[end] != '/')
			end++;
		const struct span name = span_of(raw.at + i, end - i);
		if (span_is(name, ".."))
			clean_up(c);
		else if (name.left && !span_is(name, "."))
			clean_put(c, name.at, name.left);
		i = end + 1;
	}
}

static enum rc clean_end(struct cleaner *c)
{
	if (c->overflow)
		return RC_LIMIT;
	if (!c->n)
		c->out[c->n++] = '.';
	c->out[c->n] = 0;
	return RC_OK;
}

static enum rc clean(struct span raw, bool rooted, char *out)
{
	struct cleaner c = {.out = out, .n = rooted ? 1 : 0, .floor = rooted ? 1 : 0, .rooted = rooted};

	if (raw.left && memchr(raw.at, 0, raw.left))
		return RC_CORRUPT;
	out[0] = '/';
	clean_add(&c, raw);
	return clean_end(&c);
}

enum rc path_clean(struct span raw, char out[LIMIT_PATH_BYTES])
{
	return clean(raw, raw.left && raw.at[0] == '/', out);
}

enum rc path_clean_rooted(struct span raw, char out[LIMIT_PATH_BYTES])
{
	return clean(raw, true, out);
}

/* Links a path may lead through. containerd counts the same and then fails. */
#define LINKS_MAX 255

struct walk {
	const struct path_root *root;
	unsigned links;
	size_t clean; /* bytes of at, if that is rooted and clean; 0: not, or not known */
	char at[LIMIT_PATH_BYTES];   /* where the walk is: any text, as links have it */
	char next[LIMIT_PATH_BYTES]; /* clean("/" + at + "/" + name) */
	char link[LIMIT_PATH_BYTES];
};

/* filepath.Join(w->at, more) into w->next; rooted: joined to "/" besides. */
static enum rc join(struct walk *w, struct span more, bool rooted)
{
	const bool slash = rooted || w->at[0] == '/';
	struct cleaner c = {.out = w->next, .n = slash, .floor = slash, .rooted = slash};

	w->next[0] = '/';
	clean_add(&c, span_of_string(w->at));
	clean_add(&c, more);
	return clean_end(&c);
}

/* clean("/" + w->at + "/" + name) into w->next; first: without w->at. */
static enum rc join_name(struct walk *w, struct span name, bool first)
{
	struct cleaner c = {.out = w->next, .n = w->clean, .floor = 1, .rooted = true};

	if (first)
		return path_clean_rooted(name, w->next);
	if (!w->clean)
		return join(w, name, true);
	memcpy(w->next, w->at, w->clean);
	clean_add(&c, name);
	return clean_end(&c);
}

static void be_at(struct walk *w, const char *text, bool clean)
{
	const size_t n = strlen(text);

	memcpy(w->at, text, n + 1);
	w->clean = clean ? n : 0;
}

/* One step of the walk: w->at and name become w->at. */
static enum rc step(struct walk *w, struct span name, bool first, struct err *e)
{
	enum path_kind kind = PATH_ABSENT;
	enum rc rc;

	if (w->links > LINKS_MAX)
		return fail(e, RC_CORRUPT, "a path through more than %d links", LINKS_MAX);
	if ((rc = join_name(w, name, first)))
		return fail(e, rc, "a path that is too long");
	if (w->next[1] && (rc = w->root->look(w->root->self, w->next, &kind, w->link, e)))
		return rc;
	if (kind != PATH_LINK) {
		be_at(w, w->next, true);
		return RC_OK;
	}
	w->links++;
	/* The directory is joined with a relative target as text, before anything is looked at; not so at the front */
	if (first || w->link[0] == '/') {
		be_at(w, w->link, false);
		return RC_OK;
	}
	if ((rc = join(w, span_of_string(w->link), false)))
		return fail(e, rc, "a path that is too long");
	be_at(w, w->next, false);
	return RC_OK;
}

static enum rc walk(struct walk *w, const char *path, struct err *e)
{
	bool first = path[0] != '/';

	be_at(w, "/", true);
	for (const char *p = path; *p;) {
		const size_t n = strcspn(p, "/");
		if (n) {
			const enum rc rc = step(w, span_of(p, n), first, e);
			if (rc)
				return rc;
			first = false;
		}
		p += n + (p[n] == '/');
	}
	return RC_OK;
}

enum rc path_resolve(const struct path_root *root, struct span path, char out[LIMIT_PATH_BYTES], struct err *e)
{
	struct walk w;
	char text[LIMIT_PATH_BYTES];

	if (path.left >= sizeof(text))
		return fail(e, RC_LIMIT, "a path that is too long");
	if (path.left && memchr(path.at, 0, path.left))
		return fail(e, RC_CORRUPT, "a path with a NUL inside");
	if (path.left)
		memcpy(text, path.at, path.left);
	text[path.left] = 0;
	w.root = root;
	w.links = 0;
	for (;;) { /* each turn but the last follows a link, and those are counted */
		const unsigned before = w.links;
		enum rc rc;

		if ((rc = walk(&w, text, e)))
			return rc;
		if (w.links == before) { /* then it is clean */
			memcpy(out, w.at, w.clean + 1);
			return RC_OK;
		}
		memcpy(text, w.at, strlen(w.at) + 1);
	}
}
