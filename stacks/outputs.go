package stacks

// createOutputs prints where to look and what to paste.
func (s *site) createOutputs() {}
