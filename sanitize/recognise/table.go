package recognise

import (
	"slices"
	"strings"
)

// What Table says a table is about.
const (
	People    = "people"
	Companies = "companies"
	Things    = "things" // that an application brings with it: categories, countries, …
)

// Table guesses from its name what a table is about, "" for anything else.
func Table(name string) (kind string, confidence float64) {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name = name[dot+1:]
	}
	words := split(name)
	if len(words) == 0 {
		return "", 0
	}
	last := words[len(words)-1]
	for _, list := range []struct{ kind, words string }{
		{Things, "genre genres category categories kategorie kategorien categorie categoria categorias country countries land lander laender pays pais paises currency currencies " +
			"language languages permission permissions plan plans status statuses type types unit units color colors size sizes tag tags playlist playlists role roles rolle rollen " +
			"media_type feature features locale locales timezone timezones setting settings migration migrations region regions department departments"},
		{People, "user users customer customers person persons people employee employees contact contacts member members patient patients student students client clients staff " +
			"author authors guest guests passenger passengers tenant tenants driver drivers subscriber subscribers applicant applicants candidate candidates lead leads account_holder " +
			"recipient recipients owner owners profile profiles teacher teachers child children benutzer kunde kunden mitarbeiter person personen mitglied mitglieder patienten kontakt kontakte " +
			"personne personnes utilisateur utilisateurs clients employes membres cliente clientes usuario usuarios empleado empleados persona personas miembros paciente pacientes pessoa pessoas " +
			"funcionario funcionarios utente utenti dipendente dipendenti persone klant klanten gebruiker gebruikers medewerker medewerkers personen klient klienci uzytkownik uzytkownicy pracownik " +
			"pracownicy osoba osoby musteri musteriler kullanici kullanicilar calisan calisanlar kisi kisiler"},
		{Companies, "company companies organisation organisations organization organizations supplier suppliers vendor vendors partner partners merchant merchants firma firmen lieferant lieferanten " +
			"unternehmen societe societes entreprise entreprises fournisseur fournisseurs empresa empresas proveedor proveedores fornecedor fornecedores azienda aziende fornitore fornitori bedrijf bedrijven " +
			"leverancier leveranciers dostawca dostawcy sirket sirketler tedarikci"},
	} {
		if slices.Contains(strings.Fields(list.words), last) {
			return list.kind, 0.9
		}
	}
	return "", 0
}

// Impersonal reports whether a column's name says that it holds nothing about a person: times at which an application did
// something, codes, counts and measures.
func Impersonal(name string) bool {
	words := split(name)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	if last == "code" {
		return len(words) > 1 && slices.Contains(strings.Fields("country currency language region color colour error status airport unit tax reason"), words[len(words)-2])
	}
	return slices.Contains(strings.Fields("status state type kind currency locale language lang timezone unit color colour size sku quantity qty count price amount total subtotal tax discount rate "+
		"weight height width length version revision position sort rank level priority enabled active visible deleted created updated modified inserted started finished ended expires "+
		"published shipped paid cancelled canceled due valid attempts retries duration milliseconds seconds minutes hours bytes checksum mime extension encoding format year month day week quarter score rating "+
		"stock inventory threshold percent percentage fee cost icon theme role permission plan tier category genre anzahl menge preis betrag waehrung wahrung quantite prix montant devise "+
		"cantidad precio importe moneda quantidade preco valor moeda quantita prezzo importo valuta aantal prijs bedrag ilosc cena kwota waluta adet fiyat tutar para"), last) ||
		len(words) > 1 && (last == "at" || last == "on")
}
