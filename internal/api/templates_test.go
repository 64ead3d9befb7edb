package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func TestRollBackOverTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refused(b.admin(), "POST /projects/shop/templates/rollback", ``, http.StatusConflict, mayfly.CodeNoTemplate)
	one := b.template("shop")
	b.refused(b.admin(), "POST /projects/shop/templates/rollback", ``, http.StatusConflict, mayfly.CodeConflict)
	two := b.template("shop")
	for _, body := range []string{`{"to_version":-1}`, `{"to_version":"v1"}`, `{"reason":"a\u0000b"}`, `{"reason":"a\u001b[31mb"}`, `{"reason":"` + strings.Repeat("x", 501) + `"}`, `{"why":""}`} {
		b.refused(b.admin(), "POST /projects/shop/templates/rollback", body, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
	b.refused(b.admin(), "POST /projects/nothing/templates/rollback", ``, http.StatusNotFound, mayfly.CodeNotFound)

	done := get[client.RolledBack](b, "POST /projects/shop/templates/rollback", `{"reason":"orders are missing"}`, http.StatusOK)
	if done.Current.ID != one.ID || !done.Current.Current || len(done.Replaced) != 1 || done.Replaced[0].ID != two.ID || done.Replaced[0].State != "retired" {
		t.Errorf("the rollback gives %+v", done)
	}
	if mark := done.Replaced[0].RolledBack; mark == nil || mark.By != "tester" || mark.Reason != "orders are missing" || mark.At.IsZero() {
		t.Errorf("the mark is %+v", mark)
	}
	list := get[client.TemplateList](b, "/projects/shop/templates", "", http.StatusOK)
	if len(list.Items) != 2 || !list.Items[0].Current || list.Items[1].Current || list.Items[0].TooOld {
		t.Errorf("the list is %+v", list.Items)
	}
	if full := get[client.Template](b, "/templates/"+one.ID, "", http.StatusOK); !full.Current || full.Cause != "request" || full.RequestedBy != "tester" {
		t.Errorf("the template is %+v", full)
	}
}

func TestCancelAndRemoveOverTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	building := get[client.Template](b, "POST /projects/shop/templates", "", http.StatusAccepted)
	b.refused(b.admin(), "DELETE /templates/"+building.ID, ``, http.StatusConflict, mayfly.CodeConflict)
	b.refused(b.admin(), "POST /templates/"+building.ID+"/cancel", `{"reason":"a\nb"}`, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	cancelled := get[client.Template](b, "POST /templates/"+building.ID+"/cancel", `{"reason":"wrong rules"}`, http.StatusAccepted)
	if cancelled.State != "failed" || cancelled.Failure == nil || cancelled.Failure.Code != "cancelled" || cancelled.Cancelled == nil || cancelled.Cancelled.Reason != "wrong rules" {
		t.Errorf("a build that nobody runs became %+v", cancelled)
	}
	b.refused(b.admin(), "POST /templates/"+building.ID+"/cancel", ``, http.StatusConflict, mayfly.CodeConflict)
	b.refused(b.admin(), "POST /templates/tnothing/cancel", ``, http.StatusNotFound, mayfly.CodeNotFound)

	// Another process runs it: the answer comes at once, and says that it is being stopped.
	made := get[client.Template](b, "POST /projects/shop/templates", "", http.StatusAccepted)
	unlock, ok, err := b.Store.TryLock(t.Context(), "template:"+made.ID)
	if err != nil || !ok {
		t.Fatal(err)
	}
	if got := get[client.Template](b, "POST /templates/"+made.ID+"/cancel", ``, http.StatusAccepted); got.State != "building" || got.Cancelled == nil {
		t.Errorf("a build that another process runs became %+v", got)
	}
	unlock()

	one := b.template("shop")
	p := b.sandbox("shop")
	b.template("shop")
	b.refused(b.admin(), "DELETE /templates/"+one.ID, ``, http.StatusConflict, mayfly.CodeConflict)
	b.refused(b.admin(), "DELETE /templates/"+one.ID+"?force=yes", ``, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	_, err = b.pool.Exec(t.Context(), `update preview set state = 'deleted' where id = $1`, p.ID)
	must(t, err)
	if got := get[client.Template](b, "DELETE /templates/"+one.ID, "", http.StatusOK); got.State != "deleted" {
		t.Errorf("the removed template is %+v", got)
	}
	current := b.template("shop")
	b.refused(b.admin(), "DELETE /templates/"+current.ID, ``, http.StatusConflict, mayfly.CodeConflict)
	get[client.Template](b, "DELETE /templates/"+current.ID+"?force=true", "", http.StatusOK)
}

func TestScheduleAndAgeOverTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(100 * time.Hour) }
	})
	projects := get[client.ProjectList](b, "/projects", "", http.StatusOK)
	byName := map[string]*client.Schedule{}
	for _, p := range projects.Items {
		byName[p.Name] = p.Schedule
	}
	if s := byName["till"]; s == nil || s.Schedule != "0 3 * * *" || s.TimeZone != "UTC" || byName["shop"] != nil {
		t.Errorf("the projects are %+v", projects.Items)
	}
	b.template("shop")
	b.template("till")
	if list := get[client.TemplateList](b, "/projects/till/templates", "", http.StatusOK); !list.Items[0].TooOld {
		t.Errorf("a template older than max_age is shown as %+v", list.Items[0])
	}
	if list := get[client.TemplateList](b, "/projects/shop/templates", "", http.StatusOK); list.Items[0].TooOld {
		t.Errorf("a template of a project without a limit is shown as %+v", list.Items[0])
	}
}
