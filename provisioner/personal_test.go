package provisioner_test

import (
	"strings"
	"testing"
)

func TestAColumnThatLooksPersonalIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.LooksPersonal = func(column, typ string) string {
		if typ == "text" && (column == "email" || strings.HasPrefix(column, "phone")) {
			return "contact_data"
		}
		return ""
	}
	files := history()
	files[path3] = "alter table customer add phone_2 text, add phones int; create schema crm; create table crm.lead (phone text);\n"
	pr := b.open(t, "phone", files)
	b.ready(t, pr)
	for _, when := range []string{"at once", "after a push that adds nothing"} {
		comment := onlyComment(t, pr)
		for text, want := range map[string]bool{
			`customer.phone\_2 looks personal (contact data)`: true, "crm.lead.phone looks personal": true, "customer.email looks": false, "phones looks": false,
		} {
			if strings.Contains(comment, text) != want {
				t.Errorf("%s: the comment mentions %s: %t\n%s", when, text, !want, comment)
			}
		}
		b.push(t, pr, map[string]string{"main.go": "package main\n"})
		b.ready(t, pr)
	}
	b.push(t, pr, map[string]string{strings.Replace(path3, "3_", "4_", 1): "alter table customer drop phone_2;\n"})
	b.ready(t, pr)
	if comment := onlyComment(t, pr); strings.Contains(comment, `phone\_2 looks personal`) {
		t.Errorf("a column that is gone is still told:\n%s", comment)
	}
}
