/* SPDX-License-Identifier: MIT */
#include "policy/policy.h"

static const struct ruling nothing = {.problem = P_COUNT, .fate = FATE_NOTHING};

/* As the problem table's action column says. */
static struct ruling as_usual(enum problem_id problem)
{
	return (struct ruling){.problem = problem, .fate = problems[problem].action};
}

static struct ruling left(enum problem_id problem, const char *why)
{
	return (struct ruling){.problem = problem, .fate = FATE_LEFT, .why = why};
}

bool policy_applies(enum mode mode, enum harm harm)
{
	/* boot does what repair does: who starts containerd afterwards cannot be asked */
	static const bool table[MODE_KINDS][HARM_KINDS] = {
		[MODE_LOOK] = {false},
		[MODE_REPAIR] = {[HARM_STALE] = true, [HARM_TORN] = true, [HARM_LOST] = true},
		[MODE_BOOT] = {[HARM_STALE] = true, [HARM_TORN] = true, [HARM_LOST] = true},
	};
	return table[mode][harm];
}

bool policy_writes(enum mode mode)
{
	bool any = false;

	for (int harm = 0; harm < (int)HARM_KINDS; harm++)
		any |= policy_applies(mode, (enum harm)harm);
	return any;
}

enum owner policy_owner(const struct snapshot_facts *f)
{
	if (f->committed)
		return f->chain ? OWNER_IMAGE : OWNER_USER;
	return f->extract ? OWNER_UNPACKING : f->kubernetes && f->after_boot ? OWNER_KUBELET : OWNER_USER;
}

/* meta.db does not know it: nothing can reach it. containerd would remove it; what may be a person's is not ours to remove. */
static struct ruling backend_only(const struct backend_facts *f)
{
	if (policy_owner(&f->it) != OWNER_USER)
		return as_usual(P_SNAPSHOT_BACKEND_ONLY);
	if (f->it.committed || f->content == IS_NOT_EMPTY)
		return as_usual(P_SNAPSHOT_UNVERIFIED);
	return as_usual(f->content == IS_EMPTY ? P_SNAPSHOT_BACKEND_ONLY : P_SNAPSHOT_UNCHECKED);
}

struct ruling policy_backend(const struct backend_facts *f)
{
	static const char users[] = "nothing safe can be done about it";
	const bool may_go = policy_owner(&f->it) != OWNER_USER;
	struct ruling r = nothing;

	if (f->foreign)
		return r; /* nothing is promised about it */
	if (!f->in_meta)
		return backend_only(f);
	if (f->parent_gone)
		r = as_usual(P_PARENT_MISSING);
	else if (f->lost)
		r = as_usual(P_SNAPSHOT_LOSSY);
	else if (!f->it.committed && f->it.extract)
		return f->it.after_boot ? as_usual(P_EXTRACT_STALE) : nothing; /* a pull may be at it */
	else if (!f->it.committed && f->no_directory)
		r = as_usual(P_ACTIVE_DIR);
	return r.problem == P_COUNT || may_go ? r : left(r.problem, users);
}

struct ruling policy_meta_only(const struct snapshot_facts *f, bool users_stands_on_it)
{
	/* meta.db does not say whether it was committed: a key that is a digest is an image's */
	const struct snapshot_facts it = {.committed = f->chain,
		.chain = f->chain,
		.extract = f->extract,
		.kubernetes = f->kubernetes,
		.after_boot = f->after_boot};
	const enum owner owner = policy_owner(&it);
	const enum problem_id problem = owner == OWNER_UNPACKING ? P_EXTRACT_STALE : P_SNAPSHOT_META_ONLY;

	return owner == OWNER_USER || users_stands_on_it ? left(problem, "it may be a container's own layer, or one stands on it")
							 : as_usual(problem);
}

struct ruling policy_lease(const struct lease_facts *f)
{
	/* one without an end is a user's; ours holds what the next pull is to find */
	if (!f->expires || f->ours || !f->after_boot)
		return nothing;
	return f->holds_snapshots && f->some_unread
		       ? left(P_LEASE_STALE, "it may keep what was unpacked: not all manifests could be read")
		       : as_usual(P_LEASE_STALE);
}

struct ruling policy_partial(bool after_boot, uint64_t settled, uint64_t size)
{
	if (settled)
		return as_usual(settled < size ? P_INGEST_CUT_BACK : P_INGEST_RESUMES);
	return as_usual(after_boot ? P_INGEST_PARTIAL : P_INGEST_KEPT);
}

struct ruling policy_download_record(bool after_boot)
{
	return after_boot ? as_usual(P_INGEST_RECORD_ONLY) : nothing;
}

const char *policy_holds(const struct bytes_facts *f)
{
	return f->stuck		  ? "it has the bytes of a blob that could not be put into place"
	       : !f->held	  ? NULL
	       : !f->read	  ? "it was not read, and something that is missing may be in it"
	       : f->wants_unknown ? "not all that may name its bytes could be read"
				  : "it has the bytes of a blob that could not be read";
}

const char *policy_cri_stays(bool nothing_runs)
{
	/* where nothing runs, kubelet removes what it finds of them and makes them anew; a task that runs may still be of use */
	return nothing_runs ? NULL : "its containers may run, and containerd know better";
}

struct ruling policy_cri_status(bool after_boot)
{
	/* in the same boot the container may still run, and its task would tell how it is */
	return after_boot ? as_usual(P_CRI_STATUS)
			  : left(P_CRI_STATUS, "containerd may have run since the machine started, and know better");
}

struct ruling policy_name(const struct name_facts *f)
{
	/* a pull of it may be under way, or its files elsewhere: whoever asks for it will tell */
	if (!f->damaged && (!f->kubernetes || f->by_config || f->only_layers))
		return nothing;
	if (f->records_stay)
		return left(P_IMAGE_INCOMPLETE, "a pull would say done and repair nothing");
	if (!f->kubernetes || f->by_config)
		return as_usual(P_IMAGE_INCOMPLETE);
	/* what this run has lost is known to be gone; what was incomplete before may be what somebody is at */
	return f->pinned && f->imported ? left(P_IMAGE_INCOMPLETE,
						  "it is pinned and was imported, and no registry may have it: import it again")
	       : f->damaged		? as_usual(P_IMAGE_INCOMPLETE)
	       : f->unseen		? left(P_IMAGE_INCOMPLETE,
				  "what it lacks may lie in the store: not all that may hold it could be read")
	       : f->may_be_at_work ? left(P_IMAGE_INCOMPLETE, f->may_be_at_work)
				   : as_usual(P_IMAGE_INCOMPLETE);
}
