package api

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// hookRoutes are the log of what receivers outside were told.
func (a *API) hookRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/hooks/deliveries", id: "listHookDeliveries", summary: "List what receivers were told about previews, newest first",
			scope: auth.ScopeAdmin, query: []parameter{
				{"target", "only those for this receiver", nil},
				{"state", "only those in this state", []string{"waiting", "delivered", "failed"}},
				{"preview_id", "only those about this preview, by its id", nil},
				{"limit", "the size of a page, 1 to 1000; 100 if left out", nil}, {"before", "the \"next\" of the page before", nil},
			},
			gives: &client.HookDeliveryList{}, status: http.StatusOK, handle: a.listHookDeliveries,
		},
		{
			method: http.MethodPost, path: "/hooks/deliveries/:id/redeliver", id: "redeliverHook", summary: "Tell a receiver again",
			scope: auth.ScopeAdmin, gives: &client.HookDelivery{}, status: http.StatusAccepted, handle: a.redeliverHook,
		},
	}
}

func (a *API) listHookDeliveries(c echo.Context) error {
	const most = 1000
	limit := 100
	if text := c.QueryParam("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > most {
			return mayfly.Errorf(mayfly.CodeInvalid, "limit: %q is not a number from 1 to %d", text, most)
		}
	}
	f := store.OutgoingFilter{
		Target: c.QueryParam("target"), State: c.QueryParam("state"), PreviewID: c.QueryParam("preview_id"), Before: c.QueryParam("before"), Limit: limit,
	}
	switch f.State {
	case "", "waiting", "delivered", "failed":
	default:
		return mayfly.Errorf(mayfly.CodeInvalid, "state: %q is none of waiting, delivered, failed", f.State)
	}
	deliveries, err := a.Store.OutgoingDeliveries(c.Request().Context(), f)
	if err != nil {
		return err
	}
	page := client.HookDeliveryList{Items: []client.HookDelivery{}}
	for _, d := range deliveries {
		page.Items = append(page.Items, hookDeliveryJSON(d))
	}
	if len(deliveries) == limit {
		page.Next = deliveries[limit-1].ID
	}
	return c.JSON(http.StatusOK, page)
}

func (a *API) redeliverHook(c echo.Context) error {
	d, err := a.Store.RedeliverOutgoing(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, hookDeliveryJSON(d))
}

func hookDeliveryJSON(d *store.OutgoingDelivery) client.HookDelivery {
	out := client.HookDelivery{
		ID: d.ID, EventID: d.EventID, Target: d.Target, Event: d.Kind, Project: d.Project, Preview: d.PreviewID, State: d.State, Attempts: d.Attempts,
		Created: d.CreatedAt.UTC(), DoneAt: utc(d.DoneAt), Status: d.Status, Error: d.Error, Payload: d.Payload,
	}
	if d.State == "waiting" {
		out.NextAt = utc(&d.NextAt)
	}
	return out
}
