/* SPDX-License-Identifier: MIT */
#include "format/config.h"

#include <string.h>

/* parts of a key, from the top of the file; containerd's own are 6 deep */
#define PARTS_MAX 32
/* values inside values */
#define DEPTH_MAX 32

struct parser {
	struct config *c;
	struct arena *a;
	struct span in;
	bool json;
	/* where we are: the table, and in it the key; a part of an array has no name */
	struct span parts[PARTS_MAX];
	size_t count;
	struct span overlay, short_overlay; /* plugins."io.containerd.snapshotter.v1.overlayfs", and of version 1 plugins.overlayfs */
	bool version_given;
};

static int peek(const struct parser *p)
{
	return p->in.left ? *p->in.at : -1;
}

static bool starts(const struct parser *p, const char *text)
{
	return span_starts(p->in, text);
}

static void step(struct parser *p, size_t n)
{
	(void)span_take(&p->in, n); /* of what was seen */
}

/* Blanks, and with lines also their ends and comments. */
static void skip_blanks(struct parser *p, bool lines)
{
	for (int c = peek(p); c >= 0; c = peek(p)) {
		if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
			step(p, 1);
		} else if (lines && c == '#' && !p->json) {
			while (peek(p) >= 0 && peek(p) != '\n')
				step(p, 1);
		} else {
			return;
		}
	}
}

/* ---- strings ---- */

static size_t put_utf8(uint8_t *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i; i--, c >>= 6)
		out[i] = (uint8_t)(0x80 | (c & 0x3f));
	out[0] = (uint8_t)((0xf00u >> n & 0xff) | c);
	return n;
}

