/* SPDX-License-Identifier: MIT */
/* The tables of policy.c, row by row, and over all combinations of facts what none of them may do: let go what is a user's, or let
 * go more because less is known. */
#include "policy/policy.h"

#include "test.h"

#include <string.h>

static bool goes(struct ruling r)
{
	return r.problem != P_COUNT && (r.fate == FATE_REMOVE || r.fate == FATE_DROP);
}

/* A ruling that leaves something says why, and only such a one does; a note is no deed. */
static void check_shape(struct ruling r)
{
	CHECK((r.fate == FATE_LEFT) == (r.why != NULL));
	CHECK(r.problem != P_COUNT || r.fate == FATE_NOTHING);
	CHECK(r.problem == P_COUNT || r.fate == FATE_LEFT || r.fate == problems[r.problem].action);
}

/* What a person reads as the harm, and what is done, belong together: in every row of the problem table. */
static void actions(void)
{
	for (unsigned i = 0; i < P_COUNT; i++) {
		const enum fate a = problems[i].action;
		bool fits = false;
		switch (problems[i].harm) {
		case HARM_NOTE:
			fits = a == FATE_NOTHING;
			break;
		case HARM_STALE:
			fits = a == FATE_REMOVE;
			break;
		case HARM_TORN: /* bytes that are wrong beyond use go */
			fits = a == FATE_REPAIR || a == FATE_REMOVE;
			break;
		case HARM_LOST:
			fits = a == FATE_DROP;
			break;
		case HARM_UNCHECKED:
			fits = a == FATE_UNCHECKED;
			break;
		case HARM_HALT:
			fits = a == FATE_HALTED;
			break;
		case HARM_KINDS:
		default:
			break;
		}
		if (!fits)
			printf("# %s\n", problem_id((enum problem_id)i));
		CHECK(fits);
	}
}

static void modes(void)
{
	static const char *const applied[MODE_KINDS] = {[MODE_LOOK] = "", [MODE_REPAIR] = "STL", [MODE_BOOT] = "STL"};
	static const char letters[HARM_KINDS] = {[HARM_NOTE] = 'n', [HARM_STALE] = 'S', [HARM_TORN] = 'T', [HARM_LOST] = 'L',
		[HARM_UNCHECKED] = 'u', [HARM_HALT] = 'h'};

	for (int mode = 0; mode < (int)MODE_KINDS; mode++) {
		for (int harm = 0; harm < (int)HARM_KINDS; harm++)
			CHECK(policy_applies((enum mode)mode, (enum harm)harm) == (strchr(applied[mode], letters[harm]) != NULL));
		CHECK(policy_writes((enum mode)mode) == (mode != MODE_LOOK));
	}
}

