package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

// suite runs the tests with what pgtest shares.
type suite struct{ m *testing.M }

// Run keeps commands that run in this process away from the contexts and the requests of whoever runs the tests.
func (s suite) Run() int {
	home, err := os.MkdirTemp("", "mayfly-home-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	_, _ = os.Setenv("XDG_CONFIG_HOME", home), os.Setenv("XDG_CACHE_HOME", home)
	return pgtest.Run(s.m)
}

// TestMain puts a program named mayfly first in PATH that is this test binary running main: the scripts in testdata use
// it, and exec.Command("mayfly", …) in a test is a process of its own that can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at the end of each process
	}
	testscript.Main(suite{m}, map[string]func(){"mayfly": main, "mayfly-killed": killedMain})
}
