package restore

// Codes of reasons, as in the results of chunks, in dead-letter messages and in
// the report. Each has its sentence in reasonTexts.
const (
	ReasonFederated         = "FEDERATED"
	ReasonNoSignInName      = "NO_SIGN_IN_NAME"
	ReasonUnconfirmed       = "UNCONFIRMED"
	ReasonNoVerifiedAddress = "NO_VERIFIED_ADDRESS"
	ReasonNoCSV             = "NO_CSV_IMPORT"
	ReasonNoAutoVerified    = "NOT_AUTO_VERIFIED"
	ReasonNotCSV            = "NOT_EXPRESSIBLE_IN_CSV"
	ReasonJobLeftOut        = "CSV_JOB_LEFT_OUT"
	ReasonNameTaken         = "NAME_TAKEN"
	ReasonAddressTaken      = "ADDRESS_TAKEN"
	ReasonAmbiguous         = "AMBIGUOUS"
	ReasonInvalid           = "INVALID_FOR_TARGET"
	ReasonTrigger           = "TRIGGER_REFUSED"
	ReasonTriggerFailed     = "TRIGGER_FAILED"
	ReasonRefused           = "REFUSED"
	ReasonNotFound          = "NOT_FOUND_AFTERWARDS"
	ReasonNotReached        = "NOT_REACHED"
	ReasonDiffers           = "DIFFERS"
	ReasonGroupMissing      = "GROUP_MISSING"
	ReasonUserMissing       = "USER_MISSING"
	ReasonNoProvider        = "PROVIDER_MISSING"
	ReasonLinkTaken         = "IDENTITY_LINKED_ELSEWHERE"
	ReasonImmutable         = "IMMUTABLE_ATTRIBUTE"
	ReasonUnreadable        = "IDENTITIES_UNREADABLE"
	ReasonLimit             = "LIMIT_EXCEEDED"
	ReasonNoPermission      = "NO_PERMISSION"
	ReasonPassword          = "PASSWORD_REFUSED"
)

// reasonText says what a reason means and what to do.
type reasonText struct{ What, Do string }

var reasonTexts = map[string]reasonText{
	ReasonFederated:         {"Federated user: Cognito creates it at the next sign-in through the provider.", "Let the user sign in, then run an import with \"Mode\": \"MISSING_ONLY\", which adds the groups."},
	ReasonNoSignInName:      {"The user has neither an e-mail address nor a phone number that the target takes as a username.", "Create the user by hand, or restore into a pool whose sign-in settings are those of the source."},
	ReasonUnconfirmed:       {"The user had never confirmed the account.", "Send an invitation again: AdminCreateUser with MessageAction RESEND."},
	ReasonNoVerifiedAddress: {"The user has no verified address, so \"forgot password\" cannot work.", "Send an invitation again: AdminCreateUser with MessageAction RESEND."},
	ReasonNoCSV:             {"No CSV import was possible; the user was created by API.", "Nothing. Cognito bills users created by API as active this month."},
	ReasonNoAutoVerified:    {"The verified address is not one that the target verifies by itself; the user was created by API.", "Nothing. Cognito bills users created by API as active this month."},
	ReasonNotCSV:            {"A value cannot be written in a CSV file; the user was created by API.", "Nothing. Cognito bills users created by API as active this month."},
	ReasonJobLeftOut:        {"The CSV import job skipped or failed the user; the user was created by API.", "Nothing. Cognito bills users created by API as active this month."},
	ReasonNameTaken:         {"Somebody else who is not provably the same person holds the username in the target.", "Find out who holds it. If it is the same person, verify the address or add the memberships by hand; if not, delete that user, or take the address away from it if that is the name, and import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonAddressTaken:      {"Another user of the target holds the verified address as an alias.", "Find out who holds it, then remove the address there and import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonAmbiguous:         {"More than one user could be the same person.", "Decide which one it is and add what is missing by hand."},
	ReasonInvalid:           {"The target refuses a value of this record.", "Compare the record with the target's schema and create it by hand."},
	ReasonTrigger:           {"A Lambda trigger of the target refused the user.", "Take the PreSignUp or CustomMessage trigger off the pool and import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonTriggerFailed:     {"A Lambda trigger of the target failed or answered nonsense, in each round.", "Mend the PreSignUp or CustomMessage trigger or take it off the pool, and import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonRefused:           {"Cognito refused the call.", "Look at the code and import with \"Mode\": \"MISSING_ONLY\" when it is mended."},
	ReasonNotFound:          {"The record is not in the target, though it was written.", "Import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonNotReached:        {"The import ended before it came to this record.", "Start it again with the same input and \"Mode\": \"MISSING_ONLY\"; it goes on from there."},
	ReasonDiffers:           {"The record is in the target, but not as in the restore point.", "Somebody or something changed it during the import; the report names what differs. Mend it by hand."},
	ReasonGroupMissing:      {"The group is not in the target.", "Create the group if it is still missing, then import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonUserMissing:       {"The user is not in the target.", "Look at what became of the user."},
	ReasonNoProvider:        {"The target lacks the identity provider.", "Create the provider, then import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonLinkTaken:         {"The federated identity already belongs to a user of the target.", "Find out to whom; link it by hand with AdminLinkProviderForUser."},
	ReasonImmutable:         {"Cognito links no federated identity to a user who holds an attribute that cannot be changed.", "Nothing helps this user but creating it again without the attribute; a mutable SubAttribute avoids it."},
	ReasonUnreadable:        {"The user's linked identities cannot be read in the backup, or not all of them; these were not linked.", "Look at the attribute identities of the user's record, and link the user by hand with AdminLinkProviderForUser."},
	ReasonLimit:             {"A quota of the target is used up.", "Ask for a higher quota, then import with \"Mode\": \"MISSING_ONLY\"."},
	ReasonPassword:          {"The user is back, but Cognito refused the random password without which \"forgot password\" does not work.", "Send an invitation again: AdminCreateUser with MessageAction RESEND."},
	ReasonNoPermission:      {"A permission is missing, perhaps to pass the group's role.", "Grant it, then import with \"Mode\": \"MISSING_ONLY\"."},
}