static void owners(void)
{
	static const struct {
		struct snapshot_facts facts;
		enum owner owner;
		const char *what;
	} rows[] = {
		{{.committed = true, .chain = true}, OWNER_IMAGE, "a layer"},
		{{.committed = true}, OWNER_USER, "what a person committed"},
		{{.committed = true, .kubernetes = true, .after_boot = true}, OWNER_USER, "the same in k8s.io"},
		{{.committed = true, .extract = true}, OWNER_USER, "a name that only looks like an unpacking's"},
		{{.extract = true}, OWNER_UNPACKING, "a pull's"},
		{{.chain = true}, OWNER_USER, "somebody writes to it, whatever its name"},
		{{.kubernetes = true}, OWNER_USER, "a pod's, that may run"},
		{{.kubernetes = true, .after_boot = true}, OWNER_KUBELET, "a pod's of an earlier boot"},
		{{.after_boot = true}, OWNER_USER, "a container's of another client"},
		{{0}, OWNER_USER, "a container's"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (policy_owner(&rows[i].facts) != rows[i].owner)
			printf("# %s\n", rows[i].what);
		CHECK(policy_owner(&rows[i].facts) == rows[i].owner);
	}
}

static const struct snapshot_facts layer = {.committed = true, .chain = true}, container = {0}, unpacking = {.extract = true},
				   pod = {.kubernetes = true, .after_boot = true};

static void backends(void)
{
	const struct snapshot_facts old_unpacking = {.extract = true, .after_boot = true}, committed = {.committed = true};
	const struct {
		struct backend_facts facts;
		enum problem_id problem;
		enum fate fate;
	} rows[] = {
		{{.it = layer, .in_meta = true}, P_COUNT, FATE_NOTHING},
		{{.it = layer, .foreign = true, .parent_gone = true}, P_COUNT, FATE_NOTHING},
		{{.it = layer}, P_SNAPSHOT_BACKEND_ONLY, FATE_REMOVE},
		{{.it = unpacking}, P_SNAPSHOT_BACKEND_ONLY, FATE_REMOVE},
		{{.it = pod, .content = IS_NOT_EMPTY}, P_SNAPSHOT_BACKEND_ONLY, FATE_REMOVE},
		{{.it = committed, .content = IS_EMPTY}, P_SNAPSHOT_UNVERIFIED, FATE_NOTHING},
		{{.it = container, .content = IS_EMPTY}, P_SNAPSHOT_BACKEND_ONLY, FATE_REMOVE},
		{{.it = container, .content = IS_NOT_EMPTY}, P_SNAPSHOT_UNVERIFIED, FATE_NOTHING},
		{{.it = container, .content = MAY_BE_EMPTY}, P_SNAPSHOT_UNCHECKED, FATE_UNCHECKED},
		{{.it = layer, .in_meta = true, .parent_gone = true}, P_PARENT_MISSING, FATE_DROP},
		{{.it = container, .in_meta = true, .parent_gone = true}, P_PARENT_MISSING, FATE_LEFT},
		{{.it = layer, .in_meta = true, .lost = true}, P_SNAPSHOT_LOSSY, FATE_DROP},
		{{.it = committed, .in_meta = true, .lost = true}, P_SNAPSHOT_LOSSY, FATE_LEFT},
		{{.it = unpacking, .in_meta = true, .no_directory = true}, P_COUNT, FATE_NOTHING},
		{{.it = old_unpacking, .in_meta = true}, P_EXTRACT_STALE, FATE_REMOVE},
		{{.it = container, .in_meta = true, .no_directory = true}, P_ACTIVE_DIR, FATE_LEFT},
		{{.it = pod, .in_meta = true, .no_directory = true}, P_ACTIVE_DIR, FATE_DROP},
		{{.it = layer, .in_meta = true, .no_directory = true}, P_COUNT, FATE_NOTHING}, /* its layer may be here */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct ruling r = policy_backend(&rows[i].facts);
		if (r.problem != rows[i].problem || r.fate != rows[i].fate)
			printf("# row %zu\n", i);
		CHECK(r.problem == rows[i].problem && r.fate == rows[i].fate);
		check_shape(r);
	}
}

/* All of them. */
static void what_is_a_users_stays(void)
{
	for (unsigned bits = 0; bits < 1024; bits++)
		for (int content = 0; content <= (int)MAY_BE_EMPTY; content++) {
			struct backend_facts f = {{bits & 1, bits & 2, bits & 4, bits & 8, bits & 16}, bits & 32, bits & 64,
				(enum emptiness)content, bits & 128, bits & 256, bits & 512};
			const struct ruling r = policy_backend(&f);
			check_shape(r);
			CHECK(!goes(r) || policy_owner(&f.it) != OWNER_USER || (!f.in_meta && f.content == IS_EMPTY && !f.it.committed));
			CHECK(!goes(r) || !f.foreign);
			/* less known, never bolder */
			const bool went = goes(r);
			struct backend_facts less = f;
			less.it.after_boot = false;
			CHECK(!goes(policy_backend(&less)) || went);
			less = f;
			less.content = MAY_BE_EMPTY;
			CHECK(!goes(policy_backend(&less)) || went);
		}
	for (unsigned bits = 0; bits < 32; bits++) {
		const struct snapshot_facts f = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16};
		check_shape(policy_meta_only(&f, false));
		CHECK(!goes(policy_meta_only(&f, true)));
		CHECK(goes(policy_meta_only(&f, false)) == (f.chain || f.extract || (f.kubernetes && f.after_boot)));
	}
	CHECK(policy_meta_only(&unpacking, false).problem == P_EXTRACT_STALE);
	CHECK(policy_meta_only(&container, false).problem == P_SNAPSHOT_META_ONLY);
}

