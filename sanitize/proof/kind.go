package proof

// Kinds of places. What has no kind of its own here is a kind of catalog entry: "comment", "function", "policy".
const (
	KindColumn     = "column"
	KindIndex      = "index expression"
	KindStatistics = "statistics of"
	KindObject     = "large object"
	KindFile       = "file"
)
