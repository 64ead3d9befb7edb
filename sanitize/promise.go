package sanitize

// promise is what all results of a binding have in common, for the constraints of the column. The zero value promises
// nothing.
type promise struct {
	// shortest and longest bound the length of results in characters; longest 0 means that it is not known.
	shortest, longest int
	// sameLength says that a result has as many characters as its value, notLonger that it has at most as many.
	sameLength, notLonger bool
	// ascii says that results are printable ASCII.
	ascii bool
	// least and most bound numbers; bounded says that they are set.
	bounded     bool
	least, most float64
}
