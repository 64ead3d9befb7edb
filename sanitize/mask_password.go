package sanitize

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

func passwordKind() kind {
	return kind{
		name: "password", summary: "the hash of one known password for everybody, so that every user can log in with it",
		params: []param{
			{name: "algorithm", kind: paramChoice, values: []string{"bcrypt", "argon2id", "scrypt", "pbkdf2_sha256"}, required: true, summary: "how the application hashes; pbkdf2_sha256 in the form of Django, argon2id in that of its reference implementation, scrypt in that of passlib"},
			{name: "value", kind: paramText, fallback: "mayfly", summary: "the password"},
			{name: "cost", kind: paramInt, least: 4, most: 14, fallback: "10", summary: "of bcrypt"},
		},
		families: []family{familyText},
		disjoint: true,
		master:   true,
		bind:     bindPassword,
	}
}

func bindPassword(a *arguments, t *target, key []byte) (binding, error) {
	algorithm, password, cost := a.text("algorithm"), a.text("value"), a.number("cost")
	if a.has("cost") && algorithm != "bcrypt" {
		return binding{}, &refusal{"only bcrypt has a cost", "remove cost"}
	}
	if password == "" || len(password) > 72 {
		return binding{}, &refusal{"the password has no bytes, or more than the 72 that bcrypt takes", "choose another one"}
	}
	longest := map[string]int{"bcrypt": 60, "argon2id": 97, "scrypt": 80, "pbkdf2_sha256": 90}[algorithm]
	if !t.fits(longest) {
		return binding{}, &refusal{fmt.Sprintf("the column takes %d characters; a hash of %s has up to %d", t.limit, algorithm, longest), "use token, null or static"}
	}
	// Derived from the key, so that two builds give the same template; bcrypt draws its own salt.
	salt := deriveKey(key, "password", algorithm+"\x00"+password)[:16]
	// Once per build, and only if there is a row: a slow hash is the point of these algorithms.
	hash := sync.OnceValue(func() []byte { return hashPassword(algorithm, []byte(password), salt, cost) })
	return binding{
		make: func() maskFunc {
			return func(dst, _ []byte) []byte { return append(dst, hash()...) }
		},
		mapping: fmt.Sprintf("password %s %q %d", algorithm, password, cost),
	}, nil
}

func hashPassword(algorithm string, password, salt []byte, cost int) []byte {
	raw, std := base64.RawStdEncoding, base64.StdEncoding
	switch algorithm {
	case "argon2id": // RFC 9106, second recommended option
		const passes, memory, lanes = 3, 64 << 10, 4
		sum := argon2.IDKey(password, salt, passes, memory, lanes, 32)
		return fmt.Appendf(nil, "$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, lanes, raw.EncodeToString(salt), raw.EncodeToString(sum))
	case "scrypt":
		const logN, r, p = 14, 8, 1
		sum, err := scrypt.Key(password, salt, 1<<logN, r, p, 32)
		if err != nil {
			panic("sanitize: scrypt refuses its parameters: " + err.Error())
		}
		return fmt.Appendf(nil, "$scrypt$ln=%d,r=%d,p=%d$%s$%s", logN, r, p, raw.EncodeToString(salt), raw.EncodeToString(sum))
	case "pbkdf2_sha256":
		const rounds = 600_000
		text := raw.EncodeToString(salt)
		sum, err := pbkdf2.Key(sha256.New, string(password), []byte(text), rounds, sha256.Size)
		if err != nil {
			panic("sanitize: PBKDF2 refuses its parameters: " + err.Error())
		}
		return fmt.Appendf(nil, "pbkdf2_sha256$%d$%s$%s", rounds, text, std.EncodeToString(sum))
	default:
		sum, err := bcrypt.GenerateFromPassword(password, cost)
		if err != nil {
			panic("sanitize: bcrypt refuses a password that was checked: " + err.Error())
		}
		return sum
	}
}
