package proof

const (
	// maxRun is how many words in a row are looked up as one value: a full name, an address on one line.
	maxRun = 10
	// blindRun is that where an original may begin in any way that is not ASCII: nothing tells that it does not begin here.
	blindRun = 4
	// maxPiece is the length of the longest part of a word that is looked up.
	maxPiece = 128
)

// words asks about the words of a longer text: each one that looks as if it could identify somebody, runs of up to
// maxRun words, and groups of digits.
func (p *prober) words(text []byte) {
	begins := p.m.originals.begins
	var starts, lasts [maxRun]int // where words are that an original may begin with, and the how manieth it may end with; live of them
	live, word, digits := 0, 0, 0
	for i := 0; i < len(text); {
		if separates(text[i]) {
			i++
			continue
		}
		start := i
		var all uint8
		for i < len(text) {
			k := kindOf[text[i]]
			if k&isSpace != 0 {
				break
			}
			digits += int(k & isDigit)
			all |= k
			i++
		}
		if all&(isPunct|isOther|isHigh) != 0 && i-start > minBytes {
			p.pieces(text[start:i])
		}
		word++
		kept := 0
		for j := range live {
			if lasts[j] >= word {
				starts[kept], lasts[kept] = starts[j], lasts[j]
				kept++
			}
		}
		live = kept
		bare := start
		for bare < i && punctuates(text[bare]) {
			bare++
		}
		if begins.may(text[start:]) || bare > start && begins.may(text[bare:]) {
			starts[live], lasts[live] = start, word+runOf(text[start:])-1
			live++
		}
		for _, at := range starts[:live] {
			if i-at >= minBytes && i-at < len(text) {
				p.part(text[at:i])
			}
		}
	}
	if digits >= minDigits {
		p.numbers(text)
	}
}

// runOf returns how many words in a row are looked up from the beginning of text on.
func runOf(text []byte) int {
	for _, c := range text[:min(len(text), prefixBytes)] {
		if kindOf[c]&isHigh != 0 {
			return blindRun
		}
	}
	return maxRun
}

// pieces asks about the parts of a word that has more than letters and digits: an address in a path or a query, an
// identifier in a file's name. A part begins and ends where letters or digits do.
func (p *prober) pieces(word []byte) {
	begins := p.m.originals.begins
	for at := 0; at+minBytes <= len(word); at++ {
		if at > 0 && (!edge(word[at], word[at-1]) || word[at-1] == '@' && at > 1) || !begins.may(word[at:]) {
			continue
		}
		rest := word[at:min(len(word), at+maxPiece)]
		for end := minBytes; end < len(rest); end++ {
			if edge(rest[end-1], rest[end]) {
				p.look(rest[:end])
			}
		}
		if at > 0 && len(rest) < maxPiece { // the word itself is asked about anyway
			p.look(rest)
		}
	}
}

// edge reports whether c, a letter or a digit, has something else beside it: a mark, or a letter outside of ASCII.
func edge(c, beside byte) bool {
	const plain = isDigit | isLower | isUpper
	k, b := kindOf[c], kindOf[beside]
	return k&(plain|isHigh) != 0 && b&(k&isHigh|plain) == 0 || k&plain != 0 && b&isHigh != 0
}

// separates reports whether words end at c.
func separates(c byte) bool { return kindOf[c]&isSpace != 0 }

// part asks about a word or several, also without the punctuation around.
func (p *prober) part(part []byte) {
	p.look(part)
	bare := part
	for len(bare) > 0 && punctuates(bare[len(bare)-1]) {
		bare = bare[:len(bare)-1]
	}
	for len(bare) > 0 && punctuates(bare[0]) {
		bare = bare[1:]
	}
	if len(bare) < len(part) {
		p.look(bare)
	}
}

func punctuates(c byte) bool {
	if kindOf[c]&(isDigit|isLower|isUpper|isHigh) != 0 {
		return false
	}
	switch c {
	case '.', ',', ';', ':', '!', '?', '*', '_', '-', '/', '\\', '`', '#':
		return true
	default:
		return false
	}
}

// look asks about a part of a text that is no number. Single words of letters must be longer than whole values.
func (p *prober) look(part []byte) {
	f, provable := classify(part)
	if !provable || f == formDigits || len(part) < minWord && letters(part) {
		return
	}
	p.ask(p.hash.of(part, f))
}

func letters(word []byte) bool {
	for _, c := range word {
		if kindOf[c]&(isLower|isUpper|isHigh) == 0 {
			return false
		}
	}
	return true
}

// numbers asks about runs of digits, and about several of them with what stands between them in a phone or card number.
func (p *prober) numbers(text []byte) {
	for i := 0; i < len(text); {
		if kindOf[text[i]]&isDigit == 0 {
			i++
			continue
		}
		start, run, end, digits := i, i, i, 0
		for i < len(text) && kindOf[text[i]]&isDigit != 0 {
			run = i
			for i < len(text) && kindOf[text[i]]&isDigit != 0 {
				i++
			}
			if i-run >= minDigits {
				p.number(text[run:i], len(text))
			}
			digits += i - run
			end = i
			for i < len(text) && kindOf[text[i]]&isPunct != 0 && text[i] != ',' && text[i] != ':' {
				i++
			}
		}
		if run > start && digits >= minDigits {
			p.number(text[start:end], len(text))
		}
	}
}

// number asks about a part of a text that is a number.
func (p *prober) number(part []byte, whole int) {
	if len(part) < minDigits || len(part) == whole {
		return
	}
	if f, provable := classify(part); provable {
		p.ask(p.hash.of(part, f))
	}
}
