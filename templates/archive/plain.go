package archive

import "context"

func readPlain(context.Context, store) (*Archive, error) { return nil, restoreFirst("it is a script") }
