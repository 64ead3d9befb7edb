package recognise

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// scanner returns a Scanner for kinds.
func scanner(tb testing.TB, kinds ...Kind) *Scanner {
	tb.Helper()
	s, err := New(kinds...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// show writes what was found: "email jane@corp.example, phone …".
func show(text string, found []Match) string {
	var out []string
	for _, m := range found {
		out = append(out, string(m.Kind)+" "+text[m.Start:m.End])
	}
	return strings.Join(out, ", ")
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		// Addresses.
		{"write to jane.roe+x@corp.example, please", "email jane.roe+x@corp.example"},
		{"<jane@corp.example>", "email jane@corp.example"},
		{"mailto:jane@sub.corp.example.", "email jane@sub.corp.example"},
		{"zoë@corp.example", "email zoë@corp.example"},
		{"5551234567@corp.example", "email 5551234567@corp.example"},
		{"icon@2x.png and user@localhost and @handle and a@b", ""},
		{"two: a@corp.example b@corp.example", "email a@corp.example, email b@corp.example"},
		// Phones.
		{"call +44 20 7946 0018 now", "phone +44 20 7946 0018"},
		{"(415) 555-0132", "phone (415) 555-0132"},
		{"415.555.0132 or 415-555-0132", "phone 415.555.0132, phone 415-555-0132"},
		{"tél. 06 12 34 56 78", "phone 06 12 34 56 78"},
		{"Telefon 089/1234567", "phone 089/1234567"},
		{"0049 89 1234567", "phone 0049 89 1234567"},
		{"mobile: 5551234567", "phone 5551234567"},
		{"1-800-555-0199", "phone 1-800-555-0199"},
		{"order 5551234567 of 2024-01-15 10:20:30.123456", ""},
		{"12.03.2024, 03/12/24, 2024/3/1, 1999-12-31T23:59:59Z", ""},
		{"3.14159265358 and 0.123456789 and 1,234,567.89 and 1234567.00", ""},
		{"version 10.2.3.4 and 7 000 000 people", ""},
		// Cards.
		{"4111 1111 1111 1111 exp 12/26", "card 4111 1111 1111 1111"},
		{"paid with 5500005555555559.", "card 5500005555555559"},
		{"378282246310005", "card 378282246310005"},
		{"4111 1111 1111 1112", ""},
		{"1234567812345670", ""}, // Luhn, but nobody issues it
		// Accounts.
		{"GB82 WEST 1234 5698 7654 32 is mine", "iban GB82 WEST 1234 5698 7654 32"},
		{"DE89370400440532013000", "iban DE89370400440532013000"},
		{"DE89370400440532013001", ""},
		// National identifiers.
		{"SSN 078-05-1120", "us_ssn 078-05-1120"},
		{"ssn: 078051120", "us_ssn 078051120"},
		{"number 078051120", ""},
		{"000-05-1120 and 666-05-1120", ""},
		{"912-70-1234", "us_itin 912-70-1234"},
		{"EIN 12-3456789", "us_ein 12-3456789"},
		{"AB 12 34 56 C", "uk_nino AB 12 34 56 C"},
		{"AB123456C", "uk_nino AB123456C"},
		{"GB123456C", ""},
		{"Steuer-ID 86095742719", "de_steuerid 86095742719"},
		{"2 95 10 99 126 111 93", "fr_nir 2 95 10 99 126 111 93"},
		{"DNI 54362315K", "es_dni 54362315K"},
		{"54362315A", ""},
		{"X2482300W", "es_nie X2482300W"},
		{"RSSMRA85T10A562S", "it_codice_fiscale RSSMRA85T10A562S"},
		{"BSN 111222333", "nl_bsn 111222333"},
		{"invoice 111222333", ""},
		{"PESEL 44051401359", "pl_pesel 44051401359"},
		{"390.533.447-05", "br_cpf 390.533.447-05"},
		{"16.727.230/0001-97", "br_cnpj 16.727.230/0001-97"},
		{"2341 2341 2346", "in_aadhaar 2341 2341 2346"},
		{"ABCPE1234F", "in_pan ABCPE1234F"},
		{"811218-9876", "se_personnummer 811218-9876"},
		{"756.9217.0769.85", "ch_ahv 756.9217.0769.85"},
		{"85.07.30-033.28", "be_rrn 85.07.30-033.28"},
		// Networks.
		{"from 192.0.2.17:8080", "ip 192.0.2.17"},
		{"2001:db8::8a2e:370:7334", "ip 2001:db8::8a2e:370:7334"},
		{"fe80::1ff:fe23:4567:890a, ok", "ip fe80::1ff:fe23:4567:890a"},
		{"256.1.2.3 1.2.3 10:20:30 std::string a::b", ""},
		{"08:00:2b:01:02:03 and 08-00-2B-01-02-0F and 0800.2b01.0203", "mac 08:00:2b:01:02:03, mac 08-00-2B-01-02-0F, mac 0800.2b01.0203"},
		{"6f1c2d3e-0000-4000-8000-0123456789ab", "uuid 6f1c2d3e-0000-4000-8000-0123456789ab"},
		// Secrets.
		{"postgres://app:s3cret@db.corp.example:5432/app?x=1 works", "url postgres://app:s3cret@db.corp.example:5432/app?x=1"},
		{"see https://corp.example/a?b=c#d", ""},
		{"https://token@git.corp.example/r.git", "url https://token@git.corp.example/r.git"},
		{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl", "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl"},
		{"key AKIA" + "IOSFODNN7EXAMPLE.", "api_key AKIA" + "IOSFODNN7EXAMPLE"},
		{"ghp_" + strings.Repeat("a1B2", 9), "api_key ghp_" + strings.Repeat("a1B2", 9)},
		{"sk_live_" + strings.Repeat("a1B2", 6), "api_key sk_live_" + strings.Repeat("a1B2", 6)},
		{"xoxb-123456789012-abcdefghijkl", "api_key xoxb-123456789012-abcdefghijkl"},
		{"AIza" + strings.Repeat("a1-_x", 7), "api_key AIza" + strings.Repeat("a1-_x", 7)},
		{"https://hooks.slack.com/services/T00000000/B00000000/XXXX", "api_key hooks.slack.com/services/T00000000/B00000000/XXXX"},
		{"password: hunter22, ok", "secret hunter22"},
		{`{"client_secret": "a b c d"}`, "secret a b c d"},
		{"Authorization: Bearer abcdef123", "secret abcdef123"},
		{"the password is safe; secret santa", ""},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIB\nabc=\n-----END RSA PRIVATE KEY----- x", "private_key -----BEGIN RSA PRIVATE KEY-----\nMIIB\nabc=\n-----END RSA PRIVATE KEY-----"},
		{"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", ""},
		{"$2b$12$" + strings.Repeat("abcdefgh", 6) + "abcde", "password_hash $2b$12$" + strings.Repeat("abcdefgh", 6) + "abcde"},
		{"$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b5dWRWJTmaaJObG", "password_hash $argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b5dWRWJTmaaJObG"},
		{"pbkdf2_sha256$260000$abcdefgh$c29tZXNhbHRzb21lc2FsdA==", "password_hash pbkdf2_sha256$260000$abcdefgh$c29tZXNhbHRzb21lc2FsdA=="},
		{"$1$abcdefgh$0123456789abcdefghijkl", "password_hash $1$abcdefgh$0123456789abcdefghijkl"},
		{"it costs $100 or $2a$", ""},
		// Places and days.
		{"at 52.52000, 13.40495", "coordinates 52.52000, 13.40495"},
		{"-33.86880,151.20930", "coordinates -33.86880,151.20930"},
		{"91.00000, 13.40495 and 1.5, 2.5", ""},
		{"born 12/03/1985 in", "birth_date 12/03/1985"},
		{"Geburtsdatum: 12.03.1985", "birth_date 12.03.1985"},
		{"date of birth 1985-03-12", "birth_date 1985-03-12"},
		{"née le 12/03/1985", "birth_date 12/03/1985"},
		{"", ""},
	} {
		found := scanner(t).Find(nil, []byte(c.text))
		if got := show(c.text, found); got != c.want {
			t.Errorf("%q: found %q, want %q", c.text, got, c.want)
		}
	}
}

func TestOnlyWhatIsWanted(t *testing.T) {
	t.Parallel()
	text := "jane@corp.example pays with 4111 1111 1111 1111"
	if got := show(text, scanner(t, Email).Find(nil, []byte(text))); got != "email jane@corp.example" {
		t.Errorf("found %q", got)
	}
	if got := show(text, scanner(t, Phone).Find(nil, []byte(text))); got != "" {
		t.Errorf("a card is no phone number: found %q", got)
	}
	if _, err := New("emial"); err == nil {
		t.Error("an unknown kind was accepted")
	}
}

// TestTimeIsLinear holds the scanner to its word with texts that make naive ones slow: twice the text must not take much
// more than twice the steps, so 64 KiB of each are done before anybody would give up.
func TestTimeIsLinear(t *testing.T) {
	t.Parallel()
	s := scanner(t)
	done := make(chan string)
	go func() {
		for _, piece := range []string{"a", "a@", "@", ".", "1", "1-", "1 ", "eyJ-", "eyJhbGci.", "http://a:", "::", "a:", "$2b$", "-----BEGIN ", "(", "+1", "DE89 ", "password=", "sk_live_a1", "-", "é"} {
			s.Find(nil, bytes.Repeat([]byte(piece), 1<<16/len(piece)))
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("some text takes more than linear time")
	}
}

func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		"jane@corp.example +44 20 7946 0018 4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32 078-05-1120 12.03.1985", "::1 fe80::1 10.0.0.1 a@b.co@c.de",
		"postgres://a:b@c/d eyJhbGci.eyJzdWIiOi.x $2b$12$abcdefghijklmnopqrstuv", "password='x' -----BEGIN PRIVATE KEY-----", "born 1/1/2000\xff\xfe@é.é",
	} {
		f.Add([]byte(seed))
	}
	s := scanner(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		end := 0
		for _, m := range s.Find(nil, text) {
			if m.Start < end || m.End <= m.Start || m.End > len(text) || m.Confidence < Least || m.Confidence > 1 {
				t.Fatalf("%q: %+v after %d", text, m, end)
			}
			end = m.End
		}
		if !bytes.Equal(before, text) {
			t.Fatalf("the text was changed")
		}
	})
}

func BenchmarkFind(b *testing.B) {
	prose := []byte(strings.Repeat("The customer said that the parcel had not come yet, and asked us to call back on Monday after 10:30. ", 40))
	s := scanner(b)
	var found []Match
	b.SetBytes(int64(len(prose)))
	b.ReportAllocs()
	for b.Loop() {
		found = s.Find(found[:0], prose)
	}
	if len(found) > 0 {
		b.Fatal(fmt.Sprint(found))
	}
}
