// Package recognise finds personal data and secrets in texts by their form, and guesses from names what columns hold.
//
// A Scanner goes over a text once, from left to right, and looks at no stretch of it more than a bounded number of times,
// whatever the text is. Where a form has check digits they are checked; where the form alone is weak (nine digits), words
// before it ("SSN:") decide. What it does not find may still be personal: it knows forms, not meaning.
package recognise
