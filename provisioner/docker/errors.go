package docker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/docker/docker/client"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// connectionLost reports whether err, returned by the API client, says that there is no engine at the other end (any
// more): refused, no socket, no permission, or closed in the middle of a request.
func connectionLost(err error) bool {
	if client.IsErrConnectionFailed(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return true
	}
	var op *net.OpError // attaching dials by itself and does not classify
	return errors.As(err, &op)
}

// checkID refuses what driver.ValidID refuses.
func checkID(id string) error {
	if !driver.ValidID(id) {
		return fmt.Errorf("instance %q: %w", id, driver.ErrInvalidID)
	}
	return nil
}