static void leases(void)
{
	for (unsigned bits = 0; bits < 32; bits++) {
		const struct lease_facts f = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16};
		const struct ruling r = policy_lease(&f);
		check_shape(r);
		CHECK((r.problem == P_LEASE_STALE) == (f.expires && !f.ours && f.after_boot));
		CHECK(goes(r) == (f.expires && !f.ours && f.after_boot && !(f.holds_snapshots && f.some_unread)));
	}
}

static void downloads(void)
{
	CHECK(policy_partial(false, 0, 9).problem == P_INGEST_KEPT && policy_partial(false, 0, 9).fate == FATE_NOTHING);
	CHECK(policy_partial(true, 0, 9).problem == P_INGEST_PARTIAL && policy_partial(true, 0, 9).fate == FATE_REMOVE);
	CHECK(policy_partial(true, 4, 9).problem == P_INGEST_CUT_BACK && policy_partial(true, 4, 9).fate == FATE_REPAIR);
	CHECK(policy_partial(true, 9, 9).problem == P_INGEST_RESUMES && policy_partial(true, 9, 9).fate == FATE_NOTHING);
	CHECK(policy_download_record(true).fate == FATE_REMOVE && !goes(policy_download_record(false)));
	for (unsigned bits = 0; bits < 16; bits++) {
		const struct bytes_facts f = {bits & 1, bits & 2, bits & 4, bits & 8};
		CHECK((policy_holds(&f) != NULL) == (f.stuck || f.held));
	}
}

static void containers(void)
{
	CHECK(policy_cri_stays(false) && !policy_cri_stays(true));
	CHECK(policy_cri_status(true).fate == FATE_REPAIR && policy_cri_status(false).fate == FATE_LEFT);
	check_shape(policy_cri_status(true));
	check_shape(policy_cri_status(false));
}

static void names(void)
{
	static const char at_work[] = "a pull may be at it";

	for (unsigned bits = 0; bits < 512; bits++) {
		const struct name_facts f = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16, bits & 32, bits & 64, bits & 128,
			bits & 256 ? at_work : NULL};
		const struct ruling r = policy_name(&f);
		const bool name_goes = goes(r) && f.kubernetes && !f.by_config;
		check_shape(r);
		CHECK(!name_goes || (!f.records_stay && !(f.pinned && f.imported)));
		CHECK(!name_goes || f.damaged || (!f.unseen && !f.may_be_at_work && !f.only_layers));
		/* what this run took from an image is told, and in k8s.io its name goes unless something is in the way */
		CHECK(!f.damaged || r.problem == P_IMAGE_INCOMPLETE);
		CHECK(!(f.damaged && f.kubernetes && !f.by_config && !f.records_stay && !(f.pinned && f.imported)) || name_goes);
		struct name_facts less = f;
		less.unseen = true;
		CHECK(!goes(policy_name(&less)) || goes(r));
		less = f;
		less.may_be_at_work = at_work;
		CHECK(!goes(policy_name(&less)) || goes(r));
	}
}

int main(void)
{
	RUN(actions);
	RUN(modes);
	RUN(owners);
	RUN(backends);
	RUN(what_is_a_users_stays);
	RUN(leases);
	RUN(downloads);
	RUN(containers);
	RUN(names);
	return test_failed != 0;
}
