package recognise

// keyPrefix is how the keys of a service begin.
type keyPrefix struct {
	text        string
	least, most int // characters after it
	kind        Kind
	more        string // what may stand in it besides letters, digits and _
}

// keyPrefixes returns the shapes that services have published for their keys, so that they can be found.
func keyPrefixes() []keyPrefix {
	var out []keyPrefix
	for _, p := range []struct {
		least, most int
		more        string
		prefixes    []string
	}{
		{16, 16, "", []string{"AKIA", "ASIA", "ABIA", "ACCA"}},
		{36, 255, "", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}},
		{22, 255, "", []string{"github_pat_"}},
		{20, 255, "-.", []string{"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"}},
		{16, 255, "", []string{"sk_live_", "sk_test_", "rk_live_", "rk_test_"}},
		{24, 255, "/+=", []string{"whsec_"}},
		{10, 255, "-", []string{"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"}},
		{35, 35, "-", []string{"AIza"}},
		{20, 512, "-.", []string{"ya29."}},
		{20, 255, "-", []string{"GOCSPX-"}},
		{40, 100, "-.", []string{"SG."}},
		{20, 255, "-", []string{"sk-ant-", "sk-proj-", "sk-svcacct-", "sk-or-"}},
		{32, 64, "", []string{"sk-"}},
		{36, 36, "", []string{"npm_"}},
		{32, 512, "-", []string{"pypi-"}},
		{64, 64, "", []string{"dop_v1_", "doo_v1_", "dor_v1_"}},
		{32, 64, "", []string{"shpat_", "shpca_", "shppa_", "shpss_", "shptka_"}},
		{30, 64, "", []string{"hf_", "lin_api_", "r8_"}},
		{22, 255, "-", []string{"sq0atp-", "sq0csp-", "EAAAE"}},
		{24, 255, "-.", []string{"hvs.", "hvb."}},
		{60, 400, "", []string{"EAACEdEose0cBA"}},
		{32, 64, "-", []string{"key-"}},
		{20, 255, "-.", []string{"eyJrIjoi", "glsa_", "dckr_pat_", "nvapi-", "pul-", "figd_", "ntn_", "secret_"}},
		{8, 255, "/-", []string{"hooks.slack.com/services/"}},
	} {
		for _, prefix := range p.prefixes {
			out = append(out, keyPrefix{prefix, p.least, p.most, APIKey, p.more})
		}
	}
	return append(out, keyPrefix{"pbkdf2_sha", 20, 512, PasswordHash, "$/+=."}, keyPrefix{"pbkdf2:sha", 20, 512, PasswordHash, "$/+=.:"},
		keyPrefix{"scrypt:", 20, 512, PasswordHash, "$/+=.:"}, keyPrefix{"bcrypt_sha256$", 20, 512, PasswordHash, "$/+=.,-"},
		keyPrefix{"SCRAM-SHA-256$", 40, 512, PasswordHash, "$/+=:"})
}

// key looks for a JSON web token and the keys of services in the word from i to end, and beyond it.
func (s *Scanner) key(i, end int) int {
	if s.exactly(i, "eyJ") {
		if found := s.jwt(i); found > 0 {
			return found
		}
	}
	for n := range s.prefixes[s.text[i]] {
		p := &s.prefixes[s.text[i]][n]
		if !s.exactly(i, p.text) {
			continue
		}
		body := i + len(p.text)
		last, digits, letters := body, 0, 0
		for last < len(s.text) && last-body <= p.most {
			c := s.text[last]
			switch {
			case isDigit(c):
				digits++
			case isLetter(c):
				letters++
			case c != '_' && !isOneOf(c, p.more):
				goto done
			}
			last++
		}
	done:
		for last > body && (s.text[last-1] == '.' || s.text[last-1] == ':' || s.text[last-1] == ',') {
			last--
		}
		if n := last - body; n >= p.least && n <= p.most && digits > 0 && letters > 0 && s.ends(last) {
			return s.add(p.kind, i, last, 0.95)
		}
	}
	if end-i == 35 && s.exactly(i, "md5") && s.endOf(i+3, 32, isHex) == end { // of pg_authid
		return s.add(PasswordHash, i, end, 0.9)
	}
	return 0
}

func isOneOf(c byte, list string) bool {
	for i := range len(list) {
		if list[i] == c {
			return true
		}
	}
	return false
}

func isBase64URL(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '-' }

// maxHeader bounds the first part of a token: only a name of an algorithm, a key and a type are in it.
const maxHeader = 1024

// jwt takes header, payload and signature; the last may be empty (RFC 7515, 3.1; RFC 7519, 6).
func (s *Scanner) jwt(i int) int {
	end := s.endOf(i, maxHeader, isBase64URL)
	if end-i < 12 || s.at(end) != '.' || !s.exactly(end+1, "eyJ") {
		return 0
	}
	payload := s.endOf(end+1, len(s.text), isBase64URL)
	if payload-end < 8 {
		return 0
	}
	if s.at(payload) == '.' {
		payload = s.endOf(payload+1, len(s.text), isBase64URL)
	}
	return s.add(JWT, i, payload, 0.99)
}

// secretNames are what secrets are assigned to.
func secretNames() []string {
	return []string{
		"password", "passwd", "passphrase", "passwort", "kennwort", "contraseña", "senha", "hasło", "wachtwoord", "pwd", "secret", "client_secret",
		"api_key", "apikey", "access_token", "auth_token", "refresh_token", "secret_key", "private_key", "authorization", "aws_secret_access_key",
	}
}

