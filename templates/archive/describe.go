package archive

import "errors"

// described is an error about an archive whose header could be read.
type described struct {
	error
	header Header
}

func (e *described) Unwrap() error { return e.error }

// HeaderOf returns the header of the archive that an error of Open is about, if that could be read.
func HeaderOf(err error) (Header, bool) {
	var e *described
	if errors.As(err, &e) {
		return e.header, true
	}
	return Header{}, false
}
