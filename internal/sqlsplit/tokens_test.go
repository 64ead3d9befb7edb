package sqlsplit

import (
	"fmt"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text, want string
		escapes    bool
	}{
		{text: `SELECT 'it''s', $1, 4.5e3`, want: `word SELECT|string 'it''s'|symbol ,|symbol $|number 1|symbol ,|number 4.5e3`},
		{text: `E'a\'b' -- 'no'` + "\n" + `x'ff'`, want: `escaped E'a\'b'|comment -- 'no'|bits x'ff'`},
		{text: `$_$ a 'b' $$ $_$;`, want: `dollar $_$ a 'b' $$ $_$|symbol ;`},
		{text: `"a'b" u&'\0041' U&"x" n'y'`, want: `identifier "a'b"|unicode u&'\0041'|identifier U&"x"|string n'y'`},
		{text: `/* a /* ' */ */ 'a\' `, want: `comment /* a /* ' */ */|string 'a\'`},
		{text: `'a\' '`, want: `escaped 'a\' '`, escapes: true},
		{text: "'a'\n'b' ''", want: "string 'a'\n'b'|string ''"},
		{text: `begin atomic; é$x`, want: `word begin|word atomic|symbol ;|word é$x`},
		{text: `'open`, want: `string 'open`},
		{text: `1..10`, want: `number 1..10`},
	}
	names := []string{"symbol", "word", "identifier", "string", "escaped", "dollar", "unicode", "bits", "number", "comment"}
	for _, c := range cases {
		var got []string
		for _, token := range Tokens(c.text, !c.escapes) {
			got = append(got, fmt.Sprint(names[token.Kind], " ", c.text[token.Begin:token.End]))
		}
		if joined := strings.Join(got, "|"); joined != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, joined, c.want)
		}
	}
}
