/* SPDX-License-Identifier: MIT */
#include "policy/evidence.h"

/* containerd prepares and commits a snapshot in metadata.db first and in meta.db after it, each durably (containerd 2.3:
 * core/metadata/snapshot.go, createSnapshot and Commit), and numbers the keys of a namespace in the order in which they were made.
 * So the two differ by what a cut can do:
 *
 *   missing  shared  newer  ahead  nothing
 *   0        any     -      any    any      kin: metadata.db lacks nothing, whatever it has beside that
 *   some     any     any    any    yes      kin: it is empty, and what that means is said elsewhere (0106)
 *   some     0       1      yes    no       kin: the first snapshot after all were removed, its transaction lost
 *   some     0       else   any    no       not proved: an old metadata.db, of before root_path was set
 *   some     some    0      any    no       kin: it was written to after those were made, and still lacks them
 *   some     some    1      yes    no       kin: the last transaction was lost, the directory it had made was not
 *   some     some    else   any    no       kin if it is behind its own directories: it was in use with them and has gone back;
 *                                           else not proved: it stopped before they were made
 */
bool evidence_is_kin(const struct kinship *k)
{
	if (k->missing == 0 || k->nothing)
		return true;
	if (k->newer == 1 && k->ahead && (k->shared || k->missing == 1))
		return true;
	return k->shared && (k->newer == 0 || k->behind);
}

/*   mounted  told  journal_says  contradicted  first_boot  state_known and all_seen
 *   yes      any   any           any           any         any                       in use
 *   no       yes   any           any           any         any                       told
 *   no       no    yes           any           any         any                       by the journal
 *   no       no    no            yes           any         any                       unknown
 *   no       no    no            no            yes         any                       the first boot
 *   no       no    no            no            no          yes                       no state directory
 *   no       no    no            no            no          no                        unknown
 *
 * contradicted: there is a state directory, a shim's socket, a process with a file of the store open, or a database that was changed
 * since the machine started. The last is by the clock, which may be wrong: so it only ever takes a proof away. */
enum boot_proof evidence_of_boot(const struct boot_facts *f)
{
	const bool contradicted = f->state_there || f->shims || f->held || f->written;

	if (f->mounted)
		return PROOF_IN_USE;
	if (f->told)
		return PROOF_TOLD;
	if (f->journal_says)
		return PROOF_JOURNAL;
	if (contradicted)
		return PROOF_NONE;
	if (f->first_boot)
		return PROOF_FIRST_BOOT;
	return f->state_known && f->all_seen ? PROOF_NO_STATE : PROOF_NONE;
}
