// Package checkdigit knows numbers with a form and check digits: payment cards, bank accounts, national identifiers. It
// checks them, and says which of their characters carry the information, so that other valid ones can be made.
package checkdigit
