package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

// suite runs the tests with what pgtest shares.
type suite struct{ m *testing.M }

func (s suite) Run() int { return pgtest.Run(s.m) }

// TestMain puts a program named mayfly first in PATH that is this test binary running main: the scripts in testdata use
// it, and exec.Command("mayfly", …) in a test is a process of its own that can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at the end of each process
	}
	testscript.Main(suite{m}, map[string]func(){"mayfly": main, "mayfly-killed": killedMain})
}
