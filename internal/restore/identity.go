package restore

import (
	"maps"
	"slices"
	"time"

	"cognito-backup/internal/pool"
)

// This file is the one place that decides who is the same person. A restore
// gives memberships, flags and links to nobody else.
//
// A user of the restore point makes claims, a user of the target holds proofs;
// they are the same person if a claim and a proof have the same value. Any
// other likeness, a freed username that somebody registered or an address that
// nobody verified, is a conflict.

// Proof is why two users are the same person, strongest first: where a user of
// the target could be two people of the restore point, the stronger counts.
type Proof uint8

// The proofs. NoProof is none.
const (
	NoProof           Proof = iota
	ProofSub                // the same sub: it is the very user
	ProofRecorded           // the new sub that an earlier import recorded for the old one
	ProofSubAttribute       // an immutable attribute that only administrators set holds the old sub
	ProofFederated          // the same federated username
	ProofVerified           // a sign-in attribute that is verified in the target
	ProofUsername           // the same username, given out by an administrator
)

// token is a claim or a proof: what kind of evidence and its value.
type token struct {
	Proof Proof
	Value string
}

// claims are what a user of the restore point can be recognized by. newSub is
// what an earlier import recorded, "" if none did.
func (r *Rules) claims(u *pool.User, newSub string) []token {
	claims := []token{{ProofSub, "sub:" + u.Sub}}
	if newSub != "" {
		claims = append(claims, token{ProofRecorded, "sub:" + newSub})
	}
	if r.subAttributeProves() {
		claims = append(claims, token{ProofSubAttribute, "old:" + u.Sub})
	}
	if u.Status == pool.ExternalProvider {
		return append(claims, token{ProofFederated, "federated:" + u.Username})
	}
	for _, name := range r.Target.signInAttributes() {
		value := u.Attributes[name]
		// An address that was not verified in the source counts only if it was
		// what the user signed in by: elsewhere anybody may have entered it.
		if value != "" && (verified(u, name) || r.signInName(u) == value) {
			claims = append(claims, token{ProofVerified, name + ":" + r.Target.fold(value)})
		}
	}
	if r.closed() && !r.Target.generatedUsernames() {
		// Which of the addresses the user of the target has verified is not known
		// here: one claim for each choice.
		names := []string{r.username(u)}
		for _, name := range verifiable {
			if u.Attributes[name] == "" {
				continue
			}
			for _, known := range names[:len(names):len(names)] {
				names = append(names, known+r.address(u, name))
			}
		}
		for _, name := range names {
			claims = append(claims, token{ProofUsername, name})
		}
	}
	return claims
}

// proofs are what a user of the target proves.
func (r *Rules) proofs(u *pool.User) []token {
	proofs := []token{{ProofSub, "sub:" + u.Sub}}
	if old := u.Attributes[r.SubAttribute]; old != "" && r.subAttributeProves() && r.byAdministrator(u) {
		proofs = append(proofs, token{ProofSubAttribute, "old:" + old})
	}
	if u.Status == pool.ExternalProvider {
		return append(proofs, token{ProofFederated, "federated:" + u.Username})
	}
	for _, name := range r.Target.signInAttributes() {
		if verified(u, name) {
			proofs = append(proofs, token{ProofVerified, name + ":" + r.Target.fold(u.Attributes[name])})
		}
	}
	if !r.Target.generatedUsernames() && r.byAdministrator(u) {
		// A verified address that is not the person's is somebody else's: it is
		// part of the proof.
		name := r.username(u)
		for _, attribute := range verifiable {
			if verified(u, attribute) {
				name += r.address(u, attribute)
			}
		}
		proofs = append(proofs, token{ProofUsername, name})
	}
	return proofs
}

func (r *Rules) username(u *pool.User) string { return "username:" + r.Target.fold(u.Username) }

func (r *Rules) address(u *pool.User, name string) string {
	return "\x00" + name + ":" + r.Target.fold(u.Attributes[name])
}

// subAttributeProves says that the sub attribute cannot be changed. Whoever
// signs up may set it all the same, so that it proves only of users who did not.
func (r *Rules) subAttributeProves() bool {
	a, ok := r.Target.Schema[r.SubAttribute]
	return r.SubAttribute != "" && ok && !a.Mutable
}

// byAdministrator says that the user of the target cannot have signed up: that
// sign-up is closed now is not enough, as it may have been closed after somebody
// took a freed name. Either the settings are as they were when the user was
// created, by Cognito's own clock, or the backup knows the pool and has never
// seen it open.
func (r *Rules) byAdministrator(u *pool.User) bool {
	return r.closed() && u.Status != pool.Unconfirmed &&
		(r.AlwaysClosed || r.Target.Modified.Equal(r.Target.Created) || u.Created.Sub(r.Target.Modified) >= clockError)
}

// clockError is how far apart two times of a pool have to be to tell which came
// first: they come from different machines, and AWS promises neither in a finer
// unit than the second.
const clockError = time.Second

// closed says that nobody signs up, and that it is known since when.
func (r *Rules) closed() bool {
	return !r.Target.SelfSignUp && (r.AlwaysClosed || !r.Target.Modified.IsZero())
}

// SamePerson says why a user of the restore point and a user of the target are
// the same person, NoProof if nothing proves it.
func (r *Rules) SamePerson(source *pool.User, newSub string, target *pool.User) Proof {
	best := NoProof
	for _, claim := range r.claims(source, newSub) {
		for _, proof := range r.proofs(target) {
			if claim.Value == proof.Value && (best == NoProof || claim.Proof < best) {
				best = claim.Proof
			}
		}
	}
	return best
}

// names are what only one user of the target can hold: a user whose name is
// taken by somebody else cannot be created.
func (r *Rules) names(u *pool.User, username string) []string {
	if !r.Target.generatedUsernames() {
		return []string{"username:" + r.Target.fold(username)}
	}
	var held []string
	for _, name := range r.Target.UsernameAttributes {
		if value := u.Attributes[name]; value != "" {
			held = append(held, name+":"+r.Target.fold(value))
		}
	}
	return held
}

// Ours says that a user of the target can only have been created by an import
// that set out to create source at or after since: nobody reaches these states
// by signing up, and everything else is as the import writes it.
func (r *Rules) Ours(source, target *pool.User, since time.Time) bool {
	if !reachableByImportOnly(target, since) || !maps.Equal(r.comparable(source), r.comparable(target)) {
		return false
	}
	return r.Target.generatedUsernames() || r.Target.fold(source.Username) == r.Target.fold(target.Username)
}

// reachableByImportOnly says that the user was created at or after since and is
// in a state that nobody reaches by signing up.
func reachableByImportOnly(u *pool.User, since time.Time) bool {
	return (u.Status == pool.ResetRequired || u.Status == pool.ForceChangePassword) && !u.Created.Before(since)
}

// clockSkew is how much Cognito's clock and that of Step Functions may differ.
const clockSkew = time.Minute

// differences names the attributes in which a restored user is not as in the
// restore point.
func (r *Rules) differences(source, target *pool.User) []string {
	want, have := r.comparable(source), r.comparable(target)
	var different []string
	for name, value := range want {
		if have[name] != value {
			different = append(different, name)
		}
	}
	for name := range have {
		if _, wanted := want[name]; !wanted {
			different = append(different, name)
		}
	}
	if source.Enabled != target.Enabled {
		different = append(different, "enabled")
	}
	slices.Sort(different)
	return different
}
