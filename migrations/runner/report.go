package runner

// Report says how a run of the project's own command went. Its JSON form is part of the external contract.
type Report struct {
	Command []string `json:"command"`
	Image   string   `json:"image"`
	// ExitCode is that of the command, 128 and the signal's number if one killed it; -1 if it was not started or did not end.
	ExitCode int    `json:"exit_code"`
	Signal   string `json:"signal,omitempty"`
	// DurationMS is the time from the start of the container to its end, CPUMS the processor time of the command.
	DurationMS float64 `json:"duration_ms"`
	CPUMS      float64 `json:"cpu_ms,omitempty"`
	// MaxRSSBytes is the most that one of its processes had in memory.
	MaxRSSBytes int64 `json:"max_rss_bytes,omitempty"`
	// WALBytes is how much was written to the write-ahead log of the preview meanwhile.
	WALBytes int64 `json:"wal_bytes"`
	// Log is the end of what the command printed, on both streams, with secrets replaced. Truncated says that something
	// before it is left out.
	Log       string `json:"log"`
	Truncated bool   `json:"truncated,omitempty"`
	// Errors are the last errors that PostgreSQL reported to the command, also those that it handled.
	Errors []ServerError `json:"errors,omitempty"`
	// Refused is what the command asked for and could not have: other roles and databases, hosts that are not allowed.
	Refused []string `json:"refused,omitempty"`
	// LeftOut are symbolic links of the repository that lead out of it, and are not in the checkout.
	LeftOut []string `json:"left_out,omitempty"`
	// Skipped says why the command was not run; "" if it was.
	Skipped string `json:"skipped,omitempty"`
}
