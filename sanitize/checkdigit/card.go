package checkdigit

// Card is a primary account number of ISO/IEC 7812, of which the first KeptDigits are Kept.
type Card struct{ KeptDigits int }

// Valid implements Form.
func (Card) Valid(s []byte) bool {
	return len(s) >= 12 && len(s) <= 19 && allDigits(s) && s[0] != '0' && luhn(s[:len(s)-1]) == s[len(s)-1]
}

// Role implements Form.
func (f Card) Role(s []byte, i int) Role {
	switch {
	case i < f.KeptDigits:
		return Kept
	case i == len(s)-1:
		return Check
	default:
		return Payload
	}
}

// Complete implements Form.
func (Card) Complete(s []byte) { s[len(s)-1] = luhn(s[:len(s)-1]) }

// IBAN is an International Bank Account Number (ISO 13616). With KeepBank the part that names the bank is Kept.
type IBAN struct{ KeepBank bool }

// Valid implements Form.
func (IBAN) Valid(s []byte) bool {
	if len(s) < 15 || len(s) != ibanLength(s) {
		return false
	}
	high, low := ibanCheck(s)
	return s[2] == high && s[3] == low
}

// Role implements Form.
func (f IBAN) Role(s []byte, i int) Role {
	switch {
	case i < 2:
		return Kept
	case i < 4:
		return Check
	case f.KeepBank && i < 4+bankLength(s):
		return Kept
	default:
		return Payload
	}
}

// Complete implements Form.
func (IBAN) Complete(s []byte) { s[2], s[3] = ibanCheck(s) }

// ibanCheck computes the check digits: 98 minus the rest modulo 97 of account, country and "00" as a number in which A is
// 10 and Z is 35 (ISO 7064, MOD 97-10).
func ibanCheck(s []byte) (high, low byte) {
	rest := 0
	add := func(c byte) {
		if c <= '9' {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	for _, c := range s[4:] {
		add(c)
	}
	add(s[0])
	add(s[1])
	check := 98 - rest*100%97
	return byte('0' + check/10), byte('0' + check%10)
}

// ibanLength returns how long an IBAN of the country at the start of s is, 0 for a country without (SWIFT IBAN registry).
func ibanLength(s []byte) int {
	const lengths = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 " +
		"FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 " +
		"LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 " +
		"SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 "
	for i := 0; i < len(lengths); i += 5 {
		if lengths[i] == s[0] && lengths[i+1] == s[1] {
			return int(lengths[i+2]-'0')*10 + int(lengths[i+3]-'0')
		}
	}
	return 0
}

// bankLength returns how many characters after the check digits name the bank, and the branch where the country has one.
func bankLength(s []byte) int {
	switch string(s[:2]) {
	case "BE", "DK", "FI", "NO", "SK", "CZ", "NL", "SE":
		if s[0] == 'B' || s[0] == 'F' || s[0] == 'S' && s[1] == 'E' {
			return 3
		}
		return 4
	case "AT", "CH", "LI":
		return 5
	case "DE", "PL", "PT", "ES":
		return 8
	case "FR", "MC", "GB", "IE":
		return 10
	case "IT", "SM":
		return 11
	default:
		return 4
	}
}
