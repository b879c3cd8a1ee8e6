/* SPDX-License-Identifier: MIT */
#include "format/json.h"

#include <string.h>

/* What is next, and zero at the end, where nothing of JSON is zero. */
static uint8_t peek(const struct json_walk *w)
{
	return w->left.left ? w->left.at[0] : 0;
}

static void step(struct json_walk *w)
{
	(void)span_take(&w->left, 1); /* peek has seen it */
	++*w->steps;
}

/* Over blanks. */
static uint8_t peek_on(struct json_walk *w)
{
	while (peek(w) == ' ' || peek(w) == '\t' || peek(w) == '\n' || peek(w) == '\r')
		step(w);
	return peek(w);
}

static bool take_literal(struct json_walk *w, const char *word)
{
	for (; *word; word++) {
		if (peek(w) != (uint8_t)*word)
			return false;
		step(w);
	}
	return true;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool take_digits(struct json_walk *w)
{
	const bool any = is_digit(peek(w));

	while (is_digit(peek(w)))
		step(w);
	return any;
}

static bool take_number(struct json_walk *w)
{
	if (peek(w) == '-')
		step(w);
	if (peek(w) == '0')
		step(w);
	else if (!take_digits(w))
		return false;
	if (peek(w) == '.') {
		step(w);
		if (!take_digits(w))
			return false;
	}
	if (peek(w) == 'e' || peek(w) == 'E') {
		step(w);
		if (peek(w) == '+' || peek(w) == '-')
			step(w);
		return take_digits(w);
	}
	return true;
}

static int hex_value(uint8_t c)
{
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_string(struct json_walk *w)
{
	if (peek(w) != '"')
		return false;
	step(w);
	while (peek(w) != '"') {
		const bool escape = peek(w) == '\\';
		if (peek(w) < 0x20)
			return false;
		step(w);
		if (!escape)
			continue;
		const uint8_t c = peek(w);
		if (!c || !strchr("\"\\/bfnrtu", c))
			return false;
		step(w);
		for (int i = 0; c == 'u' && i < 4; i++) {
			if (hex_value(peek(w)) < 0)
				return false;
			step(w);
		}
	}
	step(w);
	return true;
}

static bool take_scalar(struct json_walk *w)
{
	switch (peek(w)) {
	case '"':
		return take_string(w);
	case 't':
		return take_literal(w, "true");
	case 'f':
		return take_literal(w, "false");
	case 'n':
		return take_literal(w, "null");
	default:
		return take_number(w);
	}
}

static bool take_name(struct json_walk *w)
{
	if (peek_on(w) != '"' || !take_string(w) || peek_on(w) != ':')
		return false;
	step(w);
	return true;
}

static enum json_type type_at(uint8_t c)
{
	return c == '{' ? JSON_OBJECT : c == '[' ? JSON_ARRAY : c == '"' ? JSON_STRING : JSON_SCALAR;
}

/* One value with all that is in it. Which kind each container around is takes a bit: what is nested costs no more than what is not. */
static bool take_value(struct json_walk *w)
{
	uint8_t objects[(LIMIT_JSON_DEPTH + 7) / 8];
	unsigned depth = 0;

	for (;;) {
		const uint8_t c = peek_on(w);
		if (c == '{' || c == '[') {
			if (depth == LIMIT_JSON_DEPTH - 1) /* and the one that is walked through */
				return false;
			const uint8_t bit = (uint8_t)(1u << depth % 8);
			const uint8_t below = depth % 8 ? objects[depth / 8] & (uint8_t)(bit - 1) : 0;
			objects[depth / 8] = c == '{' ? below | bit : below;
			depth++;
			step(w);
			if (peek_on(w) != (c == '{' ? '}' : ']')) { /* else it is closed below */
				if (c == '{' && !take_name(w))
					return false;
				continue;
			}
		} else if (!take_scalar(w)) {
			return false;
		}
		for (bool more = false; !more;) {
			if (!depth)
				return true;
			const bool object = objects[(depth - 1) / 8] >> (depth - 1) % 8 & 1;
			const uint8_t follows = peek_on(w);
			if (follows != ',' && follows != (object ? '}' : ']'))
				return false;
			step(w);
			more = follows == ',';
			depth -= !more;
			if (more && object && !take_name(w))
				return false;
		}
	}
}

enum rc json_open(struct json_walk *w, struct span text, uint64_t *steps)
{
	*w = (struct json_walk){.left = text, .object = true, .steps = steps};
	if (peek_on(w) != '{')
		return RC_CORRUPT;
	step(w);
	return RC_OK;
}

enum rc json_enter(struct json_walk *w, const struct json_value *v, uint64_t *steps)
{
	if (v->type != JSON_OBJECT && v->type != JSON_ARRAY)
		return RC_END;
	*w = (struct json_walk){.left = v->raw, .object = v->type == JSON_OBJECT, .steps = steps};
	step(w);
	return RC_OK;
}

/* What span began and the walk has gone past. */
static struct span passed(struct span began, const struct json_walk *w)
{
	return span_of(began.at, began.left - w->left.left);
}

static struct span unquoted(struct span s)
{
	return span_of(s.at + 1, s.left - 2);
}

enum rc json_next(struct json_walk *w, struct json_value *name, struct json_value *value)
{
	const uint8_t c = peek_on(w);

	if (c == (w->object ? '}' : ']')) {
		step(w);
		(void)peek_on(w);
		return w->left.left ? RC_CORRUPT : RC_END;
	}
	if (w->begun) {
		if (c != ',')
			return RC_CORRUPT;
		step(w);
		(void)peek_on(w);
	}
	w->begun = true;
	struct span began = w->left;
	if (w->object) {
		if (!take_string(w))
			return RC_CORRUPT;
		if (name)
			*name = (struct json_value){JSON_STRING, unquoted(passed(began, w))};
		if (peek_on(w) != ':')
			return RC_CORRUPT;
		step(w);
		(void)peek_on(w);
		began = w->left;
	}
	const enum json_type type = type_at(peek(w));
	if (!take_value(w))
		return RC_CORRUPT;
	const struct span raw = passed(began, w);
	*value = (struct json_value){type, type == JSON_STRING ? unquoted(raw) : raw};
	return RC_OK;
}

struct span json_text(const struct json_value *v, uint8_t *out, size_t cap)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const struct span raw = v->raw;
	size_t n = 0;

	if (v->type != JSON_STRING)
		return (struct span){NULL, 0, true};
	if (!raw.left || !memchr(raw.at, '\\', raw.left))
		return raw;
	for (size_t k = 0; k < raw.left; k++) {
		const uint8_t c = raw.at[k];
		const uint8_t follows = c == '\\' && k + 1 < raw.left ? raw.at[k + 1] : 0;
		const char *const simple = follows ? strchr(escapes, follows) : NULL;
		if (n == cap)
			return (struct span){NULL, 0, true};
		if (simple) {
			out[n++] = (uint8_t)meant[simple - escapes];
			k++;
		} else if (follows == 'u' && k + 5 < raw.left && raw.at[k + 2] == '0' && raw.at[k + 3] == '0' &&
			hex_value(raw.at[k + 4]) >= 0 && hex_value(raw.at[k + 4]) < 8 && hex_value(raw.at[k + 5]) >= 0) {
			out[n++] = (uint8_t)(hex_value(raw.at[k + 4]) * 16 + hex_value(raw.at[k + 5]));
			k += 5;
		} else {
			out[n++] = c;
		}
	}
	return span_of(out, n);
}

bool json_is_called(const struct json_value *name, const char *want)
{
	uint8_t room[32];
	const size_t n = strlen(want);

	if (name->raw.left > 6 * n) /* not even if each letter of it is an escape */
		return false;
	const struct span text = json_text(name, room, sizeof(room));
	if (text.bad || text.left != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const uint8_t a = text.at[i], b = (uint8_t)want[i];
		const bool letter = (a | 0x20) >= 'a' && (a | 0x20) <= 'z';
		if (a != b && !(letter && (a | 0x20) == (b | 0x20)))
			return false;
	}
	return true;
}
