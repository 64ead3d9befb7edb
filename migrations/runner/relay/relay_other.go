//go:build !linux

package relay

import (
	"context"
	"fmt"
	"os"
)

// Run is the relay's whole life. Runner containers are Linux.
func Run(context.Context, string) int {
	fmt.Fprintln(os.Stderr, "mayfly relay: it runs on Linux only")
	return 70
}
