package checkdigit

import "strings"

// scheme is a national identifier. One goroutine uses it.
type scheme struct {
	name string
	// check reports whether a number of a length that is in lengths is valid, apart from the check characters.
	check          func(s []byte) bool
	roles          map[int]string // by length: p is replaced, k is kept, c is computed
	digits         func(s []byte) // computes what is c
	lettersAllowed bool
	scratch        [MaxLength]byte
}

// Valid implements Form.
func (f *scheme) Valid(s []byte) bool {
	roles, ok := f.roles[len(s)]
	if !ok || !f.lettersAllowed && !allDigits(s) || !f.check(s) {
		return false
	}
	computed := f.scratch[:copy(f.scratch[:], s)]
	f.Complete(computed)
	for i := range roles {
		if roles[i] == 'c' && s[i] != computed[i] {
			return false
		}
	}
	return true
}

// Role implements Form.
func (f *scheme) Role(s []byte, i int) Role {
	switch f.roles[len(s)][i] {
	case 'k':
		return Kept
	case 'c':
		return Check
	default:
		return Payload
	}
}

// Complete implements Form.
func (f *scheme) Complete(s []byte) {
	if f.digits != nil {
		f.digits(s)
	}
}

// Schemes returns the names of all national schemes.
func Schemes() []string {
	var names []string
	for _, s := range national() {
		names = append(names, s.name)
	}
	return names
}

