/* SPDX-License-Identifier: MIT */
/* Any bytes as JSON. Accepted is what a second reader accepts, one that was written from RFC 8259 and knows nothing of the first; it
 * does not matter whether a value is passed over whole or walked through piece by piece, nor whether it stands where it stood or in a
 * document of its own; nothing that was cut off is accepted. The first byte says how deep the rest is put into arrays, so that the bound
 * is met. */
#include "format/json.h"

#include <string.h>

#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WALK_DEPTH 6
#define NESTED_MOST (LIMIT_JSON_DEPTH + 3)

/* ---- the second reader ---- */

struct text {
	const uint8_t *at, *end;
};

static void blanks(struct text *t)
{
	while (t->at < t->end && memchr(" \t\r\n", *t->at, 4))
		t->at++;
}

static bool is(struct text *t, uint8_t c)
{
	return t->at < t->end && *t->at == c && t->at++;
}

static bool digits(struct text *t)
{
	const uint8_t *const began = t->at;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
		t->at++;
	return t->at > began;
}

static bool word(struct text *t, const char *w)
{
	const size_t n = strlen(w);

	if ((size_t)(t->end - t->at) < n || memcmp(t->at, w, n) != 0)
		return false;
	t->at += n;
	return true;
}

static bool string(struct text *t)
{
	if (!is(t, '"'))
		return false;
	while (t->at < t->end && *t->at >= ' ') {
		const uint8_t c = *t->at++;
		if (c == '"')
			return true;
		if (c != '\\')
			continue;
		if (is(t, 'u')) {
			for (unsigned i = 0; i < 4; i++, t->at++)
				if (t->at == t->end || !*t->at || !strchr("0123456789abcdefABCDEF", *t->at))
					return false;
		} else if (t->at == t->end || !*t->at || !strchr("\"\\/bfnrt", *t->at++)) {
			return false;
		}
	}
	return false;
}

static bool number(struct text *t)
{
	(void)is(t, '-');
	if (!is(t, '0') && !digits(t))
		return false;
	if (is(t, '.') && !digits(t))
		return false;
	if (is(t, 'e') || is(t, 'E')) {
		if (!is(t, '+'))
			(void)is(t, '-');
		return digits(t);
	}
	return true;
}

/* Of one object with nothing but blanks around it. */
static bool is_sound(const uint8_t *at, size_t n)
{
	static char around[LIMIT_JSON_DEPTH];
	struct text t = {at, at + n};
	size_t depth = 0;

	blanks(&t);
	if (t.at == t.end || *t.at != '{')
		return false;
	for (bool value = true;;) {
		blanks(&t);
		if (value && t.at < t.end && (*t.at == '{' || *t.at == '[')) {
			if (depth == LIMIT_JSON_DEPTH)
				return false;
			around[depth++] = *t.at == '{' ? '}' : ']';
			t.at++;
			blanks(&t);
			value = t.at == t.end || *t.at != (uint8_t)around[depth - 1];
		} else if (value) {
			if (t.at < t.end && *t.at == '"' ? !string(&t)
				: !word(&t, "true") && !word(&t, "false") && !word(&t, "null") && !number(&t))
				return false; /* a string that is none is not a number from there on either */
			value = false;
		} else if (is(&t, (uint8_t)around[depth - 1])) {
			if (--depth == 0)
				break;
			continue;
		} else if (!(value = is(&t, ','))) {
			return false;
		}
		if (value && around[depth - 1] == '}') { /* the name of the next */
			blanks(&t);
			if (!string(&t))
				return false;
			blanks(&t);
			if (!is(&t, ':'))
				return false;
		}
	}
	blanks(&t);
	return t.at == t.end;
}

/* ---- the first one ---- */

/* No member is looked into. */
static bool passes(const uint8_t *at, size_t n)
{
	struct json_value name, value;
	struct json_walk w;
	uint64_t looked = 0;

	steps_begin();
	enum rc rc = json_open(&w, span_of(at, n), &looked);
	while (!rc)
		rc = json_next(&w, &name, &value);
	if (looked > n || (rc != RC_END && rc != RC_CORRUPT))
		abort();
	steps_end(n, 40, 500);
	return rc == RC_END;
}

static void look_at_string(const struct json_value *v)
{
	static const char *const words[] = {"digest", "a", ""};
	uint8_t room[64];
	const struct span text = json_text(v, room, sizeof(room));

	if (v->type == JSON_STRING && !text.bad && text.left > v->raw.left)
		abort();
	if (v->type == JSON_STRING && text.bad && v->raw.left <= sizeof(room))
		abort();
	for (size_t i = 0; v->type == JSON_STRING && i < sizeof(words) / sizeof(words[0]); i++)
		if (json_is_called(v, words[i]) && (text.bad || text.left != strlen(words[i])))
			abort();
}

/* All of it, piece by piece; false: it broke. */
static bool walk(struct json_walk *w, unsigned depth, uint64_t *looked)
{
	struct json_value name, value;
	enum rc rc;

	while (!(rc = json_next(w, &name, &value))) {
		struct json_walk below;
		if (w->object)
			look_at_string(&name);
		look_at_string(&value);
		if (depth < WALK_DEPTH && json_enter(&below, &value, looked) == RC_OK && !walk(&below, depth + 1, looked))
			return false;
		if (depth == 0 && (value.type == JSON_OBJECT || value.type == JSON_ARRAY) && value.raw.left < 4096) {
			uint8_t whole[4096 + 8] = "{\"a\":";
			memcpy(whole + 5, value.raw.at, value.raw.left);
			whole[5 + value.raw.left] = '}';
			if (!passes(whole, value.raw.left + 6)) /* not deeper than it was */
				return false;
		}
	}
	return rc == RC_END;
}

static void examine(const uint8_t *at, size_t n)
{
	struct json_walk w;
	uint64_t looked = 0;
	const bool sound = is_sound(at, n);

	if (passes(at, n) != sound)
		abort();
	const bool walked = json_open(&w, span_of(at, n), &looked) == RC_OK && walk(&w, 0, &looked);
	if (walked != sound || looked > (uint64_t)n * (WALK_DEPTH + 2))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] = "{\"a\":";
	static uint8_t nested[2 * NESTED_MOST + 65536 + 8];

	if (size < 3)
		return 0;
	const uint8_t *const text = data + 2;
	const size_t n = size - 2, cut = data[1] < n ? data[1] : n;
	/* 128 + i: around the bound, i for the others */
	const size_t depth = data[0] & 128 ? NESTED_MOST - (data[0] & 7) : data[0] & 64 ? data[0] & 63 : 0;
	examine(text, n);
	size_t last = n;
	while (last && memchr(" \t\r\n", text[last - 1], 4))
		last--;
	if (cut < last && is_sound(text, n) && passes(text, cut))
		abort();
	if (depth && n <= 65536) {
		size_t used = sizeof(head) - 1;
		memcpy(nested, head, used);
		memset(nested + used, '[', depth);
		used += depth;
		memcpy(nested + used, text, n);
		used += n;
		memset(nested + used, ']', depth);
		used += depth;
		nested[used++] = '}';
		examine(nested, used);
	}
	return 0;
}
