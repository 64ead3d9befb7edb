// Command program is the relay alone: small and quickly built, for tests. Mayfly itself is the relay by its hidden command.
package main

import (
	"context"
	"os"

	"github.com/mayflydb/mayfly/migrations/runner/relay"
)

func main() { os.Exit(relay.Run(context.Background(), os.Args[2])) }
