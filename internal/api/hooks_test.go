package api

import (
	"net/http"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

// TestHookDeliveries looks at the log of what receivers were told, a page at a time, and repeats an entry.
func TestHookDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Store.SetOutgoing(func(string, string) []string { return []string{"chat", "pager"} })
	p := b.pullRequest(1, strings.Repeat("a", 40))
	b.observe(p, mayfly.PreviewReady)
	b.observe(p, mayfly.PreviewDeleted)
	all := get[client.HookDeliveryList](b, "/hooks/deliveries?target=chat", "", http.StatusOK)
	if len(all.Items) != 2 || all.Items[0].Event != "preview.deleted" || all.Items[1].State != "waiting" || all.Items[1].NextAt == nil || all.Next != "" {
		t.Errorf("deliveries: %+v", all)
	}
	first := get[client.HookDeliveryList](b, "/hooks/deliveries?limit=3", "", http.StatusOK)
	second := get[client.HookDeliveryList](b, "/hooks/deliveries?limit=3&before="+first.Next, "", http.StatusOK)
	if len(first.Items) != 3 || len(second.Items) != 1 {
		t.Errorf("pages of %d and %d", len(first.Items), len(second.Items))
	}
	id := all.Items[1].ID
	b.refused(b.admin(), "POST /hooks/deliveries/"+id+"/redeliver", "", http.StatusConflict, mayfly.CodeConflict)
	_, err := b.pool.Exec(t.Context(), `update outgoing_delivery set state = 'failed', done_at = now() where id = $1`, id)
	must(t, err)
	if again := get[client.HookDelivery](b, "POST /hooks/deliveries/"+id+"/redeliver", "", http.StatusAccepted); again.State != "waiting" {
		t.Errorf("again: %+v", again)
	}
	b.refused(b.admin(), "POST /hooks/deliveries/none/redeliver", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "/hooks/deliveries?state=lost", "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	b.refused(b.admin(), "/hooks/deliveries?limit=0", "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	b.refused(b.token([]auth.Scope{auth.ScopePreviewsRead}), "/hooks/deliveries", "", http.StatusForbidden, mayfly.CodeForbidden)
}
