package stacks

// createImportWorkflow makes the state machine that restores users into a pool
// of this Region.
func (s *site) createImportWorkflow() {
	creating := s.flow(importWorkflow)
	creating.loop("ImportUsers", "import-users", "Creates users, by CSV import job where possible.", true, "UsersCreated")
	creating.leave("UsersCreated")

	updating := s.flow(importWorkflow)
	updating.loop("UpdateUsers", "update-users", "Groups; then memberships, disabled flags and links of users that exist by now.", true, "UsersUpdated")
	updating.leave("UsersUpdated")

	f := s.flow(importWorkflow)
	f.first("CheckStateMachine", "check-state-machine", "Takes the lease.", "CheckNewUserPool")
	f.loop("CheckNewUserPool", "check-new-user-pool", "All findings at once, before anything is written.", true, "ScanTable")
	f.loop("ScanTable", "scan-table", "Freezes the restore point, verifies it, queues users.", false, "DryRun?")
	f.states["DryRun?"] = state{Type: "Choice", Choices: []choice{{runDryRun, true, "VerifyImport"}}, Default: "RestoreUsers"}
	f.states["RestoreUsers"] = state{
		Type: "Parallel",
		Comment: "Side by side, because creating and updating draw on different quotas: " +
			"the restore takes as long as the slower of the two, not as long as both.",
		Branches: []definition{
			creating.definition("", "ImportUsers"),
			updating.definition("", "UpdateUsers"),
		},
		OutputPath: "$[0]",
		Next:       "VerifyImport",
	}
	f.loop("VerifyImport", "verify-import", "Compares record by record; what is missing is queued again, three rounds at most.",
		true, "SendMessage", choice{runAgain, true, "RestoreUsers"})
	f.task("SendMessage", "send-message", "Failures are told by the rule "+s.names.of("WorkflowFailed")+".", "")

	s.createWorkflow(importWorkflow,
		f.definition(`Restores users of `+s.params.PrimaryUserPoolID+` into a pool of `+s.region+
			`. Start with {"NewUserPoolId": "…"}.`, "CheckStateMachine"),
		[]string{"check-state-machine", "check-new-user-pool", "scan-table", "import-users",
			"update-users", "verify-import", "send-message"})
}
