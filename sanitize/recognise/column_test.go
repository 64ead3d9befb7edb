package recognise

import (
	"strings"
	"testing"
)

func TestColumn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, typ, want string }{
		{"email", "text", "email"}, {"EmailAddress", "character varying(60)", "email"}, {"contact_e_mail", "citext", "email"}, {"courriel", "text", "email"},
		{"correo_electronico", "text", "email"}, {"eposta", "text", "email"}, {"email_verified", "boolean", ""}, {"email_sent_at", "timestamp with time zone", ""},
		{"email_type", "text", ""}, {"emails", "text[]", "email"},
		{"vorname", "text", FirstName}, {"prénom", "text", FirstName}, {"FirstName", "text", FirstName}, {"voornaam", "text", FirstName}, {"imię", "text", FirstName},
		{"Nachname", "text", LastName}, {"apellidos", "text", LastName}, {"cognome", "text", LastName}, {"nazwisko", "text", LastName}, {"soyadı", "text", LastName},
		{"sobrenome", "text", LastName}, {"achternaam", "text", LastName}, {"nom_de_famille", "text", LastName},
		{"phone_2", "text", "phone"}, {"telefone", "text", "phone"}, {"Handynummer", "text", "phone"}, {"numer_telefonu", "text", "phone"}, {"phone_type", "text", ""},
		{"mobile", "bigint", "phone"}, {"cep_telefonu", "text", "phone"},
		{"geburtsdatum", "date", "birth_date"}, {"date_of_birth", "date", "birth_date"}, {"fecha_nacimiento", "date", "birth_date"}, {"doğum_tarihi", "date", "birth_date"},
		{"dataNascimento", "date", "birth_date"}, {"geboortedatum", "date", "birth_date"}, {"data_urodzenia", "date", "birth_date"}, {"created_at", "timestamp with time zone", ""},
		{"strasse", "text", StreetAddress}, {"Straße", "text", StreetAddress}, {"indirizzo", "text", StreetAddress}, {"BillingAddress", "character varying(70)", StreetAddress},
		{"plz", "text", Postcode}, {"código_postal", "text", Postcode}, {"BillingPostalCode", "text", Postcode}, {"miasto", "text", City}, {"şehir", "text", City},
		{"password_hash", "text", Password}, {"senha", "text", Password}, {"api_key", "text", Token}, {"webhook_secret", "text", Token}, {"IBAN", "text", "iban"},
		{"last_login_ip", "inet", IPAddress}, {"codice_fiscale", "text", NationalID}, {"PESEL", "character(11)", NationalID}, {"cpf", "text", NationalID},
		{"tckn", "text", NationalID}, {"bsn", "text", NationalID}, {"gehalt", "numeric(10,2)", Money}, {"geschlecht", "text", Sensitive}, {"bemerkungen", "text", FreeText},
		{"name", "text", Name}, {"composer", "text", FullName}, {"latitude", "double precision", Location},
		{"quantity", "integer", ""}, {"unit_price", "numeric(10,2)", ""}, {"status", "text", ""}, {"sku", "text", ""}, {"currency", "text", ""}, {"is_active", "boolean", ""},
		{"milliseconds", "integer", ""}, {"bytes", "integer", ""}, {"", "text", ""}, {"order_id", "integer", ""}, {"total", "numeric", ""}, {"updated_on", "date", ""},
	} {
		if got, confidence := Column(c.name, c.typ); got != c.want || (got == "") != (confidence == 0) {
			t.Errorf("%s %s: %q (%.2f), want %q", c.name, c.typ, got, confidence, c.want)
		}
	}
}

// TestWordLists holds the lists to their form: a kind, a confidence and types, then words as split gives them.
func TestWordLists(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, e := range names() {
		if e.kind == "" || e.confidence <= 0 || e.confidence > 1 || e.types == "" || len(e.words) == 0 {
			t.Errorf("a list is incomplete: %+v", e)
		}
		for _, word := range e.words {
			if got := strings.Join(split(word), " "); got != word {
				t.Errorf("%s: %q is never found, names have %q", e.kind, word, got)
			}
			if before := seen[word]; before != "" && before != e.kind {
				t.Errorf("%q is in the lists %s and %s", word, before, e.kind)
			}
			seen[word] = e.kind
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"public.customers": People, "Kunden": People, "crm.fournisseurs": Companies, "genre": Things, "orders": "", "": "", "müşteri": People} {
		if got, _ := Table(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]bool{"created_at": true, "unit_price": true, "country_code": true, "access_code": false, "code": false, "name": false, "prix": true, "at": false} {
		if got := Impersonal(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

func BenchmarkColumn(b *testing.B) {
	for b.Loop() {
		Column("some_long_column_name", "text")
	}
}