// assigned looks for "password: hunter2", with or without quotes: the item is what stands behind the sign.
func (s *Scanner) assigned(i, end int) int {
	if end-i < 3 || end-i > 24 {
		return 0
	}
	at := end
	if c := s.at(at); c == '"' || c == '\'' {
		at++
	}
	at = s.endOf(at, 2, isSpace)
	if c := s.at(at); c != ':' && c != '=' || !s.secretName(i, end) {
		return 0
	}
	at = s.endOf(at+1, 2, func(c byte) bool { return isSpace(c) || c == '=' || c == '>' })
	if s.has(at, "bearer ") || s.has(at, "basic ") || s.has(at, "token ") {
		at += len("basic ")
		if s.at(at) == ' ' {
			at++
		}
	}
	quote := s.at(at)
	if quote == '"' || quote == '\'' {
		at++
	} else {
		quote = 0
	}
	last := at
	for last < len(s.text) && last-at < 512 {
		c := s.text[last]
		if c == quote && quote != 0 || quote == 0 && (c <= ' ' || c == '"' || c == '\'' || c == ',' || c == ';' || c == '&' || c == '<' || c == ')' || c == '}') || c == '\n' {
			break
		}
		last++
	}
	if last-at < 4 {
		return 0
	}
	return s.add(Secret, at, last, 0.75)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func (s *Scanner) secretName(i, end int) bool {
	switch s.text[i] | 0x20 {
	case 'p', 'k', 'c', 's', 'h', 'w', 'a', 'r':
	default:
		return false
	}
	for _, name := range secretNames() {
		if len(name) == end-i && s.has(i, name) {
			return true
		}
	}
	return false
}

// maxAuthority bounds what stands before the path of a URL.
const maxAuthority = 512

// url looks for credentials before the host, and in the query. from is where the authority begins. It goes on behind the
// URL only if it found some: otherwise there may be more in it.
func (s *Scanner) url(i, from int) int {
	at := 0
	end := s.endOf(from, maxAuthority, func(c byte) bool {
		return c > ' ' && c != '/' && c != '?' && c != '#' && c != '"' && c != '<' && c != '>' && c != '\''
	})
	for j := from; j < end; j++ {
		if s.text[j] == '@' {
			at = j
		}
	}
	if at > from && at+1 < end {
		for end < len(s.text) && urlByte(s.text[end]) {
			end++
		}
		for end > at && (s.text[end-1] == '.' || s.text[end-1] == ',' || s.text[end-1] == ')') {
			end--
		}
		return s.add(URL, i, end, 0.97)
	}
	return from
}

func urlByte(c byte) bool {
	return c > ' ' && c != '"' && c != '<' && c != '>' && c != '\'' && c != '`' && c != 0x7f
}

// pem looks for the block of a private key; without its end it reaches as far as the text looks like one.
func (s *Scanner) pem(i int) int {
	const begin, end = "-----BEGIN ", "-----END "
	if !s.exactly(i, begin) {
		return s.endOf(i, len(s.text), func(c byte) bool { return c == '-' })
	}
	label := s.endOf(i+len(begin), 40, func(c byte) bool { return isUpper(c) || c == ' ' || isDigit(c) })
	if !s.exactly(label, "-----") || label-11 < i+len(begin) || !s.exactly(label-11, "PRIVATE KEY") && !s.exactly(max(0, label-17), "PRIVATE KEY BLOCK") {
		return label
	}
	at := s.endOf(label+5, len(s.text), func(c byte) bool {
		return isLetter(c) || isDigit(c) || c == '+' || c == '/' || c == '=' || c == ' ' || c == '\n' || c == '\r' || c == '\\' || c == ':' || c == ',' || c == '\t' || c == '.'
	})
	if s.exactly(at, end) {
		at = s.endOf(at+len(end), 40, func(c byte) bool { return isUpper(c) || c == ' ' || isDigit(c) })
		at = s.endOf(at, 5, func(c byte) bool { return c == '-' })
	}
	return s.add(PrivateKey, i, at, 0.99)
}

// crypt looks for a password hash: the schemes of crypt(3), argon2, scrypt and PBKDF2 between dollar signs, and those of
// LDAP in braces.
func (s *Scanner) crypt(i int) int {
	for _, scheme := range [...]string{
		"$2a$", "$2b$", "$2x$", "$2y$", "$argon2", "$scrypt$", "$pbkdf2", "$1$", "$5$", "$6$", "$7$", "$y$", "$gy$", "$apr1$", "$P$", "$H$", "$bcrypt-sha256$",
		"{ssha}", "{sha}", "{ssha256}", "{ssha512}", "{md5}", "{smd5}", "{crypt}", "{bcrypt}",
	} {
		if !s.has(i, scheme) && !s.exactly(i, scheme) {
			continue
		}
		end := s.endOf(i+len(scheme), 512, func(c byte) bool { return isBase64URL(c) || isOneOf(c, "$./+=,") })
		for end > i && (s.text[end-1] == '.' || s.text[end-1] == ',') && !s.ends(end) {
			end--
		}
		if end-i-len(scheme) >= 16 {
			return s.add(PasswordHash, i, end, 0.97)
		}
	}
	return i + 1
}
