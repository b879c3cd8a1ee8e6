/* SPDX-License-Identifier: MIT */
/* Whether a root is to be checked in this boot, and how much of it: the marker, the boot's id, the kernel's command line, the
 * attempts before. Uses the marker up durably before it answers: one that was unlinked without
 * an fsync was back after a power cut, on ext4, XFS and btrfs. */
#ifndef BOOT_H
#define BOOT_H

#include "memory/journal.h"

#define BOOT_ROOTS_MAX 8
/* So many checks in a row that did not end, and boot steps aside. But where it is known what they were at, the next passes over that
 * and looks at the rest; one after which nothing new is known was at nothing that can be passed over. Each boot passes over more, and
 * they end: at the second number. */
#define BOOT_ATTEMPTS_MAX 3
#define BOOT_ATTEMPTS_NAMED_MAX 16
/* After one alone nothing is passed over, and after two what both were at: a process that is killed tells of itself each time, while an
 * honest power cut takes along what the first one said (at.h). After more it is all that the last was at, if nothing was common. */
#define BOOT_ATTEMPTS_TELLING 2

enum boot_mode { BOOT_AUTO, BOOT_CHECK, BOOT_FORCE, BOOT_SKIP };

/* containerd.fsck=auto|check|force|skip, containerd.fsck.root=PATH, and where the first is not given, fsck.mode= and
 * fsck.repair= as systemd-fsck(8) reads them. The last of each counts. */
struct boot_wish {
	enum boot_mode mode;
	bool force; /* BOOT_FORCE, or BOOT_CHECK of everything: fsck.mode=force with fsck.repair=no */
	const char *roots[BOOT_ROOTS_MAX + 1]; /* NULL-terminated */
	size_t root_count;
	const char *unknown; /* a value that means nothing, as "name=value"; NULL: none */
};
/* Without /proc: auto. */
CHECKED enum rc boot_read_wish(struct boot_wish *w, struct arena *a, struct err *e);
/* The parser itself. */
CHECKED enum rc boot_parse_wish(struct boot_wish *w, struct span line, struct arena *a, struct err *e);

/* The crash kernel has little memory and one job. */
bool boot_is_kdump(void);

/* In an initramfs: a phrase if the place of root is a shadow of what will be mounted there later, by fstab, a mount unit or
 * systemd.mount-extra= of the system in sysroot; NULL if it is the real one. root: with sysroot in front; both resolved. */
CHECKED enum rc boot_find_shadow(const char *sysroot, const char *root, struct arena *a, const char **why, struct err *e);

enum boot_verdict {
	BOOT_NOTHING,    /* no store there; in an empty root it is noted, so that what comes into it can be sealed */
	BOOT_HANDLED,    /* already, in this boot: status */
	BOOT_IS_CLEAN,
	BOOT_LATER,      /* read-only: the marker stays for whoever can write */
	BOOT_SKIPPED,    /* told so */
	BOOT_STEP_ASIDE, /* it has not ended BOOT_ATTEMPTS_MAX times, and what it was at is not known, or can be passed over no more */
	BOOT_RUNNING,    /* containerd holds its lock */
	BOOT_CHECK_CHANGED, /* what journal does not vouch for */
	BOOT_CHECK_ALL
};

struct boot {
	enum boot_verdict verdict;
	const char *why;  /* a sentence without a full stop */
	unsigned status;  /* what to exit with if nothing is checked */
	char boot_id[37]; /* as it is noted: "-" where there is none */
	int root, own;    /* descriptors; -1 if there is none */
	bool remounted, whole; /* writable for us: boot_end makes it read-only again */
	bool flag;        /* the flag file asks for a full check */
	bool forced;      /* that, or somebody else does */
	bool first;       /* the journal's last boot is another one */
	unsigned attempts; /* boots in a row before this one whose check did not end */
	/* What the last of them was at when it ended: the first new_stuck of these are passed over from now on. */
	struct at_name *last;
	size_t last_count, new_stuck;
	bool unnoted;     /* the file system is full: the journal is gone instead, and the next boot checks everything */
	struct journal journal;
};

/* Whether the journal proves that containerd has written nothing since the machine started: its last boot is another one, and the
 * databases are as it left them. j: NULL or absent proves nothing. */
bool boot_is_another(const struct journal *j, int root, struct arena scratch);

struct boot_options {
	enum boot_mode mode;
	bool force;   /* the kernel's command line asks for a full check */
	bool full;    /* --full: the same, and in a boot that was handled already as well */
	bool inside;  /* --sysroot: a directory without a store may be a shadow, and nothing is made in it */
	bool remount; /* --remount: a read-only file system is made writable if there is something to do */
};

/* The decision alone, from what *b holds: journal, flag, last; sets verdict, why, status, first, forced, attempts and new_stuck.
 * boot_id: "" where there is none. Computes only. */
void boot_decide(struct boot *b, const struct boot_options *o, const char *boot_id, const struct journal_identity *identity);
/* path: the root. The journal's memory is of keep. After BOOT_CHECK_*: a boot record is on disk that must be ended. */
CHECKED enum rc boot_begin(struct boot *b, const char *path, const struct boot_options *o, struct arena *keep,
	struct arena scratch, struct err *e);
/* The check could not be made, and status says how: it is not tried again in this boot. */
CHECKED enum rc boot_give_up(struct boot *b, unsigned status, struct arena scratch, struct err *e);
/* The check was made: what asked for it goes. */
CHECKED enum rc boot_done(struct boot *b, struct err *e);
/* Accepts a boot that began nothing. */
void boot_end(struct boot *b);

#endif
