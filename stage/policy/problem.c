/* SPDX-License-Identifier: MIT */
#include "policy/problem.h"

#include <stddef.h>
#include <string.h>

const struct problem problems[P_COUNT] = {
#define PROBLEM(id, code, harm, action, message, meaning) {code, HARM_##harm, FATE_##action},
#include "policy/problem.def"
#undef PROBLEM
};

/* The words lie end to end and are found by their distance: a pointer is a relocation of 32 bytes in a program that runs at any
 * address, and this saves 5 KiB. */
static const struct words {
#define PROBLEM(id, code, harm, action, message, meaning) char id##_id[sizeof(#id)], id##_message[sizeof(message)];
#include "policy/problem.def"
#undef PROBLEM
} words = {
#define PROBLEM(id, code, harm, action, message, meaning) #id, message,
#include "policy/problem.def"
#undef PROBLEM
};
static const struct {
	uint16_t id, message;
} word_at[P_COUNT] = {
#define PROBLEM(id, code, harm, action, message, meaning) {offsetof(struct words, id##_id), offsetof(struct words, id##_message)},
#include "policy/problem.def"
#undef PROBLEM
};
_Static_assert(sizeof(struct words) <= UINT16_MAX, "the distance of a word fits");

const char *problem_id(enum problem_id p)
{
	return (const char *)&words + word_at[p].id;
}

const char *problem_text(enum problem_id p)
{
	return (const char *)&words + word_at[p].message;
}

/* A code used twice does not compile. Never called. */
bool problem_codes_are_unique(unsigned code);
bool problem_codes_are_unique(unsigned code)
{
	switch (code) {
#define PROBLEM(id, code, harm, action, message, meaning) case code:
#include "policy/problem.def"
#undef PROBLEM
		return true;
	default:
		return false;
	}
}

const char *harm_name(enum harm h)
{
	static const char names[HARM_KINDS][10] = {"note", "leftover", "torn", "lost", "unchecked", "halt"};
	return names[h];
}

static size_t add(char *out, size_t cap, size_t used, const char *text, size_t n)
{
	if (used < cap) {
		const size_t room = cap - used - 1;
		memcpy(out + used, text, n < room ? n : room);
		out[used + (n < room ? n : room)] = 0;
	}
	return used + n;
}

size_t problem_message(const struct finding *f, char *out, size_t cap)
{
	const char *m = problem_text(f->problem);
	size_t used = 0;

	if (cap)
		out[0] = 0;
	while (*m) {
		const char *const open = strchr(m, '{');
		const char *const close = open ? strchr(open, '}') : NULL;
		const size_t plain = close ? (size_t)(open - m) : strlen(m);
		used = add(out, cap, used, m, plain);
		if (!close)
			break;
		const struct span field = span_of(open + 1, (size_t)(close - open - 1));
		const struct {
			const char *name;
			struct span value;
		} texts[] = {{"path", f->path}, {"ns", f->ns}, {"name", f->name}, {"digest", f->digest}, {"why", f->why}};
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			char escaped[1024];
			if (!span_is(field, texts[i].name))
				continue;
			const size_t n = escape(escaped, sizeof(escaped), texts[i].value);
			used = add(out, cap, used, escaped, n < sizeof(escaped) ? n : strlen(escaped));
		}
		if (span_is(field, "got") || span_is(field, "want")) {
			char number[24];
			const int n = print_to(number, sizeof(number), "%llu",
				(unsigned long long)(span_is(field, "got") ? f->got : f->want));
			used = add(out, cap, used, number, (size_t)n);
		}
		m = close + 1;
	}
	return used;
}
