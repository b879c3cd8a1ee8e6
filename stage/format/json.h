/* SPDX-License-Identifier: MIT */
/* JSON, read as it goes by: no tokens are kept and nothing is allocated, so memory does not grow with a document, and each byte is
 * looked at once for each level that somebody walks through, however deep the rest is nested. Accepted is what Go's encoding/json
 * accepts, for that is what containerd reads with (Go 1.24: encoding/json, scanner.go). */
#ifndef JSON_H
#define JSON_H

#include "ground/base.h"

enum json_type {
	JSON_NONE, /* zeroed: no such value */
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_SCALAR /* a number, true, false or null */
};

struct json_value {
	enum json_type type;
	struct span raw; /* as it is written; of a string what is between the quotes, escapes unresolved */
};

/* A walk through the members of an object, or the elements of an array. */
struct json_walk {
	struct span left;
	bool object, begun;
	uint64_t *steps; /* grows by one for each byte that is looked at */
};

/* Of a text that consists of one object. RC_CORRUPT: it begins as none; whether it is one is known when the walk has ended. */
CHECKED enum rc json_open(struct json_walk *w, struct span text, uint64_t *steps);
/* Of a value that another walk has come to. RC_END: it is neither object nor array. */
CHECKED enum rc json_enter(struct json_walk *w, const struct json_value *v, uint64_t *steps);
/* name: of an object's member; else, or if it is not wanted, NULL. RC_END: there is no more, and what went by was sound to its last
 * byte. RC_CORRUPT: it is not, or is nested deeper than LIMIT_JSON_DEPTH. */
CHECKED enum rc json_next(struct json_walk *w, struct json_value *name, struct json_value *value);
/* A string with its escapes resolved into out, which has room for cap bytes. What is not ASCII behind \u keeps its escape: nothing that
 * is compared has any. A string that does not fit, or a value that is none, comes to a bad span. */
struct span json_text(const struct json_value *v, uint8_t *out, size_t cap);
/* Whether a member is called so. As in Go it is, however letters are cased. */
bool json_is_called(const struct json_value *name, const char *want);

#endif
