package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// testForTest checks client.ForTest against the service: tests at the same time have databases of their own, which are gone after them.
func (s *service) testForTest(t *testing.T) {
	t.Parallel()
	names := make(chan string, 8)
	t.Run("tests", func(t *testing.T) {
		for i := range 3 {
			t.Run(fmt.Sprintf("At the same time/%d, with a name that is long enough to be cut", i), func(t *testing.T) {
				t.Parallel()
				db := client.ForTest(t, client.OnServer(s.url, s.token), client.InProject("shop"))
				names <- db.Preview.Name
				if left := time.Until(*db.Preview.ExpiresAt); left > time.Hour || db.Preview.Labels["test"] != t.Name() {
					t.Errorf("it lives for %s more, and is labelled %v", left, db.Preview.Labels)
				}
				conn, err := pgx.Connect(t.Context(), db.URL)
				check(t, err)
				defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
				_, err = conn.Exec(t.Context(), "drop table customers")
				check(t, err)
			})
		}
		t.Run("from another", func(t *testing.T) {
			t.Parallel()
			first := client.ForTest(t, client.OnServer(s.url, s.token), client.InProject("shop"), client.LivesFor(10*time.Minute))
			conn, err := pgx.Connect(t.Context(), first.URL)
			check(t, err)
			_, err = conn.Exec(t.Context(), "create table mark ()")
			check(t, err)
			check(t, conn.Close(t.Context()))
			second := client.ForTest(t, client.OnServer(s.url, s.token), client.FromPreview(first.Preview.Name), client.InProject("shop"))
			names <- first.Preview.Name
			names <- second.Preview.Name
			conn, err = pgx.Connect(t.Context(), second.URL)
			check(t, err)
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			_, err = conn.Exec(t.Context(), "select from mark")
			check(t, err)
		})
	})
	c, err := client.New(s.url, s.token, nil)
	check(t, err)
	for range len(names) {
		name := <-names
		eventually(t, name+" is gone", func() bool {
			_, err := c.Preview(t.Context(), name)
			return mayfly.ErrorCode(err) == mayfly.CodeNotFound
		})
	}
	s.testForTestKilled(t, c)
}

// testForTestKilled: a run that is killed leaves a database that the server removes by itself.
func (s *service) testForTestKilled(t *testing.T, c *client.Client) {
	t.Helper()
	run := exec.Command(os.Args[0], "-test.run", "^TestForTestToBeKilled$")
	run.Env = append(os.Environ(), "MAYFLY_SERVER="+s.url, "MAYFLY_TOKEN="+s.token, "MAYFLY_PROJECT=shop", toBeKilled+"=1")
	if out, err := run.CombinedOutput(); err == nil || strings.Contains(string(out), "FAIL") {
		t.Fatalf("the run was not killed: %v\n%s", err, out)
	}
	list, err := c.ListPreviews(t.Context(), client.ListOptions{Labels: []string{"test=TestForTestToBeKilled"}})
	check(t, err)
	if len(list.Items) != 1 || list.Items[0].ExpiresAt == nil || time.Until(*list.Items[0].ExpiresAt) > 20*time.Minute {
		t.Fatalf("it left %+v", list.Items)
	}
	_, err = c.DeletePreview(t.Context(), list.Items[0].Name)
	check(t, err)
}

const toBeKilled = "MAYFLY_TEST_TO_BE_KILLED"

// TestForTestToBeKilled is what testForTestKilled runs.
func TestForTestToBeKilled(t *testing.T) {
	if os.Getenv(toBeKilled) == "" {
		t.Skip("it is run by another test")
	}
	client.ForTest(t, client.LivesFor(20*time.Minute))
	self, err := os.FindProcess(os.Getpid())
	check(t, err)
	check(t, self.Kill())
	select {}
}
