/* SPDX-License-Identifier: MIT */
/* Copies of what a second source has, made while a repair looks at a store: see struct survey_fetch. Each is written in our staging
 * directory and made durable, and only then gets a name in the content store, which is no blob's. A cut leaves what any other repair
 * leaves that was cut off, or such a file; the next run finds the bytes in either. */
#ifndef FETCH_H
#define FETCH_H

#include "repair/apply.h"

struct fetch;

/* Touches nothing yet. first: called once, before anything is written. */
CHECKED enum rc fetch_open(struct fetch **f, struct store *st, const struct apply_options *o,
	enum rc (*first)(void *self, struct err *e), void *self, struct arena *keep, struct err *e);
const struct survey_fetch *fetch_calls(const struct fetch *f);
/* Removes our staging directory, which is empty then. Accepts NULL. */
CHECKED enum rc fetch_close(struct fetch *f, struct err *e);

#endif
