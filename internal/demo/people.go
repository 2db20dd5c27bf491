package demo

import "fmt"

// seller is the firm of the demo. Its domain is reserved for examples (RFC 2606).
var seller = party{
	Name: "Fiduciaire Dupont & Fils SRL", Street: "Rue de la Station 12", Zip: "1300", City: "Wavre",
	Enterprise: enterpriseNumber(4172210), Mail: "facturation@dupont.example", Contact: "Jeanne Dupont", Language: "fr",
}

// clients are repeated with another number behind their name when the batch is longer than the list.
var clients = []party{
	{Name: "Café Zoë SRL", Street: "Rue Neuve 41", Zip: "5000", City: "Namur", Mail: "compta@zoe.example", Contact: "Zoë Lambert", Language: "fr"},
	{Name: "Bakkerij De Smet BV", Street: "Grote Markt 7", Zip: "9300", City: "Aalst", Mail: "facturen@desmet.example", Contact: "Pieter De Smet", Language: "nl"},
	{Name: "Harbour Analytics SA", Street: "Avenue Louise 250", Zip: "1050", City: "Brussels", Mail: "accounts@harbour.example", Contact: "Emily Clarke", Language: "en"},
	{Name: "Müller & Söhne GmbH", Street: "Klosterstraße 9", Zip: "4700", City: "Eupen", Mail: "buchhaltung@mueller.example", Contact: "Jürgen Müller", Language: "de"},
	{Name: "Menuiserie Lefèvre SRL", Street: "Chaussée de Liège 88", Zip: "4500", City: "Huy", Mail: "info@lefevre.example", Contact: "François Lefèvre", Language: "fr"},
	{Name: "Garage Van den Bossche BV", Street: "Kortrijksesteenweg 310", Zip: "9000", City: "Gent", Mail: "boekhouding@vandenbossche.example", Contact: "Anneleen Van den Bossche", Language: "nl"},
	{Name: "Pharmacie de l'Hôtel de Ville SA", Street: "Place Communale 3", Zip: "7000", City: "Mons", Mail: "titulaire@hoteldeville.example", Contact: "Noémie Carlier", Language: "fr"},
	{Name: "Studio Océane ASBL", Street: "Quai des Ardennes 15", Zip: "4020", City: "Liège", Mail: "bonjour@oceane.example", Contact: "Maël Dubois", Language: "fr"},
	{Name: "Tuinaanleg Peeters BV", Street: "Dorpsstraat 22", Zip: "2500", City: "Lier", Mail: "peeters@tuinaanleg.example", Contact: "Jef Peeters", Language: "nl"},
	{Name: "Ostbelgien Holzbau AG", Street: "Aachener Straße 140", Zip: "4780", City: "Sankt Vith", Mail: "rechnung@holzbau.example", Contact: "Käthe Weiß", Language: "de"},
}

// buyerNo is the client of invoice n (from 1).
func buyerNo(n int) party {
	i := n - 1
	p := clients[i%len(clients)]
	p.Enterprise = enterpriseNumber(5000000 + 4217*n)
	if round := i / len(clients); round > 0 {
		p.Name = fmt.Sprintf("%s (%d)", p.Name, round+1)
	}
	return p
}

// labels are the words of an invoice.
type labels struct {
	Invoice, Date, Due, To, Description, Hours, Price, Amount string
	Net, VAT, Total, Pay, Reference, Terms                    string
	Services                                                  []string
}

var labelsIn = map[string]labels{
	"fr": {
		Invoice: "Facture", Date: "Date", Due: "Échéance", To: "Client", Description: "Prestation", Hours: "Heures",
		Price: "Prix", Amount: "Montant", Net: "Total hors TVA", VAT: "TVA 21 %", Total: "Total à payer",
		Pay: "À verser sur le compte", Reference: "Communication structurée", Terms: "Payable à 30 jours",
		Services: []string{"Tenue de la comptabilité", "Déclaration TVA périodique", "Clôture des comptes annuels", "Conseil fiscal"},
	},
	"nl": {
		Invoice: "Factuur", Date: "Datum", Due: "Vervaldag", To: "Klant", Description: "Prestatie", Hours: "Uren",
		Price: "Prijs", Amount: "Bedrag", Net: "Totaal excl. btw", VAT: "Btw 21 %", Total: "Te betalen",
		Pay: "Te storten op rekening", Reference: "Gestructureerde mededeling", Terms: "Betaalbaar binnen 30 dagen",
		Services: []string{"Boekhouding", "Periodieke btw-aangifte", "Afsluiting van de jaarrekening", "Fiscaal advies"},
	},
	"en": {
		Invoice: "Invoice", Date: "Date", Due: "Due date", To: "Client", Description: "Service", Hours: "Hours",
		Price: "Price", Amount: "Amount", Net: "Total excl. VAT", VAT: "VAT 21%", Total: "Total due",
		Pay: "Please pay to account", Reference: "Payment reference", Terms: "Payable within 30 days",
		Services: []string{"Bookkeeping", "Periodic VAT return", "Annual accounts", "Tax advice"},
	},
	"de": {
		Invoice: "Rechnung", Date: "Datum", Due: "Fällig am", To: "Kunde", Description: "Leistung", Hours: "Stunden",
		Price: "Preis", Amount: "Betrag", Net: "Summe ohne MwSt.", VAT: "MwSt. 21 %", Total: "Zu zahlen",
		Pay: "Zu überweisen auf", Reference: "Strukturierte Mitteilung", Terms: "Zahlbar innerhalb von 30 Tagen",
		Services: []string{"Buchführung", "Periodische MwSt.-Erklärung", "Jahresabschluss", "Steuerberatung"},
	},
}
