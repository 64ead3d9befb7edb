package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func connect() (context.Context, *client.Client) {
	c, err := client.New(os.Getenv("MAYFLY_SERVER"), os.Getenv("MAYFLY_TOKEN"), nil)
	if err != nil {
		log.Fatal(err)
	}
	return context.Background(), c
}

// A sandbox, from asking for it to its connection string.
func ExampleClient_CreatePreview() {
	ctx, c := connect()
	p, err := c.CreatePreview(ctx, client.CreatePreview{Project: "shop", Name: "trial", TTL: "2d", Labels: map[string]string{"ticket": "4711"}})
	if err != nil {
		log.Fatal(err)
	}
	if p, err = c.WaitReady(ctx, p.Name, ""); err != nil {
		log.Fatal(err)
	}
	if p.Failure != nil {
		log.Fatal(p.Failure.Message)
	}
	credentials, err := c.Credentials(ctx, p.Name)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(credentials.Host, credentials.Port, credentials.Database)
}

// The preview of a pull request at exactly one commit, also if the webhook is slower than the job that asks.
func ExampleClient_WaitReady() {
	ctx, c := connect()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	p, err := c.WaitReady(ctx, "shop-pr-42", os.Getenv("GITHUB_SHA"))
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeTimeout:
		log.Fatal("it takes too long")
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(p.State)
}

// All previews that somebody made, the ones that were not used for longest first.
func ExampleClient_Previews() {
	ctx, c := connect()
	for p, err := range c.Previews(ctx, client.ListOptions{Project: "shop", Kind: "sandbox", CreatedBy: "github:alice", Sort: "last_used"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Name, p.State)
	}
}

// The steps of a preview as they happen.
func ExampleClient_FollowPreview() {
	ctx, c := connect()
	err := c.FollowPreview(ctx, "shop-pr-42", func(p *client.Preview) bool {
		fmt.Println(p.State, len(p.Steps))
		return !p.Settled
	})
	if err != nil {
		log.Fatal(err)
	}
}

// A state to return to, and a second preview from it.
func ExampleClient_CreateSnapshot() {
	ctx, c := connect()
	snapshot, err := c.CreateSnapshot(ctx, "shop-trial", client.CreateSnapshot{Name: "before-import", Keep: true, TTL: "30d"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.CreatePreview(ctx, client.CreatePreview{Project: "shop", Name: "again", Snapshot: snapshot.ID}); err != nil {
		log.Fatal(err)
	}
}

// A change only if nobody else changed the preview meanwhile.
func ExampleIfMatch() {
	ctx, c := connect()
	p, err := c.Preview(ctx, "shop-trial")
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.ChangePreview(ctx, p.Name, client.ChangePreview{TTL: "7d"}, client.IfMatch(p.ETag))
	if mayfly.ErrorCode(err) == mayfly.CodePrecondition {
		fmt.Println("somebody was faster")
	}
}
