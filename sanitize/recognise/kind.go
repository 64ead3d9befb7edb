package recognise

import (
	"strings"

	"github.com/mayflydb/mayfly/sanitize/checkdigit"
)

// Kind is a kind of item.
type Kind string

// The kinds that are not national identifiers. Those are called as the schemes of package checkdigit are ("us_ssn"), and
// the ones below that have no check digits.
const (
	Email        Kind = "email"
	Phone        Kind = "phone"
	Card         Kind = "card"
	IBAN         Kind = "iban"
	IP           Kind = "ip"
	MAC          Kind = "mac"
	URL          Kind = "url" // with credentials in it
	JWT          Kind = "jwt"
	APIKey       Kind = "api_key"
	PrivateKey   Kind = "private_key"
	Secret       Kind = "secret" // what is assigned to something called password, secret, …
	PasswordHash Kind = "password_hash"
	UUID         Kind = "uuid"
	Coordinates  Kind = "coordinates"
	BirthDate    Kind = "birth_date"
	USITIN       Kind = "us_itin"
	USEIN        Kind = "us_ein"
	INPAN        Kind = "in_pan"
)

// Kinds returns all kinds that a Scanner knows.
func Kinds() []Kind {
	all := []Kind{
		Email, Phone, Card, IBAN, IP, MAC, URL, JWT, APIKey, PrivateKey, Secret, PasswordHash, UUID, Coordinates, BirthDate,
		USITIN, USEIN, INPAN,
	}
	for _, name := range checkdigit.Schemes() {
		all = append(all, Kind(name))
	}
	return all
}

// National reports whether the kind is a national identifier: social security, tax and identity numbers.
func (k Kind) National() bool {
	return k == USITIN || k == USEIN || k == INPAN || checkdigit.National(string(k)) != nil
}

// Credential reports whether whoever has an item of the kind can use it.
func (k Kind) Credential() bool {
	switch k {
	case URL, JWT, APIKey, PrivateKey, Secret, PasswordHash:
		return true
	default:
		return false
	}
}

// Noun says what items of the kind are, for people.
func (k Kind) Noun() string {
	switch k {
	case Email:
		return "email addresses"
	case Phone:
		return "phone numbers"
	case Card:
		return "payment card numbers"
	case IBAN:
		return "IBANs"
	case IP:
		return "IP addresses"
	case MAC:
		return "hardware addresses"
	case URL:
		return "URLs with credentials"
	case JWT:
		return "JSON web tokens"
	case APIKey:
		return "API keys"
	case PrivateKey:
		return "private keys"
	case Secret:
		return "secrets"
	case PasswordHash:
		return "password hashes"
	case UUID:
		return "UUIDs"
	case Coordinates:
		return "coordinates"
	case BirthDate:
		return "dates of birth"
	default:
		return "numbers of the scheme " + strings.ToUpper(string(k[:min(2, len(k))])) + strings.ReplaceAll(string(k[min(2, len(k)):]), "_", " ")
	}
}

// Match is an item in a text.
type Match struct {
	// Start and End are its place, in bytes.
	Start, End int
	Kind       Kind
	// Confidence is between 0 and 1: how often something of that form is what it looks like.
	Confidence float64
}
