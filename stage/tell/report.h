/* SPDX-License-Identifier: MIT */
/* Everything a person or a program reads: lines on the console, progress, the summary, JSON, the tree of show. Escapes what
 * came from disk. The only module that prints. */
#ifndef REPORT_H
#define REPORT_H


#include "repair/apply.h"
#include "repair/plan.h"
#include "repair/salvage.h"

enum exit_status {
	EXIT_CLEAN = 0,
	EXIT_REPAIRED = 1,
	EXIT_LEFT = 4,
	EXIT_FAILED = 8,
	EXIT_USAGE = 16,
	EXIT_INTERRUPTED = 32
};

/* Besides the console, for who runs by itself. */
enum report_log {
	REPORT_NO_LOG,
	REPORT_JOURNAL,   /* standard output is systemd's journal: lines begin with their priority */
	REPORT_KERNEL_LOG /* there is no journal: lines go to /dev/kmsg too, at most REPORT_LOG_LINES of a message */
};
#define REPORT_LOG_LINES 24

struct report_options {
	bool quiet, verbose, progress, repair;
	enum report_log log;
	int priority;        /* of report_message, as in syslog; a console report has one by its outcome */
	bool colour;         /* the console is a terminal that has some, and nobody asked for none */
	unsigned width;      /* of the console, if it is a terminal; 0: it is none */
	int out;             /* the console's descriptor; 0: it is not used (--json -) */
};

/* What one run over one root came to. */
struct outcome {
	const char *root, *command; /* command: what to type to repair it */
	const struct store *store;   /* NULL if it could not be opened */
	const struct survey *survey; /* NULL if it was not made */
	const struct plan *plan;     /* NULL if it was not made */
	const struct apply_result *applied; /* NULL for check */
	const struct salvage *salvage; /* NULL: no database needs it */
	const struct err *failure;   /* NULL, or why the run ended early */
	bool scrub;                  /* beside containerd: only findings are told */
	bool repair;                 /* asked for, whether or not it came to it */
	enum store_refusal refusal;
	uint64_t started_ns, elapsed_ns; /* calendar, for labels; duration */
	size_t peak_bytes;
	enum exit_status status;
};

enum exit_status report_status(const struct outcome *o, bool repair);

struct progress_state {
	const struct report_options *options;
	uint64_t began_ns, last_ns, notified_ns, notified_bytes;
	const char *what, *notified_what;
	bool shown, terminal;
};
/* For survey_options.progress and apply_options.progress; self is a struct progress_state. */
void report_progress(void *self, const struct progress *p);
void report_progress_end(struct progress_state *s);

/* Findings, images, what was done, what to type next. */
void report_console(const struct outcome *o, const struct report_options *options);
/* A line for each blob that has to be fetched: digest, bytes, namespace, and the name of an image that needs it. False: there may be more,
 * for not all could be looked at. */
bool report_missing(const struct outcome *o, const struct report_options *options);
/* With a database that cannot be worked with: the copies there are alone. RC_STOPPED: not all was shown, and *e says why; where that
 * could be said it was. */
CHECKED enum rc report_show(const struct outcome *o, const struct report_options *options, struct err *e);
/* containerd-fsck(8), JSON REPORT. One object and a newline. */
CHECKED enum rc report_json(const struct outcome *o, int out, struct err *e);

/* The file that a person named for it. After a power cut at any point it holds all of the old bytes or all of the new: it is made
 * beside, with mode 0644, and renamed by report_file_close. What is there and is no regular file (a terminal, a pipe, a link) is
 * written as it is. Nothing of it is the store's: a check may. */
struct report_file {
	int fd;
	const char *path; /* borrowed; NULL: it is not open */
	bool beside, written, failed, loose; /* loose: it need not survive a cut */
	char temporary[4096 + 32];
};
/* Before anything is looked at: whether it can be written there. regular: what is there and is something else is refused. On failure *f
 * is closed. */
CHECKED enum rc report_file_open(struct report_file *f, const char *path, bool regular, struct err *e);
/* Something will be written into f->fd; whoever fails at that sets f->failed. */
CHECKED enum rc report_file_begin(struct report_file *f, struct err *e);
/* One object, behind those that are in it. */
CHECKED enum rc report_file_add(struct report_file *f, const struct outcome *o, struct err *e);
/* Without an object in it the old file stays, or none. Of one that is closed, or zeroed: nothing. */
CHECKED enum rc report_file_close(struct report_file *f, struct err *e);
/* The same into <root>/containerd-fsck/report.json: all of the old file or all of the new. */
CHECKED enum rc report_keep(const struct outcome *o, struct err *e);
/* The same into /run/containerd-fsck/, named after the root; where that cannot be written it is not. */
void report_keep_run(const struct outcome *o);

/* An array of the reports of several roots. */
void report_message(const struct report_options *options, const char *root, const char *text);

#endif
