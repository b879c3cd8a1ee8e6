/* SPDX-License-Identifier: MIT */
/* The two tables of evidence.c, row by row, and what no fact may do. */
#include "policy/evidence.h"

#include "test.h"

static void kinship(void)
{
	static const struct {
		struct kinship facts;
		bool kin;
		const char *what;
	} rows[] = {
		{{.missing = 0}, true, "a new store, or one whose snapshots were all removed"},
		{{.missing = 0, .shared = 9}, true, "a healthy store"},
		{{.missing = 0, .ahead = true}, true, "a prepare of which only the directory is left"},
		{{.missing = 3, .newer = 3, .nothing = true}, true, "an empty database: said elsewhere"},
		{{.missing = 2, .newer = 2}, false, "root_path was set after a first start with an image that was removed again"},
		{{.missing = 1, .newer = 1}, false, "the same, with one layer"},
		{{.missing = 1, .newer = 0}, false, "a record nobody made here"},
		{{.missing = 2, .newer = 2, .shared = 2}, false, "the same, with an image that was kept"},
		{{.missing = 1, .newer = 1, .shared = 2}, false, "the same, with one layer and an image that was kept"},
		{{.missing = 1, .newer = 0, .shared = 2}, true, "a record that was lost while the database went on"},
		{{.missing = 5, .newer = 0, .shared = 1}, true, "several"},
		{{.missing = 1, .newer = 1, .shared = 1, .ahead = true}, true, "the last transaction was lost"},
		{{.missing = 4, .newer = 1, .shared = 3, .ahead = true}, true, "that, and older ones"},
		{{.missing = 2, .newer = 2, .shared = 3, .ahead = true}, false, "more than one transaction can hold"},
		{{.missing = 3, .newer = 3, .shared = 2, .behind = true}, true, "it has gone back, its directories have not"},
		{{.missing = 3, .newer = 3, .behind = true}, false, "that, of a database with nothing in common"},
		{{.missing = 1, .newer = 1, .ahead = true}, true, "the first one after all were removed was lost"},
		{{.missing = 2, .newer = 1, .ahead = true}, false, "that, and others that nothing is known of"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (evidence_is_kin(&rows[i].facts) != rows[i].kin)
			printf("# %s\n", rows[i].what);
		CHECK(evidence_is_kin(&rows[i].facts) == rows[i].kin);
	}
}

static void boot(void)
{
	static const struct {
		struct boot_facts facts;
		enum boot_proof proof;
	} rows[] = {
		{{.all_seen = false}, PROOF_NONE},
		{{.all_seen = true}, PROOF_NONE}, /* nothing is there of any containerd: that alone proves nothing */
		{{.state_known = true}, PROOF_NONE}, /* not every process could be looked at */
		{{.state_known = true, .all_seen = true}, PROOF_NO_STATE},
		{{.state_known = true, .all_seen = true, .state_there = true}, PROOF_NONE},
		{{.state_known = true, .all_seen = true, .shims = true}, PROOF_NONE},
		{{.state_known = true, .all_seen = true, .held = true}, PROOF_NONE},
		{{.state_known = true, .all_seen = true, .written = true}, PROOF_NONE},
		{{.state_known = true, .all_seen = true, .mounted = true}, PROOF_IN_USE},
		{{.first_boot = true}, PROOF_FIRST_BOOT},
		{{.first_boot = true, .state_there = true}, PROOF_NONE},
		{{.first_boot = true, .shims = true}, PROOF_NONE},
		{{.first_boot = true, .held = true}, PROOF_NONE},
		{{.first_boot = true, .written = true}, PROOF_NONE},
		{{.journal_says = true, .state_there = true, .shims = true, .held = true, .written = true}, PROOF_JOURNAL},
		{{.journal_says = true, .mounted = true}, PROOF_IN_USE},
		{{.told = true, .state_there = true, .shims = true, .held = true, .written = true}, PROOF_TOLD},
		{{.told = true, .mounted = true}, PROOF_IN_USE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (evidence_of_boot(&rows[i].facts) != rows[i].proof)
			printf("# row %zu\n", i);
		CHECK(evidence_of_boot(&rows[i].facts) == rows[i].proof);
	}
}

/* All 1024: without a positive proof nothing is proved, and nothing that speaks against it adds a proof. */
static void no_fact_makes_it_bolder(void)
{
	for (unsigned bits = 0; bits < 1024; bits++) {
		struct boot_facts f = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16, bits & 32, bits & 64, bits & 128, bits & 256,
			bits & 512};
		const enum boot_proof before = evidence_of_boot(&f);
		const bool proved = before >= PROOF_TOLD;
		CHECK(!proved || f.told || f.journal_says || f.first_boot || (f.state_known && f.all_seen));
		CHECK(!(proved && f.mounted));
		bool *const against[] = {&f.mounted, &f.state_there, &f.shims, &f.held, &f.written};
		for (size_t i = 0; i < sizeof(against) / sizeof(against[0]); i++) {
			const bool was = *against[i];
			*against[i] = true;
			CHECK(evidence_of_boot(&f) < PROOF_TOLD || proved);
			*against[i] = was;
		}
		const bool seen = f.all_seen;
		f.all_seen = false;
		CHECK(evidence_of_boot(&f) < PROOF_TOLD || proved);
		f.all_seen = seen;
	}
}

int main(void)
{
	RUN(kinship);
	RUN(boot);
	RUN(no_fact_makes_it_bolder);
	return test_failed != 0;
}