// National returns the scheme of that name, or nil. One goroutine may use it.
func National(name string) Form {
	for _, s := range national() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

func national() []scheme {
	return append(append(digitSchemes(), dateSchemes()...), letterSchemes()...)
}

func anything([]byte) bool { return true }

func notZero(s []byte) bool { return s[0] != '0' }

// digitSchemes are numbers without a meaning besides their check digits.
func digitSchemes() []scheme {
	return []scheme{
		{name: "us_ssn", roles: map[int]string{9: "ppppppppp"}, check: func(s []byte) bool {
			area := numberIn(s[:3])
			return area != 0 && area != 666 && area < 900 && numberIn(s[3:5]) != 0 && numberIn(s[5:]) != 0
		}},
		{name: "ca_sin", roles: map[int]string{9: "ppppppppc"}, check: anything, digits: func(s []byte) { s[8] = luhn(s[:8]) }},
		{name: "de_steuerid", roles: map[int]string{11: "ppppppppppc"}, check: steuerID, digits: func(s []byte) { s[10] = mod1110(s[:10]) }},
		{name: "nl_bsn", roles: map[int]string{9: "ppppppppc"}, check: func(s []byte) bool { return weighted(s, 9, 8, 7, 6, 5, 4, 3, 2)%11 < 10 },
			digits: func(s []byte) { s[8] = byte('0' + weighted(s, 9, 8, 7, 6, 5, 4, 3, 2)%11%10) }},
		{name: "pt_nif", roles: map[int]string{9: "ppppppppc"}, check: func(s []byte) bool { return s[0] != '0' && s[0] != '4' && s[0] != '7' },
			digits: func(s []byte) { s[8] = elevenMinus(weighted(s, 9, 8, 7, 6, 5, 4, 3, 2)) }},
		{name: "br_cpf", roles: map[int]string{11: "pppppppppcc"}, check: differing, digits: func(s []byte) {
			s[9] = elevenMinus(weighted(s, 10, 9, 8, 7, 6, 5, 4, 3, 2))
			s[10] = elevenMinus(weighted(s, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2))
		}},
		{name: "br_cnpj", roles: map[int]string{14: "ppppppppkkkkcc"}, check: differing, digits: func(s []byte) {
			s[12] = elevenMinus(weighted(s, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
			s[13] = elevenMinus(weighted(s, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		}},
		{name: "pl_nip", roles: map[int]string{10: "pppppppppc"}, check: func(s []byte) bool { return notZero(s) && weighted(s, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 < 10 },
			digits: func(s []byte) { s[9] = byte('0' + weighted(s, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11%10) }},
		{name: "tr_kimlik", roles: map[int]string{11: "pppppppppcc"}, check: notZero, digits: func(s []byte) {
			odd, even := digitAt(s, 0)+digitAt(s, 2)+digitAt(s, 4)+digitAt(s, 6)+digitAt(s, 8), digitAt(s, 1)+digitAt(s, 3)+digitAt(s, 5)+digitAt(s, 7)
			tenth := (odd*7 + 40 - even) % 10
			s[9] = byte('0' + tenth)
			s[10] = byte('0' + (odd+even+tenth)%10)
		}},
		{name: "in_aadhaar", roles: map[int]string{12: "pppppppppppc"}, check: func(s []byte) bool { return s[0] > '1' }, digits: func(s []byte) { s[11] = verhoeff(s[:11]) }},
		{name: "ch_ahv", roles: map[int]string{13: "kkkpppppppppc"}, check: func(s []byte) bool { return string(s[:3]) == "756" },
			digits: func(s []byte) { s[12] = byte('0' + (1000-weighted(s, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3))%10) }},
		{name: "jp_mynumber", roles: map[int]string{12: "pppppppppppc"}, check: anything,
			digits: func(s []byte) { s[11] = elevenMinus(weighted(s, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) }},
	}
}

// dateSchemes hold a date of birth, which is replaced by another date.
func dateSchemes() []scheme {
	return []scheme{
		{name: "pl_pesel", roles: map[int]string{11: "ppppppppppc"}, check: func(s []byte) bool {
			return dayExists(numberIn(s[2:4])%20, numberIn(s[4:6]))
		}, digits: func(s []byte) { s[10] = byte('0' + (1000-weighted(s, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3))%10) }},
		{name: "se_personnummer", roles: map[int]string{10: "pppppppppc", 12: "kkpppppppppc"}, check: func(s []byte) bool {
			s = s[len(s)-10:]
			return dayExists(numberIn(s[2:4]), numberIn(s[4:6]))
		}, digits: func(s []byte) { n := len(s); s[n-1] = luhn(s[n-10 : n-1]) }},
		{name: "be_rrn", roles: map[int]string{11: "pppppppppcc"}, check: func(s []byte) bool { return dayExists(numberIn(s[2:4]), numberIn(s[4:6])) },
			digits: func(s []byte) {
				rest := 97 - numberIn(s[:9])%97
				s[9], s[10] = byte('0'+rest/10), byte('0'+rest%10)
			}},
		{name: "fr_nir", lettersAllowed: true, roles: map[int]string{13: "kpppppppppppp", 15: "kppppppppppppcc"}, check: nir, digits: nirKey},
		{name: "cn_ric", lettersAllowed: true, roles: map[int]string{18: "kkkkkkkkpppppppppc"}, check: func(s []byte) bool {
			century := numberIn(s[6:8])
			return allDigits(s[:17]) && (century == 19 || century == 20) && dayExists(numberIn(s[10:12]), numberIn(s[12:14]))
		}, digits: func(s []byte) {
			s[17] = "10X98765432"[weighted(s, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)%11]
		}},
	}
}

// letterSchemes have letters.
func letterSchemes() []scheme {
	return []scheme{
		{name: "es_dni", lettersAllowed: true, roles: map[int]string{9: "ppppppppc"}, check: func(s []byte) bool { return allDigits(s[:8]) }, digits: dniLetter},
		{name: "es_nie", lettersAllowed: true, roles: map[int]string{9: "kpppppppc"}, check: func(s []byte) bool {
			return s[0] >= 'X' && s[0] <= 'Z' && allDigits(s[1:8])
		}, digits: dniLetter},
		{name: "uk_nino", lettersAllowed: true, roles: map[int]string{9: "ppppppppk"}, check: nino},
		{name: "it_codice_fiscale", lettersAllowed: true, roles: map[int]string{16: "pppppppppppkkkkc"}, check: codiceFiscale,
			digits: func(s []byte) { s[15] = codiceCheck(s[:15]) }},
	}
}

// elevenMinus is the check digit 11 - sum mod 11, 0 where that has two digits.
func elevenMinus(sum int) byte {
	rest := 11 - sum%11
	if rest > 9 {
		rest = 0
	}
	return byte('0' + rest)
}

func differing(s []byte) bool {
	for _, c := range s[1 : len(s)-2] {
		if c != s[0] {
			return true
		}
	}
	return false
}

// dayExists allows for the leap day in every year.
func dayExists(month, day int) bool {
	return month >= 1 && month <= 12 && day >= 1 && day <= [...]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
}

// steuerID checks the first ten digits: one digit occurs twice or three times, no other more than once.
func steuerID(s []byte) bool {
	var count [10]int
	for _, c := range s[:10] {
		count[c-'0']++
	}
	repeated := 0
	for _, n := range count {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	return s[0] != '0' && repeated == 1
}

// mod1110 is the check digit of ISO 7064, MOD 11,10.
func mod1110(s []byte) byte {
	product := 10
	for i := range s {
		sum := (digitAt(s, i) + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	return byte('0' + (11-product)%10)
}

// verhoeff is the check digit in the dihedral group of ten elements (J. Verhoeff, 1969).
func verhoeff(s []byte) byte {
	product := [10]string{"0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210"}
	permutation := [8]string{"0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"}
	c := byte('0')
	for i := range s {
		digit := permutation[(i+1)%8][s[len(s)-1-i]-'0']
		c = product[c-'0'][digit-'0']
	}
	return "0432156789"[c-'0']
}

// nir checks the French number: sex, year, month, département (2A and 2B are Corsica), commune, order.
func nir(s []byte) bool {
	department := string(s[5:7])
	corsica := department == "2A" || department == "2B"
	if !allDigits(s[:5]) || !allDigits(s[7:]) || !corsica && !allDigits(s[5:7]) {
		return false
	}
	month := numberIn(s[3:5])
	return (s[0] == '1' || s[0] == '2') && month >= 1 && month <= 12 && department != "00" && department != "96" &&
		numberIn(s[7:10]) > 0 && numberIn(s[10:13]) > 0
}

// nirKey computes 97 minus the number modulo 97, with 19 and 18 for Corsica.
func nirKey(s []byte) {
	if len(s) < 15 {
		return
	}
	n := numberIn(s[:5])
	switch s[6] {
	case 'A':
		n = n*100 + 19
	case 'B':
		n = n*100 + 18
	default:
		n = n*100 + numberIn(s[5:7])
	}
	key := 97 - (n*1_000_000+numberIn(s[7:13]))%97
	s[13], s[14] = byte('0'+key/10), byte('0'+key%10)
}

func dniLetter(s []byte) {
	n := numberIn(s[1:8])
	if s[0] <= '9' {
		n += digitAt(s, 0) * 10_000_000
	} else {
		n += int(s[0]-'X') * 10_000_000
	}
	s[8] = "TRWAGMYFPDXBNJZSQVHLCKE"[n%23]
}

// nino checks a British National Insurance number: prefixes that are not issued, six digits, A to D.
func nino(s []byte) bool {
	letters := func(c byte, not string) bool { return c >= 'A' && c <= 'Z' && !strings.ContainsRune(not, rune(c)) }
	if !letters(s[0], "DFIQUV") || !letters(s[1], "DFIQUVO") || !allDigits(s[2:8]) || s[8] < 'A' || s[8] > 'D' {
		return false
	}
	return !strings.Contains("BG GB KN NK NT TN ZZ", string(s[:2]))
}

// codiceFiscale checks six letters, year, letter of the month, day (40 more for women) and place.
func codiceFiscale(s []byte) bool {
	for i, c := range s {
		letter := i < 6 || i == 8 || i == 11 || i == 15
		if letter != (c >= 'A') {
			return false
		}
	}
	month := strings.IndexByte("ABCDEHLMPRST", s[8]) + 1
	return month > 0 && dayExists(month, numberIn(s[9:11])%40)
}

// codiceCheck is the letter for the sum of the characters' values, which differ in odd and even places.
func codiceCheck(s []byte) byte {
	sum := 0
	for i, c := range s {
		n := int(c - '0')
		if c >= 'A' {
			n = int(c - 'A')
		}
		if i%2 == 0 {
			sum += codiceOdd(n)
		} else {
			sum += n
		}
	}
	return byte('A' + sum%26)
}

// codiceOdd is the value of a digit or letter in the first, third, … place (Decreto MEF 12 March 1974).
func codiceOdd(n int) int {
	return [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}[n]
}
