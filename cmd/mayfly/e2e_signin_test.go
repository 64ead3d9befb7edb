package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/contexts"
)

// TestSignIn: somebody signs in with GitHub on the command line, uses what that gives for as long as it lasts and longer, looks at what a
// pull request changed, and signs out.
func TestSignIn(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{extra: "auth: {github: {client_id: Iv1.mayfly}}"})
	in.github.AllowSignIn("Iv1.mayfly")
	in.repo.SetRole("alice", "write")
	s := in.start(t, "")
	pr := in.open(t, "points")
	in.deliver(t, s, "d1", "opened", pr)
	preview := in.settled(t, pr)

	in.login(t, s.api, "alice")
	in.expect(t, exitDone, "github:alice at "+s.api, "whoami")
	in.expect(t, exitDone, preview.Name, "ls", "-q")
	in.expect(t, exitDone, "points", "diff", preview.Name)
	in.expect(t, exitDone, `"tool": "golang-migrate"`, "report", preview.Name)
	in.expect(t, exitDone, "db/migrations/2_points.up.sql   applied", "report", preview.Name, "-o", "table")
	in.expect(t, exitDone, "<!DOCTYPE html>", "report", preview.Name, "-o", "html")
	in.expect(t, exitDone, "postgres://app:", "url", preview.Name)

	// The access token has ended: the next command gets another, and the refresh token is good for once.
	dir := contexts.Dir(filepath.Join(in.dir, ".config", "mayfly"))
	name := contexts.NameFor(s.api)
	first, err := dir.Token(name)
	check(t, err)
	ended := *first
	ended.ExpiresAt = time.Now().Add(-time.Minute)
	check(t, dir.PutToken(name, ended))
	in.expect(t, exitDone, "github:alice", "whoami", "-q")
	second, err := dir.Token(name)
	check(t, err)
	if second.Access == first.Access || second.Refresh == first.Refresh || !second.Usable(time.Now()) || second.Subject != "github:alice" {
		t.Errorf("after the refresh: %v %v %v", second.Access != first.Access, second.Refresh != first.Refresh, second.ExpiresAt)
	}

	in.expect(t, exitDone, "signed out of", "logout")
	in.expect(t, exitDenied, "there is no token", "ls")
	check(t, dir.PutToken(name, contexts.Token{Access: second.Access, Refresh: second.Refresh, ExpiresAt: time.Now()}))
	in.expect(t, exitDenied, "not signed in", "ls")

	// Somebody who may nothing, and somebody who does not agree.
	in.refuse(t, s.api)
	s.stop(t)
}

// login runs mayfly login, and enters the code that it shows.
func (in *installation) login(t *testing.T, server, who string) {
	t.Helper()
	login, said := in.beginLogin(t, server)
	in.enter(t, said, func(code string) bool { return in.github.EnterCode(code, who) })
	if err := login.Wait(); err != nil || !strings.Contains(said.String(), "signed in to "+server+" as github:"+who) {
		t.Fatalf("login: %v\n%s", err, said)
	}
	info, err := os.Stat(filepath.Join(in.dir, ".config/mayfly/tokens", contexts.NameFor(server)+".json"))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the token has mode %v", info.Mode())
	}
}

func (in *installation) refuse(t *testing.T, server string) {
	t.Helper()
	login, said := in.beginLogin(t, server)
	in.enter(t, said, in.github.RefuseCode)
	if err := login.Wait(); err == nil || login.ProcessState.ExitCode() != exitDenied {
		t.Errorf("login that was refused: %v\n%s", err, said)
	}
}

func (in *installation) beginLogin(t *testing.T, server string) (*exec.Cmd, *output) {
	t.Helper()
	said := &output{}
	login := exec.CommandContext(t.Context(), "mayfly", "login", server)
	login.Env = append(os.Environ(), "HOME="+in.dir, "XDG_CONFIG_HOME=", "MAYFLY_TOKEN=")
	login.Stdout, login.Stderr = said, said
	check(t, login.Start())
	return login, said
}

func (in *installation) enter(t *testing.T, said *output, enter func(code string) bool) {
	t.Helper()
	shown := regexp.MustCompile(`and enter the code (\S+)`)
	eventually(t, "a code is shown", func() bool {
		match := shown.FindStringSubmatch(said.String())
		return match != nil && enter(match[1])
	})
}

// TestDoctorOfRepository: what GitHub lets Mayfly do, and whether deliveries arrive.
func TestDoctorOfRepository(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{extra: "external_url: 'http://127.0.0.1:1'"})
	find := func(check, text string) {
		t.Helper()
		_, out, said := in.command(t, "doctor", "--config", in.config, "-o", "json")
		var findings []finding
		if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&findings); err != nil {
			t.Fatalf("%v\n%s%s", err, out, said)
		}
		for _, f := range findings {
			if f.Check == check && strings.Contains(f.Detail, text) {
				if f.Status != "ok" && f.Fix == "" {
					t.Errorf("%s: %s has no fix", check, f.Detail)
				}
				return
			}
		}
		t.Errorf("doctor does not say %q of %s:\n%s", text, check, out)
	}
	find("project shop", "can be read")
	find("project shop", "no webhook of acme/shop to http://127.0.0.1:1/webhooks/github")
	find("external_url", "not reached from here")
	find("clock", "of GitHub's")
	find("clock", "of the state database's")
	find("certificate", "the gateway makes one for itself")
	find("limits", "open files")
	find("disk", "free for")
	in.repo.SetHook("http://127.0.0.1:1/webhooks/github")
	find("project shop", "there were no deliveries")
}
