package stacks

// createMonitoring makes the alarms and the dashboard of this Region.
func (s *site) createMonitoring() {}