/* What follows a backslash; false: nothing that may. */
static bool take_escape(struct parser *p, uint8_t *out, size_t *n)
{
	static const char from[] = "btnfre\"\\/", to[] = "\b\t\n\f\r\033\"\\/";
	const uint8_t c = span_u8(&p->in);
	const char *const known = c ? strchr(from, c) : NULL;
	uint32_t value = 0;

	if (known && (c != '/' || p->json)) {
		out[(*n)++] = (uint8_t)to[known - from];
		return true;
	}
	const unsigned digits = c == 'u' ? 4 : c == 'U' ? 8 : c == 'x' ? 2 : 0;
	for (unsigned i = 0; i < digits; i++) {
		const uint8_t d = span_u8(&p->in);
		const uint8_t lower = d | 0x20;
		if (!((d >= '0' && d <= '9') || (lower >= 'a' && lower <= 'f')))
			return false;
		value = value << 4 | (uint32_t)(d <= '9' ? d - '0' : lower - 'a' + 10);
	}
	/* a zero byte is in no path; the halves of a pair of UTF-16 are not put together */
	if (!digits || p->in.bad || value == 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return false;
	*n += put_utf8(out + *n, value);
	return true;
}

/* Bytes up to the end of a string, its closing quotes not counted; RC_CORRUPT: it has none. */
static enum rc find_end(const struct parser *p, uint8_t quote, bool lines, size_t *n)
{
	const struct span in = p->in;

	for (size_t i = 0; i < in.left; i++) {
		if (in.at[i] == '\\' && quote != '\'') {
			i++;
			continue;
		}
		if (in.at[i] != quote)
			continue;
		if (lines && !(i + 2 < in.left && in.at[i + 1] == quote && in.at[i + 2] == quote))
			continue;
		for (unsigned more = 0; lines && more < 2 && i + 3 < in.left && in.at[i + 3] == quote; more++)
			i++; /* up to two belong to it */
		*n = i;
		return RC_OK;
	}
	return RC_CORRUPT;
}

/* A quoted string; p stands at its quote. */
static enum rc take_string(struct parser *p, struct span *value)
{
	const uint8_t quote = (uint8_t)peek(p);
	const bool literal = quote == '\'';
	const bool lines = !p->json && starts(p, literal ? "'''" : "\"\"\"");
	size_t length = 0, n = 0;

	step(p, lines ? 3 : 1);
	if (lines)
		step(p, starts(p, "\r\n") ? 2 : starts(p, "\n") ? 1 : 0);
	const enum rc rc = find_end(p, quote, lines, &length);
	uint8_t *const out = rc ? NULL : arena_get(p->a, length + 1); /* an escape is never shorter than what it means */
	if (!out)
		return rc ? rc : RC_NOMEM;
	const uint8_t *const end = p->in.at + length;
	while (p->in.at < end) {
		const uint8_t c = span_u8(&p->in);
		if (c == '\\' && !literal) {
			const struct span after = p->in;
			if (lines) {
				skip_blanks(p, false);
				if (peek(p) == '\n' || starts(p, "\r\n")) { /* the line goes on where the next word is */
					while (p->in.at < end && (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\n' || peek(p) == '\r'))
						step(p, 1);
					continue;
				}
				p->in = after;
			}
			if (!take_escape(p, out, &n))
				return RC_CORRUPT;
			continue;
		}
		if ((c < 0x20 && c != '\t' && !(lines && (c == '\n' || c == '\r'))) || c == 0x7f)
			return RC_CORRUPT;
		out[n++] = c;
	}
	if (p->in.at != end)
		return RC_CORRUPT;
	step(p, lines ? 3 : 1);
	*value = span_of(out, n);
	return RC_OK;
}

/* ---- keys ---- */

static enum rc push_part(struct parser *p, struct span part)
{
	if (p->count == PARTS_MAX)
		return RC_LIMIT;
	p->parts[p->count++] = part;
	return RC_OK;
}

static bool is_bare(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* a.b."c d": its parts go behind where we are. */
static enum rc take_key(struct parser *p)
{
	for (;;) {
		struct span part = {0};
		enum rc rc = RC_OK;
		skip_blanks(p, false);
		if (peek(p) == '"' || (peek(p) == '\'' && !p->json)) {
			if (!p->json && (starts(p, "\"\"\"") || starts(p, "'''")))
				return RC_CORRUPT;
			rc = take_string(p, &part);
		} else {
			part.at = p->in.at;
			for (; is_bare(peek(p)) && !p->json; part.left++)
				step(p, 1);
			rc = part.left ? RC_OK : RC_CORRUPT;
		}
		if (rc || (rc = push_part(p, part)))
			return rc;
		skip_blanks(p, false);
		if (p->json || peek(p) != '.')
			return RC_OK;
		step(p, 1);
	}
}

/* ---- what is wanted ---- */

/* plugins.NAME.root_path? */
static bool is_root_of(const struct parser *p, const char *name)
{
	return p->count == 3 && span_is(p->parts[0], "plugins") && span_is(p->parts[1], name) &&
	       span_is(p->parts[2], "root_path");
}

static enum rc set_once(struct span *place, struct span value)
{
	if (place->at)
		return RC_CORRUPT;
	if (value.left) /* "" is what is written for the default */
		*place = value;
	return RC_OK;
}

static enum rc set_proxy(struct parser *p, struct span value)
{
	const bool type = p->count == 3 && span_is(p->parts[2], "type");
	const bool root = p->count == 4 && p->parts[3].at && span_is(p->parts[2], "exports") && span_is(p->parts[3], "root");
	size_t i = 0;

	if (!type && !root)
		return RC_OK;
	while (i < p->c->proxy_count && !span_equal(p->c->proxies[i].name, p->parts[1]))
		i++;
	if (i == p->c->proxy_count) {
		struct config_proxy *const fresh = arena_push(p->a, (void **)&p->c->proxies, &p->c->proxy_count, sizeof(*fresh));
		if (!fresh)
			return RC_NOMEM;
		fresh->name = p->parts[1];
	}
	return set_once(type ? &p->c->proxies[i].type : &p->c->proxies[i].root, value);
}

/* A string, or what is written without quotes, at the place where we are. depth: arrays around it. */
static enum rc assign(struct parser *p, struct span value, bool quoted, size_t depth)
{
	static const char names[][10] = {"version", "root", "state", "imports", "data-root", "exec-root"};
	struct span *const places[] = {NULL, &p->c->root, &p->c->state, NULL, &p->c->data_root, &p->c->exec_root};
	uint64_t version = 0;

	for (size_t i = 0; i < p->count; i++)
		if (!p->parts[i].at && !(depth == 1 && i == 1 && p->count == 2 && span_is(p->parts[0], "imports")))
			return RC_OK; /* in an array */
	if (p->count == 2 && !p->parts[1].at) {
		struct span *const fresh = arena_push(p->a, (void **)&p->c->imports, &p->c->import_count, sizeof(*fresh));
		if (!fresh)
			return RC_NOMEM;
		*fresh = value;
		return quoted && value.left ? RC_OK : RC_CORRUPT;
	}
	if (p->count > 2 && span_is(p->parts[0], "proxy_plugins") && quoted)
		return set_proxy(p, value);
	if (is_root_of(p, "io.containerd.snapshotter.v1.overlayfs"))
		return quoted ? set_once(&p->overlay, value) : RC_CORRUPT;
	if (is_root_of(p, "overlayfs"))
		return quoted ? set_once(&p->short_overlay, value) : RC_CORRUPT;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (p->count != 1 || !span_is(p->parts[0], names[i]))
			continue;
		if (i == 0) {
			if (quoted || p->version_given || parse_decimal(value, &version))
				return RC_CORRUPT;
			p->version_given = true;
			p->c->version = version;
			return RC_OK;
		}
		return quoted && places[i] ? set_once(places[i], value) : RC_CORRUPT;
	}
	return RC_OK;
}

/* ---- values ---- */

/* A number, a date, true: not looked into, but for what may be in none of them. */
static enum rc take_bare(struct parser *p, struct span *value)
{
	value->at = p->in.at;
	for (int c = peek(p); is_bare(c) || c == '+' || c == '.' || c == ':'; c = peek(p)) {
		step(p, 1);
		value->left++;
	}
	if (value->left == 10 && peek(p) == ' ' && p->in.left > 1 && p->in.at[1] >= '0' && p->in.at[1] <= '9') { /* a date, and a time */
		step(p, 1);
		for (int c = peek(p); is_bare(c) || c == '+' || c == '.' || c == ':'; c = peek(p))
			step(p, 1);
	}
	return value->left ? RC_OK : RC_CORRUPT;
}

struct around {
	bool array;
	size_t count; /* of parts, outside of it */
};

/* Behind a value: what closes there, and where the next one begins. *more: there is one. */
static enum rc take_ends(struct parser *p, struct around *stack, size_t *depth, size_t *arrays, bool *more)
{
	for (*more = false; *depth;) {
		const struct around *const top = &stack[*depth - 1];
		p->count = top->count + top->array;
		skip_blanks(p, true);
		if (peek(p) == ',') {
			step(p, 1);
			skip_blanks(p, true);
			if (peek(p) != (top->array ? ']' : '}')) { /* which may stand behind the last comma */
				*more = true;
				return RC_OK;
			}
		}
		if (peek(p) != (top->array ? ']' : '}'))
			return RC_CORRUPT;
		step(p, 1);
		p->count = top->count;
		*arrays -= top->array;
		--*depth;
	}
	return RC_OK;
}

/* One value with all that is in it. */
static enum rc take_value(struct parser *p)
{
	struct around stack[DEPTH_MAX];
	size_t depth = 0, arrays = 0;
	enum rc rc;

	for (bool more = true; more;) {
		struct span value = {0};
		if (depth && !stack[depth - 1].array) {
			if ((rc = take_key(p)))
				return rc;
			if (peek(p) != (p->json ? ':' : '='))
				return RC_CORRUPT;
			step(p, 1);
		}
		skip_blanks(p, arrays || p->json);
		const int c = peek(p);
		if (c == '[' || c == '{') {
			if (depth == DEPTH_MAX)
				return RC_LIMIT;
			stack[depth] = (struct around){c == '[', p->count};
			step(p, 1);
			arrays += stack[depth].array;
			if (stack[depth].array && (rc = push_part(p, (struct span){0})))
				return rc;
			depth++;
			skip_blanks(p, true);
			if (peek(p) != (c == '[' ? ']' : '}'))
				continue; /* its first value */
			step(p, 1);
			depth--;
			arrays -= stack[depth].array;
			p->count = stack[depth].count;
		} else {
			const bool quoted = c == '"' || (c == '\'' && !p->json);
			if ((rc = quoted ? take_string(p, &value) : take_bare(p, &value)) || (rc = assign(p, value, quoted, arrays)))
				return rc;
		}
		if ((rc = take_ends(p, stack, &depth, &arrays, &more)))
			return rc;
	}
	return RC_OK;
}

/* ---- lines ---- */

/* [a.b] or [[a.b]] */
static enum rc take_table(struct parser *p)
{
	const bool array = starts(p, "[[");
	enum rc rc;

	step(p, array ? 2 : 1);
	p->count = 0;
	if ((rc = take_key(p)))
		return rc;
	if (!starts(p, array ? "]]" : "]"))
		return RC_CORRUPT;
	step(p, array ? 2 : 1);
	return array ? push_part(p, (struct span){0}) : RC_OK;
}

static enum rc take_line(struct parser *p)
{
	const size_t table = p->count;
	enum rc rc;

	if (peek(p) == '[') {
		rc = take_table(p);
	} else {
		if ((rc = take_key(p)))
			return rc;
		if (peek(p) != '=')
			return RC_CORRUPT;
		step(p, 1);
		rc = take_value(p);
		p->count = table;
	}
	if (rc)
		return rc;
	skip_blanks(p, false);
	return peek(p) < 0 || peek(p) == '\n' || peek(p) == '#' || starts(p, "\r\n") ? RC_OK : RC_CORRUPT;
}

enum rc config_parse(struct config *out, struct span text, struct arena *a)
{
	struct config c = {.version = 1};
	struct parser p = {.c = &c, .a = a, .in = text};
	enum rc rc = RC_OK;

	if (starts(&p, "\xef\xbb\xbf"))
		step(&p, 3);
	for (skip_blanks(&p, true); rc == RC_OK && p.in.left; skip_blanks(&p, true))
		rc = take_line(&p);
	if (rc)
		return rc;
	c.overlay = p.overlay.at || c.version > 1 ? p.overlay : p.short_overlay;
	*out = c;
	return RC_OK;
}

enum rc config_parse_json(struct config *out, struct span text, struct arena *a)
{
	struct config c = {.version = 1};
	struct parser p = {.c = &c, .a = a, .in = text, .json = true};
	enum rc rc;

	skip_blanks(&p, true);
	if (peek(&p) != '{')
		return RC_CORRUPT;
	if ((rc = take_value(&p)))
		return rc;
	skip_blanks(&p, true);
	if (p.in.left)
		return RC_CORRUPT;
	*out = c;
	return RC_OK;
}

bool config_name_fits(struct span pattern, struct span name)
{
	/* where to go on if it does not fit: the last star takes one byte more */
	size_t i = 0, k = 0, star = SIZE_MAX, taken = 0;

	while (k < name.left) {
		if (i < pattern.left && pattern.at[i] == '*') {
			star = i++;
			taken = k;
		} else if (i < pattern.left && pattern.at[i] == name.at[k] && name.at[k] != '/') {
			i++;
			k++;
		} else if (star != SIZE_MAX && name.at[taken] != '/') {
			i = star + 1;
			k = ++taken;
		} else {
			return false;
		}
	}
	while (i < pattern.left && pattern.at[i] == '*')
		i++;
	return i == pattern.left;
}
