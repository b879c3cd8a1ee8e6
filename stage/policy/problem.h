/* SPDX-License-Identifier: MIT */
/* The table of everything that can be wrong (problem.def), and what a finding is. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include "ground/base.h"

enum harm { HARM_NOTE, HARM_STALE, HARM_TORN, HARM_LOST, HARM_UNCHECKED, HARM_HALT, HARM_KINDS };

/* What happens, or with check would happen, to it. */
enum fate {
	FATE_NOTHING,   /* a note */
	FATE_REPAIR,    /* put right from local data */
	FATE_REMOVE,    /* a leftover is removed, or set aside */
	FATE_DROP,      /* records dropped, so that it can be pulled or fetched again */
	FATE_LEFT,      /* stays as it is: finding.left says why */
	FATE_UNCHECKED,
	FATE_HALTED
};

enum problem_id {
#define PROBLEM(id, code, harm, action, message, meaning) P_##id,
#include "policy/problem.def"
#undef PROBLEM
	P_COUNT
};

struct problem {
	unsigned code;
	enum harm harm;
	enum fate action;
};
extern const struct problem problems[P_COUNT];
/* Its name, as in problem.def, and its message with the fields in it; the meaning is the manual's. Valid for ever. */
const char *problem_id(enum problem_id p);
const char *problem_text(enum problem_id p);
const char *harm_name(enum harm h);

/* What a finding is about: an index into the array of the store that the name says. */
enum subject {
	SUBJECT_NONE,
	SUBJECT_FAULT,
	SUBJECT_BLOB,
	SUBJECT_CONTENT,
	SUBJECT_BACKEND,
	SUBJECT_SNAPSHOT,
	SUBJECT_INGEST,
	SUBJECT_INGEST_RECORD,
	SUBJECT_LEASE,
	SUBJECT_IMAGE,
	SUBJECT_STRAY,
	SUBJECT_STATE_FILE,
	SUBJECT_CRI
};

struct finding {
	enum problem_id problem;
	enum subject subject;
	size_t index;
	enum fate fate;   /* set by plan */
	const char *left; /* FATE_LEFT: a sentence */
	size_t action;    /* index of the plan's action that answers it, SIZE_MAX: none */
	bool acknowledged; /* it is left, or unchecked, and a person said that this is known: see plan_conclude */
	/* fields of the message; raw bytes from disk, escaped when printed; empty if the message has no use for them */
	struct span path, ns, name, digest, why;
	uint64_t got, want;
};

/* What it is acknowledged by (memory/acks.h): one of its fields, of a snapshot's entry that of the snapshot. */
struct span finding_id(const struct finding *f);

/* Fills the message of a finding, escaped; at most cap - 1 bytes and a NUL. */
size_t problem_message(const struct finding *f, char *out, size_t cap);

#endif
